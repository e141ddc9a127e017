"""Whatever a client sends, nothing but RemoteProtocolError comes out of a server, it is the last thing that does, and
what the server keeps is bounded.

The input is what the client says: see ``_sessions``.
"""

from __future__ import annotations

from fuzz._sessions import play_server
from fuzz._transcripts import commands as seeds

__all__ = ["seeds", "test_one_input"]


def test_one_input(data: bytes) -> None:
    play_server(data)
