"""From an email message to its envelope and its octets; beside smtplib, which does the same."""

from __future__ import annotations

import email
import smtplib
import sys
from email.header import Header
from email.headerregistry import Address, Group
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP, SMTPUTF8, compat32, default, strict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import Extensions, LocalProtocolError, Mail, Mailbox, Rcpt
from smtpproto_adapters.message import prepare
from tests.strategies import ATEXT, domains, mailboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from email.policy import Policy

    from smtpproto_adapters.message import Part

NOTHING = Extensions()
EIGHT_BIT = Extensions(["8BITMIME"])
UTF8 = Extensions(["8BITMIME", "SMTPUTF8"])


def plain(**headers: str) -> EmailMessage:
    """A message that nothing is special about but these header fields."""
    message = EmailMessage()
    for name, value in {"From": "a@x.example", "To": "b@x.example", **headers}.items():
        if value:
            message[name.replace("_", "-")] = value
    message.set_content("text\n")
    return message


def parsed(text: str | bytes, policy: Policy[Any] = default) -> Any:
    data = text if isinstance(text, bytes) else text.encode()
    return email.message_from_bytes(data, policy=policy)


def envelope_of(message: Part, extensions: Extensions = UTF8, **arguments: Any) -> tuple[str, tuple[str, ...]]:
    envelope, _ = prepare(message, extensions, **arguments)
    return envelope.sender, envelope.forward_paths


def content_of(message: Part, extensions: Extensions = NOTHING, **arguments: Any) -> bytes:
    _, content = prepare(message, extensions, **arguments)
    assert content.endswith(b"\r\n")
    assert content.replace(b"\r\n", b"").translate(None, b"\r\n\0") == content.replace(b"\r\n", b"")
    return content


def body_of(message: Part, extensions: Extensions = NOTHING) -> bytes:
    return content_of(message, extensions).partition(b"\r\n\r\n")[2]


def refused(message: Part, sentence: str, extensions: Extensions = NOTHING, **arguments: Any) -> None:
    with pytest.raises(LocalProtocolError, match=sentence):
        prepare(message, extensions, **arguments)


class Recorder(smtplib.SMTP):
    """smtplib, up to where it would send."""

    def __init__(self) -> None:
        super().__init__()
        self.esmtp_features = {"8bitmime": "", "smtputf8": ""}
        self.recorded: tuple[str, list[str], bytes, Sequence[str]] = ("", [], b"", ())

    def ehlo_or_helo_if_needed(self) -> None:
        """Nobody is connected."""

    def sendmail(self, from_addr: str, to_addrs: Any, msg: Any, mail_options: Any = (), rcpt_options: Any = ()) -> Any:
        self.recorded = from_addr, list(to_addrs), msg, mail_options


def by_smtplib(message: Part) -> tuple[str, list[str], bytes, Sequence[str]]:
    recorder = Recorder()
    recorder.send_message(message)
    return recorder.recorded


def terminated(content: bytes) -> bytes:
    """As smtplib's data() does it."""
    return content if content.endswith(b"\r\n") else content + b"\r\n"


# The same as smtplib ---------------------------------------------------------------------------------------------

# "From " at the beginning of a line, and what the email package itself does not write rightly, is for other tests.
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N"]) | st.sampled_from(" !#.-'"), max_size=30)
TEXTS = st.lists(WORDS, max_size=6).map(lambda lines: "\n".join(lines).replace("From", "") + "\n")
ASCII_MAILBOXES = mailboxes(ascii_only=True).map(Mailbox.parse).filter(lambda mailbox: mailbox.local_part != '""')
DOT_STRINGS = st.lists(st.text(st.sampled_from(ATEXT), min_size=1, max_size=5), min_size=1, max_size=3).map(".".join)
PLAIN_MAILBOXES = st.builds(Mailbox, DOT_STRINGS, domains(ascii_only=True))


def address(name: str, mailbox: Mailbox) -> Address:
    return Address(name.strip(), mailbox.unquoted, mailbox.domain)


def lists(of: st.SearchStrategy[Mailbox]) -> st.SearchStrategy[list[Address]]:
    return st.lists(st.builds(address, WORDS, of), min_size=1, max_size=4)


@st.composite
def messages(draw: st.DrawFn, of: st.SearchStrategy[Mailbox] = ASCII_MAILBOXES) -> EmailMessage:
    """Of all shapes that programs make."""
    message = EmailMessage()
    message["Subject"] = draw(WORDS)
    message["From"] = address(draw(WORDS), draw(of))
    message["To"] = draw(lists(of))
    if draw(st.booleans()):
        message["Cc"] = Group(draw(WORDS).strip() or "us", draw(lists(of)))
    if draw(st.booleans()):
        message["Bcc"] = draw(lists(of))
    message.set_content(draw(TEXTS))
    if draw(st.booleans()):
        message.add_alternative(draw(TEXTS), subtype="html", cte=draw(st.sampled_from([None, "base64"])))
    for _ in range(draw(st.integers(0, 2))):
        message.add_attachment(
            draw(st.binary(max_size=100)), maintype="image", subtype="png", filename=draw(WORDS).strip() or "x"
        )
    if draw(st.booleans()):
        attached = EmailMessage()
        attached["Subject"] = draw(WORDS)
        attached["Bcc"] = "hidden@x.example"
        attached.set_content(draw(TEXTS))
        message.add_attachment(attached)
    for number, part in enumerate(message.walk()):
        if part.get_content_maintype() == "multipart":
            part.set_boundary(f"=={number}==")
    return message


def canonical(mailbox: str) -> tuple[str, str]:
    found = Mailbox.parse(mailbox)
    return found.unquoted, found.domain.lower()


# smtplib drops quoted local parts with brackets in them, and address literals, and sends to "" instead.
@given(messages(PLAIN_MAILBOXES))
def test_the_envelope_and_the_octets_are_those_of_smtplib(message: EmailMessage) -> None:
    sender, recipients, octets, options = by_smtplib(message)
    envelope, content = prepare(message, UTF8)
    assert content == terminated(octets)
    assert canonical(envelope.sender) == canonical(sender)
    assert {*map(canonical, envelope.forward_paths)} == {*map(canonical, recipients)}
    assert (envelope.mail.smtputf8, options) == (False, ())
    assert (envelope.mail.body == "8BITMIME") is not content.isascii()


@given(WORDS, lists(PLAIN_MAILBOXES), TEXTS, st.sampled_from(["us-ascii", "utf-8", "iso-8859-1"]))
def test_the_same_for_legacy_messages(subject: str, to: list[Address], text: str, charset: str) -> None:
    message = MIMEMultipart(boundary="==")
    message["Subject"] = Header(subject, "utf-8")  # type: ignore[assignment]
    message["From"] = "a@x.example"
    message["To"] = ", ".join(f'"{number}, x" <{each.addr_spec}>' for number, each in enumerate(to))
    encodable = text.encode(charset, "replace").decode(charset)
    message.attach(MIMEText(encodable, "plain", charset))
    sender, recipients, octets, _ = by_smtplib(message)
    envelope, content = prepare(message, EIGHT_BIT)
    assert content == terminated(octets)
    assert canonical(envelope.sender) == canonical(sender)
    assert {*map(canonical, envelope.forward_paths)} == {*map(canonical, recipients)}


@pytest.mark.parametrize(
    "policy", [default, SMTP, SMTPUTF8, strict, compat32, default.clone(max_line_length=30, refold_source="all")]
)
def test_the_same_for_parsed_messages(policy: Policy[Any]) -> None:
    text = (
        "Received: from x.example\n\tby y.example; Mon, 23 Nov 2026 08:00:00 +0000\n"
        'From: "A. B." <a@x.example>\nTo: b@x.example,\n c@x.example (C)\nSubject: =?utf-8?q?=C3=A9?=\n'
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\npreamble\n--x\n\n" + "long " * 300 + "\n"
        "--x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\né\n--x--\nepilogue\n"
    )
    message = parsed(text, policy)
    sender, recipients, octets, _ = by_smtplib(message)
    envelope, content = prepare(message, EIGHT_BIT)
    assert (envelope.sender, [*envelope.forward_paths]) == (sender, recipients)
    if policy is not SMTPUTF8:  # smtplib writes UTF-8 into header fields, and does not ask for SMTPUTF8
        assert content == octets
    assert max(map(len, content.split(b"\r\n"))) > 998


def test_smtputf8_is_that_of_smtplib() -> None:
    message = plain(From="José <josé@exämple.example>", Subject="é")
    sender, recipients, octets, options = by_smtplib(message)
    envelope, content = prepare(message, UTF8)
    assert (envelope.sender, [*envelope.forward_paths], content) == (sender, recipients, octets)
    assert options == ("SMTPUTF8", "BODY=8BITMIME")
    assert (envelope.mail.smtputf8, envelope.mail.body) == (True, "8BITMIME")


# Properties ------------------------------------------------------------------------------------------------------


def shape(part: Part) -> Any:
    """The structure, and what is in it."""
    if part.is_multipart():
        payload: Any = part.get_payload()
        return part.get_content_type(), [shape(child) for child in payload]
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    lines = part.get_content_maintype() == "text"
    return part.get_content_type(), data.replace(b"\r\n", b"\n").rstrip() if lines else data


@given(messages(), st.sampled_from([NOTHING, EIGHT_BIT, UTF8]))
def test_what_is_sent_is_lines_and_means_what_was_given(message: EmailMessage, extensions: Extensions) -> None:
    expected, before = shape(message), message.as_bytes()
    content = content_of(message, extensions)
    again = parsed(content)
    assert shape(again) == expected
    assert "Bcc" not in again
    assert again["Subject"].split() == message["Subject"].split()
    if sys.version_info >= (3, 13):  # before it, the email package may lose a comma where it folds
        assert len(again["To"].addresses) == len(message["To"].addresses)
    assert content.isascii() or "8BITMIME" in extensions
    assert message.as_bytes() == before


@given(messages())
def test_everybody_is_in_the_envelope(message: EmailMessage) -> None:
    fields = [message[name] for name in ("To", "Cc", "Bcc") if name in message]
    expected = {(each.username, each.domain.lower()) for field in fields for each in field.addresses}
    sender, recipients = envelope_of(message)
    assert {*map(canonical, recipients)} == expected
    assert len(recipients) == len(expected)
    assert canonical(sender)[0] == message["From"].addresses[0].username


@given(messages())
def test_content_that_can_be_sent_as_8bit_is_the_same_message_as_7bit(message: EmailMessage) -> None:
    with_it, without = prepare(message, EIGHT_BIT), prepare(message, NOTHING)
    assert without[1].isascii()
    assert shape(parsed(with_it[1])) == shape(parsed(without[1]))
    assert with_it[0].forward_paths == without[0].forward_paths
    assert without[0].mail.body is None


@given(st.binary(max_size=300), st.sampled_from(["8bit", "binary", "7bit", ""]), st.sampled_from(["text", "image"]))
def test_octets_of_a_part_arrive_as_they_are_whatever_the_server_takes(data: bytes, cte: str, maintype: str) -> None:
    header = f"Content-Type: {maintype}/x\n" + (f"Content-Transfer-Encoding: {cte}\n" if cte else "")
    for policy in (default, compat32):
        message = parsed(b"From: a@x.example\nTo: b@x.example\n" + header.encode() + b"\n" + data, policy)
        for extensions in (NOTHING, EIGHT_BIT):
            content = content_of(message, extensions)
            arrived = parsed(content).get_payload(decode=True)
            if cte == "binary":
                assert arrived == data
            else:
                lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
                assert arrived.removesuffix(b"\r\n") == lines.removesuffix(b"\r\n")


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_header_field_of_any_message_becomes_two(name: str, value: str) -> None:
    message = Message()
    message["From"] = "a@x.example"
    message["To"] = "b@x.example"
    message[name] = value
    message.set_payload("text\n")
    try:
        _, content = prepare(message, EIGHT_BIT)
    except LocalProtocolError:
        return
    assert len([*parsed(content).raw_items()]) == (2 if name.lower() == "bcc" else 3)


# The sender ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5322", "3.6.2")
def test_sender_comes_before_from() -> None:
    assert envelope_of(plain(Sender="s@x.example"))[0] == "s@x.example"
    assert envelope_of(plain(From="a@x.example, c@x.example"))[0] == "a@x.example"


@pytest.mark.rfc("5321", "4.5.5")
def test_what_the_program_says_comes_before_the_headers() -> None:
    message = plain(From="garbage", To="garbage")
    found = envelope_of(message, sender="", recipients=["c@x.example", "c@x.example"])
    assert found == ("", ("c@x.example", "c@x.example"))  # as often as it was said
    assert envelope_of(plain(), recipients="c@x.example")[1] == ("c@x.example",)
    envelope, _ = prepare(
        plain(),
        UTF8,
        sender=Mail("m@x.example", ret="HDRS"),
        recipients=[Rcpt("c@x.example", notify=["NEVER"]), Mailbox("d", "x.example")],
        envid="1",
    )
    assert envelope.mail == Mail("m@x.example", ret="HDRS", envid="1")
    assert envelope.recipients == (Rcpt("c@x.example", notify=["NEVER"]), Rcpt("d@x.example"))


@pytest.mark.parametrize("name", ["From", "Sender"])
@pytest.mark.parametrize("value", ["nobody:;", "<>", "A <>", "garbage", "a b@x.example", "a@x.example <c@x.example>"])
def test_a_sender_that_cannot_be_used_is_refused(name: str, value: str) -> None:
    refused(plain(**{name: value}), rf"{name}\b.*sender=")


def test_a_message_without_a_sender_is_refused() -> None:
    refused(plain(From=""), "no address in From.*sender=")


# The recipients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("c@x.example", ["c@x.example"]),
        ('"C, D" <c@x.example>, E <e@x.example>', ["c@x.example", "e@x.example"]),
        ('us: c@x.example, "D" <d@x.example>;, e@x.example', ["c@x.example", "d@x.example", "e@x.example"]),
        ("(C) c (c) @ (c) x.example (c, d@x.example)", ["c@x.example"]),
        ("=?utf-8?q?C=2C_d=40x=2Eexample?= <c@x.example>", ["c@x.example"]),
        ("=?utf-8?q?C?=<c@x.example>", ["c@x.example"]),
        ('"=?utf-8?q?C?=" <c@x.example>', ["c@x.example"]),
        ("C. D. <c@x.example>", ["c@x.example"]),
        ("<@relay.example:c@x.example>", ["c@x.example"]),
        (r'"c \"d\""@x.example', [r'"c \"d\""@x.example']),
        ('"c..d"@x.example', ['"c..d"@x.example']),
        ('"c@y.example"@x.example', ['"c@y.example"@x.example']),
        ('""@x.example', ['""@x.example']),
        ("c@[192.0.2.1], c@[IPv6:2001:db8::1]", ["c@[192.0.2.1]", "c@[IPv6:2001:db8::1]"]),
        ("undisclosed-recipients:;", []),
        ("undisclosed-recipients:", []),
        ("c@x.example,", ["c@x.example"]),
        ("c@x.example,\n\td@x.example", ["c@x.example", "d@x.example"]),
        ("José <josé@exämple.example>", ["josé@exämple.example"]),
    ],
)
@pytest.mark.rfc("5322", "3.4")
def test_addresses_of_header_fields(value: str, expected: list[str]) -> None:
    for policy in (default, compat32):
        message = parsed(f"From: a@x.example\nTo: {value}\nBcc: z@x.example\n\n", policy)
        assert envelope_of(message)[1] == (*expected, "z@x.example")
    if "\n" not in value:
        assert envelope_of(plain(To=value, Bcc="z@x.example"))[1] == (*expected, "z@x.example")


@pytest.mark.parametrize(
    "value",
    [
        "c@x.example <d@x.example>",
        "c@x.example)d@x.example",
        "c@x.example;d@x.example",
        "c@x.example d@x.example",
        "c@x.example>",
        "<<c@x.example>>",
        '"c <c@x.example>',
        "c.@x.example",
        "c@x.example.",
        "c@x_y.example",
        "c@",
        "root",
        "<>",
        "c@[192.0.2.256]",
        "c" * 65 + "@x.example",
        "(" * 5000,
        "c\u3002d@x\u3002example",
    ],
)
def test_what_is_no_list_of_addresses_is_refused_with_all_that_is_in_it(value: str) -> None:
    for policy in (default, compat32):
        message = parsed(f"From: a@x.example\nTo: b@x.example\nCc: d@x.example, {value}\n\n", policy)
        refused(message, r"the header field Cc\b", UTF8)


def test_octets_that_are_no_utf8_are_no_address() -> None:
    refused(parsed(b"From: a@x.example\nTo: \xe9@x.example\n\n"), "the header field To:.*surrogate", UTF8)


@pytest.mark.rfc("5321", "2.4")
def test_each_address_comes_once_by_a_case_blind_domain() -> None:
    message = plain(To="b@x.example, B@x.example", Cc='c@x.example, "b"@X.example', Bcc="c@x.Example, d@x.example")
    expected = ("b@x.example", "B@x.example", "c@x.example", "d@x.example")
    assert envelope_of(message)[1] == expected
    # smtplib names each as often as it is there.  Servers differ in whether the message then arrives once.
    assert len(by_smtplib(message)[1]) == 6


def test_all_fields_of_a_name_count() -> None:
    message = Message()
    for name, value in [("From", "a@x.example"), ("To", "b@x.example"), ("to", "c@x.example"), ("Cc", "")]:
        message[name] = value
    assert envelope_of(message)[1] == ("b@x.example", "c@x.example")
    assert "c@x.example" not in by_smtplib(message)[1]  # smtplib reads the first of them, and no more


def test_a_message_without_recipients_is_refused() -> None:
    refused(plain(To="", Cc="us:;"), "no address in To, Cc, Bcc: name its recipients=")
    refused(plain(), "without a recipient", recipients=[])


def test_addresses_are_checked_by_the_engine() -> None:
    message = EmailMessage()
    message["From"] = Address("A", "a", "x.example")
    message["To"] = Address("B", "b", "x.example> NOTIFY=NEVER")
    refused(message, "the header field To")
    refused(plain(), "no mailbox", sender="a@x.example> SIZE=0")
    refused(plain(), "no mailbox", recipients=["B <b@x.example>"])


def test_what_is_no_message_is_refused() -> None:
    not_one: Any = b"Subject: x\r\n\r\n"
    refused(not_one, "a bytes is no email message")


# Bcc, and messages that were resent ------------------------------------------------------------------------------


def test_bcc_is_not_sent() -> None:
    for message in (plain(Bcc="z@x.example", Resent_Bcc=""), parsed(plain(Bcc="z@x.example").as_bytes(), compat32)):
        assert b"z@x.example" not in content_of(message)
        assert message["Bcc"] == "z@x.example"


@pytest.mark.rfc("5322", "3.6.6")
def test_the_envelope_of_a_message_that_was_resent() -> None:
    resent = {"Resent_Date": "Mon, 23 Nov 2026 08:00:00 +0000", "Resent_From": "r@x.example"}
    message = plain(**resent, Resent_To="s@x.example", Resent_Bcc="t@x.example", Bcc="z@x.example")
    assert envelope_of(message) == ("r@x.example", ("s@x.example", "t@x.example"))
    sender, recipients, octets, _ = by_smtplib(message)
    assert (sender, recipients) == ("r@x.example", ["s@x.example", "t@x.example"])
    assert content_of(message) == octets
    assert b"bcc" not in octets.lower()
    assert envelope_of(plain(**resent, Resent_To="s@x.example", Resent_Sender="q@x.example"))[0] == "q@x.example"
    refused(plain(**resent), "no address in Resent-To, Resent-Cc, Resent-Bcc")


def test_a_block_without_its_date_counts_too() -> None:
    # smtplib sends it to those who have it already.
    message = plain(Resent_From="r@x.example", Resent_To="s@x.example")
    assert envelope_of(message) == ("r@x.example", ("s@x.example",))
    assert by_smtplib(message)[1] == ["b@x.example"]


def test_a_message_that_was_resent_twice_is_refused_unless_nothing_hangs_on_it() -> None:
    message = parsed(
        "Resent-Date: Mon, 23 Nov 2026 08:00:00 +0000\nResent-To: s@x.example\n"
        "Resent-Date: Sun, 22 Nov 2026 08:00:00 +0000\nResent-To: t@x.example\nFrom: a@x.example\n\n"
    )
    refused(message, "resent more than once, as it has several Resent-Date.*sender= and recipients=")
    refused(message, "resent more than once", sender="a@x.example")
    with pytest.raises(ValueError, match="more than one"):
        by_smtplib(message)
    assert envelope_of(message, sender="a@x.example", recipients="b@x.example")[1] == ("b@x.example",)


# Header fields ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2047", "5")
def test_text_in_header_fields_needs_no_smtputf8() -> None:
    message = plain(From="José <a@x.example>", Subject="é" * 100)
    for extensions in (NOTHING, EIGHT_BIT, UTF8):
        envelope, content = prepare(message, extensions)
        assert (envelope.mail, content.isascii()) == (Mail("a@x.example"), True)
        assert parsed(content)["From"] == "José <a@x.example>"
        assert parsed(content)["Subject"] == "é" * 100


@pytest.mark.parametrize("policy", [default, compat32, SMTPUTF8])
@pytest.mark.parametrize("extensions", [NOTHING, EIGHT_BIT, UTF8])
def test_octets_in_header_fields_become_encoded_words(policy: Policy[Any], extensions: Extensions) -> None:
    text = "From: José <a@x.example>\nTo: b@x.example\nSubject: é\nContent-Type: text/plain; name=é\n\ntext\n"
    envelope, content = prepare(parsed(text, policy), extensions)
    assert (envelope.mail, content.isascii()) == (Mail("a@x.example"), True)
    found = parsed(content)
    assert (found["From"], found["Subject"]) == ("José <a@x.example>", "é")
    assert found.get_param("name") in ("é", ("utf-8", "", "é"))
    # smtplib sends header fields of a legacy message as they came, without a word about it to the server.
    if policy is compat32:
        assert not by_smtplib(parsed(text, policy))[2].isascii()


def test_names_in_a_legacy_message_are_encoded_without_their_addresses() -> None:
    message = Message()
    message["From"] = "José <a@x.example>"
    message["To"] = Header("Zoë <b@x.example>", "utf-8")  # type: ignore[assignment]
    message.set_payload("text\n")
    content = content_of(message)
    assert b"<a@x.example>" in content
    assert b"<b@x.example>" in content
    assert b"x.example" not in by_smtplib(message)[2].partition(b"To:")[0]  # smtplib makes one encoded word of it


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\r\n\r\n", "\n\n "])
def test_a_header_field_cannot_make_another(line_end: str) -> None:
    message = Message()
    message["From"] = "a@x.example"
    message["To"] = "b@x.example"
    message["Subject"] = f"a{line_end}Bcc: z@x.example"
    refused(message, "the header field Subject breaks out of its line", EIGHT_BIT)
    outer: Any = plain()
    outer.make_mixed()
    outer.attach(message)
    refused(outer, "the header field Subject breaks out of its line", EIGHT_BIT)
    named = Message()
    named["From"] = "a@x.example"
    named["To"] = "b@x.example"
    named[f"X{line_end}Bcc"] = "z@x.example"
    refused(named, "cannot be the name of a header field", EIGHT_BIT)


def test_a_line_end_of_unicode_is_encoded() -> None:
    message = Message()
    message["From"] = "a@x.example"
    message["To"] = "b@x.example"
    message["Subject"] = "a\u2028Bcc: z@x.example"
    assert parsed(content_of(message)).keys() == ["From", "To", "Subject"]


def test_a_line_end_at_the_end_of_a_field_is_taken_out() -> None:
    message = Message()
    message["From"] = "a@x.example"
    message["To"] = "b@x.example"
    message["Subject"] = "text\n"
    assert parsed(content_of(message)).items() == [("From", "a@x.example"), ("To", "b@x.example"), ("Subject", "text")]


def test_what_the_generator_does_behind_our_back_is_found() -> None:
    class Careless(type(default)):  # type: ignore[misc]
        def fold_binary(self, name: str, value: Any) -> bytes:
            folded: bytes = super().fold_binary(name, value)
            return folded + (b"Bcc: z@x.example\r\n" if name == "Subject" else b"")

    message = plain(Subject="x")
    message.policy = Careless()
    refused(message, "breaks out of its line")


def test_policies_of_programs_are_kept() -> None:
    subject = "word " * 15
    message = EmailMessage(policy=default.clone(max_line_length=40))
    message["From"], message["To"], message["Subject"] = "a@x.example", "b@x.example", subject
    message.set_content("x\n")
    assert b"\r\n word" in content_of(message)
    seven_bit = EmailMessage(policy=default.clone(cte_type="7bit"))
    seven_bit["From"], seven_bit["To"] = "a@x.example", "b@x.example"
    seven_bit.set_content("é\n", cte="8bit")
    assert content_of(seven_bit, EIGHT_BIT).isascii()


def test_a_header_without_any_field_and_a_message_without_a_body() -> None:
    assert content_of(EmailMessage(), sender="", recipients="b@x.example") == b"\r\n"
    assert content_of(parsed("\ntext"), sender="", recipients="b@x.example") == b"\r\ntext\r\n"


# Content ---------------------------------------------------------------------------------------------------------


def test_lines_that_begin_with_from_are_not_changed() -> None:
    message = plain()
    message.set_content("From here\n")
    assert body_of(message) == b"From here\r\n"
    legacy = Message()
    legacy["From"], legacy["To"] = "a@x.example", "b@x.example"
    legacy.set_payload("From here\n")
    assert body_of(legacy) == b"From here\r\n"
    assert by_smtplib(message)[2].endswith(b">From here\r\n")  # which no mailbox file asked smtplib for


@pytest.mark.rfc("6152", "3")
def test_8bit_content_is_sent_as_such_only_where_it_may_be() -> None:
    message = plain()
    message.set_content("é\n")
    envelope, content = prepare(message, EIGHT_BIT)
    assert (envelope.mail.body, content.endswith("é\r\n".encode())) == ("8BITMIME", True)
    envelope, content = prepare(message, NOTHING)
    assert (envelope.mail.body, content.isascii()) == (None, True)
    assert parsed(content).get_content() == "é\r\n"
    assert not by_smtplib(message)[2].isascii()  # smtplib: in either case, and without BODY=8BITMIME
    envelope, content = prepare(message, EIGHT_BIT, body="7BIT")
    assert (envelope.mail.body, content.isascii()) == ("7BIT", True)


def test_what_the_program_says_of_the_body_is_kept() -> None:
    envelope, _ = prepare(plain(), EIGHT_BIT, body="BINARYMIME")
    assert envelope.mail.body == "BINARYMIME"
    assert prepare(plain(), EIGHT_BIT)[0].mail.body is None


@pytest.mark.parametrize(
    ("header", "body", "encoding"),
    [
        ("Content-Type: text/plain; charset=utf-8", "mostly ASCII, é\n", "quoted-printable"),
        ("Content-Type: text/plain; charset=utf-8", "éééééééééé\n", "base64"),
        ("Content-Type: text/plain; charset=nonsense", "mostly ASCII, é\n", "quoted-printable"),
        ("Content-Type: text/plain", "mostly ASCII, é\n", "quoted-printable"),
        ("X-No: type", "mostly ASCII, é\n", "quoted-printable"),
        ("Content-Type: application/x; charset=utf-8", "mostly ASCII, é\n", "base64"),
    ],
)
@pytest.mark.rfc("2045", "6")
def test_parts_are_encoded_without_regard_to_their_charset(header: str, body: str, encoding: str) -> None:
    # The generator leaves them 8-bit where it knows no charset, whatever cte_type says.
    for policy in (default, compat32):
        for cte in ("", "Content-Transfer-Encoding: 8bit\n"):
            message = parsed(f"From: a@x.example\nTo: b@x.example\n{header}\n{cte}\n{body}", policy)
            found = parsed(content_of(message))
            assert found["Content-Transfer-Encoding"] == encoding
            assert found["MIME-Version"] == "1.0"
            assert found.get_payload(decode=True) == body.replace("\n", "\r\n").encode()


def nested(cte: str, policy: Policy[Any] = default) -> Any:
    """An 8-bit part in a message that is attached to a message."""
    return parsed(
        "From: a@x.example\nTo: b@x.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n"
        f"Content-Transfer-Encoding: {cte}\n\n--x\nContent-Type: message/rfc822\nContent-Transfer-Encoding: {cte}\n\n"
        "Bcc: q@x.example\nContent-Type: multipart/alternative; boundary=y\n\n--y\n"
        f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {cte}\n\nmostly ASCII, é\n--y\n\n"
        "ASCII\n--y--\n\n--x--\n",
        policy,
    )


@pytest.mark.parametrize("policy", [default, compat32])
@pytest.mark.parametrize("extensions", [NOTHING, EIGHT_BIT])
@pytest.mark.parametrize("cte", ["8bit", "binary"])
def test_nested_parts(policy: Policy[Any], extensions: Extensions, cte: str) -> None:
    message = nested(cte, policy)
    before = message.as_bytes()
    content = content_of(message, extensions)
    found = [*parsed(content).walk()]
    encodings = [str(part.get("Content-Transfer-Encoding")) for part in found]
    if extensions is NOTHING:
        # RFC 2045 section 6.4: what holds it must not promise more than is in it.
        outer = "7bit"
        assert content.isascii()
    else:
        outer = "8bit"
    leaf = "base64" if cte == "binary" else "8bit" if extensions is EIGHT_BIT else "quoted-printable"
    assert encodings == [outer, outer, "None", leaf, "None"]
    assert found[3].get_content().rstrip() == "mostly ASCII, é"
    versions = [part["MIME-Version"] for part in found]
    assert versions == ["1.0", None, None, None, None]  # only what is encoded itself, and is a message, needs it
    assert found[2]["Bcc"] == "q@x.example"  # which is content
    assert message.as_bytes() == before


@pytest.mark.rfc("2045", "2.9")
def test_binary_parts_keep_each_octet() -> None:
    message = plain()
    data = b"\0a\rb\nc\r\n\xff"
    message.add_attachment(data, maintype="application", subtype="x", cte="8bit")
    message.add_attachment(data, maintype="application", subtype="x", cte="binary")
    for extensions in (NOTHING, EIGHT_BIT):
        _, lines, binary = parsed(content_of(message, extensions)).iter_parts()
        assert binary.get_content() == data
        assert lines.get_content() == b"\0a\r\nb\r\nc\r\n\xff"  # what 8bit promises


def test_nul_in_text_is_encoded() -> None:
    message = plain()
    message.set_content("a\0b\n")
    assert body_of(message, EIGHT_BIT) == b"a=00b\r\n"


@pytest.mark.parametrize("length", [78, 79, 998, 999, 5000])
@pytest.mark.parametrize("letter", ["x", "é"])
@pytest.mark.rfc("5321", "4.5.3.1.6")
def test_lines_of_set_content_are_never_too_long(length: int, letter: str) -> None:
    message = plain(Subject=letter * length)
    message.set_content(letter * length + "\n")
    for extensions in (NOTHING, EIGHT_BIT):
        content = content_of(message, extensions)
        assert max(map(len, content.split(b"\r\n"))) <= 998
        assert parsed(content).get_content() in (letter * length + "\n", letter * length + "\r\n")


def test_an_attached_message_that_is_encoded_becomes_one_of_mime() -> None:
    text = "From: a@x.example\nTo: b@x.example\nContent-Type: message/rfc822\n\nSubject: x\n\né\n"
    found = parsed(content_of(parsed(text)))
    assert [part["MIME-Version"] for part in found.walk()] == [None, "1.0"]


def test_quoted_printable_with_8bit_octets_is_encoded_anew() -> None:
    text = b"From: a@x.example\nTo: b@x.example\nContent-Transfer-Encoding: quoted-printable\n\n=3D\xe9\n"
    assert parsed(content_of(parsed(text))).get_payload(decode=True) == b"=\xe9\n"


def test_text_without_a_charset_is_refused() -> None:
    message = Message()
    message["From"], message["To"] = "a@x.example", "b@x.example"
    message.set_payload("é")
    refused(message, "no charset for it: give one to set_payload", EIGHT_BIT)


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Type: multipart/mixed; boundary=x\n\n\xe9\n--x\n\ntext\n--x--\n",
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\ntext\n--x--\n\xe9\n",
    ],
)
def test_8bit_octets_that_cannot_be_encoded_are_refused(body: bytes) -> None:
    message = parsed(b"From: a@x.example\nTo: b@x.example\n" + body)
    refused(message, "octets above 127 outside of what can be encoded")
    assert prepare(message, EIGHT_BIT)[0].mail.body == "8BITMIME"
    refused(parsed(b"From: a@x.example\nTo: b@x.example\n" + body.replace(b"\xe9", b"\0")), "a NUL outside", EIGHT_BIT)


def test_what_the_email_package_cannot_do_is_said() -> None:
    message = plain()
    no_part: Any = 5
    message.set_payload([no_part])
    refused(message, "the message cannot be copied: AttributeError")
    legacy = Message()
    legacy["From"], legacy["To"] = "a@x.example", "b@x.example"
    number: Any = 5
    legacy.set_payload(number)
    refused(legacy, "the message cannot be written: AttributeError")
    refused(parsed(b"To: b@x.example\nFrom: a@x.example\nContent-Type: multipart/x\n\n\xe9"), "cannot be written")


# Signed ----------------------------------------------------------------------------------------------------------

SIGNED = (
    "From: a@x.example\nTo: b@x.example\nSubject: x\nMIME-Version: 1.0\n"
    'Content-Type: multipart/signed; boundary=x; protocol="application/pgp-signature"\n\n--x\n{part}\n--x\n'
    "Content-Type: application/pgp-signature\n\nsignature\n--x--\n"
)
LONG = "X-Long: " + "word " * 40


@pytest.mark.parametrize("policy", [default, compat32])
@pytest.mark.parametrize("extensions", [NOTHING, EIGHT_BIT])
@pytest.mark.rfc("1847", "2.1")
def test_what_is_signed_is_not_changed(policy: Policy[Any], extensions: Extensions) -> None:
    part = f"Content-Type: text/plain;   charset=utf-8\n{LONG}\nContent-Transfer-Encoding: 8bit\n\nFrom \t \n.\nx"
    content = content_of(parsed(SIGNED.format(part=part), policy), extensions)
    assert part.replace("\n", "\r\n").encode() in content
    if extensions is EIGHT_BIT:
        part += "é"
        content = content_of(parsed(SIGNED.format(part=part), policy), extensions)
        assert part.replace("\n", "\r\n").encode() in content


@pytest.mark.parametrize("policy", [default, compat32])
@pytest.mark.rfc("1847", "2.1")
def test_what_is_signed_and_cannot_be_sent_is_refused(policy: Policy[Any]) -> None:
    text = SIGNED.format(part="Content-Type: text/plain; charset=utf-8\n\né\n")
    refused(parsed(text, policy), "multipart/signed is 8-bit or binary.*break the signature")
    outer = plain()
    outer.add_attachment(parsed(text, default))
    refused(outer, "multipart/signed is 8-bit or binary.*break the signature")
    assert "é".encode() in content_of(parsed(text, policy), EIGHT_BIT)
    text = SIGNED.format(part="Content-Type: text/plain\nContent-Transfer-Encoding: binary\n\nx\n")
    refused(parsed(text, policy), "multipart/signed is 8-bit or binary", EIGHT_BIT)
    text = SIGNED.format(part="Content-Type: text/plain\nContent-Description: é\n\nx\n")
    refused(parsed(text, policy), "multipart/signed has a header field that is not ASCII", EIGHT_BIT)


@pytest.mark.parametrize("policy", [default, compat32])
@pytest.mark.rfc("1847", "2.1")
def test_what_is_deep_within_what_is_signed_is_refused_too(policy: Policy[Any]) -> None:
    inner = "Content-Type: multipart/mixed; boundary=y\n\n--y\n{}\n--y--"
    message = parsed(SIGNED.format(part=inner.format("X: x\n\né")), policy)
    refused(message, "multipart/signed is 8-bit or binary")
    message = parsed(SIGNED.format(part=inner.format("X: é\n\nx")), policy)
    refused(message, "multipart/signed has a header field that is not ASCII", EIGHT_BIT)


def test_the_header_fields_of_a_signed_message_itself_are_encoded() -> None:
    text = SIGNED.format(part="\nx\n").replace("Subject: x", "Subject: é")
    assert parsed(content_of(parsed(text)))["Subject"] == "é"


# SMTPUTF8 --------------------------------------------------------------------------------------------------------


def idna(domain: str) -> bytes:
    return domain.encode("idna")


INTERNATIONAL: dict[str, Callable[[], Any]] = {
    "EmailMessage": lambda: plain(From="José <jose@exämple.example>", Subject="é"),
    "parsed": lambda: parsed("From: José <jose@exämple.example>\nTo: b@x.example\nSubject: é\n\ntext\n"),
    "legacy": lambda: parsed("From: José <jose@exämple.example>\nTo: b@x.example\nSubject: é\n\ntext\n", compat32),
}


@pytest.mark.parametrize("kind", INTERNATIONAL)
@pytest.mark.rfc("6531", "3.4")
@pytest.mark.rfc("6531", "3.2")
def test_an_address_that_is_not_ascii_needs_smtputf8(kind: str) -> None:
    message = INTERNATIONAL[kind]()
    envelope, content = prepare(message, UTF8)
    assert envelope.mail == Mail("jose@exämple.example", smtputf8=True, body="8BITMIME")
    assert "From: José <jose@exämple.example>\r\n".encode() in content
    assert "Subject: é\r\n".encode() in content
    for extensions in (NOTHING, EIGHT_BIT, Extensions(["SMTPUTF8"])):
        refused(message, "jose@exämple.example is not ASCII: it needs SMTPUTF8.*encode_domain=", extensions)


@pytest.mark.parametrize("kind", INTERNATIONAL)
@pytest.mark.rfc("6531", "3.2")
def test_domains_can_be_encoded_for_a_server_without_it(kind: str) -> None:
    message = INTERNATIONAL[kind]()
    before = message.as_bytes()
    message["Cc"] = "Zoë <zoe@exämple.example>, us:;"
    message["Reply-To"] = "plain@x.example, q@exämple.example"
    recipients: list[str | Rcpt] = [Rcpt("r@exämple.example", notify=["NEVER"]), "b@x.example"]
    for extensions in (NOTHING, EIGHT_BIT):
        envelope, content = prepare(message, extensions, recipients=recipients, encode_domain=idna, ret="HDRS")
        assert envelope.mail == Mail("jose@xn--exmple-cua.example", ret="HDRS")
        assert envelope.recipients[0] == Rcpt("r@xn--exmple-cua.example", notify=["NEVER"])
        assert content.isascii()
        found = parsed(content)
        assert found["From"] == "José <jose@xn--exmple-cua.example>"
        assert found["Cc"] == "Zoë <zoe@xn--exmple-cua.example>, us:;"
        assert found["Reply-To"] == "plain@x.example, q@xn--exmple-cua.example"
        assert found["Subject"] == "é"
    assert prepare(message, UTF8, encode_domain=idna)[0].mail.smtputf8
    del message["Cc"], message["Reply-To"]
    assert message.as_bytes() == before


def test_a_local_part_has_no_ascii_form() -> None:
    refused(plain(From="josé@exämple.example"), "local part of josé@.* SMTPUTF8", encode_domain=idna)
    refused(plain(Reply_To="josé@exämple.example"), "local part of josé@.* SMTPUTF8", encode_domain=idna)

    def failing(domain: str) -> bytes:
        raise ValueError("no such label")

    refused(plain(From="a@exämple.example"), "no ASCII form: no such label", encode_domain=failing)


def test_an_address_in_any_header_field_counts() -> None:
    message = plain(Reply_To="josé@x.example")
    envelope, content = prepare(message, UTF8)
    assert envelope.mail.smtputf8
    assert "Reply-To: josé@x.example\r\n".encode() in content
    refused(message, "an address in Reply-To is not ASCII: it needs SMTPUTF8", EIGHT_BIT)
    refused(plain(To="josé@x.example"), "the address josé@x.example is not ASCII", EIGHT_BIT)
    outer = plain()
    outer.add_attachment(message)
    refused(outer, "an address in Reply-To is not ASCII", EIGHT_BIT)
    assert not prepare(plain(Bcc="b@x.example"), UTF8)[0].mail.smtputf8


def test_a_recipient_that_is_not_ascii_and_is_in_no_header() -> None:
    envelope, _ = prepare(plain(), UTF8, recipients=["josé@x.example"])
    assert (envelope.mail.smtputf8, envelope.mail.body) == (True, None)


def test_smtputf8_where_the_program_wants_it() -> None:
    message = plain(Subject="é")
    envelope, content = prepare(message, UTF8, smtputf8=True)
    assert (envelope.mail.smtputf8, "Subject: é\r\n".encode() in content) == (True, True)
    refused(message, "smtputf8=True, but the server does not offer SMTPUTF8", EIGHT_BIT, smtputf8=True)
    refused(message, "octets above 127", UTF8, smtputf8=True, body="7BIT")


def test_smtputf8_leaves_encoded_words_of_a_legacy_message() -> None:
    message = Message()
    message["From"], message["To"] = "josé@x.example", "b@x.example"
    message["Subject"] = Header("é", "utf-8")  # type: ignore[assignment]
    message["X-Text"] = "=?utf-8?q?=C3=A9?="
    message.set_payload("text\n")
    content = content_of(message, UTF8)
    assert "From: josé@x.example\r\n".encode() in content
    assert "Subject: é\r\n".encode() in content
    assert b"X-Text: =?utf-8?q?=C3=A9?=\r\n" in content
