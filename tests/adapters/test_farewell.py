"""What is said where a session is broken off: by ^C, by a cancellation, by an error of the program's own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio

import smtpproto_adapters.blocking
from smtpproto import (
    AddressLiteral,
    BadCommand,
    CommandReceived,
    Data,
    Ehlo,
    EndOfData,
    Envelope,
    Event,
    LocalProtocolError,
    Quit,
    Reply,
    ReplyReceived,
    Security,
    ServerAuth,
    Service,
    StartTls,
)
from smtpproto.flows import Ask, Receive, Send
from smtpproto_adapters.inbox import Inbox
from smtpproto_adapters.turn import Turn
from tests.adapters.backends import Blocking
from tests.scripted import Expect, ReadAll, Say, SayPieces, ScriptedServer, Silence, Step, Tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine

    from smtpproto.flows import Effect, Octets
    from tests.adapters.backends import AnyClient, Backend

T = TypeVar("T")

ENVELOPE = Envelope("ann@a.example", ["bob@b.example", "carl@b.example"])
CONTENT = b"Subject: hello\r\n\r\n" + b"many words\r\n" * 100
LONG = 10.0
"""Seconds of grace where the server answers."""
LATE = 1.0
"""Seconds until it does."""

GREETING = Say(b"220 mx.example ESMTP\r\n")
EHLO, QUIT = Expect(rb"EHLO .+"), Expect(b"QUIT")
OFFER = Say(b"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 AUTH PLAIN\r\n")
BYE = Say(b"221 bye\r\n")
HANDSHAKE: tuple[Step, ...] = (GREETING, EHLO, OFFER)


def late(reply: bytes) -> SayPieces:
    return SayPieces((reply[:2], reply[2:]), LATE)


def client_of(backend: Backend, server: ScriptedServer, **options: Any) -> AnyClient:
    settings: dict[str, Any] = {"security": Security.NONE, "timeout": 20, "grace": LONG, **options}
    return backend.client(host=server.host, port=server.port, **settings)


def broken_off(backend: Backend, work: Callable[[], Coroutine[Any, Any, object]], *when: Callable[[], bool]) -> None:
    """Do it, and break it off as soon as ``when``, and then again: by a signal that interrupts, or a cancellation."""
    {"blocking": _interrupted, "asyncio": _cancelled_asyncio, "trio": _cancelled_trio}[backend.name](work, when)


def _at(when: tuple[Callable[[], bool], ...], break_off: Callable[[], object]) -> threading.Thread:
    def wait() -> None:
        for each in when:
            until = time.monotonic() + 20
            while not each() and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.1)  # until it waits
            break_off()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def _interrupted(work: Callable[[], Coroutine[Any, Any, object]], when: tuple[Callable[[], bool], ...]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = _at(when, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    try:
        with pytest.raises(KeyboardInterrupt):
            Blocking().run(work)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def _cancelled_asyncio(work: Callable[[], Coroutine[Any, Any, object]], when: tuple[Callable[[], bool], ...]) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(work())
        loop = asyncio.get_running_loop()
        thread = _at(when, lambda: loop.call_soon_threadsafe(task.cancel))
        with pytest.raises(asyncio.CancelledError):
            await task
        thread.join()

    asyncio.run(main())


def _cancelled_trio(work: Callable[[], Coroutine[Any, Any, object]], when: tuple[Callable[[], bool], ...]) -> None:
    async def main() -> None:
        token = trio.lowlevel.current_trio_token()
        scope = trio.CancelScope()
        thread = _at(when, lambda: token.run_sync_soon(scope.cancel))
        with scope:
            await work()
        assert scope.cancelled_caught
        thread.join()

    trio.run(main)


async def delivered(client: AnyClient, *, chunking: bool = False) -> None:
    async with client:
        await client.deliver(ENVELOPE, CONTENT, chunking=chunking)


async def asked(client: AnyClient) -> None:
    async with client:
        await client.noop()


PIPELINED: tuple[Step, ...] = (*HANDSHAKE, Expect(b"MAIL .+"), Expect(b"RCPT .+"), Expect(b"RCPT .+"), Expect(b"DATA"))
TAKEN = b"250 ok\r\n" * 3 + b"354 go\r\n"
WRITTEN: tuple[Step, ...] = (*PIPELINED, Say(TAKEN), *(Expect(rb".*") for _ in CONTENT.splitlines()), Expect(rb"\."))

Work = Any
ANSWERED: dict[str, tuple[Work, tuple[Step, ...], bytes, tuple[Step, ...], bytes]] = {
    # what is done, what comes before it is broken off, by what that is seen, what comes then, and what was said at last
    "greeting": (asked, (), b"", (late(b"220 hi\r\n"), QUIT, BYE), b"QUIT\r\n"),
    "hello": (asked, (GREETING, EHLO), b"EHLO", (late(b"250 hi\r\n"), QUIT, BYE), b"]\r\nQUIT\r\n"),
    "command": (asked, (*HANDSHAKE, Expect(b"NOOP")), b"NOOP", (late(b"250 ok\r\n"), QUIT, BYE), b"NOOP\r\nQUIT\r\n"),
    "farewell": (asked, (*HANDSHAKE, Expect(b"NOOP")), b"NOOP", (late(b"421 bye\r\n"),), b"NOOP\r\n"),
    "DATA": (delivered, PIPELINED, b"DATA", (late(TAKEN), ReadAll()), b"DATA\r\n"),
    "no recipient": (
        *(delivered, PIPELINED, b"DATA"),
        (late(b"250 ok\r\n" + b"550 no\r\n" * 2 + b"554 none\r\n"), QUIT, BYE),
        b"DATA\r\nQUIT\r\n",
    ),
    "content": (delivered, WRITTEN, b"\r\n.\r\n", (late(b"250 taken\r\n"), QUIT, BYE), b"\r\n.\r\nQUIT\r\n"),
}


@pytest.mark.parametrize("stage", ANSWERED)
def test_what_is_outstanding_is_heard_and_quit_said(backend: Backend, stage: str) -> None:
    """Nothing follows what ends a group of commands before its reply, RFC 2920 section 3.1; content is no place."""
    work, before, seen, after, said = ANSWERED[stage]
    events: list[Event] = []
    with ScriptedServer(*before, *after, timeout=20) as server:
        client = client_of(backend, server, on_event=events.append)
        broken_off(backend, lambda: work(client), lambda: server.connected and seen in server.received)
        assert not client.is_connected
        assert client.leaving
    assert server.received.endswith(said)
    heard = [each.command for each in events if isinstance(each, ReplyReceived)]
    assert any(isinstance(each, Quit) for each in heard) is said.endswith(b"QUIT\r\n")
    assert any(isinstance(each, EndOfData) for each in heard) is (stage == "content")


def test_an_authentication_is_cancelled(backend: Backend) -> None:
    """RFC 4954 section 4."""
    steps = (*HANDSHAKE, Expect(rb"AUTH .+"), late(b"334 \r\n"), Expect(rb"\*"), Say(b"501 as you like\r\n"), QUIT, BYE)
    with ScriptedServer(*steps, timeout=20) as server:
        secrets = {"authenticate": True, "username": "ann", "password": "secret", "allow_plaintext_auth": True}
        client = client_of(backend, server, **secrets)
        broken_off(backend, client.connect, lambda: b"AUTH" in server.received)
    assert server.received.endswith(b"*\r\nQUIT\r\n")


def test_through_tls(backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    steps = (Tls(server_context), *HANDSHAKE, Expect(b"NOOP"), late(b"250 ok\r\n"), QUIT, BYE)
    with ScriptedServer(*steps, timeout=20) as server:
        client = client_of(backend, server, security=Security.IMPLICIT, context=client_context)
        broken_off(backend, lambda: asked(client), lambda: b"NOOP" in server.received)
    assert server.received.endswith(b"NOOP\r\nQUIT\r\n")


@pytest.mark.parametrize("security", [Security.IMPLICIT, Security.REQUIRED])
def test_nothing_follows_half_a_handshake(backend: Backend, security: Security) -> None:
    hello = b"\x16\x03\x01"
    steps: tuple[Step, ...] = (Silence(),)
    if security is Security.REQUIRED:
        steps = (GREETING, EHLO, Say(b"250-hi\r\n250 STARTTLS\r\n"), Expect(b"STARTTLS"), Say(b"220 go\r\n"), ReadAll())
    with ScriptedServer(*steps, timeout=20) as server:
        client = client_of(backend, server, security=security)
        begin = time.monotonic()
        implicit = security is Security.IMPLICIT
        broken_off(backend, client.connect, lambda: server.connected if implicit else hello in server.received)
        assert time.monotonic() - begin < LONG  # there is nothing to be waited for
    assert b"QUIT" not in server.received


def test_nothing_follows_half_of_the_content(backend: Backend) -> None:
    """It would become part of the message."""
    with ScriptedServer(*PIPELINED, Say(TAKEN), Silence(), timeout=20) as server:
        client = client_of(backend, server)

        async def work() -> None:
            async with client:
                await client.deliver(ENVELOPE, b"many words\r\n" * 2_000_000, chunking=False)

        begin = time.monotonic()
        broken_off(backend, work, lambda: b"DATA" in server.received)
        assert time.monotonic() - begin < LONG
    assert b"QUIT" not in server.received


def test_a_server_that_does_not_answer_is_left_without_a_word(backend: Backend) -> None:
    with ScriptedServer(*HANDSHAKE, Expect(b"NOOP"), Silence(), timeout=20) as server:
        client = client_of(backend, server, grace=0.2)
        begin = time.monotonic()
        broken_off(backend, lambda: asked(client), lambda: b"NOOP" in server.received)
        assert time.monotonic() - begin < LONG
    assert server.received.endswith(b"NOOP\r\n")


def test_broken_off_again(backend: Backend) -> None:
    """Then at once."""
    if backend.name == "trio":
        pytest.skip("what is cancelled cannot be cancelled again, and is shielded: there it is ^C that does it")
    with ScriptedServer(*HANDSHAKE, Expect(b"NOOP"), Silence(), timeout=60) as server:
        client = client_of(backend, server, grace=50)
        begin = time.monotonic()
        broken_off(backend, lambda: asked(client), lambda: b"NOOP" in server.received, lambda: client.leaving)
        assert time.monotonic() - begin < 20
    assert server.received.endswith(b"NOOP\r\n")


@pytest.mark.parametrize(("grace", "said"), [(0, b""), (LONG, b"QUIT\r\n")])
def test_an_error_of_the_programs_own(backend: Backend, grace: float, said: bytes) -> None:
    with ScriptedServer(*HANDSHAKE, *((QUIT, BYE) if said else (ReadAll(),)), timeout=20) as server:
        client = client_of(backend, server, grace=grace)

        async def scenario() -> None:
            with pytest.raises(ZeroDivisionError):
                async with client:
                    raise ZeroDivisionError

        backend.run(scenario)
        assert not client.is_connected
    assert server.received.endswith(b"]\r\n" + said)


@pytest.mark.parametrize("grace", [-1, float("inf"), float("nan")])
def test_a_grace_that_is_none(backend: Backend, grace: float) -> None:
    with pytest.raises(LocalProtocolError, match="grace is"):
        backend.client(host="mx.example", grace=grace)


def test_by_default_there_is_no_farewell(backend: Backend) -> None:
    with ScriptedServer(*HANDSHAKE, Expect(b"NOOP"), late(b"250 ok\r\n"), ReadAll(), timeout=20) as server:
        client = backend.client(host=server.host, port=server.port, security=Security.NONE)
        broken_off(backend, lambda: asked(client), lambda: b"NOOP" in server.received)
        assert not client.leaving
    assert server.received.endswith(b"NOOP\r\n")


def test_a_watcher_that_fails_in_the_farewell_hides_nothing(backend: Backend) -> None:
    def watch(event: Event) -> None:
        if isinstance(event, ReplyReceived) and event.reply.code == 251:
            raise ZeroDivisionError

    with ScriptedServer(*HANDSHAKE, Expect(b"NOOP"), late(b"251 ok\r\n"), ReadAll(), timeout=20) as server:
        client = client_of(backend, server, on_event=watch)
        broken_off(backend, lambda: asked(client), lambda: b"NOOP" in server.received)
        assert not client.is_connected


# At every moment ----------------------------------------------------------------------------------------------------


class Broken(KeyboardInterrupt):
    """What breaks it off."""


class Memory:
    """A wire to a server in memory, which is broken off at the read or write of that number, and not again.

    ``written``: the part of that write which reaches the server.  ``lost``: so is what that read had taken.
    """

    def __init__(self, core: smtpproto_adapters.blocking.Server, number: int, written: float, lost: bool) -> None:
        self._turn = Turn(core, ("192.0.2.1", 1025), lambda: 0.0)
        self._left, self._written, self._lost = number, written, lost
        self._to_server, self._to_client = bytearray(), bytearray()
        self._ended = False
        self._closed = False
        self.broken: Effect | None = None
        self.is_open = False

    # The client's end

    def dial(self, host: str, port: int, path: str | None, timeout: float | None) -> AddressLiteral | None:
        self.is_open = True
        self._go_on(None)
        return None

    def send(self, data: Octets, timeout: float | None) -> None:
        if self._is_due(Send(data)):
            self._hand_over(data[: int(len(data) * self._written)])
            raise Broken
        self._hand_over(data)

    def receive(self, timeout: float | None) -> bytes:
        if self._is_due(Receive()):
            if self._lost:
                self._to_client.clear()
            raise Broken
        if not self._to_client and not self._closed:
            raise TimeoutError  # nobody else could change that
        return _taken(self._to_client)

    def half_close(self) -> None:
        raise AssertionError("a client does not")

    def close(self) -> None:
        self.is_open = False
        if not self._ended:
            self._ended = True
            self._hand_over(b"")

    def cut(self) -> None:
        self.close()

    def _is_due(self, effect: Effect) -> bool:
        self._left -= 1
        if self._left == -1:
            self.broken = effect
        return self._left == -1

    @property
    def nothing_followed(self) -> bool:
        """Not a single read or write."""
        return self._left == -1

    # The server's end

    def _hand_over(self, data: Octets) -> None:
        self._to_server += data
        if not self._closed and (data or self._ended):
            self._go_on(_taken(self._to_server))

    def _go_on(self, answer: Any) -> None:
        """Let the server do what it can with what has come."""
        flow, error = self._turn.flow, None
        try:
            while True:
                effect = flow.send(answer) if error is None else flow.throw(error)
                answer = error = None
                match effect:
                    case Ask(_, subject):
                        answer = self._turn.ask(subject)
                    case Send(_, data):
                        self._to_client += data
                    case Receive(timeout):
                        if timeout == 0 and not self._to_server:
                            error = TimeoutError()
                        elif self._to_server or self._ended:
                            answer = _taken(self._to_server)
                        else:
                            return
                    case _:
                        pass
        except StopIteration:
            self._closed = True


def _taken(octets: bytearray) -> bytes:
    data = bytes(octets)
    octets.clear()
    return data


class InMemory(smtpproto_adapters.blocking.Client):
    wire: Any

    def _new_wire(self, stream: Any) -> Any:
        return self.wire


def _note(into: list[T], session: object, each: T) -> None:
    into.append(each)


@pytest.mark.parametrize("auth", [False, True], ids=["", "auth"])
@pytest.mark.parametrize("chunking", [False, True], ids=["DATA", "BDAT"])
@pytest.mark.parametrize("security", [Security.NONE, Security.REQUIRED, Security.IMPLICIT])
def test_broken_off_at_every_read_and_write(
    security: Security, chunking: bool, auth: bool, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """No command is one that the server does not expect, and no message arrives that is not the whole of it.

    What a chunk lacks a QUIT could complete.  It is said wherever an answer is waited for, but for TLS, and for the
    answer to DATA, behind which comes content.
    """
    tls = security is not Security.NONE
    service = Service(
        "mx.example",
        starttls=security is Security.REQUIRED,
        auth=ServerAuth({"ann": "secret"}, mechanisms=["LOGIN"], allow_plaintext=True) if auth else None,
    )
    options: dict[str, Any] = {"authenticate": True, "username": "ann", "password": "secret"} if auth else {}
    quits = number = 0
    reached = True
    while reached:
        reached = False
        for written, lost in ((0.0, False), (0.5, True), (1.0, False)):
            inbox, events, replies = Inbox(), list[Event](), list[Reply]()
            core = smtpproto_adapters.blocking.Server(
                inbox,
                service=service,
                context=server_context if tls else None,
                implicit_tls=security is Security.IMPLICIT,
                on_event=partial(_note, events),
                on_send=partial(_note, replies),
            )
            InMemory.wire = wire = Memory(core, number, written, lost)
            client = InMemory(
                host="mx.example",
                security=security,
                context=client_context if tls else None,
                allow_plaintext_auth=True,
                grace=LONG,
                **options,
            )
            try:
                with client:
                    client.deliver(ENVELOPE, CONTENT, chunking=chunking)
            except Broken:
                assert not client.is_connected
            commands = [each.command for each in events if isinstance(each, CommandReceived)]
            kinds = [type(each) for each in commands]
            assert not any(isinstance(each, BadCommand) for each in events)
            assert not {500, 502, 503, 504} & {each.code for each in replies}
            assert [each.content for each in inbox] in ([], [CONTENT])
            if wire.broken is None:
                assert (kinds[-1], len(inbox)) == (Quit, 1)
                continue
            reached = True
            assert isinstance(wire.broken, Receive) or wire.nothing_followed
            in_handshake = StartTls in kinds and kinds[kinds.index(StartTls) :].count(Ehlo) == 0
            in_handshake |= security is Security.IMPLICIT and Ehlo not in kinds
            if isinstance(wire.broken, Receive) and not lost and not in_handshake and (Data not in kinds or inbox):
                assert kinds[-1] is Quit
                quits += 1
        number += 1
    assert quits >= 4
