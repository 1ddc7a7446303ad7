"""The account in your own tests: the pytest fixture ``account``, or ``with afterword.testing.account() as ...``.

It covers every application that is called meanwhile, whether it calls ``instrument`` or not, and leaves all of
them unchanged.
"""

from ._account import Account, TaskAccount
from ._counts import Count
from ._lookup import AmbiguousTask, UnknownTask
from ._recorder import RequestError
from ._session import account

__all__ = ["Account", "AmbiguousTask", "Count", "RequestError", "TaskAccount", "UnknownTask", "account"]
