"""EXTERNAL: against its other side, the examples of its RFC, and peers that say anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError
from smtpproto.sasl import (
    AuthenticationRefused,
    Challenge,
    Credentials,
    ExternalClient,
    ExternalServer,
    Identity,
    MechanismError,
    SaslError,
    VerifyExternal,
)
from tests.sasl_peers import (
    Answering,
    answered,
    assert_silent,
    challenges,
    converse,
    is_at_its_end,
    is_satisfied,
    maybe_text,
    served,
    some_text,
)

SECRET = "tanstaaftanstaaf"


@pytest.mark.rfc("4422", "A.1")
@given(authorization_id=maybe_text, username=some_text, initial=st.booleans())
def test_any_identity_is_carried_and_the_program_says_who_it_is(
    authorization_id: str, username: str, initial: bool
) -> None:
    program = Answering(username)
    client = ExternalClient(authorization_id)
    assert converse(client, ExternalServer(), program, initial=initial) == Identity(username, authorization_id)
    assert program.asked == [VerifyExternal(authorization_id)]


@pytest.mark.rfc("4422", "A.2")
@pytest.mark.parametrize("authorization_id", ["", "fred@example.com"])
def test_examples(authorization_id: str) -> None:
    message = authorization_id.encode()
    exchange = ExternalClient(authorization_id).exchange()
    assert next(exchange) == message
    assert is_satisfied(exchange)
    assert served(ExternalServer(), message, (), Answering("fred")) == Identity("fred", authorization_id)
    # Without an initial response the server asks for it by an empty challenge.
    theirs = ExternalServer().exchange()
    assert next(theirs) == Challenge(b"")
    assert theirs.send(message) == VerifyExternal(authorization_id)


def test_it_knows_no_secret_and_exposes_none() -> None:
    assert ExternalClient.name == ExternalServer.name == "EXTERNAL"
    assert not ExternalClient("fred").has_secret
    assert not ExternalClient("fred").exposes_secret
    assert not ExternalServer().exposes_secret


@pytest.mark.parametrize(
    ("credentials", "client"),
    [
        (Credentials(), ExternalClient()),
        (Credentials(authorization_id="fred"), ExternalClient("fred")),
        (Credentials("tim"), ExternalClient("tim")),
        (Credentials("tim", authorization_id="fred"), ExternalClient("fred")),
        (Credentials("tim", SECRET), None),
        (Credentials("tim", SECRET, authorization_id="fred"), None),
        (Credentials(token="t"), None),
    ],
)
def test_it_suits_whoever_has_no_secret_to_show(credentials: Credentials, client: ExternalClient | None) -> None:
    assert ExternalClient.suiting(credentials) == client


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800"])
def test_identities_that_cannot_be_sent_are_refused(wrong: str) -> None:
    with pytest.raises(LocalProtocolError, match="authorization identity holds NUL or a lone surrogate"):
        ExternalClient(wrong)


def test_client_gives_its_message_twice_and_not_a_third_time() -> None:
    exchange = ExternalClient("fred").exchange()
    assert next(exchange) == exchange.send(Challenge(None, "EXTERNAL supported")) == b"fred"
    assert is_at_its_end(exchange, Challenge(None, "EXTERNAL supported"))
    exchange = ExternalClient().exchange()
    next(exchange)
    assert is_at_its_end(exchange, Challenge(b""))


@pytest.mark.rfc("4422", "A.1")
def test_client_acts_as_itself_unless_told() -> None:
    assert next(ExternalClient().exchange()) == b""


@given(said=st.lists(st.none() | challenges, max_size=4))
def test_whatever_a_server_says_the_client_ends_by_itself(said: list[Challenge | None]) -> None:
    assert answered(ExternalClient("fred").exchange(), said) in ([], [b"fred"])


@pytest.mark.parametrize("answer", [None, False, ""])
def test_what_the_program_refuses_is_refused(answer: Any) -> None:
    with pytest.raises(AuthenticationRefused) as refusal:
        converse(ExternalClient(), ExternalServer(), Answering(answer))
    assert (refusal.value.code, refusal.value.status) == (535, "5.7.8")


@pytest.mark.parametrize("answer", [True, b"fred", 1])
def test_the_answer_is_the_name_of_the_user(answer: Any) -> None:
    with pytest.raises(LocalProtocolError, match="VerifyExternal was answered with"):
        converse(ExternalClient(), ExternalServer(), Answering(answer))


@pytest.mark.rfc("4422", "A.1")
@pytest.mark.parametrize("message", [b"\0", b"fred\0", b"\xff", b"\xed\xa0\x80", b"\xc0\x80"])
@pytest.mark.parametrize("initial", [True, False])
def test_server_refuses_what_is_no_text(message: bytes, initial: bool) -> None:
    program = Answering("fred")
    outcome = served(ExternalServer(), message if initial else None, [message], program)
    assert isinstance(outcome, MechanismError)
    assert (outcome.code, outcome.status) == (501, "5.5.2")
    assert program.asked == []


@given(
    initial=st.none() | st.binary(),
    response=st.binary(),
    secret=st.booleans(),
    answer=st.sampled_from(["fred", None, False]),
)
def test_whatever_a_client_says_the_server_only_refuses(
    initial: bytes | None, response: bytes, secret: bool, answer: Any
) -> None:
    said = response + SECRET.encode() if secret else response
    outcome = served(ExternalServer(), initial, [said], Answering(answer))
    if isinstance(outcome, SaslError):
        assert outcome.code in (501, 535)
        assert_silent(outcome, SECRET)
    else:
        assert outcome.username == answer
