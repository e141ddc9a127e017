"""Whatever a client says to a whole server, the server ends in order, says nothing but replies, which are the same
however the client's stream is cut and show no secret, and takes no mail and no client against its policy.

The first octet chooses the policy.  What follows is what the client says, in flights; where TLS is due, it begins
behind the flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from fuzz import _transcripts
from fuzz._harness import FLIGHT, chosen, flights_of
from fuzz._sasl import BINDINGS, ITERATIONS, NAMES, NONCE, PASSWORD, SALT, TOKEN, USER, Signed, no_chance
from smtpproto import CommandReceived, ErrorCode, Limits, ServerAuth, Service, ServiceSession, TransportError, flows
from smtpproto.commands import Bdat, EndOfData
from smtpproto.errors import NotTls
from smtpproto.flows import Ask, Close, Receive, Send, StartTls
from smtpproto.grammar import base64
from smtpproto.limits import DEFAULT_LIMITS
from smtpproto.replies import ReplyParser
from smtpproto.sasl import ScramCredential
from smtpproto.testing import octets, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

_LMTP: Final = 1
_SMALL: Final = 2
_IMPLICIT: Final = 4
_REQUIRE_TLS: Final = 8
_REQUIRE_AUTH: Final = 16
_ALLOW_PLAINTEXT: Final = 32
_ALL_MECHANISMS: Final = 64
_NO_AUTH: Final = 128
_MAX_ERRORS: Final = 6
_MAX_FAILURES: Final = 2
_SMALL_LIMITS: Final = Limits(command_line=300, message=200, recipients=3, transactions=4)
_SAID_TWICE: Final = frozenset({"ANONYMOUS", "EXTERNAL"})
"""Mechanisms by which somebody gets in who does not know the password."""


def test_one_input(data: bytes) -> None:
    how, flights = chosen(data), flights_of(data[1:])
    with no_chance():
        said = Server(how, flights, whole).run()
        server = Server(how, flights, octets)
        again = server.run()
        # Where plaintext comes instead of TLS, what was gathered before it is not sent any more.
        assert again == said or (server.injected and again.startswith(said))


def service_of(how: int) -> Service:
    kept = ScramCredential.derive(PASSWORD, salt=SALT, iterations=ITERATIONS)
    auth = ServerAuth(
        {USER: PASSWORD if how & _ALL_MECHANISMS else kept},
        tokens={TOKEN: USER},
        mechanisms=[name for name in NAMES if name not in _SAID_TWICE] if how & _ALL_MECHANISMS else None,
        required=bool(how & _REQUIRE_AUTH),
        allow_plaintext=bool(how & _ALLOW_PLAINTEXT),
        max_failures=_MAX_FAILURES,
    )
    return Service(
        "mx.example",
        starttls=True,
        auth=None if how & _NO_AUTH else auth,
        require_tls=bool(how & _REQUIRE_TLS),
        lmtp=bool(how & _LMTP),
        max_errors=_MAX_ERRORS,
        limits=_SMALL_LIMITS if how & _SMALL else DEFAULT_LIMITS,
    )


class Server:
    """A server, run against flights that are cut so."""

    def __init__(self, how: int, flights: list[bytes], cut: Callable[[bytes], Iterable[bytes]]) -> None:
        implicit = bool(how & _IMPLICIT)
        self.service = service_of(how)
        self.session = ServiceSession(self.service, secure=implicit)
        self.flow = flows.serve(self.session, implicit_tls=implicit)
        self.flights = deque(flights)
        self.cut = cut
        self.pieces = deque[bytes]()
        self.said = b""
        self.injected = False
        self.closed = False

    def run(self) -> bytes:
        """What it said, to the end."""
        answer: Any = None
        try:
            while True:
                effect = self.flow.throw(answer) if isinstance(answer, Exception) else self.flow.send(answer)
                answer = self.answer(effect)
        except StopIteration:
            pass
        assert self.closed
        assert self.session.errors <= _MAX_ERRORS + 1
        assert self.session.auth_failures <= _MAX_FAILURES
        identity = self.session.identity
        assert identity is None or (identity.username, identity.authorization_id) == (USER, "")
        self.assert_replies()
        return self.said

    def answer(self, effect: flows.Effect) -> object:
        assert not self.closed
        match effect:
            case Send(data=data):
                self.said += data
            case Receive(timeout=0):
                return TransportError("nothing yet", ErrorCode.TIMED_OUT)
            case Receive():
                return self.next_piece()
            case StartTls():
                self.injected = bool(self.pieces)
                return NotTls("what has come is no TLS") if self.injected else BINDINGS
            case Ask(subject=CommandReceived(EndOfData() | Bdat())):
                self.assert_policy()
            case Close():
                self.closed = True
            case _:
                pass
        return None

    def next_piece(self) -> bytes:
        while not self.pieces and self.flights:
            self.pieces.extend(filter(None, self.cut(self.flights.popleft())))
        return self.pieces.popleft() if self.pieces else b""

    def assert_policy(self) -> None:
        auth = self.service.auth
        assert self.session.connection.secure or not self.service.require_tls
        assert self.session.identity is not None or auth is None or not auth.required

    def assert_replies(self) -> None:
        *lines, rest = self.said.split(b"\r\n")
        parser = ReplyParser(DEFAULT_LIMITS)
        for line in lines:
            parser.feed_line(line)
        assert not rest
        assert not parser.in_progress
        assert PASSWORD.encode() not in self.said


def scram() -> bytes:
    """What a client says that knows the password."""
    first = "n=user,r=fyko"
    terms = f"r=fyko{NONCE},s={base64(SALT)},i={ITERATIONS}"
    final = f"c={base64(b'n,,')},r=fyko{NONCE}"
    proof = Signed("SCRAM-SHA-256", first, terms, final).proof
    begin, end = base64(f"n,,{first}".encode()), base64(f"{final},p={proof}".encode())
    return f"EHLO x\r\nAUTH SCRAM-SHA-256 {begin}\r\n{end}\r\n\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\n".encode()


def seeds() -> Iterator[bytes]:
    sessions = (
        (b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", b"Subject: x\r\n.\r\nQUIT\r\n"),
        (
            b"EHLO x\r\nSTARTTLS\r\n",
            b"EHLO x\r\nAUTH PLAIN AHVzZXIAcGVuY2lsLTNmOWM=\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.e>\r\n",
        ),
        (b"EHLO x\r\nSTARTTLS\r\nNOOP\r\n",),
        (b"EHLO x\r\nAUTH LOGIN\r\ndXNlcg==\r\ncGVuY2lsLTNmOWM=\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nBDAT 1 LAST\r\na",),
        (scram(), b".\r\n"),
        (b"EHLO x\r\nAUTH SCRAM-SHA-256 biwsbj11c2VyLHI9Znlrbw==\r\n*\r\nAUTH CRAM-MD5\r\ndXNlciAwMA==\r\n",),
        (b"EHLO x\r\nAUTH PLAIN AHVzZXIAd3Jvbmc=\r\nAUTH PLAIN AHVzZXIAd3Jvbmc=\r\nAUTH PLAIN AHVzZXIAd3Jvbmc=\r\n",),
        (b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nRSET\r\nNOOP\r\nHELP\r\n",),
        (b"HELO x\r\nWHAT\r\nDATA\r\nRCPT\r\nVRFY a\r\nEXPN b\r\nETRN c\r\nBDAT x\r\n",),
    )
    for how in (0, 1, 2, 4, 8, 16, 32, 48, 64 | 32, 64 | 4, 64 | 20, 128):
        for session in sessions:
            yield bytes((how,)) + FLIGHT.join(session)
    for number, said in enumerate(_transcripts.commands()):
        yield bytes((number % 256,)) + FLIGHT.join(each[1:] for each in said[1:].split(FLIGHT))
