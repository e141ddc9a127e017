"""Completing the command line: what bash, zsh and fish make of the scripts, each asked itself."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("rich")
pytest.importorskip("shtab")

from smtpproto import Security
from smtpproto_adapters.cli.authentication import NAMES
from smtpproto_adapters.cli.commands import make_parser
from smtpproto_adapters.cli.completion import SHELLS, script
from smtpproto_adapters.cli.statuses import Status
from tests.commanding import Command, without
from tests.terminals import Terminal

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = {"connect", "send", "serve", "explain", "hash-password"}


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        (folder / f"_smtpproto.{shell}").write_text(script(make_parser(), shell))
    (folder / "functions").mkdir()
    shutil.copy(folder / "_smtpproto.zsh", folder / "functions" / "_smtpproto")
    # What a file option may be given.
    (folder / "letter.eml").touch()
    (folder / "letters").mkdir()
    return folder


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


CASES: list[tuple[str, set[str]]] = [
    ("", COMMANDS),
    ("con", {"connect"}),
    ("--print-completion ", set(SHELLS)),
    ("connect --sec", {"--security"}),
    ("connect --security ", {each.value for each in Security}),
    ("connect smtp://mx.example:25 --security re", {"required"}),
    ("send smtp://mx.example letter.eml --adapter ", {"blocking", "asyncio", "trio"}),
    ("connect --mechanism ", set(NAMES)),
    ("serve --mechanism SCRAM-SHA-512", {"SCRAM-SHA-512", "SCRAM-SHA-512-PLUS"}),
    ("serve --tls ", {"starttls", "implicit"}),
    ("hash-password --hash ", {"SHA-1", "SHA-256", "SHA-512"}),
    ("connect --ca let", {"letter.eml", "letters"}),
    ("explain let", {"letter.eml", "letters"}),
    ("serve --maildir let", {"letters"}),
    ("connect --password-env A_PASS", {"A_PASSWORD"}),
]


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_bash(scripts: Path, line: str, expected: set[str]) -> None:
    """Its completion function is asked as bash asks it: with a word for each of what it breaks words at."""
    words = re.findall(r"[:=]|[^\s:=]+", f"smtpproto {line}") + ([""] if line[-1:] in (" ", "") else [])
    program = f"""
        source {shlex.quote(str(scripts / "_smtpproto.bash"))}
        COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}
        function=$(complete -p smtpproto | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [shell("bash"), "--norc", "-c", program],
        cwd=scripts,
        env={"PATH": "/usr/bin:/bin", "A_PASSWORD": "x"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) == expected


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_fish(scripts: Path, line: str, expected: set[str]) -> None:
    program = f"source {scripts}/_smtpproto.fish; complete -C {shlex.quote('smtpproto ' + line)}"
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", program],
        cwd=scripts,
        env={"PATH": "/usr/bin:/bin", "HOME": str(scripts), "A_PASSWORD": "x"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert {answer.partition("\t")[0].rstrip("/") for answer in done.stdout.splitlines()} == expected


KEYS = [
    ("conn\t--sec\treq\t", "connect --security required"),
    ("send --ver\tsmtp://mx.example:2525 lett\t.\t", "send --verbose smtp://mx.example:2525 letter.eml"),
    ("serve --mail\tletter\t", "serve --maildir letters"),
    ("hash\t--hash SHA-2\t", "hash-password --hash SHA-256"),
]


@pytest.mark.parametrize(("keys", "line"), KEYS)
def test_the_tab_key_in_bash(scripts: Path, keys: str, line: str) -> None:
    settings = {"PS1": "READY> ", "INPUTRC": "/dev/null", "HISTFILE": ""}
    with Terminal(shell("bash"), "--norc", "--noprofile", "-i", columns=200, environment=settings) as terminal:
        terminal.press(f"PS1='REA''DY> '; cd {scripts}; source _smtpproto.bash\r")
        terminal.wait_for("READY> ")
        check_keys(terminal, keys, line)


@pytest.mark.parametrize(("keys", "line"), KEYS)
def test_the_tab_key_in_zsh(scripts: Path, keys: str, line: str) -> None:
    with Terminal(shell("zsh"), "-f", "-i", columns=200) as terminal:
        terminal.press(
            f"PS1='REA''DY> '; cd {scripts}; fpath=($PWD/functions $fpath); autoload -U compinit; compinit -D -u; "
            "unsetopt prompt_sp; zstyle ':completion:*' insert-tab false\r"
        )
        terminal.wait_for("READY> ")
        check_keys(terminal, keys, line)


def check_keys(terminal: Terminal, keys: str, line: str) -> None:
    """The line that is there in the end is shown by a function that has the place of the command."""
    terminal.press('smtpproto() { echo "LI""NE: <$*>"; }\r')
    terminal.wait_for(r"\}\s+READY> ")
    terminal.press(f"smtpproto {keys}\r")
    # zsh takes the slash away again with which it completes a folder.
    assert terminal.wait_for(r"LINE: <.*>").replace("/>", ">") == f"LINE: <{line}>"


@pytest.mark.parametrize("name", SHELLS)
def test_the_command_prints_the_script(command: Command, scripts: Path, name: str) -> None:
    outcome = command("--print-completion", name)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == (scripts / f"_smtpproto.{name}").read_text()


def test_another_shell_is_refused(command: Command) -> None:
    outcome = command("--print-completion", "tcsh")
    assert outcome.status == 2
    assert "tcsh" in outcome.complaint


def test_without_shtab_the_command_works_and_says_what_lacks(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "shtab")
    outcome = command("--print-completion", "bash")
    assert outcome.status == Status.NOT_INSTALLED
    assert outcome.complaint == "shtab is not installed: pip install 'smtpproto-sansio[cli]'"
    assert command("--version").status == 0
