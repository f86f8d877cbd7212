"""The manifest of a registered version: the content of ``manifest.json``, written last into the version's folder."""

from dataclasses import dataclass

from models.spec import ModelSpec, TrainingProfile
from models.types import UNKNOWN_CAUSE, Cause, Evaluation, ModelVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything that a version is and was made from; ``manifest.json`` is its plain form."""

    version: ModelVersion
    evaluation: Evaluation
    """With the adapter, its training set and the pinned snapshots: the lineage."""
    spec: ModelSpec
    """With the feature service and the prompt version."""
    profile: TrainingProfile
    """With the seed and every hyperparameter."""
    machine: dict[str, str]
    """What the bytes depend on besides the inputs: device, threads, versions of torch and peft."""
    files: dict[str, str]
    """sha256 of every other file of the folder, by name."""
    cause: Cause = UNKNOWN_CAUSE
    """Why it was trained."""
