"""ABNF fragments as patterns, the ABNF above each, and how a text is held against them.

Three rules keep the patterns honest:

- Each ends in ``\\Z``, so that ``match`` is a full match; ``$`` would let a line end through.
- Only written-out character classes: no ``\\d``, ``\\w`` or ignored case: they know letters and digits beyond ASCII.
- Each is deterministic: the next character alone decides where in the pattern it belongs, so that a text that does not
  match is given up in linear work.

Where RFC 6531 section 3.3 lets non-ASCII characters in (UTF8-non-ascii, U-label), the control characters among them,
U+0080 to U+009F, stay out.  Lone surrogates, which no UTF-8 can carry, are refused by `plain_str` for all patterns.

Patterns are compiled when they are first used, and non-ASCII is let in by naming what stays out: compiling them all at
the import, with the ranges of Unicode written out, takes twenty times as long as all other rooms together.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import Final

from .errors import LocalProtocolError


class BadSyntax(Exception):
    """A line from the peer is no command.  The server answers it; this exception never leaves the core."""

    code: int
    """The reply code."""
    status: str
    """The enhanced status code that goes with it, such as ``5.5.2``.  RFC 3463."""
    text: str
    """The text of the reply."""
    fatal: bool
    """True where what follows on the stream cannot be told from commands: after the reply, close."""

    def __init__(self, code: int, status: str, text: str, *, fatal: bool = False) -> None:
        super().__init__(f"{code} {status} {text}")
        self.code = code
        self.status = status
        self.text = text
        self.fatal = fatal


class Pattern:
    """A regular expression that is compiled when it is first used."""

    __slots__ = ("fullmatch", "match", "search", "source")

    match: Callable[[str], re.Match[str] | None]
    fullmatch: Callable[[str], re.Match[str] | None]
    search: Callable[[str], re.Match[str] | None]
    source: str

    def __init__(self, source: str) -> None:
        self.source = source
        self.match = self._first_match
        self.fullmatch = self._first_fullmatch
        self.search = self._first_search

    def _compiled(self) -> re.Pattern[str]:
        compiled = re.compile(self.source, re.ASCII)
        self.match, self.fullmatch, self.search = compiled.match, compiled.fullmatch, compiled.search
        return compiled

    def _first_match(self, text: str) -> re.Match[str] | None:
        return self._compiled().match(text)

    def _first_fullmatch(self, text: str) -> re.Match[str] | None:
        return self._compiled().fullmatch(text)

    def _first_search(self, text: str) -> re.Match[str] | None:
        return self._compiled().search(text)


def _full(source: str) -> Pattern:
    return Pattern(rf"(?:{source})\Z")


# UTF8-non-ascii  = UTF8-2 / UTF8-3 / UTF8-4                     ; RFC 6531 section 3.3; without C1 controls
# So the classes below that have it name the rest: ASCII that stays out, and U+007F to U+009F.

# atext           = ALPHA / DIGIT / "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "/" / "=" / "?" / "^" /
#                   "_" / "`" / "{" / "|" / "}" / "~"            ; RFC 5322 section 3.2.3
# atext           =/ UTF8-non-ascii                              ; RFC 6531 section 3.3
_ATEXT: Final = r"[!#-'*+\-/-9=?A-Z^-~]"
_U_ATEXT: Final = r'[^\x00- "(),.:;<>@\[-\]\x7f-\x9f]'

# sub-domain      = Let-dig [Ldh-str]                            ; RFC 5321 section 4.1.2
# Let-dig         = ALPHA / DIGIT
# Ldh-str         = *( ALPHA / DIGIT / "-" ) Let-dig
# Domain          = sub-domain *("." sub-domain)
# sub-domain      =/ U-label                                     ; RFC 6531 section 3.3
_LET_DIG: Final = "[0-9A-Za-z]"
_U_LET_DIG: Final = r"[^\x00-/:-@\[-`{-\x9f]"


def _domain(let_dig: str) -> str:
    sub_domain = f"{let_dig}+(?:-+{let_dig}+)*"
    return rf"{sub_domain}(?:\.{sub_domain})*"


_DOMAIN: Final = _domain(_U_LET_DIG)
DOMAIN: Final = _full(_DOMAIN)

# Software that maps a U-label before it looks it up reads the ideographic and the wide full stops as dots, and so
# another domain than the one that was checked.  None of them can be in a U-label.  RFC 5890 section 2.3.2.1
MAPPED_TO_DOTS: Final = frozenset("\u3002\uff0e\uff61")

# Dot-string      = Atom *("."  Atom)                            ; RFC 5321 section 4.1.2
# Atom            = 1*atext
_DOT_STRING: Final = rf"{_U_ATEXT}+(?:\.{_U_ATEXT}+)*"

# Quoted-string   = DQUOTE *QcontentSMTP DQUOTE                  ; RFC 5321 section 4.1.2
# QcontentSMTP    = qtextSMTP / quoted-pairSMTP
# quoted-pairSMTP = %d92 %d32-126
# qtextSMTP       = %d32-33 / %d35-91 / %d93-126
# qtextSMTP       =/ UTF8-non-ascii                              ; RFC 6531 section 3.3
_QUOTED_STRING: Final = r'"(?:[^\x00-\x1f"\\\x7f-\x9f]|\\[ -~])*"'

# Local-part      = Dot-string / Quoted-string                   ; RFC 5321 section 4.1.2
_LOCAL_PART: Final = f"(?:{_DOT_STRING}|{_QUOTED_STRING})"
LOCAL_PART: Final = _full(_LOCAL_PART)

# dcontent        = %d33-90 / %d94-126                           ; RFC 5321 section 4.1.3
# Ours is without "<" and ">": no tag that wants them is registered, and in a path they would close the bracket.
_DCONTENT: Final = "!-;=?-Z^-~"
_LITERAL: Final = rf"\[[{_DCONTENT}]+\]"

# address-literal = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"
# General-address-literal = Standardized-tag ":" 1*dcontent      ; RFC 5321 section 4.1.3
# Standardized-tag = Ldh-str
# The two others are tags of their own here ("" and "IPv6"); what follows the tag is read by ipaddress.
STANDARDIZED_TAG: Final = _full("-*[0-9A-Za-z]+(?:-+[0-9A-Za-z]+)*")
DCONTENT: Final = _full(f"[{_DCONTENT}]+")

# Snum            = 1*3DIGIT                                     ; RFC 5321 section 4.1.3
# Without leading zeros, which some read as octal.
IPV4: Final = _full(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")
# The characters of IPv6-addr, and as many as it can have.
IPV6: Final = _full(r"[0-9A-Fa-f:.]{2,45}")

# Mailbox         = Local-part "@" ( Domain / address-literal )  ; RFC 5321 section 4.1.2
_AT_DOMAIN: Final = f"@(?:{_DOMAIN}|{_LITERAL})"
MAILBOX: Final = _full(f"({_LOCAL_PART})@({_DOMAIN}|{_LITERAL})")
# The mailboxes that nearly all mail has, for the fast way: ASCII, not quoted, no address literal.
PLAIN_MAILBOX: Final = _full(rf"{_ATEXT}+(?:\.{_ATEXT}+)*@{_domain(_LET_DIG)}")

# Reverse-path    = Path / "<>"                                  ; RFC 5321 section 4.1.2
# Forward-path    = Path
# Path            = "<" [ A-d-l ":" ] Mailbox ">"
# A-d-l           = At-domain *( "," At-domain )
# rcpt            = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) ...
# These two find where a path ends (a quoted ">" does not end it); whether its mailbox is one, addresses.py tells.
_A_D_L: Final = f"(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?"
PATH_START: Final = Pattern(f"<(?:{_A_D_L}({_LOCAL_PART}(?:{_AT_DOMAIN})?))?>")
BARE_PATH_START: Final = Pattern(f"{_A_D_L}({_LOCAL_PART}(?:{_AT_DOMAIN})?)")

# ehlo            = "EHLO" SP ( Domain / address-literal ) CRLF  ; RFC 5321 section 4.1.1.1
# Wider on purpose: RFC 5321 section 4.1.4 forbids to refuse mail for what the name says.
NAME: Final = _full(r"[^\x00- <>\x7f-\x9f]+")

# String          = Atom / Quoted-string                         ; RFC 5321 section 4.1.2
# Wider on purpose: what people type after VRFY, NOOP and HELP is neither, and servers take it.
TEXT: Final = _full(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f]*")
PRINTABLE: Final = _full(r"[^\x00-\x1f\x7f-\x9f]*")
ASCII_PRINTABLE: Final = _full(r"[ -~]*")

# The verb of a command that we do not know: an Atom.            ; RFC 5321 section 4.1.2
ATOM: Final = _full(f"{_ATEXT}+")

# esmtp-keyword   = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")       ; RFC 5321 section 4.1.2
ESMTP_KEYWORD: Final = _full(r"[0-9A-Za-z][0-9A-Za-z\-]*")

# esmtp-value     = 1*(%d33-60 / %d62-126)                       ; RFC 5321 section 4.1.2
# esmtp-value     =/ UTF8-non-ascii                              ; RFC 6531 section 3.3
ESMTP_VALUE: Final = _full(r"[^\x00- =\x7f-\x9f]+")

# xtext           = *( xchar / hexchar )                         ; RFC 3461 section 4
# xchar           = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
# hexchar         = ASCII "+" immediately followed by two upper case hexadecimal digits
XTEXT: Final = _full(r"(?:[!-*,-<>-~]|\+[0-9A-F][0-9A-F])*")

# utf-8-addr-xtext    = 1*(QCHAR / EmbeddedUnicodeChar)          ; RFC 6533 section 3
# utf-8-addr-unitext  = 1*(QUCHAR / EmbeddedUnicodeChar)
# QCHAR               = %x21-2a / %x2c-3c / %x3e-5b / %x5d-7e
# QUCHAR              = QCHAR / UTF8-2 / UTF8-3 / UTF8-4
# EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"
UTF8_ADDR_UNITEXT: Final = _full(r"(?:[^\x00- +=\\\x7f-\x9f]|\\x\{[0-9A-F]{2,6}\})+")

# sasl-mech       = 1*20mech-char                                ; RFC 4422 section 3.1
# mech-char       = UPPER-ALPHA / DIGIT / HYPHEN / UNDERSCORE    ; in SMTP without case: RFC 4954 section 8
SASL_MECH: Final = _full(r"[0-9A-Za-z_\-]{1,20}")

# size-value      = 1*20DIGIT                                    ; RFC 1870
# chunk-size      = 1*DIGIT                                      ; RFC 3030 section 2; as many as a size has
NUMBER: Final = _full("[0-9]{1,20}")

# by-value        = by-time";"by-mode[by-trace]                  ; RFC 2852 section 4
# by-time         = ["-" / "+"]1*9digit
# by-mode         = "N" / "R"
# by-trace        = "T"
BY_VALUE: Final = _full(r"([+\-]?[0-9]{1,9});([NRnr])([Tt]?)")

# future-release-integer = %x31-39 *8DIGIT                       ; RFC 4865 section 3
FUTURE_RELEASE_INTEGER: Final = _full("[1-9][0-9]{0,8}")

# priority-value  = (["-"] NZDIGIT) / "0"                        ; RFC 6710
PRIORITY_VALUE: Final = _full("-?[1-9]|0")

# date-time       = full-date "T" full-time                      ; RFC 3339 section 5.6
# "T" and "Z" may be in lower case; the fraction, which may be endless there, has nine digits here.
DATE_TIME: Final = _full(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+\-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

# Solicitation-keywords = word 0*("," word)                      ; RFC 3865 section 2.2
# word            = ALPHA 0*(wordchar)
# wordchar        = ("." / "-" / "_" / ":" / ALPHA / DIGIT)
SOLICITATION_KEYWORD: Final = _full(r"[A-Za-z][.\-_:0-9A-Za-z]*")

# absolute-URI    = scheme ":" hier-part [ "?" query ]           ; RFC 3986 section 4.3
# scheme          = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )
# The rest as its characters: unreserved, reserved and "%".
ABSOLUTE_URI: Final = _full(r"[A-Za-z][0-9A-Za-z+.\-]*:[!#-;=?-\[\]_a-z~]+")


# What UTF-8 has no octets for.                                  ; RFC 3629 section 3
_SURROGATE: Final = Pattern(r"[^\ud800-\udfff]*[\ud800-\udfff]")


def shown(value: object) -> str:
    """A value as error sentences show it: its repr, and no more than the beginning of that."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def plain_str(value: object, what: str) -> str:
    """The value as a str proper; of a subclass, whose own format and encode may tell another story, the text in it.

    Raises LocalProtocolError where it is no str at all, or has a lone surrogate, which UTF-8 cannot carry.
    """
    if not isinstance(value, str):
        raise LocalProtocolError(f"{what} is a {type(value).__name__}: it must be a str")
    text = value if type(value) is str else str.__str__(value)
    if not text.isascii() and _SURROGATE.match(text):
        raise LocalProtocolError(f"{what} is {shown(text)}: a lone surrogate is no character")
    return text


def require(pattern: Pattern, value: object, what: str) -> str:
    """The value as a str proper that matches.  Raises LocalProtocolError otherwise."""
    text = plain_str(value, what)
    if not pattern.match(text):
        raise LocalProtocolError(f"{what} is {shown(text)}: this is not what the grammar allows there")
    return text


def base64(data: bytes) -> str:
    """RFC 4648 section 4."""
    return binascii.b2a_base64(data, newline=False).decode()


def strict_base64(text: str) -> bytes | None:
    """What the text stands for; None where it is not just what an encoder would write.

    The strict mode of `binascii` lets padding pass where there is nothing to pad, and bits that are none.
    """
    # base64          = base64-terminal / ( 1*(4base64-char) [base64-terminal] )  ; RFC 4954 section 8; or nothing
    try:
        data = binascii.a2b_base64(text.encode("ascii", "replace"), strict_mode=True)
    except binascii.Error:
        return None
    return data if base64(data) == text else None


def unquote(text: str) -> str:
    """What is meant by the inside of a Quoted-string: each quoted-pairSMTP is its second character."""
    return re.sub(r"\\([ -~])", r"\1", text)


def ascii_upper(text: str) -> str:
    """Upper case for comparing keywords.  Other alphabets stay as they are: U+0131 and U+017F would become I and S."""
    return text.upper() if text.isascii() else text


def octets(text: str) -> int:
    """How long the text is on the wire, in octets of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
