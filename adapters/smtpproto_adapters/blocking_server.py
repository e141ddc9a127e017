"""The server with blocking sockets: a thread for each connection.  `smtpproto_adapters.blocking` gives it out."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from smtpproto import LocalProtocolError

from .blocking import Wire
from .server import ServerCore
from .transport import ACCEPT_PAUSE, CLOSE_SECONDS, Address, address_of, named, run


class Server(ServerCore):
    __doc__ = ServerCore.__doc__
    _may_await = False
    _acceptor: threading.Thread | None = None

    def start(self) -> Self:
        """Listen, and serve in threads; `close` ends it.  A ``with`` block does both."""
        if self._acceptor is not None:
            raise LocalProtocolError("the server runs already")
        self._sessions: dict[threading.Thread, Wire] = {}
        self._lock = threading.Lock()
        self._listener = self._listen()
        self._wake, self._woken = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept_all, name="smtpproto server", daemon=True)
        self._acceptor.start()
        return self

    def _accept_all(self) -> None:
        listener = self._listener.socket
        listener.setblocking(False)
        with self._woken, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while all(key.fileobj is listener for key, _ in selector.select()):
                try:
                    sock, name = listener.accept()
                except BlockingIOError:
                    continue
                except OSError:
                    time.sleep(ACCEPT_PAUSE)  # for a file descriptor to become free
                else:
                    self._accepted(Wire.of(sock), address_of(name))

    def _accepted(self, wire: Wire, peer: Address) -> None:
        if len(self._sessions) >= self.max_connections:
            run(wire, self._turned_away())
            return
        thread = threading.Thread(target=self._serve, args=(wire, peer), name=f"smtpproto {named(peer)}", daemon=True)
        with self._lock:
            self._sessions[thread] = wire
        try:
            thread.start()
        except RuntimeError:
            self._ended(thread)  # the system has no thread for it

    def _serve(self, wire: Wire, peer: Address) -> None:
        try:
            self._converse(wire, peer, time.monotonic)
        finally:
            self._ended(threading.current_thread())

    def _ended(self, thread: threading.Thread) -> None:
        with self._lock:
            self._sessions.pop(thread).close()

    def close(self, grace: float | None = None) -> None:
        """Accept no more, let the sessions come to their end, and break off those that do not within ``grace``.

        A handler that does not return keeps its thread; nothing can end that.
        """
        if self._acceptor is None:
            return
        self._wake.close()
        self._acceptor.join()
        self._acceptor = None
        self._listener.close()
        with self._lock:
            sessions = dict(self._sessions)
        for wire in sessions.values():
            wire.shut_down()
        _join(sessions, self.grace if grace is None else grace)
        for wire in sessions.values():
            wire.cut()
        _join(sessions, CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(None if kind is None else 0.0)


serve = Server


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, until - time.monotonic()))
