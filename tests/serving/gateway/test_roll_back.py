"""A roll-back by hand while vLLM is down: two gateways, each its own process, need nothing for it but the ledger."""

import contextlib
from pathlib import Path

from serving.rollout.manual import plan_rollback, roll_back
from tests.conftest import free_port
from tests.doubles.vllm_stub import VllmStub
from tests.serving.gateway.test_app import start_command
from tests.serving.ledgers import promote, versions
from tests.serving.live import HttpClient, vllm, wait_until
from tests.world.world import SPEC, lake_with_tiny


def test_a_roll_back_by_hand_reaches_every_gateway_while_vllm_is_down(tmp_path: Path) -> None:
    lake = lake_with_tiny(tmp_path)
    [version] = versions(lake, 1)
    promote(lake, version.version, "base")
    port = free_port()
    settings = lake.settings.model_copy(update={"vllm": f"http://127.0.0.1:{port}"})
    gateways = [HttpClient(free_port()) for _ in range(2)]

    def statuses() -> set[int]:
        return {client.chat().status for client in gateways}

    def route_changes() -> list[float]:
        return [client.metric("fuelline_gateway_route_changes_total") for client in gateways]

    with contextlib.ExitStack() as running:
        for number, client in enumerate(gateways):
            process = start_command(settings, client, "--spool", str(tmp_path / f"spool-{number}.db"))
            running.callback(process.wait)
            running.callback(process.terminate)
        with vllm(VllmStub(), port):
            assert {client.chat().json["model"] for client in gateways} == {version.adapter_name}
        assert statuses() == {503}
        before = route_changes()
        roll_back(lake, plan_rollback(lake, SPEC.name), reason="tone", by="ana")
        wait_until(
            lambda: all(now > then for now, then in zip(route_changes(), before, strict=True)),
            "every gateway has read the roll-back",
        )
        with vllm(VllmStub(), port):
            wait_until(lambda: statuses() == {200}, "vLLM answers again")
            assert {client.chat().json["model"] for client in gateways} == {"base"}
