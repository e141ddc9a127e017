"""How each library is told to do what a probe wants, each in its most usual way.

A module here has `LIBRARY`, whose methods raise `Unsupported` where the library has nothing that would do.  What it
raises by itself goes through, and is for the probe to judge.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import ssl
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from tests.comparison.outcome import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

OURS: Final = "ours"
SENDER: Final = "me@me.example"
RECIPIENT: Final = "you@mx.example"
CONTENT: Final = b"From: me@me.example\r\nTo: you@mx.example\r\nSubject: hello\r\n\r\nHow are you?\r\n"
USER: Final = "user"
PASSWORD: Final = "a-secret-password"
TOKEN: Final = "a-token"


@dataclass(frozen=True)
class Order:
    """What a client is to send, and how.  The server is on loopback."""

    port: int
    recipients: tuple[str, ...] = (RECIPIENT,)
    content: Any = CONTENT
    tls: str = ""
    """`starttls`, `implicit`, or nothing is said about it."""
    context: ssl.SSLContext | None = None
    """None: what the library does by itself."""
    login: bool = False
    """With USER and PASSWORD."""
    token: bool = False
    """With USER and TOKEN."""
    lmtp: bool = False
    timeout: float | None = 3.0


class Sent(NamedTuple):
    """What the library says of it."""

    refused: Mapping[str, object]
    """Recipient -> what there is of its refusal."""


class Listening(NamedTuple):
    """A server that runs."""

    port: int
    arrived: Callable[[], Sequence[tuple[str, bytes]]]
    """The reverse-path and the content of each message, so far."""


@dataclass(frozen=True)
class Wish:
    """What a server is to do."""

    context: ssl.SSLContext | None = None
    certificate: Path | None = None
    """The one that the context shows."""
    implicit: bool = False
    login: bool = False
    """USER may log in with PASSWORD."""
    lmtp: bool = False
    refuse_content_for: str = ""
    """A recipient for whom the content is refused, and for no other."""
    proxied: bool = False
    """A PROXY header comes before everything."""


class Library:
    """What the probes can ask of one."""

    name: ClassVar[str]
    distribution: ClassVar[str]
    """Empty: it comes with Python."""
    modules: ClassVar[tuple[str, ...]]
    """What a program imports to use it."""
    roles: ClassVar[tuple[str, ...]]
    by_hand: ClassVar[Mapping[str, str]] = {}
    """Row -> what the program has to do for it by itself, where what the probe shows is the program's work in part."""
    wrongly_typed: ClassVar[str]
    """An expression in which an argument has the wrong type; `modules` are imported."""

    def deliver(self, order: Order) -> Sent:
        """Connect, send, and leave."""
        raise NotImplementedError

    def deliver_blocking(self, order: Order) -> Sent:
        """The same in what the library has for programs without a loop."""
        return self.deliver(order)

    async def deliver_within(self, loop: str, order: Order) -> None:
        """The same within `asyncio` or `trio`.  Where a library knows nothing of either, it is called all the same."""
        self.deliver(order)

    def deliver_with_options(self, order: Order, *, notify: str) -> Sent:
        """With a parameter of RCPT as RFC 3461 has it."""
        raise Unsupported("it takes no parameters of RCPT")

    def deliver_in_phases(self, order: Order, *, commands: float, final: float) -> Sent:
        """With one timeout for the answers to commands, and another for that to the content."""
        raise Unsupported("")

    def default_timeout(self, port: int) -> float | None:
        """How long it waits for a server, or a client, when nobody has said anything."""
        raise NotImplementedError

    def listen(self, wish: Wish) -> AbstractContextManager[Listening]:
        """A server in a program without an event loop."""
        raise NotImplementedError

    def listen_within(self, loop: str) -> AbstractAsyncContextManager[int]:
        """A server within `asyncio` or `trio`, and its port."""
        raise NotImplementedError

    def without_io(self, replies: Sequence[bytes]) -> bytes:
        """What a session sends up to DATA, where these are the replies to what comes before it."""
        raise NotImplementedError

    def exchangers(self) -> str:
        """What it finds out about a domain, in a sentence."""
        raise self.nothing_like("mx|exchanger|sts|dane|tlsa|dns")

    def nothing_like(self, pattern: str) -> Unsupported:
        """There is no public name like this in any of its modules: looked up, so that a later version is noticed."""
        found = sorted({name for module in self.every_module() for name in names_of(module, pattern)})
        if found:
            raise RuntimeError(f"{self.name} has {', '.join(found)} now: write a probe for it")
        return Unsupported(f"no public name in it is like `{pattern}`")

    def every_module(self) -> list[ModuleType]:
        package = importlib.import_module(self.modules[0].partition(".")[0])
        paths = getattr(package, "__path__", ())
        names = [each.name for each in pkgutil.iter_modules(paths) if not each.name.startswith(("_", "test", "qa"))]
        return [package, *(importlib.import_module(f"{package.__name__}.{name}") for name in names)]


def names_of(module: ModuleType, pattern: str) -> list[str]:
    """Its own public classes and functions, and the methods of its classes, that have such a word in their name."""
    word = re.compile(rf"(?:^|_)(?:{pattern})(?:_|$)")
    found: list[str] = []
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        methods = vars(value) if isinstance(value, type) else ()
        members = [name, *(f"{name}.{each}" for each in methods if not each.startswith("_"))]
        found += [each for each in members if word.search(_snake(each.rpartition(".")[2]))]
    return found


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
