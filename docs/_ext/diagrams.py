"""Diagrams that are made from the code: the states from the tables, the handshakes from what the engine does.

In the pages they stand as directives: state-diagram, with one of DIAGRAMS as its argument, handshake-diagram, with one
of HANDSHAKES, and left-out.  Where states stand says `state_layout`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import smtpproto.connect
import smtpproto.states
from docs._ext import state_layout
from docs._ext.state_layout import (
    DIAGRAMS,
    LINE,
    MARGIN,
    SIZE,
    Box,
    Diagram,
    Line,
    Text,
    edges_of,
    label_at,
    lay_out,
    name_of,
    quiet_kinds,
    width_of,
)
from smtpproto import ConnectOptions, Connector, Security, Service, ServiceSession, UnknownCommand, flows, testing

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

    from smtpproto import Event

MONO: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
SANS: Final = "inherit"


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
                content += drawn_text(label_at(lines, left - 12, y, right=True))
                content.append(f'<circle cx="{left:.1f}" cy="{y:.1f}" r="3" fill="currentColor"/>')
                y += LINE + 4
            case "tls":
                y += 4
                secured = y
                content += drawn_text(label_at(lines, left + 20, y + LINE * 0.7))
                y += LINE + 8
                content += drawn_line(Line(((right - 1, y), (left + 1, y)), arrow=True))
                content += drawn_line(Line(((left + 1, y), (right - 1, y)), arrow=True))
                y += LINE
            case _:
                ends = ((left + 1, 0.0), (right - 1, 0.0))
                start, end = ends if step.what == "client" else ends[::-1]
                content += drawn_text(label_at(lines, left + 20, y + (len(lines) * LINE) / 2))
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
        band += drawn_text(label_at((who,), x - width_of([who]) / 2, MARGIN + LINE / 2), name_first=True)
    title = f"Sequence of a connection {TITLES[name]}: " + "; ".join(
        f"{step.what} {step.text.splitlines()[0]}" for step in steps
    )
    return svg(right + 40, y + MARGIN, title, [*band, *content], least=340)


# In the pages ---------------------------------------------------------------------------------------------------------


class Drawn(SphinxDirective):
    """A page with it is made again where this file has changed, or what it draws."""

    def note_sources(self) -> None:
        for source in (__file__, state_layout.__file__, smtpproto.states.__file__, smtpproto.connect.__file__):
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
