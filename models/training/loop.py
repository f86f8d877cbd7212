"""The training loop: LoRA on a causal language model, with a weighted loss on the response tokens only.

It is plain PyTorch to make resuming exact: the only state is the adapter's weights, AdamW's moments and the number of
the step. Everything else (rows, learning rate, generator seeds) is computed from the step, so a checkpoint cannot miss
it.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from transformers import get_scheduler

from errors import TrainingError
from models.llm.distributed import ProcessGroup, dtype_of
from models.llm.likelihood import token_nll
from models.llm.tokens import TokenizedExamples, collate, endless_steps
from models.spec import TrainingProfile
from models.training.checkpoints import Checkpoints, Progress

log = logging.getLogger("fuelline.training")

LOG_SECONDS = 3.0
"""Least time between two log lines."""


OnStep = Callable[[Progress], None]
"""Called with the progress after each step."""


def planned_steps(rows: int, profile: TrainingProfile, world: int) -> int:
    """Number of optimizer steps of the profile on this number of rows."""
    wanted = math.ceil(profile.epochs * rows / step_rows(profile, world))
    return min(wanted, profile.max_steps) if profile.max_steps else wanted


def step_rows(profile: TrainingProfile, world: int) -> int:
    """Rows of one optimizer step over all processes."""
    return profile.batch_size * profile.gradient_accumulation * world


class TrainingLoop:
    """One training in one process; ``model`` has a new adapter, and everything else of it is frozen."""

    def __init__(
        self, model: Any, examples: TokenizedExamples, profile: TrainingProfile, group: ProcessGroup, pad: int
    ) -> None:
        self.examples, self.profile, self.group, self.pad = examples, profile, group, pad
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.model = torch.nn.parallel.DistributedDataParallel(model) if group.world > 1 else model
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=profile.learning_rate, weight_decay=profile.weight_decay
        )
        self.steps = planned_steps(len(examples), profile, group.world)
        self.rate = get_scheduler(
            profile.schedule, self.optimizer, round(self.steps * profile.warmup_share), self.steps
        ).lr_lambdas[0]
        self.bfloat16 = dtype_of(profile, group.device) == "bfloat16"

    def run(self, checkpoints: Checkpoints, on_step: OnStep | None = None) -> Progress:
        """Train from the latest checkpoint, or from the start, to the planned step.

        Raises ``TrainingError`` where the loss or the gradient is not finite; the message has the step.
        """
        progress = self._resume(checkpoints)
        pace = _Pace(progress, self.steps)
        size = step_rows(self.profile, self.group.world)
        order = endless_steps(self.examples.lengths, size, self.profile.seed, skip=progress.step)
        self.model.train()
        while progress.step < self.steps:
            rows = next(order)
            loss = self._step(progress.step, rows)
            progress = Progress(
                step=progress.step + 1,
                losses=(*progress.losses, loss),
                tokens=progress.tokens + int(self.examples.lengths[rows].sum()),
            )
            if self.group.rank == 0:
                if progress.step % self.profile.checkpoint_every == 0 and progress.step < self.steps:
                    checkpoints.save(progress, self._state())
                pace.log(progress)
                if on_step is not None:
                    on_step(progress)
        self.model.eval()
        return progress

    def _step(self, step: int, rows: np.ndarray) -> float:
        """One optimizer step; its loss."""
        # Seeded by step and process, so that checkpoints need no generator state.
        seed = hashlib.sha256(f"{self.profile.seed}/{step}/{self.group.rank}".encode()).digest()[:8]
        torch.manual_seed(int.from_bytes(seed, "big"))
        total = torch.zeros((), device=self.group.device)
        own = np.array_split(rows, self.profile.gradient_accumulation * self.group.world)[
            self.group.rank :: self.group.world
        ]
        scale = float((self.examples.weights[rows] * self.examples.response_lengths[rows]).sum())
        for i, part in enumerate(own):
            last = i == len(own) - 1
            with nullcontext() if last or self.group.world == 1 else self.model.no_sync():
                total += self._backward(part if len(part) else rows[:1], scale, counts=len(part) > 0)
        loss = self._finite("loss", float(self.group.sum(total)), step)
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.profile.clip_norm)
        self._finite("gradient norm", float(norm), step)
        for settings in self.optimizer.param_groups:
            settings["lr"] = self.profile.learning_rate * self.rate(step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def _backward(self, rows: np.ndarray, scale: float, *, counts: bool) -> torch.Tensor:
        """Add the gradient of these rows' part of the step's loss; a process without rows adds zero."""
        batch = collate(self.examples, rows, self.pad)
        weights = torch.from_numpy(self.examples.weights[rows][batch.rows] * counts).to(self.group.device)
        with torch.autocast(self.group.device.partition(":")[0], torch.bfloat16, enabled=self.bfloat16):
            nll = token_nll(self.model, batch)
        loss = (nll * weights).sum() / scale
        (loss * self.group.world).backward()  # DDP averages over processes; the step's loss is their sum
        return loss.detach()

    def _finite(self, what: str, value: float, step: int) -> float:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at step {step + 1} of {self.steps}; "
                f"lower learning_rate (now {self.profile.learning_rate}) or check the rows of that step"
            )
        return value

    def _state(self) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = {}
        for name, weight in self.weights.items():
            moments = self.optimizer.state[weight]
            state |= {f"weight.{name}": weight.detach(), f"step.{name}": moments["step"]}
            state |= {f"{kind}.{name}": moments[kind] for kind in ("exp_avg", "exp_avg_sq")}
        return {name: tensor.cpu() for name, tensor in state.items()}

    def _resume(self, checkpoints: Checkpoints) -> Progress:
        self.group.wait()
        found = checkpoints.latest()
        self.group.wait()  # no process writes before all have read
        if found is None:
            return Progress()
        progress, state = found
        for name, weight in self.weights.items():
            weight.data.copy_(state[f"weight.{name}"])
            moments = {kind: state[f"{kind}.{name}"].to(weight.device) for kind in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[weight] = {"step": state[f"step.{name}"], **moments}
        log.info("training continues after step %d of %d", progress.step, self.steps)
        return progress


class _Pace:
    """Logs speed and remaining time every few seconds."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.first, self.steps, self.started, self.logged = progress, steps, time.monotonic(), 0.0

    def log(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.logged <= LOG_SECONDS and progress.step < self.steps:
            return
        self.logged, elapsed = now, max(now - self.started, 1e-9)
        log.info(
            "step %d/%d  loss %.3f  %.0f tokens/s  %.0f s left",
            *(progress.step, self.steps, progress.losses[-1], (progress.tokens - self.first.tokens) / elapsed),
            elapsed / (progress.step - self.first.step) * (self.steps - progress.step),
        )
