"""Records what real clients send to a server of ours, into `tests/transcripts`.

    python -m tests.interop.transcribe_clients [CLIENT ...]

records again all the sessions of `SESSIONS`, or those of the clients that are named, by the tap of
`tests.interop.transcribe`, and writes over what was recorded before.
"""

from __future__ import annotations

import ssl
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from smtpproto import ServerAuth, Service
from smtpproto_adapters.blocking import serve
from smtpproto_adapters.inbox import Inbox
from tests.interop.real_clients import BEARER, Call, Login, Target, nodemailer_client, s_nail
from tests.interop.servers import HOST, HOST_NAMES, USER, ServerError, write_certificates
from tests.interop.table import CLIENTS
from tests.interop.tape import Tap
from tests.interop.transcribe import CONTENT

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "dG9rZW4_LX4.x-._~+/=="


class Session(NamedTuple):
    """One that is recorded."""

    client: str
    """The name of its row in the table of what was tried."""
    call: Callable[[Target], Call]
    mode: str
    """As a `Target` has it."""
    mechanism: str | None = None

    @property
    def name(self) -> str:
        words = ("client", self.client, self.mode, self.mechanism)
        return "-".join(word.lower() for word in words if word is not None)


SESSIONS = (
    Session("nodemailer", nodemailer_client, "plain"),
    Session("nodemailer", nodemailer_client, "starttls", "CRAM-MD5"),
    Session("nodemailer", nodemailer_client, "implicit", "XOAUTH2"),
    Session("nodemailer", nodemailer_client, "lmtp"),
    Session("s-nail", s_nail, "plain"),
    Session("s-nail", s_nail, "starttls", "LOGIN"),
    Session("s-nail", s_nail, "implicit", "XOAUTH2"),
)


def transcribe(session: Session, folder: Path) -> str:
    """Let the client come once, and save what was said; the name of the recording.

    Raises ServerError where our server did not get what the client was given.
    """
    certificates = write_certificates(folder)
    file, text = folder / "content", folder / "text"
    file.write_bytes(CONTENT)
    text.write_bytes(CONTENT.replace(b"\r\n", b"\n"))
    secured, implicit = session.mode in ("starttls", "implicit"), session.mode == "implicit"
    mechanisms = None if session.mechanism is None else [session.mechanism]
    auth = ServerAuth({USER.login: USER.password}, tokens={TOKEN: USER.login}, mechanisms=mechanisms)
    service = Service(
        HOST_NAMES[2],
        lmtp=session.mode == "lmtp",
        starttls=session.mode == "starttls",
        auth=auth if secured else None,
    )
    context = certificates.server_context()
    options: dict[str, Any] = {"context": context, "implicit_tls": implicit} if secured else {}
    inbox = Inbox()
    with serve(inbox, service=service, **options) as server:
        to_server = ssl.create_default_context(cafile=str(certificates.ca))
        with Tap(server.port, to_client=context, to_server=to_server, implicit_tls=implicit) as tap:
            login = Login(mechanism=session.mechanism, secret=TOKEN if session.mechanism in BEARER else USER.password)
            target = Target(
                host=HOST,
                port=tap.port,
                ca=certificates.ca,
                file=file,
                text=text,
                mode=session.mode,
                login=login,
            )
            session.call(target).run()
    if [message.content for message in inbox.messages] != [CONTENT]:
        raise ServerError(f"{session.name} brought {inbox.messages}")
    [tape] = tap.tapes
    tape.save(
        session.name, client=session.client, version=CLIENTS.rows[session.client].version(), scenario=session.name
    )
    return session.name


def main(names: list[str]) -> int:
    known = sorted({session.client for session in SESSIONS})
    for name in names:
        if name not in known:
            sys.stderr.write(f"there is no {name!r} to be recorded, but {', '.join(known)}\n")
            return 2
    for session in SESSIONS:
        if not names or session.client in names:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    sys.stdout.write(f"{transcribe(session, Path(folder))}\n")
                except pytest.skip.Exception as missing:
                    sys.stderr.write(f"{missing}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
