"""SASLprep: what two people who type the same name or password must have in common.  RFC 4013, RFC 3454.

An ``é`` may be one code point or two, and a space may be many things.  A password of which only a hash is kept can be
compared only if both sides write it in one way before they hash it.

The tables are those of Unicode 3.2, as RFC 3454 fixed them; the standard library has kept them.  So has it kept the
normalisation of that time: with the one of today, a name could become another where Unicode has grown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Prohibited(ValueError):
    """The text holds what may not stand in it.  The message does not show the text, which may be a password."""


def saslprep(text: str, *, stored: bool) -> str:
    """The text as it is compared or hashed.  RFC 4013 section 2.

    A ``stored`` string must not hold code points that Unicode 3.2 did not know, because what they will be is unknown;
    a query (``stored=False``) may (RFC 3454 section 7).  Raises `Prohibited`.  What is left may be empty.
    """
    if text.isascii() and text.isprintable():
        return text
    import stringprep as tables
    from unicodedata import ucd_3_2_0 as unicode

    # Section 2.1.  U+200B is in both tables, and the one that makes it a space stands first there.
    mapped = "".join(
        " " if tables.in_table_c12(char) else char
        for char in text
        if tables.in_table_c12(char) or not tables.in_table_b1(char)
    )
    prepared = unicode.normalize("NFKC", mapped)
    _check(
        prepared,
        (
            tables.in_table_c12,
            tables.in_table_c21_c22,
            tables.in_table_c3,
            tables.in_table_c4,
            tables.in_table_c5,
            tables.in_table_c6,
            tables.in_table_c7,
            tables.in_table_c8,
            tables.in_table_c9,
        ),
    )
    if stored and any(map(tables.in_table_a1, prepared)):
        raise Prohibited("it holds a character that Unicode 3.2 did not know, which SASLprep allows in no password")
    return prepared


def traceprep(text: str) -> str:
    """The trace information of ANONYMOUS, as it is.  RFC 4505 section 3.  Raises `Prohibited`."""
    import stringprep as tables

    _check(
        text,
        (
            tables.in_table_c21_c22,
            tables.in_table_c3,
            tables.in_table_c4,
            tables.in_table_c5,
            tables.in_table_c6,
            tables.in_table_c8,
            tables.in_table_c9,
        ),
    )
    return text


def _check(text: str, prohibiting: Iterable[Callable[[str], bool]]) -> None:
    """Prohibited characters, and text that does not know its direction.  RFC 3454 sections 5 and 6."""
    from stringprep import in_table_d1 as is_right_to_left
    from stringprep import in_table_d2 as is_left_to_right

    for table in prohibiting:
        if any(map(table, text)):
            raise Prohibited("it holds a control character, or another that SASLprep does not allow")
    if not any(map(is_right_to_left, text)):
        return
    if any(map(is_left_to_right, text)):
        raise Prohibited("it mixes what is written from the right with what is written from the left")
    if not is_right_to_left(text[0]) or not is_right_to_left(text[-1]):
        raise Prohibited("it is written from the right, and begins or ends with a character that is not")
