"""The real servers as fixtures: `postfix`, `aiosmtpd`, and `server`, which is each of them in turn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.postfix import running_postfix
from tests.interop.python_server import running_aiosmtpd

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.interop.servers import RunningServer


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, before `-m` chooses: it hears of the other folders' tests as well."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("interop")
            item.add_marker("slow")


@pytest.fixture(scope="session")
def postfix() -> Generator[RunningServer]:
    """Postfix with Dovecot's SASL, once for all tests."""
    with running_postfix() as server:
        yield server


@pytest.fixture(scope="session")
def aiosmtpd() -> Generator[RunningServer]:
    """aiosmtpd, once for all tests."""
    with running_aiosmtpd() as server:
        yield server


@pytest.fixture(params=["postfix", "aiosmtpd"])
def server(request: pytest.FixtureRequest) -> RunningServer:
    """Each of the real servers; a test that takes it runs against all of them."""
    found: RunningServer = request.getfixturevalue(request.param)
    return found
