"""What a run of the tests has found for the table, as the recorder has written it down, and how it is shown."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.interop.table import ADAPTERS, KINDS, LACKS, REMARKS, Cell, Kind, said

RECORDED: Final = Path(__file__).with_name("table.json")
"""The last whole run."""


class Recorded(NamedTuple):
    """What one run found."""

    when: str
    """The date, the system, and the Python."""
    versions: Mapping[tuple[str, str], str]
    """Of each row of a kind that ran."""
    outcomes: Mapping[Cell, str]
    """``passed``, ``failed`` or ``skipped``; ``collected`` where nothing was run."""
    tests: Mapping[tuple[str, str], tuple[str, ...]]
    """Those that show a scenario of a kind."""


def read(file: Path = RECORDED) -> Recorded:
    """What the recorder has written."""
    found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    rows = [(kind.name, row, recorded) for kind in KINDS for row, recorded in found[kind.name].items()]
    return Recorded(
        when=f"{found['date']}, {found['system']}, CPython {found['python']}",
        versions={(kind, row): recorded["version"] for kind, row, recorded in rows},
        outcomes={
            Cell(kind, row, scenario, adapter): outcome
            for kind, row, recorded in rows
            for scenario, adapters in recorded["scenarios"].items()
            for adapter, outcome in adapters.items()
        },
        tests={
            (kind.name, scenario): tuple(tests)
            for kind in KINDS
            for scenario, tests in found["tests"][kind.name].items()
        },
    )


class Drawing(NamedTuple):
    """A table with its footnotes; a column for each row of the kind, for there are more scenarios than those."""

    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def draw(kind: Kind, recorded: Recorded) -> Drawing:
    """What is said of several cells has one number."""
    notes: list[str] = []

    def cell(row: str, scenario: str) -> str:
        text = said(LACKS, kind.name, row, scenario) or said(REMARKS, kind.name, row, scenario)
        if text and text not in notes:
            notes.append(text)
        number = superscript(notes.index(text) + 1) if text else ""
        return mark(kind, row, scenario, recorded) + number

    lines = [(scenario, *(cell(row, scenario) for row in kind.rows)) for scenario in kind.scenarios]
    titles = [f"{row.title} {recorded.versions.get((kind.name, name), '')}".rstrip() for name, row in kind.rows.items()]
    return Drawing(("scenario", *titles), tuple(lines), tuple(notes))


def mark(kind: Kind, row: str, scenario: str, recorded: Recorded) -> str:
    """``✓``: with all three adapters; ``-``: with none; and otherwise what became of each."""
    outcomes = {
        adapter: outcome
        for adapter in ADAPTERS
        if (outcome := recorded.outcomes.get(Cell(kind.name, row, scenario, adapter)))
    }
    if len(set(outcomes.values())) <= 1 and len(outcomes) in (0, len(ADAPTERS)):
        outcome = next(iter(outcomes.values()), "")
        return {"passed": "✓", "": "-"}.get(outcome, outcome)
    return ", ".join(adapter if each == "passed" else f"{adapter} {each}" for adapter, each in outcomes.items())


def superscript(number: int) -> str:
    return "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(number))


def lettered(drawing: Drawing) -> tuple[Drawing, tuple[str, ...]]:
    """The same with letters for titles, which a terminal has room for; and the titles."""
    letters = tuple(chr(ord("A") + number) for number in range(len(drawing.header) - 1))
    legend = tuple(f"{letter}  {title}" for letter, title in zip(letters, drawing.header[1:], strict=True))
    return drawing._replace(header=(drawing.header[0], *letters)), legend


def main() -> None:
    """Print the two tables in the terminal."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(prog="python -m tests.interop.table", description=main.__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=RECORDED, help="what --interop-table has written")
    recorded = read(parser.parse_args().file)
    console = Console(highlight=False)
    console.print(f"Run on {recorded.when}")
    for kind in KINDS:
        drawing, legend = lettered(draw(kind, recorded))
        drawn = Table(*drawing.header, title=kind.name, padding=0)
        drawn.columns[0].no_wrap = True
        for line in drawing.lines:
            drawn.add_row(*line)
        console.print(drawn, *legend, sep="\n")
        console.print(*(f"{superscript(number)} {text}" for number, text in enumerate(drawing.notes, 1)), sep="\n")
