"""The probes for servers, each by the id of its row.  A docstring is what the documentation says was tried."""

from __future__ import annotations

import base64
import contextlib
import socket
import tracemalloc
from typing import TYPE_CHECKING, Final, Self

from .libraries import CONTENT, PASSWORD, RECIPIENT, SENDER, USER, Wish
from .outcome import NO, PARTLY, YES, Outcome, judged
from .scene import SERVER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .libraries import Library
    from .scene import Scene

PATIENCE: Final = 5.0
MUCH: Final = 4_000_000
"""Octets, more than any command."""
MAIL: Final = f"MAIL FROM:<{SENDER}>\r\n".encode()
RCPT: Final = f"RCPT TO:<{RECIPIENT}>\r\n".encode()


class Talk:
    """A client that says what it is told to, and reads replies.  A context manager."""

    def __init__(self, port: int, first: bytes = b"") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.sendall(first)
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def reply(self) -> bytes:
        """The lines of one; empty at the end of the stream."""
        lines = b""
        while True:
            while b"\r\n" not in self.buffer:
                try:
                    data = self.socket.recv(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    return b""
                self.buffer += data
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            lines += line + b"\r\n"
            if line[3:4] != b"-":
                return lines

    def say(self, data: bytes) -> bytes:
        self.socket.sendall(data)
        return self.reply()

    def greet(self, hello: bytes = b"EHLO me.example\r\n") -> bytes:
        self.reply()
        return self.say(hello)

    def start_tls(self, scene: Scene) -> None:
        self.socket = scene.client_context.wrap_socket(self.socket, server_hostname="127.0.0.1")


def role(library: Library, scene: Scene) -> Outcome:
    """It listens on loopback, and is sent a message."""
    with library.listen(Wish()) as server, Talk(server.port) as talk:
        talk.greet()
        for line in (MAIL, RCPT, b"DATA\r\n", CONTENT + b".\r\n"):
            talk.say(line)
        return judged(server.arrived() == [(SENDER, CONTENT)], "it took the message", "it did not take the message")


def starttls(library: Library, scene: Scene) -> Outcome:
    """STARTTLS has to be offered, and a sender accepted under TLS."""
    with library.listen(Wish(context=scene.server_context)) as server, Talk(server.port) as talk:
        offered = b"STARTTLS" in talk.greet()
        talk.say(b"STARTTLS\r\n")
        talk.start_tls(scene)
        talk.say(b"EHLO me.example\r\n")
        return judged(offered and talk.say(MAIL)[:3] == b"250", "it did so", "it did not")


def implicit(library: Library, scene: Scene) -> Outcome:
    """A client begins with TLS, as on port 465."""
    with library.listen(Wish(context=scene.server_context, implicit=True)) as server, Talk(server.port) as talk:
        talk.start_tls(scene)
        return judged(talk.greet()[:3] == b"250", "it answered", "it did not answer")


def lmtp(library: Library, scene: Scene) -> Outcome:
    """A client says LHLO; at the end of the content one of its two recipients is refused, and there have to be two
    replies (RFC 2033 section 4.2)."""
    with library.listen(Wish(lmtp=True, refuse_content_for=SENDER)) as server, Talk(server.port) as talk:
        if talk.greet(b"LHLO me.example\r\n")[:3] != b"250":
            return Outcome(NO, "it did not take LHLO")
        for line in (MAIL, RCPT, f"RCPT TO:<{SENDER}>\r\n".encode(), b"DATA\r\n"):
            talk.say(line)
        codes = [talk.say(CONTENT + b".\r\n")[:3]]
        with contextlib.suppress(TimeoutError):
            talk.socket.settimeout(1)
            codes.append(talk.reply()[:3])
    good = codes == [b"250", b"550"]
    return judged(good, "each recipient had its reply", "it took LHLO, but there was one reply for both recipients")


def pipelining(library: Library, scene: Scene) -> Outcome:
    """MAIL, RCPT and DATA come in one segment: PIPELINING has to be offered, and each answered."""
    with library.listen(Wish()) as server, Talk(server.port) as talk:
        offered = b"PIPELINING" in talk.greet()
        codes = [talk.say(MAIL + RCPT + b"DATA\r\n")[:3], talk.reply()[:3], talk.reply()[:3]]
    if codes != [b"250", b"250", b"354"]:
        return Outcome(NO, "it did not answer each")
    return (
        Outcome(YES, "offered, and answered") if offered else Outcome(PARTLY, "it answered each, but does not offer it")
    )


def chunking(library: Library, scene: Scene) -> Outcome:
    """The content comes by BDAT."""
    with library.listen(Wish()) as server, Talk(server.port) as talk:
        talk.greet()
        talk.say(MAIL)
        talk.say(RCPT)
        reply = talk.say(b"BDAT %d LAST\r\n" % len(CONTENT) + CONTENT)
        return judged(reply[:3] == b"250" and server.arrived(), "it took the content", f"it said {reply[:3].decode()}")


def utf8(library: Library, scene: Scene) -> Outcome:
    """The sender says SMTPUTF8, and the recipient is not ASCII."""
    with library.listen(Wish()) as server, Talk(server.port) as talk:
        offered = b"SMTPUTF8" in talk.greet()
        first = talk.say(f"MAIL FROM:<{SENDER}> SMTPUTF8\r\n".encode())
        second = talk.say("RCPT TO:<\u03bb@mx.example>\r\n".encode())
    return judged(offered and first[:3] == second[:3] == b"250", "it took both", "it did not take both")


def dsn(library: Library, scene: Scene) -> Outcome:
    """MAIL comes with RET=HDRS and RCPT with NOTIFY=FAILURE, which have to be taken; then with NOTIFY=NEVER,FAILURE,
    which must not be."""
    with library.listen(Wish()) as server, Talk(server.port) as talk:
        offered = b"DSN" in talk.greet()
        codes = [
            talk.say(line.encode())[:3]
            for line in (
                f"MAIL FROM:<{SENDER}> RET=HDRS\r\n",
                f"RCPT TO:<{RECIPIENT}> NOTIFY=FAILURE\r\n",
                f"RCPT TO:<{RECIPIENT}> NOTIFY=NEVER,FAILURE\r\n",
            )
        ]
    good = offered and codes == [b"250", b"250", b"501"]
    return judged(good, "so it was", f"to these it said {', '.join(code.decode() for code in codes)}")


def scram(library: Library, scene: Scene) -> Outcome:
    """Under TLS, SCRAM-SHA-256-PLUS has to be offered for a user with a password, and SCRAM-SHA-256 begun with its
    question."""
    wish = Wish(context=scene.server_context, certificate=scene.folder / SERVER, login=True)
    with library.listen(wish) as server, Talk(server.port) as talk:
        offered = _log_in(talk, scene)
        if b"SCRAM-SHA-256-PLUS" not in offered:
            return Outcome(PARTLY if b"SCRAM" in offered else NO, f"it offers {_mechanisms(offered)}")
        first = base64.b64encode(b"n,,n=user,r=abcdefghijklmnop")
        reply = talk.say(b"AUTH SCRAM-SHA-256 " + first + b"\r\n")
    question = base64.b64decode(reply[4:]) if reply[:3] == b"334" else b""
    return judged(question.startswith(b"r=abcdefghijklmnop"), "offered, and begun", "it did not begin")


def _log_in(talk: Talk, scene: Scene) -> bytes:
    talk.greet()
    talk.say(b"STARTTLS\r\n")
    talk.start_tls(scene)
    return talk.say(b"EHLO me.example\r\n")


def _mechanisms(offer: bytes) -> str:
    lines = [line[9:].decode() for line in offer.splitlines() if line[4:9] == b"AUTH "]
    return ", ".join(lines[0].split()) if lines else "no AUTH"


def plaintext(library: Library, scene: Scene) -> Outcome:
    """A client sends a right password by AUTH PLAIN, without TLS."""
    with library.listen(Wish(context=scene.server_context, login=True)) as server, Talk(server.port) as talk:
        offered = b"PLAIN" in talk.greet()
        secret = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        code = talk.say(b"AUTH PLAIN " + secret + b"\r\n")[:3].decode()
    return judged(
        not offered and code[:1] == "5", f"not offered, and refused with {code}", "it was offered or accepted"
    )


def starttls_injection(library: Library, scene: Scene) -> Outcome:
    """Behind STARTTLS, in the same segment and in plaintext, comes a NOOP: nothing may answer it under TLS."""
    with library.listen(Wish(context=scene.server_context)) as server, Talk(server.port) as talk:
        talk.greet()
        talk.say(b"STARTTLS\r\nNOOP\r\n")
        try:
            talk.start_tls(scene)
            first = talk.say(b"EHLO me.example\r\n")
        except OSError:
            return Outcome(YES, "it broke off")
    if not first:
        return Outcome(YES, "it broke off")
    return judged(first[3:4] == b"-", "it went on without the plaintext", "it answered the plaintext under TLS")


def line_ends(library: Library, scene: Scene) -> Outcome:
    """Content holds what is no end of it (LF . LF and its kin, each followed by commands); none of it may become a
    message of its own."""
    taken: list[str] = []
    for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n"):
        with library.listen(Wish()) as server, Talk(server.port) as talk:
            talk.greet()
            for line in (MAIL, RCPT, b"DATA\r\n"):
                talk.say(line)
            smuggled = b"MAIL FROM:<evil@mx.example>\r\n" + RCPT + b"DATA\r\n"
            talk.say(CONTENT + b"x" + end + smuggled + CONTENT + b".\r\nQUIT\r\n")
            with contextlib.suppress(OSError):
                while talk.reply():
                    pass
            if any(sender != SENDER for sender, _ in server.arrived()) or len(server.arrived()) > 1:
                taken.append(end.decode().encode("unicode_escape").decode())
    return judged(not taken, "none did", f"{', '.join(taken)} did")


def bounded(library: Library, scene: Scene) -> Outcome:
    """How long does it wait for a client, where the program says nothing?"""
    seconds = library.default_timeout(0)
    return judged(seconds is not None, f"{seconds:g} s" if seconds else "", "for ever")


def endless(library: Library, scene: Scene) -> Outcome:
    """A command has no end: before there are four million octets of it, it has to be refused or the connection closed;
    or they must not be kept."""
    tracemalloc.start()
    with library.listen(Wish()) as server, Talk(server.port) as talk:
        talk.greet()
        talk.socket.settimeout(0.05)
        sent = 0
        try:
            while sent < MUCH:
                talk.socket.sendall(b"x" * 65536)
                sent += 65536
                with contextlib.suppress(TimeoutError):
                    if talk.reply()[:1] in (b"5", b"4", b""):
                        return Outcome(YES, "it was refused")
        except OSError:
            return Outcome(YES, "it broke off")
    kept = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return judged(kept < MUCH / 2, "it was read, but not kept", "it was kept")


def proxy(library: Library, scene: Scene) -> Outcome:
    """A proxy of TCP tells by a PROXY header, before anything else, who the client is."""
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 4242 25\r\n"
    with library.listen(Wish(proxied=True)) as server, Talk(server.port, header) as talk:
        codes = [talk.reply()[:3], talk.say(b"EHLO me.example\r\n")[:3]]
    return judged(codes == [b"220", b"250"], "it was taken", "it was refused as no command")


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
        plaintext,
        starttls_injection,
        line_ends,
        bounded,
        endless,
        proxy,
    )
}
