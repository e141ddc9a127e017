"""Tables of how connections are made: every option with its default, and what the options come to.

What they come to is not written down here: the options are made, and settled by `ConnectOptions.resolve`.  In the pages
the tables stand as directives: connect-options, connect-hosts, connect-ports, connect-services, connect-security,
connect-urls, connect-flags and connect-stages.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from docs._ext.from_code import FromCode, attribute_docs, linked, table
from smtpproto import ConnectFailed, ConnectOptions, ErrorCode, Limits, Option, Security, Stage, Timeouts
from smtpproto.failures import timed_out
from smtpproto.options import SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

    from smtpproto import Target

HOST: Final = "mx.example"
ADDRESS: Final = "192.0.2.1"
DOCUMENTS: Final = {
    "smtp": "RFC 5321 section 4.5.4.2",
    "lmtp": "RFC 2033 section 5",
    "submission": "RFC 6409 section 3.1",
    "submissions": "RFC 8314 section 7.3",
    "smtps": "RFC 8314 section 7.3",
}
CREDENTIALS: Final[Mapping[str, Mapping[str, Any]]] = {
    "none": {},
    "user name and password": {"username": "user", "password": "password"},
    "token": {"token": "a-token"},
    "EXTERNAL": {"mechanisms": ["EXTERNAL"]},
}
"""What there is to authenticate with."""
PLACES: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = {
    "no port, 25, or any but these": ({}, {"port": 0}, {"port": 25}, {"port": "smtp"}, {"port": 2525}),
    "port 587": ({"port": 587}, {"port": "submission"}),
    "port 465": ({"port": 465}, {"port": "submissions"}, {"port": "smtps"}),
    "LMTP": ({"lmtp": True}, {"lmtp": True, "port": "lmtp"}, {"lmtp": True, "port": 2424}),
    "a unix socket": ({"path": "/run/lmtp", "lmtp": True}, {"path": "/run/smtp"}, {"path": "/run/smtp", "port": 465}),
    "`extended=False`": ({"extended": False}, {"extended": False, "port": 25}),
    "`extended=False`, port 587": ({"extended": False, "port": 587},),
    "`extended=False`, port 465": ({"extended": False, "port": 465},),
}
"""Whom, in whatever way that is said: the ways to say the same have to come to the same."""


def settled(show: Callable[[Target], str], make: Callable[..., ConnectOptions] = ConnectOptions, **fields: Any) -> str:
    """What the options come to, or the code with which they are refused."""
    try:
        return show(make(**fields).resolve())
    except ConnectFailed as failure:
        return f"`{failure.code.name}`"


def security_of(target: Target) -> str:
    return f"`{target.security.name}`"


class Options(FromCode):
    """Every field of `ConnectOptions`, in their order."""

    def markdown(self) -> str:
        docs = attribute_docs("smtpproto.options", "ConnectOptions")
        parameters = inspect.signature(ConnectOptions).parameters
        rows = (
            (
                f"**`{name}`**<br>`{parameters[name].annotation}`<br>= {self.default(parameters[name])}",
                linked(docs[name]),
            )
            for name in ConnectOptions.__match_args__
        )
        return table(("option, type and default", "meaning"), rows)  # two columns go onto a narrow screen

    @staticmethod
    def default(parameter: inspect.Parameter) -> str:
        value: object = parameter.default
        if isinstance(value, Limits | Timeouts):
            return f"[`{type(value).__name__}()`](protocol.md#{type(value).__name__.lower()})"
        return f"`{value!r}`"


class Hosts(FromCode):
    """What is dialled, and whom the certificate has to be for."""

    given: tuple[Mapping[str, Any], ...] = (
        {"host": HOST},
        {"host_address": ADDRESS, "host_name": HOST},
        {"host_address": ADDRESS},
        {"host_name": HOST},
        {"host": "other.example", "host_address": ADDRESS, "host_name": HOST},
        {"path": "/run/lmtp"},
        {"path": "/run/lmtp", "host": HOST},
        {"path": "/run/lmtp", "host_name": HOST},
        {},
    )

    def markdown(self) -> str:
        rows = (
            (
                ", ".join(f'`{name}="{value}"`' for name, value in fields.items()) or "none of them",
                settled(lambda target: f"`{target.path or target.host}`", **fields),
                settled(lambda target: f"`{target.host_name}`", **fields) if fields else "",
            )
            for fields in self.given
        )
        return table(("given", "dialled", "the certificate has to be for"), rows)


class Ports(FromCode):
    """The port where none is given."""

    def markdown(self) -> str:
        rows = (
            (
                f"`{security.name}`" if security is not None else "left out",
                settled(lambda target: str(target.port), host=HOST, security=security),
                settled(lambda target: str(target.port), host=HOST, security=security, lmtp=True),
            )
            for security in (None, *Security)
        )
        return table(("`security`", "port", "with `lmtp=True`"), rows)


class Services(FromCode):
    """The names of ports."""

    def markdown(self) -> str:
        rows = (
            (
                f'`"{name}"`',
                settled(lambda target: str(target.port), **self.fields(name)),
                linked(DOCUMENTS[name]),
                settled(security_of, **self.fields(name)),
                settled(security_of, **self.fields(name), username="user", password="password"),
            )
            for name in SERVICES
        )
        return table(("`port`", "number", "document", "`security`", "with a user name"), rows)

    @staticmethod
    def fields(name: str) -> dict[str, Any]:
        return {"host": HOST, "port": name, "lmtp": name == "lmtp"}


class SecurityTable(FromCode):
    """What TLS is to do where that is left out: by the place, and by what there is to authenticate with."""

    def markdown(self) -> str:
        rows = ((place, *(self.cell(place, given) for given in CREDENTIALS.values())) for place in PLACES)
        return table(("to authenticate with:", *CREDENTIALS), rows)

    @staticmethod
    def cell(place: str, given: Mapping[str, Any]) -> str:
        [found] = {settled(security_of, host=HOST, **where, **given) for where in PLACES[place]}
        return found


class Urls(FromCode):
    """What a URL comes to."""

    urls = (
        "smtp://mx.example",
        "smtp://user@mx.example",
        "smtp://mx.example:2525",
        "smtp://mx.example:587",
        "smtps://mx.example",
        "submission://mx.example",
        "submission://user@mx.example:2525",
        "submission://mx.example:465",
        "submissions://user@mx.example",
        "submissions://mx.example:2465",
        "lmtp://[2001:db8::1]",
        "lmtp://mx.example:2424",
        "lmtp:///run/lmtp",
        "smtp:///run/smtp",
    )

    def markdown(self) -> str:
        return table(("URL", "dialled", "`security`", "speaks"), map(self.row, self.urls))

    @staticmethod
    def row(url: str) -> tuple[str, str, str, str]:
        def show(target: Target) -> str:
            return f"`{target.path}`" if target.path else f"`{target.host}`, port {target.port}"

        def make() -> ConnectOptions:
            return ConnectOptions.from_url(url)

        refused = settled(lambda _: "", make)
        if refused:
            return f"`{url}`", refused, "", ""
        speaks = settled(lambda target: "LMTP" if target.lmtp else "SMTP", make)
        return f"`{url}`", settled(show, make), settled(security_of, make), speaks


class Flags(FromCode):
    """What the flags come to; all of them that are there, and those pairs that say something new."""

    combinations = (
        Option.NONE,
        Option.EXTENDED,
        Option.SECURE,
        Option.SECURE_FALLBACK,
        Option.SECURE | Option.SECURE_FALLBACK,
        Option.SECURE_IMPLICIT,
        Option.SECURE_IMPLICIT | Option.EXTENDED,
        Option.SECURE_IMPLICIT | Option.SECURE_FALLBACK,
    )

    def markdown(self) -> str:
        rows = (
            (
                f"`{' | '.join(f'Option.{flag.name}' for flag in options) or 'Option.NONE'}`",
                str(int(options)),
                *self.cells(options, None),
                *self.cells(options, 465),
            )
            for options in self.combinations
        )
        header = ("`options`", "number", "`security`", "hello", "at port 465", "hello there")
        return table(header, rows)

    @staticmethod
    def cells(options: Option, port: int | None) -> Iterator[str]:
        fields = {"host": HOST, "port": port, "options": options}
        yield settled(security_of, ConnectOptions.from_flags, **fields)
        yield settled(lambda target: "EHLO" if target.extended else "HELO", ConnectOptions.from_flags, **fields)


class Stages(FromCode):
    """How far connecting comes, and the code where one stage takes too long."""

    def markdown(self) -> str:
        rows = (
            (f"`{stage.name}`", stage.value, "" if stage is Stage.OPTIONS else self.code(timed_out(stage)))
            for stage in Stage
        )
        return table(("`stage`", "failed while …", "where that took too long"), rows)

    @staticmethod
    def code(code: ErrorCode) -> str:
        return f"`{code.name}`"


def setup(app: Sphinx) -> ExtensionMetadata:
    for name, directive in {
        "connect-options": Options,
        "connect-hosts": Hosts,
        "connect-ports": Ports,
        "connect-services": Services,
        "connect-security": SecurityTable,
        "connect-urls": Urls,
        "connect-flags": Flags,
        "connect-stages": Stages,
    }.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
