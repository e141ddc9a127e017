"""The mechanisms: against their other side, the examples of their RFCs, and peers that say anything."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import sasl
from smtpproto.errors import ErrorCode, LocalProtocolError, SmtpError
from smtpproto.sasl import (
    CLIENT_MECHANISMS,
    SERVER_MECHANISMS,
    AuthenticationRefused,
    Challenge,
    Choice,
    ClientExchange,
    ClientMechanism,
    Credentials,
    Identity,
    LoginClient,
    LoginServer,
    MechanismError,
    PlainClient,
    PlainServer,
    SaslError,
    ServerAnswer,
    ServerMechanism,
    ServerNotAuthentic,
    Verify,
    XOAuth2Client,
    choose,
    error_of,
)
from smtpproto.sasl.xoauth2 import ERROR_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD = "pass-Wörd 1"
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"

maybe_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
some_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
challenges = st.builds(Challenge, st.none() | st.binary(), st.text())
clients = st.sampled_from([PlainClient("tim", PASSWORD), LoginClient("tim", PASSWORD), XOAuth2Client("tim", TOKEN)])
servers = st.sampled_from([make() for make in SERVER_MECHANISMS.values()])


def base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def converse(
    client: ClientMechanism, server: ServerMechanism, accepts: Callable[[Verify], bool], *, initial: bool = True
) -> Identity:
    """The smallest driver: both sides in one place.  ``initial=False`` holds the initial response back."""
    ours = client.exchange()
    held = next(ours)
    theirs = server.exchange(held if initial else None)
    if initial:
        held = None
    try:
        step = next(theirs)
        while True:
            answer: ServerAnswer
            if isinstance(step, Verify):
                answer = accepts(step)
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


# --- both sides against each other -----------------------------------------------------------------------------------


@pytest.mark.rfc("4616", "2")
@given(username=some_text, password=some_text, authorization_id=maybe_text, initial=st.booleans())
def test_plain_carries_any_text_from_client_to_server(
    username: str, password: str, authorization_id: str, initial: bool
) -> None:
    asked: list[Verify] = []

    def accepts(question: Verify) -> bool:
        asked.append(question)
        return True

    client = PlainClient(username, password, authorization_id)
    assert converse(client, PlainServer(), accepts, initial=initial) == Identity(username, authorization_id)
    assert asked == [Verify(username, password, authorization_id)]


@given(username=some_text, password=some_text)
def test_login_carries_any_text_from_client_to_server(username: str, password: str) -> None:
    asked: list[Verify] = []

    def accepts(question: Verify) -> bool:
        asked.append(question)
        return True

    assert converse(LoginClient(username, password), LoginServer(), accepts) == Identity(username)
    assert asked == [Verify(username, password)]


@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize("name", list(SERVER_MECHANISMS))
def test_what_the_program_refuses_is_refused(name: str) -> None:
    server = SERVER_MECHANISMS[name]()
    client = CLIENT_MECHANISMS[name](Credentials("tim", PASSWORD))
    assert client is not None
    with pytest.raises(AuthenticationRefused) as refusal:
        converse(client, server, lambda question: question.password != PASSWORD)
    assert (refusal.value.code, refusal.value.status) == (535, "5.7.8")
    # The same objects serve the next attempt.
    assert converse(client, server, lambda question: question.password == PASSWORD) == Identity("tim")


@pytest.mark.parametrize("name", list(CLIENT_MECHANISMS))
def test_names_are_those_of_the_mechanisms(name: str) -> None:
    client = CLIENT_MECHANISMS[name](Credentials("tim", PASSWORD, token=TOKEN))
    assert client is not None
    assert client.name == name
    assert client.exposes_secret
    if name in SERVER_MECHANISMS:
        server = SERVER_MECHANISMS[name]()
        assert server.name == name
        assert server.exposes_secret


# --- peers that say anything -----------------------------------------------------------------------------------------


@given(
    server=servers, initial=st.none() | st.binary(), responses=st.lists(st.binary(), min_size=3), verdict=st.booleans()
)
def test_whatever_a_client_says_a_server_only_refuses(
    server: ServerMechanism, initial: bytes | None, responses: list[bytes], verdict: bool
) -> None:
    exchange = server.exchange(initial)
    said = iter(responses)
    outcome: Identity | SaslError
    try:
        step = next(exchange)
        while True:
            step = exchange.send(verdict if isinstance(step, Verify) else next(said))
    except StopIteration as done:
        outcome = done.value
    except SaslError as error:
        outcome = error
    if isinstance(outcome, SaslError):
        assert outcome.code in (501, 535)
        assert str(outcome).isascii()
        assert str(outcome).isprintable()
    else:
        assert verdict
        assert outcome.username


@given(client=clients, said=st.lists(st.none() | challenges, max_size=6))
def test_whatever_a_server_says_a_client_ends_or_raises_mechanism_error(
    client: ClientMechanism, said: list[Challenge | None]
) -> None:
    exchange = client.exchange()
    next(exchange)
    for each in [*said, None]:
        try:
            assert isinstance(exchange.send(each), bytes)
        except StopIteration:
            break
        except MechanismError:
            break
    assert list(exchange) == []


# --- PLAIN -----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4616", "4")
@pytest.mark.parametrize(
    ("client", "message"),
    [
        (PlainClient("tim", "tanstaaftanstaaf"), b"\0tim\0tanstaaftanstaaf"),
        (PlainClient("Kurt", "xipj3plmq", "Ursel"), b"Ursel\0Kurt\0xipj3plmq"),
    ],
)
def test_plain_examples(client: PlainClient, message: bytes) -> None:
    assert list(client.exchange()) == [message]
    question = next(PlainServer().exchange(message))
    assert question == Verify(client.username, client.password, client.authorization_id)


@pytest.mark.rfc("4954", "4.1")
def test_plain_example_of_smtp() -> None:
    assert base64(next(PlainClient("test", "1234", "test").exchange()) or b"") == "dGVzdAB0ZXN0ADEyMzQ="


@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"tim",
        b"\0tim",
        b"\0tim\0",
        b"\0\0secret",
        b"\0tim\0secret\0",
        b"\0tim\0secret\0more",
        b"\0tim\0sec\0ret\0more",
        b"\xff\0tim\0secret",
        b"\0t\xc3\0secret",
        b"\0tim\0\xed\xa0\x80",
        b"\0tim\0\xc0\x80",
    ],
)
def test_plain_server_refuses_what_is_no_plain_message(message: bytes) -> None:
    with pytest.raises(MechanismError) as error:
        next(PlainServer().exchange(message))
    assert (error.value.code, error.value.status) == (501, "5.5.2")


@pytest.mark.rfc("4954", "4")
def test_plain_server_sends_an_empty_challenge_where_there_is_no_initial_response() -> None:
    exchange = PlainServer().exchange()
    assert next(exchange) == Challenge(b"")
    assert exchange.send(b"\0tim\0secret") == Verify("tim", "secret")


def test_plain_client_expects_no_challenge_after_its_message() -> None:
    exchange = PlainClient("tim", PASSWORD).exchange()
    next(exchange)
    assert is_at_its_end(exchange, Challenge(b""))


# --- LOGIN -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Challenge(b"Username:"), Challenge(b"Password:")),
        (Challenge(b"User Name\0"), Challenge(b"Password\0")),
        (Challenge(b""), Challenge(b"")),
        (Challenge(None, "VXNlcm5hbWU6 junk"), Challenge(None, "UGFzc3dvcmQ6 junk")),
        (Challenge(None, "\udcff?"), Challenge(b"Username:")),
    ],
)
def test_login_client_answers_in_order_whatever_the_prompts_say(first: Challenge, second: Challenge) -> None:
    exchange = LoginClient("tim", PASSWORD).exchange()
    assert next(exchange) is None
    assert exchange.send(first) == b"tim"
    assert exchange.send(second) == PASSWORD.encode()
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
    with pytest.raises(ServerNotAuthentic, match="LOGIN exchange"):
        exchange.send(None)


def test_login_server_prompts_for_what_it_needs() -> None:
    exchange = LoginServer().exchange()
    assert next(exchange) == Challenge(b"Username:", "VXNlcm5hbWU6")
    assert exchange.send(b"tim") == Challenge(b"Password:", "UGFzc3dvcmQ6")
    assert exchange.send(b"secret") == Verify("tim", "secret")


def test_login_server_takes_the_username_as_an_initial_response() -> None:
    exchange = LoginServer().exchange(b"tim")
    assert next(exchange) == Challenge(b"Password:")
    assert exchange.send(b"secret") == Verify("tim", "secret")


@pytest.mark.parametrize("wrong", [b"", b"a\0b", b"\xff"])
def test_login_server_refuses_fields_that_are_no_text(wrong: bytes) -> None:
    with pytest.raises(MechanismError, match="username"):
        next(LoginServer().exchange(wrong))
    exchange = LoginServer().exchange(b"tim")
    next(exchange)
    with pytest.raises(MechanismError, match="password"):
        exchange.send(wrong)


# --- XOAUTH2 ---------------------------------------------------------------------------------------------------------


def test_xoauth2_message() -> None:
    # The example of Google's description.
    exchange = XOAuth2Client("someuser@example.com", TOKEN).exchange()
    message = next(exchange) or b""
    assert message == b"user=someuser@example.com\x01auth=Bearer " + TOKEN.encode() + b"\x01\x01"
    assert base64(message) == (
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRj"
        "Mk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
    )
    assert is_satisfied(exchange)


@pytest.mark.parametrize(
    ("challenge", "error"),
    [
        (Challenge(b'{"status":"401","schemes":"bearer"}'), '{"status":"401","schemes":"bearer"}'),
        (Challenge(b"\xffno"), "\\xffno"),
        (Challenge(b""), ""),
        (Challenge(None, "not base64"), "not base64"),
        (Challenge(b"x" * 100_000), "x" * ERROR_LENGTH),
        (Challenge("é".encode() * 100_000), "é" * ERROR_LENGTH),
        (Challenge(None, "?" * 100_000), "?" * ERROR_LENGTH),
    ],
)
def test_xoauth2_keeps_the_error_and_lets_the_server_refuse(challenge: Challenge, error: str) -> None:
    client = XOAuth2Client("tim", TOKEN)
    assert error_of(client) is None
    exchange = client.exchange()
    next(exchange)
    assert exchange.send(challenge) == b""
    assert error_of(client) == error
    exchange.close()
    assert error_of(client) == error
    next(client.exchange())
    assert error_of(client) is None


def test_xoauth2_takes_no_success_after_an_error() -> None:
    exchange = XOAuth2Client("tim", TOKEN).exchange()
    next(exchange)
    exchange.send(Challenge(b"{}"))
    with pytest.raises(MechanismError, match="success after it"):
        exchange.send(None)


def test_xoauth2_expects_one_challenge_only() -> None:
    exchange = XOAuth2Client("tim", TOKEN).exchange()
    next(exchange)
    exchange.send(Challenge(b"{}"))
    assert is_at_its_end(exchange, Challenge(b"{}"))


def test_xoauth2_asks_for_the_token_anew_at_each_attempt() -> None:
    tokens = iter(["first", "second"])
    client = XOAuth2Client("tim", lambda: next(tokens))
    assert next(client.exchange()) == b"user=tim\x01auth=Bearer first\x01\x01"
    assert next(client.exchange()) == b"user=tim\x01auth=Bearer second\x01\x01"


@pytest.mark.rfc("6750", "2.1")
@pytest.mark.parametrize("token", ["", "a b", "abc\n", "a\x01b", "a\0b", "tökèn", "\ud800"])
def test_xoauth2_refuses_tokens_that_cannot_be_sent(token: str) -> None:
    with pytest.raises(LocalProtocolError):
        XOAuth2Client("tim", token)
    with pytest.raises(LocalProtocolError):
        Credentials("tim", token=token)
    client = XOAuth2Client("tim", lambda: token)
    with pytest.raises(LocalProtocolError):
        next(client.exchange())


@pytest.mark.parametrize("username", ["", "a\x01b", "a\0b"])
def test_xoauth2_refuses_usernames_that_cannot_be_sent(username: str) -> None:
    with pytest.raises(LocalProtocolError):
        XOAuth2Client(username, TOKEN)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800", "a\udfff"])
def test_fields_that_no_mechanism_can_send_are_refused(wrong: str) -> None:
    for make in (
        lambda: Credentials(wrong, PASSWORD),
        lambda: Credentials("tim", wrong),
        lambda: Credentials("tim", PASSWORD, authorization_id=wrong),
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
    with pytest.raises(LocalProtocolError, match="password is empty"):
        Credentials("tim", "")
    with pytest.raises(LocalProtocolError, match="username is empty"):
        Credentials("", PASSWORD)
    with pytest.raises(LocalProtocolError, match="password is empty"):
        PlainClient("tim", "")
    with pytest.raises(LocalProtocolError, match="username is empty"):
        LoginClient("", PASSWORD)


def test_fields_of_the_wrong_type_are_refused_without_showing_them() -> None:
    wrong: Any = PASSWORD.encode()
    with pytest.raises(LocalProtocolError, match=r"^the password is of type bytes: it must be a str$"):
        Credentials("tim", wrong)


def test_a_challenge_has_the_base64_of_its_data_unless_told() -> None:
    assert Challenge(b"<12@mx.example>").text == base64(b"<12@mx.example>")
    assert Challenge(b"").text == ""
    assert Challenge(b"a", "YQ").text == "YQ"


@pytest.mark.parametrize("answer", [1, None, "yes", object(), b"yes"])
def test_only_true_is_a_yes(answer: Any) -> None:
    exchange = PlainServer().exchange(b"\0tim\0secret")
    next(exchange)
    with pytest.raises(LocalProtocolError, match="True or False"):
        exchange.send(answer)


@pytest.mark.parametrize("answer", [True, None, "text"])
def test_a_challenge_is_answered_with_bytes(answer: Any) -> None:
    exchange = LoginServer().exchange()
    next(exchange)
    with pytest.raises(LocalProtocolError, match="must be bytes"):
        exchange.send(answer)


@pytest.mark.rfc("4954", "6")
def test_a_refusal_may_be_another() -> None:
    refusal = AuthenticationRefused("try again later", code=454, status="4.7.0")
    assert (str(refusal), refusal.code, refusal.status) == ("try again later", 454, "4.7.0")


# --- the choice ------------------------------------------------------------------------------------------------------


class Ntlm:
    """As a third party would write one."""

    name = "NTLM"
    exposes_secret = False

    def exchange(self) -> ClientExchange:
        yield b"NTLMSSP\0"


BOTH = Credentials("tim", PASSWORD, token=TOKEN)
ALL = ["LOGIN", "PLAIN", "XOAUTH2", "NTLM"]


def names(choice: Choice) -> list[str]:
    assert (choice.why is ErrorCode.SUCCESS) is bool(choice.candidates) is not bool(choice.message)
    return [mechanism.name for mechanism in choice.candidates]


def test_the_order_is_ours_and_not_the_servers() -> None:
    assert names(choose(ALL, BOTH, secure=True, allow_plaintext=False)) == ["XOAUTH2", "PLAIN", "LOGIN"]
    assert names(choose(["login", "Plain"], BOTH, secure=True, allow_plaintext=False)) == ["PLAIN", "LOGIN"]


@pytest.mark.parametrize(
    ("credentials", "suiting"),
    [
        (Credentials("tim", PASSWORD), ["PLAIN", "LOGIN"]),
        (Credentials("tim", PASSWORD, authorization_id="kurt"), ["PLAIN"]),
        (Credentials("tim", token=TOKEN), ["XOAUTH2"]),
        (Credentials("tim", token=lambda: TOKEN), ["XOAUTH2"]),
        (Credentials(token=TOKEN), []),
        (Credentials("tim", token=TOKEN, authorization_id="kurt"), []),
        (Credentials("tim"), []),
        (Credentials(), []),
        (None, []),
    ],
)
def test_only_what_suits_the_credentials_is_a_candidate(credentials: Credentials | None, suiting: list[str]) -> None:
    choice = choose(ALL, credentials, secure=True, allow_plaintext=False)
    assert names(choice) == suiting
    if not suiting:
        assert choice.why is ErrorCode.NO_COMMON_MECHANISM
        assert "the credentials suit none" in choice.message


@pytest.mark.rfc("4954", "4")
def test_a_secret_is_exposed_only_under_tls_unless_the_program_allows_it() -> None:
    choice = choose(ALL, BOTH, secure=False, allow_plaintext=False)
    assert names(choice) == []
    assert choice.why is ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN
    assert choice.message.startswith("XOAUTH2, PLAIN, LOGIN would expose the secret")
    assert names(choose(ALL, BOTH, secure=False, allow_plaintext=True)) == ["XOAUTH2", "PLAIN", "LOGIN"]
    mine = choose(ALL, BOTH, secure=False, allow_plaintext=False, mechanisms=["PLAIN", Ntlm()])
    assert names(mine) == ["NTLM"]


@pytest.mark.parametrize("secure", [True, False])
def test_nothing_offered_is_told_apart(secure: bool) -> None:
    choice = choose([], BOTH, secure=secure, allow_plaintext=True)
    assert names(choice) == []
    assert choice.why is ErrorCode.AUTHENTICATION_NOT_OFFERED
    assert ("under TLS" in choice.message) is not secure


def test_nothing_in_common_is_told_apart_and_both_sides_are_named() -> None:
    choice = choose(["GSSAPI", "ntlm"], Credentials("tim", PASSWORD), secure=True, allow_plaintext=False)
    assert choice.why is ErrorCode.NO_COMMON_MECHANISM
    assert choice.message.endswith("the server offers GSSAPI, NTLM, the client can use PLAIN, LOGIN")


def test_what_a_server_offers_cannot_flood_or_forge_the_message() -> None:
    offered = ["bad\r\nname", "x" * 21, "ü", *(f"M{number}" for number in range(10_000))]
    choice = choose(offered, BOTH, secure=True, allow_plaintext=False)
    assert choice.message.isprintable()
    assert len(choice.message) < 300
    assert "none that is valid" in choose(["****"], BOTH, secure=True, allow_plaintext=False).message


def test_mechanisms_narrows_and_orders() -> None:
    def chosen(*mechanisms: str | ClientMechanism) -> list[str]:
        return names(choose(ALL, BOTH, secure=True, allow_plaintext=False, mechanisms=mechanisms))

    assert chosen("login", "XOAuth2") == ["LOGIN", "XOAUTH2"]
    assert chosen("PLAIN", "plain") == ["PLAIN"]
    assert chosen(Ntlm(), "PLAIN") == ["NTLM", "PLAIN"]
    assert chosen() == []


def test_a_mechanism_of_the_programs_own_needs_no_credentials_and_stays_itself() -> None:
    mine = Ntlm()
    choice = choose(["NTLM"], None, secure=False, allow_plaintext=False, mechanisms=[mine, "PLAIN"])
    assert choice.candidates == (mine,)
    assert choice.candidates[0] is mine
    assert error_of(mine) is None


def test_of_two_mechanisms_with_one_name_the_first_is_taken() -> None:
    class LowerCase(Ntlm):
        name = "plain"

    mine = LowerCase()
    choice = choose(ALL, BOTH, secure=True, allow_plaintext=False, mechanisms=[mine, "PLAIN"])
    assert choice.candidates == (mine,)


def test_names_that_are_not_known_are_refused_even_where_nothing_is_offered() -> None:
    with pytest.raises(LocalProtocolError, match=r"'SCRAM': there are XOAUTH2, PLAIN, LOGIN"):
        choose([], BOTH, secure=True, allow_plaintext=False, mechanisms=["SCRAM"])
    with pytest.raises(LocalProtocolError, match="give a list"):
        choose(ALL, BOTH, secure=True, allow_plaintext=False, mechanisms="PLAIN")


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRETS = [
    shown
    for secret in (PASSWORD, TOKEN)
    for shown in (
        secret,
        repr(secret.encode())[2:-1],
        base64(secret.encode()),
        base64(f"\0tim\0{secret}".encode()),
        base64(f"user=tim\x01auth=Bearer {secret}\x01\x01".encode()),
    )
]


def assert_silent(thing: object) -> None:
    for shown in (repr(thing), str(thing), f"{thing}", repr([thing])):
        for secret in SECRETS:
            assert secret not in shown


def test_no_secret_shows_in_a_value() -> None:
    everything: list[object] = [
        BOTH,
        Credentials("tim", PASSWORD),
        Verify("tim", PASSWORD, "kurt"),
        Challenge(PASSWORD.encode()),
        Challenge(None, PASSWORD),
        PlainClient("tim", PASSWORD),
        LoginClient("tim", PASSWORD),
        XOAuth2Client("tim", TOKEN),
        choose(ALL, BOTH, secure=True, allow_plaintext=False),
        choose(ALL, BOTH, secure=False, allow_plaintext=False),
        choose(["GSSAPI"], BOTH, secure=True, allow_plaintext=False),
        PlainServer().exchange(f"\0tim\0{PASSWORD}".encode()),
        *(mechanism.exchange() for mechanism in choose(ALL, BOTH, secure=True, allow_plaintext=False).candidates),
    ]
    for thing in everything:
        assert_silent(thing)
    assert repr(XOAuth2Client("tim", TOKEN)) == "XOAuth2Client(username='tim', token=<redacted>)"
    assert repr(PlainClient("tim", PASSWORD)) == (
        "PlainClient(username='tim', password=<redacted>, authorization_id='')"
    )


def refused_server(message: bytes) -> None:
    exchange = PlainServer().exchange(message)
    next(exchange)
    exchange.send(False)


@pytest.mark.parametrize(
    "fail",
    [
        lambda: Credentials("tim", PASSWORD + "\0"),
        lambda: Credentials("tim", PASSWORD + "\ud800"),
        lambda: Credentials("", PASSWORD),
        lambda: Credentials("tim", token=TOKEN + "\n"),
        lambda: next(XOAuth2Client("tim", lambda: TOKEN + "\n").exchange()),
        lambda: next(PlainServer().exchange(PASSWORD.encode())),
        lambda: next(PlainServer().exchange(f"\0tim\0{PASSWORD}".encode() + b"\xff")),
        lambda: next(PlainServer().exchange(f"\0tim\0{PASSWORD}\0".encode())),
        lambda: refused_server(f"\0tim\0{PASSWORD}".encode()),
        lambda: refused_server(b"\xff\0tim\0" + PASSWORD.encode()),
    ],
)
def test_no_secret_shows_in_an_exception_or_in_what_it_came_of(fail: Callable[[], object]) -> None:
    with pytest.raises(SmtpError) as caught:
        fail()
    error: BaseException | None = caught.value
    while error is not None:
        assert_silent(error)
        assert_silent(vars(error))
        # A UnicodeError would show nothing here and still hold the secret.
        assert isinstance(error, SmtpError)
        error = error.__cause__ or error.__context__


def test_what_is_public_is_there() -> None:
    assert sorted(sasl.__all__) == sorted(set(sasl.__all__))
    for name in sasl.__all__:
        assert hasattr(sasl, name)
