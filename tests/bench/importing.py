"""What a cold import takes over the interpreter.

Each is done in a process of its own, which measures itself, so that the interpreter's own start is no part of it.  The
processes run without the environment's ``.pth`` files, so that nothing is loaded before the clock runs but what every
interpreter loads.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .harness import OURS, Missing, Row, Target
from .rows import AIOSMTPD, AIOSMTPLIB, REGISTRY, SMTPLIB

if TYPE_CHECKING:
    from .harness import Timer

ROOT: Final = Path(__file__).parents[2]
ROW: Final = Row(
    "import",
    "cold import",
    "import",
    1,
    {
        OURS: "smtpproto",
        SMTPLIB: "smtplib",
        AIOSMTPLIB: "aiosmtplib",
        AIOSMTPD: "aiosmtpd.smtp",
        REGISTRY: "smtpproto.protocol",
    },
    (Target(SMTPLIB, "at most", 1 / 3), Target(None, "at most", 10_000_000)),
    runs=1,
)
_PROGRAM: Final = """
import os, site, sys
from time import perf_counter_ns as now
sys.path.append(sys.argv[1])
begin = now()
try:
    import {module}
except ImportError as error:
    sys.exit(str(error))
print(now() - begin)
"""


class ImportTimer:
    """Imports a module from a folder, or from the standard library."""

    def __init__(self, python: str, module: str, folder: str) -> None:
        self._command = [python, "-I", "-S", "-c", _PROGRAM.format(module=module), folder]

    def time(self, runs: int) -> float:
        return statistics.median(self._once() for _ in range(runs))

    def _once(self) -> int:
        done = subprocess.run(self._command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Missing(done.stderr.strip())
        return int(done.stdout)


def timers(registry: str | None) -> dict[str, Timer]:
    """``registry``: the Python of the environment that has the registry's package, where there is one."""
    packages = sysconfig.get_path("purelib")
    found: dict[str, Timer] = {}
    for name, module in ROW.contestants.items():
        assert isinstance(module, str)
        if name != REGISTRY:
            found[name] = ImportTimer(sys.executable, module, str(ROOT) if name == OURS else packages)
        elif registry is not None:
            program = "import sysconfig; print(sysconfig.get_path('purelib'))"
            where = subprocess.run([registry, "-I", "-c", program], check=True, capture_output=True, text=True)
            found[name] = ImportTimer(registry, module, where.stdout.strip())
    return found
