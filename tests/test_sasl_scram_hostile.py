"""SCRAM against servers and clients that do not keep to it, by mistake or on purpose."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpproto.grammar import strict_base64
from smtpproto.sasl import (
    AuthenticationRefused,
    Challenge,
    ClientExchange,
    FindCredential,
    Identity,
    MechanismError,
    SaslError,
    ScramClient,
    ScramCredential,
    ScramServer,
    ServerAnswer,
    ServerNotAuthentic,
)
from smtpproto.sasl.credential import MOST_ITERATIONS
from smtpproto.sasl.scram_messages import terms_of
from tests.sasl_peers import (
    Scram,
    answered,
    assert_silent,
    base64,
    challenges,
    conversation,
    is_at_its_end,
    is_satisfied,
    served,
)

if TYPE_CHECKING:
    from collections.abc import Callable


PASSWORD = "pass-Wörd 1"
KNOWING = Scram("SHA-256", PASSWORD)
"""Whoever knows the password."""
KEPT = ScramCredential("SHA-256", KNOWING.salt, KNOWING.iterations, KNOWING.stored_key, KNOWING.server_key)
BINDINGS = {"tls-exporter": b"exported"}
MEGABYTE = 1_000_000
BOTH = ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]


def begun(client: ScramClient | None = None) -> tuple[ClientExchange, str]:
    """A client that has said its first message, and the message without its header."""
    exchange = (client or ScramClient("tim", PASSWORD)).exchange()
    first = next(exchange)
    assert first is not None
    return exchange, first.decode().partition(",,")[2]


def half_done() -> tuple[ClientExchange, str]:
    """A client that has proved itself, and now waits for the server to do so; and what the server should say."""
    exchange, first = begun()
    terms = KNOWING.terms(first.partition("r=")[2] + "x")
    final = exchange.send(Challenge(terms.encode()))
    assert final is not None
    return exchange, KNOWING.verdict(first, terms, final.decode())


def told(exchange: ClientExchange, said: str | bytes | Challenge | None) -> MechanismError:
    """What the client makes of this."""
    if isinstance(said, str | bytes):
        said = Challenge(said.encode() if isinstance(said, str) else said)
    with pytest.raises(MechanismError) as error:
        exchange.send(said)
    assert str(error.value).isascii()
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200
    assert_silent(error.value, PASSWORD)
    return error.value


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client must not begin with the iterations."""

    def keys(*_: object) -> tuple[bytes, bytes]:
        raise AssertionError("the client has begun with the iterations")

    monkeypatch.setattr("smtpproto.sasl.scram.keys", keys)


# --- servers ---------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5802", "5.1")
@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("terms", "why"),
    [
        # the nonce: {r} is the client's
        ("r={r},s={s},i=4096", "the server's nonce is not ours with something behind it"),
        ("r={short},s={s},i=4096", "the server's nonce is not ours"),
        ("r=x,s={s},i=4096", "the server's nonce is not ours"),
        ("r=x{r},s={s},i=4096", "the server's nonce is not ours"),
        ("r={other}x,s={s},i=4096", "the server's nonce is not ours"),
        ("r={r}\x07,s={s},i=4096", "the server's nonce is not ours"),
        ("r={r} x,s={s},i=4096", "the server's nonce is not ours"),
        ("r={r}é,s={s},i=4096", "the server's nonce is not ours"),
        # the iterations
        ("r={r}x,s={s},i=1", "fewer than 4096 iterations"),
        ("r={r}x,s={s},i=4095", "fewer than 4096 iterations"),
        ("r={r}x,s={s},i=1000001", "more iterations than the 1000000 that are allowed"),
        ("r={r}x,s={s},i=1000000000", "more iterations than the 1000000"),
        ("r={r}x,s={s},i=2147483648", "more iterations than the 1000000"),
        ("r={r}x,s={s},i=99999999999999999999", "more iterations than the 1000000"),
        ("r={r}x,s={s},i=0", "the iteration count is no number"),
        ("r={r}x,s={s},i=04096", "the iteration count is no number"),
        ("r={r}x,s={s},i=-4096", "the iteration count is no number"),
        ("r={r}x,s={s},i=+4096", "the iteration count is no number"),
        ("r={r}x,s={s},i= 4096", "the iteration count is no number"),
        ("r={r}x,s={s},i=4096\n", "the iteration count is no number"),
        ("r={r}x,s={s},i=4_096", "the iteration count is no number"),
        ("r={r}x,s={s},i=4096.0", "the iteration count is no number"),
        ("r={r}x,s={s},i=1e4", "the iteration count is no number"),
        ("r={r}x,s={s},i=\u0664\u0660\u0669\u0666", "the iteration count is no number"),
        # the salt
        ("r={r}x,s=,i=4096", "has a field that is no attribute"),
        ("r={r}x,s=====,i=4096", "the salt is empty or no base64"),
        ("r={r}x,s=c2Fsd,i=4096", "the salt is empty or no base64"),
        ("r={r}x,s=c2FsdA=,i=4096", "the salt is empty or no base64"),
        ("r={r}x,s=c2FsdA===,i=4096", "the salt is empty or no base64"),
        ("r={r}x,s=c2FsdB==,i=4096", "the salt is empty or no base64"),
        ("r={r}x,s=c2Fs\ndA==,i=4096", "the salt is empty or no base64"),
        ("r={r}x,s=c2-_,i=4096", "the salt is empty or no base64"),
        ("r={r}x,s=é,i=4096", "the salt is empty or no base64"),
        # the fields
        ("", "has a field that is no attribute"),
        (",", "has a field that is no attribute"),
        ("r={r}x,s={s},i=", "has a field that is no attribute"),
        ("r={r}x,s={s},i=4096,", "has a field that is no attribute"),
        ("r={r}x,s={s},i=4096,x", "has a field that is no attribute"),
        ("r={r}x,s={s},i=4096,1=x", "has a field that is no attribute"),
        ("r={r}x,s={s},i=4096,xy=z", "has a field that is no attribute"),
        ("r={r}x,,s={s},i=4096", "has a field that is no attribute"),
        (" r={r}x,s={s},i=4096", "has a field that is no attribute"),
        ("r={r}x", "has not the attributes r, s, i"),
        ("r={r}x,s={s}", "has not the attributes r, s, i"),
        ("r={r}x,i=4096", "has not the attributes r, s, i in this order"),
        ("s={s},i=4096", "has not the attributes r, s, i in this order"),
        ("r={r}x,i=4096,s={s}", "has not the attributes r, s, i in this order"),
        ("s={s},r={r}x,i=4096", "has not the attributes r, s, i in this order"),
        ("R={r}x,s={s},i=4096", "has not the attributes r, s, i in this order"),
        ("x=y,r={r}x,s={s},i=4096", "has not the attributes r, s, i in this order"),
        ("r={r}x,s={s},x=y,i=4096", "has not the attributes r, s, i in this order"),
        ("r={r}x,s={s},i=4096,i=4096", "has not the attributes r, s, i in this order"),
        ("r={r}x,s={s},i=4096,e=other-error", "has not the attributes r, s, i in this order"),
        ("v=AAAA", "has not the attributes r, s, i in this order"),
        # what is mandatory to understand
        ("m=x,r={r}x,s={s},i=4096", "an extension of SCRAM that is not known here"),
        ("r={r}x,s={s},i=4096,m=x", "an extension of SCRAM that is not known here"),
        ("r={r}x,m=x,s={s},i=4096", "an extension of SCRAM that is not known here"),
        # no text
        ("r={r}x,s={s},i=4096,x=\0", "holds NUL or is not UTF-8"),
    ],
)
def test_terms_that_a_client_does_not_take(terms: str, why: str) -> None:
    exchange, first = begun()
    nonce = first.partition("r=")[2]
    said = terms.format(r=nonce, short=nonce[:-1], other=nonce[::-1], s=base64(KNOWING.salt))
    assert why in str(told(exchange, said))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("challenge", [Challenge(None, "not base64"), Challenge(b"r=\xff"), Challenge(b"")])
def test_challenges_that_are_no_messages(challenge: Challenge) -> None:
    told(begun()[0], challenge)


@pytest.mark.rfc("5802", "5.1")
def test_the_maximum_of_iterations_is_for_the_program_to_say() -> None:
    for most, wanted, taken in ((4096, 4096, True), (4096, 4097, False), (5000, 5000, True), (2**31 - 1, 2**31, False)):
        exchange, first = begun(ScramClient("tim", PASSWORD, max_iterations=most))
        terms = f"r={first.partition('r=')[2]}x,s=c2FsdA==,i={wanted}"
        if taken:
            assert exchange.send(Challenge(terms.encode())) is not None
        else:
            assert f"more iterations than the {most} that are allowed" in str(told(exchange, terms))


def test_the_most_iterations_that_can_be_allowed_may_be_wanted() -> None:
    terms = f"r=nx,s={base64(KNOWING.salt)},i={MOST_ITERATIONS}"
    assert terms_of(terms, "n", MOST_ITERATIONS) == ("nx", KNOWING.salt, MOST_ITERATIONS)


@pytest.mark.rfc("5802", "5.1")
@pytest.mark.parametrize(
    ("verdict", "why"),
    [
        ("v={v}", ""),
        ("v={v},x=y", ""),
        ("v={wrong}", "the server's signature is wrong"),
        ("v={client}", "the server's signature is wrong"),
        ("v={v}=", "the server's signature is wrong"),
        ("v={v}AAAA", "the server's signature is wrong"),
        ("v=AAAA", "the server's signature is wrong"),
        ("v=A", "the server's signature is wrong"),
        ("v==", "the server's signature is wrong"),
        ("v=é", "the server's signature is wrong"),
        ("v= {v}", "the server's signature is wrong"),
        ("v={v}\n", "the server's signature is wrong"),
        ("v=", "has a field that is no attribute"),
        ("", "has a field that is no attribute"),
        ("v={v},", "has a field that is no attribute"),
        ("V={v}", "has not the attributes v in this order"),
        ("x=y,v={v}", "has not the attributes v in this order"),
        ("v={v},v={v}", "has not the attributes v in this order"),
        ("v={v},e=other-error", "has not the attributes v in this order"),
        ("r=abcx,s=c2FsdA==,i=4096", "has not the attributes v in this order"),
        ("m=x,v={v}", "an extension of SCRAM that is not known here"),
        ("v={v},m=x", "an extension of SCRAM that is not known here"),
        ("v={v},x=\0", "holds NUL or is not UTF-8"),
    ],
)
def test_verdicts_that_a_client_does_not_take(verdict: str, why: str) -> None:
    exchange, right = half_done()
    signature = right[2:]
    wrong = ("B" if signature[0] == "A" else "A") + signature[1:]
    said = verdict.format(v=signature, wrong=wrong, client=base64(KNOWING.client_key))
    if not why:
        assert exchange.send(Challenge(said.encode())) == b""
        assert is_satisfied(exchange)
        return
    error = told(exchange, said)
    assert why in str(error)
    assert isinstance(error, ServerNotAuthentic) is ("signature" in why)


@pytest.mark.rfc("5802", "3")
def test_a_signature_is_good_for_one_exchange() -> None:
    _, earlier = half_done()
    exchange, _ = half_done()
    assert isinstance(told(exchange, earlier), ServerNotAuthentic)


@pytest.mark.rfc("5802", "3")
def test_a_server_that_has_another_password() -> None:
    exchange, first = begun()
    other = Scram("SHA-256", "another")
    terms = other.terms(first.partition("r=")[2] + "x")
    final = (exchange.send(Challenge(terms.encode())) or b"").decode()
    assert isinstance(told(exchange, other.verdict(first, terms, final)), ServerNotAuthentic)


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("plus", [False, True])
def test_success_is_not_believed_before_the_signature(plus: bool) -> None:
    client = ScramClient("tim", PASSWORD, name=BOTH[plus]).bound(BINDINGS, BOTH)
    assert client is not None
    at_once, first = begun(client)
    assert isinstance(told(at_once, None), ServerNotAuthentic)
    # A server that puts its signature into the text of the 235 has nothing but None for us either.
    unproven, first = begun(client)
    terms = KNOWING.terms(first.partition("r=")[2] + "x")
    assert unproven.send(Challenge(terms.encode())) is not None
    error = told(unproven, None)
    assert isinstance(error, ServerNotAuthentic)
    assert f"before the {client.name} exchange was complete" in str(error)


@pytest.mark.rfc("5802", "5")
def test_nothing_may_follow_the_signature() -> None:
    exchange, verdict = half_done()
    assert exchange.send(Challenge(verdict.encode())) == b""
    assert is_at_its_end(exchange, Challenge(b""))
    for said in (verdict, "e=other-error"):
        exchange, verdict = half_done()
        assert exchange.send(Challenge(verdict.encode())) == b""
        assert is_at_its_end(exchange, Challenge(said.encode()))


@pytest.mark.rfc("5802", "7")
@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"e=unsupported-channel-binding-type", "unsupported-channel-binding-type"),
        (b"e=channel-binding-not-supported", "channel-binding-not-supported"),
        (b"e=server-does-support-channel-binding", "server-does-support-channel-binding"),
        (b"e=invalid-proof,x=y", "invalid-proof"),
        (b"e=invalid-proof,x=y,z=w", "invalid-proof"),
        (b"e=", None),
        (b"e=,", None),
        (b"e=\xff\x1b[0m", "\\xff [0m"),
        (b"e=" + b"x" * MEGABYTE, "x" * 1022),
    ],
)
@pytest.mark.parametrize("step", [1, 2])
def test_what_the_server_says_about_its_refusal_is_kept(said: bytes, error: str | None, step: int) -> None:
    for after in ("refusal", "challenge", "success"):
        client = ScramClient("tim", PASSWORD)
        exchange, first = begun(client)
        if step == 2:
            exchange.send(Challenge(KNOWING.terms(first.partition("r=")[2] + "x").encode()))
        assert exchange.send(Challenge(said)) == b""
        assert client.error == error
        if after == "refusal":
            exchange.close()
        elif after == "challenge":
            assert is_at_its_end(exchange, Challenge(b"v=AAAA"))
        else:
            failure = told(exchange, None)
            assert isinstance(failure, ServerNotAuthentic)
            assert failure.__context__ is None
        assert client.error == error


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    "said",
    [
        "x" * MEGABYTE,
        "," * MEGABYTE,
        "r=" * (MEGABYTE // 2),
        "r={r}" + "x" * MEGABYTE,
        "r={r}x,s=" + "A" * (MEGABYTE + 1) + ",i=4096",
        "r={r}x,s=c2FsdA==,i=" + "9" * MEGABYTE,
        "r={r}x,s=c2FsdA==,i=1" + "0" * MEGABYTE,
        "r={r}x,s=c2FsdA==,i=" + "0" * MEGABYTE,
        "r={r}x,s=c2FsdA==,i=" + "9" * MEGABYTE + "x",
        "r={r}x,s=c2FsdA==,i=4095" + ",x=y" * (MEGABYTE // 4),
        "r={r}x,s=c2FsdA==,i=4095" + ",x=y" * (MEGABYTE // 4) + ",",
        "m=" + "x" * MEGABYTE,
        "é" * (MEGABYTE // 2),
        "=" * MEGABYTE,
    ],
    ids=lambda said: f"{said[:24]}...",
)
def test_a_challenge_of_a_megabyte(said: str) -> None:
    exchange, first = begun()
    message = said.replace("{r}", first.partition("r=")[2]).encode()
    begin = time.process_time()
    told(exchange, message)
    assert time.process_time() - begin < 5


def test_a_salt_of_a_megabyte_costs_its_length_once() -> None:
    exchange, first = begun()
    terms = f"r={first.partition('r=')[2]}x,s={'AAAA' * (MEGABYTE // 4)},i=4096"
    begin = time.process_time()
    assert exchange.send(Challenge(terms.encode())) is not None
    told(exchange, "v=" + "A" * MEGABYTE)
    assert time.process_time() - begin < 5


@given(
    said=st.lists(st.none() | challenges | st.text("rsivem=,x4096AQ=\0é").map(lambda text: Challenge(text.encode())))
)
def test_whatever_a_server_says_a_client_ends(said: list[Challenge | None]) -> None:
    responses = answered(ScramClient("tim", PASSWORD).exchange(), said)
    # Without the nonce, nothing that depends on the password is said.
    assert all(response == b"" for response in responses)


@settings(max_examples=300)
@given(st.data())
def test_terms_that_are_damaged_are_refused_or_signed_for(data: st.DataObject) -> None:
    """Whatever comes of a damaged message: it is never a success, because the server signs another."""
    exchange, first = begun()
    terms = KNOWING.terms(first.partition("r=")[2] + "x")
    damaged = data.draw(damage(terms))
    try:
        final = exchange.send(Challenge(damaged.encode()))
    except MechanismError:
        return
    assert final is not None
    if final == b"":
        assert damaged.startswith("e=")
        return
    with pytest.raises(ServerNotAuthentic):
        exchange.send(Challenge(KNOWING.verdict(first, terms, final.decode()).encode()))


@given(st.data())
@settings(max_examples=50)
def test_a_verdict_that_is_damaged_is_refused(data: st.DataObject) -> None:
    exchange, verdict = half_done()
    told(exchange, data.draw(damage(verdict).filter(lambda said: not said.startswith("e="))))


@st.composite
def damage(draw: st.DrawFn, text: str) -> str:
    """The text with one thing changed in it."""
    at = draw(st.integers(0, len(text) - 1))
    put = draw(st.text(st.sampled_from("rsivem=,AB901x+/ \0\né"), max_size=2))
    damaged = text[:at] + put + text[at + draw(st.integers(0, 2)) :]
    return damaged if damaged != text else text[:-1]


# --- clients ---------------------------------------------------------------------------------------------------------


def program(answer: ServerAnswer = KEPT, *, authorize: bool = True) -> Callable[[Any], ServerAnswer]:
    return lambda question: answer if isinstance(question, FindCredential) else authorize


def plus() -> ScramServer:
    server = ScramServer(BOTH[1]).bound(BINDINGS, BOTH)
    assert server is not None
    return server


def refusal(outcome: Identity | SaslError) -> SaslError:
    assert isinstance(outcome, SaslError)
    assert str(outcome).isascii()
    assert str(outcome).isprintable()
    assert_silent(outcome, PASSWORD)
    return outcome


@pytest.mark.rfc("5802", "5.1")
@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "does not begin with a GS2 header"),
        (b"n=tim,r=abc", "does not begin with a GS2 header"),
        (b"n,a=,n=tim,r=abc", "does not begin with a GS2 header"),
        (b"p=tls-exporter,,n=tim,r=abc", "is not one of SCRAM-SHA-256"),
        (b"n,a=a=b,n=tim,r=abc", "an equals sign that stands for nothing"),
        (b"n,a=\x07,n=tim,r=abc", "the authorization identity holds what SASLprep does not allow"),
        (b"n,a=\xc2\xad,n=tim,r=abc", "the authorization identity is empty"),
        (b"n,,", "has a field that is no attribute"),
        (b"n,,n=,r=abc", "has a field that is no attribute"),
        (b"n,,n=tim,r=", "has a field that is no attribute"),
        (b"n,,n=tim,r=abc,", "has a field that is no attribute"),
        (b"n,,n=tim,r=abc,x", "has a field that is no attribute"),
        (b"n,,n=tim", "has not the attributes n, r"),
        (b"n,,r=abc", "has not the attributes n, r"),
        (b"n,,r=abc,n=tim", "has not the attributes n, r in this order"),
        (b"n,,x=y,n=tim,r=abc", "has not the attributes n, r in this order"),
        (b"n,,n=tim,x=y,r=abc", "has not the attributes n, r in this order"),
        (b"n,,n=tim,r=abc,r=abc", "has not the attributes n, r in this order"),
        (b"n,,n=tim,r=abc,p=AAAA", "has not the attributes n, r in this order"),
        (b"n,,m=x,n=tim,r=abc", "an extension of SCRAM that is not known here"),
        (b"n,,n=tim,r=abc,m=x", "an extension of SCRAM that is not known here"),
        (b"n,,n=t=im,r=abc", "an equals sign that stands for nothing"),
        (b"n,,n=t=2cim,r=abc", "an equals sign that stands for nothing"),
        (b"n,,n=\x07,r=abc", "the username holds what SASLprep does not allow"),
        (b"n,,n=\xd8\xa71,r=abc", "the username holds what SASLprep does not allow"),
        (b"n,,n=\xc2\xad,r=abc", "the username is empty"),
        (b"n,,n=tim,r=a c", "the nonce has characters that are not allowed"),
        (b"n,,n=tim,r=\xc3\xa9", "the nonce has characters that are not allowed"),
        (b"n,,n=tim,r=abc\r\n", "the nonce has characters that are not allowed"),
        (b"n,,n=tim\0,r=abc", "holds NUL or is not UTF-8"),
        (b"n,,n=\xff,r=abc", "holds NUL or is not UTF-8"),
        (b"n,,n=\xed\xa0\x80,r=abc", "holds NUL or is not UTF-8"),
    ],
)
@pytest.mark.parametrize("initial", [True, False])
def test_first_messages_that_a_server_does_not_take(message: bytes, why: str, initial: bool) -> None:
    def never(question: object) -> ServerAnswer:
        raise AssertionError(question)

    outcome = served(ScramServer(), message if initial else None, [] if initial else [message], never)
    error = refusal(outcome)
    assert why in str(error)
    assert (error.code, error.status) == (501, "5.5.2")


@pytest.mark.rfc("5802", "6")
@pytest.mark.parametrize("message", [b"n,,n=tim,r=abc", b"y,,n=tim,r=abc"])
def test_plus_is_not_done_without_a_channel_binding(message: bytes) -> None:
    error = refusal(served(plus(), message, [], program()))
    assert "is not one of SCRAM-SHA-256-PLUS" in str(error)
    assert error.code == 501


@pytest.mark.rfc("5802", "7")
@pytest.mark.parametrize("response", [b"", b"*", b"\xff", b"e=other-error", b"n,,n=tim,r=abc"])
@pytest.mark.parametrize(
    ("server", "message", "told_client"),
    [
        (plus(), b"p=tls-unique,,n=tim,r=abc", "e=unsupported-channel-binding-type"),
        (plus(), b"p=TLS-EXPORTER,,n=tim,r=abc", "e=unsupported-channel-binding-type"),
        (plus(), b"p=x,,", "e=unsupported-channel-binding-type"),
        (ScramServer(BOTH[1]), b"p=tls-exporter,,n=tim,r=abc", "e=unsupported-channel-binding-type"),
        (ScramServer().bound(BINDINGS, BOTH), b"y,,n=tim,r=abc", "e=server-does-support-channel-binding"),
    ],
)
def test_whatever_the_client_answers_to_a_refusal_it_is_one(
    server: ScramServer, message: bytes, told_client: str, response: bytes
) -> None:
    outcome, heard = conversation(server, program(), saying(message), saying(response))
    assert heard == ["", told_client]
    error = refusal(outcome)
    assert isinstance(error, AuthenticationRefused)
    assert (error.code, error.status) == (535, "5.7.8")


FIRST = "n=tim,r=abc"


def final_of(without_proof: str, scram: Scram = KNOWING, first: str = FIRST) -> Callable[[str], str]:
    """A final message with a proof of these words; {r} is the nonce of both."""
    return lambda terms: scram.final(first, terms, without_proof.format(r=terms.partition(",")[0][2:]))


def with_proof(change: Callable[[str], str]) -> Callable[[str], str]:
    """A final message that is right, but for what is done to its proof."""

    def final(terms: str) -> str:
        words, _, proof = final_of("c=biws,r={r}")(terms).partition(",p=")
        return f"{words},p={change(proof)}"

    return final


def of_octets(change: Callable[[bytes], bytes]) -> Callable[[str], str]:
    """As `with_proof`, but what is done to it is done before it becomes base64."""
    return with_proof(lambda proof: base64(change(strict_base64(proof) or b"")))


def saying(message: str | bytes) -> Callable[[str], str | bytes]:
    return lambda _: message


def then(change: Callable[[str], str]) -> Callable[[str], str]:
    """A final message that is right, but for what is done to it afterwards."""
    return lambda terms: change(final_of("c=biws,r={r}")(terms))


BROKEN: list[tuple[Callable[[str], str | bytes], str]] = [
    (saying(""), "has no proof at its end"),
    (saying("c=biws,r=abc"), "has no proof at its end"),
    (saying("p=AAAA"), "has no proof at its end"),
    (saying(",p=AAAA"), "has a field that is no attribute"),
    (then(lambda final: final + ",x=y"), "the proof is empty or no base64"),
    (with_proof(lambda proof: ""), "the proof is empty or no base64"),
    (with_proof(lambda proof: proof + "="), "the proof is empty or no base64"),
    (with_proof(lambda proof: proof[:-1]), "the proof is empty or no base64"),
    (with_proof(lambda proof: "é"), "the proof is empty or no base64"),
    (final_of("c=biws,r={r},p=AAAA"), "has not the attributes c, r in this order"),
    (final_of("r={r},c=biws"), "has not the attributes c, r in this order"),
    (final_of("c=biws"), "has not the attributes c, r"),
    (final_of("r={r}"), "has not the attributes c, r in this order"),
    (final_of("x=y,c=biws,r={r}"), "has not the attributes c, r in this order"),
    (final_of("c=biws,r={r},c=biws"), "has not the attributes c, r in this order"),
    (final_of("m=x,c=biws,r={r}"), "an extension of SCRAM that is not known here"),
    (final_of("c=biws,r={r},m=x"), "an extension of SCRAM that is not known here"),
    (final_of("c=,r={r}"), "has a field that is no attribute"),
    (final_of("c=biw,r={r}"), "the channel binding is empty or no base64"),
    (final_of("c=biws=,r={r}"), "the channel binding is empty or no base64"),
    (final_of("c=biws,r=abc"), "the nonce is not the one that was sent"),
    (final_of("c=biws,r={r}x"), "the nonce is not the one that was sent"),
    (final_of("c=biws,r=x{r}"), "the nonce is not the one that was sent"),
    (final_of("c=biws,r=é"), "the nonce is not the one that was sent"),
    (saying(b"c=biws,r=\xff,p=AAAA"), "holds NUL or is not UTF-8"),
    (saying(b"c=biws,r=\0,p=AAAA"), "holds NUL or is not UTF-8"),
]


@pytest.mark.rfc("5802", "5.1")
@pytest.mark.parametrize(("final", "why"), BROKEN)
@pytest.mark.parametrize("known", [True, False])
def test_final_messages_that_a_server_does_not_take(final: Callable[[str], str | bytes], why: str, known: bool) -> None:
    # It makes no difference whether there is such a user.
    outcome, heard = conversation(ScramServer(), program(KEPT if known else None), saying(f"n,,{FIRST}"), final)
    error = refusal(outcome)
    assert why in str(error)
    assert error.code == 501
    assert len(heard) == 2


UNPROVEN: list[Callable[[str], str]] = [
    final_of("c=biws,r={r}", Scram("SHA-256", "another")),
    final_of("c=biws,r={r}", first="n=tom,r=abc"),
    final_of("c=biws,r={r}", first="n=tim,r=ab"),
    lambda terms: final_of("c=biws,r={r}")(terms.replace("4096", "4097")),
    then(lambda final: final.replace(",p=", ",x=y,p=")),
    with_proof(lambda proof: "A" * 8000),
    of_octets(lambda proof: bytes(32)),
    of_octets(lambda proof: KNOWING.stored_key),
    of_octets(lambda proof: KNOWING.server_key),
    of_octets(lambda proof: b"A"),
    of_octets(lambda proof: proof[:-1]),
    of_octets(lambda proof: proof + b"\0"),
]


@pytest.mark.rfc("5802", "3")
@pytest.mark.parametrize("final", UNPROVEN)
@pytest.mark.parametrize("answer", [KEPT, None, PASSWORD], ids=["credential", "unknown", "password"])
def test_a_wrong_proof_is_refused_and_no_more_is_said(final: Callable[[str], str], answer: ServerAnswer) -> None:
    server = ScramServer(iterations=4096)
    outcome, heard = conversation(server, program(answer), saying(f"n,,{FIRST}"), final, saying(b""))
    error = refusal(outcome)
    assert isinstance(error, AuthenticationRefused)
    assert (str(error), error.code, error.status) == ("authentication credentials invalid", 535, "5.7.8")
    assert len(heard) == 2


@pytest.mark.rfc("5802", "3")
def test_what_was_overheard_is_good_for_nothing() -> None:
    overheard: list[str] = []

    def final(terms: str) -> str:
        overheard.append(final_of("c=biws,r={r}")(terms))
        return overheard[-1]

    outcome, _ = conversation(ScramServer(), program(), saying(f"n,,{FIRST}"), final, saying(b""))
    assert outcome == Identity("tim")
    outcome, heard = conversation(ScramServer(), program(), saying(f"n,,{FIRST}"), saying(overheard[0]))
    assert "the nonce is not the one that was sent" in str(refusal(outcome))
    # With the new nonce, the proof is another.
    outcome, heard = conversation(
        ScramServer(),
        program(),
        saying(f"n,,{FIRST}"),
        with_proof(lambda _: overheard[0].partition(",p=")[2]),
    )
    assert isinstance(refusal(outcome), AuthenticationRefused)
    assert len(heard) == 2


@pytest.mark.rfc("5802", "6")
@pytest.mark.parametrize(
    ("header", "binding"),
    [
        ("n,,", b"y,,"),
        ("y,,", b"n,,"),
        ("n,,", b"n,a=tom,"),
        ("n,a=tom,", b"n,,"),
        ("n,,", b"n,,exported"),
        ("n,,", b"p=tls-exporter,,exported"),
        ("p=tls-exporter,,", b"p=tls-exporter,,"),
        ("p=tls-exporter,,", b"p=tls-exporter,,another"),
        ("p=tls-exporter,,", b"p=tls-exporter,,exporte"),
        ("p=tls-exporter,,", b"p=tls-unique,,exported"),
        ("p=tls-exporter,,", b"n,,"),
        ("p=tls-exporter,,", b"y,,"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_the_channel_binding_must_be_that_of_the_header(header: str, binding: bytes, known: bool) -> None:
    server = plus() if header.startswith("p") else ScramServer()
    outcome, heard = conversation(
        server,
        program(KEPT if known else None),
        saying(header + FIRST),
        final_of(f"c={base64(binding)},r={{r}}"),
        saying(b"\xff"),
    )
    error = refusal(outcome)
    assert isinstance(error, AuthenticationRefused)
    assert error.code == 535
    assert heard[2:] == ["e=channel-bindings-dont-match"]


@pytest.mark.parametrize("response", [b"\0", b"*", b"v=AAAA", b" "])
def test_the_last_response_is_empty(response: bytes) -> None:
    outcome, heard = conversation(
        ScramServer(), program(), saying(f"n,,{FIRST}"), final_of("c=biws,r={r}"), saying(response)
    )
    assert "the response to the signature is not empty" in str(refusal(outcome))
    assert len(heard) == 3


@pytest.mark.rfc("4422", "3.4.1")
def test_whom_one_may_not_act_as() -> None:
    asked: list[object] = []

    def refuses(question: object) -> ServerAnswer:
        asked.append(question)
        return KEPT if isinstance(question, FindCredential) else False

    final = final_of(f"c={base64(b'n,a=tom,')},r={{r}}")
    outcome, heard = conversation(ScramServer(), refuses, saying(f"n,a=tom,{FIRST}"), final, saying(b""))
    assert isinstance(refusal(outcome), AuthenticationRefused)
    assert (len(asked), len(heard)) == (2, 2)
    # Who has not proved who they are does not learn it.
    outcome, heard = conversation(
        ScramServer(),
        refuses,
        saying(f"n,a=tom,{FIRST}"),
        final_of(f"c={base64(b'n,a=tom,')},r={{r}}", Scram("SHA-256", "another")),
    )
    assert isinstance(refusal(outcome), AuthenticationRefused)
    assert len(asked) == 3


messages = st.binary() | st.text("nypamcre=,2CD3tlsx.biws\0é").map(str.encode)


@given(
    server=st.sampled_from([ScramServer(iterations=4096), ScramServer("SCRAM-SHA-1"), plus()]),
    initial=st.none() | messages,
    responses=st.lists(messages, min_size=4, max_size=4),
    answer=st.sampled_from([None, False, PASSWORD]),
)
def test_whatever_a_client_says_a_server_only_refuses(
    server: ScramServer, initial: bytes | None, responses: list[bytes], answer: ServerAnswer
) -> None:
    assert refusal(served(server, initial, responses, program(answer))).code in (501, 535)


@settings(max_examples=300)
@given(st.data())
def test_a_client_that_is_damaged_on_the_way_does_not_get_in(data: st.DataObject) -> None:
    which = data.draw(st.sampled_from(["first", "final"]))
    first = data.draw(damage(f"n,,{FIRST}")) if which == "first" else f"n,,{FIRST}"

    def final(terms: str) -> str:
        said = final_of("c=biws,r={r}")(terms)
        return data.draw(damage(said)) if which == "final" else said

    outcome, _ = conversation(
        ScramServer().bound(BINDINGS, BOTH) or plus(), program(), saying(first), final, saying(b"")
    )
    refusal(outcome)


def test_a_message_of_the_longest_line_is_read_at_once() -> None:
    # 12288 octets of base64; a name that is all combining characters is the hardest for the normalisation.
    name = "e" + "\u0316\u0301" * 2290
    for said in (
        f"n,,n={name},r=abc",
        "n,,n=" + "\ufdfa" * 3000 + ",r=abc",
        "n,," + "x=y," * 2290,
        "n,a=" + "=2C" * 3000,
    ):
        begin = time.process_time()
        served(ScramServer(), said.encode(), [b""], program(None))
        assert time.process_time() - begin < 2
