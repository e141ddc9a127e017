"""A message that a server has received, with all that is known of how it came."""

from __future__ import annotations

import email
import email.message
import email.policy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from smtpproto import Envelope, Identity

    from .channel import TlsInfo
    from .transport import Address


@dataclass(frozen=True)
class ReceivedMessage:
    """One mail transaction, complete."""

    envelope: Envelope
    """MAIL and the recipients that were accepted, with their parameters."""
    content: bytes = field(repr=False)
    """As it came: unstuffed, with CRLF, and nothing put before it."""
    peer: Address
    """Host and port of the client; ``""`` where it came through a unix socket."""
    hello: str
    """What the client called itself."""
    extended: bool
    """It said EHLO or LHLO, and not HELO."""
    tls: TlsInfo | None
    """None where it came without TLS."""
    identity: Identity | None
    """Who had authenticated; None: nobody."""
    lmtp: bool
    """It came by LMTP.  RFC 2033."""
    host_name: str
    """The name of the server that took it."""

    @cached_property
    def parsed(self) -> email.message.EmailMessage:
        """The content, parsed when it is asked for the first time.

        Header fields in UTF-8, as RFC 6532 has them, are read as such.
        """
        return cast("email.message.EmailMessage", email.message_from_bytes(self.content, policy=_POLICY))


class _Utf8Headers(email.policy.EmailPolicy):
    """The parser hands over octets beyond ASCII as surrogates, which the header classes do not read as UTF-8."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        try:
            return name, value.encode("ascii", "surrogateescape").decode()
        except UnicodeError:
            return name, value  # neither ASCII nor UTF-8: as the policy has it


_POLICY = _Utf8Headers(utf8=True)
