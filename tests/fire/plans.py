"""What a request of the walk does: its tasks, how each is made and placed, and how the request ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

NAMES = ("mail", "report", "audit")


@dataclass(frozen=True)
class Job:
    """One task: ``held`` ones wait at a gate until the walk opens it."""

    name: str
    in_thread: bool
    ending: str
    held: bool
    placing: str


@dataclass(frozen=True)
class Plan:
    """One request."""

    in_thread: bool
    jobs: tuple[Job, ...]
    ending: str


ENDINGS_OF_TASKS = ("returns", "returns", "raises", "returns an awaitable")
PLACINGS = (
    "added",
    "added",
    "added",
    "removed",
    "twice",
    "nested",
    "merged",
    "module-level",
    "forgotten",
    "kept",
    "awaited",
    "destroyed",
)
QUICK_ENDINGS = ("answered", "answered", "answered", "replaced", "refused", "redirected", "handled", "broken")
ENDINGS = (*QUICK_ENDINGS, "streamed", "streamed")
"""A stream waits in its middle, for the walk or for its client to go."""


def _jobs(held: st.SearchStrategy[bool]) -> st.SearchStrategy[Job]:
    return st.builds(
        Job,
        name=st.sampled_from(NAMES),
        in_thread=st.booleans(),
        ending=st.sampled_from(ENDINGS_OF_TASKS),
        held=held,
        placing=st.sampled_from(PLACINGS),
    )


def _plans(held: st.SearchStrategy[bool], endings: Sequence[str]) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        in_thread=st.booleans(),
        jobs=st.lists(_jobs(held), max_size=3).map(tuple),
        ending=st.sampled_from(endings),
    )


plans = _plans(st.booleans(), ENDINGS)
"""Requests, perhaps with tasks that wait."""

quick_plans = _plans(st.just(False), QUICK_ENDINGS)
"""Requests that end by themselves."""
