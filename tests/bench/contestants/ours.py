"""This project's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproto import (
    NEED_DATA,
    Command,
    CommandReceived,
    Connection,
    ContentReceived,
    Data,
    Ehlo,
    EndOfData,
    Event,
    Mail,
    Pause,
    Quit,
    Rcpt,
    Reply,
    Role,
    Service,
    ServiceSession,
    TransportError,
    flows,
)
from smtpproto.content import Stuffer
from smtpproto.errors import ErrorCode
from tests.bench.workloads import ACCEPTED, CLIENT, EHLO_REPLY, GO_AHEAD, GREETING, QUEUED, SENDER, SENT, pieces

if TYPE_CHECKING:
    from tests.bench.harness import Run
    from tests.bench.workloads import Replies, Session


def greeted() -> Connection:
    connection = Connection(Role.CLIENT)
    connection.receive_data(bytes(bytearray(GREETING)))
    connection.next_event()
    return connection


def at_rest() -> Connection:
    """A client's, after EHLO; what it has received is its own, as it is when it comes out of a socket."""
    connection = greeted()
    connection.send(Ehlo(CLIENT))
    connection.receive_data(bytes(bytearray(EHLO_REPLY)))
    connection.next_event()
    return connection


def _waiting(recipients: int) -> Connection:
    """For the replies to MAIL and so many RCPT."""
    connection = at_rest()
    connection.send(Mail(SENDER))
    recipient = Rcpt("recipient@mx.example")
    for _ in range(recipients):
        connection.send(recipient)
    return connection


# A client's ----------------------------------------------------------------------------------------------------------


def pipelined_replies(replies: Replies) -> Run:
    connection = _waiting(replies.recipients)

    def run() -> int:
        connection.receive_data(replies.whole)
        events = 0
        while connection.next_event() is not NEED_DATA:
            events += 1
        return events

    return run


def single_replies(replies: Replies) -> Run:
    connection = _waiting(replies.recipients)

    def run() -> Event | Pause:
        event: Event | Pause = NEED_DATA
        for reply in replies.each:
            connection.receive_data(reply)
            event = connection.next_event()
        return event

    return run


def ehlo(reply: bytes) -> Run:
    connection = greeted()

    def run() -> Event | Pause:
        connection.send(Ehlo(CLIENT))
        connection.receive_data(reply)
        return connection.next_event()

    return run


def session(session: Session) -> Run:
    connection = Connection(Role.CLIENT)

    def run() -> int:
        sent = 0
        replies = iter(session.replies)
        connection.receive_data(next(replies))
        connection.next_event()
        for command in (Ehlo(CLIENT), Mail(session.sender), *map(Rcpt, session.recipients), Data()):
            sent += len(connection.send(command))
            connection.receive_data(next(replies))
            connection.next_event()
        sent += len(connection.send_content(session.content))
        for command in (EndOfData(), Quit()):
            sent += len(connection.send(command))
            connection.receive_data(next(replies))
            connection.next_event()
        return sent

    return run


def stuff(content: bytes) -> Run:
    stuffer = Stuffer()

    def run() -> tuple[bytes, bytes]:
        return stuffer.stuff(content), stuffer.end()

    return run


# A server's ----------------------------------------------------------------------------------------------------------

_REPLIES: Final[dict[type[Command], Reply]] = {
    Ehlo: Reply(250, ("mx.example", "SIZE 33554432", "PIPELINING", "8BITMIME", "SMTPUTF8", "HELP")),
    Mail: Reply(250, SENT[4:-2].decode()),
    Rcpt: Reply(250, ACCEPTED[4:-2].decode()),
    Data: Reply(354, GO_AHEAD[4:-2].decode()),
    EndOfData: Reply(250, QUEUED[4:-2].decode()),
    Quit: Reply(221, "2.0.0 Bye"),
}


_WAITS: Final = (flows.Receive, flows.Close)


def _greeting_server() -> Connection:
    connection = Connection(Role.SERVER)
    connection.send(Reply(220, "mx.example ESMTP"))
    return connection


def server_at_rest() -> Connection:
    """After EHLO."""
    connection = _greeting_server()
    connection.receive_data(f"EHLO {CLIENT}\r\n".encode())
    connection.next_event()
    connection.send(_REPLIES[Ehlo])
    return connection


def _serve(connection: Connection, data: bytes, content: list[bytes]) -> bytes:
    """What the server says to it."""
    said: list[bytes] = []
    connection.receive_data(data)
    while (event := connection.next_event()) is not NEED_DATA:
        if isinstance(event, ContentReceived):
            content.append(event.data)
        elif isinstance(event, CommandReceived):
            said.append(connection.send(_REPLIES[type(event.command)]))
        else:
            raise TypeError(event)
    return b"".join(said)


def server_session(session: Session) -> Run:
    """The machine alone, with a reply for each command at hand."""
    connection = _greeting_server()

    def run() -> bytes:
        content: list[bytes] = []
        for group in session.groups:
            _serve(connection, group, content)
        return b"".join(content)

    return run


def server_flow(session: Session) -> Run:
    """The whole server, its policy and its replies, as the adapters run it."""
    flow = flows.serve(ServiceSession(Service("mx.example")))
    effect = next(flow)
    while not isinstance(effect, flows.Receive):
        effect = flow.send(None)
    effect = flow.throw(TransportError("nothing has come before the greeting", ErrorCode.TIMED_OUT))
    while not isinstance(effect, flows.Receive):
        effect = flow.send(None)

    def run() -> bytes:
        content: list[bytes] = []
        for group in session.groups:
            effect = flow.send(group)
            while type(effect) not in _WAITS:
                if type(effect) is flows.Ask and isinstance(effect.subject, ContentReceived):
                    content.append(effect.subject.data)
                effect = flow.send(None)
        return b"".join(content)

    return run


def unstuff(stuffed: bytes) -> Run:
    """A server, from the first octet of the content to its reply."""
    connection = server_at_rest()
    content: list[bytes] = []
    _serve(connection, f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<recipient@mx.example>\r\nDATA\r\n".encode(), content)
    received = pieces(stuffed)

    def run() -> bytes:
        for piece in received:
            _serve(connection, piece, content)
        return b"".join(content)

    return run
