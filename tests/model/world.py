"""Every joint state of a client and a server: a breadth-first walk over real connections, in memory.

A `World` is one joint state: both connections, and what is on its way between them, command by command and reply by
reply, so that every order of delivery is tried.  `explore` makes every move that there is from every world: the client
sends any command that it may, the server gives any reply that it may, what is on its way arrives, TLS is negotiated,
the server leaves.  Nothing is drawn by chance.  What the client may send and the server may answer, the connections say
by themselves; which commands and replies there are to be tried comes from the tables of transitions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar, cast

from smtpproto.client import ClientConnection
from smtpproto.commands import Bdat, Command, Connect, Ehlo, Lhlo, Rcpt
from smtpproto.connection import Connection
from smtpproto.errors import LocalProtocolError
from smtpproto.events import BadCommand, CommandReceived, Event, Pause
from smtpproto.replies import Reply
from smtpproto.server import ServerConnection
from smtpproto.states import CLOSED, TLS, Kind, Session, State, kind_of
from smtpproto.values import Value

T = TypeVar("T")

CODES = (220, 221, 235, 250, 334, 354, 450, 550, 421)
"""A reply of every class that a row of the tables tells from the others."""

RECIPIENTS = 2
"""Accepted and outstanding ones of a transaction; a third one adds nothing but states."""


class Edge(NamedTuple):
    """What a client's session made of a reply: a step in the table."""

    state: State
    kind: Kind
    code: int
    after: State


@dataclass(slots=True)
class World:
    """One joint state."""

    client: ClientConnection
    server: ServerConnection
    due: Event | None = None
    """What the server has to answer."""
    to_server: tuple[bytes, ...] = ()
    to_client: tuple[bytes, ...] = ()

    def fork(self) -> World:
        """Another one that is the same."""
        return World(forked(self.client), forked(self.server), self.due, self.to_server, self.to_client)

    @property
    def is_over(self) -> bool:
        """Both sides are closed."""
        return self.client.state is CLOSED and self.server.state is CLOSED

    @property
    def is_quiet(self) -> bool:
        """Nothing is in flight, and nobody waits for an answer."""
        return not (self.to_server or self.to_client or self.due or self.client.outstanding)

    def key(self) -> object:
        """What tells it from others; counters of octets do not."""
        return (_key(self.client), _key(self.server), _due(self.due), self.to_server, self.to_client)


def _due(event: Event | None) -> object:
    match event:
        case BadCommand(_, reply):
            return reply
        case CommandReceived(command):
            return kind_of(command)
        case _:
            return None


def session_of(connection: Connection) -> Session:
    """What walks the table, below a connection."""
    session: Session = connection._session  # pyright: ignore[reportPrivateUsage]
    return session


def _key(connection: Connection) -> object:
    session = session_of(connection)
    return (
        session.state,
        session.predicted,
        session.accepted,
        session._owed,  # pyright: ignore[reportPrivateUsage]
        tuple(kind_of(command) for command in session.outstanding),
        connection.secure,
        connection.authenticated,
        connection.extended,
        tuple(connection.extensions),
        getattr(connection, "_chunk_left", 0),
        getattr(connection, "_stuffer", None) is None,
        getattr(connection, "_unstuffer", None) is None,
        getattr(connection, "_chunk", None) is None,
        tuple(getattr(connection, "_recipients", None) or ()),
    )


def forked(thing: T) -> T:
    """A copy that shares nothing that can change."""
    if isinstance(thing, list | deque):
        items = map(forked, cast("list[object]", thing))
        return cast("T", list(items) if isinstance(thing, list) else deque(items))
    if isinstance(thing, bytearray | set):
        return cast("T", copy(cast("object", thing)))
    kind = type(thing)
    if isinstance(thing, Value) or not kind.__module__.startswith("smtpproto") or kind.__name__ == "Extensions":
        return thing
    names = [name for each in kind.__mro__ for name in getattr(each, "__slots__", ())]
    if not names:
        return thing
    made = object.__new__(kind)
    for name in names:
        if hasattr(thing, name):
            setattr(made, name, forked(getattr(thing, name)))
    return made


@dataclass(slots=True)
class Model:
    """What is explored, and what was found."""

    lmtp: bool
    commands: tuple[Command, ...]
    """What a client may try to send."""
    offer: Callable[[bool], tuple[str, ...]]
    """What a server offers, by whether there is TLS."""
    outstanding: int
    """Commands that are not answered at most."""
    check: Callable[[World], object]
    """Looks at each world, and raises where it is wrong."""
    edges: set[Edge] = field(default_factory=set[Edge])
    worlds: int = 0
    moves: int = 0

    def explore(self) -> None:
        """Walk through all of it.  Raises AssertionError where a world has no way to its end."""
        first = World(ClientConnection(lmtp=self.lmtp), ServerConnection(lmtp=self.lmtp), CommandReceived(Connect()))
        numbers = {first.key(): 0}
        before: list[list[int]] = [[]]
        over: list[int] = []
        queue = deque([(0, first)])
        while queue:
            number, world = queue.popleft()
            self.check(world)
            if world.is_over:
                over.append(number)
                continue
            for following in self.moves_of(world):
                self.moves += 1
                key = following.key()
                known = numbers.get(key)
                if known is None:
                    known = numbers[key] = len(numbers)
                    before.append([])
                    queue.append((known, following))
                before[known].append(number)
        self.worlds = len(numbers)
        stuck = self.worlds - len(_all_before(over, before))
        assert not stuck, f"{stuck} joint states have no way to the end of both sides"

    def moves_of(self, world: World) -> Iterator[World]:
        """Every world that can be next."""
        yield from self._client_sends(world)
        yield from self._server_answers(world)
        if world.to_server and world.due is None and world.server.state not in (TLS, CLOSED):
            yield self._server_receives(world)
        if world.to_client:
            yield self._client_receives(world)
        if world.client.state is world.server.state is TLS:
            assert not world.to_server, "plaintext behind STARTTLS"
            assert not world.to_client, "plaintext behind the 220 to STARTTLS"
            following = world.fork()
            following.client.tls_established()
            following.server.tls_established()
            yield following
        if world.server.state is CLOSED and world.client.state is not CLOSED and not world.to_client:
            following = world.fork()
            following.client.receive_data(b"")
            following.client.next_event()
            yield following

    def _client_sends(self, world: World) -> Iterator[World]:
        client = world.client
        if len(client.outstanding) >= self.outstanding:
            return
        for command in self.commands:
            if client.objection(command) is not None or (isinstance(command, Rcpt) and _is_full(client)):
                continue
            following = world.fork()
            sent = following.client.send(command)
            if isinstance(command, Bdat) and command.size:
                sent += following.client.send_content(b"x" * command.size)
            following.to_server += (sent,)
            yield following

    def _server_answers(self, world: World) -> Iterator[World]:
        due = world.due
        if due is None:
            if world.server.state is not CLOSED and world.server.state is not TLS:
                yield self._answered(world.fork(), Reply(421, "leaving"))
            return
        assert isinstance(due, CommandReceived | BadCommand)
        command = due.command
        assert command is not None
        # What the engine would refuse, its program may answer otherwise.
        for code in CODES:
            following = world.fork()
            reply = self._reply(code, command, following.server)
            try:
                self._answered(following, reply)
            except LocalProtocolError:
                continue  # the table has no place for it here
            yield following

    def _reply(self, code: int, command: Command, server: ServerConnection) -> Reply:
        if code == 250 and isinstance(command, Ehlo | Lhlo):
            return Reply(code, ("mx.example", *self.offer(server.secure)))
        return Reply(code, "")

    def _answered(self, world: World, reply: Reply) -> World:
        world.to_client += (world.server.send(reply),)
        if not world.server.outstanding:  # LMTP owes several
            world.due = None
            self._look(world)
        return world

    def _server_receives(self, world: World) -> World:
        following = world.fork()
        first, *rest = following.to_server
        following.server.receive_data(first)
        following.to_server = tuple(rest)
        self._look(following)
        return following

    def _look(self, world: World) -> None:
        while not isinstance(event := world.server.next_event(), Pause):
            if isinstance(event, CommandReceived | BadCommand):
                world.due = event

    def _client_receives(self, world: World) -> World:
        following = world.fork()
        first, *rest = following.to_client
        following.to_client = tuple(rest)
        client = following.client
        was, waited = client.state, client.outstanding
        client.receive_data(first)
        event = client.next_event()
        assert not isinstance(event, Pause), f"{first!r} told the client nothing"
        if waited:
            self.edges.add(Edge(was, kind_of(waited[0]), int(first[:3]), client.state))
        return following


def _is_full(client: ClientConnection) -> bool:
    return session_of(client).accepted + sum(isinstance(each, Rcpt) for each in client.outstanding) >= RECIPIENTS


def _all_before(ends: list[int], before: list[list[int]]) -> set[int]:
    """All from which one of these can be reached."""
    found = set(ends)
    queue = list(ends)
    while queue:
        for number in before[queue.pop()]:
            if number not in found:
                found.add(number)
                queue.append(number)
    return found
