"""`smtpproto send`: the envelope, the octets, what it says of each recipient, and how it ends."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("rich")
pytest.importorskip("trustme")
pytest.importorskip("trio")

from rich.cells import cell_len
from rich.console import Console

from smtpproto import DeliveryResult, Envelope, ErrorCode, Fate, RecipientResult, Reply, TransportError
from smtpproto_adapters.blocking import Server
from smtpproto_adapters.cli import progress
from smtpproto_adapters.cli.message_file import LONGEST_HEADER, MessageFile
from smtpproto_adapters.cli.send import outcome_of
from smtpproto_adapters.cli.statuses import Status
from smtpproto_adapters.handler import Decision, Handler, ServerSession
from smtpproto_adapters.inbox import Inbox
from smtpproto_adapters.local import LocalServer
from tests.commanding import Command, on_terminal, start, without
from tests.scripted import Close, Expect, ReadAll, Reset, Say, SayPieces, ScriptedServer, Silence, closed_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpproto import Rcpt

ADAPTERS = ("blocking", "asyncio", "trio")
ANN, BOB, CARL, DORA = "ann@client.example", "bob@mx.example", "carl@mx.example", "dora@mx.example"
MESSAGE = b"From: Ann <ann@client.example>\r\nTo: bob@mx.example\r\nSubject: Hello\r\n\r\nHello Bob.\r\n"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def message(tmp_path: Path) -> str:
    return written(tmp_path, MESSAGE)


def written(folder: Path, content: bytes) -> str:
    file = folder / "message.eml"
    file.write_bytes(content)
    return str(file)


class Choosy(Inbox):
    """Refuses some."""

    def rcpt(self, session: ServerSession, command: Rcpt) -> Decision:
        return {
            CARL: Reply(450, "4.2.1 come again"),
            DORA: Reply(550, ("5.1.1 no such user", "5.1.1 ask someone else")),
        }.get(command.forward_path)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(inbox=Choosy()) as server:
        yield server


def to(*recipients: str) -> tuple[str, ...]:
    return ("--from", ANN, *(word for each in recipients for word in ("--to", each)))


# What arrives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_message_is_sent(command: Command, server: LocalServer, message: str, adapter: str) -> None:
    outcome = command("send", server.url, *to(BOB), message, "--adapter", adapter)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"accepted         {BOB}: 250 2.0.0 OK\n"
    (arrived,) = server.inbox.messages
    assert arrived.content == MESSAGE
    assert (arrived.envelope.sender, arrived.envelope.forward_paths) == (ANN, (BOB,))


def test_the_arguments_come_in_any_order(command: Command, server: LocalServer, message: str) -> None:
    assert command("send", "--from", ANN, server.url, "--to", BOB, message, "--to", "eve@mx.example").status == 0
    assert server.inbox[0].envelope.forward_paths == (BOB, "eve@mx.example")


@pytest.mark.parametrize("content", [b"", b".\r\n..\r\n.", b"\r\n", b"no end\r\nof line", b"\xff\xfe \x80\r\n"])
def test_the_octets_are_sent_as_they_are(command: Command, server: LocalServer, tmp_path: Path, content: bytes) -> None:
    assert command("send", server.url, *to(BOB), written(tmp_path, content)).status == 0
    missing_end = b"" if not content or content.endswith(b"\r\n") else b"\r\n"
    assert server.inbox[0].content == content + missing_end


def test_line_ends_become_those_of_mail(command: Command, server: LocalServer, tmp_path: Path) -> None:
    assert command("send", server.url, *to(BOB), written(tmp_path, MESSAGE.replace(b"\r", b""))).status == 0
    assert server.inbox[0].content == MESSAGE


@pytest.mark.parametrize("null", ["", "<>"])
def test_the_null_reverse_path(command: Command, server: LocalServer, message: str, null: str) -> None:
    assert command("send", server.url, "--from", null, "--to", BOB, message).status == 0
    assert server.inbox[0].envelope.sender == ""


EXTENSIONS = ("SIZE", "PIPELINING", "8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8", "DSN")
PARAMETERS: list[tuple[tuple[str, ...], str]] = [
    (("--body", "7bit"), f"MAIL FROM:<{ANN}> SIZE=82 BODY=7BIT"),
    (("--body", "8BITMIME"), f"MAIL FROM:<{ANN}> SIZE=82 BODY=8BITMIME"),
    (("--body", "BINARYMIME"), f"MAIL FROM:<{ANN}> SIZE=82 BODY=BINARYMIME"),
    (("--smtputf8",), f"MAIL FROM:<{ANN}> SIZE=82 BODY=8BITMIME SMTPUTF8"),
    (("--to", "jürgen@mx.example"), f"MAIL FROM:<{ANN}> SIZE=82 BODY=8BITMIME SMTPUTF8"),
    (("--ret", "hdrs", "--envid", "a+b"), f"MAIL FROM:<{ANN}> SIZE=82 BODY=8BITMIME RET=HDRS ENVID=a+2Bb"),
    (("--notify", "never"), f"RCPT TO:<{BOB}> NOTIFY=NEVER"),
    (("--notify", "delay,success"), f"RCPT TO:<{BOB}> NOTIFY=SUCCESS,DELAY"),
    (("--chunking",), "BDAT 82 LAST"),
    (("--no-chunking",), "DATA"),
]


@pytest.mark.parametrize(("argv", "line"), PARAMETERS, ids=[" ".join(argv) for argv, _ in PARAMETERS])
def test_a_parameter(command: Command, message: str, argv: tuple[str, ...], line: str) -> None:
    with LocalServer(extensions=EXTENSIONS) as server:
        outcome = command("send", server.url, *to(BOB), *argv, message, "--json", "--verbose")
    assert outcome.status == 0
    sent = [each["line"] for each in outcome.objects if each["type"] == "sent"]
    assert line in sent
    assert ("DATA" in sent) is (argv == ("--no-chunking",))


def test_tls_on_every_hop(command: Command, message: str) -> None:
    with LocalServer(tls="starttls", extensions=("REQUIRETLS", "8BITMIME")) as server:
        outcome = command("send", server.url, *to(BOB), "--require-tls", message, "--ca", server.ca_file)
    assert outcome.status == 0
    assert server.inbox[0].envelope.mail.require_tls
    assert server.inbox[0].tls is not None


def test_authenticated(command: Command, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2!")
    with LocalServer(tls="implicit", credentials={"ann": "hunter2!"}, require_auth=True) as server:
        outcome = command(
            *("send", server.url, *to(BOB), message, "--verbose", "--ca", server.ca_file),
            *("--auth", "--username", "ann", "--password-env", "MAIL_PASSWORD"),
        )
    assert outcome.status == 0
    identity = server.inbox[0].identity
    assert identity is not None
    assert identity.username == "ann"
    assert "hunter2!" not in outcome.out


def test_lmtp_answers_for_each_recipient(command: Command, message: str) -> None:
    with LocalServer(lmtp=True, inbox=Choosy()) as server:
        outcome = command("send", server.url, *to(BOB, DORA, "eve@mx.example"), message)
    assert outcome.status == Status.REFUSED
    assert [line[:17].strip() for line in outcome.out.splitlines()] == ["accepted", "refused for good", "accepted"]


# The envelope of the header ----------------------------------------------------------------------------------------

HEADERS: list[tuple[bytes, str, tuple[str, ...]]] = [
    (MESSAGE, ANN, (BOB,)),
    (b"From: a@a.example, b@b.example\nSender: b@b.example\nTo: x@x.example\n\n", "b@b.example", ("x@x.example",)),
    (
        b"from: ann@client.example\nTO: Bob\n <bob@mx.example>\nCc: bob@MX.example, eve@mx.example\n",
        ANN,
        (BOB, "eve@mx.example"),
    ),
    (b"From: ann@client.example\nBcc: bob@mx.example\n\nbody\n", ANN, (BOB,)),
    (
        b"Resent-From: ann@client.example\nResent-To: bob@mx.example\nFrom: x@x.example\nTo: y@y.example\n\n",
        ANN,
        (BOB,),
    ),
    (b"Content-Type: multipart/mixed\nFrom: ann@client.example\nTo: bob@mx.example\n\n--x\n", ANN, (BOB,)),
    (b"Subject: \xff\xfe\nX: =?x?q?=ff?=\nFrom: ann@client.example\nTo: bob@mx.example\n\n", ANN, (BOB,)),
]


@pytest.mark.parametrize(("content", "sender", "recipients"), HEADERS)
def test_the_header_is_the_envelope(
    command: Command, server: LocalServer, tmp_path: Path, content: bytes, sender: str, recipients: tuple[str, ...]
) -> None:
    assert command("send", server.url, "-t", written(tmp_path, content)).status == 0
    assert server.inbox[0].envelope.sender == sender
    assert server.inbox[0].envelope.forward_paths == recipients


@pytest.mark.parametrize(
    ("argv", "sender", "recipients"),
    [(("--from", "x@x.example"), "x@x.example", (BOB,)), (("--to", "y@y.example"), ANN, ("y@y.example",))],
)
def test_what_is_given_goes_before_the_header(
    command: Command, server: LocalServer, message: str, argv: tuple[str, ...], sender: str, recipients: tuple[str, ...]
) -> None:
    assert command("send", server.url, "--from-headers", *argv, message).status == 0
    assert server.inbox[0].envelope.sender == sender
    assert server.inbox[0].envelope.forward_paths == recipients


@pytest.mark.parametrize("standard_input", [False, True])
def test_who_is_hidden_stays_so(command: Command, server: LocalServer, tmp_path: Path, standard_input: bool) -> None:
    hidden = b"bCC: eve@mx.example,\r\n\tdan@mx.example\r\nX: y\r\n"
    body = b"\r\nBcc: this is text\r\n" + b"more text\r\n" * 20_000
    head = b"From: ann@client.example\r\nTo: bob@mx.example\r\n"
    file = written(tmp_path, head + hidden + body)
    with standard_input_from(file if standard_input else os.devnull):
        outcome = command("send", server.url, "-t", "-" if standard_input else file)
    assert outcome.status == 0
    (arrived,) = server.inbox.messages
    assert arrived.content == head + b"X: y\r\n" + body
    assert arrived.envelope.forward_paths == (BOB, "eve@mx.example", "dan@mx.example")


def test_an_address_that_is_not_ascii_needs_no_option(command: Command, server: LocalServer, tmp_path: Path) -> None:
    content = "From: Jürgen <jürgen@client.example>\nTo: bob@mx.example\n\n".encode()
    assert command("send", server.url, "-t", written(tmp_path, content)).status == 0
    assert server.inbox[0].envelope.sender == "jürgen@client.example"


BAD_HEADERS: list[tuple[bytes, str]] = [
    (b"", "no address in From"),
    (b"no header at all", "no address in From"),
    (b"From: ann@client.example\n\nTo: bob@mx.example\n", "--to"),
    (b"From: ann@client.example\nTo: bob\x00@mx.example\n\n", "header field To"),
    (b"From: ann@client.example\nTo: bob@\n\n", "header field To"),
    (b"From: not an address\nTo: bob@mx.example\n\n", "--from"),
    (b"From: a@a.example\n" + b"Resent-To: b@b.example\n" * 2 + b"\n", "--from and --to"),
    (b"From: a@a.example\nX: " + b"x" * LONGEST_HEADER, "more than 1048576 octets"),
]


@pytest.mark.parametrize(("content", "why"), BAD_HEADERS, ids=[why for _, why in BAD_HEADERS])
def test_a_header_that_is_no_envelope(command: Command, tmp_path: Path, content: bytes, why: str) -> None:
    outcome = command("send", f"smtp://127.0.0.1:{closed_port()}", "-t", written(tmp_path, content))
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert why in outcome.complaint
    assert "=" not in outcome.complaint


# Standard input ----------------------------------------------------------------------------------------------------


class standard_input_from:  # noqa: N801 - it reads like a function
    """Lets the descriptor 0 be a file."""

    def __init__(self, file: str) -> None:
        self._file = file

    def __enter__(self) -> None:
        self._before = os.dup(0)
        descriptor = os.open(self._file, os.O_RDONLY)
        os.dup2(descriptor, 0)
        os.close(descriptor)

    def __exit__(self, *exception: object) -> None:
        os.dup2(self._before, 0)
        os.close(self._before)


@pytest.mark.parametrize("argv", [("-t",), to(BOB)])
def test_a_pipe(server: LocalServer, argv: tuple[str, ...]) -> None:
    process = start("send", server.url, *argv, "-", stdin=subprocess.PIPE)
    out, err = process.communicate(MESSAGE.decode(), timeout=20)
    assert (process.returncode, out, err) == (0, f"accepted         {BOB}: 250 2.0.0 OK\n", "")
    assert server.inbox[0].content == MESSAGE


def test_a_file_that_is_read_from_its_middle(command: Command, server: LocalServer, message: str) -> None:
    with standard_input_from(message):
        os.lseek(0, 6, os.SEEK_SET)
        assert command("send", server.url, *to(BOB), "-").status == 0
        os.lseek(0, 32, os.SEEK_SET)
        assert command("send", server.url, "-t", "--from", ANN, "-").status == 0
    assert [each.content for each in server.inbox] == [MESSAGE[6:], MESSAGE[32:]]


def test_a_descriptor_that_does_not_wait() -> None:
    reading, writing = os.pipe()
    before = os.dup(0)
    os.dup2(reading, 0)
    os.set_blocking(0, False)
    process = subprocess.Popen(["/bin/sh", "-c", "sleep 0.3; echo Hello"], stdout=writing)
    try:
        os.close(writing)
        with MessageFile("-") as file:
            assert (file.read(100), file.read(100)) == (b"Hello\n", b"")
    finally:
        os.dup2(before, 0)
        for each in (before, reading):
            os.close(each)
        process.wait(10)


def test_standard_input_is_one_thing_only(command: Command) -> None:
    outcome = command("send", "smtp://u@h", *to(BOB), "-", "--auth", "--password-file", "-")
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert "cannot be both" in outcome.complaint


# What makes no sense -----------------------------------------------------------------------------------------------

URL = "smtp://127.0.0.1:1"
REFUSED: list[tuple[tuple[str, ...], str]] = [
    ((URL,), "FILE"),
    ((URL, "FILE"), "give --from"),
    ((URL, "FILE", "--to", BOB), "give --from"),
    ((URL, "FILE", "--from", ANN), "give --to"),
    ((URL, "FILE", *to(BOB), "-t"), "leave out one of them"),
    ((URL, "/not/there", *to(BOB)), "cannot read /not/there: No such file"),
    ((URL, "/not/there", "-t"), "cannot read /not/there: No such file"),
    ((URL, "/", *to(BOB)), "cannot read /: Is a directory"),
    ((URL, "a\0b", *to(BOB)), "cannot read a\\x00b"),
    ((URL, "FILE", *to("bob")), "'bob' is no mailbox"),
    ((URL, "FILE", *to("b ob@mx.example")), "no mailbox"),
    ((URL, "FILE", *to("bob@mx.example>\r\nRSET")), "no mailbox"),
    ((URL, "FILE", *to("b\udcffb@mx.example")), "no character"),
    ((URL, "FILE", "--from", "<a@b>", "--to", BOB), "no mailbox"),
    ((URL, "FILE", *to(BOB), "--body", "9bit"), "--body"),
    ((URL, "FILE", *to(BOB), "--notify", "now"), "NEVER alone"),
    ((URL, "FILE", *to(BOB), "--notify", "never,delay"), "NEVER alone"),
    ((URL, "FILE", *to(BOB), "--envid", "x" * 101), "1 to 100"),
    ((URL, "FILE", *to(BOB), "--timeout", "server=3"), "none of the waits"),
    ((URL, "FILE", *to(BOB), "--ca", "/not/there"), "/not/there: No such file"),
    (("http://h", "FILE", *to(BOB)), "not a URL"),
    (("smtp://u:pw@h", "FILE", *to(BOB)), "does not belong in the URL"),
    ((URL, "FILE", *to(BOB), "--auth"), "--auth needs a user name"),
]


@pytest.mark.parametrize(("argv", "why"), REFUSED, ids=[" ".join(argv) for argv, _ in REFUSED])
def test_what_makes_no_sense_is_refused_in_one_sentence(
    command: Command, message: str, argv: tuple[str, ...], why: str
) -> None:
    outcome = command("send", *(message if word == "FILE" else word for word in argv))
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert why in outcome.complaint
    assert outcome.out == ""


def test_json_tells_what_makes_no_sense(command: Command) -> None:
    outcome = command("send", URL, *to(BOB), "/not/there", "--json")
    assert (outcome.code, outcome.err) == (ErrorCode.INVALID_ARGUMENT, "")
    (only,) = outcome.objects
    assert (only["type"], only["name"], only["stage"]) == ("outcome", "INVALID_ARGUMENT", "OPTIONS")


def test_help_fits_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = command("send", "--help")
    assert outcome.status == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    for status in Status:
        if status in range(50, 60):
            assert str(int(status)) in outcome.out


def test_the_statuses_are_no_error_codes() -> None:
    assert not {int(each) for each in Status if each is not Status.NOT_INSTALLED} & {int(each) for each in ErrorCode}


# What a server can say ---------------------------------------------------------------------------------------------


def test_each_recipient_has_a_line(command: Command, server: LocalServer, message: str) -> None:
    outcome = command("send", server.url, *to(BOB, CARL, DORA), message)
    assert outcome.status == Status.REFUSED
    assert outcome.out.splitlines() == [
        f"accepted         {BOB}: 250 2.0.0 OK",
        f"refused for now  {CARL}: 450 4.2.1 come again",
        f"refused for good {DORA}: 550 5.1.1 no such user 5.1.1 ask someone else",
    ]
    assert outcome.complaint.startswith(f"refused for good: {DORA}: 550-5.1.1 no such user")
    assert outcome.complaint.endswith("accepted for 1 of 3 recipients")
    assert server.inbox[0].envelope.forward_paths == (BOB,)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("recipients", "status"),
    [((BOB,), 0), ((BOB, CARL), Status.DEFERRED), ((DORA, CARL), Status.REFUSED), ((DORA,), Status.REFUSED)],
)
def test_the_worst_is_the_status(
    command: Command, server: LocalServer, message: str, recipients: tuple[str, ...], status: int, adapter: str
) -> None:
    assert command("send", server.url, *to(*recipients), message, "--adapter", adapter).status == status


FAULTS: list[tuple[str, str, int, str]] = [
    ("reply", "MAIL", Status.DEFERRED, "refused for now"),
    ("reply", "DATA", Status.DEFERRED, "refused for now"),
    ("reply", ".", Status.DEFERRED, "refused for now"),
    ("drop", "MAIL", Status.NOT_SENT, "not sent"),
    ("drop", "DATA", Status.NOT_SENT, "not sent"),
    ("drop", ".", Status.UNKNOWN, "unknown"),
    ("garbage", "RCPT", Status.NOT_SENT, "not sent"),
    ("garbage", ".", Status.UNKNOWN, "unknown"),
    ("garbage", "QUIT", 0, "accepted"),
    ("drop", "QUIT", 0, "accepted"),
]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(("fault", "when", "status", "fate"), FAULTS)
def test_what_goes_wrong(
    command: Command,
    server: LocalServer,
    message: str,
    fault: str,
    when: str,
    status: int,
    fate: str,
    adapter: str,
) -> None:
    match fault:
        case "reply":
            server.faults.reply(when, Reply(451, "4.3.0 not now"))
        case "drop":
            server.faults.drop(when)
        case _:
            server.faults.garbage(when, b"\x1b[31mHTTP/1.1 200 OK\r\n")
    outcome = command("send", server.url, *to(BOB), message, "--no-chunking", "--adapter", adapter)
    assert outcome.status == status
    assert outcome.out.startswith(f"{fate:16} {BOB}")
    if status:
        assert outcome.complaint.startswith(f"{fate}: {BOB}")
        assert "\x1b" not in outcome.complaint
    if status == Status.UNKNOWN:
        assert "it may have been delivered" in outcome.complaint


def test_a_server_that_does_not_answer_the_content(command: Command, server: LocalServer, message: str) -> None:
    server.faults.delay(".", 30)
    begin = time.monotonic()
    outcome = command("send", server.url, *to(BOB), message, "--no-chunking", "--timeout", "data_termination=0.3")
    assert time.monotonic() - begin < 10
    assert outcome.status == Status.UNKNOWN


def test_a_server_that_takes_its_time_for_the_farewell(server: LocalServer, message: str) -> None:
    """What became of the message is known before."""
    server.faults.delay("QUIT", 60)
    with start("send", server.url, *to(BOB), message) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"accepted         {BOB}: 250 2.0.0 OK\n"
        process.send_signal(signal.SIGINT)
        rest, complaint = process.communicate(timeout=20)
    assert (process.returncode, rest) == (130, "")
    assert complaint == "smtpproto: interrupted: the message was sent, and answered\n"


UNSUITABLE: list[tuple[tuple[str, ...], bytes, tuple[str, ...], str]] = [
    (("SIZE 100",), b"x" * 101, (), "101 octets, more than the 100 of SIZE"),
    (("PIPELINING",), b"\xff", (), "8BITMIME"),
    (("8BITMIME",), b"x", ("--smtputf8",), "SMTPUTF8"),
    (("8BITMIME",), b"x", ("--to", "jürgen@mx.example"), "SMTPUTF8"),
    (("8BITMIME",), b"x", ("--ret", "FULL"), "DSN"),
    (("8BITMIME",), b"x", ("--require-tls",), "REQUIRETLS"),
    (("8BITMIME",), b"x", ("--chunking",), "CHUNKING"),
    (("8BITMIME",), b"x\0", (), "NUL"),
]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(("offer", "content", "argv", "why"), UNSUITABLE)
def test_a_message_that_the_server_does_not_take(
    command: Command,
    tmp_path: Path,
    offer: tuple[str, ...],
    content: bytes,
    argv: tuple[str, ...],
    why: str,
    adapter: str,
) -> None:
    with LocalServer(extensions=offer) as server:
        outcome = command("send", server.url, *to(BOB), *argv, written(tmp_path, content), "--adapter", adapter)
    assert outcome.status == Status.UNSUITABLE
    assert outcome.out.splitlines()[0] == f"not sent         {BOB}"
    assert outcome.complaint.startswith("the message was not sent: ")
    assert why in outcome.complaint
    assert not server.inbox


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("how", ["in the middle", "at once"])
def test_a_file_that_breaks_off(
    command: Command,
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    adapter: str,
) -> None:
    """As files do on a disk that fails, or on a server that went away."""
    file = written(tmp_path, b"x" * 70 + b"\r\n" + b"y" * 500_000)
    real = io.FileIO.read
    count = 0

    def read(self: MessageFile, size: int | None) -> bytes:
        nonlocal count
        count += 1
        if how == "at once" or count == 3:
            raise OSError(5, "Input/output error")
        return real(self, -1 if size is None else size)

    monkeypatch.setattr(MessageFile, "_read", read)
    outcome = command("send", server.url, *to(BOB, CARL), file, "--adapter", adapter)
    assert outcome.status == Status.NOT_SENT
    assert outcome.out == f"not sent         {BOB}\nnot sent         {CARL}\n"
    assert outcome.complaint == f"the message was not sent: cannot read {file}: Input/output error"
    assert not server.inbox


def test_a_connection_that_cannot_be_made(command: Command, message: str) -> None:
    outcome = command("send", f"smtp://127.0.0.1:{closed_port()}", *to(BOB), message)
    assert outcome.code is ErrorCode.CONNECTION_REFUSED
    assert outcome.out == ""
    assert "refuses" in outcome.complaint


def test_a_certificate_that_is_not_trusted(command: Command, message: str) -> None:
    with LocalServer(tls="implicit") as server:
        outcome = command("send", server.url, *to(BOB), message)
    assert outcome.code is ErrorCode.CERTIFICATE_NOT_TRUSTED
    assert "--ca" in outcome.complaint
    assert not server.inbox


HELLO = (Say(b"220 hi\r\n"), Expect(rb"EHLO .+"), Say(b"250 hi\r\n"))
ENVELOPE = (
    *(Expect(rb"MAIL FROM:<ann@client\.example>"), Say(b"250 ok\r\n")),
    *(Expect(rb"RCPT TO:<bob@mx\.example>"), Say(b"250 ok\r\n")),
    *(Expect(rb"DATA"), Say(b"354 go\r\n")),
)
CONTENT = tuple(Expect(re.escape(line)) for line in MESSAGE.split(b"\r\n")[:-1])
SCRIPTS: list[tuple[tuple[object, ...], int]] = [
    ((*HELLO, Expect(rb"MAIL .+"), Reset()), Status.NOT_SENT),
    ((*HELLO, Expect(rb"MAIL .+"), Say(b"250"), Close()), Status.NOT_SENT),
    ((*HELLO, Expect(rb"MAIL .+"), Say(b"354 go\r\n"), ReadAll()), Status.NOT_SENT),
    ((*HELLO, Expect(rb"MAIL .+"), Say(b"421 no\r\n"), Close()), Status.DEFERRED),
    ((*HELLO, *ENVELOPE, *CONTENT, Expect(rb"\."), Reset()), Status.UNKNOWN),
    ((*HELLO, *ENVELOPE, *CONTENT, Expect(rb"\."), Say(b"250 " + b"x" * 100_000), ReadAll()), Status.UNKNOWN),
    ((*HELLO, *ENVELOPE, *CONTENT, Expect(rb"\."), Say(b"421 no\r\n"), Close()), Status.DEFERRED),
    ((*HELLO, *ENVELOPE, *CONTENT, Expect(rb"\."), Say(b"250 \xff\xfe\x1b[0m\r\n"), Expect(rb"QUIT"), Close()), 0),
]


@pytest.mark.parametrize(("steps", "status"), SCRIPTS)
@pytest.mark.parametrize("json_wanted", [False, True])
def test_a_bad_server(
    command: Command, message: str, steps: tuple[object, ...], status: int, json_wanted: bool
) -> None:
    with ScriptedServer(*steps) as server:  # type: ignore[arg-type]
        url = f"smtp://{server.host}:{server.port}"
        outcome = command("send", url, *to(BOB), message, "--timeout", "10", *(["--json"] if json_wanted else []))
    assert outcome.status == status
    assert [each for each in outcome.out + outcome.err if not each.isprintable() and each != "\n"] == []
    if json_wanted:
        recipient, last = outcome.objects
        assert recipient["type"] == "recipient"
        assert (last["code"], outcome.err) == (status, "")
    elif status:
        assert outcome.complaint


def test_a_secret_that_is_repeated_is_not_shown(
    command: Command, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2!")
    steps = (
        *(Say(b"220 hi\r\n"), Expect(rb"EHLO .+"), Say(b"250-hi\r\n250 AUTH PLAIN\r\n")),
        *(Expect(rb"AUTH PLAIN .+"), Say(b"235 ok\r\n")),
        *(Expect(rb"MAIL .+"), Say(b"550 did you not say hunter2!\r\n"), Expect(rb"QUIT"), Close()),
    )
    with ScriptedServer(*steps) as server:
        outcome = command(
            *("send", f"smtp://ann@{server.host}:{server.port}", *to(BOB), message, "--verbose"),
            *("--auth", "--password-env", "MAIL_PASSWORD", "--allow-plaintext-auth", "--security", "none"),
        )
    assert outcome.status == Status.REFUSED
    assert "hunter2!" not in outcome.out + outcome.err
    assert "550 did you not say <redacted>" in outcome.out
    assert "550 did you not say <redacted>" in outcome.complaint


# How it looks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_ladder(command: Command, server: LocalServer, message: str, adapter: str) -> None:
    outcome = command("send", server.url, *to(BOB, DORA), message, "--verbose", "--no-chunking", "--adapter", adapter)
    assert outcome.status == Status.REFUSED
    said = [line[17:].split(" SIZE")[0] for line in outcome.out.splitlines() if line[17:18] in tuple("→←")]
    assert said[3:] == [
        f"→ MAIL FROM:<{ANN}>",
        f"→ RCPT TO:<{BOB}>",
        f"→ RCPT TO:<{DORA}>",
        "→ DATA",
        "← 250 2.1.0 OK",
        "← 250 2.1.5 OK",
        "← 550-5.1.1 no such user",
        "← 354 end data with <CR><LF>.<CR><LF>",
        "→ (content: 82 octets)",
        "→ .",
        "← 250 2.0.0 OK",
        "→ QUIT",
        "← 221 2.0.0 bye",
    ]
    *_, blank, first, second, empty, last = outcome.out.splitlines()
    assert (blank, empty) == ("", "")
    assert first.startswith("accepted  ")
    assert second.startswith("refused for good ")
    assert last.startswith("REFUSED (52) after ")


def test_json(command: Command, server: LocalServer, message: str) -> None:
    outcome = command("send", server.url, *to(BOB, CARL), message, "--json")
    assert (outcome.status, outcome.err) == (Status.DEFERRED, "")
    found = outcome.objects
    for each in found:
        del each["time"]
    assert found[0] == {
        "type": "recipient",
        "recipient": BOB,
        "fate": "ACCEPTED",
        "reply": {"code": 250, "enhanced": "2.0.0", "lines": ["2.0.0 OK"]},
    }
    assert (found[1]["fate"], found[1]["reply"]["code"]) == ("DEFERRED", 450)
    assert found[2] == {
        "type": "outcome",
        "code": 50,
        "name": "DEFERRED",
        "message": f"refused for now: {CARL}: 450 4.2.1 come again; accepted for 1 of 2 recipients",
        "stage": None,
        "retryable": True,
        "error": None,
    }


def test_json_needs_no_rich(
    command: Command, server: LocalServer, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "rich", "cli.ladder", "cli.progress")
    assert command("send", server.url, *to(BOB), message, "--json").status == 0
    outcome = command("send", server.url, *to(BOB), message)
    assert outcome.status == Status.NOT_INSTALLED
    assert outcome.complaint == "rich is not installed: pip install 'smtpproto-sansio[cli]'"


def test_json_shows_all_of_it_where_that_is_wanted(command: Command, server: LocalServer, message: str) -> None:
    outcome = command("send", server.url, *to(BOB), message, "--json", "--verbose", "--no-chunking")
    kinds = [each.get("command") or each.get("event") or each["type"] for each in outcome.objects]
    assert kinds[-10:] == [
        *("ReplyReceived", "ReplyReceived", "ContentWanted", "content", "EndOfData", "ReplyReceived"),
        *("recipient", "Quit", "ReplyReceived", "outcome"),
    ]


@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_is_not_too_narrow(
    command: Command, message: str, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    class Talkative(Inbox):
        def rcpt(self, session: ServerSession, command: Rcpt) -> Decision:
            return Reply(550, "5.1.1 " + "very " * 30 + "long" * 60)

    on_terminal(monkeypatch, columns)
    with LocalServer(inbox=Talkative()) as server:
        outcome = command("send", server.url, *to(BOB, "x" * 60 + "@mx.example"), message, "--no-color")
    assert max(cell_len(line) for line in outcome.out.splitlines()) <= columns
    assert re.sub(r"\s", "", outcome.out).count("long" * 60) == 2


@pytest.mark.parametrize("how", ["pipe", "--no-color", "NO_COLOR", "neither"])
def test_colours_are_for_terminals_that_want_them(
    command: Command, server: LocalServer, message: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    on_terminal(monkeypatch)
    if how == "pipe":
        monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    if how == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    outcome = command("send", server.url, *to(BOB), message, *(["--no-color"] if how == "--no-color" else []))
    assert ("\x1b[" in outcome.out) is (how == "neither")


# Waiting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("terminal", "patience", "bar"), [(True, 0.0, True), (True, 60.0, False), (False, 0.0, False)])
@pytest.mark.parametrize("argv", [(), ("--verbose",)])
def test_a_bar_for_those_who_wait(
    command: Command,
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    patience: float,
    bar: bool,
    argv: tuple[str, ...],
) -> None:
    if terminal:
        on_terminal(monkeypatch)
    monkeypatch.setattr(progress, "PATIENCE", patience)
    file = written(tmp_path, b"0123456789abcde\n" * 65_536)
    outcome = command("send", server.url, *to(BOB), file, *argv)
    assert outcome.status == 0
    assert (re.search(r"\d\.\d/1\.0 MB", outcome.out) is not None) is bar
    assert len(server.inbox[0].content) == 65_536 * 17


def test_nobody_knows_how_long_a_pipe_is() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80, legacy_windows=False)
    with progress.ProgressBar(console) as bar:
        bar.update(10_000, None)
        time.sleep(progress.PATIENCE + 0.05)
        bar.update(2_000_000, None)
    assert "2.0/? MB" in shown.getvalue()


def test_a_dumb_terminal_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    shown = io.StringIO()
    with progress.ProgressBar(Console(file=shown, force_terminal=True)) as bar:
        bar.update(1, 2)
    assert shown.getvalue() == ""


class Sink(Handler):
    """Counts octets."""

    octets = 0

    def content(self, session: ServerSession, data: bytes) -> Decision:
        self.octets += len(data)
        return None


@pytest.mark.parametrize("argv", [to(BOB), ("-t",), ("-t", "--no-chunking")])
def test_memory_is_bounded(command: Command, tmp_path: Path, argv: tuple[str, ...]) -> None:
    """With a header that has to be changed, too."""
    head = MESSAGE.replace(b"Subject", b"Bcc: eve@mx.example\r\nSubject")
    line = b"x" * 998 + b"\r\n"
    file = tmp_path / "large.eml"
    with file.open("wb") as out:
        out.write(head)
        out.writelines(line * 1000 for _ in range(20))
    sink = Sink()
    with Server(sink) as server:
        url = f"smtp://{server.host}:{server.port}"
        assert command("send", url, *argv, str(file)).status == 0  # what is imported is no matter
        tracemalloc.start()
        try:
            assert command("send", url, *argv, str(file)).status == 0
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sink.octets >= 2 * 20_000_000
    assert peak < 4_000_000  # both sides


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ((Silence(),), "interrupted: the message was not sent"),
        ((*HELLO, Expect(rb"MAIL .+"), Silence()), "interrupted: the message was not sent"),
        (
            (*HELLO, *ENVELOPE, *CONTENT, Expect(rb"\."), Silence()),
            "interrupted: the message may have been sent, and delivered",
        ),
    ],
)
def test_an_interrupt(message: str, steps: tuple[object, ...], sentence: str, adapter: str) -> None:
    with ScriptedServer(*steps, timeout=30) as server:  # type: ignore[arg-type]
        url = f"smtp://{server.host}:{server.port}"
        json_wanted = adapter == "trio"
        argv = ["--adapter", adapter, *(["--json"] if json_wanted else [])]
        with start("send", url, *to(BOB), message, *argv) as process:
            wanted = {1: b"", 5: b"MAIL"}.get(len(steps), b"\r\n.\r\n")
            while not (server.connected and wanted in server.received):
                time.sleep(0.01)
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    if json_wanted:
        assert (err, sentence in out) == ("", True)
    else:
        assert (out, err) == ("", f"smtpproto: {sentence}\n")


def test_an_answer_that_comes_within_the_grace_is_told(message: str) -> None:
    """Whoever presses ^C then need not wonder whether to send it again."""
    answer = SayPieces((b"25", b"0 taken as 42\r\n"), 0.7)
    farewell = (Expect(b"QUIT"), Say(b"221 bye\r\n"))
    steps = (*HELLO, *ENVELOPE, *CONTENT, Expect(rb"\."), answer, *farewell)
    with (
        ScriptedServer(*steps, timeout=30) as server,  # type: ignore[arg-type]
        start("send", f"smtp://{server.host}:{server.port}", *to(BOB), message) as process,
    ):
        while b"\r\n.\r\n" not in server.received:
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    said = "smtpproto: interrupted: the message was sent, and the server said 250 taken as 42\n"
    assert (process.returncode, out, err) == (130, "", said)


def test_what_is_our_own_fault_is_not_hidden(command: Command, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from smtpproto_adapters.cli import sessions

    def broken(*_: object) -> None:
        raise ExceptionGroup("a nursery", [ZeroDivisionError()])

    monkeypatch.setitem(sessions.RUNNERS, "blocking", broken)
    with pytest.raises(ExceptionGroup):
        command("send", "smtp://127.0.0.1:1", *to(BOB), message)


# The pieces ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", list(Fate))
def test_every_fate_has_a_status(fate: Fate) -> None:
    envelope = Envelope(ANN, [BOB, CARL])
    error = TransportError("it broke", ErrorCode.CLOSED_BY_PEER)
    results = tuple(RecipientResult(each, fate, None) for each in envelope.recipients)
    outcome = outcome_of(DeliveryResult(envelope, results, None, error))
    assert outcome.name == ("SUCCESS" if fate is Fate.ACCEPTED else fate.name)
    assert outcome.retryable is (fate in (Fate.DEFERRED, Fate.NOT_SENT))
    if fate is not Fate.ACCEPTED:
        assert outcome.sentence.startswith(f"{fate.value}: {BOB}; it broke; accepted for 0 of 2 recipients")
