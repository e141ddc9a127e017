"""Whole conversations as generators of effects: see `smtpproto.flows.effects`."""

from __future__ import annotations

from .client import authenticate, command, connect, quit  # noqa: A004 - it is the RFC's name
from .effects import (
    Ask,
    Close,
    Dial,
    Effect,
    Flow,
    Receive,
    Send,
    ShutDown,
    StartTls,
    Watcher,
    ignore,
)
from .server import serve

__all__ = [
    "Ask",
    "Close",
    "Dial",
    "Effect",
    "Flow",
    "Receive",
    "Send",
    "ShutDown",
    "StartTls",
    "Watcher",
    "authenticate",
    "command",
    "connect",
    "ignore",
    "quit",
    "serve",
]
