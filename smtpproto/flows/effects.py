"""Flows and their effects: whole conversations, written once, for any kind of I/O.

A flow is a generator.  It yields what it needs, an effect, and whoever runs it does that and sends back the answer:

    =================================  ==========================================================================
    ``Dial(host, port, path)``         make the connection; the answer is an `AddressLiteral` of this end, or None
    ``Send(data)``                     write all of it
    ``Receive()``                      the answer is what came, ``b""`` at the end of the stream
    ``StartTls(host_name)``            negotiate TLS, and check the certificate for that name (a client); the answer
                                       is a mapping of its channel bindings, or None
    ``Ask(subject)``                   ask the program; the answer is what it says
    ``Next(source)``                   the answer is the next item of the program's iterator, or None at its end
    ``Wait(timeout)``                  let this time pass
    ``Close()``                        close the connection; it may be closed already
    =================================  ==========================================================================

Each has ``timeout``, in seconds, None for ever; one that takes longer is thrown into the flow as a `TransportError`
with the code TIMED_OUT, as are all other failures of the transport.  What the program's iterator raises is thrown in as
it is, also where it is an OSError: the flow brings the connection to a proper end, and lets it out again.  What the
program raises when it is asked may be thrown in too: a server says 421 and closes, and lets it out again.  A flow that
is given up must be closed (``flow.close()``), and its connection aborted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any, Final, TypeAlias, TypeVar

from smtpproto.errors import LocalProtocolError, SmtpError, TransportError
from smtpproto.events import Event
from smtpproto.sasl import Question
from smtpproto.values import Value, set_field, slot_setter

T = TypeVar("T")
Octets: TypeAlias = bytes | bytearray | memoryview
"""What can be written; a memoryview is one of single octets, as ``memoryview(data)`` of bytes is."""
Source: TypeAlias = Iterator[Any] | AsyncIterator[Any]
"""What a program gives piece by piece."""


class Effect(Value):
    """What a flow needs."""

    __slots__ = ("timeout",)
    __match_args__ = ("timeout",)

    timeout: float | None
    """Seconds that it may take; None for ever."""

    def __init__(self, timeout: float | None = None) -> None:
        _set_timeout(self, timeout)


_set_timeout = slot_setter(Effect, "timeout")


class Dial(Effect):
    """Make the connection; by the unix socket ``path`` where that is given."""

    __slots__ = ("host", "port", "path")
    __match_args__ = ("timeout", "host", "port", "path")
    host: str
    port: int
    path: str | None

    def __init__(self, host: str, port: int, path: str | None, timeout: float | None) -> None:
        super().__init__(timeout)
        set_field(self, "host", host)
        set_field(self, "port", port)
        set_field(self, "path", path)


class Send(Effect):
    """Write all of ``data``; nothing may change it meanwhile."""

    __slots__ = ("data",)
    __match_args__ = ("timeout", "data")
    data: Octets

    def __init__(self, data: Octets, timeout: float | None = None) -> None:
        _set_timeout(self, timeout)
        _set_data(self, data)

    def __repr__(self) -> str:
        return f"Send(<{len(self.data)} octets>)"


_set_data = slot_setter(Send, "data")


class Receive(Effect):
    """Whatever comes; with a ``timeout`` of 0, what has come already, if anything."""

    __slots__ = ("continued",)
    __match_args__ = ("timeout", "continued")
    continued: bool
    """The wait that began with an earlier `Receive` goes on: its deadline stands.  (So a peer that sends an octet now
    and then gains no time by it.)"""

    def __init__(self, timeout: float | None = None, *, continued: bool = False) -> None:
        _set_timeout(self, timeout)
        _set_continued(self, continued)


_set_continued = slot_setter(Receive, "continued")


class StartTls(Effect):
    """Negotiate TLS.  A client checks the certificate for ``host_name``, which is None at a server.

    The answer may be a mapping of channel bindings by name, for mechanisms such as SCRAM-SHA-256-PLUS (see
    `Connection.channel_bindings`); None: there are none.
    """

    __slots__ = ("host_name",)
    __match_args__ = ("timeout", "host_name")
    host_name: str | None

    def __init__(self, host_name: str | None, timeout: float | None) -> None:
        super().__init__(timeout)
        set_field(self, "host_name", host_name)


class Wait(Effect):
    """Let the time pass, whatever the peer does.  What it sends meanwhile is received after it."""

    __slots__ = ()

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)


class Ask(Effect):
    """What does the program say to this?"""

    __slots__ = ("subject",)
    __match_args__ = ("timeout", "subject")
    subject: Event | Question

    def __init__(self, subject: Event | Question) -> None:
        _set_timeout(self, None)
        _set_subject(self, subject)


_set_subject = slot_setter(Ask, "subject")


class Next(Effect):
    """The next item of an iterator of the program's, which may be an asynchronous one; None at its end."""

    __slots__ = ("source",)
    __match_args__ = ("timeout", "source")
    source: Source

    def __init__(self, source: Source) -> None:
        super().__init__(None)
        set_field(self, "source", source)


class Close(Effect):
    """Close the connection."""

    __slots__ = ()


Flow = Generator[Effect, Any, T]
"""A conversation: yields effects, is sent the answers, and returns what became of it."""
Watcher = Callable[[Event], object]
"""Sees every event."""


def ignore(event: Event) -> None:
    """The watcher that does not care."""


class ShutDown(SmtpError):
    """Thrown by an adapter into a server's flow that should come to its end: it says 421 and closes."""


_END: Final = object()


def next_item(source: Source) -> Any:
    """What answers `Next` where nothing can be awaited.

    Raises what the iterator raises, and `LocalProtocolError` for an asynchronous one, and for an item that is None.
    """
    given: Any = source
    if not hasattr(given, "__next__"):
        raise LocalProtocolError(
            f"{type(source).__name__} gives no items without being waited for, which nothing here can do: give an "
            "ordinary iterator, or use the client of asyncio or trio"
        )
    item = next(given, _END)
    return None if item is _END else real_item(item)


def real_item(item: Any) -> Any:
    """The item; raises `LocalProtocolError` where it is None, which would be taken for the end, in mid-message."""
    if item is None:
        raise LocalProtocolError("the iterator gave None, which is nothing that could be sent: let it leave that out")
    return item


def ending(*effects: Effect) -> Flow[None]:
    """The last effects of a conversation, which is over, whatever becomes of each of them."""
    for effect in effects:
        try:
            yield effect
        except (TransportError, ShutDown):
            continue
