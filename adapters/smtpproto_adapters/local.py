"""A server for tests: in threads, on loopback, with an `Inbox`, faults, and a certificate of its own."""

from __future__ import annotations

import functools
import ssl
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from smtpproto import Limits, LocalProtocolError, ServerAuth, Service, Timeouts
from smtpproto.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS

from .blocking import Server
from .faults import Faults
from .inbox import Inbox

if TYPE_CHECKING:
    from smtpproto.sasl import ServerMechanism

__all__ = ["LocalServer"]

_HOST: Final = "127.0.0.1"
_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_GRACE: Final = 0.1
"""Seconds for the sessions that a test has left open."""


class LocalServer:
    """A server that runs from `start` to `close`, or for the time of a ``with`` block.

    ``tls``: ``"starttls"``, ``"implicit"`` (TLS from the first octet), or None.  Needs trustme (the extra ``testing``).
    ``credentials``: user name -> password; ``tokens``: OAuth 2.0 access token -> user name; ``mechanisms``: others than
    fit them.  Without ``tls`` they may travel in plaintext: it is loopback.
    ``auth``: instead of these, a `ServerAuth` of your own.
    ``require_tls``, ``require_auth``: no mail without them.
    ``lmtp``: speak LMTP.
    ``extensions``: lines of the EHLO reply, but for STARTTLS and AUTH; None: what the engine does by itself.
    ``inbox``: an `Inbox`, or what makes one, such as a class of your own that decides about recipients.
    The others are those of `Service` and of the server.

    Raises `LocalProtocolError` for what does not fit together, and ImportError where trustme is missing.
    """

    def __init__(
        self,
        *,
        tls: Literal["starttls", "implicit"] | None = None,
        credentials: Mapping[str, str] | None = None,
        tokens: Mapping[str, str] | None = None,
        mechanisms: Iterable[str | ServerMechanism] | None = None,
        auth: ServerAuth | None = None,
        require_tls: bool = False,
        require_auth: bool = False,
        lmtp: bool = False,
        extensions: Mapping[str, str] | Iterable[str] | None = None,
        host_name: str = "localhost",
        limits: Limits = DEFAULT_LIMITS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        max_connections: int = 100,
        inbox: Inbox | Callable[[], Inbox] = Inbox,
    ) -> None:
        if tls not in (None, "starttls", "implicit"):
            raise LocalProtocolError(f"tls is {tls!r}: it must be 'starttls', 'implicit' or None")
        if credentials is not None and not credentials:
            raise LocalProtocolError("credentials are empty: nobody could ever authenticate")
        if require_tls and tls is None:
            raise LocalProtocolError("require_tls=True without tls: say which, 'starttls' or 'implicit'")
        self.inbox = inbox if isinstance(inbox, Inbox) else inbox()
        self.faults = Faults()
        self.username, self.password = next(iter((credentials or {}).items()), ("", ""))
        self.tls = tls
        if credentials is not None or tokens is not None or mechanisms is not None:
            auth = _auth(auth, credentials, tokens, mechanisms, required=require_auth, allow_plaintext=tls is None)
        elif require_auth:
            raise LocalProtocolError("require_auth=True needs credentials or tokens (or say so in auth=ServerAuth(…))")
        service = Service(
            host_name,
            extensions=extensions,
            starttls=tls == "starttls",
            auth=auth,
            require_tls=require_tls,
            lmtp=lmtp,
            limits=limits,
            timeouts=timeouts,
        )
        self._certificates = None if tls is None else _certificates()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._server = Server(
            self.inbox,
            host=_HOST,
            service=service,
            context=None if self._certificates is None else self._certificates.server,
            certificate=None if self._certificates is None else self._certificates.pem,
            implicit_tls=tls == "implicit",
            max_connections=max_connections,
            faults=self.faults,
            grace=_GRACE,
        )

    inbox: Inbox
    """What has arrived."""
    faults: Faults
    """What shall go wrong."""
    username: str
    """The first one of the credentials; empty without."""
    password: str
    """And its password."""
    tls: Literal["starttls", "implicit"] | None

    @property
    def host(self) -> str:
        """Where it listens: an address of loopback, which is in its certificate, as is ``localhost``."""
        return self._server.host

    @property
    def port(self) -> int:
        """The port; a free one is taken when it starts."""
        return self._server.port

    @property
    def service(self) -> Service:
        """What it offers."""
        return self._server.service

    @property
    def url(self) -> str:
        """As ``smtp://127.0.0.1:2525``; ``smtps:`` where TLS is implicit, ``lmtp:`` where it speaks that."""
        scheme = "smtps" if self.tls == "implicit" else "lmtp" if self.service.lmtp else "smtp"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def ca_file(self) -> str:
        """A file with the certificate to trust, in PEM; it is gone when the server is closed."""
        certificates = self._with_tls()
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="smtpproto-")
            self._path.write_text(certificates.authority)
        return str(self._path)

    def client_context(self) -> ssl.SSLContext:
        """A client's, which trusts that certificate, and no other."""
        return ssl.create_default_context(cadata=self._with_tls().authority)

    @property
    def _path(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name, "ca.pem")

    def _with_tls(self) -> _Certificates:
        if self._certificates is None:
            raise LocalProtocolError("the server has no TLS: make it with tls='starttls' or tls='implicit'")
        return self._certificates

    def start(self) -> Self:
        """Listen, and serve."""
        self._server.start()
        return self

    def close(self) -> None:
        """End all of it; what has arrived stays in the inbox."""
        self._server.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalServer {self.url}>"


def _auth(
    auth: ServerAuth | None,
    credentials: Mapping[str, str] | None,
    tokens: Mapping[str, str] | None,
    mechanisms: Iterable[str | ServerMechanism] | None,
    *,
    required: bool,
    allow_plaintext: bool,
) -> ServerAuth:
    """Without the delay of a failure: that is for strangers, and a test would only wait."""
    if auth is not None:
        raise LocalProtocolError("auth says it all: leave out credentials, tokens and mechanisms")
    return ServerAuth(
        credentials,
        tokens=tokens,
        mechanisms=mechanisms,
        required=required,
        allow_plaintext=allow_plaintext,
        failure_delay=0,
    )


class _Certificates:
    def __init__(self, server: ssl.SSLContext, pem: bytes, authority: str) -> None:
        self.server = server
        self.pem = pem
        self.authority = authority


@functools.cache
def _certificates() -> _Certificates:
    """One authority for all servers of this process: keys take time."""
    try:
        import trustme
    except ImportError:
        raise ImportError(
            "TLS needs a certificate, and trustme, which makes it, is missing: pip install smtpproto-sansio[testing]"
        ) from None
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf = authority.issue_cert(*_NAMES)
    leaf.configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    return _Certificates(server, leaf.cert_chain_pems[0].bytes(), authority.cert_pem.bytes().decode())
