"""What the client says in a recorded session: its lines, its content and its chunks."""

from __future__ import annotations

import re
from typing import Final

from smtpproto import Bdat, EndOfData, State, UnknownCommand

from .ends import LIMITS, Ends
from .recorded import LARGEST
from .reply_words import Meaning, rule_of
from .said import class_of, read, without_masks

_find_end = re.compile(rb"\r\n\.\r\n").search
_BLOCK: Final = b"x" * 65_536
_COUNTED: Final = 1 << 28
"""Octets, at most, that a record does not show and that are counted all the same."""


class ClientSide:
    """Tells of it, and lets both ends of the engine know."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._told = ends.told
        self.unknown: tuple[int, UnknownCommand] | None = None
        """The last command that is not known, and where it stands."""
        self._said = b""  # the beginning of a line
        self._chunk = 0  # octets that are still to come of the last BDAT
        self._content = 0  # octets of content that were not told of yet
        self._tail = b"\r\n"  # the last octets of the content under way
        self._countable = _COUNTED

    def say(self, octets: bytes) -> None:
        """As they stand in the record, lines or not."""
        octets = self._said + octets
        self._said = b""
        at = 0
        while at < len(octets):
            if self._chunk:
                taken = octets[at : at + self._chunk]
                self._chunk_said(taken)
            elif self._ends.within_content:
                taken = self._content_said(octets[at:])
            else:
                taken = octets[at : octets.find(b"\n", at) + 1]
                if not taken:
                    taken = octets[at:]
                    if len(taken) <= LIMITS.command_line:
                        self._said = taken
                        return
                self._line_said(taken)
            at += len(taken)

    def end(self) -> None:
        """The record ends."""
        self._tell_content()
        if self._said:
            self._told.note("the record ends within a line of the client's")

    def begin_anew(self) -> None:
        """There is another connection."""
        self._tail = b"\r\n"

    # Content ---------------------------------------------------------------------------------------------------------

    def leave_content_out(self, octets: int) -> None:
        """The record has content, and does not show it: as many octets of any kind do as well, for the guide."""
        self._content += octets
        if self._ends.guide is None or not self._ends.within_content:
            self._tell_content()
            return
        if octets < len(b"\r\n") or octets > self._countable:
            return
        self._countable -= octets
        for at in range(0, octets - len(b"\r\n"), len(_BLOCK)):
            self._read_by_guide(_BLOCK[: octets - len(b"\r\n") - at])
        self._read_by_guide(b"\r\n")

    def leave_end_out(self) -> None:
        """The record leaves the content out that is due, or its end."""
        self._told.note("the content is not in the record" if not self._content else "the end of the content is not")
        self._end_of_content(b".\r\n" if self._tail.endswith(b"\r\n") else b"\r\n.\r\n", recorded=False)

    def _content_said(self, octets: bytes) -> bytes:
        """Content up to its end, or all that there is; returns that."""
        tail = self._tail[-4:]
        found = _find_end(tail + octets)
        size = len(octets) if found is None else found.end() - len(tail)
        taken = octets[:size]
        self._tail = (tail + taken)[-4:]
        own = len(taken) if found is None else max(0, len(taken) - len(b".\r\n"))
        self._content += own
        self._ends.send_content(taken[:own])
        if found is None:
            self._read_by_guide(taken)
        else:
            self._end_of_content(taken)
        return taken

    def _end_of_content(self, octets: bytes, *, recorded: bool = True) -> None:
        self._tell_content()
        command = EndOfData()
        self._ends.last = command
        self._tail = b"\r\n"
        if recorded:
            self._told.add("client", ".", command="EndOfData")
            self._told.mean(Meaning("the content ends", rule_of(command)))
        self._ends.send(command)
        self._read_by_guide(octets)

    def _read_by_guide(self, octets: bytes) -> None:
        self._ends.wait(octets)
        self._ends.go_on()

    def _tell_content(self) -> None:
        if self._content:
            octets, self._content = self._content, 0
            self._told.add("client", f"(content: {octets:,} octet{'' if octets == 1 else 's'})", command="content")

    # Chunks ----------------------------------------------------------------------------------------------------------

    def _begin_chunk(self, command: Bdat) -> None:
        if self._ends.recording.exact:
            self._chunk = command.size
            return
        if self._ends.guide is None:
            return
        self._countable -= command.size
        if command.size > LARGEST or self._countable < 0:
            self._told.note("more octets in chunks than are counted: what follows is not held against anybody")
            self._ends.get_lost()
            return
        # The record has no octets, if it has the content at all: as many of any kind do as well.
        filler = b"x" * command.size
        self._ends.send_content(filler)
        self._ends.wait(filler)

    def _chunk_said(self, octets: bytes) -> None:
        self._chunk -= len(octets)
        self._content += len(octets)
        self._ends.send_content(octets)
        self._read_by_guide(octets)
        if not self._chunk:
            self._tell_content()

    # Lines -----------------------------------------------------------------------------------------------------------

    def _line_said(self, octets: bytes) -> None:
        line = octets.removesuffix(b"\n").removesuffix(b"\r")
        self._tell_content()
        self._secure_meanwhile()
        within = self._ends.within_authentication
        line = without_masks(line, within=within)
        command, fault = read(line, within=within)
        shown = self._told.masking.client_line(line, command, answers_challenge=within)
        self._told.add("client", shown, command=class_of(command, fault))
        if octets.endswith(b"\n") and not octets.endswith(b"\r\n"):
            fault = Meaning("a bare LF ends the line, and not CRLF", "RFC 5321 section 2.3.8")
        if fault is not None:
            self._ends.object("client", fault.text, fault.rule)
        if isinstance(command, UnknownCommand):
            self.unknown = self._told.where, command
        self._ends.last = command
        if command is not None:
            self._ends.send(command)
        self._ends.wait(line + b"\r\n")
        if isinstance(command, Bdat):
            self._begin_chunk(command)
        self._ends.go_on()

    def _secure_meanwhile(self) -> None:
        """Most records do not show the TLS handshake; that the client goes on shows that there was one."""
        guide = self._ends.guide
        if not self._ends.recording.shows_tls and guide is not None and guide.state is State.TLS:
            self._ends.secure("TLS, which the record does not show")
