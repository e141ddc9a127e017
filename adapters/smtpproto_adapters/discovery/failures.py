"""Why there is nobody to connect to: one exception for each reason, with what to tell a person, and what a client.

DiscoveryFailed
├── InvalidDomain     what was given is no domain
├── NoSuchDomain      the DNS does not have it
├── NullMx            it takes no mail, and says so
├── NoHost            what it names is no host that could be connected to
├── MailLoop          the best host is this one
├── NoSubmission      it names no server for submission
├── PolicyMismatch    its policy (MTA-STS) allows none of the hosts that it names
└── LookupFailed      the DNS did not answer, or not as it has to
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from smtpproto import ErrorCode, Reply, SmtpError

LONGEST_TEXT: Final = 400
"""Characters of a message in a reply, which has 512 octets with its end.  RFC 5321 section 4.5.3.1.5."""

_NOT_PRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


class DiscoveryFailed(SmtpError):
    """There is nobody to connect to.  The message is a sentence for people."""

    code: ClassVar[ErrorCode] = ErrorCode.NAME_NOT_FOUND
    """The nearest of the codes that connecting ends with."""
    retryable: ClassVar[bool] = False
    """True where the same may well succeed later: a message is to be kept, and tried again."""
    reply_code: ClassVar[int] = 550
    status: ClassVar[str] = "5.1.2"
    """Bad destination system address.  RFC 3463 section 3.2."""
    domain: str
    """The domain that was asked for."""

    def __init__(self, message: str, domain: str) -> None:
        super().__init__(message)
        self.domain = domain

    @property
    def reply(self) -> Reply:
        """What to answer whoever wants to send to the domain, or to write into a report about it.

        On one line, in ASCII, whatever others have put into the message.
        """
        text = _NOT_PRINTABLE.sub("?", str(self))
        return Reply(self.reply_code, f"{self.status} {text[:LONGEST_TEXT]}")


class InvalidDomain(DiscoveryFailed):
    """What was given is no domain."""

    code = ErrorCode.INVALID_ARGUMENT
    reply_code = 501
    status = "5.1.3"


class NoSuchDomain(DiscoveryFailed):
    """The domain does not exist.  RFC 5321 section 5.1."""


class NullMx(DiscoveryFailed):
    """The domain takes no mail.  RFC 7505 section 3.

    The reply is 556 (RFC 7504), with the status code of RFC 7505 section 4.1.
    """

    code = ErrorCode.SERVICE_NOT_AVAILABLE
    reply_code = 556
    status = "5.1.10"


class NoHost(DiscoveryFailed):
    """Records are there, and none of them can be used.  RFC 5321 section 5.1."""

    status = "5.4.4"


class MailLoop(DiscoveryFailed):
    """All hosts that remain are this one, or less preferred than it.  RFC 5321 section 5.1."""

    reply_code = 554
    status = "5.4.6"


class NoSubmission(DiscoveryFailed):
    """The domain names no server for message submission."""


class PolicyMismatch(DiscoveryFailed):
    """The domain's policy (MTA-STS) is enforced, and allows none of its hosts; a later one may.

    RFC 8461 section 5.
    """

    code = ErrorCode.WRONG_HOST_NAME
    retryable = True
    reply_code = 451
    status = "4.7.5"


class LookupFailed(DiscoveryFailed):
    """The DNS did not answer in time, not as it has to, or not as DNSSEC wants it.  RFC 5321 section 5.1."""

    retryable = True
    reply_code = 451
    status = "4.4.3"
