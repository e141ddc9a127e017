"""What both roles share: making one, what it knows, errors, the end of the stream, and the two roles linked by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import (
    NEED_DATA,
    PAUSED,
    Auth,
    AuthChallenge,
    AuthResponse,
    AuthSucceeded,
    BadCommand,
    Bdat,
    ClientConnection,
    Command,
    CommandReceived,
    Connect,
    Connection,
    ConnectionClosed,
    ContentReceived,
    ContentWanted,
    Data,
    Ehlo,
    EhloReply,
    EndOfData,
    Event,
    Greeting,
    Helo,
    LocalProtocolError,
    Mail,
    Noop,
    Pause,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    ReplyReceived,
    Role,
    Rset,
    ServerConnection,
    ServiceClosing,
    StartTls,
    StartTlsReady,
    State,
    Timeouts,
    UnknownCommand,
    XClient,
    testing,
)
from smtpproto.extensions import NO_EXTENSIONS
from tests import strategies
from tests.driving import (
    EVERYTHING,
    ask,
    ehlo_reply,
    events,
    give,
    look,
    mailing_client,
    mailing_server,
    ready_client,
    ready_server,
    receive,
)

ROLES = pytest.mark.parametrize("role", Role)
MAKERS: dict[Role, Callable[..., Connection]] = {Role.CLIENT: ready_client, Role.SERVER: ready_server}


# -- making one ---------------------------------------------------------------------------------------------------


def test_connection_makes_the_one_of_its_role() -> None:
    assert type(Connection(Role.CLIENT)) is ClientConnection
    assert type(Connection(Role.SERVER)) is ServerConnection
    assert ClientConnection().role is Role.CLIENT
    assert ServerConnection(Role.SERVER, lmtp=True).lmtp


def test_connection_needs_its_role() -> None:
    wrong: Any
    for wrong in (None, "client", ClientConnection):
        with pytest.raises(LocalProtocolError, match="needs a Role"):
            Connection(wrong)
    with pytest.raises(LocalProtocolError, match="a ServerConnection plays the server, not the client"):
        ServerConnection(Role.CLIENT)


def test_a_program_may_derive_its_own() -> None:
    class Mine(ClientConnection):
        pass

    assert type(Mine()) is Mine
    assert Mine().role is Role.CLIENT
    assert type(Connection(Role.CLIENT)) is ClientConnection


def test_the_base_alone_plays_no_role() -> None:
    base: Any = Connection
    client = ready_client()
    calls: dict[str, tuple[object, ...]] = {
        "_send": (client, Quit()),
        "_next_event": (client,),
        "_deadline": (client,),
        "_content_begins": (client,),
        "_line_limit": (client,),
    }
    for name, arguments in calls.items():
        with pytest.raises(TypeError, match="made by its role"):
            getattr(base, name)(*arguments)


@ROLES
def test_a_new_connection(role: Role) -> None:
    connection = Connection(role, secure=True)
    assert repr(connection) == f"<{type(connection).__name__} START>"
    assert connection.state is State.START
    assert connection.outstanding == (Connect(),)
    assert (connection.waiting, connection.predicted) == (1, State.GREETED)
    assert (connection.tally.mail, connection.tally.transactions, connection.tally.recipients) == (None, 0, 0)
    assert (connection.extended, connection.secure, connection.authenticated) == (False, True, False)
    assert len(connection.extensions) == 0
    assert connection.last_reply is None
    assert not connection.lmtp


@ROLES
def test_a_connection_takes_little_room(role: Role) -> None:
    assert not hasattr(Connection(role), "__dict__")


# -- what is learned from EHLO, by the same code in both roles ----------------------------------------------------


def both(*lines: str) -> Iterable[tuple[Connection, Callable[[bytes, Reply], None]]]:
    """A client and a server after the same hello, and how each sees a further command and its reply."""
    client, server = ready_client(*lines), ready_server(*lines)

    def at_client(line: bytes, reply: Reply) -> None:
        command = {b"EHLO": Ehlo, b"HELO": Helo}[line[:4]](line[5:].decode())
        ask(client, command, bytes(reply))

    def at_server(line: bytes, reply: Reply) -> None:
        receive(server, line + b"\r\n")
        server.send(reply)

    return ((client, at_client), (server, at_server))


@pytest.mark.rfc("5321", "4.1.1.1")
def test_the_first_line_is_never_a_keyword() -> None:
    for connection, _ in both():
        assert dict(connection.extensions) == {}
    for connection, hello in both("SIZE 5"):
        hello(b"EHLO me", Reply(250, "PIPELINING STARTTLS"))
        assert dict(connection.extensions) == {}
        assert connection.extended


@pytest.mark.rfc("5321", "4.1.4")
def test_a_second_ehlo_replaces_everything() -> None:
    for connection, hello in both("SIZE 5", "PIPELINING", "AUTH PLAIN"):
        assert dict(connection.extensions) == {"SIZE": "5", "PIPELINING": "", "AUTH": "PLAIN"}
        hello(b"EHLO me", Reply(250, ["x", "starttls"]))
        assert dict(connection.extensions) == {"STARTTLS": ""}


@pytest.mark.rfc("5321", "4.1.4")
def test_a_refused_ehlo_changes_nothing() -> None:
    for connection, hello in both("SIZE 5"):
        hello(b"EHLO me", Reply(501, ["no", "STARTTLS"]))
        assert dict(connection.extensions) == {"SIZE": "5"}
        assert connection.extended
        assert connection.state is State.READY


@pytest.mark.rfc("5321", "4.1.1.1")
def test_helo_gives_no_extensions() -> None:
    for connection, hello in both("SIZE 5"):
        hello(b"HELO me", Reply(250, ["x", "STARTTLS"]))
        assert dict(connection.extensions) == {}
        assert not connection.extended


@ROLES
def test_keywords_compare_whole_and_without_case(role: Role) -> None:
    connection = MAKERS[role]("pipelining", "XSTARTTLS", "8bitmime")
    assert "PIPELINING" in connection.extensions
    assert "8BITMIME" in connection.extensions
    assert "STARTTLS" not in connection.extensions


@ROLES
@pytest.mark.parametrize("mask", ["PIPELINING", ["pipelining", "SIZE"], ()])
def test_a_mask_hides_what_is_offered(role: Role, mask: str | list[str]) -> None:
    connection = MAKERS[role]("PIPELINING", "SIZE 5", "DSN", mask=mask)
    masked = {mask} if isinstance(mask, str) else {each.upper() for each in mask}
    assert set(connection.extensions) == {"PIPELINING", "SIZE", "DSN"} - masked


@pytest.mark.rfc("3207", "4.2")
@pytest.mark.rfc("3207", "6")
def test_after_tls_all_is_forgotten() -> None:
    client, server = ready_client(*EVERYTHING), ready_server(*EVERYTHING)
    ask(client, Auth("PLAIN", b"x"), b"235 ok\r\n")
    ask(client, StartTls(), b"220 go\r\n")
    give(server, b"AUTH PLAIN eA==\r\n", 235)
    give(server, b"STARTTLS\r\n", 220)
    for connection in (client, server):
        assert (connection.extended, connection.secure, connection.authenticated) == (True, False, True)
        events(connection)
        connection.tls_established()
        assert (connection.extended, connection.secure, connection.authenticated) == (False, True, False)
        assert dict(connection.extensions) == {}
        assert connection.state is State.GREETED
        assert connection.outstanding == ()


def test_xclient_begins_the_session_anew() -> None:
    client, server = ready_client(*EVERYTHING), ready_server(*EVERYTHING)
    ask(client, Auth("PLAIN", b"x"), b"235 ok\r\n")
    ask(client, XClient({"NAME": "x"}), b"220 mx.example\r\n")
    give(server, b"AUTH PLAIN eA==\r\n", 235)
    give(server, b"XCLIENT NAME=x\r\n", 220)
    for connection in (client, server):
        assert connection.state is State.GREETED
        assert (connection.extended, connection.authenticated) == (False, False)
        assert dict(connection.extensions) == {}


def test_on_send_sees_what_was_accepted_and_nothing_else() -> None:
    seen: list[Command | Reply] = []
    client = ready_client("AUTH PLAIN", on_send=seen.append)
    with pytest.raises(LocalProtocolError):
        client.send(Data())
    client.send(Auth("PLAIN", b"s3cret"))
    assert seen == [Ehlo("me.example"), Auth("PLAIN", b"s3cret")]
    assert "s3cret" not in repr(seen)
    assert "czNjcmV0" not in f"{seen[1]}"
    sent: list[Command | Reply] = []
    server = ready_server(on_send=sent.append)
    with pytest.raises(LocalProtocolError):
        server.send(Reply(250))
    assert [reply.code for reply in sent if isinstance(reply, Reply)] == [220, 250]


def test_each_role_sends_its_own() -> None:
    with pytest.raises(LocalProtocolError, match="a client sends commands, and a Reply is none"):
        ready_client().send(Reply(250))
    with pytest.raises(LocalProtocolError, match="a server sends replies, not commands"):
        ready_server().send(Quit())
    anything: Any
    for anything in ("QUIT", b"QUIT\r\n", None, 250):
        for role in Role:
            with pytest.raises(LocalProtocolError):
                MAKERS[role]().send(anything)
    assert ready_server().objection(Quit()) == "a server sends replies, not commands"


# -- STARTTLS is a barrier ----------------------------------------------------------------------------------------


def starting_client() -> Connection:
    client = ready_client(*EVERYTHING)
    client.send(StartTls())
    return client


def started_server() -> Connection:
    server = ready_server(*EVERYTHING)
    receive(server, b"STARTTLS\r\n")
    server.send(Reply(220, "go"))
    return server


@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("3207", "4.2")
def test_tls_is_asked_for_once() -> None:
    client, server = starting_client(), started_server()
    client.receive_data(b"220 go\r\n")
    for connection in (client, server):
        assert connection.next_event() == StartTlsReady(StartTls(), Reply(220, "go"))
        assert connection.state is State.TLS
        assert [connection.next_event() for _ in range(3)] == [PAUSED] * 3


@pytest.mark.parametrize("injected", [b"2", b"250 injected\r\n", b"250-injected\r\n", b"\r\n", b"4", b"421 x\r\n"])
@given(cut=strategies.cuts(30))
@pytest.mark.rfc("3207", "4.2")
def test_a_client_takes_nothing_from_before_tls(injected: bytes, cut: list[int]) -> None:
    for in_next_event in (True, False):
        client = starting_client()
        for piece in testing.pieces(b"220 go\r\n" + injected, cut):
            client.receive_data(piece)
        assert client.next_event() == StartTlsReady(StartTls(), Reply(220, "go"))
        for call in (client.next_event if in_next_event else client.tls_established, client.next_event):
            with pytest.raises(RemoteProtocolError, match="plaintext where TLS is due") as caught:
                call()
            assert caught.value.received == injected
        assert client.state is State.ERROR
        assert not client.secure


@pytest.mark.parametrize("injected", [b"E", b"EHLO x\r\n", b"\r\n", b"NOOP"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.rfc("3207", "4.2")
def test_a_server_takes_nothing_from_before_tls(injected: bytes, late: bool) -> None:
    for established in (False, True):
        server = ready_server(*EVERYTHING)
        receive(server, b"STARTTLS\r\n" + (b"" if late else injected))
        server.send(Reply(220, "go"))
        if late:
            server.receive_data(injected)
        assert server.next_event() == StartTlsReady(StartTls(), Reply(220, "go"))
        with pytest.raises(RemoteProtocolError, match="plaintext where TLS is due"):
            server.tls_established() if established else server.next_event()
        with pytest.raises(RemoteProtocolError, match="plaintext where TLS is due"):
            server.next_event()
        with pytest.raises(LocalProtocolError, match="of no use any more"):
            server.tls_established()


@ROLES
def test_tls_is_established_only_where_it_is_due(role: Role) -> None:
    connection = MAKERS[role](*EVERYTHING)
    before = look(connection)
    with pytest.raises(LocalProtocolError, match="no TLS handshake is due: ready"):
        connection.tls_established()
    assert look(connection) == before


def test_the_stream_may_end_where_tls_is_due() -> None:
    client, server = starting_client(), started_server()
    client.receive_data(b"220 go\r\n")
    for connection in (client, server):
        connection.next_event()
        connection.receive_data(b"")
        assert connection.next_event() == ConnectionClosed((), Reply(220, "go"), False)
        assert connection.state is State.CLOSED


# -- errors and the end -------------------------------------------------------------------------------------------


@ROLES
@pytest.mark.parametrize(
    "garbage", [b"9\n", b"\0\r\n", b"2\r\n", b"x" * 20_000], ids=["bare LF", "NUL", "no code", "too long"]
)
@pytest.mark.rfc("5321", "2.3.8")
def test_errors_are_terminal(role: Role, garbage: bytes) -> None:
    connection = MAKERS[role](*EVERYTHING)
    if isinstance(connection, ClientConnection):
        connection.send(Noop())
    elif garbage == b"2\r\n":
        garbage = b"BDAT x\r\n"
    connection.receive_data(garbage)
    with pytest.raises(RemoteProtocolError) as first:
        connection.next_event()
    assert first.value.received == garbage[: min(256, len(garbage))].removesuffix(b"\r\n") or garbage.endswith(b"\n")
    size = repr(look(connection))
    for _ in range(3):
        connection.receive_data(b"250 ok\r\n" * 1000)
        with pytest.raises(RemoteProtocolError) as again:
            connection.next_event()
        assert again.value is not first.value
        assert (str(again.value), again.value.received, again.value.code) == (
            str(first.value),
            first.value.received,
            first.value.code,
        )
    assert repr(look(connection)) == size
    assert connection.state is State.ERROR
    for call in (
        lambda: connection.send(Quit()),
        lambda: connection.send(Reply(421)),
        lambda: connection.send_content(b"x"),
        connection.tls_established,
    ):
        with pytest.raises(LocalProtocolError, match="of no use any more"):
            call()
    connection.receive_data(b"")
    with pytest.raises(RemoteProtocolError):
        connection.next_event()


@ROLES
def test_an_error_leaves_no_octets_behind(role: Role) -> None:
    connection = MAKERS[role]()
    connection.receive_data(b"\n" + b"x" * 100_000)
    with pytest.raises(RemoteProtocolError):
        connection.next_event()
    assert "x" * 1000 not in repr(look(connection))


@ROLES
def test_nothing_comes_after_the_end_of_the_stream(role: Role) -> None:
    connection = MAKERS[role]()
    connection.receive_data(b"")
    connection.receive_data(memoryview(b""))
    with pytest.raises(LocalProtocolError, match="data after the end of the stream"):
        connection.receive_data(b"x")
    closed = connection.next_event()
    assert isinstance(closed, ConnectionClosed)
    assert connection.next_event() is closed
    assert connection.state is State.CLOSED
    with pytest.raises(LocalProtocolError, match="the session is over"):
        connection.send(Quit() if role is Role.CLIENT else Reply(421))


@ROLES
def test_data_comes_in_any_form(role: Role) -> None:
    for form in (bytes, bytearray, memoryview):
        connection = MAKERS[role]()
        if isinstance(connection, ClientConnection):
            connection.send(Noop())
            assert receive(connection, form(b"250 ok\r\n")) == [ReplyReceived(Noop(), Reply(250, "ok"))]  # type: ignore[arg-type]
        else:
            assert receive(connection, form(b"NOOP\r\n")) == [CommandReceived(Noop())]  # type: ignore[arg-type]


def test_the_stream_ends_cleanly_behind_the_answer_to_quit() -> None:
    client, server = ready_client(), ready_server()
    ask(client, Quit(), b"221 bye\r\n")
    give(server, b"QUIT\r\n", 221)
    for connection in (client, server):
        assert connection.state is State.CLOSED
        assert connection.next_event() is NEED_DATA
        connection.receive_data(b"what comes now is of no use\r\n" * 100)
        assert connection.next_event() is NEED_DATA
        connection.receive_data(b"")
        closed = connection.next_event()
        assert isinstance(closed, ConnectionClosed)
        assert closed.clean
        assert closed.unanswered == ()


def test_the_stream_does_not_end_cleanly_otherwise() -> None:
    client = ready_client()
    client.send(Quit())
    assert receive(client, b"") == [ConnectionClosed((Quit(),), client.last_reply, False)]
    client = ready_client()
    ask(client, Quit(), b"421 no\r\n")
    assert receive(client, b"") == [ConnectionClosed((), Reply(421, "no"), False)]
    client = ClientConnection()
    assert receive(client, b"") == [ConnectionClosed((Connect(),), None, False)]
    server = ready_server()
    assert receive(server, b"") == [ConnectionClosed((), server.last_reply, False)]
    server = ready_server()
    server.send(Reply(421, "bye"))
    assert receive(server, b"QUIT\r\n", b"") == [ConnectionClosed((), Reply(421, "bye"), False)]


# -- no clock -----------------------------------------------------------------------------------------------------

TIMES = Timeouts(**{name: seconds for seconds, name in enumerate(Timeouts.__match_args__, 1)})


def waits(connection: Connection) -> str | None:
    """The name of the wait that is in force."""
    found = connection.deadline
    return None if found is None else Timeouts.__match_args__[int(found) - 1]


@pytest.mark.rfc("5321", "4.5.3.2")
@pytest.mark.rfc("5321", "4.5.4")
def test_the_deadline_of_a_client() -> None:
    client = ClientConnection(timeouts=TIMES)
    assert waits(client) == "greeting"
    receive(client, b"220 x\r\n")
    assert waits(client) is None
    client.send(Ehlo("me.example"))
    assert waits(client) == "hello"
    receive(client, ehlo_reply(*EVERYTHING))
    for command, answer, wait in (
        (Noop(), b"250 ok\r\n", "other"),
        (Auth("PLAIN", b"x"), b"334 \r\n", "other"),
        (AuthResponse(b"x"), b"235 ok\r\n", "other"),
        (Helo("me"), b"250 ok\r\n", "hello"),
        (Ehlo("me"), ehlo_reply(*EVERYTHING), "hello"),
        (Mail(""), b"250 ok\r\n", "mail"),
        (Rcpt("b@y.example"), b"250 ok\r\n", "rcpt"),
        (Data(), b"354 go\r\n", "data_initiation"),
    ):
        client.send(command)
        assert waits(client) == wait
        receive(client, answer)
        assert waits(client) == ("data_block" if wait == "data_initiation" else None)
    client.send_content(b"x\r\n")
    assert waits(client) == "data_block"
    client.send(EndOfData())
    assert waits(client) == "data_termination"
    client.send(Mail(""))  # its reply comes behind the other
    assert waits(client) == "data_termination"
    receive(client, b"250 ok\r\n")
    assert waits(client) == "mail"
    receive(client, b"250 ok\r\n")
    client.send(Rcpt("b@y.example"))
    client.send(Bdat(2))
    assert waits(client) == "data_block"
    client.send_content(b"xx")
    assert waits(client) == "rcpt"
    receive(client, b"250 ok\r\n")
    assert waits(client) == "data_block"
    client.send(Bdat(0, last=True))
    receive(client, b"250 ok\r\n")
    assert waits(client) == "data_termination"
    receive(client, b"250 ok\r\n")
    ask(client, StartTls(), b"220 go\r\n")
    assert waits(client) == "tls"


@pytest.mark.rfc("5321", "4.5.3.2.5")
def test_a_chunk_that_was_refused_early_is_still_a_block() -> None:
    client = mailing_client("b@y.example", timeouts=TIMES)
    ask(client, Bdat(2), b"452 full\r\n")
    assert (client.state, waits(client)) == (State.FAILED, "data_block")
    client.send_content(b"xx")
    assert waits(client) is None


def test_lmtp_says_hello_too() -> None:
    client = ready_client(lmtp=True, timeouts=TIMES)
    assert client.extended
    assert waits(client) is None


@pytest.mark.rfc("5321", "4.5.3.2.7")
def test_the_deadline_of_a_server() -> None:
    server = mailing_server("b@y.example", timeouts=TIMES)
    assert waits(server) == "server"
    receive(server, b"BDAT 4\r\nx")
    assert waits(server) == "data_block"
    receive(server, b"xxx")
    server.send(Reply(250))
    assert waits(server) == "server"
    give(server, b"RSET\r\n", 250)
    give(server, b"MAIL FROM:<>\r\n", 250)
    give(server, b"RCPT TO:<b@y.example>\r\n", 250)
    give(server, b"DATA\r\n", 354)
    assert waits(server) == "data_block"
    receive(server, b".\r\n")
    server.send(Reply(250))
    assert waits(server) == "server"
    give(server, b"STARTTLS\r\n", 220)
    assert waits(server) == "tls"


def test_without_timeouts_there_is_no_deadline() -> None:
    forever = Timeouts.uniform(0)
    assert ClientConnection(timeouts=forever).deadline is None
    assert ServerConnection(timeouts=forever).deadline is None


# -- the two roles linked by hand ---------------------------------------------------------------------------------


class Link:
    """A client and a server in memory; what each sends arrives at the other in pieces."""

    def __init__(self, cut: Callable[[bytes], Iterable[bytes]], *offer: str, lmtp: bool = False) -> None:
        self.cut = cut
        self.offer = offer
        self.client = ClientConnection(lmtp=lmtp)
        self.server = ServerConnection(lmtp=lmtp)
        self.seen: list[Event] = []
        self.done: list[Command] = []
        self.content = b""
        self.to_client(self.server.send(Reply(220, "mx.example")))

    def to_client(self, data: bytes) -> None:
        for piece in self.cut(data):
            self.client.receive_data(piece)
            self.seen += events(self.client)

    def to_server(self, data: bytes) -> None:
        answers: list[bytes] = []
        for piece in self.cut(data):
            self.server.receive_data(piece)
            while not isinstance(event := self.server.next_event(), Pause):
                self.at_server(event, answers)
        self.to_client(b"".join(answers))

    def at_server(self, event: Event, answers: list[bytes]) -> None:
        match event:
            case CommandReceived(command):
                self.done.append(command)
                answers.append(self.server.send(self.answer(command)))
                while self.server.outstanding:  # LMTP
                    answers.append(self.server.send(Reply(250, "delivered")))
            case BadCommand(_, reply):
                answers.append(self.server.send(reply))
            case ContentReceived(data):
                self.content += data
            case _:
                assert isinstance(event, StartTlsReady)

    def answer(self, command: Command) -> Reply:
        match command:
            case Ehlo():
                return Reply(250, ["mx.example", *self.offer])
            case StartTls():
                return Reply(220, "go")
            case Data():
                return Reply(354, "go")
            case Auth():
                return Reply(334, "eA==")
            case AuthResponse():
                return Reply(235, "ok")
            case Quit():
                return Reply(221, "bye")
            case Rcpt("nobody@y.example"):
                return Reply(550, "unknown")
            case _:
                return Reply(250, "ok")

    def say(self, *commands: Command) -> list[Event]:
        """One group; what its replies make of it."""
        before = len(self.seen)
        self.to_server(b"".join(map(self.client.send, commands)))
        if self.client.outstanding == self.server.outstanding == ():
            assert self.client.state is self.server.state
            assert self.client.extensions == self.server.extensions
        return self.seen[before:]


@given(cut=strategies.cuts(), body=st.binary(max_size=200), chunk=st.binary(min_size=1, max_size=200))
def test_a_whole_session_under_any_cuts(cut: list[int], body: bytes, chunk: bytes) -> None:
    body = body.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"") + b"\r\n.dots\r\n..\r\n"
    link = Link(lambda data: testing.pieces(data, cut), *EVERYTHING)
    client = link.client
    assert isinstance(link.seen[0], Greeting)
    (hello,) = link.say(Ehlo("me.example"))
    assert isinstance(hello, EhloReply)
    assert hello.extensions == link.server.extensions
    assert [type(event) for event in link.say(StartTls())] == [StartTlsReady]
    link.client.tls_established()
    link.server.tls_established()
    assert client.secure
    assert link.server.secure
    with pytest.raises(LocalProtocolError, match="MAIL is out of sequence"):
        client.send(Mail(""))
    link.say(Ehlo("me.example"))
    assert [type(event) for event in link.say(Auth("LOGIN"))] == [AuthChallenge]
    assert [type(event) for event in link.say(AuthResponse(b"x"))] == [AuthSucceeded]
    assert client.authenticated
    assert link.server.authenticated
    group = (Mail("a@x.example", size=5, body="8BITMIME"), Rcpt("nobody@y.example"), Rcpt("b@y.example"), Data())
    assert [type(event) for event in link.say(*group)] == [*[ReplyReceived] * 3, ContentWanted]
    link.to_server(client.send_content(body))
    answers = link.say(EndOfData(), Mail("a@x.example", body="BINARYMIME"), Rcpt("b@y.example"))
    assert [event.command for event in answers if isinstance(event, ReplyReceived)] == [
        EndOfData(),
        Mail("a@x.example", body="BINARYMIME"),
        Rcpt("b@y.example"),
    ]
    assert link.content == body
    link.content = b""
    sent = b"".join((client.send(Bdat(len(chunk))), client.send_content(chunk), client.send(Bdat(0, last=True))))
    link.to_server(sent)
    assert link.content == chunk
    assert [each.state for each in (client, link.server)] == [State.READY] * 2
    link.say(Quit())
    assert [each.state for each in (client, link.server)] == [State.CLOSED] * 2
    client.receive_data(b"")
    link.server.receive_data(b"")
    for connection in (client, link.server):
        closed = connection.next_event()
        assert isinstance(closed, ConnectionClosed)
        assert closed.clean


@pytest.mark.rfc("2920", "3.1")
@given(draw=st.data())
def test_both_ends_walk_together(draw: st.DataObject) -> None:
    """Whatever a client may send, in sequence and offered, the server takes; and both stand in the same state."""
    cut = draw.draw(strategies.cuts(80))
    link = Link(lambda data: testing.pieces(data, cut), *EVERYTHING)
    link.say(Ehlo("me.example"))
    for command in draw.draw(st.lists(strategies.session_commands(), max_size=25)):
        if link.client.objection(command) is not None:
            continue
        data = link.client.send(command)
        if isinstance(command, Bdat):
            data += link.client.send_content(b"\r\n.x\r\n"[: command.size])
        link.to_server(data)
        assert isinstance(command, UnknownCommand) or link.done[-1] == command
        assert link.client.state is link.server.state
        assert link.client.outstanding == link.server.outstanding == ()
        assert (link.client.extensions, link.client.authenticated) == (
            link.server.extensions,
            link.server.authenticated,
        )
        if link.client.state is State.TLS:
            link.client.tls_established()
            link.server.tls_established()
    assert not any(isinstance(event, ServiceClosing) for event in link.seen)


@pytest.mark.rfc("2920", "3.1")
def test_what_is_predicted_and_how_much_is_waited_for() -> None:
    link = Link(testing.whole, *EVERYTHING)
    link.say(Ehlo("me.example"))
    client = link.client
    seen: list[tuple[State, State, int]] = []
    sent: list[bytes] = []
    for command in (Mail("a@x.example"), Rcpt("nobody@y.example"), Data()):
        sent.append(client.send(command))
        seen.append((client.state, client.predicted, client.waiting))
    assert seen == [
        (State.READY, State.MAIL, 1),
        (State.READY, State.RCPT, 2),
        (State.READY, State.DATA, 3),
    ]
    receive(client, b"250 ok\r\n550 nobody\r\n")
    assert (client.state, client.predicted, client.waiting) == (State.MAIL, State.MAIL, 1)
    receive(client, b"554 no\r\n")
    assert (client.predicted, client.waiting) == (State.MAIL, 0)


@given(
    st.lists(
        st.sampled_from([Mail("a@x.example"), Mail("a@x.example", size=3), Rcpt("b@y.example"), Rset()]), max_size=12
    )
)
@pytest.mark.rfc("9422", "4")
def test_both_ends_keep_the_same_tally(commands: list[Command]) -> None:
    link = Link(testing.whole, *EVERYTHING)
    link.say(Ehlo("me.example"))
    for command in commands:
        if link.client.objection(command) is None:
            link.say(command)
        ours, theirs = link.client.tally, link.server.tally
        assert (ours.mail, ours.transactions, ours.recipients) == (theirs.mail, theirs.transactions, theirs.recipients)
    copied = link.client.tally.copy()
    copied.note(Mail("other@x.example"), link.client.extensions)
    assert copied.transactions == link.client.tally.transactions + 1
    assert link.client.tally.mail != Mail("other@x.example")


@pytest.mark.rfc("5321", "4.1.1.5")
def test_a_reset_takes_back_what_was_accepted() -> None:
    link = Link(testing.whole, *EVERYTHING)
    link.say(Ehlo("me.example"))
    link.say(Mail(""), Rcpt("b@y.example"), Rset(), Mail("a@x.example"))
    assert link.client.state is link.server.state is State.MAIL


def test_at_first_nothing_is_known_of_the_peer() -> None:
    for connection in (ClientConnection(), ServerConnection()):
        known = (connection.extensions, connection.extended, connection.authenticated, connection.secure)
        assert known == (NO_EXTENSIONS, False, False, False)
        assert connection.channel_bindings == {}


def test_no_content_at_all_may_be_sent_at_any_time() -> None:
    assert ready_client().send_content(b"") == b""


@pytest.mark.rfc("5321", "4.1.1.4")
def test_content_begins_where_data_was_accepted_only() -> None:
    server = mailing_server("b@y.example")
    give(server, b"DATA\r\n", 451)
    assert receive(server, b"NOOP\r\n") == [CommandReceived(Noop())]
