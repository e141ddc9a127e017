"""A server in forty plain rules, and what drives a delivery against it: effect by effect, up to any octet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from smtpproto import ClientConnection, DeliveryResult, Envelope, ErrorCode, Fate, TransportError, flows
from smtpproto.flows import Close, Effect, Flow, Next, Receive, Send, Whole, next_item

Said = int | bytes | None
Decide = Callable[[str, str], Said]
Message = tuple[Envelope, Any]


def timed_out() -> TransportError:
    return TransportError("took too long", ErrorCode.TIMED_OUT)


def reset() -> TransportError:
    return TransportError("reset", ErrorCode.CLOSED_BY_PEER)


class Accepted(NamedTuple):
    """What the server has taken the responsibility for."""

    sender: str
    recipient: str
    content: bytes
    at: int
    """Octets that it had said by then, the answer included."""


class Peer:
    """A server that says what ``decide`` wants: a code, or None for what is usual; or octets, and is gone behind them.

    It is asked with ``MAIL``, ``RCPT``, ``DATA``, ``CHUNK``, ``LAST``, ``END`` or ``RSET``, and with the path (or, at
    the end of content in LMTP, with the recipient), or with the size of a chunk.  ``keeps_open``: a last chunk that has
    no recipient, or comes behind one that was refused, does not end the transaction (Exim).  ``lone_dot``: 354 is given
    also where every recipient was refused (RFC 2920 section 3.1).
    """

    def __init__(
        self, decide: Decide = lambda what, which: None, *, lmtp: bool = False, keeps_open: bool = False,
        lone_dot: bool = False,
    ) -> None:  # fmt: skip
        self.decide = decide
        self.lmtp = lmtp
        self.keeps_open = keeps_open
        self.lone_dot = lone_dot
        self.said = b""
        self.heard = 0
        self.closed = False
        self.accepted: list[Accepted] = []
        self.commands: list[str] = []
        self._input = b""
        self._in_data = False
        self._reset()

    def _reset(self) -> None:
        self.sender: str | None = None
        self.recipients: list[str] = []
        self.content = b""
        self.failed = False

    def feed(self, data: bytes) -> None:
        self._input += data
        while not self.closed and (self._end_of_data() if self._in_data else self._command()):
            pass

    def _say(self, what: str, which: str, usual: int) -> bool:
        """Answer; whether it was 2yz or 354."""
        said = self.decide(what, which)
        if isinstance(said, bytes):
            self.said += said
            self.closed = True
            return False
        code = said or usual
        self.said += b"%d-to %b\r\n%d said\r\n" % (code, what.encode(), code)
        self.closed = code == 421
        return code < 400

    def _command(self) -> bool:
        line, ended, rest = self._input.partition(b"\r\n")
        if not ended:
            return False
        text = line.decode()
        verb = text.partition(" ")[0]
        if verb == "BDAT":
            size = int(text.split()[1])
            if len(rest) < size:
                return False
            self._input = rest[size:]
            self.commands.append(text)
            self._chunk(rest[:size], last=text.endswith(" LAST"))
            return True
        self._input = rest
        self.commands.append(text)
        path = text.partition("<")[2].partition(">")[0]
        getattr(self, f"_{verb.lower()}")(path)
        return True

    def _mail(self, path: str) -> None:
        if self.sender is not None:
            self._out_of_sequence()
        elif self._say("MAIL", path, 250):
            self.sender = path

    def _rcpt(self, path: str) -> None:
        if self.sender is None:
            self._out_of_sequence()
        elif self._say("RCPT", path, 250):
            self.recipients.append(path)

    def _data(self, _: str) -> None:
        if self.sender is None:
            self._out_of_sequence()
        elif not self.recipients and not self.lone_dot:
            self.said += b"554 no recipients\r\n"
        else:
            self._in_data = self._say("DATA", "", 354)

    def _rset(self, _: str) -> None:
        self._reset()
        self._say("RSET", "", 250)

    def _out_of_sequence(self) -> None:
        self.said += b"503 bad sequence\r\n"

    def _chunk(self, data: bytes, *, last: bool) -> None:
        if not self.recipients or self.failed:
            self._out_of_sequence()
            if last and not self.keeps_open:
                self._reset()
            return
        self.content += data
        if last:
            self._end("LAST")
        elif not self._say("CHUNK", str(len(data)), 250):
            self.failed = True

    def _end_of_data(self) -> bool:
        text, ended, rest = (b"\r\n" + self._input).partition(b"\r\n.\r\n")
        if not ended:
            return False
        self._input, self._in_data = rest, False
        self.content = (text.replace(b"\r\n.", b"\r\n") + b"\r\n")[2:]
        self.commands.append(".")
        self._end("END")
        return True

    def _end(self, what: str) -> None:
        sender, recipients, content = self.sender or "", self.recipients, self.content
        self._reset()
        if not self.lmtp:
            accepted = self._say(what, "", 250) and bool(recipients)
            self.accepted += [Accepted(sender, each, content, len(self.said)) for each in recipients if accepted]
            return
        for each in recipients:
            if self._say(what, each, 250):
                self.accepted.append(Accepted(sender, each, content, len(self.said)))
            if self.closed:
                return


class Play:
    """A flow against a `Peer`.

    ``until``: so many octets of what the server says arrive, and then it is gone; ``breaks``: writing fails from then
    on.  ``deaf``: nothing is there before it is waited for.  ``pieces``: octets that arrive at a time.  ``throw`` has
    what is thrown into the flow at its n-th effect that is not a look at what has come.
    """

    def __init__(
        self,
        flow: Flow[Any],
        peer: Peer,
        *,
        until: int | None = None,
        breaks: bool = False,
        deaf: bool = False,
        pieces: int = 1 << 30,
        throw: dict[int, Exception] | None = None,
    ) -> None:
        self.peer = peer
        self.until = until
        self.breaks = breaks
        self.deaf = deaf
        self.pieces = pieces
        self.throw = throw or {}
        self._cut = False
        self.effects: list[Effect] = []
        self.result: Any = None
        self.error: Exception | None = None
        try:
            effect = next(flow)
            while True:
                try:
                    said = self._do(effect)
                except Exception as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(said)
        except StopIteration as stop:
            self.result = stop.value
        except Exception as error:
            self.error = error

    @property
    def sent(self) -> list[bytes]:
        return [bytes(effect.data) for effect in self.effects if isinstance(effect, Send)]

    @property
    def results(self) -> list[DeliveryResult]:
        if self.error is not None:
            raise self.error
        found: list[DeliveryResult] = self.result
        return found

    @property
    def closed(self) -> bool:
        return any(isinstance(effect, Close) for effect in self.effects)

    def _do(self, effect: Effect) -> object:
        if not (isinstance(effect, Receive) and effect.timeout == 0):
            self.effects.append(effect)
            error = self.throw.get(len(self.effects) - 1)
            if error is not None:
                self._cut = isinstance(error, TransportError) and error.code is ErrorCode.CLOSED_BY_PEER
                raise error
        match effect:
            case Send(_, data):
                if self._is_gone and self.breaks:
                    raise reset()
                self.peer.feed(bytes(data))
            case Receive(timeout):
                return self._receive(timeout)
            case Next(_, source):
                return next_item(source)
            case _:
                assert isinstance(effect, Close), effect
        return None

    @property
    def _is_gone(self) -> bool:
        return self._cut or self.peer.closed or (self.until is not None and len(self.peer.said) >= self.until)

    def _receive(self, timeout: float | None) -> bytes:
        there = self.peer.said[self.peer.heard : self.until][: self.pieces]
        if timeout == 0 and (self.deaf or not (there or self._is_gone)):
            raise timed_out()
        self.peer.heard += len(there)
        assert there or self._is_gone, "both sides wait"
        return there


def many(connection: ClientConnection, messages: Iterable[Message], **options: Any) -> Flow[list[DeliveryResult]]:
    """All results."""
    options.setdefault("at_hand", True)
    deliveries = flows.Deliveries(connection, iter(messages), **options)
    results: list[DeliveryResult] = []
    while (result := (yield from deliveries.next_result())) is not None:
        results.append(result)
    return results


def message(content: bytes = b"text\r\n", *recipients: str, sender: str = "a@x.example") -> Message:
    return Envelope(sender, recipients or ("b@y.example",)), Whole(content)


def fates(result: DeliveryResult) -> list[Fate]:
    return [each.fate for each in result.recipients]


class Streamed:
    """Content that is read piece by piece."""

    whole = None

    def __init__(self, pieces: Iterable[Any], size: int | None = None) -> None:
        self.chunks = iter(pieces)
        self.size = size
