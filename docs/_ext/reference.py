"""The reference: a page for each module, and tables of the names that are to be imported, with links to where they are.

In the page the tables stand as a directive: public-names, with a module as its argument.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from sphinx.pycode import ModuleAnalyzer

import smtpproto
import smtpproto_adapters
from docs._ext.from_code import ROOT, FromCode, linked, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

GENERATED = ROOT / "docs" / "generated"


def write_reference(app: Sphinx) -> None:
    """A page for each module, so that none is forgotten; a page that has not changed is not touched."""
    GENERATED.mkdir(exist_ok=True)
    wanted = {
        GENERATED / f"{module}.rst": f"{module}\n{'=' * len(module)}\n\n.. automodule:: {module}\n"
        for module in modules()
        if module != "smtpproto"  # its names are documented where they are defined
    }
    for path in set(GENERATED.iterdir()) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


@cache
def modules() -> tuple[str, ...]:
    """The names of all that there are."""
    found: list[str] = []
    for package in (smtpproto, smtpproto_adapters):
        name = package.__name__
        found += [name, *(each.name for each in pkgutil.walk_packages(package.__path__, f"{name}."))]
    return tuple(found)


@cache
def constants(module: str) -> dict[str, str]:
    """The docstrings of a module's constants, by their names."""
    found = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {name: " ".join(lines).strip() for (owner, name), lines in found.items() if not owner}


def fields(cls: type) -> frozenset[str]:
    """Those attributes of a class that have a docstring where they are declared."""
    found = ModuleAnalyzer.for_module(cls.__module__).find_attr_docs()
    return frozenset(name for owner, name in found if owner == cls.__qualname__)


def public_names(module: ModuleType) -> list[str]:
    """What can be imported from it: what it says itself, or else the classes and functions that it defines."""
    listed: list[str] | None = getattr(module, "__all__", None)
    if listed is not None:
        return listed
    return [name for name, each in vars(module).items() if name[0] != "_" and _is_defined_in(module, each)]


def _is_defined_in(module: ModuleType, each: object) -> bool:
    return (inspect.isclass(each) or inspect.isfunction(each)) and each.__module__ == module.__name__


def home(module: ModuleType, name: str) -> tuple[str, str]:
    """Where it is described, and what is said there."""
    each: Any = getattr(module, name)
    if inspect.isclass(each) or inspect.isfunction(each):
        return f"{each.__module__}.{each.__qualname__}", inspect.getdoc(each) or ""
    homes = [
        (f"{other}.{name}", constants(other)[name])
        for other in modules()
        if other.partition(".")[0] == module.__name__.partition(".")[0]
        and name in constants(other)
        and getattr(importlib.import_module(other), name) is each
    ]
    if not homes:
        raise LookupError(f"{module.__name__}.{name} is described nowhere: it needs a docstring")
    return homes[0]


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends one."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return linked(re.split(r"(?<=[^.][.?])(?= [A-Z`])", paragraph, maxsplit=1)[0])


class PublicNames(FromCode):
    """The names of a module, each with where it is described; a link that leads nowhere is an error of the build."""

    required_arguments = 1

    def markdown(self) -> str:
        return table(("name", "what it is"), self.rows(importlib.import_module(self.arguments[0])))

    @staticmethod
    def rows(module: ModuleType) -> Iterator[tuple[str, str]]:
        for name in sorted(public_names(module), key=lambda name: (name.isupper(), name)):
            where, text = home(module, name)
            yield f"{{py:obj}}`{name} <{where}>`", first_sentence(text)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("public-names", PublicNames)
    app.connect("builder-inited", write_reference)
    return {"parallel_read_safe": True}
