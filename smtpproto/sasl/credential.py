"""What a server keeps of a password for SCRAM: enough to check it, and too little to log in with it.

RFC 5802 sections 2.2, 3 and 9.
"""

from __future__ import annotations

from typing import Final

from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import Pattern, base64, strict_base64
from smtpproto.values import Value, set_field

from .base import checked_text
from .prep import Prohibited, saslprep

HASHES: Final = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}
"""The hash functions, by the names that they have in those of the mechanisms, and how `hashlib` calls them."""
DIGEST_SIZES: Final = {"SHA-1": 20, "SHA-256": 32, "SHA-512": 64}
"""Octets."""

MIN_ITERATIONS: Final = 4096
"""Fewer iterations than these are no SCRAM: RFC 5802 section 5.1, RFC 7677 section 4."""
MOST_ITERATIONS: Final = 2**31 - 1
"""The most iterations of a credential: what the PBKDF2 of the standard library takes; it would be at it for half an
hour."""
DEFAULT_ITERATIONS: Final = 15_000
"""Iterations of a credential that is derived.  RFC 7677 section 4; it is the clients that pay for it, at each login."""
SALT_LENGTH: Final = 16
"""Octets of a salt that is made.  RFC 5802 section 5.1 names no number."""

_STORED: Final = Pattern(r"SCRAM-([A-Z0-9-]+)\$([0-9]{1,10}):([^:$]+)\$([^:$]+):([^:$]+)")


class ScramCredential(Value):
    """The salted keys of one user, for the mechanisms with one hash function.

    Who reads it can try passwords against it, and can pretend to the user to be the server, so keep it well.  Raises
    `LocalProtocolError` for a hash function that is not known, keys of the wrong length, no salt, or fewer iterations
    than RFC 5802 wants (or more than 2**31 - 1).
    """

    __slots__ = ("hash", "salt", "iterations", "stored_key", "server_key")
    __match_args__ = ("hash", "salt", "iterations", "stored_key", "server_key")
    _secret = frozenset({"stored_key", "server_key"})

    hash: str
    """``"SHA-1"``, ``"SHA-256"`` or ``"SHA-512"``."""
    salt: bytes
    iterations: int
    stored_key: bytes
    """By it the server knows the client."""
    server_key: bytes
    """By it the client knows the server."""

    def __init__(self, hash: str, salt: bytes, iterations: int, stored_key: bytes, server_key: bytes) -> None:  # noqa: A002 - it is the RFC's name
        size = DIGEST_SIZES[checked_hash(hash)]
        _check_terms(salt, iterations)
        if len(stored_key) != size or len(server_key) != size:
            raise LocalProtocolError(f"a key of the credential has not the {size} octets of {hash}")
        set_field(self, "hash", hash)
        set_field(self, "salt", salt)
        set_field(self, "iterations", iterations)
        set_field(self, "stored_key", stored_key)
        set_field(self, "server_key", server_key)

    @staticmethod
    def derive(
        password: str,
        *,
        hash: str = "SHA-256",  # noqa: A002 - it is the RFC's name
        salt: bytes | None = None,
        iterations: int = DEFAULT_ITERATIONS,
    ) -> ScramCredential:
        """Of a password, with a salt by chance unless it is given.

        Takes as long as a login takes the client, some milliseconds.  Raises `LocalProtocolError` for a password that
        SASLprep does not allow.
        """
        import secrets

        salt = secrets.token_bytes(SALT_LENGTH) if salt is None else salt
        return derived(prepared_password(password), checked_hash(hash), salt, iterations)

    @staticmethod
    def parse(text: str) -> ScramCredential:
        """Read it from its text.  Raises `LocalProtocolError`."""
        match = _STORED.fullmatch(text)
        parts = map(strict_base64, match.groups()[2:]) if match else ()
        values = [part for part in parts if part]
        if match is None or len(values) != 3:
            raise LocalProtocolError("that is no stored SCRAM credential: SCRAM-SHA-256$iterations:salt$key:key")
        salt, stored_key, server_key = values
        return ScramCredential(match[1], salt, int(match[2]), stored_key, server_key)

    def encoded(self) -> str:
        """As text, to be stored: ``SCRAM-SHA-256$15000:salt$StoredKey:ServerKey``.  RFC 5803 section 1."""
        salt, stored_key, server_key = map(base64, (self.salt, self.stored_key, self.server_key))
        return f"SCRAM-{self.hash}${self.iterations}:{salt}${stored_key}:{server_key}"

    def matches(self, password: str) -> bool:
        """Whether this is the password, for mechanisms that say it (PLAIN, LOGIN).

        Takes as long as `derive`.  A password that SASLprep does not allow is no user's, so it does not match.
        """
        prepared = usable_password(password)
        if prepared is None:
            return False
        client_key, _ = keys(self.hash, prepared, self.salt, self.iterations)
        return same(digest_of(self.hash, client_key), self.stored_key)


def checked_hash(name: str) -> str:
    """The name of a hash function; raises `LocalProtocolError` where it is not known."""
    if name not in HASHES:
        raise LocalProtocolError(f"no SCRAM hash function is named {name!r}: there are {', '.join(HASHES)}")
    return name


def prepared_password(password: str) -> str:
    """As it is hashed; raises `LocalProtocolError`.  RFC 5802 section 2.2."""
    try:
        prepared = saslprep(checked_text("the password", password), stored=True)
    except Prohibited as error:
        raise LocalProtocolError(f"the password cannot be used with SCRAM: {error} (RFC 4013)") from None
    if not prepared:
        raise LocalProtocolError("the password cannot be used with SCRAM: nothing of it is left by SASLprep (RFC 4013)")
    return prepared


def usable_password(password: str) -> str | None:
    """As it is hashed; ``None`` where SASLprep does not allow it, or leaves nothing of it."""
    try:
        return prepared_password(password)
    except LocalProtocolError:
        return None


def derived(prepared: str, hash: str, salt: bytes, iterations: int) -> ScramCredential:  # noqa: A002 - as above
    """The credential of a password that is prepared already.  Raises `LocalProtocolError`."""
    _check_terms(salt, iterations)  # before the work is done, and for whoever does it
    client_key, server_key = keys(hash, prepared, salt, iterations)
    return ScramCredential(hash, salt, iterations, digest_of(hash, client_key), server_key)


def keys(hash: str, prepared: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:  # noqa: A002 - as above
    """ClientKey and ServerKey.  RFC 5802 section 3."""
    import hashlib

    salted_password = hashlib.pbkdf2_hmac(HASHES[hash], prepared.encode(), salt, iterations)
    return hmac_of(hash, salted_password, b"Client Key"), hmac_of(hash, salted_password, b"Server Key")


def hmac_of(hash: str, key: bytes, message: bytes) -> bytes:  # noqa: A002 - as above
    """HMAC(key, str) of RFC 5802 section 2.2."""
    import hmac

    return hmac.digest(key, message, HASHES[hash])


def digest_of(hash: str, octets: bytes) -> bytes:  # noqa: A002 - as above
    """H(str) of RFC 5802 section 2.2."""
    import hashlib

    return hashlib.new(HASHES[hash], octets).digest()


def same(left: bytes, right: bytes) -> bool:
    """In a time that does not tell where they differ."""
    import hmac

    return hmac.compare_digest(left, right)


def proves(credential: ScramCredential, proof: bytes, signed: bytes) -> bool:
    """Whether it was made by who knows the password.  RFC 5802 section 3."""
    signature = hmac_of(credential.hash, credential.stored_key, signed)
    if len(proof) != len(signature):
        return False
    return same(digest_of(credential.hash, xor(proof, signature)), credential.stored_key)


def xor(left: bytes, right: bytes) -> bytes:
    """Octet by octet; both are of one length."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _check_terms(salt: bytes, iterations: int) -> None:
    if not salt:
        raise LocalProtocolError("the salt is empty: each user needs one of their own (16 octets by chance)")
    if not MIN_ITERATIONS <= iterations <= MOST_ITERATIONS:
        raise LocalProtocolError(
            f"the iterations are {iterations}: they must be at least {MIN_ITERATIONS}, and at most {MOST_ITERATIONS}"
        )
