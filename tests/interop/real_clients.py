"""Real clients: how each is told where to send to, how to come in, and as whom."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from tests.interop import nodemailer
from tests.interop.letters import HELLO, SENDER
from tests.interop.servers import USER, find_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpproto_adapters.server import Handler
    from tests.adapters.backends import AnyServer, Backend

RECIPIENTS = ("user@example.test", "other@example.test")
BEARER = ("OAUTHBEARER", "XOAUTH2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """As whom a client comes."""

    user: str = USER.login
    secret: str = USER.password
    """The password, or the access token."""
    mechanism: str | None = "PLAIN"
    """None: the client is to choose."""
    certificate: Path | None = None
    """PEM file with the client's key and certificate, for EXTERNAL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a client is to send to, and what it needs for that."""

    host: str
    port: int
    ca: Path
    file: Path
    """The content, with CRLF."""
    text: Path
    """The content as a text file of this system, with LF."""
    mode: str
    """``plain``, ``starttls``, ``implicit`` or ``lmtp``."""
    login: Login = Login()
    """It is used under TLS only."""

    @property
    def secured(self) -> bool:
        return self.mode in ("starttls", "implicit")


class Call(NamedTuple):
    """A client that is to be run."""

    command: tuple[str, ...]
    stdin: Path = Path(os.devnull)
    seconds: float = 60
    """That it may take."""

    def attempt(self) -> tuple[int, str]:
        """Run it: its exit status, and what it says."""
        # None is to think about the octets of a password, and without this one some refuse those that are not ASCII.
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        with self.stdin.open("rb") as given:
            done = subprocess.run(
                self.command, stdin=given, capture_output=True, timeout=self.seconds, check=False, env=environment
            )
        return done.returncode, (done.stdout + done.stderr).decode(errors="backslashreplace")

    def run(self) -> None:
        """Run it; it must succeed."""
        status, words = self.attempt()
        assert status == 0, f"{self.command} ended with {status}:\n{words[-4000:]}"


def swaks(target: Target, *options: str) -> Call:
    tls: list[str] = []
    if target.secured:
        login = target.login
        tls = [{"starttls": "--tls", "implicit": "--tls-on-connect"}[target.mode]]
        tls += ["--tls-verify", "--tls-ca-path", str(target.ca)]
        tls += ["--auth", login.mechanism or "ANY", "--auth-user", login.user, "--auth-password", login.secret]
    if target.mode == "lmtp":
        tls += ["--protocol", "LMTP"]
    return Call(
        (
            *(find_program("swaks", "swaks libnet-ssleay-perl"), "--server", target.host, "--port", str(target.port)),
            *(*tls, *options, "--helo", HELLO, "--from", SENDER, "--to", ",".join(RECIPIENTS)),
            *("--data", f"@{target.text}"),
        )
    )


def swaks_pipelining(target: Target) -> Call:
    return swaks(target, "--pipeline")


def msmtp(target: Target) -> Call:
    tls = ["--tls=off"]
    if target.secured:
        login = target.login
        tls = ["--tls=on", f"--tls-trust-file={target.ca}", "--tls-starttls=" + _on(target.mode == "starttls")]
        tls += [f"--auth={(login.mechanism or 'on').lower()}", f"--user={login.user}"]
        tls += [f"--passwordeval=printf %s {shlex.quote(login.secret)}"]
        if login.certificate is not None:
            tls += [f"--tls-cert-file={login.certificate}", f"--tls-key-file={login.certificate}"]
    if target.mode == "lmtp":
        tls += ["--protocol=lmtp"]
    return Call(
        (
            *(find_program("msmtp", "msmtp"), f"--host={target.host}", f"--port={target.port}", *tls),
            *(f"--domain={HELLO}", f"--from={SENDER}", *RECIPIENTS),
        ),
        stdin=target.text,
    )


def _on(yes: bool) -> str:
    return "on" if yes else "off"


def curl(target: Target) -> Call:
    tls: list[str] = []
    if target.secured:
        login = target.login
        tls = ["--ssl-reqd", "--cacert", str(target.ca)]
        if login.mechanism in BEARER:
            tls += ["--user", login.user, "--oauth2-bearer", login.secret]
        else:
            # With a password it knows better than to do EXTERNAL.
            tls += ["--user", f"{login.user}:{login.secret if login.mechanism != 'EXTERNAL' else ''}"]
        if login.mechanism is not None:
            tls += ["--login-options", f"AUTH={login.mechanism}"]
        if login.certificate is not None:
            tls += ["--cert", str(login.certificate)]
    scheme = "smtps" if target.mode == "implicit" else "smtp"
    recipients = [option for recipient in RECIPIENTS for option in ("--mail-rcpt", recipient)]
    return Call(
        (
            *(find_program("curl", "curl"), "--silent", "--show-error", "--max-time", "30"),
            *(f"{scheme}://{target.host}:{target.port}/{HELLO}", *tls),
            *("--mail-from", SENDER, *recipients, "--upload-file", str(target.file)),
        )
    )


def gsasl(target: Target, *options: str) -> Call:
    """It does no more than log in, by STARTTLS, and sends no initial response."""
    login = target.login
    certificate = login.certificate
    files = [] if certificate is None else [f"--x509-cert-file={certificate}", f"--x509-key-file={certificate}"]
    return Call(
        (
            *(find_program("gsasl", "gsasl"), "--smtp", f"--connect={target.host}:{target.port}", *files),
            *(f"--x509-ca-file={target.ca}", f"--hostname={target.host}"),
            *(*options, *([] if login.mechanism is None else [f"--mechanism={login.mechanism}"])),
            *(f"--authentication-id={login.user}", f"--password={login.secret}"),
            *([f"--authorization-id={login.user}"] if certificate else []),
            f"--anonymous-token={login.user}",
        )
    )


def gsasl_without_binding(target: Target) -> Call:
    """With a channel binding at hand it fails at every SCRAM without -PLUS, before it says anything."""
    return gsasl(target, "--no-cb")


def smtplib_client(target: Target) -> None:
    context = ssl.create_default_context(cafile=str(target.ca))
    given: dict[str, Any] = {"host": target.host, "port": target.port, "local_hostname": HELLO, "timeout": 30}
    if target.mode == "implicit":
        client: smtplib.SMTP = smtplib.SMTP_SSL(context=context, **given)
    elif target.mode == "lmtp":
        client = smtplib.LMTP(**given)
    else:
        client = smtplib.SMTP(**given)
    with client:
        if target.mode == "starttls":
            client.starttls(context=context)
        if target.secured:
            client.login(target.login.user, target.login.secret)
        assert client.sendmail(SENDER, RECIPIENTS, target.file.read_bytes(), ["BODY=8BITMIME"]) == {}


class SmtplibAttempt(NamedTuple):
    """As `Call`, in our own process."""

    target: Target

    def attempt(self) -> tuple[int, str]:
        try:
            smtplib_client(self.target)
        except smtplib.SMTPException as error:
            return 1, str(error)
        return 0, ""


def aiosmtplib_client(target: Target) -> Call:
    # Some come at the same time.
    handle, settings = tempfile.mkstemp(dir=target.file.parent)
    where = {"host": target.host, "port": target.port, "ca": str(target.ca), "mode": target.mode, "hello": HELLO}
    what = {"sender": SENDER, "recipients": RECIPIENTS, "file": str(target.text)}
    who = {"login": target.login.user, "password": target.login.secret}
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({**where, **what, **who}, file)
    return Call((sys.executable, "-I", str(Path(__file__).with_name("aiosmtplib_client.py")), settings))


def nodemailer_client(target: Target, **options: Any) -> Call:
    """``options``: more of what its script is to be told."""
    node = nodemailer.find_node()
    login = target.login
    who = {"user": login.user, "secret": login.secret, "mechanism": login.mechanism}
    where = {"host": target.host, "port": target.port, "ca": str(target.ca), "mode": target.mode, "hello": HELLO}
    what = {"sender": SENDER, "recipients": RECIPIENTS, "file": str(target.text)}
    # Some come at the same time.
    handle, name = tempfile.mkstemp(dir=target.file.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as settings:
        json.dump({"modules": str(node.modules), **where, **what, "login": who, **options}, settings)
    return Call((node.program, str(nodemailer.SCRIPTS / "client.mjs"), name))


def s_nail(target: Target) -> Call:
    """It sends on what lies in a maildir, as it is; what it writes itself it would put into a form of its own."""
    folder = Path(tempfile.mkdtemp(dir=target.file.parent))
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir()
    shutil.copy(target.text, folder / "cur" / "1:2,S")
    # It looks for the host in the certificate among the names only, not among the addresses.
    url, settings = f"smtp://localhost:{target.port}", ["smtp-auth=none"]
    if target.secured:
        login = target.login
        scheme = {"starttls": "smtp", "implicit": "smtps"}[target.mode]
        url = f"{scheme}://{quote(login.user, '')}:{quote(login.secret, '')}@localhost:{target.port}"
        settings = [f"tls-ca-file={target.ca}", "tls-ca-no-defaults", "tls-verify=strict"]
        if target.mode == "starttls":
            settings += ["smtp-use-starttls"]
        if login.mechanism is not None:
            # It gives the one the name of the other.
            settings += ["smtp-auth=" + {"XOAUTH2": "oauthbearer"}.get(login.mechanism, login.mechanism.lower())]
        if login.certificate is not None:
            settings += [f"tls-config-pairs=Certificate={login.certificate},PrivateKey={login.certificate}"]
    settings += [f"mta={url}", f"hostname={HELLO}", f"from={SENDER}", "sendwait", "errexit"]
    everyone = " ".join(RECIPIENTS)
    return Call(
        (
            *(find_program("s-nail", "s-nail"), "-:/", "-R", "-Sv15-compat", *(f"-S{each}" for each in settings)),
            *("-Y", f"alias everyone {everyone}\nResend 1 everyone\nxit", "-f", str(folder)),
        )
    )


def with_server(backend: Backend, handler: Handler, work: Callable[[AnyServer], None], **options: Any) -> None:
    """Do the work, which may block, while the server runs."""

    async def scenario() -> None:
        async with backend.serve(handler, **options) as server:
            await backend.in_thread(lambda: work(server))

    backend.run(scenario)
