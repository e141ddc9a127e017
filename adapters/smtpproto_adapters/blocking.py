"""Blocking sockets: a client, and a server with a thread for each connection.

A name is looked up by the system, which takes the time that it takes: no timeout ends that.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from smtpproto import (
    AddressLiteral,
    Command,
    Connected,
    ConnectFailed,
    DeliveryResult,
    Envelope,
    ErrorCode,
    Reply,
)
from smtpproto.flows import Flow, Octets, Progress, ShutDown

from .client import ClientCore, Mechanisms, Messages, Recipients, Sender, Token
from .deliveries import Deliveries
from .sources import Content
from .transport import READ_SIZE, Early, literal_of, no_address, ready, run

if TYPE_CHECKING:
    from .blocking_server import Server, serve
    from .message import Encoder, Part

__all__ = ["Client", "Server", "Wire", "serve"]

T = TypeVar("T")


class Wire:
    """A socket.  ``given`` is one that is connected already, and is used by the first `dial`."""

    def __init__(self, given: socket.socket | None = None) -> None:
        self._given = given
        self._socket: socket.socket | None = None
        self._early = Early()
        self._shutting_down = False

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """The wire of a socket that is connected already."""
        wire = cls()
        wire._socket = sock
        return wire

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        given, self._given = self._given, None
        self.close()
        if given is not None:
            self._socket = given
        elif path is not None:
            self._socket = _connected(socket.AF_UNIX, path, timeout)
        else:
            self._socket = _connected_to_any(host, port, timeout)
        return literal_of(self._socket.getsockname())

    def send(self, data: Octets, timeout: float | None) -> None:
        sock = self._within(0)
        try:
            sent = sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._send_rest(sock, data, sent, timeout)

    def _send_rest(self, sock: socket.socket, data: Octets, sent: int, timeout: float | None) -> None:
        """Write what the system did not take at once, and read meanwhile."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        reading = True
        with memoryview(data) as view:
            while sent < len(view):
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                readable, writable = ready(sock.fileno(), left, read=reading and self._early.room > 0, write=True)
                with contextlib.suppress(BlockingIOError):
                    if readable:
                        reading = self._take_in(sock)
                    if writable:
                        sent += sock.send(view[sent:])

    def _take_in(self, sock: socket.socket) -> bool:
        """Read before it is asked for; False at the end of the stream, which the next read finds again."""
        data = sock.recv(min(READ_SIZE, self._early.room))
        self._early.add(data)
        return bool(data)

    def receive(self, timeout: float | None) -> bytes:
        data = b"" if self._shutting_down else self._early.take() or self._within(timeout).recv(READ_SIZE)
        if self._shutting_down:
            raise ShutDown
        return data

    def half_close(self) -> None:
        self._within(None).shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for sock in (self._socket, self._given):
            if sock is not None:
                sock.close()
        self._socket = self._given = None
        self._early.take()

    def cut(self) -> None:
        """End it at once; another thread that reads or writes is woken, and finds it ended."""
        self._shut(socket.SHUT_RDWR)

    def shut_down(self) -> None:
        """Let the flow, which another thread runs, come to its end as soon as it waits."""
        self._shutting_down = True
        self._shut(socket.SHUT_RD)

    def _within(self, timeout: float | None) -> socket.socket:
        sock = self._socket
        if sock is None:
            raise ConnectionAbortedError("it was closed by this side")
        sock.settimeout(timeout)
        return sock

    def _shut(self, how: int) -> None:
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(how)


def _connected_to_any(host: str, port: int, timeout: float | None) -> socket.socket:
    """Each address in turn; a share of the time for each."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    until = None if timeout is None else time.monotonic() + timeout
    errors: list[OSError] = []
    for number, (family, _, _, _, address) in enumerate(addresses):
        share = None if until is None else max(0.0, until - time.monotonic()) / (len(addresses) - number)
        try:
            return _connected(family, address, share)
        except OSError as error:
            errors.append(error)
    raise no_address(errors)


def _connected(family: int, address: Any, timeout: float | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
        if family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


class Client(ClientCore[socket.socket, Wire]):
    __doc__ = ClientCore.__doc__

    def _new_wire(self, stream: socket.socket | None) -> Wire:
        return Wire(stream)

    def _now(self) -> float:
        return time.monotonic()

    def _run(self, flow: Flow[T]) -> T:
        self._begin()
        try:
            return run(self._wire, flow)
        except BaseException as error:
            if not self._survives(error):
                self._part(error)
            raise
        finally:
            self._busy.release()

    def _part(self, error: BaseException) -> None:
        """Close the connection after what has broken it off, with a farewell where there is time."""
        try:
            if self._may_leave(error):
                with contextlib.suppress(Exception):  # the program's own, of on_event say: the first error counts
                    run(self._wire, self._leaving())
        finally:
            self.abort()

    def connect(self) -> Connected:
        """Connect as the options say.  Raises `ConnectFailed`, with nothing left open."""
        return self._run(self._connecting())

    def connect_ex(self) -> ErrorCode:
        """As `connect`, but returns how it ended; `failure` has the details."""
        try:
            self.connect()
        except ConnectFailed as failure:
            return failure.code
        return ErrorCode.SUCCESS

    def authenticate(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        token: Token | None = None,
        mechanisms: Mechanisms | None = None,
        authorization_id: str = "",
    ) -> Reply:
        """Authenticate, with what is in the options where nothing else is given.  Raises `AuthenticationFailed`."""
        return self._run(self._authenticating(username, password, token, mechanisms, authorization_id))

    def command(self, command: Command) -> Reply:
        """Send one command; its reply, also where that is a refusal.

        Raises `LocalProtocolError` where it may not be sent now (nothing has changed then), `RemoteProtocolError` and
        `TransportError`, which end the connection.
        """
        return self._run(self._commanding(command))

    def noop(self) -> Reply:
        """NOOP.  RFC 5321 section 4.1.1.9."""
        return self._run(self._doing_nothing())

    def reset(self) -> Reply:
        """RSET.  RFC 5321 section 4.1.1.5."""
        return self._run(self._resetting())

    def verify(self, text: str) -> Reply:
        """VRFY: is this a user, or a mailbox?  RFC 5321 section 4.1.1.6."""
        return self._run(self._verifying(text))

    def expand(self, text: str) -> Reply:
        """EXPN: who is on this list?  RFC 5321 section 4.1.1.7."""
        return self._run(self._expanding(text))

    def help(self, topic: str = "") -> Reply:
        """HELP.  RFC 5321 section 4.1.1.8."""
        return self._run(self._helping(topic))

    def deliver(
        self,
        envelope: Envelope,
        content: Content,
        *,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
    ) -> DeliveryResult:
        """Send one message, in as few round trips as the server allows; what became of it for each recipient.

        ``content``: bytes, a file open for reading octets, or an iterable of bytes.  Its line ends become
        CRLF.  ``chunking``: with BDAT (True), DATA (False), or BDAT where it saves a round trip (None).
        ``on_progress``: is called with the octets sent so far, and how many there are, None where nobody knows.

        A refusal is a result, not an exception; so is a connection that breaks (see `DeliveryResult.error`).  Raises
        `LocalProtocolError` where the message cannot be sent over this connection, such as one that is larger than the
        server takes; and what reading the content raises.  It is not sent then.
        """
        return self._run(self._delivering(envelope, content, chunking, on_progress))

    def sendmail(
        self,
        sender: Sender,
        recipients: Recipients,
        content: Content,
        *,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
        **parameters: Any,
    ) -> DeliveryResult:
        """As `deliver`, for an `Envelope` of these; further arguments are parameters of MAIL."""
        envelope = Envelope(sender, recipients, **parameters)
        return self._run(self._delivering(envelope, content, chunking, on_progress))

    def send_message(
        self,
        message: Part,
        sender: Sender | None = None,
        recipients: Recipients | None = None,
        *,
        encode_domain: Encoder | None = None,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
        **parameters: Any,
    ) -> DeliveryResult:
        """As `deliver`, for an ``email.message.EmailMessage``: by its header, unless told otherwise, and without Bcc.

        What the server does not take is encoded; see `smtpproto_adapters.message.prepare`.
        """
        return self._run(
            self._delivering_message(message, sender, recipients, encode_domain, chunking, on_progress, parameters)
        )

    def send_many(self, messages: Messages, *, chunking: bool | None = None) -> Deliveries:
        """Send many messages, overlapped; the results are iterated over, in the order of the messages.

        ``messages``: an iterable of pairs of an `Envelope` and its content (see `deliver`).
        Every message gets a result; one that cannot be sent over this connection, or whose content cannot be read, has
        the reason in `DeliveryResult.error`, and so have all behind the one at which the connection broke.
        """
        return Deliveries(self._run, self._delivering_many(messages, chunking))

    def disconnect(self) -> None:
        """QUIT, and close; a server that has gone already is no error, nor is a client that was not connected."""
        self._run(self._disconnecting())

    def abort(self) -> None:
        """Close the connection at once, without a word; also while another thread waits in it."""
        self._wire.cut()
        self._wire.close()

    def __enter__(self) -> Self:
        if not self.is_connected:
            self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.disconnect()
            elif self._may_leave(error):
                with contextlib.suppress(Exception):
                    self._run(self._leaving())
        finally:
            self.abort()


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The server, when it is first asked for: a client need not wait for logging and the email package."""
        if name not in ("Server", "serve"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .blocking_server import Server

        return Server
