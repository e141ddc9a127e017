"""The arguments that the commands share: how they are read, and the `ConnectOptions` that they make."""

from __future__ import annotations

import argparse
import ssl
from functools import partial
from pathlib import Path
from typing import Any, Final

from smtpproto import ConnectOptions, Limits, Security, Timeouts

from .authentication import kind_of_secret, resolved, with_secret
from .certificates import client_context
from .parser import Group, invalid, option_of

ADAPTERS: Final = ("blocking", "asyncio", "trio")

WAITS: Final = ("dial", "tls", "greeting", "hello", "other")
"""The fields of `Timeouts` that connecting knows."""
SENDING: Final = ("mail", "rcpt", "data_initiation", "data_block", "data_termination")
"""And those that sending knows besides."""
LIMITS: Final = ("reply_line", "reply_lines", "reply_octets")
"""The fields of `Limits` that connecting knows."""
LONGEST_WAIT: Final = 86_400.0
"""Seconds; more than a day is no timeout."""

URL_HELP: Final = "smtp, smtps, submission, submissions or lmtp://[USER@]HOST[:PORT], or lmtp:///PATH"


def add_address(group: Group) -> None:
    """What is not the host, and yet where to connect to."""
    group.add_argument("--host-name", metavar="NAME", help="name that the certificate must be for, if not the host")
    group.add_argument("--host-address", metavar="ADDRESS", help="address to connect to, if not the host")


def add_session(group: Group, waits: tuple[str, ...]) -> None:
    """How to connect."""
    group.add_argument(
        "--security",
        choices=[each.value for each in Security],
        help="TLS: none; opportunistic: STARTTLS where it is offered; required: STARTTLS or no session; implicit: "
        "before the first octet (default: by the port; required with a user name)",
    )
    group.add_argument(
        "--ca", type=Path, metavar="FILE", help="PEM file of the roots to trust, instead of the system's"
    )
    hello = group.add_mutually_exclusive_group()
    hello.add_argument(
        "--ehlo", dest="extended", action="store_true", default=None, help="EHLO, or HELO after a refusal (default)"
    )
    hello.add_argument("--helo", dest="extended", action="store_false", default=None, help="HELO alone: no extensions")
    group.add_argument("--lmtp", action="store_true", default=None, help="speak LMTP (LHLO)")
    group.add_argument("--client-name", metavar="NAME", help="domain or address literal to say in EHLO")
    group.add_argument(
        "--mask", action="append", metavar="KEYWORD", help="extension to take as not offered (repeatable)"
    )
    group.add_argument(
        "--timeout",
        action="append",
        type=partial(_timeout, waits),
        metavar="[WAIT=]SECONDS",
        help=f"for each wait, or for one of {', '.join(waits)} (repeatable); 0 waits for ever (default: RFC 5321)",
    )
    group.add_argument(
        "--limit",
        action="append",
        type=_limit,
        metavar="NAME=NUMBER",
        help=f"largest that the server may send: {', '.join(LIMITS)} (repeatable)",
    )


def add_adapter(group: Group) -> None:
    """On what it runs."""
    group.add_argument("--adapter", choices=ADAPTERS, default="blocking", help="I/O to run on (default blocking)")


def add_output(group: Group) -> None:
    """How it is shown."""
    group.add_argument("--json", action="store_true", help="one JSON object a line, as it happens")
    group.add_argument("--no-color", action="store_true", help="no colours; nor are there any into a pipe or NO_COLOR")


def add_picture(group: Group) -> None:
    """Where else it is shown."""
    group.add_argument("--svg", type=Path, metavar="FILE", help="write what is shown to this file, too, as a picture")


def _timeout(waits: tuple[str, ...], text: str) -> tuple[str | None, float]:
    name, equals, number = text.rpartition("=")
    if equals and name not in waits:
        raise argparse.ArgumentTypeError(f"{name!r} is none of the waits {', '.join(waits)}")
    try:
        seconds = float(number)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"{number!r} is no number of seconds from 0 to {LONGEST_WAIT:.0f}")
    return (name if equals else None), seconds


def _limit(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in LIMITS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of the limits {', '.join(LIMITS)}")
    if not (number.isascii() and number.isdigit() and 0 < len(number) <= 12 and int(number)):
        raise argparse.ArgumentTypeError(f"{name} must be a number from 1 on")
    return name, int(number)


# What the arguments mean -------------------------------------------------------------------------------------------


def make_options(arguments: argparse.Namespace) -> tuple[ConnectOptions, ssl.SSLContext | None]:
    """What they say of connecting; nobody is asked for a secret before all else is in order.

    Raises `ConnectFailed` (INVALID_ARGUMENT).
    """
    options = _read(arguments)
    kind = kind_of_secret(arguments, options)
    _check_tls(arguments, resolved(options, kind).security)
    context = client_context(arguments.ca, arguments.cert, arguments.key)
    return with_secret(arguments, options, kind), context


def _read(arguments: argparse.Namespace) -> ConnectOptions:
    """All but the secret."""
    given: dict[str, Any] = {
        name: value
        for name in (
            "host",
            "port",
            "host_name",
            "host_address",
            "path",
            "extended",
            "lmtp",
            "client_name",
            "username",
            "authorization_id",
        )
        if (value := getattr(arguments, name, None)) is not None
    }
    if arguments.security is not None:
        given["security"] = Security(arguments.security)
    given["mask"] = tuple(arguments.mask or ())
    given.update(_numbers(arguments))
    given["authenticate"] = arguments.auth
    given["allow_plaintext_auth"] = arguments.allow_plaintext_auth
    given["mechanisms"] = arguments.mechanism
    given["initial_response"] = not arguments.no_initial_response
    url = arguments.url
    options = ConnectOptions(**given) if url is None else ConnectOptions.from_url(url, **given)
    if options.password is not None:
        raise invalid(
            "a password does not belong in the URL, where others can read it: give it with --password-prompt, "
            "--password-env or --password-file"
        )
    options = _with_host_name(options)
    _check_server(arguments, options)
    return options


def _numbers(arguments: argparse.Namespace) -> dict[str, Any]:
    """``timeout``, ``timeouts`` and ``limits``."""
    found: dict[str, Any] = {}
    waits: dict[str | None, float] = dict(arguments.timeout or ())
    every = waits.pop(None, None)
    if waits:
        base = Timeouts() if every is None else Timeouts.uniform(every)
        values = {name: getattr(base, name) for name in Timeouts.__match_args__}
        # 0 is for ever, here as with one number for all.
        found["timeouts"] = Timeouts(**values | {str(name): seconds or None for name, seconds in waits.items()})
    elif every is not None:
        found["timeout"] = every
    if arguments.limit:
        found["limits"] = Limits(**dict(arguments.limit))
    return found


def _with_host_name(options: ConnectOptions) -> ConnectOptions:
    """The host is both what to dial and what the certificate must be for, where neither is said."""
    if options.path is not None or not options.host or not (options.host_name or options.host_address):
        return options
    host = options.host
    return options.replace(host=None, host_name=options.host_name or host, host_address=options.host_address or host)


# Nothing may be given that would have no effect.


def _check_server(arguments: argparse.Namespace, options: ConnectOptions) -> None:
    if options.path is not None:
        for name in ("host_address", "port"):
            if getattr(arguments, name, None) is not None:
                raise invalid(f"a unix socket has none: leave out {option_of(name)}")
    elif not (options.host or options.host_name or options.host_address):
        raise invalid("no server: give a URL, --host or --path")


def _check_tls(arguments: argparse.Namespace, security: Security) -> None:
    if arguments.key is not None and arguments.cert is None:
        raise invalid("a key is of no use without its certificate: give --cert too")
    for name in ("ca", "cert"):
        if getattr(arguments, name) is not None and security is Security.NONE:
            raise invalid(f"--{name} is for TLS, and there is none to be: give --security too")
    if arguments.allow_plaintext_auth and security in (Security.REQUIRED, Security.IMPLICIT):
        raise invalid("--allow-plaintext-auth is of no use where TLS must be: give --security opportunistic or none")
