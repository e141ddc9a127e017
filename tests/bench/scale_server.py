"""`python -m tests.bench.scale_server BACKEND KIND`: a server that counts what comes, in a process of its own.

BACKEND: blocking, asyncio, trio.  KIND: ``whole`` gathers each message, as most programs do; ``stream`` counts the
pieces of it, and keeps nothing.  It says its port, and then answers each line with its state.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from smtpproto import Limits, Service
from smtpproto_adapters.server import Handler, Outcome, ReceivedMessage, ServerSession

from .scale_child import (
    LOOPBACK,
    descriptors,
    end_in_time,
    forget_peak,
    peak,
    questions,
    resident,
    say,
)

if TYPE_CHECKING:
    from smtpproto_adapters.handler import Decision

MESSAGE = 1_000_000_000
"""Octets in a message that it takes."""


class Counting(Handler):
    """Takes all messages, and counts them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begun = 0
        self.ended = 0
        self.messages = 0
        self.octets = 0

    def greeting(self, session: ServerSession) -> Decision:
        with self.lock:
            self.begun += 1
        return None

    def note_end(self, session: ServerSession) -> None:
        with self.lock:
            self.ended += 1

    def count(self, messages: int, octets: int) -> None:
        with self.lock:
            self.messages += messages
            self.octets += octets


class Whole(Counting):
    def message(self, session: ServerSession, message: ReceivedMessage) -> Outcome:
        self.count(1, len(message.content))
        return None


class Stream(Counting):
    def content(self, session: ServerSession, data: bytes) -> Decision:
        self.count(0, len(data))
        return None

    def end_of_data(self, session: ServerSession) -> Outcome:
        self.count(1, 0)
        return None


def answer_all(handler: Counting) -> None:
    """In a thread, while the server serves."""
    for question in questions():
        gc.collect()
        if question.get("forget_peak"):
            forget_peak()
        say(
            open=handler.begun - handler.ended,
            messages=handler.messages,
            octets=handler.octets,
            resident=resident(),
            peak=peak(),
        )
    os._exit(0)


def serve_blocking(handler: Counting, options: dict[str, Any]) -> None:
    from smtpproto_adapters.blocking import serve

    with serve(handler, **options) as server:
        say(port=server.port)
        threading.Event().wait()


def serve_asyncio(handler: Counting, options: dict[str, Any]) -> None:
    from smtpproto_adapters.asyncio import serve

    async def main() -> None:
        async with serve(handler, **options) as server:
            say(port=server.port)
            await asyncio.Event().wait()

    asyncio.run(main())


def serve_trio(handler: Counting, options: dict[str, Any]) -> None:
    import trio

    from smtpproto_adapters.trio import serve

    async def main() -> None:
        async with serve(handler, **options) as server:
            say(port=server.port)
            await trio.sleep_forever()

    trio.run(main)


BACKENDS = {"blocking": serve_blocking, "asyncio": serve_asyncio, "trio": serve_trio}


def main(backend: str, kind: str) -> None:
    end_in_time()
    handler = Stream() if kind == "stream" else Whole()
    options = {
        "host": LOOPBACK,
        "service": Service("mx.example", limits=Limits(message=MESSAGE)),
        "max_connections": descriptors(),
        "on_end": handler.note_end,
    }
    threading.Thread(target=answer_all, args=(handler,), daemon=True).start()
    BACKENDS[backend](handler, options)


if __name__ == "__main__":
    main(*sys.argv[1:])
