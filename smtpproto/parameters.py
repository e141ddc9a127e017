"""The parameters of MAIL and RCPT: a row for each that is known, and how its value is read, checked and written.

`MAIL_PARAMETERS` and `RCPT_PARAMETERS` drive everything: the fields of `Mail` and `Rcpt` and their defaults, the order
on the wire, and which extension must have been offered for each.  A parameter without a row is kept as text in the
field ``other``, for policy to decide on.

A value goes three ways: ``read`` turns the text of a parameter into a value, ``check`` turns whatever a program passes
into the one valid spelling of it, ``write`` turns that into text.  What cannot be turned raises LocalProtocolError,
whoever wrote it; the server's side makes a reply of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from . import grammar
from .addresses import check_reverse_path
from .errors import LocalProtocolError
from .grammar import BadSyntax, ascii_upper, plain_str, require, shown
from .values import Value, set_field

__all__ = ["DeliverBy", "OriginalRecipient", "ValidSince", "xtext_decode", "xtext_encode"]

V_co = TypeVar("V_co", covariant=True)

SOLICIT_OCTETS = 1000
"""All keywords of a SOLICIT parameter together.  RFC 3865 section 2.2."""
ENVID_OCTETS = 100
"""An envelope identifier before it is encoded.  RFC 3461 section 4.4."""
SIZE_MAX = 10**20 - 1
"""The largest size of a message that can be declared: 20 digits.  RFC 1870."""
HOLD_MAX = 10**9 - 1
"""The longest time for HOLDFOR, in seconds: nine digits.  RFC 4865 section 3; those of BY are as many: RFC 2852
section 4."""

NOTIFY_KEYWORDS = ("SUCCESS", "FAILURE", "DELAY")
"""In the order in which they are kept and sent; or ``NEVER`` alone.  RFC 3461 section 4.1."""


class FrozenMapping(Mapping[str, V_co]):
    """A mapping that can be a field of a value: it cannot be changed, and it has a hash.  It keeps its order."""

    __slots__ = ("_items",)

    _items: dict[str, V_co]

    def __init__(self, items: Mapping[str, V_co] | Iterable[tuple[str, V_co]] = ()) -> None:
        object.__setattr__(self, "_items", dict(items))

    def __getitem__(self, key: str) -> V_co:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a FrozenMapping is immutable: {name} cannot be set")

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMapping, (self._items,)


NO_PARAMETERS: Final[FrozenMapping[str | None]] = FrozenMapping()


# -- xtext ------------------------------------------------------------------------------------------------------------

_XTEXT_CODE: Final = [chr(n) if 33 <= n <= 126 and n not in b"+=" else f"+{n:02X}" for n in range(256)]


def xtext_encode(text: str) -> str:
    """xtext of RFC 3461 section 4: of its UTF-8 octets, ``+``, ``=`` and all but visible ASCII become ``+XX``."""
    return "".join(map(_XTEXT_CODE.__getitem__, plain_str(text, "the text").encode()))


def xtext_decode(text: str) -> str:
    """The text that was encoded.  Raises LocalProtocolError where it is no xtext, or holds octets that are no UTF-8."""
    head, *pieces = require(grammar.XTEXT, text, "the xtext").split("+")
    try:
        return (head.encode() + b"".join(bytes((int(p[:2], 16),)) + p[2:].encode() for p in pieces)).decode()
    except UnicodeDecodeError:
        raise LocalProtocolError(f"the xtext {shown(text)} holds octets that are no UTF-8") from None


def _utf8_addr_encode(text: str) -> str:
    """utf-8-addr-xtext of RFC 6533 section 3, which may be sent with SMTPUTF8 and without it."""
    return "".join(c if "!" <= c <= "~" and c not in "+=\\" else f"\\x{{{ord(c):02X}}}" for c in text)


def _utf8_addr_decode(text: str) -> str:
    """Both utf-8-addr-xtext and utf-8-addr-unitext of RFC 6533 section 3."""
    head, *pieces = require(grammar.UTF8_ADDR_UNITEXT, text, "the utf-8 address").split("\\x{")
    decoded = [head]
    for piece in pieces:
        hexpoint, _, rest = piece.partition("}")
        point = int(hexpoint, 16)
        # HEXPOINT leaves the printable ASCII characters to themselves, but for the ones that must not stand there.
        if point > 0x10FFFF or f"{point:02X}" != hexpoint or (0x20 < point < 0x7F and point not in b"+=\\"):
            raise LocalProtocolError(f"\\x{{{hexpoint}}} is no HEXPOINT of RFC 6533")
        decoded.append(chr(point) + rest)
    return "".join(decoded)


# -- values of more than one part -------------------------------------------------------------------------------------


class DeliverBy(Value):
    """``BY=120;R``: deliver within so many seconds, and what to do if that fails.  RFC 2852 section 4."""

    __slots__ = ("seconds", "mode", "trace")
    __match_args__ = ("seconds", "mode", "trace")

    seconds: int
    """Of nine digits at most.  With mode ``R`` it is more than 0; with ``N`` it may be less: the time is over."""
    mode: str
    """``R``: return the message; ``N``: notify the sender, and go on trying."""
    trace: bool
    """Each relay is to tell that it relayed the message."""

    def __init__(self, seconds: int, mode: str, trace: bool = False) -> None:
        mode = _check_choice("the mode of BY", ("R", "N"))(mode)
        lowest = 1 if mode == "R" else -HOLD_MAX
        set_field(self, "seconds", _check_int("the time of BY", lowest, HOLD_MAX)(seconds))
        set_field(self, "mode", mode)
        set_field(self, "trace", _check_bool("the trace of BY")(trace))

    @classmethod
    def parse(cls, text: str) -> DeliverBy:
        """Read ``120;R``, ``-30;NT``.  Raises LocalProtocolError."""
        match = grammar.BY_VALUE.match(text)
        if match is None:
            raise LocalProtocolError(f"{shown(text)} is no by-value, such as 120;R")
        return cls(int(match[1]), match[2], bool(match[3]))

    def __str__(self) -> str:
        return f"{self.seconds};{self.mode}{'T' if self.trace else ''}"


class OriginalRecipient(Value):
    """``ORCPT=rfc822;user@example.com``: the recipient as the sender wrote it.  RFC 3461 section 4.2.

    The address is kept decoded.  With the type ``utf-8`` it may be non-ASCII, and is written as utf-8-addr-xtext
    (RFC 6533 section 3), which does not need SMTPUTF8; with any other it is printable ASCII, written as xtext.
    """

    __slots__ = ("address_type", "address")
    __match_args__ = ("address_type", "address")

    address_type: str
    address: str

    def __init__(self, address_type: str, address: str) -> None:
        # esmtp-value has no room for an "=", which an atom could have.
        address_type = require(grammar.ATOM, address_type, "the address type of ORCPT")
        if "=" in address_type or not address:
            raise LocalProtocolError(f"ORCPT of type {shown(address_type)}: a type has no '=', an address is not empty")
        is_utf8 = address_type.lower() == "utf-8"
        pattern = grammar.PRINTABLE if is_utf8 else grammar.ASCII_PRINTABLE
        set_field(self, "address_type", address_type)
        set_field(self, "address", require(pattern, address, "the address of ORCPT"))

    @classmethod
    def parse(cls, text: str) -> OriginalRecipient:
        """Read ``rfc822;user+2Btag@example.com``, ``utf-8;j\\x{F6}rg@example.com``.  Raises LocalProtocolError."""
        address_type, semicolon, address = text.partition(";")
        if not semicolon:
            raise LocalProtocolError(f"{shown(text)} has no address type, such as rfc822;")
        decode = _utf8_addr_decode if ascii_upper(address_type) == "UTF-8" else xtext_decode
        return cls(address_type, decode(address))

    def __str__(self) -> str:
        encode = _utf8_addr_encode if self.address_type.lower() == "utf-8" else xtext_encode
        return f"{self.address_type};{encode(self.address)}"


class ValidSince(Value):
    """``RRVS=2014-04-03T23:01:00Z;C``: only if the mailbox has had this owner since then.  RFC 7293 section 3.1."""

    __slots__ = ("date_time", "action")
    __match_args__ = ("date_time", "action")

    date_time: str
    """By RFC 3339 section 5.6."""
    action: str | None
    """``C``: a relay that cannot pass the request on delivers all the same; ``R``: it rejects; None: it is not said."""

    def __init__(self, date_time: str, action: str | None = None) -> None:
        set_field(self, "date_time", require(grammar.DATE_TIME, date_time, "the time of RRVS"))
        set_field(self, "action", None if action is None else _check_choice("the action of RRVS", ("C", "R"))(action))

    @classmethod
    def parse(cls, text: str) -> ValidSince:
        """Read ``2014-04-03T23:01:00Z;C``.  Raises LocalProtocolError."""
        date_time, semicolon, action = text.partition(";")
        return cls(date_time, action if semicolon else None)

    def __str__(self) -> str:
        return f"{self.date_time};{self.action}" if self.action else self.date_time


# -- checks: what a program passes -> the one valid spelling of it ----------------------------------------------------


def _check_int(what: str, lowest: int, highest: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise LocalProtocolError(f"{what} is {shown(value)}: it must be an int from {lowest} to {highest}")
        return value

    return check


def _check_bool(what: str) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if type(value) is not bool:
            raise LocalProtocolError(f"{what} is {shown(value)}: it must be True or False")
        return value

    return check


def _check_choice(what: str, choices: tuple[str, ...]) -> Callable[[object], str]:
    def check(value: object) -> str:
        text = ascii_upper(plain_str(value, what))
        if text not in choices:
            raise LocalProtocolError(f"{what} is {shown(value)}: it must be one of {', '.join(choices)}")
        return text

    return check


def _check_type(what: str, wanted: type[Value]) -> Callable[[object], Value]:
    def check(value: object) -> Value:
        if type(value) is not wanted:
            raise LocalProtocolError(f"{what} is {shown(value)}: it must be a {wanted.__name__}")
        return value

    return check


def _check_envid(value: object) -> str:
    envid = require(grammar.ASCII_PRINTABLE, value, "envid")
    if not 1 <= len(envid) <= ENVID_OCTETS:
        raise LocalProtocolError(f"envid has {len(envid)} characters: it must have 1 to {ENVID_OCTETS}")
    return envid


def _check_auth(value: object) -> str:
    return check_reverse_path(plain_str(value, "auth"))


def _check_hold_until(value: object) -> str:
    return require(grammar.DATE_TIME, value, "hold_until")


def _words(value: object, what: str) -> list[str]:
    if isinstance(value, str):
        return value.split(",")
    if not isinstance(value, Iterable):
        raise LocalProtocolError(f"{what} is {shown(value)}: it must be a tuple of keywords")
    return [plain_str(word, what) for word in cast("Iterable[object]", value)]


def _check_notify(value: object) -> tuple[str, ...]:
    words = {ascii_upper(word) for word in _words(value, "notify")}
    if words == {"NEVER"}:
        return ("NEVER",)
    if not words <= set(NOTIFY_KEYWORDS):
        raise LocalProtocolError(
            f"notify is {shown(value)}: it must be NEVER alone, or of {', '.join(NOTIFY_KEYWORDS)}"
        )
    return tuple(word for word in NOTIFY_KEYWORDS if word in words)


def _check_solicit(value: object) -> tuple[str, ...]:
    words = _words(value, "solicit")
    for word in words:
        require(grammar.SOLICITATION_KEYWORD, word, "the solicitation keyword")
    if len(",".join(words)) > SOLICIT_OCTETS:
        raise LocalProtocolError(f"the solicitation keywords have more than {SOLICIT_OCTETS} octets together")
    return tuple(words)


# -- reading and writing ----------------------------------------------------------------------------------------------


def _read_int(pattern: grammar.Pattern, what: str) -> Callable[[str], int]:
    return lambda text: int(require(pattern, text, what))


def _read_auth(text: str) -> str:
    return "" if text == "<>" else _check_auth(xtext_decode(text))


def _write_auth(mailbox: str) -> str:
    return xtext_encode(mailbox) if mailbox else "<>"


class Parameter(Value):
    """A row of the table: everything that is to be known of one parameter."""

    __slots__ = ("keyword", "field", "extension", "rfc", "default", "read", "check", "write")
    __match_args__ = ("keyword", "field", "extension", "rfc", "default", "read", "check", "write")

    keyword: str
    field: str
    """Of `Mail` or `Rcpt`."""
    extension: str
    """The EHLO keyword that permits it."""
    rfc: str
    """And section."""
    default: object
    """Of the field: the parameter is not there."""
    read: Callable[[str], Any] | None
    """None where the parameter has no value: it is there, or it is not."""
    check: Callable[[object], Any]
    write: Callable[[Any], str]

    def __init__(
        self,
        keyword: str,
        field: str,
        extension: str,
        rfc: str,
        read: Callable[[str], Any] | None,
        check: Callable[[object], Any],
        write: Callable[[Any], str] = str,
        default: object = None,
    ) -> None:
        set_field(self, "keyword", keyword)
        set_field(self, "field", field)
        set_field(self, "extension", extension)
        set_field(self, "rfc", rfc)
        set_field(self, "default", default)
        set_field(self, "read", read)
        set_field(self, "check", check)
        set_field(self, "write", write)

    def needed(self, value: object) -> tuple[str, str]:
        """The extension that permits the parameter with this value, and how to name the parameter in a sentence."""
        if self.keyword != "BODY":
            return self.extension, self.keyword
        return ("BINARYMIME" if value == "BINARYMIME" else self.extension), f"BODY={value}"

    def format(self, value: object) -> str:
        """As it is sent, with the space before it."""
        return f" {self.keyword}" if self.read is None else f" {self.keyword}={self.write(value)}"


_BODY = _check_choice("body", ("7BIT", "8BITMIME", "BINARYMIME"))
_RET = _check_choice("ret", ("FULL", "HDRS"))

_MAIL_ROWS: Final = (
    Parameter("SIZE", "size", "SIZE", "RFC 1870 section 6",
              _read_int(grammar.NUMBER, "SIZE"), _check_int("size", 0, SIZE_MAX)),
    Parameter("BODY", "body", "8BITMIME", "RFC 6152 section 2, RFC 3030 section 3", _BODY, _BODY),
    Parameter("SMTPUTF8", "smtputf8", "SMTPUTF8", "RFC 6531 section 3.4", None, _check_bool("smtputf8"), default=False),
    Parameter("RET", "ret", "DSN", "RFC 3461 section 4.3", _RET, _RET),
    Parameter("ENVID", "envid", "DSN", "RFC 3461 section 4.4", xtext_decode, _check_envid, xtext_encode),
    Parameter("AUTH", "auth", "AUTH", "RFC 4954 section 5", _read_auth, _check_auth, _write_auth),
    Parameter("BY", "by", "DELIVERBY", "RFC 2852 section 4", DeliverBy.parse, _check_type("by", DeliverBy)),
    Parameter("HOLDFOR", "hold_for", "FUTURERELEASE", "RFC 4865 section 3",
              _read_int(grammar.FUTURE_RELEASE_INTEGER, "HOLDFOR"), _check_int("hold_for", 1, HOLD_MAX)),
    Parameter("HOLDUNTIL", "hold_until", "FUTURERELEASE", "RFC 4865 section 3", _check_hold_until, _check_hold_until),
    Parameter("MT-PRIORITY", "mt_priority", "MT-PRIORITY", "RFC 6710 section 3",
              _read_int(grammar.PRIORITY_VALUE, "MT-PRIORITY"), _check_int("mt_priority", -9, 9)),
    Parameter("REQUIRETLS", "require_tls", "REQUIRETLS", "RFC 8689 section 2", None, _check_bool("require_tls"),
              default=False),
    Parameter("SOLICIT", "solicit", "NO-SOLICITING", "RFC 3865 section 2.3",
              _check_solicit, _check_solicit, ",".join, default=()),
)  # fmt: skip

_RCPT_ROWS: Final = (
    Parameter("NOTIFY", "notify", "DSN", "RFC 3461 section 4.1", _check_notify, _check_notify, ",".join, default=()),
    Parameter("ORCPT", "orcpt", "DSN", "RFC 3461 section 4.2, RFC 6533 section 3",
              OriginalRecipient.parse, _check_type("orcpt", OriginalRecipient)),
    Parameter("RRVS", "rrvs", "RRVS", "RFC 7293 section 3.1", ValidSince.parse, _check_type("rrvs", ValidSince)),
)  # fmt: skip

MAIL_PARAMETERS: Final[Mapping[str, Parameter]] = FrozenMapping((row.keyword, row) for row in _MAIL_ROWS)
"""Keyword, in upper case -> what is known of it; in the order in which they are sent."""
RCPT_PARAMETERS: Final[Mapping[str, Parameter]] = FrozenMapping((row.keyword, row) for row in _RCPT_ROWS)
"""The same for RCPT."""


def check_other(other: Mapping[str, str | None], known: Mapping[str, Parameter]) -> FrozenMapping[str | None]:
    """The parameters that have no field, their keywords in upper case.

    Raises LocalProtocolError where a keyword or a value is none by RFC 5321 section 4.1.2, or where there is a field.
    """
    checked: dict[str, str | None] = {}
    for key, value in other.items():
        keyword = require(grammar.ESMTP_KEYWORD, key, "the parameter").upper()
        if keyword in known:
            raise LocalProtocolError(f"the parameter {keyword} has a field of its own: use {known[keyword].field}=")
        if keyword in checked:
            raise LocalProtocolError(f"the parameter {keyword} is there twice")
        checked[keyword] = None if value is None else require(grammar.ESMTP_VALUE, value, f"the value of {keyword}")
    return FrozenMapping(checked)


def parse_parameters(text: str, known: Mapping[str, Parameter], *, lenient: bool = False) -> dict[str, Any]:
    """What stands behind the path, as the keyword arguments of `Mail` or `Rcpt`.

    ``esmtp-param *(SP esmtp-param)``, with the space before each; ``lenient`` takes more than one space.
    Raises BadSyntax.
    """
    fields: dict[str, Any] = {}
    other: dict[str, str | None] = {}
    words = [word for word in text.split(" ") if word] if lenient else text[1:].split(" ")
    if not text.startswith(" "):
        raise BadSyntax(501, "5.5.4", "Parameters begin with a space")
    for word in words:
        key, equals, value = word.partition("=")
        keyword = ascii_upper(key)
        row = known.get(keyword)
        if keyword in other or (row and row.field in fields):
            raise BadSyntax(501, "5.5.4", f"{keyword if row else 'A parameter'} is there twice")
        if row is None:
            if not grammar.ESMTP_KEYWORD.match(key) or (equals and not grammar.ESMTP_VALUE.match(value)):
                raise BadSyntax(501, "5.5.4", "A parameter is KEYWORD or KEYWORD=value")
            other[keyword] = value if equals else None
            continue
        try:
            fields[row.field] = row.check(_read(row, value if equals else None))
        except LocalProtocolError:
            raise BadSyntax(501, "5.5.4", f"Bad value for {keyword}: see {row.rfc}") from None
    if other:
        fields["other"] = other
    return fields


def _read(row: Parameter, value: str | None) -> Any:
    if row.read is None and value is None:
        return True
    if row.read is None or not value:
        raise LocalProtocolError(f"{row.keyword} {'wants a' if row.read else 'has no'} value")
    return row.read(value)
