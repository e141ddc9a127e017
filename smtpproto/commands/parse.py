"""From the wire: the command of a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import smtpproto.grammar as grammar
from smtpproto.addresses import check_forward_path, check_reverse_path, split_path
from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import BadSyntax, ascii_upper, require, shown, strict_base64
from smtpproto.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS, parse_parameters, xtext_decode

from .auth import Auth, AuthResponse
from .base import AUTH_LINE, Command
from .session import (
    Ehlo,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Lookup,
    Noop,
    Quit,
    StartTls,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from .transaction import Bdat, Burl, Data, Mail, Rcpt, Rset

_Parse = Callable[[str, bool], Command]


def parse_command(line: bytes, *, lenient: bool = False) -> Command:
    """The command of a line without its CRLF; the line is free of CR, LF and NUL already.

    White space at its end is dropped (RFC 5321 section 4.1.1).  ``lenient`` takes more white space elsewhere too, and
    paths without angle brackets.  A verb that is not known gives an `UnknownCommand`.  Raises BadSyntax.
    """
    verb, _, argument = line.rstrip(b" \t").partition(b" ")
    # As octets: upper() of text makes ASCII of letters that are none.
    cls, parse = _PARSERS.get(verb.upper(), _UNKNOWN)
    if len(line) + 2 > cls.line_limit and cls is not Bdat:
        raise BadSyntax(500, "5.5.6" if cls is Auth else "5.5.2", "Line too long")
    try:
        text = argument.decode()
        if cls is UnknownCommand:
            return UnknownCommand(verb.decode(), text.strip(" \t"))
        return parse(text.lstrip(" \t") if lenient else text, lenient)
    except (UnicodeDecodeError, LocalProtocolError) as error:
        raise _bad_argument(cls, line, error) from None


def _bad_argument(cls: type[Command], line: bytes, error: Exception) -> BadSyntax:
    if cls is Bdat or line.upper().split()[:1] == [b"BDAT"]:  # which others may read behind white space, or before it
        # Whether octets follow, and how many, nobody can tell.
        return BadSyntax(501, "5.5.4", "BDAT chunk-size [LAST] is wanted", fatal=True)
    if cls is UnknownCommand:
        return BadSyntax(500, "5.5.2", "This is no command")
    if isinstance(error, UnicodeDecodeError):
        return BadSyntax(501, "5.5.2", f"The argument of {cls.verb} is not UTF-8")
    return BadSyntax(501, "5.5.4", f"Bad argument of {cls.verb}")


def parse_auth_response(line: bytes) -> AuthResponse:
    """The answer to a 334, from a line without its CRLF.  Raises BadSyntax.  RFC 4954 section 4."""
    if len(line) + 2 > AUTH_LINE:
        raise BadSyntax(500, "5.5.6", "Line too long")
    return AuthResponse(None if line == b"*" else _decoded(line.decode("ascii", "replace")))


def _decoded(text: str) -> bytes:
    octets = strict_base64(text)
    if octets is None:
        raise BadSyntax(501, "5.5.2", "Cannot decode base64")
    return octets


def _bare(cls: Callable[[], Command]) -> _Parse:
    command = cls()

    def parse(text: str, lenient: bool) -> Command:
        if text:
            raise BadSyntax(501, "5.5.4", f"{command.verb} has no argument")
        return command

    return parse


def _whole(cls: Callable[[str], Command]) -> _Parse:
    return lambda text, lenient: cls(text)


def _text(cls: Callable[[str], Command]) -> _Parse:
    return lambda text, lenient: cls(text.strip(" \t"))


def _lookup(cls: Callable[..., Lookup]) -> _Parse:
    def parse(text: str, lenient: bool) -> Command:
        text = text.strip(" \t")
        if ascii_upper(text[-9:]) == " SMTPUTF8":
            return cls(text[:-9].rstrip(" \t"), smtputf8=True)
        return cls(text)

    return parse


def _parse_auth(text: str, lenient: bool) -> Command:
    mechanism, space, response = text.partition(" ")
    if not space:
        return Auth(mechanism)
    return Auth(mechanism, b"" if response == "=" else _decoded(response))


def _short_first(cls: Callable[[str], Command], start: str, parse: _Parse) -> _Parse:
    """Nearly every one has a mailbox in its brackets and nothing behind them, for which no grammar of paths is needed.

    What is a mailbox as a whole is the whole path by that grammar too, and whatever is none is left to ``parse``.
    """
    length = len(start)

    def parse_short(text: str, lenient: bool) -> Command:
        if text.startswith(start) and text.endswith(">"):
            try:
                return cls(text[length:-1])
            except LocalProtocolError:
                pass
        return parse(text, lenient)

    return parse_short


def _parse_mail(text: str, lenient: bool) -> Command:
    path, rest = _parse_path(text, "FROM:", lenient, "5.1.7")
    fields = parse_parameters(rest, MAIL_PARAMETERS, lenient=lenient) if rest else {}
    try:
        return Mail(path, **fields)
    except LocalProtocolError:
        _judge_path(check_reverse_path, path, "5.1.7")
        if not path.isascii() and "smtputf8" not in fields:
            raise BadSyntax(550, "5.6.7", "A reverse-path that is not ASCII needs SMTPUTF8") from None
        raise


def _parse_rcpt(text: str, lenient: bool) -> Command:
    path, rest = _parse_path(text, "TO:", lenient, "5.1.3")
    fields = parse_parameters(rest, RCPT_PARAMETERS, lenient=lenient) if rest else {}
    try:
        return Rcpt(path, **fields)
    except LocalProtocolError:
        _judge_path(check_forward_path, path, "5.1.3")
        raise


def _judge_path(check: Callable[[str], str], path: str, status: str) -> None:
    try:
        check(path)
    except LocalProtocolError:
        raise BadSyntax(501, status, "Bad mailbox in the path") from None


def _parse_path(text: str, word: str, lenient: bool, status: str) -> tuple[str, str]:
    if ascii_upper(text[: len(word)]) != word:
        raise BadSyntax(501, "5.5.4", f"{word}<path> is wanted")
    path = text[len(word) :]
    try:
        return split_path(path.lstrip(" \t") if lenient else path, lenient=lenient)
    except LocalProtocolError:
        raise BadSyntax(501, status, f"{word}<path> is wanted, and a mailbox in it") from None


def _parse_bdat(text: str, lenient: bool) -> Command:
    size, last = _split_last(text)
    return Bdat(int(require(grammar.NUMBER, size, "the chunk-size")), last)


def _parse_burl(text: str, lenient: bool) -> Command:
    return Burl(*_split_last(text))


def _split_last(text: str) -> tuple[str, bool]:
    argument, space, last = text.partition(" ")
    if space and ascii_upper(last) != "LAST":
        raise LocalProtocolError(f"{shown(last)} is not LAST")
    return argument, bool(space)


def _attributes(cls: Callable[[Mapping[str, str]], Command]) -> _Parse:
    def parse(text: str, lenient: bool) -> Command:
        attributes: dict[str, str] = {}
        for word in text.split(" "):
            name, equals, value = word.partition("=")
            name = ascii_upper(name)
            if not equals or name in attributes:
                raise BadSyntax(501, "5.5.4", "Attributes are NAME=value, each once")
            attributes[name] = xtext_decode(value)
        return cls(attributes)

    return parse


_UNKNOWN: Final[tuple[type[Command], _Parse]] = (UnknownCommand, _text(UnknownCommand))
_PARSERS: Final[dict[bytes, tuple[type[Command], _Parse]]] = {
    cls.verb.encode(): (cls, parse)
    for cls, parse in (
        (Ehlo, _whole(Ehlo)),
        (Helo, _whole(Helo)),
        (Lhlo, _whole(Lhlo)),
        (StartTls, _bare(StartTls)),
        (Auth, _parse_auth),
        (Mail, _short_first(Mail, "FROM:<", _parse_mail)),
        (Rcpt, _short_first(Rcpt, "TO:<", _parse_rcpt)),
        (Data, _bare(Data)),
        (Bdat, _parse_bdat),
        (Burl, _parse_burl),
        (Rset, _bare(Rset)),
        (Noop, _text(Noop)),
        (Quit, _bare(Quit)),
        (Vrfy, _lookup(Vrfy)),
        (Expn, _lookup(Expn)),
        (Help, _text(Help)),
        (Etrn, _whole(Etrn)),
        (XClient, _attributes(XClient)),
        (XForward, _attributes(XForward)),
    )
}
CLASSES: Final[Mapping[str, type[Command]]] = {verb.decode(): cls for verb, (cls, _) in _PARSERS.items()}
"""The class of each verb that has one."""
