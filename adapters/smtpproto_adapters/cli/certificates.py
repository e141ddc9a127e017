"""Certificates for the commands: whom to trust, which one to show, and one that is made now."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from smtpproto import ConnectFailed

from .parser import invalid, reason
from .secrets_given import at_terminal

_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")


def client_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """A verifying context, which trusts the roots in the file and no other, and shows the certificate.

    None: there is nothing to it, and the adapter's default does.  Raises `ConnectFailed` (INVALID_ARGUMENT).
    """
    if ca is None and certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one too
        raise _untrusted(ca, error) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        load(context, certificate, key)
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Let the context show the certificate.  Raises `ConnectFailed` (INVALID_ARGUMENT).

    A key that is encrypted has its pass phrase asked for at the terminal.
    """
    for what, file in (("certificate", certificate), ("key", key)):
        try:
            if file is not None:
                file.open("rb").close()
        except (OSError, ValueError) as error:
            raise invalid(f"cannot read the {what} from {file}: {reason(error)}") from None
    try:
        context.load_cert_chain(certificate, key, lambda: _pass_phrase(key or certificate))
    except OSError:  # as ssl.SSLError is
        where = "" if key is None else f" in {key}"
        raise invalid(f"{certificate} holds no certificate in PEM that goes with a key{where}") from None


def accept_clients(context: ssl.SSLContext, ca: Path) -> None:
    """Let a server's context ask for certificates that hang on the roots in the file.

    A client may go without.  Raises `ConnectFailed` (INVALID_ARGUMENT).
    """
    context.verify_mode = ssl.CERT_OPTIONAL
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise _untrusted(ca, error) from None


def _untrusted(ca: Path | None, error: OSError) -> ConnectFailed:
    why = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else reason(error)
    return invalid(f"cannot read the roots to trust from {ca}: {why}")


def _pass_phrase(file: Path) -> str:
    phrase = at_terminal(f"Pass phrase of {file}: ")
    if phrase is None:
        raise invalid(f"the key in {file} is encrypted, and there is no terminal to ask for its pass phrase at")
    return phrase


def make(context: ssl.SSLContext, names: tuple[str, ...], ca: Path) -> bytes:
    """Let the context show a certificate for these names and those of this machine, made now; returns it as PEM.

    ``ca``: where to write the one that clients must trust.  Raises `ConnectFailed` (INVALID_ARGUMENT), and ImportError
    where trustme is missing.
    """
    import trustme

    authority = trustme.CA()
    try:
        leaf = authority.issue_cert(*dict.fromkeys((*_LOCAL_NAMES, *filter(None, names))))
        leaf.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    except (ValueError, UnicodeError) as error:
        raise invalid(f"no certificate can be made for {' and '.join(names)}: {error}") from None
    try:
        authority.cert_pem.write_to_path(str(ca))
    except OSError as error:
        raise invalid(f"cannot write the certificate to trust to {ca}: {reason(error)}") from None
    return leaf.cert_chain_pems[0].bytes()
