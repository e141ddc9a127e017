"""``smtpproto explain``: what happened in a recorded session, and the first thing that was against the protocol."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from smtpproto import ConnectFailed, ErrorCode
from smtpproto_adapters.cli.arguments import add_output, add_picture
from smtpproto_adapters.cli.json_lines import decoded
from smtpproto_adapters.cli.message_file import CannotRead, MessageFile
from smtpproto_adapters.cli.parser import Parser, invalid
from smtpproto_adapters.cli.terminal import announce_reading, complain
from smtpproto_adapters.cli.trace import printable

from .explaining import explain
from .explanation import Explanation, Line
from .recorded import LARGEST, NoSession
from .transcripts import read

if TYPE_CHECKING:
    from smtpproto_adapters.cli.picture import Picture

EPILOG: Final = """\
Examples:
  smtpproto connect smtp://mx.example --json | smtpproto explain -
  smtpproto explain pasted.txt
  swaks --to ann@mx.example | smtpproto explain -

FILE is what --json of the other commands writes, or a transcript: lines like
`S: 220 ...` and `C: EHLO ...`, `<<<` and `>>>`, `<` and `>` (curl, Postfix),
the output of swaks, of smtplib with set_debuglevel(1), or a session typed into
telnet.  Each line is held against the protocol by the engine itself.  What a
client says to authenticate is never shown.

The exit status is 0 where the session was legal, 7 where one side broke the
protocol, 6 where the record ends within a reply, and 2 where there is no
session in the file, or it cannot be read.
"""

TEXTS: Final[dict[str, Any]] = {
    "help": "say what happened in a recorded session",
    "description": "Say what happened in a recorded session, line by line, and what was wrong.",
    "usage": "smtpproto explain [OPTION ...] FILE",
    "epilog": EPILOG,
}
"""What the parser says of the command."""


class ExplanationView(Protocol):
    """How explanations are shown."""

    def session(self, explanation: Explanation) -> None:
        """What happened in one session."""

    def outcome(self, code: ErrorCode, explanation: Explanation | None) -> None:
        """How it all ended.  ``explanation``: the one with the fault that counts."""


def add_arguments(parser: Parser) -> None:
    """Those of this command."""
    parser.add_argument("file", metavar="FILE", help="the recorded session; - is standard input")
    add_output(parser)
    add_picture(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    try:
        explanations = [explain(recording) for recording in read(_octets(arguments.file))]
        picture = _picture(arguments)
    except (ConnectFailed, NoSession) as failure:
        sentence = (
            str(failure) if isinstance(failure, ConnectFailed) else f"no session in {_title(arguments.file)}: {failure}"
        )
        if arguments.json:
            _JsonView().failed(sentence)
        else:
            complain(sentence)
        return int(ErrorCode.INVALID_ARGUMENT)
    view: ExplanationView = _JsonView() if arguments.json else _ladder(arguments)
    faulty = next((each for each in explanations if each.fault is not None), None)
    code = ErrorCode.SUCCESS if faulty is None or faulty.fault is None else faulty.fault.code
    _show(view, explanations, code, faulty)
    if picture is not None:
        from .ladder import ExplainedLadder

        _show(ExplainedLadder(picture.console), explanations, code, faulty)
        picture.save()
    if faulty is not None and faulty.fault is not None and not arguments.json:
        complain(f"{place(faulty)}: {faulty.fault.sentence}")
    return int(code)


def _show(view: ExplanationView, explanations: list[Explanation], code: ErrorCode, faulty: Explanation | None) -> None:
    for explanation in explanations:
        view.session(explanation)
    view.outcome(code, faulty)


def place(explanation: Explanation) -> str:
    """Where the fault is."""
    fault, recording = explanation.fault, explanation.recording
    assert fault is not None
    where = f"{'entry' if recording.exact else 'line'} {fault.where}"
    return where if recording.number is None else f"session {recording.number}, {where}"


def _title(name: str) -> str:
    return "standard input" if name == "-" else name


def _octets(name: str) -> bytes:
    """All of a file, if it is no larger than is read.  Raises `ConnectFailed` (INVALID_ARGUMENT)."""
    pieces: list[bytes] = []
    size = 0
    if name == "-":
        announce_reading()
    try:
        with MessageFile(name) as file:
            while piece := file.read(65_536):
                pieces.append(piece)
                size += len(piece)
                if size > LARGEST:
                    raise invalid(
                        f"{file.title} is larger than the {LARGEST:,} octets that are read: cut the session out"
                    )
    except CannotRead as error:
        raise invalid(str(error)) from None
    return b"".join(pieces)


def _ladder(arguments: argparse.Namespace) -> ExplanationView:
    from smtpproto_adapters.cli.ladder import make_console

    from .ladder import ExplainedLadder

    return ExplainedLadder(make_console(colors=not arguments.no_color))


def _picture(arguments: argparse.Namespace) -> Picture | None:
    """Raises `ConnectFailed` (INVALID_ARGUMENT)."""
    if arguments.svg is None:
        return None
    from smtpproto_adapters.cli.picture import Picture

    return Picture(arguments.svg, f"smtpproto explain {printable(arguments.file)}")


class _JsonView:
    """One object a line: ``session``, ``line`` and ``outcome``."""

    def session(self, explanation: Explanation) -> None:
        """``{"type": "session", "number": null, "form": …}``, and its lines."""
        recording = explanation.recording
        self._write(
            "session", number=recording.number, form=recording.form, lmtp=recording.lmtp, judged=explanation.judged
        )
        for line in explanation.lines:
            self._line(line)

    def outcome(self, code: ErrorCode, explanation: Explanation | None) -> None:
        """``{"type": "outcome", "code": 7, "name": "PROTOCOL_ERROR", "message": …, "where": 7, …}``"""
        fault = None if explanation is None else explanation.fault
        if explanation is None or fault is None:
            self._outcome(code, None)
            return
        self._outcome(
            code,
            f"{place(explanation)}: {fault.sentence}",
            session=explanation.recording.number,
            where=fault.where,
            who=fault.who,
            fault=decoded(fault.text),
            rule=fault.rule,
        )

    def failed(self, sentence: str) -> None:
        """There is no session."""
        self._outcome(ErrorCode.INVALID_ARGUMENT, sentence)

    def _outcome(self, code: ErrorCode, message: str | None, **fault: Any) -> None:
        none = dict.fromkeys(("session", "where", "who", "fault", "rule"))
        self._write(
            "outcome", code=int(code), name=code.name, message=message and decoded(message), **{**none, **fault}
        )

    def _line(self, line: Line) -> None:
        meanings: Iterable[dict[str, str]] = [{"text": decoded(each.text), "rule": each.rule} for each in line.meanings]
        self._write(
            "line",
            where=line.where,
            who=line.who or None,
            text=decoded(line.text),
            command=line.command,
            event=line.event,
            meanings=list(meanings),
        )

    def _write(self, kind: str, **fields: Any) -> None:
        sys.stdout.write(f"{json.dumps({'type': kind, **fields})}\n")
