"""The table of extensions, and the offers that EHLO replies make."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError
from smtpproto.extensions import (
    EXTENSIONS,
    NO_EXTENSIONS,
    Extensions,
    extension_for_command,
    extension_for_parameter,
)
from smtpproto.replies import Reply

keywords = st.from_regex(r"[A-Z0-9][A-Z0-9-]{0,19}", fullmatch=True) | st.sampled_from(sorted(EXTENSIONS))
arguments = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9), max_size=3)
offers = st.dictionaries(keywords, arguments.map(" ".join), max_size=20)
reply_lines = st.lists(
    st.text(max_size=30)
    | st.sampled_from(
        ["SIZE 10", "AUTH PLAIN", "AUTH=LOGIN", "****", "XXXXXXXA", "auth =X", "STARTTLS ", "LIMITS A=1"]
    ),
    max_size=30,
)

GREETING = "mx.example.com greets you"


def parse(*lines: str) -> Extensions:
    return Extensions.parse([GREETING, *lines])


@pytest.mark.parametrize(
    ("keyword", "rfc"),
    [
        ("SIZE", "RFC 1870"),
        ("8BITMIME", "RFC 6152"),
        ("PIPELINING", "RFC 2920"),
        ("CHUNKING", "RFC 3030"),
        ("BINARYMIME", "RFC 3030"),
        ("STARTTLS", "RFC 3207"),
        ("AUTH", "RFC 4954"),
        ("DSN", "RFC 3461"),
        ("ENHANCEDSTATUSCODES", "RFC 2034"),
        ("SMTPUTF8", "RFC 6531"),
        ("HELP", "RFC 5321"),
        ("EXPN", "RFC 5321"),
        ("VRFY", "RFC 5321"),
        ("ETRN", "RFC 1985"),
        ("DELIVERBY", "RFC 2852"),
        ("FUTURERELEASE", "RFC 4865"),
        ("MT-PRIORITY", "RFC 6710"),
        ("REQUIRETLS", "RFC 8689"),
        ("RRVS", "RFC 7293"),
        ("LIMITS", "RFC 9422"),
        ("BURL", "RFC 4468"),
        ("XCLIENT", "Postfix XCLIENT_README"),
        ("XFORWARD", "Postfix XFORWARD_README"),
        ("NO-SOLICITING", "RFC 3865"),
    ],
)
def test_each_known_extension_has_a_row(keyword: str, rfc: str) -> None:
    row = EXTENSIONS[keyword]
    assert (row.keyword, row.rfc) == (keyword, rfc)
    assert re.fullmatch(r"[A-Z].{10,70}[^.]", row.title)


def test_there_are_no_rows_that_are_not_tested() -> None:
    assert len(EXTENSIONS) == 24


@pytest.mark.parametrize(
    ("verb", "keyword"),
    [
        ("STARTTLS", "STARTTLS"),
        ("auth", "AUTH"),
        ("BDAT", "CHUNKING"),
        ("ETRN", "ETRN"),
        ("BURL", "BURL"),
        ("XCLIENT", "XCLIENT"),
        ("XFORWARD", "XFORWARD"),
        ("VRFY", None),
        ("EXPN", None),
        ("help", None),
        ("MAIL", None),
        ("FOO", None),
        ("\u017ftarttls", None),
    ],
)
@pytest.mark.rfc("5321", "3.5.2")
def test_which_extension_a_command_needs(verb: str, keyword: str | None) -> None:
    assert extension_for_command(verb) == keyword


@pytest.mark.parametrize(
    ("parameter", "value", "keyword"),
    [
        ("SIZE", "5", "SIZE"),
        ("body", "8bitmime", "8BITMIME"),
        ("BODY", "7BIT", "8BITMIME"),
        ("BODY", "", "8BITMIME"),
        ("BODY", "BinaryMime", "BINARYMIME"),
        ("SMTPUTF8", "", "SMTPUTF8"),
        ("RET", "FULL", "DSN"),
        ("ENVID", "", "DSN"),
        ("NOTIFY", "", "DSN"),
        ("ORCPT", "", "DSN"),
        ("AUTH", "<>", "AUTH"),
        ("BY", "", "DELIVERBY"),
        ("HOLDFOR", "", "FUTURERELEASE"),
        ("HOLDUNTIL", "", "FUTURERELEASE"),
        ("MT-PRIORITY", "", "MT-PRIORITY"),
        ("REQUIRETLS", "", "REQUIRETLS"),
        ("RRVS", "", "RRVS"),
        ("SOLICIT", "", "NO-SOLICITING"),
        ("X-FOO", "", None),
    ],
)
def test_which_extension_a_parameter_needs(parameter: str, value: str, keyword: str | None) -> None:
    assert extension_for_parameter(parameter, value) == keyword


@given(offers)
@pytest.mark.rfc("5321", "4.1.1.1")
def test_what_is_offered_is_read_the_same(offer: dict[str, str]) -> None:
    extensions = Extensions(offer)
    assert dict(extensions) == offer
    assert list(extensions) == list(offer)
    reply = Reply(250, [GREETING, *extensions.lines()])
    read = Extensions.parse(reply.lines)
    if "AUTH" not in offer:
        assert read == extensions
        assert read.lines() == extensions.lines()
    assert Extensions(extensions) == Extensions(extensions.lines()) == extensions
    assert hash(Extensions(extensions)) == hash(extensions)


@given(reply_lines)
@example(["SIZE 1", "size 2", "SIZE"])
@pytest.mark.rfc("5321", "4.1.1.1")
def test_nothing_that_a_server_says_is_an_error(lines: list[str]) -> None:
    extensions = parse(*lines)
    for keyword, argument in extensions.items():
        assert re.fullmatch(r"[A-Z0-9][A-Z0-9-]*", keyword)
        assert re.fullmatch(r"([!-~]([ -~]*[!-~])?)?", argument)
    assert set(extensions.unrecognised) <= set(lines)
    own = [name for name, value in vars(Extensions).items() if isinstance(value, property)]
    assert len(own) == 8
    for name in own:
        getattr(extensions, name)
    assert len(repr(extensions)) < 2000
    assert parse(*lines) == extensions
    # A copy that shares nothing.
    assert Extensions.parse([GREETING, *lines, *["*"] * 100]).lines() == extensions.lines()


@pytest.mark.rfc("5321", "4.1.1.1")
def test_the_first_line_is_never_a_keyword() -> None:
    assert "STARTTLS" not in Extensions.parse(["STARTTLS", "SIZE 5"])
    assert len(Extensions.parse(["PIPELINING"])) == 0
    assert Extensions.parse([]) == NO_EXTENSIONS == Extensions() == Extensions.NONE


@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.rfc("4954", "8")
def test_keywords_compare_whole_and_without_case() -> None:
    extensions = parse("starttls", "Size 100", "PIPELININGX", "XAUTH PLAIN")
    assert "STARTTLS" in extensions
    assert "StartTls" in extensions
    assert extensions["size"] == extensions["SIZE"] == extensions.get("sIZE") == "100"
    assert list(extensions) == ["STARTTLS", "SIZE", "PIPELININGX", "XAUTH"]
    assert "PIPELINING" not in extensions
    assert "AUTH" not in extensions
    assert "TLS" not in extensions
    # These are no S and no K, although upper() says so.
    assert "\u017ftarttls" not in extensions
    wrong: Any = 5
    assert wrong not in extensions
    with pytest.raises(KeyError):
        extensions["DSN"]


@pytest.mark.rfc("5321", "4.1.1.1")
def test_what_is_not_known_is_kept_and_what_is_no_line_is_kept_apart() -> None:
    extensions = parse(
        "X-FOO bar  baz ", "XXXXXXXA", "****", "-X", "A_B", "", "SIZE=5", "HELP caf\udce9", "SIZE\t5", " DSN"
    )
    assert dict(extensions) == {"X-FOO": "bar  baz", "XXXXXXXA": ""}
    assert extensions.arguments("x-foo") == ("bar", "baz")
    assert extensions.unrecognised == ("****", "-X", "A_B", "", "SIZE=5", "HELP caf\udce9", "SIZE\t5", " DSN")
    assert extensions != parse("X-FOO bar  baz", "XXXXXXXA")


def test_the_first_of_two_lines_for_one_keyword_is_taken() -> None:
    assert dict(parse("SIZE 1", "DSN", "size 2")) == {"SIZE": "1", "DSN": ""}


@pytest.mark.parametrize(
    ("lines", "mechanisms"),
    [
        (["AUTH PLAIN LOGIN"], ("PLAIN", "LOGIN")),
        (["AUTH=LOGIN PLAIN"], ("LOGIN", "PLAIN")),
        (["auth=login"], ("LOGIN",)),
        (["AUTH PLAIN LOGIN", "AUTH=LOGIN Plain XOAUTH2"], ("PLAIN", "LOGIN", "XOAUTH2")),
        (["AUTH=LOGIN", "AUTH PLAIN"], ("LOGIN", "PLAIN")),
        (["AUTH PLAIN", "AUTH LOGIN"], ("PLAIN", "LOGIN")),
        (["AUTH"], ()),
        (["AUTH="], ()),
        ([], ()),
    ],
)
@pytest.mark.rfc("4954", "3")
def test_the_mechanisms_of_both_spellings_are_put_together(lines: list[str], mechanisms: tuple[str, ...]) -> None:
    extensions = parse(*lines)
    assert extensions.auth == mechanisms
    assert ("AUTH" in extensions) == bool(lines)


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("DSN", None),
        ("SIZE", 0),
        ("SIZE 0", 0),
        ("SIZE 35882577", 35882577),
        ("SIZE -5", 0),
        ("SIZE 5k", 0),
        ("SIZE 1 2", 0),
        ("SIZE " + "9" * 21, 0),
        ("SIZE " + "9" * 20, 99999999999999999999),
    ],
)
@pytest.mark.rfc("1870", "3")
def test_size(line: str, size: int | None) -> None:
    assert parse(line).size == size


@pytest.mark.parametrize(
    ("line", "seconds"), [("DSN", None), ("DELIVERBY", 0), ("DELIVERBY 240", 240), ("DELIVERBY x", 0)]
)
@pytest.mark.rfc("2852", "3")
def test_deliver_by(line: str, seconds: int | None) -> None:
    assert parse(line).deliver_by_minimum == seconds


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("DSN", None),
        ("FUTURERELEASE", None),
        ("FUTURERELEASE 86400 2030-01-01T00:00:00Z", 86400),
        ("FUTURERELEASE soon", None),
    ],
)
@pytest.mark.rfc("4865", "3")
def test_future_release(line: str, seconds: int | None) -> None:
    assert parse(line).future_release_maximum == seconds


@pytest.mark.rfc("9422", "3")
def test_limits() -> None:
    assert parse("LIMITS RCPTMAX=20 mailmax=5 RCPTDOMAINMAX=1 X=0 Y= Z Q=1234567 R=+1").limits == {
        "RCPTMAX": 20,
        "MAILMAX": 5,
        "RCPTDOMAINMAX": 1,
    }
    assert parse("DSN").limits == {}


def test_the_attributes_of_postfix() -> None:
    extensions = parse("XCLIENT Name ADDR PROTO", "XFORWARD NAME ADDR source")
    assert extensions.xclient == ("NAME", "ADDR", "PROTO")
    assert extensions.xforward == ("NAME", "ADDR", "SOURCE")
    assert NO_EXTENSIONS.xclient == NO_EXTENSIONS.xforward == ()


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("********", True),
        ("****", True),
        ("XXXXXXXX", True),
        ("XXXXXXXA", True),
        ("XXXA", True),
        ("***", False),
        ("*********", False),
        ("XXXXXXXXXX", False),
        ("XXXXXXXB", False),
        ("AAAAAAAA", False),
        ("XXX*****", False),
        ("DSN", False),
    ],
)
def test_a_middlebox_is_seen_to_mask_starttls(line: str, masked: bool) -> None:
    assert parse("SIZE 5", line, "HELP").starttls_masked is masked
    assert "STARTTLS" not in parse("SIZE 5", line, "HELP")
    assert parse(line, "STARTTLS").starttls_masked is False
    # The first line is the server's name, whatever that is.
    assert Extensions.parse([line]).starttls_masked is False


@pytest.mark.parametrize(
    "offer",
    [
        "SIZE",
        ["SIZE 5\r\nX"],
        ["SIZE 5\n"],
        ["SIZE  5"],
        ["SIZE "],
        [" SIZE"],
        [""],
        ["AUTH=PLAIN"],
        ["A_B"],
        ["HELP é"],
        ["SIZE 1", "size 2"],
        {"SIZE": "5\r\n250 X"},
        {"SIZE": " 5"},
        {"": "5"},
        {"SIZE": "1", "size": "2"},
        {"\u017fize": "1"},
    ],
)
@pytest.mark.rfc("5321", "4.1.1.1")
def test_what_cannot_be_offered(offer: Any) -> None:
    with pytest.raises(LocalProtocolError):
        Extensions(offer)


def test_a_keyword_can_be_masked() -> None:
    extensions = parse("PIPELINING", "SIZE 5", "****")
    less = extensions.without("pipelining", "DSN")
    assert less.lines() == ("SIZE 5",)
    assert less.unrecognised == ("****",)
    assert extensions.without("DSN") is extensions
    assert len(extensions) == 2


def test_an_offer_never_changes_and_is_a_value() -> None:
    extensions = parse("SIZE 5", "DSN", "****")
    changing: Any = extensions
    with pytest.raises(AttributeError, match="cannot be set"):
        changing.unrecognised = ()
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del changing.unrecognised
    with pytest.raises(TypeError):
        changing["DSN"] = ""
    assert pickle.loads(pickle.dumps(extensions)) == copy.deepcopy(extensions) == copy.copy(extensions) == extensions
    assert extensions != {"SIZE": "5", "DSN": ""}
    assert extensions == parse("DSN", "SIZE 5", "****")
    assert hash(extensions) == hash(parse("DSN", "SIZE 5", "****"))
    assert len({extensions, parse("DSN"), NO_EXTENSIONS, Extensions()}) == 3


def test_it_prints_short() -> None:
    assert repr(NO_EXTENSIONS) == "<Extensions none>"
    assert repr(parse("SIZE 5", "dsn")) == "<Extensions SIZE, DSN>"
    assert repr(parse(*(f"X{number}" for number in range(30)))).endswith("X23, and 6 more>")


def test_connections_to_servers_that_offer_the_same_share_it_within_bounds() -> None:
    lines = [f"X-{number}" for number in range(64)]
    first = Extensions.parse(["one.example", *lines])
    assert Extensions.parse(["two.example", *lines]) is first
    for large in ([*lines, "DSN"], ["X " + "y" * 4096]):
        one, two = parse(*large), parse(*large)
        assert one == two
        assert one is not two
