"""The base of all values: they compare, hash, match, print, copy and pickle by their fields, and never change."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproto import Auth, AuthResponse, ContentReceived, Limits, Quit, Reply, ReplyReceived, Rset, Timeouts
from smtpproto.values import Value, set_field, slot_setter


class Point(Value):
    __slots__ = ("x", "y")
    __match_args__ = ("x", "y")

    x: int
    y: int

    def __init__(self, x: int, y: int = 0) -> None:
        _set_x(self, x)
        set_field(self, "y", y)


_set_x = slot_setter(Point, "x")


class Place(Point):
    __slots__ = ("_cache", "key")
    __match_args__ = ("x", "y", "key")
    _secret = frozenset({"key"})

    key: str | None

    def __init__(self, x: int, y: int, key: str | None) -> None:
        super().__init__(x, y)
        set_field(self, "key", key)
        set_field(self, "_cache", object())


places = st.builds(Place, st.integers(), st.integers(), st.none() | st.text())


@given(places, places)
def test_values_are_equal_where_all_fields_are(one: Place, other: Place) -> None:
    same = (one.x, one.y, one.key) == (other.x, other.y, other.key)
    assert (one == other) is same
    assert (one != other) is not same
    if same:
        assert hash(one) == hash(other)


def test_a_cache_is_no_field() -> None:
    assert Place(1, 2, "k") == Place(1, 2, "k")
    assert hash(Place(1, 2, "k")) == hash(Place(1, 2, "k"))


def test_another_class_is_another_value() -> None:
    assert Point(1) != Place(1, 0, None)
    assert Point(1) != (1, 0)
    assert Quit() != Rset()
    assert len({Quit(), Quit(), Rset()}) == 2


def test_a_value_never_changes() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="Point is immutable: x cannot be set"):
        point.x = 2
    with pytest.raises(AttributeError, match="Point is immutable: z cannot be set"):
        point.z = 2  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError, match="Point is immutable: x cannot be deleted"):
        del point.x
    assert point == Point(1)


def test_a_value_takes_no_more_room_than_its_fields() -> None:
    assert not hasattr(Place(1, 2, None), "__dict__")


def test_a_value_matches_by_position() -> None:
    match Place(1, 2, "k"):
        case Place(x, y, key):
            assert (x, y, key) == (1, 2, "k")
        case _:
            pytest.fail("no match")


def test_a_secret_does_not_show_and_its_absence_does() -> None:
    assert repr(Place(1, 2, "hunter2")) == "Place(x=1, y=2, key=<redacted>)"
    assert repr(Place(1, 2, None)) == "Place(x=1, y=2, key=None)"
    assert repr(Quit()) == "Quit()"


@given(st.sampled_from([b"hunter2", b"=", b"<redacted>"]))
def test_a_secret_does_not_show_within_other_values_either(secret: bytes) -> None:
    for command in (Auth("PLAIN", secret), AuthResponse(secret)):
        shown = repr([ReplyReceived(command, Reply(250, "ok"))])
        assert repr(secret) not in shown
        assert "=<redacted>" in shown


@pytest.mark.parametrize(
    "value",
    [
        Point(1),
        Place(1, 2, "k"),
        Reply(250, ["a", "b"]),
        ReplyReceived(Auth("PLAIN", b"secret"), Reply(235)),
        Limits(recipients=7),
        Timeouts(dial=None),
        ContentReceived(b"x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_copied_and_pickled(value: Value) -> None:
    assert copy.copy(value) is value
    assert copy.deepcopy(value) is value
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(value, protocol))
        assert again == value
        assert hash(again) == hash(value)
