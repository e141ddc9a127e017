"""``smtpproto hash-password``: what a server keeps of a password, so that it need not keep the password."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from smtpproto import ConnectFailed, ErrorCode, LocalProtocolError, ScramCredential
from smtpproto.sasl.credential import HASHES

from .parser import Parser, invalid
from .secrets_given import add_secrets, secret
from .terminal import complain

EPILOG: Final = """\
Example:
  smtpproto hash-password ann >> users
  smtpproto serve --tls starttls --users users

Asks for the password at the terminal, unless it is told where else to find it,
and prints a line for the file of `smtpproto serve --users`.
"""

TEXTS: Final[dict[str, Any]] = {
    "help": "print what a server keeps of a password",
    "description": "Print salted keys of a password (SCRAM), by which a server can check it.",
    "usage": "smtpproto hash-password [OPTION ...] NAME",
    "epilog": EPILOG,
}


def add_arguments(parser: Parser) -> None:
    """Those of this command."""
    parser.add_argument("name", metavar="NAME", help="the user's")
    parser.add_argument(
        "--hash",
        type=str.upper,
        choices=tuple(HASHES),
        default="SHA-256",
        help="hash function: each has mechanisms of its own (default SHA-256)",
    )
    add_secrets(parser, "password")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    try:
        _check_name(arguments.name)
        line = f"{arguments.name}:{_credential(arguments).encoded()}"
    except ConnectFailed as failure:
        complain(str(failure))
        return int(failure.code)
    sys.stdout.write(f"{line}\n")
    return int(ErrorCode.SUCCESS)


def _check_name(name: str) -> None:
    if not name or not name.isprintable() or ":" in name:
        raise invalid(f"{name!r} cannot stand in the file: a name has no colon, and nothing that does not print")


def _credential(arguments: argparse.Namespace) -> ScramCredential:
    password = secret(arguments, "password", arguments.name, twice=True)
    try:
        return ScramCredential.derive(password, hash=arguments.hash)
    except LocalProtocolError as error:
        raise invalid(str(error)) from None
