"""Whatever a server sends, nothing but RemoteProtocolError comes out of a client, it is the last thing that does, and
what the client keeps is bounded.

The input is what the server says: see ``_sessions``.
"""

from __future__ import annotations

from fuzz._sessions import play_client
from fuzz._transcripts import replies as seeds

__all__ = ["seeds", "test_one_input"]


def test_one_input(data: bytes) -> None:
    play_client(data)
