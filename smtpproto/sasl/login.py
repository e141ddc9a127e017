"""LOGIN: the username, then the password, each as the answer to a prompt.

It was never a standard; draft-murchison-sasl-login describes what is in use.  What the prompts say differs from
server to server, and none can be relied on, so the client answers the first with the username and the second with the
password, whatever they say, be it base64 or not.  A server asks for the password first only where the username came
with AUTH, which many clients do and ours does not: what ours answers first is the username, always.

No charset was ever agreed on: it is UTF-8, on both sides.
"""

from __future__ import annotations

from .base import (
    ClientExchange,
    PasswordClient,
    ServerExchange,
    ask_client,
    ask_first,
    ask_program,
    premature_success,
    required_text,
)
from .questions import Verify


class LoginClient(PasswordClient):
    """The client's side.  Raises `LocalProtocolError` for an empty field, or one that holds NUL."""

    __slots__ = ()

    name = "LOGIN"
    exposes_secret = True

    def exchange(self) -> ClientExchange:
        """Two prompts, two answers; the server speaks first."""
        answer: bytes | None = None
        for field in (self.username, self.password):
            if (yield answer) is None:
                raise premature_success(self)
            answer = field.encode()
        yield answer


class LoginServer:
    """The server's side."""

    __slots__ = ()

    name = "LOGIN"
    exposes_secret = True

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        """Ask for what is needed: many clients send the username with AUTH, although the server should speak first."""
        first = yield from ask_first(initial_response, b"Username:")
        username = required_text("the username", first)
        password = required_text("the password", (yield from ask_client(b"Password:")))
        return (yield from ask_program(Verify(username, password)))
