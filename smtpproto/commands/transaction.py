"""The commands of the mail transaction.  RFC 5321 section 3.3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import smtpproto.grammar as grammar
from smtpproto.addresses import Mailbox, check_forward_path, check_reverse_path
from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import plain_str, shown
from smtpproto.parameters import (
    MAIL_PARAMETERS,
    NO_PARAMETERS,
    RCPT_PARAMETERS,
    DeliverBy,
    OriginalRecipient,
    Parameter,
    ValidSince,
    check_other,
)
from smtpproto.values import field_names, set_field, slot_setter

from .base import PARAMETERS_LINE, Command


class _Envelope(Command):
    """What MAIL and RCPT share: their parameters, by the table of parameters.py.

    Most have none of the fifteen.  So all values are kept in one tuple, which for those that have none is always the
    same; and each field is a property that takes its own out of it.
    """

    __slots__ = ("_values",)
    line_limit = PARAMETERS_LINE
    _values: tuple[Any, ...]
    """In the order of the fields; last, the parameters that are used, with their values."""
    _known: ClassVar[Mapping[str, Parameter]]
    _rows: ClassVar[tuple[Parameter, ...]]
    _defaults: ClassVar[tuple[Any, ...]]
    _plain: ClassVar[tuple[Any, ...]]
    """The values of those that have no parameter."""
    other: Mapping[str, str | None]

    def __init_subclass__(cls, known: Mapping[str, Parameter] | None = None) -> None:
        if known is None:  # a program's own subclass of one of the two
            return
        cls._known = known
        cls._rows = tuple(known.values())
        cls._defaults = (*(row.default for row in cls._rows), NO_PARAMETERS)
        cls._plain = (*cls._defaults, ())
        for index, name in enumerate(field_names(cls)[1:]):
            setattr(cls, name, _field(index))

    def _set(self, given: Sequence[Any]) -> None:
        """Check what was given for the parameters, and keep it."""
        values: list[Any] = []
        used: list[tuple[Parameter, Any]] = []
        for row, value in zip(self._rows, given, strict=False):
            checked = row.default
            if value is not checked and value != checked:
                checked = row.check(value)
                if checked != row.default:
                    used.append((row, checked))
            values.append(checked)
        other = given[-1]
        checked_other = check_other(other, self._known) if other else NO_PARAMETERS
        is_plain = not used and checked_other is NO_PARAMETERS
        _set_values(self, self._plain if is_plain else (*values, checked_other, tuple(used)))

    @property
    def _used(self) -> tuple[tuple[Parameter, Any], ...]:
        used: tuple[tuple[Parameter, Any], ...] = self._values[-1]
        return used

    @property
    def is_plain(self) -> bool:
        """It has no parameter."""
        return self._values is self._plain

    @property
    def needed_extensions(self) -> tuple[tuple[str, str], ...]:
        return self._needed() if self._used else ()

    def _needed(self) -> tuple[tuple[str, str], ...]:
        return tuple([row.needed(value) for row, value in self._used])

    def _parameters(self) -> str:
        known = "".join(row.format(value) for row, value in self._used)
        return known + "".join(f" {key}" if value is None else f" {key}={value}" for key, value in self.other.items())

    def __reduce__(self) -> tuple[Any, ...]:
        path, *fields = self._fields()
        return _remade, (type(self), path, dict(zip(field_names(type(self))[1:], fields, strict=True)))


def _field(index: int) -> property:
    return property(lambda command: command._values[index])


def _remade(cls: type[_Envelope], path: str, fields: dict[str, Any]) -> _Envelope:
    return cls(path, **fields)  # type: ignore[call-arg]


class Mail(_Envelope, known=MAIL_PARAMETERS):
    """``MAIL FROM:<reverse-path> [parameters]``.  RFC 5321 section 4.1.1.2.

    The parameters of extensions are fields; those without a field are in ``other``.  Non-ASCII anywhere needs
    ``smtputf8=True``: RFC 6531 section 3.4.
    """

    __match_args__ = (
        "reverse_path",
        "size",
        "body",
        "smtputf8",
        "ret",
        "envid",
        "auth",
        "by",
        "hold_for",
        "hold_until",
        "mt_priority",
        "require_tls",
        "solicit",
        "other",
    )
    __slots__ = ("reverse_path",)
    verb = "MAIL"

    reverse_path: str
    """A mailbox, or ``""``: the null reverse-path."""
    size: int | None
    """In octets.  RFC 1870."""
    body: str | None
    """``7BIT``, ``8BITMIME`` (RFC 6152), ``BINARYMIME`` (RFC 3030)."""
    smtputf8: bool
    """RFC 6531."""
    ret: str | None
    """How much a failure notice returns: ``FULL``, ``HDRS``.  RFC 3461 section 4.3."""
    envid: str | None
    """The envelope identifier, not encoded.  RFC 3461 section 4.4."""
    auth: str | None
    """The mailbox that submitted the message; ``""`` for ``<>``: not known.  RFC 4954 section 5."""
    by: DeliverBy | None
    """RFC 2852."""
    hold_for: int | None
    """In seconds.  RFC 4865."""
    hold_until: str | None
    """A date-time of RFC 3339.  RFC 4865."""
    mt_priority: int | None
    """From -9 to 9.  RFC 6710."""
    require_tls: bool
    """RFC 8689."""
    solicit: tuple[str, ...]
    """Solicitation keywords.  RFC 3865."""
    other: Mapping[str, str | None]
    """Parameters without a field: keyword in upper case -> value as it is on the wire, or None for none."""

    def __init__(
        self,
        reverse_path: str | Mailbox,
        *,
        size: int | None = None,
        body: str | None = None,
        smtputf8: bool = False,
        ret: str | None = None,
        envid: str | None = None,
        auth: str | None = None,
        by: DeliverBy | None = None,
        hold_for: int | None = None,
        hold_until: str | None = None,
        mt_priority: int | None = None,
        require_tls: bool = False,
        solicit: Iterable[str] = (),
        other: Mapping[str, str | None] = NO_PARAMETERS,
    ) -> None:
        path = check_reverse_path(reverse_path)
        _set_reverse_path(self, path)
        given = (
            size, body, smtputf8, ret, envid, auth, by, hold_for, hold_until, mt_priority, require_tls, solicit, other
        )  # fmt: skip
        if given == self._defaults and path.isascii():
            _set_values(self, self._plain)
        else:
            self._set(given)
            self._check_together()

    def _check_together(self) -> None:
        """What is right of each parameter, and may be wrong of all."""
        if self.hold_for is not None and self.hold_until is not None:
            raise LocalProtocolError("hold_for and hold_until exclude each other: RFC 4865 section 3")
        line = self._line()
        if not (line.isascii() and (self.auth or "").isascii()) and not self.smtputf8:
            raise LocalProtocolError(
                f"MAIL FROM:<{self.reverse_path}> is not ASCII: it needs smtputf8=True (RFC 6531 section 3.4)"
            )
        self._check_length(line)

    def replaced(self, **parameters: Any) -> Mail:
        """The same command with other values for these parameters.  Raises as `Mail` itself does."""
        unknown = parameters.keys() - _MAIL_FIELDS.keys()
        if unknown:
            raise TypeError(f"MAIL has no parameter {', '.join(sorted(unknown))}")
        made = Mail.__new__(Mail)
        _set_reverse_path(made, self.reverse_path)
        given = list(self._values[:-1])
        for name, value in parameters.items():
            given[_MAIL_FIELDS[name]] = value
        made._set(given)
        made._check_together()
        return made

    def _line(self) -> str:
        return f"MAIL FROM:<{self.reverse_path}>{self._parameters()}"

    def __bytes__(self) -> bytes:
        if self._values is self._plain:
            return b"MAIL FROM:<%b>\r\n" % self.reverse_path.encode()
        return super().__bytes__()


class Rcpt(_Envelope, known=RCPT_PARAMETERS):
    """``RCPT TO:<forward-path> [parameters]``.  RFC 5321 section 4.1.1.3."""

    __match_args__ = (
        "forward_path",
        "notify",
        "orcpt",
        "rrvs",
        "other",
    )
    __slots__ = ("forward_path",)
    verb = "RCPT"

    forward_path: str
    """A mailbox, or ``Postmaster``."""
    notify: tuple[str, ...]
    """``("NEVER",)``, or of ``SUCCESS``, ``FAILURE``, ``DELAY``, in this order.  RFC 3461 section 4.1."""
    orcpt: OriginalRecipient | None
    """RFC 3461 section 4.2."""
    rrvs: ValidSince | None
    """RFC 7293."""
    other: Mapping[str, str | None]
    """Parameters without a field: keyword in upper case -> value as it is on the wire, or None for none."""

    def __init__(
        self,
        forward_path: str | Mailbox,
        *,
        notify: Iterable[str] = (),
        orcpt: OriginalRecipient | None = None,
        rrvs: ValidSince | None = None,
        other: Mapping[str, str | None] = NO_PARAMETERS,
    ) -> None:
        _set_forward_path(self, check_forward_path(forward_path))
        given = (notify, orcpt, rrvs, other)
        if given == self._defaults:
            _set_values(self, self._plain)
        else:
            self._set(given)
            self._check_length()

    @property
    def is_ascii(self) -> bool:
        """False where SMTPUTF8 is needed, because of the address or of a parameter.  RFC 6531 section 3.4."""
        return self.forward_path.isascii() and (self._values is self._plain or self._line().isascii())

    @property
    def needed_extensions(self) -> tuple[tuple[str, str], ...]:
        if self._values is self._plain and self.forward_path.isascii():
            return ()  # as most have it, so that it costs little
        return self._needed() if self.is_ascii else (*self._needed(), ("SMTPUTF8", "what is not ASCII"))

    def _line(self) -> str:
        return f"RCPT TO:<{self.forward_path}>{self._parameters()}"

    def __bytes__(self) -> bytes:
        if self._values is self._plain:
            return b"RCPT TO:<%b>\r\n" % self.forward_path.encode()
        return super().__bytes__()


_set_values: Final = slot_setter(_Envelope, "_values")
_set_reverse_path: Final = slot_setter(Mail, "reverse_path")
_set_forward_path: Final = slot_setter(Rcpt, "forward_path")
_MAIL_FIELDS: Final = {name: index for index, name in enumerate(Mail.__match_args__[1:])}


CHUNK_MAX: Final = 2**63 - 1
"""The largest chunk-size of BDAT.  RFC 3030 section 2 sets no bound to it; what does not go into 64 bits is a mistake,
or an attack, everywhere."""


class Bdat(Command):
    """``BDAT chunk-size [LAST]``; the octets themselves are content.  RFC 3030 section 2."""

    __slots__ = ("size", "last")
    __match_args__ = ("size", "last")
    verb = "BDAT"

    size: int
    """Octets that follow."""
    last: bool

    def __init__(self, size: int, last: bool = False) -> None:
        if type(size) is not int or not 0 <= size <= CHUNK_MAX:
            raise LocalProtocolError(f"the size of BDAT is {shown(size)}: it must be an int from 0 to {CHUNK_MAX}")
        set_field(self, "size", size)
        set_field(self, "last", bool(last))

    def _line(self) -> str:
        return f"BDAT {self.size} LAST" if self.last else f"BDAT {self.size}"


class Burl(Command):
    """``BURL absolute-URI [LAST]``.  RFC 4468 section 3."""

    __slots__ = ("url", "last")
    __match_args__ = ("url", "last")
    verb = "BURL"
    line_limit = PARAMETERS_LINE  # RFC 4468 names no limit, and an IMAP URL with its URLAUTH does not go into 512
    _secret = frozenset({"url"})

    url: str
    """With its URLAUTH token, which lets whoever has it read the message; so it is redacted."""
    last: bool

    def __init__(self, url: str, last: bool = False) -> None:
        text = plain_str(url, "the URL of BURL")
        if not grammar.ABSOLUTE_URI.match(text):
            raise LocalProtocolError("the URL of BURL is no absolute URI of RFC 3986 section 4.3")
        set_field(self, "url", text)
        set_field(self, "last", bool(last))
        self._check_length()

    def _line(self) -> str:
        return f"BURL {self.url} LAST" if self.last else f"BURL {self.url}"

    def __str__(self) -> str:
        return "BURL <redacted> LAST" if self.last else "BURL <redacted>"


class Data(Command):
    """RFC 5321 section 4.1.1.4."""

    __slots__ = ()
    verb = "DATA"


class Rset(Command):
    """RFC 5321 section 4.1.1.5."""

    __slots__ = ()
    verb = "RSET"


class EndOfData(Command):
    """The end of the content, which the reply after the final dot answers.  RFC 5321 section 4.1.1.4."""

    __slots__ = ()
    verb = "."
