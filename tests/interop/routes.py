"""The ways by which our clients reach a mailbox: each real server with its transport, and where its mail ends up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from smtpproto import Security

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

    from tests.adapters.backends import AnyClient, Backend
    from tests.interop.dovecot import RunningDovecot
    from tests.interop.nodemailer import RunningNodemailer
    from tests.interop.servers import RunningServer
    from tests.interop.smtp_sink import RunningSink


class Mailboxes(Protocol):
    """Where one can look whether a message has arrived."""

    def wait_for_content(self, mailbox: str, marker: bytes) -> bytes:
        """The content that holds the marker, as it was on the wire, less what the servers put before it."""
        ...

    def clear(self, mailbox: str) -> None:
        """Throw away what has arrived there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to the mailboxes."""

    connect: Mapping[str, Any]
    """The options of the client."""
    mailboxes: Mailboxes
    judges: bool = True
    """Whether it refuses the recipients that nobody knows; smtp-sink does not."""
    longest_line: int = 2000
    """Octets in a line of content, less its CRLF, that it surely takes."""
    behind_head: bytes = b""
    """What it puts behind a header that has no end."""
    name: str = ""
    """That of the row in the table of what was tried."""

    def client(self, backend: Backend, **options: Any) -> AnyClient:
        """A client that is to be connected yet."""
        return backend.client(**{"timeout": 60, **self.connect, **options})


def postfix(request: pytest.FixtureRequest) -> Route:
    """Over TLS, which is there for who asks."""
    server: RunningServer = request.getfixturevalue("postfix")
    connect = {"host": server.host, "port": server.ports.large, "context": server.client_context()}
    return Route(connect={**connect, "security": Security.OPPORTUNISTIC}, mailboxes=server)


def exim(request: pytest.FixtureRequest) -> Route:
    """Over TLS, which is there for who asks."""
    server: RunningServer = request.getfixturevalue("exim")
    connect = {"host": server.host, "port": server.ports.large, "context": server.client_context()}
    connect = {**connect, "security": Security.OPPORTUNISTIC}
    return Route(connect=connect, mailboxes=server, behind_head=b"\r\n")


def aiosmtpd(request: pytest.FixtureRequest) -> Route:
    """In plaintext; it takes the least that RFC 5321 section 4.5.3.1.6 lets a server take."""
    server: RunningServer = request.getfixturevalue("aiosmtpd")
    return Route(connect={"host": server.host, "port": server.ports.large}, mailboxes=server, longest_line=998)


def dovecot_lmtp(request: pytest.FixtureRequest) -> Route:
    """LMTP with STARTTLS."""
    server: RunningDovecot = request.getfixturevalue("dovecot")
    connect = {"host": server.host, "port": server.lmtp, "lmtp": True, "context": server.client_context()}
    return Route(connect={**connect, "security": Security.REQUIRED}, mailboxes=server)


def dovecot_unix(request: pytest.FixtureRequest) -> Route:
    """LMTP through a unix socket."""
    server: RunningDovecot = request.getfixturevalue("dovecot")
    connect = {"path": str(server.lmtp_path), "lmtp": True, "security": Security.NONE}
    return Route(connect=connect, mailboxes=server)


def dovecot_submission(request: pytest.FixtureRequest) -> Route:
    """Dovecot, which wants to know who sends, and hands on to Postfix."""
    server: RunningDovecot = request.getfixturevalue("dovecot")
    connect = {"host": server.host, "port": server.submission, "context": server.client_context()}
    login = {"username": server.user.login, "password": server.user.password, "authenticate": True}
    behind: RunningServer = request.getfixturevalue("postfix")
    return Route(connect={**connect, **login, "security": Security.REQUIRED}, mailboxes=behind)


def nodemailer(request: pytest.FixtureRequest) -> Route:
    """Over TLS, which is there for who asks."""
    server: RunningNodemailer = request.getfixturevalue("nodemailer")
    connect = {"host": server.host, "port": server.ports.large, "context": server.client_context()}
    return Route(connect={**connect, "security": Security.OPPORTUNISTIC}, mailboxes=server)


def nodemailer_lmtp(request: pytest.FixtureRequest) -> Route:
    """LMTP with TLS from the first octet."""
    server: RunningNodemailer = request.getfixturevalue("nodemailer")
    connect = {"host": server.host, "port": server.lmtps, "lmtp": True, "context": server.client_context()}
    return Route(connect={**connect, "security": Security.IMPLICIT}, mailboxes=server)


def smtp_sink(request: pytest.FixtureRequest) -> Route:
    """smtp-sink, in plaintext."""
    server: RunningSink = request.getfixturevalue("sink")
    return Route(connect={"host": server.host, "port": server.port}, mailboxes=server, judges=False)


def smtp_sink_lmtp(request: pytest.FixtureRequest) -> Route:
    """smtp-sink, which answers for each recipient."""
    server: RunningSink = request.getfixturevalue("lmtp_sink")
    connect = {"host": server.host, "port": server.port, "lmtp": True}
    return Route(connect=connect, mailboxes=server, judges=False)


ROUTES: Mapping[str, Callable[[pytest.FixtureRequest], Route]] = {
    "postfix": postfix,
    "exim": exim,
    "aiosmtpd": aiosmtpd,
    "dovecot-lmtp": dovecot_lmtp,
    "dovecot-unix": dovecot_unix,
    "dovecot-submission": dovecot_submission,
    "nodemailer": nodemailer,
    "nodemailer-lmtp": nodemailer_lmtp,
    "smtp-sink": smtp_sink,
    "smtp-sink-lmtp": smtp_sink_lmtp,
}
