"""Standard output and standard error, as all commands use them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Final

from .trace import one_line

EXTRAS: Final = {
    "rich": ("rich", "cli"),
    "trio": ("trio", "trio"),
    "trustme": ("trustme", "testing"),
    "dns": ("dnspython", "dns"),
}
"""Of the packages that may be missing: how each is called where it comes from, and the extra that has it."""


def complain(sentence: str) -> None:
    """Say on standard error what is wrong, on one line."""
    with contextlib.suppress(OSError):  # what goes wrong at standard output is not worth a second sentence
        sys.stdout.flush()
    sys.stderr.write(f"smtpproto: {one_line(sentence)}\n")


def missing(error: ImportError) -> str:
    """What to do about a package that is not installed.  Raises the error again where it is none of the extras."""
    name = (error.name or "").partition(".")[0]
    if name not in EXTRAS:
        raise error
    package, extra = EXTRAS[name]
    return f"{package} is not installed: pip install 'smtpproto-sansio[{extra}]'"


def is_interrupt(error: BaseException) -> bool:
    """True for ^C; a trio nursery puts it into a group."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None  # pyright: ignore[reportUnknownMemberType]
    return isinstance(error, KeyboardInterrupt)


def let_every_character_pass() -> None:
    """A terminal of another encoding than UTF-8 is to see escapes, not to end us."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def let_go_of_output() -> None:
    """The interpreter flushes standard output once more at its end, and would complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
