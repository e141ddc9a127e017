"""What is built from the project, and what a stranger gets who installs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from datetime import date
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

import smtpproto

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).parents[1]
PACKAGES = {"smtpproto": ROOT / "smtpproto", "smtpproto_adapters": ROOT / "adapters" / "smtpproto_adapters"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


WITHOUT_OURS = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
"""So that a process finds what is installed, and not the sources that we have here."""


def run(*command: str | Path, cwd: Path, status: int = 0, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, check=False, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, into: Path) -> Path:
    """`kind` is one of the hooks of PEP 517 and PEP 660; hatchling needs no network for them."""
    into.mkdir(exist_ok=True)
    program = f"import hatchling.build, sys; print(hatchling.build.build_{kind}(sys.argv[1]))"
    return into / run(sys.executable, "-c", program, into, cwd=source).split()[-1]


def environment(home: Path, *lent: str) -> Path:
    """An empty virtual environment, to which ours lends these distributions: nothing here has to be downloaded."""
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=home)
    (packages,) = (home / "venv").glob("lib/python*/site-packages")
    lend(lent, packages)
    return home / "venv"


def lend(names: Iterable[str], folder: Path) -> None:
    for name in names:
        lender = distribution(name)
        tops = {file.parts[0] for file in lender.files or ()}
        for top in tops - {"..", "__pycache__"}:
            (folder / top).symlink_to(Path(str(lender.locate_file(top))))


def needed(requirements: Iterable[str], extra: str = "") -> set[str]:
    """The distributions that these requirements come to, with those that they require themselves."""
    found: set[str] = set()
    for one in map(Requirement, requirements):
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            found |= {one.name.lower(), *needed(distribution(one.name).requires or ())}
    return found


def install(built: Path, venv: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", venv)
    run(*pip, "install", "--no-deps", "--no-index", built, cwd=venv.parent)


def extra(name: str) -> list[str]:
    requirements: list[str] = PROJECT["optional-dependencies"][name]
    return requirements


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as one gets it without git: as an archive, say; with all sorts of things lying about in it."""
    copy = tmp_path_factory.mktemp("checkout") / "project"
    unwanted = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "_build", "__pycache__", "found")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    for stray in ("stray.py", "adapters/stray.py", "smtpproto/__pycache__/stray.cpython-311.pyc", ".venv/stray.py"):
        (copy / stray).parent.mkdir(exist_ok=True)
        (copy / stray).write_text("")
    return copy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (project,) = folder.iterdir()
    return project


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    expected = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    about = f"smtpproto_sansio-{PROJECT['version']}.dist-info"
    expected |= {f"{about}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    assert set(contents(wheel)) == expected
    assert {"smtpproto/py.typed", "smtpproto_adapters/py.typed"} <= expected


def test_the_core_depends_on_nothing(wheel: Path) -> None:
    about = f"smtpproto_sansio-{PROJECT['version']}.dist-info"
    metadata = Parser().parsestr(contents(wheel)[f"{about}/METADATA"].decode())
    assert metadata["Name"] == "smtpproto-sansio"
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"trio", "cli", "testing", "dev"} <= set(metadata.get_all("Provides-Extra", []))
    assert [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one] == []


def test_what_a_registry_shows_of_it(wheel: Path) -> None:
    about = f"smtpproto_sansio-{PROJECT['version']}.dist-info"
    metadata = Parser().parsestr(contents(wheel)[f"{about}/METADATA"].decode())
    assert metadata["Version"] == smtpproto.__version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    pythons = {one.rpartition(" ")[2] for one in metadata.get_all("Classifier", []) if "Python :: 3." in one}
    (supported,) = re.findall(r"^SUPPORTED = (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert pythons == set(supported.split())


def test_the_changelog_has_this_version() -> None:
    """On top, with its date; above it may stand what is not released."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[([^]]+)\](?: - (.+))?$", text, re.MULTILINE)
    version, when = next(each for each in releases if each[0] != "Unreleased")
    assert version == PROJECT["version"]
    assert date.fromisoformat(when)


def test_the_sdist_builds_the_same_wheel(wheel: Path, unpacked: Path, tmp_path: Path) -> None:
    assert contents(build("wheel", unpacked, tmp_path)) == contents(wheel)


def test_the_sdist_holds_what_the_tests_need(unpacked: Path) -> None:
    expected = {"Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml", ".ci/run"}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    assert expected <= {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")}


def test_the_sdist_holds_all_that_git_knows(unpacked: Path) -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no checkout of git")
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).exists():
            assert (unpacked / name).exists(), name
            assert os.access(unpacked / name, os.X_OK) is os.access(ROOT / name, os.X_OK), name


READING = ("structure", "conformance", "security_page", "real_servers_page", "rules", "transcripts", "states")
"""The tests that read files beside them, and what stands in the sources; `make dist` runs all of the fast ones."""


def test_the_tests_pass_in_what_the_sdist_holds(unpacked: Path, tmp_path: Path) -> None:
    """Where nothing is installed but what the fast tests need: the engine, too, is that of the sdist."""
    python = environment(tmp_path, *needed(extra("fast"))) / "bin/python"
    files = [f"tests/test_{name}.py" for name in READING]
    options = ("-q", "-p", "no:cacheprovider", "-m", "not slow")
    output = run(python, "-m", "pytest", *options, *files, cwd=unpacked, env=WITHOUT_OURS)
    assert int(re.findall(r"([0-9]+) passed", output)[0]) > 1000


def test_all_tests_are_found_in_what_the_sdist_holds(unpacked: Path) -> None:
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", "tests")
    output = run(*command, cwd=unpacked, env=WITHOUT_OURS)
    assert int(re.findall(r"([0-9]+) tests collected", output)[0]) > 10_000


def test_a_checkout_without_git_builds_the_same_wheel(wheel: Path, copy: Path, tmp_path: Path) -> None:
    assert contents(build("wheel", copy, tmp_path)) == contents(wheel)


# What a stranger gets.  The program uses both packages; the wrong one shows that their types are really seen.

PROGRAM = """\
from typing import assert_type

import smtpproto
import smtpproto_adapters
from smtpproto import NEED_DATA, PAUSED, Connection, RemoteProtocolError, Reply, Role
from smtpproto_adapters.blocking import Client


def greet(data: bytes) -> str:
    connection = Connection(Role.CLIENT)
    connection.receive_data(data)
    try:
        match connection.next_event():
            case smtpproto.Greeting(reply=reply, domain=domain):
                assert_type(reply, Reply)
                assert_type(domain, str)
                return f"{reply.code} {domain}"
            case event:
                return "nothing yet" if event is NEED_DATA or event is PAUSED else repr(event)
    except RemoteProtocolError as error:
        assert_type(error.received, bytes)
        return str(error)


def look(host: str) -> bool:
    with Client(host) as client:
        return assert_type(client.extended, bool)


print(greet(b"220 mx.example ESMTP\\r\\n"), look, smtpproto_adapters.__name__)
"""
WRONG = """\
from smtpproto import Reply
from smtpproto_adapters.blocking import Client

number: int = Reply(250, "ok").text
client: Client = "no client"
"""


@pytest.fixture(scope="module", params=["wheel", "editable"])
def stranger(request: pytest.FixtureRequest, copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two programs and a virtual environment, in which nothing is installed but the project."""
    home = tmp_path_factory.mktemp("stranger")
    install(build(request.param, copy, home / "dist"), environment(home))
    (home / "right.py").write_text(PROGRAM)
    (home / "wrong.py").write_text(WRONG)
    return home


def test_the_installed_packages_run(stranger: Path) -> None:
    output = run(stranger / "venv/bin/python", "-I", "right.py", cwd=stranger)
    assert output.startswith("220 mx.example ")


def test_mypy_sees_the_types(stranger: Path) -> None:
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", stranger / "venv/bin/python")
    run(*mypy, "right.py", cwd=stranger)
    output = run(*mypy, "wrong.py", cwd=stranger, status=1)
    assert output.count("[assignment]") == 2
    assert "Found 2 errors" in output


def test_pyright_sees_the_types(stranger: Path) -> None:
    (stranger / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    pyright = (sys.executable, "-m", "pyright", "--pythonpath", stranger / "venv/bin/python")
    run(*pyright, "right.py", cwd=stranger)
    output = run(*pyright, "wrong.py", cwd=stranger, status=1)
    assert output.count("reportAssignmentType") == 2
    assert "2 errors" in output


# The tests of a stranger, who has nothing but pytest beside the project.

TEST = """\
import smtplib


def test_hello(smtp_server):
    with smtplib.SMTP(smtp_server.host, smtp_server.port) as client:
        client.sendmail("me@a.example", "you@b.example", "Subject: hello")
    assert smtp_server.inbox[0].parsed["Subject"] == "hello"
"""


@pytest.fixture(scope="module")
def with_pytest(stranger: Path) -> dict[str, str]:
    """The environment in which the stranger finds pytest: ours, by itself."""
    tools = stranger / "tools"
    tools.mkdir()
    lend(needed(["pytest"]), tools)
    (stranger / "tests").mkdir()
    (stranger / "tests" / "test_mail.py").write_text(TEST)
    return {**os.environ, "PYTHONPATH": str(tools), "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_fixture_is_there_for_a_stranger(stranger: Path, with_pytest: dict[str, str]) -> None:
    pytest_there = (stranger / "venv/bin/python", "-m", "pytest", "-q", "--strict-markers", "-W", "error")
    assert "1 passed" in run(*pytest_there, cwd=stranger / "tests", env=with_pytest)
    without = run(*pytest_there, "-p", "no:smtpproto", cwd=stranger / "tests", env=with_pytest, status=1)
    assert "fixture 'smtp_server' not found" in without


# The extras: what each of them is needed for, and that the rest does without.

MODULES = """\
import importlib, json, pkgutil, smtpproto, smtpproto_adapters

lacking = {}
for package in (smtpproto, smtpproto_adapters):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        try:
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            lacking.setdefault(error.name, []).append(module.name)
print(json.dumps(lacking))
"""
EXTRAS = {"trio": "trio", "cli": "rich", "dns": "dns", "testing": "trustme", "fast": "pytest"}
"""What the modules import of each."""


def lacking(wheel: Path, home: Path, *lent: str) -> dict[str, list[str]]:
    venv = environment(home, *lent)
    install(wheel, venv)
    assert run(venv / "bin/smtpproto", "--version", cwd=home, env=WITHOUT_OURS) == f"smtpproto {PROJECT['version']}\n"
    found: dict[str, list[str]] = json.loads(run(venv / "bin/python", "-I", "-c", MODULES, cwd=home))
    return found


def test_what_needs_an_extra_and_what_does_not(wheel: Path, tmp_path: Path) -> None:
    found = lacking(wheel, tmp_path)
    assert set(found) == set(EXTRAS.values())
    those = {module for modules in found.values() for module in modules}
    assert not any(module.startswith("smtpproto.") for module in those)
    assert not those & {f"smtpproto_adapters.{name}" for name in ("blocking", "asyncio", "cli", "inbox", "discovery")}
    assert found["trio"] == ["smtpproto_adapters.trio"]
    assert found["dns"] == ["smtpproto_adapters.discovery.resolver"]


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_brings_what_is_needed(name: str, wheel: Path, tmp_path: Path) -> None:
    assert EXTRAS[name] not in lacking(wheel, tmp_path, *needed(extra(name)))


@pytest.fixture(scope="module")
def complete(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with every extra."""
    home = tmp_path_factory.mktemp("complete")
    every = [requirement for name in EXTRAS for requirement in extra(name)]
    venv = environment(home, *needed(every))
    install(wheel, venv)
    return venv


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_known_type(package: str, complete: Path, tmp_path: Path) -> None:
    """And one that does not hang on what a type checker infers."""
    env = {**WITHOUT_OURS, "PATH": f"{complete / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    command = (sys.executable, "-m", "pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson")
    done = subprocess.run(
        command, check=False, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env
    )
    found: dict[str, Any] = json.loads(done.stdout)["typeCompleteness"]
    assert Path(found["packageRootDirectory"]).is_relative_to(complete)
    exported = [symbol for symbol in found["symbols"] if symbol["isExported"]]
    assert len(exported) > 1000
    assert [s["name"] for s in exported if s["isTypeAmbiguous"] or not s["isTypeKnown"]] == []
    assert found["completenessScore"] == 1
    assert done.returncode == 0, done.stderr
