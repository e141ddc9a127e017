"""The scripted server itself: it plays what it is told, records what it hears, and its failures reach the test."""

from __future__ import annotations

import errno
import socket
import ssl
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.scripted import (
    HOST,
    Close,
    Expect,
    ReadAll,
    Reset,
    Say,
    SayPieces,
    ScriptedServer,
    Silence,
    Step,
    Tls,
    closed_port,
)

if TYPE_CHECKING:
    from collections.abc import Generator

THREADS = "ScriptedServer"


@pytest.fixture(autouse=True)
def no_thread_stays() -> Generator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == THREADS]


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and one of a client that trusts it."""
    trustme = pytest.importorskip("trustme", reason="trustme is missing: pip install trustme")
    ca = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert(HOST).configure_cert(server)
    ca.configure_trust(client)
    return server, client


def connect(server: ScriptedServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=5)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, f"the stream ended after {data!r}"
        data += piece
    return data


def read_to_end(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_dialogue() -> None:
    with (
        ScriptedServer(Say(b"220 hi\r\n"), Expect(rb"EHLO \S+"), Say(b"250 ok\r\n"), Close()) as server,
        connect(server) as client,
    ):
        assert read_exactly(client, 8) == b"220 hi\r\n"
        client.sendall(b"EHLO me\r\n")
        assert read_to_end(client) == b"250 ok\r\n"
    assert server.received == b"EHLO me\r\n"
    assert server.connected


def test_pipelined_lines_are_read_one_by_one() -> None:
    with ScriptedServer(Expect(b"ONE"), Expect(b"TWO"), ReadAll()) as server, connect(server) as client:
        client.sendall(b"ONE\r\nTWO\r\nrest")
    assert server.received == b"ONE\r\nTWO\r\nrest"


def test_pieces_arrive_one_by_one() -> None:
    with ScriptedServer(SayPieces([b"2", b"20 ", b"hi\r\n"], delay=0.1)) as server, connect(server) as client:
        started = time.monotonic()
        assert [client.recv(100) for _ in range(3)] == [b"2", b"20 ", b"hi\r\n"]
        assert time.monotonic() - started < 2


def test_pause_between_pieces_ends_with_the_block() -> None:
    started = time.monotonic()
    with ScriptedServer(SayPieces([b"a", b"b"], delay=60)) as server, connect(server) as client:
        assert client.recv(100) == b"a"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (rb"EHLO \S+", b"EHLO me again\r\n"),
        (rb"EHLO \S+", b" EHLO me\r\n"),
        (rb"EHLO \S+", b"EHLO me\n"),
        (rb"EHLO me", b"ehlo me\r\n"),
    ],
)
def test_line_that_does_not_match_fails_the_test(pattern: bytes, line: bytes) -> None:
    with pytest.raises(AssertionError) as caught, ScriptedServer(Expect(pattern)) as server, connect(server) as client:
        client.sendall(line)
    assert repr(line) in str(caught.value)
    assert server.received == line


def test_half_a_line_is_no_line() -> None:
    with (
        pytest.raises(AssertionError, match="b'QUIT'"),
        ScriptedServer(Expect(b"QUIT")) as server,
        connect(server) as client,
    ):
        client.sendall(b"QUIT")


def test_client_that_leaves_before_it_said_all() -> None:
    with (
        pytest.raises(AssertionError, match="the client went away before Expect"),
        ScriptedServer(Say(b"220 hi\r\n"), Expect(b"QUIT"), Say(b"221 bye\r\n")) as server,
    ):
        connect(server).close()


def test_client_that_stays_but_says_nothing() -> None:
    with (
        ExitStack() as later,
        pytest.raises(AssertionError, match="the test was over before Expect"),
        ScriptedServer(Expect(b"QUIT")) as server,
    ):
        later.enter_context(connect(server))


def test_client_in_another_thread_is_waited_for() -> None:
    with ExitStack() as later, ScriptedServer(Expect(b"QUIT")) as server:
        client = later.enter_context(connect(server))
        timer = threading.Timer(0.1, client.sendall, [b"QUIT\r\n"])
        later.callback(timer.join)
        timer.start()
    assert server.received == b"QUIT\r\n"


def test_client_may_leave_while_the_server_talks() -> None:
    with ScriptedServer(*[Say(b"250-x\r\n" * 100_000)] * 50) as server, connect(server) as client:
        client.sendall(b"EHLO me\r\n")
        client.recv(10)
    assert server.received == b"EHLO me\r\n"


def test_client_that_does_not_read_does_not_hold_up_the_end() -> None:
    started = time.monotonic()
    with ExitStack() as later, ScriptedServer(*[Say(b"250-x\r\n" * 100_000)] * 50) as server:
        later.enter_context(connect(server)).recv(10)
    assert time.monotonic() - started < 5


def test_wait_is_bounded() -> None:
    with (
        pytest.raises(AssertionError, match=r"for a line that matches b'QUIT' for more than 0\.1 s"),
        ScriptedServer(Expect(b"QUIT"), timeout=0.1) as server,
        connect(server) as client,
    ):
        assert read_to_end(client) == b""


def test_line_is_bounded() -> None:
    with (
        pytest.raises(AssertionError, match="without a line end"),
        ScriptedServer(Expect(b"QUIT")) as server,
        connect(server) as client,
    ):
        client.sendall(b"x" * 70_000)


def test_silence_lasts_until_the_client_goes_and_records_what_it_said() -> None:
    with ScriptedServer(Silence()) as server, connect(server) as client:
        client.sendall(b"EHLO me\r\n")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert server.received == b""
    assert server.received == b"EHLO me\r\n"


def test_silence_and_reading_end_with_the_block() -> None:
    steps: tuple[Step, ...] = (Silence(), ReadAll())
    for step in steps:
        started = time.monotonic()
        with ExitStack() as later, ScriptedServer(step) as server:
            later.enter_context(connect(server)).sendall(b"NOOP\r\n")
        assert server.received == b"NOOP\r\n"
        assert time.monotonic() - started < 5


def test_reading_records_while_the_client_talks() -> None:
    with ScriptedServer(ReadAll(), Say(b"221 bye\r\n")) as server, connect(server) as client:
        client.sendall(b"x" * 1_000_000)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"221 bye\r\n"
    assert server.received == b"x" * 1_000_000


def test_close_loses_nothing_of_what_was_said_before() -> None:
    """Closing a socket with unread input resets it, and the peer may lose what it had not read yet."""
    with ScriptedServer(Say(b"554 go away\r\n"), Close()) as server, connect(server) as client:
        client.sendall(b"EHLO me\r\n" * 1000)
        time.sleep(0.05)
        assert read_to_end(client) == b"554 go away\r\n"
        client.sendall(b"QUIT\r\n")
    assert server.received == b"EHLO me\r\n" * 1000 + b"QUIT\r\n"


def test_reset() -> None:
    with ScriptedServer(Expect(b"EHLO me"), Reset()) as server, connect(server) as client:
        client.sendall(b"EHLO me\r\n")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_only_one_connection_is_taken() -> None:
    with ScriptedServer(Say(b"220 hi\r\n")) as server, connect(server) as client:
        assert read_exactly(client, 8) == b"220 hi\r\n"
        with pytest.raises(ConnectionRefusedError):
            connect(server)


def test_client_that_never_comes_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="no client connected"), ScriptedServer(Silence()):
        pass
    with ScriptedServer() as server:
        pass
    assert not server.connected
    assert server.received == b""


def hang_up_and_fail(server: ScriptedServer) -> None:
    connect(server).close()
    raise KeyError


def test_what_the_test_itself_raises_comes_first() -> None:
    with pytest.raises(KeyError) as caught, ScriptedServer(Expect(b"QUIT")) as server:
        hang_up_and_fail(server)
    assert "the client went away before Expect" in caught.value.__notes__[0]


@pytest.mark.parametrize("step", [Close(), Reset(), Tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), refused=True)])
def test_steps_that_are_never_reached_are_refused(step: Step) -> None:
    with pytest.raises(ValueError, match="nothing can follow"):
        ScriptedServer(step, Say(b"more"))


def test_unix_socket() -> None:
    # pytest's own folders may have longer paths than the kernel takes.
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/lmtp"
        with (
            ScriptedServer(Say(b"220 hi\r\n"), Expect(b"LHLO me"), unix_path=path) as server,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client,
        ):
            assert server.path == path
            client.connect(path)
            assert read_exactly(client, 8) == b"220 hi\r\n"
            client.sendall(b"LHLO me\r\n")
        assert server.received == b"LHLO me\r\n"
        assert not Path(path).exists()


def test_path_is_for_unix_sockets() -> None:
    with ScriptedServer() as server, pytest.raises(ValueError, match="listens on TCP"):
        assert server.path


def test_tls_after_starttls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, theirs = contexts
    steps = (Expect(b"STARTTLS"), Say(b"220 go\r\n"), Tls(ours), Expect(b"EHLO .*"), Say(b"250 ok\r\n"))
    with ScriptedServer(*steps) as server, connect(server) as plain:
        plain.sendall(b"STARTTLS\r\n")
        assert read_exactly(plain, 8) == b"220 go\r\n"
        with theirs.wrap_socket(plain, server_hostname=HOST, suppress_ragged_eofs=False) as client:
            client.sendall(b"EHLO me\r\n")
            assert read_to_end(client) == b"250 ok\r\n", "the stream ends with a close_notify"
            client.sendall(b"QUIT\r\n")
    assert server.received == b"STARTTLS\r\nEHLO me\r\nQUIT\r\n"


def test_tls_that_is_cut_off(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, theirs = contexts
    with (
        ScriptedServer(Tls(ours), Say(b"220 hi\r\n"), Close(notify=False)) as server,
        connect(server) as plain,
        theirs.wrap_socket(plain, server_hostname=HOST, suppress_ragged_eofs=False) as client,
    ):
        assert read_exactly(client, 8) == b"220 hi\r\n"
        with pytest.raises(ssl.SSLEOFError):
            client.recv(1)


def test_large_talk_in_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, theirs = contexts
    size = 1_000_000
    with (
        ScriptedServer(Tls(ours), Say(b"x" * size), Silence()) as server,
        connect(server) as plain,
        theirs.wrap_socket(plain, server_hostname=HOST) as client,
    ):
        assert read_exactly(client, size) == b"x" * size
        client.sendall(b"y" * 50_000)
    assert server.received == b"y" * 50_000


def test_tls_that_the_client_refuses(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, _ = contexts
    with (
        ScriptedServer(Tls(ours, refused=True)) as server,
        connect(server) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname=HOST)
    assert server.received == b""


def test_tls_that_the_client_was_to_refuse(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, theirs = contexts
    with (
        pytest.raises(AssertionError, match="which it was to refuse"),
        ScriptedServer(Tls(ours, refused=True)) as server,
        connect(server) as plain,
    ):
        theirs.wrap_socket(plain, server_hostname=HOST).close()


def test_tls_that_fails_unforeseen(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, _ = contexts
    with pytest.raises(ssl.SSLError), ScriptedServer(Tls(ours)) as server, connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")


def test_client_that_leaves_instead_of_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, _ = contexts
    with pytest.raises(AssertionError, match="went away before Tls"), ScriptedServer(Tls(ours)) as server:
        connect(server).close()


def test_octets_before_tls_are_told(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, _ = contexts
    with (
        pytest.raises(AssertionError, match="NOOP"),
        ScriptedServer(Expect(b"STARTTLS"), Tls(ours)) as server,
        connect(server) as client,
    ):
        client.sendall(b"STARTTLS\r\nNOOP\r\n")


def test_nothing_listens_on_the_closed_port() -> None:
    with socket.socket() as client:
        assert client.connect_ex((HOST, closed_port())) == errno.ECONNREFUSED
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, closed_port()))
