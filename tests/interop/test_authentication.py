"""The three Clients log in to real servers, with every mechanism that both sides have."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from smtpproto import (
    Auth,
    AuthenticationFailed,
    AuthFailed,
    AuthResponse,
    ErrorCode,
    Mail,
    Security,
    Stage,
)
from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.interop import cyrus, dovecot, exim, nodemailer, postfix
from tests.interop.dovecot import RunningDovecot
from tests.interop.nodemailer import RunningNodemailer
from tests.interop.servers import DOMAIN, UNI, USER
from tests.interop.table import MECHANISMS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping

    from smtpproto import Command, Event, Reply
    from tests.adapters.backends import AnyClient
    from tests.interop.servers import MailServer, RunningServer

PASSWORD_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")
"""Those of ours for passwords; Cyrus has them all, Dovecot all but the last."""
TOKEN_MECHANISMS = {"OAUTHBEARER": "invalid_token", "XOAUTH2": "401"}
"""Each with what it calls a token that is not good."""

OFFERED = {
    "postfix": postfix.MECHANISMS,
    "exim": exim.MECHANISMS,
    "cyrus": cyrus.MECHANISMS,
    "dovecot": dovecot.MECHANISMS,
    "nodemailer": nodemailer.MECHANISMS,
}
"""What AUTH offers at each of the doors."""

WRONG = "another-Pass1"
ALMOST = UNI.password.replace("ö", "o")


@dataclass(frozen=True, slots=True)
class Door:
    """Where one may log in, over TLS from the first octet."""

    server: MailServer
    port: int

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Those for passwords that both sides have."""
        return tuple(each for each in PASSWORD_MECHANISMS if each in self.server.mechanisms)

    def token(self, login: str, **options: Any) -> str:
        """As those servers have it that know tokens."""
        assert isinstance(self.server, RunningDovecot | RunningNodemailer)
        return self.server.token(login, **options)

    def client(self, backend: Backend, **options: Any) -> AnyClient:
        """A client that is to be connected yet."""
        given = {"host": self.server.host, "port": self.port, "security": Security.IMPLICIT, "timeout": 20}
        return backend.client(**{**given, "context": self.server.client_context(), **options})


def doors(*names: str, shows: Iterable[str] = ()) -> pytest.MarkDecorator:
    """These doors; ``shows``: scenarios of the table, of which the mechanisms count where they are offered."""
    wanted = tuple(shows)
    params: list[Any] = []
    for name in names:
        row = {"dovecot": "dovecot-submission"}.get(name, name)
        shown = [each for each in wanted if each in OFFERED[name] or each not in MECHANISMS]
        params.append(pytest.param(name, marks=[pytest.mark.scenario(*shown, server=row)] if shown else []))
    return pytest.mark.parametrize("door", params, indirect=True)


@pytest.fixture
def door(request: pytest.FixtureRequest) -> Door:
    """That of the server with this name."""
    if request.param == "dovecot":
        dovecot: RunningDovecot = request.getfixturevalue("dovecot")
        return Door(dovecot, dovecot.submissions)
    server: RunningServer = request.getfixturevalue(request.param)
    return Door(server, server.ports.smtps)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest, door: Door) -> Generator[Backend]:
    """Each of the three in turn, once the server runs; the test must leave nothing behind."""
    found: Backend = request.param
    with nothing_left():
        yield found


async def refused(client: AnyClient, *arguments: Any, **options: Any) -> AuthenticationFailed:
    """Log in, in vain; the session goes on."""
    with pytest.raises(AuthenticationFailed) as caught:
        await client.authenticate(*arguments, **options)
    failed = caught.value
    assert failed.code is ErrorCode.AUTHENTICATION_REFUSED
    assert failed.reply is not None
    assert failed.reply.code == 535
    assert client.is_connected
    return failed


async def is_let_in(client: AnyClient) -> bool:
    """Whether the one who has logged in can send mail."""
    begun = await client.command(Mail(USER.login))
    reset = await client.reset()
    return (begun.code, reset.code) == (250, 250)


Scenario: TypeAlias = "Callable[[], Coroutine[Any, Any, None]]"


def at_once(backend: Backend, scenarios: Mapping[str, Scenario]) -> None:
    """Run all of them at a time, for refusing takes Dovecot half a second.  Their names are told with the failures."""
    with ThreadPoolExecutor(len(scenarios)) as pool:
        running = {name: pool.submit(backend.run, scenario) for name, scenario in scenarios.items()}
    # Those of pytest are no Exceptions.
    failures: list[BaseException] = []
    for name, each in running.items():
        failure = each.exception()
        if failure is not None:
            failure.add_note(f"This was {name}.")
            failures.append(failure)
    if failures:
        raise BaseExceptionGroup("not all went well", failures)


@pytest.mark.rfc("4954", "4")
@doors(*OFFERED, shows=(*PASSWORD_MECHANISMS, "wrong password", "implicit TLS"))
def test_passwords(backend: Backend, door: Door) -> None:
    """A wrong one is refused, and the right one is taken after it, in the same session."""

    async def scenario(mechanism: str) -> None:
        async with door.client(backend, mechanisms=[mechanism]) as client:
            assert set(client.extensions.auth) == door.server.mechanisms
            failed = await refused(client, USER.login, WRONG)
            assert WRONG not in str(failed)
            assert (await client.authenticate(USER.login, USER.password)).code == 235
            assert await is_let_in(client)

    at_once(backend, {mechanism: partial(scenario, mechanism) for mechanism in door.mechanisms})


@doors(*OFFERED)
def test_password_that_is_not_ascii(backend: Backend, door: Door) -> None:
    """It is taken within connecting; nearly the same is not."""

    async def right(mechanism: str) -> None:
        options = {"username": UNI.login, "password": UNI.password, "authenticate": True}
        async with door.client(backend, mechanisms=[mechanism], **options) as client:
            assert client.connection is not None
            assert client.connection.authenticated
            assert await is_let_in(client)

    async def wrong(mechanism: str) -> None:
        options = {"username": UNI.login, "password": ALMOST, "authenticate": True}
        client = door.client(backend, mechanisms=[mechanism], **options)
        code = await client.connect_ex()
        await client.abort()
        assert code is ErrorCode.AUTHENTICATION_REFUSED
        assert client.failure is not None
        assert client.failure.stage is Stage.AUTHENTICATION

    scenarios = {mechanism: partial(right, mechanism) for mechanism in door.mechanisms}
    almost = {f"{mechanism} with {ALMOST}": partial(wrong, mechanism) for mechanism in door.mechanisms}
    at_once(backend, {**scenarios, **almost})


@doors(*OFFERED)
def test_unknown_user(backend: Backend, door: Door) -> None:
    """Nothing tells it from a wrong password."""

    async def scenario(mechanism: str) -> None:
        async with door.client(backend, mechanisms=[mechanism]) as client:
            await refused(client, f"nobody@{DOMAIN}", USER.password)

    at_once(backend, {mechanism: partial(scenario, mechanism) for mechanism in door.mechanisms})


@pytest.mark.rfc("4954", "4")
@doors(*OFFERED)
def test_without_initial_response(backend: Backend, door: Door) -> None:
    """The server asks for it by an empty challenge, and gets it."""

    async def scenario(mechanism: str) -> None:
        sent: list[Command | Reply] = []
        options = {"mechanisms": [mechanism], "initial_response": False, "on_send": sent.append}
        async with door.client(backend, **options) as client:
            assert (await client.authenticate(USER.login, USER.password)).code == 235
            assert await is_let_in(client)
        assert Auth(mechanism) in sent

    at_once(backend, {mechanism: partial(scenario, mechanism) for mechanism in door.mechanisms})


@pytest.mark.parametrize(
    ("door", "expected"),
    [
        ("postfix", "SCRAM-SHA-256"),
        ("cyrus", "SCRAM-SHA-512"),
        ("exim", "SCRAM-SHA-256"),
        ("dovecot", "SCRAM-SHA-256"),
    ],
    indirect=["door"],
)
def test_the_strongest_is_chosen(backend: Backend, door: Door, expected: str) -> None:
    """Where nobody says which."""
    sent: list[Command | Reply] = []

    async def scenario() -> None:
        options = {"username": USER.login, "password": USER.password, "authenticate": True}
        async with door.client(backend, on_send=sent.append, **options) as client:
            assert await is_let_in(client)

    backend.run(scenario)
    said = [each for each in sent if isinstance(each, Auth | AuthResponse)]
    assert [type(each) for each in said] == [Auth, AuthResponse, AuthResponse]
    assert isinstance(said[0], Auth)
    assert said[0].mechanism == expected
    assert said[2] == AuthResponse(b""), "the server has proved itself, and the client takes note"


@pytest.mark.rfc("4505", "2")
@pytest.mark.parametrize(
    ("trace", "initial_response"), [("", False), ("someone@elsewhere.test", True), ("sirhc", True)]
)
@doors("cyrus", shows=["ANONYMOUS"])
def test_anonymous(backend: Backend, door: Door, trace: str, initial_response: bool) -> None:
    """Of an initial response that is empty (``=``) Postfix with Cyrus says that a step is missing, and refuses."""

    async def scenario() -> None:
        options = {"mechanisms": ["ANONYMOUS"], "initial_response": initial_response}
        async with door.client(backend, **options) as client:
            assert (await client.authenticate(trace)).code == 235
            assert await is_let_in(client)

    backend.run(scenario)


@pytest.mark.rfc("4422", "A")
@pytest.mark.parametrize("authorization_id", ["", USER.login])
@doors("dovecot", shows=["EXTERNAL"])
def test_external(backend: Backend, door: Door, dovecot: RunningDovecot, authorization_id: str) -> None:
    """The certificate says who the client is."""
    context = dovecot.client_context()
    context.load_cert_chain(dovecot.client_certificate)

    async def scenario() -> None:
        async with door.client(backend, context=context, mechanisms=["EXTERNAL"]) as client:
            assert (await client.authenticate(authorization_id=authorization_id)).code == 235
            assert await is_let_in(client)

    backend.run(scenario)


@pytest.mark.parametrize("door", ["dovecot"], indirect=True)
def test_external_is_not_for_another_nor_without_certificate(
    backend: Backend, door: Door, dovecot: RunningDovecot
) -> None:
    async def scenario(certificate: bool, authorization_id: str) -> None:
        context = dovecot.client_context()
        if certificate:
            context.load_cert_chain(dovecot.client_certificate)
        async with door.client(backend, context=context, mechanisms=["EXTERNAL"]) as client:
            await refused(client, authorization_id=authorization_id)

    scenarios = {"another": partial(scenario, True, UNI.login), "no certificate": partial(scenario, False, "")}
    at_once(backend, scenarios)


@pytest.mark.rfc("7628", "3.1")
@doors("dovecot", "nodemailer", shows=TOKEN_MECHANISMS)
def test_tokens(backend: Backend, door: Door) -> None:
    """One that has expired is refused, and the server says why; the next one is asked for, and taken."""

    async def scenario(mechanism: str, status: str) -> None:
        events: list[Event] = []
        tokens = [door.token(USER.login), door.token(USER.login, expires_in=-600)]
        options = {"mechanisms": [mechanism], "username": USER.login, "token": tokens.pop}
        async with door.client(backend, on_event=events.append, **options) as client:
            failed = await refused(client)
            assert (await client.authenticate()).code == 235
            assert await is_let_in(client)
        [event] = [each for each in events if isinstance(each, AuthFailed)]
        assert event.error is not None
        assert event.error in str(failed)
        said = json.loads(event.error)
        assert said["status"] == status
        if door.server.name == "dovecot":
            assert said["openid-configuration"].startswith("https://")

    async def of_another(mechanism: str) -> None:
        async with door.client(backend, mechanisms=[mechanism]) as client:
            await refused(client, UNI.login, token=door.token(USER.login))

    shared = {each: status for each, status in TOKEN_MECHANISMS.items() if each in door.server.mechanisms}
    scenarios = {mechanism: partial(scenario, mechanism, status) for mechanism, status in shared.items()}
    foreign = {f"{mechanism} with another's": partial(of_another, mechanism) for mechanism in shared}
    at_once(backend, {**scenarios, **foreign})


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(
    ("door", "mechanism"),
    [("dovecot", "OAUTHBEARER"), ("dovecot", "XOAUTH2"), ("nodemailer", "XOAUTH2")],
    indirect=["door"],
)
def test_token_that_is_too_long_for_the_command(backend: Backend, door: Door, mechanism: str) -> None:
    """It is sent as the answer to an empty challenge."""
    sent: list[Command | Reply] = []
    token = door.token(USER.login, padding=2000)

    async def scenario() -> None:
        async with door.client(backend, on_send=sent.append, mechanisms=[mechanism]) as client:
            assert (await client.authenticate(USER.login, token=token)).code == 235
            assert await is_let_in(client)

    backend.run(scenario)
    said = [each for each in sent if isinstance(each, Auth | AuthResponse)]
    assert [type(each) for each in said] == [Auth, AuthResponse]
    assert said[0] == Auth(mechanism)
