"""Run one server for as long as somebody holds our standard input open, then leave nothing of it behind.

    python guard.py GRACE COMMAND [ARGUMENT ...]

A test run can end in ways that run no fixture's teardown (a SIGKILL, a timeout that calls `os._exit`), and Postfix
and Dovecot are trees of processes which outlive the one that started them. So each server runs under a guard: end of
file on standard input, which the kernel delivers however the test run ended, asks all of the tree to terminate, and
what is left after GRACE seconds is killed. The guard is a "child subreaper" (Linux): whatever loses its parent becomes
the guard's own child, so "no child left" means that the whole tree is gone, and no process of another is ever touched.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""

TICK = 0.02
"""Seconds between two looks at the children."""


def adopt_orphans() -> None:
    """Make the descendants that lose their parent our own children.

    Raises OSError where the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> list[int]:
    """The process ids of our own children, dead ones that are not yet reaped included."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_bytes()
        except OSError:
            continue
        # The name, in parentheses, may hold anything; after it come the state and the parent.
        if int(stat.rpartition(b")")[2].split()[1]) == os.getpid():
            found.append(int(entry.name))
    return found


def reap(statuses: dict[int, int]) -> bool:
    """Note the exit codes of the children that ended; False when no child is left."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        statuses[pid] = os.waitstatus_to_exitcode(status)


def end_all(statuses: dict[int, int], grace: float) -> None:
    """Terminate every descendant; kill those that are still there after `grace` seconds."""
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    while reap(statuses):
        late = time.monotonic() >= deadline
        for pid in children():
            if late:
                os.kill(pid, signal.SIGKILL)
            elif pid not in asked:
                asked.add(pid)
                os.kill(pid, signal.SIGTERM)
        time.sleep(TICK)


def stop_signal(number: int, frame: object) -> NoReturn:
    """A SIGTERM at the guard itself ends its server as well."""
    sys.exit(128 + number)


def main(arguments: list[str]) -> int:
    """Guard the command; return its exit code, or 0 where it lived until it was asked to end."""
    grace, command = float(arguments[0]), arguments[1:]
    signal.signal(signal.SIGTERM, stop_signal)
    adopt_orphans()
    statuses: dict[int, int] = {}
    no_input = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    try:
        server = os.posix_spawn(command[0], command, os.environ, file_actions=no_input, setsid=True)
        while server not in statuses:
            readable, _, _ = select.select([0], [], [], TICK)
            if readable and not os.read(0, 512):
                break
            reap(statuses)
        return max(statuses.get(server, 0), 0)
    finally:
        end_all(statuses, grace)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
