"""One SMTP connection, at either end: bytes in, events out; commands or replies in, bytes out.

Theory of operation
-------------------

A `Connection` wires the rooms below it together, and holds what none of them can know alone:

* what came in: `LineBuffer` cuts it into lines, `ReplyParser` or `parse_command` reads them, `Session` says whether
  the protocol has a place for them, and an event comes out of `next_event`;
* what goes out: `send` asks `Session` first, and gives the bytes to write only if nothing stands against it;
* what the EHLO reply offered.  It is read from the reply by the same code whether the reply was received or sent, so
  that a server's own offer is what its client's commands are judged by.

This room has what both roles share; ``client.py`` and ``server.py`` have the rest, and ``Connection(role)`` makes one
of theirs.  Two rules are kept here for both:

**STARTTLS is a barrier.**  Between the 220 and `tls_established` there may be no octet in the buffer.

**Errors are terminal.**  Whatever room finds that the peer broke the protocol raises a `RemoteProtocolError`;
`next_event` is the one place where that ends the connection, and raises the same again from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .commands import Auth, AuthResponse, Command, Data, Ehlo, Helo, Lhlo, XClient
from .errors import LocalProtocolError, RemoteProtocolError
from .events import PAUSED, ConnectionClosed, Event, Pause
from .extensions import NO_EXTENSIONS, Extensions
from .limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from .lines import LineBuffer
from .offer import NO_TALLY, Tally
from .replies import Reply
from .sasl import NO_BINDINGS
from .states import CLOSED, DATA, ERROR, TLS, Kind, Session, State


class Role(Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"

    if TYPE_CHECKING:

        def __hash__(self) -> int: ...
    else:
        __hash__ = object.__hash__  # as that of `State`


HELLO_KINDS: frozenset[Kind] = frozenset({Ehlo, Lhlo, Helo})
AUTH_KINDS: frozenset[Kind] = frozenset({Auth, AuthResponse})


class Connection:
    """The state of one connection.  ``Connection(Role.CLIENT)`` is a `ClientConnection`, and so is the other.

    ``lmtp``: speak LMTP (RFC 2033).
    ``secure``: TLS was there before the first octet (implicit TLS, RFC 8314 section 3).
    ``mask``: extension keywords to treat as not offered, for peers that offer what they cannot do.
    ``limits``, ``timeouts``: other numbers than the defaults.
    ``on_send``: is called with every command or reply that `send` has accepted.  (Those that carry secrets print
    without them.)

    The two roles have options of their own beside these.
    """

    __slots__ = (
        "_eof",
        "_end",
        "_last_reply",
        "_lines",
        "_mask",
        "_on_send",
        "_session",
        "_tally",
        "authenticated",
        "channel_bindings",
        "extensions",
        "limits",
        "secure",
        "timeouts",
    )

    role: ClassVar[Role]
    limits: Limits
    timeouts: Timeouts
    extensions: Extensions
    """What the last EHLO reply offered; empty before it, after HELO, and after STARTTLS."""
    secure: bool
    """True under TLS."""
    authenticated: bool
    """True after AUTH succeeded."""
    channel_bindings: Mapping[str, bytes]
    """Those of the TLS below, by name, such as ``"tls-server-end-point"`` (RFC 5929 section 4) and ``"tls-exporter"``
    (RFC 9266), the one to be preferred first; empty where there are none.  Whoever negotiates TLS sets them."""

    _of_role: ClassVar[dict[Role, type[Connection]]] = {}

    def __init_subclass__(cls, *, role: Role | None = None) -> None:
        if role is not None:  # a program's own subclass of one of the two plays the role that it has
            cls.role = role
            Connection._of_role[role] = cls

    def __new__(cls, role: Role | None = None, **options: Any) -> Self:
        if cls is not Connection:
            return super().__new__(cls)
        if not isinstance(role, Role):
            raise LocalProtocolError(f"Connection() needs a Role, and not {role!r}")
        return object.__new__(cls._of_role[role])  # type: ignore[return-value]  # it is a Self where it matters

    def __init__(  # pyright: ignore[reportInconsistentConstructor]  # each role has its own options
        self,
        role: Role | None = None,
        *,
        lmtp: bool = False,
        secure: bool = False,
        mask: Iterable[str] = (),
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        on_send: Callable[[Command | Reply], object] | None = None,
    ) -> None:
        if role is not None and role is not self.role:
            raise LocalProtocolError(f"a {type(self).__name__} plays the {self.role.value}, not the {role.value}")
        self.limits = limits
        self.timeouts = timeouts
        self.secure = secure
        self.channel_bindings = NO_BINDINGS
        self._mask = (mask,) if isinstance(mask, str) else tuple(mask)
        self._on_send = on_send
        self._session = Session(lmtp=lmtp)
        self._lines = LineBuffer(self._line_limit())
        self._eof = False
        # The last event, or what makes the RemoteProtocolError again.
        self._end: ConnectionClosed | tuple[str, bytes, int] | None = None
        self._last_reply: Reply | None = None
        self._tally: Tally | None = None
        self._forget()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.name}>"

    # What is known -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the replies so far have confirmed."""
        return self._session.state

    @property
    def predicted(self) -> State:
        """Where the success of all that is outstanding will lead."""
        return self._session.predicted

    @property
    def waiting(self) -> int:
        """How many commands are not answered yet."""
        return self._session.waiting

    @property
    def outstanding(self) -> tuple[Command, ...]:
        """The commands that are not answered yet, oldest first."""
        return self._session.outstanding

    @property
    def lmtp(self) -> bool:
        """True where the connection speaks LMTP."""
        return self._session.lmtp

    @property
    def extended(self) -> bool:
        """True after EHLO or LHLO was accepted, False after HELO."""
        return self.extensions is not NO_EXTENSIONS  # an EHLO reply without any makes another that is empty

    @property
    def tally(self) -> Tally:
        """The envelope that is under way: the last that was sent (client), or received (server)."""
        return NO_TALLY if self._tally is None else self._tally

    @property
    def last_reply(self) -> Reply | None:
        """The reply that was received (client) or sent (server) last."""
        return self._last_reply

    @property
    def deadline(self) -> float | None:
        """Seconds that the wait now in force may take, or None for no limit.  RFC 5321 section 4.5.3.2."""
        if self.state is TLS:
            return self.timeouts.tls
        return self._deadline()

    # Out -----------------------------------------------------------------------------------------------------------

    def send(self, message: Command | Reply) -> bytes:
        """A command (client) or a reply (server): the bytes to write.

        Raises `LocalProtocolError`, and changes nothing, where the protocol does not allow it now; at the client
        `RemoteProtocolError` where something lies in the buffer that no command has asked for.
        """
        if self._end is not None:
            self._check_alive()
        data = self._send(message)
        if self._on_send is not None:
            self._on_send(message)
        return data

    def send_content(self, data: bytes) -> bytes:
        """A piece of content: the bytes to write.  `LocalProtocolError` where none is due, and for octets above 127
        where MAIL had no ``body`` for them.

        After 354 it is dot-stuffed, and `EndOfData` ends it; after `Bdat` it goes as it is, and the octets announced
        have to come before anything else.  RFC 5321 section 4.5.2, RFC 3030 section 2.
        """
        self._check_alive()
        return self._send_content(data) if data else b""

    def objection(self, command: Command) -> str | None:
        """Why `send` would refuse a command now, as a sentence; None where it would not."""
        return "a server sends replies, not commands"

    def tls_established(self) -> None:
        """The TLS handshake that `StartTlsReady` asked for is done; what comes now comes through TLS.

        All that was learned before it is forgotten: RFC 3207 section 4.2.  Raises `RemoteProtocolError` where
        plaintext had come in behind the command or its reply.
        """
        self._check_alive()
        self._check_barrier()
        self._session.tls_established()
        self.secure = True
        self._forget()

    # In ------------------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """What came from the peer, in pieces of any size; ``b""`` is the end of the stream."""
        if not data:
            self._eof = True
        elif self._eof:
            raise LocalProtocolError("data after the end of the stream")
        else:
            state = self._session.state
            if state is not CLOSED and state is not ERROR:
                self._lines.feed(data)

    def next_event(self) -> Event | Pause:
        """The next event, or `NEED_DATA`, or `PAUSED`.

        Raises `RemoteProtocolError` where the peer has broken the protocol, and again at each further call.
        """
        if self._end is not None:
            return self._ended(self._end)
        try:
            if self._session.state is CLOSED:
                self._lines.clear()  # nothing that comes after the end is of any use
                return self._end_of_input()
            return self._next_event()
        except RemoteProtocolError as error:
            raise self._fail(error) from None

    # What a role adds ----------------------------------------------------------------------------------------------

    def _send(self, message: Command | Reply) -> bytes:
        raise TypeError("Connection is made by its role")

    def _send_content(self, data: bytes) -> bytes:
        raise LocalProtocolError(f"no content is due: {self._session.predicted.value}")

    def _next_event(self) -> Event | Pause:
        raise TypeError("Connection is made by its role")

    def _line_limit(self) -> int:
        raise TypeError("Connection is made by its role")

    def _deadline(self) -> float | None:
        raise TypeError("Connection is made by its role")

    def _content_begins(self) -> None:
        raise TypeError("Connection is made by its role")

    # What they share -----------------------------------------------------------------------------------------------

    def _replied(self, kind: Kind, reply: Reply) -> None:
        """Learn from a reply that was received or sent."""
        self._last_reply = reply
        if reply.code >= 300:
            if kind is Data and self.state is DATA:
                self._content_begins()
        elif kind in HELLO_KINDS:
            offered = NO_EXTENSIONS if kind is Helo else Extensions.of(reply)
            self.extensions = offered.without(*self._mask) if self._mask else offered
        elif kind in AUTH_KINDS:
            self.authenticated = True
        elif kind is XClient:
            self._forget()

    def _note_envelope(self, command: Command) -> None:
        if self._tally is None:
            self._tally = Tally()
        self._tally.note(command, self.extensions)

    def _forget(self) -> None:
        self.extensions = NO_EXTENSIONS
        self.authenticated = False

    def _check_alive(self) -> None:
        if isinstance(self._end, tuple):
            raise LocalProtocolError(f"the connection is of no use any more: {self._end[0]}")

    @staticmethod
    def _ended(end: ConnectionClosed | tuple[str, bytes, int]) -> ConnectionClosed:
        if isinstance(end, tuple):
            raise RemoteProtocolError(*end)
        return end

    def _check_barrier(self) -> None:
        if self.state is TLS and not self._lines.is_empty:
            found = self._lines.peek(256)
            raise self._fail(RemoteProtocolError("plaintext where TLS is due (RFC 3207 section 4)", found))

    def _wait_for_tls(self) -> Event | Pause:
        self._check_barrier()
        return self._closed_event() if self._eof else PAUSED

    def _fail(self, error: RemoteProtocolError) -> RemoteProtocolError:
        self._end = (error.args[0], error.received, error.code)
        self._session.fail()
        self._lines.clear()
        return error

    def _end_of_input(self) -> Event | Pause:
        return self._closed_event() if self._eof else Pause.NEED_DATA

    def _closed_event(self) -> ConnectionClosed:
        clean = self.state is CLOSED and self._last_reply is not None and self._last_reply.is_positive
        self._end = closed = ConnectionClosed(self._session.outstanding, self._last_reply, clean)
        self._session.close()
        self._lines.clear()
        return closed
