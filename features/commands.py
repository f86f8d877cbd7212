"""The command of the streaming consumer, for ``fuelline`` and for the module ``features.consumer``."""

import click

from command_line import Command, log_progress
from lake.commands import until, until_options
from lake.store.names import settings_of


@click.command(cls=Command)
@until_options
@click.option("--push", is_flag=True, help="Also push snapshots through Feast every 10 s.")
@click.pass_obj
def features(lake: str | None, minutes: float | None, until_empty: bool, push: bool) -> None:
    """Count the broker's interaction events into the streaming features.

    Reads the queue fuelline.streaming of FUELLINE_RABBITMQ and counts into FUELLINE_ONLINE.

    \b
    Examples:
      fuelline consume features --push              until it is stopped
      fuelline consume features --push --minutes=0  register Feast's views, then end
    """
    from features.streaming.consumer import count_events, log

    log_progress()
    acknowledged = count_events(settings_of(lake), until(minutes, until_empty), push=push)
    log.info("%d messages are counted and acknowledged", acknowledged)
