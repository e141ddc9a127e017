"""What CPython itself does with the same octets: no Python program is faster than that, if it looks at all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bench.harness import Run
    from tests.bench.workloads import Replies


def split(replies: Replies) -> Run:
    whole = replies.whole
    return lambda: whole.split(b"\r\n")


def count(content: bytes) -> Run:
    return lambda: content.count(b"\n")


def copy(content: bytes) -> Run:
    """memcpy, and the memory for it."""
    return lambda: bytearray(content)
