"""An account of every FastAPI and Starlette background task: spans, metrics and logs, to the last task.

from afterword import instrument

instrument(app)
"""

from ._common.decorator import task
from ._common.model import Outcome, Reason, RequestInfo, TaskObserver, TaskRun
from ._common.settings import RequestErrorCallback, TaskFailureCallback
from ._common.version import __version__
from ._ledger.runs import running
from ._setup.configure import configure
from ._setup.instrument import instrument, uninstrument
from ._starlette.execution import current_run as current

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
