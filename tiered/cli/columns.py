"""Tables of plain text that fit: where there is little room, the least important columns are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """`rank`: the higher, the sooner it is left out. `least`: its width where cells are shorter, or unknown yet."""

    title: str
    rank: int = 0
    least: int = 0
    left: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """A heading and a line for each row, none longer than `width`."""
    widths = [
        max(column.least, len(column.title), *(len(row[at]) for row in rows), 0) for at, column in enumerate(columns)
    ]
    kept = fitting(columns, widths, width)
    lines = ([column.title for column in columns], *rows)
    return [_line(columns, widths, kept, cells)[:width].rstrip() for cells in lines]


def fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Which columns there is room for."""
    kept = list(range(len(columns)))
    while len(kept) > 1 and sum(widths[at] + GAP for at in kept) - GAP > width:
        kept.remove(max(kept, key=lambda at: (columns[at].rank, at)))
    return kept


def _line(columns: Sequence[Column], widths: Sequence[int], kept: Sequence[int], cells: Sequence[str]) -> str:
    return (" " * GAP).join(
        cells[at].ljust(widths[at]) if columns[at].left else cells[at].rjust(widths[at]) for at in kept
    )
