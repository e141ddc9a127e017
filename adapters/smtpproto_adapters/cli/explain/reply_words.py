"""What replies mean, in words, each with the rule that says so: by the command that they answer, and by their code.

RFC 5321 section 4.3.2 lists which replies a command may get, section 4.2.3 what the codes mean in general, and section
4.2.1 what is left to know of one that nobody has listed: its first digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from smtpproto import (
    Auth,
    AuthResponse,
    Bdat,
    Burl,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    EnhancedStatus,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reply,
    Rset,
    StartTls,
    Vrfy,
)


class Meaning(NamedTuple):
    """What something means, and where that is written."""

    text: str
    rule: str


_OF_COMMAND: Final[Mapping[type[Command], str]] = {
    Connect: "RFC 5321 section 3.1",
    Ehlo: "RFC 5321 section 4.1.1.1",
    Helo: "RFC 5321 section 4.1.1.1",
    Lhlo: "RFC 2033 section 4.1",
    Mail: "RFC 5321 section 4.1.1.2",
    Rcpt: "RFC 5321 section 4.1.1.3",
    Data: "RFC 5321 section 4.1.1.4",
    EndOfData: "RFC 5321 section 4.1.1.4",
    Bdat: "RFC 3030 section 2",
    Burl: "RFC 4468 section 3",
    Rset: "RFC 5321 section 4.1.1.5",
    Vrfy: "RFC 5321 section 4.1.1.6",
    Expn: "RFC 5321 section 4.1.1.7",
    Help: "RFC 5321 section 4.1.1.8",
    Noop: "RFC 5321 section 4.1.1.9",
    Quit: "RFC 5321 section 4.1.1.10",
    StartTls: "RFC 3207 section 4",
    Auth: "RFC 4954 section 4",
    AuthResponse: "RFC 4954 section 4",
    Etrn: "RFC 1985 section 5",
}

_OF_NONE: Final = "RFC 5321 section 4.1.1"


def rule_of(command: Command | type[Command] | None) -> str:
    """The section that a command is defined in."""
    if command is None:
        return _OF_NONE
    return _OF_COMMAND.get(command if isinstance(command, type) else type(command), _OF_NONE)


# A command that is not here has its code's meaning.  A text alone has the rule of its command.
_TO: Final[Mapping[type[Command], Mapping[int, str | Meaning]]] = {
    Connect: {
        220: "the server is ready, and says its name",
        421: Meaning("no service for now, and the connection is closed", "RFC 5321 section 3.8"),
        554: "no service here: the client may say QUIT, and nothing else",
    },
    Ehlo: {
        250: "the hello is accepted, and these extensions are offered",
        502: "no EHLO here: the client may fall back to HELO",
        500: "the server does not know EHLO: the client may fall back to HELO",
        504: "the server does not take this argument",
        550: "refused, for reasons of policy",
    },
    Helo: {250: "the hello is accepted, and nothing is offered"},
    Lhlo: {250: "the hello is accepted, and these extensions are offered"},
    Mail: {
        250: "the sender is accepted: a mail transaction has begun",
        451: "refused for now: an error in processing",
        452: "refused for now: not enough storage",
        503: Meaning("a transaction is open already, or a hello has to come before", "RFC 5321 section 4.1.4"),
        550: "this sender is refused",
        552: Meaning("the message is larger than the server takes", "RFC 1870 section 6.1"),
        553: "the name of the mailbox is not allowed",
        555: Meaning("a parameter of MAIL is not known here", "RFC 5321 section 4.1.1.11"),
    },
    Rcpt: {
        250: "the recipient is accepted",
        251: Meaning("the recipient is not local, and the server will forward", "RFC 5321 section 3.4"),
        450: "refused for now: the mailbox is not available",
        451: "refused for now: an error in processing",
        452: Meaning("refused for now: too many recipients, or no storage", "RFC 5321 section 4.5.3.1.10"),
        503: Meaning("MAIL has to come before RCPT", "RFC 5321 section 4.1.4"),
        550: Meaning("no such mailbox, or a refusal by policy", "RFC 5321 section 3.3"),
        551: Meaning("the recipient is not local: try the address in the text", "RFC 5321 section 3.4"),
        552: "the mailbox is full",
        553: "the name of the mailbox is not allowed",
        555: Meaning("a parameter of RCPT is not known here", "RFC 5321 section 4.1.1.11"),
    },
    Data: {
        354: "the content may come, up to a line with a single dot",
        503: Meaning("no recipient is accepted, or no MAIL came before", "RFC 5321 section 3.3"),
        554: Meaning("no valid recipients", "RFC 5321 section 3.3"),
    },
    EndOfData: {
        250: Meaning("the message is accepted: the server answers for it from here on", "RFC 5321 section 6.1"),
        450: "the message is refused for now",
        451: "the message is refused for now: an error in processing",
        452: "the message is refused for now: not enough storage",
        550: "the message is refused, for reasons of policy",
        552: "the message is refused: it is too large, or there is no room",
        554: "the message is refused",
    },
    Bdat: {
        250: "the chunk is accepted",
        503: "a chunk has no place here: the transaction has to be reset",
        554: "the chunk is refused: the transaction has to be reset",
    },
    Rset: {250: "the transaction, if there was one, is forgotten"},
    Vrfy: {
        250: "the address is known",
        251: Meaning("not local, and the server will forward", "RFC 5321 section 3.4"),
        252: Meaning("the server does not verify, and takes the address for now", "RFC 5321 section 3.5.3"),
        553: Meaning("the name fits several", "RFC 5321 section 3.5.1"),
    },
    Expn: {250: "the members of the list", 550: "no such list, or no access to it"},
    Help: {211: "the state of the system", 214: "a text of help"},
    Noop: {250: "nothing was to be done"},
    Quit: {221: "the server closes the connection"},
    StartTls: {
        220: "the TLS handshake begins now, and all that was learned before is forgotten",
        454: "TLS cannot be had for now",
        501: "STARTTLS has no argument",
    },
    Auth: {
        235: Meaning("the client is authenticated", "RFC 4954 section 6"),
        334: "a challenge: the client has to answer it",
        432: Meaning("the password has to be changed first", "RFC 4954 section 6"),
        454: Meaning("authentication fails for now, by no fault of the client", "RFC 4954 section 6"),
        500: Meaning("the line is too long, or AUTH is not known here", "RFC 4954 section 6"),
        501: "the answer cannot be decoded, or the exchange was cancelled",
        503: "AUTH has no place here: it succeeded already, or a transaction is open",
        504: "this mechanism is not known here",
        534: Meaning("the mechanism is too weak for this user", "RFC 4954 section 6"),
        535: Meaning("the credentials are not valid", "RFC 4954 section 6"),
        538: Meaning("this mechanism needs TLS first", "RFC 4954 section 6"),
    },
    Etrn: {
        250: "the queue will be tried",
        251: "no mail waits for this host",
        252: "the mail that waits will be sent",
        253: "the mail that waits will be sent",
        458: "the queue cannot be tried for now",
        459: "the queue of this host cannot be tried, for reasons of policy",
    },
}
_SAME: Final[Mapping[type[Command], type[Command]]] = {AuthResponse: Auth, Burl: Bdat}

_OF_CODE: Final[Mapping[int, str]] = {
    211: "the state of the system, or help",
    214: "a text of help",
    220: "the service is ready",
    221: "the connection is closed",
    235: "authenticated",
    250: "done",
    251: "not local, and the server will forward",
    252: "the server cannot verify, and will try to deliver",
    354: "the content may come",
    421: "the service is not available: the connection is closed",
    450: "refused for now: the mailbox is not available",
    451: "refused for now: an error in processing",
    452: "refused for now: not enough storage",
    455: "the server cannot take the parameters for now",
    500: "the command is not known here, or too long",
    501: "an error in the argument",
    502: "the command is not implemented",
    503: "the command has no place here",
    504: "a parameter is not implemented",
    550: "refused: the mailbox is not available, or policy is against it",
    551: "the user is not local",
    552: "refused: the storage that is allotted would be exceeded",
    553: "refused: the name of the mailbox is not allowed",
    554: "failed",
    555: "parameters of MAIL or RCPT are not known here",
}
_GENERAL: Final = "RFC 5321 section 4.2.3"
_AUTHENTICATION_FIRST: Final = Meaning("the client has to authenticate first", "RFC 4954 section 6")
_TLS_FIRST: Final = Meaning("TLS has to come first", "RFC 3207 section 4")
_CLOSING: Final = Meaning("the server closes the connection, whatever was asked", "RFC 5321 section 3.8")
_LAST_CHUNK: Final = Meaning("the message is accepted: the server answers for it from here on", "RFC 3030 section 2")
_OF_DIGIT: Final = {
    2: "done",
    3: "accepted so far, and more is wanted",
    4: "refused for now: it may be tried again",
    5: "refused for good",
}


def meaning_of(command: Command | None, reply: Reply, recipient: str | None = None) -> Meaning:
    """What a reply means.  ``command``: what it answers, if that is known; ``recipient``: for whom it is, in LMTP."""
    meaning = _meaning(command, reply)
    if recipient is None:
        return meaning
    return Meaning(f"for {recipient}: {meaning.text}", "RFC 2033 section 4.2")


def _meaning(command: Command | None, reply: Reply) -> Meaning:
    found = None if command is None else _to(command, reply)
    if found is not None:
        return found
    code = reply.code
    if code == 530:
        return _TLS_FIRST if "TLS" in reply.text.upper() else _AUTHENTICATION_FIRST
    if code == 421:
        return _CLOSING
    if code in _OF_CODE:
        return Meaning(_OF_CODE[code], _GENERAL)
    return Meaning(_OF_DIGIT[code // 100], "RFC 5321 section 4.2.1")


def _to(command: Command, reply: Reply) -> Meaning | None:
    """What it means for this command in particular."""
    kind = type(command)
    if isinstance(command, Bdat | Burl) and command.last and reply.is_positive:
        return _LAST_CHUNK
    found = _TO.get(_SAME.get(kind, kind), {}).get(reply.code)
    return Meaning(found, rule_of(kind)) if isinstance(found, str) else found


# Enhanced status codes, by subject and detail; RFC 3463 but where another is named.
_SUBJECTS: Final = (
    "other or undefined",
    "about the address",
    "about the mailbox",
    "about the mail system",
    "about the network, or the route",
    "about the protocol",
    "about the content",
    "about security, or policy",
)
_DETAILS: Final[Mapping[tuple[int, int], str | Meaning]] = {
    (1, 0): "other address status",
    (1, 1): "bad destination mailbox address",
    (1, 2): "bad destination system address",
    (1, 3): "bad destination mailbox address syntax",
    (1, 4): "destination mailbox address ambiguous",
    (1, 5): "destination address valid",
    (1, 6): "destination mailbox has moved, no forwarding address",
    (1, 7): "bad sender's mailbox address syntax",
    (1, 8): "bad sender's system address",
    (2, 0): "other or undefined mailbox status",
    (2, 1): "mailbox disabled, not accepting messages",
    (2, 2): "mailbox full",
    (2, 3): "message length exceeds administrative limit",
    (2, 4): "mailing list expansion problem",
    (3, 0): "other or undefined mail system status",
    (3, 1): "mail system full",
    (3, 2): "system not accepting network messages",
    (3, 3): "system not capable of selected features",
    (3, 4): "message too big for system",
    (3, 5): "system incorrectly configured",
    (4, 0): "other or undefined network or routing status",
    (4, 1): "no answer from host",
    (4, 2): "bad connection",
    (4, 3): "directory server failure",
    (4, 4): "unable to route",
    (4, 5): "mail system congestion",
    (4, 6): "routing loop detected",
    (4, 7): "delivery time expired",
    (5, 0): "other or undefined protocol status",
    (5, 1): "invalid command",
    (5, 2): "syntax error",
    (5, 3): "too many recipients",
    (5, 4): "invalid command arguments",
    (5, 5): "wrong protocol version",
    (5, 6): Meaning("authentication exchange line is too long", "RFC 4954 section 6"),
    (6, 0): "other or undefined media error",
    (6, 1): "media not supported",
    (6, 2): "conversion required and prohibited",
    (6, 3): "conversion required but not supported",
    (6, 4): "conversion with loss performed",
    (6, 5): "conversion failed",
    (6, 7): Meaning("non-ASCII addresses not permitted for that sender or recipient", "RFC 6531 section 3.5"),
    (6, 9): Meaning("UTF-8 header message cannot be transferred", "RFC 6531 section 3.5"),
    (7, 0): "other or undefined security status",
    (7, 1): "delivery not authorized, message refused",
    (7, 2): "mailing list expansion prohibited",
    (7, 3): "security conversion required but not possible",
    (7, 4): "security features not supported",
    (7, 5): "cryptographic failure",
    (7, 6): "cryptographic algorithm not supported",
    (7, 7): "message integrity failure",
    (7, 8): Meaning("authentication credentials invalid", "RFC 4954 section 6"),
    (7, 9): Meaning("authentication mechanism is too weak", "RFC 4954 section 6"),
    (7, 10): Meaning("encryption needed", "RFC 5248"),
    (7, 11): Meaning("encryption required for requested authentication mechanism", "RFC 4954 section 6"),
    (7, 12): Meaning("a password transition is needed", "RFC 4954 section 6"),
}
_CLASSES: Final = {2: "success", 4: "for now", 5: "for good"}


def words_of(status: EnhancedStatus) -> Meaning:
    """An enhanced status code in words."""
    subject = status.subject if status.subject < len(_SUBJECTS) else 0
    found = _DETAILS.get((status.subject, status.detail)) or _SUBJECTS[subject]
    meaning = found if isinstance(found, Meaning) else Meaning(found, f"RFC 3463 section 3.{subject + 1}")
    return Meaning(f"{status}, {_CLASSES[status.class_]}: {meaning.text}", meaning.rule)
