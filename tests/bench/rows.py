"""What is measured in workers, against whom, and what is to be reached."""

from __future__ import annotations

from typing import Final, NamedTuple

from .harness import OURS, Row, Target

REGISTRY: Final = "smtpproto of the registry"
SMTPLIB: Final = "smtplib"
AIOSMTPLIB: Final = "aiosmtplib"
AIOSMTPD: Final = "aiosmtpd"
SPLIT: Final = "bytes.split"
COUNT: Final = "bytes.count"
MEMCPY: Final = "memcpy"

RECIPIENTS: Final = 100
SIZE: Final = 1_000_000
"""Octets of content."""


def at_least(factor: float, against: str) -> Target:
    return Target(against, "at least", factor)


def at_most(factor: float, against: str) -> Target:
    return Target(against, "at most", factor)


def stuffing(kind: str, name: str, peer: str, *targets: Target) -> Row:
    contestants = {OURS: "ours:stuff", SMTPLIB: f"stdlib:{peer}", COUNT: "limits:count", MEMCPY: "limits:copy"}
    return Row(f"stuffing-{kind.replace('_', '-')}", name, "MB", 1, contestants, targets, (kind, SIZE))


ROWS: Final[tuple[Row, ...]] = (
    Row(
        "pipelined-replies",
        f"{RECIPIENTS + 1} replies in one feed",
        "reply",
        RECIPIENTS + 1,
        {
            OURS: "ours:pipelined_replies",
            SMTPLIB: "stdlib:pipelined_replies",
            REGISTRY: "registry:pipelined_replies",
            SPLIT: "limits:split",
        },
        (at_least(8, REGISTRY), at_least(1.5, SMTPLIB), at_most(10, SPLIT)),
        ("replies", RECIPIENTS),
    ),
    Row(
        "single-replies",
        "one reply a feed",
        "reply",
        RECIPIENTS + 1,
        {
            OURS: "ours:single_replies",
            SMTPLIB: "stdlib:single_replies",
            REGISTRY: "registry:single_replies",
            AIOSMTPLIB: "aiosmtplib:single_replies",
        },
        (at_least(2.5, REGISTRY), at_least(2.5, AIOSMTPLIB), at_least(0.8, SMTPLIB)),
        ("replies", RECIPIENTS),
    ),
    Row(
        "ehlo",
        "EHLO with a reply of 15 lines",
        "exchange",
        1,
        {OURS: "ours:ehlo", SMTPLIB: "stdlib:ehlo", REGISTRY: "registry:ehlo", AIOSMTPLIB: "aiosmtplib:ehlo"},
        (at_least(6, REGISTRY), at_least(2.5, SMTPLIB)),
        ("ehlo_reply", 15),
    ),
    Row(
        "client-session",
        "a client's session: 10 recipients in lock-step, a message of 2 kB",
        "session",
        1,
        {
            OURS: "ours:session",
            SMTPLIB: "stdlib:session",
            REGISTRY: "registry:session",
            AIOSMTPLIB: "aiosmtplib:session",
        },
        (at_least(2, REGISTRY), at_least(4, SMTPLIB)),
        ("session", 10),
    ),
    stuffing("base64_crlf", "stuffing base64 with CRLF", "stuff", at_least(30, SMTPLIB), at_least(1.2, COUNT)),
    stuffing(
        "base64_lf", "stuffing base64 with LF", "normalise_and_stuff", at_least(50, SMTPLIB), at_least(1.8, COUNT)
    ),
    stuffing("text", "stuffing text with CRLF", "stuff", at_least(15, SMTPLIB), at_least(0.5, COUNT)),
    stuffing("mail", "stuffing a message with an attachment", "stuff"),
    stuffing("worst", "stuffing dots and line ends only", "stuff", at_least(5, SMTPLIB)),
    Row(
        "unstuffing",
        "receiving text behind DATA",
        "MB",
        1,
        {OURS: "ours:unstuff", AIOSMTPD: "aiosmtpd:unstuff", COUNT: "limits:count"},
        (at_least(50, AIOSMTPD),),
        ("stuffed_text", SIZE),
    ),
    Row(
        "unstuffing-base64",
        "receiving base64 behind DATA",
        "MB",
        1,
        {OURS: "ours:unstuff", AIOSMTPD: "aiosmtpd:unstuff", COUNT: "limits:count"},
        (at_least(50, AIOSMTPD),),
        ("stuffed_base64", SIZE),
    ),
    Row(
        "server-session",
        "a server's session: 10 recipients, a message of 2 kB; the machine alone",
        "session",
        1,
        {OURS: "ours:server_session", AIOSMTPD: "aiosmtpd:server_session"},
        (at_least(20, AIOSMTPD),),
        ("session", 10),
    ),
    Row(
        "server-flow",
        "a server's session by the whole server, with its policy and its replies",
        "session",
        1,
        {OURS: "ours:server_flow", AIOSMTPD: "aiosmtpd:server_session"},
        (at_least(20, AIOSMTPD),),
        ("session", 10),
    ),
)


class Curve(NamedTuple):
    """How the cost of something of ours grows with its size.  It should be a straight line."""

    id: str
    name: str
    unit: str
    """What the nanoseconds are for one of,"""
    size: str
    """and what its size counts."""
    contestant: str
    workload: str
    sizes: tuple[int, ...]


_LINES: Final = (1, 10, 100, 300, 1000, 3000)
_RECIPIENTS: Final = (1, 10, 100, 300, 1000)
"""No more than the server's LIMITS allow."""
_OCTETS: Final = (1_000_000, 2_000_000, 4_000_000, 8_000_000, 16_000_000)


def content_curve(kind: str, name: str, contestant: str, workload: str) -> Curve:
    return Curve(f"{kind}-by-size", name, "content", "octets", contestant, workload, _OCTETS)


CURVES: Final[tuple[Curve, ...]] = (
    Curve("reply-by-lines", "EHLO with a long reply", "exchange", "lines", "ours:ehlo", "long_reply", _LINES),
    Curve(
        "replies-by-recipients",
        "all replies to an envelope in one feed",
        "feed",
        "recipients",
        "ours:pipelined_replies",
        "replies",
        _RECIPIENTS,
    ),
    Curve(
        "client-by-recipients",
        "a client's session in lock-step",
        "session",
        "recipients",
        "ours:session",
        "session",
        _RECIPIENTS,
    ),
    Curve(
        "server-by-recipients",
        "a server's session",
        "session",
        "recipients",
        "ours:server_session",
        "session",
        _RECIPIENTS,
    ),
    content_curve("stuffing", "stuffing text with CRLF", "ours:stuff", "text"),
    content_curve("stuffing-worst", "stuffing dots and line ends only", "ours:stuff", "worst"),
    content_curve("unstuffing", "receiving text behind DATA", "ours:unstuff", "stuffed_text"),
    content_curve("unstuffing-worst", "receiving dots and line ends only behind DATA", "ours:unstuff", "stuffed_worst"),
)
