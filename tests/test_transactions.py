"""Mail transactions between our own two ends: both agree on what was sent and what became of it, whatever happens."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from itertools import cycle, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smtpproto import flows, testing
from smtpproto.commands import (
    Bdat,
    Command,
    Data,
    EndOfData,
    Mail,
    Noop,
    Rcpt,
    Rset,
    UnknownCommand,
    Vrfy,
    parse_command,
)
from smtpproto.connect import Connector
from smtpproto.content import LineEnds
from smtpproto.delivery import DeliveryResult, Fate
from smtpproto.envelope import Envelope
from smtpproto.errors import LocalProtocolError
from smtpproto.events import BadCommand, CommandReceived, ContentReceived, Event, Pause, ReplyReceived
from smtpproto.flows import Flow, Whole
from smtpproto.options import ConnectOptions
from smtpproto.parameters import OriginalRecipient
from smtpproto.replies import Reply
from smtpproto.sasl import Question
from smtpproto.service import Service, ServiceSession
from smtpproto.states import State
from tests.delivering import Streamed, many
from tests.driving import EVERYTHING, give, mailing_client, mailing_server, ready_client, ready_server, receive
from tests.strategies import any_texts, cuts, mailboxes, mails, rcpts

if TYPE_CHECKING:
    from tests.delivering import Message

OFFER = ("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME")

fragments = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"text", b"\r\n.", b".\r\n", b"\r\n.\r", b"\n.\n", b"QUIT\r\n", b"\xff"]
)
bodies = st.lists(fragments, max_size=12).map(b"".join)
refusals = st.sampled_from([450, 452, 550, 554])


def normalised(data: bytes) -> bytes:
    text = re.sub(rb"\r\n|\r|\n", b"\r\n", data)
    return text if not text or text.endswith(b"\r\n") else text + b"\r\n"


# Two engines -------------------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """The n-th command, its answer, and the content that was accepted with it."""

    number: int
    command: Command
    code: int
    content: bytes | None


class Conversation(RuleBasedStateMachine):
    """A client that says what it may, a server that answers as it is told, and a wire that cuts as it likes.

    They are not in step: what was written lies on the wire until the wire has its turn.  Both keep a book of their
    own: the client of what it sent and was answered, the server of what it saw and answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.to_server = b""
        self.to_client = b""
        self.sent: deque[tuple[Command, bytes]] = deque()  # and not answered yet, with the content that goes with it
        self.seen = b""  # by the server, of the content that is under way
        self.refusals: deque[int] = deque()  # what the server will refuse its next commands with
        self.at_client: list[Said] = []
        self.at_server: list[Said] = []
        self.answered = [0, 0]  # commands, by what the client knows and by what the server has said
        self.generous = False

    @initialize(lmtp=st.booleans(), generous=st.booleans())
    def begin(self, lmtp: bool, generous: bool) -> None:
        self.client = ready_client(*OFFER, lmtp=lmtp)
        self.server = ready_server(*OFFER, lmtp=lmtp)
        self.generous = generous and not lmtp

    # What the client does

    def say(self, command: Command, content: bytes = b"") -> bool:
        if self.client.objection(command) is not None:
            with pytest.raises(LocalProtocolError):
                self.client.send(command)
            return False
        self.to_server += self.client.send(command)
        self.sent.append((command, content))
        return True

    @rule(
        command=st.sampled_from(
            [
                Mail("m@x.example", body="8BITMIME"),
                Rcpt("b@y.example"),
                Data(),
                Rset(),
                Noop(),
                Vrfy("x"),
                UnknownCommand("XYZZY"),
            ]
        )
    )
    def command(self, command: Command) -> None:
        self.say(command)

    @rule(
        sender=st.integers(0, 3),
        recipients=st.lists(st.integers(0, 4), min_size=1, max_size=3),
        chunks=st.none() | st.lists(bodies, max_size=3),
        second_thoughts=st.booleans(),
    )
    def group(self, sender: int, recipients: list[int], chunks: list[bytes] | None, second_thoughts: bool) -> None:
        """A whole envelope; and its content as well, where that may follow at once."""
        if second_thoughts:
            for command in (Mail("m@x.example"), Rcpt("b@y.example"), Rset()):
                self.say(command)
        self.say(Mail(f"s{sender}@x.example", body="8BITMIME" if chunks is None else "BINARYMIME"))
        for recipient in recipients:
            self.say(Rcpt(f"r{recipient}@y.example"))
        if chunks is None:
            self.say(Data())
        for n, body in enumerate(chunks or ()):
            self.chunk(body, chunks is not None and n == len(chunks) - 1)

    @precondition(lambda self: self.client.state is State.DATA and not self.client.outstanding)
    @rule(body=bodies, where=cuts(60))
    def content(self, body: bytes, where: list[int]) -> None:
        self.to_server += b"".join(map(self.client.send_content, testing.pieces(body, where)))
        assert self.say(EndOfData(), normalised(body))

    @precondition(lambda self: self.client.predicted in (State.RCPT, State.BDAT))
    @rule(body=bodies, last=st.booleans())
    def chunk(self, body: bytes, last: bool) -> None:
        if self.say(Bdat(len(body), last), body):
            self.to_server += self.client.send_content(body)

    # What the server does

    @rule(codes=st.lists(refusals | st.just(250), max_size=6))
    def refuse(self, codes: list[int]) -> None:
        self.refusals.extend(codes)

    @precondition(lambda self: len(self.at_server) > 10)
    @rule()
    def leave(self) -> None:
        self.refusals.append(421)

    def answer(self, event: CommandReceived | BadCommand) -> None:
        command = event.command
        assert command is not None, f"{event!r}: the client may send nothing that cannot be read"
        content, self.seen = self.seen, b""
        while self.server.outstanding and self.server.state is not State.CLOSED:
            reply = self.wanted(event, command)
            self.to_client += self.server.send(reply)
            self.at_server.append(said(self.answered[1], command, reply.code, content))
        self.answered[1] += 1

    def wanted(self, event: CommandReceived | BadCommand, command: Command) -> Reply:
        if isinstance(event, BadCommand):
            lone_dot = self.generous and isinstance(command, Data) and self.server.state is State.MAIL
            return Reply(354, "go") if lone_dot else event.reply
        usual = 354 if isinstance(command, Data) else 250
        code = self.refusals.popleft() if self.refusals else 250
        return Reply(usual if code == 250 or (isinstance(command, Rset) and code != 421) else code, "said")

    # What the wire does

    @rule(where=cuts(80))
    def arrive(self, where: list[int]) -> None:
        self.arrive_at_server(100, where)
        self.arrive_at_client(100, where)

    @precondition(lambda self: self.to_server)
    @rule(share=st.integers(1, 100), where=cuts(80))
    def arrive_at_server(self, share: int, where: list[int]) -> None:
        at = len(self.to_server) * share // 100
        stream, self.to_server = self.to_server[:at], self.to_server[at:]
        for piece in testing.pieces(stream, where):
            self.server.receive_data(piece)
            while not isinstance(event := self.server.next_event(), Pause):
                if isinstance(event, ContentReceived):
                    self.seen += event.data
                else:
                    assert isinstance(event, CommandReceived | BadCommand), event
                    self.answer(event)

    @precondition(lambda self: self.to_client)
    @rule(share=st.integers(1, 100), where=cuts(80))
    def arrive_at_client(self, share: int, where: list[int]) -> None:
        at = len(self.to_client) * share // 100
        stream, self.to_client = self.to_client[:at], self.to_client[at:]
        for piece in testing.pieces(stream, where):
            self.client.receive_data(piece)
            while not isinstance(event := self.client.next_event(), Pause):
                assert isinstance(event, ReplyReceived), event
                command, content = self.sent[0]
                assert event.command is command
                self.at_client.append(said(self.answered[0], command, event.reply.code, content))
                if self.client.waiting < len(self.sent):
                    self.sent.popleft()
                    self.answered[0] += 1

    # What holds

    @invariant()
    def the_client_knows_nothing_that_is_not_so(self) -> None:
        assert self.at_client == self.at_server[: len(self.at_client)]

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        for _ in range(2):
            self.arrive([])
            if self.client.state is State.DATA and not self.client.outstanding:
                self.content(b"the end", [])
        assert self.at_client == self.at_server
        assert_as_many_answers_as_owed(self.at_client, lmtp=self.client.lmtp)
        assert self.client.state is self.server.state
        if self.client.state is not State.CLOSED:
            assert not self.client.outstanding
            assert self.client.tally.recipients == self.server.tally.recipients or self.client.state is State.READY


def assert_as_many_answers_as_owed(log: list[Said], *, lmtp: bool) -> None:
    """One for each command; but for the end of the content one for each accepted recipient.  RFC 2033 section 4.2."""
    accepted = 0
    for _, group in groupby(log, key=lambda each: each.number):
        answers = list(group)
        _, command, code, _ = answers[0]
        ended = isinstance(command, EndOfData) or (isinstance(command, Bdat) and command.last)
        owed = accepted if lmtp and ended and code != 503 else 1
        assert len(answers) == owed or answers[-1].code == 421
        if isinstance(command, Rcpt) and code < 300:
            accepted += 1
        elif ended or (isinstance(command, Mail | Rset) and code < 300):
            accepted = 0


def said(number: int, command: Command, code: int, content: bytes) -> Said:
    with_content = isinstance(command, EndOfData | Bdat) and code < 300
    return Said(number, command, code, content if with_content else None)


TestConversation = Conversation.TestCase


# Two flows ---------------------------------------------------------------------------------------------------------


class Program:
    """A server's program that decides by a plan, and keeps what it has accepted: (sender, recipient, content)."""

    def __init__(self, plan: Sequence[int | None], *, lmtp: bool) -> None:
        self.plan = cycle(plan)
        self.lmtp = lmtp
        self.accepted: list[tuple[str, str, bytes]] = []
        self.left = False
        self._begin("")

    def _begin(self, sender: str) -> None:
        self.sender = sender
        self.recipients: list[str] = []
        self.content = b""
        self.refused = False

    def __call__(self, subject: Event | Question) -> Any:
        match subject:
            case CommandReceived(Mail(sender)):
                self._begin(sender)
                return self._decide()
            case CommandReceived(Rcpt(recipient)):
                reply = self._decide()
                if reply is None:
                    self.recipients.append(recipient)
                return reply
            case CommandReceived(Data()):
                return self._decide()
            case ContentReceived(data):
                self.content += data
                reply = self._decide() if len(self.content) % 5 == 0 else None
                self.refused = reply is not None
                return reply
            case CommandReceived(Bdat(_, last)) if not last:
                return self._decide()
            case CommandReceived(EndOfData() | Bdat()):
                return self._end()
            case _:
                return None

    def _decide(self) -> Reply | None:
        code = next(self.plan)
        self.left = self.left or code == 421
        return None if code is None else Reply(code, "said")

    def _end(self) -> Reply | list[Reply] | None:
        if not self.lmtp:
            reply = self._decide()
            if reply is None:
                self._accept(self.recipients)
            return reply
        replies = [self._decide() or Reply(250, "ok") for _ in self.recipients]
        codes = [reply.code for reply in replies]
        heard = codes.index(421) if 421 in codes else len(codes)
        self._accept([each for each, code in zip(self.recipients[:heard], codes, strict=False) if code == 250])
        return replies

    def _accept(self, recipients: list[str]) -> None:
        self.accepted += [(self.sender, each, self.content) for each in recipients]


def session(connector: Connector, messages: list[Message], chunking: bool | None) -> Flow[list[DeliveryResult]]:
    yield from flows.connect(connector)
    results = yield from many(connector.connection, messages, chunking=chunking)
    yield from flows.quit(connector.connection)
    return results


@given(
    st.sampled_from(
        [OFFER, ("PIPELINING", "8BITMIME"), ("8BITMIME",), ("CHUNKING", "8BITMIME"), ("PIPELINING", "CHUNKING")]
    ),
    st.sampled_from([None, False]),
    st.booleans(),
    st.lists(st.sampled_from([None] * 10 + [450, 550, 552, 421]), min_size=1, max_size=25),
    st.lists(st.tuples(bodies, st.integers(1, 3), st.booleans()), min_size=1, max_size=10),
    cuts(60),
)
@pytest.mark.rfc("5321", "6.1")
@pytest.mark.rfc("2033", "4.2")
def test_what_the_client_reports_is_what_the_server_did(
    offer: tuple[str, ...],
    chunking: bool | None,
    lmtp: bool,
    plan: list[int | None],
    shape: list[tuple[bytes, int, bool]],
    where: list[int],
) -> None:
    program = Program(plan, lmtp=lmtp)
    server = flows.serve(ServiceSession(Service("mx.example", extensions=offer, lmtp=lmtp, max_errors=1000)))
    options = {"host": "mx.example", "port": 2525, "lmtp": lmtp}
    contents: list[bytes] = []
    messages: list[Message] = []
    for n, (rest, count, streamed) in enumerate(shape):
        body = b"%d: " % n + (rest if "8BITMIME" in offer else rest.replace(b"\xff", b""))
        contents.append(normalised(body))
        given_content = Streamed(testing.pieces(body, where)) if streamed else Whole(body)
        messages.append((Envelope(f"s{n}@x.example", [f"r{i}@y.example" for i in range(count)]), given_content))
    results = testing.link(
        session(Connector(ConnectOptions(**options)), messages, chunking),  # type: ignore[arg-type]
        server,
        answer=program,
        cut=lambda data: testing.pieces(data, where),
    )
    assert len(results) == len(messages)
    truth = {(int(content.partition(b":")[0]), recipient) for _, recipient, content in program.accepted}
    assert len(truth) == len(program.accepted)
    for sender, _, content in program.accepted:
        number = int(content.partition(b":")[0])
        assert (sender, content) == (f"s{number}@x.example", contents[number])
    for n, (result, (envelope, _)) in enumerate(zip(results, messages, strict=True)):
        assert result.envelope.forward_paths == envelope.forward_paths
        for each in result.recipients:
            accepted = (n, each.recipient.forward_path) in truth
            assert accepted == (each.fate is Fate.ACCEPTED), each
            if not program.left:
                assert each.fate in (Fate.ACCEPTED, Fate.DEFERRED, Fate.REFUSED)
            # Where LMTP breaks off between two recipients, nobody knows of the second.
            assert each.fate is not Fate.UNKNOWN or (lmtp and program.left)
        assert result.error is None or program.left


# No second command -------------------------------------------------------------------------------------------------

texts = any_texts()
values = texts | st.text(max_size=12)
mail_fields: dict[str, st.SearchStrategy[Any]] = {
    "size": st.integers(-1, 10**21) | values,
    "body": values,
    "smtputf8": st.booleans(),
    "ret": values,
    "envid": values,
    "auth": values,
    "hold_until": values,
    "solicit": st.lists(values, max_size=2),
    "other": st.dictionaries(values | st.sampled_from(["X", "SIZE"]), st.none() | values, max_size=2),
}
rcpt_fields: dict[str, st.SearchStrategy[Any]] = {
    "notify": st.lists(values, max_size=2),
    "orcpt": st.tuples(values, values),
    "other": st.dictionaries(values | st.sampled_from(["X", "NOTIFY"]), st.none() | values, max_size=2),
}


def made(kind: type[Mail | Rcpt], path: str, fields: dict[str, Any]) -> Mail | Rcpt | None:
    try:
        if "orcpt" in fields:
            fields = {**fields, "orcpt": OriginalRecipient(*fields["orcpt"])}
        return kind(path, **fields)
    except LocalProtocolError:
        return None


def assert_one_command(command: Command) -> None:
    wire = bytes(command)
    assert wire.index(b"\r\n") == len(wire) - 2
    assert parse_command(wire[:-2]) == command
    server = ready_server(*EVERYTHING) if isinstance(command, Mail) else mailing_server()
    (event,) = receive(server, wire)
    assert isinstance(event, CommandReceived | BadCommand)
    assert event.command == command
    server.send(event.reply if isinstance(event, BadCommand) else Reply(250, "ok"))
    assert receive(server, b"NOOP\r\n") == [CommandReceived(Noop())]


@given(texts | mailboxes(), st.fixed_dictionaries({}, optional=mail_fields))
@pytest.mark.rfc("5321", "4.1.1.2")
def test_no_sender_and_no_parameter_makes_a_second_command(path: str, fields: dict[str, Any]) -> None:
    command = made(Mail, path, fields)
    if command is not None:
        assert_one_command(command)


@given(texts | mailboxes(), st.fixed_dictionaries({}, optional=rcpt_fields))
@pytest.mark.rfc("5321", "4.1.1.3")
def test_no_recipient_and_no_parameter_makes_a_second_command(path: str, fields: dict[str, Any]) -> None:
    command = made(Rcpt, path, fields)
    if command is not None:
        assert_one_command(command)


@given(mails() | rcpts())
@pytest.mark.rfc("5321", "4.1.1.11")
def test_what_is_made_is_read_as_it_was_made(command: Mail | Rcpt) -> None:
    assert_one_command(command)


@given(
    st.lists(fragments | st.just(b"\0"), max_size=20).map(b"".join),
    st.sampled_from([LineEnds.NORMALISE, LineEnds.REFUSE, LineEnds.TRUSTED]),
    st.booleans(),
    st.booleans(),
    cuts(80),
    cuts(120),
)
@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.rfc("3030", "2")
def test_no_content_makes_a_second_command(
    body: bytes, policy: LineEnds, chunked: bool, accept_bare: bool, here: list[int], there: list[int]
) -> None:
    client = mailing_client("b@y.example", line_ends=policy)
    server = mailing_server("b@y.example", accept_bare=accept_bare)
    wire = b""
    try:
        if chunked:
            pieces = testing.pieces(body, here)
            for n, piece in enumerate(pieces):
                wire += client.send(Bdat(len(piece), n == len(pieces) - 1)) + client.send_content(piece)
        else:
            client.send(Data())
            receive(client, b"354 go\r\n")
            give(server, b"DATA\r\n", 354)
            wire = b"".join(map(client.send_content, testing.pieces(body, here))) + client.send(EndOfData())
    except LocalProtocolError:
        assert policy is not LineEnds.TRUSTED
        return
    commands: list[Command | None] = []
    for piece in testing.pieces(wire + b"NOOP\r\n", there):
        server.receive_data(piece)
        while not isinstance(event := server.next_event(), Pause):
            if isinstance(event, CommandReceived | BadCommand):
                commands.append(event.command)
                server.send(event.reply if isinstance(event, BadCommand) else Reply(250, "ok"))
    assert commands.pop() == Noop()
    if chunked:
        assert [type(command) for command in commands] == [Bdat] * len(testing.pieces(body, here))
    else:
        assert commands == [EndOfData()]
