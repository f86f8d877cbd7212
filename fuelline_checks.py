"""Those of ``fuelline``'s commands that check: are the services there that the settings name, is the ledger whole."""

import sys
from dataclasses import asdict

import click

from errors import UnknownName
from lake.terminal import json_option, print_json, print_table


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Ask every service that a setting names whether it is there and takes us.

    Ends with 1 where one does not; each is told with the setting's name, the reason and an example.

    \b
    Example:
      fuelline check
    """
    from lake.services import check as ask
    from settings import read_settings

    asked = ask(read_settings())
    if as_json:
        print_json([asdict(one) for one in asked])
    else:
        rows = [(one.setting, one.place or "embedded", "fails" if one.fault else "fine") for one in asked]
        print_table(("setting", "place", ""), rows)
        for one in asked:
            if one.fault:
                click.echo(one.fault)
    if any(one.fault for one in asked):
        sys.exit(1)


@click.group()
def ledger() -> None:
    """Look after the ledger."""


@ledger.command()
@click.argument("chain", required=False)
@json_option
@click.pass_obj
def verify(lake_name: str | None, chain: str | None, as_json: bool) -> None:
    """Walk every entry of CHAIN (default: all) and check that none is missing, altered or out of order.

    \b
    Examples:
      fuelline ledger verify
      fuelline ledger verify models/agents
    """
    from lake.naming import open_named

    lake = open_named(lake_name)
    chains = lake.ledger.chains()
    if chain and chain not in chains:
        raise UnknownName("chain", chain, chains)
    walked = {name: lake.ledger.verify(name) for name in ([chain] if chain else chains)}
    if as_json:
        print_json(walked)
        return
    for name, count in walked.items():
        click.echo(f"{name}: {count:,} entries, whole")
    if not walked:
        click.echo("no entries yet")
