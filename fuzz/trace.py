"""Whatever a client calls itself, and whatever its address resolves to, the trace fields made of it have the form of
RFC 5321 section 4.4, with the clauses that this server means and no other, in lines of their length.

The first octet chooses the protocol and what is known beside; what the client says, the name that its address resolves
to, what TLS is called and a path follow, in four parts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fuzz._harness import FLIGHT, chosen, flights_of, text_of
from smtpproto import LocalProtocolError
from smtpproto.addresses import is_domain
from smtpproto.trace import protocol_name, received, return_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_DATE: Final = "Mon, 23 Nov 2026 13:00:00 +0000"
_ADDRESSES: Final = (None, "192.0.2.1", "2001:db8::1", "[x-tag:content]")
_COMMENT: Final = re.compile(r"\((?:[^()\\]|\\.)*\)")
"""None of ours has another one in it."""
_FIELD: Final = re.compile(
    r"Received: from (?P<source>[^\s();]+) by mx\.example with (?P<protocol>[A-Z0-9]+) id x1( for (?P<path><.+>))?; "
    + re.escape(_DATE)
    + r"\r\n\Z"
)


def test_one_input(data: bytes) -> None:
    how = chosen(data)
    parts = [*map(text_of, flights_of(data[1:])), "", "", "", ""]
    hello, name, tls, path = parts[:4]
    utf8 = bool(how & 1)
    protocol = protocol_name(
        lmtp=bool(how & 2), extended=bool(how & 4), secure=bool(tls), authenticated=bool(how & 8), smtputf8=utf8
    )
    recipient = path if written(path) is not None else None
    field = received(
        by="mx.example",
        date=_DATE,
        hello=hello,
        address=_ADDRESSES[how // 16 % len(_ADDRESSES)],
        name=name,
        protocol=protocol,
        id="x1",
        recipient=recipient,
        tls=tls,
    )
    assert_formed(field, utf8=utf8)
    match = _FIELD.match(plain(field.decode(), recipient or ""))
    assert match is not None, field
    assert match["protocol"] == protocol
    assert match["path"] in (None, "<path>")
    assert match["source"] in (hello, "unknown") or match["source"].startswith("[")
    assert match["source"] != hello or is_domain(hello) or hello.startswith("[")


def written(path: str) -> str | None:
    """The other trace field, where this is a reverse-path; so it may have a recipient too."""
    try:
        field = return_path(path)
    except LocalProtocolError:
        return None
    assert field == f"Return-Path: <{path}>\r\n".encode()
    assert field.count(b"\r") == field.count(b"\n") == 1
    return path or None


def assert_formed(field: bytes, *, utf8: bool) -> None:
    *lines, rest = field.split(b"\r\n")
    assert rest == b""
    assert all(line.startswith(b"\t") for line in lines[1:])
    assert not any(octet < 32 or octet == 127 for line in lines for octet in line.removeprefix(b"\t"))
    assert max(map(len, lines)) <= 998
    assert utf8 or field.isascii()


def plain(field: str, path: str) -> str:
    """Without folding and comments."""
    field = field.replace("\r\n\t", " ").replace(f" for <{path}>;", " for <path>;")
    return re.sub(" +", " ", _COMMENT.sub("", field)).replace(" ;", ";")


def seeds() -> Iterator[bytes]:
    for how in range(0, 64, 5):
        for parts in (
            ("client.example", "client.example", "TLSv1.3 TLS_AES_256_GCM_SHA384", "a@b.example"),
            ("[192.0.2.1]", "x.example.", "", "Postmaster"),
            ("x (y\\) ; z", "a;b", ")", "\u00e9@b.example"),
            ("b\u00fccher.example", "\u0130", "\r\nX: y", '"a ; b"@x'),
            ("x\ty" * 100, "-", "(" * 200, ""),
        ):
            yield bytes((how,)) + FLIGHT.join(part.encode() for part in parts)
