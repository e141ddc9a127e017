"""The `smtpproto` command: its arguments, what it shows, what it must never show, and how it ends."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("rich")
pytest.importorskip("trustme")
pytest.importorskip("trio")

import trustme
from rich.cells import cell_len

from smtpproto import (
    EXTENSIONS,
    ConnectFailed,
    ConnectOptions,
    Connected,
    Connector,
    ErrorCode,
    Extensions,
    Greeting,
    Limits,
    Reply,
    Security,
    Timeouts,
)
from smtpproto_adapters import arguments, cli, ladder
from smtpproto_adapters.trace import Certificate, JsonLines, Trace, one_line, printable
from tests.scripted import Close, Expect, ReadAll, Say, ScriptedServer, Silence, Tls, closed_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ADAPTERS = ("blocking", "asyncio", "trio")
PASSWORD = "hunter2-Wörd"
EHLO_REPLY = b"250-mx.example hello\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-X-UNHEARD of it\r\n"


class Outcome:
    """What one run of the command came to."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def code(self) -> ErrorCode:
        return ErrorCode(self.status)

    @property
    def events(self) -> list[str]:
        """The names of the events in the ladder, in order."""
        return [match[1] for match in re.finditer(r"^([A-Z][A-Za-z]+) (?:← |  )", self.out, re.MULTILINE)]

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def complaint(self) -> str:
        """The one sentence on standard error."""
        assert re.fullmatch(r"smtpproto: [^\n]+\n", self.err), self.err
        assert "Traceback" not in self.err
        return self.err.removeprefix("smtpproto: ").rstrip("\n")


class Command:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str) -> Outcome:
        self._capsys.readouterr()
        status = cli.main(argv)
        out, err = self._capsys.readouterr()
        return Outcome(status, out, err)

    def connect(self, server: ScriptedServer, *argv: str) -> Outcome:
        return self(
            "connect", "--host", server.host, "--port", str(server.port), "--client-name", "me.example", *argv
        )


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.example", "127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return str(file)


# The arguments ------------------------------------------------------------------------------------------------------


def options_of(*argv: str) -> ConnectOptions:
    return arguments.make_options(arguments.make_parser().parse_args(["connect", *argv]))


AUTH = ("--auth", "--username", "user", "--password-env", "MAIL_PASSWORD")
GIVEN: list[tuple[str, object, tuple[str, ...]]] = [
    ("host", "mx.example", ("--host", "mx.example")),
    ("host", "mx.example", ("smtp://mx.example",)),
    ("port", "587", ("--host", "h", "--port", "587")),
    ("port", 2525, ("smtp://h:2525",)),
    ("port", "submission", ("smtp://h:2525", "--port", "submission")),
    ("host_name", "mx.example", ("--host-name", "mx.example")),
    ("host_name", "mx.example", ("smtp://192.0.2.1", "--host-name", "mx.example")),
    ("host_address", "192.0.2.1", ("smtp://192.0.2.1", "--host-name", "mx.example")),
    ("host_address", "192.0.2.1", ("smtp://mx.example", "--host-address", "192.0.2.1")),
    ("host_name", "mx.example", ("--host", "mx.example", "--host-address", "192.0.2.1")),
    ("path", "/run/lmtp", ("--path", "/run/lmtp")),
    ("path", "/run/lmtp", ("lmtp:///run/lmtp",)),
    ("lmtp", True, ("lmtp://h",)),
    ("lmtp", True, ("--host", "h", "--lmtp")),
    ("lmtp", False, ("--host", "h")),
    ("username", "user", ("submission://user@h",)),
    ("username", "other", ("submission://user@h", "--username", "other")),
    ("password", PASSWORD, ("smtp://h", *AUTH)),
    ("token", PASSWORD.replace("ö", "o"), ("smtp://u@h", "--auth", "--token-env", "MAIL_TOKEN")),
    ("authorization_id", "boss", ("smtp://h", *AUTH, "--authorization-id", "boss")),
    ("authenticate", True, ("smtp://h", *AUTH)),
    ("authenticate", False, ("smtp://h",)),
    ("mechanisms", ("LOGIN", "PLAIN"), ("smtp://h", *AUTH, "--mechanism", "login", "--mechanism", "PLAIN")),
    ("mechanisms", None, ("smtp://h",)),
    ("allow_plaintext_auth", True, ("smtp://h", *AUTH, "--allow-plaintext-auth")),
    *(("security", each, ("smtp://h", "--security", each.value)) for each in Security),
    ("security", None, ("smtp://h",)),
    ("security", Security.NONE, ("smtps://h", "--security", "none")),
    ("extended", True, ("smtp://h", "--ehlo")),
    ("extended", False, ("smtp://h", "--helo")),
    ("extended", None, ("smtp://h",)),
    ("timeout", 2.5, ("smtp://h", "--timeout", "2.5")),
    ("timeout", 0, ("smtp://h", "--timeout", "0")),
    ("timeout", None, ("smtp://h",)),
    ("timeouts", Timeouts(greeting=5, tls=None), ("smtp://h", "--timeout", "greeting=5", "--timeout", "tls=0")),
    ("client_name", "[192.0.2.1]", ("smtp://h", "--client-name", "[192.0.2.1]")),
    ("mask", ("PIPELINING", "SIZE"), ("smtp://h", "--mask", "PIPELINING", "--mask", "SIZE")),
    ("limits", Limits(reply_lines=10), ("smtp://h", "--limit", "reply_lines=10")),
]


@pytest.mark.parametrize(("field", "value", "argv"), GIVEN, ids=lambda each: " ".join(each) if isinstance(each, tuple) else None)  # pyright: ignore
def test_an_option(field: str, value: object, argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    monkeypatch.setenv("MAIL_TOKEN", PASSWORD.replace("ö", "o"))
    assert getattr(options_of(*argv), field) == value


def test_every_field_of_the_options_can_be_given() -> None:
    assert {field for field, _, _ in GIVEN} == set(ConnectOptions.__match_args__)


def test_one_timeout_can_differ_from_all_others() -> None:
    options = options_of("smtp://h", "--timeout", "7", "--timeout", "dial=2")
    timeouts = options.effective_timeouts
    assert (timeouts.dial, timeouts.tls, timeouts.greeting, timeouts.hello, timeouts.other) == (2, 7, 7, 7, 7)


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("connect",), "no server"),
    (("connect", "http://mx.example"), "not a URL"),
    (("connect", "mx.example"), "not a URL"),
    (("connect", "smtp://h:99999"), "between 0 and 65535"),
    (("connect", "--host", "h", "--port", "smpt"), "port is 'smpt'"),
    (("connect", "smtp://h", "--security", "tls"), "--security"),
    (("connect", "smtp://h", "--helo", "--ehlo"), "not allowed with"),
    (("connect", "smtp://h", "--helo", "--security", "required"), "STARTTLS needs EHLO"),
    (("connect", "smtp://u@h", "--helo", "--auth"), "EHLO"),
    (("connect", "smtp://h", "--timeout", "-1"), "number of seconds"),
    (("connect", "smtp://h", "--timeout", "nan"), "number of seconds"),
    (("connect", "smtp://h", "--timeout", "inf"), "number of seconds"),
    (("connect", "smtp://h", "--timeout", "soon"), "number of seconds"),
    (("connect", "smtp://h", "--timeout", "mail=3"), "none of the waits"),
    (("connect", "smtp://h", "--limit", "recipients=3"), "none of the limits"),
    (("connect", "smtp://h", "--limit", "reply_lines=0"), "a number from 1 on"),
    (("connect", "smtp://h", "--limit", "reply_lines"), "a number from 1 on"),
    (("connect", "smtp://h", "--client-name", "me me"), "domain"),
    (("connect", "smtp://h", "--auth"), "--auth needs a user name"),
    (("connect", "smtp://u@h", "--auth", "--mechanism", "TELEPATHY"), "--mechanism"),
    (("connect", "smtp://u@h", "--auth", "--password-env", "NOT_THERE"), "NOT_THERE"),
    (("connect", "smtp://u@h", "--auth", "--password-file", "/not/there"), "/not/there: No such file"),
    (("connect", "smtp://u@h", "--auth", "--password-env", "A", "--token-env", "B"), "not allowed with"),
    (("connect", "smtp://u@h", "--auth"), "no terminal to ask for the password"),
    (("connect", "smtp://u@h", "--auth", "--token-prompt"), "no terminal to ask for the token"),
    (("connect", "smtp://u@h", "--password-env", "A"), "--password-env is for authentication"),
    (("connect", "smtp://u@h", "--mechanism", "PLAIN"), "--mechanism is for authentication"),
    (("connect", "smtp://u@h", "--allow-plaintext-auth"), "--allow-plaintext-auth is for authentication"),
    (("connect", "smtp://u@h", "--authorization-id", "x"), "--authorization-id is for authentication"),
    (("connect", "lmtp:///run/lmtp", "--port", "24"), "leave out --port"),
    (("connect", "--path", "/run/lmtp", "--host-address", "192.0.2.1"), "leave out --host-address"),
    (("connect", "smtp://h", "--ca", "/not/there"), "/not/there: No such file"),
    (("connect", "smtp://h", "--ca", "/dev/null"), "no certificate in PEM"),
    (("connect", "smtp://h", "--security", "none", "--ca", "/dev/null"), "--ca is for TLS"),
    (("connect", "--demo", "smtp://h"), "leave out a URL"),
    (("connect", "--demo", "--helo"), "leave out --ehlo and --helo"),
    (("connect", "--demo", "--json"), "leave out --json"),
    (("connect", "smtp://h", "--carrier-pigeon"), "--carrier-pigeon"),
    (("conect", "smtp://h"), "conect"),
    ((), "COMMAND"),
]


@pytest.mark.parametrize(("argv", "why"), REFUSED, ids=lambda each: " ".join(each) if isinstance(each, tuple) else None)  # pyright: ignore
def test_what_makes_no_sense_is_refused_in_one_sentence(command: Command, argv: tuple[str, ...], why: str) -> None:
    outcome = command(*argv)
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert why in outcome.complaint
    assert outcome.out == ""


@pytest.mark.parametrize(
    "argv",
    [
        (f"submission://user:{PASSWORD}@mx.example",),
        ("--password", PASSWORD, "smtp://user@mx.example"),
        (f"--password={PASSWORD}", "smtp://user@mx.example"),
        ("smtp://user@mx.example", "--token", PASSWORD),
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(command: Command, argv: tuple[str, ...]) -> None:
    outcome = command("connect", *argv)
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert "does not belong" in outcome.complaint
    assert PASSWORD not in outcome.out + outcome.err


@pytest.mark.parametrize("name", ["password", "token"])
@pytest.mark.parametrize("text", ["s3cret\n", "s3cret\r\n", "s3cret", "s3cret\nsecond line\n"])
def test_a_secret_from_a_file(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(text.encode())
    assert getattr(options_of("smtp://u@h", "--auth", f"--{name}-file", str(file)), name) == "s3cret"


def test_a_secret_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(" s3cret \nsecond line\n"))
    assert options_of("smtp://u@h", "--auth", "--password-file", "-").password == " s3cret "


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\n"])
def test_a_file_without_a_secret_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ConnectFailed, match="password") as caught:
        options_of("smtp://u@h", "--auth", "--password-file", str(file))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("argv", "field"), [((), "password"), (("--password-prompt",), "password"), (("--token-prompt",), "token")]
)
def test_a_secret_from_the_terminal(monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], field: str) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return "s3cret"

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", answer)
    assert getattr(options_of("smtp://user@h", "--auth", *argv), field) == "s3cret"
    assert asked == [f"{field.capitalize()} of user: "]


def test_nothing_at_the_terminal_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda _: "")
    with pytest.raises(ConnectFailed, match="no password"):
        options_of("smtp://user@h", "--auth")


@pytest.mark.parametrize("argv", [("--help",), ("connect", "--help")])
def test_help_fits_a_terminal(command: Command, argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = command(*argv)
    assert outcome.status == 0
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_version(command: Command) -> None:
    outcome = command("--version")
    assert (outcome.status, outcome.err) == (0, "")
    assert re.fullmatch(r"smtpproto \d+\.\d+\.\d+\n", outcome.out)
