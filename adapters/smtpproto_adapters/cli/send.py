"""``smtpproto send``: send a message from a file, and tell what became of it for each recipient."""

from __future__ import annotations

import argparse
import ssl
import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol

from smtpproto import (
    Bdat,
    ConnectFailed,
    ConnectOptions,
    DeliveryResult,
    EndOfData,
    Envelope,
    ErrorCode,
    Event,
    Fate,
    LocalProtocolError,
    Mail,
    Rcpt,
    RecipientReply,
    RecipientResult,
    ReplyReceived,
)

from .arguments import SENDING, WAITS, add_adapter, add_address, add_output, add_session, make_options
from .authentication import add_authentication
from .hints import hint
from .json_lines import JsonLines
from .parser import Group, Parser, invalid
from .sessions import RUNNERS, Errand
from .statuses import OF_FATE, Status
from .terminal import announce_reading, clear_line, complain, is_interrupt
from .trace import Outcome, Trace, View

if TYPE_CHECKING:
    from smtpproto_adapters.sources import Content

USAGE: Final = """\
smtpproto send [OPTION ...] URL --from ADDRESS --to ADDRESS FILE
       smtpproto send [OPTION ...] URL -t FILE"""

EPILOG: Final = """\
Example:
  smtpproto send smtp://mx.example --from ann@example.org --to bob@mx.example \\
    message.eml

FILE is sent as it is, octet for octet, but that its line ends become CRLF.
With -t its header says what --from and --to do not, and Bcc is taken out.

The exit status is 0 where the message was accepted for every recipient, else
the worst of: 50 refused for now, 51 not sent, 52 refused for good, 53 unknown
(the connection ended before the answer: it may have been delivered).  It is 54
where the server takes no such message: it is too large, or needs an extension.
All others are those of `smtpproto connect`, among them 2: invalid argument, or
a file that cannot be read.
"""

TEXTS: Final[dict[str, Any]] = {
    "help": "send a message from a file",
    "description": "Send a message, and tell what became of it for each recipient.",
    "usage": USAGE,
    "epilog": EPILOG,
}

NULL: Final = ("", "<>")
"""How the null reverse-path may be given."""


def add_arguments(parser: Parser) -> None:
    """Those of this command."""
    parser.add_argument("url", metavar="URL", help="server, as smtp://HOST[:PORT]; see `smtpproto connect --help`")
    parser.add_argument("file", metavar="FILE", help="the message; - is standard input")
    _add_message(parser.add_argument_group("the message"))
    add_address(parser.add_argument_group("the server"))
    add_session(parser.add_argument_group("the session"), WAITS + SENDING)
    add_authentication(parser.add_argument_group("authentication"))
    showing = parser.add_argument_group("running and showing")
    add_adapter(showing)
    showing.add_argument("--verbose", action="store_true", help="show the whole session, as `smtpproto connect` does")
    add_output(showing)


def _add_message(group: Group) -> None:
    group.add_argument("--from", dest="sender", metavar="ADDRESS", help='reverse-path; "" is the null one')
    group.add_argument("--to", dest="recipients", action="append", metavar="ADDRESS", help="recipient (repeatable)")
    group.add_argument(
        "-t",
        "--from-headers",
        action="store_true",
        help="take what --from and --to leave open from the header: Sender or From; To, Cc and Bcc (or Resent-…)",
    )
    group.add_argument(
        "--body", type=str.upper, choices=("7BIT", "8BITMIME", "BINARYMIME"), help="kind of content (default: 8BITMIME)"
    )
    group.add_argument("--smtputf8", action="store_true", help="SMTPUTF8; on by itself where an address needs it")
    group.add_argument("--ret", type=str.upper, choices=("FULL", "HDRS"), help="how much a failure notice returns")
    group.add_argument("--envid", metavar="ID", help="envelope identifier, for notices")
    group.add_argument("--notify", metavar="WHEN", help="when to notify: never, or of success,failure,delay")
    group.add_argument("--require-tls", action="store_true", help="REQUIRETLS: every hop must have TLS (RFC 8689)")
    group.add_argument(
        "--chunking",
        action=argparse.BooleanOptionalAction,
        help="with BDAT, or with DATA (default: BDAT where it saves a round trip)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    with ExitStack() as files:
        try:
            _check(arguments)
            options, context = make_options(arguments)
            options.resolve()
            envelope, content = _message(arguments, files)
        except ConnectFailed as failure:
            view: View = JsonLines(sys.stdout) if arguments.json else _Silent()
            return _end(arguments, None, Trace(view), Outcome.of_connecting(failure, str(failure)))
        return _send(arguments, options, context, envelope, content)


# The message -------------------------------------------------------------------------------------------------------


def _message(arguments: argparse.Namespace, files: ExitStack) -> tuple[Envelope, Content]:
    """To whom, and what; the file is closed with the others.  Raises `ConnectFailed` (INVALID_ARGUMENT)."""
    from .message_file import CannotRead, Header, MessageFile

    sender: str | None = "" if arguments.sender in NULL else arguments.sender
    recipients: list[str] | None = arguments.recipients
    if arguments.file == "-":
        announce_reading()
    try:
        file = files.enter_context(MessageFile(arguments.file))
        if not arguments.from_headers:
            assert sender is not None
            assert recipients is not None
            return _envelope(arguments, sender, recipients), file
        header = Header(file)
        found = header.envelope(sender, recipients)
        return _envelope(arguments, found.sender, list(found.forward_paths), found.mail), header.content()
    except (CannotRead, LocalProtocolError) as error:
        raise invalid(str(error)) from None


def _check(arguments: argparse.Namespace) -> None:
    given = [
        name for name, value in (("--from", arguments.sender), ("--to", arguments.recipients)) if value is not None
    ]
    if arguments.from_headers and len(given) == 2:
        raise invalid("-t takes from the header what --from and --to leave open: leave out one of them, or -t")
    if not arguments.from_headers and len(given) < 2:
        lacking = "--to" if "--from" in given else "--from"
        raise invalid(f"the envelope is not complete: give {lacking}, or -t to take it from the header of the message")
    if "-" == arguments.file in (arguments.password_file, arguments.token_file):
        raise invalid("standard input cannot be both the message and the secret")


def _envelope(arguments: argparse.Namespace, sender: str, recipients: list[str], found: Mail | None = None) -> Envelope:
    international = not all(path.isascii() for path in (sender, *recipients))
    mail = Mail(
        sender,
        body=arguments.body,
        smtputf8=arguments.smtputf8 or international or (found is not None and found.smtputf8),
        ret=arguments.ret,
        envid=arguments.envid,
        require_tls=arguments.require_tls,
    )
    notify = () if arguments.notify is None else tuple(arguments.notify.upper().split(","))
    return Envelope(mail, [Rcpt(path, notify=notify) for path in recipients])


# Sending it --------------------------------------------------------------------------------------------------------


class _Silent(View):
    """Shows nothing."""


class _Bar(Protocol):
    def update(self, sent: int, total: int | None) -> None: ...


class _NoBar:
    def update(self, sent: int, total: int | None) -> None:
        pass


def _views(arguments: argparse.Namespace) -> tuple[View, AbstractContextManager[_Bar]]:
    if arguments.json:
        return JsonLines(sys.stdout, results_only=not arguments.verbose), nullcontext(_NoBar())
    from .ladder import Ladder, Results, make_console
    from .progress import ProgressBar

    console = make_console(colors=not arguments.no_color)
    return Ladder(console) if arguments.verbose else Results(console), ProgressBar(console)


def _send(
    arguments: argparse.Namespace,
    options: ConnectOptions,
    context: ssl.SSLContext | None,
    envelope: Envelope,
    content: Content,
) -> int:
    from .message_file import CannotRead

    view, progress = _views(arguments)
    trace = _Sending(view, [each for each in (options.password, options.token) if isinstance(each, str)])
    view.target(options.resolve())

    def unsent(error: Exception) -> DeliveryResult:
        nobody = tuple(RecipientResult(each, Fate.NOT_SENT, None) for each in envelope.recipients)
        return DeliveryResult(envelope, nobody, None, error)

    try:
        with progress as bar:

            def on_progress(sent: int, total: int | None) -> None:
                trace.on_progress(sent, total)
                bar.update(sent, total)

            errand = Errand(envelope, content, arguments.chunking, on_progress)
            result = RUNNERS[arguments.adapter](options, context, trace, errand)
        assert result is not None
        return _end(arguments, options, trace, outcome_of(result))
    except ConnectFailed as failure:
        return _end(arguments, options, trace, Outcome.of_connecting(failure, str(failure)))
    except CannotRead as error:
        result = unsent(error)
        outcome = Outcome(Status.NOT_SENT, Status.NOT_SENT.name, f"the message was not sent: {error}")
    except LocalProtocolError as error:
        result = unsent(error)
        outcome = Outcome(Status.UNSUITABLE, Status.UNSUITABLE.name, f"the message was not sent: {error}")
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        if not is_interrupt(error):
            raise
        clear_line()
        return _end(arguments, options, trace, Outcome(Status.INTERRUPTED, Status.INTERRUPTED.name, trace.interrupted))
    trace.deliver(result)
    return _end(arguments, options, trace, outcome)


class _Sending(Trace):
    """Watches a client, and knows how far it has come when it is interrupted."""

    interrupted = "interrupted: the message was not sent"

    def on_send(self, command: Any) -> None:
        """As `Trace.on_send`."""
        match command:
            case EndOfData() | Bdat(last=True):
                self.interrupted = "interrupted: the message may have been sent, and delivered"
            case _:
                pass
        super().on_send(command)

    def on_event(self, event: Event) -> None:
        """As `Trace.on_event`."""
        match event:
            case RecipientReply():
                pass  # there may be others to come
            case ReplyReceived(EndOfData() | Bdat(last=True), reply):
                self.interrupted = f"interrupted: the message was sent, and the server said {reply}"
            case _:
                pass
        super().on_event(event)

    def deliver(self, result: DeliveryResult) -> None:
        """As `Trace.deliver`."""
        self.interrupted = "interrupted: the message was sent, and answered"
        super().deliver(result)


def _end(arguments: argparse.Namespace, options: ConnectOptions | None, trace: Trace, outcome: Outcome) -> int:
    sentence = trace.finish(outcome)
    if sentence and not arguments.json:
        complain("; ".join(filter(None, (sentence, hint(outcome, options, trace.refusal)))))
    return int(outcome.code)


def outcome_of(result: DeliveryResult) -> Outcome:
    """The worst that became of a message."""
    fate = result.fate
    if fate is Fate.ACCEPTED:
        return Outcome(int(ErrorCode.SUCCESS), ErrorCode.SUCCESS.name)
    worst = next(each for each in result.recipients if each.fate is fate)
    said = [f"{fate.value}: {worst.recipient.forward_path}"]
    if worst.reply is not None:
        said[0] += f": {worst.reply}"
    if result.error is not None:
        said.append(str(result.error))
    if len(result.recipients) > 1:
        said.append(f"accepted for {len(result.accepted)} of {len(result.recipients)} recipients")
    if fate is Fate.UNKNOWN:
        said.append("it may have been delivered, and would be twice if it were sent again")
    status = OF_FATE[fate]
    return Outcome(int(status), status.name, "; ".join(said), retryable=fate in (Fate.DEFERRED, Fate.NOT_SENT))
