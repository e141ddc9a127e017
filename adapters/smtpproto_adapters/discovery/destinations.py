"""What discovery comes to: whom to connect to, in order of preference, how, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from smtpproto import ConnectOptions, Security

from .failures import DiscoveryFailed, LookupFailed, NoHost, PolicyMismatch

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from .dane import TlsaCheck


class Destination(NamedTuple):
    """A host to connect to, and how."""

    host: str
    """The name to dial; its addresses are the system's affair."""
    port: int
    security: Security
    server_name: str
    """What the certificate must be for, and what the client says in TLS that it wants."""
    verify: bool
    """True where the certificate must be valid, and for the server name.  Where it is False, TLS keeps off those who
    only listen, and a certificate that is not trusted is no reason to prefer plaintext (RFC 7435 section 3)."""
    preference: int
    """The lower, the better."""
    why: str
    """In a few words, for people."""
    tlsa: TlsaCheck | None = None
    """What the certificate must match besides (DANE), before anything is sent through the connection."""
    confirm: bool = False
    """True where nothing shows that the domain wants this host: a person is to be asked before a password goes there.
    RFC 6186 section 6."""

    @property
    def tls_required(self) -> bool:
        """True where there must be no session without TLS."""
        return self.security in (Security.REQUIRED, Security.IMPLICIT)

    def options(self, **others: Any) -> ConnectOptions:
        """What a client is to be told; ``others`` are further options, and go before what was decided here."""
        decided: dict[str, Any] = {"port": self.port, "security": self.security}
        if self.server_name == self.host:
            decided["host"] = self.host
        else:
            decided.update(host_address=self.host, host_name=self.server_name)
        return ConnectOptions(**{**decided, **others})

    def context(self) -> ssl.SSLContext:
        """For a client: one that verifies the certificate, or does not, as `verify` says; from TLS 1.2 on."""
        import ssl

        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class LeftOut(NamedTuple):
    """A host that the domain names, and that is not to be connected to."""

    host: str
    """As it was written; it may be anything."""
    why: str
    failure: type[DiscoveryFailed] = NoHost
    """What it would be where there is no other."""


class Plan(NamedTuple):
    """Whom to connect to."""

    domain: str
    destinations: tuple[Destination, ...]
    """The best first; at least one."""
    left_out: tuple[LeftOut, ...] = ()


def plan_of(domain: str, destinations: Iterable[Destination], left_out: Iterable[LeftOut]) -> Plan:
    """Raises the `DiscoveryFailed` that the reasons amount to where no destination is left."""
    plan = Plan(domain, tuple(destinations), tuple(left_out))
    if plan.destinations:
        return plan
    kinds = {each.failure for each in plan.left_out}
    # What another try may change comes first: a message is to be kept as long as there is hope.
    kind = next((each for each in (LookupFailed, PolicyMismatch) if each in kinds), NoHost)
    shown = "; ".join(f"{each.host[:80]!a}: {each.why}" for each in plan.left_out[:_SHOWN])
    more = f"; and {len(plan.left_out) - _SHOWN} more" if len(plan.left_out) > _SHOWN else ""
    raise kind(f"{domain} names no host that can be used ({shown}{more})", domain)


_SHOWN = 3
"""Hosts in one sentence."""
