"""Authentication, of our clients at our servers: every mechanism, over real sockets and real TLS, on each backend."""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from smtpproto import (
    Auth,
    AuthenticationFailed,
    AuthFailed,
    Command,
    ErrorCode,
    Event,
    Identity,
    LocalProtocolError,
    Reply,
    ScramCredential,
    Security,
    ServerAuth,
    Verify,
)
from smtpproto.sasl import MECHANISMS, FindCredential, Question, VerifyAnonymous, VerifyExternal, VerifyToken
from smtpproto_adapters.server import Handler, ServerSession, Verdict
from tests.adapters.middle import Middle

if TYPE_CHECKING:
    from smtpproto.sasl import ServerAnswer
    from tests.adapters.backends import AnyClient, AnyServer, Backend

NAMES = [each.name for each in MECHANISMS]
WITH_SECRET = [each.name for each in MECHANISMS if each.has_secret]
PLUS = [each.name for each in MECHANISMS if each.binds_channel]
TOKENS = ("OAUTHBEARER", "XOAUTH2")
END_POINT = "tls-server-end-point"

PASSWORD, TOKEN = "pass-Wörd 1", "ya29.the-token"
ANN = "ann@mx.example"
GIVEN: dict[str, dict[str, Any]] = {
    **{name: {"username": ANN, "password": PASSWORD} for name in NAMES},
    **{name: {"username": ANN, "token": TOKEN} for name in TOKENS},
    "EXTERNAL": {},
    "ANONYMOUS": {"username": "guest"},
}
"""The credentials that fit each of the mechanisms."""


class Knowing(Handler):
    """Knows clients by their certificates, leaves the rest to the `ServerAuth`, and remembers the sessions."""

    def __init__(self) -> None:
        self.sessions: list[ServerSession] = []

    def greeting(self, session: ServerSession) -> Reply | None:
        self.sessions.append(session)
        return None

    def verify(self, session: ServerSession, question: Question) -> Verdict:
        if not isinstance(question, VerifyExternal):
            return None
        known = session.tls.certificate if session.tls is not None else None
        names = [name for kind, name in (known or {}).get("subjectAltName", ()) if kind == "email"]
        return names[0] if names and question.authorization_id in ("", *names) else False


def all_of_them(**fields: Any) -> ServerAuth:
    given: dict[str, Any] = {"tokens": {TOKEN: ANN}, "mechanisms": NAMES, "failure_delay": 0, **fields}
    return ServerAuth({ANN: PASSWORD}, **given)


class Stage:
    """One backend, with a server that offers everything, and clients for it; for the time of its block."""

    def __init__(
        self, backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext, certificate: bytes
    ) -> None:
        self.backend = backend
        self.contexts = (server_context, client_context)
        self.certificate = certificate
        self.sent: list[Command | Reply] = []
        self.events: list[Event] = []

    def serve(self, handler: Handler | None = None, auth: ServerAuth | None = None, **options: Any) -> AnyServer:
        auth = all_of_them() if auth is None else auth
        given: dict[str, Any] = {"auth": auth, "context": self.contexts[0], "certificate": self.certificate, **options}
        return self.backend.serve(Knowing() if handler is None else handler, **given)

    def client(self, at: AnyServer | Middle, *, implicit: bool = False, **options: Any) -> AnyClient:
        security = Security.IMPLICIT if implicit else Security.REQUIRED
        given: dict[str, Any] = {"context": self.contexts[1], "security": security, **options}
        watch: dict[str, Any] = {"on_send": self.sent.append, "on_event": self.events.append}
        return self.backend.client(host=at.host, port=at.port, **watch, **given)

    @property
    def tried(self) -> list[str]:
        """The mechanisms of the AUTH commands that were sent."""
        return [each.mechanism for each in self.sent if isinstance(each, Auth)]


@pytest.fixture
def stage(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext, certificate: bytes
) -> Stage:
    return Stage(backend, server_context, client_context, certificate)


async def refused(client: AnyClient, *arguments: Any, **options: Any) -> AuthenticationFailed:
    with pytest.raises(AuthenticationFailed) as caught:
        await client.authenticate(*arguments, **options)
    return caught.value


# Every mechanism ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("4422", "3")
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("name", NAMES)
def test_mechanism(stage: Stage, own_context: ssl.SSLContext, name: str, implicit: bool) -> None:
    handler = Knowing()

    async def scenario() -> None:
        async with stage.serve(handler, implicit_tls=implicit) as server:
            options: dict[str, Any] = {
                "context": own_context,
                "implicit": implicit,
                "mechanisms": [name],
                "authenticate": True,
            }
            async with stage.client(server, **options, **GIVEN[name]) as client:
                assert client.connection is not None
                assert client.connection.authenticated
                assert client.connection.channel_bindings == handler.sessions[0].connection.channel_bindings
                assert client.tls is not None
                # RFC 5929 section 4.1; the certificate is signed with SHA-256.
                der = hashlib.sha256(client.tls.certificate_der or b"").digest()
                assert client.connection.channel_bindings == {END_POINT: der}

    stage.backend.run(scenario)
    assert stage.tried == [name]
    assert handler.sessions[0].identity in (Identity(ANN), Identity(ANN, ANN), Identity("anonymous"))
    assert (handler.sessions[0].identity == Identity("anonymous")) is (name == "ANONYMOUS")


@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize("name", WITH_SECRET)
def test_wrong_secret(stage: Stage, name: str) -> None:
    """It is refused, and the session goes on."""
    wrong: dict[str, Any] = {"token": "other"} if name in TOKENS else {"password": "pass-Word 1"}
    handler = Knowing()

    async def scenario() -> None:
        async with stage.serve(handler) as server, stage.client(server, mechanisms=[name]) as client:
            failure = await refused(client, ANN, **wrong)
            assert failure.code is ErrorCode.AUTHENTICATION_REFUSED
            assert failure.reply is not None
            assert failure.reply.code == 535
            assert handler.sessions[0].identity is None
            assert (await client.authenticate(**GIVEN[name])).code == 235

    stage.backend.run(scenario)
    assert stage.tried == [name, name]


@pytest.mark.rfc("5802", "6")
@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, "SCRAM-SHA-512-PLUS"),
        ({"mechanisms": None}, "SCRAM-SHA-256-PLUS"),
        ({"mechanisms": ["LOGIN", "PLAIN", "CRAM-MD5"]}, "CRAM-MD5"),
    ],
)
def test_strongest_is_chosen(stage: Stage, fields: dict[str, Any], found: str) -> None:
    async def scenario() -> None:
        given: dict[str, Any] = {"username": ANN, "password": PASSWORD}
        async with stage.serve(auth=all_of_them(**fields)) as server, stage.client(server, **given) as client:
            await client.authenticate()

    stage.backend.run(scenario)
    assert stage.tried == [found]


@pytest.mark.rfc("5802", "6")
def test_server_without_its_certificate_offers_no_plus(stage: Stage) -> None:
    """And a client that could have bound the channel says so (``y``), which such a server takes."""

    async def scenario() -> None:
        given: dict[str, Any] = {"username": ANN, "password": PASSWORD}
        async with stage.serve(certificate=None) as server, stage.client(server, **given) as client:
            assert client.extensions.auth == tuple(name for name in NAMES if name not in PLUS)
            await client.authenticate()

    stage.backend.run(scenario)
    (auth,) = (each for each in stage.sent if isinstance(each, Auth))
    assert auth.mechanism == "SCRAM-SHA-512"
    assert auth.initial_response is not None
    assert auth.initial_response.startswith(b"y,,")


@pytest.mark.rfc("4954", "4")
def test_what_is_offered_before_and_after_starttls(stage: Stage) -> None:
    async def scenario() -> None:
        async with stage.serve() as server:
            async with stage.client(server, security=Security.NONE) as client:
                assert set(client.extensions.auth) == {
                    *("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "EXTERNAL", "ANONYMOUS")
                }
            async with stage.client(server) as client:
                assert client.extensions.auth == tuple(NAMES)

    stage.backend.run(scenario)


# Somebody in the middle --------------------------------------------------------------------------------------------


@pytest.mark.rfc("5802", "6")
@pytest.mark.rfc("5929", "4")
def test_middle_with_another_certificate(stage: Stage, middle_context: ssl.SSLContext) -> None:
    """The client trusts it.  What is not bound to the channel passes through it; -PLUS does not, and nothing weaker is
    tried after it."""
    handler = Knowing()

    async def scenario() -> None:
        async with stage.serve(handler, all_of_them(max_failures=10), implicit_tls=True) as server:
            with Middle(server, listen=middle_context, dial=stage.contexts[1]) as middle:
                async with stage.client(middle, implicit=True, username=ANN, password=PASSWORD) as client:
                    for name in (*PLUS, None):
                        failure = await refused(client, mechanisms=None if name is None else [name])
                        assert failure.code is ErrorCode.AUTHENTICATION_REFUSED
                        assert failure.error == "channel-bindings-dont-match"
                    assert handler.sessions[0].identity is None
                for name in ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"):
                    options: dict[str, Any] = {
                        "username": ANN,
                        "password": PASSWORD,
                        "mechanisms": [name],
                        "authenticate": True,
                    }
                    async with stage.client(middle, implicit=True, **options):
                        assert handler.sessions[-1].identity == Identity(ANN)

    stage.backend.run(scenario)
    assert stage.tried == [*PLUS, "SCRAM-SHA-512-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"]


def without_plus(line: bytes) -> bytes:
    if b"AUTH " not in line:
        return line
    return b" ".join(word for word in line.split() if not word.endswith(b"-PLUS")) + b"\r\n"


@pytest.mark.rfc("5802", "6")
def test_middle_that_takes_the_offer_of_plus_away(stage: Stage, middle_context: ssl.SSLContext) -> None:
    """The client says that it could have done it; the server, that it did offer it."""

    async def scenario() -> None:
        async with stage.serve(implicit_tls=True) as server:
            with Middle(server, without_plus, listen=middle_context, dial=stage.contexts[1]) as middle:
                async with stage.client(middle, implicit=True, username=ANN, password=PASSWORD) as client:
                    assert not any(name.endswith("-PLUS") for name in client.extensions.auth)
                    assert "SCRAM-SHA-256" in client.extensions.auth
                    failure = await refused(client)
                    assert failure.code is ErrorCode.AUTHENTICATION_REFUSED
                    assert failure.error == "server-does-support-channel-binding"

    stage.backend.run(scenario)
    assert stage.tried == ["SCRAM-SHA-512"]


# What the program knows --------------------------------------------------------------------------------------------


@pytest.mark.rfc("4422", "A")
@pytest.mark.parametrize("acting", ["", ANN, "boss@mx.example"])
def test_external_needs_a_certificate(stage: Stage, own_context: ssl.SSLContext, acting: str) -> None:
    handler = Knowing()

    async def scenario() -> None:
        async with stage.serve(handler) as server:
            async with stage.client(server, mechanisms=["EXTERNAL"]) as client:
                assert (await refused(client, authorization_id=acting)).code is ErrorCode.AUTHENTICATION_REFUSED
            async with stage.client(server, mechanisms=["EXTERNAL"], context=own_context) as client:
                if acting == "boss@mx.example":
                    assert (await refused(client, authorization_id=acting)).code is ErrorCode.AUTHENTICATION_REFUSED
                else:
                    await client.authenticate(authorization_id=acting)
                    assert handler.sessions[-1].identity == Identity(ANN, acting)

    stage.backend.run(scenario)


@pytest.mark.rfc("7628", "3.2.3")
@pytest.mark.parametrize("name", TOKENS)
def test_token_that_is_not_valid(stage: Stage, name: str) -> None:
    """The reason that the server gives is there, in the exception and in the event."""

    async def scenario() -> str:
        async with stage.serve() as server, stage.client(server, mechanisms=[name]) as client:
            return (await refused(client, ANN, token="expired")).error or ""

    error = stage.backend.run(scenario)
    assert '"status":' in error
    (event,) = (each for each in stage.events if isinstance(each, AuthFailed))
    assert event.error == error
    assert event.reply.code == 535


@pytest.mark.rfc("7628", "3.1")
@pytest.mark.parametrize("name", TOKENS)
def test_token_is_asked_for_at_each_attempt(stage: Stage, name: str) -> None:
    tokens = iter(["expired", TOKEN, TOKEN])

    async def scenario() -> None:
        async with stage.serve() as server:
            options: dict[str, Any] = {"username": ANN, "token": lambda: next(tokens), "mechanisms": [name]}
            async with stage.client(server, **options) as client:
                await refused(client)
                assert (await client.authenticate()).code == 235
            async with stage.client(server, **options, authenticate=True):
                pass

    stage.backend.run(scenario)
    assert next(tokens, None) is None


def test_token_that_cannot_be_had(stage: Stage) -> None:
    """What the program raises comes out of what it called; nothing was sent, and the session goes on."""

    def token() -> str:
        raise RuntimeError("no token today")

    async def scenario() -> None:
        async with stage.serve() as server:
            async with stage.client(server, username=ANN, token=token) as client:
                with pytest.raises(RuntimeError, match="no token today"):
                    await client.authenticate()
                assert (await client.authenticate(token=TOKEN)).code == 235
            with pytest.raises(RuntimeError, match="no token today"):
                await stage.client(server, username=ANN, token=token, authenticate=True).connect()

    stage.backend.run(scenario)
    assert stage.tried == ["OAUTHBEARER"]


KEPT = {ANN: [ScramCredential.derive(PASSWORD, hash=name, iterations=4096) for name in ("SHA-1", "SHA-256")]}


@pytest.mark.rfc("5802", "9")
@pytest.mark.parametrize("source", [KEPT, KEPT.get], ids=["mapping", "callable"])
def test_credentials_that_are_no_passwords(stage: Stage, source: Any) -> None:
    handler = Knowing()
    auth = ServerAuth(source, mechanisms=NAMES, tokens={}, failure_delay=0, max_failures=99)

    async def scenario() -> None:
        async with stage.serve(handler, auth) as server:
            for name in ("SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "PLAIN", "LOGIN"):
                async with stage.client(server, username=ANN, mechanisms=[name]) as client:
                    await refused(client, ANN, "wrong")
                    await refused(client, "bob@mx.example", PASSWORD)
                    await client.authenticate(ANN, PASSWORD)
                    assert handler.sessions[-1].identity == Identity(ANN)
            async with stage.client(server) as client:
                for name in ("SCRAM-SHA-512", "CRAM-MD5"):
                    await refused(client, ANN, PASSWORD, mechanisms=[name])

    stage.backend.run(scenario)


@pytest.mark.rfc("4954", "4")
def test_acting_as_another(stage: Stage) -> None:
    handler = Knowing()
    asked: list[tuple[str, str]] = []

    def authorize(username: str, acting: str) -> bool:
        asked.append((username, acting))
        return acting == "list@mx.example"

    auth = all_of_them(authorize=authorize, max_failures=99)
    names = [name for name in WITH_SECRET if name not in ("LOGIN", "CRAM-MD5", "XOAUTH2")]

    async def scenario() -> None:
        async with stage.serve(handler, auth) as server:
            for name in names:
                async with stage.client(server, mechanisms=[name], **GIVEN[name]) as client:
                    await refused(client, authorization_id="boss@mx.example")
                    await client.authenticate(authorization_id="list@mx.example")
                    assert handler.sessions[-1].identity == Identity(ANN, "list@mx.example")

    stage.backend.run(scenario)
    assert asked == [(ANN, "boss@mx.example"), (ANN, "list@mx.example")] * len(names)


ANSWERS: dict[type[Question], ServerAnswer] = {
    Verify: True,
    FindCredential: KEPT[ANN][1],
    VerifyToken: ANN,
    VerifyExternal: ANN,
    VerifyAnonymous: True,
}


@pytest.mark.parametrize("name", ["SCRAM-SHA-256-PLUS", "PLAIN", "OAUTHBEARER", "EXTERNAL", "ANONYMOUS"])
def test_answers_of_the_program(stage: Stage, name: str) -> None:
    """They are awaited, where there is something to wait with."""
    asked: list[Question] = []

    class Awaited(Handler):
        async def verify(self, session: ServerSession, question: Question) -> ServerAnswer:
            await stage.backend.sleep(0)
            asked.append(question)
            return ANSWERS[type(question)]

    class AtOnce(Handler):
        def verify(self, session: ServerSession, question: Question) -> Verdict:
            asked.append(question)
            return ANSWERS[type(question)]

    auth = ServerAuth(mechanisms=NAMES)
    blocking = stage.backend.name == "blocking"
    if blocking:
        with pytest.raises(LocalProtocolError, match=r"Awaited\.verify is async"):
            stage.serve(Awaited(), auth)

    async def scenario() -> None:
        handler = AtOnce() if blocking else Awaited()
        given: dict[str, Any] = {"mechanisms": [name], **GIVEN[name]}
        async with stage.serve(handler, auth) as server, stage.client(server, **given) as client:
            assert (await client.authenticate()).code == 235

    stage.backend.run(scenario)
    assert len(asked) == 1


@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (454, ErrorCode.AUTHENTICATION_UNAVAILABLE),
        (432, ErrorCode.AUTHENTICATION_UNAVAILABLE),
        (535, ErrorCode.AUTHENTICATION_REFUSED),
        (538, ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN),
    ],
)
def test_refusal_of_the_program(stage: Stage, code: int, outcome: ErrorCode) -> None:
    class Refusing(Handler):
        def verify(self, session: ServerSession, question: Question) -> Verdict:
            return Reply(code, "5.7.0 no") if code > 500 else Reply(code, "4.7.0 no")

    async def scenario() -> None:
        async with stage.serve(Refusing()) as server, stage.client(server, username=ANN, password=PASSWORD) as client:
            failure = await refused(client)
            assert failure.code is outcome
            assert failure.reply is not None
            assert failure.reply.code == code

    stage.backend.run(scenario)
