"""The processes of this package as commands, for ``fuelline`` and for the modules that manifests start; keys."""

import json
import sys
from pathlib import Path

import click

from command_line import UNMET, Command, Seconds, log_progress, stop_event
from errors import UnknownName
from lake.store.names import settings_of
from serving.options import CONCURRENCY

NUMBER = click.IntRange(1, 65_535)
"""A port, or a number of requests."""
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", help="Address to listen at.")
@click.option("--port", type=NUMBER, metavar="PORT", default=8080, help="Port to listen at.")
@click.option("--spool", type=FILE, metavar="FILE", help="This gateway's own spool; default: in the lake's folder.")
@click.option(
    "--concurrency", type=NUMBER, metavar="REQUESTS", default=CONCURRENCY, help="Limit of concurrent requests."
)
@click.pass_obj
def gateway(lake: str | None, host: str, port: int, spool: Path | None, concurrency: int) -> None:
    """Serve the agents: an OpenAI-compatible endpoint before vLLM.

    FUELLINE_VLLM names the vLLM replicas, FUELLINE_KEYS the file of keys; settings.py lists all settings.

    \b
    Example:
      fuelline serve gateway --host 0.0.0.0 --port 8080
    """
    from serving.gateway.app import serve

    log_progress("uvicorn")
    serve(settings_of(lake), host=host, port=port, spool=spool, concurrency=concurrency)


@click.command(cls=Command)
@click.option("--every", type=Seconds(), default=2.0, help="Seconds between two rounds.")
@click.option(
    "--ready-file",
    type=FILE,
    metavar="FILE",
    help="A file that exists while every replica serves all adapters that answer users.",
)
@click.option("--once", is_flag=True, help="One round; ends with 1 if anything went wrong.")
@click.option("--dry-run", is_flag=True, help="One round that only logs what it would load and unload.")
@click.pass_obj
def reconcile(lake: str | None, every: float, ready_file: Path | None, once: bool, dry_run: bool) -> None:
    """Load into the vLLM replicas the adapters that the ledger asks for.

    The replicas are those of FUELLINE_VLLM; the files are written to the folder FUELLINE_ADAPTERS.

    \b
    Examples:
      fuelline serve reconcile             beside a replica, until it is stopped
      fuelline serve reconcile --dry-run   what would be loaded and unloaded
    """
    from lake.lake import open_lake
    from serving.replicas import reconcile as rounds

    log_progress()
    settings = settings_of(lake)
    replicas, opened, folder = rounds.replicas_of(settings), open_lake(settings), Path(settings.adapters)
    if once or dry_run:
        report = rounds.reconcile(opened, replicas, folder, dry_run=dry_run)
        rounds.log_report(report)
        sys.exit(UNMET if report.faults else 0)
    rounds.ReconcileLoop(
        lake=opened, replicas=replicas, folder=folder, every_s=every, ready_file=ready_file, stopped=stop_event()
    ).run()


@click.command(cls=Command)
@click.option("--every", type=Seconds(), default=30.0, help="Seconds between two steps.")
@click.option("--once", is_flag=True, help="Step once, print the outcomes, and end; with 1 if any step failed.")
@click.pass_obj
def controller(lake: str | None, every: float, once: bool) -> None:
    """Step every open rollout at a fixed interval.

    A candidate that does harm is rolled back within a minute, instead of at the next scheduled step.

    \b
    Examples:
      fuelline rollout controller          until it is stopped
      fuelline rollout controller --once   one step of each
    """
    from lake.lake import open_lake
    from serving.rollout.controller import advance_all, describe, run

    log_progress()
    opened = open_lake(settings_of(lake))
    if not once:
        run(opened, every, stop_event())
        return
    outcomes = advance_all(opened)
    for name, outcome in outcomes.items():
        click.echo(f"{name}: {describe(outcome)}")
    if any(isinstance(outcome, Exception) for outcome in outcomes.values()):
        sys.exit(UNMET)


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
