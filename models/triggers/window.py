"""One check of a trigger's rule: the time it covers, and what it found."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from models.registry.state import Training


class FindingStatus(Enum):
    FIRED = "fired"
    QUIET = "quiet"
    NOT_ENOUGH = "not_enough"


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleFinding:
    """What a rule found in its window."""

    status: FindingStatus
    reason: str
    """One sentence with the numbers."""
    start: datetime | None = None
    """Start of the window that was tested; where one fired, of that one."""
    onset: datetime | None = None
    """Where the rule fired: the hour in which the cause began."""
    evidence: dict[str, Any]
    """The numbers, as plain JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleCheck:
    """When a rule is checked, and what it compares with."""

    end: datetime
    """End of the windows (UTC)."""
    interval: timedelta
    """Time until the next check."""
    last_training: Training | None = None
    """The last one that is complete."""
    onset: datetime | None = None
    """Start of the newest cause that the last training already covers: references begin no earlier."""


def fired_or_quiet(fired: bool) -> FindingStatus:
    """The status of a rule that had enough data."""
    return FindingStatus.FIRED if fired else FindingStatus.QUIET


def not_enough(reason: str) -> RuleFinding:
    """The finding where the data do not suffice for a test."""
    return RuleFinding(status=FindingStatus.NOT_ENOUGH, reason=reason, evidence={})


def finite(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with null for infinity, which JSON does not have."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}
