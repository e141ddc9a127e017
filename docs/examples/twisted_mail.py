"""Ten messages at once with Twisted: a protocol that carries flows, and a Deferred for what becomes of each message.

    python twisted_mail.py smtp://127.0.0.1:2525

`run_async` does what a flow asks for by a *wire*: an object that dials, writes, reads and closes octets.  It knows
nothing of asyncio, and a Deferred can be awaited, so that it runs in a reactor as well.  TLS is that of `Channel`, on
every kind of wire: there is no need for pyOpenSSL.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from smtpproto import ConnectOptions, Connector, Envelope, Fate, flows
from smtpproto_adapters.channel import Channel
from smtpproto_adapters.transport import Early, literal_of, run_async

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from smtpproto import AddressLiteral, DeliveryResult


class Wire(Protocol):
    """A connection.  Whatever fails is an OSError, and what takes too long its subclass TimeoutError.

    The reactor reads whether or not anybody waits for it, so that a server can always get rid of its replies; what has
    come is kept, up to a limit.  A write has to wait while the transport says that it has enough to write: to that end
    the protocol is the push producer of what is written, too.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._came = Early()
        self._lost: BaseException | None = None
        self._full = False
        self._waiting: Deferred[None] | None = None

    # What the reactor says -------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self._connected().registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._came.add(data)
        if not self._came.room:
            self._connected().pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = reason.value
        self._wake()

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        self._wake()

    def stopProducing(self) -> None:
        pass  # connectionLost says so, too

    # What a flow wants -----------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self.transport is not None and self._lost is None

    async def dial(self, host: str, port: int, path: str | None, timeout: Any) -> AddressLiteral | None:
        if path is None:  # it tries several addresses side by side (RFC 8305)
            endpoint: Any = HostnameEndpoint(self._reactor, host, port, timeout=timeout)
        else:
            endpoint = UNIXClientEndpoint(self._reactor, path, timeout=timeout)
        connecting: Deferred[Any] = connectProtocol(endpoint, self)
        if timeout is not None:
            connecting.addTimeout(timeout, self._reactor)
        try:
            await connecting
        except TimedOut:
            raise TimeoutError from None
        except error.DNSLookupError as failure:
            raise socket.gaierror(socket.EAI_NONAME, str(failure)) from None
        except error.ConnectError as failure:
            raise OSError(failure.osError, str(failure)) from None
        here = self._connected().getHost()
        return literal_of((here.host, here.port)) if path is None else None

    async def send(self, data: flows.Octets, timeout: float | None) -> None:
        self._connected().write(bytes(data))
        await self._until(lambda: not self._full, timeout)
        self._connected()

    async def receive(self, timeout: float | None) -> bytes:
        await self._until(lambda: bool(self._came), timeout)
        if self._came:
            self._resume_reading()
            return self._came.take()
        if isinstance(self._lost, error.ConnectionDone):
            return b""
        raise ConnectionResetError(str(self._lost))

    async def half_close(self) -> None:
        self._connected().loseWriteConnection()

    async def close(self) -> None:
        if self.is_open:
            self._connected().loseConnection()  # when all is written
            try:
                await self._until(lambda: False, 1)
            except TimeoutError:
                await self.abort()

    async def abort(self) -> None:
        if self.is_open:
            self._connected().abortConnection()

    def _connected(self) -> Any:
        if not self.is_open:
            raise ConnectionResetError("it is closed" if self._lost is None else str(self._lost))
        return self.transport

    def _resume_reading(self) -> None:
        if not self._came.room and self.is_open:
            self._connected().resumeProducing()

    async def _until(self, condition: Callable[[], bool], timeout: float | None) -> None:
        """Wait until it holds, or the connection is lost."""
        until = None if timeout is None else self._reactor.seconds() + timeout
        while not condition() and self._lost is None:
            self._waiting = Deferred()
            if until is not None:
                self._waiting.addTimeout(max(0, until - self._reactor.seconds()), self._reactor)
            try:
                await self._waiting
            except TimedOut:
                raise TimeoutError from None
            finally:
                self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)


def send_one(
    reactor: Any, options: ConnectOptions, envelope: Envelope, content: bytes, context: ssl.SSLContext | None = None
) -> Deferred[DeliveryResult]:
    """A whole session: connect, with TLS and authentication as the options say, deliver, and leave.

    What fails is an `SmtpError`.  To cancel it is to break the connection off.
    """
    connector, wire = Connector(options), Wire(reactor)

    def conversation() -> flows.Flow[DeliveryResult]:
        yield from flows.connect(connector)
        result = yield from flows.deliver(connector.connection, envelope, flows.Whole(content))
        yield from flows.quit(connector.connection)
        return result

    async def carried() -> DeliveryResult:
        try:
            return await run_async(
                wire, Channel(context, peer="the server", clock=reactor.seconds).carry(conversation())
            )
        finally:
            await wire.abort()

    return Deferred.fromCoroutine(carried())


async def main(reactor: Any, url: str) -> None:
    """Send ten messages at once."""
    options = ConnectOptions.from_url(url)
    envelopes = [Envelope("me@me.example", f"user{n}@mx.example") for n in range(10)]
    content = b"Subject: hello\r\n\r\nHow are you?\r\n"
    sending = DeferredList([send_one(reactor, options, each, content) for each in envelopes], consumeErrors=True)
    accepted = 0
    for _, result in await sending:
        print(result.value if isinstance(result, Failure) else result.recipients[0])
        accepted += not isinstance(result, Failure) and result.fate is Fate.ACCEPTED
    if accepted < len(envelopes):
        raise SystemExit(1)


if __name__ == "__main__":
    react(main, sys.argv[1:])
