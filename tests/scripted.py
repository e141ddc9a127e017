"""A hostile, or merely odd, server on loopback that plays a script: what no real server can be made to do on demand.

    with ScriptedServer(Say(b"220 hi\\r\\n"), Expect(rb"EHLO .+"), Reset()) as server:
        ...                                     # connect to server.host, server.port
    assert server.received == b"EHLO me\\r\\n"

It takes one connection, then listens no more: a second one is refused. Leaving the block ends it, joins its thread and
raises there what went wrong in the script. Where nothing is said otherwise:

- A client that goes away is no fault of the script unless an `Expect` or a `Tls` was still to come.
- When the steps are used up the server closes in good order, and goes on recording until the client has gone too.
- A script that no client came for has failed; `ScriptedServer()` without steps is for showing that none comes.
- Every wait is bounded by `timeout`. Once the block is left, an `Expect` or a `Tls` goes on for `GRACE` seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import re
import select
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

HOST = "127.0.0.1"

TICK = 0.02
"""Seconds between two looks at whether the test is over."""

GRACE = 0.5
"""Seconds that a client in another thread gets, after the end of the block, to send what the script expects."""

LONGEST_LINE = 65536
MOST_RECEIVED = 64 * 1024 * 1024
"""Octets; more than any client sends on purpose."""

AT_ONCE = 65536
"""Octets in one read or write."""


@dataclass(frozen=True, slots=True)
class Say:
    """Send these octets, in one write where the system takes them so."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SayPieces:
    """Send each piece as a TCP segment of its own, `delay` seconds apart."""

    pieces: Sequence[bytes]
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Expect:
    """Read one line; all of it, without its CRLF, must match the pattern."""

    pattern: bytes


@dataclass(frozen=True, slots=True)
class Tls:
    """Do the server's part of a TLS handshake; what follows is sent and received through it.

    With `refused=True` the client must break it off, as one does that does not trust the certificate, and nothing
    may follow.
    """

    context: ssl.SSLContext
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """Stay connected, say nothing and read nothing, until the client goes or the block ends."""


@dataclass(frozen=True, slots=True)
class ReadAll:
    """Read all that comes, until the client goes or the block ends."""


@dataclass(frozen=True, slots=True)
class Close:
    """End the stream in good order (FIN; in TLS after a close_notify, unless `notify=False`). Must be the last step."""

    notify: bool = True


@dataclass(frozen=True, slots=True)
class Reset:
    """Tear the connection down (RST). Must be the last step."""


Step: TypeAlias = Say | SayPieces | Expect | Tls | Silence | ReadAll | Close | Reset


class _ClientGone(Exception):
    """The client closed or reset the connection."""


class _BlockLeft(Exception):
    """The test left the block while the script waited."""


class _Deadline:
    """How long one wait of the script may go on."""

    def __init__(self, what: str, seconds: float, stop: threading.Event, grace: float) -> None:
        self._what = what
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._stop = stop
        self._grace = grace
        self._last: float | None = None

    def check(self) -> None:
        """Raise _BlockLeft when the block was left `grace` seconds ago, AssertionError when the wait was too long."""
        now = time.monotonic()
        if self._stop.is_set():
            if self._last is None:
                self._last = now + self._grace
            if now >= self._last:
                raise _BlockLeft
        elif now >= self._end:
            raise AssertionError(f"the script waited {self._what} for more than {self._seconds} s")


class _Wire:
    """The connection seen from the script: bounded reads and writes, through TLS once there is some."""

    def __init__(self, connection: socket.socket, stop: threading.Event, timeout: float) -> None:
        self.received = bytearray()
        self._socket = connection
        self._stop = stop
        self._timeout = timeout
        self._grace = GRACE
        self._unread = bytearray()
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        connection.settimeout(TICK)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _deadline(self, what: str) -> _Deadline:
        return _Deadline(what, self._timeout, self._stop, self._grace)

    def _receive_raw(self, what: str) -> bytes:
        """At least one octet from the network, or b"" at the end of the stream."""
        deadline = self._deadline(what)
        while True:
            try:
                return self._socket.recv(AT_ONCE)
            except TimeoutError:
                deadline.check()
            except ConnectionError:
                raise _ClientGone from None

    def _send_raw(self, data: bytes, what: str) -> None:
        deadline = self._deadline(what)
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest[:AT_ONCE]) :]
                deadline = self._deadline(what)
            except TimeoutError:
                deadline.check()
            except ConnectionError:
                raise _ClientGone from None

    def send(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self._send_raw(data, "for the client to read what is sent")

    def receive(self, what: str) -> bytes:
        """Some octets, which are recorded, or b"" at the end of the stream."""
        data = self._receive_raw(what) if self._tls is None else self._receive_tls(self._tls, what)
        self.received += data
        if len(self.received) > MOST_RECEIVED:
            raise AssertionError(f"the client sent more than {MOST_RECEIVED} octets")
        return data

    def _receive_tls(self, tls: ssl.SSLObject, what: str) -> bytes:
        while True:
            try:
                return tls.read(AT_ONCE)
            except ssl.SSLWantReadError:
                self._feed(what)
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    def _feed(self, what: str) -> None:
        data = self._receive_raw(what)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def read_line(self, what: str) -> bytes:
        """One line with its end; less than that at the end of the stream."""
        while b"\n" not in self._unread:
            if len(self._unread) > LONGEST_LINE:
                raise AssertionError(f"waiting {what}, the client sent {len(self._unread)} octets without a line end")
            data = self.receive(what)
            if not data:
                break
            self._unread += data
        end = self._unread.find(b"\n") + 1 or len(self._unread)
        line = bytes(self._unread[:end])
        del self._unread[:end]
        return line

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Raises ssl.SSLError where the handshake fails, _ClientGone where the client leaves in it."""
        if self._unread or self._tls is not None:
            raise AssertionError(f"before TLS the client sent what the script did not read: {bytes(self._unread)!r}")
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        what = "for the client's part of the TLS handshake"
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_raw(self._outgoing.read(), what)
                self._feed(what)
            except ssl.SSLEOFError:
                raise _ClientGone from None
            except ssl.SSLError:
                # The client is to hear the alert that says why.
                with contextlib.suppress(_ClientGone):
                    self._send_raw(self._outgoing.read(), what)
                raise
            else:
                break
        self._send_raw(self._outgoing.read(), what)
        self._tls = tls

    def read_all(self) -> None:
        """Record what comes until the stream or the block ends."""
        self._grace = 0.0
        with contextlib.suppress(_ClientGone, _BlockLeft):
            while self.receive("for the client to close"):
                pass

    def wait_for_hangup(self) -> None:
        """Read nothing until the client has closed."""
        poll = select.poll()
        poll.register(self._socket, getattr(select, "POLLRDHUP", 0))
        deadline = self._deadline("in silence for the client to close")
        while not self._stop.is_set() and not poll.poll(TICK * 1000):
            deadline.check()

    def pause(self, seconds: float) -> None:
        """Wait, at most until the end of the test, and put what was sent before on its way alone."""
        self._stop.wait(seconds)

    def finish(self, *, notify: bool) -> None:
        """Say that nothing more will come, and record until the client does likewise.

        Closing at once would do: but where the client sent what was not read, the kernel then resets the connection,
        and the client may lose what the script said last.
        """
        with contextlib.suppress(_ClientGone, _BlockLeft, OSError):
            if self._tls is not None and notify:
                # It says our close_notify, then wants to read the client's, which is not worth waiting for.
                with contextlib.suppress(ssl.SSLError):
                    self._tls.unwrap()
                self._send_raw(self._outgoing.read(), "for the client to read the close_notify")
            self._socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ssl.SSLError):
            self.read_all()

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


class ScriptedServer:
    """A server that plays the steps on the one connection it takes; see the module. A context manager."""

    def __init__(self, *steps: Step, unix_path: str | None = None, timeout: float = 10.0) -> None:
        """It will listen on a free port of loopback, or on a unix socket; `timeout` seconds bound each wait.

        Raises ValueError for a script with steps that cannot be reached.
        """
        for step in steps[:-1]:
            if isinstance(step, Close | Reset) or (isinstance(step, Tls) and step.refused):
                raise ValueError(f"nothing can follow {step!r}")
        self._steps = steps
        self._unix_path = unix_path
        self._timeout = timeout
        self._stop = threading.Event()
        self._wire: _Wire | None = None
        self._failure: BaseException | None = None
        self._port = 0
        self._thread: threading.Thread | None = None

    @property
    def host(self) -> str:
        """The address to connect to."""
        return HOST

    @property
    def port(self) -> int:
        """The port to connect to; 0 before the block, and for a unix socket."""
        return self._port

    @property
    def path(self) -> str:
        """The unix socket to connect to.

        Raises ValueError where the server is on TCP.
        """
        if self._unix_path is None:
            raise ValueError("this server listens on TCP: use host and port")
        return self._unix_path

    @property
    def received(self) -> bytes:
        """All that the client sent until now (in TLS, what it sent through it); complete after the block."""
        return b"" if self._wire is None else bytes(self._wire.received)

    @property
    def connected(self) -> bool:
        """Whether a client came."""
        return self._wire is not None

    def __enter__(self) -> Self:
        listener = self._listen()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="ScriptedServer", daemon=True)
        self._thread.start()
        return self

    def _listen(self) -> socket.socket:
        if self._unix_path is None:
            listener = socket.create_server((HOST, 0), backlog=1)
            self._port = listener.getsockname()[1]
            return listener
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(self._unix_path)
            listener.listen(1)
        except BaseException:
            listener.close()
            raise
        return listener

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._thread is not None, "a scripted server is left before it is entered"
        self._stop.set()
        self._thread.join(self._timeout + 10 * GRACE)
        if self._unix_path is not None:
            Path(self._unix_path).unlink(missing_ok=True)
        if self._thread.is_alive():
            raise AssertionError("the scripted server's thread does not end")
        if self._failure is None:
            return
        if error is None:
            raise self._failure
        # What the test says itself comes first; the script's trouble is often why.
        error.add_note(f"and the scripted server failed: {self._failure!r}")

    def _run(self, listener: socket.socket) -> None:
        try:
            self._serve(listener)
        except BaseException as error:
            self._failure = error

    def _serve(self, listener: socket.socket) -> None:
        connection = self._accept(listener)
        if connection is not None:
            with connection:
                self._wire = _Wire(connection, self._stop, self._timeout)
                self._play(self._wire)
        elif self._steps:
            raise AssertionError("no client connected to the scripted server")

    def _accept(self, listener: socket.socket) -> socket.socket | None:
        """The one connection, or None when the block ends without any."""
        with listener:
            listener.settimeout(TICK)
            while True:
                try:
                    return listener.accept()[0]
                except TimeoutError:
                    if self._stop.is_set():
                        return None

    def _play(self, wire: _Wire) -> None:
        for number, step in enumerate(self._steps):
            try:
                self._do(wire, step)
            except (_ClientGone, _BlockLeft) as end:
                awaited = next((later for later in self._steps[number:] if isinstance(later, Expect | Tls)), None)
                if awaited is None:
                    break
                how = "the client went away" if isinstance(end, _ClientGone) else "the test was over"
                raise AssertionError(f"{how} before {awaited!r}, at step {number} of the script ({step!r})") from None
            if isinstance(step, Reset):
                return
        last = self._steps[-1] if self._steps else None
        wire.finish(notify=not isinstance(last, Close) or last.notify)

    def _do(self, wire: _Wire, step: Step) -> None:
        match step:
            case Say(data):
                wire.send(data)
            case SayPieces(pieces, delay):
                for number, piece in enumerate(pieces):
                    if number:
                        wire.pause(delay)
                    wire.send(piece)
            case Expect(pattern):
                _expect(wire, pattern)
            case Tls(context, refused):
                _handshake(wire, context, refused=refused)
            case Silence():
                wire.wait_for_hangup()
            case ReadAll():
                wire.read_all()
            case Reset():
                wire.reset()
            case Close():
                # The end of the script closes in the manner that the step asks for.
                pass


def _expect(wire: _Wire, pattern: bytes) -> None:
    line = wire.read_line(f"for a line that matches {pattern!r}")
    if not line:
        raise _ClientGone
    if not line.endswith(b"\r\n") or re.fullmatch(pattern, line[:-2], re.DOTALL) is None:
        raise AssertionError(f"the client sent {line!r}, and not a line that matches {pattern!r}")


def _handshake(wire: _Wire, context: ssl.SSLContext, *, refused: bool) -> None:
    try:
        wire.start_tls(context)
    except (ssl.SSLError, _ClientGone):
        if refused:
            return
        raise
    if refused:
        raise AssertionError("the client completed a TLS handshake which it was to refuse")


@functools.cache
def closed_port() -> int:
    """A port of loopback on which nothing listens, nor will while the tests run: the same one at each call."""
    # Bound but not listening, it refuses connections, and nobody else can get it.
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    atexit.register(holder.close)
    holder.bind((HOST, 0))
    port: int = holder.getsockname()[1]
    return port
