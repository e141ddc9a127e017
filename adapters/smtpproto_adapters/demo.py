"""``smtpproto connect --demo``: our client and our server, in three modes through three adapters."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

import trustme
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smtpproto import (
    Auth,
    AuthSucceeded,
    Command,
    Connected,
    ConnectFailed,
    ConnectOptions,
    Event,
    Reply,
    Security,
    Service,
    SmtpError,
    Target,
)

from .ladder import BAD, EVENT, GOOD, Ladder
from .trace import Tls, Trace, View, one_line

HOST_NAME: Final = "mail.example"
USERNAME: Final = "user@example"
PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - it opens nothing


class Mode(NamedTuple):
    """One way to connect."""

    title: str
    options: ConnectOptions
    authenticates: bool = False


def _options(**fields: Any) -> ConnectOptions:
    """The address is dialled, and the certificate must be for the name."""
    return ConnectOptions(
        host_name=HOST_NAME, host_address="127.0.0.1", client_name="client.example", timeout=10, **fields
    )


MODES: Final = (
    Mode("plain HELO", _options(security=Security.NONE, extended=False)),
    Mode(
        "STARTTLS, then authenticate()",
        _options(security=Security.REQUIRED, username=USERNAME, password=PASSWORD),
        authenticates=True,
    ),
    Mode("implicit TLS", _options(security=Security.IMPLICIT)),
)
ADAPTERS: Final = ("blocking", "asyncio", "trio")

SERVICE: Final = Service(
    HOST_NAME,
    extensions=("PIPELINING", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "SMTPUTF8", "HELP"),
    starttls=True,
    mechanisms=("PLAIN", "LOGIN"),
)


class Witness:
    """A `View` that remembers what was established, and hands on to another one."""

    def __init__(self, adapter: str, mode: Mode, shown: View | None) -> None:
        self.adapter = adapter
        self.mode = mode
        self.connected: Connected | None = None
        self.secured: Tls | None = None
        self.mechanism = ""
        self.authenticated = False
        self.trouble = "did not come to its end"
        self._shown = shown

    def target(self, target: Target) -> None:
        """As `View.target`."""
        if self._shown is not None:
            self._shown.target(target)

    def sent(self, command: Command) -> None:
        """As `View.sent`."""
        if isinstance(command, Auth):
            self.mechanism = command.mechanism
        if self._shown is not None:
            self._shown.sent(command)

    def tls(self, tls: Tls) -> None:
        """As `View.tls`."""
        self.secured = tls
        if self._shown is not None:
            self._shown.tls(tls)

    def event(self, event: Event, reply: Reply | None) -> None:
        """As `View.event`."""
        if isinstance(event, Connected):
            self.connected = event
        elif isinstance(event, AuthSucceeded):
            self.authenticated = True
        if self._shown is not None:
            self._shown.event(event, reply)

    def outcome(self, failure: ConnectFailed | None, sentence: str) -> None:
        """As `View.outcome`."""
        self.trouble = sentence
        if self._shown is not None:
            self._shown.outcome(failure, sentence)

    @property
    def row(self) -> tuple[str | Text, ...]:
        """The row of the final table."""
        head = (self.adapter, self.mode.title)
        if self.connected is None or self.trouble:
            return (*head, Text(self.trouble, BAD), "", "", "")
        hello = f"{len(self.connected.extensions)} extensions" if self.connected.extended else "none (HELO)"
        tls = f"{self.secured.version} {self.secured.cipher}" if self.secured is not None else "no"
        who = f"{USERNAME} by {self.mechanism}" if self.authenticated else "nobody"
        return (*head, hello, tls, who)
