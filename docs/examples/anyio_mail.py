"""Ten messages at once with anyio, and so in either of its event loops, asyncio and trio.

    python anyio_mail.py smtp://127.0.0.1:2525 trio

`run_async` does what a flow asks for by a *wire*: an object that dials, writes, reads and closes octets.  TLS is that
of `Channel`, on every kind of wire, so that this one is a plain stream.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute

from smtpproto import ConnectOptions, Connector, Envelope, Fate, SmtpError, flows
from smtpproto_adapters.channel import Channel
from smtpproto_adapters.transport import READ_SIZE, Early, literal_of, run_async

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator, Iterable

    from anyio.abc import SocketStream

    from smtpproto import AddressLiteral, DeliveryResult


class Wire:
    """A stream of anyio.  Whatever fails is an OSError, and what takes too long its subclass TimeoutError."""

    def __init__(self) -> None:
        self._stream: SocketStream | None = None
        self._early = Early()

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    async def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        await self.abort()
        with within(timeout):  # anyio tries several addresses side by side (RFC 8305)
            self._stream = await anyio.connect_tcp(host, port) if path is None else await anyio.connect_unix(path)
        return literal_of(self._stream.extra(SocketAttribute.local_address))

    async def send(self, data: flows.Octets, timeout: float | None) -> None:
        """Write all of it, and read meanwhile: a server may take nothing more until its replies are taken."""
        stream = self._connected()
        failure: Exception | None = None
        with within(timeout):
            async with anyio.create_task_group() as group:
                group.start_soon(self._take_in, stream)
                try:
                    await stream.send(bytes(data))
                except Exception as error:
                    failure = error  # raised below, and not in the group that anyio makes of it
                group.cancel_scope.cancel()
            if failure is not None:
                raise failure

    async def _take_in(self, stream: SocketStream) -> None:
        """Read before it is asked for.  What ends that, the write or the next read finds too."""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while self._early.room:
                self._early.add(await stream.receive(self._early.room))

    async def receive(self, timeout: float | None) -> bytes:
        if self._early:
            return self._early.take()
        with within(timeout):
            try:
                return await self._connected().receive(READ_SIZE)
            except anyio.EndOfStream:
                return b""

    async def half_close(self) -> None:
        with within(None):
            await self._connected().send_eof()

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with anyio.move_on_after(1):
                await stream.aclose()

    async def abort(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await anyio.aclose_forcefully(stream)

    def _connected(self) -> SocketStream:
        if self._stream is None:
            raise ConnectionAbortedError("it is closed")
        return self._stream


@contextlib.contextmanager
def within(timeout: float | None) -> Generator[None]:
    """What takes longer is a TimeoutError; what anyio says of a broken stream is an OSError, as elsewhere."""
    try:
        with anyio.fail_after(timeout):
            yield
    except anyio.BrokenResourceError as error:
        raise error.__cause__ if isinstance(error.__cause__, OSError) else ConnectionResetError(str(error)) from None
    except anyio.ClosedResourceError:
        raise ConnectionAbortedError("it is closed") from None


async def send_one(
    options: ConnectOptions, envelope: Envelope, content: bytes, context: ssl.SSLContext | None = None
) -> DeliveryResult:
    """A whole session: connect, with TLS and authentication as the options say, deliver, and leave."""
    connector = Connector(options)

    def conversation() -> flows.Flow[DeliveryResult]:
        yield from flows.connect(connector)
        result = yield from flows.deliver(connector.connection, envelope, flows.Whole(content))
        yield from flows.quit(connector.connection)
        return result

    wire = Wire()
    try:
        return await run_async(wire, Channel(context, peer="the server", clock=time.monotonic).carry(conversation()))
    finally:
        await wire.abort()  # where it was cancelled, or failed; otherwise it is closed already


async def send_all(
    options: ConnectOptions, letters: Iterable[tuple[Envelope, bytes]], context: ssl.SSLContext | None = None
) -> list[DeliveryResult | SmtpError]:
    """All of them at once, over a connection each; the results in the order of the letters."""
    results: dict[int, DeliveryResult | SmtpError] = {}

    async def send(number: int, envelope: Envelope, content: bytes) -> None:
        try:
            results[number] = await send_one(options, envelope, content, context)
        except SmtpError as error:  # it must not cancel the others
            results[number] = error

    async with anyio.create_task_group() as group:
        for number, (envelope, content) in enumerate(letters):
            group.start_soon(send, number, envelope, content)
    return [results[number] for number in sorted(results)]


def main(url: str, backend: str = "asyncio") -> int:
    """Send ten messages; the exit status."""
    letters = [
        (Envelope("me@me.example", f"user{n}@mx.example"), b"Subject: %d\r\n\r\nHello!\r\n" % n) for n in range(10)
    ]
    results = anyio.run(send_all, ConnectOptions.from_url(url), letters, backend=backend)
    for result in results:
        print(result if isinstance(result, SmtpError) else result.recipients[0])
    return int(any(isinstance(result, SmtpError) or result.fate is not Fate.ACCEPTED for result in results))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
