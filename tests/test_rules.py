"""Rules of the RFCs that no other test shows as such; `tests/conformance` has the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import (
    Authenticator,
    AuthResponse,
    BadCommand,
    Bdat,
    ClientConnection,
    CommandReceived,
    ConnectFailed,
    ConnectOptions,
    Connector,
    ContentReceived,
    Credentials,
    Data,
    Ehlo,
    EndOfData,
    ErrorCode,
    Event,
    Helo,
    Limits,
    LocalProtocolError,
    Mail,
    Noop,
    Rcpt,
    Reply,
    ServerConnection,
    Service,
    ServiceSession,
    StartTls,
    State,
    TransportError,
    Vrfy,
    flows,
)
from smtpproto.addresses import Mailbox
from smtpproto.extensions import EXTENSIONS
from smtpproto.flows.effects import Ask, Receive, Send
from smtpproto.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS
from smtpproto.sasl import Authorize, Verify
from smtpproto.server_auth import ServerAuth
from smtpproto.service import DEFAULT_EXTENSIONS
from smtpproto.testing import accept
from tests.driving import ask, give, mailing_server, ready_client, ready_server, receive

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpproto.sasl import Question

EHLO = b"EHLO me.example\r\n"
ENVELOPE = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\n"


class Served:
    """What a server with a program that accepts everything says to pieces of input, and asks its program."""

    def __init__(
        self, *pieces: bytes, answer: Callable[[Event | Question], Any] = accept, lmtp: bool = False, **fields: Any
    ) -> None:
        self.sent: list[bytes] = []
        self.asked: list[Event | Question] = []
        arriving = iter(pieces)
        flow = flows.serve(ServiceSession(Service("mx.example", lmtp=lmtp, **fields)))
        effect = next(flow)
        try:
            while True:
                said: object = None
                if isinstance(effect, Receive) and effect.timeout == 0:
                    effect = flow.throw(TransportError("took too long", ErrorCode.TIMED_OUT))
                    continue
                match effect:
                    case Receive():
                        said = next(arriving, b"")
                    case Send(_, data):
                        self.sent.append(bytes(data))
                    case Ask(_, subject):
                        self.asked.append(subject)
                        said = answer(subject)
                    case _:
                        pass
                effect = flow.send(said)
        except StopIteration:
            pass

    @property
    def lines(self) -> list[str]:
        return b"".join(self.sent).decode().splitlines()

    @property
    def codes(self) -> list[int]:
        return [int(line[:3]) for line in self.lines if line[3] == " "]


def refusal(server: ServerConnection, line: bytes) -> Reply:
    (event,) = receive(server, line + b"\r\n")
    assert isinstance(event, BadCommand)
    return event.reply


def taken(server: ServerConnection, line: bytes) -> object:
    (event,) = receive(server, line + b"\r\n")
    assert isinstance(event, CommandReceived)
    return event.command


# RFC 5321 --------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "2.2.2")
@pytest.mark.rfc("5321", "4.2.4")
def test_what_is_offered_by_default_is_registered() -> None:
    assert {line.split(" ")[0] for line in DEFAULT_EXTENSIONS} <= set(EXTENSIONS)


@pytest.mark.rfc("5321", "4.2.4")
def test_what_is_offered_by_default_is_not_refused_as_unknown() -> None:
    commands = {
        verb: {"BDAT": b"BDAT 0 LAST", "HELP": b"HELP"}[verb]
        for line in DEFAULT_EXTENSIONS
        for verb in EXTENSIONS[line.split(" ")[0]].commands
    }
    assert sorted(commands) == ["BDAT", "HELP"]
    for line in commands.values():
        served = Served(EHLO, ENVELOPE, line + b"\r\n")
        assert served.codes[-1] in {214, 250}


@pytest.mark.rfc("5321", "2.3.5")
@pytest.mark.rfc("5321", "4.5.1")
@pytest.mark.parametrize("path", ["postmaster", "Postmaster", "POSTMASTER", "postmaster@mx.example"])
def test_postmaster_is_a_recipient(path: str) -> None:
    assert taken(mailing_server(), f"RCPT TO:<{path}>".encode()) == Rcpt(path)


@pytest.mark.rfc("5321", "2.4")
@given(letters=st.text("aB", min_size=1, max_size=9))
def test_the_case_of_a_local_part_is_kept(letters: str) -> None:
    address = f"{letters}@y.example"
    assert bytes(Rcpt(address)) == f"RCPT TO:<{address}>\r\n".encode()
    assert taken(mailing_server(), f"RCPT TO:<{address}>".encode()) == Rcpt(address)
    assert Mailbox.parse(address) != Mailbox.parse(f"{letters.swapcase()}@y.example")


@pytest.mark.rfc("5321", "2.4")
@pytest.mark.parametrize("line", [b"NO\xffOP", b"EHLO m\xff", b"MAIL FROM:<\xff@x.example>", b"VRFY \xff"])
def test_octets_above_127_in_a_command_are_refused(line: bytes) -> None:
    assert 500 <= refusal(ready_server("SMTPUTF8"), line).code <= 501


@pytest.mark.rfc("5321", "3.2")
def test_helo_is_answered_without_extensions() -> None:
    served = Served(b"HELO me.example\r\n", EHLO)
    assert served.lines[1] == "250 mx.example"
    assert served.lines[2].startswith("250-mx.example")


@pytest.mark.rfc("5321", "3.3")
@pytest.mark.parametrize(("code", "refuses"), [(450, True), (550, True), (354, False), (334, False)])
def test_a_refusal_is_for_now_or_for_good(code: int, refuses: bool) -> None:
    server = mailing_server()
    taken(server, b"RCPT TO:<b@y.example>")
    if refuses:
        server.send(Reply(code, "no"))
    else:
        with pytest.raises(LocalProtocolError):
            server.send(Reply(code, "perhaps"))


@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("5321", "3.7.2")
@pytest.mark.rfc("5321", "4.5.3.1.8")
@pytest.mark.rfc("3030", "3")
@pytest.mark.parametrize(
    "content",
    [
        b"no header at all\r\n",
        b"Resent-To: a@x.example\r\n\r\n",
        b"Resent-From: a@x.example\r\nResent-From: b@x.example\r\nResent-To: c@x.example\r\n\r\n",
        b"Received: by nobody, for nothing; never\r\nReceived\r\n\r\n",
        b"To: " + b"b@y.example, " * 500 + b"b@y.example\r\n\r\n",
        b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: Binary\r\n\r\n",
        b"From: a\r\nFrom: b\r\nContent-Type: ;;;\r\n\r\n",
    ],
)
def test_content_is_taken_whatever_its_header_says(content: bytes) -> None:
    for lines in ([b"DATA\r\n", content + b".\r\n"], [b"BDAT %d LAST\r\n" % len(content) + content]):
        served = Served(EHLO, ENVELOPE, *lines)
        assert served.codes[-1] == 250
        assert b"".join(event.data for event in served.asked if isinstance(event, ContentReceived)) == content


@pytest.mark.rfc("5321", "3.5.3")
def test_nothing_is_verified_by_default() -> None:
    assert Served(EHLO, b"VRFY b@y.example\r\nEXPN staff\r\n").codes[-2:] == [252, 502]


@pytest.mark.rfc("5321", "4.1.1")
@pytest.mark.parametrize("line", [b"NOOP", b"DATA", b"RSET", b"RCPT TO:<c@y.example>", b"QUIT", b"VRFY x"])
def test_white_space_at_the_end_of_a_command_is_tolerated(line: bytes) -> None:
    expected = taken(mailing_server("b@y.example"), line)
    for space in (b" ", b"\t", b" \t  "):
        assert taken(mailing_server("b@y.example"), line + space) == expected


@pytest.mark.rfc("5321", "4.1.1.5")
@pytest.mark.parametrize("before", [b"", EHLO, EHLO + ENVELOPE, EHLO + b"MAIL FROM:<>\r\n"])
def test_rset_is_answered_with_250_and_the_session_goes_on(before: bytes) -> None:
    served = Served(before + b"RSET\r\nNOOP\r\n", b"RSET\r\n", b"QUIT\r\n")
    assert served.codes[-4:] == [250, 250, 250, 221]


@pytest.mark.rfc("5321", "4.1.1.9")
@pytest.mark.parametrize("argument", [b"", b" x", b" DATA", b" a b c"])
def test_the_argument_of_noop_is_ignored(argument: bytes) -> None:
    assert isinstance(taken(ready_server(), b"NOOP" + argument), Noop)
    assert Served(EHLO, b"NOOP" + argument + b"\r\n").codes[-1] == 250


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize("domain", ["y_z.example", "y!.example", "-y.example", "y..example", "y/z.example"])
def test_characters_that_no_domain_has_are_refused_with_501(domain: str) -> None:
    assert refusal(mailing_server(), f"RCPT TO:<b@{domain}>".encode()).code == 501
    assert refusal(ready_server(), f"MAIL FROM:<b@{domain}>".encode()).code == 501


@pytest.mark.rfc("5321", "4.1.4")
def test_help_needs_no_hello() -> None:
    assert Served(b"HELP\r\n").codes == [220, 214]


@pytest.mark.rfc("5321", "4.1.4")
def test_no_transaction_within_a_transaction() -> None:
    client = ready_client()
    ask(client, Mail("a@x.example"), b"250 ok\r\n")
    with pytest.raises(LocalProtocolError):
        client.send(Mail("c@x.example"))
    assert client.state is State.MAIL


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("5321", "4.2.1")
def test_a_code_is_followed_by_a_space() -> None:
    assert bytes(Reply(250, "")) == b"250 \r\n"
    assert bytes(Reply(250, ("", ""))) == b"250-\r\n250 \r\n"


@pytest.mark.rfc("5321", "4.3.1")
def test_nothing_is_sent_before_the_greeting() -> None:
    with pytest.raises(LocalProtocolError):
        ClientConnection().send(Ehlo("me.example"))
    connector = Connector(ConnectOptions(host="mx.example"))
    assert connector.data_to_send() == b""


@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.parametrize("verb", [b"DATA", b"RSET", b"QUIT"])
def test_commands_without_arguments_refuse_them(verb: bytes) -> None:
    server = mailing_server("b@y.example")
    assert refusal(server, verb + b" now").code == 501


@pytest.mark.rfc("5321", "4.5.1")
def test_the_minimum_of_commands_is_there() -> None:
    served = Served(
        b"HELO me.example\r\n", EHLO, b"NOOP\r\n", b"VRFY x\r\n", ENVELOPE, b"RSET\r\n", ENVELOPE,
        b"DATA\r\n", b"x\r\n.\r\n", b"QUIT\r\n", extensions=()
    )  # fmt: skip
    assert served.codes == [220, 250, 250, 250, 252, 250, 250, 250, 250, 250, 354, 250, 221]


# RFC 3207 and RFC 4954 -------------------------------------------------------------------------------------------


@pytest.mark.rfc("3207", "4")
def test_nothing_goes_between_220_and_the_handshake() -> None:
    client = ready_client("STARTTLS", "PIPELINING")
    client.send(StartTls())
    with pytest.raises(LocalProtocolError):
        client.send(Noop())
    receive(client, b"220 go\r\n")
    with pytest.raises(LocalProtocolError):
        client.send(Noop())
    client.tls_established()
    client.send(Ehlo("me.example"))


@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("4954", "6")
def test_a_response_that_is_too_long() -> None:
    server = ready_server("AUTH LOGIN", limits=Limits(command_line=20_000))
    give(server, b"AUTH LOGIN\r\n", 334)
    assert str(refusal(server, b"x" * 12_287)).startswith("500 5.5.6 ")


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("text", [b"no base64!", b"cj1h=", b"=cj1", b"cj1"])
def test_a_challenge_that_is_no_base64_is_cancelled(text: bytes) -> None:
    client = ready_client("AUTH SCRAM-SHA-256")
    authenticator = Authenticator(client, Credentials("user", "secret"))
    (event,) = ask(client, authenticator.start(), b"334 " + text + b"\r\n")
    assert authenticator.respond(event) == AuthResponse(None)


@pytest.mark.rfc("4954", "4")
def test_a_name_of_which_nothing_is_left_is_nobody() -> None:
    """A soft hyphen is mapped to nothing; and acting as nobody is not the same as acting as oneself."""
    policy = ServerAuth({"user": "secret"}, authorize=lambda user, acting: True)
    assert policy.answer(Verify("\u00ad", "secret")) is False
    for nothing in ("\u00ad", "\u00ad\u200d"):
        assert policy.answer(Verify("user", "secret", nothing)) is False
        assert policy.answer(Authorize("user", nothing)) is False
    assert policy.answer(Verify("user", "secret", "")) is True


@pytest.mark.rfc("4954", "5")
@pytest.mark.parametrize("value", [b"<>", b"e+3Dmc2@x.example"])
def test_the_auth_parameter_needs_no_authentication(value: bytes) -> None:
    server = ready_server("AUTH PLAIN")
    command = taken(server, b"MAIL FROM:<a@x.example> AUTH=" + value)
    assert isinstance(command, Mail)
    assert command.auth == ("" if value == b"<>" else "e=mc2@x.example")
    assert not server.authenticated


# RFC 2920 and RFC 3030 -------------------------------------------------------------------------------------------


@pytest.mark.rfc("2920", "3.2")
def test_data_without_a_recipient_is_refused() -> None:
    assert Served(EHLO, b"MAIL FROM:<>\r\nDATA\r\n").codes[-1] == 503
    assert Served(EHLO, ENVELOPE + b"DATA\r\n").codes[-1] == 354


@pytest.mark.rfc("2920", "3.2")
@pytest.mark.parametrize("line", [b"EHLO me", b"DATA", b"VRFY x", b"EXPN x", b"QUIT", b"NOOP", b"TURN", b"XYZZY"])
def test_what_ends_a_group_is_answered_at_once(line: bytes) -> None:
    """The reply is written before anything else is looked at, also where more has come."""
    served = Served(EHLO, ENVELOPE + line + b"\r\nRSET\r\n")
    answers = [[each for each in data.split(b"\r\n") if each[3:4] == b" "] for data in served.sent]
    assert [len(each) for each in answers[:3]] == [1, 1, 3]  # greeting, EHLO, and the group with what ends it
    assert [each[:3] for each in answers[2][:2]] == [b"250", b"250"]


@pytest.mark.rfc("3030", "2")
def test_data_stays_where_chunking_is_offered() -> None:
    assert taken(mailing_server("b@y.example", offer=("CHUNKING",)), b"DATA") == Data()


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("line", [b"BDAT 0", b"BDAT 0 LAST"])
def test_nothing_follows_the_last_chunk(line: bytes) -> None:
    server = mailing_server("b@y.example", offer=("CHUNKING",))
    give(server, b"BDAT 2 LAST\r\nx\n", 250)
    assert refusal(server, line).code == 503


@pytest.mark.rfc("3030", "2")
def test_data_does_not_follow_a_chunk() -> None:
    server = mailing_server("b@y.example", offer=("CHUNKING",))
    give(server, b"BDAT 2\r\n\r\n", 250)
    reply = refusal(server, b"DATA")
    assert reply.code == 503
    server.send(reply)
    give(server, b"RSET\r\n", 250)
    assert server.state is State.READY


@pytest.mark.rfc("3030", "2")
@pytest.mark.rfc("3030", "3")
@given(content=st.binary(max_size=60))
def test_a_chunk_may_hold_anything(content: bytes) -> None:
    server = ready_server("CHUNKING", "BINARYMIME")
    give(server, b"MAIL FROM:<> BODY=BINARYMIME\r\n", 250)
    give(server, b"RCPT TO:<b@y.example>\r\n", 250)
    found = receive(server, b"BDAT %d LAST\r\n" % len(content) + content)
    assert b"".join(event.data for event in found if isinstance(event, ContentReceived)) == content
    assert found[-1] == CommandReceived(Bdat(len(content), last=True))


# RFC 1870, RFC 2034 and RFC 2033 ---------------------------------------------------------------------------------


@pytest.mark.rfc("1870", "6")
@pytest.mark.parametrize("size", [1, 4, 400])
def test_size_does_not_tell_where_content_ends(size: int) -> None:
    server = ready_server("SIZE 1000")
    give(server, b"MAIL FROM:<> SIZE=%d\r\n" % size, 250)
    give(server, b"RCPT TO:<b@y.example>\r\n", 250)
    give(server, b"DATA\r\n", 354)
    found = receive(server, b"1\r\n2\r\n3\r\n.\r\n")
    assert b"".join(event.data for event in found if isinstance(event, ContentReceived)) == b"1\r\n2\r\n3\r\n"
    assert found[-1] == CommandReceived(EndOfData())


@pytest.mark.rfc("2034", "4")
def test_status_codes_come_after_helo_too() -> None:
    served = Served(b"HELO me.example\r\n", b"NOOP\r\n", b"XYZZY\r\n", b"VRFY x\r\n")
    assert [line[:9] for line in served.lines[2:]] == ["250 2.0.0", "500 5.5.1", "252 2.5.0"]


@pytest.mark.rfc("2033", "4.2")
def test_lmtp_refuses_data_without_a_recipient() -> None:
    served = Served(b"LHLO me.example\r\n", b"MAIL FROM:<>\r\nDATA\r\n", lmtp=True)
    assert served.codes == [220, 250, 250, 503]


@pytest.mark.rfc("2033", "5")
def test_what_lmtp_needs_is_offered() -> None:
    served = Served(b"LHLO me.example\r\n", lmtp=True)
    offered = {line[4:] for line in served.lines[2:]}
    assert {"PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"} <= offered


# RFC 6531 and RFC 3461 -------------------------------------------------------------------------------------------


@pytest.mark.rfc("6531", "3.1")
def test_smtputf8_is_offered_without_parameters() -> None:
    assert "SMTPUTF8" in DEFAULT_EXTENSIONS
    assert "8BITMIME" in DEFAULT_EXTENSIONS


@pytest.mark.rfc("6531", "3.1")
def test_parameters_of_the_offer_of_smtputf8_are_ignored() -> None:
    client = ready_client("SMTPUTF8 a b=c", "8BITMIME")
    client.send(Mail("\u00fc@x.example", smtputf8=True))


@pytest.mark.rfc("6531", "3.2")
@pytest.mark.parametrize("line", ["RCPT TO:<\u00fc@y.example>", "RCPT TO:<b@\u00fc.example>", "VRFY \u00fc SMTPUTF8"])
def test_utf_8_in_every_mailbox(line: str) -> None:
    server = ready_server("SMTPUTF8", "8BITMIME")
    give(server, "MAIL FROM:<\u00fc@\u00fc.example> SMTPUTF8\r\n".encode(), 250)
    assert "\u00fc" in repr(taken(server, line.encode()))


@pytest.mark.rfc("6531", "3.4")
def test_smtputf8_has_no_value() -> None:
    assert refusal(ready_server("SMTPUTF8"), b"MAIL FROM:<> SMTPUTF8=yes").code == 501
    assert bytes(Mail("", smtputf8=True)) == b"MAIL FROM:<> SMTPUTF8\r\n"


@pytest.mark.rfc("6531", "3.7.1")
@pytest.mark.parametrize("hello", [Ehlo, Helo])
def test_hello_is_ascii(hello: type[Ehlo | Helo]) -> None:
    client = ClientConnection()
    receive(client, b"220 mx.example\r\n")
    with pytest.raises(LocalProtocolError, match="not ASCII"):
        client.send(hello("\u00fc.example"))
    client.send(hello("xn--tda.example"))
    with pytest.raises(ConnectFailed, match="not ASCII"):
        ConnectOptions(host="mx.example", client_name="\u00fc.example").resolve()
    with pytest.raises(ConnectFailed, match="not ASCII"):
        Connector(ConnectOptions(host="mx.example"), client_name="\u00fc.example")


@pytest.mark.rfc("6531", "3.7.1")
def test_the_name_of_the_host_is_ascii() -> None:
    with pytest.raises(LocalProtocolError, match="not ASCII"):
        Service("\u00fc.example")


@pytest.mark.rfc("6531", "3.7.1")
@pytest.mark.rfc("6531", "3.7.4.2")
def test_a_client_that_says_a_name_that_is_not_ascii_is_taken_and_hears_none() -> None:
    served = Served("EHLO \u00fc.example\r\n".encode())
    assert served.codes == [220, 250]
    assert served.lines[1] == "250-mx.example"


@pytest.mark.rfc("6531", "3.7.4.2")
def test_lookups_in_utf_8_need_the_offer() -> None:
    with pytest.raises(LocalProtocolError):
        ready_client().send(Vrfy("x", smtputf8=True))
    ready_client("SMTPUTF8").send(Vrfy("x", smtputf8=True))


@pytest.mark.rfc("6531", "3.7.4.2")
@pytest.mark.parametrize(
    "line", ["\u00fc", "XYZZ\u00dc x", "MAIL FROM:<\u00fc>", "EHLO \u00fc \u00fc", "RCPT TO:<\u00fc@y> X=\u00fc"]
)
def test_what_the_engine_says_is_ascii(line: str) -> None:
    assert refusal(ready_server("SMTPUTF8"), line.encode()).text.isascii()


ORCPT = b"ORCPT=rfc822;" + b"b" * 487
VALID = {"ENVID": b"ENVID=" + b"x" * 94, "RET": b"RET=HDRS", "NOTIFY": b"NOTIFY=SUCCESS,FAILURE,DELAY", "ORCPT": ORCPT}


def with_parameters(*names: str) -> bytes:
    """MAIL or RCPT, whichever they are of."""
    what = b"MAIL FROM:<a@x.example>" if {*names} & {"ENVID", "RET"} else b"RCPT TO:<b@y.example>"
    return b" ".join([what, *(VALID[name] for name in names)])


def server_for(name: str) -> ServerConnection:
    return ready_server("DSN") if name in {"ENVID", "RET"} else mailing_server(offer=("DSN",))


@pytest.mark.rfc("3461", "4.1")
@pytest.mark.rfc("3461", "4.2")
@pytest.mark.rfc("3461", "4.3")
@pytest.mark.rfc("3461", "4.4")
@pytest.mark.parametrize("name", VALID)
def test_parameters_of_dsn_have_values(name: str) -> None:
    line = with_parameters(name)
    for ending in (b"", b"="):
        assert refusal(server_for(name), line[: line.index(name.encode() + b"=")] + name.encode() + ending).code == 501


@pytest.mark.rfc("3461", "4.5")
@pytest.mark.rfc("3461", "5.1")
@pytest.mark.parametrize("name", VALID)
def test_a_parameter_of_dsn_comes_once(name: str) -> None:
    assert refusal(server_for(name), with_parameters(name, name)[:900]).code == 501


@pytest.mark.rfc("3461", "5.1")
@pytest.mark.parametrize(
    "names", [("ENVID",), ("RET",), ("ENVID", "RET"), ("NOTIFY",), ("ORCPT",), ("NOTIFY", "ORCPT")]
)
def test_valid_parameters_of_dsn_are_taken(names: tuple[str, ...]) -> None:
    command = taken(server_for(names[0]), with_parameters(*names))
    assert isinstance(command, Mail | Rcpt)
    rows = MAIL_PARAMETERS if isinstance(command, Mail) else RCPT_PARAMETERS
    assert all(getattr(command, rows[name].field) for name in names)


@pytest.mark.rfc("3461", "5.4")
def test_long_parameters_of_dsn_are_taken() -> None:
    assert [len(VALID[name]) for name in ("ENVID", "RET", "NOTIFY", "ORCPT")] == [100, 8, 28, 500]
    long = b"b" * 64 + b"@" + b"y" * 63 + b".example"
    line = b"RCPT TO:<%b> %b %b" % (long, VALID["NOTIFY"], ORCPT)
    line += b" " * (1034 - len(line))
    assert isinstance(taken(mailing_server(offer=("DSN",)), line), Rcpt)
