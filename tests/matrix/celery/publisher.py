"""Publishes what it is told to, a line each, and answers with a line of JSON; at the end, with its metrics."""

from __future__ import annotations

import json
import sys
from typing import Any

from prometheus_client import REGISTRY, generate_latest

from tests.matrix.celery.scenarios import SCENARIOS
from tests.matrix.celery.shop import app


def _publish(name: str) -> dict[str, Any]:
    try:
        result = SCENARIOS[name](app)
    except Exception as exc:
        return {"raised": f"{type(exc).__name__}({exc})"}
    return {"id": result.id, "said": result.state if type(result).__name__ == "EagerResult" else ""}


def main() -> None:
    """Publish until there is nothing more to publish."""
    for line in sys.stdin:
        print(json.dumps(_publish(line.strip())), flush=True)
    print(json.dumps({"metrics": generate_latest(REGISTRY).decode()}), flush=True)


if __name__ == "__main__":
    main()
