"""Which mechanism a client uses, and how one is bound to the TLS channel.  RFC 4422 section 3.2, RFC 5801 section 5."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from smtpproto.errors import ErrorCode, LocalProtocolError
from smtpproto.grammar import Pattern
from smtpproto.values import Value, set_field

from .base import ClientMechanism, Credentials, ServerMechanism

if TYPE_CHECKING:
    from typing import Self

_T = TypeVar("_T")

MECHANISM_NAME: Final = Pattern(r"[A-Z0-9_-]{1,20}")
"""RFC 4422 section 3.1: ``sasl-mech = 1*20mech-char``, ``mech-char = UPPER-ALPHA / DIGIT / HYPHEN / UNDERSCORE``."""

_BINDING_NAME: Final = Pattern(r"[A-Za-z0-9.-]+")
"""RFC 5802 section 7: ``cb-name = 1*(ALPHA / DIGIT / "." / "-")``."""

NO_BINDINGS: Final[Mapping[str, bytes]] = MappingProxyType({})
"""The channel bindings of a connection that has none."""

_NAMES_SHOWN = 20


@runtime_checkable
class Bindable(Protocol):
    """What a mechanism has, on either side, that can be bound to the TLS channel, or says that it could be."""

    def bound(self, bindings: Mapping[str, bytes], offered: Collection[str]) -> Self | None:
        """The mechanism for one connection; ``None`` where it needs a channel binding, and there is none.

        ``bindings``: those of the connection by name, such as ``"tls-exporter"`` (RFC 9266) and
        ``"tls-server-end-point"`` (RFC 5929), the one to be preferred first.  ``offered``: the mechanisms that the
        server offers on it.
        """
        ...


ClientFactory: TypeAlias = Callable[[Credentials], ClientMechanism | None]
"""Makes a mechanism, or returns ``None`` where the credentials are not of its kind."""
ServerFactory: TypeAlias = Callable[[], ServerMechanism]
"""Makes a mechanism."""

# The mechanisms import this room, so the package, which knows them all, fills these two.
CLIENT_MECHANISMS: dict[str, ClientFactory] = {}
"""Every mechanism that a client has, the one to be preferred first."""
SERVER_MECHANISMS: dict[str, ServerFactory] = {}
"""Every mechanism that a server has, in the order in which it offers them."""

ONLY_BY_NAME: Final = frozenset({"ANONYMOUS"})
"""What no client falls back to: who has a name does not want to be nobody."""


class Choice(Value):
    """What `choose` found."""

    __slots__ = ("candidates", "why", "message")
    __match_args__ = ("candidates", "why", "message")

    candidates: tuple[ClientMechanism, ...]
    """In the order in which to try them."""
    why: ErrorCode
    """SUCCESS where there are candidates; else AUTHENTICATION_NOT_OFFERED, NO_COMMON_MECHANISM or
    PLAINTEXT_AUTHENTICATION_FORBIDDEN."""
    message: str
    """The same as a sentence, for people; empty where there are candidates."""

    def __init__(self, candidates: tuple[ClientMechanism, ...], why: ErrorCode, message: str = "") -> None:
        set_field(self, "candidates", candidates)
        set_field(self, "why", why)
        set_field(self, "message", message)


def choose(
    offered: Iterable[str],
    credentials: Credentials | None,
    *,
    secure: bool,
    allow_plaintext: bool,
    wants_tls: bool = False,
    mechanisms: Sequence[str | ClientMechanism] | None = None,
    bindings: Mapping[str, bytes] = NO_BINDINGS,
) -> Choice:
    """The mechanisms that the server offers, the credentials suit and the connection allows, best first.

    ``offered`` is what the EHLO reply named; ``secure``: TLS protects the connection.  ``wants_tls``: the program
    wanted it to, so that where it does not, the offer of STARTTLS may have been taken away on the way; then nothing is
    used that depends on a secret at all.  ``mechanisms`` narrows and orders: names of `CLIENT_MECHANISMS`, or
    mechanisms of the program's own, which need no ``credentials``.  ``bindings``: the channel bindings that the
    connection has.  Raises `LocalProtocolError` for a name that is not known.
    """
    wanted = _wanted(credentials, mechanisms)
    offers = list(dict.fromkeys(name.upper() for name in offered))
    if not offers:
        hint = "" if secure else "; many do only under TLS"
        return Choice((), ErrorCode.AUTHENTICATION_NOT_OFFERED, f"the server offers no authentication{hint}")
    common = _common(wanted, offers, bindings)
    if not common:
        return Choice((), ErrorCode.NO_COMMON_MECHANISM, _nothing_in_common(wanted, offers, bindings))
    allowed = [each for each in common.values() if secure or allow_plaintext or not each.exposes_secret]
    if not allowed:
        return Choice(
            (),
            ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN,
            f"{_listed(common)} would expose the secret, because TLS does not protect the connection: use TLS, or "
            "allow authentication in plaintext",
        )
    if wants_tls and not secure and not allow_plaintext:
        allowed = [each for each in allowed if not getattr(each, "has_secret", True)]
    if not allowed:
        return Choice(
            (),
            ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN,
            "TLS was wanted and the server does not offer it, or something between us and it has taken the offer away: "
            "nothing that depends on the secret is sent.  Use a server that has TLS, or say that there shall be none",
        )
    return Choice(tuple(allowed), ErrorCode.SUCCESS)


def _common(
    wanted: Mapping[str, ClientMechanism], offers: Collection[str], bindings: Mapping[str, bytes]
) -> dict[str, ClientMechanism]:
    """Those that the server offers too, each for this connection."""
    common: dict[str, ClientMechanism] = {}
    for name, mechanism in wanted.items():
        usable = bound(mechanism, bindings, offers) if name in offers else None
        if usable is not None:
            common[name] = usable
    return common


def _nothing_in_common(
    wanted: Mapping[str, ClientMechanism], offers: Collection[str], bindings: Mapping[str, bytes]
) -> str:
    fit = [name for name, mechanism in wanted.items() if bound(mechanism, bindings, offers) is not None]
    unbound = _listed(name for name in wanted if name in offers)
    mine = _listed(fit) or ("none" if unbound else "none: the credentials suit none, or are missing")
    hint = f"; {unbound} needs a channel binding, which this connection has not" if unbound else ""
    return (
        f"no mechanism is common to both sides: the server offers {_listed(offers) or 'none that is valid'}, the "
        f"client can use {mine}{hint}"
    )


def bound(mechanism: _T, bindings: Mapping[str, bytes], offered: Collection[str]) -> _T | None:
    """The mechanism of a client or a server for one connection; ``None``: it cannot be used there.  See `Bindable`.

    Raises `LocalProtocolError` for a binding that binds nothing, or whose name is none.
    """
    if not isinstance(mechanism, Bindable):
        return mechanism
    for name, data in bindings.items():
        if not _BINDING_NAME.fullmatch(name) or not data:
            raise LocalProtocolError(f"the channel binding {name!r} is empty, or has a name that cannot be one")
    return mechanism.bound(bindings, offered)


def _wanted(
    credentials: Credentials | None, mechanisms: Sequence[str | ClientMechanism] | None
) -> dict[str, ClientMechanism]:
    if isinstance(mechanisms, str):
        raise LocalProtocolError("mechanisms is a str: give a list of names")
    if mechanisms is None:
        mechanisms = [] if credentials is None else [each for each in CLIENT_MECHANISMS if each not in ONLY_BY_NAME]
    wanted: dict[str, ClientMechanism] = {}
    for entry in mechanisms:
        mechanism = _made(entry, credentials) if isinstance(entry, str) else _checked(entry)
        if mechanism is not None:
            wanted.setdefault(mechanism.name.upper(), mechanism)
    return wanted


def _made(name: str, credentials: Credentials | None) -> ClientMechanism | None:
    factory = CLIENT_MECHANISMS.get(name.upper())
    if factory is None:
        raise LocalProtocolError(f"no mechanism is named {name!r}: there are {_listed(CLIENT_MECHANISMS)}")
    return factory(Credentials() if credentials is None else credentials)


def _checked(mechanism: ClientMechanism) -> ClientMechanism:
    if not isinstance(getattr(mechanism, "name", None), str) or not hasattr(mechanism, "exchange"):
        raise LocalProtocolError(
            f"mechanisms has a {type(mechanism).__name__}: it must be a name, or a mechanism with name and exchange()"
        )
    return mechanism


def _listed(names: Iterable[str]) -> str:
    """For a sentence: what a server offers may be anything, and any amount of it."""
    return ", ".join([name for name in names if MECHANISM_NAME.fullmatch(name)][:_NAMES_SHOWN])
