"""What became of a message, recipient by recipient.  RFC 5321 section 6.1."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from .commands import Rcpt
from .envelope import Envelope
from .errors import SmtpError
from .replies import Reply
from .values import Value, set_field


class Fate(Enum):
    """What became of a message for one recipient.  They are ordered from the best to the worst."""

    ACCEPTED = "accepted"
    """The server has taken over the responsibility.  RFC 5321 section 6.1."""
    DEFERRED = "refused for now"
    """4yz: to be tried again later.  RFC 5321 section 4.2.1."""
    NOT_SENT = "not sent"
    """The connection ended, or the message could not be sent, before the server had all of it: it was not accepted."""
    REFUSED = "refused for good"
    """5yz: not to be tried again as it is."""
    UNKNOWN = "unknown"
    """The server had all of it, and the connection ended before its answer.  Whoever sends it again may send it twice,
    whoever does not may lose it.  RFC 5321 section 4.5.4.1, RFC 1047.  In LMTP it counts as refused for now: RFC 2033
    section 5."""

    if TYPE_CHECKING:

        def __hash__(self) -> int: ...
    else:
        __hash__ = object.__hash__


_ORDER = tuple(Fate)


class RecipientResult(Value):
    """What became of it for one recipient."""

    __match_args__ = ("recipient", "fate", "reply")
    __slots__ = __match_args__

    recipient: Rcpt
    fate: Fate
    reply: Reply | None
    """What decided it: the answer to MAIL, RCPT, DATA, or the content, or a 421; None where the server said nothing."""

    def __init__(self, recipient: Rcpt, fate: Fate, reply: Reply | None) -> None:
        set_field(self, "recipient", recipient)
        set_field(self, "fate", fate)
        set_field(self, "reply", reply)

    @property
    def accepted(self) -> bool:
        """True for ACCEPTED."""
        return self.fate is Fate.ACCEPTED

    def __str__(self) -> str:
        said = "" if self.reply is None else f": {self.reply}"
        return f"{self.recipient.forward_path} {self.fate.value}{said}"


class DeliveryResult(Value):
    """What became of one message."""

    __match_args__ = ("envelope", "recipients", "reply", "error")
    __slots__ = __match_args__

    envelope: Envelope
    """As it was sent: with the parameters that were added, such as SIZE."""
    recipients: tuple[RecipientResult, ...]
    """One for each of the envelope, in its order."""
    reply: Reply | None
    """The server's last word about the message: the answer to its content, where it came as far as that."""
    error: Exception | None
    """What ended it before its time: of the connection (`TransportError`, `RemoteProtocolError`) or of the program;
    None where the conversation took its course, whatever the server said."""

    def __init__(
        self,
        envelope: Envelope,
        recipients: tuple[RecipientResult, ...],
        reply: Reply | None,
        error: Exception | None = None,
    ) -> None:
        set_field(self, "envelope", envelope)
        set_field(self, "recipients", recipients)
        set_field(self, "reply", reply)
        set_field(self, "error", error)

    @property
    def accepted(self) -> tuple[RecipientResult, ...]:
        """Those that it was accepted for."""
        return tuple(each for each in self.recipients if each.accepted)

    @property
    def refused(self) -> tuple[RecipientResult, ...]:
        """Those that the server refused, for now or for good."""
        return tuple(each for each in self.recipients if each.fate in (Fate.DEFERRED, Fate.REFUSED))

    @property
    def fate(self) -> Fate:
        """The worst of all recipients."""
        return max((each.fate for each in self.recipients), key=_ORDER.index)

    def raise_unless_accepted(self) -> None:
        """Raise `DeliveryFailed` unless it was accepted for every recipient."""
        if self.fate is not Fate.ACCEPTED:
            raise DeliveryFailed(self) from self.error


class DeliveryFailed(SmtpError):
    """A message was not accepted for all of its recipients."""

    result: DeliveryResult

    def __init__(self, result: DeliveryResult) -> None:
        others = [str(each) for each in result.recipients if not each.accepted]
        more = f", and {len(others) - 1} more" if len(others) > 1 else ""
        because = "" if result.error is None else f" ({result.error})"
        super().__init__(f"{others[0]}{more}{because}")
        self.result = result
