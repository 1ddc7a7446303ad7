"""What came of the cells, kept in results.json between runs of a part of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.matrix.known import KNOWN

_KEPT = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Result:
    """What came of one cell."""

    name: str
    on: str = ""
    not_run: str = ""
    broken: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    acts: dict[str, dict[str, str]] = field(default_factory=dict)
    """What is wrong, by act and by what was looked at."""
    said: dict[str, int] = field(default_factory=dict)
    """How much the peer says of the scenarios by itself, without us."""

    @property
    def trouble(self) -> list[str]:
        """What failed and is not explained, a line each."""
        lines = [f"did not get through: {self.broken}"] if self.broken else []
        for act, problems in self.acts.items():
            lines += [
                f"{act}: {what}: {problem}" for what, problem in problems.items() if not self.known(act, what)
            ]
        works = [act for name, act in KNOWN if name == self.name and self.acts.get(act) == {}]
        return lines + [f"{act}: works, though known.py says that it does not" for act in works]

    def known(self, act: str, what: str) -> bool:
        """Return whether that is expected to be wrong."""
        known = KNOWN.get((self.name, act))
        return known is not None and what in known.aspects

    @property
    def summary(self) -> str:
        """One word or two."""
        if self.not_run:
            return f"not run: {self.not_run}"
        if self.trouble:
            return "FAILED"
        return "fails as is known" if any(self.acts.values()) else "ok"


def load() -> dict[str, Result]:
    """Return what is known of earlier runs."""
    if not _KEPT.exists():
        return {}
    return {each["name"]: Result(**each) for each in json.loads(_KEPT.read_text())}


def save(results: dict[str, Result]) -> None:
    """Keep what is known."""
    _KEPT.write_text(json.dumps([asdict(result) for result in results.values()], indent=1) + "\n")
