"""What an offer says against a command, whichever side asks.

A client asks before it sends, and a server when it has received: so a server's own offer is what its client's commands
are judged by, in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from . import grammar
from .commands import Auth, Command, Data, Expn, Mail, Rcpt, StartTls, Vrfy, XClient, XForward
from .commands.base import KNOWN_VERBS
from .extensions import Extensions, extension_for_command
from .replies import Reply
from .values import Value, set_field


class Objection(Value):
    """Why a command has no place here."""

    __match_args__ = ("text", "code", "status")
    __slots__ = __match_args__

    text: str
    """For the program that wanted to send it."""
    code: int
    """What a server answers, with the enhanced status code."""
    status: str

    def __init__(self, text: str, code: int, status: str) -> None:
        set_field(self, "text", text)
        set_field(self, "code", code)
        set_field(self, "status", status)

    @property
    def reply(self) -> Reply:
        """The reply of a server."""
        return Reply(self.code, f"{self.status} {self.text}")


class Tally:
    """The envelope that is under way, and what LIMITS counts.  RFC 9422 section 4."""

    __slots__ = ("_domains", "mail", "recipients", "transactions")

    mail: Mail | None
    """The last MAIL that was sent (client), or received (server)."""
    transactions: int
    """MAIL commands of this session."""
    recipients: int
    """RCPT commands of this transaction."""
    _domains: set[str]

    def __init__(self) -> None:
        self.mail = None
        self.transactions = 0
        self.recipients = 0
        self._domains = set()

    def note(self, command: Command, extensions: Extensions) -> None:
        """A command of the envelope is on its way."""
        if isinstance(command, Rcpt):
            self.recipients += 1
            if "RCPTDOMAINMAX" in extensions.limits:  # which bounds what is kept here
                self._domains.add(domain_of(command))
        elif isinstance(command, Mail):
            self.mail = command
            self.transactions += 1
            self.recipients = 0

    def copy(self) -> Tally:
        """Another that is the same so far."""
        made = Tally()
        made.mail, made.transactions, made.recipients = self.mail, self.transactions, self.recipients
        made._domains = set(self._domains)
        return made

    def domains_with(self, command: Rcpt) -> int:
        """How many domains the recipients of this session are at, together with one more."""
        return len(self._domains) + (domain_of(command) not in self._domains)


NO_TALLY: Final = Tally()
"""Of a session without a transaction so far."""


class Standing(Protocol):
    """Where a session stands.  `Connection` is one."""

    @property
    def extensions(self) -> Extensions: ...
    @property
    def secure(self) -> bool: ...
    @property
    def authenticated(self) -> bool: ...
    @property
    def tally(self) -> Tally: ...


def objection(command: Command, here: Standing) -> Objection | None:
    """Why a command has no place under the offer; None where it has."""
    check = _CHECKS.get(type(command))
    if check is not None and (found := check(command, here)) is not None:
        return found
    keyword = _KEYWORDS.get(command.verb)
    if keyword is not None and keyword not in here.extensions:
        return Objection(f"{command.verb} needs the extension {keyword}, which is not offered", 502, "5.5.1")
    for keyword, parameter in command.needed_extensions:
        if keyword not in here.extensions:
            text = f"{parameter} needs the extension {keyword}, which is not offered"
            return Objection(text, _LACKS.get(type(command), 502), "5.5.4")
    return None


def domain_of(command: Rcpt) -> str:
    """What RCPTDOMAINMAX counts: the domain, in lower case; ``""`` for ``Postmaster``."""
    return command.forward_path.rpartition("@")[2].lower() if "@" in command.forward_path else ""


# What a command has of its own to be checked.  It comes before the question for its extension, because what is wrong
# with a session that has gone on is told better than by what is offered now: within TLS, STARTTLS no longer is.


def _starttls(command: StartTls, here: Standing) -> Objection | None:
    if here.secure:
        return Objection("STARTTLS within TLS: the connection is secure already (RFC 3207 section 4)", 503, "5.5.1")
    return None


def _auth(command: Auth, here: Standing) -> Objection | None:
    if here.authenticated:
        return Objection("AUTH after a successful AUTH (RFC 4954 section 4)", 503, "5.5.1")
    return None


def _mail(command: Mail, here: Standing) -> Objection | None:
    found = None if command.is_plain else _mail_parameters(command, here)
    return found or _beyond(here.extensions.limits, "MAILMAX", here.tally.transactions + 1)


def _mail_parameters(command: Mail, here: Standing) -> Objection | None:
    offered = here.extensions
    largest = None if command.size is None else offered.size
    if command.size is not None and largest and command.size > largest:
        text = f"a message of {command.size} octets is more than the {largest} of SIZE (RFC 1870 section 6.1)"
        return Objection(text, 552, "5.3.4")
    if command.require_tls and not here.secure:
        # Without TLS it is not offered, and then its parameter is none that the server knows.
        code, status = (530, "5.7.0") if "REQUIRETLS" in offered else (555, "5.5.4")
        return Objection("REQUIRETLS needs TLS on this connection too (RFC 8689 section 4.2.1)", code, status)
    soonest = None if command.by is None else offered.deliver_by_minimum
    if command.by is not None and command.by.mode == "R" and soonest and command.by.seconds < soonest:
        text = f"BY={command.by} is sooner than the {soonest} seconds of DELIVERBY (RFC 2852 section 4.1)"
        return Objection(text, 501, "5.5.4")
    return _held_too_long(command, offered)


def _held_too_long(command: Mail, offered: Extensions) -> Objection | None:
    """RFC 4865 section 4: the offer is of seconds, and a date-time that says the same or less."""
    if command.hold_for is None and command.hold_until is None:
        return None
    longest = offered.future_release_maximum
    if command.hold_for is not None and longest is not None and command.hold_for > longest:
        text = f"HOLDFOR={command.hold_for} is longer than the {longest} seconds of FUTURERELEASE (RFC 4865 section 4)"
        return Objection(text, 501, "5.5.4")
    latest = offered.arguments("FUTURERELEASE")[1:2]
    if command.hold_until is None or not latest or not grammar.DATE_TIME.match(latest[0]):
        return None
    if _minutes(command.hold_until) <= _minutes(latest[0]):
        return None
    text = f"HOLDUNTIL={command.hold_until} is later than the {latest[0]} of FUTURERELEASE (RFC 4865 section 4)"
    return Objection(text, 501, "5.5.4")


def _minutes(date_time: str) -> int:
    """The minutes in UTC of a date-time of RFC 3339, counted from anywhere."""
    year, month, day, hour, minute = (int(date_time[i:j]) for i, j in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16)))
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)  # years that begin with March
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day
    offset = date_time[-6:]
    east = 0 if date_time[-1] in "Zz" else int(offset[:3]) * 60 + int(f"{offset[0]}{offset[4:]}")
    return (days * 24 + hour) * 60 + minute - east


def _rcpt(command: Rcpt, here: Standing) -> Objection | None:
    offered = here.extensions
    if not command.is_ascii and "SMTPUTF8" in offered:
        mail = here.tally.mail
        if mail is not None and not mail.smtputf8:
            text = "a recipient that is not ASCII needs SMTPUTF8 in MAIL (RFC 6531 section 3.4)"
            return Objection(text, 553, "5.6.7")
    limits = offered.limits
    return _recipients_beyond(limits, command, here.tally) if limits else None


def _recipients_beyond(limits: Mapping[str, int], command: Rcpt, tally: Tally) -> Objection | None:
    found = _beyond(limits, "RCPTMAX", tally.recipients + 1)
    if found is None and "RCPTDOMAINMAX" in limits:
        return _beyond(limits, "RCPTDOMAINMAX", tally.domains_with(command))
    return found


def _data(command: Data, here: Standing) -> Objection | None:
    mail = here.tally.mail
    if mail is not None and mail.body == "BINARYMIME":
        return Objection("BODY=BINARYMIME goes with BDAT, and never with DATA (RFC 3030 section 3)", 503, "5.5.1")
    return None


def _xclient(command: XClient, here: Standing) -> Objection | None:
    return _unknown_attributes(command, here.extensions.xclient)


def _xforward(command: XForward, here: Standing) -> Objection | None:
    return _unknown_attributes(command, here.extensions.xforward)


def _unknown_attributes(command: XClient | XForward, offered: tuple[str, ...]) -> Objection | None:
    unknown = [name for name in command.attributes if name not in offered]
    if not unknown or not offered:  # without any, the extension itself is what is missing
        return None
    return Objection(f"{command.verb} {unknown[0]} is not offered: there are {', '.join(offered)}", 501, "5.5.4")


def _beyond(limits: Mapping[str, int], name: str, count: int) -> Objection | None:
    """RFC 9422 section 4."""
    most = limits.get(name)
    if most is None or count <= most:
        return None
    what, code, status = _COUNTED[name]
    return Objection(f"{what} than the {most} of LIMITS {name} (RFC 9422 section 4)", code, status)


# 421 tells a client what it can do: come again.  452 would be the answer to its every further message.
_COUNTED: Final = {
    "MAILMAX": ("more messages in one session", 421, "4.7.0"),
    "RCPTMAX": ("more recipients", 452, "4.5.3"),
    "RCPTDOMAINMAX": ("recipients at more domains in one session", 452, "4.5.3"),
}

_CHECKS: Final[Mapping[type[Command], Callable[[Any, Standing], Objection | None]]] = {
    StartTls: _starttls,
    Auth: _auth,
    Mail: _mail,
    Rcpt: _rcpt,
    Data: _data,
    XClient: _xclient,
    XForward: _xforward,
}
_KEYWORDS: Final = {verb: extension_for_command(verb) for verb in KNOWN_VERBS}
_LACKS: Final[Mapping[type[Command], int]] = {Mail: 555, Rcpt: 555, Vrfy: 504, Expn: 504}
"""What is answered to a parameter whose extension is missing.  RFC 5321 section 4.1.1.11, section 4.2.4."""
