"""What the commands print: JSON, tables and facts, without colours or wrapping where the output is no terminal."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.table import Table

    from reports.run_summary import RunSummary

F = TypeVar("F", bound=Callable[..., object])


def json_option(command: F) -> F:
    """Add ``--json``, for a command whose output programs read."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def print_json(value: object) -> None:
    """Print indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> None:
    """Print a table without lines; the columns with the indices ``numbers`` are aligned right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _show(table)


def print_status(status: Mapping[str, Any]) -> None:
    """Print a lake's status as tables."""
    from reports.common.ledger_text import minute

    as_of = f" as of {minute(status['as_of'])} UTC" if status["as_of"] else ""
    click.secho(f"Lake {status['lake']}{as_of}", bold=True, nl=False)
    click.echo(f"  {status['store']}")
    if not (status["sources"] or status["tables"] or status["models"]):
        click.echo("  empty")
    if sources := status["sources"]:
        click.echo()
        counted = ("objects", "landed", "committed", "quarantined", "duplicates")
        rows = [
            (source["source"], *(f"{source[name]:,}" for name in counted), source["watermark"][:19].replace("T", " "))
            for source in sources
        ]
        print_table(("source", *counted, "watermark (UTC)"), rows, numbers=range(1, 6))
        for source in sources:
            for reason, count in source["reasons"].items():
                click.echo(f"  {count:,} quarantined: {reason}")
    if tables := status["tables"]:
        click.echo()
        print_table(("table", "rows"), [(table["table"], f"{table['rows']:,}") for table in tables], numbers=(1,))
    for model in status["models"]:
        click.echo()
        _print_model(model)


def _print_model(model: Mapping[str, Any]) -> None:
    from reports.common.ledger_text import minute

    click.secho(f"Model {model['model']}", bold=True)
    since = f" since {minute(model['since'])}: {model['why']}" if model["since"] else ""
    live = "the base model" if model["production"] == "base" else model["production"]
    facts = {
        "live": f"{live}{since}",
        "rollout": model["rollout"] or "none open",
        "waiting": ", ".join(model["waiting"]) or "none",
        "registered": ", ".join(model["registered"]) or "none",
        "trained on": f"data up to {minute(model['trained_upto'])}" if model["trained_upto"] else "nothing",
        "training now": model["training"],
        "requested": model["request"],
    }
    if model["failures"]:
        facts["failed"] = f"{model['failures']} in a row, the last at {minute(model['failed_at'])}"
    if last := model["last_event"]:
        facts["last event"] = f"{minute(last['time'])} {last['kind']}: {last['evidence']}"
    _print_facts(facts)


def print_summary(summary: "RunSummary", path: str) -> None:
    """Print the outcome of a run."""
    from reports.common.ledger_text import UNIT
    from reports.run_report import OUTCOMES
    from reports.run_summary import headline

    counts = ", ".join(f"{getattr(summary, name):,} {name}" for name in ("committed", "quarantined", "duplicates"))
    facts = {
        "came in": f"{summary.landed:,} lines in {summary.objects:,} objects: {counts}",
        "quarantined": ", ".join(f"{reason} {count:,}" for reason, count in summary.reasons.items()),
    }
    if scores := summary.scores:
        candidate = f"{summary.version or 'candidate'} {scores.candidate:.3f}"
        facts["scores"] = f"{candidate}, {scores.against} {scores.baseline:.3f} (lower is better)"
        size = f"on {scores.rows:,} rows of {scores.users:,} users"
        facts["difference"] = f"{scores.difference:+.3f} [{scores.low:+.3f}, {scores.high:+.3f}] {UNIT}, {size}"
    word = OUTCOMES.get(summary.outcome, (summary.outcome, ""))[0]
    facts["version"] = summary.version or "none registered"
    facts["verdict"] = f"{word}. {headline(summary)} {summary.reason}".rstrip()
    facts["report"] = path
    _print_facts(facts)


def _print_facts(facts: Mapping[str, str | None]) -> None:
    """Print each fact that is there on a line."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(f"  {name}", value)
    _show(table)


def _show(table: "Table") -> None:
    """Print it, wrapped to the terminal, or one line per row (up to 10,000 wide) into a pipe; no text is markup."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 10_000, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line if terminal else line.rstrip())
