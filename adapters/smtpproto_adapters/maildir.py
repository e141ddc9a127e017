"""A handler that keeps what it is sent in maildirs, on disk.

Theory of operation
-------------------

The content goes to a temporary file as it comes, with LF line ends, as maildirs have them: in memory while it is small.
At its end, each folder gets a copy, with the trace fields of RFC 5321 section 4.4 before it, through the ``mailbox`` of
the standard library: written in ``tmp``, synchronised, and then moved to ``new``, so that whoever reads a maildir sees
whole messages only.  Not before that is the client told that the message was accepted.
"""

from __future__ import annotations

import mailbox
import os
import re
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import IO, Final

from smtpproto import LocalProtocolError, Mail, Mailbox, Rcpt, Reply
from smtpproto.trace import protocol_name, received, return_path

from .handler import Decision, Handler, Outcome, ServerSession
from .transport import named
from .turn import logger

__all__ = ["Maildir", "folder_name"]

IN_MEMORY: Final = 262_144
"""Octets of a message that are kept in memory while it comes in; one that is longer goes to a temporary file."""

_PIECE: Final = 65_536

_BINARY: Final = Reply(554, "5.6.1 a maildir has lines, and no place for binary content")
_NOT_WRITTEN: Final = Reply(451, "4.3.0 the message could not be written, try again later")
_DELIVERED: Final = Reply(250, "2.0.0 delivered")

# The counter in the names of the standard library's files is not made for threads, and is one for the whole process.
_writing = threading.Lock()


class Maildir(Handler):
    """Delivers every message to the maildir at ``path``; it and what is above it is made where it is missing.

    ``per_recipient``: to one maildir below ``path`` for each recipient, as ``path/user@example.com/new/…``.  What could
    not be a name, as a slash, is written as ``%2F``.

    Before the content come ``Return-Path:``, ``Delivered-To:`` for each recipient of the copy, and ``Received:``.

    What cannot be written is answered with 451, and nothing is left of it: by LMTP each recipient gets an answer for
    its own folder, by SMTP all of them or none get the message.  In asyncio and trio the loop waits for the disk.
    """

    def __init__(self, path: str | os.PathLike[str], *, per_recipient: bool = False) -> None:
        self.path = Path(path)
        self.per_recipient = per_recipient
        self._coming: dict[ServerSession, _Content] = {}

    path: Path
    per_recipient: bool

    def mail(self, session: ServerSession, command: Mail) -> Decision:
        """Binary content has no lines, and would not come out as it went in."""
        return _BINARY if command.body == "BINARYMIME" else None

    def content(self, session: ServerSession, data: bytes) -> Decision:
        """Put it into the temporary file."""
        content = self._coming.get(session)
        if content is None:
            content = self._coming[session] = _Content()
        content.write(data)
        return None

    def end_of_data(self, session: ServerSession) -> Outcome:
        """Deliver it."""
        content = self._coming.pop(session, None) or _Content()
        with content:
            content.end()
            folders = self._folders(session.recipients)
            if session.lmtp:
                return self._deliver_to_each(session, content, folders)
            return self._deliver_to_all(session, content, folders)

    def transaction_ended(self, session: ServerSession) -> None:
        """Throw away what was not delivered."""
        content = self._coming.pop(session, None)
        if content is not None:
            content.close()

    def _folders(self, recipients: Iterable[Rcpt]) -> dict[Path, list[str]]:
        """Where the message goes to, and for whom."""
        folders: dict[Path, list[str]] = {}
        for each in recipients:
            folder = self.path / folder_name(each.forward_path) if self.per_recipient else self.path
            paths = folders.setdefault(folder, [])
            if each.forward_path not in paths:
                paths.append(each.forward_path)
        return folders

    def _deliver_to_all(self, session: ServerSession, content: _Content, folders: dict[Path, list[str]]) -> Reply:
        delivered: list[tuple[Path, str]] = []
        try:
            for folder, paths in folders.items():
                delivered.append((folder, self._deliver(session, content, folder, paths)))
        except Exception:
            logger.exception("a message of %s could not be written", named(session.peer))
            for folder, key in delivered:
                with suppress(OSError):
                    (folder / "new" / key).unlink()
            return _NOT_WRITTEN
        return _DELIVERED

    def _deliver_to_each(
        self, session: ServerSession, content: _Content, folders: dict[Path, list[str]]
    ) -> dict[str, Reply]:
        replies: dict[str, Reply] = {}
        for folder, paths in folders.items():
            try:
                self._deliver(session, content, folder, paths)
            except Exception:
                logger.exception("a message of %s could not be written", named(session.peer))
                replies.update(dict.fromkeys(paths, _NOT_WRITTEN))
            else:
                replies.update(dict.fromkeys(paths, _DELIVERED))
        return replies

    def _deliver(self, session: ServerSession, content: _Content, folder: Path, paths: list[str]) -> str:
        """The key of the message; where it raises, nothing was delivered."""
        before = _trace(session, paths)
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        with _writing:
            try:
                key = mailbox.Maildir(folder, create=False).add(_Copy(before, content.file))
            except BaseException:
                for left in (folder / "tmp").glob(f"*.M*P{os.getpid()}Q*.*"):
                    left.unlink()
                raise
        try:
            _synchronise(folder / "new")
        except OSError:
            (folder / "new" / key).unlink()
            raise
        return key


def folder_name(forward_path: str) -> str:
    """The name of the folder for a recipient: the address, with its domain in lower case.

    All quoted forms of a local part are the same (RFC 5321 section 4.1.2), so it is the one without quotes.  What a
    name had better not have is written as in URLs, and so is a dot at its beginning.
    """
    local_part, at, domain = forward_path.rpartition("@")
    if not at:
        local_part, domain = "", forward_path  # Postmaster, without a domain and in any case
    elif local_part.startswith('"'):
        with suppress(LocalProtocolError):
            mailbox = Mailbox.parse(forward_path)
            local_part, domain = mailbox.unquoted or mailbox.local_part, mailbox.domain
    return _unsafe.sub(_quoted, f"{local_part}{at}{domain.lower()}")


_unsafe = re.compile(r"[^\w@.+=~-]|^\.")


def _quoted(match: re.Match[str]) -> str:
    return "".join(f"%{octet:02X}" for octet in match[0].encode())


def _trace(session: ServerSession, paths: list[str]) -> bytes:
    """What stands before the content of a copy.  RFC 5321 section 4.4; `Delivered-To` is that of RFC 9228."""
    mail, tls, peer = session.mail, session.tls, session.peer
    assert mail is not None
    protocol = protocol_name(
        lmtp=session.lmtp,
        extended=session.extended,
        secure=tls is not None,
        authenticated=session.identity is not None,
        smtputf8=mail.smtputf8,
    )
    field = received(
        by=session.host_name,
        date=format_datetime(datetime.now(UTC)),
        hello=session.hello,
        address=None if isinstance(peer, str) else peer[0],
        protocol=protocol,
        recipient=paths[0] if len(paths) == 1 else None,
        tls=None if tls is None else f"{tls.version} {tls.cipher}",
    )
    fields = [return_path(mail.reverse_path), *(f"Delivered-To: {path}\r\n".encode() for path in paths), field]
    return b"".join(fields).replace(b"\r\n", b"\n")


def _synchronise(folder: Path) -> None:
    """See to it that the names in a folder are on disk, where the system knows that of folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Content:
    """The content of one message, with LF line ends, in memory or in a temporary file."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - it is closed by `close`
        self._held = b""  # a CR at the end of the last piece

    def write(self, data: bytes) -> None:
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        self.file.write(data[: len(data) - len(self._held)].replace(b"\r\n", b"\n"))

    def end(self) -> None:
        self.file.write(self._held)

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Copy:
    """What ``mailbox`` reads line by line: the trace fields, and behind them the content.

    A line of any length is read in pieces.  A CR at the end of a piece, or before its LF, would be taken for a part of
    the line end; but those are LF already, and what CR there is is content.
    """

    def __init__(self, before: bytes, file: IO[bytes]) -> None:
        self._before = before
        self._file = file
        file.seek(0)

    def read(self, size: int = -1, /) -> bytes:
        before = self._before if size < 0 else self._before[:size]
        self._before = self._before[len(before) :]
        return before + self._file.read(size if size < 0 else size - len(before))

    def readline(self) -> bytes:
        before, self._before = self._before, b""
        if before:
            return before
        piece = self._file.readline(_PIECE)
        while piece.endswith((b"\r", b"\r\n")) and (more := self._file.readline(1)):
            piece += more
        return piece
