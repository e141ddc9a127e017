"""The real servers as fixtures.

`postfix`, `exim`, `aiosmtpd` and `nodemailer` are SMTP servers in every respect, and `server` is each of them in turn;
the last speaks LMTP, too; `cyrus` is a Postfix that authenticates in another way; `dovecot` takes mail by LMTP, and
hands on what is submitted to it; `sink` and `lmtp_sink` take everything and write it down.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.cyrus import running_postfix_with_cyrus
from tests.interop.dovecot import running_dovecot_mail
from tests.interop.exim import running_exim
from tests.interop.nodemailer import running_nodemailer
from tests.interop.postfix import running_postfix
from tests.interop.python_server import running_aiosmtpd
from tests.interop.recorder import Recorder
from tests.interop.routes import ROUTES, Route
from tests.interop.servers import write_certificates
from tests.interop.smtp_sink import running_smtp_sink

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.interop.dovecot import RunningDovecot
    from tests.interop.nodemailer import RunningNodemailer
    from tests.interop.servers import Certificates, RunningServer
    from tests.interop.smtp_sink import RunningSink


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("interoperation")
    group.addoption(
        "--interop-table", type=Path, metavar="FILE", help="write down which real servers and clients did what"
    )


def pytest_configure(config: pytest.Config) -> None:
    file: Path | None = config.getoption("interop_table", None)
    if file is not None:
        config.pluginmanager.register(Recorder(file), "interop-table")


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
def cyrus() -> Generator[RunningServer]:
    """Postfix with Cyrus SASL, once for all tests."""
    with running_postfix_with_cyrus() as server:
        yield server


@pytest.fixture(scope="session")
def exim() -> Generator[RunningServer]:
    """Exim, once for all tests."""
    with running_exim() as server:
        yield server


@pytest.fixture(scope="session")
def aiosmtpd() -> Generator[RunningServer]:
    """aiosmtpd, once for all tests."""
    with running_aiosmtpd() as server:
        yield server


@pytest.fixture(scope="session")
def nodemailer() -> Generator[RunningNodemailer]:
    """smtp-server of nodemailer, once for all tests."""
    with running_nodemailer() as server:
        yield server


@pytest.fixture(scope="session")
def dovecot(postfix: RunningServer) -> Generator[RunningDovecot]:
    """Dovecot's LMTP, and its submission before Postfix, once for all tests."""
    with running_dovecot_mail(postfix.ports.large) as server:
        yield server


@pytest.fixture(scope="session")
def sink() -> Generator[RunningSink]:
    """smtp-sink with dumps, once for all tests."""
    with running_smtp_sink(dumps=True) as server:
        yield server


@pytest.fixture(scope="session")
def lmtp_sink() -> Generator[RunningSink]:
    """The same for LMTP."""
    with running_smtp_sink("-L", dumps=True) as server:
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For servers of ours, and whoever talks to them."""
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["postfix", "exim", "aiosmtpd", "nodemailer"])
def server(request: pytest.FixtureRequest) -> RunningServer:
    """Each of the real servers; a test that takes it runs against all of them."""
    found: RunningServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=list(ROUTES))
def route(request: pytest.FixtureRequest) -> Route:
    """Each of the ways to the real servers' mailboxes, or the one that is named."""
    return replace(ROUTES[request.param](request), name=request.param)
