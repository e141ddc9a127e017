"""Recorded sessions: how they are read, and how they are played to either end of the engine.

`tests/transcripts/NAME.json` is what went over the wire between a real server and a scripted client, or a real client
and a scripted server.  Its `log` is a list of `[who, text]`: `S` is the server, `C` the client, and `-` tells what else
happened, such as a TLS handshake.  A text has one character for each octet.

What stands there is read without the engine: the replies by their hyphens, each line of the client's with the reply
that it got, content by its 354, and a chunk by its BDAT.  So there is something to hold the engine against.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from smtpproto import (
    AuthResponse,
    BadCommand,
    ClientConnection,
    Command,
    ContentReceived,
    EndOfData,
    LineEnds,
    LocalProtocolError,
    Mail,
    RemoteProtocolError,
    Reply,
    ServerConnection,
)
from smtpproto.commands import BadSyntax, parse_auth_response, parse_command
from smtpproto.states import State
from smtpproto.testing import whole
from tests.driving import receive, upcoming

if TYPE_CHECKING:
    from smtpproto import Connection, Event
    from smtpproto.testing import Cut

FOLDER = Path(__file__).with_name("transcripts")
NAMES = tuple(sorted(file.stem for file in FOLDER.glob("*.json")))


# What stands there --------------------------------------------------------------------------------------------------


class Turn(NamedTuple):
    """What the client sends, and gets an answer to: a command, with the chunk of a BDAT; or the content after a 354."""

    line: bytes
    """With its CRLF; empty where this is content."""
    content: bytes
    """As it went over the wire, with its final dot."""
    replies: tuple[bytes, ...]
    """One; none where none came; one a recipient behind the content in LMTP."""
    first: int
    """How many replies of the phase come before its own."""
    after: int
    """How many replies of the phase had come when it was sent."""

    @property
    def is_content(self) -> bool:
        return not self.line

    @property
    def is_complete(self) -> bool:
        """False for content whose end was never sent."""
        return self.content.endswith(b"\r\n.\r\n") or self.content == b".\r\n"

    @property
    def body(self) -> bytes:
        """The content without the dots that are not its own.  RFC 5321 section 4.5.2."""
        if not self.is_content:
            return self.content
        wire = self.content[: -len(b".\r\n")] if self.is_complete else self.content
        return b"\r\n".join(line.removeprefix(b".") for line in wire.split(b"\r\n"))


class Phase(NamedTuple):
    """What lies before, between or behind the TLS handshakes of a session."""

    sent: bytes
    """All octets of the client."""
    replies: tuple[bytes, ...]
    """All replies of the server; the greeting is the first one of the first phase."""
    turns: tuple[Turn, ...]
    """Up to the first one without an answer."""


class Recording(NamedTuple):
    """A session."""

    name: str
    lmtp: bool
    secure: bool
    """TLS was there before the first octet."""
    phases: tuple[Phase, ...]

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(turn for phase in self.phases for turn in phase.turns)

    @property
    def replies(self) -> tuple[bytes, ...]:
        return tuple(reply for phase in self.phases for reply in phase.replies)


def load(name: str, entries: int | None = None) -> Recording:
    """A recording, or so many entries of its log."""
    log = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["log"][:entries]
    lmtp = any(who == "C" and text.startswith("LHLO") for who, text in log)
    readers = [_Reader(lmtp=lmtp, greeting=True)]
    for who, text in log:
        if who == "S":
            readers[-1].server_said(text.encode("latin-1"))
        elif who == "C":
            readers[-1].client_said(_in_full(text))
        elif text.startswith("TLS"):
            readers.append(_Reader(lmtp=lmtp, greeting=not readers[-1].received))
    secure = not readers[0].received
    return Recording(name, lmtp, secure, tuple(reader.read() for reader in readers[1 if secure else 0 :]))


_ABRIDGED = re.compile(r"\[(\d+) bytes\] (.*?\r\n\r\n)(.+?\r\n)", re.DOTALL)


def _in_full(text: str) -> bytes:
    """What was sent; where it is abridged, its last line came again and again up to the final dot."""
    match = _ABRIDGED.match(text)
    if match is None:
        return text.encode("latin-1")
    size, head, line = int(match[1]), match[2].encode(), match[3].encode()
    times, rest = divmod(size - len(head) - len(b".\r\n"), len(line))
    assert rest == 0, text
    return head + line * times + b".\r\n"


class _Reader:
    """Makes turns of what was said between two TLS handshakes."""

    def __init__(self, *, lmtp: bool, greeting: bool) -> None:
        self.lmtp = lmtp
        self.received = b""
        self.sent = b""
        self.flights: list[tuple[int, int]] = []  # (where it ends in what was sent, replies there were before it)
        self.used = 1 if greeting else 0  # replies that belong to what was read so far
        self.accepted = 0  # recipients

    def server_said(self, octets: bytes) -> None:
        self.received += octets

    def client_said(self, octets: bytes) -> None:
        self.sent += octets
        self.flights.append((len(self.sent), len(self.replies())))

    def replies(self) -> list[bytes]:
        """Whole ones: each ends with the line that has no hyphen behind its code."""
        return re.findall(rb"(?:[0-9]{3}-[^\n]*\n)*[0-9]{3}[^-\n][^\n]*\n", self.received)

    def read(self) -> Phase:
        replies = self.replies()
        turns: list[Turn] = []
        at = 0
        while at < len(self.sent) and self.used <= len(replies):
            line, content = self._next(at, behind=turns[-1].replies if turns else ())
            owed = self._owed(line)
            own = tuple(replies[self.used : self.used + owed])
            turns.append(Turn(line, content, own, self.used, self._replies_before(at)))
            self._note_recipient(line, own)
            self.used += owed
            at += len(line + content)
        return Phase(self.sent, tuple(replies), tuple(turns))

    def _next(self, at: int, *, behind: tuple[bytes, ...]) -> tuple[bytes, bytes]:
        if behind and behind[0].startswith(b"354"):
            # The CRLF before the dot may be the one behind DATA.
            end = self.sent.find(b"\r\n.\r\n", at - 2)
            return b"", self.sent[at:] if end < 0 else self.sent[at : end + 5]
        stop = self.sent.index(b"\n", at) + 1
        line = self.sent[at:stop]
        chunk = re.match(rb"BDAT (\d+)", line)
        return line, self.sent[stop : stop + int(chunk[1])] if chunk else b""

    def _replies_before(self, at: int) -> int:
        return next(replies for end, replies in self.flights if at < end)

    def _owed(self, line: bytes) -> int:
        ends_content = not line or re.fullmatch(rb"BDAT \d+ LAST\r\n", line)
        return self.accepted if self.lmtp and ends_content else 1

    def _note_recipient(self, line: bytes, replies: tuple[bytes, ...]) -> None:
        if line.upper().startswith(b"MAIL"):
            self.accepted = 0
        elif line.upper().startswith(b"RCPT") and replies and replies[0].startswith(b"2"):
            self.accepted += 1


def start_tls(connection: Connection) -> None:
    """What was learned before it is forgotten.  RFC 3207 section 4.2."""
    connection.tls_established()
    assert connection.secure
    assert not connection.extended
    assert not connection.extensions


# At the client ------------------------------------------------------------------------------------------------------


class ClientReplay:
    """The client's end: it sends what the recorded client sent, and reads what the recorded server said.

    A command is sent when the recorded one was.  What the engine will not send is left out, and so are the replies
    that it got: `refused` has it.  What the engine will not send before the commands before it are answered is sent
    then: `held_back` has it.  Instead of an answer to a challenge that is none, the exchange is cancelled.
    """

    def __init__(self, recording: Recording, cut: Cut = whole) -> None:
        # What must not be sent is to be told, and not to be mended.
        self.client = ClientConnection(lmtp=recording.lmtp, secure=recording.secure, line_ends=LineEnds.REFUSE)
        self.events: list[Event] = []
        self.made: list[bytes] = []
        """The octets that the engine made of each turn,"""
        self.stood_there: list[bytes] = []
        """and those that were recorded, or what of them may be sent."""
        self.answered: list[tuple[Command, bytes]] = []
        """What was sent, with each reply that it got."""
        self.refused: list[bytes] = []
        self.held_back: list[bytes] = []
        self._cut = cut
        self._left_out: set[int] = set()  # replies of this phase
        self._read = 0  # replies of this phase that are read, or left out
        self._eight_bit = False  # MAIL has said so
        for number, phase in enumerate(recording.phases):
            if number:
                start_tls(self.client)
            self._play(phase)
        self._receive(b"")

    def _play(self, phase: Phase) -> None:
        self._left_out, self._read = set(), 0
        for turn in phase.turns:
            self._read_up_to(turn.after, phase)
            if not self._may_send(turn):
                self._read_up_to(turn.first, phase)
                (self.held_back if self._may_send(turn) else self.refused).append(turn.line)
            if self._may_send(turn):
                self._send(turn)
            else:
                self._left_out.update(range(turn.first, turn.first + len(turn.replies)))
        # Replies that belong to nothing are of no turn: whoever plays such a recording wants to know of them.
        self._read_up_to(len(phase.replies), phase)

    def _read_up_to(self, count: int, phase: Phase) -> None:
        due = [phase.replies[number] for number in range(self._read, count) if number not in self._left_out]
        self._read = max(self._read, count)
        self._receive(b"".join(due), is_end=False)

    def _receive(self, octets: bytes, *, is_end: bool = True) -> None:
        self.events += receive(self.client, *([b""] if is_end else self._cut(octets) if octets else ()))

    def _may_send(self, turn: Turn) -> bool:
        if turn.is_content:
            return self.client.state is State.DATA
        command = self._command(turn)
        return command is not None and self.client.objection(command) is None

    def _command(self, turn: Turn) -> Command | None:
        line = turn.line.removesuffix(b"\r\n")
        try:
            # What the recorded client wrote in an odd way, ours writes in the right one.
            return parse_auth_response(line) if self.client.state is State.AUTH else parse_command(line, lenient=True)
        except BadSyntax:
            return AuthResponse(None) if self.client.state is State.AUTH else None

    def _send(self, turn: Turn) -> None:
        if turn.is_content:
            self._send_content(turn)
            return
        command = self._command(turn)
        assert command is not None
        if isinstance(command, Mail):
            self._eight_bit = command.body is not None
        made = self.client.send(command)
        if turn.content:
            made += self._send_body(turn)
        self.made.append(made)
        self.stood_there.append(turn.line + (self._sendable(turn) if turn.content else b""))
        self.answered += [(command, reply) for reply in turn.replies]

    def _send_content(self, turn: Turn) -> None:
        made = self._send_body(turn)
        if turn.is_complete:
            made += self.client.send(EndOfData())
            self.answered += [(EndOfData(), reply) for reply in turn.replies]
        sendable = self._sendable(turn)
        self.made.append(made)
        self.stood_there.append(turn.content if sendable == turn.body else stuffed(sendable))

    def _send_body(self, turn: Turn) -> bytes:
        body = self._sendable(turn)
        if body != turn.body:
            with pytest.raises(LocalProtocolError):
                self.client.send_content(turn.body)
        return b"".join(self.client.send_content(piece) for piece in self._cut(body))

    def _sendable(self, turn: Turn) -> bytes:
        """The content without what no client may send: bare LF, and octets above 127 where MAIL said nothing of them.

        RFC 5321 section 2.3.8, RFC 6152 section 3.
        """
        body = re.sub(rb"\r?\n", b"\r\n", turn.body) if turn.is_content else turn.body
        return body if self._eight_bit else re.sub(rb"[^\0-\x7f]", b"?", body)


def stuffed(body: bytes) -> bytes:
    """What goes over the wire.  RFC 5321 section 4.5.2."""
    return re.sub(rb"(?m)^\.", b"..", body) + b".\r\n"


# At the server ------------------------------------------------------------------------------------------------------


class ServerReplay:
    """The server's end: it reads what the recorded client sent, and answers what the recorded server answered.

    All of the client's octets up to a TLS handshake come at once, or as `cut` has it; so they are there before the
    answers that the client had waited for.  What the engine refuses gets the refusal that was recorded, and the
    engine's own where it was accepted: `refused` has it, with the engine's code.  Where the replies end, the last
    command stays unanswered.
    """

    def __init__(self, recording: Recording, cut: Cut = whole, *, lenient: bool = False) -> None:
        self.server = ServerConnection(lmtp=recording.lmtp, secure=recording.secure, lenient=lenient)
        self.events: list[Event] = []
        """With the content between two of them in one piece."""
        self.made: list[bytes] = []
        """The octets that the engine made of each reply,"""
        self.stood_there: list[bytes] = []
        """and those that were recorded, where they could be given."""
        self.withheld: list[bytes] = []
        """Those that could not: they accept what the engine refuses."""
        self.refused: list[tuple[bytes, int]] = []
        self.error: RemoteProtocolError | None = None
        self._replies: list[bytes] = []
        try:
            for number, phase in enumerate(recording.phases):
                self._replies = list(reversed(phase.replies))
                if number:
                    start_tls(self.server)
                else:
                    self._answer(None)
                for piece in cut(phase.sent):
                    self._receive(piece)
            self._receive(b"")
        except RemoteProtocolError as error:
            self.error = error

    def _receive(self, piece: bytes) -> None:
        self.server.receive_data(piece)
        for event in upcoming(self.server):
            self._note(event)
            while self._replies and self.server.waiting:
                self._answer(event)

    def _note(self, event: Event) -> None:
        last = self.events[-1] if self.events else None
        if isinstance(event, ContentReceived) and isinstance(last, ContentReceived):
            self.events[-1] = ContentReceived(last.data + event.data)
            return
        self.events.append(event)
        if isinstance(event, BadCommand):
            self.refused.append((event.line, event.reply.code))

    def _answer(self, event: Event | None) -> None:
        recorded = self._replies.pop()
        if isinstance(event, BadCommand) and recorded[:1] not in b"45":
            self.withheld.append(recorded)
            self.server.send(event.reply)
            return
        lines = recorded.decode("utf-8", "surrogateescape").removesuffix("\r\n").split("\r\n")
        self.made.append(self.server.send(Reply(int(recorded[:3]), [line[4:] for line in lines])))
        self.stood_there.append(recorded)
