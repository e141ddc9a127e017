"""One session of a client, on any of the adapters: connect, send a message perhaps, and disconnect."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from smtpproto import ClientConnection, Connected, ConnectOptions, DeliveryResult, Envelope
from smtpproto.flows import Progress
from smtpproto_adapters.sources import Content

from .trace import Tls, Trace

GRACE: Final = 1.0
"""Seconds after ^C in which the server can answer, and hear that we go; another ^C ends it at once."""


class Errand(NamedTuple):
    """A message that is to be sent."""

    envelope: Envelope
    content: Content
    chunking: bool | None
    on_progress: Progress


Runner: TypeAlias = Callable[
    [ConnectOptions, ssl.SSLContext | None, Trace, Errand | None],
    DeliveryResult | None,
]


def _run_blocking(
    options: ConnectOptions, context: ssl.SSLContext | None, trace: Trace, errand: Errand | None
) -> DeliveryResult | None:
    from smtpproto_adapters.blocking import Client

    client = Client(options, context=context, on_event=trace.on_event, on_send=trace.on_send, grace=GRACE)
    trace.client = client
    client.connect()
    result = None
    try:
        if errand is not None:
            envelope, content, chunking, on_progress = errand
            result = client.deliver(envelope, content, chunking=chunking, on_progress=on_progress)
            trace.deliver(result)  # now: the server may take its time for the farewell
    except Exception:
        client.disconnect()  # nothing but a close, where the session is broken
        raise
    except BaseException:
        client.abort()
        raise
    client.disconnect()
    return result


class _AsyncClient(Protocol):
    @property
    def tls(self) -> Tls | None: ...
    @property
    def connection(self) -> ClientConnection | None: ...
    @property
    def leaving(self) -> bool: ...
    async def connect(self) -> Connected: ...
    async def deliver(
        self,
        envelope: Envelope,
        content: Content,
        *,
        chunking: bool | None = None,
        on_progress: Progress | None = None,
    ) -> DeliveryResult: ...
    async def disconnect(self) -> None: ...
    async def abort(self) -> None: ...


async def _converse(client: _AsyncClient, trace: Trace, errand: Errand | None) -> DeliveryResult | None:
    trace.client = client
    await client.connect()
    result = None
    try:
        if errand is not None:
            envelope, content, chunking, on_progress = errand
            result = await client.deliver(envelope, content, chunking=chunking, on_progress=on_progress)
            trace.deliver(result)
    except Exception:
        await client.disconnect()
        raise
    except BaseException:
        await client.abort()
        raise
    await client.disconnect()
    return result


def _run_asyncio(
    options: ConnectOptions, context: ssl.SSLContext | None, trace: Trace, errand: Errand | None
) -> DeliveryResult | None:
    import asyncio

    from smtpproto_adapters.asyncio import Client

    client = Client(options, context=context, on_event=trace.on_event, on_send=trace.on_send, grace=GRACE)
    conversation = _converse(client, trace, errand)
    try:
        return asyncio.run(conversation)
    finally:
        conversation.close()  # ^C may have come before it began


def _run_trio(
    options: ConnectOptions, context: ssl.SSLContext | None, trace: Trace, errand: Errand | None
) -> DeliveryResult | None:
    import trio

    from smtpproto_adapters.trio import Client

    client = Client(options, context=context, on_event=trace.on_event, on_send=trace.on_send, grace=GRACE)
    return trio.run(_converse, client, trace, errand)


RUNNERS: Final[dict[str, Runner]] = {"blocking": _run_blocking, "asyncio": _run_asyncio, "trio": _run_trio}
