"""The offer of STARTTLS taken away between us and the server: nothing that depends on a secret is ever written.

The server is one of ours that offers every mechanism in clear, and the client has a password and a token; whoever is
in the middle records each octet that it writes.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from smtpproto import (
    AuthenticationFailed,
    AuthNeeded,
    Command,
    Connected,
    Ehlo,
    ErrorCode,
    Event,
    Helo,
    Lhlo,
    Reply,
    Security,
    ServerAuth,
    StartTls,
)
from smtpproto.sasl import MECHANISMS
from smtpproto_adapters.server import Decision, Handler, ServerSession
from tests.adapters.middle import Middle

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.adapters.backends import Backend

    Change = Callable[[bytes], bytes | None]

NAMES = [each.name for each in MECHANISMS]
WITH_SECRET = [each.name for each in MECHANISMS if each.has_secret and not each.binds_channel]
PASSWORD, TOKEN, USER = "pass-Wörd 1", "ya29.the-token", "ann@mx.example"
SECRETS: dict[str, Any] = {"username": USER, "password": PASSWORD, "token": TOKEN}


class Odd(Handler):
    """Refuses EHLO, or STARTTLS, where it is to; and has an answer for EXTERNAL, so that it can be offered."""

    def __init__(self, ehlo: Reply | None = None, starttls: Reply | None = None) -> None:
        self.ehlo = ehlo
        self.starttls = starttls

    def hello(self, session: ServerSession, command: Ehlo | Helo | Lhlo) -> Decision:
        return None if isinstance(command, Helo) else self.ehlo

    def command(self, session: ServerSession, command: Command) -> Decision:
        return self.starttls if isinstance(command, StartTls) else None

    def verify(self, session: ServerSession, question: object) -> None:
        return None


def stripped(line: bytes) -> bytes | None:
    """The last line is that of AUTH, so this one can be left out."""
    return None if b"STARTTLS" in line else line


def masked_by(text: bytes) -> Change:
    """As firewalls do, which have no more respect for the greeting."""

    def masked(line: bytes) -> bytes:
        return b"220 ****************\r\n" if line.startswith(b"220 ") else line.replace(b"STARTTLS", text)

    return masked


def with_an_offer(line: bytes) -> bytes:
    """To HELO nothing can be offered, whatever stands in the reply."""
    return b"250-localhost\r\n250 AUTH PLAIN LOGIN\r\n" if line == b"250 localhost\r\n" else line


WAYS: dict[str, tuple[Change, Odd, ErrorCode]] = {
    "stripped": (stripped, Odd(), ErrorCode.STARTTLS_NOT_OFFERED),
    "masked with X": (masked_by(b"XXXXXXXA"), Odd(), ErrorCode.STARTTLS_NOT_OFFERED),
    "masked with stars": (masked_by(b"********"), Odd(), ErrorCode.STARTTLS_NOT_OFFERED),
    "454": (lambda line: line, Odd(starttls=Reply(454, "4.7.0 not now")), ErrorCode.STARTTLS_REFUSED),
    "HELO": (lambda line: line, Odd(ehlo=Reply(502, "5.5.1 what?")), ErrorCode.EXTENDED_NOT_SUPPORTED),
    "HELO that offers": (
        with_an_offer,
        Odd(ehlo=Reply(502, "5.5.1 AUTH PLAIN LOGIN")),
        ErrorCode.EXTENDED_NOT_SUPPORTED,
    ),
}
HOW: dict[str, dict[str, Any]] = {
    "by default": {},
    "by default, at once": {"authenticate": True},
    "opportunistic": {"security": Security.OPPORTUNISTIC},
    "opportunistic, at once": {"security": Security.OPPORTUNISTIC, "authenticate": True},
}


def forms(secret: str) -> list[bytes]:
    octets = secret.encode()
    return [
        octets,
        quote(secret).encode(),
        octets.hex().encode(),
        *(b64encode(bytes(n) + octets)[4:-4] for n in (0, 1, 2)),
    ]


def assert_nothing_was_said(said: bytes) -> None:
    assert b"EHLO " in said  # it was recorded
    assert b"AUTH" not in said.upper()
    assert not any(form in said for secret in (PASSWORD, TOKEN) for form in forms(secret))
    assert all(line.split(b" ")[0] in (b"EHLO", b"HELO", b"STARTTLS", b"NOOP", b"QUIT") for line in said.splitlines())


def through(
    backend: Backend,
    context: ssl.SSLContext,
    way: tuple[Change, Odd, ErrorCode],
    use: Callable[[Any, list[Event]], Any],
    **options: Any,
) -> bytes:
    """Use a client whose way to the server is such; what it has written."""
    change, handler, _ = way
    events: list[Event] = []
    auth = ServerAuth({USER: PASSWORD}, tokens={TOKEN: USER}, mechanisms=NAMES, allow_plaintext=True, failure_delay=0)

    async def scenario() -> bytes:
        async with backend.serve(handler, auth=auth, context=context) as server:
            with Middle(server, change) as middle:
                given = {**SECRETS, "on_event": events.append, **options}
                await use(backend.client(host=middle.host, port=middle.port, **given), events)
                return bytes(middle.said)

    return backend.run(scenario)


async def connect_and_authenticate(client: Any, events: list[Event]) -> None:
    code = await client.connect_ex()
    if code is not ErrorCode.SUCCESS:
        assert not any(isinstance(each, Connected) for each in events)
        return
    assert client.tls is None
    others: list[dict[str, Any]] = [{"mechanisms": [name]} for name in WITH_SECRET]
    for options in ({}, *others, {"password": "another", "username": "bob"}):
        with pytest.raises(AuthenticationFailed) as caught:
            await client.authenticate(**options)
        assert caught.value.code in (ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN, ErrorCode.EXTENDED_NOT_SUPPORTED)
        assert (await client.noop()).is_positive
    await client.disconnect()


@pytest.mark.rfc("3207", "6")
@pytest.mark.rfc("4954", "9")
@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_nothing_that_depends_on_the_secret_is_written(
    backend: Backend, server_context: ssl.SSLContext, way: tuple[Change, Odd, ErrorCode], how: dict[str, Any]
) -> None:
    assert_nothing_was_said(through(backend, server_context, way, connect_and_authenticate, **how))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_the_program_hears(
    backend: Backend, server_context: ssl.SSLContext, way: tuple[Change, Odd, ErrorCode]
) -> None:
    async def required(client: Any, events: list[Event]) -> None:
        assert await client.connect_ex() is way[2]

    async def opportunistic(client: Any, events: list[Event]) -> None:
        expected = ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN
        if way[2] is ErrorCode.EXTENDED_NOT_SUPPORTED:
            expected = way[2]
        assert await client.connect_ex() is expected
        assert all(each.usable == () for each in events if isinstance(each, AuthNeeded))

    assert_nothing_was_said(through(backend, server_context, way, required))
    options = {"security": Security.OPPORTUNISTIC, "authenticate": True}
    assert_nothing_was_said(through(backend, server_context, way, opportunistic, **options))


@pytest.mark.rfc("4954", "9")
@pytest.mark.parametrize("name", WITH_SECRET)
def test_mechanism_by_name_is_no_exception(backend: Backend, server_context: ssl.SSLContext, name: str) -> None:
    async def use(client: Any, events: list[Event]) -> None:
        assert await client.connect_ex() is ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN

    options = {"security": Security.OPPORTUNISTIC, "authenticate": True, "mechanisms": [name]}
    assert_nothing_was_said(through(backend, server_context, WAYS["stripped"], use, **options))


# The recording records ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_SECRET)
def test_program_that_allows_it(backend: Backend, server_context: ssl.SSLContext, name: str) -> None:
    """The same client, where the program lets the secret travel in clear."""

    async def use(client: Any, events: list[Event]) -> None:
        assert await client.connect_ex() is ErrorCode.SUCCESS
        await client.disconnect()

    options = {"security": Security.OPPORTUNISTIC, "authenticate": True, "mechanisms": [name]}
    said = through(backend, server_context, WAYS["stripped"], use, **options, allow_plaintext_auth=True)
    assert b"AUTH " + name.encode() in said
    with pytest.raises(AssertionError):
        assert_nothing_was_said(said)


@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "XOAUTH2"])
def test_program_that_wants_no_tls(backend: Backend, server_context: ssl.SSLContext, name: str) -> None:
    """It gets what does not expose the secret, and no more."""
    exposing = name in ("PLAIN", "XOAUTH2")

    async def use(client: Any, events: list[Event]) -> None:
        code = await client.connect_ex()
        assert code is (ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN if exposing else ErrorCode.SUCCESS)
        await client.disconnect()

    options = {"security": Security.NONE, "authenticate": True, "mechanisms": [name]}
    said = through(backend, server_context, WAYS["stripped"], use, **options)
    if exposing:
        assert_nothing_was_said(said)
    else:
        assert b"AUTH " + name.encode() in said


@pytest.mark.parametrize("name", ["EXTERNAL", "ANONYMOUS"])
def test_what_depends_on_no_secret_may_be_said(backend: Backend, server_context: ssl.SSLContext, name: str) -> None:
    """It is what the program has named."""

    async def use(client: Any, events: list[Event]) -> None:
        assert await client.connect_ex() in (ErrorCode.SUCCESS, ErrorCode.AUTHENTICATION_REFUSED)
        await client.disconnect()

    options = {"security": Security.OPPORTUNISTIC, "authenticate": True, "mechanisms": [name]}
    given = {"username": None, "password": None, "token": None}
    said = through(backend, server_context, WAYS["stripped"], use, **options, **given)
    assert b"AUTH " + name.encode() in said
