"""`smtpproto explain`: what it says of recorded sessions, in whatever way they were written down, and never says."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest

# The tests of the core run where nothing but pytest is installed.
pytest.importorskip("rich")

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from smtpproto import ErrorCode
from smtpproto_adapters.cli.explain import recorded
from smtpproto_adapters.cli.explain.explaining import explain
from smtpproto_adapters.cli.explain.recorded import NoSession, Recording, Said
from smtpproto_adapters.cli.explain.transcripts import read
from tests.commanding import Command, on_terminal, start
from tests.replaying import FOLDER, NAMES
from tests.scripted import Close, Expect, Say, ScriptedServer, Step
from tests.test_transcripts import AGAINST_THE_RULES, BROKEN_OFF, TOO_EARLY

if TYPE_CHECKING:
    from pathlib import Path

    from smtpproto_adapters.cli.explain.explanation import Explanation

GOES_ON_UNANSWERED = "dovecot-auth-login"
"""The client sends its user name and its password although AUTH got no answer; who plays it stops there."""
WRONG = {*AGAINST_THE_RULES, *TOO_EARLY, *BROKEN_OFF, GOES_ON_UNANSWERED}
SECRET = "c2VjcmV0LVBhc3Mx"  # in the recordings, as LOGIN sends it


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def explained(text: str) -> Explanation:
    [one] = [explain(each) for each in read(text.encode("utf-8", "surrogateescape"))]
    return one


def fault_of(text: str) -> tuple[int, str, str] | None:
    fault = explained(text).fault
    return None if fault is None else (fault.where, fault.who, fault.rule)


def told(explanation: Explanation) -> str:
    """All that is told, as it is."""
    return "\n".join(
        [
            *(f"{each.text} {each.meanings}" for each in explanation.lines),
            str(explanation.fault),
            explanation.recording.form,
        ]
    )


# Recordings of octets -----------------------------------------------------------------------------------------------


@cache
def of_recording(name: str) -> Explanation:
    [one] = [explain(each) for each in read((FOLDER / f"{name}.json").read_bytes())]
    return one


@pytest.mark.parametrize("name", NAMES)
def test_what_is_legal_is_explained_without_an_error_and_what_is_not_with_one(name: str) -> None:
    fault = of_recording(name).fault
    assert (fault is not None) is (name in WRONG), fault


@pytest.mark.parametrize("name", NAMES)
def test_every_reply_has_its_meaning_and_its_rule(name: str) -> None:
    lines = of_recording(name).lines
    replies = [line for line in lines if line.who == "server" and re.match(r"[2-5][0-9]{2}(?: |$)", line.text)]
    assert replies
    for line in lines:
        assert all(each.rule.startswith(("RFC ", "Postfix ")) or "not known" in each.text for each in line.meanings), (
            line
        )
    # What an offer means as a whole stands at its first line.
    assert len([line for line in lines if line.meanings]) >= len(replies)


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_of_a_recording_is_told(name: str) -> None:
    text = told(of_recording(name))
    assert SECRET not in text
    assert "secret-Pass1" not in text
    assert "AHVzZXJAZXhhbXBsZS50ZXN0AHNlY3JldC1QYXNzMQ==" not in text


@pytest.mark.rfc("2033", "4.2")
def test_a_reply_of_lmtp_says_for_whom_it_is() -> None:
    texts = [each.text for line in of_recording("dovecot-lmtp-bdat").lines for each in line.meanings]
    assert any(text.startswith("for user@example.test: the message is accepted") for text in texts)


# The same session in each way of writing ----------------------------------------------------------------------------

SESSION = [
    ("S", "220 mx.example ESMTP"),
    ("C", "EHLO me.example"),
    ("S", "250-mx.example"),
    ("S", "250-PIPELINING"),
    ("S", "250 SIZE 1000"),
    ("C", "MAIL FROM:<ann@me.example>"),
    ("C", "RCPT TO:<bob@mx.example>"),
    ("C", "DATA"),
    ("S", "250 2.1.0 ok"),
    ("S", "250 2.1.5 ok"),
    ("S", "354 go on"),
    ("C", "Subject: hi"),
    ("C", ""),
    ("C", "body"),
    ("C", "."),
    ("S", "451 4.3.0 try again"),
    ("C", "QUIT"),
    ("S", "221 2.0.0 bye"),
]
MARKS = {
    "letters": ("S: ", "C: "),
    "words": ("Server: ", "Client: "),
    "the other letters": ("R: ", "S: "),
    "Postfix": (" Out: ", " In:  "),
    "logged": ("[2026-11-23 10:00:00] DEBUG [abc] S: ", "[2026-11-23 10:00:00] DEBUG [abc] C: "),
    "arrows": ("<<< ", ">>> "),
    "sendmail": ("", ">>> "),
    "swaks": ("<-  ", " -> "),
    "swaks under TLS": ("<~  ", " ~> "),
    "swaks, refused": ("<** ", " -> "),
    "curl": ("< ", "> "),
    "the log of a client of Postfix": (
        "Nov 23 10:00:00 me postfix/smtp[1]: < mx.example[192.0.2.1]:25: ",
        "Nov 23 10:00:00 me postfix/smtp[1]: > mx.example[192.0.2.1]:25: ",
    ),
    "the log of a server of Postfix": (
        "Nov 23 10:00:00 me postfix/smtpd[1]: > me.example[192.0.2.1]: ",
        "Nov 23 10:00:00 me postfix/smtpd[1]: < me.example[192.0.2.1]: ",
    ),
    "none": ("", ""),
}


def written(marks: tuple[str, str], session: list[tuple[str, str]], end: str = "\n") -> str:
    return "".join(f"{marks[who == 'C']}{text}{end}" for who, text in session)


def printed_by_smtplib(session: list[tuple[str, str]]) -> str:
    return "".join(
        f"send: {text + chr(13) + chr(10)!r}\n" if who == "C" else f"reply: {(text + chr(13) + chr(10)).encode()!r}\n"
        for who, text in session
    ).replace("reply: b'354", "data: (354, b'go on')\nreply: retcode (354); Msg: b'go on'\nreply: b'354")


FORMS = {
    **{name: written(marks, SESSION) for name, marks in MARKS.items()},
    **{f"{name}, CRLF": written(marks, SESSION, "\r\n") for name, marks in MARKS.items()},
    "smtplib": printed_by_smtplib(SESSION),
}


def gist(explanation: Explanation) -> list[tuple[str, str, str | None, tuple[object, ...]]]:
    return [(line.who, line.text, line.command, line.meanings) for line in explanation.lines]


@pytest.mark.parametrize("name", FORMS)
def test_a_session_is_the_same_however_it_was_written_down(name: str) -> None:
    found = explained(FORMS[name])
    assert found.fault is None
    assert gist(found) == gist(explained(FORMS["letters"]))
    assert [line.text for line in found.lines if line.who] == [
        *[text for _, text in SESSION[:11]], "(content: 21 octets)", *[text for _, text in SESSION[14:]]
    ]  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_remarks_of_whoever_wrote_it_down_are_left_out(name: str) -> None:
    remarks = "=== Trying mx.example:25...\n* Connected to mx.example\nTrying 192.0.2.1...\nC: <opens the connection>\n"
    with_remarks = FORMS[name] if name.startswith(("none", "sendmail")) else remarks + FORMS[name]
    assert explained(with_remarks).fault is None


@pytest.mark.parametrize(
    "text",
    [
        "send: 'ehlo me.example\\r\\n'\nreply: b'250-mx.example\\r\\n'\nreply: b'250 HELP\\r\\n'\n",
        "C: EHLO me.example\nS: 250 mx.example\n",
    ],
)
def test_the_greeting_may_be_missing(text: str) -> None:
    """smtplib connects before it is told to print."""
    found = explained(text)
    assert found.fault is None
    assert found.lines[0].text == "the greeting is not in the record"


def test_a_record_that_begins_anywhere_is_explained_and_not_judged() -> None:
    """Such as the notice of a failure."""
    found = explained(">>> RCPT To:<bob@mx.example>\n<<< 550 5.1.1 no such user\n")
    assert not found.judged
    assert found.fault is None
    assert [each.text for each in found.lines[-1].meanings] == [
        "no such mailbox, or a refusal by policy",
        "5.1.1, for good: bad destination mailbox address",
    ]


def test_content_may_be_missing() -> None:
    """curl does not show it."""
    without = [each for each in SESSION if each not in SESSION[11:15]]
    found = explained(written(MARKS["curl"], without))
    assert found.fault is None
    assert any(line.text == "the content is not in the record" for line in found.lines)
    assert ("server", "451 4.3.0 try again", "EndOfData") in [line[1:4] for line in found.lines]


def test_tls_may_be_missing_or_shown() -> None:
    session = [*SESSION[:4], ("S", "250 STARTTLS"), ("C", "STARTTLS"), ("S", "220 go on"), *SESSION[1:]]
    assert explained(written(MARKS["letters"], session)).fault is None
    shown = (
        written(MARKS["swaks"], session[:7])
        + "=== TLS started with cipher TLSv1.3\n"
        + written(MARKS["swaks under TLS"], session[7:])
    )
    found = explained(shown)
    assert found.fault is None
    assert "TLS: TLSv1.3" in [line.text for line in found.lines]


def test_several_connections_one_after_the_other() -> None:
    found = explained(written(MARKS["letters"], SESSION * 2))
    assert found.fault is None
    assert [line.text for line in found.lines].count("another connection") == 1


def test_a_chunk_is_counted_and_not_read() -> None:
    session = [*SESSION[:4], ("S", "250 CHUNKING"), SESSION[5], SESSION[8], SESSION[6], SESSION[9]]
    session += [("C", "BDAT 12 LAST"), ("S", "250 2.0.0 ok"), *SESSION[16:]]
    found = explained(written(MARKS["letters"], session))
    assert found.fault is None
    [meaning] = [line.meanings[0].text for line in found.lines if line.command == "Bdat" and line.who == "server"]
    assert meaning.startswith("the message is accepted")


# What this command's own JSON has -----------------------------------------------------------------------------------


def test_what_connect_writes_is_read(command: Command, tmp_path: Path) -> None:
    script: list[Step] = [
        Say(b"220 mx.example\r\n"),
        Expect(b"EHLO .*"),
        Say(b"250-mx.example\r\n250 SIZE 7\r\n"),
        Expect(b"QUIT"),
    ]
    with ScriptedServer(*script, Say(b"221 bye\r\n"), Close()) as server:
        written_out = command.connect(server, "--json", "--security", "none").out
    (tmp_path / "session").write_text(written_out, encoding="utf-8")
    outcome = command("explain", str(tmp_path / "session"))
    assert outcome.status == 0
    assert "Tells the largest message that is accepted (RFC 1870)" in outcome.out


def lines_of_json(*lines: dict[str, object]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def reply_of_json(code: int, *lines: str) -> dict[str, object]:
    return {"code": code, "enhanced": None, "lines": lines}


SERVED: list[dict[str, object]] = [
    {"type": "listening", "url": "smtp://127.0.0.1:2525"},
    *(
        {"session": number, **line}
        for number in (1, 2)
        for line in (
            {"type": "session", "peer": "127.0.0.1"},
            {"type": "sent", "reply": reply_of_json(220, "mx.example")},
            {"type": "received", "command": "Ehlo", "line": "EHLO me.example"},
            {"type": "sent", "reply": reply_of_json(250, "mx.example", "AUTH PLAIN", "CHUNKING", "SIZE 100")},
            {"type": "received", "command": "Auth", "line": "AUTH PLAIN <redacted>"},
            {"type": "sent", "reply": reply_of_json(235, "2.7.0 ok")},
            {"type": "received", "command": "Mail", "line": "MAIL FROM:<a@b.example>"},
            {"type": "sent", "reply": reply_of_json(250, "ok")},
            {"type": "received", "command": "Rcpt", "line": "RCPT TO:<a@b.example>"},
            {"type": "sent", "reply": reply_of_json(250, "ok")},
            {"type": "received", "command": "Bdat", "line": "BDAT 10"},
            {"type": "sent", "reply": reply_of_json(250, "ok")},
            {"type": "received", "command": "Bdat", "line": "BDAT 10 LAST"},
            {"type": "sent", "reply": reply_of_json(250, "ok")},
            {"type": "received", "command": "Mail", "line": "MAIL FROM:<a@b.example>"},
            {"type": "sent", "reply": reply_of_json(250, "ok")},
            {"type": "received", "command": "Rcpt", "line": "RCPT TO:<a@b.example>"},
            {"type": "sent", "reply": reply_of_json(250, "ok")},
            {"type": "received", "command": "Data", "line": "DATA"},
            {"type": "sent", "reply": reply_of_json(354, "go")},
            {"type": "content", "octets": 100 * number},
            {"type": "received", "command": "EndOfData", "line": "."},
            {"type": "sent", "reply": reply_of_json(250, "ok")},
            {"type": "received", "command": "Quit", "line": "QUIT"},
            {"type": "sent", "reply": reply_of_json(221, "bye")},
            {"type": "closed"},
        )
    ),
    {"type": "ended", "messages": 4},
]


@pytest.mark.rfc("1870", "6.1")
def test_what_serve_writes_has_many_sessions(command: Command, tmp_path: Path) -> None:
    """The second has a message of 200 octets, where 100 are taken."""
    (tmp_path / "sessions").write_text(lines_of_json(*SERVED), encoding="utf-8")
    outcome = command("explain", str(tmp_path / "sessions"))
    assert outcome.status == ErrorCode.PROTOCOL_ERROR
    assert "Session 1" in outcome.out
    assert "Session 2" in outcome.out
    assert outcome.complaint.startswith("session 2, line 49: the client broke the protocol: message too large")


# What is against the protocol ----------------------------------------------------------------------------------------

HELLO = "S: 220 mx.example\nC: EHLO me.example\nS: 250-mx.example\nS: 250-AUTH PLAIN LOGIN\nS: 250 SIZE 1000\n"
MAIL = HELLO + "C: MAIL FROM:<a@b.example>\nS: 250 ok\n"
RCPT = MAIL + "C: RCPT TO:<a@b.example>\nS: 250 ok\n"


@pytest.mark.rfc("5321", "4.1.4")
def test_a_command_out_of_sequence() -> None:
    assert fault_of(HELLO + "C: RCPT TO:<a@b.example>\nS: 503 no\n") == (6, "client", "RFC 5321 section 4.1.4")


@pytest.mark.rfc("2920", "3.1")
def test_a_command_behind_one_that_ends_a_group() -> None:
    assert fault_of("S: 220 a\nC: EHLO b\nC: QUIT\nS: 250 a\nS: 221 bye\n") == (3, "client", "RFC 2920 section 3.1")


@pytest.mark.rfc("5321", "4.1.1.2")
@pytest.mark.parametrize("line", ["MAIL FROM: <a@b.example>", "MAIL FROM:a@b.example", "MAIL a@b.example"])
def test_a_command_that_is_written_in_an_odd_way(line: str) -> None:
    """It is understood all the same, and what follows is explained."""
    found = explained(f"{HELLO}C: {line}\nS: 250 ok\nC: QUIT\nS: 221 bye\n")
    assert found.fault is not None
    assert found.fault[:2] == (6, "client")
    assert found.fault.rule == "RFC 5321 section 4.1.1.2"
    assert found.lines[-1].meanings[0].text == "the server closes the connection"


@pytest.mark.rfc("5321", "4.2.4")
def test_an_unknown_command_is_wrong_where_the_server_does_not_know_it() -> None:
    assert fault_of(HELLO + "C: XYZZY 1\nS: 500 what\n") == (6, "client", "RFC 5321 section 4.2.4")
    assert fault_of(HELLO + "C: XYZZY 1\nS: 250 agreed\n") is None


@pytest.mark.rfc("5321", "4.3.2")
@pytest.mark.parametrize(("command", "reply"), [("DATA", "250 ok"), ("RSET", "354 go"), ("QUIT", "334 ")])
def test_a_reply_that_is_no_answer(command: str, reply: str) -> None:
    found = fault_of(f"{RCPT}C: {command}\nS: {reply}\n")
    assert found is not None
    assert found[:2] == (11, "server")


@pytest.mark.rfc("5321", "4.2")
def test_a_reply_that_nobody_asked_for() -> None:
    found = fault_of(RCPT + "S: 250 ok\n")
    assert found is not None
    assert found[:2] == (10, "server")


@pytest.mark.rfc("5321", "4.2.1")
def test_lines_of_one_reply_with_two_codes() -> None:
    assert fault_of("S: 220-a\nS: 250 b\n") == (2, "server", "RFC 5321 section 4.2.1")


@pytest.mark.rfc("5321", "3.8")
@pytest.mark.parametrize("code", [421, 451, 554])
def test_a_server_may_leave_unasked(code: int) -> None:
    """Some say another 4yz or 5yz when they lose patience."""
    assert fault_of(f"{HELLO}S: {code} timed out\n") is None


def test_the_earliest_counts_also_where_it_is_found_out_later() -> None:
    found = fault_of(HELLO + "C: XYZZY\nC: QUIT\nS: 500 what\nS: 221 bye\n")
    assert found == (6, "client", "RFC 5321 section 4.2.4")


@pytest.mark.rfc("3207", "4")
def test_what_came_before_tls_is_found_out() -> None:
    """Where the record shows TLS."""
    log = [["S", "220 a\r\n"], ["C", "EHLO b\r\n"], ["S", "250-a\r\n250 STARTTLS\r\n"], ["C", "STARTTLS\r\n"]]
    log += [["S", "220 go\r\n250 injected\r\n"], ["-", "TLS TLSv1.3"]]
    assert fault_of(json.dumps({"log": log})) == (5, "server", "RFC 3207 section 4")


@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.parametrize("by_client", [True, False])
def test_a_bare_lf_is_found_in_octets(by_client: bool) -> None:
    log = [
        ["S", "220 a\r\n"],
        ["C", "EHLO b\n" if by_client else "EHLO b\r\n"],
        ["S", "250 a\r\n" if by_client else "250 a\n"],
    ]
    expected = (2, "client") if by_client else (3, "server")
    found = fault_of(json.dumps({"log": log}))
    assert found is not None
    assert found == (*expected, "RFC 5321 section 2.3.8")


@pytest.mark.rfc("5321", "4.2")
def test_a_record_may_end_within_a_reply() -> None:
    fault = explained("S: 220 a\nC: EHLO b\nS: 250-a\n").fault
    assert fault is not None
    assert fault.code is ErrorCode.CLOSED_BY_PEER
    assert explained("S: 220 a\nC: EHLO b\n").fault is None


# Secrets -------------------------------------------------------------------------------------------------------------

secrets = st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=12, max_size=30).map(
    lambda text: f"Zq7{text}"
)


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@given(secrets, st.sampled_from(list(MARKS)), st.sampled_from(["235 ok", "535 no", "500 what", "421 bye", "250 odd"]))
def test_no_secret_is_ever_told(secret: str, form: str, reply: str) -> None:
    """Not even by a server that repeats it, or where the exchange goes wrong."""
    plain, alone = in_base64(f"\0ann\0{secret}"), in_base64(secret)
    session = [*SESSION[:2], SESSION[2], ("S", "250 AUTH PLAIN LOGIN"), ("C", f"AUTH PLAIN {plain}")]
    session += [("S", f"{reply} {plain} {secret}"), ("C", "AUTH LOGIN"), ("S", f"334 {alone}"), ("C", in_base64("ann"))]
    session += [("S", "334 UGFzc3dvcmQ6"), ("C", alone), ("S", f"{reply} {alone}"), ("C", f"AUTH LOGIN {alone}!")]
    session += [
        ("S", f"501 what is {alone}!"),
        ("C", f"auth  nonsense  {alone}"),
        ("S", reply),
        ("C", plain),
        ("S", f"500 {plain}"),
    ]
    text = told(explained(written(MARKS[form], session)))
    for each in (secret, plain, alone):
        assert each not in text


@given(secrets)
def test_no_challenge_is_told(challenge: str) -> None:
    """It may tell of a password what it takes to guess it."""
    found = explained(f"{HELLO}C: AUTH CRAM-MD5\nS: 334 {in_base64(challenge)}\nC: {in_base64('ann 1f')}\nS: 235 ok\n")
    assert in_base64(challenge) not in told(found)


@given(secrets)
def test_no_token_is_told(token: str) -> None:
    response = in_base64(f"user=ann\x01auth=Bearer {token}\x01\x01")
    found = explained(f"{HELLO}C: AUTH XOAUTH2 {response}\nS: 535 not {token}\n")
    assert token not in told(found)
    assert response not in told(found)


@given(secrets)
def test_no_secret_is_told_where_the_client_does_not_wait(secret: str) -> None:
    session = [*SESSION[:2], SESSION[2], ("S", "250 AUTH LOGIN"), ("C", "AUTH LOGIN"), ("C", in_base64("ann"))]
    session += [("C", in_base64(secret)), ("S", "334 VXNlcm5hbWU6"), ("S", "334 UGFzc3dvcmQ6"), ("S", "235 ok")]
    assert in_base64(secret) not in told(explained(written(MARKS["letters"], session)))


@pytest.mark.parametrize("mask", ["<redacted>", "****", "[hidden]", "xxxx", "..."])
def test_whoever_masks_a_secret_has_broken_nothing(mask: str) -> None:
    session = f"{HELLO}C: AUTH PLAIN {mask}\nS: 535 no\nC: AUTH LOGIN\nS: 334 {mask}\nC: {mask}\nS: 235 ok\n"
    assert fault_of(session) is None


def test_behind_many_secrets_nothing_is_told() -> None:
    session = HELLO + "".join(
        f"C: AUTH PLAIN {in_base64(str(i) * 9)}\nS: 535 {in_base64(str(i) * 9)}\n" for i in range(80)
    )
    text = told(explained(session))
    assert not any(in_base64(str(i) * 9) in text for i in range(80))


# Whatever stands in the file -----------------------------------------------------------------------------------------

PIECES = [
    *(line for session in (HELLO, RCPT) for line in session.encode().splitlines(keepends=True)),
    *(f"{json.dumps(line)}\n".encode() for line in SERVED[:12]),
    b"S: 334 \n", b"S: 354 go\n", b"S: 220 again\n", b"S: 421 bye\n", b"C: .\n", b"C: AUTH LOGIN\n", b"C: *\n",
    b"C: STARTTLS\n", b"C: BDAT 5\n", b"C: BDAT 99999999999 LAST\n", b"C: QUIT\n", b"C: LHLO a\n", b"C: \xff\x00\n",
    b"S: 999 no\n", b"S: 250-\n", b"<-  220 a\n", b" -> EHLO a\n", b"220 a\n", b"354 b\n", b"send: 'a\\ud800\\r\\n'\n",
    b"reply: b'220 \\xff\\r\\n'\n", b"=== TLS started with cipher X\n", b"{}", b'{"log": [["S", "220 \\u0100\\r\\n"]]}',
]  # fmt: skip


def explain_whatever(data: bytes) -> None:
    sentence = ""
    try:
        explained = [explain(each) for each in read(data)]
    except NoSession as error:
        explained, sentence = [], str(error)
    assert all(map(told, explained))
    assert bool(explained) is not bool(re.fullmatch(r"[^\n]{10,300}", sentence))


@given(st.binary(max_size=300))
def test_any_octets_give_an_explanation_or_a_sentence(data: bytes) -> None:
    explain_whatever(data)


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=9), max_size=30).map(b"".join))
def test_pieces_of_sessions_give_an_explanation_or_a_sentence(data: bytes) -> None:
    explain_whatever(data)


@given(
    st.lists(
        st.tuples(st.sampled_from("SC-"), st.lists(st.sampled_from(PIECES) | st.binary(max_size=9), max_size=4)),
        max_size=20,
    )
)
def test_any_log_gives_an_explanation(log: list[tuple[str, list[bytes]]]) -> None:
    entries = [[who, b"".join(said).decode("latin-1").replace("S: ", "").replace("C: ", "")] for who, said in log]
    explain_whatever(json.dumps({"log": entries}).encode())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "nothing in it"),
        (b" \n", "nothing in it"),
        (b"hello\n", "no line of it is marked"),
        (b"{}", "nobody says anything"),
        (b'{"type": "sent"}', "neither a `reply` nor a `line`"),
        (b'{"type": "sent", "reply": 1}', "without its `code`"),
        (b'{"type": "content", "octets": -1}', "without its number"),
        (b'{"type": "x"}\nfoo\n', "line 2 is no JSON"),
        (b'{"type": "x"}\n[]\n', "line 2 is no JSON object"),
        (b'{"log": []}', "nobody says anything"),
        (b'{"log": [1]}', "entry 1 of the log"),
        (b'{"a":' * 100_000, "nested too deeply|no JSON"),
        (b"S: 220 a\n" * (recorded.MOST + 1), "more than the"),
        (b"{}\n" * (recorded.MOST + 1), "more than the"),
        (json.dumps({"log": [["S", ""]] * (recorded.MOST + 1)}).encode(), "more than the"),
        (json.dumps({"log": [["S", "220 a\r\n"], ["C", "\n" * recorded.MOST]]}).encode(), "more than the"),
    ],
    ids=range(16),
)
def test_what_is_no_session_is_told_in_a_sentence(data: bytes, why: str) -> None:
    with pytest.raises(NoSession, match=why):
        [explain(each) for each in read(data)]


def test_much_is_explained_in_linear_time() -> None:
    """As many lines as are read, all in one entry, or in a content."""
    many = b"NOOP\r\n" * (recorded.MOST // 4)
    told_of = explain(Recording("", None, (Said(1, False, b"220 a\r\n"), Said(2, True, many)), exact=True))
    assert len(told_of.lines) > recorded.MOST // 4
    log = [["S", "220 a\r\n"], ["C", "HELO b\r\n"], ["S", "250 a\r\n"], ["C", "MAIL FROM:<>\r\n"], ["S", "250 a\r\n"]]
    log += [["C", "RCPT TO:<a@b>\r\n"], ["S", "250 a\r\n"], ["C", "DATA\r\n"], ["S", "354 a\r\n"]]
    log += [["C", "x\r\n" * 1_000_000 + ".\r\n"], ["S", "250 a\r\n"]]
    assert "(content: 3,000,000 octets)" in told(explained(json.dumps({"log": log})))


def test_chunks_of_any_size_are_counted_only_so_far() -> None:
    session = written(
        MARKS["letters"], [*SESSION[:4], ("S", "250 CHUNKING"), SESSION[5], SESSION[8], SESSION[6], SESSION[9]]
    )
    for chunks in (["BDAT 99999999999"], ["BDAT 4000000"] * 20_000):
        found = explained(session + "".join(f"C: {chunk}\nS: 250 ok\n" for chunk in chunks))
        assert found.fault is None
        assert sum("more octets in chunks" in line.text for line in found.lines) == 1


@pytest.mark.rfc("5321", "4.5.3.1")
@pytest.mark.parametrize("who", ["S", "C"])
def test_a_line_without_an_end_is_not_gathered_for_ever(who: str) -> None:
    log = [["S", "220 a\r\n"], *[[who, "1" * 20]] * 90_000]
    fault = explained(json.dumps({"log": log})).fault
    assert fault is not None
    assert fault.who == {"S": "server", "C": "client"}[who]
    assert fault.where < 1000


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def legal(tmp_path: Path) -> str:
    (tmp_path / "legal").write_text(FORMS["letters"], encoding="utf-8")
    return str(tmp_path / "legal")


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    (tmp_path / "wrong").write_text(HELLO + "C: DATA\nS: 503 no\n", encoding="utf-8")
    return str(tmp_path / "wrong")


def test_a_legal_session_ends_with_0(command: Command, legal: str) -> None:
    outcome = command("explain", legal)
    assert outcome.status == 0
    assert outcome.err == ""
    assert "4.3.0, for now: other or undefined mail system status (RFC 3463 section 3.4)" in outcome.out
    assert outcome.out.endswith("SUCCESS (0) nothing was against the protocol\n")


def test_what_is_wrong_stands_below_its_line_and_on_standard_error(command: Command, wrong: str) -> None:
    outcome = command("explain", wrong)
    assert outcome.status == ErrorCode.PROTOCOL_ERROR
    lines = outcome.out.splitlines()
    assert lines[lines.index("  6 → DATA") + 1].startswith(
        "  !   the client broke the protocol: DATA is out of sequence"
    )
    assert outcome.complaint.startswith("line 6: the client broke the protocol: DATA is out of sequence here")
    assert outcome.complaint.endswith("(RFC 5321 section 4.1.4)")


def test_json_is_for_programs(command: Command, legal: str, wrong: str) -> None:
    session, *lines, outcome = command("explain", "--json", legal).objects
    assert session == {"type": "session", "number": None, "form": "a transcript", "lmtp": False, "judged": True}
    assert {line["type"] for line in lines} == {"line"}
    assert lines[0] == {
        "type": "line",
        "where": 1,
        "who": "server",
        "text": "220 mx.example ESMTP",
        "command": "Connect",
        "event": "Greeting",
        "meanings": [{"text": "the server is ready, and says its name", "rule": "RFC 5321 section 3.1"}],
    }
    assert (outcome["code"], outcome["name"], outcome["message"], outcome["where"]) == (0, "SUCCESS", None, None)
    failed = command("explain", "--json", wrong)
    assert failed.status == ErrorCode.PROTOCOL_ERROR
    assert failed.err == ""
    last = failed.objects[-1]
    assert (last["code"], last["where"], last["who"], last["rule"]) == (7, 6, "client", "RFC 5321 section 4.1.4")


def test_what_cannot_be_read_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (recorded.LARGEST + 1))
    (tmp_path / "other").write_bytes(b"hello\n")
    for name, why in {"missing": "No such file", "large": "larger than the", "other": "no session in"}.items():
        outcome = command("explain", str(tmp_path / name))
        assert outcome.status == ErrorCode.INVALID_ARGUMENT
        assert why in outcome.complaint
        assert outcome.out == ""
        last = command("explain", "--json", str(tmp_path / name)).objects[-1]
        assert (last["type"], last["code"]) == ("outcome", 2)
        assert why in last["message"]


def test_standard_input_is_read() -> None:
    process = start("explain", "-", stdin=subprocess.PIPE)
    out, err = process.communicate(FORMS["swaks"], timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "nothing was against the protocol" in out


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_it_fits_the_terminal(columns: int, command: Command, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, columns)
    out = command("explain", wrong).out
    assert "\x1b[" in out
    bare = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert max(cell_len(line) for line in bare.splitlines()) <= columns


@pytest.mark.parametrize("how", ["NO_COLOR", "--no-color", "a pipe"])
def test_there_are_no_colours_where_none_are_wanted(
    how: str, command: Command, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how != "a pipe":
        on_terminal(monkeypatch)
    if how == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in command("explain", wrong, *(["--no-color"] if how == "--no-color" else [])).out


def test_what_would_steer_the_terminal_is_printed_as_an_escape(command: Command, tmp_path: Path) -> None:
    (tmp_path / "session").write_bytes(b"S: 220 \x1b[31m[bold]\nC: \x1b]0;x\x07\nS: 500 \xe2\x80\xae\n")
    out = command("explain", str(tmp_path / "session")).out
    assert "\x1b" not in out
    assert "220 \\x1b[31m[bold]" in out
    assert "\u202e" not in out
