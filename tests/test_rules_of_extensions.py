"""Rules of the RFCs of the extensions that no other test shows as such; `tests/conformance` has the list."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import (
    Auth,
    AuthChallenge,
    Authenticator,
    AuthResponse,
    Bdat,
    ClientConnection,
    Command,
    CommandReceived,
    ConnectFailed,
    ConnectOptions,
    Connector,
    ContentReceived,
    Credentials,
    Data,
    Ehlo,
    EndOfData,
    Event,
    Expn,
    Helo,
    Limits,
    LocalProtocolError,
    Mail,
    Noop,
    Rcpt,
    RecipientReply,
    Reply,
    ReplyReceived,
    Rset,
    ServerConnection,
    Service,
    StartTls,
    State,
    Vrfy,
)
from smtpproto.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS
from smtpproto.sasl import Authorize, Verify
from smtpproto.server_auth import ServerAuth
from smtpproto.service import DEFAULT_EXTENSIONS
from smtpproto_adapters.blocking import Server
from smtpproto_adapters.server import Handler
from tests.driving import ask, give, mailing_client, mailing_server, ready_client, ready_server, receive
from tests.served import EHLO, ENVELOPE, Served, refusal, taken

if TYPE_CHECKING:
    from smtpproto.sasl import Question


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


@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("4954", "6")
@pytest.mark.parametrize(
    ("group", "unlike"),
    [
        (ENVELOPE + b"DATA\r\n", ""),
        (ENVELOPE + b"BDAT 3 LAST\r\nx\r\n", ""),
        (b"MAIL FROM:<> SIZE=99999999999\r\nMAIL FROM:<> RET=FULL\r\nMAIL FROM:<> X=1\r\n", ""),
        (b"ETRN x.example\r\nVRFY x\r\n", ""),
        (b"AUTH CRAM-MD5\r\n", "AUTH is there"),
        (b"NOOP\r\nEHLO me\r\nXYZZY\r\nMAIL FROM:x\r\nDATA now\r\n", "250 250 500 501 501"),
        (b"STARTTLS\r\n", "220 or none"),
    ],
)
@pytest.mark.parametrize("tls", [True, False])
def test_what_has_to_wait_for_tls_or_authentication_has_530(group: bytes, unlike: str, tls: bool) -> None:
    """Also what would be out of sequence, or is not offered: one answer for all of a group."""
    policy: dict[str, Any] = {"require_tls": True, "starttls": True} if tls else {"auth": auth(required=True)}
    served = Served(EHLO, group, **policy)
    codes = served.codes[2:]
    match unlike:
        case "":
            assert set(codes) == {530}
            assert {line[:9] for line in served.lines if line.startswith("530")} == {"530 5.7.0"}
        case "AUTH is there":
            assert codes == [530 if tls else 334]
        case "220 or none":
            assert codes == [220 if tls else 502]
        case _:
            assert codes == [int(code) for code in unlike.split()]


@pytest.mark.rfc("4954", "4")
@given(mechanism=st.sampled_from(["PLAIN", "X-OWN"]), response=st.binary(max_size=300))
def test_initial_responses_are_base64(mechanism: str, response: bytes) -> None:
    verb, name, text = bytes(Auth(mechanism, response))[:-2].split(b" ")
    assert (verb, name) == (b"AUTH", mechanism.encode())
    assert text == (b64encode(response) or b"=")
    assert bytes(Auth(mechanism)) == b"AUTH %b\r\n" % name


def auth(*, allow_plaintext: bool = True, required: bool = False) -> ServerAuth:
    return ServerAuth(
        {"user": "secret"}, mechanisms=["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"], failure_delay=0,
        allow_plaintext=allow_plaintext, required=required,
    )  # fmt: skip


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"AUTH PLAIN", "334 "),
        (b"AUTH SCRAM-SHA-256", "334 "),
        (b"AUTH LOGIN", "334 VXNlcm5hbWU6"),
        (b"AUTH CRAM-MD5 =", "501 5.7.0"),
        (b"AUTH CRAM-MD5 eA==", "501 5.7.0"),
        (b"AUTH PLAIN =AAA", "501 5.5.2"),
        (b"AUTH PLAIN AAA=BBB", "501 5.5.2"),
        (b"AUTH PLAIN e-A=", "501 5.5.2"),
    ],
)
def test_how_an_authentication_begins(line: bytes, answer: str) -> None:
    served = Served(EHLO, line + b"\r\n", auth=auth())
    assert served.lines[-1][: len(answer)] == answer
    assert not answer.startswith("334") or served.lines[-1] == answer
    assert re.fullmatch(rb"334 [A-Za-z0-9+/]+=*\r\n", Served(EHLO, b"AUTH CRAM-MD5\r\n", auth=auth()).sent[-1])


@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("4954", "6")
def test_a_response_that_is_too_long() -> None:
    for too_long in (12_287, Limits().command_line - 2):
        server = ready_server("AUTH LOGIN")
        give(server, b"AUTH LOGIN\r\n", 334)
        reply = refusal(server, b"x" * too_long)
        assert str(reply).startswith("500 5.5.6 ")
        server.send(reply)
        assert taken(server, b"NOOP") == Noop()


@pytest.mark.rfc("4954", "4")
def test_long_challenges_and_responses_are_taken() -> None:
    """Of 12288 octets, as many as its base64 can have."""
    longest = b"x" * (12_284 // 4 * 3)
    client, server = ready_client("AUTH X-OWN"), ready_server("AUTH X-OWN")
    (event,) = ask(client, Auth("X-OWN"), bytes(Reply(334, b64encode(longest).decode())))
    assert isinstance(event, AuthChallenge)
    assert event.challenge == longest
    give(server, b"AUTH X-OWN\r\n", 334)
    assert taken(server, client.send(AuthResponse(longest))[:-2]) == AuthResponse(longest)


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"])
@pytest.mark.parametrize("text", [b"no base64!", b"cj1h=", b"=cj1", b"cj1", b"=AAA", b"AAA=BBB"])
def test_a_challenge_that_is_no_base64_is_cancelled(mechanism: str, text: bytes) -> None:
    client = ready_client(f"AUTH {mechanism}")
    authenticator = Authenticator(client, Credentials("user", "secret"), mechanisms=[mechanism])
    (event,) = ask(client, authenticator.start(), b"334 " + text + b"\r\n")
    assert authenticator.respond(event) == AuthResponse(None)


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("line", [b"auth plain %b", b"Auth Plain %b", b"AUTH PLAIN %b"])
def test_auth_ends_a_group(line: bytes) -> None:
    client = ready_client("AUTH PLAIN", "PIPELINING")
    client.send(Rset())
    assert line % b64encode(b"\0user\0secret") == line[:10] + client.send(Auth("PLAIN", b"\0user\0secret"))[10:-2]
    for command in (Mail(""), Rset(), Noop(), Auth("PLAIN")):
        with pytest.raises(LocalProtocolError, match="AUTH is not answered yet"):
            client.send(command)
    receive(client, b"250 ok\r\n235 ok\r\n")
    client.send(Mail(""))


@pytest.mark.rfc("4954", "8")
@pytest.mark.parametrize("line", [b"AUTH PLAIN", b"auth plain", b"Auth Plain"])
def test_auth_is_read_in_any_case(line: bytes) -> None:
    assert taken(ready_server("auth Plain"), line + b" eA==") == Auth("PLAIN", b"x")
    assert Served(EHLO, line + b" AHVzZXIAc2VjcmV0\r\n", auth=auth()).codes[-1] == 235


@pytest.mark.rfc("4954", "6")
def test_the_status_codes_of_authentication() -> None:
    served = Served(
        EHLO, b"MAIL FROM:<>\r\n", b"AUTH PLAIN AHVzZXIAbm8=\r\n", b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n",
        auth=auth(required=True),
    )  # fmt: skip
    assert [line[:9] for line in served.lines[-3:]] == ["530 5.7.0", "535 5.7.8", "235 2.7.0"]
    assert Served(EHLO, b"AUTH PLAIN\r\n", auth=auth(allow_plaintext=False)).lines[-1][:10] == "538 5.7.11"


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
@pytest.mark.parametrize("authenticated", [False, True])
@pytest.mark.parametrize(
    ("parameter", "auth"),
    [
        (b"", None),
        (b" AUTH=<>", ""),
        (b" AUTH=e+3Dmc2@x.example", "e=mc2@x.example"),
        (b" auth=b@x.example", "b@x.example"),
    ],
)
def test_the_auth_parameter_says_who_or_that_nobody_knows(
    authenticated: bool, parameter: bytes, auth: str | None
) -> None:
    """That nobody knows is something else than to say nothing."""
    server = ready_server("AUTH PLAIN")
    if authenticated:
        give(server, b"AUTH PLAIN eA==\r\n", 235)
    assert taken(server, b"MAIL FROM:<a@x.example>" + parameter) == Mail("a@x.example", auth=auth)
    assert server.authenticated is authenticated


# RFC 2920 and RFC 3030 -------------------------------------------------------------------------------------------


@pytest.mark.rfc("2920", "3.2")
def test_data_without_a_recipient_is_refused() -> None:
    assert Served(EHLO, b"MAIL FROM:<>\r\nDATA\r\n").codes[-1] == 503
    assert Served(EHLO, ENVELOPE + b"DATA\r\n").codes[-1] == 354

    def no_to_c(asked: Event | Question) -> Reply | None:
        return Reply(550, "no") if asked == CommandReceived(Rcpt("c@y.example")) else None

    c = b"RCPT TO:<c@y.example>\r\n"
    assert Served(EHLO, b"MAIL FROM:<>\r\n" + c + b"DATA\r\n", answer=no_to_c).codes[-2:] == [550, 503]
    assert Served(EHLO, ENVELOPE + c + b"DATA\r\n", answer=no_to_c).codes[-3:] == [250, 550, 354]


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
@pytest.mark.parametrize("before", [b"", b"MAIL FROM:<>\r\n", ENVELOPE])
@given(line=st.binary(max_size=60).filter(lambda octets: b"\r\n" not in octets))
def test_lines_of_arbitrary_octets_are_refused(before: bytes, line: bytes) -> None:
    """As where a chunk is longer than it said; and what leaves open where the next line begins ends the session."""
    line = bytes(octet | 0x80 for octet in line[:1]) + line[1:]
    served = Served(EHLO, before + line + b"\r\n", b"NOOP\r\n")
    confuses = any(octet in line for octet in b"\r\n\0")
    assert served.codes[2 + before.count(b"\n") :] == ([421] if confuses else [500, 250])


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("code", [452, 552])
def test_behind_a_refused_chunk_rset_comes_before_the_next_message(code: int) -> None:
    client = mailing_client("b@y.example", offer=("CHUNKING", "PIPELINING"))
    client.send(Bdat(1))
    client.send_content(b"x")
    receive(client, b"%d no\r\n" % code)
    for command in (Bdat(1), Bdat(0, last=True), Mail(""), Rcpt("c@y.example"), Data()):
        with pytest.raises(LocalProtocolError, match="out of sequence"):
            client.send(command)
    client.send(Rset())
    client.send(Mail(""))


@pytest.mark.rfc("3030", "2")
@pytest.mark.rfc("3030", "3")
def test_what_makes_the_state_indeterminate_is_not_sent() -> None:
    """BDAT behind BDAT LAST, DATA behind BDAT, and DATA behind BODY=BINARYMIME."""
    offer = ("CHUNKING", "BINARYMIME", "8BITMIME", "PIPELINING")
    client = mailing_client("b@y.example", offer=offer)
    client.send(Bdat(0))
    with pytest.raises(LocalProtocolError, match="out of sequence"):
        client.send(Data())
    client.send(Bdat(0, last=True))
    for answered in (False, True):
        for command in (Bdat(0), Bdat(0, last=True)):
            with pytest.raises(LocalProtocolError, match="out of sequence"):
                client.send(command)
        receive(client, b"" if answered else b"250 ok\r\n250 ok\r\n")
    client = ready_client(*offer)
    ask(client, Mail("", body="BINARYMIME"), b"250 ok\r\n")
    ask(client, Rcpt("b@y.example"), b"250 ok\r\n")
    with pytest.raises(LocalProtocolError, match="BINARYMIME"):
        client.send(Data())
    assert client.objection(Bdat(0)) is None


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


@pytest.mark.rfc("1870", "6.3")
@pytest.mark.parametrize("offer", ["SIZE", "SIZE 0", "SIZE 9"])
@given(declared=st.integers(0, 20), dots=st.integers(0, 3))
def test_content_of_the_size_that_was_declared_and_taken_is_taken(offer: str, declared: int, dots: int) -> None:
    server = ready_server(offer, limits=Limits(message=9))
    (event,) = receive(server, b"MAIL FROM:<> SIZE=%d\r\n" % declared)
    assert isinstance(event, CommandReceived) is (declared <= 9)
    if declared > 9 or declared < dots + 2:
        return
    server.send(Reply(250))
    give(server, b"RCPT TO:<b@y.example>\r\n", 250)
    give(server, b"DATA\r\n", 354)
    content = b"." * dots + b"x" * (declared - dots - 2) + b"\r\n"
    assert receive(server, (b"." if dots else b"") + content + b".\r\n")[-1] == CommandReceived(EndOfData())


@pytest.mark.rfc("2034", "4")
def test_status_codes_come_after_helo_too() -> None:
    served = Served(b"HELO me.example\r\n", b"NOOP\r\n", b"XYZZY\r\n", b"VRFY x\r\n")
    assert [line[:9] for line in served.lines[2:]] == ["250 2.0.0", "500 5.5.1", "252 2.5.0"]


@pytest.mark.rfc("2033", "4.2")
def test_lmtp_refuses_data_without_a_recipient() -> None:
    served = Served(b"LHLO me.example\r\n", b"MAIL FROM:<>\r\nDATA\r\n", lmtp=True)
    assert served.codes == [220, 250, 250, 503]


@pytest.mark.rfc("2033", "1")
@pytest.mark.rfc("2033", "5")
def test_no_server_of_lmtp_listens_on_port_25() -> None:
    lmtp = Service(lmtp=True)
    with pytest.raises(LocalProtocolError, match="LMTP and port 25"):
        Server(Handler(), port=25, service=lmtp)
    assert Server(Handler(), port=2525, service=lmtp).port == 2525
    assert Server(Handler(), port=25, path="/run/lmtp", service=lmtp).path == "/run/lmtp"
    assert Server(Handler(), port=25).port == 25


@pytest.mark.rfc("2033", "5")
@pytest.mark.parametrize("last", [EndOfData(), Bdat(0, last=True)])
def test_each_reply_of_lmtp_is_told_when_it_comes(last: Command) -> None:
    client = mailing_client("b@y.example", "c@y.example", lmtp=True)
    if isinstance(last, EndOfData):
        ask(client, Data(), b"354 go\r\n")
    assert ask(client, last, b"250 one\r\n25") == [RecipientReply(last, Reply(250, "one"), "b@y.example")]
    assert receive(client, b"1 two\r\n") == [RecipientReply(last, Reply(251, "two"), "c@y.example")]


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


@pytest.mark.rfc("6531", "1.1")
@pytest.mark.rfc("6531", "3.2")
@pytest.mark.parametrize(
    "line",
    [
        *("RCPT TO:<\u00fc@y.example>", "RCPT TO:<b@\u00fc.example>", 'RCPT TO:<"\u00fc "@y.example>'),
        *("VRFY \u00fc SMTPUTF8", "EXPN \u00fc@y.example smtputf8"),
    ],
)
def test_utf_8_in_every_mailbox(line: str) -> None:
    server = ready_server("SMTPUTF8", "8BITMIME", "AUTH PLAIN")
    (event,) = receive(server, b"MAIL FROM:<> AUTH=+C3+BC@x.example SMTPUTF8\r\n")
    assert event == CommandReceived(Mail("", auth="\u00fc@x.example", smtputf8=True))
    server.send(Reply(250))
    give(server, b"RSET\r\n", 250)
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


@pytest.mark.rfc("6531", "3.7.4.1")
@pytest.mark.rfc("6531", "3.7.4.2")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        *((Rcpt("\u00fc@y.example"), code) for code in (251, 551)),
        *((Vrfy("\u00fc", smtputf8=True), code) for code in (250, 550)),
        (Expn("\u00fc", smtputf8=True), 250),
    ],
)
def test_utf_8_in_replies_is_read(command: Command, code: int) -> None:
    client = ready_client("SMTPUTF8", "8BITMIME")
    ask(client, Mail("", smtputf8=True), b"250 ok\r\n")
    lines = ("J\u00fcrg <\u00fc@\u00fc.example>", "\u65e0 <\u65e0@y.example>")
    (event,) = ask(client, command, bytes(Reply(code, lines)))
    assert isinstance(event, ReplyReceived)
    assert (event.reply.code, event.reply.lines) == (code, lines)


@pytest.mark.rfc("6531", "1.1")
@pytest.mark.parametrize("octets", [b"\xfc", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
def test_what_is_not_ascii_is_utf_8(octets: bytes) -> None:
    server = ready_server("SMTPUTF8", "8BITMIME")
    for line in (b"MAIL FROM:<%b@x.example> SMTPUTF8", b"MAIL FROM:<a@%b.example> SMTPUTF8", b"VRFY %b SMTPUTF8"):
        reply = refusal(server, line % octets)
        assert 500 <= reply.code <= 501
        server.send(reply)


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


@pytest.mark.rfc("3461", "5.2.1")
@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<a@x.example>",
        b"MAIL FROM:<a@x.example> RET=FULL",
        b"MAIL FROM:<a@x.example> RET=HDRS ENVID=Qq+20+3D+2B14",
        b"RCPT TO:<b@y.example>",
        b"RCPT TO:<b@y.example> NOTIFY=NEVER",
        b"RCPT TO:<b@y.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;Bob+2Bx@Y.Example",
        b"RCPT TO:<b@y.example> ORCPT=X400;/C=gb/".replace(b"C=", b"C+3D"),
        b"RCPT TO:<b@y.example> ORCPT=Utf-8;\\x{FC}B@y.example",
    ],
)
def test_parameters_of_dsn_go_on_as_they_came(line: bytes) -> None:
    """What a server has read is what a client writes, and nothing is added."""
    command = taken(mailing_server(offer=("DSN",)) if line.startswith(b"RCPT") else ready_server("DSN"), line)
    client = mailing_client(offer=("DSN",)) if line.startswith(b"RCPT") else ready_client("DSN")
    assert isinstance(command, Mail | Rcpt)
    assert client.send(command) == line + b"\r\n"


@pytest.mark.rfc("3461", "4.5")
@pytest.mark.rfc("1870", "6")
@pytest.mark.parametrize("make", [Mail, Rcpt])
@pytest.mark.parametrize("keyword", ["SIZE", "RET", "ENVID", "NOTIFY", "ORCPT", "ret", "Notify"])
def test_no_command_has_a_parameter_twice(make: type[Mail | Rcpt], keyword: str) -> None:
    """Each that is known is a field, and only there."""
    rows = MAIL_PARAMETERS if make is Mail else RCPT_PARAMETERS
    if keyword.upper() in rows:
        with pytest.raises(LocalProtocolError):
            make("a@x.example", other={keyword: "1"})
    with pytest.raises(LocalProtocolError, match="twice"):
        make("a@x.example", other={"XOWN": "1", "xown": "1"})


@pytest.mark.rfc("3461", "5.4")
def test_long_parameters_of_dsn_are_taken() -> None:
    assert [len(VALID[name]) for name in ("ENVID", "RET", "NOTIFY", "ORCPT")] == [100, 8, 28, 500]
    for envid in (VALID["ENVID"], b"ENVID=" + b"x" * 100):
        assert isinstance(taken(ready_server("DSN"), b"MAIL FROM:<> RET=HDRS " + envid), Mail)
    long = b"b" * 64 + b"@" + b"y" * 63 + b".example"
    line = b"RCPT TO:<%b> %b %b" % (long, VALID["NOTIFY"], ORCPT)
    line += b" " * (1034 - len(line))
    assert isinstance(taken(mailing_server(offer=("DSN",)), line), Rcpt)


@pytest.mark.rfc("3461", "5.4")
def test_all_parameters_of_mail_together_fit_into_a_line() -> None:
    """Each as long as its extension lets it be, and the path too."""
    domain = b".".join([b"x" * 63] * 2 + [b"x" * 61])
    words = [
        b"MAIL", b"FROM:<" + b"a" * 64 + b"@" + domain + b">", b"SIZE=" + b"9" * 20, b"BODY=BINARYMIME", b"SMTPUTF8",
        b"RET=HDRS", b"ENVID=" + b"x" * 100, b"AUTH=" + b"+2B" * 64 + b"@" + domain, b"BY=999999999;RT",
        b"HOLDUNTIL=2026-11-23T16:00:00Z", b"MT-PRIORITY=-9", b"REQUIRETLS", b"SOLICIT=" + b"s" * 1000,
    ]  # fmt: skip
    server = ready_server(
        "SIZE", "8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8", "DSN", "AUTH PLAIN", "DELIVERBY", "MT-PRIORITY",
        "FUTURERELEASE 999999999 2026-12-31T00:00:00Z", "REQUIRETLS", "NO-SOLICITING",
        secure=True, limits=Limits(message=10**20),
    )  # fmt: skip
    command = taken(server, b" ".join(words))
    assert isinstance(command, Mail)
    assert sorted(bytes(command).split()) == sorted(words)
