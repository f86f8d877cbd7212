"""The sticky split: which arm of a rollout answers whom. A hash decides, so every gateway decides alike, from nothing.

A unit's place on the line from 0 to 1 is fixed for a rollout, and the candidate answers whoever stands below the share:
while the share grows, people move in one direction only. Another rollout draws other places, so nobody is always the
first to meet what is new.
"""

import hashlib
from typing import Literal

Arm = Literal["stable", "candidate"]
PLACES = 1 << 64


def unit_of(rollout: str, who: str) -> str:
    """Pseudonym of a unit in one rollout (32 hex digits): a user, else a conversation, else a single request.

    Args:
        rollout: the rollout's key.
        who: what must stay on one side, such as ``user:u-17``.
    """
    return hashlib.sha256(f"{rollout}\0{who}".encode()).hexdigest()[:32]


def arm_of(unit: str, share: float) -> Arm:
    """The arm of a unit when the candidate has this share (0..1) of the units."""
    return "candidate" if int(unit[:16], 16) < share * PLACES else "stable"
