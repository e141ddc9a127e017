"""What must not be shown of a recorded session: what a client says to authenticate, and what a server repeats of it."""

from __future__ import annotations

import re
from typing import Final

from smtpproto import Auth, AuthResponse, Command, UnknownCommand
from smtpproto_adapters.cli.trace import REDACTED, Secrets

SHOWN: Final = 1000
"""Characters of a line that are shown."""
MOST_SECRETS: Final = 64
"""Secrets that are looked for in what is said; behind more of them, texts are not shown at all."""


class Masking:
    """Masks the lines of one session, in their order.

    A line that makes no sense may be a piece of an authentication that went wrong: right behind one, such lines are not
    shown.
    """

    def __init__(self) -> None:
        self._secrets = Secrets()
        self._count = 0
        self._mechanism: str | None = None  # of the authentication that is under way, or has just ended

    def begin_anew(self) -> None:
        """The connection is another one, or has been secured."""
        self._mechanism = None

    def masked(self, text: str) -> str:
        """A text without what is known to be secret, and no longer than is shown."""
        if self._count > MOST_SECRETS:
            return f"{text[:4]}{REDACTED}"
        return self._secrets.redacted(text)[:SHOWN]

    def reply_line(self, text: str) -> str:
        """A line of the server's.  A challenge may tell of a password what it takes to guess it."""
        return f"{text[:4]}{REDACTED}" if text[:3] == "334" else self.masked(text)

    def client_line(self, line: bytes, command: Command | None, *, answers_challenge: bool) -> str:
        """A line of the client's.  ``command``: what it was read as."""
        text = line.decode("utf-8", "surrogateescape")
        if answers_challenge:
            self._remember(line, command)
            return "*" if line == b"*" else REDACTED
        if isinstance(command, Auth) or text.lstrip()[:4].upper() == "AUTH":
            self._mechanism = command.mechanism if isinstance(command, Auth) else ""
            words = line.split()
            for word in words[2 if len(words[0]) == len("AUTH") else 1 :]:
                self._remember(word, command)
            return str(command) if isinstance(command, Auth) else f"AUTH {REDACTED}"
        if command is not None and not isinstance(command, UnknownCommand):
            self._mechanism = None
        elif self._mechanism is not None:
            self._remember(line, command)
            return REDACTED
        return self.masked(text)

    def _remember(self, line: bytes, command: Command | None) -> None:
        """What a server may repeat, in the forms that it may take."""
        self._count += 1
        if self._count > MOST_SECRETS:
            return
        self._secrets.remember(line.decode("utf-8", "surrogateescape"))
        response = command.initial_response if isinstance(command, Auth) else None
        response = command.response if isinstance(command, AuthResponse) else response
        if not response:
            return
        if self._mechanism in ("PLAIN", "LOGIN"):
            self._secrets.remember(response.rpartition(b"\0")[2].decode("utf-8", "surrogateescape"))
        for token in re.findall(rb"[Bb]earer ([^\x01]+)", response):
            self._secrets.remember(token.decode("utf-8", "surrogateescape"))
