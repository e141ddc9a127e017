"""What the targets share, whoever runs them.

A target is a module with `test_one_input(data)`, which raises for an input that breaks the invariant with which its
docstring begins.  It may have `seeds()` too, for inputs that are better made than kept in ``corpus/``.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

try:
    atheris: Any = import_module("atheris")
except ImportError:
    atheris = None

# Whatever a target imports of the engine has to be instrumented, so it is imported here, first.
with nullcontext() if atheris is None else atheris.instrument_imports(include=["smtpproto", "smtpproto_adapters"]):
    import_module("smtpproto.testing")
    import_module("smtpproto_adapters.bindings")

if TYPE_CHECKING:
    from collections.abc import Callable

FLIGHT: Final = b"\x1c"
"""Parts what is said at a time."""

_REPEATS: Final = 20_000
_SECONDS: Final = 2.0
"""Linear work on an input that was blown up takes some milliseconds, and quadratic work minutes: a slow machine is
neither."""


def flights_of(data: bytes) -> list[bytes]:
    return data.split(FLIGHT, 30)


def chosen(data: bytes, at: int = 0) -> int:
    """The octet there, by which an input chooses; 0 where it is too short."""
    return data[at] if at < len(data) else 0


def text_of(data: bytes) -> str:
    """Any text: what is no UTF-8 becomes lone surrogates, which are worth trying too."""
    return data.decode("utf-8", "surrogateescape")


def assert_linear(judge: Callable[[str], object], data: bytes) -> None:
    """Where the input has three parts, the middle one many times over takes no more than linear work.

    ``judge`` raises nothing.
    """
    parts = data.split(FLIGHT)
    if len(parts) != 3 or not parts[1]:
        return
    head, middle, tail = map(text_of, parts)
    text = head + middle * (_REPEATS // len(middle)) + tail
    begun = time.process_time()
    judge(text)
    took = time.process_time() - begun
    assert took < _SECONDS, f"{took:.1f} s for {len(text)} characters"
