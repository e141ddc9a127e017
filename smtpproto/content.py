"""Content: what stands between DATA's 354 and its final dot, stuffed and unstuffed.  RFC 5321 section 4.5.2.

The end of the data is CRLF.CRLF and nothing else (section 4.1.1.4), the first CRLF being the content's own last one,
or the one behind DATA.  Whoever takes LF.LF or CR.CR for it, or sends it, lets one message smuggle in another
(CVE-2023-51764 and its kin).  So a line begins behind CRLF only, and what becomes of a CR or LF that is no part of a
CRLF is a stated policy in both directions.

Lines of any length pass in both directions: the 1000 octets of section 4.5.3.1.6 are what everyone must be able to
take, and no bound to what anyone may.  Chunks sent with BDAT (RFC 3030) go as they are, and need nothing of this.

Content is the one thing here that comes by the megabyte, so nothing is done line by line.  In CPython a needle of one
octet is found and replaced many times as fast as one of two; and longer ones are looked for from the end, as ``rfind``
and ``rsplit`` do it two to four times as fast as ``find``, ``split`` and ``re``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

from .errors import LocalProtocolError

_NUL: Final = 0
_LF: Final = 10
_CR: Final = 13
_DOT: Final = 46

_faults = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n").finditer
_FAULTS: Final = {b"\0": "NUL", b"\r": "bare CR", b"\n": "bare LF"}


EIGHT_BIT: Final = ("8BITMIME", "BINARYMIME")
"""The values of BODY that allow octets above 127.  RFC 6152 section 2, RFC 3030 section 3."""


class LineEnds(Enum):
    """What becomes of outgoing CR and LF that are no part of a CRLF.  RFC 5321 section 2.3.8 forbids to send them."""

    NORMALISE = "normalise"
    """Each CR, LF and CRLF becomes CRLF.  NUL is refused."""
    REFUSE = "refuse"
    """They are refused, and so is NUL."""
    TRUSTED = "trusted"
    """The program vouches that there are none, and they are not looked for.  A dot behind a bare LF is stuffed all the
    same: a broken line is better than a server that takes it for the end."""


class Normaliser:
    """Applies the policy for line ends to content, chunk by chunk, however it is cut.

    After `end` it is ready for the next content.
    """

    __slots__ = ("_held", "_line_ends", "_position", "_tail")

    _line_ends: LineEnds
    _tail: bytes
    """The last two octets that were given out; at first a CRLF: what is behind DATA begins a line."""
    _held: bytes
    """NORMALISE: a CR at the end of the last chunk, for the next octet to tell whether a LF belongs to it."""
    _position: int
    """How many octets of content there were before this chunk."""

    def __init__(self, line_ends: LineEnds = LineEnds.NORMALISE) -> None:
        self._line_ends = line_ends
        self._begin()

    def normalise(self, chunk: bytes) -> bytes:
        """Take the next octets of the content; the chunk itself is returned if nothing had to change.

        Raises `LocalProtocolError` for what the policy refuses.  Nothing changes then, but the chunks before it are
        gone: behind DATA, only closing the connection keeps the server from taking what follows for a part of them.
        """
        out, held = chunk, b""
        if self._line_ends is LineEnds.NORMALISE:
            if _NUL in chunk:
                raise self._refused(b"\0", chunk.index(b"\0"))
            out = self._held + chunk
            if out.endswith(b"\r"):
                out, held = out[:-1], b"\r"
            out = _normalised(out)
        elif self._line_ends is LineEnds.REFUSE:
            self._check(chunk)
        self._tail = (self._tail + out[-2:])[-2:]
        self._held = held
        self._position += len(chunk)
        return out

    def end(self) -> bytes:
        """The line end that the content lacks; ``b""`` where it has one.

        Raises `LocalProtocolError` if the content ends in a CR, and the policy is REFUSE.
        """
        if self._line_ends is LineEnds.REFUSE and self._tail.endswith(b"\r"):
            raise self._refused(b"\r", -1)
        line_ended = self._tail == b"\r\n" and not self._held
        self._begin()
        return b"" if line_ended else b"\r\n"

    def _begin(self) -> None:
        self._tail, self._held, self._position = b"\r\n", b"", 0

    def _check(self, chunk: bytes) -> None:
        before = b"\r" if self._tail.endswith(b"\r") else b""
        checked = (before + chunk).removesuffix(b"\r")
        if _NUL in checked or not _is_normalised(checked):
            fault = next(_faults(checked))
            raise self._refused(fault[0], fault.start() - len(before))

    def _refused(self, fault: bytes, index: int) -> LocalProtocolError:
        return LocalProtocolError(
            f"the content has a {_FAULTS[fault]} at octet {self._position + index}: RFC 5321 section 2.3.8 allows CR "
            "and LF as CRLF only, and text has no NUL; send it with BDAT and BODY=BINARYMIME, or encode it"
        )


def objection_to(content: bytes, line_ends: LineEnds) -> str | None:
    """Why the policy refuses this content, as a sentence; None where it does not."""
    if line_ends is LineEnds.TRUSTED or (line_ends is LineEnds.NORMALISE and _NUL not in content):
        return None
    normaliser = Normaliser(line_ends)
    try:
        normaliser.normalise(content)
        normaliser.end()
    except LocalProtocolError as error:
        return str(error)
    return None


def size_as_sent(content: bytes, line_ends: LineEnds) -> int:
    """How many octets the content has when the policy was applied to it, its last line end included."""
    size = len(content)
    if line_ends is LineEnds.NORMALISE:
        ends, returns = content.count(b"\n"), content.count(b"\r")
        size += ends + returns
        if ends and returns:
            size -= 2 * content.count(b"\r\n")
        return size if not content or content[-1] in (_CR, _LF) else size + 2
    return size if not content or content.endswith(b"\r\n") else size + 2


class Stuffer(Normaliser):
    """Makes of content what goes over the wire behind a 354."""

    __slots__ = ()

    def stuff(self, chunk: bytes) -> bytes:
        """As `normalise`, and puts a dot before each dot that begins a line.  RFC 5321 section 4.5.2."""
        begins_line = self._tail.endswith(b"\n")
        return _stuffed(self.normalise(chunk), begins_line)

    def end(self) -> bytes:
        """The end of the data, behind the line end that the content lacks.  RFC 5321 section 4.1.1.4."""
        return super().end() + b".\r\n"


class Unstuffer:
    """Finds the end of the data that a client sends, and makes content of what is before it.  One for each message.

    ``accept_bare`` lets bare CR, bare LF and NUL pass without a `violation`.  They are a part of the content in either
    case, and never of its end or of a line's beginning.
    """

    __slots__ = ("_accept_bare", "_context", "violation")

    violation: str | None
    """What the content must not have and has first: ``bare CR``, ``bare LF``, ``NUL``; or None.  The server goes on to
    read up to the end, and refuses the message there, so that both sides stay in step."""
    _accept_bare: bool
    _context: bytes | None
    """How much of CRLF.CRLF has come, the CRLF behind DATA included.  Of this, the CRLF was given out as content, and
    the rest was not.  None behind the end."""

    def __init__(self, *, accept_bare: bool = False) -> None:
        self._accept_bare = accept_bare
        self._context = b"\r\n"
        self.violation = None

    def receive(self, data: bytes, start: int = 0) -> tuple[bytes, int | None]:
        """Take what was received, from ``start`` on.

        Returns content, and the index in ``data`` behind the final CRLF.CRLF, at which the next command begins; None
        while it has not come.  The content is ``data`` itself if all of it is, and nothing had to change.  At most two
        octets are held back.  Raises `LocalProtocolError` behind the end.
        """
        if self._context is None:
            raise LocalProtocolError("the data has ended: what follows is commands, and the next content needs its own")
        pieces: list[bytes] = []
        # Where many messages have come at once, a look at this one must not cost a copy of all the others.
        for at in range(start, len(data), _WINDOW):
            piece, end = self._unstuffed(self._context, data[at : at + _WINDOW])
            pieces.append(piece)
            if end is not None:
                return b"".join(pieces), at + end
        return b"".join(pieces), None

    def _unstuffed(self, context: bytes, data: bytes) -> tuple[bytes, int | None]:
        block = context + data
        beginning = _beginning_of_end(block)
        body = block[: len(block) - max(len(beginning) - 2, 0)]
        end: int | None = None
        # Only at a line's beginning can there be anything to remove, or the end.
        has_dotted_line = _DOT in body and body.rfind(_LINE_DOT) >= 0
        if has_dotted_line and body.rfind(_END) >= 0:
            stop = body.find(_END) + len(b"\r\n")
            end = stop + len(b".\r\n") - len(context)
            body = body[:stop]
        self._context = beginning if end is None else None
        self._check(body)
        if has_dotted_line:
            body = _replaced(body, _LINE_DOT, b"\r\n")
        return body[min(len(context), 2) :], end

    def _check(self, body: bytes) -> None:
        if self.violation is None and not self._accept_bare:
            # What a CR at the end is, the next octet will tell.
            checked = body.removesuffix(b"\r")
            if _NUL in checked or not _is_normalised(checked):
                self.violation = _FAULTS[next(_faults(checked))[0]]


_WINDOW: Final = 65536
"""How many octets are unstuffed, or looked at, at once."""

_LINE_DOT: Final = b"\r\n."
_END: Final = b"\r\n.\r\n"
# What, at the end of a block, may become CRLF.CRLF.
_BEGINNINGS: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


def _beginning_of_end(block: bytes) -> bytes:
    for beginning in _BEGINNINGS:
        if block.endswith(beginning):
            return beginning
    return b""


def _stuffed(octets: bytes, begins_line: bool) -> bytes:
    """Put a dot before each dot that begins a line.  RFC 5321 section 4.5.2."""
    if _DOT not in octets:
        return octets
    stuffed: list[bytes] = []
    for lines in _in_windows(octets):
        stuffed.append(_stuffed_lines(lines, begins_line) if _DOT in lines else lines)
        begins_line = True
    return b"".join(stuffed) if sum(map(len, stuffed)) > len(octets) else octets


def _stuffed_lines(octets: bytes, begins_line: bool) -> bytes:
    stuffed = _replaced(octets, b"\n.", b"\n..")
    return b"." + stuffed if begins_line and octets.startswith(b".") else stuffed


def _replaced(octets: bytes, old: bytes, new: bytes) -> bytes:
    """Replace ``old``, which begins with a line end and ends in a dot.

    ``rsplit`` finds the next of a few faster, and ``replace`` makes each of many faster; a sample tells.
    """
    if octets[:_SAMPLE].count(b".") < _MANY:
        return new.join(octets.rsplit(old))
    return octets.replace(old, new)


_SAMPLE: Final = 4096
_MANY: Final = 128
"""So many dots in a sample."""


def _normalised(octets: bytes) -> bytes:
    """Make each CR, LF and CRLF a CRLF."""
    if _CR in octets:
        if _is_normalised(octets):
            return octets
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return octets.replace(b"\n", b"\r\n")


def _is_normalised(octets: bytes) -> bool:
    """No CR and no LF is outside a CRLF."""
    return all(
        _has_equal_lines(lines) or lines.replace(b"\r", b"").replace(b"\n", b"\r\n") == lines
        for lines in _in_windows(octets)
    )


def _in_windows(octets: bytes) -> Iterator[bytes]:
    """Cut behind LF, where no CRLF is cut: so an attachment is not judged together with the header before it."""
    if len(octets) <= _WINDOW:
        yield octets
        return
    begin = 0
    while begin < len(octets):
        end = octets.find(b"\n", begin + _WINDOW) + 1 or len(octets)
        yield octets[begin:end]
        begin = end


def _has_equal_lines(octets: bytes) -> bool:
    """All lines end in CRLF and are of one length, as in base64: the bulk of all mail, and a third of the work."""
    first = octets.find(b"\n")
    width = octets.find(b"\n", first + 1) - first
    if first < 1 or width < 2 or (octets.rfind(b"\n") - first) % width:  # most others are told here
        return False
    ends = len(range(first, len(octets), width))
    if octets[first::width] != b"\n" * ends or octets[first - 1 :: width] != b"\r" * ends:
        return False
    rest = bytearray(octets)
    rest[first::width] = rest[first - 1 :: width] = bytes(ends)
    return _LF not in rest and _CR not in rest
