"""How many instructions one of the unit takes, counted by callgrind: it does not hang on what else the machine does.

Two processes prepare the same, and the second runs more of it: the difference is the runs' own, without the start of
the interpreter, the imports, what is done beforehand, and the first runs, in which CPython adapts its code.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from .harness import OURS
from .rows import ROWS, SMTPLIB, SPLIT
from .worker import ROOT, prepare_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .harness import Row

COUNTED: Final = ("pipelined-replies", "single-replies", "ehlo", "client-session")
"""The rows in which noise drowns the difference, and a run is short enough for callgrind."""
CONTESTANTS: Final = (OURS, SMTPLIB, SPLIT)
_OPERATIONS: Final = 100
"""How many of the unit are counted at least."""
_RUNS: Final = 6
"""And how many runs."""
_BOOT: Final = "import sys; sys.path.insert(0, sys.argv[1]); from tests.bench.instructions import main; main()"
_total = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE).search


def is_there() -> bool:
    return which("valgrind") is not None


def count(rows: Iterable[Row] = ROWS) -> dict[str, dict[str, float]]:
    """For each row that is counted, by its id, and each contestant: instructions for one of the unit."""
    wanted = [(row, name) for row in rows if row.id in COUNTED for name in row.contestants if name in CONTESTANTS]
    found: dict[str, dict[str, float]] = {row.id: {} for row, _ in wanted}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counting = [(row.id, name, pool.submit(_of, row, name)) for row, name in wanted]
        for row_id, name, counted in counting:
            found[row_id][name] = counted.result()
    return found


def _of(row: Row, name: str) -> float:
    runs = max(_RUNS, -(-_OPERATIONS // row.operations))
    contestant = row.contestants[name]
    assert isinstance(contestant, str)
    few, many = (_counted(row, contestant, 2 * runs, executed) for executed in (runs, 2 * runs))
    return (many - few) / runs / row.operations


def _counted(row: Row, contestant: str, prepared: int, executed: int) -> int:
    with TemporaryDirectory() as folder:
        output = Path(folder) / "callgrind.out"
        workload, size = row.workload
        callgrind = ["valgrind", "--tool=callgrind"]
        what = [str(ROOT), contestant, workload, str(size), str(prepared), str(executed)]
        subprocess.run(
            [*callgrind, f"--callgrind-out-file={output}", sys.executable, "-s", "-P", "-c", _BOOT, *what],
            check=True,
            capture_output=True,
            # The order of sets, and with it the work on them, is not to differ from process to process.
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        total = _total(output.read_text())
    assert total is not None
    return int(total[1])


def main() -> None:
    """In the process that is counted."""
    contestant, workload, *numbers = sys.argv[2:]
    size, prepared, executed = map(int, numbers)
    gc.disable()
    prepare = prepare_of(contestant, (workload, size))
    ready = [prepare() for _ in range(prepared)]
    for run in ready[:executed]:
        run()
