"""Whatever octets a peer shows as its certificate, the channel binding made of them is None or a digest of all of them;
and a program's own certificate is one, or refused by LocalProtocolError.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from smtpproto import LocalProtocolError
from smtpproto_adapters.bindings import END_POINT, certificate_of, channel_bindings, end_point

if TYPE_CHECKING:
    from collections.abc import Iterator

_MADE_WITH: Final = ("sha224", "sha256", "sha384", "sha512", "sha512_224", "sha512_256")
_SHA3: Final = ("sha3_224", "sha3_256", "sha3_384", "sha3_512")
_SELDOM: Final = 64
"""OpenSSL takes a hundred times as long to read a certificate as we do, so it is asked for one in so many that are none
by our lights."""


def test_one_input(data: bytes) -> None:
    binding = end_point(data)
    assert channel_bindings(data) == ({} if binding is None else {END_POINT: binding})
    if binding is not None:
        assert binding in [hashlib.new(name, data).digest() for name in (*_MADE_WITH, *_SHA3)]
        assert end_point(data + b"\0") is None
        assert end_point(data[:-1]) is None
    if binding is not None or b"-----BEGIN " in data or sum(data) % _SELDOM == 0:
        own(data)


def own(data: bytes) -> None:
    try:
        certificate = certificate_of(data)
    except LocalProtocolError:
        return
    assert certificate in data or b"-----BEGIN " in data
    end_point(certificate)


def element(tag: int, *contents: bytes) -> bytes:
    """X.690 section 8.1."""
    octets = b"".join(contents)
    size = len(octets)
    length = bytes((size,)) if size < 128 else bytes((0x82,)) + size.to_bytes(2, "big")
    return bytes((tag,)) + length + octets


def seeds() -> Iterator[bytes]:
    """As little as is looked at, for each kind of signature; whole certificates are in the corpus."""
    pss, sha384 = "06092a864886f70d01010a", "0609608648016503040202"
    algorithms = (
        "06092a864886f70d01010b0500",  # sha256WithRSAEncryption
        "06092a864886f70d0101040500",  # md5WithRSAEncryption
        "06082a8648ce3d040303",  # ecdsa-with-SHA384
        "06032b6570",  # Ed25519
        "060960864801650304030e",  # id-rsassa-pkcs1-v1-5-with-sha3-256
        pss,
        f"{pss}3000",
        f"{pss}300fa00d300b{sha384}",
        f"{pss}3011a00f300d{sha384}0500",
    )
    for algorithm in algorithms:
        fields = element(0x30, b"anything"), element(0x30, bytes.fromhex(algorithm)), element(0x03, b"\0signature")
        yield element(0x30, *fields)
    yield element(
        0x30, element(0x30, bytes(200)), element(0x30, bytes.fromhex(algorithms[0])), element(0x03, bytes(90))
    )
    yield b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
