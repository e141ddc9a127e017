"""The page on security names each class of attack, and for each of them tests that there are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

CLASSES = (
    "Injection at STARTTLS",
    "STARTTLS stripping",
    "SMTP smuggling",
    "Command and parameter injection",
    "Reply splitting",
    "Desynchronisation",
    "BDAT desynchronisation",
    "Downgrade",
    "SCRAM iteration bombs",
    "334 loops",
    "Endless replies",
    "Quadratic buffers",
    "Secrets in logs",
    "ALPACA",
)
THREATS = ("hostile server", "hostile client", "hostile network", "hostile message", "careless caller")


def part(text: str, level: int, heading: str) -> str:
    """What stands under a heading."""
    found = re.search(
        rf"^{'#' * level} {re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert found is not None, f"no heading {heading!r}"
    return found[1]


ATTACKS = part(PAGE, 2, "Known attacks")


def named(text: str) -> list[str]:
    """The node ids of the tests that are named there."""
    return [
        line
        for body in re.findall(r"^```\{shown-by\}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        for line in body.split()
    ]


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_class_is_there_and_no_other() -> None:
    assert tuple(re.findall(r"^### (.*)$", ATTACKS, re.MULTILINE)) == CLASSES


@pytest.mark.parametrize("attack", CLASSES)
def test_each_class_says_where_it_was_seen_what_is_done_and_which_tests_show_it(attack: str) -> None:
    text = part(ATTACKS, 3, attack)
    paragraphs = [each.split(":")[0] for each in text.split("\n\n")]
    assert "Seen" in paragraphs
    assert "Here" in paragraphs
    tests = named(text)
    assert tests
    assert len(set(tests)) == len(tests)


@pytest.mark.parametrize("node_id", named(PAGE))
def test_each_test_that_is_named_exists(node_id: str) -> None:
    file, _, name = node_id.partition("::")
    assert name.startswith("test_")
    assert name in functions_of(file), f"docs/security.md names {node_id}, which there is not"


def test_every_attack_that_is_tried_is_named() -> None:
    tried = {
        f"tests/test_attacks.py::{name}" for name in functions_of("tests/test_attacks.py") if name.startswith("test_")
    }
    assert tried <= set(named(ATTACKS))


@pytest.mark.parametrize("threat", THREATS)
def test_every_threat_of_the_model_is_there(threat: str) -> None:
    rows = [line for line in part(PAGE, 2, "Who attacks").splitlines() if line.startswith("| a **")]
    assert len(rows) == len(THREATS)
    assert sum(f"**{threat}**" in row for row in rows) == 1


def test_every_room_that_is_named_exists() -> None:
    rooms = set(re.findall(r"`((?!tests/)[a-z_/]+(?:\.py|/))`", ATTACKS))
    assert rooms
    assert [room for room in rooms if not (ROOT / "smtpproto" / room).exists()] == []
