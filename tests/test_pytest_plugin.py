"""The fixtures that whoever tests mail code gets with this package."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

with suppress(ImportError):
    import_module("trustme")  # what pytester imports it forgets, and cryptography cannot be imported twice

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Run a file of tests, with our plugin and no other, whether the one that is installed is new or old."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(code: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(code)
        plugin = ("-p", "smtpproto_adapters.pytest_plugin", "--strict-markers", "-W", "error")
        # It is imported already where the pytest that runs this has it, too.
        twice = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")
        return pytester.runpytest_inprocess(*plugin, *twice, *arguments)

    return run


def test_message_arrives(run: Callable[..., pytest.RunResult]) -> None:
    run(
        """
        import smtplib

        def test_it(smtp_server):
            with smtplib.SMTP(smtp_server.host, smtp_server.port) as client:
                client.sendmail("me@a.example", "you@b.example", "Subject: hi")
            assert smtp_server.inbox[0].parsed["Subject"] == "hi"
            assert smtp_server.url == f"smtp://127.0.0.1:{smtp_server.port}"

        def test_each_has_its_own(smtp_server):
            assert not smtp_server.inbox
        """
    ).assert_outcomes(passed=2)


@pytest.mark.slow
def test_marker(run: Callable[..., pytest.RunResult]) -> None:
    """The nearest one has the last word; what it does not say, those further out do."""
    run(
        """
        import smtplib
        import pytest

        pytestmark = pytest.mark.smtp_server(tls="starttls", credentials={"user": "password"})

        def test_module(smtp_server):
            with smtplib.SMTP(smtp_server.host, smtp_server.port) as client:
                client.starttls(context=smtp_server.client_context())
                client.login(smtp_server.username, smtp_server.password)
            assert smtp_server.ca_file

        class TestOfClass:
            pytestmark = pytest.mark.smtp_server(tls="implicit")

            def test_class(self, smtp_server):
                context = smtp_server.client_context()
                with smtplib.SMTP_SSL(smtp_server.host, smtp_server.port, context=context) as client:
                    client.login(smtp_server.username, smtp_server.password)
                    assert client.noop()[0] == 250

            @pytest.mark.smtp_server(tls=None, lmtp=True, extensions=["SIZE 1000"])
            def test_function(self, smtp_server):
                with smtplib.LMTP(smtp_server.host, smtp_server.port) as client:
                    client.ehlo()
                    assert set(client.esmtp_features) == {"size", "auth"}
                assert smtp_server.url.startswith("lmtp://")
        """
    ).assert_outcomes(passed=3)


@pytest.mark.slow
def test_factory(run: Callable[..., pytest.RunResult]) -> None:
    run(
        """
        import socket
        import pytest

        ports = []

        @pytest.mark.smtp_server(tls="implicit")
        def test_several(smtp_server_factory, smtp_server):
            first, second = smtp_server_factory(), smtp_server_factory(lmtp=True)
            assert len({first.port, second.port, smtp_server.port}) == 3
            assert [each.tls for each in (first, second, smtp_server)] == [None, None, "implicit"]
            ports.extend([first.port, second.port, smtp_server.port])

        def test_they_are_gone():
            for port in ports:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port))
        """
    ).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        ("('starttls')", "*the marker smtp_server takes options by name, and not ('starttls',)*"),
        ("(tsl='starttls')", "*unexpected keyword argument 'tsl'*"),
        ("(require_auth=True)", "*nobody could ever authenticate*"),
    ],
)
def test_options_that_are_wrong(run: Callable[..., pytest.RunResult], mark: str, sentence: str) -> None:
    result = run(
        f"""
        import pytest

        @pytest.mark.smtp_server{mark}
        def test_it(smtp_server):
            pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([sentence])


def test_help(run: Callable[..., pytest.RunResult]) -> None:
    run("", "--markers").stdout.fnmatch_lines(["@pytest.mark.smtp_server(**options): *"])
    run("", "--fixtures").stdout.fnmatch_lines(["smtp_server --*", "*An SMTP server on a free port*"])


@pytest.mark.slow
def test_nothing_is_imported_before_it_is_wanted(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installs this package must not pay for it in tests of other things, nor lose lines of coverage."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    pytester.makepyfile(
        """
        import sys

        def test_it():
            assert "smtpproto_adapters.pytest_plugin" in sys.modules
            ours = {name for name in sys.modules if name.startswith("smtpproto")}
            assert ours == {"smtpproto_adapters", "smtpproto_adapters.pytest_plugin"}
            assert "trustme" not in sys.modules
        """
    )
    pytester.runpytest_subprocess("-p", "smtpproto_adapters.pytest_plugin").assert_outcomes(passed=1)
