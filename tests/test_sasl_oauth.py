"""OAUTHBEARER and XOAUTH2: against their other side, the examples, and peers that say anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError
from smtpproto.sasl import (
    ERROR_LENGTH,
    AuthenticationRefused,
    Challenge,
    ClientMechanism,
    Credentials,
    Identity,
    MechanismError,
    OAuthBearerClient,
    OAuthBearerServer,
    SaslError,
    ServerMechanism,
    VerifyToken,
    XOAuth2Client,
    XOAuth2Server,
    error_of,
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

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
USER = "user@example.com"

Token = str | Callable[[], str]


def bearer(token: Token) -> OAuthBearerClient:
    return OAuthBearerClient(token, USER)


def xoauth2(token: Token) -> XOAuth2Client:
    return XOAuth2Client(USER, token)


MAKERS: list[Callable[[Token], OAuthBearerClient | XOAuth2Client]] = [bearer, xoauth2]
SERVERS: list[ServerMechanism] = [OAuthBearerServer(scope="mail"), XOAuth2Server(scope="mail")]
DUMMIES = [b"\x01", b""]
"""What a client says to a refusal: RFC 7628 section 3.2.3, and Google's description."""

both_clients = pytest.mark.parametrize("make", MAKERS)
both_servers = pytest.mark.parametrize("server", SERVERS)
both_sides = pytest.mark.parametrize(("make", "server"), list(zip(MAKERS, SERVERS, strict=True)))
clients_and_dummies = pytest.mark.parametrize(("make", "dummy"), list(zip(MAKERS, DUMMIES, strict=True)))

tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
maybe_name = maybe_text.filter(lambda text: "\x01" not in text)
some_name = some_text.filter(lambda text: "\x01" not in text)


# --- both sides against each other -----------------------------------------------------------------------------------


@pytest.mark.rfc("7628", "3.1")
@given(
    token=tokens,
    authorization_id=maybe_name,
    username=some_text,
    host=st.sampled_from(["", "mx.example", "[192.0.2.1]"]),
    port=st.none() | st.integers(1, 65535),
    initial=st.booleans(),
)
def test_oauthbearer_carries_any_token_and_identity(
    token: str, authorization_id: str, username: str, host: str, port: int | None, initial: bool
) -> None:
    program = Answering(username)
    client = OAuthBearerClient(token, authorization_id, host=host, port=port)
    identity = converse(client, OAuthBearerServer(), program, initial=initial)
    assert identity == Identity(username, "" if username == authorization_id else authorization_id)
    assert program.asked == [VerifyToken(token, authorization_id)]
    assert error_of(client) is None


@given(token=tokens, username=some_name, other=some_text, initial=st.booleans())
def test_xoauth2_carries_any_token_and_name(token: str, username: str, other: str, initial: bool) -> None:
    program = Answering(username)
    client = XOAuth2Client(username, token)
    assert converse(client, XOAuth2Server(), program, initial=initial) == Identity(username)
    assert program.asked == [VerifyToken(token, username)]
    # It is for the program to say whose token that is, and whether they may act as another.
    identity = converse(client, XOAuth2Server(), Answering(other))
    assert identity == Identity(other, "" if other == username else username)


@pytest.mark.rfc("7628", "3.2.3")
@both_sides
@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("answer", [None, False, ""])
def test_who_is_refused_is_told_why_before(
    make: Callable[[Token], ClientMechanism], server: ServerMechanism, initial: bool, answer: Any
) -> None:
    client = make(TOKEN)
    with pytest.raises(AuthenticationRefused) as refusal:
        converse(client, server, Answering(answer), initial=initial)
    assert (refusal.value.code, refusal.value.status) == (535, "5.7.8")
    error = json.loads(error_of(client) or "")
    assert error["scope"] == "mail"
    assert error["status"] == ("401" if server.name == "XOAUTH2" else "invalid_token")
    # The same objects serve the next attempt.
    assert converse(client, server, Answering(USER)) == Identity(USER)
    assert error_of(client) is None


@both_sides
def test_names_are_those_of_the_mechanisms(make: Callable[[Token], ClientMechanism], server: ServerMechanism) -> None:
    client = make(TOKEN)
    assert client.name == server.name
    assert client.exposes_secret
    assert server.exposes_secret
    assert getattr(client, "has_secret", True)


# --- the examples ----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("7628", "4.1")
@pytest.mark.parametrize(
    ("port", "message"),
    [
        (143, "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmd"),
        (587, "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGOWRmd"),
    ],
)
def test_oauthbearer_example(port: int, message: str) -> None:
    exchange = OAuthBearerClient(TOKEN, USER, host="server.example.com", port=port).exchange()
    said = next(exchange) or b""
    assert base64(said) == message + "DRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    assert is_satisfied(exchange)
    program = Answering(USER)
    assert served(OAuthBearerServer(), said, (), program) == Identity(USER)
    assert program.asked == [VerifyToken(TOKEN, USER)]


@pytest.mark.rfc("7628", "4.3")
def test_oauthbearer_example_of_a_question() -> None:
    """An empty field asks what is needed to get a token."""
    server = OAuthBearerServer(
        scope="example_scope", openid_configuration="https://example.com/.well-known/openid-config"
    )
    exchange = server.exchange(b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=\x01\x01")
    challenge = next(exchange)
    assert isinstance(challenge, Challenge)
    assert challenge.text == (
        "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIiwib3BlbmlkLWNvbmZpZ3VyYXRpb24iOiJodHRwczovL2V4"
        "YW1wbGUuY29tLy53ZWxsLWtub3duL29wZW5pZC1jb25maWcifQ=="
    )
    with pytest.raises(AuthenticationRefused):
        exchange.send(b"\x01")


@pytest.mark.rfc("7628", "4.4")
def test_oauthbearer_example_of_a_refusal() -> None:
    client = OAuthBearerClient(TOKEN, "someuser@example.com")
    exchange = client.exchange()
    next(exchange)
    refusal = b'{"status":"invalid_token","schemes":"bearer mac","scope":"https://mail.example.com/"}'
    assert base64(exchange.send(Challenge(refusal)) or b"") == "AQ=="
    assert error_of(client) == refusal.decode()
    # The header of the client's message is none in this example: it has "user=" where GS2 has "a=".
    wrong = f"n,user=someuser@example.com,\x01auth=Bearer {TOKEN}\x01\x01".encode()
    assert isinstance(served(OAuthBearerServer(), wrong, (), Answering(USER)), MechanismError)


def test_xoauth2_example() -> None:
    """Of Google's description, as is the next."""
    token = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    exchange = XOAuth2Client("someuser@example.com", token).exchange()
    message = next(exchange) or b""
    assert message == b"user=someuser@example.com\x01auth=Bearer " + token.encode() + b"\x01\x01"
    assert base64(message) == (
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRj"
        "Mk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
    )
    assert is_satisfied(exchange)
    program = Answering("someuser@example.com")
    assert served(XOAuth2Server(), message, (), program) == Identity("someuser@example.com")
    assert program.asked == [VerifyToken(token, "someuser@example.com")]


def test_xoauth2_example_of_a_refusal() -> None:
    client = XOAuth2Client("someuser@example.com", TOKEN)
    exchange = client.exchange()
    next(exchange)
    refusal = b'{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}\n'
    assert base64(refusal) == (
        "eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K"
    )
    assert exchange.send(Challenge(refusal)) == b""
    assert error_of(client) == refusal.decode().strip()


# --- the client: tokens ----------------------------------------------------------------------------------------------


@both_clients
def test_a_token_is_asked_for_anew_at_each_attempt(make: Callable[[Token], ClientMechanism]) -> None:
    given_out = iter(["first", "second"])
    client = make(lambda: next(given_out))
    exchange = client.exchange()  # nothing is asked for before it is wanted
    assert b"Bearer first\x01" in (next(exchange) or b"")
    exchange.send(Challenge(b"{}"))
    assert b"Bearer second\x01" in (next(client.exchange()) or b"")


@pytest.mark.rfc("6750", "2.1")
@both_clients
@pytest.mark.parametrize("token", ["", "a b", "abc\n", "a\x01b", "a\0b", "tökèn", "\ud800"])
def test_tokens_that_cannot_be_sent_are_refused(make: Callable[[Token], ClientMechanism], token: str) -> None:
    with pytest.raises(LocalProtocolError):
        make(token)
    with pytest.raises(LocalProtocolError):
        Credentials(USER, token=token)
    exchange = make(lambda: token).exchange()
    with pytest.raises(LocalProtocolError):
        next(exchange)


@both_clients
@pytest.mark.parametrize("token", [None, b"token", 1])
def test_what_a_callable_returns_is_a_str(make: Callable[[Token], ClientMechanism], token: Any) -> None:
    with pytest.raises(LocalProtocolError, match=f"of type {type(token).__name__}: it must be a str"):
        next(make(lambda: token).exchange())


@both_clients
def test_what_a_callable_raises_passes_through(make: Callable[[Token], ClientMechanism]) -> None:
    error = OSError("the server of the tokens does not answer")

    def fail() -> str:
        raise error

    with pytest.raises(OSError, match="does not answer") as caught:
        next(make(fail).exchange())
    assert caught.value is error
    assert caught.value.__context__ is None


# --- the client: refusals --------------------------------------------------------------------------------------------


@pytest.mark.rfc("7628", "3.2.3")
@clients_and_dummies
@pytest.mark.parametrize(
    ("challenge", "error"),
    [
        (Challenge(b'{"status":"401","schemes":"bearer"}'), '{"status":"401","schemes":"bearer"}'),
        (Challenge(b'{\r\n\t"status": "401"\r\n}\r\n'), '{   "status": "401"  }'),
        (Challenge(b"a\r\nb\x1b[31mc\0"), "a  b [31mc"),
        (Challenge("a\u202eb\u2028c".encode()), "a b c"),
        (Challenge(b"\xffno"), "\\xffno"),
        (Challenge(b""), ""),
        (Challenge(None, "not base64"), "not base64"),
        (Challenge(None, "b\udcffse64\x07"), "b se64"),
        (Challenge(b"x" * 1_000_000), "x" * ERROR_LENGTH),
        (Challenge("é".encode() * 100_000), "é" * ERROR_LENGTH),
        (Challenge("\N{GRINNING FACE}".encode() * 100_000), "\N{GRINNING FACE}" * ERROR_LENGTH),
        (Challenge(None, "?" * 1_000_000), "?" * ERROR_LENGTH),
    ],
)
def test_the_client_keeps_the_error_and_lets_the_server_refuse(
    make: Callable[[Token], ClientMechanism], dummy: bytes, challenge: Challenge, error: str
) -> None:
    client = make(TOKEN)
    assert error_of(client) is None
    exchange = client.exchange()
    next(exchange)
    assert exchange.send(challenge) == dummy
    assert error_of(client) == error
    exchange.close()
    assert error_of(client) == error
    next(client.exchange())
    assert error_of(client) is None


@both_clients
@given(challenge=challenges)
def test_an_error_is_short_and_prints_whatever_the_server_says(
    make: Callable[[Token], ClientMechanism], challenge: Challenge
) -> None:
    client = make(TOKEN)
    exchange = client.exchange()
    next(exchange)
    exchange.send(challenge)
    error = error_of(client)
    assert error is not None
    assert error.isprintable()
    assert len(error) <= ERROR_LENGTH
    error.encode()


@both_clients
def test_no_success_is_taken_after_an_error(make: Callable[[Token], ClientMechanism]) -> None:
    exchange = make(TOKEN).exchange()
    next(exchange)
    exchange.send(Challenge(b"{}"))
    with pytest.raises(MechanismError, match="success after it") as error:
        exchange.send(None)
    assert_silent(error.value, TOKEN)


@both_clients
def test_the_client_expects_one_challenge_only(make: Callable[[Token], ClientMechanism]) -> None:
    exchange = make(TOKEN).exchange()
    next(exchange)
    exchange.send(Challenge(b"{}"))
    assert is_at_its_end(exchange, Challenge(b"{}"))


@clients_and_dummies
@given(said=st.lists(st.none() | challenges, max_size=4))
def test_whatever_a_server_says_the_client_ends_by_itself(
    make: Callable[[Token], ClientMechanism], dummy: bytes, said: list[Challenge | None]
) -> None:
    assert answered(make(TOKEN).exchange(), said) in ([], [dummy])


# --- the client: fields ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("7628", "3.1")
def test_oauthbearer_quotes_what_means_something_in_its_header() -> None:
    message = next(OAuthBearerClient("t", "a,b=c=2C").exchange())
    assert message == b"n,a=a=2Cb=3Dc=3D2C,\x01auth=Bearer t\x01\x01"
    assert next(OAuthBearerClient("t").exchange()) == b"n,,\x01auth=Bearer t\x01\x01"


@pytest.mark.parametrize("wrong", ["", "a\x01b", "a\0b", "\ud800"])
def test_names_that_cannot_be_sent_are_refused(wrong: str) -> None:
    with pytest.raises(LocalProtocolError):
        XOAuth2Client(wrong, TOKEN)
    if wrong:
        with pytest.raises(LocalProtocolError, match="authorization identity"):
            OAuthBearerClient(TOKEN, wrong)


@pytest.mark.parametrize("host", ["a b", "mx\x01", "mx\0", "müller.example", "mx.example\r\n", b"mx.example"])
def test_hosts_that_cannot_be_sent_are_refused(host: Any) -> None:
    with pytest.raises(LocalProtocolError, match="the host"):
        OAuthBearerClient(TOKEN, host=host)


@pytest.mark.parametrize("port", [0, -1, 65536, "587", 25.0])
def test_ports_that_are_none_are_refused(port: Any) -> None:
    with pytest.raises(LocalProtocolError, match="the port is no number from 1 to 65535"):
        OAuthBearerClient(TOKEN, port=port)


@pytest.mark.rfc("7628", "3.1")
@pytest.mark.parametrize("port", [1, 65535])
def test_the_first_port_and_the_last_can_be_sent(port: int) -> None:
    message = next(OAuthBearerClient("t", port=port).exchange())
    assert message == f"n,,\x01port={port}\x01auth=Bearer t\x01\x01".encode()


@pytest.mark.parametrize(
    ("credentials", "oauthbearer", "xoauth2"),
    [
        (Credentials(USER, token=TOKEN), USER, True),
        (Credentials(USER, "secret", token=lambda: TOKEN), USER, True),
        (Credentials(token=TOKEN), "", False),
        (Credentials(authorization_id="kurt", token=TOKEN), "kurt", False),
        (Credentials(USER, authorization_id="kurt", token=TOKEN), "kurt", False),
        (Credentials(USER, "secret"), None, False),
        (Credentials(), None, False),
        (Credentials("a\x01b", "secret", token=TOKEN), None, False),
    ],
)
def test_they_suit_whoever_has_a_token(credentials: Credentials, oauthbearer: str | None, xoauth2: bool) -> None:
    program = Answering(USER)
    client = OAuthBearerClient.suiting(credentials)
    assert (client is None) is (oauthbearer is None)
    if client is not None and oauthbearer is not None:
        converse(client, OAuthBearerServer(), program)
        assert program.asked == [VerifyToken(TOKEN, oauthbearer)]
    other = XOAuth2Client.suiting(credentials)
    assert (other is not None) is xoauth2
    if other is not None:
        converse(other, XOAuth2Server(), program)
        assert program.asked[1:] == [VerifyToken(TOKEN, USER)]


# --- the server ------------------------------------------------------------------------------------------------------


def test_servers_send_an_empty_challenge_where_there_is_no_initial_response() -> None:
    for server, message in (
        (OAuthBearerServer(), b"n,a=tim,\x01auth=Bearer t\x01\x01"),
        (XOAuth2Server(), b"user=tim\x01auth=Bearer t\x01\x01"),
    ):
        exchange = server.exchange()
        assert next(exchange) == Challenge(b"")
        assert exchange.send(message) == VerifyToken("t", "tim")


@pytest.mark.rfc("7628", "3.1")
@pytest.mark.parametrize(
    "message",
    [
        b"n,a=tim,\x01auth=Bearer t\x01\x01",
        b"y,a=tim,\x01auth=Bearer t\x01\x01",
        b"n,a=tim,\x01auth=bEARER   t\x01\x01",
        b"n,a=tim,\x01host=\x01auth=Bearer t\x01\x01",
        b"n,a=tim,\x01auth=Bearer t\x01port=nonsense\x01host=another\x01\x01",
        b"n,a=tim,\x01mthd=POST\x01path=/\x01unknown=a=b \t\r\n\x01unknown=c\x01auth=Bearer t\x01\x01",
    ],
)
def test_oauthbearer_server_takes_any_order_and_ignores_what_it_does_not_know(message: bytes) -> None:
    program = Answering("tim")
    assert served(OAuthBearerServer(), message, (), program) == Identity("tim")
    assert program.asked == [VerifyToken("t", "tim")]


@pytest.mark.rfc("7628", "3.1")
@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "does not begin with a GS2 header"),
        (b"\x01", "does not begin with a GS2 header"),
        (b"n,a=tim\x01auth=Bearer t\x01\x01", "does not begin with a GS2 header"),
        (b"auth=Bearer t\x01\x01", "does not begin with a GS2 header"),
        (b"n,a=\xff,\x01auth=Bearer t\x01\x01", "not UTF-8"),
        (b"n,a=t\0m,\x01auth=Bearer t\x01\x01", "holds NUL"),
        (b"n,a=t=m,\x01auth=Bearer t\x01\x01", "equals sign that stands for nothing"),
        (b"p=tls-exporter,a=tim,\x01auth=Bearer t\x01\x01", "no channel binding"),
        (b"n,a=tim,", "other fields than OAUTHBEARER allows"),
        (b"n,a=tim,\x01auth=Bearer t\x01", "other fields than OAUTHBEARER allows"),
        (b"n,a=tim,auth=Bearer t\x01\x01", "other fields than OAUTHBEARER allows"),
        (b"n,a=tim,\x01auth=Bearer t\x01\x01\x01", "other fields than OAUTHBEARER allows"),
        (b"n,a=tim,\x01auth=Bearer t\x01\x01\n", "other fields than OAUTHBEARER allows"),
        (b"n,a=tim,\x01auth\x01\x01", "other fields than OAUTHBEARER allows"),
        (b"n,a=tim,\x01=Bearer t\x01\x01", "other fields than OAUTHBEARER allows"),
        (b"n,a=tim,\x01auth2=Bearer t\x01\x01", "other fields than OAUTHBEARER allows"),
        (b"n,a=tim,\x01auth=Bearer t\x7f\x01\x01", "other fields than OAUTHBEARER allows"),
        ("n,a=tim,\x01auth=Bearer é\x01\x01".encode(), "other fields than OAUTHBEARER allows"),
        (b"n,a=tim,\x01\x01", "one field auth"),
        (b"n,a=tim,\x01AUTH=Bearer t\x01\x01", "one field auth"),
        (b"n,a=tim,\x01auth=Bearer t\x01auth=Bearer t\x01\x01", "one field auth"),
    ],
)
def test_oauthbearer_server_refuses_what_is_no_message(message: bytes, why: str) -> None:
    program = Answering("tim")
    for initial in (message, None):
        outcome = served(OAuthBearerServer(), initial, [message], program)
        assert isinstance(outcome, MechanismError)
        assert (outcome.code, outcome.status) == (501, "5.5.2")
        assert why in str(outcome)
    assert program.asked == []


@pytest.mark.rfc("7628", "3.2.2")
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic dGltOnRpbQ==", "Bearer a b", "Bearer a\n"])
def test_oauthbearer_server_tells_who_brings_no_bearer_token_what_it_wants(authorization: str) -> None:
    program = Answering("tim")
    exchange = OAuthBearerServer(scope="mail").exchange(f"n,,\x01auth={authorization}\x01\x01".encode())
    assert next(exchange) == Challenge(b'{"status":"invalid_token","scope":"mail"}')
    with pytest.raises(AuthenticationRefused):
        exchange.send(b"\x01")
    assert program.asked == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01",
        b"user=tim",
        b"user=tim\x01auth=Bearer t\x01",
        b"user=tim\x01auth=Bearer t\x01\x01\x01",
        b"user=tim\x01auth=Bearer t\x01\x01\n",
        b"user=\x01auth=Bearer t\x01\x01",
        b"user=tim\x01auth=Bearer \x01\x01",
        b"user=tim\x01auth=Bearer a b\x01\x01",
        b"user=tim\x01auth=Basic t\x01\x01",
        b"user=tim\x01auth=Bearer t\x01host=a\x01\x01",
        b"user=t\0m\x01auth=Bearer t\x01\x01",
        b"user=\xff\x01auth=Bearer t\x01\x01",
        "user=tim\x01auth=Bearer é\x01\x01".encode(),
        b"n,a=tim,\x01auth=Bearer t\x01\x01",
    ],
)
def test_xoauth2_server_refuses_what_is_no_message(message: bytes) -> None:
    program = Answering("tim")
    for initial in (message, None):
        outcome = served(XOAuth2Server(), initial, [message], program)
        assert isinstance(outcome, MechanismError)
        assert (outcome.code, outcome.status) == (501, "5.5.2")
    assert program.asked == []


@pytest.mark.rfc("7628", "3.2.3")
@both_sides
@pytest.mark.parametrize("dummy", [b"\x01", b"", b"*", b"{}", b"\xff\0", b"user=tim\x01auth=Bearer t\x01\x01"])
def test_a_server_refuses_whatever_is_said_to_its_refusal(
    make: Callable[[Token], ClientMechanism], server: ServerMechanism, dummy: bytes
) -> None:
    exchange = server.exchange(next(make(TOKEN).exchange()))
    assert isinstance(next(exchange), VerifyToken)
    assert isinstance(exchange.send(None), Challenge)
    with pytest.raises(AuthenticationRefused):
        exchange.send(dummy)


@both_sides
@pytest.mark.parametrize("answer", [True, b"tim", 1])
def test_the_answer_is_the_name_of_the_user(
    make: Callable[[Token], ClientMechanism], server: ServerMechanism, answer: Any
) -> None:
    with pytest.raises(LocalProtocolError, match="VerifyToken was answered with") as error:
        converse(make(TOKEN), server, Answering(answer))
    assert_silent(error.value, TOKEN)


def refusal_of(server: ServerMechanism) -> bytes | None:
    exchange = server.exchange(next(MAKERS[server.name == "XOAUTH2"](TOKEN).exchange()))
    next(exchange)
    challenge = exchange.send(None)
    assert isinstance(challenge, Challenge)
    return challenge.data


@pytest.mark.rfc("7628", "3.2.2")
@pytest.mark.parametrize(
    ("server", "refusal"),
    [
        (OAuthBearerServer(), {"status": "invalid_token"}),
        (
            OAuthBearerServer(scope="https://mail.example/"),
            {"status": "invalid_token", "scope": "https://mail.example/"},
        ),
        (
            OAuthBearerServer(scope="a b c", openid_configuration="https://example/~c?a=1&b={2}"),
            {
                "status": "invalid_token",
                "scope": "a b c",
                "openid-configuration": "https://example/~c?a=1&b={2}",
            },
        ),
        (XOAuth2Server(), {"status": "401", "schemes": "bearer"}),
        (XOAuth2Server(scope="mail"), {"status": "401", "schemes": "bearer", "scope": "mail"}),
    ],
)
def test_refusals_are_json(server: ServerMechanism, refusal: dict[str, str]) -> None:
    assert json.loads(refusal_of(server) or b"") == refusal


@pytest.mark.rfc("7628", "3.2.2")
def test_refusals_octet_by_octet() -> None:
    assert refusal_of(OAuthBearerServer()) == b'{"status":"invalid_token"}'
    assert refusal_of(OAuthBearerServer(scope="mail", openid_configuration="https://mx.example/")) == (
        b'{"status":"invalid_token","scope":"mail","openid-configuration":"https://mx.example/"}'
    )
    assert refusal_of(XOAuth2Server()) == b'{"status":"401","schemes":"bearer"}'
    assert refusal_of(XOAuth2Server(scope="mail")) == b'{"status":"401","schemes":"bearer","scope":"mail"}'


@pytest.mark.parametrize("wrong", ['a"b', "a\\b", " a", "a ", "a  b", "a\nb", "é", "\ud800", "\0", b"mail"])
def test_what_json_would_have_to_quote_is_refused(wrong: Any) -> None:
    for make in (
        lambda: OAuthBearerServer(scope=wrong),
        lambda: OAuthBearerServer(openid_configuration=wrong),
        lambda: XOAuth2Server(scope=wrong),
    ):
        with pytest.raises(LocalProtocolError, match=r"scope|openid-configuration"):
            make()


pieces = [b"n,,", b"n,a=tim,", b"user=tim", b"auth=", b"Bearer ", b"\x01", b"\x01\x01", b"\0", b"\xff", TOKEN.encode()]
near = st.lists(st.sampled_from(pieces), max_size=10).map(b"".join)


@given(
    server=st.sampled_from(SERVERS),
    initial=st.none() | st.binary() | near | around(TOKEN),
    responses=st.lists(st.binary() | near | around(TOKEN), min_size=2),
    answer=st.sampled_from(["tim", None, False]),
)
def test_whatever_a_client_says_a_server_only_refuses(
    server: ServerMechanism, initial: bytes | None, responses: list[bytes], answer: Any
) -> None:
    outcome = served(server, initial, responses, Answering(answer))
    if isinstance(outcome, SaslError):
        assert outcome.code in (501, 535)
        assert_silent(outcome, TOKEN)
    else:
        assert outcome.username == answer


# --- secrets ---------------------------------------------------------------------------------------------------------


@both_sides
def test_no_secret_shows(make: Callable[[Token], ClientMechanism], server: ServerMechanism) -> None:
    for client in (make(TOKEN), make(lambda: TOKEN)):
        ours = client.exchange()
        message = next(ours)
        assert message is not None
        theirs = server.exchange(message)
        question = next(theirs)
        for thing in (client, ours, theirs, server, question):
            assert_unshown(thing, TOKEN, message.decode())
    assert repr(OAuthBearerClient(TOKEN, USER)) == (
        "OAuthBearerClient(token=<redacted>, authorization_id='user@example.com')"
    )
    assert repr(XOAuth2Client(USER, TOKEN)) == "XOAuth2Client(username='user@example.com', token=<redacted>)"


@both_clients
def test_no_secret_shows_where_a_token_is_refused(make: Callable[[Token], ClientMechanism]) -> None:
    for wrong in (f"{TOKEN}\n", f"Bearer {TOKEN}", f"{TOKEN}\ud800"):
        with pytest.raises(LocalProtocolError) as error:
            make(wrong)
        assert_silent(error.value, TOKEN)
        with pytest.raises(LocalProtocolError) as error:
            next(make(lambda wrong=wrong: wrong).exchange())  # type: ignore[misc]
        assert_silent(error.value, TOKEN)


@both_servers
@pytest.mark.parametrize("around", ["{}", "n,,\x01auth=Bearer {}", "user=tim\x01auth=Bearer {}", "n,a={}=,\x01\x01"])
def test_no_secret_shows_where_a_server_refuses(server: ServerMechanism, around: str) -> None:
    message = around.format(TOKEN).encode()
    outcome = served(server, message, repeat(message), Answering(None))
    assert isinstance(outcome, SaslError)
    assert_silent(outcome, TOKEN, message.decode())
