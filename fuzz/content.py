"""Content is normalised, stuffed and unstuffed as an oracle that looks at one octet after the other does it, however it
is cut; what was stuffed comes back as it was normalised, and what a chunk held as it was.

The first octet chooses the policy for line ends, and with 4 that bare ones are accepted; the second how it is cut.
"""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING, Final

from fuzz import _transcripts
from fuzz._harness import chosen
from smtpproto import (
    NEED_DATA,
    CommandReceived,
    Connection,
    ContentReceived,
    EhloReply,
    LineEnds,
    Reply,
    Role,
    commands,
)
from smtpproto.content import Normaliser, Stuffer, Unstuffer, objection_to, size_as_sent
from smtpproto.testing import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLICIES: Final = tuple(LineEnds)
_ACCEPT_BARE: Final = 4
_END: Final = b"\r\n.\r\n"


def test_one_input(data: bytes) -> None:
    how, content = chosen(data), data[2:]
    chance = Random(chosen(data, 1))
    cut = pieces(content, [chance.randrange(len(content) + 1) for _ in range(chance.randrange(8))])
    sending(content, cut, _POLICIES[how % len(_POLICIES)], chance)
    receiving(content, cut, accept_bare=bool(how & _ACCEPT_BARE))
    chunk(content, cut)


# -- sending ----------------------------------------------------------------------------------------------------------


def sending(content: bytes, cut: list[bytes], policy: LineEnds, chance: Random) -> None:
    expected = as_normalised(content, policy)
    assert (objection_to(content, policy) is not None) is (expected is None)
    if expected is None:
        return
    normaliser = Normaliser(policy)
    assert b"".join(map(normaliser.normalise, cut)) + normaliser.end() == expected
    assert size_as_sent(content, policy) == len(expected)
    stuffer = Stuffer(policy)
    wire = b"".join(map(stuffer.stuff, cut)) + stuffer.end()
    assert wire == as_stuffed(expected) + b".\r\n"
    assert (b"\r\n" + wire).index(_END) == len(wire) - 3, "it ends before its end"
    if policy is not LineEnds.TRUSTED:
        again = pieces(wire, [chance.randrange(len(wire) + 1) for _ in range(4)])
        assert unstuffed(again, accept_bare=False) == (expected, None, len(wire))


def as_normalised(content: bytes, policy: LineEnds) -> bytes | None:
    """With the line end that it lacks; None where the policy refuses it."""
    if policy is not LineEnds.TRUSTED and b"\0" in content:
        return None
    if policy is LineEnds.NORMALISE:
        content = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    elif policy is LineEnds.REFUSE and first_fault(content) is not None:
        return None
    return content if not content or content.endswith(b"\r\n") else content + b"\r\n"


def as_stuffed(content: bytes) -> bytes:
    """Behind a bare LF too, which only a program that vouched for its line ends has let through."""
    return b"\n".join(b"." + line if line.startswith(b".") else line for line in content.split(b"\n"))


# -- receiving --------------------------------------------------------------------------------------------------------


def receiving(stream: bytes, cut: list[bytes], *, accept_bare: bool) -> None:
    content, violation, end = unstuffed(cut, accept_bare=accept_bare)
    stop = (b"\r\n" + stream).find(_END)
    if stop < 0:
        # What may become the end is held back, and all the rest has come out.
        assert end is None
        body = as_unstuffed(stream)
        assert body.startswith(content)
        assert len(body) - len(content) <= 2
        assert violation in (None if accept_bare else first_fault(stream), first_fault(stream[:-1]))
    else:
        assert end == stop + len(_END) - 2
        assert content == as_unstuffed(stream[:stop])
        assert violation == (None if accept_bare else first_fault(stream[:stop]))


def unstuffed(cut: list[bytes], *, accept_bare: bool) -> tuple[bytes, str | None, int | None]:
    """The content, what it must not have, and where it ended."""
    unstuffer = Unstuffer(accept_bare=accept_bare)
    content, position = b"", 0
    for piece in cut:
        given, used = unstuffer.receive(b"#" + piece, 1)
        content += given
        if used is not None:
            return content, unstuffer.violation, position + used - 1
        position += len(piece)
    return content, unstuffer.violation, None


def as_unstuffed(stream: bytes) -> bytes:
    lines = stream.split(b"\r\n")
    return b"\r\n".join(line.removeprefix(b".") for line in lines)


def first_fault(content: bytes) -> str | None:
    for at, octet in enumerate(content):
        if octet == 0:
            return "NUL"
        if octet == 13 and content[at + 1 : at + 2] != b"\n":
            return "bare CR"
        if octet == 10 and content[at - 1 : at] != b"\r":
            return "bare LF"
    return None


# -- chunks -----------------------------------------------------------------------------------------------------------


def chunk(content: bytes, cut: list[bytes]) -> None:
    """The octets of a chunk come out as they went in, and nothing else is read as a part of them.  RFC 3030."""
    client, server = Connection(Role.CLIENT), Connection(Role.SERVER)
    _exchange(client, server, Reply(220, "mx.example"))
    _say(client, server, commands.Ehlo("x"), Reply(250, ("mx.example", "CHUNKING", "BINARYMIME", "PIPELINING")))
    _say(client, server, commands.Mail("", body="BINARYMIME"), Reply(250))
    _say(client, server, commands.Rcpt("a@b.example"), Reply(250))
    wire = client.send(commands.Bdat(len(content), last=True))
    sent = [wire, *map(client.send_content, cut), client.send(commands.Noop())]
    received: list[object] = []
    taken = b""
    for piece in sent:
        if piece:  # nothing would be the end of the stream
            server.receive_data(piece)
        while isinstance(event := server.next_event(), ContentReceived | CommandReceived):
            if isinstance(event, ContentReceived):
                taken += event.data
            else:
                received.append(event.command)
                server.send(Reply(250))
    assert taken == content
    assert received == [commands.Bdat(len(content), last=True), commands.Noop()]


def _say(client: Connection, server: Connection, command: commands.Command, reply: Reply) -> None:
    server.receive_data(client.send(command))
    assert server.next_event() == CommandReceived(command)
    _exchange(client, server, reply)


def _exchange(client: Connection, server: Connection, reply: Reply) -> None:
    client.receive_data(server.send(reply))
    event = client.next_event()
    assert event is not NEED_DATA
    assert not isinstance(event, EhloReply) or event.reply.is_positive


def seeds() -> Iterator[bytes]:
    for number, content in enumerate(_transcripts.contents()):
        yield bytes((number % 8, number)) + content
    # RFC 5321 appendix D.1, and what may be taken for the end of the data and is not.
    for content in (
        b"Blah blah blah...\r\n...etc. etc. etc.\r\n.\r\n",
        b".\r\nQUIT\r\n",
        b"a\r\n.\rb\r\n.\nc\n.\nd\r.\re\n.\r\nf\r.\r\ng\r\n..\r\n\r\n.",
        b"a\r\r\n.\r\n\0\r\n.\r\n",
        b"line of one length\r\nline of one length\r\nline of one length\r\n",
        b"\xc3\xa9\n\n\r\r\n",
    ):
        for how in range(8):
            yield bytes((how, how)) + content
