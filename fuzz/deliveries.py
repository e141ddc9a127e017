"""Whatever a server answers to messages, and wherever the connection breaks, no fate is reported better than it was,
none as bad that was good, and what was accepted is what was sent.

The first octet chooses the offer and the protocol, the second how the answers arrive, the third after how many of their
octets the connection breaks, the fourth how many messages there are.  Each octet behind them chooses an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fuzz._harness import chosen
from smtpproto import DeliveryResult, Envelope, Fate
from smtpproto.flows import Whole
from tests.delivering import Accepted, Message, Peer, Play, Said, Streamed, many
from tests.driving import ready_client

if TYPE_CHECKING:
    from collections.abc import Iterator

_OFFERS: Final = (
    (),
    ("CHUNKING",),
    ("PIPELINING",),
    ("PIPELINING", "CHUNKING"),
    ("PIPELINING", "CHUNKING", "SIZE 100", "LIMITS RCPTMAX=2 MAILMAX=3"),
)
_LMTP: Final = 8
_ODD: Final = 16
_BREAKS: Final = 32
_DEAF: Final = 64
_NO_CHUNKS: Final = 128
_USUAL: Final[tuple[Said, ...]] = (None,) * 8
_ANSWERS: Final[tuple[Said, ...]] = (
    *_USUAL,
    450,
    452,
    550,
    552,
    421,
    354,
    250,
    b"",
    b"25",
    b"250-half\r\n",
    b"250\nbare\r\n",
    b"451 half",
    b"999 what\r\n",
    b"334 again\r\n220 again\r\n",
)


def test_one_input(data: bytes) -> None:
    how, breaking = chosen(data), chosen(data, 2)
    answers = iter(data[4:])
    lmtp = bool(how & _LMTP)

    def decide(what: str, which: str) -> Said:
        return _ANSWERS[next(answers, 0) % len(_ANSWERS)]

    peer = Peer(decide, lmtp=lmtp, keeps_open=bool(how & _ODD), lone_dot=bool(how & _ODD) and not lmtp)
    messages = [message(number) for number in range(1 + chosen(data, 3) % 10)]
    run = Play(
        many(
            ready_client(*_OFFERS[how % 8 % len(_OFFERS)], lmtp=lmtp),
            messages,
            chunking=False if how & _NO_CHUNKS else None,
        ),
        peer,
        until=4 * breaking if breaking else None,
        breaks=bool(how & _BREAKS),
        deaf=bool(how & _DEAF),
        pieces=1 + chosen(data, 1),
    )
    assert run.error is None
    assert len(run.results) == len(messages)
    assert {each.content for each in peer.accepted} <= {content_of(number) for number in range(len(messages))}
    for number, result in enumerate(run.results):
        assert_true(result, [each for each in peer.accepted if each.content == content_of(number)], number, peer)


def content_of(number: int) -> bytes:
    return b".message %d\r\n.\r\n" % number


def message(number: int) -> Message:
    envelope = Envelope(f"s{number}@x.example", [f"r{each}@y.example" for each in range(1 + number % 3)])
    content = content_of(number)
    return envelope, Whole(content) if number % 4 else Streamed([content[:5], content[5:]])


def assert_true(result: DeliveryResult, accepted: list[Accepted], number: int, peer: Peer) -> None:
    assert {each.sender for each in accepted} <= {f"s{number}@x.example"}
    taken = {each.recipient: each for each in accepted}
    assert len(taken) == len(accepted), "a message arrived twice"
    assert taken.keys() <= {each.recipient.forward_path for each in result.recipients}
    for each in result.recipients:
        truth = taken.get(each.recipient.forward_path)
        assert truth is None or each.fate in (Fate.ACCEPTED, Fate.UNKNOWN)
        assert each.fate is not Fate.ACCEPTED or (truth is not None and truth.at <= peer.heard)
        assert each.fate is not Fate.UNKNOWN or result.error is not None
        assert each.fate is not Fate.REFUSED or (each.reply is not None and each.reply.is_permanent)


def seeds() -> Iterator[bytes]:
    for how in range(0, 256, 3):
        for answers in (b"", b"\0\0\x0a\0\0\0\x08", b"\0\0\0\0\x0a\x09\0\0\x0d", b"\0\0\x0c"):
            yield bytes((how, 255 if how % 2 else 6, 0, 4)) + answers
        yield bytes((how, 255, 1 + how % 200, 3))
