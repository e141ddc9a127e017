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
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from smtpproto import ConnectFailed, ErrorCode, Limits, LocalProtocolError, ServerAuth, Service
from smtpproto_adapters.cli import certificates
from smtpproto_adapters.cli.arguments import add_output
from smtpproto_adapters.cli.authentication import listed
from smtpproto_adapters.cli.parser import Group, Parser, invalid, option_of, reason
from smtpproto_adapters.cli.statuses import Status
from smtpproto_adapters.cli.terminal import clear_line, complain

from .users import NAMES, add_users, make_auth, read_users

if TYPE_CHECKING:
    from smtpproto_adapters.blocking import Server
    from smtpproto_adapters.handler import ServerSession

    from .arrivals import Arrival, Witnessing
    from .onlooker import Offer, ServerView

PORT: Final = 2525
LAST_WORDS: Final = 5.0
"""Seconds that the session of the last message gets for its QUIT."""
LOOK_AROUND: Final = 0.5
"""Seconds after which a ^C is noticed that came in the instant before the wait began: it does not end that wait."""

USAGE: Final = "smtpproto serve [OPTION ...]"

EPILOG: Final = f"""\
Examples:
  smtpproto serve
  smtpproto serve --tls starttls --users users --maildir ~/Mail
  smtpproto serve --lmtp --port 0 --once --json

It is for development: it takes every message, for whomever it is, and keeps
none but in a maildir.  `smtpproto hash-password` makes lines for --users that
do not have the password.

The mechanisms that can be offered:
{listed(NAMES)}

The exit status is 0 where it was ended by ^C, SIGTERM or --count, 2 for an
invalid argument, and 60 where it cannot listen.
"""

TEXTS: Final[dict[str, Any]] = {
    "help": "take mail, and show it",
    "description": "A server for development: shows each session, and what arrives.",
    "usage": USAGE,
    "epilog": EPILOG,
}
"""What the parser says of the command."""


def add_arguments(parser: Parser) -> None:
    """Those of this command."""
    _add_server(parser.add_argument_group("the server"))
    _add_tls(parser.add_argument_group("TLS"))
    add_users(parser.add_argument_group("authentication"))
    _add_mail(parser.add_argument_group("mail"))
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
    group.add_argument(
        "--client-ca",
        type=Path,
        metavar="FILE",
        help="PEM file of the roots of clients' certificates: with one, a client can authenticate by EXTERNAL",
    )


def _add_mail(group: Group) -> None:
    group.add_argument("--size", type=_number("size", 1, 10**15), metavar="N", help="octets that a message may have")
    group.add_argument("--maildir", type=Path, metavar="DIR", help="maildir to keep the messages in")


def _number(name: str, lowest: int, highest: int) -> Any:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"the {name} must be a number from {lowest} to {highest}")
        return int(text)

    return number


def run(arguments: argparse.Namespace) -> int:
    """Serve until it is enough; returns the exit status."""
    with ExitStack() as stack:
        try:
            users = read_users(arguments)
            auth = make_auth(arguments, users, loopback=_is_loopback(arguments.host))
            running = _Running(
                arguments,
                _handler(arguments),
                _service(arguments, auth),
                _tls(arguments, stack),
                _view(arguments),
                users.hidden,
            )
        except (ConnectFailed, LocalProtocolError) as error:
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
        running.serve()
    return int(ErrorCode.SUCCESS)


# What the arguments mean -------------------------------------------------------------------------------------------


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _handler(arguments: argparse.Namespace) -> Witnessing:
    from .arrivals import Witnessing, WitnessingMaildir

    if arguments.maildir is None:
        handler = Witnessing()
    elif arguments.maildir.exists() and not arguments.maildir.is_dir():
        raise invalid(f"{arguments.maildir} is no directory, and so no maildir")
    else:
        handler = WitnessingMaildir(path=arguments.maildir)
    handler.enough = arguments.count
    return handler


def _service(arguments: argparse.Namespace, auth: ServerAuth | None) -> Service:
    return Service(
        arguments.host_name,
        starttls=arguments.tls == "starttls",
        auth=auth,
        lmtp=arguments.lmtp,
        limits=Limits() if arguments.size is None else Limits(message=arguments.size),
    )


class _Tls(NamedTuple):
    """What the server shows."""

    context: ssl.SSLContext | None = None
    certificate: Path | bytes | None = None
    """The same certificate once more, for binding authentication to the channel."""
    ca: str | None = None
    """A file with the one that clients must trust, where it is made now."""


def _tls(arguments: argparse.Namespace, stack: ExitStack) -> _Tls:
    if arguments.tls is None:
        for name in ("cert", "key", "write_ca", "client_ca"):
            if getattr(arguments, name) is not None:
                raise invalid(f"{option_of(name)} is for TLS: give --tls too")
        return _Tls()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if arguments.client_ca is not None:
        certificates.accept_clients(context, arguments.client_ca)
    if arguments.cert is not None:
        if arguments.write_ca is not None:
            raise invalid("--write-ca is for a certificate that is made now: leave it out, or --cert")
        certificates.load(context, arguments.cert, arguments.key)
        return _Tls(context, arguments.cert)
    if arguments.key is not None:
        raise invalid("a key is of no use without its certificate: give --cert too")
    ca: Path | None = arguments.write_ca
    if ca is None:
        ca = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smtpproto-")), "ca.pem")
    names = (arguments.host_name.strip("[]"), arguments.host)
    return _Tls(context, certificates.make(context, names, ca), str(ca))


def _view(arguments: argparse.Namespace) -> ServerView:
    if arguments.json:
        from .json_lines import ServerJsonLines

        return ServerJsonLines(sys.stdout)
    from smtpproto_adapters.cli.ladder import make_console

    from .ladder import ServerLadder

    return ServerLadder(make_console(colors=not arguments.no_color))


# Serving -----------------------------------------------------------------------------------------------------------


class _Running:
    """The server, those who look on, and what ends it."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        handler: Witnessing,
        service: Service,
        tls: _Tls,
        view: ServerView,
        secrets: Iterable[str],
    ) -> None:
        from smtpproto_adapters.blocking import Server

        from .onlooker import Onlooker

        self._handler = handler
        self._view = view
        self._ca = tls.ca
        self._enough = threading.Event()
        self._last_ended = threading.Event()
        self._last: ServerSession | None = None
        self._onlooker = Onlooker(view, secrets, self._enough.set)
        handler.on_arrival = self._arrived
        handler.on_question = self._onlooker.on_question
        self.server: Server = Server(
            handler,
            host=arguments.host,
            port=arguments.port,
            service=service,
            context=tls.context,
            certificate=tls.certificate,
            implicit_tls=arguments.tls == "implicit",
            on_event=self._onlooker.on_event,
            on_send=self._onlooker.on_send,
            on_end=self._ended,
        )

    def serve(self) -> None:
        """Until it is enough.  Raises BrokenPipeError where nobody reads any more."""
        with _complaining():
            try:
                self._view.listening(self._url, self._offer, self._ca)
                while not self._enough.wait(LOOK_AROUND):
                    pass
                if self._handler.is_full:
                    self._last_ended.wait(LAST_WORDS)
            except KeyboardInterrupt:
                clear_line()
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
    def _offer(self) -> Offer:
        from .onlooker import Offer

        server, auth = self.server, self.server.service.auth
        secure = server.context is not None
        return Offer(
            "LMTP" if server.service.lmtp else "SMTP",
            "implicit TLS" if server.implicit_tls else "STARTTLS" if secure else "no TLS",
            () if auth is None else tuple(auth.offered(secure=secure, bindings=server.channel_bindings)),
            auth is not None and auth.required,
        )


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
