"""The table of what was tried says just what the tests would fill, and nothing in it has failed; none is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop import results, table

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
RECORD = "record the table anew where all servers and clients are: make interop INTEROP_TABLE=tests/interop/table.json"
ALL_CELLS = [(kind, row, scenario) for kind in table.KINDS for row in kind.rows for scenario in kind.scenarios]


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> results.Recorded:
    """What all tests of this folder would fill; none is run."""
    file = tmp_path_factory.mktemp("table") / "table.json"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/interop", "--interop-table", str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return results.read(file)


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> results.Recorded:
    """What the last whole run has found."""
    now: Path | None = request.config.getoption("interop_table", None)
    if now is not None and now.resolve() == results.RECORDED:
        pytest.skip("it is being recorded")
    return results.read()


def complaints(found: Iterable[object]) -> str:
    return "\n".join(f"- {each}" for each in found)


def test_every_row_and_scenario_of_the_tests_is_in_the_table(collected: results.Recorded) -> None:
    known = {kind.name: kind for kind in table.KINDS}
    unknown = {
        f"{cell.row!r}, which is one of the {cell.kind}"
        for cell in collected.outcomes
        if cell.row not in known[cell.kind].rows
    } | {
        f"the scenario {cell.scenario!r} of {cell.kind}"
        for cell in collected.outcomes
        if cell.scenario not in known[cell.kind].scenarios
    }
    assert not unknown, f"tests show what {table.__name__} does not have; add there\n{complaints(sorted(unknown))}"


def test_every_cell_has_a_test_or_a_reason(collected: results.Recorded) -> None:
    empty: list[str] = []
    for kind, row, scenario in ALL_CELLS:
        there = [
            adapter for adapter in table.ADAPTERS if table.Cell(kind.name, row, scenario, adapter) in collected.outcomes
        ]
        if tuple(there) != table.ADAPTERS and not table.said(table.LACKS, kind.name, row, scenario):
            missing = ", ".join(each for each in table.ADAPTERS if each not in there)
            empty.append(f"{row!r}, {scenario!r} ({missing}): {kind.scenarios[scenario]}")
    assert not empty, (
        'no test fills these cells: mark one with @pytest.mark.scenario("the scenario") that runs them with each '
        f"`backend`, or give the reason in LACKS of {table.__name__}\n{complaints(empty)}"
    )


def test_no_reason_is_given_for_what_is_tested(collected: results.Recorded) -> None:
    idle = [
        f"{row!r}, {scenario!r}: {reason}"
        for kind, row, scenario in ALL_CELLS
        if (reason := table.said(table.LACKS, kind.name, row, scenario))
        and all(table.Cell(kind.name, row, scenario, each) in collected.outcomes for each in table.ADAPTERS)
    ]
    assert not idle, f"tests fill these cells: take them out of LACKS of {table.__name__}\n{complaints(idle)}"


@pytest.mark.parametrize("where", [table.LACKS, table.REMARKS], ids=["lacks", "remarks"])
def test_reasons_and_remarks_are_of_cells_that_there_are(where: table.Texts) -> None:
    said = {
        (kind, row, scenario)
        for kind, rows in where.items()
        for row, texts in rows.items()
        for scenarios in texts.values()
        for scenario in scenarios
    }
    assert said <= {(kind.name, row, scenario) for kind, row, scenario in ALL_CELLS}


def test_what_is_recorded_is_what_the_tests_fill(recorded: results.Recorded, collected: results.Recorded) -> None:
    missing, stale = collected.outcomes.keys() - recorded.outcomes.keys(), recorded.outcomes.keys() - collected.outcomes
    assert not missing, f"{RECORD}; it does not have\n{complaints(sorted(missing))}"
    assert not stale, f"{RECORD}; no test fills\n{complaints(sorted(stale))}"
    assert recorded.tests == collected.tests, f"{RECORD}: other tests fill the cells now"


def test_no_cell_has_failed_or_was_skipped(recorded: results.Recorded) -> None:
    others = [f"{cell}: {outcome}" for cell, outcome in recorded.outcomes.items() if outcome != "passed"]
    assert not others, f"{RECORD}; there is\n{complaints(others)}"


def test_the_version_of_each_row_is_known(recorded: results.Recorded) -> None:
    unknown = [row for (_, row), version in recorded.versions.items() if not version]
    assert not unknown, f"say in {table.__name__} how the versions of these are found: {unknown}"
