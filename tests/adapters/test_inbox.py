"""What an `Inbox` keeps, and how one waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

from smtpproto import LocalProtocolError, ServerAuth
from smtpproto_adapters.inbox import Inbox
from tests.adapters.conversing import EHLO, TO_YOU, converse
from tests.adapters.talking import talk, with_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.adapters.backends import AnyServer, Backend


def fill(inbox: Inbox, *contents: bytes) -> list[int]:
    """Let these messages arrive; the replies to each."""
    said = [b"BDAT %d LAST\r\n%s" % (len(each), each) for each in contents]
    codes, _ = converse(inbox, EHLO, *(TO_YOU + each for each in said))
    return codes[4::3]


def test_inbox_keeps_messages(backend: Backend) -> None:
    inbox = Inbox()

    def work(server: AnyServer) -> None:
        for content in (b"one", b"two"):
            with talk(server) as client:
                assert client.reply() == 220
                client.say(EHLO + TO_YOU + b"BDAT 3 LAST\r\n" + content)
                assert [client.reply() for _ in range(4)] == [250] * 4

    with_server(backend, inbox, work)
    assert [each.content for each in inbox] == [b"one", b"two"]


def test_inbox_is_a_sequence() -> None:
    inbox = Inbox()
    assert not inbox
    assert fill(inbox, b"one", b"two", b"three") == [250] * 3
    assert len(inbox) == 3
    assert (inbox[0].content, inbox[-1].content) == (b"one", b"three")
    assert [each.content for each in inbox[1:]] == [b"two", b"three"]
    assert inbox.index(inbox[1]) == 1
    assert inbox[2] in inbox
    assert repr(inbox) == "<Inbox with 3 messages>"
    before = inbox.messages
    inbox.clear()
    assert len(inbox) == 0
    assert len(before) == 3
    with pytest.raises(IndexError):
        inbox[0]


@pytest.mark.rfc("5321", "4.2.3")
def test_inbox_that_is_full() -> None:
    inbox = Inbox(max_messages=2)
    assert fill(inbox, b"one", b"two", b"three") == [250, 250, 452]
    assert [each.content for each in inbox] == [b"one", b"two"]
    inbox.clear()
    assert fill(inbox, b"four") == [250]
    with pytest.raises(LocalProtocolError, match="max_messages is 0"):
        Inbox(max_messages=0)


def test_credentials() -> None:
    inbox = Inbox()
    auth = ServerAuth({"user": "password"}, required=True, allow_plaintext=True)
    codes, _ = converse(inbox, EHLO, b"AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=\r\n", TO_YOU, b"BDAT 2 LAST\r\nHi", auth=auth)
    assert codes == [220, 250, 235, 250, 250, 250]
    assert inbox[0].identity is not None


# Waiting -----------------------------------------------------------------------------------------------------------


def soon(work: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(0.05, work)
    timer.start()
    return timer


def test_wait_for_what_is_there() -> None:
    inbox = Inbox()
    fill(inbox, b"one", b"two")
    assert inbox.wait(timeout=0) == inbox.messages
    assert len(inbox.wait(2, timeout=0)) == 2


def test_wait_for_what_comes() -> None:
    inbox = Inbox()
    fill(inbox, b"one")
    timer = soon(lambda: fill(inbox, b"two", b"three"))
    begun = time.monotonic()
    assert [each.content for each in inbox.wait(3)] == [b"one", b"two", b"three"]
    assert time.monotonic() - begun < 4
    timer.join()


def test_wait_for_what_does_not_come() -> None:
    inbox = Inbox()
    fill(inbox, b"one")
    with pytest.raises(TimeoutError, match=r"there are 1 messages after 0\.01 seconds, and not 2"):
        inbox.wait(2, timeout=0.01)


ASYNC = pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])


@ASYNC
def test_wait_async_for_what_is_there(run: Any) -> None:
    inbox = Inbox()
    fill(inbox, b"one")

    async def scenario() -> None:
        assert await inbox.wait_async(timeout=0) == inbox.messages

    run(scenario) if run is trio.run else run(scenario())


@ASYNC
def test_wait_async_for_what_comes_from_a_thread(run: Any) -> None:
    inbox = Inbox()

    async def scenario() -> None:
        timer = soon(lambda: fill(inbox, b"one", b"two"))
        assert [each.content for each in await inbox.wait_async(2)] == [b"one", b"two"]
        timer.join()

    run(scenario) if run is trio.run else run(scenario())
    assert inbox._waiting == []  # pyright: ignore[reportPrivateUsage]


@ASYNC
def test_message_that_comes_just_when_the_wait_begins(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox()

    def in_trio() -> bool:
        fill(inbox, b"one")
        return run is trio.run

    monkeypatch.setattr("smtpproto_adapters.inbox._in_trio", in_trio)

    async def scenario() -> None:
        assert len(await inbox.wait_async()) == 1

    run(scenario) if run is trio.run else run(scenario())


def test_wait_async_for_what_comes_in_the_same_loop(backend: Backend) -> None:
    if backend.name == "blocking":
        pytest.skip("it has no loop")
    inbox = Inbox()

    async def scenario() -> None:
        async with backend.serve(inbox) as server:

            def work() -> None:
                with talk(server) as client:
                    assert client.reply() == 220
                    client.say(EHLO + TO_YOU + b"BDAT 3 LAST\r\none")
                    assert [client.reply() for _ in range(4)] == [250] * 4

            thread = threading.Thread(target=work)
            thread.start()
            assert (await inbox.wait_async())[0].content == b"one"
            await backend.in_thread(thread.join)

    backend.run(scenario)


@ASYNC
def test_wait_async_for_what_does_not_come(run: Any) -> None:
    inbox = Inbox()

    async def scenario() -> None:
        with pytest.raises(TimeoutError, match="there are 0 messages"):
            await inbox.wait_async(timeout=0.01)

    run(scenario) if run is trio.run else run(scenario())
    assert fill(inbox, b"one") == [250]


def test_wait_async_that_is_cancelled() -> None:
    inbox = Inbox()

    async def scenario() -> None:
        with trio.move_on_after(0.01):
            await inbox.wait_async(timeout=60)

    begun = time.monotonic()
    trio.run(scenario)
    assert time.monotonic() - begun < 5
    assert fill(inbox, b"one") == [250]


def test_loop_that_has_ended_does_no_harm() -> None:
    """The one that waits in it was never woken, and never will be."""
    inbox = Inbox()
    loop = asyncio.new_event_loop()
    waiting = inbox.wait_async(timeout=60)
    task = loop.create_task(waiting)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert fill(inbox, b"one") == [250]
    # So that the loop's end leaves nothing behind that would complain about it.
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    waiting.close()
