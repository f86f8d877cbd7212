"""Commands that print what the code declares: pages of ``docs/``, and files for other services."""

import json

import click

from command_line import Command, settings_of


@click.command(cls=Command)
def contracts() -> None:
    """Print the page of data contracts, docs/contracts.md.

    \b
    Example:
      fuelline docs contracts > docs/contracts.md
    """
    from reports.contracts_page import page

    click.echo(page(), nl=False)


@click.command(cls=Command)
def launchplans() -> None:
    """Print the page of launch plans, docs/launchplans.md.

    \b
    Example:
      fuelline docs launchplans > docs/launchplans.md
    """
    from launchplans.docs import page

    click.echo(page(), nl=False)


@click.command(cls=Command)
@click.pass_context
def commands(context: click.Context) -> None:
    """Print the page of commands, docs/commands.md.

    \b
    Example:
      fuelline docs commands > docs/commands.md
    """
    from cli.commands_page import page

    click.echo(page(context.find_root().command), nl=False)


@click.command(cls=Command)
@click.option("--tier", metavar="CLASS", default="GLACIER", help="Storage class of the cold tier.")
@click.pass_obj
def bucket_lifecycle(lake: str | None, tier: str) -> None:
    """Print the bucket's lifecycle rules as JSON, for S3 and MinIO.

    They follow from the contracts: raw objects move to the cold tier, then expire.

    \b
    Example:
      fuelline docs bucket-lifecycle --tier COLD > rules.json
    """
    from lake.contracts import contracts
    from lake.maintenance.bucket_lifecycle import lifecycle

    click.echo(json.dumps(lifecycle(contracts().values(), settings_of(lake), tier), indent=2))


@click.command(cls=Command)
def trino_maintenance() -> None:
    """Print the maintenance of every table as SQL, for Trino.

    \b
    Example:
      fuelline docs trino-maintenance > maintenance.sql
    """
    from lake.contracts import contracts
    from lake.maintenance.run import MaintenancePolicy
    from lake.maintenance.trino import statements

    for statement in statements(contracts().values(), MaintenancePolicy()):
        click.echo(f"{statement};")
