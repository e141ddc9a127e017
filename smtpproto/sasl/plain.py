"""PLAIN: one message with the two identities and the password.  RFC 4616."""

from __future__ import annotations

from smtpproto.values import Value, set_field

from .base import (
    ClientExchange,
    Credentials,
    MechanismError,
    ServerExchange,
    ask_first,
    ask_program,
    decoded_text,
    one_message,
    required_text,
)
from .questions import Verify


class PlainClient(Value):
    """The client's side.  Raises `LocalProtocolError` for fields that RFC 4616 section 2 does not allow."""

    __slots__ = ("username", "password", "authorization_id")
    __match_args__ = ("username", "password", "authorization_id")
    _secret = frozenset({"password"})

    name = "PLAIN"
    exposes_secret = True

    username: str
    password: str
    authorization_id: str

    def __init__(self, username: str, password: str, authorization_id: str = "") -> None:
        Credentials(username, password, authorization_id=authorization_id)
        set_field(self, "username", username)
        set_field(self, "password", password)
        set_field(self, "authorization_id", authorization_id)

    @classmethod
    def suiting(cls, credentials: Credentials) -> PlainClient | None:
        """The mechanism for these credentials, or ``None`` where they have no password."""
        if credentials.password is None:
            return None
        return cls(credentials.username, credentials.password, credentials.authorization_id)

    def exchange(self) -> ClientExchange:
        """One message, given once more to a server that asks for it again."""
        # message = [authzid] UTF8NUL authcid UTF8NUL passwd
        yield from one_message(f"{self.authorization_id}\0{self.username}\0{self.password}".encode())


class PlainServer:
    """The server's side."""

    __slots__ = ()

    name = "PLAIN"
    exposes_secret = True

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        """Ask the program about the one message; an empty challenge where it did not come with AUTH."""
        message = yield from ask_first(initial_response)
        fields = message.split(b"\0")
        if len(fields) != 3:
            raise MechanismError("a PLAIN message has three fields, with a NUL between each two of them")
        authorization_id = decoded_text("the authorization identity", fields[0])
        username = required_text("the username", fields[1])
        password = required_text("the password", fields[2])
        return (yield from ask_program(Verify(username, password, authorization_id)))
