r"""Transcripts that people paste, and programs print: who said what, by the marks before the lines.

The marks are told apart by counting; which of the two is the server's is told by the replies behind it, as the same
marks mean the one thing in a client's log and the other in a server's.

    ================================  ==================================================================
    ``S: 220 …`` / ``C: EHLO …``      RFCs and people; ``Out:`` and ``In:`` in the notices of Postfix
    ``<<< 220 …`` / ``>>> EHLO …``    sendmail and its bounces, where replies may stand without a mark
    ``<-  220 …`` / ``-> EHLO …``     swaks, with ``~`` under TLS and ``<**`` for refusals
    ``< 220 …`` / ``> EHLO …``        curl, and the logs of Postfix
    ``reply: b'220 …\r\n'``           smtplib with ``set_debuglevel(1)``
    ``220 …`` / ``EHLO …``            no marks at all: a session typed into telnet
    ================================  ==================================================================

A line without the mark of its file is a remark of whoever wrote it, and is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from .recorded import MOST, Entry, NoSession, Recording, Said, Secured, octets_of, read_json, recording

_HEAD: Final = 300
"""Characters of a line in which its mark is looked for."""

_is_reply = re.compile(r"[2-5][0-9][0-9](?:[ -]|\r?\Z)").match
_begins_tls = re.compile(r"(?:===|\*) +(?:TLS started with cipher (\S+)|SSL connection using (.+))").match
_is_remark = re.compile(r"<[^<>@\r]* [^<>@\r]*>\r?\Z").match
_is_written_end = re.compile(r"(?:<CRLF>|<CR><LF>)?\.(?:<CRLF>|<CR><LF>)\Z", re.IGNORECASE).match


class _Marked(NamedTuple):
    mark: str
    text: str


class _Style(NamedTuple):
    form: str
    read: Callable[[str], _Marked | None]
    bare_replies: bool = False
    """A reply may stand without a mark."""


def _by(pattern: str) -> Callable[[str], _Marked | None]:
    """By a pattern for what stands before the text, with the group ``mark``."""
    match = re.compile(pattern).match

    def read(line: str) -> _Marked | None:
        found = match(line[:_HEAD])
        return None if found is None else _Marked(found["mark"], line[found.end() :])

    return read


# What is written there is `repr()`, of text or of octets.
_PRINTED: Final = re.compile(r"(?:[0-9:.]+ )?(send|reply): (b?)(['\"])(.*)\3\r?\Z", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}


def _read_smtplib(line: str) -> _Marked | None:
    found = _PRINTED.match(line)
    if found is None:
        return None
    of_octets = bool(found[2])

    def unescaped(escape: re.Match[str]) -> str:
        code = escape[1] or escape[2] or escape[3]
        if code is None:
            return _ESCAPED.get(escape[4], escape[4])
        number = int(code, 16)
        if of_octets and 127 < number < 256:
            return chr(0xDC00 + number)
        return chr(number) if number < 0x110000 else "?"

    return _Marked(found[1], _ESCAPE.sub(unescaped, found[4]))


_SMTPLIB: Final = _Style("the output of smtplib", _read_smtplib)
# A logger may have put the time before it, and its level, and who.
_LETTERS: Final = _Style(
    "a transcript",
    _by(r"(?:\[[^\]]*\] (?:[A-Z]+ +)?(?:\[[^\]]*\] )?)?\s*(?P<mark>[SCR]|Server|Client|Out|In)\s?: ?"),
)
_SWAKS: Final = _Style("the output of swaks", _by(r" ?(?P<mark>(?=[-~]>)|<)(?:[-~]>|- |\*\*|~ |~\*)(?: |\Z)"))
_SENDMAIL: Final = _Style("the output of sendmail", _by(r"\s*(?P<mark>>>>|<<<) ?"), bare_replies=True)
_ARROWS: Final = _Style(
    "a log with arrows",
    _by(r"(?:.*postfix\S*\[[0-9]+\]: )?(?P<mark>[<>])(?: |\Z)(?:[^\s\[]+\[[^\]]*\](?::[0-9]+)?: )?"),
)
_STYLES: Final = (_SMTPLIB, _LETTERS, _SWAKS, _SENDMAIL, _ARROWS)


def read(data: bytes) -> list[Recording]:
    """The sessions of a file.  Raises `NoSession`, with a sentence."""
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if not text.strip():
        raise NoSession("there is nothing in it")
    found = read_json(text)
    return [_read_text(text)] if found is None else found


def _read_text(text: str) -> Recording:
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > MOST:
        raise NoSession(f"it has {len(lines)} lines, more than the {MOST} that are read")
    style, count = max(((each, _count(each, lines)) for each in _STYLES), key=lambda pair: pair[1])
    if count:
        return _read_marked(style, lines)
    if any(map(_is_reply, lines)):
        return recording("a session without marks", list(_read_bare(lines)))
    raise NoSession(
        "no line of it is marked as said by a server or by a client, as in `S: 220 mx.example` and `C: EHLO me.example`"
    )


def _count(style: _Style, lines: list[str]) -> int:
    """How many lines have its marks; 0 where no reply is among them."""
    marked = [found for line in lines if (found := style.read(line)) is not None]
    bare = style.bare_replies and any(map(_is_reply, lines))
    return len(marked) if bare or any(_is_reply(each.text) for each in marked) else 0


def _read_marked(style: _Style, lines: list[str]) -> Recording:
    marked = [style.read(line) for line in lines]
    server = _mark_of_server(style, [each for each in marked if each is not None])
    entries: list[Entry] = []
    shows_tls = False
    for where, (line, found) in enumerate(zip(lines, marked, strict=True), 1):
        if found is not None:
            text = found.text.removeprefix(" ") if found.mark == "In" else found.text
            entries += _said(style, where, found.mark != server, text)
        elif (begun := _begins_tls(line)) is not None:
            shows_tls = True
            entries.append(Secured(where, (begun[1] or begun[2]).strip()))
        elif style.bare_replies and _is_reply(line):
            entries += _said(style, where, False, line)
    return recording(style.form, entries, shows_tls=shows_tls)


def _said(style: _Style, where: int, by_client: bool, text: str) -> Iterator[Entry]:
    if style is _SMTPLIB:
        yield Said(where, by_client, octets_of(text))
    elif len(text) > _HEAD or not _is_remark(text):
        line = "." if _is_written_end(text) else text.removesuffix("\r")
        yield Said(where, by_client, octets_of(line) + b"\r\n")


def _mark_of_server(style: _Style, marked: list[_Marked]) -> str | None:
    """The one behind which the most replies stand, in proportion; None: no mark is the server's."""
    every = Counter(each.mark for each in marked)
    replies = Counter(each.mark for each in marked if _is_reply(each.text))
    if not replies:
        return None
    if style is _SMTPLIB:
        return "reply"
    return max(replies, key=lambda mark: (replies[mark] / every[mark], replies[mark]))


_OF_TELNET: Final = re.compile(r"Trying |Connected to |Escape character is |Connection closed by |\$ |telnet> ").match


def _read_bare(lines: list[str]) -> Iterator[Entry]:
    """What looks like a reply is the server's, but within content."""
    content = False
    for where, line in enumerate(lines, 1):
        said = line.removesuffix("\r")
        by_client = content or not _is_reply(said)
        if by_client and not content and (not said.strip() or _OF_TELNET(said)):
            continue
        yield Said(where, by_client, octets_of(said) + b"\r\n")
        if content:
            content = said != "."
        elif not by_client:
            content = said.startswith("354")
