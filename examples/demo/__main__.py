"""``make demo``, or ``python -m examples.demo``."""

import sys

from .performance import main

if __name__ == "__main__":
    sys.exit(main())
