"""How the clients of a server authenticate: who knows the secrets, and what is told of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import base64
from smtpproto.sasl import (
    MECHANISMS,
    SERVER_MECHANISMS,
    Authorize,
    Challenge,
    FindCredential,
    FindPassword,
    Identity,
    PlainServer,
    Question,
    ScramCredential,
    ServerExchange,
    Verify,
    VerifyAnonymous,
    VerifyExternal,
    VerifyToken,
)
from smtpproto.server_auth import FAILURE_DELAY, MAX_FAILURES, Secrets, ServerAuth, as_looked_up
from tests.sasl_peers import assert_unshown, maybe_text, preparable

PASSWORD = "pass-Wörd 1"
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
BINDINGS = {"tls-server-end-point": b"digest"}
EVERY_NAME = [each.name for each in MECHANISMS]
LEAST = 4096
"""Iterations, for the sake of the time."""


def kept(password: str = PASSWORD, hash: str = "SHA-256", **terms: Any) -> ScramCredential:  # noqa: A002 - as there
    return ScramCredential.derive(password, hash=hash, iterations=LEAST, **terms)


KEPT = kept()
KEPT_OTHERS = [kept(hash="SHA-1", salt=b"eight oc"), KEPT]


class Hashed:
    """A mechanism of the program's own."""

    name = "x-hashed"
    exposes_secret = False

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        raise NotImplementedError


def offered(auth: ServerAuth, *, secure: bool = True, bindings: Mapping[str, bytes] = BINDINGS) -> list[str]:
    found = auth.offered(secure=secure, bindings=bindings)
    assert [mechanism.name.upper() for mechanism in found.values()] == list(found)
    return list(found)


# --- what is offered -------------------------------------------------------------------------------------------------

SHA_256 = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]


def nobody(name: str) -> None:
    return None


@pytest.mark.parametrize(
    ("given", "mechanisms"),
    [
        ({"credentials": {}}, [*SHA_256, "PLAIN", "LOGIN"]),
        ({"credentials": {"user": PASSWORD}}, [*SHA_256, "PLAIN", "LOGIN"]),
        ({"credentials": {"user": KEPT}}, [*SHA_256, "PLAIN", "LOGIN"]),
        ({"credentials": nobody}, [*SHA_256, "PLAIN", "LOGIN"]),
        ({"tokens": {}}, ["OAUTHBEARER", "XOAUTH2"]),
        ({"tokens": nobody}, ["OAUTHBEARER", "XOAUTH2"]),
        ({"credentials": {}, "tokens": {}}, [*SHA_256, "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"]),
        ({"mechanisms": ["login", "EXTERNAL"]}, ["LOGIN", "EXTERNAL"]),
        ({"credentials": {}, "mechanisms": {"CRAM-MD5": 1}.keys()}, ["CRAM-MD5"]),
        # For another hash function than that of the salted keys there is nothing to go by.
        ({"credentials": {"user": kept(hash="SHA-1")}}, ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN", "LOGIN"]),
        (
            {"credentials": {"first": PASSWORD, "none": [], "user": KEPT_OTHERS}},
            ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"],
        ),
    ],
)
def test_mechanisms_fit_what_was_given_unless_they_are_named(given: dict[str, Any], mechanisms: list[str]) -> None:
    auth = ServerAuth(**given)
    assert [each.name for each in auth.mechanisms] == mechanisms == offered(auth)
    assert repr(auth) == f"<ServerAuth {' '.join(mechanisms)}>"


def test_every_mechanism_can_be_offered() -> None:
    assert list(SERVER_MECHANISMS) == EVERY_NAME
    assert offered(ServerAuth(mechanisms=EVERY_NAME)) == EVERY_NAME
    own = Hashed()
    auth = ServerAuth(mechanisms=[own, "PLAIN", PlainServer()])
    assert auth.mechanisms[0] is own
    assert offered(auth) == ["X-HASHED", "PLAIN"]


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("name", EVERY_NAME)
def test_what_is_offered_hangs_on_tls_and_on_the_bindings(name: str) -> None:
    (described,) = [each for each in MECHANISMS if each.name == name]
    auth = ServerAuth(mechanisms=[name])
    assert bool(offered(auth, secure=False)) is not described.exposes_secret
    assert auth.needs_tls(name) is described.exposes_secret
    assert bool(offered(auth, bindings={})) is not described.binds_channel
    assert not auth.needs_tls("NONESUCH")
    allowed = ServerAuth(mechanisms=[name], allow_plaintext=True)
    assert offered(allowed, secure=False) == [name]
    assert not allowed.needs_tls(name)


@pytest.mark.rfc("4954", "9")
def test_the_defaults_of_failing() -> None:
    auth = ServerAuth({})
    assert (auth.max_failures, auth.failure_delay) == (MAX_FAILURES, FAILURE_DELAY) == (3, 1.0)
    assert (auth.required, auth.allow_plaintext) == (False, False)
    auth = ServerAuth({}, max_failures=1, failure_delay=0, required=True)
    assert (auth.max_failures, auth.failure_delay, auth.required) == (1, 0, True)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "nobody could ever authenticate"),
        ({"mechanisms": []}, "nobody could ever authenticate"),
        ({"credentials": {}, "mechanisms": []}, "nobody could ever authenticate"),
        ({"mechanisms": "PLAIN"}, "give a list"),
        ({"mechanisms": ["NONESUCH"]}, "'NONESUCH' is no mechanism of ours"),
        ({"mechanisms": ["SCRAM-MD5"]}, "'SCRAM-MD5' is no mechanism of ours"),
        ({"credentials": {}, "max_failures": 0}, "max_failures is 0"),
        ({"credentials": {}, "failure_delay": -1}, "failure_delay is -1"),
        ({"credentials": {}, "failure_delay": float("nan")}, "failure_delay is nan"),
        ({"credentials": {}, "failure_delay": float("inf")}, "failure_delay is inf"),
        ({"credentials": [("user", PASSWORD)]}, "credentials is a list: it must be a mapping"),
        ({"credentials": PASSWORD}, "credentials is a str: it must be a mapping"),
        ({"tokens": {TOKEN}}, "tokens is a set: it must be a mapping"),
        ({"credentials": {"user": 5}}, "the credentials of a user are of type int"),
        ({"credentials": {"user": None}}, "the credentials of a user are of type NoneType"),
        ({"credentials": {"user": PASSWORD.encode()}}, "the credentials of a user are of type bytes"),
        ({"credentials": {"user": [PASSWORD]}}, "the credentials of a user are of type list"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LocalProtocolError, match=sentence) as caught:
        ServerAuth(**fields)
    assert_unshown(caught.value, PASSWORD, TOKEN)


@pytest.mark.parametrize(
    ("fields", "unanswered"),
    [
        ({"mechanisms": [*EVERY_NAME, Hashed()]}, [n for n in EVERY_NAME if n != "ANONYMOUS"]),
        ({"mechanisms": EVERY_NAME, "credentials": {}, "tokens": {}}, ["EXTERNAL"]),
        ({"mechanisms": EVERY_NAME, "credentials": {}}, ["EXTERNAL", "OAUTHBEARER", "XOAUTH2"]),
        ({"credentials": {}}, []),
    ],
)
def test_what_only_the_program_can_answer(fields: dict[str, Any], unanswered: list[str]) -> None:
    assert list(ServerAuth(**fields).unanswered) == unanswered


# --- what is answered ------------------------------------------------------------------------------------------------

SOURCES: list[Callable[[dict[str, Any]], Secrets]] = [lambda given: given, lambda given: given.get]
SECRETS: list[Any] = [PASSWORD, KEPT, [KEPT], (KEPT,), KEPT_OTHERS]


@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize("source", SOURCES, ids=["mapping", "callable"])
@pytest.mark.parametrize("secret", SECRETS, ids=["password", "kept", "list", "tuple", "several"])
def test_passwords_are_checked_against_whatever_is_known(
    source: Callable[[dict[str, Any]], Secrets], secret: Any
) -> None:
    auth = ServerAuth(source({"user": secret, "nobody": []}))
    assert auth.answer(Verify("user", PASSWORD)) is True
    for username, password in (("user", "wrong"), ("user", PASSWORD + " "), ("other", PASSWORD), ("nobody", PASSWORD)):
        assert auth.answer(Verify(username, password)) is False


@pytest.mark.parametrize("source", SOURCES, ids=["mapping", "callable"])
def test_scram_and_cram_get_what_they_can_use(source: Callable[[dict[str, Any]], Secrets]) -> None:
    auth = ServerAuth(source({"plain": PASSWORD, "one": KEPT, "several": KEPT_OTHERS, "none": []}))
    assert auth.answer(FindCredential("plain", "SHA-512")) == PASSWORD
    assert auth.answer(FindCredential("one", "SHA-256")) is KEPT
    assert auth.answer(FindCredential("one", "SHA-1")) is None
    assert auth.answer(FindCredential("several", "SHA-1")) is KEPT_OTHERS[0]
    assert auth.answer(FindCredential("several", "SHA-512")) is None
    assert auth.answer(FindCredential("none", "SHA-256")) is None
    assert auth.answer(FindCredential("other", "SHA-256")) is None
    assert auth.answer(FindPassword("plain")) == PASSWORD
    assert auth.answer(FindPassword("one")) is None
    assert auth.answer(FindPassword("other")) is None


@pytest.mark.parametrize("source", SOURCES, ids=["mapping", "callable"])
def test_tokens(source: Callable[[dict[str, Any]], Any]) -> None:
    auth = ServerAuth(tokens=source({TOKEN: "tim"}), authorize=lambda user, acting: (user, acting) == ("tim", "kurt"))
    for acting in ("", "tim", "kurt"):
        assert auth.answer(VerifyToken(TOKEN, acting)) == "tim"
    assert auth.answer(VerifyToken(TOKEN, "eve")) is None
    assert auth.answer(VerifyToken("other", "tim")) is None
    assert ServerAuth({}).answer(VerifyToken(TOKEN)) is None


def test_acting_as_someone_else() -> None:
    asked: list[tuple[str, str]] = []

    def authorize(user: str, acting: str) -> bool:
        asked.append((user, acting))
        return acting == "kurt"

    auth = ServerAuth({"tim": PASSWORD}, authorize=authorize)
    assert auth.answer(Verify("tim", PASSWORD, "kurt")) is True
    assert auth.answer(Verify("tim", PASSWORD, "eve")) is False
    assert auth.answer(Authorize("tim", "kurt")) is True
    assert auth.answer(Authorize("tim", "eve")) is False
    assert asked == [("tim", "kurt"), ("tim", "eve"), ("tim", "kurt"), ("tim", "eve")]
    # Who has not shown who they are is not asked about, nor who acts as they are.
    assert auth.answer(Verify("tim", "wrong", "kurt")) is False
    assert auth.answer(Verify("tim", PASSWORD, "tim")) is True
    assert len(asked) == 4
    closed = ServerAuth({"tim": PASSWORD})
    assert closed.answer(Verify("tim", PASSWORD, "kurt")) is False
    assert closed.answer(Authorize("tim", "kurt")) is False


def test_what_the_policy_knows_nothing_of() -> None:
    auth = ServerAuth(mechanisms=EVERY_NAME)
    assert auth.answer(VerifyAnonymous("trace")) is True
    assert auth.answer(VerifyExternal("user")) is None
    assert auth.answer(Question()) is None
    assert auth.answer(Verify("user", PASSWORD)) is False
    assert auth.answer(FindPassword("user")) is None
    assert auth.answer(FindCredential("user", "SHA-256")) is None


YES: dict[Question, list[Any]] = {
    Verify("user", PASSWORD): [True],
    Authorize("user", "kurt"): [True],
    VerifyAnonymous(): [True],
    FindCredential("user", "SHA-1"): [KEPT, PASSWORD],
    FindPassword("user"): [PASSWORD],
    VerifyToken(TOKEN): ["tim"],
    VerifyExternal(): ["tim"],
}


@pytest.mark.parametrize("question", YES, ids=lambda question: type(question).__name__)
def test_questions_tell_what_answers_them(question: Question) -> None:
    class Text(str):
        __slots__ = ()

    for answer in (True, KEPT, PASSWORD, "tim", 1, b"yes", [KEPT], object(), Awaitable()):
        yes = any(type(answer) is type(each) for each in YES[question])
        assert question.may_be_answered_with(answer) is yes
    assert question.may_be_answered_with(None)
    assert question.may_be_answered_with(False)
    assert question.may_be_answered_with(Text("tim")) is ("str" in question.answers)


# --- names and passwords, in one of the many ways to write them ------------------------------------------------------


@pytest.mark.rfc("4013", "2")
@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(
    ("name", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("\u00aa", "a"), ("\u2168", "IX"), ("\u0221", "\u0221")],
)
def test_names_are_read_as_saslprep_leaves_them(name: str, prepared: str) -> None:
    auth = ServerAuth({prepared: PASSWORD}, authorize=lambda user, acting: pytest.fail(f"{user} is {acting}"))
    assert auth.answer(Verify(name, PASSWORD)) is True
    assert auth.answer(FindPassword(name)) == PASSWORD
    for username, acting in ((name, name), (name, prepared), (prepared, name)):
        assert auth.answer(Verify(username, PASSWORD, acting)) is True
        assert auth.answer(Authorize(username, acting)) is True
    assert as_looked_up(Identity(name, name)) == Identity(prepared, prepared)


@pytest.mark.rfc("4013", "2")
@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize("refused", ["bell\a", "\ue000", "a\u05d0", "\u05d01", "\u2028", "\u00ad", "\u200d\u00ad"])
@pytest.mark.parametrize("secret", [PASSWORD, KEPT])
def test_a_name_that_saslprep_refuses_is_nobody(refused: str, secret: Any) -> None:
    """Also where the program has it so; and of which nothing is left, too."""
    asked: list[str] = []

    def everybody(name: str) -> Any:
        asked.append(name)
        return secret

    for credentials in ({refused: secret, "user": secret}, everybody):
        auth = ServerAuth(credentials, tokens={TOKEN: "user", "other": refused}, authorize=lambda user, acting: True)
        assert auth.answer(Verify(refused, PASSWORD)) is False
        assert auth.answer(FindPassword(refused)) is None
        assert auth.answer(FindCredential(refused, "SHA-256")) is None
        for acting in (refused, "user"):
            assert auth.answer(Verify(refused, PASSWORD, acting)) is False
            assert auth.answer(Authorize(refused, acting)) is False
        assert auth.answer(Verify("user", PASSWORD, refused)) is False
        assert auth.answer(Authorize("user", refused)) is False
        assert auth.answer(VerifyToken(TOKEN, refused)) is None
        assert auth.answer(VerifyToken("other", refused)) is None
        assert auth.answer(Verify("user", PASSWORD, "other")) is True
    assert set(asked) == {"user"}


def test_a_name_that_nobody_can_have_is_not_taken_for_another() -> None:
    """Two names of a mapping that are one to everybody else: the one as it should be written has it."""
    auth = ServerAuth({"\u2168": "wrong", "IX": PASSWORD})
    assert auth.answer(FindPassword("\u2168")) == PASSWORD


@pytest.mark.rfc("4013", "2")
@pytest.mark.parametrize("secret", ["\u2168 \u00e9", ScramCredential.derive("\u2168 \u00e9", iterations=LEAST)])
def test_passwords_are_compared_as_saslprep_leaves_them(secret: Any) -> None:
    auth = ServerAuth({"user": secret})
    for password in ("\u2168 \u00e9", "IX\u00a0e\u0301", "I\u00adX \u00e9"):
        assert auth.answer(Verify("user", password)) is True
    for password in ("IX e", "IX", "IX \u00e9 ", ""):
        assert auth.answer(Verify("user", password)) is False


@pytest.mark.parametrize("nothing", ["", "\u00ad"])
def test_a_password_of_nothing_lets_nobody_in(nothing: str) -> None:
    auth = ServerAuth({"user": nothing})
    for password in ("", "\u00ad", "\u00ad\u200d"):
        assert auth.answer(Verify("user", password)) is False


@given(users=st.dictionaries(preparable, preparable, max_size=3), name=maybe_text, password=maybe_text)
def test_no_one_is_let_in_but_who_is_known(users: dict[str, str], name: str, password: str) -> None:
    prepared = {as_looked_up(Identity(user)).username: secret for user, secret in users.items()}
    auth = ServerAuth(prepared)
    for user, secret in prepared.items():
        assert auth.answer(Verify(user, secret)) is True
    expected = prepared.get(as_looked_up(Identity(name)).username)
    right = expected is not None and as_looked_up(Identity(expected)) == as_looked_up(Identity(password))
    assert auth.answer(Verify(name, password)) is right
    assert auth.answer(FindPassword(name)) == expected


# --- wrong answers of the program ------------------------------------------------------------------------------------


class Awaitable:
    """As a coroutine that nobody has awaited: it is true, and no answer."""

    def __await__(self) -> Iterator[None]:
        raise NotImplementedError


@pytest.mark.parametrize("wrong", [5, PASSWORD.encode(), [PASSWORD], Awaitable(), {"user": PASSWORD}, [KEPT, None]])
@pytest.mark.parametrize("question", [Verify("user", PASSWORD), FindCredential("user", "SHA-1"), FindPassword("user")])
def test_credentials_of_the_wrong_type(wrong: Any, question: Question) -> None:
    auth = ServerAuth(lambda name: wrong)
    with pytest.raises(LocalProtocolError, match=rf"are of type {type(wrong).__name__}: they must be a str") as caught:
        auth.answer(question)
    assert_unshown(caught.value, PASSWORD)


@pytest.mark.parametrize("wrong", [True, 5, b"tim", Awaitable(), Identity("tim")])
def test_users_of_tokens_of_the_wrong_type(wrong: Any) -> None:
    auth = ServerAuth(tokens=lambda token: wrong)
    with pytest.raises(
        LocalProtocolError, match=rf"of type {type(wrong).__name__}: it must be a str, or None"
    ) as caught:
        auth.answer(VerifyToken(TOKEN))
    assert_unshown(caught.value, TOKEN)


@pytest.mark.parametrize("wrong", [1, None, "yes", Awaitable()])
def test_authorize_answers_with_true_or_false(wrong: Any) -> None:
    auth = ServerAuth({"tim": PASSWORD}, authorize=lambda user, acting: wrong)
    with pytest.raises(LocalProtocolError, match=rf"authorize has returned {type(wrong).__name__}: it must be True"):
        auth.answer(Authorize("tim", "kurt"))


def test_what_the_program_raises_comes_out() -> None:
    def fails(key: str) -> Any:
        raise OSError("no database")

    for auth, question in (
        (ServerAuth(fails), Verify("user", PASSWORD)),
        (ServerAuth(tokens=fails), VerifyToken(TOKEN)),
    ):
        with pytest.raises(OSError, match="no database"):
            auth.answer(question)


# --- who is unknown is not told from who is known --------------------------------------------------------------------


def terms(auth: ServerAuth, mechanism: str, username: str) -> tuple[list[Question], bytes, str, str]:
    """What SCRAM asks about a user, and with what salt and how many iterations it answers."""
    bound = auth.offered(secure=True, bindings=BINDINGS)[mechanism]
    header = "p=tls-server-end-point,," if mechanism.endswith("-PLUS") else "n,,"
    exchange = bound.exchange(f"{header}n={username},r=nonce".encode())
    asked: list[Question] = []
    step = next(exchange)
    while not isinstance(step, Challenge):
        asked.append(step)
        step = exchange.send(auth.answer(step))
    exchange.close()
    assert step.data is not None
    nonce, salt, iterations = step.data.decode().split(",")
    assert nonce.startswith("r=nonce")
    return asked, b"", salt, iterations


def test_a_longer_salt_than_is_invented_can_be_kept() -> None:
    auth = ServerAuth({"user": kept(salt=bytes(range(100)))}, mechanisms=SHA_256)
    assert len(terms(auth, "SCRAM-SHA-256", "user")[2]) == len("s=") + 136  # base64 of 100 octets
    assert len(terms(auth, "SCRAM-SHA-256", "other")[2]) == len("s=") + 88  # of 64


@pytest.mark.rfc("5802", "9")
@pytest.mark.parametrize(
    "users",
    [
        {"user": PASSWORD},
        {"user": KEPT},
        {"user": kept(salt=b"eight oc")},
        {"user": [ScramCredential.derive(PASSWORD, hash="SHA-1", salt=b"other", iterations=5000), KEPT]},
    ],
)
def test_unknown_users_look_like_those_that_there_are(users: Mapping[str, Any]) -> None:
    auth = ServerAuth(users, mechanisms=SHA_256)
    shown = {name: {user: terms(auth, name, user) for user in ("user", "other", "third")} for name in SHA_256}
    for answers in shown.values():
        assert len({(iterations, len(salt)) for _, _, salt, iterations in answers.values()}) == 1
        assert len({salt for _, _, salt, _ in answers.values()}) == 3
        assert [asked for asked, *_ in answers.values()] == [[FindCredential(user, "SHA-256")] for user in answers]
    # Asked again, and by the other name of the mechanism, there is no other salt.
    assert shown["SCRAM-SHA-256"] == shown["SCRAM-SHA-256-PLUS"]
    assert terms(auth, "SCRAM-SHA-256", "other") == shown["SCRAM-SHA-256"]["other"]


@pytest.mark.rfc("5802", "9")
def test_the_salts_of_unknown_users_are_of_this_policy() -> None:
    auths = [ServerAuth({"user": KEPT}, mechanisms=SHA_256) for _ in range(2)]
    one, two = (terms(auth, "SCRAM-SHA-256", "other") for auth in auths)
    assert one != two


@pytest.mark.parametrize("users", [{"user": KEPT}, {"user": KEPT_OTHERS}])
def test_it_takes_one_derivation_whether_there_is_a_user_or_not(
    users: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = ServerAuth({**users, "none": []})
    auths = [auth, ServerAuth(users.get)]
    auths[1].answer(Verify("user", PASSWORD))  # by which it has seen of which kind they are
    done: list[int] = []
    derive = hashlib.pbkdf2_hmac

    def counted(hash_name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        done.append(iterations)
        return derive(hash_name, password, salt, iterations)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    for each in auths:
        for name in ("user", "other", "none"):
            for password in (PASSWORD, "wrong"):
                each.answer(Verify(name, password))
                assert done == [LEAST]
                done.clear()


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_nothing_secret_shows() -> None:
    auth = ServerAuth({"user": PASSWORD, "other": KEPT}, tokens={TOKEN: "user"}, mechanisms=EVERY_NAME)
    for thing in (auth, auth.mechanisms, auth.offered(secure=True, bindings=BINDINGS)):
        assert_unshown(thing, PASSWORD, TOKEN, base64(KEPT.stored_key), repr(KEPT.stored_key))
