"""A process that holds the contestants of one environment, and times them when it is told to.

It is told by lines of JSON on its standard input, and answers each with one on its standard output:

    ======================================================================  ==========================================
    ``{}``                                                                  ``{"python": "3.13.0"}``
    ``{"contestant": "ours:ehlo", "workload": ["ehlo_reply", 0],``          ``{"ns": 123456}``, the median of the runs
    ``"runs": 8}``
    ======================================================================  ==========================================

Where a contestant's package is missing the answer is ``{"missing": "a sentence"}``, and where it fails
``{"error": "a sentence"}``.  At the end of its input it ends.

The registry's package `smtpproto` has our name, so it gets an environment and a worker of its own, in which the
packages of the environment go before those that lie in this checkout.
"""

from __future__ import annotations

import gc
import json
import platform
import subprocess
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from . import workloads
from .harness import Here, Missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from .harness import Prepare, Timer

ROOT = Path(__file__).parents[2]
_BOOT = "import sys; sys.path.{}sys.argv[1]); from tests.bench.worker import main; main()"


def prepare_of(contestant: str, workload: tuple[str, int]) -> Prepare:
    """``module:function`` in `tests.bench.contestants`, ready to be called.  Raises `Missing`."""
    module, _, function = contestant.partition(":")
    try:
        found = getattr(import_module(f".contestants.{module}", __package__), function)
    except ImportError as error:
        raise Missing(str(error)) from None
    make, size = workload
    return partial(found, getattr(workloads, make)(size))


def answer(question: dict[str, Any]) -> dict[str, object]:
    if not question:
        return {"python": platform.python_version()}
    try:
        make, size = question["workload"]
        timer = Here(prepare_of(question["contestant"], (make, size)))
        gc.disable()
        try:
            return {"ns": timer.time(question["runs"])}
        finally:
            gc.enable()
            gc.collect()
    except Missing as missing:
        return {"missing": str(missing)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


class Worker:
    """The parent's end of it.  A context manager."""

    def __init__(self, python: str | Path | None = None) -> None:
        """``python``: that of an environment that has another smtpproto than this checkout."""
        self.python = str(python or sys.executable)
        boot = _BOOT.format("insert(0, " if python is None else "append(")
        self._process = subprocess.Popen(
            [self.python, "-I", "-c", boot, str(ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ask(self, **question: object) -> dict[str, Any]:
        """Raises `Missing`, and `RuntimeError` where the contestant or the worker has failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {self.python} ended with {self._process.wait(60)} at {question}")
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            raise Missing(answer["missing"])
        if "error" in answer:
            raise RuntimeError(f"{question}: {answer['error']}")
        return answer

    def timer(self, contestant: str, workload: tuple[str, int]) -> Timer:
        """Its ``time`` raises what `ask` does."""
        return _There(self.ask, contestant, workload)


class _There:
    """A contestant in the worker."""

    def __init__(self, ask: Callable[..., dict[str, Any]], contestant: str, workload: tuple[str, int]) -> None:
        self._ask = partial(ask, contestant=contestant, workload=workload)

    def time(self, runs: int) -> float:
        nanoseconds: float = self._ask(runs=runs)["ns"]
        return nanoseconds


if __name__ == "__main__":
    main()
