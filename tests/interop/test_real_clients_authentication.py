"""Real clients log in to our three servers, with every mechanism that both sides have."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

from smtpproto import Auth, CommandReceived, ServerAuth, Service
from smtpproto.sasl import SERVER_MECHANISMS, VerifyAnonymous, VerifyExternal
from smtpproto_adapters.inbox import Inbox
from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.interop.letters import letter
from tests.interop.real_clients import (
    BEARER,
    Call,
    Login,
    SmtplibAttempt,
    Target,
    aiosmtplib_client,
    curl,
    gsasl,
    gsasl_without_binding,
    msmtp,
    nodemailer_client,
    s_nail,
    swaks,
    with_server,
)
from tests.interop.servers import DOMAIN, HOST_NAMES, UNI, USER, find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from pathlib import Path

    from smtpproto import Event, Reply
    from smtpproto.sasl import Question
    from smtpproto_adapters.server import ServerSession, Verdict
    from tests.adapters.backends import AnyServer
    from tests.interop.servers import Certificates

WRONG = "another-Pass1"
TOKEN = "eyJhbGciOiJub25lIn0.dG9rZW4_LX4.x-._~+/=="
UNWANTED = f"unwanted@{DOMAIN}"
"""The trace of a guest whom the server does not let in."""

CLIENTS: dict[str, tuple[Callable[[Target], Call | SmtplibAttempt], tuple[str, ...]]] = {
    "swaks": (swaks, ("PLAIN", "LOGIN", "CRAM-MD5")),
    "curl": (curl, ("PLAIN", "LOGIN", "CRAM-MD5", "EXTERNAL", *BEARER)),
    "msmtp": (msmtp, ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "EXTERNAL", *BEARER)),
    "nodemailer": (nodemailer_client, ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2")),
    "s-nail": (s_nail, ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "EXTERNAL")),
    "smtplib": (SmtplibAttempt, ("PLAIN", "LOGIN", "CRAM-MD5")),
    "aiosmtplib": (aiosmtplib_client, ("PLAIN", "LOGIN", "CRAM-MD5")),
    "gsasl": (
        gsasl_without_binding,
        ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "EXTERNAL", "ANONYMOUS"),
    ),
}
"""Each client, with the mechanisms that it has as Debian 12 builds it."""
ASCII_ONLY = (SmtplibAttempt,)
"""It raises UnicodeEncodeError for the password of `UNI`."""
SEND_NOTHING = (gsasl, gsasl_without_binding)


def shows(name: str, mechanism: str) -> pytest.MarkDecorator:
    wrong = [] if mechanism in ("EXTERNAL", "ANONYMOUS", *BEARER) else ["wrong password"]
    return pytest.mark.scenario(mechanism, *wrong, client=name)


WAYS = [
    pytest.param(client, mechanism, id=f"{name}-{mechanism}", marks=shows(name, mechanism))
    for name, (client, mechanisms) in CLIENTS.items()
    for mechanism in mechanisms
]


class Visit(NamedTuple):
    """What became of one session."""

    mechanism: str
    code: int
    """How the exchange ended; 0: it did not."""
    who: str | None


class Door(Inbox):
    """Knows who has which certificate, and which guests it does not want; and remembers who came."""

    def __init__(self) -> None:
        super().__init__()
        self.visits: list[Visit] = []
        self._mechanisms: dict[ServerSession, str] = {}
        self._codes: dict[ServerSession, int] = {}

    def verify(self, session: ServerSession, question: Question) -> Verdict:
        match question:
            case VerifyExternal(acting):
                owner = owner_of(session)
                return owner if owner == USER.login and acting in ("", owner) else None
            case VerifyAnonymous(trace):
                return trace != UNWANTED
            case _:
                return None

    def on_event(self, session: ServerSession, event: Event) -> None:
        if isinstance(event, CommandReceived) and isinstance(event.command, Auth):
            self._mechanisms[session] = event.command.mechanism

    def on_send(self, session: ServerSession, reply: Reply) -> None:
        if reply.code in (235, 501, 535):
            self._codes[session] = reply.code

    def on_end(self, session: ServerSession) -> None:
        identity = session.identity
        who = None if identity is None else identity.username
        self.visits.append(Visit(self._mechanisms.get(session, ""), self._codes.get(session, 0), who))


def owner_of(session: ServerSession) -> str | None:
    """Whom the client's certificate is made out for; None: there is none that is good."""
    if session.tls is None or session.tls.certificate is None:
        return None
    names = [value for field in session.tls.certificate["subject"] for key, value in field if key == "commonName"]
    return str(names[0])


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Generator[Backend]:
    """Each of the three in turn; the test must leave nothing behind."""
    found: Backend = request.param
    with nothing_left():
        yield found


def serving(mechanisms: Iterable[str], *, allow_plaintext: bool) -> Service:
    auth = ServerAuth(
        {USER.login: USER.password, UNI.login: UNI.password},
        tokens={TOKEN: USER.login},
        mechanisms=mechanisms,
        required=True,
        allow_plaintext=allow_plaintext,
        failure_delay=0,
    )
    return Service(HOST_NAMES[2], starttls=True, auth=auth, require_tls=True)


def visit(
    backend: Backend,
    client: Callable[[Target], Call | SmtplibAttempt],
    logins: Sequence[tuple[Login, bool]],
    mechanisms: Iterable[str],
    certificates: Certificates,
    folder: Path,
) -> Door:
    """Let the client come with each login, all at a time; it must succeed or fail as it is said."""
    file, text = folder / "content", folder / "text"
    content = letter()
    file.write_bytes(content.content)
    text.write_bytes(content.text)
    door = Door()

    def attempt(server: AnyServer, login: Login) -> tuple[int, str]:
        target = Target(
            host=server.host,
            port=server.port,
            ca=certificates.ca,
            file=file,
            text=text,
            mode="starttls",
            login=login,
        )
        return client(target).attempt()

    def work(server: AnyServer) -> None:
        # They wait more than they work.
        with ThreadPoolExecutor(len(logins)) as pool:
            outcomes = list(pool.map(partial(attempt, server), [login for login, _ in logins]))
        for (login, right), (status, words) in zip(logins, outcomes, strict=True):
            assert (status == 0) is right, f"{login} ended with {status}:\n{words[-4000:]}"

    watching = {"on_event": door.on_event, "on_send": door.on_send, "on_end": door.on_end}
    context = certificates.server_context(ask_client=True)
    # GNU SASL does not see STARTTLS in the last line of a reply, and AUTH comes after it.  TLS is needed all the same.
    service = serving(mechanisms, allow_plaintext=client in SEND_NOTHING)
    with_server(backend, door, work, service=service, context=context, certificate=certificates.chain, **watching)
    if client not in SEND_NOTHING:
        accepted = [message.identity.username for message in door.messages if message.identity is not None]
        assert sorted(accepted) == sorted(login.user for login, right in logins if right)
    return door


def logins_by(mechanism: str, certificates: Certificates) -> tuple[tuple[Login, bool], ...]:
    """As whom one may come by this mechanism, and as whom not."""
    if mechanism in BEARER:
        return (
            (Login(mechanism=mechanism, secret=TOKEN), True),
            (Login(mechanism=mechanism, secret=TOKEN[1:]), False),
            (Login(mechanism=mechanism, secret=TOKEN, user=UNI.login), False),
        )
    if mechanism == "EXTERNAL":
        return (
            (Login(mechanism=mechanism, certificate=certificates.client), True),
            (Login(mechanism=mechanism, certificate=certificates.stranger), False),
        )
    if mechanism == "ANONYMOUS":
        return (Login(mechanism=mechanism), True), (Login(mechanism=mechanism, user=UNWANTED), False)
    return (
        (Login(mechanism=mechanism), True),
        (Login(mechanism=mechanism, secret=WRONG), False),
        (Login(mechanism=mechanism, user=f"nobody@{DOMAIN}"), False),
        (Login(mechanism=mechanism, user=UNI.login, secret=UNI.password), True),
        (Login(mechanism=mechanism, user=UNI.login, secret=UNI.password.replace("ö", "o")), False),
    )


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(("client", "mechanism"), WAYS)
def test_logins(
    backend: Backend,
    client: Callable[[Target], Call | SmtplibAttempt],
    mechanism: str,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    logins = logins_by(mechanism, certificates)
    if client in ASCII_ONLY:
        logins = tuple((login, right) for login, right in logins if login.secret != UNI.password)
    door = visit(backend, client, logins, [mechanism], certificates, tmp_path)
    # Some go away as soon as they have the JSON of XOAUTH2 about their token.
    no = 0 if client in (curl, s_nail) and mechanism == "XOAUTH2" else 535
    assert Counter(door.visits) == Counter(
        Visit(mechanism, 235, "anonymous" if mechanism == "ANONYMOUS" else login.user)
        if right
        else Visit(mechanism, no, None)
        for login, right in logins
    )


def test_the_tables_are_complete() -> None:
    """What else these clients have, we have not."""
    _, words = Call((find_program("msmtp", "msmtp"), "--version")).attempt()
    offers = words.partition("authentication methods:\n")[2].partition("\n")[0].upper().split()
    assert set(offers) & set(SERVER_MECHANISMS) == set(CLIENTS["msmtp"][1])
    _, words = Call((find_program("gsasl", "gsasl"), "--client-mechanisms")).attempt()
    offers = words.upper().split()
    assert {each for each in offers if not each.endswith("-PLUS")} & set(SERVER_MECHANISMS) == set(CLIENTS["gsasl"][1])


BOUND = tuple(each for each in SERVER_MECHANISMS if each.endswith("-PLUS"))
UNBOUND = tuple(each for each in SERVER_MECHANISMS if each not in BOUND)


@pytest.mark.parametrize(
    "client", [pytest.param(name, marks=pytest.mark.scenario("chooses", client=name)) for name in CLIENTS]
)
def test_the_client_chooses(backend: Backend, client: str, certificates: Certificates, tmp_path: Path) -> None:
    """Among all that we have; but GNU SASL would choose what it cannot do with us."""
    make, mechanisms = CLIENTS[client]
    offered = UNBOUND if client == "gsasl" else (*BOUND, *UNBOUND)
    door = visit(backend, make, [(Login(mechanism=None), True)], offered, certificates, tmp_path)
    [(mechanism, code, who)] = door.visits
    assert mechanism in mechanisms
    assert (code, who) == (235, USER.login)


@pytest.mark.rfc("5802", "6.1")
def test_a_binding_that_we_have_not(backend: Backend, certificates: Certificates, tmp_path: Path) -> None:
    """GNU SASL has tls-exporter, and no other; it is told so in SCRAM's own words, and leaves."""
    bound = "SCRAM-SHA-256-PLUS"
    logins = [(Login(mechanism=bound), False)]
    door = visit(backend, gsasl, logins, [bound, bound.removesuffix("-PLUS")], certificates, tmp_path)
    assert door.visits == [Visit(bound, 0, None)]
