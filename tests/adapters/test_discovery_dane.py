"""DANE: which records count, which certificates they fit, and what becomes of a host with them.  RFC 7672."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import Security
from smtpproto_adapters import der
from smtpproto_adapters.blocking import Client
from smtpproto_adapters.discovery import (
    Address,
    Answer,
    Given,
    Kind,
    LookupFailed,
    Match,
    Mode,
    Mx,
    Plan,
    Policy,
    PolicyMismatch,
    Query,
    Tlsa,
    TlsaCheck,
    exchangers,
    run,
)
from smtpproto_adapters.discovery.dane import dns_names, fits, is_for, public_key, usable
from smtpproto_adapters.local import LocalServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpproto_adapters.discovery.records import Record

DOMAIN = "example.org"
HOST = "mx.example"
NOW: Final = datetime.now(UTC)


@cache
def key_of(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def certificate_of(subject: str, names: tuple[str, ...] = (), issuer: str = "authority", age: int = 0) -> bytes:
    """Signed by the issuer; ``age``: days since it has expired."""
    end = NOW + timedelta(days=1 - 2 * age)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key_of(subject).public_key())
        .serial_number(1)
        .not_valid_before(end - timedelta(days=90))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    return builder.sign(key_of(issuer), hashes.SHA256()).public_bytes(Encoding.DER)


LEAF: Final = certificate_of("leaf", (HOST, "*.wild.example"))
AUTHORITY: Final = certificate_of("authority")
CHAIN: Final = [LEAF, AUTHORITY]


def key_in(subject: str) -> bytes:
    return key_of(subject).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def selected(selector: int, matching_type: int, subject: str) -> bytes:
    whole = {"leaf": LEAF, "authority": AUTHORITY}[subject]
    data = key_in(subject) if selector else whole
    return {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}[matching_type]


def record(usage: int, selector: int = 1, matching_type: int = 1, subject: str | None = None) -> Tlsa:
    subject = subject or ("leaf" if usage == 3 else "authority")
    return Tlsa(usage, selector, matching_type, selected(selector, matching_type, subject))


# Certificates ---------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("6698", "2.1.2")
def test_the_public_key_of_a_certificate() -> None:
    assert public_key(LEAF) == key_in("leaf")
    assert public_key(AUTHORITY) == key_in("authority")


@pytest.mark.rfc("5280", "4.1.2.1")
def test_a_certificate_without_a_version() -> None:
    """It stands for version 1, and is the first field where it is there."""
    fields = der.element(der.whole(LEAF, der.SEQUENCE), 0, der.SEQUENCE)[0]
    begin = len(bytes.fromhex("a003020102"))  # the version
    assert public_key(sequence(sequence(fields[begin:]))) == key_in("leaf")
    for end in range(begin, fields.index(key_in("leaf")) + len(key_in("leaf"))):
        with pytest.raises(ValueError, match=r"element|ends"):
            public_key(sequence(sequence(fields[begin:end])))


def sequence(contents: bytes) -> bytes:
    length = len(contents)
    return bytes((der.SEQUENCE, *((length,) if length < 0x80 else (0x81, length)))) + contents


@pytest.mark.rfc("5280", "4.2.1.6")
def test_the_names_in_a_certificate() -> None:
    assert set(dns_names(LEAF)) == {HOST, "*.wild.example"}
    assert list(dns_names(AUTHORITY)) == []


@given(st.binary(max_size=80), st.integers(0, len(LEAF)), st.integers(0, 40))
def test_any_octets_are_a_certificate_or_none(junk: bytes, at: int, cut: int) -> None:
    for octets in (junk, LEAF[:at] + junk + LEAF[at + cut :], LEAF[:at]):
        check = TlsaCheck((record(3), record(2), record(3, 0, 0)), (HOST,))
        match = check.match([octets, AUTHORITY])
        assert match is None or match.needs_path or public_key(octets) == key_in("leaf")


@pytest.mark.parametrize(
    ("names", "there"),
    [
        ((HOST,), True),
        (("MX.Example.",), True),
        (("other.example", HOST), True),
        (("a.wild.example",), True),
        (("wild.example",), False),
        (("a.b.wild.example",), False),
        (("other.example",), False),
        (("leaf",), False),
        ((), False),
    ],
)
@pytest.mark.rfc("7672", "3.2.3")
def test_whom_a_certificate_is_for(names: tuple[str, ...], there: bool) -> None:
    assert is_for(LEAF, names) is there


# Records --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("matching_type", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize(("usage", "depth"), [(2, 1), (3, 0)])
@pytest.mark.rfc("6698", "2.1.3")
@pytest.mark.rfc("7672", "3.1")
def test_a_record_fits_its_certificate(usage: int, depth: int, selector: int, matching_type: int) -> None:
    found = record(usage, selector, matching_type)
    assert usable([found]) == (found,)
    assert TlsaCheck((found,), (HOST,)).match(CHAIN) == Match(found, depth)
    wrong = found._replace(data=found.data[:-1] + bytes([found.data[-1] ^ 1]))
    assert TlsaCheck((wrong,), (HOST,)).match(CHAIN) is None
    assert TlsaCheck((wrong, found), (HOST,)).match(CHAIN) == Match(found, depth)


@pytest.mark.rfc("7672", "3.1.1")
@pytest.mark.rfc("7672", "3.1.2")
def test_a_usage_looks_at_its_own_certificates_only() -> None:
    assert TlsaCheck((record(3, subject="authority"),), (HOST,)).match(CHAIN) is None
    assert TlsaCheck((record(2, subject="leaf"),), (HOST,)).match(CHAIN) is None
    assert TlsaCheck((record(3),), (HOST,)).match([]) is None


@pytest.mark.rfc("7672", "3.1.1")
def test_for_the_servers_own_certificate_neither_names_nor_dates_count() -> None:
    expired = certificate_of("leaf", ("elsewhere.test",), age=30)
    found = TlsaCheck((record(3),), (HOST,)).match([expired])
    assert found is not None
    assert not found.needs_path


@pytest.mark.rfc("7672", "3.1.2")
@pytest.mark.rfc("7672", "3.2.2")
def test_for_an_authority_the_names_count() -> None:
    check = TlsaCheck((record(2),), (HOST, DOMAIN))
    found = check.match(CHAIN)
    assert found is not None
    assert found.needs_path
    assert check.match([certificate_of("leaf", (DOMAIN,)), AUTHORITY]) is not None
    assert check.match([certificate_of("leaf", ("elsewhere.test",)), AUTHORITY]) is None
    assert check.match([AUTHORITY, AUTHORITY]) is None


@pytest.mark.parametrize(
    "unusable",
    [
        record(3)._replace(usage=0),
        record(3)._replace(usage=1),
        record(3)._replace(usage=4),
        record(3)._replace(usage=255),
        record(3)._replace(selector=2),
        record(3)._replace(matching_type=3),
        record(3)._replace(data=b""),
        record(3)._replace(data=b"x" * 31),
        record(3)._replace(matching_type=2),
        Tlsa(3, 0, 0, b""),
    ],
    ids=lambda each: f"{each.usage} {each.selector} {each.matching_type} {len(each.data)}",
)
@pytest.mark.rfc("6698", "4.1")
@pytest.mark.rfc("7672", "3.1.3")
def test_records_that_cannot_be_used(unusable: Tlsa) -> None:
    assert usable([unusable]) == ()
    assert usable([unusable, record(3)]) == (record(3),)


def test_of_digests_the_strongest_counts() -> None:
    """The digest algorithm agility of RFC 7671: a domain that has both means the same by both."""
    weak, strong, whole, other = record(3, 1, 1), record(3, 1, 2), record(3, 1, 0), record(3, 0, 1)
    assert usable([weak, strong, whole, other]) == (strong, whole, other)
    assert usable([weak, record(2, 1, 2)]) == (weak, record(2, 1, 2))


@given(st.lists(st.builds(Tlsa, st.integers(0, 5), st.integers(0, 3), st.integers(0, 4), st.binary(max_size=70))))
def test_what_is_usable_is_a_part_of_what_is_there(records: list[Tlsa]) -> None:
    found = usable(records)
    assert usable(found) == found
    assert set(found) <= set(records)
    assert not any(fits(each, LEAF) for each in found)


# What becomes of a host -----------------------------------------------------------------------------------------------


class Zones:
    """Names that are given, each of them signed or not."""

    def __init__(
        self,
        records: Mapping[tuple[str, Kind], list[Record]],
        *,
        unsigned: tuple[str | Query, ...] = (),
        failing: tuple[str, ...] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.given = Given(records, secure=True, failing=failing)
        self.unsigned = unsigned
        self.aliases = aliases or {}

    @property
    def asked(self) -> list[Query]:
        return self.given.asked

    def look_up(self, query: Query) -> Answer:
        canonical = self.aliases.get(query.name, "")
        found = self.given.look_up(query._replace(name=canonical or query.name))
        return found._replace(secure=not {query, query.name} & set(self.unsigned), canonical=canonical)


TLSA_AT: Final = f"_25._tcp.{HOST}"
SIGNED: Final[dict[tuple[str, Kind], list[Record]]] = {
    (DOMAIN, Kind.MX): [Mx(10, HOST)],
    (HOST, Kind.A): [Address("192.0.2.1")],
    (HOST, Kind.AAAA): [Address("2001:db8::1")],
    (TLSA_AT, Kind.TLSA): [record(3)],
}


def plan_in(zones: Zones, policy: Policy | None = None) -> Plan:
    return run(exchangers(DOMAIN, dane=True, policy=policy, random=Random(1)), zones)


@pytest.mark.rfc("7672", "2.2")
@pytest.mark.rfc("7672", "3.2.2")
def test_a_host_with_records_has_to_have_the_certificate() -> None:
    (destination,) = plan_in(Zones(SIGNED)).destinations
    assert destination.tlsa == TlsaCheck((record(3),), (HOST, DOMAIN))
    assert (destination.security, destination.server_name) == (Security.REQUIRED, HOST)
    assert not destination.verify


@pytest.mark.rfc("7672", "2.2")
def test_records_that_are_of_no_use_want_tls() -> None:
    records: dict[tuple[str, Kind], list[Record]] = {**SIGNED, (TLSA_AT, Kind.TLSA): [record(3)._replace(usage=1)]}
    (destination,) = plan_in(Zones(records)).destinations
    assert (destination.security, destination.tlsa, destination.verify) == (Security.REQUIRED, None, False)


@pytest.mark.parametrize("unsigned", [DOMAIN, HOST, TLSA_AT, Query(HOST, Kind.A), Query(HOST, Kind.AAAA)])
@pytest.mark.rfc("7672", "2.2.1")
@pytest.mark.rfc("7672", "2.1.1")
def test_what_is_not_signed_says_nothing(unsigned: str | Query) -> None:
    zones = Zones(SIGNED, unsigned=(unsigned,))
    (destination,) = plan_in(zones).destinations
    assert (destination.security, destination.tlsa) == (Security.OPPORTUNISTIC, None)
    asked = Query(TLSA_AT, Kind.TLSA) in zones.asked
    assert asked is (unsigned == TLSA_AT)


def test_nothing_is_asked_where_dane_is_not_wanted() -> None:
    zones = Zones(SIGNED)
    run(exchangers(DOMAIN), zones)
    assert zones.asked == [Query(DOMAIN, Kind.MX)]


@pytest.mark.parametrize("failing", [HOST, TLSA_AT])
@pytest.mark.rfc("7672", "2.1.2")
def test_a_host_about_which_the_dns_does_not_answer_is_left_out(failing: str) -> None:
    """Or else whoever can swallow the answer could take the TLS away."""
    with pytest.raises(LookupFailed) as caught:
        plan_in(Zones(SIGNED, failing=(failing,)))
    assert caught.value.retryable
    two: dict[tuple[str, Kind], list[Record]] = {
        **SIGNED,
        (DOMAIN, Kind.MX): [Mx(10, HOST), Mx(20, "b.example")],
        ("b.example", Kind.AAAA): [Address("2001:db8::2")],
    }
    plan = plan_in(Zones(two, failing=(failing,)))
    assert [each.host for each in plan.destinations] == ["b.example"]
    assert plan.left_out[0].failure is LookupFailed


def test_a_host_without_address_is_left_out() -> None:
    records: dict[tuple[str, Kind], list[Record]] = {**SIGNED, (DOMAIN, Kind.MX): [Mx(10, HOST), Mx(20, "b.example")]}
    plan = plan_in(Zones(records))
    assert [(left.host, left.why) for left in plan.left_out] == [("b.example", "it has no address")]


@pytest.mark.rfc("7672", "2.2.3")
def test_a_host_that_is_an_alias() -> None:
    """Its records are where the alias leads to, or else beside it."""
    real = "real.example"
    base: dict[tuple[str, Kind], list[Record]] = {
        (DOMAIN, Kind.MX): [Mx(10, HOST)],
        (real, Kind.A): [Address("192.0.2.1")],
    }
    at_real: dict[tuple[str, Kind], list[Record]] = {**base, (f"_25._tcp.{real}", Kind.TLSA): [record(3)]}
    (destination,) = plan_in(Zones(at_real, aliases={HOST: real})).destinations
    assert (destination.host, destination.server_name) == (HOST, real)
    assert destination.tlsa == TlsaCheck((record(3),), (real, DOMAIN))
    target = destination.options().resolve()
    assert (target.host, target.host_name) == (HOST, real)
    beside: dict[tuple[str, Kind], list[Record]] = {**base, (TLSA_AT, Kind.TLSA): [record(3)]}
    (destination,) = plan_in(Zones(beside, aliases={HOST: real})).destinations
    assert destination.server_name == HOST
    both = Zones({**at_real, **beside}, aliases={HOST: real})
    (destination,) = plan_in(both).destinations
    assert destination.server_name == real
    # Where the web's authorities are asked, too, it is about the host that the policy names.
    (destination,) = plan_in(both, Policy(Mode.ENFORCE, (HOST,), 60)).destinations
    assert (destination.server_name, destination.verify) == (HOST, True)


def test_an_alias_that_is_no_name_is_none() -> None:
    class Odd(Zones):
        def look_up(self, query: Query) -> Answer:
            found = super().look_up(query)
            return found._replace(canonical="a b" if query.kind is Kind.A else "")

    zones = Odd(SIGNED)
    (destination,) = plan_in(zones).destinations
    assert destination.server_name == HOST
    assert not any(" " in query.name for query in zones.asked)


@pytest.mark.rfc("7672", "3.2.2")
def test_a_domain_that_is_an_alias_has_both_names() -> None:
    records: dict[tuple[str, Kind], list[Record]] = {**SIGNED, ("other.example", Kind.MX): [Mx(10, HOST)]}
    (destination,) = plan_in(Zones(records, aliases={DOMAIN: "other.example"})).destinations
    assert destination.tlsa is not None
    assert destination.tlsa.names == (HOST, DOMAIN, "other.example")


@pytest.mark.rfc("8461", "2")
def test_dane_and_mta_sts_are_both_held_to() -> None:
    (destination,) = plan_in(Zones(SIGNED), Policy(Mode.ENFORCE, (HOST,), 60)).destinations
    assert destination.verify
    assert destination.tlsa is not None
    assert destination.security is Security.REQUIRED


def test_while_there_is_hope_the_mail_is_kept() -> None:
    """Of several reasons the one that may pass soonest is the one that is told."""
    records: dict[tuple[str, Kind], list[Record]] = {
        **SIGNED,
        (DOMAIN, Kind.MX): [Mx(0, "127.1"), Mx(10, HOST), Mx(20, "b.example")],
    }
    policy = Policy(Mode.ENFORCE, (HOST,), 60)
    with pytest.raises(LookupFailed):
        plan_in(Zones(records, failing=(HOST,)), policy)
    with pytest.raises(PolicyMismatch):
        plan_in(Zones(records), policy._replace(mx=("other.example",)))


# A client of ours -----------------------------------------------------------------------------------------------------


def test_the_certificate_of_a_session_is_matched() -> None:
    with LocalServer(tls="starttls") as server:
        plain: dict[tuple[str, Kind], list[Record]] = {
            (DOMAIN, Kind.MX): [Mx(10, "localhost")],
            ("localhost", Kind.A): [Address("127.0.0.1")],
            (f"_{server.port}._tcp.localhost", Kind.TLSA): [record(3)],
        }
        flow = exchangers(DOMAIN, dane=True, port=server.port)
        (destination,) = run(flow, Zones(plain)).destinations
        client = Client(destination.options(), context=destination.context())
        with client:
            assert client.tls is not None
            der = client.tls.certificate_der
            assert der is not None
            assert destination.tlsa is not None
            assert destination.tlsa.match([der]) is None
            right = Tlsa(3, 1, 1, hashlib.sha256(public_key(der)).digest())
            assert destination.tlsa._replace(records=(right,)).match([der]) == Match(right, 0)
