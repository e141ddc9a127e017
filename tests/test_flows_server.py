"""The server's conversation about mail: sizes, limits, early talkers, status codes, and the many answers of LMTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import flows
from smtpproto.commands import Bdat, Command, Connect, EndOfData, Etrn, Expn, Help, Mail, Noop, Rcpt, Rset, Vrfy
from smtpproto.errors import ErrorCode, LocalProtocolError, TransportError
from smtpproto.events import BadCommand, CommandReceived, ContentReceived, EarlyTalker, Event
from smtpproto.flows import Ask, Receive, ShutDown
from smtpproto.limits import Limits
from smtpproto.replies import Reply
from smtpproto.sasl import Identity, Question, Verify
from smtpproto.server_auth import ServerAuth
from smtpproto.service import Service, ServiceSession
from smtpproto.testing import accept, octets, whole
from tests.test_flows import EHLO, ENVELOPE, QUIT, Answer, Run

LHLO = b"LHLO me.example\r\n"
TWO = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<no@d.example>\r\nRCPT TO:<e@d.example>\r\n"
"""An envelope of which `refuses_no` accepts two recipients."""


def serve(
    *lines: bytes,
    early: Iterable[bytes] = (),
    answer: Answer = accept,
    watch: flows.Watcher = flows.ignore,
    throw: dict[int, Exception] | None = None,
    **fields: Any,
) -> Run:
    session = ServiceSession(Service("mx.example", **fields))
    return Run(flows.serve(session, watch), lines, early=early, answer=answer, throw=throw)


def answering(*answers: tuple[object, object]) -> Answer:
    """The program that has these answers, by what it is asked; a command may be named by its class."""

    def answer(asked: Event | Question) -> object:
        command = asked.command if isinstance(asked, CommandReceived) else None
        for subject, said in answers:
            if asked == subject or (isinstance(subject, type) and isinstance(command or asked, subject)):
                return said
        return None

    return answer


def refuses_no(*answers: tuple[object, object]) -> Answer:
    return answering((CommandReceived(Rcpt("no@d.example")), Reply(550, "5.1.1 no such user")), *answers)


# Early talkers -----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.3.1")
def test_what_has_come_is_looked_at_once_behind_the_question_for_the_greeting() -> None:
    flow = flows.serve(ServiceSession(Service("mx.example")))
    assert next(flow) == Ask(CommandReceived(Connect()))
    assert flow.send(None) == Receive(0)
    greeted = flow.throw(TransportError("nothing has come", ErrorCode.TIMED_OUT))
    assert greeted == flows.Send(b"220 mx.example ESMTP ready\r\n", 300)
    for line in (EHLO, b"NOOP\r\n"):
        assert flow.send(None) == Receive(300)
        asked = flow.send(line)
        assert isinstance(asked, Ask)
        assert isinstance(flow.send(None), flows.Send)
    flow.close()


@pytest.mark.rfc("5321", "4.3.1")
def test_an_early_talker_may_go_on() -> None:
    events: list[Event] = []
    run = serve(QUIT, early=[EHLO + b"NO", b"never asked for"], watch=events.append)
    assert run.asked[:2] == [CommandReceived(Connect()), EarlyTalker(EHLO + b"NO")]
    assert run.codes == [220, 250, 500]
    run = serve(QUIT, early=[EHLO], answer=answering((Connect, Reply(220, "own.example"))))
    assert run.sent[0] == b"220 own.example\r\n"
    assert events[0] == EarlyTalker(EHLO + b"NO")
    assert sum(isinstance(event, EarlyTalker) for event in events) == 1


@pytest.mark.rfc("5321", "4.3.1")
@pytest.mark.parametrize("greeting", [None, Reply(220, "own.example"), Reply(554, "no")])
def test_a_reply_to_it_takes_the_place_of_the_greeting(greeting: Reply | None) -> None:
    answer = answering((Connect, greeting), (EarlyTalker, Reply(554, "wait for the greeting")))
    run = serve(QUIT, early=[EHLO], answer=answer)
    assert run.output == (b"554 wait for the greeting\r\n503 5.5.1 bad sequence of commands\r\n221 2.0.0 bye\r\n")
    run = serve(QUIT, early=[EHLO], answer=answering((Connect, greeting), (EarlyTalker, Reply(421, "bye"))))
    assert run.output == b"421 bye\r\n"
    assert run.closes


def test_who_waits_is_no_early_talker() -> None:
    run = serve(EHLO, QUIT)
    assert run.codes == [220, 250, 221]
    assert not any(isinstance(asked, EarlyTalker) for asked in run.asked)


def test_a_client_that_goes_at_once_is_none_either() -> None:
    run = serve(early=[b""])
    assert run.codes == [220]
    assert run.closes
    assert run.asked == [CommandReceived(Connect())]


def test_the_look_at_what_has_come_may_fail() -> None:
    for error in (TransportError("reset", ErrorCode.CLOSED_BY_PEER), ShutDown()):
        flow = flows.serve(ServiceSession(Service("mx.example")))
        next(flow)
        flow.send(None)
        effect = flow.throw(error)
        if isinstance(error, ShutDown):
            assert effect == flows.Send(b"421 4.3.2 the service is shutting down\r\n", 300)
            effect = flow.send(None)
        assert effect == flows.Close()
        with pytest.raises(StopIteration):
            flow.send(None)


@pytest.mark.parametrize("wrong", [True, "554 no", Reply(250, "hi"), Reply(354, "go"), [Reply(554, "no")]])
def test_an_early_talker_is_answered_with_what_is_no_greeting(wrong: object) -> None:
    run = serve(early=[EHLO], answer=answering((EarlyTalker, wrong)))
    run.failed(LocalProtocolError)
    assert run.codes == [421]
    assert run.closes


# Sizes and limits --------------------------------------------------------------------------------------------------


def content_of(run: Run) -> bytes:
    return b"".join(asked.data for asked in run.asked if isinstance(asked, ContentReceived))


@pytest.mark.rfc("1870", "6.3")
@pytest.mark.rfc("1870", "4")
@pytest.mark.parametrize("cut", [whole, octets])
def test_a_message_too_large(cut: Callable[[bytes], list[bytes]]) -> None:
    lines = [EHLO, ENVELOPE + b"DATA\r\n", *cut(b"12345678\r\nQUIT\r\n.\r\n"), ENVELOPE + b"DATA\r\n", b".\r\n", QUIT]
    run = serve(*lines, limits=Limits(message=10))
    assert b"250-SIZE 10\r\n" in run.output
    assert run.codes == [220, 250, 250, 250, 354, 552, 250, 250, 354, 250, 221]
    assert b"552 5.3.4 " in run.output
    assert content_of(run) == b"12345678\r\n"
    assert run.asked.count(CommandReceived(EndOfData())) == 1


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("cut", [whole, octets])
def test_chunks_too_large_together(cut: Callable[[bytes], list[bytes]]) -> None:
    chunks = b"BDAT 6\r\nQUIT\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n"
    run = serve(EHLO, ENVELOPE, *cut(chunks), limits=Limits(message=11))
    assert run.codes == [220, 250, 250, 250, 250, 552, 503, 250]
    assert content_of(run) == b"QUIT\r\n"


@pytest.mark.rfc("2033", "4.2")
def test_a_message_too_large_in_lmtp_is_so_for_each_recipient() -> None:
    run = serve(LHLO, TWO + b"DATA\r\n", b"12345678\r\n.\r\n", answer=refuses_no(), lmtp=True, limits=Limits(message=5))
    assert run.codes[-3:] == [354, 552, 552]


def test_too_many_transactions() -> None:
    run = serve(EHLO, b"MAIL FROM:<>\r\nRSET\r\n" * 5, limits=Limits(transactions=2))
    assert run.codes == [220, 250, 250, 250, 250, 250, 421]
    assert run.output.endswith(b"421 4.7.0 too many messages in one session\r\n")
    assert run.closes


@pytest.mark.rfc("5321", "4.5.3.1.10")
def test_recipients_too_many_are_no_errors() -> None:
    group = ENVELOPE + b"RCPT TO:<x@d.example>\r\n" * 30 + b"DATA\r\n"
    run = serve(EHLO, group, b".\r\n" + ENVELOPE, limits=Limits(recipients=1), max_errors=2)
    assert run.codes == [220, 250, 250, 250, *[452] * 30, 354, 250, 250, 250]


@pytest.mark.rfc("9422", "4.2")
def test_a_service_keeps_to_its_limits() -> None:
    service: dict[str, Any] = {"extensions": ["PIPELINING", "LIMITS MAILMAX=2 RCPTMAX=2 RCPTDOMAINMAX=1"]}
    group = ENVELOPE + b"RCPT TO:<c@other.example>\r\n" + b"RCPT TO:<e@d.example>\r\n" * 2 + b"RSET\r\n"
    run = serve(EHLO, group, group, group, QUIT, **service)
    once = [250, 250, 452, 250, 452, 250]
    assert run.codes == [220, 250, *once, *once, 421]


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("size", ["9223372036854775808", "\u0663", "+5", "-5", "5_0", ""])
def test_a_chunk_without_a_size_ends_it(size: str) -> None:
    run = serve(EHLO, ENVELOPE + f"BDAT {size} LAST\r\nQUIT\r\n".encode(), QUIT)
    assert run.codes == [220, 250, 250, 250, 501]
    assert run.closes
    assert run.asked[-1] == CommandReceived(Rcpt("c@d.example"))


# Status codes ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2034", "4")
def test_status_codes_are_added_where_they_are_offered() -> None:
    answer = answering(
        (Connect, Reply(220, "own.example")),
        (Mail, Reply(250, "fine")),
        (Rcpt, Reply(251, ("will", "forward"))),
        (EndOfData, Reply(451, "2.0.0 is not so")),
        (Verify, Reply(454, "not now")),
    )
    lines = [EHLO, ENVELOPE + b"DATA\r\n", b".\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"WHAT\r\n"]
    auth: dict[str, Any] = {"auth": ServerAuth(mechanisms=["PLAIN"], allow_plaintext=True)}
    run = serve(*lines, answer=answer, **auth)
    assert run.sent[0] == b"220 own.example\r\n"
    assert run.sent[2:] == [
        b"250 2.1.0 fine\r\n251-2.1.5 will\r\n251 2.1.5 forward\r\n354 end data with <CR><LF>.<CR><LF>\r\n",
        b"451 4.0.0 2.0.0 is not so\r\n",
        b"454 4.0.0 not now\r\n",
        b"500 5.5.1 command not recognised\r\n",
    ]
    run = serve(*lines, answer=answer, extensions=(), **auth)
    assert run.sent[2:5] == [
        b"250 fine\r\n251-will\r\n251 forward\r\n354 end data with <CR><LF>.<CR><LF>\r\n",
        b"451 2.0.0 is not so\r\n",
        b"454 not now\r\n",
    ]


def test_what_is_seen_to_be_sent_is_what_was_sent() -> None:
    seen: list[Command | Reply] = []
    session = ServiceSession(Service("mx.example"), on_send=seen.append)
    run = Run(flows.serve(session), [EHLO, b"NOOP\r\n"], answer=answering((Noop, Reply(250, "ok"))))
    assert seen[-1] == Reply(250, "2.0.0 ok")
    assert run.output.endswith(b"250 2.0.0 ok\r\n")


def test_who_sees_that_a_client_has_authenticated_knows_who_it_is() -> None:
    seen: list[tuple[int, Identity | None]] = []

    def on_send(reply: Command | Reply) -> None:
        assert isinstance(reply, Reply)
        seen.append((reply.code, session.identity))

    auth = ServerAuth({"user": "secret"}, allow_plaintext=True)
    session = ServiceSession(Service("mx.example", auth=auth), on_send=on_send)
    Run(flows.serve(session), [EHLO, b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"])
    assert seen[-2:] == [(250, None), (235, Identity("user"))]


# LMTP --------------------------------------------------------------------------------------------------------------

ENDS: list[tuple[list[bytes], type[Command]]] = [
    ([b"DATA\r\n", b"x\r\n.\r\n"], EndOfData),
    ([b"BDAT 3 LAST\r\nx\r\n"], Bdat),
    ([b"BDAT 0\r\nBDAT 0 LAST\r\n"], Bdat),
]
EACH = [Reply(250, "one"), Reply(552, "5.2.2 two is full")]


def ends(asked: Event | Question) -> bool:
    match asked:
        case CommandReceived(EndOfData() | Bdat(last=True)):
            return True
        case _:
            return False


def at_the_end(said: object) -> Answer:
    other = refuses_no()
    return lambda asked: said if ends(asked) else other(asked)


@pytest.mark.rfc("2033", "4.2")
@pytest.mark.parametrize(("content", "kind"), ENDS)
@pytest.mark.parametrize("sequence", [list, tuple])
def test_each_recipient_gets_its_own_reply(
    content: list[bytes], kind: type[Command], sequence: Callable[[list[Reply]], object]
) -> None:
    run = serve(LHLO, TWO, *content, b"NOOP\r\n", QUIT, answer=at_the_end(sequence(EACH)), lmtp=True)
    assert run.error is None
    assert run.output.endswith(b"250 2.0.0 one\r\n552 5.2.2 two is full\r\n250 2.0.0 OK\r\n221 2.0.0 bye\r\n")
    assert any(ends(asked) for asked in run.asked)


@pytest.mark.rfc("2033", "4.2")
@pytest.mark.parametrize(("content", "kind"), ENDS)
@pytest.mark.parametrize(
    "wrong",
    [
        [],
        EACH[:1],
        [*EACH, EACH[0]],
        [EACH[0], None],
        [*EACH, None],
        [EACH[0], "250 ok"],
        [EACH[0], Reply(354, "go")],
        "ok",
        b"ok",
        True,
        {EACH[0], EACH[1]},
        iter(EACH),
    ],
)
def test_replies_that_are_not_one_for_each(content: list[bytes], kind: type[Command], wrong: object) -> None:
    run = serve(LHLO, TWO, *content, QUIT, answer=at_the_end(wrong), lmtp=True)
    run.failed(LocalProtocolError)
    # Nothing of it is said.
    assert run.codes[-1] == 421
    assert run.codes.count(421) == 1
    assert b"one" not in run.output
    assert run.closes


@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.parametrize("number", [0, 1, 2])
def test_in_smtp_the_content_has_one_reply(number: int) -> None:
    for content, _ in ENDS:
        run = serve(EHLO, TWO, *content, answer=at_the_end([*EACH, *EACH][:number]))
        error = run.failed(LocalProtocolError)
        assert "that is for the end of the content in LMTP" in str(error)
        assert run.codes[-1] == 421


@pytest.mark.rfc("2033", "4.2")
@pytest.mark.parametrize("kind", [Connect, Mail, Rcpt, Noop, Rset, Bdat])
def test_no_other_command_has_several(kind: type[Command]) -> None:
    lines = [LHLO, TWO, b"NOOP\r\n", b"BDAT 0\r\n", b"RSET\r\n"]
    run = serve(
        *lines, answer=answering((kind, [Reply(250, "one"), Reply(250, "two"), Reply(250, "three")])), lmtp=True
    )
    run.failed(LocalProtocolError)
    assert run.codes[-1] == 421
    assert b"one" not in run.output


@pytest.mark.rfc("2033", "4.3")
@pytest.mark.rfc("3030", "2")
def test_a_last_chunk_behind_one_that_was_refused_has_one_reply() -> None:
    group = TWO + b"BDAT 1\r\nxBDAT 1 LAST\r\nyNOOP\r\n"
    first = (CommandReceived(Bdat(1)), Reply(452, "4.3.1 full"))
    run = serve(LHLO, group, answer=refuses_no(first), lmtp=True)
    assert run.codes == [220, 250, 250, 250, 550, 250, 452, 503, 250]
    # Several would be too many.
    run = serve(LHLO, group, answer=refuses_no(first, (BadCommand, [Reply(503, "out of step")] * 2)), lmtp=True)
    run.failed(LocalProtocolError)
    assert run.codes == [220, 250, 250, 250, 550, 250, 452, 421]


@pytest.mark.rfc("2033", "4.2")
def test_each_recipient_may_have_its_own_refusal_of_what_the_engine_refuses() -> None:
    each = [Reply(554, "5.6.0 not like that, one"), Reply(554, "5.6.0 nor two")]
    run = serve(LHLO, TWO + b"DATA\r\n", b"bare\nLF\r\n.\r\n", answer=refuses_no((BadCommand, each)), lmtp=True)
    assert run.output.endswith(b"554 5.6.0 not like that, one\r\n554 5.6.0 nor two\r\n")


@pytest.mark.rfc("5321", "3.8")
def test_421_for_one_recipient_is_the_last_reply() -> None:
    each = [Reply(421, "4.3.2 going down"), Reply(250, "two")]
    run = serve(LHLO, TWO + b"DATA\r\n", b".\r\n", QUIT, answer=at_the_end(each), lmtp=True)
    assert run.codes[-2:] == [354, 421]
    assert run.error is None
    assert run.closes


@pytest.mark.rfc("2033", "4.2")
@pytest.mark.rfc("2033", "4.3")
@given(
    fates=st.lists(st.sampled_from([250, 450, 550]), min_size=1, max_size=8), same=st.booleans(), chunked=st.booleans()
)
def test_in_lmtp_there_are_as_many_replies_as_accepted_recipients(fates: list[int], same: bool, chunked: bool) -> None:
    answers = [(CommandReceived(Rcpt(f"r{n}@d.example")), Reply(code, "x")) for n, code in enumerate(fates)]
    accepted = fates.count(250)
    said: object = Reply(451, "all") if same else [Reply(250 + 201 * (n % 2), str(n)) for n in range(accepted)]
    answer = answering(*answers, (EndOfData, said), (Bdat, said))
    envelope = b"MAIL FROM:<a@b.example>\r\n" + b"".join(b"RCPT TO:<r%d@d.example>\r\n" % n for n in range(len(fates)))
    content = [b"BDAT 0 LAST\r\n"] if chunked else [b"DATA\r\n", b".\r\n"]
    if not accepted:
        content = []
    run = serve(LHLO, envelope, *content, b"NOOP\r\n", answer=answer, lmtp=True)
    assert run.error is None
    expected = [451] * accepted if same else [250 + 201 * (n % 2) for n in range(accepted)]
    assert run.codes == [220, 250, 250, *fates, *([] if chunked or not accepted else [354]), *expected, 250]


# The rest of the commands ------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "3.5.3")
@pytest.mark.rfc("5321", "3.5.1")
@pytest.mark.rfc("5321", "3.5.2")
def test_lookups_reach_the_program() -> None:
    lines = b"VRFY user\r\nEXPN list\r\nHELP mail\r\nETRN b.example\r\n"
    run = serve(EHLO, lines, extensions=["HELP", "ETRN"])
    assert run.codes == [220, 250, 252, 502, 214, 502]
    commands: list[Command] = [Vrfy("user"), Expn("list"), Help("mail"), Etrn("b.example")]
    assert run.asked[2:] == [CommandReceived(command) for command in commands]
    answers = [(type(command), Reply(250, f"2.0.0 {command.verb}")) for command in commands]
    run = serve(EHLO, lines, extensions=["HELP", "ETRN"], answer=answering(*answers))
    assert run.output.endswith(b"250 2.0.0 VRFY\r\n250 2.0.0 EXPN\r\n250 2.0.0 HELP\r\n250 2.0.0 ETRN\r\n")


@pytest.mark.rfc("5321", "4.1.1.10")
@pytest.mark.parametrize("behind", [b"NOOP\r\n", ENVELOPE, b"bare\nLF\0", b"BDAT \xff\r\n", b"x" * 100_000])
def test_nothing_behind_quit_is_answered(behind: bytes) -> None:
    for lines in ([EHLO, QUIT + behind], [EHLO, QUIT, behind]):
        run = serve(*lines)
        assert run.codes == [220, 250, 221]
        assert run.error is None
        assert run.closes


@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.parametrize("body", [b"bare\nLF\r\n", b"bare\rCR\r\n", b"N\0L\r\n", b"\n.\nMAIL FROM:<x@y.example>\r\n"])
@pytest.mark.parametrize("cut", [whole, octets])
def test_content_that_must_not_be_leaves_both_in_step(body: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    run = serve(EHLO, ENVELOPE + b"DATA\r\n", *cut(body + b".\r\n" + ENVELOPE + b"DATA\r\n"), b".\r\n", QUIT)
    assert run.codes == [220, 250, 250, 250, 354, 554, 250, 250, 354, 250, 221]
    assert run.asked.count(CommandReceived(Mail("a@b.example"))) == 2


# What the program may look at --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "kind"), ENDS)
@pytest.mark.parametrize("lmtp", [False, True])
def test_the_transaction_is_there_when_the_program_is_asked_about_its_end(
    content: list[bytes], kind: type[Command], lmtp: bool
) -> None:
    session = ServiceSession(Service("mx.example", lmtp=lmtp))
    seen: list[tuple[Mail | None, list[Rcpt]]] = []
    other = refuses_no()

    def answer(asked: Event | Question) -> object:
        if isinstance(asked, ContentReceived) or ends(asked):
            seen.append((session.mail, session.recipients))
        return other(asked)

    run = Run(flows.serve(session), [LHLO if lmtp else EHLO, TWO, *content, b"NOOP\r\n"], answer=answer)
    assert run.error is None
    assert seen
    assert all(each == (Mail("a@b.example"), [Rcpt("c@d.example"), Rcpt("e@d.example")]) for each in seen)
    assert (session.mail, session.recipients) == (None, [])
