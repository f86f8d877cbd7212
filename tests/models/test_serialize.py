"""Records as plain JSON: what existing lakes store is read, and written under the same names."""

import math

import pytest
from pydantic import ValidationError

from features.drift import Profile, Shift
from models.serialize import from_plain, stored_fields, to_plain
from models.triggers.power import Sensitivity
from models.types import ScoreDifference

STORED_PROFILE = {
    "name": "query_characters",
    "rows": 500,
    "clusters": 40.0,
    "missing": 3,
    "days": 28,
    "unrest": {"mean": 0.4},
    "mean": 60.0,
    "sd": 20.0,
    "error": 1.5,
    "quantiles": [1.0, 60.0, 90.0],
    "shares": {},
}


def test_a_stored_profile_keeps_its_daily_variability() -> None:
    profile = from_plain(Profile, STORED_PROFILE)
    assert profile.daily_variability == {"mean": 0.4}
    assert to_plain(profile) == STORED_PROFILE


def test_a_shift_is_evidence_under_its_stored_names() -> None:
    shift = Shift(
        name="topic", kind="shares", size=0.3, p_value=1e-4, psi=0.3, daily_variability=0.1, rows=90, clusters=30.0
    )
    fields = stored_fields(shift)
    assert list(fields)[:7] == ["name", "kind", "size", "chance", "psi", "ks", "unrest"]
    assert (fields["chance"], fields["unrest"]) == (1e-4, 0.1)


def test_the_sensitivity_of_a_rule_is_evidence_under_its_stored_names() -> None:
    power = Sensitivity(minimum_detectable_effect=0.2, days_to_detect_doubling=math.inf)
    assert stored_fields(power) == {"smallest_rise": 0.2, "days_to_doubled": math.inf}


def test_an_unbounded_interval_comes_back() -> None:
    scores = {"candidate": 1.0, "baseline": 1.0, "difference": 0.0}
    unbounded = ScoreDifference(slice="all", rows=1, users=1, **scores, low=-math.inf, high=math.inf)
    assert to_plain(unbounded)["high"] == "Infinity"
    assert from_plain(ScoreDifference, to_plain(unbounded)) == unbounded


def test_a_record_of_another_shape_is_refused() -> None:
    with pytest.raises(ValidationError, match="clusters"):
        from_plain(Profile, {"name": "topic", "rows": 1, "missing": 0})
