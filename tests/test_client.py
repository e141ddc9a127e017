"""The client's half: every reply has its command, and none that the server did not mean for it."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto import (
    NEED_DATA,
    Auth,
    AuthChallenge,
    AuthFailed,
    AuthNeeded,
    AuthReason,
    AuthResponse,
    AuthSucceeded,
    Bdat,
    Burl,
    ClientConnection,
    Command,
    Connect,
    ConnectionClosed,
    ContentWanted,
    Data,
    Ehlo,
    EhloReply,
    EndOfData,
    Etrn,
    Event,
    Expn,
    Extensions,
    Greeting,
    Helo,
    HeloReply,
    Help,
    Lhlo,
    Limits,
    LineEnds,
    LocalProtocolError,
    Mail,
    Noop,
    Quit,
    Rcpt,
    RecipientReply,
    RemoteProtocolError,
    Reply,
    ReplyReceived,
    Rset,
    ServiceClosing,
    StartTls,
    StartTlsReady,
    State,
    UnknownCommand,
    Unsolicited,
    Vrfy,
    XClient,
    XForward,
    testing,
)
from smtpproto.grammar import base64
from smtpproto.lines import LineBuffer
from smtpproto.replies import memory_for
from tests import strategies
from tests.driving import EVERYTHING, ask, ehlo_reply, events, look, mailing_client, ready_client, receive, upcoming

UNASKED = "a reply that no command asked for"


# -- the event for each reply -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (b"220 mx.example ESMTP\r\n", Greeting(Connect(), Reply(220, "mx.example ESMTP"), "mx.example")),
        (b"220\r\n", Greeting(Connect(), Reply(220, ""), "")),
        (b"220-mx hi\r\n220 there\r\n", Greeting(Connect(), Reply(220, ["mx hi", "there"]), "mx")),
        (b"554 no\r\n", Greeting(Connect(), Reply(554, "no"), "no")),
        (b"450 later\r\n", Greeting(Connect(), Reply(450, "later"), "later")),
        (b"421 busy\r\n", ServiceClosing(Connect(), Reply(421, "busy"))),
    ],
)
@pytest.mark.rfc("5321", "3.1")
def test_greetings(data: bytes, event: Event) -> None:
    client = ClientConnection()
    assert receive(client, data) == [event]
    assert client.last_reply == getattr(event, "reply")  # noqa: B009


@pytest.mark.parametrize("data", [b"235 ok\r\n", b"250 ok\r\n", b"200 ok\r\n", b"354 go\r\n", b"334 \r\n"])
@pytest.mark.rfc("5321", "4.3.2")
def test_what_is_no_greeting(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="is no answer to Connect here") as caught:
        receive(ClientConnection(), data)
    assert caught.value.received == data


@pytest.mark.rfc("5321", "3.1")
def test_after_a_refusing_greeting_quit_is_all_that_is_left() -> None:
    client = ClientConnection()
    receive(client, b"554 no\r\n")
    for command in (Ehlo("me"), Noop(), Rset()):
        with pytest.raises(LocalProtocolError, match="out of sequence here: refused by the greeting"):
            client.send(command)
    assert ask(client, Quit(), b"221 bye\r\n") == [ReplyReceived(Quit(), Reply(221, "bye"))]


SIZE_5 = Extensions(["SIZE 5"])


@pytest.mark.parametrize(
    ("command", "data", "event"),
    [
        (Ehlo("me"), b"250-x\r\n250 SIZE 5\r\n", EhloReply(Ehlo("me"), Reply(250, ["x", "SIZE 5"]), SIZE_5)),
        (Ehlo("me"), b"550 no\r\n", EhloReply(Ehlo("me"), Reply(550, "no"), Extensions())),
        (Helo("me"), b"250 x\r\n", HeloReply(Helo("me"), Reply(250, "x"))),
        (Helo("me"), b"550 no\r\n", HeloReply(Helo("me"), Reply(550, "no"))),
        (StartTls(), b"220 go\r\n", StartTlsReady(StartTls(), Reply(220, "go"))),
        (StartTls(), b"454 no\r\n", ReplyReceived(StartTls(), Reply(454, "no"))),
        (Auth("PLAIN", b"x"), b"235 ok\r\n", AuthSucceeded(Auth("PLAIN", b"x"), Reply(235, "ok"))),
        (Auth("PLAIN", b"x"), b"535 no\r\n", AuthFailed(Auth("PLAIN", b"x"), Reply(535, "no"))),
        (Auth("PLAIN", b"x"), b"530 no\r\n", AuthFailed(Auth("PLAIN", b"x"), Reply(530, "no"))),
        (
            Mail(""),
            b"530 no\r\n",
            AuthNeeded(Mail(""), Reply(530, "no"), ("PLAIN", "LOGIN"), AuthReason.REQUIRED_BY_SERVER),
        ),
        (Mail(""), b"250 ok\r\n", ReplyReceived(Mail(""), Reply(250, "ok"))),
        (Mail(""), b"250\r\n", ReplyReceived(Mail(""), Reply(250, ""))),
        (Mail(""), b"451 \xc4\xe3\r\n", ReplyReceived(Mail(""), Reply(451, "\udcc4\udce3"))),
        (Noop(), b"421 bye\r\n", ServiceClosing(Noop(), Reply(421, "bye"))),
        (Auth("PLAIN"), b"421 bye\r\n", ServiceClosing(Auth("PLAIN"), Reply(421, "bye"))),
        (Ehlo("me"), b"421 bye\r\n", ServiceClosing(Ehlo("me"), Reply(421, "bye"))),
        (Vrfy("x"), b"252 maybe\r\n", ReplyReceived(Vrfy("x"), Reply(252, "maybe"))),
        (UnknownCommand("XYZZY"), b"500 what\r\n", ReplyReceived(UnknownCommand("XYZZY"), Reply(500, "what"))),
    ],
)
def test_events(command: Command, data: bytes, event: Event) -> None:
    client = ready_client(*EVERYTHING)
    assert ask(client, command, data) == [event]
    assert type(event) in {type(each) for each in [event]}


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(
    ("line", "challenge"),
    [
        (b"334 VXNlcm5hbWU6", b"Username:"),
        (b"334 ", b""),
        (b"334", b""),
        (b"334 VXNlcm5hbWU6 junk", None),
        (b"334 VXNlcm5hbWU", None),
        (b"334 QUFB=", None),
        (b"334 YR==", None),
        (b"334 =", None),
        (b"334 \xff", None),
        (b"334 Password:", None),
    ],
)
def test_challenges(line: bytes, challenge: bytes | None) -> None:
    client = ready_client(*EVERYTHING)
    (event,) = ask(client, Auth("LOGIN"), line + b"\r\n")
    assert isinstance(event, AuthChallenge)
    assert event.command == Auth("LOGIN")
    assert event.challenge == challenge
    assert event.reply.lines[0].encode("utf-8", "surrogateescape") == line[4:]
    assert client.state is State.AUTH
    assert [type(each) for each in ask(client, AuthResponse(b"x"), b"334 eA==\r\n")] == [AuthChallenge]
    assert [type(each) for each in ask(client, AuthResponse(None), b"501 cancelled\r\n")] == [AuthFailed]
    assert (client.state, client.authenticated) == (State.READY, False)


JSON = b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n"  # {"status":"400"}


@pytest.mark.rfc("7628", "3.2.2")
def test_the_json_of_the_last_challenge_is_kept_for_the_refusal() -> None:
    client = ready_client(*EVERYTHING)
    ask(client, Auth("PLAIN", b"x"), JSON)
    refused = AuthResponse(b"")
    assert ask(client, refused, b"535 no\r\n") == [AuthFailed(refused, Reply(535, "no"), '{"status":"400"}')]
    # It is nothing of the next exchange, nor of a challenge behind it.
    plain = Auth("PLAIN", b"x")
    assert ask(client, plain, b"535 no\r\n") == [AuthFailed(plain, Reply(535, "no"))]
    ask(client, plain, JSON)
    ask(client, refused, b"334 eA==\r\n")
    assert ask(client, refused, b"535 no\r\n") == [AuthFailed(refused, Reply(535, "no"))]
    # What a reply to another command says is no challenge, whatever it looks like.
    ask(client, Noop(), JSON.replace(b"334", b"250"))
    assert ask(client, plain, b"535 no\r\n") == [AuthFailed(plain, Reply(535, "no"))]
    # And none where all went well after it.
    ask(client, plain, JSON)
    ask(client, refused, b"235 ok\r\n")
    assert client.authenticated


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (b" {}", None),
        (b"{}", "{}"),
        (b'{"a":1}\r\n', '{"a":1}'),
        (b"{", None),
        (b"[]", None),
        (b"", None),
        (b"Username:", None),
        (b'{"a":"\x1b[2J\x07\n"}', '{"a":" [2J  "}'),
        (b'{"\xff"}', '{"\\xff"}'),
        (b"{" + b"x" * 5000 + b"}", "{" + "x" * 1023),
    ],
)
def test_only_what_is_a_json_object_is_kept_and_it_prints(document: bytes, error: str | None) -> None:
    client = ready_client(*EVERYTHING)
    ask(client, Auth("PLAIN", b"x"), b"334 " + base64(document).encode() + b"\r\n")
    (event,) = ask(client, AuthResponse(b""), b"535 no\r\n")
    assert isinstance(event, AuthFailed)
    assert event.error == error


@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize(
    ("offer", "secure", "text", "why", "usable"),
    [
        (["AUTH PLAIN"], False, "5.7.0 authentication required", AuthReason.REQUIRED_BY_SERVER, ()),
        (["AUTH PLAIN"], True, "5.7.0 authentication required", AuthReason.REQUIRED_BY_SERVER, ("PLAIN",)),
        (["AUTH PLAIN CRAM-MD5"], False, "5.7.0 no", AuthReason.REQUIRED_BY_SERVER, ("CRAM-MD5",)),
        ([], False, "5.7.0 authentication required", AuthReason.REQUIRED_BY_SERVER, ()),
        (["STARTTLS"], False, "5.7.0 Must issue a STARTTLS command first", AuthReason.TLS_REQUIRED, ()),
        (["STARTTLS"], False, "5.7.0 authentication required", AuthReason.TLS_REQUIRED, ()),
        (["STARTTLS", "AUTH PLAIN CRAM-MD5"], False, "use tls", AuthReason.TLS_REQUIRED, ("CRAM-MD5",)),
        (["STARTTLS", "AUTH CRAM-MD5"], False, "5.7.0 no", AuthReason.REQUIRED_BY_SERVER, ("CRAM-MD5",)),
        # What is there already is not what is missing, whatever such a server offers or says.
        (["STARTTLS"], True, "5.7.0 no", AuthReason.REQUIRED_BY_SERVER, ()),
        (["STARTTLS", "AUTH PLAIN"], True, "Must issue STARTTLS", AuthReason.REQUIRED_BY_SERVER, ("PLAIN",)),
    ],
)
def test_530_says_what_is_missing(
    offer: list[str], secure: bool, text: str, why: AuthReason, usable: tuple[str, ...]
) -> None:
    client = ready_client(*offer, secure=secure)
    (event,) = ask(client, Mail(""), b"530 " + text.encode() + b"\r\n")
    assert event == AuthNeeded(Mail(""), Reply(530, text), client.extensions.auth, why, usable)
    assert client.state is State.READY


@pytest.mark.rfc("4954", "4")
def test_auth_that_is_refused_leaves_all_as_it_was() -> None:
    for client in (
        ClientConnection(),
        mailing_client(),
        ready_client("PIPELINING"),
        ready_client(*EVERYTHING, lmtp=True),
    ):
        if client.lmtp:
            ask(client, Auth("PLAIN", b"x"), b"235 ok\r\n")
        before = look(client)
        with pytest.raises(LocalProtocolError):
            client.send(Auth("PLAIN", b"x"))
        assert look(client) == before
    # One at a time: nothing else while it is not answered, nor in the middle of it.
    client = ready_client(*EVERYTHING)
    client.send(Auth("LOGIN"))
    for answer in (None, b"334 \r\n"):
        if answer is not None:
            receive(client, answer)
        before = look(client)
        for command in (Auth("PLAIN", b"x"), Noop()):
            with pytest.raises(LocalProtocolError):
                client.send(command)
        assert look(client) == before
    with pytest.raises(LocalProtocolError):
        ready_client(*EVERYTHING).send(AuthResponse(b"x"))


@pytest.mark.rfc("4954", "4")
def test_auth_has_its_place() -> None:
    fresh = ClientConnection()
    receive(fresh, b"220 x\r\n")
    with pytest.raises(LocalProtocolError, match="AUTH is out of sequence here: greeted"):
        fresh.send(Auth("PLAIN"))
    mailing = mailing_client()
    with pytest.raises(LocalProtocolError, match="AUTH is out of sequence here: in a mail transaction"):
        mailing.send(Auth("PLAIN"))
    client = ready_client(*EVERYTHING)
    for answer in (b"535 no\r\n", b"454 later\r\n"):
        ask(client, Auth("PLAIN", b"x"), answer)
        assert not client.authenticated
    ask(client, Auth("PLAIN", b"x"), b"235 ok\r\n")
    assert client.authenticated
    with pytest.raises(LocalProtocolError, match="AUTH after a successful AUTH"):
        client.send(Auth("PLAIN"))
    ask(client, Ehlo("me"), ehlo_reply(*EVERYTHING))
    assert client.authenticated
    with pytest.raises(LocalProtocolError, match="AUTH after a successful AUTH"):
        client.send(Auth("PLAIN"))


@pytest.mark.rfc("4954", "4")
def test_nothing_but_a_response_within_an_authentication() -> None:
    client = ready_client(*EVERYTHING)
    ask(client, Auth("LOGIN"), b"334 \r\n")
    for command in (Noop(), Rset(), Quit(), Mail(""), Auth("PLAIN")):
        with pytest.raises(LocalProtocolError, match="out of sequence here: 334 was given"):
            client.send(command)


@pytest.mark.parametrize(
    ("command", "keyword"),
    [
        (StartTls(), "STARTTLS"),
        (Auth("PLAIN"), "AUTH"),
        (Etrn("x.example"), "ETRN"),
        (XClient({"NAME": "x"}), "XCLIENT"),
        (XForward({"NAME": "x"}), "XFORWARD"),
        (Mail("", size=5), "SIZE"),
        (Mail("", body="8BITMIME"), "8BITMIME"),
        (Mail("", body="BINARYMIME"), "BINARYMIME"),
        (Mail("\u00fc@x.example", smtputf8=True), "SMTPUTF8"),
        (Vrfy("x", smtputf8=True), "SMTPUTF8"),
        (Expn("\u00fc"), "SMTPUTF8"),
    ],
)
@pytest.mark.rfc("5321", "2.2.1")
def test_what_is_not_offered_is_not_sent(command: Command, keyword: str) -> None:
    without = ready_client(*(line for line in EVERYTHING if line.split()[0] != keyword))
    before = look(without)
    with pytest.raises(LocalProtocolError, match=f"needs the extension {keyword}, which is not offered"):
        without.send(command)
    assert look(without) == before
    assert without.objection(command) is not None
    offered = ready_client(*EVERYTHING)
    assert offered.objection(command) is None
    offered.send(command)


@pytest.mark.rfc("5321", "4.1.1.3")
@pytest.mark.rfc("3461", "5.2.2")
@pytest.mark.rfc("6531", "3.2")
@pytest.mark.parametrize(
    ("command", "keyword"),
    [
        (Bdat(0), "CHUNKING"),
        (Burl("imap://x/y"), "BURL"),
        (Rcpt("b@y.example", notify=["NEVER"]), "DSN"),
    ],
)
def test_what_is_not_offered_is_not_sent_in_a_transaction(command: Command, keyword: str) -> None:
    offer = tuple(line for line in EVERYTHING if line.split()[0] != keyword)
    with pytest.raises(LocalProtocolError, match=f"needs the extension {keyword}, which is not offered"):
        mailing_client("b@y.example", offer=offer).send(command)
    mailing_client("b@y.example").send(command)


@pytest.mark.parametrize("command", [Help(), Expn("x"), Vrfy("x"), UnknownCommand("XYZZY"), Mail("", other={"X": "1"})])
@pytest.mark.rfc("5321", "3.5.2")
def test_what_needs_no_offer(command: Command) -> None:
    ready_client().send(command)


@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("3207", "4.2")
def test_no_starttls_within_tls() -> None:
    client = ready_client(*EVERYTHING, secure=True)
    with pytest.raises(LocalProtocolError, match="STARTTLS within TLS"):
        client.send(StartTls())


# -- replies that no command asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("second", [b"250 b\r\n", b"354 b\r\n", b"250-b\r\n250 c\r\n", b"2", b"9", b"\r\n"])
@given(cut=strategies.cuts(20))
def test_a_stale_reply_answers_nothing(pipelining: bool, second: bytes, cut: list[int]) -> None:
    """However the packets fall, and whenever the program looks."""
    pieces = testing.pieces(b"250 a\r\n" + second, cut)

    def look_on(client: ClientConnection) -> None:
        while (event := client.next_event()) is not NEED_DATA:
            seen.append(event)

    def looks_at_once(client: ClientConnection) -> None:
        for piece in pieces:
            client.receive_data(piece)
            look_on(client)

    def looks_at_the_end(client: ClientConnection) -> None:
        for piece in pieces:
            client.receive_data(piece)
        look_on(client)

    def looks_after_the_next_send(client: ClientConnection) -> None:
        for piece in pieces:
            client.receive_data(piece)
        seen.append(client.next_event())
        client.send(Rset())

    def looks_after_the_next_of_a_group(client: ClientConnection) -> None:
        for piece in pieces:
            client.receive_data(piece)
        client.send(Rset())
        seen.append(client.next_event())
        client.next_event()

    for program in (
        looks_at_once,
        looks_at_the_end,
        looks_after_the_next_send,
        *([looks_after_the_next_of_a_group] if pipelining else []),
    ):
        seen: list[object] = []
        client = ready_client(*(["PIPELINING"] if pipelining else []))
        client.send(Mail(""))
        with pytest.raises(RemoteProtocolError, match=UNASKED) as caught:
            program(client)
        assert seen == [ReplyReceived(Mail(""), Reply(250, "a"))]
        assert second.startswith(caught.value.received)
        assert caught.value.received
        assert client.state is State.ERROR


@given(cut=strategies.cuts(20), group=st.integers(1, 4))
def test_a_reply_that_was_there_before_its_command_is_not_its_answer(cut: list[int], group: int) -> None:
    client = ready_client("PIPELINING")
    client.send(Mail(""))
    client.receive_data(b"250 a\r\n250 b\r\n")
    for _ in range(group):
        client.send(Rset())
    for piece in testing.pieces(b"250 c\r\n" * group, cut):
        client.receive_data(piece)
    assert client.next_event() == ReplyReceived(Mail(""), Reply(250, "a"))
    with pytest.raises(RemoteProtocolError, match=UNASKED):
        client.next_event()


def test_an_old_position_does_not_hide_a_new_one() -> None:
    client = ready_client("PIPELINING")
    for _ in range(2):
        client.send(Rset())
        client.receive_data(b"250 a")
        client.send(Rset())
        assert len(receive(client, b"\r\n250 b\r\n")) == 2
    client.send(Rset())
    client.receive_data(b"250 a\r\n250 b\r\n")
    client.send(Rset())
    client.next_event()
    with pytest.raises(RemoteProtocolError, match=UNASKED):
        client.next_event()


@pytest.mark.rfc("2920", "3.1")
def test_every_command_of_a_group_has_its_position() -> None:
    client = ready_client("PIPELINING")
    client.send(Mail(""))
    client.receive_data(b"250 a\r\n")
    client.send(Rcpt("b@y.example"))
    client.receive_data(b"250 b\r\n250 c\r\n")
    client.send(Rcpt("c@y.example"))
    assert client.next_event() == ReplyReceived(Mail(""), Reply(250, "a"))
    assert client.next_event() == ReplyReceived(Rcpt("b@y.example"), Reply(250, "b"))
    with pytest.raises(RemoteProtocolError, match=UNASKED):
        client.next_event()


@given(
    replies=st.lists(st.sampled_from([b"250 a\r\n", b"250-a\r\n250 b\r\n", b"550 no\r\n"]), min_size=6, max_size=6),
    delays=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    cut=strategies.cuts(60),
)
@example(replies=[b"250 a\r\n"] * 6, delays=[0, 1, 1, 1, 1, 1], cut=[3, 10, 17, 24])
def test_replies_may_lie_unread_while_the_group_grows(replies: list[bytes], delays: list[int], cut: list[int]) -> None:
    """The server answers each command after it was sent; the program reads whenever it likes."""
    client = ready_client("PIPELINING")
    client.send(Rset())
    on_the_wire = b"".join(replies)
    starts = list(itertools.accumulate(map(len, replies), initial=0))
    sent, arrived, seen = 1, 0, 0
    for piece, delay in itertools.zip_longest(testing.pieces(on_the_wire, cut), delays, fillvalue=None):
        for _ in range(delay or 0):
            if sent < len(replies):
                client.send(Rset())
                sent += 1
        while sent < len(replies) and starts[sent] < arrived + len(piece or b""):
            client.send(Rset())  # nothing arrives before it was asked for
            sent += 1
        if piece is not None:
            client.receive_data(piece)
            arrived += len(piece)
        if delay == 2:
            seen += len(events(client))
    assert seen + len(events(client)) == len(replies) == sent
    assert client.outstanding == ()


@pytest.mark.parametrize("code", [421, 450, 451, 500, 554])
@given(cut=strategies.cuts(20))
@pytest.mark.rfc("5321", "3.8")
def test_a_server_may_leave_unasked(code: int, cut: list[int]) -> None:
    client = ready_client(*EVERYTHING)
    reply = Reply(code, ["going", "gone"])
    assert receive(client, *testing.pieces(bytes(reply), cut)) == [ServiceClosing(Unsolicited(), reply)]
    assert client.state is State.CLOSED
    assert client.last_reply == reply
    before = look(client)
    for command in (Quit(), Noop(), Mail("")):
        with pytest.raises(LocalProtocolError, match="the session is over"):
            client.send(command)
    with pytest.raises(LocalProtocolError, match="no content is due"):
        client.send_content(b"x")
    assert look(client) == before
    assert receive(client, b"250 ok\r\n", b"") == [ConnectionClosed((), reply, False)]


@pytest.mark.parametrize("octet", [bytes([each]) for each in range(256) if each not in b"45"])
def test_the_first_octet_of_anything_else_is_an_error_at_once(octet: bytes) -> None:
    client = ready_client()
    client.receive_data(octet)
    with pytest.raises(RemoteProtocolError, match=UNASKED) as caught:
        client.next_event()
    assert caught.value.received == octet


@pytest.mark.parametrize("octet", [b"4", b"5"])
def test_the_first_octet_of_a_leave_waits_for_the_rest(octet: bytes) -> None:
    client = ready_client()
    assert receive(client, octet) == []
    with pytest.raises(RemoteProtocolError, match="must be a code"):
        receive(client, b"xx\r\n")


@pytest.mark.parametrize(
    "data", [b"2", b"4", b"421 bye\r", b"421 bye\r\n", b"421-bye\r\n", b"421-bye\r\n42", b"250 ok\r\n", b"\r\n"]
)
@pytest.mark.parametrize("looks", [True, False])
def test_nothing_is_sent_while_something_unasked_lies_there(data: bytes, looks: bool) -> None:
    client = ready_client(*EVERYTHING)
    client.receive_data(data)
    if looks and data[:1] == b"4" and data != b"421 bye\r\n":
        assert client.next_event() is NEED_DATA
    with pytest.raises(RemoteProtocolError, match=UNASKED) as caught:
        client.send(Noop())
    assert caught.value.received == data
    with pytest.raises(RemoteProtocolError, match=UNASKED):
        client.next_event()
    assert client.state is State.ERROR


def test_a_reply_in_the_middle_of_content_is_unasked_too() -> None:
    client = mailing_client("b@y.example")
    ask(client, Data(), b"354 go\r\n")
    client.send_content(b"x")
    assert receive(client, b"421 bye\r\n") == [ServiceClosing(Unsolicited(), Reply(421, "bye"))]
    with pytest.raises(LocalProtocolError, match="no content is due"):
        client.send_content(b"x")
    with pytest.raises(LocalProtocolError, match="the session is over"):
        client.send(EndOfData())
    client = mailing_client("b@y.example")
    ask(client, Data(), b"354 go\r\n")
    with pytest.raises(RemoteProtocolError, match=UNASKED):
        receive(client, b"250 ok\r\n")


@pytest.mark.rfc("5321", "3.8")
def test_421_in_the_middle_of_a_group() -> None:
    client = ready_client("PIPELINING")
    for command in (Mail(""), Rcpt("b@y.example"), Rcpt("c@y.example"), Data()):
        client.send(command)
    seen = receive(client, b"250 ok\r\n421 bye\r\n250 no more\r\n", b"")
    assert seen == [
        ReplyReceived(Mail(""), Reply(250, "ok")),
        ServiceClosing(Rcpt("b@y.example"), Reply(421, "bye")),
        ConnectionClosed((Rcpt("c@y.example"), Data()), Reply(421, "bye"), False),
    ]


@pytest.mark.parametrize("rest", [b"2", b"250", b"250 ok", b"250 ok\r", b"250-ok\r\n", b"250-ok\r\n250 o"])
@pytest.mark.rfc("5321", "4.2")
def test_a_reply_that_is_cut_off_is_no_answer(rest: bytes) -> None:
    client = ready_client()
    client.send(Noop())
    assert receive(client, rest) == []
    client.receive_data(b"")
    with pytest.raises(RemoteProtocolError, match="the stream ended within a reply") as caught:
        client.next_event()
    assert caught.value.received == rest


def test_what_is_left_unanswered_at_the_end() -> None:
    client = ready_client("PIPELINING")
    for command in (Mail(""), Rcpt("b@y.example")):
        client.send(command)
    assert receive(client, b"550 no\r\n", b"") == [
        ReplyReceived(Mail(""), Reply(550, "no")),
        ConnectionClosed((Rcpt("b@y.example"),), Reply(550, "no"), False),
    ]
    with pytest.raises(LocalProtocolError, match="the session is over"):
        client.send(Quit())


# -- replies that have no place -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "data"),
    [
        (Mail(""), b"354 go\r\n"),
        (Ehlo("me"), b"354 go\r\n"),
        (Ehlo("me"), b"334 \r\n"),
        (Rset(), b"334 \r\n"),
        (StartTls(), b"334 \r\n"),
        (Quit(), b"354 \r\n"),
    ],
)
@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.rfc("5321", "4.2")
def test_a_digit_that_is_not_listed(command: Command, data: bytes) -> None:
    client = ready_client(*EVERYTHING)
    client.send(command)
    with pytest.raises(RemoteProtocolError, match="is no answer to") as caught:
        receive(client, data)
    assert caught.value.received == data


@pytest.mark.rfc("5321", "4.3.2")
def test_250_is_no_answer_to_data() -> None:
    client = mailing_client("b@y.example")
    with pytest.raises(RemoteProtocolError, match="250 is no answer to DATA here"):
        ask(client, Data(), b"250 ok\r\n")


@pytest.mark.parametrize(
    "line",
    [b"+25 ok", b" 25 ok", b"2_5 ok", b"999 ok", b"199 ok", b"250OK", b"25", b"", "\u0662\u0665\u0660 ok".encode()],
)
@pytest.mark.rfc("5321", "4.2")
def test_what_is_no_code(line: bytes) -> None:
    client = ready_client()
    client.send(Noop())
    with pytest.raises(RemoteProtocolError, match="must be a code"):
        receive(client, line + b"\r\n")


@pytest.mark.parametrize("data", [b"550-no\r\n250 ok\r\n", b"250-ok\r\n550 no\r\n"])
@pytest.mark.rfc("5321", "4.2.1")
@pytest.mark.rfc("2920", "3.1")
def test_the_lines_of_a_reply_have_one_code(data: bytes) -> None:
    client = ready_client()
    client.send(Noop())
    with pytest.raises(RemoteProtocolError, match="lines of one reply have the codes"):
        receive(client, data)


# -- groups -------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2920", "3.1")
@pytest.mark.parametrize(
    "last",
    [Data(), Noop(), Quit(), Vrfy("x"), Expn("x"), Ehlo("me"), Helo("me"), Help(), UnknownCommand("XYZZY")],
    ids=lambda command: type(command).__name__,
)
def test_what_ends_a_group_is_answered_first(last: Command) -> None:
    client = ready_client("PIPELINING")
    for command in (Mail(""), Rcpt("b@y.example"), last):
        client.send(command)
    for following in (Rcpt("c@y.example"), Rset(), Quit()):
        before = look(client)
        with pytest.raises(LocalProtocolError, match="is not answered yet, and nothing may follow it before"):
            client.send(following)
        assert look(client) == before


@pytest.mark.rfc("2920", "3.1")
def test_a_group_that_overlaps_two_messages() -> None:
    client = mailing_client("b@y.example")
    ask(client, Data(), b"354 go\r\n")
    client.send_content(b"x")
    group = (EndOfData(), Mail(""), Rcpt("b@y.example"), Rcpt("c@y.example"), Data())
    assert b"".join(map(client.send, group)) == (
        b"\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\nDATA\r\n"
    )
    seen = receive(client, b"250 queued\r\n250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n")
    assert [getattr(event, "command") for event in seen] == list(group)  # noqa: B009
    assert client.send_content(b".y\r\n") == b"..y\r\n"


@pytest.mark.rfc("2920", "3")
@pytest.mark.rfc("5321", "4.3.1")
@pytest.mark.parametrize("command", [Rset(), Mail(""), Noop()])
def test_without_pipelining_every_command_blocks(command: Command) -> None:
    client = ready_client("SIZE 5")
    client.send(command)
    with pytest.raises(LocalProtocolError, match="is not answered yet"):
        client.send(Rset())
    receive(client, b"250 ok\r\n")
    client.send(Rset())


@pytest.mark.rfc("2920", "3")
def test_without_pipelining_the_final_dot_and_chunks_block_too() -> None:
    offer = tuple(each for each in EVERYTHING if each != "PIPELINING")
    client = mailing_client("b@y.example", offer=offer)
    ask(client, Data(), b"354 go\r\n")
    client.send(EndOfData())
    with pytest.raises(LocalProtocolError, match="PIPELINING was not offered"):
        client.send(Mail(""))
    client = mailing_client("b@y.example", offer=offer)
    client.send(Bdat(0))
    with pytest.raises(LocalProtocolError, match="PIPELINING was not offered"):
        client.send(Bdat(0))


def test_a_group_has_a_limit() -> None:
    client = ready_client("PIPELINING", limits=Limits(outstanding=3))
    for _ in range(3):
        client.send(Rset())
    before = look(client)
    with pytest.raises(LocalProtocolError, match="3 commands are not answered yet: read their replies first"):
        client.send(Rset())
    assert look(client) == before
    receive(client, b"250 ok\r\n")
    client.send(Rset())


# -- content ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2920", "3.1")
def test_354_although_all_recipients_were_refused_wants_a_lone_dot() -> None:
    client = ready_client("PIPELINING")
    for command in (Mail(""), Rcpt("b@y.example"), Data()):
        client.send(command)
    seen = receive(client, b"250 ok\r\n550 no\r\n354 go\r\n")
    assert seen[-1] == ContentWanted(Data(), Reply(354, "go"))
    for other in (Rset(), Quit(), Mail("")):
        with pytest.raises(LocalProtocolError, match="out of sequence here: 354 was given"):
            client.send(other)
    assert client.send(EndOfData()) == b".\r\n"
    receive(client, b"554 no valid recipients\r\n")
    assert client.state is State.READY


@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.rfc("5321", "4.1.1.4")
def test_content_is_stuffed_and_ended() -> None:
    client = mailing_client("b@y.example")
    ask(client, Data(), b"354 go\r\n")
    assert client.send_content(b"a\n.b\r\n") == b"a\r\n..b\r\n"
    assert client.send_content(b".") == b".."
    assert client.send(EndOfData()) == b"\r\n.\r\n"
    with pytest.raises(LocalProtocolError, match="no content is due: ready, and in no mail transaction"):
        client.send_content(b"x")


@pytest.mark.rfc("5321", "2.3.8")
def test_content_that_is_refused_changes_nothing() -> None:
    client = mailing_client("b@y.example", line_ends=LineEnds.REFUSE)
    ask(client, Data(), b"354 go\r\n")
    client.send_content(b"a\r")
    before = look(client)
    with pytest.raises(LocalProtocolError, match="bare CR"):
        client.send(EndOfData())
    assert look(client) == before
    with pytest.raises(LocalProtocolError, match="bare CR"):
        client.send_content(b"b")
    assert look(client) == before
    assert client.send_content(b"\n") == b"\n"
    assert client.send(EndOfData()) == b".\r\n"


EIGHT_BITS = "content has the octet 0xfc, and MAIL said nothing of it"


@pytest.mark.parametrize("body", [None, "7BIT", "8BITMIME", "BINARYMIME"])
@pytest.mark.parametrize("chunk", [False, True])
@pytest.mark.rfc("6152", "3")
@pytest.mark.rfc("3030", "3")
@pytest.mark.rfc("5321", "2.4")
def test_eight_bits_need_a_body_that_has_them(body: str | None, chunk: bool) -> None:
    if body == "BINARYMIME" and not chunk:
        return
    client = ready_client(*EVERYTHING)
    assert client.content_objection(b"\xfc") is None  # nothing was said of any body
    ask(client, Mail("a@x.example", body=body), b"250 ok\r\n")
    ask(client, Rcpt("b@y.example"), b"250 ok\r\n")
    if chunk:
        client.send(Bdat(2, last=True))
    else:
        ask(client, Data(), b"354 go\r\n")
    assert client.content_objection(b"u\r\n\0") is None
    before = look(client)
    if body in ("8BITMIME", "BINARYMIME"):
        assert client.content_objection(b"u\xfc") is None
        assert client.send_content(b"u\xfc") == b"u\xfc"
    else:
        objection = client.content_objection(b"u\xfc")
        assert objection is not None
        assert EIGHT_BITS in objection
        with pytest.raises(LocalProtocolError, match=EIGHT_BITS):
            client.send_content(b"u\xfc")
        assert look(client) == before
        assert client.send_content(b"ue") == b"ue"


def test_what_was_said_of_one_message_holds_for_no_other() -> None:
    client = mailing_client("b@y.example")
    ask(client, Rset(), b"250 ok\r\n")
    ask(client, Mail("a@x.example"), b"250 ok\r\n")
    ask(client, Rcpt("b@y.example"), b"250 ok\r\n")
    ask(client, Data(), b"354 go\r\n")
    with pytest.raises(LocalProtocolError, match=EIGHT_BITS):
        client.send_content(b"\xfc")


@pytest.mark.rfc("5321", "3.3")
@pytest.mark.parametrize("state", ["ready", "mail", "rcpt", "data asked", "auth"])
def test_content_is_sent_only_where_it_is_due(state: str) -> None:
    client = ready_client(*EVERYTHING) if state in ("ready", "auth") else mailing_client("b@y.example")
    if state == "data asked":
        client.send(Data())
    if state == "auth":
        ask(client, Auth("LOGIN"), b"334 \r\n")
    before = look(client)
    with pytest.raises(LocalProtocolError, match="no content is due"):
        client.send_content(b"x")
    assert look(client) == before


@pytest.mark.rfc("3030", "2")
@given(size=st.integers(0, 30), pieces=st.lists(st.binary(max_size=12), max_size=6))
def test_the_octets_of_a_chunk_are_counted(size: int, pieces: list[bytes]) -> None:
    client = mailing_client("b@y.example")
    assert client.send(Bdat(size)) == b"BDAT %d\r\n" % size
    left = size
    for piece in pieces:
        before = look(client)
        if not piece or (left and len(piece) <= left):
            assert client.send_content(piece) == piece
            left -= len(piece)
        else:
            with pytest.raises(LocalProtocolError, match=r"a chunk that has room for|no content is due"):
                client.send_content(piece)
            assert look(client) == before
        if left:
            for command in (Bdat(1), Rset(), Quit(), Mail("")):
                with pytest.raises(LocalProtocolError, match=f"^{left} octets of the chunk announced by BDAT"):
                    client.send(command)
        else:
            assert client.objection(Bdat(1)) is None


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("sent", [b"", b"1234"])
@pytest.mark.parametrize("early", [b"250 ok\r\n", b"250-ok\r\n250 ok\r\n"])
@pytest.mark.parametrize("looks", [True, False], ids=["looked at", "not looked at"])
def test_a_chunk_is_not_accepted_before_it_is_sent(
    last: bool, lmtp: bool, sent: bytes, early: bytes, looks: bool
) -> None:
    client = mailing_client("b@y.example", lmtp=lmtp)
    client.send(Bdat(5, last=last))
    client.send_content(sent)
    client.receive_data(early)
    with pytest.raises(RemoteProtocolError, match="a chunk was accepted of which octets were still to be sent"):
        client.next_event() if looks else client.send_content(b"12345"[len(sent) :])
    with pytest.raises(RemoteProtocolError, match="a chunk was accepted"):
        client.next_event()


@pytest.mark.rfc("3030", "2")
@pytest.mark.rfc("5321", "4.2.1")
def test_the_first_line_of_a_reply_tells_that_a_chunk_was_accepted_too_soon() -> None:
    client = mailing_client("b@y.example")
    client.send(Bdat(5))
    assert receive(client, b"250-ok\r\n") == []
    with pytest.raises(RemoteProtocolError, match="a chunk was accepted of which octets were still to be sent"):
        client.send_content(b"12345")


@pytest.mark.rfc("3030", "2")
def test_replies_to_earlier_commands_are_read_within_a_chunk() -> None:
    client = mailing_client(offer=("PIPELINING", "CHUNKING"))
    for command in (Rcpt("b@y.example"), Bdat(2), Bdat(5, last=True)):
        client.send(command)
        if isinstance(command, Bdat):
            client.send_content(b"1\n"[: command.size])
    client.receive_data(b"250 ok\r\n")
    client.send_content(b"3")
    assert receive(client, b"250 2 octets\r\n") == [
        ReplyReceived(Rcpt("b@y.example"), Reply(250, "ok")),
        ReplyReceived(Bdat(2), Reply(250, "2 octets")),
    ]
    client.send_content(b"45")
    assert receive(client, b"250 kept\r\n") == [ReplyReceived(Bdat(5, last=True), Reply(250, "kept"))]


@pytest.mark.rfc("3030", "2")
def test_a_chunk_goes_on_although_it_was_refused_and_not_after_421() -> None:
    client = mailing_client("b@y.example")
    client.send(Bdat(4))
    receive(client, b"452 full\r\n")
    assert client.send_content(b"xx") == b"xx"
    receive(client, b"421 bye\r\n")
    with pytest.raises(LocalProtocolError, match="no content is due: closed"):
        client.send_content(b"xx")
    client = mailing_client("b@y.example")
    ask(client, Bdat(2), b"452 full\r\n")
    client.send_content(b"xx")
    with pytest.raises(LocalProtocolError, match="BDAT is out of sequence here: a chunk was refused"):
        client.send(Bdat(2))
    ask(client, Rset(), b"250 ok\r\n")
    client.send(Mail(""))


@pytest.mark.rfc("3030", "2")
def test_overlapping_chunks_with_every_recipient_refused() -> None:
    client = ready_client(*EVERYTHING)
    for command in (Mail(""), Rcpt("b@y.example"), Bdat(0, last=True), Mail(""), Rcpt("c@y.example")):
        client.send(command)
    receive(client, b"250 ok\r\n550 no\r\n554 no valid recipients\r\n250 ok\r\n250 ok\r\n")
    assert client.state is State.RCPT


# -- LMTP ---------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2033", "4.2")
@pytest.mark.rfc("2033", "5")
@pytest.mark.parametrize("end", ["data", "bdat"])
def test_lmtp_replies_are_for_their_recipients(end: str) -> None:
    client = ready_client(*EVERYTHING, lmtp=True)
    for _ in range(2):
        for command in (Mail(""), Rcpt("b@y.example"), Rcpt("no@y.example"), Rcpt("b@y.example"), Rcpt("c@y.example")):
            client.send(command)
        receive(client, b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n250 ok\r\n")
        last: Command = EndOfData() if end == "data" else Bdat(0, last=True)
        if end == "data":
            ask(client, Data(), b"354 go\r\n")
        assert ask(client, last, b"250 one\r\n452 two\r\n", b"550 three\r\n") == [
            RecipientReply(last, Reply(250, "one"), "b@y.example"),
            RecipientReply(last, Reply(452, "two"), "b@y.example"),
            RecipientReply(last, Reply(550, "three"), "c@y.example"),
        ]
        assert client.state is State.READY


@pytest.mark.rfc("2033", "4.2")
def test_lmtp_does_not_mix_up_transactions() -> None:
    client = ready_client(*EVERYTHING, lmtp=True)
    for command in (Mail(""), Rcpt("b@y.example"), Rset(), Mail(""), Rcpt("c@y.example")):
        client.send(command)
    receive(client, b"250 ok\r\n" * 5)
    for late in (Bdat(0, last=True), Mail(""), Rcpt("d@y.example"), Bdat(0)):
        client.send(late)
    seen = receive(client, b"250 ok\r\n" * 3)
    client.send(Bdat(0, last=True))
    seen += receive(client, b"452 full\r\n503 no\r\n")
    assert [event.recipient for event in seen if isinstance(event, RecipientReply)] == ["c@y.example"]
    assert client.state is State.READY
    assert client.outstanding == ()


@pytest.mark.rfc("2033", "4.3")
def test_lmtp_last_chunk_waits_for_a_recipient() -> None:
    client = ready_client(*EVERYTHING, lmtp=True)
    last = Bdat(0, last=True)
    for _ in range(2):
        for command in (Mail(""), Rcpt("no@y.example"), Rcpt("b@y.example")):
            client.send(command)
        receive(client, b"250 ok\r\n550 no\r\n")
        with pytest.raises(LocalProtocolError, match="the last chunk waits until a recipient is accepted"):
            client.send(last)
        receive(client, b"250 ok\r\n")
        client.send(last)
        client.send(Mail(""))
        with pytest.raises(LocalProtocolError, match="out of sequence"):
            client.send(last)
        client.send(Rcpt("c@y.example"))
        with pytest.raises(LocalProtocolError, match="the last chunk waits until a recipient is accepted"):
            client.send(last)  # the one that is accepted is of the transaction before
        receive(client, b"250 ok\r\n" * 3)
        client.send(Rset())
        receive(client, b"250 ok\r\n")


def test_lmtp_421_is_for_all() -> None:
    client = ready_client(*EVERYTHING, lmtp=True)
    for command in (Mail(""), Rcpt("b@y.example"), Rcpt("c@y.example")):
        client.send(command)
    receive(client, b"250 ok\r\n" * 3)
    client.send(Bdat(0, last=True))
    assert receive(client, b"250 one\r\n421 bye\r\n") == [
        RecipientReply(Bdat(0, last=True), Reply(250, "one"), "b@y.example"),
        ServiceClosing(Bdat(0, last=True), Reply(421, "bye")),
    ]


def test_smtp_has_one_reply_for_all() -> None:
    client = mailing_client("b@y.example", "c@y.example")
    ask(client, Data(), b"354 go\r\n")
    assert ask(client, EndOfData(), b"250 ok\r\n") == [ReplyReceived(EndOfData(), Reply(250, "ok"))]


@pytest.mark.rfc("2033", "4.1")
def test_lmtp_says_lhlo() -> None:
    client = ClientConnection(lmtp=True)
    receive(client, b"220 x\r\n")
    for command in (Ehlo("me"), Helo("me")):
        with pytest.raises(LocalProtocolError, match="out of sequence"):
            client.send(command)
    (event,) = ask(client, Lhlo("me"), b"250-x\r\n250 SIZE 5\r\n")
    assert event == EhloReply(Lhlo("me"), Reply(250, ["x", "SIZE 5"]), SIZE_5)


# -- nothing changes where nothing is sent ------------------------------------------------------------------------

SITUATIONS: dict[str, Callable[[], ClientConnection]] = {
    "new": ClientConnection,
    "ready": lambda: ready_client(*EVERYTHING),
    "plain": ready_client,
    "mailing": lambda: mailing_client("b@y.example"),
    "waiting": lambda: asked(Noop()),
    "in a group": lambda: asked(Mail("")),
    "half a reply": lambda: asked(Noop(), b"250-x\r\n25"),
    "in content": lambda: mailing(Data(), b"354 go\r\n"),
    "in a chunk": lambda: mailing(Bdat(5)),
    "failed": lambda: mailing(Bdat(0), b"452 full\r\n"),
    "authenticating": lambda: asked(Auth("LOGIN"), b"334 \r\n"),
    "TLS": lambda: asked(StartTls(), b"220 go\r\n"),
    "closed": lambda: asked(Quit(), b"221 bye\r\n"),
}


def asked(command: Command, *data: bytes) -> ClientConnection:
    client = ready_client(*EVERYTHING)
    ask(client, command, *data)
    return client


def mailing(command: Command, *data: bytes) -> ClientConnection:
    client = mailing_client("b@y.example")
    ask(client, command, *data)
    return client


@pytest.mark.parametrize("situation", SITUATIONS)
@given(command=strategies.commands() | strategies.session_commands() | strategies.auth_responses())
def test_a_local_protocol_error_changes_nothing(situation: str, command: Command) -> None:
    client = SITUATIONS[situation]()
    before = look(client)
    objection = client.objection(command)
    if objection is not None:
        with pytest.raises(LocalProtocolError) as caught:
            client.send(command)
        assert str(caught.value) == objection
        assert look(client) == before
    else:
        data = client.send(command)
        assert client.outstanding[-1] == command
        assert data.endswith(b"\r\n")
        assert data.count(b"\n") == 1


# -- cuts ---------------------------------------------------------------------------------------------------------

REPLIES = (
    b"250 ok\r\n",
    b"250-a\r\n250 b\r\n",
    b"250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n",
    b"220 go\r\n",
    b"354 go\r\n",
    b"334 eA==\r\n",
    b"235 ok\r\n",
    b"221 bye\r\n",
    b"450 later\r\n",
    b"550-no\r\n550 no\r\n",
    b"530 auth\r\n",
    b"421 bye\r\n",
    b"250 ok\n",
    b"250-a\r\n550 b\r\n",
    b"\xff\r\n",
    b"2",
    b"",
)


def play(script: list[Command | bytes], cut: Callable[[bytes], list[bytes]]) -> list[object]:
    """All that comes of a scripted conversation."""
    client = ready_client(*EVERYTHING)
    found: list[object] = []
    for step in script:
        try:
            if isinstance(step, Command):
                found.append(client.send(step))
                continue
            for piece in cut(step) or [b""]:
                client.receive_data(piece)
                for event in upcoming(client):
                    found.append(event)  # noqa: PERF402 - what comes before an error is kept
            if client.state is State.TLS:
                client.tls_established()
        except LocalProtocolError as error:
            if "after the end of the stream" in str(error):
                break
            found.append(str(error))
        except RemoteProtocolError as error:
            found.append((type(error), error.args))
    return [*found, client.state, client.outstanding, client.last_reply, client.extensions]


@pytest.mark.rfc("2920", "3.1")
@given(
    script=st.lists(
        strategies.session_commands()
        | st.sampled_from(REPLIES)
        | st.lists(st.sampled_from(REPLIES), max_size=4).map(b"".join),
        max_size=20,
    ),
    cut=strategies.cuts(60),
)
def test_the_same_octets_cut_anywhere_give_the_same_events(script: list[Command | bytes], cut: list[int]) -> None:
    whole = play(script, testing.whole)
    assert play(script, testing.octets) == whole
    assert play(script, lambda data: testing.pieces(data, cut)) == whole


@given(st.lists(strategies.session_commands() | st.binary(max_size=30) | st.sampled_from(REPLIES), max_size=20))
def test_no_other_exception_comes_of_what_a_server_says(script: list[Command | bytes]) -> None:
    play(script, testing.whole)


# -- bounds -------------------------------------------------------------------------------------------------------


class Counted(LineBuffer):
    """Counts the octets that are looked at or copied."""

    __slots__ = ()
    work = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        Counted.work += len(data)
        super().feed(data)

    def next_line(self) -> bytes | None:
        Counted.work += len(self) - (self._searched - self._start) + 1
        return super().next_line()

    def _join(self, data: bytes) -> None:
        Counted.work += len(self) + len(data)
        super()._join(data)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    monkeypatch.setattr("smtpproto.connection.LineBuffer", Counted)
    Counted.work = 0
    return Counted


@pytest.mark.slow
@pytest.mark.parametrize("octet", [b"2", b"x", b"\r", b"-"])
def test_a_million_octets_without_a_line_end(counted: type[Counted], octet: bytes) -> None:
    client = ClientConnection()
    client.receive_data(b"220-")
    total = 1_000_000

    def for_ever() -> None:
        for _ in range(total):
            client.receive_data(octet)
            assert client.next_event() is NEED_DATA

    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="a line is longer than the 16384 octets"):
            for_ever()
        fed = client.limits.reply_line
        work = counted.work
        for _ in range(total):
            client.receive_data(octet)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert work == counted.work <= 4 * fed
    assert peak <= 8 * client.limits.reply_line
    with pytest.raises(RemoteProtocolError, match="a line is longer"):
        client.next_event()


@pytest.mark.parametrize("line", [b"250-\r\n", b"250-" + b"x" * 500 + b"\r\n"])
def test_an_endless_reply_stops(counted: type[Counted], line: bytes) -> None:
    client = ready_client()
    client.send(Ehlo("me"))
    counted.work = 0
    most = min(client.limits.reply_octets, client.limits.reply_lines * len(line)) + len(line)
    with pytest.raises(RemoteProtocolError, match="a reply has more than"):
        receive(client, *testing.octets(line * (most // len(line))))
    assert counted.work <= 8 * most


@pytest.mark.parametrize("cut", [testing.whole, testing.octets])
def test_an_ehlo_reply_of_64_kib_passes(cut: Callable[[bytes], list[bytes]]) -> None:
    lines = [f"250-X-{number} {'x' * 100}" for number in range(590)]
    data = "".join(f"{line}\r\n" for line in ["250-mx.example", *lines, "250 SIZE"]).encode()
    assert len(data) >= 64 * 1024
    client = ready_client()
    client.send(Ehlo("me"))
    (event,) = receive(client, *cut(data))
    assert isinstance(event, EhloReply)
    assert len(event.extensions) == 591


@pytest.mark.parametrize("data", [b"250-aaaa\r\n250 bbbb\r\n", b"250 aaaaaaaa\r\n"])
@pytest.mark.parametrize(
    "limits", [Limits(reply_line=12), Limits(reply_lines=1, reply_line=12), Limits(reply_octets=13)]
)
def test_what_another_connection_has_read_is_not_taken_where_it_is_too_long(data: bytes, limits: Limits) -> None:
    for _ in range(2):
        assert len(ask(ready_client(), Noop(), data)) == 1
    tight = ClientConnection(limits=limits)
    receive(tight, b"220 mx\r\n")
    tight.send(Helo("me.example"))
    if data.startswith(b"250-") and limits == Limits(reply_line=12):
        assert len(receive(tight, data)) == 1
    else:
        with pytest.raises(RemoteProtocolError, match=r"longer than|more than"):
            receive(tight, data)


def test_what_was_read_before_is_not_read_again_and_is_shared() -> None:
    replies = [ask(ready_client(), Ehlo("me"), ehlo_reply("PIPELINING", "X-SHARED"))[0] for _ in range(2)]
    first, second = replies
    assert isinstance(first, EhloReply)
    assert isinstance(second, EhloReply)
    assert first.reply is second.reply
    assert first.extensions is second.extensions


def test_only_a_reply_that_has_come_as_one_piece_is_known_by_its_octets() -> None:
    known = memory_for(Limits()).by_octets
    for pieces in ([b"250-a\r\n", b"250 b\r\n"], [b"250-a\r\n250 b", b"\r\n"], [b"250-a\r\n25", b"0 b\r\n"]):
        known.clear()
        client = ready_client()
        known.clear()
        assert ask(client, Noop(), *pieces) == [ReplyReceived(Noop(), Reply(250, ["a", "b"]))]
        assert known.keys() <= {b"250-a\r\n250 b\r\n"}
    group = ready_client("PIPELINING")
    known.clear()
    group.send(Rset())
    assert ask(group, Rset(), b"250-a\r\n250 b\r\n250 c\r\n")
    assert known == {}


@given(st.lists(st.sampled_from([250, 251, 450, 550, 421]), min_size=1, max_size=20), st.data())
def test_a_group_is_answered_the_same_whether_its_replies_were_seen_before_or_not(
    codes: list[int], draw: st.DataObject
) -> None:
    fresh = draw.draw(st.integers(0, 1 << 64))
    outcomes: list[list[tuple[int, State, int]]] = []
    for _ in range(2):  # whatever was not known the first time is known the second time
        client = ready_client("PIPELINING")
        client.send(Mail("a@x.example"))
        commands = [Rcpt(f"{number}@y.example") for number in range(len(codes))]
        for command in commands:
            client.send(command)
        client.receive_data(b"250 ok\r\n" + b"".join(b"%d %x\r\n" % (code, fresh) for code in codes))
        found: list[tuple[int, State, int]] = []
        for event in upcoming(client):
            assert isinstance(event, ReplyReceived)
            assert isinstance(event.command, Mail) or event.command is commands[len(found) - 1]
            assert event.reply is client.last_reply
            found.append((event.reply.code, client.state, client.waiting))
        outcomes.append(found)
    assert outcomes[0] == outcomes[1]
    until = codes.index(421) + 1 if 421 in codes else len(codes)
    assert [code for code, *_ in outcomes[0]] == [250, *codes[:until]]


@given(st.data())
def test_many_replies_at_once_cost_linear_work(draw: st.DataObject) -> None:
    count = draw.draw(st.integers(1, 300))
    client = ready_client("PIPELINING")
    for _ in range(count):
        client.send(Rset())
    client.receive_data(b"250 ok\r\n" * count)
    assert len(events(client)) == count
    assert client.outstanding == ()


# -- secrets ------------------------------------------------------------------------------------------------------


def test_no_secret_shows_anywhere() -> None:
    secret, coded = "s3cret", "czNjcmV0"
    seen: list[Any] = []
    client = ready_client(*EVERYTHING, on_send=seen.append)
    seen += ask(client, Auth("LOGIN", b"s3cret"), b"334 czNjcmV0\r\n")
    seen += [client, client.outstanding]
    client.send(AuthResponse(b"s3cret"))
    seen += [client, client.outstanding]
    with pytest.raises(LocalProtocolError) as local:
        client.send(AuthResponse(b"s3cret"))
    seen.append(local.value)
    client.receive_data(b"354x\r\n")
    with pytest.raises(RemoteProtocolError) as remote:
        client.next_event()
    seen.append(remote.value)
    closed = ready_client(*EVERYTHING)
    closed.send(Auth("PLAIN", b"s3cret"))
    seen += receive(closed, b"")
    for each in seen:
        for shown in (repr(each), str(each)):
            assert secret not in shown
            assert coded not in shown


@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("5321", "4.1.1.4")
def test_each_intermediate_reply_has_its_own_command() -> None:
    client = ready_client("AUTH PLAIN")
    client.send(Auth("PLAIN", b"x"))
    client.receive_data(b"354 go on\r\n")
    with pytest.raises(RemoteProtocolError):
        client.next_event()
    client = mailing_client("b@x.example")
    client.send(Data())
    client.receive_data(b"334 go on\r\n")
    with pytest.raises(RemoteProtocolError):
        client.next_event()


@pytest.mark.rfc("5321", "4.1.1.4")
def test_no_content_is_wanted_where_data_is_refused() -> None:
    for code in (451, 554):
        events = ask(mailing_client("b@y.example"), Data(), b"%d no\r\n" % code)
        assert events == [ReplyReceived(Data(), Reply(code, "no"))]
