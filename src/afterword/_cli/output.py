"""Where the answer goes: tables of rich or plain ones for a person, lines of JSON for a program.

A cell is a text, or a text and its style. Nothing in it is markup.
"""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

from .._common.model import LOST, RETURNED, Outcome
from . import formats

if TYPE_CHECKING:  # an extra, which takes a tenth of a second to import
    from rich.console import Console

PROGRAM: Final = __name__.partition(".")[0]

Cell = str | tuple[str, str]

STYLES: Final = {
    Outcome.SUCCEEDED: "green",
    Outcome.FAILED: "red",
    Outcome.CANCELLED: "yellow",
    Outcome.SKIPPED: "magenta",
    Outcome.DROPPED: "magenta",
    Outcome.ABANDONED: "magenta",
    LOST: "bold red",
    RETURNED: "yellow",
}
FAINT: Final = "dim"
_READABLE: Final = 120
_NARROWEST: Final = 30
_ROOMY: Final = 145
"""Columns of a terminal in which those of a table may stand a little apart."""


def styled(outcome: str | None) -> tuple[str, str]:
    """Return an outcome as a cell in its colour."""
    return formats.one_line(outcome), STYLES.get(outcome or "", "")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, which may have lines, and where its cells stand.

    ``folds`` is a column that may take several lines where the terminal is narrow.
    """

    heading: str
    right: bool = False
    folds: bool = False


class Output:
    """Writes an answer, as JSON, by a console of rich, or as plain text."""

    def __init__(
        self, stream: TextIO | None = None, *, json: bool = False, console: Console | None = None
    ) -> None:
        self._stream = stream
        self.json = json
        self._console = console

    @property
    def width(self) -> int | None:
        """The columns of the terminal; ``None`` if lines may be as long as they are."""
        return None if self._console is None else self._console.width

    def keys(self, keys: dict[str, Any]) -> None:
        """Write an object, as a line of JSON."""
        self._write(formats.as_json(keys))

    def line(self, *cells: Cell) -> None:
        """Write cells one after the other, as one line."""
        if self._console is None:
            self._write("".join(map(_plain, cells)))
        else:
            from rich.text import Text

            text = Text.assemble(*((_plain(cell), _style(cell)) for cell in cells))
            self._console.print(text, soft_wrap=True, highlight=False)

    def paragraph(self, text: str, indent: int) -> None:
        """Write a text as lines that fit and are indented."""
        room = max(_NARROWEST, min(self.width or _READABLE, _READABLE) - indent)
        for line in textwrap.wrap(formats.one_line(text, 2000), room, break_long_words=False):
            self.line(" " * indent + line)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], title: str = "") -> None:
        """Write a table."""
        if self._console is None:
            if title:
                self._write(title)
            for text in _plain_table(columns, rows):
                self._write(text)
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
        )
        table.padding = (0, 1 if self._console.width >= _ROOMY else 0, 0, 0)
        for column in columns:
            justify: Any = "right" if column.right else "left"
            table.add_column(Text(column.heading), justify=justify, no_wrap=not column.folds, overflow="fold")
        for row in rows:
            table.add_row(*(Text(_plain(cell), _style(cell)) for cell in row))
        self._console.print(table)

    def note(self, text: str) -> None:
        """Say something that is no part of the answer, as one line."""
        say(text)

    def flush(self) -> None:
        """Hand everything over; raises ``OSError``."""
        if self._stream is not None:
            self._stream.flush()

    def _write(self, text: str) -> None:
        if self._stream is not None:  # closed by whoever started us
            self._stream.write(text + "\n")


def say(text: str) -> None:
    """Write one line where errors go."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{PROGRAM}: {formats.one_line(text, 1000)}\n")
            sys.stderr.flush()


def output_for(stream: TextIO | None, form: str | None) -> Output:
    """Return where an answer goes: as it is asked for, else a table on a terminal and JSON for a program."""
    is_terminal = stream is not None and stream.isatty()
    if form == "json" or (form is None and not is_terminal):
        return Output(stream, json=True)
    return Output(stream, console=_console(stream) if is_terminal else None)


def _console(stream: TextIO | None) -> Console | None:
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream, markup=False, highlight=False, emoji=False)


def _plain(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _style(cell: Cell) -> str:
    return "" if isinstance(cell, str) else cell[1]


def _plain_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Iterable[str]:
    headings = [column.heading.split("\n") for column in columns]
    height = max(map(len, headings))
    lines = [[""] * len(columns) for _ in range(height)]
    for number, heading in enumerate(headings):
        for line, text in enumerate(heading, height - len(heading)):
            lines[line][number] = text
    lines += [[_plain(cell) for cell in row] for row in rows]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for texts in lines:
        cells = zip(columns, widths, texts, strict=True)
        yield "  ".join(
            text.rjust(size) if column.right else text.ljust(size) for column, size, text in cells
        ).rstrip()
