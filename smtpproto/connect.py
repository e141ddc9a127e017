"""Connect: what is wanted, as options; and the handshake that gets there, as a pure machine.

`ConnectOptions` say what is wanted, and ``resolve()`` settles every default in one place: a pure function from the
options to a `Target`.  A `Connector` has the shape of a `Connection` and passes its events through, while it answers
them with the commands of the handshake:

    greeting -> EHLO (or HELO) -> STARTTLS -> EHLO again -> authentication -> `Connected`

An event always comes out before what it leads to: a refusal is seen as the reply that it is, and only the next call
raises `ConnectFailed`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, IntFlag
from typing import Any, Final

from .addresses import AddressLiteral
from .authenticate import Authenticator
from .client import ClientConnection
from .commands import Command, Ehlo, Helo, Lhlo, Quit, StartTls
from .errors import ErrorCode, LocalProtocolError
from .events import (
    AuthChallenge,
    AuthFailed,
    AuthNeeded,
    AuthReason,
    AuthSucceeded,
    ConnectionClosed,
    EhloReply,
    Event,
    Greeting,
    HeloReply,
    Pause,
    ReplyReceived,
    ServiceClosing,
    StartTlsReady,
)
from .extensions import Extensions
from .failures import AuthenticationFailed, ConnectFailed, Stage
from .limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from .replies import Reply
from .sasl import ClientMechanism, Credentials
from .values import Value, set_field


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
    """TLS before the first octet.  Implies SECURE."""
    SECURE_FALLBACK = 32768
    """TLS by STARTTLS where it is offered, plaintext where not.  Implies EXTENDED."""


SMTP_PORT: Final = 25
LMTP_PORT: Final = 24
SUBMISSION_PORT: Final = 587
SUBMISSIONS_PORT: Final = 465

SERVICES: Final[Mapping[str, int]] = {
    "smtp": SMTP_PORT,
    "lmtp": LMTP_PORT,
    "submission": SUBMISSION_PORT,
    "submissions": SUBMISSIONS_PORT,
    "smtps": SUBMISSIONS_PORT,
}
"""Service names for ``port``.  IANA; RFC 6409 section 3.1, RFC 8314 section 7.3."""

# url = scheme "://" [ user [ ":" password ] "@" ] ( host [ ":" port ] [ "/" ] / "/" path )
_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://"
    r"(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    r"(?:(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:@/?#]+))(?::(?P<port>[0-9]{1,5}))?/?|(?P<path>/[^?#]+))",
    re.ASCII | re.IGNORECASE,
)
_PERCENT: Final = re.compile(r"%([0-9A-Fa-f]{2})|%")


def _invalid(message: str) -> ConnectFailed:
    return ConnectFailed(message, ErrorCode.INVALID_ARGUMENT, Stage.OPTIONS)


class Target(Value):
    """Options with every default settled: what to dial, and what to do there."""

    __slots__ = ("host", "port", "path", "host_name", "security", "extended", "lmtp")
    __match_args__ = ("host", "port", "path", "host_name", "security", "extended", "lmtp")

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
    def is_submission(self) -> bool:
        """True at the ports of message submission.  RFC 6409, RFC 8314."""
        return not self.lmtp and self.port in (SUBMISSION_PORT, SUBMISSIONS_PORT)


class ConnectOptions(Value):
    """What is wanted of a connection.  Nothing is checked before `resolve`.

    ``host``
        Whom to connect to, a name or an IP address; the certificate must be for it.
    ``host_name``, ``host_address``
        Instead of ``host``, where the address is known already: the address is dialled, and the certificate must be
        for the name.
    ``path``
        A unix socket to dial instead (LMTP).
    ``port``
        A number or a service name (`SERVICES`); 0 or None is 25, or 465 where TLS is implicit, or 24 for LMTP.
    ``username``, ``password``, ``token``, ``authorization_id``
        Defaults for authentication.  ``token`` is an OAuth 2.0 access token, or what returns one.
    ``authenticate``
        Authenticate within connecting.  Without it the program does, when it wants to.
    ``mechanisms``
        SASL mechanisms to use, in this order: names, or mechanisms of the program's own.
    ``allow_plaintext_auth``
        Let a password travel without TLS.
    ``security``
        None: by the port and the credentials.  465 is implicit TLS; credentials, and port 587, mean that TLS is
        required; a unix socket has none; everything else is opportunistic.
    ``extended``
        None and True are EHLO, with HELO where the server does not know it; False is HELO alone.
    ``lmtp``
        Speak LMTP.
    ``timeout``
        Seconds for each wait; 0 waits for ever; None: ``timeouts``, which are the RFC's for each phase.
    ``client_name``
        What to say in EHLO; None: the adapter finds the name of this host, or else its address literal.
    ``mask``
        Extension keywords to ignore, for a server that offers what it cannot do.
    """

    __slots__ = (
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
    _secret = frozenset({"password", "token"})

    host: str | None
    port: int | str | None
    host_name: str | None
    host_address: str | None
    path: str | None
    username: str | None
    password: str | None
    token: str | Callable[[], str] | None
    authorization_id: str
    authenticate: bool
    mechanisms: tuple[str | ClientMechanism, ...] | None
    allow_plaintext_auth: bool
    security: Security | None
    extended: bool | None
    lmtp: bool
    timeout: float | None
    timeouts: Timeouts
    client_name: str | None
    mask: tuple[str, ...]
    limits: Limits

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
        set_field(self, "mechanisms", None if mechanisms is None else tuple(mechanisms))
        set_field(self, "mask", tuple(mask))

    @classmethod
    def from_flags(cls, *, options: Option | int = Option.NONE, **others: Any) -> ConnectOptions:
        """The same with ``security`` and ``extended`` spelled as flags, which then say all: no default is left.

        Raises `ConnectFailed` (INVALID_ARGUMENT) for flags that are not known or contradict each other.
        """
        security, extended = _security_of_flags(options, others.get("port"))
        return cls(security=security, extended=extended, **others)

    @classmethod
    def from_url(cls, url: str, **others: Any) -> ConnectOptions:
        """Read ``scheme://[user[:password]@]host[:port]``, or ``lmtp:///path/of/socket``.

        The schemes are smtp, smtps, submission, submissions and lmtp.  ``others`` are further options, and go before
        what the URL says.  Raises `ConnectFailed` (INVALID_ARGUMENT).
        """
        match = _URL.fullmatch(url)
        scheme = match["scheme"].lower() if match else ""
        if match is None or scheme not in SERVICES:
            raise _invalid(
                "not a URL of the form scheme://[user@]host[:port], with smtp, smtps, submission, submissions or lmtp "
                "as its scheme"
            )
        fields: dict[str, Any] = {
            "host": match["ipv6"] or _percent_decoded(match["host"]),
            "path": _percent_decoded(match["path"]),
            "port": int(match["port"]) if match["port"] else scheme,
            "username": _percent_decoded(match["user"]) or None,
            "password": _percent_decoded(match["password"]) or None,
            "lmtp": scheme == "lmtp",
        }
        if fields["path"] is not None and scheme != "lmtp":
            raise _invalid(f"a URL with the scheme {scheme} needs a host; only lmtp goes to a unix socket")
        if scheme in ("smtps", "submissions"):
            fields["security"] = Security.IMPLICIT
        elif scheme == "submission":
            fields["security"] = Security.REQUIRED
        return cls(**{**fields, **others})

    def replace(self, **changes: Any) -> ConnectOptions:
        """The same with other values for some of the fields."""
        return type(self)(**{**dict(zip(self.__match_args__, self._fields(), strict=True)), **changes})

    @property
    def has_credentials(self) -> bool:
        """True where there is something to authenticate with."""
        own = self.mechanisms is not None and any(not isinstance(each, str) for each in self.mechanisms)
        return self.username is not None or self.token is not None or own

    @property
    def credentials(self) -> Credentials | None:
        """What to authenticate with; None where there is nothing.  Raises `LocalProtocolError` where it is unfit."""
        if self.username is None and self.token is None:
            return None
        return Credentials(self.username or "", self.password, authorization_id=self.authorization_id, token=self.token)

    @property
    def effective_timeouts(self) -> Timeouts:
        """``timeouts``, or ``timeout`` for each of them."""
        return self.timeouts if self.timeout is None else Timeouts.uniform(self.timeout)

    def resolve(self) -> Target:
        """Settle every default.  Raises `ConnectFailed` (INVALID_ARGUMENT) where the options make no sense."""
        host, host_name = self._hosts()
        port = self.port_number()
        security = self.security if self.security is not None else self._default_security(port)
        if not port:
            port = SUBMISSIONS_PORT if security is Security.IMPLICIT else SMTP_PORT
            port = LMTP_PORT if self.lmtp else port
        extended = True if self.extended is None else self.extended
        target = Target(host, port, self.path, host_name, security, extended, self.lmtp)
        self._check(target)
        return target

    def _hosts(self) -> tuple[str, str]:
        if self.path is not None:
            return "", self.host or self.host_name or "localhost"
        if self.host:
            return self.host, self.host
        dialled = self.host_address or self.host_name
        if not dialled:
            raise _invalid("no host: give host, host_name or host_address")
        return dialled, self.host_name or dialled

    def port_number(self) -> int:
        """The port given, as a number; 0 where none is."""
        port = self.port
        if isinstance(port, str):
            name = port.strip().lower()
            if name in SERVICES:
                return SERVICES[name]
            if not (name.isascii() and name.isdigit() and len(name) <= 5):
                raise _invalid(f"port is {port!r}: it must be a number or one of {', '.join(SERVICES)}")
            port = int(name)
        if port is not None and not 0 <= port <= 65535:
            raise _invalid(f"port is {port}: it must be between 0 and 65535")
        return port or 0

    def _default_security(self, port: int) -> Security:
        if self.path is not None:
            return Security.NONE
        if port == SUBMISSIONS_PORT:
            return Security.IMPLICIT
        if self.extended is False and not self.has_credentials:
            return Security.NONE
        if self.has_credentials or port == SUBMISSION_PORT:
            return Security.REQUIRED
        return Security.OPPORTUNISTIC

    def _check(self, target: Target) -> None:
        if not target.extended and target.security in (Security.REQUIRED, Security.OPPORTUNISTIC):
            raise _invalid("STARTTLS needs EHLO: give extended=True, or security NONE or IMPLICIT")
        if not target.extended and self.authenticate:
            raise _invalid("authentication needs EHLO: give extended=True, or leave authenticate out")
        if target.lmtp and not target.extended:
            raise _invalid("LMTP has no HELO: leave extended out")
        if target.lmtp and target.port == SMTP_PORT and target.path is None:
            raise _invalid("LMTP must not be used at port 25 (RFC 2033 section 5)")
        if self.authenticate and not self.has_credentials:
            raise _invalid("authenticate=True needs a username, a token or a mechanism")
        if self.timeout is not None and not self.timeout >= 0:
            raise _invalid(f"timeout is {self.timeout}: it must be 0 (for ever) or more seconds")
        try:
            _ = self.credentials
            Ehlo(self.client_name if self.client_name is not None else "localhost")
        except LocalProtocolError as error:
            raise _invalid(str(error)) from None


def _security_of_flags(options: int, port: object) -> tuple[Security, bool]:
    known = Option.EXTENDED | Option.SECURE | Option.SECURE_IMPLICIT | Option.SECURE_FALLBACK
    if options & ~known:
        raise _invalid(f"options is {int(options)}: it has bits that mean nothing")
    implicit = bool(options & Option.SECURE_IMPLICIT) or _is_implicit_port(port)
    extended = bool(options & Option.EXTENDED)
    if implicit:
        if options & Option.SECURE_FALLBACK:
            raise _invalid("implicit TLS has no fallback: leave out SECURE_FALLBACK")
        return Security.IMPLICIT, extended
    if options & Option.SECURE_FALLBACK:
        return Security.OPPORTUNISTIC, True
    if options & Option.SECURE:
        return Security.REQUIRED, True
    return Security.NONE, extended


def _is_implicit_port(port: object) -> bool:
    return isinstance(port, int | str) and ConnectOptions(port=port).port_number() == SUBMISSIONS_PORT


def _percent_decoded(text: str | None) -> str | None:
    if text is None:
        return None

    def octet(match: re.Match[str]) -> str:
        if match[1] is None:
            raise _invalid("a % in the URL that no two hexadecimal digits follow")
        return chr(int(match[1], 16))

    if "%" not in text:
        return text
    octets = _PERCENT.sub(octet, text.encode("utf-8").decode("latin-1")).encode("latin-1")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid("the octets that % encodes in the URL are not UTF-8") from None


class Connected(Event):
    """The last event of the handshake: the session is ready."""

    __slots__ = ("extensions", "extended", "tls", "greeting")
    __match_args__ = ("extensions", "extended", "tls", "greeting")

    extensions: Extensions
    """What the server offers now."""
    extended: bool
    """True where it speaks ESMTP (or LMTP): EHLO was accepted."""
    tls: bool
    greeting: Greeting

    def __init__(self, extensions: Extensions, extended: bool, tls: bool, greeting: Greeting) -> None:
        set_field(self, "extensions", extensions)
        set_field(self, "extended", extended)
        set_field(self, "tls", tls)
        set_field(self, "greeting", greeting)


class Connector:
    """The handshake.  Use it as a `Connection`, and write what `data_to_send` gives after each event.

    With implicit TLS, negotiate it before the first octet is fed.  ``client_name`` is what EHLO says where the
    options leave it open; a name, or the `AddressLiteral` of this end.  ``on_send`` sees every command.
    """

    connection: ClientConnection
    """Good for the session once `Connected` has come."""
    options: ConnectOptions
    target: Target
    client_name: str
    connected: Connected | None
    """The last event, once it has come."""

    def __init__(
        self,
        options: ConnectOptions,
        *,
        client_name: str | AddressLiteral = "localhost",
        on_send: Callable[[Command | Reply], object] | None = None,
    ) -> None:
        self.options = options
        self.target = options.resolve()
        self.client_name = options.client_name if options.client_name is not None else str(client_name)
        self.connection = ClientConnection(
            lmtp=self.target.lmtp,
            secure=self.target.security is Security.IMPLICIT,
            mask=options.mask,
            limits=options.limits,
            timeouts=options.effective_timeouts,
            on_send=on_send,
        )
        self.connected = None
        self.stage = Stage.GREETING
        self._greeting: Greeting | None = None
        self._hello_event: ReplyReceived | None = None
        self._authenticator: Authenticator | None = None
        self._failure: ConnectFailed | None = None
        self._next: Callable[[], Event | None] | None = None
        self._out: list[bytes] = []

    stage: Stage
    """How far it has come."""

    @property
    def deadline(self) -> float | None:
        """As `Connection.deadline`."""
        return self.connection.deadline

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """As `Connection.receive_data`."""
        self.connection.receive_data(data)

    def data_to_send(self) -> bytes:
        """What has to be written now; ``b""`` where there is nothing."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def tls_established(self) -> None:
        """As `Connection.tls_established`."""
        self.connection.tls_established()
        self._say_hello()

    def next_event(self) -> Event | Pause:
        """The next event of the handshake; `Connected` is the last, and comes again at each further call.

        Raises `ConnectFailed` where the handshake cannot go on, and `RemoteProtocolError` as `Connection` does.
        """
        if self._failure is not None:
            raise self._failure
        if self.connected is not None:
            return self.connected
        if self._next is not None:
            due, self._next = self._next, None
            try:
                event = due()
            except ConnectFailed as failure:
                self._failure = failure
                raise
            if event is not None:
                return event
        got = self.connection.next_event()
        if not isinstance(got, Pause):
            try:
                self._react(got)
            except ConnectFailed as failure:
                self._failure = failure  # it is raised at the next call: the event itself comes first
        return got

    def farewell(self) -> bytes:
        """QUIT, where it may be sent now; what to write before closing a handshake that failed."""
        if self.connection.state.name in ("CLOSED", "ERROR") or self.connection.objection(Quit()) is not None:
            return b""
        return self.connection.send(Quit())

    # What each event leads to --------------------------------------------------------------------------------------

    def _react(self, event: Event) -> None:
        match event:
            case ConnectionClosed():
                raise self._failed("the server closed the connection", ErrorCode.CLOSED_BY_PEER, event.last_reply)
            case ServiceClosing(_, reply):
                raise self._failed("the server is closing the connection", ErrorCode.SERVICE_NOT_AVAILABLE, reply)
            case Greeting(_, reply):
                self._greeting = event
                if not event.accepted:
                    raise self._failed("the server does not serve", ErrorCode.SERVICE_NOT_AVAILABLE, reply)
                self._say_hello()
            case EhloReply(_, reply) | HeloReply(_, reply):
                self._hello_event = event
                if reply.is_positive:
                    self._after_hello()
                else:
                    self._hello_refused(event, reply)
            case AuthChallenge() | AuthSucceeded() | AuthFailed():
                self._authenticating(event)
            case StartTlsReady():
                self.stage = Stage.TLS
            case ReplyReceived(StartTls(), reply):
                if self.target.security is Security.REQUIRED:
                    raise self._failed("the server refuses STARTTLS", ErrorCode.STARTTLS_REFUSED, reply)
                self._ready()
            case _:
                pass

    def _say_hello(self) -> None:
        self.stage = Stage.HELLO
        if self.target.lmtp:
            self._send(Lhlo(self.client_name))
        else:
            self._send(Ehlo(self.client_name) if self.target.extended else Helo(self.client_name))

    def _hello_refused(self, event: ReplyReceived, reply: Reply) -> None:
        """RFC 5321 section 4.1.1.1: HELO where EHLO is not known; never where something needs EHLO."""
        if isinstance(event, HeloReply) or self.target.lmtp or not reply.is_permanent:
            raise self._failed("the server refuses the hello", ErrorCode.HELLO_REFUSED, reply)
        if self.target.security is Security.REQUIRED and not self.connection.secure:
            raise self._failed(
                "the server refuses EHLO, so that it cannot offer the STARTTLS that is required",
                ErrorCode.STARTTLS_NOT_OFFERED,
                reply,
            )
        if self.options.authenticate:
            raise self._failed(
                "the server refuses EHLO, which authentication needs", ErrorCode.EXTENDED_NOT_SUPPORTED, reply
            )
        self._send(Helo(self.client_name))

    def _after_hello(self) -> None:
        wanted = self.target.security in (Security.REQUIRED, Security.OPPORTUNISTIC)
        if not wanted or self.connection.secure:
            self._ready()
        elif "STARTTLS" in self.connection.extensions:
            self.stage = Stage.STARTTLS
            self._send(StartTls())
        elif self.target.security is Security.REQUIRED:
            masked = self.connection.extensions.starttls_masked
            hint = " (something between us and it has overwritten the offer)" if masked else ""
            raise self._failed(
                f"the server does not offer STARTTLS, which is required{hint}", ErrorCode.STARTTLS_NOT_OFFERED
            )
        else:
            self._ready()

    def _ready(self) -> None:
        due = self.options.has_credentials or self.target.is_submission
        self._next = self._authentication_due if due and self.connection.extended else self._finish

    def _authentication_due(self) -> Event:
        hello = self._hello_event
        assert hello is not None
        given = self.options.has_credentials
        why = AuthReason.CREDENTIALS_GIVEN if given else AuthReason.SUBMISSION
        self._next = self._authenticate if self.options.authenticate else self._finish
        return AuthNeeded(hello.command, hello.reply, self.connection.extensions.auth, why)

    def _authenticate(self) -> None:
        self.stage = Stage.AUTHENTICATION
        self._authenticator = Authenticator(
            self.connection,
            self.options.credentials,
            mechanisms=self.options.mechanisms,
            allow_plaintext=self.options.allow_plaintext_auth,
        )
        self._send(self._authenticator.start())

    def _authenticating(self, event: Event) -> None:
        assert self._authenticator is not None
        command = self._authenticator.respond(event)
        if command is None:
            self._next = self._finish
        else:
            self._send(command)

    def _finish(self) -> Event:
        assert self._greeting is not None
        connection = self.connection
        self.connected = Connected(connection.extensions, connection.extended, connection.secure, self._greeting)
        return self.connected

    def _send(self, command: Command) -> None:
        self._out.append(self.connection.send(command))

    def _failed(self, message: str, code: ErrorCode, reply: Reply | None = None) -> ConnectFailed:
        if self.stage is Stage.AUTHENTICATION:
            return AuthenticationFailed(message, code, reply)
        return ConnectFailed(message, code, self.stage, reply)
