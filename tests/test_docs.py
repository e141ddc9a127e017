"""Every block of code in the documentation is run; docs/contributing.md says how, to those who write them."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shlex
import socket
import ssl
import struct
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from smtpproto import (
    AuthenticationFailed,
    ConnectOptions,
    Connector,
    ErrorCode,
    Identity,
    Service,
    ServiceSession,
    flows,
    testing,
)
from smtpproto.sasl import (
    MECHANISMS,
    NO_BINDINGS,
    Challenge,
    Credentials,
    Description,
    ServerExchange,
    choose,
)
from smtpproto.server_auth import ServerAuth
from tests.docs_server import ExampleDomain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "generated"} & set(path.parts)),
]

NOT_RUN = frozenset({"text", "toml", "diff", "mermaid"})
SHOWN = frozenset({"cd", "git"})
"""Commands that a reader needs and that nothing here can check."""


class Block(NamedTuple):
    path: Path
    line: int
    language: str
    code: str
    continues: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks_of(path: Path, text: str) -> Iterator[Block]:
    """The fenced blocks of a page of Markdown."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opening = re.match(r" *(`{3,}|~{3,})(.*)$", lines[number])
        if opening is None:
            number += 1
            continue
        before = next((line for line in reversed(lines[:number]) if line.strip()), "")
        first = number + 1
        number = first
        while not lines[number].strip().startswith(opening[1]):
            number += 1
        code = "\n".join(lines[first:number]) + "\n"
        yield Block(path, first, opening[2].strip(), code, before.strip() == "<!-- continues -->")
        number += 1


def chains() -> Iterator[list[Block]]:
    """The blocks that are to be run, each with those that it continues."""
    for path in PAGES:
        chain: list[Block] = []
        for block in blocks_of(path, path.read_text(encoding="utf-8")):
            if block.language in NOT_RUN or block.language.startswith("{"):  # Sphinx reads those in braces
                continue
            chain = [*chain, block] if block.continues else [block]
            yield chain


@pytest.fixture(scope="module")
def example() -> Iterator[ExampleDomain]:
    names = {name for path in PAGES for name in re.findall(r"\w[\w.-]*\.example\b", path.read_text(encoding="utf-8"))}
    with ExampleDomain(sorted(names)) as domain:
        yield domain


@pytest.mark.parametrize("chain", list(chains()), ids=lambda chain: str(chain[-1]))
def test_block(chain: list[Block], example: ExampleDomain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example.patch(monkeypatch, tmp_path / "etc")
    stand_in_for_spnego(monkeypatch)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in chain:
        RUNNERS[block.language](block, namespace)


TESTS = re.compile(r"^(?:async )?def test_", re.MULTILINE)


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    if TESTS.search(block.code):
        run_tests(block)
    else:
        # Moved down, so that a traceback names the line of the page.
        exec(compile("\n" * block.line + block.code, str(block.path), "exec"), namespace)


def run_tests(block: Block) -> None:
    """Let pytest run them, with our plugin and no other; in a process of its own, as readers do."""
    Path("test_block.py").write_text(block.code, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "smtpproto_adapters.pytest_plugin", "--strict-markers"]
    command += ["-W", "error", "test_block.py"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"


def run_session(block: Block, namespace: dict[str, Any]) -> None:
    session = doctest.DocTestParser().get_doctest(block.code, namespace, str(block), str(block.path), block.line)
    assert session.examples, f"{block} holds no >>>"
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(session, out=report.append, clear_globs=False)
    assert not runner.failures, "".join(report)
    namespace.update(session.globs)


def run_commands(block: Block, namespace: dict[str, Any]) -> None:
    commands = [line.removeprefix("$ ") for line in block.code.splitlines() if line.startswith("$ ")]
    assert commands, f"{block}: a command begins with `$ `, what it prints does not"
    for command in commands:
        words = shlex.split(command, comments=True)
        environment: dict[str, str] = {}
        while words and (assignment := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
            environment[assignment[1]] = assignment[2]
            del words[0]
        run_command(words, environment)


def run_command(words: list[str], environment: dict[str, str]) -> None:
    match words:
        case ["make", *targets]:
            there = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert {target for target in targets if "=" not in target} <= set(there)
        case ["pip", "install", *packages]:
            for package in packages:
                check_package(package)
        case ["smtpproto", *arguments]:
            run_smtpproto(arguments, environment)
        case [name, *_] if name in SHOWN:
            pass
        case _:
            pytest.fail(f"the tests do not know what to make of the command {shlex.join(words)}")


def check_package(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = re.fullmatch(r"([a-z-]+)(?:\[([a-z,]+)\])?", package)
    assert wanted is not None, package
    assert wanted[1] == project["name"]
    assert set((wanted[2] or "").split(",")) - {""} <= set(project["optional-dependencies"])


def run_smtpproto(arguments: list[str], environment: dict[str, str]) -> None:
    from smtpproto_adapters import cli

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        status: object
        try:
            status = cli.main(arguments)
        except SystemExit as stop:
            status = stop.code
    assert not status, f"smtpproto {shlex.join(arguments)} ended with {status}"


RUNNERS = {"python": run_python, "pycon": run_session, "console": run_commands}


# The one package that a page shows and that the tests do not want.


class StandIn:
    """As much of a context of pyspnego as the page needs; it fails on what it does not expect, as that does."""

    def __init__(self, username: str, password: str, *, channel_bindings: bytes | None = None, **options: str) -> None:
        assert options == {"hostname": "mx.example", "service": "smtp", "protocol": "ntlm"}
        self.answer = b"%s %s %s" % (username.encode(), password.encode(), channel_bindings or b"unbound")
        self.complete = False

    def step(self, token: bytes | None = None) -> bytes:
        if token is None:
            return b"negotiate"
        if token != b"challenge":
            raise struct.error("unpack requires a buffer of 4 bytes")
        self.complete = True
        return self.answer


def channel_of(*, application_data: bytes) -> bytes:
    return application_data


def stand_in_for_spnego(monkeypatch: pytest.MonkeyPatch) -> None:
    package, channel = ModuleType("spnego"), ModuleType("spnego.channel_bindings")
    package.__dict__["client"] = StandIn
    channel.__dict__["GssChannelBindings"] = channel_of
    monkeypatch.setitem(sys.modules, "spnego", package)
    monkeypatch.setitem(sys.modules, "spnego.channel_bindings", channel)


class NtlmServer:
    name = "NTLM"
    exposes_secret = True

    def __init__(self, *challenges: bytes) -> None:
        self.challenges = challenges
        self.heard: list[object] = []

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        self.heard.append(initial_response)
        for challenge in self.challenges:
            self.heard.append((yield Challenge(challenge)))
        return Identity("ann")


def authenticate_with_ntlm(
    monkeypatch: pytest.MonkeyPatch, server: NtlmServer, bindings: Mapping[str, bytes] = NO_BINDINGS
) -> None:
    stand_in_for_spnego(monkeypatch)
    (block,) = (chain[-1] for chain in chains() if "class NtlmClient" in chain[-1].code)
    namespace: dict[str, Any] = {}
    run_python(block, namespace)
    options = ConnectOptions(
        host="mx.example",
        mechanisms=[namespace["NtlmClient"]("ann", "secret", "mx.example")],
        authenticate=True,
    )
    service = Service(starttls=True, auth=ServerAuth(mechanisms=[server]))
    testing.link(flows.connect(Connector(options)), flows.serve(ServiceSession(service)), channel_bindings=bindings)


def test_the_ntlm_of_the_page_is_a_mechanism(monkeypatch: pytest.MonkeyPatch) -> None:
    server = NtlmServer(b"challenge")
    authenticate_with_ntlm(monkeypatch, server)
    assert server.heard == [b"negotiate", b"ann secret unbound"]


def test_the_ntlm_of_the_page_is_bound_to_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    server = NtlmServer(b"challenge")
    authenticate_with_ntlm(monkeypatch, server, {"tls-exporter": b"ours", "tls-server-end-point": b"theirs"})
    assert server.heard == [b"negotiate", b"ann secret tls-server-end-point:theirs"]


@pytest.mark.parametrize(
    ("challenges", "code"),
    [
        ([], ErrorCode.SERVER_NOT_AUTHENTIC),
        ([b"garbage"], ErrorCode.PROTOCOL_ERROR),
        ([b"challenge", b"challenge"], ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_the_ntlm_of_the_page_does_not_take_everything(
    challenges: list[bytes], code: ErrorCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        authenticate_with_ntlm(monkeypatch, NtlmServer(*challenges))
    assert caught.value.code is code


# The tables that are made from the code: what they say in words of their own.


def is_chosen(
    row: Description, bindings: Mapping[str, bytes] = NO_BINDINGS, *, named: bool = True, **tls: bool
) -> bool:
    settings = {"secure": False, "allow_plaintext": False, **tls}
    wanted = [row.name] if named else None
    everybody = (Credentials(), Credentials("user", "password"), Credentials("user", token="token"))
    return any(
        choose([row.name], each, mechanisms=wanted, bindings=bindings, **settings).candidates for each in everybody
    )


@pytest.mark.parametrize("row", MECHANISMS, ids=lambda row: row.name)
def test_when_a_mechanism_is_allowed_is_told_as_it_is(row: Description, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs" / "_ext"), *sys.path])
    text: str = importlib.import_module("from_code").Mechanisms.allowed(row)
    without_tls = {
        "with a channel binding, which TLS has": (False, False, False),
        "under TLS; without it where the program allows that": (False, False, True),
        "under TLS; without it where TLS was not wanted, or the program allows that": (False, True, True),
        "always": (True, True, True),
        "always, where it is named": (True, True, True),
    }
    found = (
        is_chosen(row, wants_tls=True),
        is_chosen(row),
        is_chosen(row, wants_tls=True, allow_plaintext=True),
    )
    assert without_tls[text] == found
    binding = {"tls-exporter": b"binding"}
    assert is_chosen(row, binding, secure=True)
    assert is_chosen(row, secure=True) is not row.binds_channel
    assert is_chosen(row, binding, secure=True, named=False) is ("where it is named" not in text)


# And the same for the pages as such.


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} links to {target}"


# The runner itself.


def test_blocks_are_found() -> None:
    page = "# A\n\n```python\nx = 1\n```\n\n<!-- continues -->\n\n```pycon\n>>> x\n1\n```\n\n````text\n```\n````\n"
    first, second, third = blocks_of(ROOT / "A.md", page)
    assert (first.line, first.language, first.code, first.continues) == (3, "python", "x = 1\n", False)
    assert (second.language, second.continues) == ("pycon", True)
    assert third.code == "```\n"


@pytest.mark.parametrize(
    "block",
    [
        Block(ROOT / "A.md", 1, "python", "assert 1 == 2", False),
        Block(ROOT / "A.md", 1, "python", "def test_it(smtp_server):\n    assert smtp_server.inbox\n", False),
        Block(ROOT / "A.md", 1, "pycon", ">>> 1 + 1\n3\n", False),
        Block(ROOT / "A.md", 1, "console", "$ make nothing\n", False),
        Block(ROOT / "A.md", 1, "console", "$ smtpproto conect\n", False),
        Block(ROOT / "A.md", 1, "console", "$ pip install smtpproto\n", False),
        Block(ROOT / "A.md", 1, "console", "$ pip install smtpproto-sansio[tro]\n", False),
        Block(ROOT / "A.md", 1, "console", "make test\n", False),
        Block(ROOT / "A.md", 1, "console", "$ rm -rf /\n", False),
    ],
    ids=lambda block: block.code.strip(),
)
def test_wrong_blocks_fail(block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        RUNNERS[block.language](block, {})


def test_an_example_host_is_a_real_server(
    example: ExampleDomain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Which the default context trusts; any other name is not found, lest the tests want a network."""
    example.patch(monkeypatch, tmp_path)
    with (
        socket.create_connection(("mx.example", 465), timeout=10) as plain,
        ssl.create_default_context().wrap_socket(plain, server_hostname="mx.example") as stream,
    ):
        assert stream.recv(4) == b"220 "
    with pytest.raises(OSError, match=r"www\.python\.org"):
        socket.create_connection(("www.python.org", 25), timeout=10)
    assert os.environ["SSL_CERT_FILE"]
