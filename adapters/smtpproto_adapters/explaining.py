"""What happened in a recorded session, line by line, and the first thing that was against the protocol.

Theory of operation
-------------------

The session is run again, through both ends of the engine: what the server said is read by a client (the judge), what
the client said by a server (the guide).  What the one reads, the other sends, so both are always told who spoke:

* the judge is asked about each command before it sends it, as a program is that asks `objection`, and knows for each
  reply whether the protocol has a place for it.  The first thing that it does not take is a fault, and it is dismissed;
* the guide knows which command a reply answers, where content is and where it ends, and what is wrong in it.  It goes
  on behind a fault, and gives the replies that were recorded, whatever it thinks of the command: so what follows a
  fault is explained as well as can be.  It reads one line at a time, and what was sent in a group waits (`_waiting`).

Where it cannot follow any more it is lost: a reply is explained then by the last line of the client before it.

Secrets never come as far as a `Line`: what is said within an authentication is masked, and what a server repeats of it.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from smtpproto import (
    EXTENSIONS,
    BadCommand,
    Bdat,
    ClientConnection,
    Command,
    Connect,
    ConnectionClosed,
    Ehlo,
    EndOfData,
    Event,
    Extensions,
    Lhlo,
    Limits,
    LocalProtocolError,
    Pause,
    RecipientReply,
    RemoteProtocolError,
    Reply,
    ReplyReceived,
    ServerConnection,
    ServiceClosing,
    State,
    UnknownCommand,
)
from smtpproto.replies import ReplyParser

from .explanation import Explanation
from .recorded import LARGEST, Noted, Recording, Said, Secured, Unshown
from .reply_words import Meaning, meaning_of, rule_of, words_of
from .said import called, class_of, read, rule_in, without_masks
from .telling import Telling

_ANY_NUMBER: Final = 1 << 40
_LIMITS: Final = Limits(message=_ANY_NUMBER, outstanding=_ANY_NUMBER, recipients=_ANY_NUMBER, transactions=_ANY_NUMBER)
"""What a session may have of them is for the two to say who spoke, and not for us."""

_find_end = re.compile(rb"\r\n\.\r\n").search
_BLOCK: Final = b"x" * 65_536
_COUNTED: Final = 1 << 28
"""Octets, at most, that a record does not show and that are counted all the same."""


def explain(recording: Recording) -> Explanation:
    """Run a recorded session through the engine.  Raises `NoSession` where it is too long."""
    return _Explainer(recording).explanation()


class _Explainer:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._judge: ClientConnection | None = _judge(recording, secure=recording.secure)
        self._guide: ServerConnection | None = _guide(recording, secure=recording.secure)
        self._judged = True
        self._told = Telling()
        # The client's side.
        self._said = b""  # the beginning of a line
        self._waiting: deque[tuple[int, bytes]] = deque()  # what the guide has not read yet, and where it stands
        self._chunk = 0  # octets that are still to come of the last BDAT
        self._content = 0  # octets of content that were not told of yet
        self._tail = b"\r\n"  # the last octets of the content under way
        self._remarked = False
        self._countable = _COUNTED
        self._last: Command | None = Connect()  # what a reply answers, where the guide is lost
        self._unknown: tuple[int, UnknownCommand] | None = None
        # The server's.
        self._replied = b""
        self._parser = ReplyParser(_LIMITS)
        self._reply_lines: list[int] = []  # where in _lines those of the reply under way stand
        self._event: Event | None = None
        self._code = 0  # of the last reply

    def explanation(self) -> Explanation:
        self._begin()
        for entry in self._recording.entries:
            self._told.where = entry.where
            match entry:
                case Said(_, True, octets):
                    self._client_said(octets)
                case Said(_, _, octets):
                    self._server_said(octets)
                case Unshown(_, octets):
                    self._content_not_shown(octets)
                case Noted(_, text):
                    self._told.note(self._told.masking.masked(text))
                case Secured(_, how):
                    self._secured(f"TLS: {how}" if how else "TLS")
        self._end()
        return Explanation(self._recording, tuple(self._told.lines), self._told.fault, self._judged)

    # The beginning, and the end --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Many records leave the greeting out; some begin anywhere."""
        said = next((each for each in self._recording.entries if isinstance(each, Said)), None)
        if said is None or not said.by_client or self._recording.exact:
            return
        self._told.where = said.where
        if said.octets[:4].upper() in (b"EHLO", b"HELO", b"LHLO"):
            self._told.note("the greeting is not in the record")
            self._give(b"220 \r\n")
        else:
            self._told.note("the record does not begin with the greeting: nothing can be held against it")
            self._judged = False
            self._judge = self._guide = None

    def _give(self, octets: bytes) -> None:
        """The server says what the record leaves out."""
        assert self._judge is not None
        assert self._guide is not None
        self._judge.receive_data(octets)
        self._drain_judge()
        self._guide.send(Reply(int(octets[:3])))

    def _end(self) -> None:
        self._tell_content()
        if self._said:
            self._told.note("the record ends within a line of the client's")
        if self._replied or self._parser.in_progress:
            self._judge = None
            if self._judged:
                self._told.end_within_reply()
        if self._judge is None:
            return
        unanswered = [called(command) for command in self._judge.outstanding]
        if unanswered and self._judge.state is not State.CLOSED:
            self._told.note(f"the record ends here; without an answer: {', '.join(unanswered)}")
        elif self._judge.state is not State.CLOSED:
            self._told.note("the record ends here, without QUIT")

    # What the client says --------------------------------------------------------------------------------------------

    def _client_said(self, octets: bytes) -> None:
        octets = self._said + octets
        self._said = b""
        at = 0
        while at < len(octets):
            if self._chunk:
                taken = octets[at : at + self._chunk]
                self._chunk_said(taken)
            elif self._within_content:
                taken = self._content_said(octets[at:])
            else:
                taken = octets[at : octets.find(b"\n", at) + 1]
                if not taken:
                    taken = octets[at:]
                    if len(taken) <= _LIMITS.command_line:
                        self._said = taken
                        return
                self._line_said(taken)
            at += len(taken)

    @property
    def _within_content(self) -> bool:
        if self._guide is None:
            return self._code == 354
        return self._guide.state is State.DATA and not self._guide.waiting and not self._waiting

    def _chunk_said(self, octets: bytes) -> None:
        self._chunk -= len(octets)
        self._content += len(octets)
        self._send_content(octets)
        self._waiting.append((self._told.where, octets))
        self._go_on()
        if not self._chunk:
            self._tell_content()

    def _content_said(self, octets: bytes) -> bytes:
        """Content up to its end, or all that there is; returns that."""
        tail = self._tail[-4:]
        found = _find_end(tail + octets)
        size = len(octets) if found is None else found.end() - len(tail)
        taken = octets[:size]
        self._tail = (tail + taken)[-4:]
        own = len(taken) if found is None else max(0, len(taken) - len(b".\r\n"))
        self._content += own
        self._send_content(taken[:own])
        if found is None:
            self._read_by_guide(taken)
        else:
            self._end_of_content(taken)
        return taken

    def _content_not_shown(self, octets: int) -> None:
        """As many octets of any kind do as well, for the guide to count them."""
        self._content += octets
        if self._guide is None or not self._within_content:
            self._tell_content()
            return
        if octets < len(b"\r\n") or octets > self._countable:
            return
        self._countable -= octets
        for at in range(0, octets - len(b"\r\n"), len(_BLOCK)):
            self._read_by_guide(_BLOCK[: octets - len(b"\r\n") - at])
        self._read_by_guide(b"\r\n")

    def _end_of_content(self, octets: bytes, *, recorded: bool = True) -> None:
        self._tell_content()
        command = EndOfData()
        self._last = command
        self._tail = b"\r\n"
        if recorded:
            self._told.add("client", ".", command="EndOfData")
            self._told.mean(Meaning("the content ends", rule_of(command)))
        self._send(command)
        self._read_by_guide(octets)

    def _read_by_guide(self, octets: bytes) -> None:
        self._waiting.append((self._told.where, octets))
        self._go_on()

    def _send_content(self, octets: bytes) -> None:
        if self._judge is None or not octets:
            return
        objection = self._judge.content_objection(octets)
        if objection is not None:
            octets = b"?" * len(octets)
            if not self._remarked:
                self._remarked = True
                self._told.note(
                    "octets above 127 in the content, though MAIL has no BODY for them (RFC 6152 section 3)"
                )
        try:
            self._judge.send_content(octets)
        except (LocalProtocolError, RemoteProtocolError) as error:
            self._object("server" if isinstance(error, RemoteProtocolError) else "client", error.args[0])

    def _line_said(self, octets: bytes) -> None:
        line = octets.removesuffix(b"\n").removesuffix(b"\r")
        self._tell_content()
        self._secured_meanwhile(line)
        within = self._within_authentication
        line = without_masks(line, within=within)
        command, fault = read(line, within=within)
        shown = self._told.masking.client_line(line, command, answers_challenge=within)
        self._told.add("client", shown, command=class_of(command, fault))
        if octets.endswith(b"\n") and not octets.endswith(b"\r\n"):
            fault = Meaning("a bare LF ends the line, and not CRLF", "RFC 5321 section 2.3.8")
        if fault is not None:
            self._object("client", fault.text, fault.rule)
        if isinstance(command, UnknownCommand):
            self._unknown = self._told.where, command
        self._last = command
        if command is not None:
            self._send(command)
        self._waiting.append((self._told.where, line + b"\r\n"))
        if isinstance(command, Bdat):
            self._begin_chunk(command)
        self._go_on()

    def _begin_chunk(self, command: Bdat) -> None:
        if self._recording.exact:
            self._chunk = command.size
            return
        if self._guide is None:
            return
        self._countable -= command.size
        if command.size > LARGEST or self._countable < 0:
            self._told.note("more octets in chunks than are counted: what follows is not held against anybody")
            self._judge = self._guide = None
            return
        # The record has no octets, if it has the content at all: as many of any kind do as well.
        filler = b"x" * command.size
        self._send_content(filler)
        self._waiting.append((self._told.where, filler))

    def _send(self, command: Command) -> None:
        """Let the judge send it, if nothing stands against it."""
        if self._judge is None:
            return
        objection = self._judge.objection(command)
        if objection is not None:
            self._object("client", objection, rule_in(objection, "RFC 5321 section 4.1.4"))
            return
        try:
            self._judge.send(command)
        except (LocalProtocolError, RemoteProtocolError) as error:
            self._object("server", error.args[0])

    # What the guide makes of it --------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Let the guide read on, as far as it can before the next reply."""
        while self._waiting and self._guide is not None and not self._guide.waiting:
            if self._guide.state in (State.TLS, State.CLOSED, State.ERROR):
                return
            where, octets = self._waiting.popleft()
            self._guide.receive_data(octets)
            self._drain_guide(where)

    def _drain_guide(self, where: int) -> None:
        while self._guide is not None:
            try:
                event = self._guide.next_event()
            except RemoteProtocolError as error:
                self._object("client", error.args[0], where=where)
                self._guide = None
                return
            if isinstance(event, Pause | ConnectionClosed):
                return
            if isinstance(event, BadCommand) and _is_about_content(event):
                text = event.reply.text.partition(" ")[2]
                self._object("client", text, rule_in(text, "RFC 5321 section 4.5.2"), where=where)

    # What the server says --------------------------------------------------------------------------------------------

    def _server_said(self, octets: bytes) -> None:
        *lines, rest = (self._replied + octets).split(b"\n")
        self._replied = b"" if len(rest) > _LIMITS.reply_line else rest
        for line in lines:
            self._reply_line_said(line + b"\n")
        if rest and not self._replied:
            self._reply_line_said(rest)

    def _reply_line_said(self, octets: bytes) -> None:
        line = octets.removesuffix(b"\n").removesuffix(b"\r")
        if not self._reply_lines:
            self._infer_end_of_content(line)
        text = line.decode("utf-8", "surrogateescape")
        if text[:4] == "220 " and self._is_over:
            self._connected_anew()
        self._reply_lines.append(len(self._told.lines))
        self._told.add("server", self._told.masking.reply_line(text))
        self._event = None
        if self._judge is not None:
            self._judge.receive_data(octets)
            self._drain_judge()
        try:
            reply = self._parser.feed_line(line)
        except RemoteProtocolError as error:
            self._object("server", error.args[0])
            self._parser, self._reply_lines = ReplyParser(_LIMITS), []
            return
        if reply is not None:
            self._replied_with(reply)
            self._reply_lines = []

    def _infer_end_of_content(self, line: bytes) -> None:
        """Where content is due, and the server answers, the record leaves the content out, or its end."""
        if self._recording.exact or line[:3] == b"421" or self._guide is None or not self._within_content:
            return
        self._told.note("the content is not in the record" if not self._content else "the end of the content is not")
        self._end_of_content(b".\r\n" if self._tail.endswith(b"\r\n") else b"\r\n.\r\n", recorded=False)

    def _drain_judge(self) -> None:
        while self._judge is not None:
            try:
                event = self._judge.next_event()
            except RemoteProtocolError as error:
                rule = rule_of(self._answered)
                self._object("server", error.args[0], rule_in(error.args[0], rule))
                return
            if isinstance(event, Pause | ConnectionClosed):
                return
            self._event = event

    @property
    def _answered(self) -> Command | None:
        """What the next reply answers."""
        if self._guide is None:
            return self._last
        return self._guide.outstanding[0] if self._guide.waiting else None

    def _replied_with(self, reply: Reply) -> None:
        command, self._code = self._answered, reply.code
        recipient = self._event.recipient if isinstance(self._event, RecipientReply) else None
        meanings = [meaning_of(command, reply, recipient)]
        if reply.enhanced is not None:
            meanings.append(words_of(reply.enhanced))
        first = self._reply_lines[0]
        if isinstance(command, Ehlo | Lhlo) and reply.is_positive:
            self._explain_offer(reply)
        else:
            first = len(self._told.lines) - 1
        event = type(self._event).__name__ if isinstance(self._event, ReplyReceived) else None
        answered = None if command is None else type(command).__name__
        self._told.lines[first] = self._told.lines[first]._replace(
            command=answered, event=event, meanings=tuple(meanings)
        )
        if isinstance(command, UnknownCommand) and reply.is_permanent and self._unknown is not None:
            where, unknown = self._unknown
            self._object(
                "client",
                f"{unknown.verb[:40]} is a command that the server does not know",
                "RFC 5321 section 4.2.4",
                where=where,
            )
        self._give_by_guide(reply)

    def _explain_offer(self, reply: Reply) -> None:
        """Each line of the offer but the first, which is the name of the server."""
        for number, text in zip(self._reply_lines[1:], reply.lines[1:], strict=False):
            offered = Extensions.parse(("", text))
            known = next((EXTENSIONS[keyword] for keyword in offered if keyword in EXTENSIONS), None)
            meaning = Meaning("not known to this program", "") if known is None else Meaning(known.title, known.rfc)
            self._told.lines[number] = self._told.lines[number]._replace(meanings=(meaning,))

    def _give_by_guide(self, reply: Reply) -> None:
        if self._guide is None:
            return
        if isinstance(self._event, ServiceClosing) and not self._guide.waiting:
            self._guide = None  # it says nothing unasked but 421, and the judge takes more
            return
        try:
            self._guide.send(reply)
        except LocalProtocolError as error:
            # What the judge had no word against was sent before TLS, or after the end.
            self._object("server", error.args[0], rule_in(error.args[0], "RFC 5321 section 4.2"))
            self._guide = None
            return
        self._drain_guide(self._told.where)
        self._go_on()

    @property
    def _is_over(self) -> bool:
        return self._code == 221 and self._answered is None and not self._waiting

    def _connected_anew(self) -> None:
        """A record may have several sessions, one after the other."""
        self._told.note("another connection")
        if self._told.fault is None and self._judged:
            self._judge = _judge(self._recording, secure=False)
        self._guide = _guide(self._recording, secure=False)
        self._tail = b"\r\n"
        self._told.masking.begin_anew()

    # TLS -------------------------------------------------------------------------------------------------------------

    def _secured_meanwhile(self, line: bytes) -> None:
        """Most records do not show the TLS handshake; that the client goes on shows that there was one."""
        if not self._recording.shows_tls and self._guide is not None and self._guide.state is State.TLS:
            self._secured("TLS, which the record does not show")

    def _secured(self, how: str) -> None:
        self._told.note(how)
        for end in (self._judge, self._guide):
            if end is not None and end.state is State.TLS:
                try:
                    end.tls_established()
                except (RemoteProtocolError, LocalProtocolError) as error:
                    self._object("client" if end is self._guide else "server", error.args[0])
        self._told.masking.begin_anew()

    @property
    def _within_authentication(self) -> bool:
        """What the client says now is the answer to a challenge."""
        if self._guide is not None and not self._waiting and not self._guide.waiting:
            return self._guide.state is State.AUTH
        return self._code == 334

    # What is told ----------------------------------------------------------------------------------------------------

    def _tell_content(self) -> None:
        if self._content:
            octets, self._content = self._content, 0
            self._told.add("client", f"(content: {octets:,} octet{'' if octets == 1 else 's'})", command="content")

    def _object(self, who: str, text: str, rule: str = "RFC 5321 section 4.3.2", *, where: int | None = None) -> None:
        """Something was against the protocol: the judge has spoken."""
        self._judge = None
        if self._judged:
            self._told.object(who, text, rule, where=where)


def _judge(recording: Recording, *, secure: bool) -> ClientConnection:
    return ClientConnection(lmtp=recording.lmtp, secure=secure, limits=_LIMITS)


def _guide(recording: Recording, *, secure: bool) -> ServerConnection:
    return ServerConnection(lmtp=recording.lmtp, secure=secure, limits=_LIMITS, lenient=True)


def _is_about_content(event: BadCommand) -> bool:
    return isinstance(event.command, EndOfData) or (isinstance(event.command, Bdat) and event.reply.code == 552)
