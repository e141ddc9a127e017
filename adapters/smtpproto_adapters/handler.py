"""What a server's program decides, and what it may know of the client's session.

Theory of operation
-------------------

A `Handler` takes mail in one of two ways.

* *Whole.*  It overrides `message`, which is called once a transaction is complete.  The defaults of `content` and
  `end_of_data` gather the content meanwhile, in the `ServerSession`; how much that can be is bounded by the engine,
  which refuses what is longer than the SIZE offered.
* *As a stream.*  It overrides `content` and `end_of_data`, and keeps what comes where it likes.

Either way `transaction_ended` is called once for each transaction, whatever became of it, and also where the client
went away in the middle of it: what was kept for it can be let go there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, TypeAlias

from smtpproto import (
    BadCommand,
    Bdat,
    Command,
    Ehlo,
    Envelope,
    Helo,
    Identity,
    Lhlo,
    Mail,
    Rcpt,
    Reply,
    ServerConnection,
    ServiceSession,
)
from smtpproto.sasl import Question, ServerAnswer

from .channel import Channel, TlsInfo
from .received import ReceivedMessage
from .transport import Address, named

Decision: TypeAlias = Reply | Awaitable[Reply | None] | None
"""What a method of a handler says: a reply, or None for the default; at once, or (asyncio, trio) when it is awaited."""
Outcomes: TypeAlias = Reply | Sequence[Reply] | Mapping[str, Reply] | None
"""What becomes of a message: one reply; in LMTP also one for each recipient that was accepted, in order, or by its
forward-path, where one that is missing gets the default."""
Outcome: TypeAlias = Outcomes | Awaitable[Outcomes]
"""The same; at once, or (asyncio, trio) when it is awaited."""
Verdict: TypeAlias = "ServerAnswer | Reply | Awaitable[ServerAnswer | Reply]"
"""What a method of a handler says to a mechanism's question."""

_NO_RECIPIENT: Final = Reply(554, "5.5.1 no valid recipients")


class ServerSession:
    """One client's session, as far as a handler has to know it."""

    def __init__(self, core: ServiceSession, channel: Channel, peer: Address) -> None:
        self._core = core
        self._channel = channel
        self._gathered: list[bytes] = []
        self.peer = peer

    peer: Address
    """Host and port of the client; ``""`` where it came through a unix socket."""

    @property
    def host_name(self) -> str:
        """The name that the server gives itself."""
        return self._core.service.host_name

    @property
    def hello(self) -> str:
        """What the client calls itself; "" before it has said so."""
        return self._core.hello

    @property
    def offer(self) -> tuple[str, ...]:
        """What the service offers it now: the lines of the reply to EHLO, but for the first.

        A `hello` that answers by itself makes its reply of them.
        """
        return self._core.offer

    @property
    def extended(self) -> bool:
        """It said EHLO or LHLO, and not HELO."""
        return self._core.connection.extended

    @property
    def lmtp(self) -> bool:
        """It speaks LMTP.  RFC 2033."""
        return self._core.connection.lmtp

    @property
    def identity(self) -> Identity | None:
        """Who has authenticated; None: nobody."""
        return self._core.identity

    @property
    def tls(self) -> TlsInfo | None:
        """Version, cipher, and the client's certificate; None without TLS."""
        return self._channel.tls

    @property
    def tls_failure(self) -> str:
        """Why the TLS handshake failed, which ends the session; empty where it did not."""
        return self._channel.tls_failure

    @property
    def mail(self) -> Mail | None:
        """The MAIL of the transaction that is under way; None between two of them."""
        return self._core.mail

    @property
    def recipients(self) -> tuple[Rcpt, ...]:
        """The recipients of the transaction that were accepted so far."""
        return tuple(self._core.recipients)

    @property
    def envelope(self) -> Envelope | None:
        """Both of them, as soon as there is a recipient."""
        mail, recipients = self.mail, self.recipients
        return None if mail is None or not recipients else Envelope(mail, recipients)

    @property
    def connection(self) -> ServerConnection:
        """The engine's side of it.  It is for looking at: what is sent with it does not get to the client."""
        return self._core.connection

    def __repr__(self) -> str:
        return f"<ServerSession with {named(self.peer)}>"

    # A handler's `message` ----------------------------------------------------------------------------------------

    def gather(self, data: bytes) -> None:
        """Keep a piece of content, until it is taken, or the transaction over."""
        self._gathered.append(data)

    def forget(self) -> None:
        """Let go of what was gathered."""
        self._gathered.clear()

    def take(self) -> ReceivedMessage | None:
        """What was gathered, as a message; it is not kept any longer.  None where there is no recipient for it."""
        content = b"".join(self._gathered)
        self._gathered.clear()
        envelope = self.envelope
        if envelope is None:
            return None
        return ReceivedMessage(
            envelope=envelope,
            content=content,
            peer=self.peer,
            hello=self.hello,
            extended=self.extended,
            tls=self.tls,
            identity=self.identity,
            lmtp=self.lmtp,
            host_name=self.host_name,
        )


class Handler:
    """What a server's program decides.  Each method returns a `Reply`, or None for the default, which accepts.

    In asyncio and trio they may be ``async``.  An exception is logged, and the client told to try again later (451);
    the server lives on.  One handler serves all sessions; with blocking sockets it is called from many threads.
    """

    def early_talker(self, session: ServerSession) -> Decision:
        """The client spoke before it was greeted, as only programs do that do not care for answers.

        A reply is the greeting then: 554, say; None goes on as if nothing were amiss.  RFC 5321 section 4.3.1.
        """
        return None

    def greeting(self, session: ServerSession) -> Decision:
        """A client has connected.  RFC 5321 section 3.1."""
        return None

    def hello(self, session: ServerSession, command: Ehlo | Helo | Lhlo) -> Decision:
        """It says who it is.  A transaction that was under way is over.  RFC 5321 section 4.1.1.1."""
        return None

    def verify(self, session: ServerSession, question: Question) -> Verdict:
        """What a mechanism asks: is this the password (`Verify`), whose is this token (`VerifyToken`) …?

        What the answers are, each question says.  False is a no, a `Reply` refuses for another reason, and None leaves
        the question to the `ServerAuth` of the service.  RFC 4954 section 4.
        """
        return None

    def mail(self, session: ServerSession, command: Mail) -> Decision:
        """A transaction begins.  RFC 5321 section 4.1.1.2."""
        return None

    def rcpt(self, session: ServerSession, command: Rcpt) -> Decision:
        """One more recipient.  RFC 5321 section 4.1.1.3."""
        return None

    def data(self, session: ServerSession) -> Decision:
        """The content is about to come; a 4yz or 5yz reply declines it.  RFC 5321 section 4.1.1.4."""
        return None

    def content(self, session: ServerSession, data: bytes) -> Decision:
        """A piece of it, unstuffed; where it is cut means nothing.  A reply refuses the whole of it, at its end.

        The default accepts it, and gathers it for `message` where a subclass has one.  Otherwise it keeps nothing:
        whoever takes real mail as a stream has to keep it here, and to answer for it in `end_of_data`.
        """
        if self._wants_messages:
            session.gather(data)
        return None

    def chunk(self, session: ServerSession, command: Bdat) -> Outcome:
        """The octets of a BDAT are in; they came to `content`.  RFC 3030 section 2.

        The default asks `end_of_data` where it was the last one.
        """
        return self.end_of_data(session) if command.last else None

    def end_of_data(self, session: ServerSession) -> Outcome:
        """The content is complete; a positive reply takes over the responsibility for it.  RFC 5321 section 6.1.

        The default asks `message`, where a subclass has one.
        """
        if not self._wants_messages:
            return None
        message = session.take()
        return _NO_RECIPIENT if message is None else self.message(session, message)

    def message(self, session: ServerSession, message: ReceivedMessage) -> Outcome:
        """A whole message; a positive reply takes over the responsibility for it.  RFC 5321 section 6.1.

        Nothing is gathered for it, and it is not called, unless a subclass overrides it.
        """
        return None

    def transaction_ended(self, session: ServerSession) -> None:
        """The transaction is over: answered, refused, given up, or broken off with the connection.

        What was kept for it can be let go.  There is nothing to decide, and it is never ``async``.
        """

    def reset(self, session: ServerSession) -> Decision:
        """The transaction is given up.  RFC 5321 section 4.1.1.5."""
        return None

    def quit(self, session: ServerSession) -> Decision:
        """The client leaves.  RFC 5321 section 4.1.1.10."""
        return None

    def command(self, session: ServerSession, command: Command) -> Decision:
        """Any other command: NOOP, VRFY, EXPN, HELP, ETRN, STARTTLS …

        And the one of an extension that the service offers and the engine does not know, where it is named as its
        keyword: an `UnknownCommand`.  Other unknown ones are for `bad_command`.
        """
        return None

    def bad_command(self, session: ServerSession, event: BadCommand) -> Decision:
        """A line that has to be refused; the default is ``event.reply``."""
        return None

    @property
    def _wants_messages(self) -> bool:
        return getattr(self.message, "__func__", None) is not Handler.message
