"""asyncio: a client, and a server, which needs a loop that can watch sockets (on Windows: a SelectorEventLoop)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from itertools import zip_longest
from types import TracebackType
from typing import Any, Self, cast

from smtpproto import AddressLiteral
from smtpproto.flows import Octets, ShutDown

from .client import AsyncClient
from .server import ServerCore
from .transport import (
    ACCEPT_PAUSE,
    ATTEMPT_DELAY,
    CLOSE_SECONDS,
    READ_SIZE,
    Address,
    Early,
    address_of,
    has_something,
    literal_of,
    no_address,
    run_async,
)

__all__ = ["Client", "Server", "Wire", "serve"]

WINDOW = 262_144
"""Octets that asyncio is given at a time, for it may copy what it cannot write at once."""


class Stream(asyncio.Protocol):
    """What is between asyncio and one connection: no more than one read is kept, and a write waits for its end.

    While it waits more is kept, until there is no room; the last read, the size of which asyncio chooses, may be too
    much for it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._read = Early()
        self._taking_in = False
        self._ended = False
        self._error: Exception | None = None
        self._unyielded = 0
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        self._read.add(data)
        if not (self._taking_in and self._read.room):
            self.transport.pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._readable.set()
        return True  # what has to be written still can be

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._take_in_the_last()
        self._ended = True
        self._error = exc
        for event in (self._readable, self._writable, self._lost):
            event.set()

    def _take_in_the_last(self) -> None:
        """What came before the connection broke; asyncio, where it was a write that failed, would leave it unread."""
        with contextlib.suppress(OSError):
            while self._read.room and (data := self._socket.recv(min(READ_SIZE, self._read.room))):
                self._read.add(data)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def wake(self) -> None:
        """Let `receive` return, with nothing."""
        self._readable.set()

    async def send(self, data: Octets, timeout: float | None) -> None:
        rest = data if len(data) <= WINDOW else memoryview(data)
        if self._may_write:
            rest = self._write(rest)
        if rest or not self._writable.is_set():
            async with asyncio.timeout(timeout):
                await self._send_rest(rest)
        await self._take_turns()
        if self.transport.is_closing():
            await self._lost.wait()
            raise self._error or ConnectionAbortedError("it was closed by this side")

    async def _send_rest(self, rest: Octets) -> None:
        """Write what the system did not take at once, and read meanwhile."""
        self._taking_in = True
        if self._read.room and not self._ended:
            self.transport.resume_reading()
        try:
            await self._writable.wait()
            while rest and self._may_write:
                rest = self._write(rest)
                await self._take_turns()
                await self._writable.wait()
        finally:
            self._taking_in = False

    def _write(self, data: Octets) -> Octets:
        """Write the beginning; the rest."""
        window = data[:WINDOW]
        self.transport.write(window)
        self._unyielded += len(window)
        return data[WINDOW:]

    async def _take_turns(self) -> None:
        """However fast the peer reads, the other tasks get their turn, and time passes."""
        if self._unyielded >= WINDOW:
            self._unyielded = 0
            await asyncio.sleep(0)

    @property
    def _may_write(self) -> bool:
        return self._writable.is_set() and not self.transport.is_closing()

    async def receive(self, timeout: float | None) -> bytes:
        if not (self._read or self._ended):
            if timeout == 0:
                if not has_something(self._socket.fileno()):
                    raise TimeoutError
                timeout = None  # it takes the loop a turn or two to hand over what has come
            self._readable.clear()
            self.transport.resume_reading()
            async with asyncio.timeout(timeout):
                await self._readable.wait()
        if not self._read and self._error is not None:
            raise self._error
        return self._read.take()

    async def close(self) -> None:
        self.transport.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._lost.wait()
        except TimeoutError:
            pass
        finally:
            self.transport.abort()
        await self._lost.wait()

    async def abort(self) -> None:
        self.transport.abort()
        await self._lost.wait()


class Wire:
    """A stream, once it is dialled.  ``given`` is a socket that is connected already, for the first time."""

    def __init__(self, given: socket.socket | None = None) -> None:
        self._given = given
        self._stream: Stream | None = None
        self._shutting_down = False

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    async def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        if self._given is None:
            await self.abort()
            async with asyncio.timeout(timeout):
                self._given = await (_connected_to_any(host, port) if path is None else _connected_to(path))
        stream = await self.adopt()
        return literal_of(stream.transport.get_extra_info("sockname"))

    async def adopt(self) -> Stream:
        """Use the socket that is connected already."""
        assert self._given is not None
        given = self._given
        _, stream = await asyncio.get_running_loop().connect_accepted_socket(lambda: Stream(given), given)
        self._given, self._stream = None, stream
        return stream

    async def send(self, data: Octets, timeout: float | None) -> None:
        await self._connected().send(data, timeout)

    async def receive(self, timeout: float | None) -> bytes:
        data = b"" if self._shutting_down else await self._connected().receive(timeout)
        if self._shutting_down:
            raise ShutDown
        return data

    async def half_close(self) -> None:
        self._connected().transport.write_eof()

    async def close(self) -> None:
        stream = self._let_go()
        if stream is not None:
            await stream.close()

    async def abort(self) -> None:
        """Close at once; a task that reads or writes is woken."""
        stream = self._let_go()
        if stream is not None:
            await stream.abort()

    def cut(self) -> None:
        """The same, without waiting until it is done."""
        stream = self._let_go()
        if stream is not None:
            stream.transport.abort()

    def shut_down(self) -> None:
        """Let the flow come to its end as soon as it waits."""
        self._shutting_down = True
        if self._stream is not None:
            self._stream.wake()

    def _connected(self) -> Stream:
        if self._stream is None:
            raise ConnectionAbortedError("it was closed by this side")
        return self._stream

    def _let_go(self) -> Stream | None:
        stream, self._stream = self._stream, None
        given, self._given = self._given, None
        if given is not None:
            given.close()
        return stream


async def _connected_to(path: str) -> socket.socket:
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, path)
        stack.pop_all()
    return sock


async def _connected_to_any(host: str, port: int) -> socket.socket:
    """Race the addresses, each with a head start.  RFC 8305 section 5.

    `asyncio.loop.create_connection` does that too, but in some versions leaves tasks and sockets of the losers behind.
    """
    loop = asyncio.get_running_loop()
    addresses = _interleaved(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    attempts: set[asyncio.Task[None]] = set()
    errors: list[BaseException] = []
    won: list[socket.socket] = []

    async def attempt(family: int, address: Any) -> None:
        sock = sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        won.append(sock)

    with contextlib.ExitStack() as sockets:
        try:
            while not won and (addresses or attempts):
                if addresses:
                    attempts.add(loop.create_task(attempt(*addresses.pop(0))))
                delay = ATTEMPT_DELAY if addresses else None
                done, attempts = await asyncio.wait(attempts, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
                errors += [error for each in done if (error := each.exception()) is not None]
        finally:
            for late in attempts:
                late.cancel()
            if attempts:
                await asyncio.wait(attempts)
        if won:
            return socket.socket(fileno=won[0].detach())
    raise no_address(errors)


def _interleaved(found: Sequence[tuple[int, int, int, str, Any]]) -> list[tuple[int, Any]]:
    """The addresses, alternately of the one family and the other.  RFC 8305 section 4."""
    ipv6 = [each for each in found if each[0] == socket.AF_INET6]
    others = [each for each in found if each[0] != socket.AF_INET6]
    pairs = zip_longest(*((ipv6, others) if found[:1] == ipv6[:1] else (others, ipv6)))
    return [(each[0], each[4]) for pair in pairs for each in pair if each is not None]


class Client(AsyncClient[socket.socket]):
    __doc__ = AsyncClient.__doc__

    def _new_wire(self, stream: socket.socket | None) -> Wire:
        return Wire(stream)

    def _now(self) -> float:
        return time.monotonic()


class Server(ServerCore):
    __doc__ = ServerCore.__doc__

    async def __aenter__(self) -> Self:
        self._sessions: dict[asyncio.Task[None], Wire] = {}
        self._listener = self._listen()
        self._listener.socket.setblocking(False)
        self._pause: asyncio.TimerHandle | None = None
        try:
            self._wait_for_clients()
        except BaseException:
            self._listener.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._wait_no_more()
        self._listener.close()
        sessions = self._sessions
        try:
            for wire in sessions.values():
                wire.shut_down()
            if sessions and kind is None:
                await asyncio.wait(sessions, timeout=self.grace)
        finally:
            for task in sessions:
                task.cancel()
            if sessions:
                await asyncio.wait(sessions)

    # `asyncio.loop.create_server` would do this, but leaves the sockets open that it accepts while it is being closed.

    def _wait_for_clients(self) -> None:
        asyncio.get_running_loop().add_reader(self._listener.socket, self._accept)

    def _wait_no_more(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener.socket)
        if self._pause is not None:
            self._pause.cancel()

    def _accept(self) -> None:
        try:
            sock, name = self._listener.socket.accept()
        except BlockingIOError:
            return  # the client has gone already
        except OSError:
            self._wait_no_more()  # for a file descriptor to become free
            self._pause = asyncio.get_running_loop().call_later(ACCEPT_PAUSE, self._wait_for_clients)
            return
        wire = Wire(sock)
        task = asyncio.get_running_loop().create_task(self._serve(wire, address_of(name)))
        self._sessions[task] = wire
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sessions.pop(task).cut()  # the task may have been cancelled before it began

    async def _serve(self, wire: Wire, peer: Address) -> None:
        try:
            await wire.adopt()
            if len(self._sessions) > self.max_connections:
                await run_async(wire, self._turned_away())
            else:
                await self._converse_async(wire, peer, time.monotonic)
        finally:
            await wire.abort()


serve = Server
