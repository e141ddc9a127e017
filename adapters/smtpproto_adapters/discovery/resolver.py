"""Look-ups by dnspython (the extra ``dns``); the one room that knows it.

It follows aliases, checks what answers what, and asks again over TCP where an answer is cut off.  An answer counts as
secure only where the program says that its servers can be believed: see ``trust_ad``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.resolver

from .failures import LookupFailed
from .records import Address, Answer, Kind, Mx, Query, Record, Srv, Tlsa, Txt

__all__ = ["AsyncResolver", "Resolver"]

_R = TypeVar("_R", bound=dns.resolver.BaseResolver)

TIMEOUT: Final = 10.0
"""Seconds for one look-up, with all servers and attempts."""
PAYLOAD: Final = 1232
"""Octets of the largest answer over UDP: what passes everywhere in one piece."""


class Resolver:
    """A `Lookup`.

    ``servers``
        IP addresses of resolvers, with their ``port``; without them the system's are used.
    ``timeout``
        Seconds for each look-up.
    ``trust_ad``
        Believe the servers where they say that an answer is what DNSSEC says it is.  Only for those that check it, and
        that nobody can speak for on the way: on this host, or over a network that is as safe.

    Raises `LookupFailed` where the system names no server, and ValueError for one that is no IP address.
    """

    def __init__(
        self, servers: Sequence[str] = (), *, port: int = 53, timeout: float = TIMEOUT, trust_ad: bool = False
    ) -> None:
        self._resolver = _set_up(dns.resolver.Resolver, servers, port, trust_ad=trust_ad)
        self._timeout = timeout
        self._trust_ad = trust_ad

    def look_up(self, query: Query) -> Answer:
        """As `Lookup.look_up`."""
        try:
            found = self._resolver.resolve(**_wanted(query, self._timeout))
        except (dns.exception.DNSException, OSError) as error:
            return _without_answer(query, error, self._trust_ad)
        return _answer(query, found, self._trust_ad)


class AsyncResolver:
    """The same as an `AsyncLookup`, on asyncio or trio."""

    def __init__(
        self, servers: Sequence[str] = (), *, port: int = 53, timeout: float = TIMEOUT, trust_ad: bool = False
    ) -> None:
        self._resolver = _set_up(dns.asyncresolver.Resolver, servers, port, trust_ad=trust_ad)
        self._timeout = timeout
        self._trust_ad = trust_ad

    async def look_up(self, query: Query) -> Answer:
        """As `AsyncLookup.look_up`."""
        # Left to itself, dnspython goes on with the first kind of loop that it has seen.
        backend = dns.asyncbackend.get_backend(dns.asyncbackend.sniff())
        try:
            found = await self._resolver.resolve(**_wanted(query, self._timeout), backend=backend)
        except (dns.exception.DNSException, OSError) as error:
            return _without_answer(query, error, self._trust_ad)
        return _answer(query, found, self._trust_ad)


def _set_up(kind: type[_R], servers: Sequence[str], port: int, *, trust_ad: bool) -> _R:
    try:
        resolver = kind(configure=not servers)
    except dns.exception.DNSException as error:
        raise LookupFailed(f"the system names no DNS server: {error}", "") from error
    if servers:
        resolver.nameservers = list(servers)
        resolver.port = port
    if trust_ad:
        resolver.flags = dns.flags.RD | dns.flags.AD
        resolver.use_edns(0, dns.flags.DO, PAYLOAD)
    return resolver


def _wanted(query: Query, timeout: float) -> dict[str, Any]:
    return {
        # Absolute, so that no search list is tried: RFC 5321 section 5.1 forbids to guess.
        "qname": f"{query.name}.",
        "rdtype": query.kind.value,
        "raise_on_no_answer": False,
        "lifetime": timeout,
    }


def _answer(query: Query, found: dns.resolver.Answer, trust_ad: bool) -> Answer:
    read = _READERS[query.kind]
    rrset: Iterable[Any] | None = found.rrset
    records = () if rrset is None else tuple(map(read, rrset))
    canonical = "" if found.canonical_name == found.qname else _text(found.canonical_name)
    return Answer(records, True, _is_secure([found.response], trust_ad), canonical)


def _without_answer(query: Query, error: Exception, trust_ad: bool) -> Answer:
    """That there is no such name is an answer, too.  Raises `LookupFailed` for anything else."""
    if isinstance(error, dns.resolver.NXDOMAIN):
        given = cast("dict[str, Any]", error.kwargs)  # pyright: ignore[reportUnknownMemberType]
        responses: Mapping[object, dns.message.Message] = given["responses"]
        return Answer(exists=False, secure=_is_secure(responses.values(), trust_ad))
    reason = str(error) or type(error).__name__
    raise LookupFailed(f"the look-up of {query.name} ({query.kind.value}) failed: {reason}", query.name) from error


def _is_secure(responses: Iterable[dns.message.Message], trust_ad: bool) -> bool:
    return trust_ad and all(response.flags & dns.flags.AD for response in responses)


# What is in a record.


def _text(name: dns.name.Name) -> str:
    """With escapes for what is no part of the name of a host, so that it cannot become one."""
    return name.to_text(omit_final_dot=True)


def _read_mx(record: Any) -> Record:
    return Mx(record.preference, _text(record.exchange))


def _read_srv(record: Any) -> Record:
    return Srv(record.priority, record.weight, record.port, _text(record.target))


def _read_tlsa(record: Any) -> Record:
    return Tlsa(record.usage, record.selector, record.mtype, record.cert)


def _read_txt(record: Any) -> Record:
    return Txt(b"".join(record.strings).decode("ascii", "surrogateescape"))


def _read_address(record: Any) -> Record:
    return Address(record.address)


_READERS: Final[Mapping[Kind, Callable[[Any], Record]]] = {
    Kind.MX: _read_mx,
    Kind.SRV: _read_srv,
    Kind.TLSA: _read_tlsa,
    Kind.TXT: _read_txt,
    Kind.A: _read_address,
    Kind.AAAA: _read_address,
}
