"""The reference has every public name, and something is said of each."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("sphinx")

from docs._ext import reference
from smtpproto_adapters.transport import AsyncWire, Wire
from tests.stability import public

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^```\{public-names\} (\S+)$", PAGE, re.MULTILINE)
OF_WIRES = {name for name in {*vars(Wire), *vars(AsyncWire)} if name[0] != "_"}
"""What they do is said where the two protocols are."""


def test_every_module_has_a_page() -> None:
    packages = (ROOT / "smtpproto", ROOT / "adapters" / "smtpproto_adapters")
    files = [path.relative_to(package.parent) for package in packages for path in package.rglob("*.py")]
    named = {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}
    assert set(reference.modules()) == named
    assert len(reference.modules()) == len(named)


def test_the_pages_are_written_and_what_is_left_over_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "GENERATED", tmp_path)
    (tmp_path / "smtpproto.gone.rst").write_text("")
    unused: Any = None
    reference.write_reference(unused)
    assert {path.stem for path in tmp_path.iterdir()} == set(reference.modules()) - {"smtpproto"}
    assert ".. automodule:: smtpproto.replies\n" in (tmp_path / "smtpproto.replies.rst").read_text()


@pytest.mark.parametrize("name", reference.modules())
def test_something_is_said_of_every_public_name(name: str) -> None:
    module = importlib.import_module(name)
    for each in reference.public_names(module):
        where, text = reference.home(module, each)
        assert text, f"{name}.{each}"
        assert where.rpartition(".")[0] in reference.modules()


def test_every_public_module_is_listed() -> None:
    assert list(public.MODULES) == LISTED


@pytest.mark.parametrize("name", LISTED)
def test_something_is_said_of_each_method(name: str) -> None:
    module = importlib.import_module(name)
    silent = [
        f"{each}.{method}"
        for each in reference.public_names(module)
        if inspect.isclass(getattr(module, each))
        for method in methods_of(getattr(module, each))
        if method not in OF_WIRES or getattr(module, each) in (Wire, AsyncWire)
    ]
    assert silent == []


def methods_of(cls: type) -> Iterator[str]:
    """Those without a docstring: of methods, and of properties that have none as a field either."""
    own = reference.fields(cls)
    for name, each in vars(cls).items():
        is_method = inspect.isfunction(each) or isinstance(each, classmethod | staticmethod | property)
        if name[0] != "_" and is_method and name not in own and not inspect.getdoc(getattr(cls, name)):
            yield name


@pytest.mark.parametrize("name", LISTED)
def test_each_name_has_a_row(name: str) -> None:
    module = importlib.import_module(name)
    rows = dict(reference.PublicNames.rows(module))
    assert {re.sub(r"\{py:obj\}`(\w+) <.*", r"\1", link) for link in rows} == set(reference.public_names(module))
    assert all(rows.values())


def test_a_constant_without_a_docstring_is_an_error() -> None:
    module: Any = type(reference)("smtpproto.nowhere")
    module.NOTHING = object()
    with pytest.raises(LookupError, match=r"smtpproto\.nowhere\.NOTHING is described nowhere"):
        reference.home(module, "NOTHING")


def test_a_first_sentence() -> None:
    assert reference.first_sentence("All of it: RFC 5321.  The rest.\n\nMore.").startswith("All of it: [RFC 5321](")
    assert reference.first_sentence("All of it") == "All of it"
