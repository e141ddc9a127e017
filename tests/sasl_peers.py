"""What the tests of the mechanisms share: the smallest driver, with both sides in one place."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeAlias

from hypothesis import strategies as st

from smtpproto.errors import SmtpError
from smtpproto.sasl import (
    Challenge,
    ClientExchange,
    ClientMechanism,
    Identity,
    Prohibited,
    SaslError,
    ServerAnswer,
    ServerMechanism,
    saslprep,
)

Program: TypeAlias = Callable[[Any], ServerAnswer]
"""What a server's program answers to a question."""

maybe_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
some_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
challenges = st.builds(Challenge, st.none() | st.binary(), st.text())


def around(secret: str) -> st.SearchStrategy[bytes]:
    """Octets with a secret somewhere in them."""
    return st.tuples(st.binary(), st.binary()).map(secret.encode().join)


def base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def converse(client: ClientMechanism, server: ServerMechanism, program: Program, *, initial: bool = True) -> Identity:
    """``initial=False`` holds the initial response back."""
    ours = client.exchange()
    held = next(ours)
    theirs = server.exchange(held if initial else None)
    if initial:
        held = None
    try:
        step = next(theirs)
        while True:
            answer: ServerAnswer
            if not isinstance(step, Challenge):
                answer = program(step)
            elif held is not None:
                answer, held = held, None
            else:
                response = ours.send(step)
                assert response is not None
                answer = response
            step = theirs.send(answer)
    except StopIteration as done:
        assert held is None
        assert is_satisfied(ours)
        identity = done.value
        assert isinstance(identity, Identity)
        return identity


def is_satisfied(exchange: ClientExchange) -> bool:
    try:
        exchange.send(None)
    except StopIteration:
        return True
    return False


def is_at_its_end(exchange: ClientExchange, challenge: Challenge) -> bool:
    """The challenge was unexpected."""
    try:
        exchange.send(challenge)
    except StopIteration:
        return True
    return False


def served(
    server: ServerMechanism, initial: bytes | None, responses: Iterable[bytes], program: Program
) -> Identity | SaslError:
    """What becomes of a client that says these things."""
    exchange = server.exchange(initial)
    said = iter(responses)
    try:
        step = next(exchange)
        while True:
            step = exchange.send(next(said) if isinstance(step, Challenge) else program(step))
    except StopIteration as done:
        identity = done.value
        assert isinstance(identity, Identity)
        return identity
    except SaslError as error:
        return well_said(error)


def well_said(error: SaslError) -> SaslError:
    """A server may send its text."""
    assert str(error).isascii()
    assert str(error).isprintable()
    return error


def assert_silent(error: BaseException | None, *secrets: str) -> None:
    """Neither an exception nor what it came of shows a secret."""
    while error is not None:
        for secret in secrets:
            for form in (secret, repr(secret.encode())[2:-1], base64(secret.encode())):
                assert form not in f"{error!r} {error} {vars(error)}"
        # A UnicodeError would show nothing here and still hold the secret.
        assert isinstance(error, SmtpError) or not isinstance(error, UnicodeError)
        error = error.__cause__ or error.__context__


class Answering:
    """A program that gives one answer to everything, and remembers what it was asked."""

    def __init__(self, answer: ServerAnswer) -> None:
        self.answer = answer
        self.asked: list[object] = []

    def __call__(self, question: object) -> ServerAnswer:
        self.asked.append(question)
        return self.answer


def answered(exchange: ClientExchange, said: Iterable[Challenge | None]) -> list[bytes]:
    """What a client responds to a server that says these things, and then the same for ever, until it ends by itself.

    ``None`` is a success.  Nothing but a `SaslError` comes out of it.
    """
    responses: list[bytes] = []
    try:
        next(exchange)
        for step in [*said, *[Challenge(b"")] * 20]:
            response = exchange.send(step)
            assert response is not None
            responses.append(response)
    except StopIteration:
        return responses
    except SaslError as error:
        well_said(error)
        return responses
    raise AssertionError("a client that never ends")


def assert_unshown(thing: object, *secrets: str) -> None:
    """Neither a value nor what holds it shows a secret."""
    for shown in (repr(thing), str(thing), f"{thing}", repr([thing]), repr(getattr(thing, "__dict__", None))):
        for secret in secrets:
            for form in (secret, repr(secret.encode())[2:-1], base64(secret.encode())):
                assert form not in shown


def _can_be_prepared(text: str) -> bool:
    try:
        return saslprep(text, stored=True) != ""
    except Prohibited:
        return False


_ALLOWED = [char for char in map(chr, [*range(0x20, 0x3100), *range(0xFB00, 0xFE00)]) if _can_be_prepared(f"a{char}a")]
_FROM_THE_RIGHT = [char for char in map(chr, [*range(0x5D0, 0x700), *range(0xFB1D, 0xFE00)]) if _can_be_prepared(char)]

preparable = st.text(_ALLOWED, min_size=1).filter(_can_be_prepared) | st.text(_FROM_THE_RIGHT, min_size=1).filter(
    _can_be_prepared
)
"""Names and passwords that SASLprep allows."""


class Scram:
    """Who knows the password, as RFC 5802 section 3 writes it down, formula by formula."""

    def __init__(
        self, hash_name: str, password: str, salt: bytes = b"sixteen octets..", iterations: int = 4096
    ) -> None:
        self.hash_name = hash_name
        self.salt = salt
        self.iterations = iterations
        salted_password = _hi(hash_name, password.encode(), salt, iterations)
        self.client_key = self._hmac(salted_password, b"Client Key")
        self.stored_key = hashlib.new(hash_name_of_hashlib(hash_name), self.client_key).digest()
        self.server_key = self._hmac(salted_password, b"Server Key")

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, hash_name_of_hashlib(self.hash_name)).digest()

    def terms(self, nonce: str) -> str:
        """The server's first message."""
        return f"r={nonce},s={base64(self.salt)},i={self.iterations}"

    def final(self, first: str, terms: str, without_proof: str) -> str:
        """The client's final message; ``first`` is its first without the header."""
        auth_message = f"{first},{terms},{without_proof}"
        signature = int.from_bytes(self._hmac(self.stored_key, auth_message.encode()), "big")
        proof = int.from_bytes(self.client_key, "big") ^ signature
        return f"{without_proof},p={base64(proof.to_bytes(len(self.client_key), 'big'))}"

    def verdict(self, first: str, terms: str, final: str) -> str:
        """The server's final message."""
        without_proof = final[: final.index(",p=")]
        auth_message = f"{first},{terms},{without_proof}"
        return "v=" + base64(self._hmac(self.server_key, auth_message.encode()))


@cache
def _hi(hash_name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
    step = hmac.digest(password, salt + b"\0\0\0\1", hash_name_of_hashlib(hash_name))
    total = int.from_bytes(step, "big")
    for _ in range(iterations - 1):
        step = hmac.digest(password, step, hash_name_of_hashlib(hash_name))
        total ^= int.from_bytes(step, "big")
    return total.to_bytes(len(step), "big")


def hash_name_of_hashlib(hash_name: str) -> str:
    return hash_name.replace("-", "").lower()


def conversation(
    server: ServerMechanism, program: Program, *responses: Callable[[str], str | bytes]
) -> tuple[Identity | SaslError, list[str]]:
    """What becomes of a client that says these things, each made of the challenge before it; and all challenges."""
    exchange = server.exchange(None)
    heard: list[str] = []
    makers = iter(responses)
    try:
        step = next(exchange)
        while True:
            if isinstance(step, Challenge):
                heard.append((step.data or b"").decode())
                said = next(makers)(heard[-1])
                step = exchange.send(said.encode() if isinstance(said, str) else said)
            else:
                step = exchange.send(program(step))
    except StopIteration as done:
        identity = done.value
        assert isinstance(identity, Identity)
        return identity, heard
    except SaslError as error:
        return error, heard
