"""What Exim offers that no other server here does: chunks in a group are used, PIPECONNECT and PRDR are left alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from smtpproto import Bdat, Command, Connect, Data, Envelope, Fate, Mail, Rcpt, Reply, Security
from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.interop.letters import SENDER, letter
from tests.interop.tape import Tap

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.adapters.backends import AnyClient
    from tests.interop.servers import RunningServer

MANY_OCTETS = 400_000
"""So many that the client sends them in several chunks."""


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest, exim: RunningServer) -> Generator[Backend]:
    """Each of the three in turn, once the server runs; the test must leave nothing behind."""
    found: Backend = request.param
    with nothing_left():
        yield found


def flights(tap: Tap) -> list[bytes]:
    """What the client sent in the one session of the tap, each time before it had to wait for an answer."""
    [tape] = tap.tapes
    return [text.encode("latin-1") for who, text in tape.log if who == "C"]


def client_at(backend: Backend, port: int, sent: list[Command | Reply]) -> AnyClient:
    return backend.client(host="127.0.0.1", port=port, security=Security.NONE, timeout=60, on_send=sent.append)


def test_it_offers_them(backend: Backend, exim: RunningServer) -> None:
    """Otherwise the tests of this file show nothing."""

    async def scenario() -> None:
        async with client_at(backend, exim.ports.plain, []) as client:
            assert {"PIPECONNECT", "PRDR", "CHUNKING", "PIPELINING"} <= set(client.extensions)

    backend.run(scenario)


@pytest.mark.scenario("BDAT", "pipelined", server="exim")
@pytest.mark.rfc("3030", "4.2")
def test_chunks_are_sent_in_groups(backend: Backend, exim: RunningServer) -> None:
    """The client takes BDAT by itself, and does not wait between chunks; Exim checks that nothing comes too early."""
    sent: list[Command | Reply] = []
    letters = [letter(), letter()]
    filler = b"\r\n" + (b"z" * 76 + b"\r\n") * (MANY_OCTETS // 78)

    def pieces(content: bytes) -> Iterator[bytes]:
        return (content[at : at + 10_000] for at in range(0, len(content), 10_000))

    async def scenario(port: int) -> None:
        async with client_at(backend, port, sent) as client:
            for each in letters:
                envelope = Envelope(SENDER, ["user@example.test", "nobody@example.test"], body="8BITMIME")
                result = await client.deliver(envelope, pieces(each.content + filler))
                assert [recipient.fate for recipient in result.recipients] == [Fate.ACCEPTED, Fate.REFUSED]

    with Tap(exim.ports.large) as tap:
        backend.run(lambda: scenario(tap.port))
    for each in letters:
        assert exim.wait_for_content("user", each.marker) == each.content + filler
    assert not any(isinstance(command, Data) for command in sent)
    assert sum(isinstance(command, Bdat) for command in sent) > 4
    assert any(len(re.findall(rb"BDAT \d+(?: LAST)?\r\n", flight)) > 1 for flight in flights(tap))


def test_nothing_is_said_before_the_greeting_and_the_offer(backend: Backend, exim: RunningServer) -> None:
    """PIPECONNECT would let a client that has been here before say EHLO and MAIL at once: ours waits, every time."""
    sent: list[Command | Reply] = []

    async def scenario(port: int) -> None:
        for _ in range(2):
            async with client_at(backend, port, sent) as client:
                assert "PIPECONNECT" in client.extensions
                assert (await client.noop()).code == 250

    with Tap(exim.ports.plain) as tap:
        backend.run(lambda: scenario(tap.port))
    assert not any(isinstance(command, Connect) for command in sent)
    for tape in tap.tapes:
        assert [who for who, _ in tape.log[:4]] == ["S", "C", "S", "C"]
        assert [text for who, text in tape.log if who == "C"] == ["EHLO [127.0.0.1]\r\n", "NOOP\r\n", "QUIT\r\n"]


@pytest.mark.parametrize("chunking", [False, True], ids=["data", "bdat"])
def test_one_reply_is_for_all_recipients(backend: Backend, exim: RunningServer, chunking: bool) -> None:
    """PRDR would bring a reply for each recipient, if MAIL asked for it: ours does not, and is not out of step."""
    sent: list[Command | Reply] = []
    letters = [letter() for _ in range(3)]
    recipients = ["user@example.test", "other@example.test", "uni@example.test"]

    async def scenario() -> None:
        async with client_at(backend, exim.ports.plain, sent) as client:
            assert "PRDR" in client.extensions
            for each in letters:
                envelope = Envelope(SENDER, recipients, body="8BITMIME")
                result = await client.deliver(envelope, each.content, chunking=chunking)
                assert [recipient.fate for recipient in result.recipients] == [Fate.ACCEPTED] * 3
                assert len({recipient.reply for recipient in result.recipients}) == 1
            assert (await client.noop()).code == 250

    backend.run(scenario)
    assert [bytes(command) for command in sent if isinstance(command, Mail) and b"PRDR" in bytes(command)] == []
    assert sum(isinstance(command, Rcpt) for command in sent) == 9
    for each in letters:
        for mailbox in ("user", "other", "uni"):
            assert exim.wait_for_content(mailbox, each.marker) == each.arrived
