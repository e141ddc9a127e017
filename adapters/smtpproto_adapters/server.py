"""What the three servers share: handlers, sessions, and who is asked what.

A `Handler` decides on what it wants to, and leaves the rest to the defaults of the engine, which accept.
"""

from __future__ import annotations

import hmac
import inspect
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final, TypeAlias

from smtpproto import (
    BadCommand,
    Bdat,
    Command,
    CommandReceived,
    Connect,
    ContentReceived,
    Data,
    Ehlo,
    EndOfData,
    Event,
    Helo,
    Identity,
    Lhlo,
    LocalProtocolError,
    Mail,
    Quit,
    Rcpt,
    Reply,
    Rset,
    ServerConnection,
    Service,
    ServiceSession,
    SmtpError,
    Verify,
    flows,
)
from smtpproto.flows import Close, Flow, Send, StartTls

from .channel import Channel, TlsInfo
from .transport import Address, Answer, AsyncWire, Listener, Subject, Wire, named, run, run_async

_FAILED_ON: Final = "the handler failed on %r of %s"
logger: Final = logging.getLogger("smtpproto")

Decision: TypeAlias = Reply | Awaitable[Reply | None] | None
"""What a method of a handler says: a reply, or None for the default; at once, or (asyncio, trio) when it is awaited."""
Verdict: TypeAlias = bool | Reply | Awaitable[bool | Reply]
Credentials: TypeAlias = Mapping[str, str] | Callable[[str], str | None]
"""The password of each user; or what knows it, and returns None for a user that it does not know."""

_MECHANISMS: Final = ("PLAIN", "LOGIN")
_TOO_MANY: Final = Reply(421, "4.3.2 too many connections, try again later")
_HANDLER_FAILED: Final = Reply(451, "4.3.0 internal error, try again later")
_VERIFY_FAILED: Final = Reply(454, "4.7.0 temporary authentication failure")
_GREETING_FAILED: Final = Reply(421, "4.3.0 internal error, try again later")


class ServerSession:
    """One client's session, as far as a handler has to know it."""

    def __init__(self, core: ServiceSession, channel: Channel, peer: Address) -> None:
        self._core = core
        self._channel = channel
        self.peer = peer

    peer: Address
    """Host and port of the client; ``""`` where it came through a unix socket."""

    @property
    def hello(self) -> str:
        """What the client calls itself; "" before it has said so."""
        return self._core.hello

    @property
    def identity(self) -> Identity | None:
        """Who has authenticated; None: nobody."""
        return self._core.identity

    @property
    def tls(self) -> TlsInfo | None:
        """Version, cipher, and the client's certificate; None without TLS."""
        return self._channel.tls

    @property
    def connection(self) -> ServerConnection:
        """The engine's side of it.  It is for looking at: what is sent with it does not get to the client."""
        return self._core.connection

    def __repr__(self) -> str:
        return f"<ServerSession with {named(self.peer)}>"


class Handler:
    """What a server's program decides.  Each method returns a `Reply`, or None for the default, which accepts.

    In asyncio and trio they may be ``async``.  An exception is logged, and the client told to try again later (451);
    the server lives on.  One handler serves all sessions; with blocking sockets it is called from many threads.
    """

    credentials: Credentials | None = None
    """Who may authenticate, for the default of `verify`."""

    def __init__(self, *, credentials: Credentials | None = None) -> None:
        if credentials is not None:
            self.credentials = credentials

    def greeting(self, session: ServerSession) -> Decision:
        """A client has connected.  RFC 5321 section 3.1."""
        return None

    def hello(self, session: ServerSession, command: Ehlo | Helo | Lhlo) -> Decision:
        """It says who it is.  A transaction that was under way is over.  RFC 5321 section 4.1.1.1."""
        return None

    def verify(self, session: ServerSession, question: Verify) -> Verdict:
        """Is this the password?  True, False, or a `Reply` that refuses for another reason.  RFC 4954 section 4."""
        return self._knows(question)

    def mail(self, session: ServerSession, command: Mail) -> Decision:
        """A transaction begins.  RFC 5321 section 4.1.1.2."""
        return None

    def rcpt(self, session: ServerSession, command: Rcpt) -> Decision:
        """One more recipient.  RFC 5321 section 4.1.1.3."""
        return None

    def data(self, session: ServerSession) -> Decision:
        """The content is about to come; a 4yz or 5yz reply declines it.  RFC 5321 section 4.1.1.4."""
        return None

    def content(self, session: ServerSession, data: bytes) -> Decision:
        """A piece of it, unstuffed; where it is cut means nothing.  A reply refuses the whole of it, at its end.

        The default accepts it and keeps nothing: whoever takes real mail has to keep it here, and to answer for it in
        `end_of_data`.
        """
        return None

    def chunk(self, session: ServerSession, command: Bdat) -> Decision:
        """The octets of a BDAT are in; they came to `content`.  RFC 3030 section 2.

        The default asks `end_of_data` where it was the last one.
        """
        return self.end_of_data(session) if command.last else None

    def end_of_data(self, session: ServerSession) -> Decision:
        """The content is complete; a positive reply takes over the responsibility for it.  RFC 5321 section 6.1."""
        return None

    def reset(self, session: ServerSession) -> Decision:
        """The transaction is given up.  RFC 5321 section 4.1.1.5."""
        return None

    def quit(self, session: ServerSession) -> Decision:
        """The client leaves.  RFC 5321 section 4.1.1.10."""
        return None

    def command(self, session: ServerSession, command: Command) -> Decision:
        """Any other command: NOOP, VRFY, EXPN, HELP, ETRN, STARTTLS, one that the engine does not know …"""
        return None

    def bad_command(self, session: ServerSession, event: BadCommand) -> Decision:
        """A line that has to be refused; the default is ``event.reply``."""
        return None

    def _knows(self, question: Verify) -> bool:
        known = self.credentials
        if known is None:
            return False
        password = known(question.username) if callable(known) else known.get(question.username)
        # What takes the same time for a user that there is not.
        same = hmac.compare_digest((password or "").encode(), question.password.encode())
        own = question.authorization_id in ("", question.username)
        return password is not None and same and own


_METHODS: Final = tuple(name for name, each in vars(Handler).items() if inspect.isfunction(each) and name[0] != "_")


class Turn:
    """One session under way: its flow, for a wire, and who answers what it asks."""

    def __init__(self, core: ServerCore, peer: Address, clock: Callable[[], float]) -> None:
        self._handler = core.handler
        inner = ServiceSession(core.service, secure=core.implicit_tls)
        channel = Channel(core.context, peer=named(peer), clock=clock, server_side=True)
        self.session = ServerSession(inner, channel, peer)
        self._on_event = core.on_event
        watch = flows.ignore if core.on_event is None else self._watch
        self.flow = channel.carry(_serving(inner, implicit_tls=core.implicit_tls, watch=watch))

    def _watch(self, event: Event) -> None:
        assert self._on_event is not None
        self._on_event(self.session, event)

    def ask(self, subject: Subject) -> Answer:
        """The handler's answer."""
        try:
            answer = _asked(self._handler, self.session, subject)
            if inspect.iscoroutine(answer):
                answer.close()
            return _checked(subject, answer)
        except Exception:
            logger.exception(_FAILED_ON, subject, named(self.session.peer))
            return _failure(subject)

    async def ask_async(self, subject: Subject) -> Answer:
        """The handler's answer, awaited where it has to be."""
        try:
            answer = _asked(self._handler, self.session, subject)
            if inspect.isawaitable(answer):
                answer = await answer
            return _checked(subject, answer)
        except Exception:
            logger.exception(_FAILED_ON, subject, named(self.session.peer))
            return _failure(subject)


def _serving(session: ServiceSession, *, implicit_tls: bool, watch: flows.Watcher) -> Flow[None]:
    if implicit_tls:
        try:
            yield StartTls(None, session.service.timeouts.tls)
        except SmtpError:
            yield Close()
            return
    yield from flows.serve(session, watch)


def _asked(handler: Handler, session: ServerSession, subject: Subject) -> Any:
    match subject:
        case CommandReceived(command):
            return _asked_about(handler, session, command)
        case ContentReceived(data):
            return handler.content(session, data)
        case BadCommand():
            return handler.bad_command(session, subject)
        case Verify():
            return handler.verify(session, subject)
        case _:
            raise TypeError(f"{subject!r} is nothing that a handler is asked about")


def _asked_about(handler: Handler, session: ServerSession, command: Command) -> Decision:
    match command:
        case Connect():
            return handler.greeting(session)
        case Ehlo() | Helo() | Lhlo():
            return handler.hello(session, command)
        case Mail():
            return handler.mail(session, command)
        case Rcpt():
            return handler.rcpt(session, command)
        case Data():
            return handler.data(session)
        case EndOfData():
            return handler.end_of_data(session)
        case Bdat():
            return handler.chunk(session, command)
        case Rset():
            return handler.reset(session)
        case Quit():
            return handler.quit(session)
        case _:
            return handler.command(session, command)


def _checked(subject: Subject, answer: object) -> Answer:
    if isinstance(answer, Reply):
        return answer
    if isinstance(subject, Verify):
        if isinstance(answer, bool):
            return answer
        raise TypeError(f"verify() returned {answer!r}: it must be True, False or a Reply")
    if answer is not None:
        hint = "; async methods are for asyncio and trio" if inspect.iscoroutine(answer) else ""
        raise TypeError(f"a handler returned {answer!r}: it must be a Reply, or None for the default{hint}")
    return None


def _failure(subject: Subject) -> Reply:
    """What the client is told where the handler failed."""
    if isinstance(subject, Verify):
        return _VERIFY_FAILED
    greeting = isinstance(subject, CommandReceived) and isinstance(subject.command, Connect)
    return _GREETING_FAILED if greeting else _HANDLER_FAILED


class ServerCore:
    """A server, which runs for the time of its ``with`` or ``async with`` block.

    ``host``, ``port``: where to listen; port 0 is any free one.  ``path``: at a unix socket instead.
    ``service``: what is offered; None offers STARTTLS where there is a ``context``, and authentication where the
    handler has credentials.
    ``context``: certificate and key, as `ssl.SSLContext` has them.
    ``implicit_tls``: TLS comes before the greeting (RFC 8314 section 3.3).
    ``max_connections``: a client beyond them is told to try again later.
    ``on_event``: sees every event, with its `ServerSession`.
    ``grace``: seconds that the sessions get at the end; they hear 421.

    Raises `LocalProtocolError` for what does not fit together; and OSError, on entering, where it cannot listen.
    """

    _may_await: ClassVar[bool] = True

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        service: Service | None = None,
        context: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        max_connections: int = 100,
        on_event: Callable[[ServerSession, Event], object] | None = None,
        grace: float = 5.0,
    ) -> None:
        if service is None:
            mechanisms = _MECHANISMS if handler.credentials is not None else ()
            service = Service(starttls=context is not None and not implicit_tls, mechanisms=mechanisms)
        self.handler = handler
        self.service = service
        self.context = context
        self.implicit_tls = implicit_tls
        self.max_connections = max_connections
        self.on_event = on_event
        self.grace = grace
        self.path = path
        self.host, self.port = ("", 0) if path is not None else (host, port)
        self._check()

    host: str
    """Where it listens: the address, once it does; empty for a unix socket."""
    port: int
    """The same; 0 for a unix socket."""
    path: str | None

    def _listen(self) -> Listener:
        listener = Listener(self.host, self.port, self.path)
        self.host, self.port = listener.host, listener.port
        return listener

    def _check(self) -> None:
        needs_context = self.implicit_tls or self.service.starttls
        if needs_context and self.context is None:
            raise LocalProtocolError("TLS needs a context with a certificate: give context=")
        if not needs_context and self.context is not None:
            raise LocalProtocolError("a context without TLS: give Service(starttls=True) or implicit_tls=True as well")
        if self.max_connections < 1:
            raise LocalProtocolError(f"max_connections is {self.max_connections}: it must be 1 or more")
        if self.service.mechanisms and self._cannot_verify:
            raise LocalProtocolError(
                "the service offers authentication, but the handler has neither credentials= nor a verify() of its own"
            )
        if not self._may_await:
            for name in _METHODS:
                method = getattr(self.handler, name)
                if inspect.iscoroutinefunction(method):
                    raise LocalProtocolError(
                        f"{method.__qualname__} is async: use the server of asyncio or trio for it"
                    )

    @property
    def _cannot_verify(self) -> bool:
        return self.handler.credentials is None and type(self.handler).verify is Handler.verify

    def _turned_away(self) -> Flow[None]:
        """What a client gets that is one too many; without a wait, so that it can be said between two others."""
        if not self.implicit_tls:
            with suppress(OSError):
                yield Send(bytes(_TOO_MANY), 0.5)
        yield Close()

    def _converse(self, wire: Wire, peer: Address, clock: Callable[[], float]) -> None:
        """Serve one client.  Nothing but an interrupt can come out of it."""
        turn = Turn(self, peer, clock)
        try:
            run(wire, turn.flow, turn.ask)
        except Exception:
            logger.exception("the session with %s broke", named(peer))

    async def _converse_async(self, wire: AsyncWire, peer: Address, clock: Callable[[], float]) -> None:
        """The same; nor can anything but a cancellation."""
        turn = Turn(self, peer, clock)
        try:
            await run_async(wire, turn.flow, turn.ask_async)
        except Exception:
            logger.exception("the session with %s broke", named(peer))
