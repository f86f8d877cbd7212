"""The same training with trl's ``SFTTrainer``: same rows, prompts and hyperparameters.

trl's own defaults that would slow it down here, or change what is learnt, are set to ours: bfloat16 and gradient
checkpointing off.
"""

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found]
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

from benchmarks.examples import read
from benchmarks.harness import Figures
from benchmarks.training import base_path, profile, speed
from models.prompt import render


def train(rows: str, threads: int, grouped: bool, scratch: str) -> Figures:
    """One pass over the rows; ``grouped``: rows of similar length together, as in ours."""
    torch.set_num_threads(threads)
    examples = read(rows)
    path = base_path()
    pace = _Pace()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa"),
        processing_class=AutoTokenizer.from_pretrained(path),
        train_dataset=Dataset.from_list([_example(row) for row in examples]),
        args=_arguments(threads, len(examples), grouped, scratch),
        peft_config=_lora(threads, len(examples)),
        callbacks=[pace],
    )
    pace.count_tokens_of(trainer)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return speed(pace.clock, losses)


def _example(row: dict[str, Any]) -> dict[str, Any]:
    answer = [{"role": "assistant", "content": row["response"]}]
    return {"prompt": render(row["agent_name"], row, row["user_query"]), "completion": answer}


def _arguments(threads: int, rows: int, grouped: bool, scratch: str) -> Any:
    wanted = profile(threads, rows)
    return SFTConfig(
        output_dir=str(Path(scratch, "trainer")),
        per_device_train_batch_size=wanted.batch_size,
        max_steps=wanted.max_steps,
        learning_rate=wanted.learning_rate,
        lr_scheduler_type=wanted.schedule,
        warmup_steps=round(wanted.max_steps * wanted.warmup_share),
        weight_decay=wanted.weight_decay,
        max_grad_norm=wanted.clip_norm,
        max_length=wanted.max_tokens,
        seed=wanted.seed,
        train_sampling_strategy="group_by_length" if grouped else "random",
        optim="adamw_torch",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        completion_only_loss=True,
        packing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _lora(threads: int, rows: int) -> LoraConfig:
    wanted = profile(threads, rows)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=wanted.lora_rank,
        lora_alpha=wanted.lora_alpha,
        lora_dropout=wanted.lora_dropout,
        target_modules=list(wanted.lora_targets),
    )


class _Pace(TrainerCallback):
    """The clock at the end of each step; tokens are counted where batches are made, padding left out."""

    def __init__(self) -> None:
        self.clock: list[tuple[float, int]] = []
        self._batches: list[int] = []

    def count_tokens_of(self, trainer: Any) -> None:
        """Count the tokens of a batch of the trainer's collator."""
        collate = trainer.data_collator

        def counted(examples: list[Any]) -> Any:
            batch = collate(examples)
            self._batches.append(int(batch["attention_mask"].sum()))
            return batch

        trainer.data_collator = counted

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the time; a step's batch may be made before the step before it ends."""
        self.clock.append((time.perf_counter(), sum(self._batches[: state.global_step])))
