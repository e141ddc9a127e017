"""What an offer says against a command: the same at both ends, for the program at the one and the peer at the other."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import (
    Auth,
    BadCommand,
    Bdat,
    Burl,
    Command,
    CommandReceived,
    Data,
    Ehlo,
    EndOfData,
    Etrn,
    Expn,
    Extensions,
    Helo,
    Help,
    Lhlo,
    LocalProtocolError,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reply,
    Rset,
    StartTls,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from smtpproto.offer import NO_TALLY, Objection, Tally, domain_of, objection
from smtpproto.parameters import DeliverBy, OriginalRecipient, ValidSince
from tests import strategies
from tests.driving import EVERYTHING, ask, ready_client, ready_server, receive


class Here:
    """Where a session stands."""

    def __init__(self, *offer: str, secure: bool = False, authenticated: bool = False) -> None:
        self.extensions = Extensions(offer)
        self.secure = secure
        self.authenticated = authenticated
        self.tally = Tally()

    def after(self, *commands: Command) -> Here:
        for command in commands:
            self.tally.note(command, self.extensions)
        return self


def moments() -> st.SearchStrategy[datetime]:
    zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    return st.datetimes(min_value=datetime(1000, 1, 1), timezones=zones)  # noqa: DTZ001 - the zone is drawn


def found(command: Command, here: Here) -> tuple[int, str] | None:
    """The code of the objection, and its status."""
    objected = objection(command, here)
    return None if objected is None else (objected.code, objected.status)


# -- extensions that are missing ----------------------------------------------------------------------------------

MISSING: list[tuple[Command, str, int, str]] = [
    (StartTls(), "STARTTLS", 502, "5.5.1"),
    (Auth("PLAIN"), "AUTH PLAIN", 502, "5.5.1"),
    (Bdat(0), "CHUNKING", 502, "5.5.1"),
    (Burl("imap://x.example/y"), "BURL", 502, "5.5.1"),
    (Etrn("x.example"), "ETRN", 502, "5.5.1"),
    (XClient({"NAME": "x"}), "XCLIENT NAME", 502, "5.5.1"),
    (XForward({"NAME": "x"}), "XFORWARD NAME", 502, "5.5.1"),
    (Vrfy("\u00fc"), "SMTPUTF8", 504, "5.5.4"),
    (Expn("x", smtputf8=True), "SMTPUTF8", 504, "5.5.4"),
    (Mail("", size=5), "SIZE", 555, "5.5.4"),
    (Mail("", body="8BITMIME"), "8BITMIME", 555, "5.5.4"),
    (Mail("", body="7BIT"), "8BITMIME", 555, "5.5.4"),
    (Mail("", body="BINARYMIME"), "BINARYMIME", 555, "5.5.4"),
    (Mail("", smtputf8=True), "SMTPUTF8", 555, "5.5.4"),
    (Mail("", ret="HDRS"), "DSN", 555, "5.5.4"),
    (Mail("", envid="x"), "DSN", 555, "5.5.4"),
    (Mail("", auth=""), "AUTH PLAIN", 555, "5.5.4"),
    (Mail("", by=DeliverBy(60, "R")), "DELIVERBY", 555, "5.5.4"),
    (Mail("", hold_for=60), "FUTURERELEASE 60 2026-11-23T09:00:00Z", 555, "5.5.4"),
    (Mail("", hold_until="2026-11-23T09:00:00Z"), "FUTURERELEASE 60 2026-11-23T09:00:00Z", 555, "5.5.4"),
    (Mail("", mt_priority=3), "MT-PRIORITY", 555, "5.5.4"),
    (Mail("", solicit=("a.example:x",)), "NO-SOLICITING", 555, "5.5.4"),
    (Rcpt("b@y.example", notify=("NEVER",)), "DSN", 555, "5.5.4"),
    (Rcpt("b@y.example", orcpt=OriginalRecipient("rfc822", "b@y.example")), "DSN", 555, "5.5.4"),
    (Rcpt("b@y.example", rrvs=ValidSince("2026-11-23T09:00:00Z")), "RRVS", 555, "5.5.4"),
    (Rcpt("\u00fc@y.example"), "SMTPUTF8", 555, "5.5.4"),
]


@pytest.mark.rfc("5321", "4.1.1.11")
@pytest.mark.rfc("3030", "3")
@pytest.mark.rfc("3461", "5.2.2")
@pytest.mark.rfc("5321", "4.1.1.3")
@pytest.mark.parametrize(("command", "line", "code", "status"), MISSING, ids=lambda value: str(value)[:40])
def test_what_is_not_offered_has_no_place(command: Command, line: str, code: int, status: str) -> None:
    keyword = line.partition(" ")[0]
    objected = objection(command, Here("XYZZY"))
    assert objected is not None
    assert (objected.code, objected.status) == (code, status)
    assert f"needs the extension {keyword}, which is not offered" in objected.text
    assert objected.reply == Reply(code, f"{status} {objected.text}")
    assert objection(command, Here(line)) is None


@pytest.mark.parametrize(("command", "line", "code", "status"), MISSING, ids=lambda value: str(value)[:40])
def test_both_ends_say_the_same(command: Command, line: str, code: int, status: str) -> None:
    """The client before it sends, and the server when it has received."""
    client, server = ready_client("PIPELINING"), ready_server("PIPELINING")
    if isinstance(command, Rcpt | Bdat | Burl):
        # A chunk without a recipient is out of sequence, and that comes first.
        for each in (Mail(""), Rcpt("a@y.example")):
            ask(client, each, b"250 ok\r\n")
            receive(server, bytes(each))
            server.send(Reply(250))
    said = client.objection(command)
    assert said is not None
    with pytest.raises(LocalProtocolError) as caught:
        client.send(command)
    assert str(caught.value) == said
    octets = b"x" * command.size if isinstance(command, Bdat) else b""
    (event,) = receive(server, bytes(command) + octets)
    assert isinstance(event, BadCommand)
    assert event.reply == Reply(code, f"{status} {said}")


@given(strategies.commands())
def test_nothing_is_against_what_needs_nothing(command: Command) -> None:
    plain = type(command) in {Ehlo, Helo, Lhlo, Rset, Noop, Quit, Help, Data, UnknownCommand}
    assert objection(command, Here()) is None or not plain
    assert objection(EndOfData(), Here()) is None


@given(strategies.commands())
def test_an_objection_is_a_reply_that_refuses(command: Command) -> None:
    for here in (Here(), Here(*EVERYTHING), Here(*EVERYTHING, secure=True, authenticated=True)):
        objected = objection(command, here)
        if objected is not None:
            assert objected.reply.is_permanent
            assert str(objected.reply.enhanced) == objected.status


def test_an_objection_is_a_value() -> None:
    assert Objection("no", 503, "5.5.1") == Objection("no", 503, "5.5.1") != Objection("no", 503, "5.5.0")
    assert str(Objection("no", 503, "5.5.1").reply) == "503 5.5.1 no"


# -- what was done already ----------------------------------------------------------------------------------------


@pytest.mark.rfc("3207", "4")
def test_starttls_comes_once() -> None:
    assert found(StartTls(), Here("STARTTLS", secure=True)) == (503, "5.5.1")
    # That is told better than that it is not offered, as it no longer is.
    assert found(StartTls(), Here(secure=True)) == (503, "5.5.1")
    assert found(StartTls(), Here("STARTTLS")) is None


@pytest.mark.rfc("4954", "4")
def test_auth_succeeds_once() -> None:
    assert found(Auth("PLAIN"), Here("AUTH PLAIN", authenticated=True)) == (503, "5.5.1")
    assert found(Auth("PLAIN"), Here("AUTH PLAIN")) is None


# -- numbers in the offer -----------------------------------------------------------------------------------------


@pytest.mark.rfc("1870", "6.1")
@given(size=st.integers(0, 2**40), largest=st.integers(1, 2**40))
def test_size(size: int, largest: int) -> None:
    here = Here(f"SIZE {largest}")
    assert found(Mail("", size=size), here) == ((552, "5.3.4") if size > largest else None)


@pytest.mark.rfc("1870", "4")
@pytest.mark.rfc("1870", "3")
@pytest.mark.parametrize("line", ["SIZE", "SIZE 0", "SIZE many"])
def test_a_size_without_a_number_is_no_limit(line: str) -> None:
    assert found(Mail("", size=10**19), Here(line)) is None


@pytest.mark.rfc("2852", "4.1")
@pytest.mark.parametrize(
    ("offer", "by", "expected"),
    [
        ("DELIVERBY 60", DeliverBy(59, "R"), (501, "5.5.4")),
        ("DELIVERBY 60", DeliverBy(60, "R"), None),
        ("DELIVERBY 60", DeliverBy(-5, "N"), None),
        ("DELIVERBY 60", DeliverBy(5, "N", trace=True), None),
        ("DELIVERBY", DeliverBy(1, "R"), None),
        ("DELIVERBY 0", DeliverBy(1, "R"), None),
    ],
)
def test_deliver_by(offer: str, by: DeliverBy, expected: tuple[int, str] | None) -> None:
    assert found(Mail("", by=by), Here(offer)) == expected


@pytest.mark.rfc("4865", "4")
@pytest.mark.parametrize(
    ("offer", "seconds", "expected"),
    [
        ("FUTURERELEASE 86400 2026-11-23T09:00:00Z", 86_401, (501, "5.5.4")),
        ("FUTURERELEASE 86400 2026-11-23T09:00:00Z", 86_400, None),
        ("FUTURERELEASE", 999_999_999, None),
    ],
)
def test_future_release(offer: str, seconds: int, expected: tuple[int, str] | None) -> None:
    assert found(Mail("", hold_for=seconds), Here(offer)) == expected


@pytest.mark.rfc("4865", "4")
@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("2026-11-23T09:00:00Z", None),
        ("2026-11-23T09:01:00Z", (501, "5.5.4")),
        ("2026-11-23t10:00:59.5+01:00", None),
        ("2026-11-23T08:00:00-01:01", (501, "5.5.4")),
        ("2026-11-23T08:00:00-01:00", None),
        ("2027-01-01T00:00:00Z", (501, "5.5.4")),
        ("2024-02-29T23:59:60Z", None),
    ],
)
def test_future_release_until(until: str, expected: tuple[int, str] | None) -> None:
    for offer, objected in (
        ("FUTURERELEASE 86400 2026-11-23T09:00:00Z", expected),
        ("FUTURERELEASE 86400 2026-11-23T14:30:00+05:30", expected),
        ("FUTURERELEASE 86400 tomorrow", None),
        ("FUTURERELEASE 86400", None),
        ("FUTURERELEASE", None),
    ):
        assert found(Mail("", hold_until=until), Here(offer)) == objected


@pytest.mark.rfc("4865", "4")
@given(moments(), moments())
def test_date_times_are_compared_as_moments(until: datetime, latest: datetime) -> None:
    here = Here(f"FUTURERELEASE 86400 {latest.isoformat(timespec='seconds')}")
    later = until.replace(second=0) > latest.replace(second=0)
    assert found(Mail("", hold_until=until.isoformat(timespec="seconds")), here) == ((501, "5.5.4") if later else None)


@pytest.mark.rfc("8689", "4.2.1")
def test_requiretls_needs_tls_and_its_offer() -> None:
    required = Mail("", require_tls=True)
    assert found(required, Here("REQUIRETLS", secure=True)) is None
    assert found(required, Here(secure=True)) == (555, "5.5.4")
    for offer, expected in (((), (555, "5.5.4")), (("REQUIRETLS",), (530, "5.7.0"))):
        here = Here(*offer)
        assert found(required, here) == expected
        objected = objection(required, here)
        assert objected is not None
        assert "needs TLS on this connection" in objected.text


@pytest.mark.rfc("6531", "3.4")
def test_a_recipient_that_is_not_ascii_needs_smtputf8_in_mail() -> None:
    recipient = Rcpt("\u00fc@y.example")
    here = Here("SMTPUTF8", "DSN", "XVERP")
    assert found(recipient, here.after(Mail(""))) == (553, "5.6.7")
    assert found(Rcpt("b@y.example", other={"XVERP": "\u00fc"}), here) == (553, "5.6.7")
    # utf-8-addr-xtext is ASCII.
    assert found(Rcpt("b@y.example", orcpt=OriginalRecipient("utf-8", "\u00fc@y.example")), here) is None
    assert found(Rcpt("b@y.example"), here) is None
    assert found(recipient, here.after(Mail("", smtputf8=True))) is None


@pytest.mark.rfc("3030", "3")
@pytest.mark.parametrize(("body", "expected"), [(None, None), ("8BITMIME", None), ("BINARYMIME", (503, "5.5.1"))])
def test_binarymime_never_goes_with_data(body: str | None, expected: tuple[int, str] | None) -> None:
    here = Here("8BITMIME", "BINARYMIME", "CHUNKING").after(Mail("", body=body))
    assert found(Data(), here) == expected
    assert found(Bdat(5), here) is None
    assert found(Data(), Here()) is None


@pytest.mark.parametrize(("verb", "command"), [("XCLIENT", XClient), ("XFORWARD", XForward)])
def test_attributes_are_those_of_the_offer(verb: str, command: Any) -> None:
    here = Here(f"{verb} NAME addr")
    assert found(command({"NAME": "x", "ADDR": "y"}), here) is None
    assert found(command({"NAME": "x", "PORT": "5"}), here) == (501, "5.5.4")
    objected = objection(command({"PORT": "5"}), here)
    assert objected is not None
    assert objected.text == f"{verb} PORT is not offered: there are NAME, ADDR"


# -- LIMITS -------------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9422", "4.1")
def test_mailmax() -> None:
    here = Here("LIMITS MAILMAX=2").after(Mail("a@x.example"), Rcpt("b@y.example"))
    assert found(Mail(""), here) is None
    assert found(Mail(""), here.after(Mail(""))) == (421, "4.7.0")
    assert found(Mail(""), Here("LIMITS RCPTMAX=2").after(Mail(""), Mail(""))) is None
    assert found(Mail(""), Here().after(Mail(""), Mail(""))) is None


@pytest.mark.rfc("9422", "4.2")
def test_rcptmax_is_of_one_transaction() -> None:
    here = Here("LIMITS RCPTMAX=2").after(Mail(""), Rcpt("a@y.example"))
    assert found(Rcpt("b@y.example"), here) is None
    assert found(Rcpt("c@y.example"), here.after(Rcpt("b@y.example"))) == (452, "4.5.3")
    assert found(Rcpt("c@y.example"), here.after(Mail(""))) is None


@pytest.mark.rfc("9422", "4.3")
def test_rcptdomainmax_is_of_one_session() -> None:
    here = Here("LIMITS RCPTMAX=9 RCPTDOMAINMAX=2").after(Mail(""), Rcpt("a@y.example"), Rcpt("b@Y.EXAMPLE"))
    assert here.tally.domains_with(Rcpt("c@y.example")) == 1
    assert found(Rcpt("c@z.example"), here) is None
    here.after(Rcpt("c@z.example"), Mail(""))
    assert found(Rcpt("d@y.example"), here) is None
    assert found(Rcpt("Postmaster"), here) == (452, "4.5.3")
    assert found(Rcpt("c@[192.0.2.1]"), here) == (452, "4.5.3")


def test_domains_are_kept_only_where_their_number_is_bounded() -> None:
    for offer in (("LIMITS RCPTMAX=9",), ()):
        here = Here(*offer).after(Mail(""), *(Rcpt(f"a@y{n}.example") for n in range(5)))
        assert here.tally.domains_with(Rcpt("b@x.example")) == 1
        assert here.tally.recipients == 5


@pytest.mark.parametrize(
    ("path", "domain"),
    [
        ("a@Y.example", "y.example"),
        ('"a@b"@y.example', "y.example"),
        ("Postmaster", ""),
        ("a@[192.0.2.1]", "[192.0.2.1]"),
        ("a@\u00dc.example", "\u00fc.example"),
    ],
)
def test_the_domain_that_counts(path: str, domain: str) -> None:
    assert domain_of(Rcpt(path)) == domain


def test_a_tally_counts() -> None:
    here = Here().after(Mail("a@x.example"), Rcpt("b@y.example"), Noop(), Rcpt("c@y.example"))
    tally = here.tally
    assert (tally.mail, tally.transactions, tally.recipients) == (Mail("a@x.example"), 1, 2)
    here.after(Mail(""))
    assert (tally.mail, tally.transactions, tally.recipients) == (Mail(""), 2, 0)
    assert (NO_TALLY.mail, NO_TALLY.transactions, NO_TALLY.recipients) == (None, 0, 0)


def test_a_copy_of_a_tally_goes_its_own_way() -> None:
    here = Here("LIMITS RCPTDOMAINMAX=9").after(Mail("a@x.example"), Rcpt("b@y.example"))
    copy = here.tally.copy()
    here.after(Rcpt("c@z.example"), Mail(""))
    assert (copy.mail, copy.transactions, copy.recipients) == (Mail("a@x.example"), 1, 1)
    assert (copy.domains_with(Rcpt("d@z.example")), here.tally.domains_with(Rcpt("d@w.example"))) == (2, 3)


# -- in step ------------------------------------------------------------------------------------------------------


@given(
    commands=st.lists(
        st.sampled_from(
            [
                Mail("a@x.example"),
                Mail("", size=99),
                Mail("", body="BINARYMIME"),
                Mail("", smtputf8=True),
                Rcpt("a@y.example"),
                Rcpt("b@z.example"),
                Rcpt("c@w.example"),
                Rcpt("\u00fc@y.example"),
                Rset(),
                Data(),
            ]
        ),
        max_size=25,
    ),
    refused=st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_what_a_client_may_send_a_server_with_the_same_offer_takes(
    commands: list[Command], refused: list[bool]
) -> None:
    offer = (
        "SIZE 50",
        "BINARYMIME",
        "CHUNKING",
        "SMTPUTF8",
        "LIMITS MAILMAX=3 RCPTMAX=2 RCPTDOMAINMAX=2",
    )
    client, server = ready_client(*offer), ready_server(*offer)
    for number, command in enumerate(commands):
        if client.objection(command) is not None:
            continue
        (event,) = receive(server, client.send(command))
        assert event == CommandReceived(command)
        no = refused[number % len(refused)]
        receive(client, server.send(Reply(451 if no or isinstance(command, Data) else 250)))
        assert client.tally.recipients == server.tally.recipients
        assert client.tally.transactions == server.tally.transactions
