"""A message in a file: its octets as they are, and the envelope that its header names.

Theory of operation
-------------------

The content is read while it is sent, piece by piece.  Only where the envelope is taken from the header, as
``sendmail -t`` does it, is the header read before; it goes out with the rest then, but for Bcc and Resent-Bcc: whoever
was to stay hidden stays so.  Nothing else of the message is changed, or looked at.
"""

from __future__ import annotations

import email
import io
import re
import select
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

from smtpproto import Envelope, Extensions, LocalProtocolError
from smtpproto_adapters.sources import CHUNK, Content

STANDARD_INPUT: Final = "-"

LONGEST_HEADER: Final = 1_048_576
"""Octets of a header that is read for its addresses."""

_HIDDEN: Final = frozenset({b"bcc", b"resent-bcc"})
_EVERYTHING: Final = Extensions(("8BITMIME", "SMTPUTF8"))

_names_addresses = re.compile(r"(?:resent-.+|from|sender|to|cc|bcc)\Z", re.IGNORECASE).match
_end_of_header = re.compile(rb"(?:\A|\n)\r?\n").search


class CannotRead(Exception):
    """The file cannot be read, or not to its end."""


class MessageFile(io.FileIO):
    """A file of octets, or the standard input.  What goes wrong with it is `CannotRead`."""

    title: str
    """Its name, for people."""

    def __init__(self, name: str) -> None:
        self.title = "standard input" if name == STANDARD_INPUT else name
        try:
            if name == STANDARD_INPUT:
                super().__init__(0, closefd=False)
            else:
                super().__init__(name)
        except (OSError, ValueError) as error:
            raise self._cannot(error) from None

    def read(self, size: int | None = -1, /) -> bytes:
        """At most so many octets; ``b""`` at the end."""
        try:
            while (data := self._read(size)) is None:
                select.select([self], [], [])  # a terminal that another program has left in this state
        except OSError as error:
            raise self._cannot(error) from None
        return data

    def _read(self, size: int | None) -> bytes | None:
        return super().read(-1 if size is None else size)

    def rewind(self, position: int) -> bool:
        """Go back there; False where that cannot be done."""
        if not self.seekable():
            return False
        self.seek(position)
        return True

    def _cannot(self, error: Exception) -> CannotRead:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return CannotRead(f"cannot read {self.title}: {why}")


class Header:
    """The header of a message, read from its file."""

    def __init__(self, file: MessageFile) -> None:
        self._file = file
        begin = file.tell() if file.seekable() else 0
        self._fields, self._body = _split(file)
        self._kept = b"".join(_without_hidden(self._fields))
        self._begin = begin

    def envelope(self, sender: str | None, recipients: list[str] | None) -> Envelope:
        """Who it is from and for, where that is not given.  Raises `LocalProtocolError`."""
        from smtpproto_adapters.message import prepare  # the email package takes longer to import than all of ours

        try:
            found, _ = prepare(self._addresses(), _EVERYTHING, sender=sender, recipients=recipients)
        except LocalProtocolError as error:
            text = str(error).replace("sender=", "--from").replace("recipients=", "--to")
            raise LocalProtocolError(text) from error
        return found

    def content(self) -> Content:
        """What is sent: all of it, but for the fields that have to stay hidden."""
        if self._kept == self._fields and self._file.rewind(self._begin):
            return self._file  # its size is known
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        yield self._kept + self._body
        while data := self._file.read(CHUNK):
            yield data

    def _addresses(self) -> EmailMessage:
        """A message that has nothing but the fields with addresses: the others may be as bad as they like."""
        parsed: Any = email.message_from_bytes(self._fields, policy=SMTP)
        message = EmailMessage(policy=SMTP)
        for name, value in parsed.raw_items():
            if _names_addresses(name):
                message.set_raw(name, value)
        return message


def _split(file: MessageFile) -> tuple[bytes, bytes]:
    """The header with the empty line that ends it, and what was read behind it."""
    data = b""
    while (end := _end_of_header(data)) is None:
        if len(data) > LONGEST_HEADER:
            raise CannotRead(
                f"cannot take the envelope from {file.title}: its header has more than {LONGEST_HEADER} octets"
            )
        piece = file.read(CHUNK)
        if not piece:
            return data, b""
        data += piece
    return data[: end.end()], data[end.end() :]


def _without_hidden(header: bytes) -> Iterator[bytes]:
    hidden = False
    for line in header.splitlines(keepends=True):
        if not line.startswith((b" ", b"\t")):
            hidden = line.partition(b":")[0].strip().lower() in _HIDDEN
        if not hidden:
            yield line
