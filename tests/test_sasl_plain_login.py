"""PLAIN and LOGIN: against their other side, the examples, and peers that say anything."""

from __future__ import annotations

from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError, SmtpError
from smtpproto.sasl import (
    AuthenticationRefused,
    Challenge,
    ClientMechanism,
    Credentials,
    Identity,
    LoginClient,
    LoginServer,
    MechanismError,
    PlainClient,
    PlainServer,
    SaslError,
    ServerMechanism,
    ServerNotAuthentic,
    Verify,
)
from tests.sasl_peers import (
    Answering,
    answered,
    around,
    assert_silent,
    assert_unshown,
    base64,
    challenges,
    converse,
    is_at_its_end,
    is_satisfied,
    maybe_text,
    served,
    some_text,
)

PASSWORD = "pass-Wörd 1"
SECRET = "tanstaaftanstaaf"

CLIENTS: list[ClientMechanism] = [PlainClient("tim", PASSWORD), LoginClient("tim", PASSWORD)]
SERVERS: list[ServerMechanism] = [PlainServer(), LoginServer()]


# --- both sides against each other -----------------------------------------------------------------------------------


@pytest.mark.rfc("4616", "2")
@given(username=some_text, password=some_text, authorization_id=maybe_text, initial=st.booleans())
def test_plain_carries_any_text_from_client_to_server(
    username: str, password: str, authorization_id: str, initial: bool
) -> None:
    program = Answering(True)
    client = PlainClient(username, password, authorization_id)
    assert converse(client, PlainServer(), program, initial=initial) == Identity(username, authorization_id)
    assert program.asked == [Verify(username, password, authorization_id)]


@given(username=some_text, password=some_text)
def test_login_carries_any_text_from_client_to_server(username: str, password: str) -> None:
    program = Answering(True)
    assert converse(LoginClient(username, password), LoginServer(), program) == Identity(username)
    assert program.asked == [Verify(username, password)]


@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize(("client", "server"), list(zip(CLIENTS, SERVERS, strict=True)))
def test_what_the_program_refuses_is_refused(client: ClientMechanism, server: ServerMechanism) -> None:
    with pytest.raises(AuthenticationRefused) as refusal:
        converse(client, server, Answering(False))
    assert (refusal.value.code, refusal.value.status) == (535, "5.7.8")
    # The same objects serve the next attempt.
    assert converse(client, server, Answering(True)) == Identity("tim")


@pytest.mark.parametrize(("client", "server"), list(zip(CLIENTS, SERVERS, strict=True)))
def test_both_have_a_secret_and_expose_it(client: ClientMechanism, server: ServerMechanism) -> None:
    assert client.name == server.name
    assert client.exposes_secret
    assert server.exposes_secret
    assert getattr(client, "has_secret", True)


# --- PLAIN -----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4616", "4")
@pytest.mark.parametrize(
    ("client", "message", "identity"),
    [
        (PlainClient("tim", SECRET), b"\0tim\0tanstaaftanstaaf", Identity("tim")),
        (PlainClient("Kurt", "xipj3plmq", "Ursel"), b"Ursel\0Kurt\0xipj3plmq", Identity("Kurt", "Ursel")),
    ],
)
def test_plain_examples(client: PlainClient, message: bytes, identity: Identity) -> None:
    exchange = client.exchange()
    assert next(exchange) == message
    assert is_satisfied(exchange)
    theirs = PlainServer().exchange()
    assert next(theirs) == Challenge(b"")
    assert theirs.send(message) == Verify(client.username, client.password, client.authorization_id)
    assert served(PlainServer(), message, (), Answering(True)) == identity


@pytest.mark.rfc("4954", "4.1")
def test_plain_example_of_smtp() -> None:
    assert base64(next(PlainClient("test", "1234", "test").exchange()) or b"") == "dGVzdAB0ZXN0ADEyMzQ="


@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "three fields"),
        (b"tim", "three fields"),
        (b"\0tim", "three fields"),
        (b"\0tim\0secret\0", "three fields"),
        (b"\0tim\0secret\0more", "three fields"),
        (b"\0tim\0sec\0ret\0more", "three fields"),
        (b"\0tim\0", "the password is empty"),
        (b"\0\0secret", "the username is empty"),
        (b"\0\0", "the username is empty"),
        (b"\xff\0tim\0secret", "the authorization identity holds NUL or is not UTF-8"),
        (b"\0t\xc3\0secret", "the username holds NUL or is not UTF-8"),
        (b"\0tim\0\xed\xa0\x80", "the password holds NUL or is not UTF-8"),
        (b"\0tim\0\xc0\x80", "the password holds NUL or is not UTF-8"),
        (b"\0tim\0\xf4\x90\x80\x80", "the password holds NUL or is not UTF-8"),
    ],
)
@pytest.mark.parametrize("initial", [True, False])
def test_plain_server_refuses_what_is_no_plain_message(message: bytes, why: str, initial: bool) -> None:
    program = Answering(True)
    outcome = served(PlainServer(), message if initial else None, [message], program)
    assert isinstance(outcome, MechanismError)
    assert (outcome.code, outcome.status) == (501, "5.5.2")
    assert why in str(outcome)
    assert program.asked == []


@pytest.mark.rfc("4616", "2")
def test_plain_server_takes_long_fields() -> None:
    """Each of up to 255 octets must do; more does."""
    client = PlainClient("n" * 3000, "p" * 3000, "a" * 3000)
    assert converse(client, PlainServer(), Answering(True)) == Identity("n" * 3000, "a" * 3000)


def test_login_carries_long_fields() -> None:
    program = Answering(True)
    assert converse(LoginClient("n" * 3000, "p" * 3000), LoginServer(), program) == Identity("n" * 3000)
    assert program.asked == [Verify("n" * 3000, "p" * 3000)]


@pytest.mark.rfc("4954", "4")
def test_plain_server_sends_an_empty_challenge_where_there_is_no_initial_response() -> None:
    exchange = PlainServer().exchange()
    assert next(exchange) == Challenge(b"")
    assert exchange.send(b"\0tim\0secret") == Verify("tim", "secret")


@pytest.mark.parametrize("challenge", [Challenge(b"more"), Challenge(None, "Go on"), Challenge(None, "\udcff")])
def test_plain_client_gives_its_message_twice_and_not_a_third_time(challenge: Challenge) -> None:
    exchange = PlainClient("tim", SECRET).exchange()
    assert next(exchange) == exchange.send(challenge) == b"\0tim\0tanstaaftanstaaf"
    assert is_at_its_end(exchange, challenge)
    exchange = PlainClient("tim", SECRET).exchange()
    next(exchange)
    exchange.send(challenge)
    assert is_satisfied(exchange)


def test_plain_client_leaves_an_empty_challenge_to_the_driver() -> None:
    """It has given the message twice then."""
    exchange = PlainClient("tim", SECRET).exchange()
    next(exchange)
    assert is_at_its_end(exchange, Challenge(b""))


@pytest.mark.parametrize(
    ("credentials", "client"),
    [
        (Credentials("tim", PASSWORD), PlainClient("tim", PASSWORD)),
        (Credentials("tim", PASSWORD, authorization_id="kurt"), PlainClient("tim", PASSWORD, "kurt")),
        (Credentials("tim", token="t"), None),
        (Credentials(), None),
    ],
)
def test_plain_suits_whoever_has_a_password(credentials: Credentials, client: PlainClient | None) -> None:
    assert PlainClient.suiting(credentials) == client


# --- LOGIN -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Challenge(b"Username:"), Challenge(b"Password:")),
        (Challenge(b"User Name\0"), Challenge(b"Password\0")),
        (Challenge(b""), Challenge(b"")),
        (Challenge(None, "VXNlcm5hbWU6 junk"), Challenge(None, "UGFzc3dvcmQ6 junk")),
        (Challenge(None, "\udcff?"), Challenge(b"Username:")),
        (Challenge(b"Password:"), Challenge(b"Username:")),
        (Challenge(b"Password:"), Challenge(b"Password:")),
        (Challenge(b"x" * 1_000_000), Challenge(None, "x" * 1_000_000)),
    ],
)
def test_login_client_answers_in_order_whatever_the_prompts_say(first: Challenge, second: Challenge) -> None:
    exchange = LoginClient("tim", PASSWORD).exchange()
    assert next(exchange) is None
    assert exchange.send(first) == b"tim"
    assert exchange.send(second) == b"pass-W\xc3\xb6rd 1"
    assert is_satisfied(exchange)


def test_login_client_does_not_expect_a_third_prompt() -> None:
    exchange = LoginClient("tim", PASSWORD).exchange()
    next(exchange)
    exchange.send(Challenge(b"Username:"))
    exchange.send(Challenge(b"Password:"))
    assert is_at_its_end(exchange, Challenge(b"Password:"))


@pytest.mark.parametrize("prompts", [0, 1])
def test_login_client_refuses_success_that_comes_too_early(prompts: int) -> None:
    exchange = LoginClient("tim", PASSWORD).exchange()
    next(exchange)
    for _ in range(prompts):
        exchange.send(Challenge(b"Username:"))
    with pytest.raises(ServerNotAuthentic, match="LOGIN exchange") as error:
        exchange.send(None)
    assert_silent(error.value, PASSWORD)


def test_login_server_prompts_for_what_it_needs() -> None:
    exchange = LoginServer().exchange()
    assert next(exchange) == Challenge(b"Username:", "VXNlcm5hbWU6")
    assert exchange.send(b"tim") == Challenge(b"Password:", "UGFzc3dvcmQ6")
    assert exchange.send(b"secret") == Verify("tim", "secret")


def test_login_server_takes_the_username_as_an_initial_response() -> None:
    exchange = LoginServer().exchange(b"tim")
    assert next(exchange) == Challenge(b"Password:")
    assert exchange.send(b"secret") == Verify("tim", "secret")


@pytest.mark.parametrize("wrong", [b"", b"a\0b", b"\xff", b"\xed\xa0\x80"])
def test_login_server_refuses_fields_that_are_no_text(wrong: bytes) -> None:
    program = Answering(True)
    for initial, responses in ((wrong, [b"secret"]), (None, [wrong, b"secret"])):
        outcome = served(LoginServer(), initial, responses, program)
        assert isinstance(outcome, MechanismError)
        assert "username" in str(outcome)
    for initial, responses in ((b"tim", [wrong]), (None, [b"tim", wrong])):
        outcome = served(LoginServer(), initial, responses, program)
        assert isinstance(outcome, MechanismError)
        assert "password" in str(outcome)
    assert program.asked == []


@pytest.mark.parametrize(
    ("credentials", "client"),
    [
        (Credentials("tim", PASSWORD), LoginClient("tim", PASSWORD)),
        (Credentials("tim", PASSWORD, authorization_id="kurt"), None),
        (Credentials("tim", token="t"), None),
        (Credentials(), None),
    ],
)
def test_login_suits_whoever_has_a_password_and_acts_as_themselves(
    credentials: Credentials, client: LoginClient | None
) -> None:
    assert LoginClient.suiting(credentials) == client


# --- fields ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize("wrong", ["a\0b", "\ud800", "a\udfff"])
def test_fields_that_cannot_be_sent_are_refused(wrong: str) -> None:
    for make in (
        lambda: PlainClient(wrong, PASSWORD),
        lambda: PlainClient("tim", wrong),
        lambda: PlainClient("tim", PASSWORD, wrong),
        lambda: LoginClient(wrong, PASSWORD),
        lambda: LoginClient("tim", wrong),
    ):
        with pytest.raises(LocalProtocolError, match="NUL or a lone surrogate"):
            make()


@pytest.mark.rfc("4616", "2")
def test_empty_usernames_and_passwords_are_refused() -> None:
    for kind in (PlainClient, LoginClient):
        with pytest.raises(LocalProtocolError, match="password is empty"):
            kind("tim", "")
        with pytest.raises(LocalProtocolError, match="username is empty"):
            kind("", PASSWORD)


# --- peers that say anything -----------------------------------------------------------------------------------------

nearly_plain = st.lists(st.sampled_from([b"\0", b"tim", b"\xff", SECRET.encode()]), max_size=8).map(b"".join)


@given(
    server=st.sampled_from(SERVERS),
    initial=st.none() | st.binary() | around(SECRET) | nearly_plain,
    responses=st.lists(st.binary() | around(SECRET) | nearly_plain, min_size=3),
    answer=st.booleans(),
)
def test_whatever_a_client_says_a_server_only_refuses(
    server: ServerMechanism, initial: bytes | None, responses: list[bytes], answer: bool
) -> None:
    program = Answering(answer)
    outcome = served(server, initial, responses, program)
    if isinstance(outcome, SaslError):
        assert outcome.code == (535 if program.asked else 501)
        assert_silent(outcome, SECRET)
    else:
        assert answer
        assert outcome.username
    assert isinstance(outcome, Identity) is (answer and len(program.asked) == 1)


@given(client=st.sampled_from(CLIENTS), said=st.lists(st.none() | challenges, max_size=6))
def test_whatever_a_server_says_a_client_ends_by_itself(client: ClientMechanism, said: list[Challenge | None]) -> None:
    responses = answered(client.exchange(), said)
    whole = [b"tim", PASSWORD.encode()] if client.name == "LOGIN" else [b"\0tim\0" + PASSWORD.encode()]
    assert responses == whole[: len(responses)]


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_shows() -> None:
    message = f"\0tim\0{SECRET}".encode()
    for thing in (
        PlainClient("tim", SECRET),
        LoginClient("tim", SECRET),
        PlainServer().exchange(message),
        PlainClient("tim", SECRET).exchange(),
        LoginClient("tim", SECRET).exchange(),
    ):
        assert_unshown(thing, SECRET, message.decode())
    assert repr(PlainClient("tim", SECRET, "kurt")) == (
        "PlainClient(username='tim', password=<redacted>, authorization_id='kurt')"
    )
    assert repr(LoginClient("tim", SECRET)) == "LoginClient(username='tim', password=<redacted>)"


@pytest.mark.parametrize("wrong", ["{}\0", "{}\ud800", "\0{}"])
def test_no_secret_shows_where_a_field_is_refused(wrong: str) -> None:
    for kind in (PlainClient, LoginClient):
        with pytest.raises(SmtpError) as error:
            kind("tim", wrong.format(SECRET))
        assert_silent(error.value, SECRET)


@pytest.mark.parametrize(
    "message",
    [
        SECRET.encode(),
        f"\0tim\0{SECRET}".encode(),
        f"\0tim\0{SECRET}\0".encode(),
        b"\0tim\0" + SECRET.encode() + b"\xff",
    ],
)
def test_no_secret_shows_where_a_server_refuses(message: bytes) -> None:
    for server in SERVERS:
        outcome = served(server, message, repeat(message), Answering(False))
        assert isinstance(outcome, SaslError)
        assert_silent(outcome, SECRET, message.decode("latin-1"))
