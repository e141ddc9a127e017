"""Connect: the handshake, as a pure machine.

A `Connector` has the shape of a `Connection` and passes its events through, while it answers them with the commands of
the handshake:

    greeting -> EHLO (or HELO) -> STARTTLS -> EHLO again -> authentication -> `Connected`

An event always comes out before what it leads to.  A refusal is seen as the reply that it is, and only the next call of
``next_event()`` raises `ConnectFailed`; the command that answers an event is sent (and ``on_send`` sees it) by the next
call of ``data_to_send()`` or ``next_event()``, whichever is first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .addresses import AddressLiteral
from .authenticate import Authenticator
from .client import ClientConnection
from .commands import Command, Ehlo, Helo, Lhlo, Quit, StartTls, own_name
from .errors import ErrorCode, LocalProtocolError, RemoteProtocolError
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
from .options import ConnectOptions, Security, Target, invalid_argument
from .replies import Reply
from .sasl import ClientMechanism, Credentials, usable
from .values import set_field


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
        """Raises `ConnectFailed` (INVALID_ARGUMENT) as `ConnectOptions.resolve`, and for an unfit ``client_name``."""
        self.options = options
        self.target = options.resolve()
        self.client_name = options.client_name if options.client_name is not None else str(client_name)
        try:
            own_name(self.client_name)
        except LocalProtocolError as error:
            raise invalid_argument(str(error)) from None
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
        self._authenticator: Authenticator | None = None
        # What the last event has led to: one of these, or nothing but to wait.
        self._command: Command | None = None
        self._due: Event | None = None
        self._failure: ConnectFailed | RemoteProtocolError | None = None
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
        self._send_command()
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
        self._send_command()
        if self._failure is not None:
            raise self._failure
        got = self.connection.next_event() if self._due is None else self._due
        if not isinstance(got, Pause):
            self._due = None
            try:
                self._react(got)
            except ConnectFailed as failure:
                self._failure = failure
            except LocalProtocolError as error:
                # The program's own mechanism, or the token that it gave just now.
                self._failure = self._failed(str(error), ErrorCode.INVALID_ARGUMENT)
        return got

    def authenticator(
        self, credentials: Credentials | None, mechanisms: Sequence[str | ClientMechanism] | None = None
    ) -> Authenticator:
        """An authentication as the options want it; ``mechanisms``: others than theirs.

        Raises `AuthenticationFailed` where no mechanism can be used, and `LocalProtocolError`.
        """
        options = self.options
        return Authenticator(
            self.connection,
            credentials,
            mechanisms=options.mechanisms if mechanisms is None else mechanisms,
            allow_plaintext=options.allow_plaintext_auth,
            wants_tls=self.target.wants_starttls,
            initial_response=options.initial_response,
        )

    @property
    def problem(self) -> AuthenticationFailed | None:
        """As `Authenticator.problem`."""
        return None if self._authenticator is None else self._authenticator.problem

    def farewell(self) -> bytes:
        """QUIT, where it may be sent now; what to write before closing a handshake that failed."""
        if self.connection.objection(Quit()) is not None:
            return b""
        try:
            return self.connection.send(Quit())
        except RemoteProtocolError:
            return b""  # it has said more than it was asked for

    # What each event leads to --------------------------------------------------------------------------------------

    def _react(self, event: Event) -> None:
        match event:
            case ConnectionClosed():
                raise self._failed(
                    "the server closed the connection", ErrorCode.CLOSED_BY_PEER, _refusal(event.last_reply)
                )
            case ServiceClosing(_, reply):
                raise self._failed("the server is closing the connection", ErrorCode.SERVICE_NOT_AVAILABLE, reply)
            case Greeting(_, reply):
                self._greeting = event
                if not event.accepted:
                    raise self._failed("the server does not serve", ErrorCode.SERVICE_NOT_AVAILABLE, reply)
                self._say_hello()
            case EhloReply(_, reply) | HeloReply(_, reply):
                if reply.is_positive:
                    self._after_hello(event)
                else:
                    self._hello_refused(event, reply)
            case StartTlsReady():
                self.stage = Stage.TLS
            case ReplyReceived(StartTls(), reply):
                if self.target.security is Security.REQUIRED:
                    raise self._failed("the server refuses STARTTLS", ErrorCode.STARTTLS_REFUSED, reply)
                self._ready(self._hello_event)
            case AuthNeeded():
                self._authentication_due()
            case AuthChallenge() | AuthSucceeded() | AuthFailed():
                self._authenticating(event)
            case _:
                assert isinstance(event, Connected)
                self.connected = event
                self._due = event  # it comes again

    def _say_hello(self) -> None:
        self.stage = Stage.HELLO
        if self.target.lmtp:
            self._command = Lhlo(self.client_name)
        else:
            self._command = Ehlo(self.client_name) if self.target.extended else Helo(self.client_name)

    def _hello_refused(self, event: ReplyReceived, reply: Reply) -> None:
        """RFC 5321 section 4.1.1.1: HELO where EHLO is not known; never where something needs EHLO."""
        if isinstance(event, HeloReply) or self.target.lmtp or not reply.is_permanent:
            raise self._failed("the server refuses the hello", ErrorCode.HELLO_REFUSED, reply)
        if self.target.security is Security.REQUIRED and not self.connection.secure:
            raise self._failed(
                "the server refuses EHLO, so that it cannot offer the STARTTLS that is required",
                ErrorCode.EXTENDED_NOT_SUPPORTED,
                reply,
            )
        if self.options.authenticate:
            raise self._failed(
                "the server refuses EHLO, which authentication needs", ErrorCode.EXTENDED_NOT_SUPPORTED, reply
            )
        self._command = Helo(self.client_name)

    def _after_hello(self, event: ReplyReceived) -> None:
        if not self.target.wants_starttls or self.connection.secure:
            self._ready(event)
        elif "STARTTLS" in self.connection.extensions:
            self.stage = Stage.STARTTLS
            self._hello_event = event
            self._command = StartTls()
        elif self.target.security is Security.REQUIRED:
            masked = self.connection.extensions.starttls_masked
            hint = " (something between us and it has overwritten the offer)" if masked else ""
            raise self._failed(
                f"the server does not offer STARTTLS, which is required{hint}", ErrorCode.STARTTLS_NOT_OFFERED
            )
        else:
            self._ready(event)

    _hello_event: ReplyReceived
    """The answer to the EHLO before STARTTLS."""

    def _ready(self, hello: ReplyReceived) -> None:
        """All but authentication is done; ``hello`` is what the server said last about itself."""
        given = self.options.has_credentials
        if self.connection.extended and (given or self.target.is_submission):
            why = AuthReason.CREDENTIALS_GIVEN if given else AuthReason.SUBMISSION
            offered = self.connection.extensions.auth
            self._due = AuthNeeded(hello.command, hello.reply, offered, why, self._usable(offered))
        else:
            self._finish()

    def _usable(self, offered: tuple[str, ...]) -> tuple[str, ...]:
        """What could be tried, best first; whatever mechanism is known here where the credentials are yet to come."""
        if self.options.lacks_secret:
            return usable(offered, secure=self.connection.secure)
        try:
            return self.authenticator(self.options.credentials).usable
        except (AuthenticationFailed, LocalProtocolError):
            return ()

    def _authentication_due(self) -> None:
        if not self.options.authenticate:
            self._finish()
            return
        self.stage = Stage.AUTHENTICATION
        self._authenticator = self.authenticator(self.options.credentials)
        self._command = self._authenticator.start()

    def _authenticating(self, event: Event) -> None:
        assert self._authenticator is not None
        self._command = self._authenticator.respond(event)
        if self._command is None:
            self._finish()

    def _finish(self) -> None:
        assert self._greeting is not None
        connection = self.connection
        self._due = Connected(connection.extensions, connection.extended, connection.secure, self._greeting)

    def _send_command(self) -> None:
        command, self._command = self._command, None
        if command is None:
            return
        try:
            # A server may say at any time that it leaves, also in one packet with the reply before.
            unasked = self.connection.next_event()
            if isinstance(unasked, Pause):
                self._out.append(self.connection.send(command))
            else:
                self._due = unasked
        except RemoteProtocolError as error:
            self._failure = error

    def _failed(self, message: str, code: ErrorCode, reply: Reply | None = None) -> ConnectFailed:
        if self.problem is not None:
            return self.problem  # a server that it was told to cannot make it another
        if self.stage is Stage.AUTHENTICATION:
            return AuthenticationFailed(message, code, reply)
        return ConnectFailed(message, code, self.stage, reply)


def _refusal(reply: Reply | None) -> Reply | None:
    """What may be the reason why the server has gone."""
    return None if reply is None or reply.is_positive or reply.is_intermediate else reply
