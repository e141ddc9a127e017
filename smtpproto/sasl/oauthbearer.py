"""OAUTHBEARER: an OAuth 2.0 access token.  RFC 7628, RFC 6750.

Whoever reads a token can use it, so it is only for TLS.  A server that does not accept it says why in a challenge, as
a JSON document, and refuses only after a response that says nothing (RFC 7628 section 3.2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import Pattern

from .base import (
    AuthenticationRefused,
    Challenge,
    ClientExchange,
    Credentials,
    Identity,
    MechanismError,
    ServerExchange,
    ask,
    ask_first,
    checked_text,
    checked_token,
    readable,
)
from .gs2 import Gs2Header, split_header
from .questions import VerifyToken

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_SEPARATOR: Final = "\x01"
_DUMMY: Final = b"\x01"

# client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep ; kvpair = key "=" value kvsep
_PAIRS: Final = Pattern(r"\x01(?:[A-Za-z]+=[\x20-\x7e\t\r\n]*\x01)*\x01")
_BEARER: Final = Pattern(r"(?i:bearer) +([\x21-\x7e]+)")
_IN_JSON: Final = Pattern(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
_HOST: Final = Pattern(r"[\x21-\x7e]+")


class OAuthBearerClient:
    """The client's side.  Raises `LocalProtocolError` for what it cannot send."""

    __slots__ = ("_authorization_id", "_host", "_port", "_token", "error")

    name = "OAUTHBEARER"
    exposes_secret = True

    error: str | None
    """What the server said in the last exchange about its refusal, as a rule JSON; ``None``: nothing."""

    def __init__(
        self, token: str | Callable[[], str], authorization_id: str = "", *, host: str = "", port: int | None = None
    ) -> None:
        """``token`` may be what returns one; it is called anew for each exchange.

        ``authorization_id`` is whom to act as, mostly the address of the user; empty: the token says who it is.
        ``host`` and ``port``, those that were connected to, are sent where they are given; few servers look at them.
        """
        if checked_text("the host", host) and not _HOST.fullmatch(host):
            raise LocalProtocolError(
                "the host holds more than visible ASCII characters: give the A-labels of the domain"
            )
        if _SEPARATOR in checked_text("the authorization identity", authorization_id):
            raise LocalProtocolError("the authorization identity holds ^A, with which OAUTHBEARER ends its fields")
        self._authorization_id = authorization_id
        self._host = host
        self._port = _checked_port(port)
        self._token = token if callable(token) else checked_token(token)
        self.error = None

    @classmethod
    def suiting(cls, credentials: Credentials) -> OAuthBearerClient | None:
        """The mechanism for these credentials, or ``None``: without a token, and for an identity that holds ^A."""
        acting = credentials.authorization_id or credentials.username
        if credentials.token is None or _SEPARATOR in acting:
            return None
        return cls(credentials.token, acting)

    def __repr__(self) -> str:
        return f"OAuthBearerClient(token=<redacted>, authorization_id={self._authorization_id!r})"

    def exchange(self) -> ClientExchange:
        """One message.  A challenge is a refusal already; a response of ^A makes the server say so."""
        self.error = None
        token = checked_token(self._token()) if callable(self._token) else self._token
        header = Gs2Header(authorization_id=self._authorization_id)
        pairs = {"host": self._host, "port": self._port, "auth": f"Bearer {token}"}
        said = "".join(f"{key}={value}{_SEPARATOR}" for key, value in pairs.items() if value)
        refusal = yield f"{header}{_SEPARATOR}{said}{_SEPARATOR}".encode()
        if refusal is not None:
            self.error = readable(refusal)
            yield from end_of_refusal(_DUMMY)


class OAuthBearerServer:
    """The server's side.

    ``scope`` and ``openid_configuration`` tell a client that was refused what its token must be good for, and where
    to learn how to get one (RFC 7628 section 3.2.2).  Raises `LocalProtocolError` where they hold what JSON does not
    take as it is.

    The host and the port to which the client says that it connected are not looked at: this side does not know under
    which names it can be reached, and a bearer token is not bound to them.
    """

    __slots__ = ("_refusal",)

    name = "OAUTHBEARER"
    exposes_secret = True

    def __init__(self, *, scope: str = "", openid_configuration: str = "") -> None:
        self._refusal = json_of(
            {"status": "invalid_token", "scope": scope, "openid-configuration": openid_configuration}
        )

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        """Ask the program about the one message; an empty challenge where it did not come with the command."""
        message = yield from ask_first(initial_response)
        header, rest = split_header(message)
        if header.flag == "p":
            raise MechanismError("OAUTHBEARER has no channel binding")
        if not _PAIRS.fullmatch(rest):
            raise MechanismError("the message has other fields than OAUTHBEARER allows")
        pairs = [pair.split("=", 1) for pair in rest.split(_SEPARATOR) if pair]
        values = [value for key, value in pairs if key == "auth"]
        if len(values) != 1:
            raise MechanismError("the message must have one field auth")
        bearer = _BEARER.fullmatch(values[0])
        if bearer is None:  # an empty one asks how to get a token: RFC 7628 section 4.3
            raise (yield from refusing(self._refusal))
        return (yield from ask_about_token(VerifyToken(bearer[1], header.authorization_id), self._refusal))


def _checked_port(port: object) -> str:
    """As it is sent; empty: it is not."""
    if port is None:
        return ""
    if not isinstance(port, int) or not 0 < port < 65536:
        raise LocalProtocolError("the port is no number from 1 to 65535")
    return f"{port:d}"


# What follows is shared with XOAUTH2.


def end_of_refusal(response: bytes) -> ClientExchange:
    """Give the response after which the server refuses, and take nothing else from it."""
    if (yield response) is None:
        raise MechanismError("the server reported an error, and success after it")


def refusing(refusal: bytes) -> Generator[Challenge, object, AuthenticationRefused]:
    """Tell the client why, and return what to raise.  Its response says nothing, whatever it is."""
    yield Challenge(refusal)
    return AuthenticationRefused()


def ask_about_token(question: VerifyToken, refusal: bytes) -> ServerExchange:
    """Return whose the token is."""
    username = yield from ask(question, str)
    if not username:
        raise (yield from refusing(refusal))
    return Identity(username, "" if question.authorization_id == username else question.authorization_id)


def json_of(fields: dict[str, str]) -> bytes:
    """An object of those that are not empty.  Raises `LocalProtocolError` for a value that would need quoting."""
    for name, value in fields.items():
        if checked_text(name, value) and not _IN_JSON.fullmatch(value):
            raise LocalProtocolError(f"{name} is {value!r}: it must be visible ASCII without quotes and backslashes")
    return ("{" + ",".join(f'"{name}":"{value}"' for name, value in fields.items() if value) + "}").encode()
