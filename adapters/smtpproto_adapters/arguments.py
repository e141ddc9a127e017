"""The arguments that the commands share: how they are read, and the `ConnectOptions` that they make."""

from __future__ import annotations

import argparse
import getpass
import os
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from smtpproto import (
    ConnectFailed,
    ConnectOptions,
    ErrorCode,
    Limits,
    Security,
    Stage,
    Timeouts,
)
from smtpproto.sasl import CLIENT_MECHANISMS

ADAPTERS: Final = ("blocking", "asyncio", "trio")

WAITS: Final = ("dial", "tls", "greeting", "hello", "other")
"""The fields of `Timeouts` that connecting knows."""
SENDING: Final = ("mail", "rcpt", "data_initiation", "data_block", "data_termination")
"""And those that sending knows besides."""
LIMITS: Final = ("reply_line", "reply_lines", "reply_octets")
"""The fields of `Limits` that connecting knows."""
LONGEST_WAIT: Final = 86_400.0
"""Seconds; more than a day is no timeout."""

LONGEST_SECRET: Final = 65_536
"""Characters that are read of it."""

URL_HELP: Final = "smtp, smtps, submission, submissions or lmtp://[USER@]HOST[:PORT], or lmtp:///PATH"


class Group(Protocol):
    """A group of arguments; argparse has no public name for it."""

    def add_argument(self, *names: str, **settings: Any) -> Any: ...
    def add_mutually_exclusive_group(self) -> Any: ...


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Exit with the status of INVALID_ARGUMENT."""
        self.exit(int(ErrorCode.INVALID_ARGUMENT), f"smtpproto: {message}; --help tells what there is\n")


class _Refuse(argparse.Action):
    """An option that is there for being refused, without repeating what was given."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        name = self.dest.removeprefix("refused_")
        parser.error(
            f"a {name} does not belong on the command line, where others can read it: give it with "
            f"--{name}-prompt, --{name}-env or --{name}-file"
        )


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


def add_authentication(group: Group) -> None:
    """As whom."""
    group.add_argument("--auth", action="store_true", help="authenticate; asks for the password where none is given")
    group.add_argument("--username", metavar="NAME", help="authentication identity")
    secrets = group.add_mutually_exclusive_group()
    for name in ("password", "token"):
        what = "the password" if name == "password" else "an OAuth 2.0 access token"
        secrets.add_argument(f"--{name}-prompt", action="store_true", help=f"ask for {what} at the terminal")
        secrets.add_argument(f"--{name}-env", metavar="VARIABLE", help=f"environment variable with {what}")
        secrets.add_argument(
            f"--{name}-file", metavar="FILE", help=f"file whose first line is {what}; - is standard input"
        )
        group.add_argument(f"--{name}", dest=f"refused_{name}", action=_Refuse, help=argparse.SUPPRESS)
    group.add_argument("--authorization-id", metavar="NAME", help="identity to act as, if not the user's own")
    group.add_argument(
        "--mechanism",
        action="append",
        type=str.upper,
        choices=list(CLIENT_MECHANISMS),
        help="SASL mechanism to use; repeated: in this order",
    )
    group.add_argument(
        "--allow-plaintext-auth", action="store_true", help="let the password or token travel without TLS"
    )


def add_adapter(group: Group) -> None:
    """On what it runs."""
    group.add_argument("--adapter", choices=ADAPTERS, default="blocking", help="I/O to run on (default blocking)")


def add_output(group: Group) -> None:
    """How it is shown."""
    group.add_argument("--json", action="store_true", help="one JSON object a line, as it happens")
    group.add_argument("--no-color", action="store_true", help="no colours; nor are there any into a pipe or NO_COLOR")


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


def make_options(arguments: argparse.Namespace) -> ConnectOptions:
    """What they say of connecting.  Raises `ConnectFailed` (INVALID_ARGUMENT)."""
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
    url = arguments.url
    options = ConnectOptions(**given) if url is None else ConnectOptions.from_url(url, **given)
    if options.password is not None:
        raise invalid(
            "a password does not belong in the URL, where others can read it: give it with --password-prompt, "
            "--password-env or --password-file"
        )
    options = _with_host_name(options)
    _check_server(arguments, options)
    _check_authentication(arguments, options)
    if options.resolve().security is Security.NONE and arguments.ca is not None:
        raise invalid("--ca is for TLS, and there is none to be: give --security too")
    return options.replace(**_secret(arguments, options))


def invalid(message: str) -> ConnectFailed:
    """For arguments that make no sense."""
    return ConnectFailed(message, ErrorCode.INVALID_ARGUMENT, Stage.OPTIONS)


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


SECRET_SOURCES: Final = tuple(
    f"{name}_{source}" for name in ("password", "token") for source in ("prompt", "env", "file")
)


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
                raise invalid(f"a unix socket has none: leave out --{name.replace('_', '-')}")
    elif not (options.host or options.host_name or options.host_address):
        raise invalid("no server: give a URL, --host or --path")


def _check_authentication(arguments: argparse.Namespace, options: ConnectOptions) -> None:
    if arguments.auth:
        if options.username is None:
            raise invalid("--auth needs a user name: give --username, or USER@ in the URL")
        return
    for name in (*SECRET_SOURCES, "mechanism", "allow_plaintext_auth", "authorization_id"):
        if getattr(arguments, name):
            raise invalid(f"--{name.replace('_', '-')} is for authentication: give --auth too")


def _secret(arguments: argparse.Namespace, options: ConnectOptions) -> dict[str, str]:
    """The password or the token, from where it was said to be."""
    for name in ("password", "token"):
        variable, file = getattr(arguments, f"{name}_env"), getattr(arguments, f"{name}_file")
        if variable is not None:
            return {name: _of_environment(name, variable)}
        if file is not None:
            return {name: _of_file(name, file)}
        if getattr(arguments, f"{name}_prompt"):
            return {name: _asked_for(name, options)}
    return {"password": _asked_for("password", options)} if arguments.auth else {}


def _of_environment(name: str, variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise invalid(f"the environment variable {variable} with the {name} is not set, or empty")
    return value


def _of_file(name: str, file: str) -> str:
    try:
        text = sys.stdin.readline(LONGEST_SECRET) if file == "-" else _first_line(Path(file))
    except (OSError, ValueError) as error:
        raise invalid(f"cannot read the {name} from {file}: {reason(error)}") from None
    secret = text.rstrip("\r\n")
    if not secret:
        raise invalid(f"the first line of {'standard input' if file == '-' else file} is empty: it must be the {name}")
    return secret


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        return lines.readline(LONGEST_SECRET)


def _asked_for(name: str, options: ConnectOptions) -> str:
    if not sys.stdin.isatty():
        raise invalid(f"there is no terminal to ask for the {name} at: give --{name}-env or --{name}-file")
    secret = getpass.getpass(f"{name.capitalize()} of {options.username}: ")
    if not secret:
        raise invalid(f"no {name} was given")
    return secret


def make_context(ca: Path | None) -> ssl.SSLContext | None:
    """A verifying context that trusts the roots in the file and no other; None: the adapter's default.

    Raises `ConnectFailed` (INVALID_ARGUMENT).
    """
    if ca is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
    except OSError as error:  # ssl.SSLError is one too
        why = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else reason(error)
        raise invalid(f"cannot read the roots to trust from {ca}: {why}") from None


def reason(error: Exception) -> str:
    """What the system has against a file."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
