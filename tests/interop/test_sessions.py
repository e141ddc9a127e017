"""Our three clients, and what else a session with a real server is made of: HELO, TLS, groups, RSET, QUIT, silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from smtpproto import (
    Bdat,
    Command,
    Data,
    EhloReply,
    EndOfData,
    Envelope,
    ErrorCode,
    Event,
    Fate,
    HeloReply,
    Mail,
    Quit,
    Rcpt,
    Reply,
    ReplyReceived,
    Security,
    ServiceClosing,
    StartTlsReady,
    TransportError,
)
from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.interop.letters import SENDER, header, letter
from tests.interop.routes import ROUTES
from tests.interop.servers import HOST, IDLE_SECONDS
from tests.interop.smtp_sink import running_smtp_sink
from tests.interop.table import LACKS, SERVERS, left_alone, said

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.adapters.backends import AnyClient
    from tests.interop.routes import Route
    from tests.interop.servers import RunningServer

USER, OTHER, NOBODY = (f"{name}@example.test" for name in ("user", "other", "nobody"))


def wherever(scenario: str) -> pytest.MarkDecorator:
    """Every route, but for those of which the table says why this is impossible."""
    shows = pytest.mark.scenario(scenario)
    names = [name for name in ROUTES if not said(LACKS, SERVERS.name, name, scenario)]
    return pytest.mark.parametrize("route", [pytest.param(name, marks=shows) for name in names], indirect=True)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Generator[Backend]:
    """Each of the three in turn, once the server runs; the test must leave nothing behind."""
    for name in ("route", "impatient"):
        if name in request.fixturenames:
            request.getfixturevalue(name)
    found: Backend = request.param
    with nothing_left():
        yield found


def plain_text(marker: bytes) -> bytes:
    """A message of ASCII only, which needs no extension."""
    return header(marker) + b".\r\n..\r\nwithout any extension\r\n"


@pytest.mark.rfc("5321", "3.2")
@wherever("HELO")
def test_helo_only(backend: Backend, route: Route) -> None:
    """Nothing is offered then, and none is missed; but who wants to know who sends does not take the mail."""
    marker = letter().marker
    events: list[Event] = []
    needs_login = bool(route.connect.get("authenticate"))
    options = {"extended": False, "security": Security.NONE, "authenticate": False}

    async def scenario() -> None:
        async with route.client(backend, on_event=events.append, **options) as client:
            assert not client.extended
            assert not client.extensions
            result = await client.deliver(Envelope(SENDER, [USER, OTHER]), plain_text(marker))
            expected = (Fate.REFUSED, 530) if needs_login else (Fate.ACCEPTED, 250)
            assert [(each.fate, each.reply and each.reply.code) for each in result.recipients] == [expected] * 2

    backend.run(scenario)
    assert any(isinstance(event, HeloReply) for event in events)
    assert not any(isinstance(event, EhloReply) for event in events)
    if not needs_login:
        for mailbox in ("user", "other"):
            assert route.mailboxes.wait_for_content(mailbox, marker) == plain_text(marker)


class Secured(NamedTuple):
    """Where a server has TLS: the fixture, its attribute with the port, and the way."""

    server: str
    port: str
    scenario: str


SECURED = {
    "dovecot-submission": [
        Secured("dovecot", "submission", "STARTTLS"),
        Secured("dovecot", "submissions", "implicit TLS"),
    ],
    "dovecot-lmtp": [Secured("dovecot", "lmtp", "STARTTLS"), Secured("dovecot", "lmtps", "implicit TLS")],
    "nodemailer-lmtp": [Secured("nodemailer", "lmtp", "STARTTLS"), Secured("nodemailer", "lmtps", "implicit TLS")],
}
"""Those that are no `server` of test_clients.py."""


@pytest.mark.rfc("3207", "4.2")
@pytest.mark.rfc("8314", "3.3")
@pytest.mark.parametrize(
    ("route", "secured"),
    [
        pytest.param(row, each, id=f"{row}-{each.port}", marks=pytest.mark.scenario(each.scenario))
        for row, ways in SECURED.items()
        for each in ways
    ],
    indirect=["route"],
)
def test_tls(backend: Backend, route: Route, secured: Secured, request: pytest.FixtureRequest) -> None:
    sent, events = letter(route.longest_line), list[Event]()
    implicit = secured.scenario == "implicit TLS"
    port: int = getattr(request.getfixturevalue(secured.server), secured.port)
    options = {"port": port, "security": Security.IMPLICIT if implicit else Security.REQUIRED}

    async def scenario() -> None:
        async with route.client(backend, on_event=events.append, **options) as client:
            assert client.tls is not None
            assert client.tls.certificate is not None
            assert ("DNS", "mail.example.test") in client.tls.certificate["subjectAltName"]
            result = await client.deliver(Envelope(SENDER, [USER], body="8BITMIME"), sent.content)
            assert result.fate is Fate.ACCEPTED

    backend.run(scenario)
    offers = [event.extensions for event in events if isinstance(event, EhloReply)]
    assert ["STARTTLS" in offer for offer in offers] == ([False] if implicit else [True, False])
    assert any(isinstance(event, StartTlsReady) for event in events) is not implicit
    assert route.mailboxes.wait_for_content("user", sent.marker) == sent.arrived


@pytest.mark.rfc("2920", "3.1")
@wherever("pipelined")
def test_groups_of_commands(backend: Backend, route: Route) -> None:
    """All that can be is said before the first answer; where that is not offered, one thing at a time."""
    sent = letter(route.longest_line)
    log: list[Command | Reply | Event] = []

    async def scenario() -> bool:
        async with route.client(backend, on_event=log.append, on_send=log.append) as client:
            log.clear()
            envelope = Envelope(SENDER, [USER, OTHER], body="8BITMIME")
            result = await client.deliver(envelope, sent.content, chunking=False)
            assert result.fate is Fate.ACCEPTED
            return "PIPELINING" in client.extensions

    offered = backend.run(scenario)
    assert offered is not left_alone(route.name, "pipelined")
    said_first = [type(each) for each in log if isinstance(each, Mail | Rcpt | Data | ReplyReceived)][:4]
    answered = any(issubclass(each, ReplyReceived) for each in said_first)
    assert said_first == [Mail, Rcpt, Rcpt, Data] if offered else answered
    for mailbox in ("user", "other"):
        assert route.mailboxes.wait_for_content(mailbox, sent.marker) == sent.arrived


UNUSED = {
    "postfix": {"ETRN"},
    "exim": {"PIPECONNECT", "PRDR"},
    "dovecot-submission": {"BURL"},
    "nodemailer": {"REQUIRETLS"},
    "nodemailer-lmtp": {"REQUIRETLS"},
    "smtp-sink": {"XCLIENT", "XFORWARD"},
    "smtp-sink-lmtp": {"XCLIENT", "XFORWARD"},
}
"""What each offers that nobody has asked for."""


@pytest.mark.rfc("5321", "2.2.1")
@wherever("left alone")
def test_what_nobody_asks_for(backend: Backend, route: Route) -> None:
    sent = letter(route.longest_line)
    commands: list[Command | Reply] = []

    async def scenario() -> None:
        async with route.client(backend, on_send=commands.append) as client:
            assert UNUSED[route.name] <= set(client.extensions)
            commands.clear()
            result = await client.deliver(Envelope(SENDER, [USER, OTHER], body="8BITMIME"), sent.content)
            assert [each.fate for each in result.recipients] == [Fate.ACCEPTED] * 2

    backend.run(scenario)
    [mail] = [each for each in commands if isinstance(each, Mail)]
    assert (mail.body, mail.require_tls, mail.other) == ("8BITMIME", False, {})
    assert {type(each) for each in commands} <= {Mail, Rcpt, Data, EndOfData, Bdat, Quit}
    for mailbox in ("user", "other"):
        assert route.mailboxes.wait_for_content(mailbox, sent.marker) == sent.arrived


@pytest.mark.rfc("5321", "4.1.1.5")
@wherever("RSET")
def test_transaction_that_is_given_up(backend: Backend, route: Route) -> None:
    sent = letter(route.longest_line)

    async def scenario() -> None:
        async with route.client(backend) as client:
            assert (await client.reset()).code == 250
            assert (await client.command(Mail("someone@elsewhere.test"))).code == 250
            assert (await client.command(Rcpt(USER))).code == 250
            assert (await client.reset()).code == 250
            result = await client.deliver(Envelope(SENDER, [OTHER], body="8BITMIME"), sent.content)
            assert result.fate is Fate.ACCEPTED

    backend.run(scenario)
    assert route.mailboxes.wait_for_content("other", sent.marker) == sent.arrived


@pytest.mark.rfc("5321", "4.1.1.9")
@wherever("NOOP")
def test_noop_anywhere(backend: Backend, route: Route) -> None:
    async def scenario() -> None:
        async with route.client(backend) as client:
            assert (await client.noop()).code == 250
            assert (await client.command(Mail(SENDER))).code == 250
            assert (await client.noop()).code == 250
            assert (await client.command(Rcpt(USER))).code == 250
            assert (await client.noop()).code == 250
            assert (await client.reset()).code == 250
            assert (await client.noop()).code == 250

    backend.run(scenario)


async def goes_on(client: AnyClient) -> bool:
    """Whether the replies are those of the commands, after ones that nobody has to know."""
    return ((await client.command(Mail(SENDER))).code, (await client.reset()).code) == (250, 250)


VERIFIED = (250, 252, 501, 502, 550, 554)
"""What servers answer: yes, perhaps; that it is none of theirs, that they do not tell, that there is no such one."""


@pytest.mark.rfc("5321", "3.5.3")
@wherever("VRFY")
def test_verify(backend: Backend, route: Route) -> None:
    """Dovecot takes no address: it wants a String, which is an Atom or in quotes (RFC 5321 section 4.1.2)."""

    async def scenario() -> None:
        async with route.client(backend) as client:
            for text in (USER, NOBODY, "user"):
                assert (await client.verify(text)).code in VERIFIED
                assert await goes_on(client)

    backend.run(scenario)


@pytest.mark.rfc("5321", "4.1.1.8")
@wherever("HELP")
def test_help(backend: Backend, route: Route) -> None:
    """It is help, or the word that there is none; aiosmtpd helps with a 250."""

    async def scenario() -> None:
        async with route.client(backend) as client:
            assert (await client.help()).code in (211, 214, 250, 500, 502)
            assert await goes_on(client)

    backend.run(scenario)


@pytest.mark.rfc("5321", "4.1.1.10")
@wherever("QUIT")
def test_quit(backend: Backend, route: Route) -> None:
    """In the middle of a transaction, too."""
    events: list[Event] = []

    async def scenario() -> None:
        for within in (False, True):
            client = route.client(backend, on_event=events.append)
            await client.connect()
            if within:
                assert (await client.command(Mail(SENDER))).code == 250
            await client.disconnect()
            assert not client.is_connected
            last = events[-1]
            assert isinstance(last, ReplyReceived)
            assert (last.command, last.reply.code) == (Quit(), 221)

    backend.run(scenario)


LAST_WORDS = {"postfix": 421, "exim": 421, "nodemailer": 421, "aiosmtpd": None, "smtp-sink": None}
"""What each says to a client that has said nothing for too long; None: it leaves without a word."""


@pytest.fixture
def impatient(request: pytest.FixtureRequest) -> Generator[int]:
    """The port of a server that waits no longer than `IDLE_SECONDS`."""
    if request.param == "smtp-sink":
        with running_smtp_sink("-t", str(IDLE_SECONDS)) as sink:
            yield sink.port
    else:
        server: RunningServer = request.getfixturevalue(request.param)
        yield server.ports.idle


@pytest.mark.rfc("5321", "3.8")
@pytest.mark.parametrize(
    ("impatient", "last_word"),
    [
        pytest.param(name, code, id=name, marks=pytest.mark.scenario("left idle", server=name))
        for name, code in LAST_WORDS.items()
    ],
    indirect=["impatient"],
)
def test_server_that_leaves_who_is_silent(backend: Backend, impatient: int, last_word: int | None) -> None:
    """The next command is told so, whatever the server did; and the same client connects again."""
    events: list[Event] = []

    async def code_in_the_end(client: AnyClient) -> int | None:
        for _ in range(20):  # a slow machine leaves late
            await backend.sleep(IDLE_SECONDS + 0.5)
            try:
                reply = await client.noop()
            except TransportError as error:
                if error.code is ErrorCode.CLOSED_BY_PEER:
                    return None
                raise
            if reply.code != 250:
                return reply.code
        raise AssertionError("the server does not leave")

    async def scenario() -> None:
        client = backend.client(host=HOST, port=impatient, security=Security.NONE, timeout=60, on_event=events.append)
        await client.connect()
        assert await code_in_the_end(client) == last_word
        assert not client.is_connected
        assert isinstance(events[-1], ServiceClosing) is (last_word is not None)
        await client.connect()
        assert (await client.noop()).code == 250
        await client.disconnect()

    backend.run(scenario)
