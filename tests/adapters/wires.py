"""The wires of the three backends behind one face, for the tests of the primitives."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import smtpproto_adapters.asyncio
import smtpproto_adapters.blocking
import smtpproto_adapters.trio
from smtpproto_adapters.transport import run, run_async

if TYPE_CHECKING:
    import socket

    from smtpproto import AddressLiteral
    from smtpproto.flows import Flow, Octets
    from smtpproto_adapters.transport import AsyncWire
    from tests.adapters.backends import Backend

T = TypeVar("T")


class AwaitedWire:
    """The blocking one, in the colour of the others."""

    def __init__(self, given: socket.socket | None = None) -> None:
        self.wire = smtpproto_adapters.blocking.Wire(given)

    @property
    def is_open(self) -> bool:
        return self.wire.is_open

    async def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        return self.wire.dial(host, port, path, timeout)

    async def send(self, data: Octets, timeout: float | None) -> None:
        self.wire.send(data, timeout)

    async def receive(self, timeout: float | None) -> bytes:
        return self.wire.receive(timeout)

    async def half_close(self) -> None:
        self.wire.half_close()

    async def close(self) -> None:
        self.wire.close()

    async def abort(self) -> None:
        self.wire.cut()
        self.wire.close()


def wire_of(backend: Backend, given: socket.socket | None = None) -> AsyncWire:
    """A wire; ``given`` is a socket that is connected already, for its first `dial`."""
    if backend.name == "asyncio":
        return smtpproto_adapters.asyncio.Wire(None if given is None else backend.stream(given))
    if backend.name == "trio":
        return smtpproto_adapters.trio.Wire(None if given is None else backend.stream(given))
    return AwaitedWire(given)


async def run_on(wire: AsyncWire, flow: Flow[T]) -> T:
    """Run a flow as the backend does."""
    return run(wire.wire, flow) if isinstance(wire, AwaitedWire) else await run_async(wire, flow)
