"""The tables of the comparison, made from what `make compare` has recorded.

In the page they stand as directives: comparison, with a kind of probe as its argument, and comparison-versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs._ext.from_code import FromCode, table
from tests.comparison import recorded
from tests.comparison.rows import LIBRARIES, ROWS, is_asked, kinds_of, tried

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

    from tests.comparison.outcome import Outcome


class Comparison(FromCode):
    """What each library did in the probes of a kind, with a note for each row; the kind is the argument."""

    required_arguments = 1

    def markdown(self) -> str:
        [kind] = self.arguments
        results = recorded.read()
        libraries = [each for each in LIBRARIES if is_asked(each, kind)]
        lines: list[tuple[str, ...]] = []
        notes: list[str] = []
        for number, row in enumerate((row for row in ROWS if kind in kinds_of(row)), 1):
            found = {each: recorded.outcomes(results, each, row)[kind] for each in libraries}
            lines.append((f"{number}. {row.name}", *(found[each].mark for each in libraries)))
            notes.append(f"{number}. **{row.name}.** {tried(row, kind)} {self.told(found)}.")
        return "\n".join([table(("", *libraries), lines), "", *notes])

    @staticmethod
    def told(found: Mapping[str, Outcome]) -> str:
        """What came out, once for those of which it was the same."""
        who: dict[str, list[str]] = {}
        for library, outcome in found.items():
            who.setdefault(outcome.found, []).append(library)
        return "; ".join(f"*{', '.join(libraries)}*: {what}" for what, libraries in who.items())


class Versions(FromCode):
    """The sentence that says what was compared."""

    def markdown(self) -> str:
        return f"Recorded with {recorded.versions(recorded.read())}."


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("comparison", Comparison)
    app.add_directive("comparison-versions", Versions)
    return {"parallel_read_safe": True}
