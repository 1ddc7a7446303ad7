"""Celery's applications, without importing Celery: who has one has imported it. Each is seen when it is made."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from wrapt import register_post_import_hook

from .._common import forks

_MODULE: Final = "celery.app.base"
_STATE: Final = "celery._state"

See = Callable[[Any], object]
"""What is called with an application, and does not raise."""

_seers: list[See] = []
_patched: list[tuple[Any, Any, Any]] = []
"""The class that is patched now, its own ``__init__`` and ours."""
_is_registered = False
_changing = forks.lock()


class CeleryApplication(Protocol):
    """A ``celery.Celery``."""

    main: Any

    def send_task(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish a task by its name."""


def celery_is_asked_for(app: object) -> bool:
    """Return whether an application is Celery's."""
    cls = getattr(sys.modules.get(_MODULE), "Celery", None)
    return cls is not None and isinstance(app, cls)


def on_creation(see: See) -> None:
    """Call a function with each application that there is, and with each that is made from now on."""
    global _is_registered
    _seers.append(see)
    if not _is_registered:
        _is_registered = True
        register_post_import_hook(_patch, _MODULE)  # calls it at once, if it is imported already
    elif _MODULE in sys.modules:
        _patch(sys.modules[_MODULE])
    for app in _applications():
        see(app)


def off_creation(see: See) -> None:
    """Undo ``on_creation``; Celery gets its own method back from the last one."""
    with _changing:
        if see in _seers:
            _seers.remove(see)
        if not _seers:
            for cls, original, ours in _patched:
                if cls.__init__ is ours:  # another tool may have wrapped it
                    cls.__init__ = original
            _patched.clear()


def _applications() -> list[Any]:
    active = getattr(sys.modules.get(_STATE), "_get_active_apps", None)
    return [] if active is None else list(active())


def _patch(module: Any) -> None:
    """Patch Celery's class when its module has been imported."""
    cls: Any = getattr(module, "Celery", None)
    with _changing:
        if cls is None or not _seers or _patched:
            return
        original = cls.__init__

        @functools.wraps(original)
        def __init__(self: Any, /, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            for see in tuple(_seers):
                see(self)

        cls.__init__ = __init__
        _patched.append((cls, original, __init__))
