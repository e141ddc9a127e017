"""All the commands: how they are read from the command line, and what becomes of what nobody has caught."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from smtpproto import __version__

from . import connect, explain, hash_password, send, serve
from .completion import SHELLS, PrintCompletion
from .parser import Parser, reason
from .statuses import Status
from .terminal import clear_line, complain, is_interrupt, let_every_character_pass, let_go_of_output, missing

COMMANDS: Final = {
    "connect": connect,
    "send": send,
    "serve": serve,
    "explain": explain,
    "hash-password": hash_password,
}

EPILOG: Final = """\
Examples:
  smtpproto connect submission://ann@mx.example
  smtpproto send smtp://mx.example -t letter.eml
  smtpproto serve
  smtpproto connect --demo

`smtpproto COMMAND --help` tells more of each.
"""


def make_parser() -> Parser:
    """The parser of the whole command."""
    parser = Parser(
        prog="smtpproto",
        description="Look at SMTP servers, send mail, and take it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"smtpproto {__version__}")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        metavar="SHELL",
        help=f"print what completes the command line in a shell: {', '.join(SHELLS)}",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name, **module.TEXTS, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run, parser=command)
    return parser


def read(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments.  Exits where they are wrong."""
    arguments, unknown = make_parser().parse_known_args(argv)
    if unknown:
        arguments.parser.refuse(unknown[0])
    return arguments


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    let_every_character_pass()
    try:
        arguments = read(argv)
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
        clear_line()
        complain("interrupted")
        return int(Status.INTERRUPTED)
    except BrokenPipeError:
        let_go_of_output()
        return int(Status.NOBODY_READS)
    except OSError as error:  # all others have their sentences: it is the output that fails
        let_go_of_output()
        complain(f"cannot write the output: {reason(error)}")
        return int(Status.CANNOT_WRITE)
    return status
