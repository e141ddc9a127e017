"""The numbers: those that the RFCs give, and that nothing but a number can be put in their place."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import Limits, LocalProtocolError, Timeouts, limits

NAMES = Limits.__match_args__
WAITS = Timeouts.__match_args__


@pytest.mark.rfc("5321", "4.5.3.2")
@pytest.mark.rfc("5321", "4.5.3.2.7")
def test_the_times_of_the_rfc() -> None:
    minute = 60
    timeouts = limits.DEFAULT_TIMEOUTS
    assert timeouts.greeting == 5 * minute
    assert timeouts.mail == 5 * minute
    assert timeouts.rcpt == 5 * minute
    assert timeouts.data_initiation == 2 * minute
    assert timeouts.data_block == 3 * minute
    assert timeouts.data_termination == 10 * minute
    assert timeouts.server == 5 * minute


@pytest.mark.rfc("5321", "4.5.3.1")
def test_the_sizes_of_the_rfc() -> None:
    assert (limits.LOCAL_PART, limits.DOMAIN, limits.PATH) == (64, 255, 256)
    assert (limits.COMMAND_LINE, limits.REPLY_LINE) == (512, 512)


@pytest.mark.rfc("4954", "4")
def test_a_line_of_an_authentication_fits() -> None:
    assert limits.DEFAULT_LIMITS.command_line >= 12288
    assert limits.DEFAULT_LIMITS.reply_line >= 12288


@pytest.mark.rfc("5321", "4.5.3.1.8")
def test_at_least_a_hundred_recipients() -> None:
    assert limits.DEFAULT_LIMITS.recipients >= 100


@pytest.mark.rfc("5321", "4.5.3.1.7")
def test_a_message_of_64_kib_is_taken() -> None:
    assert limits.DEFAULT_LIMITS.message == 33_554_432 >= 65_536


@pytest.mark.rfc("9422", "4.1")
def test_a_session_may_be_long() -> None:
    assert 1000 <= limits.DEFAULT_LIMITS.transactions <= 999_999


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(1, 10**12)))
def test_limits_hold_what_they_are_given(given_: dict[str, int]) -> None:
    made = Limits(**given_)
    for name in NAMES:
        assert getattr(made, name) == given_.get(name, getattr(limits.DEFAULT_LIMITS, name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, None, "5", math.inf, math.nan])
def test_a_limit_is_a_positive_int(name: str, wrong: object) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{name} is .*greater than 0"):
        Limits(**{name: wrong})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@given(st.dictionaries(st.sampled_from(WAITS), st.none() | st.floats(min_value=0, exclude_min=True)))
def test_timeouts_hold_what_they_are_given(given_: dict[str, float | None]) -> None:
    made = Timeouts(**given_)
    for name in WAITS:
        assert getattr(made, name) == given_.get(name, getattr(limits.DEFAULT_TIMEOUTS, name))


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("wrong", [0, -1, -0.5, "5", math.nan])
def test_a_timeout_is_a_positive_number_or_none(name: str, wrong: object) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{name} is .*greater than 0"):
        Timeouts(**{name: wrong})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("seconds", "each"), [(7, 7), (0.5, 0.5), (0, None), (None, None)])
def test_one_time_for_every_wait(seconds: float | None, each: float | None) -> None:
    made = Timeouts.uniform(seconds)
    assert [getattr(made, name) for name in WAITS] == [each] * len(WAITS)


def test_no_wait_is_negative() -> None:
    with pytest.raises(LocalProtocolError, match="greater than 0"):
        Timeouts.uniform(-1)
