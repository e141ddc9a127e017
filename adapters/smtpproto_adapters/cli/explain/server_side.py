"""What the server says in a recorded session: its replies, and what each of them means."""

from __future__ import annotations

from smtpproto import (
    EXTENSIONS,
    Command,
    Ehlo,
    Extensions,
    Lhlo,
    RecipientReply,
    RemoteProtocolError,
    Reply,
    ReplyReceived,
    UnknownCommand,
)
from smtpproto.replies import ReplyParser

from .client_side import ClientSide
from .ends import LIMITS, Ends
from .reply_words import Meaning, meaning_of, words_of


class ServerSide:
    """Tells of it, and lets both ends of the engine know."""

    def __init__(self, ends: Ends, client: ClientSide) -> None:
        self._ends = ends
        self._client = client
        self._told = ends.told
        self._said = b""  # the beginning of a line
        self._parser = ReplyParser(LIMITS)
        self._lines: list[int] = []  # where among the lines that are told those of the reply under way stand

    @property
    def in_progress(self) -> bool:
        """A reply has begun and not ended."""
        return bool(self._said) or self._parser.in_progress

    def say(self, octets: bytes) -> None:
        """As they stand in the record, lines or not."""
        *lines, rest = (self._said + octets).split(b"\n")
        self._said = b"" if len(rest) > LIMITS.reply_line else rest
        for line in lines:
            self._line_said(line + b"\n")
        if rest and not self._said:
            self._line_said(rest)

    def _line_said(self, octets: bytes) -> None:
        line = octets.removesuffix(b"\n").removesuffix(b"\r")
        ends = self._ends
        if not self._lines and line[:3] != b"421":
            self._infer_end_of_content()
        text = line.decode("utf-8", "surrogateescape")
        if text[:4] == "220 " and ends.is_over:  # a record may have several sessions, one after the other
            ends.begin_anew()
            self._client.begin_anew()
        self._lines.append(len(self._told.lines))
        self._told.add("server", self._told.masking.reply_line(text))
        ends.receive(octets)
        try:
            reply = self._parser.feed_line(line)
        except RemoteProtocolError as error:
            ends.object("server", error.args[0])
            self._parser, self._lines = ReplyParser(LIMITS), []
            return
        if reply is not None:
            self._replied_with(reply)
            self._lines = []

    def _infer_end_of_content(self) -> None:
        """Where content is due, and the server answers, the record leaves the content out, or its end."""
        if not self._ends.recording.exact and self._ends.guide is not None and self._ends.within_content:
            self._client.leave_end_out()

    def _replied_with(self, reply: Reply) -> None:
        event, command = self._ends.event, self._ends.answered
        self._ends.code = reply.code
        recipient = event.recipient if isinstance(event, RecipientReply) else None
        meanings = [meaning_of(command, reply, recipient)]
        if reply.enhanced is not None:
            meanings.append(words_of(reply.enhanced))
        number = self._lines[0]
        if isinstance(command, Ehlo | Lhlo) and reply.is_positive:
            self._explain_offer(reply)
        else:
            number = len(self._told.lines) - 1
        self._told.lines[number] = self._told.lines[number]._replace(
            command=None if command is None else type(command).__name__,
            event=type(event).__name__ if isinstance(event, ReplyReceived) else None,
            meanings=tuple(meanings),
        )
        self._hold_against_client(command, reply)
        self._ends.reply(reply)

    def _explain_offer(self, reply: Reply) -> None:
        """Each line of the offer but the first, which is the name of the server."""
        for number, text in zip(self._lines[1:], reply.lines[1:], strict=False):
            offered = Extensions.parse(("", text))
            known = next((EXTENSIONS[keyword] for keyword in offered if keyword in EXTENSIONS), None)
            meaning = Meaning("not known to this program", "") if known is None else Meaning(known.title, known.rfc)
            self._told.lines[number] = self._told.lines[number]._replace(meanings=(meaning,))

    def _hold_against_client(self, command: Command | None, reply: Reply) -> None:
        """That a command is unknown is a fault only where the server thinks so, too."""
        if isinstance(command, UnknownCommand) and reply.is_permanent and self._client.unknown is not None:
            where, unknown = self._client.unknown
            text = f"{unknown.verb[:40]} is a command that the server does not know"
            self._ends.object("client", text, "RFC 5321 section 4.2.4", where=where)
