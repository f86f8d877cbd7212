"""``make bench``: measure, print one table, and keep it as JSON under ``.fuelline/bench/``."""

import argparse
import importlib
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks import machine
from benchmarks.environment import ensure_peers
from benchmarks.harness import FOLDER, JobFailed, Options, say
from benchmarks.table import Line, Results

AREAS = ("ingestion", "pulling", "streaming", "join", "online", "gateway", "volume", "small_files", "training")
NEED_PEERS = {"ingestion", "training"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 if every limit holds (or none applies), 1 otherwise."""
    parsed = _parser().parse_args(arguments)
    areas = [area for area in AREAS if area in (parsed.only or AREAS)]
    path: Path = parsed.output or FOLDER / _name(areas, parsed.quick)
    if parsed.markdown:
        return _show(path)
    options = Options(quick=parsed.quick, runs=parsed.runs, threads=parsed.threads)
    # As an exception, so that the running job ends and its folder is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        results = _measure(areas, options)
    except (JobFailed, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 2
    results.write(path)
    print(results.markdown())
    say(f"\nWritten to {path}; to show it again, add --markdown to the same ARGS")
    return 0 if parsed.quick or all(held for line in results.lines for _, held in line.bars) else 1


def _name(areas: list[str], quick: bool) -> str:
    """Partial and quick results never overwrite those of a whole run."""
    partial = areas if len(areas) < len(AREAS) else []
    return "-".join(["results", *partial, *(["quick"] if quick else [])]) + ".json"


def _measure(areas: list[str], options: Options) -> Results:
    before, described = machine.load(), machine.describe()
    if NEED_PEERS & set(areas):
        ensure_peers()
    lines: list[Line] = []
    for area in areas:
        say(f"{area} (load {machine.load()})")
        lines += importlib.import_module(f"benchmarks.{area}").measure(options)
    return Results(
        machine=described,
        load_before=before,
        load_after=machine.load(),
        quick=options.quick,
        runs=options.runs,
        lines=lines,
    )


def _show(path: Path) -> int:
    if not path.exists():
        print(f"{path} does not exist: run `make bench` first", file=sys.stderr)
        return 2
    print(Results.read(path).markdown())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=AREAS, help="measure only this area; may be repeated")
    parser.add_argument("--quick", action="store_true", help="small inputs, to see that everything runs")
    parser.add_argument("--runs", type=int, default=3, help="turns of each contender (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads; no more than idle cores (default: 2)")
    parser.add_argument("--markdown", action="store_true", help="show the last results; measure nothing")
    parser.add_argument("--output", type=Path, help="the JSON file for the results, or to read them from")
    return parser


if __name__ == "__main__":
    sys.exit(main())
