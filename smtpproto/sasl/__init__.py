"""SASL: one room a mechanism, both sides of each.  RFC 4422; its use in SMTP is RFC 4954.

How an exchange is run is told in `smtpproto.sasl.base`.
"""

from __future__ import annotations

from .anonymous import (
    AnonymousClient,
    AnonymousServer,
)
from .base import (
    ERROR_LENGTH,
    AuthenticationRefused,
    Challenge,
    ClientExchange,
    ClientMechanism,
    Credentials,
    Identity,
    MechanismError,
    SaslError,
    ServerAnswer,
    ServerExchange,
    ServerMechanism,
    ServerNotAuthentic,
    ServerStep,
    error_of,
)
from .choice import (
    CLIENT_MECHANISMS,
    NO_BINDINGS,
    SERVER_MECHANISMS,
    Bindable,
    Choice,
    ClientFactory,
    ServerFactory,
    bound,
    choose,
)
from .cram_md5 import (
    CramMd5Client,
    CramMd5Server,
)
from .credential import (
    ScramCredential,
)
from .external import (
    ExternalClient,
    ExternalServer,
)
from .login import (
    LoginClient,
    LoginServer,
)
from .oauthbearer import (
    OAuthBearerClient,
    OAuthBearerServer,
)
from .plain import (
    PlainClient,
    PlainServer,
)
from .prep import (
    Prohibited,
    saslprep,
)
from .questions import (
    Authorize,
    FindCredential,
    FindPassword,
    Question,
    Verify,
    VerifyAnonymous,
    VerifyExternal,
    VerifyToken,
)
from .registry import (
    MECHANISMS,
    Description,
    usable,
)
from .scram import (
    ScramClient,
    ScramServer,
)
from .xoauth2 import (
    XOAuth2Client,
    XOAuth2Server,
)

__all__ = [
    "CLIENT_MECHANISMS",
    "ERROR_LENGTH",
    "MECHANISMS",
    "NO_BINDINGS",
    "SERVER_MECHANISMS",
    "AnonymousClient",
    "AnonymousServer",
    "AuthenticationRefused",
    "Authorize",
    "Bindable",
    "Challenge",
    "Choice",
    "ClientExchange",
    "ClientFactory",
    "ClientMechanism",
    "CramMd5Client",
    "CramMd5Server",
    "Credentials",
    "Description",
    "ExternalClient",
    "ExternalServer",
    "FindCredential",
    "FindPassword",
    "Identity",
    "LoginClient",
    "LoginServer",
    "MechanismError",
    "OAuthBearerClient",
    "OAuthBearerServer",
    "PlainClient",
    "PlainServer",
    "Prohibited",
    "Question",
    "SaslError",
    "ScramClient",
    "ScramCredential",
    "ScramServer",
    "ServerAnswer",
    "ServerExchange",
    "ServerFactory",
    "ServerMechanism",
    "ServerNotAuthentic",
    "ServerStep",
    "Verify",
    "VerifyAnonymous",
    "VerifyExternal",
    "VerifyToken",
    "XOAuth2Client",
    "XOAuth2Server",
    "bound",
    "choose",
    "error_of",
    "saslprep",
    "usable",
]
