"""``python -m benchmarks.canary``: play every scenario, print what came of it, and say which bounds hold."""

import argparse
import sys
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from benchmarks.canary.play import Ended, play
from benchmarks.canary.report import ENDS, Tally, bars, ends_table, sizes_table
from benchmarks.canary.scenarios import Scenario, scenarios
from benchmarks.canary.world import traffic


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if every bound is shown to hold, 1 otherwise."""
    asked = _parser().parse_args(arguments)
    chosen = [one for one in scenarios() if asked.name in one.name and asked.truth in ("", one.truth)]
    tallies = [_played(number, len(chosen), one, asked) for number, one in enumerate(chosen, 1)]
    print(f"\n{ends_table(tallies)}")
    if any(one.scenario.truth == "worse" for one in tallies):
        print(f"\n{sizes_table(tallies)}")
    held = bars(tallies)
    print("\n" + "\n".join(f"{'held' if good else 'NOT SHOWN'}: {what}" for what, good in held))
    return 0 if all(good for _, good in held) else 1


def _played(number: int, of: int, one: Scenario, asked: argparse.Namespace) -> Tally:
    began = time.monotonic()
    rollout = partial(_rollout, one, asked.seed)
    if asked.processes == 1:
        ended = [rollout(each) for each in range(asked.rollouts)]
    else:
        with ProcessPoolExecutor(asked.processes) as pool:
            ended = list(pool.map(rollout, range(asked.rollouts), chunksize=25))
    tally = Tally(scenario=one, ended=ended)
    took = time.monotonic() - began
    counts = ", ".join(f"{tally.count(end)} {end}" for end in ENDS)
    print(f"{number}/{of} {one.truth}, {one.name}: {counts} ({took:.0f} s)", file=sys.stderr, flush=True)
    return tally


def _rollout(one: Scenario, seed: int, number: int) -> Ended:
    name = zlib.crc32(f"{one.truth} {one.name}".encode())  # so that a scenario played alone is the same
    generator = np.random.default_rng((seed, name, number))
    return play(traffic(one.world, generator), one.rule, one.every)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.canary", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=2_000, help="of each scenario (default: 2000)")
    parser.add_argument("--name", default="", help="of the scenarios, those whose name has this in it")
    parser.add_argument("--truth", default="", help="of the scenarios, those of this truth: equal, margin, worse, ...")
    parser.add_argument("--processes", type=int, default=1, help="that play at once; the results are the same")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (default: 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
