"""The tables and plots of the page on speed, made from what `make bench` has recorded.

In the page they stand as directives: speed-rows, speed-instructions, speed-scale, speed-connections and speed-machines,
which have all the Pythons that were measured, and speed-bars and speed-curves (plots of the newest).
"""

# matplotlib's types are not complete.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from docutils import nodes
from matplotlib.figure import Figure as Canvas
from sphinx.util.docutils import SphinxDirective

from docs._ext.from_code import FromCode, table
from tests.bench import recorded
from tests.bench.harness import OURS
from tests.bench.memory import H11
from tests.bench.network import INTERPRETER, RAW, SOURCE
from tests.bench.rows import AIOSMTPD, AIOSMTPLIB, COUNT, MEMCPY, REGISTRY, SMTPLIB, SPLIT
from tests.bench.verdict import amount, number, scale

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

TEXT: Final = "#010203"
"""A colour that nothing else has: in the page it is that of the text, be it light or dark."""
COLOURS: Final[dict[str, str]] = dict(
    zip(
        (SMTPLIB, AIOSMTPLIB, AIOSMTPD, REGISTRY, H11, SOURCE, RAW, INTERPRETER, SPLIT, COUNT, MEMCPY),
        ("#d97732", "#4a9d5b", "#b85c8e", "#8a78c2", "#4fa3a5", "#9a8450", *5 * ("#8c9197",)),
        strict=True,
    )
)
"""Each has its own in all plots; those that are limits are grey."""
OURS_COLOUR: Final = "#3b82c4"
LINE_COLOUR: Final = "#d97732"
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "smtpproto",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), TEXT),
}


# Tables --------------------------------------------------------------------------------------------------------------


class Recorded(FromCode):
    """What is made of the record, and made again with it."""

    reads = tuple(recorded.FIGURES.glob("*.json"))


class Rows(Recorded):
    """Each row of the bench, with its targets and their verdicts, on each Python."""

    def markdown(self) -> str:
        results = recorded.read()
        return table(("what", "for one", "who", *(f"CPython {each}" for each in results)), self.rows(results))

    def rows(self, results: Mapping[str, recorded.Results]) -> Iterator[tuple[str, ...]]:
        by_python = [{row["id"]: row for row in each["rows"]} for each in results.values()]
        for name, row in by_python[0].items():
            same = [each.get(name) for each in by_python]
            first, unit = f"**{row['name']}**", row["unit"]
            for who in row["figures"]:
                yield first, unit, who, *(self.figure(each, who) for each in same)
                first = unit = ""
            for index, target in enumerate(recorded.verdicts(row)):
                yield (
                    "",
                    "",
                    f"*target: {target.wanted(row['quantity'])}*",
                    *(self.verdict(each, index) for each in same),
                )

    @staticmethod
    def figure(row: Mapping[str, Any] | None, who: str) -> str:
        if row is None or who not in row["figures"]:
            return ""
        figure = recorded.figures(row)[who]
        own = amount(figure.median, row["quantity"])
        return own if who == OURS else f"{own}, x {number(figure.ratio)}"

    @staticmethod
    def verdict(row: Mapping[str, Any] | None, index: int) -> str:
        if row is None:
            return ""
        found = list(recorded.verdicts(row))[index]
        if found.found is None:
            return "not known"
        came_to = found.came_to(row["quantity"]).partition(" x ")[0]
        return f"{'reached' if found.reached else '**not reached**'}: {came_to}"


class Instructions(Recorded):
    """What callgrind has counted."""

    def markdown(self) -> str:
        results = recorded.read()
        rows = [
            (row["name"], row["unit"], who, *(self.counted(each, row["id"], who) for each in results.values()))
            for row in next(iter(results.values()))["rows"]
            for who in row.get("instructions", ())
        ]
        return table(("what", "for one", "who", *(f"CPython {each}" for each in results)), rows)

    @staticmethod
    def counted(results: recorded.Results, wanted: str, who: str) -> str:
        [row] = [each for each in results["rows"] if each["id"] == wanted]
        return f"{row.get('instructions', {}).get(who, 0):,.0f}"


class Scale(Recorded):
    """The big runs."""

    def markdown(self) -> str:
        results = recorded.read()
        found = [{each["id"]: each for each in one["scale"]} for one in results.values()]
        rows = (
            (each["name"], *(f"{number(one[name]['value'])} {one[name]['unit']}" for one in found))
            for name, each in found[0].items()
        )
        return table(("what", *(f"CPython {each}" for each in results)), rows)


class Machines(Recorded):
    """On what it was measured."""

    def markdown(self) -> str:
        machines = [each["machine"] for each in recorded.read().values()]
        rows = (
            (f"CPython {each['python']}", each["processor"], str(each["cores"]), each["system"]) for each in machines
        )
        return table(("Python", "processor", "cores", "system"), rows)


# Plots ---------------------------------------------------------------------------------------------------------------


class Plot(SphinxDirective):
    """A plot of the newest Python that was measured, as SVG within the page: so its text is the page's."""

    def run(self) -> list[nodes.Node]:
        for file in (__file__, *Recorded.reads):
            self.env.note_dependency(str(file))
        with mpl.rc_context(STYLE):
            canvas = self.drawn(next(iter(recorded.read().values())))
            written = io.StringIO()
            canvas.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        svg = written.getvalue()
        svg = svg[svg.index("<svg") :].replace(TEXT, "currentColor")
        label = f'<svg role="img" aria-label="{self.label()}" style="max-width: 100%; height: auto"'
        return [nodes.raw("", f'<div class="plot">{svg.replace("<svg", label, 1)}</div>', format="html")]

    def drawn(self, results: recorded.Results) -> Canvas:
        raise NotImplementedError

    def label(self) -> str:
        raise NotImplementedError


class Bars(Plot):
    """How many times as long as ours the others take: the ids of the rows are the content."""

    has_content = True

    def label(self) -> str:
        return "bars: how many times as long (as much) as ours each of the others takes, as in the table"

    def drawn(self, results: recorded.Results) -> Canvas:
        rows = {row["id"]: row for row in results["rows"]}
        chosen = [rows[each.strip()] for each in self.content if each.strip()]
        bars = sum(len(row["figures"]) - 1 for row in chosen)
        canvas = Canvas(figsize=(8, 0.6 + 0.26 * bars + 0.34 * len(chosen)), layout="constrained")
        axes = canvas.subplots()
        place = 0.0
        for row in chosen:
            axes.text(0, place, f" {row['name']}", transform=axes.get_yaxis_transform(), va="center", weight="bold")
            place += 1
            for who, figure in recorded.figures(row).items():
                if who == OURS:
                    continue
                ratio = figure.ratio
                axes.barh(place, ratio - 1, left=1, height=0.8, color=COLOURS[who])
                axes.text(max(ratio, 1), place, f" {who} x {number(ratio)}", va="center")
                place += 1
        axes.set_xscale("log")
        axes.axvline(1, color=TEXT, linewidth=1)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("times as long as ours: bars to the right are slower than ours, those to the left faster")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.invert_yaxis()
        axes.margins(x=0.3, y=0.01)
        return canvas


class Curves(Plot):
    """Cost against size, with the straight line through what the largest has cost."""

    columns = 2

    def label(self) -> str:
        return "curves: cost against size, each with a straight line"

    def drawn(self, results: recorded.Results) -> Canvas:
        curves = [each for each in results["scaling"] if each["size"] != "connections"]
        lines = -(-len(curves) // self.columns)
        canvas = Canvas(figsize=(8, 2.5 * lines), layout="constrained")
        grid = canvas.subplots(lines, self.columns, squeeze=False)
        for axes in grid.flat[len(curves) :]:
            axes.set_visible(False)
        for axes, curve in zip(grid.flat, curves, strict=False):
            self.draw(axes, curve)
        return canvas

    @staticmethod
    def draw(axes: Any, curve: Mapping[str, Any]) -> None:
        sizes = [size for size, _ in curve["points"]]
        size, unit = scale(curve["points"][-1][1], "ns")
        costs = [cost / size for _, cost in curve["points"]]
        size_scale, size_unit = (1e6, "MB") if curve["size"] == "octets" else (1, curve["size"])
        places = [size / size_scale for size in sizes]
        axes.plot([0, places[-1]], [0, costs[-1]], "--", color=LINE_COLOUR, linewidth=1)
        axes.plot(places, costs, "o", color=OURS_COLOUR, markersize=5)
        axes.set_title(curve["name"], fontsize=10)
        axes.set_xlabel(size_unit)
        axes.set_ylabel(f"{unit} for one {curve['unit']}")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)


class Connections(Recorded):
    """How much goes through as connections grow."""

    def markdown(self) -> str:
        results = recorded.read()
        rows = [
            (each["name"], f"{count:,}", *(self.throughput(one, each["id"], index) for one in results.values()))
            for each in next(iter(results.values()))["scaling"]
            if each["size"] == "connections"
            for index, (count, _) in enumerate(each["points"])
        ]
        return table(("what", "connections", *(f"messages per second, CPython {each}" for each in results)), rows)

    @staticmethod
    def throughput(results: recorded.Results, wanted: str, index: int) -> str:
        [curve] = [each for each in results["scaling"] if each["id"] == wanted]
        return number(1e9 / curve["points"][index][1])


def setup(app: Sphinx) -> ExtensionMetadata:
    directives: Iterable[tuple[str, type[SphinxDirective]]] = (
        ("speed-rows", Rows),
        ("speed-instructions", Instructions),
        ("speed-scale", Scale),
        ("speed-connections", Connections),
        ("speed-machines", Machines),
        ("speed-bars", Bars),
        ("speed-curves", Curves),
    )
    for name, directive in directives:
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
