"""Registers a version on a cluster (``fuelline register``), or writes it to a file (``fuelline package``).

The code is in the two images and is not uploaded (no fast registration): a version runs the code that its images were
built from. So build and push the images of a version first.
"""

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from flytekit.clients.raw import RawSynchronousFlyteClient
from flytekit.configuration import Config, Image

from errors import PeerError, UserError
from launchplans.registration.bundle import ROOT, Entity, Kind, Version
from launchplans.registration.flyteadmin import FlyteAdmin
from tasks.environments import SECRETS
from tasks.execution.admin import admin_errors


@contextmanager
def cluster(config: str | None, endpoint: str | None, *, insecure: bool) -> Iterator[FlyteAdmin]:
    """FlyteAdmin of Flyte's configuration, or at ``endpoint``; errors are those of ``admin_errors``."""
    platform = Config.auto(config).platform
    if endpoint:
        platform = replace(platform, endpoint=endpoint, insecure=insecure)
    try:
        with admin_errors(platform):
            yield FlyteAdmin(client=RawSynchronousFlyteClient(platform))
    except PeerError as error:
        raise PeerError(f"{error}. Name another server with --endpoint HOST:PORT, or in FLYTECTL_CONFIG") from error


def read_version(
    *, project: str, domain: str, version: str, cpu_image: str, gpu_image: str, env: tuple[str, ...], allow_dirty: bool
) -> Version:
    """The version that the options describe. Raises UserError where one is malformed, or would expose a secret."""
    if not re.fullmatch(r"\w[\w.-]{0,127}", version, re.ASCII):
        raise UserError(f"{version!r} is not a version: use letters, digits, dots and dashes, as in v1.2.0 or 4f0c2a7")
    if version.endswith("-dirty") and not allow_dirty:  # by ``git describe --dirty``
        status = ["git", "status", "--short"]
        changes = subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        raise UserError(f"{version!r} has uncommitted changes:\n{changes}Commit them, or use --allow-dirty")
    return Version(
        project=project,
        domain=domain,
        version=version,
        cpu_image=_image("cpu", cpu_image),
        gpu_image=_image("gpu", gpu_image),
        env=dict(_variable(text) for text in env),
    )


def _image(name: str, image: str) -> Image:
    try:
        return Image.look_up_image_info(name, image)
    except (AssertionError, ValueError):
        forms = "registry/name:tag or registry/name@sha256:..."
        raise UserError(f"--{name}-image {image!r} is not of the form {forms}") from None


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise UserError(f"--env {text!r} is not of the form NAME=VALUE")
    if name in {secret.env_var for secret in SECRETS}:
        raise UserError(f"{name} is a secret, and --env would expose it: put it into the Kubernetes secret")
    return name, value


def write_package(found: list[Entity], output: Path) -> None:
    """Write a .tgz for ``flytectl register files --archive``.

    It has one file per entity, numbered in the order of registration. flytectl reads the kind from the end of the name:
    1 is a task, 2 a workflow, 3 a launch plan.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    kinds = list(Kind)
    with tarfile.open(output, "w:gz") as archive:
        for number, entity in enumerate(found):
            content = entity.message.SerializeToString(deterministic=True)
            info = tarfile.TarInfo(f"{number:03d}_{entity.name}_{kinds.index(entity.kind) + 1}.pb")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
