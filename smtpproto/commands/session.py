"""The commands that open, secure, question and end a session."""

from __future__ import annotations

from collections.abc import Mapping

import smtpproto.grammar as grammar
from smtpproto.addresses import AddressLiteral, parse_domain
from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import ascii_upper, octets, require, shown
from smtpproto.limits import DOMAIN
from smtpproto.parameters import FrozenMapping, xtext_encode
from smtpproto.values import set_field, slot_setter

from .base import KNOWN_VERBS, Command, check_text


class Connect(Command):
    """The pseudo-command that the greeting answers.  It has no line."""

    __slots__ = ()

    def __bytes__(self) -> bytes:
        return b""


class StartTls(Command):
    """RFC 3207 section 4."""

    __slots__ = ()
    verb = "STARTTLS"


class Quit(Command):
    """RFC 5321 section 4.1.1.10."""

    __slots__ = ()
    verb = "QUIT"


class Hello(Command):
    """What `Ehlo`, `Helo` and `Lhlo` share."""

    __slots__ = ("domain",)
    __match_args__ = ("domain",)

    domain: str
    """A domain or an address literal; or whatever else the client calls itself, in one visible word of up to 255
    octets: RFC 5321 section 4.1.4 forbids to refuse mail for what it says."""

    def __init__(self, domain: str) -> None:
        is_plain = type(domain) is str and domain.isascii() and len(domain) <= DOMAIN and grammar.NAME.match(domain)
        _set_domain(self, domain if is_plain else self._checked(domain))

    def _checked(self, domain: str) -> str:
        domain = require(grammar.NAME, domain, f"the domain of {self.verb}")
        if octets(domain) > DOMAIN:
            raise LocalProtocolError(f"the domain {shown(domain)} has {octets(domain)} octets, more than {DOMAIN}")
        return domain

    def _line(self) -> str:
        return f"{self.verb} {self.domain}"


_set_domain = slot_setter(Hello, "domain")


class Ehlo(Hello):
    """RFC 5321 section 4.1.1.1."""

    __slots__ = ()
    verb = "EHLO"


class Helo(Hello):
    """RFC 5321 section 4.1.1.1."""

    __slots__ = ()
    verb = "HELO"


class Lhlo(Hello):
    """RFC 2033 section 4.1."""

    __slots__ = ()
    verb = "LHLO"


def own_name(name: str) -> str:
    """What this end calls itself: a domain or an address literal, and in ASCII.  Raises LocalProtocolError.

    RFC 5321 section 4.1.1.1, section 4.1.2, which has no underscore; RFC 6531 section 3.7.1: nobody knows yet whether
    the peer takes UTF-8.
    """
    domain = Ehlo(name).domain
    if not domain.isascii():
        raise LocalProtocolError(f"the name {shown(domain)} is not ASCII: write its A-labels (RFC 6531 section 3.7.1)")
    return str(AddressLiteral.parse(domain)) if domain.startswith("[") else parse_domain(domain)


class _Text(Command):
    __slots__ = ("text",)
    __match_args__ = ("text",)

    text: str

    def __init__(self, text: str = "") -> None:
        set_field(self, "text", check_text(text, f"the argument of {self.verb}"))
        self._check_length()

    def _line(self) -> str:
        return f"{self.verb} {self.text}" if self.text else self.verb


class Noop(_Text):
    """RFC 5321 section 4.1.1.9."""

    __slots__ = ()
    verb = "NOOP"


class Help(Command):
    """RFC 5321 section 4.1.1.8."""

    __slots__ = ("topic",)
    __match_args__ = ("topic",)
    verb = "HELP"

    topic: str
    """May be empty."""

    def __init__(self, topic: str = "") -> None:
        set_field(self, "topic", check_text(topic, "the topic of HELP"))
        self._check_length()

    def _line(self) -> str:
        return f"HELP {self.topic}" if self.topic else "HELP"


class Lookup(Command):
    """What `Vrfy` and `Expn` share."""

    __slots__ = ("text", "smtputf8")
    __match_args__ = ("text", "smtputf8")

    text: str
    """A user, a mailbox or a list, as RFC 5321 section 3.5 leaves it open."""
    smtputf8: bool
    """The reply may be non-ASCII, and the text too.  RFC 6531 section 3.7.4.2."""

    def __init__(self, text: str, *, smtputf8: bool = False) -> None:
        text = check_text(text, f"the argument of {self.verb}")
        if not text:
            raise LocalProtocolError(f"{self.verb} without an argument asks nothing")
        if ascii_upper(text[-9:]) == " SMTPUTF8":
            raise LocalProtocolError(f"the argument of {self.verb} ends with SMTPUTF8: say smtputf8=True instead")
        set_field(self, "text", text)
        set_field(self, "smtputf8", bool(smtputf8))
        self._check_length()

    @property
    def needed_extensions(self) -> tuple[tuple[str, str], ...]:
        if self.smtputf8:
            return (("SMTPUTF8", "SMTPUTF8"),)
        return () if self.text.isascii() else (("SMTPUTF8", "what is not ASCII"),)

    def _line(self) -> str:
        return f"{self.verb} {self.text} SMTPUTF8" if self.smtputf8 else f"{self.verb} {self.text}"


class Vrfy(Lookup):
    """RFC 5321 section 4.1.1.6."""

    __slots__ = ()
    verb = "VRFY"


class Expn(Lookup):
    """RFC 5321 section 4.1.1.7."""

    __slots__ = ()
    verb = "EXPN"


class Etrn(Command):
    """``ETRN [option character]node-name``.  RFC 1985 section 5."""

    __slots__ = ("text",)
    __match_args__ = ("text",)
    verb = "ETRN"

    text: str
    """A domain, ``@domain`` with its subdomains, or ``#queue``."""

    def __init__(self, text: str) -> None:
        set_field(self, "text", require(grammar.NAME, text, "the node name of ETRN"))
        self._check_length()

    def _line(self) -> str:
        return f"ETRN {self.text}"


class _Attributes(Command):
    __slots__ = ("attributes",)
    __match_args__ = ("attributes",)

    attributes: Mapping[str, str]
    """Name, in upper case -> value, not encoded; ``[UNAVAILABLE]`` and ``[TEMPUNAVAIL]`` stand for what is missing."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        checked: dict[str, str] = {}
        for key, value in attributes.items():
            name = require(grammar.ESMTP_KEYWORD, key, f"the attribute of {self.verb}").upper()
            if name in checked:
                raise LocalProtocolError(f"the attribute {name} of {self.verb} is there twice")
            checked[name] = require(grammar.PRINTABLE, value, f"the attribute {name} of {self.verb}")
        if not checked:
            raise LocalProtocolError(f"{self.verb} needs an attribute at least")
        set_field(self, "attributes", FrozenMapping(checked))
        self._check_length()

    def _line(self) -> str:
        return self.verb + "".join(f" {name}={xtext_encode(value)}" for name, value in self.attributes.items())


class XClient(_Attributes):
    """What a proxy knows of its client, which is to be treated as if it were here.  Postfix, XCLIENT_README."""

    __slots__ = ()
    verb = "XCLIENT"


class XForward(_Attributes):
    """What a filter knows of the client before it, for the log.  Postfix, XFORWARD_README."""

    __slots__ = ()
    verb = "XFORWARD"


class UnknownCommand(Command):
    """A command that this package has no class for."""

    __slots__ = ("verb", "argument")
    __match_args__ = ("verb", "argument")

    verb: str
    argument: str
    """May be empty."""

    def __init__(self, verb: str, argument: str = "") -> None:
        verb = require(grammar.ATOM, verb, "the verb").upper()
        if verb in KNOWN_VERBS:
            raise LocalProtocolError(f"{verb} has a class of its own: use it")
        set_field(self, "verb", verb)
        set_field(self, "argument", check_text(argument, f"the argument of {verb}"))
        self._check_length()

    def _line(self) -> str:
        return f"{self.verb} {self.argument}" if self.argument else self.verb
