"""Names of domains and hosts: in one form, so that they can be compared, and none that a resolver takes for another.

What comes from the DNS was written by whoever owns the domain, and may be anything.  A name is kept only where it is
made of letters, digits, hyphens and underscores; where its last label is no number, as it is in every form of an IPv4
address that a system's resolver knows (``127.1`` and ``0x7f000001`` are two of them); and where it is not too long.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from .failures import InvalidDomain

DomainEncoder: TypeAlias = Callable[[str], str | bytes]
"""Makes A-labels of U-labels, as ``idna.encode`` does; it may raise a ValueError."""

LONGEST_NAME: Final = 253
"""Octets, without the dot of the root.  RFC 1035 section 2.3.4, where the length octets count."""

# label = (letter / digit / "_") [*61(letter / digit / "_" / "-") (letter / digit / "_")]
# RFC 1035 section 2.3.1, and the underscore, which is in use in names of hosts, too.
_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.(?!$)|$))+")
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


def normal(name: str) -> str:
    """In lower case, and without the dot of the root: the form in which names are compared.  RFC 1035 section 2.3.3."""
    return name.lower().removesuffix(".")


def objection(name: str) -> str | None:
    """Why a name, in its normal form, cannot be that of a host; None where it can."""
    if len(name) > LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} octets"
    if _NUMBER.fullmatch(name) or ":" in name or name.startswith("["):
        return "it is an IP address, where the name of a host must be"
    return None if _NAME.fullmatch(name) else "it is no name of a host"


def domain_name(text: str, encode: DomainEncoder | None = None) -> str:
    """A domain as a user writes it, in its normal form, with A-labels for U-labels (RFC 5890 section 2.3.2.1).

    Raises `InvalidDomain` for what is none, and for one that is not ASCII where there is no encoder.
    """
    name = text if text.isascii() else _encoded(text, encode)
    name = normal(name)
    problem = objection(name)
    if problem is not None:
        raise InvalidDomain(f"{_shown(text)} is no domain: {problem}", _shown(text))
    return name


def _encoded(text: str, encode: DomainEncoder | None) -> str:
    if encode is None:
        raise InvalidDomain(f"{_shown(text)} is not ASCII: give it with A-labels, or give an encoder", _shown(text))
    try:
        encoded = encode(text)
        return encoded if isinstance(encoded, str) else encoded.decode("ascii")
    except ValueError as error:
        raise InvalidDomain(f"{_shown(text)} has no form in ASCII: {error}", _shown(text)) from error


def within(host: str, domain: str) -> bool:
    """True where a host is in a domain, or is its name; both in normal form."""
    return host == domain or host.endswith(f".{domain}")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= LONGEST_NAME else f"{text[:60]}...")
