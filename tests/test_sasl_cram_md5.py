"""CRAM-MD5: against its other side, the example of its RFC, and peers that say anything."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError
from smtpproto.sasl import (
    AuthenticationRefused,
    Challenge,
    CramMd5Client,
    CramMd5Server,
    Credentials,
    FindPassword,
    Identity,
    MechanismError,
    SaslError,
    ServerNotAuthentic,
    cram_md5,
)
from tests.sasl_peers import (
    Answering,
    answered,
    assert_silent,
    assert_unshown,
    challenges,
    converse,
    is_at_its_end,
    is_satisfied,
    served,
    some_text,
)

SECRET = "tanstaaftanstaaf"
CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
RESPONSE = b"tim b913a602c7eda7a495b4e6e7334d3890"

Fix = Callable[[bytes], None]


@pytest.fixture
def fix_challenge(monkeypatch: pytest.MonkeyPatch) -> Fix:
    def fix(challenge: bytes) -> None:
        def fixed(host_name: str) -> bytes:
            return challenge

        monkeypatch.setattr(cram_md5, "new_challenge", fixed)

    return fix


# --- both sides against each other -----------------------------------------------------------------------------------


@pytest.mark.rfc("2195", "2")
@given(username=some_text, password=some_text)
def test_any_name_and_password_do(username: str, password: str) -> None:
    program = Answering(password)
    assert converse(CramMd5Client(username, password), CramMd5Server(), program) == Identity(username)
    assert program.asked == [FindPassword(username)]


@given(password=some_text, other=some_text)
def test_another_password_does_not(password: str, other: str) -> None:
    client = CramMd5Client("tim", password)
    # What is longer than a block is a key by its hash, and what is shorter is filled up with NUL, which neither holds.
    if password == other:
        assert converse(client, CramMd5Server(), Answering(other)) == Identity("tim")
    else:
        with pytest.raises(AuthenticationRefused):
            converse(client, CramMd5Server(), Answering(other))


@pytest.mark.parametrize("username", ["tim", "Tim Tanstaaf", " tim ", "  ", "tim b913a602c7eda7a495b4e6e7334d3890"])
def test_the_server_splits_at_the_last_space(username: str) -> None:
    assert converse(CramMd5Client(username, SECRET), CramMd5Server(), Answering(SECRET)) == Identity(username)


@pytest.mark.rfc("2195", "2")
@pytest.mark.parametrize("length", [63, 64, 65, 1000, 100_000])
def test_keys_may_be_longer_than_a_block(length: int) -> None:
    client = CramMd5Client("tim", "p" * length)
    assert converse(client, CramMd5Server(), Answering("p" * length)) == Identity("tim")
    with pytest.raises(AuthenticationRefused):
        converse(client, CramMd5Server(), Answering("p" * (length + 1)))


def test_names_are_those_of_the_mechanism() -> None:
    client, server = CramMd5Client("tim", SECRET), CramMd5Server()
    assert client.name == server.name == "CRAM-MD5"
    assert not client.exposes_secret
    assert not server.exposes_secret
    # It depends on the secret, so it is not for a connection from which TLS was taken away.
    assert getattr(client, "has_secret", True)


@pytest.mark.parametrize(
    ("credentials", "client"),
    [
        (Credentials("tim", SECRET), CramMd5Client("tim", SECRET)),
        (Credentials("tim", SECRET, authorization_id="kurt"), None),
        (Credentials("tim", token="t"), None),
        (Credentials(), None),
    ],
)
def test_it_suits_whoever_has_a_password_and_acts_as_themselves(
    credentials: Credentials, client: CramMd5Client | None
) -> None:
    assert CramMd5Client.suiting(credentials) == client


# --- the client ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2195", "2")
def test_client_example() -> None:
    exchange = CramMd5Client("tim", SECRET).exchange()
    assert next(exchange) is None
    assert exchange.send(Challenge(CHALLENGE)) == RESPONSE
    assert is_satisfied(exchange)


@given(st.binary(min_size=1))
def test_client_signs_any_challenge(challenge: bytes) -> None:
    exchange = CramMd5Client("tim", "pass-Wörd 1").exchange()
    next(exchange)
    expected = hmac.new("pass-Wörd 1".encode(), challenge, "md5").hexdigest()
    assert exchange.send(Challenge(challenge)) == b"tim " + expected.encode()


@pytest.mark.parametrize("challenge", [Challenge(b""), Challenge(None, "<12@mx.example>"), Challenge(None, "\udcff")])
def test_client_signs_no_challenge_that_is_empty_or_no_base64(challenge: Challenge) -> None:
    exchange = CramMd5Client("tim", SECRET).exchange()
    next(exchange)
    with pytest.raises(MechanismError, match="empty or no base64") as error:
        exchange.send(challenge)
    assert not isinstance(error.value, ServerNotAuthentic)
    assert_silent(error.value, SECRET)


def test_client_expects_one_challenge_only() -> None:
    exchange = CramMd5Client("tim", SECRET).exchange()
    next(exchange)
    exchange.send(Challenge(CHALLENGE))
    assert is_at_its_end(exchange, Challenge(CHALLENGE))


def test_client_refuses_success_that_comes_too_early() -> None:
    exchange = CramMd5Client("tim", SECRET).exchange()
    next(exchange)
    with pytest.raises(ServerNotAuthentic, match="CRAM-MD5 exchange"):
        exchange.send(None)


@given(st.lists(st.none() | challenges, max_size=4))
def test_whatever_a_server_says_the_client_ends_by_itself(said: list[Challenge | None]) -> None:
    responses = answered(CramMd5Client("tim", SECRET).exchange(), said)
    assert len(responses) <= 1
    assert all(re.fullmatch(rb"tim [0-9a-f]{32}", response) for response in responses)


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2195", "2")
def test_server_example(fix_challenge: Fix) -> None:
    fix_challenge(CHALLENGE)
    exchange = CramMd5Server().exchange()
    challenge = next(exchange)
    assert isinstance(challenge, Challenge)
    assert challenge.text == "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    assert exchange.send(RESPONSE) == FindPassword("tim")
    with pytest.raises(StopIteration) as done:
        exchange.send(SECRET)
    assert done.value.value == Identity("tim")


@pytest.mark.rfc("2195", "2")
@pytest.mark.parametrize("host_name", ["localhost", "mx.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
def test_challenges_have_the_form_of_a_message_id_and_are_never_the_same(host_name: str) -> None:
    server = CramMd5Server(host_name)
    seen: set[bytes] = set()
    for _ in range(100):
        challenge = next(server.exchange())
        assert isinstance(challenge, Challenge)
        assert challenge.data is not None
        assert re.fullmatch(rb"<[0-9a-f]{32}@" + re.escape(host_name.encode()) + rb">", challenge.data)
        seen.add(challenge.data)
    assert len(seen) == 100


def test_a_server_without_a_name_is_localhost() -> None:
    challenge = next(CramMd5Server().exchange())
    assert isinstance(challenge, Challenge)
    assert (challenge.data or b"").endswith(b"@localhost>")


@pytest.mark.parametrize("host_name", ["", "a b", "mx.example>", "<mx", "a@b", "mx.example\r\n", "müller.example"])
def test_server_refuses_host_names_that_cannot_stand_in_a_challenge(host_name: str) -> None:
    with pytest.raises(LocalProtocolError, match="cannot stand in a challenge"):
        CramMd5Server(host_name)


def test_server_refuses_host_names_that_are_no_text() -> None:
    wrong: Any = b"mx.example"
    for name in (wrong, "mx\0", "\ud800"):
        with pytest.raises(LocalProtocolError, match="the host name"):
            CramMd5Server(name)


def test_exchanges_of_one_server_do_not_mix() -> None:
    server, client = CramMd5Server(), CramMd5Client("tim", SECRET)
    first, second = server.exchange(), server.exchange()
    challenge, other = next(first), next(second)
    assert isinstance(challenge, Challenge)
    assert isinstance(other, Challenge)
    ours = client.exchange()
    next(ours)
    response = ours.send(challenge)
    # What answers one challenge is worth nothing for another.
    second.send(response)
    with pytest.raises(AuthenticationRefused):
        second.send(SECRET)
    first.send(response)
    with pytest.raises(StopIteration):
        first.send(SECRET)


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("initial", [b"", b"tim", RESPONSE])
def test_server_takes_no_initial_response(initial: bytes) -> None:
    with pytest.raises(MechanismError, match="begins with a challenge") as error:
        next(CramMd5Server().exchange(initial))
    assert (error.value.code, error.value.status) == (501, "5.7.0")


@pytest.mark.rfc("2195", "2")
@pytest.mark.parametrize(
    ("response", "why"),
    [
        (b"", "32 hexadecimal digits"),
        (b"tim", "32 hexadecimal digits"),
        (b"tim ", "32 hexadecimal digits"),
        (b"b913a602c7eda7a495b4e6e7334d3890", "32 hexadecimal digits"),
        (b"tim b913a602c7eda7a495b4e6e7334d389", "32 hexadecimal digits"),
        (b"tim b913a602c7eda7a495b4e6e7334d38900", "32 hexadecimal digits"),
        (b"tim B913A602C7EDA7A495B4E6E7334D3890", "32 hexadecimal digits"),
        (b"tim b913a602c7eda7a495b4e6e7334d3890 ", "32 hexadecimal digits"),
        (b"tim b913a602c7eda7a495b4e6e7334d3890\n", "32 hexadecimal digits"),
        (b"tim\tb913a602c7eda7a495b4e6e7334d3890", "32 hexadecimal digits"),
        (b" b913a602c7eda7a495b4e6e7334d3890", "the username is empty"),
        (b"t\0m b913a602c7eda7a495b4e6e7334d3890", "the username holds NUL"),
        (b"\xff b913a602c7eda7a495b4e6e7334d3890", "not UTF-8"),
    ],
)
def test_server_refuses_what_is_no_response(response: bytes, why: str) -> None:
    program = Answering(SECRET)
    outcome = served(CramMd5Server(), None, [response], program)
    assert isinstance(outcome, MechanismError)
    assert (outcome.code, outcome.status) == (501, "5.5.2")
    assert why in str(outcome)
    assert program.asked == []


@pytest.mark.parametrize("answer", [None, False, ""])
def test_a_user_that_there_is_not_takes_the_way_of_a_wrong_password(
    answer: Any, monkeypatch: pytest.MonkeyPatch, fix_challenge: Fix
) -> None:
    fix_challenge(CHALLENGE)
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def remember(ours: bytes, theirs: bytes) -> bool:
        compared.append(ours)
        return compare(ours, theirs)

    monkeypatch.setattr(hmac, "compare_digest", remember)
    # Not even the digest of the empty password lets such a user in.
    empty = b"tim " + hmac.new(b"", CHALLENGE, "md5").hexdigest().encode()
    refusals = [
        served(CramMd5Server(), None, [response], Answering(password))
        for response, password in ((RESPONSE, answer), (empty, answer), (RESPONSE, "wrong"))
    ]
    assert all(type(refusal) is AuthenticationRefused for refusal in refusals)
    assert len({str(refusal) for refusal in refusals}) == 1
    assert [len(digest) for digest in compared] == [32, 32, 32]


@pytest.mark.parametrize("answer", [None, False, ""])
def test_a_user_that_there_is_not_is_refused_whatever_the_digest(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def equal(ours: bytes, theirs: bytes) -> bool:
        return True

    monkeypatch.setattr(cram_md5, "_is_equal", equal)
    assert isinstance(served(CramMd5Server(), None, [RESPONSE], Answering(answer)), AuthenticationRefused)
    assert served(CramMd5Server(), None, [RESPONSE], Answering(SECRET)) == Identity("tim")


@pytest.mark.parametrize("answer", [True, b"secret", 1, object()])
def test_a_password_is_a_str(answer: Any) -> None:
    with pytest.raises(LocalProtocolError, match="FindPassword was answered with"):
        served(CramMd5Server(), None, [RESPONSE], Answering(answer))


@pytest.mark.parametrize("answer", [SECRET + "\ud800", SECRET + "\0"])
def test_a_password_that_no_client_can_have_is_the_programs_error_and_does_not_show(answer: str) -> None:
    with pytest.raises(LocalProtocolError, match="answer to FindPassword holds NUL or a lone surrogate") as error:
        served(CramMd5Server(), None, [RESPONSE], Answering(answer))
    assert_silent(error.value, SECRET)


near = st.lists(st.sampled_from([b" ", b"tim", b"\0", b"\xff", b"0" * 32, SECRET.encode()]), max_size=6).map(b"".join)


@given(
    initial=st.none() | st.none() | st.binary(),
    response=st.binary() | near,
    answer=st.sampled_from([SECRET, "other", None, False]),
)
def test_whatever_a_client_says_the_server_only_refuses(initial: bytes | None, response: bytes, answer: Any) -> None:
    program = Answering(answer)
    outcome = served(CramMd5Server(), initial, [response], program)
    assert isinstance(outcome, SaslError)
    assert outcome.code == (535 if program.asked else 501)
    assert_silent(outcome, SECRET)


# --- without MD5 -----------------------------------------------------------------------------------------------------


def test_where_there_is_no_md5_it_is_a_mechanism_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> bytes:
        raise ValueError("[digital envelope routines] unsupported")

    monkeypatch.setattr(hmac, "digest", unsupported)
    exchange = CramMd5Client("tim", SECRET).exchange()
    next(exchange)
    with pytest.raises(MechanismError, match="no MD5 on this system") as error:
        exchange.send(Challenge(CHALLENGE))
    assert_silent(error.value, SECRET)
    outcome = served(CramMd5Server(), None, [RESPONSE], Answering(SECRET))
    assert isinstance(outcome, MechanismError)
    assert (outcome.code, outcome.status) == (504, "5.5.4")


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [("", SECRET), ("tim", ""), ("t\0m", SECRET), ("tim", SECRET + "\ud800")])
def test_fields_that_cannot_be_sent_are_refused_and_do_not_show(wrong: tuple[str, str]) -> None:
    with pytest.raises(LocalProtocolError) as error:
        CramMd5Client(*wrong)
    assert_silent(error.value, SECRET)


def test_no_secret_shows() -> None:
    client = CramMd5Client("tim", SECRET)
    assert repr(client) == "CramMd5Client(username='tim', password=<redacted>)"
    exchange = CramMd5Server().exchange()
    next(exchange)
    for thing in (client, client.exchange(), CramMd5Server(), exchange, exchange.send(RESPONSE)):
        assert_unshown(thing, SECRET)
