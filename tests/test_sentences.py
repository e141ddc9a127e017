"""Errors are for people: their sentences, word for word.

Each row is a sentence, and what is done to get it.  That the error comes, and that nothing has changed then, is shown
where its rule is; here is what it says: what was wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from smtpproto import (
    Auth,
    AuthResponse,
    BadCommand,
    Bdat,
    Burl,
    ClientConnection,
    ConnectFailed,
    Connection,
    ConnectOptions,
    Connector,
    Data,
    Ehlo,
    EndOfData,
    EnhancedStatus,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Limits,
    LineEnds,
    LocalProtocolError,
    Mail,
    Noop,
    Pause,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    Role,
    Rset,
    Security,
    ServerConnection,
    StartTls,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from smtpproto.commands import BadSyntax, own_name, parse_auth_response, parse_command
from smtpproto.content import Normaliser, Unstuffer, objection_to
from smtpproto.lines import LineBuffer
from smtpproto.replies import ReplyParser
from smtpproto.states import LastBdat, Session, TlsHandshake
from tests.driving import (
    EVERYTHING,
    ask,
    give,
    mailing_client,
    mailing_server,
    ready_client,
    ready_server,
    receive,
)

Do = Callable[[], object]
wrong = cast("Any", None)
"""None, where the types forbid it."""

# What a program makes -------------------------------------------------------------------------------------------------

GRAMMAR = "this is not what the grammar allows there"
VALUES: list[tuple[str, Do]] = [
    # session.py
    (f"the domain of EHLO is 'me example': {GRAMMAR}", lambda: Ehlo("me example")),
    (f"the domain of HELO is '': {GRAMMAR}", lambda: Helo("")),
    (f"the domain of LHLO is 'me\\n': {GRAMMAR}", lambda: Lhlo("me\n")),
    (f"the domain {'m' * 256!r:.77}... has 256 octets, more than 255", lambda: Ehlo("m" * 256)),
    ("the domain of EHLO is a NoneType: it must be a str", lambda: Ehlo(wrong)),
    (
        "the name 'bücher.example' is not ASCII: write its A-labels (RFC 6531 section 3.7.1)",
        lambda: own_name("bücher.example"),
    ),
    (f"the argument of NOOP is 'a\\r\\nb': {GRAMMAR}", lambda: Noop("a\r\nb")),
    ("the argument of NOOP is ' a': it must not begin or end with white space", lambda: Noop(" a")),
    ("the NOOP line has 513 octets, more than the 512 allowed", lambda: Noop("n" * 506)),
    (f"the topic of HELP is '\\x00': {GRAMMAR}", lambda: Help("\0")),
    ("the topic of HELP is 'a\\t': it must not begin or end with white space", lambda: Help("a\t")),
    (f"the argument of VRFY is '\\x7f': {GRAMMAR}", lambda: Vrfy("\x7f")),
    ("VRFY without an argument asks nothing", lambda: Vrfy("")),
    ("EXPN without an argument asks nothing", lambda: Expn("")),
    (
        "the argument of EXPN ends with SMTPUTF8: say smtputf8=True instead",
        lambda: Expn("list SmtpUtf8"),
    ),
    (f"the node name of ETRN is 'a b': {GRAMMAR}", lambda: Etrn("a b")),
    (f"the attribute of XCLIENT is 'NAME=': {GRAMMAR}", lambda: XClient({"NAME=": "x"})),
    ("the attribute of XCLIENT is a NoneType: it must be a str", lambda: XClient({wrong: "x"})),
    (f"the attribute NAME of XFORWARD is 'a\\n': {GRAMMAR}", lambda: XForward({"name": "a\n"})),
    ("the attribute NAME of XCLIENT is there twice", lambda: XClient({"NAME": "x", "name": "y"})),
    ("XFORWARD needs an attribute at least", lambda: XForward({})),
    (f"the verb is 'DO IT': {GRAMMAR}", lambda: UnknownCommand("DO IT")),
    ("RCPT has a class of its own: use it", lambda: UnknownCommand("rcpt")),
    (f"the argument of DO is 'a\\n': {GRAMMAR}", lambda: UnknownCommand("do", "a\n")),
    # transaction.py
    (
        "hold_for and hold_until exclude each other: RFC 4865 section 3",
        lambda: Mail("a@x.example", hold_for=1, hold_until="2026-11-23T12:00:00Z"),
    ),
    (
        "MAIL FROM:<é@x.example> is not ASCII: it needs smtputf8=True (RFC 6531 section 3.4)",
        lambda: Mail("é@x.example"),
    ),
    (
        "MAIL FROM:<a@x.example> is not ASCII: it needs smtputf8=True (RFC 6531 section 3.4)",
        lambda: Mail("a@x.example", auth="é@x.example"),
    ),
    (
        "the MAIL line has 2069 octets, more than the 2048 allowed",
        lambda: Mail("a@x.example", other={"X": "x" * 2041}),
    ),
    (
        "the size of BDAT is -1: it must be an int from 0 to 9223372036854775807",
        lambda: Bdat(-1),
    ),
    ("the URL of BURL is a NoneType: it must be a str", lambda: Burl(wrong)),
    # The URL is a secret.
    ("the URL of BURL is no absolute URI of RFC 3986 section 4.3", lambda: Burl("imap:/ /")),
    # auth.py
    (f"the mechanism of AUTH is 'PLAIN LOGIN': {GRAMMAR}", lambda: Auth("PLAIN LOGIN")),
    (
        "the initial response of the authentication is a str: it must be bytes or None",
        lambda: Auth("PLAIN", cast("Any", "secret")),
    ),
    (
        "the response of the authentication is a str: it must be bytes or None",
        lambda: AuthResponse(cast("Any", "secret")),
    ),
    ("the AUTH line has 12297 octets, more than the 12288 allowed", lambda: Auth("PLAIN", b"x" * 9213)),
    # replies.py
    ("a reply code is in 200..599, not 199: RFC 5321 section 4.2", lambda: Reply(199)),
    ("a reply code is in 200..599, not 250.5: RFC 5321 section 4.2", lambda: Reply(cast("Any", 250.5))),
    ("a reply has at least one line, which may be empty: RFC 5321 section 4.2", lambda: Reply(250, ())),
    (
        "line 2 of a reply holds '\\n', which no line can: 'o\\nk'; pass several lines one by one",
        lambda: Reply(250, ("ok", "o\nk")),
    ),
    ("the class of an enhanced status code is 2, 4 or 5, not 3: RFC 3463", lambda: EnhancedStatus(3, 0, 0)),
    ("the subject of an enhanced status code is in 0..999, not 1000: RFC 3463", lambda: EnhancedStatus(2, 1000, 0)),
    ("the detail of an enhanced status code is in 0..999, not -1: RFC 3463", lambda: EnhancedStatus(2, 0, -1)),
    (
        "'2.01.5' is no enhanced status code such as 2.1.5: RFC 3463 section 2",
        lambda: EnhancedStatus.parse("2.01.5"),
    ),
    # states.py
    ("LastBdat stands in the table only: there is none to send", LastBdat),
    ("TlsHandshake stands in the table only: there is none to send", TlsHandshake),
]


@pytest.mark.parametrize(("sentence", "make"), VALUES)
def test_values(sentence: str, make: Do) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        make()
    assert str(caught.value) == sentence


# What a server makes of a line ----------------------------------------------------------------------------------------


def line_of(size: int, begin: bytes) -> bytes:
    """A line that has so many octets with its CRLF."""
    return begin.ljust(size - 2, b"x")


LINES: list[tuple[str, bytes]] = [
    ("500 5.5.2 Line too long", line_of(513, b"NOOP ")),
    ("500 5.5.6 Line too long", line_of(12289, b"AUTH PLAIN ")),
    ("500 5.5.2 Line too long", line_of(2049, b"MAIL FROM:<a@x.example> X=")),
    ("501 5.5.4 BDAT chunk-size [LAST] is wanted", b"BDAT"),
    ("501 5.5.4 BDAT chunk-size [LAST] is wanted", b"BDAT 10 FIRST"),
    ("501 5.5.4 BDAT chunk-size [LAST] is wanted", b"\tBDAT 10"),
    ("500 5.5.2 This is no command", b"\x80"),
    ("500 5.5.2 This is no command", b""),
    ("500 5.5.2 This is no command", b"DO\x01"),
    ("501 5.5.2 The argument of NOOP is not UTF-8", b"NOOP \x80"),
    ("501 5.5.4 Bad argument of EHLO", b"EHLO "),
    ("501 5.5.4 Bad argument of ETRN", b"ETRN a b"),
    ("501 5.5.4 Bad argument of BURL", b"BURL imap:x FIRST"),
    ("501 5.5.4 DATA has no argument", b"DATA now"),
    ("501 5.5.4 STARTTLS has no argument", b"STARTTLS now"),
    ("501 5.5.2 Cannot decode base64", b"AUTH PLAIN *"),
    ("501 5.5.4 FROM:<path> is wanted", b"MAIL TO:<a@x.example>"),
    ("501 5.1.7 FROM:<path> is wanted, and a mailbox in it", b"MAIL FROM:a@x.example"),
    ("501 5.1.7 Bad mailbox in the path", b"MAIL FROM:<Postmaster>"),
    (
        "501 5.5.4 Bad argument of MAIL",
        b"MAIL FROM:<a@x.example> HOLDFOR=1 HOLDUNTIL=2026-11-23T12:00:00Z",
    ),
    ("550 5.6.7 A reverse-path that is not ASCII needs SMTPUTF8", "MAIL FROM:<é@x.example>".encode()),
    (
        "501 5.5.4 Bad argument of MAIL",
        "MAIL FROM:<é@x.example> SMTPUTF8 HOLDFOR=1 HOLDUNTIL=2026-11-23T12:00:00Z".encode(),
    ),
    ("501 5.5.4 TO:<path> is wanted", b"RCPT FROM:<a@x.example>"),
    ("501 5.1.3 TO:<path> is wanted, and a mailbox in it", b"RCPT TO:a@x.example"),
    ("501 5.1.3 Bad mailbox in the path", b"RCPT TO:<>"),
    ("501 5.5.4 Attributes are NAME=value, each once", b"XCLIENT NAME"),
    ("501 5.5.4 Attributes are NAME=value, each once", b"XFORWARD NAME=x name=y"),
]


@pytest.mark.parametrize(("sentence", "line"), LINES)
def test_lines_of_a_client(sentence: str, line: bytes) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse_command(line)
    assert str(caught.value) == sentence


@pytest.mark.rfc("4954", "4")
def test_answers_to_a_challenge() -> None:
    for line, sentence in (
        (b"A" * 12287, "500 5.5.6 Line too long"),
        (b"A" * 12286, "501 5.5.2 Cannot decode base64"),
        (b"=", "501 5.5.2 Cannot decode base64"),
        (b"\xff", "501 5.5.2 Cannot decode base64"),
    ):
        with pytest.raises(BadSyntax) as caught:
            parse_auth_response(line)
        assert str(caught.value) == sentence
    assert parse_auth_response(b"A" * 12284) == AuthResponse(b"\0" * 9213)


# What a peer sends ----------------------------------------------------------------------------------------------------


def reply_of(*lines: bytes, **limits: int) -> Do:
    """A parser gets these lines."""

    def feed() -> None:
        parser = ReplyParser(Limits(**limits))
        for line in lines:
            parser.feed_line(line)

    return feed


def line_in(data: bytes, limit: int = 512) -> Do:
    """A line is read of this."""

    def read() -> None:
        lines = LineBuffer(limit)
        lines.feed(data)
        lines.next_line()

    return read


def greeted() -> ClientConnection:
    client = ClientConnection()
    receive(client, b"220 mx.example\r\n")
    return client


def chunk_under_way() -> ClientConnection:
    client = mailing_client("b@y.example")
    client.send(Bdat(3))
    client.send_content(b"x")
    return client


def unread(client: ClientConnection, data: bytes) -> ClientConnection:
    """This lies in its buffer."""
    client.receive_data(data)
    return client


def waiting_for_tls(data: bytes) -> Do:
    def secure() -> None:
        client = ready_client("STARTTLS")
        client.send(StartTls())
        client.receive_data(b"220 go ahead\r\n" + data)
        client.next_event()
        client.tls_established()

    return secure


NOT_A_REPLY = (
    "a line of a reply must be a code from 200 to 599, then a space or a hyphen, then text: RFC 5321 section 4.2"
)
BARE = "a line must end in CRLF, and have no {} elsewhere: RFC 5321 section 2.3.8"
IN_RCPT = "in a mail transaction with at least one recipient"
UNASKED = "a reply that no command asked for"
REMOTE: list[tuple[str, Do]] = [
    # lines.py
    (
        "a NUL in a line: RFC 5321 sections 4.1.2 and 4.2 have none (received b'a\\x00\\r\\n')",
        line_in(b"a\0\r\n"),
    ),
    (
        f"a bare CR: {BARE.format('CR')} (received b'a\\rb\\r\\n')",
        line_in(b"a\rb\r\n"),
    ),
    (
        f"a bare LF: {BARE.format('LF')} (received b'a\\n')",
        line_in(b"a\nb\r\n"),
    ),
    (
        "a line is longer than the 8 octets that it may have: RFC 5321 section 4.5.3.1 (received b'1234567\\r')",
        line_in(b"1234567\r\n", 8),
    ),
    # replies.py
    (f"{NOT_A_REPLY} (received b'250_ok')", reply_of(b"250_ok")),
    (f"{NOT_A_REPLY} (received b'199 no')", reply_of(b"250-ok", b"199 no")),
    (
        "lines of one reply have the codes 250 and 550: RFC 5321 section 4.2.1 (received b'550 no')",
        reply_of(b"250-ok", b"550 no"),
    ),
    (
        "lines of one reply have the codes 250 and 251: RFC 5321 section 4.2.1 (received b'251-no')",
        reply_of(b"250-ok", b"251-no"),
    ),
    ("a reply has more than 2 lines (received b'250-c')", reply_of(b"250-a", b"250-b", b"250-c", reply_lines=2)),
    ("a reply has more than 12 octets (received b'250 b')", reply_of(b"250-a", b"250 b", reply_octets=12)),
    ("a reply has more than 6 octets (received b'250 a')", reply_of(b"250 a", reply_octets=6)),
    # connection.py
    ("plaintext where TLS is due (RFC 3207 section 4) (received b'2')", waiting_for_tls(b"2")),
    # client.py
    (
        "250 is no answer to Connect here: connected, and not greeted yet (received b'250 mx.example\\r\\n')",
        lambda: receive(ClientConnection(), b"250 mx.example\r\n"),
    ),
    (
        "354 is no answer to an unknown command here: ready, and in no mail transaction (received b'354 go\\r\\n')",
        lambda: ask(ready_client(), UnknownCommand("X"), b"354 go\r\n"),
    ),
    (
        f"354 is no answer to BDAT LAST here: {IN_RCPT} (received b'354 go\\r\\n')",
        lambda: ask(mailing_client("b@y.example"), Bdat(0, last=True), b"354 go\r\n"),
    ),
    ("the stream ended within a reply (received b'25')", lambda: ask(ready_client(), Noop(), b"25", b"")),
    (
        "the stream ended within a reply (received b'250-a\\r\\n250')",
        lambda: ask(ready_client(), Noop(), b"250-a\r\n250", b""),
    ),
    (f"{UNASKED} (received b'2')", lambda: receive(ready_client(), b"2")),
    (f"{UNASKED} (received b'4')", lambda: unread(ready_client(), b"4").send(Noop())),
    (
        "a chunk was accepted of which octets were still to be sent (received b'250 ok\\r\\n')",
        lambda: receive(chunk_under_way(), b"250 ok\r\n"),
    ),
    (
        "a chunk was accepted of which octets were still to be sent (received b'2')",
        lambda: unread(chunk_under_way(), b"2").send_content(b"x"),
    ),
    # server.py
    (
        "BDAT chunk-size [LAST] is wanted (received b'BDAT x')",
        lambda: receive(mailing_server("b@y.example"), b"BDAT x\r\n"),
    ),
]


@pytest.mark.parametrize(("sentence", "do"), REMOTE)
def test_what_a_peer_sends(sentence: str, do: Do) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        do()
    assert str(caught.value) == sentence


# What a program asks for ----------------------------------------------------------------------------------------------


def after(client: ClientConnection, *commands: Any) -> ClientConnection:
    """These have been sent, and are not answered yet."""
    for command in commands:
        client.send(command)
    return client


def closed() -> ClientConnection:
    client = ready_client()
    ask(client, Quit(), b"221 bye\r\n")
    return client


def failed() -> ClientConnection:
    client = ready_client()
    with pytest.raises(RemoteProtocolError):
        receive(client, b"2")
    return client


def past_the_end() -> Connection:
    client = ready_client()
    client.receive_data(b"")
    return client


def receiving_content(body: str | None = None) -> ClientConnection:
    client = ready_client(*EVERYTHING)
    ask(client, Mail("a@x.example", body=body), b"250 ok\r\n")
    ask(client, Rcpt("b@y.example"), b"250 ok\r\n")
    ask(client, Data(), b"354 go\r\n")
    return client


def normalised(line_ends: LineEnds, *chunks: bytes) -> Do:
    def normalise() -> None:
        normaliser = Normaliser(line_ends)
        for chunk in chunks:
            normaliser.normalise(chunk)
        normaliser.end()

    return normalise


def unstuffed_twice() -> None:
    unstuffer = Unstuffer()
    unstuffer.receive(b".\r\n")
    unstuffer.receive(b"")


def server_under_tls() -> ServerConnection:
    server = ready_server("STARTTLS")
    give(server, b"STARTTLS\r\n", 220)
    return server


def server_that_closed() -> ServerConnection:
    server = ready_server()
    give(server, b"QUIT\r\n", 221)
    return server


NOT_PIPELINED = "is not answered yet, and PIPELINING was not offered (RFC 2920 section 3)"
ENDS_ITS_GROUP = "is not answered yet, and nothing may follow it before (RFC 2920 section 3.1)"
NO_BARE = (
    "RFC 5321 section 2.3.8 allows CR and LF as CRLF only, and text has no NUL; "
    "send it with BDAT and BODY=BINARYMIME, or encode it"
)
LMTP_CHUNK = (
    "in LMTP the last chunk waits until a recipient is accepted: without one, it has no reply at all "
    "(RFC 2033 section 4.3)"
)
EIGHT_BIT = (
    "the content has the octet 0xc3, and MAIL said nothing of it: it needs body='8BITMIME' "
    "(RFC 6152 section 3), or an encoding"
)
OVER = "the session is over: nothing can be sent any more"
LOCAL: list[tuple[str, Do]] = [
    # connection.py
    ("Connection() needs a Role, and not None", Connection),
    ("a ClientConnection plays the client, not the server", lambda: ClientConnection(Role.SERVER)),
    (
        "the connection is of no use any more: a reply that no command asked for",
        lambda: failed().send(Quit()),
    ),
    ("data after the end of the stream", lambda: past_the_end().receive_data(b"x")),
    ("no content is due: ready, and in no mail transaction", lambda: ready_client().send_content(b"x")),
    (
        "no TLS handshake is due: ready, and in no mail transaction",
        lambda: ready_client().tls_established(),
    ),
    # states.py
    (f"Connect {ENDS_ITS_GROUP}", lambda: ClientConnection().send(Ehlo("me.example"))),
    (f"NOOP {ENDS_ITS_GROUP}", lambda: after(ready_client(*EVERYTHING), Noop(), Rset())),
    (f"an unknown command {ENDS_ITS_GROUP}", lambda: after(ready_client(), UnknownCommand("X"), Rset())),
    (f"RSET {NOT_PIPELINED}", lambda: after(ready_client(), Rset(), Noop())),
    (
        "RCPT is out of sequence here: ready, and in no mail transaction",
        lambda: ready_client().send(Rcpt("b@y.example")),
    ),
    (
        f"the final dot is out of sequence here: {IN_RCPT}",
        lambda: mailing_client("b@y.example").send(EndOfData()),
    ),
    ("a reply 250 that no command asked for", lambda: session_that_is_ready().reply(250)),
    (
        "a reply 250 comes too late: closed: by QUIT, by 421, or by the end of the stream",
        lambda: session_that_left().reply(250),
    ),
    # client.py
    ("a client sends commands, and a Reply is none", lambda: ready_client().send(Reply(250))),
    (OVER, lambda: closed().send(Quit())),
    (
        "2 octets of the chunk announced by BDAT are still to be sent",
        lambda: chunk_under_way().send(Rset()),
    ),
    ("3 octets for a chunk that has room for 2", lambda: chunk_under_way().send_content(b"xyz")),
    (
        "2 commands are not answered yet: read their replies first (limits.outstanding)",
        lambda: after(ready_client(*EVERYTHING, limits=Limits(outstanding=2)), Rset(), Rset(), Rset()),
    ),
    (
        LMTP_CHUNK,
        lambda: after(
            ready_client(*EVERYTHING, lmtp=True), Mail("a@x.example"), Rcpt("b@y.example"), Bdat(0, last=True)
        ),
    ),
    (
        "EHLO bücher.example is not ASCII: write the A-labels of the name (RFC 6531 section 3.7.1)",
        lambda: greeted().send(Ehlo("bücher.example")),
    ),
    (
        EIGHT_BIT,
        lambda: receiving_content().send_content(b"na\xc3\xafve"),
    ),
    (EIGHT_BIT.replace("0xc3", "0x80"), lambda: receiving_content().send_content(b"\x7f\x80\xff")),
    # content.py
    (
        f"the content has a NUL at octet 5: {NO_BARE}",
        normalised(LineEnds.NORMALISE, b"one", b"\r\n\0"),
    ),
    (f"the content has a NUL at octet 0: {NO_BARE}", normalised(LineEnds.REFUSE, b"\0")),
    (f"the content has a NUL at octet 1: {NO_BARE}", normalised(LineEnds.NORMALISE, b"a\0b\0")),
    (f"the content has a bare CR at octet 3: {NO_BARE}", normalised(LineEnds.REFUSE, b"one\rtwo")),
    (f"the content has a bare CR at octet 3: {NO_BARE}", normalised(LineEnds.REFUSE, b"one\r", b"two")),
    (f"the content has a bare CR at octet 3: {NO_BARE}", normalised(LineEnds.REFUSE, b"one\r")),
    (f"the content has a bare LF at octet 8: {NO_BARE}", normalised(LineEnds.REFUSE, b"one\r\n", b"two\n")),
    (f"the content has a bare LF at octet 0: {NO_BARE}", normalised(LineEnds.REFUSE, b"\nx")),
    (
        "the data has ended: what follows is commands, and the next content needs its own",
        unstuffed_twice,
    ),
    # server.py
    ("a server sends replies, not commands", lambda: ready_server().send(Quit())),
    (OVER, lambda: server_that_closed().send(Reply(250))),
    (
        "no reply can be sent now: 220 was given to STARTTLS: the TLS handshake is due",
        lambda: server_under_tls().send(Reply(250)),
    ),
    (
        "a reply 250 that no command asked for; only 421 may come unasked",
        lambda: ready_server().send(Reply(250)),
    ),
    (
        (
            "235 to an authentication that the client has cancelled, or to a line that is no response: it can only be "
            "refused (RFC 4954 section 4)"
        ),
        lambda: server_with_a_cancelled_exchange().send(Reply(235)),
    ),
]


def server_with_a_cancelled_exchange() -> ServerConnection:
    server = ready_server("AUTH LOGIN", secure=True)
    give(server, b"AUTH LOGIN\r\n", 334)
    receive(server, b"*\r\n")
    return server


def session_that_is_ready() -> Session:
    session = Session()
    session.reply(220)
    return session


def session_that_left() -> Session:
    session = Session()
    session.close()
    return session


@pytest.mark.parametrize(("sentence", "do"), LOCAL)
def test_what_a_program_asks_for(sentence: str, do: Do) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        do()
    assert str(caught.value) == sentence


def test_objections() -> None:
    """What would be said is told before it is asked for, too."""
    assert closed().objection(Quit()) == OVER
    assert ready_server().objection(Quit()) == "a server sends replies, not commands"
    assert objection_to(b"a\0", LineEnds.NORMALISE) == f"the content has a NUL at octet 1: {NO_BARE}"


def test_the_base_alone_plays_no_role() -> None:
    base: Any = Connection
    client = ready_client()
    calls: dict[str, tuple[object, ...]] = {
        "_send": (client, Quit()),
        "_next_event": (client,),
        "_deadline": (client,),
        "_content_begins": (client,),
        "_line_limit": (client,),
    }
    for name, arguments in calls.items():
        with pytest.raises(TypeError) as caught:
            getattr(base, name)(*arguments)
        assert str(caught.value) == "Connection is made by its role"


# What a server refuses ------------------------------------------------------------------------------------------------

SMALL = Limits(recipients=1, transactions=1, message=10)


def content(server: ServerConnection, data: bytes) -> list[object]:
    give(server, b"DATA\r\n", 354)
    return [*receive(server, data)]


REFUSED: list[tuple[str, Callable[[], list[Any]]]] = [
    ("421 4.7.0 This is no server of HTTP", lambda: receive(ready_server(), b"POST / HTTP/1.1\r\n")),
    ("500 5.5.1 command not recognised", lambda: receive(ready_server(), b"DO IT\r\n")),
    ("500 5.5.1 LHLO is not for SMTP", lambda: receive(ready_server(), b"LHLO x\r\n")),
    ("500 5.5.1 EHLO is not for LMTP", lambda: receive(ready_server(lmtp=True), b"EHLO x\r\n")),
    ("503 5.5.1 bad sequence of commands", lambda: receive(ready_server(), b"DATA\r\n")),
    (
        "555 5.5.4 a parameter that is not recognised",
        lambda: receive(ready_server(), b"MAIL FROM:<a@x.example> X-Y=z\r\n"),
    ),
    ("500 5.5.2 This is no command", lambda: receive(ready_server(), b"\x80\r\n")),
    (
        "452 4.5.3 too many recipients",
        lambda: receive(mailing_server("b@y.example", limits=SMALL), b"RCPT TO:<c@y.example>\r\n"),
    ),
    (
        "552 5.3.4 message too large (RFC 1870 section 4)",
        lambda: receive(ready_server("SIZE", limits=SMALL), b"MAIL FROM:<a@x.example> SIZE=11\r\n"),
    ),
    (
        "552 5.3.4 message too large (RFC 1870 section 4)",
        lambda: receive(mailing_server("b@y.example", offer=("CHUNKING",), limits=SMALL), b"BDAT 11\r\n12345678901"),
    ),
    (
        "552 5.3.4 message too large (RFC 1870 section 4)",
        lambda: content(mailing_server("b@y.example", offer=(), limits=SMALL), b"123456789\r\n.\r\n"),
    ),
    (
        "421 4.7.0 too many messages in one session",
        lambda: receive(second_transaction(), b"MAIL FROM:<a@x.example>\r\n"),
    ),
    (
        "554 5.6.0 bare LF in the content (RFC 5321 section 2.3.8)",
        lambda: content(mailing_server("b@y.example"), b"a\nb\r\n.\r\n"),
    ),
    (
        "554 5.6.0 bare CR in the content (RFC 5321 section 2.3.8)",
        lambda: content(mailing_server("b@y.example"), b"a\rb\r\n.\r\n"),
    ),
    (
        "554 5.6.0 NUL in the content (RFC 5321 section 2.3.8)",
        lambda: content(mailing_server("b@y.example"), b"a\0b\r\n.\r\n"),
    ),
]


def second_transaction() -> ServerConnection:
    server = mailing_server(limits=SMALL)
    give(server, b"RSET\r\n", 250)
    return server


@pytest.mark.parametrize(("sentence", "do"), REFUSED)
def test_what_a_server_refuses(sentence: str, do: Callable[[], list[Any]]) -> None:
    last = do()[-1]
    assert isinstance(last, BadCommand)
    assert str(last.reply) == sentence


# The handshake --------------------------------------------------------------------------------------------------------

HI, OK, NO = b"220 mx.example\r\n", b"250 mx.example\r\n", b"502 no\r\n"
USER: dict[str, Any] = {"username": "user", "password": "secret", "authenticate": True}
REQUIRED: dict[str, Any] = {"security": Security.REQUIRED}
HANDSHAKES: list[tuple[str, dict[str, Any], list[bytes]]] = [
    ("the server closed the connection", {}, [b""]),
    ("the server closed the connection", {}, [HI, b""]),
    ("the server closed the connection: 502 no", {}, [HI, NO, b""]),
    (
        "the server closed the connection",
        {**USER, "security": Security.IMPLICIT},
        [HI, b"250-mx.example\r\n250 AUTH PLAIN\r\n", b""],
    ),
    (
        "the token is empty, or holds more than visible ASCII characters: is it a line's end?",
        {"username": "user", "token": lambda: "two words", "authenticate": True, "security": Security.IMPLICIT},
        [HI, b"250-mx.example\r\n250 AUTH XOAUTH2\r\n"],
    ),
    ("the server is closing the connection: 421 bye", {}, [HI, b"421 bye\r\n"]),
    ("the server does not serve: 554 no", {}, [b"554 no\r\n"]),
    ("the server refuses the hello: 450 busy", {}, [HI, b"450 busy\r\n"]),
    ("the server refuses the hello: 502 no", {}, [HI, NO, NO]),
    ("the server refuses the hello: 502 no", {"lmtp": True}, [HI, NO]),
    (
        "the server refuses EHLO, so that it cannot offer the STARTTLS that is required: 502 no",
        REQUIRED,
        [HI, NO],
    ),
    (
        "the server refuses EHLO, which authentication needs: 502 no",
        {**USER, "security": Security.OPPORTUNISTIC},
        [HI, NO],
    ),
    ("the server does not offer STARTTLS, which is required", REQUIRED, [HI, OK]),
    (
        "the server does not offer STARTTLS, which is required (something between us and it has overwritten the offer)",
        REQUIRED,
        [HI, b"250-mx.example\r\n250 XXXXXXXA\r\n"],
    ),
    (
        "the server refuses STARTTLS: 454 not now",
        REQUIRED,
        [HI, b"250-mx.example\r\n250 STARTTLS\r\n", b"454 not now\r\n"],
    ),
]


def handshake(options: dict[str, Any], *replies: bytes) -> None:
    """Hold it with a server that says these, each when it is asked for."""
    connector = Connector(ConnectOptions(host="mx.example", **options), client_name="me.example")
    left = [*replies]
    while True:
        if isinstance(connector.next_event(), Pause):
            connector.data_to_send()
            connector.receive_data(left.pop(0))


@pytest.mark.parametrize(("sentence", "options", "replies"), HANDSHAKES)
def test_handshakes(sentence: str, options: dict[str, Any], replies: list[bytes]) -> None:
    with pytest.raises(ConnectFailed) as caught:
        handshake(options, *replies)
    assert str(caught.value) == sentence
