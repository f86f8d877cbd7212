"""Keys of agents for the gateway."""

import json

import click

from command_line import Command
from errors import UnknownName


@click.command(cls=Command)
@click.argument("agent")
def create(agent: str) -> None:
    """Make a key for AGENT's requests to the gateway: shown once, kept nowhere.

    \b
    Example:
      fuelline keys create jamie
    """
    from lake.contracts.registries import AGENTS
    from serving.gateway.auth import key_digest, make_key

    if agent not in AGENTS:
        raise click.BadParameter(str(UnknownName("agent", agent, AGENTS)), param_hint="AGENT")
    key = make_key()
    click.echo(f"The key of {agent}, shown once:\n\n  {key}\n")
    click.echo("The line for the JSON object in the file that FUELLINE_KEYS names:\n")
    click.echo(f"  {json.dumps(key_digest(key))}: {json.dumps(agent)}")
