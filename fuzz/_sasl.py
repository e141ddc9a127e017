"""What both sides of SASL share: who is who, no chance, and the formulas of SCRAM.

A message of an input may hold places, which are filled in when it is said, because no mutation finds what belongs
there: ``%n`` is the nonce so far, ``%v`` the server's signature, ``%p`` the client's proof, ``%d`` the digest of
CRAM-MD5, ``%s`` the password, ``%t`` the token.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from smtpproto.errors import SmtpError
from smtpproto.grammar import base64
from smtpproto.sasl import MECHANISMS, SaslError

USER: Final = "user"
PASSWORD: Final = "pencil-3f9c"
TOKEN: Final = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg"
BINDINGS: Final[Mapping[str, bytes]] = {"tls-server-end-point": b"a binding of thirty-two octets.."}
NAMES: Final = tuple(each.name for each in MECHANISMS)
ITERATIONS: Final = 4096
SALT: Final = b"a salt"
NONCE: Final = base64(bytes(range(24)))
"""What each side says without chance, see `no_chance`."""
_SECRETS: Final = (PASSWORD, TOKEN, base64(PASSWORD.encode()), base64(TOKEN.encode()))


def _cheap_key(hash_name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
    return hmac.digest(password, salt + iterations.to_bytes(4, "big"), hash_name)


@contextmanager
def no_chance() -> Generator[None]:
    """The same nonces each time, and a derivation of keys that costs nothing: neither is what is tried here."""
    with (
        patch("secrets.token_bytes", lambda count: bytes(range(count))),  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        patch("secrets.token_hex", lambda count: bytes(range(count)).hex()),  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        patch("hashlib.pbkdf2_hmac", _cheap_key),
    ):
        yield


class Signed:
    """What SCRAM's two sides sign, and with what.  RFC 5802 section 3."""

    def __init__(self, mechanism: str, first: str, terms: str, final: str) -> None:
        """``first``: without its header; ``final``: without its proof."""
        self._hash = mechanism.removesuffix("-PLUS").removeprefix("SCRAM-").replace("-", "").lower()
        self._message = f"{first},{terms},{final}".encode("utf-8", "surrogateescape")
        # Where the terms are none, neither is there a right signature: any will do.
        fields = dict(each.split("=", 1) for each in terms.split(",") if "=" in each)
        try:
            salt, iterations = _unbase64(fields.get("s", "")), int(fields.get("i", ""))
            self._salted = _cheap_key(self._hash, PASSWORD.encode(), salt, iterations)
        except (ValueError, OverflowError):
            self._salted = b""

    @property
    def signature(self) -> str:
        """In base64."""
        return base64(self._hmac(self._hmac(self._salted, b"Server Key"), self._message))

    @property
    def proof(self) -> str:
        """In base64."""
        client_key = self._hmac(self._salted, b"Client Key")
        stored_key = hashlib.new(self._hash, client_key).digest()
        signature = self._hmac(stored_key, self._message)
        return base64(bytes(a ^ b for a, b in zip(client_key, signature, strict=True)))

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self._hash)


def _unbase64(text: str) -> bytes:
    import binascii

    return binascii.a2b_base64(text, strict_mode=True)


def filled(message: bytes, places: Mapping[bytes, str]) -> bytes:
    for place, text in places.items():
        message = message.replace(place, text.encode("utf-8", "surrogateescape"))
    return message


def assert_silent(error: SaslError) -> None:
    """A server may send its text, and nothing that hangs on it shows a secret."""
    assert str(error).isascii()
    assert str(error).isprintable()
    assert 400 <= error.code <= 599
    link: BaseException | None = error
    while link is not None:
        shown = f"{link!r} {link} {vars(link)}"
        assert not any(secret in shown for secret in _SECRETS), shown
        assert isinstance(link, SmtpError) or not isinstance(link, UnicodeError)  # which would hold the message
        link = link.__cause__ or link.__context__
