"""Run the matrix: ``python -m tests.matrix [CELL ...]``, a cell by any part of its name; then write the table."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

from tests.benchmarks.environments import made
from tests.matrix import cells, report, results
from tests.matrix.cell import Cell
from tests.matrix.results import Result
from tests.support import ROOT
from tests.support.alone import ALONE, can_be_alone

BUILD = ROOT / ".build" / "matrix"
_TIMEOUT = 300.0


def run(cell: Cell) -> Result:
    """Make the cell's environment and play it there, in a network of its own where that is allowed."""
    result = Result(cell.name, on=time.strftime("%Y-%m-%d"))
    interpreter = cells.interpreter(cell.environment)
    if interpreter is None:
        return replace(result, not_run=f"there is no Python {cell.environment.partition('/')[2]} here")
    directory = BUILD / cell.environment.replace("/", "-")
    environment = made(directory, cells.requirements(cell.environment), interpreter)
    if environment.problem:
        return replace(result, not_run=environment.problem)
    result = replace(result, versions=_versions(environment.python))
    spec = json.dumps({"cell": cell._asdict(), "python": environment.python})
    program = "tests.matrix.celery.cell" if cell.kind == "celery" else "tests.matrix.cell"
    command = [sys.executable, "-m", program, spec]
    if can_be_alone():
        command = [*ALONE, *command, "--alone"]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return replace(result, broken=f"not done after {_TIMEOUT:.0f} s")
    if done.returncode != 0:
        return replace(result, broken=done.stderr[-1500:])
    return replace(result, **json.loads(done.stdout))


def _versions(python: str) -> dict[str, str]:
    program = (
        "import json, platform; from importlib.metadata import distributions; "
        "print(json.dumps({d.name.lower().replace('_', '-'): d.version for d in distributions()} "
        "| {'python': platform.python_version()}))"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return {name: version for name, version in versions.items() if name in report.TOLD}


def main() -> int:
    """Run the cells that are asked for; return whether any failed."""
    chosen = cells.selected([word for argument in sys.argv[1:] for word in argument.split(",") if word])
    if not chosen:
        print("There is no such cell; the table is written anew from what is known.")
    known, failed = results.load(), False
    for cell in chosen:
        began = time.monotonic()
        result = run(cell)
        known[cell.name] = result
        results.save(known)
        failed = failed or bool(result.trouble)
        print(f"{cell.name:36}{time.monotonic() - began:6.1f} s  {result.summary}", flush=True)
        for line in result.trouble:
            print(f"    {line}", flush=True)
    report.TABLE.write_text(report.text(known))
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
