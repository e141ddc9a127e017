"""What became of a message."""

from __future__ import annotations

import pickle
from itertools import combinations_with_replacement

import pytest

from smtpproto.commands import Rcpt
from smtpproto.delivery import DeliveryFailed, DeliveryResult, Fate, RecipientResult
from smtpproto.envelope import Envelope
from smtpproto.errors import ErrorCode, SmtpError, TransportError
from smtpproto.replies import Reply

OK = Reply(250, "ok")
CLOSED = TransportError("the server closed the connection", ErrorCode.CLOSED_BY_PEER)
REPLIES = {
    Fate.ACCEPTED: OK,
    Fate.DEFERRED: Reply(450, "4.2.1 later"),
    Fate.NOT_SENT: None,
    Fate.REFUSED: Reply(550, "5.1.1 nobody"),
    Fate.UNKNOWN: None,
}


def result(*fates: Fate, error: Exception | None = None) -> DeliveryResult:
    envelope = Envelope("a@x.example", [f"r{n}@y.example" for n in range(len(fates))])
    each = [RecipientResult(rcpt, fate, REPLIES[fate]) for rcpt, fate in zip(envelope.recipients, fates, strict=True)]
    return DeliveryResult(envelope, tuple(each), OK, error)


def test_fates_are_ordered_from_the_best_to_the_worst() -> None:
    assert [fate.name for fate in Fate] == ["ACCEPTED", "DEFERRED", "NOT_SENT", "REFUSED", "UNKNOWN"]
    for fates in combinations_with_replacement(Fate, 3):
        for turned in (fates, fates[::-1]):
            assert result(*turned).fate is fates[-1]
    assert len({*Fate}) == 5


@pytest.mark.rfc("5321", "3.3")
def test_the_accepted_and_the_refused() -> None:
    all_fates = result(*Fate)
    assert [each.fate for each in all_fates.accepted] == [Fate.ACCEPTED]
    assert [each.fate for each in all_fates.refused] == [Fate.DEFERRED, Fate.REFUSED]
    assert [each.accepted for each in all_fates.recipients] == [True, False, False, False, False]


def test_a_result_for_one_is_readable() -> None:
    assert [str(each) for each in result(*Fate).recipients] == [
        "r0@y.example accepted: 250 ok",
        "r1@y.example refused for now: 450 4.2.1 later",
        "r2@y.example not sent",
        "r3@y.example refused for good: 550 5.1.1 nobody",
        "r4@y.example unknown",
    ]


@pytest.mark.parametrize(
    ("fates", "error", "message"),
    [
        ([Fate.REFUSED], None, "r0@y.example refused for good: 550 5.1.1 nobody"),
        ([Fate.ACCEPTED, Fate.DEFERRED], None, "r1@y.example refused for now: 450 4.2.1 later"),
        (
            [Fate.DEFERRED, Fate.REFUSED, Fate.ACCEPTED, Fate.REFUSED],
            None,
            "r0@y.example refused for now: 450 4.2.1 later, and 2 more",
        ),
        ([Fate.UNKNOWN], CLOSED, "r0@y.example unknown (the server closed the connection)"),
    ],
)
def test_whoever_wants_an_exception_gets_one(fates: list[Fate], error: Exception | None, message: str) -> None:
    what = result(*fates, error=error)
    with pytest.raises(DeliveryFailed) as caught:
        what.raise_unless_accepted()
    assert isinstance(caught.value, SmtpError)
    assert (str(caught.value), caught.value.result, caught.value.__cause__) == (message, what, error)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.result.fate) == (message, what.fate)


def test_nothing_to_raise() -> None:
    result(Fate.ACCEPTED, Fate.ACCEPTED).raise_unless_accepted()


def test_results_are_values() -> None:
    assert result(*Fate) == result(*Fate) != result(Fate.ACCEPTED)
    assert hash(result(*Fate)) == hash(result(*Fate))
    assert pickle.loads(pickle.dumps(result(*Fate))) == result(*Fate)
    assert RecipientResult(Rcpt("b@y.example"), Fate.ACCEPTED, OK) != RecipientResult(
        Rcpt("b@y.example"), Fate.UNKNOWN, OK
    )
    with pytest.raises(AttributeError):
        result(Fate.ACCEPTED).reply = None
