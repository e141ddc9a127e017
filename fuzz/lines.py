"""Whatever line a client sends, it is a command that is the same when it was written and read again, or a BadSyntax
whose text can be sent; a secret in it does not show; and whatever lines a server sends, they are a reply that is
written as it was read, or a RemoteProtocolError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproto import Extensions, Limits, LocalProtocolError, RemoteProtocolError, Reply
from smtpproto.commands import Auth, AuthResponse, BadSyntax, Bdat, Command, parse_auth_response, parse_command
from smtpproto.grammar import base64
from smtpproto.replies import ReplyParser

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_LINE: Final = (b"\r", b"\n", b"\0")
_LIMITS: Final = Limits(reply_lines=5, reply_octets=500)


def test_one_input(data: bytes) -> None:
    reply(data)
    line = data
    for octet in _NO_LINE:  # which LineBuffer refuses
        line = line.replace(octet, b"")
    command(line)
    response(line)


def command(line: bytes) -> None:
    strict, lenient = read(line, lenient=False), read(line, lenient=True)
    if isinstance(strict, BadSyntax):
        assert not strict.fatal or b"BDAT" in line.upper()
    else:
        assert lenient == strict, "what is right is no less so for a lenient reader"
    for each in (strict, lenient):
        if isinstance(each, Command):
            # What is longer when it is written properly is none that this side would send.
            written = or_none(each)
            assert written is None or read(written, lenient=False) == each
            assert repr(each).isprintable()
            if isinstance(each, Auth) and each.initial_response and len(each.initial_response) > 5:
                shown = f"{each} {each!r}".replace(each.mechanism, "")  # which may be the same letters
                assert base64(each.initial_response) not in shown


def or_none(command: Command) -> bytes | None:
    try:
        line = bytes(command)
    except LocalProtocolError:
        return None
    assert line.endswith(b"\r\n")
    assert not any(octet in line[:-2] for octet in _NO_LINE)
    return line[:-2] if len(line) <= command.line_limit or isinstance(command, Bdat) else None


def read(line: bytes, *, lenient: bool) -> Command | BadSyntax:
    try:
        return parse_command(line, lenient=lenient)
    except BadSyntax as error:
        Reply(error.code, f"{error.status} {error.text}")
        return error


def response(line: bytes) -> None:
    try:
        read = parse_auth_response(line)
    except BadSyntax as error:
        Reply(error.code, f"{error.status} {error.text}")
        return
    assert isinstance(read, AuthResponse)
    assert bytes(read) == line + b"\r\n"
    assert len(line) < 6 or line.decode() not in f"{read} {read!r}"


def reply(data: bytes) -> None:
    parser = ReplyParser(_LIMITS)
    lines = data.split(b"\r\n")
    try:
        for number, line in enumerate(lines):
            if any(octet in line for octet in _NO_LINE):
                return
            answer = parser.feed_line(line)
            if answer is not None:
                begun = lines[: number + 1]
                assert bytes(answer).split(b"\r\n")[:-1] == [each if each[3:] else each + b" " for each in begun]
                assert str(answer).replace("\n", "").isprintable()
                assert answer == Reply(answer.code, answer.lines)
                offer(answer)
                return
    except RemoteProtocolError as error:
        assert_short(error)


def offer(answer: Reply) -> None:
    """What the lines of a reply offer; whatever they are, nothing of it raises."""
    read = Extensions.parse(answer.lines)
    assert dict(Extensions.parse(("mx.example", *read.lines()))) == dict(read)
    for keyword in read:
        assert keyword == keyword.upper()
        assert read[keyword.lower()] == read[keyword]
        assert keyword not in read.without(keyword.lower())
    for number in (read.size, read.deliver_by_minimum, read.future_release_maximum, *read.limits.values()):
        assert number is None or 0 <= number < 10**20
    assert not read.starttls_masked or "STARTTLS" not in read
    assert all(each == each.upper() for each in (*read.auth, *read.xclient, *read.xforward))


def assert_short(error: RemoteProtocolError) -> None:
    assert len(error.received) <= 256


def seeds() -> Iterator[bytes]:
    # RFC 5321 section 4.1.1 and appendix D; RFC 4954 section 4; RFC 3030 section 4; RFC 1985; RFC 4468.
    yield from (
        b"EHLO bar.com",
        b"HELO [192.0.2.1]",
        b"LHLO foo.edu",
        b"MAIL FROM:<Smith@bar.com>",
        b"MAIL FROM:<> BODY=8BITMIME SIZE=10",
        b"mail from: a@b.example",
        b"RCPT TO:<@hosta.int,@jkl.org:userc@d.bar.org>",
        b"RCPT TO:<Postmaster> NOTIFY=NEVER",
        b"DATA",
        b"RSET",
        b"VRFY Crispin",
        b"EXPN Example-People SMTPUTF8",
        b"HELP MAIL",
        b"NOOP something",
        b"QUIT  ",
        b"STARTTLS",
        b"AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=",
        b"AUTH EXTERNAL =",
        b"AUTH LOGIN",
        b"dXNlcg==",
        b"*",
        b"BDAT 86 LAST",
        b"BDAT 0",
        b" BDAT 1",
        b"ETRN @example.com",
        b"BURL imap://harry@gryffindor.example.com/outbox;uidvalidity=1078863300/;uid=25 LAST",
        b"XCLIENT NAME=spike.porcupine.org ADDR=IPV6:2001:db8::1",
        b"XFORWARD NAME=[UNAVAILABLE] PORT=+31",
        b"X-SOMETHING \xc3\xa9",
        b"220 foo.com Simple Mail Transfer Service Ready",
        b"250-foo.com greets bar.com\r\n250-8BITMIME\r\n250-SIZE\r\n250-DSN\r\n250 HELP",
        b"250-x\r\n250-SIZE 99\r\n250-AUTH=LOGIN\r\n250-auth plain  LOGIN\r\n250 LIMITS RCPTMAX=1 X",
        b"250-x\r\n250-XXXXXXXA\r\n250-DELIVERBY 120\r\n250-FUTURERELEASE 9 x\r\n250 XCLIENT NAME ADDR",
        b"250",
        b"550 5.1.1 \xe9",
        b"353-a\r\n354 b",
    )
