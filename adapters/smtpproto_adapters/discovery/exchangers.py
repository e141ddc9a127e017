"""Which hosts take the mail of a domain, in what order, and how safely.  RFC 5321 section 5.1.

The order is that of the MX records, by chance among equals; a domain without any is its own mail exchanger; one whose
only record is the null MX takes no mail.  What the domain has said about TLS, by MTA-STS or by DANE, makes a
destination stricter, and never less strict; where it has said nothing, TLS is opportunistic.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random, SystemRandom
from typing import Final, NamedTuple

from smtpproto import Security

from .dane import TlsaCheck, usable
from .destinations import Destination, LeftOut, Plan, plan_of
from .failures import DiscoveryFailed, MailLoop, NoHost, NoSuchDomain, NullMx, PolicyMismatch
from .names import DomainEncoder, domain_name, normal, objection
from .records import Answer, Kind, Lookups, Mx, Tlsa, ask
from .sts import Mode, Policy

SMTP_PORT: Final = 25


class Ranked(NamedTuple):
    """The mail exchangers of a domain."""

    hosts: tuple[Mx, ...]
    """In the order in which they are to be tried; each host once, its name in normal form."""
    left_out: tuple[LeftOut, ...]
    implicit: bool = False
    """True where there is no record, and the domain stands for itself."""


def rank(domain: str, answer: Answer, random: Random, own_names: Iterable[str] = ()) -> Ranked:
    """Put the mail exchangers of a domain (in normal form) in order.

    ``random`` shuffles those of equal preference.  ``own_names``: those of this host, for a relay: it, and all that is
    not better than it, is left out.

    Raises `NoSuchDomain`, `NullMx` (RFC 7505 section 3) and `MailLoop`.
    """
    if not answer.exists:
        raise NoSuchDomain(f"there is no domain {domain}", domain)
    records = [each for each in answer.records if isinstance(each, Mx)]
    if len(records) == 1 and not normal(records[0].exchange):
        raise NullMx(f"{domain} takes no mail: its only MX record says so (null MX)", domain)
    ours = {normal(name) for name in own_names}
    if not records:
        if domain in ours:
            raise MailLoop(f"{domain} has no MX record, and is this host", domain)
        return Ranked((Mx(0, domain),), (), implicit=True)
    best: dict[str, int] = {}
    left_out: list[LeftOut] = []
    for preference, exchange in records:
        name = normal(exchange)
        problem = _unfit(name)
        if problem is not None:
            left_out.append(LeftOut(exchange, problem))
        else:
            best[name] = min(preference, best.get(name, preference))
    limit = min((preference for name, preference in best.items() if name in ours), default=None)
    hosts = [Mx(preference, name) for name, preference in best.items() if limit is None or preference < limit]
    if best and not hosts:
        raise MailLoop(f"the mail of {domain} comes back to this host: no better one is in its MX records", domain)
    random.shuffle(hosts)
    hosts.sort(key=_preference)  # it keeps the order of equals
    return Ranked(tuple(hosts), tuple(left_out))


def _preference(record: Mx) -> int:
    return record.preference


def _unfit(name: str) -> str | None:
    return objection(name) if name else "it stands for no host (null MX), and yet is not the only record"


def exchangers(
    domain: str,
    *,
    policy: Policy | None = None,
    dane: bool = False,
    own_names: Iterable[str] = (),
    random: Random | None = None,
    port: int = SMTP_PORT,
    encode: DomainEncoder | None = None,
) -> Lookups[Plan]:
    """Whom to bring the mail of a domain to.

    ``policy``
        What MTA-STS says of the domain: see `sts_policy`.
    ``dane``
        Look for TLSA records too, where the look-up of the MX records was secure.
    ``own_names``, ``random``
        As for `rank`; without a source of chance it is the system's.
    ``encode``
        Makes A-labels of a domain that is not ASCII.

    Raises `DiscoveryFailed`.
    """
    name = domain_name(domain, encode)
    answer = yield from ask(name, Kind.MX)
    ranked = rank(name, answer, SystemRandom() if random is None else random, own_names)
    left_out = list(ranked.left_out)
    destinations: list[Destination] = []
    for mx in ranked.hosts:
        if policy is not None and policy.mode is Mode.ENFORCE and not policy.covers(mx.exchange):
            left_out.append(LeftOut(mx.exchange, "the domain's policy (MTA-STS) does not name it", PolicyMismatch))
            continue
        why = "the domain itself, which has no MX record" if ranked.implicit else f"MX, preference {mx.preference}"
        plain = Destination(mx.exchange, port, Security.OPPORTUNISTIC, mx.exchange, False, mx.preference, why)
        destination = plain if policy is None else with_policy(plain, policy)
        try:
            if dane and answer.secure:
                tlsa = yield from _tlsa(mx.exchange, port, _names(name, answer.canonical))
                destination = destination if tlsa is None else with_tlsa(destination, tlsa)
        except DiscoveryFailed as failure:
            # Never as if there were none: whoever keeps the answer from us may be in the way of the mail, too.
            left_out.append(LeftOut(mx.exchange, str(failure), type(failure)))
        else:
            destinations.append(destination)
    return plan_of(name, destinations, left_out)


def with_policy(destination: Destination, policy: Policy) -> Destination:
    """The same as MTA-STS wants it; the policy has to cover the host where it is enforced.  RFC 8461 section 5."""
    why = destination.why
    if policy.mode is Mode.ENFORCE:
        return destination._replace(
            security=Security.REQUIRED, verify=True, why=f"{why}; MTA-STS wants TLS and a valid certificate"
        )
    if policy.mode is Mode.TESTING and not policy.covers(destination.host):
        return destination._replace(why=f"{why}; the policy (MTA-STS), which is on trial, does not name it")
    return destination


def with_tlsa(destination: Destination, found: TlsaCheck) -> Destination:
    """The same as DANE wants it.  RFC 7672 section 2.2: where none of the records can be used, TLS is all it wants.

    What MTA-STS wants stays: neither is a way around the other (RFC 8461 section 2).
    """
    records = usable(found.records)
    base = found.names[0]
    if not records:
        return destination._replace(
            security=Security.REQUIRED, why=f"{destination.why}; DANE wants TLS, its records are of no use here"
        )
    return destination._replace(
        security=Security.REQUIRED,
        # An enforced policy speaks of the host, and not of what it is an alias of: RFC 8461 section 4.1.
        server_name=destination.server_name if destination.verify else base,
        tlsa=found._replace(records=records),
        why=f"{destination.why}; DANE wants TLS and says with which certificate",
    )


def _names(domain: str, canonical: str) -> tuple[str, ...]:
    """Names of the domain, for which a certificate may be instead of for the host.  RFC 7672 section 3.2.2."""
    return tuple(dict.fromkeys(filter(None, (domain, normal(canonical)))))


def _tlsa(host: str, port: int, names: tuple[str, ...]) -> Lookups[TlsaCheck | None]:
    """The TLSA records of a host; None where there are none, or none that DNSSEC vouches for.  RFC 7672 section 2.2.

    Raises `LookupFailed` and `NoHost`.
    """
    addresses: list[Answer] = []
    for kind in (Kind.A, Kind.AAAA):
        answer = yield from ask(host, kind)
        if answer.records:
            addresses.append(answer)
    if not addresses:
        raise NoHost("it has no address", host)
    # Where its own zone is not signed there is nothing to be found, and some servers choke on the question.
    if not all(answer.secure for answer in addresses):
        return None
    canonical = normal(addresses[0].canonical)
    for base in dict.fromkeys((host if objection(canonical) is not None else canonical, host)):
        found = yield from ask(f"_{port}._tcp.{base}", Kind.TLSA)
        records = tuple(each for each in found.records if isinstance(each, Tlsa))
        if records and found.secure:
            return TlsaCheck(records, tuple(dict.fromkeys((base, *names))))
    return None
