"""The elements of DER, as a walk through a certificate needs them.

What is read comes from the peer and may be anything.  Each function looks at one element, and knows where it ends
before it looks inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

BOOLEAN: Final = 0x01
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x30
CONTEXT_0: Final = 0xA0
CONTEXT_3: Final = 0xA3
"""Constructed, context-specific, by number: X.690 section 8.1.2."""

_LENGTH_OCTETS: Final = 3
"""RFC 8446 section 4.4.2: no certificate in a handshake has more than 2^24-1 octets."""


def encoded(dotted: str) -> bytes:
    """The contents octets of an OBJECT IDENTIFIER.  X.690 section 8.19."""
    first, second, *others = map(int, dotted.split("."))
    encoded = bytearray()
    for number in (40 * first + second, *others):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        encoded += bytes(reversed(groups))
    return bytes(encoded)


def whole(data: bytes, tag: int) -> bytes:
    """The contents of the one element that the data consist of.  Raises ValueError where they do not."""
    contents, end = element(data, 0, tag)
    if end != len(data):
        raise ValueError(f"{len(data) - end} octets follow where the element ends")
    return contents


def element(data: bytes, start: int, tag: int) -> tuple[bytes, int]:
    """The contents of the element that starts there, and where it ends.  X.690 section 8.1.

    Raises ValueError where it has another tag, or is longer than the data.
    """
    if data[start : start + 1] != bytes((tag,)):
        raise ValueError(f"no element of tag {tag:#04x} at octet {start}")
    length, begin = _length(data, start + 1)
    end = begin + length
    if end > len(data):
        raise ValueError(f"the element at octet {start} ends {end - len(data)} octets after the data")
    return data[begin:end], end


def _length(data: bytes, at: int) -> tuple[int, int]:
    """The length that stands there, and where its octets end.  Raises ValueError where it is not in the form of DER.

    X.690 section 10.1: a definite length in no more octets than it takes.
    """
    first = int.from_bytes(data[at : at + 1])
    begin = at + 1
    if first < 0x80:
        return first, begin
    octets = data[begin : begin + (first & 0x7F)]
    length = int.from_bytes(octets[:_LENGTH_OCTETS])
    if not 0 < len(octets) <= _LENGTH_OCTETS or octets[0] == 0 or length < 0x80:
        raise ValueError(f"the length at octet {at} is none that DER has, or too large for a certificate")
    return length, begin + len(octets)


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the contents of each element that the data consist of.  Raises ValueError where they do not."""
    at = 0
    while at < len(data):
        tag = data[at]
        contents, at = element(data, at, tag)
        yield tag, contents
