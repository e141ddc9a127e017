"""The envelope of a message: who sends it to whom, and how.  RFC 5321 section 2.3.1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .addresses import Mailbox
from .commands import Mail, Rcpt
from .errors import LocalProtocolError
from .values import Value, set_field


class Envelope(Value):
    """A reverse-path and the forward-paths, with their parameters.

    ``sender``: a reverse-path (``""`` is the null one) or a `Mail`.  ``recipients``: forward-paths or `Rcpt`, or a
    single one of them.  Further arguments are parameters of MAIL, by the names of the fields of `Mail`; ``smtputf8`` is
    True by itself where a sender that is no `Mail`, or a recipient, is not ASCII (RFC 6531 section 3.4).  Raises
    `LocalProtocolError` for what these refuse, and where there is no recipient.
    """

    __match_args__ = ("mail", "recipients")
    __slots__ = __match_args__

    mail: Mail
    recipients: tuple[Rcpt, ...]
    """In order, and as often as they were given."""

    def __init__(
        self,
        sender: str | Mailbox | Mail,
        recipients: str | Mailbox | Rcpt | Iterable[str | Mailbox | Rcpt],
        **parameters: Any,
    ) -> None:
        paths = (recipients,) if isinstance(recipients, str | Mailbox | Rcpt) else tuple(recipients)
        if not paths:
            raise LocalProtocolError("an envelope without a recipient: name at least one")
        found = tuple(path if isinstance(path, Rcpt) else Rcpt(path) for path in paths)
        if not (isinstance(sender, Mail) or (str(sender).isascii() and all(rcpt.is_ascii for rcpt in found))):
            parameters.setdefault("smtputf8", True)
        set_field(self, "mail", _mail(sender, parameters))
        set_field(self, "recipients", found)

    @property
    def sender(self) -> str:
        """The reverse-path: a mailbox, or ``""``."""
        return self.mail.reverse_path

    @property
    def forward_paths(self) -> tuple[str, ...]:
        """The forward-paths, without their parameters."""
        return tuple(each.forward_path for each in self.recipients)

    def with_mail(self, **parameters: Any) -> Envelope:
        """The same envelope with other parameters of MAIL."""
        made = Envelope.__new__(Envelope)
        set_field(made, "mail", _mail(self.mail, parameters))
        set_field(made, "recipients", self.recipients)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Envelope, (self.mail, self.recipients)


def _mail(sender: str | Mailbox | Mail, parameters: dict[str, Any]) -> Mail:
    if not isinstance(sender, Mail):
        return Mail(sender, **parameters)
    return sender.replaced(**parameters) if parameters else sender
