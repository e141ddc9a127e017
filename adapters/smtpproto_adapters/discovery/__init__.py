"""Whom to connect to: from a domain to hosts, by what the DNS and the domain itself say.

A question such as `exchangers` is a flow: it yields what it wants to know, and `run` or `run_async` puts that to a
`Lookup` (`Resolver` and `AsyncResolver` in the room ``resolver``, by dnspython) or, where a policy is to be fetched, to
the program.  What it decides is a pure function of the answers, and of a source of chance.
"""

from .dane import Match, TlsaCheck
from .destinations import Destination, LeftOut, Plan
from .exchangers import Ranked, exchangers, rank, with_policy, with_tlsa
from .failures import (
    DiscoveryFailed,
    InvalidDomain,
    LookupFailed,
    MailLoop,
    NoHost,
    NoSubmission,
    NoSuchDomain,
    NullMx,
    PolicyMismatch,
)
from .names import domain_name
from .records import Address, Answer, AsyncLookup, Fetch, Given, Kind, Lookup, Lookups, Mx, Query, Srv, Tlsa, Txt
from .running import run, run_async
from .sts import LARGEST_POLICY, Kept, Mode, Policy, parse_policy, record_id, sts_policy
from .submission import arrange, submission

__all__ = [
    "LARGEST_POLICY",
    "Address",
    "Answer",
    "AsyncLookup",
    "Destination",
    "DiscoveryFailed",
    "Fetch",
    "Given",
    "InvalidDomain",
    "Kept",
    "Kind",
    "LeftOut",
    "Lookup",
    "LookupFailed",
    "Lookups",
    "MailLoop",
    "Match",
    "Mode",
    "Mx",
    "NoHost",
    "NoSubmission",
    "NoSuchDomain",
    "NullMx",
    "Plan",
    "Policy",
    "PolicyMismatch",
    "Query",
    "Ranked",
    "Srv",
    "Tlsa",
    "TlsaCheck",
    "Txt",
    "arrange",
    "domain_name",
    "exchangers",
    "parse_policy",
    "rank",
    "record_id",
    "run",
    "run_async",
    "sts_policy",
    "submission",
    "with_policy",
    "with_tlsa",
]
