"""The tables of the documentation that are made from the code: they are whole, and are made again where it changes."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("sphinx")

from docutils import nodes
from sphinx.application import Sphinx

from docs._ext import connecting, from_code
from smtpproto import ConnectOptions, ErrorCode, Option, Security, Stage
from smtpproto.limits import DEFAULT_LIMITS, DEFAULT_TIMEOUTS
from smtpproto.options import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
FILES = {module.__file__: module for module in (from_code, connecting)}
ARGUMENTS = {
    "rooms": "core",
    "transitions": "TRANSITIONS",
    "conformance": "5321",
    "interoperation": "servers",
    "interoperation-scenarios": "servers",
}


def rows_of(markdown: str) -> list[list[str]]:
    """The cells of a table, but for its header."""
    lines = [re.split(r"(?<!\\)\|", line.strip("|"))[0:] for line in markdown.splitlines()]
    return [[cell.strip().replace("\\|", "|") for cell in line] for line in lines[2:]]


def made(directive: type[from_code.FromCode]) -> list[list[str]]:
    return rows_of(directive.markdown(directive.__new__(directive)))


def column(directive: type[from_code.FromCode], number: int) -> list[str]:
    return [row[number].strip("`") for row in made(directive)]


# Limits and timeouts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directive", [from_code.LimitsTable, from_code.TimeoutsTable])
def test_each_limit_and_each_timeout_has_its_section(directive: type[from_code.FromCode]) -> None:
    """Or the one that would have to name it, and does not."""
    value = DEFAULT_LIMITS if directive is from_code.LimitsTable else DEFAULT_TIMEOUTS
    rows = made(directive)
    assert [row[0].strip("`") for row in rows] == list(value.__match_args__)
    for name, number, text in rows:
        assert number == str(getattr(value, name.strip("`")))
        assert re.search(r"\[RFC \d+ section [\d.]+\]\(https://www\.rfc-editor\.org/rfc/rfc\d+#section-", text), name


def test_each_other_number_says_what_it_is() -> None:
    rows = {row[0].strip("`"): row[1:] for row in made(from_code.FixedLimits)}
    assert rows["COMMAND_LINE"][0] == "512"
    assert rows["MAX_ITERATIONS"][0] == "1000000"
    assert {"LOCAL_PART", "DOMAIN", "PATH", "REPLY_LINE", "PARAMETERS_LINE", "AUTH_LINE", "MAX_ERRORS"} <= rows.keys()
    assert all(len(text) > 20 for _, text in rows.values())


# Connecting ----------------------------------------------------------------------------------------------------------


def test_every_option_is_told() -> None:
    rows = {row[0].split("`")[1]: row for row in made(connecting.Options)}
    assert tuple(rows) == ConnectOptions.__match_args__
    assert all(len(meaning) > 20 for _, meaning in rows.values())
    assert rows["timeout"][0] == "**`timeout`**<br>`float | None`<br>= `None`"
    assert rows["initial_response"][0].endswith("= `True`")
    assert rows["limits"][0].endswith("= [`Limits()`](protocol.md#limits)")


def test_every_service_every_stage_and_every_security_is_told() -> None:
    assert [name.strip('"') for name in column(connecting.Services, 0)] == list(SERVICES)
    assert column(connecting.Services, 1) == [str(port) for port in SERVICES.values()]
    assert column(connecting.Stages, 0) == [stage.name for stage in Stage]
    assert column(connecting.Ports, 0) == ["left out", *(security.name for security in Security)]
    assert {flag for names in column(connecting.Flags, 0) for flag in names.split(" | ")} == {
        f"Option.{flag.name}" for flag in (Option.NONE, *Option)
    }


def test_credentials_mean_tls_everywhere_but_at_a_unix_socket() -> None:
    """And what cannot be had together is refused, and not done without."""
    for place, nobody, *others in made(connecting.SecurityTable):
        assert set(others) <= {"`REQUIRED`", "`IMPLICIT`", "`INVALID_ARGUMENT`"} or place == "a unix socket"
        assert (nobody == "`IMPLICIT`") == ("465" in place)


def test_places_that_differ_are_not_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connecting.PLACES, "no port", ({}, {"port": 465}))
    with pytest.raises(ValueError, match="too many values"):
        made(connecting.SecurityTable)


def test_what_is_refused_is_told_with_its_code() -> None:
    assert made(connecting.Hosts)[-1] == ["none of them", f"`{ErrorCode.INVALID_ARGUMENT.name}`", ""]
    assert made(connecting.Urls)[-1] == ["`smtp:///run/smtp`", "`INVALID_ARGUMENT`", "", ""]


# The build -----------------------------------------------------------------------------------------------------------


def directives() -> Iterator[str]:
    """The names of all of them, as the two modules say that they stand in the pages."""
    for module in FILES.values():
        listed = re.search(r"directives: (.*?)\.$", " ".join((module.__doc__ or "").split()))
        assert listed is not None
        yield from listed[1].replace(" and ", ", ").replace(",,", ",").split(", ")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A page with each of them, built."""
    folder = tmp_path_factory.mktemp("docs")
    blocks = [f"```{{{name}}}{f' {ARGUMENTS[name]}' if name in ARGUMENTS else ''}\n```\n" for name in directives()]
    (folder / "index.md").write_text("# Tables\n\n" + "\n".join(blocks), encoding="utf-8")
    extensions = ["myst_parser", *(module.__name__ for module in FILES.values())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what MyST uses of Sphinx is deprecated
        app = Sphinx(
            folder,
            None,
            folder / "out",
            folder / "doctrees",
            "dummy",
            confoverrides={"extensions": extensions, "suppress_warnings": ["app.add_directive"]},
            status=None,
            warningiserror=True,
        )
        app.build()
    return app


def test_all_of_them_can_be_built(built: Any) -> None:
    assert len(list(directives())) > 20
    tables = list(built.env.get_doctree("index").findall(nodes.table))
    # There are two that are sentences, and one that lists tests and was given none.
    assert len(tables) >= len(list(directives())) - 3


@pytest.mark.parametrize(
    "source",
    [
        "docs/_ext/from_code.py",
        "docs/_ext/connecting.py",
        "smtpproto/options.py",
        "smtpproto/limits.py",
        "smtpproto/states.py",
        "tests/conformance/rules.py",
        "tests/conformance/rfc5321.txt",
        "tests/mutation/score.json",
        "tests/mutation/survivors.txt",
        "tests/interop/table.json",
        "fuzz/replies.py",
    ],
)
def test_a_page_is_made_again_where_what_it_is_made_of_has_changed(built: Any, source: str) -> None:
    noted = {(Path(built.srcdir) / file).resolve() for file in built.env.dependencies["index"]}
    assert (ROOT / source).resolve() in noted
