"""aiosmtpd: its protocol, with a transport whose client sends the next before the write of the reply returns.

So no trip through the event loop counts, of which it needs one for each group of commands; and neither does making the
server, of which it needs one for each connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP

from tests.bench.workloads import CLIENT, SENDER, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.harness import Run
    from tests.bench.workloads import Session

_loop = asyncio.new_event_loop()
_used: list[FeedingTransport] = []
"""What has been run, and is to be closed when the clock does not run."""


class Handler:
    """Keeps the content."""

    content = b""

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802
        self.content = envelope.content
        return "250 2.0.0 OK"


class FeedingTransport(asyncio.Transport):
    """Feeds the next octets as soon as so many replies have been written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 4242)})
        self.handler = Handler()
        self.closed = False
        self.replies = 0
        self.until = 1
        self.done: asyncio.Future[None] = _loop.create_future()
        self.then: list[tuple[int, bytes]] = []
        """How many replies there have to be, and what is fed then; last first."""
        self.server: Any = SMTP(self.handler, loop=_loop, hostname="mx.example", ident="ESMTP")
        self.server.connection_made(self)

    def write(self, data: Any) -> None:
        if data[3:4] == b"-":
            return
        self.replies += 1
        if self.replies == self.until:
            self.done.set_result(None)
        elif self.then and self.then[-1][0] == self.replies:
            self.server.data_received(self.then.pop()[1])

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def talk(self, first: Sequence[bytes], then: Sequence[tuple[int, bytes]], until: int) -> None:
        """Feed this, then that, and go on until there are so many replies."""
        self.then = list(reversed(then))
        self.until = until
        self.done = _loop.create_future()
        for piece in first:
            self.server.data_received(piece)
        _loop.run_until_complete(self.done)


def connected() -> FeedingTransport:
    _close_used()
    transport = FeedingTransport()
    _loop.run_until_complete(transport.done)
    return transport


def _close_used() -> None:
    if _used:
        for transport in _used:
            transport.server.connection_lost(None)
        _used.clear()
        _loop.run_until_complete(asyncio.sleep(0))


def server_session(session: Session) -> Run:
    transport = connected()
    ehlo, envelope, content, leave = session.groups
    answered = 4 + len(session.recipients)
    then = ((2, envelope), (answered, content), (answered + 1, leave))

    def run() -> bytes:
        transport.talk([ehlo], then, answered + 2)
        _used.append(transport)
        return transport.handler.content

    return run


def unstuff(stuffed: bytes) -> Run:
    transport = connected()
    envelope = f"EHLO {CLIENT}\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<recipient@mx.example>\r\nDATA\r\n"
    transport.talk([envelope.encode()], (), 5)
    received = pieces(stuffed)

    def run() -> bytes:
        transport.talk(received, (), 6)
        _used.append(transport)
        return transport.handler.content

    return run
