"""The header of SCRAM and OAUTHBEARER."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.sasl import MechanismError
from smtpproto.sasl.gs2 import Gs2Header, decoded_name, encoded_name, split_header
from tests.sasl_peers import maybe_text, some_text

bindings = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", min_size=1)
headers = st.builds(Gs2Header, st.sampled_from("ny"), st.just(""), maybe_text) | st.builds(
    Gs2Header, st.just("p"), bindings, maybe_text
)


@pytest.mark.rfc("5802", "7")
@pytest.mark.parametrize(
    ("message", "header", "rest"),
    [
        (b"n,,n=user,r=abc", Gs2Header("n"), "n=user,r=abc"),
        (b"y,,", Gs2Header("y"), ""),
        (b"n,a=b=2Cc=3Dd,", Gs2Header("n", "", "b,c=d"), ""),
        (b"n,a=3D=3D2C=2C,x", Gs2Header("n", "", "3D=2C,"), "x"),
        (b"p=tls-server-end-point,,n=\xc3\xa9", Gs2Header("p", "tls-server-end-point"), "n=é"),
        (b"p=tls-exporter,a=\xc3\xa9,,", Gs2Header("p", "tls-exporter", "é"), ","),
    ],
)
def test_headers(message: bytes, header: Gs2Header, rest: str) -> None:
    assert split_header(message) == (header, rest)
    assert f"{header}{rest}".encode() == message


def test_a_header_says_nothing_unless_told() -> None:
    header = Gs2Header()
    assert (header.flag, header.binding, header.authorization_id) == ("n", "", "")
    assert str(header) == "n,,"


@pytest.mark.rfc("5802", "7")
@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,",
        b",,n=user",
        b"N,,",
        b"Y,,",
        b"x,,",
        b"ny,,",
        b" n,,",
        b"\nn,,",
        b"F,n,,",  # gs2-nonstd-flag is for GSS-API only
        b"n,b=c,",
        b"n,a=,",
        b"n,A=c,",
        b"n,a=c",
        b"n=x,,",
        b"p,,",
        b"p=,,",
        b"p=tls_unique,,",
        b"p=tls unique,,",
        b"p=tls-\xc3\xa9,,",
        b"m=x,n,,",
    ],
)
def test_what_is_no_header(message: bytes) -> None:
    with pytest.raises(MechanismError, match="does not begin with a GS2 header"):
        split_header(message)


@pytest.mark.rfc("5802", "5.1")
@pytest.mark.parametrize("name", ["=", "a=", "a=2", "=2c", "=3d", "=41", "==2C", "a,b", ""])
def test_an_equals_sign_must_stand_for_something(name: str) -> None:
    with pytest.raises(MechanismError, match="the username is empty, or has an equals sign"):
        decoded_name("the username", name)
    if name and "," not in name:
        with pytest.raises(MechanismError, match="the authorization identity is empty, or has an equals sign"):
            split_header(f"n,a={name},".encode())


@pytest.mark.parametrize("message", [b"n,a=\0,", b"n,,\0", b"\xff,,", b"n,,\xc3", b"n,a=\xed\xa0\x80,"])
def test_what_is_no_text(message: bytes) -> None:
    with pytest.raises(MechanismError, match="holds NUL or is not UTF-8"):
        split_header(message)


@pytest.mark.rfc("5802", "5.1")
@given(some_text | st.text("=,23CD", min_size=1))
def test_names_come_back(name: str) -> None:
    encoded = encoded_name(name)
    assert "," not in encoded
    assert decoded_name("the name", encoded) == name


@given(headers, maybe_text)
def test_headers_come_back(header: Gs2Header, rest: str) -> None:
    assert split_header(f"{header}{rest}".encode()) == (header, rest)


@given(st.binary() | st.text("nyp=a,23CD").map(str.encode))
def test_a_header_is_written_in_one_way_only(message: bytes) -> None:
    # A server compares what the client repeats in c= with what it makes of the header.
    try:
        header, rest = split_header(message)
    except MechanismError:
        return
    assert f"{header}{rest}".encode() == message
