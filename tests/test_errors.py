"""The exception tree: what each error carries, and that it can be copied and sent elsewhere."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import (
    AuthenticationFailed,
    ConnectFailed,
    ErrorCode,
    LocalProtocolError,
    NotTls,
    ProtocolError,
    RemoteProtocolError,
    Reply,
    SmtpError,
    Stage,
    TransportError,
)


def test_the_tree() -> None:
    assert issubclass(ProtocolError, SmtpError)
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)
    assert issubclass(TransportError, SmtpError)
    assert not issubclass(TransportError, ProtocolError)
    assert issubclass(NotTls, TransportError)


def test_a_remote_protocol_error_says_what_was_received() -> None:
    error = RemoteProtocolError("no reply", b"\xffx\r\n", 501)
    assert str(error) == r"no reply (received b'\xffx\r\n')"
    assert (error.received, error.code) == (b"\xffx\r\n", 501)


def test_a_remote_protocol_error_without_octets() -> None:
    error = RemoteProtocolError("no reply")
    assert str(error) == "no reply"
    assert (error.received, error.code) == (b"", 421)


@given(st.binary(max_size=600))
def test_a_remote_protocol_error_keeps_little(received: bytes) -> None:
    error = RemoteProtocolError("bad", received)
    assert error.received == received[:256]


def test_the_numbers_of_the_outcomes_are_promised() -> None:
    assert {code.name: int(code) for code in ErrorCode} == {
        "SUCCESS": 0,
        "INTERNAL_ERROR": 1,
        "INVALID_ARGUMENT": 2,
        "NAME_NOT_FOUND": 3,
        "CONNECTION_REFUSED": 4,
        "UNREACHABLE": 5,
        "CLOSED_BY_PEER": 6,
        "PROTOCOL_ERROR": 7,
        "SERVICE_NOT_AVAILABLE": 10,
        "HELLO_REFUSED": 11,
        "EXTENDED_NOT_SUPPORTED": 12,
        "STARTTLS_NOT_OFFERED": 20,
        "STARTTLS_REFUSED": 21,
        "TLS_HANDSHAKE_FAILED": 22,
        "CERTIFICATE_NOT_TRUSTED": 23,
        "WRONG_HOST_NAME": 24,
        "AUTHENTICATION_NOT_OFFERED": 30,
        "NO_COMMON_MECHANISM": 31,
        "AUTHENTICATION_REFUSED": 32,
        "AUTHENTICATION_UNAVAILABLE": 33,
        "PLAINTEXT_AUTHENTICATION_FORBIDDEN": 34,
        "SERVER_NOT_AUTHENTIC": 35,
        "TIMED_OUT": 40,
        "DIAL_TIMED_OUT": 41,
        "TLS_TIMED_OUT": 42,
        "GREETING_TIMED_OUT": 43,
        "HELLO_TIMED_OUT": 44,
        "STARTTLS_TIMED_OUT": 45,
        "AUTHENTICATION_TIMED_OUT": 46,
    }


@pytest.mark.parametrize("code", ErrorCode)
def test_the_timeouts_among_the_outcomes(code: ErrorCode) -> None:
    assert code.is_timeout is ("TIMED_OUT" in code.name)


def test_only_success_is_false() -> None:
    assert [code for code in ErrorCode if not code] == [ErrorCode.SUCCESS]


@pytest.mark.parametrize(
    "error",
    [
        LocalProtocolError("no"),
        RemoteProtocolError("no reply", b"xx", 500),
        TransportError("gone", ErrorCode.CLOSED_BY_PEER),
        NotTls("not TLS"),
        ConnectFailed("refused", ErrorCode.SERVICE_NOT_AVAILABLE, Stage.GREETING, Reply(554, "no")),
        AuthenticationFailed("refused", ErrorCode.AUTHENTICATION_REFUSED, Reply(535, "no")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_copied_and_pickled(error: SmtpError) -> None:
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
