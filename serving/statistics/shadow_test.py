"""The test of a shadow: which harm it counts, and what shows it or excludes it.

``serving.rollout.shadow`` runs both versions and appends the verdict.

Bad events are counted in pairs, one per request: the accepted answer much less likely than before, an empty answer, an
answer that does not end. A promotion needs every harm excluded, so a candidate with any one of them passes no more
often than that one test errs (intersection-union, Berger 1982, Technometrics 24(4)). A rejection needs one harm shown,
at a third of the error each (Bonferroni). Otherwise the verdict is inconclusive, which never promotes.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from models.evaluation.statistics import Interval, PairedScores, excess_limit, paired_interval, sign_test
from models.llm.likelihood import Generated
from models.types import Outcome

REJECTING_TESTS = 3
"""Average likelihood, likelihood of single answers, generated answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowRule:
    """What counts as harm, and the error probability. It is an input of a launch plan."""

    error: float = 0.05
    """Probability of promoting a harmful candidate, and of rejecting a harmless one, at most."""
    tolerated_loss: float = 0.02
    """Nats per response token by which the accepted answers may be less likely on average."""
    event_margin: float = 0.5
    """Nats per response token: an accepted answer less likely by more than this is a bad event."""
    tolerated_likelihood_excess: float = 0.05
    """Share of requests by which the candidate's bad events of likelihood may exceed the baseline's."""
    tolerated_generation_excess: float = 1 / 3
    """The same for generated answers. Sixteen of them cannot exclude less; lower it where there are hundreds."""
    min_users: int = 10
    """With fewer users the likelihood shows nothing."""
    resamples: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.error < 0.5:
            raise ValueError(f"error must lie between 0 and 0.5, not {self.error}; 0.05 is usual")


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedEvents:
    """Bad events of one kind over the same requests. The ledger stores ``p_value`` as ``chance``."""

    pairs: int
    candidate_only: int
    baseline_only: int
    excess_limit: float
    """Upper limit of the candidate's excess rate."""
    p_value: Annotated[float, Field(alias="chance")]
    """Of at least this many candidate-only events if both were equal (exact McNemar test, one-sided)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowEvidence:
    """The counts and the likelihood of both versions. The ledger stores these field names."""

    requests: int
    fresh: int
    """Requests among them that the evaluation had not scored."""
    users: int
    difference: float
    """Candidate minus baseline, nats per response token: below zero is better."""
    low: float
    high: float
    likelihood: PairedEvents
    generation: PairedEvents
    empty: dict[str, int]
    """Empty answers of ``candidate`` and ``baseline``."""
    runaway: dict[str, int]
    """Answers that did not end within ``max_new_tokens``."""


def weigh(
    scores: PairedScores, candidate: list[Generated], baseline: list[Generated], fresh: int, rule: ShadowRule
) -> ShadowEvidence:
    """Count the bad events of both versions.

    ``scores`` has the likelihoods of the accepted answers, a request a row. The evaluation had not scored ``fresh`` of
    these requests; ``candidate`` and ``baseline`` are generated answers to the same ones of them.
    """
    average = _average(scores, rule)
    change = (scores.candidate - scores.baseline) / scores.tokens
    sides = {"candidate": candidate, "baseline": baseline}
    broken, broken_before = (
        np.array([not answer.text or not answer.finished for answer in answers], bool) for answers in sides.values()
    )
    return ShadowEvidence(
        requests=len(scores),
        fresh=fresh,
        users=average.users,
        difference=average.difference,
        low=average.low,
        high=average.high,
        likelihood=_events(change > rule.event_margin, change < -rule.event_margin, rule),
        generation=_events(broken & ~broken_before, broken_before & ~broken, rule),
        empty={side: sum(not answer.text for answer in answers) for side, answers in sides.items()},
        runaway={side: sum(not answer.finished for answer in answers) for side, answers in sides.items()},
    )


def decide(evidence: ShadowEvidence, rule: ShadowRule) -> tuple[Outcome, str]:
    """The verdict on the evidence alone, and its reason in a sentence."""
    if evidence.users < rule.min_users:
        return Outcome.INCONCLUSIVE, f"Requests of {evidence.users} users show nothing; {rule.min_users} are needed."
    if harm := _harm_shown(evidence, rule):
        return Outcome.REJECTED, f"Harm is shown: {harm}."
    if possible := _harm_possible(evidence, rule):
        return Outcome.INCONCLUSIVE, f"Harm is not excluded: {possible}."
    return Outcome.PROMOTED, (
        f"No harm on {evidence.requests} requests and {evidence.generation.pairs} generated answers: accepted answers "
        f"{_interval_text(evidence)}."
    )


def _harm_shown(evidence: ShadowEvidence, rule: ShadowRule) -> str:
    if evidence.low > 0:
        return f"accepted answers are less likely, {_interval_text(evidence)}"
    for name, events in (("less likely answers", evidence.likelihood), ("broken answers", evidence.generation)):
        if events.p_value < rule.error / REJECTING_TESTS:
            only = events.candidate_only, events.baseline_only
            return f"{only[0]} {name} of the candidate alone, {only[1]} of the baseline alone"
    return ""


def _harm_possible(evidence: ShadowEvidence, rule: ShadowRule) -> str:
    if evidence.high >= rule.tolerated_loss:
        return f"accepted answers {_interval_text(evidence)}, tolerated {rule.tolerated_loss:+.4f}"
    if evidence.likelihood.excess_limit >= rule.tolerated_likelihood_excess:
        return f"less likely answers may be up by {evidence.likelihood.excess_limit:.1%} of the requests"
    if evidence.generation.excess_limit >= rule.tolerated_generation_excess:
        return f"broken answers may be up by {evidence.generation.excess_limit:.1%} of the requests"
    return ""


def _interval_text(evidence: ShadowEvidence) -> str:
    return f"{evidence.difference:+.4f} nats per token (interval {evidence.low:+.4f} to {evidence.high:+.4f})"


def _average(scores: PairedScores, rule: ShadowRule) -> Interval:
    """The average difference with one interval for both tests of it, at the stricter of their levels."""
    if not len(scores):
        return Interval(difference=0.0, low=-math.inf, high=math.inf, rows=0, users=0)
    return paired_interval(scores, confidence=1 - 2 * rule.error / REJECTING_TESTS, resamples=rule.resamples)


def _events(worse: np.ndarray, better: np.ndarray, rule: ShadowRule) -> PairedEvents:
    b, c = int(worse.sum()), int(better.sum())
    return PairedEvents(
        pairs=len(worse),
        candidate_only=b,
        baseline_only=c,
        excess_limit=excess_limit(b, c, len(worse), confidence=1 - rule.error),
        p_value=sign_test(b, c),
    )
