"""The held-out rows of an evaluation: all of them, or a sample that does not depend on the candidate.

Held out are the rows of the training set's test split, the last in time. Rows of weight 0 (failed calls, answers that
were rated bad) are left out, because a model should not make them likely.
"""

import hashlib
import math

import pyarrow as pa
import pyarrow.compute as pc

from lake.lake import Lake
from models.data.training_set import TEST, read_training_set
from models.types import TrainingSet


def held_out_sample(lake: Lake, training_set: TrainingSet, count: int) -> pa.Table:
    """The held-out rows to evaluate: all of weight above 0, or ``count`` of them (0: all), stratified by agent.

    Every agent has its share of the whole, rounded by largest remainder. Within an agent a hash of set and row decides,
    so all candidates of a training set get the same rows. Ordered by time.
    """
    rows = held_out_rows(lake, training_set)
    if not count or count >= rows.num_rows:
        return rows
    by_agent: dict[str, list[int]] = {}
    for index, agent in enumerate(rows["agent_name"].to_pylist()):
        by_agent.setdefault(agent, []).append(index)
    ids = rows["interaction_id"].to_pylist()
    order = [hashlib.sha256(f"{training_set.training_set_id}\0{name}".encode()).digest() for name in ids]
    shares = _shares({agent: len(indices) for agent, indices in by_agent.items()}, count)
    chosen = [
        index
        for agent, rows_of_agent in by_agent.items()
        for index in sorted(rows_of_agent, key=order.__getitem__)[: shares[agent]]
    ]
    return rows.take(sorted(chosen))


def held_out_rows(lake: Lake, training_set: TrainingSet) -> pa.Table:
    """The test split's rows whose answer was rated good or not rated, in order of time."""
    rows = read_training_set(lake, training_set, TEST)
    return rows.filter(pc.greater(rows["weight"], 0))


def _shares(sizes: dict[str, int], count: int) -> dict[str, int]:
    """``count`` split in proportion to ``sizes``, by largest remainder; ties by name."""
    exact = {name: count * size / sum(sizes.values()) for name, size in sizes.items()}
    shares = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares
