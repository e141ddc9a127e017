"""``--svg``: the ladder as a picture, and the one in the README."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("rich")
pytest.importorskip("trustme")
pytest.importorskip("dns")

from smtpproto_adapters.cli.statuses import Status
from tests import picture
from tests.commanding import Command, on_terminal, start
from tests.docs_server import PASSWORD
from tests.scripted import Expect, Say, ScriptedServer, Silence

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def seen(svg: str) -> list[tuple[float, float, str, str]]:
    """All that is written in a picture: where, what, and how it looks.  Raises ParseError where it is no XML."""
    looks = dict(re.findall(r"^\.ladder-(\w+) \{ (.*) \}$", svg, re.MULTILINE))
    return [
        (
            float(text.attrib.get("y", 0)),
            float(text.attrib.get("x", 0)),
            (text.text or "").replace("\xa0", " "),
            looks.get(text.attrib.get("class", "").removeprefix("ladder-"), ""),
        )
        for text in ET.fromstring(svg).iter(f"{SVG}text")
    ]


def lines_of(svg: str) -> list[str]:
    """The lines of the ladder in a picture."""
    lines: dict[float, str] = {}
    for y, x, text, look in seen(svg):
        if look and "font-size" not in look:
            line = lines.get(y, "")
            # A column has 12.2 units.
            lines[y] = line.ljust(round(x / 12.2)) + text
    return [lines[y].rstrip() for y in sorted(lines)]


def without_time(lines: list[str]) -> list[str]:
    return [re.sub(r"after \d+\.\d\d s", "after … s", line).rstrip() for line in lines if line.strip()]


def test_the_picture_in_the_readme_is_what_the_command_makes() -> None:
    """`make picture` makes it anew."""
    committed = picture.FILE.read_text(encoding="utf-8")
    made = picture.make()
    assert seen(committed) == seen(made)
    assert "SUCCESS (0) after 0.04 s" in lines_of(committed)
    assert PASSWORD not in committed
    readme = (picture.FILE.parents[2] / "README.md").read_text(encoding="utf-8")
    assert "](docs/_static/ladder.svg)" in readme


def test_a_picture_loads_nothing() -> None:
    svg = picture.FILE.read_text(encoding="utf-8")
    assert set(re.findall(r"https?:[^\"' )]*", svg)) == {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"url\((.)", svg)) == {"#"}
    assert not re.search(r"@import|@font-face|<image|<script|href", svg)


HOSTILE = b"250-hi <b>&amp; ]]> \x1b[31m\r\n250-SIZE 10\r\n250 X-\xff\x00 \xe2\x80\xae\r\n"
STEPS = (Say(b"220 mx.example ESMTP\r\n"), Expect(rb"EHLO .+"))
FAREWELL = (Expect(b"QUIT"), Say(b"221 bye\r\n"))


@pytest.mark.parametrize("json", [False, True])
def test_what_is_shown_is_in_the_picture(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, json: bool
) -> None:
    """In its colours, whatever the terminal is told; and with all that a server may say it is XML."""
    on_terminal(monkeypatch, 60)
    monkeypatch.setenv("NO_COLOR", "1")
    file = tmp_path / "ladder.svg"
    reply = HOSTILE.replace(b"\x00", b"")
    with ScriptedServer(*STEPS, Say(reply), *FAREWELL) as server:
        outcome = command.connect(server, "--svg", str(file), *(["--json"] if json else []))
    assert outcome.status == 0
    svg = file.read_text(encoding="utf-8")
    lines = without_time(lines_of(svg))
    assert "EhloReply        ← 250-hi <b>&amp; ]]> \\x1b[31m" in lines
    assert max(map(len, lines)) <= 60
    if not json:
        assert lines == without_time(outcome.out.splitlines())
    assert len({look for *_, look in seen(svg)}) > 4


def test_a_pipe_makes_no_picture_that_is_wide(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "ladder.svg"
    reply = b"250-" + b"x" * 200 + b"\r\n250 SIZE\r\n"
    with ScriptedServer(*STEPS, Say(reply), *FAREWELL) as server:
        outcome = command.connect(server, "--svg", str(file))
    assert max(map(len, outcome.out.splitlines())) > 200
    assert max(map(len, lines_of(file.read_text(encoding="utf-8")))) == 80


def test_a_session_that_fails_has_its_picture(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "ladder.svg"
    with ScriptedServer(Say(b"554 not you\r\n"), Expect(b"QUIT"), Say(b"221 bye\r\n")) as server:
        outcome = command.connect(server, "--svg", str(file))
    assert outcome.status != 0
    assert "Greeting         ← 554 not you" in lines_of(file.read_text(encoding="utf-8"))


def test_one_that_is_interrupted_has_it_too(tmp_path: Path) -> None:
    file = tmp_path / "ladder.svg"
    with (
        ScriptedServer(*STEPS, Silence(), timeout=30) as server,
        start("connect", f"smtp://{server.host}:{server.port}", "--svg", str(file)) as process,
    ):
        while b"EHLO" not in server.received:
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == Status.INTERRUPTED
    assert "INTERRUPTED (130) after … s" in without_time(lines_of(file.read_text(encoding="utf-8")))


def test_an_explanation_has_one(command: Command, tmp_path: Path) -> None:
    record, file = tmp_path / "session.txt", tmp_path / "ladder.svg"
    record.write_text("S: 220 mx.example\nC: NOOP\nS: 250 ok\nC: DATA\nS: 354 go\n")
    outcome = command("explain", str(record), "--svg", str(file))
    assert outcome.status == 7
    wide = " ".join(" ".join(outcome.out.split()).split())
    assert " ".join(" ".join(lines_of(file.read_text(encoding="utf-8"))).split()) == wide
    assert f"smtpproto explain {record}" in file.read_text(encoding="utf-8").replace("&#160;", " ")


@pytest.mark.parametrize("argv", [("connect", "smtp://127.0.0.1:1"), ("explain", "FILE")])
@pytest.mark.parametrize("name", [".", "nowhere/ladder.svg", "nu\0ll"])
def test_a_file_that_cannot_be_written_is_told_before(
    command: Command, tmp_path: Path, argv: tuple[str, ...], name: str
) -> None:
    record = tmp_path / "session.txt"
    record.write_text("S: 220 mx.example\nC: QUIT\nS: 221 bye\n")
    words = [str(record) if word == "FILE" else word for word in argv]
    outcome = command(*words, "--svg", str(tmp_path / name))
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.complaint.startswith("cannot write the picture to ")


def test_the_demo_has_none(command: Command, tmp_path: Path) -> None:
    outcome = command("connect", "--demo", "--svg", str(tmp_path / "ladder.svg"))
    assert outcome.status == 2
    assert "leave out --svg" in outcome.complaint
