"""An account of every FastAPI and Starlette background task: spans, metrics and logs, to the last task.

from afterword import instrument

instrument(app)
"""

from . import logs as logs
from ._common import __version__
from ._common.context import current
from ._common.model import Outcome, Reason, RequestInfo, TaskObserver, TaskRun
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
