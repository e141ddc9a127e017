"""`python -m tests.bench.scale_senders PORT CLIENTS`: many asyncio clients of ours in one process, all sending at once.

Each question is how many messages each of them shall send; the answer is how many were accepted, and how long it took.
"""

from __future__ import annotations

import asyncio
import sys
import time

from smtpproto import Envelope
from smtpproto_adapters.asyncio import Client

from .scale_child import LOOPBACK, STEP_SECONDS, descriptors, end_in_time, questions, say
from .scale_clients import AT_ONCE, CONTENT

MESSAGE = (Envelope("sender@client.example", "recipient@mx.example"), CONTENT)


async def connect(port: int, count: int) -> list[Client]:
    clients = [
        Client(host=LOOPBACK, port=port, client_name="client.example", timeout=STEP_SECONDS) for _ in range(count)
    ]
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(client.connect() for client in clients[start : start + AT_ONCE]))
    return clients


async def send(client: Client, messages: int) -> int:
    """How many were accepted."""
    return sum([len(result.accepted) async for result in client.send_many([MESSAGE] * messages)])


async def converse(port: int, count: int) -> None:
    clients = await connect(port, count)
    say(open=count)
    for question in questions():
        begin = time.perf_counter_ns()
        accepted = await asyncio.gather(*(send(client, question["send"]) for client in clients))
        say(accepted=sum(accepted), ns=time.perf_counter_ns() - begin)
    await asyncio.gather(*(client.abort() for client in clients))


def main(port: str, count: str) -> None:
    end_in_time()
    descriptors()
    asyncio.run(converse(int(port), int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
