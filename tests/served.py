"""A whole server without I/O, and what it says; and what a bare one makes of one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smtpproto import (
    BadCommand,
    CommandReceived,
    ContentReceived,
    ErrorCode,
    Event,
    Reply,
    ServerConnection,
    Service,
    ServiceSession,
    TransportError,
    flows,
)
from smtpproto.flows.effects import Ask, Receive, Send
from smtpproto.testing import accept
from tests.driving import receive

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpproto.sasl import Question


EHLO = b"EHLO me.example\r\n"
ENVELOPE = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\n"


class Served:
    """What a server with a program that accepts everything says to pieces of input, and asks its program."""

    def __init__(
        self, *pieces: bytes, answer: Callable[[Event | Question], Any] = accept, lmtp: bool = False, **fields: Any
    ) -> None:
        self.sent: list[bytes] = []
        self.asked: list[Event | Question] = []
        arriving = iter(pieces)
        flow = flows.serve(ServiceSession(Service("mx.example", lmtp=lmtp, **fields)))
        effect = next(flow)
        try:
            while True:
                said: object = None
                if isinstance(effect, Receive) and effect.timeout == 0:
                    effect = flow.throw(TransportError("took too long", ErrorCode.TIMED_OUT))
                    continue
                match effect:
                    case Receive():
                        said = next(arriving, b"")
                    case Send(_, data):
                        self.sent.append(bytes(data))
                    case Ask(_, subject):
                        self.asked.append(subject)
                        said = answer(subject)
                    case _:
                        pass
                effect = flow.send(said)
        except StopIteration:
            pass

    @property
    def lines(self) -> list[str]:
        return b"".join(self.sent).decode().splitlines()

    @property
    def codes(self) -> list[int]:
        return [int(line[:3]) for line in self.lines if line[3] == " "]

    @property
    def content(self) -> bytes:
        return b"".join(event.data for event in self.asked if isinstance(event, ContentReceived))


def refusal(server: ServerConnection, line: bytes) -> Reply:
    (event,) = receive(server, line + b"\r\n")
    assert isinstance(event, BadCommand)
    return event.reply


def taken(server: ServerConnection, line: bytes) -> object:
    (event,) = receive(server, line + b"\r\n")
    assert isinstance(event, CommandReceived)
    return event.command
