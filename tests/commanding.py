"""Running the `smtpproto` command: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import smtpproto
from smtpproto import ErrorCode, Event
from smtpproto_adapters import cli

if TYPE_CHECKING:
    import pytest

    from tests.scripted import ScriptedServer


class Outcome:
    """What one run of the command came to."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def code(self) -> ErrorCode:
        return ErrorCode(self.status)

    @property
    def events(self) -> list[str]:
        """The names of the events in the ladder, in order."""
        first = [re.match(r"([A-Z][A-Za-z]+) +(?:← |  )", line) for line in self.out.splitlines()]
        return [match[1] for match in first if match and issubclass(getattr(smtpproto, match[1], object), Event)]

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def complaint(self) -> str:
        """The one sentence on standard error."""
        assert re.fullmatch(r"smtpproto: [^\n]+\n", self.err), self.err
        assert "Traceback" not in self.err
        return self.err.removeprefix("smtpproto: ").rstrip("\n")


class Command:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str) -> Outcome:
        self._capsys.readouterr()
        status = cli.main(argv)
        out, err = self._capsys.readouterr()
        return Outcome(status, out, err)

    def connect(self, server: ScriptedServer, *argv: str) -> Outcome:
        return self("connect", "--host", server.host, "--port", str(server.port), "--client-name", "me.example", *argv)


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> None:
    """Let standard output be taken for a terminal."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))


def without(monkeypatch: pytest.MonkeyPatch, package: str, *modules: str) -> None:
    """Let a package not be installed, and those of our modules that need it not be imported yet."""
    for name in list(sys.modules):
        if name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    for module in modules:
        monkeypatch.delitem(sys.modules, f"smtpproto_adapters.{module}", raising=False)


def start(*argv: str, stdin: int = subprocess.DEVNULL, **settings: Any) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    environment["PYTHONIOENCODING"] = "utf-8"
    environment.update(settings)
    # Whoever runs the tests in the background may have them, and what they start, ignore SIGINT.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; import sys; from smtpproto_adapters.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *argv],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )
