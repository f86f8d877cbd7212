"""The validation rows of a search, the last part in time of the train split, and each trial's scores of them.

The held-out test split is not read, so the evaluation after a search stays unbiased.
"""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from errors import DataError
from lake.lake import Lake
from models.data.training_set import TRAIN, read_training_set
from models.llm.likelihood import Likelihoods
from models.tuning.plan import Study, Trial


def split_train(lake: Lake, study: Study) -> tuple[pa.Table, pa.Table]:
    """The train split's rows to train on, and the later ones to validate on; no instant is on both sides.

    Validation rows have a weight above 0, as in the evaluation; at most ``validation_rows`` are taken, evenly over
    time. Raises ``DataError`` where one of the two is empty.
    """
    rows, plan = read_training_set(lake, study.training_set, TRAIN), study.plan
    boundary = rows["timestamp"][int(rows.num_rows * (1 - plan.validation_share))] if rows.num_rows else None
    later = pc.greater_equal(rows["timestamp"], boundary)
    train = rows.filter(pc.invert(later))
    validation = rows.filter(pc.and_(later, pc.greater(rows["weight"], 0)))
    if not train.num_rows or not validation.num_rows:
        raise DataError(
            f"{rows.num_rows} training rows leave {train.num_rows} to train on and {validation.num_rows} of weight "
            f"above 0 to validate on, with validation_share {plan.validation_share}; a search needs both"
        )
    if plan.validation_rows and plan.validation_rows < validation.num_rows:
        even = np.linspace(0, validation.num_rows - 1, plan.validation_rows).round().astype(np.int64)
        validation = validation.take(even)
    return train, validation


def write_scores(lake: Lake, study: Study, trial: Trial, scores: Likelihoods) -> None:
    """Store a trial's score of each validation row, in order, without ids."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"nll": scores.nll_sum, "tokens": scores.tokens}), buffer)
    lake.store.write(_path(study, trial), buffer.getvalue())


def read_scores(lake: Lake, study: Study, trial: Trial) -> Likelihoods:
    """The scores that ``write_scores`` stored."""
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(lake.store.read(_path(study, trial))))
    return Likelihoods(nll_sum=table["nll"].to_numpy(), tokens=table["tokens"].to_numpy())


def _path(study: Study, trial: Trial) -> str:
    return f"{study.folder}/trial-{trial.number:03d}.parquet"
