"""What a server's mechanisms ask of its program: each question is a value, and says what its answers are."""

from __future__ import annotations

from typing import ClassVar

from smtpproto.values import Value, set_field


class Question(Value):
    """What a mechanism asks.

    ``None`` leaves it to the `ServerAuth` of the service; ``False`` is a no to each of them.
    """

    __slots__ = ()

    answers: ClassVar[tuple[str, ...]] = ("bool",)
    """The names of the types of which a yes can be."""

    def may_be_answered_with(self, answer: object) -> bool:
        """Whether it is of a type that answers the question.  (A coroutine that nobody awaited is true, and no yes.)"""
        return answer is None or answer is False or any(kind.__name__ in self.answers for kind in type(answer).__mro__)


class Verify(Question):
    """Asked of a server's program: is this the user's password, and may the user act as this identity?

    The answer is True, or False where either does not hold.
    """

    __slots__ = ("username", "password", "authorization_id")
    __match_args__ = ("username", "password", "authorization_id")
    _secret = frozenset({"password"})

    username: str
    password: str
    authorization_id: str
    """Empty: the user's own."""

    def __init__(self, username: str, password: str, authorization_id: str = "") -> None:
        set_field(self, "username", username)
        set_field(self, "password", password)
        set_field(self, "authorization_id", authorization_id)


class FindCredential(Question):
    """Asked of a server's program: what is kept of this user's password, for SCRAM with this hash function?

    The answer is a `ScramCredential` for this hash function, or a str, the password itself, of which the mechanism
    makes one, with the same salt and iteration count that it shows for users whom there are not; None where there is no
    such user, or nothing is kept.  A password that SASLprep does not allow counts as nothing.
    """

    __slots__ = ("username", "hash")
    __match_args__ = ("username", "hash")
    answers: ClassVar[tuple[str, ...]] = ("ScramCredential", "str")

    username: str
    """As SASLprep leaves it."""
    hash: str
    """``"SHA-256"`` and kin."""

    def __init__(self, username: str, hash: str) -> None:  # noqa: A002 - it is the RFC's name
        set_field(self, "username", username)
        set_field(self, "hash", hash)


class FindPassword(Question):
    """Asked of a server's program: what is this user's password?  CRAM-MD5 cannot be checked by less.

    The answer is a str; None where there is no such user, or it is not to be had.
    """

    __slots__ = ("username",)
    __match_args__ = ("username",)
    answers: ClassVar[tuple[str, ...]] = ("str",)

    username: str

    def __init__(self, username: str) -> None:
        set_field(self, "username", username)


class Authorize(Question):
    """Asked of a server's program: may this user, who has authenticated, act as this identity?  True or False."""

    __slots__ = ("username", "authorization_id")
    __match_args__ = ("username", "authorization_id")

    username: str
    authorization_id: str
    """Another than the user."""

    def __init__(self, username: str, authorization_id: str) -> None:
        set_field(self, "username", username)
        set_field(self, "authorization_id", authorization_id)


class VerifyToken(Question):
    """Asked of a server's program: whose is this OAuth 2.0 access token, and may they act as this identity?

    The answer is the name of the user; None where the token is not valid, or is not good for that.
    """

    __slots__ = ("token", "authorization_id")
    __match_args__ = ("token", "authorization_id")
    _secret = frozenset({"token"})
    answers: ClassVar[tuple[str, ...]] = ("str",)

    token: str
    authorization_id: str
    """Whom the client names; empty: nobody, and the token says who it is."""

    def __init__(self, token: str, authorization_id: str = "") -> None:
        set_field(self, "token", token)
        set_field(self, "authorization_id", authorization_id)


class VerifyExternal(Question):
    """Asked of a server's program: who is the client by other means, and may they act as this identity?

    The other means are mostly a TLS certificate.  The answer is the name of the user; None where the client has not
    shown that it is anyone, or may not act so.
    """

    __slots__ = ("authorization_id",)
    __match_args__ = ("authorization_id",)
    answers: ClassVar[tuple[str, ...]] = ("str",)

    authorization_id: str
    """Empty: the user's own."""

    def __init__(self, authorization_id: str = "") -> None:
        set_field(self, "authorization_id", authorization_id)


class VerifyAnonymous(Question):
    """Asked of a server's program: may someone in who says this about themselves, and shows nothing?  True or False."""

    __slots__ = ("trace",)
    __match_args__ = ("trace",)

    trace: str
    """For the log, as far as it can be believed: an address, or a name; may be empty.  RFC 4505 section 2."""

    def __init__(self, trace: str = "") -> None:
        set_field(self, "trace", trace)
