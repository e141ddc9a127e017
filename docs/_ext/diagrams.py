"""Diagrams that are made from the code: the states from the tables, the handshakes from what the engine does.

In the pages they stand as directives: state-diagram, with one of DIAGRAMS as its argument, and handshake-diagram, with
one of HANDSHAKES.

How states are laid out.  They stand below each other, in the order that a diagram gives.  What leads to the next one is
an arrow between the two; what leads further down goes by a lane on the right, what leads up by one on the left.  Each
line has its own height at a box, and its label stands above it there, between the box and the first lane: so nothing
can overlap, whatever is in the tables.  What leads to the same state for the same reason shares a lane.
"""

from __future__ import annotations

import textwrap
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import smtpproto.connect
import smtpproto.states
from smtpproto import ConnectOptions, Connector, Security, Service, ServiceSession, flows, testing
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
    UnknownCommand,
)
from smtpproto.states import TRANSITIONS, Kind, LastBdat, State, TlsHandshake

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

    from smtpproto import Event

MONO: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
SANS: Final = "inherit"
SIZE: Final = 13
PITCH: Final = 0.61 * SIZE
"""The width of a character of MONO, and no character of the words is wider on the average."""
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
                layout.labels.append(_label(label, middle + 8, y + room / 2 - 3))
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


def _label(lines: tuple[str, ...], x: float, middle: float, *, right: bool = False) -> Text:
    width, height = width_of(lines), len(lines) * LINE
    return Text(Box(x - width if right else x, middle - height / 2, width, height), lines, right)


def _draw_lane(layout: Layout, lane: Lane, x: float, side: float, ports: Ports) -> None:
    end = ports[lane.target, id(lane)]
    starts = [ports[source, id(lane)] for source in lane.sources]
    far = min(starts) if lane.down else max(starts)
    layout.lines.append(Line(((side, far), (x, far), (x, end), (side, end)), arrow=True))
    for start in starts:
        middle = start - len(lane.label) * LINE / 2 - 2
        layout.labels.append(_label(lane.label, side + 6 if lane.down else side - 6, middle, right=not lane.down))
        if start != far:
            layout.lines.append(Line(((side, start), (x, start))))
            layout.dots.append((x, start))


# How it is drawn ------------------------------------------------------------------------------------------------------


def svg(width: float, height: float, title: str, content: Iterable[str], *, least: float = 400) -> str:
    """In the colours of the page, light or dark; where the page is narrower than the least width, it can be moved."""
    label, size = escape(title, quote=True), f"{width:.0f} {height:.0f}"
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "role": "img",
        "aria-label": label,
        "width": f"{width:.0f}",
        "height": f"{height:.0f}",
        "viewBox": f"0 0 {size}",
        "fill": "none",
        "stroke": "currentColor",
        "font-size": str(SIZE),
        "style": f"display: block; margin: 0 auto; max-width: 100%; min-width: {min(width, least):.0f}px; height: auto",
    }
    named = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return "\n".join(
        [
            '<div style="overflow-x: auto; margin: 1rem 0">',
            f"<svg {named}>",
            *content,
            "</svg>",
            "</div>",
        ]
    )


def drawn_text(text: Text, *, name_first: bool = False) -> Iterator[str]:
    box = text.box
    for number, line in enumerate(text.lines):
        x = box.x + box.width if text.right else box.x
        anchor = ' text-anchor="end"' if text.right else ""
        words = name_first and number and not line.startswith(("↻", " "))
        font = f'font-family="{SANS}"' if words else f'font-family="{MONO}"'
        weight = ' font-weight="bold"' if name_first and not number else ""
        opacity = ' opacity="0.75"' if words else ""
        y = box.y + number * LINE + SIZE
        yield (
            f'<text x="{x:.1f}" y="{y:.1f}"{anchor} {font}{weight}{opacity} fill="currentColor" stroke="none"'
            f' xml:space="preserve">{escape(line)}</text>'
        )


def drawn_line(line: Line, *, dashed: bool = False) -> Iterator[str]:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line.points)
    dashes = ' stroke-dasharray="4 4"' if dashed else ""
    yield f'<polyline points="{points}"{dashes}/>'
    if line.arrow:
        (before, _), (x, y) = line.points[-2:]
        back = -7 if x > before else 7
        tips = [(x - 4, y - 7), (x + 4, y - 7)] if x == before else [(x + back, y - 4), (x + back, y + 4)]
        corners = " ".join(f"{a:.1f},{b:.1f}" for a, b in [(x, y), *tips])
        yield f'<polygon points="{corners}" fill="currentColor"/>'


def drawn_box(box: Box, style: str) -> str:
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    return f'<rect {place} fill="currentColor" {style}/>'


def state_svg(diagram: Diagram) -> str:
    """A diagram of states."""
    layout = lay_out(diagram, edges_of(diagram))
    content = [drawn_box(box, 'rx="8" fill-opacity="0.05"') for box in layout.boxes.values()]
    for line in layout.lines:
        content += drawn_line(line)
    content += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="currentColor"/>' for x, y in layout.dots]
    for text in layout.inside:
        content += drawn_text(text, name_first=True)
    for text in layout.labels:
        content += drawn_text(text)
    return svg(layout.width, layout.height, f"Diagram: {diagram.title}", content)


# Handshakes -----------------------------------------------------------------------------------------------------------

HANDSHAKES: Final[Mapping[str, Security]] = {
    "none": Security.NONE,
    "starttls": Security.REQUIRED,
    "implicit": Security.IMPLICIT,
}
TITLES: Final = {"none": "without TLS", "starttls": "with STARTTLS", "implicit": "with implicit TLS"}


class Step(NamedTuple):
    """Something that happened: ``client`` or ``server`` said it, ``tls`` was negotiated, or an ``event`` came of it."""

    what: str
    text: str


def handshake(security: Security) -> list[Step]:
    """What the engine does: a `Connector` against a server, in memory."""
    steps: list[Step] = []

    def watch(event: Event) -> None:
        steps.append(Step("event", type(event).__name__))

    implicit = security is Security.IMPLICIT
    options = ConnectOptions(host="mx.example", security=security, client_name="me.example")
    service = Service("mx.example", starttls=security is Security.REQUIRED)
    client = flows.connect(Connector(options), watch)
    server = flows.serve(ServiceSession(service, secure=implicit), implicit_tls=implicit)
    testing.link(_overheard(client, "client", steps), _overheard(server, "server", steps))
    return steps[: max(number for number, step in enumerate(steps) if step.what == "event") + 1]


def _overheard(flow: flows.Flow[Any], who: str, steps: list[Step]) -> Generator[flows.Effect, Any, Any]:
    """The same flow; what it sends, and where TLS is, is noted."""
    answer: Any = None
    try:
        effect = next(flow)
        while True:
            if isinstance(effect, flows.Send):
                steps.append(Step(who, bytes(effect.data).decode().rstrip()))
            try:
                answer = yield effect
            except Exception as error:
                effect = flow.throw(error)
                continue
            if isinstance(effect, flows.StartTls) and who == "client":
                steps.append(Step("tls", "TLS handshake"))
            effect = flow.send(answer)
    except StopIteration as stop:
        return stop.value
    finally:
        flow.close()


EVENTS_WIDE: Final = 130
"""For the names of the events, at the left of the client."""


def handshake_svg(name: str) -> str:
    """A sequence diagram: who said what, and which events the client got."""
    steps = handshake(HANDSHAKES[name])
    left, y = MARGIN + EVENTS_WIDE, MARGIN + 2.0 * LINE
    right = left + width_of([line for step in steps for line in step.text.split("\r\n")]) + 40
    content: list[str] = []
    secured: float | None = None
    for step in steps:
        lines = tuple(step.text.split("\r\n"))
        match step.what:
            case "event":
                content += drawn_text(_label(lines, left - 12, y, right=True))
                content.append(f'<circle cx="{left:.1f}" cy="{y:.1f}" r="3" fill="currentColor"/>')
                y += LINE + 4
            case "tls":
                y += 4
                secured = y
                content += drawn_text(_label(lines, left + 20, y + LINE * 0.7))
                y += LINE + 8
                content += drawn_line(Line(((right - 1, y), (left + 1, y)), arrow=True))
                content += drawn_line(Line(((left + 1, y), (right - 1, y)), arrow=True))
                y += LINE
            case _:
                ends = ((left + 1, 0.0), (right - 1, 0.0))
                start, end = ends if step.what == "client" else ends[::-1]
                content += drawn_text(_label(lines, left + 20, y + (len(lines) * LINE) / 2))
                y += len(lines) * LINE + 5
                content += drawn_line(Line(((start[0], y), (end[0], y)), arrow=True))
                y += LINE
    top = MARGIN + 1.5 * LINE
    band: list[str] = []
    if secured is not None:
        box = Box(left, secured, right - left, y - secured)
        band.append(drawn_box(box, 'stroke="none" fill-opacity="0.07"'))
    for x, who in ((left, "client"), (right, "server")):
        band += drawn_line(Line(((x, top), (x, y))))
        band += drawn_text(_label((who,), x - width_of([who]) / 2, MARGIN + LINE / 2), name_first=True)
    title = f"Sequence of a connection {TITLES[name]}: " + "; ".join(
        f"{step.what} {step.text.splitlines()[0]}" for step in steps
    )
    return svg(right + 40, y + MARGIN, title, [*band, *content], least=340)


# In the pages ---------------------------------------------------------------------------------------------------------


class Drawn(SphinxDirective):
    """A page with it is made again where this file has changed, or what it draws."""

    def note_sources(self) -> None:
        for source in (__file__, smtpproto.states.__file__, smtpproto.connect.__file__):
            self.env.note_dependency(source)


class StateDiagram(Drawn):
    """With the name of one of DIAGRAMS as its argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.note_sources()
        return [nodes.raw("", state_svg(DIAGRAMS[self.arguments[0]]), format="html")]


class HandshakeDiagram(Drawn):
    """With the name of one of HANDSHAKES as its argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.note_sources()
        return [nodes.raw("", handshake_svg(self.arguments[0]), format="html")]


class LeftOut(SphinxDirective):
    """The commands that lead nowhere, and are in no diagram."""

    def run(self) -> list[nodes.Node]:
        names = ", ".join(sorted(name_of(kind) for kind in quiet_kinds() - {UnknownCommand}))
        return self.parse_text_to_nodes(
            f"Left out are the commands that lead nowhere, in whatever state: {names}; and what is not known here."
        )


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("state-diagram", StateDiagram)
    app.add_directive("handshake-diagram", HandshakeDiagram)
    app.add_directive("left-out", LeftOut)
    return {"parallel_read_safe": True}
