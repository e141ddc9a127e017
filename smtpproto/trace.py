"""Trace fields: what a server writes before the content of a message that it has accepted.  RFC 5321 section 4.4.

They are made of what the peer has said and of what its address resolves to, and whoever reads them trusts the server
that wrote them.  So nothing of the peer's ends up anywhere but where the grammar has a place for it: a name that is no
domain goes into a comment, with all quoted or replaced that could end that.  What the program gives is checked, and
refused with a `LocalProtocolError`.

There is no clock here: the date is the caller's, such as ``email.utils.format_datetime`` makes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from . import grammar
from .addresses import AddressLiteral, Mailbox, check_forward_path, check_reverse_path, is_domain, parse_domain
from .errors import LocalProtocolError
from .grammar import Pattern, plain_str, require, shown

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

__all__ = ["protocol_name", "received", "return_path"]

_WIDTH: Final = 78
"""Characters of a line, where it can be folded.  RFC 5322 section 2.1.1."""
_LONGEST: Final = 998
"""Octets of a line.  RFC 5322 section 2.1.1, RFC 6532 section 3.4."""
_COMMENT: Final = 128
"""Characters of a text in a comment: a line of 512 octets could be one name, and its quoting doubles it."""

# date-time       = [ day-of-week "," ] date time [CFWS]         ; RFC 5322 section 3.3
# day-of-week     = ([FWS] day-name)
# date            = day month year
# day             = ([FWS] 1*2DIGIT FWS)
# year            = (FWS 4*DIGIT FWS)
# time            = time-of-day zone
# time-of-day     = hour ":" minute [ ":" second ]
# zone            = (FWS ( "+" / "-" ) 4DIGIT)
# In the ranges that the section gives in words, without the obs- forms (RFC 5321 section 4.4), and unfolded.  The CFWS
# at the end is a single comment without others in it: the name of the time zone.
_DATE_TIME: Final = Pattern(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), *)?(?:0[1-9]|[12][0-9]|3[01]|[1-9])"
    r" +(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +(?:19|[2-9][0-9])[0-9]{2}"
    r" +(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60))?"
    r" +[+\-][0-9]{2}[0-5][0-9](?: +\([ !-'*-\[\]-~]*\))?\Z"
)

# msg-id          = [CFWS] "<" id-left "@" id-right ">" [CFWS]   ; RFC 5322 section 3.6.4
# id-left         = dot-atom-text
# id-right        = dot-atom-text / no-fold-literal
_DOT_ATOM: Final = r"[!#-'*+\-/-9=?A-Z^-~]+(?:\.[!#-'*+\-/-9=?A-Z^-~]+)*"
_MSG_ID: Final = Pattern(rf"<{_DOT_ATOM}@(?:{_DOT_ATOM}|\[[!-Z^-~]*\])>\Z")


def protocol_name(*, lmtp: bool, extended: bool, secure: bool, authenticated: bool, smtputf8: bool = False) -> str:
    """The name of the protocol for the WITH clause, such as ``ESMTPSA``.

    RFC 3848; RFC 6531 section 3.7.3 for those that begin with ``UTF8``.  After HELO it is ``SMTP``, whatever else there
    is.
    """
    if not (lmtp or extended or smtputf8):
        return "SMTP"
    plain = "LMTP" if lmtp else "SMTP"
    name = f"UTF8{plain}" if smtputf8 else plain if lmtp else "ESMTP"
    return f"{name}{'S' if secure else ''}{'A' if authenticated else ''}"


# Return-path-line = "Return-Path:" FWS Reverse-path <CRLF>      ; RFC 5321 section 4.4
def return_path(reverse_path: str | Mailbox) -> bytes:
    """The field that the final delivery puts before all others.

    ``reverse_path``: a mailbox, or ``""``, of MAIL.  Raises `LocalProtocolError` for what is none.
    """
    return f"Return-Path: <{check_reverse_path(reverse_path)}>\r\n".encode()


# Time-stamp-line = "Received:" FWS Stamp <CRLF>                 ; RFC 5321 section 4.4
# Stamp           = From-domain By-domain Opt-info [CFWS] ";" FWS date-time
# From-domain     = "FROM" FWS Extended-Domain
# By-domain       = CFWS "BY" FWS Extended-Domain
# Extended-Domain = Domain / ( Domain FWS "(" TCP-info ")" ) / ( address-literal FWS "(" TCP-info ")" )
# TCP-info        = address-literal / ( Domain FWS address-literal )
# Opt-info        = [Via] [With] [ID] [For] [Additional-Registered-Clauses]
# With            = CFWS "WITH" FWS Protocol
# ID              = CFWS "ID" FWS ( Atom / msg-id )
# For             = CFWS "FOR" FWS ( Path / Mailbox )
def received(
    *,
    by: str,
    date: str,
    hello: str = "",
    address: str | IPv4Address | IPv6Address | AddressLiteral | None = None,
    name: str | None = None,
    protocol: str = "ESMTP",
    id: str | None = None,  # noqa: A002 - it is the RFC's name
    recipient: str | Mailbox | None = None,
    tls: str | None = None,
) -> bytes:
    """The field that each server puts before those of the servers before it.  With its CRLF, and folded.

    ``by``: this server's domain, or its address literal.
    ``date``: a date-time of RFC 5322 section 3.3, without obsolete forms.
    ``hello``: what the client calls itself; whatever is no domain and no address literal stands in a comment.
    ``address``: its IP address; None or ``""`` where it has none, as behind a unix socket.
    ``name``: the domain that the address resolves to; what is no domain is left out.
    ``protocol``: an Atom, as `protocol_name` makes it.  Where it begins with ``UTF8``, the field may be non-ASCII.
    ``id``: by which this server knows the message: an Atom, or a msg-id.
    ``recipient``: the forward-path, where there is only one (RFC 5321 section 7.2 says why).  ``Postmaster`` without a
    domain has no place in the clause, nor has what the protocol cannot carry: they are left out.
    ``tls``: how it is secured, for people, such as ``TLSv1.3 TLS_AES_256_GCM_SHA384``: a comment.

    Raises `LocalProtocolError` for a ``by``, ``date``, ``address``, ``protocol``, ``id`` or ``recipient`` that is none.
    """
    protocol = require(grammar.ATOM, protocol, "the protocol of a trace field")
    utf8 = protocol.startswith("UTF8")
    clauses = [
        ["from", *_source(hello, "" if address is None else address, name or "", utf8)],
        ["by", *_own_domain(by, utf8)],
        ["with", protocol, *_comment(tls or "", utf8)],
    ]
    if id is not None:
        clauses.append(["id", _checked_id(id)])
    path = "" if recipient is None else check_forward_path(recipient)
    if "@" in path and _is_carried(path, utf8):
        clauses.append(["for", f"<{path}>"])
    clauses[-1][-1] += ";"
    clauses.append(require(_DATE_TIME, date, "the date of a trace field").split())
    field = _folded("Received:", clauses).encode()
    if max(map(len, field.split(b"\r\n"))) > _LONGEST:
        raise LocalProtocolError(f"a trace field would have a line of more than {_LONGEST} octets: {field[:80]!r}")
    return field


def _source(
    hello: str, address: str | IPv4Address | IPv6Address | AddressLiteral, name: str, utf8: bool
) -> Iterable[str]:
    """The Extended-Domain of the client, and the comment that has what it said where that is none."""
    literal = str(_literal(address)) if address != "" else ""
    if _is_good_domain(hello, utf8) or (literal and _is_literal(hello)):
        said, comment = hello, ""
    else:
        # What came first in the grammar has to be a domain, also where nothing is known.
        said, comment = literal or "unknown", f"helo={hello}" if hello else ""
    yield said
    resolved = name.removesuffix(".")
    if literal:
        yield from (f"({resolved}", f"{literal})") if _is_good_domain(resolved, utf8) else (f"({literal})",)
    yield from _comment(comment, utf8)


def _own_domain(by: str, utf8: bool) -> Iterable[str]:
    if by.startswith("["):
        literal = str(AddressLiteral.parse(by))
        return literal, f"({literal})"  # the grammar has no address literal without one that explains it
    if not _is_carried(parse_domain(by), utf8):
        raise LocalProtocolError(f"the domain {shown(by)} is not ASCII, and the protocol carries nothing else")
    return (by,)


def _literal(address: str | IPv4Address | IPv6Address | AddressLiteral) -> AddressLiteral:
    if isinstance(address, AddressLiteral):
        return address
    if isinstance(address, str) and address.startswith("["):
        return AddressLiteral.parse(address)
    return AddressLiteral.of(address)


def _checked_id(text: str) -> str:
    text = plain_str(text, "the id of a trace field")
    if not grammar.ATOM.match(text) and not _MSG_ID.match(text):
        raise LocalProtocolError(f"the id of a trace field is {shown(text)}: it must be an Atom or a msg-id")
    return text


def _is_good_domain(text: str, utf8: bool) -> bool:
    return is_domain(text) and _is_carried(text, utf8)


def _is_literal(text: str) -> bool:
    """An IP address: other literals may hold what readers take for a comment, or for the ``;`` before the date."""
    try:
        return AddressLiteral.parse(text).address is not None
    except LocalProtocolError:
        return False


def _is_carried(text: str, utf8: bool) -> bool:
    return utf8 or text.isascii()


# comment         = "(" *([FWS] ccontent) [FWS] ")"              ; RFC 5322 section 3.2.2
# ccontent        = ctext / quoted-pair / comment
# ctext           = %d33-39 / %d42-91 / %d93-126
# ctext           =/ UTF8-non-ascii                              ; RFC 6532 section 3.2
def _comment(text: str, utf8: bool) -> list[str]:
    """The words of a comment with this text, whatever is in it; none where it has none."""
    words = "".join(_harmless(character, utf8) for character in text[:_COMMENT]).split()
    if words:
        words[0] = f"({words[0]}"
        words[-1] = f"{words[-1]})"
    return words


def _harmless(character: str, utf8: bool) -> str:
    if character in "()\\":
        return f"\\{character}"
    carried = character.isprintable() and _is_carried(character, utf8)
    return character if carried else "?"


def _folded(name: str, clauses: Iterable[list[str]]) -> str:
    """The field, with line ends between the clauses, or within one that is too long for a line."""
    lines = [name]
    for clause in clauses:
        if _fits(lines[-1], " ".join(clause)) or lines[-1] == name:
            _fill(lines, clause)
        else:
            lines.append(f"\t{clause[0]}")
            _fill(lines, clause[1:])
    return "\r\n".join(lines) + "\r\n"


def _fill(lines: list[str], words: Iterable[str]) -> None:
    for word in words:
        if _fits(lines[-1], word):
            lines[-1] += f" {word}"
        else:
            lines.append(f"\t{word}")


def _fits(line: str, text: str) -> bool:
    return len(line) + len(" ") + len(text) <= _WIDTH
