"""Hypothesis strategies for the vocabulary: domains, mailboxes, parameters, commands; and for texts that are none."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from smtpproto.addresses import AddressLiteral, Mailbox
from smtpproto.commands import (
    CLASSES,
    Auth,
    AuthResponse,
    Bdat,
    Burl,
    Command,
    Data,
    Ehlo,
    EndOfData,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from smtpproto.parameters import DeliverBy, OriginalRecipient, ValidSince

LET_DIG = string.ascii_letters + string.digits
ATEXT = LET_DIG + "!#$%&'*+-/=?^_`{|}~"
VISIBLE = "".join(map(chr, range(33, 127)))
DOTS = "\u3002\uff0e\uff61"


def non_ascii(exclude: str = "") -> st.SearchStrategy[str]:
    """One character that RFC 6531 lets in."""
    return st.characters(codec="utf-8", min_codepoint=0xA0, exclude_characters=exclude)


def letters(alphabet: str, *, ascii_only: bool, exclude: str = "") -> st.SearchStrategy[str]:
    plain = st.sampled_from(alphabet)
    return plain if ascii_only else plain | non_ascii(exclude)


def domains(*, ascii_only: bool = False) -> st.SearchStrategy[str]:
    """Valid domains, of 203 octets at most."""
    word = st.text(letters(LET_DIG, ascii_only=ascii_only, exclude=DOTS), min_size=1, max_size=4)
    label = st.lists(word, min_size=1, max_size=3).map("-".join)
    return st.lists(label, min_size=1, max_size=4).map(".".join)


def address_literals() -> st.SearchStrategy[AddressLiteral]:
    """Of all three kinds."""
    tag = st.text(st.sampled_from(LET_DIG), min_size=1, max_size=8).filter(lambda tag: tag.lower() != "ipv6")
    dcontent = st.text(st.sampled_from([c for c in VISIBLE if c not in "<>[\\]"]), min_size=1, max_size=20)
    return st.ip_addresses().map(AddressLiteral.of) | st.builds(AddressLiteral, tag, dcontent)


def local_parts(*, ascii_only: bool = False) -> st.SearchStrategy[str]:
    """Valid local parts, quoted and not, of 50 octets at most."""
    atom = st.text(letters(ATEXT, ascii_only=ascii_only), min_size=1, max_size=4)
    qtext = letters("".join(c for c in " " + VISIBLE if c not in '"\\'), ascii_only=ascii_only)
    pair = st.sampled_from(" " + VISIBLE).map("\\".__add__)
    quoted = st.lists(qtext | pair, max_size=11).map(lambda pieces: '"' + "".join(pieces) + '"')
    return st.lists(atom, min_size=1, max_size=3).map(".".join) | quoted


def mailboxes(*, ascii_only: bool = False) -> st.SearchStrategy[str]:
    """Texts of valid mailboxes."""
    places = domains(ascii_only=ascii_only) | address_literals().map(str)
    return st.builds(Mailbox, local_parts(ascii_only=ascii_only), places).map(str)


def date_times() -> st.SearchStrategy[str]:
    """RFC 3339."""
    zone = st.sampled_from(["Z", "z", "+02:00", "-00:30"])
    fraction = st.sampled_from(["", ".5", ".123456789"])
    when = st.datetimes().map(lambda t: t.replace(microsecond=0).isoformat())
    return st.builds("{}{}{}".format, when, fraction, zone)


def others(*, ascii_only: bool = False) -> st.SearchStrategy[dict[str, str | None]]:
    """Parameters that nobody knows."""
    key = st.text(st.sampled_from(LET_DIG + "-"), max_size=8).map("X".__add__)
    character = letters(VISIBLE.replace("=", ""), ascii_only=ascii_only)
    return st.dictionaries(key.map(str.upper), st.none() | st.text(character, min_size=1, max_size=10), max_size=2)


def deliver_bys() -> st.SearchStrategy[DeliverBy]:
    returned = st.builds(DeliverBy, st.integers(1, 999_999_999), st.just("R"), st.booleans())
    notified = st.builds(DeliverBy, st.integers(-999_999_999, 999_999_999), st.just("N"), st.booleans())
    return returned | notified


def original_recipients() -> st.SearchStrategy[OriginalRecipient]:
    address_type = st.text(st.sampled_from(ATEXT.replace("=", "")), min_size=1, max_size=8)
    ascii_type = address_type.filter(lambda name: name.lower() != "utf-8")
    printable = st.text(st.sampled_from(" " + VISIBLE), min_size=1, max_size=30)
    text = st.text(letters(" " + VISIBLE, ascii_only=False), min_size=1, max_size=30)
    return st.builds(OriginalRecipient, ascii_type, printable) | st.builds(OriginalRecipient, st.just("utf-8"), text)


def valid_sinces() -> st.SearchStrategy[ValidSince]:
    return st.builds(ValidSince, date_times(), st.sampled_from([None, "C", "R"]))


def mails() -> st.SearchStrategy[Mail]:
    def build(smtputf8: bool) -> st.SearchStrategy[Mail]:
        ascii_only = not smtputf8
        paths = st.just("") | mailboxes(ascii_only=ascii_only)
        keyword = st.text(st.sampled_from(LET_DIG + ".-_:"), max_size=10).map("x".__add__)
        optional: dict[str, st.SearchStrategy[object]] = {
            "size": st.integers(0, 10**20 - 1),
            "body": st.sampled_from(["7BIT", "8BITMIME", "BINARYMIME"]),
            "ret": st.sampled_from(["FULL", "HDRS"]),
            "envid": st.text(st.sampled_from(" " + VISIBLE), min_size=1, max_size=100),
            "auth": paths,
            "by": deliver_bys(),
            "mt_priority": st.integers(-9, 9),
            "require_tls": st.booleans(),
            "solicit": st.lists(keyword, max_size=3).map(tuple),
            "other": others(ascii_only=ascii_only),
        }
        seconds = st.fixed_dictionaries({}, optional={"hold_for": st.integers(1, 999_999_999)})
        hold = seconds | st.fixed_dictionaries({"hold_until": date_times()})
        return st.builds(make, paths, st.just(smtputf8), st.fixed_dictionaries({}, optional=optional), hold)

    def make(path: str, smtputf8: bool, fields: dict[str, Any], hold: dict[str, Any]) -> Mail:
        return Mail(path, smtputf8=smtputf8, **fields, **hold)

    return st.booleans().flatmap(build)


def rcpts() -> st.SearchStrategy[Rcpt]:
    def make(path: str, fields: dict[str, Any]) -> Rcpt:
        return Rcpt(path, **fields)

    optional: dict[str, st.SearchStrategy[object]] = {
        "notify": st.just(("NEVER",)) | st.sets(st.sampled_from(["SUCCESS", "FAILURE", "DELAY"])).map(tuple),
        "orcpt": original_recipients(),
        "rrvs": valid_sinces(),
        "other": others(),
    }
    paths = mailboxes() | st.sampled_from(["Postmaster", "postmaster", "POSTMASTER"])
    return st.builds(make, paths, st.fixed_dictionaries({}, optional=optional))


def words() -> st.SearchStrategy[str]:
    """What may be the domain of EHLO."""
    visible = letters("".join(c for c in VISIBLE if c not in "<>"), ascii_only=False)
    return st.text(visible, min_size=1, max_size=60)


def texts(*, min_size: int = 0) -> st.SearchStrategy[str]:
    """The free text of NOOP and its like."""
    text = st.text(letters(" \t" + VISIBLE, ascii_only=False), max_size=60).map(lambda text: text.strip(" \t"))
    return text.filter(lambda text: len(text) >= min_size and not text.upper().endswith(" SMTPUTF8"))


def responses() -> st.SearchStrategy[bytes]:
    return st.binary(max_size=200)


def urls() -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(LET_DIG + "-._~:/?#[]@!$&'()*+,;=%"), min_size=1, max_size=60).map("imap:".__add__)


def attributes() -> st.SearchStrategy[dict[str, str]]:
    names = st.sampled_from(["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "IDENT", "X-1"])
    value = st.text(letters(" " + VISIBLE, ascii_only=False), max_size=8) | st.just("[UNAVAILABLE]")
    return st.dictionaries(names, value, min_size=1, max_size=4)


def unknown_commands() -> st.SearchStrategy[UnknownCommand]:
    verb = st.text(st.sampled_from(ATEXT), max_size=8).map("X-".__add__)
    return st.builds(UnknownCommand, verb, texts())


def commands() -> st.SearchStrategy[Command]:
    """Every command that `parse_command` gives."""
    return st.one_of(*(make(cls) for cls, make in COMMANDS.items()))


COMMANDS: dict[type[Command], Callable[[Any], st.SearchStrategy[Command]]] = {
    **dict.fromkeys((StartTls, Data, Rset, Quit), st.builds),
    **dict.fromkeys((Ehlo, Helo, Lhlo, Etrn), lambda cls: st.builds(cls, words())),
    **dict.fromkeys((Noop, Help), lambda cls: st.builds(cls, texts())),
    **dict.fromkeys((Vrfy, Expn), lambda cls: st.builds(cls, texts(min_size=1), smtputf8=st.booleans())),
    **dict.fromkeys((XClient, XForward), lambda cls: st.builds(cls, attributes())),
    Auth: lambda cls: st.builds(cls, mechanisms(), responses()) | st.builds(cls, st.just("LOGIN")),
    Mail: lambda _: mails(),
    Rcpt: lambda _: rcpts(),
    Bdat: lambda cls: st.builds(cls, st.integers(0, 2**63 - 1), st.booleans()),
    Burl: lambda cls: st.builds(cls, urls(), st.booleans()),
    UnknownCommand: lambda _: unknown_commands(),
}
"""What makes those of each class."""


def mechanisms() -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(string.ascii_uppercase + "-_1"), min_size=1, max_size=20)


def auth_responses() -> st.SearchStrategy[AuthResponse]:
    return st.builds(AuthResponse, st.none() | responses())


def any_texts() -> st.SearchStrategy[str]:
    """Anything, with a liking for what could do harm in a line."""
    nasty = st.sampled_from(
        [
            "\r\n",
            "\n",
            "\r",
            "\0",
            ">",
            "<",
            " ",
            "=",
            "\x85",
            "\u2028",
            "\ud800",
            '"',
            "\\",
            "@",
            ".",
            ",",
            ":",
            ";",
            "[",
        ]
    )
    pieces = st.lists(nasty | st.text(max_size=3) | st.sampled_from(["a", "a@b.c", "SIZE=1", "QUIT", "RCPT TO:<x@y>"]))
    return pieces.map("".join)


# -- whole sessions ---------------------------------------------------------------------------------------------------


def cuts(size: int = 400) -> st.SearchStrategy[list[int]]:
    """Where to cut a stream of about this size: for `smtpproto.testing.pieces`."""
    return st.lists(st.integers(1, size), max_size=12)


def session_commands(*, lmtp: bool = False) -> st.SearchStrategy[Command]:
    """A command of every kind that a session knows, in the lot that makes mail transactions likely."""
    hello: list[Command] = [Lhlo("me.example")] if lmtp else [Ehlo("me.example"), Helo("me.example")]
    often = [Mail("a@x.example"), Rcpt("b@y.example"), Rcpt("c@y.example"), Data(), EndOfData()]
    chunks = [Bdat(3), Bdat(5, last=True), Burl("imap://x.example/y", last=True), Burl("imap://x.example/y")]
    seldom = [
        *hello,
        Rset(),
        Noop(),
        Help(),
        Vrfy("b"),
        Expn("b"),
        UnknownCommand("XYZZY"),
        StartTls(),
        Auth("PLAIN"),
        AuthResponse(b"x"),
        Etrn("x.example"),
        XClient({"NAME": "x"}),
        XForward({"NAME": "x"}),
        Quit(),
    ]
    assert {type(command) for command in (*often, *chunks, *seldom)} >= set(CLASSES.values()) - {Ehlo, Helo, Lhlo}
    return st.sampled_from([*often, *often, *often, *chunks, *chunks, *seldom])
