"""What all mechanisms are made of, and the choice between them."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import sasl
from smtpproto.errors import LocalProtocolError, SmtpError
from smtpproto.sasl import (
    CLIENT_MECHANISMS,
    ERROR_LENGTH,
    SERVER_MECHANISMS,
    AuthenticationRefused,
    Authorize,
    Challenge,
    ClientExchange,
    Credentials,
    FindCredential,
    FindPassword,
    Identity,
    LoginServer,
    MechanismError,
    PlainClient,
    PlainServer,
    Question,
    SaslError,
    ServerExchange,
    ServerNotAuthentic,
    Verify,
    VerifyAnonymous,
    VerifyExternal,
    VerifyToken,
    error_of,
)
from smtpproto.sasl.base import (
    ask,
    ask_client,
    ask_program,
    decoded_text,
    one_message,
    premature_success,
    readable,
    required_text,
)
from smtpproto.values import field_names
from tests.sasl_peers import (
    Answering,
    assert_silent,
    assert_unshown,
    base64,
    challenges,
    converse,
    is_at_its_end,
    is_satisfied,
    served,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD = "pass-Wörd 1"
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"


# --- the registry ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CLIENT_MECHANISMS))
def test_clients_are_registered_under_their_names(name: str) -> None:
    made = [CLIENT_MECHANISMS[name](each) for each in (Credentials("tim", PASSWORD, token=TOKEN), Credentials())]
    clients = [client for client in made if client is not None]
    assert clients
    assert {client.name for client in clients} == {name}


@pytest.mark.parametrize("name", list(SERVER_MECHANISMS))
def test_servers_are_registered_under_their_names(name: str) -> None:
    assert SERVER_MECHANISMS[name]().name == name


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800", "a\udfff"])
def test_fields_that_no_mechanism_can_send_are_refused(wrong: str) -> None:
    makers: list[Callable[[], object]] = [
        lambda: Credentials(wrong, PASSWORD),
        lambda: Credentials("tim", wrong),
        lambda: Credentials("tim", PASSWORD, authorization_id=wrong),
        lambda: Credentials("tim", token=wrong),
    ]
    for make in makers:
        with pytest.raises(LocalProtocolError, match="NUL or a lone surrogate"):
            make()


@pytest.mark.rfc("4616", "2")
def test_empty_usernames_and_passwords_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="password is empty"):
        Credentials("tim", "")
    with pytest.raises(LocalProtocolError, match="username is empty"):
        Credentials("", PASSWORD)


@pytest.mark.rfc("6750", "2.1")
@pytest.mark.parametrize("token", ["", "a b", "abc\n", "Bearer abc", "tökèn", "a\x7f"])
def test_tokens_that_cannot_be_sent_are_refused(token: str) -> None:
    with pytest.raises(LocalProtocolError, match="more than visible ASCII"):
        Credentials("tim", token=token)


def test_what_returns_a_token_is_kept_and_not_called() -> None:
    def token() -> str:
        raise AssertionError("nobody wanted it yet")

    assert Credentials("tim", token=token).token is token


def test_fields_of_the_wrong_type_are_refused_without_showing_them() -> None:
    wrong: Any = PASSWORD.encode()
    with pytest.raises(LocalProtocolError, match=r"^the username is of type bytes: it must be a str$"):
        Credentials(wrong)
    with pytest.raises(LocalProtocolError, match=r"^the password is of type bytes: it must be a str$"):
        Credentials("tim", wrong)
    with pytest.raises(LocalProtocolError, match=r"^the authorization identity is of type bytes: it must be a str$"):
        Credentials("tim", authorization_id=wrong)
    with pytest.raises(LocalProtocolError, match=r"^the token is of type bytes: it must be a str$"):
        Credentials("tim", token=wrong)


def test_a_challenge_has_the_base64_of_its_data_unless_told() -> None:
    assert Challenge(b"<12@mx.example>").text == base64(b"<12@mx.example>")
    assert Challenge(b"").text == ""
    assert Challenge(b"a", "YQ").text == "YQ"


@pytest.mark.rfc("4954", "6")
def test_errors_say_with_what_a_server_refuses() -> None:
    def told(error: SaslError) -> tuple[str, int, str]:
        return str(error), error.code, error.status

    assert told(AuthenticationRefused()) == ("authentication credentials invalid", 535, "5.7.8")
    later = AuthenticationRefused("try again later", code=454, status="4.7.0")
    assert told(later) == ("try again later", 454, "4.7.0")
    assert told(MechanismError("nonsense")) == ("nonsense", 501, "5.5.2")
    assert told(ServerNotAuthentic("a lie")) == ("a lie", 501, "5.5.2")
    copied = pickle.loads(pickle.dumps(later))
    assert type(copied) is AuthenticationRefused
    assert told(copied) == told(later)


def test_questions_hold_what_is_asked_and_nothing_where_nothing_was_said() -> None:
    def fields(question: Question) -> tuple[object, ...]:
        return tuple(getattr(question, name) for name in field_names(type(question)))

    assert fields(Verify("tim", PASSWORD, "kurt")) == ("tim", PASSWORD, "kurt")
    assert fields(Verify("tim", PASSWORD)) == ("tim", PASSWORD, "")
    assert fields(FindCredential("tim", "SHA-256")) == ("tim", "SHA-256")
    assert fields(FindPassword("tim")) == ("tim",)
    assert fields(Authorize("tim", "kurt")) == ("tim", "kurt")
    assert fields(VerifyToken(TOKEN, "kurt")) == (TOKEN, "kurt")
    assert fields(VerifyToken(TOKEN)) == (TOKEN, "")
    assert fields(VerifyExternal("kurt")) == ("kurt",)
    assert fields(VerifyExternal()) == ("",)
    assert fields(VerifyAnonymous("sirhc")) == ("sirhc",)
    assert fields(VerifyAnonymous()) == ("",)


def test_what_is_left_out_of_a_value_is_not_there() -> None:
    nobody, tim = Credentials(), Identity("tim")
    assert (nobody.username, nobody.password, nobody.authorization_id, nobody.token) == ("", None, "", None)
    assert (tim.username, tim.authorization_id) == ("tim", "")
    everything = Credentials("tim", PASSWORD, authorization_id="kurt", token=TOKEN)
    fields = (everything.username, everything.password, everything.authorization_id, everything.token)
    assert fields == ("tim", PASSWORD, "kurt", TOKEN)
    assert (Challenge(None).data, Challenge(None).text) == (None, "")


# --- what mechanisms are made of -------------------------------------------------------------------------------------


class Echo:
    """As a third party would write one, both sides: the client proves that it can read."""

    name = "X-ECHO"
    exposes_secret = False
    has_secret = False
    error = "it cannot read"

    def exchange(self) -> ClientExchange:
        challenge = yield b"hello"
        while challenge is not None:
            challenge = yield challenge.data


class EchoServer:
    name = "X-ECHO"
    exposes_secret = False

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        greeting = (yield from ask_client(b"")) if initial_response is None else initial_response
        if greeting != b"hello" or (yield from ask_client(b"read this")) != b"read this":
            raise AuthenticationRefused
        return (yield from ask_program(Verify("reader", "none")))


@pytest.mark.parametrize("initial", [True, False])
def test_a_mechanism_is_a_class_of_a_few_lines(initial: bool) -> None:
    assert converse(Echo(), EchoServer(), Answering(True), initial=initial) == Identity("reader")
    with pytest.raises(AuthenticationRefused):
        converse(Echo(), EchoServer(), Answering(False), initial=initial)
    assert isinstance(served(EchoServer(), b"good day", (), Answering(True)), AuthenticationRefused)


def test_the_error_is_that_of_the_mechanism_and_a_text() -> None:
    class Silent(Echo):
        error: Any = 42

    assert error_of(Echo()) == "it cannot read"
    assert error_of(Silent()) is None
    assert error_of(PlainClient("tim", PASSWORD)) is None


@pytest.mark.parametrize("answer", [1, None, "yes", object(), b"yes"])
def test_only_true_is_a_yes(answer: Any) -> None:
    exchange = PlainServer().exchange(b"\0tim\0secret")
    next(exchange)
    with pytest.raises(LocalProtocolError, match=f"Verify was answered with {type(answer).__name__}: .* True or False"):
        exchange.send(answer)


@pytest.mark.parametrize("answer", [True, None, "text"])
def test_a_challenge_is_answered_with_bytes(answer: Any) -> None:
    exchange = LoginServer().exchange()
    next(exchange)
    with pytest.raises(LocalProtocolError, match="must be bytes"):
        exchange.send(answer)


@pytest.mark.parametrize(("answer", "outcome"), [("tim", "tim"), ("", ""), (None, None), (False, None)])
def test_a_question_is_answered_by_its_kind_or_a_no(answer: Any, outcome: str | None) -> None:
    asking = ask(FindPassword("tim"), str)
    assert next(asking) == FindPassword("tim")
    with pytest.raises(StopIteration) as done:
        asking.send(answer)
    assert done.value.value == outcome


@pytest.mark.parametrize("answer", [True, b"secret", 0, object()])
def test_an_answer_of_another_kind_is_none_and_does_not_show(answer: Any) -> None:
    asking = ask(FindPassword("tim"), str)
    next(asking)
    wanted = f"FindPassword was answered with {type(answer).__name__}: it must be str or None"
    with pytest.raises(LocalProtocolError, match=f"^{wanted}$"):
        asking.send(answer)


@given(octets=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_fields_of_the_peers_are_text_or_an_error(octets: bytes) -> None:
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        with pytest.raises(MechanismError, match="the field holds NUL or is not UTF-8"):
            decoded_text("the field", octets)
        return
    assert decoded_text("the field", octets) == text
    if octets:
        assert required_text("the field", octets) == text
    else:
        with pytest.raises(MechanismError, match="the field is empty"):
            required_text("the field", octets)


@given(challenge=challenges)
def test_what_a_server_says_about_a_refusal_prints_and_is_short(challenge: Challenge) -> None:
    said = readable(challenge)
    assert said.isprintable()
    assert len(said) <= ERROR_LENGTH
    assert said == said.strip()


@given(st.dictionaries(st.text(st.characters(codec="ascii")), st.text(st.characters(codec="ascii")), max_size=3))
def test_json_stays_what_it_is(fields: dict[str, str]) -> None:
    document = json.dumps(fields, indent=1)
    said = readable(Challenge(document.encode()))
    if len(document) <= ERROR_LENGTH:
        assert json.loads(said) == fields


def test_success_that_comes_too_early_is_a_lie() -> None:
    error = premature_success(Echo())
    assert isinstance(error, ServerNotAuthentic)
    assert str(error) == "the server reported success before the X-ECHO exchange was complete"


@pytest.mark.parametrize("challenge", [Challenge(b"more"), Challenge(None, "Go on")])
def test_one_message_is_said_twice_at_most(challenge: Challenge) -> None:
    exchange = one_message(b"hello")
    assert next(exchange) == exchange.send(challenge) == b"hello"
    assert is_at_its_end(exchange, challenge)
    for satisfied in (1, 2):
        exchange = one_message(b"hello")
        next(exchange)
        if satisfied == 2:
            exchange.send(challenge)
        assert is_satisfied(exchange)


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_shows_in_a_value() -> None:
    everything: list[object] = [
        Credentials("tim", PASSWORD, token=TOKEN),
        Credentials("tim", token=lambda: TOKEN),
        Verify("tim", PASSWORD, "kurt"),
        VerifyToken(TOKEN),
        Challenge(PASSWORD.encode()),
        Challenge(None, PASSWORD),
        Challenge(TOKEN.encode()),
    ]
    for thing in everything:
        assert_unshown(thing, PASSWORD, TOKEN, f"\0tim\0{PASSWORD}")


@pytest.mark.parametrize(
    "fail",
    [
        lambda: Credentials("tim", PASSWORD + "\0"),
        lambda: Credentials("tim", PASSWORD + "\ud800"),
        lambda: Credentials("", PASSWORD),
        lambda: Credentials("tim", token=TOKEN + "\n"),
        lambda: decoded_text("the password", PASSWORD.encode() + b"\xff"),
    ],
)
def test_no_secret_shows_in_an_exception_or_in_what_it_came_of(fail: Callable[[], object]) -> None:
    with pytest.raises(SmtpError) as caught:
        fail()
    assert_silent(caught.value, PASSWORD, TOKEN)


def test_what_is_public_is_there() -> None:
    assert sorted(sasl.__all__) == sorted(set(sasl.__all__))
    for name in sasl.__all__:
        assert hasattr(sasl, name)
