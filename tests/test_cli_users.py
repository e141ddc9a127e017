"""Who may authenticate at `smtpproto serve`: the files, the offer, what is shown; and `smtpproto hash-password`."""

from __future__ import annotations

import base64
import io
import re
import ssl
import sys
from typing import TYPE_CHECKING, Any

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("rich")
pytest.importorskip("trustme")

import trustme

from smtpproto import AuthenticationFailed, ErrorCode, Reply, ScramCredential, Security
from smtpproto.sasl import MECHANISMS
from smtpproto_adapters.blocking import Client
from tests.commanding import Command
from tests.serving import Serving, say, send

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD, TOKEN = "hunter2-W\u00f6rd", "ya29.t0ken"
BY_PASSWORD = [each.name for each in MECHANISMS if each.name.startswith("SCRAM-")] + ["CRAM-MD5", "PLAIN", "LOGIN"]
BY_TOKEN = ["OAUTHBEARER", "XOAUTH2"]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(*argv: str) -> Serving:
        return Serving(tmp_path, monkeypatch, *argv)

    return made


def stored(*hashes: str) -> str:
    return "".join(f"ann:{ScramCredential.derive(PASSWORD, hash=each, iterations=4096).encoded()}\n" for each in hashes)


def written(folder: Path, text: str, name: str = "users") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def trusting(server: Serving) -> dict[str, Any]:
    """What a client needs in order to reach a server under TLS."""
    return {"context": ssl.create_default_context(cafile=server.objects[0]["ca"])}


# Hashing a password ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_name", [None, "sha-1", "SHA-256", "SHA-512"])
def test_what_is_kept_of_a_password(command: Command, monkeypatch: pytest.MonkeyPatch, hash_name: str | None) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    option = () if hash_name is None else ("--hash", hash_name)
    outcome = command("hash-password", "ann", "--password-env", "MAIL_PASSWORD", *option)
    assert (outcome.status, outcome.err) == (0, "")
    found = re.fullmatch(r"ann:(SCRAM-.+)\n", outcome.out)
    assert found is not None
    credential = ScramCredential.parse(found[1])
    assert credential.hash == (hash_name or "SHA-256").upper()
    assert credential.matches(PASSWORD)
    assert not credential.matches("an0ther")


def test_a_password_from_standard_input(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))
    outcome = command("hash-password", "jörg", "--password-file", "-")
    name, _, text = outcome.out.rstrip("\n").partition(":")
    assert (name, ScramCredential.parse(text).matches(PASSWORD)) == ("jörg", True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("again", "right"), [(PASSWORD, True), ("hunter2-Word", False)])
def test_the_terminal_asks_twice(command: Command, monkeypatch: pytest.MonkeyPatch, again: str, right: bool) -> None:
    asked: list[str] = []
    answers = iter((PASSWORD, again))

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return next(answers)

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", answer)
    outcome = command("hash-password", "ann")
    assert asked == ["Password of ann: ", "The same once more: "]
    assert outcome.code is (ErrorCode.SUCCESS if right else ErrorCode.INVALID_ARGUMENT)
    assert right or outcome.complaint == "that was another password"
    assert PASSWORD not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        ((), "NAME"),
        (("ann",), "no terminal to ask for the password"),
        (("ann", "--password", PASSWORD), "does not belong on the command line"),
        (("ann", "--password-env", "NOT_THERE"), "NOT_THERE"),
        (("ann", "--password-env", "ODD"), "the password cannot be used with SCRAM"),
        (("a:b", "--password-env", "ODD"), "'a:b' cannot stand in the file"),
        (("a\nb", "--password-env", "ODD"), "cannot stand in the file"),
        (("", "--password-env", "ODD"), "cannot stand in the file"),
        (("ann", "--hash", "MD5"), "--hash"),
    ],
)
def test_what_cannot_be_hashed(
    command: Command, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], why: str
) -> None:
    monkeypatch.setenv("ODD", f"{PASSWORD}\x07")
    outcome = command("hash-password", *argv)
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert why in outcome.complaint
    assert outcome.out == ""
    assert PASSWORD not in outcome.err


def test_help_fits_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = command("hash-password", "--help")
    assert outcome.status == 0
    assert max(map(len, outcome.out.splitlines())) <= 80


# What is offered ---------------------------------------------------------------------------------------------------

SHA_256 = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
OFFERS: list[tuple[str, tuple[str, ...], list[str]]] = [
    (f"ann:{PASSWORD}\n", (), SHA_256),
    (f"ann:{PASSWORD}\r\n\r\nbob:x\r\n", (), SHA_256),
    (stored("SHA-256"), (), SHA_256),
    (stored("SHA-512"), (), ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-512", "PLAIN", "LOGIN"]),
    (stored("SHA-1"), ("--mechanism", "scram-sha-1", "--mechanism", "PLAIN"), ["SCRAM-SHA-1", "PLAIN"]),
    (f"ann:{PASSWORD}\n", ("--mechanism", "CRAM-MD5"), ["CRAM-MD5"]),
    (f"ann:{PASSWORD}\n", ("--mechanism", "ANONYMOUS", "--mechanism", "LOGIN"), ["ANONYMOUS", "LOGIN"]),
    (f"ann:{PASSWORD}\n", ("--tokens", "TOKENS"), [*SHA_256, *BY_TOKEN]),
    (f"ann:{PASSWORD}\n", ("--client-ca", "ROOTS"), [*SHA_256, "EXTERNAL"]),
    ("", ("--tokens", "TOKENS"), BY_TOKEN),
    ("", ("--client-ca", "ROOTS"), ["EXTERNAL"]),
    ("", ("--mechanism", "ANONYMOUS"), ["ANONYMOUS"]),
]


@pytest.mark.parametrize(("users", "argv", "mechanisms"), OFFERS)
def test_what_is_offered(
    serving: Any, tmp_path: Path, users: str, argv: tuple[str, ...], mechanisms: list[str]
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "roots"))
    files = {"TOKENS": written(tmp_path, f"{TOKEN} ann\n", "tokens"), "ROOTS": str(tmp_path / "roots")}
    words = [files.get(word, word) for word in argv]
    if users:
        words += ["--users", written(tmp_path, users)]
    with serving("--once", "--json", "--tls", "starttls", *words) as server:
        offered = send(server.url, **trusting(server))
    assert list(offered.auth) == server.objects[0]["mechanisms"] == mechanisms
    assert server.objects[0]["auth_required"] is False


def test_what_is_offered_without_tls(serving: Any, tmp_path: Path) -> None:
    with serving("--once", "--users", written(tmp_path, f"ann:{PASSWORD}\n"), "--require-auth") as server:
        assert server.out.splitlines()[1:3] == [
            "  SMTP, no TLS, AUTH required",
            "  mechanisms: SCRAM-SHA-256, PLAIN, LOGIN",
        ]
        with Client(server.url) as client:
            refused = client.sendmail("a@b.example", "c@d.example", b"x")
        assert refused.reply == Reply(530, "5.7.0 authentication required")
        send(server.url, username="ann", password=PASSWORD, security=Security.NONE)
    assert server.status == 0


@pytest.mark.parametrize("own", [False, True])
def test_authentication_is_bound_to_the_certificate(serving: Any, tmp_path: Path, own: bool) -> None:
    """Whether it is made now or not."""
    argv = ["--tls", "implicit", "--users", written(tmp_path, stored("SHA-256"))]
    if own:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "mine.ca"))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "mine"))
        argv += ["--cert", str(tmp_path / "mine")]
    with serving("--once", "--json", *argv) as server:
        ca = str(tmp_path / "mine.ca") if own else server.objects[0]["ca"]
        who: dict[str, Any] = {"username": "ann", "password": PASSWORD, "mechanisms": ["SCRAM-SHA-256-PLUS"]}
        send(server.url, context=ssl.create_default_context(cafile=ca), **who)
    (login,) = server.of("authentication")
    assert (login["succeeded"], login["channel_binding"]) == (True, "tls-server-end-point")


# Who is shown to have come in --------------------------------------------------------------------------------------


def attempt(server: Serving, **fields: Any) -> bool:
    """Whether somebody can authenticate."""
    with Client(server.url, client_name="me.example", allow_plaintext_auth=True, **fields) as client:
        try:
            client.authenticate()
        except AuthenticationFailed:
            return False
        return True


@pytest.mark.parametrize("name", BY_PASSWORD + BY_TOKEN)
@pytest.mark.parametrize("argv", [(), ("--json",)])
def test_each_mechanism(serving: Any, tmp_path: Path, argv: tuple[str, ...], name: str) -> None:
    tls = name.endswith("-PLUS")
    words = ["--write-ca", str(tmp_path / "ca"), "--tls", "starttls"] if tls else []
    kept = f"ann:{PASSWORD}\nbob:x\n" if name == "CRAM-MD5" else stored("SHA-1", "SHA-256", "SHA-512")
    words += ["--users", written(tmp_path, kept)]
    if name in BY_TOKEN:
        words = ["--tokens", written(tmp_path, f"{TOKEN}  ann\n", "tokens")]
    who: dict[str, Any] = {"username": "ann", "mechanisms": [name]}
    if not tls:
        who["security"] = Security.NONE
    kind, right, wrong = ("token", TOKEN, "0ld-token") if name in BY_TOKEN else ("password", PASSWORD, "an0ther")
    with serving("--once", "--no-color", *words, "--mechanism", name, *argv) as server:
        context = ssl.create_default_context(cafile=tmp_path / "ca") if tls else None
        assert not attempt(server, context=context, **who, **{kind: wrong})
        who[kind] = right
        send(server.url, context=context, allow_plaintext_auth=True, **who)
    if argv:
        logins = server.of("authentication")
        binding = "tls-server-end-point" if tls else None
        assert [(each["succeeded"], each["mechanism"], each["channel_binding"]) for each in logins] == [
            (succeeded, name, binding) for succeeded in (False, True)
        ]
        assert logins[1]["username"] == "ann"
        assert all("ann" in (each["username"], each["authorization_id"]) for each in logins)
    else:
        bound = ", bound to TLS by tls-server-end-point" if tls else ""
        assert re.search(rf"\n#1   ← 535 .+\n#1     ann failed to authenticate by {name}\n", server.out)
        assert re.search(rf"\n#2   ← 235 .+\n#2     ann authenticated by {name}{bound}\n", server.out)
    for text in (PASSWORD, "an0ther", TOKEN, "0ld-token", *re.findall(r"[A-Za-z0-9+/=]{20,}", kept)):
        for secret in (text, base64.b64encode(text.encode()).decode()):
            assert secret not in server.out + server.err
    challenges = re.findall(r'334 .+|"code": 334, .*"lines": .+', server.out)
    assert challenges or name not in ("LOGIN", "CRAM-MD5")
    assert all("<redacted>" in each for each in challenges)


def test_a_user_with_a_name_that_saslprep_changes(serving: Any, tmp_path: Path) -> None:
    with serving("--once", "--json", "--users", written(tmp_path, "\u2168:pw-of-nine\n")) as server:
        send(server.url, username="IX", password="pw-of-nine", security=Security.NONE)
    assert server.of("authentication")[0]["username"] == "IX"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_who_wants_to_act_as_another(serving: Any, tmp_path: Path, mechanism: str) -> None:
    who: dict[str, Any] = {"username": "ann", "password": PASSWORD, "mechanisms": [mechanism]}
    with serving("--once", "--users", written(tmp_path, f"ann:{PASSWORD}\n")) as server:
        assert not attempt(server, authorization_id="boss", security=Security.NONE, **who)
        send(server.url)
    assert f"#1     ann failed to authenticate by {mechanism}, to act as boss\n" in server.out


def test_a_name_without_end_is_cut(serving: Any, tmp_path: Path) -> None:
    with serving("--once", "--json", "--users", written(tmp_path, f"ann:{PASSWORD}\n")) as server:
        assert not attempt(server, username="x" * 2000, password="y", security=Security.NONE)
        send(server.url)
    (login,) = server.of("authentication")
    assert (login["succeeded"], login["username"]) == (False, "x" * 200)


@pytest.mark.parametrize("argv", [(), ("--json",)])
def test_attempts_that_come_to_nothing(serving: Any, tmp_path: Path, argv: tuple[str, ...]) -> None:
    """Unknown mechanisms, and what is given up."""
    with serving("--once", "--users", written(tmp_path, f"ann:{PASSWORD}\n"), *argv) as server:
        say(server.port, b"EHLO me", b"AUTH GSSAPI", b"AUTH PLAIN", b"*", b"AUTH LOGIN AAA", b"QUIT")
        send(server.url)
    if argv:
        found = [(each["succeeded"], each["mechanism"], each["username"]) for each in server.of("authentication")]
        assert found == [(False, "GSSAPI", None), (False, "PLAIN", None)]
    else:
        assert "#1     somebody failed to authenticate by GSSAPI\n" in server.out
        assert server.out.count("failed to authenticate") == 2


def test_a_client_with_a_certificate_and_one_who_is_nobody(serving: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "roots"))
    argv = ("--tls", "implicit", "--write-ca", str(tmp_path / "ca"), "--client-ca", str(tmp_path / "roots"))
    with serving("--once", *argv, "--mechanism", "EXTERNAL", "--mechanism", "ANONYMOUS") as server:
        context = ssl.create_default_context(cafile=tmp_path / "ca")
        who: dict[str, Any] = {"mechanisms": ["ANONYMOUS"], "username": "it is\u2026 me"}
        assert attempt(server, context=context, **who)
        assert not attempt(server, context=context, mechanisms=["EXTERNAL"], authorization_id="eve@x.example")
        authority.issue_cert("ann@client.example").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
        with Client(server.url, context=context, mechanisms=["EXTERNAL"]) as client:
            client.authenticate()
            client.sendmail("a@b.example", "c@d.example", b"x").raise_unless_accepted()
    assert "#1     anonymous (it is\u2026 me) authenticated by ANONYMOUS\n" in server.out
    assert "#2     eve@x.example failed to authenticate by EXTERNAL\n" in server.out
    assert "#3     ann@client.example authenticated by EXTERNAL\n" in server.out


# What makes no sense -----------------------------------------------------------------------------------------------

TLS = ("--tls", "starttls")
REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("--user", f"ann:{PASSWORD}"), "does not belong on the command line"),
    (("--users", "/not/there"), "cannot read the users from /not/there: No such file"),
    (("--users", "/dev/null"), "/dev/null names no user"),
    (("--users", "LATIN"), "it is not UTF-8"),
    (("--users", "BAD"), "line 2 of BAD is not NAME:PASSWORD"),
    (("--users", "NAMELESS"), "line 1 of NAMELESS is not NAME:PASSWORD"),
    (("--users", "BROKEN"), "line 1 of BROKEN begins like a stored key, and is none"),
    (("--users", "TWICE"), "TWICE has ann more than once"),
    (("--users", "MIXED"), "MIXED has ann more than once"),
    (("--users", "SAME"), "SAME has ann more than once"),
    (("--tokens", "/not/there"), "cannot read the tokens from /not/there: No such file"),
    (("--tokens", "USERS"), "line 1 of USERS is not TOKEN NAME"),
    (("--tokens", "TOKENS"), "line 2 of TOKENS is not TOKEN NAME, or repeats a token"),
    (("--users", "-", "--tokens", "-"), "standard input cannot be both"),
    (("--users", "USERS", "--host", "0.0.0.0"), "for loopback alone"),
    (("--users", "USERS", "--host", "mx.example"), "for loopback alone"),
    (("--require-auth",), "--require-auth needs somebody who can authenticate"),
    (("--mechanism", "TELEPATHY"), "--mechanism"),
    (("--mechanism", "PLAIN"), "PLAIN needs users: give --users too"),
    (("--users", "USERS", "--mechanism", "OAUTHBEARER"), "OAUTHBEARER needs tokens: give --tokens too"),
    (("--users", "USERS", "--mechanism", "EXTERNAL", *TLS), "EXTERNAL needs certificates of clients"),
    (("--users", "USERS", "--mechanism", "SCRAM-SHA-256-PLUS"), "bound to the TLS channel: give --tls too"),
    (("--users", "USERS", "--mechanism", "ANONYMOUS"), "--users is of no use with ANONYMOUS alone"),
    (("--tokens", "TOKEN", "--users", "USERS", "--mechanism", "PLAIN"), "--tokens is of no use with PLAIN alone"),
    (("--client-ca", "LATIN", "--users", "USERS", *TLS, "--mechanism", "PLAIN"), "--client-ca is of no use with PLAIN"),
    (("--users", "KEPT", "--mechanism", "CRAM-MD5"), "CRAM-MD5 is of no use"),
    (("--users", "KEPT", "--mechanism", "SCRAM-SHA-512"), "SCRAM-SHA-512 is of no use"),
    (("--client-ca", "LATIN"), "--client-ca is for TLS"),
    (("--client-ca", "LATIN", *TLS), "it holds no certificate in PEM"),
    (("--client-ca", "/not/there", *TLS), "/not/there: No such file"),
]
FILES = {
    "LATIN": b"ann:\xe9\n",
    "BAD": b"ann:x\n" + PASSWORD.encode(),
    "NAMELESS": b":" + PASSWORD.encode(),
    "BROKEN": f"ann:SCRAM-{PASSWORD}".encode(),
    "TWICE": f"ann:{PASSWORD}\nann:x".encode(),
    "MIXED": f"ann:{PASSWORD}\n{stored('SHA-1')}".encode(),
    "SAME": stored("SHA-256", "SHA-1", "SHA-256").encode(),
    "USERS": f"ann:{PASSWORD}\n".encode(),
    "TOKEN": f"{TOKEN} ann\n".encode(),
    "TOKENS": f"{TOKEN} ann\n{TOKEN} bob\n".encode(),
    "KEPT": stored("SHA-256").encode(),
}


@pytest.mark.parametrize(("argv", "why"), REFUSED, ids=[" ".join(argv) for argv, _ in REFUSED])
def test_what_makes_no_sense_is_refused_in_one_sentence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], why: str
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    outcome = command("serve", "--port", "0", *argv)
    assert outcome.code is ErrorCode.INVALID_ARGUMENT
    assert why in outcome.complaint
    assert outcome.out == ""
    assert PASSWORD not in outcome.err
    assert TOKEN not in outcome.err


def test_the_users_may_come_from_standard_input(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"ann:{PASSWORD}\n"))
    with serving("--once", "--users", "-") as server:
        send(server.url, username="ann", password=PASSWORD, security=Security.NONE)
    assert server.status == 0
