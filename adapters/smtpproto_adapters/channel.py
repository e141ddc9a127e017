"""From what a flow needs to what a wire can do: TLS, deadlines, and the names of errors; a flow itself, without I/O.

`Channel.carry` runs a flow and passes on nothing but plain octets: `StartTls` becomes the reads and writes of the
handshake, what follows goes through it, and each wait gets what is left of its time.  So TLS is the same on every
kind of I/O, and there is one place in which plaintext could meet it.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from smtpproto import ErrorCode, NotTls, SmtpError, TransportError
from smtpproto.flows import Ask, Close, Dial, Effect, Flow, Next, Octets, Receive, Send, StartTls, Wait
from smtpproto.sasl import NO_BINDINGS
from smtpproto.values import Value, set_field

from .bindings import channel_bindings
from .translate import translate, translate_tls
from .transport import CLOSE_SECONDS, EARLY_SIZE, READ_SIZE, HalfClose, named

__all__ = ["Channel", "TlsInfo", "default_context"]

T = TypeVar("T")
R = TypeVar("R")

WRITE_SIZE = 262_144
"""Octets that are encrypted at a time."""

LINGER_SECONDS = 1.0
LINGER_OCTETS = 1_048_576
"""How long, and how much, a server goes on reading after its last word."""

_BROKEN_OFF = (GeneratorExit, KeyboardInterrupt)
"""What ends a flow in the middle: whoever runs it gives it up, or ^C comes while it runs itself."""

_RECORD_TYPES = frozenset({21, 22})
"""Alert and handshake: with what the peer's side of a TLS handshake can begin.  RFC 8446 section 5.1."""


class TlsInfo(Value):
    """What is known of the TLS below a session."""

    __match_args__ = ("version", "cipher", "certificate", "certificate_der")
    __slots__ = __match_args__

    version: str
    """As ``"TLSv1.3"``."""
    cipher: str
    certificate: Mapping[str, Any] | None
    """The peer's, as `ssl.SSLSocket.getpeercert` gives it; None where there is none, or where it was not verified."""
    certificate_der: bytes | None
    """The same as it came, also where it was not verified."""

    def __init__(
        self, version: str, cipher: str, certificate: Mapping[str, Any] | None, certificate_der: bytes | None
    ) -> None:
        set_field(self, "version", version)
        set_field(self, "cipher", cipher)
        set_field(self, "certificate", certificate)
        set_field(self, "certificate_der", certificate_der)

    def __hash__(self) -> int:
        return hash((self.version, self.cipher, self.certificate_der))

    def __repr__(self) -> str:
        return f"TlsInfo(version={self.version!r}, cipher={self.cipher!r}, certificate={self.certificate!r})"


def default_context() -> ssl.SSLContext:
    """The context of a client that was given none: it verifies the certificate and the host name, from TLS 1.2 on."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Channel:
    """What one connection is carried by.  ``peer`` is its name, for people, until a `Dial` says another."""

    def __init__(
        self,
        context: ssl.SSLContext | None,
        *,
        peer: str,
        clock: Callable[[], float],
        server_side: bool = False,
        bindings: Mapping[str, bytes] = NO_BINDINGS,
    ) -> None:
        """``bindings``: the channel bindings of a server, which `ssl` does not tell."""
        self.peer: str = peer
        self._bindings = bindings
        self._context = context
        self._clock = clock
        self._server_side = server_side
        self._tls: ssl.SSLObject | None = None
        self._receive_until = math.inf
        self._until = math.inf  # when all has to be over
        self.ending: bool = False
        """True from `end_within` on."""
        self._early = bytearray()  # what came while nobody wanted to read, below TLS
        self._ended = False  # the peer will write no more
        self._deaf = False  # the peer will read no more
        self.tls_failure: str = ""
        """Why the TLS handshake failed; empty where it did not."""

    @property
    def tls(self) -> TlsInfo | None:
        """What is known of the TLS; None without it."""
        tls = self._tls
        if tls is None:
            return None
        cipher = tls.cipher()
        return TlsInfo(
            tls.version() or "", cipher[0] if cipher else "", tls.getpeercert() or None, tls.getpeercert(True)
        )

    def carry(self, flow: Flow[T]) -> Flow[T]:
        """The same flow, for a wire.  OSErrors of the wire reach the flow as `TransportError`."""
        answer: Any = None
        error: Exception | None = None
        try:
            while True:
                effect = flow.send(answer) if error is None else flow.throw(error)
                answer = error = None
                if isinstance(effect, Ask | Next):
                    answer, error = yield from _from_program(effect)
                    continue
                try:
                    answer = yield from self._do(effect)
                except SmtpError as caught:
                    error = caught
                except (OSError, UnicodeError) as caught:
                    error = translate(caught, effect, self.peer)
                if error is not None and isinstance(effect, StartTls):
                    self.tls_failure = str(error)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            error = None  # it holds this frame
            flow.close()

    def _do(self, effect: Effect) -> Flow[Any]:
        match effect:
            case Receive():
                return (yield from self._receive(effect))
            case Send():
                yield from self._send(effect)
            case Dial(_, host, port, path):
                self.peer = named((host, port) if path is None else path)
                return (yield effect)
            case StartTls(timeout, host_name):
                yield from self._start_tls(host_name, self._after(timeout))
                return self._channel_bindings()
            case Wait(timeout):
                yield from self._wait(self._after(timeout))
            case Close():
                yield from self._close()
            case _:
                return (yield effect)
        return None

    @property
    def can_write(self) -> bool:
        """False where the peer will read no more, or where a write was broken off, and nothing may follow its half."""
        return not self._deaf

    def end_within(self, seconds: float) -> None:
        """Whatever is waited for from now on takes no longer than that in all."""
        self._until = self._clock() + seconds
        self.ending = True

    # Deadlines -----------------------------------------------------------------------------------------------------

    def _after(self, timeout: float | None) -> float:
        return self._until if timeout is None else min(self._clock() + timeout, self._until)

    def _left(self, deadline: float) -> float | None:
        return None if deadline == math.inf else max(0.0, deadline - self._clock())

    # What a flow needs ---------------------------------------------------------------------------------------------

    def _send(self, effect: Send) -> Flow[None]:
        if self._deaf:
            raise ConnectionAbortedError("it reads no more")
        try:
            if self._tls is None:
                yield Send(effect.data, self._left(self._after(effect.timeout))) if self.ending else effect
            else:
                yield from self._encrypt(self._tls, effect.data, self._after(effect.timeout))
        except ConnectionError:
            # A peer that refuses and closes may reset what is written behind its last word.  That word is worth more
            # than the error, so this is held back until the flow has read it, or writes again.
            self._deaf = True
        except (OSError, *_BROKEN_OFF):
            self._deaf = True  # a part was written, perhaps, and nothing may follow it
            raise

    def _encrypt(self, tls: ssl.SSLObject, data: Octets, deadline: float) -> Flow[None]:
        view = memoryview(data)
        while view:
            piece = view[:WRITE_SIZE]
            written = yield from self._through_tls(partial(tls.write, piece), deadline)
            view = view[written:]

    def _receive(self, effect: Receive) -> Flow[bytes]:
        if not effect.continued:
            self._receive_until = self._after(effect.timeout)
        tls = self._tls
        if tls is None:
            if effect.continued or self._early or self.ending:
                return (yield from self._read(self._receive_until))
            return (yield from self._read_now(effect))
        try:
            return (yield from self._through_tls(lambda: tls.read(READ_SIZE), self._receive_until))
        except ssl.SSLZeroReturnError:
            self._ended = True
            return b""
        except ssl.SSLEOFError:
            # Without its close_notify; the engine knows a reply that was cut off when it sees one.
            return b""

    def _wait(self, deadline: float) -> Flow[None]:
        """Let the time pass.  A read notices when the peer goes, or the server is shut down; what it reads is kept."""
        early = self._early
        while not self._ended and self._clock() < deadline:
            try:
                early += yield from self._read_now(Receive(self._left(deadline)))
            except TimeoutError:
                return
            if len(early) > EARLY_SIZE:
                raise ConnectionAbortedError("it sends more and more, although it has to wait for an answer")

    def _read(self, deadline: float) -> Flow[bytes]:
        if self._early:
            data = bytes(self._early)
            self._early.clear()
            return data
        return (yield from self._read_now(Receive(self._left(deadline))))

    def _read_now(self, effect: Receive) -> Flow[bytes]:
        try:
            data: bytes = yield effect
        except ConnectionError:
            self._ended = True
            if not self._deaf:
                raise
            return b""
        self._ended = not data
        return data

    def _close(self) -> Flow[None]:
        with suppress(OSError, SmtpError):  # it is over in any case
            yield from self._say_goodbye(self._after(CLOSE_SECONDS))
        yield Close()

    def _say_goodbye(self, deadline: float) -> Flow[None]:
        if self._deaf:
            return
        if self._tls is not None:
            with suppress(ssl.SSLError):  # it wants the peer's close_notify too, which is not worth waiting for
                self._tls.unwrap()
            yield from self._flush(deadline)
        if self._server_side:
            yield from self._linger()

    def _linger(self) -> Flow[None]:
        """Closing what was not read is a reset, which would take our last word from a client that still writes."""
        yield HalfClose()
        until = self._after(LINGER_SECONDS)
        left = LINGER_OCTETS
        while not self._ended and left > 0:
            left -= len((yield from self._read(until)))

    # TLS -----------------------------------------------------------------------------------------------------------

    def _start_tls(self, host_name: str | None, deadline: float) -> Flow[None]:
        context = self._context if self._context is not None else default_context()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            tls = context.wrap_bio(
                self._incoming,
                self._outgoing,
                server_side=self._server_side,
                # A name may be written with the dot of the root; one in a certificate has none.
                server_hostname=None if host_name is None else host_name.removesuffix("."),
            )
        except (ValueError, ssl.SSLError) as error:
            message = f"TLS with {self.peer} cannot begin: {error}"
            raise TransportError(message, ErrorCode.INVALID_ARGUMENT) from error
        try:
            yield from self._through_tls(tls.do_handshake, deadline, self._check_first)
            self._tls = tls
        except ssl.SSLEOFError:
            raise TransportError(
                f"{self.peer} closed the connection in the TLS handshake", ErrorCode.CLOSED_BY_PEER
            ) from None
        except _BROKEN_OFF:
            self._deaf = True  # neither plaintext nor TLS can follow half a handshake
            raise

    def _channel_bindings(self) -> Mapping[str, bytes]:
        assert self._tls is not None
        return self._bindings if self._server_side else channel_bindings(self._tls.getpeercert(True))

    def _check_first(self, data: bytes) -> None:
        if data[0] not in _RECORD_TYPES:
            raise NotTls(f"{self.peer} speaks plaintext where TLS is due")

    def _through_tls(
        self, operation: Callable[[], R], deadline: float, check: Callable[[bytes], None] | None = None
    ) -> Flow[R]:
        """Do it as soon as enough has come from the peer.  Raises ssl.SSLEOFError where nothing more comes."""
        fed = False
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                yield from self._flush(deadline)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                raise
            except ssl.SSLError as error:
                yield from self._tell_why(deadline)
                raise translate_tls(error, self.peer) from error
            else:
                yield from self._flush(deadline)
                return result
            if fed and self._clock() > deadline:
                raise TimeoutError  # a peer that always has more, and never what is waited for
            data = yield from self._read(deadline)
            fed = True
            if not data:
                raise ssl.SSLEOFError
            if check is not None:
                check(data)
                check = None
            self._incoming.write(data)

    def _flush(self, deadline: float) -> Flow[None]:
        data = self._outgoing.read()
        if data:
            yield Send(data, self._left(deadline))

    def _tell_why(self, deadline: float) -> Flow[None]:
        """Write the alert that says what was wrong, if the peer still listens."""
        with suppress(OSError):
            yield from self._flush(deadline)


def _from_program(effect: Ask | Next) -> Flow[tuple[Any, Exception | None]]:
    """What the program says, or its own failure.  A file of its own that cannot be read is no fault of the peer's."""
    try:
        return (yield effect), None
    except Exception as error:
        return None, error
