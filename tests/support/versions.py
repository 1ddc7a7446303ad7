"""What the installed FastAPI can do; the tests run on the oldest and on the newest."""

from __future__ import annotations

import importlib.util

import fastapi
import pytest

FASTAPI = tuple(int(part) for part in fastapi.__version__.split(".")[:3])

NATIVE_TELEMETRY = importlib.util.find_spec("fastapi.telemetry") is not None
"""FastAPI traces requests and background tasks by itself."""

native_only = pytest.mark.skipif(not NATIVE_TELEMETRY, reason="this FastAPI has no telemetry of its own")

EXITS_AFTER_RESPONSE = FASTAPI >= (0, 118)
"""The exit of a `yield` dependency runs after the response and its tasks, not before them."""
