"""Whatever stands behind the path of MAIL and RCPT, it is refused by BadSyntax or LocalProtocolError, or it is
parameters that are the same when they were written and read again; and the work is linear.

Where the input has three parts, the work is measured with the middle one many times over.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fuzz._harness import FLIGHT, assert_linear, text_of
from smtpproto import LocalProtocolError
from smtpproto.commands import BadSyntax, Mail, Rcpt, parse_command
from smtpproto.parameters import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    DeliverBy,
    OriginalRecipient,
    ValidSince,
    parse_parameters,
    xtext_decode,
    xtext_encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_PARSED: Final[tuple[Callable[[str], object], ...]] = (DeliverBy.parse, OriginalRecipient.parse, ValidSince.parse)


def or_none(function: Callable[[str], T], text: str) -> T | None:
    try:
        return function(text)
    except (BadSyntax, LocalProtocolError):
        return None


def test_one_input(data: bytes) -> None:
    if FLIGHT in data:
        assert_linear(judge, data)
    else:
        judge(text_of(data))


def judge(text: str) -> None:
    xtext(text)
    for parse in _PARSED:
        value = or_none(parse, text)
        assert value is None or parse(str(value)) == value
    for make, known in ((mail, MAIL_PARAMETERS), (rcpt, RCPT_PARAMETERS)):
        fields = or_none(partial(parse_parameters, known=known), text)
        if fields is None:
            continue
        lenient = parse_parameters(text.replace(" ", "  "), known, lenient=True)
        assert lenient == fields
        command = make(fields)
        if command is not None:
            line = bytes(command).removesuffix(b"\r\n")
            assert parse_command(line) == command
            assert parse_command(line, lenient=True) == command
            assert line.isascii() or command.needed_extensions


def xtext(text: str) -> None:
    encoded = or_none(xtext_encode, text)
    if encoded is not None:
        assert encoded.isascii()
        assert xtext_decode(encoded) == text
    decoded = or_none(xtext_decode, text)
    if decoded is not None:
        assert xtext_decode(xtext_encode(decoded)) == decoded


def mail(fields: dict[str, Any]) -> Mail | None:
    return or_none(lambda path: Mail(path, **fields), "a@b.example")


def rcpt(fields: dict[str, Any]) -> Rcpt | None:
    return or_none(lambda path: Rcpt(path, **fields), "a@b.example")


def seeds() -> Iterator[bytes]:
    # RFC 1870 section 7, RFC 6152, RFC 3030, RFC 3461 section 10, RFC 4954 section 5, RFC 2852, RFC 4865, RFC 6710,
    # RFC 8689, RFC 3865, RFC 7293, RFC 6533.
    texts = (
        " SIZE=500000",
        " SIZE=100000 BODY=8BITMIME",
        " BODY=BINARYMIME SMTPUTF8",
        " RET=HDRS ENVID=QQ314159",
        " AUTH=e+3Dmc2@example.com",
        " AUTH=<>",
        " BY=120;R",
        " BY=-30;NT",
        " HOLDFOR=86400",
        " HOLDUNTIL=2026-11-23T13:00:00Z",
        " MT-PRIORITY=-3",
        " REQUIRETLS",
        " SOLICIT=net.example:ADV,org.example:ADV:ADLT",
        " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU",
        " NOTIFY=NEVER RRVS=2014-04-03T23:01:00Z;C",
        " ORCPT=utf-8;j\\x{F6}rg@example.com",
        " ORCPT=utf-8;j\u00f6rg@example.com X-UNKNOWN X-OTHER=\u00e9",
        "120;R",
        "rfc822;user+2Btag@example.com",
        "utf-8;\\x{1F600}\\x{5C}",
        "2014-04-03T23:01:00.123Z;R",
        "a+2Bb+3Dc+20+C3+A9",
    )
    yield from (text.encode() for text in texts)
    for head, middle, tail in (
        ("", " X=1", ""),
        (" X=", "y", "="),
        ("", "+2B", "+"),
        (" ORCPT=utf-8;", "\\x{F6}", "\\"),
        (" SOLICIT=a", ",b", ","),
        (" NOTIFY=", "DELAY,", "X"),
        (" SIZE=", "9", ""),
        (" BY=", "9", ";R"),
    ):
        yield FLIGHT.join(part.encode() for part in (head, middle, tail))
