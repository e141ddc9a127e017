"""A server on loopback that writes down what a client does, and misbehaves as a probe wants."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE: Final = 5.0
"""Seconds that it waits for a client to go on."""
DEFAULTS: Final[Mapping[str, bytes]] = {
    "greeting": b"220 mx.example ESMTP\r\n",
    "HELO": b"250 mx.example\r\n",
    "MAIL": b"250 ok\r\n",
    "RCPT": b"250 ok\r\n",
    "DATA": b"354 go on\r\n",
    ".": b"250 queued\r\n",
    "RSET": b"250 ok\r\n",
    "NOOP": b"250 ok\r\n",
    "QUIT": b"221 bye\r\n",
    "AUTH": b"535 no\r\n",
    "STARTTLS": b"220 go ahead\r\n",
}


@dataclass
class Stage:
    """A context manager: it takes one connection while the block runs."""

    offers: tuple[str, ...] = ()
    """The keywords of the EHLO reply."""
    offers_in_tls: tuple[str, ...] = ()
    replies: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """By verb (`.` is the end of the content), or by the whole line; what is not there is accepted."""
    context: ssl.SSLContext | None = None
    implicit: bool = False
    hold: float = 0.0
    """Seconds for which the answer to MAIL is held back unless something else comes."""
    delays: Mapping[str, float] = field(default_factory=dict[str, float])
    """By verb: seconds before the answer."""
    endless: bytes = b""
    """What is sent again and again instead of a greeting, up to `most` octets."""
    most: int = 8_000_000

    lines: list[str] = field(default_factory=list[str], init=False)
    """What came, but for content; octets above 127 as UTF-8."""
    tls_from: int | None = field(default=None, init=False)
    """How many lines came before TLS."""
    content: bytes = field(default=b"", init=False)
    """As it came, with its final dot."""
    went_on: bool = field(default=False, init=False)
    """Something came while the answer to MAIL was held back."""
    sent: int = field(default=0, init=False)
    """Octets of what is endless."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(2 * PATIENCE)
        self._listener.close()

    def saw(self, beginning: str) -> list[str]:
        """The lines that begin so, in whatever case."""
        return [line for line in self.lines if line.upper().startswith(beginning.upper())]

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.settimeout(PATIENCE)
            self._socket, self._buffer = connection, b""
            with contextlib.suppress(OSError):
                self._talk()
            self._socket.close()

    def _talk(self) -> None:
        if self.implicit:
            self._start_tls()
        if self.endless:
            self._never_end()
            return
        self._say("greeting")
        while line := self._line():
            self.lines.append(line)
            verb = line.split(" ")[0].upper()
            self._answer(line, verb)
            if verb == "QUIT":
                return

    def _never_end(self) -> None:
        block = self.endless * (65536 // len(self.endless))
        self._socket.sendall(b"220-mx.example\r\n")
        while self.sent < self.most:
            self._socket.sendall(block)
            self.sent += len(block)

    def _answer(self, line: str, verb: str) -> None:
        if verb in ("EHLO", "LHLO") and verb not in self.replies:
            offers = self.offers if self.tls_from is None else self.offers_in_tls
            names = ("mx.example", *offers)
            self._send("".join(f"250{'-' if n < len(names) else ' '}{each}\r\n" for n, each in enumerate(names, 1)))
            return
        if verb == "MAIL" and self.hold:
            self.went_on = bool(self._buffer) or bool(select.select([self._socket], [], [], self.hold)[0])
        if verb == "BDAT":
            self._take_chunk(line)
            return
        whole = (key for key in self.replies if key.lower() == line.lower())
        self._say(next(whole, verb))
        if verb == "DATA" and self.replies.get("DATA", b"3")[:1] == b"3":
            self.content = self._until(b"\r\n.\r\n")
            self._say(".")
        elif verb == "STARTTLS" and self.context is not None:
            self._start_tls()

    def _take_chunk(self, line: str) -> None:
        size = int(line.split()[1])
        while len(self._buffer) < size:
            self._read()
        self.content += self._buffer[:size]
        self._buffer = self._buffer[size:]
        self._say("." if "LAST" in line.upper() else "RSET")

    def _say(self, what: str) -> None:
        time.sleep(self.delays.get(what, 0))
        self._socket.sendall(self.replies.get(what, DEFAULTS.get(what, b"250 ok\r\n")))

    def _send(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def _start_tls(self) -> None:
        assert self.context is not None
        self._socket = self.context.wrap_socket(self._socket, server_side=True)
        self._buffer = b""
        self.tls_from = len(self.lines)

    def _line(self) -> str:
        """Without its end; empty at the end of the stream."""
        return self._until(b"\r\n").removesuffix(b"\r\n").decode("utf-8", "replace")

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            if not self._read():
                return b""
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    def _read(self) -> bool:
        data = self._socket.recv(65536)
        self._buffer += data
        return bool(data)
