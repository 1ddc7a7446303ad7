"""Whether an application is Celery's, without importing Celery: who has one has imported it."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class CeleryApplication(Protocol):
    """A ``celery.Celery``."""

    main: Any

    def send_task(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish a task by its name."""


def celery_is_asked_for(app: object) -> bool:
    """Return whether an application is Celery's."""
    cls = getattr(sys.modules.get("celery.app.base"), "Celery", None)
    return cls is not None and isinstance(app, cls)
