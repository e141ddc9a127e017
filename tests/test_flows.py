"""Whole conversations, under a plain list and linked in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import flows
from smtpproto.addresses import AddressLiteral
from smtpproto.authenticate import Authenticator
from smtpproto.client import ClientConnection
from smtpproto.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Burl,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Expn,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
)
from smtpproto.connect import Connected, Connector
from smtpproto.errors import ErrorCode, LocalProtocolError, NotTls, RemoteProtocolError, TransportError
from smtpproto.events import (
    AuthNeeded,
    AuthSucceeded,
    BadCommand,
    CommandReceived,
    ConnectionClosed,
    ContentReceived,
    EhloReply,
    Event,
    Greeting,
    HeloReply,
    ReplyReceived,
    ServiceClosing,
    StartTlsReady,
    Unsolicited,
)
from smtpproto.failures import AuthenticationFailed, ConnectFailed, Stage
from smtpproto.flows import Ask, Close, Dial, Effect, Flow, Receive, Send, ShutDown
from smtpproto.flows.effects import ending
from smtpproto.limits import Limits, Timeouts
from smtpproto.options import ConnectOptions, Option, Security
from smtpproto.replies import Reply
from smtpproto.sasl import Credentials, Identity, Question, Verify
from smtpproto.server_auth import ServerAuth
from smtpproto.service import Service, ServiceSession
from smtpproto.states import CLOSED
from smtpproto.testing import accept, link, octets, pieces, whole

SECRET = "tr0ub4dor&3"
PLAIN = Auth("PLAIN", f"\0user\0{SECRET}".encode())
HI = b"220 mx.example ESMTP\r\n"
GO = b"220 go ahead\r\n"
TIMEOUTS = Timeouts(dial=1, tls=2, greeting=3, hello=4, other=5, server=6, data_block=7)
TIMED_OUT = TransportError("took too long", ErrorCode.TIMED_OUT)
RESET = TransportError("reset", ErrorCode.CLOSED_BY_PEER)

Answer = Callable[[Event | Question], Any]


def auth(*mechanisms: str, failure_delay: float = 0, **fields: Any) -> ServerAuth:
    """A policy without credentials: the program answers."""
    return ServerAuth(mechanisms=mechanisms, failure_delay=failure_delay, **fields)


def ehlo(*keywords: str) -> bytes:
    return bytes(Reply(250, ("mx.example", *keywords)))


class Run:
    """A flow under a plain list: what it receives is ``received`` and then the end of the stream.

    ``early`` is what has come already where the flow asks for that without waiting, which is not among the effects.
    ``throw`` has what is thrown into it at its n-th effect.
    """

    def __init__(
        self,
        flow: Flow[Any],
        received: Iterable[bytes] = (),
        *,
        early: Iterable[bytes] = (),
        answer: Answer = accept,
        dial: AddressLiteral | None = None,
        throw: dict[int, Exception] | None = None,
    ) -> None:
        self.effects: list[Effect] = []
        self.result: Any = None
        self.error: Exception | None = None
        arriving, before = iter(received), iter(early)
        throw = throw or {}
        try:
            effect = next(flow)
            while True:
                if isinstance(effect, Receive) and effect.timeout == 0:
                    there = next(before, None)
                    effect = flow.throw(TIMED_OUT) if there is None else flow.send(there)
                    continue
                number = len(self.effects)
                self.effects.append(effect)
                if number in throw:
                    effect = flow.throw(throw[number])
                    continue
                said: object = None
                match effect:
                    case Dial():
                        said = dial
                    case Receive():
                        said = next(arriving, b"")
                    case Ask(_, subject):
                        said = answer(subject)
                    case _:
                        pass
                effect = flow.send(said)
        except StopIteration as stop:
            self.result = stop.value
        except Exception as error:
            self.error = error

    @property
    def sent(self) -> list[bytes]:
        return [bytes(effect.data) for effect in self.effects if isinstance(effect, Send)]

    @property
    def output(self) -> bytes:
        return b"".join(self.sent)

    @property
    def codes(self) -> list[int]:
        """Of the replies that a server has sent."""
        return [int(line[:3]) for line in self.output.split(b"\r\n") if line[3:4] == b" "]

    @property
    def asked(self) -> list[Event | Question]:
        return [effect.subject for effect in self.effects if isinstance(effect, Ask)]

    @property
    def closes(self) -> bool:
        """It closes once, at its end."""
        closed = [n for n, effect in enumerate(self.effects) if isinstance(effect, Close)]
        return closed == [len(self.effects) - 1]

    def failed(self, kind: type[Exception]) -> Any:
        assert type(self.error) is kind, self.error
        return self.error


def closed_at(flow: Flow[Any], received: Iterable[bytes], number: int) -> None:
    """Give the flow up at its n-th effect."""
    arriving = iter(received)
    effect = next(flow)
    for _ in range(number):
        if isinstance(effect, Receive) and effect.timeout == 0:
            effect = flow.throw(TIMED_OUT)
        effect = flow.send(next(arriving, b"") if isinstance(effect, Receive) else None)
    flow.close()
    with pytest.raises(StopIteration):
        next(flow)


# Effects -----------------------------------------------------------------------------------------------------------


def test_effects_are_values() -> None:
    assert Send(b"x", 3) == Send(b"x", 3) != Send(b"x", 4)
    assert Receive() == Receive(None, continued=False) != Receive(continued=True)
    assert Close() == Close()
    assert Dial("a", 25, None, 3) != Dial("b", 25, None, 3)
    assert flows.StartTls("a", None) != flows.StartTls(None, None)
    assert Ask(Verify("u", "p")) == Ask(Verify("u", "p"))
    assert flows.Wait(1.5) == flows.Wait(1.5) != flows.Wait(2)
    assert flows.Wait(1.5).timeout == 1.5


def test_effects_show_no_secret() -> None:
    assert repr(Send(bytes(PLAIN))) == f"Send(<{len(bytes(PLAIN))} octets>)"
    assert SECRET not in repr(Ask(Verify("user", SECRET)))


def test_ending_does_not_mind() -> None:
    run = Run(ending(Send(b"x"), Close()), throw={0: TIMED_OUT, 1: ShutDown()})
    assert (run.effects, run.error) == ([Send(b"x"), Close()], None)


def test_the_watcher_that_does_not_care() -> None:
    flows.ignore(ConnectionClosed((), None, True))


# connect -----------------------------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "host": "mx.example",
    "username": "user",
    "password": SECRET,
    "authenticate": True,
    "client_name": "me.example",
    "timeouts": TIMEOUTS,
}
FULL_REPLIES = [HI, ehlo("STARTTLS"), GO, ehlo("AUTH PLAIN"), b"235 ok\r\n"]
FULL_EFFECTS: list[Effect] = [
    Dial("mx.example", 25, None, 1),
    Receive(3),
    Send(b"EHLO me.example\r\n", 4),
    Receive(4),
    Send(b"STARTTLS\r\n", 5),
    Receive(5),
    flows.StartTls("mx.example", 2),
    Send(b"EHLO me.example\r\n", 4),
    Receive(4),
    Send(bytes(PLAIN), 5),
    Receive(5),
]
STAGES = [
    Stage.DIAL,
    Stage.GREETING,
    Stage.HELLO,
    Stage.HELLO,
    Stage.STARTTLS,
    Stage.STARTTLS,
    Stage.TLS,
    Stage.HELLO,
    Stage.HELLO,
    Stage.AUTHENTICATION,
    Stage.AUTHENTICATION,
]
EACH_EFFECT = list(enumerate(STAGES))


def connect(watch: flows.Watcher = flows.ignore, **fields: Any) -> Flow[Connected]:
    fields.setdefault("host", "mx.example")
    fields.setdefault("timeouts", TIMEOUTS)
    return flows.connect(Connector(ConnectOptions(**fields)), watch)


def test_connect_in_order() -> None:
    events: list[Event] = []
    run = Run(connect(events.append, **FULL), FULL_REPLIES)
    assert run.error is None
    assert run.effects == FULL_EFFECTS
    assert [type(event) for event in events] == [
        Greeting,
        EhloReply,
        StartTlsReady,
        EhloReply,
        AuthNeeded,
        AuthSucceeded,
        Connected,
    ]
    assert run.result is events[-1]
    assert isinstance(run.result, Connected)


@pytest.mark.rfc("4954", "14")
@pytest.mark.parametrize("security", [Security.REQUIRED, Security.OPPORTUNISTIC, Security.IMPLICIT])
@pytest.mark.parametrize(
    "given", [{"host": "mx.example"}, {"host": None, "host_name": "mx.example", "host_address": "192.0.2.1"}]
)
def test_the_name_that_the_certificate_must_have_is_not_the_servers_word(
    security: Security, given: dict[str, Any]
) -> None:
    greeting, hello = b"220 other.example\r\n", b"250-other.example\r\n250 STARTTLS\r\n"
    replies = [greeting, hello] if security is Security.IMPLICIT else [greeting, hello, GO, hello]
    run = Run(connect(**given, security=security), replies)
    assert isinstance(run.result, Connected)
    assert [each.host_name for each in run.effects if isinstance(each, flows.StartTls)] == ["mx.example"]


def test_the_program_sees_an_event_before_what_it_leads_to_is_written() -> None:
    order: list[object] = []

    def writing(flow: Flow[Connected]) -> Flow[Connected]:
        answer: object = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration as stop:
                connected: Connected = stop.value
                return connected
            if isinstance(effect, Send):
                order.append(effect.data[:4])
            answer = yield effect

    Run(writing(connect(order.append, **FULL)), FULL_REPLIES)
    shown = [each if isinstance(each, bytes) else type(each).__name__ for each in order]
    assert shown == [
        "Greeting",
        b"EHLO",
        "EhloReply",
        b"STAR",
        "StartTlsReady",
        b"EHLO",
        "EhloReply",
        "AuthNeeded",
        b"AUTH",
        "AuthSucceeded",
        "Connected",
    ]


def test_connect_with_implicit_tls() -> None:
    run = Run(connect(port=465, host_name="cert.example", host="", host_address="192.0.2.1"), [HI, ehlo()])
    assert run.effects[:3] == [Dial("192.0.2.1", 465, None, 1), flows.StartTls("cert.example", 2), Receive(3)]
    assert run.result.tls


def test_connect_by_a_unix_socket() -> None:
    run = Run(connect(host=None, path="/run/lmtp", lmtp=True), [HI, ehlo()])
    assert run.effects[0] == Dial("", 24, "/run/lmtp", 1)
    assert run.sent == [b"LHLO localhost\r\n"]


def test_connect_waits_for_ever_where_it_may() -> None:
    run = Run(connect(timeout=0), [HI, ehlo()])
    assert {effect.timeout for effect in run.effects} == {None}


@pytest.mark.rfc("5321", "4.1.3")
@pytest.mark.rfc("5321", "2.3.5")
@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.rfc("5321", "4.1.4")
def test_the_address_of_this_end_is_what_ehlo_says_unless_a_name_is_given() -> None:
    literal = AddressLiteral.of("2001:db8::1")
    assert Run(connect(), [HI, ehlo()], dial=literal).sent == [b"EHLO [IPv6:2001:db8::1]\r\n"]
    assert Run(connect(client_name="own.example"), [HI, ehlo()], dial=literal).sent == [b"EHLO own.example\r\n"]
    connector = Connector(ConnectOptions(host="mx.example"), client_name="found.example")
    assert Run(flows.connect(connector), [HI, ehlo()]).sent == [b"EHLO found.example\r\n"]


@pytest.mark.parametrize("cut", [whole, octets])
def test_receive_is_continued_exactly_when_no_event_came_between(cut: Callable[[bytes], list[bytes]]) -> None:
    run = Run(connect(**FULL), [piece for reply in FULL_REPLIES for piece in cut(reply)])
    assert isinstance(run.result, Connected)
    before: Effect | None = None
    for effect in run.effects:
        if isinstance(effect, Receive):
            assert effect.continued is isinstance(before, Receive)
        before = effect
    expected = 0 if cut is whole else sum(len(reply) - 1 for reply in FULL_REPLIES)
    assert sum(isinstance(effect, Receive) and effect.continued for effect in run.effects) == expected
    assert run.output == b"".join(effect.data for effect in FULL_EFFECTS if isinstance(effect, Send))


@pytest.mark.rfc("5321", "4.5.3.2")
@pytest.mark.parametrize(("number", "stage"), EACH_EFFECT)
@pytest.mark.parametrize("closing_fails", [False, True])
def test_timeout_at_each_effect(number: int, stage: Stage, closing_fails: bool) -> None:
    throw: dict[int, Exception] = {number: TIMED_OUT}
    if closing_fails:
        throw[number + 1] = RESET
    run = Run(connect(**FULL), FULL_REPLIES, throw=throw)
    failure = run.failed(AuthenticationFailed if stage is Stage.AUTHENTICATION else ConnectFailed)
    assert (failure.code, failure.stage, failure.reply) == (ErrorCode[f"{stage.name}_TIMED_OUT"], stage, None)
    assert failure.retryable
    assert failure.__cause__ is TIMED_OUT
    assert stage.value in str(failure)
    # The server owes an answer, or is not there: nothing may be said any more.
    assert run.effects == [*FULL_EFFECTS[: number + 1], Close()]


@pytest.mark.parametrize(("number", "stage"), EACH_EFFECT)
@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.NAME_NOT_FOUND,
        ErrorCode.CONNECTION_REFUSED,
        ErrorCode.UNREACHABLE,
        ErrorCode.CLOSED_BY_PEER,
        ErrorCode.INVALID_ARGUMENT,
        ErrorCode.TLS_HANDSHAKE_FAILED,
        ErrorCode.CERTIFICATE_NOT_TRUSTED,
        ErrorCode.WRONG_HOST_NAME,
    ],
)
def test_other_failures_of_the_transport_at_each_effect(number: int, stage: Stage, code: ErrorCode) -> None:
    run = Run(connect(**FULL), FULL_REPLIES, throw={number: TransportError("what went wrong", code)})
    failure = run.failed(AuthenticationFailed if stage is Stage.AUTHENTICATION else ConnectFailed)
    assert (failure.code, failure.stage, str(failure)) == (code, stage, "what went wrong")
    assert run.effects == [*FULL_EFFECTS[: number + 1], Close()]


@pytest.mark.parametrize("number", range(len(FULL_EFFECTS)))
def test_connect_is_given_up_at_each_effect(number: int) -> None:
    closed_at(connect(**FULL), FULL_REPLIES, number)


@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("3207", "6")
def test_plaintext_instead_of_tls() -> None:
    not_tls = NotTls("it speaks plaintext")
    run = Run(connect(**FULL), FULL_REPLIES, throw={6: not_tls})
    failure = run.failed(ConnectFailed)
    # The same as octets that come together with the 220.
    assert (failure.code, failure.stage) == (ErrorCode.PROTOCOL_ERROR, Stage.TLS)
    assert run.effects == [*FULL_EFFECTS[:7], Close()]

    together = Run(connect(**FULL), [HI, ehlo("STARTTLS"), GO + b"250 injected\r\n"])
    failure = together.failed(ConnectFailed)
    assert (failure.code, failure.stage) == (ErrorCode.PROTOCOL_ERROR, Stage.TLS)
    assert together.effects == [*FULL_EFFECTS[:6], Close()]

    run = Run(connect(port=465), [HI, ehlo()], throw={1: not_tls})
    failure = run.failed(ConnectFailed)
    assert (failure.code, failure.stage) == (ErrorCode.TLS_HANDSHAKE_FAILED, Stage.TLS)
    assert isinstance(run.effects[-1], Close)


@pytest.mark.rfc("5321", "4.1.1.10")
@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.parametrize(
    ("replies", "farewell"),
    [
        ([b"554 no service\r\n"], True),
        ([HI, b"450 later\r\n"], True),
        ([HI, ehlo("SIZE")], True),
        ([HI, ehlo("STARTTLS"), b"454 no\r\n"], True),
        ([HI, ehlo("STARTTLS"), GO, ehlo()], True),
        ([HI, ehlo("STARTTLS"), GO, ehlo("AUTH PLAIN"), b"535 no\r\n"], True),
        ([b"554 no\r\n421 bye\r\n"], False),
        ([b"421 bye\r\n"], False),
        ([HI + b"421 bye\r\n"], False),
        ([], False),
        ([HI], False),
        ([HI, ehlo("STARTTLS"), GO], False),
        ([HI, ehlo("STARTTLS"), GO, ehlo("AUTH LOGIN"), b"334 \r\n", b"421 bye\r\n"], False),
        ([HI, ehlo("STARTTLS"), GO, ehlo("AUTH PLAIN"), b"334 eA==\r\n", b"334 eA==\r\n"], False),
    ],
)
def test_polite_quit_where_it_may_be_sent(replies: list[bytes], farewell: bool) -> None:
    run = Run(connect(**FULL), replies)
    assert isinstance(run.error, ConnectFailed)
    assert (run.sent[-1:] == [b"QUIT\r\n"]) is farewell
    assert run.output.count(b"QUIT") == farewell
    assert run.closes
    if farewell:
        assert isinstance(run.effects[-2], Send)
        # Nobody wants to hear that QUIT could not be written.
        again = Run(connect(**FULL), replies, throw={len(run.effects) - 2: RESET, len(run.effects) - 1: RESET})
        assert str(again.error) == str(run.error)
        assert again.effects == run.effects


@pytest.mark.parametrize(
    "replies",
    [
        [b"HTTP/1.1 400 Bad Request\r\n"],
        [b"220 h"],
        [HI + b"250 injected\r\n"],
        [HI, b"250-a\r\n550 b\r\n"],
        [b"220 hi\n"],
    ],
)
def test_server_that_breaks_the_protocol(replies: list[bytes]) -> None:
    run = Run(connect(**FULL), replies)
    failure = run.failed(ConnectFailed)
    assert failure.code is ErrorCode.PROTOCOL_ERROR
    assert isinstance(failure.__cause__, RemoteProtocolError)
    assert "protocol" in str(failure)
    assert b"QUIT" not in run.output
    assert run.closes


def test_protocol_error_while_authenticating() -> None:
    run = Run(connect(**FULL), [*FULL_REPLIES[:4], b"235-ok\r\n250 ok\r\n"])
    assert run.failed(AuthenticationFailed).code is ErrorCode.PROTOCOL_ERROR


REPLIES = st.lists(
    st.sampled_from([*FULL_REPLIES, b"421 bye\r\n", b"554 no\r\n", b"334 \r\n"]) | st.binary(min_size=1), max_size=9
)


@given(REPLIES, st.dictionaries(st.integers(0, 12), st.sampled_from([TIMED_OUT, RESET, NotTls("no")]), max_size=2))
def test_connect_ends_well_or_with_one_error_and_closed(replies: list[bytes], throw: dict[int, Exception]) -> None:
    run = Run(connect(**FULL), replies, throw=throw)
    if run.error is None:
        assert isinstance(run.result, Connected)
        assert Close() not in run.effects
    else:
        assert isinstance(run.error, ConnectFailed)
        assert run.closes
        assert SECRET not in str(run.error)


# command -----------------------------------------------------------------------------------------------------------


def ready(*keywords: str, secure: bool = True) -> ClientConnection:
    """A connection after its EHLO."""
    connection = ClientConnection(secure=secure, timeouts=TIMEOUTS)
    connection.receive_data(HI)
    connection.next_event()
    connection.send(Ehlo("me.example"))
    connection.receive_data(ehlo("PIPELINING", "CHUNKING", "AUTH PLAIN LOGIN", *keywords))
    connection.next_event()
    return connection


@pytest.mark.parametrize(
    "reply", [b"250 ok\r\n", b"250-a\r\n250 b\r\n", b"550 no\r\n", b"450 later\r\n", b"530 auth\r\n"]
)
def test_command_returns_its_reply_also_where_it_refuses(reply: bytes) -> None:
    events: list[Event] = []
    connection = ready()
    run = Run(flows.command(connection, Mail("a@b.example"), events.append), octets(reply))
    waits = [Receive(300, continued=n > 0) for n in range(len(reply))]
    assert run.effects == [Send(b"MAIL FROM:<a@b.example>\r\n", 300), *waits]
    assert bytes(run.result) == reply
    assert len(events) == 1
    assert isinstance(events[0], ReplyReceived)
    assert events[0].reply is run.result


@pytest.mark.parametrize("command", [Noop(), Rset(), Vrfy("a"), Expn("a"), Help(), Ehlo("x"), Mail("a@b.c")])
def test_commands_of_one_line(command: Command) -> None:
    run = Run(flows.command(ready(), command), [b"250 ok\r\n"])
    assert run.sent == [bytes(command)]
    assert run.result == Reply(250, "ok")


@pytest.mark.parametrize(
    "command",
    [
        PLAIN,
        AuthResponse(b"x"),
        Bdat(1),
        Burl("imap://x/"),
        Connect(),
        Data(),
        EndOfData(),
        Quit(),
        StartTls(),
    ],
)
def test_commands_that_are_a_conversation_are_refused(command: Command) -> None:
    connection = ready("STARTTLS", "BURL")
    run = Run(flows.command(connection, command), [b"250 ok\r\n"])
    error = run.failed(LocalProtocolError)
    assert (command.verb or type(command).__name__) in str(error)
    assert SECRET not in str(error)
    assert run.effects == []
    assert Run(flows.command(connection, Noop()), [b"250 ok\r\n"]).result == Reply(250, "ok")


def test_command_that_may_not_be_sent_now() -> None:
    connection = ready()
    assert Run(flows.command(connection, Rcpt("a@b.c"))).effects == []
    run = Run(flows.command(connection, Rcpt("a@b.c")))
    assert "out of sequence" in str(run.failed(LocalProtocolError))
    assert Run(flows.command(connection, Noop()), [b"250 ok\r\n"]).result == Reply(250, "ok")


@pytest.mark.rfc("5321", "3.8")
def test_421_is_the_reply_and_closes() -> None:
    events: list[Event] = []
    connection = ready()
    run = Run(flows.command(connection, Noop(), events.append), [b"421 bye\r\n"])
    assert run.result == Reply(421, "bye")
    assert run.closes
    assert events == [ServiceClosing(Noop(), Reply(421, "bye"))]
    assert Run(flows.command(connection, Noop())).failed(LocalProtocolError)
    run = Run(flows.command(ready(), Noop()), [b"421 bye\r\n"], throw={2: RESET})
    assert run.result == Reply(421, "bye")


@pytest.mark.rfc("5321", "3.8")
@pytest.mark.parametrize("code", [421, 451, 554])
def test_the_server_has_left_in_one_packet_with_the_reply_before(code: int) -> None:
    """The same as if it came a moment later, but that the command is not sent."""
    connection = ready()
    bye = Reply(code, "bye")
    assert Run(flows.command(connection, Noop()), [b"250 ok\r\n" + bytes(bye)]).result == Reply(250, "ok")
    events: list[Event] = []
    run = Run(flows.command(connection, Rset(), events.append))
    assert run.result == bye
    assert run.effects == [Close()]
    assert events == [ServiceClosing(Unsolicited(), bye)]
    assert connection.state is CLOSED


@pytest.mark.parametrize("stray", [b"250 stray\r\n", b"2", b"x", b"421 b"])
def test_a_reply_too_many_is_never_the_next_commands(stray: bytes) -> None:
    connection = ready()
    assert Run(flows.command(connection, Noop()), [b"250 a\r\n" + stray]).result == Reply(250, "a")
    run = Run(flows.command(connection, Mail("a@b.c")), [b"250 never\r\n"])
    assert isinstance(run.failed(RemoteProtocolError), RemoteProtocolError)
    assert run.effects == []


@pytest.mark.parametrize("stray", [b"250 stray\r\n", b"2", b"x", b"421 b"])
def test_a_reply_too_many_in_a_later_packet_is_never_the_next_commands(stray: bytes) -> None:
    """It has come between the two conversations: what is there is looked at before the second begins."""
    connection = ready()
    assert Run(flows.command(connection, Noop()), [b"250 a\r\n"]).result == Reply(250, "a")
    run = Run(flows.command(connection, Mail("a@b.c")), [b"250 never\r\n"], early=[stray])
    assert isinstance(run.failed(RemoteProtocolError), RemoteProtocolError)
    assert run.effects == []


@pytest.mark.rfc("5321", "3.8")
def test_421_between_two_conversations_is_the_reply_to_the_second() -> None:
    run = Run(flows.command(ready(), Noop()), early=[b"421 4.4.2 idle too long\r\n"])
    assert run.result == Reply(421, "4.4.2 idle too long")
    assert run.effects == [Close()]


def test_the_server_has_gone_between_two_conversations() -> None:
    run = Run(flows.command(ready(), Noop()), early=[b""])
    assert run.failed(TransportError).code is ErrorCode.CLOSED_BY_PEER
    assert run.effects == []


def test_looking_for_what_has_come_lets_the_errors_out() -> None:
    flow = flows.command(ready(), Noop())
    assert next(flow) == Receive(0)
    with pytest.raises(TransportError, match="reset"):
        flow.throw(RESET)


def test_reply_of_a_conversation_that_was_given_up_is_never_the_next_commands() -> None:
    connection = ready()
    closed_at(flows.command(connection, Rset()), [], 1)
    run = Run(flows.command(connection, Mail("a@b.c")), [b"250 reset\r\n"])
    assert "RSET is not answered" in str(run.failed(LocalProtocolError))
    assert run.effects == []
    run = Run(flows.quit(connection))
    assert run.effects == [Close()]


def test_the_server_closes_without_an_answer() -> None:
    events: list[Event] = []
    run = Run(flows.command(ready(), Mail("a@b.example"), events.append))
    error = run.failed(TransportError)
    assert error.code is ErrorCode.CLOSED_BY_PEER
    assert "MAIL FROM:<a@b.example>" in str(error)
    assert "250-mx.example" in str(error)
    assert isinstance(events[-1], ConnectionClosed)


def test_the_stream_has_ended_before() -> None:
    connection = ready()
    connection.receive_data(b"")
    run = Run(flows.command(connection, Noop()))
    assert run.effects == []
    assert run.failed(TransportError).code is ErrorCode.CLOSED_BY_PEER
    assert "NOOP" in str(run.error)


def test_command_lets_the_errors_out() -> None:
    assert Run(flows.command(ready(), Noop()), throw={0: RESET}).error is RESET
    assert Run(flows.command(ready(), Noop()), throw={1: TIMED_OUT}).error is TIMED_OUT
    run = Run(flows.command(ready(), Noop()), [b"hello\r\n"])
    run.failed(RemoteProtocolError)
    run = Run(flows.command(ready(), Noop()), [b"250 o"])
    run.failed(RemoteProtocolError)


@pytest.mark.parametrize("number", [0, 1])
def test_command_is_given_up(number: int) -> None:
    closed_at(flows.command(ready(), Noop()), [], number)


# authenticate ------------------------------------------------------------------------------------------------------


def authenticate(connection: ClientConnection, watch: flows.Watcher = flows.ignore, **options: Any) -> Flow[Reply]:
    return flows.authenticate(connection, Authenticator(connection, Credentials("user", SECRET), **options), watch)


def test_authenticate() -> None:
    events: list[Event] = []
    run = Run(authenticate(ready(), events.append), [b"235 2.7.0 ok\r\n"])
    assert run.effects == [Send(bytes(PLAIN), 5), Receive(5)]
    assert run.result == Reply(235, "2.7.0 ok")
    assert [type(event) for event in events] == [AuthSucceeded]

    connection = ready()
    run = Run(authenticate(connection, mechanisms=["LOGIN"]), [b"334 \r\n", b"334 \r\n", b"235 ok\r\n"])
    assert run.sent == [b"AUTH LOGIN\r\n", bytes(AuthResponse(b"user")), bytes(AuthResponse(SECRET.encode()))]
    assert connection.authenticated


def test_authentication_refused_leaves_the_session_open() -> None:
    connection = ready()
    run = Run(authenticate(connection), [b"535 no\r\n"])
    assert run.failed(AuthenticationFailed).code is ErrorCode.AUTHENTICATION_REFUSED
    assert Close() not in run.effects
    assert Run(flows.command(connection, Noop()), [b"250 ok\r\n"]).result == Reply(250, "ok")


def test_authentication_and_421() -> None:
    run = Run(authenticate(ready()), [b"421 bye\r\n"])
    error = run.failed(AuthenticationFailed)
    assert (error.code, error.reply) == (ErrorCode.SERVICE_NOT_AVAILABLE, Reply(421, "bye"))
    assert run.closes


def test_authentication_and_a_server_that_goes() -> None:
    run = Run(authenticate(ready()))
    assert "AUTH PLAIN" in str(run.failed(TransportError))
    assert SECRET not in str(run.error)
    assert bytes(PLAIN).decode()[11:-2] not in str(run.error)
    run = Run(authenticate(ready(), mechanisms=["LOGIN"]), [b"334 \r\n", b"334 \r\n"])
    assert "AuthResponse" in str(run.failed(TransportError))
    assert Run(authenticate(ready()), throw={1: TIMED_OUT}).error is TIMED_OUT


# quit --------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.1.1.10")
@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.parametrize(
    "reply", [b"221 bye\r\n", b"250 ok\r\n", b"500 what\r\n", b"421 bye\r\n", b"", b"22", b"hello\r\n"]
)
def test_quit_tolerates_whatever_comes(reply: bytes) -> None:
    run = Run(flows.quit(ready()), [reply])
    assert run.error is None
    assert run.effects[:2] == [Send(b"QUIT\r\n", 5), Receive(5)]
    assert isinstance(run.effects[-1], Close)


@pytest.mark.rfc("5321", "4.1.1.10")
def test_quit_shows_the_reply() -> None:
    events: list[Event] = []
    Run(flows.quit(ready(), events.append), [b"221 bye\r\n"])
    assert events == [ReplyReceived(Quit(), Reply(221, "bye"))]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("error", [RESET, TIMED_OUT])
def test_quit_tolerates_failures_of_the_transport(number: int, error: TransportError) -> None:
    run = Run(flows.quit(ready()), [b"221 bye\r\n"], throw={number: error})
    assert run.error is None
    assert run.closes


def test_quit_where_it_may_not_be_sent() -> None:
    connection = ready()
    Run(flows.command(connection, Noop()), [b"421 bye\r\n"])
    assert Run(flows.quit(connection)).effects == [Close()]
    # In the middle of the content, or of an exchange, QUIT would be a part of that.
    connection = ready()
    for command, reply in ((Mail("a@b.c"), b"250 ok\r\n"), (Rcpt("a@b.c"), b"250 ok\r\n"), (Data(), b"354 go\r\n")):
        connection.send(command)
        connection.receive_data(reply)
        connection.next_event()
    assert Run(flows.quit(connection)).effects == [Close()]


@pytest.mark.parametrize("stray", [b"250 b\r\n", b"2"])
def test_quit_after_a_reply_too_many(stray: bytes) -> None:
    connection = ready()
    Run(flows.command(connection, Noop()), [b"250 a\r\n" + stray])
    run = Run(flows.quit(connection))
    assert (run.error, run.effects) == (None, [Close()])


def test_quit_to_a_server_that_has_left() -> None:
    connection = ready()
    Run(flows.command(connection, Noop()), [b"250 a\r\n421 bye\r\n"])
    run = Run(flows.quit(connection))
    assert run.error is None
    assert set(run.effects) == {Close()}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_quit_is_given_up(number: int) -> None:
    closed_at(flows.quit(ready()), [b"221 bye\r\n"], number)


# serve: linked with the client -------------------------------------------------------------------------------------

USERS = {"user": SECRET}


def knows(subject: Event | Question) -> Reply | bool | None:
    if isinstance(subject, Verify):
        return USERS.get(subject.username) == subject.password and not subject.authorization_id
    return None


CUTS: list[Callable[[bytes], list[bytes]]] = [whole, octets, lambda data: pieces(data, [1, 3, 7, 20])]
MODES: list[tuple[str, dict[str, Any], dict[str, Any], list[type[Event]]]] = [
    ("plain HELO", {"extended": False}, {}, [Greeting, HeloReply, Connected]),
    ("EHLO", {"security": Security.NONE}, {"starttls": True}, [Greeting, EhloReply, Connected]),
    ("opportunistic", {}, {}, [Greeting, EhloReply, Connected]),
    ("STARTTLS", {}, {"starttls": True}, [Greeting, EhloReply, StartTlsReady, EhloReply, Connected]),
    (
        "submission",
        {"port": 587},
        {"starttls": True, "require_tls": True, "auth": auth("PLAIN", required=True)},
        [Greeting, EhloReply, StartTlsReady, EhloReply, AuthNeeded, Connected],
    ),
    ("implicit", {"port": 2465, "security": Security.IMPLICIT}, {}, [Greeting, EhloReply, Connected]),
    ("LMTP", {"lmtp": True}, {"lmtp": True}, [Greeting, EhloReply, Connected]),
    (
        "LMTP and STARTTLS",
        {"lmtp": True, "security": Security.REQUIRED},
        {"lmtp": True, "starttls": True},
        [Greeting, EhloReply, StartTlsReady, EhloReply, Connected],
    ),
]


def linked(
    options: dict[str, Any],
    service: dict[str, Any],
    *,
    answer: Callable[[Event | Question], Reply | bool | None] = knows,
    cut: Callable[[bytes], Iterable[bytes]] = whole,
    watch: flows.Watcher = flows.ignore,
    then: Callable[[ClientConnection], Flow[Any]] | None = None,
) -> tuple[Any, ServiceSession]:
    connector = Connector(ConnectOptions(host="mx.example", **options), client_name="me.example")
    implicit = connector.target.security is Security.IMPLICIT
    session = ServiceSession(Service("mx.example", **service), secure=implicit)
    server = flows.serve(session, implicit_tls=implicit)

    def client() -> Flow[Any]:
        connected = yield from flows.connect(connector, watch)
        return connected if then is None else (yield from then(connector.connection))

    return link(client(), server, answer=answer, cut=cut), session


@pytest.mark.parametrize(("mode", "options", "service", "expected"), MODES, ids=[mode[0] for mode in MODES])
@pytest.mark.parametrize("cut", CUTS, ids=["whole", "octets", "pieces"])
def test_client_and_server_linked(
    mode: str,
    options: dict[str, Any],
    service: dict[str, Any],
    expected: list[type[Event]],
    cut: Callable[[bytes], list[bytes]],
) -> None:
    events: list[Event] = []
    connected, session = linked(options, service, cut=cut, watch=events.append)
    assert [type(event) for event in events] == expected
    assert connected.tls is (StartTlsReady in expected or mode == "implicit")
    assert connected.extended is (mode != "plain HELO")
    assert connected.greeting.domain == "mx.example"
    # Each end knows the same of the other: linking says 127.0.0.1 when it is dialled.
    assert session.hello == "[127.0.0.1]"
    assert session.connection.secure is connected.tls
    assert session.connection.extensions == connected.extensions


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("security", [Security.REQUIRED, Security.IMPLICIT])
@pytest.mark.parametrize("cut", CUTS, ids=["whole", "octets", "pieces"])
def test_authentication_linked(mechanism: str, security: Security, cut: Callable[[bytes], list[bytes]]) -> None:
    service = {"starttls": True, "auth": auth(mechanism, required=True)}
    options = {"security": security, "username": "user", "password": SECRET, "authenticate": True}
    _, session = linked(options, service, cut=cut)
    assert session.identity == Identity("user")
    assert session.connection.authenticated
    assert session.errors == 0

    with pytest.raises(AuthenticationFailed) as caught:
        linked({**options, "password": "wrong"}, service, cut=cut)
    assert caught.value.code is ErrorCode.AUTHENTICATION_REFUSED
    assert caught.value.reply is not None
    assert caught.value.reply.code == 535


def test_authentication_with_a_long_password_linked() -> None:
    long = "p" * 600
    options = {"security": Security.IMPLICIT, "username": "user", "password": long, "authenticate": True}
    _, session = linked(options, {"auth": auth("PLAIN")}, answer=lambda subject: isinstance(subject, Verify) or None)
    assert session.identity == Identity("user")


def test_authentication_after_connecting_linked() -> None:
    options = {"security": Security.REQUIRED, "username": "user", "password": SECRET}
    reply, session = linked(options, {"starttls": True, "auth": auth("LOGIN")}, answer=knows, then=authenticate)
    assert reply.code == 235
    assert session.identity == Identity("user")


@pytest.mark.parametrize(
    ("flags", "tls", "extended"),
    [(Option.NONE, False, False), (Option.EXTENDED, False, True), (Option.SECURE, True, True)],
)
def test_flags_linked(flags: Option, tls: bool, extended: bool) -> None:
    options = ConnectOptions.from_flags(host="mx.example", options=flags)
    connected = link(flows.connect(Connector(options)), flows.serve(ServiceSession(Service(starttls=True))))
    assert (connected.tls, connected.extended) == (tls, extended)


def test_commands_linked() -> None:
    def talk(connection: ClientConnection) -> Flow[list[int]]:
        codes: list[int] = []
        for command in (Noop(), Vrfy("user"), Expn("list"), Help(), Mail("a@b.c"), Rset()):
            reply = yield from flows.command(connection, command)
            codes.append(reply.code)
        yield from flows.quit(connection)
        return codes

    codes, session = linked({}, {"starttls": True}, then=talk)
    assert codes == [250, 252, 502, 214, 250, 250]
    assert session.connection.state is CLOSED


# serve: under a plain list -----------------------------------------------------------------------------------------


def serve(
    *lines: bytes,
    answer: Answer = knows,
    cut: Callable[[bytes], Iterable[bytes]] | None = None,
    secure: bool = False,
    throw: dict[int, Exception] | None = None,
    watch: flows.Watcher = flows.ignore,
    **fields: Any,
) -> Run:
    """The client says each of these, and then goes."""
    fields.setdefault("timeouts", TIMEOUTS)
    session = ServiceSession(Service("mx.example", **fields), secure=secure)
    received = lines if cut is None else [piece for line in lines for piece in cut(line)]
    return Run(flows.serve(session, watch), received, answer=answer, throw=throw)


EHLO = b"EHLO me.example\r\n"
ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
QUIT = b"QUIT\r\n"


@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("2920", "3.2")
def test_serve_in_order() -> None:
    events: list[Event] = []
    run = serve(EHLO, QUIT, watch=events.append, extensions=["SIZE 5"])
    hello = b"250-mx.example greets me.example\r\n250 SIZE 5\r\n"
    assert run.effects == [
        Ask(CommandReceived(Connect())),
        Send(b"220 mx.example ESMTP ready\r\n", 6),
        Receive(6),
        Ask(CommandReceived(Ehlo("me.example"))),
        Send(hello, 6),
        Receive(6),
        Ask(CommandReceived(Quit())),
        Send(b"221 2.0.0 bye\r\n", 6),
        Close(),
    ]
    assert (run.error, run.result) == (None, None)
    assert events == [CommandReceived(Ehlo("me.example")), CommandReceived(Quit())]


@pytest.mark.rfc("2920", "3.2")
def test_replies_to_a_group_are_gathered_and_written_when_the_input_runs_out() -> None:
    group = b"RSET\r\n" + ENVELOPE + b"RCPT TO:<e@f.example>\r\nDATA\r\n"
    run = serve(EHLO, group, b".\r\n" + ENVELOPE + b"QUIT\r\n")
    assert len(run.sent) == 4
    assert run.sent[2].count(b"\r\n") == 5
    assert run.codes == [220, 250, 250, 250, 250, 250, 354, 250, 250, 250, 221]
    run = serve(EHLO, group, b".\r\n" + ENVELOPE + b"QUIT\r\n", cut=octets)
    assert run.codes == [220, 250, 250, 250, 250, 250, 354, 250, 250, 250, 221]


def test_what_is_gathered_is_bounded() -> None:
    """However many short commands come in one read, and however long the program's answers are."""
    answer = Reply(250, "x" * 2000)
    run = serve(
        EHLO,
        b"RSET\r\n" * 1000 + b"QUIT\r\n",
        answer=lambda asked: answer if asked == CommandReceived(Rset()) else None,
    )
    assert run.codes == [220, *[250] * 1001, 221]
    assert max(map(len, run.sent)) < 80_000
    assert len(run.sent) < 100


@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.parametrize("cut", CUTS, ids=["whole", "octets", "pieces"])
def test_data_transaction(cut: Callable[[bytes], list[bytes]]) -> None:
    content = b"Subject: x\r\n\r\n..a line with a dot\r\nbye\r\n.\r\n"
    run = serve(EHLO, ENVELOPE + b"DATA\r\n", content, QUIT, cut=cut)
    assert run.codes == [220, 250, 250, 250, 354, 250, 221]
    received = [each.data for each in run.asked if isinstance(each, ContentReceived)]
    assert b"".join(received) == b"Subject: x\r\n\r\n.a line with a dot\r\nbye\r\n"
    assert CommandReceived(EndOfData()) in run.asked
    assert run.closes


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("cut", CUTS, ids=["whole", "octets", "pieces"])
def test_bdat_transaction(cut: Callable[[bytes], list[bytes]]) -> None:
    chunks = b"BDAT 6\r\nQUIT\r\nBDAT 3 LAST\r\n.\r\n"
    run = serve(EHLO, ENVELOPE + chunks, QUIT, cut=cut)
    assert run.codes == [220, 250, 250, 250, 250, 250, 221]
    received = [each.data for each in run.asked if isinstance(each, ContentReceived)]
    assert b"".join(received) == b"QUIT\r\n.\r\n"
    commands = [each.command for each in run.asked if isinstance(each, CommandReceived)]
    assert commands[-3:] == [Bdat(6), Bdat(3, last=True), Quit()]


@pytest.mark.rfc("2033", "4.2")
@pytest.mark.rfc("2033", "4.3")
@pytest.mark.parametrize("content", [b"DATA\r\n", b"BDAT 3 LAST\r\nabc"])
def test_lmtp_has_one_reply_for_each_accepted_recipient(content: bytes) -> None:
    def answer(subject: Event | Question) -> Reply | None:
        match subject:
            case CommandReceived(Rcpt(forward_path="no@d.example")):
                return Reply(550, "5.1.1 no such user")
            case CommandReceived(EndOfData() | Bdat()):
                return Reply(451, "4.3.0 later")
            case _:
                return None

    group = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<no@d.example>\r\nRCPT TO:<e@d.example>\r\n"
    rest = b"x\r\n.\r\n" if content == b"DATA\r\n" else b""
    run = serve(b"LHLO me.example\r\n", group + content, rest or b"NOOP\r\n", QUIT, answer=answer, lmtp=True)
    middle = [354, 451, 451] if rest else [451, 451, 250]
    assert run.codes == [220, 250, 250, 250, 550, 250, *middle, 221]


@pytest.mark.rfc("5321", "3.8")
def test_lmtp_and_421_for_the_content() -> None:
    def answer(subject: Event | Question) -> Reply | None:
        return Reply(421, "4.3.0 out of disk") if subject == CommandReceived(EndOfData()) else None

    run = serve(
        b"LHLO x\r\n", ENVELOPE + b"RCPT TO:<e@d.example>\r\nDATA\r\n", b".\r\n", QUIT, answer=answer, lmtp=True
    )
    assert run.codes == [220, 250, 250, 250, 250, 354, 421]
    assert run.closes


# serve: what the program answers -----------------------------------------------------------------------------------


def test_the_program_answers_with_a_reply_or_leaves_it() -> None:
    def answer(subject: Event | Question) -> Reply | None:
        match subject:
            case CommandReceived(Connect()):
                return Reply(220, "own.example at your service")
            case CommandReceived(Ehlo()):
                return Reply(250, ("own.example", "SIZE 9"))
            case CommandReceived(Mail()):
                return Reply(451, "4.3.0 later")
            case BadCommand(line=b"XYZZY"):
                return Reply(250, "nothing happens")
            case _:
                return None

    run = serve(EHLO, b"MAIL FROM:<a@b.c> SIZE=5\r\n", b"XYZZY\r\n", b"HUH\r\n", QUIT, answer=answer)
    assert run.output == (
        b"220 own.example at your service\r\n250-own.example\r\n250 SIZE 9\r\n451 4.3.0 later\r\n"
        b"250 nothing happens\r\n500 5.5.1 command not recognised\r\n221 2.0.0 bye\r\n"
    )


@pytest.mark.rfc("5321", "3.1")
def test_greeting_that_refuses() -> None:
    def answer(subject: Event | Question) -> Reply | None:
        return Reply(554, "no service") if subject == CommandReceived(Connect()) else None

    run = serve(EHLO, QUIT, answer=answer)
    assert run.codes == [554, 503, 221]


@pytest.mark.rfc("5321", "3.8")
def test_421_by_the_program_ends_the_session() -> None:
    def answer(subject: Event | Question) -> Reply | None:
        return Reply(421, "4.3.2 not now") if subject == CommandReceived(Noop()) else None

    run = serve(EHLO, b"NOOP\r\nNOOP\r\n", QUIT, answer=answer)
    assert run.codes == [220, 250, 421]
    assert run.closes


def refuses_content(subject: Event | Question) -> Reply | None:
    if isinstance(subject, ContentReceived):
        return Reply(554, "5.7.1 spam") if b"spam" in subject.data else None
    return None


@pytest.mark.rfc("5321", "4.1.1.4")
def test_a_reply_to_a_piece_of_content_refuses_the_content() -> None:
    group = ENVELOPE + b"DATA\r\n"
    pieces_sent = [b"eggs\r\n", b"spam\r\n", b"spam\r\n", b".\r\n"]
    run = serve(EHLO, group, *pieces_sent, group, b"x\r\n.\r\n", answer=refuses_content)
    assert run.codes == [220, 250, 250, 250, 354, 554, 250, 250, 354, 250]
    # It is not asked about the rest, nor about the end; and the next content is another.
    pieces_asked = [each.data for each in run.asked if isinstance(each, ContentReceived)]
    assert b"".join(pieces_asked) == b"eggs\r\nspam\r\nx\r\n"
    assert run.asked.count(CommandReceived(EndOfData())) == 1


@pytest.mark.rfc("3030", "2")
def test_a_reply_to_a_piece_of_a_chunk_refuses_the_chunk() -> None:
    run = serve(EHLO, ENVELOPE + b"BDAT 4\r\nspamBDAT 4\r\neggsBDAT 0 LAST\r\nRSET\r\n", answer=refuses_content)
    assert run.codes[3:] == [250, 554, 503, 503, 250]


@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.rfc("5321", "4.1.1.4")
def test_content_that_the_engine_refuses() -> None:
    run = serve(EHLO, ENVELOPE + b"DATA\r\n", b"bare\nLF\r\n.\r\n", QUIT)
    assert run.codes == [220, 250, 250, 250, 354, 554, 221]
    # What the program has said before goes before it.
    run = serve(EHLO, ENVELOPE + b"DATA\r\n", b"spam\n\r\n.\r\n", answer=refuses_content)
    assert b"554 5.7.1 spam\r\n" in run.output


@pytest.mark.parametrize(
    ("subject", "reply"),
    [
        (CommandReceived(Connect()), Reply(250, "hi")),
        (CommandReceived(Connect()), Reply(354, "go")),
        (CommandReceived(Ehlo("me.example")), Reply(354, "go")),
        (CommandReceived(Mail("a@b.example")), Reply(354, "go")),
        (CommandReceived(Data()), Reply(250, "ok")),
        (CommandReceived(EndOfData()), Reply(354, "go")),
        (ContentReceived(b"x\r\n"), Reply(250, "ok")),
        (ContentReceived(b"x\r\n"), Reply(354, "ok")),
        (ContentReceived(b"x\r\n"), True),
        (CommandReceived(Noop()), True),
        (CommandReceived(Noop()), False),
        (CommandReceived(Noop()), "250 ok"),
    ],
)
def test_illegal_answer_by_the_program(subject: Event, reply: object) -> None:
    def answer(asked: Event | Question) -> object:
        return reply if asked == subject else None

    run = serve(EHLO, b"NOOP\r\n", ENVELOPE + b"DATA\r\n", b"x\r\n", b".\r\n", QUIT, answer=answer)
    run.failed(LocalProtocolError)
    assert run.codes[-1] == 421
    assert run.output.endswith(b"421 4.3.0 internal error, closing\r\n")
    assert run.codes.count(421) == 1
    assert run.closes


@pytest.mark.parametrize("error", [KeyError("a fault of the program"), LocalProtocolError("and of another kind")])
def test_what_is_thrown_in_where_the_program_is_asked(error: Exception) -> None:
    run = serve(EHLO, throw={3: error})
    assert run.error is error
    assert run.codes == [220, 421]
    assert run.closes
    # Also where nobody listens any more.
    run = serve(EHLO, throw={3: error, 4: RESET, 5: RESET})
    assert run.error is error
    assert run.closes


# serve: authentication ---------------------------------------------------------------------------------------------

AUTH: dict[str, Any] = {"auth": auth("PLAIN", "LOGIN", max_failures=9), "secure": True, "max_errors": 3}
RIGHT, WRONG = bytes(PLAIN), bytes(Auth("PLAIN", b"\0user\0wrong"))


def test_auth() -> None:
    run = serve(EHLO, RIGHT, QUIT, **AUTH)
    assert b"235 2.7.0 authentication succeeded\r\n" in run.output
    assert Verify("user", SECRET) in run.asked
    assert not any(isinstance(each, CommandReceived) and isinstance(each.command, Auth) for each in run.asked)
    run = serve(EHLO, WRONG, RIGHT, **AUTH)
    assert run.codes == [220, 250, 535, 235]


@pytest.mark.rfc("4954", "4")
def test_auth_in_steps() -> None:
    run = serve(EHLO, b"AUTH PLAIN\r\n", RIGHT[11:], **AUTH)
    assert run.codes == [220, 250, 334, 235]
    run = serve(EHLO, b"AUTH LOGIN\r\n", b"dXNlcg==\r\n", bytes(AuthResponse(SECRET.encode())), **AUTH)
    assert run.codes == [220, 250, 334, 334, 235]
    assert b"334 VXNlcm5hbWU6\r\n" in run.output


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"AUTH LOGIN\r\n", b"*\r\n"], 501),
        ([b"AUTH LOGIN\r\n", b"no base64!\r\n"], 501),
        ([b"AUTH LOGIN\r\n", b"\r\n"], 501),
        ([b"AUTH PLAIN AAA=\r\n"], 501),
        ([b"AUTH PLAIN =\r\n"], 501),
        ([b"AUTH GSSAPI\r\n"], 504),
        ([WRONG], 535),
    ],
)
def test_auth_fails_and_counts(lines: list[bytes], code: int) -> None:
    run = serve(EHLO, *lines, b"NOOP\r\n", *lines, *lines, **AUTH)
    codes = [each for each in run.codes if each != 334]
    assert codes == [220, 250, code, 250, code, code, 421]
    assert run.output.endswith(b"421 4.7.0 too many errors\r\n")
    assert run.closes


@pytest.mark.rfc("4954", "4")
def test_auth_twice_and_without_tls() -> None:
    assert serve(EHLO, RIGHT, RIGHT, **AUTH).codes == [220, 250, 235, 503]
    run = serve(EHLO, RIGHT, auth=auth("PLAIN"))
    assert run.codes == [220, 250, 538]
    assert b"AUTH" not in run.sent[1]
    assert serve(EHLO, RIGHT, auth=auth("PLAIN", allow_plaintext=True)).codes == [220, 250, 235]


def test_verify_is_answered_with_a_reply_that_refuses() -> None:
    def later(subject: Event | Question) -> Reply | None:
        return Reply(454, "4.7.0 ask again") if isinstance(subject, Verify) else None

    run = serve(EHLO, RIGHT, answer=later, **AUTH)
    assert run.output.endswith(b"454 4.7.0 ask again\r\n")


def test_nobody_is_known_by_default() -> None:
    run = serve(EHLO, RIGHT, answer=lambda subject: None, **AUTH)
    assert run.codes == [220, 250, 535]


@pytest.mark.parametrize("verdict", [Reply(235, "welcome"), Reply(334, ""), Reply(250, "ok"), 1, "yes", object()])
def test_verify_is_answered_with_what_is_no_answer(verdict: object) -> None:
    run = serve(EHLO, RIGHT, answer=lambda subject: verdict if isinstance(subject, Verify) else None, **AUTH)
    run.failed(LocalProtocolError)
    assert run.codes == [220, 250, 421]
    assert run.closes
    assert SECRET not in str(run.error)


def test_the_client_goes_while_it_authenticates() -> None:
    run = serve(EHLO, b"AUTH LOGIN\r\n", **AUTH)
    assert run.error is None
    assert run.codes == [220, 250, 334]
    assert run.closes


@pytest.mark.rfc("4954", "6")
def test_require_auth() -> None:
    run = serve(EHLO, ENVELOPE + b"VRFY user\r\n", RIGHT, ENVELOPE, secure=True, auth=auth("PLAIN", required=True))
    assert run.codes == [220, 250, 530, 530, 530, 235, 250, 250]


# serve: TLS --------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("3207", "4.2")
def test_starttls() -> None:
    run = serve(EHLO, b"STARTTLS\r\n", b"MAIL FROM:<a@b.c>\r\n", EHLO, QUIT, starttls=True, auth=auth("PLAIN"))
    tls = run.effects.index(flows.StartTls(None, 2))
    assert run.effects[tls - 1] == Send(b"220 2.0.0 ready to start TLS\r\n", 2)
    assert run.codes == [220, 250, 220, 503, 250, 221]
    assert b"STARTTLS" in run.sent[1]
    assert b"AUTH" not in run.sent[1]
    assert b"STARTTLS" not in run.sent[4]
    assert b"AUTH PLAIN" in run.sent[4]


@pytest.mark.rfc("3207", "4")
@pytest.mark.parametrize("behind", [b"NOOP\r\n", b"NO", EHLO + RIGHT, b"\x16\x03\x01"])
def test_no_reply_in_plaintext_at_the_tls_barrier(behind: bytes) -> None:
    """CVE-2011-0411 and kin: neither the answer to what was injected, nor any other."""
    run = serve(EHLO, b"STARTTLS\r\n" + behind, EHLO, starttls=True)
    assert run.error is None
    assert run.codes == [220, 250]
    assert run.closes
    assert flows.StartTls(None, 2) not in run.effects


@pytest.mark.rfc("3207", "4.1")
@pytest.mark.rfc("3207", "6")
@pytest.mark.parametrize(
    "error",
    [NotTls("plaintext"), TIMED_OUT, RESET, TransportError("x", ErrorCode.TLS_HANDSHAKE_FAILED), ShutDown()],
)
def test_tls_handshake_that_fails(error: Exception) -> None:
    run = serve(EHLO, b"STARTTLS\r\n", starttls=True)
    number = run.effects.index(flows.StartTls(None, 2))
    run = serve(EHLO, b"STARTTLS\r\n", starttls=True, throw={number: error})
    assert run.error is None
    assert run.effects[number:] == [flows.StartTls(None, 2), Close()]


def test_after_tls_there_is_speech_again() -> None:
    run = serve(EHLO, b"STARTTLS\r\n", starttls=True)
    number = run.effects.index(flows.StartTls(None, 2))
    run = serve(EHLO, b"STARTTLS\r\n", starttls=True, throw={number + 1: TIMED_OUT})
    assert run.codes == [220, 250, 220, 421]


def test_starttls_refused_by_the_program() -> None:
    def answer(subject: Event | Question) -> Reply | None:
        return Reply(454, "4.7.0 no TLS now") if subject == CommandReceived(StartTls()) else None

    run = serve(EHLO, b"STARTTLS\r\nNOOP\r\n", QUIT, starttls=True, answer=answer)
    assert run.codes == [220, 250, 454, 250, 221]


@pytest.mark.rfc("3207", "4")
def test_starttls_where_there_is_none() -> None:
    assert serve(EHLO, b"STARTTLS\r\n").codes == [220, 250, 502]
    assert serve(EHLO, b"STARTTLS\r\n", starttls=True, secure=True).codes == [220, 250, 503]


@pytest.mark.rfc("3207", "4")
def test_require_tls() -> None:
    lines = [EHLO, b"NOOP\r\n" + ENVELOPE + b"VRFY user\r\n", b"STARTTLS\r\n", EHLO, ENVELOPE]
    run = serve(*lines, starttls=True, require_tls=True)
    assert run.codes == [220, 250, 250, 530, 530, 530, 220, 250, 250, 250]
    assert not any(isinstance(each, CommandReceived) and isinstance(each.command, Vrfy) for each in run.asked)


# serve: how it ends ------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "3.8")
def test_too_many_errors() -> None:
    run = serve(EHLO, b"WHAT\r\n" * 25, max_errors=4)
    assert run.codes == [220, 250, 500, 500, 500, 500, 421]
    assert run.closes
    run = serve(EHLO, b"MAIL FROM:<a@b.c>\r\n" * 25, max_errors=4, auth=auth("PLAIN", required=True))
    assert run.codes == [220, 250, 530, 530, 530, 530, 421]


def test_what_the_program_refuses_is_no_error_of_the_clients() -> None:
    def answer(subject: Event | Question) -> Reply | None:
        match subject:
            case CommandReceived(Rcpt()):
                return Reply(550, "5.1.1 no such user")
            case _:
                return None

    run = serve(EHLO, b"MAIL FROM:<a@b.c>\r\n" + b"RCPT TO:<c@d.e>\r\n" * 25, answer=answer, max_errors=2)
    assert run.codes == [220, 250, 250, *[550] * 25]


def test_quit_and_too_many_errors_at_once() -> None:
    def answer(subject: Event | Question) -> Reply | None:
        return Reply(421, "4.7.0 enough") if isinstance(subject, BadCommand) else None

    assert serve(EHLO, b"WHAT\r\n", answer=answer, max_errors=1).codes == [220, 250, 421]


def waits(run: Run) -> list[int]:
    return [number for number, effect in enumerate(run.effects) if isinstance(effect, Receive)]


TALK = [EHLO, ENVELOPE + b"DATA\r\n", b"some", b" content\r\n", b".\r\n"]


@pytest.mark.rfc("5321", "4.5.3.2.7")
@pytest.mark.rfc("5321", "3.8")
@pytest.mark.parametrize("wait", range(6))
def test_timeout_at_each_wait(wait: int) -> None:
    number = waits(serve(*TALK))[wait]
    run = serve(*TALK, throw={number: TIMED_OUT})
    assert run.error is None
    assert run.output.endswith(b"421 4.4.2 waited too long, closing\r\n")
    assert run.closes
    for closing in (number + 1, number + 2):
        assert serve(*TALK, throw={number: TIMED_OUT, closing: TIMED_OUT}).error is None


@pytest.mark.rfc("5321", "4.5.3.2")
def test_the_timeouts_are_the_servers() -> None:
    run = serve(*TALK)
    seconds = [run.effects[number].timeout for number in waits(run)]
    assert seconds == [6, 6, 7, 7, 7, 6]


def test_receive_is_continued_exactly_where_nothing_came_of_the_last() -> None:
    run = serve(EHLO, ENVELOPE, b"BDAT 3\r\nabc", cut=octets)
    before: Effect | None = None
    for effect in run.effects:
        if isinstance(effect, Receive):
            assert effect.continued is isinstance(before, Receive)
        before = effect


@pytest.mark.rfc("5321", "3.8")
def test_shut_down_at_each_effect() -> None:
    run = serve(*TALK)
    for number, effect in enumerate(run.effects):
        ended = serve(*TALK, throw={number: ShutDown()})
        assert ended.error is None
        assert ended.closes
        silent = isinstance(effect, Send | Close)  # what was half written cannot be followed by anything
        assert (ended.codes[-1:] == [421]) is not silent
        assert ended.codes.count(421) <= 1
        for more in (number + 1, number + 2):
            assert serve(*TALK, throw={number: ShutDown(), more: ShutDown()}).error is None


@pytest.mark.parametrize("error", [RESET, TIMED_OUT])
def test_failure_at_each_write_ends_it_without_another(error: TransportError) -> None:
    run = serve(*TALK)
    for number, effect in enumerate(run.effects):
        if isinstance(effect, Send):
            ended = serve(*TALK, throw={number: error})
            assert ended.error is None
            assert ended.effects == [*run.effects[: number + 1], Close()]


@pytest.mark.rfc("5321", "4.1.1.5")
def test_the_client_vanishes_at_each_wait() -> None:
    run = serve(*TALK)
    for number in waits(run):
        ended = serve(*TALK, throw={number: RESET})
        assert ended.error is None
        assert ended.effects == [*run.effects[: number + 1], Close()]
    for count in range(len(TALK)):
        ended = serve(*TALK[:count])
        assert ended.error is None
        assert 421 not in ended.codes
        assert ended.closes


def test_serve_is_given_up_at_each_effect() -> None:
    for number in range(len(serve(*TALK).effects)):
        closed_at(flows.serve(ServiceSession(Service())), TALK, number)


def test_the_watcher_sees_how_it_ends() -> None:
    events: list[Event] = []
    serve(EHLO, watch=events.append)
    assert isinstance(events[-1], ConnectionClosed)


@pytest.mark.rfc("5321", "4.5.3.1.4")
@pytest.mark.parametrize("line", [b"x" * 20000, b"NOOP\nNOOP\n", b"NOOP\rNOOP\r\n", b"NOOP\0\r\n"])
def test_protocol_errors_end_it_with_their_code(line: bytes) -> None:
    run = serve(EHLO, b"NOOP\r\n" + line, QUIT)
    assert run.error is None
    assert run.codes == [220, 250, 250, 421]
    assert b"\r\n421 4.5.2 " in run.output
    assert run.closes


@pytest.mark.rfc("3030", "2")
def test_bdat_whose_size_nobody_can_tell_ends_it() -> None:
    run = serve(EHLO, ENVELOPE + b"BDAT many LAST\r\nQUIT\r\n", QUIT)
    assert run.codes == [220, 250, 250, 250, 501]
    assert b"501 5.5.2 " in run.output
    assert run.closes


@pytest.mark.rfc("5321", "3.8")
@pytest.mark.rfc("5321", "4.1.1.10")
@pytest.mark.parametrize(("line", "code"), [(b"NOOP " + b"x" * 3000, 500), (b"", 500), (b"EHLO \xff", 501)])
def test_broken_commands_do_not_end_it(line: bytes, code: int) -> None:
    assert serve(EHLO, line + b"\r\n", QUIT).codes == [220, 250, code, 221]


def test_the_last_word_is_seen_by_on_send_too() -> None:
    seen: list[Command | Reply] = []
    session = ServiceSession(Service(), on_send=seen.append)
    run = Run(flows.serve(session), throw={2: ShutDown()})
    assert run.codes == [220, 421]
    assert [reply.code for reply in seen if isinstance(reply, Reply)] == [220, 421]
    assert session.connection.state is CLOSED


@pytest.mark.rfc("5321", "4.5.3.1.10")
def test_too_many_recipients() -> None:
    run = serve(EHLO, ENVELOPE + b"RCPT TO:<x@d.e>\r\nDATA\r\n", b".\r\n", limits=Limits(recipients=1))
    assert run.codes == [220, 250, 250, 250, 452, 354, 250]


@pytest.mark.rfc("5321", "4.1.1.1")
def test_helo_and_ehlo_and_what_was_said_of_them() -> None:
    session = ServiceSession(Service("mx.example"))
    Run(flows.serve(session), [b"HELO one.example\r\n", EHLO])
    assert session.hello == "me.example"
    assert Run(flows.serve(ServiceSession(Service("x", lmtp=True))), [b"EHLO me\r\n"]).codes == [220, 500]
    assert isinstance(Lhlo("x"), Command)


LINES = st.sampled_from(
    [
        EHLO,
        b"HELO x\r\n",
        ENVELOPE,
        b"MAIL FROM:<>\r\n",
        b"DATA\r\n",
        b"x\r\n",
        b".\r\n",
        b"BDAT 4\r\n",
        b"BDAT 2 LAST\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH PLAIN AHVzZXIAcA==\r\n",
        b"*\r\n",
        b"dXNlcg==\r\n",
        b"STARTTLS\r\n",
        b"HELP\r\n",
        b"VRFY x\r\n",
        QUIT,
    ]
)
SERVICES: list[dict[str, Any]] = [
    {},
    {"lmtp": True},
    {"starttls": True, "auth": auth("PLAIN", "LOGIN"), "max_errors": 3},
    {"auth": auth("PLAIN", "LOGIN", allow_plaintext=True, required=True)},
    {"starttls": True, "require_tls": True},
]


@given(
    lines=st.lists(LINES | st.binary(min_size=1, max_size=12), max_size=20),
    together=st.booleans(),
    service=st.sampled_from(SERVICES),
)
def test_whatever_the_client_sends(lines: Sequence[bytes], together: bool, service: dict[str, Any]) -> None:
    run = serve(*([b"".join(lines)] if together and lines else lines), **service)
    assert run.error is None
    assert run.closes
    assert run.codes[0] == 220
    assert run.codes.count(421) <= 1
    assert 421 not in run.codes[:-1]


@given(
    lines=st.lists(LINES, max_size=12), cuts=st.lists(st.integers(0, 60), max_size=6), service=st.sampled_from(SERVICES)
)
def test_cuts_change_nothing_for_the_server(lines: list[bytes], cuts: list[int], service: dict[str, Any]) -> None:
    # Behind STARTTLS it is a matter of the packets what is plaintext and what is not.
    lines = [line for line in lines if line != b"STARTTLS\r\n"]
    run = serve(*lines, **service)
    assert serve(*lines, cut=octets, **service).output == run.output
    assert serve(*lines, cut=lambda data: pieces(data, cuts), **service).output == run.output
