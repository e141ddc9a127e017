"""What is in a diagram of states, and where.

How states are laid out.  They stand below each other, in the order that a diagram gives.  What leads to the next one is
an arrow between the two; what leads further down goes by a lane on the right, what leads up by one on the left.  Each
line has its own height at a box, and its label stands above it there, between the box and the first lane: so nothing
can overlap, whatever is in the tables.  What leads to the same state for the same reason shares a lane.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from smtpproto.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Helo,
    Mail,
    Rcpt,
    Rset,
)
from smtpproto.states import TRANSITIONS, Kind, LastBdat, State, TlsHandshake

SIZE: Final = 13
PITCH: Final = 0.61 * SIZE
"""The width of a character of a font with fixed pitch; those of words are no wider on the average."""
LINE: Final = 17
MARGIN: Final = 8
PORT: Final = 16
"""Between two lines that meet the same side of a box."""
ROOM: Final = 26
"""For an arrow between two boxes, beside its label."""
WORDS: Final = 26
"""Characters in a line of words."""


class Box(NamedTuple):
    """A rectangle: of a state, or of what a label covers."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


class Text(NamedTuple):
    """Lines of text, from the top left of what they cover."""

    box: Box
    lines: tuple[str, ...]
    right: bool = False
    """They end at the right of the box."""


class Line(NamedTuple):
    """A polyline; the last point may have an arrow."""

    points: tuple[tuple[float, float], ...]
    arrow: bool = False


# What is drawn --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Diagram:
    """Which states, in which order, and which commands."""

    title: str
    order: tuple[State | str, ...]
    """The name of a group stands for its states."""
    groups: Mapping[str, tuple[State, ...]] = field(default_factory=dict[str, tuple[State, ...]])
    kinds: frozenset[Kind] | None = None
    """None: all that lead anywhere."""

    def node_of(self, state: State) -> State | str | None:
        """What stands for a state; None: nothing."""
        found = next((name for name, states in self.groups.items() if state in states), state)
        return found if found in self.order else None


TRANSACTION: Final = (State.MAIL, State.RCPT, State.DATA, State.BDAT, State.FAILED)
DIAGRAMS: Final[Mapping[str, Diagram]] = {
    "connection": Diagram(
        "the states of a connection",
        (
            State.START,
            State.GREETED,
            State.READY,
            State.TLS,
            State.AUTH,
            "mail transaction",
            State.REFUSED,
            State.CLOSED,
        ),
        {"mail transaction": TRANSACTION},
    ),
    "transaction": Diagram(
        "the states of a mail transaction",
        (State.READY, *TRANSACTION),
        kinds=frozenset({Mail, Rcpt, Data, EndOfData, Bdat, LastBdat, Rset, Ehlo, Helo}),
    ),
    "authentication": Diagram(
        "the states of authentication", (State.READY, State.AUTH), kinds=frozenset({Auth, AuthResponse})
    ),
}

NAMES: Final[Mapping[Kind, str]] = {
    Connect: "greeting",
    EndOfData: "final dot",
    AuthResponse: "response",
    TlsHandshake: "TLS is up",
}


def name_of(kind: Kind) -> str:
    """How a command is called in a diagram."""
    return NAMES.get(kind) or kind.verb


def quiet_kinds() -> frozenset[Kind]:
    """The commands that lead nowhere, from whatever state."""
    rows = [(state, kind, row) for state, kinds in TRANSITIONS.items() for kind, row in kinds.items()]
    return frozenset(kind for _, kind, _ in rows) - {
        kind for state, kind, row in rows if any(after is not state for after in row.values())
    }


class Reason(NamedTuple):
    """Commands, and the replies to them that lead somewhere."""

    names: tuple[str, ...]
    replies: tuple[int, ...]

    @property
    def label(self) -> str:
        if self.names == (NAMES[TlsHandshake],):
            return self.names[0]  # nobody says anything to it
        digits = [str(reply) for reply in self.replies if reply < 10]
        replies = [
            *(["/".join(digits) + "yz"] if digits else []),
            *(str(reply) for reply in self.replies if reply >= 10),
        ]
        return f"{', '.join(self.names)}: {', '.join(replies)}"


Node = State | str
Edges = dict[tuple[Node, Node], list[Reason]]


def edges_of(diagram: Diagram) -> Edges:
    """What leads from one to another, or back to itself."""
    kinds = diagram.kinds or frozenset(kind for rows in TRANSITIONS.values() for kind in rows) - quiet_kinds()
    found: dict[tuple[Node, Node], dict[Kind, set[int]]] = {}
    for state, rows in TRANSITIONS.items():
        here = diagram.node_of(state)
        for kind, row in rows.items():
            for reply, after in row.items():
                there = diagram.node_of(after)
                inside = isinstance(here, str) and here == there
                if kind in kinds and here is not None and there is not None and not inside:
                    found.setdefault((here, there), {}).setdefault(kind, set()).add(reply)
    return {between: list(_reasons(each)) for between, each in found.items()}


def _reasons(replies_to: Mapping[Kind, set[int]]) -> Iterator[Reason]:
    """Commands whose replies mean the same belong together."""
    together: dict[tuple[int, ...], list[str]] = {}
    for kind, found in replies_to.items():
        together.setdefault(tuple(sorted(found)), []).append(name_of(kind))
    for replies, names in together.items():
        yield Reason(tuple(names), replies)


# Where it is drawn ----------------------------------------------------------------------------------------------------


@dataclass
class Lane:
    """From some states to another, beside the column."""

    sources: tuple[int, ...]
    target: int
    label: tuple[str, ...]

    @property
    def down(self) -> bool:
        return self.target > self.sources[0]

    @property
    def span(self) -> tuple[int, int]:
        every = (*self.sources, self.target)
        return min(every), max(every)


@dataclass
class Layout:
    """Everything at its place."""

    boxes: dict[Node, Box] = field(default_factory=dict[Node, Box])
    inside: list[Text] = field(default_factory=list[Text])
    """What stands in the boxes; the first line of each is the name of its state."""
    labels: list[Text] = field(default_factory=list[Text])
    lines: list[Line] = field(default_factory=list[Line])
    dots: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    width: float = 0
    height: float = 0


def width_of(lines: Iterable[str]) -> float:
    return max((len(line) for line in lines), default=0) * PITCH


def wrapped(label: str, width: int) -> tuple[str, ...]:
    return tuple(textwrap.wrap(label, width, break_long_words=False, break_on_hyphens=False))


def lay_out(diagram: Diagram, edges: Edges) -> Layout:
    """States in a column, lanes at both sides of it."""
    order = diagram.order
    straight, lanes = _sorted_out(order, edges)
    texts = [_text_of(node, diagram, edges.get((node, node), [])) for node in order]
    right, left = ([lane for lane in lanes if lane.down is down] for down in (True, False))
    right_columns, left_columns = _columns(right), _columns(left)
    inner = max(*(width_of(text) for text in texts), *(2 * width_of(each) + 20 for each in straight.values())) + 24
    room = {
        down: max((width_of(lane.label) + 12 for lane in each), default=0)
        for down, each in ((True, right), (False, left))
    }
    x = MARGIN + len(left_columns) * PORT + room[False]
    layout = Layout(width=x + inner + room[True] + len(right_columns) * PORT + MARGIN)
    ports = _place_states(layout, order, texts, straight, lanes, x, inner)
    for place, column in enumerate(right_columns):
        for lane in column:
            _draw_lane(layout, lane, x + inner + room[True] + place * PORT, x + inner, ports)
    for place, column in enumerate(left_columns):
        for lane in column:
            _draw_lane(layout, lane, x - room[False] - place * PORT, x, ports)
    return layout


def _sorted_out(order: Sequence[Node], edges: Edges) -> tuple[dict[int, tuple[str, ...]], list[Lane]]:
    """The arrows to the next state, by the gap that they cross; and all others in lanes."""
    straight: dict[int, tuple[str, ...]] = {}
    shared: dict[tuple[int, bool, Reason], list[int]] = {}
    for (here, there), reasons in edges.items():
        source, target = order.index(here), order.index(there)
        if target == source + 1:
            straight[source] = tuple(line for reason in reasons for line in wrapped(reason.label, 12))
        elif target != source:
            for reason in reasons:
                shared.setdefault((target, target > source, reason), []).append(source)
    together: dict[tuple[tuple[int, ...], int], list[Reason]] = {}
    for (target, _, reason), sources in shared.items():
        together.setdefault((tuple(sorted(sources)), target), []).append(reason)
    lanes = [
        Lane(sources, target, tuple(line for reason in reasons for line in wrapped(reason.label, 13)))
        for (sources, target), reasons in together.items()
    ]
    return straight, sorted(lanes, key=lambda lane: (lane.span[1] - lane.span[0], lane.span))


def _text_of(node: Node, diagram: Diagram, loops: Sequence[Reason]) -> tuple[str, ...]:
    """Its name, what it means, and what leaves it as it is."""
    words = node.value if isinstance(node, State) else ", ".join(state.name for state in diagram.groups[node])
    name = node.name if isinstance(node, State) else node
    stays = [line for loop in loops for line in textwrap.wrap(f"↻ {loop.label}", WORDS, subsequent_indent="  ")]
    return (name, *wrapped(words, WORDS), *stays)


def _columns(lanes: Iterable[Lane]) -> list[list[Lane]]:
    """Lanes that do not meet may stand in one column; the short ones are inside."""
    columns: list[list[Lane]] = []
    for lane in lanes:
        low, high = lane.span
        free = (each for each in columns if all(high < other.span[0] or other.span[1] < low for other in each))
        column = next(free, None)
        if column is None:
            columns.append([lane])
        else:
            column.append(lane)
    return columns


Ports = dict[tuple[int, int], float]
"""Where, on the side of a state, a lane meets it: by the index of the state, and the identity of the lane."""


def _place_states(
    layout: Layout,
    order: Sequence[Node],
    texts: Sequence[tuple[str, ...]],
    straight: Mapping[int, tuple[str, ...]],
    lanes: Sequence[Lane],
    x: float,
    width: float,
) -> Ports:
    ports: Ports = {}
    y: float = MARGIN
    middle = x + width / 2
    for number, (node, text) in enumerate(zip(order, texts, strict=True)):
        sides = [_in_order(number, [lane for lane in lanes if lane.down is down]) for down in (True, False)]
        height = max(len(text) * LINE + 14, *(sum(_height_at(number, lane) for lane in side) + 8 for side in sides))
        layout.boxes[node] = Box(x, y, width, height)
        layout.inside.append(Text(Box(x + 12, y + (height - len(text) * LINE) / 2, width - 24, len(text) * LINE), text))
        for side in sides:
            port = y + (height - sum(_height_at(number, lane) for lane in side)) / 2 - 3
            for lane in side:
                port += _height_at(number, lane)
                ports[number, id(lane)] = port
        y += height
        label = straight.get(number, ())
        if number + 1 < len(order):
            room = len(label) * LINE + ROOM
            if label:
                layout.lines.append(Line(((middle, y), (middle, y + room)), arrow=True))
                layout.labels.append(label_at(label, middle + 8, y + room / 2 - 3))
            y += room
    layout.height = y + MARGIN
    return ports


def _in_order(number: int, lanes: Sequence[Lane]) -> list[Lane]:
    """Those that meet a side of a state, from the top, so that they cross as few others as can be.

    ``lanes`` are those of one side of the column, the inner ones first.
    """
    arriving = [lane for lane in lanes if lane.target == number]
    leaving = [lane for lane in lanes if number in lane.sources]
    downwards = [*arriving, *reversed(leaving)]
    return downwards if lanes and lanes[0].down else downwards[::-1]


def _height_at(number: int, lane: Lane) -> float:
    """What a lane needs at the side of a state: its label stands at each source."""
    return len(lane.label) * LINE + 6 if number in lane.sources else PORT


def label_at(lines: tuple[str, ...], x: float, middle: float, *, right: bool = False) -> Text:
    width, height = width_of(lines), len(lines) * LINE
    return Text(Box(x - width if right else x, middle - height / 2, width, height), lines, right)


def _draw_lane(layout: Layout, lane: Lane, x: float, side: float, ports: Ports) -> None:
    end = ports[lane.target, id(lane)]
    starts = [ports[source, id(lane)] for source in lane.sources]
    far = min(starts) if lane.down else max(starts)
    layout.lines.append(Line(((side, far), (x, far), (x, end), (side, end)), arrow=True))
    for start in starts:
        middle = start - len(lane.label) * LINE / 2 - 2
        layout.labels.append(label_at(lane.label, side + 6 if lane.down else side - 6, middle, right=not lane.down))
        if start != far:
            layout.lines.append(Line(((side, start), (x, start))))
            layout.dots.append((x, start))
