"""`flows.Next`: what a program gives piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from smtpproto import ErrorCode, LocalProtocolError, TransportError
from smtpproto.flows import Close, Flow, Next, Receive, Send, ShutDown, next_item, real_item
from smtpproto.testing import link, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Broken(Exception):
    pass


class OnlyNext:
    """An iterator as some write them, which cannot be iterated over itself."""

    def __init__(self) -> None:
        self.left = 2

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left


async def asynchronous() -> AsyncIterator[bytes]:
    yield b"a"


def failing(error: BaseException) -> Iterator[bytes]:
    yield b"first"
    raise error


def takes_all(source: Any) -> Flow[list[Any]]:
    items: list[Any] = []
    while (item := (yield Next(source))) is not None:
        items.append(item)
    return items


def waits() -> Flow[None]:
    yield Receive()


def test_next_is_an_effect_without_a_timeout() -> None:
    source = iter([b"x"])
    effect = Next(source)
    assert (effect.timeout, effect.source) == (None, source)
    match effect:
        case Next(timeout, taken):
            assert (timeout, taken) == (None, source)
    assert Next(source) == effect != Next(iter([b"x"]))


@pytest.mark.parametrize(
    ("make", "items"),
    [
        (lambda: iter([]), []),
        (lambda: iter([b"", 0, False, "x"]), [b"", 0, False, "x"]),
        (lambda: (each for each in (b"a", b"b")), [b"a", b"b"]),
        (OnlyNext, [1, 0]),
    ],
)
def test_items_to_the_end(make: Any, items: list[Any]) -> None:
    assert link(takes_all(make()), waits()) == items


def test_end_stays_the_end() -> None:
    source = iter([1])
    assert [next_item(source) for _ in range(3)] == [1, None, None]


@pytest.mark.parametrize("source", [asynchronous(), [b"not an iterator"]])
def test_source_that_would_have_to_be_awaited(source: Any) -> None:
    with pytest.raises(LocalProtocolError, match="gives no items without being waited for"):
        link(takes_all(source), waits())


def test_none_is_not_taken_for_the_end() -> None:
    """The rest of a message would be left out, and nobody would know."""
    source = iter([b"a", None, b"b"])
    with pytest.raises(LocalProtocolError, match="None"):
        link(takes_all(source), waits())
    assert next(source) == b"b"


def test_item_that_can_be_an_answer() -> None:
    assert real_item(0) == 0
    with pytest.raises(LocalProtocolError):
        real_item(None)


@pytest.mark.parametrize(
    "error",
    [
        Broken("x"),
        OSError("no such file"),
        TransportError("another one's", ErrorCode.TIMED_OUT),
        StopAsyncIteration(),
        ShutDown(),
    ],
)
def test_what_a_source_raises_is_thrown_in_and_let_out(error: Exception) -> None:
    said: list[bytes] = []

    def sends(source: Iterator[bytes]) -> Flow[None]:
        try:
            while (item := (yield Next(source))) is not None:
                yield Send(item)
        except Exception:
            yield Send(b"aborted")
            yield Close()
            raise

    def hears() -> Flow[None]:
        while data := (yield Receive()):
            said.append(data)

    def hears_to_the_end() -> Flow[None]:
        """The client's failure ends the link, so it waits until all was heard."""
        try:
            yield from sends(failing(error))
        except Exception:
            yield Receive()
            raise

    with pytest.raises(type(error)) as caught:
        link(hears_to_the_end(), hears())
    assert caught.value is error
    assert said == [b"first", b"aborted"]


def test_interrupt_is_not_thrown_in() -> None:
    """It ends both flows, as it does everything."""
    ended: list[type[BaseException]] = []

    def flow(source: Iterator[bytes]) -> Flow[None]:
        try:
            yield Next(source)
            yield Next(source)
            yield Receive()
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(KeyboardInterrupt):
        link(flow(failing(KeyboardInterrupt())), flow(iter([b"", b""])))
    assert ended == [GeneratorExit, GeneratorExit]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_octets_can_be_sent(kind: type[Any]) -> None:
    """What arrives is what they were when they were sent."""
    buffer = bytearray(b"abc")

    def sends() -> Flow[None]:
        yield Send(kind(buffer))
        buffer[:] = b"xyz"
        yield Receive()

    def hears() -> Flow[None]:
        received = yield Receive()
        arrived.append(received)
        yield Send(b"ok")

    arrived: list[bytes] = []
    link(sends(), hears(), cut=whole)
    assert arrived == [b"abc"]
    assert isinstance(arrived[0], bytes)
    assert repr(Send(kind(buffer))) == "Send(<3 octets>)"
