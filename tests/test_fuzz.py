"""The corpora of the fuzz targets, replayed: what was found once stays found."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"
TARGETS = sorted(path.stem for path in FUZZ.glob("[a-z]*.py"))
INPUTS = [(target, path) for target in TARGETS for path in sorted((FUZZ / "corpus" / target).iterdir())]


@pytest.mark.parametrize(("target", "path"), INPUTS, ids=[f"{target}-{path.name}" for target, path in INPUTS])
def test_corpus(target: str, path: Path) -> None:
    import_module(f"fuzz.{target}").test_one_input(path.read_bytes())


def test_each_target_has_a_corpus() -> None:
    assert {target for target, _ in INPUTS} == set(TARGETS)
    assert {path.name for path in (FUZZ / "corpus").iterdir()} == set(TARGETS)
