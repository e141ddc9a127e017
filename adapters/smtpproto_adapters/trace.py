"""A client's session as the command line shows it: in order, without secrets, and fit for a terminal.

A `Trace` is what watches the client; it hands everything on to a `View`.  One view is here, the lines of JSON; the
other is the ladder, for people.
"""

from __future__ import annotations

import json
import time
from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TextIO

from smtpproto import (
    EXTENSIONS,
    Auth,
    AuthChallenge,
    AuthNeeded,
    AuthReason,
    AuthResponse,
    Command,
    Connected,
    ConnectFailed,
    ConnectionClosed,
    EhloReply,
    ErrorCode,
    Event,
    Extensions,
    Greeting,
    Reply,
    ReplyReceived,
    Target,
)

REDACTED = "<redacted>"

SHORTEST_SECRET = 4
"""Characters of a password that is looked for in what a server says; a shorter one would be found everywhere."""

LONGEST_SENTENCE = 600
"""Characters; a server can put much more than that into one reply."""


class Tls(Protocol):
    """What is known of the TLS below a session."""

    @property
    def version(self) -> str: ...
    @property
    def cipher(self) -> str: ...
    @property
    def certificate(self) -> Mapping[str, Any] | None: ...


class Watched(Protocol):
    """A client, as far as the trace looks at it."""

    @property
    def tls(self) -> Tls | None: ...


class View(Protocol):
    """How a session is shown."""

    def target(self, target: Target) -> None:
        """Whom we are going to connect to."""

    def sent(self, command: Command) -> None:
        """A line of ours; its ``str()`` shows no secret."""

    def tls(self, tls: Tls) -> None:
        """TLS stands."""

    def event(self, event: Event, reply: Reply | None) -> None:
        """An event, with the reply that it came with (redacted), where it came with one of its own."""

    def outcome(self, failure: ConnectFailed | None, sentence: str) -> None:
        """How it ended; the sentence says why it failed."""


class Trace:
    """Watches a client: its ``on_event``, ``on_send`` and ``tls``."""

    def __init__(self, view: View, secrets: Iterable[str] = ()) -> None:
        self.view = view
        self.client: Watched | None = None
        self._secrets: set[str] = set()
        for secret in secrets:
            self._remember_text(secret)
        self._tls_shown = False

    def on_send(self, command: Command | Reply) -> None:
        """Show a command, which is on its way."""
        assert isinstance(command, Command)  # clients send nothing else
        self._remember(command)
        self._look_at_tls()
        self.view.sent(command)

    def on_event(self, event: Event) -> None:
        """Show an event."""
        self._look_at_tls()
        self.view.event(event, self._reply_of(event))

    def end(self, failure: ConnectFailed | None) -> str:
        """Show the outcome; returns the sentence that says why it failed."""
        self._look_at_tls()
        sentence = "" if failure is None else one_line(self.redacted(str(failure)))
        self.view.outcome(failure, sentence)
        return sentence

    def redacted(self, text: str) -> str:
        """The same without secrets: servers like to repeat what they do not understand."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, REDACTED)
        return text

    def _look_at_tls(self) -> None:
        tls = None if self.client is None or self._tls_shown else self.client.tls
        if tls is not None:
            self._tls_shown = True
            self.view.tls(tls)

    def _remember(self, command: Command) -> None:
        """What a mechanism makes of a secret, as it goes over the wire, is one too."""
        if isinstance(command, Auth):
            self._remember_octets(command.initial_response)
        elif isinstance(command, AuthResponse):
            self._remember_octets(command.response)

    def _remember_octets(self, octets: bytes | None) -> None:
        if octets:
            self._secrets.add(b2a_base64(octets, newline=False).decode())

    def _remember_text(self, secret: str) -> None:
        octets = secret.encode("utf-8", "surrogateescape")
        self._remember_octets(octets)
        if len(secret) >= SHORTEST_SECRET:
            # As it is in a reply, and in the octets that an error quotes.
            self._secrets.update((secret, repr(octets)[2:-1]))

    def _reply_of(self, event: Event) -> Reply | None:
        if not isinstance(event, ReplyReceived) or is_announcement(event):
            return None
        if isinstance(event, AuthChallenge):
            return Reply(event.reply.code, REDACTED)
        return Reply(event.reply.code, tuple(map(self.redacted, event.reply.lines)))


def is_announcement(event: Event) -> bool:
    """True for an event that no reply of its own came with: it only says where the handshake has got to."""
    return isinstance(event, AuthNeeded) and event.why is not AuthReason.REQUIRED_BY_SERVER


def printable(text: str) -> str:
    r"""The text with controls, surrogates and what turns the direction of writing as escapes such as ``\x1b``."""
    return text if text.isprintable() else "".join(map(_printable_character, text))


def _printable_character(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # an octet that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def one_line(text: str) -> str:
    """A sentence with what others said in it, on one line."""
    line = printable(" ".join(text.split("\n")))
    return line if len(line) <= LONGEST_SENTENCE else f"{line[:LONGEST_SENTENCE]} …"


class Certificate:
    """The names in a certificate, made fit for printing.

    It takes what `ssl.SSLSocket.getpeercert` returns.
    """

    def __init__(self, certificate: Mapping[str, Any] | None) -> None:
        found = certificate or {}
        self.subject = _name(found.get("subject", ()))
        self.names = tuple(printable(str(value)) for _, value in found.get("subjectAltName", ()))
        self.issuer = _name(found.get("issuer", ()))
        self.not_before = printable(str(found.get("notBefore", "")))
        self.not_after = printable(str(found.get("notAfter", "")))


def _name(distinguished: Iterable[Iterable[tuple[str, str]]]) -> str:
    """The common name; where there is none, all that there is."""
    fields = [(str(key), str(value)) for relative in distinguished for key, value in relative]
    common = [value for key, value in fields if key == "commonName"]
    return printable(common[-1] if common else ", ".join(value for _, value in fields))


class JsonLines:
    """One JSON object a line, in ASCII, for programs.

    Each has ``type`` (target, sent, tls, event, outcome) and ``time``, in seconds since the beginning.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._begin = time.monotonic()

    def target(self, target: Target) -> None:
        """``{"type": "target", "host": …, "port": …, "path": …, "host_name": …, "security": …, …}``"""
        self._write(
            "target",
            host=target.host or None,
            port=None if target.path is not None else target.port,
            path=target.path,
            host_name=target.host_name,
            security=target.security.value,
            extended=target.extended,
            lmtp=target.lmtp,
        )

    def sent(self, command: Command) -> None:
        """``{"type": "sent", "command": "Ehlo", "line": "EHLO me.example"}``"""
        self._write("sent", command=type(command).__name__, line=str(command))

    def tls(self, tls: Tls) -> None:
        """``{"type": "tls", "version": …, "cipher": …, "certificate": {…}}``"""
        certificate = None if not tls.certificate else vars(Certificate(tls.certificate))
        self._write("tls", version=tls.version, cipher=tls.cipher, certificate=certificate)

    def event(self, event: Event, reply: Reply | None) -> None:
        """``{"type": "event", "event": "EhloReply", "reply": {…}, "extensions": […]}``"""
        fields: dict[str, Any] = {}
        if reply is not None:
            fields["reply"] = _json_reply(reply)
        match event:
            case Greeting():
                fields.update(domain=_decoded(event.domain), accepted=event.accepted)
            case EhloReply():
                fields.update(extensions=_json_extensions(event.extensions))
            case AuthNeeded():
                fields.update(mechanisms=event.mechanisms, why=event.why.name)
            case Connected():
                fields.update(extensions=_json_extensions(event.extensions), extended=event.extended, tls=event.tls)
            case ConnectionClosed():
                fields.update(unanswered=[type(command).__name__ for command in event.unanswered], clean=event.clean)
            case _:
                pass
        self._write("event", event=type(event).__name__, **fields)

    def outcome(self, failure: ConnectFailed | None, sentence: str) -> None:
        """``{"type": "outcome", "code": 0, "name": "SUCCESS", "message": null, "stage": null, "retryable": …}``"""
        code = ErrorCode.SUCCESS if failure is None else failure.code
        self._write(
            "outcome",
            code=int(code),
            name=code.name,
            message=sentence or None,
            stage=None if failure is None else failure.stage.name,
            retryable=failure is not None and failure.retryable,
        )

    def _write(self, kind: str, **fields: Any) -> None:
        elapsed = round(time.monotonic() - self._begin, 6)
        self._file.write(f"{json.dumps({'type': kind, 'time': elapsed, **fields})}\n")
        self._file.flush()


def _decoded(text: str) -> str:
    r"""JSON has no octets: those that are not UTF-8 become escapes such as ``\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _json_reply(reply: Reply) -> dict[str, Any]:
    enhanced = None if reply.enhanced is None else str(reply.enhanced)
    return {"code": reply.code, "enhanced": enhanced, "lines": [_decoded(line) for line in reply.lines]}


def _json_extensions(extensions: Extensions) -> list[dict[str, str | None]]:
    rows: list[dict[str, str | None]] = []
    for keyword, argument in extensions.items():
        known = EXTENSIONS.get(keyword)
        rows.append(
            {
                "keyword": keyword,
                "argument": argument,
                "rfc": None if known is None else known.rfc,
                "title": None if known is None else known.title,
            }
        )
    return rows
