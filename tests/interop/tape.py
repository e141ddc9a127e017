"""Two instruments that write down what is said in a session: a scripted client, and a tap between client and server.

`Talk` shows what a real server answers, and `Tap` what a real client sends to a server of ours.  TLS ends at both of
them, so that what stands on a `Tape` is what was said within it.
"""

from __future__ import annotations

import json
import re
import select
import socket
import socketserver
import ssl
import threading
import time
from contextlib import suppress
from typing import Any, Self

from tests.interop.servers import HOST, ServerError
from tests.replaying import FOLDER

SECONDS = 20.0
"""How long either side may keep the other one waiting."""

_REPLY = re.compile(rb"(?:[0-9]{3}-[^\n]*\n)*[0-9]{3}[^-\n][^\n]*\n")


class Tape:
    """What was said in one session, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []

    def server(self, octets: bytes) -> None:
        self._add("S", octets.decode("latin-1"))

    def client(self, octets: bytes) -> None:
        self._add("C", octets.decode("latin-1"))

    def note(self, text: str) -> None:
        """What else happened."""
        self.log.append(("-", text))

    def tls(self, connection: ssl.SSLSocket) -> None:
        """A handshake has succeeded."""
        cipher = connection.cipher()
        self.note(f"TLS {connection.version()} {cipher[0] if cipher else ''}")

    def _add(self, who: str, text: str) -> None:
        # How TCP has cut what one side said tells nothing, and differs every time.
        if self.log and self.log[-1][0] == who:
            text = self.log.pop()[1] + text
        self.log.append((who, text))

    def save(self, name: str, **about: Any) -> None:
        """Write `tests/transcripts/NAME.json`; ``about`` says who it was, with which version, and the like."""
        text = json.dumps({**about, "date": time.strftime("%Y-%m-%d %H:%M:%S"), "log": self.log}, indent=0)
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


# A scripted client --------------------------------------------------------------------------------------------------


class Talk:
    """A client that says what it is told to, and waits for as many replies as it is told to; a context manager."""

    def __init__(self, port: int, *, context: ssl.SSLContext | None = None) -> None:
        """Connect to a port of loopback, with a context under TLS from the start, and read the greeting."""
        self.tape = Tape()
        self._socket = socket.create_connection((HOST, port), SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.start_tls(context)
        self._wait(1)

    def say(self, *lines: bytes) -> None:
        """Send one line after the other, each when the reply to the one before it is there."""
        for line in lines:
            self.send(line + b"\r\n")

    def send(self, octets: bytes, replies: int = 1) -> None:
        """Send them at once, and wait for the replies."""
        self.tape.client(octets)
        self._socket.sendall(octets)
        self._wait(replies)

    def start_tls(self, context: ssl.SSLContext) -> None:
        self._socket = secured = context.wrap_socket(self._socket, server_hostname="localhost")
        self.tape.tls(secured)

    def quit(self) -> None:
        """Leave, and wait until the server closes the connection."""
        self.say(b"QUIT")
        with suppress(ConnectionError):
            rest = self._socket.recv(65536)
            assert not rest, rest
        self.tape.note("EOF")

    def _wait(self, replies: int) -> None:
        received = b""
        while len(_REPLY.findall(received)) < replies:
            octets = self._socket.recv(65536)
            if not octets:
                raise ServerError(f"the server closed the connection after {self.tape.log}")
            self.tape.server(octets)
            received += octets

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


# Between a client and a server --------------------------------------------------------------------------------------


class _Relay(socketserver.BaseRequestHandler):
    """One session."""

    def handle(self) -> None:
        tap = self.server
        assert isinstance(tap, Tap)
        self._tap, self._tape, self._wants_tls = tap, Tape(), False
        self._client: socket.socket = self.request
        self._server: socket.socket = socket.create_connection((HOST, tap.target))
        try:
            for each in (self._client, self._server):
                each.settimeout(SECONDS)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tap.implicit_tls:
                self._secure()
            while self._hand_on():
                pass
        except OSError as error:
            self._tape.note(type(error).__name__)
        finally:
            # TLS has put others in the place of those that were opened.
            self._client.close()
            self._server.close()
            tap.tapes.append(self._tape)

    def _hand_on(self) -> bool:
        """What one side says, to the other; whether it goes on."""
        readable, _, _ = select.select([self._client, self._server], [], [], SECONDS)
        if not readable:
            raise TimeoutError
        is_client = self._client in readable
        octets = _at_hand(self._client if is_client else self._server)
        if octets == b"":
            self._tape.note("EOF")
            return False
        if octets and is_client:
            self._from_client(octets)
        elif octets:
            self._from_server(octets)
        return True

    def _from_client(self, octets: bytes) -> None:
        self._tape.client(octets)
        self._wants_tls = octets.upper().endswith(b"STARTTLS\r\n")
        self._server.sendall(octets)

    def _from_server(self, octets: bytes) -> None:
        self._tape.server(octets)
        self._client.sendall(octets)
        if self._wants_tls and octets.startswith(b"220"):
            self._secure()
        self._wants_tls = False

    def _secure(self) -> None:
        assert self._tap.to_client is not None
        assert self._tap.to_server is not None
        self._client = secured = self._tap.to_client.wrap_socket(self._client, server_side=True)
        self._server = self._tap.to_server.wrap_socket(self._server, server_hostname="localhost")
        self._tape.tls(secured)


def _at_hand(source: socket.socket) -> bytes | None:
    """All that has come; None where that is nothing that was said, such as a session ticket of TLS; empty: the end."""
    source.settimeout(0)
    received = b""
    try:
        while octets := source.recv(65536):
            received += octets
    except (BlockingIOError, ssl.SSLWantReadError):
        return received or None
    finally:
        source.settimeout(SECONDS)
    # The end is there to be read once more.
    return received


class Tap(socketserver.ThreadingTCPServer):
    """Stands before a server on loopback, and has a tape of each session; a context manager.

    ``target`` is the server's port, and ``port`` that of the tap, by default any free one.  Where TLS is used, by
    STARTTLS or, with ``implicit_tls``, from the start, it is ``to_client`` by whose means the tap is a server, and
    ``to_server`` by whose means it is a client.
    """

    allow_reuse_address = True

    def __init__(
        self,
        target: int,
        *,
        port: int = 0,
        to_client: ssl.SSLContext | None = None,
        to_server: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
    ) -> None:
        super().__init__((HOST, port), _Relay)
        self.target, self.to_client, self.to_server, self.implicit_tls = target, to_client, to_server, implicit_tls
        self.tapes: list[Tape] = []
        """Of the sessions that have ended, which all have at the end of the block."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join(SECONDS)
        self.server_close()
