"""Known attacks, as the octets that they send: docs/security.md says of each what it wants, and where it was seen."""

from __future__ import annotations

import contextlib
import hashlib
import re
from binascii import a2b_base64
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto import flows, testing
from smtpproto.commands import (
    Auth,
    Bdat,
    Data,
    Ehlo,
    EndOfData,
    Expn,
    Helo,
    Mail,
    Rcpt,
    Rset,
    UnknownCommand,
    Vrfy,
    XClient,
)
from smtpproto.connect import Connector
from smtpproto.content import LineEnds
from smtpproto.delivery import Fate
from smtpproto.envelope import Envelope
from smtpproto.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, SmtpError
from smtpproto.events import BadCommand, CommandReceived, ConnectionClosed, ContentReceived, Event, ReplyReceived
from smtpproto.failures import AuthenticationFailed, ConnectFailed
from smtpproto.flows import Close, Flow, Receive, Send
from smtpproto.flows import StartTls as BeginTls
from smtpproto.grammar import base64
from smtpproto.limits import Limits
from smtpproto.options import ConnectOptions, Security
from smtpproto.replies import Reply
from smtpproto.sasl import Question
from smtpproto.server_auth import ServerAuth
from smtpproto.service import Service, ServiceSession
from smtpproto.states import State
from tests.delivering import Peer, Play
from tests.driving import EVERYTHING, ask, give, mailing_client, mailing_server, ready_client, ready_server, receive
from tests.test_flows import GO, HI, SECRET, TIMED_OUT, Run, auth, ehlo

HELLO = b"EHLO me.example\r\n"
TO_BOB = b"MAIL FROM:<ann@x.example>\r\nRCPT TO:<bob@y.example>\r\n"
FORGED = b"MAIL FROM:<admin@x.example>\r\nRCPT TO:<bob@y.example>\r\nDATA\r\nforged\r\n.\r\n"
"""What an attacker wants a server to take for commands."""


class Visit(Run):
    """A client of this service that says just this, and what the service took for commands and for messages."""

    def __init__(self, received: Iterable[bytes], service: Service | None = None, **options: Any) -> None:
        self.session = ServiceSession(service or Service("mx.example"), **options)
        self.commands: list[str] = []
        self.messages: list[bytes] = []
        self._content = b""
        super().__init__(flows.serve(self.session), received, answer=self._answer)

    def _answer(self, subject: Event | Question) -> Reply | None:
        if isinstance(subject, ContentReceived):
            self._content += subject.data
        elif isinstance(subject, CommandReceived | BadCommand) and subject.command is not None:
            command = subject.command
            if isinstance(subject, CommandReceived):
                self.commands.append(type(command).__name__)
            if isinstance(command, EndOfData) or (isinstance(command, Bdat) and command.last):
                if isinstance(subject, CommandReceived):
                    self.messages.append(self._content)
                self._content = b""
        return None


def knocking(security: Security, **fields: Any) -> Flow[Any]:
    """A client that has a secret, and connects."""
    options = ConnectOptions(
        host="mx.example", username="user", password=SECRET, authenticate=True, security=security, **fields
    )
    return flows.connect(Connector(options))


# -- injection at STARTTLS ------------------------------------------------------------------------------------------


@pytest.mark.rfc("3207", "4.2")
@pytest.mark.parametrize("injected", [HELLO + FORGED, FORGED, b"RSET\r\n", b"AUTH PLAIN ", b"\r\n", b"x"])
def test_commands_injected_behind_starttls_are_never_read(injected: bytes) -> None:
    visit = Visit([HELLO, b"STARTTLS\r\n" + injected, HELLO, b"QUIT\r\n"], Service(starttls=True))
    assert visit.codes == [220, 250]
    assert visit.commands == ["Connect", "Ehlo", "StartTls"]
    assert not any(isinstance(effect, BeginTls) for effect in visit.effects)
    assert visit.closes


@pytest.mark.rfc("3207", "4.2")
@pytest.mark.parametrize("injected", [ehlo("AUTH PLAIN"), ehlo("AUTH PLAIN") + b"235 welcome\r\n", b"250-", b"2"])
def test_replies_injected_behind_starttls_choose_no_mechanism(injected: bytes) -> None:
    """The offer that the server will make under TLS is foretold, with nothing in it but the weakest mechanism."""
    run = Run(
        knocking(Security.REQUIRED), [HI, ehlo("STARTTLS"), GO + injected, ehlo("AUTH SCRAM-SHA-256"), b"334 \r\n"]
    )
    failure: ConnectFailed = run.failed(ConnectFailed)
    assert failure.code is ErrorCode.PROTOCOL_ERROR
    assert run.output.count(b"EHLO") == run.output.count(b"STARTTLS") == 1
    assert b"AUTH" not in run.output
    assert run.closes


@pytest.mark.rfc("3207", "4.2")
def test_who_authenticates_in_plaintext_does_not_lend_the_name_to_who_comes_through_tls() -> None:
    """Somebody in between logs in as themselves, and lets the client send its mail under that name."""
    policy = ServerAuth({"eve": "eve"}, mechanisms=["PLAIN"], allow_plaintext=True, required=True)
    begins = [HELLO, b"AUTH PLAIN AGV2ZQBldmU=\r\n"]
    visit = Visit([*begins, b"STARTTLS\r\n", HELLO, TO_BOB], Service(starttls=True, auth=policy))
    assert visit.codes == [220, 250, 235, 220, 250, 530, 530]
    assert visit.session.identity is None


# -- STARTTLS stripping ---------------------------------------------------------------------------------------------


@pytest.mark.rfc("3207", "6")
@pytest.mark.parametrize(
    "replies",
    [
        [ehlo("AUTH PLAIN LOGIN")],
        [ehlo("XXXXXXXA", "AUTH PLAIN LOGIN")],
        [ehlo("STARTTLSX", "AUTH PLAIN LOGIN"), GO],
        [b"250 mx.example STARTTLS\r\n", GO],
        [ehlo("STARTTLS", "AUTH PLAIN"), b"454 not now\r\n", b"235 welcome\r\n"],
        [ehlo("STARTTLS", "AUTH PLAIN"), b"502 not implemented\r\n", b"235 welcome\r\n"],
        [ehlo("STARTTLS", "AUTH PLAIN"), b"354 go\r\n", b"235 welcome\r\n"],
        [b"502 not implemented\r\n", b"250 mx.example\r\n", b"235 welcome\r\n"],
    ],
)
@pytest.mark.parametrize("security", [Security.REQUIRED, Security.OPPORTUNISTIC])
def test_nobody_who_takes_starttls_away_gets_the_password(security: Security, replies: list[bytes]) -> None:
    run = Run(knocking(security), [HI, *replies])
    assert isinstance(run.error, ConnectFailed)
    words = {line.split(b" ")[0] for line in run.output.split(b"\r\n")} - {b""}
    assert words <= {b"EHLO", b"STARTTLS", b"QUIT"} | ({b"HELO"} if security is Security.OPPORTUNISTIC else set())
    assert run.closes


@pytest.mark.rfc("3207", "4")
def test_a_client_that_was_talked_out_of_tls_leaves_nothing_at_a_server_that_wants_it() -> None:
    service = Service(starttls=True, require_tls=True, auth=auth("PLAIN"))
    visit = Visit([HELLO, b"AUTH PLAIN AGEAYg==\r\n", TO_BOB + b"DATA\r\n", b"QUIT\r\n"], service)
    assert visit.codes == [220, 250, 530, 530, 530, 530, 221]
    assert visit.session.mail is None


# -- SMTP smuggling -------------------------------------------------------------------------------------------------

FALSE_ENDS = [
    *(b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r\n\0.\r\n", b"\r\n.\0\r\n"),
    *(b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n\r.\r\n", b"\n\n.\n\n", b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n.\t\r\n"),
]


@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.parametrize("cut", [testing.whole, testing.octets])
@pytest.mark.parametrize("end", FALSE_ENDS)
def test_no_message_is_smuggled_in(end: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    sent = HELLO + TO_BOB + b"DATA\r\nSubject: one" + end + FORGED + b"QUIT\r\n"
    visit = Visit(cut(sent))
    assert visit.commands.count("Mail") == visit.commands.count("Data") == 1
    assert len(visit.messages) <= 1
    bare = re.search(rb"\0|\r(?!\n)|(?<!\r)\n", end) is not None
    assert visit.codes == [220, 250, 250, 250, 354, 554 if bare else 250, 221]
    assert all(b"MAIL FROM:<admin@x.example>" in message for message in visit.messages)


_LAX_END = re.compile(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)")
"""What the most careless of all servers takes for the end."""
pieces_of_content = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a", b" "]), max_size=12)


@pytest.mark.rfc("5321", "2.3.8")
@example(content=[b"a\r\n\r\n.\r\nRSET\r\n"], line_ends=LineEnds.NORMALISE)
@given(content=pieces_of_content, line_ends=st.sampled_from([LineEnds.NORMALISE, LineEnds.REFUSE]))
def test_no_message_is_smuggled_out(content: list[bytes], line_ends: LineEnds) -> None:
    """Whatever a program passes on as content, a server of any kind finds one end in it, and that is the last."""
    client = mailing_client("bob@y.example", line_ends=line_ends)
    ask(client, Data(), b"354 go\r\n")
    try:
        wire = b"\r\n" + b"".join(client.send_content(piece) for piece in content) + client.send(EndOfData())
    except LocalProtocolError:
        assert line_ends is LineEnds.REFUSE
        assert re.search(rb"\r(?!\n)|(?<!\r)\n", b"".join(content))
        return
    (found,) = _LAX_END.finditer(wire)
    assert found.end() == len(wire)


# -- injection of commands and parameters ---------------------------------------------------------------------------

_INJECTED: list[Callable[[], object]] = [
    lambda: Rcpt("bob@y.example>\r\nRCPT TO:<eve@z.example"),
    lambda: Rcpt("bob@y.example\nDATA"),
    lambda: Mail("ann@x.example>\r\nRCPT TO:<eve@z.example>\r\nDATA\r\nforged\r\n.\r\nQUIT\r\n"),
    lambda: Mail("ann@x.example> SIZE=1 AUTH=<admin"),
    lambda: Mail('"ann\r\nRCPT TO:<eve@z.example>\r\n"@x.example'),
    lambda: Mail('"ann\\\r\nRSET"@x.example'),
    lambda: Mail("ann@x.example", size="100\r\nRCPT TO:<eve@z.example>"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lambda: Mail("ann@x.example", body="8BITMIME SIZE=0"),  # type: ignore[arg-type, unused-ignore]
    lambda: Mail("ann@x.example", other={"X": "1\r\nRSET"}),
    lambda: Mail("ann@x.example", other={"X=1 SIZE": "1"}),
    lambda: Ehlo("me.example\r\nMAIL FROM:<admin@x.example>"),
    lambda: Helo("me.example\nRSET"),
    lambda: Vrfy("bob\r\nRSET"),
    lambda: Expn("staff\r\nRSET"),
    lambda: Auth("PLAIN\r\nRSET"),
    lambda: Mail("ann@x.example", envid="a\r\nRSET"),
    lambda: XClient({"NAME": "a\r\nRSET"}),
    lambda: XClient({"NAME=a ADDR": "127.0.0.1"}),
    lambda: UnknownCommand("X", "a\r\nRSET"),
    lambda: UnknownCommand("X\r\nRSET", ""),
    lambda: Envelope("ann@x.example", ["bob@y.example", "bob@y.example\r\nDATA"]),
]


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize("make", _INJECTED)
def test_no_argument_begins_another_command(make: Callable[[], object]) -> None:
    with pytest.raises(LocalProtocolError):
        make()


def test_what_is_encoded_keeps_line_ends_as_what_they_are() -> None:
    """xtext and base64 have room for any octet, and none of them for one that means something else."""
    line = bytes(Auth("PLAIN", b"\0user\0pass\r\nRSET"))
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert bytes(Mail("ann@x.example", envid="a+b=c")).endswith(b" ENVID=a+2Bb+3Dc\r\n")


@pytest.mark.rfc("5321", "4.1.1.1")
def test_the_name_of_this_end_begins_no_command() -> None:
    options = ConnectOptions(host="mx.example", client_name="me.example\r\nMAIL FROM:<admin@x.example>")
    with pytest.raises(ConnectFailed) as caught:
        Run(flows.connect(Connector(options)), [HI, ehlo()])
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<ann@x.example> AUTH=ann@x.example+0D+0AX:1",
        b"MAIL FROM:<ann@x.example> AUTH=ann+0Ax.example",
        b"MAIL FROM:<ann@x.example> ENVID=a+0D+0Ab",
        b"MAIL FROM:<ann@x.example> ENVID=a+00b",
        b'MAIL FROM:<"a\xc2\x85b"@x.example> SMTPUTF8',
        b"RCPT TO:<bob@y.example> ORCPT=rfc822;bob+0A@y.example",
        b"RCPT TO:<bob@y.example> ORCPT=utf-8;bob\\x{0A}@y.example",
        b"RCPT TO:<bob@y.example> ORCPT=utf-8;bob\\x{0D}@y.example",
    ],
)
@pytest.mark.rfc("3461", "4")
def test_no_parameter_carries_a_line_end_into_the_server(line: bytes) -> None:
    """What a program writes into a file or a header, line by line, has no line ends in it."""
    server = mailing_server() if line.startswith(b"RCPT") else ready_server(*EVERYTHING)
    (event,) = receive(server, line + b"\r\n")
    assert isinstance(event, BadCommand)
    assert event.command is None
    assert 500 <= event.reply.code <= 559


# -- reply splitting ------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.parametrize("name", ["bob\r\n250 OK", "bob\n250 OK", "bob\r250 OK", "bob\0", "bob\r\n"])
def test_no_reply_of_a_program_becomes_two(name: str) -> None:
    """A program repeats what it was told, or what stands in its database, in a refusal."""

    def program(subject: Event | Question) -> Any:
        rcpt = isinstance(subject, CommandReceived) and isinstance(subject.command, Rcpt)
        return Reply(550, f"5.1.1 no such user: {name}") if rcpt else None

    heard = b""

    def client() -> Flow[None]:
        nonlocal heard
        yield Send(HELLO + TO_BOB)
        while piece := (yield Receive()):
            heard += piece

    early = ServiceSession(Service())
    with pytest.raises(LocalProtocolError, match=r"line"):
        testing.link(client(), flows.serve(early), answer=program)
    assert [line[:4] for line in heard.split(b"\r\n") if line[3:4] == b" "] == [b"220 ", b"250 ", b"250 ", b"421 "]


@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.parametrize(
    "reply", [b"250 ok\n550 no\r\n", b"250 ok\r550 no\r\n", b"250 ok\0\r\n", b"250-ok\n250 ok\r\n"]
)
@pytest.mark.parametrize("cut", [testing.whole, testing.octets])
def test_a_reply_that_others_would_split_is_none(reply: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    client = ready_client("PIPELINING")
    client.send(Mail("ann@x.example"))
    client.send(Rcpt("bob@y.example"))
    with pytest.raises(RemoteProtocolError):
        receive(client, *cut(reply))
    assert client.state is State.ERROR


# -- desynchronisation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unasked", [b"250 ok\r\n", b"250-ok\r\n", b"250 2.0.0 queued\r\n250 ok\r\n", b"354 go\r\n"])
def test_no_command_is_answered_by_what_came_while_none_was_out(unasked: bytes) -> None:
    """As aiosmtplib did: whatever a server said while nothing was asked was the answer to the next command."""
    client = ready_client("PIPELINING")
    client.receive_data(unasked)
    with pytest.raises(RemoteProtocolError, match="no command asked for"):
        client.send(Mail("ann@x.example"))
    with pytest.raises(RemoteProtocolError):
        client.next_event()
    assert client.state is State.ERROR


def test_a_reply_that_comes_too_late_is_not_that_to_the_next_message() -> None:
    """As Symfony Mailer did: after a timeout RSET was sent, and took the late reply to the message for its own."""
    client = ready_client("PIPELINING")
    flow = flows.deliver(client, Envelope("ann@x.example", "bob@y.example"), flows.Whole(b"x\r\n"), chunking=False)
    play = Play(flow, Peer(), deaf=True, throw={3: TIMED_OUT})
    assert play.peer.commands[-1] == "."
    assert play.result.fate is Fate.UNKNOWN
    assert any(isinstance(effect, Close) for effect in play.effects)
    # Nor does who goes on all the same get an answer that belongs to something else.
    client.send(Rset())
    late, own = receive(client, b"250 queued\r\n", b"250 reset\r\n")
    assert isinstance(late, ReplyReceived)
    assert isinstance(own, ReplyReceived)
    assert (late.command, own.command) == (EndOfData(), Rset())


# -- BDAT desynchronisation -----------------------------------------------------------------------------------------


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize(
    "size",
    [b"", b"x", b"+9", b"-1", b"0x9", b"9e1", b"1_0", b"9.", "٩".encode(), b"9 9", b"9 LAST LAST", b"9\t", b"9,9"],
)
def test_a_chunk_of_doubtful_size_ends_the_session(size: bytes) -> None:
    """Who reads the size in another way takes content for commands; so nothing is read behind it."""
    visit = Visit([HELLO + TO_BOB, b"BDAT " + size + b"\r\n" + FORGED + b"QUIT\r\n"])
    assert visit.codes[:4] == [220, 250, 250, 250]
    assert visit.commands.count("Mail") == 1
    assert visit.messages == []
    assert visit.closes


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("cut", [testing.whole, testing.octets])
@pytest.mark.parametrize("begin", [b"", b"MAIL FROM:<ann@x.example>\r\n", b"MAIL FROM:<no path\r\n"])
def test_a_chunk_that_is_refused_is_not_read_for_commands(begin: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    chunk = b"BDAT %d LAST\r\n" % len(FORGED) + FORGED
    visit = Visit(cut(HELLO + begin + chunk + b"NOOP\r\nQUIT\r\n"))
    assert visit.commands[-2:] == ["Noop", "Quit"]
    assert visit.commands.count("Rcpt") == visit.commands.count("Data") == 0
    assert visit.codes[-3:] == [503, 250, 221]


def test_a_chunk_larger_than_any_message_is_passed_over_and_not_kept() -> None:
    service = Service(limits=Limits(message=65536))
    visit = Visit([HELLO + TO_BOB, b"BDAT 1000000 LAST\r\n", *[FORGED.ljust(1000)] * 1000, b"QUIT\r\n"], service)
    assert visit.codes == [220, 250, 250, 250, 552, 221]
    assert not any(isinstance(subject, ContentReceived) for subject in visit.asked)


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("last", [b"", b" LAST"])
def test_half_a_chunk_is_no_message_and_nothing_follows_it(last: bytes) -> None:
    """TLS is ended in the middle of a chunk, and plaintext follows (CVE-2026-45185)."""
    server = mailing_server("bob@y.example")
    found = receive(server, b"BDAT 100" + last + b"\r\nhalf", b"")
    assert [type(event) for event in found] == [ContentReceived, ConnectionClosed]
    with pytest.raises(LocalProtocolError, match="after the end of the stream"):
        server.receive_data(b"x")
    visit = Visit([HELLO + TO_BOB, b"BDAT 100" + last + b"\r\nhalf"])
    assert visit.messages == []


# -- downgrade, SCRAM, AUTH -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("offer", ["AUTH PLAIN LOGIN", "AUTH SCRAM-SHA-256", "AUTH CRAM-MD5 SCRAM-SHA-1-PLUS", "SIZE"])
def test_who_wants_a_binding_is_not_talked_out_of_it(offer: str) -> None:
    run = Run(knocking(Security.IMPLICIT, mechanisms=["SCRAM-SHA-256-PLUS"]), [HI, ehlo(offer), b"334 \r\n"])
    assert isinstance(run.error, ConnectFailed)
    assert b"AUTH" not in run.output


ENORMOUS = ["2147483647", "1000001", "9" * 30, "9" * 4000]
MEAGRE = ["1", "4095", "0", "-1", "4096.0", "+4096", ""]


@pytest.mark.rfc("5802", "9")
@pytest.mark.parametrize("iterations", ENORMOUS + MEAGRE, ids=lambda text: str(text)[:12])
def test_no_server_makes_a_client_compute(iterations: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for an hour, nor so little that the password can be guessed from the answer."""

    def compute(*arguments: object) -> bytes:
        raise AssertionError(arguments)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", compute)
    sent: list[bytes] = []

    def server() -> Flow[None]:
        for reply in (HI, ehlo("AUTH SCRAM-SHA-256"), None, b"501 cancelled\r\n", b"221 bye\r\n"):
            yield Send(_terms(sent[-1], iterations) if reply is None else reply)
            sent.append((yield Receive()))

    with pytest.raises(AuthenticationFailed) as caught:
        testing.link(knocking(Security.IMPLICIT, mechanisms=["SCRAM-SHA-256"]), behind_tls(server()))
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR
    assert sent[2] == b"*\r\n"


def behind_tls(server: Flow[None]) -> Flow[None]:
    yield BeginTls(None, None)
    yield from server


def _terms(line: bytes, iterations: str) -> bytes:
    """What a server answers to the first message of SCRAM."""
    nonce = a2b_base64(line.split()[2]).rpartition(b",r=")[2].decode()
    return bytes(Reply(334, base64(f"r={nonce}more,s=c2FsdHNhbHRzYWx0,i={iterations}".encode())))


@pytest.mark.rfc("4954", "4")
def test_a_client_that_guesses_is_shown_out() -> None:
    policy = ServerAuth({"user": SECRET}, mechanisms=["PLAIN"], allow_plaintext=True, failure_delay=0)
    visit = Visit([HELLO, *[b"AUTH PLAIN AHVzZXIAZ3Vlc3M=\r\n"] * 100], Service(auth=policy))
    assert visit.codes == [220, 250, 535, 535, 535, 421]
    assert visit.closes


@pytest.mark.rfc("4954", "4")
def test_a_client_that_answers_for_ever_is_shown_out() -> None:
    """Each exchange is begun, and broken off; it costs the server as much as one that fails."""
    policy = ServerAuth({"user": SECRET}, mechanisms=["LOGIN"], allow_plaintext=True, failure_delay=0)
    visit = Visit([HELLO, *[b"AUTH LOGIN\r\n", b"*\r\n"] * 100], Service(auth=policy))
    assert visit.codes == [220, 250, *[334, 501] * 3, 421]
    assert visit.closes


# -- secrets in logs ------------------------------------------------------------------------------------------------

_ENCODED = base64(b"\0user\0" + SECRET.encode()).encode()


@pytest.mark.parametrize(
    "said",
    [
        *(
            b"AUTH PLAIN %b",
            b"auth plain %b",
            b"AUTH  PLAIN  %b",
            b" AUTH PLAIN %b",
            b"AUTH\tPLAIN\t%b",
            b"AUTH PLAIN=%b",
        ),
        *(
            b"AUTH PLAIN %b x",
            b"AUTH PLAIN %b\0",
            b"AUTH PLAIN %b\nNOOP",
            b"AUTH PLAIN %b\r",
            b"AUTH PLAIN %b\xff",
            b"AUTH %b",
        ),
        *(
            b"AUTH XOAUTH2 %b",
            b"AUTH OAUTHBEARER %b",
            b"AUTH NTLM %b",
            b"AUTH X %b",
            b"AUTH LOGIN %b",
        ),
        *(b"AUTH LOGIN\r\ndXNlcg==\r\n%b", b"AUTH LOGIN\r\n%b\0", b"AUTH PLAIN\r\n%b\n", b"AUTH PLAIN\r\n %b"),
    ],
)
@pytest.mark.parametrize("begin", [b"", HELLO, HELLO + TO_BOB], ids=["before EHLO", "after it", "in a transaction"])
def test_no_form_of_auth_shows_its_secret(begin: bytes, said: bytes) -> None:
    """hMailServer hid one form of it, and wrote down the others (CVE-2026-114471)."""
    service = Service(auth=auth("PLAIN", "LOGIN", "XOAUTH2", allow_plaintext=True))
    seen: list[object] = []
    session = ServiceSession(service, on_send=seen.append)
    run = Run(flows.serve(session, seen.append), [begin + said.replace(b"%b", _ENCODED) + b"\r\n"])
    assert run.output
    seen += [*run.asked, *run.effects, session.connection]
    with contextlib.suppress(SmtpError):
        session.connection.next_event()
    shown = run.output.decode() + "".join(f"{each}{each!r}" for each in seen)
    assert _ENCODED.decode() not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    "said", [b"AUTH PLAIN %b\0\r\n", b"AUTH PLAIN %b\n", b"AUTH LOGIN\r\n%b\0\r\n", b"auth x %b\0\r\n"]
)
def test_no_error_shows_a_secret(said: bytes) -> None:
    server = ready_server("AUTH PLAIN LOGIN")
    *before, last = said.replace(b"%b", _ENCODED).splitlines(keepends=True)
    for line in before:
        give(server, line, 334)
    with pytest.raises(RemoteProtocolError) as caught:
        receive(server, last)
    assert _ENCODED.decode() not in f"{caught.value}{caught.value!r}"
    assert _ENCODED not in caught.value.received


# -- endless input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"XYZZY\r\n", b"MAIL FROM:\r\n", b"\r\n", b"DATA\r\n", b"AUTH X\r\n"])
def test_a_client_that_only_errs_is_shown_out(line: bytes) -> None:
    visit = Visit([HELLO + line * 10_000])
    assert len(visit.codes) == 23
    assert visit.codes[-1] == 421
    assert visit.closes


@pytest.mark.parametrize("endless", [b"250-x\r\n", b"250-\r\n", b"220-" + b"x" * 500 + b"\r\n", b"2"])
def test_a_server_that_never_ends_its_reply_is_left(endless: bytes) -> None:
    """And nothing hangs on how much of it would come: the flow has raised long before its end."""
    taken = 0

    def flood() -> Iterable[bytes]:
        nonlocal taken
        yield HI
        while True:
            taken += 1
            yield endless * 1000

    run = Run(knocking(Security.IMPLICIT), flood())
    failure: ConnectFailed = run.failed(ConnectFailed)
    assert failure.code is ErrorCode.PROTOCOL_ERROR
    assert taken * len(endless) * 1000 <= 2 * Limits().reply_octets + 1000 * len(endless)
    assert run.closes


# -- ALPACA: the client of another protocol, and the server of another ------------------------------------------------

REQUEST = (
    b"POST /%b HTTP/1.1\r\nHost: mx.example\r\nCookie: session=s3cr3t\r\nContent-Type: text/plain\r\n\r\n"
    + HELLO
    + FORGED
    + b"QUIT\r\n"
)


@pytest.mark.parametrize("path", [b"", b"a" * 600, b"a b", b"\xff"], ids=["short", "long", "space", "octet"])
@pytest.mark.parametrize("cut", [testing.whole, testing.octets])
def test_a_request_of_http_is_not_read_for_commands(path: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    """Whoever wrote the page that a browser shows has written the body of its request, and each line could be ours."""
    visit = Visit(cut(REQUEST % path), secure=True)
    assert visit.codes == [220, 421]
    assert visit.commands == ["Connect"]
    assert visit.messages == []
    assert visit.closes


@pytest.mark.rfc("3207", "4.2")
def test_a_request_of_http_behind_starttls_finds_nothing_begun() -> None:
    """Somebody in between begins a message in plaintext, and lets a browser go on through TLS, with its cookie."""
    begun = HELLO + TO_BOB
    visit = Visit([begun, b"RSET\r\nSTARTTLS\r\n", REQUEST % b""], Service(starttls=True))
    assert visit.codes == [220, 250, 250, 250, 250, 220, 421]
    refused = Visit([begun + b"STARTTLS\r\n", REQUEST % b""], Service(starttls=True))
    assert refused.codes == [220, 250, 250, 250, 503, 421]
    assert visit.messages == refused.messages == []


@pytest.mark.parametrize(
    "line", [b"NOOP", b"NOOP see HTTP/1.1, please", b"NOOP HTTP/", b"NOOP" + b" HTTP/1" * 60 + b"x"]
)
def test_what_only_speaks_of_http_is_a_command(line: bytes) -> None:
    assert Visit([HELLO, line + b"\r\n"]).codes == [220, 250, 250]


SCRIPT = b"<script>alert(1)</script>"


@pytest.mark.parametrize(
    "line",
    [
        *(b"%b", b"X %b", b"EHLO %b", b"HELO %b", b"EHLO [%b]", b"MAIL FROM:<%b>", b"MAIL FROM:<a@%b>", b"VRFY %b"),
        *(b"MAIL FROM:<a@x.example> %b", b"MAIL FROM:<a@x.example> SIZE=%b", b"MAIL FROM:<a@x.example> ENVID=%b"),
        *(b"MAIL FROM:<a@x.example> X=%b", b'MAIL FROM:<"%b"@x.example>', b'RCPT TO:<"%b"@x.example>', b"EXPN %b"),
        *(
            b"RCPT TO:<b@x.example> NOTIFY=%b",
            b"AUTH %b",
            b"AUTH PLAIN %b",
            b"AUTH LOGIN\r\n%b",
            b"BDAT %b",
            b"BDAT 0 %b",
        ),
        *(b"NOOP %b", b"HELP %b", b"RSET %b", b"QUIT %b", b"DATA %b", b"STARTTLS %b", b"ETRN %b", b"XCLIENT NAME=%b"),
        *(b"DATA\r\n%b\n.\r\n", b"\0%b", b"a\r%b", b"a\n%b"),
    ],
)
def test_nothing_of_what_a_client_says_comes_back(line: bytes) -> None:
    """What a browser is made to send could come back as a page, with a script in it."""
    service = Service(auth=auth("PLAIN", "LOGIN", allow_plaintext=True))
    for begin in (b"", HELLO, HELLO + b"MAIL FROM:<ann@x.example>\r\n", HELLO + TO_BOB):
        visit = Visit([begin + line.replace(b"%b", SCRIPT) + b"\r\n"], service)
        assert visit.codes
        assert b"script" not in visit.output.lower()
        assert b"<" not in visit.output.replace(b"<CR><LF>", b"").replace(b"<path>", b"")


@pytest.mark.parametrize(
    "said",
    [
        [b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", b""],
        [b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n", b"* BAD\r\n"],
        [b"+OK POP3 ready\r\n", b"-ERR\r\n"],
        [b"220 (vsFTPd 3.0.5)\r\n", b"530 Please login with USER and PASS.\r\n"],
        [b"220 FTP\r\n", b"500 unknown command\r\n", b"500 unknown command\r\n", b"221 bye\r\n"],
        [b"200 news.example ready\r\n", b"500 what\r\n"],
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [b"J\0\0\0\x0a8.0.36\0"],
        [b"\x15\x03\x01\x00\x02\x02F"],
    ],
    ids=["HTTP", "IMAP", "POP3", "FTP", "FTP that knows no EHLO", "NNTP", "SSH", "MySQL", "TLS"],
)
def test_the_server_of_another_protocol_gets_no_secret(said: list[bytes]) -> None:
    """Its certificate is good for the name that was dialled: TLS does not say whose protocol it is."""
    run = Run(knocking(Security.IMPLICIT), said)
    assert isinstance(run.error, ConnectFailed)
    words = {line.split(b" ")[0] for line in run.output.split(b"\r\n")} - {b""}
    assert words <= {b"EHLO", b"QUIT"}
    assert run.closes
