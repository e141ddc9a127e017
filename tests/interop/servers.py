"""What the fixtures for real servers share: the value that describes one, its certificate, its processes, its ports."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

HOST = "127.0.0.1"
HOST_NAMES = ("localhost", HOST, "mail.example.test")
"""What the servers' certificates are made out for."""

DOMAIN = "example.test"
CROWD = tuple(f"u{number:03}" for number in range(1, 101))
"""A hundred local parts for one transaction: what RFC 5321 section 4.5.3.1.8 wants a server to take."""
MAILBOXES = ("user", "uni", "other", "postmaster", "jörg", *CROWD)
"""The local parts that the servers deliver to; every other one is refused with 550."""

SIZE = 1048576
LARGE_SIZE = 30 * SIZE
"""Octets in one message that the servers take: at their `large` port, and at the others."""

START_SECONDS = 60.0
GRACE_SECONDS = 5.0
"""How long a server may take to listen, and to end before it is killed."""

IDLE_SECONDS = 1
"""How long a server waits for the next command at its `idle` port."""

LONGEST_SOCKET_PATH = 100
"""Octets; the kernel takes 108 (unix(7)), less some room for what the servers append."""


class ServerError(Exception):
    """A server that is installed did not start: never a reason to skip."""


@dataclass(frozen=True, slots=True)
class User:
    """One who may log in at the server's `submission` and `smtps` ports, over TLS only."""

    login: str
    password: str


USER = User(f"user@{DOMAIN}", "secret-Pass1")
UNI = User(f"uni@{DOMAIN}", "pass-Wörd 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where one server listens, by role."""

    plain: int
    """As an MX does: STARTTLS is offered, authentication is not, mail for `example.test` is taken."""
    submission: int
    """STARTTLS is demanded (530 before it), then authentication is offered."""
    smtps: int
    """TLS from the first octet, then authentication is offered."""
    large: int
    """As `plain`, for messages of up to `LARGE_SIZE` octets; all the others take `SIZE`."""
    idle: int = 0
    """As `plain`, but it leaves whoever says nothing for `IDLE_SECONDS`; 0: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """A real server on loopback that delivers into maildirs, and what a test needs in order to look into them."""

    name: str
    version: str
    """As the package reports it."""
    ca: Path
    """PEM file of the root that the server's certificate hangs on (an intermediate is between the two)."""
    mail_folder: Path
    """Holds a maildir for each of `MAILBOXES`."""
    log: Path
    mechanisms: frozenset[str]
    """What AUTH offers over TLS."""
    line_end: bytes = b"\n"
    """What ends the lines of the files in the maildirs; on the wire it is CRLF."""
    host: str = HOST
    host_names: tuple[str, ...] = HOST_NAMES
    user: User = USER
    uni: User = UNI
    """Has a password that is not ASCII and holds a space."""

    def client_context(self) -> ssl.SSLContext:
        """A verifying client context which trusts this server's root and no other."""
        return ssl.create_default_context(cafile=str(self.ca))

    def files(self, mailbox: str) -> list[Path]:
        """The messages that lie in the mailbox (a local part), each in a file, in no particular order."""
        return list((self.mail_folder / mailbox / "new").glob("*"))

    def messages(self, mailbox: str) -> list[bytes]:
        """What was delivered to the mailbox until now, in no particular order."""
        return [entry.read_bytes() for entry in self.files(mailbox)]

    def clear(self, mailbox: str) -> None:
        """Throw away what lies in the mailbox."""
        for entry in self.files(mailbox):
            entry.unlink()

    def wait_for_content(self, mailbox: str, marker: bytes, seconds: float = 10.0) -> bytes:
        """As `wait_for_message`, with the line ends of the wire, and without the fields that the server put before it.

        Raises AssertionError where the server has put together lines of its own and ones with another end.
        """
        message = self.wait_for_message(mailbox, marker, seconds)
        if self.line_end != b"\r\n":
            assert b"\r" not in message, f"{self.name} kept a CR in {message[:2000]!r}"
            message = message.replace(self.line_end, b"\r\n")
        return without_trace(message)

    def wait_for_message(self, mailbox: str, marker: bytes, seconds: float = 10.0) -> bytes:
        """The message in the mailbox that holds `marker`; delivery happens after the reply to the end of the data.

        Raises AssertionError, with the end of the server's log, where none arrives in time.
        """
        deadline = time.monotonic() + seconds
        others: set[Path] = set()
        while True:
            for entry in set(self.files(mailbox)) - others:
                message = entry.read_bytes()
                if marker in message:
                    return message
                others.add(entry)
            if time.monotonic() >= deadline:
                raise AssertionError(
                    f"{self.name} delivered no message with {marker!r} to {mailbox!r} within {seconds} s. "
                    f"The end of its log:\n{tail(self.log)}"
                )
            time.sleep(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer(MailServer):
    """An SMTP server: a mail exchanger, and a submission server for those who log in."""

    ports: Ports


TRACE_FIELD = re.compile(rb"(?:Return-Path|X-Original-To|Delivered-To|Received):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
"""What servers put before a message as it passes them; RFC 5321 section 4.4 and some of their own."""


def without_trace(message: bytes) -> bytes:
    """The message, whose lines end with CRLF, less the trace fields at its head."""
    start = 0
    while found := TRACE_FIELD.match(message, start):
        start = found.end()
    return message[start:]


def server_missing(why: str) -> NoReturn:
    """Skip the test because a server cannot run here, or fail it where the servers are required."""
    if os.environ.get("SMTPPROTO_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{why} (SMTPPROTO_REQUIRE_SERVERS=1 forbids to skip)", pytrace=False)
    pytest.skip(why)


def find_program(name: str, package: str) -> str:
    """The path of a server's program, or a skip that says how to install it."""
    # Where the administrators' programs are is not always on the path.
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=folders)
    if found is None:
        server_missing(f"{name!r} is missing: apt-get install --no-install-recommends {package}")
    return found


def tail(log: Path, lines: int = 40) -> str:
    """The last lines of a log, or what stands in its place."""
    if not log.exists():
        return f"({log.name} was not written)"
    return "\n".join(log.read_text(errors="backslashreplace").splitlines()[-lines:]) or f"({log.name} is empty)"


@contextmanager
def open_folder(name: str) -> Generator[Path]:
    """A folder of our own which the servers' unprivileged users can reach, unlike pytest's; removed at the end."""
    for base in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if len(os.fsencode(base)) < LONGEST_SOCKET_PATH // 2 and all(
            step.stat().st_mode & 0o001 for step in (base.resolve(), *base.resolve().parents)
        ):
            break
    else:
        raise ServerError("no temporary folder with a short path is open to all users: set TMPDIR to one that is")
    folder = Path(tempfile.mkdtemp(prefix=f"smtpproto-{name}-", dir=base))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


class Certificates(NamedTuple):
    """Files in PEM."""

    ca: Path
    """The root, on which all hang."""
    chain: Path
    """The server's certificate, made out for `HOST_NAMES`, and an intermediate one."""
    key: Path
    """The server's key."""
    client: Path
    """Key and certificate of a client, which is made out for `USER`."""
    stranger: Path
    """The same, made out for one who is no user."""

    def server_context(self, *, ask_client: bool = False) -> ssl.SSLContext:
        """The context of a server of ours; with ``ask_client`` it wants to see the client's certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca))
        context.verify_mode = ssl.CERT_OPTIONAL if ask_client else ssl.CERT_NONE
        context.load_cert_chain(self.chain, self.key)
        return context


def write_certificates(folder: Path) -> Certificates:
    """Make a root and what hangs on it."""
    try:
        # The tests of the core run without it, and meet this module all the same.
        import trustme
    except ImportError:
        server_missing("trustme is missing: pip install trustme (it is among the `dev` dependencies)")
    root = trustme.CA()
    server = root.create_child_ca().issue_cert(*HOST_NAMES)
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "stranger.pem")
    files = Certificates(*(folder / name for name in names))
    root.cert_pem.write_to_path(files.ca)
    for blob in server.cert_chain_pems:
        blob.write_to_path(files.chain, append=True)
    secret = {files.key: server.private_key_pem}
    for file, name in ((files.client, USER.login), (files.stranger, f"stranger@{DOMAIN}")):
        secret[file] = root.issue_cert(name, common_name=name).private_key_and_cert_chain_pem
    for file, blob in secret.items():
        file.touch(mode=0o600)
        blob.write_to_path(file)
    return files


@contextmanager
def held_ports(count: int) -> Generator[list[int]]:
    """Ports of loopback that are ours for the time of the block, for servers which cannot pick their own.

    They stay bound, without listening: so the system gives them to nobody who asks for any free port, and yet a
    server that names one of them and sets SO_REUSEADDR, as all do, may listen on it (Linux). Thus none is ever lost
    between picking and listening, however many test runs go on at a time.
    """
    with ExitStack() as stack:
        holders = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(count)]
        for holder in holders:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((HOST, 0))
        yield [holder.getsockname()[1] for holder in holders]


class Daemon:
    """One server with all its processes, under a guard that ends them when we say so or when we are gone."""

    def __init__(self, command: list[str], output: Path, *, grace: float = GRACE_SECONDS) -> None:
        """Start `command` (the program by its full path); what it prints is appended to `output`."""
        guard = Path(__file__).with_name("guard.py")
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        with output.open("ab") as printed:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", str(guard), str(grace), *command],
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self._command = command
        self._grace = grace

    @property
    def alive(self) -> bool:
        """Whether the server's first process still runs."""
        return self._guard.poll() is None

    def stop(self) -> None:
        """End every process of the server and wait until they are gone. Harmless when done twice.

        Raises ServerError where the guard itself does not end.
        """
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        try:
            self._guard.wait(self._grace + 10)
        except subprocess.TimeoutExpired:
            raise ServerError(f"the guard of {self._command[0]} (pid {self._guard.pid}) does not end") from None

    def wait_until(self, ready: Callable[[], bool], *logs: Path) -> None:
        """Wait until `ready` says so.

        Raises ServerError with the ends of the logs where the server ends before, or takes longer than it may.
        """
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            alive = self.alive
            if alive and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            what = f"is not ready after {START_SECONDS} s" if alive else "ended instead of listening"
            raise ServerError("\n".join([f"{self._command[0]} {what}", *(f"{log}:\n{tail(log)}" for log in logs)]))


@contextmanager
def running(daemon: Daemon) -> Generator[Daemon]:
    """Stop the daemon at the end of the block, whatever happens in it."""
    try:
        yield daemon
    finally:
        daemon.stop()


def accepts_connections(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        return client.connect_ex((HOST, port)) == 0


def greets_with(port: int, token: bytes) -> bool:
    """Whether a server listens on the port whose greeting holds the token: ours, not one that took the port first."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection, connection.makefile("rb") as lines:
            return token in lines.readline(1000)
    except OSError:
        return False
