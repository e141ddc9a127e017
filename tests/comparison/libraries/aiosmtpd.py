"""aiosmtpd."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, AuthResult

from . import PASSWORD, USER, Library, Listening, Order, Sent, Wish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence


class Keeping:
    """The handler."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.arrived: list[tuple[str, bytes]] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802
        if self.wish.refuse_content_for:
            replies = ("550 no" if each == self.wish.refuse_content_for else "250 ok" for each in envelope.rcpt_tos)
            return "\r\n".join(replies)
        self.arrived.append((envelope.mail_from, envelope.content))
        return "250 ok"


class AcceptsProxy(Keeping):
    """It has to be asked whether what the header says is right."""

    async def handle_PROXY(self, server: object, session: object, envelope: object, proxy_data: object) -> bool:  # noqa: N802
        return True


class LmtpController(Controller):
    def factory(self) -> Any:
        return LMTP(self.handler, **self.SMTP_kwargs)


def free_port() -> int:
    """A controller connects to itself, and so has to be told."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def authenticated(server: object, session: object, envelope: object, mechanism: str, data: Any) -> Any:
    return AuthResult(success=(data.login, data.password) == (USER.encode(), PASSWORD.encode()))


class Aiosmtpd(Library):
    name = "aiosmtpd"
    distribution = "aiosmtpd"
    modules = ("aiosmtpd.controller", "aiosmtpd.smtp", "aiosmtpd.lmtp", "aiosmtpd.handlers")
    roles = ("server",)
    by_hand: ClassVar[Mapping[str, str]] = {
        "lmtp": "the replies for all recipients are one string that the handler has put together"
    }
    wrongly_typed = 'aiosmtpd.controller.Controller(object(), port="25")'

    def deliver(self, order: Order) -> Sent:
        raise self.nothing_like("client|send|sendmail")

    @contextmanager
    def listen(self, wish: Wish) -> Generator[Listening]:
        handler = AcceptsProxy(wish) if wish.proxied else Keeping(wish)
        more: dict[str, Any] = {"enable_SMTPUTF8": True}
        if wish.context is not None:
            more["ssl_context" if wish.implicit else "tls_context"] = wish.context
        if wish.login:
            more["authenticator"] = authenticated
        if wish.proxied:
            more["proxy_protocol_timeout"] = 5.0
        kind = LmtpController if wish.lmtp else Controller
        controller = kind(handler, hostname="127.0.0.1", port=free_port(), **more)
        controller.start()
        try:
            yield Listening(controller.port, lambda: handler.arrived)
        finally:
            controller.stop()

    @asynccontextmanager
    async def listen_within(self, loop: str) -> AsyncGenerator[int]:
        server = await asyncio.get_running_loop().create_server(lambda: SMTP(Keeping(Wish())), "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await server.wait_closed()

    def default_timeout(self, port: int) -> float | None:
        loop = asyncio.new_event_loop()
        try:
            timeout: float = vars(SMTP(Keeping(Wish()), loop=loop))["_timeout_duration"]
        finally:
            loop.close()
        return timeout

    def without_io(self, replies: Sequence[bytes]) -> bytes:
        SMTP(Keeping(Wish())).data_received(replies[0])
        raise AssertionError("its protocol took octets without a loop and a transport")


LIBRARY = Aiosmtpd()
