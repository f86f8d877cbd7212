"""The models' dataclasses as plain JSON and back, for ledger entries and manifests.

The types validate what comes back, so a record of another shape is an error and not a surprise later. JSON has no word
for infinity, which an interval over one user does have: it is written as a string.
"""

import math
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


def to_plain(record: Any) -> Any:
    """The dataclass instance as dicts, lists, strings and finite numbers."""
    return _finite(_adapter(type(record)).dump_python(record, mode="json"))


def from_plain(kind: type[T], plain: Any) -> T:
    """The instance of the dataclass ``kind`` that ``to_plain`` made this of.

    Raises:
        pydantic.ValidationError: it is of another shape; a ``ValueError``.
    """
    return _adapter(kind).validate_python(plain)


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    """Made once: to make one costs a millisecond."""
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
