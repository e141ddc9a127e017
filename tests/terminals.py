"""Programs in a terminal of their own, where ^C is a key."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERRUPT = "\x03"
PATIENCE = 60.0
"""Seconds; no more than a machine under load needs."""

_BEGIN = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    # Whoever runs the tests in the background may have them, and what they start, ignore SIGINT.
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
)
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?>=]*[A-Za-z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>])")


class Terminal:
    """A program under a pseudo-terminal; a context manager, at whose end it is gone."""

    def __init__(
        self, *argv: str, columns: int = 80, rows: int = 40, environment: Mapping[str, str] | None = None
    ) -> None:
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "FORCE_COLOR")}
        settings = {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BEGIN, *argv],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=kept | settings | dict(environment or {}),
        )
        os.close(theirs)
        self._file = ours
        self._octets = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(ours, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._selector.close()
        os.close(self._file)

    @property
    def raw(self) -> str:
        """All that it has shown, with what moves the cursor and colours."""
        return self._octets.decode("utf-8", "backslashreplace")

    @property
    def shown(self) -> str:
        """The same without."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def press(self, keys: str) -> None:
        """As if somebody had typed them."""
        os.write(self._file, keys.encode())

    def wait_for(self, pattern: str) -> str:
        """Wait until it has shown that; returns what it was."""
        end = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.shown)) is None:
            if not self._read(end - time.monotonic()):
                raise AssertionError(f"no {pattern!r} in {self.shown!r}")
        return found[0]

    def end(self) -> int:
        """Wait until it has ended; returns its exit status."""
        end = time.monotonic() + PATIENCE
        while self._read(end - time.monotonic()):
            pass
        return self.process.wait(max(1.0, end - time.monotonic()))

    def _read(self, patience: float) -> bool:
        """More of what it shows; False where there is nothing more."""
        if not self._selector.select(max(patience, 0)):
            raise AssertionError(f"it has waited too long: {self.shown!r}")
        try:
            piece = os.read(self._file, 65_536)
        except OSError:  # as Linux has it where nobody has the other side any more
            return False
        self._octets += piece
        return bool(piece)


def smtpproto(*argv: str) -> tuple[str, ...]:
    """The command, to be run in a terminal."""
    return sys.executable, "-m", "smtpproto_adapters.cli", *argv
