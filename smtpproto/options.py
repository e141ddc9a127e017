"""What is wanted of a connection, as options, and the pure function that settles every default of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, IntFlag
from typing import Any, Final, TypeVar, cast

from .addresses import AddressLiteral
from .commands import own_name
from .errors import ErrorCode, LocalProtocolError
from .failures import ConnectFailed, Stage
from .grammar import Pattern
from .limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, DOMAIN, DOMAIN_LABEL, Limits, Timeouts
from .sasl import MECHANISMS, ClientMechanism, Credentials, choose
from .values import Value, set_field

T = TypeVar("T")


class Security(Enum):
    """What TLS is to do for the connection."""

    NONE = "none"
    """Plaintext, whatever the server offers."""
    OPPORTUNISTIC = "opportunistic"
    """STARTTLS where it is offered.  It protects from those who listen, and from nobody who can do more."""
    REQUIRED = "required"
    """STARTTLS, or no session.  RFC 3207."""
    IMPLICIT = "implicit"
    """TLS before the first octet.  RFC 8314 section 3.3."""


class Option(IntFlag):
    """The options as flags, for `ConnectOptions.from_flags`."""

    NONE = 0
    """A plain HELO session; but port 465 is implicit TLS all the same."""
    EXTENDED = 1
    """EHLO."""
    SECURE = 4096
    """TLS is required; by STARTTLS, which implies EXTENDED, where SECURE_IMPLICIT is not set."""
    SECURE_IMPLICIT = 8192
    """TLS before the first octet.  Implies SECURE, and excludes SECURE_FALLBACK."""
    SECURE_FALLBACK = 32768
    """TLS by STARTTLS where it is offered, plaintext where not; also together with SECURE.  Implies EXTENDED."""


_WITHOUT_SECRET: Final = frozenset(each.name for each in MECHANISMS if not each.has_secret)
_KNOWN_FLAGS: Final = int(Option.EXTENDED | Option.SECURE | Option.SECURE_IMPLICIT | Option.SECURE_FALLBACK)


SMTP_PORT: Final = 25
"""RFC 5321 section 4.5.4.2."""
LMTP_PORT: Final = 24
"""RFC 2033 section 5 wants another than 25; IANA has this one for private mail systems."""
SUBMISSION_PORT: Final = 587
"""RFC 6409 section 3.1."""
SUBMISSIONS_PORT: Final = 465
"""RFC 8314 section 7.3."""

SERVICES: Final[Mapping[str, int]] = {
    "smtp": SMTP_PORT,
    "lmtp": LMTP_PORT,
    "submission": SUBMISSION_PORT,
    "submissions": SUBMISSIONS_PORT,
    "smtps": SUBMISSIONS_PORT,
}
"""Service names for ``port``.  IANA; RFC 6409 section 3.1, RFC 8314 section 7.3."""

# url = scheme "://" [ user [ ":" password ] "@" ] ( host [ ":" port ] [ "/" ] / "/" path )
_URL: Final = Pattern(
    r"(?i)(?P<scheme>[a-z]+)://"
    r"(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    r"(?:(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:@/?#]+))(?::(?P<port>[0-9]{1,5}))?/?|(?P<path>/[^?#]+))"
)
_NOT_IN_HOST: Final = Pattern("[\0-\x20\x7f\ud800-\udfff]")


def invalid_argument(message: str) -> ConnectFailed:
    """What is raised for options that make no sense."""
    return ConnectFailed(message, ErrorCode.INVALID_ARGUMENT, Stage.OPTIONS)


class Target(Value):
    """Options with every default settled: what to dial, and what to do there."""

    __match_args__ = ("host", "port", "path", "host_name", "security", "extended", "lmtp")
    __slots__ = __match_args__

    host: str
    """What to dial: a name or an IP address; empty with ``path``."""
    port: int
    path: str | None
    """The unix socket to dial instead."""
    host_name: str
    """What the certificate must be for."""
    security: Security
    extended: bool
    lmtp: bool

    def __init__(
        self, host: str, port: int, path: str | None, host_name: str, security: Security, extended: bool, lmtp: bool
    ) -> None:
        set_field(self, "host", host)
        set_field(self, "port", port)
        set_field(self, "path", path)
        set_field(self, "host_name", host_name)
        set_field(self, "security", security)
        set_field(self, "extended", extended)
        set_field(self, "lmtp", lmtp)

    @property
    def wants_starttls(self) -> bool:
        """True where TLS is to begin by STARTTLS, if at all."""
        return self.security in (Security.REQUIRED, Security.OPPORTUNISTIC)

    @property
    def is_submission(self) -> bool:
        """True at the ports of message submission.  RFC 6409, RFC 8314."""
        return not self.lmtp and self.path is None and self.port in (SUBMISSION_PORT, SUBMISSIONS_PORT)


class ConnectOptions(Value):
    """What is wanted of a connection.  Nothing is checked before `resolve`."""

    __match_args__ = (
        "host",
        "port",
        "host_name",
        "host_address",
        "path",
        "username",
        "password",
        "token",
        "authorization_id",
        "authenticate",
        "mechanisms",
        "initial_response",
        "allow_plaintext_auth",
        "security",
        "extended",
        "lmtp",
        "timeout",
        "timeouts",
        "client_name",
        "mask",
        "limits",
    )
    __slots__ = __match_args__
    _secret = frozenset({"password", "token"})

    host: str | None
    """Whom to connect to, a name or an IP address; the certificate must be for it."""
    port: int | str | None
    """A number or a service name (`SERVICES`); 0 or None is 25, or 465 where TLS is implicit, or 24 for LMTP."""
    host_name: str | None
    """Where there is no ``host``: what the certificate must be for, and whom to connect to without ``host_address``."""
    host_address: str | None
    """Where there is no ``host``: whom to connect to, such as an address that is known already."""
    path: str | None
    """A unix socket to connect to instead; mostly for LMTP."""
    username: str | None
    """The default for authentication, with ``password`` or ``token``."""
    password: str | None
    """The default for authentication; it never shows in a ``repr``."""
    token: str | Callable[[], str] | None
    """The default for authentication: an OAuth 2.0 access token, or what returns one.  It never shows either."""
    authorization_id: str
    """The default for authentication: whom to act as; empty: the user.  RFC 4422 section 2."""
    authenticate: bool
    """Authenticate within connecting.  Without it the program does, when it wants to."""
    mechanisms: tuple[str | ClientMechanism, ...] | None
    """SASL mechanisms to use, in this order: names, or mechanisms of the program's own; None: whatever suits."""
    initial_response: bool
    """Send what a mechanism says first in the AUTH command, where it fits; False: only when the server asks for it.
    RFC 4954 section 4."""
    allow_plaintext_auth: bool
    """Let a password or a token travel without TLS."""
    security: Security | None
    """What TLS is to do; None: by the port and the credentials."""
    extended: bool | None
    """None and True are EHLO, with HELO where the server does not know it; False is HELO alone.  RFC 5321 section 3.2.
    """
    lmtp: bool
    """Speak LMTP: LHLO, and a reply for each recipient.  RFC 2033."""
    timeout: float | None
    """Seconds for each wait; 0 waits for ever; None: ``timeouts``."""
    timeouts: Timeouts
    """Seconds for each phase, where ``timeout`` is None: those of RFC 5321 section 4.5.3.2."""
    client_name: str | None
    """What to say in EHLO; None: the address literal of this end of the connection.  RFC 5321 section 4.1.4."""
    mask: tuple[str, ...]
    """Extension keywords to ignore, for a server that offers what it cannot do."""
    limits: Limits
    """How much a server may make this end keep."""

    def __init__(
        self,
        *,
        host: str | None = None,
        port: int | str | None = None,
        host_name: str | None = None,
        host_address: str | None = None,
        path: str | None = None,
        username: str | None = None,
        password: str | None = None,
        token: str | Callable[[], str] | None = None,
        authorization_id: str = "",
        authenticate: bool = False,
        mechanisms: Sequence[str | ClientMechanism] | None = None,
        initial_response: bool = True,
        allow_plaintext_auth: bool = False,
        security: Security | None = None,
        extended: bool | None = None,
        lmtp: bool = False,
        timeout: float | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        client_name: str | None = None,
        mask: Iterable[str] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        given = locals()
        for name in self.__match_args__:
            set_field(self, name, given[name])
        set_field(self, "mechanisms", None if mechanisms is None else _tuple_of(mechanisms))
        set_field(self, "mask", _tuple_of(mask))

    @classmethod
    def from_flags(cls, *, options: Option | int = Option.NONE, **others: Any) -> ConnectOptions:
        """The same with ``security`` and ``extended`` spelled as flags, which then say all: no default is left.

        But LMTP has nothing but LHLO, with and without EXTENDED.

        Raises `ConnectFailed` (INVALID_ARGUMENT) for flags that are not known or contradict each other.
        """
        security, extended = _security_of_flags(int(options), others.get("port"))
        return cls(security=security, extended=extended or bool(others.get("lmtp")), **others)

    @classmethod
    def from_url(cls, url: str, **others: Any) -> ConnectOptions:
        """Read ``scheme://[user[:password]@]host[:port]``, or ``lmtp:///path/of/socket``.

        The schemes are smtp, smtps, submission, submissions and lmtp; submission means STARTTLS, except at port 465,
        where TLS is implicit.  ``others`` are further options, and go before what the URL says.  Raises
        `ConnectFailed` (INVALID_ARGUMENT).
        """
        match = _URL.fullmatch(url)
        scheme = match["scheme"].lower() if match else ""
        if match is None or scheme not in SERVICES:
            raise invalid_argument(
                "not a URL of the form scheme://[user@]host[:port], with smtp, smtps, submission, submissions or lmtp "
                "as its scheme"
            )
        fields: dict[str, Any] = {
            "host": _ipv6(match["ipv6"]) or _percent_decoded(match["host"]),
            "path": _percent_decoded(match["path"]),
            "port": int(match["port"] or 0) or scheme,
            "username": _percent_decoded(match["user"]) or None,
            "password": _percent_decoded(match["password"]) or None,
            "lmtp": scheme == "lmtp",
        }
        if fields["path"] is not None and scheme != "lmtp":
            raise invalid_argument(f"a URL with the scheme {scheme} needs a host; only lmtp goes to a unix socket")
        if scheme in ("smtps", "submissions"):
            fields["security"] = Security.IMPLICIT
        elif scheme == "submission" and fields["port"] != SUBMISSIONS_PORT:
            fields["security"] = Security.REQUIRED
        return cls(**{**fields, **others})

    def replace(self, **changes: Any) -> ConnectOptions:
        """The same with other values for some of the fields."""
        return type(self)(**{**dict(zip(self.__match_args__, self._fields(), strict=True)), **changes})

    @property
    def has_credentials(self) -> bool:
        """True where there is something to authenticate with."""
        return bool(self.username) or self.token is not None or self._needs_no_secret

    @property
    def lacks_secret(self) -> bool:
        """True where what there is, as a user name alone, is not enough: the rest has to come before authenticating."""
        return self.password is None and self.token is None and not self._needs_no_secret

    @property
    def _needs_no_secret(self) -> bool:
        """A mechanism of the program's own has its credentials; EXTERNAL and ANONYMOUS need none."""
        return any(not isinstance(each, str) or each.upper() in _WITHOUT_SECRET for each in self.mechanisms or ())

    @property
    def _acts_without_name(self) -> bool:
        """The token, or what EXTERNAL goes by, says whose the authorization identity is."""
        external = any(isinstance(each, str) and each.upper() == "EXTERNAL" for each in self.mechanisms or ())
        return external or self.token is not None

    @property
    def credentials(self) -> Credentials | None:
        """What to authenticate with; None where there is nothing.  Raises `LocalProtocolError` where it is unfit."""
        if not self.username and self.token is None and not self.authorization_id:
            return None
        return Credentials(self.username or "", self.password, authorization_id=self.authorization_id, token=self.token)

    @property
    def effective_timeouts(self) -> Timeouts:
        """``timeouts``, or ``timeout`` for each of them."""
        return self.timeouts if self.timeout is None else Timeouts.uniform(self.timeout)

    def resolve(self) -> Target:
        """Settle every default.  Raises `ConnectFailed` (INVALID_ARGUMENT) where the options make no sense."""
        host, host_name = self._hosts()
        path = self.path or None
        port = self.port_number()
        security = self.security if self.security is not None else self._default_security(port)
        if not isinstance(security, Security):  # pyright: ignore[reportUnnecessaryIsInstance]
            # A text would be like none of them, and the session without TLS.
            raise invalid_argument(f"security is {security!r}: it must be a Security, such as Security.REQUIRED")
        if not port:
            port = SUBMISSIONS_PORT if security is Security.IMPLICIT else SMTP_PORT
            port = LMTP_PORT if self.lmtp else port
        extended = True if self.extended is None else self.extended
        target = Target(host, port, path, host_name, security, extended, self.lmtp)
        self._check(target)
        return target

    def _hosts(self) -> tuple[str, str]:
        """What to dial, and what the certificate must be for."""
        if self.path:
            _check_path(self.path)
            return "", _checked_host("host", self.host or self.host_name or "localhost")
        if self.host:
            host = _checked_host("host", self.host)
            return host, host
        name = _checked_host("host_name", self.host_name) if self.host_name else ""
        dialled = _checked_host("host_address", self.host_address) if self.host_address else name
        if not dialled:
            raise invalid_argument("no host: give host, host_name or host_address")
        return dialled, name or dialled

    def port_number(self) -> int:
        """The port given, as a number; 0 where none is."""
        port = self.port
        if isinstance(port, str):
            name = port.strip().lower()
            if name in SERVICES:
                return SERVICES[name]
            if not (name.isascii() and name.isdigit() and len(name) <= 5):
                raise invalid_argument(f"port is {port!r}: it must be a number or one of {', '.join(SERVICES)}")
            port = int(name)
        if port is None:
            return 0
        if not 0 <= port <= 65535:
            raise invalid_argument(f"port is {port}: it must be between 0 and 65535")
        return port

    def _default_security(self, port: int) -> Security:
        if self.path:
            return Security.NONE
        if port == SUBMISSIONS_PORT:
            return Security.IMPLICIT
        if self.extended is False and not self.has_credentials:
            return Security.NONE
        if self.has_credentials or port == SUBMISSION_PORT:
            return Security.REQUIRED
        return Security.OPPORTUNISTIC

    def _check(self, target: Target) -> None:
        self._check_extended(target)
        if target.lmtp and target.port == SMTP_PORT and target.path is None:
            raise invalid_argument("LMTP must not be used at port 25 (RFC 2033 section 5)")
        if self.authenticate and not self.has_credentials:
            raise invalid_argument("authenticate=True needs a username, a token or a mechanism")
        if not self.username and (self.password is not None or (self.authorization_id and not self._acts_without_name)):
            raise invalid_argument("a password or an authorization_id without a username: give both")
        if self.timeout is not None and not 0 <= self.timeout < float("inf"):
            raise invalid_argument(f"timeout is {self.timeout}: it must be 0 (for ever) or more seconds")
        try:
            # Nothing is offered yet: this tells only whether the credentials and the mechanisms are any at all.
            choose((), self.credentials, secure=True, allow_plaintext=True, mechanisms=self.mechanisms)
            own_name(self.client_name if self.client_name is not None else "localhost")
        except LocalProtocolError as error:
            raise invalid_argument(str(error)) from None

    def _check_extended(self, target: Target) -> None:
        if target.extended:
            return
        if target.lmtp:
            raise invalid_argument("LMTP has no HELO: leave extended out")
        if target.wants_starttls:
            raise invalid_argument("STARTTLS needs EHLO: give extended=True, or security NONE or IMPLICIT")
        if self.authenticate:
            raise invalid_argument("authentication needs EHLO: give extended=True, or leave authenticate out")


def _security_of_flags(options: int, port: object) -> tuple[Security, bool]:
    if options & ~_KNOWN_FLAGS:
        raise invalid_argument(f"options is {options}: it has bits that mean nothing")
    implicit, fallback = options & Option.SECURE_IMPLICIT, options & Option.SECURE_FALLBACK
    if implicit and fallback:
        raise invalid_argument("implicit TLS has no fallback: leave out SECURE_FALLBACK, or SECURE_IMPLICIT")
    by_starttls = not implicit and options & (Option.SECURE | Option.SECURE_FALLBACK)
    extended = bool(options & Option.EXTENDED or by_starttls)
    if implicit or _is_implicit_port(port):
        return Security.IMPLICIT, extended
    if fallback:
        return Security.OPPORTUNISTIC, extended
    return (Security.REQUIRED if by_starttls else Security.NONE), extended


def _is_implicit_port(port: object) -> bool:
    return isinstance(port, int | str) and ConnectOptions(port=port).port_number() == SUBMISSIONS_PORT


def _tuple_of(items: Iterable[T]) -> tuple[T, ...]:
    """A text is one item, not one for each of its letters."""
    return (cast("T", items),) if isinstance(items, str) else tuple(items)


def _checked_host(field: str, host: str) -> str:
    """Only what no resolver could take is refused here: names in use break the rules for names."""
    labels = host.removesuffix(".").split(".")
    if _NOT_IN_HOST.search(host) or len(host) > DOMAIN or not all(0 < len(label) <= DOMAIN_LABEL for label in labels):
        raise invalid_argument(f"{field} is {host[:DOMAIN]!r}: it must be the name or the IP address of a host")
    return host


def _check_path(path: str) -> None:
    if "\0" in path[1:]:  # where it begins with one, it is in Linux's abstract namespace
        raise invalid_argument(f"path is {path!r}: it must not have a NUL")


def _ipv6(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return AddressLiteral("IPv6", text).content
    except LocalProtocolError:
        raise invalid_argument(f"[{text}] in the URL is no IPv6 address") from None


def _percent_decoded(text: str | None) -> str | None:
    if text is None:
        return None

    def octet(match: re.Match[str]) -> str:
        if match[1] is None:
            raise invalid_argument("a % in the URL that no two hexadecimal digits follow")
        return chr(int(match[1], 16))

    if "%" not in text:
        return text
    # Nothing here may raise a UnicodeError, which would hold the password.
    encoded = text.encode("utf-8", "surrogatepass").decode("latin-1")
    octets = re.sub(r"%([0-9A-Fa-f]{2})|%", octet, encoded).encode("latin-1")
    decoded = octets.decode("utf-8", "surrogateescape")
    if any("\ud800" <= char <= "\udfff" for char in decoded):
        raise invalid_argument("the URL, or what % encodes in it, is not UTF-8")
    return decoded
