"""What goes wrong on purpose: scripted faults of a server, for the tests of clients.

Theory of operation
-------------------

The faults stand around the flow of a server, before anything is encrypted, so that they are the same on every backend
and under TLS.  A `Script` sees three things of its session, in this order:

* ``watch``: which command has come, and so which faults are due;
* ``Ask``: what the handler is asked about it.  A scripted reply is the answer, in place of the handler's: server and
  client agree on what has happened, as they do where a real server refuses;
* ``Send``: the octets of the replies.  Several may go in one write, so ``on_send`` has noted the length of each, and
  what shall become of it: to wait before it, to put garbage in its place, to break off in the middle of it.

A connection is dropped by coming to an end without `Close`: the adapter throws away what is open then, without a
farewell, as a crash would.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from smtpproto import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    CommandReceived,
    Connect,
    ContentReceived,
    Data,
    EndOfData,
    ErrorCode,
    Event,
    LocalProtocolError,
    Mail,
    NotTls,
    Reply,
    TransportError,
)
from smtpproto.commands import CLASSES
from smtpproto.flows import Ask, Effect, Flow, Receive, Send, StartTls
from smtpproto.sasl import Question

__all__ = ["Fault", "Faults"]

T = TypeVar("T")

_EARLY: Final = 1_048_576
"""Octets that are kept at most of what a client sends while it is kept waiting."""

_KINDS: Final[Mapping[str, type[Command]]] = {
    "GREETING": Connect,
    ".": EndOfData,
    **CLASSES,
}
_END_OF_DATA: Final = "END OF DATA"
_CONTENT: Final = "CONTENT"

_SPELLED: Final = f"a verb, as RCPT, or one of: greeting, '.', {_END_OF_DATA.lower()}, {_CONTENT.lower()}"


class Fault:
    """One thing that goes wrong; `Faults` makes it."""

    def __init__(
        self,
        command: str,
        nth: int | None,
        *,
        answer: Reply | None = None,
        delay: float = 0.0,
        garbage: bytes | None = None,
        drop: int | None = None,
    ) -> None:
        self.command = _checked_command(command)
        self.nth = nth
        self.fired = 0
        self.answer = answer
        self.seconds = delay
        self.octets = garbage
        self.after = drop
        self._seen = 0
        if nth is not None and nth < 1:
            raise LocalProtocolError(f"nth is {nth}: the first {command} is number 1")

    command: str
    """What it waits for."""
    nth: int | None
    """It happens to this one, counted over all sessions from when it was scripted; None: to each."""
    fired: int
    """How often it has happened so far."""

    def __repr__(self) -> str:
        return (
            f"<Fault at {'each' if self.nth is None else f'number {self.nth} of'} {self.command}, fired {self.fired}>"
        )

    def is_due(self) -> bool:
        """One more of its commands has come; is it the one?"""
        self._seen += 1
        if self.nth not in (None, self._seen):
            return False
        self.fired += 1
        return True


def _checked_command(command: str) -> str:
    name = command.upper()
    if name not in _KINDS and name not in (_END_OF_DATA, _CONTENT):
        raise LocalProtocolError(f"{command!r} is nothing that a fault can happen to: name {_SPELLED}")
    return name


class Faults:
    """What shall go wrong, in all the sessions of a server; it can be scripted while the server runs.

    ``command`` is a verb (``"RCPT"``, in any case), ``"greeting"``, ``"."`` (the reply behind the final dot of DATA),
    or ``"end of data"`` (the same, and that to the last BDAT).  ``nth`` counts over all sessions, from 1, beginning
    when the fault is scripted; without it, the fault happens each time.  Several may happen at once; of two replies it
    is the one that was scripted first.

    Each method returns a `Fault`, which says how often it has ``fired``.  Raises `LocalProtocolError` for what cannot
    be.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.pause: float | None = None

    pause: float | None
    """Seconds between two octets where replies are cut; None where they are not."""

    def reply(self, command: str, reply: Reply, *, nth: int | None = None) -> Fault:
        """Answer with this, in place of the handler, who is not asked.

        To AUTH it is the answer at the end of the exchange, and can only refuse.  An answer that the protocol has no
        place for is `garbage`.
        """
        fault = Fault(command, nth, answer=reply)
        _check_reply(fault, reply)
        return self._add(fault)

    def delay(self, command: str, seconds: float, *, nth: int | None = None) -> Fault:
        """Wait before the reply."""
        if not 0 < seconds < threading.TIMEOUT_MAX:
            raise LocalProtocolError(f"a delay of {seconds} seconds: it must be more than 0, and finite")
        return self._add(_with_reply(Fault(command, nth, delay=seconds)))

    def drop(self, command: str, *, nth: int | None = None, after: int = 0) -> Fault:
        """Drop the connection in the middle of the reply: after so many octets of it, without a farewell.

        What was asked for has been done: a message whose end is answered like this is in the inbox.  ``"content"``
        drops it while content comes in, after so many octets of that; ``nth`` counts the messages then.
        """
        if after < 0:
            raise LocalProtocolError(f"after is {after}: it must be a number of octets")
        return self._add(Fault(command, nth, drop=after))

    def garbage(self, command: str, octets: bytes, *, nth: int | None = None) -> Fault:
        """Send these octets in place of the reply."""
        return self._add(_with_reply(Fault(command, nth, garbage=octets)))

    def cut_into_octets(self, pause: float = 0.001) -> None:
        """Write each octet by itself, with a pause between two of them, so that the client gets them one by one."""
        if not 0 < pause < threading.TIMEOUT_MAX:
            raise LocalProtocolError(f"a pause of {pause} seconds: it must be more than 0, and finite")
        self.pause = pause

    def clear(self) -> None:
        """From now on all goes well."""
        with self._lock:
            self._faults.clear()
        self.pause = None

    def begin(self) -> Script:
        """The faults of one session, which begins."""
        return Script(self)

    def due(self, *names: str) -> list[Fault]:
        """What happens to this command, which has these names."""
        with self._lock:
            return [each for each in self._faults if each.command in names and each.is_due()]

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault


def _with_reply(fault: Fault) -> Fault:
    if fault.command == _CONTENT:
        raise LocalProtocolError("content has no reply of its own: name 'end of data'")
    return fault


def _check_reply(fault: Fault, reply: Reply) -> None:
    _with_reply(fault)
    refuses = reply.is_transient or reply.is_permanent
    accepts = reply.is_intermediate if fault.command == Data.verb else reply.is_positive
    if fault.command == Auth.verb:
        accepts = False
    if not (refuses or accepts):
        raise LocalProtocolError(f"{reply.code} is no answer to {fault.command}: send it with garbage()")


class Script:
    """The faults, in one session."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._due: list[Fault] = []  # at the command that is being answered
        self._replies: deque[tuple[int, list[Fault]]] = deque()  # that are not written yet: octets, and their faults
        self._drop_at: int | None = None  # octets of content, of this message
        self._content = 0
        self._dropped = False
        self._early = b""  # what came while the client had to wait
        self._ended = False

    # What the session tells ----------------------------------------------------------------------------------------

    def watch(self, event: Event) -> None:
        """Something has come from the client."""
        match event:
            case CommandReceived(AuthResponse()):
                pass  # a part of its AUTH
            case CommandReceived(command):
                self._begin(command)
            case ContentReceived(data):
                self._receive_content(len(data))
            case _:
                pass

    def on_send(self, reply: Command | Reply) -> None:
        """A reply will be written."""
        at_wire = [each for each in self._due if each.answer is None]
        self._due = [each for each in self._due if each.answer is not None]
        self._replies.append((len(bytes(reply)), at_wire))

    def _begin(self, command: Command) -> None:
        names = [name for name, kind in _KINDS.items() if isinstance(command, kind)]
        if isinstance(command, EndOfData) or (isinstance(command, Bdat) and command.last):
            names.append(_END_OF_DATA)
        self._due = self._faults.due(*names)
        if isinstance(command, Mail):
            self._content = 0

    def _receive_content(self, octets: int) -> None:
        if not self._content:
            due = [each.after for each in self._faults.due(_CONTENT) if each.after is not None]
            self._drop_at = min(due, default=None)
        self._content += octets
        if self._drop_at is not None and self._content >= self._drop_at:
            self._dropped = True

    # What is done --------------------------------------------------------------------------------------------------

    def around(self, flow: Flow[T]) -> Flow[T | None]:
        """The same flow, with what goes wrong; None where the connection is dropped."""
        self._begin(Connect())
        answer: Any = None
        error: Exception | None = None
        try:
            while True:
                effect = flow.send(answer) if error is None else flow.throw(error)
                answer = error = None
                if not self._dropped:  # by what has come
                    try:
                        answer = yield from self._do(effect)
                    except Exception as caught:
                        error = caught
                if self._dropped:  # also by what was written
                    return None
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            error = None  # it holds this frame
            flow.close()

    def _do(self, effect: Effect) -> Flow[Any]:
        match effect:
            case Ask(subject=CommandReceived() | Question()):
                scripted = next((each.answer for each in self._due if each.answer is not None), None)
                return (yield effect) if scripted is None else scripted
            case Send():
                yield from self._send(effect)
                return None
            case Receive() if self._early:
                early, self._early = self._early, b""
                return early
            case StartTls() if self._early:
                raise NotTls("the client speaks plaintext where TLS is due")
            case _:
                return (yield effect)

    def _send(self, effect: Send) -> Flow[None]:
        data = bytes(effect.data)
        begin = end = 0  # of what is in order, and can be written together
        while self._replies and end < len(data):
            length, faults = self._replies.popleft()
            if faults:
                yield from self._write(data[begin:end], effect.timeout)
                yield from self._write_wrong(data[end : end + length], faults, effect.timeout)
                begin = end + length
            end += length
            if self._dropped:
                return
        yield from self._write(data[begin:], effect.timeout)

    def _write_wrong(self, reply: bytes, faults: list[Fault], timeout: float | None) -> Flow[None]:
        for fault in faults:
            if fault.seconds:
                yield from self._wait(fault.seconds)
            if fault.octets is not None:
                reply = fault.octets
        cuts = [each.after for each in faults if each.after is not None]
        yield from self._write(reply[: min(cuts)] if cuts else reply, timeout)
        self._dropped = bool(cuts)

    def _write(self, data: bytes, timeout: float | None) -> Flow[None]:
        pause = self._faults.pause
        if pause is None:
            if data:
                yield Send(data, timeout)
            return
        for octet in data:
            yield Send(bytes([octet]), timeout)
            yield from self._wait(pause)

    def _wait(self, seconds: float) -> Flow[None]:
        """Let time pass; what comes meanwhile is kept.  It is over where the client goes, or sends too much."""
        continued = False
        while not self._ended and len(self._early) < _EARLY:
            try:
                data: bytes = yield Receive(seconds, continued=continued)
            except TransportError as error:
                if error.code is ErrorCode.TIMED_OUT:
                    return
                raise
            continued = True
            self._early += data
            self._ended = not data
