"""The agents' activity in one week, from one pinned version of the interactions.

Weeks are ISO weeks in UTC. The results are aggregates: the rows that are read hold user ids, and none leaves this
module.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from errors import UserError
from lake.contracts.agent_interactions import AGENT_FEEDBACK
from lake.lake import Lake
from lake.tables.engine import connect
from lake.tables.uniqueness import MEMORY_LIMIT
from lake.tables.versions import TableVersion
from lake.windows import BEGINNING, Window

LENGTH = timedelta(weeks=1)
ALL = ""
"""Name of the row over all agents."""
COLUMNS = ("interaction_id", "timestamp", "agent_name", "user_id", "latency_ms", "tokens_used", "error", "feedback")


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Week:
    """An ISO week, from its Monday at 00:00 UTC."""

    start: datetime

    def __post_init__(self) -> None:
        if self.start != monday(self.start):
            raise ValueError(f"a week starts on a Monday at 00:00 UTC, not at {self.start.isoformat()}")

    @classmethod
    def named(cls, name: str) -> "Week":
        """The week of a name such as ``2026-W41``. Raises ``UserError`` where it names none."""
        with contextlib.suppress(ValueError):
            week = cls(start=datetime.strptime(f"{name}-1", "%G-W%V-%u").replace(tzinfo=UTC))
            if week.name == name:  # strptime takes a 53rd week for the next year's first
                return week
        raise UserError(f"{name!r} is not an ISO week such as 2026-W41")

    @property
    def end(self) -> datetime:
        """The Monday after."""
        return self.start + LENGTH

    @property
    def before(self) -> "Week":
        """The week before."""
        return Week(start=self.start - LENGTH)

    @property
    def name(self) -> str:
        """``2026-W41``."""
        year, number, _ = self.start.isocalendar()
        return f"{year}-W{number:02d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """The activity of one agent, or of all, in a week; a share or percentile of nothing is None."""

    agent: str
    interactions: int = 0
    users: int = 0
    p50_ms: float | None = None
    """Median (nearest rank) of the calls that succeeded, as in ``ml.agent_features``."""
    p95_ms: float | None = None
    error_rate: float | None = None
    tokens: int = 0
    rated: int = 0
    positive: float | None = None
    """Positive feedback over rated interactions, 0..1; the latest feedback counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Activities:
    """A week's activity by agent (``ALL`` for all of them) and its interactions by agent and day."""

    agents: Mapping[str, Activity] = field(default_factory=dict)
    days: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Seven counts for each agent, Monday first."""

    def of(self, agent: str) -> Activity:
        """An agent's activity; zero where it has none."""
        return self.agents.get(agent, Activity(agent=agent))


def milliseconds(value: float | None) -> str:
    """``840 ms``, ``2.31 s``."""
    if value is None:
        return "-"
    return f"{value:,.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def percentage(share: float | None) -> str:
    """``0.8%``."""
    return "-" if share is None else f"{share:.1%}"


def monday(instant: datetime) -> datetime:
    """The start of the ISO week that contains an instant."""
    day = instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def weeks_of(due: Window) -> list[Week]:
    """The weeks that ended in a window, oldest first; only the newest one for a schedule's first window."""
    newest = Week(start=monday(due.end)).before
    if due.start == BEGINNING:
        return [newest]
    oldest = monday(due.start)
    return [Week(start=oldest + n * LENGTH) for n in range((newest.start - oldest) // LENGTH + 1)]


def activities(lake: Lake, version: TableVersion, week: Week) -> Activities:
    """The activity in a week, with the feedback that came with the rows or separately before the week's end."""
    where = f"timestamp >= '{week.start.isoformat()}' and timestamp < '{week.end.isoformat()}'"
    rated = lake.tables.current(AGENT_FEEDBACK)
    feedback = lake.tables.read(rated, where=where) if rated else AGENT_FEEDBACK.arrow_schema.empty_table()
    with connect(memory_limit=MEMORY_LIMIT) as db:
        db.register("interactions", lake.tables.read(version, columns=COLUMNS, where=where))
        db.register("feedback", feedback)
        db.execute(_RATED)
        by_agent, by_day = (db.sql(query).to_arrow_table().to_pylist() for query in (_BY_AGENT, _BY_DAY))
    agents = {row["agent"]: Activity(**row) for row in by_agent}
    counts = {(row["agent"], row["day"]): row["n"] for row in by_day}
    days = {name: tuple(counts.get((name, day), 0) for day in range(1, 8)) for name in sorted(agents) if name != ALL}
    return Activities(agents=agents, days=days)


_RATED = """
    CREATE TABLE rated AS
    WITH latest AS (SELECT interaction_id, arg_max(value, timestamp) AS value FROM feedback GROUP BY ALL)
    SELECT a.* REPLACE (coalesce(latest.value, a.feedback) AS feedback)
    FROM interactions a LEFT JOIN latest USING (interaction_id)
"""
_BY_AGENT = """
    SELECT coalesce(agent_name, '') AS agent,
           count(*) AS interactions,
           count(DISTINCT user_id) AS users,
           quantile_disc(latency_ms, 0.5) FILTER (NOT error)::DOUBLE AS p50_ms,
           quantile_disc(latency_ms, 0.95) FILTER (NOT error)::DOUBLE AS p95_ms,
           avg(error::INT) AS error_rate,
           sum(tokens_used)::BIGINT AS tokens,
           count(feedback) AS rated,
           avg(feedback) AS positive
    FROM rated GROUP BY ROLLUP (agent_name) HAVING count(*) > 0
"""
_BY_DAY = "SELECT agent_name AS agent, isodow(timestamp) AS day, count(*) AS n FROM rated GROUP BY ALL"
