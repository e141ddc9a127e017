"""The ``smtpproto`` command.

Its exit status is the `ErrorCode`; besides, 1 where an extra is not installed, and 130 and 141, as the shell has them
for SIGINT and SIGPIPE, where it was interrupted and where nobody reads its output any more.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import ssl
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from smtpproto import Connected, ConnectFailed, ConnectOptions, ErrorCode

from .arguments import make_context, make_options, make_parser, refuse_beside_demo
from .trace import JsonLines, Tls, Trace, View, one_line

if TYPE_CHECKING:
    from rich.console import Console

NOT_INSTALLED: Final = 1
INTERRUPTED: Final = 130
NOBODY_READS: Final = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    _let_every_character_pass()
    try:
        arguments = make_parser().parse_args(argv)
        status = _demo(arguments) if arguments.demo else _connect(arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # --help, or what the parser has against the arguments
        return stop.code if isinstance(stop.code, int) else 0
    except ImportError as error:
        _complain(_missing(error))
        return NOT_INSTALLED
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BaseExceptionGroup as group:  # of a trio nursery
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _let_go_of_output()
        return NOBODY_READS
    return status


def _connect(arguments: argparse.Namespace) -> int:
    try:
        options, context = make_options(arguments), make_context(arguments.ca)
        target = options.resolve()
    except ConnectFailed as failure:
        if arguments.json:
            Trace(JsonLines(sys.stdout)).end(failure)
        else:
            _complain(str(failure))
        return int(failure.code)
    view: View = JsonLines(sys.stdout) if arguments.json else _ladder(arguments)
    trace = Trace(view, [each for each in (options.password, options.token) if isinstance(each, str)])
    view.target(target)
    try:
        RUNNERS[arguments.adapter](options, context, trace)
    except ConnectFailed as failure:
        sentence = trace.end(failure)
        if not arguments.json:
            _complain("; ".join(filter(None, (sentence, HINTS.get(failure.code)))))
        return int(failure.code)
    trace.end(None)
    return int(ErrorCode.SUCCESS)


def _console(arguments: argparse.Namespace) -> Console:
    from .ladder import make_console

    return make_console(colors=not arguments.no_color)


def _ladder(arguments: argparse.Namespace) -> View:
    from .ladder import Ladder

    return Ladder(_console(arguments))


def _demo(arguments: argparse.Namespace) -> int:
    refuse_beside_demo(arguments)
    from .demo import run

    return run(_console(arguments))


# Running a session -------------------------------------------------------------------------------------------------


def _run_blocking(options: ConnectOptions, context: ssl.SSLContext | None, trace: Trace) -> None:
    from .blocking import Client

    client = Client(options, context=context, on_event=trace.on_event, on_send=trace.on_send)
    trace.client = client
    client.connect()
    client.disconnect()


class _AsyncClient(Protocol):
    @property
    def tls(self) -> Tls | None: ...
    async def connect(self) -> Connected: ...
    async def disconnect(self) -> None: ...


async def _converse(client: _AsyncClient, trace: Trace) -> None:
    trace.client = client
    await client.connect()
    await client.disconnect()


def _run_asyncio(options: ConnectOptions, context: ssl.SSLContext | None, trace: Trace) -> None:
    import asyncio

    from .asyncio import Client

    asyncio.run(_converse(Client(options, context=context, on_event=trace.on_event, on_send=trace.on_send), trace))


def _run_trio(options: ConnectOptions, context: ssl.SSLContext | None, trace: Trace) -> None:
    import trio

    from .trio import Client

    trio.run(_converse, Client(options, context=context, on_event=trace.on_event, on_send=trace.on_send), trace)


RUNNERS: Final = {"blocking": _run_blocking, "asyncio": _run_asyncio, "trio": _run_trio}


# Saying what is wrong ----------------------------------------------------------------------------------------------

HINTS: Final = {
    ErrorCode.CERTIFICATE_NOT_TRUSTED: "--ca FILE says whom to trust instead of the system's authorities",
    ErrorCode.WRONG_HOST_NAME: "--host-name NAME says for whom it has to be",
    ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN: "see --security and --allow-plaintext-auth",
}
"""What to do about it, where an option is the answer."""

EXTRAS: Final = {"rich": "cli", "trio": "trio", "trustme": "testing"}


def _missing(error: ImportError) -> str:
    name = (error.name or "").partition(".")[0]
    if name not in EXTRAS:
        raise error
    return f"{name} is not installed: pip install 'smtpproto-sansio[{EXTRAS[name]}]'"


def _complain(sentence: str) -> None:
    with contextlib.suppress(OSError):  # what goes wrong at standard output is not worth a second sentence
        sys.stdout.flush()
    sys.stderr.write(f"smtpproto: {one_line(sentence)}\n")


def _let_every_character_pass() -> None:
    """A terminal of another encoding than UTF-8 is to see escapes, not to end us."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _let_go_of_output() -> None:
    """The interpreter flushes standard output once more at its end, and would complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
