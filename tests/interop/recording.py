"""Witnesses that are not ours: a server that writes down what clients send, and aiosmtpd with what its handler gets.

Both are on loopback, in threads, and take whatever comes.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import socket
import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tests.interop.servers import HOST, server_missing

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

SECONDS = 20.0
"""How long anything here may take,"""
IDLE = 300.0
"""and how long a client may rest while others are tried, on a machine that has much else to do."""


class Sent(NamedTuple):
    """A mail transaction, as it went over the wire."""

    reverse_path: bytes
    parameters: frozenset[bytes]
    """Of MAIL, in upper case."""
    forward_paths: tuple[bytes, ...]
    content: bytes
    """Stuffed, with its final dot."""


class _Session(socketserver.StreamRequestHandler):
    """Reads commands, and content up to CRLF.CRLF."""

    timeout = IDLE
    disable_nagle_algorithm = True

    def handle(self) -> None:
        recorder = self.server
        assert isinstance(recorder, Recorder)
        self.say(b"220 recorder.test")
        mail, recipients = b"", list[bytes]()
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"MAIL":
                mail, recipients = line, []
            elif verb == b"RCPT":
                recipients.append(path_of(line))
            elif verb == b"DATA":
                self.say(b"354 go on")
                recorder.sent.append(Sent(path_of(mail), parameters_of(mail), tuple(recipients), self.content()))
            self.say(*(recorder.offer if verb == b"EHLO" else [b"221 bye" if verb == b"QUIT" else b"250 ok"]))
            if verb == b"QUIT":
                break

    def content(self) -> bytes:
        found = b""
        while found != b".\r\n" and not found.endswith(b"\r\n.\r\n"):
            line = self.rfile.readline()
            assert line, found
            found += line
        return found

    def say(self, *lines: bytes) -> None:
        self.wfile.write(b"".join(line + b"\r\n" for line in lines))


def path_of(line: bytes) -> bytes:
    match = re.search(rb"<(.*?)>", line)
    assert match is not None, line
    return match[1]


def parameters_of(line: bytes) -> frozenset[bytes]:
    return frozenset(line.partition(b">")[2].upper().split())


class Recorder(socketserver.ThreadingTCPServer):
    """Takes all mail, and keeps it in `sent`.  ``keywords`` are what it offers."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *keywords: str) -> None:
        super().__init__((HOST, 0), _Session)
        lines = [b"recorder.test", *(keyword.encode() for keyword in keywords)]
        self.offer = [*(b"250-" + line for line in lines[:-1]), b"250 " + lines[-1]]
        self.sent: list[Sent] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port

    def take(self) -> Sent:
        """The one transaction that there was since the last call."""
        (one,) = self.sent
        self.sent.clear()
        return one

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join(SECONDS)
        self.server_close()


class Received(NamedTuple):
    """What a server hands on to its handler."""

    reverse_path: str
    forward_paths: tuple[str, ...]
    content: bytes


class _Keeper:
    """aiosmtpd's handler."""

    def __init__(self, received: list[Received]) -> None:
        self._received = received

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self._received.append(Received(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.original_content))
        return "250 2.0.0 ok"


@contextmanager
def aiosmtpd_in_a_thread(received: list[Received]) -> Generator[int]:
    """aiosmtpd for the time of the block: its port."""
    if importlib.util.find_spec("aiosmtpd") is None:
        server_missing("aiosmtpd is missing: pip install aiosmtpd (it is among the `dev` dependencies)")
    from aiosmtpd.smtp import SMTP

    loop = asyncio.new_event_loop()

    def make() -> Any:
        return SMTP(_Keeper(received), hostname="aiosmtpd.test", enable_SMTPUTF8=True, loop=loop)

    async def stop() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=SECONDS) if others else None

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(loop.create_server(make, HOST, 0), loop).result(SECONDS)
        yield server.sockets[0].getsockname()[1]
        asyncio.run_coroutine_threadsafe(stop(), loop).result(SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


class RawClient:
    """Says what it is told to, and gives back the code of each reply."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")
        self.code()
        self.say(b"EHLO client.test")

    def say(self, line: bytes) -> int:
        return self.send(line + b"\r\n")

    def send(self, octets: bytes) -> int:
        self._socket.sendall(octets)
        return self.code()

    def code(self) -> int:
        while (line := self._lines.readline())[3:4] == b"-":
            pass
        return int(line[:3])

    def transaction(self, mail: bytes, recipients: Sequence[bytes], content: bytes) -> int:
        """The code of the reply to the content, which is what goes over the wire."""
        assert self.say(b"MAIL FROM:" + mail) == 250
        assert [self.say(b"RCPT TO:<" + recipient + b">") for recipient in recipients] == [250] * len(recipients)
        assert self.say(b"DATA") == 354
        return self.send(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.say(b"QUIT")
        self._lines.close()
        self._socket.close()
