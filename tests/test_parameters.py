"""The parameters of MAIL and RCPT, and the values that they carry."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto.errors import LocalProtocolError
from smtpproto.grammar import ESMTP_VALUE, BadSyntax
from smtpproto.parameters import (
    MAIL_PARAMETERS,
    NO_PARAMETERS,
    RCPT_PARAMETERS,
    DeliverBy,
    FrozenMapping,
    OriginalRecipient,
    Parameter,
    ValidSince,
    check_other,
    parse_parameters,
    xtext_decode,
    xtext_encode,
)

from .strategies import any_texts, deliver_bys, original_recipients, valid_sinces

LONG = "x" * 1001


# -- the mapping ------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=3), max_size=4))
def test_a_frozen_mapping_is_a_mapping(items: dict[str, str | None]) -> None:
    frozen = FrozenMapping(items)
    backwards = FrozenMapping(reversed(items.items()))
    assert dict(frozen) == items
    assert list(frozen) == list(items)
    assert len(frozen) == len(items)
    assert frozen == items == backwards
    assert hash(frozen) == hash(backwards)
    assert repr(frozen) == repr(items)
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert copy.deepcopy(frozen) == frozen


def test_a_frozen_mapping_is_frozen() -> None:
    source = {"A": "1"}
    frozen = FrozenMapping(source)
    source["A"] = "2"
    assert frozen["A"] == "1"
    with pytest.raises(AttributeError, match="immutable"):
        frozen._items = {}  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(TypeError):
        frozen["A"] = "2"  # type: ignore[index] # pyright: ignore[reportIndexIssue]
    assert hash(FrozenMapping({"A": "1"})) != hash(FrozenMapping({"A": "2"}))


# -- xtext ------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8")))
@pytest.mark.rfc("3461", "4")
@pytest.mark.rfc("5321", "4.1.2")
def test_xtext_round_trips(text: str) -> None:
    encoded = xtext_encode(text)
    assert xtext_decode(encoded) == text
    assert all(33 <= ord(c) <= 126 and c != "=" for c in encoded)
    assert len(encoded) == sum(1 if 33 <= n <= 126 and n not in b"+=" else 3 for n in text.encode())


@pytest.mark.rfc("3461", "4")
def test_xtext() -> None:
    assert xtext_encode("a+b=c d\n\xe9") == "a+2Bb+3Dc+20d+0A+C3+A9"
    assert xtext_decode("+61b") == "ab"
    assert xtext_decode("") == ""
    for wrong in ("a b", "a=b", "+", "+2", "+2b", "+GG", "a+2Bb\n", "\xe9", "+C3", "+ED+A0+80", "\uff11"):
        with pytest.raises(LocalProtocolError):
            xtext_decode(wrong)
    with pytest.raises(LocalProtocolError, match="surrogate"):
        xtext_encode("\ud800")


# -- values of more than one part -------------------------------------------------------------------------------------


@given(deliver_bys())
@pytest.mark.rfc("2852", "4")
def test_deliver_by_round_trips(by: DeliverBy) -> None:
    assert DeliverBy.parse(str(by)) == by


@pytest.mark.rfc("2852", "4")
def test_deliver_by() -> None:
    assert DeliverBy.parse("120;R") == DeliverBy(120, "R")
    assert DeliverBy.parse("-30;nt") == DeliverBy(-30, "N", True)
    assert DeliverBy.parse("+5;rT") == DeliverBy(5, "R", trace=True)
    assert str(DeliverBy(-30, "n", trace=True)) == "-30;NT"
    for text in ("0;R", "-1;R", "1", "1;", ";R", "1;X", "1;RR", "1;R;T", "1;TR", "1234567890;R", "\u0661;R", "1;R\n"):
        with pytest.raises(LocalProtocolError):
            DeliverBy.parse(text)
    wrong: list[tuple[Any, ...]] = [(1.0, "R"), (True, "R"), (10**9, "N"), (1, "RT"), (1, None), (1, "R", "T")]
    for arguments in wrong:
        with pytest.raises(LocalProtocolError):
            DeliverBy(*arguments)


@given(original_recipients())
@pytest.mark.rfc("3461", "4.2")
@pytest.mark.rfc("6531", "3.2")
def test_original_recipients_round_trip(orcpt: OriginalRecipient) -> None:
    text = str(orcpt)
    assert OriginalRecipient.parse(text) == orcpt
    assert text.isascii()
    assert ESMTP_VALUE.match(text)


@pytest.mark.rfc("6533", "3")
@pytest.mark.rfc("6531", "3.2")
def test_utf8_addresses() -> None:
    orcpt = OriginalRecipient("utf-8", "j\xf6rg+x=y\\z \U0001f600@b\xfccher.example")
    xtext = "utf-8;j\\x{F6}rg\\x{2B}x\\x{3D}y\\x{5C}z\\x{20}\\x{1F600}@b\\x{FC}cher.example"
    assert str(orcpt) == xtext
    assert OriginalRecipient.parse(xtext) == orcpt
    assert OriginalRecipient.parse("utf-8;j\xf6rg\\x{2B}x\\x{3D}y\\x{5C}z\\x{20}\U0001f600@b\xfccher.example") == orcpt
    assert OriginalRecipient.parse("UTF-8;\xe9") == OriginalRecipient("UTF-8", "\xe9")


@pytest.mark.rfc("6533", "3")
@pytest.mark.parametrize(
    "address",
    [
        "",
        "a+b",
        "a=b",
        "a b",
        "a\\b",
        "\\x{}",
        "\\x{A}",
        "\\x{e9}",
        "\\x{E9",
        "\\x{0E9}",
        "\\x{41}",
        "\\x{00}",
        "\\x{0A}",
        "\\x{7F}",
        "\\x{85}",
        "\\x{D800}",
        "\\x{110000}",
        "\\x{1000000}",
        "\x85",
        "\ud800",
        "\n",
    ],
)
def test_no_utf8_addresses(address: str) -> None:
    with pytest.raises(LocalProtocolError):
        OriginalRecipient.parse(f"utf-8;{address}")


@pytest.mark.rfc("3461", "4.2")
def test_original_recipient() -> None:
    assert OriginalRecipient.parse("rfc822;a+2Bb@c") == OriginalRecipient("rfc822", "a+b@c")
    assert str(OriginalRecipient("rfc822", "a b@c")) == "rfc822;a+20b@c"
    for text in (
        "rfc822",
        "rfc822;",
        ";a",
        "rfc 822;a",
        "rf=c;a",
        "rfc822;+0A",
        "rfc822;+C3+A9",
        "rfc822;\xe9",
        "\xe9;a",
    ):
        with pytest.raises(LocalProtocolError):
            OriginalRecipient.parse(text)
    wrong: list[Any] = [("rfc822", "a\nb"), ("rfc822", "\xe9"), ("rfc822", b"a"), ("rfc822", ""), ("utf-8", "\x85")]
    for parts in wrong:
        with pytest.raises(LocalProtocolError):
            OriginalRecipient(*parts)


@given(valid_sinces())
@pytest.mark.rfc("7293", "3.1")
def test_valid_since_round_trips(since: ValidSince) -> None:
    assert ValidSince.parse(str(since)) == since


@pytest.mark.rfc("7293", "3.1")
def test_valid_since() -> None:
    assert ValidSince.parse("2014-04-03T23:01:00Z;c") == ValidSince("2014-04-03T23:01:00Z", "C")
    assert str(ValidSince("2014-04-03T23:01:00Z")) == "2014-04-03T23:01:00Z"
    for text in ("", "2014-04-03", "2014-04-03T23:01:00Z;", "2014-04-03T23:01:00Z;X", "2014-04-03T23:01:00Z;R;C"):
        with pytest.raises(LocalProtocolError):
            ValidSince.parse(text)


# -- the tables -------------------------------------------------------------------------------------------------------

VALUES: list[tuple[str, object, str]] = [
    ("SIZE", 0, "SIZE=0"),
    ("SIZE", 10**20 - 1, "SIZE=99999999999999999999"),
    ("BODY", "7BIT", "BODY=7BIT"),
    ("BODY", "8BITMIME", "BODY=8BITMIME"),
    ("BODY", "BINARYMIME", "BODY=BINARYMIME"),
    ("SMTPUTF8", True, "SMTPUTF8"),
    ("RET", "FULL", "RET=FULL"),
    ("RET", "HDRS", "RET=HDRS"),
    ("ENVID", "abc+def ghi", "ENVID=abc+2Bdef+20ghi"),
    ("ENVID", "+" * 100, "ENVID=" + "+2B" * 100),
    ("AUTH", "", "AUTH=<>"),
    ("AUTH", "a+b=c@d", "AUTH=a+2Bb+3Dc@d"),
    ("AUTH", '"a b"@d', 'AUTH="a+20b"@d'),
    ("BY", DeliverBy(-1, "N", True), "BY=-1;NT"),
    ("HOLDFOR", 1, "HOLDFOR=1"),
    ("HOLDFOR", 999_999_999, "HOLDFOR=999999999"),
    ("HOLDUNTIL", "2014-04-03T23:01:00Z", "HOLDUNTIL=2014-04-03T23:01:00Z"),
    ("MT-PRIORITY", -9, "MT-PRIORITY=-9"),
    ("MT-PRIORITY", 0, "MT-PRIORITY=0"),
    ("MT-PRIORITY", 9, "MT-PRIORITY=9"),
    ("REQUIRETLS", True, "REQUIRETLS"),
    ("SOLICIT", ("net.example:ADV", "org.x:A-b_c"), "SOLICIT=net.example:ADV,org.x:A-b_c"),
    ("NOTIFY", ("NEVER",), "NOTIFY=NEVER"),
    ("NOTIFY", ("SUCCESS", "FAILURE", "DELAY"), "NOTIFY=SUCCESS,FAILURE,DELAY"),
    ("ORCPT", OriginalRecipient("rfc822", "a@b"), "ORCPT=rfc822;a@b"),
    ("RRVS", ValidSince("2014-04-03T23:01:00Z", "C"), "RRVS=2014-04-03T23:01:00Z;C"),
]


def row(keyword: str) -> Parameter:
    return (MAIL_PARAMETERS if keyword in MAIL_PARAMETERS else RCPT_PARAMETERS)[keyword]


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.rfc("4954", "8")
@pytest.mark.rfc("1870", "3")
@pytest.mark.parametrize(("keyword", "value", "text"), VALUES)
def test_each_parameter_both_ways(keyword: str, value: object, text: str) -> None:
    parameter = row(keyword)
    known = {keyword: parameter}
    assert parameter.check(value) == value
    assert parameter.format(value) == f" {text}"
    assert parse_parameters(f" {text}", known) == {parameter.field: value}
    key, equals, rest = text.partition("=")
    assert parse_parameters(f" {key.lower()}{equals}{rest}", known) == {parameter.field: value}


def test_the_table_above_knows_every_parameter() -> None:
    assert {keyword for keyword, _, _ in VALUES} == MAIL_PARAMETERS.keys() | RCPT_PARAMETERS.keys()
    for table in (MAIL_PARAMETERS, RCPT_PARAMETERS):
        assert all(keyword == parameter.keyword and parameter.rfc[:4] == "RFC " for keyword, parameter in table.items())


@pytest.mark.rfc("3461", "4.4")
@pytest.mark.rfc("3461", "5.1")
@pytest.mark.rfc("6531", "3.4")
@pytest.mark.rfc("1870", "3")
@pytest.mark.parametrize(
    "text",
    [
        *("SIZE", "SIZE=", "SIZE=-1", "SIZE=+1", "SIZE=1_0", "SIZE=0x1", "SIZE=\u0661", "SIZE=1.0", "SIZE=" + "1" * 21),
        *("BODY", "BODY=", "BODY=9BIT", "BODY=8b\u0131tmime", "BODY=7BIT,8BITMIME"),
        *("SMTPUTF8=", "SMTPUTF8=1", "REQUIRETLS=yes", "REQUIRETLS="),
        *("RET", "RET=", "RET=ALL", "RET=HDRS,FULL"),
        *("ENVID", "ENVID=", "ENVID=a=b", "ENVID=+2b", "ENVID=+0A", "ENVID=+C3+A9", "ENVID=\xe9", "ENVID=" + "a" * 101),
        *("AUTH", "AUTH=", "AUTH=a", "AUTH=<a@b>", "AUTH=a=@b", "AUTH=+3C+3E", "AUTH=a@b+0A", "AUTH=+"),
        *("BY=1", "BY=0;R", "BY=1;R;T"),
        *("HOLDFOR=0", "HOLDFOR=-1", "HOLDFOR=1000000000", "HOLDFOR=\u0661", "HOLDFOR"),
        *("HOLDUNTIL", "HOLDUNTIL=2014-04-03", "HOLDUNTIL=1"),
        *("MT-PRIORITY=10", "MT-PRIORITY=-0", "MT-PRIORITY=+1", "MT-PRIORITY=01", "MT-PRIORITY=\u0661"),
        *("SOLICIT", "SOLICIT=", "SOLICIT=1a", "SOLICIT=a,", "SOLICIT=a,,b", "SOLICIT=\xe9", f"SOLICIT={LONG}"),
    ],
)
def test_bad_values_of_mail(text: str) -> None:
    assert refused(f" {text}", MAIL_PARAMETERS).startswith(f"501 5.5.4 Bad value for {text.partition('=')[0]}")


@pytest.mark.rfc("3461", "4.1")
@pytest.mark.rfc("3461", "5.1")
@pytest.mark.parametrize(
    "text",
    [
        *("NOTIFY", "NOTIFY=", "NOTIFY=NEVER,SUCCESS", "NOTIFY=ALWAYS", "NOTIFY=SUCCESS,", "NOTIFY=\u017fUCCESS"),
        *("ORCPT", "ORCPT=", "ORCPT=a@b", "ORCPT=rfc822;", "ORCPT=rfc822;a=b"),
        *("RRVS", "RRVS=2014", "RRVS=2014-04-03T23:01:00Z;D"),
    ],
)
def test_bad_values_of_rcpt(text: str) -> None:
    assert refused(f" {text}", RCPT_PARAMETERS).startswith(f"501 5.5.4 Bad value for {text.partition('=')[0]}")


def refused(text: str, known: Any, *, lenient: bool = False) -> str:
    with pytest.raises(BadSyntax) as caught:
        parse_parameters(text, known, lenient=lenient)
    assert not caught.value.fatal
    return str(caught.value)


@pytest.mark.rfc("4954", "8")
@pytest.mark.rfc("3461", "4.1")
@pytest.mark.rfc("3461", "4.2")
@pytest.mark.rfc("3461", "4.3")
@pytest.mark.rfc("3461", "4.4")
@pytest.mark.parametrize(
    ("keyword", "wrong"),
    [
        *(("SIZE", wrong) for wrong in (-1, 10**20, True, 1.0, "1", b"1")),
        *(("BODY", wrong) for wrong in ("", "8BIT", b"7BIT", 8)),
        *(("SMTPUTF8", wrong) for wrong in (1, "yes")),
        *(("REQUIRETLS", wrong) for wrong in (1, "yes")),
        *(("RET", wrong) for wrong in ("", "FULL SIZE=1", 1)),
        *(("ENVID", wrong) for wrong in ("", "a" * 101, "a\r\n", "\xe9", 1)),
        *(("AUTH", wrong) for wrong in ("a", "<>", b"a@b", "a@b\r\n", 1)),
        *(("BY", wrong) for wrong in ("1;R", 1, OriginalRecipient("rfc822", "a"))),
        *(("HOLDFOR", wrong) for wrong in (0, 10**9, "1", True)),
        *(("HOLDUNTIL", wrong) for wrong in ("", "now", 1)),
        *(("MT-PRIORITY", wrong) for wrong in (-10, 10, "1", False)),
        *(("SOLICIT", wrong) for wrong in ("", ("a b",), (b"a",), ("a\r\n",), 1, (LONG,), ("x" * 500, "y" * 500))),
        *(("NOTIFY", wrong) for wrong in ("", ("NEVER", "DELAY"), ("ALL",), (b"DELAY",), 1)),
        *(("ORCPT", wrong) for wrong in ("rfc822;a", 1)),
        *(("RRVS", wrong) for wrong in ("2014-04-03T23:01:00Z", 1)),
    ],
)
def test_a_program_may_not_pass(keyword: str, wrong: object) -> None:
    with pytest.raises(LocalProtocolError):
        row(keyword).check(wrong)


def test_values_get_their_one_spelling() -> None:
    assert row("BODY").check("8bitmime") == "8BITMIME"
    assert row("RET").check("hdrs") == "HDRS"
    assert row("NOTIFY").check({"delay", "SUCCESS"}) == ("SUCCESS", "DELAY")
    assert row("NOTIFY").check("delay,success,delay") == ("SUCCESS", "DELAY")
    assert row("NOTIFY").check(["never"]) == ("NEVER",)
    assert row("NOTIFY").check([]) == ()
    assert row("SOLICIT").check("a,b") == ("a", "b")
    assert row("SOLICIT").check(iter(["x" * 500, "y" * 499])) == ("x" * 500, "y" * 499)


def test_needed() -> None:
    assert row("SIZE").needed(1) == ("SIZE", "SIZE")
    assert row("BODY").needed("7BIT") == ("8BITMIME", "BODY=7BIT")
    assert row("BODY").needed("8BITMIME") == ("8BITMIME", "BODY=8BITMIME")
    assert row("BODY").needed("BINARYMIME") == ("BINARYMIME", "BODY=BINARYMIME")
    assert row("HOLDFOR").needed(1) == ("FUTURERELEASE", "HOLDFOR")


# -- what stands behind the path --------------------------------------------------------------------------------------


@pytest.mark.rfc("5321", "4.1.2")
def test_unknown_parameters_are_kept() -> None:
    assert parse_parameters(" x=1 SIZE=2 Foo y-Z=a@\xe9", MAIL_PARAMETERS) == {
        "size": 2,
        "other": {"X": "1", "FOO": None, "Y-Z": "a@\xe9"},
    }


@pytest.mark.rfc("3461", "4.5")
@pytest.mark.rfc("1870", "6")
@pytest.mark.parametrize("text", [" SIZE=1 SIZE=1", " SIZE=1 size=2", " X X", " X=1 x", " REQUIRETLS REQUIRETLS"])
def test_a_parameter_comes_once(text: str) -> None:
    assert refused(text, MAIL_PARAMETERS).endswith("is there twice")


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize(
    "text",
    [
        "SIZE=1",
        "x",
        "\tSIZE=1",
        " ",
        "  ",
        "  SIZE=1",
        " X  Y",
        " X=",
        " X=a=b",
        " -X",
        " =1",
        " X=\x85",
        " X_Y",
        " \u017fize=1",
    ],
)
def test_no_parameters(text: str) -> None:
    refused(text, MAIL_PARAMETERS)


def test_lenience_is_about_spaces_alone() -> None:
    assert parse_parameters("   SIZE=1   X  ", MAIL_PARAMETERS, lenient=True) == {"size": 1, "other": {"X": None}}
    assert parse_parameters("  ", MAIL_PARAMETERS, lenient=True) == {}
    for text in ("SIZE=1", " SIZE=1\xa0X", " SIZE=1\tX", " SIZE"):
        refused(text, MAIL_PARAMETERS, lenient=True)


@given(any_texts(), st.booleans())
def test_nothing_but_bad_syntax_comes_of_a_text(text: str, lenient: bool) -> None:
    for table in (MAIL_PARAMETERS, RCPT_PARAMETERS):
        answer = outcome(f" {text}", table, lenient)
        if isinstance(answer, BadSyntax):
            assert (answer.code, answer.status) == (501, "5.5.4")
            assert answer.text.isascii()
            assert answer.text.isprintable()
            assert len(answer.text) < 100
        else:
            assert answer.keys() <= {parameter.field for parameter in table.values()} | {"other"}


def outcome(text: str, known: Mapping[str, Parameter], lenient: bool) -> dict[str, Any] | BadSyntax:
    try:
        return parse_parameters(text, known, lenient=lenient)
    except BadSyntax as error:
        return error


def test_no_reply_is_longer_for_a_longer_parameter() -> None:
    assert len(refused(f" X{LONG} X{LONG}", MAIL_PARAMETERS)) < 100


def test_check_other() -> None:
    assert check_other({"foo": "1", "BAR": None}, MAIL_PARAMETERS) == {"FOO": "1", "BAR": None}
    assert check_other({}, MAIL_PARAMETERS) == NO_PARAMETERS
    wrong: list[dict[Any, Any]] = [
        {"": None},
        {"A B": None},
        {"A=": None},
        {"\u017f": None},
        {1: None},
        {"A": ""},
        {"A": "b c"},
        {"A": "b=c"},
        {"A": "b\r\n"},
        {"A": 1},
        {"a": None, "A": None},
    ]
    for other in wrong:
        with pytest.raises(LocalProtocolError):
            check_other(other, MAIL_PARAMETERS)
    with pytest.raises(LocalProtocolError, match="use size="):
        check_other({"size": "1"}, MAIL_PARAMETERS)
