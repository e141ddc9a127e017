"""Processes of our own beside the one that measures: each gets JSON lines, answers likewise, and ends with its input.

So none is left over, however the measuring process ends; and none waits for ever for another one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"

STEP_SECONDS = 60.0
"""What one answer may take at most."""
LIFE_SECONDS = 900
"""What a whole child may take at most, if all else fails."""
END_SECONDS = 5.0

Answer = Mapping[str, Any]
"""What a child says: numbers, as JSON has them."""


class Child:
    """A process that runs a module; a context manager, which ends it."""

    def __init__(self, module: str, *arguments: str) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
        self._name = " ".join([module, *arguments])
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
        )
        self._heard = b""

    def ask(self, seconds: float = STEP_SECONDS, **question: Any) -> Answer:
        """Raises TimeoutError, and EOFError where it has ended."""
        self.tell(**question)
        return self.hear(seconds)

    def tell(self, **question: Any) -> None:
        """What is answered later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")

    def hear(self, seconds: float = STEP_SECONDS) -> Answer:
        """The next thing that it says."""
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._heard:
            if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(f"{self._name} says nothing within {seconds} s")
            data = os.read(descriptor, 65536)
            if not data:
                raise EOFError(f"{self._name} has ended")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        answer: Answer = json.loads(line)
        return answer

    def close(self) -> None:
        """End it, if it has not ended."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_SECONDS)
        process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


# In the child ----------------------------------------------------------------------------------------------------


def questions() -> Iterator[dict[str, Any]]:
    """What is asked, up to the end of the input."""
    for line in sys.stdin:
        yield json.loads(line)


def say(**answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def end_in_time() -> None:
    """To be called by each child first."""
    signal.alarm(LIFE_SECONDS)


def descriptors() -> int:
    """How many file descriptors a process may have here, with as many as it is allowed from now on."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1_048_576 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


# Memory ----------------------------------------------------------------------------------------------------------

_STATUS = Path("/proc/self/status")
_FORGET_PEAK = "5"
"""What /proc/self/clear_refs takes for it: proc(5)."""


def resident() -> int:
    """Octets of memory that this process has now; where the system does not tell, the most that it had so far."""
    return _status("VmRSS") or _most()


def peak() -> int:
    """The most octets of memory that this process had since `forget_peak`; or ever, where that is not to be had."""
    return _status("VmHWM") or _most()


def forget_peak() -> None:
    """Begin anew."""
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text(_FORGET_PEAK, encoding="ascii")


def _status(field: str) -> int:
    if not _STATUS.exists():
        return 0
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def _most() -> int:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
