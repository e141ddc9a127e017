"""No secret is shown, in any form, by anything: values, exceptions, logs, callbacks, and the output of the commands."""

from __future__ import annotations

import json
import logging
import re
import threading
import traceback
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest

from smtpproto import (
    ClientConnection,
    ConnectFailed,
    ConnectOptions,
    Credentials,
    LocalProtocolError,
    ScramCredential,
    Security,
    ServerAuth,
    Service,
    SmtpError,
)
from smtpproto.sasl import CLIENT_MECHANISMS, MECHANISMS, Question, Verify, VerifyToken
from smtpproto.values import field_names
from smtpproto_adapters import cli
from smtpproto_adapters.server import Handler, ServerSession, Verdict
from tests.commanding import start

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.adapters.backends import Backend

NAMES = [each.name for each in MECHANISMS]
WITH_SECRET = [each.name for each in MECHANISMS if each.has_secret]
TOKENS = ("OAUTHBEARER", "XOAUTH2")
USER = "ann@mx.example"
PASSWORD, WRONG = "pass-Wörd 1&2", "an0ther-Wörd&3"
TOKEN, EXPIRED = "ya29.the+token/1", "ya29.expired+token/2"
KEPT = ScramCredential.derive(PASSWORD, iterations=4096)
SECRETS = [each.encode() for each in (PASSWORD, WRONG, TOKEN, EXPIRED)] + [KEPT.stored_key, KEPT.server_key]


def forms(secret: bytes) -> Iterator[str]:
    """In which it could be shown: in clear, as a literal of Python or JSON, of a URL, in hex; and in base64, also as a
    part of a longer message, where it may begin at any of three places."""
    yield repr(secret)[2:-1]
    yield secret.hex()
    for encode in (b64encode, urlsafe_b64encode):
        for place in range(3):
            yield encode(bytes(place) + secret)[4:-4].decode()
    text = secret.decode("utf-8", "replace")
    yield text
    yield from (ascii(text)[1:-1], json.dumps(text)[1:-1])
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))


FORMS = {form for secret in SECRETS for form in forms(secret)}


def assert_silent(shown: str) -> None:
    for form in FORMS:
        where = shown.find(form)
        assert where < 0, f"a secret is shown: {shown[max(0, where - 80) : where + 80]}"


def said_by(error: BaseException) -> Iterator[str]:
    """All that an exception says, and those that it comes of."""
    yield "".join(traceback.format_exception(error))
    chain: list[BaseException] = [error]
    for each in chain:
        yield f"{each} {each!r} {each.args!r} {vars(each)!r}"
        assert isinstance(each, SmtpError) or not isinstance(each, UnicodeError)  # which would hold it
        chain += [other for other in (each.__cause__, each.__context__) if other is not None and other not in chain]


class Shown:
    """What is shown, in the course of a test."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def value(self, *values: object) -> None:
        for value in values:
            self.texts += [repr(value), str(value), f"{value}", repr([value]), repr(getattr(value, "__dict__", None))]

    def error(self, error: BaseException) -> None:
        self.texts += said_by(error)

    def __str__(self) -> str:
        return "\n".join(self.texts)


class Asking(Handler):
    """Shows the questions, and does as it is told."""

    def __init__(self, shown: Shown, answer: Callable[[Question], Any] = lambda question: None) -> None:
        self.shown = shown
        self.answer = answer

    def verify(self, session: ServerSession, question: Question) -> Verdict:
        self.shown.value(question, session)
        verdict: Verdict = self.answer(question)
        return verdict


def given(name: str, *, right: bool = True) -> dict[str, Any]:
    if name in TOKENS:
        return {"username": USER, "token": TOKEN if right else EXPIRED}
    return {"username": USER, "password": PASSWORD if right else WRONG}


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> Iterator[Shown]:
    """It is searched at the end, and so is the log."""
    caplog.set_level(logging.DEBUG)
    found = Shown()
    yield found
    assert found.texts
    logged = [logging.Formatter().format(each) for each in caplog.get_records("call")]
    assert_silent("\n".join((*found.texts, *logged)))


def converse(
    backend: Backend,
    shown: Shown,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    certificate: bytes,
    handler: Handler,
    auth: ServerAuth,
    **options: Any,
) -> None:
    """One session each with authentication within connecting, and behind it."""

    def see(*values: object) -> None:
        shown.value(*values)

    async def scenario() -> None:
        watched: dict[str, Any] = {"on_event": see, "on_send": see, "on_end": see}
        async with backend.serve(handler, auth=auth, context=contexts[0], certificate=certificate, **watched) as server:
            there: dict[str, Any] = {"host": server.host, "port": server.port, "context": contexts[1]}
            for authenticate in (True, False):
                client = backend.client(
                    **there, **options, authenticate=authenticate, on_event=see, on_send=see, security=Security.REQUIRED
                )
                shown.value(client, client.options, client.options.credentials)
                try:
                    await client.connect()
                    if not authenticate:
                        await client.authenticate()
                except Exception as error:
                    shown.error(error)
                shown.value(client, client.connection, client.failure, client.last_reply, client.tls)
                await client.disconnect()

    shown.value(handler, auth, Service(auth=auth))
    backend.run(scenario)


@pytest.fixture
def contexts(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return server_context, client_context


Contexts = tuple["ssl.SSLContext", "ssl.SSLContext"]


# Both sides of a session -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("name", WITH_SECRET)
def test_session(
    backend: Backend, shown: Shown, contexts: Contexts, certificate: bytes, name: str, right: bool
) -> None:
    auth = ServerAuth({USER: PASSWORD}, tokens={TOKEN: USER}, mechanisms=NAMES, failure_delay=0)
    options = {"mechanisms": [name], **given(name, right=right)}
    converse(backend, shown, contexts, certificate, Asking(shown), auth, **options)
    assert ("AuthSucceeded" in str(shown)) is right
    assert ("AuthenticationFailed" in str(shown)) is not right


def fail(*arguments: object) -> Any:
    raise RuntimeError("the program failed")


def fail_and_tell(question: Question) -> Any:
    """As a look-up in a mapping does, and as programs do that mean well."""
    secret = question.password if isinstance(question, Verify) else getattr(question, "token", "")
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise ValueError(f"no such secret: {secret}") from error


def fail_in_a_group(question: Question) -> Any:
    """As the tasks of a handler do."""
    try:
        fail_and_tell(question)
    except ValueError as error:
        raise ExceptionGroup("tasks failed", [error]) from None


def secret_itself(question: Question) -> Any:
    return getattr(question, "password", None) or getattr(question, "token", b"")


def wrong_type(question: Question) -> Any:
    return field_names(type(question))


def look_up(key: str) -> Any:
    found: dict[str, str] = {}
    return found[key]


def octets(key: str) -> Any:
    return PASSWORD.encode()


@pytest.mark.parametrize("answer", [fail, fail_and_tell, fail_in_a_group, wrong_type, secret_itself])
@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_handler_that_fails(
    backend: Backend,
    shown: Shown,
    caplog: pytest.LogCaptureFixture,
    contexts: Contexts,
    certificate: bytes,
    name: str,
    answer: Callable[[Question], Any],
) -> None:
    auth = ServerAuth(mechanisms=[name], failure_delay=0)
    converse(backend, shown, contexts, certificate, Asking(shown, answer), auth, mechanisms=[name], **given(name))
    if answer is fail:
        assert "the program failed" in caplog.text
        assert "Traceback" in caplog.text
    if answer is fail_and_tell:
        assert "test_secrets.py" in caplog.text  # the place is told
        assert "ValueError" in caplog.text


@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "PLAIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("source", [fail, look_up, octets])
def test_lookup_that_fails(
    backend: Backend, shown: Shown, contexts: Contexts, certificate: bytes, name: str, source: Any
) -> None:
    auth = ServerAuth(source, tokens=source, mechanisms=[name], failure_delay=0)
    converse(backend, shown, contexts, certificate, Asking(shown), auth, mechanisms=[name], **given(name))


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize(
    "token",
    [fail, lambda: TOKEN + "\r\n", TOKEN.encode, lambda: TOKEN + "\ud800", lambda: TOKEN],
    ids=["raises", "line end", "bytes", "surrogate", "right"],
)
def test_token_of_a_callable(
    backend: Backend, shown: Shown, contexts: Contexts, certificate: bytes, name: str, token: Any
) -> None:
    auth = ServerAuth(tokens={TOKEN: USER}, failure_delay=0)
    options = {"username": USER, "token": token, "mechanisms": [name]}
    converse(backend, shown, contexts, certificate, Handler(), auth, **options)


# What is made of secrets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_SECRET)
def test_values(shown: Shown, name: str) -> None:
    credentials = Credentials(**given(name))
    mechanism = CLIENT_MECHANISMS[name](credentials)
    shown.value(credentials, mechanism, KEPT, ServerAuth({USER: KEPT}), ServerAuth(tokens={TOKEN: USER}))
    shown.value(Verify(USER, PASSWORD), VerifyToken(TOKEN), ConnectOptions(host="mx.example", **given(name)))
    shown.value(ConnectOptions.from_url(f"submission://ann:{quote(PASSWORD)}@mx.example"), ClientConnection())
    assert mechanism is not None
    shown.value(mechanism.exchange())


BAD: list[Callable[[], object]] = [
    lambda: Credentials(USER, PASSWORD + "\0"),
    lambda: Credentials(USER, PASSWORD + "\udcff"),
    lambda: Credentials("", PASSWORD),
    lambda: Credentials(USER, token=TOKEN + "\n"),
    lambda: ScramCredential.derive(PASSWORD + "\0"),
    lambda: ScramCredential.derive(PASSWORD, iterations=1),
    lambda: ScramCredential.parse(KEPT.encoded()[:-3]),
    lambda: ServerAuth({USER: PASSWORD}, mechanisms=["NONE"]),
    lambda: ConnectOptions.from_url(f"submission://ann:{quote(PASSWORD)}@mx.example:x"),
    lambda: ConnectOptions.from_url(f"submission://ann:{quote(PASSWORD)}%@mx.example"),
    lambda: ConnectOptions.from_url(f"submission://ann:{quote(PASSWORD)}%ff@mx.example"),
    lambda: ConnectOptions.from_url(f"https://ann:{PASSWORD}@mx.example"),
    lambda: ConnectOptions.from_url(f"submission://ann:{PASSWORD}@[::x]"),
    lambda: ConnectOptions(host="mx.example", password=PASSWORD).resolve(),
    lambda: ConnectOptions(host="mx.example", username=USER, password=PASSWORD + "\0").resolve(),
    lambda: ConnectOptions(host="mx.example", username=USER, token=TOKEN + "\0").resolve(),
]


@pytest.mark.parametrize("make", BAD)
def test_values_that_are_refused(shown: Shown, make: Callable[[], object]) -> None:
    with pytest.raises((LocalProtocolError, ConnectFailed)) as caught:
        make()
    shown.error(caught.value)


# The commands ------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret_files(tmp_path: Path) -> dict[str, str]:
    files = {"password": PASSWORD, "wrong": WRONG, "token": TOKEN, "expired": EXPIRED}
    made: dict[str, str] = {}
    for name, secret in files.items():
        (tmp_path / name).write_text(secret + "\n", encoding="utf-8")
        made[name] = str(tmp_path / name)
    (tmp_path / "users").write_text(f"{USER}:{PASSWORD}\n", encoding="utf-8")
    (tmp_path / "tokens").write_text(f"{TOKEN} {USER}\n", encoding="utf-8")
    (tmp_path / "message").write_bytes(b"Subject: hi\r\n\r\nHi\r\n")
    return {**made, **{name: str(tmp_path / name) for name in ("users", "tokens", "message", "ca")}}


@pytest.mark.parametrize("output", [(), ("--json",)], ids=["ladder", "json"])
def test_commands(
    capfd: pytest.CaptureFixture[str], shown: Shown, secret_files: dict[str, str], output: tuple[str, ...]
) -> None:
    """``connect`` and ``send`` at ``serve``, with every mechanism, the right secret and a wrong one."""
    pytest.importorskip("rich")
    files = secret_files
    offered = [word for name in WITH_SECRET for word in ("--mechanism", name)]
    server = start(
        *("serve", "--port", "0", "--tls", "starttls", "--write-ca", files["ca"], *output, *offered),
        *("--users", files["users"], "--tokens", files["tokens"]),
    )
    lines: list[str] = []
    stdout = server.stdout
    assert stdout is not None
    try:
        lines.append(stdout.readline())
        port = re.search(r"127\.0\.0\.1:(\d+)", lines[0])
        assert port is not None, lines
        reading = threading.Thread(target=lambda: lines.extend(stdout))  # a full pipe would stop the server
        reading.start()
        url = f"submission://127.0.0.1:{port[1]}"
        there = [url, "--ca", files["ca"], "--auth", "--username", USER, *output]
        for name in WITH_SECRET:
            kind, secrets = ("token", "token expired") if name in TOKENS else ("password", "password wrong")
            for secret, outcome in zip(secrets.split(), (0, 32), strict=True):
                by = ["--mechanism", name, f"--{kind}-file", files[secret]]
                assert cli.main(["connect", *there, *by]) == outcome
                message = ["--from", USER, "--to", "you@mx.example", "--verbose", files["message"]]
                assert cli.main(["send", *there, *by, *message]) == outcome
    finally:
        server.terminate()
        server.wait(20)
    reading.join(20)
    assert server.stderr is not None
    with stdout, server.stderr:
        out, err = "".join(lines), server.stderr.read()
    heard, complaints = capfd.readouterr()
    shown.texts += [out, err, heard, complaints]
    for name in WITH_SECRET:
        assert f"AUTH {name}" in heard
        assert f"AUTH {name}" in out
    assert "<redacted>" in heard
    assert "<redacted>" in out
