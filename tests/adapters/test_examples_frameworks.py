"""The programs of docs/examples that run in another's loop: anyio, Twisted, gevent."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import pytest
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from docs.examples import anyio_mail, twisted_mail
from smtpproto import (
    ConnectFailed,
    ConnectOptions,
    DeliveryResult,
    Envelope,
    ErrorCode,
    Fate,
    Reply,
    Service,
    SmtpError,
)
from smtpproto_adapters.blocking import serve
from smtpproto_adapters.inbox import Inbox
from smtpproto_adapters.local import LocalServer
from tests.scripted import closed_port

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from smtpproto_adapters.server import ServerSession

T = TypeVar("T")
MESSAGE = b"Subject: hello\r\n\r\n.\r\nHow are you?\r\n"
TO_YOU = Envelope("me@me.example", "you@mx.example")
EXAMPLES = Path(anyio_mail.__file__).parent
BACKENDS = ("asyncio", "trio")


class AllAtOnce(Inbox):
    """Greets nobody before all have connected: who waits for one after the other waits in vain."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.all_there = threading.Barrier(count)

    def greeting(self, session: ServerSession) -> None:
        self.all_there.wait(20)


def run_program(name: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """An example as it is started from a shell, to its end: the exit status, and what it printed."""
    path = os.pathsep.join(str(EXAMPLES.parents[1] / each) for each in ("", "adapters"))
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**os.environ, "PYTHONPATH": path, **variables},
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout


PROGRAMS = [
    pytest.param(("anyio_mail.py", "asyncio"), id="anyio-asyncio"),
    pytest.param(("anyio_mail.py", "trio"), id="anyio-trio"),
    pytest.param(("twisted_mail.py",), id="twisted"),
    pytest.param(("gevent_pool.py", "30"), id="gevent"),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_sends_all_at_once(program: tuple[str, ...]) -> None:
    name, *arguments = program
    count = 30 if name == "gevent_pool.py" else 10
    with LocalServer(inbox=AllAtOnce(10)) as server:
        status, printed = run_program(name, server.url, *arguments)
        assert (status, printed.count("accepted"), len(server.inbox)) == (0, count, count)
        recipients = {each.envelope.forward_paths[0] for each in server.inbox}
    assert recipients == {f"user{n}@mx.example" for n in range(count)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_tells_of_what_was_refused(program: tuple[str, ...]) -> None:
    name, *arguments = program
    with LocalServer() as server:
        server.faults.reply("RCPT", Reply(550, "5.1.1 no such user"), nth=3)
        status, printed = run_program(name, server.url, *arguments)
    assert status == 1
    assert printed.count("no such user") == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_tells_that_nobody_listens(program: tuple[str, ...]) -> None:
    name, *arguments = program
    status, printed = run_program(name, f"smtp://127.0.0.1:{closed_port()}", *arguments)
    assert status == 1
    assert printed.count("refuses connections") == len(printed.splitlines()) > 9


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_has_starttls(program: tuple[str, ...]) -> None:
    name, *arguments = program
    with LocalServer(tls="starttls", require_tls=True) as server:
        url = f"submission://localhost:{server.port}"
        assert run_program(name, url, *arguments, SSL_CERT_FILE=server.ca_file)[0] == 0
        assert {each.tls is not None for each in server.inbox} == {True}
    with LocalServer(tls="implicit") as server:
        url = f"submissions://localhost:{server.port}"
        assert run_program(name, url, *arguments)[0] == 1  # whose certificate nobody trusts
        assert len(server.inbox) == 0


UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import threading
import gevent
from smtpproto import ConnectFailed
from smtpproto_adapters.blocking import Client, serve
from smtpproto_adapters.inbox import Inbox

class AllAtOnce(Inbox):
    all_there = threading.Barrier(5)

    def greeting(self, session):
        self.all_there.wait(20)

def send():
    with Client(host=server.host, port=server.port) as client:
        client.sendmail("me@me.example", "you@mx.example", b"Subject: hello").raise_unless_accepted()

with serve(AllAtOnce()) as server:
    gevent.joinall([gevent.spawn(send) for _ in range(5)], raise_error=True)
assert len(server.handler) == 5
"""


def test_under_gevent_the_blocking_server_has_a_greenlet_for_each_client() -> None:
    path = os.pathsep.join(str(EXAMPLES.parents[1] / each) for each in ("", "adapters"))
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", UNDER_GEVENT], env=environment, timeout=60, check=True)


# In this process -----------------------------------------------------------------------------------------------------


def in_reactor(make: Callable[[Any], Deferred[T]]) -> T | Failure:
    """What becomes of a Deferred, in a reactor of its own."""
    reactor: Any = SelectReactor()
    found: list[T | Failure] = []

    def begin() -> None:
        def end(result: T | Failure) -> None:
            found.append(result)
            reactor.callLater(0, reactor.stop)  # behind what was begun already, such as to abort a connection

        make(reactor).addBoth(end)

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    return found[0]


def with_twisted(options: list[ConnectOptions], content: bytes, context: Any) -> list[object]:
    def make(reactor: Any) -> Deferred[Any]:
        sending = [twisted_mail.send_one(reactor, each, TO_YOU, content, context) for each in options]
        return DeferredList(sending, consumeErrors=True)

    results: Any = in_reactor(make)
    return [result.value if isinstance(result, Failure) else result for _, result in results]


def with_anyio(options: list[ConnectOptions], content: bytes, context: Any, backend: str) -> list[object]:
    results: dict[int, object] = {}

    async def send(number: int, each: ConnectOptions) -> None:
        try:
            results[number] = await anyio_mail.send_one(each, TO_YOU, content, context)
        except SmtpError as error:
            results[number] = error

    async def send_all() -> None:
        async with anyio.create_task_group() as group:
            for number, each in enumerate(options):
                group.start_soon(send, number, each)

    anyio.run(send_all, backend=backend)
    return [results[number] for number in range(len(options))]


@pytest.fixture(params=["anyio-asyncio", "anyio-trio", "twisted"])
def send(request: pytest.FixtureRequest) -> Callable[..., list[object]]:
    """Send a message by all of these options at once."""
    kind, _, backend = request.param.partition("-")

    def sending(options: list[ConnectOptions], content: bytes = MESSAGE, context: Any = None) -> list[object]:
        if kind == "twisted":
            return with_twisted(options, content, context)
        return with_anyio(options, content, context, backend)

    return sending


def fates(results: list[object]) -> list[object]:
    return [each.fate if isinstance(each, DeliveryResult) else each for each in results]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_tls_and_authentication(send: Callable[..., list[object]], tls: Any) -> None:
    content = b"0123456789\r\n" * 200_000
    with LocalServer(tls=tls, credentials={"user": "password"}, require_auth=True) as server:
        options = ConnectOptions.from_url(server.url, username="user", password="password", authenticate=True)
        assert fates(send([options] * 5, content, server.client_context())) == [Fate.ACCEPTED] * 5
        assert [each.content == content for each in server.inbox] == [True] * 5


def test_deadlines(send: Callable[..., list[object]]) -> None:
    """A server that says nothing, one that is not there, and a name that is none, beside one that is there."""
    with LocalServer() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        ports = [silent.getsockname()[1], closed_port(), server.port]
        options = [ConnectOptions(host="127.0.0.1", port=port, timeout=0.5) for port in ports]
        first, second, third = send(options)
        assert len(server.inbox) == 1
    assert isinstance(first, ConnectFailed)
    assert first.code is ErrorCode.GREETING_TIMED_OUT
    assert isinstance(second, ConnectFailed)
    assert second.code is ErrorCode.CONNECTION_REFUSED
    assert isinstance(third, DeliveryResult)


def test_a_name_that_is_none(send: Callable[..., list[object]], monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    (failure,) = send([ConnectOptions(host="nowhere.example")])
    assert isinstance(failure, ConnectFailed)
    assert failure.code is ErrorCode.NAME_NOT_FOUND


@pytest.mark.parametrize("command", ["greeting", "EHLO", "RCPT", "end of data"])
def test_a_server_that_breaks_off(send: Callable[..., list[object]], command: str) -> None:
    with LocalServer() as server:
        server.faults.drop(command)
        (result,) = send([ConnectOptions.from_url(server.url)])
    if isinstance(result, DeliveryResult):
        assert result.fate in (Fate.NOT_SENT, Fate.UNKNOWN)
    else:
        assert isinstance(result, ConnectFailed)
        assert result.code is ErrorCode.CLOSED_BY_PEER


def test_a_unix_socket(send: Callable[..., list[object]], tmp_path: Path) -> None:
    inbox, path = Inbox(), str(tmp_path / "socket")
    with serve(inbox, path=path, service=Service(lmtp=True)):
        assert fates(send([ConnectOptions(path=path, lmtp=True)])) == [Fate.ACCEPTED]
    assert len(inbox) == 1


# The wires -----------------------------------------------------------------------------------------------------------

SAID_FIRST = 900_000
WRITTEN = 8_000_000


@contextmanager
def stubborn_peer() -> Generator[tuple[int, list[int]]]:
    """A peer with small buffers that reads nothing before all that it says was read; its port, and what it read."""
    read: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for size in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            listener.setsockopt(socket.SOL_SOCKET, size, 65_536)
        listener.settimeout(20)

        def talk() -> None:
            with listener.accept()[0] as peer:
                peer.settimeout(20)
                peer.sendall(bytes(SAID_FIRST))
                while data := peer.recv(1_000_000):
                    read.append(len(data))

        thread = threading.Thread(target=talk)
        thread.start()
        yield listener.getsockname()[1], read
        thread.join(20)


async def write_and_read(wire: anyio_mail.Wire | twisted_mail.Wire, port: int) -> int:
    assert str(await wire.dial("127.0.0.1", port, None, 10)) == "[127.0.0.1]"
    await wire.send(bytes(WRITTEN), 15)
    came = 0
    while came < SAID_FIRST:
        came += len(await wire.receive(10))
    await wire.half_close()
    assert await wire.receive(10) == b""
    await wire.close()
    assert not wire.is_open
    with pytest.raises(ConnectionError):
        await wire.send(b"x", 1)
    await wire.close()
    return came


@pytest.mark.rfc("2920", "3.1")
@pytest.mark.parametrize("kind", [*BACKENDS, "twisted"])
def test_a_write_reads_meanwhile(kind: str) -> None:
    with stubborn_peer() as (port, read):
        assert run_in(kind, write_and_read, port) == SAID_FIRST
    assert sum(read) == WRITTEN


def run_in(kind: str, function: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
    if kind != "twisted":
        return anyio.run(function, anyio_mail.Wire(), *arguments, backend=kind)
    result = in_reactor(lambda reactor: Deferred.fromCoroutine(function(twisted_mail.Wire(reactor), *arguments)))
    if isinstance(result, Failure):
        result.raiseException()
    return result


async def write_in_vain(wire: anyio_mail.Wire | twisted_mail.Wire, port: int) -> None:
    await wire.dial("127.0.0.1", port, None, 10)
    with pytest.raises(TimeoutError):
        await wire.receive(0.1)
    with pytest.raises(TimeoutError):
        await wire.send(bytes(40_000_000), 0.2)
    await wire.abort()
    with pytest.raises(ConnectionError):
        await wire.receive(1)


@pytest.mark.parametrize("kind", [*BACKENDS, "twisted"])
def test_a_write_has_a_deadline(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        run_in(kind, write_in_vain, listener.getsockname()[1])


def test_a_deferred_can_be_cancelled() -> None:
    """The connection is broken off, and the server hears of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = listener.getsockname()[1]

        def make(reactor: Any) -> Deferred[DeliveryResult]:
            sending = twisted_mail.send_one(reactor, ConnectOptions(host="127.0.0.1", port=port), TO_YOU, MESSAGE)
            reactor.callLater(0.2, sending.cancel)
            return sending

        result = in_reactor(make)
        assert isinstance(result, Failure)
        assert result.check(CancelledError)
        with listener.accept()[0] as peer:
            peer.settimeout(10)
            with suppress(ConnectionResetError):
                assert peer.recv(100) == b""
