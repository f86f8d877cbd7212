"""The repository: the cost of imports and their direction, committed files, requirements and `make`."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGES = ("lake", "features", "models", "serving", "reports", "tasks", "workflows", "launchplans", "cli")
FLYTE_SIDE = ("tasks", "workflows", "launchplans")
HEAVY = ("torch", "feast", "mlflow", "optuna", "transformers", "peft")
IMPORT_TIMEOUT_S = 120


def modules(*packages: str) -> list[str]:
    """Dotted names of all modules of ``packages``."""
    paths = sorted(path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py"))
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing says what is committed")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).exists()]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, version in pairs}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def python(code: str) -> str:
    """Standard output of ``code``, run in an interpreter of its own that fails if it hangs."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FUELLINE_", "MAKE"))}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def fake_environment(tmp_path: Path) -> Path:
    """An environment that installs nothing and whose ``pyflyte`` prints its arguments."""
    bin_folder = tmp_path / "fake_environment" / "bin"
    bin_folder.mkdir(parents=True)
    for name in ("python", "fuelline"):
        (bin_folder / name).symlink_to(shutil.which("true") or "/bin/true")
    (bin_folder / "pyflyte").write_text('#!/bin/sh\necho "lake=$FUELLINE_LAKE"; printf "%s\\n" "$@"\n')
    (bin_folder / "pyflyte").chmod(0o755)
    return bin_folder.parent


@pytest.fixture(scope="module")
def imported() -> list[list[str]]:
    """Of a fresh process: the modules that importing the Flyte side loads, then every module as it is imported."""
    code = f"""import importlib, sys
for name in {modules(*FLYTE_SIDE)!r}: importlib.import_module(name)
print(*sys.modules)
print(*(importlib.import_module(name).__name__ for name in {modules(*PACKAGES)!r}))"""
    return [line.split() for line in python(code).splitlines()]


def test_every_module_can_be_imported_in_time(imported: list[list[str]]) -> None:
    assert imported[1] == modules(*PACKAGES)


def test_importing_the_flyte_side_loads_nothing_heavy(imported: list[list[str]]) -> None:
    assert set(imported[0]) & set(HEAVY) == set()


@pytest.mark.parametrize("module", ["command_line", "errors", "hints", "settings"])
def test_each_root_module_imports_no_package(module: str) -> None:
    tree = ast.parse((ROOT / f"{module}.py").read_text())
    froms = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in froms | plain} & {*PACKAGES, "flytekit"} == set()


def test_nothing_binary_is_committed() -> None:
    assert [path.name for path in tracked() if b"\0" in path.read_bytes()[:8192]] == []


def test_no_committed_file_is_large() -> None:
    assert {path.name: path.stat().st_size for path in tracked() if path.stat().st_size > 512 * 1024} == {}


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    declared = project()["project"]
    for line in [*declared["dependencies"], *declared["optional-dependencies"]["dev"]]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins()[normal(requirement.name)]), line


def test_the_build_backend_has_the_pin_of_the_constraints() -> None:
    assert project()["build-system"]["requires"] == [f"setuptools=={pins()['setuptools']}"]


def test_the_installed_versions_are_the_pinned_ones() -> None:
    installed = {normal(found.metadata["Name"]): found.version.split("+")[0] for found in metadata.distributions()}
    bootstrap = {"pip", "wheel", "fuelline"}
    unpinned_or_other = {name: version for name, version in installed.items() if pins().get(name) != version}
    assert {name: version for name, version in unpinned_or_other.items() if name not in bootstrap} == {}


def test_the_constraints_contain_no_address_to_install_from() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#") and not re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)] == []


def test_the_changelog_says_nothing_twice() -> None:
    begun = re.findall(r"^- (.{20,40})", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sorted(set(begun)) == sorted(begun)


def test_make_lists_every_command() -> None:
    targets = set(re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())
    assert set(re.findall(r"^  make ([\w-]+)", make().stdout, re.MULTILINE)) == targets


def test_each_source_and_the_sample_have_lakes_of_their_own(tmp_path: Path, fake_environment: Path) -> None:
    names = ("a/My Logs", "b/My Logs", "sample", "___", "Anna's \u00e4pp")
    folders = [tmp_path / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)

    def lake_of(*arguments: str) -> str:
        return re.findall(r"lake=(.*)", make("run", f"VENV={fake_environment}", *arguments).stdout)[0]

    lakes = [lake_of(), *(lake_of(f"SOURCE={folder}") for folder in folders)]
    assert lakes[0] == "sample"
    assert len(set(lakes)) == len(lakes)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", lake) for lake in lakes), lakes
    assert lake_of(f"SOURCE={folders[0]}/") == lakes[1]


def test_run_passes_source_and_profile_to_the_workflow(tmp_path: Path, fake_environment: Path) -> None:
    printed = make("run", f"VENV={fake_environment}", f"SOURCE={tmp_path}", "PROFILE=smoke").stdout.splitlines()
    assert printed[-6:] == ["--folder", str(tmp_path), "--profile", "smoke", "--reason", "make run"]


def test_an_old_python_is_refused_with_the_supported_versions(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    refused = make("setup", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert refused.returncode == 2
    assert "needs Python 3.11, 3.12 or 3.13" in refused.stderr
    assert "Python 3.9.2" in refused.stderr


def test_a_source_that_is_not_a_folder_is_refused_before_anything_runs(tmp_path: Path, fake_environment: Path) -> None:
    refused = make("run", f"VENV={fake_environment}", f"SOURCE={tmp_path / 'nowhere'}")
    assert refused.returncode == 2
    assert "is not a folder" in refused.stderr
    assert "lake=" not in refused.stdout


def test_every_slow_test_is_listed_under_its_present_name() -> None:
    listed = (ROOT / "tests" / "slow.txt").read_text().split()
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    defined = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    assert [name for name in listed if name not in defined] == []
