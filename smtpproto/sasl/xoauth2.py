"""XOAUTH2: an OAuth 2.0 access token, as Google and Microsoft take it.

It is what came before OAUTHBEARER (RFC 7628).  Described at
https://developers.google.com/workspace/gmail/imap/xoauth2-protocol
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproto.errors import LocalProtocolError

from .base import Challenge, ClientExchange, Credentials, MechanismError, checked_text, checked_token

if TYPE_CHECKING:
    from collections.abc import Callable

ERROR_LENGTH = 1024
"""Characters that are kept of what a server says about its refusal; Google says some 70."""


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
        if credentials.token is None or not credentials.username or credentials.authorization_id:
            return None
        return cls(credentials.username, credentials.token)

    def __repr__(self) -> str:
        return f"XOAuth2Client(username={self._username!r}, token=<redacted>)"

    def exchange(self) -> ClientExchange:
        """One message.  A challenge is a refusal already; an empty response makes the server say so."""
        self.error = None
        token = checked_token(self._token()) if callable(self._token) else self._token
        refusal = yield f"user={self._username}\x01auth=Bearer {token}\x01\x01".encode()
        if refusal is not None:
            self.error = _readable(refusal)
            if (yield b"") is None:
                raise MechanismError("the server reported an error, and success after it")


def _readable(refusal: Challenge) -> str:
    if refusal.data is None:
        return refusal.text[:ERROR_LENGTH]
    return refusal.data[: 4 * ERROR_LENGTH].decode("utf-8", "backslashreplace")[:ERROR_LENGTH]
