"""MTA-STS: what announces a policy, what is one, and how long it holds.  RFC 8461."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto_adapters.discovery import (
    LARGEST_POLICY,
    Given,
    InvalidDomain,
    Kept,
    Kind,
    Mode,
    Policy,
    Txt,
    parse_policy,
    record_id,
    run,
    sts_policy,
)

DOMAIN = "example.org"
POLICY = Policy(Mode.ENFORCE, ("mx.example", "*.example.net"), 604_800)


def written(*lines: str, end: str = "\r\n") -> bytes:
    return "".join(f"{line}{end}" for line in lines).encode()


LINES = ("version: STSv1", "mode: enforce", "mx: mx.example", "mx: *.example.net", "max_age: 604800")


# The record -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1 ; id=1 ;"], "1"),
        (["v=STSv1; ext=x; id=1; other=y"], "1"),
        (["v=spf1 -all", "v=STSv1; id=1;"], "1"),
        (["v=STSv1; id=" + "a" * 32], "a" * 32),
        (["v=STSv1; id=" + "a" * 33], None),
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], None),
        (["v=STSv1;"], None),
        (["v=STSv1; id=;"], None),
        (["v=STSv1; xid=1;"], None),
        (["v=STSv1; id=a-b;"], None),
        (["v=STSv1; id=1; junk"], None),
        (["v=STSv2; id=1;"], None),
        (["V=stsv1; id=1;"], None),
        ([" v=STSv1; id=1;"], None),
        (["v=STSv1; id=1;\n"], None),
        ([], None),
    ],
)
@pytest.mark.rfc("8461", "3.1")
def test_what_announces_a_policy(texts: list[str], found: str | None) -> None:
    assert record_id(texts) == found


# The policy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.rfc("8461", "3.2")
def test_a_policy_is_read(end: str) -> None:
    assert parse_policy(written(*LINES, end=end)) == POLICY
    assert parse_policy(written(*LINES, end=end).removesuffix(end.encode())) == POLICY
    assert parse_policy(written(*reversed(LINES), end=end))._replace(mx=POLICY.mx) == POLICY


@pytest.mark.parametrize(
    ("lines", "policy"),
    [
        (
            ("version:STSv1  ", "mode:\ttesting", "mx: MX.Example", "max_age: 0"),
            Policy(Mode.TESTING, ("mx.example",), 0),
        ),
        (("version: STSv1", "mode: none", "max_age: 1"), Policy(Mode.NONE, (), 1)),
        ((*LINES, "mode: none", "max_age: 1", "version: x"), POLICY),
        ((*LINES, "future-thing: ünlikely"), POLICY),
        ((*LINES[:-1], "max_age: 9999999999"), POLICY._replace(max_age=31_557_600)),
    ],
)
@pytest.mark.rfc("8461", "3.2")
def test_how_a_policy_may_be_written(lines: tuple[str, ...], policy: Policy) -> None:
    assert parse_policy(written(*lines)) == policy


@pytest.mark.parametrize(
    "lines",
    [
        (),
        LINES[1:],
        ("version: STSv2", *LINES[1:]),
        (LINES[0], *LINES[2:]),
        (LINES[0], "mode: Enforce", *LINES[2:]),
        LINES[:-1],
        (*LINES[:-1], "max_age: -1"),
        (*LINES[:-1], "max_age: 1.5"),
        (*LINES[:-1], "max_age: 12345678901"),
        (*LINES[:-1], "max_age: ٣"),
        (*LINES[:2], LINES[-1]),
        (*LINES, "mx: 192.0.2.1"),
        (*LINES, "mx: *"),
        (*LINES, "mx: *."),
        (*LINES, "mx: a.*.example"),
        (*LINES, "mx: *.*.example"),
        (*LINES, "mx: bücher.example"),
        (*LINES, "mx:"),
        (*LINES, ""),
        (*LINES, "no field"),
        (*LINES, " mx: a.example"),
        (*LINES, "m x: a.example"),
    ],
    ids=repr,
)
@pytest.mark.rfc("8461", "3.2")
def test_what_is_no_policy(lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="policy"):
        parse_policy(written(*lines))


def test_a_policy_is_bounded() -> None:
    padded = written(*LINES, "x: " + " " * (LARGEST_POLICY - len(written(*LINES, "x: "))))
    assert len(padded) == LARGEST_POLICY
    assert parse_policy(padded) == POLICY
    with pytest.raises(ValueError, match="larger than"):
        parse_policy(padded + b"\n")


def test_spaces_within_a_line_cost_no_time() -> None:
    line = "x: a" + " " * 60_000 + "b"
    assert parse_policy(written(*LINES, line)) == POLICY


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([*LINES, "mode: none", "x", "mx: ."])).map(lambda x: written(*x))
)
def test_any_octets_are_a_policy_or_none(octets: bytes) -> None:
    try:
        policy = parse_policy(octets)
    except ValueError:
        return
    assert policy.mode is Mode.NONE or policy.mx
    assert 0 <= policy.max_age <= 31_557_600


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("mx.example", True),
        ("a.mx.example", False),
        ("example", False),
        ("a.example.net", True),
        ("example.net", False),
        ("a.b.example.net", False),
        (".example.net", False),
        ("xexample.net", False),
        ("*.example.net", True),
        ("net", False),
        ("", False),
    ],
)
@pytest.mark.rfc("8461", "4.1")
def test_which_hosts_a_policy_names(host: str, covered: bool) -> None:
    assert POLICY.covers(host) is covered


# How long it holds ----------------------------------------------------------------------------------------------------


def policy_now(now: float, kept: Kept | None, text: str | None, octets: bytes | None) -> tuple[Kept | None, int]:
    """What holds, and how often it was fetched."""
    records = {} if text is None else {(f"_mta-sts.{DOMAIN}", Kind.TXT): [Txt(text)]}
    fetched: list[str] = []

    def fetch(url: str) -> bytes:
        fetched.append(url)
        if octets is None:
            raise TimeoutError
        return octets

    return run(sts_policy(DOMAIN, kept, now=now), Given(records), fetch), len(fetched)


KEPT = Kept(POLICY, "1", 1000.0)
OTHER = Policy(Mode.NONE, (), 50)
OTHER_WRITTEN = written("version: STSv1", "mode: none", "max_age: 50")


@pytest.mark.parametrize(
    ("now", "text", "octets", "holds", "fetches"),
    [
        (10.0, "v=STSv1; id=1", None, KEPT, 0),
        (10.0, "v=STSv1; id=2", OTHER_WRITTEN, Kept(OTHER, "2", 60.0), 1),
        (10.0, "v=STSv1; id=2", None, KEPT, 1),
        (10.0, "v=STSv1; id=2", b"junk", KEPT, 1),
        (10.0, "v=STSv1; id=2", b"\xff", KEPT, 1),
        (10.0, "junk", None, KEPT, 0),
        (10.0, None, None, KEPT, 0),
        (1000.0, "v=STSv1; id=1", None, None, 1),
        (1000.0, "v=STSv1; id=1", written(*LINES), KEPT._replace(until=1000.0 + 604_800), 1),
        (1000.0, None, None, None, 0),
    ],
)
@pytest.mark.rfc("8461", "3.3")
@pytest.mark.rfc("8461", "5.1")
def test_a_policy_holds_until_it_expires(
    now: float, text: str | None, octets: bytes | None, holds: Kept | None, fetches: int
) -> None:
    assert policy_now(now, KEPT, text, octets) == (holds, fetches)


def test_a_look_up_that_fails_leaves_what_is_kept() -> None:
    answers = Given({}, failing=[f"_mta-sts.{DOMAIN}"])
    assert run(sts_policy(DOMAIN, KEPT, now=10.0), answers) == KEPT
    assert run(sts_policy(DOMAIN, now=10.0), answers) is None


def test_there_is_no_policy_for_what_is_no_domain() -> None:
    with pytest.raises(InvalidDomain):
        run(sts_policy("192.0.2.1"), Given({}))
    with pytest.raises(InvalidDomain):
        run(sts_policy(".".join(["x" * 49] * 5)), Given({}))
