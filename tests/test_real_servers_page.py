"""The page of what real servers do says where each line was seen, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "real-servers.md"
ROWS = [
    line.strip("| \n").split(" | ")
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| what |"))
]
DEFINED = {
    name
    for path in (TESTS / "interop").glob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}
RECORDED = {path.stem for path in (TESTS / "transcripts").glob("*.json")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_is_named_is_there(row: list[str]) -> None:
    _, where, meaning, shown = row
    assert where
    assert meaning
    names = re.findall(r"`([^`]+)`", shown)
    assert names or shown == "by hand"
    assert set(names) <= DEFINED | RECORDED


def test_there_are_rows() -> None:
    assert len(ROWS) > 30
