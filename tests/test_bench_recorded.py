"""What the documentation says of speed is what `make bench` has recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import importing, memory, network, recorded
from tests.bench.rows import CURVES, ROWS
from tests.bench.verdict import verdict

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"


def test_the_readme_has_the_claims_of_the_record() -> None:
    _, block, _ = recorded.in_readme(recorded.README.read_text(encoding="utf-8"))
    assert block == recorded.claims(), "run python -m tests.bench.recorded"


def test_each_python_that_is_aimed_at_has_the_whole_record() -> None:
    found = recorded.read()
    assert list(found) == ["3.13", "3.11"]
    wanted = {row.id for row in (*ROWS, importing.ROW, *memory.ROWS, *network.ROWS)}
    for results in found.values():
        assert wanted <= {row["id"] for row in results["rows"]}
        assert {curve.id for curve in CURVES} <= {curve["id"] for curve in results["scaling"]}
        assert results["scale"]
        assert any(row.get("instructions") for row in results["rows"])


def test_the_record_has_the_targets_that_stand_in_the_rows_and_their_verdicts() -> None:
    targets = {row.id: row.targets for row in (*ROWS, importing.ROW, *memory.ROWS, *network.ROWS)}
    for results in recorded.read().values():
        for row in results["rows"]:
            if row["id"] in targets:
                figures = recorded.figures(row)
                assert list(recorded.verdicts(row)) == [verdict(target, figures) for target in targets[row["id"]]]


def test_the_page_gives_a_reason_for_each_row_that_is_not_reached_and_for_no_other() -> None:
    """The reasons stand in a section of their own, each behind the name of its row."""
    found = recorded.read()
    names = {row["id"]: row["name"] for results in found.values() for row in results["rows"]}
    wanted = {names[each] for results in found.values() for each in recorded.not_reached(results)}
    _, _, section = PAGE.read_text(encoding="utf-8").partition("\n## What is not reached, and why\n")
    section, _, _ = section.partition("\n## ")
    named = re.findall(r"^\*\*([^*]+)\*\*", section, re.MULTILINE)
    assert sorted(" ".join(each.split()).removesuffix(".") for each in named) == sorted(wanted)


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A record and a README of its own."""
    readme = tmp_path / "README.md"
    readme.write_bytes(recorded.README.read_bytes())
    figures = tmp_path / "figures"
    monkeypatch.setattr(recorded, "README", readme)
    results = next(iter(recorded.read().values()))
    monkeypatch.setattr(recorded, "FIGURES", figures)
    recorded.record(results)
    return tmp_path


def test_what_is_recorded_is_what_is_read(copies: Path) -> None:
    [(version, results)] = recorded.read().items()
    assert json.loads((copies / "figures" / f"{version}.json").read_text(encoding="utf-8")) == results


def test_a_new_record_rewrites_the_readme_and_nothing_else_in_it(copies: Path) -> None:
    before, old, after = recorded.in_readme(recorded.README.read_text(encoding="utf-8"))
    [results] = recorded.read().values()
    [row] = [row for row in results["rows"] if row["id"] == recorded.CLAIMED[0]]
    row["figures"]["smtplib"]["ratio"] = 12345.0
    recorded.record(results)
    recorded.write_readme()
    now_before, new, now_after = recorded.in_readme(recorded.README.read_text(encoding="utf-8"))
    assert (now_before, now_after) == (before, after)
    assert "12,345" in new
    assert "12,345" not in old


def test_pythons_are_in_the_order_of_their_numbers(copies: Path) -> None:
    [results] = recorded.read().values()
    for version in ("3.9.1", "3.100.0"):
        recorded.record({**results, "machine": {**results["machine"], "python": version}})
    assert list(recorded.read()) == ["3.100", recorded.version_of(results), "3.9"]


@pytest.mark.parametrize("too", [["--quick"], ["--only", "ehlo"]])
def test_a_part_is_not_recorded(too: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.parsed(["--record", *too])
    assert "neither --only nor --quick" in capsys.readouterr().err
