"""The server's half: one command at a time, the reply that the RFC wants for what is wrong, and octets never astray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import (
    EXTENSIONS,
    NEED_DATA,
    PAUSED,
    Auth,
    AuthResponse,
    BadCommand,
    Bdat,
    Command,
    CommandReceived,
    Connect,
    ConnectionClosed,
    ContentReceived,
    Data,
    EarlyTalker,
    Ehlo,
    EndOfData,
    Event,
    Expn,
    Helo,
    Limits,
    LocalProtocolError,
    Mail,
    Noop,
    Pause,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    Rset,
    ServerConnection,
    StartTls,
    StartTlsReady,
    State,
    Timeouts,
    UnknownCommand,
    Vrfy,
    testing,
)
from smtpproto.commands.base import KNOWN_VERBS
from smtpproto.content import Unstuffer
from smtpproto.lines import LineBuffer
from smtpproto.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS
from smtpproto.states import BadLine
from tests import strategies
from tests.driving import EVERYTHING, events, give, look, mailing_server, ready_server, receive


def bad(server: ServerConnection, data: bytes) -> BadCommand:
    """The refusal of a line."""
    (event,) = receive(server, data)
    assert isinstance(event, BadCommand)
    return event


def code_of(event: BadCommand) -> tuple[int, str]:
    code, _, status = str(event.reply).partition(" ")
    return int(code), status.split(" ")[0]


# -- one command at a time ----------------------------------------------------------------------------------------


def test_a_line_that_is_no_command_owes_a_reply_as_one_that_is_none() -> None:
    server = ready_server()
    bad(server, b"\x80\r\n")
    assert server.outstanding == (BadLine(),)


@pytest.mark.rfc("2920", "3.2")
@pytest.mark.rfc("5321", "4.2")
def test_one_command_at_a_time() -> None:
    server = ready_server(*EVERYTHING)
    server.receive_data(b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nNOOP\r\n")
    for command in (Mail(""), Rcpt("b@y.example"), Noop()):
        assert server.next_event() == CommandReceived(command)
        assert [server.next_event() for _ in range(3)] == [PAUSED] * 3
        assert server.outstanding == (command,)
        assert server.send(Reply(250, "ok")) == b"250 ok\r\n"
    assert server.next_event() is NEED_DATA
    assert server.state is State.RCPT


def test_a_bad_command_waits_for_its_reply_as_well() -> None:
    server = ready_server()
    server.receive_data(b"XYZZY\r\nNOOP\r\n")
    assert isinstance(server.next_event(), BadCommand)
    assert server.next_event() is PAUSED
    server.send(Reply(500, "what"))
    assert server.next_event() == CommandReceived(Noop())


@pytest.mark.rfc("5321", "4.3.1")
@given(cut=strategies.cuts(20))
def test_what_comes_before_the_greeting_is_told_once_and_waits_for_it(cut: list[int]) -> None:
    server = ServerConnection()
    assert server.next_event() is PAUSED
    stream = b"EHLO me.example\r\nNO"
    told = receive(server, *testing.pieces(stream, cut))
    assert len(told) == 1
    assert isinstance(told[0], EarlyTalker)
    assert stream.startswith(told[0].received)
    assert server.next_event() is PAUSED
    assert server.outstanding == (Connect(),)
    server.send(Reply(220, "mx.example"))
    assert server.next_event() == CommandReceived(Ehlo("me.example"))


@pytest.mark.rfc("5321", "4.3.1")
def test_an_early_talker_shows_the_beginning_of_what_it_says() -> None:
    server = ServerConnection(limits=Limits(command_line=600))
    server.receive_data(b"x" * 1000 + b"\0\n")
    assert server.next_event() == EarlyTalker(b"x" * 256)
    server.send(Reply(554, "you did not wait"))
    # What it was is judged when its turn comes.
    with pytest.raises(RemoteProtocolError, match="longer than the 600 octets"):
        server.next_event()


def test_who_waits_for_the_greeting_is_no_early_talker() -> None:
    server = ServerConnection()
    server.receive_data(b"")
    assert server.next_event() is PAUSED
    server.send(Reply(220))
    assert server.next_event() == ConnectionClosed((), Reply(220), False)
    server = ServerConnection()
    server.send(Reply(220))
    assert give(server, b"EHLO me.example\r\nNOOP\r\n", 250) == [CommandReceived(Ehlo("me.example"))]
    assert events(server) == [CommandReceived(Noop())]


@pytest.mark.rfc("5321", "3.1")
def test_after_a_refusing_greeting_everything_but_quit_is_out_of_sequence() -> None:
    server = ServerConnection()
    server.send(Reply(554, "no"))
    assert code_of(bad(server, b"EHLO me\r\n")) == (503, "5.5.1")
    server.send(Reply(503))
    assert give(server, b"QUIT\r\n", 221) == [CommandReceived(Quit())]
    assert server.state is State.CLOSED


@pytest.mark.rfc("5321", "4.1.1.5")
def test_the_end_of_the_stream_waits_for_the_last_reply() -> None:
    server = ready_server()
    server.receive_data(b"NOOP\r\nQU")
    server.receive_data(b"")
    assert server.next_event() == CommandReceived(Noop())
    assert server.next_event() is PAUSED
    server.send(Reply(250))
    # Half a line is no command, and a client that goes like this does nobody any harm.
    assert server.next_event() == ConnectionClosed((), Reply(250), False)
    with pytest.raises(LocalProtocolError, match="the session is over"):
        server.send(Reply(421))


@pytest.mark.parametrize("begun", [b"DATA\r\n", b"BDAT 9\r\n"])
def test_the_end_of_the_stream_in_content(begun: bytes) -> None:
    server = mailing_server("b@y.example")
    server.receive_data(begun)
    if begun == b"DATA\r\n":
        server.next_event()
        server.send(Reply(354))
    last = server.last_reply
    assert receive(server, b"xx\r") == [ContentReceived(b"xx\r")]
    assert receive(server, b"") == [ConnectionClosed((), last, False)]


# -- replies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [220, 250, 354, 450, 500])
def test_nothing_but_421_is_said_unasked(code: int) -> None:
    server = ready_server()
    before = look(server)
    with pytest.raises(LocalProtocolError, match=f"a reply {code} that no command asked for; only 421"):
        server.send(Reply(code))
    assert look(server) == before


@pytest.mark.rfc("5321", "3.8")
def test_421_may_be_said_unasked() -> None:
    server = mailing_server("b@y.example")
    assert server.send(Reply(421, "bye")) == b"421 bye\r\n"
    assert server.state is State.CLOSED
    assert server.last_reply == Reply(421, "bye")
    before = look(server)
    for code in (421, 250):
        with pytest.raises(LocalProtocolError, match="the session is over"):
            server.send(Reply(code))
    assert look(server) == before
    assert receive(server, b"NOOP\r\n" * 3, b"\0\n", b"") == [ConnectionClosed((), Reply(421, "bye"), False)]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b"MAIL FROM:<>\r\n", [354, 334]),
        (b"EHLO me\r\n", [354]),
        (b"STARTTLS\r\n", [334]),
        (b"XYZZY\r\n", [354]),
        (b"RCPT TO:<b@y.example>\r\n", [250, 354]),
        (b"DATA\r\n", [250, 354]),
        (b"MAIL FROM:x\r\n", [250, 354]),
    ],
)
def test_a_reply_without_a_place_changes_nothing(line: bytes, wrong: list[int]) -> None:
    server = ready_server(*EVERYTHING)
    receive(server, line)
    before = look(server)
    for code in wrong:
        with pytest.raises(LocalProtocolError):
            server.send(Reply(code))
        assert look(server) == before
    server.send(Reply(550))


@pytest.mark.rfc("5321", "4.3.2")
def test_data_is_answered_by_354() -> None:
    server = mailing_server("b@y.example")
    receive(server, b"DATA\r\n")
    with pytest.raises(LocalProtocolError, match="250 is no answer to DATA here"):
        server.send(Reply(250))
    server.send(Reply(451))
    assert server.state is State.RCPT


@pytest.mark.rfc("3207", "4")
def test_nothing_is_said_where_tls_is_due() -> None:
    server = ready_server(*EVERYTHING)
    give(server, b"STARTTLS\r\n", 220)
    for code in (250, 421):
        with pytest.raises(LocalProtocolError, match="no reply can be sent now: 220 was given to STARTTLS"):
            server.send(Reply(code))
    assert events(server) == [StartTlsReady(StartTls(), Reply(220, "said"))]


def test_a_server_has_no_content_to_send() -> None:
    with pytest.raises(LocalProtocolError, match="no content is due"):
        mailing_server().send_content(b"x")


# -- what has to be refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "status"),
    [
        (b"", 500, "5.5.2"),
        (b"\xff", 500, "5.5.2"),
        (b"(", 500, "5.5.2"),
        (b"XYZZY a b", 500, "5.5.1"),
        (b"LHLO me", 500, "5.5.1"),
        (b"NOOP " + b"x" * 600, 500, "5.5.2"),
        (b"AUTH PLAIN " + b"x" * 12_001, 501, "5.5.2"),
        (b"EHLO", 501, "5.5.4"),
        (b"EHLO a b", 501, "5.5.4"),
        (b"DATA now", 501, "5.5.4"),
        (b"MAIL FROM:a@x.example", 501, "5.1.7"),
        (b"MAIL FROM:<a@x.example>SIZE=5", 501, "5.5.4"),
        (b"MAIL TO:<a@x.example>", 501, "5.5.4"),
        (b"MAIL FROM:<> SIZE=x", 501, "5.5.4"),
        (b"RCPT TO:<>", 501, "5.1.3"),
        (b"AUTH PLAIN ***", 501, "5.5.2"),
        (b"RCPT TO:<b@y.example>", 503, "5.5.1"),
        (b"DATA", 503, "5.5.1"),
        (b"BDAT 0", 503, "5.5.1"),
        (b"BDAT 0 LAST", 503, "5.5.1"),
        (b"BURL imap://x/y LAST", 503, "5.5.1"),
        (b"STARTTLS", 502, "5.5.1"),
        (b"AUTH PLAIN", 502, "5.5.1"),
        (b"ETRN x.example", 502, "5.5.1"),
        (b"XCLIENT NAME=x", 502, "5.5.1"),
        (b"XFORWARD NAME=x", 502, "5.5.1"),
        (b"VRFY x SMTPUTF8", 504, "5.5.4"),
        ("EXPN \u00fc".encode(), 504, "5.5.4"),
        (b"MAIL FROM:<> SIZE=5", 555, "5.5.4"),
        (b"MAIL FROM:<> BODY=8BITMIME", 555, "5.5.4"),
        (b"MAIL FROM:<> AUTH=<>", 555, "5.5.4"),
        (b"MAIL FROM:<> XYZZY=1", 555, "5.5.4"),
        ("MAIL FROM:<\u00fc@x.example>".encode(), 550, "5.6.7"),
        ("MAIL FROM:<\u00fc@x.example> SMTPUTF8".encode(), 555, "5.5.4"),
    ],
)
@pytest.mark.rfc("5321", "4.2.4")
@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.rfc("5321", "2.4")
def test_what_is_refused_and_how(line: bytes, code: int, status: str) -> None:
    server = ready_server()
    event = bad(server, line + b"\r\n")
    assert code_of(event) == (code, status)
    assert event.line == line
    assert server.state is State.READY
    server.send(event.reply)
    assert server.state is State.READY
    assert receive(server, b"NOOP\r\n") == [CommandReceived(Noop())]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"RCPT TO:<b@y.example> NOTIFY=NEVER", 555),
        (b"RCPT TO:<b@y.example> XYZZY", 555),
        ("RCPT TO:<\u00fc@y.example>".encode(), 555),
        (b"MAIL FROM:<>", 503),
        (b"STARTTLS", 503),
        (b"AUTH PLAIN", 503),
    ],
)
@pytest.mark.rfc("5321", "4.1.1.11")
@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("5321", "4.1.4")
def test_what_is_refused_in_a_transaction(line: bytes, code: int) -> None:
    server = mailing_server("b@y.example", offer=())
    event = bad(server, line + b"\r\n")
    assert event.reply.code == code
    server.send(event.reply)
    assert receive(server, b"DATA\r\n") == [CommandReceived(Data())]


@pytest.mark.rfc("5321", "4.1.4")
def test_before_hello() -> None:
    server = ServerConnection()
    server.send(Reply(220))
    for line in (b"MAIL FROM:<>", b"STARTTLS", b"AUTH PLAIN", b"RCPT TO:<b@y.example>", b"DATA"):
        event = bad(server, line + b"\r\n")
        assert code_of(event) == (503, "5.5.1")
        server.send(event.reply)
    for line, command in ((b"NOOP", Noop()), (b"RSET", Rset()), (b"VRFY x", Vrfy("x")), (b"EXPN x", Expn("x"))):
        assert give(server, line + b"\r\n", 250) == [CommandReceived(command)]
    assert give(server, b"HELO me\r\n", 250) == [CommandReceived(Helo("me"))]
    assert code_of(bad(server, b"MAIL FROM:<> SIZE=5\r\n")) == (555, "5.5.4")


@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("line", [b"STARTTLS", b"AUTH PLAIN eA=="])
def test_what_is_refused_the_second_time(line: bytes) -> None:
    server = ready_server(*EVERYTHING, secure=True)
    if line != b"STARTTLS":
        give(server, line + b"\r\n", 235)
    assert code_of(bad(server, line + b"\r\n")) == (503, "5.5.1")


@pytest.mark.rfc("5321", "2.2.2")
@pytest.mark.parametrize("offer", ["XVERP", "xverp +- ="])
def test_an_offered_extension_of_the_program_has_a_command_and_parameters_of_its_name(offer: str) -> None:
    server = ready_server(offer)
    verp = {"XVERP": "+-"}
    assert give(server, b"xverp it\r\n", 250) == [CommandReceived(UnknownCommand("XVERP", "it"))]
    assert give(server, b"MAIL FROM:<> XVERP=+-\r\n", 250) == [CommandReceived(Mail("", other=verp))]
    assert give(server, b"RCPT TO:<b@y.example> xverp=+-\r\n", 250) == [
        CommandReceived(Rcpt("b@y.example", other=verp))
    ]
    assert give(server, b"XVERP\r\n", 502) == [CommandReceived(UnknownCommand("XVERP"))]


@pytest.mark.rfc("5321", "4.1.1.11")
@pytest.mark.rfc("5321", "4.2.4")
@pytest.mark.parametrize("keyword", sorted(EXTENSIONS))
def test_an_offered_extension_of_the_engine_has_no_others_than_its_own(keyword: str) -> None:
    """PIPELINING is no verb for being offered, nor is DSN a parameter."""
    server = ready_server(*EXTENSIONS)
    if keyword not in KNOWN_VERBS:
        refused = bad(server, keyword.encode() + b"\r\n")
        assert code_of(refused) == (500, "5.5.1")
        server.send(refused.reply)
    if keyword not in MAIL_PARAMETERS:
        refused = bad(server, f"MAIL FROM:<> {keyword}=1\r\n".encode())
        assert code_of(refused) == (555, "5.5.4")
        server.send(refused.reply)
    give(server, b"MAIL FROM:<>\r\n", 250)
    if keyword not in RCPT_PARAMETERS:
        assert code_of(bad(server, f"RCPT TO:<b@y.example> {keyword}\r\n".encode())) == (555, "5.5.4")


@pytest.mark.rfc("5321", "4.1.4")
def test_an_extension_of_the_program_is_one_from_ehlo_on() -> None:
    server = ServerConnection()
    server.send(Reply(220))
    event = bad(server, b"XVERP\r\n")
    assert code_of(event) == (500, "5.5.1")
    server.send(event.reply)
    assert receive(server, b"EHLO me\r\n") == [CommandReceived(Ehlo("me"))]
    server.send(Reply(250, ("mx.example", "XVERP")))
    assert give(server, b"XVERP\r\n", 250) == [CommandReceived(UnknownCommand("XVERP"))]
    give(server, b"HELO me\r\n", 250)
    assert code_of(bad(server, b"XVERP\r\n")) == (500, "5.5.1")


def test_the_program_may_accept_what_the_engine_would_refuse() -> None:
    server = ready_server()
    event = bad(server, b"MAIL FROM:<> AUTH=<>\r\n")
    assert event.command == Mail("", auth="")
    server.send(Reply(250, "all the same"))
    assert server.state is State.MAIL
    assert bad(server, b"XYZZY it\r\n").command == UnknownCommand("XYZZY", "it")
    server.send(Reply(250, "done"))


@pytest.mark.rfc("5321", "4.5.3.1.10")
@pytest.mark.rfc("5321", "4.5.3.1.8")
def test_too_many_recipients() -> None:
    server = mailing_server("b@y.example", "c@y.example", limits=Limits(recipients=3))
    assert give(server, b"RCPT TO:<no@y.example>\r\n", 550) == [CommandReceived(Rcpt("no@y.example"))]
    assert give(server, b"RCPT TO:<d@y.example>\r\n", 250) == [CommandReceived(Rcpt("d@y.example"))]
    event = bad(server, b"RCPT TO:<e@y.example>\r\n")
    assert code_of(event) == (452, "4.5.3")
    server.send(event.reply)
    assert receive(server, b"DATA\r\n") == [CommandReceived(Data())]


@pytest.mark.rfc("2033", "4.1")
def test_each_protocol_has_its_hello() -> None:
    server = ServerConnection(lmtp=True)
    server.send(Reply(220))
    for line in (b"EHLO me", b"HELO me"):
        event = bad(server, line + b"\r\n")
        assert code_of(event) == (500, "5.5.1")
        assert "is not for LMTP" in event.reply.text
        server.send(event.reply)
    give(server, b"LHLO me\r\n", 250)
    assert server.state is State.READY
    assert "LHLO is not for SMTP" in bad(ready_server(), b"LHLO me\r\n").reply.text


@pytest.mark.parametrize(
    "line", [b"MAIL FROM: <a@x.example>", b"MAIL FROM:a@x.example", b"MAIL FROM:  a@x.example  SIZE=5"]
)
def test_lenience_is_a_choice(line: bytes) -> None:
    strict = bad(ready_server("SIZE"), line + b"\r\n")
    assert strict.reply.code == 501
    (event,) = receive(ready_server("SIZE", lenient=True), line + b"\r\n")
    assert isinstance(event, CommandReceived)
    assert isinstance(event.command, Mail)
    assert event.command.reverse_path == "a@x.example"


@pytest.mark.parametrize(
    "data", [b"NOOP\n", b"NO\rOP\r\n", b"NO\0OP\r\n", b"x" * 20_000], ids=["bare LF", "bare CR", "NUL", "too long"]
)
@pytest.mark.rfc("5321", "2.3.8")
def test_lines_that_are_none_end_the_session(data: bytes) -> None:
    server = ready_server()
    with pytest.raises(RemoteProtocolError) as caught:
        receive(server, data)
    assert caught.value.code == 421
    assert server.state is State.ERROR


# -- authentication -----------------------------------------------------------------------------------------------


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("line", [b"*\r\n", b"no base64!\r\n", b"QUFB=\r\n", b"\xff\r\n"])
@pytest.mark.parametrize("code", [235, 250, 334])
def test_what_was_cancelled_or_is_no_response_authenticates_nobody(line: bytes, code: int) -> None:
    server = ready_server("AUTH PLAIN", secure=True)
    give(server, b"AUTH PLAIN\r\n", 334)
    receive(server, line)
    before = look(server)
    with pytest.raises(LocalProtocolError, match=f"^{code} to an authentication that the client has cancelled, or to"):
        server.send(Reply(code, "welcome"))
    assert look(server) == before
    server.send(Reply(501, "no"))
    assert not server.authenticated


@pytest.mark.rfc("4954", "4")
def test_the_lines_of_an_authentication_are_responses() -> None:
    server = ready_server(*EVERYTHING)
    assert give(server, b"AUTH LOGIN\r\n", 334) == [CommandReceived(Auth("LOGIN"))]
    assert give(server, b"dXNlcg==\r\n", 334) == [CommandReceived(AuthResponse(b"user"))]
    assert give(server, b"\r\n", 334) == [CommandReceived(AuthResponse(b""))]
    assert give(server, b"*\r\n", 501) == [CommandReceived(AuthResponse(None))]
    assert (server.state, server.authenticated) == (State.READY, False)


@pytest.mark.parametrize(
    ("line", "code"),
    [(b"NO!", 501), (b"dXNlcg", 501), (b"dXNlcg== ", 501), (b"*x", 501), (b"\xff", 501), (b"x" * 12_287, 500)],
)
@pytest.mark.rfc("4954", "4")
def test_what_is_no_response_ends_the_authentication(line: bytes, code: int) -> None:
    server = ready_server(*EVERYTHING, limits=Limits(command_line=20_000))
    give(server, b"AUTH LOGIN\r\n", 334)
    event = bad(server, line + b"\r\n")
    assert event.reply.code == code
    server.send(event.reply)
    assert server.state is State.READY


def test_no_secret_shows() -> None:
    seen: list[Any] = []
    for line in (b"czNjcmV0\r\n", b"czNjcmV0=\r\n", b"czNjcmV0\n", b"czNj\0cmV0\r\n", b"czNjcmV0" * 3000):
        server = ready_server(*EVERYTHING)
        give(server, b"AUTH LOGIN\r\n", 334)
        try:
            seen += receive(server, line)
        except RemoteProtocolError as error:
            seen += [error, error.received]
        seen += [server, server.outstanding]
    for line in (b"AUTH PLAIN czNjcmV0\r\n", b"AUTH PLAIN czNjcmV0=\r\n", b"auth plain czNjcmV0\n"):
        server = ready_server(*EVERYTHING)
        try:
            seen += receive(server, line)
        except RemoteProtocolError as error:
            seen += [error, error.received]
        seen += [server, server.outstanding]
    server = ready_server(*EVERYTHING)
    server.receive_data(b"STARTTLS\r\nAUTH PLAIN czNjcmV0\r\n")
    server.next_event()
    server.send(Reply(220))
    server.next_event()
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    with pytest.raises(RemoteProtocolError) as again:
        server.next_event()
    assert (caught.value.received, again.value.received) == (b"", b"")
    seen += [caught.value, again.value]
    for each in seen:
        assert "czNj" not in repr(each) + str(each)
        assert "s3cret" not in repr(each) + str(each)


# -- content ------------------------------------------------------------------------------------------------------


def in_data(*recipients: str, **options: Any) -> ServerConnection:
    server = mailing_server(*(recipients or ("b@y.example",)), **options)
    give(server, b"DATA\r\n", 354)
    return server


def merged(found: list[Event]) -> list[Event | bytes]:
    """With the pieces of content put together."""
    out: list[Event | bytes] = []
    for event in found:
        data = event.data if isinstance(event, ContentReceived) else None
        if data is not None and out and isinstance(out[-1], bytes):
            out[-1] += data
        else:
            out.append(event if data is None else data)
    return out


@pytest.mark.rfc("5321", "4.5.2")
@given(cut=strategies.cuts(40))
def test_content_is_unstuffed_up_to_its_end(cut: list[int]) -> None:
    server = in_data()
    found = receive(server, *testing.pieces(b"a\r\n..b\r\n.c\r\n\r\n.\r\nNOOP\r\n", cut))
    assert merged(found) == [b"a\r\n.b\r\nc\r\n\r\n", CommandReceived(EndOfData())]
    assert server.next_event() is PAUSED
    server.send(Reply(250))
    assert events(server) == [CommandReceived(Noop())]


def test_content_may_be_empty() -> None:
    assert receive(in_data(), b".\r\n") == [CommandReceived(EndOfData())]


@pytest.mark.parametrize(
    ("body", "fault"), [(b"a\rb\r\n", "bare CR"), (b"a\nb\r\n", "bare LF"), (b"a\0b\r\n", "NUL"), (b"\n.\n", "bare LF")]
)
@given(cut=strategies.cuts(20))
@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.rfc("5321", "4.1.1.4")
def test_content_that_must_not_be_is_refused_in_step(body: bytes, fault: str, cut: list[int]) -> None:
    stream = body + b"\r\n.\r\nNOOP\r\n"
    server = in_data()
    content, event = merged(receive(server, *testing.pieces(stream, cut)))
    assert isinstance(content, bytes)
    assert isinstance(event, BadCommand)
    assert code_of(event) == (554, "5.6.0")
    assert fault in event.reply.text
    assert (event.line, event.command) == (b".", EndOfData())
    server.send(event.reply)
    assert server.state is State.READY
    assert events(server) == [CommandReceived(Noop())]
    lax = in_data(accept_bare=True)
    assert merged(receive(lax, *testing.pieces(stream, cut))) == [body + b"\r\n", CommandReceived(EndOfData())]


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\n\0.\r\n", b"\r\n. \r\n"])
@pytest.mark.parametrize("accept_bare", [False, True])
@pytest.mark.rfc("5321", "4.1.1.4")
def test_nothing_but_crlf_dot_crlf_ends_the_content(end: bytes, accept_bare: bool) -> None:
    server = in_data(accept_bare=accept_bare)
    smuggled = b"MAIL FROM:<admin@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"
    found = merged(receive(server, b"a" + end + smuggled + b"x\r\n.\r\n"))
    assert len(found) == 2
    assert smuggled in bytes(found[0])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert isinstance(found[1], CommandReceived | BadCommand)
    assert found[1].command == EndOfData()


@pytest.mark.rfc("2033", "4.2")
def test_lmtp_owes_a_reply_for_each_recipient() -> None:
    server = in_data("b@y.example", "c@y.example", lmtp=True)
    receive(server, b"x\r\n.\r\nNOOP\r\n")
    server.send(Reply(250, "one"))
    assert server.next_event() is PAUSED
    server.send(Reply(550, "two"))
    assert events(server) == [CommandReceived(Noop())]


def test_many_messages_at_once_cost_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has come behind a small message is not touched with it, but for a block."""
    looked_at = 0

    class Counted(Unstuffer):
        __slots__ = ()

        def receive(self, data: bytes, start: int = 0) -> tuple[bytes, int | None]:
            nonlocal looked_at
            looked_at += len(data) - start
            return super().receive(data, start)

    class Fed(LineBuffer):
        __slots__ = ()

        def feed(self, data: bytes | bytearray | memoryview) -> None:
            nonlocal looked_at
            looked_at += len(data)
            super().feed(data)

    block = 256
    monkeypatch.setattr("smtpproto.server._BLOCK", block)
    monkeypatch.setattr("smtpproto.server.Unstuffer", Counted)
    monkeypatch.setattr("smtpproto.connection.LineBuffer", Fed)
    server = in_data(offer=())
    looked_at = 0
    stream = b"x" * 20_000 + b"\r\n" + b".\r\nMAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n" * 500 + b".\r\n"
    server.receive_data(stream)
    ends = 0
    while (event := server.next_event()) is not NEED_DATA:
        if isinstance(event, CommandReceived):
            ends += event.command == EndOfData()
            server.send(Reply(354 if event.command == Data() else 250))
    assert ends == 501
    assert looked_at <= 2 * len(stream) + ends * block


@pytest.mark.rfc("3030", "2")
@given(cut=strategies.cuts(60))
def test_chunks(cut: list[int]) -> None:
    server = mailing_server("b@y.example")
    stream = b"BDAT 9\r\nQUIT\r\n.\r\n" + b"BDAT 0\r\n" + b"bdat 4 last\r\n\0\r\n\n" + b"NOOP\r\n"
    found: list[Event] = []
    for piece in testing.pieces(stream, cut):
        server.receive_data(piece)
        while not isinstance(event := server.next_event(), Pause):
            found.append(event)
            if isinstance(event, CommandReceived):
                server.send(Reply(250))
    assert merged(found) == [
        b"QUIT\r\n.\r\n",
        CommandReceived(Bdat(9)),
        CommandReceived(Bdat(0)),
        b"\0\r\n\n",
        CommandReceived(Bdat(4, last=True)),
        CommandReceived(Noop()),
    ]
    assert server.state is State.READY


@pytest.mark.rfc("3030", "2")
@pytest.mark.rfc("2920", "3.2")
@given(cut=strategies.cuts(60), last=st.booleans())
@pytest.mark.parametrize("situation", ["not offered", "no transaction", "no recipient", "failed"])
def test_the_octets_of_a_refused_chunk_are_never_commands(situation: str, cut: list[int], last: bool) -> None:
    makers: dict[str, Callable[[], ServerConnection]] = {
        "not offered": lambda: mailing_server("b@y.example", offer=()),
        "no transaction": lambda: ready_server(*EVERYTHING),
        "no recipient": mailing_server,
        "failed": lambda: mailing_server("b@y.example"),
    }
    server = makers[situation]()
    if situation == "failed":
        give(server, b"BDAT 2\r\nxx", 452)
    payload = b"QUIT\r\nRSET\r\nDATA\r\n.\r\n"
    stream = b"BDAT %d%b\r\n" % (len(payload), b" LAST" if last else b"") + payload + b"NOOP\r\n"
    found = receive(server, *testing.pieces(stream, cut))
    assert len(found) == 1
    assert isinstance(found[0], BadCommand)
    assert found[0].command == Bdat(len(payload), last=last)
    assert found[0].reply.code == (502 if situation == "not offered" else 503)
    assert server.next_event() is PAUSED
    server.send(found[0].reply)
    assert events(server) == [CommandReceived(Noop())]


@pytest.mark.parametrize(
    "line",
    [
        b"BDAT",
        b"BDAT x",
        b"BDAT -1",
        b"BDAT +1",
        b"BDAT -0",
        b"BDAT 1_0",
        b"BDAT 1.0",
        b"BDAT 1e3",
        b"BDAT 0x10",
        b"BDAT 1,000",
        b"BDAT 1\tLAST",
        b"BDAT  1 LAST",
        b"BDAT 1  LAST",
        b"BDAT LAST",
        b"BDAT 1 FIRST",
        b"BDAT 1 LAST x",
        b"BDAT 1 LA\xc5\xbfT",
        b"BDAT \xff",
        "BDAT \u0663".encode(),
        "BDAT \uff15 LAST".encode(),
        "BDAT \u00b2".encode(),
        "BDAT 1\u0660".encode(),
        b"BDAT 9223372036854775808",
        b"BDAT 99999999999999999999 LAST",
        b"BDAT 100000000000000000000",
        b"BDAT " + b"0" * 21,
        b"BDAT " + b"9" * 5000,
        b"BDAT\t5",
        b" BDAT 5",
        b"\tbdat 5 LAST",
        b"BDAT 1 ",
    ],
    ids=lambda line: repr(line[:40]),
)
@pytest.mark.rfc("3030", "2")
def test_a_chunk_of_unknown_size_ends_the_session(line: bytes) -> None:
    server = mailing_server("b@y.example")
    server.receive_data(line + b"\r\nQUIT\r\n")
    if line == b"BDAT 1 ":
        # White space at the end is tolerated.
        assert server.next_event() == ContentReceived(b"Q")
        return
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="BDAT chunk-size") as caught:
            server.next_event()
        assert caught.value.code == 501
        assert caught.value.received == line[:256]
    assert server.state is State.ERROR


@pytest.mark.rfc("3030", "2")
@given(
    size=st.text("0123456789+-_ .,xeL\u0661\uff11\u00b9", min_size=1, max_size=22) | st.integers(0, 2**70).map(str),
    last=st.sampled_from([b"", b" LAST", b" last"]),
)
def test_a_chunk_has_a_size_or_it_ends_the_session(size: str, last: bytes) -> None:
    """No reading of a number but one: ASCII digits, and what 64 bits hold."""
    number = size.strip(" ") if not last else size
    digits = number.isascii() and number.isdecimal() and len(number) <= 20 and int(number) < 2**63
    server = mailing_server("b@y.example")
    server.receive_data(b"BDAT " + number.encode() + last + b"\r\n")
    if not digits:
        with pytest.raises(RemoteProtocolError) as caught:
            server.next_event()
        assert caught.value.code == 501
        return
    event = server.next_event()
    wanted = Bdat(int(number), last=bool(last))
    if wanted.size == 0:
        assert event == CommandReceived(wanted)
    else:
        assert event is NEED_DATA


@pytest.mark.parametrize("line", [b"BDATA 5", b"XBDAT 5", b"BDAT5", b"B DAT 5"])
def test_what_only_looks_like_bdat_is_an_unknown_command(line: bytes) -> None:
    assert code_of(bad(ready_server(*EVERYTHING), line + b"\r\n")) == (500, "5.5.1")


# -- sizes --------------------------------------------------------------------------------------------------------

SIZES: list[tuple[tuple[str, ...], int]] = [
    (("SIZE 10", "CHUNKING"), 99_999),
    (("SIZE 10", "CHUNKING"), 1),
    (("SIZE", "CHUNKING"), 10),
    (("SIZE 0", "CHUNKING"), 10),
    (("CHUNKING",), 10),
]
"""Offers, and limits that hold where they name no number: ten octets each."""


@pytest.mark.rfc("1870", "6.3")
@pytest.mark.parametrize(("offer", "limit"), SIZES)
@given(cut=strategies.cuts(60))
def test_a_message_up_to_its_size_is_taken(offer: tuple[str, ...], limit: int, cut: list[int]) -> None:
    server = mailing_server("b@y.example", offer=offer, limits=Limits(message=limit))
    give(server, b"DATA\r\n", 354)
    # Ten octets: the dot that was stuffed is none of them.
    found = receive(server, *testing.pieces(b"..2345678\r\n.\r\nNOOP\r\n", cut))
    assert merged(found) == [b".2345678\r\n", CommandReceived(EndOfData())]
    server.send(Reply(250))
    assert events(server) == [CommandReceived(Noop())]


@pytest.mark.rfc("1870", "6.3")
@pytest.mark.rfc("1870", "4")
@pytest.mark.parametrize(("offer", "limit"), SIZES)
@given(cut=strategies.cuts(60), more=st.binary(min_size=1).filter(lambda octets: b"\r" not in octets))
def test_of_a_larger_message_no_more_is_given_and_its_end_is_refused(
    offer: tuple[str, ...], limit: int, cut: list[int], more: bytes
) -> None:
    server = mailing_server("b@y.example", offer=offer, limits=Limits(message=limit))
    give(server, b"DATA\r\n", 354)
    stream = b"..2345678\r\nx" + more + b"\r\n.\r\nNOOP\r\n"
    content, event = merged(receive(server, *testing.pieces(stream, cut)))
    assert content == b".2345678\r\n"
    assert isinstance(event, BadCommand)
    assert (code_of(event), event.command) == ((552, "5.3.4"), EndOfData())
    server.send(event.reply)
    assert server.state is State.READY
    assert events(server) == [CommandReceived(Noop())]


def test_each_message_has_its_size() -> None:
    server = ready_server("SIZE 10", "CHUNKING")
    envelope = b"MAIL FROM:<>\r\n", b"RCPT TO:<b@y.example>\r\n"
    for _ in range(3):
        for line in envelope:
            give(server, line, 250)
        give(server, b"DATA\r\n", 354)
        assert merged(give(server, b"12345678\r\n.\r\n", 250)) == [b"12345678\r\n", CommandReceived(EndOfData())]
        for line in envelope:
            give(server, line, 250)
        give(server, b"BDAT 10\r\n1234567890", 250)
        assert code_of(bad(server, b"BDAT 1 LAST\r\nx")) == (552, "5.3.4")
        server.send(Reply(552))


@pytest.mark.rfc("5321", "4.1.1.1")
def test_after_helo_the_limit_holds() -> None:
    server = ServerConnection(limits=Limits(message=3))
    server.send(Reply(220))
    for line in (b"HELO me\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<b@y.example>\r\n"):
        give(server, line, 250)
    give(server, b"DATA\r\n", 354)
    content, event = receive(server, b"x\r\nx\r\n.\r\n")
    assert content == ContentReceived(b"x\r\n")
    assert isinstance(event, BadCommand)
    assert event.reply.code == 552


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize(("offer", "limit"), SIZES)
@given(cut=strategies.cuts(80), last=st.booleans())
def test_chunks_have_the_size_together(offer: tuple[str, ...], limit: int, cut: list[int], last: bool) -> None:
    server = mailing_server("b@y.example", offer=offer, limits=Limits(message=limit))
    assert merged(give(server, b"BDAT 6\r\n123456", 250)) == [b"123456", CommandReceived(Bdat(6))]
    assert merged(give(server, b"BDAT 4\r\n7890", 250)) == [b"7890", CommandReceived(Bdat(4))]
    assert give(server, b"BDAT 0\r\n", 250) == [CommandReceived(Bdat(0))]
    chunk = b"BDAT 6%b\r\nQUIT\r\nNOOP\r\n" % (b" LAST" if last else b"")
    (event,) = receive(server, *testing.pieces(chunk, cut))
    assert isinstance(event, BadCommand)
    assert (code_of(event), event.command) == ((552, "5.3.4"), Bdat(6, last=last))
    server.send(event.reply)
    assert server.state is (State.READY if last else State.FAILED)
    assert events(server) == [CommandReceived(Noop())]


def test_a_chunk_too_large_fails_the_transaction() -> None:
    server = mailing_server("b@y.example", offer=("SIZE 10", "CHUNKING"))
    server.receive_data(b"BDAT 11\r\n12345678901BDAT 2 LAST\r\nxxRSET\r\n")
    for code in (552, 503):
        event = server.next_event()
        assert isinstance(event, BadCommand)
        assert event.reply.code == code
        server.send(event.reply)
    assert server.next_event() == CommandReceived(Rset())


@pytest.mark.rfc("1870", "6.1")
@pytest.mark.rfc("1870", "7")
@pytest.mark.parametrize(("offer", "limit"), SIZES[:-1])
def test_a_message_that_is_announced_too_large(offer: tuple[str, ...], limit: int) -> None:
    server = ready_server(*offer, limits=Limits(message=limit))
    event = bad(server, b"MAIL FROM:<> SIZE=11\r\n")
    assert code_of(event) == (552, "5.3.4")
    server.send(event.reply)
    assert receive(server, b"MAIL FROM:<> SIZE=10\r\n") == [CommandReceived(Mail("", size=10))]


def test_what_is_given_on_is_bounded_however_much_comes() -> None:
    server = in_data(offer=("SIZE 1000",))
    given_on = 0
    for _ in range(100):
        given_on += sum(len(event.data) for event in receive(server, b"x" * 5000) if isinstance(event, ContentReceived))
    assert given_on == 1000
    assert code_of(bad(server, b"\r\n.\r\n")) == (552, "5.3.4")


def test_a_message_too_large_is_refused_for_that_first() -> None:
    server = in_data(offer=("SIZE 3",))
    *_, event = receive(server, b"bare\nLF\0\r\n.\r\n")
    assert isinstance(event, BadCommand)
    assert event.reply.code == 552


# -- how much in one session --------------------------------------------------------------------------------------


def test_too_many_transactions() -> None:
    server = ready_server(*EVERYTHING, limits=Limits(transactions=2))
    for code in (250, 550, 421):
        server.receive_data(b"MAIL FROM:<>\r\nRSET\r\n")
        event = server.next_event()
        if code == 421:
            break
        assert event == CommandReceived(Mail(""))
        server.send(Reply(code))
        assert server.next_event() == CommandReceived(Rset())
        server.send(Reply(250))
    assert isinstance(event, BadCommand)
    assert code_of(event) == (421, "4.7.0")
    server.send(event.reply)
    assert server.state is State.CLOSED
    server.receive_data(b"")
    assert events(server) == [ConnectionClosed((), event.reply, False)]


@pytest.mark.rfc("9422", "4.1")
def test_mailmax_is_obeyed_by_its_server() -> None:
    server = ready_server("LIMITS MAILMAX=1 RCPTMAX=9")
    give(server, b"MAIL FROM:<>\r\n", 250)
    give(server, b"RSET\r\n", 250)
    assert code_of(bad(server, b"MAIL FROM:<>\r\n")) == (421, "4.7.0")


@pytest.mark.rfc("9422", "4.2")
def test_rcptmax_counts_what_was_received() -> None:
    server = mailing_server("a@y.example", offer=("LIMITS RCPTMAX=3",))
    give(server, b"RCPT TO:<no@y.example>\r\n", 550)
    give(server, b"RCPT TO:<b@y.example>\r\n", 250)
    for _ in range(2):
        event = bad(server, b"RCPT TO:<c@y.example>\r\n")
        assert code_of(event) == (452, "4.5.3")
        server.send(event.reply)
    give(server, b"DATA\r\n", 354)
    give(server, b".\r\n", 250)
    give(server, b"MAIL FROM:<>\r\n", 250)
    assert receive(server, b"RCPT TO:<c@y.example>\r\n") == [CommandReceived(Rcpt("c@y.example"))]


@pytest.mark.rfc("9422", "4.3")
def test_rcptdomainmax_counts_the_domains_of_the_session() -> None:
    server = mailing_server("a@y.example", "a@Z.example", offer=("LIMITS RCPTDOMAINMAX=2",))
    give(server, b"RCPT TO:<b@Y.example>\r\n", 250)
    assert code_of(bad(server, b"RCPT TO:<a@x.example>\r\n")) == (452, "4.5.3")
    server.send(Reply(452))
    give(server, b"RSET\r\n", 250)
    give(server, b"MAIL FROM:<>\r\n", 250)
    assert code_of(bad(server, b"RCPT TO:<a@x.example>\r\n")) == (452, "4.5.3")
    server.send(Reply(452))
    assert receive(server, b"RCPT TO:<c@z.example>\r\n") == [CommandReceived(Rcpt("c@z.example"))]


@pytest.mark.rfc("3030", "3")
def test_what_the_program_accepts_is_the_transaction() -> None:
    """Also where the engine would have refused it."""
    server = ready_server("SIZE 10", "BINARYMIME", "CHUNKING")
    for line in (b"MAIL FROM:<>\r\n", b"RCPT TO:<b@y.example>\r\n"):
        give(server, line, 250)
    give(server, b"BDAT 9 LAST\r\n123456789", 250)
    event = bad(server, b"MAIL FROM:<> BODY=BINARYMIME SIZE=99\r\n")
    assert event.reply.code == 552
    server.send(Reply(250))
    give(server, b"RCPT TO:<b@y.example>\r\n", 250)
    assert server.tally.mail == Mail("", body="BINARYMIME", size=99)
    assert server.tally.recipients == 1
    assert code_of(bad(server, b"DATA\r\n")) == (503, "5.5.1")
    server.send(Reply(503))
    assert give(server, b"BDAT 9 LAST\r\n123456789", 250)[-1] == CommandReceived(Bdat(9, last=True))


@pytest.mark.rfc("5321", "4.1.1.10")
@given(cut=strategies.cuts(40))
def test_nothing_behind_quit_is_read(cut: list[int]) -> None:
    server = ready_server()
    found: list[Event] = []
    for piece in testing.pieces(b"QUIT\r\nNOOP\r\nbare\nLF\0" + b"x" * 20_000, cut):
        server.receive_data(piece)
        for event in events(server):
            found.append(event)
            server.send(Reply(221))
    assert found == [CommandReceived(Quit())]
    server.receive_data(b"")
    assert events(server) == [ConnectionClosed((), Reply(221), True)]


# -- cuts ---------------------------------------------------------------------------------------------------------

PHRASES = (
    b"EHLO me\r\n",
    b"MAIL FROM:<a@x.example>\r\n",
    b"RCPT TO:<b@y.example>\r\n",
    b"DATA\r\n",
    b"x\r\n..y\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"BDAT 5\r\nab\r\nc",
    b"BDAT 3 LAST\r\nQ\r\n",
    b"BDAT 7\r\n",
    b"AUTH LOGIN\r\n",
    b"eA==\r\n",
    b"*\r\n",
    b"NOOP\r\n",
    b"RSET\r\n",
    b"XYZZY\r\n",
    b"STARTTLS\r\n",
    b"QUIT\r\n",
    b"a\nb",
    b"\r",
    b"\0",
)
ANSWERS: dict[type[Command], int] = {Data: 354, StartTls: 220, Quit: 221, Auth: 334}


def play(pieces: list[bytes], codes: list[int]) -> list[object]:
    """All that comes of a stream, with replies by turns from a list, where they have a place."""
    server = ready_server(*EVERYTHING)
    found: list[Event] = []
    outcome: list[object] = []
    turn = 0
    try:
        for piece in [*pieces, b""]:
            server.receive_data(piece)
            while not isinstance(event := server.next_event(), Pause):
                found.append(event)
                if isinstance(event, ConnectionClosed):
                    break
                if isinstance(event, CommandReceived | BadCommand):
                    kind = type(event.command) if event.command is not None else Command
                    wanted = event.reply.code if isinstance(event, BadCommand) else ANSWERS.get(kind, 250)
                    if event.command == AuthResponse(None):
                        wanted = 501  # RFC 4954 section 4: what was cancelled can only be refused
                    refused = codes[turn % len(codes)] if codes else wanted
                    turn += 1
                    server.send(Reply(refused if refused >= 400 else wanted))
    except RemoteProtocolError as error:
        outcome.append((error.args[0], error.code))
    return [*merged(found), *outcome, server.state, server.last_reply]


@pytest.mark.rfc("2920", "3.2")
@given(
    phrases=st.lists(st.sampled_from(PHRASES), max_size=20),
    codes=st.lists(st.sampled_from([250, 250, 250, 450, 550]), max_size=5),
    cut=strategies.cuts(200),
)
def test_the_same_octets_cut_anywhere_give_the_same_events(
    phrases: list[bytes], codes: list[int], cut: list[int]
) -> None:
    stream = b"".join(phrases)
    whole = play([stream] if stream else [], codes)
    assert play(testing.octets(stream), codes) == whole
    assert play(testing.pieces(stream, cut), codes) == whole


@given(st.lists(st.sampled_from(PHRASES) | st.binary(max_size=20), max_size=20))
def test_no_other_exception_comes_of_what_a_client_says(phrases: list[bytes]) -> None:
    play([phrase for phrase in phrases if phrase], [])


@given(command=strategies.commands(), lenient=st.booleans())
def test_whatever_a_client_sends_is_read_as_it_was_meant(command: Command, lenient: bool) -> None:
    for make in (ready_server, mailing_server):
        server = make(*EVERYTHING, lenient=lenient) if make is ready_server else make("b@y.example", lenient=lenient)
        data = bytes(command)
        if isinstance(command, Bdat):
            server.receive_data(data + b"x")
            continue
        (event,) = receive(server, data)
        assert isinstance(event, CommandReceived | BadCommand)
        assert event.command == command


@pytest.mark.parametrize("cut", [testing.whole, testing.octets])
def test_a_line_without_an_end_stops_at_the_limit(cut: Callable[[bytes], list[bytes]]) -> None:
    server = ready_server(limits=Limits(command_line=600))
    with pytest.raises(RemoteProtocolError, match="a line is longer than the 600 octets"):
        receive(server, *cut(b"NOOP " + b"x" * 595))
    server = ready_server(limits=Limits(command_line=600))
    assert code_of(bad(server, b"NOOP " + b"x" * 593 + b"\r\n")) == (500, "5.5.2")


# -- what else it says --------------------------------------------------------------------------------------------


def test_a_server_sends_replies_only() -> None:
    server = ready_server()
    before = look(server)
    with pytest.raises(LocalProtocolError, match="a server sends replies, not commands"):
        server.send(Noop())
    assert look(server) == before


@pytest.mark.rfc("5321", "4.5.3.2")
def test_the_timeout_is_that_of_content_while_content_is_due() -> None:
    server = mailing_server("b@y.example", timeouts=Timeouts(server=5, data_block=3))
    assert server.deadline == 5
    receive(server, b"BDAT 2\r\nx")
    assert server.deadline == 3
    receive(server, b"x")
    server.send(Reply(250))
    assert server.deadline == 5
    server = in_data(timeouts=Timeouts(server=5, data_block=3))
    assert server.deadline == 3
