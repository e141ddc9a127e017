"""The commands: values that validate themselves when they are made, and the lines that they are on the wire.

``bytes(command)`` is the line with its CRLF; ``str(command)`` is the line without it, and with secrets redacted.
`parse_command` is the way back: ``parse_command(bytes(command)[:-2]) == command``.

What a program passes is checked in ``__init__``, so that no argument of any kind can put CR, LF or NUL on the wire,
close an angle bracket, add a parameter, or make a line that is too long: it raises LocalProtocolError.  What a peer
sends goes through the same ``__init__``; `parse_command` turns the error into `BadSyntax`, which carries the reply.
"""

from __future__ import annotations

from smtpproto.grammar import BadSyntax

from .auth import Auth, AuthResponse
from .base import AUTH_LINE, PARAMETERS_LINE, Command
from .parse import CLASSES, parse_auth_response, parse_command
from .session import (
    Connect,
    Ehlo,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Noop,
    Quit,
    StartTls,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
    own_name,
)
from .transaction import Bdat, Burl, Data, EndOfData, Mail, Rcpt, Rset

__all__ = [
    "AUTH_LINE",
    "CLASSES",
    "PARAMETERS_LINE",
    "Auth",
    "AuthResponse",
    "BadSyntax",
    "Bdat",
    "Burl",
    "Command",
    "Connect",
    "Data",
    "Ehlo",
    "EndOfData",
    "Etrn",
    "Expn",
    "Helo",
    "Help",
    "Lhlo",
    "Mail",
    "Noop",
    "Quit",
    "Rcpt",
    "Rset",
    "StartTls",
    "UnknownCommand",
    "Vrfy",
    "XClient",
    "XForward",
    "own_name",
    "parse_auth_response",
    "parse_command",
]
