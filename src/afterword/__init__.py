"""An account of every FastAPI and Starlette background task: spans, metrics and logs, to the last task.

from afterword import instrument

instrument(app)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._common import __version__

if TYPE_CHECKING:
    from . import logs as logs
    from ._common.context import current
    from ._common.model import Outcome, Reason, RequestInfo, TaskRun
    from ._common.observer import TaskObserver
    from ._common.task_names import task
    from ._ledger.instrumentation import TaskFailureCallback
    from ._ledger.runs import running
    from ._setup.configure import configure
    from ._setup.instrument import instrument, uninstrument
    from ._starlette.callbacks import RequestErrorCallback
    from ._starlette.scheduling import runs

__all__ = [
    "Outcome",
    "Reason",
    "RequestErrorCallback",
    "RequestInfo",
    "TaskFailureCallback",
    "TaskObserver",
    "TaskRun",
    "__version__",
    "configure",
    "current",
    "instrument",
    "running",
    "runs",
    "task",
    "uninstrument",
]

_PLACES = {
    "Outcome": "._common.model",
    "Reason": "._common.model",
    "RequestErrorCallback": "._starlette.callbacks",
    "RequestInfo": "._common.model",
    "TaskFailureCallback": "._ledger.instrumentation",
    "TaskObserver": "._common.observer",
    "TaskRun": "._common.model",
    "configure": "._setup.configure",
    "current": "._common.context",
    "instrument": "._setup.instrument",
    "running": "._ledger.runs",
    "runs": "._starlette.scheduling",
    "task": "._common.task_names",
    "uninstrument": "._setup.instrument",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: the command line needs no FastAPI, which takes half a second."""
    if name == "logs":
        return import_module(".logs", __name__)
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "logs"})
