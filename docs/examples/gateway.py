"""A submission gateway: takes mail of this host without authentication, and forwards it with TLS and authentication.

    UPSTREAM_PASSWORD=… python gateway.py 2525 submission://user@smtp.example

It keeps nothing.  Whatever the server upstream says to an address is told to the client at once, and no message is
accepted before the server has accepted it: there is no queue that could lose one.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import sys
import threading
from email.utils import format_datetime, localtime
from typing import TYPE_CHECKING

from smtpproto import ConnectOptions, Envelope, Fate, LocalProtocolError, Mail, Rcpt, Reply, Service, SmtpError
from smtpproto.trace import protocol_name, received
from smtpproto_adapters.blocking import Client, serve
from smtpproto_adapters.server import Handler, ReceivedMessage, ServerSession

if TYPE_CHECKING:
    import ssl

log = logging.getLogger("gateway")
NOT_FROM_HERE = Reply(554, "5.7.1 this is for programs on this host")
LATER = Reply(451, "4.4.1 the server upstream cannot be asked, try again later")


class Gateway(Handler):
    """Has a connection upstream for each transaction; the blocking server runs each session in a thread of its own."""

    def __init__(self, upstream: ConnectOptions, context: ssl.SSLContext | None = None) -> None:
        self.upstream = upstream
        self.context = context
        self.clients: dict[ServerSession, Client] = {}

    def greeting(self, session: ServerSession) -> Reply | None:
        host = session.peer[0]
        return None if ipaddress.ip_address(host).is_loopback else NOT_FROM_HERE

    def mail(self, session: ServerSession, command: Mail) -> Reply | None:
        """Connect, and hear what upstream says to the sender."""
        client = Client(self.upstream, context=self.context)
        try:
            client.connect()
            reply = client.command(Mail(command.reverse_path, smtputf8=command.smtputf8))
        except LocalProtocolError as error:
            client.abort()
            return Reply(554, f"5.6.7 {error}")
        except SmtpError as error:  # ConnectFailed is one, and so is what breaks the connection
            log.warning("%s", error)
            client.abort()
            return LATER
        if not reply.is_positive:
            client.disconnect()
            return reply
        self.clients[session] = client
        return None

    def rcpt(self, session: ServerSession, command: Rcpt) -> Reply | None:
        try:
            reply = self.clients[session].command(Rcpt(command.forward_path))
        except SmtpError as error:
            log.warning("%s", error)
            return LATER
        return None if reply.is_positive else reply

    def message(self, session: ServerSession, message: ReceivedMessage) -> Reply | None:
        """Deliver it.  Each recipient was accepted before, so that one answer is nearly always true of all."""
        client = self.clients[session]
        try:
            client.reset()  # what was asked so far was asked; the message brings its envelope along
            envelope = Envelope(message.envelope.mail.replaced(size=None), message.envelope.recipients)
            result = client.deliver(envelope, trace(message) + message.content)
        except LocalProtocolError as error:
            return Reply(554, f"5.6.3 {error}")
        except SmtpError as error:
            log.warning("%s", error)
            return LATER
        log.info("%s", result.recipients)
        if result.fate is Fate.ACCEPTED:
            return result.reply
        if result.fate is Fate.REFUSED and not result.accepted and result.reply is not None:
            return result.reply
        return LATER  # the client tries again: rather twice than not at all (RFC 5321 section 4.5.4.1)

    def transaction_ended(self, session: ServerSession) -> None:
        client = self.clients.pop(session, None)
        if client is not None:
            client.disconnect()


def trace(message: ReceivedMessage) -> bytes:
    """The field that each server puts before those of the servers before it.  RFC 5321 section 4.4."""
    mail = message.envelope.mail
    return received(
        by=message.host_name,
        date=format_datetime(localtime()),
        hello=message.hello,
        address=message.peer[0],
        protocol=protocol_name(
            lmtp=False, extended=message.extended, secure=False, authenticated=False, smtputf8=mail.smtputf8
        ),
    )


def service() -> Service:
    """What is offered: no more than nearly every submission server can do."""
    return Service(extensions=["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 33554432"])


def main(port: str, url: str) -> None:
    upstream = ConnectOptions.from_url(url, password=os.environ["UPSTREAM_PASSWORD"], authenticate=True)
    with serve(Gateway(upstream), host="127.0.0.1", port=int(port), service=service()):
        threading.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(*sys.argv[1:])
