"""Where tasks run: images, resources, secrets, retries and timeouts, once for all of them.

The image names are filled in at registration (``make register``), so that one version of the code runs on one version
of each image. Credentials never stand in a specification, only their names do.
"""

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flytekit import Cache, Environment, Resources, Secret
from flytekit.core.cache import CachePolicy, VersionParameters
from flytekit.deck import DeckField
from flytekit.exceptions.user import FlyteRecoverableException
from flytekit.extras.accelerators import A100

from errors import PeerError
from models.llm.code_version import code_digest

CPU_IMAGE = "{{.image.cpu}}"
GPU_IMAGE = "{{.image.gpu}}"

CREDENTIALS = "fuelline"
"""The Kubernetes secret, in the namespace of project and domain, that holds the credentials."""
SECRETS = [
    Secret(group=CREDENTIALS, key=name, env_var=name, mount_requirement=Secret.MountType.ENV_VAR)
    for name in (
        "FUELLINE_S3_ACCESS_KEY",
        "FUELLINE_S3_SECRET_KEY",
        "FUELLINE_CATALOG",
        "FUELLINE_ONLINE",
        "FUELLINE_TRACKING",
        "FUELLINE_SLACK",
    )
]
"""Each key of that secret becomes the variable of its name: keys, and addresses that hold a password. Flyte's pod
webhook refers to them as optional, so one that is not there leaves the embedded default; a local run never asks."""


class Retrying(Environment):
    """An environment whose retries cover a peer that fails: Flyte retries no other exception of a task.

    A store that times out or a commit that lost its race may succeed the next time; a user's error never does.
    """

    def __call__(self, _task_function: Any = None, /, **overrides: Any) -> Any:
        """See ``flytekit.Environment``."""
        if _task_function is None:
            declare = super().__call__(**overrides)
            return lambda function: declare(_recoverable(function))
        return super().__call__(_recoverable(_task_function))


def _recoverable(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except PeerError as error:
            raise FlyteRecoverableException(f"{type(error).__name__}: {error}") from error

    return run


cpu = Retrying(
    container_image=CPU_IMAGE,
    secret_requests=SECRETS,
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


def cached(*modules: str, ignored: tuple[str, ...] = ()) -> Cache:
    """A cache for a pure task whose inputs are all versions; the ``modules``, named as in ``models.llm.code_version``,
    decide its result, the ``ignored`` inputs do not.
    """
    return Cache(policies=CodeVersion(*modules), serialize=True, ignored_inputs=ignored)
