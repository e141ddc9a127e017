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
def leaf(authority: Any) -> Any:
    """The servers' certificate, for loopback, with its key."""
    return authority.issue_cert("localhost", "127.0.0.1", "::1", "mx.example")


@pytest.fixture(scope="session")
def certificate(leaf: Any) -> bytes:
    """The same without the key, in PEM."""
    pem: bytes = leaf.cert_chain_pems[0].bytes()
    return pem


@pytest.fixture(scope="session")
def server_context(authority: Any, leaf: Any) -> ssl.SSLContext:
    """A server's, for loopback.  It asks for the client's certificate, and takes none for an answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@pytest.fixture(scope="session")
def client_context(authority: Any) -> ssl.SSLContext:
    """A client's, which trusts that."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def own_context(authority: Any) -> ssl.SSLContext:
    """A client's with a certificate of its own, which is for ann@mx.example."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    authority.issue_cert("ann@mx.example").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def middle_context(authority: Any) -> ssl.SSLContext:
    """That of a server in the middle, whose certificate is another one for loopback, and trusted too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def foreign_context(authority: Any) -> ssl.SSLContext:
    """A server's whose certificate is for another host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    return context
