"""Exim, with a configuration, a spool and maildirs of its own in one folder, and Dovecot behind some of its AUTH."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.interop.postfix import check_dovecot, output_of, running_dovecot
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
    from collections.abc import Generator

UNPACK = Path(__file__).parents[2] / ".ci/unpack-exim"

BY_ITSELF = ("PLAIN", "LOGIN", "CRAM-MD5")
BY_DOVECOT = ("DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
MECHANISMS = (*BY_ITSELF, *BY_DOVECOT)

USER_ID = 65534
"""As whom it runs, and delivers, once it has opened its ports."""

HANDED_DOWN = ("LD_LIBRARY_PATH", "LD_PRELOAD", "NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP")

CONF = """\
primary_hostname = mail.example.test
smtp_banner = $primary_hostname ESMTP Exim $version_number {token}
exim_user = {user}
exim_group = {user}
exim_path = {program}
keep_environment = {handed_down}
add_environment = PATH=/usr/bin:/bin
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
# It never becomes root again, so that no program of its has to be root's.
deliver_drop_privilege = true
disable_ipv6 = true
local_interfaces = 127.0.0.1.{ports.plain} : 127.0.0.1.{ports.submission} : 127.0.0.1.{ports.smtps} \\
  : 127.0.0.1.{ports.large} : 127.0.0.1.{ports.idle}
tls_on_connect_ports = {ports.smtps}
tls_advertise_hosts = *
tls_certificate = {folder}/server.pem
tls_privatekey = {folder}/server.key
AUTH_HERE = and {{ {{def:tls_in_cipher}} {{inlisti {{$received_port}} {{{ports.submission}:{ports.smtps}}}}} }}
auth_advertise_hosts = ${{if AUTH_HERE {{*}}}}
message_size_limit = ${{if eq{{$received_port}}{{{ports.large}}}{{{large_size}}}{{{size}}}}}
dsn_advertise_hosts = *
chunking_advertise_hosts = *
pipelining_advertise_hosts = *
pipelining_connect_advertise_hosts = *
smtputf8_advertise_hosts = *
prdr_enable = true
acl_smtp_mail = check_mail
acl_smtp_rcpt = check_rcpt
acl_smtp_data = accept
acl_smtp_data_prdr = accept
smtp_receive_timeout = ${{if eq{{$received_port}}{{{ports.idle}}}{{{idle}s}}{{5m}}}}
# It asks nobody who we are.
host_lookup =
rfc1413_query_timeout = 0s
# The tests are one busy client, and wrong on purpose.
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
local_from_check = false
message_logs = false
log_selector = +pipelining
bounce_return_size_limit = 10M

begin acl

check_mail:
  deny message = 530 5.7.0 STARTTLS comes first
       condition = ${{if and {{ {{eq {{$received_port}}{{{ports.submission}}}}} {{!def:tls_in_cipher}} }}}}
  accept

check_rcpt:
{relay_acl}
  deny message = 550 5.7.1 no relaying
       domains = ! {domain}
  require verify = recipient
  accept

begin routers

mailboxes:
  driver = accept
  domains = {domain}
  local_parts = lsearch;{folder}/mailboxes
  transport = maildir
{routers}
begin transports

maildir:
  driver = appendfile
  directory = {folder}/mail/$local_part_data
  maildir_format
  user = {user}
  group = {user}
{transports}
begin retry

* * F,1h,1s

begin authenticators

plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{${{lookup{{$auth2}}lsearch{{{folder}/users}}{{$value}}fail}}}}}}
  server_set_id = $auth2
  client_send = ^{login.login}^{login.password}

login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${{if eq{{$auth2}}{{${{lookup{{$auth1}}lsearch{{{folder}/users}}{{$value}}fail}}}}}}
  server_set_id = $auth1

cram_md5:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{lookup{{$auth1}}lsearch{{{folder}/users}}{{$value}}fail}}
  server_set_id = $auth1
"""

DOVECOT_AUTHENTICATOR = """
{name}:
  driver = dovecot
  public_name = {mechanism}
  server_socket = {folder}/dovecot/run/auth.sock
  server_set_id = $auth1
"""


class Relay(NamedTuple):
    """Hand on to another server, over TLS and as `USER`, what those submit who have logged in.  Try every second."""

    port: int
    """Of the other server, on loopback."""
    ca: Path
    """PEM file of the root that the other server's certificate has to hang on."""

    @property
    def acl(self) -> str:
        return "  accept authenticated = *"

    @property
    def router(self) -> str:
        # `self`: the host is this machine, and what listens there another server.
        return f"""
smarthost:
  driver = manualroute
  domains = ! {DOMAIN}
  route_list = * localhost::{self.port} byname
  self = send
  transport = smarthost
  no_more
"""

    @property
    def transport(self) -> str:
        return f"""
smarthost:
  driver = smtp
  hosts_require_tls = *
  hosts_require_auth = *
  tls_verify_hosts = *
  tls_verify_certificates = {self.ca}
  message_linelength_limit = 1M
  max_rcpt = 0
"""


@contextmanager
def running_exim(relay: Relay | None = None) -> Generator[RunningServer]:
    """Start Dovecot and Exim for the time of the block; skips the test where they cannot run here.

    With ``relay``, what is submitted for any domain but `DOMAIN` is handed on.  Raises ServerError where they are
    installed and do not start all the same.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        server_missing("Exim starts only as root, and its fixture needs Linux: run the tests as root in a container")
    found = find_exim()
    dovecot = find_program("dovecot", "dovecot-core")
    check_dovecot(dovecot)
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("exim"))
        stack.enter_context(running_dovecot(dovecot, folder / "dovecot"))
        yield stack.enter_context(running_daemon(found, folder, relay))


def find_exim() -> Path:
    """The path of its program, installed or unpacked; skips the test where it is missing."""
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    installed = shutil.which("exim4", path=folders)
    if installed is not None:
        return Path(installed)
    unpacked = unpacked_folder()
    program = unpacked / "usr/sbin/exim4"
    # Anybody may make a folder with that name.
    if not program.exists() or unpacked.stat().st_uid != os.geteuid():
        server_missing("Exim is missing: `.ci/unpack-exim` unpacks Debian's beside Postfix, with which it conflicts")
    return program


def unpacked_folder() -> Path:
    """Where it is unpacked; the script alone says that."""
    return Path(output_of(str(UNPACK), "--where"))


def environment_of(program: Path, folder: Path) -> dict[str, str]:
    """What a program that is unpacked, and not installed, needs in order to find its libraries and its user."""
    root = program.parents[2]
    if root == Path("/"):
        return {}
    libraries = sorted({str(file.parent) for file in root.glob("usr/lib/**/*.so*")})
    users, groups = folder / "passwd", folder / "group"
    users.write_text(f"Debian-exim:x:{USER_ID}:{USER_ID}::/nonexistent:/bin/false\n" + Path("/etc/passwd").read_text())
    groups.write_text(f"Debian-exim:x:{USER_ID}:\n" + Path("/etc/group").read_text())
    values = (os.pathsep.join(libraries), "libnss_wrapper.so", str(users), str(groups))
    return dict(zip(HANDED_DOWN, values, strict=True))


@contextmanager
def running_daemon(installed: Path, folder: Path, relay: Relay | None) -> Generator[RunningServer]:
    """Exim with all that belongs to it, below `folder`."""
    # A copy has the rights of whoever runs it: what is installed has root's, and then distrusts its configuration.
    program = folder / "exim4"
    shutil.copyfile(installed, program)
    program.chmod(0o755)
    environment = environment_of(installed, folder)
    certificates = write_certificates(folder)
    os.chown(certificates.key, USER_ID, USER_ID)
    for each in ("spool", "log", "mail"):
        (folder / each).mkdir()
        os.chown(folder / each, USER_ID, USER_ID)
    (folder / "mailboxes").write_text("".join(f"{name}: {name}\n" for name in MAILBOXES), encoding="utf-8")
    users = folder / "users"
    users.write_text("".join(f"{user.login}: {user.password}\n" for user in (USER, UNI)), encoding="utf-8")
    token = secrets.token_hex(8)
    conf, log, printed = folder / "exim.conf", folder / "log/mainlog", folder / "printed.log"
    with held_ports(5) as (plain, submission, smtps, large, idle):
        ports = Ports(plain=plain, submission=submission, smtps=smtps, large=large, idle=idle)
        text = CONF.format(
            folder=folder,
            token=token,
            program=program,
            user=USER_ID,
            handed_down=" : ".join(HANDED_DOWN),
            ports=ports,
            login=USER,
            domain=DOMAIN,
            size=SIZE,
            large_size=LARGE_SIZE,
            idle=IDLE_SECONDS,
            relay_acl=relay.acl if relay else "",
            routers=relay.router if relay else "",
            transports=relay.transport if relay else "",
        )
        for name in BY_DOVECOT:
            text += DOVECOT_AUTHENTICATOR.format(name=name.lower().replace("-", "_"), mechanism=name, folder=folder)
        conf.write_text(text)
        command = [find_program("env", "coreutils"), *(f"{name}={value}" for name, value in environment.items())]
        queue = ["-q1s"] if relay else []
        with running(Daemon([*command, str(program), "-C", str(conf), "-bdf", *queue], printed)) as daemon:
            daemon.wait_until(lambda: greets_with(plain, token.encode()), folder / "log/paniclog", log, printed)
            yield RunningServer(
                name="exim",
                version=version_of(program, environment),
                ports=ports,
                ca=certificates.ca,
                mail_folder=folder / "mail",
                log=log,
                mechanisms=frozenset(MECHANISMS),
            )


def found_version() -> str:
    """That of the program that the tests run."""
    program = find_exim()
    with open_folder("exim") as folder:
        return version_of(program, environment_of(program, folder))


def version_of(program: Path, environment: dict[str, str]) -> str:
    """As it reports it itself."""
    said = subprocess.run(
        [str(program), "-bV", "-C", "/dev/null"],
        check=True,
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, **environment},
    )
    match = re.search(r"Exim version (\S+)", said.stdout)
    assert match is not None, said.stdout
    return match[1]
