"""From the exceptions of sockets and of TLS to `TransportError`: a code for programs, a sentence for people."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from typing import cast

from smtpproto import ErrorCode, TransportError
from smtpproto.flows import Dial, Effect

_HOST_NAME_MISMATCH = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""

_CLOSED = frozenset(
    {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ESHUTDOWN, errno.ENOTCONN, errno.EBADF, errno.ENETRESET}
)
_TIMED_OUT = frozenset({errno.ETIMEDOUT, errno.EAGAIN, errno.EINPROGRESS})
"""The last two are what a socket says whose time was up before it began."""

_BEST_FIRST = (
    ErrorCode.CONNECTION_REFUSED,
    ErrorCode.TIMED_OUT,
    ErrorCode.CLOSED_BY_PEER,
    ErrorCode.UNREACHABLE,
)
"""Of several addresses that each failed in its own way, which one's error says most."""

_ERRNO = re.compile(r"\[Errno ([0-9]+)\]")


def translate(error: BaseException, effect: Effect, peer: str) -> TransportError:
    """What an OSError or UnicodeError says of what was to be done."""
    code = _code_of(error, effect)
    return TransportError(_sentence(code, error, effect, peer), code)


def _code_of(error: BaseException, effect: Effect) -> ErrorCode:
    if isinstance(error, socket.gaierror | UnicodeError):
        return ErrorCode.NAME_NOT_FOUND
    if isinstance(error, TimeoutError):
        return ErrorCode.TIMED_OUT
    codes = {_code(number) for number in _numbers(error)}
    code = next((each for each in _BEST_FIRST if each in codes), ErrorCode.UNREACHABLE)
    dialled = isinstance(effect, Dial) or code is ErrorCode.TIMED_OUT
    return code if dialled else ErrorCode.CLOSED_BY_PEER


def _numbers(error: BaseException) -> Iterator[int]:
    """The errno of an error, or of all those that it is made of."""
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _numbers(each)
    elif isinstance(error, OSError) and error.errno is not None:
        yield error.errno
    elif isinstance(error, TimeoutError):
        yield errno.ETIMEDOUT
    elif error.__cause__ is not None:
        yield from _numbers(error.__cause__)
    else:
        # asyncio puts the errors of several addresses into one text.
        yield from map(int, _ERRNO.findall(str(error)))


def _code(number: int) -> ErrorCode:
    if number == errno.ECONNREFUSED:
        return ErrorCode.CONNECTION_REFUSED
    if number in _TIMED_OUT:
        return ErrorCode.TIMED_OUT
    return ErrorCode.CLOSED_BY_PEER if number in _CLOSED else ErrorCode.UNREACHABLE


def _sentence(code: ErrorCode, error: BaseException, effect: Effect, peer: str) -> str:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    detail = f" ({reason})" if reason else ""
    if code is ErrorCode.TIMED_OUT:
        ours = isinstance(error, TimeoutError) and error.errno is None
        return f"{peer} took more than {effect.timeout} s" if ours else f"{peer} took too long{detail}"
    if not isinstance(effect, Dial):
        return f"{peer} closed the connection{detail}"
    if code is ErrorCode.NAME_NOT_FOUND:
        return f"there is no host of the name {effect.host}{detail}"
    if code is ErrorCode.CONNECTION_REFUSED:
        return f"{peer} refuses connections: nothing listens there"
    if code is ErrorCode.CLOSED_BY_PEER:
        return f"{peer} broke the connection off at once{detail}"
    return f"{peer} cannot be reached{detail}"


def translate_tls(error: ssl.SSLError, peer: str) -> TransportError:
    """What OpenSSL has against the peer, or the peer against us."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        if error.verify_code in _HOST_NAME_MISMATCH:
            return TransportError(f"the certificate of {peer} is for another host: {reason}", ErrorCode.WRONG_HOST_NAME)
        return TransportError(f"the certificate of {peer} is not trusted: {reason}", ErrorCode.CERTIFICATE_NOT_TRUSTED)
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return TransportError(f"TLS with {peer} failed: {reason}", ErrorCode.TLS_HANDSHAKE_FAILED)
