"""Channel bindings: the walk through a certificate against the one of the `cryptography` package, and against junk."""

from __future__ import annotations

import hashlib
import ssl
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import LocalProtocolError
from smtpproto_adapters.bindings import certificate_of, channel_bindings, end_point

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example")])
NOW: Final = datetime.now(UTC)

SHA256_WITH_RSA: Final = "1.2.840.113549.1.1.11"
RSASSA_PSS: Final = "1.2.840.113549.1.1.10"

# --- certificates -------------------------------------------------------------------------------------------------


@cache
def key_of(kind: str) -> Any:
    """One key of each kind for all tests; Any, because which one can sign what is not a matter of its type."""
    match kind:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ecdsa":
            return ec.generate_private_key(ec.SECP256R1())
        case "dsa":
            return dsa.generate_private_key(1024)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return ed448.Ed448PrivateKey.generate()


def pss(algorithm: hashes.HashAlgorithm, mask: hashes.HashAlgorithm | None = None) -> padding.PSS:
    return padding.PSS(padding.MGF1(mask or algorithm), algorithm.digest_size)


SHA2: Final = (hashes.SHA224(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
SHA3: Final = (hashes.SHA3_224(), hashes.SHA3_256(), hashes.SHA3_384(), hashes.SHA3_512())

# Any, because the hashes that can be signed with have no type in common.
KINDS: Final[Mapping[str, tuple[str, Any, padding.PSS | None]]] = {
    **{f"rsa-{one.name}": ("rsa", one, None) for one in SHA2 + SHA3},
    **{f"pss-{one.name}": ("rsa", one, pss(one)) for one in SHA2},
    **{f"ecdsa-{one.name}": ("ecdsa", one, None) for one in SHA2 + SHA3},
    **{f"dsa-{one.name}": ("dsa", one, None) for one in SHA2},
    "pss-other-mask": ("rsa", hashes.SHA384(), pss(hashes.SHA384(), hashes.SHA256())),
    "ed25519": ("ed25519", None, None),
    "ed448": ("ed448", None, None),
}


@cache
def certificate(kind: str) -> bytes:
    """A certificate, signed by its own key, in DER."""
    key, algorithm, rsa_padding = KINDS[kind]
    builder = x509.CertificateBuilder(
        NAME, NAME, key_of(key).public_key(), 1, NOW - timedelta(days=1), NOW + timedelta(days=1)
    )
    return builder.sign(key_of(key), algorithm, rsa_padding=rsa_padding).public_bytes(Encoding.DER)


def pem_of(der: bytes, label: str = "CERTIFICATE") -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", label).encode()


def key_pem(kind: str) -> bytes:
    return cast("bytes", key_of(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


# --- what cryptography makes of one ---------------------------------------------------------------------------------


def hash_of(der: bytes) -> hashes.HashAlgorithm | None:
    """Raises ValueError and its like for what is no certificate, `UnsupportedAlgorithm` for what it does not know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of certificates that are only odd
        return x509.load_der_x509_certificate(der).signature_hash_algorithm


def expected(der: bytes) -> bytes | None:
    """RFC 5929 section 4.1 in terms of it."""
    algorithm = hash_of(der)
    if algorithm is None:
        return None
    digest = hashes.Hash(hashes.SHA256() if isinstance(algorithm, hashes.MD5 | hashes.SHA1) else algorithm)
    digest.update(der)
    return digest.finalize()


# --- DER --------------------------------------------------------------------------------------------------------------


def element(tag: int, contents: bytes, length: bytes | None = None) -> bytes:
    """``length`` instead of the right one."""
    size = len(contents)
    if length is None:
        octets = size.to_bytes((size.bit_length() + 7) // 8)
        length = bytes([size]) if size < 0x80 else bytes([0x80 | len(octets)]) + octets
    return bytes([tag]) + length + contents


def identifier(dotted: str) -> bytes:
    numbers = [int(number) for number in dotted.split(".")]
    digits = "".join(
        "".join(f"{0x80 | int(one):02x}" for one in base_128(number)[:-1]) + f"{base_128(number)[-1]:02x}"
        for number in (numbers[0] * 40 + numbers[1], *numbers[2:])
    )
    return element(0x06, bytes.fromhex(digits))


def base_128(number: int) -> list[int]:
    return [number % 128] if number < 128 else [*base_128(number // 128), number % 128]


NULL: Final = element(0x05, b"")


def signed_with(algorithm: bytes) -> bytes:
    """A certificate with that AlgorithmIdentifier in both places; nobody looks at the signature itself."""
    tbs = x509.load_der_x509_certificate(certificate("rsa-sha256")).tbs_certificate_bytes
    before = element(0x30, identifier(SHA256_WITH_RSA) + NULL)
    head = 4  # the tag and the length of tbsCertificate
    assert tbs.count(before) == 1
    return element(0x30, element(0x30, tbs[head:].replace(before, algorithm)) + algorithm + element(0x03, b"\0" * 9))


def signed_with_oid(dotted: str, parameters: bytes = b"") -> bytes:
    return signed_with(element(0x30, identifier(dotted) + parameters))


def signed_with_pss(parameters: bytes) -> bytes:
    return signed_with_oid(RSASSA_PSS, element(0x30, parameters))


def hash_parameter(dotted: str) -> bytes:
    return element(0xA0, element(0x30, identifier(dotted) + NULL))


# --- the binding ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5929", "4.1")
@pytest.mark.parametrize("kind", KINDS)
def test_the_binding_is_the_hash_that_the_signature_uses(kind: str) -> None:
    der = certificate(kind)
    algorithm = KINDS[kind][1]
    assert end_point(der) == (algorithm and hashlib.new(algorithm.name.replace("-", "_"), der).digest())


NAMED: Final[list[str]] = sorted(
    oid.dotted_string for oid in vars(SignatureAlgorithmOID).values() if isinstance(oid, x509.ObjectIdentifier)
)
NAMED_ONLY: Final = frozenset({RSASSA_PSS, "2.16.840.1.101.3.4.3.3", "2.16.840.1.101.3.4.3.4"})
"""The first has its hash in the parameters; of DSA with SHA-384 and SHA-512 cryptography knows only the names."""


@pytest.mark.rfc("5929", "4.1")
@pytest.mark.parametrize("dotted", [oid for oid in NAMED if oid not in NAMED_ONLY])
def test_every_signature_algorithm_that_cryptography_knows(dotted: str) -> None:
    der = signed_with_oid(dotted)
    assert x509.load_der_x509_certificate(der).signature_algorithm_oid.dotted_string == dotted
    assert end_point(der) == expected(der)


@pytest.mark.rfc("5929", "4.1")
@pytest.mark.parametrize(
    ("dotted", "name"),
    [
        ("1.2.840.113549.1.1.4", "sha256"),  # MD5
        ("1.2.840.113549.1.1.5", "sha256"),  # SHA-1, as the next four
        ("1.3.14.3.2.29", "sha256"),
        ("1.2.840.10040.4.3", "sha256"),
        ("1.2.840.10045.4.1", "sha256"),
        ("1.2.840.113549.1.1.15", "sha512_224"),
        ("1.2.840.113549.1.1.16", "sha512_256"),
        ("2.16.840.1.101.3.4.3.3", "sha384"),  # DSA, as the next three
        ("2.16.840.1.101.3.4.3.4", "sha512"),
        ("2.16.840.1.101.3.4.3.5", "sha3_224"),
        ("2.16.840.1.101.3.4.3.8", "sha3_512"),
        ("1.2.840.113549.1.1.2", None),  # MD2, which nobody has
        ("1.2.840.113549.1.1.1", None),  # a key, no signature
        ("1.3.101.112", None),  # Ed25519
        ("1.3.101.113", None),  # Ed448
        ("2.16.840.1.101.3.4.3.17", None),  # ML-DSA-44
        ("2.16.840.1.101.3.4.3.0", None),
        ("1.2.3.4", None),
    ],
)
def test_the_hash_of_a_signature_algorithm(dotted: str, name: str | None) -> None:
    der = signed_with_oid(dotted)
    assert end_point(der) == (name and hashlib.new(name, der).digest())


@pytest.mark.rfc("4055", "3.1")
@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b"", "sha256"),  # SHA-1 is the default
        (element(0xA2, element(0x02, b"\x14")), "sha256"),
        (hash_parameter("1.3.14.3.2.26"), "sha256"),
        (hash_parameter("1.2.840.113549.2.5"), "sha256"),
        (hash_parameter("2.16.840.1.101.3.4.2.1"), "sha256"),
        (hash_parameter("2.16.840.1.101.3.4.2.2"), "sha384"),
        (hash_parameter("2.16.840.1.101.3.4.2.3"), "sha512"),
        (hash_parameter("2.16.840.1.101.3.4.2.4"), "sha224"),
        (hash_parameter("2.16.840.1.101.3.4.2.5"), "sha512_224"),
        (hash_parameter("2.16.840.1.101.3.4.2.6"), "sha512_256"),
        (hash_parameter("2.16.840.1.101.3.4.2.8"), "sha3_256"),
        (hash_parameter("2.16.840.1.101.3.4.2.10"), "sha3_512"),
        (hash_parameter("2.16.840.1.101.3.4.2.11"), None),  # SHAKE128, which has no length of its own
        (hash_parameter("1.2.3.4"), None),
        (element(0xA0, b""), None),
        (element(0xA0, element(0x30, b"")), None),
        (element(0xA0, element(0x30, identifier("1.3.14.3.2.26")) + NULL), None),
    ],
)
def test_the_hash_of_a_pss_signature_stands_in_its_parameters(parameters: bytes, name: str | None) -> None:
    der = signed_with_pss(parameters)
    assert end_point(der) == (name and hashlib.new(name, der).digest())


@pytest.mark.rfc("4055", "3.1")
@pytest.mark.parametrize("parameters", [b"", NULL, element(0x30, b"") + NULL])
def test_pss_without_parameters_is_undefined(parameters: bytes) -> None:
    assert end_point(signed_with_oid(RSASSA_PSS, parameters)) is None


def test_a_hash_that_this_openssl_lacks_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def new(name: str, data: bytes) -> None:
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", new)
    assert end_point(certificate("rsa-sha256")) is None


@pytest.mark.rfc("5929", "4")
def test_the_bindings_by_name() -> None:
    der = certificate("ecdsa-sha384")
    bindings = channel_bindings(der)
    assert bindings == {"tls-server-end-point": hashlib.sha384(der).digest()}
    with pytest.raises(TypeError):
        cast("dict[str, bytes]", bindings)["tls-server-end-point"] = b""


@pytest.mark.parametrize("der", [None, b"", b"junk", certificate("ed25519")], ids=["none", "empty", "junk", "ed25519"])
def test_without_a_binding_there_is_no_name(der: bytes | None) -> None:
    bindings = channel_bindings(der)
    assert bindings == {}
    with pytest.raises(TypeError):
        cast("dict[str, bytes]", bindings)["tls-server-end-point"] = b""


# --- what is no certificate -------------------------------------------------------------------------------------------

TBS: Final = element(0x30, b"\0" * 200)
ALGORITHM: Final = element(0x30, identifier(SHA256_WITH_RSA) + NULL)
SIGNATURE: Final = element(0x03, b"\0" * 9)
SKELETON: Final = element(0x30, TBS + ALGORITHM + SIGNATURE)
"""As much of a certificate as the walk looks at."""


def test_the_skeleton_is_enough() -> None:
    assert end_point(SKELETON) == hashlib.sha256(SKELETON).digest()


@pytest.mark.rfc("5280", "4.1")
@pytest.mark.parametrize(
    "fields",
    [
        b"",
        TBS,
        TBS + ALGORITHM,
        TBS + ALGORITHM + SIGNATURE + NULL,
        TBS + SIGNATURE + ALGORITHM,
        NULL + TBS + ALGORITHM + SIGNATURE,
        TBS + element(0x30, b"") + SIGNATURE,
        TBS + element(0x30, NULL + identifier(SHA256_WITH_RSA)) + SIGNATURE,
        TBS + element(0x31, identifier(SHA256_WITH_RSA)) + SIGNATURE,
        TBS + element(0x30, element(0x06, b"")) + SIGNATURE,
        TBS + element(0x30, element(0x06, b"\xff" * 1000)) + SIGNATURE,
    ],
)
def test_another_structure(fields: bytes) -> None:
    assert end_point(element(0x30, fields)) is None


@pytest.mark.parametrize("after", [b"\0", b"\n", SKELETON])
def test_nothing_may_follow(after: bytes) -> None:
    assert end_point(SKELETON + after) is None


@pytest.mark.rfc("X.690", "10.1")
@pytest.mark.parametrize(
    "length",
    [
        b"",
        b"\x80",  # indefinite
        b"\xff",
        b"\x81\x0d",  # one octet would do
        b"\x82\x00\x0d",
        b"\x84\x00\x00\x00\x0d",
        b"\x84\x7f\xff\xff\xff",
        b"\x0c",
        b"\x0e",
    ],
)
def test_lengths_in_another_form_than_that_of_der(length: bytes) -> None:
    contents = identifier(SHA256_WITH_RSA) + NULL
    assert len(contents) == 0x0D
    assert end_point(element(0x30, TBS + element(0x30, contents, b"\x0d") + SIGNATURE)) is not None
    assert end_point(element(0x30, TBS + element(0x30, contents, length) + SIGNATURE)) is None


@pytest.mark.rfc("X.690", "10.1")
@pytest.mark.parametrize("size", [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000])
def test_lengths_of_every_size(size: int) -> None:
    der = element(0x30, element(0x30, b"\0" * size) + ALGORITHM + SIGNATURE)
    assert end_point(der) == hashlib.sha256(der).digest()


@pytest.mark.rfc("X.690", "10.1")
@pytest.mark.parametrize(
    ("size", "length"),
    [
        (0x7F, b"\x81\x7f"),
        (0x80, b"\x82\x00\x80"),
        (0xFF, b"\x82\x00\xff"),
        (0x100, b"\x83\x00\x01\x00"),
        (0x10000, b"\x84\x00\x01\x00\x00"),
    ],
)
def test_longer_lengths_than_need_be(size: int, length: bytes) -> None:
    tbs = element(0x30, b"\0" * size, length)
    assert end_point(element(0x30, tbs + ALGORITHM + SIGNATURE)) is None


@pytest.mark.rfc("8446", "4.4.2")
def test_more_than_a_handshake_can_carry() -> None:
    largest = 0xFFFFFF - len(element(0x30, b"\0" * 0x10000)) + 0x10000 - len(ALGORITHM + SIGNATURE)
    der = element(0x30, element(0x30, bytes(largest)) + ALGORITHM + SIGNATURE)
    assert len(der) == 0xFFFFFF + 5
    assert end_point(der) == hashlib.sha256(der).digest()
    assert end_point(element(0x30, element(0x30, bytes(largest + 1)) + ALGORITHM + SIGNATURE)) is None


@pytest.mark.parametrize("octets", [b"\x30\x80", b"\x30\x84\x7f\xff\xff\xff", b"\x30\x00", b"\xa0\x80", b"\x30"])
def test_a_million_elements_in_each_other_are_no_depth(octets: bytes) -> None:
    assert end_point(octets * 1_000_000) is None


kinds = st.sampled_from(sorted(KINDS))


@given(st.data(), kinds)
def test_a_truncated_certificate_is_none(data: st.DataObject, kind: str) -> None:
    der = certificate(kind)
    assert end_point(der[: data.draw(st.integers(0, len(der) - 1))]) is None


@st.composite
def places(draw: st.DrawFn) -> tuple[str, int]:
    """A certificate, and an octet of it; one of those that the walk reads more often than chance would have it."""
    kind = draw(kinds)
    der = certificate(kind)
    loaded = x509.load_der_x509_certificate(der)
    end = len(der) - len(loaded.signature)
    begin = 4 + len(loaded.tbs_certificate_bytes)
    return kind, draw(st.integers(0, 12) | st.integers(begin, end) | st.integers(0, len(der) - 1))


@given(places(), st.integers(1, 255))
def test_a_certificate_with_another_octet(place: tuple[str, int], change: int) -> None:
    kind, at = place
    der = bytearray(certificate(kind))
    der[at] ^= change
    binding = end_point(bytes(der))
    assert binding != end_point(certificate(kind)) or binding is None
    try:
        wanted = expected(bytes(der))
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return  # it looks at more than the walk does, and knows fewer algorithms
    assert binding == wanted


@given(st.binary(max_size=400))
def test_any_octets_raise_nothing(junk: bytes) -> None:
    assert isinstance(end_point(junk), bytes | None)


fields = st.recursive(
    st.binary(max_size=20) | st.sampled_from([TBS, ALGORITHM, SIGNATURE, NULL, identifier(RSASSA_PSS)]),
    lambda inner: st.builds(
        element,
        st.sampled_from([0x30, 0x03, 0x06, 0xA0]),
        st.lists(inner, max_size=4).map(b"".join),
        st.none() | st.binary(max_size=5),
    ),
    max_leaves=8,
)


@given(st.lists(fields, max_size=4).map(b"".join))
def test_any_elements_raise_nothing(contents: bytes) -> None:
    for der in (contents, element(0x30, contents), element(0x30, TBS + element(0x30, contents) + SIGNATURE)):
        assert isinstance(end_point(der), bytes | None)
    assert isinstance(end_point(signed_with_pss(contents)), bytes | None)


# --- a server's own certificate ---------------------------------------------------------------------------------------


def test_a_certificate_in_every_form(tmp_path: Path) -> None:
    der = certificate("rsa-sha256")
    path = tmp_path / "certificate"
    for octets in (der, pem_of(der), pem_of(der).replace(b"\n", b"\r\n"), pem_of(der, "X509 CERTIFICATE")):
        path.write_bytes(octets)
        assert certificate_of(octets) == certificate_of(path) == certificate_of(str(path)) == der


def test_the_first_certificate_counts() -> None:
    first, second = certificate("rsa-sha256"), certificate("ecdsa-sha384")
    text = b"subject=CN = mx.example\n"
    assert certificate_of(pem_of(first) + pem_of(second)) == first
    assert certificate_of(pem_of(second) + pem_of(first)) == second
    assert certificate_of(key_pem("ecdsa") + text + pem_of(second) + text + pem_of(first)) == second


def test_a_chain_of_trustme(authority: Any, tmp_path: Path) -> None:
    issued = authority.create_child_ca().issue_cert("mx.example")
    leaf, *others = [certificate_of(pem.bytes()) for pem in issued.cert_chain_pems]
    assert leaf not in others
    assert others
    path = tmp_path / "chain.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(path)
    assert certificate_of(path) == certificate_of(issued.private_key_and_cert_chain_pem.bytes()) == leaf


def test_what_openssl_trusts_a_certificate_for_is_no_part_of_it() -> None:
    der = certificate("rsa-sha256")
    trust = element(0x30, element(0x30, identifier("1.3.6.1.5.5.7.3.1")))
    assert certificate_of(pem_of(der + trust, "TRUSTED CERTIFICATE") + pem_of(certificate("ed25519"))) == der


def request() -> bytes:
    return x509.CertificateSigningRequestBuilder(NAME).sign(key_of("ecdsa"), hashes.SHA256()).public_bytes(Encoding.DER)


DER: Final = certificate("rsa-sha256")
PEM: Final = pem_of(DER)


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        (b"", "there is no certificate in "),
        (b"junk", "there is no certificate in "),
        (key_pem("rsa"), "there is no certificate in "),
        (pem_of(request(), "CERTIFICATE REQUEST"), "there is no certificate in "),
        (b"# " + PEM, "there is no certificate in "),
        (PEM.replace(b"-----BEGIN", b"-----Begin"), "there is no certificate in "),
        (DER[:-1], "there is no certificate in "),
        (DER + b"\n", "there is no certificate in "),
        (request(), " is no certificate "),
        (pem_of(request()), " is no certificate "),
        (SKELETON, " is no certificate "),
        (element(0x30, b""), " is no certificate "),
        (PEM[:-40] + b"\n" + PEM, " has no end: "),
        (PEM.replace(b"-----END", b"-----FIN") + PEM, " has no end: "),
        (pem_of(DER[:-1]) + PEM, " is broken: "),
        (pem_of(b"junk") + PEM, " is broken: "),
        (pem_of(b"") + PEM, " is broken: "),
        (PEM.replace(b"\nMII", b"\n!MII"), " is broken: "),
        (PEM.replace(b"\nMII", b"\nMI"), " is broken: "),
    ],
)
def test_what_is_no_certificate(octets: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        certificate_of(octets)
    assert sentence in str(caught.value)
    assert "the octets" in str(caught.value)
    path = tmp_path / "certificate.pem"
    path.write_bytes(octets)
    with pytest.raises(LocalProtocolError) as caught:
        certificate_of(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_any_other_octets_are_no_certificate(before: bytes, after: bytes) -> None:
    for octets in (before, before + b"\n-----BEGIN CERTIFICATE-----" + after, PEM[:100] + after + PEM[300:]):
        with pytest.raises(LocalProtocolError):
            certificate_of(octets)


def test_what_is_wrong_with_a_file_passes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        certificate_of(tmp_path / "none.pem")
    with pytest.raises(IsADirectoryError):
        certificate_of(tmp_path)


def test_pem_as_a_str_is_no_path_and_is_not_repeated() -> None:
    text = (key_pem("ecdsa") + PEM).decode()
    with pytest.raises(LocalProtocolError, match=r"give the PEM text as bytes$") as caught:
        certificate_of(text)
    assert text.splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize("source", ["a\0b", None, 7, bytearray(PEM)], ids=["nul", "none", "number", "bytearray"])
def test_what_is_no_source(source: Any) -> None:
    with pytest.raises(LocalProtocolError, match="neither bytes nor the path of a file"):
        certificate_of(source)


# --- both ends of a handshake -----------------------------------------------------------------------------------------


def shake_hands(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> ssl.SSLObject:
    """The client's side of a session, which is made in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="mx.example")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert not waiting
    return client


@pytest.mark.rfc("5929", "4")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_both_ends_have_the_same_binding(
    authority: Any, client_context: ssl.SSLContext, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    path = tmp_path / "server.pem"
    authority.create_child_ca().issue_cert("mx.example").private_key_and_cert_chain_pem.write_to_path(path)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(path)
    server_context.minimum_version = server_context.maximum_version = version
    at_client = channel_bindings(shake_hands(client_context, server_context).getpeercert(binary_form=True))
    at_server = channel_bindings(certificate_of(path))
    assert at_client == at_server
    assert len(at_client["tls-server-end-point"]) == 32


@pytest.mark.rfc("5929", "4.1")
@pytest.mark.parametrize(
    ("kind", "size"), [("rsa-sha512", 64), ("pss-sha384", 48), ("ecdsa-sha384", 48), ("ed25519", None)]
)
def test_both_ends_of_every_kind_unverified(kind: str, size: int | None, tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(key_pem(KINDS[kind][0]) + pem_of(certificate(kind)))
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(path)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    at_client = channel_bindings(shake_hands(client_context, server_context).getpeercert(binary_form=True))
    assert at_client == channel_bindings(certificate_of(path))
    assert {name: len(binding) for name, binding in at_client.items()} == (
        {"tls-server-end-point": size} if size else {}
    )
