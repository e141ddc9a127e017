"""How things are measured here.

All contestants of a row run in turn within each round, so that whatever else the machine does meets all of them alike;
the order changes from round to round.  A contestant's share of a round is as many runs as make up ten milliseconds, and
what counts is the median of them: a run in whose midst the system gave the processor to another says nothing.  A ratio
is the median of the ratios of the rounds, not the ratio of two medians.  What a contestant needs beforehand (a
connection, a buffer) is made outside of the measured time.

A contestant of most rows lives in a process of its own environment, a worker (see `worker`), because the registry's
package `smtpproto` has the same name as ours; `measure` asks the workers in turn.  `measure_here` runs the contestants
in this process, for rows that have to do with processes and sockets of their own.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import Literal, NamedTuple, Protocol

OURS = "smtpproto"
"""Whom the others are compared with."""
ROUNDS = 15
ROUND_NS = 10_000_000
"""What one contestant's share of a round should take, in nanoseconds."""

Run = Callable[[], object]
"""One run, ready to go."""
Prepare = Callable[[], Run]
"""Makes one run ready, and returns it."""


class Target(NamedTuple):
    """What a row has to reach.

    `Target("smtplib", "at least", 4)`: we are at least four times as fast as smtplib, which takes at least four times
    as long.  `Target("bytes.split", "at most", 10)`: we take at most ten times as long (as much memory) as it.
    `Target(None, "at most", 400)`: we take at most 400 of what the row counts in, nanoseconds or bytes.
    """

    against: str | None
    kind: Literal["at least", "at most"]
    factor: float


class Row(NamedTuple):
    """One thing to measure."""

    id: str
    name: str
    unit: str
    operations: int
    """How many of the unit one run does."""
    contestants: Mapping[str, str | Prepare]
    """By their names, ours among them: what `measure_here` can run, or for a worker `module:function` in
    `tests.bench.contestants`, which is called with the workload."""
    targets: tuple[Target, ...] = ()
    workload: tuple[str, int] = ("nothing", 0)
    """The function in `workloads` that makes it, and its size."""
    runs: int | None = None
    """How many runs make a contestant's share of a round; None: as many as take `ROUND_NS`."""
    clock: Callable[[], int] = perf_counter_ns
    """In nanoseconds.  Only `measure_here` looks at it; `time.process_time_ns` measures the work and not the wait."""
    quantity: Literal["ns", "bytes"] = "ns"


class Figure(NamedTuple):
    """What came out, for one of the unit, in nanoseconds (or bytes, where it is memory)."""

    median: float
    low: float
    high: float
    """The quartiles: half of the rounds lie between the two."""
    ratio: float
    """How many times as long as ours it takes."""
    ratio_low: float
    ratio_high: float


class Missing(Exception):
    """A contestant is not there, and why: it is left out."""


class Measurement(NamedTuple):
    """One number that is compared with nobody's."""

    id: str
    name: str
    value: float
    unit: str


class Timer(Protocol):
    """Where a contestant can be timed: in a worker, or here."""

    def time(self, runs: int) -> float:
        """How many nanoseconds a run takes, without what makes it ready: the median of so many."""
        ...


class Here:
    """A contestant in this process."""

    def __init__(self, prepare: Prepare, clock: Callable[[], int] = perf_counter_ns) -> None:
        self.prepare = prepare
        self.clock = clock

    def time(self, runs: int) -> float:
        prepare, clock = self.prepare, self.clock
        times: list[int] = []
        for _ in range(runs):
            # One by one: many that are ready at once would push each other out of the processor's caches.
            run = prepare()
            begin = clock()
            run()
            times.append(clock() - begin)
        return statistics.median(times)


def runs_for(timer: Timer) -> int:
    """So many runs that together they take `ROUND_NS`."""
    runs = 1
    while (taken := timer.time(runs) * runs) < ROUND_NS / 4:
        runs *= 2
    return max(1, round(runs * ROUND_NS / taken))


def measure_here(row: Row, rounds: int = ROUNDS, left_out: dict[str, str] | None = None) -> dict[str, Figure]:
    """The figures of a row all of whose contestants are run in this process; as `measure_with`."""
    timers: dict[str, Timer] = {}
    for name, prepare in row.contestants.items():
        assert not isinstance(prepare, str), f"{name} is to be run in a worker"
        timers[name] = Here(prepare, row.clock)
    return measure_with(timers, row, rounds, left_out)


def measure_with(
    timers: Mapping[str, Timer], row: Row, rounds: int, left_out: dict[str, str] | None = None
) -> dict[str, Figure]:
    """The figures of those contestants of the row that there is a timer for.

    One that raises `Missing` at first is left out, and noted in ``left_out``.
    """
    runs: dict[str, int] = {}
    for name, timer in timers.items():
        try:
            timer.time(1)
            runs[name] = row.runs or runs_for(timer)
        except Missing as missing:
            if left_out is not None:
                left_out[name] = str(missing)
    names = list(runs)
    values: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                values[name].append(timers[name].time(runs[name]) / row.operations)
    finally:
        gc.enable()
    return figures(values)


def figures(values: Mapping[str, Sequence[float]]) -> dict[str, Figure]:
    """The figures from the values of each contestant, round by round; ours are among them."""
    ours = values[OURS]
    found: dict[str, Figure] = {}
    for name, theirs in values.items():
        low, median, high = quartiles(theirs)
        ratio_low, ratio, ratio_high = quartiles([their / our for their, our in zip(theirs, ours, strict=True)])
        found[name] = Figure(median, low, high, ratio, ratio_low, ratio_high)
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high
