"""What `python -m tests.comparison --record` has found: the README and the page on the comparison quote it.

`python -m tests.comparison.recorded` writes the README's part again.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .libraries import OURS
from .outcome import NO, PARTLY, YES, Outcome
from .rows import LIBRARIES, ROWS, is_asked, kinds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .rows import Row

HERE: Final = Path(__file__).parent
RECORD: Final = HERE / "found.json"
README: Final = HERE.parents[1] / "README.md"
BEGIN: Final = "<!-- Written by `python -m tests.comparison --record`, and so not to be edited. -->"
END: Final = "<!-- As far as here. -->"
NOTHING: Final = "-"
"""What a cell has where a library was not asked."""
WIDTH: Final = 120

Results = dict[str, Any]
"""Library -> ``version`` and ``results``, as the worker says them."""


def record(results: Results) -> None:
    RECORD.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read() -> Results:
    results: Results = json.loads(RECORD.read_text(encoding="utf-8"))
    return results


def outcomes(results: Results, library: str, row: Row) -> Mapping[str, Outcome]:
    """What each kind of probe has found."""
    return {kind: Outcome(*found) for kind, found in results[library]["results"].get(row.id, {}).items()}


def missing(results: Results) -> set[tuple[str, str, str]]:
    """The cells that there should be, and are not."""
    return {
        (library, row.id, kind)
        for library in LIBRARIES
        for row in ROWS
        for kind in kinds_of(row)
        if is_asked(library, kind) and kind not in results.get(library, {"results": {}})["results"].get(row.id, {})
    }


def versions(results: Results) -> str:
    """Those of the others, in a row."""
    names = {library: library for library in LIBRARIES if library != OURS} | {"smtplib": "smtplib of Python"}
    return ", ".join(f"{name} {results[library]['version']}" for library, name in names.items())


# What the README says ------------------------------------------------------------------------------------------------


def claims() -> str:
    """The README's table: the rows that are meant for it."""
    results = read()
    lines = [["", *LIBRARIES], ["---", *("---" for _ in LIBRARIES)]]
    lines += [
        [row.name, *(cell(row, outcomes(results, each, row)) for each in LIBRARIES)] for row in ROWS if row.in_readme
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    words = (
        f"Each cell is what came out when it was tried, with {versions(results)}; `{NOTHING}` stands where it is about "
        "an end that the library has not.  [The comparison](docs/comparison.md) says how, and has more rows."
    )
    return f"{textwrap.fill(words, WIDTH, break_on_hyphens=False, fix_sentence_endings=True)}\n\n{table}"


def cell(row: Row, found: Mapping[str, Outcome]) -> str:
    """All that was found, in a word or two."""
    good = [kind for kind, each in found.items() if each.mark == YES]
    if row.id == "role":
        return "both" if len(good) > 1 else good[0]
    marks = {each.mark for each in found.values()}
    if len(marks) > 1:
        return f"{good[0]} only" if marks == {YES, NO} else PARTLY
    return marks.pop() if marks else NOTHING


def in_readme(text: str) -> tuple[str, str, str]:
    """What stands before the claims, the claims, and what stands behind them."""
    before, begin, rest = text.partition(f"{BEGIN}\n\n")
    block, end, after = rest.partition(f"\n\n{END}")
    assert begin, f"the README has no line {BEGIN}"
    assert end, f"the README has no line {END}"
    return before + begin, block, end + after


def write_readme() -> None:
    before, _, after = in_readme(README.read_text(encoding="utf-8"))
    README.write_text(before + claims() + after, encoding="utf-8")


if __name__ == "__main__":
    write_readme()
