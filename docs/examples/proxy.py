"""A transparent SMTP proxy, which prints all that is said: `python proxy.py 2525 mx.example 25`."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys

from smtpproto import (
    EXTENSIONS,
    NEED_DATA,
    AuthResponse,
    BadCommand,
    ClientConnection,
    CommandReceived,
    Connection,
    ContentReceived,
    Ehlo,
    Event,
    Mail,
    Reply,
    ReplyReceived,
    ServerConnection,
    SmtpError,
    State,
)

KEPT = EXTENSIONS.keys() - {"STARTTLS", "CHUNKING", "BINARYMIME"}
"""What is offered through the proxy.  TLS would hide what is said, a chunk needs its size before its octets, and behind
a command that nobody here knows anything may come."""
BROKEN = Reply(421, "4.4.2 the proxy cannot go on with this session")


class Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def __init__(self, address: tuple[str, int], upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        super().__init__(address, Session)


class Session(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Proxy)
        try:
            with socket.create_connection(self.server.upstream, timeout=60) as upstream:
                relay(self.request, upstream)
        except (OSError, SmtpError) as error:
            print(f"{self.client_address}: {error}")
            with contextlib.suppress(OSError):
                self.request.sendall(bytes(BROKEN))


def relay(here: socket.socket, there: socket.socket) -> None:
    server, client = ServerConnection(on_send=print), ClientConnection(on_send=print, mask=EXTENSIONS.keys() - KEPT)
    here.sendall(server.send(next_reply(client, there)))  # the greeting
    while server.state is not State.CLOSED:
        match next_event(server, here):
            case ContentReceived(data):
                there.sendall(client.send_content(data))
                continue
            case CommandReceived(command):
                if isinstance(command, Mail) and command.body is None and "8BITMIME" in client.extensions:
                    command = command.replaced(body="8BITMIME")  # many send what they did not announce
                there.sendall(client.send(command))
                reply = next_reply(client, there)
                if isinstance(command, Ehlo):
                    offer = [line for line in reply.lines[1:] if line.split(" ")[0].upper() in KEPT]
                    reply = Reply(reply.code, [reply.lines[0], *offer])
            case BadCommand(reply=reply):
                if client.state is State.AUTH:  # the server still waits for the response that this is none of
                    there.sendall(client.send(AuthResponse(None)))
                    next_reply(client, there)
            case _:
                raise ConnectionAbortedError("the client has closed the connection")
        here.sendall(server.send(reply))
        if client.state is State.DATA and server.state is not State.DATA:
            raise ConnectionAbortedError("the content must not be completed, such as one with a bare LF")


def next_reply(client: ClientConnection, stream: socket.socket) -> Reply:
    event = next_event(client, stream)
    if not isinstance(event, ReplyReceived):
        raise ConnectionAbortedError("the server has closed the connection")
    return event.reply


def next_event(connection: Connection, stream: socket.socket) -> Event:
    while (event := connection.next_event()) is NEED_DATA:
        stream.settimeout(connection.deadline)
        connection.receive_data(stream.recv(65536))
    assert isinstance(event, Event)  # PAUSED is for STARTTLS, and for commands that were not answered yet
    return event


if __name__ == "__main__":
    with Proxy(("127.0.0.1", int(sys.argv[1])), (sys.argv[2], int(sys.argv[3]))) as proxy:
        proxy.serve_forever()
