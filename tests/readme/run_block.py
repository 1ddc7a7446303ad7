"""Run one Python block of the README in an interpreter of its own, as its reader would, and visit its application.

``python -m tests.readme.run_block FILE [METHOD PATH]`` prints, as JSON, the status and every task's outcomes.
"""

import asyncio
import json
import runpy
import sys
from typing import Any

import httpx
from prometheus_client import REGISTRY


async def visit(app: Any, method: str, path: str) -> int:
    """Send one request, its tasks included."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://readme") as client:
        return (await client.request(method, path)).status_code


def outcomes() -> dict[str, str]:
    """Read what became of every task from the registry that ``instrument`` uses by default."""
    return {
        sample.labels["background_task_name"].rpartition(".")[2]: sample.labels["background_task_outcome"]
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "background_task_ended_total" and sample.value
    }


def main(file: str, *request: str) -> None:
    """Run the block, then its application."""
    block = runpy.run_path(file)
    status = asyncio.run(visit(block["app"], *request)) if request else None
    print(json.dumps({"status": status, "outcomes": outcomes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
