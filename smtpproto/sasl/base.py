"""What every SASL mechanism is made of.  RFC 4422, RFC 4954.

An exchange is a generator, one for each attempt, that whoever runs it (the driver) advances by one message at a time.
It knows neither SMTP nor base64 nor I/O, so the same mechanism serves every driver, and a new one is a class of a few
lines.

At the client it yields what it wants to say and is sent what the server answered:

* the first ``next()`` gives the initial response, or ``None`` where the server speaks first;
* a 334 is ``send(Challenge(...))``, which gives the next response.  Returning instead means that the mechanism has
  nothing more to say: the challenge was unexpected, and the driver cancels with ``*``;
* a 235 is ``send(None)``.  Returning means that the mechanism is satisfied; it raises `ServerNotAuthentic` where the
  success came too early or without the proof that the mechanism wants;
* a refusal (4yz, 5yz) ends the exchange without telling the generator: the driver closes it.

The driver may hold an initial response back and give it as the answer to an empty 334 instead (RFC 4954 section 4), and
gives it again where one comes although it was sent.  The generator cannot see that, so a 235 that comes before its
initial response went out is the driver's to refuse.

At the server it yields `Challenge`, and is sent the octets of the response, or a question to the program (`Verify` and
its kin), which may take its time to answer; it returns the `Identity` that was authenticated, or raises
`AuthenticationRefused` or `MechanismError`.

A mechanism that can be bound to the TLS channel (SCRAM and its -PLUS) has a method ``bound``, on either side: whoever
chooses or offers mechanisms hands it the channel bindings of the connection and what the server offers, and uses what
it returns instead of it (see `smtpproto.sasl.choice.Bindable`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias, TypeVar

from smtpproto.errors import LocalProtocolError, SmtpError
from smtpproto.grammar import Pattern, base64
from smtpproto.values import Value, set_field

from .questions import Question, Verify

if TYPE_CHECKING:
    from .credential import ScramCredential

_T = TypeVar("_T")

ERROR_LENGTH: Final = 1024
"""Characters that are kept of what a server says about its refusal; Google says some 70."""

_NOT_IN_TEXT: Final = Pattern("[\0\ud800-\udfff]")
_TOKEN: Final = Pattern(r"[\x21-\x7e]+")


class SaslError(SmtpError):
    """What a mechanism raises into its driver.  Its text names no secret, and a server may send it to the client."""

    code: int
    """The reply code with which a server ends the exchange.  RFC 4954 section 6.  A client has no use for it."""
    status: str
    """The enhanced status code that belongs to it, as ``"5.7.8"``."""

    def __init__(self, message: str, *, code: int, status: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class MechanismError(SaslError):
    """The peer does not keep to the mechanism: a message that it does not allow, or at the wrong time."""

    def __init__(self, message: str, *, code: int = 501, status: str = "5.5.2") -> None:
        super().__init__(message, code=code, status=status)


class ServerNotAuthentic(MechanismError):
    """The server claims success without having done what the mechanism wants it to: do not try a weaker one with it."""


class AuthenticationRefused(SaslError):
    """The server does not accept the credentials; or, with another code, cannot tell now (454 4.7.0 and kin)."""

    def __init__(
        self, message: str = "authentication credentials invalid", *, code: int = 535, status: str = "5.7.8"
    ) -> None:
        super().__init__(message, code=code, status=status)


class Credentials(Value):
    """Who the client is, and the secrets by which it can show it; they never show in a ``repr``.

    Raises `LocalProtocolError` where a field is empty that must not be, or holds NUL or what UTF-8 cannot express.
    """

    __slots__ = ("username", "password", "authorization_id", "token")
    __match_args__ = ("username", "password", "authorization_id", "token")
    _secret = frozenset({"password", "token"})

    username: str
    """The authentication identity."""
    password: str | None
    authorization_id: str
    """The identity to act as; empty: that of the user.  RFC 4422 section 2."""
    token: str | Callable[[], str] | None
    """An OAuth 2.0 access token (RFC 6750), or what returns one: it is called anew at each attempt."""

    def __init__(
        self,
        username: str = "",
        password: str | None = None,
        *,
        authorization_id: str = "",
        token: str | Callable[[], str] | None = None,
    ) -> None:
        set_field(self, "username", checked_text("the username", username))
        set_field(self, "password", password if password is None else checked_text("the password", password))
        set_field(self, "authorization_id", checked_text("the authorization identity", authorization_id))
        set_field(self, "token", token if token is None or callable(token) else checked_token(token))
        if password == "":
            raise LocalProtocolError("the password is empty: no mechanism can send that; leave it out")
        if password is not None and not username:
            raise LocalProtocolError("the username is empty, but there is a password: give both")


class PasswordClient(Value):
    """The client's side of a mechanism that has a username and a password, and can act as nobody else.

    Raises `LocalProtocolError` for an empty field, or one that holds NUL.
    """

    __slots__ = ("username", "password")
    __match_args__ = ("username", "password")
    _secret = frozenset({"password"})

    username: str
    password: str

    def __init__(self, username: str, password: str) -> None:
        Credentials(username, password)
        set_field(self, "username", username)
        set_field(self, "password", password)

    @classmethod
    def suiting(cls, credentials: Credentials) -> Self | None:
        """The mechanism for these credentials, or ``None``: without a password, and for acting as someone else."""
        if credentials.password is None or credentials.authorization_id:
            return None
        return cls(credentials.username, credentials.password)


class Challenge(Value):
    """What a server says in an exchange: a 334 reply.  RFC 4954 section 4."""

    __slots__ = ("data", "text")
    __match_args__ = ("data", "text")
    _secret = frozenset({"data", "text"})

    data: bytes | None
    """Decoded; ``None`` where the text is no base64."""
    text: str
    """As it stood behind the code."""

    def __init__(self, data: bytes | None, text: str | None = None) -> None:
        """Without ``text``, it is the base64 of ``data``."""
        set_field(self, "data", data)
        set_field(self, "text", base64(data or b"") if text is None else text)


class Identity(Value):
    """Who was authenticated, at the server."""

    __slots__ = ("username", "authorization_id")
    __match_args__ = ("username", "authorization_id")

    username: str
    """Whose credentials they were."""
    authorization_id: str
    """Whom the client acts as; empty: the user."""

    def __init__(self, username: str, authorization_id: str = "") -> None:
        set_field(self, "username", username)
        set_field(self, "authorization_id", authorization_id)


ClientExchange: TypeAlias = Generator[bytes | None, Challenge | None, None]
"""The client's side of one attempt: yields responses, is sent challenges, and ``None`` on success."""

ServerStep: TypeAlias = Challenge | Question
"""What the server's side of an exchange yields."""
ServerAnswer: TypeAlias = "bytes | bool | str | ScramCredential | None"
"""The client's decoded response to a `Challenge`; the program's answer to a `Question`."""
ServerExchange: TypeAlias = Generator[ServerStep, ServerAnswer, Identity]
"""The server's side of one attempt."""


class ClientMechanism(Protocol):
    """The client's side of a mechanism, ready for any number of attempts.

    One that learns why the server refused it keeps that in an attribute ``error`` (see `error_of`), and then serves
    one connection at a time.  One that knows no secret says so with an attribute ``has_secret`` that is False: what
    has one is never tried where TLS was wanted and is not there, even if it does not expose it.  One in which the
    server proves that it knows the secret says so with ``proves_server``: nothing weaker is tried once it has begun.
    """

    @property
    def name(self) -> str:
        """As it stands in the EHLO reply: ``"PLAIN"``."""
        ...

    @property
    def exposes_secret(self) -> bool:
        """What it sends can be used again by whoever reads it: it is only for TLS, unless the program allows more."""
        ...

    def exchange(self) -> ClientExchange:
        """Begin an attempt.  Its first ``next()`` raises `LocalProtocolError` where it cannot be made."""
        ...


class ServerMechanism(Protocol):
    """The server's side of a mechanism, ready for any number of attempts, also at the same time."""

    @property
    def name(self) -> str:
        """As it stands in the EHLO reply: ``"PLAIN"``."""
        ...

    @property
    def exposes_secret(self) -> bool:
        """What the client sends can be used again by whoever reads it: offer it only under TLS."""
        ...

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        """Begin an attempt; ``None``: AUTH came without an initial response, ``b""``: with an empty one (``=``)."""
        ...


def error_of(mechanism: ClientMechanism) -> str | None:
    """What the server said within the last exchange about why it refuses, where the mechanism provides for that."""
    error: object = getattr(mechanism, "error", None)
    return error if isinstance(error, str) else None


def readable(refusal: Challenge) -> str:
    """What a server says in a challenge that is a refusal already, cut short where it says too much.

    It ends up in logs and on terminals, so what does not print becomes a space.  That leaves JSON what it is.
    """
    text = refusal.text
    if refusal.data is not None:
        text = refusal.data[: 4 * ERROR_LENGTH].decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else " " for char in text[:ERROR_LENGTH]).strip()


# What follows is for mechanisms.  It never lets a UnicodeError be raised, because that would hold the secret.


def checked_text(what: str, text: object) -> str:
    """A field of the program's; raises `LocalProtocolError` where it holds NUL or what UTF-8 cannot express."""
    if not isinstance(text, str):
        raise LocalProtocolError(f"{what} is of type {type(text).__name__}: it must be a str")
    if _NOT_IN_TEXT.search(text):
        raise LocalProtocolError(f"{what} holds NUL or a lone surrogate: no mechanism can send that")
    return text


def checked_token(token: object) -> str:
    """An OAuth 2.0 access token; raises `LocalProtocolError`.  RFC 6750 section 2.1, but any visible ASCII passes."""
    text = checked_text("the token", token)
    if not _TOKEN.fullmatch(text):
        raise LocalProtocolError("the token is empty, or holds more than visible ASCII characters: is it a line's end?")
    return text


def decoded_text(what: str, octets: bytes) -> str:
    """A field of the peer's; raises `MechanismError` where it holds NUL or is no UTF-8."""
    text = octets.decode("utf-8", "surrogateescape")
    if _NOT_IN_TEXT.search(text):
        raise MechanismError(f"{what} holds NUL or is not UTF-8")
    return text


def required_text(what: str, octets: bytes) -> str:
    """As `decoded_text`, but an empty field is a `MechanismError` too."""
    if not octets:
        raise MechanismError(f"{what} is empty")
    return decoded_text(what, octets)


def premature_success(mechanism: ClientMechanism) -> ServerNotAuthentic:
    """For a client that was sent ``None`` while it had more to say."""
    return ServerNotAuthentic(f"the server reported success before the {mechanism.name} exchange was complete")


def one_message(message: bytes) -> ClientExchange:
    """For a client that says one thing.

    Some servers answer an initial response with a challenge of any text, be it base64 or not, and want it again.  They
    get it again, once; an empty challenge is not for this side, because the driver has answered one already.
    """
    challenge = yield message
    if challenge is not None and challenge.data != b"":
        yield message


def ask_client(challenge: bytes) -> Generator[ServerStep, ServerAnswer, bytes]:
    """Send a challenge and return the response to it."""
    response = yield Challenge(challenge)
    if not isinstance(response, bytes):
        raise LocalProtocolError(f"a Challenge was answered with {type(response).__name__}: it must be bytes")
    return response


def ask_first(initial_response: bytes | None, challenge: bytes = b"") -> Generator[ServerStep, ServerAnswer, bytes]:
    """What the client says first: with AUTH, or else in response to the challenge.  RFC 4954 section 4."""
    return (yield from ask_client(challenge)) if initial_response is None else initial_response


def ask_program(question: Verify) -> ServerExchange:
    """Return whose the credentials are; raises `AuthenticationRefused` where the program says no."""
    answer = yield question
    # Truth is not enough: a handler that was not awaited is true.
    if not isinstance(answer, bool):
        raise LocalProtocolError(f"Verify was answered with {type(answer).__name__}: it must be True or False")
    if not answer:
        raise AuthenticationRefused
    return Identity(question.username, question.authorization_id)


def ask(question: Question, kind: type[_T]) -> Generator[ServerStep, ServerAnswer, _T | None]:
    """Return what the program answers, which must be of this kind, or ``None`` where that is a no."""
    answer = yield question
    if answer is None or answer is False:
        return None
    if not isinstance(answer, kind):
        raise LocalProtocolError(
            f"{type(question).__name__} was answered with {type(answer).__name__}: it must be {kind.__name__} or None"
        )
    return answer
