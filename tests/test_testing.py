"""The pure helpers for tests."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import testing
from smtpproto.addresses import AddressLiteral
from smtpproto.commands import Connect, Noop
from smtpproto.errors import ErrorCode, LocalProtocolError, NotTls, TransportError
from smtpproto.events import CommandReceived, Event
from smtpproto.flows import Ask, Close, Dial, Effect, Flow, Receive, Send, StartTls, Wait
from smtpproto.sasl import Question, Verify
from smtpproto.testing import Deadlock, accept, link, octets, pieces, whole

DATA = st.binary(max_size=40)


def test_the_example_in_the_docstring_runs() -> None:
    results = doctest.testmod(testing)
    assert (results.failed, results.attempted) == (0, 3)


@given(data=DATA, cuts=st.lists(st.integers(-5, 50)))
def test_cuts_lose_nothing(data: bytes, cuts: list[int]) -> None:
    assert b"".join(whole(data)) == b"".join(octets(data)) == b"".join(pieces(data, cuts)) == data
    assert all(len(octet) == 1 for octet in octets(data))
    assert all(pieces(data, cuts))
    assert len(pieces(data, cuts)) == (len({cut for cut in cuts if 0 < cut < len(data)}) + 1 if data else 0)


def test_pieces() -> None:
    assert pieces(b"abcdef", [4, 1, 4, 0, 6, 99, -1]) == [b"a", b"bcd", b"ef"]
    assert octets(b"abc") == [b"a", b"b", b"c"]
    assert whole(b"abc") == [b"abc"]


def test_accept_leaves_all_to_the_defaults() -> None:
    program: Callable[[Event | Question], object] = accept
    assert program(CommandReceived(Noop())) is None
    assert program(Verify("user", "secret")) is None


# link --------------------------------------------------------------------------------------------------------------


def says(*effects: Effect) -> Flow[list[object]]:
    """A flow that needs these things, and returns the answers."""
    answers: list[object] = []
    for effect in effects:
        answers.append((yield effect))  # noqa: PERF401 - a comprehension cannot yield
    return answers


def serves(*effects: Effect) -> Flow[None]:
    yield from says(*effects)


def test_octets_travel_both_ways_in_pieces() -> None:
    client = says(Send(b"abc"), Receive(), Receive())
    assert link(client, serves(Send(b"xy"), Receive()), cut=octets) == [None, b"x", b"y"]


def test_the_end_of_the_stream() -> None:
    assert link(says(Receive(), Receive(), Receive()), serves(Send(b"bye"), Close())) == [b"bye", b"", b""]
    assert link(says(Receive(), Receive()), serves(Send(b"bye"))) == [b"bye", b""]
    # What is sent to one who has gone is lost, and no error.
    assert link(says(Receive(), Send(b"x"), Send(b"y")), serves(Close())) == [b"", None, None]


def test_nothing_is_sent_by_sending_nothing() -> None:
    """It is not the end of the stream."""
    with pytest.raises(Deadlock):
        link(says(Receive()), serves(Send(b""), Receive()))


def test_the_server_goes_on_when_the_client_has_done() -> None:
    heard: list[object] = []

    def server() -> Flow[None]:
        heard.append((yield Receive()))
        heard.append((yield Receive()))
        yield Close()

    assert link(says(Send(b"last words"), Close()), server()) == [None, None]
    assert heard == [b"last words", b""]


def test_dial_is_answered_with_the_address_of_this_end() -> None:
    assert link(says(Dial("mx.example", 25, None, None)), serves()) == [AddressLiteral.of("127.0.0.1")]


def test_ask_is_answered_by_the_program() -> None:
    asked: list[object] = []

    def answer(subject: Event | Question) -> bool:
        asked.append(subject)
        return True

    subject = CommandReceived(Connect())
    assert link(says(Ask(subject)), serves(), answer=answer) == [True]
    assert asked == [subject]


def test_what_the_program_raises_is_thrown_into_the_flow() -> None:
    def answer(subject: Event | Question) -> None:
        raise KeyError(repr(subject))

    def server() -> Flow[None]:
        try:
            yield Ask(CommandReceived(Connect()))
        except KeyError:
            yield Send(b"421")

    assert link(says(Receive()), server(), answer=answer) == [b"421"]


def test_deadlock() -> None:
    with pytest.raises(Deadlock, match=r"the client waits for Receive.*, the server for Receive"):
        link(says(Receive()), serves(Receive()))
    with pytest.raises(Deadlock, match=r"the client waits for StartTls.*, the server for Receive"):
        link(says(StartTls("mx.example", None)), serves(Receive()))
    assert issubclass(Deadlock, AssertionError)


def test_both_flows_are_closed_whatever_happens() -> None:
    closed: list[str] = []

    def flow(name: str) -> Flow[None]:
        try:
            yield Receive()
        finally:
            closed.append(name)

    with pytest.raises(Deadlock):
        link(flow("client"), flow("server"))
    assert closed == ["client", "server"]


def test_server_that_fails_at_once() -> None:
    def server(refuse: bool = True) -> Flow[None]:
        if refuse:
            raise LocalProtocolError("no")
        yield Receive()

    closed: list[bool] = []

    def client() -> Flow[None]:
        try:
            yield Receive()
        finally:
            closed.append(True)

    with pytest.raises(LocalProtocolError):
        link(client(), server())
    assert closed == [True]


def test_what_is_no_effect() -> None:
    with pytest.raises(TypeError, match="no effect"):
        link(says(Effect()), serves())


# TLS ---------------------------------------------------------------------------------------------------------------


def test_tls_begins_where_both_ask_for_it() -> None:
    client = says(StartTls("mx.example", None), Send(b"secret"), Receive())
    server = serves(StartTls(None, None), Receive(), Send(b"ok"))
    assert link(client, server) == [{}, None, b"ok"]


def test_plaintext_that_meets_tls() -> None:
    with pytest.raises(NotTls):
        link(says(StartTls("mx.example", None)), serves(Send(b"220 hi")))
    # Also at the server, whoever of the two comes first.
    for client in (says(Send(b"EHLO"), StartTls("x", None)), says(Send(b"EHLO"), Receive())):
        with pytest.raises(NotTls):
            link(client, serves(StartTls(None, None)))


def test_plaintext_that_was_not_read_before_tls() -> None:
    """Both ask for TLS; what lies between must not get lost, nor get through it."""
    client = says(Send(b"injected"), StartTls("x", None), Receive())
    with pytest.raises(NotTls):
        link(client, serves(Ask(CommandReceived(Connect())), StartTls(None, None), Send(b"ok")))


def test_the_peer_goes_instead_of_negotiating() -> None:
    with pytest.raises(TransportError) as caught:
        link(says(StartTls("mx.example", None)), serves(Close()))
    assert caught.value.code is ErrorCode.CLOSED_BY_PEER
    assert not isinstance(caught.value, NotTls)


@pytest.mark.rfc("5929", "4")
def test_tls_has_the_channel_bindings_that_are_given() -> None:
    bindings = {"tls-server-end-point": b"digest"}
    heard: list[object] = []

    def server() -> Flow[None]:
        heard.append((yield StartTls(None, None)))

    assert link(says(StartTls("x", None)), server(), channel_bindings=bindings) == heard == [bindings]


def test_time_passes_at_once() -> None:
    assert link(says(Wait(3600), Receive()), serves(Wait(7200), Send(b"ok"))) == [None, b"ok"]
