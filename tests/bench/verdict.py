"""Whether a row has reached its targets: by the median of its ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .harness import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .harness import Figure, Target

UNITS: Final = {"ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")), "bytes": ((1, "bytes"),)}


class Verdict(NamedTuple):
    """What was found, to be compared with the target's factor."""

    target: Target
    found: float | None
    """None where the peer is not there."""
    reached: bool | None

    def wanted(self, quantity: str) -> str:
        """``quantity``: what the row counts in, for targets that are no ratios."""
        return f"{self.target.kind} {self._value(self.target.factor, quantity)}"

    def came_to(self, quantity: str) -> str:
        assert self.found is not None
        return self._value(self.found, quantity)

    def sentence(self, quantity: str) -> str:
        wanted = self.wanted(quantity)
        if self.found is None:
            return f"{wanted}: not known, as {self.target.against} is not here"
        return f"{wanted}: {'reached' if self.reached else 'NOT REACHED'} with {self.came_to(quantity)}"

    def _value(self, value: float, quantity: str) -> str:
        against = self.target.against
        return amount(value, quantity) if against is None else f"{number(value)} x {against}"


def number(value: float) -> str:
    """Three digits of it, or all that stand before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def amount(value: float, quantity: str) -> str:
    """So many nanoseconds or bytes, in the unit that suits them."""
    size, unit = scale(value, quantity)
    return f"{number(value / size)} {unit}"


def scale(value: float, quantity: str) -> tuple[float, str]:
    """The largest unit of the quantity that is no larger than the value, and its name; else the smallest."""
    units = UNITS[quantity]
    return next((each for each in units if value >= each[0]), units[-1])


def verdict(target: Target, figures: Mapping[str, Figure]) -> Verdict:
    if target.against is None:
        found = figures[OURS].median
    elif target.against not in figures:
        return Verdict(target, None, None)
    else:
        ratio = figures[target.against].ratio
        found = ratio if target.kind == "at least" else 1 / ratio
    return Verdict(target, found, found >= target.factor if target.kind == "at least" else found <= target.factor)
