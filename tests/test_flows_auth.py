"""Authentication, both sides, as whole conversations: every mechanism, and all that can go wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import flows
from smtpproto.authenticate import Authenticator
from smtpproto.commands import Auth, AuthResponse, Connect, Ehlo, Mail, Quit
from smtpproto.connect import Connected, Connector
from smtpproto.errors import ErrorCode, LocalProtocolError, NotTls, TransportError
from smtpproto.events import AuthFailed, AuthNeeded, AuthReason, CommandReceived, Event
from smtpproto.failures import AuthenticationFailed
from smtpproto.flows import Ask, Close, Effect, Flow, Receive, Send, ShutDown, StartTls, Wait
from smtpproto.grammar import base64
from smtpproto.limits import DEFAULT_TIMEOUTS
from smtpproto.options import ConnectOptions, Security
from smtpproto.replies import Reply
from smtpproto.sasl import (
    MECHANISMS,
    Authorize,
    Challenge,
    FindCredential,
    FindPassword,
    Identity,
    Question,
    ScramCredential,
    ScramServer,
    ServerAnswer,
    ServerExchange,
    ServerMechanism,
    Verify,
    VerifyAnonymous,
    VerifyExternal,
    VerifyToken,
)
from smtpproto.server_auth import ServerAuth, as_looked_up
from smtpproto.service import Service, ServiceSession
from smtpproto.testing import accept, link, octets, whole
from tests.sasl_peers import preparable
from tests.test_flows import EHLO, ENVELOPE, QUIT, RESET, TIMED_OUT, Run

PASSWORD = "pass-Wörd 1"
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
BINDINGS = {"tls-server-end-point": b"digest of the certificate"}
EVERY_NAME = [each.name for each in MECHANISMS]
KEPT = [
    ScramCredential.derive(PASSWORD, hash=hash_name, iterations=4096) for hash_name in ("SHA-1", "SHA-256", "SHA-512")
]

Answer = Callable[[Event | Question], Any]
Cut = Callable[[bytes], Iterable[bytes]]


def certified(subject: Event | Question) -> ServerAnswer | Reply:
    """The program that knows who has shown a certificate, and leaves all else."""
    return "user" if isinstance(subject, VerifyExternal) else None


def knocking(name: str, secret: str = PASSWORD) -> dict[str, Any]:
    """The options of a client for this mechanism."""
    options: dict[str, Any] = {"host": "mx.example", "authenticate": True, "mechanisms": [name]}
    if name in ("OAUTHBEARER", "XOAUTH2"):
        return {**options, "username": "user", "token": TOKEN if secret == PASSWORD else secret}
    if name in ("EXTERNAL", "ANONYMOUS"):
        return options
    return {**options, "username": "user", "password": secret}


def policy(
    name: str | ServerMechanism,
    *more: str,
    users: Any = None,
    authorize: Callable[[str, str], bool] | None = None,
    **fields: Any,
) -> ServerAuth:
    users = {"user": PASSWORD} if users is None else users
    return ServerAuth(users, tokens={TOKEN: "user"}, mechanisms=[name, *more], authorize=authorize, **fields)


class Talk:
    """A client that connects to a server in memory, and authenticates there."""

    def __init__(
        self,
        options: Mapping[str, Any],
        auth: ServerAuth,
        *,
        answer: Answer = certified,
        cut: Cut = whole,
        bindings: Mapping[str, bytes] = BINDINGS,
        other_bindings: Mapping[str, bytes] | None = None,
        starttls: bool = False,
        security: Security | None = None,
        then: Callable[[Connector], Flow[Any]] | None = None,
    ) -> None:
        """``other_bindings``: those of the server, where someone in the middle has a TLS of their own with each."""
        self.seen: list[object] = []
        self.events: list[Event] = []
        self.effects: list[Effect] = []
        self.asked: list[Question] = []
        self.failure: AuthenticationFailed | None = None
        self.result: Any = None
        security = security or (Security.REQUIRED if starttls else Security.IMPLICIT)
        starttls = security is not Security.IMPLICIT
        self.connector = Connector(ConnectOptions(security=security, **options), on_send=self.seen.append)
        service = Service("mx.example", auth=auth, starttls=starttls)
        self.session = ServiceSession(service, secure=not starttls, on_send=self.seen.append)
        self._other = bindings if other_bindings is None else other_bindings
        self._answer = answer

        def client() -> Flow[Any]:
            yield from flows.connect(self.connector, self.events.append)
            return None if then is None else (yield from then(self.connector))

        try:
            server = self._server(not starttls)
            self.result = link(client(), server, answer=self._asked, cut=cut, channel_bindings=bindings)
        except AuthenticationFailed as failure:
            self.failure = failure
        self.seen += [*self.events, *self.effects, *self.asked, self.failure]

    def _server(self, implicit: bool) -> Flow[None]:
        flow = flows.serve(self.session, self.seen.append, implicit_tls=implicit)
        go: Callable[[], Effect] = partial(next, flow)
        while True:
            try:
                effect = go()
            except StopIteration:
                return
            self.effects.append(effect)
            try:
                answer = yield effect
            except Exception as error:
                go = partial(flow.throw, error)
            else:
                go = partial(flow.send, self._other if isinstance(effect, StartTls) else answer)

    def _asked(self, subject: Event | Question) -> Any:
        if isinstance(subject, Question):
            self.asked.append(subject)
        return self._answer(subject)

    @property
    def codes(self) -> list[int]:
        return [each.code for each in self.seen if isinstance(each, Reply)]

    def refused(self, code: ErrorCode, reply: int | None = 535) -> AuthenticationFailed:
        assert self.failure is not None
        assert self.failure.code is code
        assert (self.failure.reply.code if self.failure.reply else None) == reply
        assert self.session.identity is None
        return self.failure


# --- every mechanism -------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("name", EVERY_NAME)
@pytest.mark.parametrize("initial", [True, False], ids=["initial", "held"])
@pytest.mark.parametrize("starttls", [True, False], ids=["starttls", "implicit"])
def test_who_is_known_is_let_in(name: str, initial: bool, starttls: bool) -> None:
    options = {**knocking(name), "initial_response": initial}
    for cut in (whole, octets):
        talk = Talk(options, policy(name, required=True, failure_delay=60), cut=cut, starttls=starttls)
        assert talk.failure is None
        assert talk.connector.connection.authenticated
        assert talk.session.connection.authenticated
        # XOAUTH2 and OAUTHBEARER name the user as whom to act: that it is themselves counts as nothing.
        assert talk.session.identity == Identity("anonymous" if name == "ANONYMOUS" else "user")
        assert isinstance(talk.connector.connected, Connected)
        assert talk.session.errors == talk.session.auth_failures == 0
        assert not any(isinstance(effect, Wait) for effect in talk.effects)
        (auth,) = [each for each in talk.seen if isinstance(each, Auth)]
        speaks_first = name not in ("LOGIN", "CRAM-MD5")
        assert (auth.initial_response is not None) is (initial and speaks_first)


SHA_256 = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
WITH_SECRET = [each.name for each in MECHANISMS if each.has_secret]


@pytest.mark.rfc("4954", "6")
@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("name", EVERY_NAME)
@pytest.mark.parametrize("initial", [True, False], ids=["initial", "held"])
@pytest.mark.parametrize("users", [{"user": PASSWORD}, {"user": KEPT}, {}], ids=["password", "kept", "nobody"])
def test_who_is_not_is_refused_after_a_while(name: str, initial: bool, users: Mapping[str, Any]) -> None:
    options = {**knocking(name, "wrong"), "initial_response": initial}
    talk = Talk(options, policy(name, users=users), answer=lambda subject: _no_to(subject, VerifyAnonymous))
    failure = talk.refused(ErrorCode.AUTHENTICATION_REFUSED)
    assert name in str(failure)
    assert not failure.retryable
    (number,) = [number for number, effect in enumerate(talk.effects) if isinstance(effect, Wait)]
    assert talk.effects[number] == Wait(1.0)
    after = talk.effects[number + 1]
    assert isinstance(after, Send)
    assert bytes(after.data) == b"535 5.7.8 authentication credentials invalid\r\n"
    assert (talk.session.errors, talk.session.auth_failures) == (1, 1)
    assert Quit() in talk.seen  # as after any other failure


def _no_to(subject: Event | Question, *kinds: type[Question]) -> bool | None:
    return False if isinstance(subject, kinds) else None


@pytest.mark.parametrize("name", [name for name in WITH_SECRET if name not in ("OAUTHBEARER", "XOAUTH2", "CRAM-MD5")])
def test_what_is_kept_for_scram_is_enough(name: str) -> None:
    talk = Talk(knocking(name), policy(name, users={"user": KEPT}))
    assert talk.session.identity == Identity("user")


@pytest.mark.rfc("7628", "3.2.2")
@pytest.mark.parametrize("name", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("initial", [True, False])
def test_a_refused_token_has_its_reason(name: str, initial: bool) -> None:
    talk = Talk({**knocking(name, "stolen"), "initial_response": initial}, policy(name, failure_delay=0))
    failure = talk.refused(ErrorCode.AUTHENTICATION_REFUSED)
    (failed,) = [event for event in talk.events if isinstance(event, AuthFailed)]
    assert failure.error == failed.error
    assert failure.error is not None
    assert failure.error.startswith('{"status":"')


def test_a_token_is_asked_for_anew_at_each_attempt() -> None:
    tokens = iter(["old", "new"])
    options = {**knocking("XOAUTH2"), "token": lambda: next(tokens), "authenticate": False}

    def then(connector: Connector) -> Flow[list[bool]]:
        outcomes: list[bool] = []
        for _ in range(2):
            authenticator = connector.authenticator(connector.options.credentials)
            try:
                yield from flows.authenticate(connector.connection, authenticator)
            except AuthenticationFailed:
                outcomes.append(False)
            else:
                outcomes.append(True)
        return outcomes

    auth = ServerAuth(tokens={"new": "user"}, failure_delay=0)
    talk = Talk(options, auth, then=then)
    assert talk.result == [False, True]
    assert talk.session.identity == Identity("user")


@pytest.mark.rfc("4954", "4")
@given(
    name=st.sampled_from(["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]),
    username=preparable.filter(lambda text: len(text) < 50),
    password=preparable.filter(lambda text: len(text) < 50),
    kept=st.booleans(),
    initial=st.booleans(),
)
def test_names_and_passwords_of_any_alphabet(
    name: str, username: str, password: str, kept: bool, initial: bool
) -> None:
    prepared = as_looked_up(Identity(username)).username
    secret: Any = password
    if name.startswith("SCRAM") or (kept and name != "CRAM-MD5"):
        secret = ScramCredential.derive(password, iterations=4096)
    options = {**knocking(name), "username": username, "password": password, "initial_response": initial}
    talk = Talk(options, policy(name, users={prepared: secret}, failure_delay=0))
    assert talk.failure is None
    assert talk.session.identity == Identity(prepared)
    wrong = Talk({**options, "password": password + "x"}, policy(name, users={prepared: secret}, failure_delay=0))
    assert wrong.failure is not None
    assert wrong.session.identity is None


# --- the channel -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5802", "6")
def test_the_strongest_that_both_have_is_used_and_it_is_bound() -> None:
    options = {**knocking("PLAIN"), "mechanisms": None}
    names = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5"]
    for bindings, used in ((BINDINGS, "SCRAM-SHA-256-PLUS"), ({}, "SCRAM-SHA-256")):
        talk = Talk(options, policy("LOGIN", *names), bindings=bindings)
        assert talk.failure is None
        assert [each.mechanism for each in talk.seen if isinstance(each, Auth)] == [used]


@pytest.mark.rfc("5802", "6")
def test_who_is_in_between_is_found_out() -> None:
    """Whoever has a TLS with each side cannot go on with what the client says."""
    options = {**knocking("PLAIN"), "mechanisms": None}
    auth = policy("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN")
    talk = Talk(options, auth, other_bindings={"tls-server-end-point": b"another certificate"})
    failure = talk.refused(ErrorCode.AUTHENTICATION_REFUSED)
    assert failure.error == "channel-bindings-dont-match"
    assert len([each for each in talk.seen if isinstance(each, Auth)]) == 1


@pytest.mark.rfc("5802", "6")
def test_whoever_takes_plus_out_of_the_offer_is_found_out() -> None:
    def stripping(subject: Event | Question) -> Reply | None:
        stripped = Reply(250, ("mx.example", "AUTH SCRAM-SHA-256 PLAIN"))
        return stripped if isinstance(subject, CommandReceived) and isinstance(subject.command, Ehlo) else None

    options = {**knocking("PLAIN"), "mechanisms": None}
    talk = Talk(options, policy("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"), answer=stripping)
    failure = talk.refused(ErrorCode.AUTHENTICATION_REFUSED)
    assert failure.error == "server-does-support-channel-binding"
    assert len([each for each in talk.seen if isinstance(each, Auth)]) == 1


@pytest.mark.rfc("5802", "7")
def test_a_server_that_binds_in_another_way_is_taken_without() -> None:
    options = {**knocking("PLAIN"), "mechanisms": None}
    auth = policy("SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", failure_delay=0)
    talk = Talk(options, auth, other_bindings={"tls-exporter": b"exported"})
    assert talk.failure is None
    assert [each.mechanism for each in talk.seen if isinstance(each, Auth)] == ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-256"]
    assert talk.session.identity == Identity("user")


# --- servers that lie ------------------------------------------------------------------------------------------------


class Lying:
    """A SCRAM server that does not know the password, and says what it is told to; ``{nonce}`` is the client's."""

    name = "SCRAM-SHA-256"
    exposes_secret = False

    def __init__(self, *says: str) -> None:
        self.says = says
        self.heard: list[bytes] = []

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        assert initial_response is not None
        nonce = initial_response.rpartition(b"r=")[2].decode()
        for text in self.says:
            response = yield Challenge(text.replace("{nonce}", nonce).encode())
            assert isinstance(response, bytes)
            self.heard.append(response)
        return Identity("user")


TERMS = "r={nonce}more,s=c2FsdA==,i=4096"
SIGNATURE = f"v={base64(bytes(32))}"


@pytest.mark.rfc("5802", "3")
@pytest.mark.parametrize(
    ("says", "code", "reply"),
    [
        ((), ErrorCode.SERVER_NOT_AUTHENTIC, 235),
        ((TERMS,), ErrorCode.SERVER_NOT_AUTHENTIC, 235),
        ((TERMS, SIGNATURE), ErrorCode.SERVER_NOT_AUTHENTIC, None),
        ((TERMS, "v=AAAA"), ErrorCode.SERVER_NOT_AUTHENTIC, None),
        ((TERMS, ""), ErrorCode.PROTOCOL_ERROR, None),
        ((TERMS, "e=other-error"), ErrorCode.SERVER_NOT_AUTHENTIC, 235),
        (("r=short,s=c2FsdA==,i=4096",), ErrorCode.PROTOCOL_ERROR, None),
        (("r={nonce},s=c2FsdA==,i=4096",), ErrorCode.PROTOCOL_ERROR, None),
        (("r=other{nonce},s=c2FsdA==,i=4096",), ErrorCode.PROTOCOL_ERROR, None),
        (("r={nonce}more,s=c2FsdA==,i=1",), ErrorCode.PROTOCOL_ERROR, None),
        (("r={nonce}more,s=c2FsdA==,i=1000000000",), ErrorCode.PROTOCOL_ERROR, None),
        (("r={nonce}more,s=c2FsdA==",), ErrorCode.PROTOCOL_ERROR, None),
        (("m=x,r={nonce}more,s=c2FsdA==,i=4096",), ErrorCode.PROTOCOL_ERROR, None),
    ],
)
def test_a_server_that_does_not_know_the_password_learns_nothing(
    says: tuple[str, ...], code: ErrorCode, reply: int | None
) -> None:
    lying = Lying(*says)
    options = {**knocking("PLAIN"), "mechanisms": None}
    talk = Talk(options, policy(lying, "PLAIN", "LOGIN", failure_delay=0))
    assert talk.failure is not None
    assert talk.failure.code is code
    assert (talk.failure.reply.code if talk.failure.reply else None) == reply
    assert not talk.failure.retryable
    assert [each.mechanism for each in talk.seen if isinstance(each, Auth)] == ["SCRAM-SHA-256"]
    assert not any(isinstance(asked, Verify) for asked in talk.asked)


class Signing(Lying):
    """One that knows it, and goes on after its end."""

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        identity = yield from ScramServer("SCRAM-SHA-256", iterations=4096).exchange(initial_response)
        for text in self.says:
            yield Challenge(text.encode())
        return identity


@pytest.mark.parametrize("more", ["", SIGNATURE, "x"])
def test_a_challenge_after_the_end_is_one_too_many(more: str) -> None:
    talk = Talk({**knocking("PLAIN"), "mechanisms": None}, policy(Signing(more), "PLAIN", failure_delay=0))
    failure = talk.refused(ErrorCode.PROTOCOL_ERROR, None)
    assert "no place" in str(failure)
    assert [each.mechanism for each in talk.seen if isinstance(each, Auth)] == ["SCRAM-SHA-256"]
    assert Talk({**knocking("PLAIN"), "mechanisms": None}, policy(Signing(), "PLAIN")).failure is None


HELLO = [b"220 mx.example\r\n", bytes(Reply(250, ("mx.example", "AUTH SCRAM-SHA-256 PLAIN")))]
NONSENSE = b"334 " + base64(b"r=short,s=c2FsdA==,i=4096").encode() + b"\r\n"


def to_authenticate() -> tuple[Connector, Authenticator]:
    """A connection to a server that offers SCRAM and PLAIN, and what is due on it."""
    options = ConnectOptions(host="mx.example", security=Security.IMPLICIT, username="user", password=PASSWORD)
    connector = Connector(options)
    Run(flows.connect(connector), HELLO)
    return connector, connector.authenticator(options.credentials)


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("name", [name for name in EVERY_NAME if not name.endswith("-PLUS")])
@pytest.mark.parametrize("challenge", [b"334 \r\n", b"334\r\n", b"334 eA==\r\n", b"334 no base64\r\n"])
@pytest.mark.parametrize("initial", [True, False], ids=["initial", "held"])
def test_challenges_for_ever(name: str, challenge: bytes, initial: bool) -> None:
    options = ConnectOptions(security=Security.IMPLICIT, initial_response=initial, **knocking(name))
    offer = bytes(Reply(250, ("mx.example", f"AUTH {name} PLAIN")))
    run = Run(flows.connect(Connector(options)), [HELLO[0], offer, *[challenge] * 1000])
    failure: AuthenticationFailed = run.failed(AuthenticationFailed)
    assert failure.code is ErrorCode.PROTOCOL_ERROR
    assert failure.reply is None
    assert len(run.sent) <= 6
    assert run.sent[-1] == b"*\r\n"  # and no QUIT, which would be taken for a response
    assert run.closes


def test_a_server_that_could_not_prove_itself_is_left() -> None:
    connector, authenticator = to_authenticate()
    run = Run(flows.authenticate(connector.connection, authenticator), [b"235 welcome\r\n"])
    failure: AuthenticationFailed = run.failed(AuthenticationFailed)
    assert failure.code is ErrorCode.SERVER_NOT_AUTHENTIC
    assert len(run.sent) == 1
    assert run.closes
    # One that only refuses, or talks nonsense, is not.
    for replies in ([b"535 no\r\n"], [NONSENSE, b"501 cancelled\r\n"]):
        connector, authenticator = to_authenticate()
        run = Run(flows.authenticate(connector.connection, authenticator), replies)
        assert isinstance(run.error, AuthenticationFailed)
        assert Close() not in run.effects


@pytest.mark.parametrize("error", [TIMED_OUT, RESET])
def test_what_went_wrong_within_connecting_is_told_too(error: TransportError) -> None:
    options = ConnectOptions(
        host="mx.example", security=Security.IMPLICIT, username="user", password=PASSWORD, authenticate=True
    )
    complete = Run(flows.connect(Connector(options)), [*HELLO, NONSENSE])
    waits = [number for number, effect in enumerate(complete.effects) if isinstance(effect, Receive)]
    run = Run(flows.connect(Connector(options)), [*HELLO, NONSENSE], throw={waits[-1]: error})
    failure: AuthenticationFailed = run.failed(AuthenticationFailed)
    assert failure.code is ErrorCode.PROTOCOL_ERROR
    assert "nonce" in str(failure)
    assert failure.__cause__ is error
    assert run.closes


@pytest.mark.parametrize(
    ("reply", "error"),
    [(b"421 4.3.2 bye\r\n", None), (b"", TransportError), (TIMED_OUT, TransportError), (b"hello\r\n", Exception)],
)
def test_what_went_wrong_is_told_whatever_became_of_the_connection(reply: Any, error: type[Exception] | None) -> None:
    """`flows.authenticate`, with a server that was told "*"."""
    connector, authenticator = to_authenticate()
    throw: dict[int, Exception] = {3: reply} if isinstance(reply, Exception) else {}
    data: bytes = b"" if isinstance(reply, Exception) else reply
    received = [NONSENSE, data] if data else [NONSENSE]
    run = Run(flows.authenticate(connector.connection, authenticator), received, throw=throw)
    failure: AuthenticationFailed = run.failed(AuthenticationFailed)
    assert authenticator.problem is run.error
    assert failure.code is ErrorCode.PROTOCOL_ERROR
    assert run.sent[1:] == [b"*\r\n"]
    assert run.closes
    assert error is None or isinstance(failure.__cause__, error)


# --- the conversation of the server ----------------------------------------------------------------------------------


def plain(username: str = "user", password: str = PASSWORD, acting: str = "") -> bytes:
    return bytes(Auth("PLAIN", f"{acting}\0{username}\0{password}".encode()))


RIGHT, WRONG = plain(), plain(password="wrong")


def serve(
    *lines: bytes,
    auth: ServerAuth,
    answer: Answer = accept,
    secure: bool = True,
    throw: dict[int, Exception] | None = None,
    implicit_tls: bool = False,
    **fields: Any,
) -> Run:
    session = ServiceSession(Service("mx.example", auth=auth, **fields), secure=secure)
    return Run(flows.serve(session, implicit_tls=implicit_tls), lines, answer=answer, throw=throw)


def answering(kind: type[Question], said: object) -> Answer:
    return lambda subject: said if isinstance(subject, kind) else None


@pytest.mark.rfc("4954", "6")
@pytest.mark.rfc("4954", "9")
def test_a_session_ends_with_the_last_attempt_that_is_allowed() -> None:
    auth = policy("PLAIN", max_failures=3, failure_delay=2.5)
    run = serve(EHLO, WRONG, WRONG, RIGHT, auth=auth)
    assert run.codes == [220, 250, 535, 535, 235]
    run = serve(EHLO, WRONG, b"NOOP\r\n", WRONG + WRONG + RIGHT, QUIT, auth=auth)
    assert run.codes == [220, 250, 535, 250, 535, 535, 421]
    assert run.output.endswith(b"421 4.7.0 too many failed authentications\r\n")
    assert run.closes
    # Each refusal comes alone, after what was gathered was written and the time has passed.
    refusals = [number for number, effect in enumerate(run.effects) if isinstance(effect, Wait)]
    assert [run.effects[number] for number in refusals] == [Wait(2.5)] * 3
    written = [bytes(each.data) for each in run.effects[refusals[2] :] if isinstance(each, Send)]
    assert len(written) == 1
    assert written[0].startswith(b"535 5.7.8 ")
    assert b"\r\n421 " in written[0]
    run = serve(EHLO, WRONG, auth=policy("PLAIN", max_failures=1, failure_delay=0), max_errors=1)
    assert run.codes == [220, 250, 535, 421]
    assert b"too many failed authentications" in run.output


def test_a_refusal_that_need_not_wait_does_not() -> None:
    run = serve(EHLO, b"RSET\r\n" + WRONG, auth=policy("PLAIN", failure_delay=0))
    assert run.sent[2:] == [b"250 2.0.0 OK\r\n535 5.7.8 authentication credentials invalid\r\n"]
    assert not any(isinstance(effect, Wait) for effect in run.effects)


def test_what_is_gathered_does_not_wait_for_the_refusal() -> None:
    run = serve(EHLO, b"RSET\r\n" + WRONG, auth=policy("PLAIN"))
    number = run.effects.index(Wait(1.0))
    assert run.effects[number - 1] == Send(b"250 2.0.0 OK\r\n", 300)


def test_what_cannot_be_told_for_now_costs_nothing() -> None:
    later = answering(Verify, Reply(454, "4.7.0 no database"))
    run = serve(EHLO, *[RIGHT] * 5, b"NOOP\r\n", auth=policy("PLAIN", max_failures=2), answer=later, max_errors=2)
    assert run.codes == [220, 250, *[454] * 5, 250]
    assert not any(isinstance(effect, Wait) for effect in run.effects)


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"AUTH LOGIN\r\n", b"*\r\n"], 501),
        ([b"AUTH LOGIN\r\n", b"no base64!\r\n"], 501),
        ([b"AUTH LOGIN\r\n", b"QUFB=\r\n"], 501),
        ([b"AUTH PLAIN AAA=\r\n"], 501),
        ([b"AUTH CRAM-MD5 eA==\r\n"], 501),
    ],
)
def test_attempts_that_are_none_count_too_but_cost_no_time(lines: list[bytes], code: int) -> None:
    run = serve(EHLO, *lines, *lines, auth=policy("PLAIN", "LOGIN", "CRAM-MD5", max_failures=2))
    assert [each for each in run.codes if each != 334] == [220, 250, code, code, 421]
    assert b"too many failed authentications" in run.output
    assert not any(isinstance(effect, Wait) for effect in run.effects)


@pytest.mark.rfc("4954", "6")
def test_where_all_of_them_need_tls_there_is_no_offer_and_yet_it_is_said() -> None:
    auth = policy("PLAIN", "LOGIN")
    run = serve(EHLO, RIGHT, b"AUTH GSSAPI\r\n", auth=auth, secure=False)
    assert b"250 HELP\r\n" in run.output  # the last line of the offer
    assert run.codes == [220, 250, 538, 502]
    assert serve(RIGHT, auth=auth, secure=False).codes == [220, 503]
    assert serve(EHLO, RIGHT, RIGHT, auth=auth).codes == [220, 250, 235, 503]


@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("4954", "6")
def test_what_is_not_offered_says_what_is_missing() -> None:
    auth = policy("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")
    lines = [EHLO, RIGHT, b"AUTH GSSAPI\r\n", b"AUTH SCRAM-SHA-256-PLUS\r\n"]
    run = serve(*lines, auth=auth, secure=False)
    assert b"AUTH SCRAM-SHA-256\r\n" in run.output
    assert run.codes == [220, 250, 538, 504, 504]
    run = serve(*lines, auth=auth)
    assert b"AUTH PLAIN SCRAM-SHA-256\r\n" in run.output
    assert run.codes == [220, 250, 235, 503, 503]


@pytest.mark.rfc("4954", "4")
def test_auth_once_and_at_its_place() -> None:
    auth = policy("PLAIN", allow_plaintext=True)
    assert serve(RIGHT, auth=auth).codes == [220, 503]
    assert serve(b"HELO me\r\n", RIGHT, auth=auth).codes == [220, 250, 502]
    assert serve(EHLO, ENVELOPE + RIGHT, auth=auth).codes == [220, 250, 250, 250, 503]
    run = serve(EHLO, RIGHT, RIGHT + b"NOOP\r\n", EHLO, RIGHT, auth=auth)
    assert run.codes == [220, 250, 235, 503, 250, 250, 503]
    assert b"AUTH" not in run.sent[4]


@pytest.mark.rfc("4954", "6")
def test_no_mail_before_it_where_it_is_required() -> None:
    auth = policy("PLAIN", required=True)
    run = serve(EHLO, b"MAIL FROM:<a@b.example>\r\nVRFY x\r\nRSET\r\nNOOP\r\n", RIGHT, ENVELOPE, auth=auth)
    assert run.codes == [220, 250, 530, 530, 250, 250, 235, 250, 250]
    assert b"530 5.7.0 authentication required\r\n" in run.output

    def then(connector: Connector) -> Flow[Event]:
        seen: list[Event] = []
        yield from flows.command(connector.connection, Mail("a@b.example"), seen.append)
        return seen[0]

    needed = Talk({**knocking("PLAIN"), "authenticate": False}, auth, then=then).result
    assert isinstance(needed, AuthNeeded)
    assert (needed.why, needed.mechanisms, needed.usable) == (AuthReason.REQUIRED_BY_SERVER, ("PLAIN",), ("PLAIN",))
    plaintext = {**knocking("PLAIN"), "authenticate": False}
    needed = Talk(plaintext, auth, security=Security.NONE, then=then).result
    assert isinstance(needed, AuthNeeded)
    assert (needed.why, needed.mechanisms, needed.usable) == (AuthReason.TLS_REQUIRED, (), ())


def test_the_program_hears_every_question_and_may_leave_it() -> None:
    asked: dict[str, list[Question]] = {}
    for name in EVERY_NAME:
        options = {**knocking(name), "authorization_id": "kurt"} if name == "SCRAM-SHA-256" else knocking(name)
        talk = Talk(options, policy(name, authorize=lambda user, acting: True))
        assert talk.failure is None
        asked[name] = talk.asked
    assert asked["PLAIN"] == asked["LOGIN"] == [Verify("user", PASSWORD)]
    assert asked["SCRAM-SHA-1"] == asked["SCRAM-SHA-1-PLUS"] == [FindCredential("user", "SHA-1")]
    assert asked["SCRAM-SHA-256"] == [FindCredential("user", "SHA-256"), Authorize("user", "kurt")]
    assert asked["CRAM-MD5"] == [FindPassword("user")]
    assert asked["OAUTHBEARER"] == asked["XOAUTH2"] == [VerifyToken(TOKEN, "user")]
    assert asked["EXTERNAL"] == [VerifyExternal("")]
    assert asked["ANONYMOUS"] == [VerifyAnonymous("")]


ANSWERS: list[tuple[str, type[Question], Any, Any]] = [
    ("PLAIN", Verify, True, False),
    ("LOGIN", Verify, True, False),
    ("CRAM-MD5", FindPassword, PASSWORD, "other"),
    ("CRAM-MD5", FindPassword, PASSWORD, False),
    ("SCRAM-SHA-256", FindCredential, PASSWORD, "other"),
    ("SCRAM-SHA-256", FindCredential, KEPT[1], False),
    ("OAUTHBEARER", VerifyToken, "user", False),
    ("XOAUTH2", VerifyToken, "user", False),
    ("EXTERNAL", VerifyExternal, "user", False),
    ("ANONYMOUS", VerifyAnonymous, True, False),
]


@pytest.mark.parametrize(("name", "kind", "yes", "no"), ANSWERS)
def test_what_the_program_says_goes_before_what_is_in_the_policy(
    name: str, kind: type[Question], yes: Any, no: Any
) -> None:
    nothing = ServerAuth(mechanisms=[name], failure_delay=0)
    assert Talk(knocking(name), nothing, answer=answering(kind, yes)).failure is None
    talk = Talk(knocking(name), policy(name, failure_delay=0), answer=answering(kind, no))
    talk.refused(ErrorCode.AUTHENTICATION_REFUSED)
    # And where neither says anything, nobody is let in, but for those who need not show anything.
    silent = Talk(knocking(name), nothing, answer=accept)
    assert (silent.failure is None) is (name == "ANONYMOUS")
    refusing = Talk(knocking(name), policy(name), answer=answering(kind, Reply(550, "5.7.1 not from there")))
    assert str(refusing.refused(ErrorCode.AUTHENTICATION_REFUSED, 550).reply) == "550 5.7.1 not from there"


@pytest.mark.parametrize("name", EVERY_NAME)
@pytest.mark.parametrize("wrong", [5, b"yes", object(), Identity("user"), Reply(250, "ok"), Reply(334, "")])
def test_an_answer_that_is_none_ends_the_session(name: str, wrong: Any) -> None:
    def answer(subject: Event | Question) -> Any:
        return wrong if isinstance(subject, Question) else None

    with pytest.raises(LocalProtocolError, match="was answered with") as caught:
        Talk(knocking(name), policy(name), answer=answer)
    assert PASSWORD not in str(caught.value)


def test_who_it_is_hangs_on_who_has_looked_up_the_name() -> None:
    """Of the many ways to write a name one is left, unless the program has its own mind about names."""
    line = plain("us\u00ader", PASSWORD, "\u00aa")
    auth = policy("PLAIN", authorize=lambda user, acting: (user, acting) == ("user", "a"))
    for answer, identity in (
        (accept, Identity("user", "a")),
        (answering(Verify, True), Identity("us\u00ader", "\u00aa")),
    ):
        session = ServiceSession(Service(auth=auth), secure=True)
        Run(flows.serve(session), [EHLO, line], answer=answer)
        assert session.identity == identity
    # What a token stands for was not written by the client.
    session = ServiceSession(Service(auth=ServerAuth(tokens={TOKEN: "\u2168"})), secure=True)
    Run(flows.serve(session), [EHLO, bytes(Auth("XOAUTH2", f"user=\u2168\x01auth=Bearer {TOKEN}\x01\x01".encode()))])
    assert session.identity == Identity("\u2168")


@pytest.mark.parametrize("error", [ShutDown(), RESET, KeyError("a fault of the program")])
def test_what_is_thrown_in_while_the_refusal_waits(error: Exception) -> None:
    run = serve(EHLO, WRONG, auth=policy("PLAIN"))
    number = run.effects.index(Wait(1.0))
    run = serve(EHLO, WRONG, QUIT, auth=policy("PLAIN"), throw={number: error})
    assert run.codes == ([220, 250] if error is RESET else [220, 250, 421])
    assert run.error is (error if isinstance(error, KeyError) else None)
    assert run.closes


def test_it_is_given_up_at_each_effect() -> None:
    auth = policy("LOGIN", failure_delay=1)
    lines = [EHLO, b"AUTH LOGIN\r\n", b"dXNlcg==\r\n", b"eA==\r\n", QUIT]
    total = len(serve(*lines, auth=auth).effects)
    for number in range(total):
        flow = flows.serve(ServiceSession(Service(auth=auth), secure=True))
        arriving = iter(lines)
        effect = next(flow)
        for _ in range(number):
            if effect == Receive(0):
                effect = flow.throw(TIMED_OUT)
            effect = flow.send(next(arriving, b"") if isinstance(effect, Receive) else None)
        flow.close()
        with pytest.raises(StopIteration):
            next(flow)


# --- implicit TLS ----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8314", "3.3")
def test_implicit_tls_comes_before_the_greeting() -> None:
    run = serve(EHLO, QUIT, auth=policy("PLAIN"), implicit_tls=True)
    assert run.effects[:2] == [StartTls(None, DEFAULT_TIMEOUTS.tls), Ask(CommandReceived(Connect()))]
    assert run.codes == [220, 250, 221]
    assert b"STARTTLS" not in run.output


@pytest.mark.parametrize(
    "error", [NotTls("plaintext"), TIMED_OUT, RESET, TransportError("x", ErrorCode.TLS_HANDSHAKE_FAILED), ShutDown()]
)
def test_a_client_with_which_implicit_tls_fails_hears_nothing(error: Exception) -> None:
    run = serve(EHLO, auth=policy("PLAIN"), implicit_tls=True, throw={0: error})
    assert run.error is None
    assert [type(effect) for effect in run.effects] == [StartTls, Close]


def test_behind_implicit_tls_there_is_speech_again() -> None:
    run = serve(EHLO, auth=policy("PLAIN"), implicit_tls=True, throw={1: ShutDown()})
    assert run.codes == [421]
    assert run.closes


def test_tls_may_have_no_bindings_to_tell() -> None:
    """`StartTls` may be answered with None."""
    for lines, implicit in (([EHLO], True), ([EHLO, b"STARTTLS\r\n", EHLO], False)):
        session = ServiceSession(Service(auth=policy(*SHA_256), starttls=True), secure=implicit)
        run = Run(flows.serve(session, implicit_tls=implicit), lines)
        assert dict(session.connection.channel_bindings) == {}
        assert b"AUTH SCRAM-SHA-256\r\n" in run.sent[-1]
    for security in (Security.IMPLICIT, Security.REQUIRED):
        connector = Connector(ConnectOptions(host="mx.example", security=security))
        offer = bytes(Reply(250, ("mx.example", "STARTTLS")))
        Run(flows.connect(connector), [HELLO[0], offer, b"220 go\r\n", HELLO[1]])
        assert connector.connection.secure
        assert dict(connector.connection.channel_bindings) == {}


def test_the_bindings_of_implicit_tls_and_of_starttls_reach_both_ends() -> None:
    for starttls in (False, True):
        talk = Talk(knocking("PLAIN"), policy("PLAIN"), starttls=starttls)
        assert talk.connector.connection.channel_bindings == BINDINGS
        assert talk.session.connection.channel_bindings == BINDINGS


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_SECRET)
@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("initial", [True, False])
def test_nothing_that_can_be_seen_shows_a_secret(name: str, right: bool, initial: bool) -> None:
    secret = TOKEN if name in ("OAUTHBEARER", "XOAUTH2") else PASSWORD
    options = {**knocking(name, PASSWORD if right else secret + "x"), "initial_response": initial}
    talk = Talk(options, policy(name, failure_delay=0))
    assert (talk.failure is None) is right
    talk.seen += [talk.connector.options, talk.session.service, talk.session.service.auth, talk.connector.connection]
    commands = [each for each in talk.seen if isinstance(each, Auth | AuthResponse)]
    assert commands
    said = [base64(secret.encode()), secret]
    for command in commands:
        response = command.initial_response if isinstance(command, Auth) else command.response
        if response and response != b"user":
            said += [base64(response), repr(response)[2:-1]]
    shown = "\n".join(f"{each!r} {each}" for each in talk.seen if not isinstance(each, Send))
    for form in said:
        assert form not in shown
