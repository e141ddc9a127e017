"""A handler that notes what arrives, for those who look on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from smtpproto import Envelope, Mail, Reply
from smtpproto.sasl import Question, VerifyExternal
from smtpproto_adapters.handler import Decision, Handler, Outcome, ServerSession, Verdict
from smtpproto_adapters.maildir import Maildir
from smtpproto_adapters.received import ReceivedMessage

from .users import owner_of

HEAD: Final = 65_536
"""Octets of a message that are kept for its header and a preview."""
PREVIEW_LINES: Final = 4
PREVIEW_CHARACTERS: Final = 200
"""Of each line."""

_NO_RECIPIENT: Final = Reply(554, "5.5.1 no valid recipients")
_ENOUGH: Final = Reply(421, "4.3.2 no more messages are taken, the server is about to end")


@dataclass(frozen=True)
class Arrival:
    """A message that was taken."""

    number: int
    """From 1 on."""
    envelope: Envelope
    size: int
    """In octets."""
    subject: str
    preview: tuple[str, ...]
    """The first lines of its text."""


class _Head:
    """The beginning of a message that is coming in, and how much of it there is."""

    def __init__(self) -> None:
        self.size = 0
        self._data = bytearray()

    def note(self, data: bytes) -> None:
        self.size += len(data)
        self._data += data[: HEAD - len(self._data)]

    def parsed(self, session: ServerSession, envelope: Envelope) -> tuple[str, tuple[str, ...]]:
        """Its subject and its preview; empty where the message is too odd for them."""
        message = ReceivedMessage(
            envelope=envelope,
            content=bytes(self._data),
            peer=session.peer,
            hello=session.hello,
            extended=session.extended,
            tls=session.tls,
            identity=session.identity,
            lmtp=session.lmtp,
            host_name=session.host_name,
        )
        return _subject(message), _preview(message)


def _subject(message: ReceivedMessage) -> str:
    try:
        return _clean(str(message.parsed["subject"] or ""))
    except Exception:  # the email package raises errors of all kinds
        return ""


def _preview(message: ReceivedMessage) -> tuple[str, ...]:
    try:
        body = message.parsed.get_body(("plain", "html"))
        octets: Any = b"" if body is None else body.get_payload(decode=True)
        charset = "utf-8" if body is None else body.get_content_charset("utf-8")
        text = octets.decode("utf-8" if charset == "us-ascii" else charset, "backslashreplace")
    except Exception:
        return ()
    lines = [line.rstrip() for line in _clean(text).splitlines()]
    return tuple(line[:PREVIEW_CHARACTERS] for line in lines if line)[:PREVIEW_LINES]


def _clean(text: str) -> str:
    r"""Octets that are not UTF-8, and the like, become escapes such as ``\udce9``."""
    return text.encode("utf-8", "backslashreplace").decode()


class Witnessing(Handler):
    """Tells of each message that was taken, once it was answered; and of what the mechanisms ask.

    ``enough``: so many are taken, and no more.  It keeps nothing of them; a subclass may.
    """

    enough: int | None = None
    on_arrival: Callable[[ServerSession, Arrival], object] | None = None
    on_question: Callable[[ServerSession, Question], object] | None = None

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.count: int = 0
        self._counting = threading.Lock()
        self._heads: dict[ServerSession, _Head] = {}
        self._arrived: dict[ServerSession, Arrival] = {}

    @property
    def is_full(self) -> bool:
        """No more are taken."""
        return self.enough is not None and self.count >= self.enough

    def verify(self, session: ServerSession, question: Question) -> Verdict:
        """Tell of it, and leave it to the `ServerAuth`, but for what a certificate says."""
        if self.on_question is not None:
            self.on_question(session, question)
        if not isinstance(question, VerifyExternal):
            return super().verify(session, question)
        owner = None if session.tls is None else owner_of(session.tls.certificate)
        return owner if question.authorization_id in ("", owner) else False

    def mail(self, session: ServerSession, command: Mail) -> Decision:
        """Refuse it where there were enough."""
        return _ENOUGH if self.is_full else super().mail(session, command)

    def content(self, session: ServerSession, data: bytes) -> Decision:
        """Keep its beginning."""
        self._heads.setdefault(session, _Head()).note(data)
        return super().content(session, data)

    def end_of_data(self, session: ServerSession) -> Outcome:
        """Note who it was taken for."""
        head, envelope = self._heads.pop(session, None) or _Head(), session.envelope
        if envelope is None:
            return _NO_RECIPIENT
        outcome = super().end_of_data(session)
        happy = taken(envelope, outcome)
        if happy is not None:
            with self._counting:
                self.count += 1
                number = self.count
            self._arrived[session] = Arrival(number, happy, head.size, *head.parsed(session, happy))
        return outcome

    def transaction_ended(self, session: ServerSession) -> None:
        """Tell of it: the client was answered."""
        super().transaction_ended(session)
        self._heads.pop(session, None)
        arrival = self._arrived.pop(session, None)
        if arrival is not None and self.on_arrival is not None:
            self.on_arrival(session, arrival)


class WitnessingMaildir(Witnessing, Maildir):
    """The same for what is kept in a maildir."""


def taken(envelope: Envelope, outcome: Outcome) -> Envelope | None:
    """The envelope with those that it was taken for; None where there is nobody."""
    if outcome is None or isinstance(outcome, Reply):
        return envelope if outcome is None or outcome.is_positive else None
    if isinstance(outcome, Mapping):
        each = [outcome.get(path) for path in envelope.forward_paths]
    else:
        each = list(cast("Sequence[Reply | None]", outcome))
    happy = [rcpt for rcpt, reply in zip(envelope.recipients, each, strict=True) if reply is None or reply.is_positive]
    return Envelope(envelope.mail, happy) if happy else None
