"""How the commands show a session of a client: as a ladder, or in lines of JSON."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from smtpproto import Command, Event, RecipientResult, Reply, Target

from .json_lines import JsonLines
from .statuses import Status
from .terminal import clear_line, complain, is_interrupt
from .trace import Attempt, Outcome, Tls, Trace, View

if TYPE_CHECKING:
    from smtpproto_adapters.discovery import Plan


class Both(View):
    """Shows a session in two ways."""

    def __init__(self, *views: View) -> None:
        self._views = views

    def plan(self, plan: Plan) -> None:
        """As `View.plan`; so are the others."""
        for view in self._views:
            view.plan(plan)

    def target(self, target: Target) -> None:
        for view in self._views:
            view.target(target)

    def sent(self, command: Command) -> None:
        for view in self._views:
            view.sent(command)

    def tls(self, tls: Tls) -> None:
        for view in self._views:
            view.tls(tls)

    def event(self, event: Event, reply: Reply | None) -> None:
        for view in self._views:
            view.event(event, reply)

    def authentication(self, attempt: Attempt) -> None:
        for view in self._views:
            view.authentication(attempt)

    def content(self, octets: int) -> None:
        for view in self._views:
            view.content(octets)

    def recipient(self, result: RecipientResult, reply: Reply | None) -> None:
        for view in self._views:
            view.recipient(result, reply)

    def farewell(self) -> None:
        for view in self._views:
            view.farewell()

    def failure(self, outcome: Outcome) -> None:
        for view in self._views:
            view.failure(outcome)

    def outcome(self, outcome: Outcome) -> None:
        for view in self._views:
            view.outcome(outcome)


def view_of(arguments: argparse.Namespace, subject: str) -> View:
    """What ``--json``, ``--no-color`` and ``--svg`` say.  ``subject``: with whom the session is.

    Raises `ConnectFailed` (INVALID_ARGUMENT), and ImportError where rich is missing.
    """
    view = _view_of(arguments)
    if arguments.svg is None:
        return view
    from .picture import Picture, PictureLadder

    return Both(view, PictureLadder(Picture(arguments.svg, f"smtpproto connect {subject}")))


def _view_of(arguments: argparse.Namespace) -> View:
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


def interrupted(arguments: argparse.Namespace, trace: Trace, error: BaseException) -> int:
    """Say that ^C has ended a session; returns the exit status.  Raises the error again where it was another."""
    if not is_interrupt(error):
        raise error
    clear_line()
    outcome = Outcome(Status.INTERRUPTED, Status.INTERRUPTED.name, "interrupted")
    trace.finish(outcome)
    if not arguments.json:
        complain(outcome.sentence)
    return outcome.code
