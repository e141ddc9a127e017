"""Whatever a server says within an exchange, a client's mechanism ends by StopIteration or SaslError, which shows no
secret; it says none in clear that it should not, and SCRAM is satisfied only by a server that knows the password.

The first octet chooses the mechanism, the second the credentials (1: to act as another) and the channel (2: there is a
binding; 4: -PLUS is offered).  What follows are the challenges, each behind an octet that says what it is: ``s`` a
success, ``t`` a text that is no base64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fuzz._harness import chosen, flights_of, text_of
from fuzz._sasl import BINDINGS, NAMES, PASSWORD, TOKEN, USER, Signed, assert_silent, filled, no_chance
from smtpproto.errors import LocalProtocolError
from smtpproto.sasl import MECHANISMS, Challenge, ClientMechanism, Credentials, SaslError, error_of
from smtpproto.sasl.choice import NO_BINDINGS, bound

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_STEPS: Final = 20


def test_one_input(data: bytes) -> None:
    mechanism = mechanism_of(chosen(data), chosen(data, 1))
    if mechanism is not None:
        with no_chance():
            converse(mechanism, flights_of(data[2:]))


def mechanism_of(which: int, how: int) -> ClientMechanism | None:
    description = MECHANISMS[which % len(MECHANISMS)]
    acting = "other" if how & 1 else ""
    credentials = Credentials(
        USER if description.has_secret else "",
        PASSWORD if description.has_secret else None,
        authorization_id=acting,
        token=TOKEN if description.has_secret else None,
    )
    mechanism = description.client(credentials)
    offered = {description.name, f"{description.name}-PLUS"} if how & 4 else {description.name}
    return bound(mechanism, BINDINGS if how & 2 else NO_BINDINGS, offered)


def converse(mechanism: ClientMechanism, flights: list[bytes]) -> None:
    exchange = mechanism.exchange()
    said: list[str] = []
    heard: list[str] = [""]
    step: Challenge | None = None
    try:
        note(mechanism, next(exchange), said)
        for flight in [*flights, *[b"c"] * _MOST_STEPS]:
            step = step_of(mechanism, flight, said, heard)
            note(mechanism, exchange.send(step), said)
    except StopIteration:
        if step is None and mechanism.name.startswith("SCRAM-"):
            assert heard[-1].split(",")[0] == f"v={signed(mechanism, said[:-1], heard[:-1]).signature}"
    except SaslError as error:
        assert_silent(error)
    except LocalProtocolError:
        assert not said, "what a server says is no fault of the program"
    else:
        raise AssertionError("a client that never ends")
    told = error_of(mechanism)
    assert told is None or (told.isprintable() and len(told) <= 1024)


def note(mechanism: ClientMechanism, response: bytes | None, said: list[str]) -> None:
    said.append((response or b"").decode())
    assert mechanism.exposes_secret or not (PASSWORD in said[-1] or TOKEN in said[-1])


def step_of(mechanism: ClientMechanism, flight: bytes, said: list[str], heard: list[str]) -> Challenge | None:
    """What the server says next."""
    kind, message = flight[:1], flight[1:]
    if kind == b"s":
        return None
    if mechanism.name.startswith("SCRAM-") and b"%" in message:
        nonce = said[0].rpartition("r=")[2]
        message = filled(message, {b"%n": nonce, b"%v": signed(mechanism, said, heard).signature})
    heard.append(text_of(message))
    return Challenge(None, heard[-1]) if kind == b"t" else Challenge(message)


def signed(mechanism: ClientMechanism, said: list[str], heard: list[str]) -> Signed:
    """What both have said, where that was SCRAM up to here."""
    return Signed(mechanism.name, said[0].split(",", 2)[-1], heard[-1], said[-1].rpartition(",p=")[0])


def seeds() -> Iterator[bytes]:
    """A server as it should be, and one that claims success at once, for each mechanism."""
    for which, name in enumerate(NAMES):
        for how in (0, 1, 2, 6):
            begin = bytes((which, how))
            if name.startswith("SCRAM-"):
                yield begin + b"cr=%nsrv,s=QSXCR+Q6sek8bf92,i=4096\x1ccv=d3Jvbmc=\x1cs"
                yield begin + b"cr=%nsrv,s=QSXCR+Q6sek8bf92,i=4096\x1ccv=%v\x1cs"
                yield begin + b"cr=%nsrv,s=QSXCR+Q6sek8bf92,i=4096\x1cce=other-error\x1cs"
            else:
                yield begin + b"c<1896.697170952@postoffice.reston.mci.net>\x1cs"
                yield begin + b'c{"status":"invalid_token"}\x1cc\x1cs'
            yield begin + b"tVXNlcm5hbWU6\x1ctPassword:\x1cs"
            yield begin + b"s"
