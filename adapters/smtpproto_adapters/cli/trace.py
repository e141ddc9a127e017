"""A client's session as the command line shows it: in order, without secrets, and fit for a terminal.

A `Trace` is what watches the client; it hands everything on to a `View`: the lines of JSON, for programs, or the
ladder, for people.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import quote

from smtpproto import (
    Auth,
    AuthChallenge,
    AuthenticationFailed,
    AuthFailed,
    AuthNeeded,
    AuthReason,
    AuthResponse,
    AuthSucceeded,
    ClientConnection,
    Command,
    Connected,
    ConnectFailed,
    Connection,
    DeliveryResult,
    ErrorCode,
    Event,
    Quit,
    RecipientResult,
    Reply,
    ReplyReceived,
    Stage,
    Target,
)
from smtpproto.sasl import MECHANISMS

if TYPE_CHECKING:
    from smtpproto_adapters.discovery import Plan

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
    @property
    def connection(self) -> ClientConnection | None: ...
    @property
    def leaving(self) -> bool: ...


class Attempt(NamedTuple):
    """An attempt to authenticate that has come to its end."""

    mechanism: str
    channel_binding: str | None = None
    """The name of what ties it to the TLS channel, where the mechanism does that."""
    offered: tuple[str, ...] = ()
    """What the server offered then."""
    succeeded: bool = False
    error: str | None = None
    """What a server of OAuth said about its refusal, as a rule JSON."""

    @property
    def server_proved(self) -> bool:
        """The server has shown that it knows the password, or what is kept of it."""
        return self.succeeded and self.mechanism in _PROVING


_BINDING: Final = frozenset(each.name for each in MECHANISMS if each.binds_channel)
_PROVING: Final = frozenset(each.name for each in MECHANISMS if each.name.startswith("SCRAM-"))
"""The mechanisms that count no success before the server has proved itself.  RFC 5802 section 3."""


class Outcome(NamedTuple):
    """How a command ended: what is behind its exit status."""

    code: int
    name: str
    sentence: str = ""
    """What went wrong; empty where nothing did."""
    stage: Stage | None = None
    """How far connecting had come, where it failed."""
    retryable: bool = False
    """The same may well succeed later."""
    error: str | None = None
    """What the server said about the reason within the authentication: JSON, or the word of SCRAM."""

    @classmethod
    def of_connecting(cls, failure: ConnectFailed | None, sentence: str) -> Outcome:
        """Of connecting, as the exception says it."""
        if failure is None:
            return cls(int(ErrorCode.SUCCESS), ErrorCode.SUCCESS.name)
        error = failure.error if isinstance(failure, AuthenticationFailed) else None
        if error and error not in sentence:
            sentence += f"; the server says {error}"
        return cls(int(failure.code), failure.code.name, sentence, failure.stage, failure.retryable, error)

    @property
    def succeeded(self) -> bool:
        """True where the exit status is 0."""
        return self.code == ErrorCode.SUCCESS


class View:
    """How a session is shown; what a subclass does not define is not."""

    def plan(self, plan: Plan) -> None:
        """The hosts that are going to be tried, in order of preference."""

    def target(self, target: Target) -> None:
        """Whom we are going to connect to."""

    def sent(self, command: Command) -> None:
        """A line of ours; its ``str()`` shows no secret."""

    def tls(self, tls: Tls) -> None:
        """TLS stands."""

    def event(self, event: Event, reply: Reply | None) -> None:
        """An event, with the reply that it came with (redacted), where it came with one of its own."""

    def authentication(self, attempt: Attempt) -> None:
        """What an attempt to authenticate came to (redacted)."""

    def content(self, octets: int) -> None:
        """So much of a message was sent."""

    def recipient(self, result: RecipientResult, reply: Reply | None) -> None:
        """What became of the message for one recipient, and what the server said to that (redacted)."""

    def farewell(self) -> None:
        """^C was pressed; what comes now is the farewell."""

    def failure(self, outcome: Outcome) -> None:
        """How it ended with this host; there is another to be tried."""

    def outcome(self, outcome: Outcome) -> None:
        """How it ended."""


class Secrets:
    """What must not be shown, in every form that it takes on the wire."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        for text in texts:
            self.remember(text)

    def remember(self, text: str) -> None:
        """A password, a token."""
        octets = text.encode("utf-8", "surrogateescape")
        self._remember_octets(octets)
        if len(text) >= SHORTEST_SECRET:
            # As it is in a reply, in the octets that an error quotes, in JSON, and in a URL.
            self._known.update((text, repr(octets)[2:-1], json.dumps(text)[1:-1], quote(octets, safe="")))

    def remember_from(self, command: Command) -> None:
        """What a mechanism makes of a secret, as it goes over the wire, is one too."""
        if isinstance(command, Auth):
            self._remember_octets(command.initial_response)
        elif isinstance(command, AuthResponse):
            self._remember_octets(command.response)

    def _remember_octets(self, octets: bytes | None) -> None:
        if octets:
            self._known.add(b2a_base64(octets, newline=False).decode())

    def redacted(self, text: str) -> str:
        """The same without them: servers like to repeat what they do not understand."""
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, REDACTED)
        return text

    def redacted_reply(self, reply: Reply) -> Reply:
        """The same for a reply."""
        return Reply(reply.code, tuple(map(self.redacted, reply.lines)))


class Trace:
    """Watches a client: its ``on_event`` and ``on_send``, what it knows, and the progress of what it sends."""

    def __init__(self, view: View, secrets: Iterable[str] = ()) -> None:
        self.view = view
        self.client: Watched | None = None
        self.secrets: Secrets = Secrets(secrets)
        self.refusal: AuthNeeded | None = None
        """The last refusal of a command because of what has to come before it."""
        self._tls_shown = self._leaving_shown = False
        self._content_sent = self._content_shown = 0
        self._attempt: Attempt | None = None

    def on_send(self, command: Command | Reply) -> None:
        """Show a command, which is on its way."""
        assert isinstance(command, Command)  # clients send nothing else
        self.secrets.remember_from(command)
        if not isinstance(command, Quit):
            self._confirm()  # a client that thinks nothing of the success would not go on
        self._catch_up()
        self.view.sent(command)
        if isinstance(command, Auth):
            self._attempt = self._begun(command)

    def on_event(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Connected):
            self._confirm()
        self._catch_up()
        self.view.event(event, self._reply_of(event))
        match event:
            case AuthFailed():
                self._end_attempt(succeeded=False, error=event.error)
            case AuthSucceeded() if self._attempt is not None:
                # So the server says; the mechanism has a word in it, and that comes later.
                self._attempt = self._attempt._replace(succeeded=True)
            case AuthNeeded() if not is_announcement(event):
                self.refusal = event
            case _:
                pass

    def on_progress(self, sent: int, total: int | None) -> None:
        """Note that so much of the content was sent; it is shown before what comes next."""
        self._content_sent = sent

    def end(self, failure: ConnectFailed | None) -> str:
        """Show the outcome of connecting; returns the sentence that says why it failed."""
        return self.finish(Outcome.of_connecting(failure, "" if failure is None else str(failure)))

    def deliver(self, result: DeliveryResult) -> None:
        """Show what became of a message."""
        self._catch_up()
        for each in result.recipients:
            self.view.recipient(each, None if each.reply is None else self.secrets.redacted_reply(each.reply))

    def finish(self, outcome: Outcome, *, last: bool = True) -> str:
        """Show the outcome; returns its sentence, redacted.  ``last``: there is no other host to be tried."""
        self._catch_up()
        self._end_attempt(succeeded=False, error=None)
        sentence = one_line(self.secrets.redacted(outcome.sentence))
        shown = outcome._replace(sentence=sentence, error=self._clean(outcome.error))
        if last:
            self.view.outcome(shown)
        else:
            self.view.failure(shown)
        return sentence

    def _begun(self, command: Auth) -> Attempt:
        connection = None if self.client is None else self.client.connection
        if connection is None:
            return Attempt(command.mechanism)
        return Attempt(command.mechanism, binding_of(command.mechanism, connection), connection.extensions.auth)

    def _confirm(self) -> None:
        """Show a success by which the client has gone on."""
        if self._attempt is not None and self._attempt.succeeded:
            self._end_attempt(succeeded=True, error=None)

    def _end_attempt(self, *, succeeded: bool, error: str | None) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            self.view.authentication(attempt._replace(succeeded=succeeded, error=self._clean(error)))

    def _clean(self, text: str | None) -> str | None:
        return None if text is None else one_line(self.secrets.redacted(text))

    def _catch_up(self) -> None:
        """Show what has happened without an event."""
        if self.client is not None and self.client.leaving and not self._leaving_shown:
            self._leaving_shown = True
            self.view.farewell()
        tls = None if self.client is None or self._tls_shown else self.client.tls
        if tls is not None:
            self._tls_shown = True
            self.view.tls(tls)
        if self._content_sent > self._content_shown:
            self.view.content(self._content_sent - self._content_shown)
            self._content_shown = self._content_sent

    def _reply_of(self, event: Event) -> Reply | None:
        if not isinstance(event, ReplyReceived) or is_announcement(event):
            return None
        if isinstance(event, AuthChallenge):
            return Reply(event.reply.code, REDACTED)
        return self.secrets.redacted_reply(event.reply)


def binding_of(mechanism: str, connection: Connection) -> str | None:
    """The name of what ties a mechanism to the TLS channel; None where it does not do that."""
    return next(iter(connection.channel_bindings), None) if mechanism in _BINDING else None


def is_announcement(event: Event) -> bool:
    """True for an event that no reply of its own came with: it only says where the handshake has got to."""
    return isinstance(event, AuthNeeded) and event.why in (AuthReason.CREDENTIALS_GIVEN, AuthReason.SUBMISSION)


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
        self.subject: str = _name(found.get("subject", ()))
        self.names: tuple[str, ...] = tuple(printable(str(value)) for _, value in found.get("subjectAltName", ()))
        self.issuer: str = _name(found.get("issuer", ()))
        self.not_before: str = printable(str(found.get("notBefore", "")))
        self.not_after: str = printable(str(found.get("notAfter", "")))


def _name(distinguished: Iterable[Iterable[tuple[str, str]]]) -> str:
    """The common name; where there is none, all that there is."""
    fields = [(str(key), str(value)) for relative in distinguished for key, value in relative]
    common = [value for key, value in fields if key == "commonName"]
    return printable(common[-1] if common else ", ".join(value for _, value in fields))
