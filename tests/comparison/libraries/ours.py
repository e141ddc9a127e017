"""This library."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import smtpproto
from smtpproto import (
    Connection,
    Data,
    Ehlo,
    Envelope,
    Mail,
    Rcpt,
    Reply,
    Role,
    Security,
    ServerAuth,
    Service,
    Timeouts,
)
from smtpproto_adapters.blocking import Client, serve
from smtpproto_adapters.inbox import Inbox

from . import OURS, PASSWORD, RECIPIENT, SENDER, TOKEN, USER, Library, Listening, Order, Sent, Wish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

SECURITY = {"": None, "starttls": Security.REQUIRED, "implicit": Security.IMPLICIT}


def options(order: Order) -> dict[str, Any]:
    found: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": order.port,
        "timeout": order.timeout,
        "security": SECURITY[order.tls],
        "context": order.context,
        "lmtp": order.lmtp,
    }
    if order.login:
        found |= {"username": USER, "password": PASSWORD, "authenticate": True}
    if order.token:
        found |= {"username": USER, "token": TOKEN, "authenticate": True}
    return found


def sent(result: smtpproto.DeliveryResult) -> Sent:
    if result.error is not None:
        raise result.error
    if not result.accepted:
        result.raise_unless_accepted()
    return Sent({each.recipient.forward_path: each for each in result.recipients if not each.accepted})


class OurInbox(Inbox):
    def __init__(self, wish: Wish) -> None:
        super().__init__()
        self.wish = wish

    def message(self, session: Any, message: Any) -> Any:
        if not self.wish.refuse_content_for:
            return super().message(session, message)
        wrong = self.wish.refuse_content_for
        return [Reply(550, "no") if path == wrong else Reply(250, "ok") for path in message.envelope.forward_paths]


class Ours(Library):
    name = OURS
    distribution = "smtpproto-sansio"
    modules = ("smtpproto", "smtpproto_adapters.blocking", "smtpproto_adapters.asyncio")
    roles = ("client", "server")
    wrongly_typed = 'smtpproto.Reply("250")'

    def deliver(self, order: Order) -> Sent:
        with Client(**options(order)) as client:
            return sent(client.sendmail(SENDER, order.recipients, order.content))

    async def deliver_within(self, loop: str, order: Order) -> None:
        async with import_module(f"smtpproto_adapters.{loop}").Client(**options(order)) as client:
            await client.sendmail(SENDER, order.recipients, order.content)

    def deliver_with_options(self, order: Order, *, notify: str) -> Sent:
        envelope = Envelope(SENDER, [Rcpt(RECIPIENT, notify=notify.split(","))])
        with Client(**options(order)) as client:
            return sent(client.deliver(envelope, order.content))

    def deliver_in_phases(self, order: Order, *, commands: float, final: float) -> Sent:
        every = dict.fromkeys(Timeouts.__match_args__, commands)
        timeouts = Timeouts(**every | {"data_termination": final})
        settings: dict[str, Any] = options(order) | {"timeout": None, "timeouts": timeouts}
        with Client(**settings) as client:
            return sent(client.sendmail(SENDER, order.recipients, order.content))

    def default_timeout(self, port: int) -> float | None:
        return smtpproto.Connection(Role.CLIENT).deadline

    @contextmanager
    def listen(self, wish: Wish) -> Generator[Listening]:
        inbox = OurInbox(wish)
        service = Service(
            "mx.example",
            extensions=["PIPELINING", "8BITMIME", "CHUNKING", "SMTPUTF8", "DSN"],
            starttls=wish.context is not None and not wish.implicit,
            auth=ServerAuth({USER: PASSWORD}) if wish.login else None,
            lmtp=wish.lmtp,
        )
        with serve(
            inbox,
            service=service,
            context=wish.context,
            certificate=wish.certificate,
            implicit_tls=wish.implicit,
        ) as server:
            yield Listening(server.port, lambda: [(str(each.envelope.sender), each.content) for each in inbox])

    @asynccontextmanager
    async def listen_within(self, loop: str) -> AsyncGenerator[int]:
        async with import_module(f"smtpproto_adapters.{loop}").serve(Inbox()) as server:
            yield server.port

    def without_io(self, replies: Sequence[bytes]) -> bytes:
        client = Connection(Role.CLIENT)
        written = b""
        commands = (Ehlo("me.example"), Mail(SENDER), Rcpt(RECIPIENT), Data())
        for reply, command in zip(replies, commands, strict=True):
            client.receive_data(reply)
            assert isinstance(client.next_event(), smtpproto.ReplyReceived)
            written += client.send(command)
        return written

    def exchangers(self) -> str:
        from smtpproto_adapters.discovery import Given, Kind, Mx, exchangers, parse_policy, run

        policy = parse_policy(b"version: STSv1\nmode: enforce\nmx: *.mail.example\nmax_age: 86400\n")
        records = {("mail.example", Kind.MX): [Mx(5, "elsewhere.example"), Mx(10, "mx.mail.example")]}
        plan = run(exchangers("mail.example", policy=policy), Given(records))
        [found] = plan.destinations
        [left_out] = plan.left_out
        return f"it found {found.host}, with TLS {found.security.value}, and left out {left_out.host}"


LIBRARY = Ours()
