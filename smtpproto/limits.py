"""Every number and every timeout of the engine, each with its source and its precedents.

Sizes are in octets and include the CRLF; times are in seconds.  Whoever needs other numbers passes a `Limits` or a
`Timeouts` of their own.
"""

from __future__ import annotations

from .errors import LocalProtocolError
from .values import Value, set_field

LOCAL_PART = 64
"""The local-part of a mailbox.  RFC 5321 section 4.5.3.1.1."""
DOMAIN = 255
"""A domain.  RFC 5321 section 4.5.3.1.2."""
DOMAIN_LABEL = 63
"""A label of a domain.  RFC 1035 section 2.3.4."""
PATH = 256
"""A path with its angle brackets; so a mailbox has 254 octets at most.  RFC 5321 section 4.5.3.1.3, erratum 1690 of
RFC 3696."""
COMMAND_LINE = 512
"""A command line.  RFC 5321 section 4.5.3.1.4; each extension in use adds its own (RFC 5321 section 2.2.2)."""
REPLY_LINE = 512
"""What a server may send in one line.  RFC 5321 section 4.5.3.1.5."""


class Limits(Value):
    """What a peer may make the engine, and who uses it, keep.

    A line or a reply that goes past its limit is a `RemoteProtocolError`; a message, a recipient or a transaction too
    many is refused.
    """

    __match_args__ = (
        "command_line",
        "message",
        "outstanding",
        "recipients",
        "reply_line",
        "reply_lines",
        "reply_octets",
        "transactions",
    )
    __slots__ = __match_args__

    command_line: int
    """Octets in one command line that a server reads.  RFC 5321 section 4.5.3.1.4 wants 512, and RFC 4954 section 4
    wants 12288 for AUTH, and a 500 for more; a line that is longer than its own command allows, but not than this, gets
    one and the session goes on."""
    message: int
    """Octets in the content of one message that a server takes, where its offer of SIZE has no number of its own.
    RFC 5321 section 4.5.3.1.7 wants at least 65536, and to have no limit; Postfix takes 10240000, aiosmtpd 33554432,
    Exim 50 MiB."""
    outstanding: int
    """Commands that may wait for their replies at a time: the size of a group.  RFC 2920 section 3.1 sets none."""
    recipients: int
    """Forward-paths accepted in one transaction.  RFC 5321 section 4.5.3.1.8 wants at least 100; Postfix takes 1000,
    Exim 50000."""
    reply_line: int
    """Octets in one reply line that a client reads.  RFC 5321 section 4.5.3.1.5 allows 512, RFC 4954 section 4 a
    challenge of 12288; Postfix reads 2048 and folds, smtplib stops at 8192, aiosmtplib at 8192."""
    reply_lines: int
    """Lines in one reply.  RFC 5321 section 4.2.1 sets no limit; the longest EHLO replies in real use have about 40."""
    reply_octets: int
    """Octets in all lines of one reply.  RFC 5321 section 4.2.1 sets no limit; curl stops at 64 KiB."""
    transactions: int
    """MAIL commands in one session; the next one gets a 421, after which a client comes again.  Exim takes 1000 and
    KumoMTA 10000, Postfix any number; the MAILMAX of RFC 9422 section 4 cannot be more than 999999."""

    def __init__(
        self,
        *,
        command_line: int = 16_384,
        message: int = 33_554_432,
        outstanding: int = 10_000,
        recipients: int = 50_000,
        reply_line: int = 16_384,
        reply_lines: int = 8192,
        reply_octets: int = 131_072,
        transactions: int = 100_000,
    ) -> None:
        _set_counts(
            self,
            command_line=command_line,
            message=message,
            outstanding=outstanding,
            recipients=recipients,
            reply_line=reply_line,
            reply_lines=reply_lines,
            reply_octets=reply_octets,
            transactions=transactions,
        )


class Timeouts(Value):
    """How long each wait may take, in seconds.  Most are those of RFC 5321 section 4.5.3.2.

    ``None`` waits for ever.
    """

    __match_args__ = (
        "dial",
        "tls",
        "greeting",
        "hello",
        "mail",
        "rcpt",
        "data_initiation",
        "data_block",
        "data_termination",
        "other",
        "server",
    )
    __slots__ = __match_args__

    dial: float | None
    """Making the connection, all addresses of the host together.  RFC 5321 section 4.5.3.2 names none; Postfix: 30."""
    tls: float | None
    """The TLS handshake.  RFC 3207 section 4 names none; Postfix: 300 (smtp_starttls_timeout)."""
    greeting: float | None
    """From the connection to the greeting.  RFC 5321 section 4.5.3.2.1."""
    hello: float | None
    """EHLO, HELO, LHLO.  RFC 5321 section 4.5.3.2 names none; as for the greeting."""
    mail: float | None
    """MAIL.  RFC 5321 section 4.5.3.2.2."""
    rcpt: float | None
    """RCPT.  RFC 5321 section 4.5.3.2.3."""
    data_initiation: float | None
    """From DATA to its 354.  RFC 5321 section 4.5.3.2.4."""
    data_block: float | None
    """For each block of content that is written.  RFC 5321 section 4.5.3.2.5."""
    data_termination: float | None
    """From the final dot, or the last chunk, to its reply.  RFC 5321 section 4.5.3.2.6."""
    other: float | None
    """Every other command.  RFC 5321 section 4.5.3.2 names none; as for MAIL and RCPT."""
    server: float | None
    """How long a server waits for the next command.  RFC 5321 section 4.5.3.2.7."""

    def __init__(
        self,
        *,
        dial: float | None = 30,
        tls: float | None = 300,
        greeting: float | None = 300,
        hello: float | None = 300,
        mail: float | None = 300,
        rcpt: float | None = 300,
        data_initiation: float | None = 120,
        data_block: float | None = 180,
        data_termination: float | None = 600,
        other: float | None = 300,
        server: float | None = 300,
    ) -> None:
        _set_times(
            self,
            dial=dial,
            tls=tls,
            greeting=greeting,
            hello=hello,
            mail=mail,
            rcpt=rcpt,
            data_initiation=data_initiation,
            data_block=data_block,
            data_termination=data_termination,
            other=other,
            server=server,
        )

    @classmethod
    def uniform(cls, seconds: float | None) -> Timeouts:
        """The same time for each wait; 0 and ``None`` wait for ever."""
        each = seconds or None
        return cls(**dict.fromkeys(cls.__match_args__, each))


def _set_counts(value: Value, **numbers: object) -> None:
    for name, number in numbers.items():
        if type(number) is not int or number < 1:
            raise LocalProtocolError(f"{name} is {number!r}: it must be an int greater than 0")
        set_field(value, name, number)


def _set_times(value: Value, **seconds: object) -> None:
    for name, number in seconds.items():
        # NaN is neither greater nor less than anything.
        if number is not None and not (isinstance(number, int | float) and number > 0):
            raise LocalProtocolError(f"{name} is {number!r}: it must be a number of seconds greater than 0, or None")
        set_field(value, name, number)


DEFAULT_LIMITS = Limits()
"""Those of a connection that is given no others."""
DEFAULT_TIMEOUTS = Timeouts()
"""The same."""
