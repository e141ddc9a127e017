"""The exception tree, and the names of every outcome::

    SmtpError
    ├── ProtocolError
    │   ├── LocalProtocolError     the program asked for what the protocol forbids
    │   └── RemoteProtocolError    the peer broke the protocol
    ├── TransportError             the connection below could not be made, secured or kept
    └── ConnectFailed              connecting ended before the session was ready (connect.py)
        └── AuthenticationFailed   the same, because of the authentication (connect.py)

A refusal by the peer (a 4yz or 5yz reply) is data in the core, and never an exception; only the handshake, which
cannot go on after one, turns it into a ConnectFailed that carries it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ErrorCode(IntEnum):
    """How connecting ended.  0 is success; the numbers are the exit status of the command line, and never change."""

    SUCCESS = 0
    INTERNAL_ERROR = 1
    """Kept for the shell: an interpreter that dies of an unexpected exception ends with it.  Never returned."""
    INVALID_ARGUMENT = 2
    """The options contradict each other, or lack a host."""

    NAME_NOT_FOUND = 3
    CONNECTION_REFUSED = 4
    UNREACHABLE = 5
    """No route, a network that is down, a unix socket that is not there or not ours."""
    CLOSED_BY_PEER = 6
    PROTOCOL_ERROR = 7
    """The peer sent what no SMTP server may send."""

    SERVICE_NOT_AVAILABLE = 10
    """A 4yz or 5yz greeting, or a 421 at any time.  RFC 5321 section 3.1."""
    HELLO_REFUSED = 11
    """Neither EHLO nor HELO was accepted."""
    EXTENDED_NOT_SUPPORTED = 12
    """The server speaks no ESMTP, but what was asked for (STARTTLS, authentication) needs it."""

    STARTTLS_NOT_OFFERED = 20
    STARTTLS_REFUSED = 21
    TLS_HANDSHAKE_FAILED = 22
    CERTIFICATE_NOT_TRUSTED = 23
    WRONG_HOST_NAME = 24
    """The certificate is for another host than the configured one.  RFC 6125, RFC 7817."""

    AUTHENTICATION_NOT_OFFERED = 30
    NO_COMMON_MECHANISM = 31
    AUTHENTICATION_REFUSED = 32
    """535 and other permanent refusals."""
    AUTHENTICATION_UNAVAILABLE = 33
    """454 and other transient refusals.  RFC 4954 section 6."""
    PLAINTEXT_AUTHENTICATION_FORBIDDEN = 34
    """The secret would have travelled without TLS; nothing of it was sent."""
    SERVER_NOT_AUTHENTIC = 35
    """The server reported success but failed to prove that it knows the secret, as the mechanism wants it to."""

    TIMED_OUT = 40
    """A wait outside the handshake."""
    DIAL_TIMED_OUT = 41
    TLS_TIMED_OUT = 42
    GREETING_TIMED_OUT = 43
    HELLO_TIMED_OUT = 44
    STARTTLS_TIMED_OUT = 45
    AUTHENTICATION_TIMED_OUT = 46

    @property
    def is_timeout(self) -> bool:
        """True for every code that says that a wait took too long, in whatever stage."""
        return ErrorCode.TIMED_OUT <= self <= ErrorCode.AUTHENTICATION_TIMED_OUT


class SmtpError(Exception):
    """The base of every exception that this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # What stands in Exception makes the copy by calling the class with the message alone.
        return _restore, (type(self), self.args), self.__dict__


class ProtocolError(SmtpError):
    """One of the two sides does not keep to the protocol."""


class LocalProtocolError(ProtocolError):
    """The program asked for what the protocol forbids.  Nothing was sent, and nothing changed."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.  The connection is in state ERROR from then on, and good for nothing but closing."""

    received: bytes
    """The octets that were at fault, or the beginning of them (at most 256)."""
    code: int
    """The reply code with which a server may take its leave."""

    def __init__(self, message: str, received: bytes = b"", code: int = 421) -> None:
        super().__init__(message)
        self.received = bytes(received[:256])
        self.code = code

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} (received {self.received!r})" if self.received else message


class TransportError(SmtpError):
    """The connection below could not be made, secured or kept.  An adapter raises it into the flow that it runs."""

    code: ErrorCode
    """One of NAME_NOT_FOUND, CONNECTION_REFUSED, UNREACHABLE, CLOSED_BY_PEER, TIMED_OUT, INVALID_ARGUMENT,
    TLS_HANDSHAKE_FAILED, CERTIFICATE_NOT_TRUSTED, WRONG_HOST_NAME."""

    def __init__(self, message: str, code: ErrorCode) -> None:
        super().__init__(message)
        self.code = code


class NotTls(TransportError):
    """The peer sent something other than TLS where the TLS handshake was due."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ErrorCode.TLS_HANDSHAKE_FAILED)


def _restore(cls: type[SmtpError], args: tuple[Any, ...]) -> SmtpError:
    """Unpickle, or copy: the fields follow by themselves."""
    return cls.__new__(cls, *args)
