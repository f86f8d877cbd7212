"""What trials are judged on: the last part in time of the train split, and each trial's scores of it.

The held-out test split is never read here, so the evaluation that follows a search stays honest.
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
    """The train split's rows to learn from, and the later ones to judge on; no instant is on both sides.

    Judged are rows of weight above 0, as in the evaluation; of more than ``validation_rows`` as many, evenly over time.

    Raises:
        DataError: one of the two is empty.
    """
    rows, plan = read_training_set(lake, study.training_set, TRAIN), study.plan
    boundary = rows["timestamp"][int(rows.num_rows * (1 - plan.validation_share))] if rows.num_rows else None
    later = pc.greater_equal(rows["timestamp"], boundary)
    learnt = rows.filter(pc.invert(later))
    judged = rows.filter(pc.and_(later, pc.greater(rows["weight"], 0)))
    if not learnt.num_rows or not judged.num_rows:
        raise DataError(
            f"{rows.num_rows} training rows leave {learnt.num_rows} to learn from and {judged.num_rows} of weight "
            f"above 0 to judge on, with validation_share {plan.validation_share}; a search needs both"
        )
    if plan.validation_rows and plan.validation_rows < judged.num_rows:
        judged = judged.take(np.linspace(0, judged.num_rows - 1, plan.validation_rows).round().astype(np.int64))
    return learnt, judged


def write_scores(lake: Lake, study: Study, trial: Trial, scores: Likelihoods) -> None:
    """Keep a trial's score of each judged row, in their order, without a word of whose row it is."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"nll": scores.nll_sum, "tokens": scores.tokens}), buffer)
    lake.store.write(_path(study, trial), buffer.getvalue())


def read_scores(lake: Lake, study: Study, trial: Trial) -> Likelihoods:
    """What ``write_scores`` kept."""
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(lake.store.read(_path(study, trial))))
    return Likelihoods(nll_sum=table["nll"].to_numpy(), tokens=table["tokens"].to_numpy())


def _path(study: Study, trial: Trial) -> str:
    return f"{study.folder}/trial-{trial.number:03d}.parquet"
