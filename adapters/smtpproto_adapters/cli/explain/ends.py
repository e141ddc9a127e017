"""Both ends of the engine, by which a recorded session is run again: the judge and the guide (see `explaining`)."""

from __future__ import annotations

from collections import deque
from typing import Final

from smtpproto import (
    BadCommand,
    Bdat,
    ClientConnection,
    Command,
    Connect,
    ConnectionClosed,
    EndOfData,
    Event,
    Limits,
    LocalProtocolError,
    Pause,
    RemoteProtocolError,
    Reply,
    ServerConnection,
    ServiceClosing,
    State,
)

from .recorded import Recording
from .reply_words import rule_of
from .said import rule_in
from .telling import Telling

_ANY_NUMBER: Final = 1 << 40
LIMITS: Final = Limits(message=_ANY_NUMBER, outstanding=_ANY_NUMBER, recipients=_ANY_NUMBER, transactions=_ANY_NUMBER)
"""What a session may have of them is for the two to say who spoke, and not for us."""


class Ends:
    """The judge, the guide, and what is told of what they make of the session.

    Either is None once it is dismissed, or lost.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.judge: ClientConnection | None = _judge(recording, secure=recording.secure)
        self.guide: ServerConnection | None = _guide(recording, secure=recording.secure)
        self.judged = True
        """False where the record begins too late for that."""
        self.told: Telling = Telling()
        self.event: Event | None = None
        """What the judge made of the last line of the server."""
        self.last: Command | None = Connect()
        """What a reply answers, where the guide is lost."""
        self.code = 0
        """Of the last reply."""
        self._waiting: deque[tuple[int, bytes]] = deque()  # what the guide has not read yet, and where it stands
        self._remarked = False

    @property
    def answered(self) -> Command | None:
        """What the next reply answers."""
        if self.guide is None:
            return self.last
        return self.guide.outstanding[0] if self.guide.waiting else None

    @property
    def is_over(self) -> bool:
        """The server has said farewell."""
        return self.code == 221 and self.answered is None and not self._waiting

    @property
    def within_content(self) -> bool:
        """What the client says now is content."""
        if self.guide is None:
            return self.code == 354
        return self.guide.state is State.DATA and not self.guide.waiting and not self._waiting

    @property
    def within_authentication(self) -> bool:
        """What the client says now is the answer to a challenge."""
        if self.guide is not None and not self._waiting and not self.guide.waiting:
            return self.guide.state is State.AUTH
        return self.code == 334

    def object(self, who: str, text: str, rule: str = "RFC 5321 section 4.3.2", *, where: int | None = None) -> None:
        """Something was against the protocol: the judge has spoken."""
        self.judge = None
        if self.judged:
            self.told.object(who, text, rule, where=where)

    def get_lost(self) -> None:
        """Nobody can follow any more, and nothing is held against anybody."""
        self.judge = self.guide = None

    # What the client said --------------------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Let the judge send it, if nothing stands against it."""
        if self.judge is None:
            return
        objection = self.judge.objection(command)
        if objection is not None:
            self.object("client", objection, rule_in(objection, "RFC 5321 section 4.1.4"))
            return
        try:
            self.judge.send(command)
        except (LocalProtocolError, RemoteProtocolError) as error:
            self.object("server", error.args[0])

    def send_content(self, octets: bytes) -> None:
        """The same for content."""
        if self.judge is None or not octets:
            return
        objection = self.judge.content_objection(octets)
        if objection is not None:
            octets = b"?" * len(octets)
            if not self._remarked:
                self._remarked = True
                self.told.note("octets above 127 in the content, though MAIL has no BODY for them (RFC 6152 section 3)")
        try:
            self.judge.send_content(octets)
        except (LocalProtocolError, RemoteProtocolError) as error:
            self.object("server" if isinstance(error, RemoteProtocolError) else "client", error.args[0])

    def wait(self, octets: bytes) -> None:
        """They are the next that the guide is to read, once it goes on."""
        self._waiting.append((self.told.where, octets))

    def go_on(self) -> None:
        """Let the guide read on, as far as it can before the next reply."""
        while self._waiting and self.guide is not None and not self.guide.waiting:
            if self.guide.state in (State.TLS, State.CLOSED, State.ERROR):
                return
            where, octets = self._waiting.popleft()
            self.guide.receive_data(octets)
            self._drain_guide(where)

    def _drain_guide(self, where: int) -> None:
        while self.guide is not None:
            try:
                event = self.guide.next_event()
            except RemoteProtocolError as error:
                self.object("client", error.args[0], where=where)
                self.guide = None
                return
            if isinstance(event, Pause | ConnectionClosed):
                return
            if isinstance(event, BadCommand) and _is_about_content(event):
                text = event.reply.text.partition(" ")[2]
                self.object("client", text, rule_in(text, "RFC 5321 section 4.5.2"), where=where)

    # What the server said --------------------------------------------------------------------------------------------

    def give(self, octets: bytes) -> None:
        """The server says what the record leaves out."""
        assert self.judge is not None
        assert self.guide is not None
        self.receive(octets)
        self.guide.send(Reply(int(octets[:3])))

    def receive(self, octets: bytes) -> None:
        """Let the judge read a line of the server."""
        self.event = None
        if self.judge is not None:
            self.judge.receive_data(octets)
        while self.judge is not None:
            try:
                event = self.judge.next_event()
            except RemoteProtocolError as error:
                self.object("server", error.args[0], rule_in(error.args[0], rule_of(self.answered)))
                return
            if isinstance(event, Pause | ConnectionClosed):
                return
            self.event = event

    def reply(self, reply: Reply) -> None:
        """Let the guide say it, too."""
        if self.guide is None:
            return
        if isinstance(self.event, ServiceClosing) and not self.guide.waiting:
            self.guide = None  # it says nothing unasked but 421, and the judge takes more
            return
        try:
            self.guide.send(reply)
        except LocalProtocolError as error:
            # What the judge had no word against was sent before TLS, or after the end.
            self.object("server", error.args[0], rule_in(error.args[0], "RFC 5321 section 4.2"))
            self.guide = None
            return
        self._drain_guide(self.told.where)
        self.go_on()

    # What happens between --------------------------------------------------------------------------------------------

    def begin_anew(self) -> None:
        """There is another connection."""
        self.told.note("another connection")
        if self.told.fault is None and self.judged:
            self.judge = _judge(self.recording, secure=False)
        self.guide = _guide(self.recording, secure=False)
        self.told.masking.begin_anew()

    def secure(self, how: str) -> None:
        """TLS stands."""
        self.told.note(how)
        for end in (self.judge, self.guide):
            if end is not None and end.state is State.TLS:
                try:
                    end.tls_established()
                except (RemoteProtocolError, LocalProtocolError) as error:
                    self.object("client" if end is self.guide else "server", error.args[0])
        self.told.masking.begin_anew()


def _judge(recording: Recording, *, secure: bool) -> ClientConnection:
    return ClientConnection(lmtp=recording.lmtp, secure=secure, limits=LIMITS)


def _guide(recording: Recording, *, secure: bool) -> ServerConnection:
    return ServerConnection(lmtp=recording.lmtp, secure=secure, limits=LIMITS, lenient=True)


def _is_about_content(event: BadCommand) -> bool:
    return isinstance(event.command, EndOfData) or (isinstance(event.command, Bdat) and event.reply.code == 552)
