"""The commands: the lines that they are, what none of them can be made to say, and the way back."""

from __future__ import annotations

import copy
import enum
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto import commands as module
from smtpproto.addresses import Mailbox
from smtpproto.commands import (
    CLASSES,
    Auth,
    AuthResponse,
    BadSyntax,
    Bdat,
    Burl,
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
    XForward,
    parse_auth_response,
    parse_command,
)
from smtpproto.commands.base import KNOWN_VERBS
from smtpproto.commands.session import Hello, Lookup
from smtpproto.errors import LocalProtocolError
from smtpproto.parameters import (
    MAIL_PARAMETERS,
    NO_PARAMETERS,
    RCPT_PARAMETERS,
    DeliverBy,
    FrozenMapping,
    OriginalRecipient,
    ValidSince,
)

from .strategies import COMMANDS, any_texts, auth_responses, commands, mailboxes, mails, rcpts

EVERYTHING = Mail(
    "a@b.example",
    size=1000,
    body="8bitmime",
    smtputf8=True,
    ret="HDRS",
    envid="x y",
    auth="",
    by=DeliverBy(60, "R"),
    hold_for=10,
    mt_priority=-1,
    require_tls=True,
    solicit=["net.example:ADV"],
    other={"x": "1", "Y": None},
)
EVERYTHING_LINE = (
    b"MAIL FROM:<a@b.example> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+20y AUTH=<> BY=60;R HOLDFOR=10"
    b" MT-PRIORITY=-1 REQUIRETLS SOLICIT=net.example:ADV X=1 Y\r\n"
)

LINES: list[tuple[Command, bytes]] = [
    (Ehlo("client.example"), b"EHLO client.example\r\n"),
    (Ehlo("[IPv6:2001:db8::1]"), b"EHLO [IPv6:2001:db8::1]\r\n"),
    (Ehlo("under_score"), b"EHLO under_score\r\n"),
    (Helo("client.example"), b"HELO client.example\r\n"),
    (Lhlo("client.example"), b"LHLO client.example\r\n"),
    (StartTls(), b"STARTTLS\r\n"),
    (Auth("plain"), b"AUTH PLAIN\r\n"),
    (Auth("PLAIN", b""), b"AUTH PLAIN =\r\n"),
    (Auth("PLAIN", b"\0a\0b"), b"AUTH PLAIN AGEAYg==\r\n"),
    (Mail(""), b"MAIL FROM:<>\r\n"),
    (Mail("a@b.example"), b"MAIL FROM:<a@b.example>\r\n"),
    (Mail('"a> b"@[192.0.2.1]'), b'MAIL FROM:<"a> b"@[192.0.2.1]>\r\n'),
    (Mail("j\xf6rg@b\xfccher.example", smtputf8=True), "MAIL FROM:<j\xf6rg@b\xfccher.example> SMTPUTF8\r\n".encode()),
    (EVERYTHING, EVERYTHING_LINE),
    (Mail("", hold_until="2014-04-03T23:01:00Z"), b"MAIL FROM:<> HOLDUNTIL=2014-04-03T23:01:00Z\r\n"),
    (Rcpt("a@b.example"), b"RCPT TO:<a@b.example>\r\n"),
    (Rcpt("Postmaster"), b"RCPT TO:<Postmaster>\r\n"),
    (
        Rcpt(
            "a@b.example",
            notify=["DELAY", "FAILURE"],
            orcpt=OriginalRecipient("rfc822", "a+b@c"),
            rrvs=ValidSince("2014-04-03T23:01:00Z"),
            other={"z": None},
        ),
        b"RCPT TO:<a@b.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb@c RRVS=2014-04-03T23:01:00Z Z\r\n",
    ),
    (Data(), b"DATA\r\n"),
    (Bdat(0), b"BDAT 0\r\n"),
    (Bdat(2**63 - 1, last=True), b"BDAT 9223372036854775807 LAST\r\n"),
    (Rset(), b"RSET\r\n"),
    (Noop(), b"NOOP\r\n"),
    (Noop("a b"), b"NOOP a b\r\n"),
    (Quit(), b"QUIT\r\n"),
    (Vrfy("a b"), b"VRFY a b\r\n"),
    (Vrfy("j\xf6rg", smtputf8=True), "VRFY j\xf6rg SMTPUTF8\r\n".encode()),
    (Vrfy("SMTPUTF8"), b"VRFY SMTPUTF8\r\n"),
    (Expn("list"), b"EXPN list\r\n"),
    (Expn("list", smtputf8=True), b"EXPN list SMTPUTF8\r\n"),
    (Help(), b"HELP\r\n"),
    (Help("MAIL"), b"HELP MAIL\r\n"),
    (Etrn("#queue"), b"ETRN #queue\r\n"),
    (Burl("imap://u@h/x;urlauth=submit+u:internal:91"), b"BURL imap://u@h/x;urlauth=submit+u:internal:91\r\n"),
    (Burl("imap://h/x", last=True), b"BURL imap://h/x LAST\r\n"),
    (XClient({"name": "[UNAVAILABLE]", "ADDR": "192.0.2.1"}), b"XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1\r\n"),
    (XForward({"IDENT": "a b+c=d\xe9"}), b"XFORWARD IDENT=a+20b+2Bc+3Dd+C3+A9\r\n"),
    (UnknownCommand("foo"), b"FOO\r\n"),
    (UnknownCommand("GET", "/ HTTP/1.1"), b"GET / HTTP/1.1\r\n"),
]


@pytest.mark.rfc("5321", "4.1.1")
@pytest.mark.rfc("4954", "8")
@pytest.mark.parametrize(("command", "line"), LINES)
def test_lines(command: Command, line: bytes) -> None:
    assert bytes(command) == line
    assert parse_command(line[:-2]) == command
    verb, space, argument = line[:-2].partition(b" ")
    assert parse_command(verb.lower() + space + argument) == command
    assert parse_command(line[:-2] + b" \t ") == command
    assert parse_command(line[:-2], lenient=True) == command
    assert command.verb == verb.decode()
    assert str(command) == line.decode()[:-2] or isinstance(command, Auth | Burl)


def test_every_class_is_in_the_table_above() -> None:
    def below(cls: type[Command]) -> set[type[Command]]:
        return {cls}.union(*map(below, cls.__subclasses__()))

    public = {
        cls for cls in below(Command) if cls.__module__.startswith(module.__name__) and not cls.__name__.startswith("_")
    } - {Hello, Lookup}
    assert {type(command) for command, _ in LINES} == public - {Command, Connect, EndOfData, AuthResponse}


@given(commands())
@pytest.mark.rfc("5321", "4.1.1")
def test_commands_round_trip(command: Command) -> None:
    line = bytes(command)
    assert line.endswith(b"\r\n")
    again = parse_command(line[:-2])
    assert again == command
    assert hash(again) == hash(command)
    assert bytes(again) == line
    assert parse_command(line[:-2], lenient=True) == command
    assert len(line) <= command.line_limit


@given(commands() | auth_responses())
def test_a_command_is_one_line_with_its_verb(command: Command) -> None:
    line = bytes(command)
    assert line.count(b"\n") == line.count(b"\r") == 1
    assert b"\0" not in line
    if not isinstance(command, AuthResponse):
        assert line[:-2].split(b" ")[0].decode() == command.verb


@given(commands() | auth_responses())
def test_commands_are_values(command: Command) -> None:
    assert pickle.loads(pickle.dumps(command)) == command
    assert bytes(pickle.loads(pickle.dumps(command))) == bytes(command)
    assert pickle.loads(pickle.dumps(command)).needed_extensions == command.needed_extensions
    assert copy.deepcopy(command) == command
    assert type(command).__name__ in repr(command)
    with pytest.raises(AttributeError):
        command.verb = "X"


@given(auth_responses())
@pytest.mark.rfc("4954", "4")
def test_auth_responses_round_trip(command: AuthResponse) -> None:
    assert parse_auth_response(bytes(command)[:-2]) == command


def test_those_without_a_line_of_their_own() -> None:
    assert bytes(Connect()) == b""
    assert str(Connect()) == Connect().verb == ""
    assert bytes(EndOfData()) == b".\r\n"
    assert str(EndOfData()) == "."
    assert AuthResponse(b"").verb == ""
    assert bytes(AuthResponse(b"")) == b"\r\n"
    assert bytes(AuthResponse(None)) == b"*\r\n"


# -- nothing can be smuggled in ---------------------------------------------------------------------------------------

ANY: dict[type[Command], list[str]] = {
    Ehlo: ["domain"],
    Helo: ["domain"],
    Lhlo: ["domain"],
    Auth: ["mechanism"],
    Mail: ["reverse_path", "body", "ret", "envid", "auth", "hold_until", "solicit", "key", "value"],
    Rcpt: ["forward_path", "notify", "key", "value"],
    Burl: ["url"],
    Noop: ["text"],
    Help: ["topic"],
    Vrfy: ["text"],
    Expn: ["text"],
    Etrn: ["text"],
    XClient: ["key", "value"],
    XForward: ["key", "value"],
    UnknownCommand: ["verb", "argument"],
}
FIRST: dict[type[Command], dict[str, Any]] = {
    Auth: {"mechanism": "PLAIN", "initial_response": b"x"},
    Mail: {"reverse_path": "a@b.example", "smtputf8": True},
    Rcpt: {"forward_path": "a@b.example"},
    UnknownCommand: {"verb": "X"},
}


def build(cls: type[Command], field: str, text: str) -> Command:
    fields: dict[str, Any] = dict(FIRST.get(cls, {}))
    mapping = "other" if cls in (Mail, Rcpt) else "attributes"
    match field:
        case "key":
            fields[mapping] = {text: "v"}
        case "value":
            fields[mapping] = {"K": text}
        case "solicit" | "notify":
            fields[field] = (text,)
        case _:
            fields[field] = text
    return cls(**fields)


@given(st.sampled_from([(cls, field) for cls, fields in ANY.items() for field in fields]), any_texts())
@example((Mail, "reverse_path"), "a@b> SIZE=1")
@example((Rcpt, "forward_path"), "a@b>\r\nRCPT TO:<c@d")
@example((Mail, "value"), "v SIZE=1")
@example((Mail, "key"), "K=v SIZE")
@example((UnknownCommand, "verb"), "mail")
def test_any_text_is_refused_or_stays_in_its_place(where: tuple[type[Command], str], text: str) -> None:
    cls, field = where
    try:
        command = build(cls, field, text)
    except LocalProtocolError:
        return
    line = bytes(command)
    assert line.endswith(b"\r\n")
    assert not set(b"\r\n\0") & set(line[:-2])
    again = parse_command(line[:-2])
    assert again == command
    assert type(again) is cls
    if cls is not UnknownCommand:
        assert line[:-2].split(b" ")[0].decode() == cls.verb
    if isinstance(again, Mail) and isinstance(command, Mail):
        assert [again.size, again.by, again.hold_for] == [None] * 3
        assert len(again.other) == (field in ("key", "value"))


@pytest.mark.parametrize("where", [(cls, field) for cls, fields in ANY.items() for field in fields])
@pytest.mark.parametrize("text", ["a\r\nb", "a\nb", "a\rb", "a\0b", "a@b\r\nQUIT", "\r\n", "a@b\n", "a\x85", "\ud800"])
@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.rfc("5321", "2.3.8")
def test_no_control_characters(where: tuple[type[Command], str], text: str) -> None:
    with pytest.raises(LocalProtocolError):
        build(*where, text)


class Name(str, enum.Enum):  # noqa: UP042 - a StrEnum formats as its value; this one does not
    DOMAIN = "client.example"
    MAILBOX = "a@b.example"


def test_the_text_of_a_subclass_of_str_counts() -> None:
    assert bytes(Ehlo(Name.DOMAIN)) == b"EHLO client.example\r\n"
    assert bytes(Mail(Name.MAILBOX)) == b"MAIL FROM:<a@b.example>\r\n"
    assert bytes(Rcpt(Name.MAILBOX)) == b"RCPT TO:<a@b.example>\r\n"
    assert bytes(Noop(Name.MAILBOX)) == b"NOOP a@b.example\r\n"


MISTAKES: list[tuple[type[Command], tuple[Any, ...]]] = [
    (Ehlo, ("",)),
    (Ehlo, ("a b",)),
    (Ehlo, ("<a>",)),
    (Ehlo, ("a" * 256,)),
    (Ehlo, ("\xe9" * 128,)),
    (Ehlo, (b"a",)),
    (Auth, ("",)),
    (Auth, ("A" * 21,)),
    (Auth, ("PLAIN x",)),
    (Auth, ("PLAIN", "x")),
    (AuthResponse, ("x",)),
    (Mail, ("Postmaster",)),
    (Mail, ("<a@b>",)),
    (Mail, ("@x:a@b",)),
    (Mail, (None,)),
    (Rcpt, ("",)),
    (Rcpt, ("<a@b>",)),
    (Bdat, (-1,)),
    (Bdat, (2**63,)),
    (Bdat, (True,)),
    (Bdat, ("1",)),
    (Burl, ("",)),
    (Burl, ("a b:c",)),
    (Burl, ("imap://h/x LAST",)),
    (Burl, ("imap://<h>",)),
    (Burl, (b"imap://h",)),
    (Noop, (" a",)),
    (Noop, ("a\t",)),
    (Help, (" a",)),
    (Vrfy, ("",)),
    (Vrfy, ("a SMTPUTF8",)),
    (Expn, ("a smtputf8",)),
    (Etrn, ("",)),
    (Etrn, ("a b",)),
    (XClient, ({},)),
    (XClient, ({"": "a"},)),
    (XClient, ({"A=": "a"},)),
    (XClient, ({"A": "\n"},)),
    (XClient, ({"A": None},)),
    (XClient, ({"A": "1", "a": "1"},)),
    (UnknownCommand, ("",)),
    (UnknownCommand, ("A B",)),
    (UnknownCommand, ("mail",)),
    (UnknownCommand, ("STARTTLS", "x")),
    (UnknownCommand, ("X", "a ")),
]


@pytest.mark.parametrize(("cls", "arguments"), MISTAKES)
def test_a_program_may_not_make(cls: type[Command], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(LocalProtocolError):
        cls(*arguments)


LONGEST: list[tuple[Callable[[str], Command], int]] = [
    (Noop, 512 - 7),
    (Help, 512 - 7),
    (Vrfy, 512 - 7),
    (Etrn, 512 - 7),
    (lambda text: UnknownCommand("FOO", text), 512 - 6),
    (lambda text: XClient({"NAME": text}), 512 - 15),
    (lambda text: Burl("a:" + text), 2048 - 9),
    (lambda text: Mail("", other={"X": text}), 2048 - 17),
    (lambda text: Rcpt("a@b", other={"X": text}), 2048 - 18),
]


@pytest.mark.parametrize(("make", "longest"), LONGEST)
@pytest.mark.rfc("5321", "4.5.3.1.4")
@pytest.mark.rfc("5321", "4.5.3.1")
@pytest.mark.rfc("3461", "5.4")
def test_lines_have_a_limit(make: Callable[[str], Command], longest: int) -> None:
    line = bytes(make("x" * longest))
    assert len(line) in (512, 2048)
    parse_command(line[:-2])
    with pytest.raises(LocalProtocolError, match="octets, more than"):
        make("x" * (longest + 1))
    assert bad(line[:-2] + b"x") == (500, "5.5.2")


@pytest.mark.rfc("4954", "4")
def test_authentication_lines_have_12288_octets() -> None:
    longest = (12288 - 2) // 4 * 3
    line = bytes(AuthResponse(b"x" * longest))[:-2]
    assert parse_auth_response(line) == AuthResponse(b"x" * longest)
    with pytest.raises(LocalProtocolError, match="12288"):
        AuthResponse(b"x" * (longest + 1))
    with pytest.raises(BadSyntax, match=r"500 5\.5\.6"):
        parse_auth_response(b"A" * 12288)
    with pytest.raises(LocalProtocolError, match="12288"):
        Auth("PLAIN", b"x" * longest)
    assert bad(b"AUTH PLAIN " + b"A" * 12288) == (500, "5.5.6")


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("4954", "9")
def test_secrets_do_not_show() -> None:
    secret = b"\0user\0secret"
    encoded = bytes(AuthResponse(secret))[:-2].decode()
    url = "imap://u@h/x;urlauth=submit+u:internal:91354a"
    for command in (Auth("PLAIN", secret), AuthResponse(secret), Burl(url), Burl(url, last=True)):
        for shown in (str(command), repr(command), f"{command}", f"{command!r}"):
            assert "redacted" in shown
            assert not any(word in shown for word in ("secret", encoded, "91354a"))
    assert str(Auth("PLAIN", secret)) == "AUTH PLAIN <redacted>"
    assert str(Auth("PLAIN", b"")) == "AUTH PLAIN <redacted>"
    assert str(Auth("PLAIN")) == "AUTH PLAIN"
    assert str(AuthResponse(secret)) == "<redacted>"
    assert str(AuthResponse(None)) == "*"
    assert str(Burl(url, last=True)) == "BURL <redacted> LAST"
    assert str(Burl(url)) == "BURL <redacted>"


def test_no_error_shows_a_secret() -> None:
    for make in (
        lambda: Auth("PLAIN", "secret"),  # type: ignore[arg-type]
        lambda: AuthResponse("secret"),  # type: ignore[arg-type]
        lambda: AuthResponse(b"secret" * 10_000),
        lambda: Auth("PLAIN", b"secret" * 10_000),
        lambda: Burl("imap://secret\n"),
        lambda: Burl("imap:" + "secret" * 1000),
    ):
        with pytest.raises(LocalProtocolError) as caught:
            make()
        assert "secret" not in str(caught.value)
        assert "c2VjcmV0" not in str(caught.value)


# -- MAIL and RCPT ----------------------------------------------------------------------------------------------------


@given(mails())
def test_the_fields_of_mail(mail: Mail) -> None:
    words = str(mail).removeprefix(f"MAIL FROM:<{mail.reverse_path}>").split(" ")
    keywords = [word.partition("=")[0] for word in words]
    given_fields = [row.field for row in MAIL_PARAMETERS.values() if getattr(mail, row.field) != row.default]
    assert len(mail.needed_extensions) == len(given_fields)
    for field, (_, label) in zip(given_fields, mail.needed_extensions, strict=True):
        assert label.partition("=")[0] in keywords
        assert MAIL_PARAMETERS[label.partition("=")[0]].field == field
    assert hash(mail) == hash(parse_command(bytes(mail)[:-2]))
    assert mail.smtputf8 or bytes(mail).isascii()


@given(rcpts())
def test_the_fields_of_rcpt(rcpt: Rcpt) -> None:
    needed = dict(rcpt.needed_extensions)
    assert ("SMTPUTF8" in needed) is not bytes(rcpt).isascii()
    assert ("DSN" in needed) is bool(rcpt.notify or rcpt.orcpt)
    assert ("RRVS" in needed) is bool(rcpt.rrvs)


def test_needed_extensions() -> None:
    assert EVERYTHING.needed_extensions == (
        ("SIZE", "SIZE"),
        ("8BITMIME", "BODY=8BITMIME"),
        ("SMTPUTF8", "SMTPUTF8"),
        ("DSN", "RET"),
        ("DSN", "ENVID"),
        ("AUTH", "AUTH"),
        ("DELIVERBY", "BY"),
        ("FUTURERELEASE", "HOLDFOR"),
        ("MT-PRIORITY", "MT-PRIORITY"),
        ("REQUIRETLS", "REQUIRETLS"),
        ("NO-SOLICITING", "SOLICIT"),
    )
    assert Mail("", body="BINARYMIME").needed_extensions == (("BINARYMIME", "BODY=BINARYMIME"),)
    assert Mail("").needed_extensions == Rcpt("a@b").needed_extensions == Quit().needed_extensions == ()
    assert Rcpt("\xe9@b", notify="NEVER").needed_extensions == (("DSN", "NOTIFY"), ("SMTPUTF8", "what is not ASCII"))
    assert Vrfy("a").needed_extensions == ()
    assert Vrfy("\xe9").needed_extensions == (("SMTPUTF8", "what is not ASCII"),)
    assert Expn("a", smtputf8=True).needed_extensions == (("SMTPUTF8", "SMTPUTF8"),)


@given(mailboxes())
def test_paths_may_be_mailboxes(text: str) -> None:
    mailbox = Mailbox.parse(text)
    assert Mail(mailbox, smtputf8=True) == Mail(text, smtputf8=True)
    assert Rcpt(mailbox) == Rcpt(text)
    assert type(Rcpt(mailbox).forward_path) is str


def test_the_plain_ones_have_every_field() -> None:
    plain = Mail("a@b.example")
    assert [getattr(plain, row.field) for row in MAIL_PARAMETERS.values()] == [
        row.default for row in MAIL_PARAMETERS.values()
    ]
    assert plain == Mail("a@b.example", solicit=[], other={})
    assert plain.other == {}
    assert plain == eval(repr(plain), {"Mail": Mail})
    rcpt = Rcpt("a@b.example")
    assert [getattr(rcpt, row.field) for row in RCPT_PARAMETERS.values()] == [(), None, None]
    assert rcpt == Rcpt("a@b.example", notify=[], other={})
    assert rcpt.other is NO_PARAMETERS


def test_a_program_may_have_subclasses_of_both() -> None:
    class MyMail(Mail):
        __slots__ = ()

    class MyRcpt(Rcpt):
        __slots__ = ()

    mail, rcpt = MyMail("a@b.example", size=5), MyRcpt("a@b.example", notify=("NEVER",))
    assert (mail.size, mail.is_plain, mail.needed_extensions) == (5, False, (("SIZE", "SIZE"),))
    assert (rcpt.notify, MyRcpt("a@b.example").is_plain) == (("NEVER",), True)


def test_every_parameter_lands_in_its_own_field() -> None:
    for field in EVERYTHING.__match_args__:
        assert field == "hold_until" or getattr(EVERYTHING, field) not in (None, False, ())
    assert (EVERYTHING.size, EVERYTHING.body, EVERYTHING.ret, EVERYTHING.envid) == (1000, "8BITMIME", "HDRS", "x y")
    assert (EVERYTHING.auth, EVERYTHING.hold_for, EVERYTHING.mt_priority) == ("", 10, -1)
    assert (EVERYTHING.by, EVERYTHING.solicit) == (DeliverBy(60, "R"), ("net.example:ADV",))
    assert EVERYTHING.other == {"X": "1", "Y": None}


def test_mappings_are_kept_frozen() -> None:
    other: dict[str, str | None] = {"X": "1"}
    mail = Mail("", other=other)
    other["SIZE"] = "1"
    assert dict(mail.other) == {"X": "1"}
    assert isinstance(mail.other, FrozenMapping)
    assert hash(mail) == hash(Mail("", other={"x": "1"}))
    assert isinstance(XClient({"A": "1"}).attributes, FrozenMapping)


@pytest.mark.rfc("6531", "3.4")
@pytest.mark.rfc("5321", "2.4")
def test_what_is_not_ascii_needs_smtputf8() -> None:
    cases: list[dict[str, Any]] = [
        {"reverse_path": "\xe9@b"},
        {"reverse_path": "", "auth": "\xe9@b"},
        {"reverse_path": "", "other": {"X": "\xe9"}},
    ]
    for fields in cases:
        with pytest.raises(LocalProtocolError, match="smtputf8=True"):
            Mail(**fields)
        assert Mail(**fields, smtputf8=True).smtputf8


@pytest.mark.rfc("4865", "3")
def test_hold_for_excludes_hold_until() -> None:
    with pytest.raises(LocalProtocolError, match="exclude"):
        Mail("", hold_for=1, hold_until="2014-04-03T23:01:00Z")
    assert bad(b"MAIL FROM:<> HOLDFOR=1 HOLDUNTIL=2014-04-03T23:01:00Z") == (501, "5.5.4")


# -- from the wire ----------------------------------------------------------------------------------------------------


def bad(line: bytes, *, lenient: bool = False, fatal: bool = False) -> tuple[int, str]:
    with pytest.raises(BadSyntax) as caught:
        parse_command(line, lenient=lenient)
    assert caught.value.fatal is fatal
    assert caught.value.text.isascii()
    return caught.value.code, caught.value.status


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        # RFC 5321 section 4.2.4: what is no command at all.
        (b"", (500, "5.5.2")),
        (b" ", (500, "5.5.2")),
        (b" QUIT", (500, "5.5.2")),
        (b"QUIT\tnow", (500, "5.5.2")),
        (b"MAIL:", (500, "5.5.2")),
        (b"\x16\x03\x01", (500, "5.5.2")),
        (b"\xff", (500, "5.5.2")),
        (b"\xc3\xa9", (500, "5.5.2")),
        ("\u017fTARTTLS".encode(), (500, "5.5.2")),
        (b"FOO \xff", (500, "5.5.2")),
        (b"FOO \x07", (500, "5.5.2")),
        (b"FOO " + b"x" * 600, (500, "5.5.2")),
        (b"x" * 600, (500, "5.5.2")),
        # Arguments missing, too many, or wrong.
        (b"EHLO", (501, "5.5.4")),
        (b"EHLO a b", (501, "5.5.4")),
        (b"EHLO  a", (501, "5.5.4")),
        (b"EHLO <a>", (501, "5.5.4")),
        (b"EHLO \x07", (501, "5.5.4")),
        (b"EHLO \xff", (501, "5.5.2")),
        (b"EHLO " + b"a" * 256, (501, "5.5.4")),
        (b"HELO", (501, "5.5.4")),
        (b"LHLO", (501, "5.5.4")),
        (b"STARTTLS now", (501, "5.5.4")),
        (b"DATA x", (501, "5.5.4")),
        (b"RSET x", (501, "5.5.4")),
        (b"QUIT x", (501, "5.5.4")),
        (b"QUIT \xff", (501, "5.5.2")),
        (b"NOOP \x07", (501, "5.5.4")),
        (b"VRFY", (501, "5.5.4")),
        (b"EXPN", (501, "5.5.4")),
        (b"VRFY \xff", (501, "5.5.2")),
        (b"ETRN", (501, "5.5.4")),
        (b"ETRN a b", (501, "5.5.4")),
        (b"BURL", (501, "5.5.4")),
        (b"BURL imap://h FIRST", (501, "5.5.4")),
        ("BURL imap://h LA\u017fT".encode(), (501, "5.5.4")),
        (b"XCLIENT", (501, "5.5.4")),
        (b"XCLIENT NAME", (501, "5.5.4")),
        (b"XCLIENT NAME=+", (501, "5.5.4")),
        (b"XCLIENT NAME=+0A", (501, "5.5.4")),
        (b"XCLIENT NAME=a name=a", (501, "5.5.4")),
        ("XCLIENT DE\u017fTADDR=a".encode(), (501, "5.5.4")),
        (b"XCLIENT NAME=a  ADDR=b", (501, "5.5.4")),
        # RFC 4954 section 4.
        (b"AUTH", (501, "5.5.4")),
        (b"AUTH  PLAIN", (501, "5.5.2")),
        (b"AUTH PLAIN!", (501, "5.5.4")),
        (b"AUTH PLAIN *", (501, "5.5.2")),
        (b"AUTH PLAIN a", (501, "5.5.2")),
        (b"AUTH PLAIN ==", (501, "5.5.2")),
        (b"AUTH PLAIN QUFB=", (501, "5.5.2")),
        (b"AUTH PLAIN YR==", (501, "5.5.2")),
        (b"AUTH PLAIN YQ== YQ==", (501, "5.5.2")),
        ("AUTH PLAIN \xe9".encode(), (501, "5.5.2")),
        # Paths.
        (b"MAIL", (501, "5.5.4")),
        (b"MAIL <a@b>", (501, "5.5.4")),
        (b"MAIL TO:<a@b>", (501, "5.5.4")),
        (b"MAIL FROM <a@b>", (501, "5.5.4")),
        (b"MAIL FROM:", (501, "5.1.7")),
        (b"MAIL FROM: <a@b>", (501, "5.1.7")),
        (b"MAIL  FROM:<a@b>", (501, "5.5.4")),
        (b"MAIL FROM:a@b", (501, "5.1.7")),
        (b"MAIL FROM:<a@b", (501, "5.1.7")),
        (b"MAIL FROM:<a b@c>", (501, "5.1.7")),
        (b"MAIL FROM:<a>", (501, "5.1.7")),
        (b"MAIL FROM:<Postmaster>", (501, "5.1.7")),
        (b"MAIL FROM:<a@[1.2.3.256]>", (501, "5.1.7")),
        (b"MAIL FROM:<" + b"a" * 65 + b"@b>", (501, "5.1.7")),
        (b"MAIL FROM:<@a:>", (501, "5.1.7")),
        (b"MAIL FROM:<a@b>SIZE=5", (501, "5.5.4")),
        (b"MAIL FROM:<a@b>> SIZE=5", (501, "5.5.4")),
        (b"MAIL FROM:<a@b>  SIZE=5", (501, "5.5.4")),
        (b"MAIL FROM:<a@b> SIZE=x", (501, "5.5.4")),
        (b"MAIL FROM:<a@b> SIZE=1 SIZE=1", (501, "5.5.4")),
        (b"MAIL FROM:<a@b> X=\xff", (501, "5.5.2")),
        (b"MAIL FROM:<\xc3\xa9@b>", (550, "5.6.7")),
        (b"MAIL FROM:<a@b> X=\xc3\xa9", (501, "5.5.4")),
        (b"RCPT", (501, "5.5.4")),
        (b"RCPT FROM:<a@b>", (501, "5.5.4")),
        (b"RCPT TO:<>", (501, "5.1.3")),
        (b"RCPT TO:<a>", (501, "5.1.3")),
        (b"RCPT TO:a@b", (501, "5.1.3")),
        (b"RCPT TO:<a@b_c>", (501, "5.1.3")),
        (b"RCPT TO:<a@" + b"b" * 64 + b">", (501, "5.1.3")),
        (b"RCPT TO:<a@b> NOTIFY=x", (501, "5.5.4")),
        (b"RCPT TO:<a@b>x", (501, "5.5.4")),
        (b"RCPT TO:<a@b> ORCPT=utf-8;" + "\xe9".encode() * 500, (501, "5.5.4")),
    ],
)
@pytest.mark.rfc("5321", "4.2.4")
def test_bad_lines(line: bytes, reply: tuple[int, str]) -> None:
    assert bad(line) == reply


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "x",
        "-1",
        "+1",
        "1_0",
        "0x10",
        "1.0",
        "\u0661",
        "\uff11",
        "1" * 21,
        "1 FIRST",
        "1 LA\u017fT",
        "1 LAST LAST",
        " 1",
        "1  LAST",
        "LAST",
    ],
)
@pytest.mark.rfc("3030", "2")
def test_after_a_bad_bdat_the_stream_is_lost(argument: str) -> None:
    assert bad(f"BDAT {argument}".encode(), fatal=True) == (501, "5.5.4")


def test_bdat() -> None:
    assert bad(b"BDAT \xff", fatal=True) == (501, "5.5.4")
    assert bad(b"BDAT", fatal=True) == (501, "5.5.4")
    assert bad(b"bdat " + b"1" * 600, fatal=True) == (501, "5.5.4")
    assert parse_command(b"BDAT 0010 last") == Bdat(10, last=True)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"MAIL FROM: <a@b>", Mail("a@b")),
        (b"MAIL  FROM: a@b  SIZE=5 ", Mail("a@b", size=5)),
        (b"MAIL FROM:a@b SIZE=5", Mail("a@b", size=5)),
        (b"RCPT TO: <a@b>", Rcpt("a@b")),
        (b"RCPT TO:Postmaster", Rcpt("Postmaster")),
        (b"RCPT TO:<a@b>  NOTIFY=NEVER", Rcpt("a@b", notify="NEVER")),
        (b"EHLO  a", Ehlo("a")),
        (b"BDAT  5", Bdat(5)),
    ],
)
def test_lenience(line: bytes, command: Command) -> None:
    assert parse_command(line, lenient=True) == command
    with pytest.raises(BadSyntax):
        parse_command(line)


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:",
        b"MAIL FROM:a@b>",
        b"MAIL FROM:<a@b",
        b"MAIL FROM:a b@c",
        b"MAIL a@b",
        b"MAIL FROM:\x0b<a@b>",
        b"MAIL FROM:X<a@b>",
    ],
)
def test_lenience_has_an_end(line: bytes) -> None:
    bad(line, lenient=True)


def test_what_peers_send() -> None:
    assert parse_command(b"MAIL FROM:<@a,@b:c@d> BODY=8BITMIME") == Mail("c@d", body="8BITMIME")
    assert parse_command(b"mail from:<> auth=<> size=5") == Mail("", auth="", size=5)
    assert parse_command(b"MAIL FROM:<a@b> XOORG=x.example") == Mail("a@b", other={"XOORG": "x.example"})
    assert parse_command(b"RCPT TO:<postMASTER>") == Rcpt("postMASTER")
    assert parse_command(b"NOOP   a  b ") == Noop("a  b")
    assert parse_command(b"VRFY a  SMTPutf8") == Vrfy("a", smtputf8=True)
    assert parse_command(b"xclient name=a") == XClient({"NAME": "a"})
    assert parse_command(b"FOO  bar") == UnknownCommand("FOO", "bar")
    assert str(UnknownCommand("foo")) == "FOO"


@given(st.binary(max_size=60) | any_texts().map(lambda text: text.encode("utf-8", "surrogatepass")), st.booleans())
def test_whatever_comes_is_a_command_or_bad_syntax(line: bytes, lenient: bool) -> None:
    survives(line, lenient)


@given(st.sampled_from([line[:-2] for _, line in LINES]), st.data(), st.booleans())
def test_whatever_comes_of_a_command_is_one_or_bad_syntax(line: bytes, data: st.DataObject, lenient: bool) -> None:
    position = data.draw(st.integers(0, len(line)))
    cut = data.draw(st.integers(0, 3))
    inserted = data.draw(st.sampled_from([b"", b" ", b"<", b">", b"=", b"\xc3\xa9", b"\xff", b"@", b'"', b"\\", b":"]))
    survives(line[:position] + inserted + line[position + cut :], lenient)


def survives(line: bytes, lenient: bool) -> None:
    answer = outcome(line.translate(None, b"\r\n\0"), lenient)
    if isinstance(answer, Command):
        assert parse_command(bytes(answer)[:-2]) == answer
    else:
        assert answer.code in (500, 501, 550)
        assert answer.text.isascii()
        assert answer.text.isprintable()
        assert len(answer.text) < 100


def outcome(line: bytes, lenient: bool) -> Command | BadSyntax:
    try:
        return parse_command(line, lenient=lenient)
    except BadSyntax as error:
        return error


PATH_PIECES = (
    mailboxes() | any_texts() | st.sampled_from(["<", ">", "> ", '"', '">"', "\\>", "@a:", "@a,@b:", " SIZE=1", ""])
)


@given(
    st.sampled_from(["MAIL FROM:", "RCPT TO:"]),
    mailboxes() | st.lists(PATH_PIECES, max_size=4).map("".join),
    st.sampled_from([">", "", "x", ">>", "> ", "> SIZE=1", "> NOTIFY=NEVER", "> ORCPT=rfc822;<a@b>"]),
    st.booleans(),
)
@example("MAIL FROM:", "", ">", False)
@example("MAIL FROM:", "Postmaster", ">", False)
@example("RCPT TO:", "Postmaster", ">", False)
@example("RCPT TO:", "", ">", False)
@example("RCPT TO:", '"a>b"@c', ">", False)
@example("RCPT TO:", "@a:b@c", ">", False)
@example("RCPT TO:", "a" * 60 + "@example.com", ">", False)
@example("RCPT TO:", "a" * 65 + "@example.com", ">", False)
@example("RCPT TO:", "a@bc", "x", False)
def test_a_path_is_the_same_by_the_short_way_and_by_the_long_one(
    verb: str, path: str, tail: str, lenient: bool
) -> None:
    """The short way is for the words as nearly everybody writes them, and for what ends with the bracket."""
    ways = [f"{way}<{path}{tail}".encode("utf-8", "surrogatepass") for way in (verb, verb.lower())]
    short, long = (outcome(way.translate(None, b"\r\n\0"), lenient) for way in ways)
    if isinstance(short, BadSyntax):
        assert isinstance(long, BadSyntax)
        assert (short.code, short.status, short.text, short.fatal) == (long.code, long.status, long.text, long.fatal)
    else:
        assert short == long


@pytest.mark.rfc("4954", "4")
def test_auth_responses() -> None:
    assert parse_auth_response(b"") == AuthResponse(b"")
    assert parse_auth_response(b"*") == AuthResponse(None)
    assert parse_auth_response(b"YQ==") == AuthResponse(b"a")
    for line in (
        b"=",
        b"YQ",
        b"YQ=",
        b"Y Q==",
        b" YQ==",
        b"YQ== ",
        b"**",
        b"YQ==YQ==",
        b"\xff",
        b"-_==",
        b"YR==",
        b"YWI=YQ==",
        b"QUFB=",
        b"QUFB==",
        b"YQ===",
        b"====",
        "YQ\xbd\xbd".encode(),
    ):
        with pytest.raises(BadSyntax, match=r"501 5\.5\.2"):
            parse_auth_response(line)


def test_bytearrays_are_taken_for_bytes() -> None:
    response: Any = bytearray(b"abc")
    command = AuthResponse(response)
    response[:] = b"xyz"
    assert command == AuthResponse(b"abc")
    assert type(command.response) is bytes


def test_every_class_has_what_makes_some_of_it() -> None:
    assert set(COMMANDS) == {*CLASSES.values(), UnknownCommand}


def test_every_known_verb_has_its_class_and_its_parser() -> None:
    verbs = {command.verb for command, _ in LINES if not isinstance(command, UnknownCommand)}
    assert verbs == KNOWN_VERBS == set(CLASSES)


def test_what_equals_a_default_stands_for_it_with_and_without_other_parameters() -> None:
    zero: Any = 0
    assert Mail("a@x.example", smtputf8=zero) == Mail("a@x.example")
    made = Mail("a@x.example", size=5, smtputf8=zero, require_tls=zero)
    assert made == Mail("a@x.example", size=5)
    assert (made.smtputf8, made.require_tls) == (False, False)
    assert repr(made.smtputf8) == "False"


def test_help_has_no_topic_unless_it_is_given_one() -> None:
    assert bytes(Help()) == b"HELP\r\n"
    assert Help().topic == ""


@pytest.mark.rfc("5321", "4.1.1")
@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("NOOP \t X \t", Noop("X")),
        ("NOOP \u00a0x\u00a0", Noop("\u00a0x\u00a0")),
        ("HELP \u00a0", Help("\u00a0")),
        ("VRFY \t X \t", Vrfy("X")),
        ("VRFY \u00a0x\u00a0", Vrfy("\u00a0x\u00a0")),
        ("VRFY X SMTPUTF8", Vrfy("X", smtputf8=True)),
        ("EXPN a \t SmtpUtf8", Expn("a", smtputf8=True)),
        ("EXPN a\u00a0 SMTPUTF8", Expn("a\u00a0", smtputf8=True)),
        ("DO \t X \t", UnknownCommand("DO", "X")),
        ("DO \u00a0x\u00a0", UnknownCommand("DO", "\u00a0x\u00a0")),
    ],
)
def test_white_space_around_an_argument_is_spaces_and_tabs_and_nothing_else(line: str, command: Command) -> None:
    for lenient in (False, True):
        assert parse_command(line.encode(), lenient=lenient) == command


@pytest.mark.parametrize("line", [b"NOOP x\x0b", b"NOOP x\x0c", b"NOOP\x0c", b"DO x\x0c"])
def test_other_white_space_at_the_end_of_a_line_is_none(line: bytes) -> None:
    for lenient in (False, True):
        with pytest.raises(BadSyntax):
            parse_command(line, lenient=lenient)


@pytest.mark.rfc("5321", "4.5.3.1.2")
def test_a_name_may_have_as_many_octets_as_a_domain_has() -> None:
    assert Ehlo("m" * 255).domain == "m" * 255
    assert Ehlo("é" * 127 + "m").domain == "é" * 127 + "m"
    for name in ("m" * 256, "é" * 128):
        with pytest.raises(LocalProtocolError, match="256 octets, more than 255"):
            Ehlo(name)


@pytest.mark.parametrize("line", [b"XCLIENT NAME=x  PROTO=y", b"XFORWARD  NAME=x", b"XCLIENT NAME=x\tPROTO=y"])
def test_attributes_have_one_space_between_them(line: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_command(line)


@given(mails(), mails(), st.sets(st.sampled_from(Mail.__match_args__[1:])))
def test_what_is_replaced_is_as_if_given_from_the_beginning(mail: Mail, other: Mail, names: set[str]) -> None:
    given_now = {name: getattr(other, name) for name in names}
    fields = {name: getattr(mail, name) for name in Mail.__match_args__[1:]}
    ways: list[Callable[[], Mail]] = [
        lambda: Mail(mail.reverse_path, **{**fields, **given_now}),
        lambda: mail.replaced(**given_now),
    ]
    outcomes: list[Any] = []
    for make in ways:
        try:
            made = make()
        except LocalProtocolError as error:
            outcomes.append(str(error))
        else:
            outcomes.append((made, bytes(made), made.needed_extensions, hash(made), repr(made)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"size": -1}, "size is -1"),
        ({"hold_for": 5, "hold_until": "2026-11-23T12:00:00Z"}, "exclude each other"),
        ({"envid": "\xe9"}, "envid is"),
        ({"auth": "\xe9@x.example"}, "is not ASCII: it needs smtputf8=True"),
        ({"other": {"X": "x" * 2048}}, "more than the 2048 allowed"),
        ({"other": {"SIZE": "5"}}, "SIZE"),
    ],
)
def test_what_replaces_a_parameter_is_checked(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LocalProtocolError, match=sentence):
        Mail("a@x.example", ret="FULL").replaced(**parameters)


def test_what_is_equal_to_the_default_replaces_as_the_default_does() -> None:
    falsy: Any = 0
    given_now: list[dict[str, Any]] = [{"require_tls": falsy}, {"smtputf8": falsy}, {"other": {}}]
    for fields in given_now:
        assert Mail("a@x.example", size=5).replaced(**fields) == Mail("a@x.example", size=5, **fields)


def test_what_is_no_parameter_of_mail_replaces_none() -> None:
    with pytest.raises(TypeError, match="MAIL has no parameter colour, reverse_path"):
        Mail("a@x.example").replaced(colour=1, reverse_path="b@x.example")
