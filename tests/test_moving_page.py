"""The tables for those who come from another library: what they name is there, in that library and in this one."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import smtplib
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import smtpproto
from smtpproto_adapters import blocking
from smtpproto_adapters.handler import Handler, ServerSession
from smtpproto_adapters.maildir import Maildir
from smtpproto_adapters.received import ReceivedMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = Path(__file__).parents[1] / "docs" / "moving.md"
REGISTRY = Path(sys.prefix) / "registry"


def rows() -> Iterator[tuple[str, list[str]]]:
    """The rows of the tables, each with the heading that it stands under."""
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells and not set(cells[0]) <= set("- ") and "`" in cells[0]:
            yield heading, cells


def names_in(cell: str) -> Iterator[str]:
    """The names in the code of a cell: also those of arguments, but nothing that stands in quotes."""
    for code in re.findall(r"`([^`]+)`", cell):
        yield from re.findall(r"[A-Za-z_]\w*", re.sub(r'"[^"]*"', "", code))


def names_of(*things: Any) -> set[str]:
    """What they have, and what they and their methods take."""
    found: set[str] = set()
    for thing in things:
        found |= set(dir(thing)) | {thing.__name__.rpartition(".")[2]}
        for each in [thing, *(getattr(thing, name) for name in dir(thing) if not name.startswith("__"))]:
            try:
                found |= set(inspect.signature(each).parameters)
            except (TypeError, ValueError):
                continue
        if inspect.isclass(thing):
            found |= set(inspect.signature(thing.__init__).parameters)
            found |= set(re.findall(r"self\.(\w+)", inspect.getsource(thing)))
    return found


@cache
def ours() -> frozenset[str]:
    core = [getattr(smtpproto, name) for name in smtpproto.__all__]
    adapters = [blocking.Client, blocking.Server, Handler, ServerSession, ReceivedMessage, Maildir]
    classes = [each for each in core if inspect.isclass(each)]
    found = names_of(smtpproto, blocking, *classes, *adapters)
    found |= {name for each in classes for name in getattr(each, "__annotations__", ())}
    # The modules, what they make, and what is Python's.
    found |= {"smtpproto_adapters", "asyncio", "trio", "serve", "client"}
    return frozenset(found | {"ssl", "SSLContext", "print", "None", "True", "False", "async", "with", "in"})


@cache
def theirs(heading: str) -> frozenset[str]:
    match heading:
        case "smtplib":
            found = names_of(smtplib, smtplib.SMTP, smtplib.SMTP_SSL, smtplib.LMTP) | {"host", "OSError"}
        case "aiosmtplib":
            aiosmtplib = pytest.importorskip("aiosmtplib")
            found = names_of(aiosmtplib, aiosmtplib.SMTP)
        case "aiosmtpd":
            pytest.importorskip("aiosmtpd")
            controller, handlers, server = (
                importlib.import_module(f"aiosmtpd.{name}") for name in ("controller", "handlers", "smtp")
            )
            classes = [controller.Controller, controller.UnixSocketController, controller.BaseController]
            found = names_of(controller, handlers, server, *classes, server.SMTP, server.Session, server.Envelope)
            source = inspect.getsource(server)
            found |= {f"handle_{hook}" for hook in re.findall(r"_call_handler_hook\(\s*['\"](\w+)['\"]", source)}
            found |= {f"handle_{hook}" for hook in re.findall(r"_handle_hooks\.get\(\"(\w+)\"\)", source)}
            found |= {"handle_exception"} & set(re.findall(r"\w+", source)) | {"envelope", "session", "handlers"}
        case _:
            found = set[str]()
            for path in REGISTRY.glob("lib/python3*/site-packages/smtpproto/*.py"):
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    match node:
                        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                            found.add(name)
                        case ast.arg(arg=name) | ast.Name(id=name) | ast.Attribute(attr=name):
                            found.add(name)
                        case _:
                            pass
    return frozenset(found | {"None", "True", "False"})


ROWS = [row for row in rows() if row[1][0] != "what"]


@pytest.mark.parametrize(("heading", "cells"), ROWS, ids=[f"{heading}: {cells[0]}" for heading, cells in ROWS])
def test_what_the_page_names_is_there(heading: str, cells: list[str]) -> None:
    if heading.startswith("The registry") and not REGISTRY.exists():
        pytest.skip("the registry's smtpproto is not there")
    assert missing(names_in(cells[0]), theirs(heading)) == set()
    assert missing(names_in(cells[1]), ours()) == set()


def missing(names: Iterable[str], there: frozenset[str]) -> set[str]:
    return set(names) - there


@pytest.mark.parametrize("heading", sorted({heading for heading, _ in ROWS}))
def test_what_is_not_there_is_found(heading: str) -> None:
    assert missing(names_in("`sendmial(msg)`"), theirs(heading) - {"msg"}) == {"sendmial", "msg"}
    assert missing(names_in("`conect()`"), ours()) == {"conect"}


def test_every_library_has_its_rows() -> None:
    assert {heading for heading, _ in ROWS} == {"smtplib", "aiosmtplib", "aiosmtpd", "The registry's smtpproto"}
    assert len(ROWS) > 90
