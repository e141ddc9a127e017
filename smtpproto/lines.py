"""Octets to lines: the one place where input is kept, and where its line ends and its length are judged.

How it stays linear, however the octets were cut.  ``_data`` is an immutable chunk, which lines are sliced out of; a
chunk that arrives when nothing is kept becomes ``_data`` as it is, without a copy.  What arrives behind the beginning
of a line goes to ``_more``, which grows in place, and is joined to ``_data`` only when a line end has come.
``_searched`` remembers how far a line end was looked for, so no octet is looked at twice.

How it is fast.  A single octet as needle (LF, and not CRLF) is found at the speed of memory, and whether a CR stands
before it is checked afterwards: that is a rule of its own anyway.  Where many lines have come at once, a block of them
is judged and split as a whole, into ``_ready``, and handed out one by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from .errors import RemoteProtocolError

_CR: Final = 13
_NUL: Final = 0
_BLOCK: Final = 8192
"""How many octets are split into lines at once: enough to be worth it, and a bound to what it costs in memory."""

_Known = TypeVar("_Known")

_faults = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n").finditer


class LineBuffer:
    """What has been received and not been consumed yet.

    It is used for lines and for raw octets in turn.  A `RemoteProtocolError` consumes nothing: asked again, the
    buffer raises it again.
    """

    # Not a word of data beyond these: there is one buffer for each idle connection.
    __slots__ = ("_data", "_dropped", "_more", "_ready", "_searched", "_start", "limit")

    limit: int
    """How many octets a line may have, its CRLF included.  RFC 5321 section 4.5.3.1."""
    _data: bytes
    """Empty only if nothing is buffered."""
    _start: int
    """Where in ``_data`` the first buffered octet is.  It is always less than ``len(_data)``, unless both are 0."""
    _more: bytearray | None
    """What follows ``_data``: None, or at least one octet."""
    _ready: list[bytes] | None
    """The next lines, last first, faultless but for their length: None, or at least one.  They lie at ``_start``."""
    _searched: int
    """How far there is no line end, counted as ``_start`` is, and on into ``_more``.  Unused while lines are ready."""
    _dropped: int
    """The position in the stream of ``_data[0]``; kept small, as a large number would be another object at rest."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._data = b""
        self._more = self._ready = None
        self._start = self._searched = self._dropped = 0

    def __len__(self) -> int:
        """How many octets are buffered."""
        more = self._more
        return len(self._data) - self._start + (len(more) if more else 0)

    @property
    def is_empty(self) -> bool:
        """Nothing is buffered: cheaper than to ask for the length."""
        return not self._data

    @property
    def consumed(self) -> int:
        """How many octets have been taken out: the position in the stream of the first buffered one.

        `take_known` begins to count anew.
        """
        return self._dropped + self._start

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append what was received.  ``bytes`` that arrive when nothing is buffered are kept, not copied."""
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if not self._data:
            self._data = data
        elif self._more is not None:
            self._more += data
        elif len(data) >= len(self._data) - self._start:
            # Joining costs at most twice what has just arrived, and the next lines come out of one chunk again.
            self._join(data)
        elif data:
            self._more = bytearray(data)

    def next_line(self) -> bytes | None:
        """Take the next line out, without its CRLF; None if there is no whole one.

        Raises `RemoteProtocolError` for a line that is longer than ``limit``, also before its end has arrived (RFC 5321
        section 4.5.3.1); and for a whole line with a CR or LF that is no part of a CRLF (section 2.3.8), or with a
        NUL (which the grammar has neither in commands, section 4.1.2, nor in replies, section 4.2).  The outcome does
        not depend on how the octets were cut: too long goes before the rest, and the rest is judged when the line is
        whole.
        """
        start = self._start
        if self._ready is not None:
            line = self._ready[-1]
            stop = start + len(line) + 2
            if stop - start <= self.limit:
                self._ready.pop()
                if self._ready:
                    self._start = stop
                else:
                    self._advance(stop)
                return line
            self._ready = None
            self._searched = start
        data = self._data
        end = data.find(b"\n", self._searched)
        if end < 0:
            return self.next_line() if self._find_further() else None
        if end - start >= self.limit:
            raise self._too_long()
        stop = end + 1
        if stop < len(data) and self._split(stop):
            return self.next_line()
        line = data[start : end - 1]
        if _CR in line or _NUL in line or data[end - 1] != _CR or end == start:
            raise _malformed(data[start:stop])
        self._advance(stop)
        return line

    def take_known(self, wholes: Mapping[bytes, _Known], lines: Mapping[bytes, _Known]) -> _Known | None:
        """Take out what need not be read again, as it is known; None, and nothing is taken, where it is not.

        That is the next line, where many have come at once, by its octets without the CRLF; otherwise all that is
        buffered, CRLFs included, and then `consumed` counts anew: this is not for those who keep positions.  Nothing in
        either may have a line that is longer than ``limit``.
        """
        ready = self._ready
        if ready is not None:
            line = ready.pop()
            found = lines.get(line)
            if found is None:
                ready.append(line)
            elif ready:
                self._start += len(line) + 2
            else:
                self._advance(self._start + len(line) + 2)
            return found
        data = self._data
        if self._start or self._more is not None:
            return None
        found = wholes.get(data)
        if found is not None:
            self._data = b""
            self._dropped = self._searched = 0
        return found

    def whole(self) -> bytes:
        """All that is buffered, if it has come as one piece, of which nothing was taken; else nothing."""
        return b"" if self._start or self._more is not None else self._data

    def raw(self) -> tuple[bytes, int]:
        """All that is buffered, as it lies: an object, and the index in it at which the buffered octets begin.

        For content, which is no lines: nothing is copied if it need not be.  `skip` what was used.
        """
        if self._more is not None:
            self._join(b"")
        return self._data, self._start

    def skip(self, count: int) -> None:
        """Take ``count`` octets out without looking at them; all of them, if there are fewer."""
        if self._more is not None and count > len(self._data) - self._start:
            self._join(b"")
        self._advance(min(self._start + count, len(self._data)))

    def take(self, count: int) -> bytes:
        """Take ``count`` raw octets out, or all that there are, if there are fewer."""
        if self._more is not None and count > len(self._data) - self._start:
            self._join(b"")
        taken = self._data[self._start : self._start + count]
        self._advance(self._start + len(taken))
        return taken

    def first(self) -> int | None:
        """The first buffered octet; None if there is none."""
        return self._data[self._start] if self._start < len(self._data) else None

    def peek(self, count: int) -> bytes:
        """The first ``count`` buffered octets, or all that there are; they stay buffered."""
        found = self._data[self._start : self._start + count]
        if self._more is not None:
            found += self._more[: count - len(found)]
        return found

    def clear(self) -> None:
        """Take everything out, unread."""
        self.skip(len(self))

    def _split(self, first: int) -> bool:
        """Put a block of lines into ``_ready``, if more than the one that ends at ``first`` have come."""
        data, start = self._data, self._start
        stop = data.rfind(b"\n", first, start + _BLOCK) + 1
        if not stop:
            return False
        block = data[start:stop]
        lines = block.split(b"\r\n")
        ends = len(lines) - 1
        if block.count(b"\n") != ends or block.count(b"\r") != ends or _NUL in block:
            # Each line before the faulty one is good, and its turn comes first.
            lines = block[: next(_faults(block)).start()].split(b"\r\n")
            ends = len(lines) - 1
        if not ends:
            return False
        del lines[ends]
        lines.reverse()
        self._ready = lines
        return True

    def _find_further(self) -> bool:
        """``_data`` has no more line ends: is there one in ``_more``?  If so, put it into ``_data``."""
        more, start = self._more, self._start
        size = len(self._data)
        if more is not None and size - start < self.limit:
            end = more.find(b"\n", max(self._searched - size, 0), start + self.limit - size)
            if end >= 0:
                self._searched = size + end
                self._join(b"")
                return True
        if len(self) >= self.limit:
            raise self._too_long()
        self._searched = start + len(self)
        if start and more is None:
            # The lines before it have been taken: do not keep a whole chunk for the sake of half a line.
            self._join(b"")
        return False

    def _join(self, data: bytes) -> None:
        """Make ``_data``, ``_more`` and ``data`` one chunk, without what was consumed."""
        start = self._start
        if self._more is None:
            self._data = self._data[start:] + data
        else:
            self._data = b"".join((self._data[start:], self._more, data))
            self._more = None
        self._dropped += start
        self._searched -= start
        self._start = 0

    def _advance(self, to: int) -> None:
        """Everything before this index in ``_data`` is consumed."""
        self._ready = None
        if to < len(self._data):
            self._start = self._searched = to
        else:
            self._dropped += len(self._data)
            self._data = bytes(self._more) if self._more is not None else b""
            self._more = None
            self._start = self._searched = 0

    def _too_long(self) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"a line is longer than the {self.limit} octets that it may have: RFC 5321 section 4.5.3.1",
            self.peek(self.limit),
        )


def _malformed(line: bytes) -> RemoteProtocolError:
    """Of a line with several faults, name the one that comes first."""
    fault = next(_faults(line))[0]
    if fault == b"\0":
        return RemoteProtocolError("a NUL in a line: RFC 5321 sections 4.1.2 and 4.2 have none", line)
    name = "CR" if fault == b"\r" else "LF"
    message = f"a bare {name}: a line must end in CRLF, and have no {name} elsewhere: RFC 5321 section 2.3.8"
    return RemoteProtocolError(message, line)
