"""What a model is (``ModelSpec``) and how it is trained and evaluated (``TrainingProfile``), as plain typed scalars.

Both are launch-plan inputs: they are versioned with the launch plan and shown in Flyte's console. A profile is a named
function that returns a complete configuration, so no run is assembled from fragments.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from errors import UnknownName
from models.prompt import PROMPT_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """What a model is: everything that its answers depend on, except the data."""

    name: str = "agents"
    """The model's name, and with it its chain in the ledger."""
    agents: list[str] = field(default_factory=list)
    """The agents whose interactions it is trained on and answers for; empty: every agent of the registry."""
    base: str = ""
    """Base model in the form of ``FUELLINE_BASE_MODEL``; empty: that setting. The training key has its digest."""
    features: str = "agents_v2"
    """The Feast feature service that its prompt is rendered from."""
    prompt_version: str = PROMPT_VERSION
    """Version of the prompt's wording; training refuses any other than this release renders."""

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("-", "").isalnum() or self.name != self.name.lower():
            raise ValueError(f"a model's name has lower-case letters, digits and dashes, not {self.name!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingProfile:
    """Sizes and hyperparameters of a training, its evaluation and its shadow test."""

    name: str
    epochs: float = 1.0
    """Passes over the training rows; limited by ``max_steps``."""
    max_steps: int = 0
    """Upper limit of optimizer steps; 0: none, ``epochs`` decides."""
    batch_size: int = 8
    """Rows per forward pass and process. A step has batch_size x gradient_accumulation x processes rows."""
    gradient_accumulation: int = 1
    """Forward passes per step. Trades memory for time; the result equals that of the larger batch within rounding."""
    processes: int = 0
    """Training processes on this machine; 0: one per GPU, or one on the CPU. Under torchrun its world size applies."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW, reached after ``warmup_share`` of the steps."""
    warmup_share: float = 0.1
    """Share of the steps over which the rate rises linearly from 0 (0..1)."""
    schedule: str = "cosine"
    """How the rate falls after the warm-up, named as in transformers: ``cosine``, ``linear``,
    ``constant_with_warmup``."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the LoRA weights (AdamW)."""
    clip_norm: float = 1.0
    """Upper limit of the L2 norm of a step's gradient; a larger one is scaled down to it."""
    lora_rank: int = 8
    """Rank of each LoRA pair; the number of trained weights and the file's size are proportional to it."""
    lora_alpha: int = 16
    """LoRA's scale is alpha / rank: keep the quotient when you change the rank."""
    lora_dropout: float = 0.0
    """Dropout before the first LoRA matrix (0..1)."""
    lora_targets: list[str] = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj"])
    """Linear layers of the base that get a LoRA pair, by the last part of their names."""
    seed: int = 0
    """Seed of LoRA's initial weights, the order of the rows, and dropout."""
    dtype: str = "auto"
    """Of the base and the forward pass: ``bfloat16``, ``float32``, or ``auto`` (bfloat16 where the hardware supports
    it: GPUs, processors with AVX512-BF16 or AMX)."""
    max_tokens: int = 512
    """Upper limit of tokens per example, prompt and response; ``models.llm.tokens`` says what is cut."""
    threads: int = 0
    """CPU threads of torch; 0: torch's choice. Weights are equal byte for byte only at equal thread counts."""
    checkpoint_every: int = 50
    """Steps between checkpoints. Does not change the result."""
    eval_rows: int = 0
    """Held-out rows of the evaluation, stratified by agent; 0: all."""
    shadow_requests: int = 0
    """Recent requests on which the shadow test compares the likelihood of the accepted answers; 0: all."""
    shadow_generations: int = 64
    """Recent requests that both versions answer in full in the shadow test."""
    max_new_tokens: int = 128
    """Upper limit of tokens per generated answer; one that reaches it without an end of turn counts as a runaway."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "gradient_accumulation", "lora_rank", "checkpoint_every", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.epochs <= 0 or self.learning_rate <= 0 or self.clip_norm <= 0:
            raise ValueError("epochs, learning_rate and clip_norm must be above 0")
        if self.max_tokens < 16:
            raise ValueError(f"max_tokens must be at least 16, for a prompt and a response, not {self.max_tokens}")
        if self.schedule not in ("cosine", "linear", "constant_with_warmup"):
            raise ValueError(f"schedule must be cosine, linear or constant_with_warmup, not {self.schedule!r}")
        if self.dtype not in ("auto", "bfloat16", "float32"):
            raise ValueError(f"dtype must be auto, bfloat16 or float32, not {self.dtype!r}")

    @property
    def sizes(self) -> str:
        """The sizes in one line: ``laptop: 32 steps of 8 rows, ...``."""
        steps = f"{self.max_steps} steps" if self.max_steps else f"{self.epochs:g} passes in steps"
        held_out, requests = self.eval_rows or "all", self.shadow_requests or "all"
        return (
            f"{self.name}: {steps} of {self.batch_size * self.gradient_accumulation} rows a process, LoRA rank "
            f"{self.lora_rank}, loss over response positions only; evaluated on {held_out} held-out rows; shadow test "
            f"by likelihood on {requests} requests and by generation on {self.shadow_generations}"
        )

    def training_parameters(self) -> dict[str, object]:
        """The fields that change the trained weights, which the training key contains."""
        return {name: value for name, value in asdict(self).items() if name not in _NOT_IN_KEY}


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainingInputs:
    """The inputs of a retraining that a trigger requests. The other inputs are those of its launch plan."""

    spec: ModelSpec
    profile: TrainingProfile
    source: str
    """The source whose data quality is checked; empty: all that landed in the data set."""


_NOT_IN_KEY = {"name", "checkpoint_every", "eval_rows", "shadow_requests", "shadow_generations", "max_new_tokens"}

EVERY_LAYER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Llama block, of attention and of the feed-forward part."""


def smoke() -> TrainingProfile:
    """Runs in seconds: shows that the pipeline works; the model learns little."""
    return replace(laptop(), name="smoke", max_steps=4, eval_rows=40, shadow_requests=20, shadow_generations=2)


def laptop() -> TrainingProfile:
    """About a minute of training on two cores, evaluated on a sample: a small base model improves measurably."""
    return TrainingProfile(
        name="laptop",
        max_steps=32,
        batch_size=8,
        # Held-out loss on real interactions after 40 steps, from 3.49: attention layers at 2e-3 2.27, at 5e-3 2.14;
        # all layers at 5e-3 1.96, in 10% more time.
        learning_rate=5e-3,
        lora_targets=list(EVERY_LAYER),
        max_tokens=256,
        threads=2,
        checkpoint_every=10,
        eval_rows=400,
        shadow_requests=200,
        shadow_generations=16,
        max_new_tokens=48,
    )


def forge() -> TrainingProfile:
    """All rows, on the Forge's A100s: one process per GPU, bfloat16, all held-out rows."""
    return TrainingProfile(
        name="forge",
        epochs=2.0,
        batch_size=32,
        learning_rate=5e-4,
        lora_rank=16,
        lora_alpha=32,
        lora_dropout=0.05,
        lora_targets=list(EVERY_LAYER),
        max_tokens=2048,
        checkpoint_every=200,
        shadow_generations=256,
        max_new_tokens=256,
    )


PROFILES: dict[str, Callable[[], TrainingProfile]] = {"smoke": smoke, "laptop": laptop, "forge": forge}


def profile(name: str) -> TrainingProfile:
    """The profile with this name. Raises ``UnknownName`` with similar names."""
    if name not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name]()
