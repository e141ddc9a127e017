"""Passwords and tokens: from the terminal, the environment or a file, and never from the command line itself."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import Final, NoReturn

from .parser import Group, invalid, option_of, reason

LONGEST_SECRET: Final = 65_536
"""Characters that are read of it."""

WHAT: Final = {"password": "the password", "token": "an OAuth 2.0 access token"}
SOURCES: Final = ("prompt", "env", "file")


class _Refuse(argparse.Action):
    """An option that is there for being refused, without repeating what was given."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        name = self.dest.removeprefix("refused_")
        parser.error(
            f"a {name} does not belong on the command line, where others can read it: give it with "
            f"--{name}-prompt, --{name}-env or --{name}-file"
        )


def add_secrets(group: Group, *names: str) -> None:
    """Where each of them comes from; of all these, one may be given."""
    one = group.add_mutually_exclusive_group()
    for name in names:
        what = WHAT[name]
        one.add_argument(f"--{name}-prompt", action="store_true", help=f"ask for {what} at the terminal")
        one.add_argument(f"--{name}-env", metavar="VARIABLE", help=f"environment variable with {what}")
        one.add_argument(f"--{name}-file", metavar="FILE", help=f"file whose first line is {what}; - is standard input")
        group.add_argument(f"--{name}", dest=f"refused_{name}", action=_Refuse, help=argparse.SUPPRESS)


def source_given(arguments: argparse.Namespace) -> tuple[str, str] | None:
    """What is given, and the option that says where it comes from: ``("password", "--password-env")``."""
    for name in WHAT:
        for source in SOURCES:
            if getattr(arguments, f"{name}_{source}", None):
                return name, option_of(f"{name}_{source}")
    return None


def secret(arguments: argparse.Namespace, name: str, whose: str | None, *, twice: bool = False) -> str:
    """The password or the token, from where it was said to be, or else from the terminal.

    ``twice``: the terminal asks for it once more.  Raises `ConnectFailed` (INVALID_ARGUMENT).
    """
    variable, file = getattr(arguments, f"{name}_env"), getattr(arguments, f"{name}_file")
    if variable is not None:
        return _of_environment(name, variable)
    if file is not None:
        return _of_file(name, file)
    return _asked_for(name, whose, twice=twice)


def _of_environment(name: str, variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise invalid(f"the environment variable {variable} with the {name} is not set, or empty")
    return value


def _of_file(name: str, file: str) -> str:
    try:
        text = sys.stdin.readline(LONGEST_SECRET) if file == "-" else _first_line(Path(file))
    except (OSError, ValueError) as error:
        raise invalid(f"cannot read the {name} from {file}: {reason(error)}") from None
    value = text.rstrip("\r\n")
    if not value:
        raise invalid(f"the first line of {'standard input' if file == '-' else file} is empty: it must be the {name}")
    return value


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        return lines.readline(LONGEST_SECRET)


def _asked_for(name: str, whose: str | None, *, twice: bool) -> str:
    value = at_terminal(f"{name.capitalize()} of {whose}: " if whose else f"{name.capitalize()}: ")
    if value is None:
        raise invalid(f"there is no terminal to ask for the {name} at: give --{name}-env or --{name}-file")
    if not value:
        raise invalid(f"no {name} was given")
    if twice and at_terminal("The same once more: ") != value:
        raise invalid(f"that was another {name}")
    return value


def at_terminal(prompt: str) -> str | None:
    """What somebody types there, unseen; nothing where it is ^D, and None where there is no terminal."""
    if not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(prompt)
    except (EOFError, KeyboardInterrupt) as error:
        sys.stderr.write("\n")  # the line of the prompt is still open
        if isinstance(error, KeyboardInterrupt):
            raise
        return ""
