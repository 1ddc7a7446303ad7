"""The pages' examples as a type checker sees them: ``python -m tests.typing.readme``, by ``make lint``."""

import os
import sys
import tempfile
from pathlib import Path

from mypy import api

from tests.readme.test_readme import blocks, quick_start
from tests.support import ROOT

OPTIONS = (
    "--config-file=",  # its tests have no annotations, as tests have none
    "--check-untyped-defs",
    "--disable-error-code=import-untyped",  # Celery has no types
    "--no-error-summary",
    "--python-version=3.11",
    "--cache-dir=.build/mypy-readme",  # one of its own: other options make a cache void
)


def main() -> int:
    """Check every Python block, each as a file of its own; return mypy's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MYPYPATH"] = f"{ROOT / 'src'}:{folder}"
        files = [Path(folder) / f"block_{number}_line_{block.line}.py" for number, block in enumerate(blocks())]
        for file, block in zip(files, blocks(), strict=True):
            file.write_text(block.code)
        (Path(folder) / "main.py").write_text(quick_start())  # what the README's tests import
        told, trouble, status = api.run([*OPTIONS, *map(str, files)])
    sys.stdout.write(told)
    sys.stderr.write(trouble)
    return status


if __name__ == "__main__":
    sys.exit(main())
