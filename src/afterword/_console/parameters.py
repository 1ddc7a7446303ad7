"""What a question to the API may say after the question mark. Everything is bounded, and a slip is named."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl

MOST_TEXT: Final = 300
MOST_RUNS: Final = 500
_MOST_QUERY: Final = 8000
_MOST_SINCE: Final = 10 * 365 * 86_400.0


class WrongError(Exception):
    """A parameter that is not as it should be; the text names it and says what it takes."""


class Parameters:
    """The parameters of one question. Each method raises ``WrongError``."""

    def __init__(self, query: bytes, takes: Collection[str]) -> None:
        if len(query) > _MOST_QUERY:
            raise WrongError(f"the parameters have more than {_MOST_QUERY} characters")
        self._given: dict[str, str] = {}
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            if name not in takes:
                known = ", ".join(takes) or "nothing"
                raise WrongError(f"{name[:MOST_TEXT]!r} is no parameter of this; it takes {known}")
            if name in self._given:
                raise WrongError(f"{name}: it may be given once")
            if len(value) > MOST_TEXT:
                raise WrongError(f"{name}: {MOST_TEXT} characters at most are taken")
            self._given[name] = value

    def text(self, name: str) -> str | None:
        """Return a text; ``None`` if it is not given, or empty."""
        return self._given.get(name) or None

    def one_of(self, name: str, values: Collection[str]) -> list[str]:
        """Return what is named, separated by commas, of these values."""
        named = [part.strip() for part in self._given.get(name, "").split(",") if part.strip()]
        if not set(named) <= set(values):
            raise WrongError(f"{name}: some of {', '.join(values)} are taken, separated by commas")
        return named

    def seconds(self, name: str, default: float) -> float:
        """Return a number of seconds, more than none."""
        given = self.text(name)
        if given is None:
            return default
        try:
            seconds = float(given)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= _MOST_SINCE:
            raise WrongError(f"{name}: a number of seconds above 0 and up to {_MOST_SINCE:.0f} is taken")
        return seconds

    def count(self, name: str, default: int) -> int:
        """Return how many are wanted at most."""
        given = self.text(name)
        if given is None:
            return default
        if not (given.isascii() and given.isdecimal() and 1 <= int(given) <= MOST_RUNS):
            raise WrongError(f"{name}: a number from 1 to {MOST_RUNS} is taken")
        return int(given)
