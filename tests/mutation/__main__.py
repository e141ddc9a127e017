"""Mutation testing: ``python -m tests.mutation``, in ``mutants/``; as `make mutation` runs it.

Each function of the core's rooms is changed by `mutmut` in one small way after another, and the fast tests have to find
it (`forks`).  That is done in forks of a process that has imported everything, so a change in what runs *while* it is
imported (the tables, the registries) goes unseen there: such changes are tried again, each in a process of its own.
What mutmut does not touch, the rows of the tables of transitions, is changed by `rows`.

What survives must stand in ``survivors.txt`` with the reason why no test can find it, or why none should.

``--only-report`` looks at the last run, ``--rooms`` runs the mutants of those rooms anew and keeps what was found out
about the others, and ``--record`` writes the score for the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.mutation import outcome, rows

ROOT: Final = Path(__file__).parents[2]
MUTANTS: Final = ROOT / "mutants"
LEAST: Final = 95
"""Per cent of the mutants of a room that have to be killed."""

TRIED_AGAIN: Final = tuple(
    f"tests/test_{name}.py"
    for name in (
        *("errors", "commands", "parameters", "states", "replies", "sasl", "sasl_choice", "client", "server"),
        *("connect", "service", "server_auth", "authenticate", "sentences", "rules"),
    )
)
"""The tests for what runs while it is imported."""

ENVIRONMENT: Final = {**os.environ, "HYPOTHESIS_PROFILE": "mutation"}


GENERATE: Final = """
import sys
from mutmut.__main__ import create_mutants
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir
copy_src_dir()
copy_also_copy_files()
create_mutants(int(sys.argv[1]))
"""
"""mutmut has no command that makes the mutants and runs none."""


def run(processes: int, rooms: list[str]) -> None:
    """Make all mutants, and run the tests against each, or against those of the rooms that are named."""
    kept = {file: outcome.of_other_rooms(MUTANTS / file, rooms) for file in (outcome.FOUND, outcome.TRIED_AGAIN)}
    shutil.rmtree(MUTANTS, ignore_errors=True)
    MUTANTS.mkdir()
    environment = {**ENVIRONMENT, "MUTANT_UNDER_TEST": "mutant_generation"}
    subprocess.run([sys.executable, "-c", GENERATE, str(processes)], cwd=ROOT, env=environment, check=True)
    for file, found in kept.items():
        (MUTANTS / file).write_text(json.dumps(found), encoding="utf-8")
    command = [sys.executable, "-m", "tests.mutation.forks", outcome.FOUND, str(processes)]
    subprocess.run(command, cwd=MUTANTS, env={**ENVIRONMENT, "MUTANT_UNDER_TEST": ""}, check=True)


def try_again(mutant: str) -> bool:
    """Whether the tests find it where it is there from the import on: most likely those of its own room."""
    own = [file for file in TRIED_AGAIN if f"tests/test_{outcome.room_of(mutant).partition('/')[0]}.py" == file]
    return bool(own and fails(mutant, own)) or fails(mutant, TRIED_AGAIN)


def fails(mutant: str, tests: Sequence[str]) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    environment = {**ENVIRONMENT, "MUTANT_UNDER_TEST": mutant, "PYTHONPATH": str(MUTANTS)}
    try:
        done = subprocess.run(command, cwd=MUTANTS, env=environment, capture_output=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def tell(line: str = "") -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def report(found: list[outcome.Mutant], planted: rows.Outcome, *, record: bool) -> int:
    """Print the scores; the exit status."""
    listed = outcome.listed()
    survivors = [mutant for mutant in found if not mutant.killed]
    rooms = sorted({mutant.room for mutant in found})
    total, killed = (Counter(mutant.room for mutant in found if mutant.killed or every) for every in (True, False))
    low = [room for room in rooms if 100 * killed[room] < LEAST * total[room]]
    unlisted = [mutant for mutant in survivors if mutant.change not in listed]
    stale = set(listed) - {mutant.change for mutant in survivors}
    for room in rooms:
        tell(f"{room:24} {killed[room]:5} of {total[room]:5} killed: {100 * killed[room] / total[room]:5.1f} %")
    tell(f"{'all':24} {killed.total():5} of {total.total():5} killed: {100 * killed.total() / total.total():5.1f} %")
    tell(f"{'rows of the tables':24} {planted.killed:5} of {planted.total:5} killed")
    for mutant in unlisted:
        tell(f"\nsurvives, and is not listed: {mutant.name}\n{mutant.change}")
    for change in sorted(stale):
        tell(f"\nis listed, and does not survive (any more):\n{change}")
    for row in planted.survivors:
        tell(f"\nsurvives: {row}")
    if low:
        tell(f"\nless than {LEAST} % killed: {', '.join(low)}")
    if record:
        scores = {room: [killed[room], total[room]] for room in rooms}
        written = {"rooms": scores, "rows": [planted.killed, planted.total]}
        outcome.SCORE.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return 1 if low or unlisted or stale or planted.survivors else 0


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.partition(":")[0])
    parser.add_argument("--only-report", action="store_true", help="look at the last run, without another one")
    parser.add_argument("--record", action="store_true", help=f"write the score into {outcome.SCORE.name}")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at a time (default: %(default)s)")
    parser.add_argument("--rooms", nargs="+", default=[], metavar="ROOM", help="such as lines, or sasl/scram")
    options = parser.parse_args()
    if not options.only_report:
        run(options.processes, options.rooms)
    found = outcome.mutants(MUTANTS)
    at_import = outcome.run_at_import(MUTANTS)
    again = [mutant for mutant in found if not mutant.killed and mutant.function in at_import]
    outcomes = outcome.remembered(MUTANTS, [mutant.name for mutant in again], try_again, options.processes)
    for mutant in again:
        mutant.killed = outcomes[mutant.name]
    return report(found, rows.outcome(), record=options.record)


if __name__ == "__main__":
    sys.exit(main())
