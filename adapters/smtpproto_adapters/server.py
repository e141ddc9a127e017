"""What the three servers share: where they listen, what they offer, and who serves a client.

What their program decides is in ``handler.py``, and can be imported from here; one session under way in ``turn.py``.
"""

from __future__ import annotations

import inspect
import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import ClassVar, Final

from smtpproto import Event, LocalProtocolError, Reply, ServerAuth, Service
from smtpproto.flows import Close, Flow, Send

from .bindings import certificate_of, channel_bindings
from .faults import Faults
from .handler import Decision, Handler, Outcome, Outcomes, ServerSession, Verdict
from .received import ReceivedMessage
from .transport import Address, AsyncWire, Listener, Wire, named, run, run_async
from .turn import Turn, logger

__all__ = [
    "Decision",
    "Handler",
    "Outcome",
    "Outcomes",
    "ReceivedMessage",
    "ServerCore",
    "ServerSession",
    "Verdict",
]

_TOO_MANY: Final = Reply(421, "4.3.2 too many connections, try again later")
_SMTP: Final = 25
_METHODS: Final = tuple(name for name, each in vars(Handler).items() if inspect.isfunction(each) and name[0] != "_")


class ServerCore:
    """A server, which runs for the time of its ``with`` or ``async with`` block.

    ``host``, ``port``: where to listen; port 0 is any free one.  ``path``: at a unix socket instead.
    ``service``: what is offered; None offers STARTTLS where there is a ``context``, and ``auth``.
    ``auth``: how clients authenticate.  It is for a server without a ``service``, which has an ``auth`` of its own.
    ``context``: certificate and key, as `ssl.SSLContext` has them.
    ``certificate``: the certificate once more, as a file in PEM, or as PEM or DER, for `ssl` does not give it out.
    With it, authentication can be bound to the TLS channel: SCRAM-SHA-256-PLUS and kin.
    ``implicit_tls``: TLS comes before the greeting (RFC 8314 section 3.3).
    ``max_connections``: a client beyond them is told to try again later.
    ``on_event``: sees every event, with its `ServerSession`; ``on_send``: every reply; ``on_end``: the end of each.
    ``grace``: seconds that the sessions get at the end; they hear 421.
    ``faults``: what shall go wrong, for the tests of clients.

    Raises `LocalProtocolError` for what does not fit together, and OSError where the certificate cannot be read; and
    OSError, on entering, where it cannot listen.
    """

    _may_await: ClassVar[bool] = True

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        service: Service | None = None,
        auth: ServerAuth | None = None,
        context: ssl.SSLContext | None = None,
        certificate: bytes | str | os.PathLike[str] | None = None,
        implicit_tls: bool = False,
        max_connections: int = 100,
        on_event: Callable[[ServerSession, Event], object] | None = None,
        on_send: Callable[[ServerSession, Reply], object] | None = None,
        on_end: Callable[[ServerSession], object] | None = None,
        grace: float = 5.0,
        faults: Faults | None = None,
    ) -> None:
        if service is None:
            service = Service(starttls=context is not None and not implicit_tls, auth=auth)
        elif auth is not None:
            raise LocalProtocolError("auth and service: give the auth to the Service")
        self.handler = handler
        self.service = service
        self.context = context
        self.channel_bindings: Mapping[str, bytes] = channel_bindings(
            None if certificate is None else certificate_of(certificate)
        )
        self.implicit_tls = implicit_tls
        self.max_connections = max_connections
        self.on_event = on_event
        self.on_send = on_send
        self.on_end = on_end
        self.grace = grace
        self.faults = faults
        self.path = path
        self.host, self.port = ("", 0) if path is not None else (host, port)
        self._check()

    host: str
    """Where it listens: the address, once it does; empty for a unix socket."""
    port: int
    """The same; 0 for a unix socket."""
    path: str | None

    def _listen(self) -> Listener:
        listener = Listener(self.host, self.port, self.path)
        self.host, self.port = listener.host, listener.port
        return listener

    def _check(self) -> None:
        needs_context = self.implicit_tls or self.service.starttls
        if needs_context and self.context is None:
            raise LocalProtocolError("TLS needs a context with a certificate: give context=")
        if not needs_context and self.context is not None:
            raise LocalProtocolError("a context without TLS: give Service(starttls=True) or implicit_tls=True as well")
        if self.service.lmtp and self.port == _SMTP:
            raise LocalProtocolError("LMTP and port 25: it must not be there (RFC 2033 section 5), take another")
        if self.max_connections < 1:
            raise LocalProtocolError(f"max_connections is {self.max_connections}: it must be 1 or more")
        auth = self.service.auth
        if auth is not None and auth.unanswered and getattr(self.handler.verify, "__func__", None) is Handler.verify:
            raise LocalProtocolError(
                f"{', '.join(auth.unanswered)}: nobody could answer what these mechanisms ask.  Give the ServerAuth "
                "credentials or tokens, or the handler a verify() of its own"
            )
        if self.channel_bindings and self.context is None:
            raise LocalProtocolError("a certificate without TLS: give context= as well")
        if inspect.iscoroutinefunction(self.handler.transaction_ended):
            raise LocalProtocolError(
                "transaction_ended() is async: nobody waits for it, so let it be an ordinary method"
            )
        if not self._may_await:
            for name in _METHODS:
                method = getattr(self.handler, name)
                if inspect.iscoroutinefunction(method):
                    raise LocalProtocolError(
                        f"{method.__qualname__} is async: use the server of asyncio or trio for it"
                    )

    def _turned_away(self) -> Flow[None]:
        """What a client gets that is one too many; without a wait, so that it can be said between two others."""
        if not self.implicit_tls:
            with suppress(OSError):
                yield Send(bytes(_TOO_MANY), 0.5)
        yield Close()

    def _converse(self, wire: Wire, peer: Address, clock: Callable[[], float]) -> None:
        """Serve one client.  Nothing but an interrupt can come out of it."""
        turn = Turn(self, peer, clock)
        try:
            run(wire, turn.flow, turn.ask)
        except Exception:
            logger.exception("the session with %s broke", named(peer))
        finally:
            turn.end()

    async def _converse_async(self, wire: AsyncWire, peer: Address, clock: Callable[[], float]) -> None:
        """The same; nor can anything but a cancellation."""
        turn = Turn(self, peer, clock)
        try:
            await run_async(wire, turn.flow, turn.ask_async)
        except Exception:
            logger.exception("the session with %s broke", named(peer))
        finally:
            turn.end()
