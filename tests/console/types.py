"""The types of the console's JavaScript, by its JSDoc: ``python -m tests.console.types``, by ``make lint``."""

import sys
from pathlib import Path

from tests.support import node

CONFIGURATION = Path(__file__).with_name("tsconfig.json")


def main() -> int:
    """Let TypeScript check every module; say what is wrong."""
    directory = node.node_environment("console", node.CONSOLE)
    try:
        node.run(directory, ["node", "node_modules/typescript/bin/tsc", "--project", str(CONFIGURATION)])
    except AssertionError as complaint:
        sys.stderr.write(f"{complaint}\n")
        return 1
    sys.stdout.write("The types of the console's modules are right.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
