"""The package `smtpproto` of the registry, which lives in an environment of its own."""

from __future__ import annotations

import asyncio
import email
import email.policy
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import PASSWORD, RECIPIENT, SENDER, TOKEN, USER, Library, Order, Sent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

# For the type checkers, `smtpproto` is ours.
auth: Any = import_module("smtpproto.auth")
client: Any = import_module("smtpproto.client")
protocol: Any = import_module("smtpproto.protocol")


class Tokens(auth.OAuth2Authenticator):  # type: ignore[misc]
    async def get_token(self) -> dict[str, object]:
        return {"access_token": TOKEN, "expires_in": 3600}


def message_of(order: Order) -> EmailMessage:
    """It takes no octets."""
    return email.message_from_bytes(order.content, policy=email.policy.SMTP)


class Registry(Library):
    name = "smtpproto of the registry"
    distribution = "smtpproto"
    modules = ("smtpproto.client", "smtpproto.protocol", "smtpproto.auth")
    roles = ("client",)
    wrongly_typed = 'smtpproto.client.AsyncSMTPClient("mx.example", port="25")'

    def _arguments(self, order: Order) -> dict[str, Any]:
        if order.lmtp:
            raise self.nothing_like("lmtp|lhlo")
        found: dict[str, Any] = {"host": "127.0.0.1", "port": order.port, "ssl_context": order.context}
        if order.timeout is not None:
            found |= {"connect_timeout": order.timeout, "timeout": order.timeout}
        if order.login:
            found["authenticator"] = auth.PlainAuthenticator(USER, PASSWORD)
        if order.token:
            found["authenticator"] = Tokens(USER)
        return found

    def deliver(self, order: Order) -> Sent:
        asyncio.run(self.deliver_within("asyncio", order))
        return Sent({})

    def deliver_blocking(self, order: Order) -> Sent:
        made = client.SyncSMTPClient(**self._arguments(order))
        made.send_message(message_of(order), sender=SENDER, recipients=order.recipients)
        return Sent({})

    async def deliver_within(self, loop: str, order: Order) -> None:
        made = client.AsyncSMTPClient(**self._arguments(order))
        await made.send_message(message_of(order), sender=SENDER, recipients=order.recipients)

    def default_timeout(self, port: int) -> float | None:
        timeout: float = client.AsyncSMTPClient("127.0.0.1", port).timeout
        return timeout

    def without_io(self, replies: Sequence[bytes]) -> bytes:
        machine = protocol.SMTPClientProtocol()
        greeting, ehlo, mail, rcpt = replies
        written: bytes = b""
        machine.feed_bytes(greeting)
        for send, argument, reply in (
            (machine.send_greeting, "me.example", ehlo),
            (machine.mail, SENDER, mail),
            (machine.recipient, RECIPIENT, rcpt),
        ):
            send(argument)
            written += machine.get_outgoing_data()
            machine.feed_bytes(reply)
        machine.start_data()
        written += machine.get_outgoing_data()
        return written


LIBRARY = Registry()
