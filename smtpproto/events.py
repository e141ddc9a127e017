"""What the peer did, as values.

At the client every event but two is a `ReplyReceived` or a subclass of it, so that ``match`` can be as fine or as
coarse as its reader wants.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from .commands import Command
from .extensions import Extensions
from .replies import Reply
from .values import Value, set_field, slot_setter


class Event(Value):
    """The base of all events."""

    __slots__ = ()


class Pause(Enum):
    """What `next_event` returns when there is no event."""

    NEED_DATA = "feed receive_data()"
    PAUSED = "something must be done first: send() a reply, or tls_established()"


NEED_DATA: Final = Pause.NEED_DATA
"""There is no event before more has been received."""
PAUSED: Final = Pause.PAUSED
"""There is no event before something is done: a reply is sent, or TLS negotiated."""


# At the client -----------------------------------------------------------------------------------------------------


class ReplyReceived(Event):
    """A reply, with the command that it answers."""

    __slots__ = ("command", "reply")
    __match_args__ = ("command", "reply")

    command: Command
    """The command that this answers; `Connect` for the greeting, `EndOfData` for the reply after the final dot."""
    reply: Reply

    def __init__(self, command: Command, reply: Reply) -> None:
        set_command(self, command)
        set_reply(self, reply)


new_reply_received: Final = ReplyReceived.__new__
set_command: Final = slot_setter(ReplyReceived, "command")
set_reply: Final = slot_setter(ReplyReceived, "reply")


class RecipientReply(ReplyReceived):
    """LMTP: the reply that the end of the content owes to one of the recipients.  RFC 2033 section 4.2."""

    __slots__ = ("recipient",)
    __match_args__ = ("command", "reply", "recipient")

    recipient: str
    """The forward-path that the reply is for."""

    def __init__(self, command: Command, reply: Reply, recipient: str) -> None:
        super().__init__(command, reply)
        set_field(self, "recipient", recipient)


class Greeting(ReplyReceived):
    """The reply that opens the connection: 220, or a refusal.  RFC 5321 section 3.1."""

    __slots__ = ("domain",)
    __match_args__ = ("command", "reply", "domain")

    domain: str
    """The first word of its text: the name that the server gives itself, or ""."""

    def __init__(self, command: Command, reply: Reply, domain: str) -> None:
        set_command(self, command)
        set_reply(self, reply)
        set_field(self, "domain", domain)

    @property
    def accepted(self) -> bool:
        """False where the server will not serve: 4yz or 5yz."""
        return self.reply.is_positive


class EhloReply(ReplyReceived):
    """The answer to EHLO or LHLO.  RFC 5321 section 4.1.1.1."""

    __slots__ = ("extensions",)
    __match_args__ = ("command", "reply", "extensions")

    extensions: Extensions
    """What the server offers; empty where it refused."""

    def __init__(self, command: Command, reply: Reply, extensions: Extensions) -> None:
        set_command(self, command)
        set_reply(self, reply)
        _set_extensions(self, extensions)


_set_extensions = slot_setter(EhloReply, "extensions")


class HeloReply(ReplyReceived):
    """The answer to HELO."""

    __slots__ = ()


class StartTlsReady(ReplyReceived):
    """Both roles: TLS must be negotiated now, then `tls_established()`.  RFC 3207 section 4."""

    __slots__ = ()


class AuthChallenge(ReplyReceived):
    """334: the server's next challenge.  RFC 4954 section 4."""

    __slots__ = ("challenge",)
    __match_args__ = ("command", "reply", "challenge")
    _secret = frozenset({"challenge", "reply"})

    challenge: bytes | None
    """Decoded; None where the text of the reply is no base64."""

    def __init__(self, command: Command, reply: Reply, challenge: bytes | None) -> None:
        super().__init__(command, reply)
        set_field(self, "challenge", challenge)


class AuthSucceeded(ReplyReceived):
    """The authentication exchange ended well.  RFC 4954 section 4."""

    __slots__ = ()


class AuthFailed(ReplyReceived):
    """The authentication exchange ended with a refusal.  RFC 4954 section 6."""

    __slots__ = ("error",)
    __match_args__ = ("command", "reply", "error")

    error: str | None
    """The JSON document in which the server has told the reason before, as the servers of OAuth do in a last challenge
    (RFC 7628 section 3.2.2); None where there was none."""

    def __init__(self, command: Command, reply: Reply, error: str | None = None) -> None:
        super().__init__(command, reply)
        set_field(self, "error", error)


class AuthReason(Enum):
    """Why authentication is due."""

    REQUIRED_BY_SERVER = "the server wants authentication first"
    """530.  RFC 4954 section 6."""
    TLS_REQUIRED = "the server wants TLS first"
    """530, where TLS could be had: that is what it asks for, and authentication comes after.  RFC 3207 section 4."""
    CREDENTIALS_GIVEN = "credentials were given, and authenticating is up to the program"
    SUBMISSION = "this is a message submission service"
    """Its policy is to take mail only from those whom it knows.  RFC 6409 section 4.3."""


class AuthNeeded(ReplyReceived):
    """Authentication is due: the server said 530, or the handshake has come as far as it.  RFC 4954 section 6."""

    __slots__ = ("mechanisms", "why", "usable")
    __match_args__ = ("command", "reply", "mechanisms", "why", "usable")

    mechanisms: tuple[str, ...]
    """What the server offers now."""
    why: AuthReason
    usable: tuple[str, ...]
    """Those of them that can be used, the best first: which are known here, and expose no secret to those who listen.
    In the handshake also: which suit the credentials and the options, if there are credentials."""

    def __init__(
        self,
        command: Command,
        reply: Reply,
        mechanisms: tuple[str, ...],
        why: AuthReason,
        usable: tuple[str, ...] = (),
    ) -> None:
        super().__init__(command, reply)
        set_field(self, "mechanisms", mechanisms)
        set_field(self, "why", why)
        set_field(self, "usable", usable)


class ContentWanted(ReplyReceived):
    """354: the content may be sent.  RFC 5321 section 4.1.1.4."""

    __slots__ = ()


class Unsolicited(Command):
    """The pseudo-command that a reply answers when nothing was asked."""

    __slots__ = ()


class ServiceClosing(ReplyReceived):
    """The server leaves: 421, whatever it answers, or a refusal that nothing asked for.  RFC 5321 section 3.8.

    In the second case ``command`` is `Unsolicited`.  Nothing can be sent after it.
    """

    __slots__ = ()


# At the server -----------------------------------------------------------------------------------------------------


class CommandReceived(Event):
    """A command that is well-formed, in sequence and offered.  `Connection.send` its reply."""

    __slots__ = ("command",)
    __match_args__ = ("command",)

    command: Command

    def __init__(self, command: Command) -> None:
        _set_received(self, command)


_set_received = slot_setter(CommandReceived, "command")


class BadCommand(Event):
    """A line that has to be refused.  `Connection.send` the reply proposed, or another."""

    __slots__ = ("line", "reply", "command")
    __match_args__ = ("line", "reply", "command")
    _secret = frozenset({"line"})

    line: bytes
    """As it came, without its CRLF.  It may hold a secret, so it does not show in ``repr``."""
    reply: Reply
    """What the RFC wants: 500, 501, 503, 504, 530, 550, 555 …"""
    command: Command | None
    """The command, where the line could be read as one."""

    def __init__(self, line: bytes, reply: Reply, command: Command | None = None) -> None:
        set_field(self, "line", line)
        set_field(self, "reply", reply)
        set_field(self, "command", command)


class EarlyTalker(Event):
    """The client has spoken before it was greeted, which RFC 5321 section 4.3.1 forbids.  The greeting is still due.

    It tells whether the client looks at what it is answered: software that throws spam at servers often does not.
    """

    __slots__ = ("received",)
    __match_args__ = ("received",)
    _secret = frozenset({"received"})

    received: bytes
    """What has come, or its beginning: at most 256 octets.  It may hold a secret, so it does not show in ``repr``.
    Nothing of it is lost: it is read when the greeting was sent."""

    def __init__(self, received: bytes) -> None:
        set_field(self, "received", received)


class ContentReceived(Event):
    """A piece of the content, unstuffed.  Where the pieces are cut depends on the network."""

    __slots__ = ("data",)
    __match_args__ = ("data",)

    data: bytes

    def __init__(self, data: bytes) -> None:
        _set_data(self, data)

    def __repr__(self) -> str:
        return f"ContentReceived(<{len(self.data)} octets>)"


_set_data = slot_setter(ContentReceived, "data")


# At both -----------------------------------------------------------------------------------------------------------


class ConnectionClosed(Event):
    """The end of the stream."""

    __slots__ = ("unanswered", "last_reply", "clean")
    __match_args__ = ("unanswered", "last_reply", "clean")

    unanswered: tuple[Command, ...]
    """Commands that no reply came for, oldest first.  What became of them is not known."""
    last_reply: Reply | None
    """The last reply before the end."""
    clean: bool
    """True where QUIT was answered before."""

    def __init__(self, unanswered: tuple[Command, ...], last_reply: Reply | None, clean: bool) -> None:
        set_field(self, "unanswered", unanswered)
        set_field(self, "last_reply", last_reply)
        set_field(self, "clean", clean)
