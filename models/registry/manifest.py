"""The manifest of a registered version, ``manifest.json``, written last into the version's folder, and the model card.

The card, README.md beside the weights, is for readers of the folder without Fuelline; its YAML header is the one that
model hubs and peft read. It contains only what the manifest has, and no time of writing, so registering again writes
the same bytes.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from jinja2 import StrictUndefined, Template

from models.spec import ModelSpec, TrainingProfile
from models.types import UNKNOWN_CAUSE, Cause, Evaluation, ModelVersion

TEMPLATE = Path(__file__).with_name("card.md")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything that a version is and was made from; ``manifest.json`` is its plain form."""

    version: ModelVersion
    evaluation: Evaluation
    """With the adapter, its training set and the pinned snapshots: the lineage."""
    spec: ModelSpec
    profile: TrainingProfile
    machine: dict[str, str]
    """What the bytes depend on besides the inputs: device, threads, versions of torch and peft."""
    files: dict[str, str]
    """sha256 of every other file of the folder, by name."""
    cause: Cause = UNKNOWN_CAUSE


def render_card(manifest: Manifest) -> str:
    """The card as Markdown with a YAML header."""
    template = Template(TEMPLATE.read_text(), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    adapter = manifest.evaluation.adapter
    return template.render(manifest=manifest, adapter=adapter, data=adapter.training_set, isfinite=math.isfinite)
