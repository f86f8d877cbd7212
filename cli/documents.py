"""Commands that print what the code declares: pages of ``docs/``, and files for other services."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from command_line import Command

if TYPE_CHECKING:
    from lake.contracts.base import Contract


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
    click.echo(commands_page(context.find_root().command), nl=False)


def commands_page(root: click.Command) -> str:
    """The help of each command, generated, so that it cannot differ from ``--help``, as Markdown."""
    from reports.common.html import render

    return render("commands.md", contexts=_contexts(root))


def _contexts(command: click.Command, parent: click.Context | None = None) -> Iterator[click.Context]:
    """The contexts of a command and of all below it, in the order of help."""
    from cli.main import Lazy

    command = command.load() if isinstance(command, Lazy) else command
    context = click.Context(
        command, parent, info_name=command.name, terminal_width=100, help_option_names=["-h", "--help"]
    )
    yield context
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from _contexts(below, context)


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
    from lake.store.names import settings_of

    click.echo(json.dumps(lifecycle(contracts().values(), settings_of(lake), tier), indent=2))


@click.command(cls=Command)
@click.pass_obj
def trino_maintenance(lake: str | None) -> None:
    """Print the maintenance of every table of the lake as SQL, for Trino.

    Tables without rows are left out: Trino would stop at one that does not exist.

    \b
    Example:
      fuelline docs trino-maintenance > maintenance.sql
    """
    from lake.maintenance.run import MaintenancePolicy
    from lake.maintenance.trino import statements

    for statement in statements(_filled(lake), MaintenancePolicy()):
        click.echo(f"{statement};")


@click.command(cls=Command)
@click.pass_obj
def trino_views(lake: str | None) -> None:
    """Print the views of the star schema as SQL, for Trino.

    Views of tables that the lake does not have yet are left out, and named in comments.

    \b
    Example:
      fuelline docs trino-views > views.sql
    """
    from features.curated.star_schema import script

    click.echo(script({contract.table for contract in _filled(lake)}), nl=False)


def _filled(name: str | None) -> "list[Contract]":
    """The contracts whose tables have rows in the lake."""
    from cli.lakes import open_lake
    from lake.contracts import contracts

    tables = open_lake(name).tables
    return [contract for contract in contracts().values() if tables.current(contract)]
