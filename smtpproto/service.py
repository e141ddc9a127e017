"""What a server offers, and what it answers where its program has no wish of its own.

`Service` is the policy, as a value; `ServiceSession` joins it with one connection: it knows what may be offered now,
what must be refused by policy, and the default reply to everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from .commands import (
    Auth,
    Bdat,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    XClient,
    own_name,
)
from .connection import HELLO_KINDS
from .errors import LocalProtocolError
from .events import BadCommand, CommandReceived
from .extensions import Extensions
from .limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from .replies import EnhancedStatus, Reply, with_status
from .sasl import NO_BINDINGS, Identity, Question, ServerAnswer, ServerMechanism
from .server import ServerConnection
from .server_auth import ServerAuth
from .states import TRANSACTION_STATES
from .values import Value, set_field


def default_extensions(limits: Limits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """What the engine does by itself: the lines of the EHLO reply."""
    return (
        f"SIZE {limits.message}",
        "PIPELINING",
        "8BITMIME",
        "CHUNKING",
        "ENHANCEDSTATUSCODES",
        "SMTPUTF8",
        "HELP",
    )


DEFAULT_EXTENSIONS: Final = default_extensions()
"""The same with the default limits."""

MAX_ERRORS: Final = 20
"""Refused commands and failed authentications in one session; `Service` can have others.  Postfix: 20
(smtpd_hard_error_limit)."""


class Service(Value):
    """What a server offers, and to whom.

    ``host_name``: the name that it gives itself.  ``extensions``: lines of the EHLO reply, but for STARTTLS and
    AUTH, which come and go with the state; None offers what the engine does by itself, with the ``message`` of the
    limits as SIZE.  REQUIRETLS is offered under TLS only (RFC 8689 section 2).  ``starttls``: TLS can be had.
    ``auth``: how clients authenticate; None: they cannot.  ``require_tls``: no mail without TLS.  ``lmtp``: speak LMTP.
    ``max_errors``: commands refused by the engine or by this policy, and failed authentications, after which the
    session ends; what the program refuses does not count, nor what is refused for now.
    """

    __match_args__ = (
        "host_name",
        "extensions",
        "starttls",
        "auth",
        "require_tls",
        "lmtp",
        "max_errors",
        "limits",
        "timeouts",
    )
    __slots__ = __match_args__

    host_name: str
    extensions: Extensions
    starttls: bool
    auth: ServerAuth | None
    require_tls: bool
    lmtp: bool
    max_errors: int
    limits: Limits
    timeouts: Timeouts

    def __init__(
        self,
        host_name: str = "localhost",
        *,
        extensions: Mapping[str, str] | Iterable[str] | None = None,
        starttls: bool = False,
        auth: ServerAuth | None = None,
        require_tls: bool = False,
        lmtp: bool = False,
        max_errors: int = MAX_ERRORS,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        offer = Extensions(default_extensions(limits) if extensions is None else extensions)
        for keyword, field in (("STARTTLS", "starttls"), ("AUTH", "auth")):
            if keyword in offer:
                raise LocalProtocolError(f"{keyword} is offered by {field}=, not by extensions=")
        if auth is not None and not isinstance(auth, ServerAuth):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LocalProtocolError(f"auth is a {type(auth).__name__}: it must be a ServerAuth")
        set_field(self, "host_name", own_name(host_name))
        set_field(self, "extensions", offer)
        set_field(self, "starttls", starttls)
        set_field(self, "auth", auth)
        set_field(self, "require_tls", require_tls)
        set_field(self, "lmtp", lmtp)
        set_field(self, "max_errors", max_errors)
        set_field(self, "limits", limits)
        set_field(self, "timeouts", timeouts)
        if max_errors < 1:
            raise LocalProtocolError(f"max_errors is {max_errors}: it must be at least 1, or no session could begin")


class ServiceSession:
    """A service, for one client."""

    service: Service
    connection: ServerConnection
    hello: str
    """What the client calls itself; "" before its EHLO."""
    identity: Identity | None
    """Who has authenticated."""
    errors: int
    """What had to be refused so far."""
    auth_failures: int
    """Attempts to authenticate that were refused."""
    mail: Mail | None
    """The MAIL of the transaction that is under way; None where there is none.  It is there until the end of the
    content was answered."""
    recipients: list[Rcpt]
    """The recipients of the transaction that were accepted, in order.  A new one is another list."""

    def __init__(
        self,
        service: Service,
        *,
        secure: bool = False,
        on_send: Callable[[Command | Reply], object] | None = None,
    ) -> None:
        self.service = service
        self.connection = ServerConnection(
            lmtp=service.lmtp, secure=secure, limits=service.limits, timeouts=service.timeouts, on_send=on_send
        )
        self.hello = ""
        self.identity = None
        self.errors = 0
        self.auth_failures = 0
        self.mail = None
        self.recipients = []

    @property
    def mechanisms(self) -> dict[str, ServerMechanism]:
        """What may be used to authenticate now, by name."""
        connection, auth = self.connection, self.service.auth
        if auth is None or connection.authenticated:
            return {}
        return auth.offered(secure=connection.secure, bindings=connection.channel_bindings)

    @property
    def offer(self) -> tuple[str, ...]:
        """The lines of the EHLO reply behind the first."""
        extensions = self.service.extensions
        if not self.connection.secure:
            extensions = extensions.without("REQUIRETLS")
        lines = extensions.lines()
        if self.service.starttls and not self.connection.secure:
            lines = ("STARTTLS", *lines)  # first: GNU SASL overlooks it in the last line
        if self.mechanisms:
            lines += (f"AUTH {' '.join(self.mechanisms)}",)
        return lines

    def refusal(self, command: Command) -> Reply | None:
        """What policy has against a command; None where it has nothing."""
        service = self.service
        if service.auth is None and not service.require_tls:
            return None
        missing = self.missing(command)
        if missing is not None:
            return missing
        if isinstance(command, Auth) and command.mechanism not in self.mechanisms:
            return _TLS_FOR_AUTH if self._waits_for_tls(command) else _UNKNOWN_MECHANISM
        return None

    def missing(self, command: Command) -> Reply | None:
        """530 where a command has to wait for TLS or for authentication.  RFC 3207 section 4, RFC 4954 section 6."""
        connection, service = self.connection, self.service
        if service.require_tls and not connection.secure and type(command) not in _BEFORE_TLS:
            return Reply(530, "5.7.0 must issue a STARTTLS command first")
        required = service.auth is not None and service.auth.required
        if required and not connection.authenticated and type(command) not in _BEFORE_AUTH:
            return Reply(530, "5.7.0 authentication required")
        return None

    def _waits_for_tls(self, command: Command | None) -> bool:
        auth = self.service.auth
        if auth is None or self.connection.secure or not isinstance(command, Auth):
            return False
        return auth.needs_tls(command.mechanism)

    def default(self, event: CommandReceived | BadCommand) -> Reply:
        """The reply where the program has no wish of its own: it accepts.  RFC 5321 section 4.2.2."""
        if isinstance(event, BadCommand):
            # Where TLS is missing for all mechanisms there is no offer of AUTH, and the engine sees no more than that.
            return _TLS_FOR_AUTH if event.reply.code == 502 and self._waits_for_tls(event.command) else event.reply
        usual = _USUAL.get(type(event.command))
        return self._own_answer(event.command) if usual is None else usual

    def _own_answer(self, command: Command) -> Reply:
        host_name = self.service.host_name
        if isinstance(command, Connect):
            return Reply(220, f"{host_name} {'LMTP' if self.service.lmtp else 'ESMTP'} ready")
        if isinstance(command, Ehlo | Lhlo):
            # What is not ASCII has no place in a reply: RFC 6531 section 3.7.4.2.
            greeting = f"{host_name} greets {command.domain}" if command.domain.isascii() else host_name
            return Reply(250, (greeting, *self.offer))
        if isinstance(command, Helo):
            return Reply(250, host_name)
        if isinstance(command, Help) and "HELP" in self.service.extensions:
            return _HELP
        return _NOT_IMPLEMENTED  # RFC 5321 section 4.1.1.1: what not every server has is there where it is offered

    def complete(self, reply: Reply, command: Command | None) -> Reply:
        """The reply to a command, with the enhanced status code that it lacks, where such codes are offered.

        The greeting and the answer to EHLO have none.  After HELO, and before either, it counts what would be offered:
        RFC 2034 section 4 wants the codes "regardless of whether or not EHLO is employed by the client".
        """
        if reply is _USUAL.get(type(command)):  # type: ignore[arg-type]
            return reply  # as it has one, where it can
        offered = self.connection.extensions if self.connection.extended else self.service.extensions
        if "ENHANCEDSTATUSCODES" not in offered or type(command) in _WITHOUT_STATUS:
            return reply
        return with_status(reply, _USUAL_STATUS.get(type(command)))

    def note(self, event: CommandReceived | BadCommand, reply: Reply) -> None:
        """Keep the facts that a reply has made true."""
        command = event.command
        if not reply.is_positive:
            if isinstance(event, BadCommand) and event.reply.is_permanent:  # a recipient too many is none
                self.errors += 1
        elif isinstance(command, Rcpt):
            self.recipients.append(command)
        elif isinstance(command, Mail):
            self.mail, self.recipients = command, []
        elif isinstance(event, CommandReceived):
            self._note_client(event.command)
        if self.mail is not None and self.connection.state not in TRANSACTION_STATES:
            self.mail, self.recipients = None, []

    def _note_client(self, command: Command) -> None:
        if isinstance(command, Ehlo | Helo | Lhlo):
            self.hello = command.domain
        elif isinstance(command, XClient):
            self.hello, self.identity = "", None

    @property
    def has_erred_too_often(self) -> bool:
        """True where it is time to part."""
        return self.errors >= self.service.max_errors

    def answer(self, question: Question) -> ServerAnswer:
        """The answer to a mechanism's question where the program has none."""
        return None if self.service.auth is None else self.service.auth.answer(question)

    def auth_failed(self, reply: Reply) -> None:
        """Count an attempt that is refused; one that is refused for now does not count."""
        if reply.is_permanent:
            self.errors += 1
            self.auth_failures += 1

    @property
    def has_failed_too_often(self) -> bool:
        """True where no further attempt to authenticate is allowed, and it is time to part."""
        auth = self.service.auth
        return auth is not None and self.auth_failures >= auth.max_failures

    def tls_established(self, bindings: Mapping[str, bytes] = NO_BINDINGS) -> None:
        """As `Connection.tls_established`: what the client has said before is forgotten."""
        self.connection.tls_established()
        self.connection.channel_bindings = bindings
        self.hello = ""
        self.identity = None


_BEFORE_TLS: Final = frozenset({Connect, Ehlo, Lhlo, StartTls, Noop, Quit})
"""RFC 3207 section 4; LHLO is LMTP's EHLO."""
_BEFORE_AUTH: Final = _BEFORE_TLS | {Helo, Auth, Rset, Help}
"""RFC 4954 section 6, and HELP, which has nothing to hide."""
_WITHOUT_STATUS: Final = HELLO_KINDS | {Connect}
"""RFC 2034 section 4."""
_USUAL_STATUS: Final[Mapping[type[Command | None], EnhancedStatus]] = {
    Mail: EnhancedStatus(2, 1, 0),
    Rcpt: EnhancedStatus(2, 1, 5),
}
"""RFC 3463 section 3.2: other address status, destination address valid."""
_TLS_FOR_AUTH: Final = Reply(538, "5.7.11 encryption required for requested authentication mechanism")
_UNKNOWN_MECHANISM: Final = Reply(504, "5.5.4 unrecognised authentication mechanism")
_NOT_IMPLEMENTED: Final = Reply(502, "5.5.1 command not implemented")
_HELP: Final = Reply(214, "2.0.0 see RFC 5321")
_USUAL: Final[Mapping[type[Command], Reply]] = {
    StartTls: Reply(220, "2.0.0 ready to start TLS"),
    Mail: Reply(250, "2.1.0 OK"),
    Rcpt: Reply(250, "2.1.5 OK"),
    Data: Reply(354, "end data with <CR><LF>.<CR><LF>"),
    EndOfData: Reply(250, "2.0.0 OK"),
    Bdat: Reply(250, "2.0.0 OK"),
    Rset: Reply(250, "2.0.0 OK"),
    Noop: Reply(250, "2.0.0 OK"),
    Quit: Reply(221, "2.0.0 bye"),
    Vrfy: Reply(252, "2.5.0 cannot VRFY, but will take a message and try"),
    Expn: _NOT_IMPLEMENTED,
}
"""The replies that are always the same, each with its enhanced status code."""
