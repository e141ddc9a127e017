"""The server's half of a connection: commands in, replies out.

One command at a time: after each event that wants a reply, `next_event` gives `PAUSED` until `send` has got it; what
the client has pipelined behind it waits in the buffer.  (RFC 2920 section 3.2: an adapter gathers the replies, and
writes them when it runs out of input.)

What a client may not send does not raise: it becomes a `BadCommand` with the reply that the RFC wants.  Only what
makes it impossible to know where the next command begins is a `RemoteProtocolError`.

An extension that the program offers and the engine does not know may have a command and parameters that are named as
its keyword: these are the program's to judge, and come as any other.

Content is given on as it comes, up to the size that is taken (SIZE, RFC 1870).  What goes beyond it, and the octets of
a chunk that is refused, are read to their end and dropped: so both sides stay in step, and whoever keeps what is given
keeps no more than that size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from .commands import (
    AuthResponse,
    BadSyntax,
    Bdat,
    Command,
    EndOfData,
    Lhlo,
    Mail,
    Rcpt,
    UnknownCommand,
    parse_auth_response,
    parse_command,
)
from .connection import HELLO_KINDS, Connection, Role
from .content import Unstuffer
from .errors import LocalProtocolError, RemoteProtocolError
from .events import (
    PAUSED,
    BadCommand,
    CommandReceived,
    ContentReceived,
    EarlyTalker,
    Event,
    Pause,
    StartTlsReady,
)
from .extensions import EXTENSIONS
from .limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS, Limits, Timeouts
from .offer import objection
from .parameters import NO_PARAMETERS
from .replies import Reply
from .states import AUTH, CLOSED, DATA, SERVICE_CLOSING, START, TLS, BadLine, Kind, kind_of

_BLOCK: Final = 65_536
"""Octets of content that are looked at together: where many small messages have come at once, only so much of what is
behind each of them is touched with it."""

_SHOWN: Final = 256
"""Octets that an `EarlyTalker` shows."""

_is_request_of_http = re.compile(rb".* HTTP/[0-9.]+[ \t]*", re.DOTALL).fullmatch
"""RFC 9112 section 3."""

_UNKNOWN_PARAMETER: Final = Reply(555, "5.5.4 a parameter that is not recognised")
_TOO_LARGE: Final = Reply(552, "5.3.4 message too large (RFC 1870 section 4)")


class ServerConnection(Connection, role=Role.SERVER):
    """The server's end.  Beside the options of `Connection`:

    ``lenient``: accept paths without angle brackets, and spaces before them.
    ``accept_bare``: accept bare CR, bare LF and NUL in content; as content, and never as its end.
    """

    __slots__ = (
        "_accept_bare",
        "_chunk",
        "_chunk_left",
        "_chunk_refusal",
        "_content_ended",
        "_early_told",
        "_lenient",
        "_taken",
        "_tls_ready",
        "_unstuffer",
    )

    def __init__(  # pyright: ignore[reportInconsistentConstructor]  # see Connection.__new__
        self,
        role: Role | None = None,
        *,
        lmtp: bool = False,
        secure: bool = False,
        mask: Iterable[str] = (),
        lenient: bool = False,
        accept_bare: bool = False,
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
        self._lenient = lenient
        self._accept_bare = accept_bare
        self._unstuffer: Unstuffer | None = None
        self._content_ended = False
        self._taken = 0  # octets of content in this transaction
        self._early_told = False
        self._chunk: Bdat | None = None  # the BDAT whose octets are under way, what is left of them,
        self._chunk_left = 0
        self._chunk_refusal: BadCommand | None = None  # and what it will get instead of an answer
        self._tls_ready: StartTlsReady | None = None

    # Out -----------------------------------------------------------------------------------------------------------

    def _send(self, message: Command | Reply) -> bytes:
        if not isinstance(message, Reply):
            raise LocalProtocolError("a server sends replies, not commands")
        session = self._session
        state = session.state
        if state is CLOSED:
            raise LocalProtocolError("the session is over: nothing can be sent any more")
        if state is TLS:
            raise LocalProtocolError(f"no reply can be sent now: {state.value}")
        if session.first is not None:
            if state is AUTH:
                self._check_not_cancelled(session.first[0], message)
            command, kind, _ = session.reply(message.code)
            self._replied(kind, message)
            if isinstance(command, Mail) and message.is_positive and self.tally.mail is not command:
                self._begin(command)  # the program accepts what the engine would refuse
            elif session.state is TLS:
                self._tls_ready = StartTlsReady(command, message)
        elif message.code == SERVICE_CLOSING:
            session.close()
            self._last_reply = message
        else:
            raise LocalProtocolError(f"a reply {message.code} that no command asked for; only 421 may come unasked")
        return bytes(message)

    def _check_not_cancelled(self, response: Command, reply: Reply) -> None:
        """What was cancelled, or is no response at all, authenticates nobody.  RFC 4954 section 4."""
        cancelled = isinstance(response, AuthResponse) and response.response is None
        if cancelled and (reply.is_positive or reply.is_intermediate):
            raise LocalProtocolError(
                f"{reply.code} to an authentication that the client has cancelled, or to a line that is no response: "
                "it can only be refused (RFC 4954 section 4)"
            )

    def _content_begins(self) -> None:
        self._unstuffer = Unstuffer(accept_bare=self._accept_bare)
        self._content_ended = False

    def _begin(self, mail: Mail) -> None:
        self._note_envelope(mail)
        self._taken = 0

    # In ------------------------------------------------------------------------------------------------------------

    def _fail(self, error: RemoteProtocolError) -> RemoteProtocolError:
        if self.state is AUTH or b"AUTH" in error.received.upper():
            error.received = b""  # the line may hold a secret, and errors are shown
        return super()._fail(error)

    def _line_limit(self) -> int:
        return self.limits.command_line

    def _deadline(self) -> float | None:
        under_way = self.state is DATA or self._chunk is not None
        return self.timeouts.data_block if under_way else self.timeouts.server

    def _next_event(self) -> Event | Pause:
        session = self._session
        if session.state is TLS:
            return self._next_before_tls()
        if session.first is not None:
            return self._next_before_greeting() if session.state is START else PAUSED
        if self._chunk is not None:
            return self._next_of_chunk(self._chunk)
        if self._unstuffer is not None:
            return self._next_of_content(self._unstuffer)
        line = self._lines.next_line()
        return self._end_of_input() if line is None else self._command_event(line)

    def _next_before_greeting(self) -> Event | Pause:
        """What has come before the greeting is told once, and waits for it.  RFC 5321 section 4.3.1."""
        if self._early_told or not self._lines:
            return PAUSED
        self._early_told = True
        return EarlyTalker(self._lines.peek(_SHOWN))

    def _next_before_tls(self) -> Event | Pause:
        if self._tls_ready is not None:
            event, self._tls_ready = self._tls_ready, None
            return event
        return self._wait_for_tls()

    def _command_event(self, line: bytes) -> Event | Pause:
        session = self._session
        try:
            command = self._parse(line)
        except BadSyntax as error:
            if error.fatal:
                raise RemoteProtocolError(error.text, line, error.code) from None
            unread: Command = AuthResponse(None) if session.state is AUTH else BadLine()
            session.add(unread, kind_of(unread))
            return BadCommand(line, Reply(error.code, f"{error.status} {error.text}"))
        kind = kind_of(command)
        refusal = self._refusal(command, kind)
        bad = None if refusal is None else BadCommand(line, refusal, command)
        if isinstance(command, Bdat):
            self._chunk, self._chunk_left, self._chunk_refusal = command, command.size, bad
            self._taken += 0 if bad is not None else command.size
            return self._next_of_chunk(command)
        return self._received(command, kind, bad)

    def _parse(self, line: bytes) -> Command:
        if self._session.state is AUTH:
            return parse_auth_response(line)
        if b" HTTP/" in line and _is_request_of_http(line):
            # What follows was written by whoever made a browser send it, and not by a client of ours.
            raise BadSyntax(421, "4.7.0", "This is no server of HTTP")
        return parse_command(line, lenient=self._lenient)

    def _received(self, command: Command, kind: Kind, bad: BadCommand | None) -> Event:
        self._session.add(command, kind)
        if bad is not None:
            return bad
        if isinstance(command, Mail):
            self._begin(command)
        elif isinstance(command, Rcpt):
            self._note_envelope(command)
        return CommandReceived(command)

    def _refusal(self, command: Command, kind: Kind) -> Reply | None:
        """The reply that refuses a command; None where nothing stands against it.  RFC 5321 section 4.3.2."""
        session = self._session
        if kind is UnknownCommand and not self._is_of_program(command.verb):
            return Reply(500, "5.5.1 command not recognised")
        if kind in HELLO_KINDS and (kind is Lhlo) is not session.lmtp:
            return Reply(500, f"5.5.1 {command.verb} is not for {'LMTP' if session.lmtp else 'SMTP'}")
        if session.objection(kind, pipelining=True) is not None:
            return Reply(503, "5.5.1 bad sequence of commands")
        found = objection(command, self)
        if found is not None:
            return found.reply
        if isinstance(command, Rcpt):
            return self._objection_to_rcpt(command)
        if isinstance(command, Mail):
            return self._objection_to_mail(command)
        if isinstance(command, Bdat) and command.size > self._room:
            return _TOO_LARGE
        return None

    def _objection_to_mail(self, command: Mail) -> Reply | None:
        if self._has_unknown_parameter(command):
            return _UNKNOWN_PARAMETER
        if command.size is not None and command.size > self._largest:
            return _TOO_LARGE
        if self.tally.transactions >= self.limits.transactions:
            return Reply(421, "4.7.0 too many messages in one session")
        return None

    def _objection_to_rcpt(self, command: Rcpt) -> Reply | None:
        if self._has_unknown_parameter(command):
            return _UNKNOWN_PARAMETER
        if self._session.accepted >= self.limits.recipients:
            return Reply(452, "4.5.3 too many recipients")
        return None

    def _has_unknown_parameter(self, command: Mail | Rcpt) -> bool:
        """RFC 5321 section 4.1.1.11.  What has a field was judged by the offer already."""
        return command.other is not NO_PARAMETERS and not all(map(self._is_of_program, command.other))

    def _is_of_program(self, name: str) -> bool:
        """An extension of this name is offered, and not by the engine: so are its command and its parameters."""
        return name in self.extensions and name not in EXTENSIONS

    @property
    def _largest(self) -> int:
        """The largest message that is taken.  An offer of SIZE without a number, or with 0, names none."""
        return self.extensions.size or self.limits.message

    @property
    def _room(self) -> int:
        return self._largest - self._taken

    def _next_of_content(self, unstuffer: Unstuffer) -> Event | Pause:
        """After 354: pieces of content, then `EndOfData`.  RFC 5321 section 4.5.2."""
        while not self._content_ended:
            if not self._lines:
                return self._end_of_input()
            data, start = self._lines.raw()
            if len(data) - start > _BLOCK:
                data, start = data[start : start + _BLOCK], 0
            piece, used = unstuffer.receive(data, start)
            self._content_ended = used is not None
            self._lines.skip((len(data) if used is None else used) - start)
            fitting = piece[: max(self._room, 0)]
            self._taken += len(piece)
            if fitting:
                return ContentReceived(fitting)
        self._unstuffer = None
        refusal = self._content_refusal(unstuffer)
        command = EndOfData()
        return self._received(command, EndOfData, None if refusal is None else BadCommand(b".", refusal, command))

    def _content_refusal(self, unstuffer: Unstuffer) -> Reply | None:
        if self._room < 0:
            return _TOO_LARGE
        if unstuffer.violation is not None:
            return Reply(554, f"5.6.0 {unstuffer.violation} in the content (RFC 5321 section 2.3.8)")
        return None

    def _next_of_chunk(self, chunk: Bdat) -> Event | Pause:
        """After BDAT: the octets announced, also where it is refused; then `Bdat`.  RFC 3030 section 2."""
        while self._chunk_left:
            if not self._lines:
                return self._end_of_input()
            data = self._lines.take(self._chunk_left)
            self._chunk_left -= len(data)
            if self._chunk_refusal is None:
                return ContentReceived(data)
        bad, self._chunk_refusal, self._chunk = self._chunk_refusal, None, None
        return self._received(chunk, kind_of(chunk), bad)
