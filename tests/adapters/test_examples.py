"""The programs of docs/examples, each against a server of ours."""

from __future__ import annotations

import mailbox
import os
import smtplib
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from docs.examples import gateway, lmtp_agent, proxy, selectors_loop
from smtpproto import ConnectFailed, ConnectOptions, Envelope, ErrorCode, Fate, Reply
from smtpproto_adapters.blocking import Client, serve
from smtpproto_adapters.local import LocalServer
from tests.scripted import closed_port

if TYPE_CHECKING:
    from collections.abc import Generator

MESSAGE = b"Subject: hello\r\n\r\n.\r\nHow are you?\r\n"
EXAMPLES = Path(selectors_loop.__file__).parent


@contextmanager
def program(name: str, *arguments: str, address: tuple[str, int] | str, **variables: str) -> Generator[None]:
    """An example as it is started from a shell, from when it listens on."""
    path = os.pathsep.join(str(EXAMPLES.parents[1] / each) for each in ("", "adapters"))
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 20
            while not answers(address):
                assert process.poll() is None, "it has ended"
                assert time.monotonic() < until, "it does not listen"
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def free_port() -> int:
    """For a program that is told its port; nobody else is likely to take it meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def answers(address: tuple[str, int] | str) -> bool:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as probe:
        return probe.connect_ex(address) == 0


# A loop of selectors -------------------------------------------------------------------------------------------------


def test_the_loop_sends_ten(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalServer() as server:
        assert selectors_loop.main(server.url) == 0
        assert sorted(each.envelope.forward_paths[0] for each in server.inbox) == [
            f"user{n}@mx.example" for n in range(10)
        ]
    assert capsys.readouterr().out.count("accepted") == 10


def test_the_loop_tells_of_what_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalServer() as server:
        server.faults.reply("RCPT", Reply(550, "5.1.1 no such user"), nth=3)
        assert selectors_loop.main(server.url) == 1
        assert len(server.inbox) == 9
    assert "no such user" in capsys.readouterr().out


def test_the_loop_has_tls_and_authentication() -> None:
    content = b"0123456789\r\n" * 200_000
    with LocalServer(tls="starttls", credentials={"user": "password"}, require_auth=True) as server:
        options = ConnectOptions.from_url(server.url, username="user", password="password", authenticate=True)
        envelope = Envelope("me@me.example", "you@mx.example")
        flows = [selectors_loop.send_one(options, envelope, content, server.client_context()) for _ in range(10)]
        results = selectors_loop.run(flows)
        assert [each if isinstance(each, Exception) else each.fate for each in results] == [Fate.ACCEPTED] * 10
        assert [each.content == content for each in server.inbox] == [True] * 10


def test_the_connections_of_the_loop_go_on_at_once() -> None:
    """Nobody is greeted before all have connected."""
    listener = socket.create_server(("127.0.0.1", 0))
    greeted: list[socket.socket] = []

    def greet() -> None:
        greeted.extend(listener.accept()[0] for _ in range(10))
        for each in greeted:
            each.sendall(b"554 not today\r\n")

    thread = threading.Thread(target=greet)
    with listener:
        listener.settimeout(10)
        thread.start()
        host, port = listener.getsockname()
        envelope = Envelope("me@me.example", "you@mx.example")
        options = ConnectOptions(host=host, port=port)
        results = selectors_loop.run(selectors_loop.send_one(options, envelope, MESSAGE) for _ in range(10))
        thread.join(10)
        for each in greeted:
            each.close()
    assert [str(each) for each in results if "not today" not in str(each)] == []
    assert len(greeted) == 10


def test_the_loop_keeps_deadlines() -> None:
    """A server that says nothing, and one that is not there, beside one that is."""
    envelope = Envelope("me@me.example", "you@mx.example")
    with LocalServer() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        places = [silent.getsockname()[1], closed_port(), server.port]
        every = [ConnectOptions(host="127.0.0.1", port=port, timeout=0.5) for port in places]
        first, second, third = selectors_loop.run(
            selectors_loop.send_one(options, envelope, MESSAGE) for options in every
        )
        assert len(server.inbox) == 1
    assert isinstance(first, ConnectFailed)
    assert first.code is ErrorCode.GREETING_TIMED_OUT
    assert isinstance(second, ConnectFailed)
    assert second.code is ErrorCode.CONNECTION_REFUSED
    assert not isinstance(third, Exception)


def test_the_loop_as_a_program() -> None:
    path = os.pathsep.join(str(EXAMPLES.parents[1] / each) for each in ("", "adapters"))
    command = [sys.executable, str(EXAMPLES / "selectors_loop.py")]
    with LocalServer() as server:
        subprocess.run([*command, server.url], env={**os.environ, "PYTHONPATH": path}, timeout=30, check=True)
        assert len(server.inbox) == 10


# A proxy -------------------------------------------------------------------------------------------------------------


@contextmanager
def proxied(server: LocalServer) -> Generator[tuple[str, int]]:
    with proxy.Proxy(("127.0.0.1", 0), (server.host, server.port)) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield ("127.0.0.1", listening.socket.getsockname()[1])
        finally:
            listening.shutdown()
            thread.join(10)


def test_the_proxy_is_short() -> None:
    assert len((EXAMPLES / "proxy.py").read_text().splitlines()) < 100


@pytest.mark.usefixtures("capsys")
def test_the_proxy_offers_nothing_that_it_does_not_know() -> None:
    offer = [b"SIZE 1000", b"X-ANONYMOUSTLS", b"AUTH=LOGIN", b"STARTTLS", b"8bitmime", b"CHUNKING"]
    heard: list[bytes] = []

    def upstream() -> None:
        with listener.accept()[0] as peer:
            peer.sendall(b"220 mx.example\r\n")
            for answer in (b"\r\n250-".join([b"250-mx.example", *offer]) + b"\r\n250 HELP\r\n", b"221 bye\r\n"):
                heard.append(peer.recv(1000).split()[0])
                peer.sendall(answer)

    thread = threading.Thread(target=upstream)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread.start()
        server: Any = SimpleNamespace(host="127.0.0.1", port=listener.getsockname()[1])
        with proxied(server) as address, smtplib.SMTP(*address, timeout=10) as client:
            client.ehlo()
            assert client.docmd("X-ANONYMOUSTLS")[0] == 500
        thread.join(10)
    assert client.esmtp_features == {"size": "1000", "8bitmime": "", "help": ""}
    assert heard == [b"EHLO", b"QUIT"]


@pytest.mark.usefixtures("capsys")
def test_the_proxy_passes_everything_on() -> None:
    with LocalServer() as server, proxied(server) as (host, port):
        envelope = Envelope("me@me.example", "you@mx.example")
        with Client(host=host, port=port) as client:
            assert "SIZE" in client.extensions
            assert "CHUNKING" not in client.extensions
            results = list(client.send_many([(envelope, MESSAGE)] * 5))
        assert [each.fate for each in results] == [Fate.ACCEPTED] * 5
        assert [each.content for each in server.inbox] == [MESSAGE] * 5


def test_the_proxy_passes_authentication_on_and_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalServer(credentials={"user": "sesame-street"}, require_auth=True) as server, proxied(server) as address:
        with smtplib.SMTP(*address, timeout=10) as client:
            client.ehlo()
            assert client.docmd("AUTH", "LOGIN")[0] == 334
            assert client.docmd("!!!")[0] == 501
            assert client.docmd("NOOP")[0] == 250
            client.login("user", "sesame-street")
            client.sendmail("me@me.example", "you@mx.example", "Größe\r\n".encode())
        assert [each.identity and each.identity.username for each in server.inbox] == ["user"]
    shown = capsys.readouterr().out
    assert "AUTH" in shown
    assert "sesame" not in shown


@pytest.mark.usefixtures("capsys")
def test_the_proxy_completes_no_content_that_is_refused() -> None:
    with LocalServer() as server, proxied(server) as address:
        with smtplib.SMTP(*address, timeout=10) as client:
            client.ehlo()
            client.mail("me@me.example")
            client.rcpt("you@mx.example")
            client.docmd("DATA")
            client.send(b"a bare\nline feed\r\n.\r\n")
            assert client.getreply()[0] == 554
            assert client.getreply()[0] == 421
        assert len(server.inbox) == 0


@pytest.mark.usefixtures("capsys")
def test_the_proxy_says_so_when_the_server_is_gone() -> None:
    with LocalServer() as server, proxied(server) as address:
        server.faults.drop("RCPT")
        with smtplib.SMTP(*address, timeout=10) as client:
            client.ehlo()
            client.mail("me@me.example")
            assert client.rcpt("you@mx.example")[0] == 421


def test_the_proxy_as_a_program() -> None:
    port = free_port()
    with LocalServer() as server:
        arguments = [str(port), server.host, str(server.port)]
        with (
            program("proxy.py", *arguments, address=("127.0.0.1", port)),
            Client(port=port, host="127.0.0.1") as client,
        ):
            client.sendmail("me@me.example", "you@mx.example", MESSAGE).raise_unless_accepted()
        assert len(server.inbox) == 1


# A gateway -----------------------------------------------------------------------------------------------------------


@contextmanager
def upstream() -> Generator[tuple[LocalServer, Client]]:
    """The server upstream, and a client of the gateway's."""
    server = LocalServer(
        tls="starttls", require_tls=True, credentials={"user": "password"}, require_auth=True, host_name="upstream"
    )
    with server:
        options = ConnectOptions.from_url(server.url, username="user", password="password", authenticate=True)
        handler = gateway.Gateway(options, server.client_context())
        with serve(handler, service=gateway.service()) as listening:
            with Client(host=listening.host, port=listening.port) as client:
                yield server, client
            assert not handler.clients


def test_the_gateway_forwards_with_tls_and_authentication() -> None:
    with upstream() as (server, client):
        for _ in range(2):
            client.sendmail("me@me.example", ["you@mx.example", "them@mx.example"], MESSAGE).raise_unless_accepted()
        assert len(server.inbox) == 2
        received = server.inbox[1]
        assert received.identity is not None
        assert received.tls is not None
        assert received.envelope.forward_paths == ("you@mx.example", "them@mx.example")
        assert received.content.startswith(b"Received: from ")
        assert received.content.endswith(MESSAGE)


def test_the_gateway_passes_on_what_is_said_of_each_recipient() -> None:
    with upstream() as (server, client):
        server.faults.reply("RCPT", Reply(550, "5.1.1 no such user"), nth=1)
        result = client.sendmail("me@me.example", ["nobody@mx.example", "you@mx.example"], MESSAGE)
        assert [each.fate for each in result.recipients] == [Fate.REFUSED, Fate.ACCEPTED]
        assert result.recipients[0].reply == Reply(550, "5.1.1 no such user")
        assert server.inbox[0].envelope.forward_paths == ("you@mx.example",)


def test_the_gateway_passes_on_what_is_said_of_the_message() -> None:
    with upstream() as (server, client):
        server.faults.reply("end of data", Reply(554, "5.7.1 no, thank you"))
        result = client.sendmail("me@me.example", "you@mx.example", MESSAGE)
        assert result.reply == Reply(554, "5.7.1 no, thank you")


@pytest.mark.parametrize("command", ["greeting", "AUTH", "MAIL", "RCPT", "end of data"])
def test_the_gateway_loses_nothing_when_upstream_breaks(command: str) -> None:
    with upstream() as (server, client):
        server.faults.drop(command, nth=1)
        result = client.sendmail("me@me.example", "you@mx.example", MESSAGE)
        assert result.fate is Fate.DEFERRED
        assert client.sendmail("me@me.example", "you@mx.example", MESSAGE).fate is Fate.ACCEPTED


def test_the_gateway_as_a_program() -> None:
    port = free_port()
    with LocalServer(tls="starttls", credentials={"user": "password"}, require_auth=True) as server:
        url = f"submission://user@localhost:{server.port}"
        variables = {"UPSTREAM_PASSWORD": "password", "SSL_CERT_FILE": server.ca_file}
        with (
            program("gateway.py", str(port), url, address=("127.0.0.1", port), **variables),
            Client(port=port, host="127.0.0.1") as client,
        ):
            client.sendmail("me@me.example", "you@mx.example", MESSAGE).raise_unless_accepted()
        assert server.inbox[0].tls is not None


# A delivery agent ----------------------------------------------------------------------------------------------------


def test_the_agent_answers_for_each_recipient(tmp_path: Path) -> None:
    root, path = tmp_path / "mail", str(tmp_path / "agent.sock")
    agent = lmtp_agent.Agent(root, ["ann@mx.example", "bob@mx.example", "eve@mx.example"], quota=1000)
    (root / "eve@mx.example").write_text("no folder at all")
    with serve(agent, path=path, service=lmtp_agent.SERVICE), Client(path=path, lmtp=True) as client:
        client.sendmail("me@me.example", "bob@mx.example", b"x" * 70 + b"\r\n" + b"y" * 700).raise_unless_accepted()
        everyone = ["ann@mx.example", "bob@mx.example", "eve@mx.example", "nobody@mx.example"]
        result = client.sendmail("me@me.example", everyone, MESSAGE + b"z" * 300)
    assert [each.reply and each.reply.code for each in result.recipients] == [250, 452, 451, 550]
    (message,) = mailbox.Maildir(root / "ann@mx.example", create=False)
    assert message["Return-Path"] == "<me@me.example>"
    assert message["Delivered-To"] == "ann@mx.example"
    assert len(mailbox.Maildir(root / "bob@mx.example", create=False)) == 1


def test_the_agent_as_a_program(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    with (
        program("lmtp_agent.py", path, str(tmp_path / "mail"), "ann@mx.example", address=path),
        Client(path=path, lmtp=True) as client,
    ):
        client.sendmail("me@me.example", "ann@mx.example", MESSAGE).raise_unless_accepted()
    assert len(mailbox.Maildir(tmp_path / "mail" / "ann@mx.example", create=False)) == 1
