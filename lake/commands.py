"""The processes of this package as commands, for ``fuelline`` and for the modules that manifests start."""

from pathlib import Path

import click

from command_line import Command, Seconds, log_progress, options, stop_event
from lake.sample.generate import DAYS, MAX_DAYS
from lake.sources.broker import COMMITS, Batching, StopCondition
from lake.store.names import settings_of

BATCH = click.IntRange(1, 30_000)
until_options = options(
    click.option("--minutes", type=float, metavar="MINUTES", help="Stop after this time; default: never."),
    click.option("--until-empty", is_flag=True, help="Stop once the queue is empty."),
)
"""When a consumer of the broker ends."""


def until(minutes: float | None, until_empty: bool) -> StopCondition:
    """When a consumer ends: as its options say, or on SIGTERM or Ctrl-C."""
    seconds = None if minutes is None else minutes * 60
    return StopCondition(seconds=seconds, empty=until_empty, stop_requested=stop_event())


@click.command(cls=Command)
@until_options
@click.option("--batch", type=BATCH, metavar="MESSAGES", default=COMMITS.messages, help="Messages per commit, at most.")
@click.option("--seconds", type=Seconds(), default=COMMITS.seconds, help="Seconds to wait for a full batch, at most.")
@click.pass_obj
def events(lake: str | None, minutes: float | None, until_empty: bool, batch: int, seconds: float) -> None:
    """Bring the broker's CloudEvents into the lake.

    Reads the queue fuelline.lake of FUELLINE_RABBITMQ. Each event's data go into the table of its type, and every
    envelope goes into processed.cloud_events.

    \b
    Examples:
      fuelline consume events                 until it is stopped
      fuelline consume events --until-empty   what is in the queue, then end
    """
    from lake.lake import open_lake
    from lake.sources.events import drain, log

    log_progress()
    stop = until(minutes, until_empty)
    acknowledged = drain(open_lake(settings_of(lake)), stop, Batching(messages=batch, seconds=seconds))
    log.info("%d messages are stored and acknowledged", acknowledged)


@click.command(cls=Command)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--days", type=click.IntRange(1, MAX_DAYS), metavar="DAYS", default=DAYS, help="Days of logs, from 2026-10-05 on."
)
def sample(folder: Path, days: int) -> None:
    """Write the built-in sample: logs of four agents, always the same bytes.

    Each day becomes FOLDER/{date}/interactions.jsonl.gz.

    \b
    Example:
      fuelline sample logs --days 14
    """
    from lake.sample.generate import write_sample

    write_sample(folder, days=days)
