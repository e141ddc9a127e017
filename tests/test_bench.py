"""The benchmarks: that each row runs, that all contestants do the same work, that verdicts are right.

No time is asserted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench import __main__ as bench
from tests.bench import importing, instructions, memory, workloads
from tests.bench.harness import (
    OURS,
    ROUND_NS,
    Figure,
    Here,
    Missing,
    Row,
    Target,
    figures,
    measure_here,
    measure_with,
    runs_for,
)
from tests.bench.rows import CURVES, REGISTRY, ROWS, SMTPLIB, SPLIT, Curve
from tests.bench.verdict import verdict
from tests.bench.worker import Worker, prepare_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.harness import Run

SMALL = {"replies": 5, "session": 2}
"""Sizes of workloads.  Octets are more."""
OCTETS = 20_000


def small(workload: tuple[str, int]) -> tuple[str, int]:
    kind, size = workload
    return kind, SMALL.get(kind, min(size, OCTETS))


def run(contestant: str, kind: str, size: int) -> object:
    """Here, where its package is; the worker's own words are tested below."""
    try:
        prepare = prepare_of(contestant, (kind, size))
    except Missing as missing:
        pytest.skip(str(missing))
    return prepare()()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started


@pytest.fixture(scope="module")
def registry() -> Iterator[Worker | None]:
    if not bench.REGISTRY.exists():
        yield None
        return
    with Worker(bench.REGISTRY) as started:
        yield started


# What is found -------------------------------------------------------------------------------------------------------


def test_figures_are_medians_of_rounds_and_of_their_ratios() -> None:
    # The ratio of the medians is 2; that of the typical round is 3.
    found = figures({OURS: [1, 2, 4], "peer": [3, 4, 12]})
    assert found[OURS] == Figure(2, 1.5, 3, 1, 1, 1)
    assert found["peer"] == Figure(4, 3.5, 8, 3, 2.5, 3)


def test_one_round_gives_figures() -> None:
    assert figures({OURS: [2], "peer": [3]})["peer"] == Figure(3, 3, 3, 1.5, 1.5, 1.5)


@pytest.mark.parametrize(
    ("target", "found", "reached"),
    [
        (Target("slow", "at least", 3), 3, True),
        (Target("slow", "at least", 3.01), 3, False),
        (Target("fast", "at least", 0.5), 0.25, False),
        (Target("fast", "at most", 4), 4, True),
        (Target("fast", "at most", 3.99), 4, False),
        (Target("slow", "at most", 0.5), 1 / 3, True),
        (Target(None, "at most", 8), 8, True),
        (Target(None, "at most", 7), 8, False),
        (Target("absent", "at least", 3), None, None),
    ],
)
def test_a_verdict_compares_by_the_ratio(target: Target, found: float | None, reached: bool | None) -> None:
    measured = figures({OURS: [8], "slow": [24], "fast": [2]})
    result = verdict(target, measured)
    assert result == (target, found, reached)
    said = result.sentence("ns")
    assert ("NOT REACHED" in said) is (reached is False)
    assert ("not known" in said) is (reached is None)


def test_contestants_take_turns_and_one_that_is_missing_is_left_out() -> None:
    ran: list[str] = []

    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        def time(self, runs: int) -> float:
            if self.name == "absent":
                raise Missing("it is not here")
            ran.append(self.name)
            return 10

    row = Row("row", "a row", "thing", 5, {OURS: "", "peer": "", "absent": ""}, runs=2)
    left_out: dict[str, str] = {}
    found = measure_with({name: Noting(name) for name in row.contestants}, row, 3, left_out)
    assert ran[2:] == [OURS, "peer", "peer", OURS, OURS, "peer"]  # behind the first try of each
    assert found == {name: Figure(2, 2, 2, 1, 1, 1) for name in (OURS, "peer")}
    assert left_out == {"absent": "it is not here"}


def test_only_runs_are_measured_and_the_median_of_them_counts() -> None:
    clock = 0
    interrupted = [0, 7, 14, 700]

    def prepare() -> Run:
        nonlocal clock
        clock += 1000

        def run() -> None:
            nonlocal clock
            clock += interrupted.pop(0)

        return run

    row = Row("row", "a row", "thing", 7, {OURS: prepare}, runs=3, clock=lambda: clock)
    assert measure_here(row, 1)[OURS].median == 2  # behind the first, which is a try


def test_there_are_as_many_runs_as_fill_a_share() -> None:
    asked: list[int] = []

    class Slow:
        def time(self, runs: int) -> float:
            asked.append(runs)
            return ROUND_NS / 40

    assert runs_for(Slow()) == 40
    assert asked == [1, 2, 4, 8, 16]
    asked.clear()
    assert runs_for(Here(lambda: lambda: None, iter(range(0, 10**12, 3 * ROUND_NS)).__next__)) == 1


# The worker ----------------------------------------------------------------------------------------------------------


def test_a_worker_times_what_it_is_asked_for(worker: Worker) -> None:
    assert worker.ask()["python"].startswith("3.")
    assert worker.timer("limits:split", ("replies", 5)).time(2) > 0


def test_a_worker_says_what_is_missing(worker: Worker) -> None:
    with pytest.raises(Missing, match="contestants"):
        worker.timer("no_such_module:work", ("replies", 5)).time(1)


def test_a_worker_says_what_has_failed_and_goes_on(worker: Worker) -> None:
    with pytest.raises(RuntimeError, match="AttributeError"):
        worker.timer("limits:no_such_function", ("replies", 5)).time(1)
    with pytest.raises(RuntimeError, match="no_such_workload"):
        worker.timer("limits:split", ("no_such_workload", 5)).time(1)
    assert worker.timer("limits:split", ("replies", 5)).time(1) > 0


def test_a_worker_that_has_ended_is_an_error() -> None:
    worker = Worker()
    worker.close()
    with pytest.raises((RuntimeError, ValueError)):
        worker.ask()


def test_the_registrys_package_is_not_taken_for_ours(worker: Worker, registry: Worker | None) -> None:
    with pytest.raises(Missing, match=r"smtpproto\.protocol"):
        worker.timer("registry:ehlo", ("ehlo_reply", 15)).time(1)
    if registry is None:
        pytest.skip(f"there is no {bench.REGISTRY}")
    assert registry.timer("registry:ehlo", ("ehlo_reply", 15)).time(1) > 0
    with pytest.raises(Missing):
        registry.timer("ours:ehlo", ("ehlo_reply", 15)).time(1)


# The rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_each_row_runs(row: Row, worker: Worker, registry: Worker | None) -> None:
    workload = small(row.workload)
    timers = {
        name: (registry if contestant.startswith("registry:") and registry is not None else worker).timer(
            contestant, workload
        )
        for name, contestant in row.contestants.items()
        if isinstance(contestant, str)
    }
    left_out: dict[str, str] = {}
    found = measure_with(timers, row._replace(runs=1), 1, left_out)
    assert all(figure.median > 0 for figure in found.values())
    assert set(found) | set(left_out) == set(row.contestants)
    assert set(left_out) <= {REGISTRY, "aiosmtplib", "aiosmtpd"}
    assert found[OURS].ratio == 1


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_each_target_is_against_one_who_takes_part(row: Row) -> None:
    assert {target.against for target in row.targets} <= set(row.contestants)
    assert hasattr(workloads, row.workload[0])


def test_rows_and_curves_are_told_apart() -> None:
    names = [*(row.id for row in ROWS), *(curve.id for curve in CURVES), importing.ROW.id, *bench.GROUPS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("curve", CURVES, ids=[curve.id for curve in CURVES])
def test_each_curve_runs(curve: Curve, worker: Worker) -> None:
    largest = curve.sizes[-1]
    size = min(largest, OCTETS)
    assert worker.timer(curve.contestant, (curve.workload, size)).time(1) > 0


# The contestants: the same octets in, the same out -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["base64_crlf", "base64_lf", "text", "mail", "worst"])
def test_all_stuff_alike(kind: str) -> None:
    peer = "normalise_and_stuff" if kind == "base64_lf" else "stuff"
    stuffed: Any = run("ours:stuff", kind, OCTETS)
    content, end = stuffed
    assert run(f"stdlib:{peer}", kind, OCTETS) == content + end
    octets: bytes = getattr(workloads, kind)(OCTETS).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert content + end == workloads.stuffed(octets)


@pytest.mark.parametrize("contestant", ["ours:unstuff", "aiosmtpd:unstuff"])
@pytest.mark.parametrize("kind", ["text", "base64", "worst"])
def test_all_unstuff_alike(contestant: str, kind: str) -> None:
    content = workloads.base64_crlf if kind == "base64" else getattr(workloads, kind)
    assert run(contestant, f"stuffed_{kind}", 200_000) == content(200_000)


@pytest.mark.parametrize("contestant", ["ours:server_session", "ours:server_flow", "aiosmtpd:server_session"])
@pytest.mark.parametrize("recipients", [1, 10])
def test_all_servers_get_the_content_of_the_session(contestant: str, recipients: int) -> None:
    assert run(contestant, "session", recipients) == workloads.session(recipients).content


def test_all_clients_go_through_the_whole_session() -> None:
    session = workloads.session(10)
    said = sum(map(len, session.groups))
    assert run("ours:session", "session", 10) == said
    assert run("stdlib:session", "session", 10) == (221, b"2.0.0 Bye")
    assert run("aiosmtplib:session", "session", 10) == said


def test_every_reply_is_read() -> None:
    assert run("ours:pipelined_replies", "replies", 20) == 21
    assert run("stdlib:pipelined_replies", "replies", 20) == 21
    assert getattr(run("ours:single_replies", "replies", 20), "reply").code == 250  # noqa: B009
    assert getattr(run("aiosmtplib:single_replies", "replies", 20), "code") == 250  # noqa: B009
    assert getattr(run("ours:ehlo", "long_reply", 30), "extensions").keys() >= {"XEXTENSION29"}  # noqa: B009


@pytest.mark.parametrize("lines", [1, 2, 30])
def test_a_long_reply_has_so_many_lines(lines: int) -> None:
    reply = workloads.long_reply(lines)
    assert reply.count(b"\r\n") == lines
    assert [line[3:4] for line in reply.split(b"\r\n")[:-1]] == [b"-"] * (lines - 1) + [b" "]


@pytest.mark.parametrize("size", [3000, 100_000, 1_000_000])
@pytest.mark.parametrize("kind", ["base64_crlf", "base64_lf", "text", "worst"])
def test_content_is_of_its_size_and_of_whole_lines(kind: str, size: int) -> None:
    content: bytes = getattr(workloads, kind)(size)
    assert size - 78 < len(content) <= size
    assert content.endswith(b"\n")
    crlf = content.count(b"\r\n")
    assert content.count(b"\r") == crlf
    assert content.count(b"\n") == crlf or (kind == "base64_lf" and not crlf)


# Import, memory, instructions ----------------------------------------------------------------------------------------


def test_an_import_is_timed_in_a_process_of_its_own() -> None:
    timers = importing.timers(None)
    assert REGISTRY not in timers
    for name in (OURS, SMTPLIB):
        assert timers[name].time(1) > 0
    with pytest.raises(Missing, match="no_such_module"):
        importing.ImportTimer(sys.executable, "no_such_module", str(importing.ROOT)).time(1)


@pytest.mark.parametrize("row", memory.ROWS, ids=[row.id for row in memory.ROWS])
def test_idle_connections_take_memory(row: Row) -> None:
    left_out: dict[str, str] = {}
    found = memory.measure(row, 50, left_out)
    assert 100 < found[OURS].median < 10_000
    assert set(found) | set(left_out) == {OURS, memory.H11}
    assert memory.as_resident(row).id != row.id
    assert {target.against for target in memory.as_resident(row).targets} == {memory.H11}


def test_what_is_allocated_is_what_each_object_takes() -> None:
    taken = memory.allocated(lambda: bytearray(1000), 50)
    assert 50 * 1000 < taken < 50 * 1200


@pytest.mark.slow
@pytest.mark.skipif(not instructions.is_there(), reason="there is no valgrind")
def test_instructions_are_those_of_the_runs_alone() -> None:
    row = next(row for row in ROWS if row.id == "pipelined-replies")
    found = instructions.count([row._replace(contestants={SPLIT: row.contestants[SPLIT]})])
    # Some hundred for each line; the start of the interpreter takes a hundred million.
    assert 50 < found[row.id][SPLIT] < 2000


# The whole -----------------------------------------------------------------------------------------------------------


def test_the_table_and_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bench.json"
    nowhere = tmp_path / "nowhere"
    only = ["ehlo", "idle-server", "reply-by-lines"]
    options = ["--quick", "--rounds", "1", "--registry", str(nowhere), "--json", str(output)]
    assert bench.main([*options, "--only", *only]) == 0
    table = capsys.readouterr().out
    assert "(ehlo), ns for one exchange" in table
    assert f"left out: there is no {nowhere}" in table
    assert f"at least 6 x {REGISTRY}: not known" in table
    written = json.loads(output.read_text())
    assert set(written) == {"machine", "rows", "scaling", "scale"}
    assert set(written["machine"]) == {"python", "processor", "cores", "system"}
    rows = {row["id"]: row for row in written["rows"]}
    assert set(rows) <= {"ehlo", "idle-server", "idle-server-resident"}
    assert set(rows) >= {"ehlo", "idle-server"}
    assert rows["ehlo"]["figures"][OURS].keys() == set(Figure._fields)
    assert rows["ehlo"]["left_out"][REGISTRY] == f"there is no {nowhere}"
    against_smtplib = next(target for target in rows["ehlo"]["targets"] if target["against"] == SMTPLIB)
    assert against_smtplib.keys() == {"against", "kind", "factor", "found", "reached"}
    assert against_smtplib["found"] == rows["ehlo"]["figures"][SMTPLIB]["ratio"]
    assert against_smtplib["reached"] is (against_smtplib["found"] >= 2.5)
    assert rows["idle-server"]["quantity"] == "bytes"
    [curve] = written["scaling"]
    assert [size for size, _ in curve["points"]] == list(CURVES[0].sizes[:2])
    assert written["scale"] == []


def test_what_fails_does_not_take_the_rest_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = CURVES[0]._replace(contestant="ours:no_such_function")
    monkeypatch.setattr(bench, "CURVES", (broken, CURVES[1]))
    output = tmp_path / "bench.json"
    options = ["--quick", "--rounds", "1", "--json", str(output), "--only", broken.id, CURVES[1].id]
    assert bench.main(options) == 1
    assert f"These have failed: {broken.id}" in capsys.readouterr().out
    assert [curve["id"] for curve in json.loads(output.read_text())["scaling"]] == [CURVES[1].id]


def test_a_row_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--only", "no-such-row"])
    assert "there is no no-such-row" in capsys.readouterr().err
