"""smtplib, which comes with Python."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING, Any, ClassVar

from tests.comparison.outcome import Unsupported

from . import PASSWORD, SENDER, TOKEN, USER, Library, Order, Sent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def xoauth2(challenge: bytes | None = None) -> str:
    return f"user={USER}\1auth=Bearer {TOKEN}\1\1"


class Smtplib(Library):
    name = "smtplib"
    distribution = ""
    modules = ("smtplib",)
    roles = ("client",)
    by_hand: ClassVar[Mapping[str, str]] = {"oauth": "what XOAUTH2 says is a function of the program's, for `auth()`"}
    wrongly_typed = 'smtplib.SMTP("mx.example", "25", timeout="soon")'

    def deliver(self, order: Order, **more: Any) -> Sent:
        with self._connected(order) as client:
            if order.tls == "starttls":
                client.starttls(context=order.context)
            if order.login:
                client.login(USER, PASSWORD)
            if order.token:
                client.ehlo()
                client.auth("XOAUTH2", xoauth2)
            if all(each.isascii() for each in order.recipients):
                return Sent(client.sendmail(SENDER, order.recipients, order.content, **more))
            return Sent(client.sendmail(SENDER, order.recipients, order.content, ["SMTPUTF8", "BODY=8BITMIME"]))

    @staticmethod
    def _connected(order: Order) -> smtplib.SMTP:
        timeout: Any = {} if order.timeout is None else {"timeout": order.timeout}
        if order.lmtp:
            return smtplib.LMTP("127.0.0.1", order.port, **timeout)
        if order.tls == "implicit":
            return smtplib.SMTP_SSL("127.0.0.1", order.port, context=order.context, **timeout)
        return smtplib.SMTP("127.0.0.1", order.port, **timeout)

    def deliver_with_options(self, order: Order, *, notify: str) -> Sent:
        return self.deliver(order, rcpt_options=[f"NOTIFY={notify}"])

    def deliver_in_phases(self, order: Order, *, commands: float, final: float) -> Sent:
        raise Unsupported("it has one timeout for all")

    def default_timeout(self, port: int) -> float | None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            assert client.sock is not None
            timeout: float | None = client.sock.gettimeout()
            return timeout

    def without_io(self, replies: Sequence[bytes]) -> bytes:
        smtplib.SMTP().ehlo("me.example")
        raise AssertionError("it went on without a connection")


LIBRARY = Smtplib()
