"""Those of ``fuelline``'s commands that answer: what is live, what happened and why, where a version came from.

Each asks the packages and prints. Answers go to standard output, everything else to standard error.
"""

import json
import sys
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.lakes import check_model, open_lake
from cli.terminal import json_option, print_json, print_status, print_summary, print_table
from command_line import BROKEN, UNMET, Command
from errors import UnknownName

if TYPE_CHECKING:
    from lake.store.ledger import Entry


class Time(click.ParamType[datetime]):
    """A time in UTC. A day means its end, so that what happened on it counts."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time; refuses what is none."""
        try:
            stated = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-03 or 2026-11-03T14:00", param, ctx)
        if len(value) == len("2026-11-03"):
            stated = datetime.combine(stated.date(), time.max)
        return stated.replace(tzinfo=stated.tzinfo or UTC)


@click.command(cls=Command)
@click.option(
    "--at",
    "until",
    type=Time(),
    metavar="TIME",
    help="As of this time, for example 2026-11-03 or 2026-11-03T14:00 (UTC).",
)
@json_option
@click.pass_obj
def status(lake_name: str | None, until: datetime | None, as_json: bool) -> None:
    """Show what is in the lake, and what of each model is live, trained and waiting.

    \b
    Examples:
      fuelline status
      fuelline status --at 2026-11-03   what was in production on 3 November?
    """
    from lake.lake import open_every
    from reports.status import overview

    statuses = [overview(lake, until) for lake in open_every(lake_name)]
    if as_json:
        print_json(statuses)
        return
    for found in statuses:
        print_status(found)


@click.command(cls=Command)
@click.argument("model")
@click.option("--kind", metavar="KIND", help="Only events of this kind, for example promoted.")
@json_option
@click.pass_obj
def history(lake_name: str | None, model: str, kind: str | None, as_json: bool) -> None:
    """List every event of MODEL with its time and its evidence, oldest first.

    \b
    Examples:
      fuelline history agents
      fuelline history agents --kind promoted --json
    """
    from models.registry.kinds import version_name
    from reports.common.ledger_text import evidence

    lake = open_lake(lake_name)
    check_model(lake, model)
    everything = lake.ledger.entries(f"models/{model}")
    kinds = {entry.kind for entry in everything}
    if kind and kind not in kinds:
        raise UnknownName("kind of event", kind, kinds)
    entries = [entry for entry in everything if kind in (None, entry.kind)]
    if as_json:
        print_json([_plain(entry) for entry in entries])
        return
    rows = [(str(e.seq), f"{e.time:%Y-%m-%d %H:%M:%S}", e.kind, version_name(e), evidence(e)) for e in entries]
    print_table(("#", "time (UTC)", "event", "version", "evidence"), rows, numbers=(0,))


@click.command(cls=Command)
@click.argument("version", metavar="MODEL@VERSION")
@click.option("--svg", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture too.")
@click.option("--all", "everything", is_flag=True, help="List every raw object, however many.")
@json_option
@click.pass_obj
def lineage(lake_name: str | None, version: str, svg: Path | None, everything: bool, as_json: bool) -> None:
    """Trace MODEL@VERSION back to the raw objects and forward to its rollout.

    \b
    Examples:
      fuelline lineage agents@v1
      fuelline lineage agents@v1 --svg agents-v1.svg
    """
    from reports.lineage.graph import lineage as trace
    from reports.lineage.render import as_svg, as_text

    graph = trace(open_lake(lake_name), version)
    if svg:
        svg.write_text(as_svg(graph), encoding="utf-8")
        click.echo(f"wrote {svg}", err=True)
    if as_json:
        print_json(graph.plain())
    else:
        click.echo(as_text(graph, everything=everything))


@click.command(cls=Command)
@click.argument("version", metavar="MODEL@VERSION")
@json_option
@click.pass_obj
def replay(lake_name: str | None, version: str, as_json: bool) -> None:
    """Train MODEL@VERSION again and compare the weights, byte for byte.

    It trains from the version's manifest and takes as long as the training did. Where the bytes differ it ends with 1
    if another machine or other code explains that, and with 3 if nothing does.

    \b
    Example:
      fuelline -v replay agents@v1
    """
    from dataclasses import asdict

    from models.retraining.replay import replay as train_again

    done = train_again(open_lake(lake_name), version)
    if as_json:
        print_json(asdict(done))
    elif done.equal:
        click.echo(
            f"{done.version}: the same weights again, byte for byte ({done.steps} steps, sha256 {done.replayed})"
        )
    else:
        click.echo(f"{done.version}: other weights. Registered {done.registered}, now {done.replayed}")
        if done.first_difference:
            click.echo(f"The first step that differs is {done.first_difference}.")
        for name, change in done.differences.items():
            click.echo(f"  {name}: {change}")
    if not done.equal:
        sys.exit(UNMET if done.differences else BROKEN)


@click.command(cls=Command)
@click.argument("model")
@click.option("--on", "day", type=Time(), metavar="DAY", help="The day, for example 2026-11-03 (UTC; default: today).")
@json_option
@click.pass_obj
def why(lake_name: str | None, model: str, day: datetime | None, as_json: bool) -> None:
    """Say why MODEL retrained on a day, or why it did not.

    Shows what each trigger saw, and what came of it.

    \b
    Examples:
      fuelline why agents
      fuelline why agents --on 2026-11-03
    """
    from reports.trigger_explanation import explain, told

    explained = explain(open_lake(lake_name), model, (day or datetime.now(UTC)).date())
    if as_json:
        print_json(explained)
        return
    for line in told(explained):
        click.echo(line)


@click.command(cls=Command)
@click.argument("run", required=False, default="")
@json_option
@click.pass_obj
def report(lake_name: str | None, run: str, as_json: bool) -> None:
    """Show the outcome of a run (default: the newest) and where its HTML report is.

    \b
    Example:
      fuelline report
    """
    from reports.run_report import find_summary, local_copy

    lake = open_lake(lake_name)
    summary = find_summary(lake, run)
    path = local_copy(lake, summary.run)
    if as_json:
        print_json(summary.plain() | {"path": str(path)})
        return
    print_summary(summary, str(path))


def _plain(entry: "Entry") -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(entry.encode())
    return fields | {"digest": entry.digest}
