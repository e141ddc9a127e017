"""The octets that all contestants of a row get.

Both workers read this, so it imports neither of the two packages called smtpproto.  Each function takes a size, and
gives the same octets every time.
"""

from __future__ import annotations

import base64
from functools import cache
from random import Random
from typing import NamedTuple

GREETING = b"220 mx.example ESMTP\r\n"
EHLO_REPLY = b"\r\n".join(
    [
        b"250-mx.example greets client.example",
        b"250-SIZE 52428800",
        b"250-8BITMIME",
        b"250-PIPELINING",
        b"250-CHUNKING",
        b"250-BINARYMIME",
        b"250-STARTTLS",
        b"250-AUTH PLAIN LOGIN SCRAM-SHA-256",
        b"250-ENHANCEDSTATUSCODES",
        b"250-DSN",
        b"250-SMTPUTF8",
        b"250-ETRN",
        b"250-VRFY",
        b"250-LIMITS RCPTMAX=1000",
        b"250 HELP",
        b"",
    ]
)
SENT = b"250 2.1.0 Ok\r\n"
ACCEPTED = b"250 2.1.5 Ok\r\n"
GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
QUEUED = b"250 2.0.0 Ok: queued as 4XyZ12\r\n"
BYE = b"221 2.0.0 Bye\r\n"

CLIENT = "client.example"
SENDER = "sender@client.example"

END = b".\r\n"


class Replies(NamedTuple):
    """What a server answers to MAIL and some RCPT."""

    recipients: int
    each: tuple[bytes, ...]
    whole: bytes


class Session(NamedTuple):
    """One message, from the greeting to QUIT."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    replies: tuple[bytes, ...]
    """What the server says: the greeting, and one reply for each command."""
    groups: tuple[bytes, ...]
    """What a client says, in groups as of RFC 2920."""


def nothing(_: int) -> None:
    """For those that need none."""


def replies(recipients: int) -> Replies:
    each = (SENT, *[ACCEPTED] * recipients)
    return Replies(recipients, each, b"".join(each))


def ehlo_reply(_: int) -> bytes:
    return EHLO_REPLY


def long_reply(lines: int) -> bytes:
    """One reply of so many lines, as EHLO may have."""
    each = [b"250-mx.example", *(b"250-XEXTENSION%d some parameter" % number for number in range(1, lines))]
    each[-1] = each[-1].replace(b"-", b" ", 1)
    return b"\r\n".join(each) + b"\r\n"


@cache
def session(recipients: int) -> Session:
    """With a message of 2 kB."""
    addresses = tuple(f"recipient{number}@mx.example" for number in range(recipients))
    content = text(2048)
    envelope = [f"MAIL FROM:<{SENDER}>", *(f"RCPT TO:<{address}>" for address in addresses), "DATA", ""]
    return Session(
        SENDER,
        addresses,
        content,
        (GREETING, EHLO_REPLY, SENT, *[ACCEPTED] * recipients, GO_AHEAD, QUEUED, BYE),
        (
            f"EHLO {CLIENT}\r\n".encode(),
            "\r\n".join(envelope).encode(),
            stuffed(content),
            b"QUIT\r\n",
        ),
    )


@cache
def base64_crlf(size: int) -> bytes:
    """From the midst of an attachment: lines of 76 octets, and nothing else."""
    return base64_lf(size).replace(b"\n", b"\r\n")[: size // 78 * 78]


@cache
def base64_lf(size: int) -> bytes:
    return base64.encodebytes(Random(1).randbytes(size))[: size // 77 * 77]


@cache
def mail(size: int) -> bytes:
    """A header, a few words, and one attachment, whose last line is a short one."""
    header = (
        f"From: {SENDER}\r\nTo: recipient0@mx.example\r\nSubject: The figures\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/mixed; boundary="=-next-="\r\n\r\n--=-next-=\r\n\r\nHere they are.\r\n'
        "--=-next-=\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ).encode()
    return header + base64_crlf(size) + b"Zm9v\r\n--=-next-=--\r\n"


@cache
def text(size: int) -> bytes:
    """Paragraphs of prose, as people write it, and now and then a line that begins with a dot."""
    block = _prose()
    return (block * (size // len(block) + 1))[: size - 2] + b"\r\n"


@cache
def _prose() -> bytes:
    random = Random(2)
    lines: list[bytes] = []
    for number in range(200):
        for last in [False] * random.randrange(6) + [True]:
            width = random.randrange(1, 73) if last else random.randrange(60, 73)
            lines.append(bytes(random.choices(b"etaoin shrdlu cmfwyp,gbvk", k=width)))
        if number % 5 == 4:
            lines[-1] = b"." + lines[-1]
        lines.append(b"")
    return b"".join(line + b"\r\n" for line in lines)


@cache
def worst(size: int) -> bytes:
    """Nothing but dots and line ends: each line needs another dot."""
    return b".\r\n" * (size // 3)


@cache
def stuffed_text(size: int) -> bytes:
    """As it comes to a server, with its end."""
    return stuffed(text(size))


@cache
def stuffed_base64(size: int) -> bytes:
    return stuffed(base64_crlf(size))


@cache
def stuffed_worst(size: int) -> bytes:
    return stuffed(worst(size))


def stuffed(content: bytes) -> bytes:
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + END


def pieces(data: bytes, size: int = 65536) -> list[bytes]:
    """As they come out of a socket."""
    return [data[at : at + size] for at in range(0, len(data), size)]
