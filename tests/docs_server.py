"""The hosts under `.example` that the documentation talks to: real servers of ours, on loopback.

The adapters are what the documentation shows, so these servers do not stand on them: the flow of a server is run
here by hand, one thread a connection.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, Self

import dns.resolver
import trustme

from smtpproto.errors import ErrorCode, TransportError
from smtpproto.flows import Close, Receive, Send, StartTls, serve
from smtpproto.server_auth import ServerAuth
from smtpproto.service import Service, ServiceSession
from tests.nameserver import NameServer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    import pytest

NOWHERE = "nowhere.example"
"""The one name under `.example` that is not found."""
USER, PASSWORD, TOKEN = "user", "password", "a-token"
IMPLICIT_TLS = frozenset({465, "465", "smtps", "submissions"})
DNS = {
    ("mail.example", "MX"): ["10 mx.example.", f"20 {NOWHERE}."],
    ("_submissions._tcp.mail.example", "SRV"): ["0 1 465 mx.example."],
}
LOOPBACK = frozenset({None, "localhost", "127.0.0.1", "::1", ""})


class ExampleDomain:
    """The servers, while it is entered: one that offers STARTTLS, and one under TLS from the start.

    They know one user, by a password and by a token.
    Their certificate holds the names given; OpenSSL takes no ``*.example``.
    """

    def __init__(self, names: Iterable[str], authority: trustme.CA | None = None) -> None:
        authority = trustme.CA() if authority is None else authority
        self.authority = authority.cert_pem
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = authority.issue_cert(*names, "localhost", "127.0.0.1")
        certificate.configure_cert(self.context)  # pyright: ignore[reportUnknownMemberType]
        # RFC 5929 section 4.1, for certificates that are signed with SHA-256, as those of trustme are.
        der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
        self.channel_bindings = {"tls-server-end-point": hashlib.sha256(der).digest()}
        self.auth = ServerAuth({USER: PASSWORD}, tokens={TOKEN: USER}, failure_delay=0)
        self.names = NameServer(DNS)
        self.moved: dict[object, int] = {}
        """Ports of loopback that are elsewhere in truth."""
        self.listeners = {secure: socket.create_server(("127.0.0.1", 0)) for secure in (False, True)}
        self.connections: set[socket.socket] = set()
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for secure, listener in self.listeners.items():
            self.start(self.accept, listener, secure)
        self.names.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.names.__exit__(kind, error, trace)
        for each in [*self.listeners.values(), *self.connections]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self.threads:
            thread.join(10)

    def start(self, target: Any, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self, listener: socket.socket, secure: bool) -> None:
        with contextlib.suppress(OSError):  # it is closed when the domain is left
            while True:
                connection, _ = listener.accept()
                self.connections.add(connection)
                self.start(self.converse, connection, secure)

    def converse(self, stream: socket.socket, secure: bool) -> None:
        service = Service("mx.example", starttls=not secure, auth=self.auth)
        with contextlib.suppress(OSError):  # the client's errors are its own affair
            flow = serve(ServiceSession(service, secure=secure), implicit_tls=secure)
            with contextlib.suppress(StopIteration):
                effect = flow.send(None)
                while True:
                    answer: object = None
                    match effect:
                        case Send():
                            stream.sendall(effect.data)
                        case Receive(timeout=0) if not select.select([stream], [], [], 0)[0]:
                            effect = flow.throw(TransportError("nothing has come yet", ErrorCode.TIMED_OUT))
                            continue
                        case Receive():
                            answer = stream.recv(65536)
                        case StartTls():
                            stream = self.secured(stream)
                            answer = self.channel_bindings
                        case Close():
                            stream.close()
                        case _:
                            pass
                    effect = flow.send(answer)

    def secured(self, stream: socket.socket) -> socket.socket:
        secured = self.context.wrap_socket(stream, server_side=True)
        self.connections.add(secured)
        return secured

    def patch(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        """Let names under `.example` lead here, let the default context trust the servers, and hide the network."""
        folder.mkdir(exist_ok=True)
        certificate = folder / "ca.pem"
        self.authority.write_to_path(str(certificate))
        patch.setenv("SSL_CERT_FILE", str(certificate))
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name in LOOPBACK:
                return real(host, self.moved.get(port, port), *arguments, **options)
            if not name.endswith(".example") or name == NOWHERE:
                raise socket.gaierror(socket.EAI_NONAME, f"{name} is not found: the documentation knows .example alone")
            listener = self.listeners[port in IMPLICIT_TLS]
            return real("127.0.0.1", listener.getsockname()[1], *arguments, **options)

        patch.setattr(socket, "getaddrinfo", getaddrinfo)

        def read_resolv_conf(resolver: dns.resolver.BaseResolver, *_: object) -> None:
            resolver.nameservers = [self.names.host]
            resolver.port = self.names.port

        patch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", read_resolv_conf)
