"""What is built from the project, and what a stranger gets who installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
PACKAGES = {"smtpproto": ROOT / "smtpproto", "smtpproto_adapters": ROOT / "adapters" / "smtpproto_adapters"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


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


def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert contents(build("wheel", unpacked, tmp_path / "dist")) == contents(wheel)


def test_the_sdist_holds_what_the_tests_need(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    expected = {"Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".ci/run", "docs/conf.py"}
    assert expected <= names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")} <= names


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
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=home)
    built = build(request.param, copy, home / "dist")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", home / "venv")
    run(*pip, "install", "--no-deps", "--no-index", built, cwd=home)
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
PYTEST = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")


@pytest.fixture(scope="module")
def with_pytest(stranger: Path) -> dict[str, str]:
    """The environment in which the stranger finds pytest: ours, by itself."""
    tools = stranger / "tools"
    tools.mkdir()
    for name in PYTEST:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        path = Path(spec.origin)
        path = path.parent if path.name == "__init__.py" else path
        (tools / path.name).symlink_to(path)
    (stranger / "tests").mkdir()
    (stranger / "tests" / "test_mail.py").write_text(TEST)
    return {**os.environ, "PYTHONPATH": str(tools), "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_fixture_is_there_for_a_stranger(stranger: Path, with_pytest: dict[str, str]) -> None:
    pytest_there = (stranger / "venv/bin/python", "-m", "pytest", "-q", "--strict-markers", "-W", "error")
    assert "1 passed" in run(*pytest_there, cwd=stranger / "tests", env=with_pytest)
    without = run(*pytest_there, "-p", "no:smtpproto", cwd=stranger / "tests", env=with_pytest, status=1)
    assert "fixture 'smtp_server' not found" in without
