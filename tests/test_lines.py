"""The line buffer: what is a line, what is none, and what it costs to find out."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto import lines as room
from smtpproto.errors import RemoteProtocolError
from smtpproto.lines import LineBuffer

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 12

Outcome = tuple[list[bytes], "tuple[str, bytes] | None", int, bytes]


def outcome(pieces: Iterable[bytes], limit: int = LIMIT) -> Outcome:
    """Feed the pieces, taking lines all the time: the lines, the error, the position, and what is left."""
    buffer = LineBuffer(limit)
    found: list[bytes] = []
    error: tuple[str, bytes] | None = None
    for piece in pieces:
        buffer.feed(piece)
        while error is None:
            try:
                line = buffer.next_line()
            except RemoteProtocolError as raised:
                error = (str(raised), raised.received)
                break
            if line is None:
                break
            found.append(line)
    return found, error, buffer.consumed, buffer.peek(1_000_000)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    borders = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[here:there] for here, there in pairwise(borders)]


def judged(data: bytes, limit: int) -> Outcome:
    """The rules once more, in the plainest words, for the whole of the data."""
    found: list[bytes] = []
    at = 0
    while True:
        rest = data[at:]
        end = rest.find(b"\n")
        if end >= limit or (end < 0 and len(rest) >= limit):
            received = rest[: min(limit, 256)]
            rule = f"a line is longer than the {limit} octets that it may have: RFC 5321 section 4.5.3.1"
            return found, (f"{rule} (received {received!r})", received), at, rest
        if end < 0:
            return found, None, at, rest
        line = rest[: end + 1]
        for position, octet in enumerate(line):
            name = {0: "NUL", 10: "bare LF", 13: "bare CR"}.get(octet)
            before, after = line[position - 1 : position], line[position + 1 : position + 2]
            if name and not (name == "bare LF" and before == b"\r") and not (name == "bare CR" and after == b"\n"):
                buffer = LineBuffer(limit)
                buffer.feed(line)
                with pytest.raises(RemoteProtocolError, match=name) as raised:
                    buffer.next_line()
                assert raised.value.received == line[:256]
                return found, (str(raised.value), line[:256]), at, rest
        found.append(line[:-2])
        at += end + 1


stream = st.lists(
    st.sampled_from([b"\r\n", b"a", b"bc", b"\r\n", b"220 ok\r\n", b"\n", b"\r", b"\0", b"0123456789", b"xy\r\n" * 5])
).map(b"".join)


@given(stream, st.lists(st.integers(0, 200)), st.integers(3, 20))
@example(b"0123456789\r\n", [11], 12)
@example(b"0123456789a\r\n", [11], 12)
@example(b"0123456789a\n", [], 12)
@example(b"ab\r", [], 3)
@example(b"a\r\nb\r\n\nc\r\n", [], 12)
@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.rfc("5321", "4.5.3.1")
def test_the_outcome_does_not_depend_on_how_the_octets_were_cut(data: bytes, places: list[int], limit: int) -> None:
    expected = judged(data, limit)
    assert outcome([data], limit) == expected
    found, error, consumed, rest = outcome(cut(data, places), limit)
    assert (found, error, consumed) == expected[:3]
    assert rest == expected[3]
    assert outcome([data[i : i + 1] for i in range(len(data))], limit) == expected


@given(stream, st.lists(st.integers(0, 200)), st.data())
def test_lines_and_raw_octets_may_be_taken_in_turn(data: bytes, places: list[int], draw: st.DataObject) -> None:
    buffer = LineBuffer(1000)
    model = b""
    taken = 0
    for piece in cut(data, places):
        buffer.feed(piece)
        model += piece
        for _ in range(draw.draw(st.integers(0, 3))):
            count = draw.draw(st.integers(0, 8))
            match draw.draw(st.sampled_from(["take", "skip", "raw", "line", "peek", "clear"])):
                case "take":
                    assert buffer.take(count) == model[:count]
                    used = min(count, len(model))
                case "skip":
                    buffer.skip(count)
                    used = min(count, len(model))
                case "raw":
                    octets, start = buffer.raw()
                    assert octets[start:] == model
                    used = 0
                case "line":
                    try:
                        line = buffer.next_line()
                    except RemoteProtocolError:
                        line = None
                    if line is None:
                        used = 0
                    else:
                        assert model.startswith(line + b"\r\n")
                        used = len(line) + 2
                case "peek":
                    assert buffer.peek(count) == model[:count]
                    used = 0
                case _:
                    buffer.clear()
                    used = len(model)
            model = model[used:]
            taken += used
            assert len(buffer) == len(model)
            assert buffer.consumed == taken
            assert buffer.first() == (model[0] if model else None)
            assert buffer.peek(1000) == model


@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"a\n", "bare LF"),
        (b"\n", "bare LF"),
        (b"\r\r\n", "bare CR"),
        (b"a\rb\r\n", "bare CR"),
        (b"a\rb\n", "bare CR"),
        (b"\0\r\n", "NUL"),
        (b"a\0\rb\r\n", "NUL"),
        (b"a\n\0\r\n", "bare LF"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"ok\r\n", b"ok\r\n" * 9])
def test_a_fault_is_named_when_its_turn_comes_and_stays(line: bytes, fault: str, before: bytes) -> None:
    buffer = LineBuffer(LIMIT)
    buffer.feed(before + line + b"more\r\n")
    for _ in range(before.count(b"ok")):
        assert buffer.next_line() == b"ok"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=fault) as error:
            buffer.next_line()
        assert error.value.received == line[: line.index(b"\n") + 1]
    assert buffer.consumed == len(before)
    assert buffer.first() == line[0]


def test_a_line_feed_belongs_to_no_carriage_return_that_was_consumed() -> None:
    buffer = LineBuffer(LIMIT)
    buffer.feed(b"a\r\nb\r\n")
    assert buffer.take(2) == b"a\r"
    with pytest.raises(RemoteProtocolError, match="bare LF"):
        buffer.next_line()


@pytest.mark.rfc("5321", "4.5.3.1")
def test_the_limit_may_change_between_lines_also_when_they_are_there_already() -> None:
    buffer = LineBuffer(100)
    buffer.feed(b"first\r\n" + b"x" * 20 + b"\r\nlast\r\n")
    assert buffer.next_line() == b"first"
    buffer.limit = 21
    with pytest.raises(RemoteProtocolError, match="longer than the 21 octets"):
        buffer.next_line()
    buffer.limit = 22
    assert buffer.next_line() == b"x" * 20
    assert buffer.next_line() == b"last"
    assert buffer.next_line() is None


def test_more_lines_than_fit_into_a_block_come_out_in_order() -> None:
    lines = [b"%d" % number for number in range(9000)]
    lines[4000] = b"y" * 9000
    buffer = LineBuffer(9002)
    buffer.feed(b"".join(line + b"\r\n" for line in lines))
    assert [buffer.next_line() for _ in lines] == lines
    assert buffer.next_line() is None
    assert len(buffer) == 0


def test_bytes_are_not_copied_where_nothing_is_buffered() -> None:
    data = b"x" * 1000
    buffer = LineBuffer(2000)
    buffer.feed(data)
    assert buffer.raw()[0] is data
    assert buffer.take(1000) is data
    buffer.feed(bytearray(b"a\r\n"))
    buffer.feed(memoryview(b"--b\r\n--")[2:5])
    assert buffer.next_line() == b"a"
    assert buffer.next_line() == b"b"


def test_a_bytearray_that_changes_later_does_not_change_what_was_fed() -> None:
    mine = bytearray(b"a\r\n")
    buffer = LineBuffer(LIMIT)
    buffer.feed(mine)
    mine[:] = b"b\r\n"
    assert buffer.next_line() == b"a"


def test_only_octets_are_taken() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError):
        LineBuffer(LIMIT).feed(wrong)


def test_half_a_line_does_not_keep_the_chunk_that_it_came_in() -> None:
    buffer = LineBuffer(LIMIT)
    buffer.feed(b"250 ok\r\n" * 5000 + b"250")
    while buffer.next_line() is not None:
        pass
    assert buffer.raw() == (b"250", 0)


def test_an_idle_buffer_is_small() -> None:
    buffer = LineBuffer(LIMIT)
    buffer.feed(b"220 ok\r\n" * 1000)
    while buffer.next_line() is not None:
        pass
    own = {id(getattr(buffer, name)): getattr(buffer, name) for name in LineBuffer.__slots__}
    # None, b"" and small numbers are there anyway.
    shared = sum(sys.getsizeof(value) for value in own.values() if value not in (None, b"", 0, LIMIT))
    assert sys.getsizeof(buffer) + shared < 120


class Work:
    """How many octets were looked at or copied."""

    def __init__(self) -> None:
        self.octets = 0

    def bytearray(self) -> type[bytearray]:
        work = self

        class Counted(bytearray):
            def find(self, what: Any, start: Any = 0, end: Any = None) -> int:
                end = len(self) if end is None else min(end, len(self))
                work.octets += max(0, end - start)
                return super().find(what, start, end)

            def __iadd__(self, more: Any) -> bytearray:  # type: ignore[override, misc]
                work.octets += len(more)
                return super().__iadd__(more)

        return Counted


def test_octet_by_octet_costs_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    monkeypatch.setattr(room, "bytearray", work.bytearray(), raising=False)
    size = 100_000
    buffer = LineBuffer(size + 2)
    for _ in range(size):
        buffer.feed(b"a")
        assert buffer.next_line() is None
        # What is not counted, because it is plain bytes, is too small to matter.
        assert len(getattr(buffer, "_data")) <= 2  # noqa: B009
    assert size <= work.octets <= 2 * size
    buffer.feed(b"\r\n")
    assert buffer.next_line() == b"a" * size
    assert work.octets <= 3 * size


@pytest.mark.rfc("5321", "4.5.3.1")
def test_a_million_octets_without_an_end_stop_at_the_limit() -> None:
    buffer = LineBuffer(16_384)
    for count in range(1, 1_000_001):
        buffer.feed(b"a")
        if count < 16_384:
            assert buffer.next_line() is None
        else:
            with pytest.raises(RemoteProtocolError, match=r"16384 octets.*section 4\.5\.3\.1"):
                buffer.next_line()
            break
    assert len(buffer) == 16_384


@pytest.mark.parametrize("how", ["take", "skip", "raw"])
def test_raw_octets_come_out_whole_from_behind_half_a_line(how: str) -> None:
    buffer = LineBuffer(100)
    for piece in (b"half", b" ", b"a", b" line"):
        buffer.feed(piece)
    if how == "take":
        assert buffer.take(6) == b"half a"
    elif how == "skip":
        buffer.skip(6)
    else:
        octets, start = buffer.raw()
        assert octets[start:] == b"half a line"
        buffer.skip(6)
    buffer.feed(b"\r\n")
    assert buffer.next_line() == b" line"
    assert buffer.consumed == 13


@pytest.mark.parametrize("how", ["take", "skip"])
def test_raw_octets_come_from_what_arrived_first_and_from_what_came_behind_it(how: str) -> None:
    """However many were taken before, and however they lie."""
    for count, left in ((1, b"fg"), (2, b"g"), (3, b""), (9, b"")):
        buffer = LineBuffer(100)
        buffer.feed(b"abcdef")
        assert buffer.take(4) == b"abcd"
        buffer.feed(b"g")
        if how == "take":
            assert buffer.take(count) == b"efg"[:count]
        else:
            buffer.skip(count)
        assert buffer.peek(9) == left
        assert buffer.consumed == 7 - len(left)


@pytest.mark.parametrize("how", ["take", "skip"])
def test_what_came_behind_is_not_copied_as_long_as_what_is_before_it_does(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or small pieces, each taken before the next comes, would cost the square of what is there."""
    buffer = LineBuffer(100)
    buffer.feed(b"abcdef")
    buffer.feed(b"g")
    monkeypatch.delattr(LineBuffer, "_join")
    for _ in range(3):
        getattr(buffer, how)(2)
    assert buffer.raw() == (b"g", 0)


def ready(buffer: LineBuffer) -> list[bytes] | None:
    """The lines that were split off at once, and are to be handed out; the next one is last."""
    found: list[bytes] | None = getattr(buffer, "_ready")  # noqa: B009
    return found


@pytest.mark.parametrize("behind", [b"half", b"\r", b"d\ne\r\n", b"\0d\r\n", b"\rd\r\n"])
def test_lines_that_came_at_once_are_split_at_once_up_to_the_first_fault(behind: bytes) -> None:
    buffer = LineBuffer(LIMIT)
    buffer.feed(b"a\r\nb\r\nc\r\n" + behind)
    assert buffer.next_line() == b"a"
    assert ready(buffer) == [b"c", b"b"]


def test_no_more_lines_are_split_at_once_than_a_block_has() -> None:
    buffer = LineBuffer(LIMIT)
    buffer.feed(b"12345678\r\n" * 5000)
    for _ in range(819):
        assert buffer.next_line() == b"12345678"
        assert len(ready(buffer) or []) <= 818
    assert ready(buffer) is None
    assert buffer.next_line() == b"12345678"
    assert len(ready(buffer) or []) == 818


def test_the_end_of_a_line_is_found_behind_what_was_taken_raw() -> None:
    buffer = LineBuffer(20)
    buffer.feed(b"x" * 12)
    assert buffer.take(8) == b"x" * 8
    buffer.feed(b"y")
    assert buffer.next_line() is None
    buffer.feed(b"\r\n")
    assert buffer.next_line() == b"xxxxy"


def test_of_several_line_ends_that_came_in_small_pieces_the_first_is_the_first() -> None:
    buffer = LineBuffer(LIMIT)
    for piece in (b"abcdef", b"\r", b"\nx\r\n", b"y\r\n"):
        buffer.feed(piece)
    assert [buffer.next_line() for _ in range(4)] == [b"abcdef", b"x", b"y", None]


def test_what_is_known_is_taken_as_a_whole_or_line_by_line() -> None:
    """As a whole it leaves nothing behind, and positions are counted anew."""
    wholes, each = {b"ab\r\n": "whole", b"ab\r\ncd\r\n": "two"}, {b"ab": "a line", b"cd": "another"}
    buffer = LineBuffer(LIMIT)
    assert buffer.take_known(wholes, each) is None
    buffer.feed(b"ab\r\n")
    assert buffer.whole() == b"ab\r\n"
    assert (buffer.take_known(wholes, each), len(buffer), buffer.consumed, buffer.whole()) == ("whole", 0, 0, b"")
    buffer.feed(b"ab\r\ncd\r\n")
    assert (buffer.take_known(wholes, each), len(buffer), buffer.consumed) == ("two", 0, 0)
    buffer.feed(b"ef\r\nab\r\ngh\r\ncd\r\n")
    assert buffer.take_known(wholes, each) is None
    assert buffer.next_line() == b"ef"
    assert (buffer.take_known(wholes, each), buffer.consumed) == ("a line", 8)
    assert (buffer.take_known(wholes, each), buffer.consumed, buffer.whole()) == (None, 8, b"")
    assert buffer.next_line() == b"gh"
    assert (buffer.take_known(wholes, each), buffer.consumed, len(buffer)) == ("another", 16, 0)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"ab"],  # its line end has not come, and may never
        [b"x\r\nab\r\n"],
        [b"ab\r\n", b"\r\n"],
        [b"ab\r\n\r\n"],
        [b"a", b"b\r", b"\n"],
    ],
)
def test_what_is_more_or_less_than_what_is_known_is_not_taken(pieces: list[bytes]) -> None:
    known = {b"ab\r\n": "known", b"ab": "a line", b"": "nothing"}
    buffer = LineBuffer(LIMIT)
    for piece in pieces:
        buffer.feed(piece)
    assert buffer.take_known({b"ab\r\n": "known"}, known) is None
    assert buffer.peek(100) == b"".join(pieces)
