"""Whatever a client says within an exchange, a server's mechanism ends by SaslError, which shows no secret, or by an
identity, and by that only for a client that has shown what it must.

The first octet chooses the mechanism, the second what the program knows (1: nobody; 2: the password rather than a
credential; 4: nobody may act as another), and the channel (8: there is a binding; 16: -PLUS is offered); with 32 the
first response comes with AUTH.  What follows are the responses.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from fuzz._harness import chosen, flights_of, text_of
from fuzz._sasl import (
    BINDINGS,
    ITERATIONS,
    NAMES,
    PASSWORD,
    SALT,
    TOKEN,
    USER,
    Signed,
    assert_silent,
    filled,
    no_chance,
)
from smtpproto.grammar import base64
from smtpproto.sasl import (
    MECHANISMS,
    Authorize,
    Challenge,
    FindCredential,
    FindPassword,
    Identity,
    SaslError,
    ScramCredential,
    ScramServer,
    ServerAnswer,
    ServerMechanism,
    Verify,
    VerifyAnonymous,
    VerifyExternal,
    VerifyToken,
)
from smtpproto.sasl.choice import NO_BINDINGS, bound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproto.sasl import Question

_NOBODY: Final = 1
_PASSWORD: Final = 2
_NO_OTHER: Final = 4
_BINDING: Final = 8
_PLUS: Final = 16
_INITIAL: Final = 32


def test_one_input(data: bytes) -> None:
    how = chosen(data, 1)
    mechanism = mechanism_of(chosen(data), how)
    if mechanism is not None:
        with no_chance():
            converse(mechanism, how, flights_of(data[2:]))


def mechanism_of(which: int, how: int) -> ServerMechanism | None:
    name = NAMES[which % len(NAMES)]
    secret = b"of sixteen octets"  # which makes the salts of those who are unknown
    mechanism: ServerMechanism = (
        ScramServer(name, secret=secret) if name.startswith("SCRAM-") else MECHANISMS[NAMES.index(name)].server()
    )
    offered = {name, f"{name}-PLUS"} if how & _PLUS else {name}
    return bound(mechanism, BINDINGS if how & _BINDING else NO_BINDINGS, offered)


def answer(question: Question, how: int) -> ServerAnswer:
    nobody = bool(how & _NOBODY)
    match question:
        case Verify(username, password, acting):
            return not nobody and (username, password) == (USER, PASSWORD) and not (acting and how & _NO_OTHER)
        case FindCredential(username, name):
            if nobody or username != USER:
                return None
            if how & _PASSWORD:
                return PASSWORD
            return ScramCredential.derive(PASSWORD, hash=name, salt=SALT, iterations=ITERATIONS)
        case FindPassword(username):
            return PASSWORD if not nobody and username == USER else None
        case VerifyToken(token):
            return USER if not nobody and token == TOKEN else None
        case VerifyExternal():
            return None if nobody else USER
        case Authorize():
            return not how & _NO_OTHER
        case _:
            assert isinstance(question, VerifyAnonymous)
            return not nobody


def converse(mechanism: ServerMechanism, how: int, flights: list[bytes]) -> None:
    responses = iter(flights)
    said: list[bytes] = []
    heard: list[str] = []
    initial = filled_in(mechanism, next(responses), said, heard) if how & _INITIAL else None
    exchange = mechanism.exchange(initial)
    try:
        step = next(exchange)
        while True:
            if isinstance(step, Challenge):
                assert step.data is not None
                heard.append(step.data.decode())
                step = exchange.send(filled_in(mechanism, next(responses, b""), said, heard))
            else:
                step = exchange.send(answer(step, how))
    except StopIteration as done:
        assert_deserved(mechanism, how, done.value, said, heard)
    except SaslError as error:
        assert_silent(error)


def filled_in(mechanism: ServerMechanism, message: bytes, said: list[bytes], heard: list[str]) -> bytes:
    """What the client says next."""
    if b"%" in message:
        places = {b"%s": PASSWORD, b"%t": TOKEN}
        if mechanism.name == "CRAM-MD5" and heard:
            places[b"%d"] = digest_of(heard[-1])
        scram = mechanism.name.startswith("SCRAM-") and bool(said and heard)
        if scram:
            places[b"%n"] = heard[-1].removeprefix("r=").partition(",")[0]
        message = filled(message, places)
        if scram:
            message = filled(message, {b"%p": signed(mechanism, said, heard, message).proof})
    said.append(message)
    return message


def digest_of(challenge: str) -> str:
    """RFC 2195 section 2."""
    return hmac.digest(PASSWORD.encode(), challenge.encode(), "md5").hex()


def signed(mechanism: ServerMechanism, said: list[bytes], heard: list[str], final: bytes) -> Signed:
    """What both sign, where that was SCRAM up to here."""
    first = text_of(said[0]).split(",", 2)[-1]
    return Signed(mechanism.name, first, heard[-1], text_of(final.rpartition(b",p=")[0]))


def assert_deserved(
    mechanism: ServerMechanism, how: int, identity: object, said: list[bytes], heard: list[str]
) -> None:
    assert isinstance(identity, Identity)
    assert not how & _NOBODY
    if mechanism.name == "ANONYMOUS":
        assert identity == Identity("anonymous")
        return
    assert identity.username == USER
    if mechanism.name.startswith("SCRAM-"):
        *_, final, nothing = said
        assert nothing == b""
        assert final.endswith(f",p={signed(mechanism, said, heard[:-1], final).proof}".encode())
        assert identity.authorization_id in ("", USER) or not how & _NO_OTHER
    elif mechanism.name == "CRAM-MD5":
        assert said == [f"{USER} {digest_of(heard[0])}".encode()]
    elif mechanism.name != "EXTERNAL":
        assert any(secret.encode() in message for message in said for secret in (PASSWORD, TOKEN))


def seeds() -> Iterator[bytes]:
    """A client as it should be, for each mechanism, in each state of the program's knowledge."""
    messages = {
        "PLAIN": b"\0user\0%s",
        "LOGIN": b"user\x1c%s",
        "CRAM-MD5": b"user %d",
        "EXTERNAL": b"",
        "ANONYMOUS": b"sirhc",
        "OAUTHBEARER": b"n,a=user@example.com,\x01host=x.example\x01port=143\x01auth=Bearer %t\x01\x01\x1c\x01",
        "XOAUTH2": b"user=user\x01auth=Bearer %t\x01\x01\x1c",
    }
    for which, name in enumerate(NAMES):
        for how in range(2 * _INITIAL):
            acting = b",a=other," if how & _PASSWORD else b",,"
            flag = b"p=tls-server-end-point" if name.endswith("-PLUS") else b"y" if how & _BINDING else b"n"
            header = flag + acting
            bound_to = BINDINGS["tls-server-end-point"] if name.endswith("-PLUS") else b""
            binding = base64(header + bound_to).encode()
            scram = header + b"n=user,r=fyko\x1cc=" + binding + b",r=%n,p=%p\x1c"
            message = messages.get(name, scram)
            yield bytes((which, how)) + message.replace(b"user", "us\u00ad\u200eer".encode())
            yield bytes((which, how)) + message.replace(b"user", "us\u00ader".encode())
            yield bytes((which, how)) + message
            yield bytes((which, how)) + message.replace(b"%p", b"d3Jvbmc=").replace(b"%s", b"wrong")
