"""Pure helpers for tests: run two flows against each other in memory, and cut streams into pieces.

>>> from smtpproto import ConnectOptions, Connector, Service, ServiceSession, flows, testing
>>> client = flows.connect(Connector(ConnectOptions(host="mx.example")))
>>> testing.link(client, flows.serve(ServiceSession(Service("mx.example")))).extended
True
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

from .addresses import AddressLiteral
from .errors import ErrorCode, NotTls, TransportError
from .events import Event
from .flows import Ask, Close, Dial, Effect, Flow, Next, Receive, Send, StartTls, Wait, next_item
from .replies import Reply
from .sasl import NO_BINDINGS, Question, ServerAnswer

__all__ = ["accept", "link", "octets", "pieces", "whole"]

T = TypeVar("T")
Answer: TypeAlias = "Callable[[Event | Question], Reply | ServerAnswer]"
Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> list[bytes]:
    """Not cut at all."""
    return [data]


def octets(data: bytes) -> list[bytes]:
    """Cut into single octets."""
    return [data[i : i + 1] for i in range(len(data))]


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut at these positions, in any order; those that lie outside are left out, and so are empty pieces."""
    positions = sorted({0, len(data), *(cut for cut in cuts if 0 < cut < len(data))})
    return [data[start:end] for start, end in pairwise(positions)]


class Deadlock(AssertionError):
    """Both sides wait for each other."""


def accept(subject: Event | Question) -> None:
    """The program that leaves all to the defaults."""


def link(
    client: Flow[T],
    server: Flow[None],
    *,
    answer: Answer = accept,
    cut: Cut = whole,
    channel_bindings: Mapping[str, bytes] = NO_BINDINGS,
) -> T:
    """Run a client's flow against a server's, to the end of the client's; its result.

    ``answer`` is the server's program; ``cut`` says in which pieces what is sent arrives.  TLS is pretended: it begins
    where both sides ask for it, with these channel bindings, and plaintext that meets it is a `NotTls`, as it would be.
    Raises what the client's flow raises, what the server's flow raises before, and `Deadlock`.  What ``answer`` raises
    is thrown into the flow, and so is what the iterator of a `flows.Next` raises, which cannot be an asynchronous one.
    """
    try:
        here, there = _Side(client, channel_bindings), _Side(server, channel_bindings)
        here.peer, there.peer = there, here
        while not here.done:
            progress = here.step(answer, cut)
            if not there.done:
                progress = there.step(answer, cut) or progress
            if not progress:
                raise Deadlock(f"the client waits for {here.effect!r}, the server for {there.effect!r}")
        while not there.done and there.step(answer, cut):
            pass
        result: T = here.result
        return result
    finally:
        client.close()
        server.close()


class _Side:
    def __init__(self, flow: Flow[Any], channel_bindings: Mapping[str, bytes]) -> None:
        self.flow = flow
        self.channel_bindings = channel_bindings
        self.inbox: deque[bytes] = deque()
        self.closed = False
        self.done = False
        self.result: Any = None
        self.peer: _Side = self
        self.effect: Effect | None = None
        self._go(lambda: next(flow))

    def step(self, answer: Answer, cut: Cut) -> bool:
        """Do what the flow needs, if it can be done now."""
        match self.effect:
            case Send(_, data):
                if not self.peer.gone:
                    self.peer.inbox.extend(filter(None, cut(bytes(data))))
                return self._send(None)
            case Receive(timeout):
                return self._receive(timeout)
            case StartTls():
                return self._start_tls()
            case Wait():
                return self._send(None)
            case Ask(_, subject):
                return self._from_program(lambda: answer(subject))
            case Next(_, source):
                return self._from_program(lambda: next_item(source))
            case Close():
                self.closed = True
                return self._send(None)
            case Dial():
                return self._send(AddressLiteral.of("127.0.0.1"))
            case _:
                raise TypeError(f"{self.effect!r} is no effect")

    @property
    def gone(self) -> bool:
        return self.closed or self.done

    def _from_program(self, question: Callable[[], object]) -> bool:
        try:
            said = question()
        except Exception as error:
            return self._throw(error)
        return self._send(said)

    def _receive(self, timeout: float | None) -> bool:
        if self.inbox:
            return self._send(self.inbox.popleft())
        if self.peer.gone:
            return self._send(b"")
        if timeout == 0:
            return self._throw(TransportError("nothing has come yet", ErrorCode.TIMED_OUT))
        return False

    def _start_tls(self) -> bool:
        if self.inbox:
            return self._throw(NotTls("plaintext where TLS is due"))
        if self.peer.gone:
            return self._throw(TransportError("closed in the TLS handshake", ErrorCode.CLOSED_BY_PEER))
        if isinstance(self.peer.effect, StartTls) and not self.peer.inbox:
            self._send(self.channel_bindings)
            self.peer._send(self.channel_bindings)
            return True
        return False

    def _send(self, value: object) -> bool:
        return self._go(lambda: self.flow.send(value))

    def _throw(self, error: Exception) -> bool:
        return self._go(lambda: self.flow.throw(error))

    def _go(self, advance: Callable[[], Effect]) -> bool:
        try:
            self.effect = advance()
        except StopIteration as stop:
            self.done, self.effect, self.result = True, None, stop.value
        return True
