"""Look-ups by dnspython, of a server on loopback: what each record becomes, and what is a failure."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
import trio

from smtpproto_adapters.discovery import (
    Address,
    Answer,
    Destination,
    Kind,
    LookupFailed,
    Mx,
    NullMx,
    Query,
    Srv,
    Tlsa,
    TlsaCheck,
    Txt,
    exchangers,
    run,
    run_async,
    submission,
)
from smtpproto_adapters.discovery.names import objection
from smtpproto_adapters.discovery.records import Record
from smtpproto_adapters.discovery.resolver import AsyncResolver, Resolver
from tests.nameserver import NameServer

DOMAIN = "example.org"
RECORDS = {
    (DOMAIN, "MX"): ["10 MX.Example.net."],
    ("null.example", "MX"): ["0 ."],
    ("odd.example", "MX"): ["0 a\\.b\\032c\\000.example.", "0 127.1."],
    ("_submissions._tcp.example.org", "SRV"): ["0 5 465 mail.example.org."],
    ("text.example", "TXT"): ['"v=STSv1; " "id=1;"', '"\\255"'],
    ("_25._tcp.mx.example.net", "TLSA"): ["3 1 1 " + "ab" * 32],
    ("mx.example.net", "A"): ["192.0.2.1"],
    ("mx.example.net", "AAAA"): ["2001:DB8::1"],
    ("alias.example", "CNAME"): ["Example.org."],
    ("loop.example", "CNAME"): ["loop.example."],
}
DIGEST = bytes.fromhex("ab" * 32)


def ask_blocking(server: NameServer, query: Query, **settings: Any) -> Answer:
    return Resolver([server.host], port=server.port, **settings).look_up(query)


def ask_asyncio(server: NameServer, query: Query, **settings: Any) -> Answer:
    return asyncio.run(AsyncResolver([server.host], port=server.port, **settings).look_up(query))


def ask_trio(server: NameServer, query: Query, **settings: Any) -> Answer:
    return trio.run(AsyncResolver([server.host], port=server.port, **settings).look_up, query)


@pytest.fixture(params=[ask_blocking, ask_asyncio, ask_trio], ids=["blocking", "asyncio", "trio"])
def asking(request: pytest.FixtureRequest) -> Any:
    """Each of the three, so that one after the other is used in one process."""
    return request.param


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        (DOMAIN, Kind.MX, (Mx(10, "MX.Example.net"),)),
        ("null.example", Kind.MX, (Mx(0, "."),)),
        ("_submissions._tcp.example.org", Kind.SRV, (Srv(0, 5, 465, "mail.example.org"),)),
        ("_25._tcp.mx.example.net", Kind.TLSA, (Tlsa(3, 1, 1, DIGEST),)),
        ("mx.example.net", Kind.A, (Address("192.0.2.1"),)),
        ("mx.example.net", Kind.AAAA, (Address("2001:db8::1"),)),
        ("mx.example.net", Kind.MX, ()),
    ],
)
def test_what_a_record_becomes(asking: Any, name: str, kind: Kind, records: tuple[Record, ...]) -> None:
    with NameServer(RECORDS) as server:
        assert asking(server, Query(name, kind)) == Answer(records)


def test_texts_are_joined_and_may_be_anything() -> None:
    with NameServer(RECORDS) as server:
        found = ask_blocking(server, Query("text.example", Kind.TXT))
    assert set(found.records) == {Txt("v=STSv1; id=1;"), Txt("\udcff")}


def test_names_that_are_none_stay_so() -> None:
    with NameServer(RECORDS) as server:
        found = ask_blocking(server, Query("odd.example", Kind.MX))
    exchanges = {each.exchange for each in found.records if isinstance(each, Mx)}
    assert len(exchanges) == 2
    assert all(objection(each.lower()) is not None for each in exchanges)


@pytest.mark.rfc("5321", "5.1")
def test_aliases_are_followed(asking: Any) -> None:
    with NameServer(RECORDS) as server:
        answer = asking(server, Query("alias.example", Kind.MX))
    assert answer == Answer((Mx(10, "MX.Example.net"),), canonical="Example.org")


def test_a_name_that_does_not_exist_is_an_answer(asking: Any) -> None:
    with NameServer(RECORDS) as server:
        assert asking(server, Query("no.example", Kind.MX)) == Answer(exists=False)


@pytest.mark.rfc("7672", "2.1.3")
def test_who_is_to_be_believed_about_dnssec(asking: Any) -> None:
    queries = [Query(DOMAIN, Kind.MX), Query("no.example", Kind.MX), Query(DOMAIN, Kind.TXT)]
    with NameServer(RECORDS, authentic=True) as server:
        assert [asking(server, query).secure for query in queries] == [False] * 3
        assert [asking(server, query, trust_ad=True).secure for query in queries] == [True] * 3
    with NameServer(RECORDS) as server:
        assert [asking(server, query, trust_ad=True).secure for query in queries] == [False] * 3


def test_what_is_cut_off_is_asked_for_again(asking: Any) -> None:
    with NameServer(RECORDS, cut_off=True) as server:
        assert asking(server, Query(DOMAIN, Kind.MX)).records == (Mx(10, "MX.Example.net"),)
        assert server.asked == [(DOMAIN, "MX", "udp"), (DOMAIN, "MX", "tcp")]


def test_a_server_that_fails(asking: Any) -> None:
    with NameServer(RECORDS, failing=[DOMAIN]) as server, pytest.raises(LookupFailed, match=r"example\.org \(MX\)"):
        asking(server, Query(DOMAIN, Kind.MX), timeout=2.0)


def test_a_server_that_is_silent(asking: Any) -> None:
    begin = time.monotonic()
    with NameServer(RECORDS, silent=[DOMAIN]) as server, pytest.raises(LookupFailed):
        asking(server, Query(DOMAIN, Kind.MX), timeout=0.3)
    assert time.monotonic() - begin < 60


def test_an_alias_of_itself(asking: Any) -> None:
    with NameServer(RECORDS) as server:
        try:
            answer = asking(server, Query("loop.example", Kind.MX))
        except LookupFailed:
            return
        assert answer.records == ()


def test_nobody_listens(asking: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        server = NameServer.__new__(NameServer)
        server.host, server.port = taken.getsockname()
        with pytest.raises(LookupFailed):
            asking(server, Query(DOMAIN, Kind.MX), timeout=0.3)


def test_a_server_is_an_address() -> None:
    with pytest.raises(ValueError, match=r"ns\.example"):
        Resolver(["ns.example"])


def test_a_system_without_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    def nothing(*_: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", nothing)
    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", nothing)
    for kind in (Resolver, AsyncResolver):
        with pytest.raises(LookupFailed, match="the system names no DNS server"):
            kind()


def test_a_name_that_fits_no_query() -> None:
    with NameServer(RECORDS) as server, pytest.raises(LookupFailed):
        ask_blocking(server, Query("x" * 64 + ".example", Kind.MX))


def test_discovery_by_a_resolver() -> None:
    with NameServer(RECORDS, authentic=True) as server:
        resolver = Resolver([server.host], port=server.port, trust_ad=True)
        (destination,) = run(exchangers(DOMAIN, dane=True), resolver).destinations
        assert destination.host == "mx.example.net"
        assert destination.tlsa == TlsaCheck((Tlsa(3, 1, 1, DIGEST),), ("mx.example.net", DOMAIN))
        with pytest.raises(NullMx):
            run(exchangers("null.example"), resolver)

        async def find() -> Destination:
            plan = await run_async(submission(DOMAIN), AsyncResolver([server.host], port=server.port))
            return plan.destinations[0]

        for found in (asyncio.run(find()), trio.run(find)):
            assert (found.host, found.port) == ("mail.example.org", 465)
