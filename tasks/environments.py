"""Where tasks run: images, resources, retries and timeouts, once for all of them.

The image names are filled in at registration (``pyflyte register --image cpu=... --image gpu=...``), so that one
version of the code runs on one version of each image.
"""

from datetime import timedelta

from flytekit import Cache, Environment, Resources
from flytekit.core.cache import CachePolicy, VersionParameters
from flytekit.deck import DeckField
from flytekit.extras.accelerators import A100

from models.code import code_digest

CPU_IMAGE = "{{.image.cpu.fqn}}:{{.image.cpu.version}}"
GPU_IMAGE = "{{.image.gpu.fqn}}:{{.image.gpu.version}}"

cpu = Environment(
    container_image=CPU_IMAGE,
    requests=Resources(cpu="1", mem="2Gi", ephemeral_storage="4Gi"),
    limits=Resources(cpu="4", mem="8Gi", ephemeral_storage="20Gi"),
    retries=3,
    timeout=timedelta(hours=1),
    enable_deck=True,
    deck_fields=(DeckField.INPUT, DeckField.OUTPUT),  # flytekit's own list of dependencies costs a pip call a task
)
"""For everything that is not a model. Every task is idempotent, so a retry is always safe."""

gpu = cpu.extend(
    container_image=GPU_IMAGE,
    requests=Resources(cpu="8", mem="64Gi", gpu="2", ephemeral_storage="50Gi"),
    limits=Resources(cpu="16", mem="128Gi", gpu="2", ephemeral_storage="100Gi"),
    accelerator=A100,
    timeout=timedelta(hours=12),
)
"""For training: both A100s of a Forge node, one process each. A preempted training goes on from its checkpoint."""

single_gpu = gpu.extend(
    requests=Resources(cpu="4", mem="32Gi", gpu="1", ephemeral_storage="50Gi"),
    limits=Resources(cpu="8", mem="64Gi", gpu="1", ephemeral_storage="100Gi"),
    timeout=timedelta(hours=4),
)
"""For judging: one A100."""


class CodeVersion(CachePolicy):
    """A cache version that is the digest of the code that decides the result: nobody has to bump it."""

    def __init__(self, *modules: str) -> None:
        self.modules = modules

    def get_version(self, salt: str, params: VersionParameters) -> str:
        """See ``flytekit.core.cache.CachePolicy``."""
        return code_digest(*self.modules)


def cached(*modules: str) -> Cache:
    """A cache for a pure task whose inputs are all versions; ``modules`` of ``models`` decide its result."""
    return Cache(policies=CodeVersion(*modules), serialize=True)
