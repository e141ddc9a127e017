"""aiosmtpd, a server in Python, in a process of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def running_aiosmtpd() -> Generator[RunningServer]:
    """Start aiosmtpd for the time of the block; skips the test where it is not installed.

    Raises ServerError where it is installed and does not start all the same.
    """
    if importlib.util.find_spec("aiosmtpd") is None:
        server_missing("aiosmtpd is missing: pip install aiosmtpd (it is among the `dev` dependencies)")
    if not sys.platform.startswith("linux"):
        server_missing("the servers' guard needs Linux: run the tests in a container")
    with open_folder("aiosmtpd") as folder:
        certificates = write_certificates(folder)
        settings, ready, log = folder / "settings.json", folder / "ports.json", folder / "log"
        settings.write_text(
            json.dumps(
                {
                    "host": HOST,
                    "domain": DOMAIN,
                    "chain": str(certificates.chain),
                    "key": str(certificates.key),
                    "users": [(user.login, user.password) for user in (USER, UNI)],
                    "mailboxes": MAILBOXES,
                    "size": SIZE,
                    "large_size": LARGE_SIZE,
                    "idle_seconds": IDLE_SECONDS,
                    "mail_folder": str(folder / "mail"),
                    "ready": str(ready),
                }
            )
        )
        script = Path(__file__).with_name("aiosmtpd_server.py")
        with running(Daemon([sys.executable, "-I", str(script), str(settings)], log)) as daemon:
            daemon.wait_until(ready.exists, log)
            yield RunningServer(
                name="aiosmtpd",
                version=importlib.metadata.version("aiosmtpd"),
                ports=Ports(**json.loads(ready.read_text())),
                ca=certificates.ca,
                mail_folder=folder / "mail",
                log=log,
                mechanisms=frozenset({"PLAIN", "LOGIN"}),
                line_end=b"\r\n",
            )
