"""Plain records: frozen, checked on construction, exact as dictionaries of JSON types.

The service is event-sourced and snapshotted, so a state that is written and read back must be the
same state. Integers, strings, booleans and None survive JSON exactly; floats are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self


def is_whole(value: object) -> bool:
    """True for an int and nothing else: ``True`` is no number, and neither is 1.0."""
    return type(value) is int


_CHECKS: dict[str, Callable[[object], bool]] = {
    "int": is_whole,
    "int | None": lambda value: value is None or is_whole(value),
    "str": lambda value: type(value) is str,
    "bool": lambda value: type(value) is bool,
    "tuple[int, ...]": lambda value: type(value) is tuple and all(map(is_whole, value)),
    "tuple[str, ...]": lambda value: (
        type(value) is tuple and all(type(item) is str for item in value)
    ),
}


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Base of every record here; ``decoders`` names the fields that hold other records."""

    decoders: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    _typed: ClassVar[tuple[tuple[str, str, Callable[[object], bool]], ...]] = ()

    def __init_subclass__(cls) -> None:
        """Note once which fields have a type that can be checked."""
        own = (
            (name, kind, _CHECKS[kind])
            for name, kind in cls.__annotations__.items()
            if kind in _CHECKS
        )
        cls._typed = (*cls._typed, *own)

    def __post_init__(self) -> None:
        """Refuse a field of the wrong type: ValueError naming the record, field and value."""
        for name, kind, check in self._typed:
            value = getattr(self, name)
            if not check(value):
                raise ValueError(f"{type(self).__name__}.{name}: must be {kind}, got {value!r}")

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON types; mappings are written in the order of their keys."""
        return {field.name: _encode(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`. Fields that have a default may be left out.

        Raises ValueError for an unknown or missing field or a value of the wrong type.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ValueError(
                f"{cls.__name__}.{unknown[0]}: unknown field; known: {', '.join(sorted(known))}"
            )
        values = {
            name: cls.decoders[name](value) if name in cls.decoders else _tuples(value)
            for name, value in data.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: {error}") from None


def table_of(record: type[Plain]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Decoder of a mapping from names to records of one type."""
    return lambda data: {name: record.from_dict(item) for name, item in data.items()}


def tuple_of(record: type[Plain]) -> Callable[[Any], tuple[Any, ...]]:
    """Decoder of a list of records of one type."""
    return lambda data: tuple(record.from_dict(item) for item in data)


def _encode(value: Any) -> Any:
    if isinstance(value, Plain):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: _encode(value[name]) for name in sorted(value)}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return value


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
