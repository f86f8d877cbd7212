"""The tree of commands: one style for all, and help that imports none of the packages behind a command."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.documents import commands_page
from cli.main import Lazy, main
from command_line import Command

ROOT = Path(__file__).parents[2]
HEAVY = {"pyarrow", "flytekit", "torch", "feast", "pandas", "mlflow", "starlette"}
PACKAGES = {"lake", "features", "models", "serving", "tasks", "workflows", "launchplans", "settings", "pydantic"}


def walk(command: click.Command, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of the tree with its words, a group before its members."""
    yield names, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from walk(below, *names, name)


COMMANDS = {" ".join(names): command for names, command in walk(main) if isinstance(command, Lazy)}


def test_each_name_in_the_tree_loads_the_command_of_that_name() -> None:
    assert {name: command.load().name for name, command in COMMANDS.items()} == {
        name: name.split()[-1] for name in COMMANDS
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_in_the_tree_is_the_first_paragraph_of_the_commands_help(name: str) -> None:
    command = COMMANDS[name].load()
    assert isinstance(command, Command), "its errors would have another form than those of the others"
    assert inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ") == COMMANDS[name].short_help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_says_what_its_options_do(name: str) -> None:
    command = COMMANDS[name].load()
    assert f"fuelline {name}" in " ".join(CliRunner().invoke(main, [*name.split(), "--help"]).output.split())
    assert "\b\nExample" in inspect.cleandoc(command.help or "")
    for option in (parameter for parameter in command.params if isinstance(parameter, click.Option)):
        assert option.help, option.name
        assert option.help[0].isupper(), option.help
        assert option.help.endswith("."), option.help


def loaded(*arguments: str) -> set[str]:
    """Top-level packages in memory after ``fuelline`` with these arguments."""
    code = f"""
import sys
from cli.documents import commands_page
from cli.main import main
try:
    main({[*arguments]!r})
except SystemExit as ended:
    assert not ended.code
print("loaded:", *(name.partition(".")[0] for name in sys.modules))"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_help_imports_none_of_the_packages_behind_the_commands() -> None:
    assert loaded("--help") & (HEAVY | PACKAGES) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    assert loaded(*name.split(), "--help") & HEAVY == set()


def test_the_committed_page_of_commands_is_up_to_date() -> None:
    committed = (ROOT / "docs" / "commands.md").read_text()
    assert committed == commands_page(main), "run: fuelline docs commands > docs/commands.md"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("serving.gateway", "serve gateway"),
        ("serving.reconcile", "serve reconcile"),
        ("serving.steward", "rollout controller"),
        ("lake.sources.rabbitmq", "consume events"),
        ("features.consumer", "consume features"),
        ("lake.sample", "sample"),
        ("launchplans.registration register", "register"),
        ("launchplans.registration package", "package"),
    ],
)
def test_a_module_that_manifests_start_has_the_help_of_its_command(module: str, name: str) -> None:
    command = [sys.executable, "-W", "error", "-m", *module.split(), "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    usage, _, rest = shown.partition("\n\n")
    assert usage.startswith(f"Usage: python -m {module} ")
    expected = CliRunner().invoke(main, [*name.split(), "--help"]).output.partition("\n\n")[2]
    assert rest.split() == expected.split()
