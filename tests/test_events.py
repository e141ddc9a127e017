"""The events as values: their fields, what is a kind of what, and that secrets do not show."""

from __future__ import annotations

import pytest

from smtpproto import (
    NEED_DATA,
    PAUSED,
    Auth,
    AuthChallenge,
    AuthFailed,
    AuthNeeded,
    AuthReason,
    AuthResponse,
    AuthSucceeded,
    BadCommand,
    CommandReceived,
    Connect,
    ConnectionClosed,
    ContentReceived,
    ContentWanted,
    Data,
    EarlyTalker,
    Ehlo,
    EhloReply,
    EndOfData,
    Event,
    Extensions,
    Greeting,
    Helo,
    HeloReply,
    Mail,
    Pause,
    Quit,
    RecipientReply,
    Reply,
    ReplyReceived,
    ServiceClosing,
    StartTls,
    StartTlsReady,
    Unsolicited,
)
from smtpproto.values import field_names

OK = Reply(250, "ok")

AT_THE_CLIENT = (
    ReplyReceived(Mail(""), OK),
    RecipientReply(EndOfData(), OK, "a@x.example"),
    Greeting(Connect(), Reply(220, "x.example hi"), "x.example"),
    EhloReply(Ehlo("me"), OK, Extensions(["SIZE 5"])),
    HeloReply(Helo("me"), OK),
    StartTlsReady(StartTls(), Reply(220)),
    AuthChallenge(AuthResponse(b"s3cret"), Reply(334, "czNjcmV0"), b"s3cret"),
    AuthSucceeded(Auth("PLAIN", b"s3cret"), Reply(235)),
    AuthFailed(Auth("PLAIN", b"s3cret"), Reply(535)),
    AuthFailed(AuthResponse(b"s3cret"), Reply(535), '{"status":"400"}'),
    AuthNeeded(Mail(""), Reply(530), ("PLAIN",), AuthReason.REQUIRED_BY_SERVER),
    AuthNeeded(Mail(""), Reply(530), ("PLAIN", "GSSAPI"), AuthReason.TLS_REQUIRED, ("PLAIN",)),
    ContentWanted(Data(), Reply(354)),
    ServiceClosing(Unsolicited(), Reply(421)),
)
AT_THE_SERVER = (
    CommandReceived(Auth("PLAIN", b"s3cret")),
    BadCommand(b"czNjcmV0", Reply(500), Auth("PLAIN", b"s3cret")),
    ContentReceived(b"s3cret"),
    EarlyTalker(b"AUTH PLAIN czNjcmV0"),
)
OTHERS = (ConnectionClosed((Auth("PLAIN", b"s3cret"),), OK, False),)


def test_every_reply_is_a_reply_received() -> None:
    for event in AT_THE_CLIENT:
        match event:
            case ReplyReceived(command, reply):
                assert (command, reply) == (event.command, event.reply)
            case _:
                pytest.fail(f"{event!r} is no ReplyReceived")


@pytest.mark.parametrize("event", AT_THE_CLIENT + AT_THE_SERVER + OTHERS, ids=lambda event: type(event).__name__)
def test_events_are_values_by_their_fields(event: Event) -> None:
    fields = [getattr(event, name) for name in field_names(type(event))]
    assert type(event)(*fields) == event
    assert hash(type(event)(*fields)) == hash(event)
    with pytest.raises(AttributeError, match="immutable"):
        event.reply = Reply(500)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("event", AT_THE_CLIENT + AT_THE_SERVER + OTHERS, ids=lambda event: type(event).__name__)
def test_no_secret_shows(event: Event) -> None:
    for shown in (repr(event), str(event), f"{event}", f"{event!r}"):
        assert "s3cret" not in shown
        assert "czNjcmV0" not in shown


def test_what_an_event_of_the_exchange_leaves_out_is_not_there() -> None:
    assert AuthFailed(Auth("PLAIN"), Reply(535)).error is None
    assert AuthNeeded(Mail(""), Reply(530), ("PLAIN",), AuthReason.REQUIRED_BY_SERVER).usable == ()
    assert len({reason.value for reason in AuthReason}) == len(AuthReason) == 4


def test_content_shows_its_size_only() -> None:
    assert repr(ContentReceived(b"x" * 70_000)) == "ContentReceived(<70000 octets>)"


@pytest.mark.rfc("5321", "3.1")
@pytest.mark.parametrize(("code", "accepted"), [(220, True), (421, False), (450, False), (554, False)])
def test_a_greeting_may_be_a_refusal(code: int, accepted: bool) -> None:
    assert Greeting(Connect(), Reply(code), "").accepted is accepted


def test_a_bad_command_may_be_no_command_at_all() -> None:
    assert BadCommand(b"?", Reply(500)).command is None
    assert BadCommand(b"QUIT", Reply(503), Quit()) != BadCommand(b"QUIT", Reply(503))


def test_the_pauses_are_no_events_and_say_what_to_do() -> None:
    assert NEED_DATA is Pause.NEED_DATA
    assert PAUSED is Pause.PAUSED
    assert not isinstance(NEED_DATA, Event)
    assert "receive_data" in NEED_DATA.value
    assert "tls_established" in PAUSED.value
