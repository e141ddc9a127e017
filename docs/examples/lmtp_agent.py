"""An LMTP delivery agent: each recipient has a Maildir, and gets a reply for it.

    python lmtp_agent.py /run/agent.sock /var/mail ann@mx.example bob@mx.example

A mail server that has one message for many recipients hears what became of it for each (RFC 2033), and tries again for
those alone whose delivery failed.
"""

from __future__ import annotations

import logging
import mailbox
import sys
import threading
from collections.abc import Collection
from pathlib import Path

from smtpproto import Rcpt, Reply, Service
from smtpproto.trace import return_path
from smtpproto_adapters.blocking import serve
from smtpproto_adapters.server import Handler, ReceivedMessage, ServerSession

log = logging.getLogger("lmtp-agent")
SERVICE = Service(lmtp=True, extensions=["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 33554432"])

DELIVERED = Reply(250, "2.1.5 delivered")
UNKNOWN = Reply(550, "5.1.1 no such user")
FULL = Reply(452, "4.2.2 the mailbox is full")
FAILED = Reply(451, "4.3.0 it could not be written, try again later")


class Agent(Handler):
    """Delivers to a folder below ``root`` for each of the ``users``, which holds ``quota`` octets."""

    def __init__(self, root: Path, users: Collection[str], quota: int = 100_000_000) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.folders = {user: root / user.replace("/", "%2F") for user in users}
        self.quota = quota
        self.writing = threading.Lock()  # each session is a thread, and `mailbox` is not made for that

    def rcpt(self, session: ServerSession, command: Rcpt) -> Reply | None:
        return None if command.forward_path in self.folders else UNKNOWN

    def message(self, session: ServerSession, message: ReceivedMessage) -> dict[str, Reply]:
        """A reply for each recipient; what is said here is what the client's queue goes by."""
        return {each: self.deliver(each, message) for each in message.envelope.forward_paths}

    def deliver(self, recipient: str, message: ReceivedMessage) -> Reply:
        folder = self.folders[recipient]
        header = return_path(message.envelope.sender) + f"Delivered-To: {recipient}\r\n".encode()
        content = (header + message.content).replace(b"\r\n", b"\n")  # as maildirs have them
        with self.writing:
            try:
                maildir = mailbox.Maildir(folder)
                used = sum(file.stat().st_size for name in ("new", "cur") for file in (folder / name).iterdir())
                if used + len(content) > self.quota:
                    return FULL
                maildir.add(content)  # written in tmp, synchronised, and moved to new
            except OSError:
                log.exception("the message for %s could not be written", recipient)
                return FAILED
        return DELIVERED


def main(path: str, root: str, *users: str) -> None:
    with serve(Agent(Path(root), users), path=path, service=SERVICE):
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
