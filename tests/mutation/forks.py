"""Run the tests against each mutant: ``python -m tests.mutation.forks OUTCOME.json 2``, in the folder of the mutants,
by so many processes.  What stands in the file already is not tried again.

The tests are collected once, and run once unchanged, while it is noted which of them comes by which line.  Then each
mutant gets a fork, in which only the tests run that come by the line that differs, the quickest first, until one fails.
mutmut's own run takes many times as long: it collects anew for every mutant, and goes by functions, not by lines.
"""

from __future__ import annotations

import ast
import json
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

MUTATED: Final = Path("smtpproto")
ORIGINAL: Final = "__mutmut_orig"
_LONGER: Final = 10
"""A mutant may take so many times the seconds that its tests took before, and a few more; then it is killed, in both
senses."""
_FEW_SECONDS: Final = 5
_MOST_MEMORY: Final = 4 << 30

Line = tuple[str, int]
"""A file, and the number of a line in it."""


class Lines(NamedTuple):
    """Where the original differs from a mutant: whoever does not come by here cannot tell them apart."""

    file: str
    first: int
    last: int


def places(folder: Path) -> dict[str, Lines]:
    """All mutants by name."""
    found: dict[str, Lines] = {}
    for meta in sorted(folder.rglob("*.meta")):
        path = meta.with_suffix("")
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        functions = {node.name: node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
        for name in json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]:
            mutant = functions[name.rpartition(".")[2]]
            original = functions[mutant.name.rpartition("__mutmut_")[0] + ORIGINAL]
            found[name] = Lines(str(path), *_difference(original, mutant, lines))
    return found


def _difference(original: ast.FunctionDef, mutant: ast.FunctionDef, lines: list[str]) -> tuple[int, int]:
    """The first and the last line of the statement of the original in which the two differ at first."""
    assert original.end_lineno is not None
    at = original.lineno
    while at < original.end_lineno and lines[at] == lines[at - original.lineno + mutant.lineno]:
        at += 1
    at += 1  # lines are counted from one, and those of a list from none; the first one has the name, and differs
    whole = (original.lineno, original.end_lineno)
    if at < original.body[0].lineno:
        return whole  # a default is the concern of every call
    return min(
        (_extent(each) for each in ast.walk(original) if isinstance(each, ast.stmt) and _has(each, at)),
        default=whole,
        key=_length,
    )


def _extent(statement: ast.stmt) -> tuple[int, int]:
    """The lines of a statement, without those of the statements in it."""
    assert statement.end_lineno is not None
    within = [each.lineno for each in ast.walk(statement) if isinstance(each, ast.stmt) and each is not statement]
    return statement.lineno, max(statement.lineno, min(within) - 1) if within else statement.end_lineno


def _has(statement: ast.stmt, line: int) -> bool:
    first, last = _extent(statement)
    return first <= line <= last


def _length(extent: tuple[int, int]) -> int:
    return extent[1] - extent[0]


class Coverage(NamedTuple):
    tests: dict[Line, set[int]]
    """The numbers of the tests that come by a line."""
    seconds: list[float]
    """What each test takes."""
    failed: list[str]


class Forks:
    """Takes the place of pytest's loop over the tests."""

    def __init__(self, mutants: dict[str, Lines], processes: int) -> None:
        self.mutants = mutants
        self.processes = processes
        self.killed: dict[str, bool] = {}
        self._running: dict[int, str] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        coverage = self._cover(session)
        if coverage.failed:
            raise pytest.UsageError(f"tests fail without any change: {', '.join(coverage.failed)}")
        for number, (name, lines) in enumerate(self.mutants.items()):
            if number % 100 == 0:
                sys.stderr.write(f"{number} of {len(self.mutants)} mutants\n")
            while len(self._running) >= self.processes:
                self._reap()
            self._start(session, name, lines, coverage)
        while self._running:
            self._reap()
        return True

    def _cover(self, session: pytest.Session) -> Coverage:
        """In a fork, so that all mutants find the same."""
        with tempfile.NamedTemporaryFile() as file:
            pid = os.fork()
            if pid == 0:
                file.write(pickle.dumps(_covered(session)))
                file.flush()
                os._exit(0)
            os.waitpid(pid, 0)
            coverage: Coverage = pickle.loads(Path(file.name).read_bytes())
        return coverage

    def _start(self, session: pytest.Session, name: str, lines: Lines, coverage: Coverage) -> None:
        numbers = {number for line in range(lines.first, lines.last + 1) for number in coverage.tests[lines.file, line]}
        chosen = sorted(numbers, key=coverage.seconds.__getitem__)
        if not chosen:
            self.killed[name] = False
            return
        pid = os.fork()
        if pid:
            self._running[pid] = name
            return
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        os.environ["MUTANT_UNDER_TEST"] = name
        status = 1
        try:
            status = 0 if all(_passes(session, number, coverage) for number in chosen) else 1
        finally:
            os._exit(status)

    def _reap(self) -> None:
        pid, status = os.wait()
        self.killed[self._running.pop(pid)] = status != 0


def _passes(session: pytest.Session, number: int, coverage: Coverage) -> bool:
    item = session.items[number]
    # Of processor time: a loop without an end is the end of the fork, and the mutant is found.
    signal.setitimer(signal.ITIMER_PROF, _LONGER * coverage.seconds[number] + _FEW_SECONDS)
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return not session.testsfailed


def _covered(session: pytest.Session) -> Coverage:
    monitoring: Any = vars(sys)["monitoring"]  # CPython 3.12 has it, and type checkers go by 3.11
    tool = monitoring.COVERAGE_ID
    here = f"{MUTATED.resolve()}{os.sep}"
    names = {str(path.resolve()): str(path) for path in MUTATED.rglob("*.py")}
    seen: set[Line] = set()

    def come_by(code: Any, line: int) -> Any:
        if code.co_filename.startswith(here):
            seen.add((names[code.co_filename], line))
        return monitoring.DISABLE

    monitoring.use_tool_id(tool, "mutation")
    monitoring.register_callback(tool, monitoring.events.LINE, come_by)
    monitoring.set_events(tool, monitoring.events.LINE)
    tests: dict[Line, set[int]] = defaultdict(set)
    seconds: list[float] = []
    failed: list[str] = []
    for number, item in enumerate(session.items):
        seen.clear()
        monitoring.restart_events()
        before, begun = session.testsfailed, time.perf_counter()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        seconds.append(time.perf_counter() - begun)
        if session.testsfailed > before:
            failed.append(item.nodeid)
        for line in seen:
            tests[line].add(number)
    return Coverage(tests, seconds, failed)


def main(outcome: Path, processes: int) -> int:
    os.environ["MUTANT_UNDER_TEST"] = ""
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    known: dict[str, bool] = json.loads(outcome.read_text(encoding="utf-8"))
    forks = Forks({name: lines for name, lines in places(MUTATED).items() if name not in known}, processes)
    silent = ["-o", "addopts=--import-mode=importlib", "-p", "no:terminal"]
    arguments = [*silent, *settings["pytest_add_cli_args"], *settings["pytest_add_cli_args_test_selection"]]
    status = pytest.main(arguments, plugins=[forks])
    if forks.killed.keys() != forks.mutants.keys():
        return int(status) or 1
    outcome.write_text(json.dumps({**known, **forks.killed}, indent=0), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
