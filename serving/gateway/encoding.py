"""JSON of vLLM and of the gateway itself: orjson, or the standard library where orjson is stricter (``NaN``, lone
surrogates). Clients' requests are always read by the standard library, because orjson would round large integers.
"""

import json
from typing import Any

import orjson


def loads(data: bytes) -> Any:
    """Parse JSON. Raises ``ValueError`` or ``RecursionError``."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def dumps(value: Any) -> bytes:
    """Write JSON without white space. Raises ``TypeError``."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
