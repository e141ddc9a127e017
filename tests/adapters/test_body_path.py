"""The path of the content: where nothing has to change, the program's own buffer is what is given to the socket.

Counted is whose octets the writes have, and never how long they take.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio

from smtpproto import Envelope
from smtpproto.flows.outgoing import PIECE
from smtpproto_adapters.blocking import serve
from smtpproto_adapters.server import Handler
from smtpproto_adapters.sources import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpproto.flows import Octets
    from smtpproto_adapters.server import Outcome, ReceivedMessage, ServerSession
    from smtpproto_adapters.sources import Content
    from tests.adapters.backends import Backend

ENVELOPE = Envelope("ann@client.example", "bob@mx.example")
LINE = b"nothing here begins with a dot, or ends in anything but CRLF\r\n"


def lines(octets: int) -> bytes:
    """At most so many octets of them, in an object of their own."""
    return LINE * (octets // len(LINE))


class Writes:
    """What was given to the socket, and whose it was."""

    def __init__(self) -> None:
        self._seen: list[tuple[object, int]] = []

    def note(self, data: Octets, sent: int) -> None:
        # The rest of a write that the system took a part of is a view of the whole.
        origin = data.obj if isinstance(data, memoryview) else data
        self._seen.append((origin, sent))

    def octets_of(self, *buffers: bytes) -> int:
        """How many octets were written out of these very objects."""
        return sum(sent for origin, sent in self._seen if any(origin is each for each in buffers))

    @property
    def octets(self) -> int:
        return sum(sent for _, sent in self._seen)


class Keeper(Handler):
    """Keeps the content of what it takes."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    def message(self, session: ServerSession, message: ReceivedMessage) -> Outcome:
        self.contents.append(message.content)
        return None


class Watched(socket.socket):
    """A socket that notes what it is given; also by asyncio, which knows no difference."""

    writes: Writes

    def send(self, data: Any, flags: int = 0, /) -> int:
        sent = super().send(data, flags)
        self.writes.note(data, sent)
        return sent


def watched(backend: Backend, address: tuple[str, int], writes: Writes, patch: pytest.MonkeyPatch) -> Any:
    """A connection as the ``stream=`` of a client."""
    if backend.name != "trio":
        sock = Watched(socket.AF_INET, socket.SOCK_STREAM)
        sock.writes = writes
        sock.connect(address)
        return backend.stream(sock)
    # trio wraps no sockets but those of the very class.
    stream: trio.SocketStream = backend.stream(socket.create_connection(address))
    kind: Any = type(stream.socket)
    plain: Any = kind.send

    async def send(self: object, data: Octets, flags: int = 0) -> int:
        sent: int = await plain(self, data, flags)
        writes.note(data, sent)
        return sent

    patch.setattr(kind, "send", send)
    return stream


def delivered(backend: Backend, content: Content, patch: pytest.MonkeyPatch, *, chunking: bool) -> tuple[Writes, bytes]:
    """What was written meanwhile, and what arrived."""
    writes, keeper = Writes(), Keeper()
    with serve(keeper) as server:

        async def scenario() -> None:
            stream = watched(backend, (server.host, server.port), writes, patch)
            async with backend.client(host=server.host, client_name="me.example", stream=stream) as client:
                (await client.deliver(ENVELOPE, content, chunking=chunking)).raise_unless_accepted()

        backend.run(scenario)
    [arrived] = keeper.contents
    return writes, arrived


class Reading:
    """A file, of which each read gives one of these."""

    def __init__(self, chunks: tuple[bytes, ...]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)

    def read(self, size: int, /) -> bytes:
        return next(self._chunks, b"")


@pytest.mark.parametrize("chunking", [False, True], ids=["DATA", "BDAT"])
@pytest.mark.parametrize("size", [100_000, PIECE], ids=["small", "large"])
def test_bytes_reach_the_socket_as_they_are(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, size: int, chunking: bool
) -> None:
    content = lines(size)
    writes, arrived = delivered(backend, content, monkeypatch, chunking=chunking)
    assert arrived == content
    assert writes.octets_of(content) == len(content)
    assert writes.octets - len(content) < 500  # the commands


@pytest.mark.parametrize("chunking", [False, True], ids=["DATA", "BDAT"])
@pytest.mark.parametrize("made", [iter, Reading], ids=["iterator", "file"])
def test_chunks_reach_the_socket_as_they_are(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, made: Callable[[tuple[bytes, ...]], Content], chunking: bool
) -> None:
    chunks = tuple(lines(size) for size in (70_000, CHUNK, 100_000))
    writes, arrived = delivered(backend, made(chunks), monkeypatch, chunking=chunking)
    whole = b"".join(chunks)
    assert arrived == whole
    assert writes.octets_of(*chunks) == len(whole)
    assert writes.octets - len(whole) < 500


def test_what_has_to_change_is_made_anew(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the two above would see nothing."""
    content = lines(100_000) + b".\r\n"
    writes, arrived = delivered(backend, content, monkeypatch, chunking=False)
    assert arrived == content
    assert writes.octets_of(content) == 0
    assert writes.octets > len(content)
