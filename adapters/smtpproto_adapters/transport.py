"""What runs a flow: the primitives that each backend has, and the loop that calls them.

A backend knows how to dial, write, read and close octets, and nothing else.  TLS, deadlines and the names of errors
are in ``channel.py``, which is a flow itself, so that all of them are the same on every kind of I/O.
"""

from __future__ import annotations

import select
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

from smtpproto import AddressLiteral, Event, LocalProtocolError, Reply, SmtpError
from smtpproto.flows import Ask, Close, Dial, Effect, Flow, Next, Octets, Receive, Send, Source, next_item, real_item
from smtpproto.sasl import Question, ServerAnswer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["READ_SIZE", "Address", "AsyncWire", "Early", "HalfClose", "Wire", "literal_of", "run", "run_async"]

T = TypeVar("T")
Subject: TypeAlias = Event | Question
Answer: TypeAlias = "Reply | Sequence[Reply] | ServerAnswer"
Address: TypeAlias = "tuple[str, int] | str"
"""Host and port, or the path of a unix socket."""

READ_SIZE = 65536
"""Octets in one read."""

EARLY_SIZE = 1_048_576
"""Octets that are taken in at most while a write waits for the peer; then the write merely waits."""

CLOSE_SECONDS = 1.0
"""What is left to write may take this long when a connection is closed."""

BACKLOG = 100
"""Connections that wait to be accepted."""

ACCEPT_PAUSE = 0.1
"""Seconds that a server which has no file descriptor left for a client waits for one."""

ATTEMPT_DELAY = 0.25
"""Seconds until the next address of a host is tried beside the one before.  RFC 8305 section 5."""

LONGEST_POLL = 86_400.0
"""Seconds; what is longer no system call takes."""


class HalfClose(Effect):
    """Say that nothing more will be written; what the peer still writes can be read."""

    __slots__ = ()


class Wire(Protocol):
    """The octets of one connection.  Everything raises OSError; what takes too long, its subclass TimeoutError.

    To receive with a timeout of 0 is to take what has come already, if anything.

    To send is to take in as well, where the write has to wait: a peer may read no more until what it wrote is read, and
    both would wait for each other for ever (RFC 2920 section 3.1).  What came that way is received first.
    """

    def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        """Connect, to the unix socket where there is a path; what this end is called there, where that is known."""
        ...

    def send(self, data: Octets, timeout: float | None) -> None:
        """Write all of it."""
        ...

    def receive(self, timeout: float | None) -> bytes:
        """What has come, as soon as there is something; ``b""`` at the end of the stream."""
        ...

    def half_close(self) -> None:
        """Say that nothing more will be written."""
        ...

    def close(self) -> None:
        """Write what is left, and close; it may be closed already."""
        ...


class Early:
    """What came while a write had to wait, and was not received yet: plain octets, below any TLS."""

    def __init__(self) -> None:
        self._data = bytearray()

    def __bool__(self) -> bool:
        return bool(self._data)

    @property
    def room(self) -> int:
        """How many more octets may be taken in."""
        return max(0, EARLY_SIZE - len(self._data))

    def add(self, data: bytes | bytearray) -> None:
        """Keep these, too."""
        self._data += data

    def take(self) -> bytes:
        """All that is kept; ``b""`` where that is nothing."""
        data = bytes(self._data)
        self._data.clear()
        return data


class AsyncWire(Protocol):
    """The same for those that wait with ``await``."""

    async def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        """As `Wire.dial`."""
        ...

    async def send(self, data: Octets, timeout: float | None) -> None:
        """As `Wire.send`."""
        ...

    async def receive(self, timeout: float | None) -> bytes:
        """As `Wire.receive`."""
        ...

    async def half_close(self) -> None:
        """As `Wire.half_close`."""
        ...

    async def close(self) -> None:
        """As `Wire.close`."""
        ...

    async def abort(self) -> None:
        """Close at once, and wake who reads or writes."""
        ...

    @property
    def is_open(self) -> bool:
        """True while it is connected."""
        ...


def answer_nothing(subject: Subject) -> Answer:
    """For the flows of a client, which ask nothing."""
    raise LocalProtocolError(f"a flow asks about {subject!r}, and there is nobody to answer")


async def answer_nothing_async(subject: Subject) -> Answer:
    """The same."""
    return answer_nothing(subject)


# What is thrown into a flow when a wire fails.  Everything else ends it: an interrupt, a cancellation, a fault of ours.
_Thrown = (OSError, UnicodeError, SmtpError)


def run(wire: Wire, flow: Flow[T], ask: Callable[[Subject], Answer] = answer_nothing) -> T:
    """Run a flow to its end; its result.  Raises what it raises, and closes it where it is broken off."""
    answer: Any = None
    error: Exception | None = None
    try:
        while True:
            effect = flow.send(answer) if error is None else flow.throw(error)
            answer = error = None
            if isinstance(effect, Ask):
                answer = ask(effect.subject)
                continue
            if isinstance(effect, Next):
                answer, error = _next(effect.source)
                continue
            try:
                match effect:
                    case Receive(timeout):
                        answer = wire.receive(timeout)
                    case Send(timeout, data):
                        wire.send(data, timeout)
                    case Dial(timeout, host, port, path):
                        answer = wire.dial(host, port, path, timeout)
                    case HalfClose():
                        wire.half_close()
                    case Close():
                        wire.close()
                    case _:
                        raise TypeError(f"{effect!r} is no effect that a wire can do")
            except _Thrown as caught:
                error = caught
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        error = None  # it holds this frame
        flow.close()


async def run_async(
    wire: AsyncWire, flow: Flow[T], ask: Callable[[Subject], Awaitable[Answer]] = answer_nothing_async
) -> T:
    """As `run`."""
    answer: Any = None
    error: Exception | None = None
    try:
        while True:
            effect = flow.send(answer) if error is None else flow.throw(error)
            answer = error = None
            if isinstance(effect, Ask):
                answer = await ask(effect.subject)
                continue
            if isinstance(effect, Next):
                answer, error = await _next_async(effect.source)
                continue
            try:
                match effect:
                    case Receive(timeout):
                        answer = await wire.receive(timeout)
                    case Send(timeout, data):
                        await wire.send(data, timeout)
                    case Dial(timeout, host, port, path):
                        answer = await wire.dial(host, port, path, timeout)
                    case HalfClose():
                        await wire.half_close()
                    case Close():
                        await wire.close()
                    case _:
                        raise TypeError(f"{effect!r} is no effect that a wire can do")
            except _Thrown as caught:
                error = caught
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        error = None
        flow.close()


def _next(source: Source) -> tuple[Any, Exception | None]:
    """The answer to `Next`, or what the iterator raised: it is thrown in apart from what a wire raises."""
    try:
        return next_item(source), None
    except Exception as error:
        return None, error


async def _next_async(source: Source) -> tuple[Any, Exception | None]:
    """As `_next`; an iterator that is both is used as an asynchronous one."""
    if not hasattr(source, "__anext__"):
        return _next(source)
    try:
        return real_item(await cast("AsyncIterator[Any]", source).__anext__()), None
    except StopAsyncIteration:
        return None, None
    except Exception as error:
        return None, error


# Sockets ---------------------------------------------------------------------------------------------------------


def no_address(errors: Sequence[BaseException]) -> OSError:
    """What is raised where none of the addresses of a host could be reached."""
    error = OSError("no address of it could be reached")
    if errors:
        error.__cause__ = BaseExceptionGroup("at each address", errors)
    return error


def literal_of(name: object) -> AddressLiteral | None:
    """The address literal of a socket's own name; None where it has no IP address.  RFC 5321 section 4.1.4."""
    match name:
        case (str() as address, int(), *_):  # pyright: ignore[reportUnknownVariableType]
            with suppress(LocalProtocolError):
                return AddressLiteral.of(address)
        case _:
            pass
    return None


def ready(descriptor: int, timeout: float | None, *, read: bool = False, write: bool = False) -> tuple[bool, bool]:
    """Wait until a read of the socket, or a write, would not wait; which of them it is, or neither.

    A connection that is broken, or was closed by another thread, is ready: whoever uses it hears of it.
    """
    if descriptor < 0:
        return read, write
    seconds = None if timeout is None else min(timeout, LONGEST_POLL)
    if not hasattr(select, "poll"):
        readers, writers, _ = select.select([descriptor] * read, [descriptor] * write, [], seconds)
        return bool(readers), bool(writers)
    poll = select.poll()  # which takes descriptors of any number
    poll.register(descriptor, select.POLLIN * read | select.POLLOUT * write)
    found = sum(events for _, events in poll.poll(None if seconds is None else seconds * 1000))
    broken = bool(found & ~(select.POLLIN | select.POLLOUT))
    return read and (broken or bool(found & select.POLLIN)), write and (broken or bool(found & select.POLLOUT))


def has_something(descriptor: int) -> bool:
    """True where a read from the socket would not wait: octets have come, or the end."""
    return ready(descriptor, 0, read=True)[0]


def address_of(name: object) -> Address:
    """A socket's name as an address; ``""`` for a unix socket without one."""
    match name:
        case (str() as host, int() as port, *_):  # pyright: ignore[reportUnknownVariableType]
            return host, port
        case str():
            return name
        case _:
            return ""


def named(address: Address) -> str:
    """An address, for people."""
    if isinstance(address, str):
        return address.replace("\0", "@") or "a unix socket"  # as ss(8) shows Linux's abstract names
    return f"{address[0]} port {address[1]}"


class Listener:
    """A listening socket: at the first address that the host has, or at a unix socket.  Raises OSError."""

    def __init__(self, host: str, port: int, path: str | None) -> None:
        self.path = path
        self.socket = _bound(host, port) if path is None else _bound_to_path(path)
        self.address = address_of(self.socket.getsockname())

    socket: socket.socket
    path: str | None
    address: Address

    @property
    def host(self) -> str:
        """Where a client finds it; empty for a unix socket."""
        return "" if isinstance(self.address, str) else self.address[0]

    @property
    def port(self) -> int:
        """0 for a unix socket."""
        return 0 if isinstance(self.address, str) else self.address[1]

    def close(self) -> None:
        """Listen no more; the unix socket is removed."""
        self.socket.close()
        if self.path is not None:
            from pathlib import Path

            Path(self.path).unlink(missing_ok=True)


def _bound(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    # What is accepted inherits it.  Else a reply could wait for the client to acknowledge the one before it: 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _bound_to_path(path: str) -> socket.socket:
    from pathlib import Path  # a client can do without it

    _remove_left_over(Path(path))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_left_over(path: Path) -> None:
    """Remove a unix socket that nobody listens at any more: its server did not end well."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
