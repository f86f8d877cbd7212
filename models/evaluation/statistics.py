"""Statistics of a comparison of two models: paired intervals clustered by user, and exact tests of bad events.

The unit is nats per response token: the sum of the rows' differences in negative log likelihood over the sum of their
tokens, so an answer counts by its length. The rows of one user are not independent, so users are resampled, never rows.
The bootstrap is studentized, because the plain percentile interval is too narrow for a few dozen users.

Sources: cluster bootstrap-t, Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90(3), section
III.C; the interval, Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 12.5; simultaneous
intervals, Dunn (1961), JASA 56(293) (Holm's (1979) step-down test has more power but gives no intervals).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CELLS = 4_000_000
"""Resampling weights in memory at once: 32 MB of float64 and as much of counts, for any number of users."""


@dataclass(frozen=True, kw_only=True)
class PairedScores:
    """Two models' scores of the same rows; arrays of equal length, one element per row."""

    candidate: Floats
    """Negative log likelihood of the row's response under the candidate, nats, summed over its tokens."""
    baseline: Floats
    """The same under the baseline."""
    tokens: Floats
    """Response tokens of the row, at least 1."""
    users: npt.NDArray[np.str_]
    """The row's user (any pseudonym): the unit that is resampled."""

    def __post_init__(self) -> None:
        lengths = {len(self.candidate), len(self.baseline), len(self.tokens), len(self.users)}
        if len(lengths) != 1:
            raise ValueError(f"paired scores need arrays of equal length, not {sorted(lengths)}")
        if len(self.tokens) and float(self.tokens.min()) < 1:
            raise ValueError("every row needs at least 1 response token")
        if not (np.isfinite(self.candidate).all() and np.isfinite(self.baseline).all()):
            raise ValueError("a score is not a finite number")

    def __len__(self) -> int:
        return len(self.tokens)

    def where(self, keep: npt.NDArray[np.bool_]) -> "PairedScores":
        """The rows where ``keep`` is true."""
        return PairedScores(
            candidate=self.candidate[keep],
            baseline=self.baseline[keep],
            tokens=self.tokens[keep],
            users=self.users[keep],
        )


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference, candidate minus baseline, in nats per response token, with its confidence interval."""

    difference: float
    low: float
    high: float
    rows: int
    users: int


def paired_interval(
    scores: PairedScores, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Studentized cluster-bootstrap interval of ``sum(candidate - baseline) / sum(tokens)``.

    With fewer than two users the interval is unbounded: they show nothing about other users. ``confidence`` is
    two-sided, in (0, 1). The same scores and seed give the same interval.
    """
    if not len(scores):
        raise ValueError("no rows to compare")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    differences, tokens = _sums_by_user(scores)
    point = float(differences.sum() / tokens.sum())
    low, high = -math.inf, math.inf
    if len(tokens) > 1:
        tail = (1 - confidence) / 2
        pivots = _studentized(differences, tokens, point, resamples, seed)
        lower = np.quantile(pivots, tail, method="lower")
        upper = np.quantile(pivots, 1 - tail, method="higher")
        error = float(_standard_error(np.ones((1, len(tokens))), differences, tokens)[1][0])
        low, high = _shifted(point, error, float(upper)), _shifted(point, error, float(lower))
    return Interval(difference=point, low=low, high=high, rows=len(scores), users=len(tokens))


def simultaneous_level(confidence: float, intervals: int) -> float:
    """The level of each of several intervals at which all hold simultaneously with ``confidence`` (Dunn 1961)."""
    return 1 - (1 - confidence) / max(intervals, 1)


def sign_test(worse: int, better: int) -> float:
    """p-value of the one-sided exact McNemar test: ``worse`` or more of the discordant pairs if both sides are equal.

    McNemar (1947), Psychometrika 12(2); exact form: binomial with p = 1/2 over the discordant pairs.
    """
    pairs = worse + better
    return sum(math.comb(pairs, k) for k in range(worse, pairs + 1)) / 2**pairs


def excess_limit(worse: int, better: int, pairs: int, *, confidence: float) -> float:
    """Upper one-sided limit of the candidate's excess rate of bad events over ``pairs`` matched requests.

    The excess is the rate of candidate-only events minus that of baseline-only ones; each has its exact limit (Clopper
    and Pearson 1934, Biometrika 26(4)) at half the error, so it holds for any number of pairs.
    """
    from scipy.stats import beta

    error = (1 - confidence) / 2
    high = 1.0 if worse >= pairs else float(beta.ppf(1 - error, worse + 1, pairs - worse))
    low = 0.0 if better == 0 else float(beta.ppf(error, better, pairs - better + 1))
    return high - low


def _sums_by_user(scores: PairedScores) -> tuple[Floats, Floats]:
    """Sums of the difference (nats) and of the tokens, one element per user."""
    _, code = np.unique(scores.users, return_inverse=True)
    differences: Floats = np.bincount(code, weights=scores.candidate - scores.baseline).astype(np.float64)
    return differences, np.bincount(code, weights=scores.tokens).astype(np.float64)


def _standard_error(weights: Floats, differences: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    """Ratio and its linearised standard error for each row of ``weights`` (resamples x users)."""
    users, total = len(tokens), weights @ tokens
    ratio = (weights @ differences) / total
    squares = (
        weights @ differences**2 - 2 * ratio * (weights @ (differences * tokens)) + ratio**2 * (weights @ tokens**2)
    )
    # Identical users leave a rounding error, which is no variance.
    floor = 1e-12 * (weights @ differences**2)
    squares = np.where(squares > floor, squares, 0.0)
    return ratio, np.sqrt(squares * users / (users - 1)) / total


def _studentized(differences: Floats, tokens: Floats, point: float, resamples: int, seed: int) -> Floats:
    """The bootstrap-t pivots, in blocks of bounded memory; a resample without variance counts as infinite."""
    generator, users = np.random.default_rng(seed), len(tokens)
    block = max(1, CELLS // users)
    pivots: list[Floats] = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights = generator.multinomial(users, np.full(users, 1 / users), size=size).astype(np.float64)
        ratio, error = _standard_error(weights, differences, tokens)
        gap = ratio - point
        gap = np.where(np.abs(gap) > 1e-12 * abs(point), gap, 0.0)
        far = np.where(gap == 0, 0.0, np.copysign(np.inf, gap))
        pivots.append(np.divide(gap, error, out=far, where=error > 0))
    return np.concatenate(pivots)


def _shifted(point: float, error: float, pivot: float) -> float:
    """``point - pivot * error``; without variance among the users the interval is the point."""
    return point if error == 0 else point - pivot * error
