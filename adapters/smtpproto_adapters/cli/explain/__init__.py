"""``smtpproto explain``: how a recorded session is read, run again, and told."""

from __future__ import annotations

from .command import TEXTS, add_arguments, run

__all__ = ["TEXTS", "add_arguments", "run"]
