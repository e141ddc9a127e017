"""`python -m tests.bench.scale_streaming PORT`: a blocking client that streams a large message from a file.

Each question is how many octets, and whether with BDAT; the answer is how much the memory of the process has grown at
its worst meanwhile, and how long it took.
"""

from __future__ import annotations

import sys
import time

from smtpproto import Envelope
from smtpproto_adapters.blocking import Client

from .scale_child import LOOPBACK, STEP_SECONDS, end_in_time, forget_peak, peak, questions, resident, say
from .scale_clients import LINE

ENVELOPE = Envelope("sender@client.example", "recipient@mx.example")


class LargeFile:
    """A file of so many octets, in whole lines: reading it gives new octets each time, as a file on a disk does."""

    def __init__(self, octets: int) -> None:
        self._left = octets
        self._lines = LINE * 4096

    def read(self, size: int, /) -> bytes:
        # A line that is cut goes on in the next piece.
        take = min(size, self._left, len(self._lines) // 2)
        start = -self._left % len(LINE)
        self._left -= take
        return bytes(memoryview(self._lines)[start : start + take])


def stream(client: Client, octets: int, chunking: bool) -> int:
    """How many octets it was, which are whole lines."""
    size = octets - octets % len(LINE)
    client.deliver(ENVELOPE, LargeFile(size), chunking=chunking).raise_unless_accepted()
    return size


def main(port: str) -> None:
    end_in_time()
    with Client(host=LOOPBACK, port=int(port), client_name="client.example", timeout=STEP_SECONDS) as client:
        for question in questions():
            forget_peak()
            before = resident()
            begin = time.perf_counter_ns()
            octets = stream(client, question["octets"], question["chunking"])
            say(octets=octets, grown=peak() - before, ns=time.perf_counter_ns() - begin)


if __name__ == "__main__":
    main(*sys.argv[1:])
