"""How the tests drive a bare `Connection`: to where a test begins, and through what follows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from copy import copy
from typing import Any, cast

from smtpproto import (
    ClientConnection,
    Command,
    Connect,
    Connection,
    ConnectionClosed,
    Ehlo,
    Event,
    Extensions,
    Lhlo,
    Mail,
    Pause,
    Rcpt,
    Reply,
    ServerConnection,
)
from smtpproto.values import Value

EVERYTHING = (
    "PIPELINING",
    "SIZE 1000",
    "8BITMIME",
    "CHUNKING",
    "BINARYMIME",
    "STARTTLS",
    "AUTH PLAIN LOGIN",
    "DSN",
    "SMTPUTF8",
    "ETRN",
    "BURL",
    "XCLIENT NAME",
    "XFORWARD NAME",
)
"""An offer of all that the tests use."""


def upcoming(connection: Connection) -> Iterator[Event]:
    """The events that there are now.  (After the end of the stream there is one for ever: it comes once.)"""
    while not isinstance(event := connection.next_event(), Pause):
        yield event
        if isinstance(event, ConnectionClosed):
            break


def events(connection: Connection) -> list[Event]:
    """All events that there are now."""
    return list(upcoming(connection))


def receive(connection: Connection, *pieces: bytes) -> list[Event]:
    """Feed the pieces, and look after each."""
    found: list[Event] = []
    for piece in pieces:
        connection.receive_data(piece)
        found += events(connection)
    return found


def ehlo_reply(*offer: str) -> bytes:
    return bytes(Reply(250, ["mx.example greets you", *offer]))


def ready_client(*offer: str, **options: Any) -> ClientConnection:
    """A client that was greeted and has got this offer."""
    client = ClientConnection(**options)
    receive(client, b"220 mx.example\r\n")
    client.send(Lhlo("me.example") if client.lmtp else Ehlo("me.example"))
    receive(client, ehlo_reply(*offer))
    return client


def mailing_client(*recipients: str, offer: tuple[str, ...] = EVERYTHING, **options: Any) -> ClientConnection:
    """A client whose sender and recipients were accepted."""
    client = ready_client(*offer, **options)
    body = "8BITMIME" if "8BITMIME" in client.extensions else None
    ask(client, Mail("a@x.example", body=body), b"250 ok\r\n")
    for recipient in recipients:
        ask(client, Rcpt(recipient), b"250 ok\r\n")
    return client


def ask(client: ClientConnection, command: Command, *answer: bytes) -> list[Event]:
    """Send a command, and receive what answers it."""
    client.send(command)
    return receive(client, *answer)


def ready_server(*offer: str, **options: Any) -> ServerConnection:
    """A server that has greeted and made this offer."""
    server = ServerConnection(**options)
    assert server.outstanding == (Connect(),)
    server.send(Reply(220, "mx.example"))
    receive(server, b"LHLO me.example\r\n" if server.lmtp else b"EHLO me.example\r\n")
    server.send(Reply(250, ["mx.example greets you", *offer]))
    return server


def mailing_server(*recipients: str, offer: tuple[str, ...] = EVERYTHING, **options: Any) -> ServerConnection:
    """A server that has accepted a sender and recipients."""
    server = ready_server(*offer, **options)
    give(server, b"MAIL FROM:<a@x.example>\r\n", 250)
    for recipient in recipients:
        give(server, b"RCPT TO:<%b>\r\n" % recipient.encode(), 250)
    return server


def give(server: ServerConnection, line: bytes, *codes: int) -> list[Event]:
    """Receive a command, and answer it with these codes."""
    found = receive(server, line)
    for code in codes:
        server.send(Reply(code, "said"))
    return found


def look(thing: object) -> object:
    """All that is in a connection, down to the buffers: what a refused call must leave alone."""
    if isinstance(thing, list | tuple | deque):
        return [look(each) for each in cast("Iterable[object]", thing)]
    if isinstance(thing, bytearray | set | dict):  # not the thing itself, which may go on to change
        return copy(cast("object", thing))
    names = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
    if isinstance(thing, Value | Extensions) or not names or not type(thing).__module__.startswith("smtpproto"):
        return thing
    return {name: look(getattr(thing, name)) for name in names}
