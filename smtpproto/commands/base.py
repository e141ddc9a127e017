"""What all commands have in common."""

from __future__ import annotations

from typing import ClassVar, Final

import smtpproto.grammar as grammar
from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import octets, require, shown
from smtpproto.limits import COMMAND_LINE
from smtpproto.values import Value

PARAMETERS_LINE: Final = 2048
"""A line of MAIL or RCPT: 512 octets and what each extension adds (RFC 5321 section 2.2.2), most of all SOLICIT with
1007 (RFC 3865 section 2) and AUTH with 500 (RFC 4954 section 3); Postfix reads no more (line_length_limit)."""
AUTH_LINE: Final = 12288
"""A line of AUTH, and each of its exchange.  RFC 4954 section 4."""
KNOWN_VERBS: Final = frozenset(
    {
        "AUTH",
        "BDAT",
        "BURL",
        "DATA",
        "EHLO",
        "ETRN",
        "EXPN",
        "HELO",
        "HELP",
        "LHLO",
        "MAIL",
        "NOOP",
        "QUIT",
        "RCPT",
        "RSET",
        "STARTTLS",
        "VRFY",
        "XCLIENT",
        "XFORWARD",
    }
)
"""The verbs that have a class of their own."""


class Command(Value):
    """A command.  The base of all of them, which has no line itself."""

    __slots__ = ()

    verb: str = ""
    """In upper case.  Empty for what has none: the pseudo-command `Connect`, and `AuthResponse`."""
    line_limit: ClassVar[int] = COMMAND_LINE
    """Octets that the line may have, CRLF included.  RFC 5321 section 4.5.3.1.4."""

    @property
    def needed_extensions(self) -> tuple[tuple[str, str], ...]:
        """The extensions that the parameters need: pairs of an EHLO keyword, and what of this command needs it."""
        return ()

    def _line(self) -> str:
        return self.verb

    def __str__(self) -> str:
        return self._line()

    def __bytes__(self) -> bytes:
        return f"{self._line()}\r\n".encode()

    def _check_length(self, line: str | None = None) -> None:
        length = octets(self._line() if line is None else line) + len("\r\n")
        if length > self.line_limit:
            raise LocalProtocolError(
                f"the {self.verb} line has {length} octets, more than the {self.line_limit} allowed"
            )


def check_text(text: object, what: str) -> str:
    """A text that can be an argument; raises LocalProtocolError."""
    checked = require(grammar.TEXT, text, what)
    if checked != checked.strip(" \t"):
        raise LocalProtocolError(f"{what} is {shown(text)}: it must not begin or end with white space")
    return checked
