"""How connecting ends: every `ErrorCode`, through every backend, with nothing left open."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpproto import AuthenticationFailed, ConnectFailed, ErrorCode, Security, Stage
from tests.scripted import (
    Close,
    Expect,
    ReadAll,
    Reset,
    Say,
    SayPieces,
    ScriptedServer,
    Silence,
    Step,
    Tls,
    closed_port,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from smtpproto import Command, Event, Reply
    from tests.adapters.backends import Backend

USER, PASSWORD = "user", "open-Sesame-42"
SECRETS = (
    PASSWORD.encode(),
    base64.b64encode(PASSWORD.encode()),
    base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()),
)

GREETING = Say(b"220 mx.example ESMTP\r\n")
EHLO = Expect(rb"EHLO \[127\.0\.0\.1\]")
STARTTLS = Expect(rb"STARTTLS")
OFFER = Say(b"250-mx.example\r\n250 STARTTLS\r\n")
PLAIN_OFFER = Say(b"250-mx.example\r\n250 AUTH PLAIN\r\n")
TO_STARTTLS = (GREETING, EHLO, OFFER, STARTTLS)
TO_PLAINTEXT_HELLO = (GREETING, EHLO)

SHORT = 0.3
LOGIN: dict[str, Any] = {"username": USER, "password": PASSWORD, "authenticate": True}
IN_CLEAR: dict[str, Any] = {**LOGIN, "security": Security.NONE, "allow_plaintext_auth": True}
REQUIRED: dict[str, Any] = {"security": Security.REQUIRED}
NONE: dict[str, Any] = {"security": Security.NONE}
IMPLICIT: dict[str, Any] = {"security": Security.IMPLICIT}
BRIEFLY: dict[str, Any] = {"timeout": SHORT}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a server does, what the client wants, and how it ends."""

    steps: tuple[Step, ...]
    code: ErrorCode
    stage: Stage
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    reply: int | None = None
    retryable: bool = False


CASES = {
    "refusing greeting": Case(
        steps=(Say(b"554 no service for you\r\n"), Expect(b"QUIT"), Say(b"221 bye\r\n")),
        code=ErrorCode.SERVICE_NOT_AVAILABLE,
        stage=Stage.GREETING,
        reply=554,
    ),
    "refusing greeting, and closed": Case(
        steps=(Say(b"554-no service\r\n554 for you\r\n"), Close()),
        code=ErrorCode.SERVICE_NOT_AVAILABLE,
        stage=Stage.GREETING,
        reply=554,
    ),
    "busy": Case(
        steps=(Say(b"421 too busy\r\n"), Close()),
        code=ErrorCode.SERVICE_NOT_AVAILABLE,
        stage=Stage.GREETING,
        reply=421,
        retryable=True,
    ),
    "closed without a greeting": Case(
        steps=(Close(),), code=ErrorCode.CLOSED_BY_PEER, stage=Stage.GREETING, retryable=True
    ),
    "reset within the greeting": Case(
        steps=(SayPieces([b"220-mx.example\r\n", b"220-"], 0.05), Reset()),
        code=ErrorCode.CLOSED_BY_PEER,
        stage=Stage.GREETING,
        retryable=True,
    ),
    "closed within the greeting": Case(
        steps=(Say(b"220-mx.exam"), Close()), code=ErrorCode.PROTOCOL_ERROR, stage=Stage.GREETING
    ),
    "HTTP": Case(
        steps=(Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Close()), code=ErrorCode.PROTOCOL_ERROR, stage=Stage.GREETING
    ),
    "SSH": Case(steps=(Say(b"SSH-2.0-OpenSSH_9.2\r\n"),), code=ErrorCode.PROTOCOL_ERROR, stage=Stage.GREETING),
    "250 for a greeting": Case(steps=(Say(b"250 hello\r\n"),), code=ErrorCode.PROTOCOL_ERROR, stage=Stage.GREETING),
    "hello refused": Case(
        steps=(
            *(GREETING, EHLO, Say(b"502 what?\r\n"), Expect(rb"HELO \[127\.0\.0\.1\]")),
            *(Say(b"550 not you either\r\n"), Expect(b"QUIT")),
        ),
        code=ErrorCode.HELLO_REFUSED,
        stage=Stage.HELLO,
        reply=550,
    ),
    "421 to EHLO": Case(
        steps=(GREETING, EHLO, Say(b"421 come back later\r\n"), Close()),
        code=ErrorCode.SERVICE_NOT_AVAILABLE,
        stage=Stage.HELLO,
        reply=421,
        retryable=True,
    ),
    "closed after EHLO": Case(
        steps=(GREETING, EHLO, Close()), code=ErrorCode.CLOSED_BY_PEER, stage=Stage.HELLO, retryable=True
    ),
    "two replies to one EHLO": Case(
        steps=(GREETING, EHLO, Say(b"250-a\r\n250 STARTTLS\r\n250 b\r\n")),
        code=ErrorCode.PROTOCOL_ERROR,
        stage=Stage.STARTTLS,
        options=REQUIRED,
    ),
    "STARTTLS not offered": Case(
        steps=(GREETING, EHLO, Say(b"250 mx.example\r\n"), Expect(b"QUIT")),
        code=ErrorCode.STARTTLS_NOT_OFFERED,
        stage=Stage.HELLO,
        options=REQUIRED,
    ),
    "STARTTLS overwritten by a middlebox": Case(
        steps=(GREETING, EHLO, Say(b"250-mx.example\r\n250 XXXXXXXA\r\n"), Expect(b"QUIT")),
        code=ErrorCode.STARTTLS_NOT_OFFERED,
        stage=Stage.HELLO,
        options=REQUIRED,
    ),
    "STARTTLS refused": Case(
        steps=(*TO_STARTTLS, Say(b"454 TLS not available\r\n"), Expect(b"QUIT")),
        code=ErrorCode.STARTTLS_REFUSED,
        stage=Stage.STARTTLS,
        options=REQUIRED,
        reply=454,
        retryable=True,
    ),
    "extended not supported": Case(
        steps=(GREETING, EHLO, Say(b"500 what?\r\n"), Expect(b"QUIT")),
        code=ErrorCode.EXTENDED_NOT_SUPPORTED,
        stage=Stage.HELLO,
        options=IN_CLEAR,
        reply=500,
    ),
    "authentication not offered": Case(
        steps=(*TO_PLAINTEXT_HELLO, Say(b"250 mx.example\r\n"), Expect(b"QUIT")),
        code=ErrorCode.AUTHENTICATION_NOT_OFFERED,
        stage=Stage.AUTHENTICATION,
        options=IN_CLEAR,
    ),
    "no common mechanism": Case(
        steps=(*TO_PLAINTEXT_HELLO, Say(b"250-mx.example\r\n250 AUTH GSSAPI\r\n"), Expect(b"QUIT")),
        code=ErrorCode.NO_COMMON_MECHANISM,
        stage=Stage.AUTHENTICATION,
        options=IN_CLEAR,
    ),
    "authentication refused": Case(
        steps=(*TO_PLAINTEXT_HELLO, PLAIN_OFFER, Expect(rb"AUTH PLAIN .+"), Say(b"535 5.7.8 no\r\n"), Expect(b"QUIT")),
        code=ErrorCode.AUTHENTICATION_REFUSED,
        stage=Stage.AUTHENTICATION,
        options=IN_CLEAR,
        reply=535,
    ),
    "authentication not possible now": Case(
        steps=(*TO_PLAINTEXT_HELLO, PLAIN_OFFER, Expect(rb"AUTH PLAIN .+"), Say(b"454 4.7.0 no\r\n"), Expect(b"QUIT")),
        code=ErrorCode.AUTHENTICATION_UNAVAILABLE,
        stage=Stage.AUTHENTICATION,
        options=IN_CLEAR,
        reply=454,
        retryable=True,
    ),
    "password in plaintext": Case(
        steps=(*TO_PLAINTEXT_HELLO, PLAIN_OFFER, Expect(b"QUIT")),
        code=ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN,
        stage=Stage.AUTHENTICATION,
        options={**LOGIN, **NONE},
    ),
    "credentials without STARTTLS": Case(
        steps=(*TO_PLAINTEXT_HELLO, PLAIN_OFFER, Expect(b"QUIT")),
        code=ErrorCode.STARTTLS_NOT_OFFERED,
        stage=Stage.HELLO,
        options=LOGIN,
    ),
    "silent from the start": Case(
        steps=(Silence(),), code=ErrorCode.GREETING_TIMED_OUT, stage=Stage.GREETING, options=BRIEFLY, retryable=True
    ),
    "silent after EHLO": Case(
        steps=(GREETING, EHLO, Silence()),
        code=ErrorCode.HELLO_TIMED_OUT,
        stage=Stage.HELLO,
        options=BRIEFLY,
        retryable=True,
    ),
    "silent after STARTTLS": Case(
        steps=(*TO_STARTTLS, Silence()),
        code=ErrorCode.STARTTLS_TIMED_OUT,
        stage=Stage.STARTTLS,
        options={**REQUIRED, **BRIEFLY},
        retryable=True,
    ),
    "silent in the TLS handshake": Case(
        steps=(*TO_STARTTLS, Say(b"220 go\r\n"), Silence()),
        code=ErrorCode.TLS_TIMED_OUT,
        stage=Stage.TLS,
        options={**REQUIRED, **BRIEFLY},
        retryable=True,
    ),
    "silent where TLS is implicit": Case(
        steps=(Silence(),),
        code=ErrorCode.TLS_TIMED_OUT,
        stage=Stage.TLS,
        options={**IMPLICIT, **BRIEFLY},
        retryable=True,
    ),
    "silent after AUTH": Case(
        steps=(*TO_PLAINTEXT_HELLO, PLAIN_OFFER, Expect(rb"AUTH PLAIN .+"), Silence()),
        code=ErrorCode.AUTHENTICATION_TIMED_OUT,
        stage=Stage.AUTHENTICATION,
        options={**IN_CLEAR, **BRIEFLY},
        retryable=True,
    ),
    "closed in the TLS handshake": Case(
        steps=(*TO_STARTTLS, Say(b"220 go\r\n"), Close()),
        code=ErrorCode.CLOSED_BY_PEER,
        stage=Stage.TLS,
        options=REQUIRED,
        retryable=True,
    ),
    "reset in the TLS handshake": Case(
        steps=(*TO_STARTTLS, Say(b"220 go\r\n"), Reset()),
        code=ErrorCode.CLOSED_BY_PEER,
        stage=Stage.TLS,
        options=REQUIRED,
        retryable=True,
    ),
    "plaintext where TLS is implicit": Case(
        steps=(GREETING, ReadAll()), code=ErrorCode.TLS_HANDSHAKE_FAILED, stage=Stage.TLS, options=IMPLICIT
    ),
    "HTTP where TLS is implicit": Case(
        steps=(Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ReadAll()),
        code=ErrorCode.TLS_HANDSHAKE_FAILED,
        stage=Stage.TLS,
        options=IMPLICIT,
    ),
    "TLS records that are none": Case(
        steps=(Say(b"\x16\x03\x03\x00\x04what"), ReadAll()),
        code=ErrorCode.TLS_HANDSHAKE_FAILED,
        stage=Stage.TLS,
        options=IMPLICIT,
    ),
    "a TLS alert": Case(
        steps=(Say(b"\x15\x03\x03\x00\x02\x02\x28"), ReadAll()),  # fatal, handshake_failure
        code=ErrorCode.TLS_HANDSHAKE_FAILED,
        stage=Stage.TLS,
        options=IMPLICIT,
    ),
}

INJECTED = b"220 go\r\n250 injected\r\n"
INJECTIONS: dict[str, Step] = {
    "in one packet": Say(INJECTED),
    "in two packets": SayPieces((b"220 go\r\n", b"250 injected\r\n"), 0.05),
    "in the middle of a line": SayPieces((b"220 go\r\n250 inj", b"ected\r\n"), 0.05),
    "octet by octet": SayPieces([bytes([each]) for each in INJECTED], 0.002),
    "with half a line": Say(b"220 go\r\n25"),
}
for name, step in INJECTIONS.items():
    CASES[f"injected behind STARTTLS {name}"] = Case(
        steps=(*TO_STARTTLS, step, ReadAll()), code=ErrorCode.PROTOCOL_ERROR, stage=Stage.TLS, options=REQUIRED
    )


@pytest.mark.rfc("5321", "3.1")
@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("3207", "4.1")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_failure(backend: Backend, case: Case, client_context: ssl.SSLContext) -> None:
    with ScriptedServer(*case.steps) as server:

        async def scenario() -> ConnectFailed:
            client = backend.client(
                host=server.host, port=server.port, context=client_context, **{"timeout": 10, **case.options}
            )
            assert await client.connect_ex() is case.code, client.failure
            assert not client.is_connected
            assert client.failure is not None
            return client.failure

        failure = backend.run(scenario)
    assert (failure.code, failure.stage) == (case.code, case.stage)
    assert (failure.reply.code if failure.reply else None) == case.reply
    assert failure.retryable is case.retryable
    assert isinstance(failure, AuthenticationFailed) is (case.stage is Stage.AUTHENTICATION)
    assert "\n" not in failure.args[0]
    assert not any(secret in str(failure).encode() for secret in SECRETS)
    if not case.options.get("allow_plaintext_auth"):
        assert not any(secret in server.received for secret in SECRETS)


def test_connect_raises_what_connect_ex_returns(backend: Backend) -> None:
    with ScriptedServer(Say(b"554 no\r\n"), ReadAll()) as server:

        async def scenario() -> None:
            client = backend.client(host=server.host, port=server.port)
            with pytest.raises(ConnectFailed, match="554 no") as caught:
                await client.connect()
            assert caught.value is client.failure

        backend.run(scenario)


@pytest.mark.parametrize(
    "options",
    [{}, {"host": "mx.example", "port": 65536}, {"host": "mx.example", "port": "what"}, {"host": "mx\0.example"}],
    ids=["no host", "port too great", "port unknown", "NUL"],
)
def test_invalid_argument(backend: Backend, options: dict[str, Any]) -> None:
    async def scenario() -> None:
        client = backend.client(**options)
        assert await client.connect_ex() is ErrorCode.INVALID_ARGUMENT

    backend.run(scenario)


def test_invalid_url(backend: Backend) -> None:
    with pytest.raises(ConnectFailed) as caught:
        backend.client("http://mx.example")
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.rfc("4954", "14")
def test_untrusted_certificate(backend: Backend, server_context: ssl.SSLContext) -> None:
    """The default context trusts the system's authorities, and ours is none of them."""
    with ScriptedServer(*TO_STARTTLS, Say(b"220 go\r\n"), Tls(server_context, refused=True)) as server:

        async def scenario() -> None:
            client = backend.client(host=server.host, port=server.port, security=Security.REQUIRED, **LOGIN)
            assert await client.connect_ex() is ErrorCode.CERTIFICATE_NOT_TRUSTED
            assert client.failure is not None
            assert client.failure.stage is Stage.TLS
            assert f"127.0.0.1 port {server.port}" in str(client.failure)
            assert client.tls is None

        backend.run(scenario)


@pytest.mark.rfc("7817", "3")
@pytest.mark.rfc("4954", "14")
@pytest.mark.parametrize("host_name", ["mx.example", "127.0.0.1", "example"])
def test_wrong_host_name(
    backend: Backend, foreign_context: ssl.SSLContext, client_context: ssl.SSLContext, host_name: str
) -> None:
    with ScriptedServer(*TO_STARTTLS, Say(b"220 go\r\n"), Tls(foreign_context, refused=True)) as server:

        async def scenario() -> None:
            client = backend.client(
                host_name=host_name,
                host_address=server.host,
                port=server.port,
                context=client_context,
                security=Security.REQUIRED,
                **LOGIN,
            )
            assert await client.connect_ex() is ErrorCode.WRONG_HOST_NAME

        backend.run(scenario)


@pytest.mark.parametrize("host_name", ["mx.example", "mx.example.", "localhost"])
def test_right_host_name_at_another_address(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext, host_name: str
) -> None:
    with ScriptedServer(Tls(server_context), GREETING, EHLO, PLAIN_OFFER, Expect(b"QUIT")) as server:

        async def scenario() -> None:
            options: dict[str, Any] = {"host_name": host_name, "host_address": server.host, "port": server.port}
            async with backend.client(context=client_context, security=Security.IMPLICIT, **options) as client:
                assert client.tls is not None
                assert client.tls.version.startswith("TLSv1.")
                assert client.tls.certificate is not None
                assert ("DNS", "mx.example") in client.tls.certificate["subjectAltName"]
                assert client.tls.certificate_der is not None

        backend.run(scenario)


def test_server_that_has_no_cipher_in_common(backend: Backend, client_context: ssl.SSLContext) -> None:
    """A server's context without a certificate."""
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with ScriptedServer(Tls(bare, refused=True)) as server:

        async def scenario() -> None:
            client = backend.client(
                host=server.host, port=server.port, context=client_context, security=Security.IMPLICIT
            )
            assert await client.connect_ex() is ErrorCode.TLS_HANDSHAKE_FAILED

        backend.run(scenario)


# Dialling ----------------------------------------------------------------------------------------------------------


def outcome(backend: Backend, **options: Any) -> ConnectFailed:
    async def scenario() -> ConnectFailed:
        client = backend.client(**options)
        code = await client.connect_ex()
        assert client.failure is not None
        assert client.failure.code is code
        assert client.failure.stage is Stage.DIAL
        return client.failure

    return backend.run(scenario)


def test_refused(backend: Backend) -> None:
    failure = outcome(backend, host="127.0.0.1", port=closed_port())
    assert failure.code is ErrorCode.CONNECTION_REFUSED
    assert f"127.0.0.1 port {closed_port()}" in str(failure)


def test_unreachable(backend: Backend) -> None:
    """No TCP connection can be made to the broadcast address."""
    assert outcome(backend, host="255.255.255.255", port=25, timeout=5).code is ErrorCode.UNREACHABLE


def test_no_unix_socket(backend: Backend, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp.sock")
    failure = outcome(backend, path=path, lmtp=True)
    assert failure.code is ErrorCode.UNREACHABLE
    assert path in str(failure)


def test_unix_socket_that_nobody_listens_at(backend: Backend, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(path)
    assert outcome(backend, path=path, lmtp=True).code is ErrorCode.CONNECTION_REFUSED


def test_path_too_long_for_a_unix_socket(backend: Backend, tmp_path: Path) -> None:
    assert outcome(backend, path=str(tmp_path / ("x" * 200)), lmtp=True).code is ErrorCode.UNREACHABLE


@contextmanager
def full_listener() -> Generator[tuple[str, int]]:
    """An address of loopback that answers nobody: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


def test_dial_timed_out(backend: Backend) -> None:
    with full_listener() as (host, port):
        begun = time.monotonic()
        failure = outcome(backend, host=host, port=port, timeout=SHORT)
        assert failure.code is ErrorCode.DIAL_TIMED_OUT
        assert SHORT * 0.9 < time.monotonic() - begun < 5


class Names:
    """A resolver for the tests: names to addresses, with ports of their own."""

    def __init__(self, patch: pytest.MonkeyPatch, **names: list[tuple[str, int]]) -> None:
        self._names = names
        self._real = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name == "127.0.0.1":
            return self._real(host, port, *arguments, **options)
        name.encode("idna")
        if name not in self._names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            (family[":" in address[0]], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
            for address in self._names[name]
        ]


def test_name_not_found(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch)
    failure = outcome(backend, host="nowhere.invalid")
    assert failure.code is ErrorCode.NAME_NOT_FOUND
    assert "nowhere.invalid" in str(failure)


def test_host_with_several_addresses(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(GREETING, EHLO, PLAIN_OFFER, Expect(b"QUIT")) as server:
        there = [("127.0.0.1", closed_port()), ("255.255.255.255", 25), (server.host, server.port)]
        Names(monkeypatch, many=there)

        async def scenario() -> None:
            async with backend.client(host="many", security=Security.NONE, timeout=10) as client:
                assert client.extended

        backend.run(scenario)


@pytest.mark.rfc("5321", "5.1")
def test_address_that_answers_nobody_does_not_hold_the_others_up(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_listener() as silent, ScriptedServer(GREETING, EHLO, PLAIN_OFFER, Expect(b"QUIT")) as server:
        Names(monkeypatch, many=[silent, (server.host, server.port)])

        async def scenario() -> None:
            async with backend.client(host="many", security=Security.NONE, timeout=2) as client:
                assert client.extended

        backend.run(scenario)


def test_addresses_of_both_families(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(GREETING, EHLO, PLAIN_OFFER, Expect(b"QUIT")) as server:
        Names(monkeypatch, many=[("::1", closed_port()), ("::1", closed_port()), (server.host, server.port)])

        async def scenario() -> None:
            async with backend.client(host="many", security=Security.NONE, timeout=10) as client:
                assert client.extended

        backend.run(scenario)


def test_host_without_an_address(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, none=[])
    assert outcome(backend, host="none", timeout=10).code is ErrorCode.UNREACHABLE


def test_host_with_several_addresses_that_all_fail(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, many=[("255.255.255.255", 25), ("127.0.0.1", closed_port())])
    assert outcome(backend, host="many", timeout=10).code is ErrorCode.CONNECTION_REFUSED


def test_host_with_several_addresses_that_are_all_unreachable(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, many=[("255.255.255.255", 25), ("255.255.255.255", 26)])
    assert outcome(backend, host="many", timeout=10).code is ErrorCode.UNREACHABLE


# Waiting -----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.5.3.2")
def test_peer_gains_no_time_by_an_octet_now_and_then(backend: Backend) -> None:
    pieces = [b"220-"] + [b"x"] * 100
    with ScriptedServer(SayPieces(pieces, 0.1)) as server:
        begun = time.monotonic()

        async def scenario() -> None:
            client = backend.client(host=server.host, port=server.port, timeout=0.5)
            assert await client.connect_ex() is ErrorCode.GREETING_TIMED_OUT

        backend.run(scenario)
        assert time.monotonic() - begun < 3


def test_timeout_0_waits(backend: Backend) -> None:
    with ScriptedServer(SayPieces([b"2", b"20 mx.example\r\n"], 0.2), EHLO, PLAIN_OFFER, Expect(b"QUIT")) as server:

        async def scenario() -> None:
            async with backend.client(host=server.host, port=server.port, timeout=0, security=Security.NONE) as client:
                assert client.is_connected

        backend.run(scenario)


def test_endless_line_stops_at_the_limit(backend: Backend) -> None:
    with ScriptedServer(Say(b"220 " + b"x" * 1_000_000), ReadAll()) as server:

        async def scenario() -> None:
            client = backend.client(host=server.host, port=server.port)
            assert await client.connect_ex() is ErrorCode.PROTOCOL_ERROR

        backend.run(scenario)


def test_nothing_secret_is_seen_by_the_watchers(backend: Backend) -> None:
    seen: list[str] = []

    def on_send(message: Command | Reply) -> None:
        seen.append(f"{message} {message!r}")

    def on_event(event: Event) -> None:
        seen.append(repr(event))

    steps = (*TO_PLAINTEXT_HELLO, PLAIN_OFFER, Expect(rb"AUTH PLAIN .+"), Say(b"535 no\r\n"), Expect(b"QUIT"))
    with ScriptedServer(*steps) as server:

        async def scenario() -> None:
            client = backend.client(
                host=server.host,
                port=server.port,
                on_event=on_event,
                on_send=on_send,
                **IN_CLEAR,
            )
            assert await client.connect_ex() is ErrorCode.AUTHENTICATION_REFUSED
            seen.append(f"{client!r} {client.options!r} {client.failure!r}")

        backend.run(scenario)
    assert any(secret in server.received for secret in SECRETS)
    assert not any(secret.decode() in text for text in seen for secret in SECRETS)
