"""The picture of the ladder in the README: made by the command itself, in a session with a server of ours.

``python -m tests.picture`` makes it anew, as ``make picture`` does.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from smtpproto.server_auth import ServerAuth
from smtpproto_adapters import cli
from smtpproto_adapters.cli import ladder
from tests.docs_server import PASSWORD, USER, ExampleDomain

FILE = Path(__file__).parents[1] / "docs" / "_static" / "ladder.svg"
HOST = "mx.example"
ARGUMENTS = ("connect", f"submissions://{USER}@{HOST}", "--auth", "--password-env", "PASSWORD", "--svg")
SECONDS = 0.04
"""That the session seems to have taken, so that the picture is always the same."""


def make() -> str:
    """The picture."""
    authority = trustme.CA(organization_name="Example", organization_unit_name="an authority for tests")
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
        ExampleDomain([HOST], authority) as domain,
        contextlib.redirect_stdout(io.StringIO()) as shown,
    ):
        domain.auth = ServerAuth({USER: PASSWORD}, failure_delay=0)  # as most servers have it
        domain.patch(patch, Path(folder))
        patch.setenv("PASSWORD", PASSWORD)
        ticks = iter((0.0, 0.0, SECONDS, SECONDS))  # the beginning and the end, in the terminal and in the picture
        patch.setattr(ladder, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        file = Path(folder, "ladder.svg")
        status = cli.main([*ARGUMENTS, str(file)])
        assert status == 0, shown.getvalue()
        return file.read_text(encoding="utf-8")


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(make(), encoding="utf-8")
    sys.stdout.write(f"{FILE} is written\n")
