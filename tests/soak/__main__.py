"""`python -m tests.soak`: minutes plain, with a dead trace endpoint, with a full disk for the journal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from examples.demo.process import free_port
from tests.soak.soaking import Figures, soak
from tests.support.disks import mounted

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
MOST_GROWTH = 8.0
"""MiB of both workers together: what allocators and a neighbour's pages come to."""


def main() -> int:
    """Run them all; return 1 if an account is not exact or memory grows."""
    print(
        "| run | seconds | requests | runs | MiB after warm-up | MiB at the end | not accounted for | left open |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    good = [_run("plain", {}), _run("dead trace endpoint", dead_endpoint())]
    with full_disk() as disk:
        if disk is None:
            print("| full disk for the journal | left out: no tmpfs can be mounted here | | | | | | |")
        else:
            good.append(_run("full disk for the journal", {"SOAK_JOURNAL": str(disk)}, fills_up=True))
    return 0 if all(good) else 1


def dead_endpoint() -> Mapping[str, str]:
    """Return an environment in which traces go to a port where nobody listens."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}


def _run(name: str, environment: Mapping[str, str], *, fills_up: bool = False) -> bool:
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        figures = soak(60 * MINUTES, Path(directory), environment)
    print(_row(name, figures), flush=True)
    if fills_up and not figures.journal_went_off:
        print("The disk was not full before the end: this run says nothing of a full one.")
    return is_good(figures)


def is_good(figures: Figures) -> bool:
    """Return whether the account is exact and the memory flat."""
    return not figures.missing and not figures.left_open and figures.growth < MOST_GROWTH


def _row(name: str, figures: Figures) -> str:
    memory = f"{figures.after_warm_up:.1f} | {figures.at_the_end:.1f}"
    numbers = f"{figures.seconds:.0f} | {figures.requests} | {figures.runs} | {memory}"
    return f"| {name} | {numbers} | {dict(figures.missing) or 0} | {figures.left_open} |"


@contextlib.contextmanager
def full_disk() -> Iterator[Path | None]:
    """Provide a directory on a disk that is soon full; ``None`` where none can be mounted."""
    with (
        tempfile.TemporaryDirectory(prefix="soak-disk-") as directory,
        mounted(Path(directory), "size=10m,mode=700") as is_mounted,
    ):
        yield Path(directory, "journal") if is_mounted else None


if __name__ == "__main__":
    sys.exit(main())
