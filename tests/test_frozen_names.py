"""Names that are stored, hashed into keys, scraped, configured or used to start workflows do not change."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from pydantic import Field

from lake.lake import Lake
from models.serialize import from_plain, stored_fields, to_plain
from tests.frozen.derive import derived, flat, source_names, stored_names
from tests.frozen.file import recorded
from tests.frozen.ledger import faults, forms, names


@pytest.mark.parametrize("section", [name for name in recorded() if name != "ledger"])
def test_every_frozen_name_exists(section: str) -> None:
    known = recorded()[section]
    frozen, now = set(flat(known["names"])), set(flat(derived()[section]))
    gone, new = sorted(frozen - now), sorted(now - frozen)
    assert not gone, f"{section}: gone are {gone}. They must stay: {known['why']}"
    assert not new, f"{section}: new are {new}. If that is meant, run `python -m tests.frozen.derive` and commit"


def test_the_file_and_the_code_have_the_same_sections() -> None:
    assert recorded().keys() == {*derived(), "ledger"}
    assert all(section["why"] for section in recorded().values())


def test_every_kind_of_the_ledger_is_still_written() -> None:
    known = source_names()
    ends = {"trial_complete", "trial_pruned", "trial_diverged"}  # named after the values of an enumeration
    assert [kind for kind in sorted(forms().keys() - ends) if kind not in known] == [], recorded()["ledger"]["why"]
    assert {"trial_", *(kind.removeprefix("trial_") for kind in ends)} <= known


def test_every_name_of_a_payload_is_still_in_the_code() -> None:
    assert sorted(names() - source_names()) == [], recorded()["ledger"]["why"]


def test_an_entry_of_another_form_is_found() -> None:
    good = {"entry": "0" * 64, "run": "run-1"}
    assert faults("models/agents", "told", "told:1", good) == []
    assert faults("models/agents", "alerted", "told:1", good) == ["the ledger has no kind 'alerted'"]
    assert faults("alerts/agents", "told", "told:1", good) == ["told: it stands in chain 'alerts/agents', not models/*"]
    assert faults("models/agents", "told", "alerted:1", good) == ["told: its key is 'alerted:1', not one of ['told:*']"]
    assert faults("models/agents", "told", "told:1", {"entry": "", "by": ""}) == [
        "told: 'run' is missing in its payload",
        "told: 'by' in its payload is new",
    ]
    materialized = {"users": 1, "agents": 1, "namespaces": 0}
    assert faults("sources/features", "materialized", "materialized:x", materialized) == []
    reasons = {"object": "raw/x", "sha256": "", "landed": 1, "committed": 0, "quarantined": 1, "duplicates": 0}
    for counted in ({}, {"malformed_json": 1}):
        payload = {**reasons, "watermark": None, "reasons": counted}
        assert faults("sources/agents", "ingested", "ingest:x", payload) == []


def test_what_the_code_appends_is_checked_while_tests_run(lake: Lake) -> None:
    def append(module: str, kind: str) -> None:
        exec(f"lake.ledger.append('models/agents', {kind!r}, {kind!r}, {{}})", {"__name__": module, "lake": lake})

    append("tests.of_mine", "a_note")
    with pytest.raises(AssertionError, match="the ledger has no kind 'a_word'"):
        append("models.registry.of_mine", "a_word")


@dataclass(frozen=True, kw_only=True, slots=True)
class Renamed:
    """A stored type with a field whose Python name differs from the stored name."""

    kind: str
    p_value: Annotated[float, Field(alias="chance")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    parts: list[Renamed]


def test_a_field_with_another_name_in_python_is_stored_under_the_old_one_and_read_from_it() -> None:
    evidence = Renamed(kind="mean", p_value=0.01)
    stored = {"kind": "mean", "chance": 0.01}
    assert stored_names(Renamed) == ["kind", "chance"]
    assert stored_fields(evidence) == to_plain(evidence) == stored
    assert from_plain(Renamed, stored) == evidence
    assert to_plain(Container(parts=[evidence])) == {"parts": [stored]}
    assert from_plain(Container, {"parts": [stored]}) == Container(parts=[evidence])
