"""The probes for what a program needs, and where it may run.  A docstring is what the documentation says was tried."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .clients import tried
from .libraries import OURS, RECIPIENT, SENDER, Order, Wish
from .outcome import NO, PARTLY, YES, Outcome, judged
from .servers import Talk
from .stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .libraries import Library
    from .scene import Scene

TICK: Final = 0.02
SILENCE: Final = 0.5
"""Seconds for which the server says nothing."""
TICKS: Final = 5
"""So many have to pass meanwhile, of about 25."""
REPLIES: Final = (b"220 mx.example\r\n", b"250 mx.example\r\n", b"250 ok\r\n", b"250 ok\r\n")
LEFT: Final = f"EHLO me.example\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode()
FOREIGN: Final = """
import importlib, json, sys
sys.modules["trio"] = sys.modules["sniffio"] = None  # they are there for another probe
before = set(sys.modules)
for name in {modules!r}:
    importlib.import_module(name)
own = {modules!r}[0].partition(".")[0]
found = {{name.partition(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names
print(json.dumps(sorted(name for name in found if not name.startswith(("_", own)))))
"""


def standard_library(library: Library, scene: Scene) -> Outcome:
    """It is imported by a Python that looks at nothing but its own library (`python -I -S`)."""
    command = [sys.executable, "-I", "-S", "-c", f"import {library.modules[0]}"]
    done = subprocess.run(command, capture_output=True, check=False)
    return judged(not done.returncode, "it was imported", "it has to be installed")


def dependencies(library: Library, scene: Scene) -> Outcome:
    """It is imported with all that the probes use of it: which packages come with it that are neither Python's nor its
    own?"""
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", FOREIGN.format(modules=library.modules)],
        capture_output=True,
        check=True,
        text=True,
        env=_environment(PYTHONPATH=paths),
    )
    found = ", ".join(json.loads(done.stdout))
    return judged(not found, "none", f"it needs {found}")


def older(library: Library, scene: Scene) -> Outcome:
    """Does its metadata admit Python 3.10?"""
    if not library.distribution:
        return Outcome(YES, "it is a part of every Python")
    wanted = importlib.metadata.metadata(library.distribution)["Requires-Python"]
    found = re.search(r">=\s*3\.([0-9]+)", wanted)
    assert found, wanted
    return judged(int(found[1]) <= 10, f"it wants {wanted}", f"it wants {wanted}")


def types(library: Library, scene: Scene) -> Outcome:
    """A type checker (mypy) reads a program that gives it an argument of a wrong type."""
    program = "".join(f"import {name}\n" for name in library.modules) + library.wrongly_typed + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(program, encoding="utf-8")
        command = [scene.python, "-m", "mypy", "--python-executable", sys.executable, "--config-file="]
        done = subprocess.run(
            [*command, "--cache-dir", folder, str(path)],
            capture_output=True,
            check=False,
            text=True,
            cwd=folder,
            env=_environment(MYPYPATH=os.pathsep.join(_checkout()) if library.name == OURS else ""),
        )
    codes = sorted(set(re.findall(r"\[([a-z-]+)\]$", done.stdout, re.MULTILINE)))
    assert codes or not done.returncode, done.stdout + done.stderr
    return judged("arg-type" in codes, "it was told so", f"it was not told so ({', '.join(codes) or 'nothing'})")


def _environment(**more: str) -> dict[str, str]:
    """That of this process, but for what may lead to another checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")} | more


def _checkout() -> list[str]:
    root = Path(__file__).parents[2]
    return [str(root), str(root / "adapters")]


def sans_io(library: Library, scene: Scene) -> Outcome:
    """The octets of a server are given to it, and it has to give those of a client up to DATA, with no socket, loop or
    thread anywhere (any use of these raises)."""
    with _NoIo():
        try:
            written = library.without_io(REPLIES)
        except _TriedIo as error:
            return Outcome(NO, f"it wanted {error}")
        except Exception as error:
            return Outcome(NO, f"it goes nowhere without a connection ({type(error).__name__})")
    return judged(written == LEFT, "it did so", "it wrote something else")


class _TriedIo(BaseException):
    pass


class _NoIo:
    """Sockets, loops and threads are not to be had."""

    forbidden = (
        ("socket", "socket.__init__", "a socket"),
        ("asyncio", "new_event_loop", "an event loop"),
        ("asyncio", "get_event_loop", "an event loop"),
        ("threading", "Thread.start", "a thread"),
    )

    def __enter__(self) -> None:
        self.kept: list[tuple[Any, str, object]] = []
        for module, path, what in self.forbidden:
            *owners, name = path.split(".")
            owner: Any = import_module(module)
            for each in owners:
                owner = getattr(owner, each)
            self.kept.append((owner, name, getattr(owner, name)))
            setattr(owner, name, self._refusing(what))

    def __exit__(self, *_: object) -> None:
        for owner, name, value in self.kept:
            setattr(owner, name, value)

    @staticmethod
    def _refusing(what: str) -> Callable[..., object]:
        def refuse(*_: object, **__: object) -> object:
            raise _TriedIo(what)

        return refuse


def blocking(library: Library, scene: Scene) -> Outcome:
    """In a program that has no event loop a client sends a message, and is told of one that is refused; a server
    answers."""
    if "client" in library.roles:
        with Stage() as stage:
            library.deliver_blocking(Order(stage.port))
        if not stage.content:
            return Outcome(NO, "the message did not arrive")
        with Stage(replies={"RCPT": b"550 no\r\n"}) as refusing:
            sent, _ = tried(lambda: library.deliver_blocking(Order(refusing.port)))
        if sent is not None and not sent.refused:
            return Outcome(PARTLY, "it sends, but a refusal is lost: the call returns as if all were well")
    if "server" in library.roles:
        with library.listen(Wish()) as server, Talk(server.port) as talk:
            if talk.greet()[:3] != b"250":
                return Outcome(NO, "the server did not answer")
    return Outcome(YES, "by plain calls")


def in_asyncio(library: Library, scene: Scene) -> Outcome:
    """The same within asyncio; while a server says nothing for half a second, another task has to go on."""

    async def main() -> int:
        ticks = [0]

        async def tick() -> None:
            while True:
                await asyncio.sleep(TICK)
                ticks[0] += 1

        ticker = asyncio.create_task(tick())
        await _client_within("asyncio", library)
        passed = ticks[0]
        ticker.cancel()
        if "server" in library.roles:
            async with library.listen_within("asyncio") as port:
                assert (await asyncio.to_thread(_greeted, port))[:3] == b"250"
                passed = max(passed, TICKS)
        return passed

    return _within_loop(lambda: asyncio.run(main()))


def in_trio(library: Library, scene: Scene) -> Outcome:
    """The same within trio."""
    import trio

    async def main() -> int:
        ticks = [0]

        async def tick() -> None:
            while True:
                await trio.sleep(TICK)
                ticks[0] += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            await _client_within("trio", library)
            passed = ticks[0]
            nursery.cancel_scope.cancel()
        if "server" in library.roles:
            async with library.listen_within("trio") as port:
                assert (await trio.to_thread.run_sync(_greeted, port))[:3] == b"250"
                passed = max(passed, TICKS)
        return passed

    return _within_loop(lambda: trio.run(main))


async def _client_within(loop: str, library: Library) -> None:
    if "client" in library.roles:
        with Stage(delays={"greeting": SILENCE}) as stage:
            await library.deliver_within(loop, Order(stage.port))
        assert stage.content


def _greeted(port: int) -> bytes:
    with Talk(port) as talk:
        return talk.greet()


def _within_loop(run: Callable[[], int]) -> Outcome:
    try:
        passed = run()
    except BaseException as error:
        return Outcome(NO, f"it does not run there ({_first(error)})")
    return judged(passed >= TICKS, "it runs there", "nothing else ran while it waited")


def _first(error: BaseException) -> str:
    """Of a group, the first that is none."""
    while inner := getattr(error, "exceptions", ()):
        error = inner[0]
    return type(error).__name__


def discovery(library: Library, scene: Scene) -> Outcome:
    """A domain has two MX records, and an MTA-STS policy that admits one of the hosts: whom to connect to?"""
    return Outcome(YES, library.exchangers())


def fixture(library: Library, scene: Scene) -> Outcome:
    """Has it a plugin for pytest among its entry points?"""
    if not library.distribution:
        return Outcome(NO, "it has none")
    points = importlib.metadata.distribution(library.distribution).entry_points
    names = [point.value for point in points if point.group == "pytest11"]
    return judged(names, "it has", "it has none")


PROBES: Final[Mapping[str, Callable[[Library, Scene], Outcome]]] = {
    each.__name__: each
    for each in (
        standard_library,
        dependencies,
        older,
        types,
        sans_io,
        blocking,
        in_asyncio,
        in_trio,
        discovery,
        fixture,
    )
}
