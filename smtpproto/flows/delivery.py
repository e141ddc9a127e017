"""Sending mail: one message, or many over one connection, in as few round trips as the server allows.

Theory of operation
-------------------

What is sent is sent in order, by one coroutine that reads like the protocol: envelope, content, next envelope.  It
writes nothing itself: what goes out is gathered, and flushed when the next step hangs on what the server says (RFC 2920
section 3.2).  Whether a command may go out before the ones before it are answered is not decided here: it is sent as
soon as the connection has no objection.  So the same code runs in groups where PIPELINING was offered, and in lock-step
where it was not.

Every reply finds its message through ``_expected``, which mirrors what is outstanding at the connection.  With DATA the
final dot of one message and the envelope of the next leave in one write, and the wait for its 354 brings the answer to
that dot as well.  With BDAT a message needs no wait at all: a few small ones are under way at a time.  What cannot be
read again, or is large, waits for the answers to its recipients first, so that no content is sent in vain.

Behind a last chunk that was refused nobody knows whether the transaction is over (RFC 3030 section 2): at Exim it goes
on where there was no recipient, and the next RCPT would be one of the old sender's.  So RSET, which costs no round trip
with PIPELINING, goes out before the next MAIL, unless it is known by then that the transaction is over; without
PIPELINING that is always known.

The fate of a message is decided by what was written and what was answered, never by what was hoped for: before the
last octet of its content was given to the connection it was *not sent*, whatever breaks; from there on, until its
answer, it is *unknown*; but not where the server says before it that it leaves (RFC 5321 section 3.8).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from smtpproto.client import ClientConnection
from smtpproto.commands import Bdat, Command, Data, EndOfData, Rset
from smtpproto.content import Normaliser
from smtpproto.delivery import DeliveryResult
from smtpproto.envelope import Envelope
from smtpproto.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, TransportError
from smtpproto.events import ConnectionClosed, Event, Pause, ReplyReceived, ServiceClosing, Unsolicited
from smtpproto.replies import Reply
from smtpproto.states import SERVICE_CLOSING, TRANSACTION_STATES, State

from .client import arrived, check_free, next_answer
from .effects import Close, Effect, Flow, Next, Octets, Receive, Send, Source, Watcher, ending, ignore, next_item
from .outgoing import CHUNK, DATA, END, MAIL, PIECE, RSET, Content, Outgoing

_T = TypeVar("_T")
_Work: TypeAlias = Generator[Effect | None, Any, _T]

Progress: TypeAlias = Callable[[int, int | None], object]
"""Called with the octets of the program's content that were sent so far, and how many there are, if that is known."""

_GATHERED: Final = 65_536
"""Octets of content that are gathered at most before they are written."""
_GROUP: Final = 200
"""Commands that wait for their answers at a time; it is gone down to half of it before more are sent."""
_AHEAD: Final = 8
"""Messages under way at a time, where they are sent in chunks: so many fates a broken connection leaves unknown."""
_DATA: Final = Data()
_END_OF_DATA: Final = EndOfData()
_RSET: Final = Rset()
_LAST_WORDS: Final = 2.0
"""Seconds that a server gets for what it said before it closed the connection under what was being written."""


def deliver(
    connection: ClientConnection,
    envelope: Envelope,
    content: Content,
    watch: Watcher = ignore,
    *,
    chunking: bool | None = None,
    on_progress: Progress | None = None,
) -> Flow[DeliveryResult]:
    """Send one message.  The result says what became of it for each recipient, also where the connection broke.

    ``chunking``: BDAT (True), DATA (False), or BDAT where it saves a round trip (None).  Raises `LocalProtocolError`
    where the message cannot be sent over this connection: then nothing of it was.  What reading the content raises
    comes out, too.
    """
    messages = Deliveries(
        connection,
        iter([(envelope, content)]),
        watch,
        at_hand=True,
        chunking=chunking,
        on_progress=on_progress,
    )
    result = yield from messages.next_result()
    assert result is not None
    yield from messages.next_result()  # the end of the conversation
    if result.error is not None and not isinstance(result.error, TransportError | RemoteProtocolError):
        raise result.error
    return result


class Deliveries:
    """Many messages over one connection, overlapped; the results come in the order of the messages.

    ``messages``: an iterator, or asynchronous iterator, of pairs of an envelope and its content; ``open_content`` makes
    `Content` of the latter.  ``at_hand``: an ordinary iterator, whose next one is there without a wait: it is taken
    while something waits to be written, and by no effect.  Every message gets a result, also those behind the one where
    the connection broke: they are *not sent*.  What the iterator itself raises comes out of `next_result`, behind the
    results of what came before.
    """

    def __init__(
        self,
        connection: ClientConnection,
        messages: Source,
        watch: Watcher = ignore,
        *,
        open_content: Callable[[Any], Content] | None = None,
        at_hand: bool = False,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._connection = connection
        self._messages = messages
        self._watch = watch
        self._open = open_content
        self._at_hand = at_hand
        self._chunking = chunking
        self._on_progress = on_progress
        self._out: list[Octets] = []
        self._gathered = 0
        self._lmtp = connection.lmtp
        self._expected: deque[tuple[Outgoing | None, int]] = deque()  # what each outstanding command belongs to
        self._under_way: deque[Outgoing] = deque()
        self._results: deque[DeliveryResult] = deque()
        self._failure: Exception | None = None  # what the iterator raised
        self._latest: Outgoing | None = None  # sent in chunks, and not yet known to be over
        self._work: _Work[None] | None = self._send_all()

    def next_result(self) -> Flow[DeliveryResult | None]:
        """The next result; None when all of them were given."""
        if not self._results and self._work is not None:
            try:
                yield from self._work_on(self._work)
            except BaseException:
                self._work.close()
                self._work = None
                raise
        if self._results:
            return self._results.popleft()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return None

    def _work_on(self, work: _Work[None]) -> Flow[None]:
        """Go on with the work until there is a result: then it yields None."""
        answer: Any = None
        error: Exception | None = None
        try:
            while (effect := work.send(answer) if error is None else work.throw(error)) is not None:
                answer = error = None
                try:
                    answer = yield effect
                except Exception as caught:
                    error = caught
        except StopIteration:
            self._work = None
        finally:
            error = None  # it holds this frame

    # The whole of it -----------------------------------------------------------------------------------------------

    def _send_all(self) -> _Work[None]:
        check_free(self._connection)
        try:
            while (outgoing := (yield from self._next_outgoing())) is not None:
                yield from self._send_message(outgoing)
            yield from self._until(self._all_answered)
            if self._latest is not None:
                yield from self._leave_transaction(self._latest)
            yield from self._until(self._all_answered)
        except _Over as over:
            yield from self._give_up(over.error, over.reply)
        except RemoteProtocolError as error:
            yield from self._give_up(error, None)
        except TransportError as error:
            yield from self._give_up(*(yield from self._last_words(error)))

    def _next_outgoing(self) -> _Work[Outgoing | None]:
        """The next message that can be sent; those that cannot have their result."""
        while True:
            if not self._at_hand:
                yield from self._show_what_is_known()
            elif len(self._results) >= _AHEAD:
                yield None
            try:
                item = next_item(self._messages) if self._at_hand else (yield Next(self._messages))
                if item is None:
                    return None
                envelope, content = _pair(item)
            except Exception as error:
                self._failure = error
                return None
            outgoing = Outgoing(envelope, lmtp=self._lmtp)
            self._under_way.append(outgoing)
            try:
                outgoing.prepare(
                    content if self._open is None else self._open(content), self._connection, self._chunking
                )
                return outgoing
            except Exception as error:
                outgoing.error = error
                self._sent(outgoing)

    def _show_what_is_known(self) -> _Work[None]:
        """Before the program is asked for what may take long: write what is ready, give the results that there are."""
        yield from self._flush()
        if self._expected:
            yield from self._look()
            if self._results:
                yield None

    def _give_up(self, error: Exception, reply: Reply | None) -> _Work[None]:
        """The connection is of no use any more: every message gets its fate."""
        yield from ending(Close())
        for outgoing in self._under_way:
            self._results.append(outgoing.result(error, reply))
        self._under_way.clear()
        while True:
            if self._results:
                yield None
            try:
                item = next_item(self._messages) if self._at_hand else (yield Next(self._messages))
                if item is None:
                    return
                envelope, _ = _pair(item)
            except Exception as failure:
                self._failure = failure
                return
            self._results.append(Outgoing(envelope, lmtp=self._lmtp).result(error, reply))

    def _last_words(self, error: TransportError) -> _Work[tuple[Exception, Reply | None]]:
        """What the server had said before it closed the connection under what was being written."""
        if error.code is not ErrorCode.CLOSED_BY_PEER:
            return error, None
        continued = False
        try:
            while True:
                self._connection.receive_data((yield Receive(_LAST_WORDS, continued=continued)))
                self._take_all(self._connection.next_event())
                continued = True
        except _Over as over:
            return over.error, over.reply
        except (TransportError, RemoteProtocolError):
            return error, None

    # One message ---------------------------------------------------------------------------------------------------

    def _send_message(self, outgoing: Outgoing) -> _Work[None]:
        try:
            if not self._expected:
                yield from self._look()
            if self._latest is not None:
                yield from self._leave_transaction(self._latest)
            yield from self._send_envelope(outgoing)
            yield from self._send_content(outgoing)
        except _ContentFailed as failed:
            outgoing.error = failed.error
        except LocalProtocolError as error:
            outgoing.error = error
        if outgoing.error is not None and self._connection.predicted is State.DATA:
            # What was sent of it cannot be taken back but by closing.  RFC 5321 section 4.1.1.4.
            raise _Over(outgoing.error, None)
        if outgoing.begun and self._connection.predicted in TRANSACTION_STATES:
            yield from self._reset()
        self._sent(outgoing)

    def _send_envelope(self, outgoing: Outgoing) -> _Work[None]:
        if outgoing.chunked:
            yield from self._until(lambda: len(self._under_way) <= _AHEAD)
        outgoing.begun = yield from self._command(outgoing, MAIL, outgoing.envelope.mail)
        for number, rcpt in outgoing.recipients:
            if not (yield from self._command(outgoing, number, rcpt)):
                return

    def _send_content(self, outgoing: Outgoing) -> _Work[None]:
        if outgoing.chunked:
            yield from self._send_chunks(outgoing)
        elif (yield from self._command(outgoing, DATA, _DATA)):
            yield from self._until(outgoing.is_decided)
            if outgoing.go_ahead:
                yield from self._send_data(outgoing)

    def _send_data(self, outgoing: Outgoing) -> _Work[None]:
        """The content behind a 354, and its end; only a dot where there is nobody to have it.  RFC 2920 section 3.1."""
        while outgoing.has_recipients and not outgoing.exhausted:
            piece = yield from self._pull(outgoing)
            yield from self._put(self._connection.send_content(piece))
            yield from self._report(outgoing)
        self._gather_command(outgoing, END, _END_OF_DATA)
        outgoing.end_gathered = True

    def _send_chunks(self, outgoing: Outgoing) -> _Work[None]:
        """RFC 3030 section 2."""
        if not outgoing.is_small:
            yield from self._until(outgoing.is_answered)
        normaliser = Normaliser(self._connection.line_ends) if outgoing.is_text else None
        last = False
        # Content that is read is gone, so none is for a message that was refused already.
        while not (last or outgoing.is_refused):
            data = yield from self._pull_chunk(outgoing, normaliser)
            last = outgoing.exhausted
            if last and normaliser is not None:
                data += normaliser.end()
            if not (yield from self._command(outgoing, END if last else CHUNK, Bdat(len(data), last))):
                return
            self._latest = outgoing
            yield from self._put(self._connection.send_content(data), ends=outgoing if last else None)
            yield from self._report(outgoing)

    def _pull_chunk(self, outgoing: Outgoing, normaliser: Normaliser | None) -> _Work[bytes]:
        """So many pieces as are worth a chunk."""
        pieces: list[bytes] = []
        size = 0
        while size < _GATHERED and not outgoing.exhausted:
            piece = yield from self._pull(outgoing)
            reason = self._connection.content_objection(piece)
            if reason is not None:
                raise LocalProtocolError(reason)  # before its size is announced
            pieces.append(piece if normaliser is None else normaliser.normalise(piece))
            size += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _pull(self, outgoing: Outgoing) -> _Work[bytes]:
        """The next piece of the content; at its end ``b""``."""
        if outgoing.whole is not None:
            return outgoing.next_piece(outgoing.whole)
        if self._results:
            yield None
        try:
            piece = yield Next(outgoing.content.chunks)
        except Exception as error:
            raise _ContentFailed(error) from error
        return outgoing.took(piece)

    def _report(self, outgoing: Outgoing) -> _Work[None]:
        """More of it is on its way: tell the program, and now and then see whether the server has had enough."""
        if outgoing.taken > outgoing.reported:
            outgoing.reported = outgoing.taken
            if self._on_progress is not None:
                self._on_progress(outgoing.taken, outgoing.content.size)
        if outgoing.taken - outgoing.seen >= PIECE:
            outgoing.seen = outgoing.taken
            yield from self._flush()
            if self._results:
                yield None
            yield from self._look()

    def _sent(self, outgoing: Outgoing) -> None:
        """All of it that will be sent was."""
        outgoing.complete = True
        self._settle()

    def _leave_transaction(self, latest: Outgoing) -> _Work[None]:
        """Where its last chunk may have left one open."""
        self._latest = None
        if "PIPELINING" not in self._connection.extensions:
            yield from self._until(self._all_answered)
        if not latest.is_over:
            yield from self._reset()

    def _reset(self) -> _Work[None]:
        self._latest = None
        yield from self._command(None, RSET, _RSET)

    # What goes out -------------------------------------------------------------------------------------------------

    def _command(self, outgoing: Outgoing | None, role: int, command: Command) -> _Work[bool]:
        """Send it as soon as it may be sent; False where the message was refused before."""
        if len(self._expected) >= _GROUP:
            yield from self._until(lambda: len(self._expected) <= _GROUP // 2)
        while outgoing is None or not outgoing.is_refused:
            try:
                self._gather_command(outgoing, role, command)
                return True
            except LocalProtocolError:
                if not self._expected:
                    raise
                yield from self._receive()
        return False

    def _gather_command(self, outgoing: Outgoing | None, role: int, command: Command) -> None:
        data = self._connection.send(command)
        self._out.append(data)
        self._gathered += len(data)
        self._expected.append((outgoing, role))
        if outgoing is not None:
            outgoing.unanswered += 1

    def _put(self, data: Octets, *, ends: Outgoing | None = None) -> _Work[None]:
        """Gather content; ``ends``: the message whose last octet it has."""
        if self._gathered + len(data) > _GATHERED:
            yield from self._flush()
        if data:
            self._out.append(data)
            self._gathered += len(data)
        if ends is not None:
            ends.end_gathered = True
        if self._gathered > _GATHERED:
            yield from self._flush()

    def _flush(self) -> _Work[None]:
        if not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self._gathered = 0
        for outgoing in self._under_way:
            outgoing.end_written = outgoing.end_gathered
        yield Send(data, self._connection.deadline)

    # What comes in -------------------------------------------------------------------------------------------------

    def _look(self) -> _Work[None]:
        """Take what has come already, without waiting for more."""
        self._take_all((yield from arrived(self._connection)))

    def _until(self, condition: Callable[[], bool]) -> _Work[None]:
        while not condition():
            yield from self._receive()

    def _all_answered(self) -> bool:
        return not self._expected

    def _receive(self) -> _Work[None]:
        """Wait for what the server says next; what is known, and what can be written, goes out before."""
        yield from self._flush()
        if self._results:
            yield None
        self._take_all((yield from next_answer(self._connection)))

    def _take_all(self, event: Event | Pause) -> None:
        """All that has come: behind a 354 the server may have said that it leaves."""
        while not isinstance(event, Pause):
            self._watch(event)
            if not isinstance(event, ReplyReceived):
                raise _Over(_closed(event), None)
            if isinstance(event, ServiceClosing):
                self._take_leave(event)
            self._note(event.reply)
            self._settle()
            event = self._connection.next_event()

    def _take_leave(self, event: ServiceClosing) -> NoReturn:
        reply = event.reply
        if not isinstance(event.command, Unsolicited):
            self._note(reply)
        text = f"the server is closing the connection: {reply}"
        raise _Over(TransportError(text, ErrorCode.CLOSED_BY_PEER), reply)

    def _note(self, reply: Reply) -> None:
        outgoing, role = self._expected[0]
        is_last = not self._lmtp or self._connection.waiting < len(self._expected)  # LMTP answers content many times
        if is_last:
            self._expected.popleft()
        if outgoing is not None:
            outgoing.unanswered -= is_last
            outgoing.note(role, reply)
        elif not reply.is_positive and reply.code != SERVICE_CLOSING:
            raise RemoteProtocolError("RSET was refused (RFC 5321 section 4.1.1.5)", bytes(reply))

    def _settle(self) -> None:
        while self._under_way and self._under_way[0].is_settled:
            self._results.append(self._under_way.popleft().result())


class _Over(Exception):
    """The connection is of no use any more."""

    def __init__(self, error: Exception, reply: Reply | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.reply = reply


class _ContentFailed(Exception):
    """The program's own content could not be read."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _closed(event: Event) -> TransportError:
    assert isinstance(event, ConnectionClosed)
    said = f"; it last said {event.last_reply}" if event.last_reply is not None else ""
    return TransportError(f"the server closed the connection{said}", ErrorCode.CLOSED_BY_PEER)


def _pair(item: Any) -> tuple[Envelope, Any]:
    match item:
        case (Envelope() as envelope, content):
            return envelope, content
        case _:
            raise LocalProtocolError(
                f"a {type(item).__name__} is no message: give pairs of an Envelope and its content"
            )
