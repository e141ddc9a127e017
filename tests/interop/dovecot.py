"""Dovecot as an LMTP server that delivers into maildirs, and as a submission server that hands on to another server."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.interop.postfix import MECHANISMS as WITH_PASSWORD
from tests.interop.postfix import accepts, check_dovecot, output_of
from tests.interop.servers import (
    DOMAIN,
    LARGE_SIZE,
    MAILBOXES,
    UNI,
    USER,
    Daemon,
    MailServer,
    find_program,
    greets_with,
    held_ports,
    open_folder,
    running,
    server_missing,
    write_certificates,
)
from tests.interop.tokens import web_token

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

PACKAGES = "dovecot-core dovecot-lmtpd dovecot-submissiond"

MECHANISMS = (*WITH_PASSWORD, "OAUTHBEARER", "XOAUTH2", "EXTERNAL")

FULL = "full"
FULL_OCTETS = 2000
"""The local part of a mailbox that holds no more than so much: it is accepted as a recipient, and refused at the end.
"""

OAUTH2_CONF = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={folder}/keys/
username_attribute = sub
scope = mail
openid_configuration_url = https://id.example.test/.well-known/openid-configuration
"""

CONF = """\
base_dir = {folder}/run
state_dir = {folder}/state
instance_name = {folder}
log_path = {folder}/log
auth_verbose = yes
protocols = lmtp submission
listen = 127.0.0.1
hostname = mail.example.test
login_greeting = Dovecot {token}
ssl = yes
ssl_cert = <{folder}/server.pem
ssl_key = <{folder}/server.key
disable_plaintext_auth = yes
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
# Whoever has a certificate of ours is asked for it; who it says he is, EXTERNAL believes.
ssl_ca = <{folder}/ca.pem
ssl_require_crl = no
ssl_verify_client_cert = yes
auth_ssl_username_from_cert = yes
mail_location = maildir:{folder}/mail/%n
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {folder}/oauth2.conf
}}
passdb {{
  driver = static
  mechanisms = external
  args = nopassword=y
}}
passdb {{
  driver = passwd-file
  mechanisms = {with_password}
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
service lmtp {{
  unix_listener lmtp.sock {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {lmtp}
  }}
  inet_listener lmtps {{
    port = {lmtps}
    ssl = yes
  }}
}}
service submission-login {{
  inet_listener submission {{
    port = {submission}
  }}
  inet_listener submissions {{
    port = {submissions}
    ssl = yes
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@{domain}
  mail_plugins = quota
}}
plugin {{
  quota = maildir:User quota
}}
submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
submission_max_mail_size = {large_size}
# Before somebody has logged in it has not asked the server behind it.
submission_backend_capabilities = 8BITMIME CHUNKING DSN ENHANCEDSTATUSCODES PIPELINING SIZE VRFY
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDovecot(MailServer):
    """Dovecot: what comes by LMTP lands in its own maildirs, what is submitted goes to the server behind it."""

    lmtp: int
    """The port of LMTP, with STARTTLS."""
    lmtps: int
    """The port of LMTP with TLS from the first octet."""
    lmtp_path: Path
    """The unix socket of LMTP."""
    submission: int
    """The port of submission, with STARTTLS and AUTH."""
    submissions: int
    """The port of submission with TLS from the first octet, and AUTH."""
    client_certificate: Path
    """PEM file with key and certificate of a client that EXTERNAL takes for `USER`."""
    token_key: bytes
    """What a token must be signed with."""

    def token(self, login: str, *, expires_in: float = 3600, padding: int = 0) -> str:
        """An OAuth 2.0 access token for the user: a JSON Web Token (RFC 7519), which Dovecot checks by itself.

        ``expires_in``: seconds; ``padding``: octets by which it is longer than it need be.
        """
        return web_token(self.token_key, login, expires_in=expires_in, padding=padding)


@contextmanager
def running_dovecot_mail(relay: int) -> Generator[RunningDovecot]:
    """Start Dovecot for the time of the block; skips the test where it cannot run here.

    ``relay``: the port of the SMTP server on loopback that gets what is submitted. Raises ServerError where Dovecot is
    installed and does not start all the same.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        server_missing(
            "Dovecot delivers only as root, and its fixture needs Linux: run the tests as root in a container"
        )
    dovecot = find_program("dovecot", PACKAGES)
    check_dovecot(dovecot)
    for name in ("lmtp", "submission"):
        find_program(f"/usr/lib/dovecot/{name}", PACKAGES)
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("dovecot"))
        certificates = write_certificates(folder)
        mail = folder / "mail"
        mail.mkdir()
        os.chown(mail, 65534, 65534)
        write_users(folder / "users")
        token_key = secrets.token_bytes(32)
        write_token_key(folder / "keys/default/HS256/default", token_key)
        (folder / "oauth2.conf").write_text(OAUTH2_CONF.format(folder=folder))
        lmtp, lmtps, submission, submissions = stack.enter_context(held_ports(4))
        token = secrets.token_hex(8)
        conf, printed, log = folder / "dovecot.conf", folder / "printed.log", folder / "log"
        conf.write_text(
            CONF.format(
                folder=folder,
                token=token,
                domain=DOMAIN,
                mechanisms=" ".join(MECHANISMS).lower(),
                with_password=" ".join(WITH_PASSWORD).lower(),
                lmtp=lmtp,
                lmtps=lmtps,
                submission=submission,
                submissions=submissions,
                relay=relay,
                large_size=LARGE_SIZE,
            )
        )
        daemon = stack.enter_context(running(Daemon([dovecot, "-F", "-c", str(conf)], printed)))
        path = folder / "run/lmtp.sock"
        daemon.wait_until(
            lambda: accepts(path) and all(greets_with(port, token.encode()) for port in (lmtp, submission)),
            log,
            printed,
        )
        yield RunningDovecot(
            name="dovecot",
            version=output_of(dovecot, "--version").split()[0],
            ca=certificates.ca,
            mail_folder=mail,
            log=log,
            mechanisms=frozenset(MECHANISMS),
            lmtp=lmtp,
            lmtps=lmtps,
            lmtp_path=path,
            submission=submission,
            submissions=submissions,
            client_certificate=certificates.client,
            token_key=token_key,
        )


def write_token_key(file: Path, key: bytes) -> None:
    """Where Dovecot looks for the key of a token that names neither its client nor its key."""
    file.parent.mkdir(parents=True)
    file.write_bytes(base64.b64encode(key))
    file.chmod(0o644)


def write_users(file: Path) -> None:
    """Whoever has a mailbox, with a password for those who have one, and a quota for `FULL`."""
    passwords = {user.login: f"{{PLAIN}}{user.password}" for user in (USER, UNI)}
    lines = [f"{name}@{DOMAIN}:{passwords.get(f'{name}@{DOMAIN}', '')}:65534:65534::::\n" for name in MAILBOXES]
    lines.append(f"{FULL}@{DOMAIN}::65534:65534::::userdb_quota_rule=*:bytes={FULL_OCTETS}\n")
    file.write_text("".join(lines), encoding="utf-8")
    # Dovecot reads it as a user of its own.
    file.chmod(0o644)
