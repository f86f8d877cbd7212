"""The operator's command, ``fuelline``: what is live, what happened and why, where a version came from, is it whole.

It is thin: each command asks the packages and prints. What a command needs is imported inside it, so that help and
status come at once. Answers go to standard output, everything else to standard error.

Exit codes: 0 fine; 1 the request cannot be met, the message says why; 2 wrong usage; 3 something stored is not what was
written.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errors import FuellineError, IntegrityError, UnknownName
from fuelline_checks import check, ledger
from lake.terminal import json_option, print_json, print_status, print_summary, print_table

if TYPE_CHECKING:
    from lake.lake import Lake
    from lake.ledger import Entry

BROKEN = 3


class _Commands(click.Group):
    """A group whose deliberate errors end in one line on standard error and a code that says their kind."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except FuellineError as error:
            if context.params.get("debug") or os.environ.get("FUELLINE_DEBUG"):
                raise
            click.echo(f"fuelline: {error}", err=True)
            context.exit(BROKEN if isinstance(error, IntegrityError) else 1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--lake", "lake_name", metavar="NAME", help="The lake to look at; overrides FUELLINE_LAKE.")
@click.option("-v", "--verbose", is_flag=True, help="Show progress on standard error.")
@click.option("--debug", is_flag=True, help="Show tracebacks; so does FUELLINE_DEBUG=1.")
@click.version_option(package_name="fuelline")
@click.pass_context
def main(context: click.Context, lake_name: str | None, verbose: bool, debug: bool) -> None:
    """See and check what Fuelline made of your agents' logs.

    Without --lake or FUELLINE_LAKE the only lake there is, is meant.

    \b
    Examples:
      fuelline status                       what is live, trained, waiting
      fuelline history agents               every event, with its evidence
      fuelline why agents --on 2026-11-03   why it retrained on that day, or did not
      fuelline lineage agents@v1            back to the raw objects
      fuelline rollback agents ...          back to the version before, at once
      fuelline --lake sample ledger verify  is every entry as it was written?
      fuelline check                        are the services there that the settings name?
    """
    context.obj = lake_name
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
        logging.getLogger("fuelline").addHandler(handler)
        logging.getLogger("fuelline").setLevel(logging.INFO)


for command in (check, ledger):
    main.add_command(command)


@main.command()
@click.option("--at", metavar="TIME", help="As of this time, for example 2026-11-03 or 2026-11-03T14:00 (UTC).")
@json_option
@click.pass_obj
def status(lake_name: str | None, at: str | None, as_json: bool) -> None:
    """Show what is in the lake, and for each model what is live, trained and waiting.

    \b
    Examples:
      fuelline status
      fuelline status --at 2026-11-03   what was in production on 3 November?
    """
    from lake.naming import open_every
    from models.overview import overview

    until = _instant(at) if at else None
    told = [overview(lake, until) for lake in open_every(lake_name)]
    if as_json:
        print_json(told)
        return
    for one in told:
        print_status(one)


@main.command()
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
    from lake.events import evidence, version_name

    everything = _entries(_open(lake_name), model)
    kinds = {entry.kind for entry in everything}
    if kind and kind not in kinds:
        raise UnknownName("kind of event", kind, kinds)
    entries = [entry for entry in everything if kind in (None, entry.kind)]
    if as_json:
        print_json([_plain(entry) for entry in entries])
        return
    rows = [(str(e.seq), f"{e.time:%Y-%m-%d %H:%M:%S}", e.kind, version_name(e), evidence(e)) for e in entries]
    print_table(("#", "time (UTC)", "event", "version", "evidence"), rows, numbers=(0,))


@main.command()
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
    from lake.lineage import lineage as trace
    from lake.lineage_views import as_svg, as_text

    graph = trace(_open(lake_name), version)
    if svg:
        svg.write_text(as_svg(graph), encoding="utf-8")
        click.echo(f"wrote {svg}", err=True)
    if as_json:
        print_json(graph.plain())
    else:
        click.echo(as_text(graph, everything=everything))


@main.command()
@click.argument("version", metavar="MODEL@VERSION")
@json_option
@click.pass_obj
def replay(lake_name: str | None, version: str, as_json: bool) -> None:
    """Train MODEL@VERSION again from its manifest and compare the weights, byte for byte.

    Takes as long as the training did. Where the bytes differ it ends with 1 if another machine or other code explains
    that, and with 3 if nothing does.

    \b
    Example:
      fuelline -v replay agents@v1
    """
    from dataclasses import asdict

    from models.replay import replay as train_again

    done = train_again(_open(lake_name), version)
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
        sys.exit(1 if done.differences else BROKEN)


@main.command()
@click.argument("model")
@click.option("--on", "day", metavar="DAY", help="The day, for example 2026-11-03 (UTC; default: today).")
@json_option
@click.pass_obj
def why(lake_name: str | None, model: str, day: str | None, as_json: bool) -> None:
    """Say why MODEL retrained on a day, or why it did not: what each trigger saw, and what came of it.

    \b
    Examples:
      fuelline why agents
      fuelline why agents --on 2026-11-03
    """
    from models.triggers.why import explain, told

    asked = _instant(day, "--on").date() if day else datetime.now(UTC).date()
    explained = explain(_open(lake_name), model, asked)
    if as_json:
        print_json(explained)
        return
    for line in told(explained):
        click.echo(line)


@main.command()
@click.argument("model")
@click.option("--reason", required=True, help="Why, in a sentence; the ledger keeps it.")
@click.option("--by", required=True, help="Who you are; the ledger keeps it.")
@click.option("--dry-run", is_flag=True, help="Say what it would do, and do nothing.")
@json_option
@click.pass_obj
def rollback(lake_name: str | None, model: str, reason: str, by: str, dry_run: bool, as_json: bool) -> None:
    """Take MODEL's users back at once: from an open canary's candidate, else from the version in production.

    After a canary was taken back production goes on answering; a second rollback takes that back too. A candidate in
    its shadow has no users: production goes back to the version before, which voids that rollout.

    One ledger entry, which every gateway follows within seconds; vLLM need not be there.

    \b
    Examples:
      fuelline rollback agents --dry-run --reason "tone" --by ana
      fuelline rollback agents --reason "answers in the wrong language" --by ana
    """
    from dataclasses import asdict

    from serving.takeback import plan_take_back, take_back

    lake = _open(lake_name)
    _known_model(lake, model)
    planned = plan_take_back(lake, model)
    if not dry_run:
        take_back(lake, planned, reason=reason, by=by)
    if as_json:
        print_json(asdict(planned) | {"done": not dry_run})
    else:
        click.echo(f"{planned.left} {'would be' if dry_run else 'is'} taken back: {planned.told}")


@main.command()
@click.argument("version", metavar="MODEL@VERSION")
@click.option("--reason", required=True, help="Why, in a sentence; the ledger keeps it.")
@click.option("--by", required=True, help="Who you are; the ledger keeps it.")
@click.pass_obj
def approve(lake_name: str | None, version: str, reason: str, by: str) -> None:
    """Agree that MODEL@VERSION may be promoted, where its rollout asks for a person's word.

    \b
    Example:
      fuelline approve agents@v3 --reason "read 50 answers" --by ana
    """
    from serving import takeback

    takeback.approve(_open(lake_name), version, reason=reason, by=by)
    click.echo(f"{version} may be promoted once its evidence is there.")


@main.command()
@click.argument("run", required=False, default="")
@json_option
@click.pass_obj
def report(lake_name: str | None, run: str, as_json: bool) -> None:
    """Show what a run came to (default: the newest) and where its HTML report is.

    \b
    Example:
      fuelline report
    """
    from lake.report import find_summary, local_copy

    lake = _open(lake_name)
    summary = find_summary(lake, run)
    path = local_copy(lake, summary.run)
    if as_json:
        print_json(summary.plain() | {"path": str(path)})
        return
    print_summary(summary, str(path))


def _open(name: str | None) -> "Lake":
    from lake.naming import open_named

    return open_named(name)


def _instant(text: str, option: str = "--at") -> datetime:
    """A day means its end, so that what happened on it counts."""
    try:
        stated = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a time such as 2026-11-03 or 2026-11-03T14:00", param_hint=option
        ) from None
    if len(text) == len("2026-11-03"):
        stated += timedelta(days=1) - timedelta(microseconds=1)
    return stated.replace(tzinfo=stated.tzinfo or UTC)


def _known_model(lake: "Lake", model: str) -> None:
    models = [chain.removeprefix("models/") for chain in lake.ledger.chains("models/")]
    if model not in models:
        raise UnknownName("model", model, models)


def _entries(lake: "Lake", model: str) -> "list[Entry]":
    _known_model(lake, model)
    return lake.ledger.entries(f"models/{model}")


def _plain(entry: "Entry") -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(entry.encode())
    return fields | {"digest": entry.digest}


if __name__ == "__main__":
    main()
