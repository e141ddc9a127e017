"""What to do about it, where something went wrong and an option, or a look at something, is the answer."""

from __future__ import annotations

from typing import Final

from smtpproto import AuthNeeded, AuthReason, ConnectOptions, ErrorCode

from .statuses import Status
from .trace import Outcome

OF_CODE: Final = {
    ErrorCode.CERTIFICATE_NOT_TRUSTED: "--ca FILE says whom to trust instead of the system's authorities",
    ErrorCode.WRONG_HOST_NAME: "--host-name NAME says for whom it has to be",
    ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN: "see --security and --allow-plaintext-auth",
    ErrorCode.SERVER_NOT_AUTHENTIC: "it may be another server than it says: do not try a weaker mechanism with it",
}

OF_SCRAM: Final = {
    "channel-bindings-dont-match": "something between the server and us has ended the TLS, or the server has several "
    "certificates: find out which before you do without the binding (--mechanism SCRAM-SHA-256)",
    "server-does-support-channel-binding": "something between the server and us has taken the -PLUS out of its offer: "
    "do not log in over this network",
}
"""Errors that say more than that the credentials are wrong.  RFC 5802 section 7."""

FOR_PASSWORDS: Final = "check the user name and the password; some servers want one that is made for programs"
FOR_TOKENS: Final = "get another token: they expire, and are good for what they were asked for (scope)"
FOR_CERTIFICATES: Final = "the server takes nobody for this: see --cert and --authorization-id"


def hint(outcome: Outcome, options: ConnectOptions | None, refusal: AuthNeeded | None) -> str | None:
    """What to do; None where there is nothing to say.  ``refusal``: the last one that wanted something else first."""
    if outcome.code == ErrorCode.AUTHENTICATION_REFUSED:
        return OF_SCRAM.get(outcome.error or "") or _other_credentials(options)
    if outcome.code == Status.REFUSED and refusal is not None:
        return _first(refusal)
    return next((what for code, what in OF_CODE.items() if code == outcome.code), None)


def _other_credentials(options: ConnectOptions | None) -> str | None:
    if options is None:
        return None
    if options.token is not None:
        return FOR_TOKENS
    if options.password is not None:
        return FOR_PASSWORDS
    return FOR_CERTIFICATES if "EXTERNAL" in (options.mechanisms or ()) else None


def _first(refusal: AuthNeeded) -> str:
    if refusal.why is AuthReason.TLS_REQUIRED:
        return "--security required asks for it"
    usable = ", ".join(refusal.usable)
    return f"--auth authenticates, by {usable}" if usable else "it offers nothing to use in plaintext; see --security"
