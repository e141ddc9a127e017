"""What is told of a recorded session: its lines, what they mean, and the first thing that was wrong."""

from __future__ import annotations

from typing import NamedTuple

from smtpproto import ErrorCode

from .recorded import Recording
from .reply_words import Meaning


class Line(NamedTuple):
    """A line of the session, or what happened between two."""

    where: int
    who: str
    """``client``, ``server``; empty for what nobody said."""
    text: str
    """As it was said, without secrets."""
    command: str | None = None
    """The class of the client's command; or of the one that a reply answers."""
    event: str | None = None
    """The event that a client of the engine gets."""
    meanings: tuple[Meaning, ...] = ()


class Fault(NamedTuple):
    """The first thing that was against the protocol."""

    where: int
    who: str
    text: str
    rule: str
    code: ErrorCode = ErrorCode.PROTOCOL_ERROR

    @property
    def sentence(self) -> str:
        """All of it but for where."""
        if self.code is ErrorCode.CLOSED_BY_PEER:
            return f"{self.text} ({self.rule})"
        return f"the {self.who} broke the protocol: {self.text} ({self.rule})"


class Explanation(NamedTuple):
    """What happened."""

    recording: Recording
    lines: tuple[Line, ...]
    fault: Fault | None
    judged: bool
    """False where the record begins too late for that."""
