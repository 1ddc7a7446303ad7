"""``python -m tests.benchmarks [--quick] [--no-peers] [--output DIRECTORY]``: measure, print, write, draw."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.benchmarks.environments import BUILD
from tests.benchmarks.plot import draw
from tests.benchmarks.report import report
from tests.benchmarks.results import measure
from tests.benchmarks.rounds import Plan

FULL, QUICK = Plan(rounds=45, requests=30), Plan(rounds=6, requests=15)


def main() -> None:
    """Run the suite."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="What a task costs.")
    parser.add_argument("--quick", action="store_true", help="about a minute; written to .build/bench")
    parser.add_argument("--no-peers", action="store_true", help="bare, hand-written and Afterword only")
    parser.add_argument("--output", type=Path, help="where results.md and cost.png go; here by default")
    arguments = parser.parse_args()
    output = arguments.output or (BUILD if arguments.quick or arguments.no_peers else Path(__file__).parent)
    output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    results = measure(QUICK if arguments.quick else FULL, peers=not arguments.no_peers, quick=arguments.quick)
    text = report(results)
    (output / "results.md").write_text(text)
    drawn = draw(results, output / "cost.png")
    print(f"\n{text}\n{time.monotonic() - began:.0f} s; written to {output}")
    if not drawn:
        print("No plot: matplotlib is not installed (dependency group `bench`).")


if __name__ == "__main__":
    main()
