"""Writes that have to wait: the peer may not read before it is read itself.  RFC 2920 section 3.1.

The server here is a simple one, of the kind that makes a client wait for ever: it answers each line at once, and reads
nothing while its answer cannot be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any, Self

import pytest
import trio
import trio.testing

import smtpproto_adapters.asyncio
import smtpproto_adapters.blocking
import smtpproto_adapters.trio
from smtpproto.flows import Close, Dial, Flow, Receive, Send, StartTls
from smtpproto_adapters.channel import Channel
from smtpproto_adapters.handler import Handler
from smtpproto_adapters.transport import EARLY_SIZE, Early, ready
from tests.adapters.wires import AwaitedWire, run_on, wire_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from smtpproto.flows import Octets
    from smtpproto_adapters.transport import AsyncWire
    from tests.adapters.backends import Backend

TINY = 16_384
"""Octets in a buffer of a socket; the system doubles it."""

HELD = 8 * TINY
"""What the buffers of one direction hold at most, of both ends."""


class Peer:
    """A server for one connection, in a thread; what it does is a function of the socket."""

    def __init__(self, play: Callable[[socket.socket], None], *, size: int = TINY) -> None:
        self._play = play
        self._size = size
        self._listener = self._made()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._run, name="the peer", daemon=True)
        self._failure: BaseException | None = None

    def _made(self) -> socket.socket:
        sock = socket.socket()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # before it is connected: the window is agreed on then
            sock.setsockopt(socket.SOL_SOCKET, option, self._size)
        return sock

    @property
    def host(self) -> str:
        return str(self._listener.getsockname()[0])

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def client(self) -> socket.socket:
        """A connected socket, whose buffers are as tiny."""
        sock = self._made()
        sock.connect((self.host, self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _run(self) -> None:
        try:
            sock, _ = self._listener.accept()
            with sock:
                sock.settimeout(20)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._play(sock)
        except BaseException as error:
            self._failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._failure is not None and error is None:
            raise self._failure


COUNT = 4000


def command(number: int) -> bytes:
    return b"NOOP %07d %s\r\n" % (number, b"x" * 500)


def reply(line: bytes) -> bytes:
    return b"250 %s %s\r\n" % (line[5:12], b"y" * 180)


COMMANDS = b"".join(map(command, range(COUNT)))
REPLIES = b"".join(reply(command(number)) for number in range(COUNT))


def answer_each(stream: socket.socket) -> None:
    """Each line, before the next one is read."""
    for _ in range(COUNT):
        line = b""
        while not line.endswith(b"\r\n"):
            # A line has no more than these octets, and each is asked for when the one before is answered.
            piece = stream.recv(len(command(0)) - len(line))
            assert piece
            line += piece
        stream.sendall(reply(line))


def pipeline(peer: Peer, *, tls: bool) -> Flow[bytes]:
    yield Dial(peer.host, peer.port, None, 10)
    if tls:
        yield StartTls("mx.example", 10)
    yield Send(COMMANDS, 20)
    received = bytearray()
    while len(received) < len(REPLIES):
        data = yield Receive(10)
        assert data, "the server closed"
        received += data
    yield Close()
    return bytes(received)


def test_what_is_sent_is_more_than_the_buffers_hold() -> None:
    """In either direction, so that whoever only writes waits for ever; but the wire has room for it."""
    assert len(COMMANDS) > 2_000_000
    assert 4 * HELD < len(REPLIES) < EARLY_SIZE


@pytest.mark.rfc("2920", "3.1")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_pipelining_to_a_server_that_stops_reading(
    backend: Backend, tls: bool, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    def play(sock: socket.socket) -> None:
        if not tls:
            answer_each(sock)
            return
        with server_context.wrap_socket(sock, server_side=True) as stream:
            answer_each(stream)
            stream.recv(1)  # the close_notify

    async def scenario() -> bytes:
        wire = wire_of(backend, peer.client())
        channel = Channel(client_context, peer="the peer", clock=time.monotonic)
        return await run_on(wire, channel.carry(pipeline(peer, tls=tls)))

    with Peer(play) as peer:
        assert backend.run(scenario) == REPLIES


# What ends a write that waits ------------------------------------------------------------------------------------

MUCH = b"m" * (4 * HELD)
"""More than the buffers hold."""


def read_all(sock: socket.socket) -> int:
    """To the end of the stream; how many octets it was."""
    buffer = bytearray(65536)
    total = 0
    while count := sock.recv_into(buffer):
        total += count
    return total


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def babble(sock: socket.socket) -> None:
    """Write for ever, and read nothing."""
    with contextlib.suppress(ConnectionError):
        while True:
            sock.sendall(b"y" * 65536)


async def dialled(backend: Backend, peer: Peer) -> AsyncWire:
    wire = wire_of(backend, peer.client())
    await wire.dial(peer.host, peer.port, None, 10)
    return wire


async def all_that_comes(wire: AsyncWire) -> bytes:
    """To the end of the stream, or to where it is broken."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := await wire.receive(10):
            received += data
    return bytes(received)


def test_peer_that_ends_its_half_while_a_write_waits(backend: Backend) -> None:
    """It may read on."""
    read: list[int] = []

    def play(sock: socket.socket) -> None:
        sock.sendall(b"421 bye\r\n")
        sock.shutdown(socket.SHUT_WR)
        time.sleep(0.2)
        read.append(read_all(sock))

    async def scenario() -> None:
        wire = await dialled(backend, peer)
        await wire.send(MUCH, 10)
        assert await wire.receive(0) == b"421 bye\r\n"
        assert [await wire.receive(timeout) for timeout in (0, 10, None)] == [b""] * 3
        await wire.send(b"and more", 10)
        await wire.close()

    with Peer(play) as peer:
        backend.run(scenario)
    assert read == [len(MUCH) + len(b"and more")]


def test_write_does_not_spin_at_the_end_of_the_peers_half_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that has ended is always ready to be read."""
    waits: list[int] = []

    def counted(descriptor: int, timeout: float | None, **what: bool) -> tuple[bool, bool]:
        waits.append(descriptor)
        return ready(descriptor, timeout, **what)

    def play(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)
        time.sleep(0.3)
        read_all(sock)

    monkeypatch.setattr(smtpproto_adapters.blocking, "ready", counted)
    with Peer(play) as peer:
        wire = smtpproto_adapters.blocking.Wire(peer.client())
        wire.dial(peer.host, peer.port, None, 10)
        wire.send(MUCH, 10)
        wire.close()
    assert 0 < len(waits) < 1000


WORDS = b"".join(b"421-%d %s\r\n" % (number, b"z" * 90) for number in range(len(MUCH) // 100))


def test_peer_that_breaks_off_while_a_write_waits(backend: Backend) -> None:
    """What it said can be read still."""

    def play(sock: socket.socket) -> None:
        sock.sendall(WORDS)
        time.sleep(0.3)
        reset(sock)

    async def scenario() -> None:
        wire = await dialled(backend, peer)
        with pytest.raises(ConnectionError):
            await wire.send(2 * MUCH, 10)
        assert await all_that_comes(wire) == WORDS
        await wire.close()

    with Peer(play) as peer:
        backend.run(scenario)


@pytest.mark.parametrize("size", [1, len(MUCH)])
def test_peer_that_has_broken_off_before_a_write(backend: Backend, size: int) -> None:
    """Its last word lies in the system's buffer then, and a flow reads it in spite of the failed write."""
    greeted, gone = threading.Event(), threading.Event()

    def play(sock: socket.socket) -> None:
        sock.sendall(b"220 hi\r\n")
        greeted.wait(10)
        sock.sendall(b"421 too much of you\r\n")
        time.sleep(0.1)
        reset(sock)
        gone.set()

    def talk() -> Flow[list[bytes]]:
        yield Dial(peer.host, peer.port, None, 10)
        received = [(yield Receive(10))]
        greeted.set()
        gone.wait(10)
        yield Send(b"x" * size, 10)
        while data := (yield Receive(10)):
            received.append(data)
        yield Close()
        return received

    async def scenario() -> list[bytes]:
        channel = Channel(None, peer="the peer", clock=time.monotonic)
        return await run_on(wire_of(backend, peer.client()), channel.carry(talk()))

    with Peer(play) as peer:
        assert backend.run(scenario) == [b"220 hi\r\n", b"421 too much of you\r\n"]


def test_what_is_taken_in_is_bounded(backend: Backend) -> None:
    """A peer that only writes gets no more of our memory than that; then its own write waits."""
    with Peer(babble) as peer:

        async def scenario() -> None:
            wire = await dialled(backend, peer)
            with pytest.raises(TimeoutError):
                await wire.send(MUCH, 1)
            taken = len(await wire.receive(0))
            assert EARLY_SIZE <= taken <= EARLY_SIZE + (262_144 if backend.name == "asyncio" else 0)
            await wire.abort()

        backend.run(scenario)


def test_write_goes_on_when_there_is_no_room_left(backend: Backend) -> None:
    said = b"r" * (EARLY_SIZE + TINY)

    def play(sock: socket.socket) -> None:
        sock.sendall(said)
        time.sleep(0.2)
        assert read_all(sock) == len(MUCH)

    async def scenario() -> None:
        wire = await dialled(backend, peer)
        await wire.send(MUCH, 10)
        await wire.half_close()
        assert await all_that_comes(wire) == said
        await wire.close()

    with Peer(play) as peer:
        backend.run(scenario)


@pytest.mark.rfc("5321", "4.5.3.2")
def test_whole_write_has_one_deadline(backend: Backend) -> None:
    """However many octets, one at a time, the peer writes and reads meanwhile."""

    def play(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while sock.send(b"t") and sock.recv(1):
                time.sleep(0.01)

    async def scenario() -> None:
        wire = await dialled(backend, peer)
        with pytest.raises(TimeoutError):
            await wire.send(MUCH, 0.4)
        assert set(await wire.receive(0)) == {ord("t")}
        await wire.abort()

    with Peer(play) as peer:
        backend.run(scenario)


def test_what_came_from_one_peer_is_not_received_from_the_next(backend: Backend) -> None:
    def greet(sock: socket.socket) -> None:
        sock.sendall(b"220 new\r\n")
        read_all(sock)

    for way in ("abort", "close", "dial"):
        with Peer(babble) as old, Peer(greet) as new:

            async def scenario(old: Peer = old, new: Peer = new, way: str = way) -> None:
                wire = await dialled(backend, old)
                with pytest.raises(TimeoutError):
                    await wire.send(MUCH, 0.3)
                if way != "dial":
                    await getattr(wire, way)()
                    with pytest.raises(ConnectionAbortedError):
                        await wire.receive(0)
                await wire.dial(new.host, new.port, None, 10)
                assert await wire.receive(10) == b"220 new\r\n"
                await wire.abort()

            backend.run(scenario)


def test_flow_is_closed_and_the_connection_ends_when_a_write_is_given_up_asyncio() -> None:
    closed: list[bool] = []
    with Peer(babble) as peer:

        async def main() -> None:
            wire = smtpproto_adapters.asyncio.Wire()
            channel = Channel(None, peer="the peer", clock=time.monotonic)
            task = asyncio.create_task(run_on(wire, channel.carry(much(peer, closed))))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert closed == [True]
            await wire.abort()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())


def test_flow_is_closed_and_the_connection_ends_when_a_write_is_given_up_trio() -> None:
    closed: list[bool] = []
    with Peer(babble) as peer:

        async def main() -> None:
            wire = smtpproto_adapters.trio.Wire()
            channel = Channel(None, peer="the peer", clock=time.monotonic)
            with trio.move_on_after(0.2) as scope:
                await run_on(wire, channel.carry(much(peer, closed)))
            assert scope.cancelled_caught
            assert closed == [True]
            await wire.abort()

        trio.run(main)


def much(peer: Peer, closed: list[bool]) -> Flow[None]:
    try:
        yield Dial(peer.host, peer.port, None, 10)
        yield Send(200 * MUCH)
    finally:
        closed.append(True)


def test_write_that_waits_hears_that_the_connection_is_cut_asyncio() -> None:
    with Peer(babble) as peer:

        async def main() -> None:
            wire = smtpproto_adapters.asyncio.Wire()
            await wire.dial(peer.host, peer.port, None, 10)
            asyncio.get_running_loop().call_later(0.2, wire.cut)
            with pytest.raises(ConnectionAbortedError):
                await wire.send(200 * MUCH, 10)

        asyncio.run(main())


def test_write_that_waits_hears_that_the_connection_is_cut_trio() -> None:
    with Peer(babble) as peer:

        async def main() -> None:
            wire = smtpproto_adapters.trio.Wire()
            await wire.dial(peer.host, peer.port, None, 10)
            async with trio.open_nursery() as nursery:

                async def cut() -> None:
                    await trio.sleep(0.2)
                    await wire.abort()

                nursery.start_soon(cut)
                with pytest.raises(ConnectionAbortedError):
                    await wire.send(200 * MUCH, 10)

        trio.run(main)


def test_write_that_waits_hears_that_the_connection_is_cut_blocking() -> None:
    for way in ("cut", "abort"):
        with Peer(babble) as peer:
            face = AwaitedWire()
            wire = face.wire
            wire.dial(peer.host, peer.port, None, 10)

            def end(wire: smtpproto_adapters.blocking.Wire = wire, way: str = way) -> None:
                wire.cut()
                if way == "abort":
                    wire.close()

            timer = threading.Timer(0.2, end)
            timer.start()
            with pytest.raises(OSError, match=r".") as caught:
                wire.send(200 * MUCH, 10)
            assert not isinstance(caught.value, TimeoutError)
            timer.join()
            wire.close()


def test_stream_of_which_nobody_can_tell_whether_it_would_wait_trio() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.lockstep_stream_pair()
        wire = smtpproto_adapters.trio.Wire(ours)
        await wire.dial("", 0, None, 10)
        received = bytearray()

        async def peer() -> None:
            await theirs.send_all(b"250 first\r\n")  # it waits until that is read
            while data := await theirs.receive_some():
                received.extend(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer)
            await wire.send(b"NOOP\r\n", 10)
            assert await wire.receive(0) == b"250 first\r\n"
            await wire.close()
        assert received == b"NOOP\r\n"

    trio.run(main)


def test_server_takes_in_no_more_either(backend: Backend, tmp_path: Path) -> None:
    """From a client that pipelines and does not read."""
    path = str(tmp_path / "socket")

    async def scenario() -> int:
        async with backend.serve(Handler(), path=path, grace=0.1):
            return await backend.in_thread(lambda: push(path))

    assert EARLY_SIZE < backend.run(scenario) < 8_000_000


def push(path: str) -> int:
    """How much of 16 MB the server takes."""
    pushed = 0
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b"EHLO c.example\r\n")
        sock.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while pushed < 16_000_000:
                pushed += sock.send(b"NOOP " + 400 * b"x" + b"\r\n")
    return pushed


# What it costs -----------------------------------------------------------------------------------------------------

MESSAGE = 25_000_000


@pytest.mark.parametrize(
    "chunk",
    [b"c" * 65_536, b"c" * 1_048_576, bytearray(1_048_576), memoryview(b"c" * MESSAGE), bytearray(MESSAGE)],
    ids=["64 KiB", "1 MiB", "1 MiB of a bytearray", "all of it", "all of it of a bytearray"],
)
def test_memory_does_not_grow_with_what_is_written(backend: Backend, chunk: Octets) -> None:
    read: list[int] = []
    with Peer(lambda sock: read.append(read_all(sock))) as peer:

        async def scenario() -> int:
            wire = await dialled(backend, peer)
            gc.collect()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                for _ in range(-(-MESSAGE // len(chunk))):
                    await wire.send(chunk, 20)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            await wire.close()
            return peak - before

        grown = backend.run(scenario)
    assert read[0] >= MESSAGE
    assert grown < 1_000_000


def test_other_tasks_get_their_turn_however_fast_the_peer_reads_asyncio() -> None:
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    class Sink(asyncio.WriteTransport):
        """It takes all at once."""

        def write(self, data: Any) -> None:
            assert len(data) <= smtpproto_adapters.asyncio.WINDOW

        def is_closing(self) -> bool:
            return False

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            assert high == 0

        def resume_reading(self) -> None:
            pass

    async def main() -> None:
        with socket.socket() as unused:
            stream = smtpproto_adapters.asyncio.Stream(unused)
            stream.connection_made(Sink())
            ticking = asyncio.create_task(tick())
            for size in (65_536, MESSAGE):
                for _ in range(MESSAGE // size):
                    await stream.send(b"x" * size, None)
            ticking.cancel()

    asyncio.run(main())
    assert turns >= 2 * MESSAGE // (2 * smtpproto_adapters.asyncio.WINDOW)


# The parts ---------------------------------------------------------------------------------------------------------


def test_room_for_what_comes_early() -> None:
    early = Early()
    assert (bool(early), early.room, early.take()) == (False, EARLY_SIZE, b"")
    early.add(b"one")
    early.add(bytearray(b" two"))
    assert (bool(early), early.room) == (True, EARLY_SIZE - 7)
    assert early.take() == b"one two"
    assert early.room == EARLY_SIZE
    early.add(bytes(EARLY_SIZE + 1))
    assert early.room == 0


@pytest.mark.parametrize("way", ["poll", "select"])
def test_for_what_a_socket_is_ready(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "select":
        monkeypatch.delattr("select.poll")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = ours.fileno()
        assert ready(number, 0, read=True) == (False, False)
        assert ready(number, 0.01, read=True) == (False, False)
        assert ready(number, None, write=True) == (False, True)
        assert ready(number, 1e12, read=True, write=True) == (False, True)
        theirs.send(b"x")
        assert ready(number, None, read=True, write=True) == (True, True)
        assert ready(number, None, write=True) == (False, True)
        ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(bytes(65536))
        assert ready(number, 0, write=True) == (False, False)
        assert ready(number, 0, read=True, write=True) == (True, False)
        theirs.close()
        assert ready(number, 0, write=True) == (False, True)
        assert ready(number, 0, read=True, write=True) == (True, True)
    assert ready(ours.fileno(), None, read=True, write=True) == (True, True)
