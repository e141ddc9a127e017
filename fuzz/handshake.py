"""Whatever a server says to a handshake, nothing but ConnectFailed or RemoteProtocolError comes out of it, again and
again; it connects only as the options want it, and neither shows nor sends the password where it must not.

The first octet chooses the security and whether to authenticate; the second how the server's stream is cut, and the
mechanisms.  What follows is what the server says, in flights: one for each time that the client waits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fuzz import _transcripts
from fuzz._harness import FLIGHT, chosen
from fuzz._sasl import BINDINGS, NONCE, PASSWORD, SALT, USER, no_chance
from smtpproto import (
    Connected,
    ConnectFailed,
    ConnectionClosed,
    ConnectOptions,
    Connector,
    RemoteProtocolError,
    Security,
    StartTlsReady,
)
from smtpproto.events import Pause
from smtpproto.grammar import base64, strict_base64
from smtpproto.testing import octets, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

_AUTHENTICATE: Final = 4
_ALLOW_PLAINTEXT: Final = 8
_LMTP: Final = 16
_BINDINGS: Final = 32
_HELD: Final = 64
_MECHANISMS: Final = (None, ("PLAIN",), ("LOGIN",), ("CRAM-MD5",), ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))
_MOST_EVENTS: Final = 1000
_MAY_GO_FIRST: Final = re.compile(rb"(EHLO|HELO|LHLO|STARTTLS|QUIT)\b")
"""What may be said before TLS, where that is required."""


def test_one_input(data: bytes) -> None:
    how, which = chosen(data), chosen(data, 1)
    options = options_of(how, _MECHANISMS[which // 2 % len(_MECHANISMS)])
    with no_chance():
        Handshake(options, bindings=bool(how & _BINDINGS)).play(data[2:], octet_by_octet=bool(which & 1))


def options_of(how: int, mechanisms: tuple[str, ...] | None) -> ConnectOptions:
    return ConnectOptions(
        host="mx.example",
        port=24 if how & _LMTP else 25,
        security=tuple(Security)[how & 3],
        authenticate=bool(how & _AUTHENTICATE),
        username=USER if how & _AUTHENTICATE else None,
        password=PASSWORD if how & _AUTHENTICATE else None,
        mechanisms=mechanisms,
        allow_plaintext_auth=bool(how & _ALLOW_PLAINTEXT),
        initial_response=not how & _HELD,
        lmtp=bool(how & _LMTP),
    )


class Handshake:
    def __init__(self, options: ConnectOptions, *, bindings: bool) -> None:
        self.options = options
        self.bindings = bindings
        self.connector = Connector(options)
        self.events = 0
        self.begin_tls()

    def begin_tls(self) -> None:
        if self.connector.connection.secure and self.bindings:
            self.connector.connection.channel_bindings = BINDINGS

    def play(self, stream: bytes, *, octet_by_octet: bool) -> None:
        try:
            for flight in stream.split(FLIGHT):
                for piece in octets(flight) if octet_by_octet else whole(flight):
                    if piece and self.fed(piece):
                        self.assert_as_wanted()
                        return
            assert self.fed(b"")
        except (ConnectFailed, RemoteProtocolError) as error:
            self.assert_final(error)

    def fed(self, piece: bytes) -> bool:
        """True where it has come to its end."""
        connector = self.connector
        connector.receive_data(piece)
        self.write()
        while not isinstance(event := connector.next_event(), Pause):
            self.events += 1
            assert self.events < _MOST_EVENTS
            if isinstance(event, StartTlsReady):
                connector.tls_established()
                self.begin_tls()
            self.write()
            if isinstance(event, Connected):
                return True
            assert not (piece and isinstance(event, ConnectionClosed))
        return False

    def write(self) -> None:
        """What goes over the wire without TLS shows no password, and under REQUIRED little else."""
        said = self.connector.data_to_send()
        if self.connector.connection.secure:
            return
        for line in said.splitlines():
            decoded = strict_base64(line.split()[-1].decode()) if line else b""
            shown = PASSWORD.encode() in line or PASSWORD.encode() in (decoded or b"")
            assert not shown or self.options.allow_plaintext_auth
            assert self.options.security is not Security.REQUIRED or _MAY_GO_FIRST.match(line)

    def assert_as_wanted(self) -> None:
        connection, options = self.connector.connection, self.options
        assert self.connector.next_event() == self.connector.connected
        assert connection.secure or options.security not in (Security.REQUIRED, Security.IMPLICIT)
        assert connection.authenticated or not options.authenticate
        # The input does not know the password.
        proven = options.mechanisms is not None and "SCRAM-SHA-256" in options.mechanisms
        assert not (options.authenticate and proven), "a server that has not proved itself"

    def assert_final(self, error: ConnectFailed | RemoteProtocolError) -> None:
        assert PASSWORD not in f"{error} {error!r} {vars(error)}"
        for _ in range(2):
            assert str(self.failure()) == str(error)
        assert self.connector.farewell() in (b"", b"QUIT\r\n")

    def failure(self) -> ConnectFailed | RemoteProtocolError | None:
        try:
            self.connector.next_event()
        except (ConnectFailed, RemoteProtocolError) as error:
            return error
        return None


def seeds() -> Iterator[bytes]:
    offer = b"250-mx.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 SCRAM-SHA-256-PLUS\r\n"
    terms = b"334 %b\r\n" % base64(f"r={NONCE}srv,s={base64(SALT)},i=4096".encode()).encode()
    forged = b"334 %b\r\n" % base64(b"v=d3Jvbmc=").encode()
    sessions = (
        (b"220 mx.example ESMTP\r\n", offer, b"220 go\r\n", offer, terms, forged, b"235 ok\r\n"),
        (b"220 mx.example ESMTP\r\n", offer, b"220 go\r\n", offer, b"235 welcome\r\n"),
        (b"220 mx.example ESMTP\r\n", offer, b"220 go\r\n", offer, b"334 \r\n", b"334 VXNlcm5hbWU6\r\n", b"235 ok\r\n"),
        (b"220 mx.example ESMTP\r\n", offer, b"334 PDE4OTZAcG9zdG9mZmljZT4=\r\n", b"535 5.7.8 no\r\n"),
        (b"220 mx.example ESMTP\r\n", offer, b"220 go\r\n250 injected\r\n"),
        (b"220 mx.example\r\n", b"502 what\r\n", b"250 mx.example\r\n"),
        (b"220 mx.example\r\n", offer, b"454 not now\r\n", b"235 ok\r\n"),
        (b"554 no service\r\n", b"221 bye\r\n"),
        (b"220 mx.example\r\n", b"421 leaving\r\n"),
    )
    for how in range(64):
        for session in sessions[: 9 if how < 8 else 3]:
            yield bytes((how, (how + 8) % 10)) + FLIGHT.join(session)
    for number, replies in enumerate(_transcripts.replies()):
        yield bytes((4 | number % 4, number % 10)) + FLIGHT.join(each[1:] for each in replies[1:].split(FLIGHT))
