"""Channel bindings: what ties an authentication to the TLS session below it, from what the stdlib's `ssl` gives.

`ssl` exports no keying material, so ``tls-exporter`` (RFC 9266) cannot be had; ``tls-server-end-point`` (RFC 5929
section 4) can, in every version of TLS: it is a hash of the server's certificate, and the certificate says which.  A
client has the certificate from the handshake.  A server's own is what `ssl` does not give out, so the program names it
once more, see `certificate_of`.

A certificate comes from the peer and may be anything.  The walk through its DER looks at six elements, and never goes
deeper for a deeper input.
"""

from __future__ import annotations

import binascii
import os
import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from smtpproto import LocalProtocolError

from .der import BIT_STRING, CONTEXT_0, OBJECT_IDENTIFIER, SEQUENCE, element, encoded, whole

END_POINT: Final = "tls-server-end-point"
"""The name of the binding: RFC 5929 section 4."""

_PEM_BEGIN: Final = re.compile(rb"^-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----", re.MULTILINE)
"""RFC 7468 section 5; the two other labels are those that OpenSSL takes, and so `ssl` does."""
_PEM_REST: Final = re.compile(rb"([^-]*)-----END ")


def _table(arcs: Mapping[str, Mapping[int, str]]) -> Mapping[bytes, str]:
    return {encoded(f"{arc}.{last}"): name for arc, names in arcs.items() for last, name in names.items()}


_SHA2: Final = ("sha224", "sha256", "sha384", "sha512")
_SHA3: Final = ("sha3_224", "sha3_256", "sha3_384", "sha3_512")

_HASH_OF_SIGNATURE: Final = _table(
    {
        # RSASSA-PKCS1-v1_5: RFC 8017 appendix A.2.4.  The other arc has what was in use before there was a 5.
        "1.2.840.113549.1.1": {
            4: "md5",
            5: "sha1",
            11: "sha256",
            12: "sha384",
            13: "sha512",
            14: "sha224",
            15: "sha512_224",
            16: "sha512_256",
        },
        "1.3.14.3.2": {29: "sha1"},
        # DSA: RFC 3279 section 2.2.2.
        "1.2.840.10040.4": {3: "sha1"},
        # ECDSA: RFC 3279 section 2.2.3, RFC 5758 section 3.2.
        "1.2.840.10045.4": {1: "sha1"},
        "1.2.840.10045.4.3": dict(enumerate(_SHA2, start=1)),
        # From NIST's register: DSA with SHA-2, of which RFC 5758 section 3.1 has the first two; then DSA, ECDSA and
        # RSASSA-PKCS1-v1_5, each with SHA-3, of which RFC 9688 has the latter two.
        "2.16.840.1.101.3.4.3": dict(enumerate(_SHA2 + 3 * _SHA3, start=1)),
    }
)
# Ed25519 and Ed448 (RFC 8410) are left out on purpose: what they hash with is a part of them, and where the signature
# algorithm uses no hash function RFC 5929 leaves the binding undefined.  Nothing after it defines one, and those who
# made one up did not agree (SHA-256, SHA-512, SHAKE256, a failure): a binding that the peer computes in another way
# looks like an attack.  The same goes for ML-DSA (RFC 9881).

_RSASSA_PSS: Final = encoded("1.2.840.113549.1.1.10")

_HASHES: Final = _table(
    {
        "1.2.840.113549.2": {5: "md5"},
        "1.3.14.3.2": {26: "sha1"},
        "2.16.840.1.101.3.4.2": dict(
            enumerate(("sha256", "sha384", "sha512", "sha224", "sha512_224", "sha512_256", *_SHA3), start=1)
        ),
    }
)
"""RFC 4055 section 2.1, RFC 8017 appendix B.1; SHA-3 from NIST's register."""

_INSTEAD_OF: Final = {"md5": "sha256", "sha1": "sha256"}
"""RFC 5929 section 4.1."""


def channel_bindings(certificate: bytes | None) -> Mapping[str, bytes]:
    """The channel bindings by name, of a session whose server has this certificate (DER); empty where there are none.

    The mapping cannot be changed.  Raises nothing.
    """
    binding = None if certificate is None else end_point(certificate)
    return MappingProxyType({} if binding is None else {END_POINT: binding})


def end_point(certificate: bytes) -> bytes | None:
    """The binding ``tls-server-end-point`` of a server's certificate (DER).  RFC 5929 section 4.1.

    ``None`` where it is undefined, because the certificate was signed without a hash function of its own; where the
    algorithm is not known here; and where this is no certificate.  Raises nothing.
    """
    import hashlib  # which brings OpenSSL's, and is needed under TLS alone

    try:
        name = _hash_name(_signature_algorithm(certificate))
        return None if name is None else hashlib.new(_INSTEAD_OF.get(name, name), certificate).digest()
    except ValueError:  # it is no DER, or this OpenSSL lacks the hash
        return None


def certificate_of(source: bytes | str | os.PathLike[str]) -> bytes:
    """A server's own certificate in DER: what the clients of that server see, and are to be bound to.

    ``source``: the path of the file that `ssl.SSLContext.load_cert_chain` was given (the first certificate counts, and
    keys are passed over), or the octets of such a file, or DER.

    It holds for all sessions of a server that has one certificate.  One that has several (for several names, or RSA
    beside ECDSA) uses now this, now that, and a client is right to refuse the binding of another than it saw.

    Raises `LocalProtocolError` where there is no certificate, OSError where the file cannot be read.
    """
    if isinstance(source, bytes):
        return _first_certificate(source, "the octets")
    if isinstance(source, str) and "-----BEGIN " in source:
        # As a path it would stand in an OSError, maybe with the key.
        raise LocalProtocolError("the certificate is a str, which is taken for a path: give the PEM text as bytes")
    from pathlib import Path

    try:
        data = Path(source).read_bytes()
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"the certificate is neither bytes nor the path of a file: {error}") from error
    return _first_certificate(data, f"the file {os.fspath(source)!r}")


def _first_certificate(data: bytes, where: str) -> bytes:
    """``where`` names the data in what is raised."""
    certificate = data if _is_der(data) else _out_of_pem(data, where)
    try:
        # The walk would take a certificate request for a certificate; OpenSSL does not.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate)
    except ssl.SSLError as error:
        raise LocalProtocolError(f"what is in {where} is no certificate (a request for one, or a key?)") from error
    return certificate


def _out_of_pem(data: bytes, where: str) -> bytes:
    begin = _PEM_BEGIN.search(data)
    if begin is None:
        raise LocalProtocolError(
            f"there is no certificate in {where}: it is neither DER, nor PEM with a line '-----BEGIN CERTIFICATE-----'"
        )
    # It has to be the first: were a broken one passed over, the next would be the authority's.
    rest = _PEM_REST.match(data, begin.end())
    if rest is None:
        raise LocalProtocolError(f"the first certificate in {where} has no end: '-----END CERTIFICATE-----' is missing")
    try:
        block = binascii.a2b_base64(b"".join(rest[1].split()), strict_mode=True)
        # A TRUSTED CERTIFICATE is followed by what OpenSSL trusts it for.
        return block[: element(block, 0, SEQUENCE)[1]]
    except ValueError as error:
        raise LocalProtocolError(f"the first certificate in {where} is broken: {error}") from error


def _is_der(data: bytes) -> bool:
    """True where one SEQUENCE is all of it."""
    try:
        whole(data, SEQUENCE)
    except ValueError:
        return False
    return True


def _signature_algorithm(certificate: bytes) -> bytes:
    """The contents of the AlgorithmIdentifier beside the signature.  RFC 5280 section 4.1."""
    fields = whole(certificate, SEQUENCE)
    _, after = element(fields, 0, SEQUENCE)  # tbsCertificate
    algorithm, after = element(fields, after, SEQUENCE)
    whole(fields[after:], BIT_STRING)
    return algorithm


def _hash_name(algorithm: bytes) -> str | None:
    """The hash function of a signature algorithm, as `hashlib` calls it."""
    identifier, after = element(algorithm, 0, OBJECT_IDENTIFIER)
    if identifier != _RSASSA_PSS:
        return _HASH_OF_SIGNATURE.get(identifier)
    # RFC 4055 section 3.1: the parameters are there in every signature; hashAlgorithm is the first, and sha1 where it
    # is left out.  The mask generation has a hash function too, but it is not the one that the certificate was hashed
    # with: whichever it is, hashAlgorithm is what peers use, and what OpenSSL calls the digest of the signature.
    parameters = whole(algorithm[after:], SEQUENCE)
    if parameters[:1] != bytes((CONTEXT_0,)):
        return "sha1"
    tagged, _ = element(parameters, 0, CONTEXT_0)
    identifier, _ = element(whole(tagged, SEQUENCE), 0, OBJECT_IDENTIFIER)
    return _HASHES.get(identifier)
