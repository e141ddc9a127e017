"""The lines of a client, and the sentences of the engine, as `explaining` reads them: the command, the rule."""

from __future__ import annotations

import re
from typing import Final

from smtpproto import EXTENSIONS, Auth, AuthResponse, Bdat, Command, Connect, Data, Ehlo, EndOfData, Helo, Lhlo
from smtpproto.commands import BadSyntax, parse_auth_response, parse_command

from .reply_words import Meaning, rule_of

_MASKED: Final = re.compile(rb"<[^<>]*>|\[[^\[\]]*\]|\*{2,}|[xX]{3,}|\.{3,}|\xe2\x80\xa6")
_STAND_IN: Final = b"cmVkYWN0ZWQ="
"""For what somebody has masked already."""
_find_rule = re.compile(r"RFC [0-9]+(?: section [0-9A-Z]+(?:\.[0-9]+)*)?").search
_find_rule_at_end = re.compile(r"(?:: | \()(RFC [0-9]+(?: section [0-9A-Z]+(?:\.[0-9]+)*)?)\)?\Z").search
_find_keyword = re.compile(r"needs the extension ([A-Z0-9-]+)").search


def without_rule(text: str) -> tuple[str, str | None]:
    """A sentence of the engine without the rule that it ends with, and that rule."""
    cited = _find_rule_at_end(text)
    return (text, None) if cited is None else (text[: cited.start()], cited[1])


def read(line: bytes, *, within: bool) -> tuple[Command | None, Meaning | None]:
    """The command of a line, if it can be read as one, and what is wrong with how it is written."""
    if within:
        try:
            return parse_auth_response(line), None
        except BadSyntax as error:
            return AuthResponse(None), Meaning(f"{error.text}: this is no answer to a challenge", "RFC 4954 section 4")
    try:
        return parse_command(line), None
    except BadSyntax as error:
        fault = error
    try:
        command = parse_command(line, lenient=True)
    except BadSyntax:
        command = None
    return command, Meaning(fault.text, _rule_of_line(line))


def _rule_of_line(line: bytes) -> str:
    """Where the syntax of a command is, by its verb."""
    verb = line.strip()[:8].upper()
    kinds = (Ehlo, Helo, Lhlo, Data, Bdat, Auth)
    by_verb = {kind.verb.encode(): kind for kind in kinds}
    if verb.startswith(b"MAIL"):
        return "RFC 5321 section 4.1.1.2"
    if verb.startswith(b"RCPT"):
        return "RFC 5321 section 4.1.1.3"
    return rule_of(by_verb.get(verb.partition(b" ")[0]))


def without_masks(line: bytes, *, within: bool) -> bytes:
    """Whoever has masked the secrets of a record has not broken the protocol with that."""
    if within:
        return _STAND_IN if _MASKED.fullmatch(line) else line
    words = line.split(b" ")
    if len(words) == 3 and words[0].upper() == b"AUTH" and _MASKED.fullmatch(words[2]):
        return b" ".join([*words[:2], _STAND_IN])
    return line


def rule_in(text: str, default: str) -> str:
    """The rule that a sentence of the engine cites."""
    found = _find_rule(text)
    if found is not None:
        return found[0]
    keyword = _find_keyword(text)
    known = EXTENSIONS.get(keyword[1]) if keyword is not None else None
    return default if known is None else known.rfc


def class_of(command: Command | None, fault: Meaning | None) -> str | None:
    """The name of a command's class, or of the event that a server gets in its place."""
    return type(command).__name__ if command is not None else "BadCommand" if fault is not None else None


def called(command: Command) -> str:
    """What lacks its answer, for people."""
    if isinstance(command, Connect):
        return "the greeting"
    return "the content" if isinstance(command, EndOfData) else command.verb or "the answer to the challenge"
