"""A handler that keeps what it is sent, in memory: the other end of a test, or of a developer's mail program."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, overload

from smtpproto import LocalProtocolError, Reply

from .handler import Handler, Outcome, ServerSession
from .received import ReceivedMessage

__all__ = ["MAX_MESSAGES", "Inbox"]

MAX_MESSAGES: Final = 10_000
"""Messages that an `Inbox` keeps by default."""

_FULL: Final = Reply(452, "4.3.1 the inbox is full")


class Inbox(Handler, Sequence[ReceivedMessage]):
    """Keeps every message, oldest first: ``inbox[0]``, ``inbox[-1]``, ``len(inbox)``, and what else a sequence can do.

    Threads may use it while servers fill it; one inbox can serve several servers.  ``max_messages``: when there are so
    many, further ones are refused with 452 until `clear`; none is ever thrown away.
    """

    def __init__(self, *, max_messages: int = MAX_MESSAGES) -> None:
        if max_messages < 1:
            raise LocalProtocolError(f"max_messages is {max_messages}: it must be 1 or more")
        self.max_messages = max_messages
        self._messages: list[ReceivedMessage] = []
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, Callable[[], object]]] = []

    max_messages: int

    def message(self, session: ServerSession, message: ReceivedMessage) -> Outcome:
        """Keep it."""
        with self._changed:
            if len(self._messages) >= self.max_messages:
                return _FULL
            self._messages.append(message)
            self._changed.notify_all()
            for count, wake in self._waiting:
                if len(self._messages) >= count:
                    with suppress(RuntimeError):  # the event loop of the one that waits has ended
                        wake()
        return None

    @property
    def messages(self) -> tuple[ReceivedMessage, ...]:
        """What there is now."""
        with self._changed:
            return tuple(self._messages)

    def clear(self) -> None:
        """Throw all of it away."""
        with self._changed:
            self._messages.clear()

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> ReceivedMessage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ReceivedMessage]: ...
    def __getitem__(self, index: int | slice) -> ReceivedMessage | Sequence[ReceivedMessage]:
        return self.messages[index]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self)} messages>"

    # Waiting -------------------------------------------------------------------------------------------------------

    def wait(self, count: int = 1, timeout: float = 5.0) -> tuple[ReceivedMessage, ...]:
        """All messages, as soon as there are so many; `TimeoutError` where that takes longer, in seconds.

        It blocks the thread: in asyncio and trio await `wait_async`.
        """
        with self._changed:
            if self._changed.wait_for(lambda: len(self._messages) >= count, timeout):
                return tuple(self._messages)
            raise self._too_few(count, timeout)

    async def wait_async(self, count: int = 1, timeout: float = 5.0) -> tuple[ReceivedMessage, ...]:
        """The same in asyncio and trio, wherever the server runs: in this loop, in another one, in threads."""
        with self._changed:
            if len(self._messages) >= count:
                return tuple(self._messages)
        await (self._wait_in_trio if _in_trio() else self._wait_in_asyncio)(count, timeout)
        return self.messages

    async def _wait_in_asyncio(self, count: int, timeout: float) -> None:
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        with self._waking(count, lambda: loop.call_soon_threadsafe(arrived.set)):
            try:
                async with asyncio.timeout(timeout):
                    await arrived.wait()
            except TimeoutError:
                raise self._too_few(count, timeout) from None

    async def _wait_in_trio(self, count: int, timeout: float) -> None:
        import trio

        token, arrived = trio.lowlevel.current_trio_token(), trio.Event()
        with self._waking(count, lambda: token.run_sync_soon(arrived.set)):
            with trio.move_on_after(timeout) as scope:
                await arrived.wait()
            if scope.cancelled_caught:
                raise self._too_few(count, timeout)

    @contextmanager
    def _waking(self, count: int, wake: Callable[[], object]) -> Generator[None]:
        waiting = (count, wake)
        with self._changed:
            self._waiting.append(waiting)
            if len(self._messages) >= count:
                wake()
        try:
            yield
        finally:
            with self._changed:
                self._waiting.remove(waiting)

    def _too_few(self, count: int, timeout: float) -> TimeoutError:
        return TimeoutError(f"there are {len(self)} messages after {timeout:g} seconds, and not {count}")


def _in_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())
