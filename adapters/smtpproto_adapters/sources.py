"""Content as programs have it, made into the pieces that a flow sends: bytes, files, and iterators of bytes.

A source is an iterator, or an asynchronous one where the program's content can only be waited for.  Its pieces are
never empty and never larger than `CHUNK`.  Nothing is read before it is asked for, and a file is never closed.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import CoroutineType
from typing import Any, Final, Protocol, TypeAlias, cast

from smtpproto import LocalProtocolError, flows
from smtpproto.flows import Octets

CHUNK: Final = 131072
"""Octets in one piece, at most.  Larger ones would gain nothing, and cost memory several times over."""


class BinaryFile(Protocol):
    """What can be read."""

    def read(self, size: int, /) -> Octets: ...


class AsyncBinaryFile(Protocol):
    """What can be read by those who wait for it, such as the files of trio, anyio and aiofiles."""

    def read(self, size: int, /) -> Awaitable[Octets]: ...


Content: TypeAlias = Octets | BinaryFile | AsyncBinaryFile | Iterable[Octets] | AsyncIterable[Octets]


class _Source:
    """What both kinds share: cutting, and what is known of the content in advance."""

    __slots__ = ("_broken", "_copy", "_rest", "_whole", "size")

    size: int | None
    """Octets of all of it, from where it stands now; None where that is not known before it is read."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self._whole: Octets | None = None
        self._rest = memoryview(b"")
        self._copy = False
        self._broken = False

    @property
    def whole(self) -> bytes | None:
        """All of the content where the program gave it as bytes or the like; None otherwise."""
        return self._whole if self._whole is None or isinstance(self._whole, bytes) else bytes(self._whole)

    def _take(self, chunk: object) -> Octets | None:
        """The first piece of a chunk, of which the rest is kept; None where it is empty."""
        if type(chunk) is bytes and len(chunk) <= CHUNK:
            return chunk or None
        self._rest = _view(chunk)
        # The program may use its buffer again as soon as it is asked for the next chunk.
        self._copy = not self._rest.readonly
        return self._next_piece()

    def _next_piece(self) -> Octets | None:
        if not self._rest:
            return None
        piece, self._rest = self._rest[:CHUNK], self._rest[CHUNK:]
        return bytes(piece) if self._copy else piece

    def _check(self) -> None:
        """What broke off must not look like what came to its end."""
        if self._broken:
            raise LocalProtocolError("reading the content failed before, and the rest of it would be another content")


class Source(_Source):
    """An iterator over the pieces of a content.  Raises what reading it does."""

    __slots__ = ("_pull",)

    _pull: Callable[[], object]
    """The next chunk.  Raises StopIteration at the end."""

    def __init__(self, pull: Callable[[], object], size: int | None = None) -> None:
        super().__init__(size)
        self._pull = pull

    @classmethod
    def of_memory(cls, content: object) -> Source:
        """Of bytes or the like, which are not copied."""
        made = cls(_nothing)
        made._rest = _view(content)
        made._whole = content if isinstance(content, bytes) else made._rest
        made.size = made._rest.nbytes
        return made

    @property
    def chunks(self) -> Source:
        """Itself, as `smtpproto.flows.Content` has it."""
        return self

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Octets:
        self._check()
        piece = self._next_piece()
        try:
            while piece is None:
                piece = self._take(self._pull())
        except StopIteration:
            raise
        except BaseException:
            self._broken = True
            raise
        return piece


class AsyncSource(_Source):
    """The same for content that is waited for."""

    __slots__ = ("_pull",)

    _pull: Callable[[], Awaitable[object]]
    """The next chunk.  Raises StopAsyncIteration at the end."""

    def __init__(self, pull: Callable[[], Awaitable[object]], size: int | None = None) -> None:
        super().__init__(size)
        self._pull = pull

    @property
    def chunks(self) -> AsyncSource:
        """Itself, as `smtpproto.flows.Content` has it."""
        return self

    def __aiter__(self) -> AsyncSource:
        return self

    async def __anext__(self) -> Octets:
        self._check()
        piece = self._next_piece()
        try:
            while piece is None:
                piece = self._take(await self._pull())
        except StopAsyncIteration:
            raise
        except BaseException:
            self._broken = True
            raise
        return piece


def content_of(content: Content) -> flows.Content:
    """As a flow needs it: what is in memory, as it is, or a `source`."""
    return flows.Whole(content) if type(content) is bytes else source(content)


def source(content: Content) -> Source | AsyncSource:
    """The pieces of a content: bytes or the like, a file open for reading octets, or an iterable of bytes.

    Files whose ``read()`` must be awaited, and asynchronous iterables, make an `AsyncSource`.  Raises
    `LocalProtocolError` for anything else, here or where a chunk of it turns out to be none of octets.
    """
    given: Any = content
    if isinstance(given, str):
        raise LocalProtocolError("the content is a str: encode it first, by the charset that its header names")
    if hasattr(given, "as_bytes"):
        raise LocalProtocolError(f"the content is a {type(given).__name__}: send it with send_message()")
    if callable(getattr(given, "read", None)):
        return _of_file(given)
    if _has_octets(given):
        return Source.of_memory(given)
    if hasattr(given, "__iter__"):
        return Source(cast("Iterator[object]", iter(given)).__next__)
    if hasattr(given, "__aiter__"):
        return AsyncSource(cast("AsyncIterator[object]", aiter(given)).__anext__)
    raise LocalProtocolError(
        f"a {type(given).__name__} is no content: give bytes, a file that was opened in binary mode, or an iterable "
        "of bytes"
    )


def _of_file(file: Any) -> Source | AsyncSource:
    inner = getattr(file, "wrapped", file)  # of trio's and anyio's files
    if isinstance(inner, io.TextIOBase):
        raise LocalProtocolError("the file was opened in text mode: open it in binary mode, as with open(path, 'rb')")
    if getattr(inner, "closed", False) is True:
        raise LocalProtocolError("the file is closed: open it again")
    read: Callable[[int], Any] = file.read
    if _must_be_awaited(read) or (hasattr(file, "__aiter__") and not hasattr(file, "__iter__")):

        async def pull_async() -> object:
            data = await read(CHUNK)
            if _at_end(data):
                raise StopAsyncIteration
            return data

        return AsyncSource(pull_async, _remaining(inner))

    def pull() -> object:
        data = read(CHUNK)
        if _at_end(data):
            raise StopIteration
        return data

    return Source(pull, _remaining(inner))


def _must_be_awaited(function: Callable[..., object]) -> bool:
    import inspect  # which takes longer to import than all of a client, and only files need

    return inspect.iscoroutinefunction(function)


def _remaining(file: Any) -> int | None:
    """Octets from the position of a file in memory or a regular file to its end."""
    if isinstance(file, io.BytesIO):
        return max(0, file.getbuffer().nbytes - file.tell())
    raw = getattr(file, "raw", file)  # below the buffer of what open() gives
    # What else has a descriptor, such as a GzipFile, may make other octets of what it reads there.
    if not isinstance(raw, io.FileIO) or _must_be_awaited(file.tell):
        return None
    found = os.fstat(raw.fileno())
    # Files of the kernel say that they are regular ones without content.
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return None
    return max(0, found.st_size - int(file.tell()))


def _at_end(data: object) -> bool:
    """True for what ends a file.  Raises `LocalProtocolError` for what is no data at all."""
    if data is None:
        raise LocalProtocolError("the file has nothing to read yet: a file that does not block cannot be waited for")
    return isinstance(data, bytes | bytearray | memoryview) and not data


def _has_octets(given: Any) -> bool:
    try:
        memoryview(given)
    except TypeError:
        return False
    return True


def _view(chunk: object) -> memoryview:
    """The octets of what is bytes-like."""
    if isinstance(chunk, str):
        raise LocalProtocolError(
            "a chunk of the content is a str: encode it first, or open the file in binary mode, as with "
            "open(path, 'rb')"
        )
    try:
        view = memoryview(cast("bytes", chunk))
    except TypeError:
        kind = type(chunk).__name__
        if isinstance(chunk, CoroutineType):
            chunk.close()
        raise LocalProtocolError(f"a chunk of the content is a {kind}: it must be bytes") from None
    return view.cast("B") if view.nbytes and view.c_contiguous else memoryview(view.tobytes())


def _nothing() -> object:
    raise StopIteration
