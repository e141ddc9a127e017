"""Every block of code in the documentation is run; docs/contributing.md says how, to those who write them."""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import os
import re
import shlex
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

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
from tests.commanding import start
from tests.docs_server import ExampleDomain
from tests.stability import public

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "generated"} & set(path.parts)),
]

NOT_RUN = frozenset({"text", "toml", "diff", "mermaid"})
SHOWN = frozenset({"cd", "git", "mkdir", "."})
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
    monkeypatch.setattr(example, "moved", {})
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.ExitStack() as stack:
        namespace["served"] = partial(serving, stack, example)
        for block in chain:
            RUNNERS[block.language](block, namespace)


TESTS = re.compile(r"^(?:async )?def test_", re.MULTILINE)
FRAMEWORKS = frozenset({"django", "flask"})
"""Not every Python that the tests run on has them."""


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    if TESTS.search(block.code):
        run_tests(block)
    else:
        # Moved down, so that a traceback names the line of the page.
        exec(compile("\n" * block.line + block.code, str(block.path), "exec"), namespace)


def run_tests(block: Block) -> None:
    """Let pytest run them, with our plugin and no other; in a process of its own, as readers do."""
    for framework in FRAMEWORKS & set(re.findall(r"^(?:from|import) (\w+)", block.code, re.MULTILINE)):
        pytest.importorskip(framework)
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
        if words[:2] == ["smtpproto", "serve"]:
            namespace["served"](words[2:])
        else:
            run_command(words, environment)


SERVE_PORT = 2525
"""Where `smtpproto serve` listens where nothing is said; in the tests it is any port, to which this one leads."""


def serving(stack: contextlib.ExitStack, example: ExampleDomain, arguments: list[str]) -> None:
    """Let `smtpproto serve` run while the blocks go on, as in a terminal of its own; ^C ends it."""
    assert "--port" not in arguments
    process = stack.enter_context(start("serve", "--port", "0", *arguments))

    def end() -> None:
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()

    stack.callback(end)
    assert process.stdout is not None
    found = re.fullmatch(r"smtp://127\.0\.0\.1:([0-9]+)\n", process.stdout.readline())
    assert found is not None
    example.moved[SERVE_PORT] = int(found[1])


def run_command(words: list[str], environment: dict[str, str]) -> None:
    match words:
        case ["make", *targets]:
            there = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert {target for target in targets if "=" not in target} <= set(there)
        case ["pip", "install", *packages]:
            for package in packages:
                check_package(package)
        case ["smtpproto", *arguments, ">", _]:
            run_smtpproto(arguments, environment)
        case ["smtpproto", *arguments]:
            run_smtpproto(arguments, environment)
        case ["printf", text, "|", "smtpproto", *arguments]:
            run_smtpproto(arguments, environment, text.replace("\\n", "\n").encode())
        case ["cat", *patterns]:
            for pattern in patterns:
                assert list(Path().glob(pattern)), f"there is no {pattern}"
        case [name, *_] if name in SHOWN:
            pass
        case ["python", "-m", "venv", _]:
            pass
        case _:
            pytest.fail(f"the tests do not know what to make of the command {shlex.join(words)}")


def check_package(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = re.fullmatch(r"([a-z-]+|\.)(?:\[([a-z,]+)\])?", package)
    assert wanted is not None, package
    assert wanted[1] in (project["name"], ".")
    assert set((wanted[2] or "").split(",")) - {""} <= set(project["optional-dependencies"])


def run_smtpproto(arguments: list[str], environment: dict[str, str], standard_input: bytes = b"") -> None:
    from smtpproto_adapters import cli

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(standard_input)))
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


# What they import.


def imported(code: str) -> Iterator[tuple[str, str | None]]:
    """What is imported from us: the module, and the name in it."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.ImportFrom(module=str() as module):
                yield from ((module, alias.name) for alias in node.names)
            case ast.Import():
                yield from ((alias.name, None) for alias in node.names)
            case _:
                pass


def codes_of_all() -> Iterator[tuple[Path, str]]:
    """The code of the pages and of the examples."""
    for path in PAGES:
        for block in blocks_of(path, path.read_text(encoding="utf-8")):
            if block.language == "python":
                yield path, block.code
            elif block.language == "pycon":
                lines = (line[4:] for line in block.code.splitlines() if line.startswith((">>> ", "... ")))
                yield path, "\n".join(lines)
    for path in sorted((ROOT / "docs" / "examples").glob("*.py")):
        yield path, path.read_text(encoding="utf-8")


def test_the_documentation_imports_nothing_but_public_names() -> None:
    found = [
        (path.name, *each)
        for path, code in codes_of_all()
        for each in imported(code)
        if each[0].startswith("smtpproto")
    ]
    theirs = {"smtpproto.auth", "smtpproto.client"}  # the registry's, which one page compares with ours
    assert len(found) > 50
    assert [each for each in found if not public.is_public(*each[1:]) and each[1] not in theirs] == []


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


LINK = re.compile(
    r"""
    \]\( <?([^)>\s]+) [^)]* \)           # in Markdown
    | \b(?:href|src|srcset)="([^"]+)"     # in HTML
    | <(https?:[^>\s]+)>                  # by itself
    | ^\[[^]]+\]: \s+ (\S+)              # defined for others to use
    """,
    re.MULTILINE | re.VERBOSE,
)
ON_EACH_PAGE = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def without_code(path: Path) -> str:
    text = re.sub(r"^( *)(`{3,}).*?^\1\2", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]+`", lambda code: re.sub(r"[\](<]", "", code[0]), text)


def links(path: Path) -> list[str]:
    return [next(filter(None, found)) for found in LINK.findall(without_code(path))]


def places(path: Path) -> set[str]:
    """What the headings of a page can be linked to by, here and where repositories are shown."""
    headings = re.findall(r"^#{1,3} (.+?) *$", without_code(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@ON_EACH_PAGE
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(path):
        target, _, place = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        there = path.parent / target if target else path
        assert there.exists(), f"{path.relative_to(ROOT)} links to {link}"
        if place and path.parent == ROOT:  # those of the others are seen to where the documentation is built
            assert place in places(there), f"{path.relative_to(ROOT)} links to {link}"


@ON_EACH_PAGE
def test_links_to_elsewhere_are_well_formed(path: Path) -> None:
    for link in links(path):
        if not re.match(r"[a-z]+:", link):
            continue
        parts = urlsplit(link)
        assert parts.scheme == "https", link
        assert re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), link
        assert re.fullmatch(r"[!-~]+", link), link
        if re.search(r"rfc-?[0-9]{3,}", link, re.IGNORECASE):
            form = r"https://www\.rfc-editor\.org/rfc/rfc[1-9][0-9]*(#(section|appendix)-[0-9A-Z.]+)?"
            assert re.fullmatch(form, link), f"{link}: write it as the tables have it"


def test_the_tables_have_one_form_for_rfcs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs" / "_ext"), *sys.path])
    linked = importlib.import_module("from_code").linked
    at = "https://www.rfc-editor.org/rfc/rfc5321"
    assert linked("RFC 5321") == f"[RFC 5321]({at})"
    assert linked("(RFC 5321 section 4.1.4)") == f"([RFC 5321 section 4.1.4]({at}#section-4.1.4))"
    assert linked("RFC 5321 appendix B.") == f"[RFC 5321 appendix B]({at}#appendix-B)."


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("[a](b.md#c)", "b.md#c"),
        ("![a](b.svg)", "b.svg"),
        ('[a](b.md "title")', "b.md"),
        ('<img src="b.svg" alt="a">', "b.svg"),
        ('<source srcset="b.svg">', "b.svg"),
        ("<https://a.example/b>", "https://a.example/b"),
        ("[a]: https://a.example/b", "https://a.example/b"),
        ("`[a](b.md)`", None),
        ("```text\n[a](b.md)\n```", None),
    ],
)
def test_links_are_found(written: str, found: str | None, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{written}\n", encoding="utf-8")
    assert links(page) == ([] if found is None else [found])


def test_places_are_named_as_where_repositories_are_shown(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What it is, and `why`\n\n```text\n# no heading\n```\n\n## A -- B_c\n", encoding="utf-8")
    assert places(page) == {"what-it-is-and-why", "a----b_c"}


@pytest.mark.parametrize(
    "path", [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "contributing.md"], ids=lambda path: path.name
)
def test_the_files_that_contributors_are_sent_to_are_there(path: Path) -> None:
    named = re.findall(r"`((?:smtpproto|adapters|tests|fuzz|docs|\.ci)/[\w./-]+)`", path.read_text(encoding="utf-8"))
    ours = [name for name in named if not name.startswith("fuzz/found")]
    assert [name for name in ours if not (ROOT / name).exists()] == []


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
        Block(ROOT / "A.md", 1, "console", "$ cat inbox/new/*\n", False),
        Block(ROOT / "A.md", 1, "console", "$ printf 'x\\n' | smtpproto send smtp://nowhere.example -t -\n", False),
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


def test_what_is_served_is_reached_where_it_listens_by_default_and_is_ended(
    example: ExampleDomain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    example.patch(monkeypatch, tmp_path / "etc")
    monkeypatch.setattr(example, "moved", {})
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        serving(stack, example, ["--maildir", "inbox"])
        socket.create_connection(("127.0.0.1", SERVE_PORT), 5).close()
        port = example.moved[SERVE_PORT]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


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
