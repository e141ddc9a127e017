"""Mailboxes, domains, address literals and paths."""

from __future__ import annotations

import enum
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from smtpproto.errors import LocalProtocolError

from .strategies import DOTS, address_literals, any_texts, domains, local_parts, mailboxes

NO_MAILBOX = [
    "",
    "a",
    "a@",
    "@b",
    "a@b@c",
    "a b@c",
    "a@b c",
    " a@b",
    "a@b ",
    "a@b\n",
    "a@b\r\n",
    "a\0@b",
    "a@b\0",
    "a\x7f@b",
    "a\x85@b",
    "a\ud800@b",
    ".a@b",
    "a.@b",
    "a..b@c",
    "a@.b",
    "a@b.",
    "a@b..c",
    "a@-b",
    "a@b-",
    "a@b-.c",
    "a@b_c",
    "a@b\u3002c",
    "a(comment)@b",
    "A <a@b>",
    "<a@b>",
    "a>@b",
    "a@b>",
    "a,b@c",
    "a:b@c",
    "a;b@c",
    "a[b@c",
    "a\\b@c",
    '"a@b',
    'a"@b',
    '"a"b@c',
    '"a\n"@b',
    '"a\\\n"@b',
    '"a\\\xe9"@b',
    "=?utf-8?q?a?= <a@b>",
    "a@[1.2.3.4",
    "a@1.2.3.4]",
    "a@[]",
    "a@[1.2.3]",
    "a@[1.2.3.256]",
    "a@[tag:>]",
]


@given(mailboxes())
@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.rfc("5321", "2.3.11")
def test_mailboxes_round_trip(text: str) -> None:
    mailbox = Mailbox.parse(text)
    assert str(mailbox) == text
    assert f"{mailbox.local_part}@{mailbox.domain}" == text
    assert mailbox.is_ascii is text.isascii()
    assert Mailbox(mailbox.local_part, mailbox.domain) == mailbox
    assert check_mailbox(text) == check_mailbox(mailbox) == text


@given(local_parts(), domains())
def test_a_mailbox_comes_apart_where_it_was_put_together(local_part: str, domain: str) -> None:
    assert Mailbox.parse(f"{local_part}@{domain}") == Mailbox(local_part, domain)


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.rfc("5321", "4.1.1")
@pytest.mark.parametrize("text", NO_MAILBOX)
def test_no_mailbox(text: str) -> None:
    for parse in (Mailbox.parse, check_mailbox, check_forward_path):
        with pytest.raises(LocalProtocolError):
            parse(text)


@pytest.mark.parametrize("wrong", [b"a@b", None, 1, ["a@b"]])
def test_a_mailbox_is_a_str(wrong: str) -> None:
    for check in (Mailbox.parse, check_mailbox, check_reverse_path, check_forward_path):
        with pytest.raises(LocalProtocolError, match="must be a str"):
            check(wrong)


class Sender(str, enum.Enum):  # noqa: UP042 - a StrEnum formats as its value; this one does not
    X = "a@b"
    POSTMASTER = "Postmaster"


def test_the_text_of_a_subclass_of_str_counts() -> None:
    assert f"{check_mailbox(Sender.X)}" == "a@b"
    assert f"{check_reverse_path(Sender.X)}" == "a@b"
    assert f"{check_forward_path(Sender.POSTMASTER)}" == "Postmaster"
    assert f"{Mailbox.parse(Sender.X)}" == "a@b"


@given(any_texts())
def test_whatever_is_taken_is_harmless(text: str) -> None:
    try:
        mailbox = Mailbox.parse(text)
    except LocalProtocolError:
        return
    wire = text.encode()
    assert not set(b"\r\n\0") & set(wire)
    bare = text.replace("\\\\", "").replace('\\"', "")
    if '"' not in bare:
        assert not set(" <>()") & set(bare)
    assert split_path(f"<{text}> X") == (text, " X")
    assert len(wire) <= 254
    assert str(mailbox) == text


@pytest.mark.rfc("5321", "4.5.3.1.1")
@pytest.mark.rfc("5321", "4.5.3.1")
def test_the_local_part_has_64_octets() -> None:
    for letter in ("a", "\xe9", "\U0001f600"):
        width = len(letter.encode())
        assert str(Mailbox(letter * (64 // width), "b"))
        with pytest.raises(LocalProtocolError, match="local part"):
            Mailbox(letter * (64 // width) + "a", "b")
        with pytest.raises(LocalProtocolError, match="local part"):
            check_mailbox(letter * (64 // width) + "a@b")
    with pytest.raises(LocalProtocolError):
        Mailbox('"' + "a" * 63 + '"', "b")


@pytest.mark.rfc("5321", "4.5.3.1.2")
@pytest.mark.rfc("5321", "4.5.3.1")
def test_the_domain_has_255_octets_and_its_labels_63() -> None:
    label = "a" * 63
    assert parse_domain(".".join([label] * 4))
    with pytest.raises(LocalProtocolError, match="255"):
        parse_domain(".".join([label] * 4) + ".a")
    assert parse_domain(label)
    with pytest.raises(LocalProtocolError, match="63"):
        parse_domain(label + "a")
    assert parse_domain("\xe9" * 31)
    with pytest.raises(LocalProtocolError, match="63"):
        parse_domain("\xe9" * 32)
    with pytest.raises(LocalProtocolError, match="63"):
        check_mailbox("a@" + "b" * 64)


@pytest.mark.rfc("5321", "4.5.3.1.3")
@pytest.mark.rfc("5321", "4.5.3.1")
def test_a_path_has_256_octets() -> None:
    domain = ".".join(["d" * 63] * 3)
    assert parse_path("<" + "a" * 62 + "@" + domain + ">", reverse=True)
    with pytest.raises(LocalProtocolError, match="254"):
        parse_path("<" + "a" * 63 + "@" + domain + ">", reverse=True)
    with pytest.raises(LocalProtocolError, match="254"):
        Mailbox("a" * 63, domain)


@given(domains())
@pytest.mark.rfc("6531", "3.3")
@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.rfc("6531", "3.2")
def test_domains(text: str) -> None:
    assert parse_domain(text) == text
    assert is_domain(text)
    for wrong in (f"{text}.", f".{text}", f"-{text}", f"{text}-", f"{text}_", f"{text} ", f"{text}\n", f"[{text}]"):
        assert not is_domain(wrong)
        with pytest.raises(LocalProtocolError):
            parse_domain(wrong)


@pytest.mark.rfc("5890", "2.3.2.1")
@pytest.mark.parametrize("dot", DOTS)
def test_no_other_dots_than_the_dot(dot: str) -> None:
    assert not is_domain(f"a{dot}b")
    assert not Mailbox(f"a{dot}b", "c").is_ascii


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize(
    ("local_part", "meant"),
    [
        ("a.b", "a.b"),
        ('"a.b"', "a.b"),
        ('"a\\b"', "ab"),
        (r'"Joe\,Smith"', "Joe,Smith"),
        (r'"a\\b"', r"a\b"),
        (r'"\\\""', '\\"'),
        ('""', ""),
        ('"a\\ "', "a "),
    ],
)
def test_unquoted(local_part: str, meant: str) -> None:
    assert Mailbox(local_part, "b").unquoted == meant


@pytest.mark.rfc("5321", "4.1.2")
@given(st.text(st.sampled_from('ab .\\"@>'), max_size=20))
def test_unquoted_undoes_quoting(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert Mailbox(quoted, "b").unquoted == text


@pytest.mark.rfc("6531", "3.2")
@pytest.mark.rfc("6531", "3.7")
def test_with_ascii_domain() -> None:
    seen: list[str] = []

    def encode(domain: str) -> bytes:
        seen.append(domain)
        return domain.encode("punycode")

    mailbox = Mailbox("j\xf6rg", "b\xfccher.example")
    assert mailbox.with_ascii_domain(lambda domain: "xn--bcher-kva.example") == Mailbox(
        "j\xf6rg", "xn--bcher-kva.example"
    )
    assert mailbox.with_ascii_domain(encode).domain.isascii()
    assert seen == ["b\xfccher.example"]
    ascii_already = Mailbox("j\xf6rg", "example")
    assert ascii_already.with_ascii_domain(encode) is ascii_already
    assert len(seen) == 1
    with pytest.raises(LocalProtocolError, match="no ASCII form"):
        mailbox.with_ascii_domain(lambda domain: domain.encode("ascii"))
    with pytest.raises(LocalProtocolError, match="not ASCII"):
        mailbox.with_ascii_domain(lambda domain: domain)
    with pytest.raises(LocalProtocolError):
        mailbox.with_ascii_domain(lambda domain: "a> SIZE=1")


# -- address literals -------------------------------------------------------------------------------------------------


@given(address_literals())
@pytest.mark.rfc("5321", "4.1.3")
def test_address_literals_round_trip(literal: AddressLiteral) -> None:
    assert AddressLiteral.parse(str(literal)) == literal
    assert Mailbox("a", str(literal)).domain == str(literal)


@given(st.ip_addresses())
def test_the_literal_of_an_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    literal = AddressLiteral.of(address)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    assert literal.address == (mapped or address)
    assert AddressLiteral.of(str(address)) == literal


def test_the_literal_of_some_addresses() -> None:
    assert str(AddressLiteral.of("192.0.2.1")) == "[192.0.2.1]"
    assert str(AddressLiteral.of("2001:DB8::1")) == "[IPv6:2001:db8::1]"
    assert str(AddressLiteral.of("::ffff:192.0.2.1")) == "[192.0.2.1]"
    assert str(AddressLiteral.of("fe80::1%eth0")) == "[IPv6:fe80::1]"
    with pytest.raises(LocalProtocolError, match="no IP address"):
        AddressLiteral.of("localhost")


@pytest.mark.rfc("5321", "4.1.3")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[0.0.0.0]", "0.0.0.0"),
        ("[255.255.255.255]", "255.255.255.255"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ("[IPv6:::]", "::"),
        ("[IPv6:::1]", "::1"),
        ("[IPv6:1::]", "1::"),
        ("[IPv6:1:2:3:4:5:6:7:8]", "1:2:3:4:5:6:7:8"),
        ("[IPv6:1:2:3::6:7:8]", "1:2:3::6:7:8"),
        ("[IPv6:1:2:3:4:5:6::]", "1:2:3:4:5:6::"),
        ("[IPv6:::ffff:192.0.2.1]", "::ffff:192.0.2.1"),
        ("[IPv6:1:2:3:4:5:6:192.0.2.1]", "1:2:3:4:5:6:192.0.2.1"),
        ("[IPv6:1:2::3:4:192.0.2.1]", "1:2::3:4:192.0.2.1"),
        ("[ipv6:::1]", "::1"),
        ("[x-400:anything/goes@here]", None),
    ],
)
def test_literals(text: str, address: str | None) -> None:
    literal = AddressLiteral.parse(text)
    assert literal.address == (None if address is None else ipaddress.ip_address(address))
    assert str(literal) == text.replace("ipv6", "IPv6")
    assert Mailbox.parse(f"a@{text}").domain == text


@pytest.mark.rfc("5321", "4.1.3")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "[192.0.2.1",
        "192.0.2.1]",
        "[192.0.2]",
        "[192.0.2.1.1]",
        "[192.0.2.256]",
        "[192.0.2.01]",
        "[192.0.2.1 ]",
        "[ 192.0.2.1]",
        "[192.0.2.\u0661]",
        "[0x7f.0.0.1]",
        "[::1]",
        "[IPv6:]",
        "[IPv6:1]",
        "[IPv6:1:2:3:4:5:6:7]",
        "[IPv6:1:2:3:4:5:6:7:8:9]",
        "[IPv6:1:2:3:4:5:6:7::]",
        "[IPv6:::2:3:4:5:6:7:8]",
        "[IPv6:1:2:3:4:5::192.0.2.1]",
        "[IPv6:1::2::3]",
        "[IPv6::1]",
        "[IPv6:12345::]",
        "[IPv6:g::]",
        "[IPv6:fe80::1%eth0]",
        "[IPv6:::192.0.2.256]",
        "[IPv6: ::1]",
        "[IPv6:192.0.2.1]",
        "[:x]",
        "[-:x]",
        "[x-:x]",
        "[x_y:x]",
        "[\xe9:x]",
        "[x:]",
        "[x:a b]",
        "[x:\xe9]",
        "[x:>]",
        "[x:<]",
        "[x:]]",
        "[x:[]",
        "[x:\\]",
        "[x:\n]",
        "[x:a]\n",
        "[x:" + "a" * 252 + "]",
    ],
)
def test_no_literals(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        AddressLiteral.parse(text)
    with pytest.raises(LocalProtocolError):
        Mailbox("a", text)


def test_literals_of_parts() -> None:
    with pytest.raises(LocalProtocolError, match="brackets"):
        AddressLiteral.parse("192.0.2.1")
    # Without its tag an IPv6 address is a general literal of the tag "2001", as far as the grammar can tell.
    assert AddressLiteral.parse("[2001:db8::1]").address is None
    assert AddressLiteral("", "192.0.2.1") == AddressLiteral.parse("[192.0.2.1]")
    assert AddressLiteral("IPV6", "::1") == AddressLiteral.parse("[IPv6:::1]")
    for tag, content in (("", "x"), ("", "::1"), ("IPv6", "192.0.2.1"), ("x:y", "z"), ("x", "")):
        with pytest.raises(LocalProtocolError):
            AddressLiteral(tag, content)


# -- paths ------------------------------------------------------------------------------------------------------------


@given(mailboxes(), domains(), domains(), st.booleans())
@pytest.mark.rfc("5321", "4.1.1.3")
@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("5321", "3.6.1")
@pytest.mark.rfc("5321", "4.1.2")
def test_source_routes_are_dropped(mailbox: str, first: str, second: str, reverse: bool) -> None:
    assert parse_path(f"<{mailbox}>", reverse=reverse) == mailbox
    assert parse_path(f"<@{first}:{mailbox}>", reverse=reverse) == mailbox
    assert parse_path(f"<@{first},@{second}:{mailbox}>", reverse=reverse) == mailbox


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "<",
        ">",
        "a@b",
        "<a@b",
        "a@b>",
        "<<a@b>>",
        "< a@b>",
        "<a@b >",
        "<a@b>x",
        "<a@b> ",
        "<@a:>",
        "<@a>",
        "<@a,b:c@d>",
        "<@a,@b c@d>",
        "<@a:@b:c@d>",
        "<@a,:c@d>",
        "<,@a:c@d>",
        "<a>",
        "<a@b\n>",
    ],
)
@pytest.mark.parametrize("reverse", [True, False])
def test_no_paths(text: str, reverse: bool) -> None:
    with pytest.raises(LocalProtocolError):
        parse_path(text, reverse=reverse)


@pytest.mark.rfc("5321", "4.5.5")
def test_the_null_reverse_path() -> None:
    assert parse_path("<>", reverse=True) == check_reverse_path("") == ""
    with pytest.raises(LocalProtocolError):
        parse_path("<>", reverse=False)
    with pytest.raises(LocalProtocolError):
        check_forward_path("")


@pytest.mark.rfc("5321", "4.5.1")
@pytest.mark.rfc("5321", "2.3.5")
@pytest.mark.parametrize("name", ["Postmaster", "postmaster", "POSTMASTER"])
def test_postmaster_needs_no_domain(name: str) -> None:
    assert parse_path(f"<{name}>", reverse=False) == check_forward_path(name) == name
    with pytest.raises(LocalProtocolError):
        parse_path(f"<{name}>", reverse=True)
    with pytest.raises(LocalProtocolError):
        parse_path(f"<{name}s>", reverse=False)


@pytest.mark.rfc("5321", "4.1.2")
def test_a_quoted_bracket_does_not_end_the_path() -> None:
    assert split_path('<"a> SIZE=1"@b> SIZE=2') == ('"a> SIZE=1"@b', " SIZE=2")
    assert split_path("<a@b> <c@d>") == ("a@b", " <c@d>")


def test_split_path_leniently() -> None:
    assert split_path("a@b SIZE=2", lenient=True) == ("a@b", " SIZE=2")
    assert split_path('"a b"@c SIZE=2', lenient=True) == ('"a b"@c', " SIZE=2")
    assert split_path("@x:a@b", lenient=True) == ("a@b", "")
    assert split_path("<a@b>x", lenient=True) == ("a@b", "x")
    with pytest.raises(LocalProtocolError):
        split_path("a@b SIZE=2")
    with pytest.raises(LocalProtocolError):
        split_path(" a@b", lenient=True)
