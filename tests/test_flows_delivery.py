"""Delivering: what is written when, and what becomes of each message whatever the server does."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto import flows
from smtpproto.client import ClientConnection
from smtpproto.commands import Helo, Mail, Quit, Rcpt
from smtpproto.content import LineEnds
from smtpproto.delivery import DeliveryResult, Fate
from smtpproto.envelope import Envelope
from smtpproto.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, TransportError
from smtpproto.events import Event, ReplyReceived, ServiceClosing
from smtpproto.flows import Next, Receive, Send, Whole
from smtpproto.flows.delivery import _AHEAD, _GATHERED, _GROUP, _LAST_WORDS  # pyright: ignore[reportPrivateUsage]
from smtpproto.flows.outgoing import END as END_ROLE
from smtpproto.flows.outgoing import MAIL as MAIL_ROLE
from smtpproto.flows.outgoing import PIECE, Outgoing
from smtpproto.limits import Limits, Timeouts
from smtpproto.replies import Reply
from smtpproto.states import State
from tests.delivering import Decide, Peer, Play, Said, Streamed, fates, many, message, reset, timed_out
from tests.driving import ask, ready_client, receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tests.delivering import Message

ACCEPTED, DEFERRED, REFUSED, NOT_SENT, UNKNOWN = Fate.ACCEPTED, Fate.DEFERRED, Fate.REFUSED, Fate.NOT_SENT, Fate.UNKNOWN

LOCK_STEP: tuple[str, ...] = ()
PIPELINED = ("PIPELINING",)
CHUNKED = ("PIPELINING", "CHUNKING")
EACH_OFFER = pytest.mark.parametrize("offer", [LOCK_STEP, ("CHUNKING",), PIPELINED, CHUNKED])
TIMEOUTS = Timeouts(mail=1, rcpt=2, data_initiation=3, data_block=4, data_termination=5, other=6)

MAIL = b"MAIL FROM:<a@x.example>\r\n"
RCPT = b"RCPT TO:<b@y.example>\r\n"
RSET = b"RSET\r\n"


class Broken(Exception):
    pass


def says(**by_command: Said) -> Decide:
    """The answers to these commands, whatever they are for."""
    return lambda what, which: by_command.get(what)


def to(**by_name: Said) -> Decide:
    """The answers to RCPT, by the local part."""
    return lambda what, which: by_name.get(which.partition("@")[0]) if what == "RCPT" else None


def nth(wanted: str, number: int, said: Said) -> Decide:
    """The answer to the n-th of these commands."""
    seen: list[str] = []

    def decide(what: str, which: str) -> Said:
        seen.append(what)
        return said if what == wanted and seen.count(wanted) == number else None

    return decide


def both(first: Decide, second: Decide) -> Decide:
    return lambda what, which: first(what, which) or second(what, which)


def exactly(answers: Mapping[tuple[str, str], Said]) -> Decide:
    return lambda what, which: answers.get((what, which))


def play(
    offer: tuple[str, ...],
    messages: Iterable[Message],
    decide: Decide = lambda what, which: None,
    *,
    client: ClientConnection | None = None,
    peer: Peer | None = None,
    playing: dict[str, Any] | None = None,
    **options: Any,
) -> Play:
    client = client or ready_client(*offer)
    return Play(many(client, messages, **options), peer or Peer(decide, lmtp=client.lmtp), **playing or {})


def one(offer: tuple[str, ...], decide: Decide = lambda what, which: None, **options: Any) -> DeliveryResult:
    """One message to b and c."""
    result, *rest = play(offer, [message(b"text\r\n", "b@y.example", "c@y.example")], decide, **options).results
    assert not rest
    return result


def codes(result: DeliveryResult) -> list[int | None]:
    return [None if each.reply is None else each.reply.code for each in result.recipients]


# Round trips -------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2920", "3.1")
@pytest.mark.rfc("3030", "2")
def test_with_chunks_all_of_it_goes_out_at_once() -> None:
    first = message(b"1\r\n", "b@y.example", "c@y.example")
    run = play(CHUNKED, [first, message(b"2\r\n", sender="z@x.example")])
    assert run.sent == [
        MAIL + RCPT + b"RCPT TO:<c@y.example>\r\nBDAT 3 LAST\r\n1\r\n"
        b"RSET\r\nMAIL FROM:<z@x.example>\r\n" + RCPT + b"BDAT 3 LAST\r\n2\r\n"
    ]
    assert [fates(result) for result in run.results] == [[ACCEPTED, ACCEPTED], [ACCEPTED]]
    assert not run.closed


@pytest.mark.rfc("2920", "3.1")
def test_with_data_the_end_of_one_goes_out_with_the_envelope_of_the_next() -> None:
    group = MAIL + RCPT + b"DATA\r\n"
    run = play(PIPELINED, [message(b"%d\r\n" % n) for n in range(3)])
    assert run.sent == [group, b"0\r\n.\r\n" + group, b"1\r\n.\r\n" + group, b"2\r\n.\r\n"]
    assert [fates(result) for result in run.results] == [[ACCEPTED]] * 3


@pytest.mark.parametrize("chunking", [False, True])
@pytest.mark.rfc("2920", "3")
@pytest.mark.rfc("5321", "4.3.1")
def test_without_pipelining_every_command_waits(chunking: bool) -> None:
    run = play(("CHUNKING",), [message(b"1\r\n"), message(b"2\r\n")], chunking=chunking)
    content = [b"BDAT 3 LAST\r\n%d\r\n"] if chunking else [b"DATA\r\n", b"%d\r\n.\r\n"]
    assert run.sent == [
        part % n if b"%" in part else part for n in (1, 2) for part in (MAIL, RCPT, *content)
    ]  # fmt: skip
    assert [fates(result) for result in run.results] == [[ACCEPTED]] * 2


def test_bdat_saves_no_round_trip_without_pipelining() -> None:
    assert "DATA" in play(("CHUNKING",), [message()]).peer.commands


@pytest.mark.rfc("5321", "4.1.1.1")
def test_a_server_that_knows_helo_only() -> None:
    client = ClientConnection()
    receive(client, b"220 mx\r\n")
    ask(client, Helo("me.example"), b"250 mx\r\n")
    run = play((), [message(b"1\r\n"), message(b"2\r\n")], client=client)
    assert run.sent == [MAIL, RCPT, b"DATA\r\n", b"1\r\n.\r\n", MAIL, RCPT, b"DATA\r\n", b"2\r\n.\r\n"]
    assert [fates(result) for result in run.results] == [[ACCEPTED]] * 2


@EACH_OFFER
def test_messages_that_have_to_be_waited_for_do_not_wait_for_each_other(offer: tuple[str, ...]) -> None:
    """What is ready goes out before the program is asked for more."""
    client = ready_client(*offer)
    written: list[int] = []

    def messages() -> Iterator[Message]:
        for n in range(3):
            written.append(peer.commands.count("."))
            yield message(b"%d\r\n" % n)

    peer = Peer()
    run = play((), messages(), client=client, peer=peer, at_hand=False, chunking=False)
    assert [fates(result) for result in run.results] == [[ACCEPTED]] * 3
    assert written == [0, 1, 2]


@EACH_OFFER
def test_results_come_when_they_are_known(offer: tuple[str, ...]) -> None:
    """The program need not have all messages before it has the first result."""
    asked: list[int] = []

    def messages() -> Iterator[Message]:
        for n in range(40):
            asked.append(n)
            yield message(b"%d\r\n" % n)

    deliveries = flows.Deliveries(ready_client(*offer), messages(), at_hand=True)
    run = Play(deliveries.next_result(), Peer())
    assert run.result.fate is ACCEPTED
    assert len(asked) <= _AHEAD + 1


@EACH_OFFER
@pytest.mark.parametrize("chunking", [None, False])
def test_results_do_not_wait_for_messages_that_take_long(offer: tuple[str, ...], chunking: bool | None) -> None:
    """Before it asks for a message that may not be there yet, it gives the results that are."""
    asked: list[int] = []

    def messages() -> Iterator[Message]:
        for n in range(20):
            asked.append(n)
            yield message(b"%d\r\n" % n)

    deliveries = flows.Deliveries(ready_client(*offer), messages(), chunking=chunking)
    peer = Peer()
    for n in range(20):
        assert Play(deliveries.next_result(), peer).result.fate is ACCEPTED
        assert asked[-1] == n


@EACH_OFFER
def test_messages_that_take_long_are_asked_for_while_nothing_has_come(offer: tuple[str, ...]) -> None:
    run = play(offer, [message(b"%d\r\n" % n) for n in range(20)], at_hand=False, playing={"deaf": True})
    assert [fates(result) for result in run.results] == [[ACCEPTED]] * 20


def as_they_come(deliveries: flows.Deliveries, results: list[DeliveryResult]) -> flows.Flow[None]:
    while (result := (yield from deliveries.next_result())) is not None:
        results.append(result)


@pytest.mark.parametrize("offer", [LOCK_STEP, PIPELINED])
@pytest.mark.parametrize("piece", [b"x\r\n", b"x\r\n" * PIECE])
def test_results_do_not_wait_for_content_that_takes_long(offer: tuple[str, ...], piece: bytes) -> None:
    results: list[DeliveryResult] = []
    known: list[int] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(2):
            known.append(len(results))
            yield piece

    messages = [message(), (message()[0], Streamed(pieces()))]
    deliveries = flows.Deliveries(ready_client(*offer), iter(messages), at_hand=True)
    Play(as_they_come(deliveries, results), Peer())
    assert known == [1, 1]
    assert [result.fate for result in results] == [ACCEPTED] * 2


@pytest.mark.parametrize("offer", [LOCK_STEP, PIPELINED])
def test_results_do_not_wait_for_all_of_a_large_content(offer: tuple[str, ...]) -> None:
    results: list[DeliveryResult] = []
    known: list[int] = []
    messages = [message(), message(b"x" * 3 * PIECE)]
    deliveries = flows.Deliveries(
        ready_client(*offer), iter(messages), at_hand=True, on_progress=lambda taken, size: known.append(len(results))
    )
    Play(as_they_come(deliveries, results), Peer())
    assert known == [0, int(offer == LOCK_STEP), 1, 1]


@EACH_OFFER
def test_messages_that_cannot_be_sent_do_not_pile_up(offer: tuple[str, ...]) -> None:
    """The results of those are known without any wait, and there may be millions."""
    results: list[DeliveryResult] = []

    def messages() -> Iterator[Message]:
        for n in range(10 * _AHEAD):
            assert n - len(results) <= _AHEAD
            yield message(b"\0")

    Play(as_they_come(flows.Deliveries(ready_client(*offer), messages(), at_hand=True), results), Peer())
    assert [result.fate for result in results] == [NOT_SENT] * 10 * _AHEAD


@EACH_OFFER
@pytest.mark.parametrize("able", [(), ("SMTPUTF8",)])
@pytest.mark.rfc("6531", "3.4")
def test_nothing_is_begun_for_a_recipient_that_is_not_ascii_and_mail_does_not_announce(
    offer: tuple[str, ...], able: tuple[str, ...]
) -> None:
    envelope = Envelope(Mail("a@x.example"), ["b@y.example", "\u00fc@y.example"])
    run = play((*able, *offer), [(envelope, Whole(b"x\r\n"))])
    assert isinstance(run.results[0].error, LocalProtocolError)
    assert run.peer.commands == []


@EACH_OFFER
@pytest.mark.rfc("6531", "3.4")
def test_what_is_not_ascii_is_sent_to_those_who_can(offer: tuple[str, ...]) -> None:
    for sender, recipient in (("a@x.example", "\u00fc@y.example"), ("\u00fc@x.example", "b@y.example")):
        able = play(("SMTPUTF8", *offer), [message(b"x\r\n", recipient, sender=sender)])
        assert able.results[0].fate is ACCEPTED
        assert able.peer.commands[0] == f"MAIL FROM:<{sender}> SMTPUTF8"
        unable = play(offer, [message(b"x\r\n", recipient, sender=sender), message()])
        assert [result.fate for result in unable.results] == [NOT_SENT, ACCEPTED]
        assert "SMTPUTF8" in str(unable.results[0].error)


def test_so_many_messages_are_under_way_at_most() -> None:
    run = play(CHUNKED, [message(b"%d\r\n" % n) for n in range(100)])
    assert [fates(result) for result in run.results] == [[ACCEPTED]] * 100
    assert max(data.count(b"BDAT") for data in run.sent) <= _AHEAD


@pytest.mark.parametrize("offer", [PIPELINED, CHUNKED])
@pytest.mark.rfc("2920", "3.1")
@pytest.mark.rfc("5321", "4.5.4.1")
def test_groups_are_bounded(offer: tuple[str, ...]) -> None:
    """Whoever writes without an end while the server wants to be read waits for ever: RFC 2920 section 3.1."""
    client = ready_client(*offer)
    waiting: list[int] = []
    peer = Peer(to(r7=550, r500=450))
    flow = many(client, [message(b"1\r\n", *(f"r{n}@y.example" for n in range(1000)))])

    def watched() -> flows.Flow[Any]:
        answer: object = None
        error: Exception | None = None
        while True:
            try:
                effect = flow.send(answer) if error is None else flow.throw(error)
            except StopIteration as stop:
                return stop.value
            waiting.append(client.waiting)
            answer = error = None
            try:
                answer = yield effect
            except TransportError as caught:
                error = caught

    (result,) = Play(watched(), peer).results
    assert fates(result) == [{7: REFUSED, 500: DEFERRED}.get(n, ACCEPTED) for n in range(1000)]
    assert _GROUP // 2 < max(waiting) <= _GROUP
    assert len(peer.accepted) == 998


def test_a_connection_with_a_smaller_limit_of_its_own() -> None:
    client = ready_client(*CHUNKED, limits=Limits(outstanding=3))
    run = play((), [message(b"%d\r\n" % n, "b@y.example", "c@y.example") for n in range(3)], client=client)
    assert [fates(result) for result in run.results] == [[ACCEPTED] * 2] * 3


@EACH_OFFER
@pytest.mark.parametrize("size", [_GATHERED + 1, PIECE])
def test_content_in_memory_is_not_copied(offer: tuple[str, ...], size: int) -> None:
    content = (b"x" * 78 + b"\r\n") * (size // 80) + b"y" * (size % 80 - 2) + b"\r\n"
    run = play(offer, [message(content)])
    assert any(isinstance(effect, Send) and effect.data is content for effect in run.effects)
    assert [each.content == content for each in run.peer.accepted] == [True]
    assert run.results[0].fate is ACCEPTED


@EACH_OFFER
def test_large_content_goes_in_pieces(offer: tuple[str, ...]) -> None:
    content = b".line\r\n" * (3 * PIECE // 7)
    run = play(offer, [message(content)])
    assert [each.content == content for each in run.peer.accepted] == [True]
    assert max(map(len, run.sent)) <= 2 * PIECE + 4


@EACH_OFFER
@pytest.mark.parametrize(
    ("pieces", "arrives"),
    [
        ([], b""),
        ([b"", b"", b""], b""),
        ([b"a"], b"a\r\n"),
        ([b"a\r", b"\nb\n", bytearray(b".c\r\n"), memoryview(b".")], b"a\r\nb\r\n.c\r\n.\r\n"),
        ([b"x" * _GATHERED + b"\r\n", b"y"], b"x" * _GATHERED + b"\r\ny\r\n"),
        ([b"x" * (_GATHERED - 2) + b"\r\n"] * 3, (b"x" * (_GATHERED - 2) + b"\r\n") * 3),
        ([b"\r" * 5], b"\r\n" * 5),
    ],
)
@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.rfc("3030", "2")
def test_streamed_content_arrives_as_it_is(offer: tuple[str, ...], pieces: list[Any], arrives: bytes) -> None:
    envelope, _ = message()
    run = play(offer, [(envelope, Streamed(pieces))])
    assert run.results[0].fate is ACCEPTED
    assert [each.content for each in run.peer.accepted] == [arrives]
    assert all(run.sent)


@pytest.mark.rfc("3030", "2")
def test_small_pieces_make_no_small_chunks() -> None:
    envelope, _ = message()
    run = play(CHUNKED, [(envelope, Streamed([b"line\r\n"] * 30_000))])
    assert [line for line in run.peer.commands if line.startswith("BDAT")] == [
        "BDAT 65538", "BDAT 65538", "BDAT 48924 LAST"
    ]  # fmt: skip
    assert run.peer.accepted[0].content == b"line\r\n" * 30_000


@pytest.mark.rfc("3030", "3")
def test_binary_content_is_left_alone() -> None:
    """RFC 3030 section 3."""
    content = b"\0\r\n.\r\n\xff\n\r"
    envelope = Envelope("a@x.example", "b@y.example", body="BINARYMIME")
    run = play(("CHUNKING", "BINARYMIME", "8BITMIME"), [(envelope, Whole(content))])
    assert run.peer.accepted[0].content == content
    assert run.sent[0] == b"MAIL FROM:<a@x.example> BODY=BINARYMIME\r\n"


@EACH_OFFER
def test_progress(offer: tuple[str, ...]) -> None:
    """In octets of the program's own content, however it is sent."""
    told: list[tuple[int, int | None]] = []

    def on_progress(sent: int, total: int | None) -> None:
        told.append((sent, total))

    envelope, _ = message()
    contents = [Streamed([b"a\n", b"", b"b\n" * _GATHERED, b"c"], 7), Whole(b"a\n" * PIECE), Whole(b"")]
    run = play(offer, [(envelope, content) for content in contents], on_progress=on_progress)
    assert [result.fate for result in run.results] == [ACCEPTED] * 3
    first = [each for each in told if each[1] == 7]
    assert first[-1] == (2 * _GATHERED + 3, 7)
    assert sorted(first) == first
    assert [each for each in told if each[1] != 7] == [(PIECE, 2 * PIECE), (2 * PIECE, 2 * PIECE)]


@pytest.mark.rfc("5321", "4.5.4")
def test_the_deadline_is_of_what_is_waited_for() -> None:
    """RFC 5321 section 4.5.3.2."""
    client = ready_client(timeouts=TIMEOUTS)
    run = play((), [message(b"x" * (_GATHERED + 1))], client=client)
    assert [(type(effect), effect.timeout) for effect in run.effects if not isinstance(effect, Next)] == [
        (Send, 1), (Receive, 1),
        (Send, 2), (Receive, 2),
        (Send, 3), (Receive, 3),
        (Send, 4), (Send, 5), (Receive, 5),
    ]  # fmt: skip


def test_the_wait_for_one_reply_goes_on_when_a_part_of_it_comes() -> None:
    run = play(LOCK_STEP, [message()], playing={"pieces": 7, "deaf": True})
    before: object = None
    for effect in run.effects:
        if isinstance(effect, Receive):
            assert effect.continued is isinstance(before, Receive)
        before = effect


def test_the_watcher_sees_every_reply() -> None:
    seen: list[Event] = []
    run = play(PIPELINED, [message()], says(END=421), watch=seen.append)
    assert run.results[0].fate is DEFERRED
    assert [type(event) for event in seen[:2]] == [ReplyReceived] * 2
    assert type(seen[-1]) is ServiceClosing
    assert len(seen) == 4


# What the server refuses -------------------------------------------------------------------------------------------


@EACH_OFFER
@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("5321", "4.5.3.1")
@pytest.mark.rfc("5321", "4.5.4.1")
@pytest.mark.rfc("2920", "3.1")
def test_some_recipients_are_refused(offer: tuple[str, ...]) -> None:
    names = [f"{name}@y.example" for name in ("b", "no", "later", "full", "c")]
    run = play(offer, [message(b"1\r\n", *names), message(b"2\r\n")], to(no=550, later=450, full=552))
    first, second = run.results
    assert fates(first) == [ACCEPTED, REFUSED, DEFERRED, DEFERRED, ACCEPTED]
    assert codes(first) == [250, 550, 450, 552, 250]
    assert first.reply is not None
    assert (first.reply.code, first.error) == (250, None)
    assert (first.fate, second.fate) == (REFUSED, ACCEPTED)
    assert [(each.recipient[0], each.content) for each in run.peer.accepted] == [
        ("b", b"1\r\n"), ("c", b"1\r\n"), ("b", b"2\r\n")
    ]  # fmt: skip


@EACH_OFFER
@pytest.mark.rfc("5321", "4.5.4.1")
def test_one_copy_goes_to_all_recipients_of_a_message(offer: tuple[str, ...]) -> None:
    run = play(offer, [message(b"1\r\n", "b@y.example", "c@y.example", "d@z.example")])
    content = ["BDAT"] if offer == CHUNKED else ["DATA", "."]
    assert [line.partition(" ")[0] for line in run.peer.commands] == ["MAIL", "RCPT", "RCPT", "RCPT", *content]
    assert [each.recipient[0] for each in run.peer.accepted] == ["b", "c", "d"]


@pytest.mark.rfc("5321", "4.5.3.1.10")
def test_552_to_a_recipient_means_too_many() -> None:
    assert fates(one(CHUNKED, to(c=552))) == [ACCEPTED, DEFERRED]
    assert fates(one(CHUNKED, says(LAST=552))) == [REFUSED, REFUSED]


@pytest.mark.rfc("1870", "6.4")
@pytest.mark.parametrize(
    ("text", "fate"),
    [
        ("5.3.4 larger than this channel takes", REFUSED),
        (("5.2.3 larger", "5.2.3 than theirs may be"), REFUSED),
        ("5.5.3 too many", DEFERRED),
        ("5.2.2 full", DEFERRED),
        ("4.3.4 is of another class", DEFERRED),
        ("no", DEFERRED),
    ],
)
def test_552_to_a_recipient_that_speaks_of_the_size_is_final(text: str | tuple[str, ...], fate: Fate) -> None:
    outgoing = Outgoing(Envelope("a@x.example", ["b@y.example", "c@y.example"]))
    outgoing.note(MAIL_ROLE, Reply(250))
    outgoing.note(0, Reply(250))
    outgoing.note(1, Reply(552, text))
    outgoing.note(END_ROLE, Reply(250))
    assert fates(outgoing.result()) == [ACCEPTED, fate]


@EACH_OFFER
@pytest.mark.parametrize(("code", "fate"), [(450, DEFERRED), (550, REFUSED)])
@pytest.mark.rfc("5321", "3.3")
def test_the_sender_is_refused(offer: tuple[str, ...], code: int, fate: Fate) -> None:
    run = play(offer, [message(b"1\r\n", "b@y.example", "c@y.example"), message(b"2\r\n")], nth("MAIL", 1, code))
    first, second = run.results
    assert (fates(first), codes(first)) == ([fate] * 2, [code] * 2)
    assert first.reply is not None
    assert (first.reply.code, first.error) == (code, None)
    assert second.fate is ACCEPTED
    assert [each.content for each in run.peer.accepted] == [b"2\r\n"]


@EACH_OFFER
@pytest.mark.rfc("5321", "3.3")
def test_there_is_nothing_to_reset_where_the_sender_is_refused(offer: tuple[str, ...]) -> None:
    run = play(offer, [message()], says(MAIL=450))
    assert run.results[0].fate is DEFERRED
    assert "RSET" not in run.peer.commands


@EACH_OFFER
@pytest.mark.parametrize("keeps_open", [False, True])
@pytest.mark.parametrize("lone_dot", [False, True])
@pytest.mark.rfc("2920", "3.1")
def test_all_recipients_are_refused(offer: tuple[str, ...], keeps_open: bool, lone_dot: bool) -> None:
    """354 may come all the same, and then a lone dot is due; and the transaction may be open still.

    At a server such as Exim the last chunk that is refused for its lack of recipients leaves it open.  Without RSET
    the recipients of the next message would be accepted as those of this sender.
    """
    messages = [message(b"1\r\n", "no@y.example", "later@y.example"), message(b"2\r\n", sender="z@x.example")]
    peer = Peer(to(no=550, later=450), keeps_open=keeps_open, lone_dot=lone_dot)
    run = play(offer, messages, peer=peer)
    first, second = run.results
    assert (fates(first), codes(first)) == ([REFUSED, DEFERRED], [550, 450])
    assert (first.reply, first.error) == (None, None)
    assert second.fate is ACCEPTED
    assert [(each.sender, each.content) for each in peer.accepted] == [("z@x.example", b"2\r\n")]


@EACH_OFFER
@pytest.mark.parametrize("keeps_open", [False, True])
@pytest.mark.rfc("5321", "4.1.1.5")
def test_a_last_message_without_recipients_leaves_no_transaction_behind(
    offer: tuple[str, ...], keeps_open: bool
) -> None:
    client = ready_client(*offer)
    peer = Peer(to(b=550), keeps_open=keeps_open)
    assert Play(flows.deliver(client, *message()), peer).result.fate is REFUSED
    assert client.state is State.READY
    assert peer.sender is None
    assert Play(flows.deliver(client, *message(b"2\r\n", "c@y.example")), peer).result.fate is ACCEPTED


@pytest.mark.rfc("2920", "3.1")
def test_a_lone_dot_is_answered_with_whatever() -> None:
    for code in (250, 451, 554):
        peer = Peer(both(nth("END", 1, code), to(b=550)), lone_dot=True)
        run = play(PIPELINED, [message(), message(b"2\r\n", "c@y.example")], peer=peer)
        assert [fates(result) for result in run.results] == [[REFUSED], [ACCEPTED]]
        assert run.sent[1].startswith(b".\r\nMAIL")


@pytest.mark.rfc("2033", "4.2")
def test_lmtp_lets_no_server_go_ahead_without_a_recipient() -> None:
    client = ready_client(*PIPELINED, lmtp=True)
    (result,) = play((), [message()], client=client, peer=Peer(to(b=550), lmtp=True, lone_dot=True)).results
    assert fates(result) == [REFUSED]
    assert isinstance(result.error, RemoteProtocolError)


@pytest.mark.parametrize("offer", [LOCK_STEP, PIPELINED])
@pytest.mark.parametrize(("code", "fate"), [(451, DEFERRED), (554, REFUSED)])
@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("1870", "6.2")
def test_data_is_refused(offer: tuple[str, ...], code: int, fate: Fate) -> None:
    messages = [message(b"1\r\n", "b@y.example", "no@y.example"), message(b"2\r\n")]
    asked = nth("DATA", 1, code)
    run = play(offer, messages, lambda what, which: asked(what, which) or (550 if which[:2] == "no" else None))
    first, second = run.results
    assert (fates(first), codes(first)) == ([fate, REFUSED], [code, 550])
    assert first.reply is not None
    assert (first.reply.code, second.fate) == (code, ACCEPTED)
    assert "RSET" in run.peer.commands


@EACH_OFFER
@pytest.mark.parametrize(("code", "fate"), [(452, DEFERRED), (552, REFUSED)])
@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.rfc("5321", "4.5.3.1")
@pytest.mark.rfc("1870", "6.2")
def test_the_content_is_refused_at_its_end(offer: tuple[str, ...], code: int, fate: Fate) -> None:
    asked = nth("LAST" if offer == CHUNKED else "END", 1, code)
    run = play(offer, [message(b"1\r\n"), message(b"2\r\n")], asked)
    first, second = run.results
    assert (fates(first), codes(first)) == ([fate], [code])
    assert second.fate is ACCEPTED
    assert run.peer.commands.count("RSET") == (offer == CHUNKED)


@pytest.mark.parametrize("offer", [("CHUNKING",), CHUNKED])
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("keeps_open", [False, True])
@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.rfc("3030", "2")
def test_a_chunk_is_refused(offer: tuple[str, ...], number: int, keeps_open: bool, deaf: bool) -> None:
    """The octets announced are sent always, no chunk follows the refusal, and RSET clears the transaction."""
    envelope, _ = message()
    content = b"x" * 78 + b"\r\n"
    messages = [(envelope, Whole(content * (4 * PIECE // 80))), message(b"2\r\n", sender="z@x.example")]
    peer = Peer(nth("CHUNK", number, 552), keeps_open=keeps_open)
    run = play(offer, messages, peer=peer, chunking=True, playing={"deaf": deaf})
    first, second = run.results
    assert (fates(first), codes(first)) == ([REFUSED], [552])
    assert second.fate is ACCEPTED
    assert [(each.sender, each.content) for each in peer.accepted] == [("z@x.example", b"2\r\n")]
    chunks = [line for line in peer.commands if line.startswith("BDAT")]
    if offer == ("CHUNKING",) or not deaf:
        assert len(chunks) == number + 1
    assert "RSET" in peer.commands


@pytest.mark.parametrize("offer", [("CHUNKING",), CHUNKED])
@pytest.mark.parametrize("size", [3, 4 * PIECE])
@pytest.mark.parametrize("code", [None, 451, 552])
@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.rfc("3030", "2")
def test_no_mail_comes_behind_a_last_chunk_that_was_refused(
    offer: tuple[str, ...], size: int, code: int | None, deaf: bool
) -> None:
    """What state that leaves is anyone's guess; so it is RSET that comes next, also where the answer is not known."""
    envelope, _ = message()
    content = b"x" * 78 + b"\r\n"
    messages = [(envelope, Whole(content * (size // 80 + 1))), message(b"2\r\n", sender="z@x.example")]
    peer = Peer(nth("LAST", 1, code))
    run = play(offer, messages, peer=peer, chunking=True, playing={"deaf": deaf})
    assert [result.fate for result in run.results] == [
        {None: ACCEPTED, 451: DEFERRED, 552: REFUSED}[code], ACCEPTED
    ]  # fmt: skip
    last = next(number for number, line in enumerate(peer.commands) if line.endswith("LAST"))
    following = peer.commands[last + 1].split(" ")[0]
    if code is not None or offer == ("CHUNKING",):
        assert following == ("MAIL" if code is None else "RSET")


@pytest.mark.rfc("3030", "2")
def test_chunks_that_were_on_their_way_when_one_is_refused() -> None:
    envelope, _ = message()
    peer = Peer(nth("CHUNK", 1, 452), keeps_open=True)
    messages = [(envelope, Streamed([b"x" * _GATHERED] * 3)), message(b"2\r\n", sender="z@x.example")]
    run = play(CHUNKED, messages, peer=peer, playing={"deaf": True})
    first, second = run.results
    assert (fates(first), codes(first)) == ([DEFERRED], [452])
    assert first.reply is not None
    assert first.reply.code == 452
    assert second.fate is ACCEPTED
    assert [(each.sender, each.content) for each in peer.accepted] == [("z@x.example", b"2\r\n")]
    assert peer.commands[-5:-3] == ["BDAT 2 LAST", "RSET"]


@pytest.mark.rfc("3030", "2")
def test_large_content_waits_for_its_recipients() -> None:
    content = Streamed([b"x\r\n"])
    envelope, _ = message()
    run = play(CHUNKED, [(envelope, content), message(b"2\r\n", "c@y.example")], to(b=550))
    assert [result.fate for result in run.results] == [REFUSED, ACCEPTED]
    assert list(content.chunks) == [b"x\r\n"]
    large = play(CHUNKED, [message(b"x\r\n" * _GATHERED)], to(b=550))
    assert large.sent == [MAIL + RCPT, RSET]


@EACH_OFFER
def test_content_is_not_read_for_a_sender_that_is_refused(offer: tuple[str, ...]) -> None:
    content = Streamed([b"x\r\n"])
    run = play(offer, [(message()[0], content)], says(MAIL=550))
    assert run.results[0].fate is REFUSED
    assert list(content.chunks) == [b"x\r\n"]


@pytest.mark.rfc("5321", "4.1.1.5")
def test_rset_is_never_refused() -> None:
    run = play(PIPELINED, [message(), message()], lambda what, which: {"RCPT": 550, "RSET": 502}.get(what))
    first, second = run.results
    assert (first.fate, second.fate) == (REFUSED, NOT_SENT)
    assert isinstance(second.error, RemoteProtocolError)
    assert run.closed


# LMTP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offer", [LOCK_STEP, PIPELINED, CHUNKED])
@pytest.mark.rfc("2033", "4.2")
def test_lmtp_answers_for_each_recipient(offer: tuple[str, ...]) -> None:
    said = {("RCPT", "no@y.example"): 550}
    for what in ("END", "LAST"):
        said |= {(what, "full@y.example"): 452, (what, "gone@y.example"): 554}
    names = [f"{name}@y.example" for name in ("b", "no", "full", "c", "gone")]
    run = play((), [message(b"1\r\n", *names), message(b"2\r\n", "no@y.example"), message(b"3\r\n")],
        lambda what, which: said.get((what, which)), client=ready_client(*offer, lmtp=True))  # fmt: skip
    first, second, third = run.results
    assert fates(first) == [ACCEPTED, REFUSED, DEFERRED, ACCEPTED, REFUSED]
    assert codes(first) == [250, 550, 452, 250, 554]
    assert first.reply is not None
    assert first.reply.code == 554
    assert (second.fate, third.fate) == (REFUSED, ACCEPTED)
    assert [each.recipient[0] for each in run.peer.accepted] == ["b", "c", "b"]


@pytest.mark.parametrize("offer", [LOCK_STEP, PIPELINED, CHUNKED])
@pytest.mark.rfc("2033", "4.2")
def test_lmtp_sends_a_recipient_once_who_is_named_twice(offer: tuple[str, ...]) -> None:
    """Some servers answer once for both, and the next reply would be taken for the missing one."""
    said = {("RCPT", "no@y.example"): 550, ("END", "full@y.example"): 452, ("LAST", "full@y.example"): 452}
    names = [f"{name}@y.example" for name in ("b", "no", "b", "full", "no", "full", "b", "B")]
    run = play((), [message(b"1\r\n", *names), message(b"2\r\n", "no@y.example", "no@y.example"), message(b"3\r\n")],
        lambda what, which: said.get((what, which)), client=ready_client(*offer, lmtp=True))  # fmt: skip
    first, second, third = run.results
    assert [each.recipient.forward_path for each in first.recipients] == names
    assert fates(first) == [ACCEPTED, REFUSED, ACCEPTED, DEFERRED, REFUSED, DEFERRED, ACCEPTED, ACCEPTED]
    assert (fates(second), third.fate) == ([REFUSED, REFUSED], ACCEPTED)
    assert [each.recipient[0] for each in run.peer.accepted] == ["b", "B", "b"]
    assert sum(command.startswith("RCPT TO:<b@") for command in run.peer.commands) == 2


@EACH_OFFER
def test_smtp_sends_each_recipient_as_often_as_it_is_named(offer: tuple[str, ...]) -> None:
    run = play(offer, [message(b"1\r\n", "b@y.example", "b@y.example")])
    assert [each.recipient for each in run.peer.accepted] == ["b@y.example"] * 2
    assert fates(run.results[0]) == [ACCEPTED, ACCEPTED]


@pytest.mark.parametrize("offer", [PIPELINED, CHUNKED])
@pytest.mark.rfc("2033", "4.2")
@pytest.mark.rfc("2033", "5")
def test_lmtp_ends_between_two_recipients(offer: tuple[str, ...]) -> None:
    names = [f"{name}@y.example" for name in "bcde"]
    what = "LAST" if offer == CHUNKED else "END"
    answers: list[tuple[Said, Fate]] = [(421, DEFERRED), (b"250 half", UNKNOWN), (b"nonsense\r\n", UNKNOWN)]
    for said, last in answers:
        peer = Peer(exactly({(what, "d@y.example"): said}), lmtp=True)
        messages = [message(b"1\r\n", *names), message(b"2\r\n")]
        run = play((), messages, client=ready_client(*offer, lmtp=True), peer=peer)
        first, second = run.results
        assert fates(first) == [ACCEPTED, ACCEPTED, last, UNKNOWN]
        assert second.fate in (NOT_SENT, UNKNOWN)
        assert run.closed


# What cannot be sent -----------------------------------------------------------------------------------------------


def raising(error: BaseException, *before: bytes) -> Iterator[bytes]:
    yield from before
    raise error


UNSENDABLE: dict[str, tuple[tuple[str, ...], dict[str, Any], Any, str]] = {
    "no 8BITMIME": ((), {}, b"\xff", "8BITMIME is not offered: encode it"),
    "7BIT": (("8BITMIME",), {"body": "7BIT"}, b"\xff", "8BITMIME is not asked for"),
    "too large": (("SIZE 10",), {}, b"123456789\r\n", "11 octets, more than the 10 of SIZE"),
    "too large when it is normal": (("SIZE 10",), {}, b"1\n2\n3\n4\n", "12 octets, more than the 10 of SIZE"),
    "too large when it is ended": (("SIZE 10",), {}, b"123456789", "11 octets, more than the 10 of SIZE"),
    "too large file": (("SIZE 10",), {}, Streamed([b"x"], 11), "11 octets, more than the 10 of SIZE"),
    "SIZE of its own": (("SIZE 10",), {"size": 11}, Streamed([b"x"]), "11 octets is more than the 10 of SIZE"),
    "no SIZE": ((), {"size": 1}, b"x", "SIZE"),
    "NUL": ((), {}, b"ab\0", "NUL at octet 2"),
    "BINARYMIME": (("CHUNKING",), {"body": "BINARYMIME"}, b"x", "BINARYMIME"),
    "no CHUNKING": (("BINARYMIME",), {"body": "BINARYMIME"}, b"x", "CHUNKING"),
    "SMTPUTF8": ((), {"smtputf8": True}, b"x", "SMTPUTF8"),
    "REQUIRETLS": (("REQUIRETLS",), {"require_tls": True}, b"x", "REQUIRETLS needs TLS"),
    "no REQUIRETLS": ((), {"require_tls": True}, b"x", "REQUIRETLS"),
    "RCPTMAX": (("LIMITS RCPTMAX=1",), {}, b"x", "RCPTMAX"),
    "RCPTDOMAINMAX": (("LIMITS RCPTDOMAINMAX=1",), {}, b"x", "RCPTDOMAINMAX"),
    "DELIVERBY": ((), {"by": None, "ret": "FULL"}, b"x", "DSN"),
}


@pytest.mark.parametrize("case", UNSENDABLE)
@pytest.mark.parametrize("pipelining", [(), PIPELINED])
@pytest.mark.rfc("1870", "6.1")
@pytest.mark.rfc("6152", "3")
@pytest.mark.rfc("6531", "3.4")
@pytest.mark.rfc("8689", "4.2.1")
@pytest.mark.rfc("9422", "4")
@pytest.mark.rfc("5321", "2.4")
@pytest.mark.rfc("6531", "3.2")
@pytest.mark.rfc("6531", "3.5")
def test_what_the_server_does_not_offer_is_found_before_anything_is_sent(
    case: str, pipelining: tuple[str, ...]
) -> None:
    offer, parameters, content, why = UNSENDABLE[case]
    envelope = Envelope("a@x.example", ["b@y.example", "c@z.example"], **parameters)
    given_content = Whole(content) if isinstance(content, bytes) else content
    client = ready_client(*offer, *pipelining)
    run = Play(flows.deliver(client, envelope, given_content), Peer())
    assert isinstance(run.error, LocalProtocolError)
    assert why in str(run.error)
    assert (run.sent, run.closed, client.state) == ([], False, State.READY)
    run = play((), [(envelope, given_content), message()], client=client)
    first, second = run.results
    assert (fates(first), codes(first)) == ([NOT_SENT] * 2, [None] * 2)
    assert isinstance(first.error, LocalProtocolError)
    assert (first.reply, second.fate) == (None, ACCEPTED)


@pytest.mark.rfc("9422", "4.3")
def test_domains_are_counted_in_the_whole_session() -> None:
    client = ready_client("LIMITS RCPTDOMAINMAX=2", *PIPELINED)
    messages = [message(b"1\r\n", "a@one.example", "b@ONE.example"), message(b"2\r\n", "a@two.example"),
        message(b"3\r\n", "a@two.example", "a@three.example"), message(b"4\r\n", "a@one.example")]  # fmt: skip
    run = play((), messages, client=client)
    assert [result.fate for result in run.results] == [ACCEPTED, ACCEPTED, NOT_SENT, ACCEPTED]
    assert "RSET" not in run.peer.commands


@pytest.mark.rfc("9422", "4.1")
def test_messages_are_counted_in_the_whole_session() -> None:
    run = play((), [message(b"%d\r\n" % n) for n in range(4)], client=ready_client("LIMITS MAILMAX=2", *CHUNKED))
    assert [result.fate for result in run.results] == [ACCEPTED, ACCEPTED, NOT_SENT, NOT_SENT]
    assert "MAILMAX" in str(run.results[2].error)


@pytest.mark.parametrize("line_ends", [LineEnds.REFUSE, LineEnds.TRUSTED])
@EACH_OFFER
@pytest.mark.rfc("5321", "2.3.8")
def test_the_policy_for_line_ends_is_the_connections(offer: tuple[str, ...], line_ends: LineEnds) -> None:
    messages = [message(content) for content in (b"a\n", b"a\r", b"a\r\n", b"\0")]
    run = play((), messages, client=ready_client(*offer, line_ends=line_ends))
    sent = line_ends is LineEnds.TRUSTED
    assert [result.fate is ACCEPTED for result in run.results] == [sent, sent, True, sent]
    assert not run.closed
    if not sent:
        assert [result.error and "octet" in str(result.error) for result in run.results] == [True, True, None, True]


@EACH_OFFER
@pytest.mark.rfc("1870", "6")
@pytest.mark.rfc("6152", "3")
@pytest.mark.rfc("5321", "4.5.3.1.7")
def test_parameters_are_added(offer: tuple[str, ...]) -> None:
    client = ready_client("SIZE 1000", "8BITMIME", *offer)
    envelope, _ = message()
    named = Envelope("a@x.example", "b@y.example", size=7, body="7BIT")
    messages = [message(b"a\nb"), message(b"\xfc\n"), (envelope, Streamed([b"x"])), (envelope, Streamed([b"x"], 5)),
        (named, Whole(b"x"))]  # fmt: skip
    run = play((), messages, client=client)
    assert [line[24:] for line in run.peer.commands if line.startswith("MAIL")] == [
        "SIZE=6", "SIZE=3 BODY=8BITMIME", "BODY=8BITMIME", "SIZE=5 BODY=8BITMIME", "SIZE=7 BODY=7BIT"
    ]  # fmt: skip
    assert run.results[0].envelope.mail.size == 6


FAULTS: dict[str, Callable[[], Any]] = {
    "raises": lambda: Streamed(raising(Broken("no disk"), b"x\r\n")),
    "raises at once": lambda: Streamed(raising(Broken("no disk"))),
    "raises what is ours": lambda: Streamed(raising(TransportError("another's", ErrorCode.TIMED_OUT), b"x\r\n")),
    "NUL": lambda: Streamed([b"a\r\n", b"b\0"]),
    "8 bit": lambda: Streamed([b"a\r\n", b"\xff"]),
    "text": lambda: Streamed([b"a\r\n", "b"]),
    "a number": lambda: Streamed([b"a\r\n", 3]),
    "None": lambda: Streamed([b"a\r\n", None]),
}


@EACH_OFFER
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.rfc("3030", "2")
def test_content_that_cannot_be_sent_to_its_end(offer: tuple[str, ...], fault: str) -> None:
    """Behind 354 only closing keeps the server from taking the half for the whole; between chunks RSET does."""
    envelope, _ = message()
    messages = [(envelope, FAULTS[fault]()), message(b"2\r\n")]
    run = play(offer, messages)
    first, second = run.results
    assert fates(first) == [NOT_SENT]
    assert isinstance(first.error, (Broken, TransportError) if "raises" in fault else LocalProtocolError)
    chunked = offer == CHUNKED
    assert (second.fate, run.closed) == ((ACCEPTED, False) if chunked else (NOT_SENT, True))
    assert [each.content for each in run.peer.accepted] == ([b"2\r\n"] if chunked else [])
    assert ("RSET" in run.peer.commands) == chunked
    alone = Play(flows.deliver(ready_client(*offer), envelope, FAULTS[fault]()), Peer())
    if fault == "raises what is ours":
        assert alone.result.fate is NOT_SENT
    else:
        assert type(alone.error) is type(first.error)


@EACH_OFFER
def test_what_the_iterator_raises_comes_behind_the_results(offer: tuple[str, ...]) -> None:
    def messages() -> Iterator[Message]:
        yield message(b"1\r\n")
        yield message(b"2\r\n")
        raise Broken("no more")

    deliveries = flows.Deliveries(ready_client(*offer), messages())
    peer = Peer()
    assert Play(deliveries.next_result(), peer).result.fate is ACCEPTED
    assert Play(deliveries.next_result(), peer).result.fate is ACCEPTED
    assert isinstance(Play(deliveries.next_result(), peer).error, Broken)
    last = Play(deliveries.next_result(), peer)
    assert (last.result, last.error) == (None, None)


@pytest.mark.parametrize("item", [7, "x", ("a@x.example", b"x"), (message()[0],), (*message(), 1)])
def test_what_is_no_message_is_told(item: Any) -> None:
    def messages() -> Iterator[Any]:
        yield message()
        yield item

    for until in (None, 0):
        deliveries = flows.Deliveries(ready_client(), messages())
        peer = Peer()
        assert Play(deliveries.next_result(), peer, until=until).result.fate is (NOT_SENT if until == 0 else ACCEPTED)
        run = Play(deliveries.next_result(), peer, until=until)
        assert isinstance(run.error, LocalProtocolError)
        assert "is no message" in str(run.error)


def test_the_iterator_raises_when_all_is_lost_already() -> None:
    def messages() -> Iterator[Message]:
        yield message(b"1\r\n")
        yield message(b"2\r\n")
        raise Broken("no more")

    deliveries = flows.Deliveries(ready_client(), messages())
    peer = Peer()
    for _ in range(2):
        assert Play(deliveries.next_result(), peer, until=0).result.fate is NOT_SENT
    assert isinstance(Play(deliveries.next_result(), peer, until=0).error, Broken)


def test_content_that_cannot_be_opened() -> None:
    def open_content(given: bytes) -> Whole:
        if given == b"bad":
            raise Broken("no such file")
        return Whole(given)

    envelope, _ = message()
    contents = [b"1\r\n", b"bad", b"3\r\n"]
    run = play(CHUNKED, [(envelope, content) for content in contents], open_content=open_content)
    assert [result.fate for result in run.results] == [ACCEPTED, NOT_SENT, ACCEPTED]
    assert isinstance(run.results[1].error, Broken)


def test_the_programs_own_callbacks_may_raise() -> None:
    def broken(*_: object) -> None:
        raise Broken("callback")

    options: list[dict[str, Any]] = [{"on_progress": broken}, {"watch": broken}]
    for each in options:
        client = ready_client(*CHUNKED)
        deliveries = flows.Deliveries(client, iter([message(), message()]), **each)
        assert isinstance(Play(deliveries.next_result(), Peer()).error, Broken)
        assert Play(deliveries.next_result(), Peer()).result is None


# The connection ----------------------------------------------------------------------------------------------------


@EACH_OFFER
@pytest.mark.parametrize("what", ["MAIL", "RCPT", "DATA", "END", "LAST"])
@pytest.mark.rfc("5321", "3.8")
def test_421_whatever_it_answers(offer: tuple[str, ...], what: str) -> None:
    content = {"DATA", "END"} if offer != CHUNKED else {"LAST"}
    if what not in {"MAIL", "RCPT", *content}:
        return
    for number in (1, 2):
        messages = [message(b"%d\r\n" % n, sender=f"s{n}@x.example") for n in range(4)]
        run = play(offer, messages, nth(what, number, 421))
        results = run.results
        assert [result.fate for result in results] == [
            ACCEPTED if n < number - 1 else DEFERRED if n == number - 1 else NOT_SENT for n in range(4)
        ]
        assert run.closed
        for result in results[number - 1 :]:
            assert isinstance(result.error, TransportError)
            assert codes(result) == [421]
        assert len(run.peer.accepted) == number - 1


@EACH_OFFER
@pytest.mark.rfc("5321", "3.8")
def test_421_to_a_recipient_in_the_midst(offer: tuple[str, ...]) -> None:
    result = one(offer, to(c=421))
    assert (fates(result), codes(result)) == ([NOT_SENT, DEFERRED], [421, 421])


@EACH_OFFER
@pytest.mark.parametrize(("said", "fate"), [(b"421 idle\r\n", NOT_SENT), (b"554 go\r\n", NOT_SENT), (b"", NOT_SENT)])
@pytest.mark.rfc("5321", "3.8")
def test_a_server_that_left_before_the_message(offer: tuple[str, ...], said: bytes, fate: Fate) -> None:
    peer = Peer()
    peer.said, peer.closed = said, True
    run = play(offer, [message(), message()], peer=peer)
    assert [fates(result) for result in run.results] == [[fate]] * 2
    assert run.sent == []
    assert all(isinstance(result.error, TransportError) for result in run.results)
    assert [result.reply for result in run.results] == [Reply(int(said[:3]), said[4:-2].decode()) if said else None] * 2


@EACH_OFFER
def test_what_nobody_has_asked_for_ends_it(offer: tuple[str, ...]) -> None:
    for said in (b"250 ok\r\n", b"42"):
        peer = Peer()
        peer.said = said
        run = play(offer, [message()], peer=peer)
        assert run.results[0].fate is NOT_SENT
        assert isinstance(run.results[0].error, RemoteProtocolError)
        assert (run.sent, run.closed) == ([], True)


class Impatient(Peer):
    """It says something while content comes."""

    def __init__(self, words: bytes, after: int) -> None:
        super().__init__()
        self.words = words
        self.after = after

    def feed(self, data: bytes) -> None:
        super().feed(data)
        if len(self._input) >= self.after and not self.closed:
            self.said += self.words
            self.closed = True


@pytest.mark.parametrize("offer", [LOCK_STEP, PIPELINED])
@pytest.mark.parametrize(
    ("words", "fate"), [(b"421 too slow\r\n", DEFERRED), (b"552 too much\r\n", REFUSED), (b"", NOT_SENT)]
)
@pytest.mark.rfc("5321", "3.8")
def test_a_server_that_leaves_amid_the_content(offer: tuple[str, ...], words: bytes, fate: Fate) -> None:
    content = b"x\r\n" * PIECE
    run = play(offer, [message(content), message()], peer=Impatient(words, PIECE))
    first, second = run.results
    assert (fates(first), second.fate) == ([fate], NOT_SENT)
    assert sum(map(len, run.sent)) < len(content)
    broken = play(offer, [message(content), message()], peer=Impatient(words, PIECE),
        playing={"deaf": True, "breaks": True, "until": 1 << 30})  # fmt: skip
    assert broken.results[1].fate is NOT_SENT


@pytest.mark.parametrize("offer", [LOCK_STEP, PIPELINED])
@pytest.mark.parametrize(("words", "fate"), [(b"421 too slow\r\n", DEFERRED), (b"550 go away\r\n", REFUSED)])
@pytest.mark.rfc("5321", "3.8")
def test_a_server_that_leaves_in_one_breath_with_its_354(offer: tuple[str, ...], words: bytes, fate: Fate) -> None:
    """smtp-sink -A 0 does; how the packets fell makes no difference."""
    run = play(offer, [message(b"text\r\n"), message()], says(DATA=b"354 go\r\n" + words))
    assert [(fates(result), codes(result)) for result in run.results] == [
        ([fate], [int(words[:3])]),
        ([NOT_SENT], [int(words[:3])]),
    ]
    assert b"text" not in b"".join(run.sent)


@pytest.mark.parametrize("offer", [PIPELINED, CHUNKED])
@pytest.mark.parametrize("words", [b"421 bye\r\n", b"", b"42", b"nonsense\r\n"])
@pytest.mark.rfc("5321", "3.8")
def test_the_last_words_are_read_where_writing_fails(offer: tuple[str, ...], words: bytes) -> None:
    """A server that says 421 and closes may be read still when it is written to in vain."""
    content = b"x\r\n" * (2 * PIECE)

    class Sudden(Impatient):
        def feed(self, data: bytes) -> None:
            if self.closed:
                raise reset()
            super().feed(data)

    messages = [message(content), message()]
    peer = Sudden(words, 1)
    if offer == CHUNKED:
        messages = [message(b"1\r\n"), message(content), message()]
    run = play(offer, messages, peer=peer, playing={"deaf": True})
    waits = [effect for effect in run.effects if isinstance(effect, Receive) and effect.timeout == _LAST_WORDS]
    assert waits
    assert not waits[0].continued
    fate = run.results[-2].fate
    assert fate is (DEFERRED if words.startswith(b"421") else NOT_SENT)
    error = run.results[-1].error
    assert isinstance(error, TransportError)
    assert (run.results[-1].reply is not None) == words.startswith(b"421")
    assert run.closed


@EACH_OFFER
@pytest.mark.parametrize("failing", [timed_out, reset])
@pytest.mark.rfc("5321", "4.5.3.2")
def test_the_transport_fails_at_any_effect(offer: tuple[str, ...], failing: Callable[[], TransportError]) -> None:
    def messages() -> list[Message]:
        return [message(b"1\r\n", "b@y.example", "no@y.example"), message(b"2\r\n"), message(b"3\r\n")]

    def decide(what: str, which: str) -> Said:
        return 550 if which.startswith("no") else None

    whole = play(offer, iter(messages()), decide)
    for number, effect in enumerate(whole.effects):
        if not isinstance(effect, Send | Receive):
            continue
        failure = failing()
        run = play(offer, messages(), decide, playing={"throw": {number: failure}})
        assert run.closed
        assert len(run.results) == 3
        assert_true_fates(run, [b"1\r\n", b"2\r\n", b"3\r\n"])
        errors = [result.error for result in run.results]
        assert errors[-1] is failure or failing is reset
        # What was answered stays so, and all that come behind one that broke off have its error.
        first = next((n for n, error in enumerate(errors) if error is not None), len(errors))
        assert all(error is errors[-1] for error in errors[first:])


def test_unknown_begins_with_the_last_octet() -> None:
    large = b"x\r\n" * _GATHERED
    for content, number, fate in ((b"1\r\n", 2, UNKNOWN), (large, 2, NOT_SENT), (large, 3, UNKNOWN)):
        run = play(PIPELINED, [message(content)], playing={"throw": {number: timed_out()}})
        assert isinstance(run.effects[number], Send)
        assert fates(run.results[0]) == [fate]


@pytest.mark.parametrize("garbage", [b"250\xff\r\n", b"nonsense\r\n", b"999 x\r\n", b"354 go\r\n", b"25"])
@EACH_OFFER
def test_a_server_that_does_not_keep_to_the_protocol(offer: tuple[str, ...], garbage: bytes) -> None:
    for number in (1, 2):
        messages = [message(b"%d\r\n" % n) for n in range(3)]
        run = play(offer, messages, nth("RCPT", number, garbage))
        assert [result.fate for result in run.results][: number - 1] == [ACCEPTED] * (number - 1)
        rest = run.results[number - 1 :]
        assert {result.fate for result in rest} <= {NOT_SENT, UNKNOWN}
        if offer != CHUNKED:
            assert {result.fate for result in rest} == {NOT_SENT}
        assert all(isinstance(result.error, RemoteProtocolError) for result in rest)
        assert run.closed


# Whose connection it is --------------------------------------------------------------------------------------------


def test_one_conversation_at_a_time() -> None:
    client = ready_client()
    client.send(Mail("a@x.example"))
    run = Play(flows.deliver(client, *message()), Peer())
    assert isinstance(run.error, LocalProtocolError)
    assert "one conversation at a time" in str(run.error)
    assert run.effects == []


@pytest.mark.parametrize("recipients", [0, 1])
@pytest.mark.rfc("5321", "4.1.4")
def test_a_transaction_of_the_programs_own_is_left_alone(recipients: int) -> None:
    client = ready_client(*PIPELINED)
    ask(client, Mail("own@x.example"), b"250 ok\r\n")
    for _ in range(recipients):
        ask(client, Rcpt("b@y.example"), b"250 ok\r\n")
    before = client.state
    run = Play(flows.deliver(client, *message()), Peer())
    assert isinstance(run.error, LocalProtocolError)
    assert "MAIL is out of sequence" in str(run.error)
    assert (run.sent, client.state) == ([], before)


@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.rfc("5321", "4.1.4")
def test_before_ehlo_and_after_quit() -> None:
    early = ClientConnection()
    receive(early, b"220 mx\r\n")
    late = ready_client()
    ask(late, Quit(), b"221 bye\r\n")
    for client in (early, late):
        run = Play(flows.deliver(client, *message()), Peer())
        assert isinstance(run.error, LocalProtocolError)
        assert run.sent == []


def test_a_connection_that_is_broken_already() -> None:
    client = ready_client()
    with pytest.raises(RemoteProtocolError):
        receive(client, b"nonsense\r\n")
    run = Play(flows.deliver(client, *message()), Peer())
    assert run.result.fate is NOT_SENT
    assert isinstance(run.result.error, RemoteProtocolError)
    assert run.closed


def test_a_connection_is_used_again_and_again() -> None:
    client = ready_client(*CHUNKED)
    peer = Peer(to(no=550))
    for name in ("b", "no", "b"):
        run = Play(flows.deliver(client, *message(b"x\r\n", f"{name}@y.example")), peer)
        assert run.result.fate is (REFUSED if name == "no" else ACCEPTED)
        assert not run.closed
    assert client.state is State.READY
    assert not client.outstanding


@EACH_OFFER
def test_given_up_at_any_effect(offer: tuple[str, ...]) -> None:
    """Nothing more is written, and no other conversation can begin while answers are owed."""
    whole = play(offer, [message(b"1\r\n"), message(b"2\r\n")])
    for number in range(len(whole.effects)):
        client = ready_client(*offer)
        peer = Peer()
        flow = many(client, [message(b"1\r\n"), message(b"2\r\n")])
        with pytest.raises(Given):
            Play(giving_up(flow, number), peer)
        with pytest.raises(StopIteration):
            next(flow)


class Given(BaseException):
    pass


def giving_up(flow: flows.Flow[Any], number: int) -> flows.Flow[Any]:
    answer: object = None
    error: Exception | None = None
    seen = 0
    while True:
        effect = flow.send(answer) if error is None else flow.throw(error)
        answer = error = None
        if not (isinstance(effect, Receive) and effect.timeout == 0):
            seen += 1
        if seen > number:
            flow.close()
            raise Given
        try:
            answer = yield effect
        except TransportError as caught:
            error = caught


def test_nothing_goes_on_after_it_was_given_up_between_two_results() -> None:
    deliveries = flows.Deliveries(ready_client(*CHUNKED), iter([message(b"1\r\n"), message(b"2\r\n")]))
    first = deliveries.next_result()
    next(first)
    first.close()
    run = Play(deliveries.next_result(), Peer())
    assert (run.result, run.effects) == (None, [])


@pytest.mark.parametrize("offer", [PIPELINED, CHUNKED])
def test_the_connection_breaks_when_all_results_are_known(offer: tuple[str, ...]) -> None:
    client = ready_client(*offer)
    run = Play(flows.deliver(client, *message()), Peer(says(RCPT=550, RSET=b"2")))
    assert run.result.fate is REFUSED
    assert run.result.error is None
    assert run.closed


def test_no_message_at_all() -> None:
    run = play(CHUNKED, [])
    assert (run.results, run.sent) == ([], [])


# Fates -------------------------------------------------------------------------------------------------------------


def assert_true_fates(run: Play, contents: list[bytes], senders: list[str] | None = None) -> None:
    """Every fate agrees with what the server has done, however little of it was heard."""
    peer, written = run.peer, b"".join(run.sent)
    assert len(run.results) == len(contents)
    owners = {each.content for each in peer.accepted}
    assert owners <= set(contents)
    for n, (result, content) in enumerate(zip(run.results, contents, strict=True)):
        taken = {each.recipient: each for each in peer.accepted if each.content == content}
        if senders is not None:
            assert {each.sender for each in taken.values()} <= {senders[n]}
        assert {each.recipient.forward_path for each in result.recipients} >= taken.keys()
        for each in result.recipients:
            truth = taken.get(each.recipient.forward_path)
            if truth is not None:
                assert each.fate in (ACCEPTED, UNKNOWN)
                if truth.at <= peer.heard:
                    assert each.fate is ACCEPTED
            if each.fate is ACCEPTED:
                assert truth is not None
                assert truth.at <= peer.heard
            elif each.fate is UNKNOWN:
                assert content in written
                assert result.error is not None
            elif each.fate is REFUSED:
                assert each.reply is not None
                assert each.reply.is_permanent
            elif each.fate is DEFERRED:
                assert each.reply is not None
                assert each.reply.is_transient or each.reply.code == 552
            else:
                assert result.error is not None


def contents_of(count: int) -> list[bytes]:
    return [b"message %d\r\n" % n for n in range(count)]


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("offer", [LOCK_STEP, PIPELINED, CHUNKED])
@pytest.mark.rfc("5321", "4.5.4.1")
@pytest.mark.rfc("5321", "3.8")
def test_a_server_that_is_gone_behind_any_octet(offer: tuple[str, ...], breaks: bool, lmtp: bool) -> None:
    contents = contents_of(3)
    senders = [f"s{n}@x.example" for n in range(3)]
    to_whom = [("b@y.example", "no@y.example", "c@y.example"), ("no@y.example",), ("c@y.example",)]

    def run(until: int | None) -> Play:
        messages = [message(content, *names, sender=sender)
            for content, names, sender in zip(contents, to_whom, senders, strict=True)]  # fmt: skip
        peer = Peer(to(no=550), lmtp=lmtp, keeps_open=True)
        return play((), messages, client=ready_client(*offer, lmtp=lmtp), peer=peer,
            playing={"until": until, "breaks": breaks})  # fmt: skip

    whole = run(None)
    assert [fates(result) for result in whole.results] == [[ACCEPTED, REFUSED, ACCEPTED], [REFUSED], [ACCEPTED]]
    for until in range(len(whole.peer.said) + 1):
        assert_true_fates(run(until), contents, senders)


said = st.sampled_from([None] * 12 + [450, 552, 550, 421])


@given(
    st.sampled_from([LOCK_STEP, ("CHUNKING",), PIPELINED, CHUNKED]),
    st.sampled_from([None, False]),
    st.booleans(),
    st.lists(said, min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=12),
    st.none() | st.integers(0, 3000),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1 << 30, 1 << 30, 7]),
)
@example(CHUNKED, None, False, [None, 550, None], [(1, False), (1, False)], None, False, False, True, 7)
@pytest.mark.rfc("5321", "6.1")
@pytest.mark.rfc("5321", "4.5.4.1")
@pytest.mark.rfc("2920", "3.1")
def test_no_fate_is_better_or_worse_than_the_truth(
    offer: tuple[str, ...],
    chunking: bool | None,
    lmtp: bool,
    plan: list[Said],
    shape: list[tuple[int, bool]],
    until: int | None,
    breaks: bool,
    deaf: bool,
    odd: bool,
    pieces: int,
) -> None:
    answers = cycle(plan)
    peer = Peer(
        lambda what, which: next(answers) if what != "RSET" else None,
        lmtp=lmtp, keeps_open=odd, lone_dot=odd and not lmtp,
    )  # fmt: skip
    contents = contents_of(len(shape))
    senders = [f"s{n}@x.example" for n in range(len(shape))]
    messages: list[Message] = []
    for n, (count, streamed) in enumerate(shape):
        envelope = Envelope(senders[n], [f"r{i}@y.example" for i in range(count)])
        whole = contents[n]
        messages.append((envelope, Streamed([whole[:5], whole[5:]]) if streamed else Whole(whole)))
    run = play(
        (), messages, client=ready_client(*offer, lmtp=lmtp), peer=peer, chunking=chunking,
        playing={"until": until, "breaks": breaks, "deaf": deaf, "pieces": pieces},
    )  # fmt: skip
    assert_true_fates(run, contents, senders)
    gone = peer.closed or (until is not None and len(peer.said) >= until)
    if not gone:
        assert all(result.error is None for result in run.results)
        assert not run.closed
        assert UNKNOWN not in {result.fate for result in run.results}
