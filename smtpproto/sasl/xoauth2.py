"""XOAUTH2: an OAuth 2.0 access token, as Google and Microsoft take it.

It is what came before OAUTHBEARER (RFC 7628).  Described at
https://developers.google.com/workspace/gmail/imap/xoauth2-protocol
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import Pattern

from .base import (
    ClientExchange,
    Credentials,
    MechanismError,
    ServerExchange,
    ask_first,
    checked_text,
    checked_token,
    decoded_text,
    readable,
)
from .oauthbearer import ask_about_token, end_of_refusal, json_of
from .questions import VerifyToken

if TYPE_CHECKING:
    from collections.abc import Callable

_MESSAGE: Final = Pattern(r"user=([^\x01]+)\x01auth=(?i:bearer) +([\x21-\x7e]+)\x01\x01")


class XOAuth2Client:
    """The client's side.  Raises `LocalProtocolError` for a username or a token that it cannot send."""

    __slots__ = ("_token", "_username", "error")

    name = "XOAUTH2"
    exposes_secret = True

    error: str | None
    """What the server said in the last exchange about its refusal, as a rule JSON; ``None``: nothing."""

    def __init__(self, username: str, token: str | Callable[[], str]) -> None:
        """``token`` may be what returns one; it is called anew for each exchange."""
        if not checked_text("the username", username) or "\x01" in username:
            raise LocalProtocolError("the username is empty or holds ^A, with which XOAUTH2 ends its fields")
        self._username = username
        self._token = token if callable(token) else checked_token(token)
        self.error = None

    @classmethod
    def suiting(cls, credentials: Credentials) -> XOAuth2Client | None:
        """The mechanism for these credentials, or ``None``: it wants a username and a token, and to act as no other."""
        username = credentials.username
        if credentials.token is None or not username or "\x01" in username or credentials.authorization_id:
            return None
        return cls(username, credentials.token)

    def __repr__(self) -> str:
        return f"XOAuth2Client(username={self._username!r}, token=<redacted>)"

    def exchange(self) -> ClientExchange:
        """One message.  A challenge is a refusal already; an empty response makes the server say so."""
        self.error = None
        token = checked_token(self._token()) if callable(self._token) else self._token
        refusal = yield f"user={self._username}\x01auth=Bearer {token}\x01\x01".encode()
        if refusal is not None:
            self.error = readable(refusal)
            yield from end_of_refusal(b"")


class XOAuth2Server:
    """The server's side.

    ``scope`` tells a client that was refused what its token must be good for.  Raises `LocalProtocolError` where it
    holds what JSON does not take as it is.
    """

    __slots__ = ("_refusal",)

    name = "XOAUTH2"
    exposes_secret = True

    def __init__(self, *, scope: str = "") -> None:
        self._refusal = json_of({"status": "401", "schemes": "bearer", "scope": scope})

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        """Ask the program about the one message; an empty challenge where it did not come with the command."""
        message = yield from ask_first(initial_response)
        match = _MESSAGE.fullmatch(decoded_text("the message", message))
        if match is None:
            raise MechanismError("an XOAUTH2 message has a user and a bearer token, each with ^A behind it")
        return (yield from ask_about_token(VerifyToken(match[2], match[1]), self._refusal))
