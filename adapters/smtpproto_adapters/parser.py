"""What all the commands read their arguments with, and how they say that something is wrong with them."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn, Protocol

from smtpproto import ConnectFailed, ErrorCode, Stage


class Group(Protocol):
    """A group of arguments; argparse has no public name for it."""

    def add_argument(self, *names: str, **settings: Any) -> Any: ...
    def add_mutually_exclusive_group(self) -> Any: ...


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Exit with the status of INVALID_ARGUMENT."""
        self.exit(int(ErrorCode.INVALID_ARGUMENT), f"smtpproto: {message}; --help tells what there is\n")


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
