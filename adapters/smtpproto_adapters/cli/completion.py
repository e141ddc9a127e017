"""``smtpproto --print-completion SHELL``: a script by which a shell completes the command line.

It is made from the parser by shtab, and static: no Python is started when somebody presses the tab key.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, Final, NoReturn, cast

SHELLS: Final = ("bash", "zsh", "fish")

_VARIABLES: Final = {
    "bash": "_smtpproto_variables",
    "zsh": "_parameters -g '*export*'",
    "fish": "(set --names --export)",
    "preamble": {"bash": '_smtpproto_variables() { compgen -e -- "$1"; }'},
}
"""The names of environment variables, as shtab has its own completers."""

_NOTHING: Final = {"zsh": "()"}
"""What zsh has to be told of a positional argument; it would complete no option beside it otherwise."""


class PrintCompletion(argparse.Action):
    """Print the script, and end."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, values: Any, *__: object) -> NoReturn:
        """Raises ImportError where shtab is missing."""
        sys.stdout.write(script(parser, values))
        parser.exit()


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell.  Raises ImportError where shtab is missing."""
    import shtab

    completers = {"FILE": shtab.FILE, "PATH": shtab.FILE, "DIR": shtab.DIRECTORY, "VARIABLE": _VARIABLES}
    for action in _actions(parser):
        name = str(action.metavar)
        completer = completers.get(name)
        if completer is None and not action.option_strings and action.nargs != argparse.PARSER:
            completer = _NOTHING
        if completer is not None:
            vars(action)["complete"] = completer  # this is where shtab looks for it
        if action.metavar is not None and shell == "zsh":
            action.metavar = name.replace(":", r"\:")
    found = shtab.complete(parser, shell=shell)
    # bash breaks a URL at its colons, and so what comes behind one is not known: file names are what it can be.
    return found.replace("complete -o bashdefault -F", "complete -o bashdefault -o default -F")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Those of a parser, and of the parsers in it."""
    for action in parser._actions:  # pyright: ignore[reportPrivateUsage] - argparse has no public name for them
        yield action
        choices: object = action.choices  # pyright: ignore[reportUnknownMemberType]
        if isinstance(choices, dict):  # the commands
            for command in cast("dict[str, argparse.ArgumentParser]", choices).values():
                yield from _actions(command)
