"""Running `smtpproto serve` in this process, and sending it a message."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from smtpproto import Envelope, Extensions
from smtpproto_adapters import cli
from smtpproto_adapters.blocking import Client

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import pytest

ANN, BOB = "ann@client.example", "bob@mx.example"
MESSAGE = (
    b"From: Ann <ann@client.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n\r\nHello Bob.\r\n\r\nBye.\r\n"
)


class Serving:
    """Runs the command in a thread of this process, at a free port; a context manager, which waits for its end."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, *argv: str) -> None:
        self._files = [folder / "out", folder / "err"]
        for name, file in zip(("stdout", "stderr"), self._files, strict=True):
            patch.setattr(sys, name, file.open("w", encoding="utf-8"))
        self._thread = threading.Thread(target=self._run, args=(("serve", "--port", "0", *argv),), daemon=True)
        self.status: int | None = None

    def _run(self, argv: tuple[str, ...]) -> None:
        self.status = cli.main(argv)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._has_begun and self._thread.is_alive():
            time.sleep(0.005)
        assert self._has_begun, self.err
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.join(0.1 if kind else 20)
        assert kind or not self._thread.is_alive()
        for stream in (sys.stdout, sys.stderr):
            stream.close()

    @property
    def _has_begun(self) -> bool:
        """It has said all that it says before a client comes."""
        return self.out.startswith("{") or "^C ends it" in self.out

    @property
    def out(self) -> str:
        """Whole lines only."""
        return self._files[0].read_text(encoding="utf-8").rpartition("\n")[0]

    @property
    def err(self) -> str:
        return self._files[1].read_text(encoding="utf-8")

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The objects of a type, but for what all have."""
        without = ("type", "time", "session")
        return [{k: v for k, v in each.items() if k not in without} for each in self.objects if each["type"] == kind]

    @property
    def url(self) -> str:
        found = re.search(r"\w+://[^\s\"]+", self.out)
        assert found is not None
        return found[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def send(url: str, *recipients: str, content: bytes = MESSAGE, chunking: bool = False, **settings: Any) -> Extensions:
    """Send a message, which has to be accepted; what the server offers."""
    with Client(url, client_name="me.example", **settings) as client:
        if client.options.username is not None:
            client.authenticate()
        client.deliver(Envelope(ANN, recipients or (BOB,)), content, chunking=chunking).raise_unless_accepted()
        return client.extensions


def say(port: int, *lines: bytes) -> None:
    """Say it without caring for the answers, and wait for the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.recv(1000)
        raw.sendall(b"".join(line + b"\r\n" for line in lines))
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass
