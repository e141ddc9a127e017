"""A DNS server on loopback, over UDP and TCP, that says what a test wants: the network is never asked.

    with NameServer({("example.org", "MX"): ["10 mx.example.org."]}) as server:
        Resolver([server.host], port=server.port)

Names that are not given do not exist; a name that is there for another type has no records of this one.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

HOST = "127.0.0.1"
TTL = 60
LONGEST = 65_535
WAIT = 10.0
"""Seconds after which it gives up on a client over TCP."""


class NameServer:
    """``authentic``: it says of everything that DNSSEC has shown it.

    ``cut_off``: over UDP it says nothing but that there is more.  ``failing``: names for which it says SERVFAIL;
    ``silent``: names for which it says nothing at all.
    """

    def __init__(
        self,
        records: Mapping[tuple[str, str], Iterable[str]],
        *,
        authentic: bool = False,
        cut_off: bool = False,
        failing: Iterable[str] = (),
        silent: Iterable[str] = (),
    ) -> None:
        self.records = {(name.lower(), kind): list(found) for (name, kind), found in records.items()}
        self.authentic = authentic
        self.cut_off = cut_off
        self.failing = frozenset(failing)
        self.silent = frozenset(silent)
        self.asked: list[tuple[str, str, str]] = []
        """Name, type, and ``udp`` or ``tcp``."""
        self.host = HOST
        self._tcp = socket.create_server((HOST, 0))
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._serve_udp, self._serve_tcp)]

    def __enter__(self) -> Self:
        self._udp.bind((HOST, self.port))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A socket that is only closed does not wake up who waits at it.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
            knock.sendto(b"", (HOST, self.port))
        with contextlib.suppress(OSError):
            self._tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            data, peer = self._udp.recvfrom(LONGEST)
            if not data:
                return
            answer = self._answer(data, "udp")
            if answer is not None:
                self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self._tcp.accept()
                with stream, contextlib.suppress(OSError, struct.error):
                    stream.settimeout(WAIT)
                    (length,) = struct.unpack("!H", stream.recv(2, socket.MSG_WAITALL))
                    answer = self._answer(stream.recv(length, socket.MSG_WAITALL), "tcp")
                    if answer is not None:
                        stream.sendall(struct.pack("!H", len(answer)) + answer)

    def _answer(self, data: bytes, way: str) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, way))
        if name in self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.authentic:
            response.flags |= dns.flags.AD
        if name in self.failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif self.cut_off and way == "udp":
            response.flags |= dns.flags.TC
        else:
            self._fill(response, question.name, name, kind)
        return response.to_wire(max_size=LONGEST)

    def _fill(self, response: dns.message.Message, owner: dns.name.Name, name: str, kind: str) -> None:
        alias = self.records.get((name, "CNAME"))
        if alias:
            response.answer.append(dns.rrset.from_text(owner, TTL, "IN", "CNAME", alias[0]))
            owner = dns.name.from_text(alias[0])
            name = owner.to_text(omit_final_dot=True).lower()
        found = self.records.get((name, kind))
        if found:
            response.answer.append(dns.rrset.from_text_list(owner, TTL, "IN", kind, found))
        elif not any(name == known for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
