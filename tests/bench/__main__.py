"""`python -m tests.bench [--json FILE | --record] [--only ID ...] [--rounds N] [--quick]`: the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec

from . import importing, instructions, memory, network, recorded, scale
from .harness import ROUNDS, measure_here, measure_with, runs_for
from .rows import CURVES, ROWS
from .verdict import verdict
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .harness import Figure, Row, Timer
    from .rows import Curve
    from .verdict import Verdict

REGISTRY: Final = Path(sys.prefix) / "registry" / "bin" / "python"
"""Where `make bench` puts it."""
CURVE_ROUNDS: Final = 5
NETWORK_ROUNDS: Final = 7
QUICK_CONNECTIONS: Final = 1000
QUICK_MESSAGES: Final = 20
P = ParamSpec("P")
GROUPS: Final = ("network", "scaling", "scale", "instructions")


class Bench:
    """One run of it: what was chosen, the workers, and what was found so far."""

    def __init__(self, stack: ExitStack, arguments: argparse.Namespace) -> None:
        self.only = frozenset[str](arguments.only)
        self.quick: bool = arguments.quick
        self.rounds: int = arguments.rounds
        self.main = stack.enter_context(Worker())
        self.why_no_registry = ""
        self.registry = self._registry(stack, arguments.registry)
        self.failed: list[str] = []
        self.verdicts: list[tuple[Row, Verdict]] = []
        self.rows: list[dict[str, Any]] = []
        self.scaling: list[dict[str, Any]] = []
        self.scale: list[dict[str, Any]] = []

    def _registry(self, stack: ExitStack, python: Path) -> Worker | None:
        """The worker of the registry's package; of another version of Python, it would be no peer."""
        if not python.exists():
            self.why_no_registry = f"there is no {python}"
            return None
        worker = stack.enter_context(Worker(python))
        here, there = self.main.ask()["python"], worker.ask()["python"]
        if here != there:
            self.why_no_registry = f"{python} is Python {there}, and not {here}"
            return None
        return worker

    def wanted(self, *names: str) -> bool:
        return not self.only or not self.only.isdisjoint(names)

    # The rows ------------------------------------------------------------------------------------------------------

    def in_workers(self, row: Row) -> None:
        left_out: dict[str, str] = {}
        timers: dict[str, Timer] = {}
        for name, contestant in row.contestants.items():
            assert isinstance(contestant, str)
            worker = self.registry if contestant.startswith("registry:") else self.main
            if worker is None:
                left_out[name] = self.why_no_registry
            else:
                timers[name] = worker.timer(contestant, row.workload)
        self.note(row, measure_with(timers, row, self.rounds, left_out), left_out)

    def imports(self) -> None:
        row = importing.ROW
        left_out: dict[str, str] = {}
        timers = importing.timers(None if self.registry is None else self.registry.python)
        self.note(row, measure_with(timers, row, self.rounds, left_out), left_out)

    def idle(self, row: Row) -> None:
        left_out: dict[str, str] = {}
        connections = QUICK_CONNECTIONS if self.quick else memory.CONNECTIONS
        self.note(row, memory.measure(row, connections, left_out), left_out)
        resident = memory.measure_resident(row, connections)
        if resident:
            self.note(memory.as_resident(row), resident, left_out)

    def network(self) -> None:
        rows = network.rows(QUICK_MESSAGES) if self.quick else network.ROWS
        for row in rows:
            if self.wanted(row.id, "network"):
                self.attempt(row.id, self.end_to_end, row)
        network.stop()

    def end_to_end(self, row: Row) -> None:
        left_out: dict[str, str] = {}
        self.note(row, measure_here(row, min(self.rounds, NETWORK_ROUNDS), left_out), left_out)

    def note(self, row: Row, figures: dict[str, Figure], left_out: dict[str, str]) -> None:
        verdicts = [verdict(target, figures) for target in row.targets]
        self.verdicts += [(row, each) for each in verdicts]
        print(f"\n{row.name} ({row.id}), {row.quantity} for one {row.unit}")
        for who, figure in figures.items():
            print(
                f"  {who:<26}{figure.median:>14,.0f}  ({figure.low:,.0f} to {figure.high:,.0f})"
                f"   x {figure.ratio:.3g}  ({figure.ratio_low:.3g} to {figure.ratio_high:.3g})"
            )
        for who, why in left_out.items():
            print(f"  {who:<26}left out: {why}")
        for each in verdicts:
            print(f"    {each.sentence(row.quantity)}")
        sys.stdout.flush()
        self.rows.append(
            {
                "id": row.id,
                "name": row.name,
                "unit": row.unit,
                "quantity": row.quantity,
                "figures": {who: figure._asdict() for who, figure in figures.items()},
                "targets": [
                    {**each.target._asdict(), "found": each.found, "reached": each.reached} for each in verdicts
                ],
                "left_out": left_out,
            }
        )

    # The rest ------------------------------------------------------------------------------------------------------

    def curve(self, curve: Curve) -> None:
        """The best of some rounds for each size, all sizes within each round: what disturbs a run only adds to it."""
        sizes = curve.sizes[:2] if self.quick else curve.sizes
        timers = {size: self.main.timer(curve.contestant, (curve.workload, size)) for size in sizes}
        runs = {size: runs_for(timer) for size, timer in timers.items()}
        times: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(min(self.rounds, CURVE_ROUNDS)):
            for size in sizes:
                times[size].append(timers[size].time(runs[size]))
        points = [[size, min(found)] for size, found in times.items()]
        self.note_curve({"id": curve.id, "name": curve.name, "unit": curve.unit, "size": curve.size, "points": points})

    def note_curve(self, curve: dict[str, Any]) -> None:
        print(f"\n{curve['name']} ({curve['id']}), ns for one {curve['unit']}")
        for size, nanoseconds in curve["points"]:
            print(f"  {size:>12,} {curve['size']:<12}{nanoseconds:>16,.0f}")
        sys.stdout.flush()
        self.scaling.append(curve)

    def big_curves(self) -> None:
        for found in scale.scaling(self.quick):
            self.note_curve({"size": "connections", **found})

    def big_runs(self) -> None:
        print()
        for each in scale.measurements(self.quick):
            print(f"{each.name} ({each.id}): {each.value:,.0f} {each.unit}", flush=True)
            self.scale.append(each._asdict())

    def instructions(self) -> None:
        """For the rows that were measured; for all, where none was."""
        if not instructions.is_there():
            print("\nThere is no valgrind, so instructions are not counted.")
            return
        measured = {row["id"]: row for row in self.rows}
        print("\ninstructions for one of the unit")
        counted = instructions.count([row for row in ROWS if row.id in measured] or ROWS)
        for row in ROWS:
            if row.id in counted:
                measured.get(row.id, {})["instructions"] = counted[row.id]
                each = ", ".join(f"{who} {found:,.0f}" for who, found in counted[row.id].items())
                print(f"  {row.id}, {row.unit}: {each}", flush=True)

    def run(self) -> None:
        for row in ROWS:
            if self.wanted(row.id):
                self.attempt(row.id, self.in_workers, row)
        if self.wanted(importing.ROW.id):
            self.attempt(importing.ROW.id, self.imports)
        for row in memory.ROWS:
            if self.wanted(row.id):
                self.attempt(row.id, self.idle, row)
        self.network()
        for curve in CURVES:
            if self.wanted(curve.id, "scaling"):
                self.attempt(curve.id, self.curve, curve)
        if self.wanted("scaling"):
            self.attempt("scaling", self.big_curves)
        if self.wanted("scale"):
            self.attempt("scale", self.big_runs)
        if self.wanted("instructions"):
            self.attempt("instructions", self.instructions)
        self.conclude()

    def attempt(self, name: str, measure: Callable[P, None], *args: P.args, **options: P.kwargs) -> None:
        """What fails must not take the rest with it: that took minutes."""
        try:
            measure(*args, **options)
        except Exception as error:
            traceback.print_exc()
            print(f"\n{name} has failed: {error}", flush=True)
            self.failed.append(name)

    def conclude(self) -> None:
        """How many targets are reached, and which are not."""
        known = [(row, each) for row, each in self.verdicts if each.reached is not None]
        reached = sum(each.reached is True for _, each in known)
        unknown = len(self.verdicts) - len(known)
        print(f"\n{reached} of {len(known)} targets are reached" + (f"; {unknown} are not known" if unknown else ""))
        for row, each in known:
            if not each.reached:
                print(f"  {row.id}: {each.sentence(row.quantity)}")
        if self.failed:
            print(f"These have failed: {', '.join(self.failed)}")

    def results(self) -> recorded.Results:
        return {"machine": machine(), "rows": self.rows, "scaling": self.scaling, "scale": self.scale}


def machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }


def _processor() -> str:
    """`platform` does not know it on Linux."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure, and say which targets are reached; assert nothing.",
        epilog=f"An ID is that of a row or of a curve, or one of {', '.join(GROUPS)}.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there, too")
    parser.add_argument(
        "--record", action="store_true", help="put what was found into the documentation and the README"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="measure nothing else")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"instead of {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument(
        "--registry",
        type=Path,
        default=REGISTRY,
        metavar="PYTHON",
        help=f"that of an environment with the registry's smtpproto, instead of {REGISTRY}",
    )
    chosen = parser.parse_args(arguments)
    unknown = set[str](chosen.only) - known_ids()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}: there are {', '.join(sorted(known_ids()))}")
    if chosen.record and (chosen.only or chosen.quick):
        parser.error("--record wants the whole of it, so neither --only nor --quick")
    return chosen


def known_ids() -> set[str]:
    rows = (*ROWS, importing.ROW, *memory.ROWS, *network.ROWS)
    return {*(row.id for row in rows), *(curve.id for curve in CURVES), *GROUPS}


def main(given: Sequence[str] | None = None) -> int:
    """The exit status: 1 where something could not be measured."""
    arguments = parsed(given)
    print("Medians, with the quartiles; x is how many times as long (as much) as ours it takes.")
    with ExitStack() as stack:
        bench = Bench(stack, arguments)
        bench.run()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(bench.results(), indent=2) + "\n")
    if arguments.record and not bench.failed:
        recorded.record(bench.results())
        recorded.write_readme()
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
