"""The table, walked exhaustively; and the session that walks it, with several commands outstanding."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto import commands as all_commands
from smtpproto import states
from smtpproto.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Burl,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from smtpproto.errors import LocalProtocolError
from smtpproto.events import Unsolicited
from smtpproto.states import (
    ENDS_GROUP,
    LATE,
    LMTP_LATE,
    LMTP_TRANSITIONS,
    TRANSITIONS,
    BadLine,
    Kind,
    LastBdat,
    Row,
    Session,
    State,
    Table,
    TlsHandshake,
    expected_reply,
    kind_of,
)
from tests import strategies

SAMPLES: dict[Kind, Command] = {
    Connect: Connect(),
    Ehlo: Ehlo("me.example"),
    Helo: Helo("me.example"),
    Lhlo: Lhlo("me.example"),
    StartTls: StartTls(),
    Auth: Auth("PLAIN"),
    AuthResponse: AuthResponse(b"x"),
    Mail: Mail("a@x.example"),
    Rcpt: Rcpt("b@y.example"),
    Data: Data(),
    EndOfData: EndOfData(),
    Bdat: Bdat(3),
    LastBdat: Bdat(3, last=True),
    Rset: Rset(),
    Noop: Noop(),
    Quit: Quit(),
    Vrfy: Vrfy("b"),
    Expn: Expn("b"),
    Help: Help(),
    Etrn: Etrn("x.example"),
    XClient: XClient({"NAME": "x"}),
    XForward: XForward({"NAME": "x"}),
    UnknownCommand: UnknownCommand("XYZZY"),
    BadLine: BadLine(),
}
"""A command for each row of the table."""

PROTOCOLS = pytest.mark.parametrize(
    ("lmtp", "table", "late"),
    [(False, TRANSITIONS, LATE), (True, LMTP_TRANSITIONS, LMTP_LATE)],
    ids=["smtp", "lmtp"],
)
CODES = (200, 220, 221, 235, 250, 252, 299, 300, 334, 354, 399, 400, 421, 450, 499, 500, 503, 554, 599)

Step = tuple[Command | None, int]
"""A command and the code of its reply; None is the TLS handshake."""


def successes(row: Row) -> Iterator[tuple[int, State]]:
    for key, after in row.items():
        yield (key if key > 9 else key * 100 + 50), after


def paths(table: Table) -> dict[State, list[Step]]:
    """How to come from the greeting to each state by the table alone."""
    found: dict[State, list[Step]] = {State.START: []}
    queue = deque([State.START])
    while queue:
        state = queue.popleft()
        for kind, row in table[state].items():
            for code, after in successes(row):
                if after not in found:
                    found[after] = [*found[state], (None if kind is TlsHandshake else SAMPLES[kind], code)]
                    queue.append(after)
    return found


def session_in(state: State, *, lmtp: bool) -> Session:
    session = Session(lmtp=lmtp)
    if state is State.ERROR:
        session.fail()
        return session
    for command, code in paths(LMTP_TRANSITIONS if lmtp else TRANSITIONS)[state]:
        if command is None:
            session.tls_established()
            continue
        if not isinstance(command, Connect):
            session.command(command)
        session.reply(code)
    assert session.state is state
    return session


def look(session: Session) -> tuple[Any, ...]:
    """All that can be seen of a session."""
    return (
        session.state,
        session.predicted,
        session.accepted,
        session.outstanding,
        session.first is not None,
        session.waiting,
    )


# -- the table ----------------------------------------------------------------------------------------------------


def test_there_is_a_sample_of_every_command() -> None:
    rows = {kind for table in (TRANSITIONS, LMTP_TRANSITIONS) for rows in table.values() for kind in rows}
    assert rows | {BadLine} == set(SAMPLES) | {TlsHandshake}
    public = [getattr(all_commands, name) for name in all_commands.__all__]
    kinds = {each for each in public if isinstance(each, type) and issubclass(each, Command)} - {Command, Burl}
    assert kinds == set(SAMPLES) - {LastBdat, BadLine}


@PROTOCOLS
def test_every_state_stands_in_the_table(lmtp: bool, table: Table, late: Table) -> None:
    assert list(table) == list(State)
    assert set(paths(table)) == set(State) - {State.ERROR}


@PROTOCOLS
def test_every_state_that_lives_can_come_to_its_end(lmtp: bool, table: Table, late: Table) -> None:
    ends = {State.CLOSED}
    while True:
        more = {state for state in table for row in table[state].values() if ends & set(row.values())} | ends
        if more == ends:
            break
        ends = more
    assert ends == set(State) - {State.ERROR}


@PROTOCOLS
def test_the_table_cannot_be_changed(lmtp: bool, table: Table, late: Table) -> None:
    any_table: Any = table
    with pytest.raises(TypeError):
        any_table[State.START] = {}
    with pytest.raises(TypeError):
        any_table[State.START][Connect] = {}
    with pytest.raises(TypeError):
        any_table[State.START][Connect][2] = State.READY


def expected_after(table: Table, late: Table, state: State, kind: Kind, code: int) -> State | None:
    """Where the tables lead; None where they have no place for the reply."""
    row = table[state].get(kind) or late.get(state, {}).get(kind, {})
    if code == 421:
        return State.CLOSED
    for key in (code // 100, code):
        if key in row:
            return row[key]
    return state if code // 100 in (4, 5) else None


@PROTOCOLS
@pytest.mark.parametrize("state", [each for each in State if each not in (State.CLOSED, State.ERROR, State.START)])
@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("5321", "4.3.1")
def test_every_row_is_taken_and_every_other_reply_is_refused(
    lmtp: bool, table: Table, late: Table, state: State
) -> None:
    for kind, code in itertools.product(SAMPLES, CODES):
        session = session_in(state, lmtp=lmtp)
        session.add(SAMPLES[kind], kind_of(SAMPLES[kind]))  # also what may not come: a server has to answer it
        after = expected_after(table, late, state, kind, code)
        before = look(session)
        if after is None:
            with pytest.raises(LocalProtocolError, match=f"^{code} is no answer to .* here: "):
                session.reply(code)
            assert look(session) == before
        else:
            assert session.reply(code) == (SAMPLES[kind], kind, state)
            assert (session.state, session.predicted) == (after, after)
            assert session.outstanding == ()


@PROTOCOLS
@pytest.mark.parametrize("code", CODES)
@pytest.mark.rfc("5321", "3.1")
def test_the_greeting_is_220_or_a_refusal(lmtp: bool, table: Table, late: Table, code: int) -> None:
    session = Session(lmtp=lmtp)
    assert session.outstanding == (Connect(),)
    assert session.predicted is State.GREETED
    after = expected_after(table, late, State.START, Connect, code)
    assert (after is None) is (code // 100 in (2, 3) and code != 220)
    if after is None:
        with pytest.raises(LocalProtocolError, match="no answer to Connect"):
            session.reply(code)
    else:
        session.reply(code)
        assert session.state is session.predicted is after


@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("3030", "2")
@PROTOCOLS
@pytest.mark.parametrize("state", State)
def test_a_command_that_is_not_listed_is_out_of_sequence(lmtp: bool, table: Table, late: Table, state: State) -> None:
    for kind, command in SAMPLES.items():
        session = session_in(state, lmtp=lmtp)
        before = look(session)
        if kind in table[state] and state is not State.START:
            session.command(command)
            assert session.outstanding == (command,)
        else:
            with pytest.raises(LocalProtocolError, match=r"out of sequence|is not answered yet"):
                session.command(command)
            assert look(session) == before


@pytest.mark.parametrize("kind", [LastBdat, TlsHandshake])
def test_what_names_a_row_only_cannot_be_made(kind: type[Command]) -> None:
    with pytest.raises(LocalProtocolError, match="stands in the table only"):
        kind()


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("command", [Command(), BadLine(), Unsolicited(), Connect()])
def test_what_is_no_command_has_no_place(state: State, command: Command) -> None:
    with pytest.raises(LocalProtocolError):
        session_in(state, lmtp=False).command(command)


@pytest.mark.parametrize("state", State)
def test_the_tls_handshake_has_its_place(state: State) -> None:
    session = session_in(state, lmtp=False)
    before = look(session)
    if state is State.TLS:
        session.tls_established()
        assert session.state is session.predicted is State.GREETED
    else:
        with pytest.raises(LocalProtocolError, match="no TLS handshake is due"):
            session.tls_established()
        assert look(session) == before


@pytest.mark.parametrize("state", [State.CLOSED, State.ERROR])
@pytest.mark.parametrize("code", [220, 250, 354, 421, 500])
def test_nothing_is_answered_after_the_end(state: State, code: int) -> None:
    session = session_in(State.READY, lmtp=False)
    session.command(Mail(""))
    if state is State.CLOSED:
        session.close()
    else:
        session.fail()
    before = look(session)
    with pytest.raises(LocalProtocolError, match="comes too late"):
        session.reply(code)
    assert look(session) == before
    assert before == (state, state, 0, (Mail(""),), True, 1)


@PROTOCOLS
def test_nothing_is_answered_that_was_not_asked(lmtp: bool, table: Table, late: Table) -> None:
    for state in set(State) - {State.START, State.ERROR}:
        session = session_in(state, lmtp=lmtp)
        with pytest.raises(LocalProtocolError, match="no command asked for"):
            session.reply(250)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (Bdat(0), Bdat),
        (Bdat(0, last=True), LastBdat),
        (Burl("imap://x/y"), Bdat),
        (Burl("imap://x/y", last=True), LastBdat),
        (Mail(""), Mail),
    ],
)
@pytest.mark.rfc("4468", "3")
def test_a_burl_walks_the_rows_of_bdat(command: Command, kind: Kind) -> None:
    assert kind_of(command) is kind


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Mail, "MAIL"),
        (LastBdat, "BDAT LAST"),
        (EndOfData, "the final dot"),
        (AuthResponse, "AuthResponse"),
        (UnknownCommand, "an unknown command"),
        (BadLine, "a line that is no command"),
    ],
)
def test_objections_call_commands_by_their_names(kind: Kind, name: str) -> None:
    objection = session_in(State.REFUSED, lmtp=False).objection(kind, pipelining=True)
    assert objection == f"{name} is out of sequence here: refused by the greeting: QUIT is all that is left"


def test_each_protocol_has_its_own_hello() -> None:
    for state in (State.GREETED, State.READY, State.MAIL, State.RCPT, State.BDAT, State.FAILED):
        assert {Ehlo, Helo} <= set(TRANSITIONS[state])
        assert Lhlo not in TRANSITIONS[state]
        assert Lhlo in LMTP_TRANSITIONS[state]
        assert not {Ehlo, Helo} & set(LMTP_TRANSITIONS[state])
    assert (Session().lmtp, Session(lmtp=True).lmtp) == (False, True)


# -- groups -------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2920", "3.1")
@pytest.mark.rfc("4954", "4")
def test_what_ends_a_group() -> None:
    last_only = {Ehlo, Data, Vrfy, Expn, Quit, Noop}
    anywhere = {Rset, Mail, Rcpt, EndOfData, Bdat, LastBdat}
    assert last_only <= ENDS_GROUP
    assert not anywhere & ENDS_GROUP
    assert set(SAMPLES) == ENDS_GROUP | anywhere


@PROTOCOLS
@pytest.mark.rfc("2920", "3.1")
def test_a_group_goes_on_behind_some_commands_and_not_behind_others(lmtp: bool, table: Table, late: Table) -> None:
    for state, rows in table.items():
        for kind in set(rows) - {Connect, TlsHandshake}:
            session = session_in(state, lmtp=lmtp)
            session.command(SAMPLES[kind])
            before = look(session)
            for following in SAMPLES:
                objection = session.objection(following, pipelining=True)
                if kind in ENDS_GROUP:
                    assert objection is not None
                    assert "is not answered yet, and nothing may follow it before" in objection
                else:
                    assert (objection is None) is (following in table[session.predicted])
                assert "PIPELINING was not offered" in str(session.objection(following, pipelining=False)) or (
                    kind in ENDS_GROUP
                )
            assert look(session) == before


@pytest.mark.rfc("2920", "3.1")
def test_the_next_mail_may_follow_the_final_dot_at_once() -> None:
    session = session_in(State.DATA, lmtp=False)
    group = (EndOfData(), Mail(""), Rcpt("b@y.example"), Data())
    for command in group:
        session.command(command)
    assert session.outstanding == group
    assert session.predicted is State.DATA
    assert (session.waiting, session.first and session.first[:2]) == (4, (EndOfData(), EndOfData))


@pytest.mark.rfc("2920", "3.1")
def test_what_is_outstanding_stays_so_where_the_first_is_refused() -> None:
    session = session_in(State.READY, lmtp=False)
    group = (Mail(""), Rcpt("b@y.example"), Rcpt("c@y.example"), Data())
    for command in group:
        session.command(command)
    session.reply(550)
    assert session.predicted is State.READY
    assert session.outstanding == group[1:]


@pytest.mark.rfc("2920", "3.1")
def test_354_although_every_recipient_was_refused() -> None:
    session = session_in(State.MAIL, lmtp=False)
    for command in (Rcpt("b@y.example"), Data()):
        session.command(command)
    session.reply(550)
    assert (session.state, session.predicted) == (State.MAIL, State.MAIL)
    session.reply(354)
    assert session.state is State.DATA


@pytest.mark.rfc("2033", "4.2")
def test_lmtp_gives_no_354_without_a_recipient() -> None:
    session = session_in(State.MAIL, lmtp=True)
    for command in (Rcpt("b@y.example"), Data()):
        session.command(command)
    session.reply(550)
    with pytest.raises(LocalProtocolError, match="354 is no answer to DATA"):
        session.reply(354)
    session.reply(503)
    assert session.state is State.MAIL


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.rfc("3030", "2")
def test_a_last_chunk_without_a_recipient_ends_the_transaction(lmtp: bool) -> None:
    session = session_in(State.READY, lmtp=lmtp)
    group = (Mail(""), Rcpt("b@y.example"), Bdat(1), Bdat(1, last=True), Mail(""), Rcpt("c@y.example"))
    for command in group:
        session.command(command)
    seen: list[State] = []
    for code in (250, 550, 554, 554, 250, 250):
        session.reply(code)
        seen.append(session.state)
    assert seen == [State.MAIL, State.MAIL, State.FAILED, State.READY, State.MAIL, State.RCPT]


@pytest.mark.rfc("3030", "2")
def test_chunks_behind_a_refused_one() -> None:
    session = session_in(State.RCPT, lmtp=False)
    group = (Bdat(1), Bdat(1), Bdat(1, last=True), Mail(""))
    for command in group:
        session.command(command)
    seen: list[tuple[State, State]] = []
    for code in (452, 503, 503, 250):
        session.reply(code)
        seen.append((session.state, session.predicted))
    failed = (State.FAILED, State.FAILED)
    assert seen == [failed, failed, (State.READY, State.MAIL), (State.MAIL, State.MAIL)]


@pytest.mark.rfc("5321", "3.8")
def test_421_in_the_middle_of_a_group_leaves_the_rest_unanswered() -> None:
    session = session_in(State.READY, lmtp=False)
    group = (Mail(""), Rcpt("b@y.example"), Data())
    for command in group:
        session.command(command)
    assert session.reply(421) == (Mail(""), Mail, State.READY)
    assert session.state is session.predicted is State.CLOSED
    assert session.outstanding == group[1:]


# -- LMTP ---------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("2033", "4.2")
@pytest.mark.rfc("2033", "4.3")
@pytest.mark.parametrize("end", [EndOfData(), Bdat(0, last=True)])
@given(codes=st.lists(st.sampled_from([250, 450, 550]), min_size=1, max_size=6), refused=st.integers(0, 3))
def test_lmtp_owes_a_reply_for_each_recipient(end: Command, codes: list[int], refused: int) -> None:
    session = session_in(State.MAIL, lmtp=True)
    for code in [250] * len(codes) + [550] * refused:
        session.command(Rcpt("b@y.example"))
        session.reply(code)
    assert session.accepted == len(codes)
    if isinstance(end, EndOfData):
        session.command(Data())
        session.reply(354)
    session.command(end)
    for count, code in enumerate(codes, 1):
        assert session.outstanding == (end,)
        session.reply(code)
        assert (session.first is not None) is (count < len(codes))
    assert (session.state, session.accepted) == (State.READY, 0)


@pytest.mark.rfc("2033", "4.2")
def test_lmtp_counts_anew_after_a_last_chunk_that_had_no_recipient() -> None:
    session = session_in(State.READY, lmtp=True)
    for code, command in [(250, Mail("")), (550, Rcpt("b@y.example")), (503, Bdat(0, last=True))]:
        session.add(command, kind_of(command))
        session.reply(code)
        assert session.first is None
    for command in (Mail(""), Rcpt("b@y.example"), Rcpt("c@y.example"), Bdat(0, last=True)):
        session.command(command)
    for waiting in (3, 2, 1, 1, 0):
        session.reply(250)
        assert session.waiting == waiting


def test_lmtp_owes_one_reply_for_the_last_chunk_of_a_failed_transaction() -> None:
    session = session_in(State.MAIL, lmtp=True)
    for command in (Rcpt("b@y.example"), Rcpt("c@y.example"), Bdat(1), Bdat(1, last=True)):
        session.command(command)
    for code in (250, 250, 451, 503):
        session.reply(code)
    assert (session.state, session.first) == (State.READY, None)


def test_421_stands_for_all_the_replies_that_are_owed() -> None:
    session = session_in(State.MAIL, lmtp=True)
    for command in (Rcpt("b@y.example"), Rcpt("c@y.example"), Bdat(1, last=True)):
        session.command(command)
    for code in (250, 250, 421):
        session.reply(code)
    assert (session.state, session.first) == (State.CLOSED, None)


@given(st.lists(st.sampled_from([250, 251, 252, 450, 550, 552]), max_size=8), st.booleans())
def test_accepted_counts_the_recipients_of_this_transaction(codes: list[int], lmtp: bool) -> None:
    session = session_in(State.READY, lmtp=lmtp)
    for _ in range(2):
        session.command(Mail(""))
        session.reply(250)
        for code in codes:
            session.command(Rcpt("b@y.example"))
            session.reply(code)
        assert session.accepted == sum(code < 300 for code in codes)
        session.command(Rset())
        session.reply(250)
        assert session.accepted == 0


# -- prediction ---------------------------------------------------------------------------------------------------


def naive_fold(session: Session, table: Table) -> State:
    state = session.state
    for command in session.outstanding:
        kind = kind_of(command)
        state = table[state].get(kind, {}).get(expected_reply(kind), state)
    return state


Action = Command | int


def actions(*, lmtp: bool) -> st.SearchStrategy[list[Action]]:
    codes = st.sampled_from([220, 250, 250, 250, 334, 354, 354, 450, 550, 550])
    return st.lists(strategies.session_commands(lmtp=lmtp) | codes, max_size=60)


@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
@given(draw=st.data())
def test_predicted_is_the_fold_of_what_is_expected(lmtp: bool, draw: st.DataObject) -> None:
    table = LMTP_TRANSITIONS if lmtp else TRANSITIONS
    one, other = session_in(State.READY, lmtp=lmtp), session_in(State.READY, lmtp=lmtp)
    for action in draw.draw(actions(lmtp=lmtp)):
        before = look(one)
        try:
            if isinstance(action, Command):
                one.command(action)
            else:
                one.reply(action)
        except LocalProtocolError:
            assert look(one) == before
            continue
        assert one.predicted is naive_fold(one, table)
        # No session knows which role it plays: whoever is told the same comes to the same.
        if isinstance(action, Command):
            other.add(action, kind_of(action))
        else:
            other.reply(action)
        assert look(one) == look(other)
        if one.state is State.TLS:
            one.tls_established()
            other.tls_established()


class Counting(Session):
    """Counts the steps of prediction."""

    steps = 0

    def _step(self, command: Command, kind: Kind, state: State) -> Any:
        self.steps += 1
        return super()._step(command, kind, state)


@pytest.mark.parametrize(
    "codes",
    [
        [550] + [503] * 10_000,
        [250] + [550] * 10_000,
        [250] + [250, 550] * 5_000,
        [250] + [550, 250] * 5_000,
    ],
    ids=["MAIL refused", "every RCPT refused", "every other", "the others"],
)
def test_prediction_is_linear_whatever_is_refused(codes: list[int]) -> None:
    session = Counting()
    session.reply(220)
    session.command(Ehlo("me.example"))
    session.reply(250)
    session.command(Mail(""))
    for _ in range(10_000):
        session.command(Rcpt("b@y.example"))
    sent = session.steps
    assert sent <= 10_003
    for code in codes:
        session.reply(code)
    assert session.steps - sent <= 2 * 10_000
    assert session.first is None


@given(st.lists(st.sampled_from([Mail(""), Rcpt("b@y.example"), Rset(), Bdat(1), Bdat(1, last=True)])), st.data())
def test_prediction_takes_a_bounded_number_of_steps_for_each_command(group: list[Command], draw: st.DataObject) -> None:
    session = Counting()
    session.reply(220)
    session.command(Ehlo("me.example"))
    session.reply(250)
    for command in group:
        session.add(command, kind_of(command))
    while session.first is not None:
        code = draw.draw(st.sampled_from([250, 550]))
        try:
            session.reply(code)
        except LocalProtocolError:
            session.reply(550)
    assert session.steps <= 5 * len(group) + 2


def test_answered_commands_are_dropped_while_others_wait() -> None:
    """Chunks may follow each other without end, and something is always outstanding."""
    session = Session()
    session.reply(220)
    session.command(Ehlo("me.example"))
    session.reply(250)
    for command in (Mail(""), Rcpt("b@y.example"), Bdat(0)):
        session.command(command)
    for count in range(5_000):
        session.command(Bdat(count))
        assert session.waiting == 4
        session.reply(250)
    assert session.outstanding == (Bdat(4997), Bdat(4998), Bdat(4999))
    assert len(getattr(session, "_behind")) == 2  # noqa: B009


def test_the_names_of_the_states_are_said_in_words() -> None:
    assert all(state.value.split() for state in State)
    assert len({hash(state) for state in State}) == len(State)
    assert states.SERVICE_CLOSING == 421


@pytest.mark.rfc("5321", "4.2.1")
@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.parametrize("code", [200, 201, 299, 400, 401, 499, 500, 501, 599])
def test_only_the_first_digit_of_most_replies_counts(code: int) -> None:
    session = Session()
    session.reply(220)
    session.command(Ehlo("me.example"))
    session.reply(code)
    assert session.state is (State.READY if code < 300 else State.GREETED)


def test_at_first_no_recipient_is_accepted() -> None:
    assert Session().accepted == 0


@pytest.mark.rfc("2920", "3.1")
def test_a_queue_that_never_runs_empty_stays_small() -> None:
    session = Session()
    session.reply(220)
    session.command(Ehlo("me.example"))
    session.reply(250)
    session.command(Rset())
    for _ in range(300):
        session.command(Rset())
        first, *_ = session.outstanding
        assert session.waiting == 2
        assert session.reply(250)[0] is first
        assert session.waiting == len(session.outstanding) == 1
        assert not getattr(session, "_behind")  # noqa: B009


RECIPIENTS = st.sampled_from([Mail(""), Rcpt("b@y.example"), Rcpt("c@y.example"), Rset(), Noop(), Data(), Bdat(1)])


@example([Rcpt("b@y.example")], [250])
@example([Rcpt("b@y.example")], [300])
@given(st.lists(RECIPIENTS, max_size=8), st.lists(st.sampled_from([200, 201, 250, 299, 300, 354, 421, 450, 550])))
def test_a_further_recipient_is_answered_as_by_reply_or_not_at_all(group: list[Command], codes: list[int]) -> None:
    session, other = (session_in(State.RCPT, lmtp=False) for _ in range(2))
    for command in group:
        session.add(command, kind_of(command))
        other.add(command, kind_of(command))
    for code in codes:
        before = look(session)
        waiting_for = None if session.first is None else session.first[1]
        further = session.state is State.RCPT and waiting_for is Rcpt and 200 <= code < 300
        answered = session.another_recipient(code)
        if further:
            assert other.first is not None
            assert answered is other.first[0]
        else:
            assert (answered, look(session)) == (None, before)
            try:
                session.reply(code)
            except LocalProtocolError:
                continue
        other.reply(code)
        assert look(session) == look(other)
