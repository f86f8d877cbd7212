"""The processes of a training, its device, and the switches that make its arithmetic repeatable.

One process per GPU. Under torchrun (or Flyte's elastic tasks) the processes exist already; otherwise this process is
rank 0 and starts the others, so a profile with two processes behaves the same on two cores as on two GPUs.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.attention import SDPBackend, sdpa_kernel

from errors import SettingsError, TrainingError
from models.spec import TrainingProfile

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others, at the start and in a step; after that one of them has died."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessGroup:
    """The processes of a training, and this one's place among them."""

    rank: int = 0
    world: int = 1
    """Number of processes."""
    device: str = "cpu"

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def wait(self) -> None:
        """Wait until every process has called this."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def process_group(
    profile: TrainingProfile, companion: Callable[..., None], arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessGroup]:
    """Join torchrun's processes, or start others that call ``companion(rank, world, rendezvous, *arguments)``."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        with group_member(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "env://") as group:
            yield group
        return
    world = profile.processes or max(1, torch.cuda.device_count())
    if world == 1:
        yield ProcessGroup(device=_device(0))
        return
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = (Path(folder) / "rendezvous").as_uri()
        with _companions(world, companion, (rendezvous, *arguments)), group_member(0, world, rendezvous) as group:
            yield group


@contextmanager
def group_member(rank: int, world: int, rendezvous: str) -> Iterator[ProcessGroup]:
    """Join as one of ``world`` processes at ``rendezvous`` (a torch ``init_method``)."""
    device = _device(int(os.environ.get("LOCAL_RANK", rank)))
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, init_method=rendezvous, rank=rank, world_size=world, timeout=TIMEOUT)
    try:
        yield ProcessGroup(rank=rank, world=world, device=device)
    finally:
        dist.destroy_process_group()


@contextmanager
def _companions(world: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=target, args=(rank, world, *arguments)) for rank in range(1, world)]
    for process in others:
        process.start()
    try:
        yield
    except BaseException:
        for process in others:
            process.terminate()
        raise
    finally:
        for process in others:
            process.join()
    failed = [rank for rank, process in enumerate(others, start=1) if process.exitcode]
    if failed:
        raise TrainingError(f"training processes of rank {failed} failed; see their logs")


def has_gpu() -> bool:
    """Whether torch can use a GPU.

    Raises ``SettingsError`` where this container has GPUs and torch sees none: on the CPU a training for GPUs would
    take days, while the GPUs are idle.
    """
    if torch.cuda.is_available():
        return True
    devices = os.environ.get("NVIDIA_VISIBLE_DEVICES", "")
    if devices not in ("", "none", "void"):  # its values in a container without GPUs
        raise SettingsError(
            f"NVIDIA_VISIBLE_DEVICES is {devices!r} and torch sees no GPU: the node's driver is older than CUDA "
            f"{torch.version.cuda} requires, or the container does not run in NVIDIA's runtime. To compute on the "
            "CPU, set it to 'void'"
        )
    return False


def _device(local_rank: int) -> str:
    if not has_gpu():
        return "cpu"
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}"


@contextmanager
def repeatable(profile: TrainingProfile) -> Iterator[None]:
    """Use deterministic kernels, the profile's threads, and a fork of torch's generators; restore all afterwards.

    On a GPU attention uses its math kernel, because the backward passes of the fused ones add in varying order.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when its first handle is created
    with torch.random.fork_rng(), sdpa_kernel(SDPBackend.MATH) if torch.cuda.is_available() else nullcontext():
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(profile.threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)


def dtype_of(profile: TrainingProfile, device: str) -> str:
    """The profile's dtype with ``auto`` resolved: bfloat16 where the hardware supports it, else float32.

    A CPU without such instructions emulates bfloat16 at half the speed of float32.
    """
    if profile.dtype != "auto":
        return profile.dtype
    native = device.startswith("cuda") or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"


def fingerprint(group: ProcessGroup, dtype: str) -> dict[str, Any]:
    """What the bytes of the weights depend on besides the training key."""
    gpu = torch.cuda.get_device_name(group.device) if group.device.startswith("cuda") else ""
    return {
        "torch": torch.__version__,
        "device": gpu or f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "processes": group.world,
    }
