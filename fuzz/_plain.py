"""Fuzzing without atheris: mutations of the seeds by chance.

It does not see which branches an input takes, and so finds less; but it runs on every Python, and needs nothing.
"""

from __future__ import annotations

import re
import time
from hashlib import sha1
from itertools import takewhile
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

MOST_OCTETS: Final = 4096
_MOST_STEPS: Final = 5
_ENTRY: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"')


def words_of(dictionary: Path) -> list[bytes]:
    """The entries of a dictionary of libFuzzer."""
    entries = _ENTRY.findall(dictionary.read_bytes())
    return [each.decode("unicode_escape").encode("latin-1") for each in entries]


def mutated(seed: bytes, chance: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """The seed with some changes of it."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, _MOST_STEPS)):
        at = chance.randint(0, len(data))
        length = chance.choice((1, 1, 2, 4, 16, 64))
        match chance.randrange(7):
            case 0:
                data[at : at + length] = b""
            case 1:
                data[at : at + 1] = bytes((chance.randrange(256),))
            case 2:
                data[at:at] = chance.randbytes(length)
            case 3:
                data[at:at] = chance.choice(words)
            case 4:
                data[at : at + length] = chance.choice(words)
            case 5:
                data[at:at] = data[at : at + length] * chance.choice((1, 2, 50))
            case _:
                other = chance.choice(seeds)
                data[at:] = other[chance.randint(0, len(other)) :]
    return bytes(data[:MOST_OCTETS])


def inputs(seeds: Sequence[bytes], dictionary: Path, chance: Random) -> Iterator[bytes]:
    """Every seed, and then mutations of them without end."""
    yield from seeds
    words = words_of(dictionary)
    while True:
        yield mutated(chance.choice(seeds), chance, seeds, words)


def run(test_one_input: Callable[[bytes], None], tried: Iterable[bytes], found: Path) -> int:
    """Try these inputs; how many they were.

    What the target raises goes on to the caller, and the input that it raised for is in ``found`` then.
    """
    count = 0
    for data in tried:
        try:
            test_one_input(data)
        except BaseException:
            (found / f"crash-{sha1(data, usedforsecurity=False).hexdigest()}").write_bytes(data)
            raise
        count += 1
    return count


def for_seconds(seconds: float, tried: Iterable[bytes]) -> Iterator[bytes]:
    end = time.monotonic() + seconds
    return takewhile(lambda _: time.monotonic() < end, tried)
