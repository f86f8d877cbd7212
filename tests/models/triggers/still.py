"""A history of a few rows without any change."""

from datetime import datetime

import numpy as np
import pyarrow as pa

from features.drift import Profile
from models.registry.state import Training
from models.triggers.counts import HOURLY
from models.triggers.history import FeatureSample


class Still:
    def added_rows(self, since: Training | None) -> int:
        return 7

    def calls(self, start: datetime, end: datetime) -> pa.Table:
        return HOURLY.empty_table()

    def calls_before(self, training: Training, start: datetime) -> pa.Table:
        return HOURLY.empty_table()

    ratings, ratings_before = calls, calls_before

    def features(self, start: datetime, end: datetime) -> FeatureSample:
        return FeatureSample(values={}, clusters={}, days=np.zeros(0, int))

    def features_before(self, training: Training, start: datetime) -> list[Profile]:
        return []

    def versions(self) -> list[str]:
        return ["processed.agent_interactions@1"]
