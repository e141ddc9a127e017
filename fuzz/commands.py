"""Whatever a client sends, nothing but RemoteProtocolError comes out of the server's machine, and however it is cut,
the same events do.

The input is what the client says, in flights; the first octet of each, which is not sent, chooses how the server
answers while it lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz._harness import History, Run, flights_of, fuzz
from smtpproto import BadCommand, CommandReceived, Connection, Reply, Role, State, commands

if TYPE_CHECKING:
    from smtpproto import Event

OFFER = (
    "mx.example",
    "PIPELINING",
    "8BITMIME",
    "SIZE 1000000",
    "STARTTLS",
    "AUTH PLAIN LOGIN",
    "CHUNKING",
    "BINARYMIME",
    "SMTPUTF8",
    "DSN",
    "ENHANCEDSTATUSCODES",
)
REFUSALS = (None, 421, 450, 550, None, None)


def answer(command: commands.Command, choice: int) -> Reply:
    refusal = REFUSALS[choice % len(REFUSALS)]
    match command:
        case commands.Ehlo() | commands.Lhlo():
            return Reply(250, OFFER)
        case _ if refusal is not None:
            return Reply(refusal, "no")
        case commands.Data():
            return Reply(354, "go on")
        case commands.StartTls():
            return Reply(220, "go on")
        case commands.Auth() | commands.AuthResponse() if choice % 2:
            return Reply(334, "")
        case commands.Auth() | commands.AuthResponse():
            return Reply(235, "welcome")
        case _:
            return Reply(250, "ok")


def run(data: bytes, *, lmtp: bool, octet_by_octet: bool) -> History:
    connection = Connection(Role.SERVER, lmtp=lmtp)
    connection.send(Reply(220, "mx.example"))
    flights = flights_of(data)
    choice = 0

    def between(number: int) -> None:
        nonlocal choice
        choice = flights[number][0] if flights[number] else 0
        if connection.state is State.TLS:
            connection.tls_established()

    def reply(event: Event) -> None:
        match event:
            case CommandReceived(command):
                while connection.outstanding:  # LMTP owes more than one
                    connection.send(answer(command, choice))
            case BadCommand():
                connection.send(event.reply)
            case _:
                pass

    return Run(connection, octet_by_octet=octet_by_octet).play([flight[1:] for flight in flights], between, reply)


def test_one_input(data: bytes) -> None:
    lmtp = data[:1] == b"L"
    assert run(data, lmtp=lmtp, octet_by_octet=False) == run(data, lmtp=lmtp, octet_by_octet=True)


if __name__ == "__main__":
    fuzz(test_one_input)
