"""The conversation of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from smtpproto.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Expn,
    Lhlo,
    Noop,
    Quit,
    UnknownCommand,
    Vrfy,
)
from smtpproto.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, TransportError
from smtpproto.events import (
    NEED_DATA,
    PAUSED,
    BadCommand,
    CommandReceived,
    ConnectionClosed,
    ContentReceived,
    EarlyTalker,
    Event,
    Pause,
)
from smtpproto.replies import Reply
from smtpproto.sasl import (
    NO_BINDINGS,
    Challenge,
    FindPassword,
    Identity,
    Question,
    SaslError,
    ServerAnswer,
    ServerMechanism,
    Verify,
)
from smtpproto.server_auth import as_looked_up
from smtpproto.service import ServiceSession
from smtpproto.states import CLOSED, FAILED

from .effects import Ask, Close, Flow, Receive, Send, ShutDown, StartTls, Wait, Watcher, ending, ignore

_GATHERED = 65536
"""Octets of replies that are gathered at most: many short commands in one read must not make us keep all answers."""
_AT_ONCE: Final = frozenset({Ehlo, Lhlo, Data, Vrfy, Expn, Noop, Quit, UnknownCommand, type(None)})
"""Whose replies are not gathered, nor those to lines that are no command.  RFC 2920 section 3.2."""

_ANSWERED: Final = (CommandReceived, BadCommand)

_SHUTTING_DOWN = Reply(421, "4.3.2 the service is shutting down")
_TOO_MANY_FAILURES = Reply(421, "4.7.0 too many failed authentications")
_TOO_MANY_ERRORS = Reply(421, "4.7.0 too many errors")
_TIMED_OUT = Reply(421, "4.4.2 waited too long, closing")
_INTERNAL_ERROR = Reply(421, "4.3.0 internal error, closing")
_AUTHENTICATED = Reply(235, "2.7.0 authentication succeeded")
_WRONG = 535
"""What is told later than it is known.  RFC 4954 section 6."""
_CANCELLED = Reply(501, "5.7.0 authentication cancelled")


def serve(session: ServiceSession, watch: Watcher = ignore, *, implicit_tls: bool = False) -> Flow[None]:
    """Serve one client, from the greeting to the end.

    With ``implicit_tls`` TLS is negotiated before anything else (RFC 8314 section 3.3); the session is one with
    ``secure=True`` then.  A client with which that fails hears nothing.

    The program is asked about every command but AUTH, every `BadCommand` and piece of content, and answers with a
    `Reply`, or None for the default; the greeting is the answer to `Connect`.  A reply to a piece of content refuses
    the content, and the program is not asked about the rest of it.  In LMTP the end of the content may be answered with
    a sequence of replies, one for each accepted recipient, in order (RFC 2033 section 4.2).  It is asked about an
    `EarlyTalker` before the greeting is sent: a reply takes its place, and None lets it go.  It is asked each
    `Question` of a mechanism, such as to `Verify` a password, and answers what the question says, or a `Reply` that
    refuses for another reason; None leaves it to the `ServerAuth` of the service.

    Raises `LocalProtocolError` where the program answers what the protocol has no place for, and whatever is thrown in
    where it is asked; the client is told 421.
    """
    server = _Server(session, watch)
    failure: Exception | None = None
    try:
        if implicit_tls:
            yield from server.negotiate(session.service.timeouts.tls)
        yield from server.run()
    except ShutDown:
        yield from server.leave(_SHUTTING_DOWN)
    except RemoteProtocolError as error:
        yield from server.leave(Reply(error.code, f"{error.code // 100}.5.2 {error.args[0]}"))
    except TransportError as error:
        if error.code is ErrorCode.TIMED_OUT:
            yield from server.leave(_TIMED_OUT)
    except Exception as error:
        failure = error
        yield from server.leave(_INTERNAL_ERROR)
    yield from ending(Close())
    if failure is not None:
        raise failure


class _Server:
    """The state of the conversation that its functions share: replies are gathered until input runs out."""

    def __init__(self, session: ServiceSession, watch: Watcher) -> None:
        self.session = session
        self.connection = session.connection
        self.watch = watch
        self.out: list[bytes] = []
        self.gathered = 0
        self.content_refusal: Reply | None = None
        self.speechless = False
        """Nothing that could be written would be read as a reply: TLS is due, or a write has failed midway."""

    def run(self) -> Flow[None]:
        connection = self.connection
        yield from self._greet()
        while connection.state is not CLOSED:
            if self.gathered > _GATHERED:
                yield from self._flush()
            event = connection.next_event()
            if event is NEED_DATA or event is PAUSED:
                event = yield from self._next(event)
            self.watch(event)
            if isinstance(event, _ANSWERED):
                yield from self._answer(event)
                if type(event.command) in _AT_ONCE:
                    yield from self._flush()
            elif isinstance(event, ContentReceived):
                yield from self._content(event)
            elif isinstance(event, ConnectionClosed):
                return
            else:
                self.speechless = True  # StartTlsReady; what was gathered is flushed before the handshake
        yield from self._flush()

    def negotiate(self, timeout: float | None) -> Flow[None]:
        """Begin TLS, before the greeting."""
        self.speechless = True
        self.connection.channel_bindings = (yield StartTls(None, timeout)) or NO_BINDINGS
        self.speechless = False

    def leave(self, reply: Reply) -> Flow[None]:
        """Say a last word, if the client can hear it."""
        if self.speechless:
            return
        try:
            self.out.append(self.connection.send(reply))
        except LocalProtocolError:
            self.out.append(bytes(reply))  # the machine has stopped, or the code is one for broken commands
        yield from ending(Send(b"".join(self.out), self.connection.deadline))

    def _greet(self) -> Flow[None]:
        greeting = CommandReceived(Connect())
        reply = yield Ask(greeting)
        early = yield from self._early_talker()
        if early is not None:
            self.watch(early)
            verdict = yield Ask(early)
            reply = reply if verdict is None else verdict
        self._conclude(greeting, reply)
        yield from self._flush()

    def _early_talker(self) -> Flow[EarlyTalker | None]:
        """Whether the client has spoken before it was greeted.

        It must wait for the greeting (RFC 5321 section 4.3.1), and whoever waits for it knows whether it may go on.
        Software that throws spam at servers often does neither.  So what has come is looked at once, after the program
        had its time to answer, and is not waited for.
        """
        try:
            self.connection.receive_data((yield Receive(0)))
        except TransportError as error:
            if error.code is not ErrorCode.TIMED_OUT:
                raise
        event = self.connection.next_event()
        return None if isinstance(event, Pause) else cast("EarlyTalker", event)

    def _next(self, event: Event | Pause) -> Flow[Event]:
        """The next event, with as much input as it takes, and TLS where it is due; ``event`` itself if it is one."""
        connection = self.connection
        continued = False
        while event is NEED_DATA or event is PAUSED:
            yield from self._flush()
            if event is NEED_DATA:
                connection.receive_data((yield Receive(connection.deadline, continued=continued)))
                continued = True
            else:
                self.session.tls_established((yield StartTls(None, connection.deadline)) or NO_BINDINGS)
                self.speechless = False
                continued = False
            event = connection.next_event()
        return event

    def _flush(self) -> Flow[None]:
        """Write what was gathered.  RFC 2920 section 3.2."""
        if self.out:
            data = b"".join(self.out)
            self.out.clear()
            self.gathered = 0
            before, self.speechless = self.speechless, True
            yield Send(data, self.connection.deadline)
            self.speechless = before

    def _content(self, event: ContentReceived) -> Flow[None]:
        if self.content_refusal is not None:
            return
        answer = yield Ask(event)
        if answer is not None:
            self.content_refusal = _checked_refusal(answer, "a piece of content")

    def _answer(self, event: CommandReceived | BadCommand) -> Flow[None]:
        session = self.session
        command = event.command
        reply = self._refusal(event)
        if reply is not None:
            self._conclude(event, reply)
        elif isinstance(command, Auth) and isinstance(event, CommandReceived):
            yield from self._authenticate(command, session.mechanisms[command.mechanism])
        else:
            self._conclude(event, (yield Ask(event)))
        if session.has_erred_too_often:
            self._part(_TOO_MANY_ERRORS)

    def _refusal(self, event: CommandReceived | BadCommand) -> Reply | None:
        """What the policy, or the program about the content before, has said already."""
        session, command = self.session, event.command
        refusal = None
        if isinstance(event, CommandReceived):
            refusal = session.refusal(event.command)
            if refusal is not None:
                session.errors += 1
        elif command is not None and not isinstance(command, UnknownCommand):
            # Out of sequence, as what follows a MAIL that had this answer, or not offered yet: it gets the same.
            refusal = session.missing(command)
        if refusal is None and self.content_refusal is not None and isinstance(command, EndOfData | Bdat):
            refusal, self.content_refusal = self.content_refusal, None
        return refusal

    def _conclude(self, event: CommandReceived | BadCommand, answer: object) -> None:
        """Answer as the program says, or by default."""
        session, connection, command = self.session, self.connection, event.command
        if answer is None:
            answer = session.default(event)
        if isinstance(answer, Reply):
            replies: Sequence[Reply] = (answer,)
        else:
            replies = self._one_for_each(command, answer)
        for reply in replies:
            if connection.state is not CLOSED:
                self._send(reply, command)
        # LMTP owes the end of the content one reply for each recipient, and all get the one that there is.
        while connection.waiting and connection.state is not CLOSED:
            self._send(replies[-1], command)
        session.note(event, replies[-1])

    def _one_for_each(self, command: Command | None, answer: object) -> Sequence[Reply]:
        """The replies to the end of the content, one for each accepted recipient.  RFC 2033 sections 4.2 and 4.3."""
        if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
            raise LocalProtocolError(f"{command!r} was answered with {answer!r}: it must be a Reply, or None")
        if not self._wants_one_for_each(command):
            raise LocalProtocolError(
                f"{command!r} was answered with several replies: that is for the end of the content in LMTP"
            )
        given = tuple(cast("Sequence[object]", answer))
        replies = [reply for reply in given if isinstance(reply, Reply) and not reply.is_intermediate]
        wanted = len(self.session.recipients)
        if len(given) != wanted or len(replies) != wanted:
            raise LocalProtocolError(
                f"the end of the content was answered with {given!r}: it must be one Reply, or {wanted}, one for each "
                "accepted recipient"
            )
        return replies

    def _wants_one_for_each(self, command: Command | None) -> bool:
        # A last chunk behind one that was refused is out of sequence, and gets one reply.
        if not self.connection.lmtp or not self.session.recipients or self.connection.state is FAILED:
            return False
        return isinstance(command, EndOfData) or (isinstance(command, Bdat) and command.last)

    def _send(self, reply: Reply, command: Command | None = None) -> None:
        data = self.connection.send(self.session.complete(reply, command))
        self.out.append(data)
        self.gathered += len(data)

    def _authenticate(self, auth: Auth, mechanism: ServerMechanism) -> Flow[None]:
        """RFC 4954 section 4."""
        session = self.session
        try:
            identity = yield from self._exchange(auth, mechanism)
        except SaslError as error:
            yield from self._refuse(auth, Reply(error.code, f"{error.status} {error}"))
        except _Refused as refused:
            yield from self._refuse(auth, refused.reply)
        else:
            session.identity = identity
            self._send(_AUTHENTICATED, auth)

    def _refuse(self, auth: Auth, reply: Reply) -> Flow[None]:
        """An attempt that failed: it costs time, and there are not many of them."""
        session = self.session
        session.auth_failed(reply)
        delay = 0.0 if session.service.auth is None else session.service.auth.failure_delay
        if delay and reply.code == _WRONG:
            yield from self._flush()
            yield Wait(delay)
        self._send(reply, auth)
        if session.has_failed_too_often:
            self._part(_TOO_MANY_FAILURES)

    def _part(self, reply: Reply) -> None:
        """Tell the client that it was too much, unless it was told already."""
        if self.connection.state is not CLOSED:
            self._send(reply)

    def _exchange(self, auth: Auth, mechanism: ServerMechanism) -> Flow[Identity]:
        exchange = mechanism.exchange(auth.initial_response)
        looked_up = False  # the name that the client wrote, by `ServerAuth` and not by the program
        try:
            step = next(exchange)
            while True:
                answer: ServerAnswer
                if isinstance(step, Challenge):
                    answer = yield from self._response_to(step)
                else:
                    answer = yield from self._verdict_on(step)
                    if answer is None:
                        answer = self.session.answer(step)
                        looked_up = isinstance(step, Verify | FindPassword)
                step = exchange.send(answer)
        except StopIteration as stop:
            identity: Identity = stop.value
            return as_looked_up(identity) if looked_up else identity
        finally:
            exchange.close()

    def _response_to(self, challenge: Challenge) -> Flow[bytes]:
        self._send(Reply(334, challenge.text))
        event = yield from self._next(self.connection.next_event())
        self.watch(event)
        if isinstance(event, BadCommand):
            raise _Refused(event.reply)
        if isinstance(event, CommandReceived) and isinstance(event.command, AuthResponse):
            if event.command.response is None:
                raise _Refused(_CANCELLED)
            return event.command.response
        raise TransportError("the client closed the connection while it authenticated", ErrorCode.CLOSED_BY_PEER)

    def _verdict_on(self, question: Question) -> Flow[ServerAnswer]:
        verdict: ServerAnswer | Reply = yield Ask(question)
        if isinstance(verdict, Reply):
            raise _Refused(_checked_refusal(verdict, type(question).__name__))
        return verdict


def _checked_refusal(answer: object, what: str) -> Reply:
    if not isinstance(answer, Reply) or answer.is_positive or answer.is_intermediate:
        raise LocalProtocolError(f"{what} was answered with {answer!r}: it must be a reply that refuses")
    return answer


class _Refused(Exception):
    """The authentication is refused by a reply that is there already."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply
