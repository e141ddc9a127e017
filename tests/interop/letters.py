"""What is sent to try whoever carries it: dots, long lines, octets that are not ASCII, and no end to the last line."""

from __future__ import annotations

import secrets
from typing import NamedTuple

SENDER = "sender@elsewhere.test"
HELLO = "client.example.test"


class Letter(NamedTuple):
    """A message, and what it can be told by."""

    marker: bytes
    content: bytes
    """With CRLF, and without an end to its last line."""

    @property
    def arrived(self) -> bytes:
        """The content as it must arrive: the end of the last line is supplied.  RFC 5321 section 4.1.1.4."""
        return self.content + b"\r\n"

    @property
    def text(self) -> bytes:
        """The content as a text file of this system, with LF."""
        return self.content.replace(b"\r\n", b"\n")


def letter(longest_line: int = 2000) -> Letter:
    """A message like no other."""
    marker = secrets.token_hex(16).encode()
    return Letter(marker, header(marker) + body(longest_line))


def header(marker: bytes) -> bytes:
    """Complete, so that nobody has a field to add."""
    return b"\r\n".join(
        [
            *(b"From: <sender@elsewhere.test>", b"To: <user@example.test>", b"Subject: all that can go wrong"),
            *(b"Date: Mon, 23 Nov 2026 10:00:00 +0000", b"Message-ID: <" + marker + b"@elsewhere.test>"),
            *(b"MIME-Version: 1.0", b"Content-Type: text/plain; charset=utf-8", b"Content-Transfer-Encoding: 8bit"),
            *(b"", b""),
        ]
    )


def body(longest_line: int) -> bytes:
    """Dots where they are in the way, at the border of the longest lines too."""
    return b"\r\n".join(
        [
            *(
                b".",
                b"..",
                b".leading",
                b"...",
                b". ",
                b"",
                b"in . the middle.",
                b"From here on",
                "größer, 大きい".encode(),
            ),
            *(b"x" * longest_line, b"." + b"y" * (longest_line - 2), b"", b"", b".no end to this line"),
        ]
    )
