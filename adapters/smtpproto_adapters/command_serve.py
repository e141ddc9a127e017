"""``smtpproto serve``: a server for development, which shows what is said to it and what arrives."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import logging
import signal
import ssl
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from smtpproto import ErrorCode, Limits, LocalProtocolError, Service

from .arguments import Group, Parser, add_output, reason
from .statuses import Status
from .terminal import complain

if TYPE_CHECKING:
    from .arrivals import Arrival, Witnessing
    from .blocking import Server
    from .handler import ServerSession
    from .onlooker import ServerView

PORT: Final = 2525
LAST_WORDS: Final = 5.0
"""Seconds that the session of the last message gets for its QUIT."""
LONGEST_USERS: Final = 1_048_576
"""Octets that are read of a file with users."""

USAGE: Final = "smtpproto serve [OPTION ...]"

EPILOG: Final = """\
Examples:
  smtpproto serve
  smtpproto serve --tls starttls --user ann:secret --maildir ~/Mail
  smtpproto serve --lmtp --port 0 --once --json

It is for development: it takes every message, for whomever it is, and keeps
none but in a maildir.  A password on the command line can be read by every user
of the machine: make one up, or give --users-file.

The exit status is 0 where it was ended by ^C, SIGTERM or --count, 2 for an
invalid argument, and 60 where it cannot listen.
"""

TEXTS: Final[dict[str, Any]] = {
    "help": "take mail, and show it",
    "description": "A server for development: shows each session, and what arrives.",
    "usage": USAGE,
    "epilog": EPILOG,
}


def add_arguments(parser: Parser) -> None:
    """Those of this command."""
    _add_server(parser.add_argument_group("the server"))
    _add_tls(parser.add_argument_group("TLS"))
    _add_mail(parser.add_argument_group("users and mail"))
    add_output(parser.add_argument_group("showing"))


def _add_server(group: Group) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1)")
    group.add_argument(
        "--port", type=_number("port", 0, 65535), default=PORT, help=f"0 takes any free one (default {PORT})"
    )
    group.add_argument("--host-name", default="localhost", metavar="NAME", help="what it calls itself (localhost)")
    group.add_argument("--lmtp", action="store_true", help="speak LMTP")
    ending = group.add_mutually_exclusive_group()
    ending.add_argument(
        "--count", type=_number("count", 1, 10**9), metavar="N", help="end after so many messages, for scripts"
    )
    ending.add_argument("--once", dest="count", action="store_const", const=1, help="end after one")


def _add_tls(group: Group) -> None:
    group.add_argument("--tls", choices=("starttls", "implicit"), help="offer TLS, or begin with it")
    group.add_argument("--cert", type=Path, metavar="FILE", help="PEM file of the certificate (default: one made now)")
    group.add_argument("--key", type=Path, metavar="FILE", help="PEM file of its key, if it is in another")
    group.add_argument(
        "--write-ca",
        type=Path,
        metavar="FILE",
        help="where clients find whom to trust, if it is made now (default: a temporary file, which is told)",
    )


def _add_mail(group: Group) -> None:
    group.add_argument(
        "--user",
        dest="users",
        action="append",
        type=_user,
        metavar="NAME:PASSWORD",
        help="who may authenticate (repeatable); without TLS on loopback alone",
    )
    group.add_argument("--users-file", type=Path, metavar="FILE", help="the same, one a line")
    group.add_argument("--size", type=_number("size", 1, 10**15), metavar="N", help="octets that a message may have")
    group.add_argument("--maildir", type=Path, metavar="DIR", help="maildir to keep the messages in")


def _number(name: str, lowest: int, highest: int) -> Any:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"the {name} must be a number from {lowest} to {highest}")
        return int(text)

    return number


def _user(text: str) -> tuple[str, str]:
    name, _, password = text.partition(":")
    if not name or not password:
        raise argparse.ArgumentTypeError("a user is given as NAME:PASSWORD")
    return name, password


class _Refused(Exception):
    """The arguments make no sense."""


def run(arguments: argparse.Namespace) -> int:
    """Serve until it is enough; returns the exit status."""
    with ExitStack() as stack:
        try:
            users = _users(arguments)
            handler = _handler(arguments, users)
            service = _service(arguments, users)
            context, ca = _tls(arguments, stack)
            view = _view(arguments)
            running = _Running(arguments, handler, service, context, view, users)
        except (_Refused, LocalProtocolError) as error:
            complain(str(error))
            return int(ErrorCode.INVALID_ARGUMENT)
        stack.enter_context(_terminable())
        try:
            running.server.start()
        except (OSError, UnicodeError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            hint = "; --port 0 takes any free one" if taken else ""
            complain(f"cannot listen at {arguments.host} port {arguments.port}: {reason(error)}{hint}")
            return int(Status.CANNOT_LISTEN)
        running.serve(ca)
    return int(ErrorCode.SUCCESS)


# What the arguments mean -------------------------------------------------------------------------------------------


def _users(arguments: argparse.Namespace) -> dict[str, str]:
    users: list[tuple[str, str]] = list(arguments.users or ())
    if arguments.users_file is not None:
        try:
            with arguments.users_file.open(encoding="utf-8") as file:
                lines = file.read(LONGEST_USERS).splitlines()
            users += [_user(line) for line in lines if line]
        except argparse.ArgumentTypeError:
            raise _Refused(f"{arguments.users_file} has a line that is not NAME:PASSWORD") from None
        except (OSError, ValueError) as error:
            raise _Refused(f"cannot read the users from {arguments.users_file}: {reason(error)}") from None
        if not users:
            raise _Refused(f"{arguments.users_file} names no user")
    if users and arguments.tls is None and not _is_loopback(arguments.host):
        raise _Refused("passwords without TLS are for loopback alone: give --tls")
    return dict(users)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _handler(arguments: argparse.Namespace, users: dict[str, str]) -> Witnessing:
    from .arrivals import Witnessing, WitnessingMaildir

    credentials = users or None
    if arguments.maildir is None:
        handler = Witnessing(credentials=credentials)
    elif arguments.maildir.exists() and not arguments.maildir.is_dir():
        raise _Refused(f"{arguments.maildir} is no directory, and so no maildir")
    else:
        handler = WitnessingMaildir(path=arguments.maildir, credentials=credentials)
    handler.enough = arguments.count
    return handler


def _service(arguments: argparse.Namespace, users: dict[str, str]) -> Service:
    return Service(
        arguments.host_name,
        starttls=arguments.tls == "starttls",
        mechanisms=("PLAIN", "LOGIN") if users else (),
        allow_plaintext_auth=arguments.tls is None,
        lmtp=arguments.lmtp,
        limits=Limits() if arguments.size is None else Limits(message=arguments.size),
    )


def _tls(arguments: argparse.Namespace, stack: ExitStack) -> tuple[ssl.SSLContext | None, str | None]:
    """The server's certificate, and a file with those that clients must trust, where it is made now."""
    if arguments.tls is None:
        for name in ("cert", "key", "write_ca"):
            if getattr(arguments, name) is not None:
                raise _Refused(f"--{name.replace('_', '-')} is for TLS: give --tls too")
        return None, None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if arguments.cert is None:
        if arguments.key is not None:
            raise _Refused("a key is of no use without its certificate: give --cert too")
        return context, _make_certificate(arguments, context, stack)
    if arguments.write_ca is not None:
        raise _Refused("--write-ca is for a certificate that is made now: leave it out, or --cert")
    try:
        context.load_cert_chain(arguments.cert, arguments.key)
    except ssl.SSLError:
        raise _Refused(f"{arguments.cert} holds no certificate in PEM that goes with a key") from None
    except OSError as error:
        raise _Refused(f"cannot read the certificate from {arguments.cert}: {reason(error)}") from None
    return context, None


def _make_certificate(arguments: argparse.Namespace, context: ssl.SSLContext, stack: ExitStack) -> str:
    import trustme

    names = dict.fromkeys(("localhost", "127.0.0.1", "::1", arguments.host_name.strip("[]"), arguments.host))
    authority = trustme.CA()
    try:
        authority.issue_cert(*filter(None, names)).configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    except (ValueError, UnicodeError) as error:
        raise _Refused(f"no certificate can be made for {arguments.host_name} at {arguments.host}: {error}") from None
    file: Path | None = arguments.write_ca
    if file is None:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smtpproto-")), "ca.pem")
    try:
        authority.cert_pem.write_to_path(str(file))
    except OSError as error:
        raise _Refused(f"cannot write the certificate to trust to {file}: {reason(error)}") from None
    return str(file)


def _view(arguments: argparse.Namespace) -> ServerView:
    if arguments.json:
        from .server_json import ServerJsonLines

        return ServerJsonLines(sys.stdout)
    from .ladder import make_console
    from .server_ladder import ServerLadder

    return ServerLadder(make_console(colors=not arguments.no_color))


# Serving -----------------------------------------------------------------------------------------------------------


class _Running:
    """The server, those who look on, and what ends it."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        handler: Witnessing,
        service: Service,
        context: ssl.SSLContext | None,
        view: ServerView,
        users: dict[str, str],
    ) -> None:
        from .blocking import Server
        from .onlooker import Onlooker

        self._handler = handler
        self._view = view
        self._enough = threading.Event()
        self._last_ended = threading.Event()
        self._last: ServerSession | None = None
        self._onlooker = Onlooker(view, users.values(), self._enough.set)
        handler.on_arrival = self._arrived
        self.server: Server = Server(
            handler,
            host=arguments.host,
            port=arguments.port,
            service=service,
            context=context,
            implicit_tls=arguments.tls == "implicit",
            on_event=self._onlooker.on_event,
            on_send=self._onlooker.on_send,
            on_end=self._ended,
        )

    def serve(self, ca: str | None) -> None:
        """Until it is enough.  Raises BrokenPipeError where nobody reads any more."""
        with _complaining():
            try:
                self._view.listening(self._url, self._offer, ca)
                self._enough.wait()
                if self._handler.is_full:
                    self._last_ended.wait(LAST_WORDS)
            except KeyboardInterrupt:
                pass
            finally:
                self.server.close()
        if self._onlooker.failed:
            raise BrokenPipeError
        self._view.ended(self._handler.count)

    def _arrived(self, session: ServerSession, arrival: Arrival) -> None:
        self._onlooker.on_arrival(session, arrival)
        if self._handler.enough is not None and arrival.number >= self._handler.enough:
            self._last = session
            self._enough.set()

    def _ended(self, session: ServerSession) -> None:
        self._onlooker.on_end(session)
        if session is self._last:
            self._last_ended.set()

    @property
    def _url(self) -> str:
        server = self.server
        scheme = "lmtp" if server.service.lmtp else "smtps" if server.implicit_tls else "smtp"
        host = f"[{server.host}]" if ":" in server.host else server.host
        return f"{scheme}://{host}:{server.port}"

    @property
    def _offer(self) -> str:
        server = self.server
        tls = "implicit TLS" if server.implicit_tls else "STARTTLS" if server.service.starttls else "no TLS"
        auth = "AUTH" if server.service.mechanisms else "no AUTH"
        return f"{'LMTP' if server.service.lmtp else 'SMTP'}, {tls}, {auth}"


@contextmanager
def _terminable() -> Generator[None]:
    """SIGTERM is as good as ^C."""

    def terminate(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Sentences(logging.Handler):
    """What the server has to say of its own troubles, in one sentence, and without a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        complain(record.getMessage() + ("" if error is None else f": {type(error).__name__}: {error}"))


@contextmanager
def _complaining() -> Generator[None]:
    logger = logging.getLogger("smtpproto")
    handler, propagates = _Sentences(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
