"""What is public: the modules, and of each the names, with their parameters and members.

`python -m tests.stability.public` writes it into ``public.txt``, where a change of it can be seen, and has to be meant.
"""

from __future__ import annotations

import importlib
import inspect
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORD = Path(__file__).with_name("public.txt")

MODULES = {
    "smtpproto": "the engine: connections, commands, replies, events, options, errors",
    "smtpproto.sasl": "mechanisms for either side, what they ask, and how one is written",
    "smtpproto.flows": "whole conversations, and the effects that they yield",
    "smtpproto.parameters": "the values of some parameters of MAIL and RCPT, and xtext",
    "smtpproto.trace": "trace fields",
    "smtpproto.testing": "both ends against each other, without I/O",
    "smtpproto_adapters.blocking": "a client and a server for blocking sockets",
    "smtpproto_adapters.asyncio": "the same for asyncio",
    "smtpproto_adapters.trio": "the same for trio",
    "smtpproto_adapters.server": "what a server's program decides, and what it is told",
    "smtpproto_adapters.inbox": "a handler that keeps messages in memory",
    "smtpproto_adapters.maildir": "a handler that keeps messages in maildirs",
    "smtpproto_adapters.local": "a server for tests",
    "smtpproto_adapters.faults": "what goes wrong at it on purpose",
    "smtpproto_adapters.discovery": "whom to connect to",
    "smtpproto_adapters.discovery.resolver": "look-ups by dnspython",
    "smtpproto_adapters.transport": "for an adapter of one's own: what it has to offer, and the loop that uses it",
    "smtpproto_adapters.channel": "the same: TLS and deadlines",
}
"""Their names are those in ``__all__``."""

OURS = ("smtpproto", "smtpproto_adapters")


def public(module: str) -> dict[str, object]:
    found = importlib.import_module(module)
    return {name: getattr(found, name) for name in sorted(found.__all__)}


def is_public(module: str, name: str | None) -> bool:
    """`from smtpproto import flows` imports a module; `*` all of one."""
    if name is None or name == "*":
        return module in MODULES
    return f"{module}.{name}" in MODULES or (module in MODULES and name in public(module))


def told(module: str) -> list[str]:
    """A line for each name, and for each member of it."""
    lines: list[str] = []
    for name, value in public(module).items():
        lines.append(f"{module}.{name}{_parameters(value)}")
        if isinstance(value, type):
            lines += (f"{module}.{name}.{member}" for member in sorted(set(_members(value))))
    return lines


def _parameters(value: object) -> str:
    """How it is called: the names, and which of them may be left out."""
    is_protocol = getattr(value, "_is_protocol", False)
    if isinstance(value, type):
        if is_protocol or issubclass(value, Enum):
            return ""
    elif not inspect.isfunction(value):
        return ""
    try:
        parameters = list(inspect.signature(cast("Callable[..., object]", value)).parameters.values())
    except ValueError:  # a class of the interpreter's own
        return ""
    written: list[str] = []
    keywords = False
    for each in parameters:
        if each.name in ("self", "cls") or each.name.startswith("_"):
            continue
        if each.kind is each.KEYWORD_ONLY and not keywords:
            written.append("*")
        keywords = keywords or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        star = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
        written.append(f"{star}{each.name}" + ("" if each.default is each.empty else "=..."))
    return f"({', '.join(written)})"


def _members(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in OURS:
            names = {*vars(base), *vars(base).get("__annotations__", ())}
            for name in names:
                if not name.startswith("_"):
                    member = inspect.getattr_static(cls, name, None)
                    called = inspect.unwrap(getattr(member, "__func__", member))
                    yield name + (_parameters(called) if inspect.isfunction(called) else "")


def main() -> None:
    RECORD.write_text("".join(f"{line}\n" for module in MODULES for line in told(module)), encoding="utf-8")


if __name__ == "__main__":
    main()
