"""From exceptions to codes and sentences."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from smtpproto import ErrorCode
from smtpproto.flows import Dial, Effect, Receive
from smtpproto_adapters.translate import translate, translate_tls

DIAL = Dial("mx.example", 25, None, 30)
RECEIVE = Receive(30)
PEER = "mx.example port 25"


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def group(*errors: Exception) -> OSError:
    """As trio, and our own dialling, raise them."""
    error = OSError("all attempts to connect to mx.example:25 failed")
    error.__cause__ = ExceptionGroup("multiple connection attempts failed", errors)
    return error


REFUSED, UNREACHABLE = os_error(errno.ECONNREFUSED), os_error(errno.ENETUNREACH)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (REFUSED, ErrorCode.CONNECTION_REFUSED),
        (UNREACHABLE, ErrorCode.UNREACHABLE),
        (os_error(errno.EHOSTUNREACH), ErrorCode.UNREACHABLE),
        (os_error(errno.ENETDOWN), ErrorCode.UNREACHABLE),
        (os_error(errno.ENOENT), ErrorCode.UNREACHABLE),
        (os_error(errno.EACCES), ErrorCode.UNREACHABLE),
        (os_error(errno.EADDRNOTAVAIL), ErrorCode.UNREACHABLE),
        (OSError("AF_UNIX path too long"), ErrorCode.UNREACHABLE),
        (os_error(errno.ETIMEDOUT), ErrorCode.TIMED_OUT),
        (os_error(errno.EINPROGRESS), ErrorCode.TIMED_OUT),
        (TimeoutError(), ErrorCode.TIMED_OUT),
        (TimeoutError("timed out"), ErrorCode.TIMED_OUT),
        (os_error(errno.ECONNRESET), ErrorCode.CLOSED_BY_PEER),
        (os_error(errno.ECONNABORTED), ErrorCode.CLOSED_BY_PEER),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), ErrorCode.NAME_NOT_FOUND),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), ErrorCode.NAME_NOT_FOUND),
        (UnicodeError("label too long"), ErrorCode.NAME_NOT_FOUND),
        (group(REFUSED), ErrorCode.CONNECTION_REFUSED),
        (group(UNREACHABLE, REFUSED), ErrorCode.CONNECTION_REFUSED),
        (group(UNREACHABLE, TimeoutError("timed out")), ErrorCode.TIMED_OUT),
        (group(UNREACHABLE, UNREACHABLE), ErrorCode.UNREACHABLE),
        (group(group(REFUSED)), ErrorCode.CONNECTION_REFUSED),
        (
            OSError("Multiple exceptions: [Errno 101] Connect call failed ('::1', 25, 0, 0), [Errno 111] Connect call"),
            ErrorCode.CONNECTION_REFUSED,
        ),
    ],
    ids=repr,
)
def test_dialling(error: Exception, code: ErrorCode) -> None:
    translated = translate(error, DIAL, PEER)
    assert translated.code is code
    sentence = str(translated)
    assert "mx.example" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("effect", [RECEIVE, Receive(None)], ids=repr)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (os_error(errno.ECONNRESET), ErrorCode.CLOSED_BY_PEER),
        (os_error(errno.EPIPE), ErrorCode.CLOSED_BY_PEER),
        (os_error(errno.EHOSTUNREACH), ErrorCode.CLOSED_BY_PEER),
        (os_error(errno.EBADF), ErrorCode.CLOSED_BY_PEER),
        (REFUSED, ErrorCode.CLOSED_BY_PEER),
        (os_error(errno.ETIMEDOUT), ErrorCode.TIMED_OUT),
        (os_error(errno.EAGAIN), ErrorCode.TIMED_OUT),
        (TimeoutError(), ErrorCode.TIMED_OUT),
    ],
    ids=repr,
)
def test_within_the_session(error: Exception, code: ErrorCode, effect: Effect) -> None:
    translated = translate(error, effect, PEER)
    assert translated.code is code
    assert str(translated).startswith(PEER)


def test_our_own_timeout_says_how_long_it_was() -> None:
    assert str(translate(TimeoutError(), RECEIVE, PEER)) == "mx.example port 25 took more than 30 s"
    assert "Connection timed out" in str(translate(os_error(errno.ETIMEDOUT), RECEIVE, PEER))


def certificate_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


def tls_error(reason: str | None) -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL] what (_ssl.c:1)")
    setattr(error, "reason", reason)  # noqa: B010 - the type checkers take it to be a str always
    return error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (certificate_error(62, "Hostname mismatch, not valid for 'a'."), ErrorCode.WRONG_HOST_NAME, "another host"),
        (certificate_error(64, "IP address mismatch"), ErrorCode.WRONG_HOST_NAME, "another host"),
        (certificate_error(10, "certificate has expired"), ErrorCode.CERTIFICATE_NOT_TRUSTED, "has expired"),
        (certificate_error(18, "self-signed certificate"), ErrorCode.CERTIFICATE_NOT_TRUSTED, "self-signed"),
        (tls_error("NO_SHARED_CIPHER"), ErrorCode.TLS_HANDSHAKE_FAILED, "no shared cipher"),
        (tls_error(None), ErrorCode.TLS_HANDSHAKE_FAILED, "what"),
    ],
)
def test_tls(error: ssl.SSLError, code: ErrorCode, words: str) -> None:
    translated = translate_tls(error, PEER)
    assert translated.code is code
    assert words in str(translated)
    assert PEER in str(translated)
