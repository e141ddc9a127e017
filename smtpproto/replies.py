"""What a server answers: replies, enhanced status codes, and the parser that makes replies of lines.

A reply is text for people behind a number for programs, and its text comes in any encoding.  It is decoded as UTF-8
(RFC 6531 section 3.7.4); octets that are none survive as surrogate escapes, so that nothing is lost and nothing fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .errors import LocalProtocolError, RemoteProtocolError
from .grammar import Pattern
from .values import Value, set_field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .limits import Limits

# RFC 2034, RFC 3463 section 2, which forbids leading zeros:
#   status-code ::= class "." subject "." detail
#   class       ::= "2" / "4" / "5"
#   subject     ::= 1*3digit
#   detail      ::= 1*3digit
_STATUS: Final = r"([245])\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})"
_STATUS_ALONE: Final = Pattern(rf"{_STATUS}\Z")
_LEADING_STATUS: Final = Pattern(rf"{_STATUS}(?: |\Z)")

# What no line of a reply can have: what would end it, and surrogates that stand for no octet.
_FORBIDDEN: Final = Pattern("[\r\n\0\ud800-\udc7f\udd00-\udfff]")


class EnhancedStatus(Value):
    """An enhanced status code, such as 2.1.5.  RFC 3463; RFC 2034 puts it at the beginning of a reply's text.

    Raises `LocalProtocolError` if ``class_`` is none of 2, 4 and 5, or one of the others is not in 0..999.
    """

    __slots__ = ("class_", "subject", "detail")
    __match_args__ = ("class_", "subject", "detail")

    class_: int
    """2 success, 4 persistent transient failure, 5 permanent failure.  RFC 3463 section 3.1."""
    subject: int
    """What it is about: 1 the address, 2 the mailbox, 5 the protocol, 7 security ...  RFC 3463 section 3.2."""
    detail: int

    def __init__(self, class_: int, subject: int, detail: int) -> None:
        if class_ not in (2, 4, 5):
            raise LocalProtocolError(f"the class of an enhanced status code is 2, 4 or 5, not {class_!r}: RFC 3463")
        for name, number in (("subject", subject), ("detail", detail)):
            if not 0 <= number <= 999:
                raise LocalProtocolError(
                    f"the {name} of an enhanced status code is in 0..999, not {number!r}: RFC 3463"
                )
        set_field(self, "class_", class_)
        set_field(self, "subject", subject)
        set_field(self, "detail", detail)

    @classmethod
    def parse(cls, text: str) -> EnhancedStatus:
        """Read ``2.1.5``.  Raises `LocalProtocolError` for anything else, a number with leading zeros included."""
        match = _STATUS_ALONE.match(text)
        if match is None:
            raise LocalProtocolError(f"{text!r} is no enhanced status code such as 2.1.5: RFC 3463 section 2")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.class_}.{self.subject}.{self.detail}"


class Reply(Value):
    """A code and the lines of text after it.  RFC 5321 section 4.2.

    ``lines`` is one line, or several; a reply has at least one, which may be empty.  Raises `LocalProtocolError` for a
    code that is not in 200..599, and for a line that holds CR, LF or NUL, or surrogates other than the escapes
    U+DC80..U+DCFF for octets that are not UTF-8.
    """

    __slots__ = ("code", "lines", "_octets", "_offer")
    __match_args__ = ("code", "lines")

    code: int
    """RFC 5321 section 4.2.1 explains its digits."""
    lines: tuple[str, ...]
    """The text, without the codes and line ends."""
    _octets: bytes
    """As it goes over the wire, once it did: a server's replies are a few, which it gives again and again."""
    _offer: object
    """What `Extensions.of` has made of it, once that was asked for."""

    def __init__(self, code: int, lines: str | Iterable[str] = "") -> None:
        number = int(code)
        if number != code or not 200 <= number <= 599:
            raise LocalProtocolError(f"a reply code is in 200..599, not {code!r}: RFC 5321 section 4.2")
        texts = (lines,) if isinstance(lines, str) else tuple(lines)
        if not texts:
            raise LocalProtocolError("a reply has at least one line, which may be empty: RFC 5321 section 4.2")
        for position, text in enumerate(texts, 1):
            fault = None if text.isprintable() else _FORBIDDEN.search(text)  # nearly all are
            if fault is not None:
                raise LocalProtocolError(
                    f"line {position} of a reply holds {fault[0]!r}, which no line can: {text!r}; "
                    "pass several lines one by one"
                )
        set_field(self, "code", number)
        set_field(self, "lines", texts)

    @property
    def text(self) -> str:
        r"""The lines, joined by ``\n``."""
        return "\n".join(self.lines)

    @property
    def enhanced(self) -> EnhancedStatus | None:
        """The enhanced status code at the beginning of the first line; None where there is none.

        One whose class is not the first digit of ``code`` is none: RFC 2034.
        """
        match = _LEADING_STATUS.match(self.lines[0])
        if match is None or int(match[1]) != self.code // 100:
            return None
        return EnhancedStatus(*map(int, match.groups()))

    @property
    def is_positive(self) -> bool:
        """2yz: done.  RFC 5321 section 4.2.1."""
        return 200 <= self.code <= 299

    @property
    def is_intermediate(self) -> bool:
        """3yz: accepted so far, and more is wanted."""
        return 300 <= self.code <= 399

    @property
    def is_transient(self) -> bool:
        """4yz: refused for now; it may be tried again."""
        return 400 <= self.code <= 499

    @property
    def is_permanent(self) -> bool:
        """5yz: refused for good."""
        return 500 <= self.code <= 599

    def __bytes__(self) -> bytes:
        """What goes over the wire.  The space after the code is sent also when no text follows: section 4.2."""
        octets: bytes | None = getattr(self, "_octets", None)
        if octets is None:
            code = self.code
            text = f"{code} {self.lines[-1]}\r\n"
            if len(self.lines) > 1:
                text = "".join(f"{code}-{line}\r\n" for line in self.lines[:-1]) + text
            octets = text.encode("utf-8", "surrogateescape")
            set_field(self, "_octets", octets)
        return octets

    def __str__(self) -> str:
        r"""For people: a line for each line; controls, and octets that are not UTF-8, as escapes such as ``\xe9``."""
        *first, last = map(_printable, self.lines)
        return "".join(f"{self.code}-{line}\n" for line in first) + f"{self.code} {last}"


def with_status(reply: Reply, default: EnhancedStatus | None = None) -> Reply:
    """The reply with the same enhanced status code at the beginning of each line.  RFC 2034 section 4.

    It is the first that a line has; where none has one, ``default``, or ``x.0.0``: other or undefined (RFC 3463
    section 3.1).  A code of another class than the reply's is a part of its text, and no default either.  A reply 3yz
    has none, and stays as it is.
    """
    class_ = reply.code // 100
    if class_ == 3:
        return reply
    found = [_status_of(class_, line) for line in reply.lines]
    usual = f"{class_}.0.0" if default is None or default.class_ != class_ else str(default)
    status = next(filter(None, found), usual)
    if found.count(status) == len(found):
        return reply
    lines = zip(reply.lines, found, strict=True)
    return trusted_reply(reply.code, tuple(line if own == status else f"{status} {line}" for line, own in lines))


def _status_of(class_: int, line: str) -> str | None:
    match = _LEADING_STATUS.match(line)
    return match[0].rstrip(" ") if match is not None and int(match[1]) == class_ else None


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(map(_printable_character, line))


def _printable_character(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def trusted_reply(code: int, lines: tuple[str, ...]) -> Reply:
    """Make a `Reply` of what is valid already, at a third of the price."""
    reply = _new_reply(Reply)
    set_field(reply, "code", code)
    set_field(reply, "lines", lines)
    return reply


_new_reply: Final = Reply.__new__

# RFC 5321 section 4.2:
#   Reply-line  = *( Reply-code "-" [ textstring ] CRLF )
#                 Reply-code [ SP textstring ] CRLF
#   Reply-code  = %x32-35 %x30-35 %x30-39
# The second digit may be anything here, as a client need not know it (section 4.3.2); and the line may consist of the
# bare code.  One lookup finds the code, and whether more lines follow (negative), and that nothing is wrong with it.
_HEADS: Final = {
    b"%d%b" % (code, separator): -code if separator == b"-" else code
    for code in range(200, 600)
    for separator in (b" ", b"-", b"")
}


class ReplyMemory:
    """Replies that need not be read again when they come again.

    Most are one of very few (``250 2.1.5 Ok``; what the same server says to EHLO each time), and a remembered one costs
    a fraction.  Replies are immutable, so connections can share them, and their strings.  All that a hostile peer can
    do is to fill a bounded number of places; a challenge of SASL (334) gets none.
    """

    __slots__ = ("by_line", "by_octets")

    MOST: Final = 256
    """How many are remembered in either way."""
    LINE: Final = 64
    """Octets of a line that is worth it."""
    OCTETS: Final = 1024
    """Octets of a reply that is worth it, CRLFs included."""

    by_octets: dict[bytes, Reply]
    """By all of their octets, as they came."""
    by_line: dict[bytes, Reply]
    """Those of one line, by that line without its CRLF."""

    def __init__(self) -> None:
        self.by_octets = {}
        self.by_line = {}

    def remember(self, octets: bytes, reply: Reply) -> None:
        """The next time, these octets are this reply."""
        if len(octets) <= self.OCTETS:
            self._put(self.by_octets, octets, reply)

    def remember_line(self, line: bytes, reply: Reply) -> None:
        """The next time, this line is this reply."""
        if len(line) <= self.LINE:
            self._put(self.by_line, line, reply)

    def _put(self, known: dict[bytes, Reply], octets: bytes, reply: Reply) -> None:
        if reply.code != 334:
            if len(known) >= self.MOST:
                known.clear()
            known[octets] = reply


class _NoMemory(ReplyMemory):
    __slots__ = ()

    def remember(self, octets: bytes, reply: Reply) -> None:
        pass


_MEMORY: Final = ReplyMemory()
_NO_MEMORY: Final = _NoMemory()


def memory_for(limits: Limits) -> ReplyMemory:
    """What may be taken from memory: nothing, where it could be longer than the limits allow."""
    lines = ReplyMemory.OCTETS // len(b"250-\r\n") + 1
    roomy = min(limits.reply_line, limits.reply_octets) >= ReplyMemory.OCTETS and limits.reply_lines >= lines
    return _MEMORY if roomy else _NO_MEMORY


class ReplyParser:
    """Makes replies of lines, for as long as a connection is within one."""

    __slots__ = ("_code", "_limits", "_octets", "_texts", "position")

    position: int
    """Where in the stream the reply in progress begins."""
    _limits: Limits
    _code: int
    """The code of the reply in progress; like ``_octets``, of no meaning while there is none."""
    _octets: int
    _texts: list[bytes] | None
    """Its lines so far, without their codes; None while no reply is in progress."""

    def __init__(self, limits: Limits, position: int = 0) -> None:
        self._limits = limits
        self.position = position
        self._code = self._octets = 0
        self._texts = None

    @property
    def in_progress(self) -> bool:
        """A reply of several lines has begun, and has not ended."""
        return self._texts is not None

    def received(self) -> bytes:
        """The beginning of the reply in progress, as it was received: 256 octets, or what there is."""
        # A line has at least six octets with its CRLF, so 43 of them are enough; and of each, what could be shown.
        return b"".join(b"%d-%b\r\n" % (self._code, text[:256]) for text in (self._texts or [])[:43])[:256]

    def feed_line(self, line: bytes) -> Reply | None:
        """Take the next line, without its CRLF; return the reply if it is its last one.

        Raises `RemoteProtocolError` if it is no line of a reply, has another code than the lines before it (RFC 5321
        section 4.2.1), or makes the reply larger than `Limits` allows.
        """
        texts = self._texts
        octets = len(line) + 2
        if texts is not None:
            octets += self._octets
            if len(texts) >= self._limits.reply_lines:
                raise RemoteProtocolError(f"a reply has more than {self._limits.reply_lines} lines", line)
        if octets > self._limits.reply_octets:
            raise RemoteProtocolError(f"a reply has more than {self._limits.reply_octets} octets", line)
        if texts is None and line in _MEMORY.by_line:
            return _MEMORY.by_line[line]
        head = _read_head(line)
        if texts is None:
            if head > 0:
                reply = trusted_reply(head, (_decode(line[4:]),))
                _MEMORY.remember_line(line, reply)
                return reply
            self._texts, self._code = [line[4:]], -head
        else:
            if head not in (self._code, -self._code):
                raise RemoteProtocolError(
                    f"lines of one reply have the codes {self._code} and {abs(head)}: RFC 5321 section 4.2.1", line
                )
            texts.append(line[4:])
            if head > 0:
                self._texts = None
                # No line holds a LF, so one decoding does for all of them.
                return trusted_reply(head, tuple(_decode(b"\n".join(texts)).split("\n")))
        self._octets = octets
        return None


def _read_head(line: bytes) -> int:
    head = _HEADS.get(line[:4])
    if head is None:
        raise RemoteProtocolError(
            "a line of a reply must be a code from 200 to 599, then a space or a hyphen, then text: "
            "RFC 5321 section 4.2",
            line,
        )
    return head


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
