"""Postfix with Cyrus SASL in itself: the library reads the passwords from a sasldb of our own."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop.postfix import find_postfix, running_master
from tests.interop.servers import UNI, USER, ServerError, User, find_program, open_folder, server_missing

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.interop.servers import RunningServer

PACKAGES = "sasl2-bin libsasl2-modules"
"""Of Debian; the plugins, SCRAM's too, are in the second."""

PLUGINS = ("sasl2/libscram.so*", "*/sasl2/libscram.so*")

MECHANISMS = (
    *("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "ANONYMOUS"),
    *("SCRAM-SHA-1", "SCRAM-SHA-224", "SCRAM-SHA-256", "SCRAM-SHA-384", "SCRAM-SHA-512"),
)

CYRUS_SASL = """\
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
# Debian's looks there whatever is said.
cyrus_sasl_config_path = {folder}/conf/sasl
# The realm is what stands behind the @ of the login.
smtpd_sasl_local_domain =
# ANONYMOUS is welcome too.
smtpd_sasl_security_options ="""

SMTPD_CONF = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {folder}/conf/sasl/sasldb2
mech_list: {mechanisms}
"""


@contextmanager
def running_postfix_with_cyrus() -> Generator[RunningServer]:
    """Start Postfix for the time of the block; skips the test where it cannot run here.

    Raises ServerError where it is installed and does not start all the same.
    """
    postfix, saslpasswd = find_postfix(), find_program("saslpasswd2", PACKAGES)
    if not any(list(Path("/usr/lib").glob(pattern)) for pattern in PLUGINS):
        server_missing(f"Cyrus SASL has no plugin for SCRAM: apt-get install --no-install-recommends {PACKAGES}")
    with open_folder("cyrus") as folder:
        sasl = folder / "conf/sasl"
        sasl.mkdir(mode=0o755, parents=True)
        (sasl / "smtpd.conf").write_text(SMTPD_CONF.format(folder=folder, mechanisms=" ".join(MECHANISMS)))
        for user in (USER, UNI):
            add_user(saslpasswd, sasl / "sasldb2", user)
        # The process that talks to a client reads it, and has no other rights by then.
        shutil.chown(sasl / "sasldb2", "postfix")
        with running_master(postfix, folder, "cyrus", CYRUS_SASL.format(folder=folder), MECHANISMS) as server:
            yield server


def add_user(saslpasswd: str, database: Path, user: User) -> None:
    """Raises ServerError where the program does not succeed."""
    name, _, realm = user.login.partition("@")
    command = [saslpasswd, "-p", "-c", "-f", str(database), "-u", realm, name]
    done = subprocess.run(command, input=user.password.encode(), capture_output=True, timeout=20, check=False)
    if done.returncode != 0:
        raise ServerError(f"{saslpasswd} ended with {done.returncode}: {done.stderr.decode(errors='backslashreplace')}")
