"""ANONYMOUS: against its other side, the example of its RFC, and peers that say anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError
from smtpproto.sasl import (
    AnonymousClient,
    AnonymousServer,
    AuthenticationRefused,
    Challenge,
    Credentials,
    Identity,
    MechanismError,
    SaslError,
    VerifyAnonymous,
)
from smtpproto.sasl.anonymous import ANONYMOUS, TRACE_LENGTH
from tests.sasl_peers import (
    Answering,
    answered,
    assert_silent,
    base64,
    challenges,
    converse,
    is_at_its_end,
    is_satisfied,
    served,
)

SECRET = "tanstaaftanstaaf"
NOBODY = Identity("anonymous")

# Letters of one direction, and what belongs to none; no controls, no private use, no surrogates.
tokens = st.text(
    st.characters(codec="utf-8", categories=["Lu", "Ll", "Nd", "Zs"], max_codepoint=0x24F), max_size=TRACE_LENGTH
)
traces = tokens | st.sampled_from(["", "sirhc", "fred@example.com", "מרי", "用户", "\N{GRINNING FACE}"])

WRONG = [
    ("a\0b", "NUL"),
    ("a\nb", "control character"),
    ("\x7f", "control character"),
    ("\x85", "control character"),
    ("a\u200eb", "control character"),
    ("\ue000", "control character"),
    ("\ufdd0", "control character"),
    ("\ufffd", "control character"),
    ("\U000e0001", "control character"),
    ("aמ", "mixes"),
    ("1מ", "begins or ends"),
    ("x" * 256, "255 characters"),
    ("fred@", "no mail address"),
    ("@", "no mail address"),
    ("fred@example.com ", "no mail address"),
    ("fred@@example.com", "no mail address"),
]


@pytest.mark.rfc("4505", "2")
@given(trace=traces, initial=st.booleans())
def test_a_trace_is_carried_and_everyone_is_nobody(trace: str, initial: bool) -> None:
    program = Answering(True)
    assert converse(AnonymousClient(trace), AnonymousServer(), program, initial=initial) == NOBODY
    assert program.asked == [VerifyAnonymous(trace)]


@pytest.mark.rfc("4505", "4")
def test_example() -> None:
    exchange = AnonymousClient("sirhc").exchange()
    message = next(exchange) or b""
    assert base64(message) == "c2lyaGM="
    assert is_satisfied(exchange)
    theirs = AnonymousServer().exchange()
    assert next(theirs) == Challenge(b"")
    assert theirs.send(message) == VerifyAnonymous("sirhc")
    assert served(AnonymousServer(), message, (), Answering(True)) == NOBODY


@pytest.mark.rfc("4505", "2")
@pytest.mark.parametrize("character", ["x", "é", "用", "\N{GRINNING FACE}"])
def test_a_trace_has_255_characters_at_most_of_any_length(character: str) -> None:
    trace = character * TRACE_LENGTH
    assert converse(AnonymousClient(trace), AnonymousServer(), Answering(True)) == NOBODY
    with pytest.raises(LocalProtocolError, match="255 characters"):
        AnonymousClient(trace + character)


@pytest.mark.rfc("4505", "3")
@pytest.mark.parametrize(("trace", "why"), WRONG)
def test_what_is_no_trace_is_refused_on_both_sides(trace: str, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        AnonymousClient(trace)
    for initial in (True, False):
        program = Answering(True)
        message = trace.encode()
        outcome = served(AnonymousServer(), message if initial else None, [message], program)
        assert isinstance(outcome, MechanismError)
        assert (outcome.code, outcome.status) == (501, "5.5.2")
        assert why in str(outcome)
        assert program.asked == []


def test_a_trace_is_text() -> None:
    wrong: Any = b"sirhc"
    for trace in (wrong, "\ud800"):
        with pytest.raises(LocalProtocolError, match="the trace"):
            AnonymousClient(trace)
    assert isinstance(served(AnonymousServer(), b"\xff", (), Answering(True)), MechanismError)


def test_it_knows_no_secret_and_exposes_none() -> None:
    assert AnonymousClient.name == AnonymousServer.name == ANONYMOUS.upper() == "ANONYMOUS"
    assert not AnonymousClient("sirhc").has_secret
    assert not AnonymousClient("sirhc").exposes_secret
    assert not AnonymousServer().exposes_secret


@pytest.mark.parametrize(
    ("credentials", "client"),
    [
        (Credentials(), AnonymousClient()),
        (Credentials("sirhc"), AnonymousClient("sirhc")),
        (Credentials("fred@example.com"), AnonymousClient("fred@example.com")),
        (Credentials("fred@"), None),
        (Credentials("tim", SECRET), None),
        (Credentials("tim", token="t"), None),
        (Credentials(authorization_id="fred"), None),
    ],
)
def test_it_suits_whoever_has_no_secret(credentials: Credentials, client: AnonymousClient | None) -> None:
    assert AnonymousClient.suiting(credentials) == client


def test_client_gives_its_message_twice_and_not_a_third_time() -> None:
    exchange = AnonymousClient("sirhc").exchange()
    assert next(exchange) == exchange.send(Challenge(None, "Go on")) == b"sirhc"
    assert is_at_its_end(exchange, Challenge(None, "Go on"))
    exchange = AnonymousClient().exchange()
    next(exchange)
    assert is_at_its_end(exchange, Challenge(b""))


@pytest.mark.rfc("4505", "2")
def test_client_says_nothing_unless_it_has_a_trace() -> None:
    assert next(AnonymousClient().exchange()) == b""


@given(said=st.lists(st.none() | challenges, max_size=4))
def test_whatever_a_server_says_the_client_ends_by_itself(said: list[Challenge | None]) -> None:
    assert answered(AnonymousClient("sirhc").exchange(), said) in ([], [b"sirhc"])


@pytest.mark.parametrize("answer", [None, False])
def test_who_is_not_let_in_is_refused(answer: Any) -> None:
    with pytest.raises(AuthenticationRefused) as refusal:
        converse(AnonymousClient(), AnonymousServer(), Answering(answer))
    assert (refusal.value.code, refusal.value.status) == (535, "5.7.8")


@pytest.mark.parametrize("answer", ["yes", 1, b"yes"])
def test_only_true_is_a_yes(answer: Any) -> None:
    with pytest.raises(LocalProtocolError, match="VerifyAnonymous was answered with"):
        converse(AnonymousClient(), AnonymousServer(), Answering(answer))


@given(
    initial=st.none() | st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    response=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    secret=st.booleans(),
    answer=st.booleans(),
)
def test_whatever_a_client_says_the_server_only_refuses(
    initial: bytes | None, response: bytes, secret: bool, answer: bool
) -> None:
    said = response + SECRET.encode() if secret else response
    program = Answering(answer)
    outcome = served(AnonymousServer(), initial, [said], program)
    if isinstance(outcome, SaslError):
        assert outcome.code == (535 if program.asked else 501)
        assert_silent(outcome, SECRET)
    else:
        assert answer
        assert outcome == NOBODY
