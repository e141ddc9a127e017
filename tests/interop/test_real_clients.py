"""Real clients against our three servers: what a handler gets is what the client was given, to the octet."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from smtpproto import ServerAuth, Service
from smtpproto_adapters.inbox import Inbox
from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.interop.letters import HELLO, SENDER, letter
from tests.interop.real_clients import (
    RECIPIENTS,
    Call,
    Target,
    aiosmtplib_client,
    curl,
    msmtp,
    nodemailer_client,
    s_nail,
    smtplib_client,
    swaks,
    swaks_pipelining,
    with_server,
)
from tests.interop.servers import HOST_NAMES, USER, find_program

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tests.adapters.backends import AnyServer
    from tests.interop.servers import Certificates

LETTER = letter()


def running(client: Callable[[Target], Call]) -> Callable[[Target], None]:
    return lambda target: client(target).run()


CLIENTS: dict[str, tuple[Callable[[Target], None], tuple[str, ...]]] = {
    "swaks": (running(swaks), ("plain", "starttls", "implicit", "lmtp")),
    "swaks-pipelining": (running(swaks_pipelining), ("plain", "starttls", "lmtp")),
    "msmtp": (running(msmtp), ("plain", "starttls", "implicit", "lmtp")),
    "curl": (running(curl), ("plain", "starttls", "implicit")),
    "smtplib": (smtplib_client, ("plain", "starttls", "implicit")),
    "aiosmtplib": (running(aiosmtplib_client), ("plain", "starttls", "implicit")),
    "nodemailer": (running(nodemailer_client), ("plain", "starttls", "implicit", "lmtp")),
    "s-nail": (running(s_nail), ("plain", "starttls", "implicit")),
}
"""Each client, with the ways in which it can come."""

SCENARIOS = {"plain": "plain", "starttls": "STARTTLS", "implicit": "implicit TLS", "lmtp": "LMTP"}
"""What a way is called in the table."""


def shows(name: str, mode: str) -> pytest.MarkDecorator:
    client = name.removesuffix("-pipelining")
    # These two group their commands unasked, wherever it is offered.
    pipelined = ["pipelined"] if client != name or name in ("msmtp", "nodemailer") else []
    return pytest.mark.scenario(SCENARIOS[mode], *pipelined, client=client)


WAYS = [
    pytest.param(client, mode, id=f"{name}-{mode}", marks=shows(name, mode))
    for name, (client, modes) in CLIENTS.items()
    for mode in modes
]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Generator[Backend]:
    """Each of the three in turn; the test must leave nothing behind."""
    found: Backend = request.param
    with nothing_left():
        yield found


def serving(mode: str, context: ssl.SSLContext) -> dict[str, Any]:
    """What a server is told, so that the client cannot but come in this way."""
    if mode in ("plain", "lmtp"):
        return {"service": Service(HOST_NAMES[2], lmtp=mode == "lmtp")}
    auth = ServerAuth({USER.login: USER.password}, required=True)
    if mode == "implicit":
        return {"service": Service(HOST_NAMES[2], auth=auth), "context": context, "implicit_tls": True}
    service = Service(HOST_NAMES[2], starttls=True, auth=auth, require_tls=True)
    return {"service": service, "context": context}


@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.parametrize(("client", "mode"), WAYS)
def test_content_arrives_as_it_was_given(
    backend: Backend,
    client: Callable[[Target], None],
    mode: str,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    file, text = tmp_path / "content", tmp_path / "text"
    file.write_bytes(LETTER.content)
    text.write_bytes(LETTER.text)
    inbox = Inbox()

    def work(server: AnyServer) -> None:
        client(Target(host=server.host, port=server.port, ca=certificates.ca, file=file, text=text, mode=mode))

    with_server(backend, inbox, work, **serving(mode, certificates.server_context()))
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
    "reused": Load(50, 1000, 2000, ("-d",), lmtp=False),
    "one-each": Load(20, 200, 2000, (), lmtp=False),
    "lmtp": Load(50, 1000, 2000, ("-d", "-L", "-r", "3"), lmtp=True),
    "large": Load(4, 20, 1_000_000, ("-d",), lmtp=False),
}


def smtp_source(*options: str) -> Call:
    program = find_program("smtp-source", "postfix")
    return Call((program, "-M", HELLO, "-f", SENDER, "-t", "user@example.test", *options))


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(
            load,
            id=name,
            marks=pytest.mark.scenario(
                "LMTP, many connections" if load.lmtp else "many connections", client="smtp-source"
            ),
        )
        for name, load in LOADS.items()
    ],
)
def test_smtp_source(backend: Backend, load: Load) -> None:
    """Many connections at a time: each message comes once, and whole."""
    inbox = Inbox()

    def work(server: AnyServer) -> None:
        numbers = ("-s", str(load.connections), "-m", str(load.messages), "-l", str(load.octets))
        smtp_source(*numbers, *load.options, f"inet:{server.host}:{server.port}").run()

    with_server(backend, inbox, work, service=Service(HOST_NAMES[2], lmtp=load.lmtp))
    assert len(inbox.messages) == load.messages
    assert {len(message.envelope.recipients) for message in inbox.messages} == {3 if load.lmtp else 1}
    [body] = {message.content.partition(b"\r\n\r\n")[2] for message in inbox.messages}
    assert len(body) == load.octets + len(SOURCE_ADDS)
    assert len({message.peer for message in inbox.messages}) == (
        load.connections if "-d" in load.options else load.messages
    )


@pytest.mark.parametrize(
    "lmtp",
    [
        pytest.param(False, marks=pytest.mark.scenario("plain", client="smtp-source")),
        pytest.param(True, marks=pytest.mark.scenario("LMTP", client="smtp-source")),
    ],
)
def test_smtp_source_with_a_file(backend: Backend, tmp_path: Path, lmtp: bool) -> None:
    """By LMTP through a unix socket."""
    text = tmp_path / "text"
    text.write_bytes(LETTER.text)
    inbox = Inbox()
    path = str(tmp_path / "socket") if lmtp else None

    def work(server: AnyServer) -> None:
        where = f"inet:{server.host}:{server.port}" if path is None else f"unix:{path}"
        smtp_source("-s", "5", "-m", "20", "-F", str(text), *(("-L",) if lmtp else ()), where).run()

    with_server(backend, inbox, work, path=path, service=Service(HOST_NAMES[2], lmtp=lmtp))
    assert [message.content for message in inbox.messages] == [LETTER.arrived + SOURCE_ADDS] * 20


@pytest.mark.parametrize(
    "lmtp",
    [
        pytest.param(False, marks=pytest.mark.scenario("many connections", client="nodemailer")),
        pytest.param(True, marks=pytest.mark.scenario("LMTP, many connections", client="nodemailer")),
    ],
)
def test_pool_of_nodemailer(backend: Backend, certificates: Certificates, tmp_path: Path, lmtp: bool) -> None:
    """A thousand messages through fifty connections, in groups of commands: each comes once, and whole."""
    text, mode = tmp_path / "text", "lmtp" if lmtp else "plain"
    text.write_bytes(LETTER.text)
    recipients = (*RECIPIENTS, "uni@example.test") if lmtp else RECIPIENTS
    inbox = Inbox()

    def work(server: AnyServer) -> None:
        target = Target(host=server.host, port=server.port, ca=certificates.ca, file=text, text=text, mode=mode)
        call = nodemailer_client(target, messages=1000, connections=50, recipients=recipients)
        call._replace(seconds=110).run()

    with_server(backend, inbox, work, service=Service(HOST_NAMES[2], lmtp=lmtp))
    assert {message.envelope.forward_paths for message in inbox.messages} == {recipients}
    numbers, contents = zip(*(message.content.split(b"\r\n", 1) for message in inbox.messages), strict=True)
    assert sorted(numbers) == sorted(b"X-Number: %d" % number for number in range(1000))
    assert set(contents) == {LETTER.arrived}
    assert len({message.peer for message in inbox.messages}) == 50
