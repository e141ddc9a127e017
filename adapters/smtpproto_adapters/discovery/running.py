"""What carries the questions of a flow to whoever answers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from .failures import LookupFailed
from .records import AsyncLookup, Fetch, Lookup, Lookups

T = TypeVar("T")

Fetcher: TypeAlias = Callable[[str], bytes]
"""Fetches a policy from a URL, and returns its octets, by the rules of RFC 8461 section 3.3: over HTTPS, with a valid
certificate for the host of the URL; no redirect is followed; nothing counts but status 200 and ``text/plain``, within a
minute, and no more than `LARGEST_POLICY` octets.  Raises OSError or `LookupFailed` where it cannot be had."""
AsyncFetcher: TypeAlias = Callable[[str], Awaitable[bytes]]
"""The same for asyncio and trio."""


def run(flow: Lookups[T], lookup: Lookup, fetch: Fetcher | None = None) -> T:
    """Run a flow, and wait for each answer; returns what it returns, and raises what it raises.

    ``fetch``: for `sts_policy`; without it no policy can be had, but one that is kept.
    """
    answer: Any = None
    failure: LookupFailed | None = None
    try:
        while True:
            wanted = flow.send(answer) if failure is None else flow.throw(failure)
            answer = failure = None
            try:
                if not isinstance(wanted, Fetch):
                    answer = lookup.look_up(wanted)
                elif fetch is not None:
                    answer = fetch(wanted.url)
                else:
                    failure = _nobody(wanted)
            except (LookupFailed, OSError) as error:
                failure = _failed(error, wanted)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        failure = None  # it holds this frame
        flow.close()


async def run_async(flow: Lookups[T], lookup: AsyncLookup, fetch: AsyncFetcher | None = None) -> T:
    """As `run`, on asyncio or trio."""
    answer: Any = None
    failure: LookupFailed | None = None
    try:
        while True:
            wanted = flow.send(answer) if failure is None else flow.throw(failure)
            answer = failure = None
            try:
                if not isinstance(wanted, Fetch):
                    answer = await lookup.look_up(wanted)
                elif fetch is not None:
                    answer = await fetch(wanted.url)
                else:
                    failure = _nobody(wanted)
            except (LookupFailed, OSError) as error:
                failure = _failed(error, wanted)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        failure = None
        flow.close()


def _nobody(wanted: Fetch) -> LookupFailed:
    return LookupFailed(f"nobody fetches {wanted.url}: give fetch", wanted.url)


def _failed(error: Exception, wanted: object) -> LookupFailed:
    if isinstance(error, LookupFailed):
        return error
    what = wanted.url if isinstance(wanted, Fetch) else str(getattr(wanted, "name", wanted))
    return LookupFailed(f"{what} cannot be had: {error or type(error).__name__}", what)
