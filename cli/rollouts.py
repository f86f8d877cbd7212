"""Those of ``fuelline``'s commands by which a person decides about a rollout."""

import click

from cli.lakes import check_model, open_lake
from cli.terminal import json_option, print_json
from command_line import Command


@click.command(cls=Command)
@click.argument("model")
@click.option("--reason", required=True, help="Why, in a sentence; the ledger keeps it.")
@click.option("--by", required=True, help="Who you are; the ledger keeps it.")
@click.option("--dry-run", is_flag=True, help="Say what it would do, and do nothing.")
@json_option
@click.pass_obj
def rollback(lake_name: str | None, model: str, reason: str, by: str, dry_run: bool, as_json: bool) -> None:
    """Return MODEL's users to the version before, at once.

    An open canary is ended and production goes on answering; without a canary, and so by a second rollback, the
    version in production is taken back. A candidate in
    its shadow has no users: production goes back to the version before, which voids that rollout.

    One ledger entry, which every gateway follows within seconds; vLLM need not be there.

    \b
    Examples:
      fuelline rollback agents --dry-run --reason "tone" --by ana
      fuelline rollback agents --reason "answers in the wrong language" --by ana
    """
    from dataclasses import asdict

    from serving.rollout.manual import plan_take_back, take_back

    lake = open_lake(lake_name)
    check_model(lake, model)
    planned = plan_take_back(lake, model)
    if not dry_run:
        take_back(lake, planned, reason=reason, by=by)
    if as_json:
        print_json(asdict(planned) | {"done": not dry_run})
    else:
        click.echo(f"{planned.left} {'would be' if dry_run else 'is'} taken back: {planned.told}")


@click.command(cls=Command)
@click.argument("version", metavar="MODEL@VERSION")
@click.option("--reason", required=True, help="Why, in a sentence; the ledger keeps it.")
@click.option("--by", required=True, help="Who you are; the ledger keeps it.")
@click.pass_obj
def approve(lake_name: str | None, version: str, reason: str, by: str) -> None:
    """Allow MODEL@VERSION to be promoted, where its rollout asks for approval.

    \b
    Example:
      fuelline approve agents@v3 --reason "read 50 answers" --by ana
    """
    from serving.rollout import manual

    manual.approve(open_lake(lake_name), version, reason=reason, by=by)
    click.echo(f"{version} may be promoted once its evidence is there.")
