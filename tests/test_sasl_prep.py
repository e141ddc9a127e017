"""SASLprep and the trace profile."""

from __future__ import annotations

import stringprep
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.sasl import Prohibited, saslprep
from smtpproto.sasl.prep import traceprep

UNASSIGNED = "\N{CHRISTMAS TREE}"
"""Of Unicode 6: unknown to the tables."""

# The tables of RFC 3454, as they stand there; without what is mapped or normalised away before anyone looks for it.
MAPPED_TO_NOTHING = [
    *((0x00AD, 0x00AD), (0x034F, 0x034F), (0x1806, 0x1806), (0x180B, 0x180D), (0x200B, 0x200D), (0x2060, 0x2060)),
    *((0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
]
"""B.1."""
SPACES = [(0x00A0, 0x00A0), (0x1680, 0x1680), (0x2000, 0x200B), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)]
"""C.1.2."""
PROHIBITED = {
    "C.2.1": [(0x0000, 0x001F), (0x007F, 0x007F)],
    "C.2.2": [
        *((0x0080, 0x009F), (0x06DD, 0x06DD), (0x070F, 0x070F), (0x180E, 0x180E), (0x2028, 0x2029), (0x2061, 0x2063)),
        *((0x206A, 0x206F), (0xFFF9, 0xFFFC), (0x1D173, 0x1D17A)),
    ],
    "C.3": [(0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)],
    "C.4": [(0xFDD0, 0xFDEF), *((plane + 0xFFFE, plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))],
    "C.5": [(0xD800, 0xDFFF)],
    "C.6": [(0xFFF9, 0xFFFD)],
    "C.7": [(0x2FF0, 0x2FFB)],
    "C.8": [(0x200E, 0x200F), (0x202A, 0x202E), (0x206A, 0x206F)],
    "C.9": [(0xE0001, 0xE0001), (0xE0020, 0xE007F)],
}


@pytest.mark.rfc("4013", "3")
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(
    ("text", "prepared"), [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX")]
)
def test_examples(text: str, prepared: str, stored: bool) -> None:
    assert saslprep(text, stored=stored) == prepared


@pytest.mark.rfc("4013", "3")
@pytest.mark.parametrize(("text", "why"), [("\u0007", "control character"), ("\u0627\u0031", "begins or ends")])
def test_examples_of_errors(text: str, why: str) -> None:
    with pytest.raises(Prohibited, match=why):
        saslprep(text, stored=True)


@pytest.mark.rfc("4013", "2.1")
@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("a\u00a0b\u3000c", "a b c"),  # other spaces
        ("a\u200b\ufeff\ufe0fb", "a b"),  # ZERO WIDTH SPACE is in both tables, and counts as a space
        ("\u00ad", ""),
        ("", ""),
        ("e\u0301", "\u00e9"),
        ("\ufb01", "fi"),
        ("pass-Wörd 1", "pass-Wörd 1"),
    ],
)
def test_mapping_and_normalisation(text: str, prepared: str) -> None:
    assert saslprep(text, stored=True) == prepared


@pytest.mark.rfc("4013", "2.1")
@pytest.mark.parametrize(("first", "last"), MAPPED_TO_NOTHING)
def test_each_character_that_is_mapped_to_nothing(first: int, last: int) -> None:
    for char in map(chr, range(first, last + 1)):
        assert saslprep(f"a{char}b", stored=True) == ("a b" if char == "\u200b" else "ab")


@pytest.mark.rfc("4013", "2.1")
@pytest.mark.parametrize(("first", "last"), SPACES)
def test_each_character_that_is_mapped_to_a_space(first: int, last: int) -> None:
    for char in map(chr, range(first, last + 1)):
        assert saslprep(f"a{char}b", stored=True) == "a b"


@pytest.mark.rfc("4013", "2.3")
@pytest.mark.parametrize("table", list(PROHIBITED))
@pytest.mark.parametrize("stored", [True, False])
def test_each_table_of_prohibited_characters(table: str, stored: bool) -> None:
    for first, last in PROHIBITED[table]:
        for char in (chr(first), chr((first + last) // 2), chr(last)):
            with pytest.raises(Prohibited, match="control character"):
                saslprep(f"a{char}b", stored=stored)


@pytest.mark.rfc("4013", "2.3")
def test_what_is_prohibited_is_looked_for_after_the_normalisation() -> None:
    # COMBINING GRAVE TONE MARK stands in table C.8, and is U+0300 for normalisation.
    assert saslprep("\u0430\u0340", stored=True) == "\u0430\u0300"


@pytest.mark.rfc("3454", "6")
@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("\u05d0", True),
        ("\u05d01\u05d0", True),
        ("\u05d0a\u05d0", False),
        ("1\u05d0", False),
        ("\u05d01", False),
        ("1a2", True),
    ],
)
def test_direction(text: str, allowed: bool) -> None:
    if allowed:
        assert saslprep(text, stored=True) == traceprep(text) == text
        return
    with pytest.raises(Prohibited, match="from the right"):
        saslprep(text, stored=True)
    with pytest.raises(Prohibited, match="from the right"):
        traceprep(text)


@pytest.mark.rfc("3454", "7")
def test_what_is_not_assigned_is_for_queries_only() -> None:
    assert saslprep(UNASSIGNED, stored=False) == UNASSIGNED
    with pytest.raises(Prohibited, match=r"Unicode 3\.2"):
        saslprep(UNASSIGNED, stored=True)


@pytest.mark.rfc("3454", "4")
def test_normalisation_is_that_of_unicode_3_2() -> None:
    # CIRCLED KATAKANA and kin came early; SQUARED LATIN CAPITAL LETTER A came with Unicode 6, and is left alone.
    late = "\U0001f130"
    assert unicodedata.normalize("NFKC", late) == "A"
    assert saslprep(late, stored=False) == late


def prepared_or_why(text: str, *, stored: bool) -> tuple[str | None, str]:
    try:
        return saslprep(text, stored=stored), ""
    except Prohibited as error:
        return None, str(error)


@given(st.text())
def test_nothing_but_prohibited_comes_out_and_it_shows_nothing(text: str) -> None:
    as_stored, why_not = prepared_or_why(text, stored=True)
    as_query, never = prepared_or_why(text, stored=False)
    for why in (why_not, never):
        assert why.isascii()
        assert len(why) < 100
    assert as_stored is None or as_query == as_stored
    assert (as_query is None) <= (as_stored is None)
    if as_query is not None:
        assert saslprep(as_query, stored=False) == as_query
        assert not any(stringprep.in_table_c12(char) or stringprep.in_table_c21_c22(char) for char in as_query)


@given(st.text(), st.text())
def test_how_it_was_typed_makes_no_difference(before: str, after: str) -> None:
    typed = {saslprep_of_both(before + form + after) for form in ("\u00e9", "e\u0301", "e\u00ad\u0301")}
    assert len(typed) == 1


def saslprep_of_both(text: str) -> tuple[str | None, str | None]:
    return prepared_or_why(text, stored=True)[0], prepared_or_why(text, stored=False)[0]


@pytest.mark.rfc("3454", "4")
def test_what_is_prepared_stays_as_it_is() -> None:
    for char in map(chr, range(0x30000)):
        if char.isascii() or unicodedata.ucd_3_2_0.normalize("NFKC", char) == char:
            continue
        try:
            prepared = saslprep(char, stored=False)
        except Prohibited:
            continue
        assert saslprep(prepared, stored=False) == prepared


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_printable_ascii_is_as_it_is(text: str) -> None:
    assert saslprep(text, stored=True) == traceprep(text) == text


@pytest.mark.rfc("4505", "3")
def test_a_trace_is_neither_mapped_nor_normalised() -> None:
    trace = "a\u00a0\u00ad\u00aa\u2ff0e\u0301" + UNASSIGNED
    assert traceprep(trace) == trace


@pytest.mark.rfc("4505", "3")
@pytest.mark.parametrize("table", [table for table in PROHIBITED if table != "C.7"])
def test_each_table_of_what_a_trace_must_not_hold(table: str) -> None:
    for first, last in PROHIBITED[table]:
        for char in (chr(first), chr(last)):
            with pytest.raises(Prohibited, match="control character"):
                traceprep(f"a{char}b")


@given(st.text())
def test_a_trace_is_as_it_is_or_prohibited(text: str) -> None:
    why = ""
    try:
        assert traceprep(text) == text
    except Prohibited as error:
        why = str(error)
    assert why.isascii()
