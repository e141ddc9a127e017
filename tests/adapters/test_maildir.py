"""What a `Maildir` leaves on disk, and what it does not."""

from __future__ import annotations

import errno
import gc
import mailbox
import os
import tracemalloc
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproto import ServerAuth, Service
from smtpproto_adapters.maildir import IN_MEMORY, Maildir, folder_name
from tests.adapters.conversing import EHLO, LHLO, TO_YOU, converse
from tests.adapters.talking import Complaints, talk, with_server

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.adapters.backends import AnyServer, Backend

FOR_THREE = b"MAIL FROM:<me@me.example>\r\n" + b"".join(
    b"RCPT TO:<%s@MX.example>\r\n" % name for name in (b"a", b"b", b"a", b"c/d")
)


def bdat(content: bytes) -> bytes:
    return b"BDAT %d LAST\r\n%s" % (len(content), content)


def files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())


def only_file(folder: Path) -> bytes:
    (path,) = files(folder)
    assert path.parent.name == "new"
    return path.read_bytes()


@pytest.mark.rfc("5321", "4.4")
@pytest.mark.rfc("4954", "7")
def test_message_is_delivered(backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "not" / "there"

    def work(server: AnyServer) -> None:
        with talk(server) as client:
            assert client.reply() == 220
            assert (
                client.ask(b"EHLO me.example", b"MAIL FROM:<me@me.example>", b"RCPT TO:<you@mx.example>") == [250] * 3
            )
            assert client.ask(b"DATA", b"Subject: hi\r\n\r\n..\r\n.") == [354, 250]
            assert len(files(path)) == 1  # before the client is told

    with_server(backend, Maildir(path), work, service=Service("mx.example"))
    (message,) = mailbox.Maildir(path, create=False)
    assert list(message.keys()) == ["Return-Path", "Delivered-To", "Received", "Subject"]
    assert message["Return-Path"] == "<me@me.example>"
    assert message["Delivered-To"] == "you@mx.example"
    received, _, date = message["Received"].rpartition(";")
    assert received.split() == (
        ["from", "me.example", "([127.0.0.1])", "by", "mx.example", "with", "ESMTP", "for", "<you@mx.example>"]
    )
    assert parsedate_to_datetime(date).tzinfo is not None
    content = only_file(path)
    assert content.endswith(b"\nSubject: hi\n\n.\n")
    assert b"\r" not in content


@pytest.mark.rfc("3848", "1")
def test_trace_says_how_it_came(
    backend: Backend, tmp_path: Path, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    def work(server: AnyServer) -> None:
        with talk(server, client_context) as client:
            assert client.reply() == 220
            assert client.ask(b"EHLO me.example", b"AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=") == [250, 235]
            client.say(TO_YOU + bdat(b"Hi"))
            assert [client.reply() for _ in range(3)] == [250, 250, 250]

    auth = ServerAuth({"user": "password"})
    with_server(backend, Maildir(tmp_path), work, auth=auth, context=server_context, implicit_tls=True)
    content = only_file(tmp_path)
    assert b"ESMTPSA" in content
    assert b"TLSv1.3" in content


def test_unix_socket_and_scope_have_a_trace_too(tmp_path: Path) -> None:
    for peer in ("", "/run/client", ("fe80::1%eth0", 25)):
        assert converse(Maildir(tmp_path), EHLO, TO_YOU, bdat(b"Hi"), peer=peer)[0][-1] == 250
    assert sum(b"[IPv6:fe80::1]" in each.read_bytes() for each in files(tmp_path)) == 1


@pytest.mark.rfc("5321", "4.1.1.3")
def test_one_maildir_for_all(tmp_path: Path) -> None:
    codes, _ = converse(Maildir(tmp_path), EHLO, FOR_THREE, bdat(b"Hi\r\n"))
    assert codes == [220, 250, 250, 250, 250, 250, 250, 250]
    content = only_file(tmp_path)
    assert content.count(b"Delivered-To: ") == 3
    assert b"for <" not in content
    assert {each.name for each in tmp_path.iterdir()} == {"cur", "new", "tmp"}


def test_one_maildir_for_each_recipient(tmp_path: Path) -> None:
    converse(Maildir(tmp_path, per_recipient=True), EHLO, FOR_THREE, bdat(b"Hi\r\n"))
    assert {each.name for each in tmp_path.iterdir()} == {"a@mx.example", "b@mx.example", "c%2Fd@mx.example"}
    for name in "ab":
        content = only_file(tmp_path / f"{name}@mx.example")
        assert content.count(b"Delivered-To: ") == 1
        assert b"for <%s@MX.example>" % name.encode() in content


def test_no_content(tmp_path: Path) -> None:
    assert converse(Maildir(tmp_path), EHLO, TO_YOU, b"BDAT 0 LAST\r\n")[0][-1] == 250
    assert b"Received:" in only_file(tmp_path)


@example("..", "mx.example")
@example("Postmaster/../..", "mx.example")
@given(
    st.text(min_size=1, max_size=30).filter(lambda text: "@" not in text),
    st.sampled_from(["mx.example", "MX.example", "[127.0.0.1]", "exämple.com"]),
)
def test_folder_names(local_part: str, domain: str) -> None:
    local_part = local_part.encode("utf-8", "replace").decode()
    name = folder_name(f"{local_part}@{domain}")
    assert name == Path(name).name
    assert not name.startswith(".")
    assert "\0" not in name
    assert name.endswith(folder_name(domain))
    assert name == folder_name(f"{local_part}@{domain.lower()}")


def test_postmaster_is_one() -> None:
    assert folder_name("Postmaster") == folder_name("POSTMASTER") == "postmaster"


# With quotes and without is the same address, so there are no quotes here.
UNQUOTED = st.text(st.characters(exclude_characters='"'), max_size=10)


@pytest.mark.rfc("5321", "4.1.2")
def test_an_address_in_quotes_has_the_folder_of_the_one_without() -> None:
    assert folder_name('"ann"@mx.example') == folder_name("ann@mx.example")
    assert folder_name('"../ann"@mx.example') == folder_name("../ann@mx.example") != "../ann@mx.example"


@given(first=UNQUOTED, second=UNQUOTED)
def test_each_address_has_its_own_folder(first: str, second: str) -> None:
    names = [folder_name(text.encode("utf-8", "replace").decode() + "@mx.example") for text in (first, second)]
    assert (names[0] == names[1]) is (first.encode("utf-8", "replace") == second.encode("utf-8", "replace"))


# Line ends ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([b"a", b"\r\n", b"\r", b"\n", b".", b"a" * 65_535, b"a" * 65_536]), max_size=8))
def test_lines_end_in_lf(pieces: list[bytes]) -> None:
    """However the content is cut, and with lines longer than what is read at once.  (A bare CR stays what it is.)"""
    content = b"".join(pieces)
    with TemporaryDirectory() as folder:
        chunks = [b"BDAT %d\r\n%s" % (len(piece), piece) for piece in pieces]
        codes, _ = converse(Maildir(folder), EHLO, TO_YOU, *chunks, b"BDAT 0 LAST\r\n")
        assert set(codes) == {220, 250}
        expected = content.replace(b"\r\n", b"\n")
        if expected.endswith((b"\r", b"\r\n")):  # the very end of the file
            expected = expected.rstrip(b"\n")[:-1] + b"\n"
        _, _, written = only_file(Path(folder)).partition(b"+0000\n")
        assert written == expected


@pytest.mark.rfc("3030", "3")
def test_binary_content_has_no_lines(tmp_path: Path) -> None:
    service: dict[str, Any] = {"extensions": ("BINARYMIME", "CHUNKING", "8BITMIME", "PIPELINING")}
    said = b"MAIL FROM:<> BODY=BINARYMIME\r\nMAIL FROM:<> BODY=8BITMIME\r\n"
    assert converse(Maildir(tmp_path), EHLO, said, **service)[0] == [220, 250, 554, 250]


# What cannot be written --------------------------------------------------------------------------------------------


def full(*arguments: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing(function: Callable[..., Any], *, after: int) -> Callable[..., Any]:
    calls = 0

    def maybe(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return full() if calls > after else function(*arguments)

    return maybe


# The file that could not be synchronised is left to the collector by the standard library.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.rfc("5321", "4.2.5")
@pytest.mark.parametrize("name", ["fsync", "link", "mkdir"])
@pytest.mark.parametrize("after", range(8))
@pytest.mark.parametrize("lmtp", [False, True])
def test_disk_that_is_full(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    complaints: Complaints,
    name: str,
    after: int,
    lmtp: bool,
) -> None:
    """Nothing half-written is left; and what was acknowledged is there."""
    hello = LHLO if lmtp else EHLO
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(getattr(os, name), after=after))
        if name == "link":
            patch.setattr(os, "rename", full)
        codes, _ = converse(Maildir(tmp_path, per_recipient=True), hello, FOR_THREE, bdat(b"Hi\r\n"), lmtp=lmtp)
    assert set(codes[7:]) <= {250, 451}
    folders = [tmp_path / f"{name}@mx.example" for name in ("a", "b", "a", "c%2Fd")]
    kept = [len(files(folder)) for folder in folders]
    if lmtp:
        assert kept == [int(code == 250) for code in codes[7:]]
    else:
        assert kept == [int(codes[7] == 250)] * 4
    assert all(each.parent.name == "new" for each in files(tmp_path))
    assert bool(complaints.errors) is (451 in codes)
    assert after or codes[7] == 451
    caplog.clear()
    gc.collect()  # what is left is let go of here


def test_temporary_file_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)
    codes, _ = converse(Maildir(tmp_path), EHLO, TO_YOU, b"DATA\r\n", b"Hi\r\n.\r\n", b"NOOP\r\n")
    assert codes[-2:] == [451, 250]
    assert files(tmp_path) == []
    assert [type(each) for each in complaints.errors] == [OSError]


@pytest.mark.parametrize("end", [b"", b"RSET\r\n", b"EHLO me.example\r\n", b"QUIT\r\n", b"BDAT 1"])
def test_what_is_not_completed_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    handler = Maildir(tmp_path / "mail")
    big = b"x" * (2 * IN_MEMORY)
    converse(handler, EHLO, TO_YOU, b"BDAT %d\r\n" % len(big), big, end)
    assert handler._coming == {}  # pyright: ignore[reportPrivateUsage]
    assert files(tmp_path) == []


def test_memory_is_bounded(tmp_path: Path) -> None:
    """A message that is one long line is no reason to keep it."""
    block = b"x" * 65_536
    octets = 160 * len(block)
    reads = (block for _ in range(160))
    tracemalloc.start()
    try:
        codes, _ = converse(Maildir(tmp_path), EHLO, TO_YOU, b"BDAT %d LAST\r\n" % octets, more=reads)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert codes[-1] == 250
    assert peak < 2_000_000
    assert octets < files(tmp_path)[0].stat().st_size < octets + 1000
