"""aiosmtpd in a process of its own: `python aiosmtpd_server.py SETTINGS.json`, until SIGTERM.

The settings name the certificate's files, the users, the mailboxes, and the file into which the ports go once all
of them listen.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

_serial = itertools.count(1)


class Mailboxes:
    """The handler: takes mail for its own mailboxes and writes each message, as received, into their maildirs."""

    def __init__(self, folder: Path, domain: str, names: list[str]) -> None:
        self._folders = {f"{name}@{domain}": folder / name / "new" for name in names}
        for mailbox in self._folders.values():
            mailbox.mkdir(parents=True, exist_ok=True)

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address not in self._folders:
            return f"550 5.1.1 <{address}>: no such mailbox here"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        for address in envelope.rcpt_tos:
            name = f"{next(_serial):06}"
            # A maildir's rule: whoever looks into `new` never sees half a message.
            unfinished = self._folders[address].parent / name
            unfinished.write_bytes(content)
            unfinished.rename(self._folders[address] / name)
        return "250 2.0.0 OK delivered"


class MailboxesWithoutAuth(Mailboxes):
    """The handler of the port that offers no AUTH, which aiosmtpd has no switch for."""

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [line for line in responses if not line.startswith("250-AUTH")]


async def serve(settings: dict[str, Any]) -> None:
    """Listen on five ports, tell which, and stay until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings["chain"], settings["key"])
    users = {login.encode(): password.encode() for login, password in settings["users"]}

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and users.get(data.login) == data.password
        return AuthResult(success=right, handled=False)

    place = (Path(settings["mail_folder"]), settings["domain"], settings["mailboxes"])
    open_handler, login_handler = MailboxesWithoutAuth(*place), Mailboxes(*place)
    size = settings["size"]
    smtp = partial(SMTP, hostname="mail.example.test", ident="aiosmtpd", data_size_limit=size, enable_SMTPUTF8=True)

    def plain() -> SMTP:
        return smtp(open_handler, tls_context=context, auth_exclude_mechanism=["PLAIN", "LOGIN"])

    def large() -> SMTP:
        return smtp(open_handler, auth_exclude_mechanism=["PLAIN", "LOGIN"], data_size_limit=settings["large_size"])

    def idle() -> SMTP:
        return smtp(open_handler, auth_exclude_mechanism=["PLAIN", "LOGIN"], timeout=settings["idle_seconds"])

    def submission() -> SMTP:
        return smtp(login_handler, tls_context=context, require_starttls=True, authenticator=authenticate)

    def smtps() -> SMTP:
        # TLS is already there: aiosmtpd knows only of the one that STARTTLS brings.
        return smtp(login_handler, auth_require_tls=False, authenticator=authenticate)

    servers = {
        "plain": await loop.create_server(plain, settings["host"], 0),
        "submission": await loop.create_server(submission, settings["host"], 0),
        "smtps": await loop.create_server(smtps, settings["host"], 0, ssl=context),
        "large": await loop.create_server(large, settings["host"], 0),
        "idle": await loop.create_server(idle, settings["host"], 0),
    }
    ports = {role: server.sockets[0].getsockname()[1] for role, server in servers.items()}
    announce(Path(settings["ready"]), json.dumps(ports))
    await stop.wait()


def announce(file: Path, text: str) -> None:
    """Write the file so that it is whole as soon as it is there."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.replace(file)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
