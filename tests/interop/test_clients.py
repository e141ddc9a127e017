"""The three Clients against real servers: connecting and authenticating, with right and wrong means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from smtpproto import (
    AuthenticationFailed,
    AuthNeeded,
    AuthReason,
    Connected,
    EhloReply,
    ErrorCode,
    Event,
    Greeting,
    Security,
    Stage,
    StartTlsReady,
)
from tests.adapters.backends import BACKENDS, Backend, nothing_left

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.adapters.backends import AnyClient
    from tests.interop.servers import RunningServer

COMMON = ("PLAIN", "LOGIN")
"""The mechanisms that both sides have."""


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest, server: RunningServer) -> Generator[Backend]:
    """Each of the three in turn, once the server runs; the test must leave nothing behind."""
    found: Backend = request.param
    with nothing_left():
        yield found


def client_of(backend: Backend, server: RunningServer, role: str, **options: Any) -> AnyClient:
    """A client for one of the server's ports, which trusts the server."""
    security = {"plain": None, "submission": Security.REQUIRED, "smtps": Security.IMPLICIT}[role]
    given = {"host": server.host, "context": server.client_context(), "security": security, "timeout": 20}
    return backend.client(port=getattr(server.ports, role), **{**given, **options})


def credentials(server: RunningServer) -> dict[str, Any]:
    return {"username": server.user.login, "password": server.user.password}


@pytest.mark.scenario("STARTTLS")
@pytest.mark.rfc("3207", "4")
def test_order_of_events(backend: Backend, server: RunningServer) -> None:
    events: list[Event] = []

    async def scenario() -> None:
        async with client_of(backend, server, "submission", on_event=events.append, **credentials(server)) as client:
            assert client.tls is not None
            assert client.extended
            assert not client.connection or not client.connection.authenticated

    backend.run(scenario)
    connecting = events[: [type(event) for event in events].index(Connected) + 1]
    assert [type(event) for event in connecting] == [
        *(Greeting, EhloReply, StartTlsReady, EhloReply, AuthNeeded, Connected)
    ]
    before, after = (event for event in connecting if isinstance(event, EhloReply))
    assert "STARTTLS" in before.extensions
    assert "STARTTLS" not in after.extensions
    needed = connecting[4]
    assert isinstance(needed, AuthNeeded)
    assert set(needed.mechanisms) == server.mechanisms
    assert needed.why is AuthReason.CREDENTIALS_GIVEN


@pytest.mark.scenario("wrong password")
@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("mechanism", [pytest.param(each, marks=pytest.mark.scenario(each)) for each in COMMON])
@pytest.mark.parametrize("role", ["submission", "smtps"])
def test_passwords(backend: Backend, server: RunningServer, role: str, mechanism: str) -> None:
    """A wrong one is refused, and the right one is taken after it, in the same session."""

    async def scenario() -> None:
        async with client_of(backend, server, role, mechanisms=[mechanism], **credentials(server)) as client:
            with pytest.raises(AuthenticationFailed) as caught:
                await client.authenticate(password="another-Pass1")
            assert caught.value.code is ErrorCode.AUTHENTICATION_REFUSED
            assert caught.value.reply is not None
            assert caught.value.reply.code == 535
            assert "another-Pass1" not in str(caught.value)
            assert client.is_connected
            assert (await client.authenticate()).code == 235
            assert (await client.noop()).code == 250

    backend.run(scenario)


@pytest.mark.parametrize("mechanism", COMMON)
def test_password_that_is_not_ascii(backend: Backend, server: RunningServer, mechanism: str) -> None:
    async def scenario() -> None:
        async with client_of(backend, server, "smtps", mechanisms=[mechanism]) as client:
            reply = await client.authenticate(server.uni.login, server.uni.password)
            assert reply.code == 235

    backend.run(scenario)


@pytest.mark.parametrize("role", ["submission", "smtps"])
def test_authenticating_within_connecting(backend: Backend, server: RunningServer, role: str) -> None:
    async def scenario() -> None:
        async with client_of(backend, server, role, authenticate=True, **credentials(server)) as client:
            assert client.connection is not None
            assert client.connection.authenticated
        client = client_of(
            backend, server, role, authenticate=True, username=server.user.login, password="another-Pass1"
        )
        assert await client.connect_ex() is ErrorCode.AUTHENTICATION_REFUSED
        assert client.failure is not None
        assert client.failure.stage is Stage.AUTHENTICATION

    backend.run(scenario)


@pytest.mark.scenario("implicit TLS")
@pytest.mark.rfc("8314", "3.3")
def test_implicit_tls(backend: Backend, server: RunningServer) -> None:
    async def scenario() -> None:
        async with client_of(backend, server, "smtps") as client:
            assert client.tls is not None
            assert client.tls.version in ("TLSv1.2", "TLSv1.3")
            assert client.tls.cipher
            assert client.tls.certificate is not None
            assert ("DNS", "mail.example.test") in client.tls.certificate["subjectAltName"]
            assert "STARTTLS" not in client.extensions

    backend.run(scenario)


@pytest.mark.scenario("STARTTLS")
def test_mail_exchanger(backend: Backend, server: RunningServer) -> None:
    """Port 25: STARTTLS because it is offered, no authentication."""

    async def scenario() -> None:
        async with client_of(backend, server, "plain") as client:
            assert client.tls is not None
            assert client.extensions.auth == ()
            assert "SIZE" in client.extensions
            assert (await client.verify("user@example.test")).code == 252
            assert (await client.reset()).code == 250
        async with client_of(backend, server, "plain", security=Security.NONE) as client:
            assert client.tls is None
            assert "STARTTLS" in client.extensions
        async with client_of(backend, server, "plain", extended=False) as client:
            assert not client.extended
            assert (await client.noop()).code == 250

    backend.run(scenario)


@pytest.mark.parametrize("role", ["plain", "submission", "smtps"])
def test_untrusted_certificate(backend: Backend, server: RunningServer, role: str) -> None:
    async def scenario() -> None:
        client = client_of(backend, server, role, context=None)
        assert await client.connect_ex() is ErrorCode.CERTIFICATE_NOT_TRUSTED
        assert client.failure is not None
        assert client.failure.stage is Stage.TLS
        assert "certificate" in str(client.failure)

    backend.run(scenario)


@pytest.mark.rfc("7817", "3")
@pytest.mark.parametrize("role", ["submission", "smtps"])
def test_wrong_host_name(backend: Backend, server: RunningServer, role: str) -> None:
    async def scenario() -> None:
        there = {"host": None, "host_address": server.host}
        client = client_of(backend, server, role, host_name="mail.elsewhere.test", **there)
        assert await client.connect_ex() is ErrorCode.WRONG_HOST_NAME
        async with client_of(backend, server, role, host_name="mail.example.test", **there) as client:
            assert client.tls is not None

    backend.run(scenario)


def test_password_is_not_sent_in_plaintext(backend: Backend, server: RunningServer) -> None:
    async def scenario() -> None:
        options: dict[str, Any] = {"security": Security.NONE, "authenticate": True, **credentials(server)}
        client = client_of(backend, server, "submission", **options)
        assert await client.connect_ex() in (
            ErrorCode.AUTHENTICATION_NOT_OFFERED,
            ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN,
        )

    backend.run(scenario)


@pytest.mark.parametrize("role", ["plain", "submission"])
def test_implicit_tls_at_a_port_that_has_none(backend: Backend, server: RunningServer, role: str) -> None:
    async def scenario() -> None:
        client = client_of(backend, server, role, security=Security.IMPLICIT)
        assert await client.connect_ex() is ErrorCode.TLS_HANDSHAKE_FAILED
        assert "plaintext" in str(client.failure)

    backend.run(scenario)


def test_plaintext_at_a_port_of_implicit_tls(backend: Backend, server: RunningServer) -> None:
    async def scenario() -> None:
        client = client_of(backend, server, "smtps", security=Security.NONE, timeout=0.5)
        assert await client.connect_ex() is ErrorCode.GREETING_TIMED_OUT

    backend.run(scenario)


def test_connecting_again(backend: Backend, server: RunningServer) -> None:
    async def scenario() -> None:
        client = client_of(backend, server, "submission", **credentials(server))
        for _ in range(3):
            await client.connect()
            assert (await client.authenticate()).code == 235
            await client.disconnect()

    backend.run(scenario)
