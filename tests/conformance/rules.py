"""The rules of the RFCs that bind an engine, as they stand in the files beside this one, and the tests that show them.

A file ``rfc5321.txt`` has a line for each rule, in words of our own::

    section | level | who | rule | shown by | remark

What shows it is a list of tests, ``server::what_is_refused_and_how`` for ``test_what_is_refused_and_how`` in
``tests/test_server.py``; or one of `REASONS`, and behind a colon what there is to say more, where no test of an engine
can show it.  `sections.json` has the sections that each RFC has.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
TESTS: Final = HERE.parent

RFCS: Final = {
    "5321": "Simple Mail Transfer Protocol, sections 2 to 4",
    "3207": "STARTTLS",
    "4954": "AUTH",
    "2920": "PIPELINING",
    "3030": "CHUNKING and BINARYMIME",
    "3461": "DSN, sections 4 and 5",
    "6531": "SMTPUTF8",
    "2033": "LMTP",
    "1870": "SIZE",
    "2034": "ENHANCEDSTATUSCODES",
}
"""In the order of the page."""

REASONS: Final = {
    "program": "the program decides it",
    "relay": "for programs that relay, queue or report",
    "delivery": "for programs that keep mail",
    "lists": "for programs that have aliases and lists",
    "gateway": "for gateways",
    "document": "binds documents and registries",
    "absent": "about what is not here",
    "other": "done otherwise",
}
"""Why no test of the engine shows a rule."""

LEVELS: Final = frozenset({"MUST", "MUST NOT", "SHOULD", "SHOULD NOT"})
WHO: Final = frozenset({"client", "server", "both"})


class Rule(NamedTuple):
    rfc: str
    section: str
    level: str
    who: str
    text: str
    tests: tuple[str, ...]
    reason: str
    remark: str


def read(rfc: str) -> list[Rule]:
    """The rules of an RFC, in the order of its sections."""
    return [_rule(rfc, line) for line in (HERE / f"rfc{rfc}.txt").read_text(encoding="utf-8").splitlines()]


def _rule(rfc: str, line: str) -> Rule:
    section, level, who, text, shown, *remark = (part.strip() for part in line.split("|"))
    reason, _, more = (part.strip() for part in shown.partition(": " if ": " in shown else "|"))
    tests: tuple[str, ...] = ()
    if reason in REASONS:
        reason = REASONS[reason]
    else:
        tests, reason, more = tuple(each.strip() for each in shown.split(",")), "", ""
    return Rule(rfc, section, level, who, text, tests, reason, "; ".join(filter(None, [more, *remark])))


def split_test(test: str) -> tuple[Path, str]:
    """The file and the function that a name of a test in these files stands for."""
    room, _, name = test.partition("::")
    folder, _, file = room.rpartition("/")
    return TESTS / folder / f"test_{file}.py", f"test_{name}"


@cache
def marks(path: Path) -> dict[str, frozenset[tuple[str, str]]]:
    """The tests in a file, each with the rules that it is marked with: (number of the RFC, section)."""
    found: dict[str, frozenset[tuple[str, str]]] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            found[node.name] = frozenset(
                (rfc, section)
                for decorator in node.decorator_list
                for inner in ast.walk(decorator)
                for rfc, section in _mark(inner)
            )
    return found


def _mark(node: ast.AST) -> list[tuple[str, str]]:
    match node:
        case ast.Call(
            func=ast.Attribute(attr="rfc"), args=[ast.Constant(value=str(rfc)), ast.Constant(value=str(section))]
        ):
            return [(rfc, section)]
        case _:
            return []


def sections() -> dict[str, frozenset[str]]:
    """The sections and appendices of each RFC, by its number; none of it is not known."""
    stored: dict[str, str] = json.loads((HERE / "sections.json").read_text(encoding="utf-8"))
    return {rfc: frozenset(numbers.split()) for rfc, numbers in stored.items()}


class Citation(NamedTuple):
    rfc: str
    section: str
    """Empty where the whole document is cited."""
    text: str


_NUMBER = r"(?:[1-9][0-9]*|[A-Z])(?:\.[0-9]+)*"
_CITATION = re.compile(
    rf"\bRFC[ -]?(?P<rfc>[0-9]+)(?:'s)?(?:,? (?:sections?|appendix|appendices) (?P<sections>{_NUMBER}"
    rf"(?:(?:, | and | or | to |, and ){_NUMBER}\b(?! [0-9]))*))?"
)


def citations(text: str) -> list[Citation]:
    """What a text in Python or Markdown cites, in words and in marks; also where the citation is broken in two."""
    joined = re.sub(r"\s*\n[ \t]*(?:#:?[ \t]+)?", " ", text)
    found = [
        Citation(match["rfc"], section, match[0])
        for match in _CITATION.finditer(joined)
        for section in re.findall(rf"(?<![\w.]){_NUMBER}", match["sections"] or "") or [""]
    ]
    marked = re.finditer(r"\.rfc\(\"([^\"]*)\", ?\"([^\"]*)\"\)", joined)
    return found + [Citation(match[1], match[2], match[0]) for match in marked]
