"""The questions, in the order of the tables.  The probes for each have its id as their name."""

from __future__ import annotations

from typing import Final, NamedTuple

from . import clients, programs, servers
from .libraries import OURS

KINDS: Final = {"program": programs.PROBES, "client": clients.PROBES, "server": servers.PROBES}
"""A table in the documentation for each; those of clients and servers have the libraries that are such."""
LIBRARIES: Final = {
    OURS: "ours",
    "smtplib": "stdlib",
    "aiosmtplib": "aiosmtplib",
    "aiosmtpd": "aiosmtpd",
    "smtpproto of the registry": "registry",
}
"""The columns, and the modules in `libraries`."""
ROLES: Final = {
    OURS: ("client", "server"),
    "smtplib": ("client",),
    "aiosmtplib": ("client",),
    "aiosmtpd": ("server",),
    "smtpproto of the registry": ("client",),
}


class Row(NamedTuple):
    """A question."""

    id: str
    name: str
    in_readme: bool = False


ROWS: Final = (
    Row("role", "which end", in_readme=True),
    Row("standard_library", "comes with Python", in_readme=True),
    Row("dependencies", "needs no other package", in_readme=True),
    Row("older", "runs on Python 3.10, too", in_readme=True),
    Row("types", "has types that a checker sees"),
    Row("sans_io", "the protocol without I/O", in_readme=True),
    Row("blocking", "in blocking programs", in_readme=True),
    Row("in_asyncio", "in asyncio", in_readme=True),
    Row("in_trio", "in trio", in_readme=True),
    Row("starttls", "STARTTLS"),
    Row("implicit", "TLS from the start"),
    Row("lmtp", "LMTP, with an answer for each recipient", in_readme=True),
    Row("pipelining", "PIPELINING", in_readme=True),
    Row("chunking", "CHUNKING (BDAT)", in_readme=True),
    Row("utf8", "SMTPUTF8", in_readme=True),
    Row("dsn", "DSN parameters, checked"),
    Row("in_pieces", "content in pieces"),
    Row("scram", "SCRAM with channel binding", in_readme=True),
    Row("oauth", "OAuth 2.0", in_readme=True),
    Row("plaintext", "no password without TLS unless told to", in_readme=True),
    Row("certificate", "certificates are checked unless told not to", in_readme=True),
    Row("starttls_injection", "plaintext behind STARTTLS is not taken for TLS", in_readme=True),
    Row("line_ends", "line ends smuggle in no command and no message", in_readme=True),
    Row("stale", "a reply too many answers no other command", in_readme=True),
    Row("endless", "input without an end is given up"),
    Row("each_recipient", "a result for each recipient", in_readme=True),
    Row("enhanced", "enhanced status codes, parsed"),
    Row("bounded", "no wait without an end unless told to"),
    Row("phases", "a timeout for each phase"),
    Row("proxy", "PROXY protocol"),
    Row("discovery", "finds the hosts of a domain (MX, MTA-STS)"),
    Row("fixture", "a fixture for pytest"),
)


def kinds_of(row: Row) -> list[str]:
    return [kind for kind, probes in KINDS.items() if row.id in probes]


def is_asked(library: str, kind: str) -> bool:
    return kind == "program" or kind in ROLES[library]


def tried(row: Row, kind: str) -> str:
    """What the probe does, in words."""
    return " ".join((KINDS[kind][row.id].__doc__ or "").split())
