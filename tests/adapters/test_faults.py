"""Scripted faults: each does what it says, to the command that it names, and leaves the rest alone."""

from __future__ import annotations

import select
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import smtpproto_adapters.blocking
from smtpproto import LocalProtocolError, Reply, ServerAuth
from smtpproto_adapters.faults import Faults
from smtpproto_adapters.handler import Handler
from smtpproto_adapters.inbox import Inbox
from tests.adapters.conversing import EHLO, LHLO, TO_YOU, Inputs, begin, converse
from tests.adapters.talking import talk, with_server

if TYPE_CHECKING:
    from tests.adapters.backends import AnyServer, Backend

BUSY = Reply(450, "4.2.0 busy")
GONE = Reply(550, "5.1.1 gone")
DATA = (TO_YOU, b"DATA\r\n", b"Hi\r\n.\r\n")
BDAT = (TO_YOU, b"BDAT 4 LAST\r\nHi\r\n")
AUTH: dict[str, Any] = {"auth": ServerAuth({"user": "password"}, allow_plaintext=True)}


@pytest.fixture
def faults() -> Faults:
    return Faults()


# Replies -----------------------------------------------------------------------------------------------------------


def test_reply_to_the_nth(faults: Faults) -> None:
    fault = faults.reply("RCPT", BUSY, nth=2)
    inbox = Inbox()
    three = b"MAIL FROM:<>\r\n" + b"RCPT TO:<a@mx.example>\r\nRCPT TO:<b@mx.example>\r\nRCPT TO:<c@mx.example>\r\n"
    codes, _ = converse(inbox, EHLO, three, b"BDAT 2 LAST\r\nHi", three, faults=faults)
    assert codes == [220, 250, 250, 250, 450, 250, 250, 250, 250, 250, 250]
    assert inbox[0].envelope.forward_paths == ("a@mx.example", "c@mx.example")
    assert fault.fired == 1
    assert repr(fault) == "<Fault at number 2 of RCPT, fired 1>"


def test_reply_to_each(faults: Faults) -> None:
    fault = faults.reply("rcpt", GONE)
    assert converse(Handler(), EHLO, TO_YOU, b"RCPT TO:<a@mx.example>\r\n", faults=faults)[0][-2:] == [550, 550]
    assert fault.fired == 2
    assert repr(fault) == "<Fault at each RCPT, fired 2>"


@pytest.mark.rfc("7628", "3.2.3")
def test_reply_to_auth_is_given_whatever_is_asked(faults: Faults) -> None:
    """It is the answer to each question of a mechanism, of which the one about a password is but one."""
    fault = faults.reply("AUTH", Reply(454, "4.7.0 not now"), nth=1)
    auth = ServerAuth(tokens={"token": "user"}, allow_plaintext=True)
    line = b"AUTH OAUTHBEARER bixhPXVzZXIsAWF1dGg9QmVhcmVyIHRva2VuAQE=\r\n"
    for code in (454, 235):
        assert converse(Handler(), EHLO, line, faults=faults, auth=auth)[0] == [220, 250, code]
    assert fault.fired == 1


def test_counting_goes_on_over_sessions(faults: Faults) -> None:
    faults.reply("MAIL", BUSY, nth=2)
    said = (EHLO, b"MAIL FROM:<>\r\n")
    assert [converse(Handler(), *said, faults=faults)[0][-1] for _ in range(3)] == [250, 450, 250]


def test_handler_is_not_asked(faults: Faults) -> None:
    class Never(Handler):
        def mail(self, session: object, command: object) -> Reply:
            raise AssertionError("it was answered already")

    faults.reply("MAIL", BUSY)
    assert converse(Never(), EHLO, b"MAIL FROM:<>\r\n", faults=faults)[0] == [220, 250, 450]


@pytest.mark.parametrize(
    ("command", "said", "codes"),
    [
        ("greeting", (EHLO,), [450, 503]),
        ("EHLO", (EHLO, b"HELO me.example\r\n"), [220, 450, 250]),
        ("HELO", (EHLO, b"HELO me.example\r\n"), [220, 250, 450]),
        ("DATA", (EHLO, *DATA[:2], b"RSET\r\n"), [220, 250, 250, 250, 450, 250]),
        (".", (EHLO, *DATA), [220, 250, 250, 250, 354, 450]),
        (".", (EHLO, *BDAT), [220, 250, 250, 250, 250]),
        ("end of data", (EHLO, *DATA), [220, 250, 250, 250, 354, 450]),
        ("End of Data", (EHLO, *BDAT), [220, 250, 250, 250, 450]),
        ("end of data", (EHLO, TO_YOU, b"BDAT 1\r\n.", b"BDAT 0 LAST\r\n"), [220, 250, 250, 250, 250, 450]),
        ("BDAT", (EHLO, TO_YOU, b"BDAT 1\r\n.", b"RSET\r\n"), [220, 250, 250, 250, 450, 250]),
        ("VRFY", (EHLO, b"VRFY you\r\n"), [220, 250, 450]),
        ("QUIT", (EHLO, b"QUIT\r\n", b"QUIT\r\n"), [220, 250, 450, 450]),
    ],
)
def test_reply_to_any(faults: Faults, command: str, said: tuple[bytes, ...], codes: list[int]) -> None:
    inbox = Inbox()
    faults.reply(command, BUSY)
    assert converse(inbox, *said, faults=faults)[0] == codes
    assert len(inbox) == (said[-1] == BDAT[-1] and command == ".")


@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize(
    ("said", "codes"),
    [
        ((b"AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=\r\n",), [454]),
        ((b"AUTH LOGIN\r\n", b"dXNlcg==\r\n", b"cGFzc3dvcmQ=\r\n"), [334, 334, 454]),
        ((b"AUTH LOGIN\r\n", b"*\r\n"), [334, 501]),
    ],
)
def test_reply_to_auth(faults: Faults, said: tuple[bytes, ...], codes: list[int]) -> None:
    faults.reply("AUTH", Reply(454, "4.7.0 not now"), nth=1)
    assert converse(Handler(), EHLO, *said, b"NOOP\r\n", faults=faults, **AUTH)[0] == [220, 250, *codes, 250]
    again = b"AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=\r\n"
    assert converse(Handler(), EHLO, again, faults=faults, **AUTH)[0] == [220, 250, 235]


@pytest.mark.rfc("5321", "3.8")
def test_reply_421_closes(faults: Faults) -> None:
    faults.reply("RSET", Reply(421, "4.3.2 closing"))
    inputs, _ = begin(Handler(), EHLO, b"RSET\r\n", b"NOOP\r\n", faults=faults)
    assert inputs.codes == [220, 250, 421]
    assert inputs.closed


def test_first_of_two_replies(faults: Faults) -> None:
    faults.reply("RSET", BUSY, nth=1)
    faults.reply("RSET", GONE)
    assert converse(Handler(), EHLO, b"RSET\r\nRSET\r\n", faults=faults)[0] == [220, 250, 450, 550]


def test_reply_in_lmtp_is_for_all(faults: Faults) -> None:
    faults.reply("end of data", BUSY)
    two = b"MAIL FROM:<>\r\nRCPT TO:<a@mx.example>\r\nRCPT TO:<b@mx.example>\r\nBDAT 0 LAST\r\n"
    assert converse(Handler(), LHLO, two, faults=faults, lmtp=True)[0][-2:] == [450, 450]


# Drop, delay, garbage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 3, 5, 1000])
def test_drop_in_mid_reply(faults: Faults, after: int) -> None:
    fault = faults.drop("RSET", after=after)
    inputs, _ = begin(Handler(), EHLO, b"NOOP\r\nRSET\r\nNOOP\r\n", faults=faults)
    whole, _ = begin(Handler(), EHLO, b"NOOP\r\nRSET\r\n")
    last = len(b"250 2.0.0 OK\r\n")
    assert inputs.answered == whole.answered[: len(whole.answered) - last + min(after, last)]
    assert not inputs.closed  # no farewell
    assert fault.fired == 1


def test_drop_at_the_greeting(faults: Faults) -> None:
    faults.drop("greeting", nth=1)
    assert begin(Handler(), EHLO, faults=faults)[0].answered == b""
    assert begin(Handler(), EHLO, faults=faults)[0].codes == [220, 250]


def test_drop_behind_the_end_of_data(faults: Faults) -> None:
    """Nobody is told that it was accepted, but it was."""
    inbox = Inbox()
    faults.drop("end of data")
    for said in (DATA, BDAT):
        assert begin(inbox, EHLO, *said, faults=faults)[0].codes[-1] in (250, 354)
    assert len(inbox) == 2


@pytest.mark.parametrize(("after", "reads"), [(0, 1), (1, 1), (4, 1), (5, 2), (12, 3), (13, None)])
@pytest.mark.parametrize("chunked", [False, True])
def test_drop_in_content(faults: Faults, after: int, reads: int | None, chunked: bool) -> None:
    inbox = Inbox()
    fault = faults.drop("content", after=after, nth=2)
    begun = b"BDAT 12 LAST\r\n" if chunked else b"DATA\r\n"
    end = b"" if chunked else b".\r\n"
    for number in (1, 2):
        said = iter([EHLO, TO_YOU, begun, b"Hi\r\n", b"Hi\r\n", b"Hi\r\n" + end, b"NOOP\r\n"])
        inputs, session = begin(inbox, more=said, faults=faults)
        if number == 1 or reads is None:
            assert inputs.codes[-1] == 250
            assert len(inbox) == number
        else:
            assert inputs.codes[-1] == (250 if chunked else 354)
            assert len(list(said)) == 4 - reads
            assert len(inbox) == 1
            assert not inputs.closed
        assert session._gathered == []  # pyright: ignore[reportPrivateUsage]
    assert fault.fired == 1


def test_handler_does_not_see_the_content_at_which_it_is_dropped(faults: Faults) -> None:
    seen: list[bytes] = []

    class Watching(Handler):
        def content(self, session: object, data: bytes) -> None:
            seen.append(data)

    faults.drop("content", after=5)
    begin(Watching(), EHLO, TO_YOU, b"BDAT 12 LAST\r\n", b"abcd", b"efgh", b"ijkl", faults=faults)
    assert seen == [b"abcd"]


def test_content_that_is_too_short_to_be_dropped(faults: Faults) -> None:
    inbox = Inbox()
    faults.drop("content", after=100, nth=1)
    codes, _ = converse(inbox, EHLO, *BDAT, TO_YOU, b"BDAT 200 LAST\r\n" + bytes(200), b"NOOP\r\n", faults=faults)
    assert codes[-1] == 250
    assert [len(each.content) for each in inbox] == [4, 200]


def test_content_is_not_what_data_was(faults: Faults) -> None:
    inbox = Inbox()
    faults.reply("DATA", Reply(354, "come on"))
    assert converse(inbox, EHLO, *DATA, faults=faults)[0] == [220, 250, 250, 250, 354, 250]
    assert inbox[0].content == b"Hi\r\n"


def test_content_is_counted_by_messages(faults: Faults) -> None:
    inbox = Inbox()
    faults.drop("content", after=5, nth=3)
    said = [part for _ in range(4) for part in (TO_YOU, b"BDAT 3\r\nabc", b"BDAT 3 LAST\r\nabc")]
    converse(inbox, EHLO, *said, faults=faults)
    assert len(inbox) == 2


def test_garbage(faults: Faults) -> None:
    faults.garbage("EHLO", b"\xff\x00 garbage\r\n", nth=1)
    inputs, _ = begin(Handler(), EHLO, EHLO, faults=faults)
    greeting, _, rest = inputs.answered.partition(b"\xff\x00 garbage\r\n")
    assert greeting.startswith(b"220 ")
    assert rest.startswith(b"250-")


def test_no_reply_at_all(faults: Faults) -> None:
    faults.garbage("NOOP", b"")
    assert begin(Handler(), EHLO, b"NOOP\r\nRSET\r\n", faults=faults)[0].codes == [220, 250, 250]


def test_delay(faults: Faults) -> None:
    faults.delay("MAIL", 5, nth=1)
    inputs, _ = begin(Handler(), EHLO, b"NOOP\r\nMAIL FROM:<>\r\nRSET\r\n", b"MAIL FROM:<>\r\n", faults=faults)
    assert inputs.codes == [220, 250, 250, 250, 250, 250]
    assert inputs.waited == 5
    assert [each[:3] for each in inputs.written[2:5]] == [b"250", b"250", b"250"]  # each by itself


def test_all_at_once(faults: Faults) -> None:
    faults.delay("RSET", 5)
    faults.delay("RSET", 6)
    faults.reply("RSET", BUSY)
    faults.garbage("RSET", b"garbage\r\n")
    faults.drop("RSET", after=4)
    inputs, _ = begin(Handler(), EHLO, b"RSET\r\n", faults=faults)
    assert inputs.written[-1] == b"garb"
    assert inputs.waited == 11


def test_faults_at_auth_are_at_its_first_reply(faults: Faults) -> None:
    faults.delay("AUTH", 5)
    said = (b"AUTH LOGIN\r\n", b"dXNlcg==\r\n", b"cGFzc3dvcmQ=\r\n")
    inputs, _ = begin(Handler(), EHLO, *said, faults=faults, **AUTH)
    assert inputs.codes == [220, 250, 334, 334, 235]
    assert inputs.waited == 5


def test_fault_of_a_command_is_not_that_of_the_next(faults: Faults) -> None:
    """AUTH is refused by the policy, and asks nobody; the scripted reply to it is not for what comes then."""
    faults.reply("AUTH", BUSY)
    codes, _ = converse(Handler(), EHLO, b"AUTH XYZ\r\nWHAT\r\nNOOP\r\n", faults=faults, **AUTH)
    assert codes == [220, 250, 504, 500, 250]


class Impatient(Inputs):
    """The client goes on while it is kept waiting."""

    def receive(self, timeout: float | None) -> bytes:
        if timeout == 0:
            raise TimeoutError
        if timeout is not None and timeout < 100:
            self.waited += timeout
        return next(self.said, b"")


def test_what_comes_during_a_delay_is_kept(faults: Faults) -> None:
    faults.delay("NOOP", 5)
    inputs, _ = begin(Handler(), EHLO, b"NOOP\r\n", b"RSET\r\n", b"QUIT\r\n", faults=faults, wire=Impatient)
    assert inputs.codes == [220, 250, 250, 250, 221]


class Lost(Inputs):
    """The connection breaks while the client is kept waiting."""

    def receive(self, timeout: float | None) -> bytes:
        if timeout == 50:
            raise ConnectionResetError
        return super().receive(timeout)


def test_connection_that_is_lost_during_a_delay(faults: Faults) -> None:
    faults.delay("NOOP", 50)
    assert begin(Handler(), EHLO, b"NOOP\r\n", faults=faults, wire=Lost)[0].codes == [220, 250]


def test_what_comes_during_a_delay_does_not_prolong_it(faults: Faults) -> None:
    faults.delay("NOOP", 0.3)
    with (
        smtpproto_adapters.blocking.serve(Handler(), faults=faults) as server,
        talk(server) as client,  # type: ignore[arg-type]
    ):
        assert client.reply() == 220
        assert client.ask(b"EHLO me.example") == [250]
        client.say(b"NOOP\r\n")
        for _ in range(30):
            client.say(b"RSET\r\n")
            if select.select([client.socket], [], [], 0.1)[0]:
                break
        else:
            pytest.fail("the client was kept waiting for as long as it went on")


def test_delay_ends_where_too_much_comes(faults: Faults) -> None:
    faults.delay("NOOP", 50)
    few = (b"x" * 65_536 for _ in range(20))
    inputs, _ = begin(Handler(), EHLO, b"NOOP\r\n", more=few, faults=faults, wire=Impatient)
    assert 50 * 16 <= inputs.waited < 50 * 17


@pytest.mark.rfc("3207", "4.2")
def test_plaintext_that_came_during_a_delay_is_never_taken_for_what_came_through_tls(
    faults: Faults, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    faults.delay("STARTTLS", 0.2)
    with (
        smtpproto_adapters.blocking.serve(Handler(), context=server_context, faults=faults) as server,
        talk(server) as client,  # type: ignore[arg-type]
    ):
        assert client.reply() == 220
        assert client.ask(b"EHLO me.example") == [250]
        client.say(b"STARTTLS\r\n")
        time.sleep(0.1)
        client.say(b"RSET\r\n")
        assert client.reply() == 220
        with pytest.raises((ssl.SSLError, ConnectionError)):
            client.start_tls(client_context)


# In octets ---------------------------------------------------------------------------------------------------------


def test_cut_into_octets(faults: Faults) -> None:
    faults.cut_into_octets()
    inputs, _ = begin(Handler(), EHLO, b"NOOP\r\n", faults=faults)
    whole, _ = begin(Handler(), EHLO, b"NOOP\r\n")
    assert inputs.answered == whole.answered
    assert {len(each) for each in inputs.written} == {1}
    assert inputs.waited == pytest.approx(0.001 * len(whole.answered))


def test_cut_and_dropped(faults: Faults) -> None:
    faults.cut_into_octets()
    faults.drop("NOOP", after=3)
    inputs, _ = begin(Handler(), EHLO, b"NOOP\r\n", faults=faults)
    assert inputs.answered.endswith(b"\r\n250")
    assert inputs.written[-3:] == [b"2", b"5", b"0"]


@given(st.lists(st.sampled_from([EHLO, TO_YOU, *DATA, *BDAT, b"NOOP\r\n", b"WHAT\r\n", b"QUIT\r\n"]), max_size=8))
def test_without_a_fault_nothing_is_changed(said: list[bytes]) -> None:
    without, _ = begin(Inbox(), *said)
    with_none, _ = begin(Inbox(), *said, faults=Faults())
    assert with_none.written == without.written
    assert with_none.closed == without.closed
    faults = Faults()
    faults.delay("NOOP", 1)
    faults.delay("EHLO", 1, nth=2)
    assert begin(Inbox(), *said, faults=faults)[0].answered == without.answered


def test_clear(faults: Faults) -> None:
    faults.reply("NOOP", BUSY)
    faults.cut_into_octets()
    faults.clear()
    inputs, _ = begin(Handler(), EHLO, b"NOOP\r\n", faults=faults)
    assert inputs.codes == [220, 250, 250]
    assert len(inputs.written) == 3


# What cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "arguments", "sentence"),
    [
        ("reply", ("RCTP", BUSY), "'RCTP' is nothing that a fault can happen to: name a verb"),
        ("reply", ("content", BUSY), "content has no reply"),
        ("delay", ("content", 1), "content has no reply"),
        ("garbage", ("content", b"x"), "content has no reply"),
        ("reply", ("MAIL", Reply(354, "go on")), "354 is no answer to MAIL"),
        ("reply", ("DATA", Reply(250, "ok")), "250 is no answer to DATA"),
        ("reply", ("AUTH", Reply(235, "come in")), "235 is no answer to AUTH"),
        ("delay", ("RCPT", 0), "a delay of 0 seconds"),
        ("delay", ("RCPT", float("inf")), "a delay of inf seconds"),
        ("drop", ("RCPT",), "after is -1"),
        ("cut_into_octets", (0,), "a pause of 0 seconds"),
    ],
)
def test_what_cannot_be(faults: Faults, method: str, arguments: tuple[Any, ...], sentence: str) -> None:
    options = {"after": -1} if method == "drop" else {}
    with pytest.raises(LocalProtocolError, match=sentence):
        getattr(faults, method)(*arguments, **options)
    assert begin(Handler(), EHLO, b"NOOP\r\n", faults=faults)[0].codes == [220, 250, 250]


def test_there_is_no_number_0(faults: Faults) -> None:
    with pytest.raises(LocalProtocolError, match="nth is 0: the first RCPT is number 1"):
        faults.reply("RCPT", BUSY, nth=0)


@pytest.mark.parametrize("command", ["greeting", "EHLO", ".", "BDAT", "XCLIENT", "ETRN", "content"])
def test_names_of_commands(faults: Faults, command: str) -> None:
    assert faults.drop(command).command == command.upper()


# On the wire -------------------------------------------------------------------------------------------------------


def test_faults_under_tls(
    backend: Backend, faults: Faults, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    faults.reply("RCPT", BUSY, nth=1)
    faults.garbage("NOOP", b"garbage\r\n")
    faults.delay("RSET", 0.1)
    faults.drop("QUIT", after=3)

    def work(server: AnyServer) -> None:
        with talk(server, client_context) as client:
            assert client.reply() == 220
            assert client.ask(b"EHLO me.example", b"MAIL FROM:<>") == [250, 250]
            assert client.ask(b"RCPT TO:<you@mx.example>", b"RCPT TO:<you@mx.example>") == [450, 250]
            client.say(b"NOOP\r\n")
            assert client.socket.recv(100) == b"garbage\r\n"
            begun = time.monotonic()
            assert client.ask(b"RSET") == [250]
            assert time.monotonic() - begun >= 0.1
            client.say(b"QUIT\r\n")
            assert client.socket.recv(100) == b"221"
            with pytest.raises(ssl.SSLEOFError):
                client.socket.recv(100)

    with_server(backend, Handler(), work, context=server_context, implicit_tls=True, faults=faults)


def test_octets_come_one_by_one(backend: Backend, faults: Faults) -> None:
    faults.cut_into_octets(0.005)

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            greeting: list[bytes] = []
            while b"\n" not in b"".join(greeting):
                greeting.append(client.socket.recv(100))
            assert len(greeting) > 5

    with_server(backend, Handler(), work, faults=faults)


def test_end_of_the_server_ends_a_delay(backend: Backend, faults: Faults) -> None:
    faults.delay("NOOP", 60)
    begun = time.monotonic()

    def work(server: AnyServer) -> None:
        client.append(talking := talk(server))
        talked = talking.__enter__()
        assert talked.reply() == 220
        assert talked.ask(b"EHLO me.example") == [250]
        talked.say(b"NOOP\r\n")

    client: list[Any] = []
    with_server(backend, Handler(), work, faults=faults, grace=2.0)
    assert time.monotonic() - begun < 10
    client[0].__exit__(None, None, None)


def test_reset_client_during_a_delay(backend: Backend, faults: Faults) -> None:
    faults.delay("NOOP", 60)

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            client.say(EHLO + b"NOOP\r\n")
            assert client.reply() == 250

    begun = time.monotonic()
    with_server(backend, Handler(), work, faults=faults)
    assert time.monotonic() - begun < 10
