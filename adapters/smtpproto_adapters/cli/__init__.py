"""The ``smtpproto`` command.

Its exit status is an `ErrorCode`, which says how connecting ended, or else a `Status`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status.

    What it needs is imported here, because ^C may come before that is done.
    """
    try:
        from .commands import run

        return run(argv)
    except KeyboardInterrupt:
        sys.stderr.write("\rsmtpproto: interrupted\n" if sys.stderr.isatty() else "smtpproto: interrupted\n")
        return 130
