"""`smtpproto serve`: what it offers, what it shows, what it must never show, and how it ends."""

from __future__ import annotations

import base64
import json
import mailbox
import re
import signal
import smtplib
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("rich")
pytest.importorskip("trustme")

import trustme
from rich.cells import cell_len

from smtpproto import AuthenticationFailed, Envelope, ErrorCode, Reply, Security
from smtpproto_adapters.blocking import Client
from smtpproto_adapters.cli.serve import arrivals
from smtpproto_adapters.cli.statuses import Status
from tests.commanding import Command, on_terminal, start, without
from tests.serving import ANN, BOB, MESSAGE, Serving, say, send

if TYPE_CHECKING:
    pass

PASSWORD = "hunter2-W\u00f6rd"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a `Serving`, of the arguments of the command."""

    def made(*argv: str) -> Serving:
        return Serving(tmp_path, monkeypatch, *argv)

    return made


# What arrives -------------------------------------------------------------------------------------------------------


def test_one_message(serving: Any) -> None:
    with serving("--once") as server:
        assert server.out.splitlines()[1:] == ["  SMTP, no TLS, no AUTH", "  ^C ends it"]
        send(server.url, BOB, "carl@mx.example")
    assert (server.status, server.err) == (0, "")
    lines = re.sub(r"(127\.0\.0\.1 port) \d+", r"\1 N", server.out).splitlines()[3:]
    assert [line for line in lines if "250-" not in line] == [
        "#1     127.0.0.1 port N",
        "#1   ← 220 localhost ESMTP ready",
        "#1   → EHLO me.example",
        "#1   ← 250 HELP",
        "#1   → MAIL FROM:<ann@client.example> SIZE=94",
        "#1   ← 250 2.1.0 OK",
        "#1   → RCPT TO:<bob@mx.example>",
        "#1   ← 250 2.1.5 OK",
        "#1   → RCPT TO:<carl@mx.example>",
        "#1   ← 250 2.1.5 OK",
        "#1   → DATA",
        "#1   ← 354 end data with <CR><LF>.<CR><LF>",
        "#1   → (content: 94 octets)",
        "#1   → .",
        "#1   ← 250 2.0.0 OK",
        "#1     message 1 arrived: 94 octets",
        "#1     from    ann@client.example",
        "#1     to      bob@mx.example, carl@mx.example",
        "#1     subject Grüße",
        "#1             Hello Bob.",
        "#1             Bye.",
        "#1   → QUIT",
        "#1   ← 221 2.0.0 bye",
        "ended; 1 message arrived",
    ]


def test_json(serving: Any) -> None:
    with serving("--count", "2", "--json") as server:
        send(server.url)
        send(server.url, chunking=True)
    assert (server.status, server.err) == (0, "")
    found = server.objects
    assert server.out.isascii()
    assert [each["type"] for each in found if each.get("session", 1) == 1] == [
        *("listening", "session", "sent", "received", "sent"),
        *("received", "sent", "received", "sent", "received", "sent"),
        *("content", "received", "sent", "message", "received", "sent", "closed", "ended"),
    ]
    assert {each["session"] for each in found[1:-1]} == {1, 2}
    assert found[0]["url"] == server.url
    assert found[-1]["messages"] == 2
    assert server.of("message")[0] == {
        "number": 1,
        "sender": ANN,
        "recipients": [BOB],
        "octets": len(MESSAGE),
        "subject": "Grüße",
        "preview": ["Hello Bob.", "Bye."],
    }
    assert {"command": "Bdat", "line": f"BDAT {len(MESSAGE)} LAST"} in server.of("received")
    assert server.of("content") == [{"octets": len(MESSAGE)}]
    assert {"reply": {"code": 250, "enhanced": "2.1.5", "lines": ["2.1.5 OK"]}} in server.of("sent")
    assert re.fullmatch(r"127\.0\.0\.1 port \d+", server.of("session")[0]["peer"])


def test_the_standard_library_is_a_client(serving: Any) -> None:
    with serving("--once", "--json") as server, smtplib.SMTP("127.0.0.1", server.port, timeout=10) as client:
        client.sendmail(ANN, [BOB], MESSAGE)
    assert server.of("message")[0]["octets"] == len(MESSAGE)


def test_lmtp(serving: Any) -> None:
    with serving("--once", "--json", "--lmtp") as server:
        assert server.url.startswith("lmtp://")
        send(server.url, BOB, "carl@mx.example")
    assert server.of("message")[0]["recipients"] == [BOB, "carl@mx.example"]
    assert {"command": "Lhlo", "line": "LHLO me.example"} in server.of("received")


@pytest.mark.parametrize("lmtp", [False, True])
def test_a_maildir(serving: Any, tmp_path: Path, lmtp: bool) -> None:
    folder = tmp_path / "Mail"
    with serving("--once", "--json", "--maildir", str(folder), *(["--lmtp"] if lmtp else [])) as server:
        send(server.url)
    (kept,) = mailbox.Maildir(folder, create=False)
    assert kept["Return-Path"] == f"<{ANN}>"
    assert kept.get_payload() == "\nHello Bob.\n\nBye.\n"
    assert server.of("message")[0]["subject"] == "Grüße"


@pytest.mark.parametrize("lmtp", [False, True])
def test_a_maildir_that_cannot_be_written(serving: Any, tmp_path: Path, lmtp: bool) -> None:
    """It is said in one sentence, and the message has not arrived."""
    folder = tmp_path / "Mail"
    folder.mkdir()
    (folder / "tmp").write_text("in the way")
    with serving("--once", "--maildir", str(folder), *(["--lmtp"] if lmtp else [])) as server:
        with Client(server.url) as client:
            result = client.deliver(Envelope(ANN, BOB), MESSAGE)
            assert result.reply is not None
            assert result.reply.code == 451
        (folder / "tmp").unlink()
        send(server.url)
    assert re.fullmatch(r"smtpproto: a message of .* could not be written: FileExistsError: .*\n", server.err)
    assert server.out.count("arrived: ") == 1


def test_the_size_is_offered(serving: Any) -> None:
    with serving("--once", "--size", "100") as server:
        assert send(server.url, content=b"x" * 98)["SIZE"] == "100"


ODD: list[tuple[bytes, str, list[str]]] = [
    (b"", "", []),
    (b"\r\n", "", []),
    (b"no header", "", ["no header"]),
    (b"Subject: \xff\r\n\r\n\xff\xfe", "", ["\\xff\\xfe"]),
    ("Subject: Grüße\r\n\r\nnaïve".encode(), "Grüße", ["naïve"]),
    (b"Subject: =?utf-7?q?+2AA-?=\r\n\r\nx", "", ["x"]),
    (b"Content-Type: text/plain; charset=nonsense\r\n\r\nx", "", []),
    (b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0=", "", []),
    (b"Content-Type: text/html\r\n\r\n<b>x</b>", "", ["<b>x</b>"]),
    (b"Content-Transfer-Encoding: base64\r\n\r\neA==", "", ["x"]),
    (b"\r\n" + b"x" * 900 + b"\r\n" + b"y\r\n" * 100_000, "", ["x" * 200, "y", "y", "y"]),
]


@pytest.mark.parametrize(("content", "subject", "preview"), ODD)
def test_a_message_that_is_odd(serving: Any, content: bytes, subject: str, preview: list[str]) -> None:
    with serving("--once", "--json") as server:
        send(server.url, content=content)
    (arrived,) = server.of("message")
    assert arrived["octets"] == len(content) + (2 if content and not content.endswith(b"\n") else 0)
    assert arrived["preview"] == preview
    if subject:
        assert arrived["subject"] == subject
    assert server.err == ""


def test_many_recipients_are_counted(serving: Any) -> None:
    with serving("--once") as server:
        send(server.url, *(f"u{number}@mx.example" for number in range(8)), content=b"x")
    assert "to      u0@mx.example, u1@mx.example, u2@mx.example, u3@mx.example, u4@mx.example and 3 more" in server.out
    assert "subject" not in server.out


def test_no_more_than_so_many(serving: Any) -> None:
    with serving("--once") as server, Client(server.url) as late:
        with Client(server.url) as client:
            client.sendmail(ANN, BOB, MESSAGE)
            result = late.sendmail(ANN, BOB, MESSAGE)
        assert result.reply is not None
        assert result.reply.code == 421
    assert server.out.endswith("ended; 1 message arrived")


# TLS and users ------------------------------------------------------------------------------------------------------


def trusting(file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=file)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "mx.example"])
def test_a_certificate_that_is_made_now(serving: Any, tls: str, host: str) -> None:
    security = Security.REQUIRED if tls == "starttls" else Security.IMPLICIT
    with serving("--once", "--json", "--tls", tls, "--host-name", "mx.example") as server:
        file = server.objects[0]["ca"]
        options: dict[str, Any] = {
            "host_address": "127.0.0.1",
            "host_name": host,
            "port": server.port,
            "security": security,
        }
        with Client(context=trusting(file), **options) as client:
            client.sendmail(ANN, BOB, MESSAGE).raise_unless_accepted()
    (found,) = server.of("tls")
    assert found["version"] == "TLSv1.3"
    assert not Path(file).exists()
    assert server.url.startswith("smtps://" if tls == "implicit" else "smtp://")


def test_the_certificate_is_written_where_it_is_wanted(serving: Any, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with serving("--once", "--tls", "starttls", "--write-ca", str(file)) as server:
        assert f"clients must trust {file}" in server.out
        send(server.url, context=trusting(str(file)))
    assert "#1   ⇄ TLSv1.3, " in server.out
    assert file.exists()


@pytest.mark.parametrize("together", [False, True])
def test_a_certificate_of_ones_own(serving: Any, tmp_path: Path, together: bool) -> None:
    authority = trustme.CA()
    mine = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    (tmp_path / "cert").write_bytes(b"".join(each.bytes() for each in mine.cert_chain_pems))
    (tmp_path / "key").write_bytes(mine.private_key_pem.bytes())
    (tmp_path / "both").write_bytes((tmp_path / "key").read_bytes() + (tmp_path / "cert").read_bytes())
    files = (
        ["--cert", str(tmp_path / "both")]
        if together
        else ["--cert", str(tmp_path / "cert"), "--key", str(tmp_path / "key")]
    )
    with serving("--once", "--tls", "implicit", *files) as server:
        send(server.url, context=trusting(str(tmp_path / "ca")))
    assert server.status == 0


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_client_that_does_not_trust_it(serving: Any, tls: str) -> None:
    """The commonest of all mistakes is to be seen."""
    with serving("--once", "--json", "--tls", tls) as server:
        assert Client(server.url).connect_ex() is ErrorCode.CERTIFICATE_NOT_TRUSTED
        while not server.of("closed"):
            time.sleep(0.01)
        send(server.url, context=trusting(server.objects[0]["ca"]))
    (notice,) = server.of("notice")
    assert re.fullmatch(r"TLS with 127\.0\.0\.1 port \d+ failed: .*unknown ca", notice["text"])


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("argv", [(), ("--json",)])
def test_a_user(serving: Any, tmp_path: Path, mechanism: str, argv: tuple[str, ...]) -> None:
    (tmp_path / "users").write_text(f"eve:pw\n\nann:{PASSWORD}\n", encoding="utf-8")
    settings: dict[str, Any] = {"mechanisms": [mechanism], "allow_plaintext_auth": True, "security": Security.NONE}
    with serving("--once", "--users", str(tmp_path / "users"), *argv) as server:
        client = Client(server.url, username="ann", password="an0ther", **settings)
        with client, pytest.raises(AuthenticationFailed):
            client.authenticate()
        send(server.url, username="ann", password=PASSWORD, **settings)
    assert "235" in server.out
    assert "535" in server.out
    for secret in (PASSWORD, "an0ther"):
        for shown in (secret, base64.b64encode(secret.encode()).decode(), json.dumps(secret)[1:-1]):
            assert shown not in server.out + server.err
    line = base64.b64encode(f"\0ann\0{PASSWORD}".encode()).decode()
    assert line not in server.out


# What must never be shown -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [(), ("--json",)])
def test_a_piece_of_a_broken_authentication_is_not_shown(serving: Any, tmp_path: Path, argv: tuple[str, ...]) -> None:
    (tmp_path / "users").write_text(f"ann:{PASSWORD}\n", encoding="utf-8")
    with serving("--once", "--users", str(tmp_path / "users"), *argv) as server:
        say(
            server.port,
            *(b"EHLO me", b"AUTH PLAIN c2VjcmV0!", b"c2VjcmV0", b"secret words", b"secret", b"NOOP", b"WHAT is this"),
            *(b"AUTH", b"secret", b"NOOP", b"you said " + PASSWORD.encode(), b"\xff\x1b[31m", b"EXPN secret-list"),
        )
        send(server.url)
    shown = server.out if not argv else "\n".join(each["line"] for each in server.of("received"))
    assert "c2VjcmV0" not in shown
    assert "secret words" not in shown
    assert PASSWORD not in shown
    assert "YOU said <redacted>" in shown
    assert "WHAT is this" in shown
    assert "EXPN secret-list" in shown
    assert "\x1b" not in server.out


def test_what_a_client_says_controls_no_terminal(serving: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "\x1b[31m\x1b]0;owned\x07[red]bold[/red] \x08\u202egnp \u009b31m :smile:"
    with serving("--once", "--no-color") as server:
        say(server.port, b"EHLO me", f"WHAT {hostile}".encode(), hostile.encode(), b"NOOP " + hostile.encode())
        encoded = base64.b64encode(hostile.encode()).decode()
        send(server.url, content=f"Subject: =?utf-8?b?{encoded}?=\r\n\r\n{hostile}\r\n".encode(), chunking=True)
    assert [each for each in server.out if not each.isprintable() and each != "\n"] == []
    assert server.out.count("[red]bold[/red]") >= 3


def test_an_early_talker_and_one_who_just_goes(serving: Any) -> None:
    with serving("--once", "--json") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(b"EHLO me\r\n")
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(1000):
                pass
        send(server.url)
    texts = [each["text"] for each in server.of("notice")]
    assert texts[-1] == "the client closed the connection"
    assert set(texts) <= {"the client spoke before it was greeted", "the client closed the connection"}


# What makes no sense -----------------------------------------------------------------------------------------------

REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("--port", "65536"), "the port must be a number"),
    (("--port", "smtp"), "the port must be a number"),
    (("--count", "0"), "the count must be a number"),
    (("--size", "\u0663"), "the size must be a number"),
    (("--once", "--count", "2"), "not allowed with"),
    (("--tls", "yes"), "--tls"),
    (("--cert", "BAD"), "--cert is for TLS"),
    (("--key", "BAD"), "--key is for TLS"),
    (("--write-ca", "BAD"), "--write-ca is for TLS"),
    (("--tls", "implicit", "--key", "BAD"), "give --cert too"),
    (("--tls", "implicit", "--cert", "BAD"), "no certificate in PEM"),
    (("--tls", "implicit", "--cert", "/not/there"), "/not/there: No such file"),
    (("--tls", "implicit", "--cert", "BAD", "--write-ca", "x"), "leave it out"),
    (("--tls", "implicit", "--write-ca", "/not/there/ca.pem"), "/not/there/ca.pem: No such file"),
    (("--host-name", "me me"), "domain"),
    (("--tls", "starttls", "--host", "\u2024."), "no certificate can be made"),
    (("--maildir", "BAD"), "no directory"),
    (("anything",), "anything"),
]


@pytest.mark.parametrize(("argv", "why"), REFUSED, ids=[" ".join(argv) for argv, _ in REFUSED])
def test_what_makes_no_sense_is_refused_in_one_sentence(
    command: Command, tmp_path: Path, argv: tuple[str, ...], why: str
) -> None:
    (tmp_path / "bad").write_text(f"{PASSWORD}\n", encoding="utf-8")
    (tmp_path / "latin").write_bytes(b"ann:\xe9\n")
    files = {"BAD": str(tmp_path / "bad"), "LATIN": str(tmp_path / "latin")}
    outcome = command("serve", *(files.get(word, word) for word in argv))
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert why in outcome.complaint
    assert outcome.out == ""
    assert PASSWORD not in outcome.err


def test_a_port_that_is_taken(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = command("serve", "--port", str(taken.getsockname()[1]))
    assert outcome.status == Status.CANNOT_LISTEN
    assert "; --port 0 takes any free one" in outcome.complaint


@pytest.mark.parametrize("host", ["192.0.2.1", "does-not-exist.invalid", "a..b", "x" * 300])
def test_an_address_that_is_not_ours(command: Command, host: str) -> None:
    outcome = command("serve", "--host", host, "--port", "0")
    assert outcome.status == Status.CANNOT_LISTEN
    assert outcome.complaint.startswith("cannot listen at ")
    assert "--port" not in outcome.complaint


def test_help_fits_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = command("serve", "--help")
    assert outcome.status == 0
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.parametrize(("package", "argv"), [("rich", ()), ("trustme", ("--tls", "starttls"))])
def test_an_extra_that_is_not_installed_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch, package: str, argv: tuple[str, ...]
) -> None:
    without(monkeypatch, package, "cli.ladder", "cli.serve.ladder")
    outcome = command("serve", "--port", "0", *argv)
    assert outcome.status == Status.NOT_INSTALLED
    assert f"{package} is not installed" in outcome.complaint


def test_json_needs_no_rich(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "rich", "cli.ladder", "cli.serve.ladder")
    with serving("--once", "--json") as server:
        send(server.url)
    assert server.status == 0


# How it looks, and how it ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_is_not_too_narrow(serving: Any, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    server = serving("--once", "--no-color", "--host-name", "long." * 20 + "example")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with server:
        send(server.url, *(f"user{number}@mx.example" for number in range(9)), content=b"Subject: " + b"long " * 60)
    assert max(cell_len(line) for line in server.out.splitlines()) <= columns


@pytest.mark.parametrize("how", ["pipe", "--no-color", "NO_COLOR", "neither"])
def test_colours_are_for_terminals_that_want_them(serving: Any, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    server = serving("--once", *(["--no-color"] if how == "--no-color" else []))
    on_terminal(monkeypatch)
    if how == "pipe":
        monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    if how == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    with server:
        port = int(re.sub(r"\x1b\[[0-9;]*m", "", server.out).splitlines()[0].rpartition(":")[2])
        send(f"smtp://127.0.0.1:{port}")
    assert ("\x1b[" in server.out) is (how == "neither")


def test_a_client_that_does_not_leave_is_not_waited_for_too_long(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from smtpproto_adapters.cli.serve import command as command_serve

    monkeypatch.setattr(command_serve, "LAST_WORDS", 0.2)
    with serving("--once") as server:
        client = Client(server.url)
        client.connect()
        client.sendmail(ANN, BOB, MESSAGE)
        server.__exit__(None, None, None)
        assert client.noop() == Reply(421, "4.3.2 the service is shutting down")
    assert server.status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("argv", [("--tls", "starttls"), ("--json",)])
def test_a_signal_ends_it(number: signal.Signals, argv: tuple[str, ...], tmp_path: Path) -> None:
    with start("serve", "--port", "0", *argv, TMPDIR=str(tmp_path)) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"\w+://[^\s\"]+", first)
        assert found is not None
        with socket.create_connection(("127.0.0.1", int(found[0].rpartition(":")[2])), timeout=10) as client:
            assert client.recv(1000).startswith(b"220 ")
            process.send_signal(number)
            assert client.recv(1000).startswith(b"421 ")
        rest, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (0, "")
    assert "ended" in rest.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_nobody_reads_the_output(tmp_path: Path) -> None:
    """The session in which it is found out is none the worse for it, until the server ends."""
    with start("serve", "--port", "0", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = json.loads(process.stdout.readline())["url"]
        process.stdout.close()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as client:
            said = b""
            while more := client.recv(1000):
                said += more
        assert re.fullmatch(rb"220 .+\r\n421 .+\r\n", said)
        complaint = process.stderr.read()
        process.wait(20)
    assert (process.returncode, complaint) == (141, "")


# The pieces ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "taken"),
    [
        (None, ("a@x.example", "b@x.example")),
        (Reply(250, "ok"), ("a@x.example", "b@x.example")),
        (Reply(550, "no"), None),
        ({}, ("a@x.example", "b@x.example")),
        ({"a@x.example": Reply(450, "no")}, ("b@x.example",)),
        ([Reply(250, "ok"), Reply(450, "no")], ("a@x.example",)),
        ([Reply(550, "no"), Reply(450, "no")], None),
    ],
)
def test_for_whom_a_message_was_taken(outcome: Any, taken: tuple[str, ...] | None) -> None:
    found = arrivals.taken(Envelope(ANN, ["a@x.example", "b@x.example"]), outcome)
    assert (None if found is None else found.forward_paths) == taken
