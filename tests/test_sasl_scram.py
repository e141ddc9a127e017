"""SCRAM: the examples of the RFCs, both sides against each other, and against a computation written differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError
from smtpproto.sasl import (
    NO_BINDINGS,
    AuthenticationRefused,
    Authorize,
    Challenge,
    Credentials,
    FindCredential,
    Identity,
    ScramClient,
    ScramCredential,
    ScramServer,
    ServerAnswer,
    bound,
    error_of,
)
from smtpproto.sasl.credential import HASHES, MOST_ITERATIONS
from tests.sasl_peers import (
    Scram,
    assert_silent,
    assert_unshown,
    base64,
    conversation,
    converse,
    is_satisfied,
    preparable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from smtpproto.sasl import ClientMechanism, ServerMechanism

PASSWORD = "pass-Wörd 1"
BINDINGS = {"tls-exporter": b"exported", "tls-server-end-point": b"hash of the certificate"}
NAMES = [f"SCRAM-{name}{plus}" for name in HASHES for plus in ("", "-PLUS")]
PLAIN_NAMES = [f"SCRAM-{name}" for name in HASHES]


def program(answer: ServerAnswer, *, authorize: bool = True) -> Callable[[Any], ServerAnswer]:
    return lambda question: answer if isinstance(question, FindCredential) else authorize


def pair(
    name: str, client: ScramClient, bindings: Mapping[str, bytes] = BINDINGS, **options: Any
) -> tuple[ScramClient, ScramServer]:
    """Both sides of a connection with these channel bindings, at a server that offers -PLUS too."""
    offered = [name.removesuffix("-PLUS"), name.removesuffix("-PLUS") + "-PLUS"]
    bound_client, bound_server = client.bound(bindings, offered), ScramServer(name, **options).bound(bindings, offered)
    assert bound_client is not None
    assert bound_server is not None
    return bound_client, bound_server


def nonces(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    following: Iterator[str] = iter(values)
    monkeypatch.setattr("smtpproto.sasl.scram.new_nonce", lambda: next(following))


def count_derivations(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one whenever the server makes a credential of a password."""
    from smtpproto.sasl import credential

    made: list[object] = []
    original = credential.keys

    def keys(*arguments: Any) -> tuple[bytes, bytes]:
        made.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(credential, "keys", keys)
    return made


# --- the examples of the RFCs ----------------------------------------------------------------------------------------

EXAMPLES = [
    pytest.param(
        "SCRAM-SHA-1",
        ("fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j"),
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        marks=pytest.mark.rfc("5802", "5"),
    ),
    pytest.param(
        "SCRAM-SHA-256",
        ("rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        marks=pytest.mark.rfc("7677", "3"),
    ),
]


@pytest.mark.parametrize(("name", "both", "first", "terms", "final", "verdict"), EXAMPLES)
def test_client_of_the_examples(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    both: tuple[str, str],
    first: bytes,
    terms: bytes,
    final: bytes,
    verdict: bytes,
) -> None:
    nonces(monkeypatch, both[0])
    exchange = ScramClient("user", "pencil", name=name).exchange()
    assert next(exchange) == first
    assert exchange.send(Challenge(terms)) == final
    assert exchange.send(Challenge(verdict)) == b""
    assert is_satisfied(exchange)


@pytest.mark.parametrize("kind", ["credential", "password"])
@pytest.mark.parametrize(("name", "both", "first", "terms", "final", "verdict"), EXAMPLES)
def test_server_of_the_examples(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    both: tuple[str, str],
    first: bytes,
    terms: bytes,
    final: bytes,
    verdict: bytes,
    kind: str,
) -> None:
    nonces(monkeypatch, both[1])
    salt = {"SCRAM-SHA-1": "QSXCR+Q6sek8bf92", "SCRAM-SHA-256": "W22ZaJ0SNY7soEsUEjb6gQ=="}[name]
    stored = Scram(name.removeprefix("SCRAM-"), "pencil", salt=_octets(salt))
    kept = ScramCredential(stored.hash_name, stored.salt, 4096, stored.stored_key, stored.server_key)
    if kind == "password":

        def salt_of(server: ScramServer, username: str) -> bytes:
            return stored.salt

        monkeypatch.setattr(ScramServer, "_salt", salt_of)
    asked: list[object] = []

    def answers(question: object) -> ServerAnswer:
        asked.append(question)
        return kept if kind == "credential" else "pencil"

    outcome, heard = conversation(
        ScramServer(name, iterations=4096), answers, lambda _: first, lambda _: final, lambda _: b""
    )
    assert outcome == Identity("user")
    assert [challenge.encode() for challenge in heard] == [b"", terms, verdict]
    assert asked == [FindCredential("user", stored.hash_name)]


def _octets(text: str) -> bytes:
    import binascii

    return binascii.a2b_base64(text)


# --- against the formulas --------------------------------------------------------------------------------------------


@pytest.mark.rfc("5802", "3")
@pytest.mark.parametrize("name", NAMES)
def test_client_against_the_formulas(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    nonces(monkeypatch, "rOprNGfwEbeRWgbNEkqO")
    plus = name.endswith("-PLUS")
    client, _ = pair(name, ScramClient("us,er", PASSWORD, "é=", name=name))
    exchange = client.exchange()
    header = "p=tls-exporter,a=é=3D," if plus else "n,a=é=3D,"
    first = "n=us=2Cer,r=rOprNGfwEbeRWgbNEkqO"
    assert next(exchange) == f"{header}{first}".encode()
    server = Scram(name.removeprefix("SCRAM-").removesuffix("-PLUS"), PASSWORD, iterations=5000)
    terms = server.terms("rOprNGfwEbeRWgbNEkqO+x")
    binding = base64(header.encode() + (b"exported" if plus else b""))
    final = server.final(first, terms, f"c={binding},r=rOprNGfwEbeRWgbNEkqO+x")
    assert exchange.send(Challenge(terms.encode())) == final.encode()
    assert exchange.send(Challenge(server.verdict(first, terms, final).encode())) == b""
    assert is_satisfied(exchange)


@pytest.mark.rfc("5802", "3")
@pytest.mark.parametrize("kind", ["credential", "password"])
@pytest.mark.parametrize("name", NAMES)
def test_server_against_the_formulas(name: str, kind: str) -> None:
    plus = name.endswith("-PLUS")
    _, server = pair(name, ScramClient("tim", PASSWORD, name=name), iterations=5000)
    hash_name = name.removeprefix("SCRAM-").removesuffix("-PLUS")
    kept = ScramCredential.derive(PASSWORD, hash=hash_name, salt=b"salt", iterations=4097)
    header = "p=tls-server-end-point,a=é," if plus else "n,a=é,"
    first = "n=tim,r=abc"
    spoken: list[str] = []

    def final(terms: str) -> str:
        nonce, salt, iterations = (field[2:] for field in terms.split(","))
        assert nonce.startswith("abc")
        assert len(nonce) == 3 + 32
        assert (salt, iterations) == ("c2FsdA==", "4097") or kind == "password"
        client = Scram(hash_name, PASSWORD, salt=_octets(salt), iterations=int(iterations))
        binding = base64(header.encode() + (BINDINGS["tls-server-end-point"] if plus else b""))
        said = client.final(first, terms, f"c={binding},r={nonce}")
        spoken.append(client.verdict(first, terms, said))
        return said

    outcome, heard = conversation(
        server,
        program(kept if kind == "credential" else PASSWORD),
        lambda _: header + first,
        final,
        lambda _: "",
    )
    assert outcome == Identity("tim", "é")
    assert heard[2:] == spoken


@pytest.mark.rfc("5802", "5.1")
def test_extensions_are_passed_over() -> None:
    server = Scram("SHA-256", PASSWORD)
    exchange = ScramClient("tim", PASSWORD).exchange()
    first = (next(exchange) or b"").decode()[3:]
    terms = server.terms(first.partition("r=")[2] + "x") + ",x=some,Z=thing=="
    final = (exchange.send(Challenge(terms.encode())) or b"").decode()
    assert exchange.send(Challenge(f"{server.verdict(first, terms, final)},y=ö".encode())) == b""
    assert is_satisfied(exchange)

    def said(terms: str) -> str:
        return server.final("n=tim,r=abc,f=x,g=é", terms, f"c=biws,{terms.partition(',')[0]},x=y")

    kept = ScramCredential("SHA-256", server.salt, server.iterations, server.stored_key, server.server_key)
    outcome, _ = conversation(ScramServer(), program(kept), lambda _: "n,,n=tim,r=abc,f=x,g=é", said, lambda _: b"")
    assert outcome == Identity("tim")


# --- both sides against each other -----------------------------------------------------------------------------------


@pytest.mark.rfc("5802", "5")
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(
    username=preparable | st.text("=,23CDö", min_size=1),
    password=preparable,
    acting=st.just("") | preparable | st.text("=,23CDö", min_size=1),
    initial=st.booleans(),
    stored=st.booleans(),
)
def test_any_name_and_password_gets_in(
    name: str, username: str, password: str, acting: str, initial: bool, stored: bool
) -> None:
    asked: list[object] = []

    def answers(question: object) -> ServerAnswer:
        asked.append(question)
        if isinstance(question, Authorize):
            return True
        return ScramCredential.derive(password, hash=hash_name, iterations=4096) if stored else password

    client, server = pair(name, ScramClient(username, password, acting, name=name), iterations=4096)
    hash_name = name.removeprefix("SCRAM-").removesuffix("-PLUS")
    identity = converse(client, server, answers, initial=initial)
    assert asked[0] == FindCredential(identity.username, hash_name)
    if identity.authorization_id in ("", identity.username):
        assert asked[1:] == []
    else:
        assert asked[1:] == [Authorize(identity.username, identity.authorization_id)]
    # SASLprep has been at both.
    assert ScramClient(identity.username, "x", identity.authorization_id, name=name).__repr__() == repr(
        ScramClient(username, "x", acting, name=name)
    )


@pytest.mark.rfc("5802", "2.2")
@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_it_does_not_matter_how_a_name_or_a_password_is_typed(name: str) -> None:
    client = ScramClient("Jose\u0301", "pass-Wo\u0308rd\u00a01", "Jos\u00e9\u00ad", name=name)
    server = ScramServer(name, iterations=4096)
    assert converse(client, server, program(PASSWORD, authorize=False)) == Identity("José", "José")


@pytest.mark.rfc("5802", "5.1")
@given(password=preparable, wrong=preparable)
@settings(max_examples=30)
def test_another_password_does_not_get_in(password: str, wrong: str) -> None:
    client, server = ScramClient("tim", wrong), ScramServer(iterations=4096)
    if ScramCredential.derive(password, salt=b"s", iterations=4096).matches(wrong):
        assert converse(client, server, program(password)) == Identity("tim")
        return
    with pytest.raises(AuthenticationRefused) as refusal:
        converse(client, server, program(password))
    assert (refusal.value.code, refusal.value.status) == (535, "5.7.8")
    assert client.error is None


@pytest.mark.parametrize("name", NAMES)
def test_the_same_objects_serve_the_next_attempt(name: str) -> None:
    client, server = pair(name, ScramClient("tim", PASSWORD, name=name), iterations=4096)
    for answer in (None, PASSWORD, False, "another"):
        if answer == PASSWORD:
            assert converse(client, server, program(answer)) == Identity("tim")
        else:
            with pytest.raises(AuthenticationRefused):
                converse(client, server, program(answer))


@pytest.mark.rfc("4954", "4")
def test_a_server_that_has_no_initial_response_asks_with_an_empty_challenge() -> None:
    assert next(ScramServer().exchange()) == Challenge(b"")


@pytest.mark.rfc("5802", "5.1")
def test_nonces_are_new_in_each_exchange() -> None:
    client = ScramClient("tim", PASSWORD)
    said = {next(client.exchange()) for _ in range(50)}
    server = ScramServer()
    for _ in range(50):
        exchange = server.exchange(b"n,,n=tim,r=abc")
        next(exchange)
        answer = exchange.send(None)
        assert isinstance(answer, Challenge)
        said.add(answer.data)
    assert len(said) == 100


# --- which users there are -------------------------------------------------------------------------------------------


def terms_of(server: ServerMechanism, username: str, answer: ServerAnswer) -> str:
    """What the server tells everybody about the user, but for the nonce."""
    exchange = server.exchange(f"n,,n={username},r=abc".encode())
    assert isinstance(next(exchange), FindCredential)
    challenge = exchange.send(answer)
    assert isinstance(challenge, Challenge)
    return (challenge.data or b"").decode().partition(",")[2]


@pytest.mark.rfc("5802", "9")
@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_unknown_users_look_like_others(name: str) -> None:
    server = ScramServer(name, iterations=5000, salt_length=24)
    shown = terms_of(server, "tim", None)
    # Salt and iterations look right, and stay, whatever becomes of the user, and in every object of the process.
    assert len(_octets(shown.split(",")[0][2:])) == 24
    assert shown.split(",")[1] == "i=5000"
    for answer in (None, False, PASSWORD, "another", "bell\a", ""):
        assert terms_of(server, "tim", answer) == shown
    assert terms_of(server, "t\u00ad\u2170m", None) == shown
    assert terms_of(ScramServer(name, iterations=5000, salt_length=24), "tim", None) == shown
    copy = server.bound(BINDINGS, [])
    assert copy is not None
    assert terms_of(copy, "tim", None) == shown
    # They differ by name, by hash function, and by secret.
    assert terms_of(server, "tom", None) != shown
    others = [ScramServer(other, iterations=5000, salt_length=24) for other in PLAIN_NAMES]
    assert len({terms_of(other, "tim", None) for other in others}) == len(others)
    secret = ScramServer(name, iterations=5000, salt_length=24, secret=b"sixteen octets..")
    assert terms_of(secret, "tim", None) != shown
    assert terms_of(secret, "tim", None) == terms_of(
        ScramServer(name, iterations=5000, salt_length=24, secret=b"sixteen octets.."), "tim", None
    )


@pytest.mark.rfc("5802", "9")
def test_the_salt_is_the_same_with_plus() -> None:
    _, server = pair("SCRAM-SHA-256-PLUS", ScramClient("tim", PASSWORD, name="SCRAM-SHA-256-PLUS"))
    exchange = server.exchange(b"p=tls-exporter,,n=tim,r=abc")
    next(exchange)
    challenge = exchange.send(None)
    assert isinstance(challenge, Challenge)
    assert (challenge.data or b"").decode().endswith(terms_of(ScramServer(), "tim", None))


@pytest.mark.parametrize("salt_length", [1, 64])
def test_a_salt_may_have_these_lengths(salt_length: int) -> None:
    salt = terms_of(ScramServer(salt_length=salt_length), "tim", None).split(",")[0][2:]
    assert len(_octets(salt)) == salt_length


@pytest.mark.rfc("5802", "9")
def test_unknown_users_take_as_long_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_derivations(monkeypatch)
    client = ScramClient("tim", PASSWORD)
    server = ScramServer(iterations=4096)
    kept = ScramCredential.derive("another", iterations=4096)
    made.clear()
    for credential in (None, kept):
        with pytest.raises(AuthenticationRefused):
            converse(client, server, program(credential))
    assert made == []  # where only salted keys are kept, nobody costs anything
    copy = server.bound(BINDINGS, ["SCRAM-SHA-256"])
    assert copy is not None
    answers: tuple[ServerAnswer, ...] = ("another", None, False, "bell\a", "")
    for number, answer in enumerate(answers, 1):
        with pytest.raises(AuthenticationRefused):
            converse(client, copy, program(answer))
        assert len(made) == number
    with pytest.raises(AuthenticationRefused):
        converse(client, server, program(None))
    assert len(made) == 6  # the copies share what they know
    assert converse(client, server, program(PASSWORD)) == Identity("tim")


def test_a_password_costs_nothing_before_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_derivations(monkeypatch)
    terms_of(ScramServer(), "tim", PASSWORD)
    assert made == []


@pytest.mark.parametrize("username", ["nobody", "tim"])
def test_nobody_gets_in_as_an_unknown_user(username: str) -> None:
    server = ScramServer(iterations=4096)
    terms_of(server, "tim", PASSWORD)
    with pytest.raises(AuthenticationRefused):
        converse(ScramClient(username, "nobody"), server, program(None))


# --- the channel -----------------------------------------------------------------------------------------------------


def header_of(client: ClientMechanism) -> str:
    first = (next(client.exchange()) or b"").decode()
    return first[: first.index(",,") + 2]


@pytest.mark.rfc("5802", "6")
@pytest.mark.parametrize(
    ("name", "bindings", "offered", "header"),
    [
        ("SCRAM-SHA-256", {}, ["SCRAM-SHA-256"], "n,,"),
        ("SCRAM-SHA-256", {}, ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], "n,,"),
        ("SCRAM-SHA-256", BINDINGS, ["SCRAM-SHA-256"], "y,,"),
        ("SCRAM-SHA-256", BINDINGS, ["SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"], "y,,"),
        ("SCRAM-SHA-256", BINDINGS, ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], "n,,"),
        ("SCRAM-SHA-256-PLUS", BINDINGS, ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], "p=tls-exporter,,"),
        ("SCRAM-SHA-256-PLUS", {"tls-unique": b"x"}, ["SCRAM-SHA-256-PLUS"], "p=tls-unique,,"),
        ("SCRAM-SHA-256-PLUS", {}, ["SCRAM-SHA-256-PLUS"], None),
    ],
)
def test_what_the_client_says_of_the_channel(
    name: str, bindings: dict[str, bytes], offered: list[str], header: str | None
) -> None:
    unbound = ScramClient("tim", PASSWORD, name=name)
    client = bound(unbound, bindings, offered)
    if client is None:
        assert header is None
        return
    assert header_of(client) == header
    assert client.name == name
    # The one that was bound is as it was.
    if name == "SCRAM-SHA-256":
        assert header_of(unbound) == "n,,"


def test_plus_needs_a_channel_binding() -> None:
    with pytest.raises(LocalProtocolError, match="needs a channel binding, and there is none"):
        next(ScramClient("tim", PASSWORD, name="SCRAM-SHA-1-PLUS").exchange())
    assert ScramServer("SCRAM-SHA-1-PLUS").bound(NO_BINDINGS, ["SCRAM-SHA-1-PLUS"]) is None
    assert ScramServer("SCRAM-SHA-1").bound(NO_BINDINGS, ["SCRAM-SHA-1-PLUS"]) is not None


def refused_for(client: ScramClient, server: ScramServer) -> tuple[str, str | None]:
    """What the server says with its 535, and what it has told the client before."""
    with pytest.raises(AuthenticationRefused) as refusal:
        converse(client, server, program(PASSWORD))
    assert (refusal.value.code, refusal.value.status) == (535, "5.7.8")
    assert_silent(refusal.value, PASSWORD)
    return str(refusal.value), error_of(client)


@pytest.mark.rfc("5802", "6")
def test_an_offer_that_was_taken_away_on_the_way_is_noticed() -> None:
    client = ScramClient("tim", PASSWORD).bound(BINDINGS, ["SCRAM-SHA-256"])
    server = ScramServer().bound(BINDINGS, ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
    assert client is not None
    assert server is not None
    why, told = refused_for(client, server)
    assert "the client has not seen it" in why
    assert told == "server-does-support-channel-binding"
    # The next attempt begins anew.
    exchange = client.exchange()
    next(exchange)
    assert error_of(client) is None


@pytest.mark.rfc("5802", "6")
@pytest.mark.parametrize(
    ("bindings", "offered"), [({}, ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]), (BINDINGS, ["SCRAM-SHA-256"])]
)
def test_a_server_without_plus_takes_a_client_that_has_a_binding(
    bindings: dict[str, bytes], offered: list[str]
) -> None:
    client = ScramClient("tim", PASSWORD).bound(BINDINGS, ["SCRAM-SHA-256"])
    server = ScramServer(iterations=4096).bound(bindings, offered)
    assert client is not None
    assert server is not None
    assert header_of(client) == "y,,"
    assert converse(client, server, program(PASSWORD)) == Identity("tim")


@pytest.mark.rfc("5802", "7")
def test_a_binding_that_the_server_has_not() -> None:
    client = ScramClient("tim", PASSWORD, name="SCRAM-SHA-1-PLUS").bound({"tls-unique": b"x"}, ["SCRAM-SHA-1-PLUS"])
    _, server = pair("SCRAM-SHA-1-PLUS", ScramClient("tim", PASSWORD, name="SCRAM-SHA-1-PLUS"))
    assert client is not None
    why, told = refused_for(client, server)
    assert why == "there is no channel binding of that type here"
    assert told == "unsupported-channel-binding-type"


@pytest.mark.rfc("5802", "7")
def test_a_server_that_was_never_bound_has_no_binding() -> None:
    first = b"p=tls-exporter,,n=tim,r=abc"
    server = ScramServer("SCRAM-SHA-256-PLUS")
    outcome, heard = conversation(server, program(PASSWORD), lambda _: first, lambda _: b"")
    assert str(outcome) == "there is no channel binding of that type here"
    assert heard == ["", "e=unsupported-channel-binding-type"]


@pytest.mark.rfc("5929", "4")
@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-PLUS")])
def test_whoever_is_in_between_has_another_channel(name: str) -> None:
    client = ScramClient("tim", PASSWORD, name=name).bound({"tls-server-end-point": b"of another"}, [name])
    _, server = pair(name, ScramClient("tim", PASSWORD, name=name))
    assert client is not None
    why, told = refused_for(client, server)
    assert why == "the channel bindings of both sides differ"
    assert told == "channel-bindings-dont-match"


# --- what the program may give ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"username": "bell\a"}, "the username cannot be used with SCRAM: it holds a control character"),
        ({"username": "\u00ad"}, "the username cannot be used with SCRAM: nothing of it is left"),
        ({"username": "\u06271"}, "written from the right"),
        ({"authorization_id": "bell\a"}, "the authorization identity cannot be used with SCRAM"),
        ({"authorization_id": "\u00ad"}, "the authorization identity cannot be used with SCRAM"),
        ({"password": "bell\a"}, "the password cannot be used with SCRAM: it holds a control character"),
        ({"password": "\u00ad"}, "the password cannot be used with SCRAM: nothing of it is left"),
        ({"password": "\N{CHRISTMAS TREE}"}, r"Unicode 3\.2"),
    ],
)
def test_what_saslprep_forbids_is_for_other_mechanisms(arguments: dict[str, str], why: str) -> None:
    fields: dict[str, Any] = {"username": "tim", "password": PASSWORD, "authorization_id": "", **arguments}
    with pytest.raises(LocalProtocolError, match=why) as error:
        ScramClient(**fields)
    assert_silent(error.value, fields["password"])
    credentials = Credentials(fields["username"], fields["password"], authorization_id=fields["authorization_id"])
    assert [ScramClient.suiting(credentials, name) for name in NAMES] == [None] * len(NAMES)


def test_a_name_may_hold_what_is_not_assigned() -> None:
    # RFC 5802 section 5.1: it is a query, and only the password is a stored string.
    client = ScramClient("\N{CHRISTMAS TREE}", PASSWORD)
    assert converse(client, ScramServer(iterations=4096), program(PASSWORD)) == Identity("\N{CHRISTMAS TREE}")


def test_suiting_credentials() -> None:
    made = ScramClient.suiting(Credentials("tim", PASSWORD, authorization_id="tom"), "SCRAM-SHA-1")
    assert repr(made) == repr(ScramClient("tim", PASSWORD, "tom", name="SCRAM-SHA-1"))
    assert ScramClient.suiting(Credentials("tim", token="abc")) is None
    with pytest.raises(LocalProtocolError, match="no SCRAM mechanism"):
        ScramClient.suiting(Credentials("tim", token="abc"), "PLAIN")


@pytest.mark.parametrize(
    "arguments", [{"username": ""}, {"password": ""}, {"password": "a\0b"}, {"authorization_id": "\ud800"}]
)
def test_what_no_mechanism_can_send(arguments: dict[str, str]) -> None:
    fields: dict[str, Any] = {"username": "tim", "password": PASSWORD, **arguments}
    with pytest.raises(LocalProtocolError):
        ScramClient(**fields)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("PLAIN", "'PLAIN' is no SCRAM mechanism"),
        ("scram-sha-1", "is no SCRAM mechanism"),
        ("SCRAM-", "is no SCRAM mechanism"),
        ("SCRAM-MD5", "no SCRAM hash function is named 'MD5'"),
        ("SCRAM-SHA-1-PLUS-PLUS", "no SCRAM hash function is named 'SHA-1-PLUS'"),
    ],
)
def test_names_that_are_none(name: str, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        ScramClient("tim", PASSWORD, name=name)
    with pytest.raises(LocalProtocolError, match=why):
        ScramServer(name)


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    client, server = pair(name, ScramClient("tim", PASSWORD, name=name))
    assert client.name == server.name == name
    assert not client.exposes_secret
    assert not server.exposes_secret


@pytest.mark.parametrize("iterations", [0, 4095, MOST_ITERATIONS + 1])
def test_iterations_that_make_no_sense(iterations: int) -> None:
    with pytest.raises(LocalProtocolError, match=r"at least 4096.* at most 2147483647"):
        ScramClient("tim", PASSWORD, max_iterations=iterations)
    with pytest.raises(LocalProtocolError, match="at least 4096, and at most 2147483647"):
        ScramServer(iterations=iterations)


@pytest.mark.parametrize("iterations", [4096, MOST_ITERATIONS])
def test_iterations_on_their_bounds(iterations: int) -> None:
    assert terms_of(ScramServer(iterations=iterations), "tim", None).endswith(f",i={iterations}")
    assert ScramClient("tim", PASSWORD, max_iterations=iterations).error is None


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"salt_length": 0}, "1 to 64 octets"),
        ({"salt_length": 65}, "1 to 64 octets"),
        ({"secret": b""}, "at least 16 octets"),
        ({"secret": b"fifteen octets."}, "at least 16 octets"),
    ],
)
def test_other_options_that_make_no_sense(options: dict[str, Any], why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        ScramServer(**options)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (True, "FindCredential was answered with bool: it must be ScramCredential, str or None"),
        (b"secret", "FindCredential was answered with bytes"),
        (ScramCredential.derive(PASSWORD, hash="SHA-1"), "is for SHA-1, and SHA-256 was asked for"),
    ],
)
def test_answers_that_are_none(answer: ServerAnswer, why: str) -> None:
    exchange = ScramServer().exchange(b"n,,n=tim,r=abc")
    next(exchange)
    with pytest.raises(LocalProtocolError, match=why) as error:
        exchange.send(answer)
    assert_silent(error.value, PASSWORD)


def test_authorize_must_be_answered_with_a_bool() -> None:
    client, server = ScramClient("tim", PASSWORD, "tom"), ScramServer(iterations=4096)
    with pytest.raises(LocalProtocolError, match="Authorize was answered with str"):
        converse(client, server, lambda question: PASSWORD)
    with pytest.raises(AuthenticationRefused):
        converse(client, server, program(PASSWORD, authorize=False))
    assert converse(client, server, program(PASSWORD)) == Identity("tim", "tom")


def test_a_challenge_must_be_answered_with_bytes() -> None:
    exchange = ScramServer().exchange()
    next(exchange)
    with pytest.raises(LocalProtocolError, match="must be bytes"):
        exchange.send(None)


def test_nothing_shows_the_secrets() -> None:
    client, server = pair("SCRAM-SHA-256-PLUS", ScramClient("tim", PASSWORD, "tom", name="SCRAM-SHA-256-PLUS"))
    assert_unshown(client, PASSWORD, "exported")
    assert_unshown(server, PASSWORD, "exported")
    assert repr(client) == (
        "ScramClient(username='tim', password=<redacted>, authorization_id='tom', name='SCRAM-SHA-256-PLUS')"
    )
