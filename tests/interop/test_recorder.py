"""What the recorder writes down of a run, and what it says to a marker that leaves something open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop import results, table

ROOT = Path(__file__).parents[2]

CONFTEST = """
from pathlib import Path
from tests.interop.recorder import Recorder

def pytest_configure(config):
    config.pluginmanager.register(Recorder(Path(__file__).with_name("table.json")))
"""

HEAD = """
import pytest

class Backend:
    def __init__(self, name):
        self.name = name

adapters = pytest.mark.parametrize("backend", [Backend(name) for name in ("blocking", "asyncio", "trio")])
scenario = pytest.mark.scenario

@pytest.fixture
def route(request):
    return request.param

@pytest.fixture
def going(request):
    yield
    assert request.node.callspec.params["backend"].name != "asyncio"
"""

TESTS = """
@adapters
@scenario("BDAT", "NOOP")
@pytest.mark.parametrize("route", ["postfix", "nowhere"], indirect=True)
def test_some(backend, route):
    if backend.name == "trio":
        pytest.skip("not here")
    assert backend.name == "blocking"

@adapters
@scenario("NOOP")
@pytest.mark.parametrize("route", ["postfix"], indirect=True)
def test_more(backend, route):
    pass

@adapters
@scenario("plain")
@pytest.mark.parametrize("mode", [pytest.param("tls", marks=scenario("STARTTLS", client="curl"))])
def test_client(backend, mode, going):
    pass
"""


class Run(NamedTuple):
    status: int
    words: str
    file: Path


def run(folder: Path, tests: str, *options: str) -> Run:
    """Let a pytest of its own run the tests under the recorder."""
    (folder / "test_those.py").write_text(HEAD + tests, encoding="utf-8")
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    settings = folder / "pytest.ini"
    settings.write_text(f"[pytest]\nmarkers = scenario\npythonpath = {ROOT}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(settings), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    return Run(done.returncode, done.stdout + done.stderr, folder / "table.json")


def cells(kind: str, row: str, scenario: str, *outcomes: str) -> dict[table.Cell, str]:
    there = zip(table.ADAPTERS, outcomes, strict=True)
    return {table.Cell(kind, row, scenario, adapter): outcome for adapter, outcome in there}


def test_a_cell_is_as_good_as_the_worst_of_its_tests(tmp_path: Path) -> None:
    status, words, file = run(tmp_path, TESTS)
    assert status == 1, words
    found = results.read(file)
    assert found.outcomes == {
        **cells("servers", "postfix", "BDAT", "passed", "failed", "skipped"),
        **cells("servers", "postfix", "NOOP", "passed", "failed", "skipped"),
        **cells("servers", "nowhere", "BDAT", "passed", "failed", "skipped"),
        **cells("servers", "nowhere", "NOOP", "passed", "failed", "skipped"),
        **cells("clients", "curl", "plain", "passed", "failed", "passed"),
        **cells("clients", "curl", "STARTTLS", "passed", "failed", "passed"),
    }
    assert results.mark(table.CLIENTS, "curl", "plain", found) == "blocking, asyncio failed, trio"
    assert found.tests["servers", "BDAT"] == ("test_those.py::test_some",)
    assert found.tests["servers", "NOOP"] == ("test_those.py::test_more", "test_those.py::test_some")
    assert found.versions["servers", "nowhere"] == ""
    assert found.versions.keys() == {("servers", "postfix"), ("servers", "nowhere"), ("clients", "curl")}


def test_what_was_not_run_has_not_passed(tmp_path: Path) -> None:
    status, words, file = run(tmp_path, TESTS, "--collect-only")
    assert status == 0, words
    found = results.read(file)
    assert set(found.outcomes.values()) == {"collected"}
    assert len(found.outcomes) == 18
    assert set(found.versions.values()) == {""}


def test_what_was_deselected_is_not_there(tmp_path: Path) -> None:
    status, words, file = run(tmp_path, TESTS, "-k", "test_more")
    assert status == 0, words
    assert results.read(file).outcomes == cells("servers", "postfix", "NOOP", "passed", "passed", "passed")


@pytest.mark.parametrize(
    ("tests", "complaint"),
    [
        ('@scenario("BDAT", server="postfix")\ndef test_it():\n    pass', "it must have the parameter `backend`"),
        ('@adapters\n@scenario("BDAT")\ndef test_it(backend):\n    pass', "does not say of whom"),
        (
            '@adapters\n@scenario("BDAT", server="postfix", client="curl")\ndef test_it(backend):\n    pass',
            "does not say of whom",
        ),
        ('@adapters\n@scenario("BDAT", sever="postfix")\ndef test_it(backend):\n    pass', "does not say of whom"),
    ],
)
def test_marker_that_leaves_something_open(tmp_path: Path, tests: str, complaint: str) -> None:
    status, words, file = run(tmp_path, tests)
    assert status == pytest.ExitCode.USAGE_ERROR, words
    assert complaint in words
    assert not file.exists()
