"""The envelope of a message."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.addresses import Mailbox
from smtpproto.commands import Mail, Rcpt
from smtpproto.envelope import Envelope
from smtpproto.errors import LocalProtocolError
from tests.strategies import any_texts, mailboxes, mails, rcpts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PLAIN = Envelope("a@x.example", ["b@y.example", "c@y.example"])


def test_a_sender_and_recipients_in_order() -> None:
    assert PLAIN.mail == Mail("a@x.example")
    assert PLAIN.recipients == (Rcpt("b@y.example"), Rcpt("c@y.example"))
    assert (PLAIN.sender, PLAIN.forward_paths) == ("a@x.example", ("b@y.example", "c@y.example"))
    assert Envelope("a@x.example", ["b@y.example"] * 2).forward_paths == ("b@y.example",) * 2


@pytest.mark.parametrize(
    "recipients",
    [
        "b@y.example",
        Mailbox("b", "y.example"),
        Rcpt("b@y.example"),
        ["b@y.example"],
        (Mailbox("b", "y.example"),),
        {"b@y.example": 1},
    ],
)
def test_recipients_in_whatever_form(recipients: Any) -> None:
    assert Envelope("a@x.example", recipients).recipients == (Rcpt("b@y.example"),)


def test_recipients_that_are_made_one_by_one() -> None:
    recipients: Any = (each for each in [Rcpt("b@y.example"), "c@y.example"])
    assert Envelope("a@x.example", recipients).recipients == (Rcpt("b@y.example"), Rcpt("c@y.example"))


@pytest.mark.parametrize("sender", ["a@x.example", Mailbox("a", "x.example"), Mail("a@x.example")])
def test_a_sender_in_whatever_form(sender: str | Mailbox | Mail) -> None:
    assert Envelope(sender, "b@y.example").mail == Mail("a@x.example")


@pytest.mark.rfc("5321", "4.5.5")
def test_the_null_reverse_path() -> None:
    assert Envelope("", "b@y.example").sender == ""


@pytest.mark.rfc("5321", "4.1.1.11")
def test_parameters_of_mail() -> None:
    asked = Envelope("a@x.example", "b@y.example", size=5, body="8BITMIME", envid="x")
    assert asked.mail == Mail("a@x.example", size=5, body="8BITMIME", envid="x")
    over = Envelope(Mail("a@x.example", size=5, ret="FULL"), "b@y.example", size=6)
    assert over.mail == Mail("a@x.example", size=6, ret="FULL")
    given_mail = Mail("a@x.example", size=5)
    assert Envelope(given_mail, "b@y.example").mail is given_mail


def test_the_same_with_other_parameters() -> None:
    other = PLAIN.with_mail(size=7)
    assert (other.mail, other.recipients) == (Mail("a@x.example", size=7), PLAIN.recipients)
    assert PLAIN.mail.size is None
    assert other.with_mail(body="8BITMIME").mail == Mail("a@x.example", size=7, body="8BITMIME")
    assert PLAIN.with_mail() == PLAIN


@given(mails(), rcpts(), st.integers(0, 999))
def test_other_parameters_leave_the_rest_alone(mail: Mail, rcpt: Rcpt, size: int) -> None:
    other = Envelope(mail, rcpt).with_mail(size=size)
    assert (other.mail.size, other.recipients) == (size, (rcpt,))
    for name in Mail.__match_args__:
        if name != "size":
            assert getattr(other.mail, name) == getattr(mail, name)


@pytest.mark.parametrize(
    ("sender", "recipients", "needed"),
    [
        ("a@x.example", ["b@y.example"], False),
        ("\u00fc@x.example", ["b@y.example"], True),
        (Mailbox("\u00fc", "x.example"), ["b@y.example"], True),
        ("a@x.example", ["b@y.example", "b@\u00fc.example"], True),
        ("a@x.example", Mailbox("b", "\u00fc.example"), True),
        ("", [Rcpt("\u00fc@y.example")], True),
    ],
)
@pytest.mark.rfc("6531", "3.4")
def test_smtputf8_is_asked_for_by_itself(sender: str | Mailbox, recipients: Any, needed: bool) -> None:
    assert Envelope(sender, recipients).mail.smtputf8 is needed
    assert Envelope(sender, recipients, smtputf8=True).mail.smtputf8 is True
    assert Envelope(sender, recipients, size=3).with_mail(size=4).mail.smtputf8 is needed


@pytest.mark.rfc("6531", "3.4")
def test_a_program_that_says_mail_itself_says_smtputf8_itself() -> None:
    assert Envelope(Mail("a@x.example"), "\u00fc@y.example").mail.smtputf8 is False
    assert Envelope("a@x.example", "\u00fc@y.example", smtputf8=False).mail.smtputf8 is False
    with pytest.raises(LocalProtocolError, match="smtputf8=True"):
        Envelope("\u00fc@x.example", "b@y.example", smtputf8=False)


@pytest.mark.parametrize("recipients", [[], (), {}, iter(())])
@pytest.mark.rfc("5321", "3.3")
def test_somebody_must_get_it(recipients: Iterable[str]) -> None:
    with pytest.raises(LocalProtocolError, match="without a recipient"):
        Envelope("a@x.example", recipients)


NOTHING: Any = None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Envelope("a", "b@y.example"),
        lambda: Envelope("a@x.example", "b"),
        lambda: Envelope("a@x.example", ""),
        lambda: Envelope("a@x.example", ["b@y.example", "c@y.example, d@y.example"]),
        lambda: Envelope("a@x.example", "b@y.example", size=-1),
        lambda: Envelope(Mail("a@x.example"), "b@y.example", body="NINEBIT"),
        lambda: Envelope(NOTHING, "b@y.example"),
        lambda: Envelope("a@x.example", [NOTHING]),
    ],
)
def test_what_its_parts_refuse(make: Callable[[], object]) -> None:
    with pytest.raises(LocalProtocolError):
        make()


@given(any_texts() | mailboxes(), any_texts() | mailboxes())
@pytest.mark.rfc("5321", "4.1.1.2")
@pytest.mark.rfc("5321", "4.1.1.3")
def test_no_text_makes_a_second_command(sender: str, recipient: str) -> None:
    try:
        envelope = Envelope(sender, recipient)
    except LocalProtocolError:
        return
    for command in (envelope.mail, *envelope.recipients):
        line = bytes(command)
        assert line.index(b"\r\n") == len(line) - 2
        assert not set(line[:-2]) & set(b"\r\n\0")


@given(mails(), st.lists(rcpts(), min_size=1, max_size=3))
def test_envelopes_are_values(mail: Mail, recipients: list[Rcpt]) -> None:
    envelope = Envelope(mail, recipients)
    for other in (pickle.loads(pickle.dumps(envelope)), copy.deepcopy(envelope), Envelope(mail, tuple(recipients))):
        assert other == envelope
        assert hash(other) == hash(envelope)
    assert "mail=Mail(" in repr(envelope)
