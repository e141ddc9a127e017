"""A server against a client that says anything, at any time, cut anywhere; and a program that answers anything.

The book is kept apart from the engine: it cuts the stream into lines, content and chunks by its own means.  So a part
of a message that is taken for a command, a command that is taken for content, and an octet that is lost, are found.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smtpproto.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Lhlo,
    Mail,
    StartTls,
    XClient,
    parse_auth_response,
    parse_command,
)
from smtpproto.errors import LocalProtocolError
from smtpproto.events import (
    BadCommand,
    CommandReceived,
    ConnectionClosed,
    ContentReceived,
    EarlyTalker,
    StartTlsReady,
)
from smtpproto.extensions import Extensions
from smtpproto.limits import Limits
from smtpproto.replies import Reply
from smtpproto.server import ServerConnection
from smtpproto.states import State
from tests import strategies
from tests.driving import EVERYTHING
from tests.machines import Failure, Told, Twins, Work, held, usual_codes

if TYPE_CHECKING:
    from smtpproto.events import Event

pytestmark = pytest.mark.timeout(300)

SIZE = 400
BLOCK = 64
LIMITS = Limits(command_line=200, message=SIZE, recipients=2, transactions=3)
SIZED = tuple(f"SIZE {SIZE}" if line.startswith("SIZE") else line for line in EVERYTHING)
OFFERS = (SIZED, SIZED[1:], ("CHUNKING", "LIMITS RCPTDOMAINMAX=2"), ("STARTTLS", "AUTH X"), ())

# What its program has told it is no fault of the client.
ITS_OWN = frozenset({"extensions", "limits", "timeouts", "_mask", "_on_send", "_last_reply", "_table", "_late"})
MOST = 8 * LIMITS.command_line + 1024
"""A line that has not ended; the envelope, the command that is under way, and a refusal that names it; an error."""

usual_lines = st.sampled_from(
    [
        b"EHLO me",
        b"LHLO me",
        b"HELO me",
        b"MAIL FROM:<a@x.example>",
        b"MAIL FROM:<a@x.example> SIZE=9999",
        b"MAIL FROM:<a@x.example> BODY=BINARYMIME",
        b"RCPT TO:<b@y.example>",
        b"RCPT TO:<c@z.example>",
        b"DATA",
        b"RSET",
        b"NOOP",
        b"STARTTLS",
        b"AUTH PLAIN eA==",
        b"AUTH LOGIN",
        b"eA==",
        b"*",
        b"QUIT",
        b"XCLIENT NAME=x",
        b"BDAT 0 LAST",
    ]
)
hostile_octets = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.sampled_from(
        [
            b"\r\n",
            b"\r",
            b"\n",
            b"\0",
            b".\r\n",
            b"\n.\n",
            b"\r.\r",
            b"\n.\r\nMAIL FROM:<smuggled@x.example>\r\n",
            b"\r\n.\rQUIT\r\n",
            b"NOOP\n",
            b"NOOP \0\r\n",
            b"DA",
            b"TA\r\n",
            b"BDAT\r\n",
            b"BDAT x\r\n",
            b"BDAT -1 LAST\r\n",
            b"BDAT 3 FIRST\r\nabc",
            b"BDAT 99999999999999999999999999 LAST\r\n",
            b"BDAT 9999999999 LAST\r\n",
            b"BDAT 401 LAST\r\n",
            b"BDAT 300\r\n" + b"x" * 300,
            b"BDAT 401 LAST\r\n" + b"x" * 401,
            b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n.\r\n" * 3,
            b"RCPT TO:" + b"x" * 300,
            b"x" * 300,
            b"x" * 50 + b"\r\n..\r\n",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\x00",
            "MAIL FROM:<ä@x.example>\r\n".encode(),
        ]
    ),
    strategies.commands().map(bytes),
    st.lists(usual_lines, max_size=4).map(lambda lines: b"".join(line + b"\r\n" for line in lines)),
)
pieces_of_content = st.sampled_from(
    [
        b"a",
        b".",
        b"..",
        b"\r\n",
        b"\r",
        b"\n",
        b"\r\n.",
        b".\r\n",
        b"\r\n.\n",
        b"\n.\r\n",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\0",
        b"\xff",
        b"x" * 90,
        b"x" * 401,
    ]
)
contents = st.lists(pieces_of_content, max_size=12).map(b"".join)
cuts = st.lists(st.integers(1, 200), max_size=6)
CODES = (220, 221, 235, 250, 252, 334, 354, 421, 450, 452, 500, 550, 554)

MAILING = (b"MAIL FROM:<a@x.example>\r\n", b"RCPT TO:<b@y.example>\r\n", b"RCPT TO:<c@y.example>\r\n")
STAGES: tuple[tuple[bytes, ...] | None, ...] = (
    None,
    (),
    MAILING,
    (*MAILING, b"DATA\r\n"),
    (*MAILING, b"BDAT 3\r\nabc"),
    (*MAILING, b"BDAT 9\r\n.\r\n"),
    (b"STARTTLS\r\n",),
    (b"AUTH LOGIN\r\n",),
    (b"AUTH LOGIN\r\n", b"eA==\r\n"),
)
"""How far it has come without a fault."""


class HostileClient(RuleBasedStateMachine):
    """See above."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()
        self.work.block(BLOCK)

    def teardown(self) -> None:
        self.work.undo()

    @initialize(
        lmtp=st.booleans(),
        secure=st.booleans(),
        accept_bare=st.booleans(),
        offer=st.sampled_from(OFFERS),
        stage=st.sampled_from(STAGES),
    )
    def begin(
        self, lmtp: bool, secure: bool, accept_bare: bool, offer: tuple[str, ...], stage: tuple[bytes, ...] | None
    ) -> None:
        self.work.octets = 0
        self.fed = 0
        self.ends = 0
        self.dead = 0
        self.began = (lmtp, secure, accept_bare, offer, stage)
        self.twins = Twins(
            lambda: ServerConnection(
                lmtp=lmtp, secure=secure, lenient=not secure, accept_bare=accept_bare, limits=LIMITS
            )
        )
        self.lenient, self.accept_bare = not secure, accept_bare
        self.at = 0  # in the stream, behind what was told last
        self.due: Command | None = Connect()  # what has to be answered; None for what is none
        self.owed = True
        self.refusal: Reply | None = None  # of what is due, as the engine proposes it
        self.in_data = self.in_auth = False
        self.content = b""  # that was given since the last command
        self.taken = 0  # of the transaction
        self.secure, self.authenticated = secure, False
        self.mails = 0
        self.over = False  # it has taken its leave
        self.closed: ConnectionClosed | None = None
        self.last: Reply | None = None
        for line in () if stage is None else (b"", b"LHLO me\r\n" if lmtp else b"EHLO me\r\n", *stage):
            if line:
                self.arrive(line, [], looks=True)
            self.answer_as_usual(offer)

    @invariant()
    def a_dead_one_is_replaced(self) -> None:
        self.dead += self.twins.dead
        if self.dead > 3:
            lmtp, secure, accept_bare, offer, stage = self.began
            self.begin(lmtp ^ (stage is None), not secure, accept_bare, offer, STAGES[STAGES.index(stage) - 1])

    # What the program does

    def say(self, reply: Reply) -> bool:
        outcome = self.twins.call(lambda server: server.send(reply))
        assert outcome.error in (None, LocalProtocolError)
        if not outcome.done:
            return False
        assert outcome.value == bytes(reply)
        assert self.twins.failure is None
        assert self.owed or reply.code == 421
        self.last = reply
        self.over = self.twins.one.state is State.CLOSED
        if self.owed:
            self.answered(self.due, reply)
        return True

    def answered(self, command: Command | None, reply: Reply) -> None:
        server = self.twins.one
        self.owed = bool(server.outstanding)  # LMTP owes several
        self.in_auth = reply.code == 334
        assert not self.owed or server.lmtp or reply.code == 421
        if reply.code == 354:
            assert command == Data()
            self.in_data = True
        elif reply.code == 421:
            assert server.state is State.CLOSED
        elif isinstance(command, Mail) and reply.is_positive:
            self.taken = 0
        elif isinstance(command, Auth | AuthResponse) and reply.is_positive:
            self.authenticated = True
        elif isinstance(command, XClient) and reply.is_positive:
            self.authenticated = False

    @rule(code=st.sampled_from(CODES) | st.integers(200, 599))
    def answer_anything(self, code: int) -> None:
        self.say(Reply(code, "said"))

    @precondition(lambda self: self.owed)
    @rule(data=st.data(), looks=st.booleans(), offer=st.sampled_from(OFFERS))
    def answer(self, data: st.DataObject, looks: bool, offer: tuple[str, ...]) -> None:
        """What is due, or nearly so."""
        code = data.draw(st.sampled_from([*usual_codes(self.due) * 4, 450, 550]))
        if isinstance(self.due, Ehlo | Lhlo) and code == 250:
            self.say(Reply(code, ("mx.example", *offer)))
        else:
            self.say(Reply(code, "said"))
        if looks:
            self.look()

    def answer_as_usual(self, offer: tuple[str, ...]) -> None:
        if self.owed:
            code = usual_codes(self.due)[0]
            reply = Reply(code, ("mx.example", *offer) if isinstance(self.due, Ehlo | Lhlo) else "said")
            self.say(self.refusal or reply)

    @rule(count=st.integers(1, 8), offer=st.sampled_from(OFFERS))
    def answer_all(self, count: int, offer: tuple[str, ...]) -> None:
        """What has been pipelined, one by one."""
        for _ in range(count):
            self.look()
            self.answer_as_usual(offer)

    @rule(lines=st.lists(usual_lines, min_size=1, max_size=6), where=cuts, offer=st.sampled_from(OFFERS))
    def converse(self, lines: list[bytes], where: list[int], offer: tuple[str, ...]) -> None:
        """Command and answer by turns."""
        for line in lines:
            self.arrive(line + b"\r\n", where, looks=True)
            self.answer_as_usual(offer)

    @rule()
    def tls_established(self) -> None:
        if self.twins.call(ServerConnection.tls_established).done:
            assert self.last is not None
            assert self.last.is_positive
            assert isinstance(self.due, StartTls)
            assert self.at == len(self.twins.stream), "plaintext has come through"
            assert not self.twins.one.extensions
            self.secure, self.authenticated = True, False

    @rule()
    def send_content(self) -> None:
        assert self.twins.call(lambda server: server.send_content(b"x")).error is LocalProtocolError

    @rule()
    def look(self) -> None:
        self.note(self.twins.look())

    # What the client does

    def arrive(self, data: bytes, where: list[int], *, looks: bool) -> None:
        self.fed += 3 * len(data)
        told = self.twins.receive(data, where, looks=looks)
        if looks and not self.twins.eof:
            self.note(told)

    @rule(data=hostile_octets, where=cuts, looks=st.booleans())
    def say_something(self, data: bytes, where: list[int], looks: bool) -> None:
        if data:
            self.arrive(data, where, looks=looks)

    @rule(line=usual_lines, where=cuts, looks=st.booleans())
    def say_a_command(self, line: bytes, where: list[int], looks: bool) -> None:
        self.arrive(line + b"\r\n", where, looks=looks)

    @rule(recipients=st.integers(0, 3), body=contents, chunks=st.integers(0, 2), wrong=st.integers(-2, 2), where=cuts)
    def say_an_envelope(self, recipients: int, body: bytes, chunks: int, wrong: int, where: list[int]) -> None:
        """All at once; with chunks, now and then of another size than was announced."""
        lines = [b"MAIL FROM:<a@x.example> BODY=8BITMIME\r\n", *[b"RCPT TO:<b@y.example>\r\n"] * recipients]
        if chunks == 0:
            lines.append(b"DATA\r\n")
        for n in range(chunks):
            size = max(len(body) + (wrong if n else 0), 0)
            lines.append(b"BDAT %d%b\r\n%b" % (size, b" LAST" if n == chunks - 1 else b"", body))
        self.arrive(b"".join(lines), where, looks=True)

    @rule(body=contents, behind=st.sampled_from([b"", b"NOOP\r\n", b".\r\n"]), where=cuts)
    def say_a_message(self, body: bytes, behind: bytes, where: list[int]) -> None:
        """With the answers between; and then something else."""
        for line in () if self.in_data else (b"RSET\r\n", *MAILING[:2], b"DATA\r\n"):
            self.arrive(line, [], looks=True)
            self.answer_as_usual(SIZED)
        self.arrive(body + b"\r\n.\r\n" + behind, where, looks=True)
        self.answer_as_usual(SIZED)

    @precondition(lambda self: self.in_data)
    @rule(body=contents, ended=st.booleans(), behind=st.sampled_from([b"", b"NOOP\r\n", b"QUI"]), where=cuts)
    def say_content(self, body: bytes, ended: bool, behind: bytes, where: list[int]) -> None:
        data = body + (b"\r\n.\r\n" + behind if ended else b"")
        if data:
            self.arrive(data, where, looks=True)

    @rule(certain=st.integers(0, 3), looks=st.booleans())
    def end(self, certain: int, looks: bool) -> None:
        if certain == 0 and not self.twins.eof:
            self.twins.end()
            if looks:
                self.look()

    # The book

    @property
    def rest(self) -> bytes:
        return self.twins.stream[self.at :]

    def note(self, told: list[Told]) -> None:
        for what, _, _ in told:
            assert not self.owed or isinstance(what, EarlyTalker), "something comes before the answer"
            assert self.closed is None or what == self.closed
            match what:
                case Failure():
                    return
                case ConnectionClosed():
                    self.closed = what
                    assert self.twins.eof
                    assert what.last_reply == self.last
                    assert what.clean == (self.over and self.last is not None and self.last.is_positive)
                    assert not what.unanswered or self.twins.one.state is State.CLOSED
                case EarlyTalker():
                    assert isinstance(self.due, Connect)
                case StartTlsReady():
                    assert isinstance(self.due, StartTls)
                case ContentReceived(data):
                    self.content += data
                    self.taken += len(data)
                    assert self.taken <= SIZE
                case _:
                    self.note_command(what)
        self.drained()

    def drained(self) -> None:
        """All has been told that could be."""
        state = self.twins.one.state
        if self.owed:
            return
        self.twins.unread = 0
        if state in (State.CLOSED, State.TLS) or self.twins.failure is not None:
            return
        if self.in_data:
            assert b"\r\n.\r\n" not in b"\r\n" + self.rest, "the end of the content was not told"
        elif (chunk := bdat(self.rest)) is not None:
            assert len(self.rest) < sum(chunk), "a chunk was not told"
        else:
            assert b"\r\n" not in self.rest, "a line was not told"

    def note_command(self, event: Event | Failure) -> None:
        assert isinstance(event, CommandReceived | BadCommand)
        self.refusal = event.reply if isinstance(event, BadCommand) else None
        # A response that cannot be read has to be answered as one, all the same.
        self.due = AuthResponse(None) if self.in_auth and event.command is None else event.command
        self.owed = True
        if self.in_data:
            self.note_end(event)
        elif isinstance(event.command, Bdat):
            self.note_chunk(event)
        else:
            self.note_line(event)
        self.content = b""

    def note_line(self, event: CommandReceived | BadCommand) -> None:
        assert not self.content, "content that was none"
        line, ended, _ = self.rest.partition(b"\r\n")
        assert ended
        assert len(line) + 2 <= LIMITS.command_line
        self.at += len(line) + 2
        if isinstance(event, BadCommand):
            assert event.line == line
            assert event.reply.code >= 400
        elif self.in_auth:
            assert event.command == parse_auth_response(line)
        else:
            assert event.command == parse_command(line, lenient=self.lenient)
            assert not (isinstance(event.command, StartTls) and self.secure)
            assert not (isinstance(event.command, Auth) and self.authenticated)
            if isinstance(event.command, Mail):
                self.mails += 1
                self.taken = 0
                assert self.mails <= LIMITS.transactions

    def note_chunk(self, event: CommandReceived | BadCommand) -> None:
        found = bdat(self.rest)
        assert found is not None
        header, size = found
        octets = self.rest[header : header + size]
        assert len(octets) == size, "not all of the chunk has come"
        self.at += header + size
        assert self.content == (octets if isinstance(event, CommandReceived) else b"")

    def note_end(self, event: CommandReceived | BadCommand) -> None:
        """RFC 5321 section 4.5.2, by hand."""
        assert event.command == EndOfData()
        text, ended, _ = (b"\r\n" + self.rest).partition(b"\r\n.\r\n")
        assert ended
        self.at += len(text) + 3
        self.in_data = False
        self.ends += 1
        content = (text + b"\r\n").replace(b"\r\n.", b"\r\n")[2:]
        faulty = re.search(rb"\0|\r(?!\n)|(?<!\r)\n", content) is not None and not self.accept_bare
        if isinstance(event, CommandReceived):
            assert self.content == content
            assert not faulty
        else:
            assert content.startswith(self.content)
            assert faulty or len(content) > len(self.content)

    # What holds

    @invariant()
    def nothing_hangs_on_the_cuts(self) -> None:
        self.twins.assert_same(
            lambda server: (
                server.state,
                server.outstanding,
                server.extensions,
                server.last_reply,
                server.tally.recipients,
                server.tally.transactions,
                server.deadline,
            )
        )

    @invariant()
    def nothing_is_known_that_was_not_said(self) -> None:
        server = self.twins.one
        assert (server.secure, server.authenticated) == (self.secure, self.authenticated)
        assert server.last_reply == self.last
        assert len(server.outstanding) <= 1
        assert isinstance(server.extensions, Extensions)

    @invariant()
    def memory_stays_in_its_limits(self) -> None:
        # What was not read yet may lie there twice: as it came, and cut into lines.
        assert held(self.twins.watched, ITS_OWN) <= MOST + 3 * self.twins.unread

    @invariant()
    def work_stays_in_its_limits(self) -> None:
        most = 6 * self.fed + 3 * (self.ends + 1) * BLOCK + 4 * self.twins.calls + 1024
        assert self.work.octets <= most


def bdat(stream: bytes) -> tuple[int, int] | None:
    """The octets of the command, and of its chunk, if the stream begins with one."""
    match = re.match(rb"(?i)BDAT +(\d{1,20})(?: +LAST)? *\r\n", stream)
    return None if match is None else (match.end(), int(match[1]))


TestHostileClient = HostileClient.TestCase
TestHostileClient.settings = settings(stateful_step_count=80)
