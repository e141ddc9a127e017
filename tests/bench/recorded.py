"""What `python -m tests.bench --record` has found, once for each Python: the page on speed and the README quote it.

`python -m tests.bench.recorded` writes the README's part again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .harness import Figure, Target
from .rows import AIOSMTPD, AIOSMTPLIB, REGISTRY, SMTPLIB
from .verdict import Verdict, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE: Final = Path(__file__).parent
FIGURES: Final = HERE / "figures"
README: Final = HERE.parents[1] / "README.md"
BEGIN: Final = "<!-- Written by `python -m tests.bench --record`, and so not to be edited. -->"
END: Final = "<!-- As far as here. -->"
PEERS: Final = (SMTPLIB, AIOSMTPLIB, AIOSMTPD, REGISTRY)
"""What else a program would use, each with a column in the README."""
CLAIMED: Final = (
    "pipelined-replies",
    "single-replies",
    "ehlo",
    "client-session",
    "stuffing-text",
    "stuffing-base64-crlf",
    "unstuffing",
    "server-session",
    "server-flow",
    "network",
    "network-far",
    "import",
)
"""The rows that the README has, whether they look good or not."""

Results = dict[str, Any]
"""As it stands in the JSON: see `Bench.results`."""


def version_of(results: Results) -> str:
    """The Python's, without its last part."""
    python: str = results["machine"]["python"]
    return python.rpartition(".")[0]


def record(results: Results) -> None:
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / f"{version_of(results)}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def read() -> dict[str, Results]:
    """By the version of Python, the newest first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in FIGURES.glob("*.json")]
    return {version_of(each): each for each in sorted(found, key=_age, reverse=True)}


def _age(results: Results) -> tuple[int, ...]:
    return tuple(map(int, version_of(results).split(".")))


def figures(row: Mapping[str, Any]) -> dict[str, Figure]:
    return {who: Figure(**found) for who, found in row["figures"].items()}


def verdicts(row: Mapping[str, Any]) -> Iterator[Verdict]:
    for each in row["targets"]:
        yield Verdict(Target(each["against"], each["kind"], each["factor"]), each["found"], each["reached"])


def not_reached(results: Results) -> set[str]:
    """The ids of the rows of which some target was not reached."""
    return {row["id"] for row in results["rows"] if any(each.reached is False for each in verdicts(row))}


# What the README says ------------------------------------------------------------------------------------------------


def claims() -> str:
    """The README's table: how many times as long as ours each of the others takes, in the newest Python."""
    version, results = next(iter(read().items()))
    rows = {row["id"]: row for row in results["rows"]}
    lines = [["", *PEERS], ["---", *("---:" for _ in PEERS)]]
    for row in (rows[each] for each in CLAIMED):
        found = figures(row)
        lines.append([row["name"], *(_times(found.get(peer)) for peer in PEERS)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    known = [each for row in results["rows"] for each in verdicts(row) if each.reached is not None]
    reached = sum(each.reached is True for each in known)
    return (
        f"How many times as long as ours each of them takes for the same, on CPython {version}, side by side in one\n"
        f"run on one machine; {reached} of the {len(known)} targets that we have set ourselves are reached, and\n"
        f"[the page on speed](docs/speed.md) has them all, with the reasons for the rest:\n\n{table}"
    )


def _times(figure: Figure | None) -> str:
    return "" if figure is None else number(figure.ratio)


def in_readme(text: str) -> tuple[str, str, str]:
    """What stands before the claims, the claims, and what stands behind them."""
    before, begin, rest = text.partition(f"{BEGIN}\n\n")
    block, end, after = rest.partition(f"\n\n{END}")
    assert begin, f"the README has no line {BEGIN}"
    assert end, f"the README has no line {END}"
    return before + begin, block, end + after


def write_readme() -> None:
    before, _, after = in_readme(README.read_text(encoding="utf-8"))
    README.write_text(before + claims() + after, encoding="utf-8")


if __name__ == "__main__":
    write_readme()
