"""Postfix with Dovecot behind its AUTH, both with configurations, spools and sockets of their own in one folder."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.interop.servers import (
    DOMAIN,
    IDLE_SECONDS,
    LARGE_SIZE,
    MAILBOXES,
    SIZE,
    UNI,
    USER,
    Daemon,
    Ports,
    RunningServer,
    find_program,
    greets_with,
    held_ports,
    open_folder,
    running,
    server_missing,
    write_certificates,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

PACKAGES = "postfix dovecot-core"
"""Of Debian; smtp-sink and smtp-source are in the first."""

MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")

DOVECOT_CONF = """\
base_dir = {folder}/run
state_dir = {folder}/state
instance_name = {folder}
log_path = {folder}/dovecot.log
auth_verbose = yes
protocols =
listen = 127.0.0.1
ssl = no
auth_mechanisms = {mechanisms}
# Postfix alone decides that AUTH needs TLS.
disable_plaintext_auth = no
# A wrong password costs half a second, the least that Dovecot takes, and no more with every further one.
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener auth.sock {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
myhostname = mail.example.test
smtpd_banner = $myhostname ESMTP Postfix {token}
mydestination =
mynetworks = 127.0.0.2/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
# No mail leaves this machine, and none reaches its own users.
default_transport = error:the tests send no mail elsewhere
relay_transport = error:the tests send no mail elsewhere
local_transport = error:the tests deliver to virtual mailboxes only
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
notify_classes =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = texthash:{folder}/conf/mailboxes
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_mailbox_limit = 0
message_size_limit = {large_size}
smtpd_tls_chain_files = {folder}/server.key, {folder}/server.pem
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
{sasl}
smtpd_sasl_auth_enable = no
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_helo_required = yes
smtputf8_enable = yes
# Whoever comes from this machine is no mail program whose messages need completing.
local_header_rewrite_clients =
disable_vrfy_command = no
# The tests are one busy client, and wrong on purpose.
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 20
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
"""

DOVECOT_SASL = """\
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/dovecot/run/auth.sock
smtpd_sasl_security_options = noanonymous"""

MASTER_CF = """\
127.0.0.1:{ports.plain} inet n - n - - smtpd
  -o message_size_limit={size}
127.0.0.1:{ports.submission} inet n - n - - smtpd
  -o message_size_limit={size} -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
127.0.0.1:{ports.smtps} inet n - n - - smtpd
  -o message_size_limit={size} -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes
127.0.0.1:{ports.large} inet n - n - - smtpd
127.0.0.1:{ports.idle} inet n - n - - smtpd
  -o message_size_limit={size} -o smtpd_timeout={idle}s
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
pickup unix n - n 60 1 pickup
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
smtp unix - - n - - smtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def running_postfix() -> Generator[RunningServer]:
    """Start Dovecot and Postfix for the time of the block; skips the test where they cannot run here.

    Raises ServerError where they are installed and do not start all the same.
    """
    postfix = find_postfix()
    dovecot = find_program("dovecot", PACKAGES)
    check_dovecot(dovecot)
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("postfix"))
        stack.enter_context(running_dovecot(dovecot, folder / "dovecot"))
        yield stack.enter_context(
            running_master(postfix, folder, "postfix", DOVECOT_SASL.format(folder=folder), MECHANISMS)
        )


def find_postfix() -> str:
    """The path of its program; skips the test where it is missing, or cannot run here."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        server_missing("Postfix starts only as root, and its fixture needs Linux: run the tests as root in a container")
    return find_program("postfix", PACKAGES)


def output_of(*command: str) -> str:
    """What a short command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def check_dovecot(dovecot: str) -> None:
    """Skip the test where Dovecot is one whose configuration we do not write."""
    version = output_of(dovecot, "--version")
    if not re.match(r"2\.3\.", version):
        server_missing(f"Dovecot {version} reads another configuration than 2.3: install Dovecot 2.3 (Debian 12)")


@contextmanager
def running_dovecot(dovecot: str, folder: Path) -> Generator[None]:
    """Dovecot as nothing but the server of `folder`/run/auth.sock."""
    folder.mkdir(mode=0o755)
    conf, printed, users = folder / "dovecot.conf", folder / "printed.log", folder / "users"
    conf.write_text(DOVECOT_CONF.format(folder=folder, mechanisms=" ".join(MECHANISMS).lower()))
    users.write_text("".join(f"{user.login}:{{PLAIN}}{user.password}\n" for user in (USER, UNI)), encoding="utf-8")
    # Dovecot reads it as a user of its own.
    users.chmod(0o644)
    with running(Daemon([dovecot, "-F", "-c", str(conf)], printed)) as daemon:
        daemon.wait_until(lambda: accepts(folder / "run/auth.sock"), folder / "dovecot.log", printed)
        yield


def accepts(path: Path) -> bool:
    """Whether something listens on the unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


@contextmanager
def running_master(
    postfix: str, folder: Path, name: str, sasl: str, mechanisms: Sequence[str]
) -> Generator[RunningServer]:
    """Postfix with all that belongs to it, below `folder`.

    ``sasl``: the lines of main.cf that say who is behind AUTH; ``mechanisms``: what it offers then.
    """
    certificates = write_certificates(folder)
    for each in ("conf", "spool", "data", "mail"):
        (folder / each).mkdir(mode=0o755, exist_ok=True)
    shutil.chown(folder / "data", "postfix")
    os.chown(folder / "mail", 65534, 65534)
    # Two masters of one user may listen on one port (SO_REUSEPORT), so a listener is no proof: the greeting is.
    token = secrets.token_hex(8)
    conf, log, printed = folder / "conf", folder / "maillog", folder / "printed.log"
    mailboxes = "".join(f"{mailbox}@{DOMAIN} {mailbox}/\n" for mailbox in MAILBOXES)
    (conf / "mailboxes").write_text(mailboxes, encoding="utf-8")
    main_cf = MAIN_CF.format(folder=folder, token=token, domain=DOMAIN, large_size=LARGE_SIZE, sasl=sasl)
    (conf / "main.cf").write_text(main_cf)
    with held_ports(5) as (plain, submission, smtps, large, idle):
        ports = Ports(plain=plain, submission=submission, smtps=smtps, large=large, idle=idle)
        (conf / "master.cf").write_text(MASTER_CF.format(ports=ports, size=SIZE, idle=IDLE_SECONDS))
        with running(Daemon([postfix, "-c", str(conf), "start-fg"], printed)) as daemon:
            daemon.wait_until(lambda: greets_with(plain, token.encode()), log, printed)
            yield RunningServer(
                name=name,
                version=output_of(find_program("postconf", PACKAGES), "-d", "-h", "mail_version"),
                ports=ports,
                ca=certificates.ca,
                mail_folder=folder / "mail",
                log=log,
                mechanisms=frozenset(mechanisms),
            )
