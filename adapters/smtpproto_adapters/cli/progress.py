"""How much of a message was sent already: a bar, for those who wait at a terminal."""

from __future__ import annotations

import time
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn, TransferSpeedColumn

PATIENCE: Final = 1.0
"""Seconds that pass before there is a bar: what is over sooner needs none."""
PAUSE: Final = 0.1
"""Seconds between two looks of it."""


class ProgressBar:
    """A bar that comes where sending takes a while, and goes at its end; a context manager.

    It is for terminals; elsewhere it stays away.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._wanted = console.is_terminal and not console.is_dumb_terminal
        self._next = time.monotonic() + PATIENCE
        self._shown: tuple[Progress, TaskID] | None = None

    def update(self, sent: int, total: int | None) -> None:
        """So many octets were sent, of so many, where that is known."""
        if not self._wanted or time.monotonic() < self._next:
            return
        progress, task = self._shown if self._shown is not None else self._begin()
        progress.update(task, completed=sent if total is None else min(sent, total), total=total)
        progress.refresh()
        self._next = time.monotonic() + PAUSE

    def _begin(self) -> tuple[Progress, TaskID]:
        progress = Progress(
            BarColumn(),
            DownloadColumn(binary_units=False),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
        progress.start()
        self._shown = progress, progress.add_task("", total=None)
        return self._shown

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._wanted = False
        if self._shown is not None:
            self._shown[0].stop()
