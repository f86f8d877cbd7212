"""Registration as commands, for ``fuelline`` and for ``python -m launchplans.registration``."""

from pathlib import Path
from typing import Any

import click

from command_line import STYLE, Command, options

_version_options = options(
    click.option("--project", metavar="NAME", required=True, help="Flyte project; it must exist."),
    click.option("--domain", metavar="NAME", required=True, help="Its domain, for example production."),
    click.option("--version", metavar="TAG", required=True, help="A git sha or tag; it never changes once registered."),
    click.option("--cpu-image", metavar="IMAGE", required=True, help="With its tag or its digest."),
    click.option("--gpu-image", metavar="IMAGE", required=True, help="With its tag or its digest."),
    click.option("--env", metavar="NAME=VALUE", multiple=True, help="A variable of every task; no secrets."),
    click.option("--allow-dirty", is_flag=True, help="Register a working tree with uncommitted changes."),
)
"""Options that name the version and where it goes."""


@click.command(cls=Command)
@_version_options
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Flyte's configuration; default: FLYTECTL_CONFIG, then ~/.flyte/config.yaml.",
)
@click.option("--endpoint", metavar="HOST:PORT", help="FlyteAdmin; overrides the configuration's.")
@click.option("--insecure", is_flag=True, help="Connect to --endpoint without TLS.")
@click.option("--inactive", multiple=True, metavar="NAME", help="A scheduled launch plan to leave inactive.")
@click.option("--active", multiple=True, metavar="NAME", help="One to activate although no setting names its source.")
@click.option("--dry-run", is_flag=True, help="Only list what would be registered and activated.")
def register(
    config: str | None,
    endpoint: str | None,
    insecure: bool,
    inactive: tuple[str, ...],
    active: tuple[str, ...],
    dry_run: bool,
    **version: Any,
) -> None:
    """Register a version on Flyte: its tasks, workflows and launch plans.

    Its schedules replace those of the version before. Entities that are registered with the same content are left
    alone; a version that is registered with other content is refused. A schedule that needs a source which no setting
    names stays inactive; registering again with that setting activates it. `make register` fills in the options.

    \b
    Example:
      fuelline register --project agents --domain production --version v1.2.0 \\
        --cpu-image registry.example/fuelline-cpu:v1.2.0 --gpu-image registry.example/fuelline-gpu:v1.2.0
    """
    from launchplans.registration.bundle import entities
    from launchplans.registration.flyteadmin import count
    from launchplans.registration.register import cluster, read_version

    chosen = read_version(**version)
    found = entities(chosen)
    with cluster(config, endpoint, insecure=insecure) as server:
        plan = server.plan(chosen, found, inactive, active)
        if not dry_run:
            server.carry_out(plan, click.echo)
    if dry_run:
        for entity in plan.missing:
            click.echo(f"would register    {entity.kind.value:<11}  {entity.name}")
        for scheduled in plan.activate:
            click.echo(f"would activate    {scheduled.name}")
        for scheduled in plan.retire:
            click.echo(f"would deactivate  {scheduled.name} of {scheduled.version}")
    for name, reason in plan.idle.items():
        click.echo(f"not activated  {name}: {reason}")
    named = f"{chosen.version} in {chosen.project}/{chosen.domain}"
    if plan.nothing:
        click.echo(f"{named}: nothing to do, everything is registered with the same content: {count(plan.registered)}")
    else:
        before = f"; already registered: {count(plan.registered)}" if plan.registered else ""
        click.echo(f"{named}: {count(plan.missing)} {'to register' if dry_run else 'registered'}{before}")


@click.command(cls=Command)
@_version_options
@click.option(
    "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="A .tgz file."
)
def package(output: Path, **version: Any) -> None:
    """Write what register would into a file, for a cluster that cannot be reached.

    The file is for `flytectl register files --archive`. `make package` fills in the options.

    \b
    Example:
      fuelline package --output fuelline.tgz --project agents --domain production --version v1.2.0 \\
        --cpu-image registry.example/fuelline-cpu:v1.2.0 --gpu-image registry.example/fuelline-gpu:v1.2.0
    """
    from launchplans.registration.bundle import entities
    from launchplans.registration.flyteadmin import count, idle_schedules
    from launchplans.registration.register import read_version, write_package

    chosen = read_version(**version)
    found = entities(chosen)
    write_package(found, output)
    where = f"-p {chosen.project} -d {chosen.domain}"
    click.echo(f"{output}: version {chosen.version}, {count(found)}. Where the cluster can be reached:")
    click.echo(f"  flytectl register files {where} --version {chosen.version} --archive {output.name}")
    idle = idle_schedules(chosen, found)
    for entity in found:
        if entity.scheduled and entity.name not in idle:
            click.echo(f"  flytectl update launchplan {where} {entity.name} --version {chosen.version} --activate")
    for name, reason in idle.items():
        click.echo(f"  leave {name} inactive: {reason}")


registration = click.Group("registration", commands=[register, package], context_settings=STYLE)
"""The group of ``python -m launchplans.registration``."""
