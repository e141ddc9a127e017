"""A client against a server that says anything, at any time, cut anywhere; and a program that calls anything.

The book is kept apart from the engine: it cuts the stream into replies by its own means, knows where in the stream each
command was sent, and so which reply can be whose.
"""

from __future__ import annotations

import re
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smtpproto.client import ClientConnection
from smtpproto.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Helo,
    Lhlo,
    Mail,
    Rcpt,
    Rset,
    StartTls,
    XClient,
)
from smtpproto.errors import RemoteProtocolError
from smtpproto.events import (
    AuthChallenge,
    AuthSucceeded,
    ConnectionClosed,
    ContentWanted,
    EhloReply,
    Event,
    RecipientReply,
    ReplyReceived,
    ServiceClosing,
    StartTlsReady,
    Unsolicited,
)
from smtpproto.extensions import NO_EXTENSIONS, Extensions
from smtpproto.limits import Limits
from smtpproto.replies import Reply
from smtpproto.states import LastBdat, State, kind_of
from tests import strategies
from tests.driving import EVERYTHING, ehlo_reply
from tests.machines import LEGAL, Failure, Told, Twins, Work, held, usual_codes

pytestmark = pytest.mark.timeout(300)

LIMITS = Limits(reply_line=200, reply_lines=40, reply_octets=600, outstanding=6)
OFFERS = (EVERYTHING, EVERYTHING, ("PIPELINING", "CHUNKING", "8BITMIME"), ("STARTTLS", "AUTH PLAIN"), ())

# What is a client's own is no fault of the server: what it has sent, and what it was told to be.
ITS_OWN = frozenset({"_session", "_tally", "_recipients", "limits", "_limits", "timeouts", "_mask", "_on_send"})
MOST = LIMITS.reply_line + 4 * LIMITS.reply_octets + 1024
"""A line that has not ended; a reply that has not, the last one, the offer, and the JSON of an AUTH; an error."""

texts = st.sampled_from(
    [b"", b"ok", b"2.0.0 ok", b"5.7.0 TLS first", b"eyJhIjogMX0=", b"eA==", b"=", b"\xff", b"a" * 90]
)
codes = st.integers(200, 599).map(b"%d".__mod__)
often = st.sampled_from([b"220", b"221", b"235", b"250", b"334", b"354", b"421", b"450", b"530", b"550"])
LONG_LINE = b"250-" + b"y" * 50 + b"\r\n"


@st.composite
def valid_replies(draw: st.DrawFn) -> bytes:
    code = draw(often | codes)
    lines = draw(st.lists(texts, max_size=4))
    return b"".join(b"%b-%b\r\n" % (code, line) for line in lines) + b"%b %b\r\n" % (code, draw(texts))


hostile_octets = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.sampled_from(
        [
            b"250 ok",
            b"\r\n",
            b"\r",
            b"\n",
            b"2",
            b"4",
            b"421 bye\r",
            b"250\r\n",
            b"250-\r\n",
            b"550-no\r\n",
            b"250 ok\n",
            b"250 o\rk\r\n",
            b"250 \0\r\n",
            b"250-a\r\n251 b\r\n",
            b"250+a\r\n",
            b"150 hello\r\n",
            b"600 hello\r\n",
            b"-250 ok\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"250 " + b"x" * 194 + b"\r\n",
            b"250 " + b"x" * 195 + b"\r\n",
            b"250 " + b"x" * 300,
            b"x" * 300,
            b"\0" * 150,
        ]
    ),
    st.builds(bytes.__mul__, st.sampled_from([b"250 ok\r\n", b"250-\r\n", LONG_LINE]), st.integers(2, 80)),
    st.builds(bytes.__add__, valid_replies(), valid_replies()),
    valid_replies(),
)  # fmt: skip
cuts = st.lists(st.integers(1, 200), max_size=6)
contents = st.sampled_from([b"", b".", b"abc", b"a\r\n.\r\nb", b"\r", b"\n.", b"\xff", b"\0", b"x" * 300])
any_command = strategies.session_commands() | strategies.session_commands(lmtp=True) | strategies.commands()


def next_reply(stream: bytes, at: int) -> tuple[Reply, int] | None:
    """The reply that begins there, and where it ends; None where there is none, or not the whole of it."""
    lines: list[str] = []
    while (end := stream.find(b"\r\n", at)) >= 0:
        match = re.fullmatch(rb"([2-5]\d\d)(?:([ -])([^\r\n\0]*))?", stream[at:end])
        if match is None:
            return None
        lines.append((match[3] or b"").decode("utf-8", "surrogateescape"))
        at = end + 2
        if match[2] != b"-":
            return Reply(int(match[1]), lines), at
    return None


Stage = tuple[tuple[Command, bytes], ...]
OK = b"250 ok\r\n"
MAILING: Stage = ((Mail("a@x.example"), OK), (Rcpt("b@y.example"), OK), (Rcpt("c@y.example"), OK))
STAGES: tuple[Stage | None, ...] = (
    None,
    (),
    MAILING,
    (*MAILING, (Data(), b"354 go\r\n")),
    (*MAILING, (Bdat(0), OK)),
    (*MAILING, (Bdat(0), b"550 no\r\n")),
    ((StartTls(), b"220 go\r\n"),),
    ((Auth("PLAIN"), b"334 eA==\r\n"),),
    ((Auth("PLAIN"), b"235 ok\r\n"), (Mail("a@x.example"), b"")),
)
"""How far it has come without a fault: commands, where they are legal, with their answers."""


class HostileServer(RuleBasedStateMachine):
    """See above."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def teardown(self) -> None:
        self.work.undo()

    @initialize(lmtp=st.booleans(), secure=st.booleans(), offer=st.sampled_from(OFFERS), stage=st.sampled_from(STAGES))
    def begin(self, lmtp: bool, secure: bool, offer: tuple[str, ...], stage: Stage | None) -> None:
        self.work.octets = 0
        self.fed = 0
        self.dead = 0
        self.began = (lmtp, secure, offer, stage)
        self.twins = Twins(lambda: ClientConnection(lmtp=lmtp, secure=secure, limits=LIMITS))
        self.queue: deque[tuple[Command, int]] = deque([(Connect(), 0)])  # and where in the stream it was sent
        self.at = 0  # in the stream, behind the last reply that was told
        self.last: Reply | None = None
        self.last_event: Event | Failure | None = None
        self.recipients: list[str] = []
        self.extensions: Extensions = NO_EXTENSIONS
        self.secure, self.authenticated, self.extended = secure, False, False
        self.chunk_left = 0
        self.over = False  # the server has taken its leave
        self.closed: ConnectionClosed | None = None
        if stage is None:
            return
        self.arrive(b"220 mx.example\r\n", [], looks=True)
        for command, answer in ((Lhlo("me") if lmtp else Ehlo("me"), ehlo_reply(*offer)), *stage):
            if self.twins.one.objection(command) is None:
                self.say(command)
                if answer:
                    self.arrive(answer, [], looks=True)

    @invariant()
    def a_dead_one_is_replaced(self) -> None:
        self.dead += self.twins.dead
        if self.dead > 3:
            lmtp, secure, offer, stage = self.began
            self.begin(lmtp ^ (stage is None), not secure, offer, STAGES[STAGES.index(stage) - 1])

    # What the program does

    def say(self, command: Command) -> None:
        client = self.twins.one
        failed, objection = self.twins.failure is not None, client.objection(command)
        outcome = self.twins.call(lambda each: each.send(command))
        if outcome.done:
            assert not failed
            assert objection is None
            assert not self.chunk_left
            self.chunk_left = command.size if isinstance(command, Bdat) else 0
            self.queue.append((command, len(self.twins.stream)))
        elif outcome.error is RemoteProtocolError:
            assert not self.queue, "an answer is still to come"
            assert self.at < len(self.twins.stream), "nothing has come unasked"
        else:
            assert failed or objection is not None
            assert objection is None or "octets of the chunk" not in objection or self.chunk_left

    @rule(command=any_command)
    def say_anything(self, command: Command) -> None:
        self.say(command)

    @rule(data=st.data())
    def say_what_is_legal(self, data: st.DataObject) -> None:
        legal = [command for command in LEGAL if self.twins.one.objection(command) is None]
        if legal:
            command = data.draw(st.sampled_from(legal))
            self.say(command)
            if isinstance(command, Bdat) and data.draw(st.booleans()):
                self.content(b"abc"[: command.size])

    @rule(recipients=st.integers(0, 3), end=st.sampled_from([(Data(),), (Bdat(3), Bdat(0, last=True)), (Rset(),), ()]))
    def say_an_envelope(self, recipients: int, end: tuple[Command, ...]) -> None:
        for command in (Mail("a@x.example"), *(Rcpt(f"r{n}@y.example") for n in range(recipients)), *end):
            self.say(command)
            if isinstance(command, Bdat):
                self.content(b"abc"[: command.size])

    @rule(body=contents)
    def content(self, body: bytes) -> None:
        if self.twins.call(lambda client: client.send_content(body)).done and self.chunk_left:
            assert len(body) <= self.chunk_left
            self.chunk_left -= len(body)

    @rule()
    def tls_established(self) -> None:
        if self.twins.call(ClientConnection.tls_established).done:
            assert isinstance(self.last_event, StartTlsReady)
            assert self.at == len(self.twins.stream), "plaintext has come through"
            self.secure = True
            self.forget()

    @rule(most=st.none() | st.integers(1, 3))
    def look(self, most: int | None) -> None:
        self.note(self.twins.look(most), drained=most is None)

    # What the server does

    def arrive(self, data: bytes, where: list[int], *, looks: bool) -> None:
        self.fed += 3 * len(data)
        told = self.twins.receive(data, where, looks=looks)
        self.note(told, drained=looks and not self.twins.eof)

    @rule(data=hostile_octets, where=cuts, looks=st.booleans())
    def say_something(self, data: bytes, where: list[int], looks: bool) -> None:
        self.arrive(data, where, looks=looks)

    @rule(data=st.data(), count=st.integers(1, 4), where=cuts, offer=st.sampled_from(OFFERS))
    def converse(self, data: st.DataObject, count: int, where: list[int], offer: tuple[str, ...]) -> None:
        """What is legal, and the usual answers."""
        for _ in range(count):
            self.say_what_is_legal(data)
            if self.queue:
                self.answer(data, where, True, offer)

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), where=cuts, looks=st.booleans(), offer=st.sampled_from(OFFERS))
    def answer(self, data: st.DataObject, where: list[int], looks: bool, offer: tuple[str, ...]) -> None:
        """What is due, or nearly so."""
        command = self.queue[0][0] if self.queue else None
        code = data.draw(st.sampled_from([*usual_codes(command) * 4, 450, 550]))
        text = "eyJhIjogMX0=" if code == 334 else "said"
        reply = ehlo_reply(*offer) if isinstance(command, Ehlo | Lhlo) and code == 250 else bytes(Reply(code, text))
        behind = data.draw(st.sampled_from([b""] * 12 + [b"2", b"250 ok\r\n", b"\x16\x03\x01"]))
        self.arrive(reply + behind, where, looks=looks)

    @rule(where=cuts, codes=st.lists(st.sampled_from([250, 250, 250, 550]), min_size=6, max_size=6))
    def answer_all(self, where: list[int], codes: list[int]) -> None:
        replies = b"".join(
            bytes(Reply(usual_codes(command)[0] if code == 250 else code, "said"))
            for (command, _), code in zip(self.queue, codes, strict=False)
        )
        if replies:
            self.arrive(replies, where, looks=True)

    @precondition(lambda self: self.queue)
    @rule(count=st.integers(1, 120), width=st.just(0) | st.integers(0, 195), ended=st.booleans(), where=cuts)
    def answer_at_length(self, count: int, width: int, ended: bool, where: list[int]) -> None:
        code = usual_codes(self.queue[0][0])[0]
        line = b"%d-%b\r\n" % (code, b"x" * width)
        self.arrive(line * count + (b"%d end\r\n" % code if ended else b""), where, looks=True)

    @rule(data=st.data(), more=st.integers(0, 2), group=st.integers(0, 2))
    def answer_before_it_is_asked(self, data: st.DataObject, more: int, group: int) -> None:
        """Answers that lie there, unread, when the next commands are sent: those that are too many are nobody's."""
        self.arrive(OK * (len(self.queue) + more) or OK, [], looks=False)
        for _ in range(group):
            self.say_what_is_legal(data)
        self.look(None)

    @rule(
        certain=st.integers(0, 3),
        before=st.sampled_from([b"", b"25", b"250-ok\r\n", b"421 bye\r"]),
        looks=st.booleans(),
    )
    def end(self, certain: int, before: bytes, looks: bool) -> None:
        if certain == 0 and not self.twins.eof:
            if before:
                self.arrive(before, [], looks=looks)
            self.twins.end()
            if looks:
                self.look(None)

    # The book

    def forget(self) -> None:
        self.extensions, self.extended, self.authenticated = NO_EXTENSIONS, False, False

    def note(self, told: list[Told], *, drained: bool) -> None:
        for each in told:
            self.last_event = each.what
            if isinstance(each.what, Failure):
                return
            if isinstance(each.what, ConnectionClosed):
                self.note_closed(each.what)
            else:
                assert isinstance(each.what, ReplyReceived)
                self.note_reply(each.what, each)
        if drained:
            self.twins.unread = 0
            if self.twins.one.state is not State.CLOSED:
                assert next_reply(self.twins.stream, self.at) is None, "a reply was not told"

    def note_closed(self, event: ConnectionClosed) -> None:
        assert self.twins.eof
        assert self.closed in (None, event)
        assert event.unanswered == tuple(command for command, _ in self.queue)
        assert self.over or self.at == len(self.twins.stream), "half a reply is dropped without a word"
        assert event.last_reply == self.last
        assert event.clean == (self.over and self.last is not None and self.last.is_positive)
        self.closed = event

    def note_reply(self, event: ReplyReceived, told: Told) -> None:
        assert self.closed is None
        found = next_reply(self.twins.stream, self.at)
        assert found is not None
        begun = self.at
        self.last, self.at = found
        assert event.reply == self.last
        self.over = told.state is State.CLOSED
        assert len(event.reply.lines) <= LIMITS.reply_lines
        assert sum(len(line.encode("utf-8", "surrogateescape")) for line in event.reply.lines) <= LIMITS.reply_octets
        if isinstance(event.command, Unsolicited):
            assert isinstance(event, ServiceClosing)
            assert not self.queue or self.queue[0][1] > begun
            assert event.reply.code >= 400
            return
        command, sent = self.queue[0]
        assert event.command is command or command == Connect() == event.command
        assert sent <= begun, "an answer from before the question"
        if told.waiting < len(self.queue):
            self.queue.popleft()
        if event.reply.code == 421:
            assert isinstance(event, ServiceClosing)
            assert told.state is State.CLOSED
        else:
            self.note_answer(command, event)

    def note_answer(self, command: Command, event: ReplyReceived) -> None:
        positive = event.reply.is_positive
        match command:
            case Ehlo() | Lhlo():
                assert isinstance(event, EhloReply)
                assert (event.extensions == NO_EXTENSIONS) >= (not positive)
                self.extensions = event.extensions if positive else self.extensions
                self.extended = self.extended or positive
            case Helo() if positive:
                self.extensions, self.extended = NO_EXTENSIONS, False
            case XClient() if positive:
                self.forget()
            case Auth() | AuthResponse():
                assert isinstance(event, AuthSucceeded) == positive
                assert isinstance(event, AuthChallenge) == event.reply.is_intermediate
                self.authenticated = self.authenticated or positive
            case StartTls():
                assert isinstance(event, StartTlsReady) == positive
            case Data():
                assert not positive
                assert isinstance(event, ContentWanted) == event.reply.is_intermediate
            case Rcpt() if positive:
                self.recipients.append(command.forward_path)
            case _:
                pass
        if isinstance(event, RecipientReply):
            assert self.twins.one.lmtp
            assert event.recipient == self.recipients.pop(0)
        elif isinstance(command, EndOfData) or kind_of(command) is LastBdat:
            assert not self.twins.one.lmtp or event.reply.code >= 400
            self.recipients.clear()
        elif positive and isinstance(command, Mail | Rset | Ehlo | Lhlo | Helo):
            self.recipients.clear()

    # What holds

    @invariant()
    def nothing_hangs_on_the_cuts(self) -> None:
        self.twins.assert_same(
            lambda client: (
                client.state,
                client.predicted,
                client.outstanding,
                client.extensions,
                client.last_reply,
                client.tally.recipients,
                client.deadline,
            )
        )

    @invariant()
    def nothing_is_known_that_was_not_told(self) -> None:
        client = self.twins.one
        assert client.last_reply == self.last
        assert client.extensions == self.extensions
        assert (client.secure, client.authenticated, client.extended) == (
            self.secure,
            self.authenticated,
            self.extended,
        )
        if self.twins.failure is None:
            assert client.outstanding == tuple(command for command, _ in self.queue)
            assert client.waiting <= LIMITS.outstanding

    @invariant()
    def memory_stays_in_its_limits(self) -> None:
        # What was not read yet may lie there twice: as it came, and cut into lines.
        assert held(self.twins.watched, ITS_OWN) <= MOST + 3 * self.twins.unread

    @invariant()
    def work_stays_in_its_limits(self) -> None:
        assert self.work.octets <= 6 * self.fed + 4 * self.twins.calls + 1024


TestHostileServer = HostileServer.TestCase
TestHostileServer.settings = settings(stateful_step_count=80)
