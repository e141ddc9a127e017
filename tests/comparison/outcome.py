"""What a probe found."""

from __future__ import annotations

from typing import Final, NamedTuple

YES: Final = "yes"
PARTLY: Final = "partly"
NO: Final = "no"
ORDER: Final = (YES, PARTLY, NO)
"""From the best to the worst."""


class Outcome(NamedTuple):
    """A mark, and the sentence for the footnote."""

    mark: str
    found: str


class Unsupported(Exception):
    """A library has nothing that could do what a probe wants.  The message says what it has."""


def judged(good: object, found: str, otherwise: str) -> Outcome:
    """Yes with the one sentence, or no with the other."""
    return Outcome(YES, found) if good else Outcome(NO, otherwise)


def said(error: BaseException) -> str:
    """An exception in a few words that are the same in every run."""
    return f"{type(error).__name__}"
