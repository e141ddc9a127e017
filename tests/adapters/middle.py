"""Who is between a client and its server: reads what the client says, and changes what the server says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.adapters.backends import AnyServer


class Middle:
    """A relay with a port of its own, for the time of its block; it carries one connection after the other.

    ``change``: what becomes of the text of a reply of the server's, line by line, with its CRLF; `None` drops the line.
    The last line of a reply has to stay.  ``listen``, ``dial``: the TLS towards the client, and towards the server,
    from the first octet.
    """

    def __init__(
        self,
        server: AnyServer,
        change: Callable[[bytes], bytes | None] = lambda line: line,
        *,
        listen: ssl.SSLContext | None = None,
        dial: ssl.SSLContext | None = None,
    ) -> None:
        self._there = (server.host, server.port)
        self._change = change
        self._listen = listen
        self._dial = dial
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self.said = bytearray()

    said: bytearray
    """All octets that the clients have sent; under its TLS, in clear."""

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "the middle does not end"
        for each in self._sockets:
            each.close()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="Middle", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):  # what becomes of the connection its two ends will see
                self._join(self._kept(client))

    def _join(self, client: socket.socket) -> None:
        if self._listen is not None:
            client = self._kept(self._listen.wrap_socket(client, server_side=True))
        server = self._kept(socket.create_connection(self._there, 10))
        server.settimeout(None)
        if self._dial is not None:
            server = self._kept(self._dial.wrap_socket(server, server_hostname="localhost"))
        self._start(lambda: self._relay(client, server, self._note))
        self._start(lambda: self._relay(server, client, self._changed()))

    def _kept(self, sock: socket.socket) -> socket.socket:
        self._sockets.append(sock)
        return sock

    def _relay(self, source: socket.socket, target: socket.socket, through: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(through(data))
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _note(self, data: bytes) -> bytes:
        self.said += data
        return data

    def _changed(self) -> Callable[[bytes], bytes]:
        rest = bytearray()

        def through(data: bytes) -> bytes:
            rest.extend(data)
            *lines, left = bytes(rest).split(b"\r\n")
            rest[:] = left
            return b"".join(filter(None, (self._change(line + b"\r\n") for line in lines)))

        return through
