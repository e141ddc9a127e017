"""Trace fields: their grammar, and that nothing of what a peer says gets out of its place in them."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from ipaddress import ip_address
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import AddressLiteral, LocalProtocolError, Mailbox
from smtpproto.trace import protocol_name, received, return_path
from tests import strategies

DATE = "Mon, 23 Nov 2026 09:00:00 +0000"

# RFC 5321 section 4.4 and RFC 5322 once more, loosely enough to be read, and written for the tests alone.
UTF8 = r"[^\x00-\x7f]"
ATEXT = rf"(?:[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]|{UTF8})"
DOMAIN = rf"(?:[A-Za-z0-9]|{UTF8})(?:[A-Za-z0-9.-]|{UTF8})*"
LITERAL = r"\[[!-Z^-~]+\]"
FWS = r"(?:\r\n\t| )"
CTEXT = rf"(?:[!-'*-\[\]-~]|{UTF8})"
COMMENT = rf"\((?:{FWS}?(?:{CTEXT}|\\[ -~]))*\)"
TCP_INFO = rf"\((?:{DOMAIN}{FWS})?{LITERAL}\)"
EXTENDED = rf"(?:{LITERAL}{FWS}{TCP_INFO}|{DOMAIN}(?:{FWS}{TCP_INFO})?)"
CFWS = rf"{FWS}(?:{COMMENT}{FWS})?"
QUOTED = rf'"(?:[ !#-\[\]-~]|{UTF8}|\\[ -~])*"'
PATH = rf"<(?:{ATEXT}(?:{ATEXT}|\.)*|{QUOTED})@(?:{DOMAIN}|{LITERAL})>"
FIELD = re.compile(
    rf"Received: from{FWS}{EXTENDED}{CFWS}by{FWS}{EXTENDED}{FWS}with{FWS}{ATEXT}+"
    rf"(?:{FWS}{COMMENT})?"
    rf"(?:{FWS}id{FWS}(?:{ATEXT}+|<[^<> ]+@[^<> ]+>))?(?:{FWS}for{FWS}{PATH})?;"
    rf"{FWS}[ -~\r\n\t]+\r\n"
)


def field(**values: Any) -> str:
    """The field as text, and unfolded."""
    made = received(**{"by": "mx.example", "date": DATE, **values})
    check_form(made)
    return made.decode().replace("\r\n\t", " ").removesuffix("\r\n")


def check_form(made: bytes) -> None:
    """What each field has to be, whatever it is made of."""
    text = made.decode()
    assert FIELD.fullmatch(text), text
    assert made.endswith(b"\r\n")
    lines = made[:-2].split(b"\r\n")
    # One field: each line but the first begins with white space, and has something else.
    assert lines[0].startswith(b"Received: ")
    assert all(line.startswith(b"\t") and line.strip() for line in lines[1:])
    assert all(len(line) <= 998 for line in lines)
    assert not re.search(rb"[\r\n\0]", made[:-2].replace(b"\r\n\t", b""))
    # Only what cannot be folded makes a long line.
    for line in text.split("\r\n"):
        assert len(line) <= 78 or len(re.split("[ \t]", line.removeprefix("Received: ").strip())) == 1


# -- the clauses --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.4")
def test_a_field_with_all_there_is() -> None:
    made = received(
        by="mx.example",
        date="Mon, 23 Nov 2026 10:00:00 +0100 (CET)",
        hello="client.example",
        address="192.0.2.1",
        name="host.example.",
        protocol="ESMTPSA",
        id="4ABC",
        recipient="user@mx.example",
        tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
    )
    assert made == (
        b"Received: from client.example (host.example [192.0.2.1]) by mx.example\r\n"
        b"\twith ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384) id 4ABC for <user@mx.example>;\r\n"
        b"\tMon, 23 Nov 2026 10:00:00 +0100 (CET)\r\n"
    )
    check_form(made)


@pytest.mark.rfc("5321", "4.4")
@pytest.mark.parametrize(
    ("values", "source"),
    [
        ({}, "unknown"),
        ({"hello": "client.example"}, "client.example"),
        ({"address": "192.0.2.1"}, "[192.0.2.1] ([192.0.2.1])"),
        ({"address": ip_address("2001:db8::1")}, "[IPv6:2001:db8::1] ([IPv6:2001:db8::1])"),
        ({"address": "::ffff:192.0.2.1", "hello": "a.example"}, "a.example ([192.0.2.1])"),
        ({"address": AddressLiteral("x-unix", "7"), "hello": "a.example"}, "a.example ([x-unix:7])"),
        ({"address": "[192.0.2.1]", "hello": "a.example"}, "a.example ([192.0.2.1])"),
        ({"address": "", "hello": "a.example", "name": "b.example"}, "a.example"),
        ({"address": "192.0.2.1", "hello": "[192.0.2.7]"}, "[192.0.2.7] ([192.0.2.1])"),
        ({"address": "192.0.2.1", "hello": "[192.0.2.7]", "name": "b.example"}, "[192.0.2.7] (b.example [192.0.2.1])"),
        # The grammar has no address literal without what the connection tells.
        ({"hello": "[192.0.2.7]"}, "unknown (helo=[192.0.2.7])"),
        ({"address": "192.0.2.1", "hello": "my_host"}, "[192.0.2.1] ([192.0.2.1]) (helo=my_host)"),
        ({"address": "192.0.2.1", "hello": "a.example."}, "[192.0.2.1] ([192.0.2.1]) (helo=a.example.)"),
        ({"address": "192.0.2.1", "hello": "[300.1.1.1]"}, "[192.0.2.1] ([192.0.2.1]) (helo=[300.1.1.1])"),
        # A literal of another kind may hold what begins a comment, or ends the clauses, for those who do not know it.
        ({"address": "192.0.2.1", "hello": "[x:(;]"}, "[192.0.2.1] ([192.0.2.1]) (helo=[x:\\(;])"),
        ({"hello": "a(b\\)c"}, "unknown (helo=a\\(b\\\\\\)c)"),
        ({"hello": "\u00fc.example"}, "unknown (helo=?.example)"),
        ({"hello": "\u00fc.example", "protocol": "UTF8SMTP"}, "\u00fc.example"),
        ({"address": "192.0.2.1", "hello": "a.example", "name": "no_domain"}, "a.example ([192.0.2.1])"),
        ({"address": "192.0.2.1", "hello": "a.example", "name": "\u00fc.example"}, "a.example ([192.0.2.1])"),
        ({"address": "192.0.2.1", "hello": "a.example", "name": "x) by evil.example"}, "a.example ([192.0.2.1])"),
    ],
)
def test_where_it_comes_from(values: dict[str, Any], source: str) -> None:
    protocol = values.get("protocol", "ESMTP")
    assert field(**values) == f"Received: from {source} by mx.example with {protocol}; {DATE}"


@pytest.mark.rfc("5321", "4.4")
@pytest.mark.parametrize(
    ("by", "written"),
    [
        ("mx.example", "mx.example"),
        ("localhost", "localhost"),
        ("[192.0.2.9]", "[192.0.2.9] ([192.0.2.9])"),
        ("[ipv6:2001:db8::9]", "[IPv6:2001:db8::9] ([IPv6:2001:db8::9])"),
    ],
)
def test_who_has_received_it(by: str, written: str) -> None:
    assert field(by=by, hello="a.example") == f"Received: from a.example by {written} with ESMTP; {DATE}"


@pytest.mark.rfc("5321", "4.4")
@pytest.mark.parametrize("id_", ["1", "a-b_c", "1.2", "<a.b@mx.example>", "<1@[192.0.2.1]>"])
def test_ids(id_: str) -> None:
    if id_ == "1.2":  # a dot is in no Atom
        with pytest.raises(LocalProtocolError, match="must be an Atom or a msg-id"):
            field(id=id_)
    else:
        assert f" id {id_};" in field(id=id_)


@pytest.mark.rfc("5321", "4.4")
@pytest.mark.parametrize(
    ("recipient", "protocol", "written"),
    [
        (None, "ESMTP", None),
        ("a@b.example", "ESMTP", "<a@b.example>"),
        (Mailbox("a", "b.example"), "ESMTP", "<a@b.example>"),
        ('"a b>; "@b.example', "ESMTP", '<"a b>; "@b.example>'),
        ("Postmaster", "ESMTP", None),
        ("\u00fc@b.example", "ESMTPSA", None),
        ("\u00fc@b.example", "UTF8SMTPS", "<\u00fc@b.example>"),
    ],
)
def test_for_whom_it_is(recipient: str | Mailbox | None, protocol: str, written: str | None) -> None:
    made = field(recipient=recipient, protocol=protocol)
    assert (f" with {protocol} for {written};" in made) is (written is not None)
    assert (" for " in made) is (written is not None)


def test_a_comment_about_tls() -> None:
    assert " with ESMTPS (TLSv1.3 \\(draft\\));" in field(protocol="ESMTPS", tls="TLSv1.3 (draft)")
    assert field(tls="") == field(tls=None) == field(tls=" ") == field()


# -- what a program may not give ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"by": ""},
        {"by": "my_host"},
        {"by": "mx.example\r\nX: y"},
        {"by": "[300.1.1.1]"},
        {"by": "\u00fc.example"},
        {"address": "host.example"},
        {"address": "[x]"},
        {"protocol": ""},
        {"protocol": "ESMTP (x)"},
        {"protocol": "X" * 1000},
        {"id": ""},
        {"id": "two words"},
        {"id": "a\r\nb"},
        {"id": "<a>"},
        {"id": "a" * 1000},
        {"id": "\u00fc"},
        {"recipient": ""},
        {"recipient": "a@b.example>"},
        {"recipient": "a@b.example\r\nX: y"},
    ],
)
def test_what_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match=r"\w+ \w+"):
        received(**{"by": "mx.example", "date": DATE, **values})


@pytest.mark.rfc("5322", "3.3")
@pytest.mark.parametrize(
    "date",
    [
        DATE,
        "23 Nov 2026 09:00:00 +0000",
        "3 Nov 2026 09:00 -0330",
        "03 Nov 2026 23:59:60 -0000",
        "Mon,23 Nov 2026 09:00:00 +0000",
        "Mon, 23 Nov 2026 09:00:00 +0000 (UTC)",
        "Mon,  3 Nov 2026 09:00:00  +0000",
    ],
)
def test_dates(date: str) -> None:
    assert field(date=date).endswith(f"; {' '.join(date.split())}")


@pytest.mark.rfc("5321", "4.4")
@pytest.mark.parametrize(
    "date",
    [
        "",
        "Mon, 23 Nov 26 09:00:00 +0000",
        "Mon, 23 Nov 126 09:00:00 +0000",
        "Mon, 23 Nov 1899 09:00:00 +0000",
        "Mon, 23 Nov 2026 09:00:00 GMT",
        "Mon, 23 Nov 2026 09:00:00 UT",
        "Mon, 23 Nov 2026 09:00:00 Z",
        "Mon, 23 Nov 2026 09:00:00",
        "Mon, 23 Nov 2026 9:00:00 +0000",
        "Mon, 23 Nov 2026 09 : 00 +0000",
        "Mon, 23 Nov 2026 24:00:00 +0000",
        "Mon, 23 Nov 2026 09:60:00 +0000",
        "Mon, 23 Nov 2026 09:00:61 +0000",
        "Mon, 23 Nov 2026 09:00:00 +00:00",
        "Mon, 23 Nov 2026 09:00:00 +0060",
        "Mon, 0 Nov 2026 09:00:00 +0000",
        "Mon, 32 Nov 2026 09:00:00 +0000",
        "Mon 23 Nov 2026 09:00:00 +0000",
        "Montag, 23 Nov 2026 09:00:00 +0000",
        "Mon, 23 November 2026 09:00:00 +0000",
        "Mon (x), 23 Nov 2026 09:00:00 +0000",
        "Mon, 23 Nov 2026 09:00:00 +0000 (a(b))",
        "Mon, 23 Nov 2026 09:00:00 +0000 (a\\)",
        "Mon, 23 Nov 2026 09:00:00 +0000 (\u00fc)",
        "Mon, 23 Nov 2026\r\n 09:00:00 +0000",
        "Mon, 23 Nov 2026 09:00:00 +0000\r\nX: y",
        "Mon, 23 Nov 2026 09:00:00 +0000\n",
        "Mon, \u0662\u0663 Nov 2026 09:00:00 +0000",
        "2026-11-23T09:00:00Z",
        f"{DATE} ({'x' * 1000})",
    ],
)
def test_no_dates(date: str) -> None:
    with pytest.raises(LocalProtocolError, match="trace field"):
        received(by="mx.example", date=date)


@pytest.mark.rfc("5322", "3.3")
@given(
    st.datetimes(
        min_value=datetime(1900, 1, 2),  # noqa: DTZ001 - the zone is drawn
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_the_dates_of_the_standard_library_are_taken(moment: datetime) -> None:
    date = format_datetime(moment)
    made = received(by="mx.example", date=date)
    message = email.message_from_bytes(made + b"\r\n", policy=email.policy.default)
    assert message["Received"].endswith(date)


# -- nothing gets out of its place --------------------------------------------------------------------------------

NASTY = strategies.any_texts() | st.text(max_size=600) | st.text('()\\ \t\r\n;,<>[]"\u00fc\ud800x', max_size=600)


@pytest.mark.rfc("6531", "3.7.3")
@pytest.mark.rfc("5321", "4.4")
@given(
    hello=NASTY | strategies.words() | strategies.domains(),
    name=st.none() | NASTY | strategies.domains(),
    tls=st.none() | NASTY,
    address=st.none() | st.ip_addresses(),
    recipient=st.none() | strategies.mailboxes(),
    protocol=st.sampled_from(["SMTP", "ESMTPSA", "UTF8SMTPSA"]),
    id_=st.none() | st.just("4ABC"),
)
def test_whatever_the_peer_says_it_is_one_field(
    hello: str, name: str | None, tls: str | None, address: Any, recipient: str | None, protocol: str, id_: str | None
) -> None:
    made = received(
        by="mx.example",
        date=DATE,
        hello=hello,
        address=address,
        name=name,
        protocol=protocol,
        id=id_,
        recipient=recipient,
        tls=tls,
    )
    check_form(made)
    assert made.isascii() or protocol.startswith("UTF8")
    # With comments taken out, what the peer says is in its places alone.
    text = re.sub(COMMENT, "", made.decode()[: -2 - len(DATE)])
    assert text.count(";") == (1 if recipient is None or ";" not in recipient else text.count(";"))
    outside = re.sub(QUOTED, "", text).replace("\r\n\t", " ").split()
    assert [word for word in outside if word in {"by", "with"}][:2] == ["by", "with"] or hello in {"by", "with"}
    message = email.message_from_bytes(made + b"Subject: x\r\n\r\nbody", policy=email.policy.compat32)
    assert message.keys() == ["Received", "Subject"]


@given(hello=st.text(st.sampled_from("x()\\\u00fc"), max_size=300))
def test_a_comment_has_the_beginning_of_what_was_said(hello: str) -> None:
    made = field(hello=f"_{hello}", protocol="UTF8SMTP")
    comment = re.search(r"from unknown \((\S+)\) by", made)
    assert comment is not None
    assert re.sub(r"\\(.)", r"\1", comment[1]) == f"helo=_{hello}"[:128]


def test_the_longest_name_that_a_command_can_have() -> None:
    assert field(hello="(" * 500).count("\\(") == 128 - len("helo=")


@pytest.mark.rfc("5322", "2.1.1")
def test_what_is_too_long_for_a_line_is_folded() -> None:
    long = ".".join(["x" * 63] * 3 + ["y" * 40])
    made = received(
        by=long, date=DATE, hello=long, address="192.0.2.1", name=long, recipient=f"{'r' * 20}@{long[:200]}"
    )
    check_form(made)
    assert made.count(b"\r\n") >= 5


# -- names of protocols -------------------------------------------------------------------------------------------


@pytest.mark.rfc("3848", "1")
@pytest.mark.rfc("4954", "7")
@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ("", "SMTP"),
        ("secure", "SMTP"),
        ("extended", "ESMTP"),
        ("extended authenticated", "ESMTPA"),
        ("extended secure", "ESMTPS"),
        ("extended secure authenticated", "ESMTPSA"),
        ("lmtp extended", "LMTP"),
        ("lmtp extended authenticated", "LMTPA"),
        ("lmtp extended secure", "LMTPS"),
        ("lmtp extended secure authenticated", "LMTPSA"),
        ("extended smtputf8", "UTF8SMTP"),
        ("extended smtputf8 authenticated", "UTF8SMTPA"),
        ("extended smtputf8 secure", "UTF8SMTPS"),
        ("extended smtputf8 secure authenticated", "UTF8SMTPSA"),
        ("lmtp extended smtputf8", "UTF8LMTP"),
        ("lmtp extended smtputf8 authenticated", "UTF8LMTPA"),
        ("lmtp extended smtputf8 secure", "UTF8LMTPS"),
        ("lmtp extended smtputf8 secure authenticated", "UTF8LMTPSA"),
    ],
)
def test_protocol_names(facts: str, name: str) -> None:
    names = ("lmtp", "extended", "secure", "authenticated", "smtputf8")
    assert protocol_name(**{each: each in facts.split() for each in names}) == name


@pytest.mark.rfc("6531", "3.7.3")
@pytest.mark.rfc("5321", "4.4")
@pytest.mark.rfc("4954", "7")
def test_every_protocol_has_a_registered_name() -> None:
    registered = {"SMTP"} | {
        f"{name}{tls}{auth}"
        for name, tls, auth in product(("ESMTP", "LMTP", "UTF8SMTP", "UTF8LMTP"), ("", "S"), ("", "A"))
    }
    made = {
        protocol_name(lmtp=lmtp, extended=extended, secure=secure, authenticated=authenticated, smtputf8=smtputf8)
        for lmtp, extended, secure, authenticated, smtputf8 in product((False, True), repeat=5)
    }
    assert made == registered


# -- Return-Path --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.4")
@given(st.just("") | strategies.mailboxes())
def test_the_return_path_is_the_reverse_path(path: str) -> None:
    assert return_path(path) == f"Return-Path: <{path}>\r\n".encode()
    if path:
        assert return_path(Mailbox.parse(path)) == return_path(path)


@pytest.mark.rfc("5321", "4.4")
@given(strategies.any_texts())
def test_nothing_gets_into_a_return_path(text: str) -> None:
    try:
        made = return_path(text)
    except LocalProtocolError:
        return
    assert re.fullmatch(rb"Return-Path: <[^\r\n\0]*>\r\n", made)


@pytest.mark.parametrize("path", ["<a@b.example>", "a@b.example\r\nX: y", "Postmaster", "a"])
def test_no_return_paths(path: str) -> None:
    with pytest.raises(LocalProtocolError, match="mailbox"):
        return_path(path)
