"""smtp-server, which belongs to nodemailer: an SMTP and LMTP server of Node, in a process of its own."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.interop.dovecot import FULL, FULL_OCTETS
from tests.interop.servers import (
    DOMAIN,
    HOST,
    IDLE_SECONDS,
    LARGE_SIZE,
    MAILBOXES,
    SIZE,
    UNI,
    USER,
    Daemon,
    Ports,
    RunningServer,
    open_folder,
    running,
    server_missing,
    write_certificates,
)
from tests.interop.tokens import web_token

if TYPE_CHECKING:
    from collections.abc import Generator

SCRIPTS = Path(__file__).with_name("node")
INSTALLER = Path(__file__).parents[2] / ".ci" / "install-node-modules"
"""It alone knows into which folder the modules go."""
OLDEST_NODE = 20
"""That the modules run on."""

MECHANISMS = frozenset({"PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"})


class Node(NamedTuple):
    """A Node that can run a script of `SCRIPTS`."""

    program: str
    modules: Path
    """The folder that holds node_modules."""

    def version_of(self, module: str) -> str:
        package = self.modules / "node_modules" / module / "package.json"
        version: str = json.loads(package.read_text(encoding="utf-8"))["version"]
        return version


def find_node() -> Node:
    """Where Node and its modules are; skips the test where they are not.

    They may be missing even where the servers are required: not every machine has a Node.
    """
    program = shutil.which("node")
    if program is None:
        pytest.skip("'node' is missing: install Node 20 or newer, then run .ci/install-node-modules")
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=20).stdout
    found = re.match(r"v(\d+)\.", said)
    if found is None or int(found[1]) < OLDEST_NODE:
        pytest.skip(f"Node {said.strip()} is too old for nodemailer: install Node {OLDEST_NODE} or newer")
    where = subprocess.run([INSTALLER, "--where"], check=True, capture_output=True, text=True, timeout=20).stdout
    modules = Path(where.strip())
    if not modules.is_dir():
        if shutil.which("npm") is None:
            pytest.skip("'npm' is missing, which brings nodemailer: install it, then run .ci/install-node-modules")
        server_missing("nodemailer is missing: run .ci/install-node-modules")
    return Node(program, modules)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNodemailer(RunningServer):
    """smtp-server; it delivers what comes by LMTP into the same maildirs, and answers for each recipient.

    The mailbox `FULL` is there, too: it holds `FULL_OCTETS`, and says so by LMTP.
    """

    lmtp: int
    """The port of LMTP, with STARTTLS."""
    lmtps: int
    """The port of LMTP with TLS from the first octet."""
    token_key: bytes
    """What a token must be signed with."""

    def token(self, login: str, *, expires_in: float = 3600, padding: int = 0) -> str:
        """An OAuth 2.0 access token for the user; ``expires_in``: seconds, ``padding``: octets for nothing."""
        return web_token(self.token_key, login, expires_in=expires_in, padding=padding)


@contextmanager
def running_nodemailer() -> Generator[RunningNodemailer]:
    """Start smtp-server for the time of the block; skips the test where it cannot run here.

    Raises ServerError where it is installed and does not start all the same.
    """
    if not sys.platform.startswith("linux"):
        server_missing("the servers' guard needs Linux: run the tests in a container")
    node = find_node()
    with open_folder("nodemailer") as folder:
        certificates = write_certificates(folder)
        settings, ready, log = folder / "settings.json", folder / "ports.json", folder / "log"
        token_key = secrets.token_bytes(32)
        settings.write_text(
            json.dumps(
                {
                    "modules": str(node.modules),
                    "host": HOST,
                    "domain": DOMAIN,
                    "chain": str(certificates.chain),
                    "key": str(certificates.key),
                    "users": [(user.login, user.password) for user in (USER, UNI)],
                    "token_key": token_key.hex(),
                    "mailboxes": MAILBOXES,
                    "full": FULL,
                    "full_octets": FULL_OCTETS,
                    "size": SIZE,
                    "large_size": LARGE_SIZE,
                    "idle_seconds": IDLE_SECONDS,
                    "mail_folder": str(folder / "mail"),
                    "ready": str(ready),
                }
            )
        )
        with running(Daemon([node.program, str(SCRIPTS / "server.mjs"), str(settings)], log)) as daemon:
            daemon.wait_until(ready.exists, log)
            ports: dict[str, int] = json.loads(ready.read_text())
            lmtp, lmtps = ports.pop("lmtp"), ports.pop("lmtps")
            yield RunningNodemailer(
                name="nodemailer",
                version=node.version_of("smtp-server"),
                ports=Ports(**ports),
                ca=certificates.ca,
                mail_folder=folder / "mail",
                log=log,
                mechanisms=MECHANISMS,
                line_end=b"\r\n",
                lmtp=lmtp,
                lmtps=lmtps,
                token_key=token_key,
            )
