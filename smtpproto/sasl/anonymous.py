"""ANONYMOUS: the client shows nothing, and may say something about itself for the log.  RFC 4505."""

from __future__ import annotations

from typing import Final

from smtpproto.addresses import Mailbox
from smtpproto.errors import LocalProtocolError
from smtpproto.values import Value, set_field

from .base import (
    AuthenticationRefused,
    ClientExchange,
    Credentials,
    Identity,
    MechanismError,
    ServerExchange,
    ask,
    ask_first,
    checked_text,
    decoded_text,
    one_message,
)
from .prep import Prohibited, traceprep
from .questions import VerifyAnonymous

ANONYMOUS: Final = "anonymous"
"""The name under which such a client is known.  It says less than the trace, which anyone may write."""
TRACE_LENGTH: Final = 255
"""Characters of the trace of ANONYMOUS.  RFC 4505 section 2."""


class AnonymousClient(Value):
    """The client's side.  Raises `LocalProtocolError` for a trace that cannot be sent.

    It is never chosen by itself: a program that wants it names it in ``mechanisms``.
    """

    __slots__ = ("trace",)
    __match_args__ = ("trace",)

    name = "ANONYMOUS"
    exposes_secret = False
    has_secret = False

    trace: str
    """A mail address, or what has no ``@``; may be empty."""

    def __init__(self, trace: str = "") -> None:
        objection = _objection(checked_text("the trace", trace))
        if objection:
            raise LocalProtocolError(objection)
        set_field(self, "trace", trace)

    @classmethod
    def suiting(cls, credentials: Credentials) -> AnonymousClient | None:
        """The mechanism with the username as its trace; ``None`` where there is a secret, or a trace cannot be that."""
        if credentials.password is not None or credentials.token is not None or credentials.authorization_id:
            return None
        return None if _objection(credentials.username) else cls(credentials.username)

    def exchange(self) -> ClientExchange:
        """One message, which may be empty, given once more to a server that asks for it again."""
        yield from one_message(self.trace.encode())


class AnonymousServer:
    """The server's side."""

    __slots__ = ()

    name = "ANONYMOUS"
    exposes_secret = False

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        """Ask the program about the one message; an empty challenge where it did not come with the command."""
        message = yield from ask_first(initial_response)
        trace = decoded_text("the trace", message)
        objection = _objection(trace)
        if objection:
            raise MechanismError(objection)
        if not (yield from ask(VerifyAnonymous(trace), bool)):
            raise AuthenticationRefused
        return Identity(ANONYMOUS)


def _objection(trace: str) -> str:
    """What is wrong with it; empty: nothing.  RFC 4505 sections 2 and 3."""
    if len(trace) > TRACE_LENGTH:
        return f"the trace has more than {TRACE_LENGTH} characters"
    try:
        traceprep(trace)
        if "@" in trace:
            Mailbox.parse(trace)
    except Prohibited as error:
        return f"the trace cannot be sent: {error}"
    except LocalProtocolError:
        return "the trace has an @, and is no mail address"
    return ""
