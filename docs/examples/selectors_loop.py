"""Ten SMTP connections at once, in one thread: a loop of ``selectors``, and the library's flows.

    python selectors_loop.py smtp://127.0.0.1:2525

A loop of one's own has to do what a flow asks for, and to wait for many of them together.  TLS and deadlines are those
of `Channel`, so that what is left is to dial, write, read and close octets.
"""

from __future__ import annotations

import errno
import math
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from smtpproto import AddressLiteral, ConnectOptions, Connector, Envelope, Fate, flows
from smtpproto_adapters.channel import Channel

if TYPE_CHECKING:
    import ssl

    from smtpproto import DeliveryResult

T = TypeVar("T")
EARLY = 1_048_576
"""Octets that are read at most while a write has to wait."""


class Task(Generic[T]):
    """One flow, its socket, and what it waits for."""

    def __init__(self, flow: flows.Flow[T], selector: selectors.BaseSelector) -> None:
        self.flow = flow
        self.selector = selector
        self.effect: flows.Effect | None = None  # None: it has ended, or not begun
        self.until = math.inf
        self.result: T | Exception | None = None
        self.socket: socket.socket | None = None
        self.addresses: list[Any] = []
        self.unsent = memoryview(b"")
        self.early = bytearray()
        self.reading = True

    def resume(self, answer: object = None, error: Exception | None = None) -> None:
        """Let the flow go on, up to the next effect that has to be waited for."""
        while True:
            try:
                self.effect = self.flow.send(answer) if error is None else self.flow.throw(error)
            except StopIteration as stop:
                return self.end(cast("T", stop.value))
            except Exception as failure:
                return self.end(failure)
            answer = error = None
            self.until = math.inf if self.effect.timeout is None else time.monotonic() + self.effect.timeout
            if isinstance(self.effect, flows.Send):
                self.unsent, self.reading = memoryview(self.effect.data), True
            try:
                answer = self.attempt()
            except BlockingIOError:
                return self.wait()
            except (OSError, UnicodeError) as caught:
                error = caught

    def ready(self) -> None:
        """The socket is ready: what had to wait is tried again."""
        try:
            answer = self.attempt()
        except BlockingIOError:
            self.wait()
        except OSError as caught:
            self.stop_waiting()
            self.resume(error=caught)
        else:
            self.stop_waiting()
            self.resume(answer)

    def timed_out(self) -> None:
        self.stop_waiting()
        self.resume(error=TimeoutError())

    def attempt(self) -> object:
        """Do what the flow asks for; BlockingIOError where that has to wait."""
        match self.effect:
            case flows.Dial(_, host, port, None):
                return self.dial(host, port)
            case flows.Send():
                self.send(self.connected())
            case flows.Receive():
                data = bytes(self.early)
                self.early.clear()
                return data or self.connected().recv(65536)
            case flows.Close():
                self.close()
            case effect:
                raise OSError(f"{effect!r} is nothing that this loop can do")
        return None

    def dial(self, host: str, port: int) -> AddressLiteral:
        """Each address of the host in turn."""
        if self.socket is None:  # the name is looked up by the system, which blocks: a real loop asks a thread
            self.addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            code = self.dial_next()
        else:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        while code:
            if code == errno.EINPROGRESS:
                raise BlockingIOError
            if not self.addresses:
                raise OSError(code, os.strerror(code))
            self.stop_waiting()
            code = self.dial_next()
        return AddressLiteral.of(self.connected().getsockname()[0])

    def dial_next(self) -> int:
        self.close()
        family, _, _, _, address = self.addresses.pop(0)
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        return self.socket.connect_ex(address)

    def send(self, stream: socket.socket) -> None:
        """Write all of it.  Meanwhile it reads: a server may take nothing more until its replies are taken."""
        while self.unsent:
            try:
                self.unsent = self.unsent[stream.send(self.unsent) :]
            except BlockingIOError:
                if self.reading:
                    data = stream.recv(65536)
                    self.early += data
                    self.reading = bool(data) and len(self.early) < EARLY
                raise

    def wait(self) -> None:
        wanted = selectors.EVENT_READ if isinstance(self.effect, flows.Receive) else selectors.EVENT_WRITE
        if isinstance(self.effect, flows.Send) and self.reading:
            wanted |= selectors.EVENT_READ
        self.stop_waiting()
        self.selector.register(self.connected(), wanted, self)

    def stop_waiting(self) -> None:
        if self.socket is not None and self.socket in self.selector.get_map():
            self.selector.unregister(self.socket)

    def connected(self) -> socket.socket:
        if self.socket is None:
            raise ConnectionAbortedError("it is closed")
        return self.socket

    def close(self) -> None:
        if self.socket is not None:
            self.stop_waiting()
            self.socket.close()
            self.socket = None

    def end(self, result: T | Exception) -> None:
        self.result, self.effect = result, None
        self.close()


def run(conversations: Iterable[flows.Flow[T]]) -> list[T | Exception]:
    """Run all of them at once; what each returns, or the exception that ended it."""
    with selectors.DefaultSelector() as selector:
        tasks = [Task(flow, selector) for flow in conversations]
        try:
            for task in tasks:
                task.resume()
            while waiting := [task for task in tasks if task.effect is not None]:
                first = min(task.until for task in waiting)
                for key, _ in selector.select(None if first == math.inf else max(0, first - time.monotonic())):
                    key.data.ready()
                now = time.monotonic()
                for task in waiting:
                    if task.effect is not None and task.until <= now:
                        task.timed_out()
        finally:
            for task in tasks:  # a flow that is given up has to be closed
                task.flow.close()
                task.close()
    return [cast("T | Exception", task.result) for task in tasks]


def send_one(
    options: ConnectOptions, envelope: Envelope, content: bytes, context: ssl.SSLContext | None = None
) -> flows.Flow[DeliveryResult]:
    """A whole session, as one flow: connect, with TLS and authentication as the options say, deliver, and leave."""
    connector = Connector(options)

    def conversation() -> flows.Flow[DeliveryResult]:
        yield from flows.connect(connector)
        result = yield from flows.deliver(connector.connection, envelope, flows.Whole(content))
        yield from flows.quit(connector.connection)
        return result

    return Channel(context, peer="the server", clock=time.monotonic).carry(conversation())


def main(url: str) -> int:
    """Send ten messages; the exit status."""
    options = ConnectOptions.from_url(url)
    results = run(
        send_one(options, Envelope("me@me.example", f"user{n}@mx.example"), b"Subject: %d\r\n\r\nHello!\r\n" % n)
        for n in range(10)
    )
    for result in results:
        print(result if isinstance(result, Exception) else result.recipients[0])
    return int(any(isinstance(result, Exception) or result.fate is not Fate.ACCEPTED for result in results))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
