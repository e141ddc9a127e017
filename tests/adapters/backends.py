"""The three backends behind one face, so that each scenario is written once.

A scenario is an ``async`` function.  asyncio and trio run it as it is; for blocking sockets its ``await`` never waits,
because the face's methods have done everything by the time that they return.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import trio

import smtpproto_adapters.asyncio
import smtpproto_adapters.blocking
import smtpproto_adapters.trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator
    from types import TracebackType

    from smtpproto import (
        ClientConnection,
        Command,
        Connected,
        ConnectFailed,
        ConnectOptions,
        DeliveryResult,
        Envelope,
        ErrorCode,
        Reply,
    )
    from smtpproto.extensions import Extensions
    from smtpproto.flows import Progress
    from smtpproto_adapters.channel import TlsInfo
    from smtpproto_adapters.client import AsyncMessages, Mechanisms, Messages, Recipients, Sender, Token
    from smtpproto_adapters.message import Encoder, Part
    from smtpproto_adapters.server import Handler
    from smtpproto_adapters.sources import Content

T = TypeVar("T")


class AnyClient(Protocol):
    """What every client offers, in the colour of asyncio and trio."""

    options: ConnectOptions

    @property
    def extensions(self) -> Extensions: ...
    @property
    def extended(self) -> bool: ...
    @property
    def tls(self) -> TlsInfo | None: ...
    @property
    def last_reply(self) -> Reply | None: ...
    @property
    def connection(self) -> ClientConnection | None: ...
    @property
    def is_connected(self) -> bool: ...
    @property
    def failure(self) -> ConnectFailed | None: ...
    @property
    def leaving(self) -> bool: ...

    async def connect(self) -> Connected: ...
    async def connect_ex(self) -> ErrorCode: ...
    async def authenticate(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        token: Token | None = None,
        mechanisms: Mechanisms | None = None,
        authorization_id: str = "",
    ) -> Reply: ...
    async def command(self, command: Command) -> Reply: ...
    async def noop(self) -> Reply: ...
    async def reset(self) -> Reply: ...
    async def verify(self, text: str) -> Reply: ...
    async def expand(self, text: str) -> Reply: ...
    async def help(self, topic: str = "") -> Reply: ...
    async def deliver(
        self,
        envelope: Envelope,
        content: Content,
        *,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
    ) -> DeliveryResult: ...
    async def sendmail(
        self,
        sender: Sender,
        recipients: Recipients,
        content: Content,
        *,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
        **parameters: Any,
    ) -> DeliveryResult: ...
    async def send_message(
        self,
        message: Part,
        sender: Sender | None = None,
        recipients: Recipients | None = None,
        *,
        encode_domain: Encoder | None = None,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
        **parameters: Any,
    ) -> DeliveryResult: ...
    def send_many(
        self, messages: Messages | AsyncMessages, *, chunking: bool | None = None
    ) -> AsyncIterator[DeliveryResult]: ...
    async def disconnect(self) -> None: ...
    async def abort(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class AnyServer(Protocol):
    """What every server offers."""

    host: str
    port: int
    path: str | None

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None: ...


class Backend(Protocol):
    name: str

    def run(self, scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it to its end; its result."""
        ...

    def client(self, *arguments: Any, **options: Any) -> AnyClient: ...
    def serve(self, handler: Handler, **options: Any) -> AnyServer: ...
    def stream(self, connected: socket.socket) -> Any:
        """The socket as the ``stream=`` of a client."""
        ...

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what blocks, while the backend goes on."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class BlockingFace:
    """A blocking client whose methods can be awaited."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = smtpproto_adapters.blocking.Client(*arguments, **options)

    @property
    def options(self) -> ConnectOptions:
        return self._client.options

    @options.setter
    def options(self, options: ConnectOptions) -> None:
        self._client.options = options

    def __repr__(self) -> str:
        return repr(self._client)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return _awaitable(found) if callable(found) else found

    def send_many(self, *arguments: Any, **options: Any) -> AsyncIterator[DeliveryResult]:
        return _each(self._client.send_many(*arguments, **options))

    async def __aenter__(self) -> Self:
        self._client.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.__exit__(kind, error, traceback)


async def _each(results: Iterator[T]) -> AsyncIterator[T]:
    for result in results:
        yield result


def _awaitable(method: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    async def call(*arguments: Any, **options: Any) -> T:
        return method(*arguments, **options)

    return call


class BlockingServerFace:
    """A blocking server as an asynchronous context manager."""

    def __init__(self, handler: Handler, **options: Any) -> None:
        self._server = smtpproto_adapters.blocking.serve(handler, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    async def __aenter__(self) -> Self:
        self._server.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, traceback)


class Blocking:
    name = "blocking"

    def run(self, scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
        running = scenario()
        try:
            running.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result
        raise AssertionError("a scenario for blocking sockets waits for something")

    def client(self, *arguments: Any, **options: Any) -> AnyClient:
        face: Any = BlockingFace(*arguments, **options)
        return face  # type: ignore[no-any-return]

    def serve(self, handler: Handler, **options: Any) -> AnyServer:
        face: Any = BlockingServerFace(handler, **options)
        return face  # type: ignore[no-any-return]

    def stream(self, connected: socket.socket) -> Any:
        return connected

    async def in_thread(self, work: Callable[[], T]) -> T:
        return work()

    async def sleep(self, seconds: float) -> None:
        threading.Event().wait(seconds)


class Asyncio:
    name = "asyncio"

    def run(self, scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def main() -> T:
            result = await scenario()
            assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks are left"
            return result

        return asyncio.run(main())

    def client(self, *arguments: Any, **options: Any) -> AnyClient:
        return smtpproto_adapters.asyncio.Client(*arguments, **options)

    def serve(self, handler: Handler, **options: Any) -> AnyServer:
        return smtpproto_adapters.asyncio.serve(handler, **options)

    def stream(self, connected: socket.socket) -> Any:
        connected.setblocking(False)
        return connected

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Trio:
    name = "trio"

    def run(self, scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return trio.run(scenario)

    def client(self, *arguments: Any, **options: Any) -> AnyClient:
        return smtpproto_adapters.trio.Client(*arguments, **options)

    def serve(self, handler: Handler, **options: Any) -> AnyServer:
        return smtpproto_adapters.trio.serve(handler, **options)

    def stream(self, connected: socket.socket) -> Any:
        return trio.SocketStream(trio.socket.from_stdlib_socket(connected))

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


BACKENDS: tuple[Backend, ...] = (Blocking(), Asyncio(), Trio())


@contextmanager
def nothing_left() -> Generator[None]:
    """Check that the block leaves no file descriptor and no thread behind, and nothing for the collector to close."""
    descriptors, threads = _descriptors(), _threads()
    yield
    gc.collect()  # what was not closed warns now, and the warning fails the test
    assert _threads() <= threads, "a thread is left"
    assert _descriptors() <= descriptors, "a file descriptor is left"


def _descriptors() -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add((entry.name, str(entry.readlink())))
        except OSError:
            continue  # it was that of the listing itself
    return found


def _threads() -> set[str]:
    # trio keeps the threads in which it has looked up names for a few seconds, for the next one.
    return {each.name for each in threading.enumerate() if not each.name.startswith("Trio thread")}
