"""What the documentation says of other libraries is what the probes have found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.comparison import __main__ as comparison
from tests.comparison import recorded, worker
from tests.comparison.libraries import OURS
from tests.comparison.outcome import NO, PARTLY, YES, Outcome
from tests.comparison.rows import KINDS, LIBRARIES, ROWS, Row, kinds_of, tried

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"


def test_the_readme_has_the_claims_of_the_record() -> None:
    _, block, _ = recorded.in_readme(recorded.README.read_text(encoding="utf-8"))
    assert block == recorded.claims(), "run python -m tests.comparison.recorded"


def test_the_readme_has_a_compact_table_in_which_others_are_better_here_and_there() -> None:
    results = recorded.read()
    shown = [row for row in ROWS if row.in_readme]
    assert len(shown) <= 20
    for other in set(LIBRARIES) - {OURS}:
        pairs = [
            tuple(recorded.cell(row, recorded.outcomes(results, each, row)) for each in (OURS, other)) for row in shown
        ]
        assert (NO, YES) in pairs, other


def test_every_library_was_asked_every_question_that_concerns_it() -> None:
    results = recorded.read()
    assert set(results) == set(LIBRARIES)
    assert recorded.missing(results) == set()


def test_every_probe_has_a_row_and_says_what_it_tries() -> None:
    assert {row.id for row in ROWS} == {each for probes in KINDS.values() for each in probes}
    for row in ROWS:
        for kind in kinds_of(row):
            assert tried(row, kind).endswith((".", "?"))


def test_the_page_has_a_table_for_each_kind() -> None:
    assert re.findall(r"^```\{comparison\} (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == list(KINDS)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({}, "-"),
        ({"client": YES}, "yes"),
        ({"client": YES, "server": YES}, "yes"),
        ({"client": YES, "server": NO}, "client only"),
        ({"client": NO, "server": YES}, "server only"),
        ({"client": PARTLY, "server": YES}, "partly"),
        ({"client": PARTLY, "server": NO}, "partly"),
        ({"client": NO, "server": NO}, "no"),
    ],
)
def test_a_cell_has_what_both_ends_have(found: Mapping[str, str], wanted: str) -> None:
    row = Row("chunking", "")
    assert recorded.cell(row, {kind: Outcome(mark, "") for kind, mark in found.items()}) == wanted


def test_a_new_record_rewrites_the_readme_and_nothing_else_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(recorded.README.read_bytes())
    results = recorded.read()
    monkeypatch.setattr(recorded, "README", readme)
    monkeypatch.setattr(recorded, "RECORD", tmp_path / "found.json")
    before, old, after = recorded.in_readme(readme.read_text(encoding="utf-8"))
    results["aiosmtplib"]["version"] = "12345.6"
    recorded.record(results)
    recorded.write_readme()
    now_before, new, now_after = recorded.in_readme(readme.read_text(encoding="utf-8"))
    assert (now_before, now_after) == (before, after)
    assert "12345.6" in new
    assert "12345.6" not in old
    assert recorded.read() == results


def test_a_part_is_not_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        comparison.parsed(["--record", "--only", "smtplib"])
    assert "no --only" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_probes_find_what_is_recorded(library: str) -> None:
    """With the versions that it was recorded with; of Python, the minor one."""
    if not worker.is_there(library):
        pytest.skip(f"{library} is not there, or not all that its probes need")
    known = recorded.read()[library]
    now = comparison.found_by(library)
    if _comparable(library, str(now["version"])) != _comparable(library, known["version"]):
        pytest.skip(f"recorded with {library} {known['version']}, and here is {now['version']}: record it again")
    assert now["results"] == known["results"], "run make compare COMPARE_ARGS=--record"


def _comparable(library: str, version: str) -> str:
    return version.rpartition(".")[0] if library == "smtplib" else "" if library == OURS else version
