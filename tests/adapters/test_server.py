"""What a server does, on each backend, with good clients and bad ones."""

from __future__ import annotations

import errno
import socket
import ssl
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import smtpproto_adapters.blocking
from smtpproto import (
    AuthenticationFailed,
    BadCommand,
    Bdat,
    Command,
    ErrorCode,
    Event,
    Identity,
    LocalProtocolError,
    Mail,
    Noop,
    Rcpt,
    Reply,
    Security,
    ServerAuth,
    Service,
    StartTls,
    Timeouts,
    Verify,
    Vrfy,
)
from smtpproto.sasl import Question
from smtpproto_adapters.server import Decision, Handler, Outcome, ServerSession, Verdict
from tests.adapters.backends import BACKENDS
from tests.adapters.talking import Complaints, Talk, talk, with_server

if TYPE_CHECKING:
    from tests.adapters.backends import AnyServer, Backend

T = TypeVar("T")


# Through our own client --------------------------------------------------------------------------------------------

KNOWN = ServerAuth({"user": "pässword"}, failure_delay=0)
LOGIN: dict[str, Any] = {"username": "user", "password": "pässword"}
ASKING = ServerAuth(mechanisms=["PLAIN"], failure_delay=0)
"""It knows nobody: it is for handlers that do."""
ASKING_IN_CLEAR = ServerAuth(mechanisms=["PLAIN"], failure_delay=0, allow_plaintext=True)


def test_helo(backend: Backend) -> None:
    async def scenario() -> None:
        async with backend.serve(Handler(), service=Service("mx.example")) as server:
            options: dict[str, Any] = {"host": server.host, "port": server.port}
            async with backend.client(extended=False, **options) as client:
                assert not client.extended
                assert (await client.noop()).is_positive

    backend.run(scenario)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_starttls_and_explicit_authentication(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext, mechanism: str
) -> None:
    async def scenario() -> None:
        async with backend.serve(Handler(), auth=KNOWN, context=server_context) as server:
            options: dict[str, Any] = {"host": server.host, "port": server.port, "context": client_context}
            async with backend.client(**options, **LOGIN, mechanisms=[mechanism]) as client:
                assert client.tls is not None
                assert "STARTTLS" not in client.extensions
                assert client.extensions.auth == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
                with pytest.raises(AuthenticationFailed) as caught:
                    await client.authenticate(password="wrong")
                assert caught.value.code is ErrorCode.AUTHENTICATION_REFUSED
                with pytest.raises(AuthenticationFailed):
                    await client.authenticate("nobody", "pässword")
                assert (await client.authenticate()).code == 235

    backend.run(scenario)


def test_implicit_tls(backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async with backend.serve(Handler(), auth=KNOWN, context=server_context, implicit_tls=True) as server:
            options: dict[str, Any] = {"host": server.host, "port": server.port, "context": client_context}
            async with backend.client(**options, security=Security.IMPLICIT, authenticate=True, **LOGIN) as client:
                assert client.tls is not None
                assert client.tls.certificate is not None

    backend.run(scenario)


@pytest.mark.rfc("2033", "4.1")
def test_lmtp_through_a_unix_socket(backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "lmtp.sock"
    for _ in range(2):  # the second finds what the first, which did not end well, has left
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(str(path))
            path_is_there = stat.S_ISSOCK(path.stat().st_mode)
            assert path_is_there

        async def scenario() -> None:
            async with backend.serve(Handler(), path=str(path), service=Service("mx.example", lmtp=True)) as server:
                assert (server.host, server.port, server.path) == ("", 0, str(path))
                async with backend.client(path=server.path, lmtp=True) as client:
                    assert client.extended
                    assert (await client.command(Mail(""))).is_positive

        backend.run(scenario)
        assert not path.exists()


def test_unix_socket_of_another_server_is_not_taken_away(backend: Backend, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp.sock")

    async def scenario() -> None:
        async with backend.serve(Handler(), path=path):
            with pytest.raises(OSError, match="in use"):
                async with backend.serve(Handler(), path=path):
                    pass
            async with backend.client(path=path, lmtp=False, host="localhost") as client:
                await client.noop()

    backend.run(scenario)


@pytest.mark.rfc("5321", "4.1.3")
def test_ipv6(backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    if not has_ipv6():
        pytest.skip("there is no ::1 here")
    seen: list[ServerSession] = []

    class Watch(Handler):
        def hello(self, session: ServerSession, command: object) -> Decision:
            seen.append(session)
            return None

    async def scenario() -> None:
        async with backend.serve(Watch(), host="::1", context=server_context) as server:
            assert server.host == "::1"
            async with backend.client(host="::1", port=server.port, context=client_context) as client:
                assert client.tls is not None
                assert seen[0].peer[0] == "::1"
                assert seen[0].hello == "[IPv6:::1]"

    backend.run(scenario)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_many_clients_at_a_time(backend: Backend) -> None:
    def work(server: AnyServer) -> None:
        talks = [Talk(server) for _ in range(20)]
        for each in talks:
            assert each.reply() == 220
        for each in reversed(talks):
            assert each.ask(b"EHLO me.example", b"QUIT") == [250, 221]
            assert each.reply() == 0
            each.socket.close()

    with_server(backend, Handler(), work)


# Handlers ----------------------------------------------------------------------------------------------------------


class Recording(Handler):
    """Notes who was asked what."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.session: ServerSession | None = None

    def note(self, name: str, session: ServerSession) -> Reply | None:
        self.session = session
        self.calls.append(name)
        return None

    def greeting(self, session: ServerSession) -> Decision:
        return self.note("greeting", session)

    def hello(self, session: ServerSession, command: object) -> Decision:
        return self.note("hello", session)

    def mail(self, session: ServerSession, command: Mail) -> Decision:
        return self.note(f"mail {command.reverse_path}", session)

    def rcpt(self, session: ServerSession, command: Rcpt) -> Decision:
        self.note(f"rcpt {command.forward_path}", session)
        return Reply(550, "5.1.1 no such user") if command.forward_path.startswith("nobody") else None

    def data(self, session: ServerSession) -> Decision:
        return self.note("data", session)

    def content(self, session: ServerSession, data: bytes) -> Decision:
        return self.note(f"content {data.decode()}", session)

    def chunk(self, session: ServerSession, command: Bdat) -> Outcome:
        self.note(f"chunk {command.size}", session)
        return super().chunk(session, command)

    def end_of_data(self, session: ServerSession) -> Decision:
        self.note("end", session)
        return Reply(250, "2.0.0 taken")

    def reset(self, session: ServerSession) -> Decision:
        return self.note("reset", session)

    def quit(self, session: ServerSession) -> Decision:
        return self.note("quit", session)

    def command(self, session: ServerSession, command: Command) -> Decision:
        self.note(f"command {type(command).__name__}", session)
        return Reply(250, "user@mx.example") if isinstance(command, Vrfy) else None

    def bad_command(self, session: ServerSession, event: BadCommand) -> Decision:
        return self.note(f"bad {event.reply.code}", session)


def test_handler_is_asked_about_everything(backend: Backend) -> None:
    handler = Recording()

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(b"EHLO me.example", b"NOOP", b"VRFY user", b"HELP", b"WHAT") == [250, 250, 250, 214, 500]
            assert client.ask(b"MAIL FROM:<me@me.example>", b"RCPT TO:<nobody@mx.example>") == [250, 550]
            assert client.ask(b"RCPT TO:<you@mx.example>", b"DATA", b"Hi\r\n..\r\n.") == [250, 354, 250]
            assert client.ask(b"MAIL FROM:<>", b"RCPT TO:<you@mx.example>", b"BDAT 4\r\nHi") == [250, 250, 250]
            assert client.ask(b"BDAT 0 LAST", b"RSET", b"QUIT") == [250, 250, 221]
            assert client.reply() == 0

    with_server(backend, handler, work)
    assert handler.calls == [
        *("greeting", "hello", "command Noop", "command Vrfy", "command Help", "bad 500", "mail me@me.example"),
        *("rcpt nobody@mx.example", "rcpt you@mx.example", "data", "content Hi\r\n.\r\n", "end"),
        *("mail ", "rcpt you@mx.example", "content Hi\r\n", "chunk 4", "chunk 0", "end", "reset", "quit"),
    ]
    session = handler.session
    assert session is not None
    assert session.hello == "me.example"
    assert session.identity is None
    assert session.tls is None
    assert session.peer[0] == "127.0.0.1"
    assert "127.0.0.1 port" in repr(session)


class Awaited(Handler):
    """The same decisions, but they take their time."""

    async def mail(self, session: ServerSession, command: Mail) -> Reply | None:
        return Reply(550, "5.7.1 not you") if command.reverse_path.startswith("bad") else None

    async def verify(self, session: ServerSession, question: Question) -> bool:
        return isinstance(question, Verify) and question.password == "right"


def test_async_handler(backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    service = Service("mx.example", starttls=True, auth=ASKING)
    options: dict[str, Any] = {"service": service, "context": server_context}

    async def scenario() -> None:
        async with backend.serve(Awaited(), **options) as server:
            there: dict[str, Any] = {"host": server.host, "port": server.port, "context": client_context}
            async with backend.client(**there) as client:
                assert (await client.command(Mail("bad@me.example"))).code == 550
                assert (await client.command(Mail("me@me.example"))).code == 250
                await client.reset()
                with pytest.raises(AuthenticationFailed):
                    await client.authenticate("me", "wrong")
                assert (await client.authenticate("me", "right")).code == 235

    if backend.name == "blocking":
        with pytest.raises(
            LocalProtocolError, match=r"Awaited\.(mail|verify) is async: use the server of asyncio or trio"
        ):
            backend.serve(Awaited(), **options)
    else:
        backend.run(scenario)


@pytest.mark.rfc("4954", "4")
def test_identity_and_tls_are_facts_of_the_session(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    seen: list[ServerSession] = []

    class Watch(Handler):
        def mail(self, session: ServerSession, command: Mail) -> Decision:
            seen.append(session)
            return None

    auth = ServerAuth(lambda name: "pässword" if name == "user" else None, failure_delay=0)

    async def scenario() -> None:
        async with backend.serve(Watch(), auth=auth, context=server_context) as server:
            options: dict[str, Any] = {"host": server.host, "port": server.port, "context": client_context}
            async with backend.client(**options, **LOGIN) as client:
                with pytest.raises(AuthenticationFailed):
                    await client.authenticate("nobody", "x")
                with pytest.raises(AuthenticationFailed):
                    await client.authenticate(authorization_id="boss")
                await client.authenticate(authorization_id="user")
                await client.command(Mail(""))
                session = seen[0]
                assert session.identity == Identity("user", "user")
                assert session.tls is not None
                assert session.tls.version == client.tls.version if client.tls else None
                assert session.connection.authenticated

    backend.run(scenario)


class Failing(Handler):
    """Raises where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def fail(self, where: str) -> Reply | None:
        if where == self.where:
            raise RuntimeError(f"in {where}")
        return None

    def greeting(self, session: ServerSession) -> Decision:
        return self.fail("greeting")

    def rcpt(self, session: ServerSession, command: Rcpt) -> Decision:
        return self.fail("rcpt")

    def content(self, session: ServerSession, data: bytes) -> Decision:
        return self.fail("content")

    def end_of_data(self, session: ServerSession) -> Decision:
        return self.fail("end")

    def bad_command(self, session: ServerSession, event: BadCommand) -> Decision:
        return self.fail("bad")

    def verify(self, session: ServerSession, question: Question) -> Verdict:
        self.fail("verify")
        return True


TRANSACTION = (
    b"EHLO me.example",
    b"AUTH PLAIN AHUAcGFzc3dvcmQ=",
    b"WHAT",
    b"MAIL FROM:<>",
    b"RCPT TO:<you@mx.example>",
)


@pytest.mark.rfc("5321", "4.2.3")
@pytest.mark.parametrize(
    ("where", "codes"),
    [
        ("rcpt", [250, 235, 500, 250, 451]),
        ("bad", [250, 235, 451, 250, 250]),
        ("verify", [250, 454, 500, 250, 250]),
        ("content", [250, 235, 500, 250, 250, 354, 451]),
        ("end", [250, 235, 500, 250, 250, 354, 451]),
    ],
)
def test_exception_of_a_handler(backend: Backend, complaints: Complaints, where: str, codes: list[int]) -> None:
    def work(server: AnyServer) -> None:
        for _ in range(2):  # the server lives on, and so does the session
            with talk(server) as client:
                assert client.reply() == 220
                lines = (*TRANSACTION, b"DATA", b"Hi\r\n.")[: len(codes)]
                assert client.ask(*lines) == codes
                assert client.ask(b"NOOP", b"QUIT") == [250, 221]

    service = Service("mx.example", auth=ASKING_IN_CLEAR)
    with_server(backend, Failing(where), work, service=service)
    assert [str(each) for each in complaints.errors] == [f"in {where}"] * 2


def test_exception_at_the_greeting(backend: Backend, complaints: Complaints) -> None:
    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 421
            assert client.reply() == 0

    service = Service("mx.example", auth=ASKING)
    with_server(backend, Failing("greeting"), work, service=service)
    assert len(complaints.errors) == 1


@pytest.mark.rfc("4954", "6")
def test_exception_of_what_knows_the_credentials(backend: Backend, complaints: Complaints) -> None:
    """It is the program's as a handler is, and fails as one: the client is to try again later, and may go on."""

    def failing(username: str) -> str:
        raise RuntimeError("the database is away")

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(*TRANSACTION, b"QUIT") == [250, 454, 500, 250, 250, 221]

    service = Service("mx.example", auth=ServerAuth(failing, allow_plaintext=True))
    with_server(backend, Handler(), work, service=service)
    assert [str(each) for each in complaints.errors] == ["the database is away"]


def test_credentials_are_asked_once(backend: Backend) -> None:
    """Also for a user who is unknown: twice the time would tell."""
    asked: list[str] = []
    auth = ServerAuth(asked.append, allow_plaintext=True, failure_delay=0)

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(*TRANSACTION[:2]) == [250, 535]
            assert client.ask(b"AUTH SCRAM-SHA-256 biwsbj11LHI9eA==") == [334]

    with_server(backend, Handler(), work, auth=auth)
    assert asked == ["u", "u"]


def test_verify_of_an_instance() -> None:
    """A method may be put into one handler, as mocks are."""
    handler = Handler()
    patched: Any = handler
    with pytest.raises(LocalProtocolError, match="nobody could answer"):
        smtpproto_adapters.blocking.serve(handler, auth=ASKING)

    def verify(session: ServerSession, question: Question) -> Verdict:
        return True

    patched.verify = verify
    smtpproto_adapters.blocking.serve(handler, auth=ASKING)


@pytest.mark.parametrize("answer", [True, "250 ok", 250, b"250 ok"])
def test_answer_that_is_none(backend: Backend, complaints: Complaints, answer: Any) -> None:
    class Wrong(Handler):
        def reset(self, session: ServerSession) -> Decision:
            return answer  # type: ignore[no-any-return]

        def verify(self, session: ServerSession, question: Question) -> Verdict:
            return b"yes"

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(b"EHLO me.example", b"RSET", b"NOOP") == [250, 451, 250]
            assert client.ask(b"AUTH PLAIN AHUAcGFzc3dvcmQ=") == [454]

    service = Service("mx.example", auth=ASKING_IN_CLEAR)
    with_server(backend, Wrong(), work, service=service)
    assert [type(each) for each in complaints.errors] == [TypeError] * 2


def test_reply_that_has_no_place(backend: Backend, complaints: Complaints) -> None:
    """354 to RSET: the client is told 421, and the next one is served."""

    class Wrong(Handler):
        def reset(self, session: ServerSession) -> Decision:
            return Reply(354, "go on")

    def work(server: AnyServer) -> None:
        for _ in range(2):
            with talk(server) as client:
                assert client.reply() == 220
                assert client.ask(b"EHLO me.example", b"RSET") == [250, 421]
                assert client.reply() == 0

    with_server(backend, Wrong(), work)
    assert [type(each) for each in complaints.errors] == [LocalProtocolError] * 2


def test_async_answer_of_a_method_that_is_not_async(complaints: Complaints) -> None:
    """It cannot be seen beforehand."""

    class Hidden(Handler):
        def reset(self, session: ServerSession) -> Decision:
            return self.later()

        async def later(self) -> Reply | None:
            return None

    with smtpproto_adapters.blocking.serve(Hidden()) as server, talk(server) as client:  # type: ignore[arg-type]
        assert client.reply() == 220
        assert client.ask(b"EHLO me.example", b"RSET", b"NOOP") == [250, 451, 250]
    assert "async methods are for asyncio and trio" in str(complaints.errors[0])


def test_watcher(backend: Backend) -> None:
    seen: list[tuple[ServerSession, Event]] = []

    def on_event(session: ServerSession, event: Event) -> None:
        seen.append((session, event))

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(b"HELO me.example", b"QUIT") == [250, 221]
            assert client.reply() == 0

    with_server(backend, Handler(), work, on_event=on_event)
    assert len({id(session) for session, _ in seen}) == 1
    assert [type(event).__name__ for _, event in seen][:2] == ["CommandReceived", "CommandReceived"]


# Clients that misbehave --------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.5.3.2.7")
def test_silent_client(backend: Backend) -> None:
    service = Service("mx.example", timeouts=Timeouts(server=0.2))

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.reply() == 421
            assert client.reply() == 0

    with_server(backend, Handler(), work, service=service)


def test_silent_client_where_tls_is_implicit(backend: Backend, server_context: ssl.SSLContext) -> None:
    service = Service("mx.example", timeouts=Timeouts(tls=0.2))

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 0

    with_server(backend, Handler(), work, service=service, context=server_context, implicit_tls=True)


@pytest.mark.parametrize("reset", [True, False])
def test_client_that_vanishes(backend: Backend, complaints: Complaints, reset: bool) -> None:
    def work(server: AnyServer) -> None:
        for said in (b"", b"EHLO me.exa", b"EHLO me.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nHi"):
            with talk(server) as client:
                assert client.reply() == 220
                client.say(said)
                if reset:
                    linger = b"\1\0\0\0\0\0\0\0"
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with talk(server) as client:
            assert client.reply() == 220

    with_server(backend, Handler(), work)
    assert complaints.errors == []


def test_client_that_says_all_and_closes_its_half(backend: Backend) -> None:
    """It hears the answers all the same."""

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            client.say(b"EHLO me.example\r\nNOOP\r\nNOOP\r\n")
            client.socket.shutdown(socket.SHUT_WR)
            assert [client.reply() for _ in range(5)] == [220, 250, 250, 250, 0]

    with_server(backend, Handler(), work)


@pytest.mark.rfc("3207", "4.2")
@pytest.mark.rfc("3207", "6")
@pytest.mark.parametrize("apart", [True, False])
def test_commands_injected_behind_starttls(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext, apart: bool
) -> None:
    handler = Recording()

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(b"EHLO me.example") == [250]
            if apart:
                assert client.ask(b"STARTTLS") == [220]
                client.say(b"MAIL FROM:<injected@me.example>\r\n")
            else:
                client.say(b"STARTTLS\r\nMAIL FROM:<injected@me.example>\r\n")
                assert client.reply() in (0, 220)
            with pytest.raises(OSError, match=r".") as caught:
                client.start_tls(client_context)
            assert isinstance(caught.value, ssl.SSLError | ConnectionError)

    with_server(backend, handler, work, context=server_context)
    assert [call for call in handler.calls if "mail" in call] == []


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x02\x01\x00", b""])
def test_client_without_tls_where_it_is_implicit(
    backend: Backend, server_context: ssl.SSLContext, complaints: Complaints, said: bytes
) -> None:
    def work(server: AnyServer) -> None:
        with talk(server) as client:
            client.say(said)
            client.socket.shutdown(socket.SHUT_WR)
            data = client.socket.recv(1000)
            assert not data or data[0] == 21  # an alert, and never a greeting

    with_server(backend, Handler(), work, context=server_context, implicit_tls=True)
    assert complaints.errors == []


def test_line_that_is_too_long(backend: Backend) -> None:
    """The reply reaches a client that goes on writing: a reset would take it away."""

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            client.say(b"x" * 100_000)
            assert client.reply() >= 421
            assert client.reply() == 0

    with_server(backend, Handler(), work)


class Talkative(Handler):
    def command(self, session: ServerSession, command: Command) -> Decision:
        return Reply(250, ["x" * 500] * 4)


MUCH = b"NOOP\r\n" * 2_000_000


def test_client_that_does_not_read(backend: Backend) -> None:
    """It gets no more than it takes; the server waits, and gives up."""
    service = Service("mx.example", timeouts=Timeouts(server=0.3))

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            client.socket.settimeout(5)
            with pytest.raises(ConnectionError):
                client.say(MUCH)

    with_server(backend, Talkative(), work, service=service)


def test_end_of_tls(backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """The server says its close_notify, so that nobody can cut off what it said."""

    def work(server: AnyServer) -> None:
        with talk(server, client_context) as client:  # which is told to raise where there is none
            assert client.reply() == 220
            assert client.ask(b"QUIT") == [221]
            assert client.reply() == 0

    with_server(backend, Handler(), work, context=server_context, implicit_tls=True)


@pytest.mark.parametrize("backend", BACKENDS[:2], ids=["blocking", "asyncio"], indirect=True)
def test_no_file_descriptor_left(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a moment: the server waits, and takes the client then.  (trio sees to that itself.)"""
    real = socket.socket.accept
    failures = [OSError(errno.EMFILE, "Too many open files")] * 2

    def accept(listener: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise failures.pop()
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
        assert not failures

    with_server(backend, Handler(), work)


def test_most_connections(backend: Backend) -> None:
    def work(server: AnyServer) -> None:
        with talk(server) as first, talk(server) as second:
            assert (first.reply(), second.reply()) == (220, 220)
            for _ in range(3):
                with talk(server) as third:
                    assert third.reply() == 421
                    assert third.reply() == 0
            assert first.ask(b"QUIT") == [221]
            assert first.reply() == 0
            until = time.monotonic() + 5
            code = 421
            while code == 421 and time.monotonic() < until:
                with talk(server) as third:
                    code = third.reply()
            assert code == 220
            assert second.ask(b"NOOP") == [250]

    with_server(backend, Handler(), work, max_connections=2)


def test_most_connections_where_tls_is_implicit(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    def work(server: AnyServer) -> None:
        with talk(server, client_context) as first, talk(server) as second:
            assert first.reply() == 220
            assert second.reply() == 0

    with_server(backend, Handler(), work, context=server_context, implicit_tls=True, max_connections=1)


# The end of a server -----------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "3.8")
@pytest.mark.parametrize("tls", [True, False])
def test_shutdown_with_open_sessions(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext, tls: bool
) -> None:
    """Those that wait are told 421."""
    talks: list[Talk] = []

    def work(server: AnyServer) -> None:
        for said in (b"", b"EHLO me.example", b"EHLO me.ex"):
            client = Talk(server, client_context if tls else None)
            talks.append(client)
            assert client.reply() == 220
            client.say(said)
        client = talks[1]
        client.say(b"\r\n")
        assert client.reply() == 250

    options: dict[str, Any] = {"context": server_context, "implicit_tls": True} if tls else {}
    begun = time.monotonic()
    with_server(backend, Handler(), work, **options)
    assert time.monotonic() - begun < 3
    for client in talks:
        assert client.reply() == 421
        assert b"shutting down" in client.last
        assert client.reply() == 0
        client.socket.close()


def test_shutdown_breaks_off_what_does_not_end(backend: Backend) -> None:
    """A session that cannot be told (its client reads nothing) does not hold the server."""
    talks: list[Talk] = []

    def work(server: AnyServer) -> None:
        client = Talk(server)
        talks.append(client)
        assert client.reply() == 220
        client.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.say(MUCH)

    begun = time.monotonic()
    with_server(backend, Talkative(), work, grace=0.3)
    assert time.monotonic() - begun < 5
    talks[0].socket.close()


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [Stop, ValueError])
def test_exception_in_the_block_comes_out_as_it_is(backend: Backend, error: type[BaseException]) -> None:
    """And waits for nobody."""
    talks: list[Talk] = []

    async def scenario() -> None:
        async with backend.serve(Handler(), grace=60) as server:

            def work() -> None:
                talks.append(Talk(server))
                assert talks[0].reply() == 220

            await backend.in_thread(work)
            raise error("out")

    begun = time.monotonic()
    with pytest.raises(error, match="out"):
        backend.run(scenario)
    assert time.monotonic() - begun < 5
    talks[0].socket.close()


def test_start_and_close_blocking() -> None:
    server = smtpproto_adapters.blocking.serve(Handler())
    server.close()  # it does not run: no harm is done
    for _ in range(2):
        assert server.start() is server
        with pytest.raises(LocalProtocolError, match="runs already"):
            server.start()
        with smtpproto_adapters.blocking.Client(host=server.host, port=server.port) as client:
            assert client.is_connected
        server.close()
        server.close()
        gone = smtpproto_adapters.blocking.Client(host=server.host, port=server.port)
        assert gone.connect_ex() is ErrorCode.CONNECTION_REFUSED


def test_handler_that_does_not_return_blocking() -> None:
    """Its thread cannot be ended; the server's end does not wait for it longer than it was told to."""
    go = threading.Event()

    class Stuck(Handler):
        def reset(self, session: ServerSession) -> Decision:
            go.wait(10)
            return None

    begun = time.monotonic()
    with smtpproto_adapters.blocking.serve(Stuck(), grace=0.1) as server:
        client = Talk(server)  # type: ignore[arg-type]
        assert client.reply() == 220
        assert client.ask(b"EHLO me.example") == [250]
        client.say(b"RSET\r\n")
        time.sleep(0.1)
    assert time.monotonic() - begun < 3
    go.set()
    client.socket.close()
    for thread in threading.enumerate():
        if thread.name.startswith("smtpproto"):
            thread.join(5)
            assert not thread.is_alive()


# What does not fit together ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"implicit_tls": True}, "needs a context"),
        ({"service": Service(starttls=True)}, "needs a context"),
        ({"service": Service(), "context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, "without TLS"),
        ({"max_connections": 0}, "max_connections is 0"),
        ({"service": Service(auth=ServerAuth(mechanisms=["PLAIN"]))}, "PLAIN: nobody could answer"),
        ({"service": Service(), "auth": KNOWN}, "give the auth to the Service"),
    ],
)
def test_options_that_do_not_fit_together(backend: Backend, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LocalProtocolError, match=sentence):
        backend.serve(Handler(), **options)


def test_address_that_cannot_be_listened_at(backend: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        async def scenario() -> None:
            with pytest.raises(OSError, match="in use"):
                async with backend.serve(Handler(), port=other.getsockname()[1]):
                    pass

        backend.run(scenario)


def test_refusal_of_starttls_by_the_handler(backend: Backend, server_context: ssl.SSLContext) -> None:
    class NoTls(Handler):
        def command(self, session: ServerSession, command: Command) -> Decision:
            return Reply(454, "4.7.0 not now") if isinstance(command, StartTls) else None

    async def scenario() -> None:
        async with backend.serve(NoTls(), context=server_context) as server:
            client = backend.client(host=server.host, port=server.port, security=Security.REQUIRED)
            assert await client.connect_ex() is ErrorCode.STARTTLS_REFUSED
            async with backend.client(host=server.host, port=server.port) as client:
                assert client.tls is None
                assert (await client.command(Noop())).is_positive

    backend.run(scenario)
