"""The fixtures `dovecot`, `sink` and `lmtp_sink` themselves, through smtplib."""

from __future__ import annotations

import os
import secrets
import smtplib
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.interop.dovecot import FULL, FULL_OCTETS, running_dovecot_mail
from tests.interop.servers import CROWD, LARGE_SIZE
from tests.interop.smtp_sink import running_smtp_sink

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from tests.interop.dovecot import RunningDovecot
    from tests.interop.servers import RunningServer
    from tests.interop.smtp_sink import RunningSink

SENDER = "sender@elsewhere.test"


def message(marker: bytes, octets: int = 0) -> bytes:
    return b"Subject: t\r\n\r\n.dot\r\n..\r\ngr\xfc\xdfe " + marker + b"\r\n" + b"x" * octets + b"\r\n"


def given(client: smtplib.SMTP, recipients: Iterable[str], content: bytes) -> tuple[list[int], list[int]]:
    """One transaction by hand, for smtplib never reads more than one reply: the codes of RCPT, and those of the end."""
    assert client.mail(SENDER)[0] == 250
    codes = [client.rcpt(f"{recipient}@example.test")[0] for recipient in recipients]
    assert client.docmd("DATA")[0] == 354
    client.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    replies = codes.count(250) if isinstance(client, smtplib.LMTP) else 1
    return codes, [client.getreply()[0] for _ in range(replies)]


@contextmanager
def lmtp_session(dovecot: RunningDovecot, way: str) -> Generator[smtplib.LMTP]:
    host, port = (str(dovecot.lmtp_path), 0) if way == "unix" else (dovecot.host, dovecot.lmtp)
    with smtplib.LMTP(host, port, timeout=10) as client:
        client.ehlo("client.example.test")
        if way == "starttls":
            client.starttls(context=dovecot.client_context())
            client.ehlo("client.example.test")
        yield client


@pytest.mark.parametrize("way", ["tcp", "starttls", "unix"])
def test_lmtp_of_dovecot(dovecot: RunningDovecot, way: str) -> None:
    marker = secrets.token_hex(8).encode()
    content = message(marker)
    with lmtp_session(dovecot, way) as client:
        assert {"8bitmime", "chunking", "pipelining"} <= set(client.esmtp_features)
        assert given(client, ["user", "nobody", "u100"], content) == ([250, 550, 250], [250, 250])
    for mailbox in ("user", "u100"):
        assert dovecot.wait_for_content(mailbox, marker) == content
    assert not any(marker in other for other in dovecot.messages("other"))


def test_lmtp_of_dovecot_refuses_for_one_of_two(dovecot: RunningDovecot) -> None:
    content = message(secrets.token_hex(8).encode(), FULL_OCTETS)
    with lmtp_session(dovecot, "tcp") as client:
        assert given(client, ["user", FULL], content) == ([250, 250], [250, 552])


def test_lmtp_of_dovecot_over_tls_from_the_start(dovecot: RunningDovecot) -> None:
    with (
        socket.create_connection((dovecot.host, dovecot.lmtps), timeout=10) as connection,
        dovecot.client_context().wrap_socket(connection, server_hostname=dovecot.host) as secured,
        secured.makefile("rb") as lines,
    ):
        assert lines.readline().startswith(b"220 mail.example.test Dovecot")


@pytest.mark.parametrize("implicit", [False, True])
def test_submission_of_dovecot(dovecot: RunningDovecot, postfix: RunningServer, implicit: bool) -> None:
    marker = secrets.token_hex(8).encode()
    content = message(marker)
    context = dovecot.client_context()
    if implicit:
        client: smtplib.SMTP = smtplib.SMTP_SSL(dovecot.host, dovecot.submissions, timeout=10, context=context)
    else:
        client = smtplib.SMTP(dovecot.host, dovecot.submission, timeout=10)
    with client:
        client.ehlo("client.example.test")
        if not implicit:
            assert client.mail(SENDER)[0] == 530
            client.starttls(context=context)
            client.ehlo("client.example.test")
        assert {"8bitmime", "chunking", "dsn", "pipelining", "size"} <= set(client.esmtp_features)
        assert frozenset(client.esmtp_features["auth"].split()) == dovecot.mechanisms
        assert client.mail(SENDER)[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(dovecot.user.login, "another-Pass1")
        client.login(dovecot.user.login, dovecot.user.password)
        assert given(client, ["other", "nobody"], content) == ([250, 550], [250])
    assert postfix.wait_for_content("other", marker) == content


def test_large_port_and_the_crowd(server: RunningServer) -> None:
    marker = secrets.token_hex(8).encode()
    content = message(marker)
    with smtplib.SMTP(server.host, server.ports.large, timeout=30) as client:
        client.ehlo("client.example.test")
        assert client.esmtp_features["size"] == str(LARGE_SIZE)
        assert given(client, [*CROWD, "u101"], content) == ([250] * 100 + [550], [250])
    for mailbox in CROWD:
        assert server.wait_for_content(mailbox, marker) == content


def test_sink(sink: RunningSink) -> None:
    first, second = (secrets.token_hex(8).encode() for _ in range(2))
    before = sink.count()
    with smtplib.SMTP(sink.host, sink.port, timeout=10) as client:
        client.ehlo("client.example.test")
        assert {"8bitmime", "pipelining", "dsn"} <= set(client.esmtp_features)
        for marker in (first, second):
            assert given(client, ["user", "nobody"], message(marker, 3000)) == ([250, 250], [250])
    sink.wait_for_count(before + 2)
    for marker in (first, second):
        assert sink.dump_of(marker) == (
            *(f"<{SENDER}>", ("<user@example.test>", "<nobody@example.test>")),
            message(marker, 3000),
        )
    with pytest.raises(AssertionError, match=f"counts {before + 2} messages, not {before + 3}"):
        sink.wait_for_count(before + 3, 0.05)


def test_sink_of_lmtp(lmtp_sink: RunningSink) -> None:
    marker = secrets.token_hex(8).encode()
    with smtplib.LMTP(lmtp_sink.host, lmtp_sink.port) as client:
        assert client.ehlo("client.example.test")[0] == 250
        assert given(client, ["user", "other"], message(marker)) == ([250, 250], [250, 250])
    assert lmtp_sink.dump_of(marker).content == message(marker)


def test_sink_that_refuses() -> None:
    with (
        running_smtp_sink("-q", "DATA") as sink,
        smtplib.SMTP(sink.host, sink.port, timeout=10) as client,
    ):
        client.ehlo("client.example.test")
        client.mail(SENDER)
        client.rcpt("user@example.test")
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.docmd("DATA")
    assert not sink.folder.exists()


def test_dovecot_without_root_rights_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTPPROTO_REQUIRE_SERVERS", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(pytest.skip.Exception, match="only as root"), running_dovecot_mail(25):
        pass
