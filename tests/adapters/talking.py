"""How the tests of the servers talk to them."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from smtpproto_adapters.server import Handler
    from tests.adapters.backends import AnyServer, Backend

T = TypeVar("T")


class Talk:
    """A client without manners: it says what it is told to, and reads replies."""

    def __init__(self, server: AnyServer, context: ssl.SSLContext | None = None) -> None:
        if server.path is None:
            self.socket = socket.create_connection((server.host, server.port), timeout=10)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(server.path)
        if context is not None:
            self.start_tls(context)
        self._read = b""
        self.last = b""

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost", suppress_ragged_eofs=False)

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> int:
        """The code of the next reply; 0 at the end of the stream."""
        while True:
            line, end, rest = self._read.partition(b"\r\n")
            if end:
                self._read = rest
                self.last = line
                if line[3:4] != b"-":
                    return int(line[:3])
                continue
            data = self.socket.recv(65536)
            if not data:
                assert not self._read
                return 0
            self._read += data

    def ask(self, *lines: bytes) -> list[int]:
        """One line at a time, each with its reply."""
        codes: list[int] = []
        for line in lines:
            self.say(line + b"\r\n")
            codes.append(self.reply())
        return codes


@contextmanager
def talk(server: AnyServer, context: ssl.SSLContext | None = None) -> Generator[Talk]:
    talking = Talk(server, context)
    with talking.socket:
        yield talking
    talking.socket.close()


def with_server(backend: Backend, handler: Handler, work: Callable[[AnyServer], T], **options: Any) -> T:
    """Do the work, in a thread where the backend has to run meanwhile."""

    async def scenario() -> T:
        async with backend.serve(handler, **options) as server:
            return await backend.in_thread(lambda: work(server))

    return backend.run(scenario)


class Complaints:
    """What the servers have logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def errors(self) -> list[BaseException]:
        records = self._caplog.records
        assert all(each.name == "smtpproto" and each.levelno == logging.ERROR for each in records)
        return [each.exc_info[1] for each in records if each.exc_info and each.exc_info[1] is not None]
