"""SCRAM: both sides prove that they know the password, and neither says it.  RFC 5802, RFC 7677.

The conversation, with an empty response at its end because SMTP has no place for data beside a success (RFC 4954
section 4):

    C: gs2-header n=user,r=nonce
    S: r=nonce+nonce,s=salt,i=iterations
    C: c=channel-binding,r=nonce+nonce,p=proof
    S: v=signature
    C:

The client counts a success only after the signature, by which the server shows that it has what is kept of the
password.  What each side signs covers all messages, so nobody between them can change one.  With -PLUS it covers the
TLS channel too, so nobody can be between them at all.  That leaves the way to take -PLUS out of the offer: the flag
``y`` in the header, which is signed as well, says that the client could have done it and has seen no offer of it, and
a server that has made the offer refuses (RFC 5802 section 6).

A server says that it refuses by a 535 and no more, so that a wrong password and an unknown name look alike.  Only what
concerns the channel, and no user, it tells before it: ``e=`` and the reason (RFC 5802 section 5.1), in place of its
next message and with an empty response to it, because a client that knows this can do something about it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar, final

from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import base64, strict_base64

from .base import (
    AuthenticationRefused,
    Challenge,
    ClientExchange,
    Credentials,
    Identity,
    MechanismError,
    ServerAnswer,
    ServerExchange,
    ServerNotAuthentic,
    ServerStep,
    ask,
    ask_client,
    ask_first,
    decoded_text,
    premature_success,
    readable,
)
from .choice import NO_BINDINGS
from .credential import (
    DEFAULT_ITERATIONS,
    DIGEST_SIZES,
    MIN_ITERATIONS,
    MOST_ITERATIONS,
    SALT_LENGTH,
    ScramCredential,
    derived,
    digest_of,
    hmac_of,
    keys,
    prepared_password,
    proves,
    same,
    usable_password,
    xor,
)
from .gs2 import Gs2Header, decoded_name, encoded_name, split_header
from .questions import Authorize, FindCredential
from .scram_messages import (
    NONCE,
    PLUS,
    attributes,
    named,
    new_nonce,
    octets_of,
    prepared_name,
    proof_of,
    received_name,
    refusing,
    terms_of,
)

if TYPE_CHECKING:
    from typing import Self

MAX_ITERATIONS: Final = 1_000_000
"""Iterations that a client hashes, unless it is told otherwise: a second or so.  A server could
otherwise keep the client busy for an hour."""

MAX_SALT_LENGTH: Final = 64
"""Octets of a salt that is invented: as many as SHA-512 gives."""

_MIN_SECRET: Final = 16
"""Octets."""


@final
class ScramClient:
    """The client's side.  Raises `LocalProtocolError` for what SASLprep does not allow.

    It does the iterations that the server asks for in one go, some milliseconds for a usual number of them; one that
    asks for more than ``max_iterations`` gets no answer.
    """

    __slots__ = (
        "_authorization_id",
        "_bindings",
        "_hash",
        "_max_iterations",
        "_name",
        "_password",
        "_plus",
        "_username",
        "_without",
        "error",
    )

    exposes_secret = False
    proves_server = True

    error: str | None
    """Why the server refused in the last exchange, in its own word, as ``"unsupported-channel-binding-type"`` (RFC 5802
    section 7); ``None``: it has not said."""

    def __init__(
        self,
        username: str,
        password: str,
        authorization_id: str = "",
        *,
        name: str = "SCRAM-SHA-256",
        max_iterations: int = MAX_ITERATIONS,
    ) -> None:
        Credentials(username, password, authorization_id=authorization_id)
        self._name, self._hash, self._plus = named(name)
        self._username = prepared_name("the username", username)
        self._password = prepared_password(password)
        self._authorization_id = authorization_id and prepared_name("the authorization identity", authorization_id)
        if not MIN_ITERATIONS <= max_iterations <= MOST_ITERATIONS:
            raise LocalProtocolError(
                f"max_iterations is {max_iterations}: it must be at least {MIN_ITERATIONS}, for which every server "
                f"asks, and at most {MOST_ITERATIONS}"
            )
        self._max_iterations = max_iterations
        self.error = None
        self._bindings = NO_BINDINGS
        self._without = "n"

    @classmethod
    def suiting(cls, credentials: Credentials, name: str = "SCRAM-SHA-256") -> ScramClient | None:
        """The mechanism for these credentials, or ``None``: without a password, or with what SASLprep forbids.

        Raises `LocalProtocolError` for a name that is none of SCRAM.
        """
        named(name)
        if credentials.password is None:
            return None
        try:
            return cls(credentials.username, credentials.password, credentials.authorization_id, name=name)
        except LocalProtocolError:
            return None

    @property
    def name(self) -> str:
        """``"SCRAM-SHA-256"``, ``"SCRAM-SHA-256-PLUS"`` and kin."""
        return self._name

    def bound(self, bindings: Mapping[str, bytes], offered: Collection[str]) -> Self | None:
        """See `Bindable`.  Where the server offers no -PLUS, although there is a binding, it will be told so."""
        if self._plus and not bindings:
            return None
        copy = _copied(self)
        copy._bindings = bindings
        # The -PLUS of another hash function does not count: whoever took this one out could have put that one in.
        copy._without = "y" if bindings and self._name + PLUS not in offered else "n"
        return copy

    def __repr__(self) -> str:
        return (
            f"ScramClient(username={self._username!r}, password=<redacted>, "
            f"authorization_id={self._authorization_id!r}, name={self._name!r})"
        )

    def exchange(self) -> ClientExchange:
        """Two messages, and an empty one after the server has proved itself."""
        self.error = None
        header, binding = self._header()
        try:
            yield from self._conversation(str(header), binding)
            return
        except _ServerError as error:
            self.error = error.word or None
        # Outside the handler: what is raised now does not come of what the server said before.
        if (yield b"") is None:
            raise ServerNotAuthentic("the server reported an error, and success after it")

    def _header(self) -> tuple[Gs2Header, bytes]:
        if not self._plus:
            return Gs2Header(self._without, authorization_id=self._authorization_id), b""
        binding = next(iter(self._bindings.items()), None)
        if binding is None:
            raise LocalProtocolError(f"{self._name} needs a channel binding, and there is none on this connection")
        return Gs2Header("p", binding[0], self._authorization_id), binding[1]

    def _conversation(self, header: str, binding: bytes) -> ClientExchange:
        nonce = new_nonce()
        first = f"n={encoded_name(self._username)},r={nonce}"
        answer = self._heard((yield (header + first).encode()))
        full_nonce, salt, iterations = terms_of(answer, nonce, self._max_iterations)
        client_key, server_key = keys(self._hash, self._password, salt, iterations)
        final = f"c={base64(header.encode() + binding)},r={full_nonce}"
        signed = f"{first},{answer},{final}".encode()
        proof = xor(client_key, hmac_of(self._hash, digest_of(self._hash, client_key), signed))
        verdict = self._heard((yield f"{final},p={base64(proof)}".encode()))
        (verifier,) = attributes(verdict, "v")
        if not same(strict_base64(verifier) or b"", hmac_of(self._hash, server_key, signed)):
            raise ServerNotAuthentic("the server's signature is wrong: it does not know the password")
        yield b""

    def _heard(self, challenge: Challenge | None) -> str:
        if challenge is None:
            raise premature_success(self)
        if challenge.data is None:
            raise MechanismError(f"a challenge of {self._name} is no base64")
        if challenge.data.startswith(b"e="):
            raise _ServerError(readable(challenge)[2:].split(",", 1)[0])
        return decoded_text("the challenge", challenge.data)


@final
class ScramServer:
    """The server's side, for one hash function, with or without -PLUS.

    The program is asked for a `ScramCredential`, or for the password.  Who tries names that are unknown gets a salt and
    an iteration count too, always the same for a name.  These must look like those of users that there are, so
    ``iterations`` and ``salt_length`` are those with which credentials are derived; users of whom there is a password
    get the very same.  ``secret``, 16 octets at least, makes the salts the same in all processes that serve one set of
    users, and after a new start; without it they are the same in all objects of this process.

    A credential costs the server next to nothing, a password as much as it costs the client.  As soon as the program
    has answered with a password, unknown names cost that too, so that the time does not tell them apart; a program
    that has both kinds shows by the time which users are of which.  Raises `LocalProtocolError`.
    """

    __slots__ = (
        "_bindings",
        "_hash",
        "_iterations",
        "_kinds",
        "_name",
        "_offers_plus",
        "_plus",
        "_salt_length",
        "_secret",
    )

    exposes_secret = False

    def __init__(
        self,
        name: str = "SCRAM-SHA-256",
        *,
        iterations: int = DEFAULT_ITERATIONS,
        salt_length: int = SALT_LENGTH,
        secret: bytes | None = None,
    ) -> None:
        self._name, self._hash, self._plus = named(name)
        if not 0 < salt_length <= MAX_SALT_LENGTH or not MIN_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise LocalProtocolError(
                f"salt_length={salt_length}, iterations={iterations}: a salt has 1 to {MAX_SALT_LENGTH} octets here, "
                f"and the iterations are at least {MIN_ITERATIONS}, and at most {MOST_ITERATIONS}"
            )
        if secret is not None and len(secret) < _MIN_SECRET:
            raise LocalProtocolError(f"the secret for the salts must have at least {_MIN_SECRET} octets, all by chance")
        self._iterations = iterations
        self._salt_length = salt_length
        self._secret = _secret_of_the_process() if secret is None else secret
        # What the program has answered with so far; the copies for the connections share it.
        self._kinds: set[type] = set()
        self._bindings = NO_BINDINGS
        self._offers_plus = False

    @property
    def name(self) -> str:
        """``"SCRAM-SHA-256"``, ``"SCRAM-SHA-256-PLUS"`` and kin."""
        return self._name

    def bound(self, bindings: Mapping[str, bytes], offered: Collection[str]) -> Self | None:
        """See `Bindable`.  One without -PLUS will refuse clients that have been kept from seeing that it is offered."""
        if self._plus and not bindings:
            return None
        copy = _copied(self)
        copy._bindings = bindings
        copy._offers_plus = bool(bindings) and self._name + PLUS in offered
        return copy

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        """Two messages, a signature, and an empty response."""
        message = yield from ask_first(initial_response)
        header, first = split_header(message)
        binding = yield from self._agreed(header)
        acting = header.authorization_id
        acting = acting and received_name("the authorization identity", acting)
        name, nonce = attributes(first, "n", "r")
        username = received_name("the username", decoded_name("the username", name))
        if not NONCE.fullmatch(nonce):
            raise MechanismError("the nonce has characters that are not allowed in it")
        found = yield from self._found(username)
        salt, iterations = self._salt(username), self._iterations
        if isinstance(found, ScramCredential):
            salt, iterations = found.salt, found.iterations
        nonce += new_nonce()
        terms = f"r={nonce},s={base64(salt)},i={iterations}"
        final, proof = proof_of(decoded_text("the message", (yield from ask_client(terms.encode()))))
        yield from self._check_final(final, str(header).encode() + binding, nonce)
        signed = f"{first},{terms},{final}".encode()
        credential = self._kept(found, salt)
        if not proves(credential, proof, signed) or found is None:
            raise AuthenticationRefused
        if acting not in ("", username) and not (yield from ask(Authorize(username, acting), bool)):
            raise AuthenticationRefused
        signature = hmac_of(self._hash, credential.server_key, signed)
        if (yield from ask_client(f"v={base64(signature)}".encode())) != b"":
            raise MechanismError("the response to the signature is not empty")
        return Identity(username, acting)

    def _agreed(self, header: Gs2Header) -> Generator[ServerStep, ServerAnswer, bytes]:
        """The octets of the channel binding that is to be used, which may be none.  RFC 5802 section 6."""
        if self._plus != (header.flag == "p"):
            raise MechanismError(f"the message is not one of {self._name}: its name says whether the channel is bound")
        if header.flag == "y" and self._offers_plus:
            raise (yield from refusing("server-does-support-channel-binding"))
        if not self._plus:
            return b""
        binding = self._bindings.get(header.binding)
        if binding is None:
            raise (yield from refusing("unsupported-channel-binding-type"))
        return binding

    def _found(self, username: str) -> Generator[ServerStep, ServerAnswer, ScramCredential | str | None]:
        """What the program keeps of the user; a password as it is hashed."""
        answer = yield FindCredential(username, self._hash)
        if answer is None or answer is False:
            return None
        if isinstance(answer, str):
            self._kinds.add(str)
            return usable_password(answer)
        if not isinstance(answer, ScramCredential):
            raise LocalProtocolError(
                f"FindCredential was answered with {type(answer).__name__}: it must be ScramCredential, str or None"
            )
        if answer.hash != self._hash:
            raise LocalProtocolError(f"the credential found is for {answer.hash}, and {self._hash} was asked for")
        return answer

    def _salt(self, username: str) -> bytes:
        """That of a user of whom no credential is kept, and of one who is unknown."""
        return hmac_of("SHA-512", self._secret, f"{self._hash} {username}".encode())[: self._salt_length]

    def _kept(self, found: ScramCredential | str | None, salt: bytes) -> ScramCredential:
        """What the proof is held against.

        What it costs to make it of a password falls due only here, so that it takes a whole attempt to measure it.
        """
        if isinstance(found, ScramCredential):
            return found
        if found is None and str not in self._kinds:
            no_key = bytes(DIGEST_SIZES[self._hash])
            return ScramCredential(self._hash, salt, self._iterations, no_key, no_key)
        return derived(found or "nobody", self._hash, salt, self._iterations)

    def _check_final(self, final: str, binding: bytes, nonce: str) -> Generator[ServerStep, ServerAnswer, None]:
        given, echoed = attributes(final, "c", "r")
        if not same(echoed.encode(), nonce.encode()):
            raise MechanismError("the nonce is not the one that was sent")
        if not same(octets_of(given, "the channel binding"), binding):
            raise (yield from refusing("channel-bindings-dont-match"))


_Mechanism = TypeVar("_Mechanism", bound=ScramClient | ScramServer)


class _ServerError(Exception):
    """The server has sent ``e=`` where something else was due."""

    def __init__(self, word: str) -> None:
        self.word = word


@cache
def _secret_of_the_process() -> bytes:
    """One for all mechanisms: a name that has another salt with -PLUS than without it, or tomorrow, is unknown."""
    import secrets

    return secrets.token_bytes(32)


def _copied(mechanism: _Mechanism) -> _Mechanism:
    copy = object.__new__(type(mechanism))
    for name in mechanism.__slots__:
        setattr(copy, name, getattr(mechanism, name))
    return copy
