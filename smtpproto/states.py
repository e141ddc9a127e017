"""The protocol as one table, and the session that walks it.

Theory of operation
-------------------

A `Session` does not know which role it plays.  A client calls `Session.command` when it sends a command and
`Session.reply` when it receives the reply; a server calls the same two the other way round.  One table serves both,
so neither can cheat.

A session is at every moment described by three things:

``state``
    what the replies so far have confirmed;
``outstanding``
    the commands that are not answered yet, oldest first (RFC 2920 lets there be more than one);
``predicted``
    where the expected success of all that is outstanding will lead.  The legality of a further command is judged
    there, so that ``MAIL, RCPT, DATA`` may go out in one group.

With every outstanding command the session remembers the state that its success would lead to.  A reply that brings
something else (a refusal, mostly) folds the rest of the queue anew, but only until the old prediction and the new one
meet, which in a mail transaction is one step for a refused RCPT and the rest of the transaction for a refused MAIL.
So the work stays linear, whatever is refused.

Every transition stands in a table below; nothing hides in code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from .commands import (
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
from .errors import LocalProtocolError


class State(Enum):
    """Where a session stands.  The value says it in words."""

    START = "connected, and not greeted yet"
    REFUSED = "refused by the greeting: QUIT is all that is left"
    GREETED = "greeted, and no EHLO or HELO was accepted yet"
    READY = "ready, and in no mail transaction"
    MAIL = "in a mail transaction without a recipient"
    RCPT = "in a mail transaction with at least one recipient"
    DATA = "354 was given: content flows up to its final dot"
    BDAT = "between two chunks of content"
    FAILED = "a chunk was refused: the transaction has to be reset"
    AUTH = "334 was given: the authentication exchange goes on"
    TLS = "220 was given to STARTTLS: the TLS handshake is due"
    CLOSED = "closed: by QUIT, by 421, or by the end of the stream"
    ERROR = "broken: the peer has violated the protocol"

    if TYPE_CHECKING:

        def __hash__(self) -> int: ...
    else:
        __hash__ = object.__hash__  # identity; Enum's own hashes the name, in Python, at ten times the price


class _OfTable(Command):
    """What names a row of the table and nothing else: none can be made, so none can be sent."""

    __slots__ = ()

    def __init__(self) -> None:
        raise LocalProtocolError(f"{type(self).__name__} stands in the table only: there is none to send")


class LastBdat(_OfTable):
    """Stands in the table for a BDAT or BURL with LAST, as `EndOfData` does for the final dot."""

    __slots__ = ()
    verb = "BDAT LAST"


class TlsHandshake(_OfTable):
    """The pseudo-command that the completed TLS handshake answers."""

    __slots__ = ()


class BadLine(Command):
    """What a server could make nothing of, and has to refuse."""

    __slots__ = ()


Kind = type[Command]
Row = Mapping[int, State]
Outstanding = tuple[Command, Kind, Row, State]
"""A command, its kind, its row in the state that it will be answered in if all before it succeeds (empty where it has
none), and the state that its own success leads to."""
Table = Mapping[State, Mapping[Kind, Row]]

START: Final = State.START
REFUSED: Final = State.REFUSED
GREETED: Final = State.GREETED
READY: Final = State.READY
MAIL: Final = State.MAIL
RCPT: Final = State.RCPT
DATA: Final = State.DATA
BDAT: Final = State.BDAT
FAILED: Final = State.FAILED
AUTH: Final = State.AUTH
TLS: Final = State.TLS
CLOSED: Final = State.CLOSED
ERROR: Final = State.ERROR


def _anytime(here: State, after_reset: State) -> dict[Kind, Row]:
    """What may come at any time after the greeting.  RFC 5321 section 4.1.4."""
    return {
        Noop: {2: here},
        Help: {2: here},
        Vrfy: {2: here},
        Expn: {2: here},
        UnknownCommand: {2: here},
        Rset: {2: after_reset},
        Quit: {2: CLOSED},
    }


def _table(hello: dict[Kind, Row], without_recipient: dict[Kind, Row]) -> tuple[Table, Table]:
    chunks: dict[Kind, Row] = {Bdat: {2: BDAT, 4: FAILED, 5: FAILED}, LastBdat: {2: READY, 4: READY, 5: READY}}
    transitions: dict[State, dict[Kind, Row]] = {
        START: {Connect: {220: GREETED, 4: REFUSED, 5: REFUSED}},
        REFUSED: {Quit: {2: CLOSED}},
        GREETED: {**hello, **_anytime(GREETED, GREETED)},
        READY: {
            **hello,
            **_anytime(READY, READY),
            Mail: {2: MAIL},
            StartTls: {2: TLS},
            Auth: {2: READY, 334: AUTH},
            Etrn: {2: READY},
            XClient: {2: GREETED},
            XForward: {2: READY},
        },
        MAIL: {**hello, **_anytime(MAIL, READY), Rcpt: {2: RCPT}},
        RCPT: {**hello, **_anytime(RCPT, READY), Rcpt: {2: RCPT}, Data: {354: DATA}, **chunks},
        DATA: {EndOfData: {2: READY, 4: READY, 5: READY}},
        BDAT: {**hello, **_anytime(BDAT, READY), **chunks},
        FAILED: {**hello, **_anytime(FAILED, READY)},
        AUTH: {AuthResponse: {2: READY, 334: AUTH, 4: READY, 5: READY}},
        TLS: {TlsHandshake: {2: GREETED}},
        CLOSED: {},
        ERROR: {},
    }
    late: dict[State, dict[Kind, Row]] = {
        MAIL: {Bdat: {4: FAILED, 5: FAILED}, LastBdat: {4: READY, 5: READY}, **without_recipient},
        FAILED: {LastBdat: {4: READY, 5: READY}},
    }
    return _frozen(transitions), _frozen(late)


def _frozen(table: dict[State, dict[Kind, Row]]) -> Table:
    return MappingProxyType(
        {
            state: MappingProxyType({kind: MappingProxyType(dict(row)) for kind, row in rows.items()})
            for state, rows in table.items()
        }
    )


# state -> command -> first digit of its reply, or the whole code where no other will do -> next state.
#
# 4 and 5 are legal everywhere and change nothing unless they are listed; any other digit that is not listed is a
# protocol error (250 to DATA, 354 to MAIL, 235 for a greeting); a command that is not listed is out of sequence (503).
# Bdat and LastBdat stand for BURL, too (RFC 4468 section 3).
#
# The LATE tables hold what may be *answered* in a state in which it could not be *sent*: commands whose group was
# already on its way when an earlier one was refused.  354 may be given although every recipient was refused, and the
# client must then send a lone dot (RFC 2920 section 3.1); LMTP forbids it (RFC 2033 section 4.2).  A chunk that comes
# without a recipient fails the transaction, and the last chunk of one that has failed ends it (RFC 3030 section 2; so
# does Postfix): the next MAIL may be on its way already.
TRANSITIONS, LATE = _table({Ehlo: {2: READY}, Helo: {2: READY}}, {Data: {354: DATA}})
"""State -> command -> first digit of the reply, or the whole code where no other will do -> next state.

Of SMTP: what may be sent and answered in each state; and what may only be answered there, as it was sent in a group.

:meta hide-value:
"""
LMTP_TRANSITIONS, LMTP_LATE = _table({Lhlo: {2: READY}}, {})
"""As `TRANSITIONS` and `LATE`, of LMTP.  RFC 2033.

:meta hide-value:
"""

SERVICE_CLOSING: Final = 421
"""The reply after which the server is gone, whatever it answers: every state goes to CLOSED.  RFC 5321 section 3.8."""

ENDS_GROUP: Final[frozenset[Kind]] = frozenset(
    {
        Connect,
        Ehlo,
        Helo,
        Lhlo,
        StartTls,
        Auth,
        AuthResponse,
        Data,
        Noop,
        Quit,
        Vrfy,
        Expn,
        Help,
        Etrn,
        XClient,
        XForward,
        UnknownCommand,
        BadLine,
    }
)
"""Nothing may follow these until they are answered.  RFC 2920 section 3.1; of those that it does not name (AUTH,
STARTTLS, HELP, ETRN, XCLIENT, XFORWARD and the unknown) their own documents say so, or say nothing."""

TRANSACTION_STATES: Final[frozenset[State]] = frozenset({MAIL, RCPT, DATA, BDAT, FAILED})

_ENDS_CONTENT: Final[frozenset[Kind]] = frozenset({EndOfData, LastBdat})

_NO_ROW: Final[Row] = MappingProxyType({})
_NO_ROWS: Final[Mapping[Kind, Row]] = MappingProxyType({})


def kind_of(command: Command) -> Kind:
    """The row of the table that a command walks: its class, but for the last chunk and for BURL."""
    kind = type(command)
    if kind is Bdat or kind is Burl:
        return LastBdat if command.last else Bdat  # type: ignore[attr-defined]
    return kind


_EXPECTED: Final[Mapping[Kind, int]] = MappingProxyType({Connect: 220, Data: 354})


def expected_reply(kind: Kind) -> int:
    """What, in the row of a command, means success for now.  RFC 5321 section 4.3.2."""
    return _EXPECTED.get(kind, 2)


_Steps = dict[State, dict[Kind, tuple[Row, State]]]


def _steps(table: Table) -> _Steps:
    """The table, with what success leads to looked up: in plain dicts, as every command comes through here."""
    return {
        state: {kind: (dict(row), row.get(expected_reply(kind), state)) for kind, row in rows.items()}
        for state, rows in table.items()
    }


_STEPS: Final = _steps(TRANSITIONS)
_LMTP_STEPS: Final = _steps(LMTP_TRANSITIONS)
_FURTHER: Final = _STEPS[RCPT][Rcpt][0]
"""The row of a further recipient."""


class Session:
    """One session: the state, what is outstanding, and where that leads."""

    # There is one for each idle connection: not a word of data beyond these.
    __slots__ = ("_behind", "_owed", "accepted", "first", "lmtp", "predicted", "state")

    state: State
    """What the replies so far have confirmed."""
    predicted: State
    """Where the success of all that is outstanding will lead."""
    accepted: int
    """Recipients accepted in the current mail transaction."""
    lmtp: bool
    """True where the session speaks LMTP.  RFC 2033."""
    first: Outstanding | None
    """What the next reply answers; None while nothing is outstanding."""

    def __init__(self, *, lmtp: bool = False) -> None:
        self.lmtp = lmtp
        self.state = START
        self.accepted = 0
        # What the next reply answers, and what is outstanding behind it.  A session in lock-step makes no deque, and an
        # idle one keeps none, so that it is small.
        self.first = None
        self._behind: deque[Outstanding] | None = None
        self._owed = 0
        self.predicted = START
        self.add(Connect(), Connect)  # the greeting answers this

    @property
    def outstanding(self) -> tuple[Command, ...]:
        """The commands that are not answered yet, oldest first."""
        return () if self.first is None else (self.first[0], *(each[0] for each in self._behind or ()))

    @property
    def waiting(self) -> int:
        """How many commands are outstanding."""
        if self.first is None:
            return 0
        return 1 if self._behind is None else 1 + len(self._behind)

    def objection(self, kind: Kind, *, pipelining: bool) -> str | None:
        """Why a command may not come now, as a sentence; None where it may."""
        if self.first is not None:
            last = (self._behind[-1] if self._behind else self.first)[1]
            if last in ENDS_GROUP:
                return f"{_name(last)} is not answered yet, and nothing may follow it before (RFC 2920 section 3.1)"
            if not pipelining:
                return f"{_name(last)} is not answered yet, and PIPELINING was not offered (RFC 2920 section 3)"
        if kind not in (_LMTP_STEPS if self.lmtp else _STEPS)[self.predicted]:
            return f"{_name(kind)} is out of sequence here: {self.predicted.value}"
        return None

    def command(self, command: Command, *, pipelining: bool = True) -> None:
        """A command was sent (client) or received (server).  LocalProtocolError where it may not come now."""
        kind = kind_of(command)
        objection = self.objection(kind, pipelining=pipelining)
        if objection is not None:
            raise LocalProtocolError(objection)
        self.add(command, kind)

    def add(self, command: Command, kind: Kind) -> None:
        """As `command`, for one that was judged already, or that a server refuses: it owes a reply all the same."""
        made = self._step(command, kind, self.predicted)
        self.predicted = made[3]
        if self.first is None:
            self.first = made
        else:
            if self._behind is None:
                self._behind = deque()
            self._behind.append(made)

    def reply(self, code: int) -> tuple[Command, Kind, State]:
        """A reply came (client) or was given (server): the command that it answers, its kind, the state before.

        Raises `LocalProtocolError`, and changes nothing, where the table has no place for it.
        """
        # All in one function, as every reply comes through here, and a call costs as much as the rest of a line.
        before, first = self.state, self.first
        if first is None:
            raise LocalProtocolError(f"a reply {code} that no command asked for")
        if before is CLOSED or before is ERROR:
            raise LocalProtocolError(f"a reply {code} comes too late: {before.value}")
        command, kind, row, predicted = first
        if code == SERVICE_CLOSING:
            self._pop()
            self.close()
            return command, kind, before
        digit = code // 100
        row = row or (LMTP_LATE if self.lmtp else LATE).get(before, _NO_ROWS).get(kind, _NO_ROW)
        after = row.get(digit) or row.get(code)
        if after is None:
            if digit not in (4, 5):
                raise LocalProtocolError(f"{code} is no answer to {_name(kind)} here: {before.value}")
            after = before
        if kind in _ENDS_CONTENT and self._owes_more(kind):
            return command, kind, before
        self._pop()
        if kind is Rcpt and digit == 2:
            self.accepted += 1
        elif after not in TRANSACTION_STATES:
            self.accepted = 0
        self.state = after
        if after is not predicted:
            self._predict_anew()
        return command, kind, before

    def another_recipient(self, code: int) -> Command | None:
        """`reply`, for what comes most often: a further recipient is accepted, and this is no LMTP.

        The command; None, and nothing is changed, where it is anything else.
        """
        first = self.first
        if first is None or first[2] is not _FURTHER or self.state is not RCPT or code >= 300:
            return None
        self.accepted += 1
        # As _pop does, which as a call would be a fifth of this.
        behind = self._behind
        if behind:
            self.first = behind.popleft()
        else:
            self.first = self._behind = None
        return first[0]

    def tls_established(self) -> None:
        """The TLS handshake is done.  RFC 3207 section 4.2: as if the greeting had just been given."""
        steps = (_LMTP_STEPS if self.lmtp else _STEPS)[self.state]
        if TlsHandshake not in steps:
            raise LocalProtocolError(f"no TLS handshake is due: {self.state.value}")
        self.state = steps[TlsHandshake][1]
        self._predict_anew()

    def close(self) -> None:
        """The session is over; what is outstanding stays so."""
        self.state = self.predicted = CLOSED

    def fail(self) -> None:
        """The peer has broken the protocol."""
        self.state = self.predicted = ERROR

    def _owes_more(self, kind: Kind) -> bool:
        """LMTP: the end of the content owes one reply for each accepted recipient.  RFC 2033 section 4.2."""
        if not self.lmtp or (kind is LastBdat and self.state is FAILED):
            return False
        owed = self._owed or self.accepted or 1  # a last chunk without a recipient is refused once
        self._owed = owed - 1
        return self._owed > 0

    def _pop(self) -> None:
        behind = self._behind
        if behind:
            self.first = behind.popleft()
        else:
            self.first = self._behind = None

    def _step(self, command: Command, kind: Kind, state: State) -> Outstanding:
        """With its row in this state."""
        step = (_LMTP_STEPS if self.lmtp else _STEPS)[state].get(kind)
        return (command, kind, _NO_ROW, state) if step is None else (command, kind, *step)

    def _predict_anew(self) -> None:
        """From the state, and as far as anything leads elsewhere than was thought."""
        state, first, behind = self.state, self.first, self._behind
        if first is not None:
            self.first = again = self._step(first[0], first[1], state)
            state = again[3]
            if state is first[3]:
                return
        for i, (command, kind, _, predicted) in enumerate(behind or ()):
            assert behind is not None
            behind[i] = again = self._step(command, kind, state)
            state = again[3]
            if state is predicted:
                return
        self.predicted = state


def _name(kind: Kind) -> str:
    return _NAMES.get(kind) or kind.verb or kind.__name__


_NAMES: Final[Mapping[Kind, str]] = {
    EndOfData: "the final dot",
    UnknownCommand: "an unknown command",  # whose verb is in the value
    BadLine: "a line that is no command",
}
