"""The backends, and certificates for the servers of these tests."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.adapters.talking import Complaints
from tests.scripted import closed_port

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Generator[Backend]:
    """Each of the three in turn; the test must leave nothing behind."""
    found: Backend = request.param
    closed_port()  # it opens a socket at the first call
    with nothing_left():
        yield found


@pytest.fixture
def complaints(caplog: pytest.LogCaptureFixture) -> Complaints:
    """What the servers have logged, which may be errors only."""
    return Complaints(caplog)


@pytest.fixture(scope="session")
def authority() -> Any:
    """A certificate authority; Any, because trustme's types are not complete."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_context(authority: Any) -> ssl.SSLContext:
    """A server's, for loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", "::1", "mx.example").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_context(authority: Any) -> ssl.SSLContext:
    """A client's, which trusts that."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def foreign_context(authority: Any) -> ssl.SSLContext:
    """A server's whose certificate is for another host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    return context
