"""The client's authentication exchange, apart from connecting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.authenticate import MAX_STEPS, Authenticator
from smtpproto.client import ClientConnection
from smtpproto.commands import Auth, AuthResponse, Command, Ehlo, Noop
from smtpproto.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from smtpproto.events import AuthChallenge, AuthFailed, AuthSucceeded, ConnectionClosed, Event, Pause
from smtpproto.failures import AuthenticationFailed, Stage
from smtpproto.grammar import base64
from smtpproto.replies import Reply
from smtpproto.sasl import Challenge, ClientExchange, Credentials, MechanismError, PlainClient, ServerNotAuthentic

SECRET = "tr0ub4dor&3"
USER = Credentials("user", SECRET)
MESSAGE = f"\0user\0{SECRET}".encode()


def ready(auth: str = "AUTH PLAIN LOGIN XOAUTH2", *, secure: bool = True) -> ClientConnection:
    """A connection after its EHLO; with an empty ``auth`` after its HELO."""
    connection = ClientConnection(secure=secure)
    connection.receive_data(b"220 hi\r\n")
    connection.next_event()
    connection.send(Ehlo("me.example"))
    connection.receive_data(bytes(Reply(250, ("mx.example", auth, "PIPELINING"))))
    connection.next_event()
    return connection


class Converse:
    """One authentication against these replies."""

    def __init__(
        self,
        connection: ClientConnection,
        replies: Sequence[bytes],
        credentials: Credentials | None = USER,
        **options: Any,
    ) -> None:
        self.sent: list[Command] = []
        self.wire = b""
        self.failure: AuthenticationFailed | None = None
        self.last: Event | None = None
        try:
            authenticator = Authenticator(connection, credentials, **options)
            command: Command | None = authenticator.start()
            for reply in replies:
                assert command is not None, "over before the script"
                self.sent.append(command)
                self.wire += connection.send(command)
                connection.receive_data(reply)
                event = connection.next_event()
                assert not isinstance(event, Pause)
                self.last = event
                command = authenticator.respond(event)
            assert command is None, f"{command!r} is still to be sent"
        except AuthenticationFailed as failure:
            self.failure = failure

    def failed(self, code: ErrorCode, reply: Reply | None = None) -> str:
        assert self.failure is not None
        assert (self.failure.code, self.failure.stage, self.failure.reply) == (code, Stage.AUTHENTICATION, reply)
        assert SECRET not in str(self.failure)
        return str(self.failure)


class Scripted:
    """A mechanism that says these things, and then does what it is told to."""

    exposes_secret = False

    def __init__(self, *says: bytes | None, end: MechanismError | None = None, name: str = "X-S") -> None:
        self.name = name
        self.says = says
        self.end = end
        self.error: str | None = None
        self.proves_server = False
        self.heard: list[Challenge | None] = []
        self.closed = 0

    def exchange(self) -> ClientExchange:
        try:
            for said in self.says:
                self.heard.append((yield said))
            if self.end is not None:
                raise self.end
        finally:
            self.closed += 1


# Success -----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4616", "2")
def test_plain() -> None:
    connection = ready()
    done = Converse(connection, [b"235 ok\r\n"])
    assert done.failure is None
    assert done.sent == [Auth("PLAIN", MESSAGE)]
    assert isinstance(done.last, AuthSucceeded)
    assert connection.authenticated


@pytest.mark.parametrize(
    "prompts", [(b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n"), (b"334\r\n", b"334 junk here\r\n")]
)
def test_login_whatever_the_prompts_say(prompts: tuple[bytes, bytes]) -> None:
    done = Converse(ready("AUTH LOGIN"), [*prompts, b"235 ok\r\n"])
    assert done.failure is None
    assert done.sent == [Auth("LOGIN"), AuthResponse(b"user"), AuthResponse(SECRET.encode())]


def test_challenges_reach_the_mechanism_decoded_and_raw() -> None:
    mechanism = Scripted(b"i", b"a", b"b", None)
    done = Converse(
        ready("AUTH X-S"),
        [b"334 eA==\r\n", b"334 no base64\r\n", b"334 \r\n", b"235 ok\r\n"],
        None,
        mechanisms=[mechanism],
    )
    assert done.failure is None
    assert mechanism.heard == [Challenge(b"x"), Challenge(None, "no base64"), Challenge(b""), None]
    # None is an empty response once the exchange is under way.
    assert done.sent[1:] == [AuthResponse(b"a"), AuthResponse(b"b"), AuthResponse(b"")]
    assert mechanism.closed == 1


@pytest.mark.rfc("4954", "4")
def test_initial_response_that_is_too_long_for_the_line_is_held_back() -> None:
    long = Credentials("u" * 300, "p" * 100)
    short = Credentials("u" * 300, "p" * 59)
    done = Converse(ready(), [b"334 \r\n", b"235 ok\r\n"], long)
    assert done.sent == [Auth("PLAIN"), AuthResponse(f"\0{'u' * 300}\0{'p' * 100}".encode())]
    assert done.failure is None
    done = Converse(ready(), [b"235 ok\r\n"], short)
    assert done.sent == [Auth("PLAIN", f"\0{'u' * 300}\0{'p' * 59}".encode())]
    assert len(done.wire) <= 512


def test_held_back_response_is_given_whatever_the_prompt_is() -> None:
    done = Converse(ready(), [b"334 aGk=\r\n", b"235 ok\r\n"], Credentials("u" * 500, "p"))
    assert done.sent[1:] == [AuthResponse(f"\0{'u' * 500}\0p".encode())]


@pytest.mark.parametrize("prompt", [b"334 \r\n", b"334\r\n"])
def test_initial_response_is_repeated_once_where_it_was_not_heard(prompt: bytes) -> None:
    done = Converse(ready(), [prompt, b"235 ok\r\n"])
    assert done.failure is None
    assert done.sent == [Auth("PLAIN", MESSAGE), AuthResponse(MESSAGE)]
    done = Converse(ready(), [prompt, prompt, b"501 cancelled\r\n"])
    assert done.sent == [Auth("PLAIN", MESSAGE), AuthResponse(MESSAGE), AuthResponse(None)]
    done.failed(ErrorCode.PROTOCOL_ERROR)


def test_challenge_with_something_in_it_is_no_request_for_the_initial_response() -> None:
    mechanism = Scripted(b"i", b"a", b"b")
    done = Converse(ready("AUTH X-S"), [b"334 eA==\r\n", b"334 \r\n", b"235 ok\r\n"], None, mechanisms=[mechanism])
    assert done.sent == [Auth("X-S", b"i"), AuthResponse(b"a"), AuthResponse(b"b")]


@pytest.mark.rfc("4954", "4")
def test_initial_response_only_where_the_server_asks_for_it() -> None:
    for prompt in (b"334 \r\n", b"334\r\n", b"334 Go on\r\n"):
        done = Converse(ready(), [prompt, b"235 ok\r\n"], initial_response=False)
        assert done.failure is None
        assert done.sent == [Auth("PLAIN"), AuthResponse(MESSAGE)]
    done = Converse(ready(), [b"334 \r\n", b"334 \r\n", b"501 no\r\n"], initial_response=False)
    assert done.sent == [Auth("PLAIN"), AuthResponse(MESSAGE), AuthResponse(None)]
    Converse(ready(), [b"235 ok\r\n"], initial_response=False).failed(ErrorCode.SERVER_NOT_AUTHENTIC, Reply(235, "ok"))
    # Also of the second mechanism.
    done = Converse(ready(), [b"504 no\r\n", b"334 \r\n", b"334 \r\n", b"235 ok\r\n"], initial_response=False)
    assert done.sent[:2] == [Auth("PLAIN"), Auth("LOGIN")]
    assert done.failure is None


@pytest.mark.rfc("4954", "4")
def test_empty_initial_response() -> None:
    external: dict[str, Any] = {"credentials": None, "mechanisms": ["EXTERNAL"]}
    done = Converse(ready("AUTH EXTERNAL"), [b"235 ok\r\n"], **external)
    assert done.failure is None
    assert done.wire == b"AUTH EXTERNAL =\r\n"
    done = Converse(ready("AUTH EXTERNAL"), [b"334 \r\n", b"235 ok\r\n"], **external)
    assert done.wire == b"AUTH EXTERNAL =\r\n\r\n"
    done = Converse(ready("AUTH EXTERNAL"), [b"334 \r\n", b"235 ok\r\n"], initial_response=False, **external)
    assert done.wire == b"AUTH EXTERNAL\r\n\r\n"
    assert done.failure is None
    # Where nothing fits beside the name, "=" does not either.
    mechanism = Scripted(b"", name="X" * 20)
    done = Converse(ready(f"AUTH {mechanism.name}"), [b"235 ok\r\n"], None, mechanisms=[mechanism])
    assert done.wire == b"AUTH XXXXXXXXXXXXXXXXXXXX =\r\n"


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("length", range(355, 385))
def test_the_line_of_auth_is_as_long_as_it_may_be_and_no_longer(length: int) -> None:
    for name in ("X-S", "X-ST"):  # with the longer one, a line has 512 octets
        mechanism = Scripted(b"x" * length, name=name)
        command = Authenticator(ready(f"AUTH {name}"), None, mechanisms=[mechanism]).start()
        whole = Auth(name, b"x" * length)
        assert command == (whole if len(bytes(whole)) <= 512 else Auth(name))


@pytest.mark.rfc("4954", "4")
def test_what_no_line_can_hold_is_refused_before_anything_is_sent() -> None:
    longest = 9213  # as base64, and with CRLF, 12286 octets
    for length in (longest - 3, longest):
        mechanism = Scripted(b"x" * length)
        done = Converse(ready("AUTH X-S"), [b"334 \r\n", b"235 ok\r\n"], None, mechanisms=[mechanism])
        assert done.sent == [Auth("X-S"), AuthResponse(b"x" * length)]
        assert done.failure is None
    for wrong in (b"x" * (longest + 1), "text", 5):
        with pytest.raises(LocalProtocolError, match=r"12288|must be bytes"):
            Converse(ready("AUTH X-S"), [], None, mechanisms=[Scripted(wrong)])  # type: ignore[arg-type]
    done = Converse(
        ready("AUTH LOGIN"), [b"334 \r\n", b"334 \r\n", b"501 cancelled\r\n"], Credentials("user", SECRET * 1000)
    )
    assert done.sent == [Auth("LOGIN"), AuthResponse(b"user"), AuthResponse(None)]
    assert "12288" in done.failed(ErrorCode.INVALID_ARGUMENT)


# Which mechanism ---------------------------------------------------------------------------------------------------


def test_first_choice_is_the_clients() -> None:
    def first(**options: Any) -> str:
        return Authenticator(ready(), **options).mechanism.name

    assert first(credentials=USER) == "PLAIN"
    assert first(credentials=Credentials("user", SECRET, token="t")) == "XOAUTH2"
    assert first(credentials=USER, mechanisms=["LOGIN", "PLAIN"]) == "LOGIN"


@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize("code", [504, 534])
def test_next_mechanism_after_one_that_is_not_taken(code: int) -> None:
    replies = [b"%d no\r\n" % code, b"334 \r\n", b"334 \r\n", b"235 ok\r\n"]
    done = Converse(ready(), replies)
    assert done.failure is None
    assert [type(each) for each in done.sent] == [Auth, Auth, AuthResponse, AuthResponse]
    assert done.sent[1] == Auth("LOGIN")


def bindable(name: str, error: str | None = None) -> Scripted:
    mechanism = Scripted(b"i", b"", name=name)
    mechanism.error = error
    return mechanism


@pytest.mark.rfc("5802", "6")
def test_another_channel_binding_than_ours() -> None:
    """What is bound by the same one would fail the same way."""
    word = "unsupported-channel-binding-type"
    tried = [bindable("X-A-PLUS", word), bindable("X-B-Plus"), bindable("X-C"), bindable("X-D")]
    offer = "AUTH X-A-PLUS X-B-PLUS X-C X-D"
    challenge = b"334 " + base64(f"e={word}".encode()).encode() + b"\r\n"
    done = Converse(ready(offer), [challenge, b"535 no\r\n", b"235 ok\r\n"], None, mechanisms=tried)
    assert done.sent == [Auth("X-A-PLUS", b"i"), AuthResponse(b""), Auth("X-C", b"i")]
    done = Converse(ready(offer), [challenge, b"535 no\r\n", b"504 no\r\n", b"235 ok\r\n"], None, mechanisms=tried)
    assert done.sent[2:] == [Auth("X-C", b"i"), Auth("X-D", b"i")]
    done = Converse(ready(offer), [challenge, b"535 no\r\n"], None, mechanisms=tried[:2])
    assert word in done.failed(ErrorCode.AUTHENTICATION_REFUSED, Reply(535, "no"))
    assert done.failure is not None
    assert done.failure.error == word


@pytest.mark.rfc("5802", "6")
@pytest.mark.parametrize("word", ["server-does-support-channel-binding", "channel-bindings-dont-match", "other-error"])
def test_any_other_error_of_the_channel_ends_it(word: str) -> None:
    tried = [bindable("X-A-PLUS", word), bindable("X-C")]
    done = Converse(ready("AUTH X-A-PLUS X-C"), [b"535 no\r\n"], None, mechanisms=tried)
    assert word in done.failed(ErrorCode.AUTHENTICATION_REFUSED, Reply(535, "no"))


@pytest.mark.rfc("5802", "6")
def test_a_bound_mechanism_that_is_not_taken_gives_way_to_the_next() -> None:
    tried = [bindable("X-A-PLUS"), bindable("X-B-PLUS")]
    done = Converse(ready("AUTH X-A-PLUS X-B-PLUS"), [b"504 no\r\n", b"235 ok\r\n"], None, mechanisms=tried)
    assert done.sent == [Auth("X-A-PLUS", b"i"), Auth("X-B-PLUS", b"i")]


@pytest.mark.parametrize("code", [504, 534])
def test_a_server_that_began_to_prove_itself_is_offered_nothing_weaker(code: int) -> None:
    """Otherwise whoever cannot prove anything had only to say so, and would be told the password."""
    refused = b"%d no\r\n" % code
    tried = [Scripted(b"i", b"r", name="X-PROVES"), Scripted(b"i", name="X-C")]
    tried[0].proves_server = True
    offer = "AUTH X-PROVES X-C"
    done = Converse(ready(offer), [b"334 \r\n", refused], None, mechanisms=tried)
    assert len(done.sent) == 2
    done.failed(ErrorCode.AUTHENTICATION_REFUSED, Reply(code, "no"))
    # One that does not know the mechanism at all has not begun.
    done = Converse(ready(offer), [refused, b"235 ok\r\n"], None, mechanisms=tried)
    assert done.sent[1:] == [Auth("X-C", b"i")]


def test_usable_are_all_that_may_be_tried_in_their_order() -> None:
    authenticator = Authenticator(ready("AUTH PLAIN LOGIN SCRAM-SHA-256 GSSAPI CRAM-MD5"), USER)
    assert authenticator.usable == ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")
    authenticator.start()
    authenticator.respond(AuthFailed(Auth("SCRAM-SHA-256"), Reply(504, "no")))
    assert authenticator.mechanism.name == "CRAM-MD5"
    assert authenticator.usable == ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")


def test_channel_bindings_are_those_of_the_connection() -> None:
    connection = ready("AUTH SCRAM-SHA-256 SCRAM-SHA-256-PLUS")
    assert Authenticator(connection, USER).usable == ("SCRAM-SHA-256",)
    connection.channel_bindings = {"tls-server-end-point": b"digest"}
    authenticator = Authenticator(connection, USER)
    assert authenticator.usable == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
    command = authenticator.start()
    assert isinstance(command, Auth)
    assert command.initial_response is not None
    assert command.initial_response.startswith(b"p=tls-server-end-point,,n=user,r=")


def test_next_mechanism_begins_afresh() -> None:
    """What was held back for the one, and the steps of it, are not the other's."""
    long = Credentials("u" * 500, "p")
    done = Converse(ready(), [b"504 no\r\n", b"334 \r\n", b"334 \r\n", b"235 ok\r\n"], long)
    assert done.failure is None
    assert done.sent[2:] == [AuthResponse(b"u" * 500), AuthResponse(b"p")]

    first = Scripted(*[b"x"] * 100, name="X-1")
    second = Scripted(*[b"y"] * (MAX_STEPS + 1), name="X-2")
    step = b"334 eA==\r\n"
    replies = [*[step] * MAX_STEPS, b"504 no\r\n", *[step] * MAX_STEPS, b"235 ok\r\n"]
    done = Converse(ready("AUTH X-1 X-2"), replies, None, mechanisms=[first, second])
    assert done.failure is None
    assert (first.closed, second.closed) == (1, 1)


@pytest.mark.parametrize("code", [504, 534])
def test_no_mechanism_is_taken(code: int) -> None:
    done = Converse(ready("AUTH PLAIN"), [b"%d no\r\n" % code])
    assert "PLAIN" in done.failed(ErrorCode.AUTHENTICATION_REFUSED, Reply(code, "no"))


def test_no_mechanism_at_all() -> None:
    Converse(ready("SIZE"), []).failed(ErrorCode.AUTHENTICATION_NOT_OFFERED)
    Converse(ready("AUTH GSSAPI"), []).failed(ErrorCode.NO_COMMON_MECHANISM)
    Converse(ready(), [], None).failed(ErrorCode.NO_COMMON_MECHANISM)
    Converse(ready(), [], Credentials("user")).failed(ErrorCode.NO_COMMON_MECHANISM)


@pytest.mark.rfc("4954", "4")
def test_secrets_and_tls() -> None:
    Converse(ready(secure=False), []).failed(ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN)
    assert Converse(ready(secure=False), [b"235 ok\r\n"], allow_plaintext=True).failure is None
    done = Converse(ready("AUTH X-S", secure=False), [b"235 ok\r\n"], None, mechanisms=[Scripted(b"i")])
    assert done.failure is None
    # Where TLS was wanted, nothing that hangs on a secret is sent without it.
    wanted: dict[str, Any] = {"credentials": None, "mechanisms": [Scripted(b"i")], "wants_tls": True}
    done = Converse(ready("AUTH X-S", secure=False), [], **wanted)
    done.failed(ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN)
    assert Converse(ready("AUTH X-S"), [b"235 ok\r\n"], **wanted).failure is None


@pytest.mark.rfc("4954", "3")
def test_needs_esmtp() -> None:
    Converse(ClientConnection(secure=True), []).failed(ErrorCode.EXTENDED_NOT_SUPPORTED)


@pytest.mark.rfc("4954", "4")
def test_once_in_a_session() -> None:
    connection = ready()
    Converse(connection, [b"235 ok\r\n"])
    with pytest.raises(LocalProtocolError, match="already"):
        Authenticator(connection, USER)


def test_mechanism_that_says_nothing() -> None:
    authenticator = Authenticator(ready("AUTH X-S"), None, mechanisms=[Scripted()])
    with pytest.raises(LocalProtocolError, match="X-S says nothing"):
        authenticator.start()


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (535, ErrorCode.AUTHENTICATION_REFUSED),
        (500, ErrorCode.AUTHENTICATION_REFUSED),
        (501, ErrorCode.AUTHENTICATION_REFUSED),
        (530, ErrorCode.AUTHENTICATION_REFUSED),  # there is TLS already, so that cannot be what is missing
        (550, ErrorCode.AUTHENTICATION_REFUSED),
        (538, ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN),
        (454, ErrorCode.AUTHENTICATION_UNAVAILABLE),
        (432, ErrorCode.AUTHENTICATION_UNAVAILABLE),
        (450, ErrorCode.AUTHENTICATION_UNAVAILABLE),
    ],
)
def test_refusals_end_it(code: int, error: ErrorCode) -> None:
    done = Converse(ready(), [b"%d no\r\n" % code])
    assert isinstance(done.last, AuthFailed)
    done.failed(error, Reply(code, "no"))
    assert done.failure is not None
    assert done.failure.retryable is (code < 500)
    done = Converse(ready("AUTH LOGIN"), [b"334 \r\n", b"334 \r\n", b"%d no\r\n" % code])
    done.failed(error, Reply(code, "no"))


@pytest.mark.rfc("3207", "4")
@pytest.mark.parametrize(
    ("code", "missing"),
    [(530, "the server wants TLS before any authentication"), (538, "the server wants TLS for LOGIN")],
)
def test_without_tls_a_refusal_may_ask_for_it(code: int, missing: str) -> None:
    done = Converse(ready("AUTH LOGIN", secure=False), [b"%d 5.7.0 no\r\n" % code], allow_plaintext=True)
    said = done.failed(ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN, Reply(code, "5.7.0 no"))
    assert said == f"{missing}: {code} 5.7.0 no"


@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (432, "authenticate once with PLAIN"),
        (454, "cannot authenticate anyone for now"),
        (504, "offers LOGIN and does not take it"),
        (534, "offers LOGIN and does not take it"),
        (535, "refuses the credentials (LOGIN): 535"),
    ],
)
def test_refusals_say_what_they_mean(code: int, meaning: str) -> None:
    done = Converse(ready("AUTH LOGIN"), [b"%d 5.7.0 no\r\n" % code])
    assert done.failure is not None
    assert meaning in str(done.failure)
    assert done.failure.error is None


@pytest.mark.parametrize("code", [535, 454, 432, 530, 538, 501, 550])
def test_after_any_other_refusal_no_other_mechanism_is_tried(code: int) -> None:
    done = Converse(ready(), [b"%d no\r\n" % code])
    assert done.sent == [Auth("PLAIN", MESSAGE)]
    assert done.failure is not None


def test_refusal_closes_the_exchange() -> None:
    mechanism = Scripted(b"i", b"more")
    Converse(ready("AUTH X-S"), [b"535 no\r\n"], None, mechanisms=[mechanism])
    assert mechanism.closed == 1


def test_what_xoauth2_learned_is_told() -> None:
    done = Converse(ready(), [b"334 eyJzIjoiNDAwIn0=\r\n", b"535 no\r\n"], Credentials("user", token="t"))
    assert done.sent[1] == AuthResponse(b"")
    assert '{"s":"400"}' in done.failed(ErrorCode.AUTHENTICATION_REFUSED, Reply(535, "no"))
    assert done.failure is not None
    assert done.failure.error == '{"s":"400"}'


@pytest.mark.rfc("7628", "3.2.2")
def test_json_is_told_also_of_a_mechanism_that_does_not_keep_it() -> None:
    mechanism = Scripted(b"i", b"", b"")
    done = Converse(ready("AUTH X-S"), [b"334 eyJzIjoiNDAwIn0=\r\n", b"535 no\r\n"], None, mechanisms=[mechanism])
    assert 'says {"s":"400"}' in done.failed(ErrorCode.AUTHENTICATION_REFUSED, Reply(535, "no"))
    assert done.failure is not None
    assert done.failure.error == '{"s":"400"}'


def test_unexpected_challenge_cancels() -> None:
    # The first of any text may be one that asks for the message again.
    done = Converse(ready(), [b"334 eA==\r\n", b"334 eA==\r\n", b"501 cancelled\r\n"])
    assert done.sent[1:] == [AuthResponse(MESSAGE), AuthResponse(None)]
    assert "PLAIN" in done.failed(ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MechanismError("nonsense"), ErrorCode.PROTOCOL_ERROR),
        (ServerNotAuthentic("a wrong signature"), ErrorCode.SERVER_NOT_AUTHENTIC),
    ],
)
def test_mechanism_objects_to_a_challenge(error: MechanismError, code: ErrorCode) -> None:
    mechanism = Scripted(b"i", end=error)
    done = Converse(ready("AUTH X-S"), [b"334 eA==\r\n", b"501 cancelled\r\n"], None, mechanisms=[mechanism])
    assert done.sent[1:] == [AuthResponse(None)]
    assert done.failed(code) == str(error)
    assert mechanism.closed == 1
    # Also where the server does not mind that it was cancelled.
    mechanism = Scripted(b"i", end=error)
    done = Converse(ready("AUTH X-S"), [b"334 eA==\r\n", b"235 welcome\r\n"], None, mechanisms=[mechanism])
    assert done.failed(code) == str(error)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MechanismError("nonsense"), ErrorCode.PROTOCOL_ERROR),
        (ServerNotAuthentic("no signature"), ErrorCode.SERVER_NOT_AUTHENTIC),
    ],
)
def test_mechanism_objects_to_success(error: MechanismError, code: ErrorCode) -> None:
    done = Converse(ready("AUTH X-S"), [b"235 ok\r\n"], None, mechanisms=[Scripted(b"i", end=error)])
    assert done.failed(code, Reply(235, "ok")).startswith(str(error))


@pytest.mark.parametrize(
    "reply", [b"504 no\r\n", b"534 no\r\n", b"535 no\r\n", b"235 ok\r\n", b"334 eA==\r\n", b"454 x\r\n"]
)
@pytest.mark.parametrize("error", [MechanismError("nonsense"), ServerNotAuthentic("a wrong signature")])
def test_nothing_weaker_is_tried_with_a_server_that_lies(reply: bytes, error: MechanismError) -> None:
    tried = [Scripted(b"i", end=error), "PLAIN"]
    done = Converse(ready("AUTH X-S PLAIN"), [b"334 eA==\r\n", reply], USER, mechanisms=tried)
    assert done.sent == [Auth("X-S", b"i"), AuthResponse(None)]
    assert str(done.failure) == str(error)
    done = Converse(ready("AUTH X-S PLAIN"), [b"235 ok\r\n"], USER, mechanisms=tried)
    assert done.sent == [Auth("X-S", b"i")]
    assert str(error) in str(done.failure)


def test_the_problem_is_told_before_the_server_has_answered() -> None:
    authenticator = Authenticator(ready("AUTH X-S"), None, mechanisms=[Scripted(b"i", end=ServerNotAuthentic("a lie"))])
    authenticator.start()
    assert authenticator.problem is None
    challenge = AuthChallenge(Auth("X-S"), Reply(334, ""), b"x")
    assert authenticator.respond(challenge) == AuthResponse(None)
    problem = vars(authenticator)["problem"]
    assert isinstance(problem, AuthenticationFailed)
    assert problem.code is ErrorCode.SERVER_NOT_AUTHENTIC
    with pytest.raises(AuthenticationFailed) as caught:
        authenticator.respond(challenge)
    assert caught.value is problem


def test_success_before_the_exchange_is_complete() -> None:
    Converse(ready("AUTH LOGIN"), [b"235 ok\r\n"]).failed(ErrorCode.SERVER_NOT_AUTHENTIC, Reply(235, "ok"))
    Converse(ready("AUTH LOGIN"), [b"334 \r\n", b"235 ok\r\n"]).failed(ErrorCode.SERVER_NOT_AUTHENTIC, Reply(235, "ok"))
    two = Scripted(b"i", b"more")
    Converse(ready("AUTH X-S"), [b"235 ok\r\n"], None, mechanisms=[two]).failed(
        ErrorCode.SERVER_NOT_AUTHENTIC, Reply(235, "ok")
    )


def test_success_before_the_credentials_were_seen() -> None:
    done = Converse(ready(), [b"235 ok\r\n"], Credentials("u" * 500, SECRET))
    assert "before" in done.failed(ErrorCode.SERVER_NOT_AUTHENTIC, Reply(235, "ok"))


def test_challenges_for_ever() -> None:
    mechanism = Scripted(*[b"x"] * 1000)
    step = b"334 eA==\r\n"
    done = Converse(ready("AUTH X-S"), [*[step] * (MAX_STEPS + 1), b"501 cancelled\r\n"], None, mechanisms=[mechanism])
    assert done.sent[-2:] == [AuthResponse(b"x"), AuthResponse(None)]
    assert len(done.sent) == MAX_STEPS + 2
    assert str(MAX_STEPS) in done.failed(ErrorCode.PROTOCOL_ERROR)


def test_challenges_also_after_it_was_cancelled() -> None:
    step = b"334 eA==\r\n"
    done = Converse(ready(), [step, step, step])
    assert done.sent[1:] == [AuthResponse(MESSAGE), AuthResponse(None)]
    done.failed(ErrorCode.PROTOCOL_ERROR)


def test_anything_else_is_none_of_its_business() -> None:
    authenticator = Authenticator(ready(), USER)
    authenticator.start()
    assert authenticator.respond(ConnectionClosed((), None, False)) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([334, 334, 334, 235, 504, 534, 535, 454, 421, 501, 250]),
            st.sampled_from([b"", b"eA==", b"no base64", b"=", b"\xff"]),
        ).map(b"%d %b\r\n".__mod__),
        max_size=60,
    ),
    st.sampled_from([None, ["PLAIN"], ["LOGIN"], ["XOAUTH2"], ["SCRAM-SHA-256"], ["CRAM-MD5", "OAUTHBEARER"]]),
    st.sampled_from([USER, Credentials("user", SECRET, token="t"), Credentials("u" * 600, SECRET)]),
)
def test_whatever_the_server_says(replies: list[bytes], mechanisms: list[str] | None, credentials: Credentials) -> None:
    connection = ready("AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER SCRAM-SHA-256 CRAM-MD5")
    try:
        authenticator = Authenticator(connection, credentials, mechanisms=mechanisms)
        command: Command | None = authenticator.start()
        for reply in replies:
            if command is None or connection.objection(command) is not None:
                break
            connection.send(command)
            connection.receive_data(reply)
            event = connection.next_event()
            assert not isinstance(event, Pause)
            command = authenticator.respond(event)
            assert (command is None) is not isinstance(event, AuthChallenge | AuthFailed)
    except (AuthenticationFailed, RemoteProtocolError) as error:
        assert SECRET not in str(error)  # noqa: PT017
    if connection.objection(Noop()) is None:
        connection.send(Noop())


def test_secrets_are_in_no_repr() -> None:
    authenticator = Authenticator(ready(), USER)
    assert SECRET not in repr(authenticator) + repr(authenticator.start()) + repr(authenticator.mechanism)
    assert authenticator.mechanism == PlainClient("user", SECRET)
