"""Which tests fill which cell of the table, and what became of them in a run.

A test fills cells where it carries ``@pytest.mark.scenario("BDAT")``, with as many names of scenarios as it shows:

- the row is the real server, which is what the parameter ``route``, ``server`` or ``door`` says, or the keyword
  ``server="postfix"`` of a marker; or it is the real client, which the keyword ``client="swaks"`` says;
- the column is the adapter, whose name the parameter ``backend`` has.

A marker may stand at a parameter (``pytest.param(..., marks=...)``) as well as at the test.  A cell has passed where
all of its tests have.
"""

from __future__ import annotations

import datetime as dt
import json
import platform
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

ROW_PARAMETERS = ("route", "server", "door")
WORST_FIRST = ("failed", "skipped", "passed", "collected")


def cells_of(item: pytest.Item) -> Iterator[table.Cell]:
    """The cells that a test fills.

    Raises UsageError where its markers do not say which.
    """
    marks = list(item.iter_markers("scenario"))
    if not marks:
        return
    callspec = getattr(item, "callspec", None)
    parameters: dict[str, Any] = {} if callspec is None else callspec.params
    adapter = getattr(parameters.get("backend"), "name", None)
    if adapter not in table.ADAPTERS:
        raise pytest.UsageError(f"{item.nodeid} shows a scenario, and so it must have the parameter `backend`")
    kind, row = row_of(item, marks, parameters)
    for mark in marks:
        for scenario in mark.args:
            yield table.Cell(kind.name, row, scenario, adapter)


def row_of(item: pytest.Item, marks: list[pytest.Mark], parameters: dict[str, Any]) -> tuple[table.Kind, str]:
    """Whom the test is about.

    Raises UsageError where it does not say.
    """
    said = {key: value for mark in reversed(marks) for key, value in mark.kwargs.items()}
    named = [parameters[name] for name in ROW_PARAMETERS if isinstance(parameters.get(name), str)]
    match said:
        case {"client": str(row), **others} if not others:
            kind = table.CLIENTS
        case {"server": str(row), **others} if not others:
            kind = table.SERVERS
        case {} if named and not said:
            kind, row = table.SERVERS, str(named[0])
        case _:
            raise pytest.UsageError(
                f"{item.nodeid} shows a scenario, and does not say of whom: by a parameter with the server's name "
                f"({', '.join(ROW_PARAMETERS)}), or by the marker's server= or client="
            )
    return kind, row


class Recorder:
    """A plugin of pytest that writes the table of a run into a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._collected = False
        self._cells: dict[str, list[table.Cell]] = {}
        self._outcomes: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            if cells := list(cells_of(item)):
                self._cells[item.nodeid] = cells
                self._outcomes[item.nodeid] = "collected"
        self._collected = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid in self._outcomes and (report.when == "call" or report.outcome != "passed"):
            both = (report.outcome, self._outcomes[report.nodeid])
            self._outcomes[report.nodeid] = min(both, key=WORST_FIRST.index)

    def pytest_sessionfinish(self) -> None:
        if not self._collected:
            return
        text = json.dumps(self.recorded(), indent=1, ensure_ascii=False)
        # What has nothing in itself stands in one line.
        text = re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda found: " ".join(found[0].split()), text)
        self._file.write_text(text + "\n", encoding="utf-8")

    def recorded(self) -> dict[str, Any]:
        """What `results.read` reads."""
        outcomes: defaultdict[table.Cell, list[str]] = defaultdict(list)
        tests: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for test, cells in self._cells.items():
            for cell in cells:
                outcomes[cell].append(self._outcomes[test])
                tests[cell.kind, cell.scenario].add(test.partition("[")[0].removeprefix("tests/interop/"))
        return {
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "system": system(),
            "python": platform.python_version(),
            **{kind.name: dict(rows_recorded(kind, outcomes)) for kind in table.KINDS},
            "tests": {kind.name: tests_recorded(kind, tests) for kind in table.KINDS},
        }


def system() -> str:
    """What the machine runs."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def known_first(known: Iterable[str], found: Iterable[str]) -> list[str]:
    """Those that were found, in the order of the table, and then those that it does not have: its test will tell."""
    there = set(found)
    return [*(each for each in known if each in there), *sorted(there - set(known))]


def tests_recorded(kind: table.Kind, tests: Mapping[tuple[str, str], set[str]]) -> dict[str, list[str]]:
    """The tests of each scenario."""
    names = known_first(kind.scenarios, (scenario for name, scenario in tests if name == kind.name))
    return {name: sorted(tests[kind.name, name]) for name in names}


def rows_recorded(kind: table.Kind, outcomes: Mapping[table.Cell, list[str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of which there is something to say, each with the version of what ran."""
    worst = {cell: min(each, key=WORST_FIRST.index) for cell, each in outcomes.items() if cell.kind == kind.name}
    for row in known_first(kind.rows, (cell.row for cell in worst)):
        scenarios: dict[str, dict[str, str]] = {}
        for scenario in known_first(kind.scenarios, (cell.scenario for cell in worst if cell.row == row)):
            cells = {adapter: table.Cell(kind.name, row, scenario, adapter) for adapter in table.ADAPTERS}
            scenarios[scenario] = {adapter: worst[cell] for adapter, cell in cells.items() if cell in worst}
        ran = any("passed" in found.values() for found in scenarios.values())
        version = kind.rows[row].version() if ran and row in kind.rows else ""
        yield row, {"version": version, "scenarios": scenarios}
