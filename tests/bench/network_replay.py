"""The limit: bare sockets that write the very octets of one of our sessions, in lock with the server's replies.

Such a session is recorded at the socket: what was written, and how many octets had come by then.  Played again, each
write waits for as many octets; that, and nothing else, is what any client would have to do that sends the same.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Buffer

READ_SIZE = 65536


class Write(NamedTuple):
    data: bytes
    due: int
    """Octets that have come from the server before it is written, since the connection was made."""


class Script(NamedTuple):
    """A recorded session."""

    opening: list[Write]
    """Up to the reply to EHLO."""
    messages: list[Write]
    received: int
    """Octets that come in all."""


class Recorder(socket.socket):
    """A socket that writes down what passes."""

    def begin(self) -> None:
        self.writes: list[Write] = []
        self.received = 0

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        sent = super().send(data, flags)
        octets = bytes(memoryview(data)[:sent])
        if self.writes and self.writes[-1].due == self.received:
            octets = self.writes.pop().data + octets
        self.writes.append(Write(octets, self.received))
        return sent

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(size, flags)
        self.received += len(data)
        return data


def record(address: tuple[str, int], converse: Callable[[Recorder], int]) -> Script:
    """``converse`` holds the session, and says how many writes its opening was."""
    with Recorder(socket.AF_INET, socket.SOCK_STREAM) as recorder:
        recorder.begin()
        recorder.connect(address)
        recorder.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opening = converse(recorder)
        return Script(recorder.writes[:opening], recorder.writes[opening:], recorder.received)


class Player:
    """Plays a script; each read and write may take some seconds."""

    def __init__(self, address: tuple[str, int], script: Script, seconds: float) -> None:
        self._script = script
        self._received = 0
        self._socket = socket.create_connection(address, seconds)
        # The kernel keeps the time: else each read and write would be two system calls.
        self._socket.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._play(script.opening)
        if script.messages:
            self._wait_for(script.messages[0].due)

    def run(self) -> None:
        self._play(self._script.messages)
        self._wait_for(self._script.received)
        self._socket.close()

    def _play(self, writes: list[Write]) -> None:
        sock = self._socket
        for data, due in writes:
            self._wait_for(due)
            sock.sendall(data)

    def _wait_for(self, due: int) -> None:
        """Raises ConnectionError, and BlockingIOError where it takes too long."""
        while self._received < due:
            data = self._socket.recv(READ_SIZE)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._received += len(data)
