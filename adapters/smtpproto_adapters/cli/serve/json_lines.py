"""A server's sessions as JSON, for programs."""

from __future__ import annotations

from typing import Any, TextIO

from smtpproto import Reply
from smtpproto_adapters.cli.json_lines import JsonWriter, decoded, json_reply, json_tls
from smtpproto_adapters.cli.trace import Tls
from smtpproto_adapters.transport import Address, named

from .arrivals import Arrival
from .onlooker import Login, Offer, ServerView


class ServerJsonLines(ServerView):
    """A server's sessions.

    The types are listening, session, received, content, sent, tls, authentication, notice, message, closed and ended.
    All but the first and the last have the number of their ``session``.
    """

    def __init__(self, file: TextIO) -> None:
        self._writer = JsonWriter(file)

    def listening(self, url: str, offer: Offer, ca: str | None) -> None:
        """``{"type": "listening", "url": "smtp://127.0.0.1:2525", "ca": null, "mechanisms": […], …}``"""
        mechanisms, required = offer.mechanisms, offer.auth_required
        self._writer.write("listening", url=url, ca=ca, mechanisms=mechanisms, auth_required=required)

    def session(self, number: int, peer: Address) -> None:
        """``{"type": "session", "session": 1, "peer": "127.0.0.1 port 43210"}``"""
        self._write("session", number, peer=named(peer))

    def received(self, number: int, name: str, line: str) -> None:
        """``{"type": "received", "session": 1, "command": "Ehlo", "line": "EHLO me.example"}``"""
        self._write("received", number, command=name, line=decoded(line))

    def content(self, number: int, octets: int) -> None:
        """``{"type": "content", "session": 1, "octets": 1234}``"""
        self._write("content", number, octets=octets)

    def sent(self, number: int, reply: Reply) -> None:
        """``{"type": "sent", "session": 1, "reply": {…}}``"""
        self._write("sent", number, reply=json_reply(reply))

    def tls(self, number: int, tls: Tls) -> None:
        """``{"type": "tls", "session": 1, "version": …, "cipher": …, "certificate": null}``"""
        self._write("tls", number, **json_tls(tls))

    def authentication(self, number: int, login: Login) -> None:
        """``{"type": "authentication", "session": 1, "succeeded": true, "mechanism": …, "username": …, …}``"""
        self._write("authentication", number, **login._asdict())

    def noticed(self, number: int, what: str) -> None:
        """``{"type": "notice", "session": 1, "text": "the client closed the connection"}``"""
        self._write("notice", number, text=what)

    def arrived(self, number: int, arrival: Arrival) -> None:
        """``{"type": "message", "session": 1, "number": 1, "sender": …, "recipients": […], "octets": …, …}``"""
        self._write(
            "message",
            number,
            number=arrival.number,
            sender=arrival.envelope.sender,
            recipients=arrival.envelope.forward_paths,
            octets=arrival.size,
            subject=arrival.subject,
            preview=arrival.preview,
        )

    def closed(self, number: int) -> None:
        """``{"type": "closed", "session": 1}``"""
        self._write("closed", number)

    def ended(self, messages: int) -> None:
        """``{"type": "ended", "messages": 1}``"""
        self._writer.write("ended", messages=messages)

    def _write(self, kind: str, session: int, **fields: Any) -> None:
        self._writer.write(kind, session=session, **fields)
