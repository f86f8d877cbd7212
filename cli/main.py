"""The tree of the command ``fuelline``.

A command is imported only when it runs, so that help and shell completion are fast. What they show of a command, its
name and summary, stands here; a test compares the summary with the command's own. A command imports what it works with
inside its function, so that its own help is fast too.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import click

from command_line import STYLE, log_progress


class Lazy(click.Command):
    """A placeholder in the tree for a command that is not imported yet."""

    def __init__(self, module: str, name: str, summary: str) -> None:
        super().__init__(name, short_help=summary)
        self.module = module
        """The module that holds the command under its name, with underscores for dashes."""

    def load(self) -> click.Command:
        """The command itself."""
        assert self.name
        command = getattr(importlib.import_module(self.module), self.name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command


class Group(click.Group):
    """A group that lists its commands in the order given and imports one when it runs."""

    def __init__(self, name: str, commands: Sequence[click.Command], **options: Any) -> None:
        super().__init__(name, commands=commands, context_settings=STYLE, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in order."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is to run, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Lazy) else command, rest


ROLLBACK = Lazy("cli.rollouts", "rollback", "Return MODEL's users to the version before, at once.")
APPROVE = Lazy("cli.rollouts", "approve", "Allow MODEL@VERSION to be promoted, where its rollout asks for approval.")
TREE = (
    Lazy("cli.queries", "status", "Show what is in the lake, and what of each model is live, trained and waiting."),
    Lazy("cli.queries", "history", "List every event of MODEL with its time and its evidence, oldest first."),
    Lazy("cli.queries", "why", "Explain why MODEL retrained on a day, or why it did not."),
    Lazy("cli.queries", "lineage", "Trace MODEL@VERSION back to the raw objects and forward to its rollout."),
    Lazy("cli.queries", "report", "Show the outcome of a run (default: the newest) and where its HTML report is."),
    Lazy("cli.queries", "replay", "Train MODEL@VERSION again and compare the weights, byte for byte."),
    ROLLBACK,
    APPROVE,
    Group(
        "rollout",
        [
            Lazy("serving.commands", "controller", "Step every open rollout at a fixed interval."),
            APPROVE,
            ROLLBACK,
        ],
        help="Run the rollout controller, approve or roll back.",
    ),
    Group(
        "serve",
        [
            Lazy("serving.commands", "gateway", "Serve the agents: an OpenAI-compatible endpoint before vLLM."),
            Lazy("serving.commands", "reconcile", "Load into the vLLM replicas the adapters that the ledger asks for."),
        ],
        help="Run the processes that serve.",
    ),
    Group(
        "consume",
        [
            Lazy("lake.commands", "events", "Bring the broker's CloudEvents into the lake."),
            Lazy("features.commands", "features", "Count the broker's interaction events into the streaming features."),
        ],
        help="Run the consumers of the broker.",
    ),
    Group(
        "keys",
        [Lazy("cli.keys", "create", "Make a key for AGENT's requests to the gateway: shown once, kept nowhere.")],
        help="Make keys for the gateway.",
    ),
    Lazy("cli.checks", "check", "Check that every service that a setting names answers and accepts our credentials."),
    Group(
        "ledger",
        [Lazy("cli.checks", "verify", "Check that no entry of CHAIN (default: all) is missing or altered.")],
        help="Check the ledger.",
    ),
    Lazy("lake.commands", "sample", "Write the built-in sample: logs of four agents, always the same bytes."),
    Lazy("launchplans.commands", "register", "Register a version on Flyte: its tasks, workflows and launch plans."),
    Lazy("launchplans.commands", "package", "Write what register would into a file, for a cluster out of reach."),
    Group(
        "docs",
        [
            Lazy("cli.documents", "commands", "Print the page of commands, docs/commands.md."),
            Lazy("cli.documents", "contracts", "Print the page of data contracts, docs/contracts.md."),
            Lazy("cli.documents", "launchplans", "Print the page of launch plans, docs/launchplans.md."),
            Lazy(
                "cli.documents",
                "bucket-lifecycle",
                "Print the bucket's lifecycle rules as JSON, for S3 and MinIO.",
            ),
            Lazy("cli.documents", "trino-maintenance", "Print the maintenance of every table as SQL, for Trino."),
        ],
        help="Print pages of docs/, and files for other services.",
    ),
)


@click.group("fuelline", cls=Group, commands=TREE)
@click.option("--lake", metavar="NAME", help="The lake; overrides FUELLINE_LAKE.")
@click.option("-v", "--verbose", is_flag=True, help="Show progress on standard error.")
@click.option("--debug", is_flag=True, help="Show tracebacks; so does FUELLINE_DEBUG=1.")
@click.version_option(package_name="fuelline")
@click.pass_context
def main(context: click.Context, lake: str | None, verbose: bool, debug: bool) -> None:
    """Inspect and run Fuelline: agents retrained from their logs.

    Without --lake or FUELLINE_LAKE, the only lake that exists is used.

    \b
    Examples:
      fuelline status                       what is live, trained, waiting
      fuelline history agents               every event, with its evidence
      fuelline why agents --on 2026-11-03   why it retrained on that day, or did not
      fuelline lineage agents@v1            back to the raw objects
      fuelline rollback agents ...          back to the version before, at once
      fuelline --lake sample ledger verify  is every entry as it was written
      fuelline check                        do the services of the settings answer
      fuelline serve gateway --port 8080    serve the agents
    """
    context.obj = lake
    if verbose:
        log_progress()
