"""The commands of the authentication exchange.  RFC 4954 section 4."""

from __future__ import annotations

import smtpproto.grammar as grammar
from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import base64, require
from smtpproto.values import set_field

from .base import AUTH_LINE, Command


class Auth(Command):
    """``AUTH mechanism [initial-response]``.  RFC 4954 section 4."""

    __slots__ = ("mechanism", "initial_response")
    __match_args__ = ("mechanism", "initial_response")
    verb = "AUTH"
    line_limit = AUTH_LINE
    _secret = frozenset({"initial_response"})

    mechanism: str
    """Its SASL name, in upper case."""
    initial_response: bytes | None
    """As the mechanism made it, not encoded.  None: there is none, which is not the same as an empty one."""

    def __init__(self, mechanism: str, initial_response: bytes | None = None) -> None:
        set_field(self, "mechanism", require(grammar.SASL_MECH, mechanism, "the mechanism of AUTH").upper())
        set_field(self, "initial_response", _check_response(initial_response, "the initial response"))
        self._check_length()

    def _line(self) -> str:
        if self.initial_response is None:
            return f"AUTH {self.mechanism}"
        return f"AUTH {self.mechanism} {base64(self.initial_response) or '='}"

    def __str__(self) -> str:
        return f"AUTH {self.mechanism}" + ("" if self.initial_response is None else " <redacted>")


class AuthResponse(Command):
    """The answer to a 334; with None the line ``*``, which cancels the exchange.  RFC 4954 section 4."""

    __slots__ = ("response",)
    __match_args__ = ("response",)
    line_limit = AUTH_LINE
    _secret = frozenset({"response"})

    response: bytes | None
    """As the mechanism made it, not encoded."""

    def __init__(self, response: bytes | None) -> None:
        set_field(self, "response", _check_response(response, "the response"))
        self._check_length()

    def _line(self) -> str:
        return "*" if self.response is None else base64(self.response)

    def __str__(self) -> str:
        return "*" if self.response is None else "<redacted>"


def _check_response(response: object, what: str) -> bytes | None:
    if response is None:
        return None
    if isinstance(response, bytes | bytearray):
        return bytes(response)
    # Not shown: it is a secret, whatever it is.
    raise LocalProtocolError(f"{what} of the authentication is a {type(response).__name__}: it must be bytes or None")
