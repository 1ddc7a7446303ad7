"""The methods and attributes that instrumentation may patch, as they were before anybody did."""

from __future__ import annotations

from pathlib import Path
from types import FunctionType
from typing import Any

from fastapi import BackgroundTasks as FastAPIBackgroundTasks
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

import afterword

PATCHED: tuple[tuple[type[Any], tuple[str, ...]], ...] = (
    (BackgroundTask, ("__init__", "__call__")),
    (BackgroundTasks, ("__init__", "__call__", "add_task")),
    (FastAPIBackgroundTasks, ("__init__", "__call__", "add_task")),
    (Starlette, ("__call__", "build_middleware_stack")),
    (FastAPI, ("__call__", "build_middleware_stack")),
    (ExceptionMiddleware, ("__init__", "__call__")),
    (ServerErrorMiddleware, ("__init__", "__call__", "handler")),
)


def _methods() -> dict[str, Any]:
    return {
        f"{cls.__module__}.{cls.__name__}.{method}": cls.__dict__.get(method)
        for cls, methods in PATCHED
        for method in methods
    }


_ORIGINALS = _methods()


def assert_no_hook_on_top() -> None:
    """No foreign class has a hook of ours as its method; another tool may have put its own around one."""
    ours = str(Path(afterword.__file__).parent)
    left = [
        name
        for name, method in _methods().items()
        if type(method) is FunctionType and method.__code__.co_filename.startswith(ours)
    ]
    assert not left, f"hooks of ours are left: {left}"


def original_of(function: Any) -> Any:
    """Return what is under all wrappers."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def assert_originals_are_back() -> None:
    """Every foreign class has the methods it was defined with, not a wrapper around them."""
    changed = [name for name, method in _methods().items() if method is not _ORIGINALS[name]]
    assert not changed, f"still patched after uninstrumenting: {changed}"
