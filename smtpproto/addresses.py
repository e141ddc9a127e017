"""Mailboxes, domains, address literals and paths: the addresses of the envelope, by RFC 5321 and RFC 6531.

An address of the envelope is not one of a header field: there are no comments, display names, encoded words or folding
here.  Whatever is valid is kept as it was written, character for character; nothing is normalised, neither case nor
Unicode form nor quoting.  What is not valid raises LocalProtocolError, whoever wrote it; the server's side turns that
into a reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import grammar, limits
from .errors import LocalProtocolError
from .grammar import octets, plain_str, require, shown
from .values import Value, set_field

# ipaddress itself is imported where it is used: few need it, and it would be a quarter of the import of the core.
if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address

MAILBOX_OCTETS = limits.PATH - 2
"""A path without its angle brackets."""


class AddressLiteral(Value):
    """An address where a domain could be: ``[192.0.2.1]``, ``[IPv6:2001:db8::1]``, ``[tag:content]``.

    RFC 5321 section 4.1.3.  ``str()`` gives it with its brackets.
    """

    __slots__ = ("tag", "content")
    __match_args__ = ("tag", "content")

    tag: str
    """Empty for IPv4, ``IPv6`` (in this spelling), or another Standardized-tag."""
    content: str
    """What stands behind the tag, as it was written."""

    def __init__(self, tag: str, content: str) -> None:
        tag = plain_str(tag, "the tag of an address literal")
        content = require(grammar.DCONTENT, content, "the content of an address literal")
        if tag:
            require(grammar.STANDARDIZED_TAG, tag, "the tag of an address literal")
            tag = "IPv6" if tag.lower() == "ipv6" else tag
        set_field(self, "tag", tag)
        set_field(self, "content", content)
        if tag in ("", "IPv6") and self.address is None:
            raise LocalProtocolError(f"the address literal [{tag and tag + ':'}{content[:60]}] holds no IP address")
        _check_octets("the address literal", str(self), limits.DOMAIN)

    @classmethod
    def parse(cls, text: str) -> AddressLiteral:
        """Read it from its text, brackets included.  Raises LocalProtocolError."""
        text = plain_str(text, "the address literal")
        if len(text) < 2 or text[0] != "[" or text[-1] != "]":
            raise LocalProtocolError(f"the address literal {shown(text)} is not in square brackets")
        tag, colon, content = text[1:-1].partition(":")
        if not colon:
            return cls("", tag)
        if not tag:
            raise LocalProtocolError(f"the address literal {shown(text)} has no tag before its colon")
        return cls(tag, content)

    @classmethod
    def of(cls, address: str | IPv4Address | IPv6Address) -> AddressLiteral:
        """The literal of an IP address.  An IPv6 address that maps an IPv4 one becomes that one; a zone is dropped.

        Raises LocalProtocolError where the text is no IP address.
        """
        from ipaddress import IPv4Address, IPv6Address, ip_address

        try:
            ip = ip_address(address)
        except ValueError:
            raise LocalProtocolError(f"{shown(address)} is no IP address") from None
        if isinstance(ip, IPv4Address):
            return cls("", str(ip))
        if ip.ipv4_mapped is not None:
            return cls("", str(ip.ipv4_mapped))
        return cls("IPv6", str(IPv6Address(int(ip))))

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The IP address, or None where the tag is of another kind."""
        if not self.tag:
            return _ipv4(self.content)
        return _ipv6(self.content) if self.tag == "IPv6" else None

    def __str__(self) -> str:
        return f"[{self.tag}:{self.content}]" if self.tag else f"[{self.content}]"


class Mailbox(Value):
    """``Local-part "@" ( Domain / address-literal )``.  RFC 5321 section 4.1.2, RFC 6531 section 3.3.

    Raises LocalProtocolError for what is none, or is longer than RFC 5321 section 4.5.3.1 allows: 64 octets for the
    local part, 255 for the domain, 63 for one of its labels, 254 for all.
    """

    __slots__ = ("local_part", "domain")
    __match_args__ = ("local_part", "domain")

    local_part: str
    """As it was written, with the quotes of a Quoted-string."""
    domain: str
    """As it was written: a domain, or an address literal with its brackets."""

    def __init__(self, local_part: str, domain: str) -> None:
        local_part = require(grammar.LOCAL_PART, local_part, "the local part")
        domain = plain_str(domain, "the domain")
        _check_parts(local_part, domain)
        set_field(self, "local_part", local_part)
        set_field(self, "domain", domain)

    @classmethod
    def parse(cls, text: str) -> Mailbox:
        """Read it from its text.  Raises LocalProtocolError."""
        match = _match_mailbox(plain_str(text, "the mailbox"))
        return cls(match[0], match[1])

    @property
    def is_ascii(self) -> bool:
        """False where sending to it needs SMTPUTF8 (RFC 6531)."""
        return self.local_part.isascii() and self.domain.isascii()

    @property
    def unquoted(self) -> str:
        """The local part that is meant, without quotes and backslashes.

        All quoted forms of it are equivalent, so this is what to compare by.  RFC 5321 section 4.1.2.
        """
        if not self.local_part.startswith('"'):
            return self.local_part
        return grammar.unquote(self.local_part[1:-1])

    def with_ascii_domain(self, encode: Callable[[str], str | bytes]) -> Mailbox:
        """The same mailbox with A-labels for U-labels, for a server without SMTPUTF8.

        The encoder is the caller's choice, such as ``idna.encode``, since this package knows no Unicode tables; it is
        given the whole domain, and is not called where the domain is ASCII.  Raises LocalProtocolError where the
        encoder raises a ValueError, or gives what is no ASCII domain.
        """
        if self.domain.isascii():
            return self
        try:
            encoded = encode(self.domain)
            domain = encoded if isinstance(encoded, str) else encoded.decode("ascii")
        except ValueError as error:
            raise LocalProtocolError(f"the domain {shown(self.domain)} has no ASCII form: {error}") from error
        if not domain.isascii():
            raise LocalProtocolError(f"the encoder left the domain {shown(self.domain)} as {shown(domain)}, not ASCII")
        return Mailbox(self.local_part, domain)

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"


def parse_domain(text: str) -> str:
    """The domain, unchanged, where it is one: letters, digits and hyphens, or U-labels, between single dots.

    No trailing dot, no underscore, no address literal.  RFC 5321 section 4.1.2, RFC 6531 section 3.3.
    Raises LocalProtocolError.
    """
    domain = require(grammar.DOMAIN, text, "the domain")
    if not grammar.MAPPED_TO_DOTS.isdisjoint(domain):
        raise LocalProtocolError(f"the domain {shown(domain)} has a full stop that is no dot")
    if len(domain) > limits.DOMAIN_LABEL or not domain.isascii():
        _check_octets("the domain", domain, limits.DOMAIN)
        for label in domain.split("."):
            _check_octets("the label", label, limits.DOMAIN_LABEL)
    return domain


def is_domain(text: str) -> bool:
    """True where `parse_domain` would take it."""
    try:
        parse_domain(text)
    except LocalProtocolError:
        return False
    return True


def check_mailbox(value: str | Mailbox) -> str:
    """The text of a valid mailbox.  Raises LocalProtocolError."""
    # Nothing in a text of 64 octets can be longer than its limit.
    if type(value) is str and len(value) <= limits.LOCAL_PART and grammar.PLAIN_MAILBOX.match(value):
        return value
    if isinstance(value, Mailbox):
        return str(value)
    text = plain_str(value, "the mailbox")
    _check_parts(*_match_mailbox(text))
    return text


def check_reverse_path(value: str | Mailbox) -> str:
    """The text of a mailbox, or ``""``: the null reverse-path.  RFC 5321 section 4.5.5.  Raises LocalProtocolError."""
    return "" if isinstance(value, str) and not value else check_mailbox(value)


def check_forward_path(value: str | Mailbox) -> str:
    """The text of a mailbox, or ``Postmaster`` in any case.  RFC 5321 section 4.5.1.  Raises LocalProtocolError."""
    if isinstance(value, str) and len(value) == len("postmaster") and value.lower() == "postmaster":
        return plain_str(value, "the forward-path")
    return check_mailbox(value)


def split_path(text: str, *, lenient: bool = False) -> tuple[str, str]:
    """The mailbox of the path at the beginning of the text, and the text behind the path.

    A source route is read and dropped: it MUST be accepted, SHOULD be ignored, and is never sent (RFC 5321 section
    4.1.1.3, section 3.6.1, appendix C).  ``lenient`` takes a path without its angle brackets too.  The mailbox may be
    empty or without a domain; its parts are not measured yet: that is for the check of the path that is wanted.
    Raises LocalProtocolError.
    """
    match = grammar.PATH_START.match(text)
    if match is None and lenient:
        match = grammar.BARE_PATH_START.match(text)
    if match is None:
        raise LocalProtocolError(f"{shown(text)} does not begin with a path in angle brackets")
    return match[1] or "", text[match.end() :]


def parse_path(text: str, *, reverse: bool) -> str:
    """The mailbox of a path in its angle brackets; ``""`` for the null reverse-path.

    A reverse-path may be null, a forward-path ``<Postmaster>``.  Raises LocalProtocolError.
    """
    mailbox, rest = split_path(plain_str(text, "the path"))
    if rest:
        raise LocalProtocolError(f"{shown(rest)} stands behind the path")
    return check_reverse_path(mailbox) if reverse else check_forward_path(mailbox)


def _match_mailbox(text: str) -> tuple[str, str]:
    match = grammar.MAILBOX.match(text)
    if match is None:
        raise LocalProtocolError(f"{shown(text)} is no mailbox: it must be local-part@domain, as in RFC 5321")
    return match[1], match[2]


def _check_parts(local_part: str, domain: str) -> None:
    _check_octets("the local part", local_part, limits.LOCAL_PART)
    if domain.startswith("["):
        AddressLiteral.parse(domain)
    else:
        parse_domain(domain)
    _check_octets("the mailbox", f"{local_part}@{domain}", MAILBOX_OCTETS)


def _check_octets(what: str, text: str, limit: int) -> None:
    if octets(text) > limit:
        raise LocalProtocolError(f"{what} {shown(text)} has {octets(text)} octets, more than the {limit} allowed")


def _ipv4(content: str) -> IPv4Address | None:
    from ipaddress import IPv4Address

    try:
        return IPv4Address(content) if grammar.IPV4.match(content) else None
    except ValueError:
        return None


def _ipv6(content: str) -> IPv6Address | None:
    from ipaddress import IPv6Address

    try:
        address = IPv6Address(content) if grammar.IPV6.match(content) else None
    except ValueError:
        return None
    # ipaddress lets "::" stand for a single group; RFC 5321 section 4.1.3 wants two at least.
    groups = sum(1 for group in content.split(":") if group) + ("." in content)
    return None if "::" in content and groups > 6 else address
