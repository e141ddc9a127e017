"""The fuzz targets, for a moment each: what was found once stays found, and each finds a fault that was planted."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from fuzz import __main__ as driver
from fuzz._harness import FLIGHT, assert_linear
from fuzz._plain import MOST_OCTETS, inputs, mutated, run, words_of
from fuzz._sessions import Run
from smtpproto import Connection, RemoteProtocolError, Role
from smtpproto.testing import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpproto import Reply
    from smtpproto.flows.outgoing import Outgoing
    from smtpproto.parameters import DeliverBy

FUZZ = Path(driver.__file__).parent
CORPUS = [(path.parent.name, path) for path in sorted((FUZZ / "corpus").glob("*/*"))]
MOMENT = 100
"""Inputs by chance for each target.  ``make fuzz`` tries more."""


@pytest.mark.parametrize(("target", "path"), CORPUS, ids=[f"{target}-{path.name}" for target, path in CORPUS])
def test_corpus(target: str, path: Path) -> None:
    driver.target(target)(path.read_bytes())


@pytest.mark.parametrize("target", driver.TARGETS)
def test_seeds_and_some_mutations(target: str, tmp_path: Path) -> None:
    seeds = driver.seeds(target)
    assert seeds
    tried = islice(inputs(seeds, driver.DICTIONARY, Random(target)), len(seeds) + MOMENT)
    assert run(driver.target(target), tried, tmp_path) == len(seeds) + MOMENT


@pytest.mark.parametrize("target", driver.TARGETS)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff", FLIGHT, 3 * FLIGHT], ids=repr)
def test_the_smallest_inputs(target: str, data: bytes) -> None:
    driver.target(target)(data)


@pytest.mark.parametrize("target", driver.TARGETS)
def test_a_target_begins_with_its_invariant(target: str) -> None:
    module = import_module(f"fuzz.{target}")
    assert module.__doc__ is not None
    assert module.__doc__.splitlines()[0].startswith(("Whatever ", "However ", "Content "))
    signature = inspect.signature(driver.target(target))
    assert str(signature) == "(data: 'bytes') -> 'None'"


def test_no_corpus_is_without_a_target() -> None:
    assert {path.name for path in (FUZZ / "corpus").iterdir()} <= set(driver.TARGETS)


# -- planted faults ---------------------------------------------------------------------------------------------------


def raises(*args: object, **options: object) -> NoReturn:
    raise KeyError("planted")


def yes(*args: object, **options: object) -> bool:
    return True


def same(value: Any, *args: object) -> Any:
    return value


def none(*args: object) -> None: ...


def a_lot(*args: object) -> int:
    return 1_000_000


def last_of_all(message: Outgoing, number: int) -> Reply | None:
    """What LMTP says for the last recipient, taken for all of them."""
    replies: list[Reply] = getattr(message, "_final")  # noqa: B009
    return replies[-1] if replies else None


def without_trace(by: DeliverBy) -> str:
    return f"{by.seconds};{by.mode}"


FAULTS: dict[str, tuple[str, object]] = {
    "replies": ("smtpproto.client.strict_base64", raises),
    "commands": ("smtpproto.commands.parse.strict_base64", raises),
    "cuts": ("smtpproto.content._BEGINNINGS", ()),
    "content": ("smtpproto.content._is_normalised", yes),
    "sasl_client": ("smtpproto.sasl.scram.same", yes),
    "sasl_server": ("smtpproto.sasl.scram.proves", yes),
    "addresses": ("smtpproto.grammar.unquote", same),
    "parameters": ("smtpproto.parameters.DeliverBy.__str__", without_trace),
    "lines": ("smtpproto.commands.auth.base64", bytes.hex),
    "urls": ("smtpproto.options._percent_decoded", same),
    "certificates": ("smtpproto_adapters.bindings._INSTEAD_OF", {}),
    "handshake": ("smtpproto.sasl.plain.PlainClient.exposes_secret", False),
    "trace": ("smtpproto.trace._harmless", same),
    "deliveries": ("smtpproto.flows.outgoing.Outgoing._final_reply", last_of_all),
    "prep": ("smtpproto.sasl.prep._check", none),
    "service": ("smtpproto.service.ServiceSession.refusal", none),
}


@pytest.mark.parametrize("target", driver.TARGETS)
def test_a_target_finds_a_planted_fault(target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(*FAULTS[target])
    with pytest.raises((AssertionError, KeyError, UnicodeError)):
        run(driver.target(target), driver.seeds(target), tmp_path)
    (found,) = tmp_path.iterdir()
    with pytest.raises((AssertionError, KeyError, UnicodeError)):
        driver.target(target)(found.read_bytes())


@pytest.mark.parametrize("target", ["replies", "commands"])
def test_what_is_kept_without_bound_is_found(target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    role = "client.ClientConnection" if target == "replies" else "server.ServerConnection"
    monkeypatch.setattr(f"smtpproto.{role}._line_limit", a_lot)
    with pytest.raises(AssertionError, match="octets are kept"):
        run(driver.target(target), driver.seeds(target), tmp_path)


def test_an_error_that_is_not_the_last_thing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: Connection, error: RemoteProtocolError) -> RemoteProtocolError:
        return error

    monkeypatch.setattr("smtpproto.connection.Connection._fail", fail)
    connection = Connection(Role.CLIENT)
    with pytest.raises(AssertionError):
        Run(connection, whole, bounded=False).play([b"pHTTP/1.1 400\r\n"], lambda choice: None, lambda event: None)


def test_work_that_is_not_linear_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    assert_linear(judged.append, b"one part")
    assert_linear(judged.append, FLIGHT.join((b"nothing", b"", b"to repeat")))
    assert judged == []
    assert_linear(judged.append, FLIGHT.join((b"<", b"ab", b">")))
    assert judged == [f"<{'ab' * 10_000}>"]
    monkeypatch.setattr("fuzz._harness.time.process_time", iter((0.0, 60.0)).__next__)
    with pytest.raises(AssertionError, match=r"60.0 s for 20002 characters"):
        assert_linear(judged.append, FLIGHT.join((b"<", b"ab", b">")))


# -- the driver that needs no atheris ---------------------------------------------------------------------------------


def test_a_dictionary_is_read_as_libfuzzer_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_bytes(b'# none\n"\\x0d\\x0a"\nname="250 "\n"a\\\\b"\n')
    assert words_of(file) == [b"\r\n", b"250 ", b"a\\b"]


def test_mutations_are_the_same_for_the_same_chance() -> None:
    seeds = [bytes(range(256)) * 20, b"b"]
    first, again = ([mutated(seeds[0], Random(n), seeds, [b"word"]) for n in range(50)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 40
    assert max(map(len, first)) == MOST_OCTETS


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the driver leaves what it finds, and no atheris."""
    monkeypatch.setattr("fuzz._harness.atheris", None)
    monkeypatch.setattr(driver, "FOUND", tmp_path)
    return tmp_path


def driven(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fuzz", *arguments])
    return driver.main()


def test_the_driver_runs_a_target(
    found: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert driven(monkeypatch, "--seconds=1", "lines") == 0
    assert list((found / "lines").iterdir()) == []
    told = capsys.readouterr().err
    assert "lines: 1 seconds, without atheris.\n" in told
    assert "inputs.\n" in told


def test_the_driver_keeps_what_it_finds(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*FAULTS["lines"])
    with pytest.raises(AssertionError):
        driven(monkeypatch, "--seconds=1", "lines")
    assert [path.name[:6] for path in (found / "lines").iterdir()] == ["crash-"]


def test_the_driver_goes_on_to_the_next_target(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    class Result:
        def __init__(self, returncode: int) -> None:
            self.returncode = returncode

    def process(command: list[str], *, check: bool) -> Result:
        ran.append(" ".join(command[1:]))
        return Result(77 * command[-1].startswith("l"))

    monkeypatch.setattr("subprocess.run", process)
    assert driven(monkeypatch, "--seconds=3", "--plain", "lines", "urls") == 1
    # They run side by side, so any may be the first.
    assert sorted(ran) == ["-m fuzz --seconds=3 --plain lines", "-m fuzz --seconds=3 --plain urls"]
    assert "lines." in capsys.readouterr().err
    ran.clear()
    assert driven(monkeypatch) == 1
    assert sorted(each.split()[-1] for each in ran) == list(driver.TARGETS)
    assert driven(monkeypatch, "urls", "cuts") == 0


def test_the_driver_knows_its_targets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        driven(monkeypatch, "nonsense")
    assert "no target is named nonsense" in capsys.readouterr().err


def test_atheris_gets_the_seeds_and_the_target(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    class Atheris:
        @staticmethod
        def Setup(arguments: list[str], function: Callable[[bytes], None]) -> None:  # noqa: N802
            given.extend((arguments, function))

        @staticmethod
        def Fuzz() -> None:  # noqa: N802
            given.append(len(list((found / "lines").iterdir())))

    monkeypatch.setattr("fuzz._harness.atheris", Atheris)
    driven(monkeypatch, "--seconds=7", "lines")
    arguments, function, seeds = given
    assert isinstance(arguments, list)
    assert "-max_total_time=7" in arguments
    assert arguments[-1] == str(found / "lines")
    assert function is driver.target("lines")
    assert seeds == len(driver.seeds("lines"))
