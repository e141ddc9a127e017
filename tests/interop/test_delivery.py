"""Our three clients deliver through real servers: what arrives is what was sent, and the result says for whom."""

from __future__ import annotations

import json
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from smtpproto import (
    Bdat,
    Command,
    Data,
    DeliveryResult,
    Envelope,
    Fate,
    LocalProtocolError,
    Mail,
    Rcpt,
    Reply,
    Security,
)
from smtpproto.parameters import OriginalRecipient, xtext_encode
from tests.adapters.backends import BACKENDS, Backend, nothing_left
from tests.interop.dovecot import FULL, FULL_OCTETS
from tests.interop.letters import SENDER, letter
from tests.interop.routes import ROUTES, Route
from tests.interop.servers import CROWD, HOST, LARGE_SIZE, SIZE
from tests.interop.smtp_sink import RunningSink, running_smtp_sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from tests.adapters.backends import AnyClient
    from tests.interop.nodemailer import RunningNodemailer
    from tests.interop.servers import RunningServer

ACCEPTED, DEFERRED, NOT_SENT, REFUSED, UNKNOWN = Fate

WITHOUT_CHUNKING = ("aiosmtpd", "nodemailer", "nodemailer-lmtp", "smtp-sink", "smtp-sink-lmtp")
WAYS: dict[bool | None, str] = {None: "by-itself", False: "data", True: "bdat"}
"""What `chunking` can be: what the client takes by itself, DATA, or BDAT."""


def each_way(routes: Iterable[str], name: str = "route") -> pytest.MarkDecorator:
    """Each of the routes in each of the ways that the server offers."""
    ways = [(each, way) for each in routes for way in WAYS if not (way and each in WITHOUT_CHUNKING)]
    bdat = pytest.mark.scenario("BDAT")
    params = [
        pytest.param(each, way, id=f"{each}-{WAYS[way]}", marks=[bdat] if way and name == "route" else [])
        for each, way in ways
    ]
    return pytest.mark.parametrize((name, "chunking"), params, indirect=[name])


def at_home(*names: str) -> list[str]:
    return [f"{name}@example.test" for name in names]


def fates(result: DeliveryResult) -> list[Fate]:
    return [each.fate for each in result.recipients]


def codes(result: DeliveryResult) -> list[int | None]:
    return [None if each.reply is None else each.reply.code for each in result.recipients]


def via(*names: str) -> pytest.MarkDecorator:
    """Only by these routes."""
    return pytest.mark.parametrize("route", names, indirect=True)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each of the three in turn."""
    found: Backend = request.param
    return found


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> Generator[None]:
    """Nothing is left behind of what the test itself has opened; it is the last to be set up."""
    for name in request.fixturenames:
        if name not in ("tidy", "request"):
            request.getfixturevalue(name)
    with nothing_left():
        yield


def envelope_for(client: AnyClient, *names: str, **parameters: Any) -> Envelope:
    """With what eight bits need, where the server knows of it."""
    if "8BITMIME" in client.extensions:
        parameters = {"body": "8BITMIME", **parameters}
    return Envelope(SENDER, at_home(*names), **parameters)


def in_pieces(content: bytes) -> Iterator[bytes]:
    """Pieces whose borders fall within line ends, and behind dots."""
    return (content[at : at + 7] for at in range(0, len(content), 7))


@pytest.mark.scenario("8BITMIME", "leading dots", "long lines", "no final line end")
@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.rfc("3030", "2")
@each_way(ROUTES)
def test_content_arrives_as_it_was_sent(backend: Backend, route: Route, chunking: bool | None) -> None:
    """Whole, in pieces, and with the line ends of a text file; one after the other over one connection."""

    async def slowly(content: bytes) -> AsyncIterator[bytes]:
        for piece in in_pieces(content):
            await backend.sleep(0)
            yield piece

    ways: list[Callable[[bytes], Any]] = [
        lambda content: content,
        in_pieces,
        lambda content: content.replace(b"\r\n", b"\n"),
        lambda content: bytearray(content + b"\r\n"),
        *([slowly] if backend.name != "blocking" else []),
    ]
    letters = [letter(route.longest_line) for _ in ways]
    sent: list[Command | Reply] = []

    async def scenario() -> None:
        async with route.client(backend, on_send=sent.append) as client:
            for each, way in zip(letters, ways, strict=True):
                result = await client.deliver(envelope_for(client, "user"), way(each.content), chunking=chunking)
                assert (fates(result), result.fate, result.error) == ([ACCEPTED], ACCEPTED, None)
                assert result.reply is not None
                assert result.reply.code == 250

    backend.run(scenario)
    for each in letters:
        assert route.mailboxes.wait_for_content("user", each.marker) == each.arrived
    if chunking is not None:
        assert any(isinstance(command, Bdat) for command in sent) is chunking
        assert any(isinstance(command, Data) for command in sent) is not chunking


@pytest.mark.scenario("BDAT")
@pytest.mark.rfc("3030", "2")
@via(*WITHOUT_CHUNKING)
def test_chunking_where_it_is_not_offered(backend: Backend, route: Route) -> None:
    sent: list[Command | Reply] = []

    async def scenario() -> None:
        async with route.client(backend, on_send=sent.append) as client:
            with pytest.raises(LocalProtocolError, match="CHUNKING"):
                await client.deliver(envelope_for(client, "user"), b"Subject: t\r\n\r\n", chunking=True)
            assert not any(isinstance(command, Mail) for command in sent)
            assert (await client.noop()).code == 250

    backend.run(scenario)


@pytest.mark.scenario("100 recipients", "unknown recipients")
@pytest.mark.rfc("5321", "4.5.3.1.8")
@pytest.mark.rfc("2033", "4.2")
def test_hundred_recipients_and_some_that_nobody_knows(backend: Backend, route: Route) -> None:
    sent = letter(route.longest_line)
    names = list(CROWD)
    for number in range(10):
        names.insert(11 * number, f"nobody{number}")

    async def scenario() -> DeliveryResult:
        async with route.client(backend) as client:
            return await client.deliver(envelope_for(client, *names), sent.content)

    result = backend.run(scenario)
    assert [each.recipient.forward_path for each in result.recipients] == at_home(*names)
    unknown = [route.judges and name.startswith("nobody") for name in names]
    assert fates(result) == [REFUSED if nobody else ACCEPTED for nobody in unknown]
    assert codes(result) == [550 if nobody else 250 for nobody in unknown]
    for name in CROWD:
        assert route.mailboxes.wait_for_content(name, sent.marker) == sent.arrived


@pytest.mark.scenario("SMTPUTF8")
@pytest.mark.rfc("6531", "3.4")
def test_smtputf8(backend: Backend, route: Route) -> None:
    """Where it is not offered nothing is sent, and the next message is none the worse for it."""
    mine, other = letter(route.longest_line), letter(route.longest_line)
    international = Envelope("jürgen@elsewhere.test", at_home("jörg"), smtputf8=True)
    sent: list[Command | Reply] = []

    async def scenario() -> bool:
        async with route.client(backend, on_send=sent.append) as client:
            offered = "SMTPUTF8" in client.extensions
            if offered:
                result = await client.deliver(international.with_mail(body="8BITMIME"), mine.content)
                assert fates(result) == [ACCEPTED]
            else:
                with pytest.raises(LocalProtocolError, match="SMTPUTF8"):
                    await client.deliver(international, mine.content)
                assert not any(isinstance(command, Mail) for command in sent)
            assert fates(await client.deliver(envelope_for(client, "user"), other.content)) == [ACCEPTED]
            return offered

    if backend.run(scenario):
        assert route.mailboxes.wait_for_content("jörg", mine.marker) == mine.arrived
    assert route.mailboxes.wait_for_content("user", other.marker) == other.arrived


def with_dsn(envid: str) -> Envelope:
    """An envelope whose sender wants to hear of the delivery."""
    original = OriginalRecipient("rfc822", "somebody+else@elsewhere.test")
    rcpt = Rcpt("other@example.test", notify=("SUCCESS", "FAILURE"), orcpt=original)
    return Envelope("user@example.test", rcpt, ret="HDRS", envid=envid, body="8BITMIME")


@pytest.mark.scenario("DSN")
@pytest.mark.rfc("3461", "4")
@via("postfix", "exim", "dovecot-submission")
def test_delivery_status_notification(backend: Backend, route: Route) -> None:
    """What the parameters of MAIL and RCPT asked for comes back in a message of its own."""
    sent = letter()
    envid = f"1+1=2 {sent.marker[:8].decode()}"

    async def scenario() -> None:
        async with route.client(backend) as client:
            assert fates(await client.deliver(with_dsn(envid), sent.content)) == [ACCEPTED]

    backend.run(scenario)
    assert route.mailboxes.wait_for_content("other", sent.marker) == sent.arrived
    notice = route.mailboxes.wait_for_content("user", sent.marker[:8]).decode()
    told = [envid, "somebody+else@elsewhere.test"]
    if route.name == "exim":
        # It tells what it was told without decoding it.
        told = [xtext_encode(text) for text in told]
    fields = notice.lower().split("\r\n")
    assert f"original-envelope-id: {told[0]}".lower() in fields
    assert f"original-recipient: rfc822;{told[1]}".lower() in fields
    assert "action: delivered" in fields
    assert "content-type: text/rfc822-headers" in fields
    assert "in . the middle." not in notice


@pytest.mark.scenario("DSN")
@pytest.mark.rfc("3461", "4")
@via("smtp-sink", "smtp-sink-lmtp")
def test_parameters_of_dsn_on_the_wire(backend: Backend, route: Route) -> None:
    sent, sink = letter(), route.mailboxes
    assert isinstance(sink, RunningSink)

    async def scenario() -> None:
        async with route.client(backend) as client:
            assert fates(await client.deliver(with_dsn("1+1=2"), sent.content)) == [ACCEPTED]

    backend.run(scenario)
    dump = sink.dump_of(sent.marker)
    assert set(dump.mail.split()) == {"<user@example.test>", "BODY=8BITMIME", "RET=HDRS", "ENVID=1+2B1+3D2"}
    assert [set(each.split()) for each in dump.recipients] == [
        {"<other@example.test>", "NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;somebody+2Belse@elsewhere.test"}
    ]


@pytest.mark.scenario("DSN")
@pytest.mark.rfc("3461", "4")
@via("nodemailer", "nodemailer-lmtp")
def test_parameters_of_dsn_at_the_other_end(backend: Backend, nodemailer: RunningNodemailer, route: Route) -> None:
    """Its server understands them, and writes down what it was told."""
    sent = letter()
    envid = f"1+1=2/{sent.marker.decode()}"

    async def scenario() -> None:
        async with route.client(backend) as client:
            assert fates(await client.deliver(with_dsn(envid), sent.content)) == [ACCEPTED]

    backend.run(scenario)
    [told] = [json.loads(line) for line in nodemailer.log.read_text().splitlines() if sent.marker.decode() in line]
    original = "rfc822;somebody+else@elsewhere.test"
    recipient = {"address": "other@example.test", "notify": ["SUCCESS", "FAILURE"], "orcpt": original}
    assert told == {"ret": "HDRS", "envid": envid, "recipients": [recipient]}


@pytest.mark.scenario("DSN")
@pytest.mark.rfc("3461", "4")
@via("aiosmtpd", "dovecot-lmtp", "dovecot-unix")
def test_dsn_where_it_is_not_offered(backend: Backend, route: Route) -> None:
    async def scenario() -> None:
        async with route.client(backend) as client:
            with pytest.raises(LocalProtocolError, match="DSN"):
                await client.deliver(with_dsn("1"), b"Subject: t\r\n\r\n")
            assert (await client.noop()).code == 250

    backend.run(scenario)


@pytest.mark.scenario("SIZE, declared", "SIZE, undeclared", server="dovecot-submission")
@pytest.mark.rfc("1870", "6.1")
@via("dovecot-submission")
def test_size_exceeded_at_submission(backend: Backend, route: Route) -> None:
    """Dovecot has one limit for all of its ports."""
    after = letter()

    def stream() -> Iterator[bytes]:
        yield b"Subject: t\r\n\r\n"
        for _ in range(LARGE_SIZE // 64_000 + 2):
            yield (b"z" * 62 + b"\r\n") * 1000

    async def scenario() -> None:
        async with route.client(backend) as client:
            with pytest.raises(LocalProtocolError, match="SIZE"):
                await client.deliver(envelope_for(client, "user"), after.content + b"x" * LARGE_SIZE)
            assert fates(await client.deliver(envelope_for(client, "user"), stream())) == [REFUSED]
            assert fates(await client.deliver(envelope_for(client, "user"), after.content)) == [ACCEPTED]

    backend.run(scenario)
    assert route.mailboxes.wait_for_content("user", after.marker) == after.arrived


def small_port(backend: Backend, server: RunningServer, **options: Any) -> AnyClient:
    """A client for the port that takes messages of up to `SIZE`."""
    return backend.client(host=server.host, port=server.ports.plain, security=Security.NONE, timeout=60, **options)


@pytest.mark.scenario("SIZE, declared")
@pytest.mark.rfc("1870", "6.1")
def test_size_exceeded_by_what_is_known_to_be_too_large(backend: Backend, server: RunningServer) -> None:
    sent: list[Command | Reply] = []
    after = letter(998)

    async def scenario() -> None:
        async with small_port(backend, server, on_send=sent.append) as client:
            with pytest.raises(LocalProtocolError, match="SIZE"):
                await client.deliver(envelope_for(client, "user"), after.content + b"x" * SIZE)
            assert not any(isinstance(command, Mail) for command in sent)
            assert fates(await client.deliver(envelope_for(client, "user"), after.content)) == [ACCEPTED]

    backend.run(scenario)
    assert server.wait_for_content("user", after.marker) == after.arrived


@pytest.mark.scenario("SIZE, undeclared")
@pytest.mark.rfc("1870", "6.3")
@each_way(["postfix", "exim", "aiosmtpd", "nodemailer"], "server")
def test_size_exceeded_by_a_stream(backend: Backend, server: RunningServer, chunking: bool | None) -> None:
    after = letter(998)

    def stream() -> Iterator[bytes]:
        yield b"Subject: t\r\n\r\n"
        for _ in range(2 * SIZE // 640):
            yield (b"z" * 62 + b"\r\n") * 10

    async def scenario() -> None:
        async with small_port(backend, server) as client:
            result = await client.deliver(envelope_for(client, "user", "nobody"), stream(), chunking=chunking)
            assert (fates(result), codes(result)) == ([REFUSED, REFUSED], [552, 550])
            if server.name == "exim" and chunking is not False:
                # It takes the rest of the chunk that was too much for commands, and leaves.
                assert not client.is_connected
                await client.connect()
            assert fates(await client.deliver(envelope_for(client, "user"), after.content)) == [ACCEPTED]

    backend.run(scenario)
    assert server.wait_for_content("user", after.marker) == after.arrived


LARGE = 25 * 1024 * 1024


@pytest.fixture(scope="session")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 MB of lines as base64 has them, some of which begin with a dot."""
    file = tmp_path_factory.mktemp("large") / "content"
    head = b"Subject: a large one\r\n\r\n"
    lines = b"".join(b"%c%074d\r\n" % (b".+"[number % 3 > 0], number) for number in range((LARGE - len(head)) // 77))
    file.write_bytes(head + lines + b"z" * ((LARGE - len(head)) % 77 - 2) + b"\r\n")
    return file


def test_large_message(backend: Backend, route: Route, large_file: Path) -> None:
    """25 MB from a file, with its progress told."""
    told: list[tuple[int, int | None]] = []

    def tell(sent: int, total: int | None) -> None:
        told.append((sent, total))

    async def scenario() -> None:
        async with route.client(backend) as client:
            with large_file.open("rb") as content:
                result = await client.deliver(envelope_for(client, "u100"), content, on_progress=tell)
            assert fates(result) == [ACCEPTED]

    backend.run(scenario)
    arrived = route.mailboxes.wait_for_content("u100", b"Subject: a large one")
    route.mailboxes.clear("u100")
    # A difference in so much is told slowly.
    assert len(arrived) == LARGE
    assert (arrived == large_file.read_bytes()) is True
    assert told[-1] == (LARGE, LARGE)
    assert told == sorted(told)


@each_way(name for name in ROUTES if not name.startswith("smtp-sink"))
def test_message_after_one_that_was_refused(backend: Backend, route: Route, chunking: bool | None) -> None:
    first, second = letter(route.longest_line), letter(route.longest_line)

    async def scenario() -> None:
        async with route.client(backend) as client:
            result = await client.deliver(envelope_for(client, "nobody", "noone"), first.content, chunking=chunking)
            assert (fates(result), codes(result)) == ([REFUSED] * 2, [550] * 2)
            assert (await client.reset()).code == 250
            result = await client.deliver(envelope_for(client, "nobody", "other"), second.content, chunking=chunking)
            assert (fates(result), codes(result)) == ([REFUSED, ACCEPTED], [550, 250])

    backend.run(scenario)
    assert route.mailboxes.wait_for_content("other", second.marker) == second.arrived


@pytest.mark.scenario("empty message")
@each_way(ROUTES)
def test_empty_message(backend: Backend, route: Route, chunking: bool | None) -> None:
    """Nothing at all; and a head without an end."""
    sent = letter(998)
    subject = b"Subject: " + sent.marker
    route.mailboxes.clear("postmaster")

    async def scenario() -> None:
        async with route.client(backend) as client:
            result = await client.deliver(envelope_for(client, "postmaster"), b"", chunking=chunking)
            assert fates(result) == [ACCEPTED]
            assert fates(await client.deliver(envelope_for(client, "other"), subject, chunking=chunking)) == [ACCEPTED]

    backend.run(scenario)
    assert route.mailboxes.wait_for_content("postmaster", b"") == route.behind_head
    assert route.mailboxes.wait_for_content("other", sent.marker) == subject + b"\r\n" + route.behind_head


@pytest.mark.scenario("SIZE, undeclared")
@pytest.mark.rfc("2033", "4.2")
@each_way(["dovecot-lmtp", "dovecot-unix", "nodemailer-lmtp"])
def test_lmtp_refuses_for_some(backend: Backend, route: Route, chunking: bool | None) -> None:
    """Of four recipients one is refused at once, and one when the content is there."""
    sent = letter()
    content = sent.content + b"\r\n" + b"z" * FULL_OCTETS

    async def scenario() -> None:
        async with route.client(backend) as client:
            names = ("user", FULL, "nobody", "other")
            result = await client.deliver(envelope_for(client, *names), content, chunking=chunking)
            assert fates(result) == [ACCEPTED, REFUSED, REFUSED, ACCEPTED]
            assert codes(result) == [250, 552, 550, 250]
            for name, each in zip(names, result.recipients, strict=True):
                assert each.reply is not None
                assert f"<{name}@example.test>" in each.reply.text
            result = await client.deliver(envelope_for(client, FULL), content, chunking=chunking)
            assert (fates(result), codes(result)) == ([REFUSED], [552])
            result = await client.deliver(envelope_for(client, FULL, "u001"), content, chunking=chunking)
            assert fates(result) == [REFUSED, ACCEPTED]

    backend.run(scenario)
    for mailbox in ("user", "other", "u001"):
        assert route.mailboxes.wait_for_content(mailbox, sent.marker) == content + b"\r\n"


def test_server_that_has_had_enough(backend: Backend, postfix: RunningServer) -> None:
    """Postfix leaves after the twentieth error, in the middle of a group: the fate of each recipient is certain."""
    names = [*("user", "other"), *(f"nobody{number}" for number in range(25)), "uni"]
    sent = letter()

    async def scenario() -> DeliveryResult:
        async with small_port(backend, postfix) as client:
            result = await client.deliver(envelope_for(client, *names), sent.content)
            assert not client.is_connected
            return result

    result = backend.run(scenario)
    assert fates(result) == [NOT_SENT] * 2 + [REFUSED] * 20 + [DEFERRED] + [NOT_SENT] * 5
    assert codes(result) == [421] * 2 + [550] * 20 + [421] * 6


class Fault(NamedTuple):
    """What smtp-sink is told to do, and what becomes of a message for two recipients."""

    options: tuple[str, ...]
    fates: list[Fate]
    code: int | None
    """Of the reply that decided it, for both."""
    stays: bool = True
    """Whether the connection is of use after it."""


FAULTS = {
    "no-pipelining": Fault(("-p",), [ACCEPTED, ACCEPTED], 250),
    "helo-only": Fault(("-e",), [ACCEPTED, ACCEPTED], 250),
    "mail-deferred": Fault(("-r", "MAIL"), [DEFERRED, DEFERRED], 450),
    "rcpt-refused": Fault(("-f", "RCPT"), [REFUSED, REFUSED], 500),
    "data-refused": Fault(("-f", "DATA"), [REFUSED, REFUSED], 500),
    "content-deferred": Fault(("-r", "."), [DEFERRED, DEFERRED], 450),
    "content-refused": Fault(("-f", "."), [REFUSED, REFUSED], 500),
    "421-to-rcpt": Fault(("-Q", "RCPT"), [DEFERRED, NOT_SENT], 421, stays=False),
    "421-to-content": Fault(("-Q", "."), [DEFERRED, DEFERRED], 421, stays=False),
    "gone-at-mail": Fault(("-q", "MAIL"), [NOT_SENT, NOT_SENT], None, stays=False),
    "gone-at-data": Fault(("-q", "DATA"), [NOT_SENT, NOT_SENT], None, stays=False),
    "gone-at-the-end": Fault(("-q", "."), [UNKNOWN, UNKNOWN], None, stays=False),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_faults_of_smtp_sink(backend: Backend, fault: Fault) -> None:
    content = b"Subject: t\r\n\r\n.\r\nASCII only, for a server without extensions\r\n"

    async def scenario(port: int) -> None:
        async with client_at(backend, port) as client:
            for _ in range(2 if fault.stays else 1):
                result = await client.deliver(envelope_for(client, "user", "other"), content)
                assert (fates(result), codes(result)) == (fault.fates, [fault.code] * 2)
                assert (result.error is None) is fault.stays
            assert client.is_connected is fault.stays

    with running_smtp_sink(*fault.options) as sink:
        backend.run(lambda: scenario(sink.port))


def client_at(backend: Backend, port: int, **options: Any) -> AnyClient:
    """A client for an smtp-sink of the test's own."""
    return backend.client(host=HOST, port=port, timeout=60, **options)


@pytest.mark.parametrize("octets", [10, 20_000_000])
def test_server_that_refuses_with_its_354_and_reads_no_more(backend: Backend, octets: int) -> None:
    """The content is no use then, and a large one could never be written."""

    async def scenario(port: int) -> None:
        async with client_at(backend, port) as client:
            result = await client.deliver(envelope_for(client, "user"), b"Subject: t\r\n\r\n" + b"x" * octets)
            assert (fates(result), codes(result)) == ([REFUSED], [550])

    with running_smtp_sink("-A", "0") as sink:
        backend.run(lambda: scenario(sink.port))


@pytest.mark.rfc("6152", "3")
def test_eight_bits_where_they_are_not_offered(backend: Backend) -> None:
    sent: list[Command | Reply] = []

    async def scenario(port: int) -> None:
        async with client_at(backend, port, on_send=sent.append) as client:
            with pytest.raises(LocalProtocolError, match="8BITMIME"):
                await client.deliver(Envelope(SENDER, at_home("user")), letter().content)
            assert not any(isinstance(command, Mail) for command in sent)
            assert (await client.noop()).code == 250

    with running_smtp_sink("-8") as sink:
        backend.run(lambda: scenario(sink.port))


OVERLAPPED = [(name, chunking) for name in ROUTES for chunking in (None, False)]
DIES = ("dovecot-submission", False)
"""Dovecot 2.3's submission aborts, with a failed assertion, where RCPT comes behind a final dot."""


@pytest.mark.scenario("send_many")
@pytest.mark.rfc("2920", "3.1")
@pytest.mark.parametrize(("route", "chunking"), [each for each in OVERLAPPED if each != DIES], indirect=["route"])
def test_many_messages(backend: Backend, route: Route, chunking: bool | None) -> None:
    """Those that are refused, and those that are refused in part, do not bring the others out of step."""
    letters = [letter(route.longest_line) for _ in range(40)]
    patterns = (["user"], ["user", "other"], ["nobody", "user"], ["user"], ["nobody"])

    async def scenario() -> list[DeliveryResult]:
        async with route.client(backend) as client:
            messages = [
                (envelope_for(client, *patterns[number % 5]), each.content) for number, each in enumerate(letters)
            ]
            return [result async for result in client.send_many(messages, chunking=chunking)]

    results = backend.run(scenario)
    for number, (sent, result) in enumerate(zip(letters, results, strict=True)):
        names = patterns[number % 5]
        assert result.envelope.forward_paths == tuple(at_home(*names))
        known = [name != "nobody" or not route.judges for name in names]
        assert fates(result) == [ACCEPTED if yes else REFUSED for yes in known], str(result)
        for name, yes in zip(names, known, strict=True):
            if yes:
                assert route.mailboxes.wait_for_content(name, sent.marker) == sent.arrived


@pytest.mark.scenario("send_many")
@pytest.mark.rfc("5321", "4.5.4.1")
@via(DIES[0])
def test_many_messages_and_a_server_that_dies(backend: Backend, postfix: RunningServer, route: Route) -> None:
    """Whatever it did before: what is told to be accepted has arrived, what is told to be not sent never does."""
    letters = [letter() for _ in range(10)]

    async def scenario() -> list[DeliveryResult]:
        async with route.client(backend) as client:
            messages = [(envelope_for(client, "user"), each.content) for each in letters]
            return [result async for result in client.send_many(messages, chunking=DIES[1])]

    told = [result.fate for result in backend.run(scenario)]
    assert len(told) == len(letters)
    assert told.count(UNKNOWN) <= 1
    assert set(told) <= {ACCEPTED, UNKNOWN, NOT_SENT}
    assert told == sorted(told, key=[ACCEPTED, UNKNOWN, NOT_SENT].index)
    for sent, fate in zip(letters, told, strict=True):
        if fate is ACCEPTED:
            assert postfix.wait_for_content("user", sent.marker) == sent.arrived
        if fate is NOT_SENT:
            assert not any(sent.marker in message for message in postfix.messages("user"))


def test_ten_thousand_messages(backend: Backend) -> None:
    content = b"Subject: t\r\n\r\n" + (b"z" * 76 + b"\r\n") * 25
    envelope = Envelope(SENDER, at_home("user"))

    async def scenario(port: int) -> None:
        async with client_at(backend, port) as client:
            messages = ((envelope, content) for _ in range(10_000))
            fates_told = [result.fate async for result in client.send_many(messages)]
            assert fates_told == [ACCEPTED] * 10_000

    with running_smtp_sink() as sink:
        backend.run(lambda: scenario(sink.port))
        sink.wait_for_count(10_000)


def test_sendmail(backend: Backend, route: Route) -> None:
    sent = letter(route.longest_line)

    async def scenario() -> DeliveryResult:
        async with route.client(backend) as client:
            parameters: dict[str, Any] = {"body": "8BITMIME"} if "8BITMIME" in client.extensions else {}
            return await client.sendmail(SENDER, at_home("user", "nobody"), sent.content, **parameters)

    assert fates(backend.run(scenario)) == [ACCEPTED, REFUSED if route.judges else ACCEPTED]
    assert route.mailboxes.wait_for_content("user", sent.marker) == sent.arrived


TEXT = "größer, 大きい\n.\n..\n" + "x" * 2000 + "\n"
OCTETS = bytes(range(256)) * 10


@pytest.mark.rfc("5322", "3.6.3")
def test_send_message(backend: Backend, route: Route) -> None:
    """The envelope is that of the header, whoever is in Bcc stays unseen, and the content is what it was."""
    marker = letter().marker
    message = EmailMessage()
    message["From"] = "Größer <sender@elsewhere.test>"
    message["To"] = "user@example.test, Other <other@example.test>"
    message["Bcc"] = "u001@example.test"
    message["Subject"] = "größer, 大きい"
    message["Comments"] = marker.decode()
    message.set_content(TEXT)
    message.add_attachment(OCTETS, maintype="application", subtype="octet-stream")

    async def scenario() -> DeliveryResult:
        async with route.client(backend) as client:
            return await client.send_message(message)

    result = backend.run(scenario)
    assert result.envelope.sender == SENDER
    assert result.envelope.forward_paths == tuple(at_home("user", "other", "u001"))
    assert fates(result) == [ACCEPTED] * 3
    for mailbox in ("user", "other", "u001"):
        arrived = message_from_bytes(route.mailboxes.wait_for_content(mailbox, marker), policy=SMTP)
        assert isinstance(arrived, EmailMessage)
        assert set(arrived.keys()) == set(message.keys()) - {"Bcc"}
        assert arrived["From"] == message["From"]
        assert arrived["Subject"] == message["Subject"]
        text, attachment = arrived.iter_parts()
        assert text.get_content().replace("\r\n", "\n") == TEXT
        assert attachment.get_content() == OCTETS
