"""Which mechanism a client uses: the order, what narrows it, and what is never sent in the clear."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.errors import ErrorCode, LocalProtocolError
from smtpproto.sasl import (
    CLIENT_MECHANISMS,
    MECHANISMS,
    SERVER_MECHANISMS,
    Bindable,
    Choice,
    ClientExchange,
    ClientMechanism,
    Credentials,
    PlainClient,
    ScramClient,
    bound,
    choose,
    error_of,
    usable,
)
from tests.sasl_peers import assert_unshown

PASSWORD = "pass-Wörd 1"
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
BOTH = Credentials("tim", PASSWORD, token=TOKEN)
BINDINGS = {"tls-server-end-point": b"digest of the certificate"}
EVERY_NAME = [each.name for each in MECHANISMS]
PLUS = [name for name in EVERY_NAME if name.endswith("-PLUS")]
SCRAM = [name.removesuffix("-PLUS") for name in PLUS]
WITH_PASSWORD = [*SCRAM, "CRAM-MD5", "PLAIN", "LOGIN"]
WITH_TOKEN = ["OAUTHBEARER", "XOAUTH2"]
EXPOSING = [*WITH_TOKEN, "PLAIN", "LOGIN"]


class Ntlm:
    """As a third party would write one."""

    name = "NTLM"
    exposes_secret = False

    def exchange(self) -> ClientExchange:
        yield b"NTLMSSP\0"


class Ticket(Ntlm):
    name = "X-TICKET"
    has_secret = False


ALL = [*reversed(EVERY_NAME), "NTLM"]


def names(choice: Choice) -> list[str]:
    assert (choice.why is ErrorCode.SUCCESS) is bool(choice.candidates) is not bool(choice.message)
    return [mechanism.name for mechanism in choice.candidates]


def chosen(credentials: Credentials | None, offered: list[str] = ALL, **options: Any) -> Choice:
    """Under TLS, unless the options say otherwise."""
    fields: dict[str, Any] = {"secure": True, "allow_plaintext": False, **options}
    return choose(offered, credentials, **fields)


# --- the order -------------------------------------------------------------------------------------------------------


def test_the_order_is_ours_and_not_the_servers() -> None:
    assert names(chosen(BOTH)) == [*SCRAM, "OAUTHBEARER", "XOAUTH2", "CRAM-MD5", "PLAIN", "LOGIN"]
    assert names(chosen(BOTH, ["login", "Plain"])) == ["PLAIN", "LOGIN"]
    assert SCRAM == ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"]


@pytest.mark.rfc("5802", "6")
def test_what_is_bound_to_the_channel_comes_first_where_there_is_a_binding_and_else_not_at_all() -> None:
    assert names(chosen(BOTH, bindings=BINDINGS))[:6] == [*PLUS, *SCRAM]
    assert names(chosen(BOTH, ["PLAIN", "scram-sha-1-plus", "SCRAM-SHA-512"], bindings=BINDINGS)) == [
        "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-512",
        "PLAIN",
    ]
    assert not [name for name in names(chosen(BOTH)) if name.endswith("-PLUS")]
    choice = chosen(BOTH, PLUS)
    assert choice.why is ErrorCode.NO_COMMON_MECHANISM
    assert choice.message.endswith(f"{', '.join(PLUS)} needs a channel binding, which this connection has not")


@pytest.mark.rfc("5802", "6")
@pytest.mark.parametrize(
    ("offered", "bindings", "flag"),
    [
        (["SCRAM-SHA-256"], {}, b"n,,"),
        (["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], {}, b"n,,"),
        (["SCRAM-SHA-256"], BINDINGS, b"y,,"),
        (["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], BINDINGS, b"p=tls-server-end-point,,"),
    ],
)
def test_the_candidates_are_bound_to_this_connection(
    offered: list[str], bindings: dict[str, bytes], flag: bytes
) -> None:
    first = chosen(BOTH, offered, bindings=bindings).candidates[0]
    assert isinstance(first, Bindable)
    said = next(first.exchange())
    assert said is not None
    assert said.startswith(flag + b"n=tim,r=")


def test_what_cannot_be_bound_stays_itself() -> None:
    mine = Ntlm()
    assert bound(mine, BINDINGS, ["NTLM"]) is mine
    assert not isinstance(mine, Bindable)


@pytest.mark.parametrize(
    ("credentials", "suiting"),
    [
        (Credentials("tim", PASSWORD), WITH_PASSWORD),
        (Credentials("tim", PASSWORD, authorization_id="kurt"), [*SCRAM, "PLAIN"]),
        (Credentials("tim", token=TOKEN), WITH_TOKEN),
        (Credentials("tim", token=lambda: TOKEN), WITH_TOKEN),
        (Credentials(token=TOKEN), ["OAUTHBEARER"]),
        (Credentials("tim", token=TOKEN, authorization_id="kurt"), ["OAUTHBEARER"]),
        (Credentials("us\x01er", token=TOKEN), []),
        (Credentials("bell\a", PASSWORD), ["CRAM-MD5", "PLAIN", "LOGIN"]),
        (Credentials("tim"), ["EXTERNAL"]),
        (Credentials(authorization_id="kurt"), ["EXTERNAL"]),
        (Credentials(), ["EXTERNAL"]),
        (None, []),
    ],
)
def test_only_what_suits_the_credentials_is_a_candidate(credentials: Credentials | None, suiting: list[str]) -> None:
    choice = chosen(credentials)
    assert names(choice) == suiting
    if not suiting:
        assert choice.why is ErrorCode.NO_COMMON_MECHANISM
        assert choice.message.endswith("the client can use none: the credentials suit none, or are missing")


@pytest.mark.parametrize("name", list(CLIENT_MECHANISMS))
def test_the_descriptions_are_those_of_what_is_made(name: str) -> None:
    (described,) = [each for each in MECHANISMS if each.name == name]
    client = CLIENT_MECHANISMS[name](BOTH) or CLIENT_MECHANISMS[name](Credentials())
    server = SERVER_MECHANISMS[name]()
    assert client is not None
    assert client.name == server.name == name
    assert client.exposes_secret is server.exposes_secret is described.exposes_secret
    assert getattr(client, "has_secret", True) is described.has_secret
    assert (bound(client, {}, EVERY_NAME) is None) is described.binds_channel
    assert (bound(server, {}, EVERY_NAME) is None) is described.binds_channel
    assert described.source


# --- what narrows it -------------------------------------------------------------------------------------------------


def test_mechanisms_narrows_and_orders() -> None:
    def only(*mechanisms: str | ClientMechanism) -> list[str]:
        return names(chosen(BOTH, mechanisms=mechanisms))

    assert only("login", "XOAuth2") == ["LOGIN", "XOAUTH2"]
    assert only("PLAIN", "plain") == ["PLAIN"]
    assert only(Ntlm(), "PLAIN") == ["NTLM", "PLAIN"]
    assert only("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-512") == ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-512"]
    assert only("SCRAM-SHA-256-PLUS", "PLAIN") == ["PLAIN"]
    assert only() == []


@pytest.mark.parametrize("name", ["EXTERNAL", "ANONYMOUS"])
def test_what_needs_no_credentials_needs_its_name(name: str) -> None:
    assert names(chosen(None, mechanisms=[name.lower()])) == [name]
    assert names(chosen(Credentials(), mechanisms=[name])) == [name]
    assert names(chosen(None)) == []
    # Who has a password does not want to be nobody; and a secret is not shown to who did not ask for it.
    assert names(chosen(BOTH, [name])) == []
    assert names(chosen(BOTH, mechanisms=[name])) == []


@pytest.mark.rfc("4505", "2")
def test_nobody_becomes_anonymous_without_having_asked() -> None:
    for credentials in (None, Credentials(), Credentials("tim"), Credentials(authorization_id="kurt"), BOTH):
        assert "ANONYMOUS" not in names(chosen(credentials, bindings=BINDINGS))


def test_a_mechanism_of_the_programs_own_needs_no_credentials_and_stays_itself() -> None:
    mine = Ntlm()
    choice = chosen(None, ["NTLM"], secure=False, mechanisms=[mine, "PLAIN"])
    assert choice.candidates == (mine,)
    assert choice.candidates[0] is mine
    assert error_of(mine) is None


def test_of_two_mechanisms_with_one_name_the_first_is_taken() -> None:
    class LowerCase(Ntlm):
        name = "plain"

    mine = LowerCase()
    choice = chosen(BOTH, ["PLAIN"], mechanisms=[mine, "PLAIN"])
    assert choice.candidates == (mine,)
    assert choice.candidates[0] is mine


class Nameless:
    name = None
    exchange = Ntlm.exchange


class Silent:
    name = "NTLM"


@pytest.mark.parametrize(
    "wrong", [None, 5, b"PLAIN", object(), ("PLAIN",), Credentials("tim", PASSWORD), Nameless(), Silent()]
)
def test_what_is_no_mechanism_is_refused(wrong: Any) -> None:
    with pytest.raises(LocalProtocolError, match=rf"^mechanisms has a {type(wrong).__name__}: it must be a name, or"):
        chosen(BOTH, mechanisms=[wrong])


def test_names_that_are_not_known_are_refused_even_where_nothing_is_offered() -> None:
    with pytest.raises(
        LocalProtocolError, match=rf"^no mechanism is named 'SCRAM': there are {', '.join(EVERY_NAME)}$"
    ):
        chosen(BOTH, [], mechanisms=["SCRAM"])
    with pytest.raises(LocalProtocolError, match="give a list"):
        chosen(BOTH, mechanisms="PLAIN")


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("4954", "9")
def test_a_secret_is_exposed_only_under_tls_unless_the_program_allows_it() -> None:
    choice = chosen(BOTH, EXPOSING, secure=False)
    assert names(choice) == []
    assert choice.why is ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN
    assert choice.message.startswith(f"{', '.join(EXPOSING)} would expose the secret")
    assert names(chosen(BOTH, EXPOSING, secure=False, allow_plaintext=True)) == EXPOSING
    assert names(chosen(BOTH, secure=False)) == [*SCRAM, "CRAM-MD5"]
    assert names(chosen(BOTH, secure=False, mechanisms=["PLAIN", Ntlm()])) == ["NTLM"]


@pytest.mark.rfc("3207", "6")
def test_where_tls_was_wanted_and_is_not_there_nothing_that_hangs_on_a_secret_is_used() -> None:
    """The offer of STARTTLS may have been taken away by who would like to guess at what comes instead."""
    choice = chosen(BOTH, secure=False, wants_tls=True)
    assert names(choice) == []
    assert choice.why is ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN
    assert "nothing that depends on the secret is sent" in choice.message
    exposing = chosen(BOTH, EXPOSING, secure=False, wants_tls=True)
    assert exposing.why is ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN
    assert names(chosen(BOTH, secure=False, wants_tls=True, mechanisms=[Ntlm()])) == []
    # What has no secret has none to lose, and what is allowed, is.
    offered = [*ALL, "X-TICKET"]
    harmless = ["EXTERNAL", "ANONYMOUS", Ticket(), Ntlm()]
    options: dict[str, Any] = {"secure": False, "wants_tls": True}
    assert names(chosen(None, offered, mechanisms=harmless, **options)) == ["EXTERNAL", "ANONYMOUS", "X-TICKET"]
    assert names(chosen(BOTH, **options, allow_plaintext=True)) == names(chosen(BOTH))
    assert names(chosen(BOTH, wants_tls=True)) == names(chosen(BOTH))


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [True, False])
def test_nothing_offered_is_told_apart(secure: bool) -> None:
    choice = chosen(BOTH, [], secure=secure, allow_plaintext=True)
    assert names(choice) == []
    assert choice.why is ErrorCode.AUTHENTICATION_NOT_OFFERED
    assert ("under TLS" in choice.message) is not secure


def test_nothing_in_common_is_told_apart_and_both_sides_are_named() -> None:
    choice = chosen(Credentials("tim", PASSWORD), ["GSSAPI", "ntlm"])
    assert choice.why is ErrorCode.NO_COMMON_MECHANISM
    assert choice.message.endswith(f"the server offers GSSAPI, NTLM, the client can use {', '.join(WITH_PASSWORD)}")
    choice = chosen(BOTH, ["GSSAPI"], mechanisms=["SCRAM-SHA-1-PLUS", "LOGIN"], bindings=BINDINGS)
    assert choice.message.endswith("the server offers GSSAPI, the client can use SCRAM-SHA-1-PLUS, LOGIN")
    choice = chosen(BOTH, ["SCRAM-SHA-1-PLUS"], mechanisms=["SCRAM-SHA-1-PLUS"])
    assert choice.message.endswith(
        "the server offers SCRAM-SHA-1-PLUS, the client can use none; SCRAM-SHA-1-PLUS needs a channel binding, which "
        "this connection has not"
    )


def test_what_a_server_offers_cannot_flood_or_forge_the_message() -> None:
    offered = ["bad\r\nname", "x" * 21, "ü", *(f"M{number}" for number in range(10_000))]
    choice = chosen(BOTH, offered)
    assert choice.message.isprintable()
    assert len(choice.message) < 300
    assert "none that is valid" in chosen(BOTH, ["****"]).message


# --- usable ----------------------------------------------------------------------------------------------------------


def test_usable_is_what_is_known_here_best_first_and_exposes_nothing() -> None:
    assert usable(ALL, secure=True) == tuple(EVERY_NAME)
    assert usable(["login", "GSSAPI", "Scram-Sha-1", "LOGIN"], secure=True) == ("SCRAM-SHA-1", "LOGIN")
    assert usable(ALL, secure=False) == tuple(name for name in EVERY_NAME if name not in EXPOSING)
    assert usable(["PLAIN"], secure=False) == usable([], secure=True) == ()


# --- whatever is asked -----------------------------------------------------------------------------------------------


@given(
    offered=st.lists(st.sampled_from(ALL) | st.text(max_size=5)),
    credentials=st.sampled_from([None, BOTH, Credentials("tim", PASSWORD), Credentials("tim", token=TOKEN)]),
    mechanisms=st.none() | st.lists(st.sampled_from([*EVERY_NAME, Ntlm(), Ticket(), PlainClient("u", PASSWORD)])),
    secure=st.booleans(),
    wants_tls=st.booleans(),
    allow_plaintext=st.booleans(),
    bindings=st.sampled_from([{}, BINDINGS]),
)
def test_whatever_is_asked_no_secret_leaves_and_none_shows(
    offered: list[str],
    credentials: Credentials | None,
    mechanisms: list[str | ClientMechanism] | None,
    secure: bool,
    wants_tls: bool,
    allow_plaintext: bool,
    bindings: dict[str, bytes],
) -> None:
    choice = choose(
        offered,
        credentials,
        secure=secure,
        allow_plaintext=allow_plaintext,
        wants_tls=wants_tls,
        mechanisms=mechanisms,
        bindings=bindings,
    )
    found = names(choice)
    assert set(found) <= {name.upper() for name in offered}
    assert len(set(found)) == len(found)
    assert_unshown(choice, PASSWORD, TOKEN)
    assert choice.message.isprintable()
    if not (secure or allow_plaintext):
        assert not set(found) & set(EXPOSING)
        assert not wants_tls or set(found) <= {"EXTERNAL", "ANONYMOUS", "X-TICKET"}
    if not bindings:
        assert not set(found) & set(PLUS)


@pytest.mark.rfc("5802", "7")
@pytest.mark.parametrize("bindings", [{"tls-exporter": b""}, {"tls exporter": b"x"}, {"a,n=b": b"x"}, {"": b"x"}])
def test_a_binding_that_binds_nothing_is_refused(bindings: dict[str, bytes]) -> None:
    """With an empty one, -PLUS would promise what it does not do."""
    with pytest.raises(LocalProtocolError, match="channel binding"):
        bound(ScramClient("user", "pencil"), bindings, ["SCRAM-SHA-256"])
