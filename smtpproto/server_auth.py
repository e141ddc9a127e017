"""How the clients of a server authenticate: which mechanisms there are, who knows the secrets, and what failing costs.

A mechanism asks questions (`smtpproto.sasl.Question`).  The program hears each of them first; where it has no answer of
its own, `ServerAuth` has one: it looks the user up, and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from .errors import LocalProtocolError
from .sasl import (
    MECHANISMS,
    NO_BINDINGS,
    SERVER_MECHANISMS,
    Authorize,
    FindCredential,
    FindPassword,
    Identity,
    Prohibited,
    Question,
    ScramCredential,
    ScramServer,
    ServerAnswer,
    ServerMechanism,
    Verify,
    VerifyAnonymous,
    VerifyToken,
    bound,
    saslprep,
)
from .sasl.scram import MAX_SALT_LENGTH

Secret: TypeAlias = str | ScramCredential | Sequence[ScramCredential]
"""What a server knows of a user: the password, or what is kept of it for SCRAM, for one hash function or several."""
Secrets: TypeAlias = Mapping[str, Secret] | Callable[[str], Secret | None]
"""User name -> what is known of the user; None, or nothing: there is no such user."""
Tokens: TypeAlias = Mapping[str, str] | Callable[[str], str | None]
"""OAuth 2.0 access token -> the name of the user whose it is; None, or nothing: it is not valid."""

FOR_TOKENS: Final = ("OAUTHBEARER", "XOAUTH2")
"""What is offered for tokens where nothing else is said."""

MAX_FAILURES: Final = 3
"""Attempts to authenticate that may fail in one session; `ServerAuth` can have others."""
FAILURE_DELAY: Final = 1.0
"""Seconds before a refused authentication is told; `ServerAuth` can have others.  Dovecot: 2 (auth_failure_delay)."""

_NEEDS_TOKENS: Final = frozenset(FOR_TOKENS)
_NEEDS_PROGRAM: Final = frozenset({"EXTERNAL"})
_NEEDS_NOTHING: Final = frozenset({"ANONYMOUS"})
_KNOWN: Final = frozenset(each.name for each in MECHANISMS)
_SCRAM: Final = tuple(each.name for each in MECHANISMS if each.name.startswith("SCRAM-"))


class ServerAuth:
    """Who may authenticate, and how.

    ``credentials``
        User name -> password, or `ScramCredential`, or several of them for one password; a mapping, or what is called
        with the name.  From a password, everything can be checked; from what is kept for SCRAM, all but CRAM-MD5, and
        SCRAM only with its hash function.  Names and passwords are compared as SASLprep leaves them (RFC 4013), so let
        the names in a mapping be so.  A name that it refuses, or of which it leaves nothing, is nobody's (RFC 4954
        section 4): a program that wants such names answers `Verify` and its kin by itself.
    ``tokens``
        OAuth 2.0 access token -> user name; a mapping, or what is called with the token.
    ``mechanisms``
        Names, or mechanisms of the program's own, in the order in which they are offered.  None: what fits what was
        given; for credentials SCRAM with the hash function of those that a mapping has (else SHA-256), PLAIN and LOGIN;
        for tokens `FOR_TOKENS`.  Those that expose the secret are offered only under TLS, a -PLUS only where there is a
        channel binding.  EXTERNAL needs a program that says who the client is.  ANONYMOUS lets in everybody, unless the
        program says otherwise.
    ``authorize``
        Is called with a user, who has authenticated, and the other identity that they want to act as; True lets them.
        None: nobody may.
    ``required``
        No mail without it.
    ``allow_plaintext``
        Offer without TLS, too, what exposes the secret.
    ``max_failures``, ``failure_delay``
        So many attempts may fail in a session, which ends then; and each refusal comes so many seconds later.

    Raises `LocalProtocolError` for what makes no sense.
    """

    __slots__ = (
        "_authorize",
        "_credentials",
        "_like",
        "_tokens",
        "allow_plaintext",
        "failure_delay",
        "max_failures",
        "mechanisms",
        "required",
    )

    mechanisms: tuple[ServerMechanism, ...]
    required: bool
    allow_plaintext: bool
    max_failures: int
    failure_delay: float

    def __init__(
        self,
        credentials: Secrets | None = None,
        *,
        tokens: Tokens | None = None,
        mechanisms: Iterable[str | ServerMechanism] | None = None,
        authorize: Callable[[str, str], bool] | None = None,
        required: bool = False,
        allow_plaintext: bool = False,
        max_failures: int = MAX_FAILURES,
        failure_delay: float = FAILURE_DELAY,
    ) -> None:
        if max_failures < 1:
            raise LocalProtocolError(f"max_failures is {max_failures}: it must be at least 1, or nobody could try")
        if not 0 <= failure_delay < float("inf"):
            raise LocalProtocolError(f"failure_delay is {failure_delay}: it must be a number of seconds from 0 on")
        _check_source("credentials", credentials)
        _check_source("tokens", tokens)
        self._credentials = credentials
        self._tokens = tokens
        self._authorize = authorize
        self._like = _first_of(credentials)
        self.required = required
        self.allow_plaintext = allow_plaintext
        self.max_failures = max_failures
        self.failure_delay = failure_delay
        if mechanisms is None:
            mechanisms = self._for_credentials() + FOR_TOKENS * (tokens is not None)
        elif isinstance(mechanisms, str):
            raise LocalProtocolError("mechanisms is a str: give a list of names")
        self.mechanisms = self._made(mechanisms)
        if not self.mechanisms:
            raise LocalProtocolError("nobody could ever authenticate: give credentials, tokens or mechanisms")

    def __repr__(self) -> str:
        return f"<ServerAuth {' '.join(each.name for each in self.mechanisms)}>"

    def _for_credentials(self) -> tuple[str, ...]:
        """For a client of another SCRAM a server that keeps salted keys of SHA-256 has none."""
        if self._credentials is None:
            return ()
        hashes = {each.hash for each in self._like} or {"SHA-256"}
        return (*(name for name in _SCRAM if _hash_of(name) in hashes), "PLAIN", "LOGIN")

    def _made(self, mechanisms: Iterable[str | ServerMechanism]) -> tuple[ServerMechanism, ...]:
        import secrets

        # All of SCRAM must invent the same salt for a user that there is not.
        secret = secrets.token_bytes(32)
        return tuple(self._mechanism(each, secret) if isinstance(each, str) else each for each in mechanisms)

    def _mechanism(self, name: str, secret: bytes) -> ServerMechanism:
        name = name.upper()
        if name in _SCRAM:
            like = next((each for each in self._like if each.hash == _hash_of(name)), None)
            if like is None:
                return ScramServer(name, secret=secret)
            return ScramServer(
                name, secret=secret, iterations=like.iterations, salt_length=min(len(like.salt), MAX_SALT_LENGTH)
            )
        factory = SERVER_MECHANISMS.get(name)
        if factory is None:
            raise LocalProtocolError(f"{name!r} is no mechanism of ours: there are {', '.join(SERVER_MECHANISMS)}")
        return factory()

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The names of those mechanisms whose questions only the program can answer."""
        return tuple(each.name for each in self.mechanisms if not self._can_answer(each.name))

    def _can_answer(self, name: str) -> bool:
        if name in _NEEDS_TOKENS:
            return self._tokens is not None
        if name in _NEEDS_PROGRAM:
            return False
        # What a mechanism of the program's own asks, if anything, nobody can know before it does.
        return self._credentials is not None or name in _NEEDS_NOTHING or name not in _KNOWN

    def offered(self, *, secure: bool, bindings: Mapping[str, bytes] = NO_BINDINGS) -> dict[str, ServerMechanism]:
        """What is offered to one client, each by its name.  ``bindings``: the channel bindings of its connection."""
        allowed = [each for each in self.mechanisms if secure or self.allow_plaintext or not each.exposes_secret]
        names = [each.name.upper() for each in allowed]
        made = ((each.name.upper(), bound(each, bindings, names)) for each in allowed)
        return {name: mechanism for name, mechanism in made if mechanism is not None}

    def needs_tls(self, name: str) -> bool:
        """True for a mechanism that there is, but that is not offered without TLS."""
        return not self.allow_plaintext and any(
            each.name.upper() == name and each.exposes_secret for each in self.mechanisms
        )

    # What the program is asked, and leaves to us --------------------------------------------------------------------

    def answer(self, question: Question) -> ServerAnswer:
        """The answer to a mechanism's question, as ``credentials``, ``tokens`` and ``authorize`` have it."""
        match question:
            case Verify(username, password, acting):
                return self._is_password(username, password) and self._may_act(username, acting)
            case FindCredential(username, hash):
                return self._credential(username, hash)
            case FindPassword(username):
                found = self._find(username)
                return found if isinstance(found, str) else None
            case Authorize(username, acting):
                return self._may_act(username, acting)
            case VerifyToken(token, acting):
                owner = _owner_of(_looked_up(self._tokens, token))
                return owner if owner is not None and self._may_act(owner, acting) else None
            case VerifyAnonymous():
                return True
            case _:
                return None

    def _may_act(self, username: str, acting: str) -> bool:
        if not acting:
            return True
        username, acting = _name(username), _name(acting)
        if not (username and acting):
            return False
        if acting == username:
            return True
        allowed: Any = self._authorize is not None and self._authorize(username, acting)
        if allowed is not True and allowed is not False:  # a coroutine that nobody awaited is true, and no yes
            raise LocalProtocolError(f"authorize has returned {type(allowed).__name__}: it must be True or False")
        return allowed is True

    def _is_password(self, username: str, password: str) -> bool:
        found = self._find(username)
        if isinstance(found, str):
            return _same(found, password)
        if found:
            return found[0].matches(password)
        # It takes as long as with a user whom there is.
        if self._like:
            self._like[0].matches(password)
        return False

    def _credential(self, username: str, hash_name: str) -> ServerAnswer:
        found = self._find(username)
        if found is None or isinstance(found, str):
            return found
        return next((each for each in found if each.hash == hash_name), None)

    def _find(self, username: str) -> str | tuple[ScramCredential, ...] | None:
        name = _name(username)
        found: object = _looked_up(self._credentials, name) if name else None
        if found is None or isinstance(found, str):
            return found
        credentials = _credentials_of(found)
        self._like = credentials or self._like
        return credentials


def as_looked_up(identity: Identity) -> Identity:
    """With the names as `ServerAuth` reads them: of many ways to write a name, one is left.  RFC 4013."""
    return Identity(_prepared(identity.username), _prepared(identity.authorization_id))


def _check_source(what: str, source: object) -> None:
    if not (source is None or isinstance(source, Mapping) or callable(source)):
        raise LocalProtocolError(f"{what} is a {type(source).__name__}: it must be a mapping, or what can be called")


def _hash_of(name: str) -> str:
    return name.removeprefix("SCRAM-").removesuffix("-PLUS")


def _owner_of(found: object) -> str | None:
    if found is None or isinstance(found, str):
        return found
    raise LocalProtocolError(f"the user of a token is of type {type(found).__name__}: it must be a str, or None")


def _looked_up(source: Mapping[str, Any] | Callable[[str], Any] | None, key: str) -> Any:
    if source is None:
        return None
    return source(key) if callable(source) else source.get(key)


def _credentials_of(found: object) -> tuple[ScramCredential, ...]:
    kind = type(found).__name__
    many = cast("Sequence[object]", found) if isinstance(found, Sequence) else (found,)
    credentials = tuple(each for each in many if isinstance(each, ScramCredential))
    if len(credentials) != len(many):
        raise LocalProtocolError(
            f"the credentials of a user are of type {kind}: they must be a str, a ScramCredential, a "
            "sequence of these, or None; what has to be awaited is for the program itself"
        )
    return credentials


def _first_of(credentials: Secrets | None) -> tuple[ScramCredential, ...]:
    """Those of one of the users, where they are of that kind."""
    if credentials is None or callable(credentials):
        return ()
    made = (_credentials_of(found) for found in credentials.values() if not isinstance(found, str))
    return next(filter(None, made), ())


def _name(text: str) -> str:
    """As it is looked up; empty where SASLprep refuses it, or leaves nothing: that is nobody's.  RFC 4954 section 4."""
    try:
        return saslprep(text, stored=False)
    except Prohibited:
        return ""


def _prepared(text: str) -> str:
    """As it is compared; what SASLprep does not allow is left as it is."""
    try:
        return saslprep(text, stored=False)
    except Prohibited:
        return text


def _same(stored: str, password: str) -> bool:
    """In a time that does not tell where they differ.  What SASLprep leaves nothing of is no password."""
    import hmac

    left, right = (_prepared(each).encode("utf-8", "surrogatepass") for each in (stored, password))
    return hmac.compare_digest(left, right) and left != b""
