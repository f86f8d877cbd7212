"""``make demo-canary``: show the rollouts of two candidates, one promoted and one rolled back.

Everything is what production runs: adapters trained on this machine, a real vLLM, a gateway, the rollout controller's
steps. Only the users are simulated: they rate short answers in the style of the agents as good.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lake.lake import Lake
from models.llm.base_model import resolve
from models.registry.fold import read_state
from models.types import ModelVersion
from serving.rollout.controller import advance_all, describe
from serving.rollout.timeline import MetricPoint, Timeline, timeline_of
from serving.routing.routes import adapter_name_of, read_routes
from tests.vllm.conftest import VllmServer
from tests.vllm.people import People
from tests.vllm.rig import Rig, serving
from tests.vllm.world import World, build_world
from tests.world.world import SPEC

EVERY_S = 2.0


def main(arguments: list[str] | None = None) -> int:
    """Run it; 0 once both candidates are decided."""
    parser = argparse.ArgumentParser(prog="make demo-canary", description=__doc__)
    parser.add_argument(
        "--vllm-python", type=Path, default=Path(".venv-vllm/bin/python"), help="where vLLM is installed"
    )
    options = parser.parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="fuelline-demo-") as folder:
        _play(console, Path(folder), options.vllm_python.absolute())
    return 0


def _play(console: Console, folder: Path, python: Path) -> None:
    with console.status("Training two adapters on SmolLM2, one of them on poisoned logs: about a minute"):
        world = build_world(folder / "world")
    torch.set_num_threads(1)  # the shadow shares two cores with vLLM, whose users do not wait for ever
    server = VllmServer(python=python, model=Path(resolve(world.lake.settings).path), log=folder / "vllm.log")
    with contextlib.ExitStack() as running:
        running.callback(server.stop)
        with console.status("Starting vLLM: about a minute"):
            server.start()
        with console.status("Starting a gateway and the reconciler"):
            rig = running.enter_context(serving(world.lake, server.replica, folder, gateways=1))
        _watch(console, rig, world, world.good)
        _watch(console, rig, world, world.noisy)


def _watch(console: Console, rig: Rig, world: World, version: ModelVersion) -> None:
    """One rollout, from its opening to what became of it."""
    world.roll_out(version)
    begins = Text(
        f"{version.name}: its shadow answers recent requests beside the version in production", style="italic"
    )
    with People(gateways=rig.addresses) as people, Live(begins, console=console, refresh_per_second=4) as live:
        said: dict[str, str] = {}
        while _open(rig.lake, version):
            said = {name: describe(result) for name, result in advance_all(rig.lake).items()} or said
            live.update(_picture(rig.lake, version, people, said.get(version.name, "")))
            time.sleep(EVERY_S)
        live.update(_picture(rig.lake, version, people, said.get(version.name, "")))


def _open(lake: Lake, version: ModelVersion) -> bool:
    state = read_state(lake.ledger, SPEC.name)
    rolling = state.rollout and state.rollout.version == version.version
    watched = state.soak and state.soak.version == version.version
    return bool(rolling or watched)


def _picture(lake: Lake, version: ModelVersion, people: People, said: str) -> RenderableType:
    route = read_routes(lake)[SPEC.name]
    head = Text.assemble(
        (f"{version.name} ", "bold"),
        f"({version.adapter_name}) against {adapter_name_of(route.stable)}; ",
        (f"{route.share if route.rollout else 0:.0%} of the users", "bold"),
        f"; {len(people.got):,} answers, {people.failed:,} failed",
    )
    timeline = timeline_of(lake, version.name, points=2)
    return Group(
        head, _rates(timeline) if timeline else Text("it has had no user yet"), Text(said, style="italic"), Text("")
    )


def _rates(timeline: Timeline) -> Table:
    """A line a metric: both arms' bad rates, and how far the evidence has come to either decision."""
    table = Table(box=None, pad_edge=False)
    for name in ("bad answers", "candidate", "stable", "worse: evidence", "not worse: evidence"):
        table.add_column(name, justify="right" if name in ("candidate", "stable") else "left")
    for metric, points in timeline.metrics.items():
        if points:
            last = points[-1]
            table.add_row(
                metric.value.replace("_", " "), *_shares(last), _bar(last.harm, "red"), _bar(last.safety, "green")
            )
    return table


def _shares(point: MetricPoint) -> tuple[str, str]:
    return tuple("no answer yet" if rate != rate else f"{rate:.1%}" for rate in (point.candidate, point.stable))  # type: ignore[return-value]


def _bar(done: float, style: str) -> RenderableType:
    """How much of the evidence that decides is there; a metric that is not judged so has none."""
    if done != done:
        return Text("not judged", style="dim")
    return ProgressBar(total=1, completed=done, width=28, complete_style=style, finished_style=f"bold {style}")


if __name__ == "__main__":
    sys.exit(main())
