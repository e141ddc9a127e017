"""The client's authentication exchange: which mechanism, and what to say next.  RFC 4954 section 4.

An `Authenticator` reads the events of an exchange and answers them with commands.  It sends nothing itself, so the
handshake, a flow and one's own loop can all use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .client import ClientConnection
from .commands import Auth, AuthResponse, Command
from .errors import ErrorCode, LocalProtocolError
from .events import AuthChallenge, AuthFailed, AuthSucceeded, Event
from .failures import AuthenticationFailed
from .limits import COMMAND_LINE
from .replies import Reply
from .sasl import (
    Challenge,
    ClientExchange,
    ClientMechanism,
    Credentials,
    MechanismError,
    ServerNotAuthentic,
    choose,
    error_of,
)

MAX_STEPS = 20
"""Challenges in one exchange of AUTH.  SCRAM needs 2, the longest mechanisms in use about 6; a server may never end."""

_TRY_THE_NEXT = frozenset({504, 534})
"""The mechanism is not known, or too weak for the server.  RFC 4954 sections 4 and 6."""

_PLUS = "-PLUS"
"""How the names of the mechanisms that are bound to the channel end.  RFC 5801 section 3."""
_OTHER_BINDING = "unsupported-channel-binding-type"
"""With what a server says that it knows another way to bind the channel than we do.  RFC 5802 section 7."""


class Authenticator:
    """One authentication.  Raises `AuthenticationFailed` at once where no mechanism can be used.

    ``credentials`` may be None where ``mechanisms`` holds mechanisms of the program's own.  ``mechanisms`` narrows and
    orders what is tried.  With ``allow_plaintext`` a secret may be sent without TLS.  ``wants_tls``: TLS was wanted;
    where it is not there, nothing that depends on a secret is sent (see `smtpproto.sasl.choose`).  With
    ``initial_response=False`` the AUTH command goes without one, for servers that want it so.  Channel bindings are
    those of the connection.
    """

    def __init__(
        self,
        connection: ClientConnection,
        credentials: Credentials | None,
        *,
        mechanisms: Sequence[str | ClientMechanism] | None = None,
        allow_plaintext: bool = False,
        wants_tls: bool = False,
        initial_response: bool = True,
    ) -> None:
        if connection.authenticated:
            raise LocalProtocolError("authenticated already: AUTH succeeds once in a session (RFC 4954 section 4)")
        if not connection.extended:
            raise AuthenticationFailed(
                "authentication needs ESMTP, which this server does not speak (or was not asked to)",
                ErrorCode.EXTENDED_NOT_SUPPORTED,
            )
        choice = choose(
            connection.extensions.auth,
            credentials,
            secure=connection.secure,
            allow_plaintext=allow_plaintext,
            wants_tls=wants_tls,
            mechanisms=mechanisms,
            bindings=connection.channel_bindings,
        )
        if not choice.candidates:
            raise AuthenticationFailed(choice.message, choice.why)
        self._secure = connection.secure
        self.usable = tuple(each.name for each in choice.candidates)
        self._candidates = list(choice.candidates)
        self._may_be_initial = initial_response
        self.problem = None
        self._begin()

    mechanism: ClientMechanism
    """The one under way."""
    usable: tuple[str, ...]
    """The names of all that may be tried, in this order."""
    problem: AuthenticationFailed | None
    """Why the exchange was cancelled; None: it was not.  It is what went wrong, whatever the server says to that, and
    also where it says nothing any more."""
    _initial: bytes | None

    def start(self) -> Command:
        """The AUTH command, with the initial response where the line stays within its limit.

        Raises `LocalProtocolError` where the mechanism has nothing that could be said.
        """
        name = self.mechanism.name
        try:
            self._initial = next(self._exchange)
        except StopIteration:
            raise LocalProtocolError(f"the mechanism {name} says nothing at all") from None
        response = bytes(AuthResponse(self._initial or b""))  # now, where nothing is under way yet
        if self._initial is None:
            return Auth(name)
        fits = len(f"AUTH {name} ") + max(len(response), len("=\r\n")) <= COMMAND_LINE
        self._held = not (fits and self._may_be_initial)
        return Auth(name) if self._held else Auth(name, self._initial)

    def respond(self, event: Event) -> Command | None:
        """What to send next; None when the authentication has succeeded.

        ``event`` is an `AuthChallenge`, `AuthFailed` or `AuthSucceeded`; any other answer None.  Raises
        `AuthenticationFailed`.
        """
        if isinstance(event, AuthChallenge):
            return self._challenged(event)
        if isinstance(event, AuthSucceeded):
            self._succeeded(event.reply)
        elif isinstance(event, AuthFailed):
            return self._failed(event)
        return None

    def _begin(self) -> None:
        self.mechanism = self._candidates.pop(0)
        self._exchange: ClientExchange = self.mechanism.exchange()
        self._steps = 0
        # The initial response, as long as the server may not have seen it; and whether it certainly has not.
        self._initial = None
        self._held = False

    def _challenged(self, event: AuthChallenge) -> AuthResponse:
        if self.problem is not None:
            raise self.problem  # a server that goes on after "*" may do so for ever
        self._steps += 1
        if self._steps > MAX_STEPS:
            return self._cancel(f"the server sends one challenge after another ({MAX_STEPS} so far)")
        initial, self._initial = self._initial, None
        if initial is not None and (self._held or event.challenge == b""):
            # Some servers ask for the initial response although it came with AUTH.
            self._held = False
            return AuthResponse(initial)
        try:
            return AuthResponse(self._exchange.send(Challenge(event.challenge, event.reply.lines[0])) or b"")
        except StopIteration:
            return self._cancel(f"a challenge for which {self.mechanism.name} has no place")
        except MechanismError as error:
            return self._cancel(str(error), _code_of(error))
        except LocalProtocolError as error:
            # A response that no line can hold, or one of a mechanism of the program's own.
            return self._cancel(str(error), ErrorCode.INVALID_ARGUMENT)

    def _cancel(self, message: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> AuthResponse:
        self._exchange.close()
        self.problem = AuthenticationFailed(message, code)
        return AuthResponse(None)

    def _succeeded(self, reply: Reply) -> None:
        if self.problem is not None:
            raise self.problem
        if self._held:
            raise AuthenticationFailed(
                "the server reported success before it had seen the credentials", ErrorCode.SERVER_NOT_AUTHENTIC, reply
            )
        try:
            self._exchange.send(None)
        except StopIteration:
            return
        except MechanismError as error:
            raise AuthenticationFailed(str(error), _code_of(error), reply) from error
        raise AuthenticationFailed(
            f"the server reported success before the {self.mechanism.name} exchange was complete",
            ErrorCode.SERVER_NOT_AUTHENTIC,
            reply,
        )

    def _failed(self, event: AuthFailed) -> Command:
        self._exchange.close()
        if self.problem is not None:
            raise self.problem
        other_binding = error_of(self.mechanism) == _OTHER_BINDING
        if other_binding:
            # All of them use the same one.
            self._candidates = [each for each in self._candidates if not each.name.upper().endswith(_PLUS)]
        if self._candidates and (other_binding or self._may_try_the_next(event.reply)):
            self._begin()
            return self.start()
        raise _refused(self.mechanism, event, self._secure)

    def _may_try_the_next(self, reply: Reply) -> bool:
        # A server that began to prove itself, and then would rather have a mechanism in which it need not, gets none.
        evades = self._steps > 0 and getattr(self.mechanism, "proves_server", False)
        return reply.code in _TRY_THE_NEXT and not evades


def _code_of(error: MechanismError) -> ErrorCode:
    return ErrorCode.SERVER_NOT_AUTHENTIC if isinstance(error, ServerNotAuthentic) else ErrorCode.PROTOCOL_ERROR


def _refused(mechanism: ClientMechanism, event: AuthFailed, secure: bool) -> AuthenticationFailed:
    """RFC 4954 sections 4 and 6."""
    reply = event.reply
    error = error_of(mechanism) or event.error
    if reply.code in _MEANINGS and not (reply.code == _TLS_FIRST and secure):
        code, message = _MEANINGS[reply.code]
    elif reply.is_transient:
        code, message = ErrorCode.AUTHENTICATION_UNAVAILABLE, "the server cannot authenticate anyone for now"
    else:
        said = f" and says {error}" if error else ""
        code, message = ErrorCode.AUTHENTICATION_REFUSED, f"the server refuses the credentials ({{name}}){said}"
    return AuthenticationFailed(message.replace("{name}", mechanism.name), code, reply, error=error)


_TLS_FIRST = 530
"""RFC 3207 section 4.  Where there is TLS, it says no more than that this server wants another client."""
_NOT_TAKEN = (ErrorCode.AUTHENTICATION_REFUSED, "the server offers {name} and does not take it")
_MEANINGS: Final = {
    432: (
        ErrorCode.AUTHENTICATION_UNAVAILABLE,
        "the server has to learn the password anew before it can check it by {name}: authenticate once with PLAIN",
    ),
    504: _NOT_TAKEN,
    _TLS_FIRST: (ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN, "the server wants TLS before any authentication"),
    534: _NOT_TAKEN,
    538: (ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN, "the server wants TLS for {name}"),
}
"""What refusals mean that are not about the credentials.  RFC 4954 section 6."""
