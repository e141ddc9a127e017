"""The primitives of the backends, where a client or a server would not show what is wrong with them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

import smtpproto_adapters.asyncio
import smtpproto_adapters.blocking
from smtpproto import LocalProtocolError, Verify, flows
from smtpproto.flows import Ask, Flow, Next, Receive, Send, StartTls
from smtpproto_adapters.channel import Channel
from smtpproto_adapters.server import Handler
from smtpproto_adapters.transport import Listener, run, run_async
from tests.adapters.backends import nothing_left
from tests.adapters.wires import AwaitedWire, wire_of
from tests.scripted import Close, ReadAll, Reset, Say, SayPieces, ScriptedServer, Silence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from smtpproto_adapters.transport import AsyncWire
    from tests.adapters.backends import Backend


async def send_often(wire: AsyncWire) -> None:
    for _ in range(20):
        await wire.send(b"x" * 1000, 5)


def test_write_to_a_peer_that_has_gone_fails(backend: Backend) -> None:
    with ScriptedServer(SayPieces([b"220-", b"mx"], 0.05), Reset()) as server:

        async def scenario() -> None:
            wire = wire_of(backend)
            await wire.dial(server.host, server.port, None, 5)
            await backend.sleep(0.3)
            with pytest.raises(ConnectionError):
                await send_often(wire)
            await wire.abort()

        backend.run(scenario)


def test_write_that_the_peer_does_not_read(backend: Backend) -> None:
    with ScriptedServer(Silence()) as server:

        async def scenario() -> None:
            wire = wire_of(backend)
            await wire.dial(server.host, server.port, None, 5)
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await wire.send(b"x" * 50_000_000, 0.3)
            await wire.abort()

        backend.run(scenario)


def test_nothing_that_was_written_is_kept_asyncio() -> None:
    """A write is done when the system has taken it."""
    with ScriptedServer(Silence()) as server:

        async def main() -> None:
            wire = smtpproto_adapters.asyncio.Wire()
            await wire.dial(server.host, server.port, None, 5)
            stream = await fill(wire)
            assert stream.transport.get_write_buffer_size() <= 5000
            await wire.abort()

        asyncio.run(main())


async def fill(wire: smtpproto_adapters.asyncio.Wire) -> smtpproto_adapters.asyncio.Stream:
    stream = wire._stream  # pyright: ignore[reportPrivateUsage]
    assert stream is not None
    with contextlib.suppress(TimeoutError):
        while True:
            await wire.send(b"x" * 5000, 0.2)
            assert stream.transport.get_write_buffer_size() == 0
    return stream


def test_read_of_what_has_come(backend: Backend) -> None:
    """With a timeout of 0."""
    with ScriptedServer(Say(b"220 hi\r\n"), ReadAll()) as server:

        async def scenario() -> None:
            wire = wire_of(backend)
            await wire.dial(server.host, server.port, None, 5)
            await backend.sleep(0.1)
            assert await wire.receive(0) == b"220 hi\r\n"
            with pytest.raises((TimeoutError, BlockingIOError)):
                await wire.receive(0)
            await wire.abort()

        backend.run(scenario)


def test_read_to_the_end_and_after_it(backend: Backend) -> None:
    with ScriptedServer(Say(b"220 hi\r\n"), Close()) as server:

        async def scenario() -> None:
            wire = wire_of(backend)
            await wire.dial(server.host, server.port, None, 5)
            assert await wire.receive(5) == b"220 hi\r\n"
            assert [await wire.receive(timeout) for timeout in (5, 5, 0, None)] == [b""] * 4
            await wire.send(b"the other half is open still", 5)
            await wire.half_close()
            await wire.close()

        backend.run(scenario)
    assert server.received == b"the other half is open still"


def test_closed_wire(backend: Backend) -> None:
    """It may be closed again, but nothing else."""
    with ScriptedServer(ReadAll()) as server:

        async def scenario() -> None:
            wire = wire_of(backend)
            await wire.close()
            await wire.abort()
            await wire.dial(server.host, server.port, None, 5)
            opened = wire.is_open
            await wire.close()
            assert (opened, wire.is_open) == (True, False)
            await wire.close()
            await wire.abort()
            with pytest.raises(ConnectionAbortedError):
                await wire.send(b"x", 1)
            with pytest.raises(ConnectionAbortedError):
                await wire.receive(1)
            with pytest.raises(ConnectionAbortedError):
                await wire.half_close()

        backend.run(scenario)


def test_close_does_not_wait_for_a_peer_that_does_not_read(backend: Backend) -> None:
    with ScriptedServer(Silence()) as server:

        async def scenario() -> None:
            wire = wire_of(backend)
            await wire.dial(server.host, server.port, None, 5)
            with pytest.raises(TimeoutError):
                await wire.send(b"x" * 50_000_000, 0.2)
            await wire.close()

        backend.run(scenario)


def test_dialling_again_gives_up_what_was_there(backend: Backend) -> None:
    with ScriptedServer(ReadAll()) as first, ScriptedServer(ReadAll()) as second:

        async def scenario() -> None:
            wire = wire_of(backend)
            for server in (first, second):
                await wire.dial(server.host, server.port, None, 5)
            await wire.close()

        backend.run(scenario)


# Running a flow ----------------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    pass


class Interrupting(AwaitedWire):
    """Something comes in between."""

    async def receive(self, timeout: float | None) -> bytes:
        raise Interrupted


class InterruptingBlocking(smtpproto_adapters.blocking.Wire):
    def receive(self, timeout: float | None) -> bytes:
        raise Interrupted


def run_in(colour: str, flow: Flow[object]) -> object:
    if colour == "blocking":
        return run(InterruptingBlocking(), flow)
    return asyncio.run(run_async(Interrupting(), flow))


COLOURS = pytest.mark.parametrize("colour", ["blocking", "async"])


@COLOURS
def test_flow_that_is_broken_off_is_closed(colour: str) -> None:
    """At once, and not when somebody lets go of the exception."""
    closed: list[bool] = []

    def flow() -> Flow[None]:
        try:
            yield Receive()
        finally:
            closed.append(True)

    with pytest.raises(Interrupted) as caught:
        run_in(colour, flow())
    assert closed == [True]
    assert caught.value.__traceback__ is not None


@COLOURS
def test_effect_that_a_wire_cannot_do(colour: str) -> None:
    def flow() -> Flow[None]:
        yield StartTls(None, None)

    with pytest.raises(TypeError, match="StartTls"):
        run_in(colour, flow())


@COLOURS
def test_question_that_nobody_answers(colour: str) -> None:
    def flow() -> Flow[None]:
        yield Ask(Verify("user", "secret"))

    with pytest.raises(LocalProtocolError, match="nobody to answer") as caught:
        run_in(colour, flow())
    assert "secret" not in str(caught.value)


@COLOURS
def test_result_of_a_flow(colour: str) -> None:
    def flow() -> Flow[int]:
        with pytest.raises(ConnectionAbortedError):
            yield Send(b"x")
        yield flows.Close()
        return 7

    assert run_in(colour, flow()) == 7


# The program's iterators -------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


def take_all(source: Any) -> Flow[list[Any]]:
    items: list[Any] = []
    while (item := (yield Next(source))) is not None:
        items.append(item)
    return items


async def counting(numbers: int, error: BaseException | None = None) -> AsyncIterator[int]:
    for number in range(numbers):
        yield number
    if error is not None:
        raise error


def counting_at_once(numbers: int, error: BaseException | None = None) -> Iterator[int]:
    yield from range(numbers)
    if error is not None:
        raise error


class Both:
    """An iterator in either colour."""

    def __init__(self) -> None:
        self.used: list[str] = []

    def __next__(self) -> int:
        self.used.append("next")
        raise StopIteration

    async def __anext__(self) -> int:
        self.used.append("anext")
        raise StopAsyncIteration


async def never() -> AsyncIterator[int]:
    """It makes its consumer wait."""
    await trio.sleep(3600)
    yield 0


@COLOURS
def test_items_of_an_iterator(colour: str) -> None:
    assert run_in(colour, take_all(counting_at_once(3))) == [0, 1, 2]


@COLOURS
def test_items_of_an_asynchronous_iterator(colour: str) -> None:
    if colour == "async":
        assert run_in(colour, take_all(counting(3))) == [0, 1, 2]
        return
    with pytest.raises(LocalProtocolError, match="async_generator gives no items"):
        run_in(colour, take_all(counting(3)))


@COLOURS
def test_iterator_in_either_colour(colour: str) -> None:
    source = Both()
    assert run_in(colour, take_all(source)) == []
    assert source.used == ["anext" if colour == "async" else "next"]


async def nothings() -> AsyncIterator[None]:
    yield None


@COLOURS
@pytest.mark.parametrize("make", [lambda: iter([None]), nothings])
def test_none_is_no_item(colour: str, make: Callable[[], Any]) -> None:
    with pytest.raises(
        LocalProtocolError, match="None" if colour == "async" or make is not nothings else "gives no items"
    ):
        run_in(colour, take_all(make()))


FAILURES = pytest.mark.parametrize(
    "error", [Broken(), FileNotFoundError(errno.ENOENT, "gone"), ConnectionResetError(), UnicodeError(), TimeoutError()]
)


@FAILURES
@pytest.mark.parametrize(
    ("colour", "make"), [("blocking", counting_at_once), ("async", counting_at_once), ("async", counting)]
)
@pytest.mark.parametrize("carried", [True, False])
def test_failing_iterator(colour: str, error: Exception, make: Callable[..., Any], carried: bool) -> None:
    """The flow gets it as it is, can end the connection properly, and lets it out."""
    steps: list[str] = []

    def flow() -> Flow[None]:
        source = make(1, error)
        assert (yield Next(source)) == 0
        try:
            yield Next(source)
        except Exception:
            yield flows.Close()
            steps.append("closed")
            raise

    with pytest.raises(type(error)) as caught:
        run_in(colour, Channel(None, peer="the peer", clock=time.monotonic).carry(flow()) if carried else flow())
    assert caught.value is error
    assert steps == ["closed"]


@COLOURS
def test_interrupted_iterator_closes_the_flow(colour: str) -> None:
    ended: list[type[BaseException]] = []

    def flow() -> Flow[None]:
        try:
            yield Next(counting_at_once(0, Interrupted()))
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(Interrupted):
        run_in(colour, flow())
    assert ended == [GeneratorExit]


def test_wait_for_an_item_can_be_cancelled_trio() -> None:
    ended: list[type[BaseException]] = []

    def flow() -> Flow[None]:
        try:
            yield Next(never())
        except BaseException as error:
            ended.append(type(error))
            raise

    async def main() -> None:
        with trio.move_on_after(0.05) as scope:
            await run_async(Interrupting(), Channel(None, peer="x", clock=time.monotonic).carry(flow()))
        assert scope.cancelled_caught

    trio.run(main)
    assert ended == [GeneratorExit]


class Stop(Exception):
    pass


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("broken_off", [True, False])
def test_end_of_a_server_while_a_client_is_being_accepted_asyncio(turns: int, broken_off: bool) -> None:
    """At whatever turn of the loop: a task that was cancelled before it began closes nothing."""

    async def main() -> None:
        async with smtpproto_adapters.asyncio.serve(Handler()) as server:
            with socket.create_connection((server.host, server.port)):
                for _ in range(turns):
                    await asyncio.sleep(0)
                if broken_off:
                    raise Stop

    with nothing_left(), contextlib.suppress(Stop):
        asyncio.run(main())


def test_end_of_a_server_while_it_waits_for_a_file_descriptor_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[object] = []
    tried: list[bool] = []

    def accept(listener: socket.socket) -> object:
        tried.append(True)
        raise OSError(errno.EMFILE, "Too many open files")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with smtpproto_adapters.asyncio.serve(Handler()) as server:
            client = socket.create_connection((server.host, server.port))
            while not tried:
                await asyncio.sleep(0.01)
        client.close()
        await asyncio.sleep(0.2)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with nothing_left():
        asyncio.run(main())
    assert complaints == []


def test_reply_does_not_wait_until_the_one_before_is_acknowledged() -> None:
    """Nagle's algorithm would let it; trio turns that off by itself, asyncio and blocking sockets do not."""
    with contextlib.ExitStack() as stack:
        listener = Listener("127.0.0.1", 0, None)
        stack.callback(listener.close)
        stack.enter_context(socket.create_connection((listener.host, listener.port), timeout=5))
        accepted = stack.enter_context(listener.socket.accept()[0])
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
