"""Every mechanism that there is here, the strongest first, and what is to be known of each."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from smtpproto.values import Value, set_field

from .anonymous import AnonymousClient, AnonymousServer
from .choice import CLIENT_MECHANISMS, SERVER_MECHANISMS, ClientFactory, ServerFactory
from .cram_md5 import CramMd5Client, CramMd5Server
from .external import ExternalClient, ExternalServer
from .login import LoginClient, LoginServer
from .oauthbearer import OAuthBearerClient, OAuthBearerServer
from .plain import PlainClient, PlainServer
from .scram import ScramClient, ScramServer
from .xoauth2 import XOAuth2Client, XOAuth2Server


class Description(Value):
    """What is to be known of a mechanism before one is made."""

    __slots__ = ("name", "source", "client", "server", "exposes_secret", "has_secret", "binds_channel")
    __match_args__ = ("name", "source", "client", "server", "exposes_secret", "has_secret", "binds_channel")

    name: str
    source: str
    """The document that specifies it, as ``"RFC 4616"``."""
    client: ClientFactory
    server: ServerFactory
    exposes_secret: bool
    """It is only for TLS, unless the program allows more."""
    has_secret: bool
    """What the client sends depends on a password or a token."""
    binds_channel: bool
    """It is bound to the TLS channel."""

    def __init__(
        self,
        name: str,
        source: str,
        client: ClientFactory,
        server: ServerFactory,
        *,
        exposes_secret: bool = False,
        has_secret: bool = True,
        binds_channel: bool = False,
    ) -> None:
        set_field(self, "name", name)
        set_field(self, "source", source)
        set_field(self, "client", client)
        set_field(self, "server", server)
        set_field(self, "exposes_secret", exposes_secret)
        set_field(self, "has_secret", has_secret)
        set_field(self, "binds_channel", binds_channel)


def _scram(hash_name: str, source: str, *, plus: bool) -> Description:
    name = f"SCRAM-{hash_name}-PLUS" if plus else f"SCRAM-{hash_name}"
    return Description(
        name, source, partial(ScramClient.suiting, name=name), partial(ScramServer, name), binds_channel=plus
    )


_SCRAM: Final = (
    ("SHA-512", "RFC 5802 with SHA-512"),
    ("SHA-256", "RFC 7677"),
    ("SHA-1", "RFC 5802"),
)

# First what is bound to the channel; then what proves the server too; then what others than the user vouch for, or is
# good for less, and for less long, than a password (a token); then what does not say the password, and then what does.
MECHANISMS: Final = (
    *(_scram(*each, plus=True) for each in _SCRAM),
    *(_scram(*each, plus=False) for each in _SCRAM),
    Description("EXTERNAL", "RFC 4422 appendix A", ExternalClient.suiting, ExternalServer, has_secret=False),
    Description("OAUTHBEARER", "RFC 7628", OAuthBearerClient.suiting, OAuthBearerServer, exposes_secret=True),
    Description("XOAUTH2", "of Google", XOAuth2Client.suiting, XOAuth2Server, exposes_secret=True),
    Description("CRAM-MD5", "RFC 2195", CramMd5Client.suiting, CramMd5Server),
    Description("PLAIN", "RFC 4616", PlainClient.suiting, PlainServer, exposes_secret=True),
    Description("LOGIN", "draft-murchison-sasl-login", LoginClient.suiting, LoginServer, exposes_secret=True),
    Description("ANONYMOUS", "RFC 4505", AnonymousClient.suiting, AnonymousServer, has_secret=False),
)
"""The strongest first.  ANONYMOUS is used only where it is named."""

_EXPOSING: Final = frozenset(each.name for each in MECHANISMS if each.exposes_secret)

for _each in MECHANISMS:
    CLIENT_MECHANISMS[_each.name] = _each.client
    SERVER_MECHANISMS[_each.name] = _each.server


def usable(offered: Iterable[str], *, secure: bool) -> tuple[str, ...]:
    """The names of those mechanisms that are known here, the best first, whatever the credentials.

    Without TLS (``secure=False``) those that expose the secret are left out.
    """
    offers = {name.upper() for name in offered}
    return tuple(name for name in CLIENT_MECHANISMS if name in offers and (secure or name not in _EXPOSING))
