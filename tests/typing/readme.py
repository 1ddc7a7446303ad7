"""The README's examples as a type checker sees them: ``python -m tests.typing.readme``, by ``make lint``."""

import sys
import tempfile
from pathlib import Path

from mypy import api

from tests.readme.test_readme import blocks

# its tests have no annotations, as tests have none; what an example says of a type must be right all the same
OPTIONS = ("--config-file=", "--check-untyped-defs", "--no-error-summary", "--python-version", "3.11")


def main() -> int:
    """Check every Python block, each as a file of its own; return mypy's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"readme_line_{block.line}.py" for block in blocks()]
        for file, block in zip(files, blocks(), strict=True):
            file.write_text(block.code)
        told, trouble, status = api.run([*OPTIONS, *map(str, files)])
    sys.stdout.write(told)
    sys.stderr.write(trouble)
    return status


if __name__ == "__main__":
    sys.exit(main())
