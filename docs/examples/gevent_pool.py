"""Many messages with gevent: the blocking client, in greenlets that send at once.

    python gevent_pool.py smtp://127.0.0.1:2525 100

The patch comes first, before anything that could import `socket` or `ssl`.  From then on what blocks lets the other
greenlets go on, and the blocking adapter needs nothing more.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from gevent.pool import Pool

from smtpproto import ConnectFailed, ConnectOptions, DeliveryResult, Envelope, Fate
from smtpproto_adapters.blocking import Client

if TYPE_CHECKING:
    import ssl

Letter: TypeAlias = tuple[Envelope, bytes]
CONNECTIONS = 10


def send_some(
    options: ConnectOptions, letters: Sequence[Letter], context: ssl.SSLContext | None = None
) -> list[DeliveryResult | ConnectFailed]:
    """All of these over one connection, overlapped: what one greenlet does."""
    try:
        with Client(options, context=context) as client:
            return list(client.send_many(letters))
    except ConnectFailed as failure:
        return [failure] * len(letters)


def send_all(
    options: ConnectOptions,
    letters: Sequence[Letter],
    *,
    connections: int = CONNECTIONS,
    context: ssl.SSLContext | None = None,
) -> list[DeliveryResult | ConnectFailed]:
    """All of them over so many connections at once; the results in the order of the letters.

    A client is for one conversation at a time, so that each greenlet has its own.
    """
    shares = [letters[number::connections] for number in range(min(connections, len(letters)))]
    pool = Pool(connections)
    found = pool.map(lambda share: send_some(options, share, context), shares)
    return [found[number % connections][number // connections] for number in range(len(letters))]


def main(url: str, count: str = "100") -> int:
    """Send so many messages; the exit status."""
    letters = [
        (Envelope("me@me.example", f"user{n}@mx.example"), b"Subject: %d\r\n\r\nHello!\r\n" % n)
        for n in range(int(count))
    ]
    results = send_all(ConnectOptions.from_url(url), letters)
    for result in results:
        print(result if isinstance(result, ConnectFailed) else result.recipients[0])
    return int(any(isinstance(result, ConnectFailed) or result.fate is not Fate.ACCEPTED for result in results))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
