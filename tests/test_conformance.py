"""What is cited exists, and what is said of the rules is so: `tests/conformance` has both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance.rules import (
    HERE,
    LEVELS,
    REASONS,
    RFCS,
    WHO,
    Citation,
    Rule,
    citations,
    marks,
    read,
    sections,
    split_test,
)

ROOT = Path(__file__).parents[1]
CITING = [
    path
    for folder in ("smtpproto", "adapters", "tests", "fuzz", "docs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".md", ".txt"} and not {"_build", "generated", "__pycache__"} & set(path.parts)
] + [ROOT / "README.md", ROOT / "CHANGELOG.md"]

UNCHECKED = {
    "9688": "only cited as a whole",
    "9881": "only cited as a whole",
    "1047": "has no sections",
    "2782": "has no sections",
    "7504": "only cited as a whole",
    "7671": "only cited as a whole",
    "X.690": "is no RFC",
}
"""Documents whose sections are not in `sections.json`, and why."""

RULES = [rule for rfc in RFCS for rule in read(rfc)]


def wrong(cited: Citation) -> str:
    """What is wrong with a citation; empty: nothing."""
    if cited.rfc in UNCHECKED:
        return "" if not cited.section or cited.rfc == "X.690" else f"{cited.text}: {UNCHECKED[cited.rfc]}"
    known = sections().get(cited.rfc)
    if known is None:
        return f"{cited.text}: sections.json does not have RFC {cited.rfc}"
    return "" if not cited.section or cited.section in known else f"{cited.text}: there is no section {cited.section}"


# Citations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CITING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_cited_exists(path: Path) -> None:
    if path.name == "test_conformance.py":  # the examples below are wrong on purpose
        return
    found = [wrong(cited) for cited in citations(path.read_text(encoding="utf-8"))]
    assert [problem for problem in found if problem] == []


def test_a_citation_is_read_in_each_of_its_forms() -> None:
    text = '''
    """RFC 5321 section 4.1.1.4; RFC 4954 sections 4, 5.1 and 6, RFC 3461
    # section 4.2, RFC 7515 appendix A.1, and RFC 2045."""
    @pytest.mark.rfc("3030", "2")
    '''
    assert [(cited.rfc, cited.section) for cited in citations(text)] == [
        ("5321", "4.1.1.4"), ("4954", "4"), ("4954", "5.1"), ("4954", "6"), ("3461", "4.2"), ("7515", "A.1"),
        ("2045", ""), ("3030", "2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "RFC 5321 section 4.2.4.2",
        "RFC 4954 sections 4 and 16",
        "RFC 2920\n    # section 3.3",
        'pytest.mark.rfc("1870", "6.5")',
        "RFC 99999",
        "RFC 8446 appendix Z",
        "RFC 9881 section 3",
    ],
)
def test_a_wrong_citation_is_found(text: str) -> None:
    assert [wrong(cited) for cited in citations(text) if wrong(cited)]


def test_every_mark_is_found() -> None:
    """None escapes because it is written in another way."""
    for path in CITING:
        if path.suffix == ".py" and path.name.startswith("test_") and path.name != "test_conformance.py":
            text = path.read_text(encoding="utf-8")
            assert text.count("mark.rfc(") == len(re.findall(r'mark\.rfc\("[^"]+", "[^"]+"\)', text)), path


# Rules -----------------------------------------------------------------------------------------------------------


def name_of(rule: Rule) -> str:
    return f"{rule.rfc} {rule.section} {rule.text}"


def test_the_files_are_those_of_the_page() -> None:
    assert {path.stem.removeprefix("rfc") for path in HERE.glob("rfc*.txt")} == set(RFCS)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_a_rule_is_well_formed(rule: Rule) -> None:
    assert rule.section in sections()[rule.rfc]
    assert rule.level.upper() in LEVELS
    assert rule.who in WHO
    assert rule.text
    assert len(rule.text.split()) <= 20
    assert bool(rule.tests) is not bool(rule.reason)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.tests], ids=name_of)
def test_what_shows_a_rule_is_a_test_that_says_so(rule: Rule) -> None:
    for test in rule.tests:
        path, name = split_test(test)
        assert path.exists(), f"{test}: there is no {path.relative_to(ROOT)}"
        found = marks(path)
        assert name in found, f"{test}: {path.relative_to(ROOT)} has no {name}"
        assert (rule.rfc, rule.section) in found[name], f'{test} lacks @pytest.mark.rfc("{rule.rfc}", "{rule.section}")'


def test_the_rules_of_a_file_stand_in_order() -> None:
    for rfc in RFCS:
        order = [[int(part) for part in rule.section.split(".")] for rule in read(rfc)]
        assert order == sorted(order), rfc


def test_every_reason_is_given_somewhere() -> None:
    assert {rule.reason for rule in RULES if rule.reason} == set(REASONS.values())
