"""The training join, against Feast's own DuckDB store and against its definition."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.batch.asof import as_of_join
from features.definitions.views import AGENT_FEATURES, INFRASTRUCTURE_FEATURES, USER_FEATURES, VIEWS, View
from tests.features.conftest import AGENTS, FIRST_DAY

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
ENTITIES = pa.schema(
    [
        ("interaction_id", pa.string()),
        ("timestamp", UTC_MICROSECONDS),
        ("user_id", pa.string()),
        ("agent_name", pa.string()),
        ("cluster_namespace", pa.string()),
    ]
)
NAMESPACES = ("studio/agents", "studio/*", "forge/agents")
STEPS = st.integers(0, 12)
NUDGES = st.sampled_from([-1, 0, 1])


def instant(view: View, step: int, nudge: int = 0) -> datetime:
    """A point of a grid on which TTL edges and ties are frequent, or a microsecond beside it."""
    return FIRST_DAY + step * view.ttl / 4 + timedelta(microseconds=nudge)


def feature_rows(view: View, rows: list[tuple[str, datetime, datetime]]) -> pa.Table:
    """Rows of (entity, event, created); the n-th row's first number is n, so that a test can identify it."""
    columns: dict[str, Any] = {view.entity: [r[0] for r in rows]}
    columns |= {"event_timestamp": [r[1] for r in rows], "created_timestamp": [r[2] for r in rows]}
    for column in view.columns:
        columns[column.name] = [str(n) if column.type == pa.string() else n for n in range(len(rows))]
    return pa.table(
        {name: columns[name] for name in view.contract.arrow_schema.names}, schema=view.contract.arrow_schema
    )


def entity_rows(rows: list[tuple[str, str, datetime]], namespaces: Sequence[str] = NAMESPACES[:1]) -> pa.Table:
    return pa.table(
        {
            "interaction_id": [f"i{n}" for n in range(len(rows))],
            "timestamp": [r[2] for r in rows],
            "user_id": [r[0] for r in rows],
            "agent_name": [r[1] for r in rows],
            "cluster_namespace": [namespaces[n % len(namespaces)] for n in range(len(rows))],
        },
        schema=ENTITIES,
    )


def by_definition(view: View, stored: list[tuple[str, datetime, datetime]], entity: str, at: datetime) -> int | None:
    usable = [
        (event, created, n)
        for n, (name, event, created) in enumerate(stored)
        if name == entity and event <= at and created <= at and event >= at - view.ttl
    ]
    return max(usable)[2] if usable else None


@settings(max_examples=80, deadline=None)
@given(
    stored=st.lists(st.tuples(st.sampled_from("ab"), STEPS, STEPS, NUDGES), max_size=12, unique_by=lambda r: r[:3]),
    requests=st.lists(st.tuples(st.sampled_from("abc"), STEPS, NUDGES), max_size=12),
    late=st.booleans(),
)
def test_the_join_follows_its_definition(
    stored: list[tuple[str, int, int, int]], requests: list[tuple[str, int, int]], late: bool
) -> None:
    view = USER_FEATURES
    # Late: created at any time, even before the event. Otherwise a fixed time after it, as by a schedule.
    rows = [
        (name, instant(view, event, nudge), instant(view, created if late else event + 1, nudge))
        for name, event, created, nudge in stored
    ]
    if not late:
        rows = list({row[:2]: row for row in rows}.values())
    joined = as_of_join(
        entity_rows([(name, "bruno", instant(view, step, nudge)) for name, step, nudge in requests]),
        {view: feature_rows(view, rows)},
    )
    found = dict(zip(joined["interaction_id"].to_pylist(), joined["total_queries"].to_pylist(), strict=True))
    assert joined.num_rows == len(requests)
    for n, (name, step, nudge) in enumerate(requests):
        assert found[f"i{n}"] == by_definition(view, rows, name, instant(view, step, nudge))


def test_a_value_is_used_up_to_its_ttl_and_not_a_microsecond_longer() -> None:
    event = FIRST_DAY
    rows = feature_rows(USER_FEATURES, [("a", event, event + timedelta(hours=2))])
    for at, used in (
        (event + timedelta(hours=2, microseconds=-1), False),
        (event + timedelta(hours=2), True),
        (event + USER_FEATURES.ttl, True),
        (event + USER_FEATURES.ttl + timedelta(microseconds=1), False),
    ):
        joined = as_of_join(entity_rows([("a", "bruno", at)]), {USER_FEATURES: rows})
        assert (joined["user_event_timestamp"][0].as_py() == event) is used


def test_a_value_back_filled_late_is_used_from_then_on_and_only_where_it_is_newer() -> None:
    day = timedelta(days=1)
    rows = feature_rows(
        USER_FEATURES,
        [
            ("a", FIRST_DAY + day, FIRST_DAY + day),
            ("a", FIRST_DAY, FIRST_DAY + 2 * day),
            ("b", FIRST_DAY, FIRST_DAY + 2 * day),
        ],
    )
    requests = [(user, "bruno", FIRST_DAY + n * day) for user in "ab" for n in (1, 3)]
    joined = as_of_join(entity_rows(requests), {USER_FEATURES: rows}).sort_by("interaction_id")
    assert joined["total_queries"].to_pylist() == [0, 0, None, 2]


def test_no_entity_row_is_lost_or_doubled_with_no_match_or_many() -> None:
    rows = feature_rows(
        AGENT_FEATURES, [("bruno", FIRST_DAY, FIRST_DAY)] * 5 + [("bruno", FIRST_DAY, FIRST_DAY + timedelta(1))]
    )
    requests = [("u", agent, FIRST_DAY + timedelta(hours=n)) for agent in AGENTS for n in range(-2, 6)] * 3
    empty = feature_rows(USER_FEATURES, [])
    joined = as_of_join(
        entity_rows(requests),
        {USER_FEATURES: empty, AGENT_FEATURES: rows},
    )
    assert sorted(joined["interaction_id"].to_pylist()) == sorted(f"i{n}" for n in range(len(requests)))


@pytest.fixture(scope="module")
def feast_join(tmp_path_factory: pytest.TempPathFactory) -> Callable[[pa.Table, dict[str, pa.Table]], pd.DataFrame]:
    """The join of all views in Feast's DuckDB store over Parquet files, with created timestamps respected."""
    from feast import FeatureStore, FileSource, RepoConfig
    from feast.data_format import ParquetFormat

    from features.online.feast_repo import entities, feature_views

    folder = tmp_path_factory.mktemp("feast")
    paths = {view.name: folder / f"{view.name}.parquet" for view in VIEWS}
    for view in VIEWS:
        pq.write_table(feature_rows(view, []), paths[view.name])
    config = RepoConfig(
        project="oracle",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "duckdb"},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    sources = {
        name: FileSource(
            name=name,
            path=str(path),
            file_format=ParquetFormat(),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        )
        for name, path in paths.items()
    }
    store.apply([*entities(), *feature_views(sources)])
    refs = [f"{view.name}:{name}" for view in VIEWS for name in view.features]

    def join(requests: pa.Table, stored: dict[str, pa.Table]) -> pd.DataFrame:
        for name, rows in stored.items():
            pq.write_table(rows, paths[name])
        frame = requests.rename_columns(
            ["interaction_id", "event_timestamp", "user_id", "agent_name", "cluster_namespace"]
        ).to_pandas()
        job = store.get_historical_features(frame, refs, full_feature_names=True, filter_by_created_timestamp=True)
        return job.to_df().sort_values("interaction_id").reset_index(drop=True)

    return join


def random_case(seed: int, late: bool) -> tuple[pa.Table, dict[str, pa.Table]]:
    """Hundreds of entities with up to eight rows each, on the grid of ties and TTL edges."""
    random = np.random.default_rng(seed)
    stored = {}
    entity_names = ([f"user-{n}" for n in range(150)], list(AGENTS), list(NAMESPACES))
    for view, names in zip((USER_FEATURES, AGENT_FEATURES, INFRASTRUCTURE_FEATURES), entity_names, strict=True):
        rows = {
            (name, instant(view, int(random.integers(0, 10)), int(random.integers(-1, 2))))
            for name in names
            for _ in range(random.integers(0, 8))
        }
        stored[view.name] = [
            (name, event, event + (view.delay if not late else int(random.integers(-2, 4)) * view.ttl / 4))
            for name, event in sorted(rows)
            for _ in range(int(random.integers(1, 3)) if late else 1)
        ]
        stored[view.name] = sorted(set(stored[view.name]))
    requests = [
        (
            f"user-{random.integers(0, 160)}",
            str(random.choice([*AGENTS, "nobody"])),
            instant(VIEWS[random.integers(0, 3)], int(random.integers(0, 12)), int(random.integers(-1, 2))),
        )
        for _ in range(600)
    ]
    return entity_rows(requests, (*NAMESPACES, "attic/agents")), {
        view.name: feature_rows(view, stored[view.name]) for view in VIEWS
    }


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), late=st.booleans())
def test_the_join_equals_feasts_duckdb_store(
    feast_join: Callable[[pa.Table, dict[str, pa.Table]], pd.DataFrame], seed: int, late: bool
) -> None:
    requests, stored = random_case(seed, late)
    theirs = feast_join(requests, stored)
    ours = as_of_join(requests, {view: stored[view.name] for view in VIEWS})
    ours = ours.sort_by("interaction_id").to_pandas()
    assert list(ours["interaction_id"]) == list(theirs["interaction_id"])
    for view in VIEWS:
        for name in view.features:
            pd.testing.assert_series_equal(
                ours[view.prefix + name], theirs[f"{view.name}__{name}"], check_names=False, check_dtype=False
            )


def test_the_random_cases_have_hits_and_misses_for_both_shapes_of_the_join() -> None:
    shares = []
    for late in (False, True):
        requests, stored = random_case(1, late)
        joined = as_of_join(requests, {view: stored[view.name] for view in VIEWS})
        shares += [joined[view.time_column].null_count / joined.num_rows for view in VIEWS]
    assert all(0.1 < share < 0.95 for share in shares)
