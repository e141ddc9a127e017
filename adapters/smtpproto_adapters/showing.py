"""How the commands show a session of a client: as a ladder, or in lines of JSON."""

from __future__ import annotations

import argparse
import sys

from .json_lines import JsonLines
from .terminal import complain
from .trace import Outcome, Trace, View


def view_of(arguments: argparse.Namespace) -> View:
    """What ``--json`` and ``--no-color`` say.  Raises ImportError where rich is missing."""
    if arguments.json:
        return JsonLines(sys.stdout)
    from .ladder import Ladder, make_console

    return Ladder(make_console(colors=not arguments.no_color))


def refused(arguments: argparse.Namespace, outcome: Outcome) -> int:
    """Say why there was nobody to connect to; returns the exit status."""
    if arguments.json:
        Trace(JsonLines(sys.stdout)).finish(outcome)
    else:
        complain(outcome.sentence)
    return outcome.code
