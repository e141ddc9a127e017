"""The client's half of a connection: commands out, replies in.

One rule above all is kept here: **every reply has its command.**  A reply that arrived before a command was sent
cannot be its answer, however the packets fell and whenever the program looked.  `send` refuses to go on while
something unsolicited lies in the buffer; and for a command that is sent while earlier replies lie there unread,
`_SentBehind` keeps the position in the stream before which no reply can be its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from .commands import (
    Bdat,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Helo,
    Lhlo,
    Mail,
    Rcpt,
    Rset,
    StartTls,
)
from .connection import AUTH_KINDS, HELLO_KINDS, Connection, Role
from .content import EIGHT_BIT, LineEnds, Stuffer
from .errors import LocalProtocolError, RemoteProtocolError
from .events import (
    AuthChallenge,
    AuthFailed,
    AuthNeeded,
    AuthReason,
    AuthSucceeded,
    ContentWanted,
    EhloReply,
    Event,
    Greeting,
    HeloReply,
    Pause,
    RecipientReply,
    ReplyReceived,
    ServiceClosing,
    StartTlsReady,
    Unsolicited,
    new_reply_received,
    set_command,
    set_reply,
)
from .extensions import NO_EXTENSIONS
from .grammar import strict_base64
from .limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from .offer import objection
from .replies import Reply, ReplyParser, memory_for
from .sasl import Challenge, usable
from .sasl.base import readable
from .states import CLOSED, DATA, FAILED, SERVICE_CLOSING, TLS, Kind, LastBdat, kind_of

_OF_ENVELOPE: Final[frozenset[Kind]] = frozenset({Mail, Rcpt})
_MAY_COME_UNASKED: Final = frozenset(b"45")
_UNASKED: Final = "a reply that no command asked for"

# Most replies of a transaction are to these, and mean what they say: nothing is learned from them.
_SAY_NO_MORE: Final[frozenset[Kind]] = frozenset({Mail, Rcpt, EndOfData, Bdat, LastBdat, Rset})
_SAY_MORE: Final = frozenset({SERVICE_CLOSING, 530})

_TIMEOUT_OF: Final[Mapping[Kind, str]] = {
    Connect: "greeting",
    Ehlo: "hello",
    Lhlo: "hello",
    Helo: "hello",
    Mail: "mail",
    Rcpt: "rcpt",
    Data: "data_initiation",
    Bdat: "data_block",
    LastBdat: "data_termination",
    EndOfData: "data_termination",
}


class _SentBehind:
    """Which commands were sent while replies lay unread, and where those ended.  There is one while there are any."""

    __slots__ = ("_positions", "sent")

    sent: int
    """How many commands were sent, counted from those that were outstanding when this was made."""
    _positions: deque[tuple[int, int]]
    """For a command, by its number, the position before which no reply can be its own; oldest first, and the same
    position only once."""

    def __init__(self, waiting: int) -> None:
        self.sent = waiting
        self._positions = deque()

    def remember(self, position: int) -> None:
        """The next command is sent behind what ends there."""
        if not self._positions or self._positions[-1][1] != position:
            self._positions.append((self.sent, position))

    def precedes(self, position: int, waiting: int) -> bool:
        """What begins there was on its way before the first of those that wait was sent."""
        number, sent_at = self._positions[0]
        return number == self.sent - waiting and position < sent_at

    def forget(self, waiting: int) -> bool:
        """Forget those that wait no longer; True where none is left."""
        if self._positions[0][0] < self.sent - waiting:
            self._positions.popleft()
        return not self._positions


class ClientConnection(Connection, role=Role.CLIENT):
    """The client's end.  Beside the options of `Connection`, ``line_ends`` says what is done to outgoing content."""

    __slots__ = (
        "_chunk_left",
        "_memory",
        "_parser",
        "_recipients",
        "_sent_behind",
        "_stuffer",
        "line_ends",
    )

    line_ends: LineEnds
    """What is done to outgoing content."""

    def __init__(  # pyright: ignore[reportInconsistentConstructor]  # see Connection.__new__
        self,
        role: Role | None = None,
        *,
        lmtp: bool = False,
        secure: bool = False,
        mask: Iterable[str] = (),
        line_ends: LineEnds = LineEnds.NORMALISE,
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        on_send: Callable[[Command | Reply], object] | None = None,
    ) -> None:
        super().__init__(
            role,
            lmtp=lmtp,
            secure=secure,
            mask=mask,
            limits=limits,
            timeouts=timeouts,
            on_send=on_send,
        )
        self.line_ends = line_ends
        self._parser: ReplyParser | None = None  # while within a reply
        self._memory = memory_for(limits)
        self._stuffer: Stuffer | None = None
        self._chunk_left = 0  # octets of the last BDAT that are still to be sent
        self._recipients: deque[str] | None = None  # LMTP: who was accepted, in order
        self._sent_behind: _SentBehind | None = None

    # Out -----------------------------------------------------------------------------------------------------------

    def objection(self, command: Command) -> str | None:
        """Why `send` would refuse a command now, as a sentence; None where it would not."""
        return self._objection(command, kind_of(command))

    def _objection(self, command: Command, kind: Kind) -> str | None:
        session = self._session
        if session.state is CLOSED:
            return "the session is over: nothing can be sent any more"
        if self._chunk_left:
            return f"{self._chunk_left} octets of the chunk announced by BDAT are still to be sent"
        pipelining = True
        if session.first is not None:
            if session.waiting >= self.limits.outstanding:
                return f"{session.waiting} commands are not answered yet: read their replies first (limits.outstanding)"
            pipelining = "PIPELINING" in self.extensions
        sequence = session.objection(kind, pipelining=pipelining)
        if sequence is not None:
            return sequence
        if kind is LastBdat and session.lmtp and not self._has_recipient:
            return (
                "in LMTP the last chunk waits until a recipient is accepted: without one, it has no reply at all "
                "(RFC 2033 section 4.3)"
            )
        if kind in HELLO_KINDS and not command.domain.isascii():  # type: ignore[attr-defined]
            return f"{command} is not ASCII: write the A-labels of the name (RFC 6531 section 3.7.1)"
        found = objection(command, self)
        return None if found is None else found.text

    @property
    def _has_recipient(self) -> bool:
        """A recipient of the transaction that the next command belongs to is known to be accepted."""
        session = self._session
        return session.accepted > 0 and not any(isinstance(each, Mail) for each in session.outstanding)

    def _send_content(self, data: bytes) -> bytes:
        # A chunk goes on also when it was refused already; but not when the server has left.
        if self._chunk_left and self.state is not CLOSED:
            if len(data) > self._chunk_left:
                raise LocalProtocolError(f"{len(data)} octets for a chunk that has room for {self._chunk_left}")
            self._check_content(data)
            if not self._lines.is_empty or self._parser is not None:
                self._check_chunk_is_open(self._unread())
            self._chunk_left -= len(data)
            return data
        if self._stuffer is not None and self.state is DATA:
            self._check_content(data)
            return self._stuffer.stuff(data)
        return super()._send_content(data)

    def _check_chunk_is_open(self, reply: bytes) -> None:
        """A chunk can be refused at any time, but not be accepted before all of it was sent.  RFC 3030 section 2."""
        if self._session.waiting == 1 and reply.startswith(b"2"):
            raise self._fail(RemoteProtocolError("a chunk was accepted of which octets were still to be sent", reply))

    def content_objection(self, data: bytes) -> str | None:
        """Why the content under way may not have these octets, as a sentence; None where it may.

        The policy for line ends is asked by `send_content` only, as it hangs on what comes before and behind.
        """
        mail = self.tally.mail
        if data.isascii() or mail is None or mail.body in EIGHT_BIT:
            return None
        first = next(octet for octet in data if octet > 127)
        return (
            f"the content has the octet {first:#x}, and MAIL said nothing of it: it needs body='8BITMIME' "
            "(RFC 6152 section 3), or an encoding"
        )

    def _check_content(self, data: bytes) -> None:
        objection = self.content_objection(data)
        if objection is not None:
            raise LocalProtocolError(objection)

    def _send(self, message: Command | Reply) -> bytes:
        if not isinstance(message, Command):
            raise LocalProtocolError(f"a client sends commands, and a {type(message).__name__} is none")
        session, lines = self._session, self._lines
        nothing_unread = lines.is_empty
        if not (nothing_unread and self._parser is None) and session.first is None and session.state is not CLOSED:
            raise self._fail(RemoteProtocolError(_UNASKED, self._unread()))
        kind = kind_of(message)
        objection = self._objection(message, kind)
        if objection is not None:
            raise LocalProtocolError(objection)
        data = bytes(message)
        if kind in _OF_ENVELOPE:
            self._note_envelope(message)
        elif kind is EndOfData:
            data = self._end_of_content()
        elif isinstance(message, Bdat):
            self._chunk_left = message.size
        if not nothing_unread:
            self._remember_position()
        if self._sent_behind is not None:
            self._sent_behind.sent += 1
        session.add(message, kind)
        return data

    def _end_of_content(self) -> bytes:
        assert self._stuffer is not None
        data = self._stuffer.end()
        self._stuffer = None
        return data

    def _content_begins(self) -> None:
        self._stuffer = Stuffer(self.line_ends)

    def _remember_position(self) -> None:
        if self._sent_behind is None:
            self._sent_behind = _SentBehind(self._session.waiting)
        self._sent_behind.remember(self._lines.consumed + len(self._lines))

    # In ------------------------------------------------------------------------------------------------------------

    def _line_limit(self) -> int:
        return self.limits.reply_line

    def _deadline(self) -> float | None:
        session = self._session
        if self._chunk_left:
            return self.timeouts.data_block
        if session.first is None:
            return self.timeouts.data_block if session.state is DATA else None
        seconds: float | None = getattr(self.timeouts, _TIMEOUT_OF.get(session.first[1], "other"))
        return seconds

    def next_event(self) -> Event | Pause:
        """As `Connection.next_event`.  A reply that is known, as most are, goes the shortest way."""
        session = self._session
        in_order = session.first is not None and self._parser is None and self._sent_behind is None
        if in_order and self._end is None and session.state is not CLOSED:
            reply = self._lines.take_known(self._memory.by_octets, self._memory.by_line)
            if reply is not None:
                recipient = session.another_recipient(reply.code)
                if recipient is not None:
                    self._last_reply = reply
                    # ReplyReceived(recipient, reply), without the call, which is a fifteenth of all that a reply takes.
                    event = new_reply_received(ReplyReceived)
                    set_command(event, recipient)
                    set_reply(event, reply)
                    return event
                try:
                    return self._answer(reply)
                except RemoteProtocolError as error:
                    raise self._fail(error) from None
        return super().next_event()

    def _next_event(self) -> Event | Pause:
        lines = self._lines
        if self._session.state is TLS:
            return self._wait_for_tls()
        if self._parser is not None:
            return self._read_reply(self._parser)
        if lines.is_empty:
            return self._end_of_input()
        position = lines.consumed
        if self._is_unsolicited(position) and lines.first() not in _MAY_COME_UNASKED:
            raise RemoteProtocolError(_UNASKED, lines.peek(256))
        return self._read_reply(ReplyParser(self.limits, position))

    def _read_reply(self, parser: ReplyParser) -> Event | Pause:
        lines = self._lines
        octets = b"" if parser.in_progress else lines.whole()
        while True:
            line = lines.next_line()
            if line is None:
                return self._no_whole_reply(parser)
            reply = parser.feed_line(line)
            if reply is not None:
                break
        self._parser = None
        if octets and lines.is_empty:
            self._memory.remember(octets, reply)
        return self._unsolicited(reply) if self._is_unsolicited(parser.position) else self._answer(reply)

    def _no_whole_reply(self, parser: ReplyParser) -> Event | Pause:
        if parser.in_progress:
            self._parser = parser
        if self._eof:
            raise RemoteProtocolError("the stream ended within a reply", self._unread())
        return Pause.NEED_DATA

    def _unread(self) -> bytes:
        begun = b"" if self._parser is None else self._parser.received()
        return begun + self._lines.peek(256)

    def _answer(self, reply: Reply) -> Event:
        session = self._session
        if self._chunk_left:
            self._check_chunk_is_open(bytes(reply))
        recipient = self._recipient() if self._recipients else None
        try:
            command, kind, _ = session.reply(reply.code)
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error), bytes(reply)) from None
        if self._sent_behind is not None and self._sent_behind.forget(session.waiting):
            self._sent_behind = None
        if kind in _SAY_NO_MORE and reply.code not in _SAY_MORE and not session.lmtp:
            self._last_reply = reply
            return ReplyReceived(command, reply)
        previous = self._last_reply
        self._replied(kind, reply)
        if session.lmtp:
            self._note_recipient(command, reply)
        if recipient is not None and reply.code != SERVICE_CLOSING:
            return RecipientReply(command, reply, recipient)
        return self._event(command, kind, reply, previous)

    def _unsolicited(self, reply: Reply) -> Event:
        # RFC 5321 section 3.8 lets a server say 421 unasked; some say another 4yz or 5yz when they lose patience.
        # Whatever begins otherwise has not come as far as this.
        self._session.close()
        self._last_reply = reply
        return ServiceClosing(Unsolicited(), reply)

    def _is_unsolicited(self, position: int) -> bool:
        """Nothing waits for the reply that begins there, or what waits was sent when it had begun to arrive."""
        if self._session.first is None:
            return True
        return self._sent_behind is not None and self._sent_behind.precedes(position, self._session.waiting)

    def _note_recipient(self, command: Command, reply: Reply) -> None:
        """LMTP: who has to get a reply at the end of the content."""
        if isinstance(command, Rcpt) and reply.is_positive:
            if self._recipients is None:
                self._recipients = deque()
            self._recipients.append(command.forward_path)
        elif self._recipients is not None and not self._session.accepted:
            self._recipients = None

    def _recipient(self) -> str | None:
        """LMTP: whose turn it is to get a reply for the end of the content.  RFC 2033 section 4.2."""
        session = self._session
        if session.state is not FAILED and session.first is not None and session.first[1] in (EndOfData, LastBdat):
            assert self._recipients
            return self._recipients.popleft()
        return None

    def _event(self, command: Command, kind: Kind, reply: Reply, previous: Reply | None) -> Event:
        code = reply.code
        if code == SERVICE_CLOSING:
            return ServiceClosing(command, reply)
        if kind in AUTH_KINDS:
            return _auth_event(command, reply, previous)
        if kind is Connect:
            return Greeting(command, reply, reply.lines[0].partition(" ")[0])
        if kind is Ehlo or kind is Lhlo:
            return EhloReply(command, reply, self.extensions if reply.is_positive else NO_EXTENSIONS)
        if kind is Helo:
            return HeloReply(command, reply)
        if code == 530:
            return self._auth_needed(command, reply)
        if kind is Data and reply.is_intermediate:
            return ContentWanted(command, reply)
        if kind is StartTls and reply.is_positive:
            return StartTlsReady(command, reply)
        return ReplyReceived(command, reply)

    def _auth_needed(self, command: Command, reply: Reply) -> AuthNeeded:
        offered = self.extensions.auth
        # Both are 530 5.7.0: that STARTTLS comes first is told by the text, and by an offer without any mechanism.
        could_be_had = "STARTTLS" in self.extensions and not self.secure
        tls_first = could_be_had and (not offered or "TLS" in reply.text.upper())
        why = AuthReason.TLS_REQUIRED if tls_first else AuthReason.REQUIRED_BY_SERVER
        return AuthNeeded(command, reply, offered, why, usable(offered, secure=self.secure))


def _auth_event(command: Command, reply: Reply, previous: Reply | None) -> Event:
    if reply.is_positive:
        return AuthSucceeded(command, reply)
    if reply.is_intermediate:
        return AuthChallenge(command, reply, strict_base64(reply.lines[0]))
    if previous is None or not previous.is_intermediate:
        return AuthFailed(command, reply)
    return AuthFailed(command, reply, _json(strict_base64(previous.lines[0])))


def _json(challenge: bytes | None) -> str | None:
    """A challenge that is a JSON object, as no other but the last word of a server of OAuth is."""
    if challenge is None or not (challenge.startswith(b"{") and challenge.rstrip().endswith(b"}")):
        return None
    return readable(Challenge(challenge))
