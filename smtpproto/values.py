"""The base of all commands, replies and events: small immutable values.

A library makes a few of these for each line that it reads, so they are slotted classes with one written-out
``__init__`` each; all that is the same for every one of them stands here.  ``dataclasses`` would do it too, at three
times the price for making a value, and at the price of the whole core for importing it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

set_field: Callable[[object, str, Any], None] = object.__setattr__
"""How an ``__init__`` sets a field; nothing else may."""


class Value:
    """Compares, hashes, matches and prints by its fields, which are its ``__match_args__``.

    A subclass names its own fields in ``__slots__``, all of them (the inherited ones first) in ``__match_args__``, so
    that the type checkers know their order, and those that must never be shown in ``_secret``.  A slot that is not in
    ``__match_args__`` is a cache, and no field.
    """

    __slots__ = ()
    if not TYPE_CHECKING:  # pragma: no branch - a type that is declared here would hide the names from type checkers
        __match_args__ = ()
    _secret: ClassVar[frozenset[str]] = frozenset()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be deleted")

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in field_names(type(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or type(self) is not type(other):
            return NotImplemented
        return self is other or self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        shown = (
            f"{name}={'<redacted>' if name in self._secret and value is not None else repr(value)}"
            for name, value in zip(field_names(type(self)), self._fields(), strict=True)
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __copy__(self) -> Value:
        return self

    def __deepcopy__(self, memo: object) -> Value:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self._fields())


def field_names(cls: type[Value]) -> tuple[str, ...]:
    """The names of the fields, of whatever class: that of a single one has them as its ``__match_args__``."""
    names: tuple[str, ...] = getattr(cls, "__match_args__")  # noqa: B009 - `Value` does not declare them
    return names


def _restore(cls: type[Value], fields: tuple[Any, ...]) -> Value:
    """Unpickle: a value that was valid once is valid still."""
    value = cls.__new__(cls)
    for name, field in zip(field_names(cls), fields, strict=True):
        set_field(value, name, field)
    return value


def slot_setter(cls: type[Value], name: str) -> Callable[[Value, object], None]:
    """What sets one field: for the values that are made for every line, at half the price of `set_field`."""
    setter: Callable[[Value, object], None] = cls.__dict__[name].__set__
    return setter
