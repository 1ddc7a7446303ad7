"""What a worker and a publisher import: the shop of `tests.celery`, with a peer, with ours, or with both."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.matrix.celery.peers import PEERS

FOLDER = Path(os.environ["SHOP_FOLDER"])
_panel = json.loads(os.environ["MATRIX"])
_peer = PEERS[_panel["peer"]](FOLDER / "peer.jsonl")
if not _panel["late"]:
    _peer.start()

# Celery is imported only now: a peer may have to come before it
from prometheus_client import REGISTRY  # noqa: E402

import afterword  # noqa: E402
from tests.celery import shop  # noqa: E402

shop.logging_to(FOLDER)
app = shop.make(FOLDER, os.environ["SHOP_BROKER"], os.environ["SHOP_RESULTS"])
if _panel["watched"]:
    afterword.instrument(app, tracer_provider=shop.tracing(FOLDER), registry=REGISTRY)
if _panel["late"]:
    _peer.start()
