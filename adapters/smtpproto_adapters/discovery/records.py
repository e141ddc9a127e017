"""What is asked of the DNS, and what it answers: plain values, whoever does the look-up."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from .failures import InvalidDomain, LookupFailed
from .names import LONGEST_NAME, normal

T = TypeVar("T")

MOST_RECORDS: Final = 100
"""In one answer; those that are in use have a tenth of them."""


class Kind(Enum):
    """The kinds of records that are asked for.  The value is the mnemonic."""

    MX = "MX"
    SRV = "SRV"
    TXT = "TXT"
    TLSA = "TLSA"
    A = "A"
    AAAA = "AAAA"


class Mx(NamedTuple):
    """A host that takes the mail of a domain.  RFC 1035 section 3.3.9."""

    preference: int
    """The lower, the better."""
    exchange: str
    """A name; ``.`` is that of no host (RFC 7505 section 3)."""


class Srv(NamedTuple):
    """A server of a service.  RFC 2782."""

    priority: int
    """The lower, the better."""
    weight: int
    """Its share among those of the same priority."""
    port: int
    target: str
    """A name; ``.`` says that there is no such service."""


class Tlsa(NamedTuple):
    """What a server's certificate is matched with.  RFC 6698 section 2.1."""

    usage: int
    selector: int
    matching_type: int
    data: bytes


class Txt(NamedTuple):
    """A text; its strings joined."""

    text: str


class Address(NamedTuple):
    """An IP address."""

    text: str


Record: TypeAlias = Mx | Srv | Tlsa | Txt | Address


class Query(NamedTuple):
    """What is to be looked up; the name is in its normal form."""

    name: str
    kind: Kind


class Answer(NamedTuple):
    """What was found.  The resolver has followed all aliases (CNAME, DNAME)."""

    records: tuple[Record, ...] = ()
    exists: bool = True
    """False where there is no such name; a name that is there may have no records of the kind."""
    secure: bool = False
    """True where DNSSEC has shown that it is so, and the way from whoever checked that is a safe one."""
    canonical: str = ""
    """The name that the records are at, where an alias led there."""


class Fetch(NamedTuple):
    """A policy that is to be fetched; the answer is its octets.  RFC 8461 section 3.3."""

    url: str


Lookups: TypeAlias = Generator[Query | Fetch, Any, T]
"""What asks for one thing after the other, and returns what comes of it: see `run` and `run_async`."""


class Lookup(Protocol):
    """What looks something up, and waits for it."""

    def look_up(self, query: Query) -> Answer:
        """Raises `LookupFailed` where there is no answer; that there is nothing is one."""
        ...


class AsyncLookup(Protocol):
    """The same for asyncio and trio."""

    async def look_up(self, query: Query) -> Answer:
        """As `Lookup.look_up`."""
        ...


class Given:
    """A `Lookup` in records that are given, for tests: there is nothing beside them."""

    def __init__(
        self, records: Mapping[tuple[str, Kind], Iterable[Record]], *, secure: bool = False, failing: Iterable[str] = ()
    ) -> None:
        """``failing``: names whose look-up fails."""
        self._answers = {Query(normal(name), kind): tuple(found) for (name, kind), found in records.items()}
        self._names = {query.name for query in self._answers}
        self._secure = secure
        self._failing = frozenset(map(normal, failing))
        self.asked: list[Query] = []
        """In the order in which it was asked."""

    def look_up(self, query: Query) -> Answer:
        """As `Lookup.look_up`."""
        self.asked.append(query)
        if query.name in self._failing:
            raise LookupFailed(f"the look-up of {query.name} ({query.kind.value}) is to fail", query.name)
        return Answer(self._answers.get(query, ()), query.name in self._names, self._secure)


def ask(name: str, kind: Kind) -> Lookups[Answer]:
    """One look-up.  Raises `LookupFailed`, also for an answer with more than `MOST_RECORDS` records."""
    if len(name) > LONGEST_NAME:
        raise InvalidDomain(f"{name[:60]}... is longer than {LONGEST_NAME} octets, and cannot be looked up", name)
    answer: Answer = yield Query(name, kind)
    if len(answer.records) > MOST_RECORDS:
        raise LookupFailed(f"{name} has more than {MOST_RECORDS} records of the kind {kind.value}", name)
    return answer
