"""Puts panels on the grid, line by line, and numbers them."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models.dashboard import GridPos

WIDTH = 24


class Grid:
    """A dashboard that is filled from the top."""

    def __init__(self, dashboard: Dashboard) -> None:
        self.dashboard = dashboard
        self._y = 0
        self._last_id = 0

    def row(self, title: str) -> None:
        """Begin a section."""
        place = GridPos(h=1, w=WIDTH, x=0, y=self._y)
        self.dashboard.with_row(Row(title).id(self._next_id()).collapsed(False).grid_pos(place))
        self._y += 1

    def line(
        self, height: int, *panels: Any, widths: tuple[int, ...] = (), ids: dict[int, int] | None = None
    ) -> None:
        """Put panels next to each other, equally wide unless told otherwise; ``ids`` fixes some by position."""
        self._line(0, self._y, height, panels, widths or (WIDTH // len(panels),) * len(panels), ids or {})
        self._y += height

    def beside(self, first: Any, width: int, height: int, *lines: tuple[Any, ...]) -> None:
        """Put one panel on the left, and lines of others next to it that share its height."""
        self._line(0, self._y, height, (first,), (width,), {})
        share = height // len(lines)
        for number, panels in enumerate(lines):
            widths = ((WIDTH - width) // len(panels),) * len(panels)
            self._line(width, self._y + number * share, share, panels, widths, {})
        self._y += height

    def _line(
        self, x: int, y: int, height: int, panels: tuple[Any, ...], widths: tuple[int, ...], ids: dict[int, int]
    ) -> None:
        for position, (panel, width) in enumerate(zip(panels, widths, strict=True)):
            place = GridPos(h=height, w=width, x=x, y=y)
            self.dashboard.with_panel(panel.grid_pos(place).id(ids.get(position) or self._next_id()))
            x += width

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id
