"""Real clients against our three servers: what a handler gets is what the client was given, to the octet."""

from __future__ import annotations

import json
import smtplib
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from smtpproto import Service
from smtpproto_adapters.inbox import Inbox
from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.interop.letters import HELLO, SENDER, letter
from tests.interop.servers import HOST_NAMES, find_program, write_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.adapters.backends import AnyServer

RECIPIENTS = ("user@example.test", "other@example.test")
LOGIN, PASSWORD = "user@example.test", "secret-Pass1"
LETTER = letter()


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


def run(*command: str, stdin: Path | None = None) -> None:
    """Run a client, which must succeed."""
    with (stdin or Path("/dev/null")).open("rb") as given:
        done = subprocess.run(command, stdin=given, capture_output=True, timeout=60, check=False)
    words = (done.stdout + done.stderr).decode(errors="backslashreplace")
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{words[-4000:]}"


def swaks(target: Target, *options: str) -> None:
    tls = {"starttls": ["--tls"], "implicit": ["--tls-on-connect"]}.get(target.mode, [])
    if tls:
        tls += ["--tls-verify", "--tls-ca-path", str(target.ca)]
        tls += ["--auth", "PLAIN", "--auth-user", LOGIN, "--auth-password", PASSWORD]
    if target.mode == "lmtp":
        tls += ["--protocol", "LMTP"]
    run(
        *(
            find_program("swaks", "swaks libnet-ssleay-perl"),
            "--server",
            target.host,
            "--port",
            str(target.port),
            *tls,
            *options,
        ),
        *("--helo", HELLO, "--from", SENDER, "--to", ",".join(RECIPIENTS), "--data", f"@{target.text}"),
    )


def swaks_pipelining(target: Target) -> None:
    swaks(target, "--pipeline")


def msmtp(target: Target) -> None:
    tls = ["--tls=off"]
    if target.mode in ("starttls", "implicit"):
        tls = ["--tls=on", f"--tls-trust-file={target.ca}", "--tls-starttls=" + _on(target.mode == "starttls")]
        tls += ["--auth=plain", f"--user={LOGIN}", f"--passwordeval=printf %s {PASSWORD}"]
    if target.mode == "lmtp":
        tls += ["--protocol=lmtp"]
    run(
        *(find_program("msmtp", "msmtp"), f"--host={target.host}", f"--port={target.port}", *tls),
        *(f"--domain={HELLO}", f"--from={SENDER}", *RECIPIENTS),
        stdin=target.text,
    )


def _on(yes: bool) -> str:
    return "on" if yes else "off"


def curl(target: Target) -> None:
    tls = ["--ssl-reqd", "--cacert", str(target.ca), "--user", f"{LOGIN}:{PASSWORD}"]
    scheme = "smtps" if target.mode == "implicit" else "smtp"
    recipients = [option for recipient in RECIPIENTS for option in ("--mail-rcpt", recipient)]
    run(
        *(find_program("curl", "curl"), "--silent", "--show-error", "--max-time", "30"),
        *(f"{scheme}://{target.host}:{target.port}/{HELLO}", *(tls if target.mode != "plain" else [])),
        *("--mail-from", SENDER, *recipients, "--upload-file", str(target.file)),
    )


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
        if target.mode in ("starttls", "implicit"):
            client.login(LOGIN, PASSWORD)
        assert client.sendmail(SENDER, RECIPIENTS, target.file.read_bytes(), ["BODY=8BITMIME"]) == {}


def aiosmtplib_client(target: Target) -> None:
    settings = target.file.with_name("settings.json")
    where = {"host": target.host, "port": target.port, "ca": str(target.ca), "mode": target.mode, "hello": HELLO}
    what = {"sender": SENDER, "recipients": RECIPIENTS, "file": str(target.text)}
    settings.write_text(json.dumps({**where, **what, "login": LOGIN, "password": PASSWORD}), encoding="utf-8")
    run(sys.executable, "-I", str(Path(__file__).with_name("aiosmtplib_client.py")), str(settings))


CLIENTS: dict[str, tuple[Callable[[Target], None], tuple[str, ...]]] = {
    "swaks": (swaks, ("plain", "starttls", "implicit", "lmtp")),
    "swaks-pipelining": (swaks_pipelining, ("plain", "starttls", "lmtp")),
    "msmtp": (msmtp, ("plain", "starttls", "implicit", "lmtp")),
    "curl": (curl, ("plain", "starttls", "implicit")),
    "smtplib": (smtplib_client, ("plain", "starttls", "implicit")),
    "aiosmtplib": (aiosmtplib_client, ("plain", "starttls", "implicit")),
}
"""Each client, with the ways in which it can come."""

WAYS = [pytest.param(client, mode, id=f"{name}-{mode}") for name, (client, modes) in CLIENTS.items() for mode in modes]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """The root for the clients, and the context of the servers."""
    ca, chain, key = write_certificates(tmp_path_factory.mktemp("certificates"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return ca, context


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Generator[Backend]:
    """Each of the three in turn; the test must leave nothing behind."""
    found: Backend = request.param
    with nothing_left():
        yield found


def with_server(backend: Backend, inbox: Inbox, work: Callable[[AnyServer], None], **options: Any) -> None:
    async def scenario() -> None:
        async with backend.serve(inbox, **options) as server:
            await backend.in_thread(lambda: work(server))

    backend.run(scenario)


def serving(mode: str, context: ssl.SSLContext) -> dict[str, Any]:
    """What a server is told, so that the client cannot but come in this way."""
    if mode in ("plain", "lmtp"):
        return {"service": Service(HOST_NAMES[2], lmtp=mode == "lmtp")}
    mechanisms = ("PLAIN", "LOGIN")
    if mode == "implicit":
        return {
            "service": Service(HOST_NAMES[2], mechanisms=mechanisms, require_auth=True),
            "context": context,
            "implicit_tls": True,
        }
    service = Service(HOST_NAMES[2], starttls=True, mechanisms=mechanisms, require_tls=True, require_auth=True)
    return {"service": service, "context": context}


@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.parametrize(("client", "mode"), WAYS)
def test_content_arrives_as_it_was_given(
    backend: Backend,
    client: Callable[[Target], None],
    mode: str,
    certificates: tuple[Path, ssl.SSLContext],
    tmp_path: Path,
) -> None:
    ca, context = certificates
    file, text = tmp_path / "content", tmp_path / "text"
    file.write_bytes(LETTER.content)
    text.write_bytes(LETTER.text)
    inbox = Inbox(credentials={LOGIN: PASSWORD})

    def work(server: AnyServer) -> None:
        client(Target(host=server.host, port=server.port, ca=ca, file=file, text=text, mode=mode))

    with_server(backend, inbox, work, **serving(mode, context))
    [message] = inbox.messages
    assert message.envelope.sender == SENDER
    assert message.envelope.forward_paths == RECIPIENTS
    assert (message.hello, message.lmtp) == (HELLO, mode == "lmtp")
    secured = mode in ("starttls", "implicit")
    assert ((message.tls is not None), (message.identity is not None)) == (secured, secured)
    assert message.content == LETTER.arrived


@pytest.mark.rfc("5321", "2.3.8")
def test_bare_line_feeds_are_refused_and_the_session_goes_on(backend: Backend) -> None:
    """smtplib sends octets as they are, and so what its own user must not have given it."""
    inbox = Inbox()

    def work(server: AnyServer) -> None:
        with smtplib.SMTP(server.host, server.port, HELLO, timeout=30) as client:
            with pytest.raises(smtplib.SMTPDataError) as caught:
                client.sendmail(SENDER, RECIPIENTS, LETTER.text)
            assert caught.value.smtp_code == 554
            assert client.sendmail(SENDER, RECIPIENTS, LETTER.content) == {}

    with_server(backend, inbox, work)
    assert [message.content for message in inbox.messages] == [LETTER.arrived]


SOURCE_ADDS = b"\r\n"
"""What smtp-source puts behind every content, which has ended with a CRLF already."""


class Load(NamedTuple):
    """What smtp-source does."""

    connections: int
    messages: int
    octets: int
    options: tuple[str, ...]
    lmtp: bool


LOADS = {
    "reused": Load(20, 1000, 2000, ("-d",), lmtp=False),
    "one-each": Load(20, 200, 2000, (), lmtp=False),
    "lmtp": Load(20, 300, 2000, ("-d", "-L", "-r", "3"), lmtp=True),
    "large": Load(4, 20, 1_000_000, ("-d",), lmtp=False),
}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_smtp_source(backend: Backend, load: Load) -> None:
    """Many connections at a time: each message comes once, and whole."""
    inbox = Inbox()

    def work(server: AnyServer) -> None:
        run(
            *(find_program("smtp-source", "postfix"), "-M", HELLO, "-f", SENDER, "-t", "user@example.test"),
            *("-s", str(load.connections), "-m", str(load.messages), "-l", str(load.octets), *load.options),
            f"inet:{server.host}:{server.port}",
        )

    with_server(backend, inbox, work, service=Service(HOST_NAMES[2], lmtp=load.lmtp))
    assert len(inbox.messages) == load.messages
    assert {len(message.envelope.recipients) for message in inbox.messages} == {3 if load.lmtp else 1}
    [body] = {message.content.partition(b"\r\n\r\n")[2] for message in inbox.messages}
    assert len(body) == load.octets + len(SOURCE_ADDS)
    assert len({message.peer for message in inbox.messages}) == (
        load.connections if "-d" in load.options else load.messages
    )


@pytest.mark.parametrize("lmtp", [False, True])
def test_smtp_source_with_a_file(backend: Backend, tmp_path: Path, lmtp: bool) -> None:
    """By LMTP through a unix socket."""
    text = tmp_path / "text"
    text.write_bytes(LETTER.text)
    inbox = Inbox()
    path = str(tmp_path / "socket") if lmtp else None

    def work(server: AnyServer) -> None:
        where = f"inet:{server.host}:{server.port}" if path is None else f"unix:{path}"
        run(
            *(find_program("smtp-source", "postfix"), "-M", HELLO, "-f", SENDER, "-t", "user@example.test"),
            *("-s", "5", "-m", "20", "-F", str(text), *(("-L",) if lmtp else ()), where),
        )

    with_server(backend, inbox, work, path=path, service=Service(HOST_NAMES[2], lmtp=lmtp))
    assert [message.content for message in inbox.messages] == [LETTER.arrived + SOURCE_ADDS] * 20
