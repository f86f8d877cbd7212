"""The device that a training gets: the CPU only without a GPU."""

import pytest
import torch

from errors import SettingsError
from models.llm.distributed import has_gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
def test_a_container_with_gpus_does_not_fall_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "all")
    with pytest.raises(SettingsError, match="NVIDIA_VISIBLE_DEVICES is 'all' and torch sees no GPU"):
        has_gpu()
    for nothing in ("void", "none", ""):
        monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", nothing)
        assert not has_gpu()
