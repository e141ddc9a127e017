"""`python -m tests.bench.scale_clients PORT ADDRESS`: many connections from one process, with bare sockets.

They do as little as can be, so that what is measured is the server: the same octets for each message, and replies that
are counted by their line ends.  What they do at once they do in turn, each as soon as something has come for it.

It answers ``{"open": n}`` when that many connections are open and greeted, and ``{"send": n}`` when each of them has
sent so many messages, in lock with the replies: content, final dot and the next envelope in one write.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

from .scale_child import LOOPBACK, STEP_SECONDS, descriptors, end_in_time, questions, say

AT_ONCE = 32
"""Connections that are being made at a time: fewer than may wait to be accepted."""
BIND_ADDRESS_NO_PORT = 24
"""From linux/in.h: the port is chosen by `connect`, so that one can be used for each destination."""

ENVELOPE = b"MAIL FROM:<sender@client.example>\r\nRCPT TO:<recipient@mx.example>\r\nDATA\r\n"
LINE = b"The quick brown fox jumps over the lazy dog, and so on, up to the line's end\r\n"
CONTENT = b"From: <sender@client.example>\r\nTo: <recipient@mx.example>\r\nSubject: scale\r\n\r\n" + LINE * 25
END = b".\r\n"


def connected(port: int, address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        sock.bind((address, 0))
    sock.settimeout(STEP_SECONDS)
    sock.connect((LOOPBACK, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_reply(sock: socket.socket) -> None:
    """Up to the end of its last line.  The peer says nothing behind it: nothing was asked."""
    said = b""
    while not (said.endswith(b"\r\n") and said[said.rfind(b"\n", 0, -1) + 1 :][3:4] == b" "):
        data = sock.recv(65536)
        if not data:
            raise ConnectionError(f"the server closed the connection behind {said!r}")
        said += data
    if not said.startswith(b"2"):
        raise ConnectionError(f"the server said {said!r}")


class Sender:
    """One connection on which messages are under way."""

    def __init__(self, sock: socket.socket, messages: int) -> None:
        self.sock = sock
        self._left = messages
        self._due = 3
        sock.sendall(ENVELOPE)

    def go_on(self) -> bool:
        """Take what has come; False when its last message was answered."""
        data = self.sock.recv(65536)
        if not data or data[:1] not in b"23":
            raise ConnectionError(f"the server said {data!r}")
        self._due -= data.count(b"\n")
        if self._due > 0:
            return True
        self._left -= 1
        if self._left > 0:
            self._due = 4
            self.sock.sendall(CONTENT + END + ENVELOPE)
        elif self._left == 0:
            self._due = 1
            self.sock.sendall(CONTENT + END)
        return self._left >= 0


class Clients:
    def __init__(self, port: int, address: str) -> None:
        self._port = port
        self._address = address
        self._open: list[socket.socket] = []

    def open(self, count: int) -> None:
        """Open connections until there are so many, or close some."""
        while len(self._open) > count:
            self._leave(self._open.pop())
        while len(self._open) < count:
            made = [connected(self._port, self._address) for _ in range(min(AT_ONCE, count - len(self._open)))]
            for sock in made:
                read_reply(sock)
                sock.sendall(b"EHLO client.example\r\n")
            for sock in made:
                read_reply(sock)
            self._open += made

    def _leave(self, sock: socket.socket) -> None:
        sock.sendall(b"QUIT\r\n")
        read_reply(sock)
        sock.close()

    def send(self, messages: int) -> int:
        """So many messages on each connection, all at once; how many nanoseconds it took."""
        with selectors.DefaultSelector() as selector:
            begin = time.perf_counter_ns()
            for sock in self._open:
                selector.register(sock, selectors.EVENT_READ, Sender(sock, messages))
            left = len(self._open)
            while left:
                found = selector.select(STEP_SECONDS)
                if not found:
                    raise TimeoutError("the server says nothing")
                for key, _ in found:
                    sender: Sender = key.data
                    if not sender.go_on():
                        selector.unregister(sender.sock)
                        left -= 1
            return time.perf_counter_ns() - begin


def main(port: str, address: str) -> None:
    end_in_time()
    descriptors()
    clients = Clients(int(port), address)
    for question in questions():
        if "open" in question:
            clients.open(question["open"])
            say(open=question["open"])
        else:
            say(ns=clients.send(question["send"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
