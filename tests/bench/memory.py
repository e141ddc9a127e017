"""What a connection takes while nothing happens.

The objects are made in a process of their own for each contestant, so many that what they share does not count.  What
they have allocated is counted by tracemalloc, which is exact; what the process has grown by is asked of the system, as
that is what runs out.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .harness import OURS, Missing, Row, Target, figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from .harness import Figure

ROOT: Final = Path(__file__).parents[2]
H11: Final = "h11"
CONNECTIONS: Final = 100_000
_STATM: Final = Path("/proc/self/statm")
_BOOT: Final = "import sys; sys.path.insert(0, sys.argv[1]); from tests.bench.memory import main; main()"

_TARGETS: Final = (Target(H11, "at most", 0.5), Target(None, "at most", 400))
ROWS: Final = (
    Row(
        "idle-client",
        "a client's connection at rest after EHLO",
        "connection",
        CONNECTIONS,
        {OURS: "ours:at_rest", H11: "h11:at_rest"},
        _TARGETS,
        quantity="bytes",
    ),
    Row(
        "idle-server",
        "a server's connection at rest after EHLO",
        "connection",
        CONNECTIONS,
        {OURS: "ours:server_at_rest", H11: "h11:server_at_rest"},
        _TARGETS,
        quantity="bytes",
    ),
)


def as_resident(row: Row) -> Row:
    """The row for what the process has grown by: of that there is no limit by itself, as it hangs on the system."""
    targets = tuple(target for target in row.targets if target.against is not None)
    return row._replace(id=f"{row.id}-resident", name=f"{row.name}, as the process has grown", targets=targets)


def measure(row: Row, connections: int = CONNECTIONS, left_out: dict[str, str] | None = None) -> dict[str, Figure]:
    """What each allocates for one connection."""
    return _measure(row, "allocated", connections, left_out)


def measure_resident(row: Row, connections: int = CONNECTIONS) -> dict[str, Figure]:
    """What the process grows by for one connection; nothing where the system does not tell."""
    return _measure(row, "resident", connections, None) if _STATM.exists() else {}


def _measure(row: Row, what: str, connections: int, left_out: dict[str, str] | None) -> dict[str, Figure]:
    values: dict[str, list[float]] = {}
    for name, contestant in row.contestants.items():
        assert isinstance(contestant, str)
        try:
            values[name] = [_ask(contestant, what, connections)]
        except Missing as missing:
            if left_out is not None:
                left_out[name] = str(missing)
    return figures(values)


def _ask(contestant: str, what: str, connections: int) -> float:
    command = [sys.executable, "-I", "-c", _BOOT, str(ROOT), contestant, what, str(connections)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    if "missing" in found:
        raise Missing(found["missing"])
    return float(found["bytes"]) / connections


def main() -> None:
    """In the process of its own."""
    contestant, what, connections = sys.argv[2:]
    module, _, function = contestant.partition(":")
    try:
        make = getattr(import_module(f".contestants.{module}", __package__), function)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
    else:
        measured = allocated if what == "allocated" else resident
        print(json.dumps({"bytes": measured(make, int(connections))}))


def allocated(make: Callable[[], object], connections: int) -> int:
    kept: list[object] = [make() for _ in range(100)] + [None] * connections
    tracemalloc.start()
    try:
        _fill(kept, make)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def resident(make: Callable[[], object], connections: int) -> int:
    kept: list[object] = [make() for _ in range(100)] + [None] * connections
    before = _pages()
    _fill(kept, make)
    return (_pages() - before) * os.sysconf("SC_PAGE_SIZE")


def _fill(kept: list[object], make: Callable[[], object]) -> None:
    for index in range(100, len(kept)):
        kept[index] = make()
    gc.collect()


def _pages() -> int:
    return int(_STATM.read_text().split()[1])
