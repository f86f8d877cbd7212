"""JSON of our own making and of vLLM's: by orjson, and by the standard library where orjson is stricter (``NaN``,
halves of surrogate pairs). Clients' requests are left to the standard library: orjson would round their large numbers.
"""

import json
from typing import Any

import orjson


def loads(data: bytes) -> Any:
    """Raises ``ValueError`` or ``RecursionError``."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def dumps(value: Any) -> bytes:
    """Without white space. Raises ``TypeError``."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
