"""Content: stuffing and unstuffing however it is cut, and what does not end the data."""

from __future__ import annotations

import re
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto import content as room
from smtpproto.commands import Data, EndOfData, Noop
from smtpproto.content import LineEnds, Normaliser, Stuffer, Unstuffer, objection_to, size_as_sent
from smtpproto.errors import LocalProtocolError
from smtpproto.events import BadCommand, CommandReceived, ContentReceived
from smtpproto.replies import Reply
from tests.driving import ask, give, mailing_client, mailing_server, upcoming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smtpproto.events import Event

POLICIES = list(LineEnds)

pieces = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"text", b"\r\n.", b"\r\n.\r", b"\n.\n", b"x" * 40, b"\0", b"\xff"]
)
octets = st.lists(pieces, max_size=30).map(b"".join)
# Without NUL: what every policy but REFUSE takes.
texts = octets.map(lambda data: data.replace(b"\0", b""))


def equal_lines(width: int, count: int, start: int, line_end: bytes, tail: bytes) -> bytes:
    return (b"A" * width + line_end) * count + tail[start:]


# Lines of one length too, as in base64, where a shorter way is gone.
encoded = st.builds(
    equal_lines,
    st.integers(0, 5),
    st.integers(1, 6),
    st.integers(0, 3),
    st.sampled_from([b"\r\n", b"\n", b"\r", b"\n\r"]),
    st.sampled_from([b"", b"AAA\r\n", b"A\nA", b"A\rA\r\n", b"\r\n", b".\r\n", b"A\r"]),
)
contents = texts | encoded
places = st.lists(st.integers(0, 300), max_size=12)


def cut(data: bytes, where: Iterable[int]) -> list[bytes]:
    borders = [0, *sorted({place % (len(data) + 1) for place in where}), len(data)]
    return [data[here:there] for here, there in pairwise(borders)]


def normalised(data: bytes) -> bytes:
    """In plain words: each of the three line ends becomes CRLF, and the last line gets one."""
    text = re.sub(rb"\r\n|\r|\n", b"\r\n", data)
    return text if not text or text.endswith(b"\r\n") else text + b"\r\n"


def stuff(chunks: Iterable[bytes], line_ends: LineEnds = LineEnds.NORMALISE) -> bytes:
    stuffer = Stuffer(line_ends)
    return b"".join([*map(stuffer.stuff, chunks), stuffer.end()])


def unstuff(chunks: list[bytes], *, accept_bare: bool = False) -> tuple[bytes, str | None, bytes | None]:
    """The content, the violation, and what followed the end; None if the end did not come."""
    unstuffer = Unstuffer(accept_bare=accept_bare)
    found = b""
    for index, chunk in enumerate(chunks):
        content, end = unstuffer.receive(chunk)
        found += content
        if end is not None:
            return found, unstuffer.violation, b"".join([chunk[end:], *chunks[index + 1 :]])
    return found, unstuffer.violation, None


def plainly_unstuffed(wire: bytes) -> tuple[bytes, str | None, bytes | None]:
    """The rules once more, line by line: RFC 5321 section 4.5.2."""
    content = b""
    rest = wire
    ended = False
    while b"\r\n" in rest:
        line, _, rest = rest.partition(b"\r\n")
        if line == b".":
            ended = True
            break
        content += line.removeprefix(b".") + b"\r\n"
    if not ended:
        # What may still become the end is held back.
        last = rest.removesuffix(b"\r")
        content += b"" if last == b"." else rest.removeprefix(b".")
    raw = wire[: len(wire) - len(rest)] if ended else wire.removesuffix(b"\r")
    fault = re.search(rb"\0|\r(?!\n)|(?<!\r)\n", raw)
    name = {b"\0": "NUL", b"\r": "bare CR", b"\n": "bare LF"}[fault[0]] if fault else None
    return content, name, rest if ended else None


@given(contents, places, places, st.sampled_from([b"", b"QUIT\r\n", b"\r\n", b".\r\n"]))
@example(b"", [], [], b"")
@example(b".", [], [], b"")
@example(b"\r", [], [], b"")
@example(b"a\r\n\r", [3], [], b"")
@example(b".\r\n.", [1, 2, 3], [1, 2, 3, 4, 5], b"")
@pytest.mark.rfc("5321", "4.5.2")
def test_what_is_stuffed_unstuffs_to_the_same(data: bytes, here: list[int], there: list[int], after: bytes) -> None:
    wire = stuff(cut(data, here))
    assert wire == stuff([data])
    assert unstuff(cut(wire + after, there)) == (normalised(data), None, after)


@given(contents, places)
@pytest.mark.rfc("5321", "4.5.2")
def test_all_policies_agree_on_what_is_normal(data: bytes, where: list[int]) -> None:
    text = normalised(data)
    wires = {stuff(cut(text, where), policy) for policy in POLICIES}
    assert len(wires) == 1


@given(contents, places, st.sampled_from(POLICIES))
@pytest.mark.rfc("5321", "4.1.1.4")
def test_no_content_ends_the_data_before_its_end(data: bytes, where: list[int], policy: LineEnds) -> None:
    try:
        wire = stuff(cut(data, where), policy)
    except LocalProtocolError:
        assert policy is LineEnds.REFUSE
        return
    # Neither for those who know what the end is, nor for those who take LF.LF for it.
    assert (b"\r\n" + wire).index(b"\r\n.\r\n") == len(wire) - 3
    assert re.search(rb"(?:\A|\n)\.\r?\n", wire).end() == len(wire)  # type: ignore[union-attr]


@given(octets | encoded, places)
@example(b"\r", [])
@example(b"\r\n", [1])
@example(b"a\r\nb\nc", [2])
@example(b"a\r\r\n", [2])
@pytest.mark.rfc("5321", "2.3.8")
def test_refuse_refuses_just_what_is_bare_and_tells_where(data: bytes, where: list[int]) -> None:
    fault = re.search(rb"\0|\r(?!\n)|(?<!\r)\n", data)
    stuffer = Stuffer(LineEnds.REFUSE)
    if fault is None:
        out = b"".join(map(stuffer.stuff, cut(data, where)))
        assert out == (b"\r\n" + data).replace(b"\r\n.", b"\r\n..")[2:]
        stuffer.end()
        return
    name = {b"\0": "NUL", b"\r": "bare CR", b"\n": "bare LF"}[fault[0]]
    with pytest.raises(LocalProtocolError, match=f"has a {name} at octet {fault.start()}:"):
        stuff(cut(data, where), LineEnds.REFUSE)


@given(texts, octets, places)
@pytest.mark.rfc("5321", "4.5.2")
def test_a_refused_chunk_changes_nothing(before: bytes, after: bytes, where: list[int]) -> None:
    for policy in (LineEnds.NORMALISE, LineEnds.REFUSE):
        stuffer, other = Stuffer(policy), Stuffer(policy)
        for chunk in cut(normalised(before), where):
            assert stuffer.stuff(chunk) == other.stuff(chunk)
        with pytest.raises(LocalProtocolError, match=f"NUL at octet {len(normalised(before)) + 3}:"):
            stuffer.stuff(b".\r\n\0" + after)
        assert stuffer.stuff(b".\r") == other.stuff(b".\r")
        assert stuffer.stuff(b"\n") == other.stuff(b"\n")
        assert stuffer.end() == other.end()


LONG = b"a line with a dot.\r\n" * 8000
"""More than is looked at at once."""


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "chunk", [b"", b"text", b"a.b\r\n", b"a\r\nb\r\n", b"x" * 50 + b"\r\n" + b"y.\r\n", (b"A" * 76 + b"\r\n") * 9, LONG]
)
def test_the_chunk_itself_comes_back_where_nothing_changes(policy: LineEnds, chunk: bytes) -> None:
    assert Stuffer(policy).stuff(chunk) is chunk


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        (b"", b".\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n.\r\n", b"..\r\n..\r\n.\r\n"),
        (b"\n.\n", b"\r\n..\r\n.\r\n"),
        (b"\r.\r", b"\r\n..\r\n.\r\n"),
        (b"a\rb\nc\r\nd", b"a\r\nb\r\nc\r\nd\r\n.\r\n"),
        (b"a\r\r\nb", b"a\r\n\r\nb\r\n.\r\n"),
        (b"a\n\rb", b"a\r\n\r\nb\r\n.\r\n"),
    ],
)
@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.rfc("5321", "4.1.1.4")
def test_normalise(data: bytes, wire: bytes) -> None:
    stuffer = Stuffer()
    # Twice: after its end it begins anew.
    for _ in range(2):
        assert stuffer.stuff(data) + b"".join([stuffer.end()]) == wire


@pytest.mark.parametrize(
    ("chunks", "wire"),
    [
        ([b"a\n"], b"a\n\r\n.\r\n"),
        ([b"a\r"], b"a\r\r\n.\r\n"),
        ([b"a\r", b"\n"], b"a\r\n.\r\n"),
        ([b"\n", b"."], b"\n..\r\n.\r\n"),
        ([b"a\0\n.b\r\n"], b"a\0\n..b\r\n.\r\n"),
    ],
)
@pytest.mark.rfc("5321", "4.1.1.4")
def test_trusted_content_cannot_hide_the_end_either(chunks: list[bytes], wire: bytes) -> None:
    assert stuff(chunks, LineEnds.TRUSTED) == wire


@given(st.integers(1, 400), st.integers(0, 200))
def test_few_dots_and_many_dots_are_stuffed_alike(dotted: int, plain: int) -> None:
    lines = [b".x"] * dotted + [b"yyyyyyyyyy" * 7] * plain + [b"."]
    wire = b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines) + b".\r\n"
    content = b"".join(line + b"\r\n" for line in lines)
    assert stuff([content]) == wire
    assert unstuff([wire]) == (content, None, b"")


@given(octets | encoded, st.sampled_from([b"", b"\r\n.\r\n", b"\r\n.\r\nQUIT\r\n"]), places)
@example(b".\r", b"", [1])
@example(b"a\r\n.\r", b"", [3, 4])
@example(b".\r\r\n.\r\n", b"", [2])
@example(b"\0\r", b"x", [1])
@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.rfc("5321", "4.1.1.4")
def test_unstuffing_does_what_the_rules_say_however_it_is_cut(data: bytes, after: bytes, where: list[int]) -> None:
    wire = data + after
    expected = plainly_unstuffed(wire)
    assert unstuff([wire]) == expected
    assert unstuff(cut(wire, where)) == expected
    assert unstuff([wire[i : i + 1] for i in range(len(wire))]) == expected
    content, _, rest = expected
    assert unstuff(cut(wire, where), accept_bare=True) == (content, None, rest)


BEFORE = [b"", b"\r", b"\n", b"\0", b"\r\n", b"\r\r\n", b"\r\n\r", b"\n\r", b"\n\n", b"\r\r", b"\r\n\n", b"\r\n "]
AFTER = [b"", b"\r", b"\n", b"\0", b"\r\n", b"\r\r\n", b"\n\r", b"\n\n", b" \r\n"]


@pytest.mark.parametrize(("before", "after"), list(product(BEFORE, AFTER)))
@pytest.mark.parametrize("accept_bare", [False, True])
@pytest.mark.parametrize("first", [b"a", b"..stuffed\r\na"])
@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.rfc("5321", "2.3.8")
def test_only_crlf_dot_crlf_ends_the_data(before: bytes, after: bytes, first: bytes, accept_bare: bool) -> None:
    wire = first + before + b"." + after + b"MAIL FROM:<forged@example.com>\r\n"
    ends = before.endswith(b"\r\n") and after == b"\r\n"
    for chunks in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        _, violation, rest = unstuff(chunks, accept_bare=accept_bare)
        assert (rest is not None) == ends
        if ends:
            assert rest == b"MAIL FROM:<forged@example.com>\r\n"
        bare = re.search(rb"\0|\r(?!\n)|(?<!\r)\n", wire[: wire.index(b"MAIL")])
        assert (violation is not None) == (bare is not None and not accept_bare)


@pytest.mark.parametrize(
    ("start", "ends"),
    [(b".\r\n", True), (b".\n", False), (b".\r", False), (b".\r\r\n", False), (b"\n.\r\n", False), (b"\r.\r\n", False)],
)
@pytest.mark.rfc("5321", "4.1.1.4")
def test_the_line_end_behind_data_is_the_first_one_of_the_end(start: bytes, ends: bool) -> None:
    assert (unstuff([start])[2] is not None) == ends


@given(octets, st.integers(0, 9))
def test_it_can_begin_in_the_middle_of_what_was_received(data: bytes, start: int) -> None:
    before = b"DATA\r\n354\r\n"[:start]
    content, end = Unstuffer().receive(before + data + b"\r\n.\r\nQUIT\r\n", start)
    expected, _, rest = unstuff([data + b"\r\n.\r\nQUIT\r\n"])
    assert content == expected
    assert end is not None
    assert (before + data + b"\r\n.\r\nQUIT\r\n")[end:] == rest


def test_only_what_may_be_the_end_is_held_back() -> None:
    unstuffer = Unstuffer()
    given_out = [
        unstuffer.receive(octet)[0] for octet in (b"a", b"\r", b"\n", b".", b"\r", b"b", b"\r", b"\n", b".", b".")
    ]
    assert given_out == [b"a", b"\r", b"\n", b"", b"", b"\rb", b"\r", b"\n", b"", b"."]


def test_content_without_dots_comes_back_itself() -> None:
    unstuffer = Unstuffer()
    assert unstuffer.receive(b"first ") == (b"first ", None)
    chunk = (b"A" * 76 + b"\r\n") * 100 + b"AAA"
    assert unstuffer.receive(chunk)[0] is chunk


class Copied(bytes):
    """Octets that count how many of them are copied."""

    copied = 0

    def __getitem__(self, index: Any) -> Any:
        part = cast("bytes", super().__getitem__(index))
        Copied.copied += len(part)
        return part


def test_many_messages_that_come_at_once_cost_linear_work() -> None:
    Copied.copied = 0
    stream = Copied((b"line\r\n" * 100 + b".\r\n") * 5000)
    at: int | None = 0
    while at is not None and at < len(stream):
        content, at = Unstuffer().receive(stream, at)
        assert content == b"line\r\n" * 100
    assert at == len(stream)
    assert Copied.copied <= 5000 * 65536


@pytest.mark.parametrize("size", [65535, 65536, 65537, 200_000])
def test_content_of_any_size_may_come_at_once(size: int) -> None:
    data = (b".line\r\n" * (size // 7 + 1))[: size - 2] + b"\r\n"
    wire = data.replace(b"\r\n.", b"\r\n..")
    content, end = Unstuffer(accept_bare=True).receive(b"." + wire + b".\r\nQUIT\r\n")
    assert content == data
    assert end == len(wire) + 4


def test_behind_the_end_are_commands() -> None:
    unstuffer = Unstuffer()
    assert unstuffer.receive(b".\r\nQUIT\r\n") == (b"", 3)
    with pytest.raises(LocalProtocolError, match="has ended"):
        unstuffer.receive(b"QUIT\r\n")


def test_a_violation_in_what_follows_the_end_is_none_of_the_content() -> None:
    unstuffer = Unstuffer()
    assert unstuffer.receive(b"a\r\n.\r\n\n\0\r") == (b"a\r\n", 6)
    assert unstuffer.violation is None


@pytest.mark.parametrize("octet", [b"\r", b"\n", b"\0"])
@pytest.mark.rfc("5321", "2.3.8")
def test_a_bare_line_end_is_found_anywhere_in_lines_of_one_length(octet: bytes) -> None:
    plain = b"AAAA\r\n" * 5
    for position in range(len(plain)):
        data = plain[:position] + octet + plain[position + 1 :]
        fault = re.search(rb"\0|\r(?!\n)|(?<!\r)\n", data)
        _, violation, _ = unstuff([data + b".\r\n"])
        assert (violation is not None) == (fault is not None)
        if octet != b"\0":
            assert stuff([data]) == normalised(data) + b".\r\n"
        if fault is not None:
            with pytest.raises(LocalProtocolError, match=f"at octet {fault.start()}:"):
                stuff([data], LineEnds.REFUSE)


# Without dots ------------------------------------------------------------------------------------------------------


def normalise(chunks: Iterable[bytes], line_ends: LineEnds = LineEnds.NORMALISE) -> bytes:
    normaliser = Normaliser(line_ends)
    return b"".join([*map(normaliser.normalise, chunks), normaliser.end()])


@given(contents, places)
@example(b"", [])
@example(b"\r", [0, 1])
@example(b"a\r\nb", [2])
@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.rfc("3030", "2")
def test_what_goes_in_chunks_is_normalised_however_it_is_cut(data: bytes, where: list[int]) -> None:
    """Also where a chunk is all that there is, as with BDAT: the last line gets its end once."""
    whole = normalise([data])
    assert whole == normalised(data)
    assert normalise(cut(data, where)) == whole
    assert normalise(data[i : i + 1] for i in range(len(data))) == whole
    assert normalise([whole]) == whole


@given(contents, places, st.sampled_from(POLICIES))
@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.rfc("5321", "4.1.1.4")
def test_stuffing_is_normalising_and_dots(data: bytes, where: list[int], policy: LineEnds) -> None:
    try:
        plain = normalise(cut(data, where), policy)
    except LocalProtocolError as error:
        with pytest.raises(LocalProtocolError, match=re.escape(str(error))):
            stuff(cut(data, where), policy)
        return
    assert stuff(cut(data, where), policy) == (b"\n" + plain).replace(b"\n.", b"\n..")[1:] + b".\r\n"


def sent(chunks: Iterable[bytes], policy: LineEnds) -> bytes | str:
    try:
        return stuff(chunks, policy)
    except LocalProtocolError as error:
        return str(error)


@given(contents, places, st.integers(1, 8), st.sampled_from(POLICIES))
@example(b"ab\r\n.c\r\n", [1], 2, LineEnds.TRUSTED)
@example(b"aa\r\nb", [], 3, LineEnds.REFUSE)
@pytest.mark.rfc("5321", "4.5.2")
def test_content_that_is_looked_at_in_parts_is_sent_as_the_whole_is(
    data: bytes, where: list[int], window: int, policy: LineEnds
) -> None:
    whole = sent(cut(data, where), policy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_WINDOW", window)
        assert sent(cut(data, where), policy) == whole


@pytest.mark.parametrize("policy", POLICIES)
def test_a_chunk_that_needs_no_change_is_not_copied(policy: LineEnds) -> None:
    normaliser = Normaliser(policy)
    for chunk in (b"", b"a\r\n", b".\r\n.\r\n", (b"A" * 76 + b"\r\n") * 9, b"a"):
        assert normaliser.normalise(chunk) is chunk
    assert normaliser.end() == b"\r\n"
    assert normaliser.end() == b""


@given(octets | encoded, st.sampled_from(POLICIES))
@example(b"a\r", LineEnds.REFUSE)
@example(b"\0", LineEnds.NORMALISE)
@example(b"\0", LineEnds.TRUSTED)
@example(b"a\r", LineEnds.TRUSTED)
@example(b"a\n", LineEnds.NORMALISE)
@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.rfc("1870", "5")
def test_what_can_be_said_of_content_before_it_is_sent(data: bytes, policy: LineEnds) -> None:
    objection = objection_to(data, policy)
    if objection is None:
        assert size_as_sent(data, policy) == len(normalise([data], policy))
    else:
        with pytest.raises(LocalProtocolError, match=re.escape(objection)):
            normalise([data], policy)


# At the dot --------------------------------------------------------------------------------------------------------

FORGED = b"MAIL FROM:<forged@example.com>\r\n"


@pytest.mark.parametrize(("before", "after"), list(product(BEFORE, AFTER)))
@pytest.mark.parametrize("accept_bare", [False, True])
@pytest.mark.rfc("5321", "4.1.1.4")
def test_a_server_stays_in_step_whatever_is_around_a_dot(before: bytes, after: bytes, accept_bare: bool) -> None:
    """What is behind a dot that ends nothing is content and no command, and what has bare line ends is refused."""
    ends = before.endswith(b"\r\n") and after == b"\r\n"
    bare = re.search(rb"\0|\r(?!\n)|(?<!\r)\n", b"a" + before + b"." + after + (b"" if ends else FORGED))
    wire = b"a" + before + b"." + after + (b"" if ends else FORGED + b".\r\n") + b"NOOP\r\n"
    for chunks in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        server = mailing_server("b@y.example", accept_bare=accept_bare)
        give(server, b"DATA\r\n", 354)
        found: list[Event] = []
        for chunk in chunks:
            server.receive_data(chunk)
            found += upcoming(server)
        end = found[-1]
        if bare is not None and not accept_bare:
            assert isinstance(end, BadCommand)
            assert (end.command, end.reply.code) == (EndOfData(), 554)
            server.send(end.reply)
        else:
            assert end == CommandReceived(EndOfData())
            server.send(Reply(250, "ok"))
        content = b"".join(event.data for event in found if isinstance(event, ContentReceived))
        assert len(found) == 1 + sum(isinstance(event, ContentReceived) for event in found)
        assert (FORGED in content) is not ends
        assert list(upcoming(server)) == [CommandReceived(Noop())]


@pytest.mark.parametrize(("before", "after"), list(product(BEFORE, AFTER)))
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.rfc("5321", "4.1.1.4")
def test_a_client_sends_no_end_but_the_end(before: bytes, after: bytes, policy: LineEnds) -> None:
    """Nor what a server takes for it that sees an end in LF.LF or LF.CRLF (CVE-2023-51764)."""
    data = b"a" + before + b"." + after + FORGED
    for chunks in ([data], [data[i : i + 1] for i in range(len(data))]):
        client = mailing_client("b@y.example", line_ends=policy)
        ask(client, Data(), b"354 go\r\n")
        try:
            wire = b"".join(map(client.send_content, chunks)) + client.send(EndOfData())
        except LocalProtocolError:
            assert objection_to(data, policy) is not None
            continue
        assert re.search(rb"(?:\A|\n)\.\r?\n", wire).end() == len(wire)  # type: ignore[union-attr]
        content, _, rest = unstuff([wire], accept_bare=True)
        assert rest == b""
        # What was vouched for wrongly may get a dot too many.
        if policy is not LineEnds.TRUSTED or objection_to(data, LineEnds.REFUSE) is None:
            assert content == normalise([data], policy)


@pytest.mark.rfc("5321", "2.3.8")
def test_what_is_bare_is_a_violation_unless_it_is_to_be_accepted() -> None:
    for unstuffer, violation in ((Unstuffer(), "bare LF"), (Unstuffer(accept_bare=True), None)):
        assert unstuffer.receive(b"a\nb\r\n.\r\n")[1] == 8
        assert unstuffer.violation == violation


@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.parametrize("start", [0, 3])
def test_content_that_comes_at_once_and_is_more_than_is_unstuffed_at_once(start: int) -> None:
    text = b"..line\r\n" * 20_000
    unstuffer = Unstuffer()
    assert unstuffer.receive(b"x" * start + text, start) == (b".line\r\n" * 20_000, None)
    assert unstuffer.receive(b"x" * start + text + b".\r\nQUIT\r\n", start) == (
        b".line\r\n" * 20_000,
        start + len(text) + 3,
    )


ONE_BY_ONE = (
    b"a\r\nb\r\n",
    b"\r\n\r\n",
    b"ab\r\ncd\r\nef",
    b"a\r\nb\r\nc\n",
    b"abc\r\nd\r\ne\r\n",
    b"abc\r\nd\r\nef\r\n",
    b"a\rb\r\nc\rd\r\n",
)

SHORT_WAY: Callable[[bytes], bool] = vars(room)["_has_equal_lines"]


def has_equal_lines(octets: bytes) -> bool:
    """The rule in plain words: the end of a line, others that are of one length, and a line without its end."""
    *whole, rest = octets.split(b"\r\n")
    lengths = {len(line) for line in whole[1:]}
    stray = any(octet in part for part in (*whole, rest) for octet in (b"\r", b"\n"))
    return len(lengths) == 1 and len(rest) <= len(whole[1]) and not stray


@given(
    st.integers(0, 5),
    st.integers(0, 4),
    st.binary(max_size=3) | st.sampled_from([b"x\r", b"\rx\r\n", b"xx\r\n", b"x\n"]),
)
def test_the_short_way_for_lines_of_one_length_is_taken_where_it_can_be(width: int, count: int, rest: bytes) -> None:
    for octets in (*ONE_BY_ONE, (b"x" * width + b"\r\n") * count + rest):
        assert SHORT_WAY(octets) == has_equal_lines(octets)
