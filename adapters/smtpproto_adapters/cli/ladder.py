"""A session as a ladder, for people: what was said, by whom, and what it means.

All that comes from a peer is put into `rich.text.Text`, which reads no markup, and made printable before.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from smtpproto import (
    EXTENSIONS,
    AuthNeeded,
    AuthReason,
    Command,
    Connected,
    ConnectionClosed,
    Event,
    Extensions,
    Fate,
    RecipientResult,
    Reply,
    Security,
    Target,
)

from .terminal import clear_line
from .trace import Attempt, Certificate, Outcome, Tls, View, printable

if TYPE_CHECKING:
    from smtpproto_adapters.discovery import Plan

NAMES: Final = 16
"""Columns for the names of the events; the longest is ConnectionClosed."""
INDENT: Final = NAMES + 3
"""Columns before what was said: the name, a space, the direction, a space."""
LONGEST_KEYWORD: Final = 24
"""Columns; the longest keyword in the table has 19."""

WIDE: Final = 1_000_000
"""Columns of what is no terminal: programs do not want lines to be folded."""

CLIENT, SERVER = Style.parse("cyan"), Style.parse("magenta")
HEADING = Style.parse("bold underline")
EVENT, DIM = Style.parse("bold"), Style.parse("dim")
GOOD, DOUBTFUL, BAD = Style.parse("green"), Style.parse("yellow"), Style.parse("red")

FATES: Final = 16
"""Columns for what became of a message; the longest is "refused for good"."""
FATE_STYLES: Final = {
    Fate.ACCEPTED: GOOD,
    Fate.DEFERRED: DOUBTFUL,
    Fate.NOT_SENT: DOUBTFUL,
    Fate.REFUSED: BAD,
    Fate.UNKNOWN: BAD,
}

SECURITY: Final = {
    Security.NONE: "no TLS",
    Security.OPPORTUNISTIC: "STARTTLS where it is offered",
    Security.REQUIRED: "STARTTLS required",
    Security.IMPLICIT: "implicit TLS",
}

WHY: Final = {
    AuthReason.REQUIRED_BY_SERVER: "the server wants authentication first",
    AuthReason.TLS_REQUIRED: "the server wants TLS first",
    AuthReason.CREDENTIALS_GIVEN: "credentials are given",
    AuthReason.SUBMISSION: "this is a submission port",
}
"""In place of what the core says of it to programs."""


class LadderConsole(Console):
    """Leaves a broken pipe to us; rich would exit with the status that means INTERNAL_ERROR."""

    def on_broken_pipe(self) -> NoReturn:
        """Nobody reads any more."""
        raise BrokenPipeError


def make_console(*, colors: bool = True) -> Console:
    """A console on standard output; rich has no colours for what is no terminal, unless FORCE_COLOR is set."""
    plain = not colors or bool(os.environ.get("NO_COLOR"))
    console = LadderConsole(
        color_system=None if plain else "auto", highlight=False, markup=False, emoji=False, soft_wrap=False
    )
    if not sys.stdout.isatty():
        console.width = WIDE
    return console


class Ladder(View):
    """Shows a session as it happens.

    With ``in_a_row`` it is one of several, and short.
    """

    def __init__(self, console: Console, *, in_a_row: bool = False) -> None:
        self._console = console
        self._in_a_row = in_a_row
        self._begin = time.monotonic()
        self._connected: Connected | None = None
        self._results: list[tuple[RecipientResult, Reply | None]] = []
        self._to_server, self._to_client, self._both = arrows(console)

    def plan(self, plan: Plan) -> None:
        """A line for each host, in order of preference."""
        self._console.print(Text(f"The hosts for {printable(plan.domain)}, in the order in which they are tried:"))
        for number, each in enumerate(plan.destinations, 1):
            said = Text.assemble((f"{each.host} port {each.port}", EVENT), (f"  {each.why}", DIM))
            print_folded(self._console, Text(f"{number:3}. "), said)
        for left in plan.left_out:
            print_folded(self._console, Text("  -  "), Text(printable(f"{left.host}  left out: {left.why}"), DOUBTFUL))
        self._console.print()

    def target(self, target: Target) -> None:
        """Whom we are going to connect to."""
        if target.path is not None:
            where = f"unix socket {target.path}"
        else:
            where = f"{target.host} port {target.port}"
            if target.host_name != target.host:
                where += f" as {target.host_name}"
        protocol = "LMTP" if target.lmtp else "EHLO" if target.extended else "HELO"
        self._row("", "", Text(printable(f"{where}: {protocol}, {SECURITY[target.security]}"), DIM))

    def sent(self, command: Command) -> None:
        """A line of ours."""
        self._row("", self._to_server, Text(printable(str(command)), CLIENT))

    def tls(self, tls: Tls) -> None:
        """What TLS came to, and for whom the certificate is."""
        self._row("", self._both, Text(printable(f"{tls.version}, {tls.cipher}"), GOOD))
        if tls.certificate:
            certificate = Certificate(tls.certificate)
            names = ", ".join(certificate.names) or certificate.subject
            self._row("", "", Text(f"certificate for {names}", DIM))
            if self._in_a_row:
                return
            self._row("", "", Text(f"issued by {certificate.issuer}", DIM))
            self._row("", "", Text(f"valid until {certificate.not_after}", DIM))

    def event(self, event: Event, reply: Reply | None) -> None:
        """The name of an event, and what the server said."""
        name = type(event).__name__
        if reply is not None:
            for number, line in enumerate(str(reply).split("\n")):
                said = Text(line)
                said.stylize(style_of(reply), 0, 3)
                self._row("" if number else name, "" if number else self._to_client, said)
            if isinstance(event, AuthNeeded):
                self._row("", "", Text(needed(event), DIM))
            return
        match event:
            case AuthNeeded():
                self._row(name, "", Text(needed(event)))
            case Connected():
                self._connected = event
                self._row(name, "", Text(describe(event), GOOD))
            case ConnectionClosed():
                self._row(name, self._to_client, Text("the server closed the connection", DIM))
            case _:
                self._row(name, "", Text())

    def authentication(self, attempt: Attempt) -> None:
        """By what it succeeded; of a failure, what the server said of it besides its reply."""
        if attempt.succeeded:
            self._row("", "", Text(described(attempt), GOOD))
        elif attempt.error:
            self._row("", "", Text(f"the server says {printable(attempt.error)}", DOUBTFUL))

    def content(self, octets: int) -> None:
        """How much of a message was sent."""
        self._row("", self._to_server, Text(content_of(octets), DIM))

    def recipient(self, result: RecipientResult, reply: Reply | None) -> None:
        """What became of the message for one recipient; below the session, in lines of its own."""
        self._results.append((result, reply))

    def farewell(self) -> None:
        """The next line begins where the terminal has echoed ^C."""
        clear_line()

    def failure(self, outcome: Outcome) -> None:
        """In a line below the session; what comes then is the next host."""
        said = Text.assemble((f"{outcome.name} ({outcome.code})", BAD), f": {outcome.sentence}")
        print_folded(self._console, Text(), said)
        self._console.print()

    def outcome(self, outcome: Outcome) -> None:
        """What was offered, and the name and number of the exit status; the sentence is for standard error."""
        offered = self._connected.extensions if self._connected is not None else None
        if self._results:
            if not self._in_a_row:
                self._console.print()
            for result, reply in self._results:
                print_result(self._console, result, reply)
        elif offered and not self._in_a_row:
            self._console.print()
            self._console.print(extensions_table(offered))
        how = "" if outcome.stage is None else f" while {outcome.stage.value}"
        line = Text.assemble(
            (f"{outcome.name} ({outcome.code})", GOOD if outcome.succeeded else BAD),
            (f"{how} after {time.monotonic() - self._begin:.2f} s", DIM),
        )
        # What follows a session in a row is the next one.
        self._console.print(*([line, ""] if self._in_a_row else ["", line]), sep="\n")

    def _row(self, name: str, direction: str, said: Text) -> None:
        """One row; what is too long for it is folded under itself."""
        before = Text.assemble(
            (f"{name:{NAMES}} ", EVENT), (f"{direction:1} ", CLIENT if direction == self._to_server else SERVER)
        )
        print_folded(self._console, before, said)


class Results(View):
    """Shows what became of a message, and nothing else of the session."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def recipient(self, result: RecipientResult, reply: Reply | None) -> None:
        """A line for each recipient."""
        print_result(self._console, result, reply)


def arrows(console: Console) -> tuple[str, str, str]:
    """To the server, to the client, and both ways; as the terminal can show them."""
    unicode = (console.encoding or "").lower().startswith("utf")
    return ("→", "←", "⇄") if unicode else (">", "<", "=")


def print_folded(console: Console, before: Text, said: Text) -> None:
    """A line; what is too long for it is folded under itself, and not under what stands before it."""
    width = max(console.width - before.cell_len, 20)
    lines = said.wrap(console, width, overflow="fold") if said.cell_len > width else [said]
    for number, line in enumerate(lines):
        line.rstrip()
        row = Text(no_wrap=True, overflow="ignore")
        row.append_text(Text(" " * before.cell_len) if number else before)
        row.append_text(line)
        row.rstrip()
        console.print(row)


def print_result(console: Console, result: RecipientResult, reply: Reply | None) -> None:
    """What became of a message for one recipient, and what the server said to that."""
    said = "" if reply is None else f": {reply.code} {' '.join(map(printable, reply.lines))}"
    before = Text(f"{result.fate.value:{FATES}} ", FATE_STYLES[result.fate])
    print_folded(console, before, Text.assemble((printable(result.recipient.forward_path), EVENT), said))


def content_of(octets: int) -> str:
    """Of a message, the part that is not shown."""
    return f"(content: {octets:,} octet{'' if octets == 1 else 's'})"


def style_of(reply: Reply) -> Style:
    """By its first digit."""
    return BAD if reply.is_permanent else DOUBTFUL if reply.is_transient else GOOD


def needed(event: AuthNeeded) -> str:
    """Why authentication is due, and by what it can be done."""
    why = WHY[event.why]
    if event.why is AuthReason.TLS_REQUIRED:
        return why
    others = [name for name in event.mechanisms if name.upper() not in event.usable]
    if not event.mechanisms:
        how = "no mechanism is offered"
    elif not event.usable:
        how = "no mechanism can be used of those offered:"
    else:
        how = f"it can be done by {', '.join(event.usable)}"
        how += "; offered besides:" if others else ""
    return " ".join([f"{why}; {how}", ", ".join(map(printable, others))]).rstrip()


def described(attempt: Attempt) -> str:
    """By what somebody has authenticated."""
    binding = f", bound to TLS by {attempt.channel_binding}" if attempt.channel_binding else ""
    proof = "; the server proved itself, too" if attempt.server_proved else ""
    return f"authenticated by {attempt.mechanism}{binding}{proof}"


def describe(connected: Connected) -> str:
    """What was established, in a few words."""
    protocol = "ESMTP" if connected.extended else "SMTP without extensions"
    count = len(connected.extensions)
    offered = f", {count} extension{'' if count == 1 else 's'}" if connected.extended else ""
    return f"{protocol} {'over TLS' if connected.tls else 'in plaintext'}{offered}"


def extensions_table(extensions: Extensions) -> Table:
    """What the server offers, where that is specified, and what it means."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=EVENT)
    table.add_column("Extension", max_width=LONGEST_KEYWORD, overflow="fold")
    table.add_column("Source", overflow="fold")
    table.add_column("Meaning", overflow="fold")
    for keyword, argument in extensions.items():
        known = EXTENSIONS.get(keyword)
        meaning = Text("not known to this program", DOUBTFUL) if known is None else Text(known.title)
        if argument:
            meaning.append(f"\n{printable(argument)}", CLIENT)
        table.add_row(Text(printable(keyword)), Text("" if known is None else known.rfc), meaning)
    for line in extensions.unrecognised:
        table.add_row(Text(printable(line)), Text(), Text("against the grammar of EHLO", DOUBTFUL))
    return table
