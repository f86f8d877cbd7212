"""Commands that read a lake and print: what is live, what happened and why, where a version came from.

Answers go to standard output, everything else to standard error.
"""

import json
import sys
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import click

from cli.lakes import check_model, open_lake
from cli.terminal import json_option, print_json, print_status, print_summary, print_table
from command_line import BROKEN, UNMET, Command
from errors import UnknownName


class Time(click.ParamType[datetime]):
    """A time in UTC. A day without a time means its end, so that what happened on that day is included."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse it."""
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-03 or 2026-11-03T14:00", param, ctx)
        if len(value) == len("2026-11-03"):
            parsed = datetime.combine(parsed.date(), time.max)
        return parsed.replace(tzinfo=parsed.tzinfo or UTC)


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
      fuelline status --at 2026-11-03   what was in production on 3 November
    """
    from lake.lake import open_lakes
    from reports.status import overview

    statuses = [overview(lake, until) for lake in open_lakes(lake_name)]
    if as_json:
        print_json(statuses)
    else:
        for lake_status in statuses:
            print_status(lake_status)


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
    from models.registry.kinds import model_chain, version_name
    from reports.common.ledger_text import evidence

    lake = open_lake(lake_name)
    check_model(lake, model)
    all_entries = lake.ledger.entries(model_chain(model))
    kinds = {entry.kind for entry in all_entries}
    if kind and kind not in kinds:
        raise UnknownName("kind of event", kind, kinds)
    entries = [entry for entry in all_entries if kind in (None, entry.kind)]
    if as_json:
        print_json([json.loads(entry.encode()) | {"digest": entry.digest} for entry in entries])
        return
    rows = [(str(e.seq), f"{e.time:%Y-%m-%d %H:%M:%S}", e.kind, version_name(e), evidence(e)) for e in entries]
    print_table(("#", "time (UTC)", "event", "version", "evidence"), rows, numbers=(0,))


@click.command(cls=Command)
@click.argument("version", metavar="MODEL@VERSION")
@click.option("--svg", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Also write a picture.")
@click.option("--all", "all_objects", is_flag=True, help="List every raw object, however many.")
@json_option
@click.pass_obj
def lineage(lake_name: str | None, version: str, svg: Path | None, all_objects: bool, as_json: bool) -> None:
    """Trace MODEL@VERSION back to the raw objects and forward to its rollout.

    \b
    Examples:
      fuelline lineage agents@v1
      fuelline lineage agents@v1 --svg agents-v1.svg
    """
    from reports.lineage.build import lineage as trace
    from reports.lineage.render import as_svg, as_text

    graph = trace(open_lake(lake_name), version)
    if svg:
        svg.write_text(as_svg(graph), encoding="utf-8")
        click.echo(f"wrote {svg}", err=True)
    if as_json:
        print_json(graph.plain())
    else:
        click.echo(as_text(graph, everything=all_objects))


@click.command(cls=Command)
@click.argument("version", metavar="MODEL@VERSION")
@json_option
@click.pass_obj
def replay(lake_name: str | None, version: str, as_json: bool) -> None:
    """Train MODEL@VERSION again and compare the weights, byte for byte.

    It trains from the version's manifest and takes as long as the training did. If the bytes differ, it ends with 1
    where another machine or other code explains that, and with 3 where nothing does.

    \b
    Example:
      fuelline -v replay agents@v1
    """
    from dataclasses import asdict

    from models.retraining.replay import replay as train_again

    result = train_again(open_lake(lake_name), version)
    if as_json:
        print_json(asdict(result))
    elif result.equal:
        run = f"{result.steps} steps, sha256 {result.replayed}"
        click.echo(f"{result.version}: the same weights again, byte for byte ({run})")
    else:
        click.echo(f"{result.version}: other weights. Registered {result.registered}, now {result.replayed}")
        if result.first_difference:
            click.echo(f"The first step that differs is {result.first_difference}.")
        for name, change in result.differences.items():
            click.echo(f"  {name}: {change}")
    if not result.equal:
        sys.exit(UNMET if result.differences else BROKEN)


@click.command(cls=Command)
@click.argument("model")
@click.option("--on", "day", type=Time(), metavar="DAY", help="The day, for example 2026-11-03 (UTC; default: today).")
@json_option
@click.pass_obj
def why(lake_name: str | None, model: str, day: datetime | None, as_json: bool) -> None:
    """Explain why MODEL retrained on a day, or why it did not.

    Shows what each trigger found, and what followed.

    \b
    Examples:
      fuelline why agents
      fuelline why agents --on 2026-11-03
    """
    from reports.trigger_explanation import explain, explanation_lines

    explanation = explain(open_lake(lake_name), model, (day or datetime.now(UTC)).date())
    if as_json:
        print_json(explanation)
    else:
        click.echo("\n".join(explanation_lines(explanation)))


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
    from reports.run_report import local_copy
    from reports.run_summary import find_summary

    lake = open_lake(lake_name)
    summary = find_summary(lake, run)
    path = local_copy(lake, summary.run)
    if as_json:
        print_json(summary.plain() | {"path": str(path)})
    else:
        print_summary(summary, str(path))


@click.command(cls=Command)
@click.option("--week", metavar="WEEK", help="The ISO week, for example 2026-W41 (default: the newest whole one).")
@json_option
@click.pass_obj
def weekly(lake_name: str | None, week: str | None, as_json: bool) -> None:
    """Write the report of a past week, unless it exists, and show where its page is.

    It is made from what the lake holds of that week now, and stays as it is. No message is sent.

    \b
    Examples:
      fuelline weekly
      fuelline weekly --week 2026-W41
    """
    from dataclasses import asdict

    from reports.weekly.activity import Week, monday
    from reports.weekly.page import local_copy, write_past_week

    lake = open_lake(lake_name)
    report = write_past_week(lake, week or Week(start=monday(lake.ledger.clock())).before.name)
    path = str(local_copy(lake, report))
    if as_json:
        print_json(asdict(report) | {"path": path})
    else:
        click.echo(f"{report.week}  {path}")
