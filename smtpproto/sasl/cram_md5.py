"""CRAM-MD5: a digest of the server's challenge, keyed with the password.  RFC 2195.

It is for old servers.  The server must know the password itself, it does not prove that it does, and who overhears an
exchange tries passwords against it as fast as MD5 goes.
"""

from __future__ import annotations

import re
from typing import Final

from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import Pattern

from .base import (
    AuthenticationRefused,
    ClientExchange,
    Identity,
    MechanismError,
    PasswordClient,
    ServerExchange,
    ask,
    ask_client,
    checked_text,
    premature_success,
    required_text,
)
from .questions import FindPassword

_DIGEST: Final = re.compile(rb"[0-9a-f]{32}")
_HOST: Final = Pattern(r"[\x21-\x3b\x3d\x3f\x41-\x7e]+")


class CramMd5Client(PasswordClient):
    """The client's side.  Raises `LocalProtocolError` for an empty field, or one that holds NUL."""

    __slots__ = ()

    name = "CRAM-MD5"
    exposes_secret = False

    def exchange(self) -> ClientExchange:
        """One challenge, one answer; the server speaks first."""
        challenge = yield None
        if challenge is None:
            raise premature_success(self)
        if not challenge.data:
            raise MechanismError("the challenge of CRAM-MD5 is empty or no base64")
        yield self.username.encode() + b" " + digest(self.password, challenge.data)


class CramMd5Server:
    """The server's side; ``host_name`` stands in its challenges.  Raises `LocalProtocolError` where that cannot be."""

    __slots__ = ("_host_name",)

    name = "CRAM-MD5"
    exposes_secret = False

    def __init__(self, host_name: str = "localhost") -> None:
        if not _HOST.fullmatch(checked_text("the host name", host_name)):
            raise LocalProtocolError(f"the host name {host_name!r} cannot stand in a challenge")
        self._host_name = host_name

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        """Send a challenge that no other exchange has, and compare the digest.

        An initial response is refused, because the server speaks first (RFC 4954 section 4).
        """
        if initial_response is not None:
            raise MechanismError("CRAM-MD5 begins with a challenge, and has no initial response", status="5.7.0")
        challenge = new_challenge(self._host_name)
        name, space, given = (yield from ask_client(challenge)).rpartition(b" ")
        if not space or not _DIGEST.fullmatch(given):
            raise MechanismError("a CRAM-MD5 response is a name, a space and a digest of 32 hexadecimal digits")
        username = required_text("the username", name)
        password = (yield from ask(FindPassword(username), str)) or ""
        # The same is done for a user that there is not, so that it takes the same time.
        same = _is_equal(digest(checked_text("the answer to FindPassword", password), challenge), given)
        if not password or not same:
            raise AuthenticationRefused
        return Identity(username)


def digest(password: str, challenge: bytes) -> bytes:
    """RFC 2195 section 2: 32 hexadecimal digits in lower case.  Raises `MechanismError` where there is no MD5."""
    import hmac

    try:
        return hmac.digest(password.encode(), challenge, "md5").hex().encode()
    except ValueError:  # as some systems have it where they follow FIPS 140
        raise MechanismError(
            "there is no MD5 on this system: use another mechanism", code=504, status="5.5.4"
        ) from None


def _is_equal(ours: bytes, theirs: bytes) -> bool:
    import hmac

    return hmac.compare_digest(ours, theirs)


def new_challenge(host_name: str) -> bytes:
    """``<random@host>``, in the form of a Message-ID.  There is no clock here, and the random part is long enough."""
    import secrets

    return f"<{secrets.token_hex(16)}@{host_name}>".encode()
