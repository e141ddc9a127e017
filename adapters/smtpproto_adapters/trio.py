"""trio: a client, and a server."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator, Awaitable, Generator
from types import TracebackType
from typing import Self

import trio

from smtpproto import AddressLiteral
from smtpproto.flows import Octets, ShutDown

from .client import AsyncClient
from .server import ServerCore
from .transport import (
    ATTEMPT_DELAY,
    CLOSE_SECONDS,
    READ_SIZE,
    Address,
    Early,
    address_of,
    has_something,
    literal_of,
    ready,
    run_async,
)

__all__ = ["Client", "Server", "Wire", "serve"]


class Wire:
    """A stream.  ``given`` is one that is connected already, and is used by the first `dial`."""

    def __init__(self, given: trio.abc.Stream | None = None) -> None:
        self._given = given
        self._stream: trio.abc.Stream | None = None
        self._early = Early()
        self._shutting_down = False
        self._reading = trio.CancelScope()

    @classmethod
    def of(cls, stream: trio.abc.Stream) -> Self:
        """The wire of a stream that is connected already."""
        wire = cls()
        wire._stream = stream
        return wire

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    async def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        given, self._given = self._given, None
        await self.abort()
        with _within(timeout):
            if given is not None:
                self._stream = given
            elif path is not None:
                self._stream = await trio.open_unix_socket(path)
            else:
                self._stream = await trio.open_tcp_stream(host, port, happy_eyeballs_delay=ATTEMPT_DELAY)
        stream = self._stream
        return literal_of(stream.socket.getsockname()) if isinstance(stream, trio.SocketStream) else None

    async def send(self, data: Octets, timeout: float | None) -> None:
        stream = self._connected()
        # Of another kind of stream than a socket nobody can tell whether the write will have to wait.
        sent = await _send_at_once(stream, data) if isinstance(stream, trio.SocketStream) else 0
        if sent < len(data):
            with _within(timeout):
                await self._send_rest(stream, memoryview(data)[sent:])

    async def _send_rest(self, stream: trio.abc.Stream, data: memoryview) -> None:
        """Write what the system did not take at once, and read meanwhile."""
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_in, stream)
            try:
                await stream.send_all(data)
            except Exception as error:
                failure = error  # raised below, and not in the group that the nursery makes of it
            nursery.cancel_scope.cancel()
        try:
            if failure is not None:
                raise failure
        finally:
            failure = None  # it holds this frame

    async def _take_in(self, stream: trio.abc.Stream) -> None:
        """Read before it is asked for.  What ends that, the write or the next read finds too."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while self._early.room:
                data = await stream.receive_some(min(READ_SIZE, self._early.room))
                if not data:
                    break
                self._early.add(data)

    async def receive(self, timeout: float | None) -> bytes:
        if self._early and not self._shutting_down:
            return self._early.take()
        if timeout == 0 and not self._shutting_down:
            if not self._has_something():
                raise TimeoutError
            timeout = None
        try:
            with _within(timeout) as self._reading:
                if self._shutting_down:
                    self._reading.cancel()
                return bytes(await self._connected().receive_some(READ_SIZE))
        except TimeoutError:
            if self._shutting_down:
                raise ShutDown from None
            raise

    async def half_close(self) -> None:
        stream = self._connected()
        with _within(None):
            if isinstance(stream, trio.abc.HalfCloseableStream):
                await stream.send_eof()

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        self._early.take()
        if stream is not None:
            with trio.move_on_after(CLOSE_SECONDS):
                await stream.aclose()

    async def abort(self) -> None:
        """Close at once; a task that reads or writes is woken."""
        streams, self._stream, self._given = (self._stream, self._given), None, None
        self._early.take()
        for stream in streams:
            if stream is not None:
                await trio.aclose_forcefully(stream)

    def shut_down(self) -> None:
        """Let the flow come to its end as soon as it waits."""
        self._shutting_down = True
        self._reading.cancel()

    def _has_something(self) -> bool:
        stream = self._connected()
        # Of another kind of stream than a socket nobody can tell.
        return isinstance(stream, trio.SocketStream) and has_something(stream.socket.fileno())

    def _connected(self) -> trio.abc.Stream:
        if self._stream is None:
            raise ConnectionAbortedError("it was closed by this side")
        return self._stream


async def _send_at_once(stream: trio.SocketStream, data: Octets) -> int:
    """Write what can be written without a wait, and so needs no deadline; how much it was."""
    if not ready(stream.socket.fileno(), 0, write=True)[1]:
        return 0
    try:
        return await stream.socket.send(data)
    except trio.ClosedResourceError:
        raise ConnectionAbortedError("it was closed by this side") from None


@contextlib.contextmanager
def _within(timeout: float | None) -> Generator[trio.CancelScope]:
    """What takes longer is a TimeoutError; what trio says of a broken stream is an OSError, as elsewhere."""
    with trio.move_on_after(math.inf if timeout is None else timeout) as scope:
        try:
            yield scope
        except trio.BrokenResourceError as error:
            raise (
                error.__cause__ if isinstance(error.__cause__, OSError) else ConnectionResetError(str(error))
            ) from None
        except trio.ClosedResourceError:
            raise ConnectionAbortedError("it was closed by this side") from None
    if scope.cancelled_caught:
        raise TimeoutError


class Client(AsyncClient[trio.abc.Stream]):
    __doc__ = AsyncClient.__doc__

    def _new_wire(self, stream: trio.abc.Stream | None) -> Wire:
        return Wire(stream)

    def _now(self) -> float:
        return trio.current_time()

    async def _shielded(self, work: Awaitable[object]) -> None:
        with trio.CancelScope(shield=True):
            await work


class Server(ServerCore):
    __doc__ = ServerCore.__doc__

    async def __aenter__(self) -> Self:
        self._wires: set[Wire] = set()
        self._block = self._running()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, traceback)

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        listener = self._listen()
        accepting = trio.CancelScope()
        in_block: BaseException | None = None

        async def accept() -> None:
            with accepting:
                sock = trio.socket.from_stdlib_socket(listener.socket)
                await trio.serve_listeners(self._serve, [trio.SocketListener(sock)], handler_nursery=nursery)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                try:
                    yield
                except BaseException as error:
                    in_block = error
                    raise
                accepting.cancel()
                for wire in self._wires:
                    wire.shut_down()
                nursery.cancel_scope.deadline = trio.current_time() + self.grace
        except BaseExceptionGroup as group:
            if group.split(lambda each: each is in_block or isinstance(each, trio.Cancelled))[1] is not None:
                raise
        finally:
            listener.close()
        if in_block is not None:
            raise in_block  # as it was, and not in the group that the nursery makes of it

    async def _serve(self, stream: trio.SocketStream) -> None:
        wire = Wire.of(stream)
        try:
            if len(self._wires) >= self.max_connections:
                await run_async(wire, self._turned_away())
            else:
                self._wires.add(wire)
                await self._converse_async(wire, _peer_of(stream), trio.current_time)
        finally:
            self._wires.discard(wire)
            await wire.abort()


def _peer_of(stream: trio.SocketStream) -> Address:
    try:
        return address_of(stream.socket.getpeername())
    except OSError:
        return ""  # it has gone already


serve = Server
