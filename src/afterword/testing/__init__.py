"""The account in your own tests: the pytest fixture ``account``, or ``with afterword.testing.account() as ...``.

It covers every application that is called meanwhile, whether it calls ``instrument`` or not, and leaves all of
them unchanged.
"""

from .account import Account, TaskAccount
from .counts import Count
from .lookup import AmbiguousTask, UnknownTask
from .recorder import RequestError
from .session import account

__all__ = ["Account", "AmbiguousTask", "Count", "RequestError", "TaskAccount", "UnknownTask", "account"]
