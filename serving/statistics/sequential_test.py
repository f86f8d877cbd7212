"""Two sequential tests for each metric, harm and non-inferiority; both are valid after every request.

Harm (null: equal for every user). Under another assignment of the users to the arms, the same answers would have been
counted on other arms. So the distribution of the difference under the null follows from all users of both arms,
however much they differ (design-based: Ham, Bojinov, Lindon and Tingley 2022, arXiv:2210.08639), and is used exactly.

Promotion (null: worse than the margin). The variance is that of the rates under the null, times the design effect
estimated from the users; the candidate's own variance would be too small just when the candidate was lucky. Each user
is compared with an estimate that leaves this user out: a user with most of an arm's requests would pull the estimate
towards their own rate and hide how much they differ (the jackknife over users: Bell and McCaffrey 2002, Survey
Methodology 28(2); MacKinnon, Nielsen and Webb 2023, Journal of Applied Econometrics 38(5)). The e-value is the smaller
one of the normal mixture (an asymptotic confidence sequence: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024,
Annals of Statistics 52(6)) and of the exact one of the assignment.

Requests of one user are positively correlated, hence so are the increments of the sums, and such sums cross a boundary
no more often than independent increments of the same variances would (Slepian's inequality).
A rollback needs one of three metrics, each at a third of the error (Bonferroni); a promotion needs all of them, each
at the full error (intersection-union, Berger 1982, Technometrics 24(4)). ``docs/canary-statistics.md`` has the results
of simulations.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.policy import CanaryRule, Metric
from serving.statistics.mixtures import Prior, gamma, half_normal, log_assignment_mixture, log_normal_mixture
from serving.statistics.strata import Bools, Evidence, Floats, StratifiedSums, stratified_sums

MAX_LEVERAGE = 0.99
"""Largest part of an arm that one user may have: above it there is nothing to compare with, and nothing is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowCounts:
    """Broken answers to the same requests, from the shadow: one more stratum of the errors, with n requests per arm."""

    pairs: int = 0
    candidate_only: int = 0
    baseline_only: int = 0

    @property
    def weight(self) -> float:
        """n·n/(n+n)."""
        return self.pairs / 2

    @property
    def difference(self) -> float:
        """Weight times the difference of the rates."""
        return (self.candidate_only - self.baseline_only) / 2

    @property
    def discordant(self) -> int:
        """Pairs with exactly one broken answer."""
        return self.candidate_only + self.baseline_only

    def null_variance(self, margin: float) -> float:
        """Variance of the difference if the candidate breaks more by the margin; the observed one if that is larger."""
        return max(self.discordant, 2 * self.baseline_only + margin * self.pairs) / 4


NO_PAIRS = ShadowCounts()


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmCounts:
    """One arm in one metric."""

    requests: int = 0
    bad: int = 0
    users: int = 0

    @property
    def rate(self) -> float:
        """Share of bad requests; NaN without any request."""
        return self.bad / self.requests if self.requests else math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricAnalysis:
    """One metric in one interim analysis, as the ledger stores it.

    E-values are natural logarithms: they grow beyond any float.
    """

    metric: Metric
    candidate: ArmCounts
    stable: ArmCounts
    difference: float
    """Candidate's bad rate minus the stable one, within strata of time; NaN while there is nothing to compare."""
    margin: float
    design_effect: float
    """Ratio of the variance, given how users differ, to that of independent requests."""
    log_e_worse: float
    """Evidence against "equal"."""
    log_e_not_worse: float
    """Evidence against "worse than the margin"."""
    log_worse_at: float
    """Threshold of ``log_e_worse`` that shows harm."""
    log_not_worse_at: float
    """Threshold of ``log_e_not_worse`` that shows non-inferiority."""
    judged_for_promotion: bool

    @property
    def shown_worse(self) -> bool:
        return self.log_e_worse >= self.log_worse_at

    @property
    def shown_not_worse(self) -> bool:
        """Whether it is shown not to be worse than the margin; always true of a metric tested for harm only."""
        return not self.judged_for_promotion or self.log_e_not_worse >= self.log_not_worse_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """All metrics in one interim analysis."""

    metrics: list[MetricAnalysis]

    @property
    def worse(self) -> bool:
        """Roll back: harm is shown in a metric."""
        return any(metric.shown_worse for metric in self.metrics)

    @property
    def not_worse(self) -> bool:
        """Promote, unless ``worse``: no metric is worse than its margin."""
        return all(metric.shown_not_worse for metric in self.metrics)


def analyse(evidence: Mapping[Metric, Evidence], rule: CanaryRule, shadow: ShadowCounts | None = None) -> Analysis:
    """Test every metric on all rows from the first step on; a missing metric has no rows yet."""
    return Analysis(metrics=[_metric(metric, evidence.get(metric), rule, shadow) for metric in Metric])


def _metric(metric: Metric, rows: Evidence | None, rule: CanaryRule, shadow: ShadowCounts | None) -> MetricAnalysis:
    if rows is None:
        none = np.zeros(0, np.int64)
        rows = Evidence(time=none, unit=none, candidate=none.astype(bool), bad=none.astype(bool))
    if len(rows.widened) >= len(rule.shares()):
        raise ValueError(
            f"the share was widened {len(rows.widened)} times, but the rule has only {len(rule.shares())} shares; give "
            "the rule of the rollout's own plan"
        )
    sums = stratified_sums(rows)
    paired = shadow if shadow and metric is Metric.ERROR else NO_PAIRS
    return MetricAnalysis(
        metric=metric,
        candidate=_arm_counts(rows, rows.candidate),
        stable=_arm_counts(rows, ~rows.candidate),
        difference=_rate_difference(sums) if sums.weight.any() else math.nan,
        margin=rule.margin(metric),
        design_effect=design_effect(sums, rule),
        log_e_worse=log_e_worse(sums, rule, paired),
        log_e_not_worse=log_e_not_worse(sums, rule, metric, paired),
        log_worse_at=harm_threshold(rule),
        log_not_worse_at=promotion_threshold(rule),
        judged_for_promotion=rule.judged_for_promotion(metric),
    )


def harm_threshold(rule: CanaryRule) -> float:
    """Log e-value that shows harm: any of the metrics may show it, so each has its part of the error."""
    return math.log(len(Metric) / rule.rollback_error)


def promotion_threshold(rule: CanaryRule) -> float:
    """Log e-value that shows non-inferiority: every metric has to show it, so each has the whole error."""
    return math.log(1 / rule.promote_error)


def harm_prior(effect: float) -> Prior:
    """The prior of harm for this design effect.

    λ is the excess divided by the variance: 0.7 to 1 for a doubled bad rate of independent requests, whatever the rate.
    The mode is at 3/4: a canary must find a doubling soon; a smaller harm takes a little longer.
    """
    return gamma(4.0, 1 / effect)


def log_e_worse(sums: StratifiedSums, rule: CanaryRule, paired: ShadowCounts = NO_PAIRS) -> float:
    """Log e-value against "equal for every user"."""
    s = float(sums.difference.sum()) + paired.difference
    totals = _contributions(sums.residual, rule)
    # Under the null these totals do not depend on the assignment, so the prior does not depend on the data.
    prior = harm_prior(_variance_ratio(totals, sums.squares, rule))
    # Under the null a pair is ±1/2 with equal probability: sub-Gaussian with variance 1/4.
    return log_assignment_mixture(s, totals, _lengths(sums, rule), prior, paired.discordant / 4)


def log_e_not_worse(sums: StratifiedSums, rule: CanaryRule, metric: Metric, paired: ShadowCounts = NO_PAIRS) -> float:
    """Log e-value against "worse than the margin"; below the threshold it is that of the normal mixture alone."""
    margin, weight = rule.margin(metric), float(sums.weight.sum()) + paired.weight
    s = margin * weight - float(sums.difference.sum()) - paired.difference
    totals, lengths = -_contributions(_jackknife_residual(sums), rule), _lengths(sums, rule)
    seen, effect = _variance(totals, lengths), design_effect(sums, rule)
    live = effect * _null_variance(sums, margin)
    if not (weight > 0 and live > 0) or (_leverage(sums) > MAX_LEVERAGE).any():
        return 0.0
    v = live + paired.null_variance(margin)
    rho = (v / (margin * weight)) ** 2
    normal = log_normal_mixture(s, v, rho)
    if normal < promotion_threshold(rule) or not seen:
        return normal  # the exact one takes longer and can only lower it; without any bad row it does not exist
    return min(normal, log_assignment_mixture(s, totals * math.sqrt(live / seen), lengths, half_normal(rho), v - live))


def design_effect(sums: StratifiedSums, rule: CanaryRule) -> float:
    """Ratio of the variance of the difference to that of independent requests; at least 1."""
    difference = _rate_difference(sums)
    squares = sums.squares - 2 * difference * sums.difference + difference**2 * sums.weight
    return _variance_ratio(_contributions(_jackknife_residual(sums), rule), squares, rule)


def _variance_ratio(totals: Floats, squares: Floats, rule: CanaryRule) -> float:
    """Variance under the assignment of users, divided by that under an assignment of single requests."""
    shares = np.array(rule.shares()[: len(squares)])
    single = float(shares * (1 - shares) @ squares)
    return max(1.0, _variance(totals, np.diff([0.0, *shares, 1.0])) / single) if single > 0 else 1.0


def _null_variance(sums: StratifiedSums, margin: float) -> float:
    """Variance of the difference if the candidate is worse by exactly the margin and requests are independent."""
    weight, stable_weight = sums.weight.sum(), sums.stable_weight.sum()
    if not weight:
        return 0.0
    # The rate of both arms minus what the candidate adds to it. Rates that vary over time only make this larger.
    stable = float(np.clip((sums.level.sum() - _rate_difference(sums) * (weight - stable_weight)) / weight, 0, 1))
    # If hardly any answer of the stable version is good, a candidate worse by the margin has no variance: then the
    # candidate's own variance, the larger one, is used.
    rates = min(stable + margin, 1.0), float(np.clip(stable + _rate_difference(sums), 0, 1))
    variance = max(rate * (1 - rate) for rate in rates)
    return float(stable_weight * variance + (weight - stable_weight) * stable * (1 - stable))


def _rate_difference(sums: StratifiedSums) -> float:
    """The estimated difference of the bad rates."""
    weight = sums.weight.sum()
    return float(sums.difference.sum() / weight) if weight else 0.0


def _jackknife_residual(sums: StratifiedSums) -> Floats:
    """Totals of the users minus the difference between the arms, each compared with an estimate without that user."""
    remaining = sums.residual - _rate_difference(sums) * sums.side
    return remaining / (1 - np.minimum(_leverage(sums), MAX_LEVERAGE))[:, None]


def _leverage(sums: StratifiedSums) -> Floats:
    """[users] Part of the estimated difference that is one user's own: the user's part of the weight of the arm."""
    weight = sums.weight.sum()
    return np.abs(sums.side).sum(axis=1) / weight if weight else np.zeros(len(sums.side))


def _contributions(residual: Floats, rule: CanaryRule) -> Floats:
    """[users, intervals] What a user adds to the difference if the user's place is in each interval between shares."""
    shares = np.array(rule.shares()[: residual.shape[1]])
    steps, intervals = np.arange(len(shares)), np.arange(len(shares) + 1)
    on_candidate = intervals[None, :] <= steps[:, None]
    return residual @ (on_candidate - shares[:, None])


def _lengths(sums: StratifiedSums, rule: CanaryRule) -> Floats:
    """Lengths of the intervals between the shares so far."""
    return np.diff([0.0, *rule.shares()[: len(sums.weight)], 1.0])


def _variance(totals: Floats, lengths: Floats) -> float:
    """Variance of the sum over users whose places are random; their totals have mean zero."""
    return float((totals**2 @ lengths).sum())


def _arm_counts(rows: Evidence, chosen: Bools) -> ArmCounts:
    return ArmCounts(
        requests=int(chosen.sum()), bad=int(rows.bad[chosen].sum()), users=len(np.unique(rows.unit[chosen]))
    )
