"""Content of every kind comes in pieces: all of its octets, in order, none of them empty, none too large."""

from __future__ import annotations

import array
import asyncio
import gzip
import io
import os
import tempfile
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import LocalProtocolError
from smtpproto.flows import next_item
from smtpproto_adapters.sources import CHUNK, AsyncSource, Source, source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

BIG = bytes(range(256)) * 1024  # two chunks
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1]


def pieces(made: Source | AsyncSource) -> list[bytes]:
    """All of them, checked."""
    assert made.chunks is made
    if isinstance(made, Source):
        assert not hasattr(made, "__anext__")
        found = list(made)
        assert next(made, None) is None
    else:
        assert not hasattr(made, "__next__")
        found = asyncio.run(collected(made))
    assert all(0 < len(piece) <= CHUNK for piece in found)
    return [bytes(piece) for piece in found]


async def collected(made: AsyncSource) -> list[Any]:
    found = [piece async for piece in made]
    with pytest.raises(StopAsyncIteration):
        await made.__anext__()
    return found


async def each(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


class AsyncFile:
    """As anyio and aiofiles have them."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    async def read(self, size: int = -1, /) -> bytes:
        await asyncio.sleep(0)
        return self.file.read(size)

    async def tell(self) -> int:
        raise AssertionError("nobody can wait for it here")


class LooseAsyncFile:
    """It is known by its __aiter__ alone."""

    def __init__(self, data: bytes) -> None:
        self.file = AsyncFile(data)

    def read(self, size: int, /) -> Awaitable[bytes]:
        return self.file.read(size)

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("lines are not asked for")


# In memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_memory(kind: Callable[[bytes], Any], size: int) -> None:
    data = (BIG * 2)[:size]
    made = source(kind(data))
    assert made.size == size
    assert b"".join(pieces(made)) == data
    assert made.whole == data
    assert type(made.whole) is bytes


def test_bytes_are_not_copied() -> None:
    made = source(BIG)
    assert made.whole is BIG
    for piece in made if isinstance(made, Source) else ():
        assert isinstance(piece, memoryview)
        assert piece.obj is BIG


def test_memory_of_other_items_and_other_steps() -> None:
    items = array.array("H", [1, 2])
    contents: list[tuple[Any, bytes]] = [
        (items, items.tobytes()),
        (memoryview(items), items.tobytes()),
        (memoryview(b"abcdef")[::2], b"ace"),
        (memoryview(b"abcdef").cast("B", (2, 3)), b"abcdef"),
    ]
    for content, data in contents:
        made = source(content)
        assert (made.size, made.whole, b"".join(pieces(made))) == (len(data), data, data)


# Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("start", [0, 1])
def test_files_are_read_from_where_they_stand_and_left_open(tmp_path: Path, size: int, start: int) -> None:
    data = (BIG * 2)[:size]
    path = tmp_path / "content"
    path.write_bytes(data)
    rest = data[start:]
    for opened in (path.open("rb"), path.open("rb", buffering=0), path.open("r+b"), io.BytesIO(data)):
        with opened as file:
            file.read(start)
            made = source(file)
            # A regular file that says that it is empty may be one of the kernel's, which has content all the same.
            assert made.size == (None if not size and not isinstance(file, io.BytesIO) else len(rest))
            assert made.whole is None
            assert b"".join(pieces(made)) == rest
            assert not file.closed


def test_a_file_behind_its_end_has_nothing() -> None:
    file = io.BytesIO(b"abc")
    file.seek(10)
    assert source(file).size == 0
    assert pieces(source(file)) == []


def test_a_temporary_file() -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(BIG)
        file.seek(5)
        made = source(file)
        assert made.size == len(BIG) - 5
        assert b"".join(pieces(made)) == BIG[5:]


def test_a_pipe_and_a_compressed_file_have_no_size(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"abc")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        made = source(pipe)
        assert made.size is None
        assert pieces(made) == [b"abc"]
    path = tmp_path / "content.gz"
    path.write_bytes(gzip.compress(BIG))
    with gzip.open(path) as file:
        made = source(file)
        assert made.size is None
        assert b"".join(pieces(made)) == BIG


def test_files_are_read_when_they_are_asked_and_no_more_than_a_chunk_at_a_time() -> None:
    asked: list[int] = []

    class Recorded:
        def read(self, size: int, /) -> bytes:
            asked.append(size)
            return BIG[:size]

    made = source(Recorded())
    assert (asked, made.size) == ([], None)
    assert next_item(made) == BIG[:CHUNK]
    assert asked == [CHUNK]


def test_a_file_that_gives_more_than_it_was_asked_for() -> None:
    answers: Iterator[Any] = iter([BIG, bytearray(BIG)])

    class Generous:
        def read(self, size: int, /) -> Any:
            return next(answers, b"")

    assert b"".join(pieces(source(Generous()))) == BIG + BIG


# Iterators -------------------------------------------------------------------------------------------------------

CHUNKS = st.lists(
    st.binary(max_size=5).flatmap(
        lambda data: st.sampled_from([data, bytearray(data), memoryview(data), data * (CHUNK // 2)])
    ),
    max_size=6,
)


@given(CHUNKS)
def test_iterables(chunks: list[Any]) -> None:
    expected = b"".join(chunks)
    for made in (source(chunks), source(iter(chunks)), source(each(chunks))):
        assert (made.size, made.whole) == (None, None)
        assert b"".join(pieces(made)) == expected


def test_small_chunks_are_passed_as_they_are() -> None:
    chunks = [b"a", b"", b"bc", BIG[:CHUNK]]
    found = list(made) if isinstance(made := source(chunks), Source) else []
    assert len(found) == 3
    assert all(piece is chunk for piece, chunk in zip(found, filter(None, chunks), strict=True))


@pytest.mark.parametrize("size", [3, CHUNK + 3])
def test_a_buffer_that_the_program_uses_again_is_copied(size: int) -> None:
    buffer = bytearray(size)

    def filled() -> Iterator[bytearray]:
        for octet in b"ab":
            buffer[:] = bytes([octet]) * size
            yield buffer

    assert b"".join(map(bytes, list(made) if isinstance(made := source(filled()), Source) else [])) == (
        b"a" * size + b"b" * size
    )


def test_what_an_iterator_raises_comes_out_and_is_not_taken_for_the_end() -> None:
    def failing() -> Iterator[bytes]:
        yield b"a"
        raise OSError("the disk is on fire")

    made = source(failing())
    assert next_item(made) == b"a"
    with pytest.raises(OSError, match="on fire"):
        next_item(made)
    with pytest.raises(LocalProtocolError, match="failed before"):
        next_item(made)


def test_the_same_for_an_asynchronous_one() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise OSError("the disk is on fire")

    async def scenario() -> None:
        made = source(failing())
        assert isinstance(made, AsyncSource)
        assert await made.__anext__() == b"a"
        with pytest.raises(OSError, match="on fire"):
            await made.__anext__()
        with pytest.raises(LocalProtocolError, match="failed before"):
            await made.__anext__()

    asyncio.run(scenario())


# Asynchronous files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AsyncFile, LooseAsyncFile])
@pytest.mark.parametrize("size", SIZES)
def test_asynchronous_files(kind: Callable[[bytes], Any], size: int) -> None:
    data = (BIG * 2)[:size]
    made = source(kind(data))
    assert isinstance(made, AsyncSource)
    assert (made.size, made.whole) == (None, None)
    assert b"".join(pieces(made)) == data


def test_a_file_of_trio_knows_its_size(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(BIG)

    async def scenario() -> None:
        async with await trio.open_file(path, "rb") as file:
            await file.read(7)
            made = source(file)
            assert isinstance(made, AsyncSource)
            assert made.size == len(BIG) - 7
            assert b"".join([bytes(piece) async for piece in made]) == BIG[7:]
            assert not file.closed

    trio.run(scenario)


def test_a_stream_of_asyncio() -> None:
    async def scenario() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(BIG)
        reader.feed_eof()
        made = source(reader)
        assert isinstance(made, AsyncSource)
        assert b"".join([bytes(piece) async for piece in made]) == BIG

    asyncio.run(scenario())


def test_a_file_whose_tell_must_be_awaited_has_no_size(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(b"abc")

    class Delegating(AsyncFile):
        def __init__(self) -> None:
            super().__init__(b"abc")
            self.raw = path.open("rb", buffering=0)

    file = Delegating()
    assert source(file).size is None
    file.raw.close()


# What is no content ----------------------------------------------------------------------------------------------


def closed_file() -> io.BytesIO:
    file = io.BytesIO()
    file.close()
    return file


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("Subject: x\r\n", "encode it first"),
        (io.StringIO("Subject: x\n"), "text mode: open it in binary mode"),
        (trio.wrap_file(io.StringIO("Subject: x\n")), "text mode: open it in binary mode"),
        (EmailMessage(), "send it with send_message"),
        (closed_file(), "the file is closed"),
        (None, "a NoneType is no content: give bytes, a file"),
        (5, "a int is no content"),
    ],
)
def test_what_is_no_content_is_refused_at_once(content: Any, sentence: str) -> None:
    with pytest.raises(LocalProtocolError, match=sentence):
        source(content)


class Awaited:
    """Nothing says in advance that its read() gives something to wait for."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        return AsyncFile(b"abc").read(size)


class Answering:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def read(self, size: int, /) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (["a"], "a chunk of the content is a str: encode it first, or open the file in binary mode"),
        ([1], "is a int: it must be bytes"),
        ([None], "is a NoneType: it must be bytes"),
        ([[b"a"]], "is a list: it must be bytes"),
        (Awaited(), "is a coroutine: it must be bytes"),
        (Answering(""), "is a str: encode it first"),
        (Answering(None), "nothing to read yet"),
        (Answering(0), "is a int: it must be bytes"),
    ],
)
def test_a_chunk_that_is_none_is_refused_when_it_comes(content: Any, sentence: str) -> None:
    made = source(content)
    with pytest.raises(LocalProtocolError, match=sentence):
        next_item(made)
    with pytest.raises(LocalProtocolError, match="failed before"):
        next_item(made)


def test_the_same_for_an_asynchronous_chunk() -> None:
    made = source(each([b"a", "b"]))
    assert isinstance(made, AsyncSource)
    with pytest.raises(LocalProtocolError, match="is a str: encode it first"):
        asyncio.run(collected(made))
