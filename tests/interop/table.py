"""The table of what was tried: each real server and client, in each scenario, with each of our adapters.

`SERVERS` and `CLIENTS` have the rows and the scenarios; `LACKS` says what cannot be run, and why.  All other cells are
filled by the tests, which `tests.interop.recorder` watches.  What the last whole run found stands in ``table.json``,
from which `tests.interop.results` makes the documentation; ``python -m tests.interop.table`` prints it.

Whoever adds a server or a client adds its row here, lets `tests/interop/test_table.py` say which cells are empty, and
then either writes a test for each or gives the reason in `LACKS`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

ADAPTERS: Final = ("blocking", "asyncio", "trio")


class Cell(NamedTuple):
    kind: str
    row: str
    scenario: str
    adapter: str


class Row(NamedTuple):
    title: str
    version: Callable[[], str]
    """Of what runs, asked for at the end of a run in which it did."""


class Kind(NamedTuple):
    """One of the two tables."""

    name: str
    rows: Mapping[str, Row]
    """By the names that the tests have for them."""
    scenarios: Mapping[str, str]
    """Each with what is done, and what must come of it."""


def said_by(program: str, *arguments: str) -> Callable[[], str]:
    """The first number that looks like a version in what the program prints; empty where there is none."""

    def version() -> str:
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
        found = shutil.which(program, path=path)
        if found is None:
            return ""
        command = [found, *(arguments or ["--version"])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        number = re.search(r"\d+(\.\d+)+[-\w.]*", done.stdout + done.stderr)
        return "" if number is None else number[0]

    return version


def distribution(name: str) -> Callable[[], str]:
    """The version of an installed Python distribution."""
    return lambda: importlib.metadata.version(name)


def node_module(name: str) -> Callable[[], str]:
    """The version of a module of Node that `.ci/install-node-modules` has installed; empty where it is not there."""

    def version() -> str:
        installer = Path(__file__).parents[2] / ".ci" / "install-node-modules"
        done = subprocess.run([installer, "--where"], capture_output=True, text=True, timeout=20, check=True)
        package = Path(done.stdout.strip(), "node_modules", name, "package.json")
        return str(json.loads(package.read_text(encoding="utf-8"))["version"]) if package.exists() else ""

    return version


def exim() -> str:
    """It may be unpacked instead of installed."""
    from tests.interop.exim import found_version

    return found_version()


POSTFIX: Final = said_by("postconf", "-d", "-h", "mail_version")
DOVECOT: Final = said_by("dovecot")

MECHANISMS: Final = {
    name: f"log in by {name}, and be let in"
    for name in (
        *("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"),
        *("OAUTHBEARER", "XOAUTH2", "EXTERNAL", "ANONYMOUS"),
    )
}

SERVERS: Final = Kind(
    "servers",
    {
        "postfix": Row("Postfix", POSTFIX),
        "cyrus": Row("Postfix, Cyrus SASL", POSTFIX),
        "exim": Row("Exim", exim),
        "dovecot-submission": Row("Dovecot submission", DOVECOT),
        "dovecot-lmtp": Row("Dovecot LMTP", DOVECOT),
        "dovecot-unix": Row("Dovecot LMTP, unix socket", DOVECOT),
        "aiosmtpd": Row("aiosmtpd", distribution("aiosmtpd")),
        "nodemailer": Row("smtp-server", node_module("smtp-server")),
        "nodemailer-lmtp": Row("smtp-server, LMTP", node_module("smtp-server")),
        "smtp-sink": Row("smtp-sink", POSTFIX),
        "smtp-sink-lmtp": Row("smtp-sink, LMTP", POSTFIX),
    },
    {
        "HELO": "a session without EHLO, and a message in it",
        "STARTTLS": "TLS by STARTTLS, the certificate checked; what was offered before it is forgotten",
        "implicit TLS": "TLS from the first octet, the certificate checked",
        **MECHANISMS,
        "wrong password": "be refused with 535, and let in with the right one in the same session",
        "100 recipients": "all of them get the message",
        "unknown recipients": "ten among a hundred known ones are refused, each by its own reply",
        "SIZE, declared": "content known to be larger than the server takes: nothing is sent",
        "SIZE, undeclared": "a stream that turns out to be larger: refused with 552, and the next message is taken",
        "8BITMIME": "octets that are not ASCII arrive as they were sent",
        "SMTPUTF8": "a sender and a recipient that are not ASCII",
        "DSN": "what RET, ENVID, NOTIFY and ORCPT ask for comes about",
        "BDAT": "the same content in chunks",
        "left alone": "what is offered, and nobody has asked for: a message for two goes through without it",
        "pipelined": "MAIL, RCPT and DATA are sent before the first of them is answered",
        "leading dots": "they arrive as they were sent",
        "long lines": "of 2000 octets, or as many as the server takes",
        "empty message": "nothing at all, and a header without an end",
        "no final line end": "it is supplied, and nothing else",
        "RSET": "a transaction is given up, and the next one is not mixed up with it",
        "NOOP": "before, in and after a transaction",
        "VRFY": "a mailbox that is there, and one that is not",
        "HELP": "whatever the server says to it",
        "QUIT": "221, and the server closes",
        "left idle": "the server leaves: the program is told so, and can connect again",
        "send_many": "40 messages through one connection, some of them refused in whole or in part",
    },
)

CLIENTS: Final = Kind(
    "clients",
    {
        "swaks": Row("swaks", said_by("swaks")),
        "msmtp": Row("msmtp", said_by("msmtp")),
        "curl": Row("curl", said_by("curl")),
        "gsasl": Row("gsasl", said_by("gsasl")),
        "smtplib": Row("smtplib", platform.python_version),
        "aiosmtplib": Row("aiosmtplib", distribution("aiosmtplib")),
        "s-nail": Row("s-nail", said_by("s-nail", "-V")),
        "nodemailer": Row("nodemailer", node_module("nodemailer")),
        "smtp-source": Row("smtp-source", POSTFIX),
        "postfix": Row("Postfix, relaying", POSTFIX),
        "exim": Row("Exim, relaying", exim),
    },
    {
        "plain": "a message for two recipients arrives, to the octet",
        "pipelined": "the same, with commands in groups",
        "STARTTLS": "the same over TLS by STARTTLS, after logging in",
        "implicit TLS": "the same over TLS from the first octet, after logging in",
        "LMTP": "the same, with a reply for each recipient",
        "many connections": "1000 messages through 50 connections: each comes once, and whole",
        "LMTP, many connections": "the same by LMTP, with three recipients each",
        **MECHANISMS,
        "wrong password": "is refused, and so is whom nobody knows",
        "chooses": "among all mechanisms that we have it takes one, and is let in",
    },
)

KINDS: Final = (SERVERS, CLIENTS)

Texts: TypeAlias = Mapping[str, Mapping[str, Mapping[str, tuple[str, ...]]]]
"""What is said of cells: the kind, the row, and each text with the scenarios that it is about."""


def mechanisms_but(*names: str) -> tuple[str, ...]:
    return tuple(name for name in MECHANISMS if name not in names)


def all_but(kind: Kind, *names: str) -> tuple[str, ...]:
    return tuple(name for name in kind.scenarios if name not in names)


NO_MECHANISM: Final = "the server does not have the mechanism"
NO_AUTH: Final = "it knows no AUTH"
NO_TLS: Final = "it knows no TLS"
NO_CHECK: Final = "its AUTH is none: whatever is said, it answers 250"
NOTHING_ELSE: Final = "it offers nothing else"
NO_LIMIT: Final = "it takes messages of any size"
LMTP_SAYS_LHLO: Final = "LMTP has neither HELO nor EHLO (RFC 2033 section 4.1)"
COMPILED_IN: Final = "how long it waits is compiled in, and takes minutes"
ALREADY_SAFE: Final = "a unix socket is on no network"
RELAYS_IN_ONE_WAY: Final = "it relays what was submitted to it, always in the same way"
NOT_IN_CLIENT: Final = "the program, as it is built here, does not do it"
LOCKSTEP: Final = "it waits for every reply"
ONE_BY_ONE: Final = "it sends one message, and ends"
MANY: Final = ("many connections", "LMTP, many connections")

LACKS: Final[Texts] = {
    "servers": {
        "postfix": {
            NO_MECHANISM: mechanisms_but("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"),
        },
        "cyrus": {
            NO_MECHANISM: ("OAUTHBEARER", "XOAUTH2", "EXTERNAL"),
            "it is the same Postfix, and only AUTH is another's": all_but(
                SERVERS, *MECHANISMS, "wrong password", "implicit TLS"
            ),
        },
        "exim": {
            NO_MECHANISM: mechanisms_but("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"),
        },
        "dovecot-submission": {
            NO_MECHANISM: ("SCRAM-SHA-512", "ANONYMOUS"),
            COMPILED_IN: ("left idle",),
        },
        "dovecot-lmtp": {
            NOTHING_ELSE: ("left alone",),
            NO_AUTH: (*MECHANISMS, "wrong password"),
            LMTP_SAYS_LHLO: ("HELO",),
            NO_LIMIT: ("SIZE, declared",),
            COMPILED_IN: ("left idle",),
        },
        "dovecot-unix": {
            NOTHING_ELSE: ("left alone",),
            NO_AUTH: (*MECHANISMS, "wrong password"),
            LMTP_SAYS_LHLO: ("HELO",),
            ALREADY_SAFE: ("STARTTLS", "implicit TLS"),
            NO_LIMIT: ("SIZE, declared",),
            COMPILED_IN: ("left idle",),
        },
        "aiosmtpd": {NO_MECHANISM: mechanisms_but("PLAIN", "LOGIN"), NOTHING_ELSE: ("left alone",)},
        "nodemailer": {NO_MECHANISM: mechanisms_but("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2")},
        "nodemailer-lmtp": {
            NO_AUTH: (*MECHANISMS, "wrong password"),
            LMTP_SAYS_LHLO: ("HELO",),
            "it is the same smtp-server": ("SIZE, declared", "left idle"),
        },
        "smtp-sink": {
            NO_TLS: ("STARTTLS", "implicit TLS"),
            NO_CHECK: (*MECHANISMS, "wrong password"),
            NO_LIMIT: ("SIZE, declared", "SIZE, undeclared"),
        },
        "smtp-sink-lmtp": {
            NO_TLS: ("STARTTLS", "implicit TLS"),
            NO_CHECK: (*MECHANISMS, "wrong password"),
            LMTP_SAYS_LHLO: ("HELO",),
            NO_LIMIT: ("SIZE, declared", "SIZE, undeclared"),
            "it is the same smtp-sink": ("left idle",),
        },
    },
    "clients": {
        "swaks": {NOT_IN_CLIENT: mechanisms_but("PLAIN", "LOGIN", "CRAM-MD5"), ONE_BY_ONE: MANY},
        "msmtp": {NOT_IN_CLIENT: ("SCRAM-SHA-512", "ANONYMOUS"), ONE_BY_ONE: MANY},
        "curl": {
            NOT_IN_CLIENT: (
                "LMTP",
                *mechanisms_but("PLAIN", "LOGIN", "CRAM-MD5", "EXTERNAL", "OAUTHBEARER", "XOAUTH2"),
            ),
            LOCKSTEP: ("pipelined",),
            ONE_BY_ONE: MANY,
        },
        "gsasl": {
            NOT_IN_CLIENT: ("SCRAM-SHA-512", "OAUTHBEARER", "XOAUTH2"),
            "it logs in, by STARTTLS, and sends no message": (
                *("plain", "pipelined", "STARTTLS", "implicit TLS", "LMTP"),
                *MANY,
            ),
        },
        "smtplib": {
            NOT_IN_CLIENT: mechanisms_but("PLAIN", "LOGIN", "CRAM-MD5"),
            LOCKSTEP: ("pipelined",),
            "it reads one reply to a message, and not one for each recipient": ("LMTP",),
            ONE_BY_ONE: MANY,
        },
        "aiosmtplib": {
            NOT_IN_CLIENT: ("LMTP", *mechanisms_but("PLAIN", "LOGIN", "CRAM-MD5")),
            LOCKSTEP: ("pipelined",),
            ONE_BY_ONE: MANY,
        },
        "s-nail": {
            NOT_IN_CLIENT: ("LMTP", *mechanisms_but("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "EXTERNAL")),
            LOCKSTEP: ("pipelined",),
            ONE_BY_ONE: MANY,
        },
        "nodemailer": {NOT_IN_CLIENT: mechanisms_but("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2")},
        "smtp-source": {
            LOCKSTEP: ("pipelined",),
            NO_TLS: ("STARTTLS", "implicit TLS"),
            NO_AUTH: (*MECHANISMS, "wrong password", "chooses"),
        },
        "postfix": {RELAYS_IN_ONE_WAY: all_but(CLIENTS, "STARTTLS", "pipelined")},
        "exim": {RELAYS_IN_ONE_WAY: all_but(CLIENTS, "STARTTLS", "pipelined")},
    },
}
"""Why something cannot be run."""

RELAYS: Final = "whom we refuse it bounces, with our reason, and what we put off it tries again"
LEFT_ALONE: Final = "not offered: nothing of it is sent, and the session goes on"
A_QUOTA: Final = "it is the quota of a mailbox that is exceeded"
NO_JUDGE: Final = "it takes every recipient"
WITHOUT_NOTICE: Final = "the parameters arrive; it leaves it to the program behind it to tell the sender"

REMARKS: Final[Texts] = {
    "servers": {
        "postfix": {"ETRN": ("left alone",)},
        "exim": {
            "PIPECONNECT and PRDR": ("left alone",),
            "the rest of a chunk that is refused it takes for commands, and leaves": ("SIZE, undeclared",),
            "it supplies the empty line behind a header that has none": ("empty message",),
            "it gives ENVID and ORCPT back without decoding them": ("DSN",),
        },
        "dovecot-submission": {
            "BURL": ("left alone",),
            LEFT_ALONE: ("SMTPUTF8",),
            "refused with 530, for who has said HELO cannot log in": ("HELO",),
            "in chunks; where RCPT comes behind the final dot of DATA, Dovecot 2.3 dies of a failed assertion, and "
            "each result is right all the same": ("send_many",),
        },
        "dovecot-lmtp": {LEFT_ALONE: ("SMTPUTF8", "DSN"), A_QUOTA: ("SIZE, undeclared",)},
        "dovecot-unix": {LEFT_ALONE: ("SMTPUTF8", "DSN"), A_QUOTA: ("SIZE, undeclared",)},
        "aiosmtpd": {
            LEFT_ALONE: ("BDAT", "DSN", "pipelined"),
            "lines of 998 octets, which are the longest that it takes": ("long lines",),
            "it leaves without a word": ("left idle",),
        },
        "nodemailer": {"REQUIRETLS": ("left alone",), LEFT_ALONE: ("BDAT",), WITHOUT_NOTICE: ("DSN",)},
        "nodemailer-lmtp": {
            "REQUIRETLS": ("left alone",),
            LEFT_ALONE: ("BDAT",),
            WITHOUT_NOTICE: ("DSN",),
            A_QUOTA: ("SIZE, undeclared",),
        },
        "smtp-sink": {
            "XCLIENT and XFORWARD": ("left alone",),
            LEFT_ALONE: ("BDAT", "SMTPUTF8"),
            NO_JUDGE: ("unknown recipients",),
            "it leaves without a word": ("left idle",),
        },
        "smtp-sink-lmtp": {
            "XCLIENT and XFORWARD": ("left alone",),
            LEFT_ALONE: ("BDAT", "SMTPUTF8"),
            NO_JUDGE: ("unknown recipients",),
        },
    },
    "clients": {
        "smtplib": {
            "of names and passwords in ASCII; for others it raises UnicodeEncodeError": (
                *("PLAIN", "LOGIN", "CRAM-MD5"),
                "wrong password",
            ),
        },
        "smtp-source": {
            "it puts a CRLF of its own behind the content": ("plain", "LMTP", *MANY),
        },
        "s-nail": {
            "by HELO, and all the same with octets that are not ASCII": ("plain",),
            "it takes PLAIN, whatever is offered": ("chooses",),
        },
        "postfix": {RELAYS: ("STARTTLS",), "by DATA; it has CHUNKING as a server only": ("pipelined",)},
        "exim": {RELAYS: ("STARTTLS",), "by BDAT": ("pipelined",)},
    },
}
"""What there is to be said of cells that are filled."""


def said(where: Texts, kind: str, row: str, scenario: str) -> str:
    """What stands there of the cell; empty: nothing."""
    return "; ".join(text for text, scenarios in where[kind].get(row, {}).items() if scenario in scenarios)


def left_alone(row: str, scenario: str) -> bool:
    """Whether the table says of a server that it does not offer what the scenario wants, and that nothing is sent."""
    return LEFT_ALONE in said(REMARKS, "servers", row, scenario)


if __name__ == "__main__":
    from tests.interop.results import main

    main()
