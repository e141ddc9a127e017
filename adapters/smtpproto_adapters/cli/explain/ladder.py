"""A recorded session as a ladder, for people: each line, and below it what it means."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.style import Style
from rich.text import Text

from smtpproto import ErrorCode
from smtpproto_adapters.cli.ladder import BAD, CLIENT, DIM, DOUBTFUL, GOOD, HEADING, SERVER, arrows, print_folded
from smtpproto_adapters.cli.trace import printable

from .explanation import Explanation, Fault, Line

DIGITS: Final = {"2": GOOD, "3": GOOD, "4": DOUBTFUL, "5": BAD}


class ExplainedLadder:
    """Shows all that was said, what it means, and what was wrong."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._to_server, self._to_client, _ = arrows(console)
        self._numbers = 4
        self._sessions = 0

    def session(self, explanation: Explanation) -> None:
        """Its lines; what is wrong stands below the line that it is about."""
        recording = explanation.recording
        if self._sessions:
            self._console.print()
        self._sessions += 1
        if recording.number is not None:
            self._console.print(Text(f"Session {recording.number}", HEADING))
        lines = explanation.lines
        self._numbers = max([3, *(len(str(line.where)) for line in lines)])
        fault, told = explanation.fault, False
        for line in lines:
            if fault is not None and not told and line.where > fault.where:
                self._fault(fault)
                told = True
            self._line(line)
        if fault is not None and not told:
            self._fault(fault)

    def outcome(self, code: ErrorCode, explanation: Explanation | None) -> None:
        """The name and number of the exit status; the sentence is for standard error."""
        self._console.print()
        said = "nothing was against the protocol" if explanation is None else "the first error is marked above"
        style = GOOD if explanation is None else BAD
        self._console.print(Text.assemble((f"{code.name} ({int(code)})", style), (f" {said}", DIM)))

    def _line(self, line: Line) -> None:
        arrow = {"client": self._to_server, "server": self._to_client}.get(line.who, "")
        said = Text(printable(line.text))
        if line.who == "client":
            said.stylize(DIM if line.command == "content" else CLIENT)
        elif line.who == "server":
            said.stylize(DIGITS.get(line.text[:1], BAD), 0, 3)
        else:
            said.stylize(DIM)
        self._row(str(line.where), arrow, said)
        for meaning in line.meanings:
            rule = f" ({meaning.rule})" if meaning.rule else ""
            self._row("", "   ", Text(f"{printable(meaning.text)}{rule}", DIM))

    def _fault(self, fault: Fault) -> None:
        self._row("!", "", Text(printable(fault.sentence), BAD))

    def _row(self, number: str, arrow: str, said: Text) -> None:
        style: Style = CLIENT if arrow == self._to_server else SERVER
        before = Text.assemble((f"{number:>{self._numbers}} ", DIM), (f"{arrow:1} ", style))
        print_folded(self._console, before, said)
