"""Whole messages, and what a handler knows of the transaction: run without I/O, and on each backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import (
    BadCommand,
    Command,
    Data,
    Ehlo,
    Helo,
    Identity,
    Lhlo,
    LocalProtocolError,
    Mail,
    Rcpt,
    Reply,
    ServerAuth,
    UnknownCommand,
)
from smtpproto_adapters.handler import Handler, Outcome, ServerSession
from smtpproto_adapters.received import ReceivedMessage
from tests.adapters.conversing import EHLO, LHLO, TO_YOU, begin, converse
from tests.adapters.talking import Complaints, talk, with_server

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from tests.adapters.backends import AnyServer, Backend


class Keeping(Handler):
    """Keeps messages, and when transactions ended; refuses recipients who are nobody."""

    def __init__(self, answer: Outcome = None) -> None:
        self.answer = answer
        self.messages: list[ReceivedMessage] = []
        self.ended: list[tuple[Mail | None, int]] = []

    def rcpt(self, session: ServerSession, command: Rcpt) -> Reply | None:
        return Reply(550, "5.1.1 no such user") if command.forward_path.startswith("nobody") else None

    def message(self, session: ServerSession, message: ReceivedMessage) -> Outcome:
        assert session.envelope == message.envelope
        assert gathered(session) == b""  # it is not kept twice
        self.messages.append(message)
        return self.answer

    def transaction_ended(self, session: ServerSession) -> None:
        self.ended.append((session.mail, len(session.recipients)))
        assert gathered(session) == b""


def gathered(session: ServerSession) -> bytes:
    return b"".join(session._gathered)  # pyright: ignore[reportPrivateUsage]


# The whole message -------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.5.2")
def test_message(backend: Backend) -> None:
    handler = Keeping(Reply(250, "2.0.0 kept"))

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert client.ask(b"EHLO me.example", b"MAIL FROM:<me@me.example> BODY=8BITMIME") == [250, 250]
            assert client.ask(b"RCPT TO:<nobody@mx.example>", b"RCPT TO:<you@mx.example>") == [550, 250]
            assert client.ask(b"DATA", b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\n..\r\n.") == [354, 250]
            assert client.last == b"250 2.0.0 kept"
            assert client.ask(b"MAIL FROM:<>", b"RCPT TO:<a@mx.example>", b"RCPT TO:<b@mx.example>") == [250] * 3
            assert client.ask(b"BDAT 4\r\nHi", b"BDAT 3 LAST\r\n.") == [250, 250]

    with_server(backend, handler, work)
    first, second = handler.messages
    assert first.envelope.mail == Mail("me@me.example", body="8BITMIME")
    assert first.envelope.recipients == (Rcpt("you@mx.example"),)
    assert first.content == "Subject: Grüße\r\n\r\n.\r\n".encode()
    assert first.parsed["Subject"] == "Grüße"
    assert first.parsed is first.parsed
    assert (first.hello, first.extended, first.lmtp, first.host_name) == ("me.example", True, False, "localhost")
    assert (first.tls, first.identity, first.peer[0]) == (None, None, "127.0.0.1")
    assert "Subject" not in repr(first)
    assert (second.envelope.sender, second.envelope.forward_paths) == ("", ("a@mx.example", "b@mx.example"))
    assert second.content == b"Hi\r\n.\r\n"
    assert handler.ended == [(None, 0)] * 2


@pytest.mark.rfc("4954", "4")
def test_facts_of_the_session(backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    handler = Keeping()

    def work(server: AnyServer) -> None:
        with talk(server, client_context) as client:
            assert client.reply() == 220
            assert client.ask(b"EHLO me.example", b"AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=") == [250, 235]
            client.say(TO_YOU + b"BDAT 2 LAST\r\nHi")
            assert [client.reply() for _ in range(3)] == [250, 250, 250]

    auth = ServerAuth({"user": "password"})
    with_server(backend, handler, work, auth=auth, context=server_context, implicit_tls=True)
    (message,) = handler.messages
    assert message.identity == Identity("user", "")
    assert message.tls is not None
    assert message.tls.version == "TLSv1.3"


def test_async_message(backend: Backend) -> None:
    taken: list[bytes] = []

    class Awaited(Handler):
        async def message(self, session: ServerSession, message: ReceivedMessage) -> Reply | None:
            await backend.sleep(0)
            taken.append(message.content)
            return Reply(250, "2.0.0 awaited")

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            client.say(EHLO + TO_YOU + b"BDAT 2 LAST\r\nHi")
            assert [client.reply() for _ in range(4)] == [250, 250, 250, 250]
            assert client.last == b"250 2.0.0 awaited"

    if backend.name == "blocking":
        with pytest.raises(LocalProtocolError, match=r"Awaited\.message is async"):
            backend.serve(Awaited())
    else:
        with_server(backend, Awaited(), work)
        assert taken == [b"Hi"]


def test_async_end_of_a_transaction(backend: Backend) -> None:
    class Awaited(Handler):
        async def transaction_ended(self, session: ServerSession) -> None:  # type: ignore[override]
            pass

    with pytest.raises(LocalProtocolError, match="nobody waits for it"):
        backend.serve(Awaited())


def test_client_that_vanishes_ends_its_transaction(backend: Backend) -> None:
    handler = Keeping()

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            client.say(EHLO + TO_YOU + b"BDAT 10\r\nHi")
            assert [client.reply() for _ in range(3)] == [250, 250, 250]

    with_server(backend, handler, work)
    assert handler.ended == [(Mail("me@me.example"), 1)]


def test_nothing_is_kept_without_message() -> None:
    seen: list[bytes] = []

    class Streaming(Handler):
        def end_of_data(self, session: ServerSession) -> Outcome:
            seen.append(gathered(session))
            return super().end_of_data(session)

    codes, session = converse(Streaming(), EHLO, TO_YOU, b"DATA\r\n", b"Hi\r\n.\r\n", b"QUIT\r\n")
    assert codes == [220, 250, 250, 250, 354, 250, 221]
    assert seen == [b""]
    assert gathered(session) == b""


@pytest.mark.rfc("2920", "3.1")
@pytest.mark.rfc("2920", "3.2")
def test_message_for_nobody() -> None:
    """354 may be given although there is no recipient; what comes then is a lone dot, and no message."""

    class Lenient(Keeping):
        def bad_command(self, session: ServerSession, event: BadCommand) -> Reply | None:
            return Reply(354, "go on") if isinstance(event.command, Data) else None

    handler = Lenient()
    nobody = b"MAIL FROM:<>\r\nRCPT TO:<nobody@mx.example>\r\nDATA\r\n"
    assert converse(handler, EHLO, nobody, b".\r\n", b"NOOP\r\n")[0] == [220, 250, 250, 550, 354, 554, 250]
    assert handler.messages == []
    assert len(handler.ended) == 1


def test_message_of_an_instance() -> None:
    """A method may be put into one handler, as mocks are."""
    handler = Handler()
    taken: list[ReceivedMessage] = []
    patched: Any = handler

    def take(session: ServerSession, message: ReceivedMessage) -> None:
        taken.append(message)

    patched.message = take
    assert converse(handler, EHLO, TO_YOU, b"BDAT 2 LAST\r\nHi")[0] == [220, 250, 250, 250, 250]
    assert taken[0].content == b"Hi"


class Tagging(Keeping):
    """Has an extension of its own, XTAG, with a command and a parameter; and the command XTAGS, named otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Command | None] = []

    def mail(self, session: ServerSession, command: Mail) -> Reply | None:
        self.seen.append(command)
        return None if command.other.get("XTAG", "new") == "new" else Reply(501, "5.5.4 no such tag")

    def command(self, session: ServerSession, command: Command) -> Reply | None:
        self.seen.append(command)
        return None if command == UnknownCommand("XTAG") else Reply(250, "2.0.0 one")

    def bad_command(self, session: ServerSession, event: BadCommand) -> Reply | None:
        self.seen.append(event.command)
        return Reply(250, "2.0.0 new") if event.command == UnknownCommand("XTAGS") else None


def test_an_extension_that_the_engine_does_not_know() -> None:
    handler = Tagging()
    mail = [b"MAIL FROM:<> XTAG=old\r\n", b"MAIL FROM:<> XTAG=new\r\nRCPT TO:<you@mx.example>\r\nBDAT 2 LAST\r\nHi"]
    asked = b"XTAG new\r\nXTAG\r\nXTAGS\r\nXYZZY\r\n"
    codes, session = converse(handler, EHLO, *mail, asked, extensions=["PIPELINING", "CHUNKING", "XTAG new"])
    assert codes == [220, 250, 501, 250, 250, 250, 250, 502, 250, 500]
    verbs = [each.verb for each in handler.seen if each is not None]
    assert verbs == ["MAIL", "MAIL", "XTAG", "XTAG", "XTAGS", "XYZZY"]
    assert handler.messages[0].envelope.mail.other == {"XTAG": "new"}
    assert session.connection.extensions["XTAG"] == "new"
    assert converse(Tagging(), EHLO, b"XTAG new\r\nMAIL FROM:<> XTAG=new\r\n")[0] == [220, 250, 500, 555]


@pytest.mark.parametrize("policy", [{"require_tls": True}, {"auth": ServerAuth({"ann": "secret"}, required=True)}])
def test_policy_comes_before_an_extension_of_the_program(policy: dict[str, Any]) -> None:
    """It does not come before what is no offered extension: `bad_command` has to judge by itself."""
    handler = Tagging()
    said = b"XTAG new\r\nMAIL FROM:<> XTAG=new\r\nXTAGS\r\n"
    assert converse(handler, EHLO, said, extensions=["XTAG new"], **policy)[0] == [220, 250, 530, 530, 250]
    assert handler.seen == [UnknownCommand("XTAGS")]


def test_an_extension_can_be_offered_to_some_only() -> None:
    class Choosing(Tagging):
        def hello(self, session: ServerSession, command: Ehlo | Helo | Lhlo) -> Reply | None:
            if not isinstance(command, Ehlo) or command.domain != "me.example":
                return None
            return Reply(250, (session.host_name, *session.offer, "XTAG new"))

    inputs, session = begin(Choosing(), EHLO, b"XTAG new\r\n", EHLO.replace(b"me.", b"you."), b"XTAG new\r\n")
    assert inputs.codes == [220, 250, 250, 250, 500]
    assert b"\r\n250-PIPELINING\r\n" in inputs.answered
    assert b"\r\n250 XTAG new\r\n" in inputs.answered
    assert "XTAG" not in session.connection.extensions


def test_failing_message(complaints: Complaints) -> None:
    class Failing(Keeping):
        def message(self, session: ServerSession, message: ReceivedMessage) -> Outcome:
            raise RuntimeError("no disk")

    handler = Failing()
    codes, _ = converse(handler, EHLO, TO_YOU, b"BDAT 2 LAST\r\nHi", TO_YOU, b"QUIT\r\n")
    assert codes == [220, 250, 250, 250, 451, 250, 250, 221]
    assert [str(each) for each in complaints.errors] == ["no disk"]
    assert handler.ended == [(None, 0)] * 2


def test_failing_end_of_a_transaction(complaints: Complaints) -> None:
    class Failing(Handler):
        def transaction_ended(self, session: ServerSession) -> None:
            raise RuntimeError("cannot let go")

    assert converse(Failing(), EHLO, TO_YOU, b"RSET\r\nNOOP\r\n")[0] == [220, 250, 250, 250, 250, 250]
    assert [str(each) for each in complaints.errors] == ["cannot let go"]


@pytest.mark.parametrize("refused", ["reply", "exception"])
def test_content_that_is_refused_is_let_go_of_at_once(refused: str, complaints: Complaints) -> None:
    class Refusing(Keeping):
        def content(self, session: ServerSession, data: bytes) -> Reply | None:
            self.session = session
            super().content(session, data)
            if b"spam" not in data:
                return None
            if refused == "exception":
                raise RuntimeError("spam")
            return Reply(550, "5.7.1 spam")

        def end_of_data(self, session: ServerSession) -> Outcome:
            raise AssertionError("it was refused already")

    handler = Refusing()
    seen: list[bytes] = []

    def content() -> Iterator[bytes]:
        for piece in (b"Hi\r\n", b"spam\r\n", b"more\r\n"):
            yield piece
            seen.append(gathered(handler.session))
        yield b".\r\n"

    code = 550 if refused == "reply" else 451
    codes, _ = converse(handler, EHLO, TO_YOU, b"DATA\r\n", more=content())
    assert codes == [220, 250, 250, 250, 354, code]
    assert seen == [b"Hi\r\n", b"", b""]
    assert len(complaints.errors) == (refused == "exception")


# Any conversation --------------------------------------------------------------------------------------------------

pieces = st.sampled_from([b"", b"Hi\r\n", b".\r\n", b"Subject: x\r\n\r\n"])
contents = st.lists(pieces, max_size=4)
endings = st.sampled_from(["DATA", "BDAT", "RSET", "EHLO", "HELO", "bare LF", "DATA declined", "QUIT", "gone"])


def transaction(content: list[bytes], how: str) -> tuple[list[bytes], bytes | None]:
    """The reads of one transaction, and the content that it delivers, if it does."""
    whole = b"".join(content)
    chunks = [b"BDAT %d\r\n%s" % (len(piece), piece) for piece in content]
    match how:
        case "DATA":
            stuffed = whole.replace(b"\r\n.", b"\r\n..")
            return [TO_YOU, b"DATA\r\n", (b"." if whole.startswith(b".") else b"") + stuffed + b".\r\n"], whole
        case "BDAT":
            return [TO_YOU, *chunks, b"NOOP\r\n", b"BDAT 0 LAST\r\n"], whole
        case "bare LF":
            return [TO_YOU, b"DATA\r\n", b"a\n.\r\nb\r\n.\r\n"], None
        case "DATA declined":
            return [b"MAIL FROM:<>\r\nRCPT TO:<nobody@mx.example>\r\nDATA\r\nRSET\r\n"], None
        case "RSET" | "QUIT":
            return [TO_YOU, *chunks, how.encode() + b"\r\n"], None
        case "EHLO" | "HELO":
            return [TO_YOU, *chunks, how.encode() + b" me.example\r\n", EHLO], None
        case _:
            return [TO_YOU, *chunks], None


@pytest.mark.rfc("5321", "4.1.1.5")
@pytest.mark.rfc("3030", "2")
@pytest.mark.rfc("5321", "4.1.1.10")
@pytest.mark.rfc("5321", "4.2.5")
@given(st.lists(st.tuples(contents, endings), max_size=6))
def test_what_is_completed_arrives_and_nothing_else(script: list[tuple[list[bytes], str]]) -> None:
    said, expected, begun = [EHLO], list[bytes](), 0
    for content, how in script:
        reads, delivered = transaction(content, how)
        said += reads
        begun += 1
        if delivered is not None:
            expected.append(delivered)
        if how in ("QUIT", "gone"):
            break
    handler = Keeping()
    codes, session = converse(handler, *said)
    assert codes[:2] == [220, 250]
    assert [each.content for each in handler.messages] == expected
    assert len(handler.ended) == begun
    assert gathered(session) == b""


# LMTP --------------------------------------------------------------------------------------------------------------

TO_THREE = b"".join(
    [b"MAIL FROM:<>\r\n", *(b"RCPT TO:<%s@mx.example>\r\n" % name for name in (b"a", b"nobody", b"b", b"c"))]
)
ACCEPTED, REFUSED, LATER = Reply(250, "2.0.0 got it"), Reply(550, "5.2.2 full"), Reply(450, "4.2.0 later")


@pytest.mark.rfc("2033", "4.2")
@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        (None, [250, 250, 250]),
        (REFUSED, [550, 550, 550]),
        ([ACCEPTED, REFUSED, LATER], [250, 550, 450]),
        ({"b@mx.example": REFUSED}, [250, 550, 250]),
        ({}, [250, 250, 250]),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_reply_for_each_recipient(answer: Outcome, codes: list[int], chunked: bool) -> None:
    handler = Keeping(answer)
    content = [b"BDAT 4 LAST\r\nHi\r\n"] if chunked else [b"DATA\r\n", b"Hi\r\n.\r\n"]
    answered, _ = converse(handler, LHLO, TO_THREE, *content, b"NOOP\r\n", lmtp=True)
    assert answered == [220, 250, 250, 250, 550, 250, 250, *([] if chunked else [354]), *codes, 250]
    assert handler.messages[0].lmtp
    assert handler.messages[0].envelope.forward_paths == ("a@mx.example", "b@mx.example", "c@mx.example")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ([ACCEPTED], "1 replies for 3 recipients"),
        ([ACCEPTED] * 4, "4 replies for 3 recipients"),
        ([ACCEPTED, None, ACCEPTED], "None for a recipient"),
        ({"nobody@mx.example": ACCEPTED}, "no recipients"),
        ("250", "must be a Reply"),
    ],
)
def test_replies_for_others(answer: Any, sentence: str, complaints: Complaints) -> None:
    codes, _ = converse(Keeping(answer), LHLO, TO_THREE, b"BDAT 2 LAST\r\nHi", b"NOOP\r\n", lmtp=True)
    assert codes[-4:] == [451, 451, 451, 250]
    assert sentence in str(complaints.errors[0])


def test_smtp_has_one_reply(complaints: Complaints) -> None:
    codes, _ = converse(Keeping([ACCEPTED]), EHLO, TO_YOU, b"BDAT 2 LAST\r\nHi")
    assert codes[-1] == 451
    assert "only LMTP" in str(complaints.errors[0])


# Before the greeting -----------------------------------------------------------------------------------------------


class NoEarlyTalkers(Handler):
    def early_talker(self, session: ServerSession) -> Reply | None:
        return Reply(554, "5.5.1 wait until you are greeted")


@pytest.mark.rfc("5321", "4.3.1")
@pytest.mark.parametrize(
    ("answer", "codes"), [(None, [220, 250, 250]), (Reply(554, "5.5.1 wait until you are greeted"), [554, 503, 503])]
)
def test_early_talker(answer: Reply | None, codes: list[int]) -> None:
    class Watching(Handler):
        def early_talker(self, session: ServerSession) -> Reply | None:
            assert session.peer == ("192.0.2.1", 1025)
            return answer

    assert converse(Watching(), EHLO, b"NOOP\r\n", early=True)[0] == codes
    assert converse(Watching(), EHLO, b"NOOP\r\n")[0] == [220, 250, 250]


def test_failing_early_talker(complaints: Complaints) -> None:
    class Failing(Handler):
        def early_talker(self, session: ServerSession) -> Reply | None:
            raise RuntimeError("in early_talker")

    assert converse(Failing(), EHLO, b"NOOP\r\n", early=True)[0] == [421]
    assert [str(each) for each in complaints.errors] == ["in early_talker"]


# What is parsed ----------------------------------------------------------------------------------------------------


def message_of(content: bytes) -> ReceivedMessage:
    handler = Keeping()
    converse(handler, EHLO, TO_YOU, b"BDAT %d LAST\r\n%s" % (len(content), content))
    return handler.messages[0]


@pytest.mark.rfc("6532", "3.2")
def test_headers_in_utf8() -> None:
    content = "From: Jürgen <jürgen@exämple.com>\r\nSubject: Grüße\r\nX: \udcff\r\n\r\n"
    parsed = message_of(content.encode("utf-8", "surrogateescape") + b"Hi\r\n").parsed
    assert parsed["From"].addresses[0].addr_spec == "jürgen@exämple.com"
    assert parsed["Subject"] == "Grüße"
    assert parsed["X"] == "\ufffd"
    assert "Subject: Grüße" in parsed.as_bytes().decode("utf-8", "replace")


def test_body_is_as_it_came() -> None:
    message = message_of("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nä".encode())
    assert message.parsed.get_content() == "ä"
