"""The sticky split: the arm of a rollout for each user. A hash decides, so all gateways agree without communicating.

A unit's place between 0 and 1 is fixed for a rollout, and the candidate answers every unit whose place is below the
share: while the share grows, units move in one direction only. Each rollout draws new places, so that no user is always
among the first to meet a candidate.
"""

import hashlib
from typing import Literal

Arm = Literal["stable", "candidate"]
HASH_RANGE = 1 << 64


def unit_of(rollout: str, assignment_key: str) -> str:
    """Pseudonym of a unit in one rollout (32 hex digits).

    The key is what must stay on one side: a user (``user:u-17``), else a conversation, else a single request.
    """
    return hashlib.sha256(f"{rollout}\0{assignment_key}".encode()).hexdigest()[:32]


def arm_of(unit: str, share: float) -> Arm:
    """The arm of a unit when the candidate has this share (0..1) of the units."""
    return "candidate" if int(unit[:16], 16) < share * HASH_RANGE else "stable"
