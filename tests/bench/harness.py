"""How things are measured here.

All contestants of a row run in turn within each round, so that whatever else the machine does meets all of them alike;
the order changes from round to round.  A ratio is the median of the ratios of the rounds, not the ratio of two
medians.  What a contestant needs beforehand (a connection, a buffer) is made outside of the measured time.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from time import perf_counter_ns
from typing import NamedTuple

ROUNDS = 21
ROUND_NS = 10_000_000

Prepare = Callable[[], Callable[[], object]]
"""Makes one run ready, and returns it."""


class Row(NamedTuple):
    """One thing to measure."""

    name: str
    unit: str
    operations: int
    """How many of the unit one run does."""
    contestants: dict[str, Prepare]
    """The first is ours."""


class Figure(NamedTuple):
    """What came out, in nanoseconds for one of the unit."""

    median: float
    low: float
    high: float
    """The quartiles: half of the rounds lie between the two."""
    ratio: float
    """How many times as long as ours it takes."""
    ratio_low: float
    ratio_high: float


def time_of(prepare: Prepare, runs: int) -> int:
    ready = [prepare() for _ in range(runs)]
    begin = perf_counter_ns()
    for run in ready:
        run()
    return perf_counter_ns() - begin


def runs_for(prepare: Prepare) -> int:
    """So many runs that a round takes long enough for the clock."""
    runs = 1
    while (taken := time_of(prepare, runs)) < ROUND_NS // 4:
        runs *= 2
    return max(1, runs * ROUND_NS // taken)


def measure(row: Row) -> dict[str, Figure]:
    names = list(row.contestants)
    runs = {name: runs_for(prepare) for name, prepare in row.contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for number in range(ROUNDS):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                taken = time_of(row.contestants[name], runs[name])
                times[name].append(taken / runs[name] / row.operations)
    finally:
        gc.enable()
    return figures(times)


def figures(times: dict[str, list[float]]) -> dict[str, Figure]:
    """The figures from the times of each contestant, round by round; the first is ours."""
    ours = next(iter(times.values()))
    found: dict[str, Figure] = {}
    for name, theirs in times.items():
        low, median, high = statistics.quantiles(theirs, n=4)
        ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
        ratio_low, ratio, ratio_high = statistics.quantiles(ratios, n=4)
        found[name] = Figure(median, low, high, ratio, ratio_low, ratio_high)
    return found
