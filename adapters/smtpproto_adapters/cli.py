"""The ``smtpproto`` command.

Its exit status is an `ErrorCode`, which says how connecting ended, or else a `Status`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from smtpproto import __version__

from . import command_connect, command_explain, command_hash, command_send, command_serve
from .parser import Parser
from .statuses import Status
from .terminal import complain, is_interrupt, let_every_character_pass, let_go_of_output, missing

COMMANDS: Final = {
    "connect": command_connect,
    "send": command_send,
    "serve": command_serve,
    "explain": command_explain,
    "hash-password": command_hash,
}


def make_parser() -> Parser:
    """The parser of the whole command."""
    parser = Parser(prog="smtpproto", description="Look at SMTP servers, send mail, and take it.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"smtpproto {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name, **module.TEXTS, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    let_every_character_pass()
    try:
        arguments = make_parser().parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # --help, or what the parser has against the arguments
        return stop.code if isinstance(stop.code, int) else 0
    except ImportError as error:
        complain(missing(error))
        return int(Status.NOT_INSTALLED)
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        if not is_interrupt(error):
            raise
        complain("interrupted")
        return int(Status.INTERRUPTED)
    except BrokenPipeError:
        let_go_of_output()
        return int(Status.NOBODY_READS)
    return status
