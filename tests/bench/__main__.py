"""`python -m tests.bench [--json FILE]`: all rows, as a table, and for programs."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .harness import measure
from .rows import ROWS, import_times

if TYPE_CHECKING:
    from .harness import Figure


def show(name: str, unit: str, measured: dict[str, Figure]) -> None:
    print(f"\n{name}, ns for one {unit}")
    for who, figure in measured.items():
        print(
            f"  {who:<12}{figure.median:>14,.0f}  ({figure.low:,.0f} to {figure.high:,.0f})"
            f"   x {figure.ratio:.2f}  ({figure.ratio_low:.2f} to {figure.ratio_high:.2f})"
        )
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure; assert nothing.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    print("Medians, with the quartiles; x is how many times as long as ours.")
    results: list[dict[str, object]] = []

    def note(name: str, unit: str, measured: dict[str, Figure]) -> None:
        show(name, unit, measured)
        figures = {who: figure._asdict() for who, figure in measured.items()}
        results.append({"name": name, "unit": unit, "nanoseconds": figures})

    for row in ROWS:
        note(row.name, row.unit, measure(row))
    note("import", "import", import_times())
    if arguments.json is not None:
        machine = {"python": sys.version, "machine": platform.machine(), "system": platform.platform()}
        arguments.json.write_text(json.dumps({"machine": machine, "rows": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
