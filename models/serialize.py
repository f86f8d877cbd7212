"""Dataclasses as plain JSON and back, for ledger entries, manifests and objects in the store.

Reading validates types, so a record of another shape is an error and not a later surprise. Where the Python name of a
field is better than the name under which existing lakes store it, the stored one is declared beside the field, as
``Annotated[float, Field(alias="stored_name")]``: it is written and read, the Python name is not. JSON has no infinity,
which an interval over one user does have: it is written as a string.
"""

import math
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


def to_plain(record: Any) -> Any:
    """A dataclass instance as dicts by stored name, lists, strings and finite numbers."""
    return _finite(_adapter(type(record)).dump_python(record, mode="json", by_alias=True))


def stored_fields(record: Any) -> dict[str, Any]:
    """The fields of a dataclass instance by stored name, their values as they are."""
    fields: dict[str, Any] = _adapter(type(record)).dump_python(record, by_alias=True)
    return fields


def from_plain(kind: type[T], plain: Any) -> T:
    """The instance of the dataclass ``kind`` that ``to_plain`` made this from; a ``ValueError`` for another shape."""
    return _adapter(kind).validate_python(plain)


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    """Cached: building one takes a millisecond."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "Infinity" if value > 0 else "-Infinity" if value < 0 else "NaN"
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list) else value
