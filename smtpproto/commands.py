"""The commands: values that validate themselves when they are made, and the lines that they are on the wire.

``bytes(command)`` is the line with its CRLF; ``str(command)`` is the line without it, and with secrets redacted.
`parse_command` is the way back: ``parse_command(bytes(command)[:-2]) == command``.

What a program passes is checked in ``__init__``, so that no argument of any kind can put CR, LF or NUL on the wire,
close an angle bracket, add a parameter, or make a line that is too long: it raises LocalProtocolError.  What a peer
sends goes through the same ``__init__``; `parse_command` turns the error into `BadSyntax`, which carries the reply.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, TypeVar

from . import grammar
from .addresses import Mailbox, check_forward_path, check_reverse_path, split_path
from .errors import LocalProtocolError
from .grammar import BadSyntax, ascii_upper, octets, plain_str, require, shown
from .limits import COMMAND_LINE, DOMAIN
from .parameters import (
    MAIL_PARAMETERS,
    NO_PARAMETERS,
    RCPT_PARAMETERS,
    SIZE_MAX,
    DeliverBy,
    FrozenMapping,
    OriginalRecipient,
    Parameter,
    ValidSince,
    check_other,
    parse_parameters,
    xtext_decode,
    xtext_encode,
)
from .values import Value, set_field

__all__ = [
    "AUTH_LINE",
    "PARAMETERS_LINE",
    "Auth",
    "AuthResponse",
    "BadSyntax",
    "Bdat",
    "Burl",
    "Command",
    "Connect",
    "Data",
    "Ehlo",
    "EndOfData",
    "Etrn",
    "Expn",
    "Helo",
    "Help",
    "Lhlo",
    "Mail",
    "Noop",
    "Quit",
    "Rcpt",
    "Rset",
    "StartTls",
    "UnknownCommand",
    "Vrfy",
    "XClient",
    "XForward",
    "parse_auth_response",
    "parse_command",
]

PARAMETERS_LINE: Final = 2048
"""MAIL and RCPT.  512 octets and what each extension adds (RFC 5321 section 2.2.1), most of all SOLICIT with 1007
(RFC 3865 section 2) and AUTH with 500 (RFC 4954 section 3); Postfix reads no more (line_length_limit)."""
AUTH_LINE: Final = 12288
"""AUTH, and each line of its exchange.  RFC 4954 section 4."""


class Command(Value):
    """A command.  The base of all of them, which has no line itself."""

    __slots__ = ()

    verb: str = ""
    """In upper case.  Empty for what has none: the pseudo-command `Connect`, and `AuthResponse`."""
    line_limit: ClassVar[int] = COMMAND_LINE
    """Octets that the line may have, CRLF included.  RFC 5321 section 4.5.3.1.4."""

    @property
    def needed_extensions(self) -> tuple[tuple[str, str], ...]:
        """The extensions that the parameters need: pairs of an EHLO keyword, and what of this command needs it."""
        return ()

    def _line(self) -> str:
        return self.verb

    def __str__(self) -> str:
        return self._line()

    def __bytes__(self) -> bytes:
        return f"{self._line()}\r\n".encode()

    def _check_length(self, line: str | None = None) -> None:
        length = octets(self._line() if line is None else line) + len("\r\n")
        if length > self.line_limit:
            raise LocalProtocolError(
                f"the {self.verb} line has {length} octets, more than the {self.line_limit} allowed"
            )


class Connect(Command):
    """The pseudo-command that the greeting answers.  It has no line."""

    __slots__ = ()

    def __bytes__(self) -> bytes:
        return b""


class EndOfData(Command):
    """The end of the content, which the reply after the final dot answers.  RFC 5321 section 4.1.1.4."""

    __slots__ = ()
    verb = "."


# -- without arguments ------------------------------------------------------------------------------------------------


class StartTls(Command):
    """RFC 3207 section 4."""

    __slots__ = ()
    verb = "STARTTLS"


class Data(Command):
    """RFC 5321 section 4.1.1.4."""

    __slots__ = ()
    verb = "DATA"


class Rset(Command):
    """RFC 5321 section 4.1.1.5."""

    __slots__ = ()
    verb = "RSET"


class Quit(Command):
    """RFC 5321 section 4.1.1.10."""

    __slots__ = ()
    verb = "QUIT"


# -- hello ------------------------------------------------------------------------------------------------------------


class _Hello(Command):
    __slots__ = ("domain",)
    __match_args__ = ("domain",)

    domain: str
    """A domain or an address literal; or whatever else the client calls itself, in one visible word of up to 255
    octets: RFC 5321 section 4.1.4 forbids to refuse mail for what it says."""

    def __init__(self, domain: str) -> None:
        domain = require(grammar.NAME, domain, f"the domain of {self.verb}")
        if octets(domain) > DOMAIN:
            raise LocalProtocolError(f"the domain {shown(domain)} has {octets(domain)} octets, more than {DOMAIN}")
        set_field(self, "domain", domain)

    def _line(self) -> str:
        return f"{self.verb} {self.domain}"


class Ehlo(_Hello):
    """RFC 5321 section 4.1.1.1."""

    __slots__ = ()
    verb = "EHLO"


class Helo(_Hello):
    """RFC 5321 section 4.1.1.1."""

    __slots__ = ()
    verb = "HELO"


class Lhlo(_Hello):
    """RFC 2033 section 4.1."""

    __slots__ = ()
    verb = "LHLO"


# -- authentication ---------------------------------------------------------------------------------------------------


class Auth(Command):
    """``AUTH mechanism [initial-response]``.  RFC 4954 section 4."""

    __slots__ = ("mechanism", "initial_response")
    __match_args__ = ("mechanism", "initial_response")
    verb = "AUTH"
    line_limit = AUTH_LINE
    _secret = frozenset({"initial_response"})

    mechanism: str
    """Its SASL name, in upper case."""
    initial_response: bytes | None
    """As the mechanism made it, not encoded.  None: there is none, which is not the same as an empty one."""

    def __init__(self, mechanism: str, initial_response: bytes | None = None) -> None:
        set_field(self, "mechanism", require(grammar.SASL_MECH, mechanism, "the mechanism of AUTH").upper())
        set_field(self, "initial_response", _check_response(initial_response, "the initial response"))
        self._check_length()

    def _line(self) -> str:
        if self.initial_response is None:
            return f"AUTH {self.mechanism}"
        return f"AUTH {self.mechanism} {_base64(self.initial_response) or '='}"

    def __str__(self) -> str:
        return f"AUTH {self.mechanism}" + ("" if self.initial_response is None else " <redacted>")


class AuthResponse(Command):
    """The answer to a 334; with None the line ``*``, which cancels the exchange.  RFC 4954 section 4."""

    __slots__ = ("response",)
    __match_args__ = ("response",)
    line_limit = AUTH_LINE
    _secret = frozenset({"response"})

    response: bytes | None
    """As the mechanism made it, not encoded."""

    def __init__(self, response: bytes | None) -> None:
        set_field(self, "response", _check_response(response, "the response"))
        self._check_length()

    def _line(self) -> str:
        return "*" if self.response is None else _base64(self.response)

    def __str__(self) -> str:
        return "*" if self.response is None else "<redacted>"


def _check_response(response: object, what: str) -> bytes | None:
    if response is None:
        return None
    if isinstance(response, bytes | bytearray):
        return bytes(response)
    # Not shown: it is a secret, whatever it is.
    raise LocalProtocolError(f"{what} of the authentication is a {type(response).__name__}: it must be bytes or None")


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


# -- the mail transaction ---------------------------------------------------------------------------------------------


_Slot = tuple[Parameter, Callable[[object, object], None], object]
"""A parameter, what puts its value into its field, and the default of that."""


class _Envelope(Command):
    """What MAIL and RCPT share: their parameters, by the table of parameters.py."""

    __slots__ = ()
    line_limit = PARAMETERS_LINE
    _used: tuple[tuple[Parameter, Any], ...]
    other: Mapping[str, str | None]

    def _set_parameters(
        self,
        slots: tuple[_Slot, ...],
        given: tuple[object, ...],
        other: Mapping[str, str | None],
        known: Mapping[str, Parameter],
    ) -> None:
        used: list[tuple[Parameter, Any]] = []
        for (row, put, default), value in zip(slots, given, strict=True):
            checked = default if value is default or value == default else row.check(value)
            put(self, checked)
            if checked != default:
                used.append((row, checked))
        set_field(self, "other", check_other(other, known) if other else NO_PARAMETERS)
        set_field(self, "_used", tuple(used))

    @property
    def needed_extensions(self) -> tuple[tuple[str, str], ...]:
        return tuple(row.needed(value) for row, value in self._used)

    def _parameters(self) -> str:
        known = "".join(row.format(value) for row, value in self._used)
        return known + "".join(f" {key}" if value is None else f" {key}={value}" for key, value in self.other.items())

    def __reduce__(self) -> tuple[Any, ...]:
        path, *fields = self._fields()
        return _remade, (type(self), path, dict(zip(self.__match_args__[1:], fields, strict=True)))


def _remade(cls: type[_Envelope], path: str, fields: dict[str, Any]) -> _Envelope:
    return cls(path, **fields)  # type: ignore[call-arg]


class Mail(_Envelope):
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
    __slots__ = (*__match_args__, "_used")
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
        set_field(self, "reverse_path", path)
        given = (size, body, smtputf8, ret, envid, auth, by, hold_for, hold_until, mt_priority, require_tls, solicit)
        if given == _MAIL_DEFAULTS and not other and path.isascii():
            for put, default in _MAIL_PLAIN:
                put(self, default)
            return
        self._set_parameters(_MAIL_SLOTS, given, other, MAIL_PARAMETERS)
        if self.hold_for is not None and self.hold_until is not None:
            raise LocalProtocolError("hold_for and hold_until exclude each other: RFC 4865 section 3")
        line = self._line()
        if not self.smtputf8 and not (line.isascii() and (self.auth or "").isascii()):
            raise LocalProtocolError(f"MAIL FROM:<{path}> is not ASCII: it needs smtputf8=True (RFC 6531 section 3.4)")
        self._check_length(line)

    def _line(self) -> str:
        return f"MAIL FROM:<{self.reverse_path}>{self._parameters()}"

    def __bytes__(self) -> bytes:
        if not self._used and not self.other:
            return b"MAIL FROM:<%b>\r\n" % self.reverse_path.encode()
        return super().__bytes__()


class Rcpt(_Envelope):
    """``RCPT TO:<forward-path> [parameters]``.  RFC 5321 section 4.1.1.3."""

    __match_args__ = (
        "forward_path",
        "notify",
        "orcpt",
        "rrvs",
        "other",
    )
    __slots__ = (*__match_args__, "_used")
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
        set_field(self, "forward_path", check_forward_path(forward_path))
        given = (notify, orcpt, rrvs)
        if given == _RCPT_DEFAULTS and not other:
            for put, default in _RCPT_PLAIN:
                put(self, default)
            return
        self._set_parameters(_RCPT_SLOTS, given, other, RCPT_PARAMETERS)
        self._check_length()

    @property
    def needed_extensions(self) -> tuple[tuple[str, str], ...]:
        needed = super().needed_extensions
        return needed if self._line().isascii() else (*needed, ("SMTPUTF8", "what is not ASCII"))

    def _line(self) -> str:
        return f"RCPT TO:<{self.forward_path}>{self._parameters()}"

    def __bytes__(self) -> bytes:
        if not self._used and not self.other:
            return b"RCPT TO:<%b>\r\n" % self.forward_path.encode()
        return super().__bytes__()


def _slots(cls: type[_Envelope], known: Mapping[str, Parameter]) -> tuple[_Slot, ...]:
    return tuple((row, getattr(cls, row.field).__set__, row.default) for row in known.values())


def _plain(
    cls: type[_Envelope], slots: tuple[_Slot, ...]
) -> tuple[tuple[Callable[[object, object], None], object], ...]:
    rest: tuple[tuple[str, object], ...] = (("other", NO_PARAMETERS), ("_used", ()))
    return (
        *((put, default) for _, put, default in slots),
        *((getattr(cls, name).__set__, default) for name, default in rest),
    )


# Most commands of a transaction have no parameter at all, or two or three of the fifteen.  These make the first kind
# fast, and the second not slow: a slot's own setter takes half the time of set_field.
_MAIL_SLOTS: Final = _slots(Mail, MAIL_PARAMETERS)
_MAIL_DEFAULTS: Final = tuple(row.default for row in MAIL_PARAMETERS.values())
_MAIL_PLAIN: Final = _plain(Mail, _MAIL_SLOTS)
_RCPT_SLOTS: Final = _slots(Rcpt, RCPT_PARAMETERS)
_RCPT_DEFAULTS: Final = tuple(row.default for row in RCPT_PARAMETERS.values())
_RCPT_PLAIN: Final = _plain(Rcpt, _RCPT_SLOTS)


class Bdat(Command):
    """``BDAT chunk-size [LAST]``; the octets themselves are content.  RFC 3030 section 2."""

    __slots__ = ("size", "last")
    __match_args__ = ("size", "last")
    verb = "BDAT"

    size: int
    """Octets that follow."""
    last: bool

    def __init__(self, size: int, last: bool = False) -> None:
        if type(size) is not int or not 0 <= size <= SIZE_MAX:
            raise LocalProtocolError(f"the size of BDAT is {shown(size)}: it must be an int of 1 to 20 digits")
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


# -- questions and requests -------------------------------------------------------------------------------------------


def _check_text(text: object, what: str) -> str:
    checked = require(grammar.TEXT, text, what)
    if checked != checked.strip(" \t"):
        raise LocalProtocolError(f"{what} is {shown(text)}: it must not begin or end with white space")
    return checked


class _Text(Command):
    __slots__ = ("text",)
    __match_args__ = ("text",)

    text: str

    def __init__(self, text: str = "") -> None:
        set_field(self, "text", _check_text(text, f"the argument of {self.verb}"))
        self._check_length()

    def _line(self) -> str:
        return f"{self.verb} {self.text}" if self.text else self.verb


class Noop(_Text):
    """RFC 5321 section 4.1.1.9."""

    __slots__ = ()
    verb = "NOOP"


class Help(Command):
    """RFC 5321 section 4.1.1.8."""

    __slots__ = ("topic",)
    __match_args__ = ("topic",)
    verb = "HELP"

    topic: str
    """May be empty."""

    def __init__(self, topic: str = "") -> None:
        set_field(self, "topic", _check_text(topic, "the topic of HELP"))
        self._check_length()

    def _line(self) -> str:
        return f"HELP {self.topic}" if self.topic else "HELP"


class _Lookup(Command):
    __slots__ = ("text", "smtputf8")
    __match_args__ = ("text", "smtputf8")

    text: str
    """A user, a mailbox or a list, as RFC 5321 section 3.5 leaves it open."""
    smtputf8: bool
    """The reply may be non-ASCII, and the text too.  RFC 6531 section 3.7.4.2."""

    def __init__(self, text: str, *, smtputf8: bool = False) -> None:
        text = _check_text(text, f"the argument of {self.verb}")
        if not text:
            raise LocalProtocolError(f"{self.verb} without an argument asks nothing")
        if ascii_upper(text[-9:]) == " SMTPUTF8":
            raise LocalProtocolError(f"the argument of {self.verb} ends with SMTPUTF8: say smtputf8=True instead")
        set_field(self, "text", text)
        set_field(self, "smtputf8", bool(smtputf8))
        self._check_length()

    @property
    def needed_extensions(self) -> tuple[tuple[str, str], ...]:
        if self.smtputf8:
            return (("SMTPUTF8", "SMTPUTF8"),)
        return () if self.text.isascii() else (("SMTPUTF8", "what is not ASCII"),)

    def _line(self) -> str:
        return f"{self.verb} {self.text} SMTPUTF8" if self.smtputf8 else f"{self.verb} {self.text}"


class Vrfy(_Lookup):
    """RFC 5321 section 4.1.1.6."""

    __slots__ = ()
    verb = "VRFY"


class Expn(_Lookup):
    """RFC 5321 section 4.1.1.7."""

    __slots__ = ()
    verb = "EXPN"


class Etrn(Command):
    """``ETRN [option character]node-name``.  RFC 1985 section 5."""

    __slots__ = ("text",)
    __match_args__ = ("text",)
    verb = "ETRN"

    text: str
    """A domain, ``@domain`` with its subdomains, or ``#queue``."""

    def __init__(self, text: str) -> None:
        set_field(self, "text", require(grammar.NAME, text, "the node name of ETRN"))
        self._check_length()

    def _line(self) -> str:
        return f"ETRN {self.text}"


class _Attributes(Command):
    __slots__ = ("attributes",)
    __match_args__ = ("attributes",)

    attributes: Mapping[str, str]
    """Name, in upper case -> value, not encoded; ``[UNAVAILABLE]`` and ``[TEMPUNAVAIL]`` stand for what is missing."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        checked: dict[str, str] = {}
        for key, value in attributes.items():
            name = require(grammar.ESMTP_KEYWORD, key, f"the attribute of {self.verb}").upper()
            if name in checked:
                raise LocalProtocolError(f"the attribute {name} of {self.verb} is there twice")
            checked[name] = require(grammar.PRINTABLE, value, f"the attribute {name} of {self.verb}")
        if not checked:
            raise LocalProtocolError(f"{self.verb} needs an attribute at least")
        set_field(self, "attributes", FrozenMapping(checked))
        self._check_length()

    def _line(self) -> str:
        return self.verb + "".join(f" {name}={xtext_encode(value)}" for name, value in self.attributes.items())


class XClient(_Attributes):
    """What a proxy knows of its client, which is to be treated as if it were here.  Postfix, XCLIENT_README."""

    __slots__ = ()
    verb = "XCLIENT"


class XForward(_Attributes):
    """What a filter knows of the client before it, for the log.  Postfix, XFORWARD_README."""

    __slots__ = ()
    verb = "XFORWARD"


class UnknownCommand(Command):
    """A command that this package has no class for."""

    __slots__ = ("verb", "argument")
    __match_args__ = ("verb", "argument")

    verb: str
    argument: str
    """May be empty."""

    def __init__(self, verb: str, argument: str = "") -> None:
        verb = require(grammar.ATOM, verb, "the verb").upper()
        if verb.encode() in _PARSERS:
            raise LocalProtocolError(f"{verb} has a class of its own: use it")
        set_field(self, "verb", verb)
        set_field(self, "argument", _check_text(argument, f"the argument of {verb}"))
        self._check_length()

    def _line(self) -> str:
        return f"{self.verb} {self.argument}" if self.argument else self.verb


# -- from the wire ----------------------------------------------------------------------------------------------------

CommandT = TypeVar("CommandT", bound=Command)
_Parse = Callable[[str, bool], Command]


def parse_command(line: bytes, *, lenient: bool = False) -> Command:
    """The command of a line without its CRLF; the line is free of CR, LF and NUL already.

    White space at its end is dropped (RFC 5321 section 4.1.1).  ``lenient`` takes more white space elsewhere too, and
    paths without angle brackets.  A verb that is not known gives an `UnknownCommand`.  Raises BadSyntax.
    """
    verb, _, argument = line.rstrip(b" \t").partition(b" ")
    # As octets: upper() of text makes ASCII of letters that are none.
    cls, parse = _PARSERS.get(verb.upper(), _UNKNOWN)
    if len(line) + 2 > cls.line_limit and cls is not Bdat:
        raise BadSyntax(500, "5.5.6" if cls is Auth else "5.5.2", "Line too long")
    try:
        text = argument.decode()
        if cls is UnknownCommand:
            return UnknownCommand(verb.decode(), text.strip(" \t"))
        return parse(text.lstrip(" \t") if lenient else text, lenient)
    except (UnicodeDecodeError, LocalProtocolError) as error:
        raise _bad_argument(cls, error) from None


def _bad_argument(cls: type[Command], error: Exception) -> BadSyntax:
    if cls is UnknownCommand:
        return BadSyntax(500, "5.5.2", "This is no command")
    if cls is Bdat:
        # Whether octets follow, and how many, nobody can tell.
        return BadSyntax(501, "5.5.4", "BDAT chunk-size [LAST] is wanted", fatal=True)
    if isinstance(error, UnicodeDecodeError):
        return BadSyntax(501, "5.5.2", f"The argument of {cls.verb} is not UTF-8")
    return BadSyntax(501, "5.5.4", f"Bad argument of {cls.verb}")


def parse_auth_response(line: bytes) -> AuthResponse:
    """The answer to a 334, from a line without its CRLF.  Raises BadSyntax.  RFC 4954 section 4."""
    if len(line) + 2 > AUTH_LINE:
        raise BadSyntax(500, "5.5.6", "Line too long")
    return AuthResponse(None if line == b"*" else _decode_base64(line))


def _decode_base64(text: bytes) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except Base64Error:
        raise BadSyntax(501, "5.5.2", "Cannot decode base64") from None


def _bare(cls: Callable[[], Command]) -> _Parse:
    command = cls()

    def parse(text: str, lenient: bool) -> Command:
        if text:
            raise BadSyntax(501, "5.5.4", f"{command.verb} has no argument")
        return command

    return parse


def _whole(cls: Callable[[str], Command]) -> _Parse:
    return lambda text, lenient: cls(text)


def _text(cls: Callable[[str], Command]) -> _Parse:
    return lambda text, lenient: cls(text.strip(" \t"))


def _lookup(cls: Callable[..., _Lookup]) -> _Parse:
    def parse(text: str, lenient: bool) -> Command:
        text = text.strip(" \t")
        if ascii_upper(text[-9:]) == " SMTPUTF8":
            return cls(text[:-9].rstrip(" \t"), smtputf8=True)
        return cls(text)

    return parse


def _parse_auth(text: str, lenient: bool) -> Command:
    mechanism, space, response = text.partition(" ")
    if not space:
        return Auth(mechanism)
    return Auth(mechanism, b"" if response == "=" else _decode_base64(response.encode()))


def _parse_mail(text: str, lenient: bool) -> Command:
    path, rest = _parse_path(text, "FROM:", lenient, "5.1.7")
    fields = parse_parameters(rest, MAIL_PARAMETERS, lenient=lenient) if rest else {}
    try:
        return Mail(path, **fields)
    except LocalProtocolError:
        _judge_path(check_reverse_path, path, "5.1.7")
        if not path.isascii() and "smtputf8" not in fields:
            raise BadSyntax(550, "5.6.7", "A reverse-path that is not ASCII needs SMTPUTF8") from None
        raise


def _parse_rcpt(text: str, lenient: bool) -> Command:
    path, rest = _parse_path(text, "TO:", lenient, "5.1.3")
    fields = parse_parameters(rest, RCPT_PARAMETERS, lenient=lenient) if rest else {}
    try:
        return Rcpt(path, **fields)
    except LocalProtocolError:
        _judge_path(check_forward_path, path, "5.1.3")
        raise


def _judge_path(check: Callable[[str], str], path: str, status: str) -> None:
    try:
        check(path)
    except LocalProtocolError:
        raise BadSyntax(501, status, "Bad mailbox in the path") from None


def _parse_path(text: str, word: str, lenient: bool, status: str) -> tuple[str, str]:
    if ascii_upper(text[: len(word)]) != word:
        raise BadSyntax(501, "5.5.4", f"{word}<path> is wanted")
    path = text[len(word) :]
    try:
        return split_path(path.lstrip(" \t") if lenient else path, lenient=lenient)
    except LocalProtocolError:
        raise BadSyntax(501, status, f"{word}<path> is wanted, and a mailbox in it") from None


def _parse_bdat(text: str, lenient: bool) -> Command:
    size, last = _split_last(text)
    return Bdat(int(require(grammar.NUMBER, size, "the chunk-size")), last)


def _parse_burl(text: str, lenient: bool) -> Command:
    return Burl(*_split_last(text))


def _split_last(text: str) -> tuple[str, bool]:
    argument, space, last = text.partition(" ")
    if space and ascii_upper(last) != "LAST":
        raise LocalProtocolError(f"{shown(last)} is not LAST")
    return argument, bool(space)


def _attributes(cls: Callable[[Mapping[str, str]], Command]) -> _Parse:
    def parse(text: str, lenient: bool) -> Command:
        attributes: dict[str, str] = {}
        for word in text.split(" "):
            name, equals, value = word.partition("=")
            name = ascii_upper(name)
            if not equals or name in attributes:
                raise BadSyntax(501, "5.5.4", "Attributes are NAME=value, each once")
            attributes[name] = xtext_decode(value)
        return cls(attributes)

    return parse


_UNKNOWN: Final[tuple[type[Command], _Parse]] = (UnknownCommand, _text(UnknownCommand))
_PARSERS: Final[dict[bytes, tuple[type[Command], _Parse]]] = {
    cls.verb.encode(): (cls, parse)
    for cls, parse in (
        (Ehlo, _whole(Ehlo)),
        (Helo, _whole(Helo)),
        (Lhlo, _whole(Lhlo)),
        (StartTls, _bare(StartTls)),
        (Auth, _parse_auth),
        (Mail, _parse_mail),
        (Rcpt, _parse_rcpt),
        (Data, _bare(Data)),
        (Bdat, _parse_bdat),
        (Burl, _parse_burl),
        (Rset, _bare(Rset)),
        (Noop, _text(Noop)),
        (Quit, _bare(Quit)),
        (Vrfy, _lookup(Vrfy)),
        (Expn, _lookup(Expn)),
        (Help, _text(Help)),
        (Etrn, _whole(Etrn)),
        (XClient, _attributes(XClient)),
        (XForward, _attributes(XForward)),
    )
}
