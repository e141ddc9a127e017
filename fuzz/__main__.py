"""Run the targets: ``python -m fuzz [--seconds 60] [--plain] [TARGET ...]``; all of them, where none is named.

Each runs in a process of its own, as many at a time as there are processors, by atheris where that is installed.
What it finds lands in ``fuzz/found/TARGET``, as ``crash-…``, and fails the run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FUZZ: Final = Path(__file__).parent
TARGETS: Final = tuple(sorted(path.stem for path in FUZZ.glob("[a-z]*.py")))
DICTIONARY: Final = FUZZ / "smtp.dict"
FOUND: Final = FUZZ / "found"
_SLOWEST: Final = 60
"""Seconds that one input may take."""
_MOST_MEMORY: Final = 1024
"""MiB."""


def target(name: str) -> Callable[[bytes], None]:
    function: Callable[[bytes], None] = import_module(f"fuzz.{name}").test_one_input
    return function


def seeds(name: str) -> list[bytes]:
    """What is in the corpus, and what the target makes."""
    make: Callable[[], Iterable[bytes]] = getattr(import_module(f"fuzz.{name}"), "seeds", lambda: ())
    return [*(path.read_bytes() for path in sorted((FUZZ / "corpus" / name).glob("*"))), *make()]


def by_atheris(atheris: Any, name: str, seconds: int, found: Path) -> None:
    """Hand the process over to libFuzzer, which keeps in ``found`` whatever takes a branch that was not taken yet."""
    for number, seed in enumerate(seeds(name)):
        (found / f"seed-{number:03}").write_bytes(seed)
    options = {
        "max_total_time": seconds,
        "timeout": _SLOWEST,
        "rss_limit_mb": _MOST_MEMORY,
        "dict": DICTIONARY,
        "artifact_prefix": f"{found}/",
        "verbosity": 0,
        "print_final_stats": 1,
    }
    atheris.Setup([name, *(f"-{key}={value}" for key, value in options.items()), str(found)], target(name))
    atheris.Fuzz()


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def run(name: str, seconds: int, *, plain: bool) -> None:
    from fuzz import _harness, _plain

    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    if _harness.atheris is not None and not plain:
        tell(f"{name}: {seconds} seconds, by atheris.")
        by_atheris(_harness.atheris, name, seconds, found)
    else:
        tell(f"{name}: {seconds} seconds, without atheris.")
        begin = [*(path.read_bytes() for path in sorted(found.iterdir())), *seeds(name)]
        tried = _plain.for_seconds(seconds, _plain.inputs(begin, DICTIONARY, Random()))
        count = _plain.run(target(name), tried, found)
        tell(f"{name}: {count} inputs.")


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.partition(":")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; none is all")
    parser.add_argument("--seconds", type=int, default=60, help="for each (default: %(default)s)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="so many targets at a time (default: %(default)s)"
    )
    parser.add_argument("--plain", action="store_true", help="without atheris, also where it is installed")
    options = parser.parse_args()
    unknown = sorted(set(options.targets) - set(TARGETS))
    if unknown:
        parser.error(f"no target is named {', '.join(unknown)}")
    if len(options.targets) == 1:
        run(options.targets[0], options.seconds, plain=options.plain)
        return 0
    flags = [f"--seconds={options.seconds}", *(["--plain"] if options.plain else [])]
    command = [sys.executable, "-m", "fuzz", *flags]

    def succeeds(name: str) -> bool:
        return subprocess.run([*command, name], check=False).returncode == 0

    targets = options.targets or TARGETS
    with ThreadPoolExecutor(options.processes) as pool:
        failed = [name for name, well in zip(targets, pool.map(succeeds, targets), strict=True) if not well]
    if failed:
        tell(f"An invariant is broken; see fuzz/found: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
