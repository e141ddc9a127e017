"""What a server offers, and its defaults."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from smtpproto.commands import (
    Auth,
    Bdat,
    Command,
    Connect,
    Data,
    Ehlo,
    EndOfData,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    UnknownCommand,
    Vrfy,
    XClient,
)
from smtpproto.errors import LocalProtocolError
from smtpproto.events import BadCommand, CommandReceived, Event, Pause
from smtpproto.limits import Limits, Timeouts
from smtpproto.replies import Reply
from smtpproto.sasl import Identity, ServerExchange, ServerMechanism, Verify
from smtpproto.server_auth import ServerAuth
from smtpproto.service import DEFAULT_EXTENSIONS, MAX_ERRORS, Service, ServiceSession, default_extensions


class Hashed:
    """A mechanism that exposes no secret."""

    name = "x-hashed"
    exposes_secret = False

    def exchange(self, initial_response: bytes | None = None) -> ServerExchange:
        raise NotImplementedError


def auth(*mechanisms: str | ServerMechanism, **fields: Any) -> ServerAuth:
    return ServerAuth(mechanisms=mechanisms, **fields)


def session(*, secure: bool = False, **fields: Any) -> ServiceSession:
    return ServiceSession(Service("mx.example", **fields), secure=secure)


def say(serving: ServiceSession, line: bytes, reply: Reply | None = None) -> Event:
    """The client says this, and gets this reply or the default one."""
    serving.connection.receive_data(line + b"\r\n")
    event = serving.connection.next_event()
    assert isinstance(event, CommandReceived | BadCommand)
    answer = serving.default(event) if reply is None else reply
    serving.connection.send(answer)
    serving.note(event, answer)
    return event


def greeted(**fields: Any) -> ServiceSession:
    serving = session(**fields)
    serving.connection.send(serving.default(CommandReceived(Connect())))
    return serving


def hello(serving: ServiceSession) -> tuple[str, ...]:
    return serving.default(CommandReceived(Ehlo("me.example"))).lines


# Service -----------------------------------------------------------------------------------------------------------


def test_service_is_a_value() -> None:
    service = Service("mx.example", auth=auth(Hashed()), extensions={"SIZE": "5"}, limits=Limits(recipients=7))
    assert service.host_name == "mx.example"
    assert service.extensions.lines() == ("SIZE 5",)
    with pytest.raises(AttributeError):
        service.host_name = "other"
    assert pickle.loads(pickle.dumps(Service("mx.example"))) == Service("mx.example") != Service()
    assert Service().host_name == "localhost"


@pytest.mark.parametrize(
    "fields",
    [
        {"host_name": ""},
        {"host_name": "two words"},
        {"host_name": "a\r\nb"},
        {"extensions": ["STARTTLS"]},
        {"extensions": {"AUTH": "PLAIN"}},
        {"extensions": ["SIZE", "size"]},
        {"extensions": ["a b\r\nc"]},
        {"auth": {"user": "secret"}},
        {"auth": True},
        {"max_errors": 0},
    ],
)
def test_services_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match=r"\w+ \w+"):
        Service(**fields)


def test_limits_and_timeouts_reach_the_connection() -> None:
    limits, timeouts = Limits(recipients=7), Timeouts(server=3)
    serving = session(limits=limits, timeouts=timeouts, lmtp=True, secure=True)
    assert serving.connection.limits is limits
    assert serving.connection.deadline == 3
    assert serving.connection.lmtp
    assert serving.connection.secure


# What is offered ---------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.rfc("5321", "2.2.1")
def test_plain_offer() -> None:
    assert hello(session()) == ("mx.example greets me.example", *DEFAULT_EXTENSIONS)
    assert hello(session(extensions=["SIZE 5"])) == ("mx.example greets me.example", "SIZE 5")
    assert hello(session(extensions=())) == ("mx.example greets me.example",)


@pytest.mark.rfc("1870", "4")
@pytest.mark.rfc("5321", "4.5.3.1.7")
def test_the_size_that_is_offered_is_the_one_that_is_taken() -> None:
    assert DEFAULT_EXTENSIONS[0] == "SIZE 33554432"
    limits = Limits(message=5000)
    assert session(limits=limits).offer == ("SIZE 5000", *DEFAULT_EXTENSIONS[1:]) == default_extensions(limits)
    # What the program says itself stays as it is, and holds.
    assert session(limits=limits, extensions=DEFAULT_EXTENSIONS).offer == DEFAULT_EXTENSIONS


@pytest.mark.rfc("8689", "2")
def test_requiretls_is_offered_under_tls() -> None:
    extensions = ["PIPELINING", "REQUIRETLS", "SIZE 5"]
    assert session(extensions=extensions).offer == ("PIPELINING", "SIZE 5")
    assert session(extensions=extensions, secure=True).offer == ("PIPELINING", "REQUIRETLS", "SIZE 5")
    serving = greeted(extensions=extensions, starttls=True)
    say(serving, b"EHLO me.example")
    event = say(serving, b"MAIL FROM:<> REQUIRETLS")
    assert isinstance(event, BadCommand)
    assert event.reply.code == 555
    say(serving, b"STARTTLS")
    serving.connection.next_event()
    serving.tls_established()
    say(serving, b"EHLO me.example")
    assert say(serving, b"MAIL FROM:<> REQUIRETLS") == CommandReceived(Mail("", require_tls=True))


@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("3207", "4.2")
@pytest.mark.rfc("3207", "6")
def test_starttls_is_offered_until_tls() -> None:
    assert "STARTTLS" in session(starttls=True).offer
    assert "STARTTLS" not in session(starttls=True, secure=True).offer
    assert "STARTTLS" not in session().offer


@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("4954", "6")
@pytest.mark.rfc("4954", "9")
def test_mechanisms_that_expose_the_secret_wait_for_tls() -> None:
    three = auth("PLAIN", Hashed(), "LOGIN")
    assert session(auth=three, extensions=()).offer == ("AUTH X-HASHED",)
    assert session(auth=auth("PLAIN"), extensions=()).offer == ()
    assert session(auth=three, extensions=(), secure=True).offer == ("AUTH PLAIN X-HASHED LOGIN",)
    assert session(extensions=(), secure=True).offer == ()
    allowed = session(auth=auth("PLAIN", Hashed(), "LOGIN", allow_plaintext=True), extensions=())
    assert allowed.offer == ("AUTH PLAIN X-HASHED LOGIN",)


@pytest.mark.rfc("4954", "4")
def test_authentication_is_not_offered_twice() -> None:
    serving = greeted(auth=auth("PLAIN"), secure=True)
    say(serving, b"EHLO me.example")
    say(serving, b"AUTH PLAIN AHUAcA==", Reply(235, "ok"))
    assert serving.mechanisms == {}
    assert not [line for line in serving.offer if line.startswith("AUTH")]


@pytest.mark.rfc("3207", "4.2")
def test_tls_makes_forget() -> None:
    serving = greeted(starttls=True)
    say(serving, b"EHLO me.example")
    assert serving.hello == "me.example"
    serving.identity = Identity("user")
    say(serving, b"STARTTLS")
    serving.connection.next_event()
    serving.tls_established()
    assert serving.hello == ""
    assert vars(serving)["identity"] is None
    assert serving.connection.secure


def test_who_speaks_for_another_client_is_nobody_yet() -> None:
    """Postfix's XCLIENT: what comes after it comes from someone else, whom the connection does not know either."""
    serving = greeted(auth=auth("PLAIN"), secure=True, extensions=["XCLIENT NAME"])
    say(serving, b"EHLO me.example")
    say(serving, b"AUTH PLAIN AHUAcA==", Reply(235, "ok"))
    serving.identity = Identity("user")
    say(serving, b"XCLIENT NAME=other.example", Reply(550, "no"))
    assert (serving.hello, serving.identity) == ("me.example", Identity("user"))
    say(serving, b"XCLIENT NAME=other.example", Reply(220, "mx.example"))
    assert (serving.hello, vars(serving)["identity"]) == ("", None)
    assert list(serving.mechanisms) == ["PLAIN"]


# Policy ------------------------------------------------------------------------------------------------------------

ALL: list[Command] = [
    Connect(),
    Ehlo("x"),
    Lhlo("x"),
    Helo("x"),
    StartTls(),
    Auth("PLAIN", b""),
    Mail("a@b.c"),
    Rcpt("a@b.c"),
    Data(),
    Bdat(1),
    EndOfData(),
    Rset(),
    Noop(),
    Quit(),
    Vrfy("a"),
    Expn("a"),
    Help(),
    Etrn("a"),
    XClient({"NAME": "a"}),
    UnknownCommand("X"),
]


def refused(serving: ServiceSession) -> set[str]:
    found = {type(command).__name__: serving.refusal(command) for command in ALL}
    assert {reply.code for reply in found.values() if reply is not None} <= {530}
    return {name for name, reply in found.items() if reply is not None}


@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("3207", "6")
def test_require_tls() -> None:
    allowed = {"Connect", "Ehlo", "Lhlo", "StartTls", "Noop", "Quit"}
    everything = {type(command).__name__ for command in ALL}
    assert refused(session(require_tls=True, starttls=True, auth=auth("PLAIN"))) == everything - allowed
    assert refused(session(require_tls=True, auth=auth("PLAIN"), secure=True)) == set()
    reply = session(require_tls=True).refusal(Mail("a@b.c"))
    assert reply is not None
    assert str(reply.enhanced) == "5.7.0"
    assert "STARTTLS" in reply.text


@pytest.mark.rfc("4954", "6")
def test_require_auth() -> None:
    allowed = {"Connect", "Ehlo", "Lhlo", "Helo", "StartTls", "Auth", "Noop", "Rset", "Quit", "Help"}
    everything = {type(command).__name__ for command in ALL}
    assert refused(session(auth=auth("PLAIN", required=True), secure=True)) == everything - allowed
    serving = greeted(auth=auth("PLAIN", required=True), secure=True)
    say(serving, b"EHLO me.example")
    assert serving.refusal(Mail("a@b.c")) is not None
    say(serving, b"AUTH PLAIN AHUAcA==", Reply(235, "ok"))
    assert serving.refusal(Mail("a@b.c")) is None


@pytest.mark.rfc("4954", "4")
def test_mechanism_that_is_not_offered() -> None:
    serving = session(auth=auth("PLAIN", Hashed(), "SCRAM-SHA-256-PLUS"))
    for name in ("LOGIN", "NONESUCH", "SCRAM-SHA-256-PLUS"):
        refusal = serving.refusal(Auth(name))
        assert refusal is not None
        assert (refusal.code, str(refusal.enhanced)) == (504, "5.5.4")
    assert serving.refusal(Auth("X-HASHED")) is None
    assert serving.refusal(Auth("x-hashed")) is None


@pytest.mark.rfc("4954", "6")
def test_mechanism_that_waits_for_tls() -> None:
    refusal = session(auth=auth("PLAIN", Hashed())).refusal(Auth("PLAIN"))
    assert refusal is not None
    assert (refusal.code, str(refusal.enhanced)) == (538, "5.7.11")
    assert session(auth=auth("PLAIN", Hashed()), secure=True).refusal(Auth("PLAIN")) is None
    assert session(auth=auth("PLAIN", Hashed(), allow_plaintext=True)).refusal(Auth("PLAIN")) is None
    # After an authentication there is none of them any more, and TLS would not help.
    serving = greeted(auth=auth("PLAIN", Hashed()), secure=True)
    say(serving, b"EHLO me.example")
    say(serving, b"AUTH PLAIN AHUAcA==", Reply(235, "ok"))
    refusal = serving.refusal(Auth("PLAIN"))
    assert refusal is not None
    assert refusal.code == 504


@pytest.mark.rfc("5929", "4")
def test_mechanisms_are_bound_to_the_channel_of_the_session() -> None:
    serving = greeted(auth=auth("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), starttls=True, extensions=())
    say(serving, b"EHLO me.example")
    assert list(serving.offer) == ["STARTTLS", "AUTH SCRAM-SHA-256"]
    say(serving, b"STARTTLS")
    serving.connection.next_event()
    serving.tls_established({"tls-server-end-point": b"digest"})
    assert serving.connection.channel_bindings == {"tls-server-end-point": b"digest"}
    assert list(serving.offer) == ["AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256"]
    serving = session(auth=auth("SCRAM-SHA-256-PLUS"), extensions=(), secure=True)
    assert serving.offer == ()


def test_attempts_that_fail_are_counted() -> None:
    serving = session(auth=auth("PLAIN", max_failures=2), max_errors=3)

    def failing(reply: Reply) -> tuple[int, int, bool, bool]:
        serving.auth_failed(reply)
        return serving.auth_failures, serving.errors, serving.has_failed_too_often, serving.has_erred_too_often

    assert failing(Reply(454, "4.7.0 not now")) == (0, 0, False, False)
    assert failing(Reply(535, "5.7.8 no")) == (1, 1, False, False)
    assert failing(Reply(501, "5.5.2 nonsense")) == (2, 2, True, False)
    assert not session().has_failed_too_often


def test_questions_are_left_to_the_policy() -> None:
    assert session(auth=ServerAuth({"user": "secret"})).answer(Verify("user", "secret")) is True
    assert session(auth=ServerAuth({"user": "secret"})).answer(Verify("user", "wrong")) is False
    assert session().answer(Verify("user", "secret")) is None


def test_no_policy() -> None:
    assert refused(session(auth=auth("PLAIN"), secure=True)) == set()


# Defaults ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.2.2")
@pytest.mark.rfc("5321", "3.5.3")
@pytest.mark.rfc("5321", "4.1.1.8")
@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("2034", "4")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (Connect(), 220),
        (Ehlo("x"), 250),
        (Lhlo("x"), 250),
        (Helo("x"), 250),
        (StartTls(), 220),
        (Mail("a@b.c"), 250),
        (Rcpt("a@b.c"), 250),
        (Data(), 354),
        (EndOfData(), 250),
        (Bdat(3), 250),
        (Bdat(3, last=True), 250),
        (Rset(), 250),
        (Noop(), 250),
        (Quit(), 221),
        (Vrfy("a"), 252),
        (Expn("a"), 502),
        (Help(), 214),
        (Etrn("x"), 502),
        (XClient({"NAME": "a"}), 502),
        (UnknownCommand("XYZZY"), 502),
    ],
)
def test_defaults(command: Command, code: int) -> None:
    reply = session().default(CommandReceived(command))
    assert reply.code == code
    if reply.enhanced is not None:
        assert reply.enhanced.class_ == code // 100
    else:
        assert type(command) in {Connect, Ehlo, Lhlo, Helo, Data}


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("5321", "3.2")
def test_the_greeting_names_the_host_first() -> None:
    assert session().default(CommandReceived(Connect())) == Reply(220, "mx.example ESMTP ready")
    assert session(lmtp=True).default(CommandReceived(Connect())) == Reply(220, "mx.example LMTP ready")
    assert session().default(CommandReceived(Helo("x"))) == Reply(250, "mx.example")


def test_the_default_for_a_bad_command_is_what_the_engine_proposes() -> None:
    reply = Reply(500, "5.5.2 what?")
    assert session().default(BadCommand(b"what", reply)) is reply


# Facts -------------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.1.4")
def test_hello_is_noted_where_it_was_accepted() -> None:
    serving = greeted()
    say(serving, b"EHLO no.example", Reply(550, "go away"))
    assert serving.hello == ""
    say(serving, b"HELO one.example")
    assert serving.hello == "one.example"
    say(serving, b"EHLO two.example")
    assert serving.hello == "two.example"
    say(serving, b"NOOP")
    assert serving.hello == "two.example"


def test_errors_are_counted() -> None:
    serving = greeted(max_errors=2)
    assert serving.errors == 0
    assert MAX_ERRORS == Service().max_errors == 20
    say(serving, b"WHAT")
    assert (serving.errors, serving.has_erred_too_often) == (1, False)
    say(serving, b"EHLO me.example", Reply(550, "what the program refuses does not count"))
    assert serving.errors == 1
    say(serving, b"RCPT TO:<a@b.c>")
    assert (serving.errors, serving.has_erred_too_often) == (2, True)


def test_what_is_refused_for_now_is_no_error() -> None:
    """A client with many recipients is not sent away for those that it has to send again."""
    serving = transaction("b@y.example", max_errors=2, limits=Limits(recipients=1))
    for _ in range(5):
        event = say(serving, b"RCPT TO:<c@y.example>")
        assert isinstance(event, BadCommand)
        assert event.reply.code == 452
    assert serving.errors == 0
    assert not serving.has_erred_too_often


def test_an_error_stays_one_whatever_the_program_answers() -> None:
    serving = greeted()
    say(serving, b"WHAT", Reply(451, "4.3.0 the program has failed"))
    assert serving.errors == 1


def test_bad_command_that_the_program_lets_pass_is_no_error() -> None:
    serving = greeted()
    event = say(serving, b"XYZZY", Reply(250, "nothing happens"))
    assert isinstance(event, BadCommand)
    assert serving.errors == 0
    assert isinstance(serving.connection.next_event(), Pause)


# The transaction --------------------------------------------------------------------------------------------------


def transaction(*recipients: str, **fields: Any) -> ServiceSession:
    serving = greeted(**fields)
    say(serving, b"LHLO me.example" if serving.service.lmtp else b"EHLO me.example")
    say(serving, b"MAIL FROM:<a@x.example>")
    for recipient in recipients:
        say(serving, b"RCPT TO:<%b>" % recipient.encode())
    return serving


def envelope(serving: ServiceSession) -> tuple[Mail | None, list[Rcpt]]:
    return serving.mail, serving.recipients


NOTHING: tuple[Mail | None, list[Rcpt]] = (None, [])


@pytest.mark.rfc("5321", "4.1.4")
def test_the_transaction_is_what_was_accepted() -> None:
    serving = greeted()
    assert envelope(serving) == NOTHING
    say(serving, b"EHLO me.example")
    say(serving, b"MAIL FROM:<no@x.example>", Reply(550, "no"))
    assert envelope(serving) == NOTHING
    say(serving, b"MAIL FROM:<a@x.example> SIZE=5")
    assert envelope(serving) == (Mail("a@x.example", size=5), [])
    for line, reply in (
        (b"RCPT TO:<b@y.example>", None),
        (b"RCPT TO:<no@y.example>", Reply(550, "no")),
        (b"RCPT TO:<c@y.example>", Reply(251, "2.1.5 will forward")),
        (b"MAIL FROM:<other@x.example>", None),
        (b"NOOP", None),
        (b"WHAT", None),
    ):
        say(serving, line, reply)
    assert envelope(serving) == (Mail("a@x.example", size=5), [Rcpt("b@y.example"), Rcpt("c@y.example")])


@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.rfc("5321", "4.1.1.5")
@pytest.mark.parametrize("line", [b"RSET", b"EHLO again.example", b"HELO again.example", b"QUIT"])
def test_what_ends_the_transaction(line: bytes) -> None:
    serving = transaction("b@y.example")
    kept = serving.recipients
    say(serving, line)
    assert envelope(serving) == NOTHING
    assert kept == [Rcpt("b@y.example")]


@pytest.mark.parametrize("line", [b"RSET", b"EHLO again.example"])
def test_what_is_refused_does_not_end_it(line: bytes) -> None:
    serving = transaction("b@y.example")
    say(serving, line, Reply(451, "later"))
    assert envelope(serving) == (Mail("a@x.example"), [Rcpt("b@y.example")])


@pytest.mark.rfc("5321", "3.8")
def test_421_ends_it_too() -> None:
    serving = transaction("b@y.example")
    say(serving, b"NOOP", Reply(421, "4.3.2 down"))
    assert envelope(serving) == NOTHING


@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.parametrize("reply", [None, Reply(550, "5.7.1 spam"), Reply(451, "4.3.0 later")])
def test_it_is_there_until_the_content_was_answered(reply: Reply | None) -> None:
    serving = transaction("b@y.example")
    say(serving, b"DATA", None)
    serving.connection.receive_data(b".\r\n")
    event = serving.connection.next_event()
    assert event == CommandReceived(EndOfData())
    assert isinstance(event, CommandReceived)
    assert envelope(serving) == (Mail("a@x.example"), [Rcpt("b@y.example")])
    answer = serving.default(event) if reply is None else reply
    serving.connection.send(answer)
    serving.note(event, answer)
    assert envelope(serving) == NOTHING


@pytest.mark.rfc("3030", "2")
def test_it_ends_with_the_last_chunk() -> None:
    there = (Mail("a@x.example"), [Rcpt("b@y.example")])
    serving = transaction("b@y.example")
    say(serving, b"BDAT 0")
    assert envelope(serving) == there
    say(serving, b"BDAT 0", Reply(452, "full"))
    assert envelope(serving) == there
    say(serving, b"BDAT 0 LAST")
    assert envelope(serving) == NOTHING
    serving = transaction("b@y.example")
    say(serving, b"BDAT 0 LAST", Reply(451, "later"))
    assert envelope(serving) == NOTHING


def test_what_the_program_accepts_against_the_engine_is_the_transaction_too() -> None:
    serving = greeted(limits=Limits(recipients=1))
    say(serving, b"EHLO me.example")
    say(serving, b"MAIL FROM:<a@x.example> XYZZY", Reply(250, "all the same"))
    assert serving.mail == Mail("a@x.example", other={"XYZZY": None})
    for path in ("b@y.example", "c@y.example"):
        say(serving, b"RCPT TO:<%b>" % path.encode(), Reply(250, "all the same"))
    assert serving.recipients == [Rcpt("b@y.example"), Rcpt("c@y.example")]


# Enhanced status codes --------------------------------------------------------------------------------------------


@pytest.mark.rfc("2034", "4")
@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.parametrize(
    ("command", "reply", "expected"),
    [
        (Mail("a@b.c"), Reply(250, "ok"), "250 2.1.0 ok"),
        (Rcpt("a@b.c"), Reply(250, "ok"), "250 2.1.5 ok"),
        (Rcpt("a@b.c"), Reply(550, "no"), "550 5.0.0 no"),
        (Rcpt("a@b.c"), Reply(550, "5.1.1 no"), "550 5.1.1 no"),
        (Noop(), Reply(250, "ok"), "250 2.0.0 ok"),
        (EndOfData(), Reply(451, ("a", "b")), "451-4.0.0 a\n451 4.0.0 b"),
        (None, Reply(421, "bye"), "421 4.0.0 bye"),
        (Data(), Reply(354, "go"), "354 go"),
        (Connect(), Reply(220, "mx.example"), "220 mx.example"),
        (Connect(), Reply(554, "no"), "554 no"),
        (Ehlo("x"), Reply(250, "mx.example"), "250 mx.example"),
        (Ehlo("x"), Reply(550, "no"), "550 no"),
        (Helo("x"), Reply(250, "mx.example"), "250 mx.example"),
        (Lhlo("x"), Reply(250, "mx.example"), "250 mx.example"),
    ],
)
def test_replies_get_the_status_that_they_lack(command: Command | None, reply: Reply, expected: str) -> None:
    serving = greeted()
    for line in (b"EHLO me.example", b"HELO me.example"):
        say(serving, line)
        assert str(serving.complete(reply, command)) == expected
    serving = greeted(extensions=["SIZE 5"])
    for line in (b"HELO me.example", b"EHLO me.example"):
        say(serving, line)
        assert serving.complete(reply, command) is reply


@pytest.mark.rfc("2034", "4")
def test_what_the_program_offered_instead_is_what_was_offered() -> None:
    serving = greeted()
    say(serving, b"EHLO me.example", Reply(250, ("mx.example", "SIZE 5")))
    reply = Reply(250, "ok")
    assert serving.complete(reply, Noop()) is reply
    serving = greeted(extensions=())
    say(serving, b"EHLO me.example", Reply(250, ("mx.example", "EnhancedStatusCodes")))
    assert serving.complete(reply, Noop()) == Reply(250, "2.0.0 ok")
