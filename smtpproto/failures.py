"""How the handshake fails: the two exceptions of the tree in ``errors.py`` that carry a reply."""

from __future__ import annotations

from enum import Enum

from .errors import ErrorCode, SmtpError
from .replies import Reply


class Stage(Enum):
    """How far connecting had come.  The value completes the sentence "failed while …"."""

    OPTIONS = "reading the options"
    DIAL = "making the connection"
    TLS = "negotiating TLS"
    GREETING = "waiting for the greeting"
    HELLO = "saying hello"
    STARTTLS = "asking for STARTTLS"
    AUTHENTICATION = "authenticating"


_TIMED_OUT = {
    Stage.DIAL: ErrorCode.DIAL_TIMED_OUT,
    Stage.TLS: ErrorCode.TLS_TIMED_OUT,
    Stage.GREETING: ErrorCode.GREETING_TIMED_OUT,
    Stage.HELLO: ErrorCode.HELLO_TIMED_OUT,
    Stage.STARTTLS: ErrorCode.STARTTLS_TIMED_OUT,
    Stage.AUTHENTICATION: ErrorCode.AUTHENTICATION_TIMED_OUT,
}

_RETRYABLE = frozenset(
    {
        ErrorCode.CONNECTION_REFUSED,
        ErrorCode.UNREACHABLE,
        ErrorCode.CLOSED_BY_PEER,
        ErrorCode.AUTHENTICATION_UNAVAILABLE,
    }
)


def timed_out(stage: Stage) -> ErrorCode:
    """The code that says that a wait of this stage took too long."""
    return _TIMED_OUT.get(stage, ErrorCode.TIMED_OUT)


class ConnectFailed(SmtpError):
    """Connecting ended before the session was ready.  Nothing is left open."""

    code: ErrorCode
    stage: Stage
    reply: Reply | None
    """The reply that ended it, where one did."""

    def __init__(self, message: str, code: ErrorCode, stage: Stage, reply: Reply | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.stage = stage
        self.reply = reply

    @property
    def retryable(self) -> bool:
        """True where the same may well succeed later: a 4yz reply, a timeout, a peer that is down or went away."""
        if self.reply is not None:
            return self.reply.is_transient
        return self.code in _RETRYABLE or self.code.is_timeout

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.reply is None else f"{message}: {self.reply}"


class AuthenticationFailed(ConnectFailed):
    """The authentication failed; within connecting, or after it."""

    error: str | None
    """What the server said about the reason within the exchange, where the mechanism has a place for that: the JSON of
    OAUTHBEARER (RFC 7628 section 3.2.2) and XOAUTH2, the error of SCRAM (RFC 5802 section 7)."""

    def __init__(self, message: str, code: ErrorCode, reply: Reply | None = None, *, error: str | None = None) -> None:
        super().__init__(message, code, Stage.AUTHENTICATION, reply)
        self.error = error
