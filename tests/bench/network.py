"""End to end on loopback: messages of 2 kB over one connection, from the first MAIL to the last reply.

All send the same octets to the same server (see `network_sink`), but for smtp-source, which makes up its own: of the
same size, in the same lines.  We overlap the messages with `send_many`, smtplib and smtp-source take a round trip for
each command, and bare sockets play our very session again (see `network_replay`): the limit.

The connection is made before the clock starts, but for smtp-source, whose whole process is measured.  Its start is
about a fiftieth of the time of so many messages.

On loopback a round trip costs next to nothing, and the work of each side is all that there is.  So there is a row with
a long way between the two as well (see `network_relay`), where connecting and leaving are a twentieth of smtp-source's.
"""

from __future__ import annotations

import atexit
import smtplib
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache

from smtpproto import Envelope, Security
from smtpproto_adapters.blocking import Client

from .harness import OURS, Missing, Prepare, Row, Run, Target
from .network_replay import Player, Recorder, Script, record
from .network_sink import find, sink, sink_program
from .scale_child import LOOPBACK, ROOT, STEP_SECONDS, Child

MESSAGES = 2000
"""How many are sent in one round."""
FAR_MESSAGES = 20
"""The same, where the way is long,"""
ROUND_TRIP = 10_000
"""and how many microseconds it takes there and back, at least."""
SENDER, RECIPIENT, CLIENT = "sender@client.example", "recipient@mx.example", "client.example"
PAYLOAD = 2048
HEADER = (
    b"From: <sender@client.example>\r\n"
    b"To: <recipient@mx.example>\r\n"
    b"Date: Mon, 23 Nov 2026 19:36:44 +0000 (UTC)\r\n"
    b"Message-Id: <49a7.0003.0001@client.example>\r\n"
    b"\r\n"
)
CONTENT = HEADER + (b"X" * 78 + b"\r\n") * (PAYLOAD // 80) + b"X" * (PAYLOAD % 80 - 2) + b"\r\n"
"""What smtp-source makes for ``-l 2048``."""

SMTPLIB, SOURCE, RAW = "smtplib", "smtp-source", "raw sockets"


@cache
def port() -> int:
    """Where the server listens, which runs from now on until this process ends, or `stop` is called."""
    return _running.enter_context(sink())


@cache
def far_port() -> int:
    """The same server behind a long way."""
    relay = _running.enter_context(Child("tests.bench.network_relay", str(port()), str(ROUND_TRIP // 2)))
    found: int = relay.hear()["port"]
    return found


def stop() -> None:
    """End the server."""
    _running.close()
    for kept in (port, far_port, script):
        kept.cache_clear()


_running = ExitStack()
atexit.register(stop)


def cpu_time() -> int:
    """Nanoseconds that this process and its children, as far as they have ended, have used the processor."""
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return int(sum(each.ru_utime + each.ru_stime for each in used) * 1e9)


# The contestants -----------------------------------------------------------------------------------------------------


Where = Callable[[], int]
"""The port to connect to; to be asked when it is needed, for that starts the server."""


def ours(messages: int, where: Where = port) -> Prepare:
    letters = [(Envelope(SENDER, RECIPIENT), CONTENT)] * messages

    def prepare() -> Run:
        client = our_client(where())
        client.connect()

        def run() -> None:
            for result in client.send_many(letters):
                result.raise_unless_accepted()
            client.abort()

        return run

    return prepare


def our_client(port: int, recorder: Recorder | None = None) -> Client:
    return Client(
        host=LOOPBACK, port=port, client_name=CLIENT, security=Security.NONE, timeout=STEP_SECONDS, stream=recorder
    )


def with_smtplib(messages: int, where: Where = port) -> Prepare:
    def prepare() -> Run:
        client = smtplib.SMTP(LOOPBACK, where(), local_hostname=CLIENT, timeout=STEP_SECONDS)
        client.ehlo()

        def run() -> None:
            for _ in range(messages):
                client.sendmail(SENDER, [RECIPIENT], CONTENT)
            client.close()

        return run

    return prepare


def with_source(messages: int, where: Where = port) -> Prepare:
    settings = ["-4", "-d", "-s", "1", "-m", str(messages), "-l", str(PAYLOAD)]
    settings += ["-M", CLIENT, "-f", SENDER, "-t", RECIPIENT]

    def prepare() -> Run:
        program = find("smtp-source")
        if program is None:
            raise Missing("smtp-source of Postfix is not installed")
        command = [program, *settings, f"{LOOPBACK}:{where()}"]
        return lambda: subprocess.run(command, check=True, timeout=STEP_SECONDS)

    return prepare


@cache
def script(messages: int) -> Script:
    """A session of ours."""

    def converse(recorder: Recorder) -> int:
        client = our_client(port(), recorder)
        client.connect()
        opening = len(recorder.writes)
        for result in client.send_many([(Envelope(SENDER, RECIPIENT), CONTENT)] * messages):
            result.raise_unless_accepted()
        return opening

    return record((LOOPBACK, port()), converse)


def with_raw_sockets(messages: int) -> Prepare:
    return lambda: Player((LOOPBACK, port()), script(messages), STEP_SECONDS).run


# A process that connects, once ----------------------------------------------------------------------------------------

_COLD_OURS = (
    "from smtpproto_adapters.blocking import Client\n"
    "from smtpproto import Security\n"
    "with Client(host={host!r}, port={port}, client_name={client!r}, security=Security.NONE): pass"
)
_COLD_SMTPLIB = (
    "import smtplib\nwith smtplib.SMTP({host!r}, {port}, local_hostname={client!r}) as client: client.ehlo()"
)
INTERPRETER = "the interpreter alone"


def cold(program: str) -> Prepare:
    """From the start of the interpreter to its end."""
    path = [str(ROOT), str(ROOT / "adapters")]

    def prepare() -> Run:
        whole = f"import sys; sys.path[:0] = {path!r}\n" + program.format(host=LOOPBACK, port=port(), client=CLIENT)
        command = [sys.executable, "-I", "-c", whole]
        return lambda: subprocess.run(command, check=True, timeout=STEP_SECONDS)

    return prepare


# The rows ------------------------------------------------------------------------------------------------------------


def rows(messages: int = MESSAGES, far_messages: int = FAR_MESSAGES) -> tuple[Row, ...]:
    contestants: dict[str, str | Prepare] = {
        OURS: ours(messages),
        SMTPLIB: with_smtplib(messages),
        SOURCE: with_source(messages),
        RAW: with_raw_sockets(messages),
    }
    receiver = "a server of ours" if sink_program() is None else "smtp-sink"
    return (
        Row(
            id="network",
            name=f"a message of 2 kB over one connection to {receiver} on loopback",
            unit="message",
            operations=messages,
            contestants=contestants,
            targets=(Target(SMTPLIB, "at least", 3), Target(SOURCE, "at least", 2)),
            runs=1,
        ),
        Row(
            id="network-cpu",
            name="the same, processor time of the sender",
            unit="message",
            operations=messages,
            contestants=contestants,
            targets=(Target(RAW, "at most", 1.6),),
            runs=1,
            clock=cpu_time,
        ),
        Row(
            id="network-far",
            name=f"the same behind a way of {ROUND_TRIP // 1000} ms there and back",
            unit="message",
            operations=far_messages,
            contestants={
                OURS: ours(far_messages, far_port),
                SMTPLIB: with_smtplib(far_messages, far_port),
                SOURCE: with_source(far_messages, far_port),
            },
            runs=1,
        ),
        Row(
            id="cold-connect",
            name="a cold process that imports, connects, says EHLO and QUIT",
            unit="process",
            operations=1,
            contestants={OURS: cold(_COLD_OURS), SMTPLIB: cold(_COLD_SMTPLIB), INTERPRETER: cold("")},
            runs=1,
        ),
    )


ROWS: tuple[Row, ...] = rows()
