"""Commands that check: do the services that the settings name answer, is the ledger whole."""

import sys
from dataclasses import asdict, astuple

import click

from cli.lakes import open_lake
from cli.terminal import json_option, print_json, print_table
from command_line import UNMET, Command
from errors import UnknownName


@click.command(cls=Command)
@json_option
@click.pass_obj
def check(lake_name: str | None, as_json: bool) -> None:
    """Check that every service that a setting names answers and accepts our credentials.

    Ends with 1 if one does not; for each of those it prints the setting's name, the reason and an example. For each
    schedule it lists what it needs, and what is missing of that in these settings.

    \b
    Example:
      fuelline check
    """
    from lake.health import check as check_services
    from lake.store.names import settings_of
    from launchplans.registry import schedules

    settings = settings_of(lake_name)
    results, plans = check_services(settings), schedules(settings)
    if as_json:
        print_json({"services": [asdict(result) for result in results], "schedules": [asdict(plan) for plan in plans]})
    else:
        rows = [(result.setting, result.place or "embedded", "fails" if result.fault else "fine") for result in results]
        print_table(("setting", "place", ""), rows)
        for result in results:
            if result.fault:
                click.echo(result.fault)
        click.echo()
        print_table(("schedule", "runs", "needs", "missing"), [astuple(plan) for plan in plans])
    if any(result.fault for result in results):
        sys.exit(UNMET)


@click.command(cls=Command)
@click.argument("chain", required=False)
@json_option
@click.pass_obj
def verify(lake_name: str | None, chain: str | None, as_json: bool) -> None:
    """Check that no entry of CHAIN (default: all) is missing or altered.

    It reads every entry, and also finds one that is out of order.

    \b
    Examples:
      fuelline ledger verify
      fuelline ledger verify models/agents
    """
    lake = open_lake(lake_name)
    chains = lake.ledger.chains()
    if chain and chain not in chains:
        raise UnknownName("chain", chain, chains)
    counts = {name: lake.ledger.verify(name) for name in ([chain] if chain else chains)}
    if as_json:
        print_json(counts)
        return
    for name, count in counts.items():
        click.echo(f"{name}: {count:,} entries, whole")
    if not counts:
        click.echo("no entries yet")
