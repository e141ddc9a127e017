"""What happens, as one JSON object a line, for programs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TextIO

from smtpproto import (
    EXTENSIONS,
    AuthNeeded,
    Command,
    Connected,
    ConnectionClosed,
    EhloReply,
    Event,
    Extensions,
    Greeting,
    RecipientResult,
    Reply,
    Target,
)

from .trace import Attempt, Certificate, Outcome, Tls, View

if TYPE_CHECKING:
    from smtpproto_adapters.discovery import Destination, Plan


class JsonWriter:
    """Writes objects in ASCII, each with ``type`` and ``time``, in seconds since the beginning."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._begin = time.monotonic()

    def write(self, kind: str, **fields: Any) -> None:
        """One object, at once."""
        elapsed = round(time.monotonic() - self._begin, 6)
        self._file.write(f"{json.dumps({'type': kind, 'time': elapsed, **fields})}\n")
        self._file.flush()


class JsonLines(View):
    """A client's session.

    The types are plan, target, sent, tls, event, authentication, content, failure, recipient and outcome.  With
    ``results_only`` there are but the last two.
    """

    def __init__(self, file: TextIO, *, results_only: bool = False) -> None:
        self._writer = JsonWriter(file)
        self._results_only = results_only

    def plan(self, plan: Plan) -> None:
        """``{"type": "plan", "domain": "example.org", "destinations": [{…}], "left_out": [{…}]}``"""
        self._write(
            "plan",
            domain=plan.domain,
            destinations=[_json_destination(each) for each in plan.destinations],
            left_out=[{"host": decoded(each.host), "why": each.why} for each in plan.left_out],
        )

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
        self._write("tls", **json_tls(tls))

    def event(self, event: Event, reply: Reply | None) -> None:
        """``{"type": "event", "event": "EhloReply", "reply": {…}, "extensions": […]}``"""
        fields: dict[str, Any] = {}
        if reply is not None:
            fields["reply"] = json_reply(reply)
        match event:
            case Greeting():
                fields.update(domain=decoded(event.domain), accepted=event.accepted)
            case EhloReply():
                fields.update(extensions=_json_extensions(event.extensions))
            case AuthNeeded():
                fields.update(mechanisms=event.mechanisms, why=event.why.name, usable=event.usable)
            case Connected():
                fields.update(extensions=_json_extensions(event.extensions), extended=event.extended, tls=event.tls)
            case ConnectionClosed():
                fields.update(unanswered=[type(command).__name__ for command in event.unanswered], clean=event.clean)
            case _:
                pass
        self._write("event", event=type(event).__name__, **fields)

    def authentication(self, attempt: Attempt) -> None:
        """``{"type": "authentication", "succeeded": true, "mechanism": "SCRAM-SHA-256-PLUS", …}``"""
        self._write(
            "authentication",
            succeeded=attempt.succeeded,
            mechanism=attempt.mechanism,
            channel_binding=attempt.channel_binding,
            server_proved=attempt.server_proved,
            offered=[decoded(name) for name in attempt.offered],
            error=attempt.error,
        )

    def content(self, octets: int) -> None:
        """``{"type": "content", "octets": 1234}``"""
        self._write("content", octets=octets)

    def recipient(self, result: RecipientResult, reply: Reply | None) -> None:
        """``{"type": "recipient", "recipient": "ann@mx.example", "fate": "ACCEPTED", "reply": {…}}``"""
        self._writer.write(
            "recipient",
            recipient=result.recipient.forward_path,
            fate=result.fate.name,
            reply=None if reply is None else json_reply(reply),
        )

    def failure(self, outcome: Outcome) -> None:
        """``{"type": "failure", "code": 4, "name": "CONNECTION_REFUSED", …}``"""
        self._write("failure", **_json_outcome(outcome))

    def outcome(self, outcome: Outcome) -> None:
        """``{"type": "outcome", "code": 0, "name": "SUCCESS", "message": null, "stage": null, …}``"""
        self._writer.write("outcome", **_json_outcome(outcome))

    def _write(self, kind: str, **fields: Any) -> None:
        if not self._results_only:
            self._writer.write(kind, **fields)


def _json_destination(destination: Destination) -> dict[str, Any]:
    return {
        "host": destination.host,
        "port": destination.port,
        "security": destination.security.value,
        "server_name": destination.server_name,
        "tls_required": destination.tls_required,
        "preference": destination.preference,
        "why": destination.why,
    }


def _json_outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "code": outcome.code,
        "name": outcome.name,
        "message": outcome.sentence or None,
        "stage": None if outcome.stage is None else outcome.stage.name,
        "retryable": outcome.retryable,
        "error": outcome.error,
    }


def json_tls(tls: Tls) -> dict[str, Any]:
    """``{"version": …, "cipher": …, "certificate": {…}}``"""
    certificate = None if not tls.certificate else vars(Certificate(tls.certificate))
    return {"version": tls.version, "cipher": tls.cipher, "certificate": certificate}


def decoded(text: str) -> str:
    r"""JSON has no octets: those that are not UTF-8 become escapes such as ``\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def json_reply(reply: Reply) -> dict[str, Any]:
    """``{"code": 250, "enhanced": "2.1.5", "lines": […]}``"""
    enhanced = None if reply.enhanced is None else str(reply.enhanced)
    return {"code": reply.code, "enhanced": enhanced, "lines": [decoded(line) for line in reply.lines]}


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
