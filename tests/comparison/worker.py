"""Runs the probes of one library in its own environment, and prints what they found as JSON.

The registry's package `smtpproto` has our name: in its environment, the packages that are installed go before those
that lie in this checkout.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .outcome import NO, PARTLY, YES, Outcome, Unsupported
from .rows import KINDS, LIBRARIES, ROWS, Row, is_asked, kinds_of
from .scene import Scene

if TYPE_CHECKING:
    from .libraries import Library

ROOT: Final = Path(__file__).parents[2]
REGISTRY: Final = Path(sys.prefix) / "registry" / "bin" / "python"
"""Where `make bench` and `make compare` put it."""
BOOT: Final = (
    "import sys; paths = sys.argv[1:3]; sys.path[:] = {}; from tests.comparison.worker import main; main(*sys.argv[3:])"
)
LONGEST: Final = 300


def python_of(library: str) -> Path:
    return REGISTRY if LIBRARIES[library] == "registry" else Path(sys.executable)


def is_there(library: str) -> bool:
    """Whether its environment can import it; for that of the registry, also what its probes need."""
    names = {"registry": "smtpproto.protocol, trio", "aiosmtpd": "aiosmtpd", "aiosmtplib": "aiosmtplib"}
    needed = names.get(LIBRARIES[library], "smtplib")
    command = [str(python_of(library)), "-I", "-c", f"import {needed}"]
    return python_of(library).exists() and not subprocess.run(command, capture_output=True, check=False).returncode


def found_by(library: str, folder: Path, only: str = "") -> dict[str, Any]:
    """What the probes find, in a process of its own.  Raises RuntimeError where one of them fails."""
    order = "[*sys.path, *paths]" if LIBRARIES[library] == "registry" else "[*paths, *sys.path]"
    arguments = [str(ROOT), str(ROOT / "adapters"), library, str(folder), sys.executable, only]
    done = subprocess.run(
        [str(python_of(library)), "-I", "-c", BOOT.format(order), *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=LONGEST,
    )
    if done.returncode:
        raise RuntimeError(f"the probes of {library} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def asked(library: Library, row: Row, kind: str, scene: Scene) -> Outcome:
    try:
        found = KINDS[kind][row.id](library, scene)
    except Unsupported as why:
        return Outcome(NO, str(why))
    if found.mark == YES and row.id in library.by_hand:
        return Outcome(PARTLY, f"{found.found}; but {library.by_hand[row.id]}")
    return found


def main(name: str, folder: str, python: str, only: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    library: Library = import_module(f"tests.comparison.libraries.{LIBRARIES[name]}").LIBRARY
    assert library.name == name
    scene = Scene(Path(folder), python)
    results: dict[str, dict[str, Outcome]] = {}
    for row in ROWS:
        for kind in kinds_of(row):
            if is_asked(name, kind) and only in ("", row.id):
                results.setdefault(row.id, {})[kind] = asked(library, row, kind, scene)
    version = metadata.version(library.distribution) if library.distribution else sys.version.split()[0]
    print(json.dumps({"version": version, "results": results}), flush=True)
    os._exit(0)  # threads of a library that did not end are no matter
