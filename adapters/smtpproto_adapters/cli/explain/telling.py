"""What is told of a recorded session while it is run again: line by line, masked, and the first fault."""

from __future__ import annotations

from smtpproto import ErrorCode

from .explanation import Fault, Line
from .masking import Masking
from .recorded import MOST, NoSession
from .reply_words import Meaning
from .said import without_rule


class Telling:
    """The lines so far."""

    def __init__(self) -> None:
        self.where = 0
        """Where in the record it has come to."""
        self.lines: list[Line] = []
        self.fault: Fault | None = None
        self.masking: Masking = Masking()

    def add(self, who: str, text: str, *, command: str | None = None) -> None:
        """A line, which is masked already.  Raises `NoSession` where there are too many."""
        if len(self.lines) >= MOST:
            raise NoSession(f"it has more than the {MOST} lines that are read")
        self.lines.append(Line(self.where, who, text, command))

    def note(self, text: str) -> None:
        """What nobody has said."""
        self.add("", text)

    def mean(self, *meanings: Meaning) -> None:
        """What the last line means."""
        self.lines[-1] = self.lines[-1]._replace(meanings=meanings)

    def object(self, who: str, text: str, rule: str, *, where: int | None = None) -> None:
        """Something was against the protocol; the earliest counts, and the rule that it cites itself."""
        where = self.where if where is None else where
        if self.fault is None or where < self.fault.where:
            text, cited = without_rule(text)
            self.fault = Fault(where, who, self.masking.masked(text), cited or rule)

    def end_within_reply(self) -> None:
        """The record breaks off; whoever has broken the protocol before has done worse."""
        if self.fault is None:
            text, rule = "the record ends within a reply", "RFC 5321 section 4.2"
            self.fault = Fault(self.where, "server", text, rule, ErrorCode.CLOSED_BY_PEER)
