"""A session of a server without I/O: what a client says is a list, and so is what it is answered."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import smtpproto_adapters.blocking
from smtpproto import AddressLiteral, Service
from smtpproto_adapters.transport import run
from smtpproto_adapters.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpproto_adapters.faults import Faults
    from smtpproto_adapters.handler import Handler, ServerSession
    from smtpproto_adapters.transport import Address

EHLO = b"EHLO me.example\r\n"
LHLO = b"LHLO me.example\r\n"
TO_YOU = b"MAIL FROM:<me@me.example>\r\nRCPT TO:<you@mx.example>\r\n"


class Inputs:
    """A wire that gives what a client says, read by read.  Waiting takes no time, and none comes meanwhile."""

    def __init__(self, said: Iterator[bytes], early: bool) -> None:
        self.said = said
        self._early = early
        self.waited = 0.0
        self.written: list[bytes] = []
        self.closed = False

    def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        raise AssertionError("a server dials nobody")

    def send(self, data: bytes | bytearray | memoryview, timeout: float | None) -> None:
        self.written.append(bytes(data))

    def receive(self, timeout: float | None) -> bytes:
        if timeout == 0 and self._early:
            timeout = None
        # A session waits for minutes; what waits for seconds is a fault.
        if timeout is not None and timeout < 100:
            self.waited += timeout
            raise TimeoutError
        return next(self.said, b"")

    def half_close(self) -> None: ...
    def close(self) -> None:
        self.closed = True

    @property
    def answered(self) -> bytes:
        return b"".join(self.written)

    @property
    def codes(self) -> list[int]:
        return [int(line[:3]) for line in self.answered.splitlines() if line[3:4] == b" "]


def begin(
    handler: Handler,
    *said: bytes,
    more: Iterable[bytes] = (),
    early: bool = False,
    peer: Address = ("192.0.2.1", 1025),
    faults: Faults | None = None,
    wire: type[Inputs] = Inputs,
    **service: Any,
) -> tuple[Inputs, ServerSession]:
    """A whole session with such reads, to its end."""
    core = smtpproto_adapters.blocking.serve(handler, service=Service("mx.example", **service), faults=faults)
    turn = Turn(core, peer, lambda: 0.0)
    inputs = wire(chain(said, more), early)
    run(inputs, turn.flow, turn.ask)
    turn.end()
    return inputs, turn.session


def converse(handler: Handler, *said: bytes, **options: Any) -> tuple[list[int], ServerSession]:
    """The codes of the replies in it, and the session."""
    inputs, session = begin(handler, *said, **options)
    return inputs.codes, session
