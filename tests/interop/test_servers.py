"""The fixtures themselves, through smtplib: what each server offers, whom it lets in, and that nothing of it stays."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest

from tests.interop import servers
from tests.interop.postfix import check_dovecot, running_postfix
from tests.interop.servers import Daemon, RunningServer, ServerError, User, running

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Role: TypeAlias = Literal["plain", "submission", "smtps"]

SECURE_ROLES: tuple[Role, ...] = ("submission", "smtps")


@contextmanager
def session(server: RunningServer, role: Role, *, tls: bool = True) -> Generator[smtplib.SMTP]:
    """A session after EHLO, over TLS with the certificate checked unless it is told not to."""
    port: int = getattr(server.ports, role)
    if role == "smtps":
        client: smtplib.SMTP = smtplib.SMTP_SSL(server.host, port, timeout=10, context=server.client_context())
    else:
        client = smtplib.SMTP(server.host, port, timeout=10)
    with client:
        client.ehlo("client.example.test")
        if tls and role != "smtps":
            client.starttls(context=server.client_context())
            client.ehlo("client.example.test")
        yield client


def auth_plain(client: smtplib.SMTP, user: User) -> int:
    """Log in by PLAIN; smtplib's own way takes ASCII only."""
    response = f"\0{user.login}\0{user.password}".encode()
    code, _ = client.docmd("AUTH", "PLAIN " + base64.b64encode(response).decode("ascii"))
    return code


def mechanisms(client: smtplib.SMTP) -> frozenset[str]:
    return frozenset(client.esmtp_features.get("auth", "").split())


def test_plain_port_is_an_mx(server: RunningServer) -> None:
    with session(server, "plain", tls=False) as client:
        assert client.has_extn("starttls")
        assert client.has_extn("8bitmime")
        assert client.has_extn("smtputf8")
        assert client.esmtp_features["size"] == "1048576"
        assert not client.has_extn("auth")
        assert client.mail("sender@elsewhere.test")[0] == 250
        assert client.rcpt("user@example.test")[0] == 250
        assert client.rcpt("nobody@example.test")[0] == 550


def test_plain_port_offers_no_auth_over_tls_either(server: RunningServer) -> None:
    with session(server, "plain") as client:
        assert not client.has_extn("auth")
        assert not client.has_extn("starttls")


def test_submission_demands_tls_first(server: RunningServer) -> None:
    with session(server, "submission", tls=False) as client:
        assert client.has_extn("starttls")
        # That of nodemailer offers what it then refuses.
        assert client.has_extn("auth") is (server.name == "nodemailer")
        assert auth_plain(client, server.user) in (503, 530, 538)
        assert client.mail("user@example.test")[0] == 530


@pytest.mark.parametrize("role", SECURE_ROLES)
def test_mechanisms_over_tls(server: RunningServer, role: Role) -> None:
    with session(server, role) as client:
        assert not client.has_extn("starttls")
        assert mechanisms(client) == server.mechanisms


def test_postfix_offers_its_extensions(postfix: RunningServer) -> None:
    with session(postfix, "submission") as client:
        assert set(client.esmtp_features) == {
            *("pipelining", "size", "vrfy", "etrn", "auth", "enhancedstatuscodes"),
            *("8bitmime", "dsn", "smtputf8", "chunking"),
        }


@pytest.mark.parametrize("role", SECURE_ROLES)
def test_right_password(server: RunningServer, role: Role) -> None:
    with session(server, role) as client:
        code, _ = client.login(server.user.login, server.user.password)
        assert code == 235


@pytest.mark.parametrize("role", SECURE_ROLES)
def test_wrong_password(server: RunningServer, role: Role) -> None:
    with session(server, role) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.login(server.user.login, "another-Pass1")
        assert caught.value.smtp_code == 535
        assert auth_plain(client, server.user) == 235, "a wrong password does not close the door"


def test_every_mechanism_of_smtplib(server: RunningServer) -> None:
    for mechanism in sorted({"PLAIN", "LOGIN", "CRAM-MD5"} & server.mechanisms):
        with session(server, "submission") as client:
            client.user, client.password = server.user.login, server.user.password
            method = getattr(client, "auth_" + mechanism.lower().replace("-", "_"))
            code, _ = client.auth(mechanism, method, initial_response_ok=mechanism == "PLAIN")
            assert code == 235, mechanism


@pytest.mark.parametrize("role", SECURE_ROLES)
def test_password_that_is_not_ascii(server: RunningServer, role: Role) -> None:
    with session(server, role) as client:
        assert auth_plain(client, User(server.uni.login, server.uni.password.replace("ö", "o"))) == 535
        assert auth_plain(client, server.uni) == 235


def test_wrong_passwords_are_not_punished(server: RunningServer) -> None:
    with session(server, "smtps") as client:
        started = time.monotonic()
        assert [auth_plain(client, User(server.user.login, "no")) for _ in range(3)] == [535] * 3
        assert time.monotonic() - started < 4


def test_unauthenticated_submission_does_not_relay(postfix: RunningServer) -> None:
    with session(postfix, "submission") as client:
        assert client.mail("user@example.test")[0] == 250
        assert client.rcpt("somebody@elsewhere.test")[0] == 554


@pytest.mark.parametrize("name", servers.HOST_NAMES)
def test_certificate_names(server: RunningServer, name: str) -> None:
    with tls(server, server.client_context(), name) as connection:
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}


def test_certificate_is_for_no_other_name(server: RunningServer) -> None:
    with (
        pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname mismatch"),
        tls(server, server.client_context(), "other.example.test"),
    ):
        pass


def test_certificate_needs_its_root(server: RunningServer) -> None:
    with (
        pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self-signed"),
        tls(server, ssl.create_default_context(), servers.HOST),
    ):
        pass


@contextmanager
def tls(server: RunningServer, context: ssl.SSLContext, name: str) -> Generator[ssl.SSLSocket]:
    with (
        socket.create_connection((server.host, server.ports.smtps), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=name) as secured,
    ):
        yield secured


def test_mail_arrives(server: RunningServer) -> None:
    marker = secrets.token_hex(16).encode()
    message = b"From: sender@elsewhere.test\r\nTo: other@example.test\r\nSubject: t\r\n\r\n.dot " + marker + b"\r\n"
    with session(server, "plain") as client:
        assert client.sendmail("sender@elsewhere.test", ["other@example.test"], message) == {}
    assert b"\n.dot " + marker in server.wait_for_message("other", marker)
    assert all(marker not in delivered for delivered in server.messages("user"))


def test_mail_that_does_not_arrive_is_told_with_the_log(aiosmtpd: RunningServer) -> None:
    with pytest.raises(AssertionError, match=r"no message with b'never sent' to 'user' within 0\.05 s"):
        aiosmtpd.wait_for_message("user", b"never sent", 0.05)


def test_value_says_who_runs(server: RunningServer) -> None:
    assert server.version[0].isdigit()
    assert server.ca.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert server.log.exists()
    assert len({server.ports.plain, server.ports.submission, server.ports.smtps}) == 3


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
with open(sys.argv[1], "a") as pids:
    pids.write(f"{os.getpid()}\\n")
time.sleep(60)
"""
"""A server that ignores SIGTERM, and has a daemon of its own which is in another session and has lost its parent."""


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_no_process_outlives_its_daemon(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    command = [sys.executable, "-c", STUBBORN, str(file)]
    with running(Daemon(command, tmp_path / "log", grace=0.2)) as daemon:
        daemon.wait_until(lambda: len(pids(file)) == 2, tmp_path / "log")
        assert all(exists(pid) for pid in pids(file))
    assert not any(exists(pid) for pid in pids(file))


def test_no_process_outlives_a_killed_test_run(tmp_path: Path) -> None:
    file, log = tmp_path / "pids", tmp_path / "log"
    run = (
        "import sys, time; from pathlib import Path; from tests.interop.servers import Daemon\n"
        f"daemon = Daemon([sys.executable, '-c', {STUBBORN!r}, {str(file)!r}], Path({str(log)!r}), grace=0.2)\n"
        "time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", run], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) as tests:
        wait_for(lambda: len(pids(file)) == 2)
        tests.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(exists(pid) for pid in pids(file)))


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_server_that_ends_is_told_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(Daemon([sys.executable, "-c", "raise SystemExit('no such port')"], log)) as daemon:
        with pytest.raises(ServerError, match=r"(?s)ended instead of listening.*no such port"):
            daemon.wait_until(lambda: False, log)
        daemon.stop()


def test_missing_server_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTPPROTO_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"'no-such-mta' is missing: apt-get install .* no-such-package"):
        servers.find_program("no-such-mta", "no-such-package")


def test_missing_server_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTPPROTO_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"'no-such-mta' is missing"):
        servers.find_program("no-such-mta", "no-such-package")


def test_postfix_without_root_rights_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTPPROTO_REQUIRE_SERVERS", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(pytest.skip.Exception, match="only as root"), running_postfix():
        pass


def test_dovecot_of_another_configuration_skips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SMTPPROTO_REQUIRE_SERVERS", raising=False)
    dovecot = tmp_path / "dovecot"
    dovecot.write_text("#!/bin/sh\necho '2.4.1-4 (7d8c0e5759)'\n")
    dovecot.chmod(0o755)
    with pytest.raises(pytest.skip.Exception, match=r"Dovecot 2\.4\.1"):
        check_dovecot(str(dovecot))


def test_held_port_is_given_to_nobody_else_and_takes_a_listener() -> None:
    with servers.held_ports(1) as [port]:
        others = [socket.create_server((servers.HOST, 0)) for _ in range(200)]
        given = {other.getsockname()[1] for other in others}
        for other in others:
            other.close()
        assert port not in given
        with socket.create_server((servers.HOST, port)), socket.create_connection((servers.HOST, port), timeout=10):
            pass


def test_second_postfix_beside_the_first(postfix: RunningServer) -> None:
    with running_postfix() as second:
        assert {second.ports.plain, second.ports.submission, second.ports.smtps}.isdisjoint(
            {postfix.ports.plain, postfix.ports.submission, postfix.ports.smtps}
        )
        for server in (postfix, second):
            with session(server, "smtps") as client:
                assert auth_plain(client, server.user) == 235
    assert not second.log.parent.exists()
    with session(postfix, "smtps") as client:
        assert auth_plain(client, postfix.user) == 235
