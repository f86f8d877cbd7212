"""The tree of the command ``fuelline``.

A command is imported only when it runs, so that help and shell completion are fast. What they show of a command, its
name and summary, stands here; a test compares the summary with the command's own. A command imports what it works with
inside its function, so that its own help is fast too.
"""

import importlib

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

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in order."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is to run, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Lazy) else command, rest


GROUPS = {
    "rollout": "Run the rollout controller, approve or roll back.",
    "serve": "Run the processes that serve.",
    "consume": "Run the consumers of the broker.",
    "keys": "Make keys for the gateway.",
    "ledger": "Check the ledger.",
    "docs": "Print pages of docs/, and files for other services.",
}
ROLLBACK = ("cli.rollouts", "Return MODEL's users to the version before, at once.")
APPROVE = ("cli.rollouts", "Allow MODEL@VERSION to be promoted, where its rollout asks for approval.")
COMMANDS = {
    "status": ("cli.queries", "Show what is in the lake, and what of each model is live, trained and waiting."),
    "history": ("cli.queries", "List every event of MODEL with its time and its evidence, oldest first."),
    "why": ("cli.queries", "Explain why MODEL retrained on a day, or why it did not."),
    "lineage": ("cli.queries", "Trace MODEL@VERSION back to the raw objects and forward to its rollout."),
    "report": ("cli.queries", "Show the outcome of a run (default: the newest) and where its HTML report is."),
    "weekly": ("cli.queries", "Write the report of a past week, unless it exists, and show where its page is."),
    "replay": ("cli.queries", "Train MODEL@VERSION again and compare the weights, byte for byte."),
    "rollback": ROLLBACK,
    "approve": APPROVE,
    "rollout controller": ("serving.commands", "Step every open rollout at a fixed interval."),
    "rollout approve": APPROVE,
    "rollout rollback": ROLLBACK,
    "serve gateway": ("serving.commands", "Serve the agents: an OpenAI-compatible endpoint before vLLM."),
    "serve reconcile": ("serving.commands", "Load into the vLLM replicas the adapters that the ledger asks for."),
    "consume events": ("lake.commands", "Bring the broker's CloudEvents into the lake."),
    "consume features": ("features.commands", "Count the broker's interaction events into the streaming features."),
    "keys create": ("serving.commands", "Make a key for AGENT's requests to the gateway: shown once, kept nowhere."),
    "check": ("cli.checks", "Check that every service that a setting names answers and accepts our credentials."),
    "ledger verify": ("cli.checks", "Check that no entry of CHAIN (default: all) is missing or altered."),
    "sample": ("lake.commands", "Write the built-in sample: logs of four agents, always the same bytes."),
    "register": ("launchplans.commands", "Register a version on Flyte: its tasks, workflows and launch plans."),
    "package": (
        "launchplans.commands",
        "Write what register would into a file, for a cluster that cannot be reached.",
    ),
    "docs commands": ("cli.documents", "Print the page of commands, docs/commands.md."),
    "docs contracts": ("cli.documents", "Print the page of data contracts, docs/contracts.md."),
    "docs launchplans": ("cli.documents", "Print the page of launch plans, docs/launchplans.md."),
    "docs bucket-lifecycle": ("cli.documents", "Print the bucket's lifecycle rules as JSON, for S3 and MinIO."),
    "docs trino-maintenance": ("cli.documents", "Print the maintenance of every table of the lake as SQL, for Trino."),
    "docs trino-views": ("cli.documents", "Print the views of the star schema as SQL, for Trino."),
}
"""Module and summary of each command."""


@click.group("fuelline", cls=Group, context_settings=STYLE)
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


for words, (module, summary) in COMMANDS.items():
    group, _, name = words.rpartition(" ")
    if group and group not in main.commands:
        main.add_command(Group(group, help=GROUPS[group]))
    parent = main.commands[group] if group else main
    assert isinstance(parent, Group)
    parent.add_command(Lazy(module, name, summary))
