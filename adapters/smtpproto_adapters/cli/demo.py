"""``smtpproto connect --demo``: our client and our server, in three modes through three adapters.

In the mode that authenticates a message is sent, too.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any, Final, NamedTuple

import trustme
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smtpproto import (
    Command,
    Connected,
    ConnectFailed,
    ConnectOptions,
    Event,
    Fate,
    RecipientResult,
    Reply,
    Security,
    ServerAuth,
    Service,
    Target,
)
from smtpproto_adapters.inbox import Inbox
from smtpproto_adapters.received import ReceivedMessage

from .ladder import BAD, EVENT, GOOD, HEADING, Ladder
from .trace import Attempt, Outcome, Tls, Trace, View

HOST_NAME: Final = "mail.example"
USERNAME: Final = "user"
PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - it opens nothing


class Mode(NamedTuple):
    """One way to connect."""

    title: str
    how: str
    options: ConnectOptions
    authenticates: bool = False

    @property
    def is_implicit(self) -> bool:
        """It has a port of its own."""
        return self.options.security is Security.IMPLICIT


def _options(**fields: Any) -> ConnectOptions:
    """The address is dialled, and the certificate must be for the name."""
    return ConnectOptions(
        host_name=HOST_NAME, host_address="127.0.0.1", client_name="client.example", timeout=10, **fields
    )


MODES: Final = (
    Mode("plain HELO", "A plain HELO session", _options(security=Security.NONE, extended=False)),
    Mode(
        "STARTTLS",
        "STARTTLS, then authenticate() and send_message()",
        _options(security=Security.REQUIRED, username=USERNAME, password=PASSWORD),
        authenticates=True,
    ),
    Mode("implicit TLS", "Implicit TLS", _options(security=Security.IMPLICIT)),
)


class Witness(View):
    """Remembers what was established, and hands on to another one."""

    def __init__(self, adapter: str, mode: Mode, shown: View | None) -> None:
        self.adapter = adapter
        self.mode = mode
        self.connected: Connected | None = None
        self.secured: Tls | None = None
        self.attempt: Attempt | None = None
        self.delivered: bool = False
        self.trouble: str = "did not come to its end"
        self.shown = shown

    def target(self, target: Target) -> None:
        """As `View.target`."""
        if self.shown is not None:
            self.shown.target(target)

    def sent(self, command: Command) -> None:
        """As `View.sent`."""
        if self.shown is not None:
            self.shown.sent(command)

    def tls(self, tls: Tls) -> None:
        """As `View.tls`."""
        self.secured = tls
        if self.shown is not None:
            self.shown.tls(tls)

    def event(self, event: Event, reply: Reply | None) -> None:
        """As `View.event`."""
        if isinstance(event, Connected):
            self.connected = event
        if self.shown is not None:
            self.shown.event(event, reply)

    def authentication(self, attempt: Attempt) -> None:
        """As `View.authentication`."""
        self.attempt = attempt
        if self.shown is not None:
            self.shown.authentication(attempt)

    def content(self, octets: int) -> None:
        """As `View.content`."""
        if self.shown is not None:
            self.shown.content(octets)

    def recipient(self, result: RecipientResult, reply: Reply | None) -> None:
        """As `View.recipient`."""
        self.delivered = result.fate is Fate.ACCEPTED
        if self.shown is not None:
            self.shown.recipient(result, reply)

    def outcome(self, outcome: Outcome) -> None:
        """As `View.outcome`."""
        self.trouble = outcome.sentence
        if self.shown is not None:
            self.shown.outcome(outcome)

    @property
    def established(self) -> bool:
        """True where all was as it had to be."""
        wanted = self.mode.authenticates
        done = self.authenticated is wanted and self.delivered is wanted
        return self.connected is not None and not self.trouble and done

    @property
    def authenticated(self) -> bool:
        """True where that was bound to the TLS channel, and both sides have proved themselves."""
        attempt = self.attempt
        return attempt is not None and attempt.server_proved and attempt.channel_binding is not None

    @property
    def row(self) -> tuple[str, ...]:
        """The row of the final table."""
        head = (self.adapter, self.mode.title)
        connected = self.connected
        if connected is None or not self.established:
            return (*head, self.trouble or "not as it had to be")
        hello = str(len(connected.extensions)) if connected.extended else "no ESMTP"
        tls = self.secured.version if self.secured is not None else "none"
        return (*head, hello, tls, f"{USERNAME} ({self.attempt.mechanism})" if self.attempt is not None else "nobody")


# The three adapters ------------------------------------------------------------------------------------------------


class Stage:
    """What all connections have in common: the handler, the certificate, and those who see it all."""

    def __init__(self, console: Console) -> None:
        authority = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf = authority.issue_cert(HOST_NAME)
        leaf.configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
        self.client_context: ssl.SSLContext = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        self.handler: Inbox = Inbox()
        service = Service(HOST_NAME, starttls=True, auth=ServerAuth({USERNAME: PASSWORD}))
        certificate = leaf.cert_chain_pems[0].bytes()
        self.clear: dict[str, Any] = {"service": service, "context": server, "certificate": certificate}
        self.secure: dict[str, Any] = {**self.clear, "implicit_tls": True}
        self.witnesses: list[Witness] = []
        self._console = console

    def begin(self, adapter: str, mode: Mode, make_client: Any, port: int) -> tuple[Any, Trace]:
        """A client for the mode, and who watches it; the first of each mode is shown."""
        shown = None
        if all(earlier.mode is not mode for earlier in self.witnesses):
            self._console.print(Text(f"{mode.how}, through the {adapter} adapter", HEADING))
            shown = Ladder(self._console, in_a_row=True)
        witness = Witness(adapter, mode, shown)
        self.witnesses.append(witness)
        trace = Trace(witness, [PASSWORD])
        options = mode.options.replace(port=port)
        witness.target(options.resolve())
        trace.client = make_client(options, context=self.client_context, on_event=trace.on_event, on_send=trace.on_send)
        return trace.client, trace


def _message(adapter: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann <ann@client.example>"
    message["To"] = f"Bob <bob@{HOST_NAME}>"
    message["Subject"] = f"Hello from {adapter}"
    message.set_content("Grüße!\n")
    return message


@contextmanager
def _to_the_end(trace: Trace) -> Generator[None]:
    try:
        yield
    except ConnectFailed as failure:
        trace.end(failure)
    else:
        trace.end(None)


def _on_blocking(stage: Stage) -> None:
    from smtpproto_adapters.blocking import Client, serve

    with serve(stage.handler, **stage.clear) as clear, serve(stage.handler, **stage.secure) as secure:
        for mode in MODES:
            client, trace = stage.begin("blocking", mode, Client, (secure if mode.is_implicit else clear).port)
            with _to_the_end(trace), client:
                if mode.authenticates:
                    client.authenticate()
                    trace.deliver(client.send_message(_message("blocking"), on_progress=trace.on_progress))


async def _on_async(stage: Stage, adapter: str, make_client: Any, serve: Any) -> None:
    async with serve(stage.handler, **stage.clear) as clear, serve(stage.handler, **stage.secure) as secure:
        for mode in MODES:
            client, trace = stage.begin(adapter, mode, make_client, (secure if mode.is_implicit else clear).port)
            with _to_the_end(trace):
                async with client:
                    if mode.authenticates:
                        await client.authenticate()
                        trace.deliver(await client.send_message(_message(adapter), on_progress=trace.on_progress))


def _on_asyncio(stage: Stage) -> None:
    import asyncio

    from smtpproto_adapters.asyncio import Client, serve

    asyncio.run(_on_async(stage, "asyncio", Client, serve))


def _on_trio(stage: Stage) -> None:
    import trio

    from smtpproto_adapters.trio import Client, serve

    trio.run(_on_async, stage, "trio", Client, serve)


ADAPTERS: Final = (_on_blocking, _on_asyncio, _on_trio)


def run(console: Console) -> int:
    """Make the nine connections, send the three messages, and show them; 0 where all came to what they had to.

    Raises ImportError, after what could be done, where trio is not installed.
    """
    stage = Stage(console)
    missing: ImportError | None = None
    for play in ADAPTERS:
        try:
            play(stage)
        except ImportError as error:
            missing = error
    arrived = stage.handler.messages
    console.print(_connections(stage.witnesses))
    console.print()
    console.print(_arrivals(arrived))
    if missing is not None:
        raise missing
    sent = sum(witness.mode.authenticates for witness in stage.witnesses)
    return 0 if all(witness.established for witness in stage.witnesses) and len(arrived) == sent else 1


def _connections(witnesses: list[Witness]) -> Table:
    table = _table("Adapter", "Mode", "Extensions", "TLS", "User")
    for witness in witnesses:
        table.add_row(*witness.row, style=GOOD if witness.established else BAD)
    return table


def _arrivals(messages: tuple[ReceivedMessage, ...]) -> Table:
    """As the server has them."""
    table = _table("Arrived", "From", "To", "Octets", "User")
    for message in messages:
        user = "nobody" if message.identity is None else message.identity.username
        envelope, octets = message.envelope, str(len(message.content))
        row = (str(message.parsed["Subject"]), envelope.sender, ", ".join(envelope.forward_paths), octets, user)
        table.add_row(*row, style=GOOD)
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=EVENT)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
