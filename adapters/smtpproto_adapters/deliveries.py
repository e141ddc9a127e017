"""What `send_many` returns: the results, as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sized

from smtpproto import DeliveryResult
from smtpproto.flows import Flow

Next = Callable[[], Flow[DeliveryResult | None]]


class Deliveries(Iterator[DeliveryResult]):
    """The results of many messages, in their order.

    Messages are sent while it is iterated over, and some ahead of their results.  Whoever leaves the loop before its
    end gives up what was sent ahead: the fate of that is unknown, and the client good for nothing but disconnecting.
    """

    def __init__(self, run: Callable[[Flow[DeliveryResult | None]], DeliveryResult | None], step: Next) -> None:
        self._run = run
        self._step = step

    def __next__(self) -> DeliveryResult:
        result = self._run(self._step())
        if result is None:
            raise StopIteration
        return result


class AsyncDeliveries(AsyncIterator[DeliveryResult]):
    __doc__ = Deliveries.__doc__

    def __init__(
        self, run: Callable[[Flow[DeliveryResult | None]], Awaitable[DeliveryResult | None]], step: Next
    ) -> None:
        self._run = run
        self._step = step

    async def __anext__(self) -> DeliveryResult:
        result = await self._run(self._step())
        if result is None:
            raise StopAsyncIteration
        return result


def is_at_hand(messages: object) -> bool:
    """True for a list and the like: the next message is there, and need not be waited for."""
    return isinstance(messages, Sized) and isinstance(messages, Iterable)
