"""The big runs: thousands of connections, a thousand clients, a hundred megabytes.  They are compared with nobody.

Server and clients are processes of their own (see `scale_child`), so that the memory of the one has nothing of the
other's in it, and each has file descriptors for itself.  Server and load share the machine: with two cores each has
about one, and what a server does on a machine of its own is no less.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any, NamedTuple

from smtpproto_adapters.sources import CHUNK

from .harness import Measurement
from .scale_child import Child, descriptors

MANY = 10_000
"""Connections that are held open at once."""
SPARE_DESCRIPTORS = 100
"""What a process needs beside its connections."""
LOADS = 2
"""Processes that hold the clients' ends, each with an address, and so with ports, of its own."""


class Sizes(NamedTuple):
    """How much is done of each."""

    connections: int
    clients: int
    messages: int
    """What each of these clients sends."""
    octets: int
    """What is streamed."""
    points: tuple[int, ...]
    """Numbers of connections at which the throughput is measured,"""
    load: int
    """with so many messages, all connections together."""
    rounds: int


FULL = Sizes(MANY, 1000, 10, 100_000_000, (1, 10, 100, 1000), 3000, 3)
QUICK = Sizes(40, 10, 2, 2_000_000, (1, 10), 40, 1)


def measurements(quick: bool = False) -> Iterator[Measurement]:
    """All of them, one by one, as they are known."""
    sizes = QUICK if quick else FULL
    for backend in backends():
        yield from held_open(backend, sizes)
    yield from at_once(sizes)
    yield from streamed(sizes)


def scaling(quick: bool = False) -> list[dict[str, Any]]:
    """What one message costs a server, against the number of connections that send at once."""
    sizes = QUICK if quick else FULL
    return [
        {
            "id": f"messages-by-connections-{backend}",
            "name": f"a message of 2 kB through the {backend} server, by the connections that send at once",
            "unit": "message",
            "points": throughput(backend, sizes),
        }
        for backend in backends()
    ]


def backends() -> list[str]:
    """Of those that hold many connections in one thread, the ones that are installed here."""
    return ["asyncio", *(["trio"] if find_spec("trio") else [])]


# Connections that are open, and do nothing --------------------------------------------------------------------------


def held_open(backend: str, sizes: Sizes) -> Iterator[Measurement]:
    """Each is greeted, and has said EHLO."""
    count = min(sizes.connections, descriptors() - SPARE_DESCRIPTORS)
    limited = ", as many as the limit of file descriptors allows" if count < sizes.connections else ""
    with ExitStack() as stack:
        server = stack.enter_context(Child("tests.bench.scale_server", backend, "whole"))
        port = server.hear()["port"]
        loads = [stack.enter_context(load(port, number)) for number in range(LOADS)]
        # What the first ones need is needed once: modules, and what the allocator has at hand.
        warm = LOADS * 10
        open_in(loads, warm)
        before = server.ask()["resident"]
        open_in(loads, count)
        after = server.ask()
        held = after["open"]
        yield Measurement(
            f"open-{backend}",
            f"connections held open at once by the {backend} server in one process{limited}",
            held,
            "connections",
        )
        yield Measurement(
            f"memory-{backend}",
            f"memory of the {backend} server for each of them",
            (after["resident"] - before) / (held - warm),
            "bytes",
        )


def load(port: int, number: int) -> Child:
    return Child("tests.bench.scale_clients", str(port), f"127.0.0.{2 + number}")


def open_in(loads: list[Child], count: int) -> None:
    """So many in all; the processes make them side by side."""
    share = count // len(loads)
    for number, each in enumerate(loads):
        each.tell(open=share if number else count - share * (len(loads) - 1))
    for each in loads:
        each.hear(seconds=120)


# Clients that all send at once ---------------------------------------------------------------------------------------


def at_once(sizes: Sizes) -> Iterator[Measurement]:
    """Clients and server are ours, both on asyncio."""
    with ExitStack() as stack:
        server = stack.enter_context(Child("tests.bench.scale_server", "asyncio", "whole"))
        port = server.hear()["port"]
        clients = stack.enter_context(Child("tests.bench.scale_senders", str(port), str(sizes.clients)))
        count = clients.hear()["open"]
        sent = clients.ask(send=sizes.messages)
        arrived = server.ask()["messages"]
    what = (
        f"{count} asyncio clients in one process, all sending {sizes.messages} messages of 2 kB at once to one server"
    )
    yield Measurement("at-once", what, sent["accepted"] / sent["ns"] * 1e9, "messages per second")
    lost = abs(count * sizes.messages - sent["accepted"]) + abs(sent["accepted"] - arrived)
    yield Measurement("at-once-lost", "of these, messages that were not accepted, or did not arrive", lost, "messages")


# A message that is larger than what memory should be taken for it --------------------------------------------------


def streamed(sizes: Sizes) -> Iterator[Measurement]:
    """The blocking client reads it from a file, and the asyncio server's handler counts its pieces."""
    for verb in ("DATA", "BDAT"):
        yield from streamed_with(verb, sizes)


def streamed_with(verb: str, sizes: Sizes) -> Iterator[Measurement]:
    chunking = verb == "BDAT"
    with ExitStack() as stack:
        server = stack.enter_context(Child("tests.bench.scale_server", "asyncio", "stream"))
        port = server.hear()["port"]
        client = stack.enter_context(Child("tests.bench.scale_streaming", str(port)))
        client.ask(octets=1000, chunking=chunking)  # what each needs once, whatever is sent
        before = server.ask(forget_peak=True)
        sent = client.ask(octets=sizes.octets, chunking=chunking)
        after = server.ask()
    octets = after["octets"] - before["octets"]
    if octets != sent["octets"]:
        raise ValueError(f"{octets} octets arrived of {sent['octets']}")
    what, kind = f"{sizes.octets // 1_000_000} MB with {verb}", verb.lower()
    unit = f"chunks of {CHUNK // 1024} KiB"
    grown = {
        "client": (f"peak memory of the blocking client, above its rest, that streams {what}", sent["grown"]),
        "server": (
            f"peak memory of the asyncio server, above its rest, that receives {what}",
            after["peak"] - before["resident"],
        ),
    }
    for who, (name, value) in grown.items():
        yield Measurement(f"peak-{who}-{kind}", name, value / CHUNK, unit)
    yield Measurement(f"stream-{kind}", f"throughput of {what}", octets / sent["ns"] * 1e3, "MB per second")


# Throughput against the number of connections -------------------------------------------------------------------------


def throughput(backend: str, sizes: Sizes) -> list[list[float]]:
    """Pairs of the number of connections, and nanoseconds for one message: the median of some rounds."""
    times: dict[int, list[float]] = {count: [] for count in sizes.points}
    with ExitStack() as stack:
        server = stack.enter_context(Child("tests.bench.scale_server", backend, "whole"))
        clients = stack.enter_context(load(server.hear()["port"], 0))
        expected = 0
        for _ in range(sizes.rounds):
            for count in sizes.points:
                clients.ask(open=count)
                each = max(1, sizes.load // count)
                times[count].append(clients.ask(send=each)["ns"] / (each * count))
                expected += each * count
        arrived = server.ask()["messages"]
    if arrived != expected:
        raise ValueError(f"{arrived} messages arrived of {expected}")
    return [[count, statistics.median(found)] for count, found in times.items()]
