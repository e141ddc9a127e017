"""The order of commands as the RFCs tell it, and not as the tables of `smtpproto.states` do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from smtpproto import (
    Auth,
    AuthResponse,
    Bdat,
    ClientConnection,
    Command,
    Data,
    Ehlo,
    EndOfData,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    LocalProtocolError,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reply,
    Rset,
    StartTls,
    State,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from tests.driving import EVERYTHING, ehlo_reply, events, give, mailing_server

Step = tuple[Command, int]

HELLO: Step = (Ehlo("me.example"), 250)
MAIL: Step = (Mail("a@x.example"), 250)
RCPT: Step = (Rcpt("b@y.example"), 250)

WAYS: dict[State, tuple[Step, ...]] = {
    State.GREETED: (),
    State.READY: (HELLO,),
    State.MAIL: (HELLO, MAIL),
    State.RCPT: (HELLO, MAIL, RCPT),
    State.BDAT: (HELLO, MAIL, RCPT, (Bdat(0), 250)),
    State.FAILED: (HELLO, MAIL, RCPT, (Bdat(0), 452)),
    State.DATA: (HELLO, MAIL, RCPT, (Data(), 354)),
    State.AUTH: (HELLO, (Auth("PLAIN"), 334)),
}
"""To each state, from the greeting."""

WITHOUT_EFFECT: tuple[Command, ...] = (Noop(), Help(), Vrfy("b"), Expn("b"), UnknownCommand("XYZZY"))
"""They affect nothing, whenever they come.  RFC 5321 sections 4.1.1.6 to 4.1.1.9."""
AT_ANY_TIME = (State.GREETED, State.READY, State.MAIL, State.RCPT, State.BDAT, State.FAILED)


def lmtp_of(command: Command, *, lmtp: bool) -> Command:
    return Lhlo(command.domain) if lmtp and isinstance(command, Ehlo) else command


def client_in(state: State, *, lmtp: bool, secure: bool = True) -> ClientConnection:
    client = ClientConnection(lmtp=lmtp, secure=secure)
    answer(client, 220)
    for command, code in WAYS[state]:
        step(client, lmtp_of(command, lmtp=lmtp), code)
    assert client.state is state
    return client


def answer(client: ClientConnection, code: int) -> None:
    hello = code == 250 and isinstance(client.outstanding[0], Ehlo | Lhlo)
    client.receive_data(ehlo_reply(*EVERYTHING) if hello else bytes(Reply(code, "said")))
    assert events(client)


def step(client: ClientConnection, command: Command, code: int) -> State:
    """Say it, and hear that; where it leads."""
    client.send(command)
    if isinstance(command, Bdat):
        client.send_content(bytes(command.size))
    answer(client, code)
    assert client.waiting == 0
    assert client.predicted is client.state
    return client.state


both = pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])


@pytest.mark.rfc("5321", "4.1.4")
@both
@pytest.mark.parametrize("state", AT_ANY_TIME)
@pytest.mark.parametrize("command", WITHOUT_EFFECT, ids=lambda command: command.verb)
@pytest.mark.parametrize("code", [250, 451, 502])
def test_what_has_no_effect_comes_at_any_time(state: State, lmtp: bool, command: Command, code: int) -> None:
    client = client_in(state, lmtp=lmtp)
    assert step(client, command, code) is state


@pytest.mark.rfc("5321", "4.1.1.5")
@both
@pytest.mark.parametrize("state", AT_ANY_TIME)
def test_rset_ends_the_transaction_at_any_time(state: State, lmtp: bool) -> None:
    after = State.GREETED if state is State.GREETED else State.READY
    assert step(client_in(state, lmtp=lmtp), Rset(), 250) is after
    assert step(client_in(state, lmtp=lmtp), Rset(), 500) is state


@pytest.mark.rfc("5321", "4.1.1.10")
@both
@pytest.mark.parametrize("state", AT_ANY_TIME)
def test_quit_ends_the_session_at_any_time(state: State, lmtp: bool) -> None:
    assert step(client_in(state, lmtp=lmtp), Quit(), 221) is State.CLOSED
    assert step(client_in(state, lmtp=lmtp), Quit(), 500) is state


@pytest.mark.rfc("5321", "4.1.4")
@both
@pytest.mark.parametrize("state", AT_ANY_TIME)
@pytest.mark.parametrize("helo", [False, True])
def test_a_second_hello_resets(state: State, lmtp: bool, helo: bool) -> None:
    hello = Helo("me.example") if helo and not lmtp else lmtp_of(Ehlo("me.example"), lmtp=lmtp)
    assert step(client_in(state, lmtp=lmtp), hello, 250) is State.READY
    assert step(client_in(state, lmtp=lmtp), hello, 504) is state


@pytest.mark.rfc("5321", "3.1")
@pytest.mark.rfc("5321", "4.3.2")
@both
@pytest.mark.parametrize("code", [400, 450, 499, 500, 554])
def test_after_a_greeting_that_refuses_quit_is_all_that_is_left(lmtp: bool, code: int) -> None:
    client = ClientConnection(lmtp=lmtp)
    answer(client, code)
    assert client.state is client.predicted is State.REFUSED
    for command in (lmtp_of(Ehlo("me.example"), lmtp=lmtp), Helo("x"), Mail(""), Rset(), *WITHOUT_EFFECT):
        assert client.objection(command) is not None
    assert step(client, Quit(), 221) is State.CLOSED


LED: list[tuple[State, Command, int, State]] = [
    (State.READY, Mail(""), 250, State.MAIL),
    (State.READY, Mail(""), 451, State.READY),
    (State.READY, Mail(""), 550, State.READY),
    (State.READY, Etrn("x.example"), 250, State.READY),
    (State.READY, XForward({"NAME": "x"}), 250, State.READY),
    (State.READY, XClient({"NAME": "x"}), 220, State.GREETED),
    (State.READY, XClient({"NAME": "x"}), 550, State.READY),
    (State.READY, Auth("PLAIN"), 334, State.AUTH),
    (State.READY, Auth("PLAIN", b"x"), 235, State.READY),
    (State.READY, Auth("PLAIN", b"x"), 535, State.READY),
    (State.AUTH, AuthResponse(b"x"), 334, State.AUTH),
    (State.AUTH, AuthResponse(b"x"), 235, State.READY),
    (State.AUTH, AuthResponse(b"x"), 454, State.READY),
    (State.AUTH, AuthResponse(b"x"), 535, State.READY),
    (State.MAIL, Rcpt("b@y.example"), 250, State.RCPT),
    (State.MAIL, Rcpt("b@y.example"), 450, State.MAIL),
    (State.MAIL, Rcpt("b@y.example"), 550, State.MAIL),
    (State.RCPT, Rcpt("c@y.example"), 250, State.RCPT),
    (State.RCPT, Rcpt("c@y.example"), 450, State.RCPT),
    (State.RCPT, Rcpt("c@y.example"), 550, State.RCPT),
    (State.RCPT, Data(), 354, State.DATA),
    (State.RCPT, Data(), 451, State.RCPT),
    (State.RCPT, Data(), 554, State.RCPT),
    *((State.DATA, EndOfData(), code, State.READY) for code in (250, 451, 554)),
    *((state, Bdat(3), 250, State.BDAT) for state in (State.RCPT, State.BDAT)),
    *((state, Bdat(3), code, State.FAILED) for state in (State.RCPT, State.BDAT) for code in (452, 552)),
    *((state, Bdat(3, last=True), code, State.READY) for state in (State.RCPT, State.BDAT) for code in (250, 452, 552)),
]
"""Where replies lead.  RFC 5321 section 4.3.2, RFC 3030 section 2, RFC 4954 section 4."""


@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.rfc("3030", "2")
@pytest.mark.rfc("4954", "4")
@both
@pytest.mark.parametrize(("state", "command", "code", "after"), LED, ids=str)
def test_where_a_reply_leads(state: State, command: Command, code: int, after: State, lmtp: bool) -> None:
    assert step(client_in(state, lmtp=lmtp), command, code) is after


@pytest.mark.rfc("3207", "4")
@both
def test_tls_begins_anew(lmtp: bool) -> None:
    client = client_in(State.READY, lmtp=lmtp, secure=False)
    assert step(client, StartTls(), 454) is State.READY
    assert step(client, StartTls(), 220) is State.TLS
    client.tls_established()
    assert client.state is client.predicted is State.GREETED


def late(*recipients: int) -> Iterator[ClientConnection]:
    """Clients of SMTP, and of LMTP, that have a group on its way of which MAIL was accepted, and that of the
    recipients."""
    for lmtp in (False, True):
        client = client_in(State.READY, lmtp=lmtp)
        client.send(Mail(""))
        for _ in recipients:
            client.send(Rcpt("b@y.example"))
        yield client


@pytest.mark.rfc("2920", "3.1")
def test_354_may_come_although_every_recipient_was_refused() -> None:
    smtp, lmtp = late(550)
    for client in (smtp, lmtp):
        client.send(Data())
        answer(client, 250)
        answer(client, 550)
        assert client.state is State.MAIL
    answer(smtp, 354)
    assert smtp.state is State.DATA
    answer(lmtp, 503)
    assert lmtp.state is State.MAIL


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("code", [452, 503, 554])
def test_a_chunk_without_a_recipient_fails(code: int) -> None:
    for client in late(550):
        client.send(Bdat(0))
        for each in (250, 550, code):
            answer(client, each)
        assert client.state is State.FAILED
        with pytest.raises(LocalProtocolError):
            client.send(Bdat(0))


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("code", [452, 503, 554])
def test_the_last_chunk_ends_what_has_failed(code: int) -> None:
    """Without a recipient, and behind a chunk that was refused: the next MAIL may be on its way."""
    smtp, _ = late(550)
    smtp.send(Bdat(0, last=True))
    for each in (250, 550, code):
        answer(smtp, each)
    assert smtp.state is State.READY
    for client in late(250):
        client.send(Bdat(0))
        answer(client, 250)
        answer(client, 250)
        client.send(Bdat(0, last=True))
        states: list[State] = []
        for each in (552, code):
            answer(client, each)
            states.append(client.state)
        assert states == [State.FAILED, State.READY]


@pytest.mark.rfc("2033", "4.3")
@pytest.mark.parametrize("code", [452, 503, 554])
def test_a_server_of_lmtp_answers_the_last_chunk_without_a_recipient_once(code: int) -> None:
    """Our client does not send it; others do, behind recipients that are not answered yet."""
    server = mailing_server(lmtp=True)
    give(server, b"RCPT TO:<b@y.example>\r\n", 550)
    give(server, b"BDAT 0 LAST\r\n", code)
    assert server.waiting == 0
    assert server.state is server.predicted is State.READY
