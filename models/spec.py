"""What a model is (``ModelSpec``) and how it is trained and judged (``TrainingProfile``), as plain typed scalars.

Both are launch-plan inputs: they change behaviour, so they are versioned with the launch plan and shown in the console.
A profile is a named function that returns a whole configuration, so that no run is assembled from fragments.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from errors import UnknownName
from models.prompt import PROMPT_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """What a model is: everything but the data that its answers depend on."""

    name: str = "agents"
    """The model's name, and with it its chain in the ledger."""
    agents: list[str] = field(default_factory=list)
    """The agents whose interactions it learns from and answers for; empty: every agent of the registry."""
    base: str = ""
    """Base model as ``FUELLINE_BASE_MODEL`` takes it; empty: that setting. Training is keyed on its digest."""
    features: str = "agents_v2"
    """The Feast feature service that its prompt is rendered from."""
    prompt_version: str = PROMPT_VERSION
    """Version of the prompt's wording; training refuses another one than this release renders."""

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("-", "").isalnum() or self.name != self.name.lower():
            raise ValueError(f"a model is named in lower-case letters, digits and dashes, not {self.name!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingProfile:
    """Sizes and hyperparameters of one training with its evaluation and shadow."""

    name: str
    epochs: float = 1.0
    """Passes over the training rows; cut short by ``max_steps``."""
    max_steps: int = 0
    """Optimizer steps at most; 0: as many as ``epochs`` asks for."""
    batch_size: int = 8
    """Rows a forward pass and process. With the next two it makes a step's rows: batch x accumulation x processes."""
    gradient_accumulation: int = 1
    """Forward passes a step. Trades memory for time; the result is the larger batch's within rounding."""
    processes: int = 0
    """Training processes on this machine; 0: one per GPU, one on a CPU. Under torchrun its world size rules."""
    learning_rate: float = 1e-3
    """Peak rate of AdamW, reached after ``warmup_share`` of the steps."""
    warmup_share: float = 0.1
    """Share of the steps over which the rate climbs linearly from 0 (0..1)."""
    schedule: str = "cosine"
    """How the rate falls after warm-up, by its transformers name: ``cosine``, ``linear``, ``constant_with_warmup``."""
    weight_decay: float = 0.0
    """Decoupled decay of the LoRA weights (AdamW)."""
    clip_norm: float = 1.0
    """Largest L2 norm of a step's gradient; a larger one is scaled down to it."""
    lora_rank: int = 8
    """Rank of each LoRA pair; doubles the trained weights and the file when doubled."""
    lora_alpha: int = 16
    """LoRA's scale is alpha / rank: keep the quotient when changing the rank."""
    lora_dropout: float = 0.0
    """Dropout before LoRA's first matrix (0..1)."""
    lora_targets: list[str] = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj"])
    """Linear layers of the base that get a pair, by the last part of their names."""
    seed: int = 0
    """Of LoRA's initial weights, the order of the rows and dropout."""
    dtype: str = "auto"
    """Of the base and the forward pass: ``bfloat16``, ``float32``, ``auto`` (bfloat16 where the hardware has
    it: GPUs, processors with AVX512-BF16 or AMX)."""
    max_tokens: int = 512
    """Tokens an example at most, prompt and response; see ``models.llm.tokens`` for what is cut."""
    threads: int = 0
    """CPU threads of torch; 0: torch's choice. Weights are equal byte for byte only at equal numbers."""
    checkpoint_every: int = 50
    """Steps between checkpoints. Never changes the result."""
    eval_rows: int = 0
    """Held-out rows judged, stratified by agent; 0: all."""
    shadow_requests: int = 0
    """Recent requests whose accepted answer's likelihood both versions are compared on; 0: all."""
    shadow_generations: int = 64
    """Recent requests that both versions answer in full."""
    max_new_tokens: int = 128
    """Tokens a generated answer at most: one that gets there without ending is a runaway."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "gradient_accumulation", "lora_rank", "checkpoint_every", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.epochs <= 0 or self.learning_rate <= 0 or self.clip_norm <= 0:
            raise ValueError("epochs, learning_rate and clip_norm must be above 0")
        if self.max_tokens < 16:
            raise ValueError(f"max_tokens must leave room for a prompt and a response (16), not {self.max_tokens}")
        if self.schedule not in ("cosine", "linear", "constant_with_warmup"):
            raise ValueError(f"schedule is cosine, linear or constant_with_warmup, not {self.schedule!r}")
        if self.dtype not in ("auto", "bfloat16", "float32"):
            raise ValueError(f"dtype is auto, bfloat16 or float32, not {self.dtype!r}")

    @property
    def sizes(self) -> str:
        """The sizes in one line, for people: ``laptop: 32 steps of 8 rows, ...``."""
        steps = f"{self.max_steps} steps" if self.max_steps else f"{self.epochs:g} passes in steps"
        judged, asked = self.eval_rows or "all", self.shadow_requests or "all"
        return (
            f"{self.name}: {steps} of {self.batch_size * self.gradient_accumulation} rows a process, LoRA rank "
            f"{self.lora_rank}, loss over response positions only; judged on {judged} held-out rows; shadow by "
            f"likelihood on {asked} requests and by generation on {self.shadow_generations}"
        )

    def training_parameters(self) -> dict[str, object]:
        """The part that changes the trained weights: what a training is keyed on."""
        return {name: value for name, value in asdict(self).items() if name not in _CHANGES_NO_WEIGHT}


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainingInputs:
    """What a retraining is asked for with. Its other inputs no trigger has: they are its launch plan's own."""

    spec: ModelSpec
    profile: TrainingProfile
    source: str
    """Whose quality is checked."""


_CHANGES_NO_WEIGHT = frozenset(
    {"name", "checkpoint_every", "eval_rows", "shadow_requests", "shadow_generations", "max_new_tokens"}
)

EVERY_LAYER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Llama block, attention's and the feed-forward part's."""


def smoke() -> TrainingProfile:
    """Seconds: shows that everything is wired, teaches little."""
    return replace(laptop(), name="smoke", max_steps=4, eval_rows=40, shadow_requests=20, shadow_generations=2)


def laptop() -> TrainingProfile:
    """About a minute of training on two cores: a real gain on a small base, on a sample of the rows."""
    return TrainingProfile(
        name="laptop",
        max_steps=32,
        batch_size=8,
        # Held-out loss of real interactions after 40 steps, from 3.49: attention at 2e-3 2.27, at 5e-3 2.14; every
        # layer at 5e-3 1.96, for a tenth more time.
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
    """Every row, on the Forge's A100s: one process a GPU, bfloat16, all held-out rows."""
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
    """The profile of this name.

    Raises:
        UnknownName: there is none; the message suggests the nearest.
    """
    if name not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name]()
