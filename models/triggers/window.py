"""One look of a rule: from where it looks, and what it came to."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from models.registry.state import Training


class Found(Enum):
    """What a look came to."""

    FIRED = "fired"
    QUIET = "quiet"
    NOT_ENOUGH = "not_enough"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a rule found in its window."""

    found: Found
    reason: str
    """One sentence with the numbers."""
    start: datetime | None = None
    """Start of the window that was judged, of the one that fired where one did."""
    onset: datetime | None = None
    """Where one fired: the hour in which the cause began."""
    evidence: dict[str, Any]
    """The numbers, as plain JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """When and from where a rule looks."""

    end: datetime
    """End of the windows (UTC)."""
    every: timedelta
    """Until the next look."""
    since: Training | None = None
    """The last completed training."""
    onset: datetime | None = None
    """Start of the newest cause that a training has taken in: references begin no earlier."""


def found_if(fired: bool) -> Found:
    """Fired or quiet."""
    return Found.FIRED if fired else Found.QUIET


def too_little(reason: str) -> Finding:
    """There is nothing that could be judged."""
    return Finding(found=Found.NOT_ENOUGH, reason=reason, evidence={})


def finite(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: what has no bound is null."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}
