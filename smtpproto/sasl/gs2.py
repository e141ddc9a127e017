"""The header with which the messages of SCRAM and OAUTHBEARER begin.  RFC 5801 section 4, RFC 5802 section 7."""

from __future__ import annotations

from typing import Final

from smtpproto.grammar import Pattern
from smtpproto.values import Value, set_field

from .base import MechanismError, decoded_text

# gs2-header = gs2-cbind-flag "," [ authzid ] ","
_HEADER: Final = Pattern(r"(?:p=([A-Za-z0-9.-]+)|([ny])),(?:a=([^,]+))?,")
_NAME: Final = Pattern(r"(?:[^=,]|=2C|=3D)+")


class Gs2Header(Value):
    """What the client says of channel binding, and whom it wants to act as."""

    __slots__ = ("flag", "binding", "authorization_id")
    __match_args__ = ("flag", "binding", "authorization_id")

    flag: str
    """``"n"``: the client has no channel binding; ``"y"``: it has, and believes that the server has not; ``"p"``: this
    is the one that it uses."""
    binding: str
    """The name of the channel binding, as ``"tls-exporter"``; empty without one."""
    authorization_id: str
    """Empty: that of the user."""

    def __init__(self, flag: str = "n", binding: str = "", authorization_id: str = "") -> None:
        set_field(self, "flag", flag)
        set_field(self, "binding", binding)
        set_field(self, "authorization_id", authorization_id)

    def __str__(self) -> str:
        flag = f"p={self.binding}" if self.flag == "p" else self.flag
        acting = f"a={encoded_name(self.authorization_id)}" if self.authorization_id else ""
        return f"{flag},{acting},"


def split_header(message: bytes) -> tuple[Gs2Header, str]:
    """The header of a client's first message, and what follows it.  Raises `MechanismError`."""
    text = decoded_text("the message", message)
    match = _HEADER.match(text)
    if match is None:
        raise MechanismError("the message does not begin with a GS2 header")
    binding, flag, name = match.groups(default="")
    acting = decoded_name("the authorization identity", name) if name else ""
    return Gs2Header(flag or "p", binding, acting), text[match.end() :]


def encoded_name(name: str) -> str:
    """A ``saslname``: commas and equals signs have a meaning of their own."""
    return name.replace("=", "=3D").replace(",", "=2C")


def decoded_name(what: str, text: str) -> str:
    """What a ``saslname`` stands for.  Raises `MechanismError`; RFC 5802 section 5.1 wants it so."""
    if not _NAME.fullmatch(text):
        raise MechanismError(f"{what} is empty, or has an equals sign that stands for nothing")
    return text.replace("=2C", ",").replace("=3D", "=")
