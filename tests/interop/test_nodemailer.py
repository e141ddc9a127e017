"""What is peculiar to smtp-server of nodemailer, and on which machines its tests are skipped."""

from __future__ import annotations

import shutil
import smtplib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpproto import Envelope, ErrorCode, Event, Fate, Security, ServiceClosing
from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.interop import nodemailer as room
from tests.interop.letters import HELLO, SENDER
from tests.interop.servers import DOMAIN, HOST

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.adapters.backends import AnyClient
    from tests.interop.nodemailer import RunningNodemailer

MOST_COMMANDS = 10
"""At the last of them it leaves who has not logged in."""


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest, nodemailer: RunningNodemailer) -> Generator[Backend]:
    """Each of the three in turn, once the server runs; the test must leave nothing behind."""
    found: Backend = request.param
    with nothing_left():
        yield found


def client_of(backend: Backend, server: RunningNodemailer, role: str, **options: Any) -> AnyClient:
    """A client for one of the server's ports, which trusts the server."""
    given = {"host": HOST, "port": getattr(server.ports, role), "context": server.client_context(), "timeout": 60}
    return backend.client(**{**given, **options})


@pytest.mark.rfc("2033", "4.2")
@pytest.mark.parametrize(("second", "answered"), [("other", ["user", "other"]), ("user", ["user"])])
def test_recipient_that_is_named_twice_is_answered_once(
    nodemailer: RunningNodemailer, second: str, answered: list[str]
) -> None:
    """Against the rule: whoever waits for a reply to each takes that to the next command for one of them."""
    with smtplib.LMTP(HOST, nodemailer.lmtp, HELLO, timeout=20) as client:
        client.ehlo()
        client.mail(SENDER)
        assert [client.rcpt(f"{name}@{DOMAIN}")[0] for name in ("user", second)] == [250, 250]
        assert client.docmd("DATA")[0] == 354
        client.send(b"Subject: t\r\n\r\n.\r\nNOOP\r\n")
        replies = [client.getreply() for _ in range(len(answered) + 1)]
    expected = [f"2.6.0 <{name}@{DOMAIN}> has it".encode() for name in answered]
    assert replies == [(250, text) for text in (*expected, b"2.0.0 OK")]


@pytest.mark.rfc("5321", "4.1.2")
def test_local_part_that_is_in_quotes_for_a_reason(backend: Backend, nodemailer: RunningNodemailer) -> None:
    """It takes what it is in quotes for as the end of the path, against the rule; the others get the message."""
    names = ('"a b"', '"a@b"', "user")

    async def scenario() -> None:
        async with client_of(backend, nodemailer, "plain") as client:
            result = await client.deliver(
                Envelope(SENDER, [f"{name}@{DOMAIN}" for name in names]), b"Subject: t\r\n\r\n"
            )
            assert [each.fate for each in result.recipients] == [Fate.REFUSED, Fate.REFUSED, Fate.ACCEPTED]
            assert [each.reply and each.reply.code for each in result.recipients] == [501, 501, 250]

    backend.run(scenario)


@pytest.mark.rfc("4954", "4")
def test_what_is_offered_before_tls_is_refused_there(backend: Backend, nodemailer: RunningNodemailer) -> None:
    """Who is told to send a password in plaintext has sent it then."""
    options = {"security": Security.NONE, "authenticate": True, "allow_plaintext_auth": True}
    user = nodemailer.user

    async def scenario() -> None:
        client = client_of(
            backend,
            nodemailer,
            "submission",
            username=user.login,
            password=user.password,
            mechanisms=["PLAIN"],
            **options,
        )
        assert await client.connect_ex() is ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN
        assert client.failure is not None
        assert client.failure.reply is not None
        assert client.failure.reply.code == 538

    backend.run(scenario)


@pytest.mark.rfc("5321", "3.8")
def test_it_leaves_who_does_not_log_in(backend: Backend, nodemailer: RunningNodemailer) -> None:
    """The program is told, and can come again; whoever has logged in may say as much as he likes."""
    events: list[Event] = []

    async def scenario() -> None:
        client = client_of(backend, nodemailer, "smtps", security=Security.IMPLICIT, on_event=events.append)
        await client.connect()
        codes = [(await client.noop()).code for _ in range(MOST_COMMANDS - 1)]
        assert codes == [250] * (MOST_COMMANDS - 2) + [421]
        assert isinstance(events[-1], ServiceClosing)
        assert not client.is_connected
        await client.connect()
        assert (await client.authenticate(nodemailer.user.login, nodemailer.user.password)).code == 235
        assert [(await client.noop()).code for _ in range(2 * MOST_COMMANDS)] == [250] * 2 * MOST_COMMANDS
        await client.disconnect()

    backend.run(scenario)


# Machines without it ------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that has nothing but a shell, where the servers are required; the folder of its programs."""
    for name in ("sh", "cat", "chmod", "cksum", "cp", "cut", "dirname", "mkdir", "mktemp", "mv", "rm"):
        program = shutil.which(name)
        assert program is not None
        (tmp_path / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SMTPPROTO_REQUIRE_SERVERS", "1")
    return tmp_path


def install(machine: Path, name: str, script: str) -> None:
    program = machine / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_installer_leaves_a_machine_without_node_alone(machine: Path) -> None:
    done = subprocess.run([room.INSTALLER], capture_output=True, text=True, timeout=20, check=True)
    assert "nodemailer is left out" in done.stderr
    assert not (machine / "cache").exists()


def test_installer_installs_once(machine: Path) -> None:
    """Into a folder that is whole as soon as it is there."""
    install(machine, "node", "exit 0")
    install(machine, "npm", 'mkdir "$3/node_modules"; echo "$1" >> "$XDG_CACHE_HOME/calls"')
    for _ in range(2):
        done = subprocess.run([room.INSTALLER], capture_output=True, text=True, timeout=20, check=True)
        folder = Path(done.stdout.strip())
        assert sorted(each.name for each in folder.iterdir()) == ["node_modules", "package-lock.json", "package.json"]
        assert list(folder.parent.iterdir()) == [folder]
    assert (machine / "cache" / "calls").read_text() == "ci\n"


def test_installer_that_fails_leaves_nothing(machine: Path) -> None:
    install(machine, "node", "exit 0")
    install(machine, "npm", "exit 1")
    done = subprocess.run([room.INSTALLER], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert list((machine / "cache" / "smtpproto").iterdir()) == []


def test_machine_without_node_skips(machine: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="'node' is missing"):
        room.find_node()


def test_node_that_is_too_old_skips(machine: Path) -> None:
    install(machine, "node", "echo v18.20.4")
    with pytest.raises(pytest.skip.Exception, match=r"Node v18\.20\.4 is too old"):
        room.find_node()


def test_node_without_npm_skips(machine: Path) -> None:
    install(machine, "node", "echo v22.12.0")
    with pytest.raises(pytest.skip.Exception, match="'npm' is missing"):
        room.find_node()


def test_modules_that_are_missing_fail_where_servers_are_required(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(machine, "node", "echo v22.12.0")
    install(machine, "npm", "exit 1")
    with pytest.raises(pytest.fail.Exception, match=r"run \.ci/install-node-modules"):
        room.find_node()
    monkeypatch.delenv("SMTPPROTO_REQUIRE_SERVERS")
    with pytest.raises(pytest.skip.Exception, match=r"run \.ci/install-node-modules"):
        room.find_node()
