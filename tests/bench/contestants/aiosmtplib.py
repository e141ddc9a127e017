"""aiosmtplib: its protocol, with a transport that answers at once, so that no trip through the event loop counts."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from aiosmtplib.esmtp import parse_esmtp_extensions
from aiosmtplib.protocol import SMTPProtocol

from tests.bench.workloads import CLIENT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from tests.bench.harness import Run
    from tests.bench.workloads import Replies, Session

_loop = asyncio.new_event_loop()


class AnsweringTransport(asyncio.Transport):
    """Each write is answered before it returns."""

    def __init__(self, protocol: SMTPProtocol, replies: Iterable[bytes]) -> None:
        super().__init__()
        self.protocol = protocol
        self.replies = deque(replies)
        self.sent = 0

    def write(self, data: Any) -> None:
        self.sent += len(data)
        self.protocol.data_received(self.replies.popleft())

    def is_closing(self) -> bool:
        return False


def connected(replies: Iterable[bytes]) -> tuple[SMTPProtocol, AnsweringTransport]:
    async def connect() -> tuple[SMTPProtocol, AnsweringTransport]:
        protocol = SMTPProtocol(loop=_loop)
        transport = AnsweringTransport(protocol, replies)
        protocol.connection_made(transport)
        return protocol, transport

    return _loop.run_until_complete(connect())


def _runner(work: Callable[[], Coroutine[Any, Any, object]]) -> Run:
    return lambda: _loop.run_until_complete(work())


def single_replies(replies: Replies) -> Run:
    """It is told behind its back, before each reply, that a command was sent: so sending does not count here either."""
    protocol: Any = connected(())[0]

    async def work() -> object:
        response = None
        for reply in replies.each:
            protocol._response_pending = True
            protocol.data_received(reply)
            response = await protocol.read_response()
        return response

    return _runner(work)


def ehlo(reply: bytes) -> Run:
    protocol, _ = connected([reply])

    async def work() -> object:
        response = await protocol.execute_command(b"EHLO", CLIENT.encode())
        return parse_esmtp_extensions(response.message)

    return _runner(work)


def session(session: Session) -> Run:
    greeting, *replies = session.replies
    protocol, transport = connected(replies)

    async def work() -> int:
        protocol.data_received(greeting)
        await protocol.read_response()
        response = await protocol.execute_command(b"EHLO", CLIENT.encode("ascii"))
        parse_esmtp_extensions(response.message)
        await protocol.execute_command(b"MAIL", b"FROM:<" + session.sender.encode("ascii") + b">")
        for recipient in session.recipients:
            await protocol.execute_command(b"RCPT", b"TO:<" + recipient.encode("ascii") + b">")
        await protocol.execute_data_command(session.content)
        await protocol.execute_command(b"QUIT")
        return transport.sent

    return _runner(work)
