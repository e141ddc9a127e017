"""As whom a client's command authenticates, and how: the arguments, and what they come to."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from smtpproto import ConnectOptions, Credentials, LocalProtocolError, Target
from smtpproto.sasl import MECHANISMS, AnonymousClient

from .parser import Group, invalid, option_of
from .secrets_given import SOURCES, WHAT, add_secrets, secret, source_given

NAMES: Final = tuple(each.name for each in MECHANISMS)
"""The strongest first."""
_DESCRIPTIONS: Final = {each.name: each for each in MECHANISMS}
_OF_TOKENS: Final = frozenset({"OAUTHBEARER", "XOAUTH2"})


def listed(names: Iterable[str]) -> str:
    """For the end of a help text."""
    return textwrap.fill(
        " ".join(names), 78, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )


STAND_IN: Final = "x"
"""In place of a secret, for looking at all else before anybody is asked for it."""

_BESIDES: Final = {"token": "beside a token", None: "by EXTERNAL"}

_FOR_AUTHENTICATION: Final = (
    *(f"{name}_{source}" for name in WHAT for source in SOURCES),
    "mechanism",
    "no_initial_response",
    "allow_plaintext_auth",
    "authorization_id",
)


def add_authentication(group: Group) -> None:
    """As whom."""
    group.add_argument("--auth", action="store_true", help="authenticate; asks for the password where none is given")
    group.add_argument(
        "--username",
        metavar="NAME",
        help="authentication identity; with ANONYMOUS the trace, with EXTERNAL whom to act as",
    )
    add_secrets(group, *WHAT)
    group.add_argument("--authorization-id", metavar="NAME", help="identity to act as, if not the user's own")
    group.add_argument(
        "--mechanism",
        action="append",
        type=str.upper,
        choices=NAMES,
        metavar="NAME",
        help="SASL mechanism to use; repeated: in this order (default: the strongest that both sides have)",
    )
    group.add_argument(
        "--no-initial-response", action="store_true", help="send nothing with the AUTH command, until the server asks"
    )
    group.add_argument(
        "--allow-plaintext-auth", action="store_true", help="let the password or token travel without TLS"
    )
    group.add_argument(
        "--cert", type=Path, metavar="FILE", help="PEM file of a certificate to show under TLS, as EXTERNAL goes by it"
    )
    group.add_argument("--key", type=Path, metavar="FILE", help="PEM file of its key, if it is in another")


def kind_of_secret(arguments: argparse.Namespace, options: ConnectOptions) -> str | None:
    """The kind of secret that is needed: the name of its field in `ConnectOptions`; None where none is.

    Nobody is asked for it yet.  Raises `ConnectFailed` (INVALID_ARGUMENT), also for what would have no effect.
    """
    if not arguments.auth:
        for name in _FOR_AUTHENTICATION:
            if getattr(arguments, name):
                raise invalid(f"{option_of(name)} is for authentication: give --auth too")
        return None
    names: list[str] = arguments.mechanism or []
    kind = _kind(arguments, names)
    if kind == "password" and options.username is None:
        hint = "; EXTERNAL does without (--mechanism)" if arguments.cert is not None else ""
        raise invalid(f"--auth needs a user name: give --username, or USER@ in the URL{hint}")
    if kind is None and arguments.allow_plaintext_auth:
        raise invalid("--allow-plaintext-auth is of no use: there is no secret to travel")
    _check_mechanisms(names, _with(options, kind, STAND_IN), kind)
    if kind != "password" and options.username and options.authorization_id:
        raise invalid(f"one name is all that can be said {_BESIDES[kind]}: leave out --username or --authorization-id")
    return kind


def resolved(options: ConnectOptions, kind: str | None) -> Target:
    """What the options come to, before the secret is there."""
    return _with(options, kind, STAND_IN).resolve()


def with_secret(arguments: argparse.Namespace, options: ConnectOptions, kind: str | None) -> ConnectOptions:
    """The options with the secret, which may have to be asked for.  Raises `ConnectFailed` (INVALID_ARGUMENT)."""
    if kind is None:
        return options
    found = _with(options, kind, secret(arguments, kind, options.username))
    _check_mechanisms(arguments.mechanism or [], found, kind)
    return found


def _with(options: ConnectOptions, kind: str | None, value: str) -> ConnectOptions:
    return options if kind is None else options.replace(**{kind: value})


def _kind(arguments: argparse.Namespace, names: list[str]) -> str | None:
    kinds = [_kind_of(name) for name in names]
    given = source_given(arguments)
    if given is None:
        return next(filter(None, kinds), None) if names else "password"
    kind, option = given
    if names and not any(kinds):
        raise invalid(f"{option} is of no use: no {kind} goes with {' or '.join(names)}")
    return kind


def _kind_of(name: str) -> str | None:
    if not _DESCRIPTIONS[name].has_secret:
        return None
    return "token" if name in _OF_TOKENS else "password"


def _check_mechanisms(names: list[str], options: ConnectOptions, kind: str | None) -> None:
    """Each that is named can be used with what is given."""
    try:
        given = options.credentials or Credentials()
        for name in names:
            if _DESCRIPTIONS[name].client(given) is None:
                raise invalid(_why_not(name, given, kind))
    except LocalProtocolError as error:
        raise invalid(str(error)) from None


def _why_not(name: str, given: Credentials, kind: str | None) -> str:
    """What such a mechanism has against the credentials."""
    needed = _kind_of(name)
    if needed is None and kind is not None:
        return f"{name} does without a {kind}: give it alone, or leave it out"
    if needed != kind:
        return f"{name} needs a {needed}: give --{needed}-env or --{needed}-file, or leave it out"
    if needed and not given.username:
        return f"{name} needs a user name: give --username, or USER@ in the URL"
    if name == "ANONYMOUS":
        if not given.authorization_id:
            AnonymousClient(given.username)  # which says what is wrong with the trace
        return "ANONYMOUS acts as nobody: leave out --authorization-id"
    if given.authorization_id and not name.startswith("SCRAM-"):
        return f"{name} has no place for --authorization-id: leave out one of them"
    return f"{name} cannot take this user name or password: SASLprep (RFC 4013) does not allow it"
