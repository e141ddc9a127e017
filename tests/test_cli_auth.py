"""How `smtpproto connect` and `send` authenticate: what they pick, what they say of it, and what they never show."""

from __future__ import annotations

import base64
import io
import json
import re
import ssl
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("rich")
pytest.importorskip("trustme")
pytest.importorskip("trio")

import trustme
from cryptography.hazmat.primitives import serialization

from smtpproto import (
    AuthenticationFailed,
    AuthNeeded,
    AuthReason,
    ConnectFailed,
    ConnectOptions,
    ErrorCode,
    Mail,
    Reply,
    ServerAuth,
)
from smtpproto.sasl import MECHANISMS
from smtpproto_adapters.blocking import Server
from smtpproto_adapters.cli import certificates
from smtpproto_adapters.cli.hints import FOR_CERTIFICATES, FOR_PASSWORDS, FOR_TOKENS, OF_SCRAM, hint
from smtpproto_adapters.cli.serve.arrivals import Witnessing
from smtpproto_adapters.cli.serve.users import owner_of
from smtpproto_adapters.cli.statuses import Status
from smtpproto_adapters.cli.trace import Outcome, Secrets
from smtpproto_adapters.local import LocalServer
from tests.commanding import Command
from tests.scripted import Close, Expect, ReadAll, Say, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADAPTERS = ("blocking", "asyncio", "trio")
PASSWORD, TOKEN = "hunter2-W\u00f6rd", "ya29.t0ken"
BY_PASSWORD = [each.name for each in MECHANISMS if each.name.startswith("SCRAM-")] + ["CRAM-MD5", "PLAIN", "LOGIN"]
BY_TOKEN = ["OAUTHBEARER", "XOAUTH2"]
INDENT = " " * 19


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAIL_PASSWORD", PASSWORD), ("WRONG", "an0ther"), ("MAIL_TOKEN", TOKEN), ("OLD", "0ld-token")):
        monkeypatch.setenv(name, value)


def as_ann(server: LocalServer, *argv: str, variable: str = "MAIL_PASSWORD") -> tuple[str, ...]:
    kind = "password" if variable in ("MAIL_PASSWORD", "WRONG") else "token"
    url = server.url.replace("://", "://ann@")
    trust = ("--ca", server.ca_file) if server.tls else ()
    return ("connect", url, *trust, "--auth", f"--{kind}-env", variable, *argv)


def authentication(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = (each for each in objects if each["type"] == "authentication")
    return {name: value for name, value in found.items() if name not in ("type", "time")}


# What is picked, and said ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_strongest_is_picked_and_said(command: Command, adapter: str) -> None:
    with LocalServer(tls="starttls", credentials={"ann": PASSWORD}) as server:
        outcome = command(*as_ann(server, "--adapter", adapter))
    assert (outcome.code, outcome.err) == (ErrorCode.SUCCESS, "")
    said = (
        f"AuthSucceeded    ← 235 2.7.0 authentication succeeded\n{INDENT}authenticated by SCRAM-SHA-256-PLUS, bound to "
        "TLS by tls-server-end-point; the server proved itself, too\nConnected "
    )
    assert said in outcome.out
    offered = "it can be done by SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN"
    assert f"AuthNeeded         credentials are given; {offered}\n" in outcome.out


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_json_says_so_too(command: Command, adapter: str) -> None:
    with LocalServer(tls="implicit", credentials={"ann": PASSWORD}) as server:
        outcome = command(*as_ann(server, "--adapter", adapter, "--json"))
    offered = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
    assert authentication(outcome.objects) == {
        "succeeded": True,
        "mechanism": "SCRAM-SHA-256-PLUS",
        "channel_binding": "tls-server-end-point",
        "server_proved": True,
        "offered": offered,
        "error": None,
    }
    needed = next(each for each in outcome.objects if each.get("event") == "AuthNeeded")
    assert (needed["mechanisms"], needed["usable"], needed["why"]) == (offered, offered, "CREDENTIALS_GIVEN")
    order = [each.get("event", each["type"]) for each in outcome.objects]
    assert order.index("authentication") == order.index("AuthSucceeded") + 1 == order.index("Connected") - 1


@pytest.mark.parametrize("name", BY_PASSWORD + BY_TOKEN)
def test_each_mechanism(command: Command, name: str) -> None:
    everything: dict[str, Any] = {"credentials": {"ann": PASSWORD}, "tokens": {TOKEN: "ann"}}
    with LocalServer(tls="starttls", mechanisms=BY_PASSWORD + BY_TOKEN, **everything) as server:
        variable = "MAIL_TOKEN" if name in BY_TOKEN else "MAIL_PASSWORD"
        shown = command(*as_ann(server, "--mechanism", name, variable=variable))
        found = authentication(command(*as_ann(server, "--mechanism", name, "--json", variable=variable)).objects)
    assert (shown.code, found["succeeded"], found["mechanism"]) == (ErrorCode.SUCCESS, True, name)
    assert (found["channel_binding"] is not None) is name.endswith("-PLUS")
    assert found["server_proved"] is name.startswith("SCRAM-")
    assert re.search(rf"\n +authenticated by {name}[,;\n]", shown.out)
    assert f"it can be done by {name}; offered besides: " in shown.out
    for text in (PASSWORD, TOKEN):
        for secret in (text, base64.b64encode(text.encode()).decode(), json.dumps(text)[1:-1]):
            assert secret not in shown.out + shown.err


def test_without_tls_it_is_told_what_is_left(command: Command) -> None:
    with LocalServer(credentials={"ann": PASSWORD}) as server:
        outcome = command(*as_ann(server, "--security", "none"))
        refused = command(*as_ann(server, "--security", "none", "--mechanism", "PLAIN"))
    assert f"{INDENT}authenticated by SCRAM-SHA-256; the server proved itself, too\n" in outcome.out
    assert "it can be done by SCRAM-SHA-256; offered besides: PLAIN, LOGIN" in outcome.out
    assert refused.code is ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN
    assert "no mechanism can be used of those offered: SCRAM-SHA-256, PLAIN, LOGIN" in refused.out
    assert refused.complaint.endswith("see --security and --allow-plaintext-auth")


@pytest.mark.parametrize("initial", [False, True])
def test_the_initial_response_may_wait(command: Command, initial: bool) -> None:
    with LocalServer(tls="starttls", credentials={"ann": PASSWORD}) as server:
        option = () if initial else ("--no-initial-response",)
        outcome = command(*as_ann(server, "--mechanism", "PLAIN", *option))
    assert outcome.code is ErrorCode.SUCCESS
    assert ("→ AUTH PLAIN\n" in outcome.out) is not initial


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"])
def test_a_password_that_saslprep_does_not_allow(
    command: Command, monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    """It is looked at as soon as it is there, and not only when the server has offered the mechanism."""
    monkeypatch.setenv("MAIL_PASSWORD", f"{PASSWORD}\x07")
    argv = ("connect", "smtp://ann@127.0.0.1:1", "--auth", "--password-env", "MAIL_PASSWORD")
    outcome = command(*argv, "--mechanism", mechanism)
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert outcome.complaint.startswith(f"{mechanism} cannot take this user name or password: SASLprep")
    assert "hunter2" not in outcome.err
    assert command(*argv, "--mechanism", "PLAIN").code is ErrorCode.CONNECTION_REFUSED


def test_nothing_is_offered(command: Command) -> None:
    with LocalServer(tls="starttls") as server:
        outcome = command(*as_ann(server))
    assert outcome.code is ErrorCode.AUTHENTICATION_NOT_OFFERED
    assert "AuthNeeded         credentials are given; no mechanism is offered\n" in outcome.out


def test_a_user_name_alone_leaves_all_open(command: Command) -> None:
    with LocalServer(tls="starttls", credentials={"ann": PASSWORD}) as server:
        outcome = command("connect", server.url.replace("://", "://ann@"), "--ca", server.ca_file)
    assert "credentials are given; it can be done by SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN\n" in outcome.out
    assert "authenticated" not in outcome.out


# What goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variable", "what"), [("WRONG", FOR_PASSWORDS), ("OLD", FOR_TOKENS)])
def test_a_refusal(command: Command, variable: str, what: str) -> None:
    with LocalServer(tls="starttls", credentials={"ann": PASSWORD}, tokens={TOKEN: "ann"}) as server:
        outcome = command(*as_ann(server, variable=variable))
        found = authentication(command(*as_ann(server, "--json", variable=variable)).objects)
    assert outcome.code is ErrorCode.AUTHENTICATION_REFUSED
    assert "535 5.7.8 authentication credentials invalid; " in outcome.complaint
    assert outcome.complaint.endswith(what)
    assert "authenticated by" not in outcome.out
    assert (found["succeeded"], found["server_proved"]) == (False, False)
    assert ('the server says {"status":"invalid_token"}\n' in outcome.out) is (variable == "OLD")
    assert found["error"] == ('{"status":"invalid_token"}' if variable == "OLD" else None)


HOSTILE = '{"status": "40\x1b[31m0", "x": "\u202egnp \x07"}'


@pytest.mark.parametrize("code", ["535 5.7.8 no", "454 4.7.0 not now"])
@pytest.mark.parametrize("mechanism", BY_TOKEN)
def test_what_a_server_of_oauth_says_is_printed_safely(command: Command, mechanism: str, code: str) -> None:
    error = base64.b64encode(HOSTILE.encode())
    steps = (
        *(Say(b"220 hi\r\n"), Expect(rb"EHLO .+"), Say(b"250-hi\r\n250 AUTH " + mechanism.encode() + b"\r\n")),
        *(Expect(rb"AUTH .+"), Say(b"334 " + error + b"\r\n"), Expect(rb"(AQ==)?"), Say(f"{code}\r\n".encode())),
        *(Expect(rb"QUIT"), Say(b"221 bye\r\n"), Close()),
    )
    argv = ("--auth", "--token-env", "MAIL_TOKEN", "--username", "ann", "--allow-plaintext-auth", "--security", "none")
    with ScriptedServer(*steps) as server:
        outcome = command.connect(server, *argv)
    with ScriptedServer(*steps) as server:
        last = command.connect(server, *argv, "--json").objects[-1]
    shown = outcome.out + outcome.err
    assert [each for each in shown if not each.isprintable() and each != "\n"] == []
    assert re.search(r'the server says \{"status": "40.+0", "x": ".+gnp .*"\}\n', outcome.out)
    assert re.search(r'says \{"status": "40', outcome.complaint)
    assert last["error"].startswith('{"status": "40')
    assert code in outcome.complaint


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("argv", [(), ("--json",)])
def test_a_success_without_proof_is_none(command: Command, argv: tuple[str, ...], adapter: str) -> None:
    steps = (
        *(Say(b"220 hi\r\n"), Expect(rb"EHLO .+"), Say(b"250-hi\r\n250 AUTH SCRAM-SHA-256 PLAIN\r\n")),
        *(Expect(rb"AUTH SCRAM-SHA-256 .+"), Say(b"235 come in\r\n"), ReadAll()),
    )
    auth = ("--auth", "--username", "ann", "--password-env", "MAIL_PASSWORD", "--security", "none")
    with ScriptedServer(*steps) as server:
        outcome = command.connect(server, *auth, "--adapter", adapter, *argv)
    assert outcome.code is ErrorCode.SERVER_NOT_AUTHENTIC
    assert b"PLAIN" not in server.received
    if argv:
        found = authentication(outcome.objects)
        assert (found["succeeded"], found["server_proved"]) == (False, False)
        assert found["offered"] == ["SCRAM-SHA-256", "PLAIN"]
    else:
        assert "authenticated by" not in outcome.out
        assert "do not try a weaker mechanism with it" in outcome.complaint


@pytest.mark.parametrize("verbose", [False, True])
def test_who_has_to_authenticate_first_is_told_how(command: Command, tmp_path: Path, verbose: bool) -> None:
    (tmp_path / "m").write_text("Hello\n")
    with LocalServer(tls="starttls", credentials={"ann": PASSWORD}, require_auth=True) as server:
        outcome = command(
            *("send", server.url, "--ca", server.ca_file, "--from", "a@b.example", "--to", "c@d.example"),
            *(str(tmp_path / "m"), *(["--verbose"] if verbose else [])),
        )
    assert outcome.status == Status.REFUSED
    assert outcome.complaint.endswith("; --auth authenticates, by SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN")
    assert (f"{INDENT}the server wants authentication first; it can be done by " in outcome.out) is verbose


@pytest.mark.parametrize("verbose", [False, True])
def test_who_needs_tls_first_is_told_how(command: Command, tmp_path: Path, verbose: bool) -> None:
    (tmp_path / "m").write_text("Hello\n")
    with LocalServer(tls="starttls", require_tls=True) as server:
        outcome = command(
            *("send", server.url, "--security", "none", "--from", "a@b.example", "--to", "c@d.example"),
            *(str(tmp_path / "m"), *(["--verbose"] if verbose else [])),
        )
    assert outcome.status == Status.REFUSED
    assert outcome.complaint.endswith("; --security required asks for it")
    assert (f"{INDENT}the server wants TLS first\n" in outcome.out) is verbose


@pytest.mark.parametrize("secret", [PASSWORD, 'a"b\\c', "p ss/%w:rd", TOKEN])
def test_a_secret_is_known_in_every_form(secret: str) -> None:
    octets = secret.encode()
    forms = [secret, base64.b64encode(octets).decode(), repr(octets)[2:-1], quote(secret, safe="")]
    forms += [json.dumps(secret, ensure_ascii=each)[1:-1] for each in (True, False)]
    for form in forms:
        assert Secrets([secret]).redacted(f"you said {form}!") == "you said <redacted>!"


NEEDED = AuthNeeded(Mail(""), Reply(530, "no"), (), AuthReason.REQUIRED_BY_SERVER)
REFUSED = Outcome(int(ErrorCode.AUTHENTICATION_REFUSED), "AUTHENTICATION_REFUSED")
HINTS: list[tuple[Outcome, dict[str, Any], AuthNeeded | None, str | None]] = [
    (REFUSED, {"username": "u", "password": "p"}, None, FOR_PASSWORDS),
    (REFUSED, {"username": "u", "token": "t"}, None, FOR_TOKENS),
    (REFUSED, {"mechanisms": ["EXTERNAL"]}, None, FOR_CERTIFICATES),
    (REFUSED, {"mechanisms": ["ANONYMOUS"]}, None, None),
    *((REFUSED._replace(error=word), {"password": "p"}, None, what) for word, what in OF_SCRAM.items()),
    (REFUSED._replace(error="other-error"), {"username": "u", "password": "p"}, None, FOR_PASSWORDS),
    (Outcome(int(Status.REFUSED), "REFUSED"), {}, None, None),
    (Outcome(int(Status.REFUSED), "REFUSED"), {}, NEEDED, "it offers nothing to use in plaintext; see --security"),
    (Outcome(0, "SUCCESS"), {}, NEEDED, None),
]


@pytest.mark.parametrize(("outcome", "fields", "refusal", "what"), HINTS)
def test_what_to_do(outcome: Outcome, fields: dict[str, Any], refusal: AuthNeeded | None, what: str | None) -> None:
    assert hint(outcome, ConnectOptions(**fields), refusal) == what
    assert hint(REFUSED, None, None) is None


def test_an_error_that_the_sentence_does_not_have_is_added() -> None:
    failure = AuthenticationFailed("not now", ErrorCode.AUTHENTICATION_UNAVAILABLE, Reply(454, "later"), error="{}")
    assert Outcome.of_connecting(failure, str(failure)).sentence == "not now: 454 later; the server says {}"
    assert Outcome.of_connecting(failure, "it says {}").sentence == "it says {}"


# Certificates of clients, and nobody -------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def roots(tmp_path: Path) -> trustme.CA:
    """Of clients; their certificates and keys lie in files."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "roots"))
    for name, identities in (("ann", ("ann@client.example",)), ("bob", ())):
        mine = authority.issue_cert(*identities, common_name=None if identities else "Bob")
        (tmp_path / f"{name}.cert").write_bytes(b"".join(each.bytes() for each in mine.cert_chain_pems))
        (tmp_path / f"{name}.key").write_bytes(mine.private_key_pem.bytes())
        (tmp_path / f"{name}.both").write_bytes(mine.private_key_and_cert_chain_pem.bytes())
        key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        hidden = key.private_bytes(*form, serialization.BestAvailableEncryption(b"open sesame"))
        (tmp_path / f"{name}.hidden").write_bytes(hidden)
    return authority


@pytest.fixture
def server(roots: trustme.CA, tmp_path: Path) -> Iterator[Server]:
    """For those with a certificate, and for nobody."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    certificates.accept_clients(context, tmp_path / "roots")
    auth = ServerAuth(mechanisms=["EXTERNAL", "ANONYMOUS"], failure_delay=0)
    with Server(Witnessing(), context=context, auth=auth) as running:
        yield running


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("files", [("--cert", "ann.both"), ("--cert", "ann.cert", "--key", "ann.key")])
def test_a_certificate_is_shown(
    command: Command, server: Server, tmp_path: Path, files: tuple[str, ...], adapter: str
) -> None:
    outcome = command(
        *("connect", f"smtp://127.0.0.1:{server.port}", "--ca", str(tmp_path / "ca"), "--adapter", adapter),
        *("--auth", "--mechanism", "EXTERNAL", *(at(tmp_path, each) for each in files)),
    )
    assert (outcome.code, outcome.err) == (ErrorCode.SUCCESS, "")
    assert "it can be done by EXTERNAL; offered besides: ANONYMOUS\n" in outcome.out
    assert f"{INDENT}authenticated by EXTERNAL\n" in outcome.out


def at(folder: Path, word: str) -> str:
    return word if word.startswith("--") else str(folder / word)


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("--cert", "ann.both", "--authorization-id", "ann@client.example"), ErrorCode.SUCCESS),
        (("--cert", "ann.both", "--username", "ann@client.example"), ErrorCode.SUCCESS),
        (("--cert", "bob.both", "--authorization-id", "Bob"), ErrorCode.SUCCESS),
        (("--cert", "bob.both", "--authorization-id", "ann@client.example"), ErrorCode.AUTHENTICATION_REFUSED),
        ((), ErrorCode.AUTHENTICATION_REFUSED),
    ],
)
def test_whom_a_certificate_is_good_for(
    command: Command, server: Server, tmp_path: Path, argv: tuple[str, ...], code: ErrorCode
) -> None:
    words = (at(tmp_path, word) if word.endswith(".both") else word for word in argv)
    where = ("connect", f"smtp://127.0.0.1:{server.port}", "--ca", str(tmp_path / "ca"))
    outcome = command(*where, "--auth", "--mechanism", "external", *words)
    assert outcome.code is code
    assert code is ErrorCode.SUCCESS or outcome.complaint.endswith(FOR_CERTIFICATES)


@pytest.mark.parametrize("argv", [(), ("--username", "ann@client.example")])
def test_nobody_in_particular(command: Command, server: Server, tmp_path: Path, argv: tuple[str, ...]) -> None:
    where = ("connect", f"smtp://127.0.0.1:{server.port}", "--ca", str(tmp_path / "ca"))
    outcome = command(*where, "--auth", "--mechanism", "ANONYMOUS", *argv)
    assert (outcome.code, outcome.err) == (ErrorCode.SUCCESS, "")
    assert f"{INDENT}authenticated by ANONYMOUS\n" in outcome.out


def test_sending_shows_it_too(command: Command, server: Server, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("Hello\n")
    outcome = command(
        *("send", f"smtp://127.0.0.1:{server.port}", "--from", "a@b.example", "--to", "c@d.example", "--verbose"),
        *("--ca", str(tmp_path / "ca"), "--cert", str(tmp_path / "ann.both"), str(tmp_path / "m")),
        *("--auth", "--mechanism", "EXTERNAL"),
    )
    assert outcome.status == 0
    assert f"{INDENT}authenticated by EXTERNAL\n" in outcome.out


@pytest.mark.parametrize("phrase", ["open sesame", "wrong", None])
def test_a_key_that_is_encrypted(
    roots: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phrase: str | None
) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return phrase or ""

    monkeypatch.setattr(sys, "stdin", io.StringIO() if phrase is None else Terminal())
    monkeypatch.setattr("getpass.getpass", answer)
    files = (None, tmp_path / "ann.cert", tmp_path / "ann.hidden")
    if phrase == "open sesame":
        assert certificates.client_context(*files) is not None
        assert asked == [f"Pass phrase of {tmp_path / 'ann.hidden'}: "]
        return
    with pytest.raises(ConnectFailed) as caught:
        certificates.client_context(*files)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert ("no terminal" if phrase is None else "goes with a key in ") in str(caught.value)


def test_a_key_of_another_certificate(command: Command, roots: trustme.CA, tmp_path: Path) -> None:
    files = ("--cert", str(tmp_path / "ann.cert"), "--key", str(tmp_path / "bob.key"))
    outcome = command("connect", "smtp://127.0.0.1:1", *files)
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert outcome.complaint.endswith(f"ann.cert holds no certificate in PEM that goes with a key in {files[3]}")


@pytest.mark.parametrize(
    ("certificate", "owner"),
    [
        (None, None),
        ({}, None),
        ({"subject": ((("organizationName", "X"),),)}, None),
        ({"subject": ((("commonName", "Ann"),),)}, "Ann"),
        ({"subject": ((("commonName", "Ann"),), (("emailAddress", "a@x.example"),))}, "a@x.example"),
        ({"subject": ((("commonName", "Ann"),),), "subjectAltName": (("DNS", "x"),)}, "Ann"),
        ({"subject": ((("commonName", "Ann"),),), "subjectAltName": (("DNS", "x"), ("email", "b@x"))}, "b@x"),
    ],
)
def test_whose_a_certificate_is(certificate: dict[str, Any] | None, owner: str | None) -> None:
    assert owner_of(certificate) == owner
