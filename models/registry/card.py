"""The model card of a registered version: README.md beside the weights, for readers of the folder without Fuelline.

It contains only what the manifest has, and no time of writing, so registering again writes the same bytes. The YAML
header is the one that model hubs and peft read.
"""

import math

from models.registry.manifest import Manifest
from models.types import ScoreDifference


def render_card(manifest: Manifest) -> str:
    """The card as Markdown with a YAML header."""
    return (
        "\n\n".join([_head(manifest), _scores(manifest), _lineage(manifest), _training(manifest), _use(manifest)])
        + "\n"
    )


def _head(manifest: Manifest) -> str:
    agents = ", ".join(manifest.spec.agents) or "every agent of the registry"
    return f"""---
library_name: peft
tags: [lora, fuelline]
---

# {manifest.version.name}

A LoRA adapter for {agents}, served under the immutable name `{manifest.version.adapter_name}`.
It was registered because it was shown better than `{manifest.evaluation.baseline}` on the same held-out rows."""


def _scores(manifest: Manifest) -> str:
    evaluation = manifest.evaluation
    rows = "\n".join(_score_row(part) for part in [evaluation.overall, *evaluation.agents])
    return f"""## How much better

Negative log likelihood of the accepted answers, nats per response token: lower is better. The intervals are resampled
by user; those of the agents hold simultaneously.

| slice | rows | users | {manifest.version.name} | {evaluation.baseline} | difference | interval |
|---|---:|---:|---:|---:|---:|---|
{rows}"""


def _score_row(part: ScoreDifference) -> str:
    interval = f"{part.low:+.4f} .. {part.high:+.4f}" if math.isfinite(part.low) else "too few users"
    scores = f"{part.candidate:.4f} | {part.baseline:.4f} | {part.difference:+.4f}"
    return f"| {part.slice} | {part.rows} | {part.users} | {scores} | {interval} |"


def _lineage(manifest: Manifest) -> str:
    data = manifest.evaluation.adapter.training_set
    inputs = "\n".join(f"- `{version}` ({version.rows:,} rows)" for version in [*data.inputs, data.table])
    return f"""## What it was made of

{data.train_rows:,} interactions to train on and {data.test_rows:,} held out (from {data.split_at.isoformat()} on),
out of what was known at {data.cut.isoformat()}. Training set `{data.training_set_id}`, from these snapshots:

{inputs}"""


def _training(manifest: Manifest) -> str:
    adapter, profile = manifest.evaluation.adapter, manifest.profile
    machine = ", ".join(f"{name} {value}" for name, value in manifest.machine.items())
    cause = manifest.cause
    person = f" (by {cause.by})" if cause.by else ""
    return f"""## Why and how it was trained

Trigger `{cause.trigger}`{person}: {cause.reason}

{adapter.steps:,} steps over {adapter.tokens:,} tokens with profile `{profile.name}`, seed {profile.seed}:
rank {profile.lora_rank}, peak rate {profile.learning_rate:g}. Base model digest `{adapter.base_digest}`;
prompt version {manifest.spec.prompt_version}; feature service `{manifest.spec.features}`.
Machine: {machine}."""


def _use(manifest: Manifest) -> str:
    return f"""## Limits

It answers as its agents answered in those interactions, their mistakes included; feedback only weighs the examples.
`manifest.json` holds the digest of every file here; `fuelline replay {manifest.version.name}` trains it again and
compares the bytes."""
