"""`smtpproto connect --mx`: the hosts of a domain, by a name server on loopback and the embedded server."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("rich")
pytest.importorskip("trustme")
pytest.importorskip("trio")
pytest.importorskip("dns")

from smtpproto import ErrorCode
from smtpproto_adapters.cli.mx import read_server
from smtpproto_adapters.local import LocalServer
from tests.commanding import Command, Outcome, on_terminal, without
from tests.nameserver import NameServer
from tests.scripted import ReadAll, Say, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Generator

ADAPTERS = ("blocking", "asyncio", "trio")
RECORDS = {
    ("example.org", "MX"): ["20 localhost.", "10 nowhere.invalid.", "5 127.1."],
    ("one.example", "MX"): ["10 localhost."],
    ("two.example", "MX"): ["10 a.test.", "20 b.test."],
    ("gone.example", "MX"): ["10 a.invalid.", "20 b.invalid."],
    ("odd.example", "MX"): ["10 127.1."],
    ("null.example", "MX"): ["0 ."],
    ("xn--bcher-kva.example", "MX"): ["10 localhost."],
    ("failing.example", "MX"): ["10 localhost."],
}


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="module")
def names() -> Generator[NameServer]:
    with NameServer(RECORDS, failing=["failing.example"]) as server:
        yield server


@pytest.fixture(scope="module")
def smtp() -> Generator[LocalServer]:
    with LocalServer() as server:
        yield server


class Mx:
    """Runs the command for a domain."""

    def __init__(self, command: Command, names: NameServer, smtp: LocalServer) -> None:
        self.command = command
        self.resolver = f"{names.host}:{names.port}"
        self.port = smtp.port

    def __call__(self, domain: str, *argv: str, port: int | None = None) -> Outcome:
        where = ("--resolver", self.resolver, "--port", str(port or self.port))
        return self.command("connect", "--mx", domain, *where, *argv)


@pytest.fixture
def mx(command: Command, names: NameServer, smtp: LocalServer) -> Mx:
    return Mx(command, names, smtp)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.rfc("5321", "5.1")
def test_the_hosts_are_shown_and_tried_until_one_connects(mx: Mx, adapter: str) -> None:
    outcome = mx("Example.org", "--adapter", adapter)
    assert (outcome.code, outcome.err) == (ErrorCode.SUCCESS, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "The hosts for example.org, in the order in which they are tried:"
    assert lines[1] == f"  1. nowhere.invalid port {mx.port}  MX, preference 10"
    assert lines[2] == f"  2. localhost port {mx.port}  MX, preference 20"
    assert lines[3].startswith("  -  127.1  left out: it is an IP address")
    (failure,) = [line for line in lines if line.startswith("NAME_NOT_FOUND (3): ")]
    assert "nowhere.invalid" in failure
    assert outcome.events == ["Greeting", "EhloReply", "Connected", "ReplyReceived"]
    assert lines[-1].startswith("SUCCESS (0)")


@pytest.mark.rfc("5321", "5.1")
def test_the_same_as_data(mx: Mx) -> None:
    outcome = mx("example.org", "--json")
    plan, *others = outcome.objects
    assert plan["type"] == "plan"
    assert plan["domain"] == "example.org"
    assert [each["host"] for each in plan["destinations"]] == ["nowhere.invalid", "localhost"]
    assert plan["destinations"][1] == {
        "host": "localhost",
        "port": mx.port,
        "security": "opportunistic",
        "server_name": "localhost",
        "tls_required": False,
        "preference": 20,
        "why": "MX, preference 20",
    }
    assert [each["host"] for each in plan["left_out"]] == ["127.1"]
    kinds = [each["type"] for each in others]
    assert kinds[:3] == ["target", "failure", "target"]
    assert kinds.count("outcome") == 1
    assert others[1]["name"] == "NAME_NOT_FOUND"
    assert (others[-1]["type"], others[-1]["code"]) == ("outcome", 0)


@pytest.mark.rfc("5321", "5.1")
def test_a_host_that_does_not_serve_is_not_the_last_word(mx: Mx, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where it refuses for good; and one that may serve later makes the whole worth another try."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".test") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with ScriptedServer(Say(b"554 no service\r\n"), ReadAll()) as server:
        outcome = mx("two.example", "--json", port=server.port)  # it takes one connection, and refuses the second
    (failure,) = [each for each in outcome.objects if each["type"] == "failure"]
    assert (failure["name"], failure["retryable"]) == ("SERVICE_NOT_AVAILABLE", False)
    assert outcome.code is ErrorCode.CONNECTION_REFUSED
    assert outcome.objects[-1]["retryable"] is True


def test_one_host_is_no_list(mx: Mx) -> None:
    with ScriptedServer(Say(b"554 no service\r\n"), ReadAll()) as server:
        outcome = mx("one.example", port=server.port)
    assert outcome.code is ErrorCode.SERVICE_NOT_AVAILABLE
    assert outcome.complaint == "the server does not serve: 554 no service"


@pytest.mark.parametrize("json", [False, True])
def test_where_no_host_connects_the_last_one_decides(mx: Mx, json: bool) -> None:
    outcome = mx("gone.example", *(["--json"] if json else []))
    assert outcome.code is ErrorCode.NAME_NOT_FOUND
    beginning = "none of the 2 hosts for gone.example can be connected to; the last: there is no host of the name b.inv"
    if json:
        assert outcome.err == ""
        assert [each["type"] for each in outcome.objects] == ["plan", "target", "failure", "target", "outcome"]
        assert outcome.objects[-1]["message"].startswith(beginning)
    else:
        assert outcome.complaint.startswith(beginning)


@pytest.mark.parametrize(
    ("domain", "code", "words"),
    [
        ("null.example", ErrorCode.SERVICE_NOT_AVAILABLE, "takes no mail"),
        ("no.example", ErrorCode.NAME_NOT_FOUND, "there is no domain no.example"),
        ("odd.example", ErrorCode.NAME_NOT_FOUND, "names no host that can be used ('127.1'"),
        ("failing.example", ErrorCode.NAME_NOT_FOUND, "the look-up of failing.example (MX) failed"),
        ("192.0.2.1", ErrorCode.INVALID_ARGUMENT, "is no domain"),
        ("", ErrorCode.INVALID_ARGUMENT, "is no domain"),
        ("\x1b[31m.example", ErrorCode.INVALID_ARGUMENT, "'\\x1b[31m.example' is no domain"),
    ],
)
@pytest.mark.rfc("7505", "3")
@pytest.mark.rfc("5321", "5.1")
def test_why_there_is_nobody_to_connect_to(mx: Mx, domain: str, code: ErrorCode, words: str) -> None:
    outcome = mx(domain)
    assert (outcome.code, outcome.out) == (code, "")
    assert words in outcome.complaint
    outcome = mx(domain, "--json")
    (last,) = outcome.objects
    assert (last["type"], last["name"], outcome.status) == ("outcome", code.name, int(code))
    assert words in last["message"]
    assert last["retryable"] is (domain == "failing.example")


def test_a_domain_in_unicode(mx: Mx, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = mx("Bücher.example")
    assert outcome.out.startswith("The hosts for xn--bcher-kva.example,")
    without(monkeypatch, "idna")
    assert "A-labels" in mx("bücher.example").complaint


def test_tls_can_be_required(mx: Mx) -> None:
    outcome = mx("one.example", "--security", "required", "--json")
    assert outcome.code is ErrorCode.STARTTLS_NOT_OFFERED
    assert outcome.objects[0]["destinations"][0]["tls_required"] is True


def test_the_certificate_has_to_be_for_the_host(mx: Mx) -> None:
    with LocalServer(tls="starttls") as server:
        assert mx("one.example", "--ca", server.ca_file, port=server.port).code is ErrorCode.SUCCESS
        outcome = mx("one.example", port=server.port)
    assert outcome.code is ErrorCode.CERTIFICATE_NOT_TRUSTED
    assert "--ca FILE" in outcome.complaint
    assert "--host-name" not in outcome.complaint


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("smtp://h",), "leave out the URL"),
        (("--host", "h"), "leave out --host"),
        (("--host-name", "h"), "leave out --host-name"),
        (("--host-address", "192.0.2.1"), "leave out --host-address"),
        (("--path", "/run/lmtp"), "leave out --path"),
        (("--lmtp",), "leave out --lmtp"),
        (("--auth",), "leave out --auth"),
        (("--username", "ann"), "leave out --username"),
        (("--mechanism", "PLAIN"), "leave out --mechanism"),
        (("--password-env", "PASSWORD"), "--auth"),
        (("--helo", "--security", "required"), "STARTTLS needs EHLO"),
        (("--demo",), "leave out --mx"),
    ],
)
def test_what_makes_no_sense_beside_it(command: Command, argv: tuple[str, ...], words: str) -> None:
    outcome = command("connect", "--mx", "example.org", *argv)
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert words in outcome.complaint


@pytest.mark.parametrize(
    "text", ["ns.example", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:", "127.1", "[::1", "::1:x", "1.2.3.4:5:6", ""]
)
def test_a_resolver_that_is_none(command: Command, text: str) -> None:
    outcome = command("connect", "--mx", "example.org", "--resolver", text)
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert "--resolver" in outcome.complaint


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]", ("::1", 53)),
        ("[2001:DB8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_a_resolver(text: str, server: tuple[str, int]) -> None:
    assert read_server(text) == server


def test_a_resolver_is_for_mx(command: Command) -> None:
    outcome = command("connect", "smtp://h", "--resolver", "127.0.0.1")
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert outcome.complaint.startswith("--resolver is of no use without --mx")


def test_without_dnspython(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "dns", "discovery.resolver")
    outcome = command("connect", "--mx", "example.org")
    assert outcome.status == 1
    assert outcome.complaint == "dnspython is not installed: pip install 'smtpproto-sansio[dns]'"


def test_on_a_narrow_terminal(mx: Mx, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, 60)
    outcome = mx("example.org", "--no-color")
    assert outcome.code is ErrorCode.SUCCESS
    assert max(map(len, outcome.out.splitlines())) <= 60
