"""What the stateful tests share: connections in lockstep, and what they hold and look at.

Nothing is timed: memory is the octets that can be reached from a connection, and work the octets that are looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, cast

import pytest

from smtpproto import testing
from smtpproto.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Helo,
    Lhlo,
    Mail,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    XClient,
)
from smtpproto.connection import Connection
from smtpproto.content import Unstuffer
from smtpproto.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from smtpproto.events import ConnectionClosed, ContentReceived, EarlyTalker, Event, Pause
from smtpproto.lines import LineBuffer
from smtpproto.states import State
from tests.driving import look
from tests.model.world import forked

C = TypeVar("C", bound=Connection)

LEGAL: tuple[Command, ...] = (
    Ehlo("me.example"),
    Lhlo("me.example"),
    Helo("me.example"),
    StartTls(),
    Auth("PLAIN", b"x"),
    Auth("LOGIN"),
    AuthResponse(b"x"),
    AuthResponse(None),
    Mail("a@x.example", body="8BITMIME"),
    Mail("a@x.example"),
    Rcpt("b@y.example"),
    Rcpt("c@y.example"),
    Data(),
    EndOfData(),
    Bdat(3),
    Bdat(0, last=True),
    Bdat(3, last=True),
    Rset(),
    XClient({"NAME": "x"}),
    Quit(),
)
"""Of each kind one or two, for where they are legal."""

_USUAL: Mapping[type[Command], tuple[int, ...]] = {
    Connect: (220,),
    Data: (354,),
    Auth: (235, 334),
    AuthResponse: (334, 235),
    StartTls: (220,),
    Quit: (221,),
}


def usual_codes(command: Command | None) -> tuple[int, ...]:
    """What means success for a command."""
    return (250,) if command is None else _USUAL.get(type(command), (250,))


class Failure(NamedTuple):
    """The peer has broken the protocol, and how."""

    message: str
    code: int


class Told(NamedTuple):
    """What `next_event` gave, and where the connection stood then."""

    what: Event | Failure
    state: State
    waiting: int


class Outcome(NamedTuple):
    """What a call came to: what it returned, or which of the two errors it raised."""

    value: object = None
    error: type[ProtocolError] | None = None
    message: str = ""
    code: int = 0

    @property
    def done(self) -> bool:
        return self.error is None


class Twins(Generic[C]):
    """Three of a kind: one gets its octets whole, one octet by octet, and one in any pieces.

    All get the same calls; whatever they tell, return or raise has to be the same, and a `LocalProtocolError` leaves
    everything as it was.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self.each = (make(), make(), make())
        self.stream = b""
        self.unread = 0
        """Octets that came since all was read: all that may be kept beside what is limited."""
        self.eof = False
        self.failure: Failure | None = None
        self.calls = 0

    @property
    def one(self) -> C:
        return self.each[0]

    @property
    def watched(self) -> C:
        """The one whose turn it is to be looked at closely."""
        return self.each[self.calls % 3]

    @property
    def dead(self) -> bool:
        """Nothing more can come of it."""
        return self.eof or self.failure is not None or self.one.state in (State.CLOSED, State.ERROR)

    def call(self, do: Callable[[C], object]) -> Outcome:
        """The same call to each."""
        self.calls += 1
        first, *others = (attempt(each, do) if each is self.watched else _outcome(each, do) for each in self.each)
        for other in others:
            assert other == first, "the outcome of a call hangs on the cuts"
        if first.error is RemoteProtocolError:
            self._failed(Failure(first.message, first.code))
        return first

    def receive(self, data: bytes, cut: Iterable[int], *, looks: bool) -> list[Told]:
        """The octets arrive; ``looks``: the events are taken, piece by piece."""
        if self.eof:
            outcome = self.call(lambda connection: connection.receive_data(data))
            assert outcome.error is LocalProtocolError
            return []
        self.stream += data
        self.unread += len(data)
        pieces = ([data], testing.octets(data), testing.pieces(data, cut))
        return self._same(
            [self._received(each, *some, looks=looks) for each, some in zip(self.each, pieces, strict=True)]
        )

    def end(self) -> None:
        """The stream ends."""
        self.eof = True
        for each in self.each:
            each.receive_data(b"")

    def look(self, most: int | None = None) -> list[Told]:
        """Take events; all that there are, or so many."""
        return self._same([self._taken(each, most) for each in self.each])

    def assert_same(self, views: Callable[[C], object]) -> None:
        first, *others = map(views, self.each)
        for other in others:
            assert other == first, "where it stands hangs on the cuts"

    def _received(self, connection: C, *pieces: bytes, looks: bool) -> list[Told]:
        told: list[Told] = []
        for piece in pieces:
            connection.receive_data(piece)
            if looks:
                told += self._taken(connection)
        return told

    def _taken(self, connection: C, most: int | None = None) -> list[Told]:
        told: list[Told] = []
        while most is None or len(told) < most:
            self.calls += 1
            try:
                event = connection.next_event()
            except RemoteProtocolError as error:
                told.append(Told(Failure(error.args[0], error.code), connection.state, connection.waiting))
                break
            if isinstance(event, Pause):
                break
            if isinstance(event, EarlyTalker):
                assert event.received
                assert self.stream.startswith(event.received)
                event = EarlyTalker(b"")  # what has come by then is what hangs on the cuts, and on nothing else
            told.append(Told(event, connection.state, connection.waiting))
            if isinstance(event, ConnectionClosed):
                break
        return told

    def _same(self, found: list[list[Told]]) -> list[Told]:
        first, *others = map(_merged, found)
        for other in others:
            assert other == first, "the events hang on the cuts"
        for each in first:
            if isinstance(each.what, Failure):
                self._failed(each.what)
        return first

    def _failed(self, failure: Failure) -> None:
        """An error is terminal: it comes again, and nothing else can be done, nor is anything kept."""
        if self.failure is not None:
            assert self.failure == failure, "another error behind the first"
            return
        self.failure = failure
        self.unread = 0
        for each in self.each:
            assert each.state is each.predicted is State.ERROR
            with pytest.raises(RemoteProtocolError) as again:
                each.next_event()
            assert again.value.args == (failure.message,)
            for do in (each.tls_established, lambda each=each: each.send_content(b"x")):
                with pytest.raises(LocalProtocolError, match="the connection is of no use any more"):
                    do()
            if not self.eof:
                each.receive_data(b"250 too late\r\nRSET\r\n")
            assert not lines_of(each)


def attempt(connection: C, do: Callable[[C], object]) -> Outcome:
    """Call; a `LocalProtocolError` must leave everything as it was."""
    before = look(forked(connection))
    outcome = _outcome(connection, do)
    if outcome.error is LocalProtocolError:
        assert look(connection) == before, "a call that was refused has changed something"
    return outcome


def _outcome(connection: C, do: Callable[[C], object]) -> Outcome:
    try:
        return Outcome(do(connection))
    except LocalProtocolError as error:
        return Outcome(None, LocalProtocolError, str(error))
    except RemoteProtocolError as error:
        return Outcome(None, RemoteProtocolError, error.args[0], error.code)


def _merged(told: list[Told]) -> list[Told]:
    """Pieces of content that follow one another as one, and an error that came again as one."""
    merged: list[Told] = []
    for each in told:
        last = merged[-1].what if merged else None
        if isinstance(last, ContentReceived) and isinstance(each.what, ContentReceived):
            merged[-1] = each._replace(what=ContentReceived(last.data + each.what.data))
        elif not (isinstance(last, Failure) and last == each.what):
            merged.append(each)
    return merged


def lines_of(connection: Connection) -> LineBuffer:
    """What has come and was not read."""
    lines: LineBuffer = connection._lines
    return lines


def held(thing: object, without: frozenset[str], *, _seen: set[int] | None = None) -> int:
    """Octets, characters and places that can be reached from it, but not by way of these slots."""
    seen: set[int] = set() if _seen is None else _seen
    if id(thing) in seen or isinstance(thing, type):
        return 0
    seen.add(id(thing))
    if isinstance(thing, bytes | bytearray | str):
        return len(thing)
    inner: list[object] = []
    for cls in type(thing).__mro__:
        slots: Iterable[str] = getattr(cls, "__slots__", ())
        inner += [getattr(thing, name) for name in slots if name not in without and hasattr(thing, name)]
    places = 0
    if isinstance(thing, Mapping):
        pairs = cast("Mapping[object, object]", thing)
        inner += [*pairs.keys(), *pairs.values()]
    elif isinstance(thing, list | tuple | deque | set | frozenset):
        items = list(cast("Iterable[object]", thing))
        inner += items
        places = len(items)
    return places + sum(held(each, without, _seen=seen) for each in inner)


class Work:
    """Counts the octets that are looked at or copied between the network and the events."""

    def __init__(self) -> None:
        self.octets = 0
        self._patch = pytest.MonkeyPatch()
        self._count(LineBuffer, "feed", _all)
        self._count(LineBuffer, "next_line", _searched)
        self._count(LineBuffer, "_split", _split)
        self._count(LineBuffer, "_join", _joined)
        self._count(LineBuffer, "take", _some)
        self._count(LineBuffer, "peek", _some)
        self._count(Unstuffer, "receive", _from)

    def block(self, size: int) -> None:
        """So many octets of content are looked at together."""
        self._patch.setattr("smtpproto.server._BLOCK", size)

    def undo(self) -> None:
        self._patch.undo()

    def _count(self, cls: type, name: str, octets: Callable[..., int]) -> None:
        usual: Callable[..., Any] = getattr(cls, name)

        def counting(*arguments: Any) -> Any:
            self.octets += octets(*arguments)
            return usual(*arguments)

        self._patch.setattr(cls, name, counting)


# How many octets each of them looks at or copies.
# pyright: reportPrivateUsage=false


def _all(lines: LineBuffer, data: bytes) -> int:
    return len(data)


def _searched(lines: LineBuffer) -> int:
    if lines._ready:
        return len(lines._ready[-1]) + 2
    begun = lines._searched
    end = lines._data.find(b"\n", begun)
    return len(lines) - (begun - lines._start) if end < 0 else end - begun


def _split(lines: LineBuffer, first: int) -> int:
    return min(len(lines._data), lines._start + 8192) - first


def _joined(lines: LineBuffer, data: bytes) -> int:
    return len(lines) + len(data)


def _some(lines: LineBuffer, count: int) -> int:
    return min(count, len(lines))


def _from(unstuffer: Unstuffer, data: bytes, start: int) -> int:
    return len(data) - start
