"""Whatever text is offered as the URL of a server, it is refused by ConnectFailed with INVALID_ARGUMENT, which does not
show its password, or it is one: written and read again it says the same; and the work is linear.

Where the input has three parts, the work is measured with the middle one many times over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from fuzz._harness import FLIGHT, assert_linear, text_of
from smtpproto import ConnectFailed, ConnectOptions, Connector, ErrorCode, Security

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECRET: Final = "pencil"
_WITH_SECRET: Final = re.compile(rf"[^@/?#]*://[^:@/?#]*:[^@/?#]*{_SECRET}[^@/?#]*@")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def test_one_input(data: bytes) -> None:
    if FLIGHT in data:
        assert_linear(judge, data)
    else:
        judge(text_of(data))


def judge(url: str) -> None:
    secret = url.count(_SECRET) == 1 and _WITH_SECRET.match(url) is not None
    try:
        options = ConnectOptions.from_url(url)
        assert not secret or _SECRET not in f"{options} {options!r}"
        if not _SURROGATE.search(url):
            assert ConnectOptions.from_url(written(options)) == options
        target = options.resolve()
        assert 0 < target.port < 65536
        assert bool(target.host) is (target.path is None)
        assert target.host_name
        assert not (url.lower().startswith("submission") and target.security is Security.OPPORTUNISTIC)
        Connector(options)
    except ConnectFailed as error:
        assert_as_told(error, secret=secret)


def assert_as_told(error: ConnectFailed, *, secret: bool) -> None:
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert not secret or _SECRET not in f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"


def written(options: ConnectOptions) -> str:
    """A URL that says the same."""
    scheme = "lmtp" if options.lmtp else options.port
    if isinstance(scheme, int):
        schemes = {Security.IMPLICIT: "submissions", Security.REQUIRED: "submission"}
        scheme = "smtp" if options.security is None else schemes[options.security]
    who = quote(options.username or "", safe="")
    if options.password is not None:
        who += f":{quote(options.password, safe='')}"
    where = quote(options.host or "", safe="") if options.path is None else quote(options.path, safe="/")
    port = f":{options.port}" if isinstance(options.port, int) and options.path is None else ""
    return f"{scheme}://{who}{'@' if who else ''}{where}{port}"


def seeds() -> Iterator[bytes]:
    texts = (
        "smtp://mx.example",
        "smtp://mx.example:2525/",
        "smtps://user:pencil@mx.example",
        "submission://user%40example.com:p%65ncil@mx.example:587",
        "submissions://user@[2001:db8::1]:465",
        "submission://mx.example:465",
        "lmtp:///run/dovecot/lmtp",
        "lmtp://user:pencil@[::1]:24",
        "lmtp://user@/run/%6cmtp",
        "SMTP://192.0.2.1",
        "smtp://:pencil@mx.example",
        "smtp://b\u00fccher.example",
        "smtp://mx.example:99999",
        "smtp://user:pencil%zz@mx.example",
        "smtp://user:pencil%ff@[::1]",
        "http://user:pencil@mx.example/",
    )
    yield from (text.encode() for text in texts)
    for head, middle, tail in (
        ("smtp://", "a.", "b"),
        ("smtp://", "%61", "@b"),
        ("smtp://u:", "%c3", "@b"),
        ("lmtp:///", "a/", ""),
        ("smtp://[", ":1", "]"),
        ("", "smtp", "://x"),
    ):
        yield FLIGHT.join(part.encode() for part in (head, middle, tail))
