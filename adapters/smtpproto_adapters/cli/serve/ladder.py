"""A server's sessions as a ladder, for people: many at a time, each line with the number of its own."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.style import Style
from rich.text import Text

from smtpproto import Reply
from smtpproto_adapters.cli.ladder import (
    CLIENT,
    DIM,
    DOUBTFUL,
    EVENT,
    GOOD,
    SERVER,
    arrows,
    content_of,
    print_folded,
    style_of,
)
from smtpproto_adapters.cli.trace import Tls, printable
from smtpproto_adapters.transport import Address, named

from .arrivals import Arrival
from .onlooker import Login, Offer, ServerView

NUMBERS: Final = 5
"""Columns for the number of a session, and a space."""
MOST_NAMED: Final = 5
"""Recipients of a message that are named; of more there is the number."""


class ServerLadder(ServerView):
    """Shows all that is said, and what arrives."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._from_client, self._to_client, self._both = arrows(console)

    def listening(self, url: str, offer: Offer, ca: str | None) -> None:
        """The URL is alone on its line, to be copied."""
        self._console.print(Text(printable(url), EVENT))
        auth = "AUTH" if offer.mechanisms else "no AUTH"
        if offer.auth_required:
            auth += " required"
        print_folded(self._console, Text("  "), Text(f"{offer.protocol}, {offer.tls}, {auth}", DIM))
        if offer.mechanisms:
            print_folded(self._console, Text("  "), Text(f"mechanisms: {', '.join(offer.mechanisms)}", DIM))
        if ca is not None:
            print_folded(self._console, Text("  "), Text(f"clients must trust {printable(ca)}", DIM))
        print_folded(self._console, Text("  "), Text("^C ends it", DIM))

    def session(self, number: int, peer: Address) -> None:
        """Where the client comes from."""
        self._row(number, "", Text(named(peer), DIM))

    def received(self, number: int, name: str, line: str) -> None:
        """The line alone."""
        self._row(number, self._from_client, Text(printable(line), DOUBTFUL if name == "BadCommand" else CLIENT))

    def content(self, number: int, octets: int) -> None:
        """How much of it."""
        self._row(number, self._from_client, Text(content_of(octets), DIM))

    def sent(self, number: int, reply: Reply) -> None:
        """All its lines."""
        for line in str(reply).split("\n"):
            said = Text(line)
            said.stylize(style_of(reply), 0, 3)
            self._row(number, self._to_client, said)

    def tls(self, number: int, tls: Tls) -> None:
        """What TLS came to."""
        self._row(number, self._both, Text(printable(f"{tls.version}, {tls.cipher}"), GOOD))

    def authentication(self, number: int, login: Login) -> None:
        """Who, as whom, and by what."""
        who = printable(login.username or login.authorization_id or "somebody")
        if login.trace:
            who += f" ({printable(login.trace)})"
        acting = printable(login.authorization_id or "")
        said = (
            f"{who} {'authenticated' if login.succeeded else 'failed to authenticate'} by {printable(login.mechanism)}"
        )
        if login.channel_binding and login.succeeded:
            said += f", bound to TLS by {login.channel_binding}"
        if acting and acting != who:
            said += f", to act as {acting}"
        self._row(number, "", Text(said, GOOD if login.succeeded else DOUBTFUL))

    def noticed(self, number: int, what: str) -> None:
        """As it is."""
        self._row(number, "", Text(printable(what), DOUBTFUL))

    def arrived(self, number: int, arrival: Arrival) -> None:
        """The envelope, the subject, the size, and a preview of the text."""
        envelope = arrival.envelope
        paths = [printable(path) for path in envelope.forward_paths]
        to = ", ".join(paths[:MOST_NAMED])
        if len(paths) > MOST_NAMED:
            to += f" and {len(paths) - MOST_NAMED} more"
        title = f"message {arrival.number} arrived: {arrival.size:,} octet{'' if arrival.size == 1 else 's'}"
        self._row(number, "", Text(title, GOOD))
        self._field(number, "from", printable(envelope.sender) or "<>")
        self._field(number, "to", to)
        self._field(number, "subject", printable(arrival.subject))
        for line in arrival.preview:
            self._field(number, "", printable(line), DIM)

    def ended(self, messages: int) -> None:
        """How much arrived in all."""
        self._console.print(Text(f"ended; {messages} message{'' if messages == 1 else 's'} arrived", DIM))

    def _field(self, number: int, name: str, value: str, style: Style = EVENT) -> None:
        if value:
            self._row(number, "", Text.assemble((f"{name:8}", DIM), (value, style)))

    def _row(self, number: int, direction: str, said: Text) -> None:
        style = CLIENT if direction == self._from_client else SERVER
        before = Text.assemble((f"{f'#{number}':{NUMBERS}}", DIM), (f"{direction:1} ", style))
        print_folded(self._console, before, said)
