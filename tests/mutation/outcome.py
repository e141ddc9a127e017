"""What was found out about the mutants, and what is kept of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SURVIVORS: Final = Path(__file__).with_name("survivors.txt")
SCORE: Final = Path(__file__).with_name("score.json")
"""The last one that was recorded: ``rooms``, each with its killed and all of its mutants, and ``rows``, the same."""
FOUND: Final = "found.json"
"""In the folder of the mutants: each by name, and whether the tests have killed it."""
TRIED_AGAIN: Final = "tried-again.json"
"""The same of those that were tried again."""

_TELL_WHAT_RUNS = """
import json, sys
called = set()
sys.setprofile(lambda frame, event, _: called.add((frame.f_globals.get("__name__"), frame.f_code.co_name)))
import smtpproto
from smtpproto import service, testing
sys.setprofile(None)
print(json.dumps(sorted(f"{module}.{name}" for module, name in called if module and module.startswith("smtpproto"))))
"""


@dataclass(slots=True)
class Mutant:
    name: str
    """As mutmut calls it: the module, the function, and a number."""
    change: str
    """The lines that differ."""
    killed: bool

    @property
    def function(self) -> str:
        return self.name.rpartition("__mutmut_")[0]

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    """The file in the core of a mutant, such as ``sasl/scram``."""
    return "/".join(name.split(".")[1:-1])


def of_other_rooms(file: Path, rooms: list[str]) -> dict[str, bool]:
    """What an earlier run has found out about the rooms that are not named; nothing where none is."""
    known: dict[str, bool] = json.loads(file.read_text(encoding="utf-8")) if rooms and file.exists() else {}
    return {name: killed for name, killed in known.items() if room_of(name) not in rooms}


def mutants(folder: Path) -> list[Mutant]:
    """All of the last run.  Raises SystemExit where there was none, or it was not finished."""
    if not (folder / FOUND).exists():
        raise SystemExit("There is no run to look at: `make mutation` makes one.")
    found: dict[str, bool] = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    return [Mutant(name, "" if killed else difference(folder, name), killed) for name, killed in found.items()]


def difference(folder: Path, name: str) -> str:
    """The lines that a mutant takes away and puts in their place, each with its sign, below the function's name."""
    # mutmut is installed only where it runs.
    tell: Any = import_module("mutmut.mutation.diff_apply").get_diff_for_mutant
    text: str = tell(name, path=_file(folder, name).relative_to(folder))
    lines = text.splitlines()
    changed = [f"{line[0]} {line[1:].strip()}" for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return "\n".join([name.rpartition("__mutmut_")[0].replace("x_", "", 1), *changed])


def _file(folder: Path, name: str) -> Path:
    """Where a mutant is: the module before the function, which is a package's own file or another."""
    path = folder.joinpath(*name.split(".")[:-1])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def listed() -> dict[str, str]:
    """The survivors that are known, each with its reason: blocks between empty lines, whose first line is the reason,
    behind a ``#``."""
    found: dict[str, str] = {}
    for block in SURVIVORS.read_text(encoding="utf-8").split("\n\n"):
        reason, _, change = block.strip().partition("\n")
        if change:
            assert reason.startswith("# "), f"{SURVIVORS.name}: the block begins without its reason: {block}"
            found[change] = reason[2:]
    return found


def run_at_import(folder: Path) -> set[str]:
    """The functions that have run when the core is imported, by the names that mutmut gives them."""
    environment = {**os.environ, "MUTANT_UNDER_TEST": "", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", _TELL_WHAT_RUNS]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    called: list[str] = json.loads(done.stdout)
    return {each.removesuffix("__mutmut_orig") for each in called if each.endswith("__mutmut_orig")}


def remembered(folder: Path, names: list[str], ask: Callable[[str], bool], processes: int) -> dict[str, bool]:
    """What was found out about mutants in this run, so that no report asks again."""
    file = folder / TRIED_AGAIN
    known: dict[str, bool] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    asked = [name for name in names if name not in known]
    with ThreadPoolExecutor(processes) as pool:
        for name, killed in zip(asked, pool.map(ask, asked), strict=True):
            known[name] = killed
            file.write_text(json.dumps(known), encoding="utf-8")
    return known
