"""A model's route as an ``InferenceModelRewrite``, for clusters where the Gateway API inference extension routes.

The plan is the ledger's, as everywhere: the rule rewrites the model's name to the adapters of the route, weighted by
the candidate's share. The weights are drawn for each request and know no user, so nobody stays on one side, and nothing
says afterwards which side answered. Such a split limits how often a candidate is met; it cannot judge one.

The resource is ``inference.networking.x-k8s.io/v1alpha2``, as its definition stood in release 1.4 of the extension.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from errors import FuellineError, UnknownName
from lake.lake import open_lake
from serving.routing.routes import Route, adapter_of, read_routes

API_VERSION = "inference.networking.x-k8s.io/v1alpha2"
WHOLE = 10_000
"""All of the weight. A weight is at least 1, so a target without a share is left out and not given 0."""


def render(route: Route, pool: str) -> str:
    """The rewrite of one route, as YAML, for the namespace that it is applied in.

    Args:
        route: who answers for the model.
        pool: the ``InferencePool`` in the same namespace whose pods serve the base and the adapters.
    """
    import yaml

    rule = {"matches": [{"model": {"type": "Exact", "value": route.model}}], "targets": _targets(route)}
    return yaml.safe_dump(
        {
            "apiVersion": API_VERSION,
            "kind": "InferenceModelRewrite",
            "metadata": _metadata(route),
            "spec": {
                "poolRef": {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": pool},
                "rules": [rule],
            },
        },
        sort_keys=False,
    )


def _metadata(route: Route) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": route.model, "labels": {"app.kubernetes.io/managed-by": "fuelline"}}
    if route.rollout:
        metadata["annotations"] = {"fuelline.internal/rollout": route.rollout}
    return metadata


def _targets(route: Route) -> list[dict[str, str | int]]:
    """Where the requests go, with the weight of each; one target needs no weight."""
    stable, candidate = adapter_of(route.stable), adapter_of(route.candidate)
    weight = round(route.share * WHOLE) if route.rollout else 0
    if weight == 0:
        return [{"modelRewrite": stable}]
    if weight == WHOLE:
        return [{"modelRewrite": candidate}]
    return [{"modelRewrite": stable, "weight": WHOLE - weight}, {"modelRewrite": candidate, "weight": weight}]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``python -m serving.inference_extension``; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.inference_extension", description="Print a model's route as an InferenceModelRewrite."
    )
    parser.add_argument("model", metavar="MODEL", help="the model, such as agents")
    parser.add_argument("--pool", required=True, metavar="NAME", help="the InferencePool that serves it")
    options = parser.parse_args(arguments)
    try:
        routes = read_routes(open_lake())
        if options.model not in routes:
            raise UnknownName("model", options.model, routes)
    except FuellineError as error:
        parser.error(str(error))
    sys.stdout.write(render(routes[options.model], options.pool))
    return 0


if __name__ == "__main__":
    sys.exit(main())
