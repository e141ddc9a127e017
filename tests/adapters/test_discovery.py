"""Discovery, with records that are given: the order of hosts, what is refused, and what makes it stricter."""

from __future__ import annotations

import asyncio
import copy
import pickle
import ssl
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import EnhancedStatus, ErrorCode, Security
from smtpproto_adapters.discovery import (
    Address,
    Answer,
    Destination,
    DiscoveryFailed,
    Fetch,
    Given,
    InvalidDomain,
    Kept,
    Kind,
    LookupFailed,
    Lookups,
    MailLoop,
    Mode,
    Mx,
    NoHost,
    NoSubmission,
    NoSuchDomain,
    NullMx,
    Plan,
    Policy,
    PolicyMismatch,
    Query,
    Srv,
    Tlsa,
    Txt,
    arrange,
    domain_name,
    exchangers,
    rank,
    run,
    run_async,
    sts_policy,
    submission,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smtpproto_adapters.discovery.records import Record

DOMAIN = "example.org"
SECURITIES = [Security.NONE, Security.OPPORTUNISTIC, Security.REQUIRED, Security.IMPLICIT]


def mx(*hosts: tuple[int, str]) -> dict[tuple[str, Kind], list[Record]]:
    return {(DOMAIN, Kind.MX): [Mx(*host) for host in hosts]}


def plan_for(records: dict[tuple[str, Kind], list[Record]], **settings: Any) -> Plan:
    secure = settings.pop("secure", False)
    failing = settings.pop("failing", ())
    settings.setdefault("random", Random(1))
    return run(exchangers(DOMAIN, **settings), Given(records, secure=secure, failing=failing))


def hosts_of(plan: Plan) -> list[str]:
    return [each.host for each in plan.destinations]


# Names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("localhost", "localhost"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a_b.example", "a_b.example"),
        ("1.example", "1.example"),
        ("x" * 63 + ".example", "x" * 63 + ".example"),
        (".".join(["x" * 63] * 3 + ["X" * 61]) + ".", ".".join(["x" * 63] * 3 + ["x" * 61])),
    ],
)
@pytest.mark.rfc("1035", "2.3.3")
def test_a_domain_has_one_form(text: str, name: str) -> None:
    assert domain_name(text) == name
    assert domain_name(name) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "example..org",
        ".example.org",
        "example.org..",
        "192.0.2.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "example.0x",
        "example.1",
        "[192.0.2.1]",
        "::1",
        "-oProxyCommand.example",
        "a-.example",
        "a b.example",
        "a\n.example",
        "example.org\n",
        "a\0.example",
        "user@example.org",
        "example.org/x",
        "example.org:25",
        "x" * 64 + ".example",
        ".".join(["x" * 63] * 3 + ["x" * 62]),
        "x" * 100_000,
    ],
)
@pytest.mark.rfc("1035", "2.3.4")
def test_what_is_no_domain(text: str) -> None:
    with pytest.raises(InvalidDomain) as caught:
        domain_name(text)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert len(str(caught.value)) < 400
    assert str(caught.value.reply.code) == "501"


@given(st.text(max_size=300))
def test_any_text_is_a_domain_or_is_refused(text: str) -> None:
    try:
        name = domain_name(text, lambda domain: domain.encode("idna"))
    except InvalidDomain:
        return
    assert name.isascii()
    assert name == name.lower()
    assert 0 < len(name) <= 253
    assert all(0 < len(label) <= 63 for label in name.split("."))
    assert domain_name(name) == name


@pytest.mark.rfc("5890", "2.3.2.1")
def test_a_domain_in_unicode_needs_an_encoder() -> None:
    with pytest.raises(InvalidDomain, match="A-labels"):
        domain_name("bücher.example")
    assert domain_name("Bücher.Example", lambda text: text.encode("idna")) == "xn--bcher-kva.example"
    assert domain_name("bücher.example", lambda _: "B.example") == "b.example"

    def refuse(_: str) -> bytes:
        raise UnicodeError("no such label")

    with pytest.raises(InvalidDomain, match="no such label"):
        domain_name("bücher.example", refuse)
    with pytest.raises(InvalidDomain):
        domain_name("bücher.example", lambda _: "127.1")
    with pytest.raises(InvalidDomain):
        domain_name("bücher.example", lambda text: text)


# MX -----------------------------------------------------------------------------------------------------------------

host_names = st.from_regex(r"[a-z][a-z0-9]{0,5}\.example", fullmatch=True)
mx_records = st.lists(st.builds(Mx, st.integers(0, 65535) | st.integers(0, 2), host_names), min_size=1, max_size=20)


@given(mx_records, st.integers())
@pytest.mark.rfc("5321", "5.1")
def test_the_lowest_preference_comes_first(records: list[Mx], seed: int) -> None:
    ranked = rank(DOMAIN, Answer(tuple(records)), Random(seed))
    preferences = [each.preference for each in ranked.hosts]
    assert preferences == sorted(preferences)
    assert {each.exchange for each in ranked.hosts} == {each.exchange for each in records}
    assert len(ranked.hosts) == len({each.exchange for each in records})
    for each in ranked.hosts:
        assert each.preference == min(record.preference for record in records if record.exchange == each.exchange)
    assert rank(DOMAIN, Answer(tuple(records)), Random(seed)) == ranked


@pytest.mark.rfc("5321", "5.1")
def test_equals_are_tried_by_chance() -> None:
    records = Answer((Mx(10, "a.example"), Mx(10, "b.example"), Mx(10, "c.example"), Mx(20, "d.example")))
    chance = Random(7)
    orders = Counter(tuple(each.exchange for each in rank(DOMAIN, records, chance).hosts) for _ in range(600))
    assert len(orders) == 6
    assert all(order[-1] == "d.example" for order in orders)
    assert min(orders.values()) > 50


def test_without_a_source_of_chance_it_is_the_systems() -> None:
    records = mx(*((10, f"mx{number}.example") for number in range(20)))
    orders = {tuple(hosts_of(plan_for(records, random=None))) for _ in range(4)}
    assert len(orders) > 1


@pytest.mark.rfc("5321", "5.1")
def test_a_domain_without_mx_records_is_its_own_exchanger() -> None:
    plan = plan_for({(DOMAIN, Kind.TXT): [Txt("v=spf1 -all")]})
    (destination,) = plan.destinations
    assert (destination.host, destination.preference, destination.port) == (DOMAIN, 0, 25)
    assert "no MX record" in destination.why


@pytest.mark.rfc("5321", "5.1")
def test_a_domain_that_does_not_exist() -> None:
    with pytest.raises(NoSuchDomain) as caught:
        plan_for({})
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.NAME_NOT_FOUND, False)
    assert caught.value.reply.enhanced == EnhancedStatus(5, 1, 2)


@pytest.mark.parametrize("exchange", [".", ""])
@pytest.mark.parametrize("preference", [0, 10])
@pytest.mark.rfc("7505", "3")
@pytest.mark.rfc("7505", "4.1")
def test_null_mx(exchange: str, preference: int) -> None:
    with pytest.raises(NullMx) as caught:
        plan_for(mx((preference, exchange)))
    reply = caught.value.reply
    assert (reply.code, reply.enhanced) == (556, EnhancedStatus(5, 1, 10))
    assert str(caught.value) in str(reply)
    assert not caught.value.retryable


@pytest.mark.rfc("7505", "3")
def test_a_null_mx_beside_others_is_none() -> None:
    plan = plan_for(mx((0, "."), (10, "mx.example")))
    assert hosts_of(plan) == ["mx.example"]
    assert [left.host for left in plan.left_out] == ["."]


NO_HOSTS = ["192.0.2.1", "127.1", "0x7f.1", "::1", "a b.example", "a\\.b", "x" * 300, "-x.y", "ü.x"]


@pytest.mark.parametrize("exchange", NO_HOSTS)
@pytest.mark.rfc("5321", "5.1")
def test_a_host_that_is_none_is_left_out(exchange: str) -> None:
    plan = plan_for(mx((0, exchange), (10, "MX.Example.")))
    assert hosts_of(plan) == ["mx.example"]
    assert [left.host for left in plan.left_out] == [exchange]
    with pytest.raises(NoHost) as caught:
        plan_for(mx(*[(0, exchange)] * 5, (1, "10.0.0.1")))
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isascii()
    assert "and 3 more" in str(caught.value)
    assert caught.value.reply.enhanced == EnhancedStatus(5, 4, 4)


@pytest.mark.rfc("5321", "5.1")
def test_a_relay_leaves_out_itself_and_all_that_is_not_better() -> None:
    records = mx((5, "a.example"), (10, "b.example"), (10, "me.example"), (20, "c.example"))
    assert hosts_of(plan_for(records, own_names=["ME.example."])) == ["a.example"]
    assert hosts_of(plan_for(records, own_names=["other.example"]))[0] == "a.example"
    with pytest.raises(MailLoop) as caught:
        plan_for(records, own_names=["me.example", "a.example"])
    assert caught.value.reply.code == 554
    with pytest.raises(MailLoop):
        plan_for({(DOMAIN, Kind.TXT): []}, own_names=[DOMAIN])


def test_so_many_records_are_an_attack() -> None:
    assert len(plan_for(mx(*((0, f"h{number}.example") for number in range(100)))).destinations) == 100
    with pytest.raises(LookupFailed, match="more than 100 records"):
        plan_for(mx(*((0, f"h{number}.example") for number in range(101))))


@pytest.mark.rfc("5321", "5.1")
def test_a_look_up_that_fails_is_to_be_tried_again() -> None:
    with pytest.raises(LookupFailed) as caught:
        plan_for(mx((0, "mx.example")), failing=[DOMAIN])
    assert caught.value.retryable
    assert caught.value.reply.enhanced == EnhancedStatus(4, 4, 3)


def test_records_of_another_kind_are_passed_over() -> None:
    plan = run(exchangers(DOMAIN), Given({(DOMAIN, Kind.MX): [Txt("mx.example"), Mx(1, "a.example")]}))
    assert hosts_of(plan) == ["a.example"]


anything = st.text(max_size=30) | host_names
some_records = st.lists(
    st.builds(Mx, st.integers(0, 65535), anything)
    | st.builds(Srv, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535), anything)
    | st.builds(Tlsa, st.integers(0, 4), st.integers(0, 3), st.integers(0, 4), st.binary(max_size=70))
    | st.builds(Txt, st.text(max_size=60) | st.just("v=STSv1; id=1;"))
    | st.builds(Address, anything),
    max_size=12,
)


class Anyhow:
    """Answers with anything."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def look_up(self, query: Query) -> Answer:
        assert len(query.name) <= 253
        if self.data.draw(st.integers(0, 9)) == 0:
            raise LookupFailed("no", query.name)
        return Answer(
            tuple(self.data.draw(some_records)),
            self.data.draw(st.booleans()),
            self.data.draw(st.booleans()),
            self.data.draw(st.just("") | anything),
        )

    def fetch(self, _: str) -> bytes:
        return self.data.draw(st.binary(max_size=60) | st.just(POLICY))


POLICY = b"version: STSv1\nmode: enforce\nmx: *.example\nmax_age: 60\n"


def plan_or_failure(flow: Lookups[Plan], answers: Anyhow) -> Plan | DiscoveryFailed:
    try:
        return run(flow, answers)
    except DiscoveryFailed as failure:
        return failure


@given(st.data(), st.booleans())
def test_whatever_the_dns_says_there_are_hosts_or_a_reason(data: st.DataObject, dane: bool) -> None:
    answers = Anyhow(data)
    kept = run(sts_policy(DOMAIN, now=1.0), answers, answers.fetch)
    policy = None if kept is None else kept.policy
    for flow in (exchangers(DOMAIN, policy=policy, dane=dane), submission(DOMAIN)):
        plan = plan_or_failure(flow, answers)
        if isinstance(plan, DiscoveryFailed):
            assert str(plan)
            assert plan.reply.is_transient is plan.retryable
            continue
        assert plan.destinations
        for each in plan.destinations:
            assert each.host == domain_name(each.host)
            target = each.options().resolve()
            assert (target.host, target.port, target.security) == (each.host, each.port, each.security)


# What a destination is for a client -----------------------------------------------------------------------------------


@pytest.mark.parametrize("security", SECURITIES)
@pytest.mark.parametrize("server_name", ["mx.example", "other.example"])
def test_a_destination_is_options_for_a_client(security: Security, server_name: str) -> None:
    destination = Destination("mx.example", 2525, security, server_name, True, 10, "why")
    target = destination.options(client_name="me.example").resolve()
    assert (target.host, target.host_name, target.port) == ("mx.example", server_name, 2525)
    assert target.security is security
    assert destination.tls_required is (security in (Security.REQUIRED, Security.IMPLICIT))
    assert destination.options(port=25).resolve().port == 25


@pytest.mark.parametrize("verify", [True, False])
def test_its_context_verifies_what_is_to_be_verified(verify: bool) -> None:
    context = Destination("mx.example", 25, Security.OPPORTUNISTIC, "mx.example", verify, 10, "why").context()
    assert context.check_hostname is verify
    assert context.verify_mode is (ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_where_nothing_is_said_tls_is_opportunistic() -> None:
    (destination,) = plan_for(mx((10, "mx.example"))).destinations
    assert (destination.security, destination.verify, destination.tlsa) == (Security.OPPORTUNISTIC, False, None)
    assert not destination.confirm


@pytest.mark.parametrize("kind", DiscoveryFailed.__subclasses__())
def test_failures_are_errors_like_all_others(kind: type[DiscoveryFailed]) -> None:
    failure = kind("there is none", DOMAIN)
    for each in (pickle.loads(pickle.dumps(failure)), copy.copy(failure)):
        assert (type(each), str(each), each.domain) == (kind, "there is none", DOMAIN)
    enhanced = failure.reply.enhanced
    assert enhanced is not None
    assert enhanced.class_ == failure.reply.code // 100
    assert failure.retryable is failure.reply.is_transient


@pytest.mark.rfc("5321", "4.5.3.1.5")
def test_what_others_say_is_one_line_of_a_reply() -> None:
    reply = LookupFailed("a\r\n250 ok\udcff\0é" + "x" * 1000, DOMAIN).reply
    assert reply.lines[0].startswith("4.4.3 a??250 ok???xxx")
    assert len(reply.lines) == 1
    assert len(bytes(reply)) <= 512


# Submission -----------------------------------------------------------------------------------------------------------


def submission_of(services: dict[str, list[Srv]], *, failing: Iterable[str] = (), **settings: Any) -> Plan:
    records: dict[tuple[str, Kind], list[Record]] = {
        (f"_{label}._tcp.{DOMAIN}", Kind.SRV): list(found) for label, found in services.items()
    }
    failures = [f"_{label}._tcp.{DOMAIN}" for label in failing]
    return run(submission(DOMAIN, random=Random(3)), Given(records, failing=failures, **settings))


@pytest.mark.rfc("6186", "3.1")
@pytest.mark.rfc("8314", "3.3")
@pytest.mark.rfc("8314", "5.1")
def test_tls_from_the_start_comes_before_starttls() -> None:
    plan = submission_of(
        {
            "submission": [Srv(0, 1, 587, "mail.example.org")],
            "submissions": [Srv(20, 1, 465, "b.example.org."), Srv(10, 1, 1465, "A.example.org")],
        }
    )
    assert [(each.host, each.port, each.security) for each in plan.destinations] == [
        ("a.example.org", 1465, Security.IMPLICIT),
        ("b.example.org", 465, Security.IMPLICIT),
        ("mail.example.org", 587, Security.REQUIRED),
    ]
    assert all(each.verify and each.tls_required for each in plan.destinations)


@pytest.mark.rfc("6186", "6")
def test_a_host_elsewhere_is_to_be_confirmed() -> None:
    hosts = ["mail.example.org", "example.org", "notexample.org", "mail.example.net"]
    services = {"submissions": [Srv(number, 0, 465, host) for number, host in enumerate(hosts)]}
    assert [each.confirm for each in submission_of(services).destinations] == [False, False, True, True]
    assert not any(each.confirm for each in submission_of(services, secure=True).destinations)


@pytest.mark.rfc("6186", "3.4")
def test_a_root_for_a_target_says_that_there_is_no_such_service() -> None:
    plan = submission_of({"submissions": [Srv(0, 0, 0, ".")], "submission": [Srv(0, 1, 587, "mail.example.org")]})
    assert hosts_of(plan) == ["mail.example.org"]
    assert plan.left_out == ()
    with pytest.raises(NoSubmission):
        submission_of({"submissions": [Srv(0, 0, 0, ".")], "submission": [Srv(0, 0, 0, ".")]})


@pytest.mark.rfc("6186", "4")
def test_a_domain_without_srv_records_names_no_server() -> None:
    with pytest.raises(NoSubmission, match="postmaster"):
        submission_of({})


def test_servers_that_are_none_are_left_out() -> None:
    services = {"submissions": [Srv(0, 1, 465, "127.1"), Srv(0, 1, 0, "mail.example.org")]}
    with pytest.raises(NoHost):
        submission_of(services)
    plan = submission_of(services | {"submission": [Srv(0, 1, 587, "mail.example.org")]})
    assert {left.host for left in plan.left_out} == {"127.1", "mail.example.org"}
    assert hosts_of(plan) == ["mail.example.org"]


def test_a_look_up_of_a_service_that_fails_leaves_the_other() -> None:
    services = {"submission": [Srv(0, 1, 587, "mail.example.org")]}
    assert hosts_of(submission_of(services, failing=["submissions"])) == ["mail.example.org"]
    with pytest.raises(LookupFailed):
        submission_of({}, failing=["submissions"])


def test_a_domain_that_leaves_no_room_for_the_service_is_none() -> None:
    domain = ".".join(["x" * 49] * 5)
    with pytest.raises(InvalidDomain, match="cannot be looked up"):
        run(submission(domain), Given({}))


weights = st.integers(0, 65535) | st.integers(0, 3)
srv_records = st.lists(st.builds(Srv, st.integers(0, 3), weights, st.integers(1, 65535), host_names), max_size=20)


@given(srv_records, st.integers())
def test_servers_are_tried_by_priority(records: list[Srv], seed: int) -> None:
    order = arrange(records, Random(seed))
    assert Counter(order) == Counter(records)
    assert [each.priority for each in order] == sorted(each.priority for each in records)
    assert arrange(records, Random(seed)) == order


def test_the_weight_is_the_share() -> None:
    """RFC 2782: one of weight 3 comes first three times as often as one of weight 1, and one of weight 0 seldom."""
    records = [Srv(0, 300, 1, "a.example"), Srv(0, 100, 1, "b.example"), Srv(0, 0, 1, "c.example")]
    chance = Random(11)
    first = Counter(arrange(records, chance)[0].target for _ in range(4000))
    assert 2.5 < first["a.example"] / first["b.example"] < 3.5
    assert first["c.example"] < 40


def test_without_weights_all_have_the_same_chance() -> None:
    records = [Srv(0, 0, 1, f"{name}.example") for name in "abc"]
    chance = Random(5)
    orders = Counter(tuple(each.target for each in arrange(records, chance)) for _ in range(1200))
    assert len(orders) == 6
    assert min(orders.values()) > 120


def test_one_without_weight_has_a_small_chance() -> None:
    class Lowest(Random):
        def randint(self, a: int, b: int) -> int:
            return a

    records = [Srv(0, 5, 1, "a.example"), Srv(0, 0, 1, "b.example")]
    for seed in range(20):
        assert [each.target for each in arrange(records, Lowest(seed))] == ["b.example", "a.example"]


# MTA-STS: what it makes of a destination ------------------------------------------------------------------------------


@pytest.mark.rfc("8461", "5")
@pytest.mark.rfc("8461", "4.1")
def test_a_policy_that_is_enforced_leaves_out_what_it_does_not_name() -> None:
    policy = Policy(Mode.ENFORCE, ("*.example",), 60)
    plan = plan_for(mx((0, "evil.test"), (10, "mx.example"), (20, "a.mx.example")), policy=policy)
    (destination,) = plan.destinations
    assert (destination.host, destination.server_name) == ("mx.example", "mx.example")
    assert (destination.security, destination.verify) == (Security.REQUIRED, True)
    assert [left.host for left in plan.left_out] == ["evil.test", "a.mx.example"]


@pytest.mark.rfc("8461", "5")
def test_where_the_policy_allows_no_host_the_mail_waits() -> None:
    with pytest.raises(PolicyMismatch) as caught:
        plan_for(mx((0, "evil.test")), policy=Policy(Mode.ENFORCE, ("mx.example",), 60))
    assert caught.value.retryable
    assert caught.value.code is ErrorCode.WRONG_HOST_NAME


@pytest.mark.parametrize("mode", [Mode.TESTING, Mode.NONE])
@pytest.mark.rfc("8461", "5")
def test_a_policy_that_is_not_enforced_changes_nothing(mode: Mode) -> None:
    records = mx((0, "evil.test"), (10, "mx.example"))
    plan = plan_for(records, policy=Policy(mode, ("mx.example",), 60))
    without = plan_for(records)
    assert [each._replace(why="") for each in plan.destinations] == [
        each._replace(why="") for each in without.destinations
    ]
    assert ("on trial" in plan.destinations[0].why) is (mode is Mode.TESTING)
    assert plan.destinations[1] == without.destinations[1]


# Running --------------------------------------------------------------------------------------------------------------


class Later:
    def __init__(self, answers: Given) -> None:
        self.answers = answers

    async def look_up(self, query: Query) -> Answer:
        return self.answers.look_up(query)


def run_in_asyncio(flow: Lookups[Any], answers: Given, fetch: Callable[[str], bytes] | None) -> Any:
    async def main() -> Any:
        return await run_async(flow, Later(answers), None if fetch is None else later(fetch))

    return asyncio.run(main())


def run_in_trio(flow: Lookups[Any], answers: Given, fetch: Callable[[str], bytes] | None) -> Any:
    async def main() -> Any:
        return await run_async(flow, Later(answers), None if fetch is None else later(fetch))

    return trio.run(main)


def later(fetch: Callable[[str], bytes]) -> Any:
    async def fetching(url: str) -> bytes:
        return fetch(url)

    return fetching


@pytest.fixture(params=[run, run_in_asyncio, run_in_trio], ids=["blocking", "asyncio", "trio"])
def running(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_flow_runs_on_anything(running: Any) -> None:
    assert hosts_of(running(exchangers(DOMAIN), Given(mx((0, "mx.example"))), None)) == ["mx.example"]
    with pytest.raises(NullMx):
        running(exchangers(DOMAIN), Given(mx((0, "."))), None)


@pytest.mark.rfc("8461", "3.3")
def test_a_policy_is_fetched_by_the_program(running: Any) -> None:
    answers = Given({(f"_mta-sts.{DOMAIN}", Kind.TXT): [Txt("v=STSv1; id=a1;")]})
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return POLICY

    kept = running(sts_policy(DOMAIN, now=100.0), answers, fetch)
    assert kept == Kept(Policy(Mode.ENFORCE, ("*.example",), 60), "a1", 160.0)
    assert asked == [f"https://mta-sts.{DOMAIN}/.well-known/mta-sts.txt"]


@pytest.mark.parametrize("error", [OSError("refused"), TimeoutError(), LookupFailed("404", "x"), None])
def test_a_policy_that_cannot_be_fetched_is_none(running: Any, error: Exception | None) -> None:
    answers = Given({(f"_mta-sts.{DOMAIN}", Kind.TXT): [Txt("v=STSv1; id=a1;")]})

    def fetch(_: str) -> bytes:
        assert error is not None
        raise error

    assert running(sts_policy(DOMAIN), answers, None if error is None else fetch) is None


def test_a_look_up_that_the_system_refuses_failed() -> None:
    class Refusing:
        def look_up(self, query: Query) -> Answer:
            raise PermissionError(f"no {query.kind.value}")

    with pytest.raises(LookupFailed, match=r"example\.org cannot be had: no MX"):
        run(exchangers(DOMAIN), Refusing())


def test_a_flow_ends_with_what_ran_it() -> None:
    """Whatever a look-up raises that is its own bug comes out, and the flow is closed."""
    closed: list[bool] = []

    def flow() -> Lookups[None]:
        try:
            yield Query("a.example", Kind.MX)
            yield Fetch("https://a.example")
        finally:
            closed.append(True)

    class Broken:
        def look_up(self, query: Query) -> Answer:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(flow(), Broken())
    assert closed == [True]
