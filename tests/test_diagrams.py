"""The diagrams of the documentation: they have all that is in the tables, and nothing in them overlaps."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("sphinx")

from hypothesis import given
from hypothesis import strategies as st

from docs._ext.diagrams import HANDSHAKES, handshake, handshake_svg, state_svg
from docs._ext.state_layout import (
    DIAGRAMS,
    Box,
    Diagram,
    Edges,
    Layout,
    Reason,
    edges_of,
    lay_out,
    name_of,
    quiet_kinds,
)
from smtpproto.states import TRANSITIONS, State

if TYPE_CHECKING:
    from collections.abc import Iterator

EACH = pytest.mark.parametrize("name", DIAGRAMS)


# What is in them ----------------------------------------------------------------------------------------------------


def test_every_state_is_in_one() -> None:
    shown = {state for diagram in DIAGRAMS.values() for state in diagram.order}
    assert shown >= set(State) - {State.ERROR}


def test_every_transition_is_in_one() -> None:
    """But what leads nowhere; what leaves the mail transaction by QUIT is in that of the connection, for all of it."""
    drawn = {
        (here, there, name, reply)
        for diagram in DIAGRAMS.values()
        for (here, there), reasons in edges_of(diagram).items()
        for reason in reasons
        for name in reason.names
        for reply in reason.replies
    }
    transaction = DIAGRAMS["connection"].groups["mail transaction"]
    for state, rows in TRANSITIONS.items():
        for kind in rows.keys() - quiet_kinds():
            for reply, after in rows[kind].items():
                leaves = state in transaction and after is State.CLOSED
                assert ("mail transaction" if leaves else state, after, name_of(kind), reply) in drawn


@pytest.mark.rfc("5321", "4.1.1.4")
def test_they_say_what_the_rfc_says() -> None:
    edges = edges_of(DIAGRAMS["transaction"])
    assert edges[State.RCPT, State.DATA] == [Reason(("DATA",), (354,))]
    assert edges[State.DATA, State.READY] == [Reason(("final dot",), (2, 4, 5))]
    assert (State.READY, State.RCPT) not in edges


def test_labels_are_short() -> None:
    assert Reason(("BDAT", "BURL"), (4, 5)).label == "BDAT, BURL: 4/5yz"
    assert Reason(("DATA",), (354,)).label == "DATA: 354"
    assert Reason(("AUTH",), (2, 334)).label == "AUTH: 2yz, 334"


# Where it is --------------------------------------------------------------------------------------------------------


def segments(layout: Layout) -> Iterator[Box]:
    """Each line, as thin as it is."""
    for line in layout.lines:
        for (x0, y0), (x1, y1) in pairwise(line.points):
            assert x0 == x1 or y0 == y1
            yield Box(min(x0, x1), min(y0, y1), max(abs(x1 - x0), 0.1), max(abs(y1 - y0), 0.1))


def check(layout: Layout) -> None:
    boxes, labels = list(layout.boxes.values()), [label.box for label in layout.labels]
    for one, other in combinations([*boxes, *labels], 2):
        assert not one.overlaps(other)
    for line in segments(layout):
        # A line may meet a box, and not go into it.
        assert not any(
            Box(line.x + 0.2, line.y, line.width - 0.3, line.height).overlaps(box) for box in boxes if line.height < 1
        )
        assert not any(
            Box(line.x, line.y + 0.2, line.width, line.height - 0.3).overlaps(box) for box in boxes if line.height >= 1
        )
        assert not any(line.overlaps(label) for label in labels)
    for box, text in zip(boxes, layout.inside, strict=True):
        assert box.x <= text.box.x
        assert box.y <= text.box.y
        assert text.box.y + text.box.height <= box.y + box.height
    page = Box(0, 0, layout.width, layout.height)
    for each in (*boxes, *labels, *segments(layout)):
        assert page.x <= each.x
        assert page.y <= each.y
        assert each.x + each.width <= page.width
        assert each.y + each.height <= page.height


@EACH
def test_nothing_overlaps(name: str) -> None:
    layout = lay_out(DIAGRAMS[name], edges_of(DIAGRAMS[name]))
    check(layout)
    assert layout.width < 700  # of the text beside which it stands


names = st.lists(st.sampled_from(["EHLO", "BDAT LAST", "final dot", "XFORWARD"]), min_size=1, max_size=3, unique=True)
reasons = st.builds(Reason, names.map(tuple), st.sampled_from([(2,), (4, 5), (354,)]))
states = st.sampled_from(list(State)[:6])


@given(st.dictionaries(st.tuples(states, states), st.lists(reasons, min_size=1, max_size=2, unique=True), max_size=20))
def test_nothing_overlaps_whatever_is_in_the_tables(edges: dict[tuple[State, State], list[Reason]]) -> None:
    some: Edges = dict(edges.items())
    check(lay_out(Diagram("any", tuple(list(State)[:6])), some))


def test_the_check_finds_what_overlaps() -> None:
    layout = lay_out(DIAGRAMS["authentication"], edges_of(DIAGRAMS["authentication"]))
    [label, *_] = layout.labels
    layout.labels.append(label._replace(box=label.box._replace(x=label.box.x + 1)))
    with pytest.raises(AssertionError):
        check(layout)


# How it is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [*map(state_svg, DIAGRAMS.values()), *map(handshake_svg, HANDSHAKES)], ids=[*DIAGRAMS, *HANDSHAKES]
)
def test_it_can_be_read_in_light_and_dark_and_aloud(text: str) -> None:
    [picture] = ET.fromstring(text)
    assert picture.get("role") == "img"
    assert picture.get("aria-label")
    colours = {each.get(name) for each in picture.iter() for name in ("fill", "stroke")}
    assert colours <= {None, "none", "currentColor"}
    assert not re.search(r"#[0-9a-f]{3}|rgb", text)


# The handshakes -----------------------------------------------------------------------------------------------------


def gist(name: str) -> list[str]:
    return [re.split(r"[ \r]", step.text)[0] for step in handshake(HANDSHAKES[name])]


def test_the_handshakes_are_what_the_engine_does() -> None:
    hello = ["EHLO", "250-mx.example", "EhloReply"]
    assert gist("none") == ["220", "Greeting", *hello, "Connected"]
    assert gist("starttls") == [
        "220",
        "Greeting",
        *hello,
        "STARTTLS",
        "220",
        "StartTlsReady",
        "TLS",
        *hello,
        "Connected",
    ]
    assert gist("implicit") == ["TLS", "220", "Greeting", *hello, "AuthNeeded", "Connected"]


@pytest.mark.rfc("3207", "4.2")
def test_starttls_is_offered_before_tls_and_not_behind_it() -> None:
    offers = ["STARTTLS" in step.text for step in handshake(HANDSHAKES["starttls"]) if step.text.startswith("250")]
    assert offers == [True, False]
