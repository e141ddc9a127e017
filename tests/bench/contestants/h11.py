"""h11, whose `Connection` is what ours is modelled on: what one takes while nothing happens."""

from __future__ import annotations

import h11


def at_rest() -> h11.Connection:
    """A client's, between two requests."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "mx.example")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(bytes(bytearray(b"HTTP/1.1 200 OK\r\nServer: mx.example\r\nContent-Length: 0\r\n\r\n")))
    _to_rest(connection)
    return connection


def server_at_rest() -> h11.Connection:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(bytes(bytearray(b"GET / HTTP/1.1\r\nHost: mx.example\r\n\r\n")))
    connection.next_event()
    connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    _to_rest(connection)
    return connection


def _to_rest(connection: h11.Connection) -> None:
    while not isinstance(connection.next_event(), h11.EndOfMessage):
        pass
    connection.start_next_cycle()
