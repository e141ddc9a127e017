"""``smtpproto connect``: establish a session, and show how it goes."""

from __future__ import annotations

import argparse
from typing import Any, Final

from smtpproto import ConnectFailed, ErrorCode

from .arguments import URL_HELP, WAITS, add_adapter, add_address, add_output, add_picture, add_session, make_options
from .authentication import NAMES, add_authentication, listed
from .hints import hint
from .mx import add_mx, check_resolver, connect_to_domain
from .parser import Parser, option_of
from .sessions import RUNNERS
from .showing import interrupted, refused, view_of
from .terminal import complain
from .trace import Outcome, Trace, printable

USAGE: Final = """\
smtpproto connect [OPTION ...] URL
       smtpproto connect [OPTION ...] --host HOST | --path PATH | --mx DOMAIN
       smtpproto connect --demo"""

EPILOG: Final = f"""\
Examples:
  smtpproto connect submission://ann@mx.example --auth --password-prompt
  smtpproto connect smtps://mx.example --auth --mechanism EXTERNAL --cert me.pem
  smtpproto connect --mx mail.example

The mechanisms, the strongest first; ANONYMOUS is used only where it is named:
{listed(NAMES)}

A password or a token never stands on the command line or in the URL, where
every user of the machine could read it.

The exit status is 0 where the session was established, else the number of the
error: 2 invalid argument, 3 name not found, 4 connection refused, 7 protocol
error, 23 certificate not trusted, 24 wrong host name, 32 authentication refused
and so on; its name is printed with it.
"""

TEXTS: Final[dict[str, Any]] = {
    "help": "establish a session, and show how it goes",
    "description": "Establish an SMTP, submission or LMTP session, and show how it goes.",
    "usage": USAGE,
    "epilog": EPILOG,
}

OPTION_OF: Final = {"extended": "--ehlo and --helo", "url": "a URL"}
"""Where it is not the name with hyphens."""


def add_arguments(parser: Parser) -> None:
    """Those of this command."""
    parser.add_argument("url", nargs="?", metavar="URL", help=URL_HELP)
    server = parser.add_argument_group("the server")
    server.add_argument("--host", metavar="HOST", help="name or address to connect to; the certificate must be for it")
    server.add_argument(
        "--port",
        metavar="PORT",
        help="number, or smtp, submission, submissions, smtps, lmtp (default 25; 465 with implicit TLS; 24 for LMTP)",
    )
    add_address(server)
    server.add_argument("--path", metavar="PATH", help="unix socket to connect to instead")
    add_mx(server)
    add_session(parser.add_argument_group("the session"), WAITS)
    add_authentication(parser.add_argument_group("authentication"))
    showing = parser.add_argument_group("running and showing")
    add_adapter(showing)
    add_output(showing)
    add_picture(showing)
    showing.add_argument(
        "--demo",
        action="store_true",
        help="without a server: start one of our own, and connect and send in three modes through three adapters",
    )
    parser.set_defaults(bare=parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    if arguments.demo:
        return _demo(arguments)
    return connect_to_domain(arguments) if arguments.mx is not None else _connect(arguments)


def _connect(arguments: argparse.Namespace) -> int:
    try:
        check_resolver(arguments)
        options, context = make_options(arguments)
        target = options.resolve()
        view = view_of(arguments, printable(arguments.url or target.path or target.host))
    except ConnectFailed as failure:
        return refused(arguments, Outcome.of_connecting(failure, str(failure)))
    trace = Trace(view, [each for each in (options.password, options.token) if isinstance(each, str)])
    view.target(target)
    try:
        RUNNERS[arguments.adapter](options, context, trace, None)
    except ConnectFailed as failure:
        outcome = Outcome.of_connecting(failure, str(failure))
        sentence = trace.finish(outcome)
        if not arguments.json:
            complain("; ".join(filter(None, (sentence, hint(outcome, options, trace.refusal)))))
        return int(failure.code)
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        return interrupted(arguments, trace, error)
    trace.end(None)
    return int(ErrorCode.SUCCESS)


def _demo(arguments: argparse.Namespace) -> int:
    parser: Parser = arguments.bare
    _refuse_beside_demo(parser, arguments)
    from .demo import run
    from .ladder import make_console

    return run(make_console(colors=not arguments.no_color))


def _refuse_beside_demo(parser: Parser, arguments: argparse.Namespace) -> None:
    """The demo chooses everything itself.  Exits where anything was given that it would ignore."""
    bare = vars(parser.parse_args(["--demo"]))
    for name, value in vars(arguments).items():
        if name in bare and name != "no_color" and value != bare[name]:
            option = OPTION_OF.get(name, option_of(name))
            parser.error(f"--demo chooses everything itself: leave out {option}")
