"""The conversations of a client."""

from __future__ import annotations

from typing import Final

from smtpproto.addresses import AddressLiteral
from smtpproto.authenticate import Authenticator
from smtpproto.client import ClientConnection
from smtpproto.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Burl,
    Command,
    Connect,
    Data,
    EndOfData,
    Quit,
)
from smtpproto.commands import StartTls as StartTlsCommand
from smtpproto.connect import Connected, Connector
from smtpproto.errors import ErrorCode, LocalProtocolError, NotTls, RemoteProtocolError, TransportError
from smtpproto.events import NEED_DATA, PAUSED, ConnectionClosed, Event, Pause, ReplyReceived, ServiceClosing
from smtpproto.failures import AuthenticationFailed, ConnectFailed, Stage, timed_out
from smtpproto.options import Security
from smtpproto.replies import Reply
from smtpproto.sasl import NO_BINDINGS

from .effects import Close, Dial, Flow, Receive, Send, StartTls, Watcher, ending, ignore


def connect(connector: Connector, watch: Watcher = ignore) -> Flow[Connected]:
    """Connect, from dialling to `Connected`.  Raises `ConnectFailed`, whatever went wrong, with all closed."""
    try:
        return (yield from _connect(connector, watch))
    except (TransportError, RemoteProtocolError) as error:
        yield from ending(Close())
        raise _connect_failed(connector, error) from error
    except ConnectFailed:
        yield from _hang_up(connector)
        raise


def _connect(connector: Connector, watch: Watcher) -> Flow[Connected]:
    target, timeouts = connector.target, connector.connection.timeouts
    connector.stage = Stage.DIAL
    literal: AddressLiteral | None = yield Dial(target.host, target.port, target.path, timeouts.dial)
    if literal is not None and connector.options.client_name is None:
        connector.client_name = str(literal)
    if target.security is Security.IMPLICIT:
        connector.stage = Stage.TLS
        connector.connection.channel_bindings = (yield StartTls(target.host_name, timeouts.tls)) or NO_BINDINGS
    connector.stage = Stage.GREETING
    continued = False
    while True:
        event = connector.next_event()
        if isinstance(event, Event):
            watch(event)
        if data := connector.data_to_send():
            yield Send(data, connector.deadline)
        if isinstance(event, Connected):
            return event
        if event is NEED_DATA:
            connector.receive_data((yield Receive(connector.deadline, continued=continued)))
        elif event is PAUSED:
            yield from _negotiate(connector)
        continued = event is NEED_DATA


def _negotiate(connector: Connector) -> Flow[None]:
    try:
        bindings = yield StartTls(connector.target.host_name, connector.deadline)
    except NotTls as error:
        # The same as octets that came together with the 220: only the packets fell otherwise.
        raise RemoteProtocolError("plaintext where TLS is due (RFC 3207 section 4)") from error
    connector.tls_established()
    connector.connection.channel_bindings = bindings or NO_BINDINGS


def _connect_failed(connector: Connector, error: TransportError | RemoteProtocolError) -> ConnectFailed:
    if connector.problem is not None:
        return connector.problem
    stage = connector.stage
    if isinstance(error, RemoteProtocolError):
        message, code = f"the server does not keep to the protocol: {error}", ErrorCode.PROTOCOL_ERROR
    elif error.code is ErrorCode.TIMED_OUT:
        message, code = f"timed out while {stage.value}: {error}", timed_out(stage)
    else:
        message, code = str(error), error.code
    if stage is Stage.AUTHENTICATION:
        return AuthenticationFailed(message, code)
    return ConnectFailed(message, code, stage)


def _hang_up(connector: Connector) -> Flow[None]:
    """QUIT without waiting for its answer: a server should not have to guess why we go."""
    farewell = connector.farewell()
    if farewell:
        yield from ending(Send(farewell, connector.deadline))
    yield from ending(Close())


def command(connection: ClientConnection, command: Command, watch: Watcher = ignore) -> Flow[Reply]:
    """Send one command, and return its reply; also where it is a refusal.

    A server that has left meanwhile, with a 421 (or, as some do, another refusal) that came before the command was
    sent, gets nothing, and that is its reply.  Raises `LocalProtocolError` where the command may not be sent now, or
    is one of a conversation that has a flow of its own; `RemoteProtocolError`; `TransportError`, with code
    CLOSED_BY_PEER where no reply came.
    """
    if isinstance(command, _CONVERSATIONS):
        raise LocalProtocolError(f"{_name(command)} begins or goes on with a conversation: use the method for it")
    return (yield from _exchange(connection, command, watch)).reply


_CONVERSATIONS = (Auth, AuthResponse, Bdat, Burl, Connect, Data, EndOfData, Quit, StartTlsCommand)


def _exchange(connection: ClientConnection, command: Command, watch: Watcher) -> Flow[ReplyReceived]:
    check_free(connection)
    # Where the command may be sent, all that can have come before it is that the server leaves.
    event = (yield from arrived(connection)) if connection.objection(command) is None else NEED_DATA
    if isinstance(event, Pause):
        yield Send(connection.send(command), connection.deadline)
        event = yield from next_answer(connection)
    watch(event)
    if isinstance(event, ConnectionClosed):
        raise _closed_by_peer(command, event.last_reply)
    assert isinstance(event, ReplyReceived)
    if isinstance(event, ServiceClosing):
        yield from ending(Close())
    return event


def check_free(connection: ClientConnection) -> None:
    """Raise `LocalProtocolError` where another conversation goes on."""
    if connection.outstanding:
        raise LocalProtocolError(
            f"{_name(connection.outstanding[0])} is not answered yet: one conversation at a time, and none after one "
            "that was given up"
        )


def arrived(connection: ClientConnection) -> Flow[Event | Pause]:
    """What came since the last conversation: it has to be seen now, lest it is taken for an answer to the next."""
    try:
        connection.receive_data((yield Receive(0)))
    except TransportError as error:
        if error.code is not ErrorCode.TIMED_OUT:
            raise
    return connection.next_event()


def next_answer(connection: ClientConnection) -> Flow[Event]:
    """The next event, where what came before was taken: with as much input as it takes."""
    continued = False
    while True:
        connection.receive_data((yield Receive(connection.deadline, continued=continued)))
        event = connection.next_event()
        # Else it is NEED_DATA: PAUSED is for TLS, and STARTTLS is a conversation.
        if not isinstance(event, Pause):
            return event
        continued = True


def _name(command: Command) -> str:
    return str(command) if command.verb else type(command).__name__


def _closed_by_peer(command: Command, last_reply: Reply | None) -> TransportError:
    said = f"; it last said {last_reply}" if last_reply is not None else ""
    return TransportError(
        f"the server closed the connection without an answer to {_name(command)}{said}", ErrorCode.CLOSED_BY_PEER
    )


def authenticate(connection: ClientConnection, authenticator: Authenticator, watch: Watcher = ignore) -> Flow[Reply]:
    """Authenticate; returns the reply that confirms it.

    Raises `AuthenticationFailed` where it is refused, `RemoteProtocolError` and `TransportError`.  With a server that
    claims success and could not prove itself (SERVER_NOT_AUTHENTIC) the connection is closed: it may be anyone.
    """
    command = authenticator.start()
    while True:
        try:
            event = yield from _exchange(connection, command, watch)
        except (TransportError, RemoteProtocolError) as error:
            if authenticator.problem is None:
                raise
            yield from ending(Close())
            raise authenticator.problem from error
        if isinstance(event, ServiceClosing):
            raise authenticator.problem or AuthenticationFailed(
                "the server is closing the connection", ErrorCode.SERVICE_NOT_AVAILABLE, event.reply
            )
        try:
            answer = authenticator.respond(event)
        except AuthenticationFailed as failure:
            if failure.code is ErrorCode.SERVER_NOT_AUTHENTIC:
                yield from ending(Close())
            raise
        if answer is None:
            return event.reply
        command = answer


def leave(connection: ClientConnection, watch: Watcher = ignore) -> Flow[None]:
    """QUIT, and close, where another conversation was broken off: its answers are heard first, and lead to nothing.

    An authentication is cancelled (RFC 4954 section 4).  In the middle of content there is nothing that could be said:
    the connection is closed without QUIT, and the server drops what it has of the message (RFC 5321 section 4.1.1.10).
    """
    try:
        yield from _hear_out(connection, watch)
        if not connection.outstanding and connection.objection(_CANCEL) is None:
            yield from _exchange(connection, _CANCEL, watch)
    except (TransportError, RemoteProtocolError):
        pass
    yield from quit(connection, watch)


_CANCEL: Final = AuthResponse(None)


def _hear_out(connection: ClientConnection, watch: Watcher) -> Flow[None]:
    while connection.outstanding:
        event = connection.next_event()
        if isinstance(event, Pause):
            connection.receive_data((yield Receive(connection.deadline)))
            continue
        watch(event)
        if isinstance(event, ServiceClosing | ConnectionClosed):
            return


def quit(connection: ClientConnection, watch: Watcher = ignore) -> Flow[None]:  # noqa: A001 - it is the RFC's name
    """QUIT, and close.  A server that goes without an answer, or with a wrong one, is gone all the same."""
    try:
        if not connection.outstanding and connection.objection(Quit()) is None:
            yield from _exchange(connection, Quit(), watch)
    except (TransportError, RemoteProtocolError):
        pass
    yield from ending(Close())
