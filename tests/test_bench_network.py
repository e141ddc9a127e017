"""The benchmarks end to end and of scale: that they run, and lose nothing.  No time is asserted."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from smtpproto import Envelope
from smtpproto_adapters.blocking import Client
from tests.bench import network, network_sink, scale
from tests.bench.harness import OURS, Row, measure_here
from tests.bench.network_replay import Player, Recorder, record
from tests.bench.scale_child import LOOPBACK, Child

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks need what Windows has not")

MESSAGES = 5
BACKENDS = ["asyncio", *(["trio"] if find_spec("trio") else [])]


def not_installed(program: str) -> None:
    """In place of `network_sink.find`."""


@pytest.fixture(params=["the sink that is here", "a server of ours"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Row, ...]]:
    if request.param == "a server of ours":
        for module in (network, network_sink):
            monkeypatch.setattr(module, "find", not_installed)
    yield network.rows(MESSAGES, MESSAGES)
    network.stop()


def test_every_row_has_a_figure_for_each_contestant(rows: tuple[Row, ...]) -> None:
    for row in rows:
        left_out: dict[str, str] = {}
        figures = measure_here(row, rounds=1, left_out=left_out)
        assert set(figures) | set(left_out) == set(row.contestants)
        assert set(left_out) <= {network.SOURCE}
        assert figures[OURS].ratio == 1
        assert all(figure.median > 0 for figure in figures.values())


def test_rows_are_told_apart() -> None:
    assert len({row.id for row in network.ROWS}) == len(network.ROWS)
    for row in network.ROWS:
        assert {target.against for target in row.targets} <= set(row.contestants)


def test_the_content_is_as_large_as_what_smtp_source_makes() -> None:
    assert len(network.CONTENT) - len(network.HEADER) == network.PAYLOAD
    assert network.CONTENT.endswith(b"\r\n")


def test_what_is_replayed_is_the_very_session() -> None:
    """The server gets as many messages from bare sockets as it got from the client, and as many octets."""
    with Child("tests.bench.scale_server", "blocking", "whole") as server:
        address = (LOOPBACK, server.hear()["port"])

        def converse(recorder: Recorder) -> int:
            client = Client(host=address[0], port=address[1], client_name="client.example", stream=recorder)
            client.connect()
            opening = len(recorder.writes)
            letters = [(Envelope("ann@client.example", "bob@mx.example"), network.CONTENT)] * MESSAGES
            for result in client.send_many(letters):
                result.raise_unless_accepted()
            return opening

        script = record(address, converse)
        recorded = server.ask()
        assert recorded["messages"] == MESSAGES
        assert recorded["octets"] == MESSAGES * len(network.CONTENT)
        assert len(script.opening) == 1
        Player(address, script, 30).run()
        replayed = server.ask()
    assert replayed["messages"] == 2 * recorded["messages"]
    assert replayed["octets"] == 2 * recorded["octets"]


def test_scale_is_measured() -> None:
    found = {each.id: each for each in scale.measurements(quick=True)}
    for backend in BACKENDS:
        assert found[f"open-{backend}"].value == scale.QUICK.connections
        assert f"memory-{backend}" in found  # which may be nothing, with so few
    assert found["at-once"].value > 0
    assert found["at-once-lost"].value == 0
    for verb in ("data", "bdat"):
        assert found[f"stream-{verb}"].value > 0
        assert found[f"peak-client-{verb}"].value < 100
        assert found[f"peak-server-{verb}"].value < 100


def test_throughput_is_measured_at_each_number_of_connections() -> None:
    found = scale.scaling(quick=True)
    assert [each["id"] for each in found] == [f"messages-by-connections-{backend}" for backend in BACKENDS]
    for each in found:
        assert [count for count, _ in each["points"]] == list(scale.QUICK.points)
        assert all(nanoseconds > 0 for _, nanoseconds in each["points"])


def test_fewer_connections_where_the_limit_allows_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "descriptors", lambda: scale.SPARE_DESCRIPTORS + 30)
    count, _ = scale.held_open("asyncio", scale.QUICK)
    assert count.value == 30
    assert "limit of file descriptors" in count.name


def test_a_child_that_is_silent_or_gone_is_noticed() -> None:
    with Child("tests.bench.scale_server", "blocking", "whole") as server:
        server.hear()
        with pytest.raises(TimeoutError, match="says nothing"):
            server.hear(seconds=0.1)
    with Child("tests.bench.scale_streaming", "1") as refused, pytest.raises(EOFError, match="has ended"):
        refused.hear()
