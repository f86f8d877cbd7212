"""The command that brings a version onto a cluster: ``make register``, or ``make package`` for one out of reach.

The code is in the two images and is not sent along (no fast registration): what runs under a version is what was built
for it. So build and push the images of a version first.
"""

import io
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from flytekit.clients.raw import RawSynchronousFlyteClient
from flytekit.configuration import Config, Image

from errors import FuellineError, PeerError, UserError
from launchplans.registration.bundle import ROOT, Entity, Kind, Version, entities
from launchplans.registration.flyteadmin import Server, count
from tasks.environments import SECRETS
from tasks.execution.admin import speaking

F = TypeVar("F", bound=Callable[..., Any])
DIRTY = "-dirty"
"""What ``git describe --dirty`` ends with when the working tree holds changes that no commit has."""


def _what_is_registered(command: F) -> F:
    """The options that both commands have."""
    for option in (
        click.option("--project", required=True, help="Flyte project, which must be there."),
        click.option("--domain", required=True, help="Domain of the project, for example production."),
        click.option("--version", required=True, help="A git sha or tag. What is under it never changes."),
        click.option("--cpu-image", required=True, metavar="IMAGE", help="With its tag or its digest."),
        click.option("--gpu-image", required=True, metavar="IMAGE", help="With its tag or its digest."),
        click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of every task; no secrets."),
        click.option("--allow-dirty", is_flag=True, help="Register a working tree with uncommitted changes."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Register Fuelline's tasks, workflows and launch plans as one version."""


@main.command()
@_what_is_registered
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    help="Flyte's configuration; default: FLYTECTL_CONFIG, then ~/.flyte/config.yaml.",
)
@click.option("--endpoint", metavar="HOST:PORT", help="FlyteAdmin; overrides the configuration's.")
@click.option("--insecure", is_flag=True, help="Speak to --endpoint without TLS.")
@click.option("--inactive", multiple=True, metavar="NAME", help="A scheduled launch plan that is not to run here.")
@click.option("--dry-run", is_flag=True, help="Only list what would be registered and activated.")
def register(
    config: str | None, endpoint: str | None, insecure: bool, inactive: tuple[str, ...], dry_run: bool, **options: Any
) -> None:
    """Register a version, and let its schedules take over.

    What is there with the same content is left alone; a version that is there with other content is refused.
    """
    with _errors_told():
        version = _version(**options)
        platform = Config.auto(config).platform
        if endpoint:
            platform = replace(platform, endpoint=endpoint, insecure=insecure)
        found = entities(version)
        with speaking(platform):
            server = Server(client=RawSynchronousFlyteClient(platform))
            plan = server.plan(version, found, inactive)
            if dry_run:
                _list(plan.missing, [i.name for i in plan.activate], [f"{i.name} of {i.version}" for i in plan.retire])
            else:
                server.carry_out(plan, click.echo)
        _sum_up(version, plan.missing, plan.there, nothing=plan.nothing, dry_run=dry_run)


@main.command()
@_what_is_registered
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A .tgz file.")
def package(output: Path, **options: Any) -> None:
    """Write what ``register`` would, as files for ``flytectl register files --archive``."""
    with _errors_told():
        version = _version(**options)
        found = entities(version)
        output.parent.mkdir(parents=True, exist_ok=True)
        _write(found, output)
    where = f"-p {version.project} -d {version.domain}"
    click.echo(f"{output}: version {version.version}, {count(found)}. Where the cluster is in reach:")
    click.echo(f"  flytectl register files {where} --version {version.version} --archive {output.name}")
    for entity in found:
        if entity.scheduled:
            click.echo(f"  flytectl update launchplan {where} {entity.name} --version {version.version} --activate")


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except PeerError as error:
        elsewhere = "Name another server with ARGS='--endpoint HOST:PORT', or in FLYTECTL_CONFIG"
        raise click.ClickException(f"{error}. {elsewhere}") from error
    except FuellineError as error:
        raise click.ClickException(str(error)) from error


def _version(
    *, project: str, domain: str, version: str, cpu_image: str, gpu_image: str, env: tuple[str, ...], allow_dirty: bool
) -> Version:
    if not re.fullmatch(r"\w[\w.-]{0,127}", version, re.ASCII):
        raise UserError(f"{version!r} is no version: letters, digits, dots and dashes, for example v1.2.0 or 4f0c2a7")
    if version.endswith(DIRTY) and not allow_dirty:
        raise UserError(f"{version!r} has changes that no commit holds:\n{_changes()}Commit them, or use --allow-dirty")
    return Version(
        project=project,
        domain=domain,
        version=version,
        cpu_image=_image("cpu", cpu_image),
        gpu_image=_image("gpu", gpu_image),
        env=dict(_variable(one) for one in env),
    )


def _changes() -> str:
    return subprocess.run(["git", "status", "--short"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _image(name: str, image: str) -> Image:
    try:
        return Image.look_up_image_info(name, image)
    except (AssertionError, ValueError):
        raise UserError(
            f"--{name}-image {image!r} is not of the form registry/name:tag or registry/name@sha256:..."
        ) from None


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise UserError(f"--env {text!r} is not of the form NAME=VALUE")
    if name in {secret.env_var for secret in SECRETS}:
        raise UserError(f"{name} is a secret, and --env would show it to everybody: put it into the Kubernetes secret")
    return name, value


def _list(missing: Any, activate: list[str], retire: list[str]) -> None:
    for entity in missing:
        click.echo(f"would register    {entity.kind.value:<11}  {entity.name}")
    for name in activate:
        click.echo(f"would activate    {name}")
    for name in retire:
        click.echo(f"would deactivate  {name}")


def _sum_up(version: Version, missing: Any, there: Any, *, nothing: bool, dry_run: bool) -> None:
    named = f"{version.version} in {version.project}/{version.domain}"
    if nothing:
        click.echo(f"{named}: nothing to do, all of it is there with this very content: {count(there)}")
        return
    verb = "to register" if dry_run else "registered"
    click.echo(f"{named}: {count(missing)} {verb}" + (f"; already there: {count(there)}" if there else ""))


def _write(found: list[Entity], output: Path) -> None:
    """One file an entity, numbered in the order of registration; flytectl tells the kind by the name's end."""
    ends = {Kind.TASK: 1, Kind.WORKFLOW: 2, Kind.LAUNCH_PLAN: 3}
    with tarfile.open(output, "w:gz") as archive:
        for number, entity in enumerate(found):
            content = entity.message.SerializeToString(deterministic=True)
            info = tarfile.TarInfo(f"{number:03d}_{entity.name}_{ends[entity.kind]}.pb")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
