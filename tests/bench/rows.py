"""What is measured, and against whom.

Each contestant gets the same octets, from memory: for smtplib they lie in a `BytesIO` in place of a socket's file,
which is faster than any socket, so what is compared is the work on them and nothing else.
"""

from __future__ import annotations

import io
import smtplib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from smtpproto import NEED_DATA, Connection, Role
from smtpproto.commands import Ehlo, Mail, Rcpt

from .harness import ROUNDS, Figure, Row, figures

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]

GREETING = b"220 mx.example ESMTP\r\n"
EHLO_REPLY = b"\r\n".join(
    [
        b"250-mx.example greets client.example",
        b"250-SIZE 52428800",
        b"250-8BITMIME",
        b"250-PIPELINING",
        b"250-CHUNKING",
        b"250-BINARYMIME",
        b"250-STARTTLS",
        b"250-AUTH PLAIN LOGIN SCRAM-SHA-256",
        b"250-ENHANCEDSTATUSCODES",
        b"250-DSN",
        b"250-SMTPUTF8",
        b"250-ETRN",
        b"250-VRFY",
        b"250-LIMITS RCPTMAX=1000",
        b"250 HELP",
        b"",
    ]
)
RECIPIENTS = 100
PIPELINED = b"250 2.1.0 Ok\r\n" + b"250 2.1.5 Ok\r\n" * RECIPIENTS


class NoSocket:
    """Takes what smtplib sends, and does nothing with it."""

    def sendall(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


def smtplib_with(octets: bytes) -> smtplib.SMTP:
    client = smtplib.SMTP(local_hostname="client.example")
    client.sock = cast("socket.socket", NoSocket())
    client.file = io.BytesIO(octets)
    return client


def greeted() -> Connection:
    connection = Connection(Role.CLIENT)
    connection.receive_data(GREETING)
    connection.next_event()
    return connection


def drain(connection: Connection) -> None:
    while connection.next_event() is not NEED_DATA:
        pass


def ehlo_ours() -> Callable[[], object]:
    connection = greeted()

    def run() -> None:
        connection.send(Ehlo("client.example"))
        connection.receive_data(EHLO_REPLY)
        connection.next_event()

    return run


def ehlo_smtplib() -> Callable[[], object]:
    return smtplib_with(EHLO_REPLY).ehlo


def pipelined_ours() -> Callable[[], object]:
    connection = greeted()
    connection.send(Ehlo("client.example"))
    connection.receive_data(EHLO_REPLY)
    connection.next_event()
    connection.send(Mail("sender@client.example"))
    recipient = Rcpt("recipient@mx.example")
    for _ in range(RECIPIENTS):
        connection.send(recipient)

    def run() -> None:
        connection.receive_data(PIPELINED)
        drain(connection)

    return run


def pipelined_smtplib() -> Callable[[], object]:
    client = smtplib_with(PIPELINED)

    def run() -> None:
        for _ in range(RECIPIENTS + 1):
            client.getreply()

    return run


ROWS = (
    Row("pipelined replies", "reply", RECIPIENTS + 1, {"smtpproto": pipelined_ours, "smtplib": pipelined_smtplib}),
    Row("15-line EHLO reply", "exchange", 1, {"smtpproto": ehlo_ours, "smtplib": ehlo_smtplib}),
)


def import_times() -> dict[str, Figure]:
    """Each in a process of its own, which measures itself: the interpreter's own start is not part of it."""
    names = ["smtpproto", "smtplib", *(["aiosmtplib"] if find_spec("aiosmtplib") else [])]
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            times[name].append(_import_time(name))
    return figures(times)


def _import_time(name: str) -> int:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from time import perf_counter_ns as now; "
        f"begin = now(); import {name}; print(now() - begin)"
    )
    return int(subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True).stdout)
