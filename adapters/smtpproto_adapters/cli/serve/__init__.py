"""``smtpproto serve``, and how it shows what is said to it."""

from __future__ import annotations

from .command import TEXTS, add_arguments, run

__all__ = ["TEXTS", "add_arguments", "run"]
