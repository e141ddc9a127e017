"""MTA-STS: a domain says over HTTPS which hosts take its mail, and that they have TLS.  RFC 8461.

What is read here was written by others, and is bounded before it is read.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from .failures import LookupFailed
from .names import DomainEncoder, domain_name, objection
from .records import Fetch, Kind, Lookups, Txt, ask

LARGEST_POLICY: Final = 65_536
"""Octets.  RFC 8461 section 3.3."""
LONGEST_AGE: Final = 31_557_600
"""Seconds: a year.  RFC 8461 section 3.2."""

# sts-text-record = "v=STSv1" 1*(sts-field-delim sts-field) [sts-field-delim]
# sts-field-delim = *WSP ";" *WSP
# sts-field       = sts-id / sts-extension
# sts-id          = "id=" 1*32(ALPHA / DIGIT)
# sts-extension   = sts-ext-name "=" sts-ext-value
_EXTENSION_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
_RECORD: Final = re.compile(rf"v=STSv1(?:[ \t]*;[ \t]*{_EXTENSION_NAME}=[\x21-\x3a\x3c\x3e-\x7e]+)+(?:[ \t]*;[ \t]*)?")
_ID: Final = re.compile(r";[ \t]*id=([A-Za-z0-9]{1,32})[ \t]*(?:;|$)")

# sts-policy-field = name ":" *WSP value
_FIELD: Final = re.compile(rf"({_EXTENSION_NAME}):(.*)")
_AGE: Final = re.compile(r"[0-9]{1,10}")


class Mode(Enum):
    """What becomes of a host that the policy does not allow.  RFC 8461 section 5."""

    ENFORCE = "enforce"
    """No mail goes there."""
    TESTING = "testing"
    """It is worth a report, and nothing else."""
    NONE = "none"
    """The domain wants no policy any more."""


_MODES: Final = {mode.value: mode for mode in Mode}


class Policy(NamedTuple):
    """A policy.  RFC 8461 section 3.2."""

    mode: Mode
    mx: tuple[str, ...]
    """Names of hosts; ``*.`` at the beginning of one stands for one label."""
    max_age: int
    """Seconds for which it holds after it was fetched."""

    def covers(self, host: str) -> bool:
        """True where it names the host (in normal form).  RFC 8461 section 4.1."""
        label, _, rest = host.partition(".")
        return host in self.mx or (label != "" and f"*.{rest}" in self.mx)


class Kept(NamedTuple):
    """A policy, as a program keeps it for the next time."""

    policy: Policy
    id: str
    """Of the record that announced it: another one announces another policy."""
    until: float
    """By the clock of whoever keeps it, in seconds."""


def record_id(texts: list[str]) -> str | None:
    """The id in the TXT records at ``_mta-sts``; None where they announce no policy.  RFC 8461 section 3.1."""
    records = [text for text in texts if re.match(r"v=STSv1[ \t]*;", text)]
    if len(records) != 1 or not _RECORD.fullmatch(records[0]):
        return None
    found = _ID.search(records[0])
    return None if found is None else found[1]


def parse_policy(octets: bytes) -> Policy:
    """Read a policy.  RFC 8461 section 3.2.  Raises ValueError, with a sentence that says what is wrong with it."""
    if len(octets) > LARGEST_POLICY:
        raise ValueError(f"the policy is larger than {LARGEST_POLICY} octets")
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for number, line in enumerate(octets.decode("utf-8").replace("\r\n", "\n").removesuffix("\n").split("\n"), 1):
        field = _FIELD.fullmatch(line)
        if field is None:
            raise ValueError(f"line {number} of the policy is no field")
        name, value = field[1], field[2].strip(" \t")
        if name == "mx":
            patterns.append(_pattern(value, number))
        else:
            fields.setdefault(name, value)  # of all others the first counts
    if fields.get("version") != "STSv1":
        raise ValueError("the policy is not of the version STSv1")
    mode = _MODES.get(fields.get("mode", ""))
    if mode is None:
        raise ValueError("the policy has no mode that is known")
    if not _AGE.fullmatch(fields.get("max_age", "")):
        raise ValueError("the policy has no max_age in seconds")
    if not patterns and mode is not Mode.NONE:
        raise ValueError("the policy names no host")
    return Policy(mode, tuple(patterns), min(int(fields["max_age"]), LONGEST_AGE))


def _pattern(value: str, number: int) -> str:
    pattern = value.lower()
    if objection(pattern.removeprefix("*.")) is not None:
        raise ValueError(f"line {number} of the policy names no host")
    return pattern


def sts_policy(
    domain: str, kept: Kept | None = None, *, now: float = 0.0, encode: DomainEncoder | None = None
) -> Lookups[Kept | None]:
    """The policy that holds for a domain now; None where there is none.  RFC 8461 sections 3.1, 3.3 and 5.1.

    ``kept``: what it returned the last time.  ``now``: the time in seconds, by a clock that goes on over restarts.
    A policy that is kept and has not expired holds on where a new one cannot be had.

    It asks for one TXT record, and for the policy (`Fetch`) where that one announces another than is kept.
    """
    name = domain_name(domain, encode)
    holding = kept if kept is not None and now < kept.until else None
    try:
        answer = yield from ask(f"_mta-sts.{name}", Kind.TXT)
        found = record_id([each.text for each in answer.records if isinstance(each, Txt)])
        if found is None or (holding is not None and holding.id == found):
            return holding
        octets: bytes = yield Fetch(f"https://mta-sts.{name}/.well-known/mta-sts.txt")
        policy = parse_policy(octets)
    except (LookupFailed, ValueError):
        return holding
    return Kept(policy, found, now + policy.max_age)
