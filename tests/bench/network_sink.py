"""The server that everybody sends to: smtp-sink of Postfix, or where that is not installed a server of ours.

smtp-sink is quick, takes whatever comes, and is nobody's contestant.  It runs in a process of its own on loopback, as
long as the block that started it, or this process: under a guard that ends it when we are gone.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from .scale_child import END_SECONDS, LOOPBACK, ROOT, STEP_SECONDS, Child

HOST_NAME = "mx.example"
BACKLOG = "100"
USER = "nobody"
"""Whom smtp-sink runs as where root starts it, which it insists upon."""
GUARD = ROOT / "tests" / "interop" / "guard.py"


def find(program: str) -> str | None:
    """Where a program of Postfix is: in a folder of the administrators', which is not always on the path."""
    folders = [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
    return shutil.which(program, path=os.pathsep.join(folders))


def sink_program() -> str | None:
    """smtp-sink, where it is installed, and can be guarded."""
    return find("smtp-sink") if sys.platform == "linux" else None


@contextmanager
def sink() -> Generator[int]:
    """Run it; its port."""
    program = sink_program()
    if program is None:
        with Child("tests.bench.scale_server", "blocking", "stream") as server:
            yield server.hear()["port"]
        return
    with held_port() as port, guarded(program, "-h", HOST_NAME, *_as_user(), f"{LOOPBACK}:{port}", BACKLOG):
        wait_until_it_listens(port)
        yield port


def _as_user() -> list[str]:
    return ["-u", USER] if os.geteuid() == 0 else []


@contextmanager
def held_port() -> Generator[int]:
    """A port that the system gives to nobody else, and at which a server that names it can listen all the same."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((LOOPBACK, 0))
        yield holder.getsockname()[1]


@contextmanager
def guarded(*command: str) -> Generator[None]:
    """Run it until the block ends, or this process does."""
    guard = subprocess.Popen([sys.executable, "-I", str(GUARD), "1", *command], stdin=subprocess.PIPE)
    assert guard.stdin is not None
    try:
        yield
    finally:
        guard.stdin.close()
        guard.wait(2 * END_SECONDS)


def wait_until_it_listens(port: int) -> None:
    """Raises TimeoutError."""
    until = time.monotonic() + STEP_SECONDS
    while time.monotonic() < until:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens at port {port}")
