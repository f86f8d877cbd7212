"""Public data sets as traffic: ServeGen's arrivals and lengths, llmperf's failures, series of the Numenta benchmark.

They are not part of the project; if the folder is missing, their scenarios are skipped with a message.
"""

import ast
import csv
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from benchmarks.simulation.world import DAY_S, HOUR_S, Recipe, Traffic, during, requests

FOLDER = Path("../shared/data/real")
"""Beside the checkout; an option of the command names another folder."""
SERVEGEN = "servegen/m-small_"
SETS = ("servegen", "llmperf", "nab")


def missing(folder: Path = FOLDER) -> list[str]:
    """The data sets that do not exist."""
    return [name for name in SETS if not (folder / name).is_dir()]


def servegen_traffic(folder: Path, recipe: Recipe, *, client: str | None = None) -> Traffic:
    """Two weeks of arrivals, repeated: all ten clients together, with their outages, or one bursty client."""
    name = f"{SERVEGEN}total_rps_DERIVED.csv" if client is None else f"{SERVEGEN}chunk-{client}-trace.csv"
    rows = [row[:2] for row in csv.reader((folder / name).read_text().splitlines()) if row[0] != "t_s"]
    rate = np.nan_to_num(np.array([float(row[1] or "nan") for row in rows]))
    hourly = rate[: len(rate) // 6 * 6].reshape(-1, 6).mean(axis=1)
    hourly = np.resize(hourly / hourly.mean() * recipe.daily_calls / 24, recipe.days * 24)
    rng = np.random.default_rng(recipe.seed)
    return requests(recipe, rng.poisson(hourly), rng)


def servegen_lengths(
    folder: Path, traffic: Traffic, client: str, start_day: float, *, first: int, last: int
) -> Traffic:
    """Query lengths from a client's token lengths, six hours by six hours: its days ``first`` to ``last``, repeated,
    before ``start_day``, and from then on all days in order.
    """
    lengths = json.loads((folder / f"{SERVEGEN}chunk-{client}-dataset.json").read_text())
    parts = [_distribution(lengths[key]["input_tokens"]) for key in sorted(lengths, key=int)]
    rng = np.random.default_rng(0)
    part = (traffic.at - int(start_day * DAY_S)) // (6 * HOUR_S)
    normal = first * 4 + part % ((last - first) * 4)
    which = np.where(part < 0, normal, np.minimum(part, len(parts) - 1))
    query = traffic.query.copy()
    for number in np.unique(which):
        rows = which == number
        query[rows] = rng.choice(parts[number][0], int(rows.sum()), p=parts[number][1])
    return replace(traffic, query=query)


def _distribution(lengths: str | dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    counts = ast.literal_eval(lengths) if isinstance(lengths, str) else lengths
    values, weights = np.array([float(key) for key in counts]), np.array(list(counts.values()), float)
    return values, weights / weights.sum()


def llmperf_failures(
    folder: Path, traffic: Traffic, provider: str, start_day: float, end_day: float = np.inf
) -> Traffic:
    """The calls in that time fail as the recorded calls of a provider did, in runs of 15 from random positions."""
    calls = json.loads((folder / f"llmperf/raw_data_individual_{provider}.json").read_text())
    failed = np.array([call["error_code"] is not None for call in calls])
    rng, rows = np.random.default_rng(0), np.flatnonzero(during(traffic, start_day, end_day))
    run = 15
    starts = rng.integers(0, len(failed), len(rows) // run + 1)
    replayed = failed[(starts[:, None] + np.arange(run)).ravel()[: len(rows)] % len(failed)]
    error = traffic.error.copy()
    error[rows] |= replayed
    return replace(traffic, error=error)


def nab_lengths(folder: Path, traffic: Traffic, series: str, start_day: float, *, normal_days: int = 5) -> Traffic:
    """Query lengths that follow a series: its first days, repeated, before ``start_day``, then the rest."""
    rows = list(csv.DictReader((folder / "nab" / f"{series}.csv").read_text().splitlines()))
    times = np.array([datetime.fromisoformat(row["timestamp"]).timestamp() for row in rows])
    values = np.array([float(row["value"]) for row in rows])
    since = traffic.at - start_day * DAY_S
    position = np.where(since < 0, since % (normal_days * DAY_S), normal_days * DAY_S + since)
    found = np.interp(position, times - times[0], values)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1 * values[times < times[0] + normal_days * DAY_S].std(), len(traffic))
    return replace(traffic, query=100 + found + noise)
