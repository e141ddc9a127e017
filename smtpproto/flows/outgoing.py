"""One message on its way: what was sent of it, what was answered, and what that makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol, cast

from smtpproto.client import ClientConnection
from smtpproto.commands import Bdat, Data, Rcpt
from smtpproto.content import EIGHT_BIT, LineEnds, objection_to, size_as_sent
from smtpproto.delivery import DeliveryResult, Fate, RecipientResult
from smtpproto.envelope import Envelope
from smtpproto.errors import LocalProtocolError
from smtpproto.offer import objection
from smtpproto.replies import EnhancedStatus, Reply

from .effects import Source

PIECE: Final = 1_048_576
"""Octets of content that are sent at a time, where all of it is in memory."""
_SMALL: Final = 32_768
"""Octets of content that may be sent before it is known whether any recipient is accepted."""

_DATA: Final = Data()
_BDAT: Final = Bdat(0)

# What a command is to its message: the number of a recipient, or one of these.
MAIL: Final = -1
DATA: Final = -2
CHUNK: Final = -3
END: Final = -4
RSET: Final = -5


class Content(Protocol):
    """The content of a message, as a flow needs it."""

    @property
    def size(self) -> int | None:
        """Octets, where that is known before it is read."""
        ...

    @property
    def whole(self) -> bytes | None:
        """All of it, where it is in memory."""
        ...

    @property
    def chunks(self) -> Source:
        """Its pieces, where it is not."""
        ...


class Whole:
    """Content that is in memory."""

    __slots__ = ("whole",)
    chunks: Source = iter(())

    def __init__(self, whole: bytes) -> None:
        self.whole: bytes = whole

    @property
    def size(self) -> int:
        """Octets."""
        return len(self.whole)


class Outgoing:
    """One message on its way."""

    __slots__ = (
        "_accepted",
        "_answered_as",
        "_eight_bit",
        "_final",
        "_lmtp",
        "_mail",
        "_named",
        "_recipients",
        "_refusal",
        "begun",
        "chunked",
        "complete",
        "content",
        "end_gathered",
        "end_written",
        "envelope",
        "error",
        "exhausted",
        "go_ahead",
        "is_refused",
        "reported",
        "seen",
        "taken",
        "unanswered",
        "whole",
    )

    content: Content

    def __init__(self, envelope: Envelope, *, lmtp: bool = False) -> None:
        self.envelope: Envelope = envelope
        self.whole: bytes | None = None
        """All of its content, where that is in memory."""
        self.chunked: bool = False
        self.error: Exception | None = None
        self._lmtp = lmtp
        recipients = envelope.recipients
        self._answered_as = _first_of_equals(recipients) if lmtp else range(len(recipients))
        self._named = len(set(self._answered_as)) if lmtp else len(recipients)
        self.unanswered: int = 0
        """Commands of it that wait for their replies."""
        self.complete: bool = False
        """All of it that will be sent was."""
        self.begun: bool = False
        """Its MAIL was sent."""
        self.end_gathered: bool = False
        self.end_written: bool = False
        """The last octet of its content, and what ends it, was given to the transport."""
        self.exhausted: bool = False
        """There is no more content: it was read to its end."""
        self.taken: int = 0
        """Octets of its content that were read; so many of them the program was told of,"""
        self.reported: int = 0
        self.seen: int = 0
        """and behind so many it was looked whether the server has said anything."""
        self.go_ahead: bool = False
        """354 was given."""
        self.is_refused: bool = False
        """Nothing of it that is sent from now on could be accepted."""
        self._eight_bit = False
        self._mail: Reply | None = None
        self._recipients: dict[int, Reply] = {}
        self._accepted: list[int] = []
        self._refusal: Reply | None = None
        self._final: list[Reply] = []

    # What goes out -------------------------------------------------------------------------------------------------

    @property
    def recipients(self) -> Iterator[tuple[int, Rcpt]]:
        """Those that are sent, each with its number.

        In LMTP one that is named twice is sent once, and both get its result: servers that answer once for the two
        (against RFC 2033 section 4.2) would answer the next command in place of the other, for all that we could tell.
        """
        return (
            (number, rcpt)
            for number, rcpt in enumerate(self.envelope.recipients)
            if self._answered_as[number] == number
        )

    def prepare(self, content: Content, connection: ClientConnection, chunking: bool | None) -> None:
        """Choose how it is sent, by what the server offers.

        Raises `LocalProtocolError` where it cannot be sent over this connection.
        """
        self.content, self.whole = content, content.whole
        self._eight_bit = self.whole is not None and not self.whole.isascii()
        offered = connection.extensions
        mail = self.envelope.mail
        size = self._size_as_sent(connection.line_ends) if "SIZE" in offered else None
        added: dict[str, Any] = {}
        if mail.size is None and size is not None:
            added["size"] = size
        if mail.body is None and (self._eight_bit or self.whole is None) and "8BITMIME" in offered:
            added["body"] = "8BITMIME"
        if added:
            self.envelope = self.envelope.with_mail(**added)
        binary = self.envelope.mail.body == "BINARYMIME"
        saves_a_trip = "CHUNKING" in offered and "PIPELINING" in offered
        self.chunked = chunking if chunking is not None else binary or saves_a_trip
        self._check_content(size, connection)
        self._check_offer(connection)

    def _size_as_sent(self, line_ends: LineEnds) -> int | None:
        """What SIZE counts: the content as it will be sent, but for the dots.  RFC 1870 section 5."""
        if self.whole is None or not self.is_text:
            return self.content.size
        return size_as_sent(self.whole, line_ends)

    def _check_content(self, size: int | None, connection: ClientConnection) -> None:
        whole, offered = self.whole, connection.extensions
        if self._eight_bit and self.envelope.mail.body not in EIGHT_BIT:
            raise LocalProtocolError(
                "the content has octets above 127, and 8BITMIME is not "
                + ("asked for: give body='8BITMIME'" if "8BITMIME" in offered else "offered: encode it")
                + " (RFC 6152 section 3)"
            )
        fault = None if whole is None or not self.is_text else objection_to(whole, connection.line_ends)
        if fault is not None:
            raise LocalProtocolError(fault)
        if size is not None and offered.size and size > offered.size:
            raise LocalProtocolError(
                f"the content has {size} octets, more than the {offered.size} of SIZE (RFC 1870 section 6.1)"
            )

    def _check_offer(self, connection: ClientConnection) -> None:
        """Nothing is begun that cannot be ended: every command is judged before the first is sent."""
        prospect = _Prospect(connection)
        recipients = self.envelope.recipients
        if not prospect.extensions.limits:  # which count each; else a plain one stands under no condition
            recipients = tuple([rcpt for rcpt in recipients if not (rcpt.is_plain and rcpt.is_ascii)])
        for command in (self.envelope.mail, *recipients, _BDAT if self.chunked else _DATA):
            found = objection(command, prospect)
            if found is not None:
                raise LocalProtocolError(found.text)
            prospect.tally.note(command, prospect.extensions)

    @property
    def is_text(self) -> bool:
        """It consists of lines."""
        return self.envelope.mail.body != "BINARYMIME"

    @property
    def is_small(self) -> bool:
        """It costs little to send it in vain, and it can be sent again."""
        return self.whole is not None and len(self.whole) <= _SMALL

    def next_piece(self, whole: bytes) -> bytes:
        """The next piece of content that is in memory; all of it, where that is not much."""
        start, self.taken = self.taken, min(self.taken + PIECE, len(whole))
        self.exhausted = self.taken == len(whole)
        return whole if len(whole) <= PIECE else whole[start : self.taken]

    def took(self, piece: object) -> bytes:
        """A piece of content that is not in memory; None is the end of it."""
        self.exhausted = piece is None
        if piece is None:
            return b""
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise LocalProtocolError(f"a piece of the content is a {type(piece).__name__}: it must be bytes")
        octets = bytes(cast("bytes", piece))
        self.taken += len(octets)
        return octets

    # What comes in -------------------------------------------------------------------------------------------------

    def note(self, role: int, reply: Reply) -> None:
        """One of its commands was answered."""
        if role >= 0:
            self._recipients[role] = reply
            if reply.is_positive:
                self._accepted.append(role)
            else:
                self.is_refused = self.is_refused or (not self._accepted and self.is_answered())
        elif role == END:
            self._final.append(reply)
        elif role == DATA and reply.is_intermediate:
            self.go_ahead = True
        elif role == MAIL:
            self._mail = reply
            self.is_refused = not reply.is_positive
        elif not reply.is_positive and self._refusal is None:
            self._refusal = reply
            self.is_refused = True

    def is_decided(self) -> bool:
        """DATA was answered."""
        return self.go_ahead or self._refusal is not None

    def is_answered(self) -> bool:
        """It is known whom the content would be for."""
        return self.is_refused or len(self._recipients) == self._named

    @property
    def is_over(self) -> bool:
        """It is known that its last chunk has ended the transaction, or that there was none.

        Behind a chunk that was refused, be it the last, nobody knows (RFC 3030 section 2); but in LMTP, which answers
        for each recipient, the last one ends it whatever is said.
        """
        if self._mail is not None and not self._mail.is_positive:
            return True
        if self._lmtp:
            return self.has_recipients and self._refusal is None and self.unanswered <= 1
        return bool(self._final) and self._final[-1].is_positive

    @property
    def has_recipients(self) -> bool:
        """One at least was accepted so far."""
        return bool(self._accepted)

    @property
    def is_settled(self) -> bool:
        """Nothing will change any more."""
        return self.complete and not self.unanswered

    # What becomes of it --------------------------------------------------------------------------------------------

    def result(self, error: Exception | None = None, left: Reply | None = None) -> DeliveryResult:
        """``error``: what ended the connection; ``left``: with which words, if any, the server did so."""
        each = tuple(RecipientResult(rcpt, *self._fate(i, left)) for i, rcpt in enumerate(self.envelope.recipients))
        return DeliveryResult(self.envelope, each, self._last_word() or left, self.error or error)

    def _last_word(self) -> Reply | None:
        """What is answered to content that nobody was to have says nothing."""
        if not self._accepted:
            refused = self._mail is not None and not self._mail.is_positive
            return self._mail if refused else None
        return self._refusal or (self._final[-1] if self._final else None)

    def _fate(self, number: int, left: Reply | None) -> tuple[Fate, Reply | None]:
        number = self._answered_as[number]
        reply = self._recipients.get(number)
        if self._mail is not None and not self._mail.is_positive:
            return _refused(self._mail)
        if reply is not None and not reply.is_positive:
            return (Fate.DEFERRED, reply) if _means_too_many(reply) else _refused(reply)
        if self._refusal is not None:
            return _refused(self._refusal)
        final = self._final_reply(number)
        if final is not None:
            return (Fate.ACCEPTED, final) if final.is_positive else _refused(final)
        if left is not None and self.go_ahead and not self.end_written:
            return _refused(left)  # in the midst of its content
        # A server that answers an earlier command with 421 goes no further: RFC 5321 section 3.8.
        not_reached = left is not None and not self._final
        return (Fate.UNKNOWN if self.end_written and not not_reached else Fate.NOT_SENT), left

    def _final_reply(self, number: int) -> Reply | None:
        if number not in self._recipients:
            return None
        nth = self._accepted.index(number) if self._lmtp else 0
        return self._final[nth] if nth < len(self._final) else None


_TOO_LARGE: Final = (EnhancedStatus(5, 2, 3), EnhancedStatus(5, 3, 4))
"""Message length exceeds administrative limit, message too big for system.  RFC 3463 sections 3.3 and 3.4."""


def _means_too_many(reply: Reply) -> bool:
    """552 to RCPT means what 452 does, too many recipients (RFC 5321 section 4.5.3.1.10); unless it says that the
    message is too large for this one, which is final (RFC 1870 section 6.4)."""
    return reply.code == 552 and reply.enhanced not in _TOO_LARGE


def _refused(reply: Reply) -> tuple[Fate, Reply]:
    return (Fate.REFUSED if reply.is_permanent else Fate.DEFERRED), reply


def _first_of_equals(recipients: tuple[Rcpt, ...]) -> list[int]:
    """For each the number of the first that is the same, which is its own where there was none before."""
    seen: dict[Rcpt, int] = {}
    return [seen.setdefault(rcpt, number) for number, rcpt in enumerate(recipients)]


class _Prospect:
    """Where the session will stand while an envelope is sent."""

    def __init__(self, connection: ClientConnection) -> None:
        self.extensions = connection.extensions
        self.secure = connection.secure
        self.authenticated = connection.authenticated
        self.tally = connection.tally.copy()
