"""Records sessions into `tests/transcripts`, in the form that `tests/replaying.py` reads.

    python -m tests.interop.transcribe [WHO ...]

records again all the sessions of those in `WHO`, or of those that are named, and writes over what was recorded before.
"""

from __future__ import annotations

import base64
import ssl
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import pytest

from smtpproto import Envelope, Security, ServerAuth, Service
from smtpproto_adapters.blocking import Client, serve
from smtpproto_adapters.inbox import Inbox
from tests.interop.agents import AGENTS, SMARTHOST
from tests.interop.cyrus import running_postfix_with_cyrus
from tests.interop.dovecot import FULL, FULL_OCTETS
from tests.interop.exim import Relay, running_exim
from tests.interop.nodemailer import running_nodemailer
from tests.interop.postfix import output_of
from tests.interop.servers import DOMAIN, HOST, USER, find_program, open_folder, write_certificates
from tests.interop.smtp_sink import running_smtp_sink
from tests.interop.tape import SECONDS, Talk, Tap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tests.interop.servers import RunningServer


class Recorded(Protocol):
    """What is written above a recording."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...


R = TypeVar("R", bound=Recorded)

# What is said to a server -------------------------------------------------------------------------------------------

EHLO = b"EHLO client.test"
MAIL, EIGHT_BIT = (b"MAIL FROM:<a@client.test>" + body for body in (b"", b" BODY=8BITMIME"))
KNOWN, OTHER, NOBODY = (f"RCPT TO:<{name}@{DOMAIN}>".encode() for name in ("user", "other", "nosuch"))
HEAD = b"From: <a@client.test>\r\nTo: <user@example.test>\r\nSubject: dots\r\n\r\n"
CONTENT = HEAD + b".leading\r\n..two\r\nplain\r\n. end\r\n\xc3\xa9 8bit\r\n"
STUFFED = HEAD + b"..leading\r\n...two\r\nplain\r\n.. end\r\n\xc3\xa9 8bit\r\n.\r\n"


def base64_of(*texts: str) -> list[bytes]:
    return [base64.b64encode(text.encode()) for text in texts]


def group(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)


def ehlo_quit(talk: Talk, server: Recorded) -> None:
    talk.say(EHLO)


def helo_only(talk: Talk, server: Recorded) -> None:
    talk.say(b"HELO client.test", MAIL, KNOWN, b"DATA")
    talk.send(HEAD + b"ASCII only\r\n.\r\n")


def starttls_auth_data(talk: Talk, server: RunningServer) -> None:
    talk.say(EHLO, MAIL, b"STARTTLS")
    talk.start_tls(server.client_context())
    [response] = base64_of(f"\0{server.user.login}\0{server.user.password}")
    talk.say(EHLO, b"AUTH PLAIN " + response, EIGHT_BIT, KNOWN, b"DATA")
    talk.send(STUFFED)


def implicit_tls(talk: Talk, server: RunningServer) -> None:
    """With a wrong password, and then the right one."""
    talk.say(EHLO)
    for password in ("another-Pass1", server.user.password):
        talk.say(b"AUTH LOGIN", *base64_of(server.user.login, password))
    talk.say(MAIL, b"RSET")


def unknown_user(talk: Talk, server: RunningServer) -> None:
    talk.say(EHLO, EIGHT_BIT, NOBODY, KNOWN, NOBODY, b"DATA")
    talk.send(STUFFED)
    talk.say(b"VRFY user", b"NOOP", b"HELP")


def pipelined(talk: Talk, server: Recorded) -> None:
    """Two messages, of which the second is overlapped with the end of the first, and then one that nobody gets."""
    talk.say(EHLO)
    talk.send(group(EIGHT_BIT, KNOWN, NOBODY, b"DATA"), 4)
    talk.send(STUFFED + group(EIGHT_BIT, OTHER, b"DATA"), 4)
    talk.send(STUFFED + group(MAIL, NOBODY, b"RSET"), 4)


def bdat(talk: Talk, server: RunningServer) -> None:
    """In two chunks, one after the other; then twice all in one flight, with a last chunk that is empty."""
    half = len(CONTENT) // 2
    first, rest = CONTENT[:half], CONTENT[half:]
    talk.say(EHLO, EIGHT_BIT, KNOWN)
    talk.send(group(b"BDAT %d" % half) + first)
    talk.send(group(b"BDAT %d LAST" % len(rest)) + rest)
    chunks = group(b"BDAT %d" % half) + first + group(b"BDAT %d" % len(rest)) + rest + group(b"BDAT 0 LAST")
    talk.send((group(EIGHT_BIT, KNOWN, OTHER) + chunks) * 2, 12)


def lmtp(talk: Talk, server: RunningServer) -> None:
    """For four recipients, of whom one is unknown, and one has no room for it; then for one, behind STARTTLS."""
    full = f"RCPT TO:<{FULL}@{DOMAIN}>".encode()
    long = (b"z" * 76 + b"\r\n") * (FULL_OCTETS // 78 + 1) + STUFFED
    talk.say(b"LHLO client.test", EIGHT_BIT, KNOWN, NOBODY, full, OTHER, b"DATA")
    talk.send(b"Subject: long\r\n\r\n" + long, 3)
    talk.say(b"STARTTLS")
    talk.start_tls(server.client_context())
    talk.say(b"LHLO client.test", EIGHT_BIT, full, b"DATA")
    talk.send(STUFFED)


def lmtp_for_two(talk: Talk, server: Recorded) -> None:
    talk.say(b"LHLO client.test", EIGHT_BIT, KNOWN, OTHER, b"DATA")
    talk.send(STUFFED, 2)


class Sink(NamedTuple):
    """smtp-sink, which has neither users nor TLS."""

    version: str
    name: str = "smtp-sink"


class Scenario(NamedTuple):
    """A scripted session."""

    role: str
    """Which of the server's ports it needs."""
    play: Callable[[Talk, RunningServer], None]


SCENARIOS: Mapping[str, Scenario] = {
    "ehlo-quit": Scenario("plain", ehlo_quit),
    "helo-only": Scenario("plain", helo_only),
    "starttls-auth-data": Scenario("submission", starttls_auth_data),
    "implicit-tls": Scenario("smtps", implicit_tls),
    "unknown-user": Scenario("plain", unknown_user),
    "pipelined": Scenario("plain", pipelined),
    "bdat": Scenario("plain", bdat),
}


def transcribe_server(server: RunningServer, scenarios: Iterable[str] = SCENARIOS) -> Iterator[str]:
    """Play the scenarios to a server that runs, and save them; the name of each, when it is done."""
    for name in scenarios:
        scenario = SCENARIOS[name]
        context = server.client_context() if scenario.role == "smtps" else None
        yield transcribe(server, name, scenario.play, getattr(server.ports, scenario.role), context)


def transcribe(
    server: R,
    name: str,
    play: Callable[[Talk, R], None],
    port: int,
    context: ssl.SSLContext | None = None,
) -> str:
    """Play one scenario at a port, and save it; its name.  With a context, under TLS from the start."""
    with Talk(port, context=context) as talk:
        play(talk, server)
        talk.quit()
    talk.tape.save(f"{server.name}-{name}", server=server.name, version=server.version, scenario=name, port=port)
    return f"{server.name}-{name}"


def exim() -> Iterator[str]:
    with running_exim() as server:
        yield from transcribe_server(server)


def nodemailer() -> Iterator[str]:
    with running_nodemailer() as server:
        yield from transcribe_server(server, [name for name in SCENARIOS if name != "bdat"])
        yield transcribe(server, "lmtp", lmtp, server.lmtp)


def cyrus() -> Iterator[str]:
    """Postfix with another SASL: what differs is how one logs in."""
    with running_postfix_with_cyrus() as server:
        yield from transcribe_server(server, ["ehlo-quit", "starttls-auth-data", "implicit-tls"])


def smtp_sink() -> Iterator[str]:
    sink = Sink(output_of(find_program("postconf", "postfix"), "-d", "-h", "mail_version"))
    with running_smtp_sink() as running:
        yield transcribe(sink, "helo-only", helo_only, running.port)
        yield transcribe(sink, "ehlo-quit", ehlo_quit, running.port)
        yield transcribe(sink, "pipelined", pipelined, running.port)
    with running_smtp_sink("-L") as running:
        yield transcribe(sink, "lmtp", lmtp_for_two, running.port)


def relaying(agent_name: str) -> Iterator[str]:
    """What is submitted to an agent, one of `AGENTS`, it hands on to a server of ours."""
    auth = ServerAuth({USER.login: USER.password}, required=True)
    service = Service(SMARTHOST, starttls=True, require_tls=True, auth=auth)
    recipients = [f"{name}@elsewhere.test" for name in ("first", "second")]
    with ExitStack() as stack:
        inbox = Inbox()
        certificates = write_certificates(stack.enter_context(open_folder("smarthost")))
        context = certificates.server_context()
        smarthost = stack.enter_context(serve(inbox, service=service, context=context))
        to_server = ssl.create_default_context(cafile=certificates.ca)
        with Tap(smarthost.port, to_client=context, to_server=to_server) as tap:
            agent = stack.enter_context(AGENTS[agent_name](Relay(tap.port, certificates.ca)))
            options: dict[str, Any] = {"security": Security.REQUIRED, "context": agent.client_context()}
            options |= {"username": USER.login, "password": USER.password, "authenticate": True}
            with Client(host=HOST, port=agent.ports.submission, **options) as client:
                envelope = Envelope(USER.login, recipients, body="8BITMIME")
                client.deliver(envelope, CONTENT).raise_unless_accepted()
            inbox.wait(timeout=SECONDS)
        [tape] = tap.tapes
        name = f"client-{agent_name}-relaying"
        tape.save(name, client=agent_name, version=agent.version, scenario="relaying")
    yield name


WHO: Mapping[str, Callable[[], Iterator[str]]] = {
    "exim": exim,
    "nodemailer": nodemailer,
    "cyrus": cyrus,
    "smtp-sink": smtp_sink,
    **{f"{name}-relaying": partial(relaying, name) for name in AGENTS},
}
"""Each makes the recordings of one, and tells their names."""


def main(names: list[str]) -> int:
    for name in names or WHO:
        if name not in WHO:
            sys.stderr.write(f"there is no {name!r} to be recorded, but {', '.join(WHO)}\n")
            return 2
        try:
            for recorded in WHO[name]():
                sys.stdout.write(f"{recorded}\n")
        except pytest.skip.Exception as missing:
            sys.stderr.write(f"{missing}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
