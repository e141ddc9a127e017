"""smtplib.  The server's octets lie in a `BytesIO` in place of the socket's file, which is faster than any socket."""

from __future__ import annotations

import io
import smtplib
from typing import TYPE_CHECKING, cast

from tests.bench.workloads import CLIENT, GO_AHEAD, QUEUED

if TYPE_CHECKING:
    import socket

    from tests.bench.harness import Run
    from tests.bench.workloads import Replies, Session


class NoSocket:
    """Takes what smtplib sends, and keeps the last of it."""

    last = b""

    def sendall(self, data: bytes) -> None:
        self.last = data

    def close(self) -> None:
        pass


def client_with(octets: bytes) -> smtplib.SMTP:
    client = smtplib.SMTP(local_hostname=CLIENT)
    client.sock = cast("socket.socket", NoSocket())
    client.file = io.BytesIO(octets)
    return client


def pipelined_replies(replies: Replies) -> Run:
    client = client_with(replies.whole)

    def run() -> int:
        for _ in replies.each:
            client.getreply()
        return len(replies.each)

    return run


single_replies = pipelined_replies
"""It reads lines from a file, and does not know how they came."""


def ehlo(reply: bytes) -> Run:
    return client_with(reply).ehlo


def session(session: Session) -> Run:
    client = client_with(b"".join(session.replies))

    def run() -> tuple[int, bytes]:
        client.getreply()
        client.ehlo()
        client.sendmail(session.sender, session.recipients, session.content)
        return client.quit()

    return run


def stuff(content: bytes) -> Run:
    """Content whose line ends are right is given as bytes, which it takes to be so."""
    client = client_with(GO_AHEAD + QUEUED)

    def run() -> bytes:
        client.data(content)
        return cast("NoSocket", client.sock).last

    return run


def normalise_and_stuff(content: bytes) -> Run:
    """Only of a str it sets the line ends right."""
    client = client_with(GO_AHEAD + QUEUED)
    text = content.decode("ascii")

    def run() -> bytes:
        client.data(text)
        return cast("NoSocket", client.sock).last

    return run
