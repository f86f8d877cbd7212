"""Installs packages for ``make``: pinned, with pip or uv, and with PyTorch's CPU build where there is no NVIDIA GPU.

PyPI's torch for Linux is a CUDA build, whose libraries take 4 GB more. The CPU builds have a local version (2.13.0+cpu)
and are in an index of PyTorch's own. Only torch is taken from there, without dependencies, so that no other package can
come from it; all others then find it installed. Nothing but the standard library is used, because nothing is installed.
"""

import argparse
import base64
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ANSWER_S = 5.0
"""Longest wait for an index to connect or to send its next bytes (seconds)."""
PAGE_S = 15.0
"""Longest wait for the index's page of torch as a whole (seconds)."""
PAGE_BYTES = 20_000_000
"""That page has some 200 kB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstallKind:
    """One of the installs of the Makefile, with the sizes to download and then on disk (GB) by the build of torch."""

    title: str
    cpu: tuple[float, float]
    cuda: tuple[float, float] | None
    """None where only a CPU build fits."""


KINDS = {
    "run": InstallKind(title="Fuelline", cpu=(0.7, 2.5), cuda=(3.2, 6.8)),
    "dev": InstallKind(title="Fuelline and the development tools", cpu=(1.3, 3.2), cuda=(3.8, 7.5)),
    "vllm": InstallKind(title="vLLM for processors", cpu=(0.9, 3.5), cuda=None),
}
"""To download: the sum of the pinned files for Python 3.11, x86-64. On disk with CUDA: measured for ``run``."""


class NoCpuBuild(Exception):
    """There is no CPU build where only one fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """pip or uv, for one environment."""

    python: Path
    uv: str = ""
    """The path of uv; empty for pip."""

    @property
    def name(self) -> str:
        return "uv" if self.uv else "pip"

    def install(self, *arguments: str) -> None:
        """Install; the client's own messages go to standard error.

        Raises:
            CalledProcessError: it failed.
        """
        if self.uv:
            command = [self.uv, "pip", "install", "--quiet", "--python", str(self.python)]
        else:
            command = [*self._pip, "install", "-qq", "--no-compile"]
        subprocess.run([*command, *arguments], check=True)

    def install_from(self, index: str, requirement: str) -> None:
        """Install one package, without its dependencies, from this index alone.

        Raises:
            CalledProcessError: it failed.
        """
        option = "--default-index" if self.uv else "--index-url"  # uv's variable for the former outranks the latter
        self.install("--no-deps", option, index, requirement)

    def finds(self, requirement: str) -> bool:
        """Whether the client finds such a version where it looks anyway. Downloads at most a wheel's metadata."""
        name, _, version = requirement.partition("==")
        if self.uv:
            options = ["--dry-run", "--no-deps", "--python", str(self.python)]
            return _quietly([self.uv, "pip", "install", *options, requirement]).returncode == 0
        ran = _quietly([*self._pip, "index", "versions", name])
        available = re.search(r"^Available versions: (.*)$", ran.stdout, re.MULTILINE)
        return available is not None and version in available[1].split(", ")

    def installed(self, name: str) -> str:
        """The version of an installed package; empty if it is not there."""
        code = f"import importlib.metadata as m\ntry: print(m.version({name!r}))\nexcept m.PackageNotFoundError: pass"
        return _quietly([str(self.python), "-c", code]).stdout.strip()

    @property
    def _pip(self) -> list[str]:
        return [str(self.python), "-m", "pip", "--disable-pip-version-check"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Torch:
    """Which build of torch to install."""

    version: str
    index: str = ""
    """Where its CPU build comes from; empty where the client finds the right build by itself."""
    cuda: bool = False
    remark: str = ""


def choose(client: Client, version: str, index: str, kind: InstallKind, gpu: bool) -> Torch:
    """The CPU build where there is no GPU: as the client finds it, else from ``index``, else PyPI's CUDA build.

    Raises:
        NoCpuBuild: only a CPU build fits, and there is none.
    """
    if sys.platform != "linux":  # PyPI's builds for other systems are for processors
        return Torch(version=version)
    if gpu and kind.cuda:
        return Torch(version=version, cuda=True, remark="for the NVIDIA GPU of this machine")
    cpu = f"{version}+cpu"
    if client.installed("torch") == cpu or client.finds(f"torch=={cpu}"):
        return Torch(version=cpu)
    if not (missing := fault(index, cpu)):
        return Torch(version=cpu, index=index)
    why = f"no CPU build of torch {version}: {client.name} finds none, and {missing}"
    remedy = "name a mirror of PyTorch's CPU index, TORCH_INDEX=<address>"
    if kind.cuda is None:
        raise NoCpuBuild(f"{why}. {kind.title} needs one: {remedy}")
    return Torch(version=version, cuda=True, remark=f"because there is {why}. To need less, {remedy}")


def fault(index: str, version: str) -> str:
    """Why this version of torch cannot be installed from an index, found in ``PAGE_S`` seconds; empty if it can."""
    if not re.match("https?://", index):
        return f"TORCH_INDEX={index!r} is not an address" if index else "TORCH_INDEX is empty"
    place = _without_password(index)
    pages: list[str | Exception] = []
    reader = threading.Thread(target=lambda: pages.append(_page(f"{index.rstrip('/')}/torch/")), daemon=True)
    reader.start()
    reader.join(PAGE_S)
    page = pages[0] if pages else TimeoutError()
    if isinstance(page, urllib.error.HTTPError):
        return f"{place} answers {page.code}"
    if isinstance(page, Exception):
        return f"{place} does not answer"
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    escaped = re.escape(version).replace(r"\+", "(?:[+]|%2B)")
    wheel = rf"torch-{escaped}-{python}-{python}-[\w.]*{platform.machine()}\.whl"
    return "" if re.search(wheel, page, re.IGNORECASE) else f"{place} has none for {python} on {platform.machine()}"


def has_gpu() -> bool:
    """Whether NVIDIA's driver lists a GPU."""
    command = shutil.which("nvidia-smi")
    return bool(command) and "GPU " in _quietly([str(command), "-L"]).stdout


def message(kind: InstallKind, torch: Torch, client: Client, place: str) -> str:
    """One line: what will be downloaded, how much, and which torch."""
    download, disk = kind.cuda if torch.cuda and kind.cuda else kind.cpu
    build = f"torch {torch.version}" + (" (CUDA)" if torch.cuda else "")
    source = f" from {_without_password(torch.index)}" if torch.index else ""
    remark = f" {torch.remark}" if torch.remark else ""
    return (
        f"Installing {kind.title} into {place} with {client.name}, pinned: {download} GB to download, {disk} GB on "
        f"disk, 2 to 5 minutes the first time; {build}{source}{remark}"
    )


def main(arguments: list[str]) -> int:
    """See the Makefile."""
    parser = argparse.ArgumentParser(prog="python -m stack.install")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--python", type=Path, required=True, help="of the environment to install into")
    parser.add_argument("--constraint", type=Path, required=True, help="the file of pins")
    parser.add_argument("--torch-index", default="", metavar="ADDRESS")
    parser.add_argument("--installer", choices=("pip", "uv"), default="pip")
    parser.add_argument("--alone", metavar="NAME", help="a package to install afterwards without its dependencies")
    parser.add_argument("requirements", nargs="+", help="arguments of the installer's install, after --")
    given = parser.parse_args(arguments)
    uv = shutil.which("uv") or ""
    if given.installer == "uv" and not uv:
        return _failed("INSTALLER=uv, and there is no uv on PATH. Install it (pip install uv), or leave INSTALLER out.")
    client = Client(python=given.python, uv=uv if given.installer == "uv" else "")
    kind = KINDS[given.kind]
    try:
        torch = choose(client, _pin(given.constraint, "torch"), given.torch_index, kind, has_gpu())
        print(f"[setup] {message(kind, torch, client, given.python.parents[1].name)}", flush=True)
        if torch.index:
            client.install_from(torch.index, f"torch=={torch.version}")
        pinned = ("--constraint", str(given.constraint))
        client.install(*pinned, *given.requirements)
        if given.alone:
            client.install(*pinned, "--no-deps", given.alone)
    except NoCpuBuild as error:
        return _failed(f"There is {error}")
    except subprocess.CalledProcessError as error:
        return _failed(f"{client.name} failed with exit status {error.returncode}; its message is above.")
    return 0


def _pin(constraints: Path, name: str) -> str:
    found = re.search(rf"^{name}==(\S+)$", constraints.read_text(), re.MULTILINE)
    assert found, f"{constraints} has no pin of {name}"
    return found[1]


def _page(address: str) -> str | Exception:
    parts = urlsplit(address)
    request = urllib.request.Request(_without_password(address), headers={"Accept": "text/html"})
    if parts.username:
        token = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return str(answer.read(PAGE_BYTES), "utf-8", "replace")
    except (OSError, ValueError) as error:
        return error


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _quietly(command: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "")


def _failed(reason: str) -> int:
    print(f"[setup] {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
