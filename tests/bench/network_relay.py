"""`python -m tests.bench.network_relay PORT MICROSECONDS`: a long way to the server at that port of loopback.

What comes from either side goes to the other one so much later, in its order, as over a line that is long and wide; on
loopback itself a round trip costs next to nothing, and there is no telling who takes how many of them.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading

from .scale_child import LOOPBACK, end_in_time, questions, say


class End(asyncio.Protocol):
    """One end of a connection, of which the other one is ``peer``."""

    transport: asyncio.Transport

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.peer: End | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def join(self, peer: End) -> None:
        self.peer = peer
        for data in self._early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self._early.append(data)
        else:
            asyncio.get_running_loop().call_later(self.delay, self.peer.transport.write, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer is not None:
            asyncio.get_running_loop().call_later(self.delay, self.peer.transport.close)


class Entrance(End):
    """The end of whoever connects to us."""

    def __init__(self, delay: float, port: int) -> None:
        super().__init__(delay)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._joining = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, exit_ = await loop.create_connection(lambda: End(self.delay), LOOPBACK, self._port)
        exit_.join(self)
        self.join(exit_)


async def relay(port: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Entrance(delay, port), LOOPBACK, 0)
    ended = asyncio.Event()

    def wait_for_end() -> None:
        for _ in questions():
            pass
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    say(port=server.sockets[0].getsockname()[1])
    await ended.wait()


def main(port: str, microseconds: str) -> None:
    end_in_time()
    asyncio.run(relay(int(port), int(microseconds) / 1e6))


if __name__ == "__main__":
    main(*sys.argv[1:])
