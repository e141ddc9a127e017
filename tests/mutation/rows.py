"""Change the rows of the tables of transitions, one at a time: ``python -m tests.mutation.rows``.

Each reply of each row is taken out, and led to another state.  Tests that know the protocol, and not those that go by
the tables, have to find it.  They are collected once; each change is made in a fork, everywhere where the table is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from smtpproto import Rcpt, states
from smtpproto.states import GREETED, READY, Kind, State, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES: Final = ("TRANSITIONS", "LATE", "LMTP_TRANSITIONS", "LMTP_LATE")
STEPS: Final = {"TRANSITIONS": "_STEPS", "LMTP_TRANSITIONS": "_LMTP_STEPS"}
"""What the engine goes by in place of these tables."""
TESTS: Final = tuple(
    f"tests/test_{name}.py"
    for name in (
        *("sequences", "client", "server", "connection", "connect", "authenticate", "rules", "attacks", "service"),
        *("flows", "flows_server", "flows_delivery", "flows_auth", "transcripts"),
    )
)


class Row(NamedTuple):
    """A reply in a table, and where it leads instead; None: it is not there."""

    table: str
    state: State
    kind: Kind
    code: int
    after: State | None

    def __str__(self) -> str:
        instead = "taken out" if self.after is None else f"leads to {self.after.name}"
        return f"{self.table} {self.state.name} {self.kind.__name__} {self.code}: {instead}"


class Outcome(NamedTuple):
    total: int
    killed: int
    survivors: list[str]


def changes() -> Iterator[Row]:
    for name in TABLES:
        table: Table = getattr(states, name)
        for state, rows in table.items():
            for kind, row in rows.items():
                if kind is not states.TlsHandshake or name == "TRANSITIONS":
                    for code, after in row.items():
                        yield Row(name, state, kind, code, None)
                        yield Row(name, state, kind, code, READY if after is not READY else GREETED)


def make(change: Row) -> None:
    """Put the changed table, and what was derived of it, wherever the other is."""
    before: Table = getattr(states, change.table)
    rows = dict(before[change.state][change.kind])
    if change.after is None:
        del rows[change.code]
    else:
        rows[change.code] = change.after
    kinds = MappingProxyType({**before[change.state], change.kind: MappingProxyType(rows)})
    after: Table = MappingProxyType({**before, change.state: kinds})
    instead = [(before, after), *_derived(change.table, after)]
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            for old, new in instead:
                if value is old:
                    setattr(module, name, new)


def _derived(table: str, after: Table) -> list[tuple[object, object]]:
    """What `states` has looked up in the table while it was imported, and the same of the changed one."""
    if table not in STEPS:
        return []
    steps = getattr(states, "_steps")(after)  # noqa: B009 -- it is the room's own business
    derived: list[tuple[object, object]] = [(getattr(states, STEPS[table]), steps)]
    if table == "TRANSITIONS":
        derived.append((getattr(states, "_FURTHER"), steps[State.RCPT][Rcpt][0]))  # noqa: B009
    return derived


class Plants:
    """Takes the place of pytest's loop over the tests."""

    def __init__(self) -> None:
        self.total = 0
        self.survivors: list[str] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for change in changes():
            self.total += 1
            pid = os.fork()
            if pid == 0:
                os._exit(self._try(session, change))
            if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
                self.survivors.append(str(change))
                sys.stderr.write(f"survives: {change}\n")
        return True

    def _try(self, session: pytest.Session, change: Row) -> int:
        make(change)
        items: list[Any] = session.items
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return 1
        return 0


def outcome() -> Outcome:
    """In a process of its own."""
    done = subprocess.run([sys.executable, "-m", __name__], check=True, stdout=subprocess.PIPE)
    total, survivors = json.loads(done.stdout.splitlines()[-1])
    return Outcome(total, total - len(survivors), survivors)


def main() -> int:
    plants = Plants()
    silent = ["-o", "addopts=--import-mode=importlib", "-p", "no:terminal", "-p", "no:cacheprovider"]
    status = pytest.main([*silent, "-m", "not slow", *TESTS], plugins=[plants])
    sys.stdout.write(json.dumps([plants.total, plants.survivors]) + "\n")
    return 0 if status in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) else 1


if __name__ == "__main__":
    sys.exit(main())
