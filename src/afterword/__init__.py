"""An account of every FastAPI and Starlette background task: spans, metrics and logs, to the last task.

from afterword import instrument

instrument(app)
"""

from ._version import __version__
from .app import instrument, uninstrument
from .calls import current_run as current
from .configure import configure
from .decorator import task
from .ledger import running
from .model import Outcome, Reason, RequestInfo, TaskObserver, TaskRun
from .settings import RequestErrorCallback, TaskFailureCallback

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
    "task",
    "uninstrument",
]
