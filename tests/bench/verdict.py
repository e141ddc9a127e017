"""Whether a row has reached its targets: by the median of its ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .harness import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .harness import Figure, Target


class Verdict(NamedTuple):
    """What was found, to be compared with the target's factor."""

    target: Target
    found: float | None
    """None where the peer is not there."""
    reached: bool | None

    def sentence(self, quantity: str) -> str:
        """``quantity``: what the row counts in, for targets that are no ratios."""
        target = self.target
        of = f" {quantity}" if target.against is None else f" x {target.against}"
        wanted = f"{target.kind} {_number(target.factor)}{of}"
        if self.found is None:
            return f"{wanted}: not known, as {target.against} is not here"
        return f"{wanted}: {'reached' if self.reached else 'NOT REACHED'} with {_number(self.found)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def verdict(target: Target, figures: Mapping[str, Figure]) -> Verdict:
    if target.against is None:
        found = figures[OURS].median
    elif target.against not in figures:
        return Verdict(target, None, None)
    else:
        ratio = figures[target.against].ratio
        found = ratio if target.kind == "at least" else 1 / ratio
    return Verdict(target, found, found >= target.factor if target.kind == "at least" else found <= target.factor)
