"""The `smtpproto` command: its arguments, what it shows, what it must never show, and how it ends."""

from __future__ import annotations

import base64
import io
import json
import re
import signal
import ssl
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

import smtpproto
from smtpproto import (
    EXTENSIONS,
    ConnectFailed,
    ConnectOptions,
    ErrorCode,
    Limits,
    Security,
    Timeouts,
)
from smtpproto_adapters.cli import arguments, commands, sessions
from smtpproto_adapters.cli.trace import Certificate, one_line, printable
from tests.commanding import Command, Outcome, on_terminal, start, without
from tests.scripted import Close, Expect, ReadAll, Say, SayPieces, ScriptedServer, Silence, Tls, closed_port

if TYPE_CHECKING:
    from pathlib import Path

ADAPTERS = ("blocking", "asyncio", "trio")
PASSWORD = "hunter2-Wörd"
EHLO_REPLY = b"250-mx.example hello\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-X-UNHEARD of it\r\n"


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
    return arguments.make_options(commands.make_parser().parse_args(["connect", *argv]))[0]


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
    ("token", PASSWORD.replace("ö", "o"), ("smtp://h", "--auth", "--token-env", "MAIL_TOKEN")),
    ("authorization_id", "boss", ("smtp://h", "--auth", "--mechanism", "EXTERNAL", "--authorization-id", "boss")),
    ("username", "ann@x.example", ("smtp://ann%40x.example@h", "--auth", "--mechanism", "anonymous")),
    ("username", "ann", ("smtp://ann@h", "--auth", "--mechanism", "external")),
    ("username", None, ("smtp://h", "--auth", "--mechanism", "external", "--mechanism", "anonymous")),
    ("initial_response", False, ("smtp://h", *AUTH, "--no-initial-response")),
    ("initial_response", True, ("smtp://h", *AUTH)),
    *(
        ("allow_plaintext_auth", True, ("smtp://h", *AUTH, "--allow-plaintext-auth", "--security", each))
        for each in ("none", "opportunistic")
    ),
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


@pytest.mark.parametrize(
    ("field", "value", "argv"), GIVEN, ids=[" ".join([field, "of", *argv]) for field, _, argv in GIVEN]
)
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


ENV = ("--password-env", "MAIL_PASSWORD")
AUTHENTICATION: list[tuple[tuple[str, ...], str]] = [
    (("smtp://h", "--auth", *ENV), "--auth needs a user name: give --username, or USER@ in the URL"),
    (("smtp://h", "--auth", "--cert", "x"), "EXTERNAL does without (--mechanism)"),
    (("smtp://u@h", "--auth", "--mechanism", "EXTERNAL", "--authorization-id", "x"), "by EXTERNAL: leave out"),
    (("smtp://u@h", "--auth", "--token-env", "T", "--authorization-id", "x"), "beside a token: leave out --username"),
    (("smtp://u@h", "--auth", "--mechanism", "EXTERNAL", "--mechanism", "PLAIN"), "EXTERNAL does without a password"),
    (("smtp://h", "--auth", "--mechanism", "EXTERNAL", *ENV), "--password-env is of no use: no password goes with"),
    (("smtp://h", "--auth", "--mechanism", "ANONYMOUS", "--token-prompt"), "--token-prompt is of no use"),
    (("smtp://u@h", "--auth", "--mechanism", "ANONYMOUS", "--mechanism", "PLAIN"), "ANONYMOUS does without a password"),
    (("smtp://u@h@h", "--auth", "--mechanism", "ANONYMOUS"), "not a URL"),
    (("smtp://u%40@h", "--auth", "--mechanism", "ANONYMOUS"), "the trace has an @, and is no mail address"),
    (("smtp://h", "--auth", "--mechanism", "ANONYMOUS", "--authorization-id", "x"), "leave out --authorization-id"),
    (("smtp://h", "--auth", "--mechanism", "EXTERNAL", "--allow-plaintext-auth"), "there is no secret to travel"),
    (("smtp://u@h", "--auth", *ENV, "--allow-plaintext-auth"), "is of no use where TLS must be"),
    (("smtps://u@h", "--auth", *ENV, "--allow-plaintext-auth"), "is of no use where TLS must be"),
    (("smtp://u@h", "--auth", *ENV, "--mechanism", "XOAUTH2"), "XOAUTH2 needs a token: give --token-env"),
    (
        ("smtp://u@h", "--auth", "--token-env", "T", "--mechanism", "PLAIN"),
        "PLAIN needs a password: give --password-env",
    ),
    (("smtp://h", "--auth", "--token-env", "T", "--mechanism", "XOAUTH2"), "XOAUTH2 needs a user name"),
    (("smtp://u@h", "--auth", *ENV, "--mechanism", "LOGIN", "--authorization-id", "x"), "LOGIN has no place for"),
    (("smtp://u@h", "--auth", "--mechanism", "OAUTHBEARER"), "no terminal to ask for the token"),
    (("smtp://u%00@h", "--auth", *ENV), "NUL"),
]
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
    (("connect", "smtp://u@h", "--no-initial-response"), "--no-initial-response is for authentication"),
    *((("connect", *argv), why) for argv, why in AUTHENTICATION),
    (("connect", "lmtp:///run/lmtp", "--port", "24"), "leave out --port"),
    (("connect", "--path", "/run/lmtp", "--host-address", "192.0.2.1"), "leave out --host-address"),
    (("connect", "smtp://h", "--ca", "/not/there"), "/not/there: No such file"),
    (("connect", "smtp://h", "--ca", "/dev/null"), "no certificate in PEM"),
    (("connect", "smtp://h", "--security", "none", "--ca", "/dev/null"), "--ca is for TLS"),
    (("connect", "smtp://h", "--security", "none", "--cert", "/dev/null"), "--cert is for TLS"),
    (("connect", "lmtp:///run/lmtp", "--cert", "/dev/null"), "--cert is for TLS"),
    (("connect", "smtp://h", "--key", "/dev/null"), "a key is of no use without its certificate"),
    (("connect", "smtp://h", "--cert", "/not/there"), "the certificate from /not/there: No such file"),
    (("connect", "smtp://h", "--cert", "/dev/null", "--key", "/not/there"), "the key from /not/there: No such file"),
    (("connect", "smtp://h", "--cert", "/dev/null"), "no certificate in PEM that goes with a key"),
    (("connect", "--demo", "smtp://h"), "leave out a URL"),
    (("connect", "--demo", "--helo"), "leave out --ehlo and --helo"),
    (("connect", "--demo", "--json"), "leave out --json"),
    (("connect", "smtp://h", "--carrier-pigeon"), "--carrier-pigeon"),
    (("conect", "smtp://h"), "conect"),
    ((), "COMMAND"),
]


@pytest.mark.parametrize(("argv", "why"), REFUSED, ids=[" ".join(argv) for argv, _ in REFUSED])
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
    ("argv", "field"),
    [
        ((), "password"),
        (("--password-prompt",), "password"),
        (("--token-prompt",), "token"),
        (("--mechanism", "OAUTHBEARER"), "token"),
        (("--mechanism", "XOAUTH2"), "token"),
    ],
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


@pytest.mark.parametrize("argv", [("--ca", "/not/there"), ("--cert", "/not/there"), ("--helo",), ("--client-name", "")])
def test_nobody_is_asked_before_all_else_is_in_order(monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]) -> None:
    def answer(prompt: str) -> str:
        pytest.fail("asked for a password")

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", answer)
    with pytest.raises(ConnectFailed):
        options_of("smtp://user@h", "--auth", *argv)


def test_nothing_at_the_terminal_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())

    def answer(prompt: str) -> str:
        return ""

    monkeypatch.setattr("getpass.getpass", answer)
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


# The ladder ---------------------------------------------------------------------------------------------------------


STARTTLS = (
    Say(b"220 mx.example ESMTP\r\n"),
    Expect(rb"EHLO me\.example"),
    Say(EHLO_REPLY + b"250 STARTTLS\r\n"),
    Expect(rb"STARTTLS"),
    Say(b"220 2.0.0 go ahead\r\n"),
)
AFTER_TLS = (Expect(rb"EHLO me\.example"), Say(EHLO_REPLY + b"250 AUTH PLAIN LOGIN\r\n"))
FAREWELL = (Expect(rb"QUIT"), Say(b"221 2.0.0 bye\r\n"), Close())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_session_in_order(command: Command, server_context: ssl.SSLContext, ca: str, adapter: str) -> None:
    with ScriptedServer(*STARTTLS, Tls(server_context), *AFTER_TLS, *FAREWELL) as server:
        outcome = command.connect(server, "--adapter", adapter, "--ca", ca, "--username", "user")
    assert (outcome.code, outcome.err) == (ErrorCode.SUCCESS, "")
    assert outcome.events == [
        "Greeting",
        "EhloReply",
        "StartTlsReady",
        "EhloReply",
        "AuthNeeded",
        "Connected",
        "ReplyReceived",
    ]
    said = [line[17:] for line in outcome.out.splitlines() if line[17:18] in tuple("→←⇄")]
    assert [line.replace("\xa0", " ")[:10] for line in said] == [
        "← 220 mx.e",
        "→ EHLO me.",
        "← 250-mx.e",
        "→ STARTTLS",
        "← 220 2.0.",
        "⇄ TLSv1.3,",
        "→ EHLO me.",
        "← 250-mx.e",
        "→ QUIT",
        "← 221 2.0.",
    ]
    assert "certificate for mx.example, 127.0.0.1\n" in outcome.out
    assert re.search(r"issued by .+\n *valid until \w{3} +\d+ .+ GMT\n", outcome.out)
    assert outcome.out.splitlines()[-1].startswith("SUCCESS (0)")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_each_line_is_shown_before_the_next_one_comes(server_context: ssl.SSLContext, ca: str, adapter: str) -> None:
    """Also what is sent right after TLS: the reply that it waits for has not come."""
    steps = (*STARTTLS, Tls(server_context), Expect(rb"EHLO me\.example"), Silence())
    with ScriptedServer(*steps, timeout=30) as server:
        where = ("--host", server.host, "--port", str(server.port))
        with start("connect", *where, "--client-name", "me.example", "--ca", ca, "--adapter", adapter) as process:
            assert process.stdout is not None
            shown = ""
            while shown.count("→ EHLO me.example") < 2:
                line = process.stdout.readline()
                assert line, f"it ended after {shown}"
                shown += line
            while server.received.count(b"EHLO") < 2:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            rest, complaint = process.communicate(timeout=20)
    assert shown.count("EhloReply") == 1
    assert (process.returncode, complaint) == (130, "smtpproto: interrupted\n")
    assert re.fullmatch(r"\nINTERRUPTED \(130\) after \d+\.\d\d s\n", rest)


def test_the_extensions_are_explained(command: Command) -> None:
    ehlo = b"250-mx.example\r\n250-SIZE 1000000\r\n250-X-UNHEARD of it\r\n250-@@@\r\n250 8BITMIME\r\n"
    with ScriptedServer(Say(b"220 hi\r\n"), Expect(rb"EHLO .+"), Say(ehlo), *FAREWELL) as server:
        outcome = command.connect(server)
    table = outcome.out[outcome.out.index("Extension ") :]
    for keyword in ("SIZE", "8BITMIME"):
        row = EXTENSIONS[keyword]
        assert re.search(rf"^{row.keyword} +{row.rfc} +{row.title}", table, re.MULTILINE)
    assert re.search(r"^ +1000000", table, re.MULTILINE)
    assert re.search(r"^X-UNHEARD +not known to this program *\n +of it", table, re.MULTILINE)
    assert re.search(r"^@@@ +against the grammar", table, re.MULTILINE)


def test_a_helo_session(command: Command) -> None:
    steps = (Say(b"220 hi\r\n"), Expect(rb"HELO me\.example"), Say(b"250 mx.example\r\n"), *FAREWELL)
    with ScriptedServer(*steps) as server:
        outcome = command.connect(server, "--helo")
    assert outcome.code is ErrorCode.SUCCESS
    assert outcome.events == ["Greeting", "HeloReply", "Connected", "ReplyReceived"]
    assert "HELO, no TLS" in outcome.out
    assert "Extension " not in outcome.out


def test_an_lmtp_session_through_a_unix_socket(command: Command, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    steps = (Say(b"220 hi LMTP\r\n"), Expect(rb"LHLO me"), Say(b"250 hi\r\n"), *FAREWELL)
    with ScriptedServer(*steps, unix_path=path):
        outcome = command("connect", f"lmtp://{path}", "--client-name", "me")
    assert outcome.code is ErrorCode.SUCCESS
    assert outcome.out.splitlines()[0].strip() == f"unix socket {path}: LMTP, no TLS"


def test_the_certificate_is_for_the_name_and_the_address_is_dialled(
    command: Command, server_context: ssl.SSLContext, ca: str
) -> None:
    steps = (Tls(server_context), Say(b"220 hi\r\n"), Expect(rb"EHLO .+"), Say(EHLO_REPLY + b"250 HELP\r\n"), *FAREWELL)
    with ScriptedServer(*steps) as server:
        url = f"smtps://mx.example:{server.port}"
        outcome = command("connect", url, "--host-address", server.host, "--ca", ca)
    assert outcome.code is ErrorCode.SUCCESS
    assert f"127.0.0.1 port {server.port} as mx.example: EHLO, implicit TLS" in outcome.out
    assert outcome.out.index("TLSv1.3") < outcome.out.index("Greeting")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_tls_is_shown_although_nothing_comes_through_it(
    command: Command, server_context: ssl.SSLContext, ca: str, adapter: str
) -> None:
    with ScriptedServer(Tls(server_context), Silence()) as server:
        outcome = command.connect(
            server, "--security", "implicit", "--ca", ca, "--timeout", "greeting=0.3", "--adapter", adapter
        )
    assert outcome.code is ErrorCode.GREETING_TIMED_OUT
    assert "⇄ TLSv1.3" in outcome.out
    assert "certificate for mx.example" in outcome.out


def test_a_reply_that_ends_it_is_shown_before_the_outcome(command: Command) -> None:
    with ScriptedServer(Say(b"554 go away\r\n"), ReadAll()) as server:
        outcome = command.connect(server)
    assert outcome.code is ErrorCode.SERVICE_NOT_AVAILABLE
    assert outcome.events == ["Greeting"]
    assert "← 554 go away" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("SERVICE_NOT_AVAILABLE (10) while waiting for the greeting")
    assert outcome.complaint == "the server does not serve: 554 go away"


# Everything that can go wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_closed_port(command: Command, adapter: str) -> None:
    outcome = command("connect", f"smtp://127.0.0.1:{closed_port()}", "--adapter", adapter)
    assert outcome.code is ErrorCode.CONNECTION_REFUSED
    assert "refuses" in outcome.complaint


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_silent_server(command: Command, adapter: str) -> None:
    begin = time.monotonic()
    with ScriptedServer(Silence()) as server:
        outcome = command.connect(server, "--timeout", "1", "--adapter", adapter)
    assert 0.9 < time.monotonic() - begin < 5
    assert outcome.code is ErrorCode.GREETING_TIMED_OUT
    assert outcome.complaint.startswith("timed out while waiting for the greeting: 127.0.0.1 port ")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_server_that_speaks_http(command: Command, adapter: str) -> None:
    with ScriptedServer(Say(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"), ReadAll()) as server:
        outcome = command.connect(server, "--adapter", adapter)
    assert outcome.code is ErrorCode.PROTOCOL_ERROR
    assert "HTTP/1.1 400 Bad Request" in outcome.complaint


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("host", ["does-not-exist.invalid", "a..b", "." * 3, "x" * 300, "ex ample", "\x1b[31mred"])
def test_a_host_that_cannot_be(command: Command, host: str, adapter: str) -> None:
    outcome = command("connect", "--host", host, "--adapter", adapter, "--timeout", "10")
    assert outcome.code in (ErrorCode.NAME_NOT_FOUND, ErrorCode.INVALID_ARGUMENT)
    assert outcome.complaint
    assert "\x1b" not in outcome.out + outcome.err


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_certificate_that_is_not_trusted(command: Command, server_context: ssl.SSLContext, adapter: str) -> None:
    with ScriptedServer(*STARTTLS, Tls(server_context, refused=True)) as server:
        outcome = command.connect(server, "--adapter", adapter)
    assert outcome.code is ErrorCode.CERTIFICATE_NOT_TRUSTED
    assert outcome.events == ["Greeting", "EhloReply", "StartTlsReady"]
    assert "not trusted" in outcome.complaint
    assert "--ca" in outcome.complaint


def test_a_certificate_for_another_host(command: Command, server_context: ssl.SSLContext, ca: str) -> None:
    with ScriptedServer(Tls(server_context, refused=True)) as server:
        outcome = command.connect(server, "--security", "implicit", "--ca", ca, "--host-name", "other.example")
    assert outcome.code is ErrorCode.WRONG_HOST_NAME
    assert "another host" in outcome.complaint
    assert "--host-name" in outcome.complaint


@pytest.mark.parametrize("json_wanted", [False, True])
def test_a_server_that_goes_away(command: Command, json_wanted: bool) -> None:
    with ScriptedServer(Say(b"220 hi\r\n"), Expect(rb"EHLO .+"), Close()) as server:
        outcome = command.connect(server, *(["--json"] if json_wanted else []))
    assert outcome.code is ErrorCode.CLOSED_BY_PEER
    if json_wanted:
        closed = next(each for each in outcome.objects if each.get("event") == "ConnectionClosed")
        assert (closed["unanswered"], closed["clean"]) == (["Ehlo"], False)
    else:
        assert outcome.events == ["Greeting", "ConnectionClosed"]
        assert outcome.complaint


# What must never be shown -------------------------------------------------------------------------------------------

HOSTILE = (
    "\x1b[31m\x1b]0;owned\x07 [red]bold[/red] [/] \x08\x7f \u202egnp \u009b31m :smile: ".encode() + b"\x9b31m \xff\xe9"
)


def hostile_server(*, refusing: bool) -> tuple[Any, ...]:
    greeting = Say(b"220-mx.example " + HOSTILE + b"\r\n220 " + HOSTILE + b"\r\n")
    ehlo = (
        b"250-"
        + HOSTILE
        + b"\r\n250-"
        + HOSTILE
        + b"\r\n250-SIZE [red]1[/red]\r\n250-X-ODD \x1b[1m[bold]\r\n250 HELP\r\n"
    )
    if refusing:
        return greeting, Expect(rb"EHLO .+"), Say(b"550-" + HOSTILE + b"\r\n550 " + HOSTILE + b"\r\n"), *_helo_refused()
    return greeting, Expect(rb"EHLO .+"), Say(ehlo), Expect(rb"QUIT"), Say(b"221 " + HOSTILE + b"\r\n")


def _helo_refused() -> tuple[Any, ...]:
    return Expect(rb"HELO .+"), Say(b"554-" + HOSTILE + b"\r\n554 " + HOSTILE + b"\r\n"), ReadAll()


@pytest.mark.parametrize("refusing", [False, True])
@pytest.mark.parametrize("argv", [(), ("--json",), ("--adapter", "trio")])
def test_what_a_server_says_controls_no_terminal(command: Command, refusing: bool, argv: tuple[str, ...]) -> None:
    with ScriptedServer(*hostile_server(refusing=refusing)) as server:
        outcome = command.connect(server, *argv)
    assert outcome.code is (ErrorCode.HELLO_REFUSED if refusing else ErrorCode.SUCCESS)
    shown = outcome.out + outcome.err
    assert [each for each in shown if not each.isprintable() and each != "\n"] == []
    assert "[red]bold[/red]" in shown
    assert ":smile:" in shown
    if not refusing:
        assert "[red]1[/red]" in shown


def test_nor_on_a_terminal_with_colours(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    with ScriptedServer(*hostile_server(refusing=False)) as server:
        outcome = command.connect(server)
    shown, colours = re.subn(r"\x1b\[[0-9;]*m", "", outcome.out)
    assert colours > 10
    assert [each for each in shown if not each.isprintable() and each != "\n"] == []
    assert "[red]bold[/red]" in re.sub(r"\s+", " ", shown)


@pytest.mark.parametrize("how", ["pipe", "--no-color", "NO_COLOR", "neither"])
def test_colours_are_for_terminals_that_want_them(command: Command, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    on_terminal(monkeypatch)
    if how == "pipe":
        monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    if how == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    with ScriptedServer(*hostile_server(refusing=False)) as server:
        outcome = command.connect(server, *(["--no-color"] if how == "--no-color" else []))
    assert ("\x1b[" in outcome.out) is (how == "neither")


@pytest.mark.parametrize("columns", [40, 80, 132])
def test_a_terminal_is_not_too_narrow(command: Command, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    on_terminal(monkeypatch, columns)
    long = b"mx.example " + b"very " * 30 + b"long" * 60 + "長い".encode() * 60
    steps = (
        Say(b"220 " + long + b"\r\n"),
        Expect(rb"EHLO .+"),
        Say(b"250-" + long + b"\r\n250 SIZE " + long + b"\r\n"),
    )
    with ScriptedServer(*steps, *FAREWELL) as server:
        outcome = command.connect(server, "--no-color")
    assert max(cell_len(line) for line in outcome.out.splitlines()) <= columns
    assert re.sub(r"\s", "", outcome.out).count("長い" * 60) >= 2


def test_a_pipe_gets_each_line_whole(command: Command) -> None:
    long = b"mx.example " + b"very " * 300 + b"long"
    with ScriptedServer(Say(b"220 " + long + b"\r\n"), ReadAll(), timeout=3) as server:
        outcome = command.connect(server, "--timeout", "1")
    assert f"Greeting         ← 220 {long.decode()}\n" in outcome.out


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("argv", [(), ("--json",)])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_secrets_are_not_shown(
    command: Command,
    server_context: ssl.SSLContext,
    ca: str,
    monkeypatch: pytest.MonkeyPatch,
    mechanism: str,
    argv: tuple[str, ...],
    adapter: str,
) -> None:
    """Not even by a server that repeats all that it was told."""
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    plain, encoded = f"\0user\0{PASSWORD}".encode(), base64.b64encode(PASSWORD.encode())
    line = base64.b64encode(plain)
    echo = b"535 5.7.8 no such thing as " + b" ".join([line, encoded, PASSWORD.encode()]) + b"\r\n"
    plain_exchange = (Expect(rb"AUTH PLAIN " + re.escape(line)), Say(echo), *FAREWELL)
    login_exchange = (
        Expect(rb"AUTH LOGIN"),
        Say(b"334 VXNlcm5hbWU6\r\n"),
        Expect(rb"dXNlcg=="),
        Say(b"334 UGFzc3dvcmQ6\r\n"),
        Expect(re.escape(encoded)),
        Say(echo),
        *FAREWELL,
    )
    exchange = plain_exchange if mechanism == "PLAIN" else login_exchange
    with ScriptedServer(Tls(server_context), Say(b"220 hi\r\n"), *AFTER_TLS, *exchange) as server:
        outcome = command.connect(
            server,
            *("--security", "implicit", "--ca", ca, "--auth", "--username", "user", "--password-env", "MAIL_PASSWORD"),
            *("--mechanism", mechanism, "--adapter", adapter),
            *argv,
        )
    assert outcome.code is ErrorCode.AUTHENTICATION_REFUSED
    shown = outcome.out + outcome.err + json.dumps(outcome.out) + "".join(re.findall(r"\S+", outcome.out))
    for secret in (PASSWORD, json.dumps(PASSWORD)[1:-1], encoded.decode(), line.decode(), "UGFzc3dvcmQ6"):
        assert secret not in shown
    assert f"AUTH {mechanism}" in outcome.out
    assert "<redacted>" in outcome.out
    assert "535" in outcome.out
    if not argv:
        assert outcome.events.count("AuthChallenge") == (2 if mechanism == "LOGIN" else 0)
        assert "AuthFailed" in outcome.events
        arrows = [line[17:19].strip() for line in outcome.out.splitlines() if line[17:18] in tuple("→←")]
        assert arrows == list("←→" * (len(arrows) // 2)), "each command follows the reply that it comes from"


# JSON ---------------------------------------------------------------------------------------------------------------


def test_json_is_a_line_for_each_thing(command: Command, server_context: ssl.SSLContext, ca: str) -> None:
    with ScriptedServer(*STARTTLS, Tls(server_context), *AFTER_TLS, *FAREWELL) as server:
        outcome = command.connect(server, "--json", "--ca", ca, "--username", "user")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.isascii()
    found = outcome.objects
    assert [each.get("event") or each.get("command") or each["type"] for each in found] == [
        *("target", "Greeting", "Ehlo", "EhloReply", "StartTls", "StartTlsReady", "tls", "Ehlo", "EhloReply"),
        *("AuthNeeded", "Connected", "Quit", "ReplyReceived", "outcome"),
    ]
    times = [each.pop("time") for each in found]
    assert times == sorted(times)
    assert found[0] == {
        "type": "target",
        "host": "127.0.0.1",
        "port": server.port,
        "path": None,
        "host_name": "127.0.0.1",
        "security": "required",
        "extended": True,
        "lmtp": False,
    }
    assert found[1] == {
        "type": "event",
        "event": "Greeting",
        "reply": {"code": 220, "enhanced": None, "lines": ["mx.example ESMTP"]},
        "domain": "mx.example",
        "accepted": True,
    }
    assert found[2] == {"type": "sent", "command": "Ehlo", "line": "EHLO me.example"}
    assert found[5]["reply"] == {"code": 220, "enhanced": "2.0.0", "lines": ["2.0.0 go ahead"]}
    assert found[6]["version"] == "TLSv1.3"
    assert found[6]["certificate"]["names"] == ["mx.example", "127.0.0.1"]
    assert set(found[6]["certificate"]) == {"subject", "names", "issuer", "not_before", "not_after"}
    assert found[9] == {
        "type": "event",
        "event": "AuthNeeded",
        "mechanisms": ["PLAIN", "LOGIN"],
        "why": "CREDENTIALS_GIVEN",
        "usable": ["PLAIN", "LOGIN"],
    }
    connected = found[10]
    assert (connected["extended"], connected["tls"]) == (True, True)
    assert connected["extensions"][1] == {
        "keyword": "SIZE",
        "argument": "1000000",
        "rfc": "RFC 1870",
        "title": EXTENSIONS["SIZE"].title,
    }
    assert connected["extensions"][2] == {"keyword": "X-UNHEARD", "argument": "of it", "rfc": None, "title": None}
    assert found[-1] == {
        "type": "outcome",
        "code": 0,
        "name": "SUCCESS",
        "message": None,
        "stage": None,
        "retryable": False,
        "error": None,
    }


@pytest.mark.parametrize(
    ("argv", "code", "stage", "retryable"),
    [
        (("smtp://h:99999",), ErrorCode.INVALID_ARGUMENT, "OPTIONS", False),
        ((f"smtp://127.0.0.1:{closed_port()}",), ErrorCode.CONNECTION_REFUSED, "DIAL", True),
    ],
)
def test_json_tells_of_failure(
    command: Command, argv: tuple[str, ...], code: ErrorCode, stage: str, retryable: bool
) -> None:
    outcome = command("connect", "--json", *argv)
    assert (outcome.code, outcome.err) == (code, "")
    last = outcome.objects[-1]
    assert (last["type"], last["code"], last["name"]) == ("outcome", code, code.name)
    assert (last["stage"], last["retryable"]) == (stage, retryable)
    assert last["message"]


@pytest.mark.parametrize("argv", [(), ("--json",)])
def test_a_secret_in_what_is_no_reply_is_not_shown(
    command: Command, server_context: ssl.SSLContext, ca: str, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]
) -> None:
    """The error quotes the octets."""
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    exchange = (Expect(rb"AUTH PLAIN .+"), Say(f"you said {PASSWORD}, didn't you?\r\n".encode()), ReadAll())
    with ScriptedServer(Tls(server_context), Say(b"220 hi\r\n"), *AFTER_TLS, *exchange) as server:
        outcome = command.connect(server, "--security", "implicit", "--ca", ca, *AUTH, *argv)
    assert outcome.code is ErrorCode.PROTOCOL_ERROR
    assert "you said <redacted>, didn't" in outcome.out + outcome.err
    assert "hunter2" not in outcome.out + outcome.err


def test_an_access_token_is_not_shown(
    command: Command, server_context: ssl.SSLContext, ca: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the mechanism has a place for the server to say what is wrong with it."""
    monkeypatch.setenv("MAIL_TOKEN", "ya29.t0ken")
    steps = (
        *(Tls(server_context), Say(b"220 hi\r\n"), Expect(rb"EHLO .+"), Say(b"250-hi\r\n250 AUTH XOAUTH2\r\n")),
        *(Expect(rb"AUTH XOAUTH2 .+"), Say(b"334 " + base64.b64encode(b'{"bad": "ya29.t0ken"}') + b"\r\n")),
        *(Expect(rb""), Say(b"535 5.7.8 no\r\n"), *FAREWELL),
    )
    with ScriptedServer(*steps) as server:
        outcome = command.connect(
            server,
            *("--security", "implicit", "--ca", ca, "--auth", "--username", "user", "--token-env", "MAIL_TOKEN"),
        )
    assert outcome.code is ErrorCode.AUTHENTICATION_REFUSED
    assert 'and says {"bad": "<redacted>"}: 535 5.7.8 no; get another token: ' in outcome.complaint
    assert '\n                   the server says {"bad": "<redacted>"}\n' in outcome.out
    line = base64.b64encode(b"user=user\x01auth=Bearer ya29.t0ken\x01\x01").decode()
    for secret in ("ya29.t0ken", line):
        assert secret not in outcome.out + outcome.err


def test_a_token_that_cannot_be_sent(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_TOKEN", "two words")
    outcome = command("connect", "smtp://user@mx.example", "--auth", "--token-env", "MAIL_TOKEN")
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert "visible ASCII" in outcome.complaint
    assert "two words" not in outcome.err


def test_a_password_that_no_line_has_room_for(
    command: Command, server_context: ssl.SSLContext, ca: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "long" * 5000)
    with ScriptedServer(Tls(server_context), Say(b"220 hi\r\n"), *AFTER_TLS, *FAREWELL) as server:
        outcome = command.connect(server, "--security", "implicit", "--ca", ca, *AUTH)
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert "octets" in outcome.complaint
    assert "longlong" not in outcome.out + outcome.err


def test_json_needs_no_rich(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "rich", "cli.ladder")
    outcome = command("connect", "--json", f"smtp://127.0.0.1:{closed_port()}")
    assert outcome.code is ErrorCode.CONNECTION_REFUSED


# What is not there, and how else it can end -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "extra", "modules", "argv"),
    [
        ("rich", "cli", ("cli.ladder", "cli.demo"), ("smtp://127.0.0.1:1",)),
        ("rich", "cli", ("cli.ladder", "cli.demo"), ("--demo",)),
        ("trustme", "testing", ("cli.demo",), ("--demo",)),
        ("trio", "trio", ("trio",), ("smtp://127.0.0.1:1", "--adapter", "trio")),
    ],
)
def test_an_extra_that_is_not_installed_is_named(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    extra: str,
    modules: tuple[str, ...],
    argv: tuple[str, ...],
) -> None:
    without(monkeypatch, package, *modules)
    outcome = command("connect", *argv)
    assert outcome.status == 1
    assert outcome.complaint == f"{package} is not installed: pip install 'smtpproto-sansio[{extra}]'"


@pytest.mark.parametrize(
    "interrupt", [KeyboardInterrupt(), BaseExceptionGroup("a nursery", [KeyboardInterrupt(), OSError()])]
)
def test_an_interrupt(command: Command, monkeypatch: pytest.MonkeyPatch, interrupt: BaseException) -> None:
    def interrupted(*_: object) -> None:
        raise interrupt

    monkeypatch.setitem(sessions.RUNNERS, "blocking", interrupted)
    outcome = command("connect", "smtp://127.0.0.1:1")
    assert (outcome.status, outcome.complaint) == (130, "interrupted")


def test_what_is_our_own_fault_is_not_hidden(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ExceptionGroup("a nursery", [ZeroDivisionError()])

    monkeypatch.setitem(sessions.RUNNERS, "blocking", broken)
    with pytest.raises(ExceptionGroup):
        command("connect", "smtp://127.0.0.1:1")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_nobody_reads_the_output(adapter: str) -> None:
    """Which is found out in the middle of a conversation."""
    with ScriptedServer(SayPieces((b"22", b"0 hi\r\n"), delay=0.5), ReadAll()) as server:
        where = ("--host", server.host, "--port", str(server.port))
        with start("connect", *where, "--adapter", adapter) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline().strip().endswith("STARTTLS where it is offered")
            process.stdout.close()
            complaint = process.stderr.read()
            process.wait(20)
    assert (process.returncode, complaint) == (141, "")


def test_a_terminal_of_another_encoding(command: Command) -> None:
    with ScriptedServer(Say("554 gehen Sie, schöner Herr →\r\n".encode()), ReadAll()) as server:
        where = ("--host", server.host, "--port", str(server.port))
        with start("connect", *where, PYTHONIOENCODING="ascii") as process:
            out, err = process.communicate(timeout=20)
    assert process.returncode == ErrorCode.SERVICE_NOT_AVAILABLE
    assert "Greeting         < 554 gehen Sie, sch\\xf6ner Herr \\u2192\n" in out
    assert err == "smtpproto: the server does not serve: 554 gehen Sie, sch\\xf6ner Herr \\u2192\n"


# The demo -----------------------------------------------------------------------------------------------------------


def tables_of_demo(outcome: Outcome) -> tuple[list[str], list[str]]:
    """The rows about the connections, and those about the messages."""
    connections, messages = outcome.out[outcome.out.index("Adapter ") :].split("\n\n")
    return connections.splitlines()[1:], messages.splitlines()[1:]


def test_the_demo_makes_nine_connections(command: Command) -> None:
    outcome = command("connect", "--demo")
    assert (outcome.status, outcome.err) == (0, "")
    rows, _ = tables_of_demo(outcome)
    assert [row.split()[0] for row in rows] == [adapter for adapter in ADAPTERS for _ in range(3)]
    for number, row in enumerate(rows):
        assert ("TLSv1.3" in row) is (number % 3 > 0)
        assert row.split()[-1] == ("(SCRAM-SHA-256-PLUS)" if number % 3 == 1 else "nobody")
    assert outcome.events == [
        *("Greeting", "HeloReply", "Connected", "ReplyReceived"),
        *("Greeting", "EhloReply", "StartTlsReady", "EhloReply", "AuthNeeded", "Connected"),
        *("AuthChallenge", "AuthChallenge", "AuthSucceeded", *["ReplyReceived"] * 4),
        *("Greeting", "EhloReply", "Connected", "ReplyReceived"),
    ]
    assert "correct horse" not in outcome.out


def test_the_demo_sends_a_message_through_each_adapter(command: Command) -> None:
    outcome = command("connect", "--demo")
    _, rows = tables_of_demo(outcome)
    assert [
        re.sub(r" +", " ", row).replace(" ann@client.example bob@mail.example", "").split()[:3] for row in rows
    ] == [["Hello", "from", adapter] for adapter in ADAPTERS]
    assert all(row.split()[-1] == "user" for row in rows)
    assert "→ MAIL FROM:<ann@client.example>" in outcome.out
    assert outcome.out.count("\naccepted         bob@mail.example: 250 ") == 1


def test_the_demo_fits_two_screens(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch)
    outcome = command("connect", "--demo", "--no-color")
    lines = outcome.out.splitlines()
    assert len(lines) <= 100
    assert max(map(cell_len, lines)) <= 80


def test_the_demo_says_what_failed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from smtpproto_adapters.cli import demo

    monkeypatch.setattr(demo, "PASSWORD", "another one")
    outcome = command("connect", "--demo")
    assert outcome.status == 1
    rows, messages = tables_of_demo(outcome)
    assert messages == []
    assert [number for number, row in enumerate(rows) if "the server refuses the credentials" in row] == [1, 4, 7]


def test_the_demo_fails_where_a_message_does_not_arrive(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from smtpproto_adapters.inbox import Inbox

    def full(*_: object) -> smtpproto.Reply:
        return smtpproto.Reply(552, "5.2.2 full")

    monkeypatch.setattr(Inbox, "message", full)
    outcome = command("connect", "--demo")
    assert outcome.status == 1
    rows, messages = tables_of_demo(outcome)
    assert messages == []
    assert [number for number, row in enumerate(rows) if "not as it had to be" in row] == [1, 4, 7]
    assert "refused for good bob@mail.example: 552 5.2.2 full" in outcome.out


def test_the_demo_without_trio_does_what_it_can(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "trio", "trio")
    outcome = command("connect", "--demo")
    assert outcome.status == 1
    assert outcome.complaint == "trio is not installed: pip install 'smtpproto-sansio[trio]'"
    assert outcome.out.count("\nasyncio ") == 3


# The pieces ---------------------------------------------------------------------------------------------------------


def test_a_sentence_is_one_printable_line_of_bounded_length() -> None:
    assert one_line("a\nb\r\x1b\udce9") == "a b\\r\\x1b\\xe9"
    assert len(one_line("x" * 10_000)) < 1000


def test_what_is_printable_stays_as_it_is() -> None:
    assert printable("長い naïve [red]") == "長い naïve [red]"


def test_names_of_certificates_are_made_printable() -> None:
    certificate = Certificate(
        {
            "subject": ((("organizationName", "A\x1b[31m"),), (("commonName", "mx\n.example"),)),
            "issuer": ((("organizationName", "CA \u202e"),),),
            "subjectAltName": (("DNS", "mx\x07.example"),),
            "notAfter": "now",
        }
    )
    assert (certificate.subject, certificate.issuer) == ("mx\\n.example", "CA \\u202e")
    assert certificate.names == ("mx\\x07.example",)
    assert (certificate.not_before, certificate.not_after) == ("", "now")


def test_no_certificate_has_no_names() -> None:
    assert vars(Certificate(None)) == {"subject": "", "names": (), "issuer": "", "not_before": "", "not_after": ""}
