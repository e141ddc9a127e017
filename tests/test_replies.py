"""Replies: values, their two spellings, and the parser."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError, RemoteProtocolError
from smtpproto.limits import Limits
from smtpproto.replies import EnhancedStatus, Reply, ReplyMemory, ReplyParser, memory_for, trusted_reply, with_status

codes = st.integers(200, 599)
# Characters of every kind, and octets that are not UTF-8.
characters = st.characters(exclude_characters="\r\n\0", codec="utf-8") | st.integers(0xDC80, 0xDCFF).map(chr)
# Escaped octets beside each other may happen to be UTF-8, and are read as what they say.
texts = st.text(characters, max_size=80).map(
    lambda text: text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
)
replies = st.builds(Reply, codes, st.lists(texts, min_size=1, max_size=5))
statuses = st.builds(EnhancedStatus, st.sampled_from([2, 4, 5]), st.integers(0, 999), st.integers(0, 999))


def parse(data: bytes, limits: Limits | None = None) -> list[Reply]:
    parser = ReplyParser(limits or Limits())
    found = [parser.feed_line(line) for line in data.split(b"\r\n")[:-1]]
    assert not parser.in_progress
    return [reply for reply in found if reply is not None]


@given(st.lists(replies, min_size=1, max_size=4))
@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("2920", "3.1")
def test_what_is_written_reads_the_same(expected: list[Reply]) -> None:
    wire = b"".join(map(bytes, expected))
    assert parse(wire) == expected
    assert b"".join(map(bytes, parse(wire))) == wire


def test_the_octets_of_a_reply_are_made_once_and_are_no_field() -> None:
    reply, other = Reply(250, ("a", "b")), Reply(250, ("a", "b"))
    assert bytes(reply) == b"250-a\r\n250 b\r\n"
    assert bytes(reply) is bytes(reply)
    assert reply == other
    assert hash(reply) == hash(other)
    assert repr(reply) == repr(other)


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("6531", "3.7.4.1")
@pytest.mark.rfc("6531", "3.7.4.2")
@given(st.binary(max_size=80))
@example("grüß".encode("latin-1"))
@example("无法".encode("gbk"))
def test_octets_of_any_encoding_survive(octets: bytes) -> None:
    octets = octets.translate(None, b"\r\n\0")
    wire = b"550 " + octets + b"\r\n"
    (reply,) = parse(wire)
    assert bytes(reply) == wire
    assert str(reply).isprintable()


@given(st.integers() | codes, st.lists(st.text(st.characters() | st.sampled_from("\r\n\0\ud800\udcff")), max_size=3))
def test_any_value_is_refused_or_one_reply_on_the_wire(code: int, lines: list[str]) -> None:
    try:
        reply = Reply(code, lines)
    except LocalProtocolError:
        return
    wire = bytes(reply)
    assert wire.count(b"\r\n") == wire.count(b"\n") == wire.count(b"\r") == len(lines)
    assert len(parse(wire)) == 1


@pytest.mark.rfc("5321", "4.2")
def test_a_reply_is_made_of_a_code_and_lines() -> None:
    assert Reply(250).lines == ("",)
    assert Reply(250, "ok") == Reply(250, ["ok"]) == Reply(250, ("ok",)) == trusted_reply(250, ("ok",))
    assert Reply(250, "ok") != Reply(251, "ok")
    assert Reply(250, ["a", "b"]).text == "a\nb"
    assert bytes(Reply(250)) == b"250 \r\n"
    assert bytes(Reply(250, ["a", "", "b"])) == b"250-a\r\n250-\r\n250 b\r\n"
    match Reply(354, "go"):
        case Reply(354, (text,)):
            assert text == "go"
        case _:
            pytest.fail("a reply does not match its own code and lines")


@pytest.mark.parametrize("code", [199, 600, 0, -250, 2500, True, 250.5])
@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("5321", "4.3.2")
def test_a_code_has_three_digits_and_begins_with_2_to_5(code: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"200\.\.599"):
        Reply(code, "no")


@pytest.mark.parametrize("text", ["a\r\n250 b", "a\n", "a\r", "\0"])
def test_no_line_holds_what_would_end_it(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="line 2 of a reply"):
        Reply(250, ["fine", text])


@pytest.mark.parametrize("number", [0xD800, 0xDC00, 0xDC0A, 0xDC0D, 0xDC7F, 0xDD00, 0xDFFF])
def test_no_line_holds_a_surrogate_that_stands_for_no_octet(number: int) -> None:
    with pytest.raises(LocalProtocolError, match="line 1 of a reply"):
        Reply(250, chr(number))


def test_a_reply_has_a_line() -> None:
    with pytest.raises(LocalProtocolError, match="at least one line"):
        Reply(250, [])


@pytest.mark.parametrize(
    ("code", "kind"), [(250, "is_positive"), (354, "is_intermediate"), (450, "is_transient"), (550, "is_permanent")]
)
@pytest.mark.rfc("5321", "4.2.1")
@pytest.mark.rfc("5321", "4.2")
def test_the_first_digit_says_what_became_of_the_command(code: int, kind: str) -> None:
    kinds = ["is_positive", "is_intermediate", "is_transient", "is_permanent"]
    for edge in (code, code // 100 * 100, code // 100 * 100 + 99):
        assert [name for name in kinds if getattr(Reply(edge), name)] == [kind]


def test_it_prints_for_people_without_harm_to_a_terminal() -> None:
    assert str(Reply(250, ["first", "last"])) == "250-first\n250 last"
    assert str(Reply(250, ["first", "second", "last"])) == "250-first\n250-second\n250 last"
    assert str(Reply(550, "\udc80\udcff")) == "550 \\x80\\xff"
    assert str(Reply(550, "gr\udcfc\udcdf \x1b[2J\t\x9b \u202e ü")) == "550 gr\\xfc\\xdf \\x1b[2J\\t\\x9b \\u202e ü"


def test_a_reply_never_changes() -> None:
    reply = Reply(250, ["2.1.5 ok", "\udcff"])
    with pytest.raises(AttributeError):
        reply.code = 550
    assert pickle.loads(pickle.dumps(reply)) == copy.deepcopy(reply) == reply
    assert hash(Reply(250, "a")) == hash(Reply(250, "a"))


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (250, "2.1.5 ok", EnhancedStatus(2, 1, 5)),
        (550, "5.7.999", EnhancedStatus(5, 7, 999)),
        (450, "4.0.0 later", EnhancedStatus(4, 0, 0)),
        (450, "5.0.0 later", None),
        (354, "3.0.0 go", None),
        (250, "2.01.5 ok", None),
        (250, "2.1.05 ok", None),
        (250, "2.1.1000 ok", None),
        (250, "2.1.5ok", None),
        (250, "2.1.5.1 ok", None),
        (250, " 2.1.5 ok", None),
        (250, "2.1 ok", None),
        (250, "2.\u0661.5 ok", None),
        (250, "", None),
    ],
)
@pytest.mark.rfc("2034", "4")
@pytest.mark.rfc("3463", "2")
def test_an_enhanced_status_code_begins_the_text(code: int, text: str, expected: EnhancedStatus | None) -> None:
    assert Reply(code, [text, "2.2.2 is not looked at"]).enhanced == expected


@given(st.sampled_from([2, 4, 5]), st.integers(0, 999), st.integers(0, 999))
def test_an_enhanced_status_code_reads_as_it_is_written(class_: int, subject: int, detail: int) -> None:
    status = EnhancedStatus(class_, subject, detail)
    assert EnhancedStatus.parse(str(status)) == status
    assert Reply(class_ * 100, f"{status} text").enhanced == status


@pytest.mark.parametrize("text", ["", "2", "2.1", "2.1.5 ", "3.1.5", "2.1.05", "2.1.1000", "2.1.5\n", "x2.1.5"])
@pytest.mark.rfc("3463", "2")
def test_what_is_no_enhanced_status_code(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="no enhanced status code"):
        EnhancedStatus.parse(text)


@pytest.mark.parametrize(
    ("parts", "which"),
    [((3, 1, 5), "class"), ((2, 1000, 5), "subject"), ((2, -1, 5), "subject"), ((2, 1, 1000), "detail")],
)
@pytest.mark.rfc("3463", "2")
def test_the_parts_of_an_enhanced_status_code_have_ranges(parts: tuple[int, int, int], which: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"the {which} of an enhanced"):
        EnhancedStatus(*parts)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"25",
        b"+25 ok",
        b" 25 ok",
        b"2_5 ok",
        b"-250 ok",
        b"999 ok",
        b"199 ok",
        b"600 ok",
        b"250OK",
        b"250\tok",
        b"2500 ok",
        b"250_ok",
        "\uff12\uff15\uff10 ok".encode(),
        "\u00b250 ok".encode(),
        b"HTTP/1.1 400 Bad Request",
        b"SSH-2.0-OpenSSH_9.6",
    ],
)
@pytest.mark.parametrize("before", [[], [b"250-first"]])
@pytest.mark.rfc("5321", "4.2")
def test_what_is_no_line_of_a_reply(line: bytes, before: list[bytes]) -> None:
    parser = ReplyParser(Limits())
    for good in before:
        assert parser.feed_line(good) is None
    with pytest.raises(RemoteProtocolError, match=r"RFC 5321 section 4\.2") as error:
        parser.feed_line(line)
    assert error.value.received == line


@pytest.mark.parametrize(
    ("wire", "lines"),
    [
        (b"250\r\n", [""]),
        (b"250 \r\n", [""]),
        (b"250-\r\n250\r\n", ["", ""]),
        (b"250-a\xff\r\n250-\r\n250", ["a\udcff", "", ""]),
    ],
)
@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("5321", "4.2.1")
def test_a_code_without_text_is_a_reply(wire: bytes, lines: list[str]) -> None:
    assert parse(wire.removesuffix(b"\r\n") + b"\r\n") == [Reply(250, lines)]


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("5321", "4.3.2")
def test_every_code_from_200_to_599_is_one_and_no_other() -> None:
    for number in range(1000):
        line = b"%03d ok" % number
        if 200 <= number <= 599:
            assert parse(line + b"\r\n") == [Reply(number, "ok")]
        else:
            with pytest.raises(RemoteProtocolError):
                parse(line + b"\r\n")


@pytest.mark.parametrize("second", [b"550 no", b"550-no", b"251 no", b"550"])
@pytest.mark.rfc("5321", "4.2.1")
@pytest.mark.rfc("2920", "3.1")
def test_the_lines_of_one_reply_have_one_code(second: bytes) -> None:
    parser = ReplyParser(Limits())
    assert parser.feed_line(b"250-yes") is None
    with pytest.raises(RemoteProtocolError, match=f"250 and {second[:3].decode()}"):
        parser.feed_line(second)


def test_what_is_in_progress_is_told() -> None:
    parser = ReplyParser(Limits())
    seen: list[tuple[bool, bytes]] = []
    for line in (b"220-a\xff", b"220-", b"220", b"250 ok"):
        seen.append((parser.in_progress, parser.received()))
        reply = parser.feed_line(line)
        assert (reply is None) == parser.in_progress
    assert seen == [(False, b""), (True, b"220-a\xff\r\n"), (True, b"220-a\xff\r\n220-\r\n"), (False, b"")]


@pytest.mark.parametrize("line", [b"220-", b"220-0123456789", b"220-" + b"x" * 251, b"220-" + b"x" * 500])
def test_only_the_beginning_of_what_is_in_progress_is_told(line: bytes) -> None:
    # A client asks for it with every piece of a chunk that it sends.
    parser = ReplyParser(Limits())
    for _ in range(100):
        parser.feed_line(line)
    assert parser.received() == (100 * (line + b"\r\n"))[:256]


def test_a_reply_may_not_have_too_many_lines() -> None:
    limits = Limits(reply_lines=3)
    assert parse(b"250-a\r\n250-b\r\n250 c\r\n250 d\r\n", limits) == [Reply(250, ["a", "b", "c"]), Reply(250, "d")]
    parser = ReplyParser(limits)
    for _ in range(3):
        assert parser.feed_line(b"250-a") is None
    with pytest.raises(RemoteProtocolError, match="more than 3 lines"):
        parser.feed_line(b"250 b")


@pytest.mark.parametrize("last", [b"250 ", b"250-"])
def test_a_reply_may_not_have_too_many_octets(last: bytes) -> None:
    limits = Limits(reply_octets=20)
    for good in (b"250-aaaa\r\n250 bbbb\r\n", b"250 " + b"c" * 14 + b"\r\n"):
        assert len(good) == 20
        # Twice, as one reply must not count towards the next.
        assert len(parse(good + good, limits)) == 2
    parser = ReplyParser(limits)
    assert parser.feed_line(b"250-aaaa") is None
    with pytest.raises(RemoteProtocolError, match="more than 20 octets"):
        parser.feed_line(last + b"bbbbb")
    # Also if another connection has made the line known.
    line = last + b"d" * 15
    ReplyParser(Limits()).feed_line(line)
    with pytest.raises(RemoteProtocolError, match="more than 20 octets"):
        ReplyParser(limits).feed_line(line)


def test_an_ehlo_reply_of_64_kib_passes_and_an_endless_one_does_not() -> None:
    assert len(parse(b"250-" + b"x" * 58 + b"\r\n" + b"250-LINE\r\n" * 6500 + b"250 END\r\n")) == 1
    with pytest.raises(RemoteProtocolError, match="more than 131072 octets"):
        parse(b"250-AGAIN AND AGAIN\r\n" * 10_000)


@given(st.lists(st.sampled_from([b"250 ok", b"250-ok", b"250", b"550 " + b"x" * 100, b"250-" + b"y" * 90]), max_size=9))
def test_short_and_long_lines_make_the_same_replies(lines: list[bytes]) -> None:
    """Short ones are remembered, and known ones must be no different."""
    results: list[Any] = []
    for suffix in (b"", b" " * 70):
        parser = ReplyParser(Limits())
        result: list[Any] = []
        try:
            for line in lines:
                reply = parser.feed_line(line + (suffix if len(line) > 3 else b""))
                result.append(reply and (reply.code, [text.rstrip() for text in reply.lines]))
        except RemoteProtocolError as error:
            result.append(str(error).split(" (received")[0])
        results.append((result, parser.in_progress))
    assert results[0] == results[1]


# -- enhanced status codes for all --------------------------------------------------------------------------------


@pytest.mark.rfc("2034", "4")
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(250, "ok"), Reply(250, "2.0.0 ok")),
        (Reply(451, "later"), Reply(451, "4.0.0 later")),
        (Reply(550, ""), Reply(550, "5.0.0 ")),
        (Reply(550, "5.1.1 no such user"), Reply(550, "5.1.1 no such user")),
        (Reply(550, "5.1.1"), Reply(550, "5.1.1")),
        # The codes agree with the reply's own.
        (Reply(550, "2.1.5 ok"), Reply(550, "5.0.0 2.1.5 ok")),
        (Reply(250, "5.1.1 is what I do not say"), Reply(250, "2.0.0 5.1.1 is what I do not say")),
        (Reply(450, "4.01.1 is none"), Reply(450, "4.0.0 4.01.1 is none")),
        (Reply(450, "4.7.1, is none"), Reply(450, "4.0.0 4.7.1, is none")),
        # Those of one reply are the same.
        (Reply(550, ("one", "two", "")), Reply(550, ("5.0.0 one", "5.0.0 two", "5.0.0 "))),
        (Reply(550, ("5.7.1 one", "two")), Reply(550, ("5.7.1 one", "5.7.1 two"))),
        (Reply(550, ("one", "5.7.1 two")), Reply(550, ("5.7.1 one", "5.7.1 two"))),
        (Reply(550, ("5.1.1 one", "5.7.1 two")), Reply(550, ("5.1.1 one", "5.1.1 5.7.1 two"))),
        (Reply(550, ("4.1.1 one", "5.7.1 two")), Reply(550, ("5.7.1 4.1.1 one", "5.7.1 two"))),
        # A reply 3yz has none.
        (Reply(354, "go ahead"), Reply(354, "go ahead")),
        (Reply(334, ""), Reply(334, "")),
    ],
)
def test_with_status(reply: Reply, expected: Reply) -> None:
    assert with_status(reply) == expected


@pytest.mark.rfc("3463", "3.2")
@pytest.mark.rfc("2034", "4")
def test_the_usual_status_is_used_where_its_class_is_the_replys() -> None:
    usual = EnhancedStatus(2, 1, 5)
    assert with_status(Reply(250, "ok"), usual) == Reply(250, "2.1.5 ok")
    assert with_status(Reply(250, "2.1.0 ok"), usual) == Reply(250, "2.1.0 ok")
    assert with_status(Reply(550, "no"), usual) == Reply(550, "5.0.0 no")


@pytest.mark.rfc("2034", "4")
@given(
    code=st.integers(200, 599),
    lines=st.lists(st.sampled_from(["", "x", "2.1.5 ok", "4.2.2 full", "5.1.1", "5.1.1 no"]), min_size=1, max_size=4),
    default=st.none() | statuses,
)
def test_with_status_has_one_at_each_line_and_keeps_the_text(
    code: int, lines: list[str], default: EnhancedStatus | None
) -> None:
    reply = Reply(code, lines)
    made = with_status(reply, default)
    assert with_status(made, default) == made
    assert made.code == code
    assert all(one.endswith(text) for one, text in zip(made.lines, lines, strict=True))
    if reply.is_intermediate:
        assert made is reply
        return
    assert made.enhanced is not None
    assert {Reply(code, line).enhanced for line in made.lines} == {made.enhanced}
    if reply.enhanced is not None:
        assert made.enhanced == reply.enhanced


def test_a_short_reply_is_made_once_for_all_connections_and_a_long_one_is_not_kept() -> None:
    short, long = b"250 ".ljust(64, b"x"), b"250 ".ljust(65, b"x")
    parser, other = ReplyParser(Limits()), ReplyParser(Limits())
    assert parser.feed_line(short) is other.feed_line(short) is not None
    assert parser.feed_line(long) == other.feed_line(long)
    assert parser.feed_line(long) is not other.feed_line(long)


def test_the_first_reply_of_all_begins_at_the_beginning() -> None:
    assert (ReplyParser(Limits()).position, ReplyParser(Limits(), 7).position) == (0, 7)


def test_what_is_remembered_is_little_and_no_challenge() -> None:
    memory, ok = ReplyMemory(), Reply(250, "ok")
    for octets in (b"x" * 64, b"x" * 65, b"x" * 1024, b"x" * 1025):
        memory.remember(octets, ok)
        memory.remember_line(octets, ok)
    memory.remember(b"334 c2VjcmV0\r\n", Reply(334, "c2VjcmV0"))
    memory.remember_line(b"334 c2VjcmV0", Reply(334, "c2VjcmV0"))
    assert memory.by_octets == {b"x" * 64: ok, b"x" * 65: ok, b"x" * 1024: ok}
    assert memory.by_line == {b"x" * 64: ok}


def test_however_many_replies_a_peer_makes_up_few_are_remembered() -> None:
    memory, most = ReplyMemory(), 0
    for number in range(1000):
        memory.remember(b"250 %d\r\n" % number, Reply(250, str(number)))
        memory.remember_line(b"250 %d" % number, Reply(250, str(number)))
        most = max(most, len(memory.by_octets), len(memory.by_line))
    assert most == ReplyMemory.MOST
    assert memory.by_line[b"250 999"] == memory.by_octets[b"250 999\r\n"] == Reply(250, "999")


@pytest.mark.parametrize(
    ("limits", "may"),
    [
        (Limits(), True),
        (Limits(reply_line=1024, reply_octets=1024, reply_lines=171), True),
        (Limits(reply_line=1023), False),
        (Limits(reply_octets=1023), False),
        (Limits(reply_lines=170), False),
    ],
)
def test_nothing_is_taken_from_memory_where_it_could_be_more_than_the_limits_allow(limits: Limits, may: bool) -> None:
    memory = memory_for(limits)
    memory.remember(b"250 a\r\n", Reply(250, "a"))
    assert (memory_for(Limits()) is memory) == may == bool(memory.by_octets)
