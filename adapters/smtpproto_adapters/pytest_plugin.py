"""A plugin for pytest: the fixtures `smtp_server` and `smtp_server_factory`.

It is there wherever this package is installed; ``-p no:smtpproto`` turns it off.  Nothing but pytest is imported before
a test asks for a server.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .local import LocalServer

_MARKER = "smtp_server(**options): options of LocalServer, for the fixture smtp_server"


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def smtp_server(request: pytest.FixtureRequest, smtp_server_factory: Callable[..., LocalServer]) -> LocalServer:
    """An SMTP server on a free port of loopback, which keeps what arrives in ``smtp_server.inbox``.

    ``@pytest.mark.smtp_server(tls="starttls", …)`` gives it the options of `LocalServer`.  Of several marks (on the
    module, the class, the test) each adds to those further out.
    """
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("smtp_server"))):
        if mark.args:
            raise pytest.UsageError(f"the marker smtp_server takes options by name, and not {mark.args!r}")
        options.update(mark.kwargs)
    return smtp_server_factory(**options)


@pytest.fixture
def smtp_server_factory() -> Iterator[Callable[..., LocalServer]]:
    """Makes servers with the options of `LocalServer`, as many as the test wants; they end with it."""
    from .local import LocalServer

    with ExitStack() as servers:

        def make(**options: Any) -> LocalServer:
            return servers.enter_context(LocalServer(**options))

        yield make
