"""The environments of tasks: images, resources, secrets, retries and timeouts.

The image names are set at registration (``make register``), so that one version of the code runs on one version of each
image. A specification holds the names of credentials, never the credentials.
"""

import functools
import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flytekit import Cache, Environment, Resources, Secret
from flytekit.deck import DeckField
from flytekit.exceptions.user import FlyteRecoverableException
from flytekit.extras.accelerators import A100

from errors import PeerError
from models.llm.code_version import code_digest

CREDENTIALS = "fuelline"
"""The Kubernetes secret, in the namespace of project and domain, that holds the credentials."""


def secrets(*names: str) -> list[Secret]:
    """Keys of that secret, each as the environment variable of its name: keys, and addresses with a password.

    Flyte's pod webhook treats them as optional, so a missing one leaves the embedded default; a local run does not need
    them.
    """
    mount = Secret.MountType.ENV_VAR
    return [Secret(group=CREDENTIALS, key=name, env_var=name, mount_requirement=mount) for name in names]


SECRETS = secrets(
    "FUELLINE_S3_ACCESS_KEY",
    "FUELLINE_S3_SECRET_KEY",
    "FUELLINE_CATALOG",
    "FUELLINE_ONLINE",
    "FUELLINE_TRACKING",
    "FUELLINE_SLACK",
)

OUTSIDE_PODS, ROLLOUT_PODS, EVENT_PODS = "fuelline-outside", "fuelline-rollout", "fuelline-events"
"""Pod templates of tasks that connect to more than the stores and FlyteAdmin: to any address, to vLLM's rollout port,
to the broker. Every other task has Flyte's default. ``deploy/flyte`` has them, with their accounts and policies."""


class Retrying(Environment):
    """An environment that retries a task when another service fails; Flyte retries no other exception of a task.

    A store that timed out or a commit that lost its race may succeed the next time; a user's error never does.
    """

    def __call__(self, _task_function: Any = None, /, **overrides: Any) -> Any:
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
    container_image="{{.image.cpu}}",
    secret_requests=SECRETS,
    requests=Resources(cpu="1", mem="2Gi", ephemeral_storage="4Gi"),
    limits=Resources(cpu="4", mem="8Gi", ephemeral_storage="20Gi"),
    retries=3,
    timeout=timedelta(hours=1),
    enable_deck=True,
    deck_fields=(DeckField.INPUT, DeckField.OUTPUT),  # flytekit's list of dependencies costs one pip call per task
)
"""For everything that needs no GPU. Every task is idempotent, so a retry is always safe."""

gpu = cpu.extend(
    container_image="{{.image.gpu}}",
    requests=Resources(cpu="8", mem="64Gi", gpu="2", ephemeral_storage="50Gi"),
    limits=Resources(cpu="16", mem="128Gi", gpu="2", ephemeral_storage="100Gi"),
    accelerator=A100,
    timeout=timedelta(hours=12),
)
"""For training: both A100s of a Forge node, one process each. A preempted training resumes from its checkpoint."""

single_gpu = gpu.extend(
    requests=Resources(cpu="4", mem="32Gi", gpu="1", ephemeral_storage="50Gi"),
    limits=Resources(cpu="8", mem="64Gi", gpu="1", ephemeral_storage="100Gi"),
    timeout=timedelta(hours=4),
)
"""For evaluation: one A100."""


def cached(*labels: str, ignored: tuple[str, ...] = ()) -> Cache:
    """The cache of a pure task whose inputs are all versions, but for the ``ignored``, which do not decide the result.

    Its version is the digest of the code that decides it: of the modules with these labels, see
    ``models.llm.code_version``. It is hashed once more, as flytekit does with the versions of its cache policies.
    """
    version = hashlib.sha256(code_digest(*labels).encode()).hexdigest()
    return Cache(version=version, serialize=True, ignored_inputs=ignored)
