"""Our two ends linked, with any calls on both sides, any delays and cuts, and the stream broken off anywhere.

What the client takes for accepted was accepted, and with these octets; what was answered is answered at the other side
in the same way, or not known there; and neither end ever finds that the other breaks the protocol.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smtpproto import flows, testing
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
    Lhlo,
    Mail,
    Rcpt,
    StartTls,
)
from smtpproto.connect import Connector
from smtpproto.connection import Connection
from smtpproto.delivery import DeliveryResult, Fate
from smtpproto.envelope import Envelope
from smtpproto.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, TransportError
from smtpproto.events import (
    BadCommand,
    CommandReceived,
    ConnectionClosed,
    ContentReceived,
    Pause,
    ReplyReceived,
    StartTlsReady,
    Unsolicited,
)
from smtpproto.failures import ConnectFailed
from smtpproto.flows import Effect, Flow, Receive, Send, Whole
from smtpproto.limits import Limits
from smtpproto.options import ConnectOptions, Security
from smtpproto.replies import Reply
from smtpproto.server import ServerConnection
from smtpproto.server_auth import ServerAuth
from smtpproto.service import Service, ServiceSession
from smtpproto.states import State
from tests import strategies
from tests.delivering import Message, Streamed
from tests.driving import EVERYTHING
from tests.machines import LEGAL, Outcome, attempt, usual_codes
from tests.test_transactions import Program, bodies, normalised, session

pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")
OFFER = tuple(line for line in EVERYTHING if not line.startswith("SIZE"))
SIZE = 100
LIMITS = Limits(message=SIZE, recipients=3, outstanding=8)
CODES = (220, 221, 235, 250, 334, 354, 450, 452, 550, 554)
cuts = st.lists(st.integers(1, 200), max_size=6)
pieces_of_content = st.sampled_from(
    [b"a", b".", b"..", b"\r\n", b"\r", b"\n", b"\r\n.\r\n", b"\n.\r\n", b"\0", b"\xff", b"x" * 60]
)
contents = st.lists(pieces_of_content, min_size=1, max_size=6).map(b"".join)


class Said(NamedTuple):
    """An answer: to the n-th command, and what was accepted with it."""

    number: int
    command: Command
    code: int
    content: bytes | None


UNASKED = Said(-1, Unsolicited(), 421, None)

MAILING = (Mail("a@x.example", body="8BITMIME"), Rcpt("b@y.example"), Rcpt("c@y.example"))
STAGES: tuple[tuple[Command, ...] | None, ...] = (
    None,
    (),
    MAILING,
    (*MAILING, Data()),
    (*MAILING, Bdat(3)),
    (StartTls(),),
    (Auth("LOGIN"),),
    (Auth("LOGIN"), AuthResponse(b"x"), Mail("a@x.example")),
)
"""How far they have come together."""


class Linked(RuleBasedStateMachine):
    """Two connections and two wires, and a book for each side."""

    @initialize(
        lmtp=st.booleans(),
        secure=st.booleans(),
        offer=st.sampled_from([OFFER, OFFER, OFFER[1:], ()]),
        stage=st.sampled_from(STAGES),
    )
    def begin(self, lmtp: bool, secure: bool, offer: tuple[str, ...], stage: tuple[Command, ...] | None) -> None:
        self.began = (lmtp, secure, offer, stage)
        self.dead = 0
        self.client = ClientConnection(lmtp=lmtp, secure=secure, limits=LIMITS)
        self.server = ServerConnection(lmtp=lmtp, secure=secure, limits=LIMITS)
        self.to_client = self.to_server = b""
        self.at_client: list[Said] = []
        self.at_server: list[Said] = []
        self.sent: deque[tuple[Command, bytearray]] = deque([(Connect(), bytearray())])
        self.answered = 0  # commands, as far as the client knows
        self.received = 0  # commands, by the server
        self.due: Command | None = Connect()
        self.content = bytearray()  # after 354, that the client has sent
        self.seen = b""  # by the server since the last command
        self.broken = False
        self.closed: ConnectionClosed | None = None
        self.error: RemoteProtocolError | None = None
        if stage is not None:
            self.answer(220, offer)
            self.everything_arrives()
            for command in (Lhlo("me") if lmtp else Ehlo("me"), *stage):
                self.exchange(command, offer)

    @invariant()
    def a_dead_one_is_replaced(self) -> None:
        self.dead += self.broken or self.error is not None or self.client.state is State.CLOSED
        if self.dead > 3:
            self.teardown()
            lmtp, secure, offer, stage = self.began
            self.begin(lmtp ^ (stage is None), not secure, offer, STAGES[STAGES.index(stage) - 1])

    def exchange(self, command: Command, offer: tuple[str, ...]) -> None:
        """There and back."""
        self.say(command)
        if isinstance(command, Bdat) and command.size:
            self.send_content(b"." * command.size)
        self.everything_arrives()
        self.answer_as_usual(8, offer)
        self.everything_arrives()

    @rule(data=st.data(), count=st.integers(1, 5), offer=st.sampled_from([OFFER, OFFER[1:]]))
    def converse(self, data: st.DataObject, count: int, offer: tuple[str, ...]) -> None:
        """What is legal, and the usual answers."""
        for _ in range(count):
            legal = [command for command in LEGAL if self.client.objection(command) is None]
            if legal:
                self.exchange(data.draw(st.sampled_from(legal)), offer)
            self.negotiate()

    # What the client does

    def say(self, command: Command) -> None:
        objection = self.client.objection(command)
        outcome = attempt(self.client, lambda client: client.send(command))
        if not outcome.done:
            assert objection is not None or outcome.error is RemoteProtocolError or self.error is not None
            self.fail(outcome)
            return
        self.to_server += octets_of(outcome)
        content = self.content if isinstance(command, EndOfData) else bytearray()
        self.sent.append((command, content))
        self.content = bytearray()

    def fail(self, outcome: Outcome) -> None:
        """A client that sends without having looked may find that the server has left; and that is all it may find."""
        if outcome.error is RemoteProtocolError:
            assert UNASKED in self.at_server
            assert "no command asked for" in outcome.message
            self.error = RemoteProtocolError(outcome.message)

    @rule(command=strategies.session_commands() | strategies.session_commands(lmtp=True))
    def say_anything(self, command: Command) -> None:
        self.say(command)

    @rule(data=st.data())
    def say_what_is_legal(self, data: st.DataObject) -> None:
        legal = [command for command in LEGAL if self.client.objection(command) is None]
        if legal:
            self.say(data.draw(st.sampled_from(legal)))

    @rule(recipients=st.integers(0, 4), size=st.none() | st.integers(0, 40), more=st.booleans())
    def say_an_envelope(self, recipients: int, size: int | None, more: bool) -> None:
        commands: list[Command] = [
            Mail("s@x.example", body="8BITMIME" if "8BITMIME" in self.client.extensions else None)
        ]
        commands += [Rcpt(f"r{n}@y.example") for n in range(recipients)]
        for command in commands:
            self.say(command)
        if size is None:
            self.say(Data())
            return
        self.say(Bdat(size, last=not more))
        self.send_content(b"\r\n.\r\nQUIT\r\n...."[:size].ljust(size, b"x"))
        if more:
            self.say(Bdat(0, last=True))

    @rule(body=contents)
    def send_content(self, body: bytes) -> None:
        in_data = self.client.predicted is State.DATA  # and not a chunk behind a final dot that is not answered yet
        outcome = attempt(self.client, lambda client: client.send_content(body))
        if not outcome.done:
            return
        self.to_server += octets_of(outcome)
        if in_data:
            self.content += body
        elif self.sent:
            self.sent[-1][1].extend(body)

    @precondition(lambda self: self.client.state is State.DATA and not self.client.outstanding)
    @rule(body=contents)
    def say_all_the_content(self, body: bytes) -> None:
        self.send_content(body)
        self.say(EndOfData())

    # What the server does

    def answer(self, code: int, offer: tuple[str, ...]) -> None:
        command = self.due
        hello = code == 250 and isinstance(command, Ehlo | Lhlo)
        reply = Reply(code, ("mx.example", *offer) if hello else "said")
        outcome = attempt(self.server, lambda server: server.send(reply))
        assert outcome.error is not RemoteProtocolError
        if not outcome.done:
            return
        self.to_client += octets_of(outcome)
        if command is None:
            assert code == 421
            self.at_server.append(UNASKED)
            return
        accepted = code < 300 and isinstance(command, EndOfData | Bdat)
        self.at_server.append(Said(self.received, command, code, self.seen if accepted else None))
        if not self.server.outstanding or self.server.state is State.CLOSED:
            self.due, self.seen = None, b""
            self.received += 1

    @rule(code=st.sampled_from(CODES), offer=st.sampled_from([OFFER, ()]))
    def answer_anything(self, code: int, offer: tuple[str, ...]) -> None:
        self.answer(code, offer)

    @rule(count=st.integers(1, 8), offer=st.sampled_from([OFFER, OFFER[1:]]))
    def answer_as_usual(self, count: int, offer: tuple[str, ...]) -> None:
        for _ in range(count):
            if self.due is not None:
                self.answer(self.refusal or usual_codes(self.due)[-1], offer)
            self.server_looks()

    @rule(certain=st.integers(0, 5))
    def leave(self, certain: int) -> None:
        if certain == 0:
            self.answer(421, ())

    refusal: int | None = None

    @rule()
    def server_looks(self) -> None:
        while not isinstance(event := self.server.next_event(), Pause):
            match event:
                case CommandReceived(command) | BadCommand(_, _, Command() as command):
                    assert self.due is None
                    self.due = command
                    self.refusal = event.reply.code if isinstance(event, BadCommand) else None
                    if self.refusal:
                        self.seen = b""
                case ContentReceived(data):
                    self.seen += data
                case ConnectionClosed():
                    assert self.broken
                    return
                case StartTlsReady():
                    assert not self.to_server, "the client went on behind STARTTLS"
                case _:
                    raise AssertionError(f"{event!r}: the client may send nothing that cannot be read")

    # What the wires do

    @rule()
    def client_looks(self) -> None:
        if self.error is not None:
            return
        try:
            while not isinstance(event := self.client.next_event(), Pause):
                if isinstance(event, ConnectionClosed):
                    assert self.broken
                    assert event.unanswered == tuple(command for command, _ in self.sent)
                    self.closed = event
                    return
                assert isinstance(event, ReplyReceived)
                self.note(event)
        except RemoteProtocolError as error:
            self.error = error
            if not self.broken or "the stream ended within a reply" not in str(error):
                raise

    def note(self, event: ReplyReceived) -> None:
        code = event.reply.code
        if isinstance(event.command, Unsolicited):
            self.at_client.append(UNASKED)
            return
        command, content = self.sent[0]
        assert event.command is command or command == Connect()
        accepted = None
        if code < 300 and isinstance(command, EndOfData):
            accepted = normalised(bytes(content))
        elif code < 300 and isinstance(command, Bdat):
            accepted = bytes(content)
        self.at_client.append(Said(self.answered, command, code, accepted))
        if self.client.waiting < len(self.sent):
            self.sent.popleft()
            self.answered += 1

    @precondition(lambda self: self.to_server)
    @rule(share=st.integers(1, 100), where=cuts, looks=st.booleans())
    def arrive_at_server(self, share: int, where: list[int], looks: bool) -> None:
        at = (len(self.to_server) * share + 99) // 100
        stream, self.to_server = self.to_server[:at], self.to_server[at:]
        for piece in [] if self.broken else testing.pieces(stream, where):
            self.server.receive_data(piece)
            if looks:
                self.server_looks()

    @precondition(lambda self: self.to_client)
    @rule(share=st.integers(1, 100), where=cuts, looks=st.booleans())
    def arrive_at_client(self, share: int, where: list[int], looks: bool) -> None:
        at = (len(self.to_client) * share + 99) // 100
        stream, self.to_client = self.to_client[:at], self.to_client[at:]
        for piece in [] if self.broken else testing.pieces(stream, where):
            self.client.receive_data(piece)
            if looks:
                self.client_looks()

    @rule()
    def everything_arrives(self) -> None:
        self.arrive_at_server(100, [], looks=False)
        self.server_looks()
        self.arrive_at_client(100, [], looks=False)
        self.client_looks()

    @rule()
    def negotiate(self) -> None:
        """TLS, where both ask for it."""
        both = self.client.state is self.server.state is State.TLS and self.error is None
        each: list[Connection] = [self.client, self.server]
        for connection in each:
            if both:
                connection.tls_established()
                assert connection.secure
                assert not connection.extensions
            elif connection.state is not State.TLS:
                assert attempt(connection, Connection.tls_established).error is LocalProtocolError

    @precondition(lambda self: not self.broken)
    @rule(certain=st.integers(0, 5), here=st.integers(0, 100), there=st.integers(0, 100))
    def break_off(self, certain: int, here: int, there: int) -> None:
        """The stream ends, anywhere in what is on its way."""
        if certain:
            return
        self.arrive_at_client(here, [], looks=False) if here else None
        self.arrive_at_server(there, [], looks=False) if there else None
        self.broken = True
        self.client.receive_data(b"")
        self.server.receive_data(b"")

    # What holds

    @invariant()
    def the_client_knows_nothing_that_is_not_so(self) -> None:
        assert len(self.at_client) <= len(self.at_server)
        for here, there in zip(self.at_client, self.at_server, strict=False):
            # 421 may have been said before a command came, and be its answer by the time that it arrives.
            assert here == there or (there == UNASKED and here.code == 421)

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        if not self.broken:
            self.everything_arrives()
            if self.error is None:
                assert len(self.at_client) == len(self.at_server)
        self.client_looks()
        if self.broken:
            assert self.closed is not None or self.error is not None
        elif self.error is None and not self.client.outstanding:
            assert self.client.state is self.server.state
            assert self.client.secure == self.server.secure
            assert self.client.authenticated == self.server.authenticated
            assert self.client.extensions == self.server.extensions


def octets_of(outcome: Outcome) -> bytes:
    assert isinstance(outcome.value, bytes)
    return outcome.value


TestLinked = Linked.TestCase
TestLinked.settings = settings(stateful_step_count=120)


# -- two flows --------------------------------------------------------------------------------------------------------


def breaking_off(flow: Flow[T], received: int | None, sent: int | None) -> Flow[T]:
    """The flow, on a connection of which so many octets arrive, and so many can be written, and then no more."""
    budget: dict[type[Effect], int | None] = {Receive: received, Send: sent}
    effect: Effect = next(flow)
    try:
        while True:
            left = budget.get(type(effect))
            try:
                if left == 0 and isinstance(effect, Receive):
                    effect = flow.send(b"")
                elif left is not None and isinstance(effect, Send) and len(effect.data) > left:
                    budget[Send] = 0
                    yield Send(bytes(effect.data)[:left])
                    raise TransportError("reset", ErrorCode.CLOSED_BY_PEER)
                else:
                    # Who cannot write any more does not wait for the other side to say something for ever.
                    said: Any = yield (Receive(0) if isinstance(effect, Receive) and budget[Send] == 0 else effect)
                    if left is not None and isinstance(effect, Receive):
                        said = said[:left]
                        budget[Receive] = left - len(said)
                    elif left is not None and isinstance(effect, Send):
                        budget[Send] = left - len(effect.data)
                    effect = flow.send(said)
            except TransportError as error:
                effect = flow.throw(error)
    except StopIteration as stop:
        result: T = stop.value
        return result


def accepted_of(results: Iterable[DeliveryResult]) -> set[tuple[int, str]]:
    return {
        (n, each.recipient.forward_path)
        for n, result in enumerate(results)
        for each in result.recipients
        if each.fate is Fate.ACCEPTED
    }


class Watchful(Program):
    """It is not asked about the end of what it has refused."""

    def _end(self) -> Reply | list[Reply] | None:
        assert not self.refused
        return super()._end()


breaks = st.none() | st.none() | st.sampled_from(range(1500))


@given(
    lmtp=st.booleans(),
    secured=st.sampled_from(Security),
    authenticates=st.booleans(),
    chunking=st.sampled_from([None, False]),
    pipelining=st.booleans(),
    plan=st.lists(st.sampled_from([None] * 10 + [450, 550, 421]), min_size=1, max_size=15),
    shape=st.lists(st.tuples(bodies, st.integers(1, 3), st.booleans()), min_size=1, max_size=5),
    where=strategies.cuts(60),
    of_client=st.tuples(breaks, breaks),
    of_server=st.tuples(breaks, breaks),
)
@pytest.mark.rfc("5321", "6.1")
@pytest.mark.rfc("5321", "4.5.4.1")
def test_a_broken_stream_makes_no_fate_better_and_loses_nothing(
    lmtp: bool,
    secured: Security,
    authenticates: bool,
    chunking: bool | None,
    pipelining: bool,
    plan: list[int | None],
    shape: list[tuple[bytes, int, bool]],
    where: list[int],
    of_client: tuple[int | None, int | None],
    of_server: tuple[int | None, int | None],
) -> None:
    program = Watchful(plan, lmtp=lmtp)
    service = Service(
        "mx.example",
        extensions=("8BITMIME", "CHUNKING", "PIPELINING")[: 3 if pipelining else 2],
        lmtp=lmtp,
        starttls=True,
        auth=ServerAuth({"u": "p"}, mechanisms=["PLAIN"], allow_plaintext=True, required=authenticates),
    )
    implicit = secured is Security.IMPLICIT
    server = flows.serve(ServiceSession(service, secure=implicit), implicit_tls=implicit)
    options = ConnectOptions(
        host="mx.example",
        port=2525,
        lmtp=lmtp,
        security=secured,
        username="u" if authenticates else None,
        password="p" if authenticates else None,
        authenticate=authenticates,
        allow_plaintext_auth=True,
    )
    contents: list[bytes] = []
    messages: list[Message] = []
    for n, (rest, count, streamed) in enumerate(shape):
        body = b"%d: " % n + rest
        contents.append(normalised(body))
        content = Streamed(testing.pieces(body, where)) if streamed else Whole(body)
        messages.append((Envelope(f"s{n}@x.example", [f"r{i}@y.example" for i in range(count)]), content))
    results: list[DeliveryResult] = []
    whole = not any(each is not None for each in (*of_client, *of_server))
    try:
        results = testing.link(
            breaking_off(session(Connector(options), messages, chunking), *of_client),
            breaking_off(server, *of_server),
            answer=program,
            cut=lambda data: testing.pieces(data, where),
        )
        assert len(results) == len(messages)
    except ConnectFailed:
        assert not whole
        assert not program.accepted
    truth: set[tuple[int, str]] = set()
    for sender, recipient, octets in program.accepted:
        number = int(octets.partition(b":")[0])
        assert (sender, octets) == (f"s{number}@x.example", contents[number]), "other octets than were sent"
        assert (number, recipient) not in truth, "it was delivered twice"
        truth.add((number, recipient))
    reported = accepted_of(results)
    assert reported <= truth, "a fate is reported better than it was"
    for n, result in enumerate(results):
        for each in result.recipients:
            if (n, each.recipient.forward_path) in truth - reported:
                assert each.fate is Fate.UNKNOWN, "what was accepted is reported as if it was not"
                assert not whole or (lmtp and program.left)
