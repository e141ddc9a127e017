"""What all the commands read their arguments with, and how they say that something is wrong with them."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn, Protocol

from smtpproto import ConnectFailed, ErrorCode, Stage

from .terminal import complain


class Group(Protocol):
    """A group of arguments; argparse has no public name for it."""

    def add_argument(self, *names: str, **settings: Any) -> Any: ...
    def add_mutually_exclusive_group(self) -> Any: ...


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Exit with the status of INVALID_ARGUMENT."""
        complain(f"{message}; `{self.prog} --help` tells what there is")
        self.exit(int(ErrorCode.INVALID_ARGUMENT))

    def refuse(self, word: str) -> NoReturn:
        """Exit because of an argument that there is no place for."""
        option = word.partition("=")[0]
        if not option.startswith("-"):
            self.error(f"{word!r} is one argument too many")
        from difflib import get_close_matches

        close = get_close_matches(option, self._option_string_actions, 1)
        self.error(f"there is no option {option}" + "".join(f", but there is {each}" for each in close))


def option_of(name: str) -> str:
    """How the field of a `argparse.Namespace` is called on the command line, as a rule."""
    return f"--{name.replace('_', '-')}"


def invalid(message: str) -> ConnectFailed:
    """For arguments that make no sense."""
    return ConnectFailed(message, ErrorCode.INVALID_ARGUMENT, Stage.OPTIONS)


def reason(error: Exception) -> str:
    """What the system has against a file."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
