"""Where the users of a domain hand in their mail, by SRV records.  RFC 6186, RFC 8314 section 5.1."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random, SystemRandom
from typing import Final, NamedTuple

from smtpproto import Security

from .destinations import Destination, LeftOut, Plan, plan_of
from .failures import LookupFailed, NoSubmission
from .names import DomainEncoder, domain_name, normal, objection, within
from .records import Answer, Kind, Lookups, Srv, ask


class SrvService(NamedTuple):
    """A service that is looked for."""

    label: str
    security: Security
    what: str


SERVICES: Final = (
    # TLS from the first octet is preferred to STARTTLS, and plaintext is none of the two: RFC 8314 section 3.3.
    SrvService("_submissions._tcp", Security.IMPLICIT, "submission under TLS"),
    SrvService("_submission._tcp", Security.REQUIRED, "submission with STARTTLS"),
)


def arrange(records: Iterable[Srv], random: Random) -> tuple[Srv, ...]:
    """Those that are to be tried, in that order: by priority, and among equals by chance, with their weight as odds.

    RFC 2782.
    """
    levels: dict[int, list[Srv]] = {}
    for record in records:
        levels.setdefault(record.priority, []).append(record)
    order: list[Srv] = []
    for priority in sorted(levels):
        left = levels[priority]
        random.shuffle(left)  # for those without any weight, which come last or are alone
        left.sort(key=_has_weight)  # those without come first in the sum, so that they have a small chance
        while left:
            chosen = random.randint(0, sum(record.weight for record in left))
            at = 0
            while chosen > left[at].weight:
                chosen -= left[at].weight
                at += 1
            order.append(left.pop(at))
    return tuple(order)


def _has_weight(record: Srv) -> bool:
    return record.weight > 0


def submission(domain: str, *, random: Random | None = None, encode: DomainEncoder | None = None) -> Lookups[Plan]:
    """Where the users of a domain hand in their mail; TLS is required everywhere.

    ``domain``: what stands behind the @ of the user's address.  ``random``: what decides among equals; the system's
    without it.  Raises `DiscoveryFailed`; `NoSubmission` where the domain names no server, or says that it has none.
    """
    name = domain_name(domain, encode)
    chance = SystemRandom() if random is None else random
    destinations: list[Destination] = []
    left_out: list[LeftOut] = []
    failure: LookupFailed | None = None
    for service in SERVICES:
        try:
            answer = yield from ask(f"{service.label}.{name}", Kind.SRV)
        except LookupFailed as error:
            failure = error
            continue
        records = [each for each in answer.records if isinstance(each, Srv)]
        if len(records) == 1 and not normal(records[0].target):
            continue  # there decidedly is no such service: RFC 6186 section 3.4
        for record in arrange(records, chance):
            problem = _unfit(record)
            if problem is None:
                destinations.append(_destination(name, service, record, answer))
            else:
                left_out.append(LeftOut(record.target, problem))
    if not destinations and failure is not None:
        raise failure
    if not destinations and not left_out:
        raise NoSubmission(f"{name} names no server for submission: ask its postmaster which it is", name)
    return plan_of(name, destinations, left_out)


def _destination(domain: str, service: SrvService, record: Srv, answer: Answer) -> Destination:
    host = normal(record.target)
    return Destination(
        host,
        record.port,
        service.security,
        host,
        True,
        record.priority,
        f"{service.what}, priority {record.priority}, weight {record.weight}",
        confirm=not (answer.secure or within(host, domain)),
    )


def _unfit(record: Srv) -> str | None:
    if not 0 < record.port <= 65535:
        return f"its port is {record.port}"
    return objection(normal(record.target))
