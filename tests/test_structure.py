"""The order of the rooms, and what each may know of the world: read from the source, so that no import can hide."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

import smtpproto
from smtpproto.commands import CLASSES
from smtpproto.values import Value, field_names
from smtpproto_adapters import blocking, blocking_server

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
CORE = ROOT / "smtpproto"
ADAPTERS = ROOT / "adapters" / "smtpproto_adapters"

ROOMS = (
    "errors",
    "values",
    "limits",
    "lines",
    "grammar",
    "addresses",
    "sasl",
    "parameters",
    "commands",
    "replies",
    "extensions",
    "offer",
    "content",
    "states",
    "events",
    "trace",
    "connection",
    "client",
    "server",
    "envelope",
    "delivery",
    "failures",
    "authenticate",
    "options",
    "connect",
    "server_auth",
    "service",
    "flows",
    "testing",
)
"""Data flows down this list; no room imports one further down.  A package (`commands`, `sasl`, `flows`) is one room."""

ALLOWED = frozenset(
    {
        "__future__",
        "binascii",
        "collections",
        "collections.abc",
        "enum",
        "functools",
        "hashlib",
        "hmac",
        "ipaddress",
        "itertools",
        "re",
        "secrets",
        "stringprep",
        "types",
        "typing",
        "unicodedata",
    }
)
FORBIDDEN_BUILTINS = frozenset({"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint"})

CORE_FILES = sorted(CORE.rglob("*.py"))
SOURCES = CORE_FILES + sorted(ADAPTERS.rglob("*.py"))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Each import of a file, wherever in it: its line, and the absolute name of what it imports."""
    package = ["smtpproto", *path.relative_to(CORE).parent.parts]
    for node in ast.walk(parse(path)):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield node.lineno, alias.name
            case ast.ImportFrom(module=module, level=0):
                yield node.lineno, module or ""
            case ast.ImportFrom():
                base = package[: len(package) - node.level + 1]
                origin = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
                for alias in node.names:
                    # `from . import errors` names a room; `from .errors import SmtpError` something in it.
                    yield node.lineno, f"{origin}.{alias.name}" if origin == "smtpproto" else origin
            case _:
                pass


def test_every_room_has_its_place_in_the_order() -> None:
    there = {room_of(path) for path in CORE_FILES} - {"__init__"}
    assert there <= set(ROOMS), f"say in ROOMS where {sorted(there - set(ROOMS))} stand"
    assert there >= set(ROOMS), f"{sorted(set(ROOMS) - there)} of ROOMS are not there"


@pytest.mark.parametrize("path", CORE_FILES, ids=named)
def test_no_room_imports_one_further_down(path: Path) -> None:
    room = room_of(path)
    above = len(ROOMS) if room == "__init__" else ROOMS.index(room) + 1
    for line, name in imported(path):
        parts = name.split(".")
        if parts[0] != "smtpproto":
            continue
        # A module of a package may import its siblings: the package is one room.
        assert len(parts) > 1, f"{named(path)}:{line} imports the whole of smtpproto"
        assert parts[1] in ROOMS[:above], f"{named(path)}:{line} imports {parts[1]}, which stands below {room}"


@pytest.mark.parametrize("path", CORE_FILES, ids=named)
def test_the_core_imports_nothing_but_the_allowed(path: Path) -> None:
    for line, name in imported(path):
        if name.split(".")[0] != "smtpproto":
            assert name in ALLOWED, f"{named(path)}:{line} imports {name}"


@pytest.mark.parametrize("path", CORE_FILES, ids=named)
def test_the_core_does_no_io_by_builtins(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Name):
            assert node.id not in FORBIDDEN_BUILTINS, f"{named(path)}:{node.lineno} uses {node.id}"


def modules_after(statement: str) -> set[str]:
    """What a bare interpreter has loaded after the statement."""
    path = [str(ROOT), str(ADAPTERS.parent)]
    program = f"import sys; sys.path[:0] = {path!r}; {statement}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_the_core_is_light() -> None:
    """Not through another module either: `hashlib` and its like may be needed by a few, and wait until they are."""
    added = modules_after("import smtpproto") - modules_after("pass")
    assert "smtpproto" in added
    heavy = {"socket", "_socket", "ssl", "_ssl", "asyncio", "email", "logging", "dataclasses", "threading", "selectors"}
    heavy |= {"subprocess", "tempfile", "base64", "random", "inspect", "urllib", "urllib.parse"}
    assert not added & heavy


def test_importing_a_client_is_light() -> None:
    """What only a server needs, or who sends files or has TLS, waits until it is needed."""
    added = modules_after("import smtpproto_adapters.blocking") - modules_after("pass")
    heavy = {"email", "logging", "dataclasses", "inspect", "pathlib", "hashlib", "asyncio", "argparse"}
    heavy |= {f"smtpproto_adapters.{name}" for name in ("blocking_server", "server", "handler", "message")}
    assert "smtpproto_adapters.client" in added
    assert not added & heavy


def test_the_command_is_there_at_once() -> None:
    """So that ^C finds somebody who takes it; the rest is imported by what is there already."""
    added = modules_after("import smtpproto_adapters.cli") - modules_after("import collections.abc")
    assert added <= {"__future__", "smtpproto_adapters", "smtpproto_adapters.cli"}


def test_the_server_comes_with_the_client_all_the_same() -> None:
    assert blocking.serve is blocking.Server is blocking_server.Server
    with pytest.raises(AttributeError, match="has no attribute 'server'"):
        _ = getattr(blocking, "server")  # noqa: B009 - the type checkers know that it is none


def test_every_room_can_be_imported_alone() -> None:
    """So that no room counts on another having been imported before it."""
    for room in ROOMS:
        assert f"smtpproto.{room}" in modules_after(f"import smtpproto.{room}")


def test_public_names_are_sorted_and_complete() -> None:
    announced = smtpproto.__all__
    there = {name for name, value in vars(smtpproto).items() if not isinstance(value, ModuleType)}
    assert list(announced) == sorted(set(announced), key=lambda name: (not name.isupper(), name))
    assert set(announced) == {name for name in there if not name.startswith("_")} - {"annotations"}


def test_every_command_is_public() -> None:
    assert {cls.__name__ for cls in CLASSES.values()} <= set(smtpproto.__all__)


def test_the_package_holds_public_names_and_nothing_else() -> None:
    """`smtpproto/__init__.py` imports and lists; it defines nothing."""
    for node in parse(CORE / "__init__.py").body:
        allowed = isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        )
        assert allowed, f"smtpproto/__init__.py:{node.lineno}"


def subclasses(cls: type[Value]) -> Iterator[type[Value]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_every_field_of_a_value_counts() -> None:
    """A slot that `__match_args__` forgets would neither show nor compare; those of caches begin with an underscore.

    A field without a slot is a property, as those that MAIL and RCPT have for their parameters.
    """
    for room in ROOMS:
        import_module(f"smtpproto.{room}")
    seen = set(subclasses(Value))
    assert len(seen) > 20
    for cls in seen:
        slots = {name for base in cls.__mro__ for name in slots_of(base) if not name.startswith("_")}
        fields = set(field_names(cls))
        assert slots <= fields, cls
        assert all(isinstance(getattr(cls, name), property) for name in fields - slots), cls
        assert vars(cls).get("_secret", frozenset()) <= slots, cls


def slots_of(cls: type) -> tuple[str, ...]:
    slots: str | tuple[str, ...] = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def test_nothing_stands_on_the_command() -> None:
    """It is for people at a terminal; what programs use is elsewhere."""
    for path in sorted(ADAPTERS.rglob("*.py")):
        if path.relative_to(ADAPTERS).parts[0] == "cli":
            continue
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ImportFrom):
                names = (node.module or "", *(alias.name for alias in node.names))
                assert "cli" not in ".".join(names).split("."), f"{named(path)}:{node.lineno}"


# The adapters do the I/O and nothing else: the protocol is spoken in one place.

IO_FILES = [ADAPTERS / name for name in ("blocking.py", "blocking_server.py", "asyncio.py", "trio.py")]
SPOKEN = re.compile(rf"\b(?:{'|'.join(CLASSES)})\b")
"""A verb as it is spoken.  Program words in lower case (`data`, `help`) are other words."""
COMMANDS = frozenset(cls.__name__ for cls in CLASSES.values()) | {"AuthResponse"}


def docstrings(tree: ast.Module) -> set[int]:
    """The nodes that are documentation, which may speak of the protocol."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            for statement in node.body:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    found.add(id(statement.value))
    return found


def protocol_words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The verbs, commands and reply codes that code speaks: in a literal, or as the name of a command's class."""
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str() | bytes() as value) if id(node) not in documentation:
                text = value if isinstance(value, str) else value.decode("latin-1")
                # An octet string goes to the wire, where verbs have no case.
                spoken = SPOKEN.search(text) or (isinstance(value, bytes) and SPOKEN.search(text.upper()))
                if spoken or re.match(r"[2-5][0-9][0-9](?![0-9])", text):
                    yield node.lineno, repr(value)
            case ast.Constant(value=int() as number) if 200 <= number <= 599:
                yield node.lineno, str(number)
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in COMMANDS:
                yield node.lineno, name
            case _:
                pass


@pytest.mark.parametrize("path", IO_FILES, ids=named)
def test_adapters_know_no_verb_and_no_reply_code(path: Path) -> None:
    assert list(protocol_words(parse(path))) == []


@pytest.mark.parametrize(
    "code",
    [
        "stream.send_all(b'ehlo me\\r\\n')",
        "say('QUIT')",
        "say(f'RCPT TO:<{who}>')",
        "if reply.code == 250: pass",
        "reply.startswith(b'220 ')",
        "send(commands.Quit())",
        "from smtpproto.commands import StartTls",
        "match event:\n    case Mail(): pass",
    ],
)
def test_the_search_for_protocol_words_finds_them(code: str) -> None:
    assert list(protocol_words(ast.parse(code)))


def test_the_search_for_protocol_words_lets_the_interface_be() -> None:
    code = "def help(self, data):\n    'As HELP does.'\n    return self.run(flows.verify(data, 65536), 'the data')"
    assert list(protocol_words(ast.parse(code))) == []


# What the sources say of the RFCs.

SECTION = r"[0-9A-Z]+(?:\.[0-9]+)*\b"
CITATION = re.compile(
    rf"RFC [1-9][0-9]{{2,4}}\b(?: section {SECTION}| sections {SECTION}(?:, {SECTION})* and {SECTION})?"
)


def mentions(text: str) -> Iterator[tuple[str, bool]]:
    """Each mention of an RFC, over a line's end too, and whether it is a citation in the one form that there is."""
    joined = re.sub(r"\s*\n\s*(?:#:? ?)?", " ", text)
    for mention in re.finditer(r"\b(?:RFC[- ]?|[Rr]fc )[0-9]", joined):
        cited = CITATION.match(joined, mention.start())
        excerpt = joined[mention.start() : mention.start() + 40]
        end = mention.start() if cited is None else cited.end()
        another = re.match(r",? ?(?:§|[Ss]ec(?:\.|tion))", joined[end:])
        also = another is not None and cited is not None and " section " in cited[0]
        yield excerpt, cited is not None and (another is None or also)


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_rfcs_are_cited_in_one_form(path: Path) -> None:
    wrong = [excerpt for excerpt, well_formed in mentions(path.read_text(encoding="utf-8")) if not well_formed]
    assert wrong == [], "cite as: RFC 5321 section 4.1.4"


@pytest.mark.parametrize(
    ("text", "well_formed"),
    [
        ("RFC 5321 section 4.1.4.", True),
        ("RFC 4954", True),
        ("RFC 5321\n    # section 4.1.4", True),
        ("RFC 5321 appendix B", True),
        ("RFC 4954 sections 4 and 6.", True),
        ("RFC 5321 section 4.1.1.3, section 3.6.1", True),
        ("RFC5321 section 4", False),
        ("rfc 5321", False),
        ("RFC 5321, section 4", False),
        ("RFC 5321 §4", False),
        ("RFC 5321 Section 4", False),
    ],
)
def test_the_search_for_citations_tells_the_forms_apart(text: str, well_formed: bool) -> None:
    assert [found for _, found in mentions(text)] == [well_formed]
