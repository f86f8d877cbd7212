"""The probe: scores of an adapter and its base, taken without changing the model."""

from pathlib import Path

import pytest

from lake.lake import Lake
from models.llm.base_model import load, resolve
from models.llm.lora import add_adapter, attach
from models.llm.probe import SENTENCES, Probe, ProbeLine, take_probe
from models.registry.registry import read_probe, register
from tests.world.world import PROFILE, SPEC, lake_with_tiny, shown_better, trained


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


def test_the_probe_of_a_registered_version_is_reproduced_by_its_adapter(lake: Lake) -> None:
    adapter = trained(lake)
    version = register(lake, shown_better(adapter), SPEC, PROFILE)
    base = resolve(lake.settings)
    loaded = load(base)
    model = attach(loaded.model, lake.store, version.path, name="default", base=base, digest=version.digest)
    kept, again = read_probe(lake, version), take_probe(model, loaded.tokenizer)
    assert kept is not None
    assert [(line.tokens, line.watched) for line in kept.lines] == [(line.tokens, line.watched) for line in again.lines]
    for before, now in zip(kept.lines, again.lines, strict=True):
        assert now.adapter == pytest.approx(before.adapter, abs=1e-3)
        assert now.base == pytest.approx(before.base, abs=1e-3)
        assert max(abs(a - b) for a, b in zip(before.adapter, before.base, strict=True)) > 0.1


def test_an_untrained_adapter_has_the_scores_of_the_base(lake: Lake) -> None:
    loaded = load(resolve(lake.settings))
    model = add_adapter(loaded.model, PROFILE)
    model.train()
    probe = take_probe(model, loaded.tokenizer)
    assert len(probe.lines) == 2 * len(SENTENCES)
    assert all(line.adapter == pytest.approx(line.base, abs=1e-4) for line in probe.lines)
    assert model.training
    assert model.active_adapters == ["default"]


def test_a_probe_is_read_as_it_was_written() -> None:
    probe = Probe(lines=[ProbeLine(tokens=[1, 2], watched=[3, 4], adapter=[-0.5, -1.25], base=[-2.0, -3.0])])
    assert Probe.decode(probe.encode()) == probe


@pytest.mark.parametrize("watched", [[], [3]])
def test_a_line_without_a_score_for_each_token_is_refused(watched: list[int]) -> None:
    with pytest.raises(ValueError, match=f"each of its {len(watched)} watched"):
        ProbeLine(tokens=[1, 2], watched=watched, adapter=[-0.5, -1.25], base=[-2.0, -3.0])
