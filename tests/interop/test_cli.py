"""The `smtpproto` command against Postfix."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("rich")
pytest.importorskip("trio")

from smtpproto import ErrorCode
from smtpproto_adapters import cli

if TYPE_CHECKING:
    from tests.interop.dovecot import RunningDovecot
    from tests.interop.servers import RunningServer

ADAPTERS = ("blocking", "asyncio", "trio")


def submission(server: RunningServer) -> tuple[str, ...]:
    return "connect", f"submission://{server.host}:{server.ports.submission}", "--username", server.user.login


def events_in(ladder: str) -> list[str]:
    names = "Greeting|EhloReply|HeloReply|StartTlsReady|Auth[A-Z][a-z]+|Connected|ReplyReceived|ConnectionClosed"
    return re.findall(rf"^({names}) ", ladder, re.MULTILINE)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_starttls_and_a_private_root(postfix: RunningServer, capsys: pytest.CaptureFixture[str], adapter: str) -> None:
    status = cli.main([*submission(postfix), "--ca", str(postfix.ca), "--adapter", adapter])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    handshake = ["Greeting", "EhloReply", "StartTlsReady", "EhloReply", "AuthNeeded", "Connected"]
    assert events_in(out) == [*handshake, "ReplyReceived"]
    assert out.index("← 220 2.0.0 Ready to start TLS") < out.index("⇄ TLSv1.") < out.index("AuthNeeded")
    names = re.search(r"^ +certificate for (.+)$", out, re.MULTILINE)
    assert names is not None
    assert set(names[1].split(", ")) == set(postfix.host_names)
    assert re.search(r"^SIZE +RFC 1870 .+\n +1048576", out, re.MULTILINE)
    assert re.search(r"^AUTH +RFC 4954 ", out, re.MULTILINE)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_without_the_root_it_is_not_trusted(
    postfix: RunningServer, capsys: pytest.CaptureFixture[str], adapter: str
) -> None:
    status = cli.main([*submission(postfix), "--adapter", adapter])
    out, err = capsys.readouterr()
    assert status == ErrorCode.CERTIFICATE_NOT_TRUSTED
    assert events_in(out) == ["Greeting", "EhloReply", "StartTlsReady"]
    assert re.fullmatch(r"smtpproto: the certificate of .+ is not trusted: [^\n]+\n", err)


def test_the_certificate_is_for_another_host(postfix: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main([*submission(postfix), "--ca", str(postfix.ca), "--host-name", "other.example"])
    assert status == ErrorCode.WRONG_HOST_NAME
    assert re.fullmatch(r"smtpproto: the certificate of .+ is for another host: [^\n]+\n", capsys.readouterr().err)


@pytest.mark.parametrize("mechanism", [None, "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"])
@pytest.mark.parametrize("right", [True, False])
def test_authentication(
    postfix: RunningServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    mechanism: str | None,
    right: bool,
) -> None:
    """The strongest that both have where none is named; and it says which one it was."""
    password = postfix.uni.password if right else "wrong-Wörd 1"
    monkeypatch.setenv("MAIL_PASSWORD", password)
    url = f"smtps://{postfix.uni.login.replace('@', '%40')}@localhost:{postfix.ports.smtps}"
    status = cli.main(
        [
            *("connect", url, "--host-address", postfix.host, "--ca", str(postfix.ca)),
            *("--auth", "--password-env", "MAIL_PASSWORD"),
            *([] if mechanism is None else ["--mechanism", mechanism]),
        ]
    )
    out, err = capsys.readouterr()
    assert status == (ErrorCode.SUCCESS if right else ErrorCode.AUTHENTICATION_REFUSED)
    assert ("AuthSucceeded" if right else "AuthFailed") in events_in(out)
    assert (f"authenticated by {mechanism or 'SCRAM-SHA-256'}" in out) is right
    plain = f"\0{postfix.uni.login}\0{password}"
    for secret in (password, *(base64.b64encode(each.encode()).decode() for each in (password, plain))):
        assert secret not in out + err


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(("name", "strongest"), [("postfix", "SCRAM-SHA-256"), ("cyrus", "SCRAM-SHA-512")])
def test_the_strongest_mechanism_is_picked_and_said(
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    strongest: str,
    adapter: str,
) -> None:
    server: RunningServer = request.getfixturevalue(name)
    monkeypatch.setenv("MAIL_PASSWORD", server.user.password)
    how = ("--ca", str(server.ca), "--auth", "--password-env", "MAIL_PASSWORD", "--adapter", adapter)
    assert cli.main([*submission(server), *how]) == 0
    out, err = capsys.readouterr()
    assert f"\n{' ' * 19}authenticated by {strongest}; the server proved itself, too\nConnected " in out
    usable = re.search(r"\nAuthNeeded .+; it can be done by ([^\s,]+)", out)
    assert usable is not None
    assert usable[1] == strongest
    assert err == ""
    assert cli.main([*submission(server), *how, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (attempt,) = (each for each in found if each["type"] == "authentication")
    assert (attempt["succeeded"], attempt["server_proved"], attempt["mechanism"]) == (True, True, strongest)
    assert attempt["channel_binding"] is None
    assert set(attempt["offered"]) == server.mechanisms


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2", "EXTERNAL"])
def test_token_and_certificate(
    dovecot: RunningDovecot, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    token = dovecot.token(dovecot.user.login)
    monkeypatch.setenv("MAIL_TOKEN", token)
    given = ["--username", dovecot.user.login, "--token-env", "MAIL_TOKEN"]
    if mechanism == "EXTERNAL":
        given = ["--cert", str(dovecot.client_certificate)]
    status = cli.main(
        [
            *("connect", f"submission://{dovecot.host}:{dovecot.submission}", "--ca", str(dovecot.ca)),
            *("--auth", "--mechanism", mechanism, *given),
        ]
    )
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    assert f"authenticated by {mechanism}" in out
    assert token not in out


def test_json(postfix: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main([*submission(postfix), "--ca", str(postfix.ca), "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert status == found[-1]["code"] == 0
    connected = next(each for each in found if each.get("event") == "Connected")
    offered = {each["keyword"]: each["argument"] for each in connected["extensions"]}
    assert set(offered["AUTH"].split()) == postfix.mechanisms
    assert offered["SIZE"] == "1048576"


def test_helo(postfix: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["connect", "--host", postfix.host, "--port", str(postfix.ports.plain), "--helo"])
    assert status == 0
    assert events_in(capsys.readouterr().out) == ["Greeting", "HeloReply", "Connected", "ReplyReceived"]
