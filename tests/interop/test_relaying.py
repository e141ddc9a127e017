"""Postfix and Exim hand on through our three servers what was submitted to them."""

from __future__ import annotations

import secrets
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from smtpproto import Envelope, Fate, Rcpt, Reply, Security, ServerAuth, Service
from smtpproto.parameters import OriginalRecipient
from smtpproto.service import DEFAULT_EXTENSIONS
from smtpproto_adapters.inbox import Inbox
from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.interop.agents import AGENTS, SMARTHOST
from tests.interop.exim import Relay
from tests.interop.letters import letter
from tests.interop.servers import (
    HOST,
    USER,
    held_ports,
    open_folder,
    tail,
    without_trace,
    write_certificates,
)
from tests.interop.tape import Tap

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from smtpproto import Bdat
    from smtpproto_adapters.handler import Decision, Outcome, ServerSession
    from smtpproto_adapters.received import ReceivedMessage
    from tests.adapters.backends import AnyClient
    from tests.interop.letters import Letter
    from tests.interop.servers import Certificates, RunningServer

ACCEPTED = Fate.ACCEPTED
LONGEST_LINE = 998
"""Octets: Postfix breaks what is longer."""
SECONDS = 30.0
"""How long a message may be under way; most take a fraction of one."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A real mail transfer agent, and what it takes for its smarthost."""

    server: RunningServer
    port: int
    """Where it expects the smarthost: it is free between the tests."""
    certificates: Certificates
    """Of the smarthost."""

    def client(self, backend: Backend) -> AnyClient:
        """One who submits."""
        options: dict[str, Any] = {"context": self.server.client_context(), "security": Security.REQUIRED}
        login = {"username": USER.login, "password": USER.password, "authenticate": True}
        return backend.client(host=HOST, port=self.server.ports.submission, timeout=60, **options, **login)

    def tap(self) -> Tap:
        """It stands where the smarthost is expected, once it has been told where that really is."""
        to_client = self.certificates.server_context()
        to_server = ssl.create_default_context(cafile=self.certificates.ca)
        return Tap(0, port=self.port, to_client=to_client, to_server=to_server)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.scenario(client=name)) for name in AGENTS])
def agent(request: pytest.FixtureRequest) -> Generator[Agent]:
    with open_folder("smarthost") as folder, held_ports(1) as (port,):
        certificates = write_certificates(folder)
        with AGENTS[request.param](Relay(port, certificates.ca)) as server:
            yield Agent(server, port, certificates)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest, agent: Agent) -> Generator[Backend]:
    """Each of the three in turn; the test must leave nothing behind."""
    found: Backend = request.param
    with nothing_left():
        yield found


class Smarthost(Inbox):
    """Keeps what it is handed, refuses ``nobody…`` for good, and puts off ``later…``, or the first content, once."""

    def __init__(self, *, puts_off_content: bool = False) -> None:
        super().__init__()
        self.token = secrets.token_hex(8)
        """It is in every refusal for good."""
        self.chunks = 0
        self.put_off: list[str] = []
        self._puts_off_content = puts_off_content
        self._lock = threading.Lock()

    def rcpt(self, session: ServerSession, command: Rcpt) -> Decision:
        path = command.forward_path
        if path.startswith("nobody"):
            return Reply(550, f"5.1.1 nobody here has that name {self.token}")
        return self._once(path) if path.startswith("later") else None

    def chunk(self, session: ServerSession, command: Bdat) -> Outcome:
        self.chunks += 1
        return super().chunk(session, command)

    def message(self, session: ServerSession, message: ReceivedMessage) -> Outcome:
        assert message.tls is not None
        assert message.identity is not None
        assert message.identity.username == USER.login
        return (self._once("content") if self._puts_off_content else None) or super().message(session, message)

    def _once(self, what: str) -> Reply | None:
        with self._lock:
            if what in self.put_off:
                return None
            self.put_off.append(what)
            return Reply(451, "4.7.1 try again")


def elsewhere(*names: str) -> list[str]:
    return [f"{name}@elsewhere.test" for name in names]


def hand_on(
    backend: Backend,
    agent: Agent,
    smarthost: Smarthost,
    envelope: Envelope,
    content: bytes,
    *,
    copies: int = 1,
    without: Iterable[str] = (),
    tap: Tap | None = None,
) -> tuple[ReceivedMessage, ...]:
    """Submit the message, and wait until the smarthost has got it, in so many transactions.

    ``without``: extensions that the smarthost does not offer; ``tap``: what stands before it.
    """
    extensions = [each for each in (*DEFAULT_EXTENSIONS, "DSN") if each not in without]
    auth = ServerAuth({USER.login: USER.password}, required=True)
    service = Service(SMARTHOST, starttls=True, require_tls=True, auth=auth, extensions=extensions)
    context = agent.certificates.server_context()

    async def scenario() -> None:
        port = 0 if tap else agent.port
        async with backend.serve(smarthost, host=HOST, port=port, service=service, context=context) as server:
            if tap is not None:
                tap.target = server.port
            async with agent.client(backend) as client:
                result = await client.deliver(envelope, content)
                assert result.fate is ACCEPTED, str(result)
            try:
                await backend.in_thread(lambda: smarthost.wait(copies, SECONDS))
            except TimeoutError as error:
                error.add_note(tail(agent.server.log))
                raise

    backend.run(scenario)
    return smarthost.messages


def check(message: ReceivedMessage, sent: Letter, *names: str) -> None:
    """It is what was submitted, less the trace fields."""
    assert message.envelope.sender == USER.login
    assert message.envelope.forward_paths == tuple(elsewhere(*names))
    assert message.content.startswith(b"Received: ")
    assert without_trace(message.content) == sent.arrived


@pytest.mark.scenario("STARTTLS")
@pytest.mark.rfc("5321", "3.6.3")
@pytest.mark.rfc("3207", "4")
@pytest.mark.parametrize("without", [(), ("CHUNKING",), ("PIPELINING",)], ids=["all", "no-chunking", "no-pipelining"])
def test_what_is_handed_on_is_what_was_submitted(backend: Backend, agent: Agent, without: tuple[str, ...]) -> None:
    """For those who are known; that one was not is told the sender, with the reason that our handler gave."""
    sent, smarthost = letter(LONGEST_LINE), Smarthost()
    names = ("first", "nobody", "second", "third")
    envelope = Envelope(USER.login, elsewhere(*names), body="8BITMIME")
    [message] = hand_on(backend, agent, smarthost, envelope, sent.content, without=without)
    check(message, sent, "first", "second", "third")
    # Exim sends what has eight bits, and says nothing of it.
    assert message.envelope.mail.body == ("8BITMIME" if agent.server.name == "postfix" else None)
    assert message.hello == "mail.example.test"
    # Postfix has CHUNKING as a server only.
    assert bool(smarthost.chunks) is (agent.server.name == "exim" and "CHUNKING" not in without)
    bounce = agent.server.wait_for_content("user", smarthost.token.encode(), SECONDS)
    assert b"nobody@elsewhere.test" in bounce


@pytest.mark.scenario("STARTTLS")
@pytest.mark.rfc("5321", "4.5.4.1")
@pytest.mark.parametrize("puts_off_content", [False, True], ids=["recipient", "content"])
def test_what_was_put_off_is_tried_again(backend: Backend, agent: Agent, puts_off_content: bool) -> None:
    """Each recipient gets the message once."""
    sent, smarthost = letter(LONGEST_LINE), Smarthost(puts_off_content=puts_off_content)
    names = ("first", "second") if puts_off_content else ("first", "later", "second")
    envelope = Envelope(USER.login, elsewhere(*names), body="8BITMIME")
    copies = 1 if puts_off_content else 2
    messages = hand_on(backend, agent, smarthost, envelope, sent.content, copies=copies)
    assert smarthost.put_off == (["content"] if puts_off_content else elsewhere("later"))
    assert len(messages) == copies
    check(messages[0], sent, "first", "second")
    for message in messages[1:]:
        check(message, sent, "later")


@pytest.mark.rfc("3461", "5.2.1")
@pytest.mark.rfc("6531", "3.4")
def test_parameters_are_handed_on(backend: Backend, agent: Agent) -> None:
    sent, smarthost = letter(LONGEST_LINE), Smarthost()
    original = OriginalRecipient("rfc822", "somebody+else@elsewhere.test")
    rcpt = Rcpt("jörg@elsewhere.test", notify=("FAILURE", "DELAY"), orcpt=original)
    envelope = Envelope(USER.login, rcpt, smtputf8=True, ret="HDRS", envid="1+1=2", body="8BITMIME")
    [message] = hand_on(backend, agent, smarthost, envelope, sent.content)
    check(message, sent, "jörg")
    mail, [handed_on] = message.envelope.mail, message.envelope.recipients
    assert (mail.smtputf8, mail.ret, mail.envid) == (True, "HDRS", "1+1=2")
    assert set(handed_on.notify) == {"FAILURE", "DELAY"}
    assert handed_on.orcpt == original


@pytest.mark.scenario("pipelined")
@pytest.mark.rfc("2920", "3.1")
def test_commands_come_in_groups(backend: Backend, agent: Agent) -> None:
    """MAIL, the recipients, and what begins the content, before any of them is answered."""
    sent, smarthost = letter(LONGEST_LINE), Smarthost()
    envelope = Envelope(USER.login, elsewhere("first", "second"), body="8BITMIME")
    with agent.tap() as tap:
        [message] = hand_on(backend, agent, smarthost, envelope, sent.content, tap=tap)
    check(message, sent, "first", "second")
    [tape] = tap.tapes
    [group] = [text for who, text in tape.log if who == "C" and text.startswith("MAIL FROM")]
    verbs = [line[:4] for line in group.split("\r\n")]
    assert verbs[:4] == ["MAIL", "RCPT", "RCPT", {"postfix": "DATA", "exim": "BDAT"}[agent.server.name]]
