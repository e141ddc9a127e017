"""Recorded sessions: how they are read from a file, in whatever way they were written down.

A `Recording` has what was said, by whom, in its order: octets, since octets are what the engine reads.  This room reads
JSON, `transcripts` what people paste.  Whoever reads a record has to live with what it lacks: most show no octets but
lines (so their line ends are taken for CRLF), many no content, and only some where TLS began.  ``exact`` says that
nothing of all that is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

LARGEST: Final = 4 * 1024 * 1024
"""Octets of a file that is read."""
MOST: Final = 100_000
"""Lines, or entries, of a recording."""


class NoSession(Exception):
    """What was read is no recorded session, and why, as a sentence."""


class Said(NamedTuple):
    """Octets of one side."""

    where: int
    """The line of the file, or the entry of its log, that has it; from 1 on."""
    by_client: bool
    octets: bytes


class Unshown(NamedTuple):
    """So many octets of a message that the record does not show."""

    where: int
    octets: int


class Secured(NamedTuple):
    """TLS was negotiated here."""

    where: int
    how: str
    """Version and cipher, as the record has them."""


class Noted(NamedTuple):
    """What else the record says."""

    where: int
    text: str


Entry: TypeAlias = Said | Unshown | Secured | Noted


class Recording(NamedTuple):
    """A session."""

    form: str
    """How it is written down, for people."""
    number: int | None
    """The number that the record has for it; None where there is but one."""
    entries: tuple[Entry, ...]
    lmtp: bool = False
    exact: bool = False
    """It is a record of octets: what it does not show was not sent."""
    shows_tls: bool = False
    """It shows where TLS began, if it did."""

    @property
    def secure(self) -> bool:
        """TLS was there before the first octet."""
        return isinstance(next((each for each in self.entries if isinstance(each, Said | Secured)), None), Secured)


def recording(form: str, entries: list[Entry], number: int | None = None, **known: bool) -> Recording:
    """A `Recording`, which speaks LMTP where a client says LHLO."""
    says_lhlo = any(isinstance(each, Said) and each.by_client and _says_lhlo(each.octets) for each in entries)
    return Recording(form, number, tuple(entries), **{**known, "lmtp": known.get("lmtp", False) or says_lhlo})


_says_lhlo = re.compile(rb"[Ll][Hh][Ll][Oo] ").match


def read_json(text: str) -> list[Recording] | None:
    """The sessions of a file of JSON; None where it is none.  Raises `NoSession`."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        document: Any = json.loads(text)
    except ValueError:
        return _read_lines(text)
    except RecursionError:
        raise NoSession("this is JSON that is nested too deeply to be a session") from None
    match document:
        case {"log": list()}:
            return [_read_log(document["log"])]
        case _:
            return _read_lines(text)


# A log of octets -----------------------------------------------------------------------------------------------------

_ABRIDGED = re.compile(r"\[([0-9]{1,9}) bytes\] ")


def _read_log(log: list[Any]) -> Recording:
    """``[["S", "220 …\\r\\n"], ["C", "EHLO …\\r\\n"], ["-", "TLS …"]]``, with one character for each octet."""
    if len(log) > MOST:
        raise NoSession(f"the log has {len(log)} entries, more than the {MOST} that are read")
    entries: list[Entry] = []
    for where, entry in enumerate(log, 1):
        match entry:
            case ["S" | "C" as who, str(said)]:
                entries += _of_log(where, who == "C", said)
            case ["-", str(said)]:
                if said.startswith("TLS"):
                    entries.append(Secured(where, said.removeprefix("TLS").strip()))
            case _:
                raise NoSession(f'entry {where} of the log is not ["S", text], ["C", text] or ["-", text]')
    if not any(isinstance(each, Said) for each in entries):
        raise NoSession("nobody says anything in the log")
    return recording("a log of octets", entries, exact=True, shows_tls=True)


def _of_log(where: int, by_client: bool, said: str) -> Iterator[Entry]:
    abridged = _ABRIDGED.match(said) if by_client else None
    if abridged is not None:
        yield Unshown(where, max(0, int(abridged[1]) - len(b".\r\n")))
        yield Said(where, True, b".\r\n")
        return
    try:
        yield Said(where, by_client, said.encode("latin-1"))
    except UnicodeEncodeError:
        yield Said(where, by_client, octets_of(said))


def octets_of(text: str) -> bytes:
    """As UTF-8; where it came from octets that are none, those."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


# What `--json` writes ------------------------------------------------------------------------------------------------


class _Begun:
    """A session that is being read."""

    def __init__(self, number: int | None, *, lmtp: bool) -> None:
        self.number = number
        self.lmtp = lmtp
        self.entries: list[Entry] = []
        self.greeted = False

    def recording(self) -> Recording:
        return recording("the JSON of this command", self.entries, self.number, lmtp=self.lmtp, shows_tls=True)


def _read_lines(text: str) -> list[Recording]:
    """One object a line, as `smtpproto connect`, `send` and `serve` write them."""
    reader = _LinesReader()
    # Not splitlines(): what JSON takes for a line end is LF alone.
    lines = text.split("\n")
    if len(lines) > MOST:
        raise NoSession(f"the file has {len(lines)} lines, more than the {MOST} that are read")
    for where, line in enumerate(lines, 1):
        if line.strip():
            reader.read(where, _object(where, line))
    found = [begun.recording() for begun in reader.sessions if any(isinstance(each, Said) for each in begun.entries)]
    if not found:
        raise NoSession("this is JSON, but nobody says anything in it: a session has `sent`, `received` or `event`")
    return found


def _object(where: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise NoSession(f"line {where} is no JSON, and those before it are") from None
    if not isinstance(found, dict):
        raise NoSession(f"line {where} is no JSON object")
    return found  # pyright: ignore[reportUnknownVariableType]  # its keys are text


_TOLD: Final = frozenset({"sent", "received", "event", "tls", "content", "notice", "outcome"})


class _LinesReader:
    def __init__(self) -> None:
        self.sessions: list[_Begun] = []
        self._open: dict[object, _Begun] = {}
        self._lmtp = False

    def read(self, where: int, line: dict[str, Any]) -> None:
        kind, number = line.get("type"), line.get("session")
        if kind == "target":
            self._lmtp = line.get("lmtp") is True
        elif kind == "listening":
            self._lmtp = str(line.get("url")).startswith("lmtp:")
        elif kind in _TOLD:
            session = self._session(number if type(number) is int else None)
            if kind == "event" and line.get("event") == "Greeting" and session.greeted:
                session = self._begin(session.number)  # connected anew: TLS was tried, and has failed
            self._note(session, where, line)
        elif kind == "closed":
            self._open.pop(number if type(number) is int else None, None)

    def _session(self, number: int | None) -> _Begun:
        return self._open.get(number) or self._begin(number)

    def _begin(self, number: int | None) -> _Begun:
        begun = self._open[number] = _Begun(number, lmtp=self._lmtp)
        self.sessions.append(begun)
        return begun

    def _note(self, session: _Begun, where: int, line: dict[str, Any]) -> None:
        kind = line["type"]
        reply = line.get("reply")
        said = line.get("line")
        if reply is not None and kind in ("event", "sent"):
            session.greeted = True
            session.entries.append(Said(where, False, _octets_of_reply(where, reply)))
        elif kind in ("sent", "received"):
            if not isinstance(said, str):
                raise NoSession(f"line {where} has neither a `reply` nor a `line`")
            session.entries.append(Said(where, True, octets_of(f"{said}\r\n")))
        elif kind == "tls":
            session.entries.append(Secured(where, f"{line.get('version')}, {line.get('cipher')}"))
        elif kind == "content":
            octets = line.get("octets")
            if type(octets) is not int or octets < 0:
                raise NoSession(f"line {where} has `content` without its number of `octets`")
            session.entries.append(Unshown(where, octets))
        elif kind == "notice":
            session.entries.append(Noted(where, str(line.get("text"))))
        elif kind == "outcome" and line.get("code") != 0:
            session.entries.append(Noted(where, f"the command ended with {line.get('name')}: {line.get('message')}"))


def _octets_of_reply(where: int, reply: Any) -> bytes:
    match reply:
        case {"code": int(code), "lines": [*_, str()]} if all(isinstance(each, str) for each in reply["lines"]):
            *first, last = reply["lines"]
            return octets_of("".join(f"{code}-{each}\r\n" for each in first) + f"{code} {last}\r\n")
        case _:
            raise NoSession(f"line {where} has a `reply` without its `code` and `lines`")
