"""The client of a real vLLM: repeated calls have no further effect, and a name has one folder."""

import json
import urllib.request
from pathlib import Path

import pytest

from errors import PeerError
from serving.replicas.adapter_files import ensure_adapter
from serving.replicas.vllm import Replica
from tests.vllm.world import World


def test_loading_and_unloading_are_idempotent(world: World, replica: Replica, adapters: Path) -> None:
    name, path = world.good.adapter_name, str(ensure_adapter(world.lake, world.good, adapters))
    for _ in range(2):
        replica.load(name, path)
        assert replica.adapters() == {name: path}
    for _ in range(2):
        replica.unload(name)
        assert replica.adapters() == {}


def test_a_name_is_not_loaded_from_a_second_folder(
    world: World, replica: Replica, adapters: Path, tmp_path: Path
) -> None:
    replica.load(world.good.adapter_name, str(ensure_adapter(world.lake, world.good, adapters)))
    with pytest.raises(PeerError, match="restart it"):
        replica.load(world.good.adapter_name, str(ensure_adapter(world.lake, world.good, tmp_path)))


def test_a_failed_load_is_an_error_with_vllms_message(replica: Replica, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"agents@deadbeef.*No adapter found"):
        replica.load("agents@deadbeef", str(tmp_path / "nowhere"))


def test_a_model_that_is_not_loaded_does_not_answer(replica: Replica) -> None:
    with pytest.raises(PeerError, match=r"agents@deadbeef.*does not exist"):
        replica.next_tokens("agents@deadbeef", ["Hello"])


def test_next_tokens_have_log_probabilities(replica: Replica) -> None:
    first, second = replica.next_tokens("base", ["The capital of France is", "One, two, three,"])
    assert len(first.likeliest) == len(second.likeliest) == 20
    assert all(score <= 0 for score in first.likeliest.values())
    assert first.floor == min(first.likeliest.values()) == first.of(-1)


def test_a_request_with_tools_is_answered(replica: Replica) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    body = {
        "model": "base",
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [tool],
        "max_tokens": 8,
    }
    request = urllib.request.Request(
        f"{replica.address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.status == 200
        assert json.loads(answer.read())["model"] == "base"
