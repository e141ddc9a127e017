"""What docs/stability.md promises, as far as it can be held against the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import FunctionType

import pytest

from tests.stability import public

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
EXTRAS = {"trio", "dns", "trustme", "pytest"}


@pytest.fixture(params=public.MODULES)
def module(request: pytest.FixtureRequest) -> str:
    """Not every Python that the tests run on has the extras."""
    name: str = request.param
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        pytest.skip(f"{error.name} is not installed")
    return name


def test_the_public_names_are_those_that_are_recorded(module: str) -> None:
    """Where one is added, `python -m tests.stability.public`; where one is gone or changed: is that meant?"""
    recorded = public.RECORD.read_text(encoding="utf-8").splitlines()
    others = tuple(f"{name}." for name in public.MODULES if name.startswith(f"{module}."))
    assert public.told(module) == [
        line for line in recorded if line.startswith(f"{module}.") and not line.startswith(others)
    ]


def test_every_public_name_says_what_it_is(module: str) -> None:
    for name, value in public.public(module).items():
        if isinstance(value, type | FunctionType):
            assert value.__doc__, f"{module}.{name}"


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("smtpproto", "Connection", True),
        ("smtpproto", "flows", True),
        ("smtpproto.flows", "connect", True),
        ("smtpproto.flows", None, True),
        ("smtpproto.connection", "Connection", False),
        ("smtpproto.connection", None, False),
        ("smtpproto", "states", False),
        ("smtpproto.testing", "Cut", False),
    ],
)
def test_the_search_tells_what_is_public(module: str, name: str | None, expected: bool) -> None:
    assert public.is_public(module, name) is expected


def test_the_page_names_the_pythons_that_the_tests_run_on() -> None:
    (sentence,) = re.findall(r"CPython ((?:[0-9.]+(?:, | and )?)+)", PAGE)
    (supported,) = re.findall(r"^SUPPORTED = (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"3\.[0-9]+", sentence)) == set(supported.split())


def test_the_page_names_the_fixtures_and_the_markers() -> None:
    plugin = (ROOT / "adapters" / "smtpproto_adapters" / "pytest_plugin.py").read_text(encoding="utf-8")
    there = set(re.findall(r"^@pytest\.fixture.*\ndef (\w+)", plugin, re.MULTILINE))
    assert there == {"smtp_server", "smtp_server_factory"}
    (row,) = (line for line in PAGE.splitlines() if line.startswith("| the pytest plugin |"))
    assert set(re.findall(r"`(\w+)`", row)) == there
    assert re.findall(r'_MARKER = "(\w+)', plugin) == ["smtp_server"]
