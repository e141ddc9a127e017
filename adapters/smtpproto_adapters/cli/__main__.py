"""``python -m smtpproto_adapters.cli``: the same as ``smtpproto``."""

from __future__ import annotations

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
