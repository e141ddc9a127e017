"""The probes for clients, each by the id of its row.  A docstring is what the documentation says was tried."""

from __future__ import annotations

import base64
import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING, Final

from .libraries import CONTENT, PASSWORD, RECIPIENT, SENDER, TOKEN, Order, Sent
from .outcome import NO, PARTLY, YES, Outcome, Unsupported, judged, said
from .stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .libraries import Library
    from .scene import Scene

MUCH: Final = 4_000_000
"""Octets, more than a reply of any server."""


def tried(call: Callable[[], Sent]) -> tuple[Sent | None, str]:
    """What came out of it, or in a few words what was raised.  `Unsupported` goes through."""
    try:
        return call(), ""
    except Unsupported:
        raise
    except Exception as error:
        return None, said(error)


def role(library: Library, scene: Scene) -> Outcome:
    """A message is sent to a server on loopback."""
    with Stage() as stage:
        library.deliver(Order(stage.port))
    return judged(b"How are you?" in stage.content, "it sent the message", "the message did not arrive")


def starttls(library: Library, scene: Scene) -> Outcome:
    """A message is sent to a server that offers STARTTLS, and has to arrive under TLS."""
    with Stage(("STARTTLS",), context=scene.server_context) as stage:
        library.deliver(Order(stage.port, tls="starttls", context=scene.client_context))
    return judged(stage.tls_from and stage.content, "it arrived under TLS", "it did not")


def implicit(library: Library, scene: Scene) -> Outcome:
    """A message is sent to a server that begins with TLS, as on port 465."""
    with Stage(context=scene.server_context, implicit=True) as stage:
        _, error = tried(lambda: library.deliver(Order(stage.port, tls="implicit", context=scene.client_context)))
    return judged(stage.content, "it arrived", f"nothing arrived ({error})")


def lmtp(library: Library, scene: Scene) -> Outcome:
    """An LMTP server takes two recipients, and at the end of the content refuses one of them."""
    recipients = ("one@mx.example", "two@mx.example")
    with Stage(replies={".": b"250 ok\r\n550 over quota\r\n"}) as stage:
        sent, error = tried(lambda: library.deliver(Order(stage.port, recipients, lmtp=True)))
    if not stage.saw("LHLO"):
        return Outcome(NO, f"it did not say LHLO ({error})")
    if sent is None or "two@mx.example" not in sent.refused:
        return Outcome(PARTLY, "it said LHLO, but does not tell of the recipient that was refused")
    return Outcome(YES, "the result says which recipient was refused")


def pipelining(library: Library, scene: Scene) -> Outcome:
    """A server offers PIPELINING, and holds back its answer to MAIL until RCPT has come, or half a second."""
    with Stage(("PIPELINING",), hold=0.5) as stage:
        library.deliver(Order(stage.port))
    return judged(stage.went_on, "RCPT came before MAIL was answered", "nothing came before MAIL was answered")


def chunking(library: Library, scene: Scene) -> Outcome:
    """A server offers CHUNKING: is the content sent by BDAT?"""
    with Stage(("PIPELINING", "CHUNKING")) as stage:
        library.deliver(Order(stage.port))
    return judged(stage.saw("BDAT"), "it sent BDAT", "it sent DATA")


def utf8(library: Library, scene: Scene) -> Outcome:
    """A server offers SMTPUTF8, and a recipient is not ASCII."""
    with Stage(("SMTPUTF8", "8BITMIME")) as stage:
        _, error = tried(lambda: library.deliver(Order(stage.port, ("\u03bb@mx.example",))))
    told = any("SMTPUTF8" in line for line in stage.saw("MAIL"))
    good = told and stage.saw("RCPT TO:<\u03bb@mx.example>") and stage.content
    return judged(good, "MAIL said SMTPUTF8, and RCPT was in UTF-8", f"it was not sent so ({error})")


def dsn(library: Library, scene: Scene) -> Outcome:
    """NOTIFY=FAILURE has to reach the server; NOTIFY=NEVER,FAILURE, which RFC 3461 forbids, must not."""
    with Stage(("DSN",)) as good:
        library.deliver_with_options(Order(good.port), notify="FAILURE")
    if not any("NOTIFY=FAILURE" in line for line in good.saw("RCPT")):
        return Outcome(NO, "it was not sent")
    with Stage(("DSN",)) as wrong:
        tried(lambda: library.deliver_with_options(Order(wrong.port), notify="NEVER,FAILURE"))
    if wrong.saw("RCPT"):
        return Outcome(PARTLY, "parameters are strings, and the wrong one was sent, too")
    return Outcome(YES, "the wrong one was refused before anything was sent")


def scram(library: Library, scene: Scene) -> Outcome:
    """A server offers SCRAM-SHA-256-PLUS and SCRAM-SHA-256 under TLS, and nothing else."""
    offer = ("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256",)
    with _under_tls(scene, offer) as stage:
        tried(lambda: library.deliver(Order(stage.port, tls="starttls", context=scene.client_context, login=True)))
    chosen = [line.split() for line in stage.saw("AUTH SCRAM-")]
    if not chosen:
        return Outcome(NO, "it did not try SCRAM")
    [(_, mechanism, response)] = chosen
    first = base64.b64decode(response).decode()
    bound = mechanism == "SCRAM-SHA-256-PLUS" and re.match(r"p=tls-[a-z-]+,,n=user,r=.", first)
    return judged(bound, f"it began {mechanism} with {first.partition(',')[0]}", f"it began {mechanism}")


def oauth(library: Library, scene: Scene) -> Outcome:
    """A server offers XOAUTH2 and OAUTHBEARER under TLS, and the program has an access token."""
    with _under_tls(scene, ("AUTH XOAUTH2 OAUTHBEARER",)) as stage:
        tried(lambda: library.deliver(Order(stage.port, tls="starttls", context=scene.client_context, token=True)))
    for line in stage.saw("AUTH "):
        _, mechanism, response = line.split()
        if f"auth=Bearer {TOKEN}".encode() in base64.b64decode(response):
            return Outcome(YES, f"it sent the token by {mechanism}")
    return Outcome(NO, "it did not send the token")


def _under_tls(scene: Scene, offers: tuple[str, ...]) -> Stage:
    return Stage(("STARTTLS",), offers, context=scene.server_context)


def plaintext(library: Library, scene: Scene) -> Outcome:
    """A server offers AUTH PLAIN and LOGIN and no STARTTLS; the program gives a password, and says nothing of TLS."""
    with Stage(("AUTH PLAIN LOGIN",), replies={"AUTH": b"235 ok\r\n"}) as stage:
        _, error = tried(lambda: library.deliver(Order(stage.port, login=True)))
    sent = any(PASSWORD.encode() in _decoded(word) for line in stage.lines for word in line.split())
    return judged(not sent, f"it refused, and the password was not sent ({error})", "the password was sent in clear")


def _decoded(word: str) -> bytes:
    with contextlib.suppress(ValueError):
        return base64.b64decode(word, validate=True)
    return b""


def certificate(library: Library, scene: Scene) -> Outcome:
    """STARTTLS with a server whose certificate nobody trusts; the program says nothing of certificates."""
    with Stage(("STARTTLS",), context=scene.server_context) as stage:
        _, error = tried(lambda: library.deliver(Order(stage.port, tls="starttls")))
    return judged(not stage.content, f"it refused the certificate ({error})", "it sent the message")


def starttls_injection(library: Library, scene: Scene) -> Outcome:
    """Behind its 220 to STARTTLS a server has the answer to the next EHLO, in plaintext and in the same segment.  Under
    TLS it refuses the sender: whoever has read the plaintext takes the answer to EHLO for that to MAIL."""
    replies = {"STARTTLS": b"220 go ahead\r\n250 injected\r\n", "MAIL": b"550 no\r\n"}
    with Stage(("STARTTLS",), context=scene.server_context, replies=replies) as stage:
        _, error = tried(lambda: library.deliver(Order(stage.port, tls="starttls", context=scene.client_context)))
    if stage.saw("RCPT"):
        return Outcome(NO, "it took the plaintext for an answer under TLS")
    how = "went on without the plaintext" if stage.saw("MAIL") else "gave up"
    return Outcome(YES, f"it {how} ({error})")


def line_ends(library: Library, scene: Scene) -> Outcome:
    """A recipient holds CRLF and a second RCPT; and, by itself, content that is given as octets holds what some servers
    take for its end: bare CR and LF around a dot."""
    with Stage() as stage:
        wrong = f"{RECIPIENT}>\r\nRCPT TO:<victim@mx.example"
        tried(lambda: library.deliver(Order(stage.port, (wrong,))))
    injected = bool(stage.saw("RCPT TO:<victim"))
    with Stage() as other:
        content = CONTENT + b"a\n.\nMAIL FROM:<evil@mx.example>\r.\rb\r\n"
        tried(lambda: library.deliver(Order(other.port, content=content)))
    bare = bool(re.search(rb"\r(?!\n)|(?<!\r)\n", other.content))
    if injected and bare:
        return Outcome(NO, "both were sent")
    if injected or bare:
        return Outcome(PARTLY, "the second RCPT was sent" if injected else "the content was sent with bare line ends")
    return Outcome(YES, "neither was sent")


def stale(library: Library, scene: Scene) -> Outcome:
    """To MAIL a server says 250 twice, and refuses the only recipient: whoever takes the second 250 for the answer to
    RCPT believes that the recipient was accepted."""
    with Stage(replies={"MAIL": b"250 ok\r\n250 ok\r\n", "RCPT": b"550 no\r\n", "DATA": b"503 no\r\n"}) as stage:
        _, error = tried(lambda: library.deliver(Order(stage.port)))
    return judged(not stage.saw("DATA"), f"it gave up ({error})", "it took the stale reply, and said DATA")


def each_recipient(library: Library, scene: Scene) -> Outcome:
    """Of three recipients the server refuses the second."""
    recipients = ("one@mx.example", "two@mx.example", "three@mx.example")
    with Stage(replies={"RCPT TO:<two@mx.example>": b"550 5.1.1 no\r\n"}) as stage:
        sent, error = tried(lambda: library.deliver(Order(stage.port, recipients)))
    if sent is None:
        return Outcome(NO, f"it gave up for all three ({error})")
    good = set(sent.refused) == {"two@mx.example"} and stage.content
    return judged(good, "sent to the others, and the result has the refusal", "the result does not say which")


def enhanced(library: Library, scene: Scene) -> Outcome:
    """One of two recipients is refused with 550 5.1.1: is there anything in the result that is 5.1.1, parsed?"""
    with Stage(replies={f"RCPT TO:<{RECIPIENT}>": b"550 5.1.1 no\r\n"}) as stage:
        sent, error = tried(lambda: library.deliver(Order(stage.port, (RECIPIENT, SENDER))))
    if sent is None:
        return Outcome(NO, f"there is no result, but an exception with a text ({error})")
    found = any(str(value) == "5.1.1" for value in _within(sent.refused[RECIPIENT], 2))
    return judged(found, "the result has it", "it is a part of the text")


def _within(value: object, depth: int) -> Iterator[object]:
    yield value
    if depth and not isinstance(value, str | bytes | int | type):
        for name in dir(value):
            if not name.startswith("_"):
                yield from _within(getattr(value, name), depth - 1)


def phases(library: Library, scene: Scene) -> Outcome:
    """Commands have to be answered within 0.4 s; the answer to the content takes 0.8 s, and may."""
    with Stage(delays={".": 0.8}) as stage:
        try:
            library.deliver_in_phases(Order(stage.port), commands=0.4, final=5)
        except Unsupported:
            _, error = tried(lambda: library.deliver(Order(stage.port, timeout=0.4)))
            return Outcome(NO, f"it has one timeout for both ({error})")
    with Stage(delays={"RCPT": 0.8}) as late:
        _, error = tried(lambda: library.deliver_in_phases(Order(late.port), commands=0.4, final=5))
    return judged(error, "each has its own", "the answer to RCPT could be late")


def bounded(library: Library, scene: Scene) -> Outcome:
    """How long does it wait for a server, where the program says nothing?"""
    with Stage() as stage:
        seconds = library.default_timeout(stage.port)
        with contextlib.suppress(Exception):
            library.deliver(Order(stage.port))
    return judged(seconds is not None, f"{seconds:g} s" if seconds else "", "for ever")


def endless(library: Library, scene: Scene) -> Outcome:
    """The greeting does not end: once it is a line without an end, once a reply of ever more lines.  It has to be given
    up before there are four million octets of it."""
    taken: list[str] = []
    for what, piece in {"line": b"x" * 64, "reply": b"220-and more\r\n"}.items():
        with Stage(endless=piece) as stage:
            tried(partial(library.deliver, Order(stage.port)))
        if stage.sent >= MUCH:
            taken.append(what)
    if taken:
        return Outcome(NO if len(taken) == 2 else PARTLY, f"taken in: the endless {' and '.join(taken)}")
    return Outcome(YES, "both were given up")


def in_pieces(library: Library, scene: Scene) -> Outcome:
    """The content is a generator of pieces, so that it need not fit into memory."""
    with Stage() as stage:
        _, error = tried(
            lambda: library.deliver(Order(stage.port, content=(piece for piece in (CONTENT, b"more\r\n"))))
        )
    return judged(stage.content.endswith(b"more\r\n.\r\n"), "it was sent", f"it was not ({error})")


PROBES: Final[Mapping[str, Callable[[Library, Scene], Outcome]]] = {
    each.__name__: each
    for each in (
        role,
        starttls,
        implicit,
        lmtp,
        pipelining,
        chunking,
        utf8,
        dsn,
        scram,
        oauth,
        plaintext,
        certificate,
        starttls_injection,
        line_ends,
        stale,
        each_recipient,
        enhanced,
        phases,
        bounded,
        endless,
        in_pieces,
    )
}
