"""Drift of a feature's distribution: standardized mean shift, PSI and Kolmogorov-Smirnov distance from a pinned
reference, each with a p-value.

Values of one user, or of one agent's hour, are not independent, so the standard error of a mean is taken over clusters
(Liang and Zeger 1986, Biometrika 73(1)) and a categorical feature counts its clusters, not its rows. Of clusters that
differ in size the effective number counts, (sum n)^2 / sum n^2 (Kish 1965, Survey Sampling, section 8.2; as degrees of
freedom: Carter, Schnepel and Steigerwald 2017, Rev. Econ. Stat. 99(4)): a user with half of the rows is half of the
evidence. The reference is stored as a small profile, so that a comparison reads recent rows only.
"""

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from pydantic import Field

BINS = 10
"""Bins between quantiles of the reference, for PSI."""
POINTS = 200
"""Quantiles in a profile, for the Kolmogorov-Smirnov distance (its error is at most 1/200)."""
SMOOTHING = 0.5
"""Rows added to each share, so that a new category and an empty bin have a logarithm."""
MISSING = "(missing)"
MOVED_P_VALUE = 0.01
"""p-value below which a day of the reference counts as shifted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The reference values of one feature."""

    name: str
    rows: int
    clusters: float
    """Effective number of clusters among the rows with a value."""
    missing: int
    """Rows without a value."""
    days: int = 0
    """Days with rows; 0 if unknown."""
    daily_variability: Annotated[dict[str, float], Field(alias="unrest")] = field(default_factory=dict)
    """For each kind of shift, the largest one of a single day of the reference (except the newest two) against all of
    it: weekends, holidays. Only larger shifts are drift."""
    mean: float = 0.0
    sd: float = 0.0
    """0 if the feature is constant or not numeric."""
    error: float = 0.0
    """Standard error of the mean over clusters."""
    quantiles: list[float] = field(default_factory=list)
    """``POINTS + 1`` quantiles from the smallest value to the largest; empty if the feature is not numeric."""
    shares: dict[str, int] = field(default_factory=dict)
    """Rows by category, if the feature is not numeric; rows of the single value, if it is constant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """How far one feature has moved."""

    name: str
    kind: str
    """``mean`` (standardized shift), ``shares`` (PSI), ``missing`` (PSI of missing and present)."""
    size: float
    """Signed standard deviations of the reference for ``mean``, else PSI."""
    p_value: Annotated[float, Field(alias="chance")]
    """Two-sided; 1 if there are too few clusters for a test."""
    psi: float
    ks: float = 0.0
    """Largest distance between the two distribution functions (0..1); numeric features only."""
    daily_variability: Annotated[float, Field(alias="unrest")] = 0.0
    """That of the profile for this kind of shift."""
    rows: int
    clusters: float
    was: float = 0.0
    """In the reference: the mean, or the share of the moved category or of missing values."""
    now: float = 0.0
    moved: str = ""
    """The category whose share changed most."""


def profile(name: str, values: np.ndarray, clusters: np.ndarray, days: np.ndarray | None = None) -> Profile:
    """The profile of one feature of the reference.

    Args:
        name: the feature.
        values: float [rows], NaN if missing, or str [rows], ``MISSING`` if missing.
        clusters: the cluster of each row, as integer codes whose range is not much larger than the rows [rows].
        days: the day of each row, as integers [rows]; None: no daily variability.
    """
    whole = _profile(name, values, clusters)
    if days is None:
        return whole
    moved: dict[str, float] = {}
    for day in np.unique(days)[:-2]:  # drift may have begun on the newest days, before the training
        for shift in shifts(whole, values[days == day], clusters[days == day]):
            if shift.p_value < MOVED_P_VALUE:
                moved[shift.kind] = max(abs(shift.size), moved.get(shift.kind, 0.0))
    return replace(whole, days=len(np.unique(days)), daily_variability=moved)


def _profile(name: str, values: np.ndarray, clusters: np.ndarray) -> Profile:
    present = _present(values)
    known, own = values[present], clusters[present]
    bare = Profile(name=name, rows=len(values), clusters=effective(own), missing=int((~present).sum()))
    if values.dtype.kind != "f":
        return replace(bare, shares=_counted(known))
    if not len(known):
        return bare
    sd = float(known.std())
    if sd <= 1e-12 * max(1.0, abs(float(known[0]))):
        return replace(bare, mean=float(known[0]), shares={_text(known[0]): len(known)})
    quantiles = np.quantile(known, np.linspace(0, 1, POINTS + 1)).tolist()
    return replace(bare, mean=float(known.mean()), sd=sd, error=_clustered_error(known, own), quantiles=quantiles)


def shifts(reference: Profile, values: np.ndarray, clusters: np.ndarray) -> list[Shift]:
    """How current values (as in ``profile``) differ from the reference of their feature: in value, and in the share of
    missing values; empty if either side has no rows.
    """
    present = _present(values)
    known, own = values[present], clusters[present]
    found = []
    if len(known) and reference.rows > reference.missing:
        found.append(_mean_shift(reference, known, own) if reference.sd else _category_shift(reference, known, own))
    if len(values) and reference.rows:
        before = np.array([reference.missing, reference.rows - reference.missing], float)
        after = np.array([len(values) - len(known), len(known)], float)
        found.append(_share_shift(reference, "missing", before, after, clusters))
    return [replace(shift, daily_variability=reference.daily_variability.get(shift.kind, 0.0)) for shift in found]


def effective(clusters: np.ndarray) -> float:
    """Effective number of clusters; 0 without rows."""
    if not len(clusters):
        return 0.0
    sizes = np.bincount(clusters - clusters.min()).astype(float)
    return float(len(clusters) ** 2 / (sizes**2).sum())


def _mean_shift(reference: Profile, known: np.ndarray, own: np.ndarray) -> Shift:
    from scipy.special import stdtr

    mean, clusters = float(known.mean()), effective(own)
    error = math.hypot(reference.error, _clustered_error(known, own))
    degrees_of_freedom = min(clusters, reference.clusters) - 1
    p_value = 1.0
    if degrees_of_freedom > 0:
        p_value = float(2 * stdtr(degrees_of_freedom, -abs(mean - reference.mean) / error)) if error else 0.0
    points = np.array(reference.quantiles)
    below = np.searchsorted(np.sort(known), points, side="right")
    at_reference = np.searchsorted(points, points, side="right") / len(points)
    return Shift(
        name=reference.name,
        kind="mean",
        size=(mean - reference.mean) / reference.sd,
        p_value=p_value,
        psi=_psi(*_binned(reference, points, below, len(known))),
        ks=float(np.abs(at_reference - below / len(known)).max()),  # at the reference's quantiles (Smirnov 1948)
        rows=len(known),
        clusters=clusters,
        was=reference.mean,
        now=mean,
    )


def _category_shift(reference: Profile, known: np.ndarray, own: np.ndarray) -> Shift:
    now = _counted(known)
    names = sorted({*reference.shares, *now})
    before, after = (np.array([side.get(name, 0) for name in names], float) for side in (reference.shares, now))
    moved = int(np.argmax(np.abs(after / after.sum() - before / before.sum())))
    return replace(_share_shift(reference, "shares", before, after, own, moved), moved=names[moved])


def _share_shift(
    reference: Profile, kind: str, before: np.ndarray, after: np.ndarray, own: np.ndarray, moved: int = 0
) -> Shift:
    """The shift between rows by category, and the share of the category at ``moved``."""
    clusters, psi = effective(own), _psi(before, after)
    return Shift(
        name=reference.name,
        kind=kind,
        size=psi,
        p_value=_chi_square(before, after, max(reference.clusters, 1), clusters),
        psi=psi,
        rows=len(own),
        clusters=clusters,
        was=float(before[moved] / before.sum()),
        now=float(after[moved] / after.sum()),
    )


def _psi(before: np.ndarray, after: np.ndarray) -> float:
    """Population stability index: sum of (p - q) ln(p / q), which is the symmetric Kullback-Leibler divergence."""
    p, q = ((side + SMOOTHING) / (side.sum() + SMOOTHING * len(side)) for side in (after, before))
    return float(((p - q) * np.log(p / q)).sum())


def _chi_square(before: np.ndarray, after: np.ndarray, clusters_before: float, clusters_after: float) -> float:
    """Pearson's test of equal shares with each cluster as one row: conservative, however correlated its rows are."""
    from scipy.special import chdtrc

    p, q = before / before.sum(), after / after.sum()
    weight = clusters_before + clusters_after
    pooled = (clusters_before * p + clusters_after * q) / weight
    occurring = pooled > 0
    if occurring.sum() < 2:
        return 1.0
    effective = clusters_before * clusters_after / weight
    statistic = effective * float(((p - q)[occurring] ** 2 / pooled[occurring]).sum())
    return float(chdtrc(occurring.sum() - 1, statistic))


def _binned(reference: Profile, points: np.ndarray, below: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows by bin of the reference's quantiles, before and now; equal edges make one bin."""
    edges = np.arange(POINTS // BINS, POINTS, POINTS // BINS)
    edges = edges[np.append(np.diff(points[edges]) > 0, True)]
    known = reference.rows - reference.missing
    own = np.searchsorted(points, points[edges], side="right") * known / len(points)
    return np.diff(own, prepend=0, append=known), np.diff(below[edges].astype(float), prepend=0, append=rows)


def _clustered_error(values: np.ndarray, clusters: np.ndarray) -> float:
    """Standard error of the mean if the clusters, not the rows, are independent."""
    code = clusters - clusters.min()
    count = int((np.bincount(code) > 0).sum())
    if count < 2:
        return math.inf
    residuals = np.bincount(code, weights=values - values.mean())
    return float(np.sqrt((residuals**2).sum() * count / (count - 1)) / len(values))


def _counted(known: np.ndarray) -> dict[str, int]:
    """Rows by value, as text."""
    if known.dtype.kind != "f":
        return dict(Counter(known.tolist()))
    total: Counter[str] = Counter()
    for value, count in zip(*np.unique(known, return_counts=True), strict=True):
        total[_text(value)] += int(count)
    return dict(total)


def _present(values: np.ndarray) -> np.ndarray:
    present: np.ndarray = ~np.isnan(values) if values.dtype.kind == "f" else values != MISSING
    return present


def _text(value: float) -> str:
    return f"{value:.12g}"
