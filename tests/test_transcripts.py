"""Sessions recorded with real servers and real clients, played to either end of the engine.

Each goes well, however the octets are cut: the client's end sends those commands and reads those replies, the server's
end reads those commands and sends those replies.  Some of what was recorded is against the rules, mostly because its
scenario was to show what a server says to that; the tables below have all of it, and what the engine does.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import accumulate, cycle, takewhile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import (
    AuthChallenge,
    AuthFailed,
    AuthNeeded,
    AuthSucceeded,
    BadCommand,
    CommandReceived,
    Connect,
    ConnectionClosed,
    ContentReceived,
    ContentWanted,
    EhloReply,
    EndOfData,
    Greeting,
    HeloReply,
    Quit,
    RemoteProtocolError,
    ReplyReceived,
    ServiceClosing,
    StartTlsReady,
)
from smtpproto.commands import Auth, AuthResponse, Bdat, Command, Data, Ehlo, Helo, Lhlo, StartTls
from smtpproto.events import RecipientReply, Unsolicited
from smtpproto.testing import octets, pieces, whole
from tests.replaying import NAMES, ClientReplay, Recording, ServerReplay, load

if TYPE_CHECKING:
    from smtpproto import Event
    from smtpproto.testing import Cut

AFTER_530 = "MAIL is refused, and what belongs to its transaction comes all the same"
TOO_LONG = "a line and a mailbox that are too long"
NO_BASE64 = "an answer to a challenge that is no base64"
AUTHENTICATED = "AUTH again after it succeeded"
TOO_LARGE = "a message larger than SIZE"
FOREIGN = "commands that nobody knows"

AGAINST_THE_RULES = {
    # recording: (what is wrong with it, what our client does not send, what our server answers to what it refuses)
    "aiosmtpd-auth-fail": (NO_BASE64, "", "501"),
    "aiosmtpd-lmtp": ("EHLO where LMTP is spoken", "EHLO", "500"),
    "aiosmtpd-long-line": (TOO_LONG, "NOOP MAIL", "500 501"),
    "aiosmtpd-misc": (FOREIGN, "", "500"),
    "aiosmtpd-oversize": (TOO_LARGE, "", "552"),
    "aiosmtpd-params": ("parameters of DSN, which is not offered", "MAIL RCPT DATA", "555 503 503"),
    "aiosmtpd-size-declared": (TOO_LARGE, "MAIL", "552"),
    "aiosmtpd-starttls-auth-data": (f"AUTH where it is not offered; {AUTHENTICATED}", "AUTH AUTH", "502 503"),
    "client-curl-data": ("bare LF in the content", "", "554"),
    "client-curl-smtps": ("bare LF in the content", "", "554"),
    "dovecot-auth-fail": (NO_BASE64, "", "501"),
    "dovecot-bdat": (AFTER_530, "RCPT BDAT", "503 503"),
    "dovecot-helo-only": (AFTER_530, "RCPT DATA", "503 503"),
    "dovecot-lmtp": ("EHLO where LMTP is spoken, and DATA without MAIL", "EHLO DATA", "500 503"),
    "dovecot-long-line": (TOO_LONG, "NOOP MAIL", "500 501"),
    "dovecot-misc": (
        f"{FOREIGN}; {AFTER_530}; arguments",
        "RCPT DATA EHLO AUTH STARTTLS",
        "500 503 503 555 501 501 501",
    ),
    "dovecot-oversize": (AFTER_530, "RCPT DATA", "503 503"),
    "dovecot-params": (AFTER_530, "RCPT DATA", "503 503"),
    "dovecot-pipelined": (f"in one group: {AFTER_530}", "", "503 503 503"),
    "dovecot-pipelined-rset": (f"in one group: {AFTER_530}", "", "503"),
    "dovecot-size-declared": (TOO_LARGE, "MAIL", "552"),
    "dovecot-smtputf8": ("SMTPUTF8, which is not offered", "MAIL RCPT DATA", "555 503 503"),
    "dovecot-starttls-auth-data": (AUTHENTICATED, "AUTH", "503"),
    "dovecot-unknown-user": (AFTER_530, "RCPT RCPT DATA", "503 503 503"),
    "postfix-auth-fail": (NO_BASE64, "", "501"),
    "postfix-bdat": ("a chunk without a recipient; BDAT without a size", "BDAT", "503"),
    "postfix-long-line": (TOO_LONG, "NOOP MAIL", "500 501"),
    "postfix-misc": (FOREIGN, "", "500"),
    "postfix-oversize": (TOO_LARGE, "", "552"),
    "postfix-size-declared": (TOO_LARGE, "MAIL", "552"),
    "postfix-starttls-auth-data": (f"AUTH where it is not offered; {AUTHENTICATED}", "AUTH AUTH", "502 503"),
    "postfix-unknown-user": ("DATA without a recipient", "DATA", "503"),
}

NOT_OFFERED = "PIPELINING is not offered"
BEHIND_NOOP = "NOOP ends a group, and QUIT came behind it"

TOO_EARLY = {
    # recording: (why, what our client sends only when the commands before it are answered)
    "aiosmtpd-pipelined": (NOT_OFFERED, "RCPT RCPT DATA QUIT"),
    "aiosmtpd-pipelined-rset": (NOT_OFFERED, "MAIL RCPT RSET NOOP QUIT"),
    "dovecot-pipelined-rset": (BEHIND_NOOP, "QUIT"),
    "postfix-pipelined-rset": (BEHIND_NOOP, "QUIT"),
}

CONTENT_AS_COMMANDS = "the client sends content though DATA was refused, and the server takes it for commands"

BROKEN_OFF = {
    # recording: (entries of its log, and why no more of them)
    "aiosmtpd-lmtp": (24, "one reply for three recipients, so that the next one answers nobody knows what"),
    "aiosmtpd-params": (10, CONTENT_AS_COMMANDS),
    "client-curl-smtps": (20, "the server takes LF.LF for the end, and the last line for a command"),
    "dovecot-bdat": (8, "the octets of a chunk that is refused are taken for commands"),
    "dovecot-helo-only": (9, CONTENT_AS_COMMANDS),
    "dovecot-params": (9, CONTENT_AS_COMMANDS),
    "dovecot-pipelined": (5, CONTENT_AS_COMMANDS),
    "dovecot-smtputf8": (9, CONTENT_AS_COMMANDS),
}

ACCEPTED_THERE = frozenset({"aiosmtpd-long-line", "postfix-long-line", "client-curl-data", "client-curl-smtps"})
"""Where the recorded server accepted one thing that is against the rules."""

WRITTEN_OTHERWISE = {
    # as it stands there: as our client writes it
    b"!!notbase64\r\n": b"*\r\n",
    b"MAIL FROM:a@b\r\n": b"MAIL FROM:<a@b>\r\n",
    b"ehlo [127.0.0.1]\r\n": b"EHLO [127.0.0.1]\r\n",
    b"mail FROM:<a@client.test> size=75 BODY=8BITMIME RET=HDRS\r\n": (
        b"MAIL FROM:<a@client.test> SIZE=75 BODY=8BITMIME RET=HDRS\r\n"
    ),
    b"rcpt TO:<user@example.test> NOTIFY=NEVER\r\n": b"RCPT TO:<user@example.test> NOTIFY=NEVER\r\n",
    b"rcpt TO:<b@example.test> NOTIFY=NEVER\r\n": b"RCPT TO:<b@example.test> NOTIFY=NEVER\r\n",
    b"data\r\n": b"DATA\r\n",
    b"vrfy user\r\n": b"VRFY user\r\n",
    b"quit\r\n": b"QUIT\r\n",
}

LARGE = frozenset({"aiosmtpd-oversize", "postfix-oversize"})
SMALL = tuple(name for name in NAMES if name not in LARGE)
EACH = pytest.mark.parametrize("name", NAMES)


@cache
def recording(name: str) -> Recording:
    return load(name, BROKEN_OFF[name][0] if name in BROKEN_OFF else None)


@cache
def at_the_client(name: str) -> ClientReplay:
    return ClientReplay(recording(name))


@cache
def at_the_server(name: str) -> ServerReplay:
    return play_server(name, whole)


def play_server(name: str, cut: Cut) -> ServerReplay:
    # Postfix and aiosmtpd take a path without angle brackets.
    return ServerReplay(recording(name), cut, lenient=name.endswith("-misc"))


def every(*lengths: int) -> Cut:
    """Cut into pieces of these lengths, again and again."""

    def cut(data: bytes) -> list[bytes]:
        return pieces(data, takewhile(lambda at: at < len(data), accumulate(cycle(lengths))))

    return cut


def verbs(lines: list[bytes]) -> str:
    return " ".join(line.split()[0].decode() for line in lines)


def written(line: bytes) -> bytes:
    return WRITTEN_OTHERWISE.get(line, line)


# At the client ------------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.rfc("5321", "4.5.2")
def test_the_client_makes_the_octets_that_stand_there(name: str) -> None:
    replay = at_the_client(name)
    assert replay.made == [written(line) for line in replay.stood_there]


@EACH
def test_the_client_refuses_what_is_against_the_rules_and_nothing_else(name: str) -> None:
    replay = at_the_client(name)
    assert verbs(replay.refused) == AGAINST_THE_RULES.get(name, ("", "", ""))[1]
    assert verbs(replay.held_back) == TOO_EARLY.get(name, ("", ""))[1]


@EACH
@pytest.mark.rfc("5321", "4.2")
def test_the_client_reads_the_replies_that_stand_there(name: str) -> None:
    replay = at_the_client(name)
    greeting, *answers, closed = replay.events
    assert isinstance(closed, ConnectionClosed)
    assert bytes(told(greeting).reply) == recording(name).replies[0]
    found = [(told(event).command, bytes(told(event).reply)) for event in answers]
    assert found == replay.answered
    assert [type(event) for event in replay.events[:-1]] == [
        kind_of_event(told(event), lmtp=recording(name).lmtp) for event in replay.events[:-1]
    ]


@EACH
@pytest.mark.rfc("5321", "4.1.1.1")
def test_the_client_learns_what_is_offered(name: str) -> None:
    offers = [event for event in at_the_client(name).events if isinstance(event, EhloReply)]
    stands_there = [reply for reply in recording(name).replies if b"SIZE" in reply or b"8BITMIME" in reply]
    assert [set(event.extensions) for event in offers] == [
        {word.decode() for word in re.findall(rb"(?m)^250[ -]([^ \r]+)", reply.partition(b"\n")[2])}
        for reply in stands_there
    ]


def told(event: Event) -> ReplyReceived:
    assert isinstance(event, ReplyReceived)
    return event


def kind_of_event(event: ReplyReceived, *, lmtp: bool) -> type[Event]:
    """What the event has to be, by the command and the code."""
    command, code = event.command, event.reply.code
    if isinstance(command, Auth | AuthResponse):
        return AuthChallenge if code == 334 else AuthSucceeded if code == 235 else AuthFailed
    if lmtp and (command == EndOfData() or (isinstance(command, Bdat) and command.last)):
        return RecipientReply
    if code == 530:
        return AuthNeeded
    return _KINDS.get((type(command), code), ReplyReceived)


_KINDS: dict[tuple[type[Command], int], type[Event]] = {
    (Connect, 220): Greeting,
    (Ehlo, 250): EhloReply,
    (Lhlo, 250): EhloReply,
    (Helo, 250): HeloReply,
    (StartTls, 220): StartTlsReady,
    (Data, 354): ContentWanted,
}


@EACH
@pytest.mark.rfc("5321", "4.1.1.10")
def test_the_client_knows_how_it_ended(name: str) -> None:
    """Well, where QUIT was answered; and otherwise with what was not."""
    replay = at_the_client(name)
    closed = replay.events[-1]
    assert isinstance(closed, ConnectionClosed)
    assert closed.clean is recording(name).replies[-1].startswith(b"221")
    unanswered = {"aiosmtpd-lmtp": (EndOfData(),), "dovecot-auth-login": (Auth("LOGIN"),), "postfix-bdat": (Quit(),)}
    assert closed.unanswered == unanswered.get(name, ())


# At the server ------------------------------------------------------------------------------------------------------


@EACH
def test_the_server_makes_the_octets_that_stand_there(name: str) -> None:
    replay = at_the_server(name)
    assert replay.made == replay.stood_there
    assert len(replay.withheld) == (name in ACCEPTED_THERE)
    given = len(replay.made) + len(replay.withheld)
    assert given == len(recording(name).replies) - (replay.error is not None)


@EACH
@pytest.mark.rfc("5321", "4.3.2")
def test_the_server_refuses_what_is_against_the_rules_and_nothing_else(name: str) -> None:
    replay = at_the_server(name)
    assert " ".join(str(code) for _, code in replay.refused) == AGAINST_THE_RULES.get(name, ("", "", ""))[2]


@EACH
@pytest.mark.rfc("5321", "4.5.2")
def test_the_server_reads_what_stands_there(name: str) -> None:
    """Each command, and the content before it that it ends."""
    replay = at_the_server(name)
    refused = {line for line, _ in replay.refused}
    expected: list[bytes] = []
    for turn in recording(name).turns:
        line = turn.line or (b".\r\n" if turn.is_complete else b"")
        if replay.error is not None and line.startswith(b"BDAT x"):
            break
        if turn.is_content or (turn.content and turn.line.removesuffix(b"\r\n") not in refused):
            expected.append(turn.body[: largest(name)])
        expected.append(written(line))
    assert [octets_of(event) for event in replay.events if octets_of(event)] == [each for each in expected if each]


@EACH
@pytest.mark.rfc("3207", "4")
def test_tls_is_due_where_it_was(name: str) -> None:
    """At either end, and nowhere else."""
    handshakes = len(recording(name).phases) - 1
    for replay in (at_the_client(name), at_the_server(name)):
        assert sum(isinstance(event, StartTlsReady) for event in replay.events) == handshakes


def largest(name: str) -> int:
    """What the server has offered to take."""
    offers = re.findall(rb"SIZE (\d+)", b"".join(recording(name).replies))
    return int(offers[-1]) if offers else 1 << 30


def octets_of(event: Event) -> bytes:
    """What stands in the recording, as it has come out."""
    match event:
        case CommandReceived(EndOfData()):
            return b".\r\n"
        case CommandReceived(command):
            return bytes(command)
        case BadCommand(line):
            return written(line + b"\r\n")
        case ContentReceived(data):
            return data
        case _:
            return b""


@EACH
def test_the_server_follows_to_the_end(name: str) -> None:
    replay = at_the_server(name)
    if name == "postfix-bdat":
        # How many octets follow nobody knows: Postfix closes the connection, too.
        assert replay.error is not None
        assert replay.error.received == b"BDAT x"
        return
    assert replay.error is None
    last = replay.events[-1]
    assert isinstance(last, ConnectionClosed) is (replay.server.waiting == 0)
    if isinstance(last, ConnectionClosed):
        assert last.clean is recording(name).replies[-1].startswith(b"221")


# However they are cut -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_octet_by_octet(name: str) -> None:
    check_cut(name, octets)


@pytest.mark.parametrize("name", sorted(LARGE))
def test_cut_anywhere(name: str) -> None:
    check_cut(name, every(1, 76, 4096))


@given(st.sampled_from(SMALL), st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_cut_at_random(name: str, lengths: list[int]) -> None:
    check_cut(name, every(*lengths))


def check_cut(name: str, cut: Cut) -> None:
    client, server = ClientReplay(recording(name), cut), play_server(name, cut)
    assert client.events == at_the_client(name).events
    assert b"".join(client.made) == b"".join(at_the_client(name).made)
    assert server.events == at_the_server(name).events
    assert server.made == at_the_server(name).made
    assert str(server.error) == str(at_the_server(name).error)


# What is broken -----------------------------------------------------------------------------------------------------


def test_the_tables_are_about_what_there_is() -> None:
    assert {*AGAINST_THE_RULES, *TOO_EARLY, *BROKEN_OFF} < set(NAMES)
    assert len(NAMES) >= 100


@pytest.mark.rfc("5321", "4.1.1.4")
def test_a_server_that_takes_another_end_of_the_content_is_found_out() -> None:
    """The replies of one that has read LF.LF as the end are one too many: the first octet of it is an error."""
    with pytest.raises(RemoteProtocolError, match="no command asked for"):
        ClientReplay(load("client-curl-smtps"))


@pytest.mark.rfc("3030", "2")
def test_a_server_that_runs_a_chunk_as_commands_is_found_out() -> None:
    replay = ClientReplay(load("dovecot-bdat", 9))
    unsolicited = [event for event in replay.events if isinstance(event, ServiceClosing)]
    assert [event.command for event in unsolicited] == [Unsolicited()]


@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.parametrize("name", [name for name, (_, why) in BROKEN_OFF.items() if why is CONTENT_AS_COMMANDS])
def test_content_after_a_refused_data_is_read_as_commands(name: str) -> None:
    """There is nothing else that a server could take it for: each line is refused, as the recorded server did."""
    whole_of_it, begun = ServerReplay(load(name)), at_the_server(name)
    assert whole_of_it.error is None
    assert whole_of_it.made == whole_of_it.stood_there
    more = whole_of_it.refused[len(begun.refused) :]
    assert len(more) > 2
    assert {code for _, code in more} == {500}


@pytest.mark.rfc("2033", "4.2")
def test_one_reply_for_several_recipients_is_not_enough() -> None:
    replay = at_the_client("aiosmtpd-lmtp")
    replies = [event for event in replay.events if isinstance(event, RecipientReply)]
    assert [event.recipient for event in replies] == ["user@example.test"]


@pytest.mark.rfc("5321", "4.1.1.2")
@pytest.mark.parametrize("name", ["aiosmtpd-misc", "dovecot-misc", "postfix-misc"])
def test_a_path_without_angle_brackets_is_refused_unless_it_is_asked_for(name: str) -> None:
    replay = ServerReplay(recording(name))
    assert (b"MAIL FROM:a@b", 501) in replay.refused
    assert (b"MAIL FROM:a@b", 501) not in at_the_server(name).refused
