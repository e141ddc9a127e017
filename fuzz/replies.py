"""Whatever a server sends, nothing but RemoteProtocolError comes out of the client's machine, and however it is cut,
the same events do.

The input is what the server says, in flights; the first octet of each, which is not sent, chooses what the client
says before it.
"""

from __future__ import annotations

from fuzz._harness import History, Run, flights_of, fuzz
from smtpproto import Connection, Role, State, commands

GROUPS: tuple[tuple[commands.Command, ...], ...] = (
    (commands.Ehlo("client.example"), commands.Lhlo("client.example")),
    (commands.Helo("client.example"),),
    (commands.StartTls(),),
    (commands.Auth("PLAIN"),),
    (commands.AuthResponse(b"\0user\0password"),),
    (commands.Mail("a@client.example"), commands.Rcpt("b@mx.example"), commands.Rcpt("c@mx.example"), commands.Data()),
    (commands.EndOfData(), commands.Mail(""), commands.Rcpt("d@mx.example"), commands.Data()),
    (commands.Mail("a@client.example"), commands.Rcpt("b@mx.example"), commands.Bdat(0), commands.Bdat(0, last=True)),
    (commands.Rset(), commands.Noop()),
    (commands.Vrfy("someone"),),
    (commands.Quit(),),
    (),
)


def run(data: bytes, *, lmtp: bool, octet_by_octet: bool) -> History:
    connection = Connection(Role.CLIENT, lmtp=lmtp)
    flights = flights_of(data)

    def speak(number: int) -> None:
        if connection.state is State.TLS:
            connection.tls_established()
        for command in GROUPS[flights[number][0] % len(GROUPS)] if flights[number] else ():
            if connection.objection(command) is None:
                connection.send(command)

    return Run(connection, octet_by_octet=octet_by_octet).play(
        [flight[1:] for flight in flights], speak, lambda event: None
    )


def test_one_input(data: bytes) -> None:
    lmtp = data[:1] == b"L"
    whole = run(data, lmtp=lmtp, octet_by_octet=False)
    assert whole == run(data, lmtp=lmtp, octet_by_octet=True)


if __name__ == "__main__":
    fuzz(test_one_input)
