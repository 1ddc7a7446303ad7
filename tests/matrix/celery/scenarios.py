"""What is published, and how: a task or a canvas for each way in which one can end in a prefork worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_Publish = Callable[[Any], Any]


def _task(name: str, *args: Any, **options: Any) -> _Publish:
    return lambda app: app.tasks[f"shop.{name}"].apply_async(args=args, **options)


def _step(app: Any, name: str, *args: Any, **options: Any) -> Any:
    return app.tasks[f"shop.{name}"].signature(args=args, **options)


def _chain(first: str) -> _Publish:
    return lambda app: (_step(app, first, 1) | _step(app, "works") | _step(app, "adds")).apply_async()


def _chord(*parts: str) -> _Publish:
    def publish(app: Any) -> Any:
        from celery import chord

        return chord([_step(app, name) for name in parts], app=app)(_step(app, "adds"))

    return publish


SCENARIOS: Final[dict[str, _Publish]] = {
    "returns": _task("works", 7),
    "raises": _task("fails"),
    "raises what is expected": _task("expected"),
    "is retried, and succeeds": _task("retries", 2),
    "is retried until it fails": _task("gives_up"),
    "raises Ignore": _task("ignores"),
    "rejects its message": _task("rejects"),
    "puts its message back": _task("requeues"),
    "replaces itself": _task("replaces"),
    "publishes another": _task("publishes"),
    "fails to publish another": _task("publishes_badly"),
    "runs another inside": _task("runs_inside"),
    "is an async function": _task("coroutine"),
    "returns what cannot be stored": _task("unstorable"),
    "runs into its soft limit": _task("soft"),
    "runs into its hard limit": _task("hard"),
    "exits": _task("exits"),
    "is killed": _task("killed"),
    "is killed, and comes again": _task("killed_once"),
    "has a countdown": _task("works", countdown=1),
    "has expired": _task("works", expires=-10),
    "a chain": _chain("works"),
    "a chain that stops": _chain("fails"),
    "a chord": _chord("works", "works"),
    "a chord that fails": _chord("fails", "fails"),
    "has a link": lambda app: _task("works", 1, link=_step(app, "adds"))(app),
    "fails with a link": lambda app: _task("fails", link=_step(app, "adds"))(app),
    "has an errback": lambda app: _task("fails", link_error=_step(app, "handles"))(app),
    "is not registered": lambda app: app.send_task("shop.unheard_of"),
    "cannot be published": _task("works", serializer="no-such-serializer"),
    "is run by its caller": lambda app: app.tasks["shop.works"].apply(args=[1]),
}

WITHOUT_RESULT: Final = "raises Ignore"
"""Of this one, Celery says nothing when it has ended."""
