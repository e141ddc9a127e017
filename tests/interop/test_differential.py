"""smtplib, aiosmtplib and aiosmtpd: where they are right, we agree, octet for octet; and where we differ on purpose.

The same envelope and message go through each of the clients to one server, which writes down the octets; and the same
octets go into each of the servers, whose handlers tell what they were given.  The tests of what differs go with the
table in `docs/differences.md`, row by row, in its order.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import smtplib
from email.message import EmailMessage
from email.mime.text import MIMEText
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import CommandReceived, ContentReceived, EndOfData, LocalProtocolError, Mail, Security
from smtpproto_adapters.blocking import Client
from smtpproto_adapters.local import LocalServer
from tests.driving import give, mailing_server, ready_server, receive
from tests.interop.recording import RawClient, Received, Recorder, Sent, aiosmtpd_in_a_thread
from tests.interop.servers import HOST, server_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from email.message import Message

Test = TypeVar("Test")

SENDER = "a@x.example"
RECIPIENTS = ("b@y.example",)
KEYWORDS = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8")


# The clients --------------------------------------------------------------------------------------------------------


class Sender(Protocol):
    """A client that is connected."""

    def sendmail(self, sender: str, recipients: Sequence[str], content: bytes, options: Sequence[str] = ()) -> Any: ...

    def send_message(self, message: Message[Any, Any]) -> Any: ...


class Smtplib:
    """The one of the standard library.  It sends octets as they are; text gets the right line ends."""

    def __init__(self, port: int) -> None:
        self.client = smtplib.SMTP(HOST, port, "client.test", timeout=20)

    def sendmail(self, sender: str, recipients: Sequence[str], content: bytes, options: Sequence[str] = ()) -> Any:
        return self.client.sendmail(sender, recipients, content, options)

    def send_message(self, message: Message[Any, Any]) -> Any:
        return self.client.send_message(message)

    def close(self) -> None:
        self.client.quit()


class SmtplibWithText(Smtplib):
    def sendmail(self, sender: str, recipients: Sequence[str], content: bytes, options: Sequence[str] = ()) -> Any:
        return self.client.sendmail(sender, recipients, content.decode("ascii"), options)


class Aiosmtplib:
    """aiosmtplib, on a loop of its own."""

    def __init__(self, port: int) -> None:
        import aiosmtplib

        self._loop = asyncio.new_event_loop()
        self.client = aiosmtplib.SMTP(
            hostname=HOST, port=port, local_hostname="client.test", timeout=20, start_tls=False
        )
        self._run(self.client.connect())

    def sendmail(self, sender: str, recipients: Sequence[str], content: bytes, options: Sequence[str] = ()) -> Any:
        return self._run(self.client.sendmail(sender, list(recipients), content, mail_options=options))

    def send_message(self, message: Any) -> Any:
        return self._run(self.client.send_message(message))

    def close(self) -> None:
        self._run(self.client.quit())
        self._run(asyncio.sleep(0.05))  # its transport is closed a moment later than it says
        self._loop.close()

    def _run(self, what: Any) -> Any:
        return self._loop.run_until_complete(what)


class Ours:
    """The Client with blocking sockets; the other two send what the same flow gives them."""

    def __init__(self, port: int) -> None:
        self.client = Client(
            host=HOST, port=port, client_name="client.test", security=Security.NONE, extended=True, timeout=20
        )
        self.client.connect()

    def sendmail(self, sender: str, recipients: Sequence[str], content: bytes, options: Sequence[str] = ()) -> Any:
        parameters: dict[str, Any] = {
            name.lower(): value for name, _, value in (option.partition("=") for option in options)
        }
        return self.client.sendmail(sender, recipients, content, **parameters)

    def send_message(self, message: Message[Any, Any]) -> Any:
        return self.client.send_message(message)

    def close(self) -> None:
        self.client.disconnect()


class Clients(NamedTuple):
    recorder: Recorder
    smtplib: Smtplib
    smtplib_with_text: SmtplibWithText
    aiosmtplib: Aiosmtplib
    ours: Ours

    def sent_by(
        self, client: Sender, content: bytes, *options: str, sender: str = SENDER, to: Sequence[str] = RECIPIENTS
    ) -> Sent:
        client.sendmail(sender, to, content, options)
        return self.recorder.take()

    def message_sent_by(self, client: Sender, message: Message[Any, Any]) -> Sent:
        client.send_message(message)
        return self.recorder.take()


def connected(*keywords: str) -> Generator[Clients]:
    if importlib.util.find_spec("aiosmtplib") is None:
        server_missing("aiosmtplib is missing: pip install aiosmtplib (it is among the `dev` dependencies)")
    with Recorder(*keywords) as recorder:
        port = recorder.port
        made = Clients(recorder, Smtplib(port), SmtplibWithText(port), Aiosmtplib(port), Ours(port))
        yield made
        for client in made[1:]:
            client.close()


@pytest.fixture(scope="module")
def clients() -> Generator[Clients]:
    """All of them, each with a session at a server that offers 8BITMIME."""
    yield from connected(*KEYWORDS)


@pytest.fixture(scope="module")
def seven_bit() -> Generator[Clients]:
    """The same, and the server offers nothing of the kind."""
    yield from connected("PIPELINING", "SIZE 1000000")


# What content may go wrong by: dots where they are in the way, long lines, octets that are no ASCII.
SHORT = (b".", b"..", b".x", b" .", b"text", b"", b"From here", b"x" * 490, b"." * 490)
LONG = (b"x" * 998, b"x" * 2000, b"." * 2000)
NO_ASCII = ("grüße".encode(), b"\xff\x80", b"\xe9.")


def contents(words: Sequence[bytes], ends: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Lines of these words, with these ends; the last one is without in half of all cases."""
    line = st.lists(st.sampled_from(words), max_size=2).map(b"".join)
    lines = st.lists(st.tuples(line, st.sampled_from(ends)).map(b"".join), max_size=8).map(b"".join)
    return st.tuples(lines, line | st.just(b"")).map(b"".join)


texts = contents((*SHORT, *LONG), (b"\r\n", b"\n", b"\r")).filter(bool)
octets = contents((*SHORT, *LONG, *NO_ASCII), (b"\r\n",)).filter(bool)
short_lines = contents((*SHORT, *NO_ASCII), (b"\r\n",)).filter(lambda content: content[-2:] in (b"", b"\r\n"))

local_parts = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,8}(\.[A-Za-z0-9'+=-]{1,8}){0,2}", fullmatch=True)
mailboxes = st.builds("{}@{}".format, local_parts, st.sampled_from(("y.example", "Mail.Example.ORG", "[127.0.0.1]")))


@pytest.mark.rfc("5321", "4.5.2")
@given(texts)
def test_the_clients_send_the_same_octets_of_a_text(clients: Clients, text: bytes) -> None:
    """Whatever ends its lines: on the wire it is CRLF.  (To smtplib, bytes are no text.)"""
    ours = clients.sent_by(clients.ours, text)
    assert clients.sent_by(clients.aiosmtplib, text) == ours
    assert clients.sent_by(clients.smtplib_with_text, text).content == ours.content


@pytest.mark.rfc("6152", "3")
@given(octets)
def test_the_clients_send_the_same_octets_of_lines(clients: Clients, content: bytes) -> None:
    """With octets above 127, where MAIL says so."""
    ours = clients.sent_by(clients.ours, content, "BODY=8BITMIME")
    assert clients.sent_by(clients.aiosmtplib, content, "BODY=8BITMIME") == ours
    theirs = clients.sent_by(clients.smtplib, content, "BODY=8BITMIME")
    assert theirs.content == ours.content
    assert (theirs == ours) is content.endswith(b"\r\n")  # see the row about SIZE


@pytest.mark.rfc("5321", "4.1.2")
@given(st.just("") | mailboxes, st.lists(mailboxes, min_size=1, max_size=4))
def test_the_clients_send_the_same_envelope(clients: Clients, sender: str, recipients: list[str]) -> None:
    """As it was given, the null reverse-path, case, and mailboxes that come twice included."""
    ours = clients.sent_by(clients.ours, b"x\r\n", sender=sender, to=recipients)
    assert ours[:1] + ours[2:3] == (sender.encode(), tuple(each.encode() for each in recipients))
    for client in (clients.smtplib, clients.aiosmtplib):
        assert clients.sent_by(client, b"x\r\n", sender=sender, to=recipients) == ours


def letter(text: str, *, attached: bool) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ädam <a@x.example>"
    message["To"] = "b@y.example, Ç <c@y.example>"
    message["Bcc"] = "d@y.example"
    message["Subject"] = f"grüße, and a subject that has to be folded, as it is so long: {'word ' * 12}"
    message.set_content(text)
    if attached:
        message.add_attachment(bytes(range(256)), maintype="application", subtype="octet-stream", filename="ö.bin")
        message.set_boundary("====")
    return message


@pytest.mark.rfc("5322", "3.6.3")
@given(st.lists(st.sampled_from((".", "..", "text", "", "x" * 70)), max_size=6).map("\n".join), st.booleans())
def test_the_clients_send_the_same_octets_of_an_email_message(clients: Clients, text: str, attached: bool) -> None:
    message = letter(text, attached=attached)
    ours = clients.message_sent_by(clients.ours, message)
    assert b"d@y.example" in ours.forward_paths
    assert b"d@y.example" not in ours.content
    for client in (clients.smtplib, clients.aiosmtplib):
        theirs = clients.message_sent_by(client, message)
        assert theirs.content == ours.content
        assert set(theirs.forward_paths) == set(ours.forward_paths)  # smtplib has Bcc before Cc
        assert theirs.reverse_path == ours.reverse_path


# The servers --------------------------------------------------------------------------------------------------------


class Servers:
    """Both, each with a session that stays."""

    def __init__(self, aiosmtpd: RawClient, ours: RawClient, received: list[Received], local: LocalServer) -> None:
        self.aiosmtpd = aiosmtpd
        self.ours = ours
        self._received = received
        self._local = local

    def at_aiosmtpd(self, content: bytes, mail: bytes, *recipients: bytes) -> Received | int:
        """What its handler was given, or the code of the refusal."""
        code = self.aiosmtpd.transaction(mail, recipients, content)
        return self._received.pop() if code == 250 else code

    def at_ours(self, content: bytes, mail: bytes, *recipients: bytes) -> Received | int:
        """The same."""
        code = self.ours.transaction(mail, recipients, content)
        if code != 250:
            return code
        message = self._local.inbox[-1]
        self._local.inbox.clear()
        return Received(message.envelope.sender, message.envelope.forward_paths, message.content)

    def both(
        self, content: bytes, mail: bytes = b"<a@x.example>", *recipients: bytes
    ) -> tuple[Received | int, Received | int]:
        to = recipients or (b"b@y.example",)
        return self.at_aiosmtpd(content, mail, *to), self.at_ours(content, mail, *to)


@pytest.fixture(scope="module")
def servers() -> Generator[Servers]:
    received: list[Received] = []
    with (
        aiosmtpd_in_a_thread(received) as port,
        LocalServer() as local,
        RawClient(port) as there,
        RawClient(local.port) as here,
    ):
        yield Servers(there, here, received, local)


def on_the_wire(content: bytes) -> bytes:
    return re.sub(rb"(?m)^\.", b"..", content) + b".\r\n"


@pytest.mark.rfc("5321", "4.5.2")
@given(short_lines)
def test_the_servers_read_the_same_content(servers: Servers, content: bytes) -> None:
    theirs, ours = servers.both(on_the_wire(content), b"<a@x.example> BODY=8BITMIME")
    assert theirs == ours == Received("a@x.example", ("b@y.example",), content)


@pytest.mark.rfc("5321", "4.1.1.3")
@given(mailboxes, st.lists(mailboxes, min_size=1, max_size=4))
def test_the_servers_read_the_same_envelope(servers: Servers, sender: str, recipients: list[str]) -> None:
    paths = [each.encode() for each in recipients]
    theirs, ours = servers.both(b".\r\n", b"<%b> SIZE=2" % sender.encode(), *paths)
    assert theirs == ours == Received(sender, tuple(recipients), b"")


# Where we differ on purpose -----------------------------------------------------------------------------------------

TABLE = Path(__file__).parents[2] / "docs" / "differences.md"
ROWS: list[str] = []


def row(what: str) -> Callable[[Test], Test]:
    """The test shows this row of the table."""
    ROWS.append(what)
    return lambda test: test


def test_each_row_of_the_table_is_shown() -> None:
    table = TABLE.read_text(encoding="utf-8").partition("| what | elsewhere | here | why |")[2].partition("\n\n")[0]
    assert re.findall(r"(?m)^\| (?!---)(.+?) \|", table) == ROWS


@row("an empty message")
@pytest.mark.rfc("5321", "4.1.1.4")
def test_an_empty_message(clients: Clients) -> None:
    for client in (clients.smtplib, clients.smtplib_with_text, clients.aiosmtplib):
        assert clients.sent_by(client, b"").content == b"\r\n.\r\n"
    assert clients.sent_by(clients.ours, b"").content == b".\r\n"


@row("bare CR or LF in bytes")
@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\rb\r\n", b"a\n.\nb\r\n"])
def test_bytes_with_bare_line_ends(clients: Clients, content: bytes) -> None:
    bare = clients.sent_by(clients.smtplib, content).content
    assert re.search(rb"(?<!\r)\n|\r(?!\n)", bare)
    for client in (clients.aiosmtplib, clients.ours):
        assert clients.sent_by(client, content).content == on_the_wire(re.sub(rb"\r\n|\r|\n", b"\r\n", content))


@row("NUL in content")
@pytest.mark.rfc("5321", "2.3.8")
def test_a_nul(clients: Clients) -> None:
    for client in (clients.smtplib, clients.aiosmtplib):
        assert b"\0" in clients.sent_by(client, b"a\0b\r\n").content
    with pytest.raises(LocalProtocolError, match="NUL"):
        clients.ours.sendmail(SENDER, RECIPIENTS, b"a\0b\r\n")


@row("SIZE of content without a last line end")
@pytest.mark.rfc("1870", "6.1")
def test_the_declared_size_of_a_line_without_an_end(clients: Clients) -> None:
    def declared(client: Sender) -> frozenset[bytes]:
        return clients.sent_by(client, b"x").parameters

    assert declared(clients.smtplib) == {b"SIZE=1"}
    assert declared(clients.aiosmtplib) == declared(clients.ours) == {b"SIZE=3"}


@row("octets above 127")
@pytest.mark.rfc("6152", "3")
def test_octets_above_127(clients: Clients, seven_bit: Clients) -> None:
    content = "grüße\r\n".encode()
    for offered in (clients, seven_bit):
        for client in (offered.smtplib, offered.aiosmtplib):
            assert offered.sent_by(client, content)[1:] == (
                frozenset({b"SIZE=%d" % len(content)}),
                (b"b@y.example",),
                content + b".\r\n",
            )
    assert b"BODY=8BITMIME" in clients.sent_by(clients.ours, content).parameters
    with pytest.raises(LocalProtocolError, match="8BITMIME"):
        seven_bit.ours.sendmail(SENDER, RECIPIENTS, content)


@row("an email message with octets above 127")
@pytest.mark.rfc("6152", "3")
def test_an_email_message_with_octets_above_127(clients: Clients, seven_bit: Clients) -> None:
    message = letter("grüße\n", attached=False)
    sent = clients.message_sent_by(clients.smtplib, message)
    assert not sent.content.isascii()
    assert b"BODY=8BITMIME" not in sent.parameters
    for client in (clients.aiosmtplib, clients.ours):
        assert b"BODY=8BITMIME" in clients.message_sent_by(client, message).parameters
    assert not seven_bit.message_sent_by(seven_bit.smtplib, message).content.isascii()
    for client in (seven_bit.aiosmtplib, seven_bit.ours):
        assert seven_bit.message_sent_by(client, message).content.isascii()


@row("a line that begins with From")
@pytest.mark.rfc("5321", "4.5.2")
def test_a_line_that_begins_with_from(clients: Clients) -> None:
    old = MIMEText("From here\n")
    old["From"], old["To"] = SENDER, RECIPIENTS[0]
    new = letter("From here\n", attached=False)
    mangled = {
        (client, message): b">From here" in clients.message_sent_by(client, message).content
        for client in (clients.smtplib, clients.aiosmtplib, clients.ours)
        for message in (old, new)
    }
    assert [each for each, is_mangled in mangled.items() if is_mangled] == [
        (clients.smtplib, old),
        (clients.smtplib, new),
        (clients.aiosmtplib, old),
    ]


@row("a display name in the envelope")
@pytest.mark.rfc("5321", "4.1.2")
def test_a_display_name_in_the_envelope(clients: Clients) -> None:
    for client in (clients.smtplib, clients.aiosmtplib):
        assert clients.sent_by(client, b"x\r\n", sender="Name <a@x.example>").reverse_path == b"a@x.example"
    with pytest.raises(LocalProtocolError, match="no mailbox"):
        clients.ours.sendmail("Name <a@x.example>", RECIPIENTS, b"x\r\n")


@row("received content with bare CR, bare LF or NUL")
@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\rb\r\n", b"a\n.\nb\r\n", b"a\0b\r\n"])
def test_received_content_with_what_it_must_not_have(servers: Servers, content: bytes) -> None:
    theirs, ours = servers.both(content + b".\r\n")
    assert theirs == Received("a@x.example", ("b@y.example",), content)
    assert ours == 554
    engine = mailing_server("b@y.example", accept_bare=True)
    give(engine, b"DATA\r\n", 354)
    assert receive(engine, content + b".\r\n") == [ContentReceived(content), CommandReceived(EndOfData())]


@row("received lines of more than 1000 octets")
@pytest.mark.rfc("5321", "4.5.3.1.6")
def test_received_lines_that_are_long(servers: Servers) -> None:
    content = b"x" * 1000 + b"\r\n"
    theirs, ours = servers.both(content + b".\r\n")
    assert theirs == 500
    assert ours == Received("a@x.example", ("b@y.example",), content)


@row("received paths that are none")
@pytest.mark.rfc("5321", "4.1.1.2")
@pytest.mark.parametrize("path", [b"a@x.example", b" <a@x.example>", b"<a@x.example>SIZE=5", b"<a@%b>" % (b"d" * 300)])
def test_received_paths_that_are_none(servers: Servers, path: bytes) -> None:
    assert servers.aiosmtpd.say(b"MAIL FROM:" + path) == 250
    assert servers.ours.say(b"MAIL FROM:" + path) == 501
    servers.aiosmtpd.say(b"RSET")
    (event,) = receive(ready_server(lenient=True), b"MAIL FROM:" + path + b"\r\n")
    assert (event == CommandReceived(Mail(SENDER))) is (path.strip(b" <>") == b"a@x.example")


@row("the null reverse-path")
@pytest.mark.rfc("5321", "4.5.5")
def test_the_null_reverse_path_of_a_handler(servers: Servers) -> None:
    theirs, ours = servers.both(b".\r\n", b"<>")
    assert theirs == Received("<>", ("b@y.example",), b"")
    assert ours == Received("", ("b@y.example",), b"")
