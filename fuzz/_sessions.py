"""Both ends of a connection, and a peer that says to them what the input has.

The first octet of an input is the mode: 1 for LMTP, 2 for limits that are soon reached, 4 for TLS from the beginning.
What follows is what the peer says, in flights; the first octet of each, which is not said, chooses what this end does
before it or while it lasts.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, TypeAlias

from fuzz._harness import chosen, flights_of
from smtpproto import (
    NEED_DATA,
    PAUSED,
    BadCommand,
    CommandReceived,
    Connection,
    ConnectionClosed,
    ContentReceived,
    Limits,
    LocalProtocolError,
    RemoteProtocolError,
    Reply,
    Role,
    State,
    commands,
)
from smtpproto.limits import DEFAULT_LIMITS
from smtpproto.testing import whole

Cut: TypeAlias = Callable[[bytes], Iterable[bytes]]
History: TypeAlias = list[object]
"""The events of one connection, the content between two of them in one piece, and how it ended."""

LMTP: Final = 1
SMALL: Final = 2
SECURE: Final = 4

SMALL_LIMITS: Final = Limits(
    command_line=300,
    message=200,
    outstanding=12,
    recipients=3,
    reply_line=120,
    reply_lines=12,
    reply_octets=400,
    transactions=4,
)
_MOST_KEPT: Final = 2048
"""Octets that a connection may keep under these limits, whatever it has read.  Some 650 are there from the beginning;
then there are a reply, what was understood of it, and the commands under way."""


class Run:
    """One connection that is fed flight by flight, and what comes out of it."""

    def __init__(self, connection: Connection, cut: Cut, *, bounded: bool) -> None:
        self.connection = connection
        self.cut = cut
        self.bounded = bounded
        self.history: History = []
        self.content = b""
        self.ended = False

    def play(
        self, flights: list[bytes], before_each: Callable[[int], None], on_event: Callable[[Any], None]
    ) -> History:
        """Run to the end of the stream, or to the first violation of the protocol.

        The two functions are called before each flight, with its first octet, and with each event.
        """
        try:
            for flight in flights:
                before_each(chosen(flight))
                for piece in self.cut(flight[1:]):
                    if piece:  # nothing would be the end of the stream
                        self.feed(piece, on_event)
                if self.bounded:
                    self.assert_bounded()
            self.feed(b"", on_event)
        except RemoteProtocolError as error:
            # How much of the content came out before it depends on how it was cut.
            self.content = b""
            self.note("RemoteProtocolError")
            self.assert_terminal(error)
        self.note(self.connection.state)
        return self.history

    def feed(self, piece: bytes, on_event: Callable[[Any], None]) -> None:
        self.connection.receive_data(piece)
        self.ended = not piece
        while (event := self.connection.next_event()) is not NEED_DATA and event is not PAUSED:
            if isinstance(event, ContentReceived):
                self.content += event.data
                continue
            self.note(event)
            if isinstance(event, ConnectionClosed):
                break
            on_event(event)

    def note(self, what: object) -> None:
        if self.content:
            self.history.append(self.content)
            self.content = b""
        self.history.append(what)

    def assert_terminal(self, error: RemoteProtocolError) -> None:
        connection = self.connection
        assert connection.state is State.ERROR
        assert len(error.received) <= 256
        connection.receive_data(b"" if self.ended else b"220 mx.example\r\nQUIT\r\n")
        for _ in range(2):
            again = self.failure()
            assert again is not None
            assert (str(again), again.code) == (str(error), error.code)
        message = commands.Quit() if connection.role is Role.CLIENT else Reply(421, "no")
        try:
            connection.send(message)
        except LocalProtocolError:
            return
        raise AssertionError("something was sent after an error")

    def failure(self) -> RemoteProtocolError | None:
        try:
            self.connection.next_event()
        except RemoteProtocolError as error:
            return error
        return None

    def assert_bounded(self) -> None:
        """What waits for a reply of ours may be kept, however much it is: whoever reads is to stop then."""
        if self.connection.next_event() is NEED_DATA:
            kept = octets_kept(self.connection)
            assert kept <= _MOST_KEPT, f"{kept} octets are kept"


def octets_kept(connection: Connection) -> int:
    """The octets and characters of everything that hangs on the connection and is not code."""
    octets, seen, front = 0, set[int](), [connection, *gc.get_referents(connection)]
    while front:
        thing = front.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes | bytearray | str):
            octets += len(thing)
        else:
            front += gc.get_referents(thing)
    return octets


def _connection(role: Role, mode: int) -> Connection:
    limits = SMALL_LIMITS if mode & SMALL else DEFAULT_LIMITS
    return Connection(role, lmtp=bool(mode & LMTP), secure=bool(mode & SECURE), limits=limits)


# -- a client, whose server is the input ------------------------------------------------------------------------------

Said: TypeAlias = tuple["commands.Command | bytes", ...]

_SENDER: Final = commands.Mail("a@client.example", size=300, body="8BITMIME")
_MAIL: Final = commands.Mail("a@client.example")
_RCPT: Final = (commands.Rcpt("b@mx.example"), commands.Rcpt("c@mx.example"))
_TEXT: Final = b"Subject: x\n\n.dot\r\n"

SAYINGS: Final[tuple[Said, ...]] = (
    (),  # p
    (commands.Ehlo("client.example"), commands.Lhlo("client.example")),  # a
    (commands.Helo("client.example"),),
    (commands.StartTls(),),  # c
    (commands.Auth("PLAIN", b"\0user\0password"), commands.Auth("LOGIN")),
    (commands.AuthResponse(b"user"),),  # e
    (commands.AuthResponse(None), commands.Data()),
    (_MAIL, *_RCPT, commands.Data()),  # g
    (_TEXT, commands.EndOfData(), commands.Mail(""), *_RCPT, commands.Data()),
    (_TEXT, commands.EndOfData()),  # i
    (_MAIL, *_RCPT, commands.Bdat(3), b"a\r\n", commands.Bdat(len(_TEXT), last=True), _TEXT),
    (commands.Rset(), commands.Noop(), commands.Help()),  # k
    (commands.Vrfy("someone"), commands.Expn("them"), commands.UnknownCommand("XYZZY")),
    (commands.Quit(),),  # m
    (_MAIL, *_RCPT, *_RCPT, *_RCPT),
    (_SENDER, _RCPT[0], commands.XClient({"NAME": "x.example"}), commands.Etrn("x.example")),  # o
)
"""What the client says; chosen by an octet, of which the letters p and a to o are the handiest."""


def play_client(data: bytes, cut: Cut = whole) -> History:
    """A client that hears these replies; it says only what it may."""
    mode = chosen(data)
    connection = _connection(Role.CLIENT, mode)

    def speak(choice: int) -> None:
        if connection.state is State.TLS:
            connection.tls_established()
        for each in SAYINGS[choice % len(SAYINGS)]:
            try:
                _ = connection.send_content(each) if isinstance(each, bytes) else connection.send(each)
            except LocalProtocolError:
                assert isinstance(each, bytes) or connection.objection(each) is not None

    run = Run(connection, cut, bounded=bool(mode & SMALL))
    return run.play(flights_of(data[1:]), speak, lambda event: None)


# -- a server, whose client is the input ------------------------------------------------------------------------------

_OFFER: Final = (
    "mx.example",
    "PIPELINING",
    "8BITMIME",
    "SIZE 1000000",
    "STARTTLS",
    "AUTH PLAIN LOGIN",
    "CHUNKING",
    "BINARYMIME",
    "SMTPUTF8",
    "DSN",
    "LIMITS RCPTMAX=100 RCPTDOMAINMAX=3",
    "XCLIENT NAME ADDR",
    "ETRN",
    "ENHANCEDSTATUSCODES",
)
_REFUSALS: Final = (None, None, 450, 550, 421, None, None, None)
_CHALLENGES: Final = 1
"""The manner in which the server answers AUTH with a challenge."""
_BY_TURNS: Final = 5
"""The manner in which it refuses every other command."""


def _answer(command: commands.Command, manner: int, number: int) -> Reply:
    refusal = 554 if manner == _BY_TURNS and number % 2 else _REFUSALS[manner]
    match command:
        case commands.Ehlo() | commands.Lhlo():
            return Reply(250, _OFFER)
        case _ if refusal is not None:
            return Reply(refusal, "no")
        case commands.Data():
            return Reply(354, "go on")
        case commands.StartTls() | commands.XClient():
            return Reply(220, "go on")
        case commands.AuthResponse(None):
            return Reply(501, "cancelled")
        case commands.Auth() | commands.AuthResponse():
            return Reply(334, "") if manner == _CHALLENGES else Reply(235, "welcome")
        case _:
            return Reply(250, "ok")


def play_server(data: bytes, cut: Cut = whole) -> History:
    """A server that hears these commands, and answers each as the choice of the flight has it."""
    mode = chosen(data)
    connection = _connection(Role.SERVER, mode)
    connection.send(Reply(220, "mx.example"))
    manner = number = 0

    def between(choice: int) -> None:
        nonlocal manner
        manner = choice % len(_REFUSALS)
        if connection.state is State.TLS:
            connection.tls_established()

    def reply(event: object) -> None:
        nonlocal number
        match event:
            case CommandReceived(command):
                while connection.outstanding:  # LMTP owes more than one
                    number += 1
                    connection.send(_answer(command, manner, number))
            case BadCommand():
                connection.send(event.reply)
            case _:
                pass

    run = Run(connection, cut, bounded=bool(mode & SMALL))
    return run.play(flights_of(data[1:]), between, reply)
