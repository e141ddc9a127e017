"""Tables that are made from the code, so that they cannot say anything else.

In the pages the tables stand as directives: transitions, extensions, mechanisms, error-codes, limits, timeouts,
fixed-limits, conformance, conformance-summary, conformance-reasons, shown-by, public-modules, rooms, fuzz-targets,
mutation-score, mutation-rows, mutation-survivors, interoperation, interoperation-scenarios, interoperation-run.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import smtpproto.errors
import smtpproto.extensions
import smtpproto.limits
import smtpproto.sasl
import smtpproto.states
from smtpproto.sasl.choice import ONLY_BY_NAME
from tests import test_structure as structure
from tests.conformance import rules
from tests.interop import results
from tests.interop.table import KINDS
from tests.mutation import outcome
from tests.stability import public

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

ROOT = Path(__file__).parents[2]
RFC_EDITOR = "https://www.rfc-editor.org/rfc/rfc{}"
DATATRACKER = "https://datatracker.ietf.org/doc/html/{}"


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def linked(text: str) -> str:
    """Each citation in a text becomes a link to the place that it cites."""

    def link(found: re.Match[str]) -> str:
        if found["draft"]:
            return f"[{found[0]}]({DATATRACKER.format(found['draft'])})"
        address = RFC_EDITOR.format(found["rfc"])
        place = found["section"] or found["appendix"]
        kind = "section" if found["section"] else "appendix"
        return f"[{found[0]}]({address}{f'#{kind}-{place}' if place else ''})"

    number = r"[0-9A-Z]+(?:\.[0-9]+)*"
    return re.sub(
        rf"RFC (?P<rfc>[0-9]+)(?: section (?P<section>{number})| appendix (?P<appendix>{number}))?"
        r"|(?P<draft>draft(?:-[a-z0-9]+)+)",
        link,
        text,
    )


def attribute_docs(module: str, cls: str) -> dict[str, str]:
    """The docstrings of the attributes of a class, in the order in which they stand."""
    found = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {name: " ".join(lines).strip() for (owner, name), lines in found.items() if owner == cls}


def sources() -> Iterator[Path]:
    """Each file of the project that was imported, so that what is made from the code is made again with it."""
    for module in tuple(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and ROOT in Path(file).parents and ROOT / ".venv" not in Path(file).parents:
            yield Path(file)


class FromCode(SphinxDirective):
    """A directive whose content is Markdown that is made from the code.

    A page with it is made again where the code has changed, or one of the files that it reads.
    """

    reads: ClassVar[tuple[Path, ...]] = ()

    def run(self) -> list[nodes.Node]:
        for file in (*sources(), *self.reads):
            self.env.note_dependency(str(file))
        return self.parse_text_to_nodes(self.markdown())

    def markdown(self) -> str:
        raise NotImplementedError


class Transitions(FromCode):
    """With the name of the table in `states` as its argument."""

    required_arguments = 1

    def markdown(self) -> str:
        transitions: smtpproto.states.Table = getattr(smtpproto.states, self.arguments[0])
        return table(("state", "command", "reply", "next state"), self.rows(transitions))

    @staticmethod
    def rows(transitions: smtpproto.states.Table) -> Iterator[tuple[str, ...]]:
        for state, commands in transitions.items():
            first = f"**{state.name}**: {state.value}"
            for command, answers in commands.items():
                for digit, after in answers.items():
                    yield first, f"`{command.__name__}`", f"{digit}yz" if digit < 10 else str(digit), after.name
                    first = ""
            if not commands:
                yield first, "", "", ""


class Extensions(FromCode):
    def markdown(self) -> str:
        rows = (
            (
                f"`{row.keyword}`",
                linked(row.rfc),
                row.title,
                ", ".join(f"`{verb}`" for verb in row.commands),
                ", ".join(f"`{name}`" for name in row.parameters),
            )
            for row in smtpproto.extensions.EXTENSIONS.values()
        )
        return table(("keyword", "document", "meaning", "commands", "parameters"), rows)


class Mechanisms(FromCode):
    """The SASL mechanisms, the strongest first."""

    roles: Mapping[str, Collection[str]] = {
        "client": smtpproto.sasl.CLIENT_MECHANISMS,
        "server": smtpproto.sasl.SERVER_MECHANISMS,
    }

    def markdown(self) -> str:
        rows = (
            (
                f"`{row.name}`",
                linked(row.source),
                " and ".join(role for role, known in self.roles.items() if row.name in known),
                "yes" if row.binds_channel else "no",
                self.allowed(row),
            )
            for row in smtpproto.sasl.MECHANISMS
        )
        return table(("name", "document", "roles", "channel binding", "when it is allowed"), rows)

    @staticmethod
    def allowed(row: smtpproto.sasl.Description) -> str:
        if row.binds_channel:
            return "with a channel binding, which TLS has"
        if row.exposes_secret:
            return "under TLS; without it where the program allows that"
        if row.has_secret:
            return "under TLS; without it where TLS was not wanted, or the program allows that"
        return "always, where it is named" if row.name in ONLY_BY_NAME else "always"


class ErrorCodes(FromCode):
    def markdown(self) -> str:
        docs = attribute_docs("smtpproto.errors", "ErrorCode")
        rows = (
            (str(code.value), f"`{code.name}`", linked(docs.get(code.name, ""))) for code in smtpproto.errors.ErrorCode
        )
        return table(("number", "name", "meaning"), rows)


def _numbers(value: Any, cls: str, unit: str) -> str:
    docs = attribute_docs("smtpproto.limits", cls)
    rows = ((f"`{name}`", f"{getattr(value, name)}", linked(docs.get(name, ""))) for name in value.__match_args__)
    return table(("name", unit, "what, and why"), rows)


class LimitsTable(FromCode):
    def markdown(self) -> str:
        return _numbers(smtpproto.limits.DEFAULT_LIMITS, "Limits", "default")


class TimeoutsTable(FromCode):
    def markdown(self) -> str:
        return _numbers(smtpproto.limits.DEFAULT_TIMEOUTS, "Timeouts", "default, in seconds")


class FixedLimits(FromCode):
    """The numbers that are the same for everybody: constants, each with its docstring."""

    modules = (
        "smtpproto.limits",
        "smtpproto.commands.base",
        "smtpproto.commands.transaction",
        "smtpproto.parameters",
        "smtpproto.service",
        "smtpproto.server_auth",
        "smtpproto.authenticate",
        "smtpproto.sasl.base",
        "smtpproto.sasl.anonymous",
        "smtpproto.sasl.credential",
        "smtpproto.sasl.scram",
    )

    def markdown(self) -> str:
        return table(("name", "number", "what, and why"), self.rows())

    def rows(self) -> Iterator[tuple[str, str, str]]:
        for module in self.modules:
            for name, text in attribute_docs(module, "").items():
                value = getattr(sys.modules[module], name)
                if isinstance(value, int | float) and not name.startswith("_"):
                    yield f"`{name}`", str(value), linked(text)


class Conformance(FromCode):
    """The rules of an RFC, each with the tests that show it, or the reason why none does; the RFC is the argument."""

    required_arguments = 1
    reads = tuple(rules.HERE.glob("rfc*.txt"))

    def markdown(self) -> str:
        rows = (
            (
                linked(f"RFC {rule.rfc} section {rule.section}"),
                rule.level,
                rule.who,
                rule.text,
                "; ".join(filter(None, [self.shown(rule), rule.remark])),
            )
            for rule in rules.read(self.arguments[0])
        )
        return table(("section", "level", "who", "rule", "shown by"), rows)

    @staticmethod
    def shown(rule: rules.Rule) -> str:
        return ", ".join(f"`{test}`" for test in rule.tests) or f"*{rule.reason}*"


class ConformanceSummary(FromCode):
    """How many rules there are of each RFC, and how many of them tests show."""

    reads = tuple(rules.HERE.glob("rfc*.txt"))

    def markdown(self) -> str:
        read = {rfc: rules.read(rfc) for rfc in rules.RFCS}
        rows = [
            (linked(f"RFC {rfc}"), rules.RFCS[rfc], str(len(found)), str(sum(1 for rule in found if rule.tests)))
            for rfc, found in read.items()
        ]
        together = [rule for found in read.values() for rule in found]
        rows.append(("together", "", str(len(together)), str(sum(1 for rule in together if rule.tests))))
        return table(("document", "of", "rules", "shown by tests"), rows)


class Reasons(FromCode):
    """Why rules are shown by no test, and how many."""

    reads = tuple(rules.HERE.glob("rfc*.txt"))

    def markdown(self) -> str:
        found = [rule.reason for rfc in rules.RFCS for rule in rules.read(rfc)]
        return table(("reason", "rules"), ((f"*{text}*", str(found.count(text))) for text in rules.REASONS.values()))


class ShownBy(FromCode):
    """The tests that show what a page says: the content has the node id of one in each line."""

    has_content = True

    def markdown(self) -> str:
        tests = (line.partition("::") for line in self.content if line)
        rows = ((f"`{file}`", name.removeprefix("test_").replace("_", " ")) for file, _, name in tests)
        return table(("tests in", "shown by"), rows)


class FuzzTargets(FromCode):
    """Each target of the fuzzer with its invariant, which is what its docstring begins with."""

    reads = tuple((ROOT / "fuzz").glob("[a-z]*.py"))

    def markdown(self) -> str:
        rows: list[tuple[str, str]] = []
        for path in sorted(self.reads):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            rows.append((f"`{path.stem}`", " ".join(text.partition("\n\n")[0].split())))
        return table(("target", "invariant"), rows)


def recorded() -> dict[str, Any]:
    score: dict[str, Any] = json.loads(outcome.SCORE.read_text(encoding="utf-8"))
    return score


class MutationScore(FromCode):
    """What `make mutation` has recorded for each room."""

    reads = (outcome.SCORE,)

    def markdown(self) -> str:
        rooms: dict[str, tuple[int, int]] = recorded()["rooms"]
        every = [sum(each) for each in zip(*rooms.values(), strict=True)]
        rows = [*((f"`{room}`", *score) for room, score in rooms.items()), ("all of them", *every)]
        return table(
            ("room", "mutants", "killed"),
            ((name, str(total), f"{killed} ({100 * killed / total:.1f} %)") for name, killed, total in rows),
        )


class MutationRows(FromCode):
    """The sentence about the rows of the tables."""

    reads = (outcome.SCORE,)

    def markdown(self) -> str:
        killed, total = recorded()["rows"]
        return f"Of {total} changes in the rows of the tables of transitions {killed} were found."


class MutationSurvivors(FromCode):
    """Those that no test finds, and why."""

    reads = (outcome.SURVIVORS,)

    def markdown(self) -> str:
        rows: list[tuple[str, str, str]] = []
        for change, reason in sorted(outcome.listed().items()):
            function, *lines = change.splitlines()
            function = function.replace("xǁ", "").replace("ǁ", ".")  # as mutmut calls a method
            rows.append((f"`{function}`", "<br>".join(f"`{line}`" for line in lines), reason))
        return table(("in", "change", "why it stays"), rows)


class Interoperation(FromCode):
    """Which real servers or clients were tried in what, as the last recorded run found; the kind is the argument."""

    required_arguments = 1
    reads = (results.RECORDED,)

    def markdown(self) -> str:
        [kind] = [each for each in KINDS if each.name == self.arguments[0]]
        drawn = results.draw(kind, results.read())
        notes = [f"{number}. {linked(text)}" for number, text in enumerate(drawn.notes, 1)]
        return "\n".join([table(drawn.header, drawn.lines), "", *notes])


class InteroperationScenarios(FromCode):
    """What is done in each scenario, and the tests that do it; the kind is the argument."""

    required_arguments = 1
    reads = (results.RECORDED,)

    def markdown(self) -> str:
        [kind] = [each for each in KINDS if each.name == self.arguments[0]]
        shown = results.read().tests
        rows = (
            (name, text, ", ".join(f"`{test}`" for test in shown.get((kind.name, name), ())))
            for name, text in kind.scenarios.items()
        )
        return table(("scenario", "what is done", "by"), rows)


class InteroperationRun(FromCode):
    """When, and where, the tables were recorded."""

    reads = (results.RECORDED,)

    def markdown(self) -> str:
        return f"Recorded on {results.read().when}."


class PublicModules(FromCode):
    """The modules that are public."""

    def markdown(self) -> str:
        return table(("module", "what is there"), ((f"`{name}`", text) for name, text in public.MODULES.items()))


class Rooms(FromCode):
    """The rooms of the core, in their order, or those of the adapters, which is the argument; each with its purpose."""

    required_arguments = 1

    def markdown(self) -> str:
        core, adapters = ROOT / "smtpproto", ROOT / "adapters" / "smtpproto_adapters"
        paths = [core / name for name in structure.ROOMS] if self.arguments[0] == "core" else self.there(adapters)
        return table(("room", "purpose"), ((f"`{path.name}`", self.purpose(path)) for path in paths))

    @staticmethod
    def there(package: Path) -> list[Path]:
        """A package in the package is one room."""
        found = (path for path in sorted(package.iterdir()) if path.suffix == ".py" or (path / "__init__.py").exists())
        return [path.with_suffix("") for path in found if not path.stem.startswith("__")]

    def purpose(self, path: Path) -> str:
        """What its docstring begins with; and what is in it, where it is a package."""
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
        purpose = " ".join(text.partition("\n\n")[0].replace("``", "`").split()).replace("::", ".")
        inside = ", ".join(f"`{room.name}`" for room in self.there(path)) if path.is_dir() else ""
        return f"{purpose}  In it: {inside}." if inside else purpose


def setup(app: Sphinx) -> ExtensionMetadata:
    for name, directive in {
        "transitions": Transitions,
        "extensions": Extensions,
        "mechanisms": Mechanisms,
        "error-codes": ErrorCodes,
        "limits": LimitsTable,
        "timeouts": TimeoutsTable,
        "fixed-limits": FixedLimits,
        "conformance": Conformance,
        "conformance-summary": ConformanceSummary,
        "conformance-reasons": Reasons,
        "shown-by": ShownBy,
        "interoperation": Interoperation,
        "interoperation-scenarios": InteroperationScenarios,
        "interoperation-run": InteroperationRun,
        "public-modules": PublicModules,
        "rooms": Rooms,
        "fuzz-targets": FuzzTargets,
        "mutation-score": MutationScore,
        "mutation-rows": MutationRows,
        "mutation-survivors": MutationSurvivors,
    }.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
