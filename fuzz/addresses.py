"""Whatever text is offered as an address, it is refused by LocalProtocolError, or it is one: written, read again and
sent, it is the same, and nothing else; and the work is linear.

Where the input has three parts, the work is measured with the middle one many times over.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from fuzz._harness import FLIGHT, assert_linear, text_of
from smtpproto import LocalProtocolError
from smtpproto.addresses import (
    AddressLiteral,
    Mailbox,
    check_forward_path,
    check_mailbox,
    check_reverse_path,
    is_domain,
    parse_domain,
    parse_path,
    split_path,
)
from smtpproto.commands import Mail, Rcpt, parse_command
from smtpproto.limits import LOCAL_PART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_NEVER_SENT: Final = frozenset(map(chr, range(32))) | {"\x7f"}


def or_none(function: Callable[[str], T], text: str) -> T | None:
    try:
        return function(text)
    except LocalProtocolError:
        return None


def test_one_input(data: bytes) -> None:
    if FLIGHT in data:
        assert_linear(judge, data)
    else:
        judge(text_of(data))


def judge(text: str) -> None:
    mailbox(text)
    literal(text)
    domain = or_none(parse_domain, text)
    assert domain in (None, text)
    assert is_domain(text) is (domain is not None)
    path(text)


def mailbox(text: str) -> None:
    read = or_none(Mailbox.parse, text)
    checked = or_none(check_mailbox, text)
    assert checked == (None if read is None else text)
    assert or_none(check_reverse_path, text) == ("" if not text else checked)
    assert or_none(check_forward_path, text) == (text if text.lower() == "postmaster" else checked)
    if read is None:
        return
    assert str(read) == text
    assert Mailbox(read.local_part, read.domain) == read
    assert read.is_ascii is text.isascii()
    assert _NEVER_SENT.isdisjoint(text)
    quoted = '"' + read.unquoted.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if len(quoted.encode()) <= LOCAL_PART:
        assert Mailbox(quoted, "x").unquoted == read.unquoted
    for command in (Mail(text, smtputf8=True), Rcpt(text)):
        assert parse_command(bytes(command).removesuffix(b"\r\n")) == command
    assert parse_path(f"<{text}>", reverse=False) == text


def literal(text: str) -> None:
    read = or_none(AddressLiteral.parse, text)
    if read is None:
        return
    assert AddressLiteral.parse(str(read)) == read
    assert str(read).lower() == text.lower()
    if read.address is not None:
        assert AddressLiteral.of(read.address).address in (read.address, getattr(read.address, "ipv4_mapped", None))


def path(text: str) -> None:
    split = or_none(split_path, text)
    if split is not None:
        assert split_path(text, lenient=True) == split
        found, rest = split
        assert text.endswith(rest)
        assert f"<{found}>" == text[: len(text) - len(rest)] or text.startswith("<@")
    for reverse in (True, False):
        read = or_none(partial(parse_path, reverse=reverse), text)
        assert read is None or (split is not None and split == (read, ""))


def seeds() -> Iterator[bytes]:
    # RFC 5321 sections 3.6.1, 4.1.1.3, 4.1.2, 4.1.3 and appendix D; RFC 3696 section 3; RFC 6531, RFC 6532.
    texts = (
        "Smith@bar.com",
        "<JQP@bar.com>",
        "<>",
        "<Postmaster>",
        "postmaster",
        "<@hosta.int,@jkl.org:userc@d.bar.org>",
        "<@ONE,@TWO:JOE@THREE>",
        '"Joe\\,Q\\.Public"@example.com',
        '"Abc\\@def"@example.com',
        '"Fred Bloggs"@example.com',
        "customer/department=shipping@example.com",
        "!def!xyz%abc@example.com",
        "user@[192.0.2.1]",
        "user@[IPv6:2001:db8::1]",
        "user@[IPv6:::ffff:192.0.2.1]",
        "[IPv6:1:2:3:4:5:6:7::]",
        "[x-tag:content]",
        "[255.255.255.255]",
        "j\u00f6rg@b\u00fccher.example",
        "\u7528\u6237@\u4f8b\u5b50.\u5e7f\u544a",
        "a@b\u3002example",
        "<a@b.example> SIZE=1",
        "a@" + "x" * 63 + "." + "y" * 63,
        "x" * 64 + "@y",
    )
    yield from (text.encode() for text in texts)
    for head, middle, tail in (
        ("", "a.", "a@b"),
        ("a@", "b-", "c"),
        ("a@", "b.", ""),
        ('"', "\\a", '"@b'),
        ("<", "@a,", ":b@c>"),
        ("[IPv6:", ":1", "]"),
        ("[", "1.", "]"),
        ("", "-", "@"),
    ):
        yield FLIGHT.join(part.encode() for part in (head, middle, tail))
