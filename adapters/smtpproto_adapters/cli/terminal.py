"""Standard output and standard error, as all commands use them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import textwrap
from typing import Final

from .trace import one_line

EXTRAS: Final = {
    "rich": ("rich", "cli"),
    "shtab": ("shtab", "cli"),
    "trio": ("trio", "trio"),
    "trustme": ("trustme", "testing"),
    "dns": ("dnspython", "dns"),
}
"""Of the packages that may be missing: how each is called where it comes from, and the extra that has it."""


def complain(sentence: str) -> None:
    """Say on standard error what is wrong: on one line, which is broken between words at the edge of a terminal."""
    with contextlib.suppress(OSError):  # what goes wrong at standard output is not worth a second sentence
        sys.stdout.flush()
    line = f"smtpproto: {one_line(sentence)}"
    with contextlib.suppress(OSError, ValueError):  # it is no terminal, or has no width
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) if width else line
    sys.stderr.write(f"{line}\n")


def clear_line() -> None:
    """Write over what a terminal has echoed of ^C."""
    if sys.stderr.isatty():
        sys.stderr.write("\r")
        sys.stderr.flush()


def announce_reading() -> None:
    """Say what is waited for, where standard input is somebody who types."""
    if sys.stdin.isatty():
        complain("reading from the terminal; ^D on a line of its own ends it")


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
