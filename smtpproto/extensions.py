"""What a server offers: the known service extensions, a row each, and the offer that an EHLO reply makes.

The engine asks here which extension permits a command or a parameter; what an extension *does* stands in the rooms of
the commands and parameters themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, cast

from .errors import LocalProtocolError
from .grammar import Pattern
from .values import Value, set_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .replies import Reply


class Extension(Value):
    """A service extension: RFC 5321 section 2.2."""

    __slots__ = ("keyword", "rfc", "title", "commands", "parameters")
    __match_args__ = ("keyword", "rfc", "title", "commands", "parameters")

    keyword: str
    """As in the EHLO reply, in upper case."""
    rfc: str
    """Where it is specified: ``RFC 1870``, or the name of another document."""
    title: str
    """What it means, for people."""
    commands: tuple[str, ...]
    """The verbs that it adds."""
    parameters: tuple[str, ...]
    """The parameters that it adds to MAIL and RCPT."""

    def __init__(
        self, keyword: str, rfc: str, title: str, commands: tuple[str, ...] = (), parameters: tuple[str, ...] = ()
    ) -> None:
        set_field(self, "keyword", keyword)
        set_field(self, "rfc", rfc)
        set_field(self, "title", title)
        set_field(self, "commands", commands)
        set_field(self, "parameters", parameters)


EXTENSIONS: Final[Mapping[str, Extension]] = {
    row.keyword: row
    for row in (
        Extension("SIZE", "RFC 1870", "Tells the largest message that is accepted", (), ("SIZE",)),
        Extension("8BITMIME", "RFC 6152", "Content may have octets above 127", (), ("BODY",)),
        Extension("PIPELINING", "RFC 2920", "Commands may be sent without waiting for each reply"),
        Extension("CHUNKING", "RFC 3030", "Content may be sent in chunks of announced size", ("BDAT",)),
        Extension("BINARYMIME", "RFC 3030", "Content may be any octets, sent in chunks", (), ("BODY",)),
        Extension("STARTTLS", "RFC 3207", "The connection can be secured with TLS", ("STARTTLS",)),
        Extension("AUTH", "RFC 4954", "The client can authenticate itself", ("AUTH",), ("AUTH",)),
        Extension(
            "DSN", "RFC 3461", "Notifications of delivery can be asked for", (), ("RET", "ENVID", "NOTIFY", "ORCPT")
        ),
        Extension("ENHANCEDSTATUSCODES", "RFC 2034", "Replies tell the reason in a code such as 5.1.1"),
        Extension("SMTPUTF8", "RFC 6531", "Addresses and header fields may be in any script", (), ("SMTPUTF8",)),
        Extension("HELP", "RFC 5321", "The server can be asked for help", ("HELP",)),
        Extension("EXPN", "RFC 5321", "The members of a mailing list can be asked for", ("EXPN",)),
        Extension("VRFY", "RFC 5321", "An address can be verified without sending to it", ("VRFY",)),
        Extension("ETRN", "RFC 1985", "The mail that waits for a host can be asked for", ("ETRN",)),
        Extension("DELIVERBY", "RFC 2852", "A time can be set within which to deliver", (), ("BY",)),
        Extension(
            "FUTURERELEASE", "RFC 4865", "A message can be held until a given time", (), ("HOLDFOR", "HOLDUNTIL")
        ),
        Extension("MT-PRIORITY", "RFC 6710", "A message can have a priority", (), ("MT-PRIORITY",)),
        Extension("REQUIRETLS", "RFC 8689", "A message can be kept to secured connections", (), ("REQUIRETLS",)),
        Extension("RRVS", "RFC 7293", "A message can be kept from a mailbox that changed hands", (), ("RRVS",)),
        Extension("LIMITS", "RFC 9422", "Tells how many recipients and messages are accepted"),
        Extension("BURL", "RFC 4468", "Content can be fetched from an IMAP server", ("BURL",)),
        Extension("XCLIENT", "Postfix XCLIENT_README", "A proxy can tell for whom it speaks", ("XCLIENT",)),
        Extension("XFORWARD", "Postfix XFORWARD_README", "A filter can tell where a message came from", ("XFORWARD",)),
        Extension("NO-SOLICITING", "RFC 3865", "Classes of solicitation are refused", (), ("SOLICIT",)),
    )
}
"""All that this package knows, by keyword.  An EHLO reply may have others.

:meta hide-value:
"""

# Verbs that RFC 5321 itself has: section 3.5.2 lets servers list them, section 4.1.1 does not make clients look.
_UNCONDITIONAL: Final = frozenset({"HELP", "EXPN", "VRFY"})
_BY_COMMAND: Final = {verb: row.keyword for row in EXTENSIONS.values() for verb in row.commands}
_BY_PARAMETER: Final = {name: row.keyword for row in EXTENSIONS.values() for name in row.parameters}


def extension_for_command(verb: str) -> str | None:
    """The keyword of the extension that must have been offered for this command; None if it needs none."""
    folded = verb if verb.isupper() else _fold(verb)
    return None if folded in _UNCONDITIONAL else _BY_COMMAND.get(folded)


def extension_for_parameter(keyword: str, value: str = "") -> str | None:
    """The keyword of the extension that must have been offered for this parameter of MAIL or RCPT.

    None if none is known.  ``BODY=BINARYMIME`` is another extension's than the other values of BODY.
    """
    folded = _fold(keyword)
    if folded == "BODY":
        return "BINARYMIME" if _fold(value) == "BINARYMIME" else "8BITMIME"
    return _BY_PARAMETER.get(folded)


# RFC 5321 section 4.1.1.1:
#   ehlo-line     = ehlo-keyword *( SP ehlo-param )
#   ehlo-keyword  = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
#   ehlo-param    = 1*(%d33-126)
# Offers of our own keep to it.  In a peer's any number of spaces may stand wherever one may, also at the end; and
# there is AUTH=LOGIN, which servers sent before RFC 2554 and still send for the sake of old clients.
_KEYWORD: Final = "[A-Za-z0-9][A-Za-z0-9-]*"
_LINE: Final = Pattern(rf"({_KEYWORD})((?: [!-~]+)*)\Z")
_PEER_LINE: Final = Pattern(rf"(?:({_KEYWORD})(?: ([ -~]*))?|[Aa][Uu][Tt][Hh]=([ -~]*))\Z")

# What firewalls (Cisco's "fixup" and "inspect esmtp" first of all) write over the keywords that they do not know.
_MASKED: Final = Pattern(r"(?:\*{4,8}|X{3,7}[XA])\Z")

# The arguments of SIZE (RFC 1870), DELIVERBY and FUTURERELEASE (RFC 2852, RFC 4865), LIMITS (RFC 9422).
_SIZE: Final = Pattern(r"[0-9]{1,20}\Z")
_SECONDS: Final = Pattern(r"[0-9]{1,9}\Z")
_LIMIT: Final = Pattern(r"([A-Za-z0-9_-]+)=([1-9][0-9]{0,5})\Z")


class Extensions(Mapping[str, str]):
    """What a server offers: each keyword, in upper case, with its argument as it was sent ("" where it has none).

    It is looked up without regard to case, never changes, and keeps the order of the offer.  Servers make one of
    ``{"SIZE": "1000000", "PIPELINING": ""}`` or ``["SIZE 1000000", "PIPELINING"]``.  Raises `LocalProtocolError` for
    what cannot be a line of an EHLO reply, and for a keyword that is there twice.
    """

    __slots__ = ("_limits", "_offer", "unrecognised")

    NONE: ClassVar[Extensions]
    """Nothing is offered: the answer to HELO, and before any EHLO."""

    unrecognised: tuple[str, ...]
    """The lines of the EHLO reply that offer nothing, because they are against its grammar."""
    _offer: dict[str, str]
    _limits: Mapping[str, int] | None
    """`limits`, once they were asked for: that is done for every recipient."""

    def __init__(self, offer: Mapping[str, str] | Iterable[str] = ()) -> None:
        if isinstance(offer, str):
            raise LocalProtocolError(f"{offer!r} is one line: put it into a list, as an offer consists of several")
        made: dict[str, str] = {}
        for line in _lines_of(cast("Mapping[str, str]", offer)) if isinstance(offer, Mapping) else offer:
            match = _LINE.match(line)
            if match is None:
                raise LocalProtocolError(
                    f"{line!r} cannot be offered: it must be a keyword of letters, digits and hyphens, and behind it, "
                    "after single spaces, parameters of visible ASCII: RFC 5321 section 4.1.1.1"
                )
            keyword = match[1].upper()
            if keyword in made:
                raise LocalProtocolError(f"{keyword} is offered twice: leave one of them out")
            made[keyword] = match[2][1:]
        set_field(self, "_offer", made)
        set_field(self, "_limits", None)
        set_field(self, "unrecognised", ())

    @classmethod
    def parse(cls, lines: Sequence[str]) -> Extensions:
        """Read the lines of an EHLO reply.  The first one names the server, and is never an offer.

        Nothing that a server sends is an error here.  The first of several lines for one keyword is taken, except for
        AUTH, where the mechanisms of all lines, ``AUTH=LOGIN`` included, are put together.
        """
        offer = tuple(lines[1:])
        if len(offer) <= _SHARED_LINES and sum(map(len, offer)) <= _SHARED_CHARACTERS:
            return _parse_shared(offer)
        return _parse(offer)

    @classmethod
    def of(cls, reply: Reply) -> Extensions:
        """`parse` its lines: once, as the same reply is often taken from memory."""
        found: Extensions | None = getattr(reply, "_offer", None)
        if found is None:
            found = cls.parse(reply.lines)
            set_field(reply, "_offer", found)
        return found

    def lines(self) -> tuple[str, ...]:
        """The lines of the EHLO reply that make this offer, but for the first."""
        return _lines_of(self._offer)

    def without(self, *keywords: str) -> Extensions:
        """The same offer without these keywords: what a server claims and is known not to do is better masked."""
        masked = set(map(_fold, keywords))
        kept = {keyword: argument for keyword, argument in self._offer.items() if keyword not in masked}
        return self if len(kept) == len(self._offer) else _restore(kept, self.unrecognised)

    def arguments(self, keyword: str) -> tuple[str, ...]:
        """The words after the keyword; empty where it was not offered."""
        return tuple(self._offer.get(_fold(keyword), "").split())

    @property
    def size(self) -> int | None:
        """The largest message in octets; 0 for no fixed limit, and for nonsense; None if not offered.  RFC 1870."""
        return self._number("SIZE", _SIZE)

    @property
    def auth(self) -> tuple[str, ...]:
        """The SASL mechanisms in upper case, in the server's order.  RFC 4954 section 3."""
        return tuple(map(str.upper, self.arguments("AUTH")))

    @property
    def deliver_by_minimum(self) -> int | None:
        """The shortest time for DELIVERBY in seconds; 0 for no fixed limit; None if not offered.  RFC 2852."""
        return self._number("DELIVERBY", _SECONDS)

    @property
    def future_release_maximum(self) -> int | None:
        """The longest time that a message is held, in seconds; None if not offered, or malformed.  RFC 4865."""
        words = self.arguments("FUTURERELEASE")
        return int(words[0]) if words and _SECONDS.match(words[0]) else None

    @property
    def limits(self) -> Mapping[str, int]:
        """The limits that LIMITS declares, such as RCPTMAX, by upper-case name, without malformed ones.  RFC 9422."""
        if self._limits is None:
            found = filter(None, map(_LIMIT.match, self.arguments("LIMITS")))
            limits = {match[1].upper(): int(match[2]) for match in found}
            set_field(self, "_limits", MappingProxyType(limits))
        assert self._limits is not None
        return self._limits

    @property
    def xclient(self) -> tuple[str, ...]:
        """The attributes that XCLIENT may have, in upper case."""
        return tuple(map(str.upper, self.arguments("XCLIENT")))

    @property
    def xforward(self) -> tuple[str, ...]:
        """The attributes that XFORWARD may have, in upper case."""
        return tuple(map(str.upper, self.arguments("XFORWARD")))

    @property
    def starttls_masked(self) -> bool:
        """A middlebox has overwritten a keyword, as some do with STARTTLS, and STARTTLS is not offered."""
        return "STARTTLS" not in self._offer and any(map(_MASKED.match, (*self._offer, *self.unrecognised)))

    def __getitem__(self, keyword: str) -> str:
        return self._offer[_fold(keyword)]

    def __contains__(self, keyword: object) -> bool:
        if not isinstance(keyword, str):
            return False
        # What is in upper case, as nearly all that is asked for, need not be folded to be looked for once more.
        return keyword in self._offer or (not keyword.isupper() and _fold(keyword) in self._offer)

    def __iter__(self) -> Iterator[str]:
        return iter(self._offer)

    def __len__(self) -> int:
        return len(self._offer)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Extensions):
            return NotImplemented
        return self is other or (self._offer == other._offer and self.unrecognised == other.unrecognised)

    def __hash__(self) -> int:
        return hash((frozenset(self._offer.items()), self.unrecognised))

    def __repr__(self) -> str:
        shown = [*self._offer][:_SHOWN]
        more = [f"and {len(self._offer) - _SHOWN} more"] if len(self._offer) > _SHOWN else []
        return f"<Extensions {', '.join(shown + more) or 'none'}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Extensions is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Extensions is immutable: {name} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._offer, self.unrecognised)

    def _number(self, keyword: str, pattern: Pattern) -> int | None:
        argument = self._offer.get(keyword)
        if argument is None:
            return None
        return int(argument) if pattern.match(argument) else 0


_SHOWN: Final = 24
"""Keywords in a repr."""

# Servers of one kind offer the same, and one server always does: those connections share one object.  What is kept
# for them is bounded, whatever the peers send: 64 offers of at most 4096 characters.
_SHARED_OFFERS: Final = 64
_SHARED_LINES: Final = 64
_SHARED_CHARACTERS: Final = 4096


def _parse(lines: tuple[str, ...]) -> Extensions:
    offer: dict[str, str] = {}
    mechanisms: dict[str, str] = {}
    unrecognised: list[str] = []
    for line in lines:
        match = _PEER_LINE.match(line)
        if match is None:
            unrecognised.append(line)
            continue
        keyword, argument, legacy = match.groups("")
        keyword = keyword.upper() or "AUTH"
        row = EXTENSIONS.get(keyword)
        if row is not None:
            # The table's own string: one for all connections.
            keyword = row.keyword
        if keyword == "AUTH":
            for mechanism in (argument or legacy).split():
                mechanisms.setdefault(mechanism.upper(), mechanism)
            offer[keyword] = " ".join(mechanisms.values())
        elif keyword not in offer:
            offer[keyword] = argument.strip(" ")
    return _restore(offer, tuple(unrecognised))


_parse_shared = lru_cache(maxsize=_SHARED_OFFERS)(_parse)


def _lines_of(offer: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{keyword} {argument}" if argument else keyword for keyword, argument in offer.items())


def _restore(offer: dict[str, str], unrecognised: tuple[str, ...]) -> Extensions:
    extensions = Extensions.__new__(Extensions)
    set_field(extensions, "_offer", offer)
    set_field(extensions, "_limits", None)
    set_field(extensions, "unrecognised", unrecognised)
    return extensions


def _fold(keyword: str) -> str:
    # Beyond ASCII, upper() makes an S of a long s, and a keyword of what is none.
    return keyword.upper() if keyword.isascii() else keyword


NO_EXTENSIONS: Final = Extensions()
"""Nothing is offered: the answer to HELO, and before any EHLO."""
Extensions.NONE = NO_EXTENSIONS
