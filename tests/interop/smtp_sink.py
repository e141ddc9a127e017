"""smtp-sink of Postfix: a server which accepts whatever comes, quickly, and can write down what it got."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.interop.servers import (
    HOST,
    Daemon,
    accepts_connections,
    find_program,
    held_ports,
    open_folder,
    running,
    server_missing,
    tail,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

PACKAGES = "postfix"

USER = "nobody"
"""Whom smtp-sink runs as where root starts it, which it insists upon."""


class Dump(NamedTuple):
    """What smtp-sink wrote down of one transaction."""

    mail: str
    """The arguments of MAIL, as they came."""
    recipients: tuple[str, ...]
    """Those of each RCPT, in order."""
    content: bytes
    """The content, unstuffed, its lines ended with CRLF."""

    def is_for(self, mailbox: str) -> bool:
        """Whether the mailbox (a local part) is among the recipients."""
        return any(recipient.startswith(f"<{mailbox}@") for recipient in self.recipients)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSink:
    """smtp-sink on loopback, on a port of its own."""

    port: int
    folder: Path
    """Where the dumps are, if it writes any."""
    log: Path
    """Its running counters."""
    host: str = HOST

    def count(self) -> int:
        """Messages that it took until now, as it counts them itself."""
        counted = re.findall(r"mesg=(\d+)", self.log.read_text())
        return int(counted[-1]) if counted else 0

    def wait_for_count(self, count: int, seconds: float = 10.0) -> None:
        """Wait until it has taken so many messages, and no more.

        Raises AssertionError, with its last words, where it has not in time.
        """
        deadline = time.monotonic() + seconds
        while (counted := self.count()) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert counted == count, f"smtp-sink counts {counted} messages, not {count}:\n{tail(self.log)}"

    def _dumps(self) -> Iterator[tuple[Path, Dump]]:
        """What it wrote down, the latest first."""
        for entry in sorted(self.folder.glob("*"), key=lambda entry: entry.stat().st_mtime_ns, reverse=True):
            yield entry, parsed_dump(entry.read_bytes())

    def dump_of(self, marker: bytes) -> Dump:
        """The latest dump whose content holds the marker."""
        return next(dump for _, dump in self._dumps() if marker in dump.content)

    def wait_for_content(self, mailbox: str, marker: bytes) -> bytes:
        """The content of such a dump for the mailbox; it is complete before the reply to the end of the content."""
        return next(dump.content for _, dump in self._dumps() if dump.is_for(mailbox) and marker in dump.content)

    def clear(self, mailbox: str) -> None:
        """Throw away the dumps of what was for the mailbox."""
        for entry, dump in self._dumps():
            if dump.is_for(mailbox):
                entry.unlink()


def parsed_dump(text: bytes) -> Dump:
    """Take a dump apart: the fields of smtp-sink, of which `Received` is the last, the content, and an empty line."""
    head, received, rest = text.partition(b"Received: ")
    assert received, f"no dump of smtp-sink: {text[:500]!r}"
    # It is made of three lines.
    content = rest.split(b"\n", 3)[3]
    assert content.endswith(b"\n"), f"the dump is not complete: {text[-500:]!r}"
    fields = [line.partition(b": ") for line in head.splitlines()]
    [mail] = [value.decode() for name, _, value in fields if name == b"X-Mail-Args"]
    recipients = tuple(value.decode() for name, _, value in fields if name == b"X-Rcpt-Args")
    return Dump(mail, recipients, content[:-1].replace(b"\n", b"\r\n"))


@contextmanager
def running_smtp_sink(*options: str, dumps: bool = False) -> Generator[RunningSink]:
    """Start smtp-sink for the time of the block; skips the test where it cannot run here.

    ``options``: as smtp-sink(1) has them, such as ``-L`` for LMTP. ``dumps``: write down each message in a file. Raises
    ServerError where it is installed and does not start all the same.
    """
    if not sys.platform.startswith("linux"):
        server_missing("the servers' guard needs Linux: run the tests in a container")
    program = find_program("smtp-sink", PACKAGES)
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("sink"))
        written, log = folder / "dumps", folder / "log"
        written.mkdir()
        written.chmod(0o777)
        log.touch()
        [port] = stack.enter_context(held_ports(1))
        command = [program, "-c", "-h", "mail.example.test", *options]
        if os.geteuid() == 0:
            command += ["-u", USER]
        if dumps:
            command += ["-d", f"{written}/"]
        daemon = stack.enter_context(running(Daemon([*command, f"{HOST}:{port}", "100"], log)))
        daemon.wait_until(lambda: accepts_connections(port), log)
        yield RunningSink(port=port, folder=written, log=log)
