"""``smtpproto connect --mx DOMAIN``: to the hosts that take the mail of a domain, one after the other."""

from __future__ import annotations

import argparse
import re
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from smtpproto import ConnectFailed, ConnectOptions, ErrorCode

from .arguments import make_options
from .hints import hint
from .parser import Group, invalid, option_of
from .sessions import RUNNERS
from .showing import interrupted, refused, view_of
from .terminal import complain
from .trace import Outcome, Trace, View, printable

if TYPE_CHECKING:
    from smtpproto_adapters.discovery import Plan
    from smtpproto_adapters.discovery.names import DomainEncoder

ANOTHER_SERVER: Final = ("url", "host", "host_name", "host_address", "path", "lmtp")
"""What says whom to connect to, as --mx does."""
AUTHENTICATION: Final = ("auth", "username", "authorization_id", "mechanism", "no_initial_response")
"""What the hosts of strangers must not get; all the options of a password want --auth."""
STAND_IN: Final = "mx.invalid"
"""For the hosts, while they are not known yet."""

# address [":" port] / "[" address "]" [":" port]
_SERVER: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?|([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:.*)")
DNS_PORT: Final = 53


class NameServer(NamedTuple):
    """A DNS server to ask."""

    address: str
    port: int


def add_mx(group: Group) -> None:
    """The domain, and whom to ask about it."""
    group.add_argument(
        "--mx",
        metavar="DOMAIN",
        help="the hosts that take the mail of this domain, the best first, until one connects; needs dnspython",
    )
    group.add_argument(
        "--resolver",
        metavar="ADDRESS[:PORT]",
        help="DNS server to ask with --mx, instead of the system's",
    )


def check_resolver(arguments: argparse.Namespace) -> None:
    """Without --mx nobody is asked.  Raises `ConnectFailed` (INVALID_ARGUMENT)."""
    if arguments.resolver is not None:
        raise invalid("--resolver is of no use without --mx: the system looks up the name of a host")


def connect_to_domain(arguments: argparse.Namespace) -> int:
    """Look up, show and try the hosts; returns the exit status."""
    from smtpproto_adapters.discovery import DiscoveryFailed

    try:
        options, context = _options(arguments)
        view = view_of(arguments, f"--mx {printable(arguments.mx)}")
    except ConnectFailed as failure:
        return refused(arguments, Outcome.of_connecting(failure, str(failure)))
    try:
        plan = _plan(arguments, options)
    except ConnectFailed as failure:
        return refused(arguments, Outcome.of_connecting(failure, str(failure)))
    except DiscoveryFailed as failure:
        outcome = Outcome(int(failure.code), failure.code.name, str(failure), retryable=failure.retryable)
        return refused(arguments, outcome)
    except KeyboardInterrupt as error:
        return interrupted(arguments, Trace(view), error)
    view.plan(plan)
    return _try_each(arguments, plan, options, context, view)


def _options(arguments: argparse.Namespace) -> tuple[ConnectOptions, ssl.SSLContext | None]:
    """What is the same for all hosts."""
    for name in ANOTHER_SERVER:
        if getattr(arguments, name):
            raise invalid(f"--mx says whom to connect to: leave out {'the URL' if name == 'url' else option_of(name)}")
    for name in AUTHENTICATION:
        if getattr(arguments, name):
            raise invalid(f"mail is brought to a domain without a password: leave out {option_of(name)}, or --mx")
    return make_options(argparse.Namespace(**{**vars(arguments), "host": STAND_IN}))


def _plan(arguments: argparse.Namespace, options: ConnectOptions) -> Plan:
    """Raises `DiscoveryFailed`, `ConnectFailed`, and ImportError where dnspython is missing."""
    from smtpproto_adapters.discovery import exchangers, run
    from smtpproto_adapters.discovery.resolver import Resolver

    target = options.resolve()
    server = None if arguments.resolver is None else read_server(arguments.resolver)
    resolver = Resolver() if server is None else Resolver([server.address], port=server.port)
    plan = run(exchangers(arguments.mx, port=target.port, encode=_encoder()), resolver)
    return plan._replace(destinations=tuple(each._replace(security=target.security) for each in plan.destinations))


def read_server(text: str) -> NameServer:
    """What ``--resolver`` says.  Raises `ConnectFailed` (INVALID_ARGUMENT)."""
    match = _SERVER.fullmatch(text)
    try:
        address = str(ip_address(match[1] or match[2] or match[4])) if match else ""
        port = int(match[3] or DNS_PORT) if match else 0
    except ValueError:
        address, port = "", 0
    if not address or not 0 < port <= 65535:
        raise invalid(f"--resolver is {text!r}: it must be an IP address, and [ADDRESS]:PORT for IPv6 with a port")
    return NameServer(address, port)


def _encoder() -> DomainEncoder | None:
    """For a domain that is not ASCII; the extra has what is needed for that."""
    try:
        import idna
    except ImportError:
        return None

    def encode(domain: str) -> bytes:
        return idna.encode(domain, uts46=True)

    return encode


def _try_each(
    arguments: argparse.Namespace, plan: Plan, options: ConnectOptions, context: ssl.SSLContext | None, view: View
) -> int:
    """One after the other, until one connects; returns the exit status, which is that of the last."""
    failed: list[Outcome] = []
    for left, destination in zip(reversed(range(len(plan.destinations))), plan.destinations, strict=True):
        trace = Trace(view)
        one = options.replace(host=destination.host, port=destination.port, security=destination.security)
        view.target(one.resolve())
        try:
            RUNNERS[arguments.adapter](one, context, trace, None)
        except ConnectFailed as failure:
            failed.append(Outcome.of_connecting(failure, str(failure)))
            if left and failure.code is not ErrorCode.INVALID_ARGUMENT:  # which is as wrong for the others
                trace.finish(failed[-1], last=False)
                continue
            sentence = trace.finish(_together(plan, failed))
            if not arguments.json:
                complain("; ".join(filter(None, (sentence, _hint(failed[-1])))))
            return failed[-1].code
        except (KeyboardInterrupt, BaseExceptionGroup) as error:
            return interrupted(arguments, trace, error)
        trace.end(None)
        break
    return int(ErrorCode.SUCCESS)


def _together(plan: Plan, failed: list[Outcome]) -> Outcome:
    """That of the last, with a word about those before it; to be tried again where one of them is."""
    last = failed[-1]
    if len(failed) == 1:
        return last
    sentence = f"none of the {len(failed)} hosts for {plan.domain} can be connected to; the last: {last.sentence}"
    return last._replace(sentence=sentence, retryable=any(each.retryable for each in failed))


def _hint(outcome: Outcome) -> str | None:
    """The name that a certificate has to be for is not the user's to say here."""
    return None if outcome.code == ErrorCode.WRONG_HOST_NAME else hint(outcome, None, None)
