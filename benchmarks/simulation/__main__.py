"""``make simulate``: run every scenario, print the alarms beside the causes, and report which limits hold."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.simulation import real
from benchmarks.simulation.doubling import BASELINES, Baseline, doubled
from benchmarks.simulation.play import Play
from benchmarks.simulation.report import Result, doubled_table, evaluate, results_table
from benchmarks.simulation.scenarios import Scenario, changes, stationary

PARTS = ("stationary", "changes", "doubled")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if every limit holds, 1 otherwise."""
    options = _parser().parse_args(arguments)
    parts = options.only or PARTS
    chosen: list[Scenario] = []
    if "stationary" in parts:
        chosen += [scenario for scenario in stationary(options.months, options.seeds) if options.name in scenario.name]
    if "changes" in parts:
        chosen += [scenario for scenario in changes(options.data) if options.name in scenario.name]
    results, quiet_days = _play(_with_data(chosen, options.data))
    baselines = _double(options.repetitions) if "doubled" in parts else []
    if results:
        print(f"\n{results_table(results)}")
    if baselines:
        print(f"\n{doubled_table(baselines)}")
    limits = [*_limits(results, quiet_days), *_doubled_limits(baselines)]
    print("\n" + "\n".join(f"{'held' if good else 'MISSED'}: {what}" for what, good in limits))
    return 0 if all(good for _, good in limits) else 1


def _with_data(chosen: list[Scenario], folder: Path) -> list[Scenario]:
    missing = real.missing(folder)
    for scenario in chosen:
        if scenario.needs in missing:
            print(f"SKIPPED {scenario.name}: {folder / scenario.needs} does not exist (--data FOLDER)", file=sys.stderr)
    return [scenario for scenario in chosen if scenario.needs not in missing]


def _play(chosen: list[Scenario]) -> tuple[list[Result], float]:
    results: list[Result] = []
    quiet_days = 0.0
    for number, scenario in enumerate(chosen, 1):
        began = time.monotonic()
        play = Play(scenario.world(), scenario.rules, scenario.training_hours, scenario.fails).run(
            scenario.first_day, scenario.days
        )
        found = evaluate(scenario, play.checks)
        results += found
        quiet_days += 0 if scenario.causes else scenario.days - scenario.first_day
        outcomes, took = ", ".join(result.result for result in found), time.monotonic() - began
        _say(f"{number}/{len(chosen)} {scenario.name}: {outcomes} ({len(play.checks):,} checks, {took:.0f} s)")
        for result in found:
            if not result.good and result.alarm:
                _say(f"    day {result.alarm.day:.2f} {result.alarm.trigger}: {result.alarm.reason}")
    return results, quiet_days


def _double(repetitions: int) -> list[Baseline]:
    found = []
    for errors, spread in [*((float(errors), 0.0) for errors in BASELINES), (50.0, 0.02), (200.0, 0.02)]:
        began = time.monotonic()
        found.append(doubled(errors, repetitions, spread=spread))
        _say(f"{errors:g} errors a day doubled, {repetitions} times ({time.monotonic() - began:.0f} s)")
    return found


def _limits(results: list[Result], quiet_days: float) -> list[tuple[str, bool]]:
    if not results:
        return []
    false = [result for result in results if result.result == "false"]
    quiet = sum(result.truth == "nothing" for result in false)
    years = quiet_days / 365
    limits = [(f"{quiet} false alarms in {years:.1f} years without a cause", not years or quiet <= max(1.0, years))]
    for kind, what in (
        ("twice", "alarms for a cause that had fired"),
        ("missed", "causes missed"),
        ("late", "causes detected late"),
    ):
        names = sorted({result.scenario for result in results if result.result == kind})
        limits.append((f"{len(names)} {what}{': ' if names else ''}{'; '.join(names)}", not names))
    return limits


def _doubled_limits(baselines: list[Baseline]) -> list[tuple[str, bool]]:
    limits = []
    for baseline in baselines:
        dispersion = 1 + baseline.spread * baseline.errors_a_day
        what = f"{baseline.errors_a_day:g} errors a day (dispersion {dispersion:.1f}) doubled: "
        if baseline.errors_a_day >= 50 and not baseline.spread:
            limits.append((f"{what}{baseline.within_a_day:.1%} within 24 hours (95%)", baseline.within_a_day >= 0.95))
        limits.append((f"{what}{baseline.as_predicted:.1%} as predicted (95%)", not baseline.as_predicted < 0.95))
    return limits


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="run only this part; may be repeated")
    parser.add_argument("--name", default="", help="only the scenarios with this text in their name")
    parser.add_argument("--months", type=float, default=2, help="months of stationary traffic per seed (default: 2)")
    parser.add_argument(
        "--seeds", type=int, default=1, help="seeds of stationary traffic, each of 3 kinds (default: 1)"
    )
    parser.add_argument(
        "--repetitions", type=int, default=10, help="repetitions of each doubled error rate (default: 10)"
    )
    parser.add_argument("--data", type=Path, default=real.FOLDER, help=f"public data sets (default: {real.FOLDER})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
