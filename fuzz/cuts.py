"""However a stream is cut (not at all, into single octets, anywhere), the same events come out of it, at both ends.

The input is one of ``replies`` behind a C, for a client, or one of ``commands`` behind anything else.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final
from zlib import crc32

from fuzz import _transcripts
from fuzz._sessions import play_client, play_server
from smtpproto.testing import octets, pieces, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

_CORPUS: Final = Path(__file__).parent / "corpus"


def test_one_input(data: bytes) -> None:
    play = play_client if data.startswith(b"C") else play_server
    chance = Random(crc32(data))

    def anywhere(flight: bytes) -> list[bytes]:
        return pieces(flight, [chance.randrange(len(flight) + 1) for _ in range(chance.randrange(8))])

    expected = play(data[1:], whole)
    assert play(data[1:], octets) == expected
    assert play(data[1:], anywhere) == expected


def seeds() -> Iterator[bytes]:
    for role, name, recorded in ((b"C", "replies", _transcripts.replies), (b"S", "commands", _transcripts.commands)):
        yield from (role + path.read_bytes() for path in sorted((_CORPUS / name).iterdir()))
        yield from (role + each for each in recorded())
