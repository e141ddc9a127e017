"""The package `smtpproto` of the registry, which is another project's.  It lives in an environment of its own.

It has no pipelining: a command must be answered before the next is made, and `feed_bytes` gives one reply.  So where
others get the replies to commands that were sent beforehand, it is told behind its back, before each reply, that a
command was sent: so sending does not count for it either, and it is faster than any program could use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from tests.bench.workloads import CLIENT, EHLO_REPLY, GREETING, SENDER, SENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.harness import Run
    from tests.bench.workloads import Replies, Session


class ClientProtocol(Protocol):
    """What is used of it.  For the type checkers, `smtpproto` is ours."""

    def send_greeting(self, domain: str) -> None: ...
    def mail(self, sender: str) -> None: ...
    def recipient(self, recipient: str) -> None: ...
    def start_data(self) -> None: ...
    def data(self, message: Any) -> None: ...
    def quit(self) -> None: ...
    def get_outgoing_data(self) -> bytes: ...
    def feed_bytes(self, data: bytes) -> object: ...


new = cast("Callable[[], ClientProtocol]", import_module("smtpproto.protocol").SMTPClientProtocol)


class ReadyMessage:
    """A message that was flattened beforehand.

    It takes an `EmailMessage`, and nothing else; to flatten that takes longer than all the rest, and the others get
    bytes.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __contains__(self, field: str) -> bool:
        return False

    def as_bytes(self, policy: object) -> bytes:
        return self.content


def greeted() -> ClientProtocol:
    protocol = new()
    protocol.feed_bytes(GREETING)
    return protocol


def _in_transaction() -> ClientProtocol:
    protocol = greeted()
    protocol.send_greeting(CLIENT)
    protocol.feed_bytes(EHLO_REPLY)
    protocol.mail(SENDER)
    protocol.feed_bytes(SENT)
    return protocol


def single_replies(replies: Replies) -> Run:
    protocol: Any = _in_transaction()

    def run() -> object:
        response = None
        for reply in replies.each:
            protocol._command_sent = "RCPT"
            response = protocol.feed_bytes(reply)
        return response

    return run


pipelined_replies = single_replies


def ehlo(reply: bytes) -> Run:
    protocol = greeted()

    def run() -> object:
        protocol.send_greeting(CLIENT)
        protocol.get_outgoing_data()
        return protocol.feed_bytes(reply)

    return run


def session(session: Session) -> Run:
    protocol = new()
    message = ReadyMessage(session.content)

    def run() -> int:
        sent = 0
        replies = iter(session.replies)
        protocol.feed_bytes(next(replies))
        protocol.send_greeting(CLIENT)
        sent += len(protocol.get_outgoing_data())
        protocol.feed_bytes(next(replies))
        protocol.mail(session.sender)
        sent += len(protocol.get_outgoing_data())
        protocol.feed_bytes(next(replies))
        for recipient in session.recipients:
            protocol.recipient(recipient)
            sent += len(protocol.get_outgoing_data())
            protocol.feed_bytes(next(replies))
        protocol.start_data()
        sent += len(protocol.get_outgoing_data())
        protocol.feed_bytes(next(replies))
        protocol.data(message)
        sent += len(protocol.get_outgoing_data())
        protocol.feed_bytes(next(replies))
        protocol.quit()
        sent += len(protocol.get_outgoing_data())
        protocol.feed_bytes(next(replies))
        return sent

    return run
