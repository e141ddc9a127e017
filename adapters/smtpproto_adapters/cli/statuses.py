"""How a command ends: its exit status, beside the `ErrorCode` of connecting."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from smtpproto import ErrorCode, Fate


class Status(IntEnum):
    """Numbers from 50 on are of sending, from 60 on of serving; none of them is an `ErrorCode`."""

    NOT_INSTALLED = int(ErrorCode.INTERNAL_ERROR)
    """An extra is missing; as an interpreter that dies."""
    CANNOT_WRITE = 74
    """The disk that standard output goes to is full, say; as sysexits.h has it."""
    DEFERRED = 50
    """A recipient was refused for now: to be tried again later."""
    NOT_SENT = 51
    """The connection, or the file, ended before the server had all of the message: it was not accepted."""
    REFUSED = 52
    """A recipient was refused for good."""
    UNKNOWN = 53
    """The connection ended between the end of the message and its answer."""
    UNSUITABLE = 54
    """The server takes no such message: it is too large, or needs an extension that is not offered.  Nothing was sent,
    and to try again is no use."""
    CANNOT_LISTEN = 60
    """The address or the unix socket cannot be had."""
    INTERRUPTED = 130
    """As the shell has it for SIGINT."""
    NOBODY_READS = 141
    """The same for SIGPIPE."""


OF_FATE: Final = {
    Fate.DEFERRED: Status.DEFERRED,
    Fate.NOT_SENT: Status.NOT_SENT,
    Fate.REFUSED: Status.REFUSED,
    Fate.UNKNOWN: Status.UNKNOWN,
}
