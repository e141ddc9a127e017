"""What the targets share: a peer that sends an input in flights, and the comparison of two ways of cutting them.

A target is a module with `test_one_input(data)`, whose docstring begins with the invariant that it holds the engine to.
`python -m fuzz.replies fuzz/corpus/replies` runs one for as long as one likes; the tests replay the corpora without
atheris.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    atheris: Any = import_module("atheris")
except ImportError:
    atheris = None

# Whatever a target imports of the engine has to be instrumented, so it is imported here, first.
with nullcontext() if atheris is None else atheris.instrument_imports(include=["smtpproto"]):
    import smtpproto
    from smtpproto import NEED_DATA, PAUSED, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

FLIGHT = b"\x1c"
"""Parts what the peer sends at a time: only between two flights does the other side say something unasked."""

History = list[object]
"""The events of one connection, the content between two of them in one piece, and how it ended."""


def flights_of(data: bytes) -> list[bytes]:
    return data.split(FLIGHT, 30)


class Run:
    """One connection that is fed flight by flight, and what comes out of it."""

    def __init__(self, connection: smtpproto.Connection, *, octet_by_octet: bool) -> None:
        self.connection = connection
        self.octet_by_octet = octet_by_octet
        self.history: History = []
        self.content = b""

    def play(
        self, flights: list[bytes], before_each: Callable[[int], None], on_event: Callable[[Any], None]
    ) -> History:
        """Run to the end of the stream, or to the first violation of the protocol."""
        try:
            for number, flight in enumerate(flights):
                before_each(number)
                pieces = [flight[i : i + 1] for i in range(len(flight))] if self.octet_by_octet else [flight]
                for piece in pieces:
                    if piece:
                        self.feed(piece, on_event)
            self.feed(b"", on_event)
        except RemoteProtocolError:
            # How much of the content came out before it depends on how it was cut.
            self.content = b""
            self.note("RemoteProtocolError")
        self.note(self.connection.state)
        return self.history

    def feed(self, piece: bytes, on_event: Callable[[Any], None]) -> None:
        self.connection.receive_data(piece)
        while (event := self.connection.next_event()) is not NEED_DATA and event is not PAUSED:
            if isinstance(event, smtpproto.ContentReceived):
                self.content += event.data
                continue
            self.note(event)
            if isinstance(event, smtpproto.ConnectionClosed):
                break
            on_event(event)

    def note(self, what: object) -> None:
        if self.content:
            self.history.append(self.content)
            self.content = b""
        self.history.append(what)


def fuzz(test_one_input: Callable[[bytes], None]) -> None:
    """Hand the process over to libFuzzer, whose options and folders stand on the command line."""
    if atheris is None:
        sys.exit("Fuzzing needs atheris: run it as `make fuzz`.")
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
