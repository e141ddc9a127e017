"""What the three Clients share: all but the waiting.

`ClientCore` holds the options and the facts, and makes the flows.  `AsyncClient` runs them for asyncio and trio;
``blocking.py`` has the same methods without ``await``.
"""

from __future__ import annotations

import math
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeAlias, TypeVar

from smtpproto import (
    ClientConnection,
    ClientMechanism,
    Command,
    Connected,
    ConnectFailed,
    ConnectOptions,
    Connector,
    Credentials,
    DeliveryResult,
    Envelope,
    ErrorCode,
    Event,
    Expn,
    Extensions,
    Help,
    LocalProtocolError,
    Mail,
    Mailbox,
    Noop,
    Rcpt,
    RemoteProtocolError,
    Reply,
    Rset,
    SmtpError,
    State,
    TransportError,
    Vrfy,
    flows,
)
from smtpproto.flows import Flow, Progress

from .channel import Channel, TlsInfo
from .deliveries import AsyncDeliveries, Next, is_at_hand
from .sources import Content, content_of
from .transport import AsyncWire, run_async

if TYPE_CHECKING:
    from .message import Encoder, Part

T = TypeVar("T")
Token: TypeAlias = str | Callable[[], str]
Mechanisms: TypeAlias = Sequence[str | ClientMechanism]
Sender: TypeAlias = str | Mailbox | Mail
Recipients: TypeAlias = str | Mailbox | Rcpt | Iterable[str | Mailbox | Rcpt]
Messages: TypeAlias = Iterable[tuple[Envelope, Content]]
AsyncMessages: TypeAlias = AsyncIterable[tuple[Envelope, Content]]


class HasState(Protocol):
    """What every wire has, with ``await`` or without."""

    @property
    def is_open(self) -> bool: ...


StreamT = TypeVar("StreamT")
WireT = TypeVar("WireT", bound=HasState)


class ClientCore(ABC, Generic[StreamT, WireT]):
    """A client; a context manager, which connects and disconnects.

    ``options``: `ConnectOptions`, or a URL, or None; ``fields`` are further fields of `ConnectOptions`.
    ``context``: None is one that verifies the certificate and the host name.
    ``on_event``: sees every event; ``on_send``: every command.
    ``stream``: a socket (a stream, with trio) that is connected already, for the first connection.
    ``grace``: seconds that are left for a farewell where a conversation, or the ``with`` block, is broken off: by ^C, a
    cancellation, an error of the program's own.  What is outstanding is heard, and QUIT is said where it cannot be
    taken for anything else.  With 0 the connection is closed at once.

    It holds one connection at a time, and one conversation at a time goes on over it.  Once closed it can connect
    again.  Raises `ConnectFailed` (INVALID_ARGUMENT) for a URL that is none, and `LocalProtocolError` for a ``grace``
    that is negative or endless.
    """

    def __init__(
        self,
        options: ConnectOptions | str | None = None,
        *,
        context: ssl.SSLContext | None = None,
        on_event: Callable[[Event], object] | None = None,
        on_send: Callable[[Command | Reply], object] | None = None,
        stream: StreamT | None = None,
        grace: float = 0.0,
        **fields: Any,
    ) -> None:
        if isinstance(options, str):
            self.options = ConnectOptions.from_url(options, **fields)
        elif options is None:
            self.options = ConnectOptions(**fields)
        else:
            self.options = options.replace(**fields) if fields else options
        self._context = context
        self._watch = on_event if on_event is not None else flows.ignore
        self._on_send = on_send
        if not 0 <= grace < math.inf:
            raise LocalProtocolError(f"grace is {grace}: it must be seconds, from 0 on, and not for ever")
        self.grace = grace
        self._wire = self._new_wire(stream)
        self._busy = threading.Lock()
        self._channel: Channel | None = None
        self._connector: Connector | None = None
        self._failure: ConnectFailed | None = None

    @abstractmethod
    def _new_wire(self, stream: StreamT | None) -> WireT:
        """What it will dial with."""

    @abstractmethod
    def _now(self) -> float:
        """Seconds on the clock of the backend."""

    options: ConnectOptions
    grace: float

    def __repr__(self) -> str:
        where = self._channel.peer if self._channel is not None else self.options.host or self.options.path
        return f"<{type(self).__module__}.Client of {where}, {'' if self.is_connected else 'not '}connected>"

    # What is known -------------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """True from `Connected` on, until the session ends or breaks."""
        connector = self._connector
        if connector is None or connector.connected is None or not self._wire.is_open:
            return False
        return connector.connection.state not in (State.CLOSED, State.ERROR)

    @property
    def connection(self) -> ClientConnection | None:
        """The engine's side of the session, or of the last one; None before the first."""
        return None if self._connector is None else self._connector.connection

    @property
    def extensions(self) -> Extensions:
        """What the server offers now; empty where it is not extended."""
        return Extensions() if self._connector is None else self._connector.connection.extensions

    @property
    def extended(self) -> bool:
        """True where the server speaks ESMTP, or LMTP: EHLO or LHLO was accepted."""
        return self._connector is not None and self._connector.connection.extended

    @property
    def tls(self) -> TlsInfo | None:
        """Version, cipher and certificate; None without TLS."""
        return None if self._channel is None else self._channel.tls

    @property
    def last_reply(self) -> Reply | None:
        """What the server said last."""
        return None if self._connector is None else self._connector.connection.last_reply

    @property
    def failure(self) -> ConnectFailed | None:
        """Why connecting failed the last time; None where it did not."""
        return self._failure

    @property
    def leaving(self) -> bool:
        """True from when a session was broken off, and `grace` left it time for a farewell, until the next one."""
        return self._channel is not None and self._channel.ending

    # Flows ---------------------------------------------------------------------------------------------------------

    def _connecting(self) -> Flow[Connected]:
        if self.is_connected:
            raise LocalProtocolError("connected already: disconnect() comes before another connect()")
        self._failure = self._connector = self._channel = None
        try:
            self._connector = Connector(self.options, on_send=self._on_send)
            self._channel = Channel(self._context, peer="the server", clock=self._now)
            return (yield from self._channel.carry(flows.connect(self._connector, self._watch)))
        except ConnectFailed as failure:
            self._failure = failure
            raise
        except Exception:
            self._connector = None  # the program's own failure, in a callback: nobody was told of a connection
            raise

    def _conversing(self, make: Callable[[ClientConnection], Flow[T]]) -> Flow[T]:
        if self._connector is None or self._channel is None or not self.is_connected:
            raise LocalProtocolError("not connected: connect() comes first")
        return (yield from self._channel.carry(make(self._connector.connection)))

    def _commanding(self, command: Command) -> Flow[Reply]:
        return self._conversing(lambda connection: flows.command(connection, command, self._watch))

    def _resetting(self) -> Flow[Reply]:
        return self._commanding(Rset())

    def _doing_nothing(self) -> Flow[Reply]:
        return self._commanding(Noop())

    def _verifying(self, text: str) -> Flow[Reply]:
        return self._commanding(Vrfy(text))

    def _expanding(self, text: str) -> Flow[Reply]:
        return self._commanding(Expn(text))

    def _helping(self, topic: str) -> Flow[Reply]:
        return self._commanding(Help(topic))

    def _authenticating(
        self,
        username: str | None,
        password: str | None,
        token: Token | None,
        mechanisms: Mechanisms | None,
        authorization_id: str,
    ) -> Flow[Reply]:
        credentials = self._credentials(username, password, token, authorization_id)

        def make(connection: ClientConnection) -> Flow[Reply]:
            assert self._connector is not None
            return flows.authenticate(connection, self._connector.authenticator(credentials, mechanisms), self._watch)

        return self._conversing(make)

    def _credentials(
        self, username: str | None, password: str | None, token: Token | None, authorization_id: str
    ) -> Credentials | None:
        """What was given, and from the options what was not; but never the secret of one user for another."""
        options = self.options
        if username is None:
            username = options.username
        if password is None and token is None and username == options.username:
            password, token = options.password, options.token
        authorization_id = authorization_id or options.authorization_id
        if username is None and token is None and not authorization_id:
            return None
        return Credentials(username or "", password, authorization_id=authorization_id, token=token)

    def _delivering(
        self, envelope: Envelope, content: Content, chunking: bool | None, on_progress: Progress | None
    ) -> Flow[DeliveryResult]:
        opened = content_of(content)
        return self._conversing(
            lambda connection: flows.deliver(
                connection, envelope, opened, self._watch, chunking=chunking, on_progress=on_progress
            )
        )

    def _delivering_message(
        self,
        message: Part,
        sender: Sender | None,
        recipients: Recipients | None,
        encode_domain: Encoder | None,
        chunking: bool | None,
        on_progress: Progress | None,
        parameters: dict[str, Any],
    ) -> Flow[DeliveryResult]:
        from .message import prepare  # the email package takes longer to import than all of ours

        envelope, content = prepare(
            message,
            self.extensions,
            sender=sender,
            recipients=recipients,
            encode_domain=encode_domain,
            **parameters,
        )
        return self._delivering(envelope, content, chunking, on_progress)

    def _delivering_many(self, messages: Messages | AsyncMessages, chunking: bool | None) -> Next:
        """What makes the flow of the next result."""
        connector, channel = self._connector, self._channel
        if connector is None or channel is None or not self.is_connected:
            raise LocalProtocolError("not connected: connect() comes first")
        deliveries = flows.Deliveries(
            connector.connection,
            iter(messages) if isinstance(messages, Iterable) else aiter(messages),
            self._watch,
            open_content=content_of,
            at_hand=is_at_hand(messages),
            chunking=chunking,
        )
        return lambda: channel.carry(deliveries.next_result())

    def _disconnecting(self) -> Flow[None]:
        if self._connector is not None and self._channel is not None and self.is_connected:
            yield from self._channel.carry(flows.quit(self._connector.connection, self._watch))

    def _leaving(self) -> Flow[None]:
        if self._connector is not None and self._channel is not None and self._channel.can_write:
            self._channel.end_within(self.grace)
            yield from self._channel.carry(flows.leave(self._connector.connection, self._watch))

    # Keeping order -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """One conversation at a time, until `_busy` is released: replies to one would be taken for those to another."""
        if not self._busy.acquire(blocking=False):
            raise LocalProtocolError(
                "this client is in the middle of another conversation: wait for it, or use a client for each"
            )

    def _survives(self, error: BaseException) -> bool:
        """True where the session goes on as if nothing had happened: nothing was sent, or all of it was answered."""
        if not isinstance(error, Exception) or isinstance(error, TransportError | RemoteProtocolError):
            return False
        connection = self.connection
        if connection is None or not self.is_connected:
            return False
        return not connection.outstanding and connection.objection(Noop()) is None

    def _may_leave(self, error: BaseException | None) -> bool:
        """True where there is time for a farewell after that; a coroutine that is being closed can wait for nothing."""
        return self.grace > 0 and not self.leaving and not isinstance(error, SmtpError | GeneratorExit)


class AsyncClient(ClientCore[StreamT, AsyncWire]):
    __doc__ = ClientCore.__doc__

    async def abort(self) -> None:
        """Close the connection at once, without a word; also while another task waits in it."""
        await self._wire.abort()

    async def _run(self, flow: Flow[T]) -> T:
        self._begin()
        try:
            return await run_async(self._wire, flow)
        except BaseException as error:
            if not self._survives(error):
                await self._part(error)
            raise
        finally:
            self._busy.release()

    async def _part(self, error: BaseException) -> None:
        """Close the connection after what has broken it off, with a farewell where there is time."""
        try:
            if self._may_leave(error):
                with suppress(Exception):  # the program's own, of on_event say: it is the first error that counts
                    await self._shielded(run_async(self._wire, self._leaving()))
        finally:
            await self.abort()

    async def _shielded(self, work: Awaitable[object]) -> None:
        """Await it, although this task is cancelled already."""
        await work

    async def connect(self) -> Connected:
        """Connect as the options say.  Raises `ConnectFailed`, with nothing left open."""
        return await self._run(self._connecting())

    async def connect_ex(self) -> ErrorCode:
        """As `connect`, but returns how it ended; `failure` has the details."""
        try:
            await self.connect()
        except ConnectFailed as failure:
            return failure.code
        return ErrorCode.SUCCESS

    async def authenticate(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        token: Token | None = None,
        mechanisms: Mechanisms | None = None,
        authorization_id: str = "",
    ) -> Reply:
        """Authenticate, with what is in the options where nothing else is given.  Raises `AuthenticationFailed`."""
        return await self._run(self._authenticating(username, password, token, mechanisms, authorization_id))

    async def command(self, command: Command) -> Reply:
        """Send one command; its reply, also where that is a refusal.

        Raises `LocalProtocolError` where it may not be sent now (nothing has changed then), `RemoteProtocolError` and
        `TransportError`, which end the connection.
        """
        return await self._run(self._commanding(command))

    async def noop(self) -> Reply:
        """NOOP.  RFC 5321 section 4.1.1.9."""
        return await self._run(self._doing_nothing())

    async def reset(self) -> Reply:
        """RSET.  RFC 5321 section 4.1.1.5."""
        return await self._run(self._resetting())

    async def verify(self, text: str) -> Reply:
        """VRFY: is this a user, or a mailbox?  RFC 5321 section 4.1.1.6."""
        return await self._run(self._verifying(text))

    async def expand(self, text: str) -> Reply:
        """EXPN: who is on this list?  RFC 5321 section 4.1.1.7."""
        return await self._run(self._expanding(text))

    async def help(self, topic: str = "") -> Reply:
        """HELP.  RFC 5321 section 4.1.1.8."""
        return await self._run(self._helping(topic))

    async def deliver(
        self,
        envelope: Envelope,
        content: Content,
        *,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
    ) -> DeliveryResult:
        """Send one message, in as few round trips as the server allows; what became of it for each recipient.

        ``content``: bytes, a file open for reading octets, or an iterable of bytes, asynchronous or not.  Its line ends
        become CRLF.  ``chunking``: with BDAT (True), DATA (False), or BDAT where it saves a round trip (None).
        ``on_progress``: is called with the octets sent so far, and how many there are, None where nobody knows.

        A refusal is a result, not an exception; so is a connection that breaks (see `DeliveryResult.error`).  Raises
        `LocalProtocolError` where the message cannot be sent over this connection, such as one that is larger than the
        server takes; and what reading the content raises.  It is not sent then.
        """
        return await self._run(self._delivering(envelope, content, chunking, on_progress))

    async def sendmail(
        self,
        sender: Sender,
        recipients: Recipients,
        content: Content,
        *,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
        **parameters: Any,
    ) -> DeliveryResult:
        """As `deliver`, for an `Envelope` of these; further arguments are parameters of MAIL."""
        envelope = Envelope(sender, recipients, **parameters)
        return await self._run(self._delivering(envelope, content, chunking, on_progress))

    async def send_message(
        self,
        message: Part,
        sender: Sender | None = None,
        recipients: Recipients | None = None,
        *,
        encode_domain: Encoder | None = None,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
        **parameters: Any,
    ) -> DeliveryResult:
        """As `deliver`, for an ``email.message.EmailMessage``: by its header, unless told otherwise, and without Bcc.

        What the server does not take is encoded; see `smtpproto_adapters.message.prepare`.
        """
        return await self._run(
            self._delivering_message(message, sender, recipients, encode_domain, chunking, on_progress, parameters)
        )

    def send_many(self, messages: Messages | AsyncMessages, *, chunking: bool | None = None) -> AsyncDeliveries:
        """Send many messages, overlapped; the results come from an ``async for``, in the order of the messages.

        ``messages``: an iterable, asynchronous or not, of pairs of an `Envelope` and its content (see `deliver`).
        Every message gets a result; one that cannot be sent over this connection, or whose content cannot be read, has
        the reason in `DeliveryResult.error`, and so have all behind the one at which the connection broke.
        """
        return AsyncDeliveries(self._run, self._delivering_many(messages, chunking))

    async def disconnect(self) -> None:
        """QUIT, and close; a server that has gone already is no error, nor is a client that was not connected."""
        await self._run(self._disconnecting())

    async def __aenter__(self) -> Self:
        if not self.is_connected:
            await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.disconnect()
            elif self._may_leave(error):
                with suppress(Exception):
                    await self._shielded(self._run(self._leaving()))
        finally:
            await self.abort()
