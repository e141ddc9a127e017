"""What failing to authenticate costs a client, and what it may not do before: at our servers, on each backend."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from smtpproto import Mail, Reply, ServerAuth, Service
from smtpproto_adapters.server import Handler, ServerSession, Verdict
from smtpproto_adapters.transport import EARLY_SIZE
from tests.adapters.talking import Complaints, Talk, talk, with_server

if TYPE_CHECKING:
    import ssl

    from smtpproto.sasl import Question
    from tests.adapters.backends import AnyServer, Backend

LONG = 600.0
"""Seconds that no test lasts: what has to wait for them fails."""
EHLO = b"EHLO me.example"


def plain(password: str) -> bytes:
    return b"AUTH PLAIN " + b64encode(f"\0user\0{password}".encode())


RIGHT, WRONG = plain("right"), plain("wrong")


def auth(**fields: Any) -> ServerAuth:
    given: dict[str, Any] = {"allow_plaintext": True, "failure_delay": 0, **fields}
    return ServerAuth({"user": "right"}, **given)


class Telling(Handler):
    """Tells when it is asked for a verdict, and when the session is over."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.over = threading.Event()

    def verify(self, session: ServerSession, question: Question) -> Verdict:
        self.asked.set()
        return None

    def end(self, session: ServerSession) -> None:
        self.over.set()


# A refusal takes its time ------------------------------------------------------------------------------------------


@pytest.mark.rfc("4954", "6")
def test_refusal_comes_later(backend: Backend) -> None:
    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(EHLO) == [250]
            begun = time.monotonic()
            assert client.ask(WRONG) == [535]
            assert time.monotonic() - begun >= 0.2
            begun = time.monotonic()
            assert client.ask(b"AUTH LOGIN", b"dXNlcg==", b"d3Jvbmc=") == [334, 334, 535]
            assert time.monotonic() - begun >= 0.2

    with_server(backend, Handler(), work, auth=auth(failure_delay=0.2))


@pytest.mark.rfc("4954", "6")
def test_only_a_wrong_secret_costs_time(backend: Backend) -> None:
    class Unavailable(Handler):
        def verify(self, session: ServerSession, question: Question) -> Verdict:
            return Reply(454, "4.7.0 not now") if session.mail is None and session.hello == "early.example" else None

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(b"EHLO early.example", WRONG) == [250, 454]
            assert client.ask(b"AUTH XYZ", b"AUTH PLAIN", b"*", b"AUTH PLAIN AHVzZXI=") == [504, 334, 501, 501]
            assert client.ask(b"AUTH PLAIN", b"?") == [334, 501]
            assert client.ask(EHLO, RIGHT, b"AUTH PLAIN") == [250, 235, 503]

    with_server(backend, Unavailable(), work, auth=auth(failure_delay=LONG, max_failures=99))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_what_is_sent_during_the_delay_is_not_lost(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext, secure: bool
) -> None:
    def work(server: AnyServer) -> None:
        with talk(server, client_context if secure else None) as client:
            assert client.reply() == 220
            assert client.ask(EHLO) == [250]
            client.say(WRONG + b"\r\n")
            time.sleep(0.05)
            client.say(b"NOOP\r\nMAIL FRO")
            time.sleep(0.05)
            client.say(b"M:<>\r\nQUIT\r\n")
            assert [client.reply() for _ in range(5)] == [535, 250, 250, 221, 0]

    tls: dict[str, Any] = {"context": server_context, "implicit_tls": True} if secure else {}
    with_server(backend, Handler(), work, auth=auth(failure_delay=0.3), **tls)


@pytest.mark.rfc("3207", "4.2")
def test_plaintext_of_the_delay_does_not_get_into_tls(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """It was kept below TLS, and must not be taken for what came through it."""

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(EHLO) == [250]
            client.say(WRONG + b"\r\n")
            time.sleep(0.05)
            client.say(b"STARTTLS\r\nMAIL FROM:<>\r\n")
            assert client.reply() == 535
            heard: list[int] = []
            with suppress(ConnectionError):
                while code := client.reply():
                    heard.append(code)
            assert heard in ([], [220])

    with_server(backend, Handler(), work, auth=auth(failure_delay=0.2), context=server_context)


def test_server_that_ends_during_the_delay(backend: Backend) -> None:
    """The client hears of it at once."""
    handler = Telling()

    def work(server: AnyServer) -> Talk:
        client = Talk(server)
        assert client.reply() == 220
        assert client.ask(EHLO) == [250]
        client.say(WRONG + b"\r\n")
        assert handler.asked.wait(10)
        return client

    begun = time.monotonic()
    client = with_server(backend, handler, work, auth=auth(failure_delay=LONG), grace=30)
    assert time.monotonic() - begun < 20
    with client.socket:
        assert client.reply() == 421
        assert b"4.3.2" in client.last
        assert client.reply() == 0


def test_client_that_goes_during_the_delay(backend: Backend, complaints: Complaints) -> None:
    handler = Telling()

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(EHLO) == [250]
            client.say(WRONG + b"\r\n")
            assert handler.asked.wait(10)
        assert handler.over.wait(10)

    with_server(backend, handler, work, auth=auth(failure_delay=LONG), on_end=handler.end)
    assert complaints.errors == []


def test_client_that_floods_during_the_delay(backend: Backend, complaints: Complaints) -> None:
    """So much is kept, and no more: the session is over then."""
    handler = Telling()
    flood = b"NOOP\r\n" * 10_000

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(EHLO) == [250]
            client.say(WRONG + b"\r\n")
            said = 0
            with suppress(OSError):
                while said < 64 * EARLY_SIZE:
                    client.say(flood)
                    said += len(flood)
            assert EARLY_SIZE // 2 < said < 64 * EARLY_SIZE
        assert handler.over.wait(10)

    with_server(backend, handler, work, auth=auth(failure_delay=LONG), on_end=handler.end)
    assert complaints.errors == []


# And there are not many of them ------------------------------------------------------------------------------------


@pytest.mark.rfc("4954", "6")
def test_too_many_failures(backend: Backend) -> None:
    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(EHLO, WRONG, b"NOOP", WRONG, b"AUTH XYZ", b"AUTH PLAIN") == [250, 535, 250, 535, 504, 334]
            client.say(WRONG.split()[2] + b"\r\n" + RIGHT + b"\r\n")
            assert client.reply() == 535
            assert client.reply() == 421
            assert b"4.7.0" in client.last
            assert client.reply() == 0
        with talk(server) as client:  # the next session begins anew
            assert client.reply() == 220
            assert client.ask(EHLO, WRONG, RIGHT) == [250, 535, 235]

    with_server(backend, Handler(), work, auth=auth(max_failures=3))


@pytest.mark.rfc("4954", "6")
def test_mail_before_authentication(backend: Backend) -> None:
    mails: list[Mail] = []

    class Noting(Handler):
        def mail(self, session: ServerSession, command: Mail) -> None:
            mails.append(command)

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(EHLO, b"MAIL FROM:<>", b"VRFY you", b"NOOP", b"RSET") == [250, 530, 530, 250, 250]
            assert client.ask(WRONG, b"MAIL FROM:<>") == [535, 530]
            assert mails == []
            assert client.ask(RIGHT, b"MAIL FROM:<>") == [235, 250]

    with_server(backend, Noting(), work, auth=auth(required=True))
    assert mails == [Mail("")]


@pytest.mark.rfc("3207", "4.2")
def test_starttls_first(backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """What exposes the secret is neither offered nor taken without TLS."""

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(EHLO) == [250]
            assert client.last == b"250 AUTH SCRAM-SHA-256"
            assert client.ask(RIGHT, b"AUTH XYZ", b"MAIL FROM:<>", b"STARTTLS") == [538, 504, 530, 220]
            client.start_tls(client_context)
            assert client.ask(EHLO) == [250]
            assert client.last == b"250 AUTH SCRAM-SHA-256 PLAIN LOGIN"
            assert client.ask(RIGHT, EHLO, b"MAIL FROM:<>") == [235, 250, 250]

    service = Service(starttls=True, auth=auth(allow_plaintext=False, required=True))
    with_server(backend, Handler(), work, service=service, context=server_context)
