"""The command in a real terminal: ^C at every moment, prompts, and lines that end where the terminal does."""

from __future__ import annotations

import gc
import importlib.abc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rich")
pytest.importorskip("trio")
pytest.importorskip("trustme")

from smtpproto import ConnectOptions, Security
from smtpproto_adapters.cli import mx, sessions
from smtpproto_adapters.cli.statuses import Status
from smtpproto_adapters.discovery import Destination, Plan
from smtpproto_adapters.local import LocalServer
from tests.commanding import Command, start
from tests.scripted import Expect, Say, SayPieces, ScriptedServer, Silence
from tests.terminals import INTERRUPT, Terminal, smtpproto

ADAPTERS = ("blocking", "asyncio", "trio")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@contextmanager
def unanswering() -> Generator[int]:
    """A port at which a connection is neither taken nor refused: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = [socket.socket() for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for caller in callers:
                caller.close()


ENDED = r"\nINTERRUPTED \(130\) after [0-9.]+ s\n"


def interrupted(*argv: str, at: str, ended: str = "", server: ScriptedServer | None = None) -> None:
    """^C, once it has shown ``at`` and is connected, ends it: it says so on a line of its own, and nothing else."""
    with Terminal(*smtpproto(*argv)) as terminal:
        terminal.wait_for(at)
        while server is not None and not server.connected:
            time.sleep(0.01)
        time.sleep(0.2)
        before = len(terminal.shown)
        terminal.press(INTERRUPT)
        status = terminal.end()
        # What a terminal echoes of the key is written over.
        assert re.fullmatch(rf"(?:\^C)?[\r\n]*{ended}smtpproto: interrupted\n", terminal.shown[before:]), terminal.shown
    assert status == Status.INTERRUPTED


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_interrupt_while_dialling(adapter: str) -> None:
    with unanswering() as port:
        interrupted(
            "connect",
            f"smtp://127.0.0.1:{port}",
            "--adapter",
            adapter,
            at="STARTTLS where it is offered\n",
            ended=ENDED,
        )


GREETED = (Say(b"220 mx.example ESMTP\r\n"), Expect(rb"EHLO .+"))


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("steps", "security", "at"),
    [
        ((Silence(),), "none", "no TLS\n"),
        ((*GREETED, Silence()), "none", "EHLO .*\n"),
        ((*GREETED, Say(b"250-mx.example\r\n250 ST"), Silence()), "none", "EHLO .*\n"),
        ((Silence(),), "implicit", "implicit TLS\n"),
        (
            (*GREETED, Say(b"250-hi\r\n250 STARTTLS\r\n"), Expect(b"STARTTLS"), Say(b"220 go\r\n"), Silence()),
            "required",
            "StartTlsReady .*\n",
        ),
    ],
    ids=["greeting", "hello", "within a reply", "implicit TLS", "STARTTLS"],
)
def test_an_interrupt_in_the_handshake(steps: tuple[object, ...], security: str, at: str, adapter: str) -> None:
    with ScriptedServer(*steps, timeout=30) as server:  # type: ignore[arg-type]
        where = ("--host", server.host, "--port", str(server.port), "--security", security, "--adapter", adapter)
        interrupted("connect", *where, at=at, ended=ENDED, server=server)


FAREWELL = r"""(?:\^C)?\r(?P<heard>.*)
 +→ QUIT
ReplyReceived +← 221 bye
\r?\nINTERRUPTED \(130\) after [0-9.]+ s
smtpproto: interrupted
"""


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_quit_is_said_behind_the_answer_that_is_waited_for(adapter: str) -> None:
    """The key is pressed while nothing may be said (RFC 2920 section 3.1); what it echoes is written over."""
    steps = (*GREETED, SayPieces((b"25", b"0 mx.example\r\n"), 0.7), Expect(b"QUIT"), Say(b"221 bye\r\n"))
    with ScriptedServer(*steps, timeout=30) as server:
        where = ("--host", server.host, "--port", str(server.port), "--security", "none", "--adapter", adapter)
        with Terminal(*smtpproto("connect", *where)) as terminal:
            terminal.wait_for("EHLO .*\n")
            time.sleep(0.1)
            before = len(terminal.shown)
            terminal.press(INTERRUPT)
            assert terminal.end() == Status.INTERRUPTED
            found = re.fullmatch(FAREWELL, terminal.shown[before:])
    assert found is not None, terminal.shown
    assert re.fullmatch("EhloReply +← 250 mx.example", found["heard"])


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_interrupt_and_another_one(adapter: str) -> None:
    """The second does not wait for the answer."""
    with ScriptedServer(*GREETED, Silence(), timeout=30) as server:
        where = ("--host", server.host, "--port", str(server.port), "--security", "none", "--adapter", adapter)
        patient = "import sys; from smtpproto_adapters.cli import main, sessions; sessions.GRACE = 30; sys.exit(main())"
        with Terminal(sys.executable, "-c", patient, "connect", *where) as terminal:
            terminal.wait_for("EHLO .*\n")
            time.sleep(0.1)
            begin = time.monotonic()
            terminal.press(INTERRUPT)
            time.sleep(0.3)
            terminal.press(INTERRUPT)
            assert terminal.end() == Status.INTERRUPTED
            assert time.monotonic() - begin < 10
            assert terminal.shown.endswith("smtpproto: interrupted\n"), terminal.shown


def test_an_interrupt_while_a_domain_is_looked_up() -> None:
    pytest.importorskip("dns")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = f"127.0.0.1:{silent.getsockname()[1]}"
        with Terminal(*smtpproto("connect", "--mx", "mail.example", "--resolver", resolver)) as terminal:
            silent.recv(1000)  # now it waits for the answer
            terminal.press(INTERRUPT)
            assert terminal.end() == Status.INTERRUPTED
            assert re.fullmatch(rf"(?:\^C)?\r{ENDED}smtpproto: interrupted\n", terminal.shown), terminal.shown


def test_as_data_the_outcome_of_an_interrupt_is_the_last_line_all_the_same() -> None:
    with (
        ScriptedServer(Silence(), timeout=30) as server,
        start("connect", "--host", server.host, "--port", str(server.port), "--json") as process,
    ):
        while not server.connected:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    last = json.loads(out.splitlines()[-1])
    assert (process.returncode, err) == (Status.INTERRUPTED, "")
    assert (last["type"], last["code"], last["name"]) == ("outcome", Status.INTERRUPTED, "INTERRUPTED")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_interrupt_in_the_content(tmp_path: Path, adapter: str) -> None:
    """The bar goes, and the cursor is there again."""
    file = tmp_path / "letter"
    file.write_bytes(b"Subject: long\r\n\r\n" + b"x" * 70 + b"\r\n" + b"many words\r\n" * 4_000_000)
    steps = (
        *GREETED,
        Say(b"250-hi\r\n250 8BITMIME\r\n"),
        Expect(rb"MAIL.*"),
        Say(b"250 ok\r\n"),
        Expect(b"RCPT.*"),
        Say(b"250 ok\r\n"),
        Expect(b"DATA"),
        Say(b"354 go\r\n"),
        Silence(),
    )
    with ScriptedServer(*steps, timeout=30) as server:
        argv = ("send", f"smtp://{server.host}:{server.port}", "--from", "ann@a.example", "--to", "bob@b.example")
        with Terminal(*smtpproto(*argv, str(file), "--adapter", adapter)) as terminal:
            while b"DATA" not in server.received:
                time.sleep(0.01)
            time.sleep(0.3)
            terminal.press(INTERRUPT)
            assert terminal.end() == Status.INTERRUPTED
            assert terminal.shown.endswith("\rsmtpproto: interrupted: the message was not sent\n"), terminal.shown
            assert terminal.raw.count("\x1b[?25l") == terminal.raw.count("\x1b[?25h")


@pytest.mark.parametrize(
    ("argv", "prompt"),
    [
        (("hash-password", "ann"), "Password of ann: "),
        (("connect", "submission://ann@127.0.0.1:1", "--auth"), "Password of ann: "),
        (("connect", "submission://ann@127.0.0.1:1", "--auth", "--token-prompt"), "Token of ann: "),
    ],
)
def test_an_interrupt_at_a_prompt(argv: tuple[str, ...], prompt: str) -> None:
    interrupted(*argv, at=prompt)


def test_the_end_of_the_input_at_a_prompt() -> None:
    with Terminal(*smtpproto("hash-password", "ann")) as terminal:
        terminal.wait_for("Password of ann: ")
        time.sleep(0.2)
        terminal.press("\x04")
        assert terminal.end() == 2
        assert terminal.shown == "Password of ann: \nsmtpproto: no password was given\n"


def test_an_interrupt_before_anything_is_there(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, *_: object) -> None:
            if fullname == "smtpproto_adapters.cli.commands":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "smtpproto_adapters.cli.commands", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    outcome = command("connect", "smtp://127.0.0.1:1")
    assert (outcome.status, outcome.complaint) == (Status.INTERRUPTED, "interrupted")


def test_an_interrupt_before_the_loop_of_asyncio_runs(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left behind that Python would warn of."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncio.run", interrupt)
    outcome = command("connect", "smtp://127.0.0.1:1", "--adapter", "asyncio")
    gc.collect()
    assert (outcome.status, outcome.complaint) == (Status.INTERRUPTED, "interrupted")


def test_an_interrupt_among_the_hosts_of_a_domain(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is not tried."""
    tried: list[str] = []

    def interrupt(options: ConnectOptions, *_: object) -> None:
        tried.append(str(options.host))
        raise KeyboardInterrupt

    def planned(*_: object) -> Plan:
        return Plan("mail.example", hosts)

    names = ("mx1.example", "mx2.example")
    hosts = tuple(Destination(name, 25, Security.OPPORTUNISTIC, name, False, 10, "MX") for name in names)
    monkeypatch.setattr(mx, "_plan", planned)
    monkeypatch.setitem(sessions.RUNNERS, "blocking", interrupt)
    outcome = command("connect", "--mx", "mail.example")
    assert (outcome.status, outcome.complaint, tried) == (Status.INTERRUPTED, "interrupted", ["mx1.example"])
    assert "INTERRUPTED (130)" in outcome.out


@pytest.mark.parametrize("argv", [("explain", "FILE"), ("explain", "FILE", "--json"), ("connect", "URL")])
def test_a_disk_that_is_full(server: LocalServer, tmp_path: Path, argv: tuple[str, ...]) -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("there is no disk that is always full")
    record = tmp_path / "session.txt"
    record.write_text("S: 220 mx.example\nC: QUIT\nS: 221 bye\n")
    words = {"FILE": str(record), "URL": server.url}
    command_line = [sys.executable, "-m", "smtpproto_adapters.cli", *(words.get(word, word) for word in argv)]
    with full.open("w") as output:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            command_line, stdout=output, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    assert done.returncode == Status.CANNOT_WRITE
    assert done.stderr == "smtpproto: cannot write the output: No space left on device\n"


def test_an_interrupt_while_it_serves() -> None:
    """It is how a server is ended, and so no failure; who is connected is told."""
    with Terminal(*smtpproto("serve", "--port", "0")) as terminal:
        port = int(terminal.wait_for(r"smtp://127\.0\.0\.1:[0-9]+").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            assert client.recv(1000).startswith(b"220 ")
            terminal.wait_for("#1 .*220")
            terminal.press(INTERRUPT)
            assert client.recv(1000).startswith(b"421 ")
        assert terminal.end() == 0
        rest = terminal.shown.partition("ended by")[0].rpartition("220")[2]
        assert re.search(r"\r#1 +← 421 .*\n(?:.*\n)*ended; 0 messages arrived\n\Z", rest), terminal.shown
        assert "Traceback" not in terminal.shown


@pytest.mark.parametrize(
    "argv", [("explain", "-"), ("send", "smtp://127.0.0.1:1", "--from", "a@b", "--to", "c@d", "-")]
)
def test_who_types_the_input_is_told_so(argv: tuple[str, ...]) -> None:
    with Terminal(*smtpproto(*argv)) as terminal:
        terminal.wait_for(r"smtpproto: reading from the terminal; \^D on a line of its own ends it\n")


def test_a_session_that_is_typed_is_explained() -> None:
    with Terminal(*smtpproto("explain", "-")) as terminal:
        terminal.wait_for("ends it\n")
        terminal.press("S: 220 mx.example\nC: QUIT\nS: 221 bye\n\x04")
        assert terminal.end() == 0
        assert "the server closes the connection" in terminal.shown or "SUCCESS (0)" in terminal.shown


# How wide it is -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


LONG = "x" * 60 + "@" + "y" * 60 + ".example"


WIDTHS = [
    *(
        (columns, argv)
        for columns in (40, 80, 120)
        for argv in (("connect", "URL"), ("send", "URL", "--from", LONG, "--to", LONG, "FILE", "--verbose"))
    ),
    *(
        (columns, argv)
        for columns in (80, 120)
        for argv in (
            ("--help",),
            ("connect", "--help"),
            ("send", "--help"),
            ("serve", "--help"),
            ("explain", "--help"),
            ("hash-password", "--help"),
            ("connect", "--demo"),
        )
    ),
]


@pytest.mark.parametrize(("columns", "argv"), WIDTHS, ids=lambda each: str(each) if isinstance(each, int) else each[0])
def test_no_line_is_broken_by_the_terminal(
    server: LocalServer, tmp_path: Path, argv: tuple[str, ...], columns: int
) -> None:
    file = tmp_path / "letter"
    file.write_bytes(b"Subject: hello\r\n\r\nhello\r\n")
    words = {"URL": server.url, "FILE": str(file)}
    with Terminal(*smtpproto(*(words.get(word, word) for word in argv)), columns=columns) as terminal:
        assert terminal.end() == 0, terminal.shown
        lines = terminal.shown.split("\n")
    assert max(map(len, lines)) <= columns, max(lines, key=len)


@pytest.mark.parametrize("columns", [30, 80])
def test_a_complaint_is_broken_between_words(columns: int) -> None:
    file = "/no/such/" + "very-long-" * 4 + "name"
    with Terminal(*smtpproto("connect", "smtp://mx.example", "--ca", file), columns=columns) as terminal:
        assert terminal.end() == 2
        *lines, end = terminal.shown.split("\n")
    sentence = f"smtpproto: cannot read the roots to trust from {file}: No such file or directory"
    assert (" ".join(lines), end) == (sentence, "")
    assert all(len(line) <= columns or line == f"{file}:" for line in lines)


@pytest.mark.parametrize("plain", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, "--no-color"])
def test_no_colours_are_shown_where_they_are_not_wanted(server: LocalServer, plain: dict[str, str] | str) -> None:
    option = (plain,) if isinstance(plain, str) else ()
    environment = {} if isinstance(plain, str) else plain
    with Terminal(*smtpproto("connect", server.url, *option), environment=environment) as terminal:
        assert terminal.end() == 0
        assert "SUCCESS (0)" in terminal.raw
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", terminal.raw), terminal.raw
        if environment.get("TERM") == "dumb":
            assert "\x1b" not in terminal.raw


# What is wrong is said in one sentence --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ((), "the following arguments are required: COMMAND; `smtpproto --help` tells what there is"),
        (("serve", "--prot", "3"), "there is no option --prot, but there is --port; `smtpproto serve --help` tells"),
        (("connect", "--zzz=hidden"), "there is no option --zzz; `smtpproto connect --help` tells what there is"),
        (("connect", "smtp://a", "b\nc"), r"'b\nc' is one argument too many; `smtpproto connect --help` tells"),
        (("bogus",), "argument COMMAND: invalid choice: 'bogus' (choose from "),
        (("connect", "--port", "no", "smtp://a"), "port is 'no': it must be a number or one of smtp, lmtp"),
        (("connect", "http://a"), "not a URL of the form scheme://[user@]host[:port], with smtp, smtps"),
        (("connect", "smtp://a:99999"), "port is 99999: it must be between 0 and 65535"),
        (("explain", "/nowhere"), "cannot read /nowhere: No such file or directory"),
        (("explain", "/"), "cannot read /: Is a directory"),
        (("serve", "--port", "65536"), "argument --port: the port must be a number from 0 to 65535"),
        (("serve", "--users", "/dev/null"), "/dev/null names no user"),
    ],
)
def test_what_is_wrong_with_the_arguments(command: Command, argv: tuple[str, ...], sentence: str) -> None:
    outcome = command(*argv)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.complaint.startswith(sentence)
