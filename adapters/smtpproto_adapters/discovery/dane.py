"""DANE: the DNS, secured by DNSSEC, says which certificate or authority a mail server has.  RFC 7672, RFC 6698.

The records are matched with the certificates that the server has shown; nothing here knows the keys, so whether one
certificate has signed the other is for OpenSSL to say (`Match.needs_path`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from smtpproto_adapters import der

from .names import normal
from .records import Tlsa

TRUST_ANCHOR, END_ENTITY = 2, 3
"""The usages that SMTP knows; where the others are published they cannot be used.  RFC 7672 sections 3.1 and 3.1.3."""
WHOLE, PUBLIC_KEY = 0, 1
"""Selectors.  RFC 6698 section 2.1.2."""
EXACT, SHA_256, SHA_512 = 0, 1, 2
"""Matching types.  RFC 6698 section 2.1.3."""

_DIGESTS: Final = {SHA_256: (hashlib.sha256, 32), SHA_512: (hashlib.sha512, 64)}
_ALTERNATIVE_NAME: Final = der.encoded("2.5.29.17")
_DNS_NAME: Final = 0x82
"""RFC 5280 section 4.2.1.6."""


class Match(NamedTuple):
    """A record that fits."""

    record: Tlsa
    depth: int
    """Which certificate of the chain it fits; the server's own is 0."""

    @property
    def needs_path(self) -> bool:
        """True where it fits an authority's: it has to be shown yet that the signatures lead there, and hold today.

        Load that one certificate as the only authority that is trusted, with ``VERIFY_X509_PARTIAL_CHAIN``.
        """
        return self.record.usage == TRUST_ANCHOR


class TlsaCheck(NamedTuple):
    """What the certificates of a server must match, one record or another."""

    records: tuple[Tlsa, ...]
    names: tuple[str, ...]
    """For one of them the server's certificate must be, where an authority is matched; RFC 7672 section 3.2.2."""

    def match(self, chain: Sequence[bytes]) -> Match | None:
        """The first record that fits the chain of certificates (DER, the server's own first); None where none does.

        A record for the server's own certificate, or its key, says all: neither names nor dates are looked at (RFC
        7672 section 3.1.1).  One for an authority holds only where the server's certificate has one of the names.
        Raises nothing.
        """
        fitting = [
            Match(record, depth)
            for record in self.records
            for depth, certificate in enumerate(chain)
            if (depth == 0) is (record.usage == END_ENTITY) and fits(record, certificate)
        ]
        for each in fitting:
            if not each.needs_path or is_for(chain[0], self.names):
                return each
        return None


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """Those that can be used; of digests of one thing, those by the strongest function alone.

    RFC 7672 section 3.1, RFC 6698 section 4.1, and the digest algorithm agility of RFC 7671.
    """
    known = [each for each in records if _is_usable(each)]
    strongest: dict[tuple[int, int], int] = {}
    for each in known:
        key = each.usage, each.selector
        strongest[key] = max(strongest.get(key, EXACT), each.matching_type)
    return tuple(each for each in known if each.matching_type in (EXACT, strongest[each.usage, each.selector]))


def _is_usable(record: Tlsa) -> bool:
    if record.usage not in (TRUST_ANCHOR, END_ENTITY) or record.selector not in (WHOLE, PUBLIC_KEY):
        return False
    if record.matching_type == EXACT:
        return bool(record.data)
    digest = _DIGESTS.get(record.matching_type)
    return digest is not None and len(record.data) == digest[1]


def fits(record: Tlsa, certificate: bytes) -> bool:
    """True where a usable record fits a certificate (DER).  RFC 6698 sections 2.1.2 and 2.1.3.  Raises nothing."""
    try:
        selected = certificate if record.selector == WHOLE else public_key(certificate)
    except ValueError:
        return False
    digest = _DIGESTS.get(record.matching_type)
    return record.data == (selected if digest is None else digest[0](selected).digest())


def is_for(certificate: bytes, names: Iterable[str]) -> bool:
    """True where a certificate (DER) is for one of the names; in its own, ``*.`` stands for one label.

    RFC 7672 section 3.2.3.  The common name counts for nothing.  Raises nothing.
    """
    try:
        written = set(dns_names(certificate))
    except ValueError:
        return False
    wanted = {normal(name) for name in names}
    return any(name in written or f"*.{name.partition('.')[2]}" in written for name in wanted)


# What is in a certificate.  RFC 5280 section 4.1.


def public_key(certificate: bytes) -> bytes:
    """The subjectPublicKeyInfo, its tag and length included.  Raises ValueError."""
    fields = _fields(certificate)
    if fields[:1] == bytes((der.CONTEXT_0,)):
        _, at = der.element(fields, 0, der.CONTEXT_0)  # version
    else:
        at = 0
    for _ in ("serialNumber", "signature", "issuer", "validity", "subject"):
        _, at = der.element(fields, at, _tag(fields, at))
    _, end = der.element(fields, at, der.SEQUENCE)
    return fields[at:end]


def dns_names(certificate: bytes) -> Iterator[str]:
    """The names of hosts in it, in normal form.  Raises ValueError."""
    for tag, contents in der.elements(_fields(certificate)):
        if tag == der.CONTEXT_3:
            for _, extension in der.elements(der.whole(contents, der.SEQUENCE)):
                yield from _names_in(extension)


def _names_in(extension: bytes) -> Iterator[str]:
    parts = list(der.elements(extension))
    if not parts or parts[0] != (der.OBJECT_IDENTIFIER, _ALTERNATIVE_NAME):
        return
    for tag, name in der.elements(der.whole(parts[-1][1], der.SEQUENCE)):
        if tag == _DNS_NAME and name.isascii():
            yield normal(name.decode("ascii"))


def _fields(certificate: bytes) -> bytes:
    return der.element(der.whole(certificate, der.SEQUENCE), 0, der.SEQUENCE)[0]


def _tag(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ValueError("the certificate ends too early")
    return data[at]
