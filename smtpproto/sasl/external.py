"""EXTERNAL: the client is who it has shown to be by other means, as a rule a TLS certificate.  RFC 4422 appendix A."""

from __future__ import annotations

from smtpproto.values import Value, set_field

from .base import (
    AuthenticationRefused,
    ClientExchange,
    Credentials,
    Identity,
    ServerExchange,
    ask,
    ask_first,
    checked_text,
    decoded_text,
    one_message,
)
from .questions import VerifyExternal


class ExternalClient(Value):
    """The client's side.  Raises `LocalProtocolError` for an identity that holds NUL."""

    __slots__ = ("authorization_id",)
    __match_args__ = ("authorization_id",)

    name = "EXTERNAL"
    exposes_secret = False
    has_secret = False

    authorization_id: str
    """Whom to act as; empty: who the other means say."""

    def __init__(self, authorization_id: str = "") -> None:
        set_field(self, "authorization_id", checked_text("the authorization identity", authorization_id))

    @classmethod
    def suiting(cls, credentials: Credentials) -> ExternalClient | None:
        """The mechanism for these credentials, or ``None`` where they have a secret to show.

        A username alone is whom to act as, as it is for curl and others.
        """
        if credentials.password is not None or credentials.token is not None:
            return None
        return cls(credentials.authorization_id or credentials.username)

    def exchange(self) -> ClientExchange:
        """One message, which may be empty, given once more to a server that asks for it again."""
        yield from one_message(self.authorization_id.encode())


class ExternalServer:
    """The server's side.  Offer it only to a client that has shown who it is."""

    __slots__ = ()

    name = "EXTERNAL"
    exposes_secret = False

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        """Ask the program about the one message; an empty challenge where it did not come with the command."""
        message = yield from ask_first(initial_response)
        authorization_id = decoded_text("the authorization identity", message)
        username = yield from ask(VerifyExternal(authorization_id), str)
        if not username:
            raise AuthenticationRefused
        return Identity(username, authorization_id)
