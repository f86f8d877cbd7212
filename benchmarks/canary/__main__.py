"""``python -m benchmarks.canary``: simulate every scenario, print how its rollouts ended, and which bounds hold."""

import argparse
import sys
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from benchmarks.canary.report import ENDS, ScenarioResult, bounds, ends_table, sizes_table
from benchmarks.canary.scenarios import RolloutScenario, scenarios
from benchmarks.canary.simulation import SimulatedRollout, simulate
from benchmarks.canary.traffic import simulate_traffic


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if every bound is shown to hold, 1 otherwise."""
    options = _parser().parse_args(arguments)
    chosen = [
        scenario for scenario in scenarios() if options.name in scenario.name and options.truth in ("", scenario.truth)
    ]
    results = [_simulated(number, len(chosen), scenario, options) for number, scenario in enumerate(chosen, 1)]
    print(f"\n{ends_table(results)}")
    if any(result.scenario.truth == "worse" for result in results):
        print(f"\n{sizes_table(results)}")
    checked = bounds(results)
    print("\n" + "\n".join(f"{'held' if holds else 'NOT SHOWN'}: {bound}" for bound, holds in checked))
    return 0 if all(holds for _, holds in checked) else 1


def _simulated(number: int, of: int, scenario: RolloutScenario, options: argparse.Namespace) -> ScenarioResult:
    start = time.monotonic()
    rollout = partial(_rollout, scenario, options.seed)
    if options.processes == 1:
        rollouts = [rollout(index) for index in range(options.rollouts)]
    else:
        with ProcessPoolExecutor(options.processes) as pool:
            rollouts = list(pool.map(rollout, range(options.rollouts), chunksize=25))
    result = ScenarioResult(scenario=scenario, rollouts=rollouts)
    took = time.monotonic() - start
    counts = ", ".join(f"{result.count(end)} {end}" for end in ENDS)
    print(f"{number}/{of} {scenario.truth}, {scenario.name}: {counts} ({took:.0f} s)", file=sys.stderr, flush=True)
    return result


def _rollout(scenario: RolloutScenario, seed: int, number: int) -> SimulatedRollout:
    # The name is part of the seed, so that a scenario simulated alone gives the same; renaming it gives other numbers.
    name = zlib.crc32(f"{scenario.truth} {scenario.name}".encode())
    generator = np.random.default_rng((seed, name, number))
    return simulate(simulate_traffic(scenario.model, generator), scenario.rule, scenario.every)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.canary", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=2_000, help="rollouts of each scenario (default: 2000)")
    parser.add_argument("--name", default="", help="only scenarios whose name contains this")
    parser.add_argument(
        "--truth", default="", help="only scenarios of this truth: equal, margin, within, worse or better"
    )
    parser.add_argument("--processes", type=int, default=1, help="processes to use; the results do not depend on it")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers (default: 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
