"""A server's sessions as the command line shows them: by number, in order, without secrets.

An `Onlooker` is what watches the server, from its many threads; it hands everything on to a `ServerView`, one thing at
a time.  Where that cannot write any more, it is told so once, and the sessions go on undisturbed.

Secrets.  `Auth` and `AuthResponse` mask themselves, and challenges are masked here.  What cannot be read as a command,
or is one that nobody knows, may be a piece of an authentication that went wrong: right behind one, such lines are not
shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from smtpproto import (
    Auth,
    AuthResponse,
    BadCommand,
    Bdat,
    Command,
    CommandReceived,
    ConnectionClosed,
    ContentReceived,
    EarlyTalker,
    Event,
    Reply,
    UnknownCommand,
)
from smtpproto.sasl import Question
from smtpproto_adapters.cli.trace import REDACTED, Secrets, Tls, binding_of
from smtpproto_adapters.handler import ServerSession
from smtpproto_adapters.transport import Address

from .arrivals import Arrival

SHOWN: Final = 200
"""Octets of a line that makes no sense; characters of a name that a client gives."""


class Offer(NamedTuple):
    """What a server offers."""

    protocol: str
    tls: str
    mechanisms: tuple[str, ...]
    """Under TLS, where there is TLS."""
    auth_required: bool


class Login(NamedTuple):
    """An attempt of a client's to authenticate that has come to its end."""

    succeeded: bool
    mechanism: str
    username: str | None = None
    """Who it is; or, where that failed, who the client says it is, if it has come to that."""
    authorization_id: str | None = None
    """Whom the client acts as, or wanted to; None: the user."""
    trace: str | None = None
    """What somebody says who is anonymous."""
    channel_binding: str | None = None
    """The name of what ties it to the TLS channel, where the mechanism does that."""


class ServerView:
    """How a server is shown; what a subclass does not define is not."""

    def listening(self, url: str, offer: Offer, ca: str | None) -> None:
        """Where it listens, what it offers, and the certificates to trust, if they are of our making."""

    def session(self, number: int, peer: Address) -> None:
        """A client has come."""

    def received(self, number: int, name: str, line: str) -> None:
        """A line of the client's, and the name of its class."""

    def content(self, number: int, octets: int) -> None:
        """So much of a message has come."""

    def sent(self, number: int, reply: Reply) -> None:
        """A reply."""

    def tls(self, number: int, tls: Tls) -> None:
        """TLS stands."""

    def authentication(self, number: int, login: Login) -> None:
        """A client has authenticated, or tried to."""

    def noticed(self, number: int, what: str) -> None:
        """Something besides."""

    def arrived(self, number: int, arrival: Arrival) -> None:
        """A message was taken."""

    def closed(self, number: int) -> None:
        """A session is over."""

    def ended(self, messages: int) -> None:
        """The server has ended; so many messages were taken."""


class _Seen:
    """What is known of one session."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tls_shown = False
        self.octets = 0
        self.authenticating = False
        self.attempt: Login | None = None


class Onlooker:
    """Watches a server: its ``on_event``, ``on_send`` and ``on_end``, and what arrives.

    ``secrets``: passwords and tokens; ``on_failure``: called where the view cannot write.
    """

    def __init__(self, view: ServerView, secrets: Iterable[str], on_failure: Callable[[], object]) -> None:
        self._view = view
        self._secrets = Secrets(secrets)
        self._on_failure = on_failure
        self._sessions: dict[ServerSession, _Seen] = {}
        self._count = 0
        self._lock = threading.Lock()
        self.failed: bool = False
        """Nobody reads the view any more."""

    def on_event(self, session: ServerSession, event: Event) -> None:
        """Show an event."""
        self._show(session, lambda seen: self._event(session, seen, event))

    def on_send(self, session: ServerSession, reply: Reply) -> None:
        """Show a reply."""

        def show(seen: _Seen) -> None:
            self._catch_up(session, seen)
            self._view.sent(seen.number, self._shown(seen, reply))
            if seen.attempt is not None and not reply.is_intermediate:
                self._end_attempt(session, seen, seen.attempt._replace(succeeded=reply.is_positive))

        self._show(session, show)

    def on_question(self, session: ServerSession, question: Question) -> None:
        """Learn who the client says it is, and what must not be shown."""

        def learn(seen: _Seen) -> None:
            for secret in ("password", "token"):
                self._secrets.remember(getattr(question, secret, ""))
            if seen.attempt is not None:
                said = {name: getattr(question, name, None) for name in ("username", "authorization_id", "trace")}
                seen.attempt = seen.attempt._replace(**{name: what for name, what in said.items() if what})

        self._show(session, learn)

    def on_arrival(self, session: ServerSession, arrival: Arrival) -> None:
        """Show a message."""
        self._show(session, lambda seen: self._view.arrived(seen.number, arrival))

    def on_end(self, session: ServerSession) -> None:
        """Show the end of a session."""

        def show(seen: _Seen) -> None:
            del self._sessions[session]
            if session.tls_failure:
                self._view.noticed(seen.number, session.tls_failure)
            self._view.closed(seen.number)

        self._show(session, show)

    def _show(self, session: ServerSession, show: Callable[[_Seen], None]) -> None:
        """Alone, and without letting a session know what becomes of the view."""
        with self._lock:
            if self.failed:
                return
            try:
                seen = self._sessions.get(session)
                if seen is None:
                    self._count += 1
                    seen = self._sessions[session] = _Seen(self._count)
                    self._view.session(seen.number, session.peer)
                show(seen)
            except OSError:
                self.failed = True
                self._on_failure()

    def _event(self, session: ServerSession, seen: _Seen, event: Event) -> None:
        match event:
            case ContentReceived(data):
                seen.octets += len(data)
            case CommandReceived(command):
                if isinstance(command, Bdat):
                    seen.octets = 0  # the command says it, and comes behind them
                self._catch_up(session, seen)
                self._view.received(seen.number, type(command).__name__, self._line_of(seen, command))
            case BadCommand():
                self._catch_up(session, seen)
                self._view.received(seen.number, type(event).__name__, self._bad_line_of(seen, event))
            case EarlyTalker():
                self._view.noticed(seen.number, "the client spoke before it was greeted")
            case ConnectionClosed():
                self._catch_up(session, seen)
                self._view.noticed(seen.number, "the client closed the connection")
            case _:
                pass

    def _end_attempt(self, session: ServerSession, seen: _Seen, attempt: Login) -> None:
        seen.attempt = None
        identity = session.identity
        if attempt.succeeded and identity is not None:
            attempt = attempt._replace(username=identity.username, authorization_id=identity.authorization_id or None)
        attempt = attempt._replace(
            username=self._clean(attempt.username),
            authorization_id=self._clean(attempt.authorization_id),
            trace=self._clean(attempt.trace),
            channel_binding=binding_of(attempt.mechanism, session.connection),
        )
        self._view.authentication(seen.number, attempt)

    def _shown(self, seen: _Seen, reply: Reply) -> Reply:
        """A challenge may tell of a password what it takes to guess it."""
        if seen.attempt is not None and reply.is_intermediate:
            return Reply(reply.code, REDACTED)
        return self._secrets.redacted_reply(reply)

    def _clean(self, name: str | None) -> str | None:
        return None if name is None else self._secrets.redacted(name)[:SHOWN]

    def _catch_up(self, session: ServerSession, seen: _Seen) -> None:
        """Show what has happened without an event, or in many."""
        tls = None if seen.tls_shown else session.tls
        if tls is not None:
            seen.tls_shown = True
            self._view.tls(seen.number, tls)
        if seen.octets:
            self._view.content(seen.number, seen.octets)
            seen.octets = 0

    def _line_of(self, seen: _Seen, command: Command) -> str:
        if isinstance(command, UnknownCommand) and seen.authenticating:
            return REDACTED
        seen.authenticating = isinstance(command, Auth | AuthResponse)
        if isinstance(command, Auth):
            seen.attempt = Login(False, command.mechanism)
        self._secrets.remember_from(command)
        return self._secrets.redacted(str(command))

    def _bad_line_of(self, seen: _Seen, event: BadCommand) -> str:
        if event.command is not None:
            return self._line_of(seen, event.command)
        line = event.line[:SHOWN].decode("utf-8", "surrogateescape")
        seen.authenticating |= line[:4].upper() == "AUTH"
        return REDACTED if seen.authenticating else self._secrets.redacted(line)
