"""The server for tests, as a program uses it."""

from __future__ import annotations

import smtplib
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from smtpproto import Auth, AuthenticationFailed, LocalProtocolError, Mail, Rcpt, Reply, Security, ServerAuth
from smtpproto_adapters import local
from smtpproto_adapters.blocking import Client
from smtpproto_adapters.inbox import Inbox
from smtpproto_adapters.local import LocalServer
from smtpproto_adapters.server import ServerSession
from tests.adapters.backends import nothing_left


def send(server: LocalServer) -> None:
    with smtplib.SMTP(server.host, server.port, "me.example") as client:
        client.sendmail("me@me.example", "you@mx.example", "Subject: hi\r\n\r\nHi\r\n")


def test_plain() -> None:
    with nothing_left(), LocalServer() as server:
        assert server.url == f"smtp://127.0.0.1:{server.port}"
        assert repr(server) == f"<LocalServer {server.url}>"
        assert (server.username, server.password) == ("", "")
        send(server)
        assert server.inbox[0].parsed["Subject"] == "hi"
        assert server.inbox[0].hello == "me.example"
        with pytest.raises(LocalProtocolError, match="no TLS"):
            _ = server.ca_file
        with pytest.raises(LocalProtocolError, match="no TLS"):
            server.client_context()
    assert len(server.inbox) == 1


def test_starttls() -> None:
    with LocalServer(tls="starttls", require_tls=True) as server:
        assert server.url.startswith("smtp://")
        with Client(host=server.host, port=server.port, context=server.client_context()) as client:
            assert client.tls is not None
            assert client.extended
        with pytest.raises(smtplib.SMTPSenderRefused):
            send(server)


def test_implicit_tls() -> None:
    with LocalServer(tls="implicit") as server:
        assert server.url.startswith("smtps://")
        context = ssl.create_default_context(cafile=server.ca_file)
        with smtplib.SMTP_SSL(server.host, server.port, context=context) as client:
            assert client.noop()[0] == 250
        with smtplib.SMTP_SSL("localhost", server.port, context=server.client_context()) as client:
            assert client.noop()[0] == 250
        path = Path(server.ca_file)
        assert path.exists()
    assert not path.parent.exists()


@pytest.mark.parametrize("tls", [None, "starttls", "implicit"])
def test_url_says_how_to_connect(tls: Any) -> None:
    with (
        LocalServer(tls=tls) as server,
        Client(server.url, context=server.client_context() if tls else None) as client,
    ):
        assert (client.tls is not None) is (tls is not None)


def test_authentication() -> None:
    with LocalServer(credentials={"user": "secret", "other": "x"}, require_auth=True) as server:
        assert (server.username, server.password) == ("user", "secret")
        with pytest.raises(smtplib.SMTPSenderRefused):
            send(server)
        with smtplib.SMTP(server.host, server.port) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("user", "wrong")
            client.login(server.username, server.password)
            client.sendmail("me@me.example", "you@mx.example", "Hi")
        identity = server.inbox[0].identity
        assert identity is not None
        assert identity.username == "user"


@pytest.mark.rfc("5802", "6")
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_authentication_is_bound_to_its_certificate(tls: Any) -> None:
    with LocalServer(tls=tls, credentials={"user": "secret"}, tokens={"token": "other"}) as server:
        sent: list[Any] = []
        options: dict[str, Any] = {"context": server.client_context(), "on_send": sent.append}
        with Client(server.url, username="user", password="secret", authenticate=True, **options) as client:
            assert client.extensions.auth == (
                *("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"),
                *("OAUTHBEARER", "XOAUTH2"),
            )
        with Client(server.url, username="other", token="token", authenticate=True, **options):
            pass
    assert [each.mechanism for each in sent if isinstance(each, Auth)] == ["SCRAM-SHA-256-PLUS", "OAUTHBEARER"]


def client_without_tls(server: LocalServer) -> Client:
    return Client(server.url, mechanisms=["anonymous"], security=Security.NONE)


def test_authentication_of_ones_own() -> None:
    auth = ServerAuth(tokens={"token": "user"}, required=True, allow_plaintext=True, max_failures=1, failure_delay=0)
    with LocalServer(auth=auth) as server:
        assert server.service.auth is auth
        with Client(server.url, security=Security.NONE, allow_plaintext_auth=True) as client:
            assert client.extensions.auth == ("OAUTHBEARER", "XOAUTH2")
            with pytest.raises(AuthenticationFailed):
                client.authenticate(token="other")
            assert not client.noop().is_positive
    with LocalServer(mechanisms=["ANONYMOUS"]) as server, client_without_tls(server) as client:
        assert client.authenticate().code == 235


def test_lmtp() -> None:
    with LocalServer(lmtp=True, host_name="mx.example") as server:
        assert server.url.startswith("lmtp://")
        with smtplib.LMTP(server.host, server.port) as client:
            client.sendmail("me@me.example", "you@mx.example", "Hi")
        assert server.inbox[0].lmtp
        assert server.inbox[0].host_name == "mx.example"


def test_extensions() -> None:
    with LocalServer(extensions=["SIZE 1000", "8BITMIME"]) as server, smtplib.SMTP(server.host, server.port) as client:
        client.ehlo()
        assert client.esmtp_features == {"size": "1000", "8bitmime": ""}


def test_inbox_of_ones_own() -> None:
    class Picky(Inbox):
        def rcpt(self, session: ServerSession, command: Rcpt) -> Reply | None:
            return Reply(550, "5.1.1 no such user") if command.forward_path.startswith("you@") else None

    given = Picky()
    for inbox in (Picky, given):
        with LocalServer(inbox=inbox) as server:
            assert isinstance(server.inbox, Picky)
            assert (server.inbox is given) is (inbox is given)
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                send(server)


def test_faults() -> None:
    with LocalServer() as server:
        server.faults.reply("RCPT", Reply(450, "4.2.0 busy"), nth=1)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(server)
        send(server)


def test_end_does_not_wait_for_clients() -> None:
    with nothing_left():
        server = LocalServer().start()
        client = smtplib.SMTP(server.host, server.port)
        server.faults.delay("NOOP", 60)
        client.putcmd("noop")
        begun = time.monotonic()
        server.close()
        assert time.monotonic() - begun < 0.9
        server.close()
        client.close()


def test_end_does_not_wait_for_a_handler_either() -> None:
    go, asked = threading.Event(), threading.Event()

    class Slow(Inbox):
        def mail(self, session: ServerSession, command: Mail) -> None:
            asked.set()
            go.wait(10)

    with nothing_left():
        server = LocalServer(inbox=Slow).start()
        client = smtplib.SMTP(server.host, server.port)
        client.ehlo()
        client.putcmd("MAIL FROM:<>")
        assert asked.wait(5)
        begun = time.monotonic()
        server.close()
        assert time.monotonic() - begun < 4
        go.set()
        client.close()
        for thread in threading.enumerate():
            if thread.name.startswith("smtpproto"):
                thread.join(5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tls": "yes"}, "tls is 'yes'"),
        ({"require_tls": True}, "without tls"),
        ({"credentials": {}}, "credentials are empty"),
        ({"require_auth": True}, "needs credentials or tokens"),
        ({"require_auth": True, "auth": ServerAuth({})}, r"say so in auth=ServerAuth"),
        ({"credentials": {"user": "x"}, "auth": ServerAuth({})}, "auth says it all"),
        ({"tokens": {"t": "user"}, "auth": ServerAuth({})}, "auth says it all"),
        ({"mechanisms": ["PLAIN"], "auth": ServerAuth({})}, "auth says it all"),
        ({"mechanisms": ["PLAIN"]}, "nobody could answer"),
    ],
)
def test_options_that_do_not_fit_together(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LocalProtocolError, match=sentence):
        LocalServer(**options)


def test_without_trustme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    certificates = local._certificates  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(local, "_certificates", certificates.__wrapped__)
    with pytest.raises(ImportError, match=r"pip install smtpproto-sansio\[testing\]"):
        LocalServer(tls="starttls")
    LocalServer()
