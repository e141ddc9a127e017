"""Blocking sockets: a client, and a server with a thread for each connection.

A name is looked up by the system, which takes the time that it takes: no timeout ends that.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from smtpproto import AddressLiteral, Command, Connected, ConnectFailed, ConnectOptions, ErrorCode, Event, Reply, Service
from smtpproto.flows import Flow, ShutDown

from .client import ClientCore, Mechanisms, Token
from .server import Handler, ServerCore, Session
from .transport import READ_SIZE, Address, address_of, listen, literal_of, run

T = TypeVar("T")


class Wire:
    """A socket."""

    def __init__(self, given: socket.socket | None = None) -> None:
        self._given = given
        self._socket: socket.socket | None = None
        self._shutting_down = False

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        self.close()
        if self._given is not None:
            self._socket, self._given = self._given, None
        elif path is not None:
            self._socket = _connected(socket.AF_UNIX, path, timeout)
        else:
            self._socket = _connected_to_any(host, port, timeout)
        return literal_of(self._socket.getsockname())

    def send(self, data: bytes, timeout: float | None) -> None:
        self._within(timeout).sendall(data)

    def receive(self, timeout: float | None) -> bytes:
        data = b"" if self._shutting_down else self._within(timeout).recv(READ_SIZE)
        if self._shutting_down:
            raise ShutDown
        return data

    def _within(self, timeout: float | None) -> socket.socket:
        if self._socket is None:
            raise ConnectionAbortedError("it was closed by this side")
        self._socket.settimeout(timeout)
        return self._socket

    def half_close(self) -> None:
        self._within(0).shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def abort(self) -> None:
        """Close at once; a thread that reads or writes is woken."""
        self._shut(socket.SHUT_RDWR)
        self.close()

    def shut_down(self) -> None:
        """Let the flow, which is run in another thread, come to its end as soon as it waits."""
        self._shutting_down = True
        self._shut(socket.SHUT_RD)

    def _shut(self, how: int) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(how)


def _connected_to_any(host: str, port: int, timeout: float | None) -> socket.socket:
    """Each address in turn; a share of the time for each."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    until = None if timeout is None else time.monotonic() + timeout
    errors: list[OSError] = []
    for number, (family, _, _, _, address) in enumerate(addresses):
        share = None if until is None else max(0.0, until - time.monotonic()) / (len(addresses) - number)
        try:
            return _connected(family, address, share)
        except OSError as error:
            errors.append(error)
    raise OSError("no address could be reached") from ExceptionGroup("each address", errors)


def _connected(family: int, address: Any, timeout: float | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
        _without_delay(sock)
    except BaseException:
        sock.close()
        raise
    return sock
