"""Sending and receiving mail, on each backend: client and server are both ours here."""

from __future__ import annotations

import gc
import io
import tracemalloc
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from smtpproto import (
    DeliveryFailed,
    DeliveryResult,
    Envelope,
    ErrorCode,
    Fate,
    Limits,
    LocalProtocolError,
    Mail,
    Rcpt,
    Reply,
    Security,
    Service,
    TransportError,
)
from smtpproto_adapters.inbox import Inbox
from smtpproto_adapters.server import Decision, Handler, Outcome, ServerSession
from tests.scripted import Close, Expect, Say, ScriptedServer, Step

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from tests.adapters.backends import AnyClient, AnyServer, Backend

TEXT = b"Subject: hello\r\n\r\n.\r\n..two dots\r\n" + b"long " * 500 + b"\r\n\r\nend without a line end"
RECEIVED = TEXT + b"\r\n"
ENVELOPE = Envelope("a@x.example", ["b@y.example", "unknown@y.example", "c@y.example"])
MEGABYTE = 1_048_576


class Picky(Inbox):
    """Refuses whom it does not know, for now or for good."""

    def rcpt(self, session: ServerSession, command: Rcpt) -> Decision:
        if command.forward_path.startswith("unknown"):
            return Reply(550, "5.1.1 no such user")
        if command.forward_path.startswith("full"):
            return Reply(452, "4.2.2 mailbox full")
        return None


def told(result: DeliveryResult) -> list[tuple[str, str]]:
    return [(each.recipient.forward_path, each.fate.name) for each in result.recipients]


async def each(results: AsyncIterator[DeliveryResult]) -> list[DeliveryResult]:
    return [result async for result in results]


NO_BYTES: Any = "text"

OFFERS = {
    "everything": None,
    "no CHUNKING": ["PIPELINING", "8BITMIME", "SIZE 40000000"],
    "lock-step": ["CHUNKING", "8BITMIME"],
    "nothing": [],
}


def client_of(backend: Backend, server: AnyServer, **options: Any) -> AnyClient:
    return backend.client(host=server.host, port=server.port, **options)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("chunking", [None, False])
@pytest.mark.rfc("5321", "3.3")
def test_one_message(backend: Backend, offer: list[str] | None, chunking: bool | None) -> None:
    inbox = Picky()

    async def scenario() -> DeliveryResult:
        service = Service("mx.example") if offer is None else Service("mx.example", extensions=offer)
        async with backend.serve(inbox, service=service) as server, client_of(backend, server) as client:
            return await client.deliver(ENVELOPE, TEXT, chunking=chunking)

    result = backend.run(scenario)
    assert told(result) == [
        ("b@y.example", "ACCEPTED"),
        ("unknown@y.example", "REFUSED"),
        ("c@y.example", "ACCEPTED"),
    ]
    assert result.recipients[1].reply == Reply(550, "5.1.1 no such user")
    (message,) = inbox.messages
    assert message.content == RECEIVED
    assert message.envelope.forward_paths == ("b@y.example", "c@y.example")
    offers_size = offer is None or any(line.startswith("SIZE") for line in offer)
    assert message.envelope.mail.size == (len(RECEIVED) if offers_size else None)
    with pytest.raises(DeliveryFailed, match=r"unknown@y\.example refused for good: 550 5\.1\.1 no such user"):
        result.raise_unless_accepted()


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.rfc("3207", "4.2")
def test_under_tls(backend: Backend, mode: str, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    inbox = Inbox()
    content = TEXT * 300  # many records

    async def scenario() -> None:
        options: dict[str, Any] = {"context": server_context, "implicit_tls": mode == "implicit"}
        async with backend.serve(inbox, **options) as server:
            security = Security.IMPLICIT if mode == "implicit" else Security.REQUIRED
            async with client_of(backend, server, security=security, context=client_context) as client:
                for chunking in (True, False):
                    (await client.sendmail("", "b@y.example", content, chunking=chunking)).raise_unless_accepted()

    backend.run(scenario)
    assert [message.content for message in inbox] == [content + b"\r\n"] * 2
    assert all(message.tls is not None for message in inbox)


@pytest.mark.rfc("2033", "4.2")
def test_lmtp_answers_for_each_recipient(backend: Backend, tmp_path: Path) -> None:
    class Local(Inbox):
        def message(self, session: ServerSession, message: Any) -> Outcome:
            super().message(session, message)
            return [Reply(250, "2.1.5 delivered"), Reply(452, "4.2.2 over quota")]

    inbox = Local()

    async def scenario() -> list[DeliveryResult]:
        service = Service("mx.example", lmtp=True)
        path = str(tmp_path / "lmtp")
        async with (
            backend.serve(inbox, service=service, path=path),
            backend.client(path=path, lmtp=True) as client,
        ):
            envelope = Envelope("a@x.example", ["b@y.example", "c@y.example"])
            return [await client.deliver(envelope, TEXT, chunking=chunking) for chunking in (True, False)]

    for result in backend.run(scenario):
        assert told(result) == [("b@y.example", "ACCEPTED"), ("c@y.example", "DEFERRED")]
        assert result.recipients[1].reply == Reply(452, "4.2.2 over quota")
    assert [message.content for message in inbox] == [RECEIVED] * 2


# Content in every shape ----------------------------------------------------------------------------------------------


async def in_pieces() -> AsyncIterator[bytes]:
    for i in range(0, len(TEXT), 7):
        yield TEXT[i : i + 7]


SHAPES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: TEXT,
    "bytearray": lambda: bytearray(TEXT),
    "memoryview": lambda: memoryview(TEXT),
    "file": lambda: io.BytesIO(TEXT),
    "lines": lambda: iter(TEXT.splitlines(keepends=True)),
    "pieces": in_pieces,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunking", [True, False])
def test_shapes_of_content(backend: Backend, shape: str, chunking: bool) -> None:
    if shape == "pieces" and backend.name == "blocking":
        pytest.skip("nothing can be awaited with blocking sockets")
    inbox = Inbox()
    seen: list[tuple[int, int | None]] = []

    async def scenario() -> None:
        async with backend.serve(inbox) as server, client_of(backend, server) as client:
            result = await client.deliver(
                ENVELOPE,
                SHAPES[shape](),
                chunking=chunking,
                on_progress=lambda sent, total: seen.append((sent, total)),
            )
            result.raise_unless_accepted()

    backend.run(scenario)
    assert [message.content for message in inbox] == [RECEIVED]
    total = None if shape in ("lines", "pieces") else len(TEXT)
    assert {each[1] for each in seen} == {total}
    assert seen[-1][0] in (len(TEXT), len(RECEIVED))


def broken() -> Iterator[bytes]:
    yield b"a beginning\r\n"
    raise OSError("the disk is gone")


@pytest.mark.rfc("3030", "2")
def test_content_that_cannot_be_read_is_reset_between_chunks(backend: Backend) -> None:
    inbox = Inbox()

    async def scenario() -> None:
        async with backend.serve(inbox) as server, client_of(backend, server) as client:
            with pytest.raises(OSError, match="the disk is gone"):
                await client.deliver(ENVELOPE, broken(), chunking=True)
            (await client.deliver(ENVELOPE, TEXT)).raise_unless_accepted()

    backend.run(scenario)
    assert [message.content for message in inbox] == [RECEIVED]


@pytest.mark.rfc("5321", "4.1.1.4")
def test_content_that_cannot_be_read_ends_the_connection_behind_data(backend: Backend) -> None:
    inbox = Inbox()

    async def scenario() -> None:
        async with backend.serve(inbox) as server, client_of(backend, server) as client:
            with pytest.raises(OSError, match="the disk is gone"):
                await client.deliver(ENVELOPE, broken(), chunking=False)
            assert not client.is_connected

    backend.run(scenario)
    assert not inbox


def test_content_that_is_none(backend: Backend) -> None:
    async def scenario() -> None:
        async with backend.serve(Inbox()) as server, client_of(backend, server) as client:
            with pytest.raises(LocalProtocolError, match="the content is a str"):
                await client.deliver(ENVELOPE, NO_BYTES)
            (await client.deliver(ENVELOPE, TEXT)).raise_unless_accepted()

    backend.run(scenario)


@pytest.mark.rfc("1870", "6.1")
def test_too_large_a_message_is_refused_before_mail(backend: Backend) -> None:
    inbox = Inbox()
    service = Service("mx.example", limits=Limits(message=1000))

    async def scenario() -> DeliveryResult:
        async with backend.serve(inbox, service=service) as server, client_of(backend, server) as client:
            with pytest.raises(LocalProtocolError, match="1001 octets, more than the 1000 of SIZE"):
                await client.deliver(ENVELOPE, b"x" * 999)  # and a line end
            assert client.connection is not None
            assert client.connection.tally.mail is None
            result = await client.deliver(ENVELOPE, iter([b"x" * 600, b"\r\n", b"x" * 600]))
            assert (await client.deliver(ENVELOPE, b"x" * 998)).fate is Fate.ACCEPTED
            return result

    result = backend.run(scenario)
    assert result.fate is Fate.REFUSED
    assert result.reply is not None
    assert result.reply.code == 552
    assert [len(message.content) for message in inbox] == [1000]


@pytest.mark.rfc("6152", "3")
def test_eight_bits_are_declared_or_refused(backend: Backend) -> None:
    inbox = Inbox()
    content = "Subject: \u00fcml\u00e4ut\r\n\r\n".encode()

    async def scenario() -> None:
        async with backend.serve(inbox) as server:
            async with client_of(backend, server) as client:
                (await client.sendmail("", "b@y.example", content)).raise_unless_accepted()
            async with client_of(backend, server, mask=["8BITMIME"]) as client:
                with pytest.raises(LocalProtocolError, match="8BITMIME is not offered"):
                    await client.sendmail("", "b@y.example", content)
                assert client.is_connected

    backend.run(scenario)
    assert [message.envelope.mail.body for message in inbox] == ["8BITMIME"]


# EmailMessage --------------------------------------------------------------------------------------------------------


def test_send_message(backend: Backend) -> None:
    message = EmailMessage()
    message["From"] = "J\u00fcrgen <a@x.example>"
    message["To"] = "b@y.example, C <c@y.example>"
    message["Bcc"] = "secret@y.example"
    message["Subject"] = "gr\u00fc\u00dfe"
    message.set_content("Wie geht's?\n.\n")
    inbox = Inbox()

    async def scenario() -> None:
        async with backend.serve(inbox) as server, client_of(backend, server) as client:
            (await client.send_message(message)).raise_unless_accepted()
            (
                await client.send_message(message, "", "d@y.example", envid="x1", mt_priority=None)
            ).raise_unless_accepted()

    service_error = pytest.raises(LocalProtocolError, match="ENVID needs the extension DSN")
    with service_error:
        backend.run(scenario)
    (received,) = inbox
    assert received.envelope.sender == "a@x.example"
    assert received.envelope.forward_paths == ("b@y.example", "c@y.example", "secret@y.example")
    assert b"secret" not in received.content
    assert received.parsed["Subject"] == "gr\u00fc\u00dfe"
    assert received.parsed.get_content().splitlines() == ["Wie geht's?", "."]


@pytest.mark.rfc("6531", "3.4")
def test_send_message_to_an_address_that_is_not_ascii(backend: Backend) -> None:
    message = EmailMessage()
    message["From"] = "a@x.example"
    message["To"] = "\u00fc@b\u00fccher.example"
    message.set_content("x")
    inbox = Inbox()

    async def scenario() -> None:
        async with backend.serve(inbox) as server, client_of(backend, server) as client:
            (await client.send_message(message)).raise_unless_accepted()

    backend.run(scenario)
    (received,) = inbox
    assert received.envelope.forward_paths == ("\u00fc@b\u00fccher.example",)
    assert received.envelope.mail.smtputf8


# Many ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.rfc("2920", "3.1")
def test_many(backend: Backend, offer: list[str] | None) -> None:
    inbox = Picky()
    messages = [(Envelope(f"a{i}@x.example", ["b@y.example", "full@y.example"]), b"message %d" % i) for i in range(50)]

    async def scenario() -> list[DeliveryResult]:
        service = Service("mx.example") if offer is None else Service("mx.example", extensions=offer)
        async with backend.serve(inbox, service=service) as server, client_of(backend, server) as client:
            found = await each(client.send_many(messages))
            found += await each(client.send_many(iter(messages)))
            assert (await client.noop()).is_positive
            return found

    results = backend.run(scenario)
    assert [result.envelope.sender for result in results] == [envelope.sender for envelope, _ in messages] * 2
    assert {tuple(told(result)) for result in results} == {
        (("b@y.example", "ACCEPTED"), ("full@y.example", "DEFERRED"))
    }
    assert [message.content for message in inbox] == [content + b"\r\n" for _, content in messages] * 2


def test_many_from_an_asynchronous_iterator(backend: Backend) -> None:
    if backend.name == "blocking":
        pytest.skip("nothing can be awaited with blocking sockets")
    inbox = Inbox()

    async def messages() -> AsyncIterator[tuple[Envelope, bytes]]:
        for i in range(5):
            await backend.sleep(0)
            yield ENVELOPE, b"message %d" % i

    async def scenario() -> None:
        async with backend.serve(inbox) as server, client_of(backend, server) as client:
            assert [result.fate async for result in client.send_many(messages())] == [Fate.ACCEPTED] * 5

    backend.run(scenario)
    assert len(inbox) == 5


def test_many_with_some_that_cannot_be_sent(backend: Backend) -> None:
    inbox = Inbox()
    messages: list[tuple[Envelope, Any]] = [
        (ENVELOPE, b"one"),
        (ENVELOPE, "no bytes"),
        (ENVELOPE.with_mail(mt_priority=3), b"never offered"),
        (ENVELOPE, b"two"),
    ]

    async def scenario() -> list[DeliveryResult]:
        async with backend.serve(inbox) as server, client_of(backend, server) as client:
            return await each(client.send_many(messages))

    results = backend.run(scenario)
    assert [result.fate for result in results] == [Fate.ACCEPTED, Fate.NOT_SENT, Fate.NOT_SENT, Fate.ACCEPTED]
    assert "the content is a str" in str(results[1].error)
    assert "needs the extension MT-PRIORITY" in str(results[2].error)
    assert [message.content for message in inbox] == [b"one\r\n", b"two\r\n"]


def test_a_loop_that_is_left_ends_the_session(backend: Backend) -> None:
    async def scenario() -> None:
        async with backend.serve(Inbox()) as server, client_of(backend, server) as client:
            results = client.send_many([(ENVELOPE, b"x")] * 50)
            assert (await anext(results)).fate is Fate.ACCEPTED
            with pytest.raises(LocalProtocolError, match="one conversation at a time"):
                await client.noop()

    backend.run(scenario)


@pytest.mark.rfc("5321", "3.8")
def test_a_server_that_leaves_gives_every_message_its_fate(backend: Backend) -> None:
    class Leaves(Inbox):
        def mail(self, session: ServerSession, command: Mail) -> Decision:
            return Reply(421, "4.3.2 enough") if command.reverse_path.startswith("a3") else None

    inbox = Leaves()
    messages = [(Envelope(f"a{i}@x.example", "b@y.example"), b"message %d" % i) for i in range(6)]

    async def scenario() -> list[DeliveryResult]:
        async with backend.serve(inbox) as server, client_of(backend, server) as client:
            found = await each(client.send_many(messages))
            assert not client.is_connected
            return found

    results = backend.run(scenario)
    assert [result.fate for result in results] == [Fate.ACCEPTED] * 3 + [Fate.DEFERRED] + [Fate.NOT_SENT] * 2
    assert len(inbox) == 3
    assert isinstance(results[5].error, TransportError)


@pytest.mark.rfc("5321", "4.5.4.1")
def test_the_connection_dies_before_the_answer(backend: Backend) -> None:
    steps: list[Step] = [Say(b"220 mx.example\r\n"), Expect(b"EHLO .*"), Say(b"250 mx.example\r\n")]
    for command, reply in ((b"MAIL .*", b"250 ok"), (b"RCPT .*", b"250 ok"), (b"DATA", b"354 go")):
        steps += [Expect(command), Say(reply + b"\r\n")]
    with ScriptedServer(*steps, Expect(b"text"), Expect(rb"\."), Close()) as server:

        async def scenario() -> DeliveryResult:
            async with backend.client(host=server.host, port=server.port) as client:
                found = await client.sendmail("a@x.example", "b@y.example", b"text")
                assert not client.is_connected
                return found

        result = backend.run(scenario)
    assert result.fate is Fate.UNKNOWN
    assert isinstance(result.error, TransportError)
    assert result.error.code is ErrorCode.CLOSED_BY_PEER


# Memory --------------------------------------------------------------------------------------------------------------


class Counter(Handler):
    """Streams, and keeps nothing but the count."""

    def __init__(self) -> None:
        super().__init__()
        self.octets = 0

    def content(self, session: ServerSession, data: bytes) -> Decision:
        self.octets += len(data)
        return None

    def end_of_data(self, session: ServerSession) -> Outcome:
        return None


@contextmanager
def peak_growth() -> Generator[list[int]]:
    """How many octets the block had allocated at most, beyond what there was at its beginning."""
    gc.collect()
    tracemalloc.start()
    grown: list[int] = []
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield grown
        _, peak = tracemalloc.get_traced_memory()
        grown.append(peak - before)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_25_megabytes_in_bounded_memory(
    backend: Backend,
    chunking: bool,
    tls: bool,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
) -> None:
    """Client and server together, while the message is streamed."""
    piece = (b"x" * 70 + b"\r\n") * 1000
    pieces = 25 * MEGABYTE // len(piece) + 1
    counter = Counter()

    async def scenario() -> int:
        context = server_context if tls else None
        async with backend.serve(counter, context=context) as server:
            security = Security.REQUIRED if tls else Security.NONE
            async with client_of(backend, server, context=client_context, security=security) as client:
                with peak_growth() as grown:
                    result = await client.sendmail("", "b@y.example", (piece for _ in range(pieces)), chunking=chunking)
                result.raise_unless_accepted()
                return grown[0]

    growth = backend.run(scenario)
    assert counter.octets == pieces * len(piece)
    assert growth < 2 * MEGABYTE
