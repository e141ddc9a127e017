"""The part of the adapters that is pure: TLS and deadlines as a flow, run here under lists instead of sockets."""

from __future__ import annotations

import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from smtpproto import (
    AddressLiteral,
    Connected,
    ConnectOptions,
    Connector,
    ErrorCode,
    Event,
    NotTls,
    Security,
    Service,
    ServiceSession,
    TransportError,
    Verify,
    flows,
)
from smtpproto.flows import Ask, Close, Dial, Effect, Flow, Next, Receive, Send, StartTls, Wait
from smtpproto.testing import octets, whole
from smtpproto_adapters.channel import LINGER_OCTETS, WRITE_SIZE, Channel, default_context
from smtpproto_adapters.transport import EARLY_SIZE, READ_SIZE, HalfClose, named

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    Cut = Callable[[bytes], Iterable[bytes]]

T = TypeVar("T")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def channel(context: ssl.SSLContext | None = None, *, server_side: bool = False, clock: Clock | None = None) -> Channel:
    return Channel(context, peer="the peer", clock=clock or Clock(), server_side=server_side)


class End:
    """One end of a pair in memory."""

    def __init__(self, flow: Flow[Any]) -> None:
        self.flow = flow
        self.inbox: deque[bytes] = deque()
        self.ended = False
        self.done = False
        self.effect: Effect | None = None
        self.result: Any = None
        self.go(None)

    def go(self, answer: object) -> None:
        try:
            self.effect = self.flow.send(answer)
        except StopIteration as stop:
            self.done, self.effect, self.result = True, None, stop.value

    def step(self, other: End, cut: Cut) -> bool:
        match self.effect:
            case Send(_, data):
                other.inbox.extend(cut(bytes(data)))
                self.go(None)
            case Receive(timeout):
                if self.inbox:
                    self.go(self.inbox.popleft())
                elif other.ended or other.done:
                    self.go(b"")
                elif timeout == 0:
                    self.effect = self.flow.throw(TimeoutError())
                else:
                    return False
            case Dial():
                self.go(AddressLiteral.of("127.0.0.1"))
            case HalfClose() | Close():
                self.ended = True
                self.go(None)
            case Ask():
                self.go(None)
            case _:
                return False
        return True


def pump(here: Flow[T], there: Flow[Any], cut: Cut) -> T:
    one, two = End(here), End(there)
    while one.step(two, cut) or two.step(one, cut):
        pass
    assert one.done
    assert two.done
    result: T = one.result
    return result


@pytest.mark.parametrize("cut", [whole, octets], ids=["whole", "octets"])
@pytest.mark.parametrize("security", [Security.REQUIRED, Security.IMPLICIT, Security.NONE])
def test_session_however_it_is_cut(
    cut: Cut, security: Security, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    events: list[Event] = []
    implicit = security is Security.IMPLICIT
    session = ServiceSession(Service("mx.example", starttls=True), secure=implicit)
    connector = Connector(ConnectOptions(host="mx.example", security=security))
    client, server = channel(client_context), channel(server_context, server_side=True)

    def talk() -> Flow[Connected]:
        connected = yield from flows.connect(connector, events.append)
        yield from flows.quit(connector.connection)
        return connected

    serving = flows.serve(session, implicit_tls=implicit)
    connected = pump(client.carry(talk()), server.carry(serving), cut)
    assert connected.tls is (security is not Security.NONE)
    assert session.connection.secure is connected.tls
    if connected.tls:
        assert client.tls is not None
        assert server.tls is not None
        assert client.tls.version == server.tls.version == "TLSv1.3"
        assert client.tls.certificate_der is not None
        assert server.tls.certificate is None
        assert client.tls == client.tls
        assert hash(client.tls) == hash(client.tls)
    else:
        assert client.tls is None


@pytest.mark.parametrize("size", [0, 1, WRITE_SIZE, 3 * WRITE_SIZE + 1])
def test_much_through_tls(size: int, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    data = b"x" * size

    def send() -> Flow[None]:
        yield StartTls("mx.example", None)
        yield Send(data)
        yield Close()

    def receive() -> Flow[int]:
        yield StartTls(None, None)
        got = 0
        while piece := (yield Receive()):
            got += len(piece)
        return got

    client, server = channel(client_context).carry(send()), channel(server_context, server_side=True).carry(receive())
    assert pump(server, client, whole) == size


# Deadlines ---------------------------------------------------------------------------------------------------------


def wants(*effects: Effect) -> Generator[Effect, Any, list[Any]]:
    answers: list[Any] = []
    for effect in effects:
        answer = yield effect
        answers.append(answer)
    return answers


@pytest.mark.rfc("5321", "4.5.3.2")
def test_wait_that_goes_on_keeps_its_deadline() -> None:
    clock = Clock()
    flow = channel(clock=clock).carry(
        wants(Receive(10), Receive(10, continued=True), Receive(10, continued=True), Receive(10), Receive(None))
    )
    left: list[float | None] = []
    answer = None
    for _ in range(5):
        effect = flow.send(answer)
        assert isinstance(effect, Receive)
        left.append(effect.timeout)
        clock.now += 6
        answer = b"x"
    assert left == [10, 4, 0, 10, None]
    flow.close()


def test_wait_keeps_what_comes_meanwhile() -> None:
    clock = Clock()
    carried = channel(clock=clock).carry(wants(Wait(10), Receive(5), Receive(5)))
    assert next(carried) == Receive(10)
    clock.now += 4
    assert carried.send(b"one") == Receive(6)
    clock.now += 4
    assert carried.send(b"two") == Receive(2)
    clock.now += 2
    assert carried.throw(TimeoutError()) == Receive(5)  # the second: what was kept needed no read
    with pytest.raises(StopIteration) as stop:
        carried.send(b"three")
    assert stop.value.value == [None, b"onetwo", b"three"]


def test_wait_is_over_when_the_time_is() -> None:
    """Also for a clock that is a bit behind that of the system, and however much the peer has ready."""
    carried = channel().carry(wants(Wait(10)))
    assert next(carried) == Receive(10)
    with pytest.raises(StopIteration):
        carried.throw(TimeoutError())
    clock = Clock()
    carried = channel(clock=clock).carry(wants(Wait(10)))
    assert next(carried) == Receive(10)
    clock.now += 11
    with pytest.raises(StopIteration):
        carried.send(b"more")


def test_wait_ends_where_the_peer_goes() -> None:
    carried = channel().carry(wants(Wait(10), Receive(5)))
    assert next(carried) == Receive(10)
    assert carried.send(b"last words") == Receive(10)
    with pytest.raises(StopIteration) as stop:
        carried.send(b"")
    assert stop.value.value == [None, b"last words"]
    carried = channel().carry(wants(Wait(10)))
    next(carried)
    with pytest.raises(TransportError, match="closed the connection") as caught:
        carried.throw(ConnectionResetError(104, "reset"))
    assert caught.value.code is ErrorCode.CLOSED_BY_PEER


def test_wait_takes_in_only_so_much() -> None:
    carried = channel().carry(wants(Wait(10)))
    assert next(carried) == Receive(10)
    for _ in range(EARLY_SIZE // READ_SIZE):
        assert carried.send(bytes(READ_SIZE)) == Receive(10)
    with pytest.raises(TransportError, match="more and more") as caught:
        carried.send(b"x")
    assert caught.value.code is ErrorCode.CLOSED_BY_PEER


def test_handshake_has_one_deadline(client_context: ssl.SSLContext) -> None:
    clock = Clock()
    flow = channel(client_context, clock=clock).carry(wants(StartTls("mx.example", 10)))
    hello = flow.send(None)
    assert isinstance(hello, Send)
    assert hello.timeout == 10
    assert hello.data[0] == 22
    clock.now += 4
    assert flow.send(None) == Receive(6)
    clock.now += 4
    assert flow.send(b"\x16\x03\x03") == Receive(2)
    with pytest.raises(TransportError, match="took more than 10 s") as caught:
        flow.throw(TimeoutError())
    assert caught.value.code is ErrorCode.TIMED_OUT


def test_octets_that_lead_to_nothing_gain_no_time(client_context: ssl.SSLContext) -> None:
    """However many the peer has ready: a record that never ends, or any number of records that carry no content."""
    clock = Clock()
    carried = channel(client_context, clock=clock).carry(wants(StartTls("mx.example", 5)))
    assert isinstance(next(carried), Send)
    assert isinstance(carried.send(None), Receive)

    def trickle() -> None:
        for octet in b"\x16\x03\x03\x3f\xff" + bytes(100):
            clock.now += 1
            assert isinstance(carried.send(bytes([octet])), Receive)

    with pytest.raises(TransportError) as caught:
        trickle()
    assert caught.value.code is ErrorCode.TIMED_OUT
    assert clock.now <= 1000 + 7


# Plaintext and TLS -------------------------------------------------------------------------------------------------


@pytest.mark.rfc("3207", "4")
@pytest.mark.parametrize("octet", sorted({*range(256)} - {21, 22}))
def test_what_cannot_begin_a_handshake(client_context: ssl.SSLContext, octet: int) -> None:
    flow = channel(client_context).carry(wants(StartTls("mx.example", 10)))
    flow.send(None)
    assert flow.send(None) == Receive(10)
    with pytest.raises(NotTls, match="plaintext"):
        flow.send(bytes([octet]))


@pytest.mark.parametrize("end", [b"", ConnectionResetError()])
def test_end_in_the_handshake(client_context: ssl.SSLContext, end: bytes | OSError) -> None:
    flow = channel(client_context).carry(wants(StartTls("mx.example", 10)))
    flow.send(None)
    flow.send(None)
    with pytest.raises(TransportError) as caught:
        flow.throw(end) if isinstance(end, OSError) else flow.send(end)
    assert caught.value.code is ErrorCode.CLOSED_BY_PEER


@pytest.mark.parametrize("deaf", [True, False])
def test_peer_is_told_what_is_wrong_with_the_handshake(client_context: ssl.SSLContext, deaf: bool) -> None:
    """An alert; and that it cannot be written any more does not hide what is wrong."""
    flow = channel(client_context).carry(wants(StartTls("mx.example", 10)))
    flow.send(None)
    flow.send(None)
    alert = flow.send(b"\x16\x03\x03\x00\x04what")
    assert isinstance(alert, Send)
    assert alert.data[0] == 21
    with pytest.raises(TransportError, match="TLS with the peer failed") as caught:
        flow.throw(BrokenPipeError()) if deaf else flow.send(None)
    assert caught.value.code is ErrorCode.TLS_HANDSHAKE_FAILED


def test_name_that_no_certificate_can_have(client_context: ssl.SSLContext) -> None:
    flow = channel(client_context).carry(wants(StartTls("", 10)))
    with pytest.raises(TransportError, match="cannot begin") as caught:
        flow.send(None)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


def test_default_context_verifies() -> None:
    context = default_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


# The end -----------------------------------------------------------------------------------------------------------


def test_first_write_that_fails_is_held_back_until_the_peers_last_word_was_read() -> None:
    flow = channel().carry(wants(Send(b"1"), Receive(10), Receive(10), Close()))
    assert flow.send(None) == Send(b"1")
    assert flow.throw(BrokenPipeError()) == Receive(10)
    assert flow.send(b"550 go away\r\n") == Receive(10)
    assert flow.throw(ConnectionResetError()) == Close()
    with pytest.raises(StopIteration) as stop:
        flow.send(None)
    assert stop.value.value == [None, b"550 go away\r\n", b"", None]


def test_second_write_that_fails_is_not() -> None:
    flow = channel().carry(wants(Send(b"1"), Send(b"2")))
    flow.send(None)
    with pytest.raises(TransportError, match="reads no more") as caught:
        flow.throw(BrokenPipeError())
    assert caught.value.code is ErrorCode.CLOSED_BY_PEER


def test_nothing_follows_a_write_that_took_too_long() -> None:
    """A part of it may have been written."""

    def talk() -> Flow[None]:
        with pytest.raises(TransportError, match="took more than 3 s"):
            yield Send(b"1", 3)
        with pytest.raises(TransportError, match="reads no more"):
            yield Send(b"2", 3)
        yield Close()

    flow = channel(server_side=True).carry(talk())
    flow.send(None)
    assert flow.throw(TimeoutError()) == Close()


def test_server_that_closes_goes_on_reading_for_a_while() -> None:
    clock = Clock()
    flow = channel(server_side=True, clock=clock).carry(wants(Close()))
    assert flow.send(None) == HalfClose()
    first = flow.send(None)
    assert first == Receive(1.0)
    clock.now += 0.75
    assert flow.send(b"more") == Receive(0.25)
    assert flow.send(b"") == Close()


def test_but_not_for_ever() -> None:
    flow = channel(server_side=True).carry(wants(Close()))
    flow.send(None)
    effect = flow.send(None)
    count = 0
    while isinstance(effect, Receive):
        effect = flow.send(b"x" * 65536)
        count += 1
    assert effect == Close()
    assert count == LINGER_OCTETS // 65536


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(), OSError(), flows.ShutDown()])
def test_closing_goes_well_whatever_happens(error: Exception) -> None:
    for moment in range(2):
        flow = channel(server_side=True).carry(wants(Close()))
        for _ in range(moment + 1):
            flow.send(None)
        assert flow.throw(error) == Close()


def test_server_whose_client_has_gone_closes_at_once() -> None:
    flow = channel(server_side=True).carry(wants(Receive(), Close()))
    flow.send(None)
    assert flow.send(b"") == HalfClose()
    assert flow.send(None) == Close()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 25), "127.0.0.1 port 25"),
        (("::1", 25), "::1 port 25"),
        ("/run/lmtp.sock", "/run/lmtp.sock"),
        ("\0lmtp", "@lmtp"),
        ("", "a unix socket"),
    ],
)
def test_names_for_people(address: tuple[str, int] | str, name: str) -> None:
    assert named(address) == name


@pytest.mark.parametrize("effect", [Next(iter([])), Ask(Verify("user", "password"))])
@pytest.mark.parametrize("error", [FileNotFoundError(), TimeoutError(), UnicodeError(), KeyError(), flows.ShutDown()])
def test_what_the_program_raises_reaches_the_flow_as_it_is(effect: Effect, error: Exception) -> None:
    """An OSError of its own says nothing about the transport."""

    def talk() -> Flow[str]:
        with pytest.raises(type(error)) as caught:
            yield effect
        assert caught.value is error
        return (yield effect)  # type: ignore[no-any-return]

    flow = channel().carry(talk())
    assert flow.send(None) is effect
    assert flow.throw(error) is effect
    with pytest.raises(StopIteration) as stop:
        flow.send("an answer")
    assert stop.value.value == "an answer"


def test_what_the_program_raises_comes_out_unless_the_flow_keeps_it() -> None:
    flow = channel().carry(wants(Next(iter([]))))
    flow.send(None)
    with pytest.raises(FileNotFoundError, match="mine"):
        flow.throw(FileNotFoundError("mine"))


def test_fault_of_the_wire_is_not_thrown_into_the_flow() -> None:
    flow = channel().carry(wants(Receive()))
    flow.send(None)
    with pytest.raises(KeyError):
        flow.throw(KeyError())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 5, 2 * WRITE_SIZE + 1])
def test_any_octets_go_through(
    kind: type[Any], size: int, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """As they are without TLS, and in pieces through it."""
    data = kind(b"x" * size)
    flow = channel().carry(wants(Send(data)))
    effect = flow.send(None)
    assert isinstance(effect, Send)
    assert effect.data is data

    def receive() -> Flow[int]:
        yield StartTls(None, None)
        got = 0
        while piece := (yield Receive()):
            got += len(piece)
        return got

    client = channel(client_context).carry(wants(StartTls("mx.example", None), Send(data), Close()))
    assert pump(channel(server_context, server_side=True).carry(receive()), client, whole) == size


def test_flow_is_closed_with_the_channel() -> None:
    closed: list[bool] = []

    def talk() -> Flow[None]:
        try:
            yield Receive()
        finally:
            closed.append(True)

    flow = channel().carry(talk())
    flow.send(None)
    flow.close()
    assert closed == [True]
