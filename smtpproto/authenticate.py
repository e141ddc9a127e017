"""The client's authentication exchange: which mechanism, and what to say next.  RFC 4954 section 4.

An `Authenticator` reads the events of an exchange and answers them with commands.  It sends nothing itself, so the
handshake, a flow and one's own loop can all use it.
"""

from __future__ import annotations

from collections.abc import Sequence

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
"""Challenges in one exchange.  SCRAM needs 2, the longest mechanisms in use about 6; a server may never end."""

_TRY_THE_NEXT = frozenset({504, 534})
"""The mechanism is not known, or too weak for the server.  RFC 4954 sections 4 and 6."""


class Authenticator:
    """One authentication.  Raises `AuthenticationFailed` at once where no mechanism can be used.

    ``credentials`` may be None where ``mechanisms`` holds mechanisms of the program's own.  ``mechanisms`` narrows and
    orders what is tried.  With ``allow_plaintext`` a secret may be sent without TLS.
    """

    def __init__(
        self,
        connection: ClientConnection,
        credentials: Credentials | None,
        *,
        mechanisms: Sequence[str | ClientMechanism] | None = None,
        allow_plaintext: bool = False,
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
            mechanisms=mechanisms,
        )
        if not choice.candidates:
            raise AuthenticationFailed(choice.message, choice.why)
        self._candidates = list(choice.candidates)
        self._problem: AuthenticationFailed | None = None
        self._begin()

    mechanism: ClientMechanism
    """The one under way."""
    _initial: bytes | None

    def start(self) -> Command:
        """The AUTH command, with the initial response where the line stays within its limit."""
        try:
            self._initial = next(self._exchange)
        except StopIteration:
            raise LocalProtocolError(f"the mechanism {self.mechanism.name} says nothing at all") from None
        command = Auth(self.mechanism.name, self._initial)
        self._held = self._initial is not None and len(bytes(command)) > COMMAND_LINE
        return Auth(self.mechanism.name) if self._held else command

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
            return self._failed(event.reply)
        return None

    def _begin(self) -> None:
        self.mechanism = self._candidates.pop(0)
        self._exchange: ClientExchange = self.mechanism.exchange()
        self._steps = 0
        # The initial response, as long as the server may not have seen it; and whether it certainly has not.
        self._initial = None
        self._held = False

    def _challenged(self, event: AuthChallenge) -> AuthResponse:
        if self._problem is not None:
            raise self._problem  # a server that goes on after "*" may do so for ever
        self._steps += 1
        if self._steps > MAX_STEPS:
            return self._cancel(f"the server sends one challenge after another ({MAX_STEPS} so far)")
        initial, self._initial = self._initial, None
        if initial is not None and (self._held or event.challenge == b""):
            # Some servers ask for the initial response although it came with AUTH.
            self._held = False
            return AuthResponse(initial)
        try:
            response = self._exchange.send(Challenge(event.challenge, event.reply.lines[0]))
        except StopIteration:
            return self._cancel(f"a challenge for which {self.mechanism.name} has no place")
        except MechanismError as error:
            return self._cancel(str(error), _code_of(error))
        return AuthResponse(response or b"")

    def _cancel(self, message: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> AuthResponse:
        self._problem = AuthenticationFailed(message, code)
        return AuthResponse(None)

    def _succeeded(self, reply: Reply) -> None:
        if self._problem is not None:
            raise self._problem
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

    def _failed(self, reply: Reply) -> Command:
        self._exchange.close()
        if self._problem is not None:
            raise self._problem
        if reply.code in _TRY_THE_NEXT and self._candidates:
            self._begin()
            return self.start()
        raise _refused(self.mechanism, reply)


def _code_of(error: MechanismError) -> ErrorCode:
    return ErrorCode.SERVER_NOT_AUTHENTIC if isinstance(error, ServerNotAuthentic) else ErrorCode.PROTOCOL_ERROR


def _refused(mechanism: ClientMechanism, reply: Reply) -> AuthenticationFailed:
    """RFC 4954 section 6."""
    if reply.is_transient:
        return AuthenticationFailed(
            "the server cannot authenticate anyone for now", ErrorCode.AUTHENTICATION_UNAVAILABLE, reply
        )
    if reply.code == 538:
        return AuthenticationFailed(
            f"the server wants TLS for {mechanism.name}", ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN, reply
        )
    if reply.code in _TRY_THE_NEXT:
        return AuthenticationFailed(
            f"the server offers {mechanism.name} and does not take it", ErrorCode.AUTHENTICATION_REFUSED, reply
        )
    said = error_of(mechanism)
    detail = f" and says {said}" if said else ""
    return AuthenticationFailed(
        f"the server refuses the credentials ({mechanism.name}){detail}", ErrorCode.AUTHENTICATION_REFUSED, reply
    )
