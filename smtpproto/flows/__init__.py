"""Whole conversations as generators of effects: see `smtpproto.flows.effects`."""

from __future__ import annotations

from .client import authenticate, command, connect, leave, quit  # noqa: A004 - it is the RFC's name
from .delivery import Deliveries, Progress, deliver
from .effects import (
    Ask,
    Close,
    Dial,
    Effect,
    Flow,
    Next,
    Octets,
    Receive,
    Send,
    ShutDown,
    Source,
    StartTls,
    Wait,
    Watcher,
    ignore,
    next_item,
    real_item,
)
from .outgoing import Content, Whole
from .server import serve

__all__ = [
    "Ask",
    "Close",
    "Content",
    "Deliveries",
    "Dial",
    "Effect",
    "Flow",
    "Next",
    "Octets",
    "Progress",
    "Receive",
    "Send",
    "ShutDown",
    "Source",
    "StartTls",
    "Wait",
    "Watcher",
    "Whole",
    "authenticate",
    "command",
    "connect",
    "deliver",
    "ignore",
    "leave",
    "next_item",
    "quit",
    "real_item",
    "serve",
]
