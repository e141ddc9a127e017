"""What a server keeps of a password for SCRAM."""

from __future__ import annotations

import hashlib
import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import strict_base64
from smtpproto.sasl import ScramCredential
from smtpproto.sasl.credential import DIGEST_SIZES, HASHES, MIN_ITERATIONS, MOST_ITERATIONS, same, xor
from tests.sasl_peers import assert_silent, assert_unshown, base64, preparable

PASSWORD = "pass-Wörd 1"
SALT = b"sixteen octets.."
FORBIDDEN = ["bell\a", "\N{CHRISTMAS TREE}", "\u06271", "\u00ad", "", "a\0b", "\ud800"]
"""The last two no client can send, the others SASLprep does not allow."""

hashes = st.sampled_from(list(HASHES))
credentials = hashes.flatmap(
    lambda name: st.builds(
        ScramCredential,
        st.just(name),
        st.binary(min_size=1, max_size=40),
        st.integers(MIN_ITERATIONS, MOST_ITERATIONS),
        st.binary(min_size=DIGEST_SIZES[name], max_size=DIGEST_SIZES[name]),
        st.binary(min_size=DIGEST_SIZES[name], max_size=DIGEST_SIZES[name]),
    )
)


@pytest.mark.rfc("5802", "3")
@pytest.mark.parametrize("name", list(HASHES))
def test_keys_are_those_of_the_rfc(name: str) -> None:
    made = ScramCredential.derive(PASSWORD, hash=name, salt=SALT, iterations=4097)
    # Hi(str, salt, i), written out.
    digest = name.replace("-", "").lower()
    step = hmac.digest(PASSWORD.encode(), SALT + b"\0\0\0\1", digest)
    salted = int.from_bytes(step, "big")
    for _ in range(4096):
        step = hmac.digest(PASSWORD.encode(), step, digest)
        salted ^= int.from_bytes(step, "big")
    salted_password = salted.to_bytes(len(step), "big")
    stored_key = hashlib.new(digest, hmac.digest(salted_password, b"Client Key", digest)).digest()
    server_key = hmac.digest(salted_password, b"Server Key", digest)
    assert made == ScramCredential(name, SALT, 4097, stored_key, server_key)
    assert DIGEST_SIZES[name] == len(stored_key)


def test_it_has_a_salt_of_its_own_and_enough_iterations() -> None:
    one, other = ScramCredential.derive(PASSWORD), ScramCredential.derive(PASSWORD)
    assert (one.hash, len(one.salt), one.iterations) == ("SHA-256", 16, 15_000)
    assert one.salt != other.salt
    assert one != other


@pytest.mark.rfc("5803", "1")
def test_it_is_stored_as_text() -> None:
    made = ScramCredential("SHA-1", b"salt", 4096, bytes(20), b"\xff" * 20)
    assert made.encoded() == f"SCRAM-SHA-1$4096:c2FsdA==${'A' * 27}=:{'/' * 26}8="
    assert ScramCredential.parse(made.encoded()) == made


@pytest.mark.rfc("5803", "1")
@given(credentials)
def test_what_is_stored_is_found_again(made: ScramCredential) -> None:
    assert ScramCredential.parse(made.encoded()) == made
    restored: object = pickle.loads(pickle.dumps(made))
    assert restored == made


@pytest.mark.rfc("5803", "1")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no stored SCRAM credential"),
        ("{SCRAM-SHA-1}4096:c2FsdA==", "no stored SCRAM credential"),
        (f"SCRAM-SHA-1$4096:c2FsdA==${'A' * 27}=:{'A' * 27}=\n", "no stored SCRAM credential"),
        (f"SCRAM-SHA-1$4096:c2FsdA${'A' * 27}=:{'A' * 27}=", "no stored SCRAM credential"),
        (f"SCRAM-SHA-1$4096:c2FsdA==${'A' * 27}=:{'ä' * 27}=", "no stored SCRAM credential"),
        (f"SCRAM-SHA-1$4096:c2FsdA==${'A' * 27}=:{'A' * 28}", "octets of SHA-1"),
        (f"SCRAM-SHA-1$4096:c2FsdA==${'A' * 28}:{'A' * 27}=", "octets of SHA-1"),
        (f"SCRAM-SHA-1$4095:c2FsdA==${'A' * 27}=:{'A' * 27}=", "at least 4096"),
        (f"SCRAM-SHA-1$9999999999:c2FsdA==${'A' * 27}=:{'A' * 27}=", "at most 2147483647"),
        (f"SCRAM-SHA-1${'9' * 5000}:c2FsdA==${'A' * 27}=:{'A' * 27}=", "no stored SCRAM credential"),
        (f"SCRAM-MD5$4096:c2FsdA==${'A' * 27}=:{'A' * 27}=", "no SCRAM hash function is named 'MD5'"),
    ],
)
def test_other_text_is_none(text: str, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        ScramCredential.parse(text)


@given(st.text() | st.text("SCRAM-SHA1256$:=Ac0\n"))
def test_any_text_is_one_or_an_error(text: str) -> None:
    try:
        made = ScramCredential.parse(text)
    except LocalProtocolError:
        return
    assert made.iterations == int(text.split("$")[1].split(":", maxsplit=1)[0])


@pytest.mark.parametrize("iterations", [-1, 0, MIN_ITERATIONS - 1, MOST_ITERATIONS + 1, 10**30])
def test_the_iterations_have_bounds(iterations: int) -> None:
    with pytest.raises(LocalProtocolError, match="at least 4096, and at most 2147483647"):
        ScramCredential.derive(PASSWORD, iterations=iterations)
    with pytest.raises(LocalProtocolError, match="at least 4096, and at most 2147483647"):
        ScramCredential("SHA-1", SALT, iterations, bytes(20), bytes(20))


@pytest.mark.parametrize("iterations", [MIN_ITERATIONS, MOST_ITERATIONS])
def test_the_iterations_may_be_on_their_bounds(iterations: int) -> None:
    assert ScramCredential("SHA-1", SALT, iterations, bytes(20), bytes(20)).iterations == iterations


def test_there_must_be_a_salt_and_a_known_hash_function() -> None:
    with pytest.raises(LocalProtocolError, match="the salt is empty"):
        ScramCredential.derive(PASSWORD, salt=b"")
    with pytest.raises(LocalProtocolError, match="there are SHA-1, SHA-256, SHA-512"):
        ScramCredential.derive(PASSWORD, hash="sha256")


@pytest.mark.rfc("5802", "2.2")
@pytest.mark.parametrize("password", FORBIDDEN)
def test_a_password_that_saslprep_forbids_has_none_and_matches_none(password: str) -> None:
    with pytest.raises(LocalProtocolError, match="password") as error:
        ScramCredential.derive(password, iterations=MIN_ITERATIONS)
    if len(password) > 1:
        assert_silent(error.value, password.replace("\ud800", "?"))
    assert not ScramCredential.derive(PASSWORD, iterations=MIN_ITERATIONS).matches(password)


@pytest.mark.rfc("5802", "2.2")
@pytest.mark.parametrize("name", list(HASHES))
def test_the_password_matches_however_it_is_typed(name: str) -> None:
    made = ScramCredential.derive(PASSWORD, hash=name, iterations=MIN_ITERATIONS)
    assert made.matches(PASSWORD)
    assert made.matches("pass-Wo\u0308rd\u00a01\u00ad")
    for wrong in ("pass-Word 1", "pass-Wörd 1 ", PASSWORD.upper(), PASSWORD.encode().hex()):
        assert not made.matches(wrong)


@given(password=preparable, other=st.text())
def test_no_other_password_matches(password: str, other: str) -> None:
    made = ScramCredential.derive(password, hash="SHA-1", iterations=MIN_ITERATIONS)
    assert made.matches(password)
    if made.matches(other):
        again = ScramCredential.derive(other, hash="SHA-1", salt=made.salt, iterations=MIN_ITERATIONS)
        assert again == made  # SASLprep makes one of the two
    assert not ScramCredential("SHA-1", made.salt, MIN_ITERATIONS, bytes(20), made.server_key).matches(password)


def test_the_keys_do_not_show() -> None:
    made = ScramCredential.derive(PASSWORD, iterations=MIN_ITERATIONS)
    assert_unshown(made, PASSWORD)
    for key in (made.stored_key, made.server_key):
        for form in (repr(key)[2:-1], base64(key), key.hex()):
            assert form not in repr(made)
    assert "stored_key=<redacted>, server_key=<redacted>" in repr(made)


@pytest.mark.rfc("4648", "4")
@pytest.mark.parametrize(
    "text", ["A", "AA", "AA=", "AA===", "AAAA====", "AAAA=", "=", "AB==", "AA==AA==", "AA ==", "A-_A", "AAAA\n", "AÄ=="]
)
def test_base64_is_what_an_encoder_writes(text: str) -> None:
    assert strict_base64(text) is None


@given(st.binary())
def test_base64_is_read_back(octets: bytes) -> None:
    assert strict_base64(base64(octets)) == octets


@pytest.mark.rfc("5802", "2.2")
def test_octets_of_another_length_are_not_cut_short() -> None:
    assert xor(b"\x0f\xf0", b"\xff\xff") == b"\xf0\x0f"
    for left, right in ((b"a", b""), (b"a", b"ab")):
        with pytest.raises(ValueError, match=r"zip\(\) argument 2"):
            xor(left, right)


@given(st.binary(), st.binary())
def test_comparing(left: bytes, right: bytes) -> None:
    assert same(left, right) is (left == right)
    assert same(left, bytes(left))
