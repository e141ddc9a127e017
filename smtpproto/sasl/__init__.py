"""SASL: one room a mechanism, both sides of each.  RFC 4422; its use in SMTP is RFC 4954.

How an exchange is run is told in `smtpproto.sasl.base`.
"""

from __future__ import annotations

from .base import (
    CLIENT_MECHANISMS,
    SERVER_MECHANISMS,
    AuthenticationRefused,
    Challenge,
    Choice,
    ClientExchange,
    ClientFactory,
    ClientMechanism,
    Credentials,
    Identity,
    MechanismError,
    SaslError,
    ServerAnswer,
    ServerExchange,
    ServerFactory,
    ServerMechanism,
    ServerNotAuthentic,
    ServerStep,
    Verify,
    choose,
    error_of,
)
from .login import LoginClient, LoginServer
from .plain import PlainClient, PlainServer
from .xoauth2 import XOAuth2Client

# A token comes first: it is good for less, and for less long, than a password.
CLIENT_MECHANISMS["XOAUTH2"] = XOAuth2Client.suiting
CLIENT_MECHANISMS["PLAIN"] = PlainClient.suiting
CLIENT_MECHANISMS["LOGIN"] = LoginClient.suiting

SERVER_MECHANISMS["PLAIN"] = PlainServer
SERVER_MECHANISMS["LOGIN"] = LoginServer

__all__ = [
    "CLIENT_MECHANISMS",
    "SERVER_MECHANISMS",
    "AuthenticationRefused",
    "Challenge",
    "Choice",
    "ClientExchange",
    "ClientFactory",
    "ClientMechanism",
    "Credentials",
    "Identity",
    "LoginClient",
    "LoginServer",
    "MechanismError",
    "PlainClient",
    "PlainServer",
    "SaslError",
    "ServerAnswer",
    "ServerExchange",
    "ServerFactory",
    "ServerMechanism",
    "ServerNotAuthentic",
    "ServerStep",
    "Verify",
    "XOAuth2Client",
    "choose",
    "error_of",
]
