"""The same join through Feast's own offline stores, over a Parquet file. Feast is part of Fuelline's environment."""

import time
from pathlib import Path

import pyarrow.parquet as pq
from feast import FeatureStore, FileSource, RepoConfig
from feast.data_format import ParquetFormat

from benchmarks.harness import Figures
from features.definitions.views import EVENT_TIMESTAMP, USER_FEATURES, VIEWS
from features.online.feast_repo import entities as feast_entities
from features.online.feast_repo import feature_views


def join(entities: str, features: str, store: str, scratch: str) -> Figures:
    """``get_historical_features`` on Feast's ``store`` (duckdb, dask), with creation times respected as in ours."""
    opened = _open(Path(scratch), features, store)
    frame = pq.read_table(entities).rename_columns(["interaction_id", EVENT_TIMESTAMP, "user_id"]).to_pandas()
    references = [f"{USER_FEATURES.name}:{name}" for name in USER_FEATURES.features]
    opened.get_historical_features(frame[:1000], references, filter_by_created_timestamp=True).to_df()
    began = time.perf_counter()
    joined = opened.get_historical_features(frame, references, filter_by_created_timestamp=True).to_df()
    return {
        "seconds": time.perf_counter() - began,
        "rows": len(joined),
        "matched": int(joined["total_queries"].count()),
    }


def _open(folder: Path, features: str, store: str) -> FeatureStore:
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": store},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    sources = {
        view.name: FileSource(
            name=view.name,
            path=features,
            file_format=ParquetFormat(),
            timestamp_field=EVENT_TIMESTAMP,
            created_timestamp_column="created_timestamp",
        )
        for view in VIEWS
    }
    opened = FeatureStore(config=config)
    views = [view for view in feature_views(sources) if view.name == USER_FEATURES.name]
    opened.apply([*feast_entities(), *views])
    return opened
