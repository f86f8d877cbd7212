"""Is the candidate worse, or shown not to be? Two sequential tests a metric; one may look after every request.

Harm (null: equal for everybody). Had the users' places fallen otherwise, the same answers would have been counted on
other sides: so the distribution of the difference under the null is known from all users of both arms, however much
they differ (design-based, as in Ham, Bojinov, Lindon and Tingley 2022, arXiv:2210.08639), and is taken exactly.

Promotion (null: worse than the margin). The variance is that of the rates under the null, times the design effect that
the users show: the candidate's own scatter would vanish just when it was lucky. Each user is held against an estimate
that leaves him out, since one who asks most of an arm would draw it to himself and hide how unlike the others he is
(the jackknife over users: Bell and McCaffrey 2002, Survey Methodology 28(2); MacKinnon, Nielsen and Webb 2023, Journal
of Applied Econometrics 38(5)). The e-value is the smaller one of the normal mixture (an asymptotic confidence sequence:
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, Annals of Statistics 52(6)) and of the assignment's exact one.

A user's requests are alike, so the sums move on with what they have (increments correlate positively) and cross a
boundary no more often than independent increments of the same variances would (Slepian's inequality).
Rolling back needs one metric of three, each at a third of the error (Bonferroni); promoting needs all of them,
each at the full error (intersection-union, Berger 1982, Technometrics 24(4)). ``docs/canary-statistics.md`` has what
simulation found.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.policy import CanaryRule, Metric
from serving.statistics.mixtures import Prior, gamma, half_normal, log_assignment_mixture, log_normal_mixture
from serving.statistics.strata import Bools, Evidence, Floats, Totals, numbered, totals_of

MOST_OF_AN_ARM = 0.99
"""What one user may have of an arm: where it is more, there is nobody to hold him against, and nothing is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowCounts:
    """Broken answers to the same requests, from the shadow: one more stretch of the errors, with n requests an arm."""

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
        """Pairs of which one answer is broken."""
        return self.candidate_only + self.baseline_only

    def null_variance(self, margin: float) -> float:
        """Of the difference, if the candidate breaks more by the margin; what was seen if that is more."""
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
        """Share of bad ones; NaN without any request."""
        return self.bad / self.requests if self.requests else math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricAnalysis:
    """One metric at one look. E-values are given as natural logarithms: they grow beyond any float."""

    metric: Metric
    candidate: ArmCounts
    stable: ArmCounts
    difference: float
    """Candidate's bad rate minus the stable one, within stretches of time; NaN while there is nothing to compare."""
    margin: float
    design_effect: float
    """By how much the users' differences raise the variance over that of independent requests."""
    log_e_worse: float
    """Evidence against "equal"."""
    log_e_not_worse: float
    """Evidence against "worse than the margin"."""
    log_worse_at: float
    """``log_e_worse`` that shows harm."""
    log_not_worse_at: float
    """``log_e_not_worse`` that shows that it is not worse than the margin."""
    judged_for_promotion: bool

    @property
    def shown_worse(self) -> bool:
        """Whether harm is shown."""
        return self.log_e_worse >= self.log_worse_at

    @property
    def shown_not_worse(self) -> bool:
        """Whether it is shown not to be worse than the margin; so from the start when the metric is for harm alone."""
        return not self.judged_for_promotion or self.log_e_not_worse >= self.log_not_worse_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """All metrics at one look."""

    metrics: list[MetricAnalysis]

    @property
    def worse(self) -> bool:
        """Roll back: harm is shown in a metric."""
        return any(one.shown_worse for one in self.metrics)

    @property
    def not_worse(self) -> bool:
        """Promote, unless ``worse``: no metric is worse than its margin."""
        return all(one.shown_not_worse for one in self.metrics)


def analyse(evidence: Mapping[Metric, Evidence], rule: CanaryRule, shadow: ShadowCounts | None = None) -> Analysis:
    """Look at everything that was counted since the rollout began.

    Args:
        evidence: rows of each metric, from the first step on; a metric that is not there has no rows yet.
        rule: margins, errors, shares.
        shadow: paired answers of before.
    """
    return Analysis(metrics=[_metric(metric, evidence.get(metric), rule, shadow) for metric in Metric])


def _metric(metric: Metric, rows: Evidence | None, rule: CanaryRule, shadow: ShadowCounts | None) -> MetricAnalysis:
    if rows is None:
        none = np.zeros(0, np.int64)
        rows = Evidence(time=none, unit=none, candidate=none.astype(bool), bad=none.astype(bool))
    if len(rows.widened) >= len(rule.shares()):
        raise ValueError(f"{len(rows.widened)} times widened, but the rule has only {len(rule.shares())} shares")
    rows = numbered(rows)
    sums = totals_of(rows)
    paired = shadow if metric is Metric.ERROR else None
    harm, safe = log_e_worse(sums, rule, paired), log_e_not_worse(sums, rule, metric, paired)
    weight = sums.weight.sum()
    return MetricAnalysis(
        metric=metric,
        candidate=_count(rows, rows.candidate),
        stable=_count(rows, ~rows.candidate),
        difference=float(sums.difference.sum() / weight) if weight else math.nan,
        margin=rule.margin(metric),
        design_effect=design_effect(sums, rule),
        log_e_worse=harm,
        log_e_not_worse=safe,
        log_worse_at=log_worse_at(rule),
        log_not_worse_at=log_not_worse_at(rule),
        judged_for_promotion=rule.judged_for_promotion(metric),
    )


def log_worse_at(rule: CanaryRule) -> float:
    """Where harm is shown: any of the metrics may show it, each has its part of the error."""
    return math.log(len(Metric) / rule.rollback_error)


def log_not_worse_at(rule: CanaryRule) -> float:
    """Where a metric is shown not to be worse: every one has to be, so each has the whole error."""
    return math.log(1 / rule.promote_error)


def harm_prior(effect: float) -> Prior:
    """The prior of harm, where users raise the variance by so much.

    λ is the excess over the variance: for a doubled bad rate 0.7 to 1 if requests are independent, whatever the rate.
    The mode is at 3/4: a doubling is what a canary must find soon; what is rather less takes a little longer.
    """
    return gamma(4.0, 1 / effect)


def log_e_worse(sums: Totals, rule: CanaryRule, shadow: ShadowCounts | None = None) -> float:
    """Log e-value against "equal for everybody"."""
    paired = shadow or NO_PAIRS
    s = float(sums.difference.sum()) + paired.difference
    totals = _placed(sums.residual, rule)
    # Under the null these totals are the same whoever was placed where: so the prior does not know what was seen.
    prior = harm_prior(_effect(totals, sums.squares, rule))
    # A pair is ±1/2 with equal chances under the null, which is no wider than a normal of variance 1/4.
    return log_assignment_mixture(s, totals, _lengths(sums, rule), prior, paired.discordant / 4)


def log_e_not_worse(sums: Totals, rule: CanaryRule, metric: Metric, shadow: ShadowCounts | None = None) -> float:
    """Log e-value against "worse than the margin"; where it does not suffice, that of the normal mixture alone."""
    paired, margin = shadow or NO_PAIRS, rule.margin(metric)
    weight = float(sums.weight.sum()) + paired.weight
    s = margin * weight - float(sums.difference.sum()) - paired.difference
    totals, lengths = -_placed(_residual(sums), rule), _lengths(sums, rule)
    seen, effect = _variance(totals, lengths), design_effect(sums, rule)
    live = effect * _null_variance(sums, margin)
    if not (weight > 0 and live > 0) or (_leverage(sums) > MOST_OF_AN_ARM).any():
        return 0.0
    v = live + paired.null_variance(margin)
    rho = (v / (margin * weight)) ** 2
    normal = log_normal_mixture(s, v, rho)
    if normal < log_not_worse_at(rule) or not seen:
        return normal  # the exact one takes longer and could only lower it; without any bad row there is none
    return min(normal, log_assignment_mixture(s, totals * math.sqrt(live / seen), lengths, half_normal(rho), v - live))


def design_effect(sums: Totals, rule: CanaryRule) -> float:
    """By how much users raise the variance of the difference over that of independent requests; at least 1."""
    gap = _gap(sums)
    squares = sums.squares - 2 * gap * sums.difference + gap**2 * sums.weight
    return _effect(_placed(_residual(sums), rule), squares, rule)


def _effect(totals: Floats, squares: Floats, rule: CanaryRule) -> float:
    """Variance under the assignment of users, over that under an assignment of single requests."""
    shares = np.array(rule.shares()[: len(squares)])
    single = float(shares * (1 - shares) @ squares)
    return max(1.0, _variance(totals, _intervals(shares)) / single) if single > 0 else 1.0


def _null_variance(sums: Totals, margin: float) -> float:
    """Of the difference when the candidate is worse by exactly the margin and requests are independent."""
    weight, stable_weight = sums.weight.sum(), sums.stable_weight.sum()
    if not weight:
        return 0.0
    # The rate of both arms less what the candidate adds to it. Rates that vary over time only make this larger.
    stable = float(np.clip((sums.level.sum() - _gap(sums) * (weight - stable_weight)) / weight, 0, 1))
    # Where hardly anything of the stable version is good, one worse by the margin could not scatter at all: then
    # the candidate's own scatter, the larger one, stands.
    rates = min(stable + margin, 1.0), float(np.clip(stable + _gap(sums), 0, 1))
    scatter = max(rate * (1 - rate) for rate in rates)
    return float(stable_weight * scatter + (weight - stable_weight) * stable * (1 - stable))


def _gap(sums: Totals) -> float:
    """The difference of the bad rates, as it is estimated now."""
    weight = sums.weight.sum()
    return float(sums.difference.sum() / weight) if weight else 0.0


def _residual(sums: Totals) -> Floats:
    """Totals of the users without the difference between the arms, each against an estimate that leaves him out."""
    left = sums.residual - _gap(sums) * sums.side
    return left / (1 - np.minimum(_leverage(sums), MOST_OF_AN_ARM))[:, None]


def _leverage(sums: Totals) -> Floats:
    """[users] How much of the estimated difference is one user's own: his part of the weight of his arm."""
    weight = sums.weight.sum()
    return np.abs(sums.side).sum(axis=1) / weight if weight else np.zeros(len(sums.side))


def _placed(residual: Floats, rule: CanaryRule) -> Floats:
    """[users, intervals] What a user would add to the difference if his place were in each interval between shares."""
    shares = np.array(rule.shares()[: residual.shape[1]])
    steps, intervals = np.arange(len(shares)), np.arange(len(shares) + 1)
    on_candidate = intervals[None, :] <= steps[:, None]
    return residual @ (on_candidate - shares[:, None])


def _lengths(sums: Totals, rule: CanaryRule) -> Floats:
    """Of the intervals between the shares so far."""
    return _intervals(rule.shares()[: len(sums.weight)])


def _intervals(shares: Sequence[float] | Floats) -> Floats:
    return np.diff([0.0, *shares, 1.0])


def _variance(totals: Floats, lengths: Floats) -> float:
    """Of the sum over users whose places are random; their totals have mean zero."""
    return float((totals**2 @ lengths).sum())


def _count(rows: Evidence, chosen: Bools) -> ArmCounts:
    return ArmCounts(
        requests=int(chosen.sum()), bad=int(rows.bad[chosen].sum()), users=len(np.unique(rows.unit[chosen]))
    )
