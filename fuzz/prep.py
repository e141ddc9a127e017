"""Whatever text is a name or a password, SASLprep refuses it without showing it, or makes of it what it leaves as it is
from then on, and what it makes of the same text in another normal form too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from unicodedata import ucd_3_2_0 as unicode

from fuzz._harness import text_of
from smtpproto.sasl import Prohibited, saslprep
from smtpproto.sasl.prep import traceprep

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_one_input(data: bytes) -> None:
    text = text_of(data)
    query, stored = prepared(text, stored=False), prepared(text, stored=True)
    assert stored in (None, query), "only what Unicode 3.2 did not know tells them apart"
    if text.isascii() and text.isprintable():
        assert query == text
    for form in ("NFC", "NFD"):
        assert prepared(unicode.normalize(form, text), stored=False) == query
    if query is not None:
        assert prepared(query, stored=False) == query
        assert unicode.normalize("NFKC", query) == query
        assert "\0" not in query
        assert not any("\ud800" <= char <= "\udfff" for char in query)
    trace(text)


def prepared(text: str, *, stored: bool) -> str | None:
    try:
        return saslprep(text, stored=stored)
    except Prohibited as error:
        assert_silent(error, text)
        return None


def trace(text: str) -> None:
    try:
        assert traceprep(text) == text
    except Prohibited as error:
        assert_silent(error, text)


def assert_silent(error: Prohibited, text: str) -> None:
    shown = f"{error} {error!r}"
    assert shown.isascii()
    assert text.isascii() or not any(char in shown for char in text if not char.isascii())


def seeds() -> Iterator[bytes]:
    # RFC 4013 section 3, RFC 3454 sections 5 and 6.
    for text in (
        "I\u00adX",
        "user",
        "USER",
        "\u00aa",
        "\u2168",
        "\u0007",
        "\u0627\u0031",
        "\u0627\u0031\u0628",
        "e\u0301\u00e9",
        "\u200b\u3000 a",
        "\u05d0a",
        "\U0001f600",
        "\ufb01\u1e9b\u0323",
        "\U000e0001",
        "\ue000",
        "\ufdfa",
    ):
        yield text.encode()
    yield b"no UTF-8: \xff"
