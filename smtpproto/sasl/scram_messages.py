"""The messages of SCRAM, and what may stand in them.  RFC 5802 sections 5.1 and 7."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import Pattern, base64, strict_base64

from .base import AuthenticationRefused, MechanismError, ServerAnswer, ServerStep, ask_client
from .credential import MIN_ITERATIONS, MOST_ITERATIONS, checked_hash
from .prep import Prohibited, saslprep

PLUS: Final = "-PLUS"
_ITERATIONS: Final = Pattern(r"[1-9][0-9]*")
_DIGITS: Final = len(str(MOST_ITERATIONS))
_NAME: Final = Pattern(r"SCRAM-(.+?)(-PLUS)?")
_ATTRIBUTE: Final = Pattern(r"(?s)([A-Za-z])=(.+)")
_DEFINED: Final = frozenset("anmrcsipve")
"""The attributes of RFC 5802 section 5.1; others are extensions."""
NONCE: Final = Pattern(r"[\x21-\x2b\x2d-\x7e]+")

_REASONS: Final = {
    "server-does-support-channel-binding": "-PLUS is offered here, but the client has not seen it: who is in between?",
    "unsupported-channel-binding-type": "there is no channel binding of that type here",
    "channel-bindings-dont-match": "the channel bindings of both sides differ",
}
"""What a server tells of the channel.  RFC 5802 section 7."""


def new_nonce() -> str:
    """A nonce by chance.  RFC 5802 section 5.1."""
    import secrets

    return base64(secrets.token_bytes(24))


def named(name: str) -> tuple[str, str, bool]:
    """The name, the hash function, and whether it is a -PLUS."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise LocalProtocolError(f"{name!r} is no SCRAM mechanism: SCRAM-SHA-256, SCRAM-SHA-256-PLUS and kin")
    return name, checked_hash(match[1]), match[2] is not None


def prepared_name(what: str, name: str) -> str:
    """A name from `Credentials`, as it is sent.  RFC 5802 section 5.1; raises `LocalProtocolError`."""
    try:
        prepared = saslprep(name, stored=False)
    except Prohibited as error:
        raise LocalProtocolError(f"{what} cannot be used with SCRAM: {error} (RFC 4013)") from None
    if not prepared:
        raise LocalProtocolError(f"{what} cannot be used with SCRAM: nothing of it is left by SASLprep (RFC 4013)")
    return prepared


def received_name(what: str, name: str) -> str:
    """A name of the peer's, as it is compared.  RFC 5802 section 5.1; raises `MechanismError`."""
    try:
        prepared = saslprep(name, stored=False)
    except Prohibited:
        raise MechanismError(f"{what} holds what SASLprep does not allow") from None
    if not prepared:
        raise MechanismError(f"{what} is empty")
    return prepared


def attributes(message: str, *wanted: str) -> tuple[str, ...]:
    """The values of the attributes with which the message must begin, in this order.

    Extensions may follow, which are not known here and are passed over; a mandatory one (``m``) is an error wherever it
    stands.  RFC 5802 section 5.1.
    """
    values: list[str] = []
    for number, part in enumerate(message.split(",")):
        match = _ATTRIBUTE.fullmatch(part)
        if match is None:
            raise MechanismError("a message of SCRAM has a field that is no attribute")
        if match[1] == "m":
            raise MechanismError("the peer wants an extension of SCRAM that is not known here")
        if match[1] != wanted[number] if number < len(wanted) else match[1] in _DEFINED:
            raise MechanismError(f"a message of SCRAM has not the attributes {', '.join(wanted)} in this order")
        values.append(match[2])
    if len(values) < len(wanted):
        raise MechanismError(f"a message of SCRAM has not the attributes {', '.join(wanted)}")
    return tuple(values[: len(wanted)])


def terms_of(message: str, nonce: str, max_iterations: int) -> tuple[str, bytes, int]:
    """Nonce, salt and iterations of a server's first message.  RFC 5802 section 5.1."""
    full_nonce, salt, iterations = attributes(message, "r", "s", "i")
    if not full_nonce.startswith(nonce) or full_nonce == nonce or not NONCE.fullmatch(full_nonce):
        raise MechanismError("the server's nonce is not ours with something behind it")
    if not _ITERATIONS.fullmatch(iterations):
        raise MechanismError("the iteration count is no number")
    # It may have a megabyte of digits.
    if len(iterations) > _DIGITS or int(iterations) > max_iterations:
        raise MechanismError(f"the server wants more iterations than the {max_iterations} that are allowed")
    if int(iterations) < MIN_ITERATIONS:
        raise MechanismError(f"the server wants fewer than {MIN_ITERATIONS} iterations, which protects no password")
    return full_nonce, octets_of(salt, "the salt"), int(iterations)


def proof_of(message: str) -> tuple[str, bytes]:
    """The client's final message without its proof, and the proof."""
    final, attribute, proof = message.rpartition(",p=")
    if not attribute:
        raise MechanismError("the message has no proof at its end")
    return final, octets_of(proof, "the proof")


def octets_of(text: str, what: str) -> bytes:
    """What is not empty, and in base64.  Raises `MechanismError`."""
    octets = strict_base64(text)
    if not octets:
        raise MechanismError(f"{what} is empty or no base64")
    return octets


def refusing(word: str) -> Generator[ServerStep, ServerAnswer, AuthenticationRefused]:
    """Tell the client why, and return what to raise.  Its response says nothing, whatever it is."""
    yield from ask_client(f"e={word}".encode())
    return AuthenticationRefused(_REASONS[word])
