"""Commands by which a person decides about a rollout."""

import click

from cli.lakes import check_model, open_lake
from cli.terminal import json_option, print_json
from command_line import Command


@click.command(cls=Command)
@click.argument("model")
@click.option("--reason", required=True, help="The reason, in a sentence; stored in the ledger.")
@click.option("--by", required=True, help="Your name; stored in the ledger.")
@click.option("--dry-run", is_flag=True, help="Print what it would do, and do nothing.")
@json_option
@click.pass_obj
def rollback(lake_name: str | None, model: str, reason: str, by: str, dry_run: bool, as_json: bool) -> None:
    """Return MODEL's users to the version before, at once.

    If a canary is open, it ends, and the version in production answers all users. Otherwise the version in production
    is rolled back to the one before it; so a second rollback goes back one version more. A candidate in its shadow has
    no users: then production is rolled back too, which voids that rollout.

    It appends one ledger entry, which every gateway follows within seconds. vLLM need not be running.

    \b
    Examples:
      fuelline rollback agents --dry-run --reason "tone" --by ana
      fuelline rollback agents --reason "answers in the wrong language" --by ana
    """
    from serving.rollout.manual import plan_rollback, roll_back

    lake = open_lake(lake_name)
    check_model(lake, model)
    planned = plan_rollback(lake, model)
    if not dry_run:
        roll_back(lake, planned, reason=reason, by=by)
    if as_json:
        versions = {"left": planned.from_version, "back_to": planned.to_version}
        entry = {"key": planned.key, "rollout": planned.rollout, "done": not dry_run}
        print_json({"model": planned.model, **versions, **entry})
    else:
        click.echo(f"{planned.from_version} {'would be' if dry_run else 'is'} taken back: {planned.effect}")


@click.command(cls=Command)
@click.argument("version", metavar="MODEL@VERSION")
@click.option("--reason", required=True, help="The reason, in a sentence; stored in the ledger.")
@click.option("--by", required=True, help="Your name; stored in the ledger.")
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
