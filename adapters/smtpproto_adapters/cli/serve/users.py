"""Who may authenticate at `smtpproto serve`: the files with users and tokens, and the `ServerAuth` that they make.

A file has one user a line, ``name:password``, or in place of the password what is kept of it for SCRAM, as `smtpproto
hash-password` prints it.  A user may have several of the latter, one for each hash function.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from smtpproto import LocalProtocolError, ScramCredential, ServerAuth
from smtpproto.sasl import MECHANISMS, Prohibited, saslprep
from smtpproto.server_auth import FAILURE_DELAY
from smtpproto_adapters.cli.parser import Group, invalid, option_of, reason

LONGEST_FILE: Final = 1_048_576
"""Characters that are read of it."""

Secret: TypeAlias = str | list[ScramCredential]

NAMES: Final = tuple(each.name for each in MECHANISMS)
_BINDING: Final = frozenset(each.name for each in MECHANISMS if each.binds_channel)
_OF_TOKENS: Final = frozenset({"OAUTHBEARER", "XOAUTH2"})
_BY_PASSWORD: Final = ("PLAIN", "LOGIN")
_WITHOUT_SECRET: Final = frozenset(each.name for each in MECHANISMS if not each.has_secret)


class Users(NamedTuple):
    """What is known of them."""

    secrets: dict[str, Secret]
    """User name -> password, or what is kept of it."""
    tokens: dict[str, str]
    """Token -> user name."""

    @property
    def hidden(self) -> Iterator[str]:
        """What must not be shown."""
        yield from self.tokens
        yield from (each for each in self.secrets.values() if isinstance(each, str))


class _Refuse(argparse.Action):
    """An option that is there for being refused, without repeating what was given."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(
            "a password does not belong on the command line, where others can read it: give the users in a file with "
            "--users, where - is standard input"
        )


def add_users(group: Group) -> None:
    """Who may authenticate, and how."""
    group.add_argument(
        "--users",
        metavar="FILE",
        help="who may authenticate: NAME:PASSWORD a line, or what `smtpproto hash-password` prints; - is standard "
        "input; without TLS on loopback alone",
    )
    group.add_argument("--user", action=_Refuse, help=argparse.SUPPRESS)
    group.add_argument("--tokens", metavar="FILE", help="OAuth 2.0 access tokens, TOKEN NAME a line; - as above")
    group.add_argument(
        "--mechanism",
        dest="mechanisms",
        action="append",
        type=str.upper,
        choices=NAMES,
        metavar="NAME",
        help="SASL mechanism to offer (repeatable; default: what suits the users)",
    )
    group.add_argument("--require-auth", action="store_true", help="no mail without authentication")


def read_users(arguments: argparse.Namespace) -> Users:
    """What the files say.  Raises `ConnectFailed` (INVALID_ARGUMENT)."""
    if arguments.users == arguments.tokens == "-":
        raise invalid("standard input cannot be both the users and the tokens")
    secrets: dict[str, Secret] = {}
    for number, line in _lines("users", arguments.users):
        name, secret = _user(line, f"line {number} of {arguments.users}")
        _add(secrets, name, secret, arguments.users)
    tokens: dict[str, str] = {}
    for number, line in _lines("tokens", arguments.tokens):
        token, _, name = line.partition(" ")
        if not token or not name.strip() or token in tokens:
            raise invalid(f"line {number} of {arguments.tokens} is not TOKEN NAME, or repeats a token")
        tokens[token] = name.strip()
    return Users(secrets, tokens)


def _lines(what: str, file: str | None) -> Iterable[tuple[int, str]]:
    """Those that are not empty, with their numbers."""
    if file is None:
        return ()
    try:
        if file == "-":
            text = sys.stdin.read(LONGEST_FILE)
        else:
            with Path(file).open(encoding="utf-8") as stream:
                text = stream.read(LONGEST_FILE)
    except (OSError, ValueError) as error:
        raise invalid(f"cannot read the {what} from {file}: {reason(error)}") from None
    found = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not found:
        raise invalid(f"{file} names no user")
    return found


def _user(line: str, where: str) -> tuple[str, str | ScramCredential]:
    name, _, secret = line.removesuffix("\r").partition(":")
    if not name or not secret:
        raise invalid(f"{where} is not NAME:PASSWORD")
    with suppress(Prohibited):
        name = saslprep(name, stored=True)  # as it is compared
    if not secret.startswith("SCRAM-"):
        return name, secret
    try:
        return name, ScramCredential.parse(secret)
    except LocalProtocolError:
        raise invalid(f"{where} begins like a stored key, and is none: `smtpproto hash-password` makes them") from None


def _add(secrets: dict[str, Secret], name: str, secret: str | ScramCredential, file: str) -> None:
    before = secrets.get(name)
    if before is None:
        secrets[name] = secret if isinstance(secret, str) else [secret]
    elif isinstance(before, str) or isinstance(secret, str) or secret.hash in {each.hash for each in before}:
        raise invalid(f"{file} has {name} more than once")
    else:
        before.append(secret)


def owner_of(certificate: Mapping[str, Any] | None) -> str | None:
    """The name in a certificate, as `ssl` gives it: the first mail address, else the common name; None: there is none.

    `ssl` gives none that was not verified.
    """
    found = certificate or {}
    addresses = [str(value) for kind, value in found.get("subjectAltName", ()) if kind == "email"]
    fields = [field for relative in found.get("subject", ()) for field in relative]
    names = [str(value) for wanted in ("emailAddress", "commonName") for key, value in fields if key == wanted]
    return next(iter(addresses + names), None)


def make_auth(arguments: argparse.Namespace, users: Users, *, loopback: bool) -> ServerAuth | None:
    """How clients authenticate; None: they cannot.  Raises `ConnectFailed` (INVALID_ARGUMENT)."""
    secure, names = arguments.tls is not None, arguments.mechanisms
    if not (users.secrets or users.tokens or names or arguments.client_ca):
        if arguments.require_auth:
            raise invalid("--require-auth needs somebody who can authenticate: give --users, --tokens or --client-ca")
        return None
    if (users.secrets or users.tokens) and not secure and not loopback:
        raise invalid("passwords without TLS are for loopback alone: give --tls")
    for name in names or ():
        _check(name, users, secure=secure, certificates=arguments.client_ca is not None)
    for option, found, suits in (
        ("users", users.secrets, _takes_passwords),
        ("tokens", users.tokens, _OF_TOKENS.__contains__),
        ("client_ca", arguments.client_ca, "EXTERNAL".__eq__),
    ):
        if found and names and not any(map(suits, names)):
            raise invalid(f"{option_of(option)} is of no use with {' and '.join(names)} alone")
    if arguments.client_ca is not None and names is None:
        names = [*_usual(users), "EXTERNAL"]
    return ServerAuth(
        users.secrets or None,
        tokens=users.tokens or None,
        mechanisms=names,
        required=arguments.require_auth,
        allow_plaintext=not secure,
        # Whoever guesses on this machine is its user, and whoever tests would only wait.
        failure_delay=0.0 if loopback else FAILURE_DELAY,
    )


def _usual(users: Users) -> list[str]:
    """What is offered for these users where nothing else is said."""
    if not users.secrets and not users.tokens:
        return []
    usual = ServerAuth(users.secrets or None, tokens=users.tokens or None)
    return [each.name for each in usual.mechanisms]


def _takes_passwords(name: str) -> bool:
    return name not in _OF_TOKENS and name not in _WITHOUT_SECRET


def _check(name: str, users: Users, *, secure: bool, certificates: bool) -> None:
    """Somebody could use it."""
    if name == "EXTERNAL" and not certificates:
        raise invalid("EXTERNAL needs certificates of clients: give --client-ca too")
    if name in _BINDING and not secure:
        raise invalid(f"{name} is bound to the TLS channel: give --tls too")
    if name in _OF_TOKENS and not users.tokens:
        raise invalid(f"{name} needs tokens: give --tokens too")
    if _takes_passwords(name) and not users.secrets:
        raise invalid(f"{name} needs users: give --users too")
    if _takes_passwords(name) and not any(name in _possible(each) for each in users.secrets.values()):
        raise invalid(f"{name} is of no use: what is kept of the users' passwords does not suit it")


def _possible(secret: Secret) -> frozenset[str]:
    """The mechanisms by which a user can authenticate."""
    if isinstance(secret, str):
        return frozenset(filter(_takes_passwords, NAMES))
    plain = {f"SCRAM-{each.hash}" for each in secret}
    return frozenset({*plain, *(f"{name}-PLUS" for name in plain), *_BY_PASSWORD})
