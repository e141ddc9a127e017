"""What a Client does once it is connected, and what is left when something comes in between."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import smtpproto_adapters.asyncio
import smtpproto_adapters.blocking
import smtpproto_adapters.trio
from smtpproto import (
    AuthenticationFailed,
    Connected,
    ConnectOptions,
    Data,
    EhloReply,
    ErrorCode,
    Event,
    Greeting,
    LocalProtocolError,
    Mail,
    Noop,
    Rcpt,
    RemoteProtocolError,
    ReplyReceived,
    Security,
    ServiceClosing,
    TransportError,
    Vrfy,
)
from tests.scripted import (
    Close,
    Expect,
    ReadAll,
    Reset,
    Say,
    SayPieces,
    ScriptedServer,
    Silence,
    Step,
    Tls,
    closed_port,
)

if TYPE_CHECKING:
    from tests.adapters.backends import AnyClient, Backend

GREETING = Say(b"220 mx.example ESMTP\r\n")
EHLO = Expect(rb"EHLO \[127\.0\.0\.1\]")
OFFER = Say(b"250-mx.example\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n")
HANDSHAKE: tuple[Step, ...] = (GREETING, EHLO, OFFER)
NOOP, QUIT = Expect(b"NOOP"), Expect(b"QUIT")
OK, BYE = Say(b"250 ok\r\n"), Say(b"221 bye\r\n")
PLAIN: dict[str, Any] = {"security": Security.NONE, "timeout": 10}


def client_of(backend: Backend, server: ScriptedServer, **options: Any) -> AnyClient:
    return backend.client(host=server.host, port=server.port, **{**PLAIN, **options})


def test_session(backend: Backend) -> None:
    events: list[Event] = []
    steps = (
        *(*HANDSHAKE, NOOP, OK, Expect(b"RSET"), OK, Expect(b"VRFY who"), Say(b"252 perhaps\r\n")),
        *(Expect(b"EXPN list"), Say(b"550 no\r\n"), Expect(b"HELP"), Say(b"214 see\r\n")),
        *(Expect(b"HELP EHLO"), Say(b"214-see\r\n214 there\r\n"), Expect(b"VRFY it"), OK, QUIT, BYE),
    )
    with ScriptedServer(*steps) as server:

        async def scenario() -> None:
            async with client_of(backend, server, on_event=events.append) as client:
                assert client.is_connected
                assert client.extended
                assert "PIPELINING" in client.extensions
                assert client.tls is None
                assert (await client.noop()).code == 250
                assert (await client.reset()).is_positive
                assert (await client.verify("who")).code == 252
                assert (await client.expand("list")).code == 550
                assert (await client.help()).code == 214
                assert (await client.help("EHLO")).lines == ("see", "there")
                assert (await client.command(Vrfy("it"))).code == 250
                assert client.last_reply is not None
                assert client.last_reply.code == 250
            assert client.failure is None
            await client.disconnect()  # again: no harm is done
            await client.abort()

        backend.run(scenario)
    kinds = [type(event) for event in events]
    assert kinds == [Greeting, EhloReply, Connected, *[ReplyReceived] * 8]


def test_before_the_first_connection(backend: Backend) -> None:
    client = backend.client(host="mx.example")
    assert (client.is_connected, client.extended, len(client.extensions)) == (False, False, 0)
    nothing: list[object] = [client.connection, client.last_reply, client.tls, client.failure]
    assert nothing == [None] * 4
    assert "mx.example, not connected" in repr(client)


@pytest.mark.parametrize("make", [str, ConnectOptions.from_url], ids=["url", "options"])
def test_options_and_further_fields(backend: Backend, make: Any) -> None:
    with ScriptedServer(GREETING, Expect(b"EHLO me.example"), OFFER, QUIT, BYE) as server:

        async def scenario() -> None:
            options = make(f"smtp://{server.host}:{server.port}")
            async with backend.client(options, security=Security.NONE, client_name="me.example") as client:
                assert client.options.client_name == "me.example"
                assert f"{server.host} port {server.port}, connected" in repr(client)

        backend.run(scenario)


def test_refusals_leave_the_session_as_it_was(backend: Backend) -> None:
    """What is not allowed is not sent, and a refused password is no reason to close."""
    steps = (
        *(*HANDSHAKE, Expect(rb"AUTH PLAIN .+"), Say(b"535 no\r\n"), NOOP, OK),
        *(Expect(rb"AUTH PLAIN .+"), Say(b"235 yes\r\n"), NOOP, OK, QUIT, BYE),
    )
    with ScriptedServer(*steps) as server:

        async def scenario() -> None:
            async with client_of(backend, server, allow_plaintext_auth=True) as client:
                with pytest.raises(LocalProtocolError, match="RCPT"):
                    await client.command(Rcpt("you@mx.example"))
                with pytest.raises(LocalProtocolError, match="conversation"):
                    await client.command(Data())
                with pytest.raises(LocalProtocolError, match="VRFY"):
                    await client.verify("a\r\nQUIT")
                with pytest.raises(LocalProtocolError, match="connected already"):
                    await client.connect()
                with pytest.raises(AuthenticationFailed) as missing:
                    await client.authenticate()
                assert missing.value.code is ErrorCode.NO_COMMON_MECHANISM
                with pytest.raises(AuthenticationFailed) as refused:
                    await client.authenticate("user", "wrong")
                assert refused.value.code is ErrorCode.AUTHENTICATION_REFUSED
                assert client.is_connected
                assert (await client.noop()).code == 250
                assert (await client.authenticate("user", "right")).code == 235
                with pytest.raises(LocalProtocolError, match="authenticated already"):
                    await client.authenticate("user", "right")
                await client.noop()

        backend.run(scenario)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, b"\0me\0mine"),
        ({"password": "other"}, b"\0me\0other"),
        ({"username": "you", "password": "yours"}, b"\0you\0yours"),
        ({"authorization_id": "boss"}, b"boss\0me\0mine"),
        ({"username": "me"}, b"\0me\0mine"),
    ],
)
def test_credentials_of_the_options_are_defaults(backend: Backend, given: dict[str, Any], sent: bytes) -> None:
    auth = Expect(b"AUTH PLAIN " + base64.b64encode(sent).replace(b"+", rb"\+"))
    with ScriptedServer(*HANDSHAKE, auth, Say(b"235 yes\r\n"), QUIT, BYE) as server:

        async def scenario() -> None:
            options: dict[str, Any] = {"username": "me", "password": "mine", "allow_plaintext_auth": True}
            async with client_of(backend, server, **options) as client:
                assert (await client.authenticate(**given)).code == 235

        backend.run(scenario)


def test_secret_of_one_user_is_not_sent_for_another(backend: Backend) -> None:
    with ScriptedServer(*HANDSHAKE, QUIT, BYE) as server:

        async def scenario() -> None:
            options: dict[str, Any] = {"username": "me", "password": "mine", "allow_plaintext_auth": True}
            async with client_of(backend, server, **options) as client:
                with pytest.raises(AuthenticationFailed):
                    await client.authenticate("you")

        backend.run(scenario)


def test_token(backend: Backend) -> None:
    offer = Say(b"250-mx.example\r\n250 AUTH XOAUTH2\r\n")
    with ScriptedServer(GREETING, EHLO, offer, Expect(rb"AUTH XOAUTH2 .+"), Say(b"235 ok\r\n"), QUIT, BYE) as server:

        async def scenario() -> None:
            async with client_of(backend, server, allow_plaintext_auth=True) as client:
                await client.authenticate("user", token=lambda: "ya29.token", mechanisms=["XOAUTH2"])

        backend.run(scenario)


def test_not_connected(backend: Backend) -> None:
    async def scenario() -> None:
        client = backend.client(host="mx.example")
        with pytest.raises(LocalProtocolError, match="not connected"):
            await client.noop()
        with pytest.raises(LocalProtocolError, match="not connected"):
            await client.authenticate("user", "password")
        await client.disconnect()

    backend.run(scenario)


# The end of a session ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.1.1.10")
@pytest.mark.parametrize(
    "end",
    [(BYE, Close()), (Close(),), (Reset(),), (Say(b"500 what?\r\n"), Close()), (Say(b"what?\r\n"), Close())],
    ids=["bye", "closed", "reset", "refused", "nonsense"],
)
def test_quit_whatever_the_server_does(backend: Backend, end: tuple[Step, ...]) -> None:
    with ScriptedServer(*HANDSHAKE, QUIT, *end) as server:

        async def scenario() -> None:
            async with client_of(backend, server) as client:
                pass
            assert not client.is_connected

        backend.run(scenario)


def test_reconnect(backend: Backend) -> None:
    """A Client that was closed connects again, with a connection that knows nothing of the last one."""

    async def scenario() -> None:
        with ScriptedServer(*HANDSHAKE, NOOP, Say(b"250-cut off"), Close()) as first:
            client = client_of(backend, first)
            await client.connect()
            with pytest.raises(RemoteProtocolError):
                await client.noop()
            assert not client.is_connected
        client.options = client.options.replace(port=closed_port())
        assert await client.connect_ex() is ErrorCode.CONNECTION_REFUSED
        with ScriptedServer(GREETING, EHLO, Say(b"250 mx.example\r\n"), NOOP, OK, QUIT, BYE) as second:
            client.options = client.options.replace(port=second.port)
            await client.connect()
            assert client.failure is None
            assert not client.extensions
            await client.noop()
            await client.disconnect()

    backend.run(scenario)


def test_connecting_again_after_disconnect(backend: Backend, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp.sock")

    async def scenario() -> None:
        client = backend.client(path=path, lmtp=True, client_name="me.example")
        for _ in range(3):
            with ScriptedServer(
                Say(b"220 mx.example LMTP\r\n"), Expect(b"LHLO me.example"), OK, QUIT, BYE, unix_path=path
            ):
                await client.connect()
                assert client.is_connected
                await client.disconnect()
                assert not client.is_connected

    backend.run(scenario)


@pytest.mark.rfc("5321", "3.8")
def test_unsolicited_421(backend: Backend) -> None:
    """It may come at any moment; the next command meets it, and the connection is closed."""
    events: list[Event] = []
    with ScriptedServer(*HANDSHAKE, Say(b"421 too long idle\r\n"), Close()) as server:

        async def scenario() -> None:
            client = client_of(backend, server, on_event=events.append)
            await client.connect()
            await backend.sleep(0.1)
            assert (await client.noop()).code == 421
            assert not client.is_connected
            with pytest.raises(LocalProtocolError, match="not connected"):
                await client.noop()
            await client.disconnect()

        backend.run(scenario)
    assert isinstance(events[-1], ServiceClosing)


def test_last_word_of_a_server_that_resets_is_heard(backend: Backend) -> None:
    """What it said is worth more than that it is gone."""
    with ScriptedServer(*HANDSHAKE, Expect(b"MAIL FROM:<>"), Say(b"550 go away\r\n"), Reset()) as server:

        async def scenario() -> None:
            client = client_of(backend, server)
            await client.connect()
            assert (await client.command(Mail(""))).code == 550
            await backend.sleep(0.1)
            with pytest.raises(TransportError) as caught:
                await client.noop()
            assert caught.value.code is ErrorCode.CLOSED_BY_PEER
            assert not client.is_connected

        backend.run(scenario)


def test_closed_without_an_answer(backend: Backend) -> None:
    with ScriptedServer(*HANDSHAKE, NOOP, Close()) as server:

        async def scenario() -> None:
            client = client_of(backend, server)
            await client.connect()
            with pytest.raises(TransportError, match="NOOP") as caught:
                await client.noop()
            assert caught.value.code is ErrorCode.CLOSED_BY_PEER
            assert not client.is_connected

        backend.run(scenario)


def test_command_that_times_out(backend: Backend) -> None:
    with ScriptedServer(*HANDSHAKE, NOOP, Silence()) as server:

        async def scenario() -> None:
            client = client_of(backend, server, timeout=0.3)
            await client.connect()
            with pytest.raises(TransportError, match=r"0\.3") as caught:
                await client.noop()
            assert caught.value.code is ErrorCode.TIMED_OUT
            assert not client.is_connected

        backend.run(scenario)


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.parametrize("later", [True, False])
def test_two_replies_to_one_command(backend: Backend, later: bool) -> None:
    """The second is never taken for the answer to what is sent next."""
    with ScriptedServer(*HANDSHAKE, NOOP, Say(b"250 a\r\n250 b\r\n"), ReadAll()) as server:

        async def scenario() -> None:
            client = client_of(backend, server)
            await client.connect()
            await client.noop()
            if later:
                await backend.sleep(0.05)
            with pytest.raises(RemoteProtocolError, match="no command asked for"):
                await client.noop()
            assert not client.is_connected

        backend.run(scenario)
    assert server.received.count(b"NOOP") == 1


@pytest.mark.rfc("5321", "4.2")
@pytest.mark.parametrize("secure", [True, False])
def test_second_reply_in_a_later_packet(
    backend: Backend, secure: bool, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """Nor where it comes by itself, between two commands: what is there is looked at before the next one is sent."""
    tls = (Tls(server_context),) if secure else ()
    security = Security.IMPLICIT if secure else Security.NONE
    packets = SayPieces([b"250 a\r\n", b"250 b\r\n"], delay=0.02)
    with ScriptedServer(*tls, *HANDSHAKE, NOOP, packets, ReadAll()) as server:

        async def scenario() -> None:
            client = client_of(backend, server, security=security, context=client_context)
            await client.connect()
            assert (await client.noop()).text == "a"
            await backend.sleep(0.2)
            with pytest.raises(RemoteProtocolError, match="no command asked for"):
                await client.noop()
            assert not client.is_connected

        backend.run(scenario)
    if not secure:
        assert server.received.count(b"NOOP") == 1


def test_million_octets_without_a_line_end(backend: Backend) -> None:
    with ScriptedServer(*HANDSHAKE, NOOP, Say(b"250 " + b"x" * 1_000_000), ReadAll()) as server:

        async def scenario() -> None:
            client = client_of(backend, server)
            await client.connect()
            with pytest.raises(RemoteProtocolError, match="long"):
                await client.noop()

        backend.run(scenario)


def test_end_of_tls_without_close_notify(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    with ScriptedServer(Tls(server_context), *HANDSHAKE, NOOP, OK, Close(notify=False)) as server:

        async def scenario() -> None:
            client = client_of(backend, server, context=client_context, security=Security.IMPLICIT)
            await client.connect()
            assert client.tls is not None
            await client.noop()
            await client.disconnect()

        backend.run(scenario)


def test_session_through_tls_1_2(
    backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext, authority: Any
) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert("127.0.0.1").configure_cert(old)
    long = "x" * 400
    with ScriptedServer(Tls(old), *HANDSHAKE, Expect(rb"VRFY x+"), OK, QUIT, BYE, Close()) as server:

        async def scenario() -> None:
            options: dict[str, Any] = {"context": client_context, "security": Security.IMPLICIT}
            async with client_of(backend, server, **options) as client:
                assert client.tls is not None
                assert client.tls.version == "TLSv1.2"
                assert (await client.verify(long)).code == 250

        backend.run(scenario)


# What comes in between ---------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """As KeyboardInterrupt, which asyncio's runner treats in a manner of its own."""


@pytest.mark.parametrize("error", [Interrupted, ValueError])
@pytest.mark.parametrize("moment", [Greeting, EhloReply, Connected])
def test_exception_within_connecting(backend: Backend, error: type[BaseException], moment: type[Event]) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, moment):
            raise error("now")

    with ScriptedServer(GREETING, ReadAll() if moment is Greeting else EHLO, OFFER) as server:

        async def scenario() -> None:
            client = client_of(backend, server, on_event=on_event)
            with pytest.raises(error, match="now"):
                await client.connect()
            assert not client.is_connected

        backend.run(scenario)


def test_exception_within_a_command(backend: Backend) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, ReplyReceived) and isinstance(event.command, Noop):
            raise Interrupted

    with ScriptedServer(*HANDSHAKE, NOOP, OK) as server:

        async def scenario() -> None:
            client = client_of(backend, server, on_event=on_event)
            await client.connect()
            with pytest.raises(Interrupted):
                await client.noop()
            assert not client.is_connected
            with pytest.raises(LocalProtocolError, match="not connected"):
                await client.noop()

        backend.run(scenario)


def test_exception_within_the_block_waits_for_nothing(backend: Backend) -> None:
    with ScriptedServer(*HANDSHAKE, ReadAll()) as server:

        async def scenario() -> None:
            client = client_of(backend, server)
            with pytest.raises(Interrupted):
                async with client:
                    raise Interrupted
            assert not client.is_connected

        backend.run(scenario)
    assert b"QUIT" not in server.received


def test_one_conversation_at_a_time(backend: Backend) -> None:
    clients: list[AnyClient] = []
    errors: list[str] = []

    def on_event(event: Event) -> None:
        if isinstance(event, ReplyReceived) and isinstance(event.command, Noop) and not errors:
            with pytest.raises(LocalProtocolError) as caught:
                clients[0].noop().__await__().send(None)
            errors.append(str(caught.value))

    with ScriptedServer(*HANDSHAKE, NOOP, OK, NOOP, OK, QUIT, BYE) as server:

        async def scenario() -> None:
            clients.append(client_of(backend, server, on_event=on_event))
            async with clients[0] as client:
                assert (await client.noop()).code == 250
                assert "another conversation" in errors[0]
                assert (await client.noop()).code == 250

        backend.run(scenario)


def test_two_threads() -> None:
    with ScriptedServer(*HANDSHAKE, NOOP, Silence()) as server:
        client = smtpproto_adapters.blocking.Client(host=server.host, port=server.port, **PLAIN)
        client.connect()
        ended: list[BaseException] = []

        def work() -> None:
            try:
                client.noop()
            except TransportError as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        while b"NOOP" not in server.received:
            pass
        with pytest.raises(LocalProtocolError, match="another conversation"):
            client.noop()
        client.abort()
        thread.join(5)
        assert not thread.is_alive()
        assert len(ended) == 1


STAGES: dict[str, tuple[Step, ...]] = {
    "greeting": (Silence(),),
    "hello": (GREETING, EHLO, Silence()),
    "handshake": (GREETING, EHLO, Say(b"250-mx.example\r\n250 STARTTLS\r\n"), Expect(b"STARTTLS"), Say(b"220 go\r\n")),
}


@pytest.mark.parametrize("stage", STAGES)
def test_cancelled_within_connecting_asyncio(stage: str) -> None:
    with ScriptedServer(*STAGES[stage], Silence()) as server:

        async def main() -> None:
            client = smtpproto_adapters.asyncio.Client(host=server.host, port=server.port)
            task = asyncio.ensure_future(client.connect())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not client.is_connected
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())


def test_timeout_of_the_callers_own_asyncio() -> None:
    """It is not taken for one of ours."""
    with ScriptedServer(Silence()) as server:

        async def main() -> None:
            client = smtpproto_adapters.asyncio.Client(host=server.host, port=server.port, timeout=20)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.connect_ex()
            assert not client.is_connected

        asyncio.run(main())


@pytest.mark.parametrize("stage", STAGES)
def test_cancelled_within_connecting_trio(stage: str) -> None:
    with ScriptedServer(*STAGES[stage], Silence()) as server:

        async def main() -> None:
            client = smtpproto_adapters.trio.Client(host=server.host, port=server.port)
            with trio.move_on_after(0.1) as scope:
                await client.connect()
            assert scope.cancelled_caught
            assert not client.is_connected

        trio.run(main)


def test_timeout_of_the_callers_own_trio() -> None:
    with ScriptedServer(Silence()) as server:

        async def main() -> None:
            client = smtpproto_adapters.trio.Client(host=server.host, port=server.port, timeout=20)
            with pytest.raises(trio.TooSlowError), trio.fail_after(0.1):
                await client.connect_ex()
            assert not client.is_connected

        trio.run(main)


def test_cancelled_and_connected_again_asyncio() -> None:
    async def main() -> None:
        client = smtpproto_adapters.asyncio.Client(host="127.0.0.1", **PLAIN)
        for steps in ((Silence(),), (*HANDSHAKE, QUIT, BYE)):
            with ScriptedServer(*steps) as server:
                client.options = client.options.replace(port=server.port)
                if len(steps) == 1:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await client.connect()
                else:
                    async with client:
                        assert client.is_connected
                    assert not client.is_connected

    asyncio.run(main())


# Streams that are there already ------------------------------------------------------------------------------------


def test_connected_stream(backend: Backend, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    offer = Say(b"250-mx.example\r\n250 STARTTLS\r\n")
    after = (Tls(server_context), Expect(rb"EHLO .+"), OFFER, QUIT, BYE)
    with ScriptedServer(GREETING, EHLO, offer, Expect(b"STARTTLS"), Say(b"220 go\r\n"), *after) as server:

        async def scenario() -> None:
            stream = backend.stream(socket.create_connection((server.host, server.port)))
            async with backend.client(host="mx.example", stream=stream, context=client_context) as client:
                assert client.tls is not None

        backend.run(scenario)


def test_connected_stream_is_closed_on_failure(backend: Backend) -> None:
    with ScriptedServer(Say(b"554 no\r\n"), ReadAll()) as server:

        async def scenario() -> None:
            stream = backend.stream(socket.create_connection((server.host, server.port)))
            client = backend.client(host="mx.example", stream=stream)
            assert await client.connect_ex() is ErrorCode.SERVICE_NOT_AVAILABLE

        backend.run(scenario)


def test_connected_stream_is_closed_where_the_options_make_no_sense(backend: Backend) -> None:
    with ScriptedServer(ReadAll()) as server:

        async def scenario() -> None:
            stream = backend.stream(socket.create_connection((server.host, server.port)))
            client = backend.client(stream=stream)
            assert await client.connect_ex() is ErrorCode.INVALID_ARGUMENT

        backend.run(scenario)


def test_stream_of_trio_that_is_no_socket() -> None:
    """Any stream of trio's will do, such as one end of a pair in memory."""

    async def main() -> None:
        here, there = trio.testing.memory_stream_pair()
        await there.send_all(b"220 mx.example\r\n250 mx.example\r\n"[:16])
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                assert await there.receive_some() == b"EHLO localhost\r\n"
                await there.send_all(b"250 mx.example\r\n")
                assert await there.receive_some() == b"QUIT\r\n"
                await there.aclose()

            nursery.start_soon(answer)
            async with smtpproto_adapters.trio.Client(host="mx.example", stream=here, **PLAIN) as client:
                assert client.extended

    trio.run(main)


@pytest.mark.rfc("2033", "4.1")
def test_lmtp_through_a_unix_socket(backend: Backend, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp.sock")
    steps = (
        Say(b"220 mx.example LMTP\r\n"),
        Expect(b"LHLO localhost"),
        Say(b"250-mx\r\n250 PIPELINING\r\n"),
        QUIT,
        BYE,
    )
    with ScriptedServer(*steps, unix_path=path):

        async def scenario() -> None:
            async with backend.client(f"lmtp://{path}") as client:
                assert client.extended
                assert "PIPELINING" in client.extensions

        backend.run(scenario)
