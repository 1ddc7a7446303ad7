"""Which runs are asked for, and from which directory."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .._common.model import RETURNED
from .._ledger.journal import history, layout
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from .output import Output


def ended(
    directory: str, arguments: argparse.Namespace, since: float | None = None, *, attempts: bool = False
) -> Iterator[Record]:
    """Yield the runs that ended and are asked for, newest first; raises ``OSError``.

    With ``attempts``, also attempts that did not end their task, unless only outcomes are asked for.
    """
    outcomes = arguments.outcome or ()
    wanted = Filter(
        outcomes=outcomes,
        attempts=attempts or RETURNED in outcomes,
        named=arguments.task,
        route=arguments.route,
        trace=arguments.trace,
        since=arguments.since if since is None else since,
    )
    return history.ended(directory, wanted)


def note_nothing(output: Output, directory: str, otherwise: str) -> None:
    """Say that there is no answer: because nothing was ever written there, or because of what is asked."""
    found = layout.listing(directory)
    is_empty = not found.live and not found.segments
    output.note(f"{directory}: {'there is no journal yet: no run has been written' if is_empty else otherwise}")
