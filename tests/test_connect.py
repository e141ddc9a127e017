"""Connect: what the options resolve to, and the handshake under scripted servers."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.addresses import AddressLiteral
from smtpproto.commands import Auth, AuthResponse, Command, Connect, Ehlo, Helo, Lhlo, Noop, StartTls
from smtpproto.connect import Connected, Connector
from smtpproto.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from smtpproto.events import (
    NEED_DATA,
    PAUSED,
    AuthChallenge,
    AuthFailed,
    AuthNeeded,
    AuthReason,
    AuthSucceeded,
    ConnectionClosed,
    EhloReply,
    Event,
    Greeting,
    HeloReply,
    Pause,
    ReplyReceived,
    ServiceClosing,
    StartTlsReady,
    Unsolicited,
)
from smtpproto.extensions import NO_EXTENSIONS, Extensions
from smtpproto.failures import AuthenticationFailed, ConnectFailed, Stage
from smtpproto.grammar import base64, strict_base64
from smtpproto.limits import Limits, Timeouts
from smtpproto.options import SERVICES, ConnectOptions, Option, Security, Target
from smtpproto.replies import Reply
from smtpproto.sasl import Challenge, ClientExchange, Credentials, PlainClient
from smtpproto.states import CLOSED, READY
from smtpproto.testing import octets, pieces, whole
from tests.strategies import any_texts

NONE, OPPORTUNISTIC, REQUIRED, IMPLICIT = Security.NONE, Security.OPPORTUNISTIC, Security.REQUIRED, Security.IMPLICIT
SECRET = "tr0ub4dor&3"
USER: dict[str, Any] = {"username": "user", "password": SECRET}


def options(**fields: Any) -> ConnectOptions:
    fields.setdefault("host", "mx.example")
    return ConnectOptions(**fields)


def resolve(**fields: Any) -> Target:
    return options(**fields).resolve()


def refused(make: Callable[[], object]) -> str:
    """The sentence with which options are refused."""
    with pytest.raises(ConnectFailed) as caught:
        make()
    assert type(caught.value) is ConnectFailed
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.stage is Stage.OPTIONS
    assert caught.value.reply is None
    assert not caught.value.retryable
    sentence = str(caught.value)
    assert " " in sentence
    assert SECRET not in sentence
    return sentence


# Options: the remote host ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "dialled", "checked"),
    [
        ({"host": "a.example"}, "a.example", "a.example"),
        ({"host": "192.0.2.1"}, "192.0.2.1", "192.0.2.1"),
        ({"host": "2001:db8::1"}, "2001:db8::1", "2001:db8::1"),
        ({"host": "a.example", "host_name": "b.example", "host_address": "192.0.2.1"}, "a.example", "a.example"),
        ({"host_name": "b.example", "host_address": "192.0.2.1"}, "192.0.2.1", "b.example"),
        ({"host_name": "b.example"}, "b.example", "b.example"),
        ({"host_address": "192.0.2.1"}, "192.0.2.1", "192.0.2.1"),
        ({"host": "", "host_name": "b.example"}, "b.example", "b.example"),
        ({"host": "", "host_name": "b.example", "host_address": ""}, "b.example", "b.example"),
        ({"host": "a.example."}, "a.example.", "a.example."),
        ({"host": "under_score"}, "under_score", "under_score"),
        ({"host": "bücher.example"}, "bücher.example", "bücher.example"),
    ],
)
def test_host(fields: dict[str, Any], dialled: str, checked: str) -> None:
    target = ConnectOptions(**fields).resolve()
    assert (target.host, target.host_name, target.path) == (dialled, checked, None)


@pytest.mark.parametrize("fields", [{}, {"host": ""}, {"host": "", "host_name": "", "host_address": "", "path": ""}])
def test_no_host(fields: dict[str, Any]) -> None:
    assert "no host" in refused(ConnectOptions(**fields).resolve)


@pytest.mark.parametrize("field", ["host", "host_name", "host_address"])
@pytest.mark.parametrize(
    "host",
    ["a\0b", "a b", "a\r\nb", "\x7f", "a..b", ".", ".a", "\ud800", "a" * 64, ".".join(["a" * 63] * 5), " "],
)
def test_hosts_that_no_resolver_could_take(field: str, host: str) -> None:
    fields: dict[str, Any] = {"host": "", field: host}
    sentence = refused(options(**fields).resolve)
    assert sentence.startswith(f"{field} is ")
    assert sentence.isprintable()


@pytest.mark.parametrize(
    ("fields", "checked"),
    [
        ({}, "localhost"),
        ({"host": "a.example"}, "a.example"),
        ({"host_name": "a.example"}, "a.example"),
    ],
)
def test_unix_socket(fields: dict[str, Any], checked: str) -> None:
    target = ConnectOptions(path="/run/lmtp", lmtp=True, **fields).resolve()
    assert target == Target("", 24, "/run/lmtp", checked, NONE, True, True)


def test_unix_socket_has_no_tls_whatever_the_port_and_the_credentials() -> None:
    more: list[dict[str, Any]] = [{"port": 465}, {"port": 587}, USER]
    for fields in more:
        target = ConnectOptions(path="/run/smtp", **fields).resolve()
        assert target.security is NONE
        assert not target.is_submission
    assert ConnectOptions(path="/run/smtp", security=REQUIRED).resolve().security is REQUIRED


def test_unix_socket_names() -> None:
    assert "NUL" in refused(ConnectOptions(path="/run/a\0b").resolve)
    assert ConnectOptions(path="\0abstract").resolve().path == "\0abstract"
    assert resolve(path="").path is None


# Options: the remote port ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "number"),
    [
        (None, 25),
        (0, 25),
        ("0", 25),
        (1, 1),
        (2525, 2525),
        (65535, 65535),
        ("25", 25),
        ("00587", 587),
        (" 587 ", 587),
        ("smtp", 25),
        ("SMTP", 25),
        ("submission", 587),
        ("submissions", 465),
        ("smtps", 465),
        ("lmtp", 24),
    ],
)
def test_port(port: int | str | None, number: int) -> None:
    assert resolve(port=port).port == number


def test_every_service_has_its_port() -> None:
    assert {name: resolve(port=name).port for name in SERVICES} == {
        "smtp": 25,
        "lmtp": 24,
        "submission": 587,
        "submissions": 465,
        "smtps": 465,
    }


@pytest.mark.parametrize(
    "port", [-1, 65536, "65536", "99999", "-1", "+25", "2 5", "", "http", "٢٥", "25.0", "1e2", "000025"]
)
def test_port_that_is_none(port: int | str) -> None:
    assert "port" in refused(lambda: resolve(port=port))


@pytest.mark.rfc("8314", "3.3")
@pytest.mark.parametrize("port", [None, 0, "0"])
def test_implicit_tls_goes_to_465_where_no_port_is_given(port: int | str | None) -> None:
    assert resolve(port=port, security=IMPLICIT).port == 465


@pytest.mark.parametrize("port", [465, "465", "smtps", "submissions"])
def test_465_is_implicit_tls_by_default(port: int | str) -> None:
    assert resolve(port=port).security is IMPLICIT
    assert resolve(port=port, **USER).security is IMPLICIT
    assert resolve(port=port, extended=False).security is IMPLICIT


@pytest.mark.parametrize("security", Security)
def test_security_that_is_given_stands(security: Security) -> None:
    for port in (25, 465, 587, 2525):
        for fields in ({}, USER):
            target = resolve(port=port, security=security, **fields)
            assert (target.security, target.port, target.extended) == (security, port, True)


@pytest.mark.parametrize(
    "fields", [{"port": 587}, {"port": "submission"}, USER, {**USER, "port": 2525}, {"token": "t"}]
)
def test_587_and_credentials_turn_extended_on_and_mean_that_tls_is_required(fields: dict[str, Any]) -> None:
    target = resolve(**fields)
    assert target.extended
    assert target.security is REQUIRED


def test_everything_else_is_opportunistic() -> None:
    assert resolve() == Target("mx.example", 25, None, "mx.example", OPPORTUNISTIC, True, False)
    assert resolve(extended=True, port=2525).security is OPPORTUNISTIC


def test_plain_helo_asks_for_no_tls() -> None:
    assert resolve(extended=False) == Target("mx.example", 25, None, "mx.example", NONE, False, False)
    assert resolve(extended=False, port=587).security is NONE


@pytest.mark.rfc("2033", "5")
@pytest.mark.rfc("2033", "1")
def test_lmtp_has_port_24_and_never_25() -> None:
    assert resolve(lmtp=True).port == 24
    assert resolve(lmtp=True, security=IMPLICIT).port == 24
    assert resolve(lmtp=True, port=2424).port == 2424
    assert "25" in refused(lambda: resolve(lmtp=True, port=25))
    assert "25" in refused(lambda: resolve(lmtp=True, port="smtp"))
    assert ConnectOptions(path="/run/lmtp", port=25, lmtp=True).resolve().path == "/run/lmtp"


@pytest.mark.parametrize(
    ("fields", "submission"),
    [({}, False), ({"port": 587}, True), ({"port": 465}, True), ({"port": 587, "lmtp": True}, False)],
)
def test_submission(fields: dict[str, Any], submission: bool) -> None:
    assert resolve(**fields).is_submission is submission


# Options: contradictions, time, names ------------------------------------------------------------------------------


class Own:
    """A mechanism of the program's own, which says what it is told to."""

    exposes_secret = False

    def __init__(self, *says: bytes | None, name: str = "X-OWN") -> None:
        self.name = name
        self.says = says

    def exchange(self) -> ClientExchange:
        yield from self.says


@pytest.mark.parametrize(
    "fields",
    [
        {"extended": False, "security": REQUIRED},
        {"extended": False, "security": OPPORTUNISTIC},
        {"extended": False, **USER},
        {"extended": False, "security": NONE, "authenticate": True, **USER},
        {"extended": False, "lmtp": True},
        {"authenticate": True},
        {"authenticate": True, "username": ""},
        {"password": SECRET},
        {"username": "", "password": SECRET},
        {"token": "t", "password": SECRET},
        {"authorization_id": "other"},
        {"mechanisms": ["ANONYMOUS"], "authorization_id": "other"},
        {"mechanisms": ["EXTERNAL"], "password": SECRET},
        {"username": "user", "password": ""},
        {"username": "us\0er", "password": SECRET},
        {"username": "user", "password": SECRET + "\0"},
        {"username": "user", "password": SECRET + "\ud800"},
        {"username": "user", "token": "two words"},
        {"mechanisms": ["NONESUCH"]},
        {"mechanisms": [5]},
        {**USER, "mechanisms": ["PLAIN", "NONESUCH"]},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"client_name": ""},
        {"client_name": "two words"},
        {"client_name": "a\r\nQUIT"},
        {"client_name": "a" * 256},
    ],
)
def test_contradictions_are_refused_with_a_sentence(fields: dict[str, Any]) -> None:
    refused(lambda: resolve(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout": 0},
        {"timeout": 0.5},
        {"client_name": "[192.0.2.1]"},
        {**USER, "mechanisms": ["login", "PLAIN"]},
        {"mechanisms": [Own(b"")], "authenticate": True},
        {"token": "t", "authorization_id": "other"},
        {"mechanisms": ["external"], "authorization_id": "other"},
        {**USER, "authorization_id": "other"},
        {"username": "user"},
    ],
)
def test_what_is_no_contradiction(fields: dict[str, Any]) -> None:
    resolve(**fields)


def test_one_name_may_stand_without_a_list() -> None:
    options = ConnectOptions(mechanisms="PLAIN", mask="PIPELINING")
    assert (options.mechanisms, options.mask) == (("PLAIN",), ("PIPELINING",))


@pytest.mark.rfc("5321", "4.5.3.2")
def test_timeouts() -> None:
    own = Timeouts(greeting=7)
    assert ConnectOptions().effective_timeouts == Timeouts()
    assert ConnectOptions(timeouts=own).effective_timeouts is own
    assert ConnectOptions(timeouts=own, timeout=3).effective_timeouts == Timeouts.uniform(3)
    assert ConnectOptions(timeout=3).effective_timeouts.greeting == 3
    assert ConnectOptions(timeout=0).effective_timeouts.dial is None


def test_credentials() -> None:
    assert ConnectOptions().credentials is None
    assert not ConnectOptions(mechanisms=["PLAIN"]).has_credentials
    assert ConnectOptions(mechanisms=["PLAIN", Own()]).has_credentials
    assert ConnectOptions(mechanisms=[Own()]).credentials is None
    options = ConnectOptions(**USER, authorization_id="other", token="t")
    assert options.has_credentials
    assert options.credentials == Credentials("user", SECRET, authorization_id="other", token="t")
    assert ConnectOptions(token="t").credentials == Credentials(token="t")
    assert not ConnectOptions(username="").has_credentials


def test_secrets_are_in_no_repr() -> None:
    options = ConnectOptions(host="mx.example", **USER, token=SECRET)
    for value in (options, options.credentials, options.resolve(), Connector(options)):
        assert SECRET not in repr(value)
    assert "'user'" in repr(options)


def test_options_are_values() -> None:
    options = ConnectOptions(host="mx.example", mask=["PIPELINING"], mechanisms=["PLAIN"], **USER)
    with pytest.raises(AttributeError):
        options.host = "other"
    assert pickle.loads(pickle.dumps(options)) == options == copy.deepcopy(options)
    assert hash(options) == hash(options.replace())
    changed = options.replace(host="b.example", mask=())
    assert (changed.host, changed.mask, changed.password) == ("b.example", (), SECRET)
    assert options.host == "mx.example"
    with pytest.raises(TypeError):
        options.replace(hots="b.example")


def test_nothing_is_checked_before_resolve() -> None:
    ConnectOptions(host="a b", port="nonsense", timeout=-1, client_name="", authenticate=True, password="")


@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "host": st.sampled_from(["mx.example", "192.0.2.1", ""]),
            "host_name": st.sampled_from(["n.example", None]),
            "host_address": st.sampled_from(["192.0.2.2", None]),
            "port": st.sampled_from([None, 0, 24, 25, 465, 587, 2525, "smtp", "smtps", "submission", "bad"]),
            "path": st.sampled_from([None, "/run/x"]),
            "username": st.sampled_from([None, "user"]),
            "password": st.sampled_from([None, SECRET]),
            "authenticate": st.booleans(),
            "security": st.none() | st.sampled_from(Security),
            "extended": st.sampled_from([None, True, False]),
            "lmtp": st.booleans(),
        },
    )
)
def test_resolve_is_pure_and_its_targets_make_sense(fields: dict[str, Any]) -> None:
    options = ConnectOptions(**fields)
    try:
        target = options.resolve()
    except ConnectFailed:
        refused(options.resolve)
        return
    assert target == options.resolve() == ConnectOptions(**fields).resolve()
    assert 0 < target.port <= 65535
    assert bool(target.host) is (target.path is None)
    assert target.host_name
    assert target.extended or target.security in (NONE, IMPLICIT)
    assert target.extended or not target.lmtp
    assert not (target.lmtp and target.port == 25 and target.path is None)
    if options.has_credentials and options.security is None and target.path is None:
        assert target.security in (REQUIRED, IMPLICIT)
    Connector(options)


# Options: flags ----------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_flags() -> None:
    assert {option.name: int(option) for option in Option} == {
        "EXTENDED": 1,
        "SECURE": 4096,
        "SECURE_IMPLICIT": 8192,
        "SECURE_FALLBACK": 32768,
    }
    assert int(Option.NONE) == 0


E_, S, I_, F = Option.EXTENDED, Option.SECURE, Option.SECURE_IMPLICIT, Option.SECURE_FALLBACK


@pytest.mark.parametrize(
    ("options", "port", "security", "extended", "dialled"),
    [
        (Option.NONE, None, NONE, False, 25),
        (Option.NONE, 587, NONE, False, 587),
        (Option.NONE, 465, IMPLICIT, False, 465),
        (Option.NONE, "smtps", IMPLICIT, False, 465),
        (E_, None, NONE, True, 25),
        (E_, 465, IMPLICIT, True, 465),
        (S, None, REQUIRED, True, 25),
        (S, 587, REQUIRED, True, 587),
        (S, 465, IMPLICIT, True, 465),
        (S | E_, 25, REQUIRED, True, 25),
        (I_, None, IMPLICIT, False, 465),
        (I_, 0, IMPLICIT, False, 465),
        (I_, 587, IMPLICIT, False, 587),
        (I_ | S, None, IMPLICIT, False, 465),
        (I_ | S | E_, None, IMPLICIT, True, 465),
        (F, None, OPPORTUNISTIC, True, 25),
        (F, 465, IMPLICIT, True, 465),
        (F | S, 25, OPPORTUNISTIC, True, 25),
        (4097, 25, REQUIRED, True, 25),
    ],
)
def test_flags(options: int, port: int | str | None, security: Security, extended: bool, dialled: int) -> None:
    for fields in ({}, USER):
        target = ConnectOptions.from_flags(host="mx.example", port=port, options=options, **fields).resolve()
        assert (target.security, target.extended, target.port) == (security, extended, dialled)


def test_flags_default_to_none() -> None:
    assert ConnectOptions.from_flags(host="mx.example") == ConnectOptions(
        host="mx.example", security=NONE, extended=False
    )


def test_flags_of_lmtp_which_has_no_helo() -> None:
    target = ConnectOptions.from_flags(host="mx.example", lmtp=True).resolve()
    assert (target.extended, target.security, target.port) == (True, NONE, 24)


@pytest.mark.parametrize("options", [2, 4, 16384, 65536, 1 << 40, -1, I_ | F, I_ | F | S | E_, ~Option.NONE])
def test_flags_that_are_not_known_or_contradict_each_other(options: int) -> None:
    refused(lambda: ConnectOptions.from_flags(host="mx.example", options=options))


def test_flags_and_a_bad_port() -> None:
    refused(lambda: ConnectOptions.from_flags(host="mx.example", port="nonsense"))


@given(
    options=st.integers(-(2**17), 2**17)
    | st.sampled_from([a | b | c | d for a in (0, 1) for b in (0, 4096) for c in (0, 8192) for d in (0, 32768)])
)
def test_each_flag_means_what_it_says(options: int) -> None:
    def target_of() -> Target:
        return ConnectOptions.from_flags(host="mx.example", options=options).resolve()

    if options & ~(1 + 4096 + 8192 + 32768) or (options & 8192 and options & 32768):
        refused(target_of)
        return
    target = target_of()
    assert target.extended or not options & 1
    assert (target.security is IMPLICIT) is bool(options & 8192)
    if options & 4096 and not options & 32768:
        assert target.security in (REQUIRED, IMPLICIT)


# Options: URLs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("smtp://mx.example", Target("mx.example", 25, None, "mx.example", OPPORTUNISTIC, True, False)),
        ("smtp://mx.example/", Target("mx.example", 25, None, "mx.example", OPPORTUNISTIC, True, False)),
        ("SMTP://mx.example:2525", Target("mx.example", 2525, None, "mx.example", OPPORTUNISTIC, True, False)),
        ("smtp://mx.example:0", Target("mx.example", 25, None, "mx.example", OPPORTUNISTIC, True, False)),
        ("smtp://mx.example:465", Target("mx.example", 465, None, "mx.example", IMPLICIT, True, False)),
        ("smtp://user@mx.example", Target("mx.example", 25, None, "mx.example", REQUIRED, True, False)),
        ("smtps://mx.example", Target("mx.example", 465, None, "mx.example", IMPLICIT, True, False)),
        ("smtps://mx.example:0", Target("mx.example", 465, None, "mx.example", IMPLICIT, True, False)),
        ("smtps://mx.example:2465", Target("mx.example", 2465, None, "mx.example", IMPLICIT, True, False)),
        ("submissions://mx.example", Target("mx.example", 465, None, "mx.example", IMPLICIT, True, False)),
        ("submission://mx.example", Target("mx.example", 587, None, "mx.example", REQUIRED, True, False)),
        ("submission://mx.example:0", Target("mx.example", 587, None, "mx.example", REQUIRED, True, False)),
        ("submission://mx.example:2587", Target("mx.example", 2587, None, "mx.example", REQUIRED, True, False)),
        ("submission://mx.example:465", Target("mx.example", 465, None, "mx.example", IMPLICIT, True, False)),
        ("lmtp://mx.example", Target("mx.example", 24, None, "mx.example", OPPORTUNISTIC, True, True)),
        ("lmtp:///run/lmtp", Target("", 24, "/run/lmtp", "localhost", NONE, True, True)),
        ("lmtp:///run/a%20b", Target("", 24, "/run/a b", "localhost", NONE, True, True)),
        ("smtp://192.0.2.1:25", Target("192.0.2.1", 25, None, "192.0.2.1", OPPORTUNISTIC, True, False)),
        ("smtp://[2001:DB8::1]", Target("2001:DB8::1", 25, None, "2001:DB8::1", OPPORTUNISTIC, True, False)),
        ("smtp://[::1]:2525/", Target("::1", 2525, None, "::1", OPPORTUNISTIC, True, False)),
        (
            "smtp://b%C3%BCcher.example",
            Target("bücher.example", 25, None, "bücher.example", OPPORTUNISTIC, True, False),
        ),
    ],
)
def test_url(url: str, target: Target) -> None:
    assert ConnectOptions.from_url(url).resolve() == target


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("smtp://mx.example", None, None),
        ("smtp://@mx.example", None, None),
        ("smtp://:@mx.example", None, None),
        ("smtp://user@mx.example", "user", None),
        ("smtp://user:@mx.example", "user", None),
        ("smtp://user:pass@mx.example", "user", "pass"),
        ("smtp://user%40d.example:p%3Aw%2F%40@mx.example:25", "user@d.example", "p:w/@"),
        ("smtp://user:a:b@mx.example", "user", "a:b"),
        ("smtp://%C3%BC:%E2%82%AC@mx.example", "ü", "€"),
        ("smtp://ü%41:€@mx.example", "üA", "€"),
    ],
)
def test_url_with_credentials(url: str, username: str | None, password: str | None) -> None:
    options = ConnectOptions.from_url(url)
    assert (options.username, options.password) == (username, password)
    assert not options.authenticate


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mx.example",
        "mx.example:25",
        "//mx.example",
        "smtp:mx.example",
        "smtp:/mx.example",
        "smtp://",
        "smtp:///",
        "smtp://:25",
        "smtp://user@",
        "http://mx.example",
        "smtp+tls://mx.example",
        "\u017fmtp://mx.example",
        "smtp://mx.example:port",
        "smtp://mx.example:25x",
        "smtp://mx.example:٢٥",
        "smtp://mx.example:999999",
        "smtp://mx.example/path",
        "smtp://mx.example?query",
        "smtp://mx.example#fragment",
        "smtp://a@b@mx.example",
        "smtp://[2001:db8::1",
        "smtp://[mx.example]",
        "smtp://[:::]",
        "smtp://[1]",
        "smtp://2001:db8::1",
        "smtp:///run/smtp",
        "submission:///run/smtp",
        "lmtp:///",
        "smtp://mx%2.example",
        "smtp://%GG",
        "smtp://a%",
        "smtp://%FF",
        "smtp://\ud800%41",
        "smtp://us%FFer@mx.example",
        "smtp://mx.example\n",
    ],
)
def test_url_that_is_none(url: str) -> None:
    refused(lambda: ConnectOptions.from_url(url).resolve())


def test_url_that_is_refused_is_not_shown_because_of_its_password() -> None:
    refused(lambda: ConnectOptions.from_url(f"smtp://user:{SECRET}@mx.example:nonsense"))
    refused(lambda: ConnectOptions.from_url(f"smtp://user:{SECRET}%@mx.example"))


def test_other_options_go_before_the_url() -> None:
    options = ConnectOptions.from_url("smtps://a@mx.example", port=25, security=NONE, username="b", mask=["SIZE"])
    assert (options.port, options.security, options.username, options.mask) == (25, NONE, "b", ("SIZE",))


@given(
    url=any_texts()
    | st.text()
    | st.builds(
        "".join,
        st.lists(
            st.sampled_from(
                [
                    "smtp",
                    "lmtp",
                    "submission",
                    "://",
                    ":",
                    "@",
                    "/",
                    "[",
                    "]",
                    "::1",
                    "%41",
                    "%",
                    "%FF",
                    "a",
                    "25",
                    "\ud800",
                ]
            )
        ),
    ).map("smtp://".__add__)
)
def test_any_text_is_a_url_or_refused(url: str) -> None:
    def target_of() -> Target:
        return ConnectOptions.from_url(url).resolve()

    try:
        target = target_of()
    except ConnectFailed:
        refused(target_of)
    else:
        assert target.host or target.path


# The handshake: playing it -----------------------------------------------------------------------------------------

Cut = Callable[[bytes], Iterable[bytes]]
TLS = b"<TLS>"


class Play:
    """A handshake with a server that says these replies, one when there is nothing else to do, and then goes away."""

    def __init__(self, options: ConnectOptions, *replies: bytes, cut: Cut = whole) -> None:
        self.order: list[Event | Command | Reply] = []
        self.connector = Connector(options, client_name="me.example", on_send=self.order.append)
        self.events: list[Event] = []
        self.sent: list[bytes] = []
        self.failure: ConnectFailed | RemoteProtocolError | None = None
        self.left = deque(replies)
        arrived: deque[bytes] = deque()
        try:
            while True:
                event = self._next()
                if event is PAUSED:
                    self.connector.tls_established()
                    self.sent.append(TLS)
                elif event is NEED_DATA:
                    if not arrived:
                        arrived.extend(cut(self.left.popleft()) if self.left else [b""])
                    self.connector.receive_data(arrived.popleft())
                elif isinstance(event, Connected):
                    return
        except (ConnectFailed, RemoteProtocolError) as failure:
            self.failure = failure

    def _next(self) -> Event | Pause:
        event = self.connector.next_event()
        if not isinstance(event, Pause):
            self.events.append(event)
            self.order.append(event)
        if data := self.connector.data_to_send():
            self.sent.append(data)
        return event

    @property
    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.events]

    @property
    def outcome(self) -> tuple[object, ...]:
        failure = self.failure
        if isinstance(failure, ConnectFailed):
            return type(failure), str(failure), failure.code, failure.stage, failure.reply, failure.retryable
        return (type(failure),)

    def failed(self, code: ErrorCode, stage: Stage, reply: Reply | None, *, retryable: bool = False) -> None:
        assert isinstance(self.failure, ConnectFailed), self.failure
        assert (self.failure.code, self.failure.stage, self.failure.reply) == (code, stage, reply)
        assert self.failure.retryable is retryable
        assert isinstance(self.failure, AuthenticationFailed) is (stage is Stage.AUTHENTICATION)
        # It is repeated at further calls, and nothing is sent any more.
        for _ in range(2):
            with pytest.raises(ConnectFailed) as caught:
                self.connector.next_event()
            assert caught.value is self.failure
        assert self.connector.data_to_send() == b""
        assert self.connector.connected is None

    def connected(self) -> Connected:
        assert self.failure is None, self.failure
        last = self.events[-1]
        assert isinstance(last, Connected)
        assert self.connector.connected is last
        assert self.connector.next_event() is last
        assert self.connector.next_event() is last
        assert self.connector.data_to_send() == b""
        assert not self.left
        assert self.connector.connection.state is READY
        return last


HI = b"220 mx.example ESMTP\r\n"
OK = b"250 mx.example\r\n"
GO = b"220 go ahead\r\n"
EHLO, HELO, LHLO = b"EHLO me.example\r\n", b"HELO me.example\r\n", b"LHLO me.example\r\n"
STARTTLS = b"STARTTLS\r\n"


def ehlo(*keywords: str) -> bytes:
    return bytes(Reply(250, ("mx.example", *keywords)))


def plain_of(username: str = "user", password: str = SECRET) -> bytes:
    return bytes(Auth("PLAIN", f"\0{username}\0{password}".encode()))


# The handshake: the ways that lead there -------------------------------------------------------------------------


@pytest.mark.rfc("5321", "3.1")
def test_plain_helo() -> None:
    play = Play(options(extended=False), HI, OK)
    assert play.kinds == [Greeting, HeloReply, Connected]
    assert play.sent == [HELO]
    greeting = Greeting(Connect(), Reply(220, "mx.example ESMTP"), "mx.example")
    assert play.connected() == Connected(NO_EXTENSIONS, False, False, greeting)


@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.rfc("5321", "2.2.1")
@pytest.mark.rfc("5321", "4.1.4")
def test_ehlo_in_plaintext() -> None:
    play = Play(options(security=NONE), HI, ehlo("STARTTLS", "SIZE 5"))
    assert play.kinds == [Greeting, EhloReply, Connected]
    assert play.sent == [EHLO]
    connected = play.connected()
    assert (connected.extended, connected.tls) == (True, False)
    assert connected.extensions == Extensions(["STARTTLS", "SIZE 5"])


@pytest.mark.rfc("3207", "4.2")
@pytest.mark.rfc("3207", "6")
@pytest.mark.parametrize("security", [REQUIRED, OPPORTUNISTIC])
def test_starttls_then_ehlo_again_with_other_extensions(security: Security) -> None:
    play = Play(options(security=security), HI, ehlo("STARTTLS", "SIZE 5"), GO, ehlo("STARTTLS", "8BITMIME"))
    assert play.kinds == [Greeting, EhloReply, StartTlsReady, EhloReply, Connected]
    # STARTTLS is offered again within TLS, and passed over.
    assert play.sent == [EHLO, STARTTLS, TLS, EHLO]
    connected = play.connected()
    assert connected.tls
    assert list(connected.extensions) == ["STARTTLS", "8BITMIME"]


@pytest.mark.rfc("8314", "3.3")
def test_implicit_tls() -> None:
    play = Play(options(security=IMPLICIT), HI, ehlo("STARTTLS", "AUTH PLAIN"))
    assert play.kinds == [Greeting, EhloReply, AuthNeeded, Connected]
    assert play.sent == [EHLO]
    assert play.connected().tls
    play = Play(options(security=IMPLICIT, port=2525, extended=False), HI, OK)
    assert play.kinds == [Greeting, HeloReply, Connected]
    assert play.connected().tls


@pytest.mark.rfc("3207", "6")
@pytest.mark.parametrize("security", [NONE, OPPORTUNISTIC])
def test_no_starttls_where_it_is_not_required(security: Security) -> None:
    play = Play(options(security=security), HI, ehlo("SIZE"))
    assert play.sent == [EHLO]
    assert not play.connected().tls


@pytest.mark.rfc("2033", "4.1")
def test_lmtp() -> None:
    play = Play(options(lmtp=True), b"220 mx.example LMTP\r\n", ehlo("PIPELINING", "STARTTLS"), GO, ehlo("PIPELINING"))
    assert play.kinds == [Greeting, EhloReply, StartTlsReady, EhloReply, Connected]
    assert play.sent == [LHLO, STARTTLS, TLS, LHLO]
    connected = play.connected()
    assert (connected.extended, connected.tls) == (True, True)


def test_each_event_comes_before_the_command_that_it_leads_to() -> None:
    play = Play(options(authenticate=True, **USER), HI, ehlo("STARTTLS"), GO, ehlo("AUTH PLAIN"), b"235 ok\r\n")
    assert [type(each) for each in play.order] == [
        Greeting,
        Ehlo,
        EhloReply,
        StartTls,
        StartTlsReady,
        Ehlo,
        EhloReply,
        AuthNeeded,
        Auth,
        AuthSucceeded,
        Connected,
    ]
    play.connected()


def test_what_is_to_be_sent_may_be_fetched_late() -> None:
    """A loop that looks for events until there are none, and writes only then, loses nothing."""
    connector = Connector(options(), client_name="me.example")
    connector.receive_data(HI)
    assert isinstance(connector.next_event(), Greeting)
    assert connector.next_event() is NEED_DATA
    assert connector.data_to_send() == EHLO
    assert connector.data_to_send() == b""


def test_what_is_to_be_sent_is_all_of_it_whatever_has_come_meanwhile() -> None:
    connector = Connector(options(), client_name="me.example")
    connector.receive_data(HI)
    assert isinstance(connector.next_event(), Greeting)
    assert connector.next_event() is NEED_DATA
    connector.receive_data(ehlo("STARTTLS"))
    assert isinstance(connector.next_event(), EhloReply)
    assert connector.data_to_send() == EHLO + STARTTLS


def test_the_deadline_is_that_of_the_connection() -> None:
    connector = Connector(options(timeouts=Timeouts(greeting=1, hello=2, other=3, tls=4)))
    expected = [(HI, 1, Stage.GREETING), (ehlo("STARTTLS"), 2, Stage.HELLO), (GO, 3, Stage.STARTTLS)]
    for reply, seconds, stage in expected:
        assert (connector.deadline, connector.stage) == (seconds, stage)
        connector.receive_data(reply)
        assert isinstance(connector.next_event(), Event)
        connector.data_to_send()
    assert (connector.deadline, connector.stage) == (4, Stage.TLS)
    connector.tls_established()
    connector.data_to_send()
    assert (connector.deadline, connector.stage) == (2, Stage.HELLO)


def test_timeout_is_for_each_wait() -> None:
    assert Connector(options(timeout=9)).deadline == 9
    assert Connector(options(timeout=0)).deadline is None


def test_limits_are_passed_on() -> None:
    play = Play(options(limits=Limits(reply_lines=2)), b"220-a\r\n220-b\r\n220 c\r\n")
    assert type(play.failure) is RemoteProtocolError


def test_mask() -> None:
    play = Play(options(mask=["STARTTLS"]), HI, ehlo("STARTTLS", "SIZE"))
    assert play.sent == [EHLO]
    assert list(play.connected().extensions) == ["SIZE"]


# The handshake: what it calls itself -------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.rfc("5321", "2.3.5")
@pytest.mark.rfc("5321", "4.1.1.1")
def test_client_name() -> None:
    def said(options: ConnectOptions, **fields: Any) -> bytes:
        connector = Connector(options, **fields)
        connector.receive_data(HI)
        connector.next_event()
        return connector.data_to_send()

    assert said(options()) == b"EHLO localhost\r\n"
    assert said(options(), client_name="me.example") == EHLO
    assert said(options(), client_name=AddressLiteral.of("192.0.2.1")) == b"EHLO [192.0.2.1]\r\n"
    assert said(options(), client_name=AddressLiteral.of("::ffff:192.0.2.1")) == b"EHLO [192.0.2.1]\r\n"
    assert said(options(client_name="own.example"), client_name="me.example") == b"EHLO own.example\r\n"


@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.parametrize("name", ["", "two words", "a\r\nQUIT"])
def test_client_name_that_is_unfit_is_refused_at_once(name: str) -> None:
    refused(lambda: Connector(options(), client_name=name))


def test_options_that_make_no_sense_are_refused_at_once() -> None:
    refused(lambda: Connector(ConnectOptions()))


# The handshake: the greeting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("security", [NONE, OPPORTUNISTIC])
def test_greeting_over_several_lines(security: Security) -> None:
    play = Play(options(security=security), b"220-mx.example\r\n220-\r\n220 ESMTP\r\n", OK)
    assert play.connected().greeting.reply.lines == ("mx.example", "", "ESMTP")


@pytest.mark.parametrize(
    "greeting", [b"220\r\n", b"220 \r\n", "220 caf\xe9 \u90ae\u4ef6\r\n".encode("gbk", "replace"), b"220 caf\xe9\r\n"]
)
def test_greetings_in_any_encoding_or_none(greeting: bytes) -> None:
    assert bytes(Play(options(), greeting, OK).connected().greeting.reply).strip() == greeting.strip()


@pytest.mark.rfc("5321", "3.1")
@pytest.mark.parametrize(
    ("greeting", "retryable"),
    [
        (b"554 no service\r\n", False),
        (b"554-no\r\n554 service\r\n", False),
        (b"521 never\r\n", False),
        (b"450 busy\r\n", True),
    ],
)
def test_greeting_that_refuses(greeting: bytes, retryable: bool) -> None:
    play = Play(options(), greeting)
    assert play.kinds == [Greeting]
    assert play.sent == []
    event = play.events[0]
    assert isinstance(event, Greeting)
    assert not event.accepted
    play.failed(ErrorCode.SERVICE_NOT_AVAILABLE, Stage.GREETING, event.reply, retryable=retryable)
    assert play.connector.farewell() == b"QUIT\r\n"


@pytest.mark.rfc("5321", "3.8")
def test_greeting_421() -> None:
    play = Play(options(), b"421 busy\r\n")
    assert play.events == [ServiceClosing(Connect(), Reply(421, "busy"))]
    play.failed(ErrorCode.SERVICE_NOT_AVAILABLE, Stage.GREETING, Reply(421, "busy"), retryable=True)
    assert play.connector.farewell() == b""
    assert play.connector.connection.state is CLOSED


def test_greeting_that_refuses_and_more_behind_it() -> None:
    connector = Connector(options())
    connector.receive_data(b"554 no\r\n250 more\r\n")
    connector.next_event()
    assert connector.farewell() == b""
    with pytest.raises(ConnectFailed):
        connector.next_event()


def test_greeting_that_mixes_codes() -> None:
    play = Play(options(), b"220-hi\r\n521 no\r\n")
    assert (play.events, type(play.failure)) == ([], RemoteProtocolError)


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 400 Bad Request\r\n", b"235 hi\r\n" * 2, b"354 hi\r\n", b"hello\r\n", b"\x15\x03\x01\x00\x02\x02F"],
)
def test_what_is_no_smtp_server(data: bytes) -> None:
    play = Play(options(), data, b"")
    assert type(play.failure) is RemoteProtocolError


# The handshake: hello ----------------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.rfc("5321", "2.2.1")
@pytest.mark.rfc("5321", "3.2")
@pytest.mark.parametrize("code", [500, 501, 502, 503, 504, 550, 554, 555, 521, 530])
@pytest.mark.parametrize("fields", [{}, {"security": NONE}, {"security": IMPLICIT}, {"security": NONE, **USER}])
def test_ehlo_refused_for_good_falls_back_to_helo(code: int, fields: dict[str, Any]) -> None:
    play = Play(options(**fields), HI, b"%d no\r\n" % code, OK)
    assert play.kinds == [Greeting, EhloReply, HeloReply, Connected]
    assert play.sent == [EHLO, HELO]
    connected = play.connected()
    assert (connected.extended, connected.extensions) == (False, NO_EXTENSIONS)
    assert not play.connector.connection.extended


@pytest.mark.rfc("3207", "4.2")
def test_ehlo_refused_within_tls_falls_back_to_helo() -> None:
    """What was required is reached; Connected says that the session is not extended."""
    play = Play(options(security=REQUIRED), HI, ehlo("STARTTLS"), GO, b"502 no\r\n", OK)
    assert play.sent == [EHLO, STARTTLS, TLS, EHLO, HELO]
    connected = play.connected()
    assert (connected.extended, connected.tls) == (False, True)


@pytest.mark.rfc("5321", "3.8")
@pytest.mark.parametrize("extended", [True, False])
def test_421_to_hello_is_the_end(extended: bool) -> None:
    play = Play(options(security=NONE, extended=extended), HI, b"421 leaving\r\n")
    assert play.kinds == [Greeting, ServiceClosing]
    assert play.sent == [EHLO if extended else HELO]
    play.failed(ErrorCode.SERVICE_NOT_AVAILABLE, Stage.HELLO, Reply(421, "leaving"), retryable=True)


@pytest.mark.parametrize("code", [450, 451, 452, 454])
def test_ehlo_refused_for_now_is_not_followed_by_helo(code: int) -> None:
    play = Play(options(), HI, b"%d later\r\n" % code)
    assert play.sent == [EHLO]
    play.failed(ErrorCode.HELLO_REFUSED, Stage.HELLO, Reply(code, "later"), retryable=True)
    assert play.connector.farewell() == b"QUIT\r\n"


def test_helo_refused() -> None:
    play = Play(options(), HI, b"500 what\r\n", b"550 go away\r\n")
    assert play.sent == [EHLO, HELO]
    play.failed(ErrorCode.HELLO_REFUSED, Stage.HELLO, Reply(550, "go away"))
    play = Play(options(extended=False), HI, b"450 later\r\n")
    play.failed(ErrorCode.HELLO_REFUSED, Stage.HELLO, Reply(450, "later"), retryable=True)


@pytest.mark.rfc("2033", "4.1")
def test_lmtp_has_nothing_to_fall_back_to() -> None:
    play = Play(options(lmtp=True), HI, b"500 what\r\n")
    assert play.sent == [LHLO]
    play.failed(ErrorCode.HELLO_REFUSED, Stage.HELLO, Reply(500, "what"))


@pytest.mark.rfc("3207", "6")
@pytest.mark.parametrize("code", [500, 502, 550])
def test_no_helo_where_tls_is_required_and_not_reached(code: int) -> None:
    play = Play(options(security=REQUIRED), HI, b"%d no\r\n" % code)
    assert play.sent == [EHLO]
    play.failed(ErrorCode.EXTENDED_NOT_SUPPORTED, Stage.HELLO, Reply(code, "no"))


@pytest.mark.rfc("4954", "3")
def test_no_helo_where_authentication_is_wanted() -> None:
    play = Play(options(security=NONE, authenticate=True, allow_plaintext_auth=True, **USER), HI, b"500 no\r\n")
    assert play.sent == [EHLO]
    play.failed(ErrorCode.EXTENDED_NOT_SUPPORTED, Stage.HELLO, Reply(500, "no"))


# The handshake: STARTTLS -------------------------------------------------------------------------------------------


@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("3207", "6")
@pytest.mark.parametrize(
    ("keywords", "hint"),
    [
        ((), False),
        (("SIZE", "XSTARTTLS"), False),
        (("STARTTLSX",), False),
        (("XXXXXXXA",), True),
        (("********",), True),
        (("SIZE", "XXXXXXXX"), True),
    ],
)
def test_starttls_not_offered(keywords: tuple[str, ...], hint: bool) -> None:
    play = Play(options(security=REQUIRED), HI, ehlo(*keywords))
    assert play.sent == [EHLO]
    play.failed(ErrorCode.STARTTLS_NOT_OFFERED, Stage.HELLO, None)
    assert ("between us" in str(play.failure)) is hint
    assert play.connector.farewell() == b"QUIT\r\n"


@pytest.mark.rfc("3207", "6")
@pytest.mark.parametrize("mask", ["XXXXXXXA", "********"])
def test_middlebox_in_an_opportunistic_session(mask: str) -> None:
    play = Play(options(), HI, ehlo(mask))
    assert play.sent == [EHLO]
    assert not play.connected().tls


@pytest.mark.rfc("3207", "4")
@pytest.mark.rfc("3207", "4.1")
@pytest.mark.parametrize(("code", "retryable"), [(454, True), (501, False), (502, False), (554, False), (530, False)])
def test_starttls_refused(code: int, retryable: bool) -> None:
    answer = b"%d no TLS\r\n" % code
    play = Play(options(security=REQUIRED), HI, ehlo("STARTTLS"), answer)
    assert play.sent == [EHLO, STARTTLS]
    play.failed(ErrorCode.STARTTLS_REFUSED, Stage.STARTTLS, Reply(code, "no TLS"), retryable=retryable)
    assert play.connector.farewell() == b"QUIT\r\n"

    play = Play(options(), HI, ehlo("STARTTLS", "SIZE"), answer)
    assert play.sent == [EHLO, STARTTLS]
    connected = play.connected()
    assert (connected.tls, connected.extended, "SIZE" in connected.extensions) == (False, True, True)


def test_starttls_421() -> None:
    for security in (REQUIRED, OPPORTUNISTIC):
        play = Play(options(security=security), HI, ehlo("STARTTLS"), b"421 no\r\n")
        play.failed(ErrorCode.SERVICE_NOT_AVAILABLE, Stage.STARTTLS, Reply(421, "no"), retryable=True)


@pytest.mark.rfc("3207", "4")
@pytest.mark.parametrize("injected", [b"250 injected\r\n", b"2", b"421 bye\r\n", b"\x16\x03\x01"])
def test_plaintext_behind_the_220_is_a_violation(injected: bytes) -> None:
    play = Play(options(security=REQUIRED), HI, ehlo("STARTTLS"), GO + injected)
    assert play.kinds == [Greeting, EhloReply, StartTlsReady]
    assert type(play.failure) is RemoteProtocolError
    assert play.sent == [EHLO, STARTTLS]
    assert play.connector.farewell() == b""

    connector = Connector(options(security=REQUIRED))
    for data in (HI, ehlo("STARTTLS"), GO):
        connector.receive_data(data)
        connector.next_event()
        connector.data_to_send()
    assert connector.next_event() is PAUSED
    connector.receive_data(injected)
    with pytest.raises(RemoteProtocolError):
        connector.tls_established()
    with pytest.raises(RemoteProtocolError):
        connector.next_event()
    assert connector.data_to_send() == b""


def test_tls_established_where_it_was_not_due() -> None:
    connector = Connector(options())
    with pytest.raises(LocalProtocolError):
        connector.tls_established()
    assert connector.data_to_send() == b""


def test_the_server_goes_instead_of_negotiating() -> None:
    connector = Connector(options(security=REQUIRED))
    for data in (HI, ehlo("STARTTLS"), GO):
        connector.receive_data(data)
        connector.next_event()
        connector.data_to_send()
    connector.receive_data(b"")
    assert isinstance(connector.next_event(), ConnectionClosed)
    with pytest.raises(ConnectFailed) as caught:
        connector.next_event()
    assert (caught.value.code, caught.value.stage) == (ErrorCode.CLOSED_BY_PEER, Stage.TLS)
    assert caught.value.retryable


# The handshake: authentication -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"port": 465}, AuthReason.SUBMISSION),
        ({"port": 587, "security": NONE}, AuthReason.SUBMISSION),
        ({"security": NONE, **USER}, AuthReason.CREDENTIALS_GIVEN),
        ({"security": IMPLICIT, **USER}, AuthReason.CREDENTIALS_GIVEN),
        ({"security": NONE, "token": "t"}, AuthReason.CREDENTIALS_GIVEN),
        ({"security": NONE, "mechanisms": [Own(b"")]}, AuthReason.CREDENTIALS_GIVEN),
        ({"security": NONE, "lmtp": True, **USER}, AuthReason.CREDENTIALS_GIVEN),
    ],
)
def test_auth_needed_where_it_is_due(fields: dict[str, Any], why: AuthReason) -> None:
    play = Play(options(**fields), HI, ehlo("AUTH PLAIN login"))
    assert play.kinds == [Greeting, EhloReply, AuthNeeded, Connected]
    hello = Lhlo("me.example") if "lmtp" in fields else Ehlo("me.example")
    reply = Reply(250, ("mx.example", "AUTH PLAIN login"))
    usable = ("PLAIN", "LOGIN") if play.connector.connection.secure else ()
    assert play.events[2] == AuthNeeded(hello, reply, ("PLAIN", "LOGIN"), why, usable)
    # It says so, and does nothing: authenticating is up to the program.
    assert len(play.sent) == 1
    play.connected()


@pytest.mark.parametrize("fields", [{}, {"port": 2525}, {"port": 24, "lmtp": True}, {"security": NONE}])
def test_no_auth_needed_where_it_is_not_due(fields: dict[str, Any]) -> None:
    assert AuthNeeded not in Play(options(**fields), HI, ehlo("AUTH PLAIN")).kinds


def test_no_auth_needed_where_there_is_no_esmtp() -> None:
    assert AuthNeeded not in Play(options(extended=False, security=NONE, **USER), HI, OK).kinds
    assert AuthNeeded not in Play(options(security=NONE, **USER), HI, b"500 what\r\n", OK).kinds


def test_auth_needed_comes_once_after_the_last_ehlo() -> None:
    play = Play(options(**USER), HI, ehlo("STARTTLS", "AUTH LOGIN"), GO, ehlo("AUTH PLAIN"))
    assert play.kinds == [Greeting, EhloReply, StartTlsReady, EhloReply, AuthNeeded, Connected]
    needed = play.events[4]
    assert isinstance(needed, AuthNeeded)
    assert needed.mechanisms == ("PLAIN",)

    play = Play(options(security=OPPORTUNISTIC, **USER), HI, ehlo("STARTTLS", "AUTH PLAIN"), b"454 no\r\n")
    assert play.kinds == [Greeting, EhloReply, ReplyReceived, AuthNeeded, Connected]
    needed = play.events[3]
    assert isinstance(needed, AuthNeeded)
    assert needed.command == Ehlo("me.example")
    assert needed.reply == Reply(250, ("mx.example", "STARTTLS", "AUTH PLAIN"))


def secured(*replies: bytes, auth: str = "AUTH PLAIN LOGIN XOAUTH2", cut: Cut = whole, **fields: Any) -> Play:
    """An authentication within implicit TLS."""
    fields = {"security": IMPLICIT, "authenticate": True, **(fields or USER)}
    return Play(options(**fields), HI, ehlo(auth), *replies, cut=cut)


@pytest.mark.rfc("4616", "2")
@pytest.mark.rfc("4954", "4")
def test_authenticate_with_plain() -> None:
    play = secured(b"235 2.7.0 ok\r\n")
    assert play.kinds == [Greeting, EhloReply, AuthNeeded, AuthSucceeded, Connected]
    assert play.sent == [EHLO, plain_of()]
    assert play.connected().tls
    assert play.connector.connection.authenticated


def test_authenticate_with_login() -> None:
    play = secured(b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", b"235 ok\r\n", mechanisms=["LOGIN"], **USER)
    assert play.kinds == [Greeting, EhloReply, AuthNeeded, AuthChallenge, AuthChallenge, AuthSucceeded, Connected]
    expected = [b"AUTH LOGIN\r\n", bytes(AuthResponse(b"user")), bytes(AuthResponse(SECRET.encode()))]
    assert play.sent == [EHLO, *expected]
    play.connected()


def test_authenticate_with_xoauth2() -> None:
    play = secured(b"235 ok\r\n", username="user", token="tok")
    assert play.sent == [EHLO, bytes(Auth("XOAUTH2", b"user=user\x01auth=Bearer tok\x01\x01"))]
    play.connected()

    play = secured(b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n", b"535 5.7.8 no\r\n", username="user", token="tok")
    assert play.kinds == [Greeting, EhloReply, AuthNeeded, AuthChallenge, AuthFailed]
    assert play.sent[-1] == b"\r\n"
    play.failed(ErrorCode.AUTHENTICATION_REFUSED, Stage.AUTHENTICATION, Reply(535, "5.7.8 no"))
    assert '{"status":"400"}' in str(play.failure)


@pytest.mark.rfc("4954", "6")
def test_535_stops() -> None:
    play = secured(b"535 5.7.8 no\r\n", b"235 never\r\n")
    assert play.sent == [EHLO, plain_of()]
    play.failed(ErrorCode.AUTHENTICATION_REFUSED, Stage.AUTHENTICATION, Reply(535, "5.7.8 no"))
    assert play.connector.farewell() == b"QUIT\r\n"


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("code", [504, 534])
def test_mechanism_that_is_not_taken_is_followed_by_the_next(code: int) -> None:
    play = secured(b"%d no\r\n" % code, b"334 \r\n", b"334 \r\n", b"235 ok\r\n")
    assert play.sent[1:3] == [plain_of(), b"AUTH LOGIN\r\n"]
    play.connected()
    play = secured(b"%d no\r\n" % code, auth="AUTH PLAIN")
    play.failed(ErrorCode.AUTHENTICATION_REFUSED, Stage.AUTHENTICATION, Reply(code, "no"))


@pytest.mark.rfc("4954", "6")
def test_454_and_421_to_auth() -> None:
    play = secured(b"454 4.7.0 later\r\n")
    play.failed(ErrorCode.AUTHENTICATION_UNAVAILABLE, Stage.AUTHENTICATION, Reply(454, "4.7.0 later"), retryable=True)
    play = secured(b"421 bye\r\n")
    assert play.kinds[-1] is ServiceClosing
    play.failed(ErrorCode.SERVICE_NOT_AVAILABLE, Stage.AUTHENTICATION, Reply(421, "bye"), retryable=True)


@pytest.mark.rfc("4954", "4")
def test_the_server_ignores_the_initial_response_and_asks_for_it() -> None:
    play = secured(b"334 \r\n", b"235 ok\r\n")
    assert play.sent == [EHLO, plain_of(), bytes(AuthResponse(f"\0user\0{SECRET}".encode()))]
    play.connected()
    play = secured(b"334\r\n", b"235 ok\r\n")
    play.connected()


@pytest.mark.rfc("4954", "4")
def test_initial_response_is_an_option() -> None:
    assert ConnectOptions().initial_response
    play = secured(b"334 \r\n", b"235 ok\r\n", initial_response=False, **USER)
    assert play.sent == [EHLO, b"AUTH PLAIN\r\n", bytes(AuthResponse(f"\0user\0{SECRET}".encode()))]
    play.connected()


def test_what_can_be_used_is_told_with_what_is_due() -> None:
    def usable(auth: str, **fields: Any) -> tuple[str, ...]:
        play = Play(options(**fields), HI, ehlo(auth))
        needed = play.events[2]
        assert isinstance(needed, AuthNeeded)
        return needed.usable

    auth = "AUTH XOAUTH2 PLAIN SCRAM-SHA-256 ANONYMOUS GSSAPI EXTERNAL"
    assert usable(auth, security=IMPLICIT, **USER) == ("SCRAM-SHA-256", "PLAIN")
    assert usable(auth, security=NONE, **USER) == ("SCRAM-SHA-256",)
    assert usable(auth, security=NONE, allow_plaintext_auth=True, **USER) == ("SCRAM-SHA-256", "PLAIN")
    assert usable(auth, security=OPPORTUNISTIC, **USER) == ()
    assert usable(auth, security=IMPLICIT, mechanisms=["plain"], **USER) == ("PLAIN",)
    assert usable(auth, security=IMPLICIT, mechanisms=["ANONYMOUS"]) == ("ANONYMOUS",)
    assert usable("AUTH GSSAPI", security=IMPLICIT, **USER) == usable("SIZE", security=IMPLICIT, **USER) == ()
    # Without credentials it is what is known here.
    assert usable(auth, port=465) == ("SCRAM-SHA-256", "EXTERNAL", "XOAUTH2", "PLAIN", "ANONYMOUS")
    # And with a user name alone: the secret is still to come.
    assert usable(auth, port=465, username="user") == usable(auth, port=465)
    assert usable(auth, port=465, username="user", token="t") == ("XOAUTH2",)
    assert usable(auth, port=587, security=NONE) == ("SCRAM-SHA-256", "EXTERNAL", "ANONYMOUS")


def test_an_authentication_as_the_options_want_it() -> None:
    play = Play(
        options(security=IMPLICIT, mechanisms=["LOGIN"], initial_response=False, **USER), HI, ehlo("AUTH PLAIN LOGIN")
    )
    connector = play.connector
    given = connector.options.credentials
    assert connector.authenticator(given).usable == ("LOGIN",)
    assert connector.authenticator(given, ["PLAIN", "LOGIN"]).usable == ("PLAIN", "LOGIN")
    assert connector.authenticator(Credentials("other", "p"), ["PLAIN"]).start() == Auth("PLAIN")
    with pytest.raises(AuthenticationFailed) as caught:
        connector.authenticator(None)
    assert caught.value.code is ErrorCode.NO_COMMON_MECHANISM
    # No default is that of a program that has no wish: the options of the connection hold.
    plain = Play(options(security=OPPORTUNISTIC, **USER), HI, ehlo("AUTH CRAM-MD5 PLAIN")).connector
    with pytest.raises(AuthenticationFailed, match="TLS was wanted"):
        plain.authenticator(Credentials("other", "p"), ["CRAM-MD5"])


SCRAM_CHALLENGE = b"334 " + base64(b"r=short,s=c2FsdA==,i=4096").encode() + b"\r\n"


@pytest.mark.parametrize(
    "reply", [b"421 4.3.2 bye\r\n", b"", b"501 cancelled\r\n", b"504 no\r\n", b"235 ok\r\n", b"334 eA==\r\n"]
)
def test_what_went_wrong_stays_so_whatever_the_server_says_to_the_cancellation(reply: bytes) -> None:
    """It cannot make a retryable failure of it, nor let something weaker be tried."""
    play = secured(SCRAM_CHALLENGE, *filter(None, [reply]), auth="AUTH SCRAM-SHA-256 PLAIN", **USER)
    assert play.sent[1].startswith(b"AUTH SCRAM-SHA-256 ")
    assert play.sent[2:] == [b"*\r\n"]
    play.failed(ErrorCode.PROTOCOL_ERROR, Stage.AUTHENTICATION, None)
    assert "nonce" in str(play.failure)
    assert play.connector.problem is play.failure


def test_no_problem_without_an_authentication() -> None:
    assert Play(options(), HI, ehlo("SIZE")).connector.problem is None
    assert secured(b"235 ok\r\n").connector.problem is None


@pytest.mark.rfc("5802", "3")
@pytest.mark.parametrize("auth", ["AUTH SCRAM-SHA-256 PLAIN", "AUTH PLAIN SCRAM-SHA-1 LOGIN"])
@pytest.mark.parametrize("challenges", [0, 1])
def test_success_without_a_proof_is_a_failure_and_nothing_weaker_is_tried(auth: str, challenges: int) -> None:
    class Lying:
        """It knows no password, and so cannot sign."""

        def __init__(self) -> None:
            self.connector = Connector(options(security=IMPLICIT, authenticate=True, **USER), client_name="me.example")
            self.said = b""

        def says(self, data: bytes) -> None:
            self.connector.receive_data(data)
            while not isinstance(self.connector.next_event(), Pause):
                self.said += self.connector.data_to_send()

    lying = Lying()
    lying.says(HI)
    lying.says(ehlo(auth))
    if challenges:
        nonce = lying.said.rsplit(b" ", 1)[1]
        first = strict_base64(nonce.strip().decode())
        assert first is not None
        terms = first.rpartition(b"r=")[2].decode() + "more"
        lying.says(b"334 " + base64(f"r={terms},s=c2FsdA==,i=4096".encode()).encode() + b"\r\n")
    with pytest.raises(AuthenticationFailed) as caught:
        lying.says(b"235 welcome\r\n")
    assert caught.value.code is ErrorCode.SERVER_NOT_AUTHENTIC
    assert not caught.value.retryable
    assert b"PLAIN" not in lying.said
    assert base64(f"\0user\0{SECRET}".encode()).encode() not in lying.said


def test_a_challenge_of_a_megabyte_is_beyond_the_limits() -> None:
    play = secured(b"334 " + b"A" * 1_000_000 + b"\r\n", auth="AUTH SCRAM-SHA-256", **USER)
    assert isinstance(play.failure, RemoteProtocolError)
    assert len(str(play.failure)) < 500
    # As long as a line may be, it is read, and is nothing that is understood.
    play = secured(b"334 " + b"A" * 10_000 + b"\r\n", b"501 no\r\n", auth="AUTH SCRAM-SHA-256", **USER)
    play.failed(ErrorCode.PROTOCOL_ERROR, Stage.AUTHENTICATION, None)


def test_challenge_without_end_is_cancelled() -> None:
    play = secured(*[b"334 \r\n"] * 100)
    assert play.sent[3:] == [b"*\r\n"]
    play.failed(ErrorCode.PROTOCOL_ERROR, Stage.AUTHENTICATION, None)
    assert play.connector.farewell() == b""


def test_success_that_comes_too_early() -> None:
    play = secured(b"235 ok\r\n", mechanisms=["LOGIN"], **USER)
    assert play.kinds[-1] is AuthSucceeded
    play.failed(ErrorCode.SERVER_NOT_AUTHENTIC, Stage.AUTHENTICATION, Reply(235, "ok"))


@pytest.mark.parametrize(
    ("auth", "code"),
    [
        ("SIZE", ErrorCode.AUTHENTICATION_NOT_OFFERED),
        ("AUTH", ErrorCode.AUTHENTICATION_NOT_OFFERED),
        ("AUTH GSSAPI", ErrorCode.NO_COMMON_MECHANISM),
    ],
)
def test_nothing_to_authenticate_with(auth: str, code: ErrorCode) -> None:
    play = secured(auth=auth)
    assert play.kinds == [Greeting, EhloReply, AuthNeeded]
    assert play.sent == [EHLO]
    play.failed(code, Stage.AUTHENTICATION, None)
    assert play.connector.farewell() == b"QUIT\r\n"


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize("security", [NONE, OPPORTUNISTIC])
def test_no_secret_in_plaintext(security: Security) -> None:
    fields: dict[str, Any] = {"security": security, "authenticate": True, **USER}
    play = Play(options(**fields), HI, ehlo("AUTH PLAIN LOGIN"))
    play.failed(ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN, Stage.AUTHENTICATION, None)
    assert play.sent == [EHLO]
    play = Play(options(allow_plaintext_auth=True, **fields), HI, ehlo("AUTH PLAIN"), b"235 ok\r\n")
    assert play.sent == [EHLO, plain_of()]
    assert not play.connected().tls


@pytest.mark.rfc("3207", "6")
@pytest.mark.parametrize(
    "replies",
    [
        [ehlo("AUTH PLAIN LOGIN")],
        [ehlo("STARTTLS", "AUTH PLAIN"), b"454 no\r\n"],
        [ehlo("XXXXXXXA", "AUTH PLAIN")],
        [b"500 no\r\n", OK],
        [ehlo("STARTTLS"), GO + ehlo("AUTH PLAIN")],
    ],
)
@pytest.mark.parametrize("security", [None, OPPORTUNISTIC, NONE])
@pytest.mark.parametrize("authenticate", [True, False])
def test_whoever_strips_starttls_gets_no_secret(
    replies: list[bytes], security: Security | None, authenticate: bool
) -> None:
    play = Play(options(security=security, authenticate=authenticate, **USER), HI, *replies)
    assert set(play.sent) <= {EHLO, HELO, STARTTLS}


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "user", "token": lambda: "two words"},
        {"mechanisms": [Own()]},
        {"mechanisms": [Own("text", name="X-OWN")]},  # type: ignore[arg-type]
    ],
)
def test_mechanism_or_token_that_proves_unfit_only_now(fields: dict[str, Any]) -> None:
    play = secured(auth="AUTH XOAUTH2 X-OWN", **fields)
    assert play.kinds == [Greeting, EhloReply, AuthNeeded]
    play.failed(ErrorCode.INVALID_ARGUMENT, Stage.AUTHENTICATION, None)


def test_what_the_token_raises_is_not_swallowed() -> None:
    def token() -> str:
        raise OSError("no network")

    connector = Connector(options(security=IMPLICIT, authenticate=True, username="user", token=token))
    for data in (HI, ehlo("AUTH XOAUTH2")):
        connector.receive_data(data)
        connector.next_event()
        connector.data_to_send()
    with pytest.raises(OSError, match="no network"):
        connector.next_event()


def test_mechanism_of_ones_own() -> None:
    class Echo(Own):
        def exchange(self) -> ClientExchange:
            challenge: Challenge | None = yield None
            while challenge is not None:
                challenge = yield challenge.data

    play = secured(b"334 YQ==\r\n", b"334 Yg==\r\n", b"235 ok\r\n", auth="AUTH X-OWN", mechanisms=[Echo()])
    assert play.sent == [EHLO, b"AUTH X-OWN\r\n", b"YQ==\r\n", b"Yg==\r\n"]
    play.connected()


def test_own_mechanism_and_plain_in_ones_own_order() -> None:
    mechanisms = [Own(b"one"), PlainClient("user", SECRET)]
    play = secured(b"504 no\r\n", b"235 ok\r\n", auth="AUTH PLAIN X-OWN", mechanisms=mechanisms)
    assert play.sent == [EHLO, bytes(Auth("X-OWN", b"one")), plain_of()]
    play.connected()


# The handshake: whatever comes unasked -----------------------------------------------------------------------------

STEPS: list[tuple[bytes, Stage]] = [
    (HI, Stage.HELLO),
    (ehlo("STARTTLS"), Stage.STARTTLS),
    (b"454 no\r\n", Stage.STARTTLS),
]


@pytest.mark.rfc("5321", "3.8")
@pytest.mark.parametrize("code", [421, 451, 554])
@pytest.mark.parametrize("step", [0, 1])
def test_the_server_leaves_in_one_packet_with_a_reply(step: int, code: int) -> None:
    """As it would end if the packet came a moment later."""
    bye = b"%d bye\r\n" % code
    replies = [reply for reply, _ in STEPS[: step + 1]]
    stage = STEPS[step][1]
    together = Play(options(security=REQUIRED), *replies[:-1], replies[-1] + bye)
    assert together.events[-1] == ServiceClosing(Unsolicited(), Reply(code, "bye"))
    together.failed(ErrorCode.SERVICE_NOT_AVAILABLE, stage, Reply(code, "bye"), retryable=code < 500)
    if code == 421:
        apart = Play(options(security=REQUIRED), *replies, bye)
        assert apart.outcome == together.outcome


@pytest.mark.parametrize("injected", [b"250 injected\r\n", b"4", b"250-", b"x"])
def test_anything_else_in_one_packet_with_a_reply_is_a_violation(injected: bytes) -> None:
    play = Play(options(security=REQUIRED), HI + injected)
    # The greeting is seen, although what is behind it ends all.
    assert play.kinds == [Greeting]
    assert type(play.failure) is RemoteProtocolError
    assert play.sent == []
    with pytest.raises(RemoteProtocolError) as caught:
        play.connector.next_event()
    assert caught.value is play.failure
    assert caught.value.received.startswith(injected)
    assert play.connector.farewell() == b""


def test_the_stream_ends_in_one_go_with_the_greeting() -> None:
    connector = Connector(options())
    connector.receive_data(HI)
    connector.receive_data(b"")
    assert isinstance(connector.next_event(), Greeting)
    assert isinstance(connector.next_event(), ConnectionClosed)
    with pytest.raises(ConnectFailed) as caught:
        connector.next_event()
    assert caught.value.code is ErrorCode.CLOSED_BY_PEER
    assert connector.data_to_send() == b""


@pytest.mark.parametrize(
    ("replies", "stage"),
    [
        ([], Stage.GREETING),
        ([HI], Stage.HELLO),
        ([HI, ehlo("STARTTLS")], Stage.STARTTLS),
        ([HI, ehlo("STARTTLS"), GO], Stage.HELLO),
        ([HI, ehlo("STARTTLS"), GO, ehlo("AUTH PLAIN")], Stage.AUTHENTICATION),
        ([HI, ehlo("STARTTLS"), GO, ehlo("AUTH LOGIN"), b"334 \r\n"], Stage.AUTHENTICATION),
    ],
)
def test_the_server_goes_without_a_word(replies: list[bytes], stage: Stage) -> None:
    play = Play(options(authenticate=True, **USER), *replies)
    assert play.kinds[-1] is ConnectionClosed
    # What it said last was no refusal, and so not the reason.
    play.failed(ErrorCode.CLOSED_BY_PEER, stage, None, retryable=True)
    assert play.connector.farewell() == b""


def test_the_server_goes_after_a_refusal() -> None:
    play = Play(options(), HI, b"550 go away\r\n", b"")
    play.failed(ErrorCode.CLOSED_BY_PEER, Stage.HELLO, Reply(550, "go away"))


def test_the_stream_ends_within_a_reply() -> None:
    play = Play(options(), b"220 h")
    assert type(play.failure) is RemoteProtocolError


# The handshake: under any cuts, and under anything -----------------------------------------------------------------

FULL = {"authenticate": True, **USER}
CATALOGUE: list[tuple[dict[str, Any], list[bytes]]] = [
    ({"extended": False}, [HI, OK]),
    ({}, [HI, ehlo("SIZE 5", "PIPELINING")]),
    ({}, [b"220-a\r\n220 b\xe9\r\n", b"502 no\r\n", OK]),
    ({"security": REQUIRED}, [HI, ehlo("XXXXXXXA")]),
    ({"security": REQUIRED}, [HI, ehlo("STARTTLS"), b"454 4.7.0 no\r\n"]),
    ({}, [HI, ehlo("STARTTLS"), b"454-no\r\n454 no\r\n"]),
    (FULL, [HI, ehlo("STARTTLS", "AUTH LOGIN"), GO, ehlo("STARTTLS", "AUTH PLAIN"), b"235 ok\r\n"]),
    (FULL, [HI, ehlo("STARTTLS"), GO, ehlo("AUTH LOGIN"), b"334 VXN\r\n", b"334 \r\n", b"535 no\r\n"]),
    (
        FULL,
        [HI, ehlo("STARTTLS"), GO, ehlo("AUTH PLAIN LOGIN"), b"504 no\r\n", b"334\r\n", b"334 !\r\n", b"235 ok\r\n"],
    ),
    (FULL, [HI, ehlo("STARTTLS"), GO, ehlo("AUTH PLAIN"), b"421-bye\r\n421 bye\r\n"]),
    ({"lmtp": True}, [b"220 x LMTP\r\n", ehlo("PIPELINING")]),
    ({}, [b"421 busy\r\n"]),
    ({}, [b"554-no\r\n554 no\r\n"]),
    ({}, [b"220-a\r\n250 b\r\n"]),
    ({}, [b"220 bare\n"]),
]


@given(script=st.sampled_from(CATALOGUE), cuts=st.lists(st.integers(0, 120), max_size=12))
def test_cuts_change_nothing(script: tuple[dict[str, Any], list[bytes]], cuts: list[int]) -> None:
    fields, replies = script
    expected = Play(options(**fields), *replies)
    ways: list[Cut] = [octets, lambda data: pieces(data, cuts)]
    for cut in ways:
        play = Play(options(**fields), *replies, cut=cut)
        assert play.events == expected.events
        assert play.sent == expected.sent
        assert play.outcome == expected.outcome


REPLY_LINES = st.builds(
    b"%d%b%b%b".__mod__,
    st.tuples(
        st.sampled_from([220, 220, 235, 250, 250, 250, 334, 354, 421, 454, 500, 502, 504, 530, 535, 554, 199, 600]),
        st.sampled_from([b" ", b" ", b" ", b" ", b"-", b"", b"x"]),
        st.sampled_from(
            [b"", b"ok", b"STARTTLS", b"AUTH PLAIN LOGIN", b"VXNlcm5hbWU6", b"\xe9\xff", b"XXXXXXXA", b"="]
        ),
        st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""]),
    ),
)
GOOD = st.sampled_from(
    [HI, OK, GO, ehlo("STARTTLS"), ehlo("STARTTLS", "AUTH PLAIN LOGIN"), ehlo("AUTH LOGIN"), b"235 ok\r\n", b"334 \r\n"]
)
ANYTHING = st.lists(GOOD | REPLY_LINES | st.binary(max_size=12), max_size=12)
WANTED = st.sampled_from(
    [
        {},
        {"extended": False},
        {"security": REQUIRED},
        {"security": IMPLICIT, **FULL},
        {"security": NONE, "allow_plaintext_auth": True, **FULL},
        {"lmtp": True},
        FULL,
        {"security": IMPLICIT, "authenticate": True, "username": "user", "token": "t"},
    ]
)


@given(fields=WANTED, chunks=ANYTHING)
def test_whatever_the_peer_sends(fields: dict[str, Any], chunks: list[bytes]) -> None:
    connector = Connector(options(**fields))
    arriving = deque([*(chunk for chunk in chunks if chunk), b""])
    failure: Exception | None = None
    for _ in range(200):
        try:
            event = connector.next_event()
            connector.data_to_send()
            if event is PAUSED:
                connector.tls_established()
            elif event is NEED_DATA:
                connector.receive_data(arriving.popleft())
            elif isinstance(event, Connected):
                return
        except (ConnectFailed, RemoteProtocolError) as error:
            failure = error
            break
    assert failure is not None, "it never ends"
    connector.farewell()
    with pytest.raises(type(failure)):
        connector.next_event()
    assert connector.data_to_send() == b""


def test_the_codes_that_the_core_produces_are_all_shown_here() -> None:
    """Every script that fails says one of these; and each of these comes from a script above."""
    shown = {play.failure.code for play in _failures() if isinstance(play.failure, ConnectFailed)}
    assert shown == {
        ErrorCode.CLOSED_BY_PEER,
        ErrorCode.PROTOCOL_ERROR,
        ErrorCode.SERVICE_NOT_AVAILABLE,
        ErrorCode.HELLO_REFUSED,
        ErrorCode.EXTENDED_NOT_SUPPORTED,
        ErrorCode.STARTTLS_NOT_OFFERED,
        ErrorCode.STARTTLS_REFUSED,
        ErrorCode.AUTHENTICATION_NOT_OFFERED,
        ErrorCode.NO_COMMON_MECHANISM,
        ErrorCode.AUTHENTICATION_REFUSED,
        ErrorCode.AUTHENTICATION_UNAVAILABLE,
        ErrorCode.PLAINTEXT_AUTHENTICATION_FORBIDDEN,
        ErrorCode.SERVER_NOT_AUTHENTIC,
    }


def _failures() -> Sequence[Play]:
    plain: dict[str, Any] = {"security": NONE, **FULL}
    return [
        Play(options()),
        Play(options(), b"554 no\r\n"),
        Play(options(), HI, b"450 no\r\n"),
        Play(options(security=REQUIRED), HI, b"500 no\r\n"),
        Play(options(security=REQUIRED), HI, OK),
        Play(options(security=REQUIRED), HI, ehlo("STARTTLS"), b"454 no\r\n"),
        Play(options(**plain), HI, OK),
        Play(options(**plain), HI, ehlo("AUTH X")),
        Play(options(**plain), HI, ehlo("AUTH PLAIN")),
        secured(b"535 no\r\n"),
        secured(b"454 no\r\n"),
        secured(b"235 no\r\n", mechanisms=["LOGIN"], **USER),
        secured(b"334 \r\n", b"334 \r\n", b"501 no\r\n"),
    ]


def test_commands_of_the_handshake_are_seen_and_redacted() -> None:
    play = secured(b"235 ok\r\n")
    assert SECRET not in repr(play.order)
    assert "QUJD" not in "".join(map(str, play.order))
    assert [each for each in play.order if isinstance(each, Command)] == [
        Ehlo("me.example"),
        Auth("PLAIN", f"\0user\0{SECRET}".encode()),
    ]


def test_helo_is_what_it_says() -> None:
    play = Play(options(extended=False), HI, OK)
    assert [each for each in play.order if isinstance(each, Command)] == [Helo("me.example")]


def test_the_session_goes_on_where_the_handshake_ends() -> None:
    play = Play(options(), HI, OK)
    play.connected()
    assert play.connector.connection.send(Noop()) == b"NOOP\r\n"


@pytest.mark.parametrize("security", ["required", "implicit", "NONE", True, 1])
def test_security_that_is_none_of_its_kind_never_means_plaintext(security: Any) -> None:
    with pytest.raises(ConnectFailed, match=r"it must be a Security, such as Security\.REQUIRED") as caught:
        ConnectOptions(host="mx.example", security=security).resolve()
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
