"""aiosmtplib."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from . import CONTENT, PASSWORD, RECIPIENT, SENDER, TOKEN, USER, Library, Order, Sent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


async def token() -> str:
    return TOKEN


def client_for(order: Order) -> aiosmtplib.SMTP:
    more: dict[str, Any] = {} if order.timeout is None else {"timeout": order.timeout}
    if order.login:
        more |= {"username": USER, "password": PASSWORD}
    if order.token:
        more |= {"username": USER, "oauth_token_generator": token}
    if order.tls == "starttls":
        more["start_tls"] = True
    return aiosmtplib.SMTP(
        hostname="127.0.0.1",
        port=order.port,
        use_tls=order.tls == "implicit",
        tls_context=order.context,
        local_hostname="me.example",
        **more,
    )


class Aiosmtplib(Library):
    name = "aiosmtplib"
    distribution = "aiosmtplib"
    modules = ("aiosmtplib",)
    roles = ("client",)
    by_hand: ClassVar[Mapping[str, str]] = {"phases": "each command of its own has one, `sendmail()` one for all"}
    wrongly_typed = 'aiosmtplib.SMTP(hostname="mx.example", port="25")'

    def deliver(self, order: Order) -> Sent:
        if order.lmtp:
            raise self.nothing_like("lmtp|lhlo")
        return asyncio.run(self._deliver(order))

    async def deliver_within(self, loop: str, order: Order) -> None:
        await self._deliver(order)

    async def _deliver(self, order: Order, **more: Any) -> Sent:
        async with client_for(order) as client:
            if not all(each.isascii() for each in order.recipients):
                more = {"mail_options": ["SMTPUTF8", "BODY=8BITMIME"]}
            refused, _ = await client.sendmail(SENDER, list(order.recipients), order.content, **more)
            return Sent(refused)

    def deliver_with_options(self, order: Order, *, notify: str) -> Sent:
        return asyncio.run(self._deliver(order, rcpt_options=[f"NOTIFY={notify}"]))

    def deliver_in_phases(self, order: Order, *, commands: float, final: float) -> Sent:
        async def by_commands() -> Sent:
            async with client_for(order) as client:
                await client.ehlo(timeout=commands)
                await client.mail(SENDER, timeout=commands)
                await client.rcpt(RECIPIENT, timeout=commands)
                await client.data(CONTENT, timeout=final)
            return Sent({})

        return asyncio.run(by_commands())

    def default_timeout(self, port: int) -> float | None:
        return aiosmtplib.SMTP(hostname="127.0.0.1", port=port).timeout

    def without_io(self, replies: Sequence[bytes]) -> bytes:
        SMTPProtocol().data_received(replies[0])
        raise AssertionError("its protocol was made without a loop")


LIBRARY = Aiosmtplib()
