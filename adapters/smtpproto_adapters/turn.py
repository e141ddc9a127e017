"""One session of a server under way: who is asked what, and what becomes of the answer."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

from smtpproto import (
    BadCommand,
    Bdat,
    Command,
    CommandReceived,
    Connect,
    ContentReceived,
    Data,
    EarlyTalker,
    Ehlo,
    EndOfData,
    Helo,
    Lhlo,
    Mail,
    Quit,
    Rcpt,
    Reply,
    Rset,
    ServiceSession,
    flows,
)
from smtpproto.sasl import Question, Verify, VerifyToken

from .channel import Channel
from .handler import Handler, Outcome, ServerSession
from .transport import Address, Answer, Subject, named

if TYPE_CHECKING:
    from .server import ServerCore

logger: Final = logging.getLogger("smtpproto")

_FAILED_ON: Final = "the handler failed on %r of %s"
_FAILED_AND_TOLD: Final = f"{_FAILED_ON}, with a %s that says the secret\n%s"
_HANDLER_FAILED: Final = Reply(451, "4.3.0 internal error, try again later")
_VERIFY_FAILED: Final = Reply(454, "4.7.0 temporary authentication failure")
_GREETING_FAILED: Final = Reply(421, "4.3.0 internal error, try again later")


class _Noting(ServiceSession):
    """A `ServiceSession` that tells when a transaction is over."""

    on_end: Callable[[], object]

    def note(self, event: CommandReceived | BadCommand, reply: Reply) -> None:
        before = self.mail
        super().note(event, reply)
        if before is not None and self.mail is not before:
            self.on_end()


class Turn:
    """One session under way: its flow, for a wire, and who answers what it asks."""

    def __init__(self, core: ServerCore, peer: Address, clock: Callable[[], float]) -> None:
        self._handler = core.handler
        script = None if core.faults is None else core.faults.begin()
        self._on_end = core.on_end
        on_reply = core.on_send
        witnesses: list[Callable[[Command | Reply], object]] = [] if script is None else [script.on_send]
        if on_reply is not None:
            witnesses.append(lambda reply: on_reply(self.session, cast("Reply", reply)))  # a server sends nothing else
        self._inner = inner = _Noting(
            core.service, secure=core.implicit_tls, on_send=_all_of(witnesses) if witnesses else None
        )
        inner.on_end = self._transaction_ended
        channel = Channel(core.context, peer=named(peer), clock=clock, server_side=True, bindings=core.channel_bindings)
        self.session: ServerSession = ServerSession(inner, channel, peer)
        watchers: list[flows.Watcher] = [] if script is None else [script.watch]
        on_event = core.on_event
        if on_event is not None:
            watchers.append(lambda event: on_event(self.session, event))
        flow = flows.serve(inner, _all_of(watchers), implicit_tls=core.implicit_tls)
        self.flow: flows.Flow[None] = channel.carry(flow if script is None else script.around(flow))

    def end(self) -> None:
        """The session is over, and the transaction with it that was under way."""
        if self._inner.mail is not None:
            self._transaction_ended()
        if self._on_end is not None:
            self._on_end(self.session)

    def _transaction_ended(self) -> None:
        self.session.forget()
        try:
            self._handler.transaction_ended(self.session)
        except Exception:
            logger.exception("the handler failed at the end of a transaction of %s", named(self.session.peer))

    def ask(self, subject: Subject) -> Answer:
        """The handler's answer."""
        try:
            answer = _asked(self._handler, self.session, subject)
            if inspect.iscoroutine(answer):
                answer.close()
            return self._checked(subject, answer)
        except Exception as error:
            self._complain(subject, error)
            return self._failed(subject)

    async def ask_async(self, subject: Subject) -> Answer:
        """The handler's answer, awaited where it has to be."""
        try:
            answer = _asked(self._handler, self.session, subject)
            if answer is not None and not isinstance(answer, Reply) and inspect.isawaitable(answer):
                answer = await answer
            return self._checked(subject, answer)
        except Exception as error:
            self._complain(subject, error)
            return self._failed(subject)

    def _complain(self, subject: Subject, error: Exception) -> None:
        """Log how the handler failed; but not what it says where that has the secret which it was asked about.

        A look-up that fails says the key: `KeyError`, say, of a mapping of tokens.
        """
        secret = _secret_of(subject)
        said = _said_by(error)
        if secret and (secret in said or repr(secret)[1:-1] in said):
            place = "".join(traceback.format_tb(error.__traceback__))
            logger.error(_FAILED_AND_TOLD, subject, named(self.session.peer), type(error).__name__, place)
        else:
            logger.error(_FAILED_ON, subject, named(self.session.peer), exc_info=error)

    def _failed(self, subject: Subject) -> Reply:
        """What the client is told where the handler failed."""
        if isinstance(subject, Question):
            return _VERIFY_FAILED
        if isinstance(subject, ContentReceived):
            self.session.forget()
        greeting = isinstance(subject, CommandReceived) and isinstance(subject.command, Connect)
        return _GREETING_FAILED if greeting or isinstance(subject, EarlyTalker) else _HANDLER_FAILED

    def _checked(self, subject: Subject, answer: object) -> Answer:
        if isinstance(answer, Reply):
            if isinstance(subject, ContentReceived):
                self.session.forget()  # it is refused, and the rest of it does not come here
            return answer
        if isinstance(subject, Question):
            if answer is None:
                # Here, so that where the callables of the ServerAuth fail the client hears what it hears of a handler.
                answer = self._inner.answer(subject)
                return False if answer is None else answer
            if subject.may_be_answered_with(answer):
                return cast("Answer", answer)
            yes = " or ".join("True" if each == "bool" else each for each in subject.answers)
            raise TypeError(
                f"verify() answered {type(subject).__name__} with {type(answer).__name__}: it must be {yes}, False, "
                "a Reply that refuses, or None for the default"
            )
        if answer is None:
            return None
        if _ends_content(subject) and isinstance(answer, Mapping | Sequence) and not isinstance(answer, str | bytes):
            return self._for_each(subject, cast("Mapping[str, Reply] | Sequence[Reply]", answer))
        hint = "; async methods are for asyncio and trio" if inspect.iscoroutine(answer) else ""
        raise TypeError(f"a handler returned {answer!r}: it must be a Reply, or None for the default{hint}")

    def _for_each(self, subject: CommandReceived, given: Mapping[str, Reply] | Sequence[Reply]) -> Answer:
        """One reply for each recipient.  RFC 2033 section 4.2."""
        session = self.session
        if not session.lmtp:
            raise TypeError(f"a handler returned {given!r}: only LMTP has a reply for each recipient")
        paths = [each.forward_path for each in session.recipients]
        if isinstance(given, Mapping):
            strangers = given.keys() - set(paths)
            if strangers:
                raise ValueError(f"a handler returned replies for {sorted(strangers)}, who are no recipients")
            default = self._inner.default(subject)
            given = [given.get(path, default) for path in paths]
        if len(given) != len(paths):
            raise ValueError(f"a handler returned {len(given)} replies for {len(paths)} recipients: each needs one")
        for each in given:
            if not isinstance(each, Reply):  # pyright: ignore[reportUnnecessaryIsInstance]  # programs may err
                raise TypeError(f"a handler returned {each!r} for a recipient: it must be a Reply")
        return tuple(given)


def _all_of(watchers: Sequence[Callable[[Any], object]]) -> Callable[[Any], object]:
    match watchers:
        case []:
            return flows.ignore
        case [watcher]:
            return watcher
        case _:

            def watch(subject: object) -> None:
                for each in watchers:
                    each(subject)

            return watch


def _said_by(error: BaseException) -> str:
    """What an exception says, and those that it comes of or holds; without the places."""
    found = [error]
    for each in found:
        held = (
            cast("BaseExceptionGroup[BaseException]", each).exceptions if isinstance(each, BaseExceptionGroup) else ()
        )
        others = (each.__cause__, each.__context__, *held)
        found += [other for other in others if other is not None and other not in found]
    return "".join(line for each in found for line in traceback.format_exception_only(each))


def _secret_of(subject: Subject) -> str:
    match subject:
        case Verify(password=secret) | VerifyToken(token=secret):
            return secret
        case _:
            return ""


def _ends_content(subject: Subject) -> TypeGuard[CommandReceived]:
    match subject:
        case CommandReceived(EndOfData() | Bdat(last=True)):
            return True
        case _:
            return False


def _asked(handler: Handler, session: ServerSession, subject: Subject) -> Any:
    match subject:
        case CommandReceived(command):
            return _asked_about(handler, session, command)
        case ContentReceived(data):
            return handler.content(session, data)
        case BadCommand():
            return handler.bad_command(session, subject)
        case Question():
            return handler.verify(session, subject)
        case EarlyTalker():
            return handler.early_talker(session)
        case _:
            raise TypeError(f"{subject!r} is nothing that a handler is asked about")


def _asked_about(handler: Handler, session: ServerSession, command: Command) -> Outcome:
    match command:
        case Connect():
            return handler.greeting(session)
        case Ehlo() | Helo() | Lhlo():
            return handler.hello(session, command)
        case Mail():
            return handler.mail(session, command)
        case Rcpt():
            return handler.rcpt(session, command)
        case Data():
            return handler.data(session)
        case EndOfData():
            return handler.end_of_data(session)
        case Bdat():
            return handler.chunk(session, command)
        case Rset():
            return handler.reset(session)
        case Quit():
            return handler.quit(session)
        case _:
            return handler.command(session, command)
