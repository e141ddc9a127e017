"""Seeds from the sessions that were recorded with real servers and clients (``tests/transcripts``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fuzz._harness import FLIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).parents[1] / "tests" / "transcripts"

_CHOICES: Final = {
    b"EHLO": b"a",
    b"LHLO": b"a",
    b"HELO": b"b",
    b"STARTTLS": b"c",
    b"AUTH": b"d",
    b"MAIL": b"n",
    b"RCPT": b"n",
    b"DATA": b"f",
    b"BDAT": b"j",
    b"RSET": b"k",
    b"NOOP": b"k",
    b"HELP": b"k",
    b"VRFY": b"l",
    b"EXPN": b"l",
    b"QUIT": b"m",
}
"""By what a client of ``_sessions`` says it too, more or less; anything else is content or a response."""


def _sessions() -> Iterator[tuple[bytes, list[tuple[str, bytes]]]]:
    """The mode, and what each side said in turn."""
    for path in sorted(FOLDER.glob("*.json")):
        recorded: Any = json.loads(path.read_text(encoding="utf-8"))
        said: list[tuple[str, bytes]] = []
        for who, text in recorded["log"]:
            octets = text.encode("utf-8", "surrogateescape").replace(FLIGHT, b"")
            if who not in ("C", "S"):
                continue
            if said and said[-1][0] == who:
                said[-1] = (who, said[-1][1] + octets)
            else:
                said.append((who, octets))
        lmtp = any(who == "C" and octets.startswith(b"LHLO") for who, octets in said)
        yield b"A" if lmtp else b"@", said


def replies() -> Iterator[bytes]:
    """For a target whose input is what a server says."""
    for mode, said in _sessions():
        flights: list[bytes] = []
        choice = b"p"
        for who, octets in said:
            if who == "S":
                flights.append(choice + octets)
            else:
                verb = octets.split(maxsplit=1)[:1]
                choice = _CHOICES.get(verb[0].upper() if verb else b"", b"i" if len(octets) > 80 else b"e")
        yield mode + FLIGHT.join(flights)


def commands() -> Iterator[bytes]:
    """For a target whose input is what a client says."""
    for mode, said in _sessions():
        yield mode + FLIGHT.join(b"a" + octets for who, octets in said if who == "C")


def contents() -> Iterator[bytes]:
    """What was sent behind DATA, its end included."""
    for _, said in _sessions():
        yield from (octets for who, octets in said if who == "C" and octets.endswith(b"\r\n.\r\n"))
