"""Rules of RFC 5321 that no other test shows as such; `tests/conformance` has the list."""

from __future__ import annotations

import ast
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import (
    ClientConnection,
    Command,
    CommandReceived,
    ConnectFailed,
    ConnectOptions,
    Connector,
    ContentReceived,
    Data,
    Ehlo,
    EndOfData,
    Envelope,
    Expn,
    Helo,
    LocalProtocolError,
    Mail,
    Noop,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    ReplyReceived,
    Rset,
    ServerConnection,
    Service,
    ServiceSession,
    StartTls,
    State,
    Timeouts,
    Vrfy,
)
from smtpproto.addresses import Mailbox
from smtpproto.commands.base import KNOWN_VERBS
from smtpproto.extensions import EXTENSIONS
from smtpproto.server_auth import ServerAuth
from smtpproto_adapters.maildir import Maildir
from tests import strategies
from tests.adapters.conversing import converse
from tests.driving import (
    EVERYTHING,
    ask,
    give,
    mailing_client,
    mailing_server,
    ready_client,
    ready_server,
    receive,
)
from tests.served import EHLO, ENVELOPE, Served, refusal, taken

HOSTS = st.lists(strategies.domains(ascii_only=True), min_size=1, max_size=3)


def greeted_pair() -> tuple[ClientConnection, ServerConnection]:
    client, server = ClientConnection(), ServerConnection()
    receive(client, server.send(Reply(220, "mx.example")))
    return client, server


@pytest.mark.rfc("5321", "2.2.1")
@pytest.mark.rfc("5321", "4.1.1.1")
def test_helo_is_enough_for_mail() -> None:
    served = Served(b"HELO me.example\r\n", ENVELOPE + b"DATA\r\n", b"x\r\n.\r\n")
    assert served.codes == [220, 250, 250, 250, 354, 250]


@pytest.mark.rfc("5321", "2.2.2")
@pytest.mark.parametrize("lmtp", [False, True])
def test_what_is_offered_by_default_is_registered(lmtp: bool) -> None:
    hello = b"LHLO me.example\r\n" if lmtp else EHLO
    served = Served(hello, b"STARTTLS\r\n", hello, lmtp=lmtp, starttls=True, auth=ServerAuth({"user": "secret"}))
    assert served.codes == [220, 250, 220, 250]
    offered = {line[4:].split(" ")[0] for line in served.lines if line.startswith("250") and "greets" not in line}
    # https://www.iana.org/assignments/mail-parameters
    assert offered == {
        *("8BITMIME", "AUTH", "CHUNKING", "ENHANCEDSTATUSCODES", "HELP", "PIPELINING", "SIZE", "SMTPUTF8", "STARTTLS")
    }
    assert {row.keyword for row in EXTENSIONS.values() if not row.rfc.startswith("RFC ")} == {"XCLIENT", "XFORWARD"}


@pytest.mark.rfc("5321", "2.3.5")
@pytest.mark.rfc("5321", "4.5.1")
@pytest.mark.parametrize("path", ["postmaster", "Postmaster", "POSTMASTER", "postmaster@mx.example"])
def test_postmaster_is_a_recipient(path: str) -> None:
    assert taken(mailing_server(), f"RCPT TO:<{path}>".encode()) == Rcpt(path)
    served = Served(EHLO, b"MAIL FROM:<>\r\n", f"RCPT TO:<{path}>\r\nDATA\r\n".encode())
    assert served.codes == [220, 250, 250, 250, 354]


@pytest.mark.rfc("5321", "2.3.11")
@pytest.mark.rfc("5321", "2.4")
@given(mailbox=strategies.mailboxes(ascii_only=True))
def test_a_mailbox_arrives_as_it_was_written(mailbox: str) -> None:
    assert bytes(Mail(mailbox)) == f"MAIL FROM:<{mailbox}>\r\n".encode()
    assert bytes(Rcpt(mailbox)) == f"RCPT TO:<{mailbox}>\r\n".encode()
    mail = taken(ready_server(), f"MAIL FROM:<{mailbox}>".encode())
    rcpt = taken(mailing_server(), f"RCPT TO:<{mailbox}>".encode())
    assert isinstance(mail, Mail)
    assert isinstance(rcpt, Rcpt)
    assert mail.reverse_path == rcpt.forward_path == mailbox


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


@pytest.mark.rfc("5321", "2.4")
@pytest.mark.parametrize(
    "line", ["MAIL FROM:<\u00fc@x.example>", "RCPT TO:<\u00fc@y.example>", "VRFY \u00fc", "EXPN \u00fc"]
)
def test_utf_8_in_a_mailbox_needs_the_offer(line: str) -> None:
    server = mailing_server(offer=("8BITMIME",)) if line.startswith("RCPT") else ready_server("8BITMIME")
    assert refusal(server, line.encode()).is_permanent


@pytest.mark.rfc("5321", "2.4")
def test_8bitmime_is_for_the_content_alone() -> None:
    server, client = ready_server("8BITMIME"), ready_client("8BITMIME")
    assert refusal(server, "MAIL FROM:<\u00fc@x.example> BODY=8BITMIME".encode()).is_permanent
    for smtputf8 in (False, True):
        with pytest.raises(LocalProtocolError, match=r"SMTPUTF8|smtputf8"):
            client.send(Mail("\u00fc@x.example", body="8BITMIME", smtputf8=smtputf8))
    server, client = mailing_server(offer=("8BITMIME",)), mailing_client(offer=("8BITMIME",))
    assert refusal(server, "RCPT TO:<\u00fc@y.example>".encode()).is_permanent
    with pytest.raises(LocalProtocolError, match="SMTPUTF8"):
        client.send(Rcpt("\u00fc@y.example"))


@pytest.mark.rfc("5321", "2.4")
def test_content_of_8_bits_is_taken() -> None:
    envelope = ENVELOPE.replace(b"x.example>", b"x.example> BODY=8BITMIME")
    served = Served(EHLO, envelope + b"DATA\r\n", b"\xfc\r\n.\r\n")
    assert "8BITMIME" in {line[4:] for line in served.lines}
    assert served.codes == [220, 250, 250, 250, 354, 250]
    assert served.content == b"\xfc\r\n"


@pytest.mark.rfc("5321", "3.2")
@pytest.mark.rfc("5321", "4.1.1.1")
def test_helo_is_answered_without_extensions() -> None:
    served = Served(b"HELO me.example\r\n", EHLO)
    assert served.lines[1] == "250 mx.example"
    assert served.lines[2].startswith("250-mx.example")


@pytest.mark.rfc("5321", "3.3")
@pytest.mark.parametrize(("code", "refuses"), [(450, True), (550, True), (354, False), (334, False)])
@pytest.mark.parametrize("line", [b"MAIL FROM:<a@x.example>", b"RCPT TO:<b@y.example>"])
def test_a_refusal_is_for_now_or_for_good(line: bytes, code: int, refuses: bool) -> None:
    server = mailing_server() if line.startswith(b"RCPT") else ready_server()
    state = server.state
    taken(server, line)
    if refuses:
        server.send(Reply(code, "no"))
        assert server.state is state
    else:
        with pytest.raises(LocalProtocolError):
            server.send(Reply(code, "perhaps"))


@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("5321", "3.7.2")
@pytest.mark.rfc("5321", "4.5.3.1.8")
@pytest.mark.rfc("3030", "3")
@pytest.mark.rfc("5321", "2.4")
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


@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("5321", "3.6.1")
@pytest.mark.rfc("5321", "4.1.1.3")
@pytest.mark.rfc("5321", "4.1.2")
@given(mailbox=strategies.mailboxes(ascii_only=True), hosts=HOSTS)
def test_a_source_route_is_read_and_dropped(mailbox: str, hosts: list[str]) -> None:
    route = ",".join(f"@{host}" for host in hosts)
    mail = taken(ready_server(), f"MAIL FROM:<{route}:{mailbox}>".encode())
    rcpt = taken(mailing_server(), f"RCPT TO:<{route}:{mailbox}>".encode())
    assert (mail, rcpt) == (Mail(mailbox), Rcpt(mailbox))
    assert isinstance(rcpt, Rcpt)
    assert bytes(rcpt) == f"RCPT TO:<{mailbox}>\r\n".encode()


@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("5321", "3.6.1")
@pytest.mark.rfc("5321", "4.1.1.3")
@pytest.mark.rfc("5321", "4.1.2")
@given(mailbox=strategies.mailboxes(ascii_only=True), hosts=HOSTS)
def test_no_source_route_is_sent(mailbox: str, hosts: list[str]) -> None:
    routed = f"{','.join(f'@{host}' for host in hosts)}:{mailbox}"
    for path in (routed, f"<{routed}>"):
        for make in (Mail, Rcpt, Mailbox.parse):
            with pytest.raises(LocalProtocolError):
                make(path)
        for sender, recipient in ((path, "b@y.example"), ("", path)):
            with pytest.raises(LocalProtocolError):
                Envelope(sender, recipient)


@pytest.mark.rfc("5321", "3.3")
def test_content_is_sent_behind_354_alone() -> None:
    for code in range(200, 600):
        client = mailing_client("b@y.example")
        with suppress(RemoteProtocolError):
            ask(client, Data(), b"%d said\r\n" % code)
        if code == 354:
            assert client.send_content(b"x") == b"x"
        else:
            with pytest.raises(LocalProtocolError):
                client.send_content(b"x")


@pytest.mark.rfc("5321", "3.3")
@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.rfc("5321", "4.3.1")
@pytest.mark.parametrize("steps", range(4))
@pytest.mark.parametrize(
    ("command", "after"), [(Mail("c@x.example"), {1}), (Rcpt("c@y.example"), {2, 3}), (Data(), {3})]
)
def test_a_transaction_has_its_order(steps: int, command: Command, after: set[int]) -> None:
    """After the greeting, EHLO, MAIL and RCPT, so many of them."""
    client, server = greeted_pair()
    for done in (Ehlo("me.example"), Mail("a@x.example"), Rcpt("b@y.example"))[:steps]:
        give(server, bytes(done), 250)
        ask(client, done, b"250 ok\r\n")
    state = server.state
    if steps in after:
        assert client.objection(command) is None
        assert receive(server, bytes(command)) == [CommandReceived(command)]
        return
    with pytest.raises(LocalProtocolError, match="out of sequence"):
        client.send(command)
    reply = refusal(server, bytes(command)[:-2])
    assert reply.code == 503
    server.send(reply)
    assert server.state is client.state is state


@pytest.mark.rfc("5321", "3.5.3")
def test_nothing_is_verified_by_default() -> None:
    assert Served(EHLO, b"VRFY b@y.example\r\nEXPN staff\r\n").codes[-2:] == [252, 502]


@pytest.mark.rfc("5321", "4.1.1")
@pytest.mark.parametrize(
    "line", [b"NOOP", b"DATA", b"RSET", b"RCPT TO:<c@y.example>", b"QUIT", b"VRFY x", b"EHLO me", b"HELO me"]
)
def test_white_space_at_the_end_of_a_command_is_tolerated(line: bytes) -> None:
    expected = taken(mailing_server("b@y.example"), line)
    for space in (b" ", b"\t", b" \t  "):
        assert taken(mailing_server("b@y.example"), line + space) == expected


@pytest.mark.rfc("5321", "4.1.1")
@pytest.mark.parametrize("make", [Data, Rset, Quit])
def test_data_rset_and_quit_have_no_arguments(make: Any) -> None:
    assert bytes(make()) == make.verb.encode() + b"\r\n"
    with pytest.raises(TypeError):
        make("now")


@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.parametrize(
    "lines",
    [
        (b"HELP\r\n",),
        (b"EXPN staff\r\n",),
        (b"STARTTLS\r\n",),
        (b"AUTH PLAIN\r\n",),
        (b"ETRN x.example\r\n",),
        (b"XCLIENT NAME=x\r\n",),
        (b"XFORWARD NAME=x\r\n",),
        (ENVELOPE, b"BDAT 0 LAST\r\n"),
        (ENVELOPE, b"BURL imap://x/y LAST\r\n"),
    ],
)
def test_no_command_is_there_that_is_not_offered(lines: tuple[bytes, ...]) -> None:
    for hello in (EHLO, b"HELO me.example\r\n"):
        assert Served(hello, *lines, extensions=()).codes[-1] == 502


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


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize("control", [chr(octet) for octet in (*range(32), 127)], ids=ascii)
def test_no_control_character_gets_into_a_command(control: str) -> None:
    for local_part in (f"a{control}b", f'"a{control}b"', f'"a\\{control}b"'):
        for make in (Mail, Rcpt):
            with pytest.raises(LocalProtocolError):
                make(f"{local_part}@x.example")
    for make in (Mail, Rcpt):
        with pytest.raises(LocalProtocolError):
            make(f"a@x{control}.example")
    for look_up in (Vrfy, Expn):
        if control != "\t":
            with pytest.raises(LocalProtocolError):
                look_up(f"a{control}b")


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize("local_part", ["a,b", "(a)b", "a b", "a\x01b", '"a\tb"', '"a\x7fb"', "a:b", "<a", "a[b"])
def test_characters_that_no_local_part_has_are_refused_with_501(local_part: str) -> None:
    assert refusal(mailing_server(), f"RCPT TO:<{local_part}@y.example>".encode()).code == 501
    assert refusal(ready_server(), f"MAIL FROM:<{local_part}@x.example>".encode()).code == 501


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize(
    ("local_part", "same"),
    [("ann", '"ann"'), ("a.b", '"a.b"'), ('"a b"', r'"a\ b"'), ('"a@b"', r'"\a\@\b"'), ('"../x"', r'"\../x"')],
)
def test_mail_is_kept_in_one_place_however_its_address_is_quoted(local_part: str, same: str, tmp_path: Path) -> None:
    recipients = f"RCPT TO:<{local_part}@y.example>\r\nRCPT TO:<{same}@y.example>\r\n".encode()
    keeping = Maildir(tmp_path, per_recipient=True)
    assert converse(keeping, EHLO, b"MAIL FROM:<>\r\n" + recipients, b"BDAT 0 LAST\r\n")[0][-1] == 250
    (folder,) = tmp_path.iterdir()
    assert len(list((folder / "new").iterdir())) == 1


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.parametrize(
    "name", ["my_host", "my_host.example", "me.example.", "-x.example", "a..b", "a!b", "[300.1.1.1]"]
)
def test_a_host_calls_itself_nothing_that_is_no_name(name: str) -> None:
    with pytest.raises(ConnectFailed, match=r"domain|address literal"):
        Connector(ConnectOptions(host="mx.example"), client_name=name)
    with pytest.raises(ConnectFailed, match=r"domain|address literal"):
        ConnectOptions(host="mx.example", client_name=name).resolve()
    with pytest.raises(LocalProtocolError, match=r"domain|address literal"):
        Service(name)


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.parametrize("name", ["localhost", "me.example", "xn--tda.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
def test_a_host_calls_itself_a_domain_or_an_address(name: str) -> None:
    assert Connector(ConnectOptions(host="mx.example"), client_name=name).client_name == name
    assert Service(name).host_name == name


@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.rfc("5321", "4.1.1.8")
def test_help_needs_no_hello() -> None:
    assert Served(b"HELP\r\n").codes == [220, 214]


@pytest.mark.rfc("5321", "4.1.4")
def test_no_transaction_within_a_transaction() -> None:
    client = ready_client()
    ask(client, Mail("a@x.example"), b"250 ok\r\n")
    with pytest.raises(LocalProtocolError):
        client.send(Mail("c@x.example"))
    assert client.state is State.MAIL


@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.parametrize(
    "name", ["localhost", "my_host", "me.example.", "-", "a..b", "[192.0.2.1]", "[300.1.1.1]", "\u00fc.example"]
)
def test_mail_is_taken_whatever_the_client_calls_itself(name: str) -> None:
    for verb in ("EHLO", "HELO"):
        served = Served(f"{verb} {name}\r\n".encode(), ENVELOPE + b"DATA\r\n", b"x\r\n.\r\n")
        assert served.codes == [220, 250, 250, 250, 354, 250]


@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.parametrize("line", [b"RSET", b"EHLO again.example", b"HELO again.example"])
def test_a_later_ehlo_ends_the_transaction_as_rset_does(line: bytes) -> None:
    served = Served(EHLO, ENVELOPE, line + b"\r\n", b"RCPT TO:<c@y.example>\r\n", b"DATA\r\n", ENVELOPE + b"DATA\r\n")
    assert served.codes == [220, 250, 250, 250, 250, 503, 503, 250, 250, 354]


@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.parametrize("code", [500, 501, 502, 550, 451])
def test_an_ehlo_that_is_refused_leaves_the_transaction_as_it_is(code: int) -> None:
    server, client = mailing_server("b@y.example"), mailing_client("b@y.example")
    give(server, b"EHLO again.example\r\n", code)
    ask(client, Ehlo("again.example"), b"%d no\r\n" % code)
    assert server.extensions == client.extensions
    assert "SIZE" in client.extensions
    assert taken(server, b"DATA") == Data()
    assert client.objection(Data()) is None


@pytest.mark.rfc("5321", "4.1.5")
@pytest.mark.parametrize("verb", sorted(KNOWN_VERBS))
def test_every_verb_is_of_a_standard_or_begins_with_x(verb: str) -> None:
    basic = {"EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP"}
    extended = {verb for row in EXTENSIONS.values() for verb in row.commands if row.rfc.startswith("RFC ")}
    assert verb in basic | extended | {"LHLO"} or verb.startswith("X")


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("5321", "4.2.1")
def test_a_code_is_followed_by_a_space() -> None:
    assert bytes(Reply(250, "")) == b"250 \r\n"
    assert bytes(Reply(250, ("", ""))) == b"250-\r\n250 \r\n"


REPLIES = {
    *(211, 214, 220, 221, 250, 251, 252, 354, 421, 450, 451, 452, 455, 500, 501, 502, 503, 504, 550, 551, 552, 553),
    *(554, 555),
}  # fmt: skip
"""RFC 5321 section 4.2.3."""


@pytest.mark.rfc("5321", "4.2")
def test_the_engine_says_no_codes_but_those_that_are_listed() -> None:
    found = {
        argument.value
        for path in (Path(__file__).parents[1] / "smtpproto").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in {"Reply", "BadSyntax", "Objection", "SaslError"}
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int)
    }
    assert {221, 250, 354, 501, 502, 503, 555} <= found
    assert found <= REPLIES | {235, 334, 432, 454, 530, 534, 535, 538}  # RFC 3207 section 4, RFC 4954 section 6


@pytest.mark.rfc("5321", "4.2")
def test_every_reply_of_the_engine_has_a_text() -> None:
    served = Served(
        EHLO, b"HELP\r\nVRFY x\r\nEXPN x\r\nNOOP\r\nXYZZY\r\nETRN x\r\nRCPT TO:<b@y.example>\r\n", b"MAIL FROM:x\r\n",
        ENVELOPE, b"RSET\r\n", ENVELOPE + b"DATA\r\n", b"x\r\n.\r\n", ENVELOPE + b"DATA\r\n", b"x\ny\r\n.\r\n",
        b"MAIL FROM:<> X=1\r\n", b"QUIT now\r\n", b"HELO me.example\r\n", b"QUIT\r\n",
    )  # fmt: skip
    assert served.codes[-1] == 221
    for line in served.lines:
        assert re.sub(r"[ -](\d\.\d\.\d)? *", "", line[3:], count=1)


REPLIED = [
    (Ehlo("me.example"), 250), (Helo("me.example"), 250), (Mail("c@x.example"), 250), (Mail("c@x.example"), 451),
    (Mail("c@x.example"), 550), (Noop(), 250), (Vrfy("x"), 252), (Rset(), 250), (StartTls(), 454), (Quit(), 221),
    (Noop(), 421), (Rcpt("c@y.example"), 250), (Rcpt("c@y.example"), 450), (Rcpt("c@y.example"), 553), (Data(), 354),
    (Data(), 554), (EndOfData(), 250), (EndOfData(), 452), (EndOfData(), 552),
]  # fmt: skip


def pair_before(command: Command) -> tuple[ClientConnection, ServerConnection]:
    """Both sides, where the command may come."""
    if not isinstance(command, Rcpt | Data | EndOfData):
        return ready_client(*EVERYTHING), ready_server(*EVERYTHING)
    client, server = mailing_client("b@y.example"), mailing_server("b@y.example")
    if isinstance(command, EndOfData):
        ask(client, Data(), b"354 go\r\n")
        give(server, b"DATA\r\n", 354)
    return client, server


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("5321", "4.3.1")
@pytest.mark.parametrize(("command", "code"), REPLIED)
@given(text=st.sampled_from(["", "250 OK", "5.1.1 no", "421 bye", "STARTTLS"]) | strategies.texts())
def test_what_a_reply_says_changes_nothing(command: Command, code: int, text: str) -> None:
    found: list[object] = []
    for said in (text, "as usual"):
        client, server = pair_before(command)
        (event,) = ask(client, command, f"{code} {said}\r\n".encode())
        receive(server, bytes(command) if command.verb else b".\r\n")
        server.send(Reply(code, said))
        assert client.state is server.state
        found.append((type(event), client.state, client.outstanding, dict(client.extensions), server.next_event()))
    assert found[0] == found[1]


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.parametrize("command", dict(REPLIED), ids=repr)
@pytest.mark.parametrize("digit", [2, 4, 5])
def test_an_unknown_code_counts_by_its_first_digit(command: Command, digit: int) -> None:
    if digit == 2 and isinstance(command, Data):
        return  # 354 is what it wants
    states: set[State] = set()
    for code in range(digit * 100, digit * 100 + 100):
        if code != 421:
            client, _ = pair_before(command)
            ask(client, command, b"%d said\r\n" % code)
            states.add(client.state)
    assert len(states) == 1


@pytest.mark.rfc("5321", "4.2.4")
def test_what_is_offered_by_default_is_not_refused_as_unknown() -> None:
    lines = {"BDAT": b"BDAT 0 LAST", "HELP": b"HELP", "STARTTLS": b"STARTTLS", "AUTH": b"AUTH PLAIN AHVzZXIAc2VjcmV0"}
    for secure in (False, True):
        session = ServiceSession(Service(starttls=True, auth=ServerAuth({"user": "secret"})), secure=secure)
        offered = {verb for line in session.offer for verb in EXTENSIONS[line.split(" ")[0]].commands}
        assert offered == {"BDAT", "HELP", "AUTH"} | (set() if secure else {"STARTTLS"})
    before = [EHLO, b"STARTTLS\r\n", EHLO]
    for verb, line in lines.items():
        more = [ENVELOPE] if verb == "BDAT" else []
        steps = before[:1] if verb == "STARTTLS" else before
        served = Served(*steps, *more, line + b"\r\n", starttls=True, auth=ServerAuth({"user": "secret"}))
        assert served.codes[-1] in {214, 220, 235, 250}


@pytest.mark.rfc("5321", "4.3.1")
def test_nothing_is_sent_before_the_greeting() -> None:
    with pytest.raises(LocalProtocolError):
        ClientConnection().send(Ehlo("me.example"))
    connector = Connector(ConnectOptions(host="mx.example"))
    assert connector.data_to_send() == b""


@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.rfc("5321", "4.1.1")
@pytest.mark.parametrize("verb", [b"DATA", b"RSET", b"QUIT"])
def test_commands_without_arguments_refuse_them(verb: bytes) -> None:
    server = mailing_server("b@y.example")
    assert refusal(server, verb + b" now").code == 501


@pytest.mark.rfc("5321", "4.4")
def test_trace_fields_go_before_those_of_others(tmp_path: Path) -> None:
    content = (
        b"Received: by b.example; Mon, 23 Nov 2026 10:00:00 +0100\r\nTo: x\r\nReceived: from nobody\r\n\there\r\n"
        b"Received: from c by d\r\nSubject: x\r\n\r\nReceived: y\r\n"
    )
    codes, _ = converse(Maildir(tmp_path), EHLO, ENVELOPE, b"BDAT %d LAST\r\n" % len(content) + content)
    assert codes[-1] == 250
    (file,) = (tmp_path / "new").iterdir()
    before, first, rest = file.read_bytes().partition(b"Received: by b.example")
    assert before.startswith(b"Return-Path: <a@x.example>\n")
    assert before.count(b"\nReceived: from me.example ") == before.count(b"Received:") == 1
    assert (first + rest).replace(b"\n", b"\r\n") == content


@pytest.mark.rfc("5321", "4.4")
@pytest.mark.parametrize("count", [1, 2])
def test_for_has_one_path_or_is_not_there(count: int, tmp_path: Path) -> None:
    more = b"".join(b"RCPT TO:<r%d@y.example>\r\n" % number for number in range(1, count))
    converse(Maildir(tmp_path), EHLO, ENVELOPE + more, b"BDAT 0 LAST\r\n")
    (file,) = (tmp_path / "new").iterdir()
    field = file.read_bytes().partition(b"Received: ")[2].split()
    assert field.count(b"for") == field.count(b"<b@y.example>;") == (count == 1)


@pytest.mark.rfc("5321", "4.5.1")
@pytest.mark.rfc("5321", "2.2.1")
@pytest.mark.rfc("5321", "4.1.1.1")
def test_the_minimum_of_commands_is_there() -> None:
    served = Served(
        b"HELO me.example\r\n", EHLO, b"NOOP\r\n", b"VRFY x\r\n", ENVELOPE, b"RSET\r\n", ENVELOPE,
        b"DATA\r\n", b"x\r\n.\r\n", b"QUIT\r\n", extensions=()
    )  # fmt: skip
    assert served.codes == [220, 250, 250, 250, 252, 250, 250, 250, 250, 250, 354, 250, 221]


@pytest.mark.rfc("5321", "4.5.3.1")
def test_what_is_as_long_as_it_may_be_is_taken() -> None:
    labels = "d" * 63
    mailbox = f"{'l' * 64}@{labels}.{labels}.{'d' * 61}"
    domain = ".".join([labels] * 4)
    assert (len(mailbox), len(domain)) == (254, 255)
    noop = b"NOOP " + b"x" * 505 + b"\r\n"
    served = Served(
        f"EHLO {domain}\r\n".encode(), f"MAIL FROM:<{mailbox}>\r\nRCPT TO:<{mailbox}>\r\n".encode(), noop, b"DATA\r\n",
        b"x" * 998 + b"\r\n.\r\n",
    )  # fmt: skip
    assert len(noop) == 512
    assert served.codes == [220, 250, 250, 250, 250, 354, 250]
    assert served.content == b"x" * 998 + b"\r\n"
    client = mailing_client("b@y.example")
    (event,) = ask(client, Noop(), b"250-" + b"x" * 506 + b"\r\n250 " + b"x" * 506 + b"\r\n")
    assert isinstance(event, ReplyReceived)
    assert event.reply == Reply(250, ("x" * 506,) * 2)
    ask(client, Data(), b"354 go\r\n")
    assert client.send_content(b"x" * 998 + b"\r\n") == b"x" * 998 + b"\r\n"


@pytest.mark.rfc("5321", "4.5.3.1.7")
@pytest.mark.rfc("5321", "4.5.3.1.8")
def test_64_kib_for_a_hundred_recipients_are_taken() -> None:
    content = (b"x" * 62 + b"\r\n") * 1024
    recipients = b"".join(b"RCPT TO:<r%d@y.example>\r\n" % number for number in range(100))
    served = Served(EHLO, b"MAIL FROM:<>\r\n" + recipients + b"DATA\r\n", content + b".\r\n")
    assert served.codes == [220, 250, *[250] * 101, 354, 250]
    assert served.content == content


@pytest.mark.rfc("5321", "4.5.3.2")
def test_the_times_can_be_changed() -> None:
    times = Timeouts(greeting=1, hello=2, server=3)
    connector = Connector(ConnectOptions(host="mx.example", timeouts=times))
    assert connector.deadline == 1
    connector.receive_data(b"220 mx.example\r\n")
    connector.next_event()
    connector.data_to_send()
    assert connector.deadline == 2
    session = ServiceSession(Service(timeouts=times))
    session.connection.send(Reply(220, "mx.example"))
    assert session.connection.deadline == 3
