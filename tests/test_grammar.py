"""The patterns: that they keep the three rules of their room, and the helpers beside them."""

from __future__ import annotations

import enum
import importlib
import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import grammar
from smtpproto.errors import LocalProtocolError

# How Python itself reads a pattern: private, but a far better witness than a second parser would be.
sre: Any = importlib.import_module("re._parser")
code: Any = importlib.import_module("re._constants")

PATTERNS: dict[str, grammar.Pattern] = {
    name: value for name, value in vars(grammar).items() if isinstance(value, grammar.Pattern)
}
PREFIXES = {"PATH_START", "BARE_PATH_START", "_SURROGATE"}
"""The patterns that look at the beginning of a text, or at pieces of it, on purpose."""
FULL = sorted(PATTERNS.keys() - PREFIXES)

ALPHABET = [chr(n) for n in range(0x80)] + list(
    "\x85\xa0\u0131\u017f\u0661\u3002\uff0e\uff10\uff61\ud800\ue000\U0010ffff"
)
"""Characters of every kind that the patterns can tell apart."""


def test_every_pattern_is_looked_at() -> None:
    assert len(FULL) > 20
    assert PATTERNS.keys() >= PREFIXES


@pytest.mark.parametrize("name", FULL)
def test_full_patterns_end_at_the_very_end(name: str) -> None:
    assert PATTERNS[name].source.endswith(r"\Z")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DOMAIN", "a.b"),
        ("LOCAL_PART", '"a b"'),
        ("MAILBOX", "a@b"),
        ("PLAIN_MAILBOX", "a@b"),
        ("NAME", "a"),
        ("TEXT", "a b"),
        ("PRINTABLE", "a b"),
        ("ASCII_PRINTABLE", "a"),
        ("ATOM", "a"),
        ("ESMTP_KEYWORD", "A"),
        ("ESMTP_VALUE", "a"),
        ("XTEXT", "a+2B"),
        ("UTF8_ADDR_UNITEXT", "a"),
        ("SASL_MECH", "PLAIN"),
        ("NUMBER", "1"),
        ("BY_VALUE", "1;R"),
        ("FUTURE_RELEASE_INTEGER", "1"),
        ("PRIORITY_VALUE", "-9"),
        ("PRIORITY_VALUE", "0"),
        ("DATE_TIME", "2014-04-03T23:01:00Z"),
        ("SOLICITATION_KEYWORD", "net.example:ADV"),
        ("ABSOLUTE_URI", "imap://a"),
        ("STANDARDIZED_TAG", "x-1"),
        ("DCONTENT", "a"),
        ("IPV4", "1.2.3.4"),
        ("IPV6", "::1"),
    ],
)
@pytest.mark.rfc("5321", "4.1.2")
def test_a_line_end_matches_nowhere(name: str, text: str) -> None:
    pattern = PATTERNS[name]
    assert pattern.match(text)
    for control in ("\n", "\r\n", "\r", "\0", "\x7f", "\x80", "\x85", "\x9f"):
        assert not pattern.match(text + control)
        assert not pattern.match(control + text)
        assert not pattern.match(text[:1] + control + text[1:])


# -- determinism ------------------------------------------------------------------------------------------------------
# Glushkov's automaton of a pattern has a state for each character class in it.  Where the classes that can come next
# never overlap, a text leads through it in one way at most: then a backtracking matcher has, at each character, one
# thing to try, and a failure is found in linear work.

Positions = list[frozenset[str]]


class Automaton:
    """First, last and follow positions of a parsed pattern."""

    def __init__(self, pattern: str) -> None:
        self.classes: Positions = []
        self.follow: dict[int, set[int]] = {}
        self.linked_twice: set[int] = set()
        _, self.first, _ = self.sequence(list(sre.parse(pattern)))

    def link(self, position: int, next_ones: set[int]) -> None:
        # In (?:a+)+ an "a" comes after an "a" by either loop: one way in the automaton, two for a matcher.
        self.linked_twice |= self.follow[position] & next_ones
        self.follow[position] |= next_ones

    def ambiguous(self) -> list[tuple[frozenset[str], frozenset[str]]]:
        return [(self.classes[position], self.classes[position]) for position in self.linked_twice] + [
            (self.classes[a], self.classes[b])
            for group in [self.first, *self.follow.values()]
            for a, b in itertools.combinations(sorted(group), 2)
            if self.classes[a] & self.classes[b]
        ]

    def sequence(self, items: list[Any]) -> tuple[bool, set[int], set[int]]:
        nullable, first, last = True, set[int](), set[int]()
        for item in items:
            null, begins, ends = self.item(item)
            for position in last:
                self.link(position, begins)
            first |= begins if nullable else set[int]()
            last = ends | (last if null else set[int]())
            nullable = nullable and null
        return nullable, first, last

    def item(self, item: Any) -> tuple[bool, set[int], set[int]]:
        op, value = item
        if op is code.AT:
            return True, set(), set()
        if op is code.SUBPATTERN:
            return self.sequence(list(value[3]))
        if op is code.BRANCH:
            return self.branch(value[1])
        if op is code.MAX_REPEAT:
            return self.repeat(*value)
        self.classes.append(frozenset(filter(re.compile(as_class(op, value)).fullmatch, ALPHABET)))
        position = len(self.classes) - 1
        self.follow[position] = set()
        return False, {position}, {position}

    def branch(self, parts: list[Any]) -> tuple[bool, set[int], set[int]]:
        nullable, first, last = False, set[int](), set[int]()
        for part in parts:
            null, begins, ends = self.sequence(list(part))
            nullable, first, last = nullable or null, first | begins, last | ends
        return nullable, first, last

    def repeat(self, low: int, high: int, items: Any) -> tuple[bool, set[int], set[int]]:
        if high is code.MAXREPEAT:
            null, first, last = self.sequence([*list(items)] * max(low, 1))
            for position in last:
                self.link(position, first)
            return null or not low, first, last
        assert high <= 64
        nullable, first, last = True, set[int](), set[int]()
        for _ in range(high - low):  # x?  ->  (x(x)?)?, from the inside
            null, begins, ends = self.sequence(list(items))
            for position in ends:
                self.link(position, first)
            last = ends | last
            first = begins | (first if null else set[int]())
        for _ in range(low):
            null, begins, ends = self.sequence(list(items))
            for position in ends:
                self.link(position, first)
            last = ends | (last if nullable else set[int]())
            first = begins | (first if null else set[int]())
            nullable = nullable and null
        return nullable, first, last


def as_class(op: Any, value: Any) -> str:
    def one(op: Any, value: Any) -> str:
        assert op in (code.LITERAL, code.RANGE), f"{op}: only written-out character classes are allowed"
        bounds = (value, value) if op is code.LITERAL else value
        return "-".join(f"\\U{bound:08x}" for bound in bounds)

    parts = list(value) if op is code.IN else [(op, value)]
    negated = parts[0][0] is code.NEGATE
    return ("[^" if negated else "[") + "".join(one(*part) for part in parts[negated:]) + "]"


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_every_pattern_is_deterministic(name: str) -> None:
    assert Automaton(PATTERNS[name].source).ambiguous() == []


@pytest.mark.parametrize(
    "pattern", ["(?:a+)+", "a*a", "a{1,3}a", "(?:a*)*", "(?:ba|[bc]c)", "(?:a?){2}", "a{2,}a", "(?:a,?)*a"]
)
def test_the_judge_of_determinism_can_say_no(pattern: str) -> None:
    assert Automaton(pattern).ambiguous()


@pytest.mark.parametrize("pattern", ["(?:a+b)+", "a*b", "a{1,3}b", "(?:a|b)", "(?:ab?){2}c", "a{2,}b", "(?:a,)*b"])
def test_the_judge_of_determinism_can_say_yes(pattern: str) -> None:
    assert not Automaton(pattern).ambiguous()


# -- single patterns --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.rfc("6531", "3.3")
def test_the_classes_are_those_of_the_rfc() -> None:
    def members(pattern: grammar.Pattern) -> set[int]:
        return {n for n in range(0x80) if pattern.match(chr(n))}

    atext = set(b"!#$%&'*+-/=?^_`{|}~") | {n for n in range(0x80) if chr(n).isalnum()}
    assert members(grammar.ATOM) == atext
    assert members(grammar.LOCAL_PART) == atext
    assert members(grammar.ESMTP_VALUE) == {*range(33, 61), *range(62, 127)}
    assert members(grammar.ESMTP_KEYWORD) == {n for n in range(0x80) if chr(n).isalnum()}
    assert members(grammar.DCONTENT) == {*range(33, 91), *range(94, 127)} - set(b"<>")
    assert members(grammar.XTEXT) == set(range(33, 127)) - set(b"+=")
    assert members(grammar.UTF8_ADDR_UNITEXT) == set(range(33, 127)) - set(b"+=\\")
    assert members(grammar.NAME) == set(range(33, 127)) - set(b"<>")
    assert members(grammar.TEXT) == {9, *range(32, 127)}
    assert {n for n in range(0x80) if grammar.LOCAL_PART.match(f'"{chr(n)}"')} == {
        32,
        33,
        *range(35, 92),
        *range(93, 127),
    }
    assert {n for n in range(0x80) if grammar.LOCAL_PART.match(f'"\\{chr(n)}"')} == set(range(32, 127))


@pytest.mark.rfc("3339", "5.6")
@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2014-04-03T23:01:00Z", True),
        ("2014-04-03t23:01:60.5z", True),
        ("2014-12-31T00:00:00+23:59", True),
        ("2014-13-03T23:01:00Z", False),
        ("2014-00-03T23:01:00Z", False),
        ("2014-04-32T23:01:00Z", False),
        ("2014-04-03T24:01:00Z", False),
        ("2014-04-03T23:60:00Z", False),
        ("2014-04-03T23:01:61Z", False),
        ("2014-04-03T23:01:00.Z", False),
        ("2014-04-03T23:01:00", False),
        ("2014-04-03 23:01:00Z", False),
        ("2014-04-03T23:01:00+24:00", False),
        ("\uff12014-04-03T23:01:00Z", False),
    ],
)
def test_date_time(text: str, valid: bool) -> None:
    assert bool(grammar.DATE_TIME.match(text)) is valid


# -- helpers ----------------------------------------------------------------------------------------------------------


class Sender(str, enum.Enum):  # noqa: UP042 - a StrEnum formats as its value; this one does not
    X = "a@b"


def test_plain_str_gives_the_text_and_nothing_else() -> None:
    assert plain(grammar.plain_str(Sender.X, "it")) == "a@b"
    assert plain(grammar.plain_str("a", "it")) == "a"
    for wrong in (b"a", None, 1):
        with pytest.raises(LocalProtocolError, match="it is a"):
            grammar.plain_str(wrong, "it")


def plain(text: str) -> str:
    assert type(text) is str
    return f"{text}"


@given(st.text())
@pytest.mark.rfc("3629", "3")
def test_lone_surrogates_are_refused(text: str) -> None:
    for wrong in (f"\ud800{text}", f"{text}\udfff", f"{text}\udc80{text}"):
        with pytest.raises(LocalProtocolError, match="surrogate"):
            grammar.plain_str(wrong, "it")


@given(st.text(st.characters(codec="utf-8")))
def test_all_else_is_not(text: str) -> None:
    assert grammar.plain_str(text, "it") == text


def test_a_pattern_is_compiled_once() -> None:
    for name, found in (("match", False), ("search", True), ("fullmatch", False)):
        pattern = grammar.Pattern("a")
        uncompiled = getattr(pattern, name)
        assert bool(uncompiled("ba")) is found
        compiled = getattr(pattern, name)
        assert compiled is not uncompiled
        assert bool(compiled("ba")) is found
        assert getattr(pattern, name) is compiled
        assert all(use("a") for use in (pattern.match, pattern.search, pattern.fullmatch))


def test_unquote() -> None:
    assert grammar.unquote(r"a\\b\"c\d\\\"") == r"""a\b"cd\""""


def test_require() -> None:
    assert grammar.require(grammar.ATOM, "a", "it") == "a"
    with pytest.raises(LocalProtocolError, match=r"it is 'a b'"):
        grammar.require(grammar.ATOM, "a b", "it")


@given(st.text())
def test_ascii_upper_changes_ascii_alone(text: str) -> None:
    assert grammar.ascii_upper(text) == (text.upper() if text.isascii() else text)


def test_ascii_upper_makes_no_keyword_of_other_alphabets() -> None:
    assert "8b\u0131tmime".upper() == "8BITMIME"
    assert grammar.ascii_upper("8b\u0131tmime") != "8BITMIME"
    assert grammar.ascii_upper("8bitmime") == "8BITMIME"


@given(st.text(st.characters(codec="utf-8")))
def test_octets(text: str) -> None:
    assert grammar.octets(text) == len(text.encode())


@given(st.text())
def test_shown_is_short(text: str) -> None:
    assert len(grammar.shown(text)) <= 80


def test_shown() -> None:
    assert grammar.shown("a\n") == r"'a\n'"
    assert grammar.shown("a" * 78) == repr("a" * 78)
    assert grammar.shown("a" * 79) == "'" + "a" * 76 + "..."


def test_bad_syntax_carries_the_reply() -> None:
    error = grammar.BadSyntax(501, "5.5.4", "no", fatal=True)
    assert (error.code, error.status, error.text, error.fatal, str(error)) == (501, "5.5.4", "no", True, "501 5.5.4 no")
    assert grammar.BadSyntax(500, "5.5.2", "no").fatal is False
