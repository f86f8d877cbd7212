"""``make simulate``: play every scenario, print what fired beside what ought to have, and say which bars hold."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.simulation import real
from benchmarks.simulation.doubling import BASELINES, Baseline, doubled
from benchmarks.simulation.play import Play
from benchmarks.simulation.report import Seen, doubled_table, judge, seen_table
from benchmarks.simulation.scenarios import Scenario, changes, stationary

PARTS = ("stationary", "changes", "doubled")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if every bar held, 1 otherwise."""
    asked = _parser().parse_args(arguments)
    parts = asked.only or PARTS
    chosen: list[Scenario] = []
    if "stationary" in parts:
        chosen += [one for one in stationary(asked.months, asked.seeds) if asked.name in one.name]
    if "changes" in parts:
        chosen += [one for one in changes(asked.data) if asked.name in one.name]
    seen, silent_days = _play(_with_data(chosen, asked.data))
    baselines = _double(asked.repetitions) if "doubled" in parts else []
    if seen:
        print(f"\n{seen_table(seen)}")
    if baselines:
        print(f"\n{doubled_table(baselines)}")
    held = [*_bars(seen, silent_days), *_doubled_bars(baselines)]
    print("\n" + "\n".join(f"{'held' if good else 'MISSED'}: {what}" for what, good in held))
    return 0 if all(good for _, good in held) else 1


def _with_data(chosen: list[Scenario], folder: Path) -> list[Scenario]:
    gone = real.missing(folder)
    for one in chosen:
        if one.needs in gone:
            print(f"SKIPPED {one.name}: {folder / one.needs} is not there (--data FOLDER)", file=sys.stderr)
    return [one for one in chosen if one.needs not in gone]


def _play(chosen: list[Scenario]) -> tuple[list[Seen], float]:
    seen: list[Seen] = []
    silent_days = 0.0
    for number, one in enumerate(chosen, 1):
        began = time.monotonic()
        play = Play(one.world(), one.rules, one.training_hours, one.fails).run(one.first_day, one.days)
        told = judge(one, play.looks)
        seen += told
        silent_days += 0 if one.causes else one.days - one.first_day
        results, took = ", ".join(each.result for each in told), time.monotonic() - began
        _say(f"{number}/{len(chosen)} {one.name}: {results} ({len(play.looks):,} looks, {took:.0f} s)")
        for each in told:
            if not each.good and each.alarm:
                _say(f"    day {each.alarm.day:.2f} {each.alarm.trigger}: {each.alarm.reason}")
    return seen, silent_days


def _double(repetitions: int) -> list[Baseline]:
    found = []
    for errors, spread in [*((float(errors), 0.0) for errors in BASELINES), (50.0, 0.02), (200.0, 0.02)]:
        began = time.monotonic()
        found.append(doubled(errors, repetitions, spread=spread))
        _say(f"{errors:g} errors a day doubled, {repetitions} times ({time.monotonic() - began:.0f} s)")
    return found


def _bars(seen: list[Seen], silent_days: float) -> list[tuple[str, bool]]:
    if not seen:
        return []
    false = [one for one in seen if one.result == "false"]
    quiet = sum(one.truth == "nothing" for one in false)
    years = silent_days / 365
    told = [(f"{quiet} false alarms in {years:.1f} years without a cause", not years or quiet <= max(1.0, years))]
    for result, what in (
        ("twice", "alarms for a cause that had fired"),
        ("missed", "causes missed"),
        ("late", "causes seen late"),
    ):
        names = sorted({one.scenario for one in seen if one.result == result})
        told.append((f"{len(names)} {what}{': ' if names else ''}{'; '.join(names)}", not names))
    return told


def _doubled_bars(baselines: list[Baseline]) -> list[tuple[str, bool]]:
    told = []
    for one in baselines:
        what = f"{one.errors_a_day:g} errors a day (dispersion {1 + one.spread * one.errors_a_day:.1f}) doubled: "
        if one.errors_a_day >= 50 and not one.spread:
            told.append((f"{what}{one.within_a_day:.1%} within 24 hours (95%)", one.within_a_day >= 0.95))
        told.append((f"{what}{one.as_predicted:.1%} as predicted (95%)", not one.as_predicted < 0.95))
    return told


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="play this alone; may be given several times")
    parser.add_argument("--name", default="", help="of the scenarios, those whose name has this in it")
    parser.add_argument("--months", type=float, default=2, help="of stationary traffic a seed (default: 2)")
    parser.add_argument("--seeds", type=int, default=1, help="of stationary traffic, each of 3 kinds (default: 1)")
    parser.add_argument("--repetitions", type=int, default=10, help="of each doubled error rate (default: 10)")
    parser.add_argument("--data", type=Path, default=real.FOLDER, help=f"public data sets (default: {real.FOLDER})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
